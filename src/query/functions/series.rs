//! `generate_series` of integers, numerics, timestamps and moments with a zone, for rows with bounds of their own.
//!
//! Moments go from one to the next by the session's clock, so that a step of a day or a month keeps the time of day.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal128Type, Int32Type, Int64Type, IntervalMonthDayNanoType, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, Int32Array, Int64Array, PrimitiveArray};
use arrow_buffer::IntervalMonthDayNano;
use arrow_schema::{DataType, FieldRef};

use super::row_sets::{Sets, no_step, too_many};
use crate::error::{Error, Result};
use crate::query::errors::from_arrow;
use crate::query::moments::shifted;
use crate::query::sql_types::{interval, mark_of, marked, numeric, plain, timestamp, timestamptz};
use crate::types::TimeZone;

/// Most values of a column of calls: they are all in memory at once.
const VALUES_MAX: usize = 1 << 26;

/// The types that a call's arguments are cast to; `None` where there is no such function.
pub(super) fn coerce(types: &[DataType]) -> Option<Vec<DataType>> {
    use DataType as T;
    if !(2..=3).contains(&types.len()) {
        return None;
    }
    let bounds = &types[..2];
    if bounds.iter().any(|t| matches!(t, T::Timestamp(..) | T::Date32)) {
        let step = matches!(types.get(2), Some(T::Interval(_) | T::Utf8 | T::Null));
        let moments = |t: &T| matches!(t, T::Timestamp(..) | T::Date32 | T::Utf8 | T::Null);
        if !step || !bounds.iter().all(moments) {
            return None;
        }
        let zoned = bounds.iter().any(|t| matches!(t, T::Timestamp(_, Some(_))));
        let local = bounds.iter().any(|t| matches!(t, T::Timestamp(_, None)));
        // A series of dates is one of moments with a zone, as PostgreSQL resolves it.
        let bound = if local && !zoned { timestamp() } else { timestamptz() };
        return Some(vec![bound.clone(), bound, interval()]);
    }
    let number = |t: &T| t.is_integer() || t.is_null() || matches!(t, T::Decimal128(..));
    if !types.iter().all(number) || types.iter().all(T::is_null) {
        return None;
    }
    let scales = types.iter().filter_map(|t| match t {
        T::Decimal128(_, scale) => Some(*scale),
        _ => None,
    });
    let wide = |t: &T| matches!(t, T::Int64 | T::UInt32 | T::UInt64);
    let one = match scales.max() {
        Some(scale) => numeric(scale),
        None if types.iter().any(wide) => T::Int64,
        None => T::Int32,
    };
    Some(vec![one; types.len()])
}

/// The column of a call with coerced arguments.
pub(super) fn column(args: &[FieldRef]) -> FieldRef {
    let data_type = args[0].data_type().clone();
    match args.iter().any(|arg| mark_of(arg) == Some("numeric")) {
        true => marked(data_type, "numeric"),
        false => plain(data_type),
    }
}

pub(super) fn sets(args: &[ArrayRef], data_type: &DataType, zone: &str) -> Result<Sets> {
    match data_type {
        DataType::Int32 | DataType::Int64 | DataType::Decimal128(..) => numbers(args, data_type),
        DataType::Timestamp(_, with_zone) => {
            let zone = with_zone.as_ref().and_then(|_| TimeZone::parse(zone));
            moments(args, data_type, zone)
        }
        other => Err(Error::internal(format!("a series of {other}"))),
    }
}

/// An argument of any number type as numbers of the wide type that all are computed in.
fn wide(array: &ArrayRef) -> Result<Vec<Option<i128>>> {
    Ok(match array.data_type() {
        DataType::Int32 => {
            array.as_primitive::<Int32Type>().iter().map(|v| v.map(i128::from)).collect()
        }
        DataType::Int64 => {
            array.as_primitive::<Int64Type>().iter().map(|v| v.map(i128::from)).collect()
        }
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().iter().collect(),
        other => return Err(Error::internal(format!("a series of {other}"))),
    })
}

