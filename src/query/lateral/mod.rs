//! LATERAL and correlated subqueries as joins: after [`joined`] no subquery in FROM refers to what stands on its left.
//!
//! A subquery is a function of the values it refers to. It is computed for all of them at once ([`Domain`]): its operators
//! carry these values along and keep what belongs to different ones apart, so that aggregates group by them and a LIMIT
//! cuts by them. The general way is to compute it for the distinct values and to join the result back. Where a subquery makes
//! of each row some rows by itself (projections, filters, unnested lists over one row or over an aggregate) it is computed
//! for the rows of the left side as they are, and nothing is joined back.
//!
//! Subqueries in expressions are DataFusion's to join; those that it cannot are joined here in the same way. Method: Neumann
//! and Kemper, "Unnesting Arbitrary Queries" (BTW 2015). Invariant: plans keep their columns, with their qualifiers and order.

mod domain;
mod references;

use std::cell::Cell;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{
    Column, DFSchema, NullEquality, NullHandling, Result as DfResult, ScalarValue, TableReference,
};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Distinct, Expr, Filter, Join, JoinConstraint, JoinType, LogicalPlan, Projection, Subquery,
    SubqueryAlias, Unnest, lit,
};

use self::domain::Domain;
use self::references::{Outer, outer_references};
pub(super) use self::references::{as_outer, outside_columns};
use recursive::recursive;

use super::common::Common;
use super::row_sets::FIELD;

/// Joins what is lateral in a typed plan. What cannot be joined is 0A000.
pub(super) fn joined(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let lateral = Lateral { names: Cell::new(0) };
    let plan = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Join(join) if subquery_in(&join.right).is_some() => {
            lateral.join(join).map(Transformed::yes)
        }
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) => lateral.subqueries(node),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(plan.data)
}

/// The subquery that a side of a join is.
fn subquery_in(plan: &LogicalPlan) -> Option<&Subquery> {
    match plan {
        LogicalPlan::Subquery(subquery) => Some(subquery),
        LogicalPlan::SubqueryAlias(alias) => subquery_in(&alias.input),
        _ => None,
    }
}

/// Column of `schema` at each position, qualified.
fn columns_of(schema: &DFSchema) -> impl Iterator<Item = Expr> + '_ {
    schema.columns().into_iter().map(Expr::Column)
}

/// The expression under the name that a column of `schema` has.
fn named_as(expr: Expr, schema: &DFSchema, column: usize) -> Expr {
    let (qualifier, field) = schema.qualified_field(column);
    match &expr {
        Expr::Column(c) if c.relation.as_ref() == qualifier && c.name == *field.name() => expr,
        _ => expr.unalias().alias_qualified(qualifier.cloned(), field.name()),
    }
}

fn is_true(filter: &Option<Expr>) -> bool {
    filter.as_ref().is_none_or(|f| matches!(f, Expr::Literal(ScalarValue::Boolean(Some(true)), _)))
}

/// What an expression over a subquery becomes.
enum Value {
    /// The value of a subquery that is joined here.
    Joined(LogicalPlan),
    /// The count of a subquery that DataFusion joins.
    Counted(Subquery),
}

/// Rewrites one plan; names what it adds.
struct Lateral {
    names: Cell<usize>,
}

impl Lateral {
    /// A name that nothing else in the plan has.
    fn fresh(&self, what: &str) -> String {
        self.names.set(self.names.get() + 1);
        format!("#{what}{}", self.names.get())
    }

    fn join(&self, join: Join) -> DfResult<LogicalPlan> {
        let outer = outer_references(&join.right, join.left.schema())?;
        if outer.is_empty() {
            // What it refers to is further out: to this join it is a table like any other.
            let right = Arc::new(unwrapped(&join.right)?);
            return Ok(LogicalPlan::Join(Join { right, ..join }));
        }
        let unconditional = is_true(&join.filter) && join.on.is_empty();
        let inner = match join.join_type {
            JoinType::Inner => true,
            JoinType::Left => unconditional && gives_each_one_row(&join.right),
            _ => return Err(domain::refused("LATERAL in a RIGHT or FULL JOIN")),
        };
        if inner && by_row(&join.right, join.left.schema())? {
            return self.row_by_row(join, None);
        }
        if unconditional && let Some(padded) = padded(&join.right) {
            return self.row_by_row(join, Some(padded));
        }
        self.by_values(join, outer)
    }

