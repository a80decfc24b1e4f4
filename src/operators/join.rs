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

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, new_null_array};
use arrow_schema::{ArrowError, Field, Schema, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;

use super::Output;
use super::project::row_errors;
use crate::arrangement::Snapshot;
use crate::change::{ChangeBatch, batch_of, take_rows};
use crate::error::{Error, Result};
use crate::hash::hash_columns;
use crate::query::evaluate::{Filtered, filter};

/// Pairs gathered at once: bounds the memory of a fan-out; larger gives nothing.
const PAIRS_MAX: usize = 1 << 16;

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

/// What the two sides are as of an epoch.
pub struct Versions {
    pub prev: Snapshot,
    pub now: Snapshot,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

/// A join's fixed parts; its state is the two arrangements.
pub struct Join {
    kind: JoinKind,
    keys: [Vec<usize>; 2],
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
        Join { kind, keys, nulls_match, condition, schemas, pair_schema, schema }
    }

    /// The change of the output in an epoch in which the inputs changed by `left` and `right`.
    pub fn epoch(
        &self,
        left: &ChangeBatch,
        right: &ChangeBatch,
        l: &Versions,
        r: &Versions,
        out: &mut Output,
    ) -> Result<()> {
        match self.kind {
            JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full => {
                self.pairs(Side::Left, left, &r.now, true, out)?;
                self.pairs(Side::Right, right, &l.prev, true, out)?;
            }
            JoinKind::LeftSemi | JoinKind::LeftAnti | JoinKind::LeftMark
                if self.condition.is_some() =>
            {
                self.pairs(Side::Left, left, &r.now, false, out)?;
                self.pairs(Side::Right, right, &l.prev, false, out)?;
            }
            JoinKind::LeftSemi | JoinKind::LeftAnti | JoinKind::LeftMark => {}
        }
        match self.kind {
            JoinKind::Inner => {}
            JoinKind::Left | JoinKind::LeftSemi | JoinKind::LeftAnti | JoinKind::LeftMark => {
                self.existence(Side::Left, left, right, l, r, out)?
            }
            JoinKind::Right => self.existence(Side::Right, right, left, r, l, out)?,
            JoinKind::Full => {
                self.existence(Side::Left, left, right, l, r, out)?;
                self.existence(Side::Right, right, left, r, l, out)?;
            }
        }
        Ok(())
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

    /// Calls `visit` with the matches of slices of `rows` by key alone; the slice's first row goes with them.
    fn probe(
        &self,
        side: Side,
        rows: &RecordBatch,
        other: &Snapshot,
        visit: &mut dyn FnMut(&RecordBatch, Pairs, usize) -> Result<()>,
    ) -> Result<()> {
        let step = match self.keys[0].is_empty() {
            true => (PAIRS_MAX / other.len().max(1)).clamp(1, 8192),
            false => 8192,
        };
        let mut hashes = vec![];
        let mut at = 0;
        while at < rows.num_rows() {
            let slice = rows.slice(at, step.min(rows.num_rows() - at));
            let keys = self.key_columns(side, &slice);
            hash_columns(&keys, slice.num_rows(), &mut hashes);
            let mut pairs = Pairs::default();
            other.probe(&keys, &hashes, &mut pairs.probe, &mut pairs.stored);
            if let Some(may) = self.may_match(&keys, slice.num_rows()) {
                let kept: Vec<usize> =
                    (0..pairs.probe.len()).filter(|&i| may[pairs.probe[i] as usize]).collect();
                pairs.stored = kept.iter().map(|&i| pairs.stored[i]).collect();
                pairs.probe = kept.iter().map(|&i| pairs.probe[i]).collect();
            }
            let length = slice.num_rows();
            visit(&slice, pairs, at)?;
            at += length;
        }
        Ok(())
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
        let theirs = other.gather(stored)?;
        let columns = match side {
            Side::Left => mine.into_iter().chain(theirs).collect(),
            Side::Right => theirs.into_iter().chain(mine).collect(),
        };
        batch_of(self.pair_schema.clone(), columns, probe.len()).map_err(failed)
    }

    /// The pairs of a delta with the other side. Emits them (when `rows` is set) and the errors of the condition.
    fn pairs(
        &self,
        side: Side,
        delta: &ChangeBatch,
        other: &Snapshot,
        rows: bool,
        out: &mut Output,
    ) -> Result<()> {
        let Some(batch) = &delta.batch else { return Ok(()) };
        self.probe(side, batch, other, &mut |slice, pairs, first| {
            for (probe, stored) in pairs.probe.chunks(PAIRS_MAX).zip(pairs.stored.chunks(PAIRS_MAX))
            {
                let weights: Vec<i64> =
                    probe.iter().map(|&p| delta.weights[first + p as usize]).collect();
                let pair = self.pair_batch(side, slice, other, probe, stored)?;
                let Some(condition) = &self.condition else {
                    let columns = pair.columns().to_vec();
                    let pair =
                        batch_of(self.schema.clone(), columns, pair.num_rows()).map_err(failed)?;
                    out.push(ChangeBatch::new(pair, weights));
                    continue;
                };
                let Filtered { keep: mask, failures } = filter(condition, &pair)?;
                if !failures.is_empty() {
                    let mut errors = row_errors(&pair, &weights, failures);
                    if self.kind != JoinKind::Inner && self.kind != JoinKind::LeftSemi {
                        errors = poisoned(&errors);
                    }
                    out.push(errors);
                }
                if rows {
                    let kept: Vec<u32> =
                        (0..mask.len() as u32).filter(|&i| mask.value(i as usize)).collect();
                    let kept_weights: Vec<i64> =
                        kept.iter().map(|&i| weights[i as usize]).collect();
                    let columns = take_rows(&pair, &kept).map_err(failed)?.columns().to_vec();
                    let batch =
                        batch_of(self.schema.clone(), columns, kept.len()).map_err(failed)?;
                    out.push(ChangeBatch::new(batch, kept_weights));
                }
            }
            Ok(())
        })
    }

    /// For each row: has it a match on the other side?
    fn matched(&self, side: Side, rows: &RecordBatch, other: &Snapshot) -> Result<Vec<bool>> {
        let mut matched = vec![false; rows.num_rows()];
        let Some(condition) = &self.condition else {
            let keys = self.key_columns(side, rows);
            let mut hashes = vec![];
            hash_columns(&keys, rows.num_rows(), &mut hashes);
            other.contains_keys(&keys, &hashes, &mut matched);
            if let Some(may) = self.may_match(&keys, rows.num_rows()) {
                matched.iter_mut().zip(may).for_each(|(m, may)| *m &= may);
            }
            return Ok(matched);
        };
        self.probe(side, rows, other, &mut |slice, pairs, first| {
            for (probe, stored) in pairs.probe.chunks(PAIRS_MAX).zip(pairs.stored.chunks(PAIRS_MAX))
            {
                let pair = self.pair_batch(side, slice, other, probe, stored)?;
                let mask = filter(condition, &pair)?.keep;
                for (&p, m) in probe.iter().zip(mask.values().iter()) {
                    matched[first + p as usize] |= m;
                }
            }
            Ok(())
        })?;
        Ok(matched)
    }

    /// The part of the output that depends on whether rows of `side` have a match.
    fn existence(
        &self,
        side: Side,
        delta: &ChangeBatch,
        other_delta: &ChangeBatch,
        mine: &Versions,
        other: &Versions,
        out: &mut Output,
    ) -> Result<()> {
        if let Some(rows) = &delta.batch {
            let matched = self.matched(side, rows, &other.now)?;
            self.emit_existence(side, rows, &delta.weights, &matched, out)?;
        }
        let Some(touched) = self.touched(side, other_delta, &mine.prev, other)? else {
            return Ok(());
        };
        let before = self.matched(side, &touched, &other.prev)?;
        let after = self.matched(side, &touched, &other.now)?;
        let flipped: Vec<u32> =
            (0..before.len() as u32).filter(|&i| before[i as usize] != after[i as usize]).collect();
        if flipped.is_empty() {
            return Ok(());
        }
        let rows = take_rows(&touched, &flipped).map_err(failed)?;
        let pick = |all: &[bool]| flipped.iter().map(|&i| all[i as usize]).collect::<Vec<_>>();
        self.emit_existence(side, &rows, &vec![-1; flipped.len()], &pick(&before), out)?;
        self.emit_existence(side, &rows, &vec![1; flipped.len()], &pick(&after), out)
    }

    /// The rows of `mine` that share a key with a change of the other side, each once.
    fn touched(
        &self,
        side: Side,
        other_delta: &ChangeBatch,
        mine: &Snapshot,
        other: &Versions,
    ) -> Result<Option<RecordBatch>> {
        let Some(mut changed) = other_delta.batch.clone() else { return Ok(None) };
        let other_side = if side == Side::Left { Side::Right } else { Side::Left };
        if self.condition.is_none() {
            // Without a condition a key's rows flip together, and only when the key appears or disappears.
            let before = self.key_present(other_side, &changed, &other.prev);
            let after = self.key_present(other_side, &changed, &other.now);
            let flips: Vec<u32> = (0..before.len() as u32)
                .filter(|&i| before[i as usize] != after[i as usize])
                .collect();
            changed = take_rows(&changed, &flips).map_err(failed)?;
        }
        let mut stored: Vec<u32> = vec![];
        self.probe(other_side, &changed, mine, &mut |_, pairs, _| {
            stored.extend(pairs.stored);
            Ok(())
        })?;
        stored.sort_unstable();
        stored.dedup();
        if stored.is_empty() {
            return Ok(None);
        }
        let columns = mine.gather(&stored)?;
        batch_of(self.schemas[side as usize].clone(), columns, stored.len())
            .map(Some)
            .map_err(failed)
    }

    fn key_present(&self, side: Side, rows: &RecordBatch, snapshot: &Snapshot) -> Vec<bool> {
        let keys = self.key_columns(side, rows);
        let mut hashes = vec![];
        hash_columns(&keys, rows.num_rows(), &mut hashes);
        let mut present = vec![false; rows.num_rows()];
        snapshot.contains_keys(&keys, &hashes, &mut present);
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
