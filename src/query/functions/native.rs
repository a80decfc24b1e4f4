//! Functions given by their forms: which form a call means by PostgreSQL's rules, and how a form is evaluated.
//!
//! A [`Form`] says the types of its arguments and result and how a batch is computed. Of several forms that a call's types
//! can be cast to implicitly the one with the least casting is meant; where there is none, the call is 42883. A form is
//! strict (NULL for any NULL) unless it says otherwise. An argument that is one value for all rows is kept as one value.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, ListBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, IntervalMonthDayNanoType,
    Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, BooleanArray, PrimitiveArray};
use arrow_buffer::IntervalMonthDayNano;
use arrow_schema::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::error::Result;
use crate::query::errors::{to_datafusion, undefined_function};
use crate::query::sql_types::{
    NUMERIC_SCALE, canonical, interval, numeric, pg_type_name, plain, timestamp, timestamptz,
};

/// The type of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Int2,
    Int4,
    Int8,
    Float8,
    /// Of the scale that the argument has.
    Numeric,
    Text,
    Bytea,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
    /// Whatever it is, uncast.
    Any,
}

impl Kind {
    /// The Arrow type that an argument of type `from` is cast to.
    fn data_type(self, from: &DataType) -> DataType {
        match self {
            Kind::Int2 => DataType::Int16,
            Kind::Int4 => DataType::Int32,
            Kind::Int8 => DataType::Int64,
            Kind::Float8 => DataType::Float64,
            Kind::Numeric => match canonical(from) {
                DataType::Decimal128(_, scale) => numeric(scale),
                from if from.is_integer() => numeric(0),
                _ => numeric(NUMERIC_SCALE),
            },
            Kind::Text => DataType::Utf8,
            Kind::Bytea => DataType::Binary,
            Kind::Date => DataType::Date32,
            Kind::Time => DataType::Time64(TimeUnit::Microsecond),
            Kind::Timestamp => timestamp(),
            Kind::Timestamptz => timestamptz(),
            Kind::Interval => interval(),
            Kind::Any => canonical(from),
        }
    }

    /// How much casting an argument of type `from` takes; `None` where there is no implicit cast.
    fn cost(self, from: &DataType) -> Option<u32> {
        use DataType as T;
        if self == Kind::Any {
            return Some(5);
        }
        if from.is_null() {
            return Some(1);
        }
        let from = canonical(from);
        let exact = self.data_type(&from) == from;
        Some(match (&from, self) {
            _ if exact => 0,
            (T::Decimal128(..), Kind::Numeric) => 0,
            (T::Int16, Kind::Int4 | Kind::Int8) | (T::Int32, Kind::Int8) => 1,
            // Of the kinds of numbers, double precision is what PostgreSQL prefers.
            (T::Int16 | T::Int32 | T::Int64, Kind::Float8) => 2,
            (T::Int16 | T::Int32 | T::Int64, Kind::Numeric) => 3,
            (T::Float32, Kind::Float8) => 1,
            (T::Decimal128(..), Kind::Float8) => 4,
            (T::Date32, Kind::Timestamptz) => 1,
            (T::Date32, Kind::Timestamp) => 2,
            (T::Timestamp(..), Kind::Timestamptz) => 1,
            (T::Time64(_), Kind::Interval) => 1,
            // What is text here may be a literal without a type, which is read as any.
            (T::Utf8, _) => 10,
            _ => return None,
        })
    }
}

/// The type of a result.
pub(super) enum Returns {
    Type(DataType),
    /// By the arguments' fields and, where they are known, values.
    Field(fn(&ReturnFieldArgs) -> FieldRef),
}

/// One form of a function.
pub(super) struct Form {
    args: &'static [Kind],
    /// The kind of any further arguments.
    rest: Option<Kind>,
    returns: Returns,
    strict: bool,
    compute: fn(&Call) -> Result<ArrayRef>,
}

/// A strict form.
pub(super) fn form(
    args: &'static [Kind],
    returns: DataType,
    compute: fn(&Call) -> Result<ArrayRef>,
) -> Form {
    Form { args, rest: None, returns: Returns::Type(returns), strict: true, compute }
}

impl Form {
    /// The same with any number of further arguments.
    pub(super) fn with_rest(self, rest: Kind) -> Form {
        Form { rest: Some(rest), ..self }
    }

    /// The same seeing its NULLs.
    pub(super) fn seeing_nulls(self) -> Form {
        Form { strict: false, ..self }
    }

    /// The same with a result whose type depends on the arguments.
    pub(super) fn returning(self, field: fn(&ReturnFieldArgs) -> FieldRef) -> Form {
        Form { returns: Returns::Field(field), ..self }
    }

