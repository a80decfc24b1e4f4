//! Values as keys that compare as PostgreSQL compares the values: what min and max keep.
//!
//! Integers, dates, times and floats are one `i64`, decimals one `i128`, the rest bytes in Arrow's row encoding.

use arrow::row::{RowConverter, Rows, SortField};
use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, Decimal128Array, Float32Array, Float64Array};
use arrow_buffer::{NullBuffer, ScalarBuffer};
use arrow_schema::DataType;
use std::sync::Arc;

use super::group_index::row_converter;
use super::native_column::{from_i64, is_integer_like, to_i64};
use crate::canonical::{canonical, ordered_f32, ordered_f64, ordering, ordering_type};
use crate::error::{Error, Result, SqlState};

/// Turns a column into ordered keys and back.
pub trait KeyCodec: Send + 'static {
    type Key: Ord + Clone + Send + 'static;
    type Batch;

    fn encode(&self, column: &ArrayRef) -> Result<Self::Batch>;

    /// The key of a row that is not null.
    fn key(batch: &Self::Batch, row: usize) -> Self::Key;

    /// A column of the codec's type, null where there is no key.
    fn decode(&self, keys: &[Option<&Self::Key>]) -> Result<ArrayRef>;

    fn heap_bytes(_key: &Self::Key) -> usize {
        0
    }

    fn save(key: &Self::Key, into: &mut Vec<u8>);

    fn load(from: &[u8]) -> Result<Self::Key>;
}

fn damaged() -> Error {
    Error::new(SqlState::DATA_CORRUPTED, "a saved key has the wrong length")
}

/// Keys of 64 bits.
pub struct NarrowCodec(DataType);

impl NarrowCodec {
    pub fn supports(data_type: &DataType) -> bool {
        is_integer_like(data_type) || matches!(data_type, DataType::Float32 | DataType::Float64)
    }

    pub fn new(data_type: &DataType) -> NarrowCodec {
        NarrowCodec(data_type.clone())
    }
}

/// Between a float's bits and an integer of the same order; its own inverse.
fn flip(bits: i64) -> i64 {
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

/// As [`flip`], for 32 bits.
fn flip_real(bits: i32) -> i32 {
    bits ^ (((bits >> 31) as u32) >> 1) as i32
}

impl KeyCodec for NarrowCodec {
    type Key = i64;
    type Batch = ScalarBuffer<i64>;

    fn encode(&self, column: &ArrayRef) -> Result<ScalarBuffer<i64>> {
        Ok(match column.data_type() {
            DataType::Float64 => {
                let floats = column.as_primitive::<Float64Type>().values().iter();
                floats.map(|&v| flip(ordered_f64(v).to_bits() as i64)).collect()
            }
            DataType::Float32 => {
                let floats = column.as_primitive::<Float32Type>().values().iter();
                floats.map(|&v| flip_real(ordered_f32(v).to_bits() as i32).into()).collect()
            }
            _ => to_i64(column),
        })
    }

    #[inline]
    fn key(batch: &ScalarBuffer<i64>, row: usize) -> i64 {
        batch[row]
    }

    fn decode(&self, keys: &[Option<&i64>]) -> Result<ArrayRef> {
        let keys = keys.iter().map(|k| k.copied());
        Ok(match &self.0 {
            DataType::Float64 => {
                let float = |k| f64::from_bits(flip(k) as u64);
                Arc::new(keys.map(|k| k.map(float)).collect::<Float64Array>())
            }
            DataType::Float32 => {
                let float = |k| f32::from_bits(flip_real(k as i32) as u32);
                Arc::new(keys.map(|k| k.map(float)).collect::<Float32Array>())
            }
            integers => {
                let nulls: NullBuffer = keys.clone().map(|k| k.is_some()).collect();
                let nulls = Some(nulls).filter(|n| n.null_count() > 0);
                from_i64(keys.map(|k| k.unwrap_or(0)).collect(), nulls, integers)
            }
        })
    }

    fn save(key: &i64, into: &mut Vec<u8>) {
        into.extend_from_slice(&key.to_le_bytes());
    }

    fn load(from: &[u8]) -> Result<i64> {
        from.try_into().map(i64::from_le_bytes).map_err(|_| damaged())
    }
}

/// Keys of 128 bits, for decimals.
pub struct DecimalCodec(pub DataType);

impl KeyCodec for DecimalCodec {
    type Key = i128;
    type Batch = ScalarBuffer<i128>;

    fn encode(&self, column: &ArrayRef) -> Result<ScalarBuffer<i128>> {
        Ok(column.as_primitive::<Decimal128Type>().values().clone())
    }

    #[inline]
    fn key(batch: &ScalarBuffer<i128>, row: usize) -> i128 {
        batch[row]
    }

    fn decode(&self, keys: &[Option<&i128>]) -> Result<ArrayRef> {
        let decimals = keys.iter().map(|k| k.copied()).collect::<Decimal128Array>();
        Ok(Arc::new(decimals.with_data_type(self.0.clone())))
    }

    fn save(key: &i128, into: &mut Vec<u8>) {
        into.extend_from_slice(&key.to_le_bytes());
    }

    fn load(from: &[u8]) -> Result<i128> {
        from.try_into().map(i128::from_le_bytes).map_err(|_| damaged())
    }
}

/// Keys of any length, for every other type. Where order and equality differ (intervals) the value follows its
/// ordering key.
pub struct BytesCodec {
    converter: RowConverter,
    data_type: DataType,
    split: bool,
}

impl BytesCodec {
    /// A type that has no row encoding is 0A000.
    pub fn new(data_type: &DataType) -> Result<BytesCodec> {
        let split = ordering_type(data_type) != *data_type;
        let mut fields = vec![SortField::new(ordering_type(data_type))];
        if split {
            fields.push(SortField::new(data_type.clone()));
        }
        Ok(BytesCodec { converter: row_converter(fields)?, data_type: data_type.clone(), split })
    }
}

impl KeyCodec for BytesCodec {
    type Key = Box<[u8]>;
    type Batch = Rows;

    fn encode(&self, column: &ArrayRef) -> Result<Rows> {
        let columns = match self.split {
            true => vec![ordering(column), canonical(column)],
            false => vec![ordering(column)],
        };
        self.converter.convert_columns(&columns).map_err(|e| Error::internal(e.to_string()))
    }

    fn key(batch: &Rows, row: usize) -> Box<[u8]> {
        batch.row(row).data().into()
    }

    fn decode(&self, keys: &[Option<&Box<[u8]>>]) -> Result<ArrayRef> {
        let parser = self.converter.parser();
        let null = match keys.iter().any(Option::is_none) {
            true => Some(self.encode(&arrow_array::new_null_array(&self.data_type, 1))?),
            false => None,
        };
        let absent = null.as_ref().map_or(&[][..], |rows| rows.row(0).data());
        let rows = keys.iter().map(|k| parser.parse(k.map_or(absent, |k| k)));
        let columns =
            self.converter.convert_rows(rows).map_err(|e| Error::internal(e.to_string()))?;
        Ok(columns.into_iter().next_back().expect("the converter has at least one field"))
    }

    fn heap_bytes(key: &Box<[u8]>) -> usize {
        key.len() + 16
    }

    fn save(key: &Box<[u8]>, into: &mut Vec<u8>) {
        into.extend_from_slice(key);
    }

    fn load(from: &[u8]) -> Result<Box<[u8]>> {
        Ok(from.into())
    }
}
