//! Values in PostgreSQL's binary formats: parameters, and columns of a binary COPY.
//!
//! The bytes come from outside: every length is checked before it is believed, and what does not fit is 22P03.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::types::{Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryArray, ListArray, PrimitiveArray, new_empty_array,
    new_null_array,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use bytes::Buf;
use datafusion::scalar::ScalarValue;

use super::calendar::{DAYS_TO_2000, MICROS_PER_DAY, MICROS_TO_2000};
use super::column::canonical_type;
use super::json::{jsonb_of_text, validate_json};
use super::numeric::{parse_decimal, parse_wide_decimal, text_of_binary_numeric};
use super::pg_type::{PgType, pg_type_of, retyped, type_marker};
use super::style::TextStyle;
use super::text_in::cast_from_text;
use crate::error::{Error, Result, SqlState};

/// An array element takes at least its length word, which bounds the count before anything is allocated.
const ELEMENT_BYTES_MIN: usize = 4;

fn malformed() -> Error {
    Error::new(SqlState::INVALID_BINARY_REPRESENTATION, "incorrect binary data format")
}

/// Reads one value; the result has exactly the field's Arrow type.
///
/// Errors: 22P03 for bytes that are not the type's, 22021 for text that is not UTF-8, 22003 and 22008 for values out of
/// range, 0A000 for records.
pub fn parse_binary(bytes: &[u8], field: &Field) -> Result<ScalarValue> {
    let target = field.data_type();
    let canonical = canonical_type(target);
    let value = read(bytes, &retyped(field, &canonical))?;
    if canonical == *target {
        return Ok(value);
    }
    value
        .cast_to(target)
        .map_err(|e| Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, e.to_string()))
}

/// Reads a column; NULL stays NULL. Rows that cannot be read are NULL and have their error in the list, in row order.
pub fn column_from_binary(values: &BinaryArray, field: &Field) -> (ArrayRef, Vec<(usize, Error)>) {
    match field.data_type() {
        DataType::Int16 => numbers::<Int16Type, 2>(values, i16::from_be_bytes),
        DataType::Int32 => numbers::<Int32Type, 4>(values, i32::from_be_bytes),
        DataType::Int64 if pg_type_of(field).size == 8 => {
            numbers::<Int64Type, 8>(values, i64::from_be_bytes)
        }
        DataType::Utf8 => strings(values, field),
        _ => scalars(values, field),
    }
}

fn numbers<T: ArrowPrimitiveType, const N: usize>(
    values: &BinaryArray,
    read: impl Fn([u8; N]) -> T::Native,
) -> (ArrayRef, Vec<(usize, Error)>) {
    let mut errors = vec![];
    let numbers = values.iter().enumerate().map(|(row, bytes)| match fixed::<N>(bytes?) {
        Ok(bytes) => Some(read(bytes)),
        Err(error) => {
            errors.push((row, error));
            None
        }
    });
    let numbers: PrimitiveArray<T> = numbers.collect();
    (Arc::new(numbers), errors)
}

/// Text, whose length and form are checked as where it is written out.
fn strings(values: &BinaryArray, field: &Field) -> (ArrayRef, Vec<(usize, Error)>) {
    let mut errors = vec![];
    let mut builder = StringBuilder::with_capacity(values.len(), values.value_data().len());
    for (row, bytes) in values.iter().enumerate() {
        match bytes.map(|bytes| read_string(bytes, field)).transpose() {
            Ok(text) => builder.append_option(text),
            Err(error) => {
                errors.push((row, error));
                builder.append_null();
            }
        }
    }
    let (array, misfits) = cast_from_text(&builder.finish(), field, &TextStyle::default());
    errors.extend(misfits);
    errors.sort_by_key(|(row, _)| *row);
    (array, errors)
}

/// The types that are rare in bulk, a value at a time.
fn scalars(values: &BinaryArray, field: &Field) -> (ArrayRef, Vec<(usize, Error)>) {
    let mut errors = vec![];
    let null = new_null_array(field.data_type(), values.len());
    let Ok(missing) = ScalarValue::try_from(field.data_type()) else { return (null, errors) };
    let scalars = values.iter().enumerate().map(|(row, bytes)| {
        bytes.map_or_else(
            || missing.clone(),
            |bytes| {
                parse_binary(bytes, field).unwrap_or_else(|error| {
                    errors.push((row, error));
                    missing.clone()
                })
            },
        )
    });
    let scalars: Vec<ScalarValue> = scalars.collect();
    match scalars.is_empty() {
        true => (null, errors),
        false => match ScalarValue::iter_to_array(scalars) {
            Ok(array) => (array, errors),
            Err(error) => (null, vec![(0, Error::internal(error.to_string()))]),
        },
    }
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| malformed())
}

