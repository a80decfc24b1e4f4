//! Reading dates and times by a pattern: `to_timestamp(text, pattern)` and `to_date(text, pattern)`.
//!
//! As PostgreSQL without `FX`: blanks in front of a field are passed over, a separator of the pattern fits any separator of
//! the text, and what the text lacks is the year's beginning. Fields of ISO weeks, Roman months, quarters, names of zones and eras
//! are refused with 0A000. Errors: 22007 for what does not fit, 22008 for what is no date.

use super::moment_pattern::{MONTHS, Part};
use crate::error::{Error, Result, SqlState};
use crate::types::{days_in_month, days_of_civil};

const MICROS_PER_SECOND: i64 = 1_000_000;

/// What was read so far.
#[derive(Default)]
struct Fields {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    julian_day: Option<i64>,
    hour: i64,
    /// The hour counts to twelve.
    half: bool,
    afternoon: Option<bool>,
    minute: i64,
    second: i64,
    micros: i64,
    second_of_day: Option<i64>,
    /// Whether a zone west of Greenwich was read, and its hours and minutes.
    west: bool,
    zone_hours: Option<i64>,
    zone_minutes: i64,
}

/// What was read: a local time, or where the text says how far east its clock is, that of a zone.
pub(super) struct Read {
    /// Days since 1970-01-01.
    pub days: i64,
    pub micros_of_day: i64,
    /// Seconds east of UTC.
    pub offset: Option<i64>,
}

/// The moment that a text says by the parts of a pattern.
pub(super) fn read(text: &str, parts: &[Part]) -> Result<Read> {
    let mut fields = Fields::default();
    let mut rest = text.trim_start();
    for (i, part) in parts.iter().enumerate() {
        match part {
            Part::Literal(literal) => rest = pass(rest, literal),
            Part::Field { keyword, bare, .. } => {
                rest = rest.trim_start();
                // PostgreSQL stops at the end of the text and leaves what follows at its default.
                if rest.is_empty() {
                    break;
                }
                // Digits that run into the next field are counted.
                let adjoins = matches!(parts.get(i + 1), Some(Part::Field { .. })) && !bare;
                rest = read_field(rest, keyword, adjoins, &mut fields)?;
            }
        }
    }
    fields.finish(text)
}

/// Passes over a pattern's literal: its separators fit any separators of the text, other characters any character.
fn pass<'a>(text: &'a str, literal: &str) -> &'a str {
    let separator = |c: char| c.is_ascii() && !c.is_ascii_alphanumeric();
    let mut rest = text;
    for c in literal.chars() {
        match rest.chars().next() {
            Some(next) if separator(c) && separator(next) => rest = &rest[next.len_utf8()..],
            Some(next) if !separator(c) => rest = &rest[next.len_utf8()..],
            _ => {}
        }
    }
    // More separators than the pattern has are passed over as well, a sign of the next field excepted.
    rest.trim_start_matches(|c: char| separator(c) && c != '-' && c != '+')
}

fn invalid(text: &str, keyword: &str) -> Error {
    let shown: String = text.chars().take(keyword.len().max(1)).collect();
    Error::new(
        SqlState::INVALID_DATETIME_FORMAT,
        format!("invalid value \"{shown}\" for \"{keyword}\""),
    )
}

fn read_field<'a>(
    text: &'a str,
    keyword: &str,
    adjoins: bool,
    fields: &mut Fields,
) -> Result<&'a str> {
    let upper = keyword.to_ascii_uppercase();
    let number = |width: usize| read_number(text, keyword, if adjoins { width } else { 18 });
    let fraction = |width: usize| -> Result<(i64, &'a str)> {
        let (_, rest) = read_number(text, keyword, width)?;
        let digits = &text[..text.len() - rest.len()];
        let micros = format!("{digits:0<6}").parse::<i64>().map_err(|_| invalid(text, keyword))?;
        Ok((micros, rest))
    };
    let (value, rest) = match upper.as_str() {
        "MONTH" | "MON" => return read_month(text, keyword, fields),
        "AM" | "PM" | "A.M." | "P.M." => {
            let found = text.get(..upper.len()).map(str::to_ascii_uppercase);
            let marker = found.filter(|f| ["AM", "PM", "A.M.", "P.M."].contains(&f.as_str()));
            let marker = marker.ok_or_else(|| invalid(text, keyword))?;
            fields.afternoon = Some(marker.starts_with('P'));
            return Ok(&text[upper.len()..]);
        }
        "DAY" | "DY" => {
            return Ok(text.trim_start_matches(|c: char| c.is_ascii_alphabetic()));
        }
        "FX" => return Ok(text),
        "TZH" | "TZM" => return read_zone(text, keyword, fields),
        "YYYY" => number(4)?,
        "YYY" => number(3)?,
        "YY" | "MM" | "DD" | "HH24" | "HH12" | "HH" | "MI" | "SS" => number(2)?,
        "Y" => number(1)?,
        "DDD" => number(3)?,
        "J" => number(18)?,
        "SSSS" | "SSSSS" => number(5)?,
        "MS" => fraction(3)?,
        "US" => fraction(6)?,
        _ => {
            return Err(Error::unsupported(format!(
                "reading \"{keyword}\" by a pattern is not supported"
            )));
        }
    };
    let digits = text.len() - rest.len();
    match upper.as_str() {
        "YYYY" => fields.year = Some(value),
        // Fewer digits mean the year nearest to 2020, as PostgreSQL has it.
        "YYY" | "YY" | "Y" => fields.year = Some(near_2020(value, digits)),
        "MM" => fields.month = Some(value),
        "DD" => fields.day = Some(value),
        "DDD" => fields.day_of_year = Some(value),
        "J" => fields.julian_day = Some(value),
        "HH24" => fields.hour = value,
        "HH12" | "HH" => (fields.hour, fields.half) = (value, true),
        "MI" => fields.minute = value,
        "SS" => fields.second = value,
        "SSSS" | "SSSSS" => fields.second_of_day = Some(value),
        _ => fields.micros = value,
    }
    Ok(rest)
}

