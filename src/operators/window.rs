//! Window functions, kept up to date: every input row with the results of some calls over its partition.
//!
//! A partition keeps its rows in order, in blocks ([`blocks`]). At the end of an epoch each partition that has changed is
//! looked at once: which rows' results may be others follows from where rows came and went (the hull), from how far
//! calls look around a row, and from what the changes come to: where as many rows came as went, the numbers of the rows
//! behind them stay. Those rows are evaluated as they were and as they are ([`slices`], [`calls`]), and the difference is
//! emitted. So no output is kept beside the rows.
//! Rows that the order does not tell apart are ordered by further keys and at last by the whole row: results are a
//! function of the input's Z-set alone. A row of which a call fails (an overflow) is an error instead, until its cause is
//! gone.

mod blocks;
mod calls;
mod frames;
mod slices;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, UInt32Array};
use arrow_schema::{DataType, SchemaRef};
use arrow_select::take::take;

use self::blocks::{Block, Extent, Hull, Partition, View};
use self::calls::{Call, Delta, Reach, Results};
pub use self::calls::{WindowCall, WindowFunction};
pub use self::frames::{Bound, Frame};
use self::slices::{Cut, Slices, rows_of};
use super::accumulators::Failure;
use super::consolidate::{ChangeLog, consolidate};
use super::group_index::{GroupIndex, keep};
use super::row_order::{RowOrder, SortKey};
use super::row_text::row_text;
use super::{Operator, Output, StateChange};
use crate::change::{ChangeBatch, RowError, batch_of, errors_batch};
use crate::epoch::Epoch;
use crate::error::{Error, Result, SqlState};

const ROWS: &str = "rows";

/// Rows that are evaluated together, unless one partition alone has more.
const EVALUATED_ROWS: usize = 65_536;

/// Blocks of one partition whose results are computed together, where nobody needs all its rows for that: what is kept
/// beside them meanwhile is bounded. Tests have small blocks and few.
const PIECE_BLOCKS: usize = if cfg!(test) { 3 } else { EVALUATED_ROWS / blocks::BLOCK_ROWS_MAX };

/// Groups of the accumulators: those that blocks have, and scratch.
#[derive(Default)]
struct Slots {
    free: Vec<u32>,
    used: u32,
}

impl Slots {
    fn take(&mut self, calls: &mut [Call], count: usize) -> Vec<u32> {
        let reused = self.free.split_off(self.free.len() - self.free.len().min(count));
        let new = self.used..self.used + (count - reused.len()) as u32;
        self.used = new.end;
        for accumulator in calls.iter_mut().filter_map(Call::additive) {
            accumulator.resize(self.used as usize);
        }
        reused.into_iter().chain(new).collect()
    }

    fn give_back(&mut self, calls: &mut [Call], slots: Vec<u32>) {
        for accumulator in calls.iter_mut().filter_map(Call::additive) {
            accumulator.clear(&slots);
        }
        self.free.extend(slots);
    }
}

/// The operator. Output columns are the input's, then one a call.
pub struct Window {
    input_schema: SchemaRef,
    output_schema: SchemaRef,
    partition_columns: Vec<usize>,
    order: RowOrder,
    calls: Vec<Call>,
    /// Of all calls together.
    reach: Reach,
    index: GroupIndex,
    partitions: Vec<Partition>,
    /// Partitions with pending changes.
    touched: Vec<u32>,
    slots: Slots,
    log: Option<ChangeLog>,
    state_bytes: usize,
    state_rows: usize,
    groups: Vec<u32>,
}

/// A partition that has changed.
struct Changed {
    partition: u32,
    hull: Hull,
    /// The first block to emit, and how many behind the hull.
    start: usize,
    behind: usize,
}

fn internal(error: arrow_schema::ArrowError) -> Error {
    Error::internal(error.to_string())
}

