//! `count(*)` and `count(column)`.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array};
use arrow_buffer::NullBuffer;

use super::{Accumulator, Failure, Input, reset, split};
use crate::error::Result;
use crate::operators::group_index::keep;
use crate::operators::prefetch::gather;

/// `count(*)` without a filter: the operator's own row counts, so it keeps nothing.
pub struct CountStar;

impl Accumulator for CountStar {
    fn resize(&mut self, _slots: usize) {}

    fn update(&mut self, _input: &Input) -> Result<()> {
        Ok(())
    }

    fn evaluate(&mut self, groups: &[u32], rows: &[i64], _: &mut Vec<Failure>) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::new(gather(rows, groups).into(), None)))
    }

    fn clear(&mut self, _groups: &[u32]) {}

    fn compact(&mut self, _kept: &[u32]) {}

    fn bytes(&self) -> usize {
        0
    }
}

/// Rows in which no argument is NULL; all rows where there is no argument (`count(*)` with a filter).
#[derive(Default)]
pub struct Count {
    counts: Vec<i64>,
}

impl Accumulator for Count {
    fn resize(&mut self, slots: usize) {
        self.counts.resize(slots, 0);
    }

    fn update(&mut self, input: &Input) -> Result<()> {
        let nulls = input.args.iter().fold(None, |nulls: Option<NullBuffer>, column| {
            NullBuffer::union(nulls.as_ref(), column.logical_nulls().as_ref())
        });
        let counts = self.counts.as_mut_slice();
        input.for_each(nulls.as_ref(), |_, group, weight| counts[group] += weight);
        Ok(())
    }

    fn evaluate(&mut self, groups: &[u32], _: &[i64], _: &mut Vec<Failure>) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::new(gather(&self.counts, groups).into(), None)))
    }

    fn clear(&mut self, groups: &[u32]) {
        reset(&mut self.counts, groups);
    }

    fn compact(&mut self, kept: &[u32]) {
        keep(&mut self.counts, kept);
    }

    fn bytes(&self) -> usize {
        self.counts.capacity() * 8
    }

    fn is_additive(&self) -> bool {
        true
    }

    fn merge(&mut self, from: usize, into: usize, times: i64) {
        self.counts[into] += times * self.counts[from];
    }

    fn is_zero(&self, group: usize) -> bool {
        self.counts[group] == 0
    }

    fn save(&self, group: usize, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.counts[group].to_le_bytes());
    }

    fn load(&mut self, group: usize, from: &[u8]) -> Result<()> {
        self.counts[group] = i64::from_le_bytes(split(from)?.0);
        Ok(())
    }
}
