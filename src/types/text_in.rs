//! Text read as PostgreSQL's input functions read it, a column at a time; parameters are columns of one row.
//!
//! Errors belong to rows: a cast yields NULL there and the error beside it, so that one bad row does not spoil a batch.
//! Nothing here looks names up in the catalog: regclass and its like take numbers only.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, BooleanBuilder, FixedSizeBinaryBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, ListArray, PrimitiveArray, StringArray, StructArray,
    new_null_array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, FieldRef, Fields, IntervalUnit, TimeUnit};
use datafusion::scalar::ScalarValue;

use super::array_text::{split_array, split_map, split_record};
use super::column::canonical_type;
use super::datetime_in::{parse_date, parse_time, parse_timestamp, parse_timestamptz};
use super::float::{parse_f32, parse_f64};
use super::interval::parse_interval;
use super::json::{jsonb_of_text, validate_json};
use super::maps::{Assembly, Twice, map_parts};
use super::numeric::{parse_decimal, parse_wide_decimal};
use super::pg_type::{PgType, character_length, pg_type_of, second_digits, type_marker};
use super::precision::round_seconds;
use super::style::TextStyle;
use crate::error::{Error, Result, SqlState};

/// PostgreSQL cuts longer names silently.
const NAME_BYTES_MAX: usize = 63;

/// Errors by row, in row order.
type RowErrors = Vec<(usize, Error)>;

/// Reads one value, such as a parameter in text format; the result has exactly the field's Arrow type.
///
/// Errors are PostgreSQL's, for example 22P02 `invalid input syntax for type integer: "abc"`.
pub fn parse_text(text: &str, field: &Field, style: &TextStyle) -> Result<ScalarValue> {
    let (array, errors) = cast_from_text(&StringArray::from(vec![text]), field, style);
    if let Some((_, error)) = errors.into_iter().next() {
        return Err(error);
    }
    match array.as_list_opt::<i32>() {
        // DataFusion's own way drops the marks of a list's items.
        Some(lists) => Ok(ScalarValue::List(Arc::new(lists.clone()))),
        None => ScalarValue::try_from_array(&array, 0).map_err(|e| Error::internal(e.to_string())),
    }
}

/// Reads a column of text as the field's type. Rows that cannot be read are NULL in the array and have their error in
/// the list, in row order: 22P02, 22003, 22007, 22008, 22001, or 0A000 for types that text cannot be read as.
pub fn cast_from_text(
    text: &StringArray,
    field: &Field,
    style: &TextStyle,
) -> (ArrayRef, RowErrors) {
    let target = field.data_type();
    let canonical = canonical_type(target);
    let (mut array, mut errors) = read_canonical(text, field, &canonical, style);
    if let Some(digits) = second_digits(field) {
        array = round_seconds(&array, digits);
    }
    if canonical == *target {
        return (array, errors);
    }
    match arrow_cast::cast(&array, target) {
        Ok(cast) => {
            // The cast leaves NULL where the value is beyond a narrower type, such as 300 for an Arrow UInt8.
            for row in (0..cast.len()).filter(|&row| cast.is_null(row) && !array.is_null(row)) {
                errors.push((row, out_of_range(text.value(row), field)));
            }
            errors.sort_by_key(|(row, _)| *row);
            (cast, errors)
        }
        Err(e) => refuse_all(text, target, Error::unsupported(e.to_string())),
    }
}

fn refuse_all(text: &StringArray, target: &DataType, error: Error) -> (ArrayRef, RowErrors) {
    let errors =
        (0..text.len()).filter(|&r| !text.is_null(r)).map(|r| (r, error.clone())).collect();
    (new_null_array(target, text.len()), errors)
}

