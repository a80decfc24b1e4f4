//! PostgreSQL's patterns for dates, times and intervals: what `to_char`, `to_timestamp` and `to_date` are told to write or
//! read.
//!
//! Owns the cutting of a pattern into its parts and the writing of a moment by them. Words are those of the C locale, with
//! and without `TM`. Invariant: every text is a valid pattern; what is no keyword stands for itself.

use std::fmt::Write;

use crate::error::{Error, Result, SqlState};

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Text that stands for itself.
    Literal(String),
    Field {
        keyword: &'static str,
        /// `FM`: without padding.
        bare: bool,
        /// `TH` or `th` behind the field.
        ordinal: Option<&'static str>,
    },
}

/// The keywords, so that the longest of those that begin alike comes first.
const KEYWORDS: &[&str] = &[
    "A.D.", "A.M.", "AD", "AM", "B.C.", "BC", "CC", "DAY", "DDD", "DD", "DY", "Day", "Dy", "D",
    "FF1", "FF2", "FF3", "FF4", "FF5", "FF6", "FX", "HH24", "HH12", "HH", "IDDD", "ID", "IW",
    "IYYY", "IYY", "IY", "I", "J", "MI", "MM", "MONTH", "MON", "MS", "Month", "Mon", "OF", "AM",
    "P.M.", "PM", "Q", "RM", "SSSSS", "SSSS", "SS", "TZH", "TZM", "TZ", "US", "WW", "W", "Y,YYY",
    "YYYY", "YYY", "YY", "Y", "a.d.", "a.m.", "ad", "am", "b.c.", "bc", "cc", "day", "ddd", "dd",
    "dy", "d", "ff1", "ff2", "ff3", "ff4", "ff5", "ff6", "fx", "hh24", "hh12", "hh", "iddd", "id",
    "iw", "iyyy", "iyy", "iy", "i", "j", "mi", "mm", "month", "mon", "ms", "of", "p.m.", "pm", "q",
    "rm", "sssss", "ssss", "ss", "tzh", "tzm", "tz", "us", "ww", "w", "y,yyy", "yyyy", "yyy", "yy",
    "y",
];

/// Cuts a pattern.
pub(super) fn parse(pattern: &str) -> Vec<Part> {
    let mut parts = vec![];
    let mut rest = pattern;
    while !rest.is_empty() {
        let (mut bare, mut translated) = (false, false);
        while let Some(prefix) = ["FM", "fm", "TM", "tm"].iter().find(|p| rest.starts_with(**p)) {
            bare |= prefix.eq_ignore_ascii_case("fm");
            translated |= prefix.eq_ignore_ascii_case("tm");
            rest = &rest[prefix.len()..];
        }
        if let Some(keyword) = KEYWORDS.iter().find(|k| rest.starts_with(**k)) {
            rest = &rest[keyword.len()..];
            let ordinal = ["TH", "th"].into_iter().find(|suffix| rest.starts_with(suffix));
            rest = ordinal.map_or(rest, |suffix| &rest[suffix.len()..]);
            // A translated word is not padded, even where the translation is its own.
            bare |= translated && matches!(keyword.to_ascii_uppercase().as_str(), "MONTH" | "DAY");
            parts.push(Part::Field { keyword, bare, ordinal });
        } else if !rest.is_empty() {
            rest = literal(rest, &mut parts);
        }
    }
    parts
}

/// Takes text in double quotes, or one character that is no keyword, off the front.
fn literal<'a>(text: &'a str, parts: &mut Vec<Part>) -> &'a str {
    let (mut value, mut chars) = (String::new(), text.chars());
    match chars.next() {
        Some('"') => {
            while let Some(c) = chars.next() {
                match c {
                    '"' => break,
                    '\\' => value.extend(chars.next()),
                    c => value.push(c),
                }
            }
        }
        Some('\\') if chars.as_str().starts_with('"') => value.extend(chars.next()),
        Some(c) => value.push(c),
        None => {}
    }
    match parts.last_mut() {
        Some(Part::Literal(before)) => before.push_str(&value),
        _ => parts.push(Part::Literal(value)),
    }
    chars.as_str()
}

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

const ROMAN_MONTHS: [&str; 12] =
    ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

/// What is known of a moment in a calendar; an interval has no [`Moment::calendar`].
#[derive(Clone, Debug)]
pub(super) struct Moment {
    /// Astronomical (0 is 1 BC), or an interval's years.
    pub year: i64,
    pub month: i64,
    pub day: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    pub micros: i64,
    pub day_of_year: i64,
    pub calendar: Option<Calendar>,
}

/// What only a moment in time has.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    /// From Sunday, which is 0.
    pub weekday: i64,
    pub iso_year: i64,
    pub iso_week: i64,
    pub julian_day: i64,
    /// The zone's abbreviation and its distance from UTC in seconds east; empty for moments without zone.
    pub zone: String,
    pub offset: i64,
}

