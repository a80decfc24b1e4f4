//! PostgreSQL's casts as DataFusion functions, one for each target type.
//!
//! Owns which casts exist, their rounding, range checks and errors; the text forms come through `text`. `x::t` is planned
//! as the function `cast:t(x)`, found by its name, so that the result carries the target's mark and a literal's scale
//! from the first moment of planning; the casts that DataFusion's type coercion inserts are replaced by the same functions
//! afterwards. Invariant: a cast gives the value PostgreSQL gives or an error; it never yields NULL for a value.

use std::hash::Hash;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanArray, PrimitiveArray, StructArray, new_null_array,
};
use arrow_buffer::i256;
use arrow_cast::CastOptions;
use arrow_schema::{DataType, Field, FieldRef, Fields};
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::arithmetic::{bounded, power_of_ten, round_quotient};
use super::coercion::INSERTED_TEXT;
use super::errors::{from_arrow, numeric_overflow, out_of_range, to_datafusion};
use super::functions::json;
use super::functions::maps::as_maps;
use super::moments;
use super::reading::Reading;
use super::sql_types::{cast_name, field_of, mark_of, marked, numeric, pg_name, plain};
use super::text;
use crate::error::{Error, Result, SqlState};
use crate::types::{
    DateOrder, TYPMOD_KEY, depends_on_order, map_parts, round_seconds, second_digits,
};

/// What the names of cast functions begin with; the SQL type follows.
pub const CAST_PREFIX: &str = "cast:";

/// The cast function of a name `cast:<type>`; `None` for other names. An unknown type is 42704.
pub(super) fn function_named(name: &str) -> Option<Result<Arc<ScalarUDF>>> {
    let sql_type = name.strip_prefix(CAST_PREFIX)?;
    let target = crate::sql::parse_data_type(sql_type).and_then(|parsed| field_of(&parsed));
    Some(target.map(|target| Arc::new(ScalarUDF::from(CastTo::new(name.to_owned(), target)))))
}

/// The expression cast to `target`; literals are cast at once, so that a bad one is refused while planning.
pub fn cast_expr(expr: Expr, target: &FieldRef) -> Result<Expr> {
    cast_named(expr, target, None)
}

/// As [`cast_expr`], under another function name than `cast:<type>`.
pub(super) fn cast_named(expr: Expr, target: &FieldRef, name: Option<&str>) -> Result<Expr> {
    if name != Some(INSERTED_TEXT)
        && let Expr::Literal(value, metadata) = &expr
        && let Some(folded) = cast_literal(value, metadata.as_ref(), target)?
    {
        return Ok(folded);
    }
    let name = name.map_or_else(|| format!("{CAST_PREFIX}{}", cast_name(target)), str::to_owned);
    Ok(ScalarUDF::from(CastTo::new(name, Arc::clone(target))).call(vec![expr]))
}

/// The cast of an assignment: text too long for its column is 22001.
pub(super) fn assignment_cast(expr: Expr, target: &FieldRef) -> Result<Expr> {
    let name = format!("assign:{}", cast_name(target));
    let function = CastTo { strict: true, ..CastTo::new(name, Arc::clone(target)) };
    Ok(ScalarUDF::from(function).call(vec![expr]))
}

/// A literal cast while planning; `None` where the result needs the session (its time zone or its order of dates).
fn cast_literal(
    value: &ScalarValue,
    metadata: Option<&FieldMetadata>,
    target: &FieldRef,
) -> Result<Option<Expr>> {
    let zoned = |t: &DataType| matches!(t, DataType::Timestamp(_, Some(_)));
    if zoned(target.data_type()) || zoned(&value.data_type()) {
        return Ok(None);
    }
    if let ScalarValue::Utf8(Some(text)) = value
        && is_dated(target.data_type())
        && depends_on_order(text)
    {
        return Ok(None);
    }
    let source = Field::new("", value.data_type(), true);
    let source: FieldRef = Arc::new(match metadata {
        Some(metadata) => metadata.add_to_field(source),
        None => source,
    });
    let field = resolve(&source, target, Some(value))?;
    let array = value.to_array().map_err(super::errors::from_datafusion)?;
    let array = cast_array(&array, &source, &field, "UTC")?;
    let value = scalar_of(&array).map_err(super::errors::from_datafusion)?;
    let metadata = (!field.metadata().is_empty()).then(|| field.as_ref().into());
    Ok(Some(Expr::Literal(value, metadata)))
}

