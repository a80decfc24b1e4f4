//! Values as text, exactly as PostgreSQL 15's output functions write them, and casts to text, which differ from them
//! for booleans and char(n).

use arrow_array::builder::StringBuilder;
use arrow_array::{Array, ArrayRef, StringArray};
use arrow_schema::Field;
use bytes::{BufMut, BytesMut};

use super::calendar::{put_date, put_int, put_time, put_timestamp, put_timestamptz};
use super::column::{Column, Values};
use super::float::{put_f32, put_f64};
use super::interval::put_interval;
use super::numeric::{put_decimal, put_wide_decimal};
use super::style::{ByteaOutput, TextStyle};
use crate::error::{Error, Result};

/// Text of more bytes than this does not fit one Arrow string array, whose offsets are i32.
const STRING_ARRAY_BYTES_MAX: usize = i32::MAX as usize;

/// `array::text` for a whole column. NULL stays NULL.
///
/// Errors: 0A000 for a type without text form, 54000 when the text exceeds 2 GiB.
pub fn cast_to_text(array: &ArrayRef, field: &Field, style: &TextStyle) -> Result<StringArray> {
    let mut column = Column::try_new(array, field)?;
    // Casts strip the padding that output shows.
    column.pad = 0;
    let mut builder = StringBuilder::with_capacity(array.len(), array.len() * 8);
    let mut text = BytesMut::with_capacity(64);
    let mut total: usize = 0;
    for row in 0..array.len() {
        if column.is_null(row) {
            builder.append_null();
            continue;
        }
        text.clear();
        match &column.values {
            Values::Bool(values) => {
                text.put_slice(if values.value(row) { b"true" } else { b"false" })
            }
            _ => put_text(&column, row, style, &mut text),
        }
        total += text.len();
        if total > STRING_ARRAY_BYTES_MAX {
            return Err(Error::new(
                crate::error::SqlState("54000"),
                "text of a batch exceeds 2 GiB",
            ));
        }
        builder.append_value(std::str::from_utf8(&text).expect("writers emit UTF-8 only"));
    }
    Ok(builder.finish())
}

/// Appends the text of `row`; nothing for NULL.
pub(super) fn put_text(column: &Column, row: usize, style: &TextStyle, out: &mut BytesMut) {
    if column.is_null(row) {
        return;
    }
    match &column.values {
        Values::Null => {}
        Values::Bool(v) => out.put_u8(if v.value(row) { b't' } else { b'f' }),
        Values::Int2(v) => put_int(i64::from(v.value(row)), out),
        Values::Int4(v) => put_int(i64::from(v.value(row)), out),
        Values::Int8(v) => put_int(v.value(row), out),
        Values::Float4(v) => put_f32(v.value(row), style.extra_float_digits, out),
        Values::Float8(v) => put_f64(v.value(row), style.extra_float_digits, out),
        Values::Numeric { values, scale, trim } => {
            put_decimal(values.value(row), *scale, *trim, out)
        }
        Values::WideNumeric { values, scale, trim } => {
            put_wide_decimal(values.value(row), *scale, *trim, out)
        }
        Values::Utf8(v) => put_string(v.value(row), column.pad, out),
        Values::LargeUtf8(v) => put_string(v.value(row), column.pad, out),
        Values::Utf8View(v) => put_string(v.value(row), column.pad, out),
        Values::Bytea(v) => put_bytea(v.value(row), style.bytea_output, out),
        Values::Uuid(v) => put_uuid(v.value(row), out),
        Values::Date(v) => put_date(v.value(row), out),
        Values::Time(v) => put_time(v.value(row), out),
        Values::Timestamp(v) => put_timestamp(v.value(row), out),
        Values::TimestampTz(v) => put_timestamptz(v.value(row), &style.time_zone, out),
        Values::Interval(v) => put_interval(v.value(row), style.interval_style, out),
        Values::List { offsets, items } if column.pg_type.is_vector() => {
            for item in offsets[row] as usize..offsets[row + 1] as usize {
                if item > offsets[row] as usize {
                    out.put_u8(b' ');
                }
                put_text(items, item, style, out);
            }
        }
        Values::List { offsets, items } if column.pg_type.is_map() => {
            put_map(items, offsets[row] as usize..offsets[row + 1] as usize, style, out);
        }
        Values::List { offsets, items } => {
            put_array(items, offsets[row] as usize..offsets[row + 1] as usize, style, out);
        }
        Values::Record(columns) => put_record(columns, row, style, out),
    }
}

