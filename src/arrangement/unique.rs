//! What may be looked up to find out whether a row is like another: a table's primary key, or what is UNIQUE in it.

use std::sync::Arc;

use arrow_array::{Array, RecordBatch};

use super::live::LiveTable;
use crate::catalog::ObjectId;
use crate::epoch::Epoch;

/// Columns of which no two rows of a table have the same values.
#[derive(Clone)]
pub struct UniqueKey {
    /// The table's number for its primary key, else that of the index.
    pub id: ObjectId,
    pub columns: Vec<usize>,
    /// Rows with a NULL among the columns are like no other.
    pub nulls_distinct: bool,
    /// The table's rows by these columns.
    pub live: Arc<LiveTable>,
    /// The epoch as of which it was begun with the rows that there were.
    pub from: Epoch,
}

impl UniqueKey {
    /// The primary key of a table, if it has one.
    pub fn primary(table: ObjectId, live: &Arc<LiveTable>) -> Option<UniqueKey> {
        let keyed = live.key_is_unique && !live.key.is_empty();
        keyed.then(|| UniqueKey {
            id: table,
            columns: live.key.clone(),
            nulls_distinct: false,
            live: live.clone(),
            from: Epoch::ZERO,
        })
    }

    /// For each row: is it like no other, whatever else it has?
    pub fn distinct(&self, rows: &RecordBatch) -> Vec<bool> {
        let mut distinct = vec![false; rows.num_rows()];
        if self.nulls_distinct {
            for column in self.columns.iter().map(|&at| rows.column(at)) {
                if column.null_count() > 0 {
                    let nulls = distinct.iter_mut().enumerate();
                    nulls.for_each(|(row, distinct)| *distinct |= column.is_null(row));
                }
            }
        }
        distinct
    }
}
