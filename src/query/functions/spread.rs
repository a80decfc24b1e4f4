//! `variance`, `stddev` and their kin: exact for integers and numerics, as numerics of sixteen fraction digits or more;
//! DataFusion's for floats.
//!
//! Count, sum and sum of squares are whole numbers in units of the argument's scale, so that no order of additions changes
//! them and a row that leaves a window takes back what it brought. What leaves 256 bits is 22003.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Decimal256Type, Int16Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType};
use arrow_buffer::i256;
use arrow_schema::{DataType, Field, FieldRef};
use datafusion::common::{HashSet, Result as DfResult, ScalarValue};
use datafusion::functions_aggregate::stddev::{stddev_pop_udaf, stddev_udaf};
use datafusion::functions_aggregate::variance::{var_pop_udaf, var_samp_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};

use crate::error::{Error, Result};
use crate::query::arithmetic::{bounded, power_of_ten, round_quotient};
use crate::query::errors::{numeric_overflow, to_datafusion};
use crate::query::sql_types::{NUMERIC_PRECISION, QUOTIENT_SCALE, numeric};

/// The family.
pub(super) fn all() -> Vec<Arc<AggregateUDF>> {
    [
        ("var_pop", true, false, var_pop_udaf()),
        ("var_samp", false, false, var_samp_udaf()),
        ("variance", false, false, var_samp_udaf()),
        ("stddev_pop", true, true, stddev_pop_udaf()),
        ("stddev_samp", false, true, stddev_udaf()),
        ("stddev", false, true, stddev_udaf()),
    ]
    .map(|(name, population, root, base)| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(AggregateUDF::from(Spread { name, population, root, base, signature }))
    })
    .into()
}

/// One of them.
#[derive(Debug, PartialEq, Eq)]
struct Spread {
    name: &'static str,
    /// Of all values there are, not of a sample.
    population: bool,
    /// The deviation, not its square.
    root: bool,
    /// What computes it for floats.
    base: Arc<AggregateUDF>,
    signature: Signature,
}