    /// The subquery over the left side's rows themselves. `padded` is the right side, if it stands for the join's own.
    fn row_by_row(&self, join: Join, padded: Option<LogicalPlan>) -> DfResult<LogicalPlan> {
        let left = join.left.schema();
        let domain = Domain::of_rows(self, &join.left)?;
        let right = padded.as_ref().unwrap_or(&join.right);
        let pushed = domain.push(right)?;
        let columns = domain.columns_in(pushed.schema())?.into_iter().map(Expr::Column);
        let own = columns_of(join.right.schema());
        let exprs = columns.chain(own).enumerate();
        let exprs = exprs.map(|(i, expr)| named_as(expr, &join.schema, i)).collect();
        debug_assert_eq!(left.fields().len(), domain.width());
        let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(pushed))?);
        let equal = join.on.into_iter().map(|(l, r)| l.eq(r));
        Ok(match equal.chain(join.filter).reduce(Expr::and) {
            Some(predicate) => LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(plan))?),
            None => plan,
        })
    }

    /// The subquery for the distinct values it refers to, joined back by them.
    fn by_values(&self, join: Join, outer: Vec<Outer>) -> DfResult<LogicalPlan> {
        let columns: Vec<Column> = outer.into_iter().map(|outer| outer.column).collect();
        let domain = Domain::of_values(self, &join.left, columns.clone(), &join.right)?;
        let pushed = domain.push(&join.right)?;
        let values = domain.columns_in(pushed.schema())?;
        let names = domain.names().map(|name| Column::new_unqualified(name.clone()));
        let kept = values.into_iter().zip(names.clone());
        let kept = kept.map(|(column, name)| Expr::Column(column).alias(name.name));
        let exprs = columns_of(join.right.schema()).chain(kept).collect();
        let right = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(pushed))?);
        let pairs = columns.into_iter().zip(names);
        let on = pairs.map(|(left, right)| (Expr::Column(left), Expr::Column(right)));
        let equal = join.on.into_iter().map(|(l, r)| l.eq(r));
        let joined = Join::try_new(
            join.left,
            Arc::new(right),
            on.collect(),
            equal.chain(join.filter).reduce(Expr::and),
            join.join_type,
            JoinConstraint::On,
            NullEquality::NullEqualsNull,
            false,
        )?;
        let exprs = columns_of(&join.schema).collect();
        let joined = Arc::new(LogicalPlan::Join(joined));
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, joined)?))
    }

    /// Joins the subqueries in a node's expressions that DataFusion cannot.
    fn subqueries(&self, node: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
        let [input] = node.inputs()[..] else { return Ok(Transformed::no(node)) };
        let mut input = input.clone();
        let schema = Arc::clone(input.schema());
        let filters = matches!(node, LogicalPlan::Filter(_));
        let mut exprs = vec![];
        let mut changed = false;
        let names = NamePreserver::new(&node);
        for expr in node.expressions() {
            let name = names.save(&expr);
            let replaced =
                expr.transform_down(|expr| match self.value(&expr, &schema, filters)? {
                    Some(Value::Joined(subquery)) => {
                        let (wider, column) = self.with_value(input.clone(), &subquery)?;
                        input = wider;
                        Ok(Transformed::yes(column))
                    }
                    Some(Value::Counted(subquery)) => {
                        let subquery = Expr::ScalarSubquery(subquery);
                        Ok(Transformed::new(subquery, true, TreeNodeRecursion::Jump))
                    }
                    None => Ok(Transformed::no(expr)),
                })?;
            changed |= replaced.transformed;
            exprs.push(name.restore(replaced.data));
        }
        if !changed {
            return Ok(Transformed::no(node));
        }
        let input = Arc::new(input);
        let plan = match node {
            LogicalPlan::Projection(p) => {
                LogicalPlan::Projection(Projection::try_new_with_schema(exprs, input, p.schema)?)
            }
            LogicalPlan::Filter(_) => {
                let predicate = exprs.into_iter().reduce(Expr::and).unwrap_or(lit(true));
                let filter = LogicalPlan::Filter(Filter::try_new(predicate, input)?);
                let exprs = columns_of(&schema).collect();
                LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(filter))?)
            }
            other => return Ok(Transformed::no(other)),
        };
        Ok(Transformed::yes(plan))
    }

    /// The subquery whose one value stands for the expression, if that is a subquery that DataFusion does not join where it
    /// stands; as a condition of WHERE (`filters`) it joins more.
    fn value(&self, expr: &Expr, schema: &DFSchema, filters: bool) -> DfResult<Option<Value>> {
        let (plan, subquery, asked, negated) = match expr {
            Expr::ScalarSubquery(s) => {
                let here =
                    gives_one_row(&s.subquery) && !joinable(&s.subquery, schema, Asked::Value)?;
                return Ok(here.then(|| Value::Joined(s.subquery.as_ref().clone())));
            }
            Expr::Exists(Exists { subquery, negated }) => {
                (uncut(&subquery.subquery).clone(), subquery, Asked::Any, *negated)
            }
            Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                let column = subquery.subquery.schema().columns().swap_remove(0);
                let equal =
                    references::as_outer(expr.as_ref().clone(), schema)?.eq(Expr::Column(column));
                let found = Filter::try_new(equal, Arc::clone(&subquery.subquery))?;
                (LogicalPlan::Filter(found), subquery, Asked::Member, *negated)
            }
            _ => return Ok(None),
        };
        if filters && joinable(&subquery.subquery, schema, asked)? {
            return Ok(None);
        }
        let plan = domain::counted(plan, negated)?;
        if !joinable(&plan, schema, Asked::Value)? {
            return Ok(Some(Value::Joined(plan)));
        }
        let outer = outer_references(&plan, schema)?.into_iter();
        let outer_ref_columns = outer.map(|o| Expr::OuterReferenceColumn(o.field, o.column));
        Ok(Some(Value::Counted(Subquery {
            outer_ref_columns: outer_ref_columns.collect(),
            subquery: Arc::new(plan),
            spans: subquery.spans.clone(),
        })))
    }

    /// The input with the one value of a subquery as a further column.
    fn with_value(&self, input: LogicalPlan, plan: &LogicalPlan) -> DfResult<(LogicalPlan, Expr)> {
        let alias = TableReference::bare(self.fresh("value"));
        let right = SubqueryAlias::try_new(Arc::new(plan.clone()), alias)?;
        let column = Expr::Column(right.schema.columns().swap_remove(0));
        let join = Join::try_new(
            Arc::new(input),
            Arc::new(LogicalPlan::SubqueryAlias(right)),
            vec![],
            None,
            JoinType::Left,
            JoinConstraint::On,
            NullEquality::NullEqualsNothing,
            false,
        )?;
        Ok((self.join(join)?, column))
    }
}

