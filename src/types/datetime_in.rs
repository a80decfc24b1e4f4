//! Dates, times and time stamps read as PostgreSQL's input functions read them, with DateStyle "ISO, MDY".
//!
//! The text is cut into fields in any order: a date in one of several notations, a clock time, a zone, an era. Words
//! whose meaning depends on the clock (`now`, `today` ...) are refused: nothing here reads it.

use super::calendar::{MICROS_PER_DAY, MICROS_PER_SECOND, days_in_month, days_of_civil};
use super::style::TimeZone;
use crate::error::{Error, Result, SqlState};

/// PostgreSQL's range: 4713-11-24 BC to 5874897 for dates and to 294276 for time stamps. Arrow counts microseconds from
/// 1970, not 2000, so time stamps end thirty years earlier, in January 294247.
const YEAR_MIN: i64 = -4712;
const DATE_YEAR_MAX: i64 = 5_874_897;
const TIMESTAMP_YEAR_MAX: i64 = 294_247;
/// A zone in a value lies less than this many seconds from UTC.
const ZONE_SECONDS_LIMIT: i32 = 16 * 3600;

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] =
    ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

/// Zone abbreviations of PostgreSQL's default set that are in wide use, in hours east.
const ABBREVIATIONS: [(&str, f64); 31] = [
    ("z", 0.0),
    ("zulu", 0.0),
    ("ut", 0.0),
    ("utc", 0.0),
    ("gmt", 0.0),
    ("wet", 0.0),
    ("bst", 1.0),
    ("west", 1.0),
    ("cet", 1.0),
    ("met", 1.0),
    ("cest", 2.0),
    ("eet", 2.0),
    ("sast", 2.0),
    ("eest", 3.0),
    ("msk", 3.0),
    ("jst", 9.0),
    ("kst", 9.0),
    ("aest", 10.0),
    ("aedt", 11.0),
    ("nzst", 12.0),
    ("nzdt", 13.0),
    ("est", -5.0),
    ("edt", -4.0),
    ("cst", -6.0),
    ("cdt", -5.0),
    ("mst", -7.0),
    ("mdt", -6.0),
    ("pst", -8.0),
    ("pdt", -7.0),
    ("hst", -10.0),
    ("akst", -9.0),
];

enum Failure {
    Syntax,
    Field,
    Displacement,
    Zone(String),
}

impl Failure {
    fn into_error(self, text: &str, type_name: &str) -> Error {
        match self {
            Failure::Syntax => {
                let message = format!("invalid input syntax for type {type_name}: \"{text}\"");
                Error::new(SqlState::INVALID_DATETIME_FORMAT, message)
            }
            Failure::Field => {
                let message = format!("date/time field value out of range: \"{text}\"");
                Error::new(SqlState::DATETIME_FIELD_OVERFLOW, message)
            }
            Failure::Displacement => {
                let message = format!("time zone displacement out of range: \"{text}\"");
                Error::new(SqlState("22009"), message)
            }
            Failure::Zone(name) => {
                let message = format!("time zone \"{name}\" not recognized");
                Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
            }
        }
    }
}

#[derive(Default)]
struct Fields {
    date: Option<(i64, u32, u32)>,
    micros_of_day: Option<i64>,
    zone: Option<TimeZone>,
    before_christ: bool,
    /// A month given by name, and numbers on their own that go with it.
    month: Option<u32>,
    numbers: Vec<(i64, usize)>,
    afternoon: Option<bool>,
}

enum Moment {
    Infinity,
    MinusInfinity,
    Epoch,
    Fields(Fields),
}

