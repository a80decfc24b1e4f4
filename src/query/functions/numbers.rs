//! Functions of numbers beside rounding: roots, powers and logarithms with PostgreSQL's refusals, whole-number arithmetic,
//! angles in degrees, buckets, and what a numeric's digits are.
//!
//! Powers, logarithms and angles are of double precision, also those of numerics.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int16Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::i256;
use arrow_schema::{DataType, FieldRef};
use datafusion::logical_expr::{ReturnFieldArgs, ScalarUDF};

use super::native::Kind::{Any, Float8, Int2, Int4, Int8, Numeric, Text};
use super::native::{Call, form, infallible, native};
use super::number_pattern::NumberPattern;
use super::spread::root_of_quotient;
use crate::error::{Error, Result, SqlState};
use crate::query::arithmetic::{bounded, power_of_ten};
use crate::query::errors::{division_by_zero, from_arrow, numeric_overflow, out_of_range};
use crate::query::sql_types::{NUMERIC_SCALE, QUOTIENT_SCALE, mark_of, marked, numeric, plain};

/// The function that `~` before an integer stands for.
pub(crate) const BIT_NOT: &str = "bit_not";

type Compute = fn(&Call) -> Result<ArrayRef>;

/// The family.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    let mut functions = of_doubles();
    functions.extend(of_whole_numbers());
    functions.extend([
        native(
            "sign",
            vec![
                form(&[Float8], DataType::Float64, sign),
                form(&[Numeric], numeric(0), sign_of_numeric),
            ],
        ),
        native(
            "sqrt",
            vec![
                form(&[Float8], DataType::Float64, |call| unary(call, sqrt)),
                form(&[Numeric], numeric(QUOTIENT_SCALE), sqrt_of_numeric).returning(root_scale),
            ],
        ),
        native("div", vec![form(&[Numeric, Numeric], numeric(0), whole_quotient)]),
        native(
            "width_bucket",
            vec![
                form(&[Numeric, Numeric, Numeric, Int4], DataType::Int32, numeric_bucket),
                form(&[Float8, Float8, Float8, Int4], DataType::Int32, bucket),
                form(&[Float8, Any], DataType::Int32, bucket_of_array),
            ],
        ),
        infallible("scale", vec![form(&[Numeric], DataType::Int32, scale)]),
        infallible("min_scale", vec![form(&[Numeric], DataType::Int32, min_scale)]),
        infallible(
            "trim_scale",
            vec![
                form(&[Numeric], numeric(0), |call| Ok(Arc::clone(call.array(0))))
                    .returning(trimmed),
            ],
        ),
        native(
            "to_number",
            vec![form(&[Text, Text], numeric(NUMERIC_SCALE), to_number).returning(number_read)],
        ),
    ]);
    functions
}

