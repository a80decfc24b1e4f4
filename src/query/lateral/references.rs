//! What subqueries refer to outside of themselves.
//!
//! A reference is bound by the innermost query that has such a column: one in a subquery's subquery that the subquery's own
//! input has is none of the outside's.

use arrow_schema::FieldRef;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema, Result as DfResult};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, Subquery};

use crate::query::fallible::is_fallible;

/// A column of the outside.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outer {
    pub column: Column,
    pub field: FieldRef,
}

/// The columns of `outside` that a plan refers to, each once, in order of first use.
pub(super) fn outer_references(plan: &LogicalPlan, outside: &DFSchema) -> DfResult<Vec<Outer>> {
    let mut found = vec![];
    collect(plan, &mut found)?;
    found.retain(|outer| outside.has_column(&outer.column));
    Ok(found)
}

/// The columns that a subquery's plan refers to outside of itself, at any distance. A subquery's own list lacks those of
/// its subqueries.
pub(in crate::query) fn outside_columns(plan: &LogicalPlan) -> DfResult<Vec<Column>> {
    let mut found = vec![];
    collect(plan, &mut found)?;
    Ok(found.into_iter().map(|outer| outer.column).collect())
}

/// Whether a plan refers to something beyond `outside`.
pub(super) fn refers_further(plan: &LogicalPlan, outside: &DFSchema) -> DfResult<bool> {
    let mut found = vec![];
    collect(plan, &mut found)?;
    Ok(found.iter().any(|outer| !outside.has_column(&outer.column)))
}

/// Whether a node's own expressions refer to the outside.
pub(super) fn refers_itself(node: &LogicalPlan, outside: &DFSchema) -> DfResult<bool> {
    let mut found = vec![];
    collect_own(node, &mut found)?;
    Ok(found.iter().any(|outer| outside.has_column(&outer.column)))
}

fn collect(plan: &LogicalPlan, found: &mut Vec<Outer>) -> DfResult<()> {
    plan.apply(|node| {
        collect_own(node, found)?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

fn collect_own(node: &LogicalPlan, found: &mut Vec<Outer>) -> DfResult<()> {
    // A subquery lists what its plan refers to, which is visited by itself.
    if matches!(node, LogicalPlan::Subquery(_)) {
        return Ok(());
    }
    node.apply_expressions(|expr| {
        expr.apply(|expr| {
            match expr {
                Expr::OuterReferenceColumn(field, column) => {
                    let outer = Outer { column: column.clone(), field: field.clone() };
                    if !found.iter().any(|known| known.column == outer.column) {
                        found.push(outer);
                    }
                }
                other => {
                    if let Some(subquery) = subquery_of(other) {
                        let mut inner = vec![];
                        collect(&subquery.subquery, &mut inner)?;
                        inner.retain(|outer| !has_column(node, &outer.column));
                        for outer in inner {
                            if !found.iter().any(|known| known.column == outer.column) {
                                found.push(outer);
                            }
                        }
                    }
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(())
}

fn subquery_of(expr: &Expr) -> Option<&Subquery> {
    match expr {
        Expr::ScalarSubquery(subquery) => Some(subquery),
        Expr::Exists(exists) => Some(&exists.subquery),
        Expr::InSubquery(test) => Some(&test.subquery),
        Expr::SetComparison(comparison) => Some(&comparison.subquery),
        _ => None,
    }
}

fn has_column(node: &LogicalPlan, column: &Column) -> bool {
    node.inputs().into_iter().any(|input| input.schema().has_column(column))
}

/// An expression of `node` with the columns in place of what it refers to outside; in its subqueries they are the outside.
/// `inside` is what the node's inputs were before they had them.
pub(super) fn bound(
    expr: Expr,
    inside: &[&DFSchema],
    column_for: &dyn Fn(&Column) -> Option<Column>,
) -> DfResult<Expr> {
    let bound = expr.transform_up(|expr| {
        let rebuilt = |subquery: &Subquery| rebound(subquery, inside, column_for);
        Ok(match expr {
            Expr::OuterReferenceColumn(field, column) => match column_for(&column) {
                Some(column) => Transformed::yes(Expr::Column(column)),
                None => Transformed::no(Expr::OuterReferenceColumn(field, column)),
            },
            Expr::ScalarSubquery(subquery) => {
                Transformed::yes(Expr::ScalarSubquery(rebuilt(&subquery)?))
            }
            Expr::Exists(mut exists) => {
                exists.subquery = rebuilt(&exists.subquery)?;
                Transformed::yes(Expr::Exists(exists))
            }
            Expr::InSubquery(mut test) => {
                test.subquery = rebuilt(&test.subquery)?;
                Transformed::yes(Expr::InSubquery(test))
            }
            Expr::SetComparison(mut comparison) => {
                comparison.subquery = rebuilt(&comparison.subquery)?;
                Transformed::yes(Expr::SetComparison(comparison))
            }
            other => Transformed::no(other),
        })
    });
    bound.data()
}

fn rebound(
    subquery: &Subquery,
    inside: &[&DFSchema],
    column_for: &dyn Fn(&Column) -> Option<Column>,
) -> DfResult<Subquery> {
    let plan = subquery.subquery.as_ref().clone().transform_up_with_subqueries(|node| {
        node.map_expressions(|expr| {
            expr.transform_up(|expr| match &expr {
                Expr::OuterReferenceColumn(field, column)
                    if !inside.iter().any(|schema| schema.has_column(column)) =>
                {
                    Ok(match column_for(column) {
                        Some(column) => {
                            Transformed::yes(Expr::OuterReferenceColumn(field.clone(), column))
                        }
                        None => Transformed::no(expr),
                    })
                }
                _ => Ok(Transformed::no(expr)),
            })
        })
    });
    let plan = plan.data()?;
    let outer_ref_columns = plan.all_out_ref_exprs();
    let spans = subquery.spans.clone();
    Ok(Subquery { subquery: plan.into(), outer_ref_columns, spans })
}

/// An expression over `schema` as it is written in a subquery over rows of `schema`.
pub(in crate::query) fn as_outer(expr: Expr, schema: &DFSchema) -> DfResult<Expr> {
    let outer = expr.transform_up(|expr| match expr {
        Expr::Column(column) => {
            let field = schema.field_from_column(&column)?.clone();
            Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column)))
        }
        other => Ok(Transformed::no(other)),
    });
    outer.data()
}

/// Whether all that a predicate says of the outside are equalities of a column, each a condition of its own.
pub(super) fn only_equalities(predicate: &Expr, schema: &DFSchema) -> bool {
    let is_column = |side: &Expr| matches!(side, Expr::Column(_));
    let is_outside = |side: &Expr| side.column_refs().is_empty() && !is_fallible(side, schema);
    split_conjunction(predicate).into_iter().all(|conjunct| match conjunct {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            let equal =
                is_column(left) && is_outside(right) || is_outside(left) && is_column(right);
            equal || !conjunct.contains_outer()
        }
        other => !other.contains_outer(),
    })
}
