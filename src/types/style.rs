//! How a session wants values written: its time zone and the output settings that PostgreSQL has.
//!
//! DateStyle is always ISO in output. Invariant: a style is cheap to copy and never changes
//! while a statement runs.

use chrono::{Offset, TimeZone as _};
use chrono_tz::{OffsetName, Tz};

use super::DateOrder;
use super::calendar::{MICROS_PER_SECOND, civil_of_days, days_of_civil, split_micros};

/// IntervalStyle, as far as it is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IntervalStyle {
    #[default]
    Postgres,
    Iso8601,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ByteaOutput {
    #[default]
    Hex,
    Escape,
}

/// Everything that decides how a value is written as text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextStyle {
    pub time_zone: TimeZone,
    pub date_order: DateOrder,
    pub interval_style: IntervalStyle,
    pub bytea_output: ByteaOutput,
    /// 1 and above: the shortest digits that read back the same; below: 15 (6 for real) plus this many digits.
    pub extra_float_digits: i32,
}

impl Default for TextStyle {
    fn default() -> TextStyle {
        TextStyle {
            time_zone: TimeZone::UTC,
            date_order: DateOrder::Mdy,
            interval_style: IntervalStyle::Postgres,
            bytea_output: ByteaOutput::Hex,
            extra_float_digits: 1,
        }
    }
}

/// A zone of the IANA database, or a fixed distance from UTC.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TimeZone {
    Named(Tz),
    /// Seconds east of UTC.
    Fixed(i32),
}

/// Widest displacement PostgreSQL takes, in seconds: just under 168 hours for zones, but 15:59:59 in values.
const FIXED_SECONDS_MAX: f64 = 167.0 * 3600.0;

impl TimeZone {
    pub const UTC: TimeZone = TimeZone::Named(Tz::UTC);

    /// What `SET TimeZone` takes: a zone's name in any case, a plain number of hours east ('-7', '5.5'), or a POSIX
    /// specification, whose sign counts the other way ('UTC+3' and '+03:00' are west of Greenwich).
    pub fn parse(text: &str) -> Option<TimeZone> {
        let text = text.trim();
        if let Ok(hours) = text.parse::<f64>() {
            let seconds = hours * 3600.0;
            return (seconds.abs() <= FIXED_SECONDS_MAX).then_some(TimeZone::Fixed(seconds as i32));
        }
        let spelled = |zone: &&Tz| zone.name().eq_ignore_ascii_case(text);
        let zone =
            text.parse().ok().or_else(|| chrono_tz::TZ_VARIANTS.iter().find(spelled).copied());
        if let Some(zone) = zone {
            return Some(TimeZone::Named(zone));
        }
        posix_zone(text).map(TimeZone::Fixed)
    }

    /// The name that SHOW TimeZone gives.
    pub fn name(&self) -> String {
        match self {
            TimeZone::Named(zone) => zone.name().to_owned(),
            TimeZone::Fixed(seconds) => {
                let (sign, west) = if *seconds < 0 { ('-', '+') } else { ('+', '-') };
                let hours = seconds.abs() / 3600;
                let minutes = seconds.abs() % 3600 / 60;
                let tail = if minutes == 0 { String::new() } else { format!(":{minutes:02}") };
                format!("<{sign}{hours:02}{tail}>{west}{hours:02}{tail}")
            }
        }
    }

    /// Seconds east of UTC at an instant, in microseconds since 1970 UTC.
    pub fn offset_at_instant(&self, micros: i64) -> i32 {
        match self {
            TimeZone::Fixed(seconds) => *seconds,
            TimeZone::Named(Tz::UTC) => 0,
            TimeZone::Named(zone) => {
                zone.offset_from_utc_datetime(&naive(micros)).fix().local_minus_utc()
            }
        }
    }

    /// What the zone is called at an instant, such as `CEST`; a fixed distance is called by itself.
    pub fn abbreviation_at(&self, micros: i64) -> String {
        match self {
            TimeZone::Named(zone) => zone
                .offset_from_utc_datetime(&naive(micros))
                .abbreviation()
                .map_or_else(|| self.name(), str::to_owned),
            TimeZone::Fixed(seconds) => {
                let sign = if *seconds < 0 { '-' } else { '+' };
                let (hours, minutes) = (seconds.abs() / 3600, seconds.abs() % 3600 / 60);
                let tail = if minutes == 0 { String::new() } else { format!(":{minutes:02}") };
                format!("{sign}{hours:02}{tail}")
            }
        }
    }

    /// Seconds east of UTC for a local time, in microseconds since 1970 on the local clock. As PostgreSQL does, a time
    /// that a spring-forward skips is read by the offset before it, and an ambiguous one by standard time (the later instant).
    pub fn offset_at_local(&self, micros: i64) -> i32 {
        let TimeZone::Named(zone) = self else {
            return self.offset_at_instant(micros);
        };
        let local = naive(micros);
        match zone.offset_from_local_datetime(&local) {
            chrono::LocalResult::Single(offset) => offset.fix().local_minus_utc(),
            chrono::LocalResult::Ambiguous(a, b) => {
                a.fix().local_minus_utc().min(b.fix().local_minus_utc())
            }
            chrono::LocalResult::None => {
                self.offset_at_instant(micros.saturating_sub(86_400 * MICROS_PER_SECOND))
            }
        }
    }
}

/// chrono's date for microseconds since 1970, moved by whole 400-year cycles into the range that chrono has.
fn naive(micros: i64) -> chrono::NaiveDateTime {
    let (days, micros_of_day) = split_micros(micros);
    let (year, month, day) = civil_of_days(days);
    let year =
        if (-200_000..=200_000).contains(&year) { year } else { year.rem_euclid(400) + 2000 };
    let days = days_of_civil(year, month, day);
    let seconds = days * 86_400 + micros_of_day / MICROS_PER_SECOND;
    chrono::DateTime::from_timestamp(seconds, 0).map(|d| d.naive_utc()).unwrap_or_default()
}

/// `[letters or <name>](+|-)hh[:mm[:ss]]`, positive to the west; the result is seconds east.
fn posix_zone(text: &str) -> Option<i32> {
    let rest = match text.strip_prefix('<') {
        Some(named) => named.split_once('>')?.1,
        None => text.trim_start_matches(|c: char| c.is_ascii_alphabetic()),
    };
    let (west, digits) = match rest.as_bytes().first()? {
        b'+' => (1, &rest[1..]),
        b'-' => (-1, &rest[1..]),
        b'0'..=b'9' => (1, rest),
        _ => return None,
    };
    let mut seconds = 0;
    for (i, part) in digits.split(':').enumerate() {
        let value: i32 = part.parse().ok().filter(|v| (0..=167).contains(v))?;
        seconds += value * [3600, 60, 1].get(i)?;
    }
    Some(-west * seconds)
}
