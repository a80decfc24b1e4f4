//! Spans of time and moments put together: age, justify_..., make_..., date_bin, isfinite and OVERLAPS.
//!
//! Values are microseconds; an interval's parts are added up with checks, 22008 where they leave the type.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::types::{
    Date32Type, IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_buffer::IntervalMonthDayNano;
use arrow_schema::{DataType, TimeUnit};
use datafusion::logical_expr::ScalarUDF;

use super::native::Kind::{Date, Float8, Int4, Interval, Text, Time, Timestamp, Timestamptz};
use super::native::{Call, Form, form, infallible, native};
use crate::error::{Error, Result, SqlState};
use crate::query::moments::{finite_date, finite_timestamp, is_infinite, is_infinite_date};
use crate::query::sql_types::{interval, timestamp, timestamptz};
use crate::types::{TimeZone, civil_of_days, days_in_month, days_of_civil};

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// The function that OVERLAPS stands for.
pub(crate) const OVERLAPS: &str = "overlaps";

/// The family.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    let span = interval;
    vec![
        native(
            "age",
            vec![
                form(&[Timestamp, Timestamp], span(), age),
                form(&[Timestamptz, Timestamptz], span(), age_zoned),
            ],
        ),
        native("justify_days", vec![form(&[Interval], span(), justify_days)]),
        native("justify_hours", vec![form(&[Interval], span(), justify_hours)]),
        native("justify_interval", vec![form(&[Interval], span(), justify_interval)]),
        native(
            "make_interval",
            vec![form(&[Int4, Int4, Int4, Int4, Int4, Int4, Float8], span(), make_interval)],
        ),
        native("make_date", vec![form(&[Int4, Int4, Int4], DataType::Date32, make_date)]),
        native("make_time", vec![form(&[Int4, Int4, Float8], time(), make_time)]),
        native(
            "make_timestamp",
            vec![form(&[Int4, Int4, Int4, Int4, Int4, Float8], timestamp(), make_timestamp)],
        ),
        native(
            "make_timestamptz",
            vec![
                form(&[Int4, Int4, Int4, Int4, Int4, Float8], timestamptz(), make_timestamp),
                form(&[Int4, Int4, Int4, Int4, Int4, Float8, Text], timestamptz(), make_timestamp),
            ],
        ),
        native(
            "date_bin",
            vec![
                form(&[Interval, Timestamp, Timestamp], timestamp(), date_bin),
                form(&[Interval, Timestamptz, Timestamptz], timestamptz(), date_bin),
            ],
        ),
        infallible(
            "isfinite",
            vec![
                form(&[Timestamp], DataType::Boolean, is_finite),
                form(&[Timestamptz], DataType::Boolean, is_finite),
                form(&[Date], DataType::Boolean, is_finite_date),
                form(&[Interval], DataType::Boolean, |call| call.booleans(|_| Ok(Some(true)))),
            ],
        ),
        native(OVERLAPS, overlap_forms()),
    ]
}

fn time() -> DataType {
    DataType::Time64(TimeUnit::Microsecond)
}

fn overflow(of: &str) -> Error {
    Error::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("{of} out of range"))
}

/// An interval of parts that may be too large for it.
fn interval_of(months: i64, days: i64, micros: i64) -> Result<IntervalMonthDayNano> {
    let overflow = || overflow("interval");
    Ok(IntervalMonthDayNano::new(
        months.try_into().map_err(|_| overflow())?,
        days.try_into().map_err(|_| overflow())?,
        micros.checked_mul(1000).ok_or_else(overflow)?,
    ))
}

fn intervals(
    call: &Call,
    mut value: impl FnMut(usize) -> Result<IntervalMonthDayNano>,
) -> Result<ArrayRef> {
    call.values::<IntervalMonthDayNanoType>(|row| value(row).map(Some))
}

fn age(call: &Call) -> Result<ArrayRef> {
    intervals(call, |row| between(call.timestamp(0, row), call.timestamp(1, row)))
}

fn age_zoned(call: &Call) -> Result<ArrayRef> {
    let zone = TimeZone::parse(call.zone).unwrap_or(TimeZone::UTC);
    let local = |micros: i64| match is_infinite(micros) {
        true => micros,
        false => {
            let offset = i64::from(zone.offset_at_instant(micros));
            micros.saturating_add(offset * MICROS_PER_SECOND)
        }
    };
    intervals(call, |row| between(local(call.timestamp(0, row)), local(call.timestamp(1, row))))
}

