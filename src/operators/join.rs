//! Joins of all kinds over two versioned arrangements.
//!
//! With L and R as of the epoch before (`prev`) and of the epoch itself (`now`), and dL and dR what changed:
//!
//! - matched pairs change by dL x R(now) + L(prev) x dR, since the product is bilinear;
//! - whether a row has a match changes for the rows of dL themselves, judged against R(now), and for the rows of
//!   L(prev) that share a key with dR, judged against R(prev) and R(now).
//!
//! Outer joins add the second, padded with NULLs, to the first; semi, anti and mark joins are the second alone. A
//! condition beyond the keys is evaluated on pairs, so any ON is exact.
//!
//! A few changed rows may meet millions of others. So an epoch is done in steps of bounded work and output ([`Join::step`]),
//! between which other dataflows get their turn and the operators behind take what there is; only a single row's
//! matches are never divided.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow_buffer::ScalarBuffer;
use arrow_schema::{ArrowError, Field, Schema, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;

use super::Output;
use super::project::row_errors;
use crate::arrangement::Snapshot;
use crate::change::{ChangeBatch, batch_of, take_rows};
use crate::error::{Error, Result};
use crate::hash::hash_columns;
use crate::query::evaluate::{Filtered, filter};

/// Pairs looked up and gathered at once: bounds the memory of a fan-out; larger gives nothing.
const PAIRS_MAX: usize = if cfg!(test) { 64 } else { 1 << 16 };
/// Rows looked up at once.
const SLICE_ROWS: usize = 8192;

/// How unmatched rows are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    Inner,
    Left,
    Right,
    Full,
    /// Left rows with a match, left columns only.
    LeftSemi,
    /// Left rows without a match, left columns only.
    LeftAnti,
    /// Left rows and a boolean: has a match.
    LeftMark,
}

impl JoinKind {
    /// Whether an error on this side (0 left, 1 right) could make rows appear that should not: the side is negated
    /// or its missing rows are filled with NULLs.
    pub fn poisons(self, side: usize) -> bool {
        match self {
            JoinKind::Inner | JoinKind::LeftSemi => false,
            JoinKind::Left | JoinKind::LeftAnti | JoinKind::LeftMark => side == 1,
            JoinKind::Right => side == 0,
            JoinKind::Full => true,
        }
    }
}

/// What a side is as of an epoch.
pub struct Versions {
    pub prev: Snapshot,
    pub now: Snapshot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

impl Side {
    fn other(self) -> Side {
        match self {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
        }
    }
}

/// A part of an epoch's work. All but [`Task::Flips`] go through a side's changes row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    /// The matches of the side's changes on the other side.
    Pairs(Side),
    /// Which of the side's changes have a match.
    Existence(Side),
    /// Finds the rows that the other side has under the keys of the side's changes.
    Touch(Side),
    /// Which of the side's rows that were found have got or lost their match.
    Flips(Side),
}

/// One epoch of a join under way: its inputs, and what is left to be done.
pub struct JoinEpoch {
    deltas: [Vec<ChangeBatch>; 2],
    versions: [Versions; 2],
    tasks: VecDeque<Task>,
    /// Where the first task is: in which batch of the changes, and at which row of it (or of `touched`).
    batch: usize,
    row: usize,
    /// Rows of one side that share a key with a change of the other, by id, each once when they have all been found.
    touched: Vec<u32>,
    /// How many of them there were when they were last freed of duplicates.
    distinct: usize,
}

impl JoinEpoch {
    fn versions(&self, side: Side) -> &Versions {
        &self.versions[side as usize]
    }

    /// Some of the side's changes, from where the task is, with their weights; `None` at the end.
    fn slice(&mut self, side: Side) -> Option<(RecordBatch, ScalarBuffer<i64>)> {
        while let Some(delta) = self.deltas[side as usize].get(self.batch) {
            let left = delta.len() - self.row;
            if left > 0 {
                let rows = left.min(SLICE_ROWS);
                return Some((
                    delta.rows().slice(self.row, rows),
                    delta.weights.slice(self.row, rows),
                ));
            }
            (self.batch, self.row) = (self.batch + 1, 0);
        }
        None
    }