fn read(bytes: &[u8], field: &Field) -> Result<ScalarValue> {
    let pg_type = pg_type_of(field);
    Ok(match field.data_type() {
        DataType::Null => ScalarValue::Null,
        DataType::Boolean => ScalarValue::Boolean(Some(fixed::<1>(bytes)?[0] != 0)),
        DataType::Int16 => ScalarValue::Int16(Some(i16::from_be_bytes(fixed(bytes)?))),
        DataType::Int32 => ScalarValue::Int32(Some(i32::from_be_bytes(fixed(bytes)?))),
        // An oid is a u32 kept in a bigint.
        DataType::Int64 if pg_type.size == 4 => {
            ScalarValue::Int64(Some(i64::from(u32::from_be_bytes(fixed(bytes)?))))
        }
        DataType::Int64 => ScalarValue::Int64(Some(i64::from_be_bytes(fixed(bytes)?))),
        // A NaN is a NaN, whatever bits the client has for it.
        DataType::Float32 => {
            let value = f32::from_be_bytes(fixed(bytes)?);
            ScalarValue::Float32(Some(if value.is_nan() { f32::NAN } else { value }))
        }
        DataType::Float64 => {
            let value = f64::from_be_bytes(fixed(bytes)?);
            ScalarValue::Float64(Some(if value.is_nan() { f64::NAN } else { value }))
        }
        DataType::Decimal128(p, s) => {
            let text = text_of_binary_numeric(bytes).ok_or_else(malformed)?;
            ScalarValue::Decimal128(Some(parse_decimal(&text, *p, *s)?), *p, *s)
        }
        DataType::Decimal256(p, s) => {
            let text = text_of_binary_numeric(bytes).ok_or_else(malformed)?;
            ScalarValue::Decimal256(Some(parse_wide_decimal(&text, *p, *s)?), *p, *s)
        }
        DataType::Utf8 => ScalarValue::Utf8(Some(read_string(bytes, field)?)),
        DataType::LargeUtf8 => ScalarValue::LargeUtf8(Some(read_string(bytes, field)?)),
        DataType::Utf8View => ScalarValue::Utf8View(Some(read_string(bytes, field)?)),
        DataType::Binary => ScalarValue::Binary(Some(bytes.to_vec())),
        DataType::FixedSizeBinary(16) => {
            ScalarValue::FixedSizeBinary(16, Some(fixed::<16>(bytes)?.to_vec()))
        }
        DataType::Date32 => ScalarValue::Date32(Some(match i32::from_be_bytes(fixed(bytes)?) {
            infinity @ (i32::MAX | i32::MIN) => infinity,
            days => days.checked_add(DAYS_TO_2000).ok_or_else(|| out_of_range("date"))?,
        })),
        DataType::Time64(TimeUnit::Microsecond) => {
            let micros = i64::from_be_bytes(fixed(bytes)?);
            let in_range = (0..=MICROS_PER_DAY).contains(&micros);
            ScalarValue::Time64Microsecond(Some(
                in_range.then_some(micros).ok_or_else(|| out_of_range("time"))?,
            ))
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            ScalarValue::TimestampMicrosecond(Some(read_timestamp(bytes)?), zone.clone())
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => read_interval(bytes)?,
        DataType::List(_) if pg_type.is_map() => {
            let text = std::str::from_utf8(bytes).map_err(|_| malformed())?;
            super::text_in::parse_text(text, field, &TextStyle::default())?
        }
        DataType::List(item) => ScalarValue::List(Arc::new(read_array(bytes, item)?)),
        _ => {
            return Err(Error::unsupported(format!(
                "input of type {} in binary format",
                pg_type.sql_name
            )));
        }
    })
}

fn out_of_range(type_name: &str) -> Error {
    Error::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("{type_name} out of range"))
}

/// UTF-8 without NUL, as PostgreSQL's text is. Errors: 22021, naming the first byte at fault.
pub fn utf8_text(bytes: &[u8]) -> Result<&str> {
    let refuse = |at: usize| {
        let byte = bytes.get(at).copied().unwrap_or(0);
        let message = format!("invalid byte sequence for encoding \"UTF8\": 0x{byte:02x}");
        Error::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, message)
    };
    let text = std::str::from_utf8(bytes).map_err(|e| refuse(e.valid_up_to()))?;
    match text.find('\0') {
        Some(at) => Err(refuse(at)),
        None => Ok(text),
    }
}

fn read_string(bytes: &[u8], field: &Field) -> Result<String> {
    match type_marker(field) {
        Some("jsonb") => match bytes.split_first() {
            Some((1, text)) => jsonb_of_text(utf8_text(text)?),
            Some((version, _)) => {
                Err(Error::internal(format!("unsupported jsonb version number {version}")))
            }
            None => Err(malformed()),
        },
        Some("json") => {
            let text = utf8_text(bytes)?;
            validate_json(text)?;
            Ok(text.to_owned())
        }
        _ => Ok(utf8_text(bytes)?.to_owned()),
    }
}

