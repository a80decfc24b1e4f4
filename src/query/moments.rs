//! Arithmetic on dates, times, timestamps and intervals.
//!
//! Microseconds throughout; months and days of an interval are added before its time, in the timestamp's own clock (UTC for
//! timestamptz). Invariant: as in `arithmetic`, a result is exact or an error (22003, 22008, 22012).

use std::sync::Arc;

use arrow_array::types::{
    Date32Type, Float64Type, Int32Type, IntervalMonthDayNanoType, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use arrow_array::{ArrayRef, ArrowPrimitiveType, PrimitiveArray};
use arrow_buffer::IntervalMonthDayNano;
use arrow_schema::DataType;

use super::arithmetic::{Operand, Operation, combine};
use super::errors::{division_by_zero, out_of_range, undefined_operator};
use super::sql_types::{pg_type_name, timestamp};
use crate::error::{Error, Result, SqlState};

const MICROS_PER_DAY: i64 = 86_400_000_000;

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
            let cast = arrow_cast::cast(&left.array, &timestamp()).map_err(|_| overflow())?;
            let midnight = Operand { array: cast, scalar: left.scalar };
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

fn timestamps_between(left: &Operand, right: &Operand, rows: usize) -> Result<ArrayRef> {
    shared(combine::<TimestampMicrosecondType, TimestampMicrosecondType, IntervalMonthDayNanoType>(
        left,
        right,
        rows,
        |l, r| interval_of_micros(l.checked_sub(r).ok_or_else(|| out_of_range("interval"))?),
    ))
}

fn add_time(left: &Operand, right: &Operand, rows: usize) -> Result<ArrayRef> {
    shared(combine::<TimestampMicrosecondType, Time64MicrosecondType, TimestampMicrosecondType>(
        left,
        right,
        rows,
        |l, r| l.checked_add(r).ok_or_else(overflow),
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
        let sum = if subtract { l.checked_sub(r) } else { l.checked_add(r) };
        sum.ok_or_else(|| Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "date out of range"))
    })?;
    Ok(Arc::new(sum))
}

fn days_between(left: &Operand, right: &Operand, rows: usize) -> Result<ArrayRef> {
    let days = combine::<Date32Type, Date32Type, Int32Type>(left, right, rows, |l, r| {
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
    let shifted = combine::<
        TimestampMicrosecondType,
        IntervalMonthDayNanoType,
        TimestampMicrosecondType,
    >(left, right, rows, |time, by| {
        let by = if subtract {
            add_intervals(IntervalMonthDayNano::ZERO, by, true).ok_or_else(overflow)?
        } else {
            by
        };
        later(time, by)
    })?;
    Ok(Arc::new(shifted.with_data_type(result.clone())))
}

/// A timestamp and an interval: its months first, then its days, then its time.
pub(super) fn later(micros: i64, by: IntervalMonthDayNano) -> Result<i64> {
    let time =
        if by.months == 0 { micros } else { add_months(micros, by.months).ok_or_else(overflow)? };
    i64::from(by.days)
        .checked_mul(MICROS_PER_DAY)
        .and_then(|days| time.checked_add(days))
        .and_then(|time| time.checked_add(by.nanoseconds / 1000))
        .ok_or_else(overflow)
}

/// The same time of day in another month; a day that month lacks becomes its last.
fn add_months(micros: i64, months: i32) -> Option<i64> {
    use chrono::{DateTime, Months};
    let time = DateTime::from_timestamp_micros(micros)?;
    let by = Months::new(months.unsigned_abs());
    let moved =
        if months < 0 { time.checked_sub_months(by)? } else { time.checked_add_months(by)? };
    Some(moved.timestamp_micros())
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
