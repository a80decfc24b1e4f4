//! What a reader holds: an arrangement as of one epoch.
//!
//! A [`Snapshot`] is a handful of reference counts and three numbers. It can be cloned, sent and read on
//! any thread while the writer goes on; its answers never change. Through the index that holds
//! only as long as its epoch is not older than what compaction was told: a reader that outlives one
//! step of the worker holds a [`super::Pin`].

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use arrow_buffer::BooleanBuffer;
use arrow_schema::SchemaRef;

use super::chunk::{Chunk, Chunks, Deaths};
use super::column::Column;
use super::generation::{Generation, Shape};
use super::index::{AHEAD, Index, Links, NIL, tag};
use crate::change::batch_of;
use crate::epoch::Epoch;
use crate::error::Result;

/// An arrangement as of one epoch.
#[derive(Clone)]
pub struct Snapshot {
    shape: Arc<Shape>,
    epoch: Epoch,
    /// Rows from this id on were born later.
    limit: u32,
    /// Rows with a death code up to this one are dead.
    horizon: u32,
    len: usize,
    bytes: usize,
    pub(super) chunks: Chunks,
    deaths: Deaths,
    index: Arc<Index>,
    links: Arc<Links>,
}

const _: () = {
    const fn is_shared<T: Send + Sync + Clone>() {}
    is_shared::<Snapshot>();
};

/// What becomes of matches: the place of the key in its batch, and the stored row.
trait Visitor {
    /// Whether another key is to be looked up.
    fn wants_key(&self) -> bool;

    /// Takes a match; whether the key's further ones are wanted.
    fn visit(&mut self, key: usize, row: u32) -> bool;
}

/// Takes the matches as pairs, of no further key once there are enough.
struct Collect<'a> {
    pairs_max: usize,
    probe_rows: &'a mut Vec<u32>,
    stored_rows: &'a mut Vec<u32>,
}

impl Visitor for Collect<'_> {
    #[inline(always)]
    fn wants_key(&self) -> bool {
        self.probe_rows.len() < self.pairs_max
    }

    #[inline(always)]
    fn visit(&mut self, key: usize, row: u32) -> bool {
        self.probe_rows.push(key as u32);
        self.stored_rows.push(row);
        true
    }
}

/// Notes which keys have a match.
struct Mark<'a>(&'a mut [bool]);

impl Visitor for Mark<'_> {
    #[inline(always)]
    fn wants_key(&self) -> bool {
        true
    }

    #[inline(always)]
    fn visit(&mut self, key: usize, _row: u32) -> bool {
        self.0[key] = true;
        false
    }
}

/// Which rows of a chunk are visible.
enum Visible {
    None,
    /// All of the range.
    Range(usize, usize),
    /// Those set, of the range that starts here.
    Some(usize, BooleanBuffer),
}

impl Snapshot {
    /// `limit` and `len`: rows born, and rows visible, as of `epoch`.
    pub(super) fn new(
        shape: &Arc<Shape>,
        generation: &Generation,
        epoch: Epoch,
        limit: u32,
        len: usize,
    ) -> Snapshot {
        Snapshot {
            shape: shape.clone(),
            epoch,
            limit,
            horizon: generation.code(epoch),
            len,
            bytes: generation.bytes(),
            chunks: generation.chunks.clone(),
            deaths: generation.deaths.clone(),
            index: generation.index().clone(),
            links: generation.links.clone(),
        }
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.shape.schema
    }

    /// The columns of the key, in the order in which keys are passed to [`Snapshot::probe`].
    pub fn key(&self) -> &[usize] {
        &self.shape.key
    }

    /// The number of visible rows.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of rows and index that the snapshot keeps from being freed, as of when it was taken;
    /// most are shared with the arrangement and with other snapshots.
    pub fn memory_bytes(&self) -> usize {
        self.bytes
    }

    #[inline(always)]
    fn is_visible(&self, row: u32) -> bool {
        // Code 0, alive, wraps around to more than any horizon.
        row < self.limit && self.deaths.code(row).wrapping_sub(1) >= self.horizon
    }

