//! Intervals: months, days and a time of day each on their own, as PostgreSQL and Arrow both have them.
//!
//! Arrow counts the time in nanoseconds, so intervals of more than 292 years of hours are refused with 22015; PostgreSQL
//! takes them up to 292,000 years. Output drops what is below a microsecond.

use arrow_array::types::IntervalMonthDayNanoType;
use arrow_buffer::IntervalMonthDayNano;
use bytes::{BufMut, BytesMut};

use super::calendar::{put_fraction, put_int, put_padded};
use super::style::IntervalStyle;
use crate::error::{Error, Result, SqlState};

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const NANOS_PER_DAY: f64 = 86_400.0 * 1e9;
const DAYS_PER_MONTH: f64 = 30.0;

pub fn put_interval(value: IntervalMonthDayNano, style: IntervalStyle, out: &mut BytesMut) {
    let (years, months, days) = (value.months / 12, value.months % 12, value.days);
    let micros = value.nanoseconds / 1000;
    match style {
        IntervalStyle::Postgres => put_postgres(years, months, days, micros, out),
        IntervalStyle::Iso8601 => put_iso8601(years, months, days, micros, out),
    }
}

/// `1 year 2 mons -3 days +04:05:06.7`: after a negative part, a positive one shows its sign.
fn put_postgres(years: i32, months: i32, days: i32, micros: i64, out: &mut BytesMut) {
    let start = out.len();
    let mut after_negative = false;
    for (value, unit) in [(years, "year"), (months, "mon"), (days, "day")] {
        if value == 0 {
            continue;
        }
        if out.len() > start {
            out.put_u8(b' ');
        }
        if after_negative && value > 0 {
            out.put_u8(b'+');
        }
        put_int(i64::from(value), out);
        out.put_u8(b' ');
        out.put_slice(unit.as_bytes());
        if value != 1 {
            out.put_u8(b's');
        }
        after_negative = value < 0;
    }
    if micros == 0 && out.len() > start {
        return;
    }
    if out.len() > start {
        out.put_u8(b' ');
    }
    if micros < 0 {
        out.put_u8(b'-');
    } else if after_negative {
        out.put_u8(b'+');
    }
    super::calendar::put_time(micros, out);
}

fn put_iso8601(years: i32, months: i32, days: i32, micros: i64, out: &mut BytesMut) {
    if years == 0 && months == 0 && days == 0 && micros == 0 {
        out.put_slice(b"PT0S");
        return;
    }
    out.put_u8(b'P');
    let put_part = |value: i64, unit: u8, out: &mut BytesMut| {
        if value != 0 {
            put_int(value, out);
            out.put_u8(unit);
        }
    };
    put_part(i64::from(years), b'Y', out);
    put_part(i64::from(months), b'M', out);
    put_part(i64::from(days), b'D', out);
    if micros == 0 {
        return;
    }
    out.put_u8(b'T');
    let seconds = micros / 1_000_000;
    put_part(seconds / 3600, b'H', out);
    put_part(seconds / 60 % 60, b'M', out);
    let rest = micros % 60_000_000;
    if rest != 0 {
        if rest < 0 {
            out.put_u8(b'-');
        }
        put_padded(rest.unsigned_abs() / 1_000_000, 1, out);
        put_fraction(rest.unsigned_abs() % 1_000_000, out);
        out.put_u8(b'S');
    }
}

fn invalid(text: &str) -> Error {
    let message = format!("invalid input syntax for type interval: \"{text}\"");
    Error::new(SqlState::INVALID_DATETIME_FORMAT, message)
}

fn out_of_range(text: &str) -> Error {
    let message = format!("interval field value out of range: \"{text}\"");
    Error::new(SqlState("22015"), message)
}

/// What has been read so far. Fractions of months spill into days and those of days into time, as in PostgreSQL.
#[derive(Default)]
struct Sum {
    months: i64,
    days: i64,
    nanos: i128,
}

