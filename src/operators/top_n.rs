//! ORDER BY ... LIMIT/OFFSET, for all rows or within partitions, kept up to date.
//!
//! Every partition keeps its rows in order; ties are broken by the whole row in type order. The window of a partition is
//! read before its first change of an epoch that could reach it and again at the end; the difference is emitted. A row
//! beyond the last one of a full window cannot reach it, so most rows cost no more than their insertion. Without a limit
//! the output is everything but the first `offset` rows: input passes through, less what that short window changes.
//! Where input is only appended, rows that cannot enter the window are not kept.
//! With [`Ties`] the window ends with the last peer of its last row, or is counted in groups of peers.

use std::cmp::Ordering;

use arrow_array::ArrayRef;
use arrow_schema::{DataType, SchemaRef};

use super::consolidate::ChangeLog;
use super::group_index::{GroupIndex, keep};
use super::ordered_bag::{Added, OrderedBag};
pub use super::row_order::SortKey;
use super::row_order::{RowOrder, peers};
use super::{Operator, Output, StateChange};
use crate::change::{ChangeBatch, batch_of};
use crate::epoch::Epoch;
use crate::error::{Error, Result, SqlState};

const ROWS: &str = "rows";

/// Encoded rows with how often each is in the window, in order.
type Window = Vec<(Box<[u8]>, i64)>;

/// What a limit does with rows that the keys do not tell apart from the last one of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ties {
    /// They are cut by the whole row, as LIMIT does.
    Cut,
    /// They stay: rows whose rank is at most the limit.
    Stay,
    /// The limit counts groups of peers: rows whose dense rank is at most the limit.
    Groups,
}

/// Above this many rows, and twice as many as after the last time, a partition of appended input with ties is trimmed within
/// an epoch.
const TRIM_MIN: usize = 64;

#[derive(Default)]
struct Partition {
    rows: OrderedBag<Box<[u8]>>,
    /// Sum of all weights.
    total: i64,
    /// The last row of the window when the last epoch ended, if the window was full.
    boundary: Option<Box<[u8]>>,
    touched: bool,
    /// Entries left when it was last trimmed of what is behind the window's peers.
    trimmed_len: usize,
}

impl Partition {
    /// The window `[start, end)` and, when it is full, its last row.
    fn window(&self, start: i64, end: i64, ties: Ties) -> (Window, Option<Box<[u8]>>) {
        match ties {
            Ties::Cut => self.cut_window(start, end),
            Ties::Stay | Ties::Groups => self.window_of_peers(end, ties == Ties::Groups),
        }
    }

    fn cut_window(&self, start: i64, end: i64) -> (Window, Option<Box<[u8]>>) {
        let mut window = vec![];
        let mut position = 0i64;
        for (row, weight) in self.rows.iter().filter(|(_, w)| *w > 0) {
            let next = position.saturating_add(weight);
            let times = next.min(end) - position.max(start);
            if times > 0 {
                window.push((row.clone(), times));
            }
            position = next;
            if position >= end {
                return (window, Some(row.clone()));
            }
        }
        (window, None)
    }

    /// The groups of peers that begin within the first `end` rows, or the first `end` groups. Full once the next group would
    /// not begin within.
    fn window_of_peers(&self, end: i64, groups: bool) -> (Window, Option<Box<[u8]>>) {
        let mut window: Window = vec![];
        let mut position = 0i64;
        let (mut rows, mut seen) = (0i64, 0i64);
        for (row, weight) in self.rows.iter().filter(|(_, w)| *w > 0) {
            if window.last().is_none_or(|(last, _)| peers(last) != peers(row)) {
                position = if groups { seen } else { rows };
                seen += 1;
                if position >= end {
                    break;
                }
            }
            rows = rows.saturating_add(weight);
            window.push((row.clone(), weight));
        }
        let reached = if groups { seen } else { rows };
        let full = position >= end || reached >= end;
        let boundary = window.last().filter(|_| full).map(|(row, _)| row.clone());
        (window, boundary)
    }

    /// Whether a row cannot reach the window, whose last row when it was full was `boundary`.
    fn is_outside(&self, row: &[u8], ties: Ties) -> bool {
        self.boundary.as_ref().is_some_and(|boundary| {
            row > boundary.as_ref() && (ties == Ties::Cut || peers(row) != peers(boundary))
        })
    }
}

/// The operator. Output columns are the input's.
pub struct TopN {
    schema: SchemaRef,
    partition_columns: Vec<usize>,
    order: RowOrder,
    start: i64,
    end: i64,
    ties: Ties,
    /// The output is what the window leaves out.
    complement: bool,
    append_only: bool,
    index: GroupIndex,
    partitions: Vec<Partition>,
    /// Partitions whose window may have changed in the open epoch, and the window before.
    touched: Vec<(u32, Window)>,
    log: Option<ChangeLog>,
    entry_bytes: usize,
    entry_rows: usize,
    groups: Vec<u32>,
}

