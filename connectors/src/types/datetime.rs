//! Dates, times and timestamps from ISO 8601 text, with the liberties PostgreSQL takes with it.
//!
//! All three share one left-to-right scan of `YYYY-MM-DD`, a separator (`T` or spaces), `hh:mm[:ss[.fraction]]` and
//! an optional zone. Calendar dates are proleptic Gregorian. Day names, month names, other field orders and the
//! special words (now, today, infinity, epoch) are refused, since their meaning depends on settings or on the clock.

use arrow_schema::TimeUnit;

use super::{Invalid, Number};

const SECONDS_PER_DAY: i64 = 86_400;
const NANOS_PER_SECOND: i64 = 1_000_000_000;
/// Years may have this many digits: past PostgreSQL's last year, 294276, and far inside i64.
const YEAR_DIGITS_MAX: usize = 6;
/// The length of `YYYY-MM-DD hh:mm`.
pub const MINUTE_TEXT_BYTES: usize = 16;

/// Why a scan stopped; the caller has the text and the type's name for the message.
enum Fault {
    Syntax,
    /// The text is well formed, but there is no such day or time.
    Range,
}

impl Fault {
    fn of(self, type_name: &str, text: &str) -> Invalid {
        match self {
            Fault::Syntax => Invalid::datetime_syntax(type_name, text.as_bytes()),
            Fault::Range => Invalid::field_out_of_range(text.as_bytes()),
        }
    }
}

/// How many of `unit` make a second.
pub fn units_per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => NANOS_PER_SECOND,
    }
}

/// Days since 1970-01-01. A time of day (and zone) after the date must be valid and is then ignored, as PostgreSQL
/// does.
pub fn date(text: &str) -> Result<i32, Invalid> {
    let mut scan = Scan::new(text);
    let days =
        scan.date_and_time(|days, _, _, _| Ok(days)).map_err(|fault| fault.of("date", text))?;
    i32::try_from(days).map_err(|_| Fault::Range.of("date", text))
}

/// Microseconds since midnight, 24:00:00 included. A zone must be valid and is then ignored, as PostgreSQL does.
pub fn time(text: &str) -> Result<i64, Invalid> {
    let mut scan = Scan::new(text);
    scan.only_time().map_err(|fault| fault.of("time", text))
}

/// `unit`s since 1970-01-01 00:00:00, the fraction rounded half up to the unit.
///
/// With `zoned` (timestamp with time zone) the zone's offset is taken off to give UTC, and a text without a zone is
/// taken as UTC; without it the zone must be valid and is then ignored, as PostgreSQL does. A date alone is its
/// midnight.
pub fn timestamp(text: &str, unit: TimeUnit, zoned: bool) -> Result<i64, Invalid> {
    let per_second = units_per_second(unit);
    let mut scan = Scan::new(text);
    let instant = scan.date_and_time(|days, seconds, nanos, offset| {
        let seconds = days * SECONDS_PER_DAY + seconds - if zoned { offset } else { 0 };
        let nanos_per_unit = NANOS_PER_SECOND / per_second;
        let fraction = (nanos + nanos_per_unit / 2) / nanos_per_unit;
        seconds
            .checked_mul(per_second)
            .and_then(|units| units.checked_add(fraction))
            .ok_or(Fault::Range)
    });
    let type_name = if zoned { "timestamp with time zone" } else { "timestamp" };
    instant.map_err(|fault| fault.of(type_name, text))
}

/// What a number counts that is to be a time: seconds, milliseconds, microseconds or nanoseconds since 1970, the one by
/// which it is nearest to our days. Each reaches from 1973 to 5138, so that no two of them are in doubt. Returned as the
/// power of ten in a second.
fn digits_counted(magnitude: u128) -> i32 {
    match magnitude {
        0..100_000_000_000 => 0,
        100_000_000_000..100_000_000_000_000 => 3,
        100_000_000_000_000..100_000_000_000_000_000 => 6,
        _ => 9,
    }
}