/// The years, months, days and time from `start` to `end`, borrowed from one another as on a calendar.
fn between(end: i64, start: i64) -> Result<IntervalMonthDayNano> {
    if is_infinite(end) || is_infinite(start) {
        return Err(overflow("timestamp"));
    }
    let backwards = end < start;
    let (later, earlier) = if backwards { (start, end) } else { (end, start) };
    let parts = |micros: i64| {
        let (year, month, day) = civil_of_days(micros.div_euclid(MICROS_PER_DAY));
        (year * 12 + i64::from(month), i64::from(day), micros.rem_euclid(MICROS_PER_DAY))
    };
    let ((later_months, later_day, later_time), (months, day, time)) =
        (parts(later), parts(earlier));
    let (mut months_between, mut days, mut micros) =
        (later_months - months, later_day - day, later_time - time);
    if micros < 0 {
        micros += MICROS_PER_DAY;
        days -= 1;
    }
    if days < 0 {
        // The days that a month lacks are those of the earlier moment's month.
        let (year, month) = ((months - 1).div_euclid(12), (months - 1).rem_euclid(12) as u32 + 1);
        days += i64::from(days_in_month(year, month));
        months_between -= 1;
    }
    match backwards {
        true => interval_of(-months_between, -days, -micros),
        false => interval_of(months_between, days, micros),
    }
}

/// An interval's parts in numbers that can be added up: months, days, microseconds.
fn parts(value: IntervalMonthDayNano) -> (i64, i64, i64) {
    (value.months.into(), value.days.into(), value.nanoseconds / 1000)
}

/// Moves whole multiples of `of` from the smaller part to the larger, and then lets both have one sign.
fn carry(larger: &mut i64, smaller: &mut i64, of: i64) {
    *larger += *smaller / of;
    *smaller %= of;
    if *larger > 0 && *smaller < 0 {
        *smaller += of;
        *larger -= 1;
    } else if *larger < 0 && *smaller > 0 {
        *smaller -= of;
        *larger += 1;
    }
}

fn justify_days(call: &Call) -> Result<ArrayRef> {
    intervals(call, |row| {
        let (mut months, mut days, micros) = parts(call.interval(0, row));
        carry(&mut months, &mut days, 30);
        interval_of(months, days, micros)
    })
}

fn justify_hours(call: &Call) -> Result<ArrayRef> {
    intervals(call, |row| {
        let (months, mut days, mut micros) = parts(call.interval(0, row));
        carry(&mut days, &mut micros, MICROS_PER_DAY);
        interval_of(months, days, micros)
    })
}

fn justify_interval(call: &Call) -> Result<ArrayRef> {
    intervals(call, |row| {
        let (mut months, mut days, mut micros) = parts(call.interval(0, row));
        days += micros / MICROS_PER_DAY;
        micros %= MICROS_PER_DAY;
        months += days / 30;
        days %= 30;
        let negative = |days: i64, micros: i64| days < 0 || (days == 0 && micros < 0);
        let positive = |days: i64, micros: i64| days > 0 || (days == 0 && micros > 0);
        if months > 0 && negative(days, micros) {
            days += 30;
            months -= 1;
        } else if months < 0 && positive(days, micros) {
            days -= 30;
            months += 1;
        }
        if days > 0 && micros < 0 {
            micros += MICROS_PER_DAY;
            days -= 1;
        } else if days < 0 && micros > 0 {
            micros -= MICROS_PER_DAY;
            days += 1;
        }
        interval_of(months, days, micros)
    })
}

fn make_interval(call: &Call) -> Result<ArrayRef> {
    intervals(call, |row| {
        let [years, months, weeks, days, hours, minutes] =
            [0, 1, 2, 3, 4, 5].map(|arg| i64::from(call.int(arg, row)));
        let seconds = call.float(6, row) * 1e6;
        if !seconds.is_finite() || seconds.abs() > 9e15 {
            return Err(overflow("interval"));
        }
        let micros = (hours * 60 + minutes) * 60 * MICROS_PER_SECOND + seconds.round() as i64;
        interval_of(years * 12 + months, weeks * 7 + days, micros)
    })
}

