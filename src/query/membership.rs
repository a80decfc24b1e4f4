//! `IN` and `NOT IN` over a subquery with PostgreSQL's NULLs.
//!
//! DataFusion makes each a join that tells only whether an equal row is there: right where unknown and false are the same, as
//! for IN as a condition of WHERE, and wrong elsewhere. Here the unknown is spelled out before, by two more such
//! questions: is there a NULL among the subquery's rows, and is the value NULL while there is any row? Both are asked of the
//! distinct answers only, so that the first question stays a lookup by the value and the others meet a few rows. Invariant:
//! after [`spell_out`] an IN that found nothing may be read as false.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, ExprSchema, Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    BinaryExpr, Case, Expr, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder, Operator,
    Subquery, lit, not,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::common::Common;
use super::errors::to_datafusion;
use super::lateral::outside_columns;
use crate::error::Error;

/// Rewrites every IN over a subquery of a typed plan. A correlated one over an aggregate that gives a row even where it
/// finds none is 0A000 where that row would be lost.
pub(super) fn spell_out(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let plan = plan.transform_down_with_subqueries(|node| {
        if !node.expressions().iter().any(has_test) {
            return Ok(Transformed::no(node));
        }
        let mut schema = DFSchema::empty();
        node.inputs().into_iter().for_each(|input| schema.merge(input.schema()));
        let is_condition = matches!(node, LogicalPlan::Filter(_) | LogicalPlan::Join(_));
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            if !has_test(&expr) {
                return Ok(Transformed::no(expr));
            }
            let name = names.save(&expr);
            let spelled =
                if is_condition { condition(expr, &schema)? } else { value(expr, &schema)? };
            Ok(Transformed::yes(name.restore(spelled)))
        })?
        .map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(plan.data)
}

fn has_test(expr: &Expr) -> bool {
    let is_test = |e: &Expr| matches!(e, Expr::InSubquery(_)) || decided(e).is_some();
    expr.exists(|e| Ok(is_test(e))).unwrap_or(true)
}

/// `CASE WHEN found THEN v WHEN unknown THEN NULL ELSE NOT v END` over EXISTS: found, unknown and v.
fn decided(expr: &Expr) -> Option<(&Expr, &Expr, bool)> {
    let Expr::Case(Case { expr: None, when_then_expr, else_expr: Some(otherwise) }) = expr else {
        return None;
    };
    let [(found, verdict), (unknown, null)] = when_then_expr.as_slice() else { return None };
    let exist = matches!((&**found, &**unknown), (Expr::Exists(_), Expr::Exists(_)));
    match (&**verdict, &**otherwise) {
        (
            Expr::Literal(ScalarValue::Boolean(Some(v)), _),
            Expr::Literal(ScalarValue::Boolean(Some(other)), _),
        ) if exist && is_null(null) && v != other => Some((found, unknown, *v)),
        _ => None,
    }
}

fn is_null(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => value.is_null(),
        Expr::Cast(cast) => is_null(&cast.expr),
        _ => false,
    }
}

/// No row is there.
fn absent(test: &Expr) -> Expr {
    match test {
        Expr::Exists(exists) => Expr::Exists(Exists { negated: !exists.negated, ..exists.clone() }),
        other => not(other.clone()),
    }
}

/// What holds of a row exactly where `expr` does: false may stand for unknown.
fn condition(expr: Expr, schema: &DFSchema) -> DfResult<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            let (left, right) = (condition(*left, schema)?, condition(*right, schema)?);
            Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))))
        }
        Expr::Not(negated) => match *negated {
            Expr::InSubquery(test) => {
                let negated = !test.negated;
                condition(Expr::InSubquery(InSubquery { negated, ..test }), schema)
            }
            other if decided(&other).is_some() => {
                let (found, unknown, verdict) = decided(&other).expect("it is such a test");
                Ok(match verdict {
                    true => absent(found).and(absent(unknown)),
                    false => found.clone(),
                })
            }
            other => value(not(other), schema),
        },
        Expr::InSubquery(test) => {
            let negated = test.negated;
            match Membership::of(test, schema)? {
                Membership::Compared(comparison) if negated => Ok(not(comparison)),
                Membership::Compared(comparison) => Ok(comparison),
                Membership::Sought { found, .. } if !negated => Ok(Expr::InSubquery(found)),
                Membership::Sought { found, unknown } => {
                    let absent = |test| Expr::InSubquery(InSubquery { negated: true, ..test });
                    Ok(unknown.into_iter().map(absent).fold(absent(found), Expr::and))
                }
            }
        }
        other => match decided(&other) {
            Some((found, _, true)) => Ok(found.clone()),
            Some((found, unknown, false)) => Ok(absent(found).and(absent(unknown))),
            None => value(other, schema),
        },
    }
}

/// The expression with its tests true, false or unknown as they are.
fn value(expr: Expr, schema: &DFSchema) -> DfResult<Expr> {
    let spelled = expr.transform_up(|expr| {
        let Expr::InSubquery(test) = expr else { return Ok(Transformed::no(expr)) };
        let negated = test.negated;
        let spelled = match Membership::of(test, schema)? {
            Membership::Compared(comparison) if negated => not(comparison),
            Membership::Compared(comparison) => comparison,
            Membership::Sought { found, unknown } => three_valued(found, unknown, negated),
        };
        Ok(Transformed::yes(spelled))
    });
    spelled.map(|spelled| spelled.data)
}

