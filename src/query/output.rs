//! What a query's result looks like outside: names, PostgreSQL-visible types, and their stored form.
//!
//! Owns the last projection of a plan. Invariant: after [`canonicalise`] every column's Arrow type is one that live tables
//! store and the wire knows (`sql_types::canonical`), and marks survive.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow_schema::{Field, FieldRef};
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use sqlparser::ast::Select;

use super::cast::cast_expr;
use super::errors::from_datafusion;
use super::spelling::visible_name;
use super::sql_types::canonical_field;
use crate::error::{Error, Result, SqlState};

/// PostgreSQL's bound; plans get slow well beyond it.
const SELECT_LIST_MAX: usize = 1_664;

/// Breaks with 54011 where a select list is too long.
pub(super) fn check_width(select: &Select) -> ControlFlow<Error> {
    if select.projection.len() <= SELECT_LIST_MAX {
        return ControlFlow::Continue(());
    }
    let message = format!("target lists can have at most {SELECT_LIST_MAX} entries");
    ControlFlow::Break(Error::new(SqlState::TOO_MANY_COLUMNS, message))
}

/// The columns as a client sees them; names may recur.
pub fn output_fields(plan: &LogicalPlan) -> Vec<FieldRef> {
    plan.schema()
        .fields()
        .iter()
        .map(|field| Arc::new(canonical_field(field).with_name(visible_name(field.name()))))
        .collect()
}

/// The plan with casts at the top for columns that are not in stored form; the plan itself where all are.
pub fn canonicalise(plan: LogicalPlan) -> Result<LogicalPlan> {
    let differs = |field: &Field| canonical_field(field).data_type() != field.data_type();
    if !plan.schema().fields().iter().any(|field| differs(field)) {
        return Ok(plan);
    }
    let exprs = plan
        .schema()
        .iter()
        .map(|(qualifier, field)| {
            let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
            if !differs(field) {
                return Ok(column);
            }
            let target: FieldRef = Arc::new(canonical_field(field));
            Ok(cast_expr(column, &target)?.alias_qualified(qualifier.cloned(), field.name()))
        })
        .collect::<Result<Vec<Expr>>>()?;
    LogicalPlanBuilder::from(plan)
        .project(exprs)
        .and_then(LogicalPlanBuilder::build)
        .map_err(from_datafusion)
}