/// The target of a call of a cast function; `None` for other functions.
pub(super) fn target_of(call: &ScalarFunction) -> Option<&FieldRef> {
    let function: &dyn std::any::Any = call.func.inner().as_ref();
    function.downcast_ref::<CastTo>().map(CastTo::target)
}

/// The cast function to one target.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct CastTo {
    name: String,
    target: FieldRef,
    /// Of an assignment: text that is too long is refused instead of cut, and a number gets the column's scale.
    strict: bool,
    signature: Signature,
}

impl CastTo {
    fn new(name: String, target: FieldRef) -> CastTo {
        CastTo { name, target, strict: false, signature: Signature::any(1, Volatility::Immutable) }
    }

    pub(super) fn target(&self) -> &FieldRef {
        &self.target
    }

    /// The field that a value becomes.
    fn field(&self, source: &FieldRef, literal: Option<&ScalarValue>) -> Result<FieldRef> {
        let field = resolve(source, &self.target, literal)?;
        Ok(if self.strict { Arc::clone(&self.target) } else { field })
    }
}

impl ScalarUDFImpl for CastTo {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        let field = self.field(&plain(types[0].clone()), None).map_err(to_datafusion)?;
        Ok(field.data_type().clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        self.field(&args.arg_fields[0], args.scalar_arguments[0]).map_err(to_datafusion)
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let zone = args.config_options.execution.time_zone.as_deref().unwrap_or("UTC");
        let (source, target) = (&args.arg_fields[0], &args.return_field);
        let order = Reading::order(&args.config_options);
        let cast = |array: &ArrayRef| {
            if order != DateOrder::Mdy && is_text(array.data_type()) && is_dated(target.data_type())
            {
                let ordered = month_first(array, order)?;
                return cast_array(&ordered, source, target, zone);
            }
            match self.strict {
                true => assign_array(array, source, target, zone),
                false => cast_array(array, source, target, zone),
            }
        };
        match &args.args[0] {
            ColumnarValue::Array(array) => {
                Ok(ColumnarValue::Array(cast(array).map_err(to_datafusion)?))
            }
            ColumnarValue::Scalar(value) => {
                let array = cast(&value.to_array()?).map_err(to_datafusion)?;
                Ok(ColumnarValue::Scalar(scalar_of(&array)?))
            }
        }
    }
}

/// The one value of an array. DataFusion's own way drops the marks of a list's items.
fn scalar_of(array: &ArrayRef) -> DfResult<ScalarValue> {
    match array.data_type() {
        DataType::List(_) => Ok(ScalarValue::List(Arc::new(array.as_list::<i32>().slice(0, 1)))),
        _ => ScalarValue::try_from_array(array, 0),
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null)
}

fn is_integer(data_type: &DataType) -> bool {
    data_type.is_integer()
}

/// The field a cast yields: the target, except that a numeric without precision takes the source's scale where that is
/// known, as PostgreSQL's keeps every digit. 42846 where there is no such cast.
fn resolve(
    source: &FieldRef,
    target: &FieldRef,
    literal: Option<&ScalarValue>,
) -> Result<FieldRef> {
    let (from, to) = (source.data_type(), target.data_type());
    if !exists(source, target) {
        return Err(Error::new(
            SqlState::CANNOT_COERCE,
            format!("cannot cast type {} to {}", pg_name(source), pg_name(target)),
        ));
    }
    if !matches!(to, DataType::Decimal128(..)) || mark_of(target) != Some("numeric") {
        return Ok(Arc::clone(target));
    }
    Ok(match (from, literal) {
        (DataType::Decimal128(_, scale), _) => match mark_of(source) {
            Some(mark) => marked(numeric(*scale), mark),
            None => plain(numeric(*scale)),
        },
        (from, _) if is_integer(from) => plain(numeric(0)),
        (_, Some(value)) => match value.try_as_str().flatten() {
            Some(text) => plain(numeric(scale_of_text(text))),
            None => Arc::clone(target),
        },
        _ => Arc::clone(target),
    })
}

/// Fraction digits that a number written as text needs, at most 37.
fn scale_of_text(text: &str) -> i8 {
    let text = text.trim().to_ascii_lowercase();
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let digits = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len() as i64);
    let exponent: i64 = exponent.parse().unwrap_or(0);
    (digits - exponent).clamp(0, 37) as i8
}

