//! The upsert fold: rows that replace their key's older row become changes of a collection.
//!
//! A weight of +1 sets the key's row, -1 deletes it (only the key columns count). The last one of a key wins; rows are in the
//! order of their source, which for one key is that of its split.

use std::collections::HashMap;

use arrow::row::{OwnedRow, RowConverter, SortField};
use arrow_array::ArrayRef;

use crate::arrangement::Snapshot;
use crate::change::{ChangeBatch, batch_of, take_rows};
use crate::error::{Error, Result};
use crate::hash::hash_columns;

/// The change that upserts and deletes by key make to the rows of `before`.
pub fn fold(change: &ChangeBatch, key: &[usize], before: &Snapshot) -> Result<Vec<ChangeBatch>> {
    let failed = |e: arrow_schema::ArrowError| Error::internal(e.to_string());
    let rows = change.rows();
    let columns: Vec<ArrayRef> = key.iter().map(|&k| rows.column(k).clone()).collect();
    let fields = columns.iter().map(|c| SortField::new(c.data_type().clone())).collect();
    let encoded =
        RowConverter::new(fields).and_then(|c| c.convert_columns(&columns)).map_err(failed)?;
    let mut last: HashMap<OwnedRow, u32> = HashMap::new();
    for row in 0..rows.num_rows() {
        last.insert(encoded.row(row).owned(), row as u32);
    }
    let mut touched: Vec<u32> = last.into_values().collect();
    touched.sort_unstable();
    let keys = take_rows(&rows.project(key).map_err(failed)?, &touched).map_err(failed)?;
    let mut hashes = vec![];
    hash_columns(keys.columns(), keys.num_rows(), &mut hashes);
    let (mut probe, mut stored) = (vec![], vec![]);
    before.probe(keys.columns(), &hashes, &mut probe, &mut stored);
    let old =
        batch_of(before.schema().clone(), before.gather(&stored)?, stored.len()).map_err(failed)?;
    let set: Vec<u32> =
        touched.into_iter().filter(|&row| change.weights[row as usize] > 0).collect();
    let new = take_rows(rows, &set).map_err(failed)?;
    Ok(vec![ChangeBatch::deletes(old), ChangeBatch::inserts(new)])
}