    /// All matches of a batch of keys: the place in the batch and the stored row's id, pair by pair,
    /// ordered by place. `keys` are arrays of the key columns' types, `hashes` what
    /// [`crate::hash::hash_columns`] makes of them. The contents of both outputs are replaced.
    ///
    /// NULL matches NULL: a join whose condition says otherwise does not probe rows with a NULL key. Without
    /// key columns every visible row matches every probe, so callers pass few at a time.
    pub fn probe(
        &self,
        keys: &[ArrayRef],
        hashes: &[u64],
        probe_rows: &mut Vec<u32>,
        stored_rows: &mut Vec<u32>,
    ) {
        self.probe_some(keys, hashes, usize::MAX, probe_rows, stored_rows);
    }

    /// As [`Snapshot::probe`], but takes up no further key once there are `pairs_max` pairs. Returns how many keys are done: at
    /// least one, of several.
    pub fn probe_some(
        &self,
        keys: &[ArrayRef],
        hashes: &[u64],
        pairs_max: usize,
        probe_rows: &mut Vec<u32>,
        stored_rows: &mut Vec<u32>,
    ) -> usize {
        probe_rows.clear();
        stored_rows.clear();
        self.matches(keys, hashes, &mut Collect { pairs_max, probe_rows, stored_rows })
    }

    /// Whether each key has a match, one answer a key; the contents of `out` are replaced.
    pub fn contains_keys(&self, keys: &[ArrayRef], hashes: &[u64], out: &mut Vec<bool>) {
        out.clear();
        out.resize(hashes.len(), false);
        self.matches(keys, hashes, &mut Mark(out));
    }

    /// Shows matches to a visitor, key by key; returns how many keys it wanted.
    fn matches(&self, keys: &[ArrayRef], hashes: &[u64], visitor: &mut impl Visitor) -> usize {
        debug_assert_eq!(keys.len(), self.shape.key.len(), "one array a key column");
        if self.limit == 0 {
            return hashes.len();
        }
        if self.shape.key.is_empty() {
            return self.all_match(hashes.len(), visitor);
        }
        let probes: Vec<Column> = keys.iter().map(|k| Column::new(k.as_ref())).collect();
        match (&self.shape.key[..], &probes[..]) {
            ([k], [probe]) if probe.nulls.is_none() && probe.words().is_some() => {
                let words = probe.words().unwrap_or_default();
                self.walk(hashes, visitor, |chunk, at, i| {
                    let stored = &chunk.columns[*k];
                    stored.words().is_some_and(|s| s[at] == words[i]) && !stored.is_null(at)
                })
            }
            (key, probes) => self.walk(hashes, visitor, |chunk, at, i| {
                key.iter().zip(probes).all(|(&k, p)| chunk.columns[k].equals(at, p, i))
            }),
        }
    }

    /// Every visible row for every probe, of an arrangement without key columns.
    fn all_match(&self, probes: usize, visitor: &mut impl Visitor) -> usize {
        let rows: Vec<u32> = (0..self.limit).filter(|&row| self.is_visible(row)).collect();
        for i in 0..probes {
            if !visitor.wants_key() {
                return i;
            }
            for &row in &rows {
                if !visitor.visit(i, row) {
                    break;
                }
            }
        }
        probes
    }

