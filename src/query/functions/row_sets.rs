//! Functions that return sets of rows, as lists: `rows:generate_series(1, 3)` is the list of what `generate_series(1, 3)` returns.
//!
//! A list of structs, one a row, with a field for each column: so a function is evaluated once for all its columns, and the
//! marks of their types survive where the list is unnested. `field:0` takes a column out of a row again. Which calls
//! become these functions is [`crate::query::row_sets`]' business; each family's values are its own file's. Invariant: a
//! NULL list and an empty one mean the same, no rows.

use std::hash::Hash;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, Int32Array, Int64Array, ListArray, StructArray, UInt32Array};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, FieldRef, Fields};
use arrow_select::take::take;
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::json_rows::JsonRows;
use super::series;
use super::text_rows::TextRows;
use crate::error::{Error, Result, SqlState};
use crate::query::errors::{from_arrow, to_datafusion, undefined_function};
use crate::query::row_sets::{FIELD, ROWS};
use crate::query::sql_types::{pg_type_name, plain, renamed};

/// The family.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    let of_rows = RowSet::ALL.iter().map(|set| set.function());
    let fields = (0..2).map(field);
    of_rows.chain(fields).collect()
}

/// `rows:unnest`, the rows of one column that an array's elements are.
pub(crate) fn elements() -> Arc<ScalarUDF> {
    RowSet::Unnest.function()
}

/// `field:N`, a column of a row.
pub(crate) fn field(column: usize) -> Arc<ScalarUDF> {
    let name = format!("{FIELD}{column}");
    let signature = Signature::any(1, Volatility::Immutable);
    Arc::new(ScalarUDF::from(RowField { name, column, signature }))
}

/// A function that returns a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum RowSet {
    Unnest,
    Series,
    Subscripts,
    /// Elements, and their numbers from one on.
    Numbered,
    /// The numbers from one on, as many as the longest of some lists has rows.
    Ordinality,
    Json(JsonRows),
    Text(TextRows),
}

/// What a function returns for a column of calls: where each call's rows begin and end, whether it is NULL, the columns.
pub(super) struct Sets {
    pub offsets: OffsetBuffer<i32>,
    pub nulls: Option<NullBuffer>,
    pub columns: Vec<ArrayRef>,
}

impl Sets {
    /// Sets without NULL lists out of how many rows each call has.
    pub fn of_lengths(lengths: Vec<usize>, columns: Vec<ArrayRef>) -> Result<Sets> {
        let total: usize = lengths.iter().sum();
        if i32::try_from(total).is_err() {
            return Err(too_many());
        }
        Ok(Sets { offsets: OffsetBuffer::from_lengths(lengths), nulls: None, columns })
    }
}

/// 54000: more rows than lists hold.
pub(super) fn too_many() -> Error {
    let message = "a function returns too many rows for one row of its input";
    Error::new(SqlState("54000"), message)
}

/// 22023: a series that does not go on.
pub(crate) fn no_step() -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, "step size cannot equal zero")
}

impl RowSet {
    const ALL: [RowSet; 18] = [
        RowSet::Unnest,
        RowSet::Series,
        RowSet::Subscripts,
        RowSet::Numbered,
        RowSet::Ordinality,
        RowSet::Json(JsonRows::Elements { binary: true, text: false }),
        RowSet::Json(JsonRows::Elements { binary: true, text: true }),
        RowSet::Json(JsonRows::Elements { binary: false, text: false }),
        RowSet::Json(JsonRows::Elements { binary: false, text: true }),
        RowSet::Json(JsonRows::Members { binary: true, text: false }),
        RowSet::Json(JsonRows::Members { binary: true, text: true }),
        RowSet::Json(JsonRows::Members { binary: false, text: false }),
        RowSet::Json(JsonRows::Members { binary: false, text: true }),
        RowSet::Json(JsonRows::Keys { binary: true }),
        RowSet::Json(JsonRows::Keys { binary: false }),
        RowSet::Text(TextRows::Split),
        RowSet::Text(TextRows::SplitByPattern),
        RowSet::Text(TextRows::Matches),
    ];