impl Window {
    /// Calls over partitions of an input of `input_schema` by the columns `partition`, in each of which rows are ordered by
    /// `order`; `ties` decide among peers before the whole row does. Columns of a type that cannot be ordered and
    /// functions over types that they are not defined for are 0A000.
    pub fn new(
        input_schema: SchemaRef,
        partition: Vec<usize>,
        (order, ties): (&[SortKey], &[SortKey]),
        calls: Vec<WindowCall>,
        output_schema: SchemaRef,
    ) -> Result<Window> {
        let types: Vec<DataType> =
            input_schema.fields().iter().map(|f| f.data_type().clone()).collect();
        let keys: Vec<DataType> = partition.iter().map(|&c| types[c].clone()).collect();
        let calls = calls.into_iter().map(|call| Call::new(call, &input_schema));
        let calls = calls.collect::<Result<Vec<_>>>()?;
        Ok(Window {
            order: RowOrder::with_ties(&types, order, ties)?,
            index: GroupIndex::new(&keys)?,
            reach: calls.iter().map(Call::reach).fold(Reach::default(), Reach::or),
            input_schema,
            output_schema,
            partition_columns: partition,
            calls,
            partitions: vec![],
            touched: vec![],
            slots: Slots::default(),
            log: None,
            state_bytes: 0,
            state_rows: 0,
            groups: vec![],
        })
    }

    fn add_rows(&mut self, change: &ChangeBatch) -> Result<()> {
        let columns = change.rows().columns();
        let keys: Vec<ArrayRef> =
            self.partition_columns.iter().map(|&c| columns[c].clone()).collect();
        self.index.intern(&keys, change.len(), &mut self.groups)?;
        self.partitions
            .resize_with(self.index.slots().max(self.partitions.len()), Partition::default);
        let rows = self.order.encode(columns)?;
        for (i, &weight) in change.weights.iter().enumerate() {
            let partition = &mut self.partitions[self.groups[i] as usize];
            if partition.pending.is_empty() {
                self.touched.push(self.groups[i]);
            }
            partition.pending.push((rows.row(i).into(), weight));
        }
        Ok(())
    }

    /// Applies what is pending; the partitions that it was pending for, and of those whose rows have changed the hulls.
    fn settle(&mut self) -> (Vec<u32>, Vec<(u32, Hull)>) {
        let mut hulls = vec![];
        let touched = std::mem::take(&mut self.touched);
        for &partition in &touched {
            let blocks = &mut self.partitions[partition as usize];
            let Some(hull) = blocks.settle() else { continue };
            let new = &blocks.blocks[hull.start..hull.start + hull.new_len];
            let rows = |blocks: &[Arc<Block>]| blocks.iter().map(|b| b.rows.len()).sum::<usize>();
            let bytes = |blocks: &[Arc<Block>]| blocks.iter().map(|b| b.bytes()).sum::<usize>();
            self.state_rows = self.state_rows + rows(new) - rows(&hull.old);
            self.state_bytes = self.state_bytes + bytes(new) - bytes(&hull.old);
            hulls.push((partition, hull));
        }
        (touched, hulls)
    }

    /// What each of the changes comes to, for accumulators: a slot a hull.
    fn delta_slots(&mut self, hulls: &[(u32, Hull)]) -> Result<Vec<u32>> {
        if !self.calls.iter_mut().any(|call| call.additive().is_some()) {
            return Ok(vec![]);
        }
        let slots = self.slots.take(&mut self.calls, hulls.len());
        let deltas = || {
            hulls.iter().zip(&slots).flat_map(|((_, h), s)| h.deltas.iter().map(move |d| (d, *s)))
        };
        let columns =
            self.order.decode(deltas().map(|((row, _), _)| row.as_ref())).map_err(internal)?;
        let weights: Vec<i64> = deltas().map(|((_, weight), _)| *weight).collect();
        let groups: Vec<u32> = deltas().map(|(_, slot)| slot).collect();
        self.calls.iter_mut().try_for_each(|call| call.add(&columns, &groups, &weights))?;
        Ok(slots)
    }