/// Functions of one double each, and those of two.
fn of_doubles() -> Vec<Arc<ScalarUDF>> {
    let one: [(&'static str, Compute); 17] = [
        ("cbrt", |c| unary(c, |v| Ok(v.cbrt()))),
        ("exp", |c| unary(c, exp)),
        ("ln", |c| unary(c, |v| logarithm(v, f64::ln))),
        ("log10", |c| unary(c, |v| logarithm(v, f64::log10))),
        ("asin", |c| unary(c, |v| inside(v, -1.0, 1.0, f64::asin))),
        ("acos", |c| unary(c, |v| inside(v, -1.0, 1.0, f64::acos))),
        ("acosh", |c| unary(c, |v| inside(v, 1.0, f64::INFINITY, f64::acosh))),
        ("atanh", |c| unary(c, |v| inside(v, -1.0, 1.0, f64::atanh))),
        ("sin", |c| unary(c, |v| angle(v, f64::sin))),
        ("cos", |c| unary(c, |v| angle(v, f64::cos))),
        ("tan", |c| unary(c, |v| angle(v, f64::tan))),
        ("cot", |c| unary(c, |v| angle(v, |v| 1.0 / v.tan()))),
        ("sind", |c| unary(c, |v| angle(v, degrees::sin))),
        ("cosd", |c| unary(c, |v| angle(v, degrees::cos))),
        ("tand", |c| unary(c, |v| angle(v, degrees::tan))),
        ("cotd", |c| unary(c, |v| angle(v, |v| 1.0 / degrees::tan(v)))),
        ("atand", |c| unary(c, |v| Ok(degrees::atan(v)))),
    ];
    let mut functions: Vec<_> = one
        .into_iter()
        .map(|(name, compute)| native(name, vec![form(&[Float8], DataType::Float64, compute)]))
        .collect();
    let two: [(&'static str, Compute); 3] = [
        ("power", |c| binary(c, power)),
        ("pow", |c| binary(c, power)),
        ("atan2d", |c| binary(c, |y, x| Ok(degrees::of_right_angle(y.atan2(x))))),
    ];
    functions.extend(two.map(|(name, compute)| {
        native(name, vec![form(&[Float8, Float8], DataType::Float64, compute)])
    }));
    functions.extend([
        native(
            "asind",
            vec![form(&[Float8], DataType::Float64, |c| {
                unary(c, |v| inside(v, -1.0, 1.0, degrees::asin))
            })],
        ),
        native(
            "acosd",
            vec![form(&[Float8], DataType::Float64, |c| {
                unary(c, |v| inside(v, -1.0, 1.0, degrees::acos))
            })],
        ),
        native(
            "log",
            vec![
                form(&[Float8], DataType::Float64, |c| unary(c, |v| logarithm(v, f64::log10))),
                form(&[Float8, Float8], DataType::Float64, |c| binary(c, log)),
            ],
        ),
    ]);
    functions
}

fn of_whole_numbers() -> Vec<Arc<ScalarUDF>> {
    vec![
        infallible(
            BIT_NOT,
            vec![
                form(&[Int2], DataType::Int16, |call| {
                    call.values::<Int16Type>(|row| {
                        let values = call.array(0).as_primitive::<Int16Type>();
                        Ok(Some(!values.value(call.at(0, row))))
                    })
                }),
                form(&[Int4], DataType::Int32, |call| {
                    call.values::<Int32Type>(|row| Ok(Some(!call.int(0, row))))
                }),
                form(&[Int8], DataType::Int64, |call| {
                    call.values::<Int64Type>(|row| Ok(Some(!call.long(0, row))))
                }),
            ],
        ),
        native(
            "gcd",
            vec![
                form(&[Int4, Int4], DataType::Int32, |call| ints(call, gcd)),
                form(&[Int8, Int8], DataType::Int64, |call| longs(call, gcd)),
                form(&[Numeric, Numeric], numeric(0), |call| numerics(call, gcd))
                    .returning(wider_scale),
            ],
        ),
        native(
            "lcm",
            vec![
                form(&[Int4, Int4], DataType::Int32, |call| ints(call, lcm)),
                form(&[Int8, Int8], DataType::Int64, |call| longs(call, lcm)),
                form(&[Numeric, Numeric], numeric(0), |call| numerics(call, lcm))
                    .returning(wider_scale),
            ],
        ),
        native("factorial", vec![form(&[Int8], numeric(0), factorial)]),
    ]
}

fn unary(call: &Call, value: impl Fn(f64) -> Result<f64>) -> Result<ArrayRef> {
    call.values::<Float64Type>(|row| value(call.float(0, row)).map(Some))
}

fn binary(call: &Call, value: impl Fn(f64, f64) -> Result<f64>) -> Result<ArrayRef> {
    call.values::<Float64Type>(|row| value(call.float(0, row), call.float(1, row)).map(Some))
}

fn of_power(message: &str) -> Error {
    Error::new(SqlState("2201F"), message)
}

/// A result that is infinite or vanished although no operand was.
fn checked(value: f64, exact_zero: bool, finite: bool) -> Result<f64> {
    let kind = match value {
        v if v.is_infinite() && finite => "overflow",
        v if v == 0.0 && !exact_zero => "underflow",
        _ => return Ok(value),
    };
    let message = format!("value out of range: {kind}");
    Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message))
}

fn sqrt(value: f64) -> Result<f64> {
    match value < 0.0 {
        true => Err(of_power("cannot take square root of a negative number")),
        false => Ok(value.sqrt()),
    }
}

