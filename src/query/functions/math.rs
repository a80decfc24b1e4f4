//! Mathematics: rounding as PostgreSQL does it, of numerics half away from zero and of doubles half to even.
//!
//! Whole results of numerics have no fraction digits; integers are taken as double precision, as PostgreSQL resolves them.

use std::hash::Hash;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type};
use arrow_array::{ArrayRef, PrimitiveArray};
use arrow_buffer::i256;
use arrow_schema::{DataType, FieldRef};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TypeSignature, Volatility,
};

use super::datetime::with_column;
use crate::error::{Error, Result};
use crate::query::arithmetic::{bounded, power_of_ten, round_quotient};
use crate::query::errors::{from_arrow, to_datafusion, undefined_function};
use crate::query::sql_types::{NUMERIC_SCALE, numeric, pg_type_name, plain};

/// The family.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    let named = [
        ("round", Direction::Nearest),
        ("ceil", Direction::Up),
        ("ceiling", Direction::Up),
        ("floor", Direction::Down),
        ("trunc", Direction::TowardsZero),
    ];
    named.map(|(name, direction)| Arc::new(ScalarUDF::from(Rounding::new(name, direction)))).into()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Direction {
    Nearest,
    Up,
    Down,
    TowardsZero,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Rounding {
    name: &'static str,
    direction: Direction,
    signature: Signature,
}

impl Rounding {
    fn new(name: &'static str, direction: Direction) -> Rounding {
        Rounding { name, direction, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn takes_digits(&self) -> bool {
        matches!(self.direction, Direction::Nearest | Direction::TowardsZero)
    }
}

impl ScalarUDFImpl for Rounding {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let refused = || {
            let names: Vec<String> = types.iter().map(pg_type_name).collect();
            Err(to_datafusion(undefined_function(self.name, &names)))
        };
        let value = match types.first() {
            Some(DataType::Decimal128(..)) => types[0].clone(),
            Some(DataType::Float32 | DataType::Float64 | DataType::Null | DataType::Utf8)
                if types.len() == 1 =>
            {
                DataType::Float64
            }
            Some(t) if t.is_integer() && types.len() == 1 => DataType::Float64,
            Some(t) if t.is_integer() => numeric(0),
            _ => return refused(),
        };
        match types.len() {
            1 => Ok(vec![value]),
            2 if self.takes_digits() && (types[1].is_integer() || types[1].is_null()) => {
                Ok(vec![value, DataType::Int32])
            }
            _ => refused(),
        }
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(match &types[0] {
            DataType::Decimal128(_, scale) => numeric(if types.len() == 2 { *scale } else { 0 }),
            _ => DataType::Float64,
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let DataType::Decimal128(_, scale) = args.arg_fields[0].data_type() else {
            return Ok(plain(DataType::Float64));
        };
        // The number of digits is nearly always written out and is then the result's scale.
        let digits = match args.scalar_arguments.get(1) {
            None => 0,
            Some(Some(value)) => digits_of(value).unwrap_or(0).clamp(0, 37),
            Some(None) => (*scale).max(NUMERIC_SCALE),
        };
        Ok(plain(numeric(digits)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let DataType::Decimal128(_, scale) = args.return_field.data_type() else {
            return with_column(&args.args[0], args.number_rows, |array| self.doubles(array));
        };
        let digits = match args.args.get(1) {
            None => 0,
            Some(ColumnarValue::Scalar(value)) if value.is_null() => {
                return Ok(ColumnarValue::Scalar(ScalarValue::try_from(
                    args.return_field.data_type(),
                )?));
            }
            Some(ColumnarValue::Scalar(value)) => digits_of(value).unwrap_or(0),
            Some(ColumnarValue::Array(_)) => {
                return Err(to_datafusion(Error::unsupported(format!(
                    "{}() with digits that differ by row",
                    self.name
                ))));
            }
        };
        with_column(&args.args[0], args.number_rows, |array| self.numerics(array, digits, *scale))
    }
}

fn digits_of(value: &ScalarValue) -> Option<i8> {
    let digits = match value {
        ScalarValue::Int32(digits) => i64::from((*digits)?),
        ScalarValue::Int64(digits) => (*digits)?,
        _ => return None,
    };
    Some(digits.clamp(-37, 37) as i8)
}

impl Rounding {
    fn doubles(&self, array: &ArrayRef) -> Result<ArrayRef> {
        let rounded: PrimitiveArray<Float64Type> =
            array.as_primitive::<Float64Type>().unary(|value| match self.direction {
                Direction::Nearest => value.round_ties_even(),
                Direction::Up => value.ceil(),
                Direction::Down => value.floor(),
                Direction::TowardsZero => value.trunc(),
            });
        Ok(Arc::new(rounded))
    }

    /// Rounds to `digits` (negative: tens, hundreds ...), written with `scale` fraction digits.
    fn numerics(&self, array: &ArrayRef, digits: i8, scale: i8) -> Result<ArrayRef> {
        let DataType::Decimal128(_, from) = array.data_type() else {
            return Err(Error::internal("rounding takes a numeric"));
        };
        let step = power_of_ten(from - digits.min(*from));
        let (down, up) =
            (power_of_ten((*from).min(digits) - scale), power_of_ten(scale - (*from).min(digits)));
        let rounded: PrimitiveArray<Decimal128Type> =
            array.as_primitive::<Decimal128Type>().try_unary(|value| {
                let value = i256::from_i128(value);
                let truncated = value.wrapping_div(step);
                let exact = truncated.wrapping_mul(step) == value;
                let whole = match self.direction {
                    Direction::Nearest => round_quotient(value, step),
                    Direction::Up if !exact && value > i256::ZERO => {
                        truncated.wrapping_add(i256::ONE)
                    }
                    Direction::Down if !exact && value < i256::ZERO => {
                        truncated.wrapping_sub(i256::ONE)
                    }
                    _ => truncated,
                };
                bounded(whole.wrapping_mul(up).wrapping_div(down))
            })?;
        Ok(Arc::new(rounded.with_precision_and_scale(38, scale).map_err(from_arrow)?))
    }
}

/// A signature that takes any arguments, none included.
pub(super) fn any_arguments(volatility: Volatility) -> Signature {
    Signature::one_of(vec![TypeSignature::Nullary, TypeSignature::VariadicAny], volatility)
}