    /// Which rows have to be evaluated.
    fn concerned(&self, partition: u32, hull: Hull, slot: Option<u32>) -> Changed {
        let [old, new] = self.views(partition, &hull);
        let (start, ends) = (hull.start, [hull.start + hull.old.len(), hull.start + hull.new_len]);
        let rows = |view: &View| view.blocks(0..view.len()).map(|b| b.count).sum::<i64>();
        // The group that begins right behind the hull may begin there only now.
        let groups = |view: &View, end: usize| {
            view.groups(start..end) + i64::from(end < view.len() && view.is_start(end))
        };
        let delta = Delta {
            rows: hull.deltas.iter().map(|(_, weight)| weight).sum(),
            groups: groups(&new, ends[1]) - groups(&old, ends[0]),
            first: rows(&View { hull: &[], after: &[], ..new }),
        };
        let affected = self.calls.iter().map(|call| call.affects(&delta, slot));
        let (before, behind) =
            affected.fold((false, false), |all, one| (all.0 || one.0, all.1 || one.1));
        let (ahead, back) = (self.reach.ahead, self.reach.back);
        let first = match before {
            true => 0,
            false => old.back(start, ahead).min(new.back(start, ahead)),
        };
        let behind = match behind {
            true => old.len() - ends[0],
            false => (old.ahead(ends[0], back) - ends[0]).max(new.ahead(ends[1], back) - ends[1]),
        };
        Changed { partition, hull, start: first, behind }
    }

