//! Projection and filter: stateless, evaluated by batch; a failing row becomes an error row.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_schema::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;

use super::row_text::row_text;
use super::{Operator, Output};
use crate::change::{ChangeBatch, RowError, batch_of, errors_batch};
use crate::epoch::Epoch;
use crate::error::{Error, Result};
use crate::query::evaluate::{evaluate, filter};

/// Computes columns.
pub struct Project {
    pub exprs: Vec<Arc<dyn PhysicalExpr>>,
    pub schema: SchemaRef,
}

/// Keeps the rows for which the predicate is true.
pub struct Filter {
    pub predicate: Arc<dyn PhysicalExpr>,
}

/// Error rows for those that failed, readable as JSON in the payload.
pub fn row_errors(
    rows: &RecordBatch,
    weights: &[i64],
    failures: Vec<(usize, Error)>,
) -> ChangeBatch {
    let errors: Vec<RowError> = failures
        .into_iter()
        .map(|(row, error)| RowError {
            sqlstate: error.code.0.to_owned(),
            message: error.message,
            payload: row_text(rows.schema_ref().fields(), rows.columns(), row),
            poison: false,
            weight: weights[row],
        })
        .collect();
    errors_batch(&errors)
}

/// The rows whose index is not among the failures' (both ascending).
pub fn without_failures(change: &ChangeBatch, failures: &[(usize, Error)]) -> Result<ChangeBatch> {
    let mut failed = failures.iter().map(|f| f.0).peekable();
    let kept: Vec<u32> = (0..change.len())
        .filter(|&row| {
            let fails = failed.peek() == Some(&row);
            if fails {
                failed.next();
            }
            !fails
        })
        .map(|row| row as u32)
        .collect();
    change.take(&kept).map_err(|e| Error::internal(e.to_string()))
}

impl Operator for Project {
    fn apply(&mut self, _port: usize, change: ChangeBatch, out: &mut Output) -> Result<()> {
        let evaluated = evaluate(&self.exprs, change.rows())?;
        let mut weights = change.weights.clone();
        if !evaluated.failures.is_empty() {
            weights = without_failures(&change, &evaluated.failures)?.weights;
            out.push(row_errors(change.rows(), &change.weights, evaluated.failures));
        }
        let batch = batch_of(self.schema.clone(), evaluated.columns, weights.len())
            .map_err(|e| Error::internal(e.to_string()))?;
        out.push(ChangeBatch::new(batch, weights));
        Ok(())
    }

    fn emit(&mut self, _epoch: Epoch, _out: &mut Output) -> Result<()> {
        Ok(())
    }
}

impl Operator for Filter {
    fn apply(&mut self, _port: usize, change: ChangeBatch, out: &mut Output) -> Result<()> {
        let filtered = filter(&self.predicate, change.rows())?;
        if !filtered.failures.is_empty() {
            out.push(row_errors(change.rows(), &change.weights, filtered.failures));
        }
        let mask = filtered.keep;
        if mask.true_count() == change.len() {
            out.push(change);
            return Ok(());
        }
        let rows = change;
        let predicate = arrow_select::filter::FilterBuilder::new(&mask).optimize().build();
        let failed = |e: arrow_schema::ArrowError| Error::internal(e.to_string());
        let batch = predicate.filter_record_batch(rows.rows()).map_err(failed)?;
        let weights = arrow_array::Int64Array::new(rows.weights.clone(), None);
        let weights = predicate.filter(&weights).map_err(failed)?;
        let weights = weights.as_primitive::<arrow_array::types::Int64Type>().values().clone();
        if batch.num_rows() > 0 {
            out.push(ChangeBatch::new(batch, weights));
        }
        Ok(())
    }

    fn emit(&mut self, _epoch: Epoch, _out: &mut Output) -> Result<()> {
        Ok(())
    }
}