fn numbers(args: &[ArrayRef], data_type: &DataType) -> Result<Sets> {
    let (starts, stops) = (wide(&args[0])?, wide(&args[1])?);
    let one = match data_type {
        DataType::Decimal128(_, scale) => 10_i128.pow(u32::from(scale.unsigned_abs())),
        _ => 1,
    };
    let steps = match args.get(2) {
        Some(steps) => wide(steps)?,
        None => vec![Some(one); starts.len()],
    };
    let (mut lengths, mut values): (Vec<usize>, Vec<i128>) = (vec![], vec![]);
    for ((start, stop), step) in starts.into_iter().zip(stops).zip(steps) {
        let (Some(start), Some(stop), Some(step)) = (start, stop, step) else {
            lengths.push(0);
            continue;
        };
        if step == 0 {
            return Err(no_step());
        }
        let apart = stop.checked_sub(start).ok_or_else(too_many)?;
        let count = if (apart < 0) != (step < 0) && apart != 0 { 0 } else { apart / step + 1 };
        let count = usize::try_from(count).map_err(|_| too_many())?;
        if count > VALUES_MAX.saturating_sub(values.len()) {
            return Err(too_many());
        }
        values.extend((0..count).map(|i| start + step * i as i128));
        lengths.push(count);
    }
    // Each is between its bounds, so it is a value of their type.
    let column: ArrayRef = match data_type {
        DataType::Int32 => Arc::new(Int32Array::from_iter_values(values.iter().map(|&v| v as i32))),
        DataType::Int64 => Arc::new(Int64Array::from_iter_values(values.iter().map(|&v| v as i64))),
        _ => {
            let values = PrimitiveArray::<Decimal128Type>::from_iter_values(values);
            Arc::new(values.with_data_type(data_type.clone()))
        }
    };
    Sets::of_lengths(lengths, vec![column])
}

/// Which way an interval goes; a month is as long as thirty days, as when intervals are compared.
fn sign(step: IntervalMonthDayNano) -> i128 {
    const DAY: i128 = 86_400_000_000_000;
    let days = i128::from(step.months) * 30 + i128::from(step.days);
    (days * DAY + i128::from(step.nanoseconds)).signum()
}

fn moments(args: &[ArrayRef], data_type: &DataType, zone: Option<TimeZone>) -> Result<Sets> {
    let bound = |at: usize| args[at].as_primitive::<TimestampMicrosecondType>();
    let (starts, stops) = (bound(0), bound(1));
    let steps = arrow_cast::cast(&args[2], &interval()).map_err(from_arrow)?;
    let steps = steps.as_primitive::<IntervalMonthDayNanoType>();
    let (mut lengths, mut values): (Vec<usize>, Vec<i64>) = (vec![], vec![]);
    for row in 0..starts.len() {
        let before = values.len();
        if starts.is_valid(row) && stops.is_valid(row) && steps.is_valid(row) {
            let (stop, step) = (stops.value(row), steps.value(row));
            let sign = sign(step);
            if sign == 0 {
                return Err(no_step());
            }
            let mut at = starts.value(row);
            while if sign > 0 { at <= stop } else { at >= stop } {
                if values.len() == VALUES_MAX {
                    return Err(too_many());
                }
                values.push(at);
                // Behind the last moment there is nothing more to come.
                let Ok(next) = next(at, step, zone.as_ref()) else { break };
                at = next;
            }
        }
        lengths.push(values.len() - before);
    }
    let values = PrimitiveArray::<TimestampMicrosecondType>::from_iter_values(values);
    Sets::of_lengths(lengths, vec![Arc::new(values.with_data_type(data_type.clone()))])
}

fn next(at: i64, step: IntervalMonthDayNano, zone: Option<&TimeZone>) -> Result<i64> {
    const MICROS_PER_SECOND: i64 = 1_000_000;
    let Some(zone) = zone.filter(|_| step.months != 0 || step.days != 0) else {
        return shifted(at, step);
    };
    let local = at.saturating_add(i64::from(zone.offset_at_instant(at)) * MICROS_PER_SECOND);
    let by_date = IntervalMonthDayNano::new(step.months, step.days, 0);
    let moved = shifted(local, by_date)?;
    let instant = moved.saturating_sub(i64::from(zone.offset_at_local(moved)) * MICROS_PER_SECOND);
    shifted(instant, IntervalMonthDayNano::new(0, 0, step.nanoseconds))
}
