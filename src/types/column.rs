//! A column brought into the few Arrow types that values are written from.
//!
//! DataFusion's expressions yield many Arrow types for one PostgreSQL type; [`canonical`] casts the rare ones, batch by
//! batch, so that the writers see exactly one representation each, except for strings, whose three layouts are read as they
//! are because they are frequent and large. Invariant: writing the text of a row cannot fail and allocates nothing
//! but the output buffer's growth.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, LargeStringArray,
    PrimitiveArray, StringArray, StringViewArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field, IntervalUnit, TimeUnit};
use bytes::BytesMut;

use super::pg_type::{PgType, character_length, pg_type_of, retyped, type_marker};
use super::style::TextStyle;
use crate::error::{Error, Result, SqlState};

/// The values of a column in one of the canonical types.
pub(super) enum Values {
    Null,
    Bool(BooleanArray),
    Int2(PrimitiveArray<Int16Type>),
    Int4(PrimitiveArray<Int32Type>),
    Int8(PrimitiveArray<Int64Type>),
    Float4(PrimitiveArray<Float32Type>),
    Float8(PrimitiveArray<Float64Type>),
    Numeric { values: PrimitiveArray<Decimal128Type>, scale: i8, trim: bool },
    WideNumeric { values: PrimitiveArray<Decimal256Type>, scale: i8, trim: bool },
    Utf8(StringArray),
    LargeUtf8(LargeStringArray),
    Utf8View(StringViewArray),
    Bytea(BinaryArray),
    Uuid(FixedSizeBinaryArray),
    Date(PrimitiveArray<Date32Type>),
    Time(PrimitiveArray<Time64MicrosecondType>),
    Timestamp(PrimitiveArray<TimestampMicrosecondType>),
    TimestampTz(PrimitiveArray<TimestampMicrosecondType>),
    Interval(PrimitiveArray<IntervalMonthDayNanoType>),
    List { offsets: OffsetBuffer<i32>, items: Box<Column> },
    Record(Vec<Column>),
}

pub(super) struct Column {
    pub values: Values,
    pub nulls: Option<NullBuffer>,
    pub pg_type: &'static PgType,
    /// char(n) is shown padded with blanks to n characters; 0 for everything else.
    pub pad: usize,
}

impl Column {
    pub fn is_null(&self, row: usize) -> bool {
        matches!(self.values, Values::Null) || self.nulls.as_ref().is_some_and(|n| n.is_null(row))
    }

    /// Reads `array`, whose field is `field`. Errors when a value does not fit PostgreSQL's type (22008) or the Arrow
    /// type has no counterpart (0A000).
    pub fn try_new(array: &ArrayRef, field: &Field) -> Result<Column> {
        let array = canonical(array)?;
        let field = retyped(field, array.data_type());
        let nulls = array.nulls().cloned();
        let pad = match type_marker(&field) {
            Some("bpchar") => character_length(&field).unwrap_or(0),
            _ => 0,
        };
        Ok(Column { values: values_of(&array, &field)?, nulls, pg_type: pg_type_of(&field), pad })
    }
}

