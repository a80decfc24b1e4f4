//! Decimals: text in both directions and PostgreSQL's base-10000 binary format.
//!
//! A decimal is an integer with a scale. NaN and infinities, which PostgreSQL's numeric has, have no Arrow decimal and are
//! refused with 22003. Input is rounded half away from zero to the scale, as PostgreSQL rounds.

use arrow_buffer::i256;
use bytes::{Buf, BufMut, BytesMut};

use super::calendar::put_padded;
use crate::error::{Error, Result, SqlState};

/// Digits of an i256 in decimal, at most.
const DIGITS_MAX: usize = 80;
/// Exponents beyond this are refused before any arithmetic: no decimal of ours has that many digits.
const EXPONENT_MAX: i64 = 100_000;

pub fn put_decimal(value: i128, scale: i8, trim: bool, out: &mut BytesMut) {
    let mut digits = [0u8; DIGITS_MAX];
    let magnitude = digits_of_u128(value.unsigned_abs(), &mut digits);
    put_digits(value < 0, magnitude, scale, trim, out);
}

pub fn put_wide_decimal(value: i256, scale: i8, trim: bool, out: &mut BytesMut) {
    let text = value.to_string();
    let magnitude = text.strip_prefix('-').unwrap_or(&text);
    put_digits(text.starts_with('-'), magnitude.as_bytes(), scale, trim, out);
}

fn digits_of_u128(mut value: u128, digits: &mut [u8; DIGITS_MAX]) -> &[u8] {
    let mut at = DIGITS_MAX;
    // Division of 128 bits is slow: nineteen digits at a time are taken off and cut up as u64.
    const CHUNK: u128 = 10_000_000_000_000_000_000;
    loop {
        let mut chunk = (value % CHUNK) as u64;
        value /= CHUNK;
        for _ in 0..19 {
            if chunk == 0 && value == 0 && at < DIGITS_MAX {
                break;
            }
            at -= 1;
            digits[at] = b'0' + (chunk % 10) as u8;
            chunk /= 10;
        }
        if value == 0 {
            return &digits[at..];
        }
    }
}

/// Writes `digits` with the point `scale` places from their end.
fn put_digits(negative: bool, digits: &[u8], scale: i8, trim: bool, out: &mut BytesMut) {
    let mut places = usize::from(scale.max(0) as u8);
    let whole_len = digits.len().saturating_sub(places);
    let (whole, mut fraction) = digits.split_at(whole_len);
    if trim {
        while let [rest @ .., b'0'] = fraction {
            fraction = rest;
            places -= 1;
        }
        if fraction.is_empty() {
            places = 0;
        }
    }
    if negative {
        out.put_u8(b'-');
    }
    out.put_slice(if whole.is_empty() { b"0" } else { whole });
    if scale < 0 && digits != b"0" {
        out.put_bytes(b'0', usize::from(scale.unsigned_abs()));
    }
    if places > 0 {
        out.put_u8(b'.');
        out.put_bytes(b'0', places - fraction.len());
        out.put_slice(fraction);
    }
}

fn invalid(text: &str) -> Error {
    let message = format!("invalid input syntax for type numeric: \"{text}\"");
    Error::new(SqlState::INVALID_TEXT_REPRESENTATION, message)
}

fn overflow(precision: u8, scale: i8) -> Error {
    let bound = i32::from(precision) - i32::from(scale);
    Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow").with_detail(format!(
        "A field with precision {precision}, scale {scale} must round to an absolute value less than {}.",
        if bound == 0 { "1".to_owned() } else { format!("10^{bound}") }
    ))
}

/// A number's text cut into sign, digits and the power of ten of the last digit.
struct Parsed {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

fn read_decimal(text: &str) -> Result<Parsed> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
    let (negative, body) = match trimmed.as_bytes() {
        [b'-', ..] => (true, &trimmed[1..]),
        [b'+', ..] => (false, &trimmed[1..]),
        _ => (false, trimmed),
    };
    if ["nan", "inf", "infinity"].iter().any(|n| body.eq_ignore_ascii_case(n)) {
        let message = format!("numeric value \"{trimmed}\" is not supported");
        return Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message)
            .with_hint("Use double precision for values that may be NaN or infinite."));
    }
    let (mantissa, exponent) = match body.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            let signless = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if signless.is_empty() || !signless.bytes().all(|b| b.is_ascii_digit()) {
                return Err(invalid(text));
            }
            let out_of_range = || {
                Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format")
            };
            let exponent: i64 = exponent.parse().map_err(|_| out_of_range())?;
            if exponent.abs() > EXPONENT_MAX {
                return Err(out_of_range());
            }
            (mantissa, exponent)
        }
        None => (body, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !all_digits {
        return Err(invalid(text));
    }
    let digits: Vec<u8> =
        whole.bytes().chain(fraction.bytes()).skip_while(|&b| b == b'0').collect();
    Ok(Parsed { negative, digits, exponent: exponent - fraction.len() as i64 })
}

impl Parsed {
    /// The digits of the value times 10^scale, rounded, without leading zeros; `None` when there are more than `max`.
    fn scaled(mut self, scale: i8, max: usize) -> Option<Vec<u8>> {
        let shift = self.exponent + i64::from(scale);
        if self.digits.is_empty() {
            return Some(vec![]);
        }
        if shift >= 0 {
            if self.digits.len() as i64 + shift > max as i64 {
                return None;
            }
            self.digits.extend(std::iter::repeat_n(b'0', shift as usize));
            return Some(self.digits);
        }
        let dropped = shift.unsigned_abs() as usize;
        if dropped > self.digits.len() {
            return Some(vec![]);
        }
        let keep = self.digits.len() - dropped;
        let round_up = self.digits[keep] >= b'5';
        self.digits.truncate(keep);
        if round_up {
            increment(&mut self.digits);
        }
        (self.digits.len() <= max).then_some(self.digits)
    }
}

