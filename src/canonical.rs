//! Two views of a column: its canonical form, in which equal values have equal bytes, and its ordering form, whose
//! Arrow row encoding sorts as PostgreSQL sorts the values.
//!
//! Invariant: canonically `-0.0 = 0.0`, every NaN equals every other NaN and is the greatest float, also inside lists and
//! structs. In order `-0.0` comes right before `0.0`, so that what a LIMIT cuts or an extreme shows is a function of the rows.
//! Intervals sort by their length with months of 30 days, but two intervals are only equal when their parts are.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, IntervalMonthDayNanoType};
use arrow_array::{
    Array, ArrayRef, Decimal128Array, FixedSizeListArray, LargeListArray, ListArray, MapArray,
    StructArray,
};
use arrow_buffer::IntervalMonthDayNano;
use arrow_schema::{DataType, IntervalUnit};

/// The column with `-0.0` and odd NaNs replaced; the same column, without a copy, where there are none.
pub fn canonical(array: &ArrayRef) -> ArrayRef {
    with_floats(array, canonical_f64, canonical_f32)
}

/// The column with its floats replaced by `f64` and `f32`, also in lists and structs.
fn with_floats(array: &ArrayRef, f64: fn(f64) -> f64, f32: fn(f32) -> f32) -> ArrayRef {
    match array.data_type() {
        DataType::Float64 => {
            let floats = array.as_primitive::<Float64Type>();
            let plain = |v: f64| f64(v).to_bits() == v.to_bits();
            if floats.values().iter().all(|&v| plain(v)) {
                return array.clone();
            }
            Arc::new(floats.unary::<_, Float64Type>(f64))
        }
        DataType::Float32 => {
            let floats = array.as_primitive::<Float32Type>();
            Arc::new(floats.unary::<_, Float32Type>(f32))
        }
        nested if nested.is_nested() && holds_floats(nested) => {
            nested_with(array, |values| with_floats(values, f64, f32))
        }
        _ => array.clone(),
    }
}

fn nested_with(array: &ArrayRef, replaced: impl Fn(&ArrayRef) -> ArrayRef) -> ArrayRef {
    let nulls = array.nulls().cloned();
    match array.data_type() {
        DataType::List(field) => {
            let list = array.as_list::<i32>();
            let values = replaced(list.values());
            Arc::new(ListArray::new(field.clone(), list.offsets().clone(), values, nulls))
        }
        DataType::LargeList(field) => {
            let list = array.as_list::<i64>();
            let values = replaced(list.values());
            Arc::new(LargeListArray::new(field.clone(), list.offsets().clone(), values, nulls))
        }
        DataType::FixedSizeList(field, size) => {
            let values = replaced(array.as_fixed_size_list().values());
            Arc::new(FixedSizeListArray::new(field.clone(), *size, values, nulls))
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns().iter().map(replaced).collect();
            Arc::new(StructArray::new(fields.clone(), columns, nulls))
        }
        DataType::Map(field, sorted) => {
            let map = array.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            let entries = replaced(&entries).as_struct().clone();
            Arc::new(MapArray::new(field.clone(), map.offsets().clone(), entries, nulls, *sorted))
        }
        _ => array.clone(),
    }
}

/// Whether a type is of floats or has some inside.
pub fn holds_floats(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float32 | DataType::Float64 => true,
        DataType::List(f) | DataType::LargeList(f) | DataType::FixedSizeList(f, _) => {
            holds_floats(f.data_type())
        }
        DataType::Struct(fields) => fields.iter().any(|f| holds_floats(f.data_type())),
        DataType::Map(entries, _) => holds_floats(entries.data_type()),
        _ => false,
    }
}

/// `-0.0` becomes `0.0`, any NaN the one positive NaN, which total order puts above infinity.
#[inline]
pub fn canonical_f64(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value + 0.0 }
}

/// As [`canonical_f64`], for `real`.
#[inline]
pub fn canonical_f32(value: f32) -> f32 {
    if value.is_nan() { f32::NAN } else { value + 0.0 }
}

/// Any NaN becomes the one positive NaN.
#[inline]
pub fn ordered_f64(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value }
}

/// As [`ordered_f64`], for `real`.
#[inline]
pub fn ordered_f32(value: f32) -> f32 {
    if value.is_nan() { f32::NAN } else { value }
}

/// The type of [`ordering`]'s result for a column of `data_type`.
pub fn ordering_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Interval(IntervalUnit::MonthDayNano) => DataType::Decimal128(38, 0),
        other => other.clone(),
    }
}

/// Nanoseconds, with months of 30 days.
pub fn interval_length(interval: IntervalMonthDayNano) -> i128 {
    let days = i128::from(interval.months) * 30 + i128::from(interval.days);
    days * 86_400_000_000_000 + i128::from(interval.nanoseconds)
}

/// The column by whose Arrow row encoding rows sort as PostgreSQL would sort them; not to be read as values.
pub fn ordering(array: &ArrayRef) -> ArrayRef {
    if *array.data_type() != DataType::Interval(IntervalUnit::MonthDayNano) {
        return with_floats(array, ordered_f64, ordered_f32);
    }
    let intervals = array.as_primitive::<IntervalMonthDayNanoType>();
    let lengths = intervals.values().iter().map(|v| interval_length(*v));
    let lengths = Decimal128Array::new(lengths.collect(), intervals.nulls().cloned());
    Arc::new(lengths.with_data_type(DataType::Decimal128(38, 0)))
}
