//! `x[i]`, `x[i:j]` and `x['name']`: which function a subscript stands for, by what is subscripted.
//!
//! Arrays are counted from 1, jsonb's from 0; a bound that is left out is the array's own. Rows and maps are left to
//! DataFusion's planner.

use arrow_schema::DataType;
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue};
use datafusion::logical_expr::planner::{PlannerResult, RawFieldAccessExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, GetFieldAccess, lit};
use sqlparser::ast::{self, AccessExpr, Subscript};

use super::cast::cast_expr;
use super::errors::to_datafusion;
use super::functions;
use super::marks::field_of;
use super::spelling::{folded, string};
use super::sql_types::{mark_of, plain};

/// Writes out the bounds that a slice leaves out. `(row).field`: the planner takes the field's name as a string.
pub(super) fn respell(access: &mut AccessExpr) {
    if let AccessExpr::Dot(field) = access
        && let ast::Expr::Identifier(ident) = field
    {
        *field = string(folded(ident));
    }
    let AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, .. }) = access else {
        return;
    };
    let number = |number: i32| {
        let digits = number.unsigned_abs().to_string();
        let digits = ast::Expr::Value(ast::Value::Number(digits, false).into());
        match number < 0 {
            true => ast::Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr: Box::new(digits) },
            false => digits,
        }
    };
    lower_bound.get_or_insert_with(|| number(-i32::MAX));
    upper_bound.get_or_insert_with(|| number(i32::MAX));
}

/// The planner's question.
pub(super) fn resolve(
    access: RawFieldAccessExpr,
    schema: &DFSchema,
) -> DfResult<PlannerResult<RawFieldAccessExpr>> {
    let field = field_of(&access.expr, schema)?;
    let RawFieldAccessExpr { expr, field_access } = access;
    let planned = match (field_access, field.data_type()) {
        (GetFieldAccess::NamedStructField { name }, DataType::Utf8)
            if mark_of(&field) == Some("jsonb") =>
        {
            let steps = ScalarValue::new_list_nullable(&[name], &DataType::Utf8);
            step_into(expr, Expr::Literal(ScalarValue::List(steps), None))
        }
        (GetFieldAccess::ListIndex { key }, DataType::Utf8) if mark_of(&field) == Some("jsonb") => {
            let key = match key.get_type(schema)? {
                DataType::Utf8 => *key,
                _ => cast_expr(*key, &plain(DataType::Utf8)).map_err(to_datafusion)?,
            };
            step_into(expr, functions::arrays::array().call(vec![key]))
        }
        (GetFieldAccess::ListIndex { key }, other)
            if !matches!(other, DataType::Map(..) | DataType::Struct(_)) =>
        {
            functions::arrays::subscript().call(vec![expr, *key])
        }
        (GetFieldAccess::NamedStructField { name }, DataType::List(_)) => {
            let index = cast_expr(Expr::Literal(name, None), &plain(DataType::Int32));
            functions::arrays::subscript().call(vec![expr, index.map_err(to_datafusion)?])
        }
        (GetFieldAccess::ListRange { start, stop, stride }, DataType::List(_))
            if *stride == lit(1_i64) =>
        {
            functions::arrays::slice().call(vec![expr, *start, *stop])
        }
        (field_access, _) => {
            return Ok(PlannerResult::Original(RawFieldAccessExpr { expr, field_access }));
        }
    };
    Ok(PlannerResult::Planned(planned))
}

fn step_into(document: Expr, steps: Expr) -> Expr {
    functions::json::path().call(vec![document, steps])
}
