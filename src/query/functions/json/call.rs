//! What the functions of this family have in common: the types of their arguments, NULLs, and arguments by row.
//!
//! A function is a row of a table ([`Function`]): its name, what it takes and gives, and how it is evaluated over a [`Call`].
//! Arguments that are constants are read once for a batch, whatever their form. Texts stand for documents too: what
//! carries no mark of jsonb is read as such when the function is evaluated.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, BooleanArray, Int32Array, StringArray};
use arrow_schema::{DataType, FieldRef};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::error::{Error, Result};
use crate::query::errors::{to_datafusion, undefined_function};
use crate::query::sql_types::{mark_of, marked, pg_name, pg_type_name, plain};
use crate::types::{TextStyle, TimeZone, jsonb_of_text, split_array};

/// What an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    Jsonb,
    Json,
    /// Either of the two.
    Document,
    Text,
    Integer,
    Boolean,
    /// An array of text, or its text.
    Texts,
    /// A value of any type.
    Any,
}

/// What a function gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gives {
    Jsonb,
    Json,
    /// json where the first argument is json, else jsonb.
    Same,
    Text,
    Integer,
    Boolean,
    Binary,
}

/// One function.
pub(super) struct Function {
    pub name: &'static str,
    pub takes: &'static [Takes],
    /// How many of `takes` must be given.
    pub required: usize,
    /// What any number of further arguments are.
    pub rest: Option<Takes>,
    pub gives: Gives,
    /// Whether a NULL among the arguments makes the result NULL without evaluation.
    pub strict: bool,
    pub evaluate: fn(&Call) -> Result<ArrayRef>,
}

impl Function {
    pub fn udf(&'static self) -> Arc<ScalarUDF> {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::from(Caller { function: self, signature }))
    }

    fn undefined(&self, types: &[DataType]) -> Error {
        let names: Vec<String> = types.iter().map(pg_type_name).collect();
        undefined_function(self.name, &names)
    }

    /// The types that the arguments are given in; `None` where there is no such function.
    fn coerced(&self, types: &[DataType]) -> Option<Vec<DataType>> {
        if types.len() < self.required || types.len() > self.takes.len() && self.rest.is_none() {
            return None;
        }
        let takes = self.takes.iter().copied().chain(self.rest.into_iter().cycle());
        types.iter().zip(takes).map(|(given, takes)| coerced(takes, given)).collect()
    }
}

fn coerced(takes: Takes, given: &DataType) -> Option<DataType> {
    use DataType as T;
    let text = matches!(given, T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Null);
    match (takes, given) {
        (Takes::Any, _) => Some(given.clone()),
        (Takes::Jsonb | Takes::Json | Takes::Document | Takes::Text | Takes::Texts, _) if text => {
            Some(T::Utf8)
        }
        (Takes::Texts, T::List(item)) if matches!(item.data_type(), T::Utf8 | T::Null) => {
            Some(given.clone())
        }
        (Takes::Integer, T::Int8 | T::Int16 | T::Int32 | T::Null) => Some(T::Int32),
        (Takes::Boolean, T::Boolean | T::Null) => Some(T::Boolean),
        _ => None,
    }
}

struct Caller {
    function: &'static Function,
    signature: Signature,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.function.name)
    }
}

// Functions are told apart by their names.
impl PartialEq for Caller {
    fn eq(&self, other: &Caller) -> bool {
        self.function.name == other.function.name
    }
}

impl Eq for Caller {}

impl Hash for Caller {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.name.hash(state);
    }
}

