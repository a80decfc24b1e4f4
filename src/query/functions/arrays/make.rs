//! `ARRAY[...]`, whose items keep the mark of their type: an array of jsonb is a `jsonb[]`.
//!
//! Owns the mark alone; the array itself is DataFusion's.

use std::hash::Hash;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray};
use arrow_schema::{DataType, FieldRef};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::functions_nested::make_array::make_array_udf;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::query::sql_types::{mark_of, plain, renamed};

/// The function that `ARRAY[...]` stands for.
pub(crate) fn array() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(MakeArray {
        signature: Signature::user_defined(Volatility::Immutable),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct MakeArray {
    signature: Signature,
}

impl ScalarUDFImpl for MakeArray {
    fn name(&self) -> &str {
        "make_array"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        // DataFusion knows no common type of NULL and some others.
        let mut typed = types.iter().filter(|data_type| !data_type.is_null());
        match typed.next() {
            Some(first) if typed.all(|data_type| data_type == first) => {
                Ok(vec![first.clone(); types.len()])
            }
            _ => make_array_udf().coerce_types(types),
        }
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        make_array_udf().return_type(&self.coerce_types(types)?)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let returned = self.return_type(&types)?;
        let mut typed = args.arg_fields.iter().filter(|field| !field.data_type().is_null());
        let Some(first) = typed.next().filter(|field| mark_of(field).is_some()) else {
            return Ok(plain(returned));
        };
        if typed.any(|field| mark_of(field) != mark_of(first)) {
            return Ok(plain(returned));
        }
        Ok(match returned {
            DataType::List(item) if item.data_type() == first.data_type() => {
                plain(DataType::List(Arc::new(renamed(first, item.name(), true))))
            }
            other => plain(other),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let returned = Arc::clone(&args.return_field);
        let made = make_array_udf().inner().invoke_with_args(args)?;
        let DataType::List(item) = returned.data_type() else { return Ok(made) };
        let marked = |array: &ArrayRef| -> DfResult<ListArray> {
            let list = array.as_list::<i32>();
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            Ok(ListArray::try_new(Arc::clone(item), offsets, Arc::clone(list.values()), nulls)?)
        };
        Ok(match made {
            ColumnarValue::Array(array) => ColumnarValue::Array(Arc::new(marked(&array)?)),
            ColumnarValue::Scalar(value) => {
                ColumnarValue::Scalar(ScalarValue::List(Arc::new(marked(&value.to_array()?)?)))
            }
        })
    }
}