/// Whether PostgreSQL has the cast, implicit or written.
fn exists(source: &FieldRef, target: &FieldRef) -> bool {
    use DataType as T;
    let (from, to) = (source.data_type(), target.data_type());
    if json::is_document(source) && !is_text(to) {
        return mark_of(source) == Some("jsonb") && json::has_cast(to);
    }
    if json::is_document(target) && !is_text(from) {
        return false;
    }
    let map = |field: &FieldRef| map_parts(field).is_some();
    if map(source) != map(target) && from.is_nested() && to.is_nested() {
        return false;
    }
    if from == to || is_text(from) || is_text(to) || from.is_null() {
        return true;
    }
    let number = |t: &DataType| t.is_numeric();
    match (from, to) {
        (T::Boolean, T::Int32) | (T::Int32, T::Boolean) => true,
        (T::Boolean, _) | (_, T::Boolean) => false,
        (f, t) if number(f) && number(t) => true,
        (T::Date32 | T::Timestamp(..), T::Date32 | T::Timestamp(..)) => true,
        (T::Timestamp(..), T::Time64(_))
        | (T::Time64(_), T::Interval(_))
        | (T::Interval(_), T::Time64(_)) => true,
        (T::Time64(_) | T::Time32(_), T::Time64(_))
        | (T::Interval(_) | T::Duration(_), T::Interval(_)) => true,
        (T::Binary | T::LargeBinary | T::BinaryView, T::Binary) => true,
        (T::List(f) | T::LargeList(f) | T::FixedSizeList(f, _), T::List(t)) => {
            f.data_type().is_null() || exists(f, t)
        }
        (T::Struct(f), T::Struct(t)) => {
            f.len() == t.len() && f.iter().zip(t).all(|(f, t)| exists(f, t))
        }
        (T::Dictionary(..), _) => true,
        _ => false,
    }
}

/// Whether a value of one type may fail to be cast to another.
pub(super) fn may_fail(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    if from == to {
        return false;
    }
    match (from, to) {
        (T::Null, _) => false,
        // Whatever there is can be written as text, jsonb excepted, which checks text.
        (_, T::Utf8) => is_text(from) && !matches!(from, T::Utf8View | T::LargeUtf8),
        (T::Int8 | T::Int16, T::Int16 | T::Int32 | T::Int64 | T::Float32 | T::Float64) => false,
        (T::Int32, T::Int32 | T::Int64 | T::Float32 | T::Float64) => false,
        (T::Int64, T::Float32 | T::Float64) | (T::Float32, T::Float64) => false,
        (T::Int8 | T::Int16 | T::Int32 | T::Int64, T::Decimal128(p, s)) => {
            i16::from(*p) - i16::from(*s) <= 18
        }
        (T::Decimal128(p, s), T::Decimal128(q, r)) => {
            let whole = |precision: u8, scale: i8| i16::from(precision) - i16::from(scale);
            r < s || whole(*q, *r) < whole(*p, *s)
        }
        (T::Decimal128(..), T::Float64) | (T::Boolean, T::Int32) | (T::Int32, T::Boolean) => false,
        (T::Timestamp(..), T::Date32 | T::Time64(_)) => false,
        (T::Timestamp(..), T::Timestamp(..)) => false,
        _ => true,
    }
}

/// Types whose text holds a date.
fn is_dated(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Date32 | DataType::Timestamp(..))
}

/// Texts with their dates in the order that casts read.
fn month_first(array: &ArrayRef, order: DateOrder) -> Result<ArrayRef> {
    let texts = arrow(array, &DataType::Utf8)?;
    let texts = texts.as_string::<i32>().iter();
    let texts = texts.map(|text| text.map(|text| order.month_first(text)));
    Ok(Arc::new(texts.collect::<arrow_array::StringArray>()))
}

/// Casts a column; `target` is a field that [`resolve`] gave, `zone` the session's time zone.
pub(super) fn cast_array(
    array: &ArrayRef,
    source: &FieldRef,
    target: &FieldRef,
    zone: &str,
) -> Result<ArrayRef> {
    let cast = convert(array, source, target, zone)?;
    match second_digits(target) {
        Some(digits) => Ok(round_seconds(&cast, digits)),
        None => Ok(cast),
    }
}

