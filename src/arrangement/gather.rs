//! Stored rows, by id, back into arrays: typed copies per column instead of a generic interleave.
//!
//! The rows' places are found once and serve all columns. Booleans and nested types go through
//! Arrow's interleave, over the chunks that are touched only.

use arrow::array::ArrayData;
use arrow_array::{Array, ArrayRef, make_array};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, Buffer, MutableBuffer, NullBuffer};
use arrow_schema::{ArrowError, DataType, SchemaRef};

use super::chunk::{Chunk, Chunks};
use super::column::{Column, Values};
use crate::error::{Error, Result, SqlState};

/// Where the rows of one call are: the chunks it touches, and per row which of them and where in it.
struct Places<'a> {
    chunks: Vec<&'a Chunk>,
    rows: Vec<(u32, u32)>,
}

/// Below this many rows each gets an entry of its own among the chunks: finding equal ones costs more.
const FEW: usize = 16;

fn places<'a>(chunks: &'a Chunks, rows: &[u32]) -> Places<'a> {
    if rows.len() <= FEW {
        let found: Vec<_> = rows.iter().map(|&row| chunks.locate(row)).collect();
        let rows = found.iter().enumerate().map(|(i, (_, at))| (i as u32, *at as u32)).collect();
        return Places { chunks: found.into_iter().map(|(chunk, _)| chunk).collect(), rows };
    }
    const UNSEEN: u32 = u32::MAX;
    let mut numbers = vec![UNSEEN; chunks.len()];
    let mut touched: Vec<&Chunk> = vec![];
    let starts: Vec<u32> = chunks.iter().map(|c| c.start).collect();
    let mut found = Vec::with_capacity(rows.len());
    for &row in rows {
        let position = chunks.position(row);
        let number = &mut numbers[position];
        if *number == UNSEEN {
            *number = touched.len() as u32;
            touched.extend(chunks.get(position).map(|c| &**c));
        }
        found.push((*number, row - starts[position]));
    }
    Places { chunks: touched, rows: found }
}

/// The columns `columns` of the stored rows `rows`, in that order.
pub(super) fn gather(
    chunks: &Chunks,
    schema: &SchemaRef,
    rows: &[u32],
    columns: &[usize],
) -> Result<Vec<ArrayRef>> {
    if rows.is_empty() {
        let empty = |&k: &usize| arrow_array::new_empty_array(schema.field(k).data_type());
        return Ok(columns.iter().map(empty).collect());
    }
    let places = places(chunks, rows);
    columns.iter().map(|&k| places.gather(k)).collect()
}

