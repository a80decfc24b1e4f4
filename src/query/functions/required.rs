//! What a NOT NULL column asks of the values that a sink writes to it: 23502 for a NULL, the value itself otherwise.

use std::sync::Arc;

use arrow_array::Array;
use arrow_schema::{DataType, FieldRef};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::error::{Error, SqlState};
use crate::query::errors::to_datafusion;

/// The function of one argument for a column of a table.
pub fn required(table: &str, column: &str) -> ScalarUDF {
    let message = format!(
        "null value in column \"{column}\" of relation \"{table}\" violates not-null constraint"
    );
    ScalarUDF::from(Required { message, signature: Signature::any(1, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Required {
    message: String,
    signature: Signature,
}

impl ScalarUDFImpl for Required {
    fn name(&self) -> &str {
        "#required"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(types[0].clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        Ok(Arc::new(args.arg_fields[0].as_ref().clone().with_name(self.name())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let has_null = match &args.args[0] {
            ColumnarValue::Array(values) => values.null_count() > 0,
            ColumnarValue::Scalar(value) => value.is_null(),
        };
        if has_null {
            let error = Error::new(SqlState::NOT_NULL_VIOLATION, self.message.clone());
            return Err(to_datafusion(error));
        }
        Ok(args.args[0].clone())
    }
}
