//! GROUPING SETS, ROLLUP and CUBE in the forms that DataFusion plans.
//!
//! It takes no lists within ROLLUP and CUBE: these are written out as sets. And when an expression within sets gets its types, its
//! name changes under those who speak of it: so expressions become columns, of the same names, below the aggregate.
//! Invariant: after [`compute_keys`] sets consist of columns alone.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result as DfResult};
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{Aggregate, Expr, GroupingSet, LogicalPlan, LogicalPlanBuilder};
use sqlparser::ast::{self, Query, visit_expressions_mut};

/// PostgreSQL has at most 4096 sets: a CUBE of more than this stays as it is, and is refused.
const CUBE_MAX: usize = 12;

/// Writes ROLLUP and CUBE over lists, and `GROUP BY ()`, as GROUPING SETS.
pub(super) fn write_out_sets(query: &mut Query) {
    let _ = visit_expressions_mut(query, |expr| {
        match expr {
            ast::Expr::Rollup(lists) if has_lists(lists) => {
                let prefixes = (0..=lists.len()).rev().map(|n| lists[..n].concat());
                *expr = ast::Expr::GroupingSets(prefixes.collect());
            }
            ast::Expr::Cube(lists) if has_lists(lists) && lists.len() <= CUBE_MAX => {
                let picked = |bits: usize| {
                    let picked = lists.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1);
                    picked.flat_map(|(_, list)| list.clone()).collect()
                };
                *expr = ast::Expr::GroupingSets((0..1_usize << lists.len()).map(picked).collect());
            }
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
}

fn has_lists(lists: &[Vec<ast::Expr>]) -> bool {
    lists.iter().any(|list| list.len() != 1)
}

/// Computes the expressions that sets consist of by a projection below each aggregate.
pub(super) fn compute_keys(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let plan = plan.transform_down_with_subqueries(|node| match node {
        LogicalPlan::Aggregate(aggregate) => match with_columns(&aggregate)? {
            Some(computed) => Ok(Transformed::yes(computed)),
            None => Ok(Transformed::no(LogicalPlan::Aggregate(aggregate))),
        },
        other => Ok(Transformed::no(other)),
    })?;
    Ok(plan.data)
}

fn with_columns(aggregate: &Aggregate) -> DfResult<Option<LogicalPlan>> {
    let [Expr::GroupingSet(sets)] = aggregate.group_expr.as_slice() else { return Ok(None) };
    let is_computed = |expr: &&Expr| !matches!(expr, Expr::Column(_));
    let keys: Vec<Expr> = grouping_set_to_exprlist(&aggregate.group_expr)?
        .into_iter()
        .filter(is_computed)
        .cloned()
        .collect();
    if keys.is_empty() {
        return Ok(None);
    }
    let name = |expr: &Expr| expr.schema_name().to_string();
    let own = aggregate.input.schema().columns().into_iter().map(Expr::Column);
    let computed = keys.iter().map(|key| key.clone().alias(name(key)));
    let input = LogicalPlanBuilder::from(aggregate.input.as_ref().clone())
        .project(own.chain(computed))?
        .build()?;
    let in_columns = |expr: &Expr| match keys.contains(expr) {
        true => Expr::Column(Column::new_unqualified(name(expr))),
        false => expr.clone(),
    };
    let list = |exprs: &Vec<Expr>| exprs.iter().map(in_columns).collect::<Vec<_>>();
    let sets = match sets {
        GroupingSet::Rollup(exprs) => GroupingSet::Rollup(list(exprs)),
        GroupingSet::Cube(exprs) => GroupingSet::Cube(list(exprs)),
        GroupingSet::GroupingSets(sets) => {
            GroupingSet::GroupingSets(sets.iter().map(list).collect())
        }
    };
    let calls = aggregate.aggr_expr.iter().cloned().map(|call| asking(call, &in_columns));
    let calls = calls.collect::<DfResult<Vec<_>>>()?;
    let computed = Aggregate::try_new(Arc::new(input), vec![Expr::GroupingSet(sets)], calls)?;
    Ok(Some(LogicalPlan::Aggregate(computed)))
}

/// `grouping(...)` speaks of the expressions that have become columns; it keeps its name.
fn asking(call: Expr, in_columns: &impl Fn(&Expr) -> Expr) -> DfResult<Expr> {
    let name = call.schema_name().to_string();
    let asking = call.transform_up(|expr| match expr {
        Expr::AggregateFunction(mut call) if call.func.name() == "grouping" => {
            call.params.args = call.params.args.iter().map(in_columns).collect();
            Ok(Transformed::yes(Expr::AggregateFunction(call)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    let renamed = asking.data.schema_name().to_string() != name;
    Ok(if renamed { asking.data.alias(name) } else { asking.data })
}
