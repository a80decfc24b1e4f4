//! Orders what a view cuts by LIMIT or OFFSET completely, so that which rows stay is a function of the rows alone.
//!
//! Rows that the ORDER BY does not tell apart are told apart by all their columns. Top-N does that by itself with the
//! columns that reach it; but a column that nobody reads afterwards would be pruned below, and another row would be cut
//! than the query as written cuts. Invariant: above every LIMIT of a streaming plan's sort no column of its input is missing
//! from its keys.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result as DfResult};
use datafusion::logical_expr::{Expr, Limit, LogicalPlan, Projection, Sort, SortExpr};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// The optimizer rule. It comes after subqueries have become joins, before columns are pruned.
#[derive(Debug)]
pub(super) struct TotalOrder;

impl OptimizerRule for TotalOrder {
    fn name(&self) -> &str {
        "total_order"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> DfResult<Transformed<LogicalPlan>> {
        let LogicalPlan::Limit(limit) = plan else { return Ok(Transformed::no(plan)) };
        let Some(input) = ordered(&limit.input)? else {
            return Ok(Transformed::no(LogicalPlan::Limit(limit)));
        };
        Ok(Transformed::yes(LogicalPlan::Limit(Limit { input: Arc::new(input), ..limit })))
    }
}

/// The plan with its rows in a total order, `None` where they are in one. The sort may be below projections, which keep
/// the order.
fn ordered(plan: &LogicalPlan) -> DfResult<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::Sort(sort) => {
            let missing = missing(&sort.expr, &sort.input);
            if missing.is_empty() {
                return Ok(None);
            }
            let expr = sort.expr.iter().cloned().chain(missing).collect();
            Ok(Some(LogicalPlan::Sort(Sort { expr, ..sort.clone() })))
        }
        LogicalPlan::Projection(projection) if is_sorted(&projection.input) => {
            let Some(input) = ordered(&projection.input)? else { return Ok(None) };
            let (expr, schema) = (projection.expr.clone(), projection.schema.clone());
            let projection = Projection::try_new_with_schema(expr, Arc::new(input), schema)?;
            Ok(Some(LogicalPlan::Projection(projection)))
        }
        other if is_sorted(other) => {
            let inputs = other.inputs().into_iter().map(ordered).collect::<DfResult<Vec<_>>>()?;
            let Some(inputs) = inputs.into_iter().collect::<Option<Vec<_>>>() else {
                return Ok(None);
            };
            other.with_new_exprs(vec![], inputs).map(Some)
        }
        other => {
            let expr = missing(&[], other);
            let sort = Sort { expr, input: Arc::new(other.clone()), fetch: None };
            Ok((!sort.expr.is_empty()).then_some(LogicalPlan::Sort(sort)))
        }
    }
}

fn is_sorted(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Projection(projection) => is_sorted(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_sorted(&alias.input),
        _ => false,
    }
}

/// Keys for the columns of `input` that are not keys themselves.
fn missing(keys: &[SortExpr], input: &LogicalPlan) -> Vec<SortExpr> {
    let columns = input.schema().columns().into_iter();
    let is_key = |column: &Column| keys.iter().any(|k| k.expr.try_as_col() == Some(column));
    columns.filter(|c| !is_key(c)).map(|c| Expr::Column(c).sort(true, false)).collect()
}
