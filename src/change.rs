//! The change batch: the one shape in which rows move between connectors, operators and live tables.
//!
//! A change batch is an Arrow `RecordBatch` with one signed weight a row (+1 insert, -1 delete), all of one epoch; the
//! epoch itself travels beside it as the dataflow's timestamp. Errors are data too: a batch of [`Kind::Errors`] has
//! the columns of [`error_schema`] and flows beside the rows of the collection it belongs to.
//! This file knows neither timely nor DataFusion.

use std::sync::{Arc, LazyLock};

use arrow_array::{
    Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, UInt32Array,
};
use arrow_buffer::ScalarBuffer;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};

/// What the rows of a change batch are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Rows of the collection.
    #[default]
    Rows,
    /// Errors of the collection, in the columns of [`error_schema`].
    Errors,
    /// Errors that stand at an object this one reads: recorded there, and kept here only where they turn out to
    /// poison the answer. Same columns.
    Inherited,
}

/// Rows with weights. `batch` is `None` only in the default value, which has no rows.
#[derive(Clone, Debug, Default)]
pub struct ChangeBatch {
    pub batch: Option<RecordBatch>,
    pub weights: ScalarBuffer<i64>,
    pub kind: Kind,
}

impl ChangeBatch {
    /// Rows with a weight each; panics when the lengths differ.
    pub fn new(batch: RecordBatch, weights: impl Into<ScalarBuffer<i64>>) -> Self {
        let weights = weights.into();
        assert_eq!(batch.num_rows(), weights.len(), "one weight a row");
        ChangeBatch { batch: Some(batch), weights, kind: Kind::Rows }
    }

    /// Every row inserted once.
    pub fn inserts(batch: RecordBatch) -> Self {
        let weights = vec![1; batch.num_rows()];
        Self::new(batch, weights)
    }

    /// Every row deleted once.
    pub fn deletes(batch: RecordBatch) -> Self {
        let weights = vec![-1; batch.num_rows()];
        Self::new(batch, weights)
    }

    pub fn len(&self) -> usize {
        self.weights.len()
    }

    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// Whether these are errors, of this collection or inherited, rather than rows.
    pub fn is_errors(&self) -> bool {
        match self.kind {
            Kind::Rows => false,
            Kind::Errors | Kind::Inherited => true,
        }
    }

    /// The rows. Panics on the empty default value: callers skip empty batches first.
    pub fn rows(&self) -> &RecordBatch {
        self.batch.as_ref().expect("a change batch with rows has a record batch")
    }

    /// Whether every weight is +1, the case of append-only input.
    pub fn all_inserts(&self) -> bool {
        self.weights.iter().all(|&w| w == 1)
    }

    /// The rows at `indices`, in that order, with their weights.
    pub fn take(&self, indices: &[u32]) -> Result<ChangeBatch, ArrowError> {
        let Some(batch) = &self.batch else { return Ok(ChangeBatch::default()) };
        let weights: Vec<i64> = indices.iter().map(|&i| self.weights[i as usize]).collect();
        let batch = take_rows(batch, indices)?;
        Ok(ChangeBatch { batch: Some(batch), weights: weights.into(), kind: self.kind })
    }

    /// The same changes with the opposite sign.
    pub fn negated(&self) -> ChangeBatch {
        let weights: Vec<i64> = self.weights.iter().map(|w| -w).collect();
        ChangeBatch { batch: self.batch.clone(), weights: weights.into(), kind: self.kind }
    }

    /// One batch out of several of the same kind and schema; empty ones are skipped.
    pub fn concat(parts: &[ChangeBatch]) -> Result<ChangeBatch, ArrowError> {
        let parts: Vec<&ChangeBatch> = parts.iter().filter(|p| !p.is_empty()).collect();
        match parts.as_slice() {
            [] => Ok(ChangeBatch::default()),
            [one] => Ok((*one).clone()),
            [first, ..] => {
                debug_assert!(
                    parts.iter().all(|p| p.kind == first.kind),
                    "kinds do not mix in one batch"
                );
                let batches = parts.iter().map(|p| p.rows());
                let batch =
                    arrow_select::concat::concat_batches(first.rows().schema_ref(), batches)?;
                let weights: Vec<i64> =
                    parts.iter().flat_map(|p| p.weights.iter().copied()).collect();
                Ok(ChangeBatch { batch: Some(batch), weights: weights.into(), kind: first.kind })
            }
        }
    }

