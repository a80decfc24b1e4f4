//! Orders what a view cuts by LIMIT or OFFSET completely, so that which rows stay is a function of the rows alone.
//!
//! Rows that the ORDER BY does not tell apart are told apart by all their columns. Top-N does that by itself with the
//! columns that reach it; but a column that nobody reads afterwards would be pruned below, and another row would be cut
//! than the query as written cuts. Invariant: above every LIMIT of a streaming plan's sort no column of its input is missing
//! from its keys. [`keep_inner_order`] does the like for SELECT.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result as DfResult};
use datafusion::logical_expr::{Expr, Limit, LogicalPlan, Projection, Sort, SortExpr, lit};
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

/// A LIMIT that no result reaches.
const UNREACHED: i64 = i64::MAX / 2;

/// Gives each OFFSET without LIMIT inside of a query a LIMIT that nothing reaches: without one DataFusion takes the order
/// below for unused where another is asked for above, and other rows are skipped. The result's own is left as it is.
pub(super) fn keep_inner_order(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let of_the_result = matches!(
        plan,
        LogicalPlan::Limit(_) | LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_)
    );
    let kept = if of_the_result {
        let plan = plan.map_subqueries(|inner| inner.transform_down_with_subqueries(bounded))?.data;
        plan.map_children(|input| keep_inner_order(input).map(Transformed::yes))?
    } else {
        plan.transform_down_with_subqueries(bounded)?
    };
    Ok(kept.data)
}

fn bounded(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let LogicalPlan::Limit(limit) = plan else { return Ok(Transformed::no(plan)) };
    if limit.skip.is_none() || limit.fetch.is_some() {
        return Ok(Transformed::no(LogicalPlan::Limit(limit)));
    }
    let fetch = Some(Box::new(lit(UNREACHED)));
    Ok(Transformed::yes(LogicalPlan::Limit(Limit { fetch, ..limit })))
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