fn read_canonical(
    text: &StringArray,
    field: &Field,
    canonical: &DataType,
    style: &TextStyle,
) -> (ArrayRef, RowErrors) {
    match canonical {
        DataType::Null => (new_null_array(&DataType::Null, text.len()), vec![]),
        DataType::Boolean => read_booleans(text),
        DataType::Int16 => read_primitive::<Int16Type>(text, |t| read_integer(t, "smallint")),
        DataType::Int32 => read_primitive::<Int32Type>(text, |t| read_integer(t, "integer")),
        DataType::Int64 => {
            let name = pg_type_of(field).sql_name;
            read_primitive::<Int64Type>(text, |t| read_integer(t, name))
        }
        DataType::Float32 => read_primitive::<Float32Type>(text, parse_f32),
        DataType::Float64 => read_primitive::<Float64Type>(text, parse_f64),
        DataType::Decimal128(p, s) => {
            retype(read_primitive::<Decimal128Type>(text, |t| parse_decimal(t, *p, *s)), canonical)
        }
        DataType::Decimal256(p, s) => retype(
            read_primitive::<Decimal256Type>(text, |t| parse_wide_decimal(t, *p, *s)),
            canonical,
        ),
        DataType::Utf8 => read_strings(text, field),
        DataType::LargeUtf8 | DataType::Utf8View => {
            let (array, errors) = read_strings(text, field);
            (arrow_cast::cast(&array, canonical).unwrap_or(array), errors)
        }
        DataType::Binary => read_bytea(text),
        DataType::FixedSizeBinary(16) => read_uuids(text),
        DataType::Date32 => {
            read_primitive::<Date32Type>(text, |t| parse_date(&style.date_order.month_first(t)))
        }
        DataType::Time64(TimeUnit::Microsecond) => {
            read_primitive::<Time64MicrosecondType>(text, parse_time)
        }
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            let read = |t: &str| parse_timestamp(&style.date_order.month_first(t));
            read_primitive::<TimestampMicrosecondType>(text, read)
        }
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            let read =
                |t: &str| parse_timestamptz(&style.date_order.month_first(t), &style.time_zone);
            retype(read_primitive::<TimestampMicrosecondType>(text, read), canonical)
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            read_primitive::<IntervalMonthDayNanoType>(text, parse_interval)
        }
        DataType::List(_) if pg_type_of(field).is_map() => read_maps(text, field, style),
        DataType::List(item) => read_lists(text, item, style),
        DataType::Struct(fields) => read_records(text, fields, style),
        other => refuse_all(
            text,
            other,
            Error::unsupported(format!("text cannot be read as type {other}")),
        ),
    }
}

/// Gives a primitive array its precision or zone. The values were read for just that type, so the cast cannot fail.
fn retype((array, errors): (ArrayRef, RowErrors), target: &DataType) -> (ArrayRef, RowErrors) {
    let data = array.to_data().into_builder().data_type(target.clone());
    let data = data.build().expect("decimals and time stamps of any parameters have one layout");
    (arrow_array::make_array(data), errors)
}

fn read_primitive<T: ArrowPrimitiveType>(
    text: &StringArray,
    read: impl Fn(&str) -> Result<T::Native>,
) -> (ArrayRef, RowErrors) {
    let mut errors = vec![];
    let values = text.iter().enumerate().map(|(row, value)| match read(value?) {
        Ok(value) => Some(value),
        Err(e) => {
            errors.push((row, e));
            None
        }
    });
    let array: PrimitiveArray<T> = values.collect();
    (Arc::new(array), errors)
}

fn invalid_syntax(text: &str, type_name: &str) -> Error {
    let message = format!("invalid input syntax for type {type_name}: \"{text}\"");
    Error::new(SqlState::INVALID_TEXT_REPRESENTATION, message)
}

fn out_of_range(text: &str, field: &Field) -> Error {
    let message =
        format!("value \"{text}\" is out of range for type {}", pg_type_of(field).sql_name);
    Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message)
}

fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b'
}

fn read_integer<T: TryFrom<i64>>(text: &str, type_name: &str) -> Result<T> {
    let trimmed = text.trim_matches(is_space);
    let digits = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid_syntax(text, type_name));
    }
    trimmed.parse::<i64>().ok().and_then(|v| T::try_from(v).ok()).ok_or_else(|| {
        let message = format!("value \"{trimmed}\" is out of range for type {type_name}");
        Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message)
    })
}