fn internal(error: arrow_schema::ArrowError) -> Error {
    Error::internal(error.to_string())
}

impl TopN {
    /// Rows `offset` to `offset + limit` of each partition by `order`; no limit means all from `offset` on. `append_only`
    /// promises that no weight is negative. Columns of a type that cannot be ordered are 0A000.
    pub fn new(
        schema: SchemaRef,
        partition: Vec<usize>,
        order: Vec<SortKey>,
        limit: Option<usize>,
        offset: usize,
        append_only: bool,
    ) -> Result<TopN> {
        let types: Vec<DataType> = schema.fields().iter().map(|f| f.data_type().clone()).collect();
        let keys: Vec<DataType> = partition.iter().map(|&c| types[c].clone()).collect();
        let rows = |rows: usize| i64::try_from(rows).unwrap_or(i64::MAX);
        let (start, end) = match limit {
            Some(limit) => (rows(offset), rows(offset.saturating_add(limit))),
            None => (0, rows(offset)),
        };
        Ok(TopN {
            ties: Ties::Cut,
            order: RowOrder::new(&types, &order)?,
            index: GroupIndex::new(&keys)?,
            schema,
            partition_columns: partition,
            start,
            end,
            complement: limit.is_none(),
            append_only,
            partitions: vec![],
            touched: vec![],
            log: None,
            entry_bytes: 0,
            entry_rows: 0,
            groups: vec![],
        })
    }

    /// The first `limit` rows of each partition by `order` and `tie_keys`, with what `ties` says of the last one's peers by
    /// `order`. Otherwise as [`TopN::new`].
    pub fn ranked(
        schema: SchemaRef,
        partition: Vec<usize>,
        (order, tie_keys): (Vec<SortKey>, Vec<SortKey>),
        limit: usize,
        ties: Ties,
        append_only: bool,
    ) -> Result<TopN> {
        let types: Vec<DataType> = schema.fields().iter().map(|f| f.data_type().clone()).collect();
        let total = RowOrder::with_ties(&types, &order, &tie_keys)?;
        let plain = TopN::new(schema, partition, order, Some(limit), 0, append_only)?;
        Ok(TopN { order: total, ties, ..plain })
    }

    fn intern(&mut self, change: &ChangeBatch) -> Result<()> {
        let columns = change.rows().columns();
        let keys: Vec<ArrayRef> =
            self.partition_columns.iter().map(|&c| columns[c].clone()).collect();
        self.index.intern(&keys, change.len(), &mut self.groups)?;
        self.partitions
            .resize_with(self.index.slots().max(self.partitions.len()), Partition::default);
        Ok(())
    }

    /// Adds the rows; returns those that were kept where some were not. `live` rows touch their partitions.
    fn add_rows(&mut self, change: &ChangeBatch, live: bool) -> Result<Option<Vec<u32>>> {
        self.intern(change)?;
        let rows = self.order.encode(change.rows().columns())?;
        let mut kept = self.append_only.then(Vec::new);
        for (i, &weight) in change.weights.iter().enumerate() {
            let key = rows.row(i);
            let partition = &mut self.partitions[self.groups[i] as usize];
            if self.append_only && self.ties == Ties::Cut {
                let full = partition.total >= self.end;
                if full && partition.rows.last().is_some_and(|(last, _)| key > last.as_ref()) {
                    continue;
                }
            }
            let outside = partition.is_outside(key, self.ties);
            if outside && self.append_only {
                continue;
            }
            if live && !outside && !partition.touched {
                partition.touched = true;
                let (window, _) = partition.window(self.start, self.end, self.ties);
                self.touched.push((self.groups[i], window));
            }
            partition.total += weight;
            match partition.rows.add(key.into(), weight) {
                Added::Entry => {
                    self.entry_bytes += key.len();
                    self.entry_rows += 1;
                }
                Added::Removal => {
                    self.entry_bytes -= key.len();
                    self.entry_rows -= 1;
                }
                Added::Weight => {}
            }
            if let Some(kept) = &mut kept {
                kept.push(i as u32);
                self.trim(i);
            }
        }
        Ok(kept)
    }