    fn touch(&mut self, rows: &[u32]) {
        self.touched.extend_from_slice(rows);
        if self.touched.len() > 2 * self.distinct + PAIRS_MAX {
            self.settle();
        }
    }

    fn settle(&mut self) {
        self.touched.sort_unstable();
        self.touched.dedup();
        self.distinct = self.touched.len();
    }
}

/// A join's fixed parts; its state is the two arrangements.
pub struct Join {
    kind: JoinKind,
    keys: [Vec<usize>; 2],
    /// Where a side's columns are in what is arranged of it, which others may share and want more of.
    stored: [Vec<usize>; 2],
    nulls_match: bool,
    condition: Option<Arc<dyn PhysicalExpr>>,
    schemas: [SchemaRef; 2],
    /// Left ++ right, what the condition sees.
    pair_schema: SchemaRef,
    schema: SchemaRef,
}

/// Indices of matching rows: `probe` into the delta, `stored` into the snapshot.
#[derive(Default)]
struct Pairs {
    probe: Vec<u32>,
    stored: Vec<u32>,
}

fn failed(e: ArrowError) -> Error {
    Error::internal(e.to_string())
}

impl Join {
    pub fn new(
        kind: JoinKind,
        keys: [Vec<usize>; 2],
        nulls_match: bool,
        condition: Option<Arc<dyn PhysicalExpr>>,
        schemas: [SchemaRef; 2],
        schema: SchemaRef,
    ) -> Join {
        let fields = schemas.iter().flat_map(|s| s.fields().iter());
        let fields: Vec<Field> = fields.map(|f| f.as_ref().clone().with_nullable(true)).collect();
        let pair_schema = Arc::new(Schema::new(fields));
        let stored = [0, 1].map(|side: usize| (0..schemas[side].fields().len()).collect());
        Join { kind, keys, stored, nulls_match, condition, schemas, pair_schema, schema }
    }

    /// Says which columns of a side's arrangement the side's own are, left and right, where these are not all of them.
    pub fn with_stored_columns(mut self, columns: [Option<Vec<usize>>; 2]) -> Join {
        for (side, columns) in columns.into_iter().enumerate() {
            if let Some(columns) = columns {
                debug_assert_eq!(columns.len(), self.schemas[side].fields().len());
                self.stored[side] = columns;
            }
        }
        self
    }

    pub fn kind(&self) -> JoinKind {
        self.kind
    }

    /// Begins an epoch in which the inputs (left, right), of these versions, changed by `deltas`.
    pub fn begin(&self, deltas: [Vec<ChangeBatch>; 2], versions: [Versions; 2]) -> JoinEpoch {
        let mut tasks = VecDeque::new();
        if self.shows_pairs() || self.condition.is_some() {
            tasks.extend([Task::Pairs(Side::Left), Task::Pairs(Side::Right)]);
        }
        let sides: &[Side] = match self.kind {
            JoinKind::Inner => &[],
            JoinKind::Left | JoinKind::LeftSemi | JoinKind::LeftAnti | JoinKind::LeftMark => {
                &[Side::Left]
            }
            JoinKind::Right => &[Side::Right],
            JoinKind::Full => &[Side::Left, Side::Right],
        };
        for &side in sides {
            tasks.extend([Task::Existence(side), Task::Touch(side.other()), Task::Flips(side)]);
        }
        JoinEpoch { deltas, versions, tasks, batch: 0, row: 0, touched: vec![], distinct: 0 }
    }

    /// Goes on with an epoch until it is done, which is returned, or the fuel is used up: a unit for each row and pair
    /// looked at. The last look may take more than is left: that of a slice, or of a single row with more matches. All
    /// outputs together are the change of the join in this epoch, whatever the fuel.
    pub fn step(&self, epoch: &mut JoinEpoch, fuel: &mut usize, out: &mut Output) -> Result<bool> {
        while let Some(&task) = epoch.tasks.front() {
            if *fuel == 0 {
                return Ok(false);
            }
            let looked_at = match task {
                Task::Pairs(side) => self.pairs(side, epoch, out)?,
                Task::Existence(side) => self.existence(side, epoch, out)?,
                Task::Touch(side) => self.touch(side, epoch)?,
                Task::Flips(side) => self.flips(side, epoch, out)?,
            };
            match looked_at {
                Some(count) => *fuel = fuel.saturating_sub(count),
                None => {
                    epoch.tasks.pop_front();
                    (epoch.batch, epoch.row) = (0, 0);
                }
            }
        }
        Ok(true)
    }

