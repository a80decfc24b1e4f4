//! Intervals from text: PostgreSQL's own style (`1 year 2 mons -3 days 04:05:06.7`, `@ 1 hour ago`) and ISO 8601
//! with designators (`P1Y2M3DT4H5M6.7S`).
//!
//! An interval has three parts that are never converted into each other: months, days and a time. A fraction of a
//! unit spills into the smaller parts as in PostgreSQL (30 days to a month, 24 hours to a day). Part of neither
//! style here: the SQL standard's `1-2` and ISO's `P0001-02-03`.

use arrow_buffer::IntervalMonthDayNano;

use super::{DATETIME_OVERFLOW, Invalid, quoted};

const MICROS_PER_SECOND: i128 = 1_000_000;
const MICROS_PER_DAY: i128 = 86_400 * MICROS_PER_SECOND;
const DAYS_PER_MONTH: i128 = 30;
/// Fractions are read to this many digits, as many as keep every product below within i128.
const FRACTION_DIGITS: usize = 9;
const FRACTION_UNIT: i128 = 1_000_000_000;
/// More whole digits than this are out of any part's range.
const WHOLE_DIGITS_MAX: usize = 18;

/// The parts before they are put into their columns' widths.
#[derive(Clone, Copy, Default)]
struct Parts {
    months: i128,
    days: i128,
    micros: i128,
}

/// A signed decimal number, the fraction in [`FRACTION_UNIT`]ths and of the same sign.
#[derive(Clone, Copy)]
struct Amount {
    whole: i128,
    fraction: i128,
}

#[derive(Clone, Copy)]
enum Unit {
    Months(i128),
    Days(i128),
    Micros(i128),
}

/// An interval, with its time in nanoseconds rounded to the microsecond. A part past its width is 22008.
pub fn interval(text: &str) -> Result<IntervalMonthDayNano, Invalid> {
    let trimmed = text.trim_ascii();
    let parts = match trimmed.strip_prefix('P') {
        Some(iso) => iso_parts(iso),
        None => postgres_parts(trimmed),
    };
    let parts = parts.ok_or_else(|| Invalid::datetime_syntax("interval", text.as_bytes()))?;
    let narrow = || {
        let nanos = i64::try_from(parts.micros.checked_mul(1_000)?).ok()?;
        let (months, days) = (i32::try_from(parts.months).ok()?, i32::try_from(parts.days).ok()?);
        Some(IntervalMonthDayNano::new(months, days, nanos))
    };
    narrow().ok_or_else(|| Invalid {
        sqlstate: DATETIME_OVERFLOW,
        message: format!("interval field value out of range: {}", quoted(text.as_bytes())),
    })
}

impl Parts {
    fn add(&mut self, amount: Amount, unit: Unit) {
        match unit {
            Unit::Months(each) => {
                // A fraction of a year makes whole months only; a fraction of a month makes days and their time.
                let months = amount.fraction * each;
                self.months += amount.whole * each + months / FRACTION_UNIT;
                if each == 1 {
                    let days = months % FRACTION_UNIT * DAYS_PER_MONTH;
                    self.days += days / FRACTION_UNIT;
                    self.micros += rounded(days % FRACTION_UNIT * MICROS_PER_DAY);
                }
            }
            Unit::Days(each) => {
                let days = amount.fraction * each;
                self.days += amount.whole * each + days / FRACTION_UNIT;
                self.micros += rounded(days % FRACTION_UNIT * MICROS_PER_DAY);
            }
            Unit::Micros(each) => {
                self.micros += amount.whole * each + rounded(amount.fraction * each)
            }
        }
    }

    fn negated(self) -> Parts {
        Parts { months: -self.months, days: -self.days, micros: -self.micros }
    }
}

/// `value` / [`FRACTION_UNIT`], rounded half away from zero.
fn rounded(value: i128) -> i128 {
    (value + value.signum() * FRACTION_UNIT / 2) / FRACTION_UNIT
}