/// Any beginning of true, false, yes and no, of on and off what tells them apart, 1 and 0.
fn read_boolean(text: &str) -> Result<bool> {
    let word = text.trim_matches(is_space).to_ascii_lowercase();
    let begins = |full: &str, least: usize| word.len() >= least && full.starts_with(&word);
    if begins("true", 1) || begins("yes", 1) || word == "on" || word == "1" {
        Ok(true)
    } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || word == "0" {
        Ok(false)
    } else {
        Err(invalid_syntax(text, "boolean"))
    }
}

fn read_booleans(text: &StringArray) -> (ArrayRef, RowErrors) {
    let mut errors = vec![];
    let mut builder = BooleanBuilder::with_capacity(text.len());
    for (row, value) in text.iter().enumerate() {
        match value.map(read_boolean).transpose() {
            Ok(value) => builder.append_option(value),
            Err(e) => {
                errors.push((row, e));
                builder.append_null();
            }
        }
    }
    (Arc::new(builder.finish()), errors)
}

fn read_strings(text: &StringArray, field: &Field) -> (ArrayRef, RowErrors) {
    let length = character_length(field);
    let marker = type_marker(field);
    if length.is_none() && !matches!(marker, Some("name" | "json" | "jsonb" | "bpchar")) {
        return (Arc::new(text.clone()), vec![]);
    }
    let mut errors = vec![];
    let mut builder = StringBuilder::with_capacity(text.len(), text.value_data().len());
    for (row, value) in text.iter().enumerate() {
        let Some(value) = value else {
            builder.append_null();
            continue;
        };
        let read = match marker {
            Some("json") => validate_json(value).map(|()| builder.append_value(value)),
            Some("jsonb") => jsonb_of_text(value).map(|text| builder.append_value(text)),
            Some("name") => {
                builder.append_value(&value[..value.floor_char_boundary(NAME_BYTES_MAX)]);
                Ok(())
            }
            _ => fit_length(value, field, length).map(|text| builder.append_value(text)),
        };
        if let Err(e) = read {
            errors.push((row, e));
            builder.append_null();
        }
    }
    (Arc::new(builder.finish()), errors)
}

/// varchar(n) and char(n) may lose blanks at the end and nothing else; char keeps none, since they are not significant.
fn fit_length<'a>(value: &'a str, field: &Field, length: Option<usize>) -> Result<&'a str> {
    let cut = length.and_then(|n| value.char_indices().nth(n)).map_or(value.len(), |(at, _)| at);
    if value[cut..].bytes().any(|b| b != b' ') {
        let n = length.unwrap_or(0);
        let message = format!("value too long for type {}({n})", pg_type_of(field).sql_name);
        return Err(Error::new(SqlState::STRING_DATA_RIGHT_TRUNCATION, message));
    }
    let kept = &value[..cut];
    Ok(if pg_type_of(field) == PgType::BPCHAR { kept.trim_end_matches(' ') } else { kept })
}

fn read_bytea(text: &StringArray) -> (ArrayRef, RowErrors) {
    let mut errors = vec![];
    let mut builder = BinaryBuilder::with_capacity(text.len(), text.value_data().len());
    for (row, value) in text.iter().enumerate() {
        match value.map(read_bytes).transpose() {
            Ok(Some(bytes)) => builder.append_value(bytes),
            Ok(None) => builder.append_null(),
            Err(e) => {
                errors.push((row, e));
                builder.append_null();
            }
        }
    }
    (Arc::new(builder.finish()), errors)
}

fn read_bytes(text: &str) -> Result<Vec<u8>> {
    if let Some(hex) = text.strip_prefix("\\x") {
        return read_hex(hex);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&b, tail)) = rest.split_first() {
        if b != b'\\' {
            bytes.push(b);
            rest = tail;
            continue;
        }
        match tail {
            [b'\\', ..] => {
                bytes.push(b'\\');
                rest = &tail[1..];
            }
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = &tail[3..];
            }
            _ => {
                let message = "invalid input syntax for type bytea";
                return Err(Error::new(SqlState::INVALID_TEXT_REPRESENTATION, message));
            }
        }
    }
    Ok(bytes)
}

