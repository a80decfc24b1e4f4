//! Casts to and from text, and the session's time zone: `crate::types`' forms as functions of whole columns.
//!
//! Owns no format. A column with a bad value is refused with that value's error; which row it was is found out by
//! whoever asks for verdicts by row (see `evaluate`).

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{ArrayRef, PrimitiveArray};
use arrow_schema::Field;

use super::sql_types::{timestamp, timestamptz};
use crate::error::Result;
use crate::types::{TextStyle, TimeZone, cast_from_text, cast_to_text};

/// The style of casts: the session's zone, everything else as PostgreSQL's defaults.
pub(super) fn style(zone: &str) -> TextStyle {
    TextStyle { time_zone: zone_named(zone), ..TextStyle::default() }
}

fn zone_named(zone: &str) -> TimeZone {
    TimeZone::parse(zone).unwrap_or(TimeZone::UTC)
}

/// Any column as text.
pub(super) fn to_text(array: &ArrayRef, source: &Field, zone: &str) -> Result<ArrayRef> {
    Ok(Arc::new(cast_to_text(array, source, &style(zone))?))
}

/// A text column as values of `target`'s type.
pub(super) fn from_text(array: &ArrayRef, target: &Field, zone: &str) -> Result<ArrayRef> {
    let (values, errors) = cast_from_text(array.as_string::<i32>(), target, &style(zone));
    match errors.into_iter().next() {
        Some((_, error)) => Err(error),
        None => Ok(values),
    }
}

/// Local times of the zone as instants.
pub(super) fn local_to_instant(array: &ArrayRef, zone: &str) -> Result<ArrayRef> {
    let zone = zone_named(zone);
    let instants: PrimitiveArray<TimestampMicrosecondType> = array
        .as_primitive::<TimestampMicrosecondType>()
        .unary(|micros| shifted(micros, -i64::from(zone.offset_at_local(micros))));
    Ok(Arc::new(instants.with_data_type(timestamptz())))
}

/// Instants as local times of the zone.
pub(super) fn instant_to_local(array: &ArrayRef, zone: &str) -> Result<ArrayRef> {
    let zone = zone_named(zone);
    let local: PrimitiveArray<TimestampMicrosecondType> = array
        .as_primitive::<TimestampMicrosecondType>()
        .unary(|micros| shifted(micros, i64::from(zone.offset_at_instant(micros))));
    Ok(Arc::new(local.with_data_type(timestamp())))
}

/// Moves a time by seconds; the infinities stay where they are.
fn shifted(micros: i64, seconds: i64) -> i64 {
    if matches!(micros, i64::MIN | i64::MAX) {
        micros
    } else {
        micros.saturating_add(seconds * 1_000_000)
    }
}
