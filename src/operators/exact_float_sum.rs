//! An exact, retractable sum of floats, rounded once when it is read.
//!
//! Every finite double is an integer multiple of 2^-1074, so a sum of doubles is exact in fixed point of some 2,100
//! bits plus headroom. Most groups need far fewer: values of like magnitude fit a window of 127 bits that floats with
//! the data ([`FloatSum`]'s `narrow` at exponent `base`). What does not fit is moved to the full-width accumulator
//! ([`Wide`]), which a group gets only then and loses when it is zero again. The idea of summing in fixed point is
//! Kulisch's; the floating window is ours.
//! Invariant: the sum is `wide + narrow * 2^base`, a function of the multiset of addends alone. NaN and infinities are
//! counted, so they retract too. An exact zero reads as `+0.0`.

use crate::error::{Error, Result, SqlState};

/// 64-bit words of the full-width accumulator: 2,098 bits of a double's range, the rest is headroom for 2^200 addends.
const WIDE_WORDS: usize = 36;

/// The exponent of the lowest bit of a double.
const LOWEST_EXPONENT: i32 = -1074;

/// A sum of doubles without rounding.
#[derive(Clone, Debug, Default)]
pub struct FloatSum {
    narrow: i128,
    /// The exponent of `narrow`'s lowest bit; without meaning while `narrow` is zero.
    base: i32,
    wide: Option<Box<Wide>>,
}

/// Two's complement in units of 2^-1074, lowest word first, and the counts of what is not finite.
#[derive(Clone, Debug)]
struct Wide {
    words: [u64; WIDE_WORDS],
    nans: i64,
    infinities: i64,
    negative_infinities: i64,
}

impl Default for Wide {
    fn default() -> Wide {
        Wide { words: [0; WIDE_WORDS], nans: 0, infinities: 0, negative_infinities: 0 }
    }
}

/// The finite sum was too large for the result's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow;

impl FloatSum {
    /// Adds `value` `weight` times; a negative weight takes it back.
    #[inline]
    pub fn add(&mut self, value: f64, weight: i64) {
        let bits = value.to_bits();
        let biased = ((bits >> 52) & 0x7ff) as i32;
        let fraction = (bits & ((1 << 52) - 1)) as i64;
        let (mantissa, exponent) = match biased {
            0x7ff => return self.add_special(value, weight),
            0 => (fraction, LOWEST_EXPONENT),
            _ => (fraction | 1 << 52, biased - 1075),
        };
        let signed = if value.is_sign_negative() { -mantissa } else { mantissa };
        let term = i128::from(signed) * i128::from(weight);
        if term != 0 && !self.add_narrow(term, exponent) {
            self.spill();
            (self.narrow, self.base) = (term, exponent);
        }
    }

    /// Adds within the window, moving its base down where there is room; false when the sum would not fit.
    #[inline]
    fn add_narrow(&mut self, term: i128, exponent: i32) -> bool {
        if self.narrow == 0 {
            (self.narrow, self.base) = (term, exponent);
            return true;
        }
        let shift = exponent - self.base;
        let (lifted, other, base) = match shift >= 0 {
            true => (term, self.narrow, self.base),
            false => (self.narrow, term, exponent),
        };
        let shift = shift.unsigned_abs();
        if shift >= lifted.unsigned_abs().leading_zeros() {
            return false;
        }
        let Some(sum) = (lifted << shift).checked_add(other) else {
            return false;
        };
        (self.narrow, self.base) = (sum, base);
        true
    }

    /// Adds another sum, or takes it off where `times` is -1.
    pub fn merge(&mut self, other: &FloatSum, times: i64) {
        let term = other.narrow * i128::from(times);
        if term != 0 && !self.add_narrow(term, other.base) {
            self.spill();
            (self.narrow, self.base) = (term, other.base);
        }
        if let Some(wide) = &other.wide {
            self.wide.get_or_insert_default().merge(wide, times);
        }
    }

    /// Whether nothing is left of what was added.
    pub fn is_zero(&self) -> bool {
        match &self.wide {
            None => self.narrow == 0,
            Some(wide) => {
                let mut wide = wide.clone();
                wide.add(self.narrow, self.base);
                wide.is_zero()
            }
        }
    }

    #[cold]
    fn add_special(&mut self, value: f64, weight: i64) {
        let wide = self.wide.get_or_insert_default();
        if value.is_nan() {
            wide.nans += weight;
        } else if value > 0.0 {
            wide.infinities += weight;
        } else {
            wide.negative_infinities += weight;
        }
    }