fn convert(array: &ArrayRef, source: &FieldRef, target: &FieldRef, zone: &str) -> Result<ArrayRef> {
    use DataType as T;
    let (from, to) = (array.data_type(), target.data_type());
    if from.is_null() || array.null_count() == array.len() && from != to {
        return Ok(new_null_array(to, array.len()));
    }
    match (from, to) {
        _ if from == to && mark_of(source) == mark_of(target) => Ok(Arc::clone(array)),
        (_, T::Utf8) if is_text(from) && mark_of(target).is_none() => arrow(array, to),
        (_, T::Utf8) if matches!(mark_of(target), Some("varchar" | "bpchar" | "name" | "char")) => {
            let text = if is_text(from) {
                arrow(array, &T::Utf8)?
            } else {
                text::to_text(array, source, zone)?
            };
            truncate(&text, target)
        }
        (_, T::Utf8) if !is_text(from) => text::to_text(array, source, zone),
        (T::Utf8, _) if mark_of(source) == Some("jsonb") && to != &T::Utf8 => {
            let scalars = json::scalars(array.as_string::<i32>(), target)?;
            cast_array(&scalars, &plain(scalars.data_type().clone()), target, zone)
        }
        (_, _) if is_text(from) => text::from_text(&arrow(array, &T::Utf8)?, target, zone),
        _ if from == to => Ok(Arc::clone(array)),
        (T::Float32, T::Int16 | T::Int32 | T::Int64) => {
            float_to_integer(&arrow(array, &T::Float64)?, to)
        }
        (T::Float64, T::Int16 | T::Int32 | T::Int64) => float_to_integer(array, to),
        (T::Float64, T::Float32) => narrow_float(array),
        (T::Float32 | T::Float64, T::Decimal128(p, s)) => float_to_numeric(array, *p, *s),
        (T::Decimal128(..), T::Decimal128(p, s)) => rescale(array, *p, *s),
        (T::Decimal128(..), T::Int16 | T::Int32 | T::Int64) => {
            let whole = rescale(array, 38, 0).map_err(|_| out_of_range(&pg_name(target)))?;
            integer_of_numeric(&whole, to)
        }
        (T::Decimal128(..), T::Float32 | T::Float64) => {
            text::from_text(&text::to_text(array, source, zone)?, target, zone)
        }
        (f, T::Decimal128(p, s)) if is_integer(f) => rescale(&arrow(array, &numeric(0))?, *p, *s),
        (f, t) if is_integer(f) && is_integer(t) => {
            arrow(array, to).map_err(|_| out_of_range(&pg_name(target)))
        }
        (T::Timestamp(_, None), T::Timestamp(_, Some(_))) => text::local_to_instant(array, zone),
        (T::Timestamp(_, Some(_)), T::Timestamp(_, None)) => text::instant_to_local(array, zone),
        (T::Date32, T::Timestamp(_, Some(_))) => {
            text::local_to_instant(&moments::midnights(array)?, zone)
        }
        (T::Date32, T::Timestamp(_, None)) => moments::midnights(array),
        (T::Timestamp(_, Some(_)), T::Date32 | T::Time64(_)) => {
            let local = text::instant_to_local(array, zone)?;
            cast_array(&local, &plain(super::sql_types::timestamp()), target, zone)
        }
        (T::Timestamp(..), T::Date32) => moments::dates(array),
        (T::Timestamp(..), T::Time64(_)) => moments::times(array),
        (T::Time64(_), T::Interval(_)) => moments::times_as_intervals(array),
        (T::Interval(_), T::Time64(_)) => moments::intervals_as_times(array),
        (T::List(item), T::List(target_item)) => {
            let list = cast_list(array, item, target_item, zone)?;
            // Other keys may have another order.
            if map_parts(target).is_some() { as_maps(&list, target) } else { Ok(list) }
        }
        (T::Struct(members), T::Struct(targets)) => {
            cast_struct(array, members, targets, |array, member, target| {
                cast_array(array, member, target, zone)
            })
        }
        _ => arrow(array, to),
    }
}

/// A written cast to `varchar(n)` or `char(n)` cuts what is longer, without an error. The blanks at the end of a `char(n)` do
/// not count: they are kept nowhere, and shown on the way out.
fn truncate(array: &ArrayRef, target: &FieldRef) -> Result<ArrayRef> {
    let length = target.metadata().get(TYPMOD_KEY).and_then(|n| n.parse::<usize>().ok());
    let text = array.as_string::<i32>();
    let bpchar = mark_of(target) == Some("bpchar");
    let Some(length) = length else {
        return Ok(Arc::clone(array));
    };
    let cut = text.iter().map(|value| {
        value.map(|value| {
            let end = value.char_indices().nth(length).map_or(value.len(), |(end, _)| end);
            let kept = &value[..end];
            if bpchar { kept.trim_end_matches(' ') } else { kept }
        })
    });
    Ok(Arc::new(cut.collect::<arrow_array::StringArray>()))
}