/// Writes a moment. 22007 where an interval is asked for what it does not have.
pub(super) fn write(parts: &[Part], moment: &Moment, out: &mut String) -> Result<()> {
    for part in parts {
        match part {
            Part::Literal(text) => out.push_str(text),
            Part::Field { keyword, bare, ordinal } => {
                let start = out.len();
                write_field(keyword, *bare, moment, out)?;
                if let Some(suffix) = ordinal {
                    write_ordinal(start, suffix, out);
                }
            }
        }
    }
    Ok(())
}

/// Appends `st`, `nd`, `rd` or `th` to the number that begins at `start`; to nothing else.
pub(super) fn write_ordinal(start: usize, suffix: &str, out: &mut String) {
    let number = &out.as_bytes()[start..];
    let Some(last) = number.last().filter(|c| c.is_ascii_digit()) else { return };
    let teen = number.len() > 1 && number[number.len() - 2] == b'1';
    let ending = match last {
        b'1' if !teen => "st",
        b'2' if !teen => "nd",
        b'3' if !teen => "rd",
        _ => "th",
    };
    out.push_str(&if suffix == "TH" { ending.to_uppercase() } else { ending.to_owned() });
}

/// A number of at least `width` digits, a minus sign not counted.
fn number(value: i64, width: usize, bare: bool, out: &mut String) {
    let width = if bare { 0 } else { width + usize::from(value < 0) };
    let _ = write!(out, "{value:0width$}");
}

/// A number of at least `width` characters.
fn padded(value: i64, width: usize, bare: bool, out: &mut String) {
    let width = if bare { 0 } else { width };
    let _ = write!(out, "{value:0width$}");
}

/// A word in the case of its keyword, padded to `width`.
fn word(text: &str, keyword: &str, width: usize, bare: bool, out: &mut String) {
    let mut letters = keyword.chars().filter(|c| c.is_ascii_alphabetic());
    let first_upper = letters.next().is_some_and(|c| c.is_ascii_uppercase());
    let second_upper = letters.next().is_some_and(|c| c.is_ascii_uppercase());
    let text = match (first_upper, second_upper) {
        (true, true) => text.to_uppercase(),
        (false, _) => text.to_lowercase(),
        (true, false) => text.to_owned(),
    };
    let width = if bare { 0 } else { width };
    let _ = write!(out, "{text:width$}");
}

fn write_field(keyword: &'static str, bare: bool, m: &Moment, out: &mut String) -> Result<()> {
    match keyword.to_ascii_uppercase().as_str() {
        "HH" | "HH12" => {
            let hour = if m.hour % 12 == 0 { 12 } else { m.hour % 12 };
            number(hour, 2, bare, out);
        }
        "HH24" => number(m.hour, 2, bare, out),
        "MI" => number(m.minute, 2, bare, out),
        "SS" => number(m.second, 2, bare, out),
        "MS" => number(m.micros / 1000, 3, false, out),
        "US" => number(m.micros, 6, false, out),
        "SSSS" | "SSSSS" => number(m.hour * 3600 + m.minute * 60 + m.second, 0, bare, out),
        "AM" | "PM" => word(if m.hour % 24 >= 12 { "PM" } else { "AM" }, keyword, 0, bare, out),
        "A.M." | "P.M." => {
            word(if m.hour % 24 >= 12 { "P.M." } else { "A.M." }, keyword, 0, bare, out)
        }
        "MM" => number(m.month, 2, bare, out),
        "DD" => padded(m.day, 2, bare, out),
        "DDD" => padded(m.day_of_year, 3, bare, out),
        "WW" => padded((m.day_of_year - 1) / 7 + 1, 2, bare, out),
        "W" => number((m.day - 1) / 7 + 1, 0, bare, out),
        "Q" if m.month == 0 => {}
        "Q" => number((m.month - 1) / 3 + 1, 0, bare, out),
        "RM" if m.month == 0 && m.year == 0 => {}
        "RM" => {
            let month = (m.month - 1).rem_euclid(12) as usize;
            word(ROMAN_MONTHS[month], keyword, 4, bare, out);
        }
        "FX" => {}
        fraction if fraction.starts_with("FF") => {
            let digits = usize::from(fraction.as_bytes()[2] - b'0');
            let _ = write!(out, "{}", &format!("{:06}", m.micros)[..digits]);
        }
        "CC" | "Y,YYY" | "YYYY" | "YYY" | "YY" | "Y" => write_year(keyword, bare, m, out),
        _ => write_calendar_field(keyword, bare, m, out)?,
    }
    Ok(())
}