/// What `P` is followed by in ISO 8601: `1Y2M3W4D` and, after a `T`, `5H6M7.8S`; each may have a sign, one is
/// required.
fn iso_parts(text: &str) -> Option<Parts> {
    let mut parts = Parts::default();
    let (date, time) = match text.split_once('T') {
        Some((_, "")) => return None,
        Some((date, time)) => (date, time),
        None => (text, ""),
    };
    if text.is_empty() {
        return None;
    }
    for (mut rest, is_time) in [(date, false), (time, true)] {
        while !rest.is_empty() {
            let (amount, after) = amount(rest)?;
            let mut chars = after.chars();
            let unit = match (chars.next()?, is_time) {
                ('Y', false) => Unit::Months(12),
                ('M', false) => Unit::Months(1),
                ('W', false) => Unit::Days(7),
                ('D', false) => Unit::Days(1),
                ('H', true) => Unit::Micros(3_600 * MICROS_PER_SECOND),
                ('M', true) => Unit::Micros(60 * MICROS_PER_SECOND),
                ('S', true) => Unit::Micros(MICROS_PER_SECOND),
                _ => return None,
            };
            parts.add(amount, unit);
            rest = chars.as_str();
        }
    }
    Some(parts)
}

/// Numbers with units and at most one clock time, in any order, after an optional `@` and before an optional `ago`.
/// A last number without a unit is seconds.
fn postgres_parts(text: &str) -> Option<Parts> {
    let mut rest = text.strip_prefix('@').unwrap_or(text).trim_ascii_start();
    let (mut parts, mut any, mut clock_seen) = (Parts::default(), false, false);
    while !rest.is_empty() {
        if any && rest.eq_ignore_ascii_case("ago") {
            return Some(parts.negated());
        }
        let token = &rest[..rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest.len())];
        if token.contains(':') {
            if std::mem::replace(&mut clock_seen, true) {
                return None;
            }
            parts.micros += clock_micros(token)?;
            rest = rest[token.len()..].trim_ascii_start();
        } else {
            let (amount, after) = amount(rest)?;
            let after = after.trim_ascii_start();
            let word_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let (word, after) = after.split_at(word_end);
            let unit = match word {
                "" if after.is_empty() => Unit::Micros(MICROS_PER_SECOND),
                word => unit(word)?,
            };
            parts.add(amount, unit);
            rest = after.trim_ascii_start();
        }
        any = true;
    }
    any.then_some(parts)
}

/// `[+-]hh:mm[:ss[.fraction]]`; the hours are not bounded by a day. Returns microseconds.
fn clock_micros(token: &str) -> Option<i128> {
    let (negative, token) = match token.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, token.strip_prefix('+').unwrap_or(token)),
    };
    let mut fields = token.split(':');
    let whole = |field: &str| {
        let valid = !field.is_empty()
            && field.len() <= WHOLE_DIGITS_MAX
            && field.bytes().all(|c| c.is_ascii_digit());
        valid.then(|| field.parse::<i128>().ok()).flatten()
    };
    let (hours, minutes) = (whole(fields.next()?)?, whole(fields.next()?)?);
    let seconds = match fields.next() {
        None => Amount { whole: 0, fraction: 0 },
        Some(field) if field.starts_with(|c: char| c.is_ascii_digit()) => match amount(field)? {
            (seconds, "") => seconds,
            _ => return None,
        },
        Some(_) => return None,
    };
    if fields.next().is_some() || minutes > 59 || seconds.whole > 60 {
        return None;
    }
    let whole = (hours * 60 + minutes) * 60 + seconds.whole;
    let micros = whole * MICROS_PER_SECOND + rounded(seconds.fraction * MICROS_PER_SECOND);
    Some(if negative { -micros } else { micros })
}