/// The hours or minutes by which a clock is ahead of UTC, or behind it for a minus.
fn read_zone<'a>(text: &'a str, keyword: &str, fields: &mut Fields) -> Result<&'a str> {
    let (value, rest) = read_number(text, keyword, 2)?;
    if keyword.eq_ignore_ascii_case("TZH") {
        (fields.west, fields.zone_hours) = (text.starts_with('-'), Some(value.abs()));
    } else {
        fields.zone_minutes = value.abs();
    }
    Ok(rest)
}

fn near_2020(value: i64, digits: usize) -> i64 {
    match value {
        _ if digits > 3 => value,
        0..70 => value + 2000,
        70..100 => value + 1900,
        100..520 => value + 2000,
        520..1000 => value + 1000,
        other => other,
    }
}

/// A number of at most `width` digits.
fn read_number<'a>(text: &'a str, keyword: &str, width: usize) -> Result<(i64, &'a str)> {
    let signed = text.starts_with(['-', '+']);
    let body = &text[usize::from(signed)..];
    let digits = body.bytes().take(width).take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        let shown: String = text.chars().take(keyword.len()).collect();
        let error = Error::new(
            SqlState::INVALID_DATETIME_FORMAT,
            format!("invalid value \"{shown}\" for \"{keyword}\""),
        );
        return Err(error.with_detail("Value must be an integer."));
    }
    let value: i64 = body[..digits].parse().map_err(|_| invalid(text, keyword))?;
    Ok((if text.starts_with('-') { -value } else { value }, &body[digits..]))
}

fn read_month<'a>(text: &'a str, keyword: &str, fields: &mut Fields) -> Result<&'a str> {
    let short = keyword.len() == 3;
    let starts = |name: &str| text.get(..name.len()).is_some_and(|t| t.eq_ignore_ascii_case(name));
    let found = MONTHS.iter().enumerate().find_map(|(i, name)| {
        let name = if short { &name[..3] } else { name };
        starts(name).then_some((i as i64 + 1, name.len()))
    });
    let (month, length) = found.ok_or_else(|| {
        invalid(text, keyword)
            .with_detail("The given value did not match any of the allowed values for this field.")
    })?;
    fields.month = Some(month);
    Ok(&text[length..])
}

impl Fields {
    fn finish(&self, text: &str) -> Result<Read> {
        let out_of_range = || {
            Error::new(
                SqlState::DATETIME_FIELD_OVERFLOW,
                format!("date/time field value out of range: \"{text}\""),
            )
        };
        let within = |value: i64, range: std::ops::RangeInclusive<i64>| {
            if range.contains(&value) { Ok(value) } else { Err(out_of_range()) }
        };
        let hour = match (self.half, self.afternoon) {
            (true, afternoon) => {
                if !(1..=12).contains(&self.hour) {
                    let message =
                        format!("hour \"{}\" is invalid for the 12-hour clock", self.hour);
                    return Err(Error::new(SqlState::INVALID_DATETIME_FORMAT, message)
                        .with_hint("Use the 24-hour clock, or give an hour between 1 and 12."));
                }
                self.hour % 12 + if afternoon == Some(true) { 12 } else { 0 }
            }
            (false, _) => within(self.hour, 0..=24)?,
        };
        let days = self.days(&within)?;
        let seconds = match self.second_of_day {
            Some(seconds) => within(seconds, 0..=86_400)?,
            None => hour * 3600 + within(self.minute, 0..=59)? * 60 + within(self.second, 0..=59)?,
        };
        let offset = match self.zone_hours {
            None => None,
            Some(hours) => {
                let east = within(hours, 0..=15)? * 3600 + within(self.zone_minutes, 0..=59)? * 60;
                Some(if self.west { -east } else { east })
            }
        };
        let micros_of_day = seconds * MICROS_PER_SECOND + self.micros;
        Ok(Read { days, micros_of_day, offset })
    }

    fn days(
        &self,
        within: &dyn Fn(i64, std::ops::RangeInclusive<i64>) -> Result<i64>,
    ) -> Result<i64> {
        if let Some(julian) = self.julian_day {
            return Ok(within(julian, 0..=2_147_483_493)? - 2_440_588);
        }
        // A year that is not given is 1 BC, as in PostgreSQL, where to_timestamp('10', 'HH24') is a time of that year.
        let year = within(self.year.unwrap_or(0), -4713..=5_874_897)?;
        if let Some(day) = self.day_of_year {
            let leap = days_in_month(year, 2) == 29;
            return Ok(
                days_of_civil(year, 1, 1) + within(day, 1..=if leap { 366 } else { 365 })? - 1
            );
        }
        let month = within(self.month.unwrap_or(1), 1..=12)? as u32;
        let day = within(self.day.unwrap_or(1), 1..=days_in_month(year, month).into())? as u32;
        Ok(days_of_civil(year, month, day))
    }
}