    /// Whether matched pairs are part of the output.
    fn shows_pairs(&self) -> bool {
        match self.kind {
            JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full => true,
            JoinKind::LeftSemi | JoinKind::LeftAnti | JoinKind::LeftMark => false,
        }
    }

    fn key_columns(&self, side: Side, rows: &RecordBatch) -> Vec<ArrayRef> {
        self.keys[side as usize].iter().map(|&k| rows.column(k).clone()).collect()
    }

    /// Whether each row could match at all: a NULL key matches nothing unless NULLs match.
    fn may_match(&self, keys: &[ArrayRef], rows: usize) -> Option<Vec<bool>> {
        if self.nulls_match || keys.iter().all(|k| k.null_count() == 0) {
            return None;
        }
        Some((0..rows).map(|row| keys.iter().all(|k| !k.is_null(row))).collect())
    }

    /// The matches by key of the first of `rows`, and how many rows those are: at least one.
    fn probe(&self, side: Side, rows: &RecordBatch, other: &Snapshot) -> (Pairs, usize) {
        let keys = self.key_columns(side, rows);
        let mut hashes = vec![];
        hash_columns(&keys, rows.num_rows(), &mut hashes);
        let Pairs { mut probe, mut stored } = Pairs::default();
        let done = other.probe_some(&keys, &hashes, PAIRS_MAX, &mut probe, &mut stored);
        if let Some(may) = self.may_match(&keys, rows.num_rows()) {
            let kept: Vec<usize> = (0..probe.len()).filter(|&i| may[probe[i] as usize]).collect();
            stored = kept.iter().map(|&i| stored[i]).collect();
            probe = kept.iter().map(|&i| probe[i]).collect();
        }
        (Pairs { probe, stored }, done)
    }

    /// Left ++ right columns of some pairs.
    fn pair_batch(
        &self,
        side: Side,
        rows: &RecordBatch,
        other: &Snapshot,
        probe: &[u32],
        stored: &[u32],
    ) -> Result<RecordBatch> {
        let mine = take_rows(rows, probe).map_err(failed)?.columns().to_vec();
        let theirs = other.gather_columns(stored, &self.stored[side.other() as usize])?;
        let columns = match side {
            Side::Left => mine.into_iter().chain(theirs).collect(),
            Side::Right => theirs.into_iter().chain(mine).collect(),
        };
        batch_of(self.pair_schema.clone(), columns, probe.len()).map_err(failed)
    }

    /// Some pairs of a side's changes with the other side: emits them, where the join shows them, and the errors of the
    /// condition. The other side's changes of the epoch meet those of the left one, and only there.
    fn pairs(&self, side: Side, epoch: &mut JoinEpoch, out: &mut Output) -> Result<Option<usize>> {
        let Some((rows, weights)) = epoch.slice(side) else { return Ok(None) };
        let versions = epoch.versions(side.other());
        let other = if side == Side::Left { &versions.now } else { &versions.prev };
        let (pairs, done) = self.probe(side, &rows, other);
        for (probe, stored) in pairs.probe.chunks(PAIRS_MAX).zip(pairs.stored.chunks(PAIRS_MAX)) {
            let weights: Vec<i64> = probe.iter().map(|&p| weights[p as usize]).collect();
            let pair = self.pair_batch(side, &rows, other, probe, stored)?;
            match &self.condition {
                None => {
                    let (columns, rows) = (pair.columns().to_vec(), pair.num_rows());
                    let pair = batch_of(self.schema.clone(), columns, rows).map_err(failed)?;
                    out.push(ChangeBatch::new(pair, weights));
                }
                Some(condition) => self.push_filtered(condition, &pair, &weights, out)?,
            }
        }
        epoch.row += done;
        Ok(Some(done + pairs.probe.len()))
    }