/// Sixteen fraction digits, or as many as the argument has.
fn root_scale(args: &ReturnFieldArgs) -> FieldRef {
    let scale = match args.arg_fields[0].data_type() {
        DataType::Decimal128(_, scale) => *scale,
        _ => 0,
    };
    plain(numeric(scale.max(QUOTIENT_SCALE)))
}

fn sqrt_of_numeric(call: &Call) -> Result<ArrayRef> {
    let DataType::Decimal128(_, returned) = *call.returned else {
        return Err(Error::internal("the root of a numeric is a numeric"));
    };
    call.values::<Decimal128Type>(|row| {
        let value = call.numeric(0, row);
        if value < 0 {
            return Err(of_power("cannot take square root of a negative number"));
        }
        // The radicand has an even number of fraction digits, half of which are the root's.
        let power = 2 * i32::from(returned) - i32::from(call.scale(0));
        let odd = power.rem_euclid(2);
        let value = i256::from_i128(value).wrapping_mul(power_of_ten(odd as i8));
        let root = root_of_quotient(value, i256::ONE, (power - odd) / 2);
        bounded(root.ok_or_else(numeric_overflow)?).map(Some)
    })
}

fn exp(value: f64) -> Result<f64> {
    checked(value.exp(), value == f64::NEG_INFINITY, value.is_finite())
}

fn logarithm(value: f64, of: impl Fn(f64) -> f64) -> Result<f64> {
    let refused =
        |what| Err(Error::new(SqlState("2201E"), format!("cannot take logarithm of {what}")));
    match value {
        0.0 => refused("zero"),
        v if v < 0.0 => refused("a negative number"),
        v => Ok(of(v)),
    }
}

fn log(base: f64, value: f64) -> Result<f64> {
    let (base, value) = (logarithm(base, f64::log2)?, logarithm(value, f64::log2)?);
    if base == 0.0 {
        return Err(division_by_zero());
    }
    Ok(value / base)
}

fn power(base: f64, exponent: f64) -> Result<f64> {
    if base == 0.0 && exponent < 0.0 {
        return Err(of_power("zero raised to a negative power is undefined"));
    }
    if base < 0.0 && base.is_finite() && exponent.is_finite() && exponent.fract() != 0.0 {
        let message = "a negative number raised to a non-integer power yields a complex result";
        return Err(of_power(message));
    }
    let finite = base.is_finite() && exponent.is_finite();
    checked(base.powf(exponent), base == 0.0 || !finite, finite)
}

/// A function that is only there between two values, both included.
fn inside(value: f64, low: f64, high: f64, of: impl Fn(f64) -> f64) -> Result<f64> {
    if value < low || value > high { Err(outside()) } else { Ok(of(value)) }
}

/// A function of finite angles.
fn angle(value: f64, of: impl Fn(f64) -> f64) -> Result<f64> {
    if value.is_infinite() { Err(outside()) } else { Ok(of(value)) }
}

fn outside() -> Error {
    Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "input is out of range")
}

/// Angles in degrees, exact for the angles whose sines everybody knows: values are scaled by what is computed for those.
mod degrees {
    use std::f64::consts::PI;

    fn radians(degrees: f64) -> f64 {
        degrees * (PI / 180.0)
    }

    fn sin_to_30(degrees: f64) -> f64 {
        radians(degrees).sin() / radians(30.0).sin() / 2.0
    }

    fn cos_to_60(degrees: f64) -> f64 {
        1.0 - (1.0 - radians(degrees).cos()) / (1.0 - radians(60.0).cos()) / 2.0
    }

    fn sin_to_90(degrees: f64) -> f64 {
        if degrees <= 30.0 { sin_to_30(degrees) } else { cos_to_60(90.0 - degrees) }
    }

    fn cos_to_90(degrees: f64) -> f64 {
        if degrees <= 60.0 { cos_to_60(degrees) } else { sin_to_30(90.0 - degrees) }
    }

    pub(super) fn sin(degrees: f64) -> f64 {
        let angle = degrees % 360.0;
        let (mut sign, mut angle) = if angle < 0.0 { (-1.0, -angle) } else { (1.0, angle) };
        if angle > 180.0 {
            (sign, angle) = (-sign, 360.0 - angle);
        }
        sign * sin_to_90(if angle > 90.0 { 180.0 - angle } else { angle })
    }

