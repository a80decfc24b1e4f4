//! The seam to `crate::types`: values to text and text to values in PostgreSQL's forms, and the session's time zone.
//!
//! Owns no format. Errors are 22P02 (22007 for dates and times) with PostgreSQL's wording, for the first bad value of the
//! column.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, FixedSizeBinaryArray, PrimitiveArray, StringArray, builder::FixedSizeBinaryBuilder};
use arrow_cast::CastOptions;
use arrow_schema::{DataType, Field};
use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;

use super::cast::as_instants;
use super::errors::{from_arrow, invalid_text, out_of_range};
use super::sql_types::{mark_of, pg_name};
use crate::error::{Error, Result, SqlState};

/// Any column as text.
pub(super) fn to_text(array: &ArrayRef, source: &Field, zone: &str) -> Result<ArrayRef> {
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    match array.data_type() {
        DataType::Timestamp(_, Some(_)) => {
            let local = instant_to_local(array, zone)?;
            to_text(&local, source, zone)
        }
        DataType::FixedSizeBinary(16) => Ok(uuid_text(array.as_fixed_size_binary())),
        _ => arrow_cast::cast_with_options(array, &DataType::Utf8, &strict).map_err(from_arrow),
    }
}

fn uuid_text(array: &FixedSizeBinaryArray) -> ArrayRef {
    let text = array.iter().map(|value| {
        value.map(|bytes| {
            let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
        })
    });
    Arc::new(text.collect::<StringArray>())
}

/// A text column as values of `target`'s type.
pub(super) fn from_text(array: &ArrayRef, target: &Field, zone: &str) -> Result<ArrayRef> {
    let text = array.as_string::<i32>();
    match (target.data_type(), mark_of(target)) {
        (DataType::Utf8, Some("jsonb" | "json")) => jsonb_of_text(text),
        (DataType::Utf8, _) => Ok(Arc::clone(array)),
        (DataType::FixedSizeBinary(16), _) => uuid_of_text(text),
        (DataType::Timestamp(unit, Some(_)), _) => {
            let local = Field::new("", DataType::Timestamp(*unit, None), true);
            local_to_instant(&from_text(array, &local, zone)?, zone)
        }
        (data_type, _) => {
            let trimmed: ArrayRef = Arc::new(text.iter().map(|v| v.map(str::trim)).collect::<StringArray>());
            let strict = CastOptions { safe: false, ..CastOptions::default() };
            arrow_cast::cast_with_options(&trimmed, data_type, &strict)
                .map_err(|error| first_bad(text, target, data_type).unwrap_or_else(|| from_arrow(error)))
        }
    }
}

/// The error of the first value that does not stand for one of the type.
fn first_bad(text: &StringArray, target: &Field, data_type: &DataType) -> Option<Error> {
    let name = pg_name(target);
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    text.iter().flatten().find_map(|value| {
        let one: ArrayRef = Arc::new(StringArray::from(vec![value.trim()]));
        arrow_cast::cast_with_options(&one, data_type, &strict).err()?;
        let digits = value.trim().trim_start_matches(['-', '+']);
        let whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        Some(if whole && data_type.is_integer() {
            Error::new(
                SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
                format!("value \"{value}\" is out of range for type {name}"),
            )
        } else if matches!(data_type, DataType::Date32 | DataType::Timestamp(..) | DataType::Time64(_) | DataType::Interval(_)) {
            Error::new(SqlState::INVALID_DATETIME_FORMAT, format!("invalid input syntax for type {name}: \"{value}\""))
        } else {
            invalid_text(&name, value)
        })
    })
}

fn jsonb_of_text(text: &StringArray) -> Result<ArrayRef> {
    let values = text
        .iter()
        .map(|value| match value {
            None => Ok(None),
            Some(text) => match serde_json::from_str::<serde_json::Value>(text) {
                Ok(value) => Ok(Some(value.to_string())),
                Err(_) => Err(Error::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type json")),
            },
        })
        .collect::<Result<StringArray>>()?;
    Ok(Arc::new(values))
}

fn uuid_of_text(text: &StringArray) -> Result<ArrayRef> {
    let mut builder = FixedSizeBinaryBuilder::with_capacity(text.len(), 16);
    for value in text {
        match value {
            None => builder.append_null(),
            Some(value) => {
                let bytes = uuid_bytes(value).ok_or_else(|| invalid_text("uuid", value))?;
                builder.append_value(bytes).map_err(from_arrow)?;
            }
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let text = text.trim();
    let text = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
    let hex: String = text.chars().filter(|c| *c != '-').collect();
    if hex.len() != 32 || !hex.is_ascii() {
        return None;
    }
    u128::from_str_radix(&hex, 16).ok().map(u128::to_be_bytes)
}

fn zone_named(zone: &str) -> Tz {
    zone.parse().unwrap_or(Tz::UTC)
}

/// Local times of the zone as instants.
pub(super) fn local_to_instant(array: &ArrayRef, zone: &str) -> Result<ArrayRef> {
    let zone = zone_named(zone);
    let micros: PrimitiveArray<TimestampMicrosecondType> =
        array.as_primitive::<TimestampMicrosecondType>().try_unary(|micros| {
            if zone == Tz::UTC {
                return Ok(micros);
            }
            let local = DateTime::from_timestamp_micros(micros).ok_or_else(|| out_of_range("timestamp"))?.naive_utc();
            let offset = match zone.offset_from_local_datetime(&local) {
                chrono::LocalResult::Single(offset) => offset,
                chrono::LocalResult::Ambiguous(_, later) => later,
                chrono::LocalResult::None => zone.offset_from_utc_datetime(&(local - chrono::TimeDelta::days(1))),
            };
            Ok::<i64, Error>(micros - i64::from(offset.fix().local_minus_utc()) * 1_000_000)
        })?;
    Ok(as_instants(micros))
}

/// Instants as local times of the zone.
pub(super) fn instant_to_local(array: &ArrayRef, zone: &str) -> Result<ArrayRef> {
    let zone = zone_named(zone);
    let micros: PrimitiveArray<TimestampMicrosecondType> =
        array.as_primitive::<TimestampMicrosecondType>().try_unary(|micros| {
            if zone == Tz::UTC {
                return Ok(micros);
            }
            let instant = DateTime::from_timestamp_micros(micros).ok_or_else(|| out_of_range("timestamp"))?.naive_utc();
            let offset = zone.offset_from_utc_datetime(&instant);
            Ok::<i64, Error>(micros + i64::from(offset.fix().local_minus_utc()) * 1_000_000)
        })?;
    Ok(Arc::new(micros.with_data_type(super::sql_types::timestamp())))
}