fn read_timestamp(bytes: &[u8]) -> Result<i64> {
    match i64::from_be_bytes(fixed(bytes)?) {
        infinity @ (i64::MAX | i64::MIN) => Ok(infinity),
        micros => micros.checked_add(MICROS_TO_2000).ok_or_else(|| out_of_range("timestamp")),
    }
}

fn read_interval(mut bytes: &[u8]) -> Result<ScalarValue> {
    if bytes.len() != 16 {
        return Err(malformed());
    }
    let (micros, days, months) = (bytes.get_i64(), bytes.get_i32(), bytes.get_i32());
    let nanos = micros.checked_mul(1000).ok_or_else(|| out_of_range("interval"))?;
    let value = IntervalMonthDayNanoType::make_value(months, days, nanos);
    Ok(ScalarValue::IntervalMonthDayNano(Some(value)))
}

/// An array of one row, which is a ScalarValue's list.
fn read_array(mut bytes: &[u8], item: &FieldRef) -> Result<ListArray> {
    if bytes.len() < 12 {
        return Err(malformed());
    }
    let (dimensions, _has_nulls, element_oid) = (bytes.get_i32(), bytes.get_i32(), bytes.get_u32());
    let mut leaf = item.clone();
    let mut depth = 1;
    while let DataType::List(inner) = leaf.clone().data_type() {
        leaf = inner.clone();
        depth += 1;
    }
    if element_oid != pg_type_of(&leaf).oid && !both_text(element_oid, pg_type_of(&leaf)) {
        return Err(Error::new(
            SqlState::DATATYPE_MISMATCH,
            "binary data has array element type ".to_owned()
                + &format!("{element_oid} instead of expected {}", pg_type_of(&leaf).oid),
        ));
    }
    if dimensions == 0 {
        return Ok(one_list(item, new_empty_array(item.data_type())));
    }
    if dimensions != depth || bytes.len() < dimensions as usize * 8 {
        return Err(malformed());
    }
    let mut lengths = Vec::with_capacity(depth as usize);
    for _ in 0..dimensions {
        lengths.push(usize::try_from(bytes.get_i32()).map_err(|_| malformed())?);
        // The lower bound is dropped: Arrow's lists begin at one place only.
        bytes.advance(4);
    }
    let count = lengths.iter().try_fold(1usize, |n, l| n.checked_mul(*l)).ok_or_else(malformed)?;
    if count > bytes.len() / ELEMENT_BYTES_MIN {
        return Err(malformed());
    }
    let mut values = read_elements(bytes, count, &leaf)?;
    let mut fields = vec![item.clone()];
    while let Some(DataType::List(inner)) = fields.last().map(|f| f.data_type().clone()) {
        fields.push(inner);
    }
    for (field, length) in fields.iter().zip(&lengths).skip(1).rev() {
        let rows = values.len() / (*length).max(1);
        let offsets = OffsetBuffer::<i32>::from_repeated_length(*length, rows);
        values = Arc::new(ListArray::new(field.clone(), offsets, values, None));
    }
    Ok(one_list(item, values))
}

/// Clients send text[] for varchar[] and the other way round.
fn both_text(oid: u32, expected: &PgType) -> bool {
    let is_text = |oid| {
        [PgType::TEXT.oid, PgType::VARCHAR.oid, PgType::BPCHAR.oid, PgType::NAME.oid].contains(&oid)
    };
    is_text(oid) && is_text(expected.oid)
}

fn one_list(item: &FieldRef, values: ArrayRef) -> ListArray {
    let offsets = OffsetBuffer::<i32>::from_lengths([values.len()]);
    ListArray::new(item.clone(), offsets, values, None)
}

fn read_elements(mut bytes: &[u8], count: usize, leaf: &FieldRef) -> Result<ArrayRef> {
    let null =
        ScalarValue::try_from(leaf.data_type()).map_err(|e| Error::internal(e.to_string()))?;
    let mut values = Vec::with_capacity(count);
    for _ in 0..count {
        if bytes.len() < ELEMENT_BYTES_MIN {
            return Err(malformed());
        }
        let length = bytes.get_i32();
        if length == -1 {
            values.push(null.clone());
            continue;
        }
        let length =
            usize::try_from(length).ok().filter(|l| *l <= bytes.len()).ok_or_else(malformed)?;
        let (value, rest) = bytes.split_at(length);
        values.push(parse_binary(value, leaf)?);
        bytes = rest;
    }
    if !bytes.is_empty() {
        return Err(malformed());
    }
    if values.is_empty() {
        return Ok(new_empty_array(leaf.data_type()));
    }
    ScalarValue::iter_to_array(values).map_err(|e| Error::internal(e.to_string()))
}
