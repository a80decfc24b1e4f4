//! `abs`, whose overflow is 22003.

use std::hash::Hash;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
};
use arrow_array::{ArrayRef, ArrowPrimitiveType, PrimitiveArray};
use arrow_schema::{DataType, FieldRef};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::datetime::with_column;
use crate::error::{Error, Result};
use crate::query::errors::{out_of_range, to_datafusion, undefined_function};
use crate::query::sql_types::{mark_of, marked, pg_type_name, plain};

/// The family.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    let signature = Signature::user_defined(Volatility::Immutable);
    vec![Arc::new(ScalarUDF::from(Absolute { signature }))]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Absolute {
    signature: Signature,
}

impl ScalarUDFImpl for Absolute {
    fn name(&self) -> &str {
        "abs"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        use DataType as T;
        match types {
            [T::Int16 | T::Int32 | T::Int64 | T::Float32 | T::Float64 | T::Decimal128(..)] => {
                Ok(types.to_vec())
            }
            [T::Null] => Ok(vec![T::Float64]),
            [T::Int8 | T::UInt8] => Ok(vec![T::Int16]),
            [T::UInt16 | T::UInt32] => Ok(vec![T::Int64]),
            _ => {
                let names: Vec<String> = types.iter().map(pg_type_name).collect();
                Err(to_datafusion(undefined_function("abs", &names)))
            }
        }
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(types[0].clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let field = &args.arg_fields[0];
        Ok(match mark_of(field) {
            Some("numeric") => marked(field.data_type().clone(), "numeric"),
            _ => plain(field.data_type().clone()),
        })
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        with_column(&args.args[0], args.number_rows, |array| {
            fn of<T: ArrowPrimitiveType>(
                array: &ArrayRef,
                abs: impl Fn(T::Native) -> Option<T::Native>,
            ) -> Result<ArrayRef> {
                let values: PrimitiveArray<T> = array.as_primitive::<T>().try_unary(|value| {
                    abs(value).ok_or_else(|| out_of_range(&pg_type_name(array.data_type())))
                })?;
                Ok(Arc::new(values.with_data_type(array.data_type().clone())))
            }
            match array.data_type() {
                DataType::Int16 => of::<Int16Type>(array, i16::checked_abs),
                DataType::Int32 => of::<Int32Type>(array, i32::checked_abs),
                DataType::Int64 => of::<Int64Type>(array, i64::checked_abs),
                DataType::Float32 => of::<Float32Type>(array, |v| Some(v.abs())),
                DataType::Float64 => of::<Float64Type>(array, |v| Some(v.abs())),
                DataType::Decimal128(..) => of::<Decimal128Type>(array, i128::checked_abs),
                other => Err(Error::internal(format!("abs of {other}"))),
            }
        })
    }
}