    pub(super) fn cos(degrees: f64) -> f64 {
        let mut angle = (degrees % 360.0).abs();
        if angle > 180.0 {
            angle = 360.0 - angle;
        }
        if angle > 90.0 { -cos_to_90(180.0 - angle) } else { cos_to_90(angle) }
    }

    pub(super) fn tan(degrees: f64) -> f64 {
        let angle = degrees % 360.0;
        let (mut sign, mut angle) = if angle < 0.0 { (-1.0, -angle) } else { (1.0, angle) };
        if angle > 180.0 {
            (sign, angle) = (-sign, 360.0 - angle);
        }
        if angle > 90.0 {
            (sign, angle) = (-sign, 180.0 - angle);
        }
        let of_45 = sin_to_90(45.0) / cos_to_90(45.0);
        // Zero has no sign here.
        sign * (sin_to_90(angle) / cos_to_90(angle)) / of_45 + 0.0
    }

    pub(super) fn asin(value: f64) -> f64 {
        let of = |v: f64| match v <= 0.5 {
            true => v.asin() / 0.5_f64.asin() * 30.0,
            false => 90.0 - v.acos() / 0.5_f64.acos() * 60.0,
        };
        if value < 0.0 { -of(-value) } else { of(value) }
    }

    pub(super) fn acos(value: f64) -> f64 {
        let of = |v: f64| match v <= 0.5 {
            true => 90.0 - v.asin() / 0.5_f64.asin() * 30.0,
            false => v.acos() / 0.5_f64.acos() * 60.0,
        };
        if value < 0.0 { 180.0 - of(-value) } else { of(value) }
    }

    pub(super) fn atan(value: f64) -> f64 {
        of_right_angle(value.atan())
    }

    /// Radians in degrees, so that the angle of the tangent 1 is 45.
    pub(super) fn of_right_angle(radians: f64) -> f64 {
        radians / 1.0_f64.atan() * 45.0
    }
}

fn sign(call: &Call) -> Result<ArrayRef> {
    // NaN has none, which is zero in PostgreSQL.
    unary(call, |v| Ok(f64::from(i8::from(v > 0.0) - i8::from(v < 0.0))))
}

fn sign_of_numeric(call: &Call) -> Result<ArrayRef> {
    call.values::<Decimal128Type>(|row| Ok(Some(call.numeric(0, row).signum())))
}

/// Two numerics in units of the finer scale.
fn aligned(call: &Call, row: usize, (a, b): (usize, usize)) -> Result<(i128, i128)> {
    let scale = call.scale(a).max(call.scale(b));
    let at = |arg: usize| {
        let factor = power_of_ten(scale - call.scale(arg)).to_i128();
        factor.and_then(|f| call.numeric(arg, row).checked_mul(f)).ok_or_else(numeric_overflow)
    };
    Ok((at(a)?, at(b)?))
}

fn whole_quotient(call: &Call) -> Result<ArrayRef> {
    call.values::<Decimal128Type>(|row| {
        let (dividend, divisor) = aligned(call, row, (0, 1))?;
        if divisor == 0 {
            return Err(division_by_zero());
        }
        Ok(Some(dividend / divisor))
    })
}

fn gcd(a: i128, b: i128) -> Option<i128> {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a.checked_rem(b)?);
    }
    a.checked_abs()
}

fn lcm(a: i128, b: i128) -> Option<i128> {
    if a == 0 || b == 0 {
        return Some(0);
    }
    (a / gcd(a, b)?).checked_mul(b)?.checked_abs()
}

fn ints(call: &Call, of: fn(i128, i128) -> Option<i128>) -> Result<ArrayRef> {
    call.values::<Int32Type>(|row| {
        let value = of(call.int(0, row).into(), call.int(1, row).into());
        let value = value.and_then(|v| i32::try_from(v).ok());
        value.map(Some).ok_or_else(|| out_of_range("integer"))
    })
}