fn values_of(array: &ArrayRef, field: &Field) -> Result<Values> {
    let trim = type_marker(field) == Some("numeric");
    Ok(match field.data_type() {
        DataType::Null => Values::Null,
        DataType::Boolean => Values::Bool(array.as_boolean().clone()),
        DataType::Int16 => Values::Int2(array.as_primitive().clone()),
        DataType::Int32 => Values::Int4(array.as_primitive().clone()),
        DataType::Int64 => Values::Int8(array.as_primitive().clone()),
        DataType::Float32 => Values::Float4(array.as_primitive().clone()),
        DataType::Float64 => Values::Float8(array.as_primitive().clone()),
        DataType::Decimal128(_, s) => {
            Values::Numeric { values: array.as_primitive().clone(), scale: *s, trim }
        }
        DataType::Decimal256(_, s) => {
            Values::WideNumeric { values: array.as_primitive().clone(), scale: *s, trim }
        }
        DataType::Utf8 => Values::Utf8(array.as_string().clone()),
        DataType::LargeUtf8 => Values::LargeUtf8(array.as_string().clone()),
        DataType::Utf8View => Values::Utf8View(array.as_string_view().clone()),
        DataType::Binary => Values::Bytea(array.as_binary().clone()),
        DataType::FixedSizeBinary(16) => Values::Uuid(array.as_fixed_size_binary().clone()),
        DataType::Date32 => Values::Date(array.as_primitive().clone()),
        DataType::Time64(TimeUnit::Microsecond) => Values::Time(array.as_primitive().clone()),
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            Values::Timestamp(array.as_primitive().clone())
        }
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            Values::TimestampTz(array.as_primitive().clone())
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            Values::Interval(array.as_primitive().clone())
        }
        DataType::List(item) => {
            let list = array.as_list::<i32>();
            let items = Column::try_new(list.values(), item)?;
            Values::List { offsets: list.offsets().clone(), items: Box::new(items) }
        }
        DataType::Map(entries, _) => {
            let map = array.as_map();
            let rows: ArrayRef = std::sync::Arc::new(map.entries().clone());
            let items = Column::try_new(&rows, entries)?;
            Values::List { offsets: map.offsets().clone(), items: Box::new(items) }
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns().iter().zip(fields);
            Values::Record(columns.map(|(c, f)| Column::try_new(c, f)).collect::<Result<_>>()?)
        }
        other => return Err(no_counterpart(other)),
    })
}

fn no_counterpart(data_type: &DataType) -> Error {
    Error::unsupported(format!("values of type {data_type} cannot be sent"))
        .with_hint("Cast the column to text.")
}

/// The type that values of `data_type` are written from; the same type where it is canonical already.
pub(super) fn canonical_type(data_type: &DataType) -> DataType {
    let micros = |zone: &Option<std::sync::Arc<str>>| {
        DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
    };
    match data_type {
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
        DataType::Float16 => DataType::Float32,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::FixedSizeBinary(n) if *n != 16 => DataType::Binary,
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(_, zone) => micros(zone),
        DataType::Interval(_) | DataType::Duration(_) => {
            DataType::Interval(IntervalUnit::MonthDayNano)
        }
        DataType::Dictionary(_, value) => canonical_type(value),
        DataType::RunEndEncoded(_, value) => canonical_type(value.data_type()),
        DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => DataType::List(item.clone()),
        other => other.clone(),
    }
}

/// `array` in its [`canonical_type`]; items of lists and records are left to their own columns.
pub(super) fn canonical(array: &ArrayRef) -> Result<ArrayRef> {
    let target = canonical_type(array.data_type());
    if *array.data_type() == target {
        return Ok(array.clone());
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, &target, &options).map_err(|e| {
        Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "value is out of the range that can be sent")
            .with_detail(e.to_string())
    })
}

/// Writes the values of one column of one batch, row by row, as text or binary.
pub struct ColumnWriter {
    pub(super) column: Column,
}

impl ColumnWriter {
    /// A writer for `array` with the column's `field`, whose metadata names the PostgreSQL type. The array may have any
    /// Arrow type. Errors: 0A000 for types that have no PostgreSQL counterpart, 22008 for time stamps out of range.
    pub fn try_new(array: &ArrayRef, field: &Field) -> Result<ColumnWriter> {
        Ok(ColumnWriter { column: Column::try_new(array, field)? })
    }

    pub fn is_null(&self, row: usize) -> bool {
        self.column.is_null(row)
    }

    /// Appends the text of row `row`; nothing for NULL.
    pub fn write_text(&self, row: usize, style: &TextStyle, out: &mut BytesMut) {
        super::text_out::put_text(&self.column, row, style, out);
    }

    /// Appends the binary form of row `row` without its length; nothing for NULL. Errors with 0A000 for the one thing
    /// that has no binary form, arrays in an array that differ in length; `out` then holds a part of the value.
    pub fn write_binary(&self, row: usize, out: &mut BytesMut) -> Result<()> {
        super::binary_out::put_binary(&self.column, row, out)
    }
}
