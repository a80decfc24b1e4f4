//! Subqueries in the expressions of aggregates, windows, sorts and outer joins: computed by a projection below the node, as
//! columns. DataFusion and `lateral` join only those of projections and filters.
//!
//! An analyzer rule. Invariant: behind it no other node's expressions hold a subquery that refers to one input.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{
    Transformed, TransformedResult, TreeNode, TreeNodeContainer, TreeNodeRecursion,
};
use datafusion::common::{Column, DFSchema, Result as DfResult};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, Expr, Join, JoinType, LogicalPlan, Projection, Sort, Window,
};
use datafusion::optimizer::AnalyzerRule;

use super::lateral::outside_columns;

/// The rule. It comes when scalar subqueries give one row.
#[derive(Debug)]
pub(super) struct SubqueryColumns;

impl AnalyzerRule for SubqueryColumns {
    fn name(&self) -> &str {
        "subquery_columns"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> DfResult<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| {
            let moved = match &node {
                LogicalPlan::Aggregate(aggregate) => of_aggregate(aggregate)?,
                LogicalPlan::Window(window) => of_window(window)?,
                LogicalPlan::Sort(sort) => of_sort(sort)?,
                LogicalPlan::Join(join) if join.join_type != JoinType::Inner => of_join(join)?,
                _ => None,
            };
            Ok(moved.map_or_else(|| Transformed::no(node), Transformed::yes))
        })
        .data()
    }
}

/// The columns that take the place of subqueries over one input.
struct Columns {
    relation: &'static str,
    subqueries: Vec<Expr>,
}

impl Columns {
    fn of(relation: &'static str) -> Columns {
        Columns { relation, subqueries: vec![] }
    }

    fn name(at: usize) -> String {
        format!("#subquery{at}")
    }

    /// The expression with columns for its subqueries; as it is where it holds none.
    fn put<E: for<'a> TreeNodeContainer<'a, Expr>>(&mut self, expr: E) -> DfResult<E> {
        let put = expr.map_elements(|expr| {
            expr.transform_down(|expr| {
                if !is_subquery(&expr) {
                    return Ok(Transformed::no(expr));
                }
                let known = self.subqueries.iter().position(|other| *other == expr);
                let at = known.unwrap_or(self.subqueries.len());
                if known.is_none() {
                    self.subqueries.push(expr);
                }
                let column = Expr::Column(Column::new(Some(self.relation), Columns::name(at)));
                Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
            })
        })?;
        Ok(put.data)
    }

    /// The input with the columns behind its own.
    fn below(self, input: &Arc<LogicalPlan>) -> DfResult<Arc<LogicalPlan>> {
        let own = columns_of(input.schema());
        let subqueries = self.subqueries.into_iter().enumerate();
        let relation = self.relation;
        let subqueries =
            subqueries.map(|(at, expr)| expr.alias_qualified(Some(relation), Columns::name(at)));
        let exprs = own.chain(subqueries).collect();
        Ok(Arc::new(LogicalPlan::Projection(Projection::try_new(exprs, Arc::clone(input))?)))
    }
}

fn is_subquery(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_))
}

fn holds_subquery(expr: &Expr) -> bool {
    expr.exists(|expr| Ok(is_subquery(expr))).unwrap_or(false)
}

fn columns_of(schema: &DFSchema) -> impl Iterator<Item = Expr> + '_ {
    schema.columns().into_iter().map(Expr::Column)
}

/// The expressions of a node with columns for their subqueries, under the names they had.
fn renamed(node: &LogicalPlan, exprs: &[Expr], columns: &mut Columns) -> DfResult<Vec<Expr>> {
    let names = NamePreserver::new(node);
    let put = exprs.iter().map(|expr| {
        let name = names.save(expr);
        Ok(name.restore(columns.put(expr.clone())?))
    });
    put.collect()
}

fn of_aggregate(aggregate: &Aggregate) -> DfResult<Option<LogicalPlan>> {
    let (groups, calls) = (&aggregate.group_expr, &aggregate.aggr_expr);
    if !groups.iter().chain(calls).any(holds_subquery) {
        return Ok(None);
    }
    let node = LogicalPlan::Aggregate(aggregate.clone());
    let mut columns = Columns::of("#input");
    let groups = renamed(&node, groups, &mut columns)?;
    let calls = renamed(&node, calls, &mut columns)?;
    let input = columns.below(&aggregate.input)?;
    let schema = Arc::clone(&aggregate.schema);
    let aggregate = Aggregate::try_new_with_schema(input, groups, calls, schema)?;
    Ok(Some(LogicalPlan::Aggregate(aggregate)))
}

fn of_window(window: &Window) -> DfResult<Option<LogicalPlan>> {
    if !window.window_expr.iter().any(holds_subquery) {
        return Ok(None);
    }
    let node = LogicalPlan::Window(window.clone());
    let mut columns = Columns::of("#input");
    let calls = renamed(&node, &window.window_expr, &mut columns)?;
    let input = columns.below(&window.input)?;
    let windowed = LogicalPlan::Window(Window::try_new(calls, input)?);
    over(windowed, &window.schema).map(Some)
}

fn of_sort(sort: &Sort) -> DfResult<Option<LogicalPlan>> {
    if !sort.expr.iter().any(|key| holds_subquery(&key.expr)) {
        return Ok(None);
    }
    let mut columns = Columns::of("#input");
    let expr = columns.put(sort.expr.clone())?;
    let input = columns.below(&sort.input)?;
    let sorted = LogicalPlan::Sort(Sort { expr, input, fetch: sort.fetch });
    over(sorted, sort.input.schema()).map(Some)
}

/// An outer join's condition: each part of it that speaks of one side is computed on that side.
fn of_join(join: &Join) -> DfResult<Option<LogicalPlan>> {
    let Some(filter) = join.filter.as_ref().filter(|filter| holds_subquery(filter)) else {
        return Ok(None);
    };
    let mut sides = [Columns::of("#left"), Columns::of("#right")];
    let put = filter.clone().transform_down(|expr| {
        if !is_subquery(&expr) {
            return Ok(Transformed::no(expr));
        }
        let side = if is_apart_from(&expr, join.right.schema())? {
            0
        } else if is_apart_from(&expr, join.left.schema())? {
            1
        } else {
            return Ok(Transformed::new(expr, false, TreeNodeRecursion::Jump));
        };
        let column = sides[side].put(expr)?;
        Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
    })?;
    if !put.transformed {
        return Ok(None);
    }
    let [left, right] = sides;
    let joined = Join::try_new(
        left.below(&join.left)?,
        right.below(&join.right)?,
        join.on.clone(),
        Some(put.data),
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    over(LogicalPlan::Join(joined), &join.schema).map(Some)
}

/// Whether the subquery's expression refers to nothing of `other`, the other side of a join.
fn is_apart_from(expr: &Expr, other: &DFSchema) -> DfResult<bool> {
    let subquery = match expr {
        Expr::ScalarSubquery(subquery) => subquery,
        Expr::InSubquery(test) => &test.subquery,
        Expr::Exists(exists) => &exists.subquery,
        _ => return Ok(false),
    };
    let outer = outside_columns(&subquery.subquery)?;
    let mut columns = outer.iter().chain(expr.column_refs());
    Ok(!columns.any(|column| other.has_column(column)))
}

/// The columns of `schema` over a plan that has more.
fn over(plan: LogicalPlan, schema: &DFSchema) -> DfResult<LogicalPlan> {
    let exprs = columns_of(schema).collect();
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?))
}