fn digits_of(unit: TimeUnit) -> i32 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

/// A number as a timestamp in `unit`s since 1970, rounded half away from zero; `None` past i64. See [`digits_counted`] for
/// what the number counts; it may have a fraction.
pub fn timestamp_from_number(number: &Number<'_>, unit: TimeUnit) -> Option<i64> {
    let counted = digits_counted(number.shifted(0)?.unsigned_abs());
    number.shifted(digits_of(unit) - counted)?.try_into().ok()
}

/// The same of a whole number; `None` also where it would have to be rounded.
pub fn timestamp_from_count(value: i64, unit: TimeUnit) -> Option<i64> {
    let power = digits_of(unit) - digits_counted(value.unsigned_abs().into());
    value.checked_mul(10i64.pow(power.try_into().ok()?))
}

/// Minutes since 1970 of exactly `YYYY-MM-DD hh:mm` or `YYYY-MM-DDThh:mm`, the prefix that neighbouring timestamps
/// share; `None` where it is anything else, midnight as 24:00 included.
pub fn minute(text: &[u8; MINUTE_TEXT_BYTES]) -> Option<i64> {
    let two = |at: usize| match (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0')) {
        (tens @ 0..=9, ones @ 0..=9) => Some(i64::from(tens) * 10 + i64::from(ones)),
        _ => None,
    };
    if text[4] != b'-' || text[7] != b'-' || !matches!(text[10], b' ' | b'T') || text[13] != b':' {
        return None;
    }
    let (year, month, day) = (two(0)? * 100 + two(2)?, two(5)?, two(8)?);
    let (hour, minute) = (two(11)?, two(14)?);
    if year < 1 || hour > 23 || minute > 59 {
        return None;
    }
    Some((days_from_civil(year, month, day)? * 24 + hour) * 60 + minute)
}

