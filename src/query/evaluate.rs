//! Row-wise verdicts: what expressions give for each row of a batch, and which rows err.
//!
//! A batch is evaluated whole; only when that errs is it cut in halves until the failing rows stand alone, so a row's
//! verdict is its verdict when evaluated alone and batches without errors pay nothing. Invariant: a row is either in
//! the columns or among the failures, never both, and the good rows keep their order.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use datafusion::physical_plan::PhysicalExpr;

use super::errors::{from_arrow, from_datafusion};
use super::panics::contained;
use crate::error::{Error, Result};

/// What came of a batch.
#[derive(Debug)]
pub struct Evaluated {
    /// One column an expression, with the good rows only, in order.
    pub columns: Vec<ArrayRef>,
    /// (row of the batch, its error), by row.
    pub failures: Vec<(usize, Error)>,
}

/// What came of a predicate.
#[derive(Debug)]
pub struct Filtered {
    /// One value a row of the batch, no nulls: whether the row satisfies the predicate. Failed rows do not.
    pub keep: BooleanArray,
    /// (row of the batch, its error), by row.
    pub failures: Vec<(usize, Error)>,
}

/// Evaluates every expression on every row. A row fails with the error of its first failing expression.
///
/// `Err` means a defect: an expression that does not fit the batch.
pub fn evaluate(exprs: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch) -> Result<Evaluated> {
    if let Ok(columns) = columns_of(exprs, batch) {
        return Ok(Evaluated { columns, failures: vec![] });
    }
    let mut parts = vec![];
    let mut failures = vec![];
    bisect(batch, 0, &|part| columns_of(exprs, part), &mut parts, &mut failures);
    let columns = if parts.is_empty() {
        columns_of(exprs, &batch.slice(0, 0))?
    } else {
        concat_columns(&parts)?
    };
    Ok(Evaluated { columns, failures })
}

/// Evaluates a predicate on every row; NULL is false.
pub fn filter(predicate: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<Filtered> {
    if let Ok(keep) = verdicts_of(predicate, batch) {
        return Ok(Filtered { keep, failures: vec![] });
    }
    let mut parts: Vec<BooleanArray> = vec![];
    let mut failures: Vec<(usize, Error)> = vec![];
    bisect(batch, 0, &|part| verdicts_of(predicate, part), &mut parts, &mut failures);
    let mut good = parts.iter().flat_map(|part| part.values().iter());
    let mut failed = failures.iter().map(|(row, _)| *row).peekable();
    let keep = (0..batch.num_rows())
        .map(|row| failed.next_if_eq(&row).is_none() && good.next().unwrap_or(false))
        .collect::<Vec<bool>>();
    Ok(Filtered { keep: BooleanArray::from(keep), failures })
}

/// Collects the results of the largest parts that do not err and the errors of single rows.
fn bisect<T>(
    batch: &RecordBatch,
    first_row: usize,
    compute: &dyn Fn(&RecordBatch) -> Result<T>,
    parts: &mut Vec<T>,
    failures: &mut Vec<(usize, Error)>,
) {
    match compute(batch) {
        Ok(part) => parts.push(part),
        Err(error) if batch.num_rows() <= 1 => failures.push((first_row, error)),
        Err(_) => {
            let half = batch.num_rows() / 2;
            bisect(&batch.slice(0, half), first_row, compute, parts, failures);
            bisect(
                &batch.slice(half, batch.num_rows() - half),
                first_row + half,
                compute,
                parts,
                failures,
            );
        }
    }
}

fn columns_of(exprs: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    let column = |expr: &Arc<dyn PhysicalExpr>| {
        expr.evaluate(batch)
            .and_then(|value| value.into_array(batch.num_rows()))
            .map_err(from_datafusion)
    };
    contained(|| exprs.iter().map(column).collect())
}

fn verdicts_of(predicate: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<BooleanArray> {
    let array = contained(|| {
        let value = predicate.evaluate(batch);
        value.and_then(|value| value.into_array(batch.num_rows())).map_err(from_datafusion)
    })?;
    let verdicts =
        array.as_boolean_opt().ok_or_else(|| Error::internal("a predicate is not boolean"))?;
    Ok(match verdicts.nulls() {
        Some(nulls) if nulls.null_count() > 0 => {
            BooleanArray::new(verdicts.values() & nulls.inner(), None)
        }
        _ => verdicts.clone(),
    })
}

fn concat_columns(parts: &[Vec<ArrayRef>]) -> Result<Vec<ArrayRef>> {
    let width = parts.first().map_or(0, Vec::len);
    (0..width)
        .map(|column| {
            let arrays: Vec<&dyn Array> = parts.iter().map(|part| part[column].as_ref()).collect();
            arrow_select::concat::concat(&arrays).map_err(from_arrow)
        })
        .collect()
}