    /// The partition before and after.
    fn views<'a>(&'a self, partition: u32, hull: &'a Hull) -> [View<'a>; 2] {
        let blocks = &self.partitions[partition as usize].blocks;
        let (before, rest) = blocks.split_at(hull.start);
        let (new, after) = rest.split_at(hull.new_len);
        [View { before, hull: &hull.old, after }, View { before, hull: new, after }]
    }

    /// The blocks to emit, from the first one on, in pieces that are evaluated for themselves.
    fn pieces(&self, changed: &Changed) -> Vec<Range<usize>> {
        let hull = changed.hull.old.len().max(changed.hull.new_len);
        let blocks = changed.hull.start - changed.start + hull + changed.behind;
        let Reach { back, ahead, front, tail, .. } = self.reach;
        if back.all || ahead.all || front || tail {
            return std::iter::once(0..blocks).collect();
        }
        (0..blocks).step_by(PIECE_BLOCKS).map(|start| start..start + PIECE_BLOCKS).collect()
    }

    /// What is read to evaluate a piece of one side of a change.
    fn cut(&self, view: &View, changed: &Changed, piece: &Range<usize>, sign: i64) -> Option<Cut> {
        let hull = if sign < 0 { changed.hull.old.len() } else { changed.hull.new_len };
        let end = changed.hull.start + hull + changed.behind;
        let emit = changed.start + piece.start..end.min(changed.start + piece.end);
        if emit.is_empty() {
            return None;
        }
        let back = if self.reach.front { Extent::ALL } else { self.reach.back };
        let ahead = if self.reach.tail { Extent::ALL } else { self.reach.ahead };
        let mut context = view.back(emit.start, back)..view.ahead(emit.end, ahead);
        let (mut head, mut rows) = (0, self.reach.head);
        while rows > 0 && head < context.start {
            rows -= view.block(head).count;
            head += 1;
        }
        if head == context.start {
            (head, context.start) = (0, 0);
        }
        let partition = changed.partition;
        Some(Cut { sign, partition, head: 0..head, context, emit, carry: None })
    }

    /// What the rows before a context come to, in a slot. What blocks come to is kept for the next time.
    fn carry(&mut self, blocks: &[Arc<Block>]) -> Result<Option<u32>> {
        if !self.reach.carry || blocks.is_empty() {
            return Ok(None);
        }
        let unknown: Vec<&Arc<Block>> = blocks.iter().filter(|b| b.slot.get().is_none()).collect();
        let slots = self.slots.take(&mut self.calls, unknown.len() + 1);
        let (carry, slots) = slots.split_first().expect("one more than the blocks was taken");
        for (blocks, slots) in unknown.chunks(256).zip(slots.chunks(256)) {
            let (columns, weights, of_block) = rows_of(blocks, &self.order)?;
            let groups: Vec<u32> = of_block.into_iter().map(|block| slots[block]).collect();
            self.calls.iter_mut().try_for_each(|call| call.add(&columns, &groups, &weights))?;
            for (block, &slot) in blocks.iter().zip(slots) {
                block.slot.set(slot).map_err(|_| Error::internal("a block has one slot"))?;
            }
        }
        for accumulator in self.calls.iter_mut().filter_map(Call::additive) {
            for slot in blocks.iter().filter_map(|block| block.slot.get()) {
                accumulator.merge(*slot as usize, *carry as usize, 1);
            }
        }
        Ok(Some(*carry))
    }

    /// Evaluates the partitions, as they were and as they are, and emits what is different.
    fn emit_changed(
        &mut self,
        changed: &[(&Changed, Range<usize>)],
        out: &mut Output,
    ) -> Result<()> {
        let (mut slices, mut carries) = (Slices::default(), vec![]);
        for (one, piece) in changed {
            for (side, sign) in [(0, -1), (1, 1)] {
                let view = self.views(one.partition, &one.hull)[side];
                let Some(mut cut) = self.cut(&view, one, piece, sign) else { continue };
                if cut.context.start > 0 {
                    let before: Vec<_> = view.blocks(0..cut.context.start).cloned().collect();
                    cut.carry = self.carry(&before)?;
                    carries.extend(cut.carry);
                }
                slices.push(&self.views(one.partition, &one.hull)[side], cut);
            }
        }
        slices.decode(&self.order)?;
        let results = self.evaluate(&slices);
        self.slots.give_back(&mut self.calls, carries);
        self.push_changes(&slices, results?, out)
    }

    fn evaluate(&mut self, slices: &Slices) -> Result<Vec<Results>> {
        let needed = self.calls.iter().map(|call| call.slots(slices)).max().unwrap_or(0);
        let slots = self.slots.take(&mut self.calls, needed);
        let results = self.calls.iter_mut().map(|call| call.evaluate(slices, &slots)).collect();
        self.slots.give_back(&mut self.calls, slots);
        results
    }

    fn push_changes(&self, slices: &Slices, results: Vec<Results>, out: &mut Output) -> Result<()> {
        let emitted = slices.slices.iter().flat_map(|s| s.emitted().map(move |at| (at, s.sign)));
        let (rows, weights): (Vec<u32>, Vec<i64>) =
            emitted.map(|(at, sign)| (at as u32, sign)).unzip();
        let rows = UInt32Array::from(rows);
        let columns = slices.columns.iter().map(|column| take(column, &rows, None));
        let mut columns = columns.collect::<std::result::Result<Vec<_>, _>>().map_err(internal)?;
        let mut failures: Vec<_> = results.iter().flat_map(|r| r.failures.iter()).collect();
        // Of several calls that fail the first one speaks for the row.
        failures.sort_by_key(|failure| failure.position);
        failures.dedup_by_key(|failure| failure.position);
        let error = |failure: &&Failure| RowError {
            sqlstate: failure.code.0.to_owned(),
            message: failure.message.clone(),
            payload: row_text(self.input_schema.fields(), &columns, failure.position),
            poison: false,
            weight: weights[failure.position],
        };
        let errors: Vec<RowError> = failures.iter().map(error).collect();
        columns.extend(results.iter().map(|result| result.column.clone()));
        let batch =
            batch_of(self.output_schema.clone(), columns, weights.len()).map_err(internal)?;
        let mut change = ChangeBatch::new(batch, weights);
        if !failures.is_empty() {
            let mut failed = failures.iter().map(|failure| failure.position).peekable();
            let good = (0..change.len()).filter(|&row| failed.next_if_eq(&row).is_none());
            let good: Vec<u32> = good.map(|row| row as u32).collect();
            change = change.take(&good).map_err(internal)?;
        }
        out.push(consolidate(&[change])?);
        if !errors.is_empty() {
            out.push(consolidate(&[errors_batch(&errors)])?);
        }
        Ok(())
    }

    /// Gives back the slots of blocks that are no more, and partitions without rows.
    fn release(&mut self, touched: Vec<u32>, hulls: impl Iterator<Item = Hull>) {
        let gone = hulls.flat_map(|hull| hull.old).filter_map(Arc::into_inner);
        let slots: Vec<u32> = gone.filter_map(|block| block.slot.into_inner()).collect();
        self.slots.give_back(&mut self.calls, slots);
        let is_empty = |group: &u32| self.partitions[*group as usize].blocks.is_empty();
        let freed: Vec<u32> = touched.into_iter().filter(is_empty).collect();
        if freed.is_empty() {
            return;
        }
        for &partition in &freed {
            self.partitions[partition as usize] = Partition::default();
        }
        self.index.remove(&freed);
        if let Some(kept) = self.index.compact() {
            keep(&mut self.partitions, &kept);
            self.groups = vec![];
        }
    }
}

