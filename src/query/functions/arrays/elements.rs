//! The elements of a column of arrays, flat, and arrays made anew from them.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray, UInt32Array};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, FieldRef};
use arrow_select::take::take;
use datafusion::common::Result as DfResult;

use crate::error::{Error, Result, SqlState};
use crate::query::errors::{from_arrow, to_datafusion};

/// A column of arrays.
pub(super) struct Elements {
    list: ListArray,
}

impl Elements {
    /// Errors where the column holds no arrays.
    pub fn of(column: &ArrayRef) -> DfResult<Elements> {
        match column.as_list_opt::<i32>() {
            Some(list) => Ok(Elements { list: list.clone() }),
            None => Err(to_datafusion(Error::new(
                SqlState::DATATYPE_MISMATCH,
                format!("an array is expected, not {}", column.data_type()),
            ))),
        }
    }

    pub fn rows(&self) -> usize {
        self.list.len()
    }

    /// All elements; those of a row are at its range.
    pub fn values(&self) -> &ArrayRef {
        self.list.values()
    }

    /// Where the row's elements are; `None` for a NULL.
    pub fn range(&self, row: usize) -> Option<Range<usize>> {
        let offsets = self.list.value_offsets();
        self.list.is_valid(row).then(|| offsets[row] as usize..offsets[row + 1] as usize)
    }

    /// How many elements the row has, among [`Elements::owners`]: a NULL may have some, too.
    pub fn length(&self, row: usize) -> usize {
        self.list.value_length(row) as usize
    }

    /// The rows that all elements belong to, in order, and the range that holds them.
    pub fn owners(&self) -> (UInt32Array, Range<usize>) {
        let offsets = self.list.value_offsets();
        let rows = (0..self.rows()).flat_map(|row| {
            std::iter::repeat_n(row as u32, (offsets[row + 1] - offsets[row]) as usize)
        });
        (UInt32Array::from_iter_values(rows), offsets[0] as usize..offsets[self.rows()] as usize)
    }

    /// Arrays of chosen elements: `choose` appends the positions of a row's elements, among [`Elements::values`], or says
    /// that the row is NULL.
    pub fn choose(
        &self,
        mut choose: impl FnMut(usize, &mut Vec<u32>) -> Result<bool>,
    ) -> DfResult<ArrayRef> {
        let (mut chosen, mut lengths, mut valid) = (vec![], vec![], vec![]);
        for row in 0..self.rows() {
            let before = chosen.len();
            valid.push(choose(row, &mut chosen).map_err(to_datafusion)?);
            lengths.push(chosen.len() - before);
        }
        let values = take(self.values(), &UInt32Array::from(chosen), None)?;
        let DataType::List(item) = self.list.data_type() else {
            return Err(to_datafusion(Error::internal("a list is a list")));
        };
        list_of(item, lengths, values, valid).map_err(to_datafusion)
    }
}

/// A column of arrays: the lengths of the rows, and all their elements.
pub(super) fn list_of(
    item: &FieldRef,
    lengths: Vec<usize>,
    values: ArrayRef,
    valid: Vec<bool>,
) -> Result<ArrayRef> {
    let offsets = OffsetBuffer::from_lengths(lengths);
    let nulls = Some(NullBuffer::from(valid));
    let list = ListArray::try_new(Arc::clone(item), offsets, values, nulls).map_err(from_arrow)?;
    Ok(Arc::new(list))
}
