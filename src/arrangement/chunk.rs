//! The rows: immutable chunks in append order, and beside them when each row died.
//!
//! A row's id is its place in append order. Sealed chunks hold exactly [`CHUNK_ROWS`] rows, so that an
//! id leads to its chunk by a shift; the tail is pieces as they came, merged eight to one. What is
//! kept owns its memory: a slice of a larger buffer is copied, lest one row hold a whole batch.
//! Deaths are one number a row, allocated 4,096 rows at a time at the first death among them.
//!
//! Invariant: chunks never change, and a death is stored before any snapshot that must see it is
//! taken. A later store is of a later epoch and cannot change an older snapshot's answer, so readers
//! need neither locks nor ordering.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::{ArrowError, DataType};

use super::column::Column;
use super::index::{prefetch, zeros};
use crate::change::batch_of;

pub(super) const CHUNK_BITS: u32 = 16;
/// Rows of a sealed chunk.
pub(super) const CHUNK_ROWS: usize = 1 << CHUNK_BITS;

/// Pieces of the tail merged into one.
const MERGE: usize = 8;

/// Larger pieces are not merged: text offsets are 32 bits wide, and copying half a gigabyte takes long.
const MERGE_BYTES_MAX: usize = 512 << 20;

/// Bytes of a chunk and each of its columns beside the data: structs, pointers, allocator.
const CHUNK_OVERHEAD: usize = 256;

/// Immutable rows.
pub(super) struct Chunk {
    pub start: u32,
    pub batch: RecordBatch,
    pub columns: Vec<Column>,
    pub bytes: usize,
}

impl Chunk {
    fn new(start: u32, batch: RecordBatch) -> Arc<Chunk> {
        let columns = batch.columns().iter().map(|c| Column::new(c.as_ref())).collect();
        let data: usize = batch.columns().iter().map(|c| slice_bytes(c.as_ref())).sum();
        let bytes = data + CHUNK_OVERHEAD * (1 + batch.num_columns());
        Arc::new(Chunk { start, batch, columns, bytes })
    }

    pub fn rows(&self) -> usize {
        self.batch.num_rows()
    }
}

/// Bytes that the rows of an array need, whatever it shares with others.
fn slice_bytes(array: &dyn Array) -> usize {
    let all = || array.get_buffer_memory_size();
    match array.data_type() {
        // Views count as 16 bytes a row there, without the buffers behind them.
        DataType::Utf8View | DataType::BinaryView => all(),
        _ => array.to_data().get_slice_memory_size().unwrap_or_else(|_| all()),
    }
}

/// The array in memory of its own where it shares a much larger buffer.
fn owned(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        DataType::Utf8View => return Ok(Arc::new(array.as_string_view().gc())),
        DataType::BinaryView => return Ok(Arc::new(array.as_binary_view().gc())),
        _ => {}
    }
    if array.get_buffer_memory_size() <= 2 * slice_bytes(array.as_ref()) + 1024 {
        return Ok(array.clone());
    }
    let all = UInt32Array::from_iter_values(0..array.len() as u32);
    arrow_select::take::take(array.as_ref(), &all, None)
}

fn owned_batch(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(owned).collect::<Result<Vec<_>, _>>()?;
    batch_of(batch.schema(), columns, batch.num_rows())
}

/// All chunks of one moment; cloning it is two reference counts.
#[derive(Clone, Default)]
pub(super) struct Chunks {
    sealed: Arc<Vec<Arc<Chunk>>>,
    tail: Arc<Vec<Arc<Chunk>>>,
}

impl Chunks {
    pub fn len(&self) -> usize {
        self.sealed.len() + self.tail.len()
    }

