//! What a transaction has changed of a table, laid over what it reads of it.
//!
//! The table is read as of the transaction's epoch; rows that the transaction has deleted are left out of it and those it has
//! inserted come behind. A row is told by its bits: a table without a key may have the same row several times, and loses as
//! many of them as were deleted. Nothing here changes a table.

use std::collections::HashMap;

use arrow::row::{RowConverter, Rows, SortField};
use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::SchemaRef;

use super::errors::from_arrow;
use crate::arrangement::live::LiveTable;
use crate::change::{ChangeBatch, batch_of};
use crate::error::Result;

/// A transaction's changes of one table, consolidated.
pub struct OwnRows {
    /// Whole rows, as of the transaction's epoch, that it has deleted.
    pub deletes: Vec<RecordBatch>,
    /// Whole rows that it has inserted.
    pub inserts: Vec<RecordBatch>,
    /// The columns that tell rows apart: the key, or all.
    identity: Vec<usize>,
    deleted: HashMap<Vec<u8>, usize>,
}

impl OwnRows {
    /// From all changes so far, consolidated: whole rows of the table.
    pub fn new(live: &LiveTable, net: &ChangeBatch) -> Result<OwnRows> {
        let signed = |wanted: bool| -> Result<Vec<RecordBatch>> {
            let weights = net.weights.iter().enumerate();
            let rows =
                weights.filter(|(_, weight)| (**weight > 0) == wanted).flat_map(|(row, weight)| {
                    std::iter::repeat_n(row as u32, weight.unsigned_abs() as usize)
                });
            let rows: Vec<u32> = rows.collect();
            if rows.is_empty() {
                return Ok(vec![]);
            }
            Ok(vec![crate::change::take_rows(net.rows(), &rows).map_err(from_arrow)?])
        };
        let (inserts, deletes) = (signed(true)?, signed(false)?);
        let identity = match live.key_is_unique && !live.key.is_empty() {
            true => live.key.clone(),
            false => (0..live.schema.fields().len()).collect(),
        };
        let mut deleted: HashMap<Vec<u8>, usize> = HashMap::new();
        for batch in &deletes {
            encoded(batch, &identity)?
                .iter()
                .for_each(|row| *deleted.entry(row.data().to_vec()).or_default() += 1);
        }
        Ok(OwnRows { deletes, inserts, identity, deleted })
    }

    /// Whether it has changed nothing after all.
    pub fn is_empty(&self) -> bool {
        self.deletes.is_empty() && self.inserts.is_empty()
    }

    /// The columns that a scan has to have for [`Self::left_over`].
    pub fn identity(&self) -> &[usize] {
        if self.deleted.is_empty() { &[] } else { &self.identity }
    }

    /// What is to be left out of a scan of these columns of the table, the identity among them. All equal rows of a table are
    /// in one of its shards, so each shard has one of its own.
    pub fn left_over(&self, columns: &[usize]) -> LeftOver {
        let place = |column: &usize| columns.iter().position(|c| c == column);
        let identity = self.identity().iter().filter_map(place).collect();
        LeftOver { identity, deleted: self.deleted.clone() }
    }

    /// For each of some whole rows: was the row that it is told by deleted?
    pub fn has_deleted(&self, rows: &RecordBatch) -> Result<Vec<bool>> {
        let encoded = encoded(rows, &self.identity)?;
        Ok(encoded.iter().map(|row| self.deleted.contains_key(row.data())).collect())
    }

    /// Some columns of the rows that were inserted.
    pub fn inserted(&self, columns: &[usize], schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
        let of = |batch: &RecordBatch| {
            let columns = columns.iter().map(|&column| batch.column(column).clone()).collect();
            batch_of(schema.clone(), columns, batch.num_rows()).map_err(from_arrow)
        };
        self.inserts.iter().map(of).collect()
    }
}

/// Takes deleted rows out of what is scanned, each as often as it was deleted.
pub struct LeftOver {
    /// Places in the scanned batches.
    identity: Vec<usize>,
    deleted: HashMap<Vec<u8>, usize>,
}

impl LeftOver {
    /// The rows of a batch that have not been deleted.
    pub fn of(&mut self, rows: &RecordBatch) -> Result<RecordBatch> {
        if self.deleted.is_empty() || rows.num_rows() == 0 {
            return Ok(rows.clone());
        }
        let encoded = encoded(rows, &self.identity)?;
        let mut kept = Vec::with_capacity(rows.num_rows());
        for row in encoded.iter() {
            let count = self.deleted.get_mut(row.data()).filter(|count| **count > 0);
            kept.push(count.is_none());
            if let Some(count) = count {
                *count -= 1;
            }
        }
        let kept = BooleanArray::from(kept);
        arrow_select::filter::filter_record_batch(rows, &kept).map_err(from_arrow)
    }
}

/// Some columns of each row as bytes that are equal where the values' bits are.
fn encoded(rows: &RecordBatch, columns: &[usize]) -> Result<Rows> {
    let columns: Vec<ArrayRef> = columns.iter().map(|&c| rows.column(c).clone()).collect();
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone()));
    let converter = RowConverter::new(fields.collect()).map_err(from_arrow)?;
    converter.convert_columns(&columns).map_err(from_arrow)
}