    fn push_filtered(
        &self,
        condition: &Arc<dyn PhysicalExpr>,
        pair: &RecordBatch,
        weights: &[i64],
        out: &mut Output,
    ) -> Result<()> {
        let Filtered { keep: mask, failures } = filter(condition, pair)?;
        if !failures.is_empty() {
            let mut errors = row_errors(pair, weights, failures);
            if self.kind != JoinKind::Inner && self.kind != JoinKind::LeftSemi {
                errors = poisoned(&errors);
            }
            out.push(errors);
        }
        if self.shows_pairs() {
            let kept: Vec<u32> =
                (0..mask.len() as u32).filter(|&i| mask.value(i as usize)).collect();
            let kept_weights: Vec<i64> = kept.iter().map(|&i| weights[i as usize]).collect();
            let columns = take_rows(pair, &kept).map_err(failed)?.columns().to_vec();
            let batch = batch_of(self.schema.clone(), columns, kept.len()).map_err(failed)?;
            out.push(ChangeBatch::new(batch, kept_weights));
        }
        Ok(())
    }

    /// For each of the first of `rows`: has it a match on the other side? And how many pairs were looked at.
    fn matched(
        &self,
        side: Side,
        rows: &RecordBatch,
        other: &Snapshot,
    ) -> Result<(Vec<bool>, usize)> {
        let Some(condition) = &self.condition else {
            return Ok((self.key_present(side, rows, other), 0));
        };
        let (pairs, done) = self.probe(side, rows, other);
        let mut matched = vec![false; done];
        for (probe, stored) in pairs.probe.chunks(PAIRS_MAX).zip(pairs.stored.chunks(PAIRS_MAX)) {
            let pair = self.pair_batch(side, rows, other, probe, stored)?;
            let mask = filter(condition, &pair)?.keep;
            for (&p, m) in probe.iter().zip(mask.values().iter()) {
                matched[p as usize] |= m;
            }
        }
        Ok((matched, pairs.probe.len()))
    }

    /// The part of the output that depends on whether some of the side's changes have a match.
    fn existence(
        &self,
        side: Side,
        epoch: &mut JoinEpoch,
        out: &mut Output,
    ) -> Result<Option<usize>> {
        let Some((rows, weights)) = epoch.slice(side) else { return Ok(None) };
        let (matched, pairs) = self.matched(side, &rows, &epoch.versions(side.other()).now)?;
        let rows = rows.slice(0, matched.len());
        self.emit_existence(side, &rows, &weights[..matched.len()], &matched, out)?;
        epoch.row += matched.len();
        Ok(Some(matched.len() + pairs))
    }

    /// Finds the rows of the other side, as they were, that share a key with some of the side's changes.
    fn touch(&self, side: Side, epoch: &mut JoinEpoch) -> Result<Option<usize>> {
        let Some((mut changed, _)) = epoch.slice(side) else {
            epoch.settle();
            return Ok(None);
        };
        let length = changed.num_rows();
        let mut flipping: Option<Vec<u32>> = None;
        if self.condition.is_none() {
            // Without a condition a key's rows flip together, and only when the key appears or disappears.
            let before = self.key_present(side, &changed, &epoch.versions(side).prev);
            let after = self.key_present(side, &changed, &epoch.versions(side).now);
            let flips: Vec<u32> =
                (0..length as u32).filter(|&i| before[i as usize] != after[i as usize]).collect();
            changed = take_rows(&changed, &flips).map_err(failed)?;
            flipping = Some(flips);
        }
        let (pairs, done) = self.probe(side, &changed, &epoch.versions(side.other()).prev);
        epoch.touch(&pairs.stored);
        // Those after the last one looked up come again; those that do not flip need nothing.
        let done = match flipping {
            Some(flips) => flips.get(done).map_or(length, |&next| next as usize),
            None => done,
        };
        epoch.row += done;
        Ok(Some(done + pairs.probe.len()))
    }