fn cast_list(array: &ArrayRef, item: &FieldRef, target: &FieldRef, zone: &str) -> Result<ArrayRef> {
    let list = array.as_list::<i32>();
    // Only elements that a row refers to are cast: others may hold anything.
    let values = if list.value_offsets().first() == Some(&0)
        && list.value_offsets().last().map(|&l| l as usize) == Some(list.values().len())
    {
        cast_array(list.values(), item, target, zone)?
    } else {
        let compact = arrow_select::take::take(
            array,
            &arrow_array::UInt32Array::from_iter_values(0..array.len() as u32),
            None,
        )
        .map_err(from_arrow)?;
        return cast_list(&compact, item, target, zone);
    };
    let list = arrow_array::ListArray::try_new(
        Arc::clone(target),
        list.offsets().clone(),
        values,
        list.nulls().cloned(),
    )
    .map_err(from_arrow)?;
    Ok(Arc::new(list))
}

/// As [`cast_array`], but text that is too long for its type is refused, also in a record.
fn assign_array(
    array: &ArrayRef,
    source: &FieldRef,
    target: &FieldRef,
    zone: &str,
) -> Result<ArrayRef> {
    match (array.data_type(), target.data_type()) {
        (DataType::Struct(members), DataType::Struct(targets)) => {
            cast_struct(array, members, targets, |array, member, target| {
                assign_array(array, member, target, zone)
            })
        }
        (from, _) if !from.is_null() && matches!(mark_of(target), Some("varchar" | "bpchar")) => {
            let array = cast_array(array, source, &plain(DataType::Utf8), zone)?;
            text::from_text(&array, target, zone)
        }
        _ => cast_array(array, source, target, zone),
    }
}

/// Member by member, by their places.
fn cast_struct(
    array: &ArrayRef,
    members: &Fields,
    targets: &Fields,
    cast: impl Fn(&ArrayRef, &FieldRef, &FieldRef) -> Result<ArrayRef>,
) -> Result<ArrayRef> {
    let records = array.as_struct();
    let absent = records.nulls().map(|nulls| BooleanArray::new(!nulls.inner(), None));
    let columns = records.columns().iter().zip(members.iter().zip(targets));
    let columns = columns.map(|(column, (member, target))| {
        // What a NULL record has inside may be anything, also what cannot be cast.
        let column = match &absent {
            Some(absent) => arrow_select::nullif::nullif(column, absent).map_err(from_arrow)?,
            None => Arc::clone(column),
        };
        cast(&column, member, target)
    });
    let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
    let nulls = records.nulls().cloned();
    let records = StructArray::try_new_with_length(targets.clone(), columns, nulls, array.len());
    Ok(Arc::new(records.map_err(from_arrow)?))
}

/// Arrow's own cast, raising instead of yielding NULL.
fn arrow(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    arrow_cast::cast_with_options(array, to, &options).map_err(from_arrow)
}

/// Rounds half to even, as the C library's rint does for PostgreSQL.
fn float_to_integer(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    fn convert<T: ArrowPrimitiveType>(
        array: &ArrayRef,
        low: f64,
        high: f64,
        of: impl Fn(f64) -> T::Native,
    ) -> Result<ArrayRef> {
        let converted: PrimitiveArray<T> =
            array.as_primitive::<Float64Type>().try_unary(|value| {
                let rounded = value.round_ties_even();
                if rounded >= low && rounded < high {
                    Ok(of(rounded))
                } else {
                    Err(out_of_range(&super::sql_types::pg_type_name(&T::DATA_TYPE)))
                }
            })?;
        Ok(Arc::new(converted))
    }
    match to {
        DataType::Int16 => convert::<Int16Type>(array, -32_768.0, 32_768.0, |v| v as i16),
        DataType::Int32 => {
            convert::<Int32Type>(array, -2_147_483_648.0, 2_147_483_648.0, |v| v as i32)
        }
        _ => convert::<Int64Type>(
            array,
            -9_223_372_036_854_775_808.0,
            9_223_372_036_854_775_808.0,
            |v| v as i64,
        ),
    }
}

fn narrow_float(array: &ArrayRef) -> Result<ArrayRef> {
    let narrowed: PrimitiveArray<Float32Type> =
        array.as_primitive::<Float64Type>().try_unary(|value| {
            let narrow = value as f32;
            let lost =
                (narrow.is_infinite() && value.is_finite()) || (narrow == 0.0 && value != 0.0);
            let kind = if narrow == 0.0 { "underflow" } else { "overflow" };
            if lost {
                Err(Error::new(
                    SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
                    format!("value out of range: {kind}"),
                ))
            } else {
                Ok(narrow)
            }
        })?;
    Ok(Arc::new(narrowed))
}