/// Days since 1970. Errors: 22007, 22008.
pub fn parse_date(text: &str) -> Result<i32> {
    let fail = |f: Failure| f.into_error(text, "date");
    match read(text).map_err(fail)? {
        Moment::Infinity => Ok(i32::MAX),
        Moment::MinusInfinity => Ok(i32::MIN),
        Moment::Epoch => Ok(0),
        Moment::Fields(fields) => {
            let (year, month, day) = fields.date.ok_or_else(|| fail(Failure::Syntax))?;
            if !(YEAR_MIN..=DATE_YEAR_MAX).contains(&year) {
                let message = format!("date out of range: \"{text}\"");
                return Err(Error::new(SqlState::DATETIME_FIELD_OVERFLOW, message));
            }
            Ok(days_of_civil(year, month, day) as i32)
        }
    }
}

/// Microseconds of the day, at most those of 24:00:00. Errors: 22007, 22008.
pub fn parse_time(text: &str) -> Result<i64> {
    let fail = |f: Failure| f.into_error(text, "time");
    let trimmed = text.trim();
    if trimmed.eq_ignore_ascii_case("allballs") {
        return Ok(0);
    }
    let digits_end = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    if matches!(digits_end, 4 | 6) && !trimmed[digits_end..].starts_with(['-', '/', ':']) {
        let mut scanner = Scanner { rest: trimmed };
        return scanner
            .compact_time()
            .filter(|_| scanner.rest.is_empty())
            .ok_or_else(|| fail(Failure::Syntax))?
            .map_err(fail);
    }
    match read(text).map_err(fail)? {
        Moment::Fields(fields) => fields.micros_of_day.ok_or_else(|| fail(Failure::Syntax)),
        _ => Err(fail(Failure::Syntax)),
    }
}

/// Microseconds since 1970 on the text's own clock; a zone in it is ignored, as PostgreSQL does. Errors: 22007, 22008.
pub fn parse_timestamp(text: &str) -> Result<i64> {
    timestamp(text, "timestamp", |_, _| 0)
}

/// Microseconds since 1970 UTC; without a zone in the text, the session's counts. Errors: 22007, 22008, 22009, 22023.
pub fn parse_timestamptz(text: &str, session_zone: &TimeZone) -> Result<i64> {
    timestamp(text, "timestamp with time zone", |local, zone| {
        zone.unwrap_or(session_zone).offset_at_local(local)
    })
}

fn timestamp(
    text: &str,
    type_name: &str,
    offset: impl Fn(i64, Option<&TimeZone>) -> i32,
) -> Result<i64> {
    let fail = |f: Failure| f.into_error(text, type_name);
    let fields = match read(text).map_err(fail)? {
        Moment::Infinity => return Ok(i64::MAX),
        Moment::MinusInfinity => return Ok(i64::MIN),
        Moment::Epoch => return Ok(0),
        Moment::Fields(fields) => fields,
    };
    let (year, month, day) = fields.date.ok_or_else(|| fail(Failure::Syntax))?;
    let out_of_range = || {
        let message = format!("timestamp out of range: \"{text}\"");
        Error::new(SqlState::DATETIME_FIELD_OVERFLOW, message)
    };
    if !(YEAR_MIN..=TIMESTAMP_YEAR_MAX).contains(&year) {
        return Err(out_of_range());
    }
    let days = days_of_civil(year, month, day);
    let local = days
        .checked_mul(MICROS_PER_DAY)
        .and_then(|d| d.checked_add(fields.micros_of_day.unwrap_or(0)));
    let local = local.ok_or_else(out_of_range)?;
    let offset = i64::from(offset(local, fields.zone.as_ref())) * MICROS_PER_SECOND;
    local.checked_sub(offset).filter(|micros| *micros != i64::MAX).ok_or_else(out_of_range)
}