    fn kinds<'a>(&'a self, count: usize) -> Option<impl Iterator<Item = Kind> + 'a> {
        let fits = match self.rest {
            None => count == self.args.len(),
            Some(_) => count >= self.args.len(),
        };
        let rest = self.rest.into_iter().cycle();
        fits.then(|| self.args.iter().copied().chain(rest).take(count))
    }

    fn cost(&self, types: &[DataType]) -> Option<u32> {
        self.kinds(types.len())?.zip(types).map(|(kind, from)| kind.cost(from)).sum()
    }
}

/// A function of several forms.
pub(crate) struct Native {
    name: &'static str,
    forms: Vec<Form>,
    raises: bool,
    signature: Signature,
}

/// A function that may raise on some values.
pub(super) fn native(name: &'static str, forms: Vec<Form>) -> Arc<ScalarUDF> {
    make(name, forms, true)
}

/// A function that never raises.
pub(super) fn infallible(name: &'static str, forms: Vec<Form>) -> Arc<ScalarUDF> {
    make(name, forms, false)
}

fn make(name: &'static str, forms: Vec<Form>, raises: bool) -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::from(Native { name, forms, raises, signature }))
}

impl Native {
    pub(crate) fn may_raise(&self) -> bool {
        self.raises
    }

    fn form(&self, types: &[DataType]) -> DfResult<&Form> {
        let fitting = self.forms.iter().filter_map(|form| Some((form.cost(types)?, form)));
        let cheapest = fitting.min_by_key(|(cost, _)| *cost);
        cheapest.map(|(_, form)| form).ok_or_else(|| {
            let names: Vec<String> = types.iter().map(pg_type_name).collect();
            to_datafusion(undefined_function(self.name, &names))
        })
    }
}

// A function is its name: no two of one name are registered.
impl PartialEq for Native {
    fn eq(&self, other: &Native) -> bool {
        self.name == other.name
    }
}

impl Eq for Native {}

impl Hash for Native {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl fmt::Debug for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Native({})", self.name)
    }
}

impl ScalarUDFImpl for Native {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let form = self.form(types)?;
        let kinds = form.kinds(types.len()).into_iter().flatten();
        Ok(kinds.zip(types).map(|(kind, from)| kind.data_type(from)).collect())
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        let fields: Vec<FieldRef> = types.iter().map(|t| plain(t.clone())).collect();
        let args =
            ReturnFieldArgs { arg_fields: &fields, scalar_arguments: &vec![None; types.len()] };
        Ok(self.return_field_from_args(args)?.data_type().clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        Ok(match &self.form(&types)?.returns {
            Returns::Type(data_type) => plain(data_type.clone()),
            Returns::Field(field) => field(&args),
        })
    }

    fn is_strict(&self) -> bool {
        self.forms.iter().all(|form| form.strict)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let types: Vec<DataType> = args.args.iter().map(ColumnarValue::data_type).collect();
        let form = self.form(&types)?;
        let returned = args.return_field.data_type();
        let null = |arg: &ColumnarValue| match arg {
            ColumnarValue::Scalar(value) => value.is_null(),
            ColumnarValue::Array(array) => array.data_type().is_null(),
        };
        if form.strict && args.args.iter().any(null) {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from(returned)?));
        }
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays = args.args.iter().map(|arg| match arg {
            ColumnarValue::Array(array) => Ok(Arc::clone(array)),
            ColumnarValue::Scalar(value) => value.to_array(),
        });
        let call = Call {
            arrays: arrays.collect::<DfResult<_>>()?,
            constant: args.args.iter().map(|a| matches!(a, ColumnarValue::Scalar(_))).collect(),
            rows: if scalar { 1 } else { args.number_rows },
            strict: form.strict,
            returned,
            fields: &args.arg_fields,
            zone: args.config_options.execution.time_zone.as_deref().unwrap_or("UTC"),
        };
        let result = (form.compute)(&call).map_err(to_datafusion)?;
        Ok(match scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?),
            false => ColumnarValue::Array(result),
        })
    }
}

/// The arguments of one batch. The accessors give an argument's value at a row where it is not NULL.
pub(super) struct Call<'a> {
    arrays: Vec<ArrayRef>,
    /// Whether the argument is one value for all rows.
    constant: Vec<bool>,
    rows: usize,
    strict: bool,
    pub returned: &'a DataType,
    fields: &'a [FieldRef],
    /// The session's time zone.
    pub zone: &'a str,
}

