//! Floating point numbers as PostgreSQL writes and reads them.
//!
//! Output has the fewest digits that read back the same, in plain notation while the exponent is small, else as
//! `1.5e+20`. Input overflow is an error rather than infinity, and so is underflow to zero.

use std::fmt::Write;

use bytes::{BufMut, BytesMut};

use super::calendar::put_padded;
use crate::error::{Error, Result, SqlState};

/// Exponents from -4 up to, not including, this one are written plainly.
const PLAIN_EXPONENT_F64: i32 = 15;
const PLAIN_EXPONENT_F32: i32 = 6;

/// Text of at most N bytes on the stack.
struct StackText<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Write for StackText<N> {
    fn write_str(&mut self, s: &str) -> std::fmt::Result {
        let end = self.len + s.len();
        let room = self.bytes.get_mut(self.len..end).ok_or(std::fmt::Error)?;
        room.copy_from_slice(s.as_bytes());
        self.len = end;
        Ok(())
    }
}

pub fn put_f64(value: f64, extra_float_digits: i32, out: &mut BytesMut) {
    if put_special(value, out) {
        return;
    }
    let mut text = StackText { bytes: [0; 48], len: 0 };
    let (written, plain) = if extra_float_digits > 0 {
        (write!(text, "{value:e}"), PLAIN_EXPONENT_F64)
    } else {
        let digits = (15 + extra_float_digits).max(1);
        (write!(text, "{value:.*e}", digits as usize - 1), digits)
    };
    written.expect("a double has at most 17 digits, a point, a sign and an exponent");
    put_scientific(&text.bytes[..text.len], plain, out);
}

pub fn put_f32(value: f32, extra_float_digits: i32, out: &mut BytesMut) {
    if put_special(f64::from(value), out) {
        return;
    }
    let mut text = StackText { bytes: [0; 48], len: 0 };
    let (written, plain) = if extra_float_digits > 0 {
        (write!(text, "{value:e}"), PLAIN_EXPONENT_F32)
    } else {
        let digits = (6 + extra_float_digits).max(1);
        (write!(text, "{value:.*e}", digits as usize - 1), digits)
    };
    written.expect("a real has at most 9 digits, a point, a sign and an exponent");
    put_scientific(&text.bytes[..text.len], plain, out);
}

fn put_special(value: f64, out: &mut BytesMut) -> bool {
    if value.is_nan() {
        out.put_slice(b"NaN");
    } else if value.is_infinite() {
        out.put_slice(if value > 0.0 { b"Infinity" } else { b"-Infinity" });
    } else {
        return false;
    }
    true
}

/// Turns Rust's `-d.ddde-x` into PostgreSQL's form.
fn put_scientific(text: &[u8], plain_exponent: i32, out: &mut BytesMut) {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let e = text.iter().position(|&b| b == b'e').unwrap_or(text.len());
    let exponent: i32 = std::str::from_utf8(&text[e..])
        .ok()
        .and_then(|s| s.strip_prefix('e'))
        .and_then(|s| s.parse().ok())
        .unwrap_or(0);
    let mut digits = [0u8; 24];
    let mut count = 0;
    for &b in text[..e].iter().filter(|b| b.is_ascii_digit()) {
        digits[count] = b;
        count += 1;
    }
    while count > 1 && digits[count - 1] == b'0' {
        count -= 1;
    }
    let digits = &digits[..count];
    if negative {
        out.put_u8(b'-');
    }
    if (-4..plain_exponent).contains(&exponent) {
        put_plain(digits, exponent, out);
        return;
    }
    out.put_u8(digits[0]);
    if digits.len() > 1 {
        out.put_u8(b'.');
        out.put_slice(&digits[1..]);
    }
    out.put_slice(if exponent < 0 { b"e-" } else { b"e+" });
    put_padded(u64::from(exponent.unsigned_abs()), 2, out);
}

fn put_plain(digits: &[u8], exponent: i32, out: &mut BytesMut) {
    if exponent < 0 {
        out.put_slice(b"0.");
        out.put_bytes(b'0', (-exponent - 1) as usize);
        out.put_slice(digits);
        return;
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        out.put_slice(digits);
        out.put_bytes(b'0', whole - digits.len());
    } else {
        out.put_slice(&digits[..whole]);
        out.put_u8(b'.');
        out.put_slice(&digits[whole..]);
    }
}

pub fn parse_f64(text: &str) -> Result<f64> {
    parse(text, "double precision", |t| t.parse::<f64>().ok(), |v| (v.is_infinite(), v == 0.0))
}

pub fn parse_f32(text: &str) -> Result<f32> {
    parse(text, "real", |t| t.parse::<f32>().ok(), |v| (v.is_infinite(), v == 0.0))
}

/// `extremes` says of a value whether it is infinite and whether it is zero.
fn parse<T: Copy>(
    text: &str,
    type_name: &str,
    read: impl Fn(&str) -> Option<T>,
    extremes: impl Fn(T) -> (bool, bool),
) -> Result<T> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
    let unsigned = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    let named = ["nan", "inf", "infinity"].iter().any(|n| unsigned.eq_ignore_ascii_case(n));
    let value = read(trimmed).ok_or_else(|| {
        let message = format!("invalid input syntax for type {type_name}: \"{text}\"");
        Error::new(SqlState::INVALID_TEXT_REPRESENTATION, message)
    })?;
    let (infinite, zero) = extremes(value);
    let mantissa = unsigned.split(['e', 'E']).next().unwrap_or("");
    let lost = zero && mantissa.bytes().any(|b| (b'1'..=b'9').contains(&b));
    if (infinite && !named) || lost {
        let message = format!("\"{trimmed}\" is out of range for type {type_name}");
        return Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message));
    }
    Ok(value)
}
