//! Unnest: a row for each element of its lists, side by side and padded with NULLs where one is shorter than another.
//!
//! Stateless: what a row becomes is a function of the row, so a deleted row takes back the rows it became, each with its weight.
//! Lists are gathered and the other columns repeated by column. Output comes in batches of bounded size, however long the
//! lists are; only a single row's elements are never divided.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray, UInt32Array};
use arrow_schema::SchemaRef;
use arrow_select::take::take;

use super::{Operator, Output};
use crate::change::{ChangeBatch, batch_of};
use crate::epoch::Epoch;
use crate::error::{Error, Result};

/// Rows of an output batch, unless a single row has more elements: bounds the memory of a fan-out.
const BATCH_ROWS_MAX: usize = if cfg!(test) { 8 } else { 1 << 16 };

/// What a column of the output is made of: a column of the input by its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unnested {
    /// The value, for each of the row's elements.
    Repeated(usize),
    /// The elements of the list.
    Elements(usize),
}

/// Unnests lists.
pub struct Unnest {
    pub columns: Vec<Unnested>,
    /// A row without any element stays, with NULLs for the elements, instead of vanishing.
    pub keep_empty: bool,
    pub schema: SchemaRef,
}

fn failed(error: arrow_schema::ArrowError) -> Error {
    Error::internal(error.to_string())
}

/// How many elements the list of a row has; none if it is NULL.
fn elements(list: &ListArray, row: usize) -> usize {
    if list.is_null(row) { 0 } else { list.value_length(row) as usize }
}

impl Unnest {
    /// How many rows each input row becomes.
    fn fan_out(&self, change: &ChangeBatch) -> Result<Vec<usize>> {
        let mut rows = vec![usize::from(self.keep_empty); change.len()];
        for column in &self.columns {
            let Unnested::Elements(at) = column else { continue };
            let list = list(change.rows().column(*at))?;
            for (row, count) in rows.iter_mut().enumerate() {
                *count = (*count).max(elements(list, row));
            }
        }
        Ok(rows)
    }