impl Sum {
    /// Adds `whole` + `fraction` (of the same sign) of a unit; `None` for an unknown unit.
    fn add(&mut self, whole: i64, fraction: f64, unit: &str) -> Option<()> {
        let in_months = |n: i64| Some(n);
        let months_per_unit = match unit {
            "millennium" | "millennia" | "mil" | "mils" => in_months(12_000),
            "century" | "centuries" | "cent" | "c" => in_months(1200),
            "decade" | "decades" | "dec" | "decs" => in_months(120),
            "year" | "years" | "yr" | "yrs" | "y" => in_months(12),
            "month" | "months" | "mon" | "mons" => {
                self.months = self.months.checked_add(whole)?;
                self.add_days(fraction * DAYS_PER_MONTH);
                return Some(());
            }
            _ => None,
        };
        if let Some(n) = months_per_unit {
            self.months = self.months.checked_add(whole.checked_mul(n)?)?;
            self.months = self.months.checked_add((fraction * n as f64).round_ties_even() as i64)?;
            return Some(());
        }
        let nanos_per_unit: i64 = match unit {
            "week" | "weeks" | "w" => {
                self.days = self.days.checked_add(whole.checked_mul(7)?)?;
                self.add_days(fraction * 7.0);
                return Some(());
            }
            "day" | "days" | "d" => {
                self.days = self.days.checked_add(whole)?;
                self.nanos += micros_rounded(fraction * NANOS_PER_DAY);
                return Some(());
            }
            "hour" | "hours" | "hr" | "hrs" | "h" => 3600 * NANOS_PER_SECOND,
            "minute" | "minutes" | "min" | "mins" | "m" => 60 * NANOS_PER_SECOND,
            "second" | "seconds" | "sec" | "secs" | "s" => NANOS_PER_SECOND,
            "millisecond" | "milliseconds" | "msec" | "msecs" | "ms" | "millisec" | "millisecs"
            | "mseconds" | "msecond" => 1_000_000,
            "microsecond" | "microseconds" | "usec" | "usecs" | "us" | "microsec" | "microsecs"
            | "useconds" | "usecond" => 1000,
            _ => return None,
        };
        self.nanos += i128::from(whole) * i128::from(nanos_per_unit);
        self.nanos += micros_rounded(fraction * nanos_per_unit as f64);
        Some(())
    }

    fn add_days(&mut self, days: f64) {
        let whole = days.trunc();
        self.days = self.days.saturating_add(whole as i64);
        self.nanos += micros_rounded((days - whole) * NANOS_PER_DAY);
    }

    fn negate(&mut self) {
        self.months = self.months.saturating_neg();
        self.days = self.days.saturating_neg();
        self.nanos = -self.nanos;
    }

    fn finish(self, text: &str) -> Result<IntervalMonthDayNano> {
        let months = i32::try_from(self.months).map_err(|_| out_of_range(text))?;
        let days = i32::try_from(self.days).map_err(|_| out_of_range(text))?;
        let nanos = i64::try_from(self.nanos).map_err(|_| out_of_range(text))?;
        Ok(IntervalMonthDayNanoType::make_value(months, days, nanos))
    }
}

/// Nanoseconds rounded to whole microseconds.
fn micros_rounded(nanos: f64) -> i128 {
    (nanos / 1000.0).round_ties_even() as i128 * 1000
}

/// PostgreSQL's interval input: `1 year 2 mons 3 days 04:05:06.7`, `3 4:05`, `1-2`, `1.5 hours ago`, `@ 1 hour`, and
/// ISO 8601 durations with designators. Errors: 22007, 22015.
pub fn parse_interval(text: &str) -> Result<IntervalMonthDayNano> {
    let trimmed = text.trim();
    let mut sum = Sum::default();
    if let Some(iso) = trimmed.strip_prefix(['P', 'p']) {
        read_iso8601(iso, &mut sum).ok_or_else(|| invalid(text))?;
        return sum.finish(text);
    }
    let lower = trimmed.to_ascii_lowercase();
    let tokens = tokens(&lower).ok_or_else(|| invalid(text))?;
    let (tokens, ago) = match tokens.as_slice() {
        [rest @ .., "ago"] => (rest, true),
        all => (all, false),
    };
    let tokens = if tokens.first() == Some(&"@") { &tokens[1..] } else { tokens };
    if tokens.is_empty() {
        return Err(invalid(text));
    }
    read_tokens(tokens, &mut sum, text)?;
    if ago {
        sum.negate();
    }
    sum.finish(text)
}

