//! Functions about values as such: pg_typeof and gen_random_uuid.

use std::hash::Hash;
use std::sync::Arc;

use arrow_array::builder::FixedSizeBinaryBuilder;
use arrow_schema::{DataType, FieldRef};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use rand::RngCore;

use super::math::any_arguments;
use crate::query::sql_types::{cast_name, marked, pg_name};

/// The family.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    vec![
        Arc::new(ScalarUDF::from(TypeOf { signature: any_arguments(Volatility::Immutable) })),
        Arc::new(ScalarUDF::from(RandomUuid { signature: any_arguments(Volatility::Volatile) })),
    ]
}

/// `pg_typeof(any)`: the type, by its name. Without an argument, as which a literal without a type comes here, it is unknown.
#[derive(Debug, PartialEq, Eq, Hash)]
struct TypeOf {
    signature: Signature,
}

impl ScalarUDFImpl for TypeOf {
    fn name(&self) -> &str {
        "pg_typeof"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        if args.arg_fields.len() > 1 {
            let names: Vec<String> = args.arg_fields.iter().map(|f| pg_name(f)).collect();
            let error = crate::query::errors::undefined_function("pg_typeof", &names);
            return Err(crate::query::errors::to_datafusion(error));
        }
        Ok(marked(DataType::Utf8, "regtype"))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let name = match args.arg_fields.first() {
            // What has come out of a query as nothing but NULLs is text.
            Some(field) if field.data_type().is_null() => "text".to_owned(),
            // A record's name says nothing of what is in it.
            Some(field) if holds_records(field.data_type()) => cast_name(field),
            Some(field) => pg_name(field),
            None => "unknown".to_owned(),
        };
        Ok(ColumnarValue::Scalar(ScalarValue::from(name)))
    }
}

fn holds_records(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) => holds_records(item.data_type()),
        other => matches!(other, DataType::Struct(_)),
    }
}

/// `gen_random_uuid()`: version 4.
#[derive(Debug, PartialEq, Eq, Hash)]
struct RandomUuid {
    signature: Signature,
}

impl ScalarUDFImpl for RandomUuid {
    fn name(&self) -> &str {
        "gen_random_uuid"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::FixedSizeBinary(16))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        if !args.arg_fields.is_empty() {
            let names: Vec<String> = args.arg_fields.iter().map(|f| pg_name(f)).collect();
            let error = crate::query::errors::undefined_function("gen_random_uuid", &names);
            return Err(crate::query::errors::to_datafusion(error));
        }
        Ok(marked(DataType::FixedSizeBinary(16), "uuid"))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let mut builder = FixedSizeBinaryBuilder::with_capacity(args.number_rows, 16);
        let mut random = rand::rng();
        for _ in 0..args.number_rows {
            let mut bytes = [0; 16];
            random.fill_bytes(&mut bytes);
            bytes[6] = bytes[6] & 0x0f | 0x40;
            bytes[8] = bytes[8] & 0x3f | 0x80;
            builder.append_value(bytes)?;
        }
        Ok(ColumnarValue::Array(Arc::new(builder.finish())))
    }
}
