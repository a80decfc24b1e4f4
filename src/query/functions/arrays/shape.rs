//! array_fill and trim_array.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, UInt32Array};
use arrow_schema::{DataType, Field, FieldRef};
use arrow_select::take::take;
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::elements::{Elements, list_of};
use crate::error::{Error, Result, SqlState};
use crate::query::errors::{to_datafusion, undefined_function};
use crate::query::sql_types::{pg_type_name, plain, renamed};

/// The family.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    [("array_fill", true), ("trim_array", false)]
        .map(|(name, fill)| {
            let signature = Signature::user_defined(Volatility::Immutable);
            Arc::new(ScalarUDF::from(Shape { name, fill, signature }))
        })
        .into()
}

/// Elements that an array may have, as in PostgreSQL.
const ELEMENTS_MAX: i64 = 134_217_727;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Shape {
    name: &'static str,
    fill: bool,
    signature: Signature,
}

fn integers() -> DataType {
    DataType::List(Arc::new(Field::new("item", DataType::Int32, true)))
}

impl Shape {
    fn undefined(&self, types: &[DataType]) -> Error {
        let names: Vec<String> = types.iter().map(pg_type_name).collect();
        undefined_function(self.name, &names)
    }

    fn fill(&self, args: &ScalarFunctionArgs) -> DfResult<ArrayRef> {
        let rows = args.number_rows;
        let values = args.args[0].to_array(rows)?;
        let lengths = Elements::of(&args.args[1].to_array(rows)?)?;
        let bounds = args.args.get(2).map(|bounds| bounds.to_array(rows)).transpose()?;
        let (mut chosen, mut counts, mut valid) = (vec![], vec![], vec![]);
        for row in 0..rows {
            let length = fill_length(&lengths, row).map_err(to_datafusion)?;
            if let Some(bounds) = &bounds {
                check_bounds(bounds, row).map_err(to_datafusion)?;
            }
            counts.push(length);
            valid.push(true);
            chosen.extend(std::iter::repeat_n(row as u32, length));
        }
        let filled = take(&values, &UInt32Array::from(chosen), None)?;
        let DataType::List(item) = args.return_field.data_type() else {
            return Err(to_datafusion(Error::internal("array_fill gives an array")));
        };
        list_of(item, counts, filled, valid).map_err(to_datafusion)
    }

    fn trim(&self, args: &ScalarFunctionArgs) -> DfResult<ArrayRef> {
        let rows = args.number_rows;
        let arrays = Elements::of(&args.args[0].to_array(rows)?)?;
        let counts = args.args[1].to_array(rows)?;
        let counts = counts.as_primitive::<Int32Type>();
        arrays.choose(|row, chosen| {
            let Some(range) = arrays.range(row).filter(|_| counts.is_valid(row)) else {
                return Ok(false);
            };
            let trimmed = usize::try_from(counts.value(row)).ok();
            let kept = trimmed.and_then(|trimmed| range.len().checked_sub(trimmed));
            let kept = kept.ok_or_else(|| {
                let most = range.len();
                let message = format!("number of elements to trim must be between 0 and {most}");
                Error::new(SqlState("2202E"), message)
            })?;
            chosen.extend((range.start..range.start + kept).map(|at| at as u32));
            Ok(true)
        })
    }
}

/// The length of the one dimension.
fn fill_length(dimensions: &Elements, row: usize) -> Result<usize> {
    let null =
        || Error::new(SqlState("22004"), "dimension array or low bound array cannot be null");
    let range = dimensions.range(row).ok_or_else(null)?;
    let lengths = dimensions.values().as_primitive::<Int32Type>();
    if range.clone().any(|at| lengths.is_null(at)) {
        return Err(Error::new(SqlState("22004"), "dimension values cannot be null"));
    }
    let length = match range.len() {
        0 => return Ok(0),
        1 => lengths.value(range.start),
        _ => return Err(Error::unsupported("array_fill of several dimensions is not supported")),
    };
    if length < 0 || i64::from(length) > ELEMENTS_MAX {
        let message = format!("array size exceeds the maximum allowed ({ELEMENTS_MAX})");
        return Err(Error::new(SqlState("54000"), message));
    }
    Ok(length as usize)
}

/// Arrays begin at 1 here.
fn check_bounds(bounds: &ArrayRef, row: usize) -> Result<()> {
    let bounds = bounds.as_list::<i32>().value(row);
    let bounds = bounds.as_primitive::<Int32Type>();
    match bounds.iter().all(|bound| bound == Some(1)) {
        true => Ok(()),
        false => Err(Error::unsupported("arrays that do not begin at 1 are not supported")),
    }
}

impl ScalarUDFImpl for Shape {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        match (self.fill, types) {
            (true, [value, DataType::List(_) | DataType::Null]) => {
                Ok(vec![value.clone(), integers()])
            }
            (true, [value, DataType::List(_), DataType::List(_)]) => {
                Ok(vec![value.clone(), integers(), integers()])
            }
            (false, [array @ DataType::List(_), DataType::Int16 | DataType::Int32]) => {
                Ok(vec![array.clone(), DataType::Int32])
            }
            _ => Err(to_datafusion(self.undefined(types))),
        }
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(match self.fill {
            true => DataType::List(Arc::new(Field::new("item", types[0].clone(), true))),
            false => types[0].clone(),
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let given = &args.arg_fields[0];
        Ok(match self.fill {
            true => plain(DataType::List(Arc::new(renamed(given, "item", true)))),
            false => Arc::new(renamed(given, "", true)),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Ok(ColumnarValue::Array(if self.fill { self.fill(&args)? } else { self.trim(&args)? }))
    }
}
