//! Rows as bytes that sort by some columns first and then by the whole row in type order, and can be read back.
//!
//! Because the order is total, whatever is cut from it (a LIMIT, the first value) is a function of the rows alone.
//! A row keeps its bits.

use arrow::row::{RowConverter, Rows, SortField};
use arrow_array::ArrayRef;
use arrow_schema::{ArrowError, DataType, SortOptions};

use super::canonical::{ordering, ordering_type};
use super::group_index::row_converter;
use crate::error::{Error, Result};

/// One key of an ORDER BY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortKey {
    pub column: usize,
    pub descending: bool,
    pub nulls_first: bool,
}

/// The encoding: the sort keys, the whole row as ordering keys where its own bytes do not sort right, the row.
pub struct RowOrder {
    converter: RowConverter,
    keys: Vec<usize>,
    tie_keys: bool,
    columns: usize,
}

impl RowOrder {
    /// The order of rows with columns of `types` by `keys`; types without a row encoding are 0A000.
    pub fn new(types: &[DataType], keys: &[SortKey]) -> Result<RowOrder> {
        let sorted = keys.iter().map(|k| {
            let options = SortOptions { descending: k.descending, nulls_first: k.nulls_first };
            SortField::new_with_options(ordering_type(&types[k.column]), options)
        });
        let nulls_last = SortOptions { descending: false, nulls_first: false };
        let tie_keys = types.iter().any(|t| !sorts_by_its_bytes(t));
        let ties = types.iter().filter(|_| tie_keys);
        let ties = ties.map(|t| SortField::new_with_options(ordering_type(t), nulls_last));
        let row = types.iter().map(|t| SortField::new_with_options(t.clone(), nulls_last));
        let converter = row_converter(sorted.chain(ties).chain(row).collect())?;
        let keys = keys.iter().map(|k| k.column).collect();
        Ok(RowOrder { converter, keys, tie_keys, columns: types.len() })
    }

    pub fn encode(&self, columns: &[ArrayRef]) -> Result<Rows> {
        let keys = self.keys.iter().map(|&c| ordering(&columns[c]));
        let ties = columns.iter().filter(|_| self.tie_keys).map(ordering);
        let all: Vec<ArrayRef> = keys.chain(ties).chain(columns.iter().cloned()).collect();
        self.converter.convert_columns(&all).map_err(|e| Error::internal(e.to_string()))
    }

    /// The columns of encoded rows.
    pub fn decode<'a>(
        &self,
        rows: impl IntoIterator<Item = &'a [u8]>,
    ) -> std::result::Result<Vec<ArrayRef>, ArrowError> {
        let parser = self.converter.parser();
        let mut columns = self.converter.convert_rows(rows.into_iter().map(|r| parser.parse(r)))?;
        Ok(columns.split_off(columns.len() - self.columns))
    }
}

fn sorts_by_its_bytes(data_type: &DataType) -> bool {
    let float = matches!(data_type, DataType::Float32 | DataType::Float64);
    !float && !data_type.is_nested() && ordering_type(data_type) == *data_type
}