/// Cuts into numbers (with sign, colons, point, dash inside) and words; `1h30m` is four tokens.
fn tokens(text: &str) -> Option<Vec<&str>> {
    let mut tokens = vec![];
    let mut rest = text.trim_start_matches([' ', '\t', '\n', ',']);
    while let Some(first) = rest.chars().next() {
        let end = if first == '@' {
            1
        } else if first.is_ascii_alphabetic() {
            rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len())
        } else if first.is_ascii_digit() || matches!(first, '+' | '-' | '.') {
            let body = |c: char| c.is_ascii_digit() || matches!(c, ':' | '.' | '-');
            rest[1..].find(|c| !body(c)).map_or(rest.len(), |i| i + 1)
        } else {
            return None;
        };
        tokens.push(&rest[..end]);
        rest = rest[end..].trim_start_matches([' ', '\t', '\n', ',']);
    }
    Some(tokens)
}

fn read_tokens(tokens: &[&str], sum: &mut Sum, text: &str) -> Result<()> {
    let mut i = 0;
    while i < tokens.len() {
        let number = tokens[i];
        if number.contains(':') {
            sum.nanos += read_clock(number).ok_or_else(|| invalid(text))?;
            i += 1;
            continue;
        }
        if number[1..].contains('-') {
            let months = read_year_month(number).ok_or_else(|| invalid(text))?;
            sum.months = sum.months.checked_add(months).ok_or_else(|| out_of_range(text))?;
            i += 1;
            continue;
        }
        let (whole, fraction) = read_number(number).ok_or_else(|| invalid(text))?;
        let unit = match tokens.get(i + 1) {
            Some(unit) if unit.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                i += 1;
                unit
            }
            // `3 4:05:06` is three days; a bare number at the end is seconds.
            Some(next) if next.contains(':') => "day",
            None => "second",
            Some(_) => return Err(invalid(text)),
        };
        sum.add(whole, fraction, unit).ok_or_else(|| invalid(text))?;
        i += 1;
    }
    Ok(())
}

/// A signed decimal as its whole part and its fraction, both with its sign.
fn read_number(text: &str) -> Option<(i64, f64)> {
    let (negative, body) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, fraction) = body.split_once('.').unwrap_or((body, ""));
    if whole.len() + fraction.len() == 0 {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction: f64 =
        if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse().ok()? };
    Some(if negative { (-whole, -fraction) } else { (whole, fraction) })
}

/// `[-]h:m[:s[.f]]`, or `m:s.f` when the second part has a point, in nanoseconds.
fn read_clock(text: &str) -> Option<i128> {
    let (negative, body) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let parts: Vec<&str> = body.split(':').collect();
    let (hours, minutes, seconds) = match parts.as_slice() {
        [m, s] if s.contains('.') => ("0", *m, *s),
        [h, m] => (*h, *m, "0"),
        [h, m, s] => (*h, *m, *s),
        _ => return None,
    };
    let hours: i64 = hours.parse().ok()?;
    let minutes: i64 = minutes.parse().ok().filter(|m| (0..60).contains(m))?;
    let (seconds, fraction) = read_number(seconds).filter(|(s, _)| (0..=60).contains(s))?;
    let seconds = i128::from(hours) * 3600 + i128::from(minutes) * 60 + i128::from(seconds);
    let nanos = seconds * i128::from(NANOS_PER_SECOND) + micros_rounded(fraction * 1e9);
    Some(if negative { -nanos } else { nanos })
}

/// `[-]years-months`, in months.
fn read_year_month(text: &str) -> Option<i64> {
    let (negative, body) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (years, months) = body.split_once('-')?;
    let years: i64 = years.parse().ok()?;
    let months: i64 = months.parse().ok().filter(|m| (0..12).contains(m))?;
    let total = years.checked_mul(12)?.checked_add(months)?;
    Some(if negative { -total } else { total })
}

fn read_iso8601(text: &str, sum: &mut Sum) -> Option<()> {
    let mut rest = text;
    let mut in_time = false;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        if let Some(time) = rest.strip_prefix(['T', 't']).filter(|_| !in_time) {
            in_time = true;
            rest = time;
            continue;
        }
        let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let (whole, fraction) = read_number(&rest[..end])?;
        let unit = match (rest.as_bytes()[end].to_ascii_uppercase(), in_time) {
            (b'Y', false) => "year",
            (b'M', false) => "month",
            (b'W', false) => "week",
            (b'D', false) => "day",
            (b'H', true) => "hour",
            (b'M', true) => "minute",
            (b'S', true) => "second",
            _ => return None,
        };
        sum.add(whole, fraction, unit)?;
        rest = &rest[end + 1..];
    }
    Some(())
}