    pub fn get(&self, i: usize) -> Option<&Arc<Chunk>> {
        self.sealed.get(i).or_else(|| self.tail.get(i - self.sealed.len()))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Chunk>> {
        self.sealed.iter().chain(self.tail.iter())
    }

    /// The number of the chunk that holds `row`, which must exist.
    #[inline(always)]
    pub fn position(&self, row: u32) -> usize {
        let chunk = (row >> CHUNK_BITS) as usize;
        if chunk < self.sealed.len() { chunk } else { self.position_in_tail(row) }
    }

    fn position_in_tail(&self, row: u32) -> usize {
        self.sealed.len() + self.tail.partition_point(|c| c.start <= row) - 1
    }

    /// The chunk that holds `row`, which must exist, and the row's place in it.
    #[inline(always)]
    pub fn locate(&self, row: u32) -> (&Chunk, usize) {
        match self.sealed.get((row >> CHUNK_BITS) as usize) {
            Some(chunk) => (chunk, row as usize & (CHUNK_ROWS - 1)),
            None => {
                let chunk = &self.tail[self.tail.partition_point(|c| c.start <= row) - 1];
                (chunk, (row - chunk.start) as usize)
            }
        }
    }

    /// Appends rows as a new piece; they must not cross a multiple of [`CHUNK_ROWS`]. Returns by how
    /// much the bytes of all chunks changed.
    pub fn append(&mut self, start: u32, batch: &RecordBatch) -> Result<isize, ArrowError> {
        let piece = Chunk::new(start, owned_batch(batch)?);
        let mut grown = piece.bytes as isize;
        let end = start as usize + piece.rows();
        Arc::make_mut(&mut self.tail).push(piece);
        while self.tail.len() >= MERGE {
            let from = self.tail.len() - MERGE;
            let (first, last) = (&self.tail[from], &self.tail[self.tail.len() - 1]);
            if first.rows() > last.rows() * MERGE || end - first.start as usize > CHUNK_ROWS {
                break;
            }
            match self.merge(from)? {
                Some(change) => grown += change,
                None => break,
            }
        }
        // Only a tail that starts where the sealed chunks end can be sealed: behind a chunk too large
        // to merge, all later pieces stay in the tail and are found by binary search.
        let fits = self.tail.first().is_some_and(|t| end - t.start as usize == CHUNK_ROWS);
        if end.is_multiple_of(CHUNK_ROWS)
            && fits
            && let Some(change) = self.merge(0)?
        {
            grown += change;
            let chunk = Arc::make_mut(&mut self.tail).pop().expect("a merge leaves one piece");
            Arc::make_mut(&mut self.sealed).push(chunk);
        }
        Ok(grown)
    }

    /// Merges the tail from piece `from` on into one, unless that would be too large. Returns by how
    /// much the bytes changed.
    fn merge(&mut self, from: usize) -> Result<Option<isize>, ArrowError> {
        let pieces = &self.tail[from..];
        let before: usize = pieces.iter().map(|c| c.bytes).sum();
        if pieces.len() == 1 {
            return Ok(Some(0));
        }
        if before > MERGE_BYTES_MAX {
            return Ok(None);
        }
        let schema = pieces[0].batch.schema();
        let batch = arrow_select::concat::concat_batches(&schema, pieces.iter().map(|c| &c.batch))?;
        let merged = Chunk::new(pieces[0].start, batch);
        let change = merged.bytes as isize - before as isize;
        let tail = Arc::make_mut(&mut self.tail);
        tail.truncate(from);
        tail.push(merged);
        Ok(Some(change))
    }
}

const BLOCK_ROWS: usize = 4096;

/// Deaths of the rows of one chunk: a code each, 0 for alive. What the codes mean is the
/// generation's business; they rise with the epoch of the death.
#[derive(Default)]
struct ChunkDeaths {
    blocks: [OnceLock<Box<[AtomicU32]>>; CHUNK_ROWS / BLOCK_ROWS],
}

/// Deaths of all rows of one moment; cloning it is one reference count.
#[derive(Clone, Default)]
pub(super) struct Deaths {
    chunks: Arc<Vec<Arc<ChunkDeaths>>>,
}

impl Deaths {
    /// Makes room for the rows before `limit`.
    pub fn extend_to(&mut self, limit: usize) {
        while self.chunks.len() * CHUNK_ROWS < limit {
            Arc::make_mut(&mut self.chunks).push(Arc::default());
        }
    }

    #[inline(always)]
    fn block(&self, row: u32) -> Option<&[AtomicU32]> {
        let chunk = &self.chunks[(row >> CHUNK_BITS) as usize];
        chunk.blocks[row as usize % CHUNK_ROWS / BLOCK_ROWS].get().map(|b| &**b)
    }

    #[inline(always)]
    pub fn code(&self, row: u32) -> u32 {
        self.block(row).map_or(0, |b| b[row as usize % BLOCK_ROWS].load(Relaxed))
    }

    /// Returns the bytes newly allocated.
    pub fn set(&self, row: u32, code: u32) -> usize {
        let chunk = &self.chunks[(row >> CHUNK_BITS) as usize];
        let mut grown = 0;
        let block = chunk.blocks[row as usize % CHUNK_ROWS / BLOCK_ROWS].get_or_init(|| {
            grown = BLOCK_ROWS * 4;
            zeros(BLOCK_ROWS)
        });
        block[row as usize % BLOCK_ROWS].store(code, Relaxed);
        grown
    }

    #[inline(always)]
    pub fn prefetch(&self, row: u32) {
        if let Some(block) = self.block(row) {
            prefetch(&block[row as usize % BLOCK_ROWS]);
        }
    }

    /// Whether none of the rows `from..to` has ever died; may say no where none has.
    pub fn none_in(&self, from: u32, to: u32) -> bool {
        let blocks = from / BLOCK_ROWS as u32..to.div_ceil(BLOCK_ROWS as u32);
        blocks.into_iter().all(|b| self.block(b * BLOCK_ROWS as u32).is_none())
    }
}
