//! What is in an array: array_position, array_positions, array_remove, array_replace, `@>`, `<@`, `&&`.
//!
//! NULL is found as an element by the functions, and equals nothing for the operators.

use std::sync::Arc;

use arrow::compute::kernels::cmp::not_distinct;
use arrow_array::builder::{Int32Builder, ListBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, BooleanArray, Int32Array};
use arrow_schema::{DataType, Field};
use arrow_select::take::take;
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::elements::Elements;
use crate::error::{Error, Result, SqlState};
use crate::query::errors::{from_arrow, to_datafusion, undefined_function};
use crate::query::operators::comparison_type;
use crate::query::sql_types::{pg_type_name, plain};

/// The family.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    vec![
        function("array_position", Search::First),
        function("array_positions", Search::All),
        function("array_remove", Search::Remove),
        function("array_replace", Search::Replace),
        contains(),
        overlap(),
    ]
}

/// `a @> b`.
pub(crate) fn contains() -> Arc<ScalarUDF> {
    function("arraycontains", Search::Contains)
}

/// `a && b`.
pub(crate) fn overlap() -> Arc<ScalarUDF> {
    function("arrayoverlap", Search::Overlap)
}

fn function(name: &'static str, search: Search) -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::from(Searcher { name, search, signature }))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Search {
    First,
    All,
    Remove,
    Replace,
    Contains,
    Overlap,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Searcher {
    name: &'static str,
    search: Search,
    signature: Signature,
}

/// The type in which an element is compared with the items of an array.
fn common(item: &DataType, element: &DataType) -> Option<DataType> {
    let text = |t: &DataType| matches!(t, DataType::Utf8 | DataType::Null);
    // A text beside another type is a literal that nothing has typed.
    if text(element) || item == element {
        return Some(if item.is_null() { element.clone() } else { item.clone() });
    }
    let field = comparison_type(&plain(item.clone()), &plain(element.clone()))?;
    Some(field.data_type().clone())
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, true)))
}

impl Searcher {
    fn coerced(&self, types: &[DataType]) -> Option<Vec<DataType>> {
        let item = |t: &DataType| match t {
            DataType::List(item) => Some(item.data_type().clone()),
            DataType::Null => Some(DataType::Null),
            _ => None,
        };
        match (self.search, types) {
            (Search::Contains | Search::Overlap, [left, right]) => {
                let common = common(&item(left)?, &item(right)?)?;
                Some(vec![list(common.clone()), list(common)])
            }
            (Search::First, [array, element, DataType::Int32 | DataType::Null]) => {
                let common = common(&item(array)?, element)?;
                Some(vec![list(common.clone()), common, DataType::Int32])
            }
            (Search::Replace, [array, old, new]) => {
                let common = common(&common(&item(array)?, old)?, new)?;
                Some(vec![list(common.clone()), common.clone(), common])
            }
            (Search::First | Search::All | Search::Remove, [array, element]) => {
                let common = common(&item(array)?, element)?;
                Some(vec![list(common.clone()), common])
            }
            _ => None,
        }
    }

    fn positions(&self, args: &ScalarFunctionArgs) -> DfResult<ArrayRef> {
        let rows = args.number_rows;
        let arrays = Elements::of(&args.args[0].to_array(rows)?)?;
        let found = arrays.equal_to(&args.args[1].to_array(rows)?).map_err(to_datafusion)?;
        let start = args.args.get(2).map(|start| start.to_array(rows)).transpose()?;
        let start = start.as_ref().map(|start| start.as_primitive::<Int32Type>());
        let (_, all) = arrays.owners();
        let at = |row: usize| -> Result<Option<Vec<i32>>> {
            let Some(range) = arrays.range(row) else { return Ok(None) };
            let first = match start {
                Some(start) if start.is_null(row) => {
                    return Err(Error::new(SqlState("22004"), "initial position must not be null"));
                }
                Some(start) => start.value(row),
                None => 1,
            };
            let is_found =
                |at: &usize| found.value(at - all.start) && found.is_valid(at - all.start);
            let positions = range.clone().filter(is_found);
            let positions = positions.map(|at| (at - range.start) as i32 + 1);
            Ok(Some(positions.filter(|at| *at >= first).collect()))
        };
        let found = (0..rows).map(at).collect::<Result<Vec<_>>>().map_err(to_datafusion)?;
        if self.search == Search::First {
            let first = found.into_iter().map(|found| found.and_then(|f| f.first().copied()));
            return Ok(Arc::new(first.collect::<Int32Array>()));
        }
        let mut builder = ListBuilder::new(Int32Builder::new()).with_field(Field::new(
            "item",
            DataType::Int32,
            true,
        ));
        for positions in found {
            builder.append_option(positions.map(|found| found.into_iter().map(Some)));
        }
        Ok(Arc::new(builder.finish()))
    }