    /// Bytes of the columns' buffers and the weights.
    pub fn memory_bytes(&self) -> usize {
        self.batch.as_ref().map_or(0, |b| b.get_array_memory_size()) + self.weights.len() * 8
    }
}

/// The rows of `batch` at `indices`. Zero-column batches keep their row count.
pub fn take_rows(batch: &RecordBatch, indices: &[u32]) -> Result<RecordBatch, ArrowError> {
    let indices = UInt32Array::from(indices.to_vec());
    let columns = batch
        .columns()
        .iter()
        .map(|c| arrow_select::take::take(c, &indices, None))
        .collect::<Result<Vec<ArrayRef>, _>>()?;
    batch_of(batch.schema(), columns, indices.len())
}

/// A record batch of `rows` rows, also when there are no columns to count them by.
pub fn batch_of(
    schema: SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, ArrowError> {
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, columns, &options)
}

/// One error that stands for a missing row (or group) of a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowError {
    /// Five characters, as PostgreSQL's.
    pub sqlstate: String,
    pub message: String,
    /// The row or message that failed, readable; as JSON text where it is a row.
    pub payload: String,
    /// Leaving the row out would make the view wrong: reads raise the error instead.
    pub poison: bool,
    pub weight: i64,
}

/// sqlstate, message, payload (text) and poison (boolean), none nullable.
pub fn error_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            Field::new("sqlstate", DataType::Utf8, false),
            Field::new("message", DataType::Utf8, false),
            Field::new("payload", DataType::Utf8, false),
            Field::new("poison", DataType::Boolean, false),
        ]))
    });
    SCHEMA.clone()
}

/// Errors as a change batch of [`Kind::Errors`].
pub fn errors_batch(errors: &[RowError]) -> ChangeBatch {
    let text = |f: fn(&RowError) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(errors.iter().map(f)))
    };
    let poison: ArrayRef =
        Arc::new(BooleanArray::from(errors.iter().map(|e| e.poison).collect::<Vec<_>>()));
    let columns = vec![text(|e| &e.sqlstate), text(|e| &e.message), text(|e| &e.payload), poison];
    let batch =
        RecordBatch::try_new(error_schema(), columns).expect("columns match the error schema");
    let weights: Vec<i64> = errors.iter().map(|e| e.weight).collect();
    ChangeBatch { batch: Some(batch), weights: weights.into(), kind: Kind::Errors }
}

/// The errors of a batch of [`Kind::Errors`], one by one.
pub fn errors_of(batch: &ChangeBatch) -> Vec<RowError> {
    use arrow_array::cast::AsArray;
    let Some(rows) = &batch.batch else { return vec![] };
    let (state, message) = (rows.column(0).as_string::<i32>(), rows.column(1).as_string::<i32>());
    let (payload, poison) = (rows.column(2).as_string::<i32>(), rows.column(3).as_boolean());
    (0..rows.num_rows())
        .map(|i| RowError {
            sqlstate: state.value(i).to_owned(),
            message: message.value(i).to_owned(),
            payload: payload.value(i).to_owned(),
            poison: poison.value(i),
            weight: batch.weights[i],
        })
        .collect()
}

/// The column of weights as an array, for encodings that carry it beside the rows.
pub fn weights_array(weights: &ScalarBuffer<i64>) -> ArrayRef {
    Arc::new(Int64Array::new(weights.clone(), None))
}

/// Whether the array has a null at `row`; also right for arrays without a null buffer.
pub fn is_null(array: &dyn Array, row: usize) -> bool {
    array.nulls().is_some_and(|n| n.is_null(row))
}
