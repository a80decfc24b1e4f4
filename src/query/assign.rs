//! Values put into columns: PostgreSQL's assignment casts, for INSERT, UPDATE and defaults.
//!
//! Allows more than a comparison would (a bigint into an integer, anything into text) and less than a written cast: what
//! does not fit a `varchar(n)` is 22001 instead of being cut, and unrelated types are 42804.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef};
use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};

use super::cast::{assignment_cast, cast_expr};
use super::errors::from_datafusion;
use super::operators::is_untyped;
use super::sql_types::{mark_of, pg_name, renamed};
use crate::error::{Error, Result, SqlState};
use crate::types::second_digits;

/// The expression as a value of `column`'s type. Untyped literals and parameters take that type.
pub fn assign(expr: Expr, schema: &DFSchema, column: &Field) -> Result<Expr> {
    let target: FieldRef = Arc::new(renamed(column, "", true));
    if is_untyped(&expr) {
        return match expr {
            Expr::Placeholder(placeholder) => {
                Ok(Expr::Placeholder(Placeholder::new_with_field(placeholder.id, Some(target))))
            }
            literal if is_bounded(&target) => assignment_cast(literal, &target),
            literal => cast_expr(literal, &target),
        };
    }
    let (_, source) = expr.to_field(schema).map_err(from_datafusion)?;
    if source.data_type() == target.data_type()
        && mark_of(&source) == mark_of(&target)
        && !is_bounded(&target)
    {
        return Ok(expr);
    }
    if !is_assignable(&source, &target) {
        return Err(Error::new(
            SqlState::DATATYPE_MISMATCH,
            format!(
                "column \"{}\" is of type {} but expression is of type {}",
                column.name(),
                pg_name(column),
                pg_name(&source)
            ),
        )
        .with_hint("You will need to rewrite or cast the expression."));
    }
    assignment_cast(expr, &target)
}

/// What stands for a query's column in an assignment: a literal that nothing has typed is still open to the type of
/// what it is assigned to, as in `INSERT ... SELECT '2024-01-01'`.
pub fn assignable_column(plan: &LogicalPlan, index: usize) -> Expr {
    if let LogicalPlan::Projection(projection) = plan {
        let expr = projection.expr[index].clone().unalias();
        if matches!(expr, Expr::Literal(..)) && is_untyped(&expr) {
            return expr;
        }
    }
    Expr::Column(plan.schema().columns()[index].clone())
}

/// Whether the type has a length or a number of digits to be kept.
fn is_bounded(field: &Field) -> bool {
    matches!(mark_of(field), Some("varchar" | "bpchar")) || second_digits(field).is_some()
}

fn is_assignable(source: &Field, target: &Field) -> bool {
    use DataType as T;
    let jsonb = |field: &Field| matches!(mark_of(field), Some("jsonb" | "json"));
    match (source.data_type(), target.data_type()) {
        (T::Null, _) => true,
        _ if jsonb(source) != jsonb(target) => {
            matches!(target.data_type(), T::Utf8) && !jsonb(target)
        }
        (_, T::Utf8) => true,
        (s, t) if s == t => true,
        (s, t) if s.is_numeric() && t.is_numeric() => true,
        (T::Date32 | T::Timestamp(..), T::Date32 | T::Timestamp(..)) => true,
        (T::Timestamp(..), T::Time64(_))
        | (T::Interval(_), T::Time64(_))
        | (T::Time64(_), T::Interval(_)) => true,
        (T::List(s), T::List(t)) => is_assignable(s, t),
        (T::Struct(s), T::Struct(t)) => {
            // Text in a row is a literal that nothing has typed, as far as one can tell.
            let member = |(s, t): (&FieldRef, &FieldRef)| {
                matches!(s.data_type(), T::Utf8) || is_assignable(s, t)
            };
            s.len() == t.len() && s.iter().zip(t).all(member)
        }
        _ => false,
    }
}