fn longs(call: &Call, of: fn(i128, i128) -> Option<i128>) -> Result<ArrayRef> {
    call.values::<Int64Type>(|row| {
        let value = of(call.long(0, row).into(), call.long(1, row).into());
        let value = value.and_then(|v| i64::try_from(v).ok());
        value.map(Some).ok_or_else(|| out_of_range("bigint"))
    })
}

fn numerics(call: &Call, of: fn(i128, i128) -> Option<i128>) -> Result<ArrayRef> {
    call.values::<Decimal128Type>(|row| {
        let (a, b) = aligned(call, row, (0, 1))?;
        let value = of(a, b).ok_or_else(numeric_overflow)?;
        bounded(i256::from_i128(value)).map(Some)
    })
}

/// The finer of two numerics' scales.
fn wider_scale(args: &ReturnFieldArgs) -> FieldRef {
    let scales = args.arg_fields.iter().map(|field| match field.data_type() {
        DataType::Decimal128(_, scale) => *scale,
        _ => 0,
    });
    plain(numeric(scales.max().unwrap_or(0)))
}

fn factorial(call: &Call) -> Result<ArrayRef> {
    call.values::<Decimal128Type>(|row| {
        let n = call.long(0, row);
        if n < 0 {
            let message = "factorial of a negative number is undefined";
            return Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message));
        }
        // 34! has 39 digits.
        let product = (n <= 33).then(|| (1..=i128::from(n)).product());
        product.map(Some).ok_or_else(numeric_overflow)
    })
}

fn bucket_error(message: &str) -> Error {
    Error::new(SqlState("2201G"), message)
}

fn bucket(call: &Call) -> Result<ArrayRef> {
    call.values::<Int32Type>(|row| {
        let [value, low, high] = [0, 1, 2].map(|arg| call.float(arg, row));
        let count = call.int(3, row);
        if count <= 0 {
            return Err(bucket_error("count must be greater than zero"));
        }
        if value.is_nan() || low.is_nan() || high.is_nan() {
            return Err(bucket_error("operand, lower bound, and upper bound cannot be NaN"));
        }
        if low.is_infinite() || high.is_infinite() {
            return Err(bucket_error("lower and upper bounds must be finite"));
        }
        if low == high {
            return Err(bucket_error("lower bound cannot equal upper bound"));
        }
        // Bounds the other way round count from the other end.
        let (value, low, high) =
            if low < high { (value, low, high) } else { (-value, -low, -high) };
        let above = || count.checked_add(1).ok_or_else(|| out_of_range("integer"));
        Ok(Some(match value {
            v if v < low => 0,
            v if v >= high => above()?,
            // Halves keep the differences of large numbers finite.
            v => {
                let share = (v / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0);
                ((share * f64::from(count)) as i32).min(count - 1) + 1
            }
        }))
    })
}

fn numeric_bucket(call: &Call) -> Result<ArrayRef> {
    call.values::<Int32Type>(|row| {
        let count = call.int(3, row);
        if count <= 0 {
            return Err(bucket_error("count must be greater than zero"));
        }
        let scale = (0..3).map(|arg| call.scale(arg)).max().unwrap_or(0);
        let [value, low, high] = [0, 1, 2].map(|arg| {
            let factor = power_of_ten(scale - call.scale(arg));
            i256::from_i128(call.numeric(arg, row)).wrapping_mul(factor)
        });
        if low == high {
            return Err(bucket_error("lower bound cannot equal upper bound"));
        }
        let below = if low < high { value < low } else { value > low };
        let above = if low < high { value >= high } else { value <= high };
        if below {
            return Ok(Some(0));
        }
        if above {
            return count.checked_add(1).map(Some).ok_or_else(|| out_of_range("integer"));
        }
        // All three are below 10^76: the differences fit, and their product with the count is checked.
        let share = value
            .wrapping_sub(low)
            .checked_mul(i256::from_i128(count.into()))
            .ok_or_else(numeric_overflow)?;
        let bucket = share.wrapping_div(high.wrapping_sub(low));
        Ok(bucket.to_i128().map(|bucket| bucket as i32 + 1))
    })
}