fn three_valued(found: InSubquery, unknown: Vec<InSubquery>, negated: bool) -> Expr {
    let truth = |b: bool| Box::new(lit(b != negated));
    let mut branches = vec![(Box::new(Expr::InSubquery(found)), truth(true))];
    if let Some(unknown) = unknown.into_iter().map(Expr::InSubquery).reduce(Expr::or) {
        let null = Expr::Literal(ScalarValue::Boolean(None), None);
        branches.push((Box::new(unknown), Box::new(null)));
    }
    Expr::Case(Case { expr: None, when_then_expr: branches, else_expr: Some(truth(false)) })
}

/// What a test becomes, without its negation.
enum Membership {
    /// The subquery gives one row whatever it finds: a comparison with its value.
    Compared(Expr),
    /// Whether an equal row is there and, where none is, what makes the answer unknown: any of these.
    Sought { found: InSubquery, unknown: Vec<InSubquery> },
}

impl Membership {
    /// `schema` has the columns that the value is computed from.
    fn of(test: InSubquery, schema: &DFSchema) -> DfResult<Membership> {
        let InSubquery { expr, subquery, .. } = test;
        let correlated = !outside_columns(&subquery.subquery)?.is_empty();
        if correlated && gives_one_row(&subquery.subquery) {
            return Ok(Membership::Compared((*expr).eq(Expr::ScalarSubquery(subquery))));
        }
        if correlated && aggregates_all(&subquery.subquery) {
            return Err(to_datafusion(Error::unsupported(
                "IN over a correlated aggregate without GROUP BY is not supported with HAVING or LIMIT",
            )));
        }
        let input = &subquery.subquery;
        let column = input.schema().columns().swap_remove(0);
        let is_null = Expr::Column(column.clone()).is_null();
        let mut unknown = vec![];
        if input.schema().nullable(&column).unwrap_or(true) {
            unknown.push(among(lit(true), is_null, &subquery)?);
        }
        if expr.nullable(schema).unwrap_or(true) {
            unknown.push(among(expr.clone().is_null(), lit(true), &subquery)?);
        }
        let subquery = match &column.relation {
            Some(_) => subquery,
            None => {
                let rows = LogicalPlanBuilder::from(input.as_ref().clone());
                let column = related(Expr::Column(column.clone()), &column.name);
                let (relation, name) = column.qualified_name();
                let named = Expr::Column(Column::new(relation, name));
                let rows = rows.project(vec![column])?.project(vec![named])?;
                subquery.with_plan(Arc::new(rows.build()?))
            }
        };
        let found = InSubquery { expr, subquery, negated: false };
        Ok(Membership::Sought { found, unknown })
    }
}

/// `value IN (SELECT DISTINCT of FROM subquery)`.
fn among(value: Expr, of: Expr, subquery: &Subquery) -> DfResult<InSubquery> {
    let rows = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone());
    let rows = rows.project(vec![related(of, "#answer")])?.distinct()?.build()?;
    let subquery = subquery.with_plan(Arc::new(rows));
    Ok(InSubquery { expr: Box::new(value), subquery, negated: false })
}

/// The expression as a column of a relation: one without is taken for two where the test becomes a mark.
fn related(expr: Expr, name: &str) -> Expr {
    expr.alias_qualified(Some("#members"), name)
}

fn gives_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(node) => gives_one_row(&node.input),
        LogicalPlan::SubqueryAlias(node) => gives_one_row(&node.input),
        LogicalPlan::Sort(node) => node.fetch.is_none() && gives_one_row(&node.input),
        LogicalPlan::Aggregate(node) => node.group_expr.is_empty(),
        LogicalPlan::TableScan(scan) => {
            Common::scanned(scan).is_some_and(|common| gives_one_row(common.query()))
        }
        _ => false,
    }
}

/// Whether the rows come from an aggregate without groups, however cut and filtered.
fn aggregates_all(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Aggregate(node) => node.group_expr.is_empty(),
        LogicalPlan::Projection(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Distinct(_) => plan.inputs().into_iter().any(aggregates_all),
        LogicalPlan::TableScan(scan) => {
            Common::scanned(scan).is_some_and(|common| aggregates_all(common.query()))
        }
        _ => false,
    }
}

/// The optimizer rule that makes anti joins plain again. It comes right after those that make subqueries joins, which
/// take it on themselves to find NULLs, and are refused or mistaken where the subquery is correlated.
#[derive(Debug)]
pub(super) struct PlainAntiJoins;

impl OptimizerRule for PlainAntiJoins {
    fn name(&self) -> &str {
        "plain_anti_joins"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> DfResult<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Join(join) if join.null_aware => {
                Ok(Transformed::yes(LogicalPlan::Join(Join { null_aware: false, ..join })))
            }
            other => Ok(Transformed::no(other)),
        }
    }
}