fn read(text: &str) -> Result<Moment, Failure> {
    let trimmed = text.trim();
    match trimmed.to_ascii_lowercase().as_str() {
        "infinity" | "+infinity" => return Ok(Moment::Infinity),
        "-infinity" => return Ok(Moment::MinusInfinity),
        "epoch" => return Ok(Moment::Epoch),
        "" => return Err(Failure::Syntax),
        _ => {}
    }
    let mut scanner = Scanner { rest: trimmed };
    let mut fields = Fields::default();
    loop {
        scanner.rest = scanner.rest.trim_start_matches([' ', ',', '\t', '\n']);
        let Some(first) = scanner.rest.chars().next() else {
            break;
        };
        match first {
            '0'..='9' => fields.number(&mut scanner)?,
            '+' | '-' if fields.micros_of_day.is_some() && fields.zone.is_none() => {
                fields.zone = Some(TimeZone::Fixed(scanner.displacement()?));
            }
            c if c.is_ascii_alphabetic() => fields.word(&mut scanner)?,
            _ => return Err(Failure::Syntax),
        }
    }
    fields.finish().map(Moment::Fields)
}

struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn take(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !accept(c)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        token
    }

    fn digits(&mut self) -> &'a str {
        self.take(|c| c.is_ascii_digit())
    }

    fn eat(&mut self, c: char) -> bool {
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// `:mm[:ss[.f]]` after the hours.
    fn clock(&mut self, hours: &str) -> Result<i64, Failure> {
        self.eat(':');
        let minutes = self.digits();
        let seconds = if self.eat(':') { self.digits() } else { "0" };
        if minutes.is_empty() || seconds.is_empty() || minutes.len() > 2 || seconds.len() > 2 {
            return Err(Failure::Syntax);
        }
        let fraction = self.fraction_micros();
        clock_micros(small(hours)?, small(minutes)?, small(seconds)?, fraction)
    }

    /// `hhmm` or `hhmmss[.f]`; `None` when the digits are of another number.
    fn compact_time(&mut self) -> Option<Result<i64, Failure>> {
        let digits = self.digits();
        let part =
            |range: std::ops::Range<usize>| digits.get(range).and_then(|d| d.parse::<i64>().ok());
        let (hours, minutes) = (part(0..2)?, part(2..4)?);
        let seconds = match digits.len() {
            4 => 0,
            6 => part(4..6)?,
            _ => return None,
        };
        let fraction = self.fraction_micros();
        Some(clock_micros(hours, minutes, seconds, fraction))
    }

    /// A point and digits, rounded to microseconds.
    fn fraction_micros(&mut self) -> i64 {
        let rest_before = self.rest;
        if !self.eat('.') {
            return 0;
        }
        let digits = self.digits();
        if digits.is_empty() {
            self.rest = rest_before.strip_prefix('.').unwrap_or(rest_before);
            return 0;
        }
        let value: f64 = format!("0.{digits}").parse().unwrap_or(0.0);
        (value * 1e6).round_ties_even() as i64
    }

    /// `+hh`, `+hhmm`, `+hh:mm`, `+hh:mm:ss`, in seconds east.
    fn displacement(&mut self) -> Result<i32, Failure> {
        let negative = self.rest.starts_with('-');
        self.rest = &self.rest[1..];
        let first = self.digits();
        let (hours, minutes, seconds) = match first.len() {
            1 | 2 => {
                let minutes = if self.eat(':') { self.digits() } else { "0" };
                let seconds = if self.eat(':') { self.digits() } else { "0" };
                (first, minutes, seconds)
            }
            3 | 4 => (&first[..first.len() - 2], &first[first.len() - 2..], "0"),
            6 => (&first[..2], &first[2..4], &first[4..]),
            _ => return Err(Failure::Syntax),
        };
        let (hours, minutes, seconds) = (small(hours)?, small(minutes)?, small(seconds)?);
        if hours > 15 || minutes > 59 || seconds > 59 {
            return Err(Failure::Displacement);
        }
        let total = (hours * 3600 + minutes * 60 + seconds) as i32;
        debug_assert!(total < ZONE_SECONDS_LIMIT);
        Ok(if negative { -total } else { total })
    }
}