fn read_hex(hex: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(hex.len() / 2);
    let mut high = None;
    for c in hex.chars() {
        if is_space(c) && high.is_none() {
            continue;
        }
        let digit = c.to_digit(16).ok_or_else(|| {
            let message = format!("invalid hexadecimal digit: \"{c}\"");
            Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
        })? as u8;
        match high.take() {
            Some(high) => bytes.push(high << 4 | digit),
            None => high = Some(digit),
        }
    }
    if high.is_some() {
        let message = "invalid hexadecimal data: odd number of digits";
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    Ok(bytes)
}

fn read_uuids(text: &StringArray) -> (ArrayRef, RowErrors) {
    let mut errors = vec![];
    let mut builder = FixedSizeBinaryBuilder::with_capacity(text.len(), 16);
    for (row, value) in text.iter().enumerate() {
        match value.map(|v| read_uuid(v).ok_or_else(|| invalid_syntax(v, "uuid"))).transpose() {
            Ok(Some(bytes)) => builder.append_value(bytes).expect("a uuid has 16 bytes"),
            Ok(None) => builder.append_null(),
            Err(e) => {
                errors.push((row, e));
                builder.append_null();
            }
        }
    }
    (Arc::new(builder.finish()), errors)
}

/// 32 digits, braces around them or not, a hyphen after any four digits or not.
fn read_uuid(text: &str) -> Option<[u8; 16]> {
    let inner = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}')?,
        None => text,
    };
    let mut bytes = [0u8; 16];
    let mut count = 0;
    let mut after_hyphen = false;
    for c in inner.chars() {
        if c == '-' && count % 4 == 0 && count > 0 && count < 32 && !after_hyphen {
            after_hyphen = true;
            continue;
        }
        let digit = c.to_digit(16)? as u8;
        let byte = bytes.get_mut(count / 2)?;
        *byte = *byte << 4 | digit;
        count += 1;
        after_hyphen = false;
    }
    (count == 32).then_some(bytes)
}

/// Cuts each row's array into items, reads all items of all rows as one column, and hands the rows their slices.
fn read_lists(text: &StringArray, item: &FieldRef, style: &TextStyle) -> (ArrayRef, RowErrors) {
    let mut errors = vec![];
    let mut items = StringBuilder::new();
    let mut item_rows: Vec<usize> = vec![];
    let mut lengths = Vec::with_capacity(text.len());
    let mut valid = Vec::with_capacity(text.len());
    for (row, value) in text.iter().enumerate() {
        let parts = value.map(split_array).transpose().unwrap_or_else(|e| {
            errors.push((row, e));
            None
        });
        valid.push(parts.is_some());
        let parts = parts.unwrap_or_default();
        lengths.push(parts.len());
        item_rows.extend(std::iter::repeat_n(row, parts.len()));
        parts.into_iter().for_each(|part| items.append_option(part));
    }
    let (values, item_errors) = cast_from_text(&items.finish(), item, style);
    merge_errors(&mut errors, item_errors, |i| item_rows[i], &mut valid);
    let offsets = OffsetBuffer::<i32>::from_lengths(lengths);
    let list = ListArray::new(item.clone(), offsets, values, Some(NullBuffer::from(valid)));
    (Arc::new(list), errors)
}

