//! Arithmetic on dates, times, timestamps and intervals.
//!
//! Microseconds throughout; months and days of an interval are added before its time, in the timestamp's own clock (UTC for
//! timestamptz). The infinities, which are the extreme values of their types, stay where they are. Invariant: as in `arithmetic`,
//! a result is exact or an error (22003, 22008, 22012).

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Float64Type, Int32Type, IntervalMonthDayNanoType, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use arrow_array::{ArrayRef, ArrowPrimitiveType, PrimitiveArray};
use arrow_buffer::IntervalMonthDayNano;
use arrow_schema::DataType;

use super::arithmetic::{Operand, Operation, combine};
use super::errors::{division_by_zero, out_of_range, undefined_operator};
use super::sql_types::pg_type_name;
use crate::error::{Error, Result, SqlState};
use crate::types::{civil_of_days, days_in_month, days_of_civil};

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// The first day that PostgreSQL has, 4714-11-24 BC, and the one after its last, 5874898-01-01.
const DATE_MIN: i32 = -2_440_588;
const DATE_END: i32 = 2_145_042_906;
const TIMESTAMP_MIN: i64 = DATE_MIN as i64 * MICROS_PER_DAY;

/// Operators with a date, time, timestamp or interval on one side.
pub(super) fn compute(
    operation: Operation,
    left: &Operand,
    right: &Operand,
    result: &DataType,
    rows: usize,
) -> Result<ArrayRef> {
    use DataType as T;
    let subtract = operation == Operation::Subtract;
    match (left.data_type(), right.data_type()) {
        // The commutative forms are computed one way round.
        (T::Interval(_), T::Date32 | T::Timestamp(..) | T::Time64(_))
        | (T::Int32 | T::Time64(_), T::Date32)
        | (T::Float64, T::Interval(_)) => compute(operation, right, left, result, rows),
        (T::Date32, T::Int32) => add_days(left, right, subtract, rows),
        (T::Date32, T::Date32) => days_between(left, right, rows),
        (T::Date32, T::Interval(_) | T::Time64(_)) => {
            let midnight = Operand { array: midnights(&left.array)?, scalar: left.scalar };
            compute(operation, &midnight, right, result, rows)
        }
        (T::Timestamp(..), T::Timestamp(..)) => timestamps_between(left, right, rows),
        (T::Timestamp(..), T::Time64(_)) => add_time(left, right, rows),
        (T::Timestamp(..), T::Interval(_)) => shift_timestamps(left, right, subtract, result, rows),
        (T::Time64(_), T::Interval(_)) => shift_times(left, right, subtract, rows),
        (T::Time64(_), T::Time64(_)) => times_between(left, right, rows),
        (T::Interval(_), T::Interval(_)) => shared(combine::<
            IntervalMonthDayNanoType,
            IntervalMonthDayNanoType,
            IntervalMonthDayNanoType,
        >(left, right, rows, |l, r| {
            add_intervals(l, r, subtract).ok_or_else(|| out_of_range("interval"))
        })),
        (T::Interval(_), T::Float64) => {
            let divide = operation == Operation::Divide;
            shared(combine::<IntervalMonthDayNanoType, Float64Type, IntervalMonthDayNanoType>(
                left,
                right,
                rows,
                |l, factor| scale_interval(l, factor, divide),
            ))
        }
        (l, r) => Err(undefined_operator(&pg_type_name(l), operation.symbol(), &pg_type_name(r))),
    }
}

fn shared<T: ArrowPrimitiveType>(array: Result<PrimitiveArray<T>>) -> Result<ArrayRef> {
    Ok(Arc::new(array?))
}

fn overflow() -> Error {
    Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp out of range")
}

/// Whether a timestamp is one of the infinities.
pub(super) fn is_infinite(micros: i64) -> bool {
    matches!(micros, i64::MIN | i64::MAX)
}

/// Whether a date is one of the infinities.
pub(super) fn is_infinite_date(days: i32) -> bool {
    matches!(days, i32::MIN | i32::MAX)
}

/// A finite timestamp if it is one that PostgreSQL has.
pub(super) fn finite_timestamp(micros: i64) -> Result<i64> {
    if (TIMESTAMP_MIN..i64::MAX).contains(&micros) { Ok(micros) } else { Err(overflow()) }
}

/// A finite date if it is one that PostgreSQL has.
pub(super) fn finite_date(days: i64) -> Result<i32> {
    let out_of_range = || Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "date out of range");
    i32::try_from(days)
        .ok()
        .filter(|days| (DATE_MIN..DATE_END).contains(days))
        .ok_or_else(out_of_range)
}

/// Dates as the timestamps at which they begin.
pub(super) fn midnights(dates: &ArrayRef) -> Result<ArrayRef> {
    let out_of_range =
        || Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "date out of range for timestamp");
    let midnights: PrimitiveArray<TimestampMicrosecondType> =
        dates.as_primitive::<Date32Type>().try_unary(|days| match days {
            i32::MIN => Ok(i64::MIN),
            i32::MAX => Ok(i64::MAX),
            days => i64::from(days).checked_mul(MICROS_PER_DAY).ok_or_else(out_of_range),
        })?;
    Ok(Arc::new(midnights))
}

