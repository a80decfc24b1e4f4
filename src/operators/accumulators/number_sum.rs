//! `sum` and `avg` over integers and decimals: exact in 192 bits, range-checked when they are read.
//!
//! 128 bits would do for integers, but not for many decimals of 38 digits; two words more a group keep one code path.
//! A result beyond its type fails its group with 22003 until the cause is retracted.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef, Decimal128Array, Float64Array, UInt64Array};
use arrow_buffer::{NullBuffer, NullBufferBuilder, i256};
use arrow_schema::DataType;

use super::{Accumulator, Failure, Input, reset, split};
use crate::error::{Error, Result, SqlState};
use crate::operators::group_index::keep;
use crate::operators::native_column::{from_i64, is_integer_like, to_i64};
use crate::operators::prefetch::visit;

/// `high * 2^128 + low`, and how many values there are.
#[derive(Clone, Copy, Default)]
struct State {
    low: u128,
    high: i64,
    count: i64,
}

impl State {
    #[inline]
    fn add(&mut self, low: u128, high: i64) {
        let (sum, carry) = self.low.overflowing_add(low);
        self.low = sum;
        self.high += high + i64::from(carry);
    }

    #[inline]
    fn add_product(&mut self, value: i128, weight: i64) {
        self.count += weight;
        if let Some(product) = value.checked_mul(i128::from(weight)) {
            return self.add(product as u128, (product >> 127) as i64);
        }
        let weight = i128::from(weight);
        let (upper, lower) = ((value >> 64) * weight, (value as u64 as i128) * weight);
        self.add(lower as u128, (lower >> 127) as i64);
        self.add((upper as u128) << 64, (upper >> 64) as i64);
    }

    /// The total, where it fits.
    fn small(&self) -> Option<i128> {
        let low = self.low as i128;
        (self.high == (low >> 127) as i64).then_some(low)
    }

    fn total(&self) -> i256 {
        i256::from_parts(self.low, i128::from(self.high))
    }
}

/// What the result is made into.
enum Target {
    /// An integer-like type by its range and its name in messages.
    Integer {
        min: i128,
        max: i128,
        name: &'static str,
    },
    Decimal {
        precision: u8,
        scale: i8,
    },
    Double,
}

pub struct NumberSums {
    average: bool,
    /// Digits after the point of the argument.
    scale: i8,
    returned: DataType,
    target: Target,
    states: Vec<State>,
}

impl NumberSums {
    pub fn new(average: bool, argument: &DataType, returned: &DataType) -> Result<NumberSums> {
        use DataType::*;
        let scale = match argument {
            Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64 | Duration(_) => 0,
            Decimal128(_, scale) => *scale,
            other => return Err(Error::unsupported(format!("sum or avg of type {other}"))),
        };
        let integer = |min: i128, max: i128, name| Target::Integer { min, max, name };
        let target = match returned {
            Int16 => integer(i16::MIN.into(), i16::MAX.into(), "smallint"),
            Int32 => integer(i32::MIN.into(), i32::MAX.into(), "integer"),
            Int64 => integer(i64::MIN.into(), i64::MAX.into(), "bigint"),
            UInt64 => integer(0, u64::MAX.into(), "unsigned bigint"),
            Duration(_) => integer(i64::MIN.into(), i64::MAX.into(), "interval"),
            Decimal128(precision, scale) => {
                Target::Decimal { precision: *precision, scale: *scale }
            }
            Float64 => Target::Double,
            other => {
                return Err(Error::unsupported(format!("sum or avg returning type {other}")));
            }
        };
        Ok(NumberSums { average, scale, returned: returned.clone(), target, states: vec![] })
    }

    fn add_all<T: ArrowPrimitiveType<Native: Into<i128>>>(&mut self, input: &Input) {
        let values = input.args[0].as_primitive::<T>().values();
        let states = self.states.as_mut_slice();
        input.for_each(input.nulls().as_ref(), |row, group, weight| {
            states[group].add_product(values[row].into(), weight);
        });
    }

    /// The sum, or the average, in units of 10^-`scale`, half rounded away from zero.
    fn scaled(&self, state: &State, scale: i8) -> Option<i128> {
        let lift = i32::from(scale) - i32::from(self.scale);
        if let (0, false) = (lift, self.average) {
            return state.small();
        }
        let divisor = if self.average { i128::from(state.count) } else { 1 };
        let power = 10i128.checked_pow(lift.unsigned_abs())?;
        let (raise, divisor) =
            if lift >= 0 { (power, divisor) } else { (1, divisor.checked_mul(power)?) };
        match state.small().and_then(|total| total.checked_mul(raise)) {
            Some(total) => Some(divide_half_away(total, divisor)),
            None => {
                let total = state.total().checked_mul(i256::from_i128(raise))?;
                let divisor = i256::from_i128(divisor);
                let (quotient, rest) = (total.checked_div(divisor)?, total.checked_rem(divisor)?);
                let twice = rest.wrapping_abs().checked_mul(i256::from_i128(2))?;
                let up = twice >= divisor;
                let unit = if total.is_negative() { -1 } else { 1 };
                let step = i256::from_i128(if up { unit } else { 0 });
                quotient.checked_add(step)?.to_i128()
            }
        }
    }

