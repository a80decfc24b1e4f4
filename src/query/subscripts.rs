//! `x[i]`, `x[i:j]` and `x['name']`: which function a subscript stands for, by what is subscripted.
//!
//! Arrays are counted from 1, jsonb's from 0; a bound that is left out is the array's own. Rows and maps are left to
//! DataFusion's planner.

use std::ops::ControlFlow;

use arrow_schema::DataType;
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue};
use datafusion::logical_expr::planner::{PlannerResult, RawFieldAccessExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, GetFieldAccess, lit};
use sqlparser::ast::{self, AccessExpr, Subscript, VisitMut};

use super::cast::cast_expr;
use super::errors::to_datafusion;
use super::functions;
use super::marks::field_of;
use super::spelling::{folded, string};
use super::sql_types::{mark_of, plain};
use crate::types::map_parts;

/// `t.a[1]`, which is read as a field of `t`, as a subscript of the column `t.a`: fields are taken of what stands in
/// parentheses only.
pub(super) fn name_columns<V: VisitMut>(node: &mut V) {
    let ControlFlow::Continue(()) = ast::visit_expressions_mut(node, |expr| {
        name_column(expr);
        ControlFlow::<std::convert::Infallible>::Continue(())
    });
}

fn name_column(expr: &mut ast::Expr) {
    let ast::Expr::CompoundFieldAccess { root, access_chain } = expr else { return };
    let mut name = match root.as_ref() {
        ast::Expr::Identifier(ident) => vec![ident.clone()],
        ast::Expr::CompoundIdentifier(parts) => parts.clone(),
        _ => return,
    };
    let fields = access_chain.iter().map_while(|access| match access {
        AccessExpr::Dot(ast::Expr::Identifier(ident)) => Some(ident.clone()),
        AccessExpr::Dot(_) | AccessExpr::Subscript(_) => None,
    });
    let fields: Vec<ast::Ident> = fields.collect();
    if fields.is_empty() {
        return;
    }
    access_chain.drain(..fields.len());
    name.extend(fields);
    **root = ast::Expr::CompoundIdentifier(name);
    if access_chain.is_empty() {
        *expr = std::mem::replace(root, ast::Expr::Identifier(ast::Ident::new("")));
    }
}

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
        (GetFieldAccess::ListIndex { key }, _) if map_parts(&field).is_some() => {
            functions::maps::access().call(vec![expr, *key])
        }
        (GetFieldAccess::NamedStructField { name }, _) if map_parts(&field).is_some() => {
            functions::maps::access().call(vec![expr, Expr::Literal(name, None)])
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
