//! How long an array is, in how many dimensions: array_length, cardinality, array_ndims, array_dims, array_lower,
//! array_upper.
//!
//! The length of a dimension is that of the first array in it: PostgreSQL's arrays are all as long. An array without elements
//! has no dimensions.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, Int32Array, ListArray, StringArray};
use arrow_schema::{DataType, FieldRef};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::query::errors::{to_datafusion, undefined_function};
use crate::query::sql_types::{pg_type_name, plain};

/// The family.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    [
        ("array_length", Measure::Length),
        ("array_upper", Measure::Length),
        ("array_lower", Measure::Lower),
        ("cardinality", Measure::Cardinality),
        ("array_ndims", Measure::Dimensions),
        ("array_dims", Measure::Text),
    ]
    .map(|(name, measure)| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::from(Measurer { name, measure, signature }))
    })
    .into()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Measure {
    Length,
    Lower,
    Cardinality,
    Dimensions,
    Text,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Measurer {
    name: &'static str,
    measure: Measure,
    signature: Signature,
}

/// The lengths of a row's dimensions, from the outside in.
fn lengths(list: &ListArray, row: usize) -> Vec<i32> {
    let length = list.value_length(row);
    let mut lengths = if length == 0 { vec![] } else { vec![length] };
    if let (Some(inner), true) = (list.values().as_list_opt::<i32>(), length > 0) {
        lengths.extend(self::lengths(inner, list.value_offsets()[row] as usize));
    }
    lengths
}

impl Measurer {
    fn measured(&self, list: &ListArray, dimension: Option<&Int32Array>) -> ArrayRef {
        let known = |row: usize| list.is_valid(row).then(|| lengths(list, row));
        let rows = 0..list.len();
        let at = |row: usize| {
            let dimension = dimension.filter(|dimension| dimension.is_valid(row))?;
            let lengths = known(row)?;
            lengths.get(usize::try_from(dimension.value(row)).ok()?.checked_sub(1)?).copied()
        };
        match self.measure {
            Measure::Length => Arc::new(rows.map(at).collect::<Int32Array>()),
            Measure::Lower => Arc::new(rows.map(|row| at(row).map(|_| 1)).collect::<Int32Array>()),
            Measure::Cardinality => {
                let count = |lengths: Vec<i32>| match lengths.is_empty() {
                    true => 0,
                    false => lengths.iter().product(),
                };
                Arc::new(rows.map(|row| known(row).map(count)).collect::<Int32Array>())
            }
            Measure::Dimensions => {
                let count = |row| known(row).map(|l| l.len() as i32).filter(|count| *count > 0);
                Arc::new(rows.map(count).collect::<Int32Array>())
            }
            Measure::Text => {
                let text = |row| {
                    let lengths = known(row).filter(|lengths| !lengths.is_empty())?;
                    Some(lengths.iter().map(|length| format!("[1:{length}]")).collect::<String>())
                };
                Arc::new(rows.map(text).collect::<StringArray>())
            }
        }
    }
}

impl ScalarUDFImpl for Measurer {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let by_dimension = matches!(self.measure, Measure::Length | Measure::Lower);
        match types {
            [DataType::Map(..)] if self.measure == Measure::Cardinality => Ok(types.to_vec()),
            [DataType::List(_)] if !by_dimension => Ok(types.to_vec()),
            [list @ DataType::List(_), DataType::Int16 | DataType::Int32 | DataType::Null]
                if by_dimension =>
            {
                Ok(vec![list.clone(), DataType::Int32])
            }
            _ => {
                let names: Vec<String> = types.iter().map(pg_type_name).collect();
                Err(to_datafusion(undefined_function(self.name, &names)))
            }
        }
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(if self.measure == Measure::Text { DataType::Utf8 } else { DataType::Int32 })
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs) -> DfResult<FieldRef> {
        Ok(plain(self.return_type(&[])?))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let lists = args.args[0].to_array(args.number_rows)?;
        if let Some(map) = lists.as_map_opt() {
            let count = |row| map.is_valid(row).then(|| map.value_length(row));
            let counts: Int32Array = (0..map.len()).map(count).collect();
            return Ok(ColumnarValue::Array(Arc::new(counts)));
        }
        let dimension = args.args.get(1).map(|d| d.to_array(args.number_rows)).transpose()?;
        let dimension = dimension.as_ref().map(|d| d.as_primitive::<Int32Type>());
        Ok(ColumnarValue::Array(self.measured(lists.as_list(), dimension)))
    }
}
