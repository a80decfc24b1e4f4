//! Values in PostgreSQL's binary formats, big-endian, times counted from 2000-01-01.

use arrow_buffer::IntervalMonthDayNano;
use bytes::{BufMut, BytesMut};

use super::calendar::{DAYS_TO_2000, MICROS_TO_2000};
use super::column::{Column, Values};
use super::numeric::{put_binary_numeric, put_decimal, put_wide_decimal};
use super::pg_type::PgType;
use super::style::TextStyle;
use super::text_out::put_text;
use crate::error::{Error, Result};

/// PostgreSQL's bound on an array's dimensions.
const DIMENSIONS_MAX: usize = 6;

/// Appends the value of `row` without its length; nothing for NULL.
pub(super) fn put_binary(column: &Column, row: usize, out: &mut BytesMut) -> Result<()> {
    if column.is_null(row) {
        return Ok(());
    }
    match &column.values {
        Values::Null => {}
        Values::Bool(v) => out.put_u8(u8::from(v.value(row))),
        Values::Int2(v) => out.put_i16(v.value(row)),
        Values::Int4(v) => out.put_i32(v.value(row)),
        // An oid is a u32 kept in a bigint.
        Values::Int8(v) if column.pg_type.size == 4 => out.put_u32(v.value(row) as u32),
        Values::Int8(v) => out.put_i64(v.value(row)),
        Values::Float4(v) => out.put_f32(v.value(row)),
        Values::Float8(v) => out.put_f64(v.value(row)),
        Values::Numeric { values, scale, trim } => {
            put_numeric(|text| put_decimal(values.value(row), *scale, *trim, text), out);
        }
        Values::WideNumeric { values, scale, trim } => {
            put_numeric(|text| put_wide_decimal(values.value(row), *scale, *trim, text), out);
        }
        Values::Utf8(v) => put_string(v.value(row), column, out),
        Values::LargeUtf8(v) => put_string(v.value(row), column, out),
        Values::Utf8View(v) => put_string(v.value(row), column, out),
        Values::Bytea(v) => out.put_slice(v.value(row)),
        Values::Uuid(v) => out.put_slice(v.value(row)),
        Values::Date(v) => out.put_i32(match v.value(row) {
            infinity @ (i32::MAX | i32::MIN) => infinity,
            days => days.saturating_sub(DAYS_TO_2000),
        }),
        Values::Time(v) => out.put_i64(v.value(row)),
        Values::Timestamp(v) | Values::TimestampTz(v) => out.put_i64(match v.value(row) {
            infinity @ (i64::MAX | i64::MIN) => infinity,
            micros => micros.saturating_sub(MICROS_TO_2000),
        }),
        Values::Interval(v) => put_interval(v.value(row), out),
        Values::List { .. } if column.pg_type.is_map() => {
            put_text(column, row, &TextStyle::default(), out);
        }
        Values::List { offsets, items } => {
            return put_array(items, offsets[row] as usize..offsets[row + 1] as usize, out);
        }
        Values::Record(columns) => return put_record(columns, row, out),
    }
    Ok(())
}

fn put_numeric(write: impl FnOnce(&mut BytesMut), out: &mut BytesMut) {
    // The digits in decimal are regrouped by four, so their text is the shortest way there.
    let start = out.len();
    write(out);
    let text = out.split_off(start);
    put_binary_numeric(&text, out);
}

fn put_string(value: &str, column: &Column, out: &mut BytesMut) {
    if column.pg_type.oid == PgType::REGTYPE.oid {
        // A type that is kept by its name.
        let named = PgType::ALL.iter().find(|t| t.sql_name == value);
        return out.put_u32(named.map_or(0, |t| t.oid));
    }
    if column.pg_type.oid == PgType::JSONB.oid {
        out.put_u8(1);
    }
    out.put_slice(value.as_bytes());
    if column.pad > 0 {
        out.put_bytes(b' ', column.pad.saturating_sub(value.chars().count()));
    }
}

fn put_interval(value: IntervalMonthDayNano, out: &mut BytesMut) {
    out.put_i64(value.nanoseconds / 1000);
    out.put_i32(value.days);
    out.put_i32(value.months);
}

/// Length (-1 for NULL), then the value.
fn put_sized(column: &Column, row: usize, out: &mut BytesMut) -> Result<()> {
    if column.is_null(row) {
        out.put_i32(-1);
        return Ok(());
    }
    let at = out.len();
    out.put_i32(0);
    put_binary(column, row, out)?;
    let len = (out.len() - at - 4) as i32;
    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
    Ok(())
}

/// Dimensions, a flag for NULLs, the element type, a length and lower bound for each dimension, the elements.
fn put_array(items: &Column, range: std::ops::Range<usize>, out: &mut BytesMut) -> Result<()> {
    let mut leaf = items;
    let mut lengths = vec![range.len()];
    let mut rows: Vec<usize> = range.collect();
    while let (Values::List { offsets, items }, false) = (&leaf.values, leaf.pg_type.is_map()) {
        let length = rows.first().map_or(0, |&r| (offsets[r + 1] - offsets[r]) as usize);
        let ragged =
            |&r: &usize| leaf.is_null(r) || (offsets[r + 1] - offsets[r]) as usize != length;
        if rows.iter().any(ragged) || lengths.len() == DIMENSIONS_MAX {
            let message = "arrays of different lengths in an array have no binary form";
            return Err(Error::unsupported(message).with_hint("Ask for the column as text."));
        }
        rows = rows.iter().flat_map(|&r| offsets[r] as usize..offsets[r + 1] as usize).collect();
        lengths.push(length);
        leaf = items;
    }
    let empty = rows.is_empty();
    out.put_i32(if empty { 0 } else { lengths.len() as i32 });
    out.put_i32(i32::from(rows.iter().any(|&r| leaf.is_null(r))));
    out.put_u32(leaf.pg_type.oid);
    if !empty {
        for length in lengths {
            out.put_i32(length as i32);
            out.put_i32(1);
        }
    }
    rows.iter().try_for_each(|&r| put_sized(leaf, r, out))
}

fn put_record(columns: &[Column], row: usize, out: &mut BytesMut) -> Result<()> {
    out.put_i32(columns.len() as i32);
    for column in columns {
        out.put_u32(column.pg_type.oid);
        put_sized(column, row, out)?;
    }
    Ok(())
}