    /// The arrays without, or with another element in place of, the one that is searched.
    fn changed(&self, args: &ScalarFunctionArgs) -> DfResult<ArrayRef> {
        let rows = args.number_rows;
        let arrays = Elements::of(&args.args[0].to_array(rows)?)?;
        let found = arrays.equal_to(&args.args[1].to_array(rows)?).map_err(to_datafusion)?;
        let (owners, all) = arrays.owners();
        if self.search == Search::Remove {
            return arrays.choose(|row, chosen| {
                let Some(range) = arrays.range(row) else { return Ok(false) };
                chosen.extend(range.filter(|at| !found.value(at - all.start)).map(|at| at as u32));
                Ok(true)
            });
        }
        let replacement = take(&args.args[2].to_array(rows)?, &owners, None)?;
        let kept = arrays.values().slice(all.start, all.len());
        let values = arrow_select::zip::zip(&found, &replacement, &kept)?;
        let (mut lengths, mut valid) = (vec![], vec![]);
        for row in 0..rows {
            let range = arrays.range(row);
            valid.push(range.is_some());
            lengths.push(arrays.length(row));
        }
        let DataType::List(item) = args.return_field.data_type() else {
            return Err(to_datafusion(Error::internal("array_replace gives an array")));
        };
        super::elements::list_of(item, lengths, values, valid).map_err(to_datafusion)
    }

    fn tested(&self, args: &ScalarFunctionArgs) -> DfResult<ArrayRef> {
        let left = Elements::of(&args.args[0].to_array(args.number_rows)?)?;
        let right = Elements::of(&args.args[1].to_array(args.number_rows)?)?;
        let converter = arrow::row::RowConverter::new(vec![arrow::row::SortField::new(
            left.values().data_type().clone(),
        )])?;
        let lefts = converter.convert_columns(std::slice::from_ref(left.values()))?;
        let rights = converter.convert_columns(std::slice::from_ref(right.values()))?;
        let verdict = (0..args.number_rows).map(|row| {
            let (left_range, right_range) = (left.range(row)?, right.range(row)?);
            if self.search == Search::Contains {
                let whole: std::collections::HashSet<_> = left_range
                    .filter(|at| left.values().is_valid(*at))
                    .map(|at| lefts.row(at))
                    .collect();
                let mut parts = right_range;
                return Some(
                    parts.all(|at| right.values().is_valid(at) && whole.contains(&rights.row(at))),
                );
            }
            let known = right_range.filter(|at| right.values().is_valid(*at));
            let known: std::collections::HashSet<_> = known.map(|at| rights.row(at)).collect();
            let mut known_left = left_range.filter(|at| left.values().is_valid(*at));
            Some(known_left.any(|at| known.contains(&lefts.row(at))))
        });
        Ok(Arc::new(verdict.collect::<BooleanArray>()))
    }
}

impl Elements {
    /// For each element of all rows, in order, whether it is its row's `value`, NULL being NULL.
    pub fn equal_to(&self, values: &ArrayRef) -> Result<BooleanArray> {
        let (owners, all) = self.owners();
        let values = take(values, &owners, None).map_err(from_arrow)?;
        let elements = self.values().slice(all.start, all.len());
        if elements.data_type().is_nested() {
            return Err(Error::unsupported("arrays of arrays cannot be searched"));
        }
        not_distinct(&elements, &values).map_err(from_arrow)
    }
}

impl ScalarUDFImpl for Searcher {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        self.coerced(types).ok_or_else(|| {
            let names: Vec<String> = types.iter().map(pg_type_name).collect();
            to_datafusion(undefined_function(self.name, &names))
        })
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(match self.search {
            Search::Remove | Search::Replace => types[0].clone(),
            Search::First => DataType::Int32,
            Search::All => list(DataType::Int32),
            Search::Contains | Search::Overlap => DataType::Boolean,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        if args.args[0].data_type().is_null() {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from(args.return_type())?));
        }
        Ok(ColumnarValue::Array(match self.search {
            Search::First | Search::All => self.positions(&args)?,
            Search::Remove | Search::Replace => self.changed(&args)?,
            Search::Contains | Search::Overlap => self.tested(&args)?,
        }))
    }
}