    /// What the input rows `range` become; `counts` are how many rows each of them becomes.
    fn part(
        &self,
        change: &ChangeBatch,
        range: Range<usize>,
        counts: &[usize],
    ) -> Result<ChangeBatch> {
        let total: usize = counts.iter().sum();
        let repeat = range
            .clone()
            .zip(counts)
            .flat_map(|(row, count)| std::iter::repeat_n(row as u32, *count));
        let repeat = UInt32Array::from_iter_values(repeat);
        let columns = self.columns.iter().map(|column| match column {
            Unnested::Repeated(at) => {
                take(change.rows().column(*at), &repeat, None).map_err(failed)
            }
            Unnested::Elements(at) => {
                gather(list(change.rows().column(*at))?, range.clone(), counts, total)
            }
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let weights: Vec<i64> =
            repeat.values().iter().map(|&row| change.weights[row as usize]).collect();
        let batch = batch_of(self.schema.clone(), columns, total).map_err(failed)?;
        Ok(ChangeBatch::new(batch, weights))
    }
}

fn list(column: &ArrayRef) -> Result<&ListArray> {
    column.as_list_opt::<i32>().ok_or_else(|| Error::internal("only lists are unnested"))
}

/// The elements of the rows `range`, as many for each as `counts` says.
fn gather(
    list: &ListArray,
    range: Range<usize>,
    counts: &[usize],
    total: usize,
) -> Result<ArrayRef> {
    let offsets = list.value_offsets();
    let (first, last) = (offsets[range.start] as usize, offsets[range.end] as usize);
    // Where nothing is padded and no NULL hides elements, they lie there as they are wanted.
    let whole = range.clone().zip(counts).all(|(row, count)| elements(list, row) == *count);
    if whole && last - first == total {
        return Ok(list.values().slice(first, total));
    }
    let mut at: Vec<Option<u32>> = Vec::with_capacity(total);
    for (row, count) in range.zip(counts) {
        let start = offsets[row] as u32;
        let there = elements(list, row);
        at.extend((0..there as u32).map(|i| Some(start + i)));
        at.extend(std::iter::repeat_n(None, count - there));
    }
    take(list.values(), &UInt32Array::from(at), None).map_err(failed)
}

impl Operator for Unnest {
    fn apply(&mut self, _port: usize, change: ChangeBatch, out: &mut Output) -> Result<()> {
        let counts = self.fan_out(&change)?;
        let (mut start, mut total) = (0, 0);
        for row in 0..counts.len() {
            if total > 0 && total + counts[row] > BATCH_ROWS_MAX {
                out.push(self.part(&change, start..row, &counts[start..row])?);
                (start, total) = (row, 0);
            }
            total += counts[row];
        }
        if total > 0 {
            out.push(self.part(&change, start..counts.len(), &counts[start..])?);
        }
        Ok(())
    }

    fn emit(&mut self, _epoch: Epoch, _out: &mut Output) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::Int32Type;
    use arrow_array::{Int32Array, RecordBatch};
    use arrow_schema::{DataType, Field, Schema};

    use super::*;

    /// Key, weight, two lists.
    type Row = (i32, i64, Option<Vec<Option<i32>>>, Option<Vec<Option<i32>>>);

    fn unnested(rows: &[Row], keep_empty: bool) -> Vec<(i32, Option<i32>, Option<i32>, i64)> {
        let keys: ArrayRef = Arc::new(Int32Array::from_iter_values(rows.iter().map(|r| r.0)));
        let first =
            ListArray::from_iter_primitive::<Int32Type, _, _>(rows.iter().map(|r| r.2.clone()));
        let second =
            ListArray::from_iter_primitive::<Int32Type, _, _>(rows.iter().map(|r| r.3.clone()));
        let batch = RecordBatch::try_from_iter([
            ("k", keys),
            ("a", Arc::new(first) as ArrayRef),
            ("b", Arc::new(second) as ArrayRef),
        ]);
        let weights: Vec<i64> = rows.iter().map(|r| r.1).collect();
        let field = |name| Field::new(name, DataType::Int32, true);
        let mut unnest = Unnest {
            columns: vec![Unnested::Repeated(0), Unnested::Elements(1), Unnested::Elements(2)],
            keep_empty,
            schema: Arc::new(Schema::new(vec![field("k"), field("a"), field("b")])),
        };
        let mut out = Output::default();
        unnest.apply(0, ChangeBatch::new(batch.unwrap(), weights), &mut out).unwrap();
        let mut result = vec![];
        for part in &out.batches {
            assert!(part.len() <= BATCH_ROWS_MAX || part.weights.windows(2).all(|w| w[0] == w[1]));
            let column = |at: usize| part.rows().column(at).as_primitive::<Int32Type>().clone();
            let (k, a, b) = (column(0), column(1), column(2));
            result.extend((0..part.len()).map(|i| {
                let value = |c: &Int32Array| c.is_valid(i).then(|| c.value(i));
                (k.value(i), value(&a), value(&b), part.weights[i])
            }));
        }
        result
    }

    #[test]
    fn lists_run_side_by_side_and_are_padded() {
        let rows = [
            (1, 1, Some(vec![Some(10), None]), Some(vec![Some(7)])),
            (2, -2, None, Some(vec![Some(8), Some(9)])),
        ];
        let expected = vec![
            (1, Some(10), Some(7), 1),
            (1, None, None, 1),
            (2, None, Some(8), -2),
            (2, None, Some(9), -2),
        ];
        assert_eq!(unnested(&rows, false), expected);
    }

    #[test]
    fn a_row_without_elements_vanishes_or_stays_with_nulls() {
        let rows = [
            (1, 1, None, None),
            (2, 1, Some(vec![]), None),
            (3, 1, Some(vec![Some(1)]), Some(vec![])),
        ];
        assert_eq!(unnested(&rows, false), vec![(3, Some(1), None, 1)]);
        let kept = vec![(1, None, None, 1), (2, None, None, 1), (3, Some(1), None, 1)];
        assert_eq!(unnested(&rows, true), kept);
    }

    #[test]
    fn long_lists_come_in_several_batches_with_nothing_lost() {
        let list = |n: i32| Some((0..n).map(Some).collect::<Vec<_>>());
        let rows: Vec<Row> = (0..7).map(|k| (k, 1, list(k), list(20 * (k % 2)))).collect();
        let expected: Vec<_> = (0..7)
            .flat_map(|k| {
                let other = 20 * (k % 2);
                let at = |i: i32, n: i32| (i < n).then_some(i);
                (0..k.max(other)).map(move |i| (k, at(i, k), at(i, other), 1))
            })
            .collect();
        assert_eq!(unnested(&rows, false), expected);
    }
}