    fn name(self) -> &'static str {
        match self {
            RowSet::Unnest => "unnest",
            RowSet::Series => "generate_series",
            RowSet::Subscripts => "generate_subscripts",
            RowSet::Numbered => "_pg_expandarray",
            RowSet::Ordinality => "ordinality",
            RowSet::Json(json) => json.name(),
            RowSet::Text(text) => text.name(),
        }
    }

    fn function(self) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::from(RowsOf {
            set: self,
            name: format!("{ROWS}{}", self.name()),
            signature: Signature::user_defined(Volatility::Immutable),
        }))
    }

    fn undefined(self, types: &[DataType]) -> Error {
        let names: Vec<String> = types.iter().map(pg_type_name).collect();
        undefined_function(self.name(), &names)
    }

    fn coerce(self, types: &[DataType]) -> Result<Vec<DataType>> {
        let is_list = |t: &DataType| matches!(t, DataType::List(_));
        let coerced = match self {
            RowSet::Unnest | RowSet::Numbered => {
                types.first().filter(|t| is_list(t)).map(|t| vec![t.clone()])
            }
            RowSet::Ordinality => types.iter().all(is_list).then(|| types.to_vec()),
            RowSet::Subscripts => match types {
                [list, dimension] if is_list(list) && dimension.is_integer() => {
                    Some(vec![list.clone(), DataType::Int32])
                }
                _ => None,
            },
            RowSet::Series => series::coerce(types),
            RowSet::Json(json) => json.coerce(types),
            RowSet::Text(text) => text.coerce(types),
        };
        coerced.ok_or_else(|| self.undefined(types))
    }

    /// The columns of the rows.
    fn columns(self, args: &[FieldRef]) -> Vec<FieldRef> {
        match self {
            RowSet::Unnest => vec![innermost(&args[0])],
            RowSet::Series => vec![series::column(args)],
            RowSet::Subscripts => vec![plain(DataType::Int32)],
            RowSet::Numbered => vec![innermost(&args[0]), plain(DataType::Int32)],
            RowSet::Ordinality => vec![plain(DataType::Int64)],
            RowSet::Json(json) => json.columns(),
            RowSet::Text(text) => text.columns(),
        }
    }

    fn sets(self, args: &[ArrayRef], columns: &Fields, zone: &str) -> Result<Sets> {
        match self {
            RowSet::Unnest => {
                let list = list(&args[0])?;
                let (offsets, elements) = flattened(list)?;
                Ok(Sets { offsets, nulls: list.nulls().cloned(), columns: vec![elements] })
            }
            RowSet::Series => series::sets(args, columns[0].data_type(), zone),
            RowSet::Subscripts => subscripts(list(&args[0])?, args[1].as_primitive()),
            RowSet::Numbered => {
                let (offsets, elements) = flattened(list(&args[0])?)?;
                let lengths: Vec<usize> = offsets.lengths().collect();
                let numbers = lengths.iter().flat_map(|&length| 1..=length as i32);
                let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(numbers));
                let (from, to) = (offsets[0] as usize, offsets[lengths.len()] as usize);
                Sets::of_lengths(lengths, vec![elements.slice(from, to - from), numbers])
            }
            RowSet::Ordinality => ordinality(args),
            RowSet::Json(json) => json.sets(&args[0]),
            RowSet::Text(text) => text.sets(args),
        }
    }
}

/// The element's field of an array of any number of dimensions.
fn innermost(field: &FieldRef) -> FieldRef {
    match field.data_type() {
        DataType::List(item) => innermost(item),
        _ => Arc::clone(field),
    }
}

fn list(array: &ArrayRef) -> Result<&ListArray> {
    array.as_list_opt::<i32>().ok_or_else(|| Error::internal("an argument is no array"))
}

/// The elements of arrays whose elements are no arrays, and where each row's begin.
fn flattened(list: &ListArray) -> Result<(OffsetBuffer<i32>, ArrayRef)> {
    let (mut offsets, mut values) = (list.offsets().clone(), Arc::clone(list.values()));
    while let Some(inner) = values.as_list_opt::<i32>() {
        let of_inner = inner.offsets();
        let through = offsets.iter().map(|&at| of_inner[at as usize]).collect::<Vec<i32>>();
        offsets = OffsetBuffer::new(through.into());
        let elements = Arc::clone(inner.values());
        values = elements;
    }
    Ok((offsets, values))
}

