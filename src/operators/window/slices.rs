//! Parts of partitions laid side by side as columns, so that calls are evaluated over many of them at once.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::ArrayRef;

use super::super::row_order::{RowOrder, peers};
use super::blocks::{Block, View};
use crate::error::{Error, Result};

/// A run of rows of one partition, with what comes before it in the partition.
pub struct Slice {
    /// -1 for rows as they were, +1 for rows as they are.
    pub sign: i64,
    pub partition: u32,
    /// Where the partition's first rows are, when `context` does not begin with them and somebody wants them.
    pub head: Range<usize>,
    /// Where the rows are that results are computed from.
    pub context: Range<usize>,
    /// Those of them whose results are wanted.
    pub emit: Range<usize>,
    /// The partition's rows before `context`.
    pub first: i64,
    /// All rows of the partition.
    pub total: i64,
    /// Groups of peers that begin before `context`.
    pub groups_before: i64,
    /// Where accumulators keep what the rows before `context` come to; `None` when that is nothing or not asked for.
    pub carry: Option<u32>,
}

impl Slice {
    /// The position in the partition of the row at an index of `context`, or of its end.
    pub fn position(&self, at: usize) -> i64 {
        self.first + (at - self.context.start) as i64
    }

    /// Where the row at a position of the partition is.
    pub fn index(&self, position: i64) -> Option<usize> {
        let at = match usize::try_from(position - self.first) {
            Ok(offset) => self.context.start + offset,
            Err(_) => {
                let at = self.head.start + usize::try_from(position).ok()?;
                return (at < self.head.end).then_some(at);
            }
        };
        (at < self.context.end).then_some(at)
    }

    pub fn emitted(&self) -> Range<usize> {
        self.emit.clone()
    }
}

/// Which blocks of a partition a slice is made of.
pub struct Cut {
    pub sign: i64,
    pub partition: u32,
    pub head: Range<usize>,
    pub context: Range<usize>,
    pub emit: Range<usize>,
    pub carry: Option<u32>,
}

#[derive(Default)]
pub struct Slices {
    /// The input's columns.
    pub columns: Vec<ArrayRef>,
    /// Whether a group of peers begins with the row.
    pub starts: Vec<bool>,
    pub slices: Vec<Slice>,
    /// Until the columns are made of them.
    rows: Vec<Arc<[u8]>>,
}

impl Slices {
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// How many rows have results.
    pub fn emitted(&self) -> usize {
        self.slices.iter().map(|slice| slice.emit.len()).sum()
    }

    /// Adds blocks of a partition.
    pub fn push(&mut self, view: &View, cut: Cut) {
        let head = self.push_blocks(view, cut.head);
        let before = cut.context.start;
        let start = self.len();
        let context = self.push_blocks(view, cut.context.clone());
        let rows = |blocks: Range<usize>| view.blocks(blocks).map(|b| b.count).sum::<i64>();
        let offset = |end: usize| start + rows(before..end) as usize;
        self.slices.push(Slice {
            sign: cut.sign,
            partition: cut.partition,
            head,
            context,
            emit: offset(cut.emit.start)..offset(cut.emit.end),
            first: rows(0..before),
            total: rows(0..view.len()),
            groups_before: view.groups(0..before),
            carry: cut.carry,
        });
    }

    fn push_blocks(&mut self, view: &View, blocks: Range<usize>) -> Range<usize> {
        let start = self.len();
        for at in blocks {
            let mut begins = view.is_start(at);
            let mut last: Option<&Arc<[u8]>> = None;
            for (row, weight) in &view.block(at).rows {
                begins |= last.is_some_and(|last| peers(last) != peers(row));
                for _ in 0..*weight {
                    self.rows.push(row.clone());
                    self.starts.push(std::mem::take(&mut begins));
                }
                last = Some(row);
            }
        }
        start..self.len()
    }

    /// Makes the columns.
    pub fn decode(&mut self, order: &RowOrder) -> Result<()> {
        self.columns = decode(order, self.rows.iter().map(|row| row.as_ref()))?;
        self.rows = vec![];
        Ok(())
    }
}

fn decode<'a>(order: &RowOrder, rows: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
    order.decode(rows).map_err(|e| Error::internal(e.to_string()))
}

/// The blocks' rows as columns, with the weight and the block of each.
pub fn rows_of(
    blocks: &[&Arc<Block>],
    order: &RowOrder,
) -> Result<(Vec<ArrayRef>, Vec<i64>, Vec<usize>)> {
    let rows = || blocks.iter().enumerate().flat_map(|(n, b)| b.rows.iter().map(move |r| (n, r)));
    let columns = decode(order, rows().map(|(_, (row, _))| row.as_ref()))?;
    let weights = rows().map(|(_, (_, weight))| *weight).collect();
    Ok((columns, weights, rows().map(|(n, _)| n).collect()))
}