    /// Drops the last rows of row `i`'s partition as long as the window stays full without them.
    fn trim(&mut self, i: usize) {
        if self.ties != Ties::Cut {
            let partition = &self.partitions[self.groups[i] as usize];
            let many = partition.rows.len() > TRIM_MIN.max(2 * partition.trimmed_len);
            if many {
                self.trim_behind_peers(self.groups[i]);
            }
            return;
        }
        let partition = &mut self.partitions[self.groups[i] as usize];
        while let Some((_, weight)) = partition.rows.last()
            && partition.total - weight >= self.end
            && let Some((row, weight)) = partition.rows.pop_last()
        {
            partition.total -= weight;
            self.entry_bytes -= row.len();
            self.entry_rows -= 1;
        }
    }

    /// Drops what is behind the window and its last row's peers. The window keeps its last row.
    fn trim_behind_peers(&mut self, group: u32) {
        let partition = &mut self.partitions[group as usize];
        let (_, boundary) = partition.window(self.start, self.end, self.ties);
        if let Some(boundary) = boundary {
            while partition.rows.last().is_some_and(|(last, _)| *last > boundary)
                && let Some((row, weight)) = partition.rows.pop_last()
            {
                partition.total -= weight;
                self.entry_bytes -= row.len();
                self.entry_rows -= 1;
            }
        }
        partition.trimmed_len = partition.rows.len();
    }

    fn changes(&self, rows: &[(Box<[u8]>, i64)]) -> Result<ChangeBatch> {
        if rows.is_empty() {
            return Ok(ChangeBatch::default());
        }
        let columns =
            self.order.decode(rows.iter().map(|(row, _)| row.as_ref())).map_err(internal)?;
        let batch = batch_of(self.schema.clone(), columns, rows.len()).map_err(internal)?;
        let sign = if self.complement { -1 } else { 1 };
        Ok(ChangeBatch::new(batch, rows.iter().map(|(_, w)| w * sign).collect::<Vec<_>>()))
    }

    fn free(&mut self, freed: &[u32]) {
        if freed.is_empty() {
            return;
        }
        for &group in freed {
            self.partitions[group as usize] = Partition::default();
        }
        self.index.remove(freed);
        if let Some(kept) = self.index.compact() {
            keep(&mut self.partitions, &kept);
            self.groups = vec![];
        }
    }
}

impl Operator for TopN {
    fn apply(&mut self, _port: usize, change: ChangeBatch, out: &mut Output) -> Result<()> {
        if change.is_empty() {
            return Ok(());
        }
        if self.start < self.end {
            let kept = self.add_rows(&change, true)?;
            if let Some(log) = &mut self.log {
                match kept {
                    None => log.push(change.clone())?,
                    Some(kept) => log.push(change.take(&kept).map_err(internal)?)?,
                }
            }
        }
        if self.complement {
            out.push(change);
        }
        Ok(())
    }