impl Call<'_> {
    pub(super) fn count(&self) -> usize {
        self.arrays.len()
    }

    pub(super) fn array(&self, arg: usize) -> &ArrayRef {
        &self.arrays[arg]
    }

    pub(super) fn field(&self, arg: usize) -> &Field {
        &self.fields[arg]
    }

    /// Where in its array an argument's value for a row is.
    pub(super) fn at(&self, arg: usize, row: usize) -> usize {
        if self.constant[arg] { 0 } else { row }
    }

    pub(super) fn is_null(&self, arg: usize, row: usize) -> bool {
        self.arrays[arg].data_type().is_null() || self.arrays[arg].is_null(self.at(arg, row))
    }

    fn skips(&self, row: usize) -> bool {
        self.strict && (0..self.arrays.len()).any(|arg| self.is_null(arg, row))
    }

    fn value<T: ArrowPrimitiveType>(&self, arg: usize, row: usize) -> T::Native {
        self.arrays[arg].as_primitive::<T>().value(self.at(arg, row))
    }

    pub(super) fn text(&self, arg: usize, row: usize) -> &str {
        self.arrays[arg].as_string::<i32>().value(self.at(arg, row))
    }

    pub(super) fn bytes(&self, arg: usize, row: usize) -> &[u8] {
        self.arrays[arg].as_binary::<i32>().value(self.at(arg, row))
    }

    pub(super) fn int(&self, arg: usize, row: usize) -> i32 {
        self.value::<Int32Type>(arg, row)
    }

    pub(super) fn long(&self, arg: usize, row: usize) -> i64 {
        self.value::<Int64Type>(arg, row)
    }

    pub(super) fn float(&self, arg: usize, row: usize) -> f64 {
        self.value::<Float64Type>(arg, row)
    }

    /// A numeric in units of 10^-[`Call::scale`].
    pub(super) fn numeric(&self, arg: usize, row: usize) -> i128 {
        self.value::<Decimal128Type>(arg, row)
    }

    pub(super) fn scale(&self, arg: usize) -> i8 {
        match self.arrays[arg].data_type() {
            DataType::Decimal128(_, scale) => *scale,
            _ => 0,
        }
    }

    pub(super) fn date(&self, arg: usize, row: usize) -> i32 {
        self.value::<Date32Type>(arg, row)
    }

    pub(super) fn time(&self, arg: usize, row: usize) -> i64 {
        self.value::<Time64MicrosecondType>(arg, row)
    }

    /// Of a timestamp with or without time zone.
    pub(super) fn timestamp(&self, arg: usize, row: usize) -> i64 {
        self.value::<TimestampMicrosecondType>(arg, row)
    }

    pub(super) fn interval(&self, arg: usize, row: usize) -> IntervalMonthDayNano {
        self.value::<IntervalMonthDayNanoType>(arg, row)
    }

    /// A column of primitive values of the returned type; `None` is NULL.
    pub(super) fn values<T: ArrowPrimitiveType>(
        &self,
        mut value: impl FnMut(usize) -> Result<Option<T::Native>>,
    ) -> Result<ArrayRef> {
        let values: PrimitiveArray<T> = (0..self.rows)
            .map(|row| if self.skips(row) { Ok(None) } else { value(row) })
            .collect::<Result<_>>()?;
        Ok(Arc::new(values.with_data_type(self.returned.clone())))
    }

    pub(super) fn booleans(
        &self,
        mut value: impl FnMut(usize) -> Result<Option<bool>>,
    ) -> Result<ArrayRef> {
        let values: BooleanArray = (0..self.rows)
            .map(|row| if self.skips(row) { Ok(None) } else { value(row) })
            .collect::<Result<_>>()?;
        Ok(Arc::new(values))
    }

    /// A column of texts, each written into the same buffer; `false` is NULL.
    pub(super) fn texts(
        &self,
        mut write: impl FnMut(usize, &mut String) -> Result<bool>,
    ) -> Result<ArrayRef> {
        let mut texts = StringBuilder::with_capacity(self.rows, 0);
        let mut text = String::new();
        for row in 0..self.rows {
            text.clear();
            let some = !self.skips(row) && write(row, &mut text)?;
            texts.append_option(some.then_some(&text));
        }
        Ok(Arc::new(texts.finish()))
    }

    /// A column of byte strings, each written into the same buffer; `false` is NULL.
    pub(super) fn blobs(
        &self,
        mut write: impl FnMut(usize, &mut Vec<u8>) -> Result<bool>,
    ) -> Result<ArrayRef> {
        let mut blobs = BinaryBuilder::with_capacity(self.rows, 0);
        let mut blob = vec![];
        for row in 0..self.rows {
            blob.clear();
            let some = !self.skips(row) && write(row, &mut blob)?;
            blobs.append_option(some.then_some(&blob));
        }
        Ok(Arc::new(blobs.finish()))
    }

    /// A column of arrays of text; `write` appends an array's items, `false` is NULL.
    pub(super) fn text_arrays(
        &self,
        mut write: impl FnMut(usize, &mut StringBuilder) -> Result<bool>,
    ) -> Result<ArrayRef> {
        let mut lists = ListBuilder::new(StringBuilder::new()).with_field(text_item());
        for row in 0..self.rows {
            let some = !self.skips(row) && write(row, lists.values())?;
            lists.append(some);
        }
        Ok(Arc::new(lists.finish()))
    }
}

fn text_item() -> Field {
    Field::new("item", DataType::Utf8, true)
}

/// `text[]`.
pub(super) fn text_array() -> DataType {
    DataType::List(Arc::new(text_item()))
}