/// Adds one to a number in decimal digits.
fn increment(digits: &mut Vec<u8>) {
    for digit in digits.iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            return;
        }
        *digit = b'0';
    }
    digits.insert(0, b'1');
}

/// Reads a decimal(precision, scale) with precision at most 38.
pub fn parse_decimal(text: &str, precision: u8, scale: i8) -> Result<i128> {
    let parsed = read_decimal(text)?;
    let negative = parsed.negative;
    let digits =
        parsed.scaled(scale, usize::from(precision)).ok_or_else(|| overflow(precision, scale))?;
    let magnitude = digits.iter().fold(0i128, |n, d| n * 10 + i128::from(d - b'0'));
    Ok(if negative { -magnitude } else { magnitude })
}

/// Reads a decimal(precision, scale) with precision at most 76.
pub fn parse_wide_decimal(text: &str, precision: u8, scale: i8) -> Result<i256> {
    let parsed = read_decimal(text)?;
    let negative = parsed.negative;
    let digits =
        parsed.scaled(scale, usize::from(precision)).ok_or_else(|| overflow(precision, scale))?;
    let ten = i256::from_i128(10);
    let magnitude = digits.iter().fold(i256::ZERO, |n, d| {
        n.wrapping_mul(ten).wrapping_add(i256::from_i128(i128::from(d - b'0')))
    });
    Ok(if negative { magnitude.wrapping_neg() } else { magnitude })
}

const SIGN_NEGATIVE: u16 = 0x4000;
const SIGN_NAN: u16 = 0xC000;
const SIGN_INFINITY: u16 = 0xD000;
const SIGN_MINUS_INFINITY: u16 = 0xF000;

/// Writes text such as "-12.340" in the binary format: count of base-10000 digits, weight of the first, sign, display
/// scale, then the digits.
pub fn put_binary_numeric(text: &[u8], out: &mut BytesMut) {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let point = text.iter().position(|&b| b == b'.').unwrap_or(text.len());
    let (whole, fraction) = (&text[..point], text.get(point + 1..).unwrap_or(&[]));
    let start = out.len();
    out.put_bytes(0, 8);
    let groups_before = whole.len().div_ceil(4) as i16;
    let (mut count, mut weight, mut pending_zeros) = (0u16, 0i16, 0u16);
    let mut group_index = 0i16;
    let mut put_group = |group: u16, out: &mut BytesMut| {
        if group == 0 {
            // Zeros before the first digit are not sent, and those at the end only if something follows.
            pending_zeros += u16::from(count > 0);
        } else {
            if count == 0 {
                weight = groups_before - 1 - group_index;
            }
            out.put_bytes(0, usize::from(pending_zeros) * 2);
            out.put_u16(group);
            count += pending_zeros + 1;
            pending_zeros = 0;
        }
        group_index += 1;
    };
    let number = |digits: &[u8]| digits.iter().fold(0u16, |n, d| n * 10 + u16::from(d - b'0'));
    let first_len = whole.len() % 4;
    if first_len > 0 {
        put_group(number(&whole[..first_len]), out);
    }
    for chunk in whole[first_len..].chunks(4) {
        put_group(number(chunk), out);
    }
    for chunk in fraction.chunks(4) {
        let missing = 10u16.pow(4 - chunk.len() as u32);
        put_group(number(chunk) * missing, out);
    }
    let sign = if negative && count > 0 { SIGN_NEGATIVE } else { 0 };
    let mut head = &mut out[start..start + 8];
    head.put_u16(count);
    head.put_i16(if count == 0 { 0 } else { weight });
    head.put_u16(sign);
    head.put_u16(fraction.len() as u16);
}

/// The binary format back to text. `None` when the bytes are not a numeric; NaN and infinities come as their names.
pub fn text_of_binary_numeric(mut bytes: &[u8]) -> Option<String> {
    if bytes.len() < 8 {
        return None;
    }
    let (count, weight) = (bytes.get_u16(), i32::from(bytes.get_i16()));
    let (sign, scale) = (bytes.get_u16(), usize::from(bytes.get_u16()));
    match sign {
        SIGN_NAN => return Some("NaN".to_owned()),
        SIGN_MINUS_INFINITY => return Some("-Infinity".to_owned()),
        SIGN_INFINITY => return Some("Infinity".to_owned()),
        0 | SIGN_NEGATIVE => {}
        _ => return None,
    }
    if bytes.len() != usize::from(count) * 2 || scale > 0x3fff {
        return None;
    }
    let mut groups = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        groups.push(Some(bytes.get_u16()).filter(|g| *g < 10_000)?);
    }
    let group = |i: i32| usize::try_from(i).ok().and_then(|i| groups.get(i)).copied().unwrap_or(0);
    let mut text = BytesMut::new();
    if sign == SIGN_NEGATIVE {
        text.put_u8(b'-');
    }
    text.put_u8(b'0');
    for i in 0..=weight {
        put_padded(u64::from(group(i)), 4, &mut text);
    }
    text.put_u8(b'.');
    let fraction_start = text.len();
    let mut i = weight + 1;
    while text.len() < fraction_start + scale {
        put_padded(u64::from(group(i)), 4, &mut text);
        i += 1;
    }
    text.truncate(fraction_start + scale);
    if scale == 0 {
        text.truncate(fraction_start - 1);
    }
    String::from_utf8(text.to_vec()).ok()
}
