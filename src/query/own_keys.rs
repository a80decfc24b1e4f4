//! Which values of a UNIQUE key a transaction has given rows and taken from them.
//!
//! Laid over what is stored as of the transaction's epoch: a key that it has not touched is taken where a stored row has it.

use std::collections::{HashMap, HashSet};

use arrow::row::{RowConverter, Rows, SortField};
use arrow_array::{ArrayRef, RecordBatch};

use super::errors::from_arrow;
use crate::arrangement::unique::UniqueKey;
use crate::canonical::canonical;
use crate::error::Result;

/// A transaction's changes of one key of a table.
#[derive(Clone)]
pub struct OwnKeys {
    pub key: UniqueKey,
    /// The place of the row that has it, among those that the transaction has inserted; `None`: no row has it.
    touched: HashMap<Box<[u8]>, Option<u32>>,
}

impl OwnKeys {
    pub fn new(key: UniqueKey) -> OwnKeys {
        OwnKeys { key, touched: HashMap::new() }
    }

    /// Whole rows are deleted.
    pub fn delete(&mut self, rows: &RecordBatch) -> Result<()> {
        for key in self.of_rows(rows)?.iter() {
            self.touched.insert(key.data().into(), None);
        }
        Ok(())
    }

    /// Whole rows are inserted, the first of them at this place.
    pub fn insert(&mut self, rows: &RecordBatch, first: u32) -> Result<()> {
        let distinct = self.key.distinct(rows);
        let keys = self.of_rows(rows)?;
        for (at, key) in keys.iter().enumerate().filter(|(at, _)| !distinct[*at]) {
            self.touched.insert(key.data().into(), Some(first + at as u32));
        }
        Ok(())
    }

    /// The first of some whole rows that may not be inserted: its key is `stored` or that of another one.
    pub fn first_taken(&self, rows: &RecordBatch, stored: &[bool]) -> Result<Option<usize>> {
        let distinct = self.key.distinct(rows);
        let keys = self.of_rows(rows)?;
        let mut seen = HashSet::new();
        let taken = |(at, key): (usize, arrow::row::Row<'_>)| {
            let touched = self.touched.get(key.data());
            let taken = touched.map_or(stored[at], Option::is_some);
            (!distinct[at] && (taken || !seen.insert(key.owned()))).then_some(at)
        };
        Ok(keys.iter().enumerate().find_map(taken))
    }

    /// The places of the rows inserted that have some keys, with which of the keys each has, ascending.
    pub fn places(&self, keys: &[ArrayRef]) -> Result<Vec<(u32, usize)>> {
        if self.touched.is_empty() {
            return Ok(vec![]);
        }
        let keys = encoded(keys)?;
        let place = |(probe, key): (usize, arrow::row::Row<'_>)| {
            self.touched
                .get(key.data())
                .copied()
                .flatten()
                .map(|place| (probe as u32, place as usize))
        };
        Ok(keys.iter().enumerate().filter_map(place).collect())
    }

    fn of_rows(&self, rows: &RecordBatch) -> Result<Rows> {
        let columns: Vec<_> = self.key.columns.iter().map(|&at| rows.column(at).clone()).collect();
        encoded(&columns)
    }
}

fn encoded(columns: &[ArrayRef]) -> Result<Rows> {
    let columns: Vec<ArrayRef> = columns.iter().map(canonical).collect();
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone()));
    let converter = RowConverter::new(fields.collect()).map_err(from_arrow)?;
    converter.convert_columns(&columns).map_err(from_arrow)
}
