//! Number literals beside floats: in CASE, COALESCE, arrays, VALUES and UNION a literal such as 0.5 is a float where another
//! value is one, as in PostgreSQL; DataFusion would make all of them numeric.
//!
//! Types are not known while a query is respelled, so a literal there becomes a call `common:number(literal, others ...)`,
//! whose type is that of the widest float among the others, else the literal's. Before coercion the analyzer puts the literal
//! itself in the call's place, cast to that type: nothing of the others is evaluated on its account.

use std::sync::Arc;

use arrow_schema::{DataType, FieldRef};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use sqlparser::ast;

use super::cast::cast_expr;
use super::spelling::{call, is_numeric_literal, take};
use super::sql_types::plain;
use crate::error::Result;

const NAME: &str = "common:number";
/// Others that a literal is given, at most: that a column of VALUES has floats shows in its first rows.
const OTHERS_MAX: usize = 8;

/// The function.
pub(super) fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Common { signature: Signature::variadic_any(Volatility::Immutable) }))
}

/// Makes calls of the literals among values that are to have one type, where there are other values.
pub(super) fn respell(values: Vec<&mut ast::Expr>) {
    let open =
        |value: &ast::Expr| matches!(value, ast::Expr::Value(_)) || is_numeric_literal(value);
    if !values.iter().any(|value| is_numeric_literal(value)) {
        return;
    }
    let others: Vec<ast::Expr> =
        values.iter().filter(|v| !open(v)).take(OTHERS_MAX).map(|v| (**v).clone()).collect();
    if others.is_empty() {
        return;
    }
    for value in values {
        if is_numeric_literal(value) {
            let literal = take(value);
            *value = call(NAME, [literal].into_iter().chain(others.iter().cloned()).collect());
        }
    }
}

/// Whether it is such a call.
pub(super) fn is_common(call: &ScalarFunction) -> bool {
    call.func.name() == NAME
}

/// The literal of a call, cast to the call's type.
pub(super) fn resolved(call: Expr, field: &FieldRef) -> Result<Expr> {
    let Expr::ScalarFunction(mut call) = call else { return Ok(call) };
    let literal = call.args.swap_remove(0);
    match field.data_type() {
        DataType::Float32 | DataType::Float64 => cast_expr(literal, field),
        _ => Ok(literal),
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Common {
    signature: Signature,
}

impl ScalarUDFImpl for Common {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        let float = [DataType::Float64, DataType::Float32].into_iter().find(|t| types.contains(t));
        Ok(float.unwrap_or_else(|| types[0].clone()))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|f| f.data_type().clone()).collect();
        let returned = self.return_type(&types)?;
        let same = returned == types[0];
        Ok(if same { Arc::clone(&args.arg_fields[0]) } else { plain(returned) })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        // The analyzer has replaced it in every plan that is run.
        args.args[0].cast_to(args.return_field.data_type(), None)
    }
}