    /// Some of the touched rows of a side: those that have got or lost their match are emitted as they were and as they are.
    fn flips(&self, side: Side, epoch: &mut JoinEpoch, out: &mut Output) -> Result<Option<usize>> {
        let rest = &epoch.touched[epoch.row..];
        if rest.is_empty() {
            (epoch.touched, epoch.distinct) = (vec![], 0);
            return Ok(None);
        }
        let rest = &rest[..rest.len().min(SLICE_ROWS)];
        let columns =
            epoch.versions(side).prev.gather_columns(rest, &self.stored[side as usize])?;
        let schema = self.schemas[side as usize].clone();
        let rows = batch_of(schema, columns, rest.len()).map_err(failed)?;
        let other = epoch.versions(side.other());
        let (before, pairs_before) = self.matched(side, &rows, &other.prev)?;
        let (after, pairs_after) = self.matched(side, &rows, &other.now)?;
        let done = before.len().min(after.len());
        let flipped: Vec<u32> =
            (0..done as u32).filter(|&i| before[i as usize] != after[i as usize]).collect();
        if !flipped.is_empty() {
            let rows = take_rows(&rows, &flipped).map_err(failed)?;
            let pick = |all: &[bool]| flipped.iter().map(|&i| all[i as usize]).collect::<Vec<_>>();
            self.emit_existence(side, &rows, &vec![-1; flipped.len()], &pick(&before), out)?;
            self.emit_existence(side, &rows, &vec![1; flipped.len()], &pick(&after), out)?;
        }
        epoch.row += done;
        Ok(Some(done + pairs_before + pairs_after))
    }

    /// For each row: has the snapshot a row with its key?
    fn key_present(&self, side: Side, rows: &RecordBatch, snapshot: &Snapshot) -> Vec<bool> {
        let keys = self.key_columns(side, rows);
        let mut hashes = vec![];
        hash_columns(&keys, rows.num_rows(), &mut hashes);
        let mut present = vec![false; rows.num_rows()];
        snapshot.contains_keys(&keys, &hashes, &mut present);
        if let Some(may) = self.may_match(&keys, rows.num_rows()) {
            present.iter_mut().zip(may).for_each(|(present, may)| *present &= may);
        }
        present
    }

    fn emit_existence(
        &self,
        side: Side,
        rows: &RecordBatch,
        weights: &[i64],
        matched: &[bool],
        out: &mut Output,
    ) -> Result<()> {
        let wanted = match self.kind {
            JoinKind::Inner => return Ok(()),
            JoinKind::LeftMark => {
                let mut columns = rows.columns().to_vec();
                columns.push(Arc::new(BooleanArray::from(matched.to_vec())));
                let batch =
                    batch_of(self.schema.clone(), columns, rows.num_rows()).map_err(failed)?;
                out.push(ChangeBatch::new(batch, weights.to_vec()));
                return Ok(());
            }
            JoinKind::LeftSemi => true,
            JoinKind::LeftAnti | JoinKind::Left | JoinKind::Right | JoinKind::Full => false,
        };
        let kept: Vec<u32> =
            (0..matched.len() as u32).filter(|&i| matched[i as usize] == wanted).collect();
        if kept.is_empty() {
            return Ok(());
        }
        let weights: Vec<i64> = kept.iter().map(|&i| weights[i as usize]).collect();
        let mine = take_rows(rows, &kept).map_err(failed)?.columns().to_vec();
        let columns = match (self.kind, side) {
            (JoinKind::LeftSemi | JoinKind::LeftAnti, _) => mine,
            (_, Side::Left) => {
                mine.into_iter().chain(nulls(&self.schemas[1], kept.len())).collect()
            }
            (_, Side::Right) => nulls(&self.schemas[0], kept.len()).chain(mine).collect(),
        };
        let batch = batch_of(self.schema.clone(), columns, kept.len()).map_err(failed)?;
        out.push(ChangeBatch::new(batch, weights));
        Ok(())
    }
}

fn nulls(schema: &SchemaRef, rows: usize) -> impl Iterator<Item = ArrayRef> + '_ {
    schema.fields().iter().map(move |f| new_null_array(f.data_type(), rows))
}

/// The same errors, marked as making the answer wrong.
pub fn poisoned(errors: &ChangeBatch) -> ChangeBatch {
    let Some(batch) = &errors.batch else { return ChangeBatch::default() };
    let mut columns = batch.columns().to_vec();
    columns[3] = Arc::new(BooleanArray::from(vec![true; batch.num_rows()]));
    let batch =
        RecordBatch::try_new(batch.schema(), columns).expect("the error schema is unchanged");
    ChangeBatch { batch: Some(batch), weights: errors.weights.clone(), kind: errors.kind }
}