/// The day of a date; years before Christ are negative, and there is no year zero.
fn day_of(year: i32, month: i32, day: i32) -> Result<i64> {
    let refused = || {
        let message = format!("date field value out of range: {year}-{month:02}-{day:02}");
        Error::new(SqlState::DATETIME_FIELD_OVERFLOW, message)
    };
    let astronomical = i64::from(if year < 0 { year.saturating_add(1) } else { year });
    let (Ok(month), Ok(day)) = (u32::try_from(month), u32::try_from(day)) else {
        return Err(refused());
    };
    let valid = year != 0
        && (1..=12).contains(&month)
        && (1..=days_in_month(astronomical, month)).contains(&day);
    if !valid {
        return Err(refused());
    }
    finite_date(days_of_civil(astronomical, month, day)).map(i64::from).map_err(|_| {
        let message = format!("date out of range: {year}-{month:02}-{day:02}");
        Error::new(SqlState::DATETIME_FIELD_OVERFLOW, message)
    })
}

/// Microseconds since midnight; 24:00:00 is a time.
fn time_of(hour: i32, minute: i32, second: f64) -> Result<i64> {
    let valid =
        (0..=24).contains(&hour) && (0..60).contains(&minute) && (0.0..=60.0).contains(&second);
    let micros = if valid { (second * 1e6).round() as i64 } else { 0 };
    let time = (i64::from(hour) * 60 + i64::from(minute)) * 60 * MICROS_PER_SECOND + micros;
    if !valid || time > MICROS_PER_DAY {
        let message = format!("time field value out of range: {hour}:{minute:02}:{second:02}");
        return Err(Error::new(SqlState::DATETIME_FIELD_OVERFLOW, message));
    }
    Ok(time)
}

fn make_date(call: &Call) -> Result<ArrayRef> {
    call.values::<Date32Type>(|row| {
        let day = day_of(call.int(0, row), call.int(1, row), call.int(2, row))?;
        Ok(Some(day as i32))
    })
}

fn make_time(call: &Call) -> Result<ArrayRef> {
    call.values::<Time64MicrosecondType>(|row| {
        time_of(call.int(0, row), call.int(1, row), call.float(2, row)).map(Some)
    })
}

/// The local time that the arguments say, or with a zone the instant at which it is that time there.
fn make_timestamp(call: &Call) -> Result<ArrayRef> {
    let zoned = *call.returned != timestamp();
    call.values::<TimestampMicrosecondType>(|row| {
        let day = day_of(call.int(0, row), call.int(1, row), call.int(2, row))?;
        let time = time_of(call.int(3, row), call.int(4, row), call.float(5, row))?;
        let local = day
            .checked_mul(MICROS_PER_DAY)
            .and_then(|start| start.checked_add(time))
            .ok_or_else(|| overflow("timestamp"))?;
        if !zoned {
            return finite_timestamp(local).map(Some);
        }
        let zone = if call.count() == 7 { call.text(6, row) } else { call.zone };
        let zone = made_zone(zone)?;
        let offset = i64::from(zone.offset_at_local(local));
        finite_timestamp(local.saturating_sub(offset * MICROS_PER_SECOND)).map(Some)
    })
}

/// A zone by its name, or the distance east of UTC that a number such as `+02` says.
fn made_zone(name: &str) -> Result<TimeZone> {
    TimeZone::parse(name).ok_or_else(|| {
        let message = format!("time zone \"{name}\" not recognized");
        Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
    })
}

fn date_bin(call: &Call) -> Result<ArrayRef> {
    call.values::<TimestampMicrosecondType>(|row| {
        let (stride, source, origin) =
            (call.interval(0, row), call.timestamp(1, row), call.timestamp(2, row));
        if is_infinite(source) {
            return Ok(Some(source));
        }
        if is_infinite(origin) {
            let message = "origin out of range";
            return Err(Error::new(SqlState::DATETIME_FIELD_OVERFLOW, message));
        }
        if stride.months != 0 {
            let message = "timestamps cannot be binned into intervals containing months or years";
            return Err(Error::unsupported(message));
        }
        let stride = i128::from(stride.days) * i128::from(MICROS_PER_DAY)
            + i128::from(stride.nanoseconds / 1000);
        if stride <= 0 {
            let message = "stride must be greater than zero";
            return Err(Error::new(SqlState::DATETIME_FIELD_OVERFLOW, message));
        }
        let (source, origin) = (i128::from(source), i128::from(origin));
        let start = origin + (source - origin).div_euclid(stride) * stride;
        let start = i64::try_from(start).map_err(|_| overflow("timestamp"))?;
        finite_timestamp(start).map(Some)
    })
}

fn is_finite(call: &Call) -> Result<ArrayRef> {
    call.booleans(|row| Ok(Some(!is_infinite(call.timestamp(0, row)))))
}