    /// Walks the chains of all hashes: first their heads, then the rows behind them, asking for cache
    /// lines some keys ahead in both passes.
    #[inline(always)]
    fn walk(
        &self,
        hashes: &[u64],
        visitor: &mut impl Visitor,
        equal: impl Fn(&Chunk, usize, usize) -> bool,
    ) -> usize {
        let mut heads = Vec::with_capacity(hashes.len());
        for (i, &hash) in hashes.iter().enumerate() {
            if let Some(&ahead) = hashes.get(i + AHEAD) {
                self.index.prefetch(tag(ahead));
            }
            heads.push(self.index.head(tag(hash)));
        }
        for (i, &head) in heads.iter().enumerate() {
            if let Some(&ahead) = heads.get(i + AHEAD)
                && ahead < self.limit
            {
                let (chunk, at) = self.chunks.locate(ahead);
                chunk.columns[self.shape.key[0]].prefetch(at);
                self.links.prefetch(ahead);
                self.deaths.prefetch(ahead);
            }
            if !visitor.wants_key() {
                return i;
            }
            let mut row = head;
            while row != NIL {
                if self.is_visible(row) {
                    let (chunk, at) = self.chunks.locate(row);
                    if equal(chunk, at, i) && !visitor.visit(i, row) {
                        break;
                    }
                }
                row = self.links.get(row);
            }
        }
        hashes.len()
    }

    /// The rows of these ids, as probing gave them, in that order: one array a column of the schema.
    pub fn gather(&self, rows: &[u32]) -> Result<Vec<ArrayRef>> {
        let all: Vec<usize> = (0..self.shape.schema.fields().len()).collect();
        self.gather_columns(rows, &all)
    }

    /// As [`Snapshot::gather`], for some columns of the schema, in the order given.
    pub fn gather_columns(&self, rows: &[u32], columns: &[usize]) -> Result<Vec<ArrayRef>> {
        super::gather::gather(&self.chunks, &self.shape.schema, rows, columns)
    }

    /// The number of slices that a scan is made of.
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// The visible rows of slice `i` below [`Snapshot::chunks`], at most 65,536, or `None` when there
    /// are none. `projection` names columns of the schema, `None` all of them. A slice whose rows
    /// are all visible is shared, not copied.
    pub fn scan_chunk(&self, i: usize, projection: Option<&[usize]>) -> Option<RecordBatch> {
        self.scan_chunk_from(i, 0, projection)
    }

    /// All visible rows, in append order, one batch a slice.
    pub fn scan(&self) -> Vec<RecordBatch> {
        self.scan_from(0)
    }

    /// The visible ones of the rows from id `from` on.
    pub(super) fn scan_from(&self, from: u32) -> Vec<RecordBatch> {
        (0..self.chunks()).filter_map(|i| self.scan_chunk_from(i, from, None)).collect()
    }

    fn scan_chunk_from(
        &self,
        i: usize,
        from: u32,
        projection: Option<&[usize]>,
    ) -> Option<RecordBatch> {
        let chunk = self.chunks.get(i)?;
        let visible = self.visible_in(chunk, from);
        if matches!(visible, Visible::None) {
            return None;
        }
        let batch = match projection {
            None => chunk.batch.clone(),
            Some(columns) => chunk.batch.project(columns).expect("the projection is in the schema"),
        };
        match visible {
            Visible::None => None,
            Visible::Range(0, n) if n == chunk.rows() => Some(batch),
            Visible::Range(at, n) => Some(batch.slice(at, n)),
            Visible::Some(at, mask) => {
                let (rows, count) = (mask.len(), mask.count_set_bits());
                if batch.num_columns() == 0 {
                    return batch_of(batch.schema(), vec![], count).ok();
                }
                let mask = BooleanArray::new(mask, None);
                let kept = arrow_select::filter::filter_record_batch(&batch.slice(at, rows), &mask);
                Some(kept.expect("the mask is as long as the slice"))
            }
        }
    }

    fn visible_in(&self, chunk: &Chunk, from: u32) -> Visible {
        let start = chunk.start.max(from);
        let end = self.limit.min(chunk.start + chunk.rows() as u32);
        if start >= end {
            return Visible::None;
        }
        let (at, n) = ((start - chunk.start) as usize, (end - start) as usize);
        if self.deaths.none_in(start, end) {
            return Visible::Range(at, n);
        }
        let mask = BooleanBuffer::collect_bool(n, |i| self.is_visible(start + i as u32));
        match mask.count_set_bits() {
            0 => Visible::None,
            all if all == n => Visible::Range(at, n),
            _ => Visible::Some(at, mask),
        }
    }
}
