//! `length`: of text in characters, of bytea in bytes.

use std::hash::Hash;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, Int32Array};
use arrow_schema::DataType;
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::query::errors::{out_of_range, to_datafusion, undefined_function};
use crate::query::sql_types::pg_type_name;

/// The family.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    vec![Arc::new(ScalarUDF::from(Length {
        signature: Signature::user_defined(Volatility::Immutable),
    }))]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Length {
    signature: Signature,
}

impl ScalarUDFImpl for Length {
    fn name(&self) -> &str {
        "length"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        match types {
            [DataType::Binary | DataType::LargeBinary | DataType::BinaryView] => {
                Ok(vec![DataType::Binary])
            }
            [DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null] => {
                Ok(vec![DataType::Utf8])
            }
            _ => {
                let names: Vec<String> = types.iter().map(pg_type_name).collect();
                Err(to_datafusion(undefined_function("length", &names)))
            }
        }
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Int32)
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let values = args.args[0].to_array(args.number_rows)?;
        let fits = |n: usize| i32::try_from(n).map_err(|_| to_datafusion(out_of_range("integer")));
        let lengths: DfResult<Int32Array> = match values.data_type() {
            DataType::Binary => {
                let values = values.as_binary::<i32>();
                values.iter().map(|value| value.map(|v| fits(v.len())).transpose()).collect()
            }
            _ => {
                let values = values.as_string::<i32>();
                let count = |value: &str| fits(value.chars().count());
                values.iter().map(|value| value.map(count).transpose()).collect()
            }
        };
        Ok(ColumnarValue::Array(Arc::new(lengths?)))
    }
}