/// A number with an optional sign and fraction, and what follows it.
fn amount(text: &str) -> Option<(Amount, &str)> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let split = |text: &'_ str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (whole, mut rest) = rest.split_at(split(rest));
    let mut fraction = "";
    if let Some(after) = rest.strip_prefix('.') {
        (fraction, rest) = after.split_at(split(after));
    }
    if whole.is_empty() && fraction.is_empty() || whole.len() > WHOLE_DIGITS_MAX {
        return None;
    }
    let digits = |text: &mut dyn Iterator<Item = u8>| {
        text.fold(0i128, |value, d| value * 10 + i128::from(d - b'0'))
    };
    let whole = digits(&mut whole.bytes());
    let fraction =
        digits(&mut fraction.bytes().chain(std::iter::repeat(b'0')).take(FRACTION_DIGITS));
    Some((Amount { whole: sign * whole, fraction: sign * fraction }, rest))
}

fn unit(word: &str) -> Option<Unit> {
    Some(match word.to_ascii_lowercase().as_str() {
        "millennium" | "millennia" | "mil" | "mils" => Unit::Months(12_000),
        "century" | "centuries" | "cent" | "c" => Unit::Months(1_200),
        "decade" | "decades" | "dec" | "decs" => Unit::Months(120),
        "year" | "years" | "yr" | "yrs" | "y" => Unit::Months(12),
        "month" | "months" | "mon" | "mons" => Unit::Months(1),
        "week" | "weeks" | "w" => Unit::Days(7),
        "day" | "days" | "d" => Unit::Days(1),
        "hour" | "hours" | "hr" | "hrs" | "h" => Unit::Micros(3_600 * MICROS_PER_SECOND),
        "minute" | "minutes" | "min" | "mins" | "m" => Unit::Micros(60 * MICROS_PER_SECOND),
        "second" | "seconds" | "sec" | "secs" | "s" => Unit::Micros(MICROS_PER_SECOND),
        "millisecond" | "milliseconds" | "msec" | "msecs" | "ms" => Unit::Micros(1_000),
        "microsecond" | "microseconds" | "usec" | "usecs" | "us" => Unit::Micros(1),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Result<(i32, i32, i64), &'static str> {
        interval(text).map(|i| (i.months, i.days, i.nanoseconds / 1_000)).map_err(|e| e.sqlstate)
    }

    #[test]
    fn intervals_are_read_in_both_styles() {
        let clock = ((2 * 60 + 3) * 60 + 4) * 1_000_000;
        for (text, want) in [
            ("1 day 02:03:04", (0, 1, clock)),
            ("1 year 2 mons -3 days -02:03:04", (14, -3, -clock)),
            ("@ 1 hour 30 min ago", (0, 0, -5_400_000_000)),
            ("1.5 days", (0, 1, 43_200_000_000)),
            ("1.5 months", (1, 15, 0)),
            ("0.5 year", (6, 0, 0)),
            ("2 weeks", (0, 14, 0)),
            ("1h30m", (0, 0, 5_400_000_000)),
            ("90", (0, 0, 90_000_000)),
            ("1 day 90", (0, 1, 90_000_000)),
            ("00:00:00.0000005", (0, 0, 1)),
            ("100:00", (0, 0, 360_000_000_000)),
            ("P1Y2M3DT2H3M4S", (14, 3, clock)),
            ("PT0.5S", (0, 0, 500_000)),
            ("P2W", (0, 14, 0)),
            ("P-1DT-1S", (0, -1, -1_000_000)),
        ] {
            assert_eq!(parts(text), Ok(want), "{text}");
        }
        for text in [
            "",
            "P",
            "PT",
            "P1",
            "1 fortnight",
            "1 day 1:2:3:4",
            "x",
            "1 day ago x",
            "01:00 02:00",
            "é",
            "1 é",
        ] {
            assert_eq!(parts(text), Err("22007"), "{text}");
        }
        assert_eq!(parts("999999999999 days"), Err("22008"));
        assert_eq!(parts("999999999999999999 hours"), Err("22008"));
    }
}