    #[cold]
    fn spill(&mut self) {
        self.wide.get_or_insert_default().add(self.narrow, self.base);
        self.narrow = 0;
    }

    /// Gives the full-width accumulator back when nothing is left in it.
    pub fn shrink(&mut self) {
        if self.wide.as_ref().is_some_and(|w| w.is_zero()) {
            self.wide = None;
        }
    }

    /// The sum as a double, rounded to nearest even.
    pub fn to_f64(&self) -> Result<f64, Overflow> {
        match self.special() {
            Some(special) => Ok(special),
            None => self.rounded(Format { mantissa_bits: 53, bias: 1023 }).map(f64::from_bits),
        }
    }

    /// The sum as a `real`, rounded once, not by way of a double.
    pub fn to_f32(&self) -> Result<f32, Overflow> {
        match self.special() {
            Some(special) => Ok(special as f32),
            None => {
                let bits = self.rounded(Format { mantissa_bits: 24, bias: 127 })?;
                Ok(f32::from_bits(bits as u32))
            }
        }
    }

    fn special(&self) -> Option<f64> {
        let wide = self.wide.as_ref()?;
        let (up, down) = (wide.infinities > 0, wide.negative_infinities > 0);
        if wide.nans > 0 || (up && down) {
            Some(f64::NAN)
        } else if up {
            Some(f64::INFINITY)
        } else {
            down.then_some(f64::NEG_INFINITY)
        }
    }

    fn rounded(&self, format: Format) -> Result<u64, Overflow> {
        let Some(wide) = &self.wide else {
            let magnitude = self.narrow.unsigned_abs();
            if magnitude == 0 {
                return Ok(0);
            }
            let zeros = magnitude.leading_zeros();
            let aligned = magnitude << zeros;
            let exponent = self.base + 127 - zeros as i32;
            return format.round(
                self.narrow < 0,
                (aligned >> 64) as u64,
                aligned as u64 != 0,
                exponent,
            );
        };
        let mut total = wide.clone();
        total.add(self.narrow, self.base);
        let negative = total.negate_if_negative();
        let Some(top) = total.words.iter().rposition(|&w| w != 0) else {
            return Ok(0);
        };
        let zeros = total.words[top].leading_zeros();
        let below = if top > 0 { total.words[top - 1] } else { 0 };
        let pair = (u128::from(total.words[top]) << 64 | u128::from(below)) << zeros;
        let rest = top > 1 && total.words[..top - 1].iter().any(|&w| w != 0);
        let exponent = LOWEST_EXPONENT + top as i32 * 64 + 63 - zeros as i32;
        format.round(negative, (pair >> 64) as u64, pair as u64 != 0 || rest, exponent)
    }

    /// Appends the state: narrow (16 bytes), base (4), then nothing or the wide words and counts (8 each), little endian.
    pub fn save(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.narrow.to_le_bytes());
        into.extend_from_slice(&self.base.to_le_bytes());
        if let Some(wide) = &self.wide {
            wide.words.iter().for_each(|w| into.extend_from_slice(&w.to_le_bytes()));
            for count in [wide.nans, wide.infinities, wide.negative_infinities] {
                into.extend_from_slice(&count.to_le_bytes());
            }
        }
    }

    /// The state that [`FloatSum::save`] wrote.
    pub fn load(from: &[u8]) -> Result<FloatSum> {
        let damaged =
            || Error::new(SqlState::DATA_CORRUPTED, "a saved float sum has the wrong length");
        let (narrow, from) = from.split_first_chunk::<16>().ok_or_else(damaged)?;
        let (base, from) = from.split_first_chunk::<4>().ok_or_else(damaged)?;
        let mut sum = FloatSum {
            narrow: i128::from_le_bytes(*narrow),
            base: i32::from_le_bytes(*base),
            wide: None,
        };
        if from.is_empty() {
            return Ok(sum);
        }
        let (words, rest) = from.as_chunks::<8>();
        if words.len() != WIDE_WORDS + 3 || !rest.is_empty() {
            return Err(damaged());
        }
        let mut wide = Wide::default();
        for (word, bytes) in wide.words.iter_mut().zip(words) {
            *word = u64::from_le_bytes(*bytes);
        }
        let count = |i: usize| i64::from_le_bytes(words[WIDE_WORDS + i]);
        (wide.nans, wide.infinities, wide.negative_infinities) = (count(0), count(1), count(2));
        sum.wide = Some(Box::new(wide));
        Ok(sum)
    }
}