fn is_finite_date(call: &Call) -> Result<ArrayRef> {
    call.booleans(|row| Ok(Some(!is_infinite_date(call.date(0, row)))))
}

/// The forms of OVERLAPS, whose second and fourth arguments are ends or lengths of the spans.
fn overlap_forms() -> Vec<Form> {
    let boolean = DataType::Boolean;
    let with =
        |args: &'static [super::native::Kind]| form(args, boolean.clone(), overlaps).seeing_nulls();
    vec![
        with(&[Timestamp, Timestamp, Timestamp, Timestamp]),
        with(&[Timestamp, Interval, Timestamp, Timestamp]),
        with(&[Timestamp, Timestamp, Timestamp, Interval]),
        with(&[Timestamp, Interval, Timestamp, Interval]),
        with(&[Timestamptz, Timestamptz, Timestamptz, Timestamptz]),
        with(&[Timestamptz, Interval, Timestamptz, Timestamptz]),
        with(&[Timestamptz, Timestamptz, Timestamptz, Interval]),
        with(&[Timestamptz, Interval, Timestamptz, Interval]),
        with(&[Time, Time, Time, Time]),
    ]
}

fn overlaps(call: &Call) -> Result<ArrayRef> {
    let moment = |arg: usize, row: usize| match call.array(arg).data_type() {
        DataType::Time64(_) => call.time(arg, row),
        _ => call.timestamp(arg, row),
    };
    // The end that an argument says, given or by its distance from the start.
    let end = |arg: usize, row: usize| -> Result<Option<i64>> {
        if call.is_null(arg, row) {
            return Ok(None);
        }
        match call.array(arg).data_type() {
            DataType::Interval(_) if call.is_null(arg - 1, row) => Ok(None),
            DataType::Interval(_) => {
                let by = call.interval(arg, row);
                crate::query::moments::shifted(moment(arg - 1, row), by).map(Some)
            }
            _ => Ok(Some(moment(arg, row))),
        }
    };
    call.booleans(|row| {
        let start = |arg: usize| (!call.is_null(arg, row)).then(|| moment(arg, row));
        Ok(overlap((start(0), end(1, row)?), (start(2), end(3, row)?)))
    })
}

/// Whether two spans have a moment in common, a span reaching up to its later bound but not including it; a bound that is
/// NULL makes the answer NULL where it matters.
fn overlap(a: (Option<i64>, Option<i64>), b: (Option<i64>, Option<i64>)) -> Option<bool> {
    let ordered = |(start, end): (Option<i64>, Option<i64>)| match (start, end) {
        (Some(start), Some(end)) => Some((start.min(end), Some(start.max(end)))),
        (Some(one), None) | (None, Some(one)) => Some((one, None)),
        (None, None) => None,
    };
    let ((a_start, a_end), (b_start, b_end)) = (ordered(a)?, ordered(b)?);
    let reaches = |end: Option<i64>, other_start: i64, other_end: Option<i64>| match end {
        None => None,
        Some(end) if other_start < end => Some(true),
        Some(_) => other_end.map(|_| false),
    };
    match a_start.cmp(&b_start) {
        std::cmp::Ordering::Greater => reaches(b_end, a_start, a_end),
        std::cmp::Ordering::Less => reaches(a_end, b_start, b_end),
        std::cmp::Ordering::Equal => (a_end.is_some() && b_end.is_some()).then_some(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_borrow_the_days_of_the_earlier_month() {
        let at = |y, m, d| days_of_civil(y, m, d) * MICROS_PER_DAY;
        let age = |end, start| parts(between(end, start).unwrap());
        assert_eq!(age(at(2020, 3, 1), at(2020, 1, 31)), (1, 1, 0));
        assert_eq!(age(at(2020, 1, 31), at(2020, 3, 1)), (-1, -1, 0));
        assert_eq!(age(at(2020, 1, 2), at(2020, 1, 1) + 1), (0, 0, MICROS_PER_DAY - 1));
        assert!(between(i64::MAX, 0).is_err());
    }

    #[test]
    fn spans_that_touch_do_not_overlap_but_a_moment_is_in_its_own_span() {
        let some = |a, b| (Some(a), Some(b));
        assert_eq!(overlap(some(1, 3), some(3, 5)), Some(false));
        assert_eq!(overlap(some(3, 1), some(2, 5)), Some(true));
        assert_eq!(overlap(some(2, 2), some(2, 5)), Some(true));
        assert_eq!(overlap((Some(1), None), some(2, 5)), None);
    }
}