/// The dates of timestamps.
pub(super) fn dates(timestamps: &ArrayRef) -> Result<ArrayRef> {
    let dates: PrimitiveArray<Date32Type> =
        timestamps.as_primitive::<TimestampMicrosecondType>().unary(|micros| match micros {
            i64::MIN => i32::MIN,
            i64::MAX => i32::MAX,
            // All days of 64 bits of microseconds fit.
            micros => micros.div_euclid(MICROS_PER_DAY) as i32,
        });
    Ok(Arc::new(dates))
}

/// The times of day of timestamps; NULL for the infinities, as in PostgreSQL.
pub(super) fn times(timestamps: &ArrayRef) -> Result<ArrayRef> {
    let timestamps = timestamps.as_primitive::<TimestampMicrosecondType>();
    let times: PrimitiveArray<Time64MicrosecondType> = timestamps
        .unary_opt(|micros| (!is_infinite(micros)).then(|| micros.rem_euclid(MICROS_PER_DAY)));
    Ok(Arc::new(times))
}

/// Times of day as the intervals since midnight.
pub(super) fn times_as_intervals(times: &ArrayRef) -> Result<ArrayRef> {
    let intervals: PrimitiveArray<IntervalMonthDayNanoType> = times
        .as_primitive::<Time64MicrosecondType>()
        .unary(|micros| IntervalMonthDayNano::new(0, 0, micros * 1000));
    Ok(Arc::new(intervals))
}

/// The time of day that an interval's time comes to; months and days do not count.
pub(super) fn intervals_as_times(intervals: &ArrayRef) -> Result<ArrayRef> {
    let times: PrimitiveArray<Time64MicrosecondType> = intervals
        .as_primitive::<IntervalMonthDayNanoType>()
        .unary(|value| (value.nanoseconds / 1000).rem_euclid(MICROS_PER_DAY));
    Ok(Arc::new(times))
}

fn timestamps_between(left: &Operand, right: &Operand, rows: usize) -> Result<ArrayRef> {
    shared(combine::<TimestampMicrosecondType, TimestampMicrosecondType, IntervalMonthDayNanoType>(
        left,
        right,
        rows,
        |l, r| {
            if is_infinite(l) || is_infinite(r) {
                return Err(infinite("timestamps"));
            }
            interval_of_micros(l.checked_sub(r).ok_or_else(|| out_of_range("interval"))?)
        },
    ))
}

fn infinite(of: &str) -> Error {
    Error::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("cannot subtract infinite {of}"))
}

fn add_time(left: &Operand, right: &Operand, rows: usize) -> Result<ArrayRef> {
    shared(combine::<TimestampMicrosecondType, Time64MicrosecondType, TimestampMicrosecondType>(
        left,
        right,
        rows,
        |l, r| if is_infinite(l) { Ok(l) } else { l.checked_add(r).ok_or_else(overflow) },
    ))
}

/// Times wrap around at midnight; only the interval's time counts.
fn shift_times(left: &Operand, right: &Operand, subtract: bool, rows: usize) -> Result<ArrayRef> {
    shared(combine::<Time64MicrosecondType, IntervalMonthDayNanoType, Time64MicrosecondType>(
        left,
        right,
        rows,
        |time, by| {
            let micros = by.nanoseconds / 1000 % MICROS_PER_DAY;
            Ok((if subtract { time - micros } else { time + micros }).rem_euclid(MICROS_PER_DAY))
        },
    ))
}

fn times_between(left: &Operand, right: &Operand, rows: usize) -> Result<ArrayRef> {
    shared(combine::<Time64MicrosecondType, Time64MicrosecondType, IntervalMonthDayNanoType>(
        left,
        right,
        rows,
        |l, r| Ok(IntervalMonthDayNano::new(0, 0, (l - r) * 1000)),
    ))
}

fn add_days(left: &Operand, right: &Operand, subtract: bool, rows: usize) -> Result<ArrayRef> {
    let sum = combine::<Date32Type, Int32Type, Date32Type>(left, right, rows, |l, r| {
        if is_infinite_date(l) {
            return Ok(l);
        }
        let (l, r) = (i64::from(l), i64::from(r));
        finite_date(if subtract { l - r } else { l + r })
    })?;
    Ok(Arc::new(sum))
}

fn days_between(left: &Operand, right: &Operand, rows: usize) -> Result<ArrayRef> {
    let days = combine::<Date32Type, Date32Type, Int32Type>(left, right, rows, |l, r| {
        if is_infinite_date(l) || is_infinite_date(r) {
            return Err(infinite("dates"));
        }
        l.checked_sub(r).ok_or_else(|| out_of_range("integer"))
    })?;
    Ok(Arc::new(days))
}