impl Wide {
    /// Adds `term * 2^exponent`; the exponent is that of some double's lowest bit.
    fn add(&mut self, term: i128, exponent: i32) {
        if term == 0 {
            return;
        }
        let position = (exponent - LOWEST_EXPONENT) as usize;
        let (word, bit) = (position / 64, position % 64);
        let sign = if term < 0 { u64::MAX } else { 0 };
        let low = (term as u128) << bit;
        let high = if bit == 0 { sign } else { (term >> (128 - bit)) as u64 };
        let parts = [low as u64, (low >> 64) as u64, high];
        let mut carry = false;
        for (i, target) in self.words[word..].iter_mut().enumerate() {
            let addend = parts.get(i).copied().unwrap_or(sign);
            let (sum, over) = target.overflowing_add(addend);
            let (sum, over_again) = sum.overflowing_add(u64::from(carry));
            (*target, carry) = (sum, over || over_again);
        }
    }

    /// Adds another accumulator, or its two's complement where `times` is -1.
    fn merge(&mut self, other: &Wide, times: i64) {
        let negated = times < 0;
        let mut carry = negated;
        for (target, word) in self.words.iter_mut().zip(&other.words) {
            let (sum, over) = target.overflowing_add(if negated { !word } else { *word });
            let (sum, over_again) = sum.overflowing_add(u64::from(carry));
            (*target, carry) = (sum, over || over_again);
        }
        self.nans += times * other.nans;
        self.infinities += times * other.infinities;
        self.negative_infinities += times * other.negative_infinities;
    }

    fn negate_if_negative(&mut self) -> bool {
        let negative = self.words[WIDE_WORDS - 1] >> 63 == 1;
        let mut carry = negative;
        for word in self.words.iter_mut().filter(|_| negative) {
            (*word, carry) = (!*word).overflowing_add(u64::from(carry));
        }
        negative
    }

    fn is_zero(&self) -> bool {
        let counts = self.nans | self.infinities | self.negative_infinities;
        counts == 0 && self.words.iter().all(|&w| w == 0)
    }
}

/// A binary interchange format of IEEE 754.
#[derive(Clone, Copy)]
struct Format {
    /// The hidden bit included.
    mantissa_bits: i32,
    bias: i32,
}

