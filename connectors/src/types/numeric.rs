//! Numbers from their text: integers, floats and decimals, exact or refused.
//!
//! A [`Number`] is the decomposed text; integers and decimals are computed from its digits, never through a float.
//! The work is bounded by the text's length: an exponent of a billion costs nothing.

use super::{Invalid, OUT_OF_RANGE, quoted};

/// A decimal number's text taken apart: `-12.50e3` has the integer digits `12`, the fraction digits `50`, exponent
/// 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number<'a> {
    pub negative: bool,
    pub integer: &'a [u8],
    pub fraction: &'a [u8],
    /// Saturated at the bounds of i32, far outside of what any type holds.
    pub exponent: i32,
}

/// The outcome of shifting a number's decimal point and cutting it to an integer.
struct Scaled {
    /// Rounded half away from zero; `None` past i128.
    value: Option<i128>,
    /// Whether nothing but zeros was cut off.
    exact: bool,
}

impl<'a> Number<'a> {
    /// Takes apart an optional sign, digits with an optional point (at least one digit) and an optional exponent.
    /// Every JSON number is such a text; PostgreSQL's numeric input also allows `+1`, `.5` and `5.`.
    pub fn parse(text: &'a [u8]) -> Option<Number<'a>> {
        let (negative, rest) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let (integer, rest) = split_digits(rest);
        let (fraction, rest) = match rest {
            [b'.', rest @ ..] => split_digits(rest),
            rest => (&rest[..0], rest),
        };
        if integer.is_empty() && fraction.is_empty() {
            return None;
        }
        let exponent = match rest {
            [] => 0,
            [b'e' | b'E', rest @ ..] => exponent(rest)?,
            _ => return None,
        };
        Some(Number { negative, integer, fraction, exponent })
    }

    /// The number times 10^`scale`, rounded half away from zero; `None` past i128.
    pub fn shifted(&self, scale: i32) -> Option<i128> {
        self.scaled(scale).value
    }

    /// Whether every digit is zero.
    pub fn is_zero(&self) -> bool {
        self.integer.iter().chain(self.fraction).all(|&d| d == b'0')
    }

    /// The number times 10^`scale` as an integer.
    fn scaled(&self, scale: i32) -> Scaled {
        let digits = || self.integer.iter().chain(self.fraction).map(|d| d - b'0');
        let total = (self.integer.len() + self.fraction.len()) as i64;
        // So many digits lie before the point once it is shifted.
        let keep = self.integer.len() as i64 + i64::from(self.exponent) + i64::from(scale);
        let kept = keep.clamp(0, total) as usize;
        let mut value = digits()
            .take(kept)
            .try_fold(0i128, |value, digit| value.checked_mul(10)?.checked_add(i128::from(digit)));
        if keep > total && value != Some(0) {
            let zeros = u32::try_from(keep - total).unwrap_or(u32::MAX);
            value = value.and_then(|value| value.checked_mul(10i128.checked_pow(zeros)?));
        }
        let mut cut = digits().skip(kept);
        // With `keep` below zero the first digit cut stands right of tenths, so it cannot round up.
        let first = if keep >= 0 { cut.next().unwrap_or(0) } else { 0 };
        let exact = first == 0 && cut.all(|digit| digit == 0);
        let value = value.and_then(|value| value.checked_add(i128::from(first >= 5)));
        Scaled { value: value.map(|value| if self.negative { -value } else { value }), exact }
    }
}

fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|c| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn exponent(text: &[u8]) -> Option<i32> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits
        .iter()
        .fold(0i32, |value, d| value.saturating_mul(10).saturating_add(i32::from(d - b'0')));
    Some(if negative { -value } else { value })
}

/// 10^`n` for n up to 38.
pub fn pow10_i128(n: u8) -> Option<i128> {
    10i128.checked_pow(u32::from(n))
}

/// An integer of the type named, as PostgreSQL reads it from text: an optional sign and digits, spaces around.
pub fn integer<T: TryFrom<i128>>(text: &str, type_name: &str) -> Result<T, Invalid> {
    let number = Number::parse(text.trim_ascii().as_bytes());
    let plain = number.filter(|_| !text.bytes().any(|c| matches!(c, b'.' | b'e' | b'E')));
    let number = plain.ok_or_else(|| Invalid::syntax(type_name, text.as_bytes()))?;
    integer_from_number(&number, text.as_bytes(), type_name)
}

/// An integer from a number that may be written with a point or an exponent, provided that its value is integral:
/// 1.0 and 1e3 are, 1.5 is not (22P02). `text` is for the message.
pub fn integer_from_number<T: TryFrom<i128>>(
    number: &Number<'_>,
    text: &[u8],
    type_name: &str,
) -> Result<T, Invalid> {
    let scaled = number.scaled(0);
    if !scaled.exact {
        return Err(Invalid::syntax(type_name, text));
    }
    let value = scaled.value.and_then(|value| T::try_from(value).ok());
    value.ok_or_else(|| Invalid::out_of_range(type_name, text))
}