impl ScalarUDFImpl for Caller {
    fn name(&self) -> &str {
        self.function.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        self.function.coerced(types).ok_or_else(|| to_datafusion(self.function.undefined(types)))
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(match self.function.gives {
            Gives::Jsonb | Gives::Json | Gives::Same | Gives::Text => DataType::Utf8,
            Gives::Integer => DataType::Int32,
            Gives::Boolean => DataType::Boolean,
            Gives::Binary => DataType::Binary,
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let other = |takes: &Takes, field: &FieldRef| match takes {
            Takes::Jsonb => mark_of(field) == Some("json"),
            Takes::Json => mark_of(field) == Some("jsonb"),
            _ => false,
        };
        if self.function.takes.iter().zip(args.arg_fields).any(|(t, f)| other(t, f)) {
            let names: Vec<String> = args.arg_fields.iter().map(|f| pg_name(f)).collect();
            return Err(to_datafusion(undefined_function(self.function.name, &names)));
        }
        let json = args.arg_fields.first().is_some_and(|field| mark_of(field) == Some("json"));
        Ok(match self.function.gives {
            Gives::Json => marked(DataType::Utf8, "json"),
            Gives::Same if json => marked(DataType::Utf8, "json"),
            Gives::Jsonb | Gives::Same => marked(DataType::Utf8, "jsonb"),
            _ => plain(self.return_type(&[])?),
        })
    }

    fn is_strict(&self) -> bool {
        self.function.strict
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let zone = args.config_options.execution.time_zone.as_deref().unwrap_or("UTC");
        let call = Call {
            args: &args.args,
            fields: &args.arg_fields,
            rows: args.number_rows,
            strict: self.function.strict,
            zone,
        };
        let values = (self.function.evaluate)(&call).map_err(to_datafusion)?;
        Ok(ColumnarValue::Array(values))
    }
}

/// One evaluation over a batch.
pub(super) struct Call<'a> {
    args: &'a [ColumnarValue],
    fields: &'a [FieldRef],
    pub rows: usize,
    strict: bool,
    zone: &'a str,
}

/// An argument's values by row: one for all of them, or each its own.
pub(super) enum ByRow<One, Each> {
    Same(Option<One>),
    Each(Each),
}

/// A text argument.
pub(super) type Texts = ByRow<String, StringArray>;

impl Texts {
    pub fn get(&self, row: usize) -> Option<&str> {
        match self {
            ByRow::Same(text) => text.as_deref(),
            ByRow::Each(texts) => texts.is_valid(row).then(|| texts.value(row)),
        }
    }
}

/// An array of text.
pub(super) type Steps = Vec<Option<String>>;

/// An argument that is an array of text.
pub(super) type Paths = ByRow<Steps, ArrayRef>;

impl Paths {
    pub fn get(&self, row: usize) -> Result<Option<Cow<'_, [Option<String>]>>> {
        match self {
            ByRow::Same(steps) => Ok(steps.as_deref().map(Cow::Borrowed)),
            ByRow::Each(arrays) => Ok(steps_at(arrays, row)?.map(Cow::Owned)),
        }
    }
}

fn steps_at(arrays: &ArrayRef, row: usize) -> Result<Option<Steps>> {
    if arrays.is_null(row) {
        return Ok(None);
    }
    match arrays.data_type() {
        DataType::Utf8 => split_array(arrays.as_string::<i32>().value(row)).map(Some),
        DataType::List(_) => {
            let items = arrays.as_list::<i32>().value(row);
            match items.as_string_opt::<i32>() {
                Some(texts) => Ok(Some(texts.iter().map(|t| t.map(str::to_owned)).collect())),
                None => Ok(Some(vec![None; items.len()])),
            }
        }
        DataType::Null => Ok(None),
        other => Err(Error::internal(format!("{other} is no array of text"))),
    }
}

impl<'a> Call<'a> {
    pub fn arguments(&self) -> usize {
        self.args.len()
    }

    pub fn field(&self, at: usize) -> &FieldRef {
        &self.fields[at]
    }

    fn is_constant(&self, at: usize) -> bool {
        matches!(self.args[at], ColumnarValue::Scalar(_))
    }

    /// An argument as a column: of one row where it is a constant.
    fn column(&self, at: usize) -> Result<ArrayRef> {
        let column = match &self.args[at] {
            ColumnarValue::Array(array) => Ok(Arc::clone(array)),
            ColumnarValue::Scalar(value) => value.to_array(),
        };
        column.map_err(crate::query::errors::from_datafusion)
    }

    /// An argument as a column of all rows.
    pub fn full_column(&self, at: usize) -> Result<ArrayRef> {
        self.args[at].to_array(self.rows).map_err(crate::query::errors::from_datafusion)
    }

    fn strings(&self, at: usize) -> Result<StringArray> {
        let column = self.column(at)?;
        if column.data_type().is_null() {
            return Ok(StringArray::new_null(column.len()));
        }
        let texts = column.as_string_opt::<i32>();
        texts.cloned().ok_or_else(|| Error::internal("a text argument is not text"))
    }

    pub fn texts(&self, at: usize) -> Result<Texts> {
        let texts = self.strings(at)?;
        Ok(match self.is_constant(at) {
            true => ByRow::Same(texts.is_valid(0).then(|| texts.value(0).to_owned())),
            false => ByRow::Each(texts),
        })
    }

