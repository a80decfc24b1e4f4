//! The proleptic Gregorian calendar on integers, and how dates, times and time stamps are written.
//!
//! Days and microseconds count from 1970-01-01; years are astronomical (0 is 1 BC). The extreme values of a type
//! are its infinities, as in PostgreSQL.

use bytes::{BufMut, BytesMut};

use super::style::TimeZone;

pub const MICROS_PER_SECOND: i64 = 1_000_000;
pub const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;
/// Days from 1970-01-01 to 2000-01-01, where PostgreSQL's binary formats begin.
pub const DAYS_TO_2000: i32 = 10_957;
pub const MICROS_TO_2000: i64 = DAYS_TO_2000 as i64 * MICROS_PER_DAY;

/// The day number of a date. Years are counted from March so that the leap day ends a year: see "chrono-compatible
/// low-level date algorithms" by Howard Hinnant.
pub fn days_of_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let cycle = year.div_euclid(400);
    let year_of_cycle = year.rem_euclid(400);
    let month_from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_cycle = year_of_cycle * 365 + year_of_cycle / 4 - year_of_cycle / 100 + day_of_year;
    cycle * 146_097 + day_of_cycle - 719_468
}

/// (year, month, day) of a day number.
pub fn civil_of_days(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let cycle = days.div_euclid(146_097);
    let day_of_cycle = days.rem_euclid(146_097);
    let year_of_cycle =
        (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month =
        if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u32;
    let year = cycle * 400 + year_of_cycle + i64::from(month <= 2);
    (year, month, day)
}

pub fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.rem_euclid(4) == 0
            && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0) =>
        {
            29
        }
        2 => 28,
        _ => 31,
    }
}

/// (days, microseconds of the day) of microseconds since 1970.
pub fn split_micros(micros: i64) -> (i64, i64) {
    (micros.div_euclid(MICROS_PER_DAY), micros.rem_euclid(MICROS_PER_DAY))
}

pub fn put_date(days: i32, out: &mut BytesMut) {
    match days {
        i32::MAX => out.put_slice(b"infinity"),
        i32::MIN => out.put_slice(b"-infinity"),
        _ => {
            let before_christ = put_civil(i64::from(days), out);
            put_era(before_christ, out);
        }
    }
}

/// The date without its era; whether that is BC.
fn put_civil(days: i64, out: &mut BytesMut) -> bool {
    let (year, month, day) = civil_of_days(days);
    let before_christ = year <= 0;
    let shown = if before_christ { 1 - year } else { year } as u64;
    put_padded(shown, 4, out);
    out.put_u8(b'-');
    put_padded(u64::from(month), 2, out);
    out.put_u8(b'-');
    put_padded(u64::from(day), 2, out);
    before_christ
}

fn put_era(before_christ: bool, out: &mut BytesMut) {
    if before_christ {
        out.put_slice(b" BC");
    }
}

/// hh:mm:ss with as much of the fraction as is not zero; 24:00:00 is a time too.
pub fn put_time(micros: i64, out: &mut BytesMut) {
    let micros = micros.unsigned_abs();
    let seconds = micros / 1_000_000;
    put_padded(seconds / 3600, 2, out);
    out.put_u8(b':');
    put_padded(seconds / 60 % 60, 2, out);
    out.put_u8(b':');
    put_padded(seconds % 60, 2, out);
    put_fraction(micros % 1_000_000, out);
}

/// A point and up to six digits, without trailing zeros; nothing for zero.
pub fn put_fraction(micros: u64, out: &mut BytesMut) {
    if micros == 0 {
        return;
    }
    let (mut value, mut width) = (micros, 6);
    while value % 10 == 0 {
        value /= 10;
        width -= 1;
    }
    out.put_u8(b'.');
    put_padded(value, width, out);
}

pub fn put_timestamp(micros: i64, out: &mut BytesMut) {
    if put_infinity(micros, out) {
        return;
    }
    let (days, of_day) = split_micros(micros);
    let before_christ = put_civil(days, out);
    out.put_u8(b' ');
    put_time(of_day, out);
    put_era(before_christ, out);
}

pub fn put_timestamptz(micros: i64, zone: &TimeZone, out: &mut BytesMut) {
    if put_infinity(micros, out) {
        return;
    }
    let offset = zone.offset_at_instant(micros);
    let (days, of_day) = split_micros(micros.saturating_add(i64::from(offset) * MICROS_PER_SECOND));
    let before_christ = put_civil(days, out);
    out.put_u8(b' ');
    put_time(of_day, out);
    out.put_u8(if offset < 0 { b'-' } else { b'+' });
    let offset = u64::from(offset.unsigned_abs());
    put_padded(offset / 3600, 2, out);
    let (minutes, seconds) = (offset / 60 % 60, offset % 60);
    if minutes != 0 || seconds != 0 {
        out.put_u8(b':');
        put_padded(minutes, 2, out);
    }
    if seconds != 0 {
        out.put_u8(b':');
        put_padded(seconds, 2, out);
    }
    put_era(before_christ, out);
}

fn put_infinity(micros: i64, out: &mut BytesMut) -> bool {
    match micros {
        i64::MAX => out.put_slice(b"infinity"),
        i64::MIN => out.put_slice(b"-infinity"),
        _ => return false,
    }
    true
}

/// A number with leading zeros up to `width` digits.
pub fn put_padded(value: u64, width: usize, out: &mut BytesMut) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    let mut rest = value;
    while rest > 0 {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let at = at.min(digits.len() - width.clamp(1, 20));
    out.put_slice(&digits[at..]);
}

pub fn put_int(value: i64, out: &mut BytesMut) {
    if value < 0 {
        out.put_u8(b'-');
    }
    put_padded(value.unsigned_abs(), 1, out);
}
