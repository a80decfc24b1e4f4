//! Rows as bytes that sort by some columns first and then by the whole row in type order, and can be read back.
//!
//! Because the order is total, whatever is cut from it (a LIMIT, the first value) is a function of the rows alone.
//! A row keeps its bits. Its bytes are its keys, then what breaks ties (the whole row at last), then the length of the keys:
//! so rows that the keys do not tell apart, peers, are known by their first bytes.

use arrow::row::{RowConverter, SortField};
use arrow_array::ArrayRef;
use arrow_schema::{ArrowError, DataType, SortOptions};

use super::group_index::row_converter;
use crate::canonical::{ordering, ordering_type};
use crate::error::{Error, Result};

/// One key of an ORDER BY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortKey {
    pub column: usize,
    pub descending: bool,
    pub nulls_first: bool,
}

/// The encoding: the sort keys; further keys, the whole row as ordering keys where its own bytes do not sort right, the row.
pub struct RowOrder {
    peers: RowConverter,
    rest: RowConverter,
    keys: Vec<usize>,
    ties: Vec<usize>,
    tie_keys: bool,
    columns: usize,
}

/// Bytes that the length of a row's keys takes at its end.
const LENGTH_BYTES: usize = 4;

/// Encoded rows.
pub struct OrderedRows {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl OrderedRows {
    pub fn row(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.bytes[start..self.ends[i]]
    }
}

/// The bytes of a row's keys: peers have the same ones.
pub fn peers(row: &[u8]) -> &[u8] {
    &row[..key_length(row)]
}

fn key_length(row: &[u8]) -> usize {
    let length = row.last_chunk::<LENGTH_BYTES>().expect("a row ends with the length of its keys");
    u32::from_le_bytes(*length) as usize
}

fn fields(types: &[DataType], keys: &[SortKey]) -> Vec<SortField> {
    let field = |k: &SortKey| {
        let options = SortOptions { descending: k.descending, nulls_first: k.nulls_first };
        SortField::new_with_options(ordering_type(&types[k.column]), options)
    };
    keys.iter().map(field).collect()
}

impl RowOrder {
    /// The order of rows with columns of `types` by `keys`; types without a row encoding are 0A000.
    pub fn new(types: &[DataType], keys: &[SortKey]) -> Result<RowOrder> {
        RowOrder::with_ties(types, keys, &[])
    }

    /// As [`RowOrder::new`], where `ties` decide among peers before the whole row does.
    pub fn with_ties(types: &[DataType], keys: &[SortKey], ties: &[SortKey]) -> Result<RowOrder> {
        let nulls_last = SortOptions { descending: false, nulls_first: false };
        let tie_keys = types.iter().any(|t| !sorts_by_its_bytes(t));
        let whole = types.iter().filter(|_| tie_keys);
        let whole = whole.map(|t| SortField::new_with_options(ordering_type(t), nulls_last));
        let row = types.iter().map(|t| SortField::new_with_options(t.clone(), nulls_last));
        let rest = fields(types, ties).into_iter().chain(whole).chain(row);
        Ok(RowOrder {
            peers: row_converter(fields(types, keys))?,
            rest: row_converter(rest.collect())?,
            keys: keys.iter().map(|k| k.column).collect(),
            ties: ties.iter().map(|k| k.column).collect(),
            tie_keys,
            columns: types.len(),
        })
    }

    pub fn encode(&self, columns: &[ArrayRef]) -> Result<OrderedRows> {
        let ordered = |c: &usize| ordering(&columns[*c]);
        let keys: Vec<ArrayRef> = self.keys.iter().map(ordered).collect();
        let whole = columns.iter().filter(|_| self.tie_keys).map(ordering);
        let rest = self.ties.iter().map(ordered).chain(whole).chain(columns.iter().cloned());
        let internal = |e: ArrowError| Error::internal(e.to_string());
        let rest = self.rest.convert_columns(&rest.collect::<Vec<_>>()).map_err(internal)?;
        let peers = match keys.is_empty() {
            true => None,
            false => Some(self.peers.convert_columns(&keys).map_err(internal)?),
        };
        let count = rest.num_rows();
        let mut rows = OrderedRows { bytes: vec![], ends: Vec::with_capacity(count) };
        for i in 0..count {
            let keys = peers.as_ref().map_or(&[][..], |peers| peers.row(i).data());
            rows.bytes.extend_from_slice(keys);
            rows.bytes.extend_from_slice(rest.row(i).data());
            rows.bytes.extend_from_slice(&(keys.len() as u32).to_le_bytes());
            rows.ends.push(rows.bytes.len());
        }
        Ok(rows)
    }

    /// The columns of encoded rows.
    pub fn decode<'a>(
        &self,
        rows: impl IntoIterator<Item = &'a [u8]>,
    ) -> std::result::Result<Vec<ArrayRef>, ArrowError> {
        let parser = self.rest.parser();
        let rest = |row: &'a [u8]| parser.parse(&row[key_length(row)..row.len() - LENGTH_BYTES]);
        let mut columns = self.rest.convert_rows(rows.into_iter().map(rest))?;
        Ok(columns.split_off(columns.len() - self.columns))
    }
}

fn sorts_by_its_bytes(data_type: &DataType) -> bool {
    let float = matches!(data_type, DataType::Float32 | DataType::Float64);
    !float && !data_type.is_nested() && ordering_type(data_type) == *data_type
}