impl Hash for Spread {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// Whether values of the type are added up exactly.
fn is_exact(data_type: &DataType) -> bool {
    use DataType as T;
    matches!(data_type, T::Int16 | T::Int32 | T::Int64 | T::Decimal128(..))
}

impl AggregateUDFImpl for Spread {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        use DataType as T;
        match types {
            [exact] if is_exact(exact) => Ok(vec![exact.clone()]),
            [T::Float32 | T::Float64 | T::Null | T::Utf8] => Ok(vec![T::Float64]),
            [T::Int8 | T::UInt8] => Ok(vec![T::Int16]),
            [T::UInt16] => Ok(vec![T::Int32]),
            [T::UInt32 | T::UInt64] => Ok(vec![T::Int64]),
            _ => {
                let names: Vec<String> =
                    types.iter().map(crate::query::sql_types::pg_type_name).collect();
                let error = crate::query::errors::undefined_function(self.name, &names);
                Err(to_datafusion(error))
            }
        }
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(match &types[0] {
            DataType::Decimal128(_, scale) => numeric((*scale).max(QUOTIENT_SCALE)),
            exact if is_exact(exact) => numeric(QUOTIENT_SCALE),
            _ => DataType::Float64,
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        let input = args.expr_fields[0].data_type().clone();
        if !is_exact(&input) {
            return self.base.inner().accumulator(args);
        }
        let scale = if let DataType::Decimal128(_, scale) = input { scale } else { 0 };
        let DataType::Decimal128(_, returned) = *args.return_field.data_type() else {
            return Err(to_datafusion(Error::internal("the spread of numerics is a numeric")));
        };
        let moments = Moments { count: 0, sum: i256::ZERO, squares: i256::ZERO };
        let exact =
            Exact { population: self.population, root: self.root, scale, returned, moments };
        Ok(match args.is_distinct {
            true => Box::new(Distinct { input, seen: HashSet::new(), exact }),
            false => Box::new(exact),
        })
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        let input = args.input_fields[0].data_type();
        if !is_exact(input) {
            return self.base.inner().state_fields(args);
        }
        if args.is_distinct {
            let item = Arc::new(Field::new_list_field(input.clone(), true));
            return Ok(vec![Arc::new(Field::new("values", DataType::List(item), true))]);
        }
        let wide = |name| Arc::new(Field::new(name, DataType::Decimal256(76, 0), true));
        let count = Arc::new(Field::new("count", DataType::Int64, true));
        Ok(vec![count, wide("sum"), wide("squares")])
    }
}

/// What is added up: whole numbers of the argument's units.
#[derive(Clone, Debug)]
struct Moments {
    count: i64,
    sum: i256,
    squares: i256,
}

impl Moments {
    /// Adds the values, or takes them back.
    fn add(&mut self, values: &ArrayRef, sign: i64) -> Result<()> {
        fn each<T: ArrowPrimitiveType>(
            values: &ArrayRef,
            mut add: impl FnMut(i128) -> Result<()>,
        ) -> Result<()>
        where
            T::Native: Into<i128>,
        {
            values.as_primitive::<T>().iter().flatten().try_for_each(|v| add(v.into()))
        }
        let add = |value: i128| {
            let value = i256::from_i128(value);
            let square = value.checked_mul(value).ok_or_else(numeric_overflow)?;
            let (sum, squares) = match sign {
                1 => (self.sum.checked_add(value), self.squares.checked_add(square)),
                _ => (self.sum.checked_sub(value), self.squares.checked_sub(square)),
            };
            self.sum = sum.ok_or_else(numeric_overflow)?;
            self.squares = squares.ok_or_else(numeric_overflow)?;
            self.count += sign;
            Ok(())
        };
        match values.data_type() {
            DataType::Int16 => each::<Int16Type>(values, add),
            DataType::Int32 => each::<Int32Type>(values, add),
            DataType::Int64 => each::<Int64Type>(values, add),
            DataType::Decimal128(..) => each::<Decimal128Type>(values, add),
            other => Err(Error::internal(format!("the spread of {other}"))),
        }
    }
}

#[derive(Debug)]
struct Exact {
    population: bool,
    root: bool,
    /// Fraction digits of the argument, and of the result.
    scale: i8,
    returned: i8,
    moments: Moments,
}

impl Exact {
    fn result(&self) -> Result<Option<i128>> {
        let Moments { count, sum, squares } = &self.moments;
        if *count == 0 || (*count == 1 && !self.population) {
            return Ok(None);
        }
        let n = i256::from_i128((*count).into());
        let spread = n.checked_mul(*squares).zip(sum.checked_mul(*sum));
        let spread = spread.and_then(|(all, mean)| all.checked_sub(mean));
        let spread = spread.ok_or_else(numeric_overflow)?;
        let others = if self.population { n } else { n.wrapping_sub(i256::ONE) };
        let divisor = n.wrapping_mul(others);
        // The quotient is in units of 10^-(2 * scale).
        let variance = match self.root {
            false => scaled_quotient(
                spread,
                divisor,
                i32::from(self.returned) - 2 * i32::from(self.scale),
            ),
            true => {
                root_of_quotient(spread, divisor, i32::from(self.returned) - i32::from(self.scale))
            }
        };
        bounded(variance.ok_or_else(numeric_overflow)?).map(Some)
    }
}

/// `dividend / divisor` times ten to a power, rounded half away from zero.
fn scaled_quotient(dividend: i256, divisor: i256, power: i32) -> Option<i256> {
    let factor = power_of_ten(i8::try_from(power.abs()).ok().filter(|power| *power <= 76)?);
    Some(match power >= 0 {
        true => round_quotient(dividend.checked_mul(factor)?, divisor),
        false => round_quotient(dividend, divisor.checked_mul(factor)?),
    })
}

/// The square root of a quotient times ten to a power. Where the radicand would have too many digits, it is computed to fewer
/// and filled up with zeros.
pub(super) fn root_of_quotient(dividend: i256, divisor: i256, power: i32) -> Option<i256> {
    let mut digits = power;
    let radicand = loop {
        match scaled_quotient(dividend, divisor, 2 * digits) {
            Some(radicand) => break radicand,
            None if digits > -38 => digits -= 1,
            None => return None,
        }
    };
    let filled = power_of_ten(i8::try_from(power - digits).ok()?);
    root(radicand).checked_mul(filled)
}

/// The whole number nearest to a square root, by Newton's steps from above.
fn root(radicand: i256) -> i256 {
    if radicand <= i256::ZERO {
        return i256::ZERO;
    }
    let two = i256::from_i128(2);
    let bits = 256 - radicand.leading_zeros();
    let mut root = i256::ONE << (bits.div_ceil(2).min(254) as u8);
    loop {
        let next = root.wrapping_add(radicand.wrapping_div(root)).wrapping_div(two);
        if next >= root {
            break;
        }
        root = next;
    }
    // Of root and root + 1 the latter is nearer where more than root is left over.
    let rest = radicand.wrapping_sub(root.wrapping_mul(root));
    if rest > root { root.wrapping_add(i256::ONE) } else { root }
}

impl Accumulator for Exact {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.moments.add(&values[0], 1).map_err(to_datafusion)
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let value = self.result().map_err(to_datafusion)?;
        Ok(ScalarValue::Decimal128(value, NUMERIC_PRECISION, self.returned))
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.moments.add(&values[0], -1).map_err(to_datafusion)
    }