/// Days since 1970-01-01 of a proleptic Gregorian date (year 0 is 1 BC); `None` where there is no such day. The
/// formula counts days in eras of 400 years that begin in March, so that the leap day ends its year (H. Hinnant,
/// "chrono- compatible low-level date algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0);
    let month_days = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=month_days).contains(&day) {
        return None;
    }
    let march_year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (march_year.div_euclid(400), march_year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// `YYYY-MM-DDThh:mm:ss[.fraction]` of a count since 1970, with ` BC` behind years before the first; `None` past the years
/// that a text may have.
pub fn iso_timestamp(count: i64, per_second: i64) -> Option<String> {
    let (seconds, fraction) = (count.div_euclid(per_second), count.rem_euclid(per_second));
    let (days, of_day) = (seconds.div_euclid(SECONDS_PER_DAY), seconds.rem_euclid(SECONDS_PER_DAY));
    let (year, month, day) = civil_from_days(days);
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    if year >= 10i64.pow(YEAR_DIGITS_MAX as u32) {
        return None;
    }
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    let digits = per_second.ilog10() as usize;
    let fraction = if fraction == 0 { String::new() } else { format!(".{fraction:0digits$}") };
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{era}"))
}

/// The year, month and day of days since 1970-01-01: [`days_from_civil`] turned round.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// A position in the text, which only moves forward.
struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    fn new(text: &'a str) -> Self {
        Scan { rest: text.trim_ascii().as_bytes() }
    }

    /// A date, an optional time, an optional zone and an optional ` BC`, given to `make` as days since 1970, seconds
    /// of the day, nanoseconds of the second and the zone's seconds east of Greenwich.
    fn date_and_time<T>(
        &mut self,
        make: impl Fn(i64, i64, i64, i64) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let before_christ = self.rest.ends_with(b" BC");
        if before_christ {
            self.rest = &self.rest[..self.rest.len() - 3];
        }
        let year = self.digits(4, YEAR_DIGITS_MAX)?;
        self.expect(b'-')?;
        let month = self.digits(1, 2)?;
        self.expect(b'-')?;
        let day = self.digits(1, 2)?;
        let (mut seconds, mut nanos, mut offset) = (0, 0, 0);
        if self.take(b'T')
            || self.take(b't')
            || self.spaces() && self.rest.first().is_some_and(u8::is_ascii_digit)
        {
            (seconds, nanos) = self.time_of_day()?;
            offset = self.zone()?;
        }
        if !self.rest.is_empty() {
            return Err(Fault::Syntax);
        }
        if year == 0 {
            return Err(Fault::Range);
        }
        let year = if before_christ { 1 - year } else { year };
        make(days_from_civil(year, month, day).ok_or(Fault::Range)?, seconds, nanos, offset)
    }

    fn only_time(&mut self) -> Result<i64, Fault> {
        let (seconds, nanos) = self.time_of_day()?;
        self.zone()?;
        if !self.rest.is_empty() {
            return Err(Fault::Syntax);
        }
        let micros = seconds * 1_000_000 + (nanos + 500) / 1_000;
        if micros > SECONDS_PER_DAY * 1_000_000 { Err(Fault::Range) } else { Ok(micros) }
    }

    /// `hh:mm[:ss[.fraction]]` as seconds and nanoseconds. A 60th second and 24:00:00 count on into what follows.
    fn time_of_day(&mut self) -> Result<(i64, i64), Fault> {
        let hour = self.digits(1, 2)?;
        self.expect(b':')?;
        let minute = self.digits(2, 2)?;
        let (mut second, mut nanos) = (0, 0);
        if self.take(b':') {
            second = self.digits(2, 2)?;
            if self.take(b'.') {
                nanos = self.fraction()?;
            }
        }
        let seconds = (hour * 60 + minute) * 60 + second;
        let beyond_midnight = hour == 24 && (minute > 0 || second > 0 || nanos > 0);
        if hour > 24 || minute > 59 || second > 60 || beyond_midnight {
            return Err(Fault::Range);
        }
        Ok((seconds, nanos))
    }

    /// Digits after the point as nanoseconds; those past the ninth are cut off.
    fn fraction(&mut self) -> Result<i64, Fault> {
        let digits = self.rest.iter().take_while(|c| c.is_ascii_digit()).count();
        let (fraction, rest) = self.rest.split_at(digits);
        self.rest = rest;
        if digits == 0 {
            return Err(Fault::Syntax);
        }
        let padded = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
        Ok(padded.fold(0, |value, d| value * 10 + i64::from(d - b'0')))
    }

    /// Nothing (zero), `Z`, `UTC`, `GMT` or `±hh[[:]mm[[:]ss]]`, spaces before it allowed: seconds east of
    /// Greenwich.
    fn zone(&mut self) -> Result<i64, Fault> {
        self.spaces();
        let sign = match self.rest {
            [] => return Ok(0),
            [b'+', ..] => 1,
            [b'-', ..] => -1,
            word => {
                let known = [b"Z".as_slice(), b"UTC", b"GMT"]
                    .iter()
                    .any(|name| word.eq_ignore_ascii_case(name));
                self.rest = &[];
                return if known { Ok(0) } else { Err(Fault::Syntax) };
            }
        };
        self.rest = &self.rest[1..];
        let hours = self.digits(2, 2)?;
        let (mut minutes, mut seconds) = (0, 0);
        if !self.rest.is_empty() {
            let _ = self.take(b':');
            minutes = self.digits(2, 2)?;
            if !self.rest.is_empty() {
                let _ = self.take(b':');
                seconds = self.digits(2, 2)?;
            }
        }
        // PostgreSQL's bound on zones is just short of 16 hours.
        if hours > 15 || minutes > 59 || seconds > 59 {
            return Err(Fault::Range);
        }
        Ok(sign * ((hours * 60 + minutes) * 60 + seconds))
    }

    /// A number of `min` to `max` digits.
    fn digits(&mut self, min: usize, max: usize) -> Result<i64, Fault> {
        let digits = self.rest.iter().take(max + 1).take_while(|c| c.is_ascii_digit()).count();
        // More digits than wanted are left for what comes next, as in an offset of +0530.
        let digits = digits.min(max);
        if digits < min {
            return Err(Fault::Syntax);
        }
        let (number, rest) = self.rest.split_at(digits);
        self.rest = rest;
        Ok(number.iter().fold(0, |value, d| value * 10 + i64::from(d - b'0')))
    }

    fn take(&mut self, c: u8) -> bool {
        match self.rest {
            [first, rest @ ..] if *first == c => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn expect(&mut self, c: u8) -> Result<(), Fault> {
        if self.take(c) { Ok(()) } else { Err(Fault::Syntax) }
    }

    /// Whether there were spaces.
    fn spaces(&mut self) -> bool {
        let trimmed = self.rest.trim_ascii_start();
        let any = trimmed.len() < self.rest.len();
        self.rest = trimmed;
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};

    fn state<T>(result: Result<T, Invalid>) -> Result<T, &'static str> {
        result.map_err(|e| e.sqlstate)
    }

    #[test]
    fn iso_text_is_read_back_as_what_it_was_made_of() {
        assert_eq!(iso_timestamp(-1, 1_000).unwrap(), "1969-12-31T23:59:59.999");
        assert_eq!(iso_timestamp(-62_135_596_801, 1).unwrap(), "0001-12-31T23:59:59 BC");
        for step in -2_000..2_000i64 {
            let micros = step * 31_556_952_123_457;
            let text = iso_timestamp(micros, 1_000_000).unwrap();
            assert_eq!(timestamp(&text, Microsecond, false).unwrap(), micros, "{text}");
        }
        assert_eq!(iso_timestamp(i64::MAX, 1_000), None);
    }

    #[test]
    fn dates_follow_the_gregorian_calendar() {
        for (text, want) in [
            ("1970-01-01", Ok(0)),
            ("1969-12-31", Ok(-1)),
            ("2000-02-29", Ok(11016)),
            ("2024-03-01", Ok(19783)),
            ("0001-01-01", Ok(-719162)),
            ("0001-12-31 BC", Ok(-719163)),
            ("294276-12-31", Ok(106762939)),
            ("2024-1-2", Ok(19724)),
            ("2024-01-02 10:11:12+02", Ok(19724)),
            ("1900-02-29", Err("22008")),
            ("2024-13-01", Err("22008")),
            ("0000-01-01", Err("22008")),
            ("2024-01", Err("22007")),
            ("2024-01-02x", Err("22007")),
            ("2024-01-02 x", Err("22007")),
            ("today", Err("22007")),
            ("", Err("22007")),
        ] {
            assert_eq!(state(date(text)), want, "{text}");
        }
    }

    #[test]
    fn fractions_round_half_up_to_the_unit() {
        for (text, unit, want) in [
            ("1970-01-01 00:00:01", Second, 1),
            ("1970-01-01 00:00:00.9994", Millisecond, 999),
            ("1970-01-01 00:00:00.9995", Millisecond, 1000),
            ("1970-01-01T00:00:00.123456789", Nanosecond, 123456789),
            ("1970-01-01T00:00:00.1234565", Microsecond, 123457),
            ("1969-12-31 23:59:59.5", Millisecond, -500),
            ("1970-01-01 24:00:00", Second, 86400),
            ("1970-01-01 23:59:60", Second, 86400),
            ("1970-01-02", Second, 86400),
            ("1970-01-01 00:01", Second, 60),
        ] {
            assert_eq!(state(timestamp(text, unit, false)), Ok(want), "{text}");
        }
        for text in [
            "1970-01-01 24:00:01",
            "1970-01-01 25:00:00",
            "1970-01-01 00:60:00",
            "1970-01-01 00:00:61",
        ] {
            assert_eq!(state(timestamp(text, Second, false)), Err("22008"), "{text}");
        }
        for text in ["1970-01-01T", "1970-01-01 1", "1970-01-01 00:00:00.", "1970-01-01 00:00:001"]
        {
            assert_eq!(state(timestamp(text, Second, false)), Err("22007"), "{text}");
        }
        assert_eq!(state(timestamp("294276-12-31", Nanosecond, false)), Err("22008"));
    }

    #[test]
    fn zones_count_only_with_time_zone() {
        for (text, want) in [
            ("1970-01-01 00:00:00Z", 0),
            ("1970-01-01 00:00:00", 0),
            ("1970-01-01 00:00:00 utc", 0),
            ("1970-01-01 00:00:00+01", -3600),
            ("1970-01-01 00:00:00 -05:30", 19800),
            ("1970-01-01 00:00:00-0530", 19800),
            ("1970-01-01 00:00:00+00:00:10", -10),
        ] {
            assert_eq!(state(timestamp(text, Second, true)), Ok(want), "{text}");
            assert_eq!(state(timestamp(text, Second, false)), Ok(0), "{text}");
        }
        assert_eq!(state(timestamp("1970-01-01 00:00:00+99", Second, true)), Err("22008"));
        assert_eq!(state(timestamp("1970-01-01 00:00:00 Mars", Second, true)), Err("22007"));
    }

    #[test]
    fn times_of_day_reach_midnight_and_no_further() {
        assert_eq!(state(time("10:11:12.5")), Ok(36_672_500_000));
        assert_eq!(state(time("10:11")), Ok(36_660_000_000));
        assert_eq!(state(time("10:11:12+02")), Ok(36_672_000_000));
        assert_eq!(state(time("24:00:00")), Ok(86_400_000_000));
        assert_eq!(state(time("24:00:00.1")), Err("22008"));
        assert_eq!(state(time("10")), Err("22007"));
    }

    #[test]
    fn minute_prefix_agrees_with_the_whole_timestamp() {
        for text in ["1970-01-01 00:01", "2024-02-29T23:59", "9999-12-31 12:00"] {
            let prefix: &[u8; 16] = text.as_bytes().try_into().expect("sixteen bytes");
            assert_eq!(
                minute(prefix).map(|m| m * 60),
                timestamp(text, Second, false).ok(),
                "{text}"
            );
        }
        for text in ["2023-02-29 23:59", "2024-01-01 24:00", "0000-01-01 00:00", "2024-01-01_00:00"]
        {
            assert_eq!(minute(text.as_bytes().try_into().expect("sixteen bytes")), None, "{text}");
        }
    }

    #[test]
    fn epoch_numbers_change_their_unit() {
        let second = 1_709_251_199i64;
        for (text, want) in [
            ("1709251199", second * 1_000_000),
            ("1709251199.5", second * 1_000_000 + 500_000),
            ("1.709251199e9", second * 1_000_000),
            ("1709251199123", second * 1_000_000 + 123_000),
            ("1709251199123.4567", second * 1_000_000 + 123_457),
            ("1709251199123456", second * 1_000_000 + 123_456),
            ("1709251199123456789", second * 1_000_000 + 123_457),
            ("-1", -1_000_000),
            ("0", 0),
        ] {
            let number = Number::parse(text.as_bytes()).expect("a number");
            assert_eq!(timestamp_from_number(&number, Microsecond), Some(want), "{text}");
            let count =
                text.parse().ok().and_then(|count| timestamp_from_count(count, Microsecond));
            assert!(count.is_none_or(|count| count == want), "{text}");
        }
        let huge = Number::parse(b"1e40").expect("a number");
        assert_eq!(timestamp_from_number(&huge, Microsecond), None);
        assert_eq!(timestamp_from_count(1_709_251_199_123, Second), None);
    }
}
