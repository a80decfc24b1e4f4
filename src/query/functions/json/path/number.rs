//! Numbers of a jsonpath: exact decimals, as numeric is, with up to 76 digits.

use std::cmp::Ordering;

use arrow_buffer::i256;

use super::parse::Operation;
use crate::error::Result;
use crate::query::errors::{division_by_zero, numeric_overflow};

/// Fewest significant digits of a quotient.
const QUOTIENT_DIGITS: i64 = 16;

/// `digits * 10^-scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    digits: i256,
    scale: u32,
}

fn power_of_ten(exponent: u32) -> Result<i256> {
    i256::from_i128(10).checked_pow(exponent).ok_or_else(numeric_overflow)
}

impl Number {
    /// A canonical number. 22003 for one of more digits than fit.
    pub fn read(text: &str) -> Result<Number> {
        let scale = text.split_once('.').map_or(0, |(_, fraction)| fraction.len() as u32);
        let digits = match text.contains('.') {
            true => i256::from_string(&text.replacen('.', "", 1)),
            false => i256::from_string(text),
        };
        Ok(Number { digits: digits.ok_or_else(numeric_overflow)?, scale })
    }

    /// As jsonb writes it.
    pub fn text(self) -> String {
        let text = self.digits.to_string();
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", text.as_str()),
        };
        let scale = self.scale as usize;
        let digits = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let point = if scale > 0 { "." } else { "" };
        format!("{sign}{whole}{point}{fraction}")
    }

    fn rescaled(self, scale: u32) -> Result<i256> {
        let factor = power_of_ten(scale - self.scale)?;
        self.digits.checked_mul(factor).ok_or_else(numeric_overflow)
    }

    /// Both numbers' digits at the larger of their scales.
    fn aligned(self, other: Number) -> Result<(i256, i256, u32)> {
        let scale = self.scale.max(other.scale);
        Ok((self.rescaled(scale)?, other.rescaled(scale)?, scale))
    }

    pub fn apply(self, operation: Operation, other: Number) -> Result<Number> {
        let (left, right, scale) = self.aligned(other)?;
        let checked = |digits: Option<i256>, scale: u32| {
            digits.map(|digits| Number { digits, scale }).ok_or_else(numeric_overflow)
        };
        match operation {
            Operation::Add => checked(left.checked_add(right), scale),
            Operation::Subtract => checked(left.checked_sub(right), scale),
            Operation::Multiply => {
                checked(self.digits.checked_mul(other.digits), self.scale + other.scale)
            }
            Operation::Divide => self.divided(other),
            Operation::Modulo if other.digits == i256::ZERO => Err(division_by_zero()),
            Operation::Modulo => checked(left.checked_rem(right), scale),
        }
    }

    /// The quotient, rounded to as many fraction digits as numeric's division gives.
    fn divided(self, other: Number) -> Result<Number> {
        if other.digits == i256::ZERO {
            return Err(division_by_zero());
        }
        let ((left_weight, left_first), (right_weight, right_first)) =
            (self.weight(), other.weight());
        let weight = left_weight - right_weight - i64::from(left_first <= right_first);
        let scale = (QUOTIENT_DIGITS - weight * 4).max(self.scale.into()).max(other.scale.into());
        let scale = u32::try_from(scale.max(0)).map_err(|_| numeric_overflow())?;
        // digits / other.digits * 10^(other.scale - self.scale + scale), the power being at least 0.
        let raise = other.scale + scale - self.scale;
        let raised = self.digits.checked_mul(power_of_ten(raise)?).ok_or_else(numeric_overflow)?;
        let digits = crate::query::arithmetic::round_quotient(raised, other.digits);
        Ok(Number { digits, scale })
    }

    /// The power of 10000 of the first digit to that base, and that digit: zero's are both 0.
    fn weight(self) -> (i64, i64) {
        let text = self.digits.to_string();
        let digits = text.trim_start_matches('-');
        if digits == "0" {
            return (0, 0);
        }
        let places = digits.len() as i64 - i64::from(self.scale);
        let weight = (places - 1).div_euclid(4);
        let first = places - weight * 4;
        let group: String =
            digits.chars().chain(std::iter::repeat('0')).take(first as usize).collect();
        (weight, group.parse().unwrap_or(0))
    }

    pub fn negated(self) -> Number {
        Number { digits: self.digits.wrapping_neg(), ..self }
    }

    pub fn absolute(self) -> Number {
        if self.digits < i256::ZERO { self.negated() } else { self }
    }

    /// The integer below, or above.
    pub fn rounded(self, up: bool) -> Result<Number> {
        let unit = power_of_ten(self.scale)?;
        let (quotient, rest) = (
            self.digits.checked_div(unit).ok_or_else(numeric_overflow)?,
            self.digits.checked_rem(unit).ok_or_else(numeric_overflow)?,
        );
        let step = match rest.cmp(&i256::ZERO) {
            Ordering::Greater if up => i256::ONE,
            Ordering::Less if !up => i256::MINUS_ONE,
            _ => i256::ZERO,
        };
        Ok(Number { digits: quotient.wrapping_add(step), scale: 0 })
    }

    /// The integer towards zero, where it is one of 32 bits.
    pub fn truncated(self) -> Option<i32> {
        let whole = self.digits.checked_div(power_of_ten(self.scale).ok()?)?;
        i32::try_from(whole.to_i128()?).ok()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_has_the_digits_that_numeric_has() {
        let apply = |left: &str, operation, right: &str| {
            let (left, right) = (Number::read(left).unwrap(), Number::read(right).unwrap());
            left.apply(operation, right).map(Number::text)
        };
        for (left, operation, right, expected) in [
            ("0.1", Operation::Add, "0.2", "0.3"),
            ("1.50", Operation::Subtract, "2", "-0.50"),
            ("1.5", Operation::Multiply, "1.5", "2.25"),
            ("10", Operation::Divide, "3", "3.3333333333333333"),
            ("1", Operation::Divide, "3", "0.33333333333333333333"),
            ("100000", Operation::Divide, "7", "14285.714285714286"),
            ("-7", Operation::Modulo, "3", "-1"),
        ] {
            assert_eq!(apply(left, operation, right).unwrap(), expected, "{left} {right}");
        }
        assert_eq!(apply("1", Operation::Divide, "0").unwrap_err().code.0, "22012");
        assert_eq!(Number::read("-1.5").unwrap().rounded(false).unwrap().text(), "-2");
        assert_eq!(Number::read("1.2").unwrap().rounded(true).unwrap().text(), "2");
    }
}