/// Rows of which it matters only whether there are any, without a LIMIT that does not change it.
fn uncut(plan: &LogicalPlan) -> &LogicalPlan {
    match plan {
        LogicalPlan::Sort(s) => uncut(&s.input),
        LogicalPlan::Limit(l) if l.skip.is_none() => {
            let fetch = l.fetch.as_deref().map(|fetch| fetch.clone().unalias());
            match fetch {
                Some(Expr::Literal(ScalarValue::Int64(Some(1..)), _)) => uncut(&l.input),
                _ => plan,
            }
        }
        _ => plan,
    }
}

/// The plan without the marks of subqueries.
fn unwrapped(plan: &LogicalPlan) -> DfResult<LogicalPlan> {
    let plan = plan.clone().transform_down(|node| match node {
        LogicalPlan::Subquery(s) => Ok(Transformed::yes(s.subquery.as_ref().clone())),
        other => Ok(Transformed::no(other)),
    });
    plan.data()
}

/// Whether the subquery makes its rows of each row of the left side by itself.
fn by_row(plan: &LogicalPlan, left: &DFSchema) -> DfResult<bool> {
    Ok(match plan {
        LogicalPlan::Projection(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Unnest(_) => by_row(plan.inputs()[0], left)?,
        LogicalPlan::Aggregate(a) if a.group_expr.is_empty() => true,
        LogicalPlan::Values(_) => true,
        LogicalPlan::Join(join) if join.join_type == JoinType::Inner => {
            let l = outer_references(&join.left, left)?.is_empty();
            let r = outer_references(&join.right, left)?.is_empty();
            (l || r) && by_row(&join.left, left)? && by_row(&join.right, left)?
        }
        other => outer_references(other, left)?.is_empty(),
    })
}

/// Whether there is exactly one row, whatever the subquery refers to.
fn gives_each_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Subquery(_) => {
            gives_each_one_row(plan.inputs()[0])
        }
        LogicalPlan::Aggregate(a) => a.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(e) => e.produce_one_row,
        _ => false,
    }
}