impl Format {
    /// The bits of `±1.xxx * 2^exponent` rounded to nearest even, where `top` holds the first 64 significant bits and
    /// `sticky` says whether any later bit is set.
    fn round(self, negative: bool, top: u64, sticky: bool, exponent: i32) -> Result<u64, Overflow> {
        let lowest_normal = 1 - self.bias;
        let precision = self.mantissa_bits - (lowest_normal - exponent).max(0);
        let sign = u64::from(negative) << (if self.mantissa_bits == 53 { 63 } else { 31 });
        if precision < 0 {
            return Ok(sign);
        }
        let dropped = (64 - precision) as u32;
        let half = 1u64 << (dropped - 1);
        let (kept, rest) = match dropped {
            64 => (0, top),
            _ => (top >> dropped, top & (half | (half - 1))),
        };
        let up = rest > half || (rest == half && (sticky || kept & 1 == 1));
        let kept = kept + u64::from(up);
        // Adding rather than masking lets a mantissa that was rounded up to a power of two carry into the exponent,
        // and a subnormal (whose exponent field is zero) become the smallest normal number.
        let field = (exponent - lowest_normal).max(0) as u64;
        let bits = (field << (self.mantissa_bits - 1)) + kept;
        let infinite = (2 * self.bias as u64 + 1) << (self.mantissa_bits - 1);
        if bits >= infinite { Err(Overflow) } else { Ok(sign | bits) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn sum_of(values: &[f64]) -> FloatSum {
        let mut sum = FloatSum::default();
        values.iter().for_each(|&v| sum.add(v, 1));
        sum
    }

    #[test]
    fn sum_is_exact_where_floats_are_not() {
        assert_eq!(sum_of(&[1e308, 1e-308, -1e308]).to_f64(), Ok(1e-308));
        assert_eq!(sum_of(&[1e16, 1.0, 1.0, -1e16]).to_f64(), Ok(2.0));
        assert_eq!(sum_of(&[0.1, 0.2, -0.3]).to_f64(), Ok(2.7755575615628914e-17));
        assert_eq!(sum_of(&[f64::MAX, f64::MAX]).to_f64(), Err(Overflow));
        assert_eq!(sum_of(&[f64::MAX, f64::MAX, -f64::MAX]).to_f64(), Ok(f64::MAX));
        assert_eq!(sum_of(&[5e-324, 5e-324]).to_f64(), Ok(1e-323));
        assert_eq!(sum_of(&[-0.0]).to_f64().unwrap().to_bits(), 0);
    }

    #[test]
    fn single_value_comes_back_bit_for_bit() {
        let mut random = StdRng::seed_from_u64(7);
        for _ in 0..200_000 {
            let value = f64::from_bits(random.random());
            let back = sum_of(&[value]).to_f64().unwrap();
            assert!(back == value || (back.is_nan() && value.is_nan()), "{value:e} {back:e}");
            let real = f32::from_bits(random.random());
            let back = sum_of(&[f64::from(real)]).to_f32().unwrap();
            assert!(back == real || (back.is_nan() && real.is_nan()), "{real:e} {back:e}");
            // Two doubles round like one addition, and a double to a real like a cast.
            let other = f64::from_bits(random.random());
            let both = sum_of(&[value, other]).to_f64();
            if (value + other).is_finite() {
                assert_eq!(both, Ok(value + other));
            }
            if value.is_finite() && (value as f32).is_finite() {
                assert_eq!(sum_of(&[value]).to_f32().unwrap(), value as f32);
            }
        }
    }

    #[test]
    fn what_is_added_and_retracted_leaves_no_trace() {
        let mut random = StdRng::seed_from_u64(11);
        for round in 0..2_000 {
            let wild = round % 2 == 0;
            let mut draw = || match random.random_range(0..20) {
                0 => f64::INFINITY,
                1 => f64::NAN,
                2 => f64::NEG_INFINITY,
                _ if wild => f64::from_bits(random.random()),
                _ => (random.random_range(-1_000_000..1_000_000) as f64) / 100.0,
            };
            let kept: Vec<f64> = (0..8).map(|_| draw()).collect();
            let gone: Vec<f64> = (0..20).map(|_| draw()).collect();
            let mut sum = FloatSum::default();
            gone.iter().for_each(|&v| sum.add(v, 3));
            kept.iter().for_each(|&v| sum.add(v, 1));
            let mut bytes = vec![];
            sum.save(&mut bytes);
            let mut sum = FloatSum::load(&bytes).unwrap();
            gone.iter().rev().for_each(|&v| sum.add(v, -3));
            let (left, right) = (sum.to_f64(), sum_of(&kept).to_f64());
            assert_eq!(left.map(f64::to_bits), right.map(f64::to_bits), "{kept:?}");
            kept.iter().for_each(|&v| sum.add(v, -1));
            sum.shrink();
            assert_eq!(sum.to_f64(), Ok(0.0));
        }
    }

    #[test]
    fn sums_of_parts_are_the_sum_of_all() {
        let mut random = StdRng::seed_from_u64(13);
        for _ in 0..2_000 {
            let draw = |random: &mut StdRng| match random.random_range(0..12) {
                0 => f64::INFINITY,
                1 => f64::NAN,
                2..=6 => f64::from_bits(random.random()),
                _ => (random.random_range(-1_000_000..1_000_000) as f64) / 100.0,
            };
            let first: Vec<f64> = (0..4).map(|_| draw(&mut random)).collect();
            let second: Vec<f64> = (0..4).map(|_| draw(&mut random)).collect();
            let all: Vec<f64> = first.iter().chain(&second).copied().collect();
            let (mut merged, other) = (sum_of(&first), sum_of(&second));
            merged.merge(&other, 1);
            let (left, right) = (merged.to_f64(), sum_of(&all).to_f64());
            assert_eq!(left.map(f64::to_bits), right.map(f64::to_bits), "{all:?}");
            merged.merge(&other, -1);
            let (left, right) = (merged.to_f64(), sum_of(&first).to_f64());
            assert_eq!(left.map(f64::to_bits), right.map(f64::to_bits), "{all:?}");
            merged.merge(&sum_of(&first), -1);
            assert!(merged.is_zero(), "{all:?}");
        }
    }

    #[test]
    fn damaged_state_is_refused() {
        assert!(FloatSum::load(&[0; 19]).is_err());
        assert!(FloatSum::load(&[0; 29]).is_err());
    }
}