/// numeric(precision, scale) as Decimal128 stores it, rounded half away from zero to the scale as PostgreSQL does;
/// more digits than the precision are 22003. NaN and infinity are refused, since Decimal128 has neither.
pub fn decimal(text: &[u8], precision: u8, scale: i8) -> Result<i128, Invalid> {
    let number =
        Number::parse(text.trim_ascii()).ok_or_else(|| Invalid::syntax("numeric", text))?;
    let limit = pow10_i128(precision);
    let fits = |value: &i128| limit.is_none_or(|limit| value.unsigned_abs() < limit.unsigned_abs());
    number.scaled(i32::from(scale)).value.filter(fits).ok_or_else(|| Invalid {
        sqlstate: OUT_OF_RANGE,
        message: format!(
            "numeric field overflow: {} must round to an absolute value less than 10^{}",
            quoted(text),
            i32::from(precision) - i32::from(scale),
        ),
    })
}

/// A double precision value; a finite text that overflows to infinity or underflows to zero is 22003.
pub fn float64(text: &str) -> Result<f64, Invalid> {
    float(
        text,
        "double precision",
        |text| text.parse().ok(),
        f64::is_infinite,
        |value| *value == 0.0,
    )
}

/// A real value, rounded from the text once and not by way of double precision.
pub fn float32(text: &str) -> Result<f32, Invalid> {
    float(
        text,
        "real",
        |text| text.parse().ok(),
        |value: f32| value.is_infinite(),
        |value| *value == 0.0,
    )
}

fn float<F: Copy>(
    text: &str,
    type_name: &str,
    parse: impl Fn(&str) -> Option<F>,
    is_infinite: impl Fn(F) -> bool,
    is_zero: impl Fn(&F) -> bool,
) -> Result<F, Invalid> {
    let trimmed = text.trim_ascii();
    let Some(value) = parse(trimmed) else {
        return Err(Invalid::syntax(type_name, text.as_bytes()));
    };
    // Words ("NaN", "Infinity", "inf" of any case) stand for themselves; only digits can be out of range.
    if let Some(number) = Number::parse(trimmed.as_bytes())
        && (is_infinite(value) || is_zero(&value) && !number.is_zero())
    {
        let message = format!("{} is out of range for type {type_name}", quoted(text.as_bytes()));
        return Err(Invalid { sqlstate: OUT_OF_RANGE, message });
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_round_half_away_from_zero_and_refuse_overflow() {
        let read = |text: &str, precision, scale| {
            decimal(text.as_bytes(), precision, scale).map_err(|e| e.sqlstate)
        };
        for (text, want) in [
            ("1.005", Ok(101)),
            ("-1.005", Ok(-101)),
            ("1.0049999", Ok(100)),
            ("0.004", Ok(0)),
            ("0.005", Ok(1)),
            ("0.0005e1", Ok(1)),
            ("0.0005", Ok(0)),
            ("9e-999999999", Ok(0)),
            ("0e999999999", Ok(0)),
            ("12.3e1", Ok(12300)),
            (".5", Ok(50)),
            ("5.", Ok(500)),
            ("+5", Ok(500)),
            ("999.99", Ok(99999)),
            ("999.995", Err("22003")),
            ("1e99999999999", Err("22003")),
            ("1e", Err("22P02")),
            (".", Err("22P02")),
            ("NaN", Err("22P02")),
            ("1_0", Err("22P02")),
        ] {
            assert_eq!(read(text, 5, 2), want, "{text}");
        }
        assert_eq!(read("1250", 5, -2), Ok(13));
        assert_eq!(read("99999999999999999999999999999999999999", 38, 0), Ok(10i128.pow(38) - 1));
        assert_eq!(read("100000000000000000000000000000000000000", 38, 0), Err("22003"));
        assert_eq!(read(&"9".repeat(100), 38, 0), Err("22003"));
    }

    #[test]
    fn integers_are_integral_and_in_range() {
        let from_number = |text: &str| {
            let number = Number::parse(text.as_bytes()).expect("the cases are numbers");
            integer_from_number::<i16>(&number, text.as_bytes(), "smallint").map_err(|e| e.sqlstate)
        };
        assert_eq!(from_number("1.0"), Ok(1));
        assert_eq!(from_number("1e3"), Ok(1000));
        assert_eq!(from_number("1500e-2"), Ok(15));
        assert_eq!(from_number("1.5"), Err("22P02"));
        assert_eq!(from_number("1e-1"), Err("22P02"));
        assert_eq!(from_number("-32768"), Ok(-32768));
        assert_eq!(from_number("32768"), Err("22003"));
        assert_eq!(integer::<i64>(" -9223372036854775808 ", "bigint"), Ok(i64::MIN));
        assert_eq!(
            integer::<i64>("9223372036854775808", "bigint").map_err(|e| e.sqlstate),
            Err("22003")
        );
        assert_eq!(integer::<i64>("1.0", "bigint").map_err(|e| e.sqlstate), Err("22P02"));
        let message = integer::<i64>("abc", "bigint").map_err(|e| e.message);
        assert_eq!(message, Err("invalid input syntax for type bigint: \"abc\"".to_owned()));
    }

    #[test]
    fn floats_refuse_overflow_and_underflow_but_take_words() {
        assert_eq!(float64("1e400").map_err(|e| e.sqlstate), Err("22003"));
        assert_eq!(float64("1e-400").map_err(|e| e.sqlstate), Err("22003"));
        assert_eq!(float32("1e39").map_err(|e| e.sqlstate), Err("22003"));
        assert_eq!(float64("0e-400"), Ok(0.0));
        assert_eq!(float64("-Infinity"), Ok(f64::NEG_INFINITY));
        assert!(float64("nan").is_ok_and(f64::is_nan));
        assert_eq!(float64("x").map_err(|e| e.sqlstate), Err("22P02"));
    }
}