    /// A jsonb argument: canonical.
    pub fn jsonb(&self, at: usize) -> Result<Texts> {
        if mark_of(&self.fields[at]) == Some("jsonb") {
            return self.texts(at);
        }
        let texts = self.strings(at)?;
        let read = texts.iter().map(|text| text.map(jsonb_of_text).transpose());
        let texts = read.collect::<Result<StringArray>>()?;
        Ok(match self.is_constant(at) {
            true => ByRow::Same(texts.is_valid(0).then(|| texts.value(0).to_owned())),
            false => ByRow::Each(texts),
        })
    }

    /// A json argument: as it is written.
    pub fn json(&self, at: usize) -> Result<Texts> {
        if mark_of(&self.fields[at]) != Some("json") {
            return self.jsonb(at);
        }
        self.texts(at)
    }

    pub fn paths(&self, at: usize) -> Result<Paths> {
        let column = self.column(at)?;
        Ok(match self.is_constant(at) {
            true => ByRow::Same(steps_at(&column, 0)?),
            false => ByRow::Each(column),
        })
    }

    pub fn integers(&self, at: usize) -> Result<Int32Array> {
        let column = self.full_column(at)?;
        if column.data_type().is_null() {
            return Ok(Int32Array::new_null(column.len()));
        }
        let integers = column.as_primitive_opt::<Int32Type>();
        integers.cloned().ok_or_else(|| Error::internal("an integer argument is no integer"))
    }

    pub fn booleans(&self, at: usize) -> Result<BooleanArray> {
        let column = self.full_column(at)?;
        if column.data_type().is_null() {
            return Ok(BooleanArray::new_null(column.len()));
        }
        let booleans = column.as_boolean_opt();
        booleans.cloned().ok_or_else(|| Error::internal("a boolean argument is no boolean"))
    }

    /// How values become text: in the session's zone.
    pub fn style(&self) -> TextStyle {
        let time_zone = TimeZone::parse(self.zone).unwrap_or(TimeZone::UTC);
        TextStyle { time_zone, ..TextStyle::default() }
    }

    /// Whether the function is strict and an argument of the row is NULL: its other arguments are then not looked at.
    fn skipped(&self) -> Option<Vec<bool>> {
        if !self.strict {
            return None;
        }
        let mut skipped: Option<Vec<bool>> = None;
        for arg in self.args {
            match arg {
                ColumnarValue::Scalar(value) if value.is_null() => {
                    return Some(vec![true; self.rows]);
                }
                ColumnarValue::Array(array) if array.logical_null_count() > 0 => {
                    let nulls = array.logical_nulls();
                    let skipped = skipped.get_or_insert_with(|| vec![false; self.rows]);
                    for (row, skip) in skipped.iter_mut().enumerate() {
                        *skip |= nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
                    }
                }
                _ => {}
            }
        }
        skipped
    }

    /// The rows in order, `None` for those that are NULL because an argument is.
    fn considered(&self) -> impl Iterator<Item = Option<usize>> {
        let skipped = self.skipped();
        (0..self.rows).map(move |row| match &skipped {
            Some(skipped) if skipped[row] => None,
            _ => Some(row),
        })
    }

    /// A text for each row; `write` says whether there is one or the row is NULL.
    pub fn write_texts(
        &self,
        mut write: impl FnMut(usize, &mut String) -> Result<bool>,
    ) -> Result<ArrayRef> {
        let mut builder = StringBuilder::with_capacity(self.rows, self.rows * 16);
        let mut text = String::new();
        for row in self.considered() {
            text.clear();
            match row {
                Some(row) if write(row, &mut text)? => builder.append_value(&text),
                _ => builder.append_null(),
            }
        }
        Ok(Arc::new(builder.finish()))
    }

    /// A part of an argument for each row.
    pub fn borrow_texts<'b>(
        &self,
        part: impl Fn(usize) -> Result<Option<Cow<'b, str>>>,
    ) -> Result<ArrayRef> {
        let mut builder = StringBuilder::with_capacity(self.rows, self.rows * 16);
        for row in self.considered() {
            builder.append_option(match row {
                Some(row) => part(row)?,
                None => None,
            });
        }
        Ok(Arc::new(builder.finish()))
    }

    pub fn test(&self, test: impl Fn(usize) -> Result<Option<bool>>) -> Result<ArrayRef> {
        let tests = self.considered().map(|row| row.map_or(Ok(None), &test));
        Ok(Arc::new(tests.collect::<Result<BooleanArray>>()?))
    }

    pub fn count(&self, count: impl Fn(usize) -> Result<Option<i32>>) -> Result<ArrayRef> {
        let counts = self.considered().map(|row| row.map_or(Ok(None), &count));
        Ok(Arc::new(counts.collect::<Result<Int32Array>>()?))
    }
}