/// At most seven digits as a number.
fn small(digits: &str) -> Result<i64, Failure> {
    match digits.len() {
        0 => Err(Failure::Syntax),
        1..=7 => digits.parse().map_err(|_| Failure::Syntax),
        _ => Err(Failure::Field),
    }
}

fn clock_micros(hours: i64, minutes: i64, seconds: i64, fraction: i64) -> Result<i64, Failure> {
    let micros = ((hours * 60 + minutes) * 60 + seconds) * MICROS_PER_SECOND + fraction;
    let in_range = minutes < 60 && seconds <= 60 && micros <= MICROS_PER_DAY;
    if in_range { Ok(micros) } else { Err(Failure::Field) }
}

fn month_of_name(word: &str) -> Option<u32> {
    let found = MONTHS.iter().position(|m| *m == word || &m[..3] == word);
    found.map(|i| i as u32 + 1).or((word == "sept").then_some(9))
}

fn is_weekday(word: &str) -> bool {
    WEEKDAYS.iter().any(|d| *d == word || &d[..3] == word)
        || matches!(word, "tues" | "wednes" | "thur" | "thurs")
}

impl Fields {
    fn number(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Failure> {
        let digits = scanner.digits();
        let next = scanner.rest.as_bytes().first().copied();
        let after = scanner.rest.as_bytes().get(1).copied().unwrap_or(b' ');
        match next {
            Some(b':') if self.micros_of_day.is_none() => {
                self.micros_of_day = Some(scanner.clock(digits)?);
                Ok(())
            }
            Some(separator @ (b'-' | b'/' | b'.'))
                if self.date.is_none() && self.month.is_none() && after.is_ascii_alphanumeric() =>
            {
                self.separated_date(digits, separator as char, scanner)
            }
            _ if digits.len() == 8 && self.date.is_none() && self.month.is_none() => {
                let (year, rest) = digits.split_at(4);
                self.set_date(small(year)?, small(&rest[..2])?, small(&rest[2..])?)
            }
            _ if matches!(digits.len(), 4 | 6)
                && self.date.is_some()
                && self.micros_of_day.is_none() =>
            {
                let mut compact = Scanner { rest: digits };
                let time = compact.compact_time().ok_or(Failure::Syntax)??;
                self.micros_of_day = Some(time + scanner.fraction_micros());
                Ok(())
            }
            _ => {
                self.numbers.push((small(digits)?, digits.len()));
                Ok(())
            }
        }
    }

    /// `1999-01-08`, `1/8/1999`, `08-Jan-1999`, `1999-Jan-08`.
    fn separated_date(
        &mut self,
        first: &str,
        separator: char,
        scanner: &mut Scanner<'_>,
    ) -> Result<(), Failure> {
        scanner.eat(separator);
        let second = scanner.take(|c| c.is_ascii_alphanumeric());
        if !scanner.eat(separator) {
            return Err(Failure::Syntax);
        }
        let third = scanner.digits();
        let named = month_of_name(&second.to_ascii_lowercase());
        let numeric = second.bytes().all(|b| b.is_ascii_digit());
        if third.is_empty() || (!numeric && named.is_none()) {
            return Err(Failure::Syntax);
        }
        let year_first = first.len() >= 3;
        match (named, year_first) {
            (Some(month), true) => self.set_date(small(first)?, i64::from(month), small(third)?),
            (Some(month), false) => self.set_date(year_of(third)?, i64::from(month), small(first)?),
            (None, true) => self.set_date(small(first)?, small(second)?, small(third)?),
            (None, false) => self.set_date(year_of(third)?, small(first)?, small(second)?),
        }
    }

    fn set_date(&mut self, year: i64, month: i64, day: i64) -> Result<(), Failure> {
        if self.date.is_some() {
            return Err(Failure::Syntax);
        }
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return Err(Failure::Field);
        }
        self.date = Some((year, month as u32, day as u32));
        Ok(())
    }