    fn emit(&mut self, _epoch: Epoch, out: &mut Output) -> Result<()> {
        let (mut rows, mut freed) = (vec![], vec![]);
        for (group, before) in std::mem::take(&mut self.touched) {
            let partition = &mut self.partitions[group as usize];
            let (after, boundary) = partition.window(self.start, self.end, self.ties);
            partition.boundary = boundary;
            partition.touched = false;
            push_difference(before, after, &mut rows);
            if partition.rows.is_empty() {
                freed.push(group);
            } else if self.append_only && self.ties != Ties::Cut {
                self.trim_behind_peers(group);
            }
        }
        out.push(self.changes(&rows)?);
        self.free(&freed);
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<Vec<StateChange>> {
        let change = match &mut self.log {
            Some(log) => log.take()?,
            None => {
                self.log = Some(ChangeLog::new(self.schema.clone()));
                let rows = || self.partitions.iter().flat_map(|p| p.rows.iter());
                let columns =
                    self.order.decode(rows().map(|(row, _)| row.as_ref())).map_err(internal)?;
                let weights: Vec<i64> = rows().map(|(_, w)| w).collect();
                let batch =
                    batch_of(self.schema.clone(), columns, weights.len()).map_err(internal)?;
                ChangeBatch::new(batch, weights)
            }
        };
        if change.is_empty() {
            return Ok(vec![]);
        }
        Ok(vec![StateChange { part: ROWS, key: self.partition_columns.clone(), change }])
    }

    fn restore(&mut self, state: StateChange) -> Result<()> {
        if state.part != ROWS {
            return Err(Error::new(SqlState::DATA_CORRUPTED, "saved state does not fit the top-n")
                .with_detail(format!("no part \"{}\"", state.part)));
        }
        if state.change.is_empty() {
            return Ok(());
        }
        let types = |schema: &SchemaRef| -> Vec<DataType> {
            schema.fields().iter().map(|f| f.data_type().clone()).collect()
        };
        if types(state.change.rows().schema_ref()) != types(&self.schema) {
            return Err(Error::new(SqlState::DATA_CORRUPTED, "saved state does not fit the top-n")
                .with_detail("rows have other columns"));
        }
        self.add_rows(&state.change, false)?;
        let mut freed = self.groups.clone();
        freed.sort_unstable();
        freed.dedup();
        freed.retain(|&g| self.partitions[g as usize].rows.is_empty());
        self.free(&freed);
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        // A tree or vector entry is a fat pointer and a weight, at two thirds load, beside the row itself.
        let entries = self.entry_bytes + self.entry_rows * 40;
        let log = self.log.as_ref().map_or(0, |l| l.bytes());
        entries + self.partitions.capacity() * size_of::<Partition>() + self.index.bytes() + log
    }

    fn state_rows(&self) -> usize {
        self.entry_rows
    }
}

/// Appends `after - before` of two sorted windows.
fn push_difference(before: Window, after: Window, rows: &mut Vec<(Box<[u8]>, i64)>) {
    let (mut before, mut after) = (before.into_iter().peekable(), after.into_iter().peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((old, _)), Some((new, _))) => old.cmp(new),
        };
        let old = if order.is_le() { before.next() } else { None };
        let new = if order.is_ge() { after.next() } else { None };
        let weight = new.as_ref().map_or(0, |(_, w)| *w) - old.as_ref().map_or(0, |(_, w)| *w);
        if let Some((row, _)) = old.or(new).filter(|_| weight != 0) {
            rows.push((row, weight));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use arrow_array::{Int64Array, RecordBatch};
    use arrow_schema::{Field, Schema};
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn ranked(ties: Ties, append_only: bool) -> TopN {
        let column = |name| Field::new(name, DataType::Int64, true);
        let schema = Arc::new(Schema::new(vec![column("p"), column("k"), column("v")]));
        let key = SortKey { column: 1, descending: false, nulls_first: false };
        TopN::ranked(schema, vec![0], (vec![key], vec![]), 3, ties, append_only).unwrap()
    }

    fn run(top: &mut TopN, rows: &[[i64; 3]], found: &mut BTreeMap<[i64; 3], i64>) {
        let column = |c: usize| -> ArrayRef {
            Arc::new(rows.iter().map(|row| Some(row[c])).collect::<Int64Array>())
        };
        let columns = (0..3).map(column).collect();
        let batch = RecordBatch::try_new(top.schema.clone(), columns).unwrap();
        let mut out = Output::default();
        top.apply(0, ChangeBatch::inserts(batch), &mut out).unwrap();
        top.emit(Epoch(1), &mut out).unwrap();
        for change in &out.batches {
            let value =
                |row, c: usize| change.rows().column(c).as_primitive::<Int64Type>().value(row);
            for (row, weight) in change.weights.iter().enumerate() {
                let row = [value(row, 0), value(row, 1), value(row, 2)];
                *found.entry(row).or_default() += weight;
            }
        }
        found.retain(|_, weight| *weight != 0);
    }

    /// The rows whose rank in their partition is at most three.
    fn expected(rows: &[[i64; 3]], ties: Ties) -> BTreeMap<[i64; 3], i64> {
        let mut kept = BTreeMap::new();
        for row in rows {
            let before = rows.iter().filter(|other| other[0] == row[0]);
            let rank = match ties {
                Ties::Cut => continue,
                Ties::Stay => before.filter(|other| other[1] < row[1]).count(),
                Ties::Groups => {
                    let smaller = before.filter(|other| other[1] < row[1]);
                    smaller.map(|other| other[1]).collect::<std::collections::BTreeSet<_>>().len()
                }
            };
            if rank < 3 {
                *kept.entry(*row).or_default() += 1;
            }
        }
        kept
    }

    #[test]
    fn appended_rows_behind_the_first_ranks_are_forgotten_and_peers_kept() {
        let random = &mut StdRng::seed_from_u64(5);
        for round in 0..40 {
            let many = if round % 4 == 0 { 300 } else { 12 };
            for ties in [Ties::Stay, Ties::Groups] {
                let (mut appended, mut updated) = (ranked(ties, true), ranked(ties, false));
                let (mut rows, mut left, mut right) = (vec![], BTreeMap::new(), BTreeMap::new());
                for _ in 0..12 {
                    let count = random.random_range(1..=many);
                    let new: Vec<[i64; 3]> = (0..count)
                        .map(|_| {
                            let key = random.random_range(0..30);
                            [random.random_range(0..2), key, random.random_range(0..5)]
                        })
                        .collect();
                    rows.extend_from_slice(&new);
                    run(&mut appended, &new, &mut left);
                    run(&mut updated, &new, &mut right);
                    let wanted = expected(&rows, ties);
                    assert_eq!((&left, &right), (&wanted, &wanted), "{ties:?}");
                    assert_eq!(appended.state_rows(), wanted.len());
                }
            }
        }
    }
}