    /// The results in units of 10^-`scale`: NULL where there is no value, 0 at failures.
    fn results(
        &self,
        groups: &[u32],
        scale: i8,
        failures: &mut Vec<Failure>,
        fits: impl Fn(i128) -> bool,
        message: &str,
    ) -> (Vec<i128>, Option<NullBuffer>) {
        let plain = !self.average && scale == self.scale;
        let mut values = Vec::with_capacity(groups.len());
        let mut nulls = NullBufferBuilder::new(groups.len());
        visit(&self.states, groups, |position, state| {
            if state.count <= 0 {
                nulls.append_null();
                return values.push(0);
            }
            nulls.append_non_null();
            let value = if plain { state.small() } else { self.scaled(state, scale) };
            let value = value.filter(|&v| fits(v));
            if value.is_none() {
                let code = SqlState::NUMERIC_VALUE_OUT_OF_RANGE;
                failures.push(Failure { position, code, message: message.to_owned() });
            }
            values.push(value.unwrap_or(0));
        });
        (values, nulls.finish())
    }

    fn double(&self, state: &State) -> Option<f64> {
        if state.count <= 0 {
            return None;
        }
        let total = match state.small() {
            Some(total) => total as f64,
            None => state.high as f64 * 2f64.powi(128) + state.low as f64,
        };
        let total = total / 10f64.powi(i32::from(self.scale));
        Some(if self.average { total / state.count as f64 } else { total })
    }
}

/// The quotient rounded to the nearest integer, halves away from zero; the divisor is positive.
fn divide_half_away(dividend: i128, divisor: i128) -> i128 {
    let (quotient, rest) = (dividend / divisor, dividend % divisor);
    let up = rest.unsigned_abs() >= divisor.unsigned_abs().div_ceil(2);
    quotient + if up { dividend.signum() } else { 0 }
}

impl Accumulator for NumberSums {
    fn resize(&mut self, slots: usize) {
        self.states.resize(slots, State::default());
    }

    fn update(&mut self, input: &Input) -> Result<()> {
        match input.args[0].data_type() {
            DataType::Int64 => self.add_all::<Int64Type>(input),
            DataType::Decimal128(..) => self.add_all::<Decimal128Type>(input),
            DataType::UInt64 => self.add_all::<UInt64Type>(input),
            narrow if is_integer_like(narrow) => {
                let values = to_i64(&input.args[0]);
                let states = self.states.as_mut_slice();
                input.for_each(input.nulls().as_ref(), |row, group, weight| {
                    states[group].add_product(values[row].into(), weight);
                });
            }
            other => {
                return Err(Error::internal(format!(
                    "sum was built for another type than {other}"
                )));
            }
        }
        Ok(())
    }

    fn evaluate(
        &mut self,
        groups: &[u32],
        _: &[i64],
        failures: &mut Vec<Failure>,
    ) -> Result<ArrayRef> {
        match self.target {
            Target::Integer { min, max, name } => {
                let message = format!("{name} out of range");
                let fits = |v| (min..=max).contains(&v);
                let (values, nulls) = self.results(groups, 0, failures, fits, &message);
                if self.returned == DataType::UInt64 {
                    let values = values.into_iter().map(|v| v as u64).collect();
                    return Ok(Arc::new(UInt64Array::new(values, nulls)));
                }
                let values = values.into_iter().map(|v| v as i64).collect();
                Ok(from_i64(values, nulls, &self.returned))
            }
            Target::Decimal { precision, scale } => {
                let limit = 10u128.pow(u32::from(precision));
                let fits = |v: i128| v.unsigned_abs() < limit;
                let message = "numeric field overflow";
                let (values, nulls) = self.results(groups, scale, failures, fits, message);
                let decimals = Decimal128Array::new(values.into(), nulls);
                Ok(Arc::new(decimals.with_data_type(self.returned.clone())))
            }
            Target::Double => {
                let result = |&g: &u32| self.double(&self.states[g as usize]);
                Ok(Arc::new(groups.iter().map(result).collect::<Float64Array>()))
            }
        }
    }

    fn clear(&mut self, groups: &[u32]) {
        reset(&mut self.states, groups);
    }

    fn compact(&mut self, kept: &[u32]) {
        keep(&mut self.states, kept);
    }

    fn bytes(&self) -> usize {
        self.states.capacity() * size_of::<State>()
    }

    fn is_additive(&self) -> bool {
        true
    }

    fn merge(&mut self, from: usize, into: usize, times: i64) {
        let State { low, high, count } = self.states[from];
        let state = &mut self.states[into];
        state.count += times * count;
        match times {
            1 => state.add(low, high),
            // Two's complement of both words together.
            _ => state.add((!low).wrapping_add(1), !high + i64::from(low == 0)),
        }
    }

    fn is_zero(&self, group: usize) -> bool {
        let State { low, high, count } = self.states[group];
        (low, high, count) == (0, 0, 0)
    }

    fn save(&self, group: usize, into: &mut Vec<u8>) {
        let State { low, high, count } = self.states[group];
        into.extend_from_slice(&low.to_le_bytes());
        into.extend_from_slice(&high.to_le_bytes());
        into.extend_from_slice(&count.to_le_bytes());
    }

    fn load(&mut self, group: usize, from: &[u8]) -> Result<()> {
        let (low, from) = split(from)?;
        let (high, from) = split(from)?;
        let count = i64::from_le_bytes(split(from)?.0);
        let (low, high) = (u128::from_le_bytes(low), i64::from_le_bytes(high));
        self.states[group] = State { low, high, count };
        Ok(())
    }
}
