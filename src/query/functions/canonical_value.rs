//! The function that makes equal values the same: -0 becomes 0 and every NaN one NaN, also within arrays and records.

use std::sync::Arc;

use arrow_schema::FieldRef;
use datafusion::common::{Result as DfResult, ScalarValue, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::canonical::canonical;

/// `canonical_value(any) -> any`, for keys; not to be called by name.
pub(in crate::query) fn canonical_value() -> Arc<ScalarUDF> {
    let signature = Signature::any(1, Volatility::Immutable);
    Arc::new(ScalarUDF::from(CanonicalValue { signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CanonicalValue {
    signature: Signature,
}

impl ScalarUDFImpl for CanonicalValue {
    fn name(&self) -> &str {
        "value:"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[arrow_schema::DataType]) -> DfResult<arrow_schema::DataType> {
        exec_err!("the type of a value is told by its field")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        Ok(Arc::clone(&args.arg_fields[0]))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Ok(match &args.args[0] {
            ColumnarValue::Array(values) => ColumnarValue::Array(canonical(values)),
            ColumnarValue::Scalar(value) => {
                let value = canonical(&value.to_array()?);
                ColumnarValue::Scalar(ScalarValue::try_from_array(&value, 0)?)
            }
        })
    }
}