    fn size(&self) -> usize {
        size_of::<Exact>()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let wide = |value: i256| ScalarValue::Decimal256(Some(value), 76, 0);
        let Moments { count, sum, squares } = self.moments;
        Ok(vec![ScalarValue::from(count), wide(sum), wide(squares)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let counts = states[0].as_primitive::<Int64Type>();
        self.moments.count += counts.iter().flatten().sum::<i64>();
        for (total, parts) in
            [(&mut self.moments.sum, &states[1]), (&mut self.moments.squares, &states[2])]
        {
            for part in parts.as_primitive::<Decimal256Type>().iter().flatten() {
                *total =
                    total.checked_add(part).ok_or_else(|| to_datafusion(numeric_overflow()))?;
            }
        }
        Ok(())
    }
}

/// The same over distinct values.
#[derive(Debug)]
struct Distinct {
    input: DataType,
    seen: HashSet<ScalarValue>,
    exact: Exact,
}

impl Distinct {
    fn see(&mut self, values: &ArrayRef) -> DfResult<()> {
        for row in (0..values.len()).filter(|&row| values.is_valid(row)) {
            self.seen.insert(ScalarValue::try_from_array(values, row)?);
        }
        Ok(())
    }
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.see(&values[0])
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        self.exact.moments = Moments { count: 0, sum: i256::ZERO, squares: i256::ZERO };
        if !self.seen.is_empty() {
            let values = ScalarValue::iter_to_array(self.seen.iter().cloned())?;
            self.exact.update_batch(&[values])?;
        }
        self.exact.evaluate()
    }

    fn size(&self) -> usize {
        size_of::<Distinct>() + self.seen.iter().map(ScalarValue::size).sum::<usize>()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let values: Vec<ScalarValue> = self.seen.iter().cloned().collect();
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(&values, &self.input))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        for values in states[0].as_list::<i32>().iter().flatten() {
            self.see(&values)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_those_of_the_nearest_whole_number() {
        let of = |v: i128| root(i256::from_i128(v)).to_i128();
        assert_eq!([0, 1, 2, 3, 8, 9, 10].map(of), [0, 1, 1, 2, 3, 3, 3].map(Some));
        assert_eq!(of(10_i128.pow(36)), Some(10_i128.pow(18)));
    }

    #[test]
    fn the_spread_of_one_two_and_four_is_exact() {
        let mut exact = Exact {
            population: false,
            root: true,
            scale: 0,
            returned: 16,
            moments: Moments { count: 0, sum: i256::ZERO, squares: i256::ZERO },
        };
        let values: ArrayRef = Arc::new(arrow_array::Int32Array::from(vec![1, 2, 4]));
        exact.moments.add(&values, 1).unwrap();
        assert_eq!(exact.result().unwrap(), Some(15_275_252_316_519_467));
        exact.moments.add(&values.slice(0, 2), -1).unwrap();
        assert_eq!(exact.result().unwrap(), None);
    }
}
