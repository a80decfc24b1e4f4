//! Consolidation: the weights of equal rows added up, rows whose weights cancel left out.
//!
//! Rows are equal when their bits are: a delete carries the very row that was inserted. The result is in the order of
//! first appearance.

use arrow_schema::{DataType, SchemaRef};

use super::group_index::GroupIndex;
use crate::change::ChangeBatch;
use crate::error::{Error, Result};

/// A log of this many rows is never worth consolidating early.
const LOG_ROWS_MIN: usize = 65_536;

/// The changes of one epoch, all of one kind and schema, as one batch in which no row occurs twice, or, when every
/// weight is +1, as they are. Columns of a type without a row encoding are 0A000.
pub fn consolidate(batches: &[ChangeBatch]) -> Result<ChangeBatch> {
    let all = ChangeBatch::concat(batches).map_err(|e| Error::internal(e.to_string()))?;
    // Duplicates of plain inserts need no merging: nothing can cancel, and the sum over equal rows is the same.
    if all.is_empty() || all.all_inserts() {
        return Ok(all);
    }
    let columns = all.rows().columns();
    let types: Vec<DataType> = columns.iter().map(|c| c.data_type().clone()).collect();
    let mut groups = vec![];
    GroupIndex::bitwise(&types)?.intern(columns, all.len(), &mut groups)?;
    let (mut first, mut sums): (Vec<u32>, Vec<i64>) = (vec![], vec![]);
    for (row, (&group, &weight)) in groups.iter().zip(all.weights.iter()).enumerate() {
        // A fresh index numbers groups in the order of their first rows.
        match sums.get_mut(group as usize) {
            Some(sum) => *sum += weight,
            None => {
                first.push(row as u32);
                sums.push(weight);
            }
        }
    }
    if first.len() == all.len() && sums.iter().all(|&w| w != 0) {
        return Ok(all);
    }
    let kept: Vec<usize> = (0..sums.len()).filter(|&g| sums[g] != 0).collect();
    if kept.is_empty() {
        return Ok(ChangeBatch::default());
    }
    let rows: Vec<u32> = kept.iter().map(|&g| first[g]).collect();
    let mut consolidated = all.take(&rows).map_err(|e| Error::internal(e.to_string()))?;
    consolidated.weights = kept.iter().map(|&g| sums[g]).collect();
    Ok(consolidated)
}

/// What has been added to a Z-set since the last checkpoint, kept consolidated as it grows.
pub struct ChangeLog {
    pub schema: SchemaRef,
    batches: Vec<ChangeBatch>,
    rows: usize,
    /// Rows left by the last consolidation: the log is consolidated again at twice that.
    settled_rows: usize,
}

impl ChangeLog {
    pub fn new(schema: SchemaRef) -> ChangeLog {
        ChangeLog { schema, batches: vec![], rows: 0, settled_rows: 0 }
    }

    pub fn push(&mut self, change: ChangeBatch) -> Result<()> {
        if change.is_empty() {
            return Ok(());
        }
        self.rows += change.len();
        self.batches.push(change);
        if self.rows > LOG_ROWS_MIN + 2 * self.settled_rows {
            let settled = consolidate(&std::mem::take(&mut self.batches))?;
            (self.rows, self.settled_rows) = (settled.len(), settled.len());
            self.batches.push(settled);
        }
        Ok(())
    }

    /// The consolidated changes; the log is empty afterwards.
    pub fn take(&mut self) -> Result<ChangeBatch> {
        (self.rows, self.settled_rows) = (0, 0);
        consolidate(&std::mem::take(&mut self.batches))
    }

    pub fn bytes(&self) -> usize {
        self.batches.iter().map(|b| b.memory_bytes()).sum()
    }
}