impl Places<'_> {
    fn gather(&self, k: usize) -> Result<ArrayRef> {
        let data_type = self.chunks[0].batch.column(k).data_type();
        let buffer = match &self.chunks[0].columns[k].values {
            Values::W1(_) => self.natives(k, |c| match &c.values {
                Values::W1(v) => v,
                _ => &[],
            }),
            Values::W2(_) => self.natives(k, |c| match &c.values {
                Values::W2(v) => v,
                _ => &[],
            }),
            Values::W4(_) => self.natives(k, |c| match &c.values {
                Values::W4(v) => v,
                _ => &[],
            }),
            Values::W8(_) => self.natives(k, |c| c.words().unwrap_or_default()),
            Values::W16(_) => self.natives(k, |c| match &c.values {
                Values::W16(v) => v,
                _ => &[],
            }),
            Values::W32(_) => self.natives(k, |c| match &c.values {
                Values::W32(v) => v,
                _ => &[],
            }),
            Values::F32(_) => self.natives(k, |c| match &c.values {
                Values::F32(v) => v,
                _ => &[],
            }),
            Values::F64(_) => self.natives(k, |c| match &c.values {
                Values::F64(v) => v,
                _ => &[],
            }),
            Values::Fixed { width, .. } => self.fixed(k, *width),
            Values::Text { .. } => return self.text(k, data_type),
            _ => return self.interleave(k),
        };
        self.array(k, data_type, vec![buffer])
    }

    fn array(&self, k: usize, data_type: &DataType, buffers: Vec<Buffer>) -> Result<ArrayRef> {
        let mut data =
            ArrayData::builder(data_type.clone()).len(self.rows.len()).nulls(self.nulls(k));
        for buffer in buffers {
            data = data.add_buffer(buffer);
        }
        // SAFETY: the buffers hold one value of the type for each row, copied from arrays of the
        // same type; text offsets rise and lie within the bytes.
        Ok(make_array(unsafe { data.build_unchecked() }))
    }

    fn nulls(&self, k: usize) -> Option<NullBuffer> {
        let nulls: Vec<Option<&NullBuffer>> =
            self.chunks.iter().map(|c| c.columns[k].nulls.as_ref()).collect();
        if nulls.iter().all(|n| n.is_none()) {
            return None;
        }
        let valid = |i: usize| {
            let (chunk, at) = self.rows[i];
            nulls[chunk as usize].is_none_or(|n| n.is_valid(at as usize))
        };
        Some(NullBuffer::new(BooleanBuffer::collect_bool(self.rows.len(), valid)))
    }

    fn natives<T: ArrowNativeType>(&self, k: usize, of: impl Fn(&Column) -> &[T]) -> Buffer {
        let slices: Vec<&[T]> = self.chunks.iter().map(|c| of(&c.columns[k])).collect();
        let values: Vec<T> =
            self.rows.iter().map(|&(chunk, at)| slices[chunk as usize][at as usize]).collect();
        Buffer::from_vec(values)
    }

    fn fixed(&self, k: usize, width: usize) -> Buffer {
        let mut out = MutableBuffer::with_capacity(self.rows.len() * width);
        for &(chunk, at) in &self.rows {
            if let Values::Fixed { bytes, .. } = &self.chunks[chunk as usize].columns[k].values {
                out.extend_from_slice(&bytes[at as usize * width..(at as usize + 1) * width]);
            }
        }
        out.into()
    }

    fn text(&self, k: usize, data_type: &DataType) -> Result<ArrayRef> {
        let values: Vec<(&[i32], &[u8])> = self
            .chunks
            .iter()
            .map(|c| match &c.columns[k].values {
                Values::Text { offsets, bytes } => (&offsets[..], bytes.as_slice()),
                _ => (&[][..], &[][..]),
            })
            .collect();
        let mut offsets: Vec<i32> = Vec::with_capacity(self.rows.len() + 1);
        offsets.push(0);
        let mut total = 0usize;
        for &(chunk, at) in &self.rows {
            let from = values[chunk as usize].0;
            total += (from[at as usize + 1] - from[at as usize]) as usize;
            offsets.push(total as i32);
        }
        if total > i32::MAX as usize {
            let message = "text of one batch exceeds 2 GB";
            return Err(Error::new(SqlState::INSUFFICIENT_RESOURCES, message));
        }
        let mut out: Vec<u8> = Vec::with_capacity(total);
        for &(chunk, at) in &self.rows {
            let (from, bytes) = values[chunk as usize];
            out.extend_from_slice(
                &bytes[from[at as usize] as usize..from[at as usize + 1] as usize],
            );
        }
        self.array(k, data_type, vec![Buffer::from_vec(offsets), Buffer::from_vec(out)])
    }

    fn interleave(&self, k: usize) -> Result<ArrayRef> {
        let arrays: Vec<&dyn Array> =
            self.chunks.iter().map(|c| c.batch.column(k).as_ref()).collect();
        let rows: Vec<(usize, usize)> =
            self.rows.iter().map(|&(chunk, at)| (chunk as usize, at as usize)).collect();
        let gathered = arrow_select::interleave::interleave(&arrays, &rows);
        gathered.map_err(|e: ArrowError| Error::internal(format!("cannot gather rows: {e}")))
    }
}