/// `width_bucket(value, thresholds)`: how many of the sorted thresholds the value has reached.
fn bucket_of_array(call: &Call) -> Result<ArrayRef> {
    call.values::<Int32Type>(|row| {
        let lists = call.array(1).as_list_opt::<i32>().ok_or_else(|| {
            Error::new(SqlState::UNDEFINED_FUNCTION, "width_bucket takes an array of thresholds")
        })?;
        let thresholds = lists.value(call.at(1, row));
        if thresholds.null_count() > 0 {
            let message = "thresholds array must not contain NULLs";
            return Err(Error::new(SqlState("22004"), message));
        }
        let thresholds = arrow_cast::cast(&thresholds, &DataType::Float64).map_err(from_arrow)?;
        let value = call.float(0, row);
        // NaN is the greatest of all.
        let reached = |t: &f64| value.is_nan() || *t <= value;
        Ok(Some(thresholds.as_primitive::<Float64Type>().values().partition_point(reached) as i32))
    })
}

/// The fraction digits that a value needs.
fn needed_scale(value: i128, scale: i8) -> i32 {
    let (mut value, mut scale) = (value, scale.max(0));
    while scale > 0 && value % 10 == 0 {
        value /= 10;
        scale -= 1;
    }
    scale.into()
}

fn scale(call: &Call) -> Result<ArrayRef> {
    // Of a numeric without precision the trailing zeros are not shown.
    let open = mark_of(call.field(0)) == Some("numeric");
    call.values::<Int32Type>(|row| {
        let scale = call.scale(0);
        Ok(Some(if open { needed_scale(call.numeric(0, row), scale) } else { scale.into() }))
    })
}

fn min_scale(call: &Call) -> Result<ArrayRef> {
    call.values::<Int32Type>(|row| Ok(Some(needed_scale(call.numeric(0, row), call.scale(0)))))
}

/// The same numeric shown without trailing zeros.
fn trimmed(args: &ReturnFieldArgs) -> FieldRef {
    marked(args.arg_fields[0].data_type().clone(), "numeric")
}

/// A pattern that is known says how many fraction digits the number has.
fn number_read(args: &ReturnFieldArgs) -> FieldRef {
    let pattern = args.scalar_arguments.get(1).copied().flatten();
    let pattern = pattern.and_then(|value| value.try_as_str().flatten());
    match pattern.map(NumberPattern::parse) {
        Some(Ok(pattern)) => plain(numeric(pattern.places().min(37) as i8)),
        _ => marked(numeric(NUMERIC_SCALE), "numeric"),
    }
}

fn to_number(call: &Call) -> Result<ArrayRef> {
    let DataType::Decimal128(_, scale) = *call.returned else {
        return Err(Error::internal("to_number gives a numeric"));
    };
    call.values::<Decimal128Type>(|row| {
        let pattern = NumberPattern::parse(call.text(1, row))?;
        let text = pattern.read(call.text(0, row))?;
        crate::types::parse_decimal(&text, 38, scale).map(Some)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_angles_have_exact_sines() {
        assert_eq!((degrees::sin(30.0), degrees::cos(60.0), degrees::tan(45.0)), (0.5, 0.5, 1.0));
        assert_eq!(
            (degrees::sin(-210.0), degrees::cos(180.0), degrees::tan(135.0)),
            (0.5, -1.0, -1.0)
        );
        assert_eq!(
            (degrees::asin(0.5), degrees::acos(0.5), degrees::atan(1.0)),
            (30.0, 60.0, 45.0)
        );
    }

    #[test]
    fn powers_that_are_no_numbers_are_refused() {
        assert_eq!(power(-8.0, 1.0 / 3.0).unwrap_err().code.0, "2201F");
        assert_eq!(power(0.0, -1.0).unwrap_err().code.0, "2201F");
        assert_eq!(power(1e300, 2.0).unwrap_err().code.0, "22003");
        assert_eq!(power(1e-300, 2.0).unwrap_err().code.0, "22003");
        assert_eq!(power(f64::INFINITY, -1.0).unwrap(), 0.0);
    }

    #[test]
    fn divisors_and_multiples_of_the_least_integer_do_not_wrap() {
        assert_eq!((gcd(12, -18), lcm(4, 6), gcd(0, 0)), (Some(6), Some(12), Some(0)));
        assert_eq!(needed_scale(84_100, 4), 2);
    }
}
