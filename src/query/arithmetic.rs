//! PostgreSQL's arithmetic as DataFusion functions: `+ - * / %` and negation that check every result.
//!
//! Owns result types and kernels; which operands an operator takes and how they are cast first is `operators`' business.
//! DataFusion's own arithmetic is not used because it wraps on overflow and its type rules differ. Invariant: a
//! result is exact, correctly rounded to the result's scale, or an error 22003 or 22012; it never wraps and is never NaN
//! or infinite where no operand was. Batches are evaluated whole; an error says nothing about which row it was.

use std::hash::Hash;
use std::sync::{Arc, LazyLock};

use arrow::compute::kernels::numeric as kernels;
use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float32Type, Float64Type, IntervalMonthDayNanoType};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, Datum, PrimitiveArray, Scalar};
use arrow_buffer::{IntervalMonthDayNano, i256};
use arrow_schema::{DataType, FieldRef};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::errors::{
    division_by_zero, from_arrow, numeric_overflow, out_of_range, to_datafusion, undefined_operator,
};
use super::moments;
use super::sql_types::{
    NUMERIC_PRECISION, QUOTIENT_SCALE, interval, mark_of, marked, numeric, pg_name, pg_type_name,
    plain, timestamp,
};
use crate::error::{Error, Result, SqlState};

/// Most fraction digits that a product gains over its operands: twenty-two digits stay before the point.
const PRODUCT_SCALE: i8 = 16;

/// An arithmetic operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Negate,
}

impl Operation {
    /// The operator as SQL writes it.
    pub fn symbol(self) -> &'static str {
        match self {
            Operation::Add => "+",
            Operation::Subtract | Operation::Negate => "-",
            Operation::Multiply => "*",
            Operation::Divide => "/",
            Operation::Modulo => "%",
        }
    }

    /// The name under which plans show it and functions are found.
    pub fn function_name(self) -> &'static str {
        match self {
            Operation::Add => "op_add",
            Operation::Subtract => "op_subtract",
            Operation::Multiply => "op_multiply",
            Operation::Divide => "op_divide",
            Operation::Modulo => "op_modulo",
            Operation::Negate => "op_negate",
        }
    }

    pub const ALL: [Operation; 6] = [
        Operation::Add,
        Operation::Subtract,
        Operation::Multiply,
        Operation::Divide,
        Operation::Modulo,
        Operation::Negate,
    ];
}

/// The function that computes `operation`; its operands are of equal type, or a date, time or interval combination.
pub fn function(operation: Operation) -> Arc<ScalarUDF> {
    static FUNCTIONS: LazyLock<Vec<Arc<ScalarUDF>>> = LazyLock::new(|| {
        Operation::ALL.iter().map(|o| Arc::new(ScalarUDF::from(Arithmetic::new(*o)))).collect()
    });
    let index =
        Operation::ALL.iter().position(|o| *o == operation).expect("ALL has every operation");
    Arc::clone(&FUNCTIONS[index])
}

/// The result's type, `None` where PostgreSQL has no such operator between these (already unified) types.
pub fn result_type(operation: Operation, left: &DataType, right: &DataType) -> Option<DataType> {
    use DataType as T;
    use Operation as O;
    let (ts, date) = (timestamp(), T::Date32);
    Some(match (operation, left, right) {
        (
            O::Negate,
            T::Int16
            | T::Int32
            | T::Int64
            | T::Float32
            | T::Float64
            | T::Decimal128(..)
            | T::Interval(_),
            _,
        ) => left.clone(),
        (O::Negate, ..) => return None,
        (O::Modulo, T::Float32 | T::Float64, _) => return None,
        (_, T::Int16, T::Int16) | (_, T::Int32, T::Int32) | (_, T::Int64, T::Int64) => left.clone(),
        (_, T::Float32, T::Float32) | (_, T::Float64, T::Float64) => left.clone(),
        (_, T::Decimal128(_, a), T::Decimal128(_, b)) => numeric(numeric_scale(operation, *a, *b)),
        (O::Add | O::Subtract, T::Date32, T::Int32) | (O::Add, T::Int32, T::Date32) => date,
        (O::Subtract, T::Date32, T::Date32) => T::Int32,
        (O::Subtract, T::Timestamp(..), T::Timestamp(..)) => interval(),
        (O::Add | O::Subtract, T::Date32, T::Interval(_)) | (O::Add, T::Interval(_), T::Date32) => {
            ts
        }
        (O::Add, T::Date32, T::Time64(_)) | (O::Add, T::Time64(_), T::Date32) => ts,
        (O::Add | O::Subtract, T::Timestamp(..), T::Interval(_)) => left.clone(),
        (O::Add, T::Interval(_), T::Timestamp(..)) => right.clone(),
        (O::Add | O::Subtract, T::Time64(_), T::Interval(_)) => left.clone(),
        (O::Add, T::Interval(_), T::Time64(_)) => right.clone(),
        (O::Subtract, T::Time64(_), T::Time64(_)) => interval(),
        (O::Add | O::Subtract, T::Interval(_), T::Interval(_)) => interval(),
        (O::Multiply | O::Divide, T::Interval(_), T::Float64)
        | (O::Multiply, T::Float64, T::Interval(_)) => interval(),
        _ => return None,
    })
}

