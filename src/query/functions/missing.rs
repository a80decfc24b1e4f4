//! Functions that do not exist: found under any unknown name, they refuse every call with PostgreSQL's 42883, which
//! names the arguments' types. DataFusion by itself reports only the name, before the arguments are planned.

use std::sync::Arc;

use arrow_schema::{DataType, FieldRef};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TypeSignature, Volatility,
};

use crate::error::{Error, SqlState};
use crate::query::errors::{to_datafusion, undefined_function};
use crate::query::sql_types::pg_name;

/// A function of an unknown name.
pub(crate) fn undefined(name: &str) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Missing::new(name, None)))
}

/// A function whose every call fails with `error`.
pub(crate) fn refused(name: &str, error: Error) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Missing::new(name, Some((error.code.0, error.message)))))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Missing {
    name: String,
    error: Option<(&'static str, String)>,
    signature: Signature,
}

impl Missing {
    fn new(name: &str, error: Option<(&'static str, String)>) -> Missing {
        let signature = Signature::one_of(
            vec![TypeSignature::Nullary, TypeSignature::VariadicAny],
            Volatility::Immutable,
        );
        Missing { name: name.to_owned(), error, signature }
    }

    fn error(&self, arguments: &[String]) -> Error {
        match &self.error {
            Some((code, message)) => Error::new(SqlState(code), message.clone()),
            None => undefined_function(&self.name, arguments),
        }
    }
}

impl ScalarUDFImpl for Missing {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        let names: Vec<String> = types.iter().map(crate::query::sql_types::pg_type_name).collect();
        Err(to_datafusion(self.error(&names)))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let names: Vec<String> = args
            .arg_fields
            .iter()
            .zip(args.scalar_arguments)
            .map(|(field, literal)| match literal {
                Some(ScalarValue::Utf8(_) | ScalarValue::Null) => "unknown".to_owned(),
                _ => pg_name(field),
            })
            .collect();
        Err(to_datafusion(self.error(&names)))
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Err(to_datafusion(self.error(&[])))
    }
}