fn put_string(value: &str, pad: usize, out: &mut BytesMut) {
    out.put_slice(value.as_bytes());
    if pad > 0 {
        out.put_bytes(b' ', pad.saturating_sub(value.chars().count()));
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn put_hex(bytes: &[u8], out: &mut BytesMut) {
    out.reserve(bytes.len() * 2);
    for b in bytes {
        out.put_slice(&[HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]);
    }
}

fn put_bytea(bytes: &[u8], output: ByteaOutput, out: &mut BytesMut) {
    match output {
        ByteaOutput::Hex => {
            out.put_slice(b"\\x");
            put_hex(bytes, out);
        }
        ByteaOutput::Escape => {
            for &b in bytes {
                match b {
                    b'\\' => out.put_slice(b"\\\\"),
                    0x20..=0x7e => out.put_u8(b),
                    _ => out.put_slice(&[
                        b'\\',
                        b'0' + (b >> 6),
                        b'0' + (b >> 3 & 7),
                        b'0' + (b & 7),
                    ]),
                }
            }
        }
    }
}

fn put_uuid(bytes: &[u8], out: &mut BytesMut) {
    for (i, part) in [0..4, 4..6, 6..8, 8..10, 10..16].into_iter().enumerate() {
        if i > 0 {
            out.put_u8(b'-');
        }
        put_hex(&bytes[part], out);
    }
}

/// An array's text: `{1,NULL,"a b"}`; arrays inside arrays are dimensions, hence not quoted.
fn put_array(items: &Column, range: std::ops::Range<usize>, style: &TextStyle, out: &mut BytesMut) {
    let nested = matches!(items.values, Values::List { .. }) && !items.pg_type.is_map();
    out.put_u8(b'{');
    for (i, row) in range.enumerate() {
        if i > 0 {
            out.put_u8(b',');
        }
        if items.is_null(row) {
            out.put_slice(b"NULL");
            continue;
        }
        let start = out.len();
        put_text(items, row, style, out);
        if !nested && array_item_needs_quotes(&out[start..]) {
            quote(start, |b| matches!(b, b'"' | b'\\'), |_| b'\\', out);
        }
    }
    out.put_u8(b'}');
}

fn array_item_needs_quotes(text: &[u8]) -> bool {
    text.is_empty()
        || text.eq_ignore_ascii_case(b"null")
        || text.iter().any(|&b| matches!(b, b'"' | b'\\' | b'{' | b'}' | b',') || is_space(b))
}

/// A map's text: `{a:1,"b c":NULL}`, its keys and values quoted as an array's items.
fn put_map(items: &Column, range: std::ops::Range<usize>, style: &TextStyle, out: &mut BytesMut) {
    let Values::Record(parts) = &items.values else { return };
    out.put_u8(b'{');
    for (i, row) in range.enumerate() {
        if i > 0 {
            out.put_u8(b',');
        }
        for (part, column) in parts.iter().enumerate() {
            if part > 0 {
                out.put_u8(b':');
            }
            if column.is_null(row) {
                out.put_slice(b"NULL");
                continue;
            }
            let start = out.len();
            put_text(column, row, style, out);
            if array_item_needs_quotes(&out[start..]) || out[start..].contains(&b':') {
                quote(start, |b| matches!(b, b'"' | b'\\'), |_| b'\\', out);
            }
        }
    }
    out.put_u8(b'}');
}

/// A record's text: `(1,,"a b")`, where nothing at all stands for NULL.
fn put_record(columns: &[Column], row: usize, style: &TextStyle, out: &mut BytesMut) {
    out.put_u8(b'(');
    for (i, column) in columns.iter().enumerate() {
        if i > 0 {
            out.put_u8(b',');
        }
        if column.is_null(row) {
            continue;
        }
        let start = out.len();
        put_text(column, row, style, out);
        let text = &out[start..];
        let special = |&b: &u8| matches!(b, b'"' | b'\\' | b'(' | b')' | b',') || is_space(b);
        if text.is_empty() || text.iter().any(special) {
            quote(start, |b| matches!(b, b'"' | b'\\'), |b| b, out);
        }
    }
    out.put_u8(b')');
}

fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Puts the text from `start` on into double quotes, in place, `escape(b)` before each byte that is `special`: the text is
/// moved from its end, so that nothing is overwritten before it is read.
fn quote(
    start: usize,
    special: impl Fn(u8) -> bool,
    escape: impl Fn(u8) -> u8,
    out: &mut BytesMut,
) {
    let end = out.len();
    let escapes = out[start..].iter().filter(|&&b| special(b)).count();
    out.put_bytes(b'"', escapes + 2);
    let mut to = out.len() - 1;
    for from in (start..end).rev() {
        let b = out[from];
        to -= 1;
        out[to] = b;
        if special(b) {
            to -= 1;
            out[to] = escape(b);
        }
    }
    out[start] = b'"';
    let last = out.len() - 1;
    out[last] = b'"';
}

/// The values of one row as PostgreSQL's messages show them: their text, NULL as null.
pub fn row_values(rows: &arrow_array::RecordBatch, row: usize) -> Vec<String> {
    let style = TextStyle::default();
    let value = |(field, column): (&arrow_schema::FieldRef, &ArrayRef)| {
        let Ok(writer) = super::ColumnWriter::try_new(column, field) else { return "?".to_owned() };
        if writer.is_null(row) {
            return "null".to_owned();
        }
        let mut out = BytesMut::new();
        writer.write_text(row, &style, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    };
    rows.schema_ref().fields().iter().zip(rows.columns()).map(value).collect()
}