    fn word(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Failure> {
        let start = scanner.rest;
        let word = scanner.take(|c| c.is_ascii_alphabetic()).to_ascii_lowercase();
        if let Some(month) = month_of_name(&word).filter(|_| self.month.is_none()) {
            self.month = Some(month);
            // `Jan-08-1999`: the dashes only separate.
            scanner.rest = scanner.rest.trim_start_matches('-');
            if let Some((day, year)) = dashed_pair(scanner.rest) {
                let length = day.len() + 1 + year.len();
                self.numbers.extend([(small(day)?, day.len()), (small(year)?, year.len())]);
                scanner.rest = &scanner.rest[length..];
            }
            return Ok(());
        }
        match word.as_str() {
            "t" if scanner.rest.starts_with(|c: char| c.is_ascii_digit()) => return Ok(()),
            "bc" => self.before_christ = true,
            "ad" => {}
            "am" | "pm" => self.afternoon = Some(word == "pm"),
            _ if is_weekday(&word) => {}
            _ => {
                scanner.rest = start;
                let name = scanner
                    .take(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+'));
                self.zone = Some(zone_of_name(name)?);
            }
        }
        Ok(())
    }

    /// Puts a named month together with its day and year, applies am/pm and the era, and checks the day.
    fn finish(mut self) -> Result<Fields, Failure> {
        if let Some(month) = self.month {
            let (day, year) = match self.numbers.as_slice() {
                // `1999 January 8` and `January 8 1999` and `8 January 1999`.
                [(year, len), (day, _)] if *len >= 3 => (*day, *year),
                [(day, _), (year, len)] => (*day, windowed(*year, *len)),
                _ => return Err(Failure::Syntax),
            };
            self.set_date(year, i64::from(month), day)?;
        } else if !self.numbers.is_empty() {
            return Err(Failure::Syntax);
        }
        if let Some(afternoon) = self.afternoon {
            const HALF_DAY: i64 = MICROS_PER_DAY / 2;
            let micros = self.micros_of_day.ok_or(Failure::Syntax)?;
            if micros >= HALF_DAY + 3600 * MICROS_PER_SECOND {
                return Err(Failure::Field);
            }
            self.micros_of_day = Some(micros % HALF_DAY + if afternoon { HALF_DAY } else { 0 });
        }
        if let Some((year, month, day)) = self.date {
            if year == 0 {
                return Err(Failure::Field);
            }
            let year = if self.before_christ { 1 - year } else { year };
            if day > days_in_month(year, month) {
                return Err(Failure::Field);
            }
            self.date = Some((year, month, day));
        }
        Ok(self)
    }
}

/// `dd-yyyy` at the start of `text`.
fn dashed_pair(text: &str) -> Option<(&str, &str)> {
    let (day, rest) = text.split_once('-')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let year = &rest[..end];
    let day_only = !day.is_empty() && day.bytes().all(|b| b.is_ascii_digit());
    (day_only && !year.is_empty()).then_some((day, year))
}

fn year_of(digits: &str) -> Result<i64, Failure> {
    Ok(windowed(small(digits)?, digits.len()))
}

/// Years of two digits lie between 1970 and 2069.
fn windowed(year: i64, digits: usize) -> i64 {
    match year {
        0..=69 if digits <= 2 => year + 2000,
        70..=99 if digits <= 2 => year + 1900,
        _ => year,
    }
}

fn zone_of_name(name: &str) -> Result<TimeZone, Failure> {
    let lower = name.to_ascii_lowercase();
    if let Some((_, hours)) = ABBREVIATIONS.iter().find(|(n, _)| *n == lower) {
        return Ok(TimeZone::Fixed((hours * 3600.0) as i32));
    }
    match TimeZone::parse(name) {
        Some(zone) => Ok(zone),
        // A slash can only be part of a zone's name; other unknown words make the whole text wrong.
        None if name.contains('/') => Err(Failure::Zone(lower)),
        None => Err(Failure::Syntax),
    }
}