impl Operator for Window {
    fn apply(&mut self, _port: usize, change: ChangeBatch, _out: &mut Output) -> Result<()> {
        if change.is_empty() {
            return Ok(());
        }
        self.add_rows(&change)?;
        match &mut self.log {
            Some(log) => log.push(change),
            None => Ok(()),
        }
    }

    fn emit(&mut self, _epoch: Epoch, out: &mut Output) -> Result<()> {
        let (touched, hulls) = self.settle();
        let slots = self.delta_slots(&hulls)?;
        let changed: Vec<Changed> = hulls
            .into_iter()
            .enumerate()
            .map(|(at, (partition, hull))| self.concerned(partition, hull, slots.get(at).copied()))
            .collect();
        self.slots.give_back(&mut self.calls, slots);
        let pieces = changed
            .iter()
            .flat_map(|one| self.pieces(one).into_iter().map(move |piece| (one, piece)));
        let pieces: Vec<(&Changed, Range<usize>)> = pieces.collect();
        let mut rest = &pieces[..];
        while !rest.is_empty() {
            let mut rows = 0;
            let fits = rest.iter().take_while(|(_, piece)| {
                rows += 2 * piece.len() * blocks::BLOCK_ROWS_MAX;
                rows <= EVALUATED_ROWS
            });
            let (now, later) = rest.split_at(fits.count().max(1));
            self.emit_changed(now, out)?;
            rest = later;
        }
        self.release(touched, changed.into_iter().map(|one| one.hull));
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<Vec<StateChange>> {
        let change = match &mut self.log {
            Some(log) => log.take()?,
            None => {
                self.log = Some(ChangeLog::new(self.input_schema.clone()));
                let blocks: Vec<&Arc<Block>> =
                    self.partitions.iter().flat_map(|p| p.blocks.iter()).collect();
                let (columns, weights, _) = rows_of(&blocks, &self.order)?;
                let batch = batch_of(self.input_schema.clone(), columns, weights.len())
                    .map_err(internal)?;
                ChangeBatch::new(batch, weights)
            }
        };
        if change.is_empty() {
            return Ok(vec![]);
        }
        Ok(vec![StateChange { part: ROWS, key: self.partition_columns.clone(), change }])
    }

    fn restore(&mut self, state: StateChange) -> Result<()> {
        let mismatch = |detail: &str| {
            let message = "saved state does not fit the window functions";
            Error::new(SqlState::DATA_CORRUPTED, message).with_detail(detail)
        };
        if state.part != ROWS {
            return Err(mismatch(&format!("no part \"{}\"", state.part)));
        }
        if state.change.is_empty() {
            return Ok(());
        }
        let types = |schema: &SchemaRef| -> Vec<DataType> {
            schema.fields().iter().map(|f| f.data_type().clone()).collect()
        };
        if types(state.change.rows().schema_ref()) != types(&self.input_schema) {
            return Err(mismatch("rows have other columns"));
        }
        self.add_rows(&state.change)?;
        let (touched, hulls) = self.settle();
        self.release(touched, hulls.into_iter().map(|(_, hull)| hull));
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        let calls: usize = self.calls.iter().map(Call::bytes).sum();
        let log = self.log.as_ref().map_or(0, |log| log.bytes());
        let partitions = self.partitions.capacity() * size_of::<Partition>();
        self.state_bytes + partitions + self.index.bytes() + calls + log
    }

    fn state_rows(&self) -> usize {
        self.state_rows
    }
}