fn write_year(keyword: &str, bare: bool, m: &Moment, out: &mut String) {
    let shown = shown_year(m.year, m.calendar.is_some());
    match keyword.to_ascii_uppercase().as_str() {
        "CC" => {
            let century = match (&m.calendar, m.year) {
                (None, year) => year / 100,
                (Some(_), 1..) => (m.year - 1) / 100 + 1,
                (Some(_), year) => year / 100 - 1,
            };
            number(century, 2, bare, out);
        }
        "Y,YYY" => {
            let _ = write!(out, "{},{:03}", shown / 1000, shown % 1000);
        }
        "YYYY" => number(shown, 4, bare, out),
        "YYY" => number(shown % 1000, 3, bare, out),
        "YY" => number(shown % 100, 2, bare, out),
        _ => number(shown % 10, 1, bare, out),
    }
}

/// Years before Christ count from one.
fn shown_year(year: i64, dated: bool) -> i64 {
    if dated && year <= 0 { 1 - year } else { year }
}

fn write_calendar_field(
    keyword: &'static str,
    bare: bool,
    m: &Moment,
    out: &mut String,
) -> Result<()> {
    let Some(calendar) = &m.calendar else {
        return write_interval_field(keyword, bare, m, out);
    };
    let month = (m.month - 1).clamp(0, 11) as usize;
    let weekday = calendar.weekday as usize;
    let iso_weekday = if calendar.weekday == 0 { 7 } else { calendar.weekday };
    let iso_year = shown_year(calendar.iso_year, true);
    let sign = if calendar.offset < 0 { '-' } else { '+' };
    let offset = calendar.offset.abs();
    match keyword.to_ascii_uppercase().as_str() {
        "AD" | "BC" => word(if m.year <= 0 { "BC" } else { "AD" }, keyword, 0, bare, out),
        "A.D." | "B.C." => word(if m.year <= 0 { "B.C." } else { "A.D." }, keyword, 0, bare, out),
        "MONTH" => word(MONTHS[month], keyword, 9, bare, out),
        "MON" => word(&MONTHS[month][..3], keyword, 0, bare, out),
        "DAY" => word(DAYS[weekday], keyword, 9, bare, out),
        "DY" => word(&DAYS[weekday][..3], keyword, 0, bare, out),
        "D" => number(calendar.weekday + 1, 0, bare, out),
        "ID" => number(iso_weekday, 0, bare, out),
        "IDDD" => number((calendar.iso_week - 1) * 7 + iso_weekday, 3, bare, out),
        "IW" => number(calendar.iso_week, 2, bare, out),
        "IYYY" => number(iso_year, 4, bare, out),
        "IYY" => number(iso_year % 1000, 3, bare, out),
        "IY" => number(iso_year % 100, 2, bare, out),
        "I" => number(iso_year % 10, 1, bare, out),
        "J" => number(calendar.julian_day, 0, bare, out),
        "TZ" => word(&calendar.zone, keyword, 0, bare, out),
        "TZH" => {
            let _ = write!(out, "{sign}{:02}", offset / 3600);
        }
        "TZM" => {
            let _ = write!(out, "{:02}", offset % 3600 / 60);
        }
        "OF" => {
            let width = if bare { 0 } else { 2 };
            let _ = write!(out, "{sign}{:0width$}", offset / 3600);
            if offset % 3600 != 0 {
                let _ = write!(out, ":{:02}", offset % 3600 / 60);
            }
        }
        _ => return Err(Error::internal(format!("no field {keyword} of a date"))),
    }
    Ok(())
}

fn write_interval_field(
    keyword: &'static str,
    bare: bool,
    m: &Moment,
    out: &mut String,
) -> Result<()> {
    match keyword.to_ascii_uppercase().as_str() {
        "IYYY" => write_year("YYYY", bare, m, out),
        "IYY" => write_year("YYY", bare, m, out),
        "IY" => write_year("YY", bare, m, out),
        "I" => write_year("Y", bare, m, out),
        _ => {
            return Err(Error::new(
                SqlState::INVALID_DATETIME_FORMAT,
                "invalid format specification for an interval value",
            )
            .with_hint("Intervals are not tied to specific calendar dates."));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_cut_at_its_longest_keywords() {
        let field = |keyword| Part::Field { keyword, bare: false, ordinal: None };
        let literal = |text: &str| Part::Literal(text.to_owned());
        assert_eq!(
            parse("YYYY-MM-DD"),
            [field("YYYY"), literal("-"), field("MM"), literal("-"), field("DD")]
        );
        assert_eq!(
            parse("FMDDth \"of\" Month"),
            [
                Part::Field { keyword: "DD", bare: true, ordinal: Some("th") },
                literal(" of "),
                field("Month")
            ]
        );
        assert_eq!(parse("\\\"x"), [literal("\"x")]);
    }
}