/// Fraction digits of a numeric result. PostgreSQL's products have the sum of the scales and its quotients at
/// least sixteen significant digits; Arrow's scale is fixed per column, so both are bounded here.
fn numeric_scale(operation: Operation, a: i8, b: i8) -> i8 {
    let larger = a.max(b);
    match operation {
        Operation::Multiply => (a + b).min(larger.max(PRODUCT_SCALE)),
        Operation::Divide => larger.max(QUOTIENT_SCALE),
        _ => larger,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Arithmetic {
    operation: Operation,
    signature: Signature,
}

impl Arithmetic {
    fn new(operation: Operation) -> Arithmetic {
        let operands = if operation == Operation::Negate { 1 } else { 2 };
        Arithmetic { operation, signature: Signature::any(operands, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Arithmetic {
    fn name(&self) -> &str {
        self.operation.function_name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        let right = types.get(1).unwrap_or(&DataType::Null);
        result_type(self.operation, &types[0], right).ok_or_else(|| {
            to_datafusion(undefined_operator(
                &pg_type_name(&types[0]),
                self.operation.symbol(),
                &pg_type_name(right),
            ))
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let (left, right) =
            (&args.arg_fields[0], args.arg_fields.last().expect("operators have operands"));
        let Some(data_type) = result_type(self.operation, left.data_type(), right.data_type())
        else {
            return Err(to_datafusion(undefined_operator(
                &pg_name(left),
                self.operation.symbol(),
                &pg_name(right),
            )));
        };
        // A numeric without precision stays one, so that its trailing zeros are still not shown.
        let open = matches!(data_type, DataType::Decimal128(..))
            && self.operation != Operation::Divide
            && args.arg_fields.iter().any(|f| mark_of(f) == Some("numeric"));
        Ok(if open { marked(data_type, "numeric") } else { plain(data_type) })
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let result_type = args.return_field.data_type();
        let scalar = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let operands = args.args.iter().map(Operand::of).collect::<DfResult<Vec<_>>>()?;
        let rows = if scalar { 1 } else { args.number_rows };
        let result = match operands.as_slice() {
            [one] => negate(one, rows),
            [left, right] => binary(self.operation, left, right, result_type, rows),
            _ => Err(Error::internal("an operator has one or two operands")),
        };
        let array = result.map_err(to_datafusion)?;
        Ok(if scalar {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)
        } else {
            ColumnarValue::Array(array)
        })
    }
}

/// An operand: a column of the batch, or one value for all its rows.
pub(super) struct Operand {
    pub(super) array: ArrayRef,
    pub(super) scalar: bool,
}

impl Operand {
    fn of(value: &ColumnarValue) -> DfResult<Operand> {
        Ok(match value {
            ColumnarValue::Array(array) => Operand { array: Arc::clone(array), scalar: false },
            ColumnarValue::Scalar(value) => Operand { array: value.to_array()?, scalar: true },
        })
    }

    fn datum(&self) -> Box<dyn Datum> {
        if self.scalar {
            Box::new(Scalar::new(Arc::clone(&self.array)))
        } else {
            Box::new(Arc::clone(&self.array))
        }
    }

    pub(super) fn data_type(&self) -> &DataType {
        self.array.data_type()
    }

    /// The value at a row; a scalar's is the same at each. `None` is NULL.
    fn at<T: ArrowPrimitiveType>(&self, row: usize) -> Option<T::Native> {
        let row = if self.scalar { 0 } else { row };
        let values = self.array.as_primitive::<T>();
        (!values.is_null(row)).then(|| values.value(row))
    }
}

fn binary(
    operation: Operation,
    left: &Operand,
    right: &Operand,
    result: &DataType,
    rows: usize,
) -> Result<ArrayRef> {
    match (left.data_type(), right.data_type()) {
        (DataType::Int16 | DataType::Int32 | DataType::Int64, r) if left.data_type() == r => {
            integers(operation, left, right)
        }
        (DataType::Float32, DataType::Float32) => floats::<Float32Type>(operation, left, right),
        (DataType::Float64, DataType::Float64) => floats::<Float64Type>(operation, left, right),
        (DataType::Decimal128(_, a), DataType::Decimal128(_, b)) => {
            numerics(operation, left, *a, right, *b, result, rows)
        }
        _ => moments::compute(operation, left, right, result, rows),
    }
}

fn integers(operation: Operation, left: &Operand, right: &Operand) -> Result<ArrayRef> {
    let (l, r) = (left.datum(), right.datum());
    let result = match operation {
        Operation::Add => kernels::add(l.as_ref(), r.as_ref()),
        Operation::Subtract => kernels::sub(l.as_ref(), r.as_ref()),
        Operation::Multiply => kernels::mul(l.as_ref(), r.as_ref()),
        Operation::Divide => kernels::div(l.as_ref(), r.as_ref()),
        Operation::Modulo => kernels::rem(l.as_ref(), r.as_ref()),
        Operation::Negate => return Err(Error::internal("negation has one operand")),
    };
    result.map_err(|error| match error {
        arrow_schema::ArrowError::ArithmeticOverflow(_) => {
            out_of_range(&pg_type_name(left.data_type()))
        }
        other => from_arrow(other),
    })
}

/// Float arithmetic by Arrow's kernels, then one pass that looks for results PostgreSQL refuses.
fn floats<T: ArrowPrimitiveType>(
    operation: Operation,
    left: &Operand,
    right: &Operand,
) -> Result<ArrayRef>
where
    T::Native: Into<f64> + Copy,
{
    let (l, r) = (left.datum(), right.datum());
    let result = match operation {
        Operation::Add => kernels::add_wrapping(l.as_ref(), r.as_ref()),
        Operation::Subtract => kernels::sub_wrapping(l.as_ref(), r.as_ref()),
        Operation::Multiply => kernels::mul_wrapping(l.as_ref(), r.as_ref()),
        Operation::Divide => kernels::div(l.as_ref(), r.as_ref()),
        Operation::Modulo | Operation::Negate => {
            return Err(Error::internal("no such float operator"));
        }
    }
    .map_err(from_arrow)?;
    let values = result.as_primitive::<T>();
    let suspicious = values.values().iter().any(|v| !(*v).into().is_finite())
        || (matches!(operation, Operation::Multiply | Operation::Divide)
            && values.values().iter().any(|v| (*v).into() == 0.0))
        || operation == Operation::Divide;
    if suspicious {
        check_floats::<T>(operation, left, right, values)?;
        return Ok(with_plain_nans(result));
    }
    Ok(result)
}

/// Processors give the NaN of `Infinity - Infinity` a sign, and negation gives any NaN one; sorted by their bits such NaNs
/// would be the least floats instead of the greatest.
fn with_plain_nans(floats: ArrayRef) -> ArrayRef {
    let plain_64 = |v: f64| if v.is_nan() { f64::NAN } else { v };
    let plain_32 = |v: f32| if v.is_nan() { f32::NAN } else { v };
    if let Some(floats) = floats.as_primitive_opt::<Float64Type>() {
        Arc::new(floats.unary::<_, Float64Type>(plain_64))
    } else if let Some(floats) = floats.as_primitive_opt::<Float32Type>() {
        Arc::new(floats.unary::<_, Float32Type>(plain_32))
    } else {
        floats
    }
}

fn check_floats<T: ArrowPrimitiveType>(
    operation: Operation,
    left: &Operand,
    right: &Operand,
    results: &PrimitiveArray<T>,
) -> Result<()>
where
    T::Native: Into<f64> + Copy,
{
    for row in 0..results.len() {
        let (Some(l), Some(r)) = (left.at::<T>(row), right.at::<T>(row)) else {
            continue;
        };
        let (l, r, result): (f64, f64, f64) = (l.into(), r.into(), results.value(row).into());
        if operation == Operation::Divide && r == 0.0 && !l.is_nan() {
            return Err(division_by_zero());
        }
        if result.is_infinite() && l.is_finite() && r.is_finite() {
            return Err(Error::new(
                SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
                "value out of range: overflow",
            ));
        }
        let vanished = match operation {
            Operation::Multiply => l != 0.0 && r != 0.0,
            Operation::Divide => l != 0.0 && r.is_finite(),
            _ => false,
        };
        if result == 0.0 && vanished {
            return Err(Error::new(
                SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
                "value out of range: underflow",
            ));
        }
    }
    Ok(())
}

/// Numeric arithmetic in 256 bits, rounded half away from zero to the result's scale.
fn numerics(
    operation: Operation,
    left: &Operand,
    left_scale: i8,
    right: &Operand,
    right_scale: i8,
    result: &DataType,
    rows: usize,
) -> Result<ArrayRef> {
    let DataType::Decimal128(precision, scale) = result else {
        return Err(Error::internal("numeric arithmetic has a numeric result"));
    };
    let larger = left_scale.max(right_scale);
    let (left_factor, right_factor) =
        (power_of_ten(larger - left_scale), power_of_ten(larger - right_scale));
    let compute = |l: i128, r: i128| -> Result<i128> {
        let (l, r) = (i256::from_i128(l), i256::from_i128(r));
        // The factors are at most 10^38 and the operands below 10^38: nothing here leaves 256 bits.
        let value = match operation {
            Operation::Add => {
                l.wrapping_mul(left_factor).wrapping_add(r.wrapping_mul(right_factor))
            }
            Operation::Subtract => {
                l.wrapping_mul(left_factor).wrapping_sub(r.wrapping_mul(right_factor))
            }
            Operation::Multiply => {
                round_quotient(l.wrapping_mul(r), power_of_ten(left_scale + right_scale - scale))
            }
            Operation::Divide | Operation::Modulo if r == i256::ZERO => {
                return Err(division_by_zero());
            }
            Operation::Divide => quotient(l, r, scale + right_scale - left_scale)?,
            Operation::Modulo => {
                l.wrapping_mul(left_factor).wrapping_rem(r.wrapping_mul(right_factor))
            }
            Operation::Negate => return Err(Error::internal("negation has one operand")),
        };
        bounded(value)
    };
    let values =
        combine::<Decimal128Type, Decimal128Type, Decimal128Type>(left, right, rows, compute)?;
    Ok(Arc::new(values.with_precision_and_scale(*precision, *scale).map_err(from_arrow)?))
}

/// The quotient of two numbers that are known, each a value of 10^-scale, with the fraction digits that PostgreSQL gives it:
/// sixteen significant ones at least, counted in its groups of four, and no fewer than either operand has. `None` for a
/// quotient that is not there or has too many digits.
pub(super) fn known_quotient(left: (i128, i8), right: (i128, i8)) -> Option<ScalarValue> {
    if right.0 == 0 {
        return None;
    }
    let ((left_weight, left_first), (right_weight, right_first)) = (head(left), head(right));
    let weight = left_weight - right_weight - i32::from(left_first <= right_first);
    let scale = (16 - weight * 4).max(left.1.into()).max(right.1.into());
    let scale = i8::try_from(scale).ok().filter(|scale| (0..=37).contains(scale))?;
    let shift = scale + right.1 - left.1;
    let quotient = quotient(i256::from_i128(left.0), i256::from_i128(right.0), shift).ok()?;
    let quotient = bounded(quotient).ok()?;
    Some(ScalarValue::Decimal128(Some(quotient), NUMERIC_PRECISION, scale))
}

/// The first group of four digits of a number that is not zero, and its power of ten thousand; zeros for zero.
fn head((value, scale): (i128, i8)) -> (i32, i128) {
    let value = value.unsigned_abs();
    let Some(digits) = value.checked_ilog10() else { return (0, 0) };
    let weight = (digits as i32 - i32::from(scale)).div_euclid(4);
    let shift = i32::from(scale) + 4 * weight;
    let first = match u32::try_from(shift) {
        Ok(shift) => value / 10_u128.pow(shift),
        Err(_) => value * 10_u128.pow(shift.unsigned_abs()),
    };
    (weight, first as i128)
}

/// `left / right` with `shift` more fraction digits, rounded half away from zero.
fn quotient(left: i256, right: i256, shift: i8) -> Result<i256> {
    if shift >= 0 {
        let scaled = left.checked_mul(power_of_ten(shift)).ok_or_else(numeric_overflow)?;
        Ok(round_quotient(scaled, right))
    } else {
        Ok(round_quotient(
            left,
            right.checked_mul(power_of_ten(-shift)).ok_or_else(numeric_overflow)?,
        ))
    }
}

/// `dividend / divisor` rounded half away from zero; the divisor is not zero.
pub(super) fn round_quotient(dividend: i256, divisor: i256) -> i256 {
    let (whole, rest) = (dividend.wrapping_div(divisor), dividend.wrapping_rem(divisor));
    let rest = rest.wrapping_abs();
    // The rest is smaller than the divisor, so this comparison stands for `2 * rest >= divisor` without doubling.
    if rest != i256::ZERO && rest >= divisor.wrapping_abs().wrapping_sub(rest) {
        let negative = (dividend < i256::ZERO) != (divisor < i256::ZERO);
        if negative { whole.wrapping_sub(i256::ONE) } else { whole.wrapping_add(i256::ONE) }
    } else {
        whole
    }
}

/// Ten to a small power; zero and negative powers are one.
pub(super) fn power_of_ten(exponent: i8) -> i256 {
    (0..exponent).fold(i256::ONE, |power, _| power.wrapping_mul(i256::from_i128(10)))
}

/// The value if it has at most 38 digits.
pub(super) fn bounded(value: i256) -> Result<i128> {
    const LIMIT: i128 = 10_i128.pow(NUMERIC_PRECISION as u32);
    value.to_i128().filter(|v| -LIMIT < *v && *v < LIMIT).ok_or_else(numeric_overflow)
}

/// A fallible function of two operands, row by row; NULL where one is NULL.
pub(super) fn combine<L, R, O>(
    left: &Operand,
    right: &Operand,
    rows: usize,
    compute: impl Fn(L::Native, R::Native) -> Result<O::Native>,
) -> Result<PrimitiveArray<O>>
where
    L: ArrowPrimitiveType,
    R: ArrowPrimitiveType,
    O: ArrowPrimitiveType,
{
    (0..rows)
        .map(|row| match (left.at::<L>(row), right.at::<R>(row)) {
            (Some(l), Some(r)) => compute(l, r).map(Some),
            _ => Ok(None),
        })
        .collect()
}

fn negate(operand: &Operand, rows: usize) -> Result<ArrayRef> {
    match operand.data_type() {
        DataType::Interval(_) => {
            let zero = Operand {
                array: Arc::new(PrimitiveArray::<IntervalMonthDayNanoType>::from(vec![
                    IntervalMonthDayNano::ZERO,
                ])),
                scalar: true,
            };
            moments::compute(Operation::Subtract, &zero, operand, &interval(), rows)
        }
        DataType::Float32 | DataType::Float64 => {
            kernels::neg_wrapping(&operand.array).map(with_plain_nans).map_err(from_arrow)
        }
        other => kernels::neg(&operand.array).map_err(|_| out_of_range(&pg_type_name(other))),
    }
}
