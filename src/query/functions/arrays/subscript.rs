//! `a[i]` and `a[i:j]`, counted from 1: outside of the array there is NULL, and nothing.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, Int64Array, UInt32Array};
use arrow_cast::cast;
use arrow_schema::{DataType, FieldRef};
use arrow_select::take::take;
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::elements::Elements;
use crate::error::{Error, SqlState};
use crate::query::errors::to_datafusion;
use crate::query::sql_types::{pg_name, renamed};

/// The functions that subscripts stand for.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    vec![subscript(), slice()]
}

/// `array[index]`.
pub(crate) fn subscript() -> Arc<ScalarUDF> {
    function("array_subscript", false)
}

/// `array[first:last]`.
pub(crate) fn slice() -> Arc<ScalarUDF> {
    function("array_slice_between", true)
}

fn function(name: &'static str, slice: bool) -> Arc<ScalarUDF> {
    let signature = Signature::any(if slice { 3 } else { 2 }, Volatility::Immutable);
    Arc::new(ScalarUDF::from(Subscript { name, slice, signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Subscript {
    name: &'static str,
    slice: bool,
    signature: Signature,
}

fn not_subscriptable(field: &FieldRef) -> Error {
    let message = format!(
        "cannot subscript type {} because it does not support subscripting",
        pg_name(field)
    );
    Error::new(SqlState::DATATYPE_MISMATCH, message)
}

impl ScalarUDFImpl for Subscript {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        match (&types[0], self.slice) {
            (DataType::List(_), true) => Ok(types[0].clone()),
            (DataType::List(item), false) => Ok(item.data_type().clone()),
            _ => Err(to_datafusion(not_subscriptable(&crate::query::sql_types::plain(
                types[0].clone(),
            )))),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let array = &args.arg_fields[0];
        for index in &args.arg_fields[1..] {
            if !index.data_type().is_integer() && !index.data_type().is_null() {
                let message = "array subscript must have type integer";
                return Err(to_datafusion(Error::new(SqlState::DATATYPE_MISMATCH, message)));
            }
        }
        match (array.data_type(), self.slice) {
            (DataType::List(_), true) => Ok(Arc::new(renamed(array, "", true))),
            (DataType::List(item), false) => Ok(Arc::new(renamed(item, "", true))),
            _ => Err(to_datafusion(not_subscriptable(array))),
        }
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let arrays = Elements::of(&args.args[0].to_array(args.number_rows)?)?;
        let index = |at: usize| -> DfResult<Int64Array> {
            let index = cast(&args.args[at].to_array(args.number_rows)?, &DataType::Int64)?;
            Ok(index.as_primitive::<Int64Type>().clone())
        };
        let first = index(1)?;
        if !self.slice {
            let position = |row: usize| {
                let range = arrays.range(row).filter(|_| first.is_valid(row))?;
                let at = usize::try_from(first.value(row)).ok()?.checked_sub(1)?;
                (at < range.len()).then(|| (range.start + at) as u32)
            };
            let positions: UInt32Array = (0..arrays.rows()).map(position).collect();
            return Ok(ColumnarValue::Array(take(arrays.values(), &positions, None)?));
        }
        let last = index(2)?;
        let slices = arrays.choose(|row, chosen| {
            let Some(range) = arrays.range(row) else { return Ok(false) };
            if first.is_null(row) || last.is_null(row) {
                return Ok(false);
            }
            let from = first.value(row).clamp(1, range.len() as i64 + 1) as usize - 1;
            let to = last.value(row).clamp(0, range.len() as i64) as usize;
            chosen.extend((from..to.max(from)).map(|at| (range.start + at) as u32));
            Ok(true)
        })?;
        Ok(ColumnarValue::Array(slices))
    }
}