/// The indices of an array's first dimension; of others there are none unless all rows are arrays.
fn subscripts(list: &ListArray, dimensions: &Int32Array) -> Result<Sets> {
    let mut lengths = Vec::with_capacity(list.len());
    for row in 0..list.len() {
        let mut length = 0;
        if list.is_valid(row) && dimensions.is_valid(row) && dimensions.value(row) > 0 {
            let mut level: ArrayRef = list.value(row);
            length = level.len();
            for _ in 1..dimensions.value(row) {
                match level.as_list_opt::<i32>().filter(|inner| !inner.is_empty()) {
                    Some(inner) => level = inner.value(0),
                    None => level = Arc::new(Int32Array::from(Vec::<i32>::new())),
                }
                length = level.len();
            }
        }
        lengths.push(length);
    }
    let numbers = lengths.iter().flat_map(|&length| 1..=length as i32);
    let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(numbers));
    Sets::of_lengths(lengths, vec![numbers])
}

fn ordinality(args: &[ArrayRef]) -> Result<Sets> {
    let lists = args.iter().map(list).collect::<Result<Vec<_>>>()?;
    let rows = lists.first().map_or(0, |list| list.len());
    let length = |list: &&ListArray, row: usize| match list.is_valid(row) {
        true => list.value_length(row) as usize,
        false => 0,
    };
    let lengths: Vec<usize> = (0..rows)
        .map(|row| lists.iter().map(|list| length(list, row)).max().unwrap_or(0))
        .collect();
    let numbers = lengths.iter().flat_map(|&length| 1..=length as i64);
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
    Sets::of_lengths(lengths, vec![numbers])
}

/// A function's rows as a list.
#[derive(Debug, PartialEq, Eq, Hash)]
struct RowsOf {
    set: RowSet,
    name: String,
    signature: Signature,
}

impl RowsOf {
    fn list_type(&self, args: &[FieldRef]) -> DataType {
        let columns = self.set.columns(args);
        let columns = columns.iter().enumerate().map(|(i, f)| renamed(f, &format!("c{i}"), true));
        let row = DataType::Struct(columns.collect());
        DataType::List(Arc::new(Field::new("item", row, true)))
    }
}

impl ScalarUDFImpl for RowsOf {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        self.set.coerce(types).map_err(to_datafusion)
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(self.list_type(&types.iter().cloned().map(plain).collect::<Vec<_>>()))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        Ok(plain(self.list_type(args.arg_fields)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let zone = args.config_options.execution.time_zone.as_deref().unwrap_or_default();
        let scalar = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|a| a.to_array(rows)).collect::<DfResult<Vec<_>>>()?;
        let DataType::List(item) = args.return_field.data_type() else {
            return Err(to_datafusion(Error::internal("rows are a list")));
        };
        let DataType::Struct(columns) = item.data_type() else {
            return Err(to_datafusion(Error::internal("a row is a struct")));
        };
        let sets = self.set.sets(&arrays, columns, zone).map_err(to_datafusion)?;
        let values = StructArray::try_new(columns.clone(), sets.columns, None)?;
        let list =
            ListArray::try_new(Arc::clone(item), sets.offsets, Arc::new(values), sets.nulls)?;
        Ok(match scalar {
            true => ColumnarValue::Scalar(ScalarValue::List(Arc::new(list))),
            false => ColumnarValue::Array(Arc::new(list)),
        })
    }
}

/// A column of a row; of a row that is NULL, where a shorter list was padded, it is NULL.
#[derive(Debug, PartialEq, Eq, Hash)]
struct RowField {
    name: String,
    column: usize,
    signature: Signature,
}

impl RowField {
    fn of<'a>(&self, row: &'a DataType) -> DfResult<&'a FieldRef> {
        let field = match row {
            DataType::Struct(fields) => fields.get(self.column),
            _ => None,
        };
        field.ok_or_else(|| to_datafusion(Error::internal("a row has no such column")))
    }
}

impl ScalarUDFImpl for RowField {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(self.of(&types[0])?.data_type().clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        Ok(Arc::new(renamed(self.of(args.arg_fields[0].data_type())?, "", true)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let rows = args.args[0].to_array(args.number_rows)?;
        let rows = rows
            .as_struct_opt()
            .ok_or_else(|| to_datafusion(Error::internal("a field is taken of a row")))?;
        let values = rows.column(self.column);
        let Some(nulls) = rows.nulls().filter(|nulls| nulls.null_count() > 0) else {
            return Ok(ColumnarValue::Array(Arc::clone(values)));
        };
        let at = (0..rows.len() as u32).map(|row| nulls.is_valid(row as usize).then_some(row));
        let values = take(values, &UInt32Array::from_iter(at), None);
        Ok(ColumnarValue::Array(values.map_err(from_arrow).map_err(to_datafusion)?))
    }
}