/// Whether there is at most one row, by the plan's form.
#[recursive]
pub(super) fn gives_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(node) => gives_one_row(&node.input),
        LogicalPlan::SubqueryAlias(node) => gives_one_row(&node.input),
        LogicalPlan::Subquery(node) => gives_one_row(&node.subquery),
        LogicalPlan::Filter(node) => gives_one_row(&node.input),
        LogicalPlan::Sort(node) => gives_one_row(&node.input),
        LogicalPlan::Limit(node) => {
            let fetch = node.fetch.as_deref().map(|fetch| fetch.clone().unalias());
            let few = matches!(fetch, Some(Expr::Literal(ScalarValue::Int64(Some(..=1)), _)));
            few || gives_one_row(&node.input)
        }
        LogicalPlan::Aggregate(node) => node.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(_) => true,
        LogicalPlan::TableScan(scan) => {
            Common::scanned(scan).is_some_and(|common| gives_one_row(common.query()))
        }
        _ => false,
    }
}

/// The right side of a LEFT JOIN LATERAL that unnests lists of its row and takes columns out of them: with rows of NULLs where
/// there are no elements.
fn padded(plan: &LogicalPlan) -> Option<LogicalPlan> {
    Some(match plan {
        LogicalPlan::Subquery(s) => padded(&s.subquery)?,
        LogicalPlan::SubqueryAlias(a) => {
            let input = Arc::new(padded(&a.input)?);
            let alias = SubqueryAlias::try_new(input, a.alias.clone()).ok()?;
            LogicalPlan::SubqueryAlias(alias)
        }
        LogicalPlan::Projection(p) => {
            let takes_field = |expr: &Expr| match expr.clone().unalias() {
                Expr::ScalarFunction(call) => {
                    call.func.name().starts_with(FIELD)
                        && matches!(call.args.as_slice(), [Expr::Column(_)])
                }
                Expr::Column(_) => matches!(p.input.as_ref(), LogicalPlan::Projection(_)),
                _ => false,
            };
            if !p.expr.iter().all(takes_field) {
                return None;
            }
            let input = Arc::new(padded(&p.input)?);
            let schema = Arc::clone(&p.schema);
            let p = Projection::try_new_with_schema(p.expr.clone(), input, schema).ok()?;
            LogicalPlan::Projection(p)
        }
        LogicalPlan::Unnest(u) if one_row_each(&u.input) => {
            let options =
                u.options.clone().with_null_handling(NullHandling::PreserveAndExpandEmpty);
            LogicalPlan::Unnest(Unnest { options, ..u.clone() })
        }
        _ => return None,
    })
}

/// Projections of the one row there is.
fn one_row_each(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(p) => one_row_each(&p.input),
        LogicalPlan::EmptyRelation(e) => e.produce_one_row,
        _ => false,
    }
}

/// What a subquery in an expression is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Whether it has any row.
    Any,
    /// Whether it has a certain row.
    Member,
    /// The value of its one row.
    Value,
    /// All its rows, for an aggregate.
    All,
}

/// Whether DataFusion joins the subquery itself, and rightly: it refers to the outside in WHERE only, above nothing that would
/// cut or group otherwise if the condition were taken out.
fn joinable(plan: &LogicalPlan, outside: &DFSchema, asked: Asked) -> DfResult<bool> {
    // What is further out it takes for columns of this outside.
    Ok(!references::refers_further(plan, outside)? && pulled_up(plan, outside, asked)?)
}

#[recursive]
fn pulled_up(plan: &LogicalPlan, outside: &DFSchema, asked: Asked) -> DfResult<bool> {
    if outer_references(plan, outside)?.is_empty() {
        return Ok(true);
    }
    let refers = references::refers_itself(plan, outside)?;
    let for_rows = matches!(asked, Asked::Any | Asked::Member);
    Ok(match plan {
        LogicalPlan::Filter(filter) => {
            let grouped = asked == Asked::All;
            let equal =
                || !refers || references::only_equalities(&filter.predicate, filter.input.schema());
            (for_rows || grouped && equal()) && pulled_up(&filter.input, outside, asked)?
        }
        LogicalPlan::Projection(_) | LogicalPlan::Sort(_) if !refers => {
            pulled_up(plan.inputs()[0], outside, asked)?
        }
        // Above an aggregate it loses what tells that there was no row, as an alias loses whatever it is put above.
        LogicalPlan::Distinct(Distinct::All(_)) if !refers && asked != Asked::Value => {
            pulled_up(plan.inputs()[0], outside, asked)?
        }
        LogicalPlan::Aggregate(a) if !refers && asked == Asked::Value => {
            a.group_expr.is_empty() && pulled_up(&a.input, outside, Asked::All)?
        }
        LogicalPlan::Join(j) if !refers && j.join_type == JoinType::Inner => {
            pulled_up(&j.left, outside, asked)? && pulled_up(&j.right, outside, asked)?
        }
        _ => false,
    })
}