/// As [`read_lists`], for maps.
fn read_maps(text: &StringArray, field: &Field, style: &TextStyle) -> (ArrayRef, RowErrors) {
    let mut errors = vec![];
    let mut columns = [StringBuilder::new(), StringBuilder::new()];
    let (mut count, mut ranges) = (0u32, vec![]);
    for (row, value) in text.iter().enumerate() {
        let entries = value.map(split_map).transpose().unwrap_or_else(|e| {
            errors.push((row, e));
            None
        });
        let start = count;
        let there = entries.is_some();
        for entry in entries.into_iter().flatten() {
            entry.into_iter().zip(&mut columns).for_each(|(part, c)| c.append_option(part));
            count += 1;
        }
        ranges.push(there.then_some(start..count));
    }
    let [keys, values] = columns.map(|mut column| column.finish());
    let Some((key, value)) = map_parts(field) else {
        return refuse_all(text, field.data_type(), Error::internal("a map has keys and values"));
    };
    let (keys, key_errors) = cast_from_text(&keys, key, style);
    let (values, value_errors) = cast_from_text(&values, value, style);
    let mut valid: Vec<bool> = ranges.iter().map(Option::is_some).collect();
    let row_of = |entry: usize| {
        let ends = ranges.iter().scan(0, |end, range| {
            *end = range.as_ref().map_or(*end, |range| range.end as usize);
            Some(*end)
        });
        ends.take_while(|end| *end <= entry).count()
    };
    merge_errors(&mut errors, key_errors, row_of, &mut valid);
    merge_errors(&mut errors, value_errors, row_of, &mut valid);
    let assembled = Assembly::new(&keys, &values, Twice::Refused).and_then(|mut assembly| {
        for (row, range) in ranges.into_iter().enumerate() {
            if let Err(error) = assembly.push(range.filter(|_| valid[row])) {
                errors.push((row, error));
            }
        }
        assembly.finish(field)
    });
    errors.sort_by_key(|(row, _)| *row);
    match assembled {
        Ok(maps) => (maps, errors),
        Err(error) => refuse_all(text, field.data_type(), error),
    }
}

fn read_records(text: &StringArray, fields: &Fields, style: &TextStyle) -> (ArrayRef, RowErrors) {
    let mut errors = vec![];
    let mut columns: Vec<StringBuilder> = fields.iter().map(|_| StringBuilder::new()).collect();
    let mut valid = Vec::with_capacity(text.len());
    for (row, value) in text.iter().enumerate() {
        let parts = value.map(|v| record_parts(v, fields.len())).transpose().unwrap_or_else(|e| {
            errors.push((row, e));
            None
        });
        valid.push(parts.is_some());
        let mut parts = parts.unwrap_or_default().into_iter();
        columns.iter_mut().for_each(|c| c.append_option(parts.next().flatten()));
    }
    let mut arrays = Vec::with_capacity(fields.len());
    for (mut column, field) in columns.into_iter().zip(fields) {
        let (array, column_errors) = cast_from_text(&column.finish(), field, style);
        merge_errors(&mut errors, column_errors, |row| row, &mut valid);
        arrays.push(array);
    }
    let nulls = Some(NullBuffer::from(valid));
    match StructArray::try_new_with_length(fields.clone(), arrays, nulls, text.len()) {
        Ok(records) => (Arc::new(records), errors),
        // A member that may not be NULL was missing somewhere.
        Err(e) => refuse_all(
            text,
            &DataType::Struct(fields.clone()),
            Error::new(SqlState::NOT_NULL_VIOLATION, e.to_string()),
        ),
    }
}

fn record_parts(text: &str, expected: usize) -> Result<Vec<Option<String>>> {
    let parts = split_record(text)?;
    if parts.len() == expected {
        return Ok(parts);
    }
    let detail = if parts.len() < expected { "Too few columns." } else { "Too many columns." };
    let message = format!("malformed record literal: \"{text}\"");
    Err(Error::new(SqlState::INVALID_TEXT_REPRESENTATION, message).with_detail(detail))
}

/// Moves errors of items to their rows, one error a row.
fn merge_errors(
    errors: &mut RowErrors,
    inner: RowErrors,
    row_of: impl Fn(usize) -> usize,
    valid: &mut [bool],
) {
    for (i, error) in inner {
        let row = row_of(i);
        if valid[row] {
            valid[row] = false;
            errors.push((row, error));
        }
    }
    errors.sort_by_key(|(row, _)| *row);
}