/// Microseconds as whole days and a rest, as PostgreSQL gives the difference of two timestamps.
fn interval_of_micros(micros: i64) -> Result<IntervalMonthDayNano> {
    let days = i32::try_from(micros / MICROS_PER_DAY).map_err(|_| out_of_range("interval"))?;
    Ok(IntervalMonthDayNano::new(0, days, micros % MICROS_PER_DAY * 1000))
}

fn add_intervals(
    l: IntervalMonthDayNano,
    r: IntervalMonthDayNano,
    subtract: bool,
) -> Option<IntervalMonthDayNano> {
    Some(if subtract {
        IntervalMonthDayNano::new(
            l.months.checked_sub(r.months)?,
            l.days.checked_sub(r.days)?,
            l.nanoseconds.checked_sub(r.nanoseconds)?,
        )
    } else {
        IntervalMonthDayNano::new(
            l.months.checked_add(r.months)?,
            l.days.checked_add(r.days)?,
            l.nanoseconds.checked_add(r.nanoseconds)?,
        )
    })
}

/// Adds months, then days, then time, in the timestamp's own zone (UTC for timestamptz).
fn shift_timestamps(
    left: &Operand,
    right: &Operand,
    subtract: bool,
    result: &DataType,
    rows: usize,
) -> Result<ArrayRef> {
    let moved = combine::<
        TimestampMicrosecondType,
        IntervalMonthDayNanoType,
        TimestampMicrosecondType,
    >(left, right, rows, |time, by| {
        if subtract {
            let by = add_intervals(IntervalMonthDayNano::ZERO, by, true).ok_or_else(overflow)?;
            return shifted(time, by);
        }
        shifted(time, by)
    })?;
    Ok(Arc::new(moved.with_data_type(result.clone())))
}

/// A timestamp moved by an interval: its months first, then its days, then its time.
pub(super) fn shifted(time: i64, by: IntervalMonthDayNano) -> Result<i64> {
    if is_infinite(time) {
        return Ok(time);
    }
    let time =
        if by.months == 0 { time } else { add_months(time, by.months).ok_or_else(overflow)? };
    let moved = i64::from(by.days)
        .checked_mul(MICROS_PER_DAY)
        .and_then(|days| time.checked_add(days))
        .and_then(|time| time.checked_add(by.nanoseconds / 1000));
    finite_timestamp(moved.ok_or_else(overflow)?)
}

/// The same time of day in another month; a day that month lacks becomes its last.
fn add_months(micros: i64, months: i32) -> Option<i64> {
    let (days, of_day) = (micros.div_euclid(MICROS_PER_DAY), micros.rem_euclid(MICROS_PER_DAY));
    let (year, month, day) = civil_of_days(days);
    let months = year * 12 + i64::from(month) - 1 + i64::from(months);
    let (year, month) = (months.div_euclid(12), months.rem_euclid(12) as u32 + 1);
    let days = days_of_civil(year, month, day.min(days_in_month(year, month)));
    days.checked_mul(MICROS_PER_DAY)?.checked_add(of_day)
}

/// The interval that is so far from the first to the second, 0 being the first.
pub(super) fn between(
    low: IntervalMonthDayNano,
    high: IntervalMonthDayNano,
    part: f64,
) -> Result<IntervalMonthDayNano> {
    let overflow = || out_of_range("interval");
    let distance = add_intervals(high, low, true).ok_or_else(overflow)?;
    let part = scale_interval(distance, part, false)?;
    add_intervals(low, part, false).ok_or_else(overflow)
}

/// PostgreSQL's product of an interval and a number: fractions of months become days (of 30 a month), fractions of
/// days time.
fn scale_interval(
    value: IntervalMonthDayNano,
    factor: f64,
    divide: bool,
) -> Result<IntervalMonthDayNano> {
    if divide && factor == 0.0 {
        return Err(division_by_zero());
    }
    let scale = |v: f64| if divide { v / factor } else { v * factor };
    let overflow = || out_of_range("interval");
    let whole = |v: f64| -> Result<i32> {
        if v.is_finite() && v.abs() < f64::from(i32::MAX) {
            Ok(v.trunc() as i32)
        } else {
            Err(overflow())
        }
    };
    // PostgreSQL rounds the fractions to microseconds before it splits them, so that 0.1 of a month is 3 days.
    let settle = |v: f64| (v * 1e6).round() / 1e6;
    let months_exact = scale(f64::from(value.months));
    let months = whole(months_exact)?;
    let days_exact = scale(f64::from(value.days));
    let days = whole(days_exact)?;
    let from_months = settle((months_exact - f64::from(months)) * 30.0);
    let from_months_whole = whole(from_months)?;
    let seconds_of_days = settle(
        (days_exact - f64::from(days) + from_months - f64::from(from_months_whole)) * 86_400.0,
    );
    let micros = (scale(value.nanoseconds as f64 / 1000.0) + seconds_of_days * 1e6).round();
    if !micros.is_finite() || micros.abs() > (i64::MAX / 1000) as f64 {
        return Err(overflow());
    }
    let days = days.checked_add(from_months_whole).ok_or_else(overflow)?;
    Ok(IntervalMonthDayNano::new(months, days, micros as i64 * 1000))
}