/// PostgreSQL goes by the fifteen (for real six) significant digits a float surely has.
fn float_to_numeric(array: &ArrayRef, precision: u8, scale: i8) -> Result<ArrayRef> {
    let digits = if matches!(array.data_type(), DataType::Float32) { 5 } else { 14 };
    let wide = arrow(array, &DataType::Float64)?;
    let converted: PrimitiveArray<Decimal128Type> =
        wide.as_primitive::<Float64Type>().try_unary(|value| {
            if !value.is_finite() {
                let name = if value.is_nan() { "NaN" } else { "infinity" };
                return Err(Error::unsupported(format!("cannot convert {name} to numeric")));
            }
            decimal_of(&format!("{value:.digits$e}"), precision, scale)
        })?;
    Ok(Arc::new(converted.with_precision_and_scale(precision, scale).map_err(from_arrow)?))
}

/// `d.ddde±x` as an integer of 10^-scale, rounded half away from zero.
fn decimal_of(text: &str, precision: u8, scale: i8) -> Result<i128> {
    let (mantissa, exponent) =
        text.split_once('e').ok_or_else(|| Error::internal("no exponent in a formatted float"))?;
    let fraction = mantissa.split_once('.').map_or(0, |(_, f)| f.len() as i32);
    let digits: i128 = mantissa
        .replace('.', "")
        .parse()
        .map_err(|_| Error::internal("no digits in a formatted float"))?;
    let exponent: i32 =
        exponent.parse().map_err(|_| Error::internal("no exponent in a formatted float"))?;
    let shift = exponent - fraction + i32::from(scale);
    let value = match shift {
        0..=38 => i256::from_i128(digits)
            .checked_mul(power_of_ten(shift as i8))
            .ok_or_else(numeric_overflow)?,
        -76..0 => round_quotient(i256::from_i128(digits), power_of_ten(-shift as i8)),
        ..-76 => i256::ZERO,
        _ if digits == 0 => i256::ZERO,
        _ => return Err(numeric_overflow()),
    };
    within(bounded(value)?, precision, scale)
}

fn within(value: i128, precision: u8, scale: i8) -> Result<i128> {
    let limit = 10_i128.checked_pow(u32::from(precision)).unwrap_or(i128::MAX);
    if -limit < value && value < limit {
        return Ok(value);
    }
    let whole = i16::from(precision) - i16::from(scale);
    Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow").with_detail(format!(
        "A field with precision {precision}, scale {scale} must round to an absolute value less than 10^{whole}."
    )))
}

/// Another precision and scale, rounded half away from zero; 22003 where the digits do not suffice.
fn rescale(array: &ArrayRef, precision: u8, scale: i8) -> Result<ArrayRef> {
    let DataType::Decimal128(_, from) = array.data_type() else {
        return Err(Error::internal("only a numeric is rescaled"));
    };
    let shift = scale - from;
    let values = array.as_primitive::<Decimal128Type>();
    let rescaled: PrimitiveArray<Decimal128Type> = if shift >= 0 {
        let factor = power_of_ten(shift).to_i128().ok_or_else(numeric_overflow)?;
        values.try_unary(|v| {
            within(v.checked_mul(factor).ok_or_else(numeric_overflow)?, precision, scale)
        })?
    } else {
        let divisor = power_of_ten(-shift);
        values.try_unary(|v| {
            within(bounded(round_quotient(i256::from_i128(v), divisor))?, precision, scale)
        })?
    };
    Ok(Arc::new(rescaled.with_precision_and_scale(precision, scale).map_err(from_arrow)?))
}

fn integer_of_numeric(whole: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    fn convert<T: ArrowPrimitiveType>(whole: &ArrayRef) -> Result<ArrayRef>
    where
        T::Native: TryFrom<i128>,
    {
        let converted: PrimitiveArray<T> =
            whole.as_primitive::<Decimal128Type>().try_unary(|value| {
                T::Native::try_from(value)
                    .map_err(|_| out_of_range(&super::sql_types::pg_type_name(&T::DATA_TYPE)))
            })?;
        Ok(Arc::new(converted))
    }
    match to {
        DataType::Int16 => convert::<Int16Type>(whole),
        DataType::Int32 => convert::<Int32Type>(whole),
        _ => convert::<Int64Type>(whole),
    }
}
