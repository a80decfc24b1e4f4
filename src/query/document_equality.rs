//! jsonb by value where rows are told apart: GROUP BY, DISTINCT, UNION and the like, PARTITION BY, IN, `count(DISTINCT ...)`.
//!
//! Documents are equal where `functions::json`'s value is: keys become it. Of the equal documents of a group the one whose text is the
//! smallest stands for it, so that the result is a function of the rows alone. An analyzer rule; a plan without jsonb stays
//! as it is, as do GROUPING SETS and the DISTINCT of aggregates other than `count`.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema, Result as DfResult};
use datafusion::functions_aggregate::expr_fn::min;
use datafusion::logical_expr::expr::{InList, InSubquery};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, LogicalPlan, LogicalPlanBuilder, Projection,
};
use datafusion::optimizer::AnalyzerRule;

use super::functions::json::equality_key;
use super::marks::{field_of, kept_mark};
use super::sql_types::mark_of;

/// The rule. It comes before type coercion.
#[derive(Debug)]
pub(super) struct DocumentEquality;

impl AnalyzerRule for DocumentEquality {
    fn name(&self) -> &str {
        "document_equality"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> DfResult<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| {
            let node = in_expressions(node)?;
            match node.data {
                LogicalPlan::Aggregate(aggregate) => match by_value(&aggregate)? {
                    Some(plan) => Ok(Transformed::yes(plan)),
                    None => Ok(Transformed { data: LogicalPlan::Aggregate(aggregate), ..node }),
                },
                LogicalPlan::Distinct(Distinct::All(ref input)) => match distinct(input)? {
                    Some(plan) => Ok(Transformed::yes(plan)),
                    None => Ok(node),
                },
                LogicalPlan::Join(mut join) => {
                    let (left, right) = (join.left.schema().clone(), join.right.schema().clone());
                    let mut changed = node.transformed;
                    for (l, r) in &mut join.on {
                        if is_document(l, &left)? && is_document(r, &right)? {
                            (*l, *r) = (value_of(l), value_of(r));
                            changed = true;
                        }
                    }
                    let node = LogicalPlan::Join(join);
                    Ok(if changed { Transformed::yes(node) } else { Transformed::no(node) })
                }
                _ => Ok(node),
            }
        })
        .data()
    }
}

fn is_document(expr: &Expr, schema: &DFSchema) -> DfResult<bool> {
    let field = field_of(expr, schema)?;
    Ok(mark_of(&field) == Some("jsonb"))
}

fn value_of(expr: &Expr) -> Expr {
    equality_key().call(vec![expr.clone()])
}

/// The aggregate with the values of documents for keys; `None` where no key is one.
fn by_value(aggregate: &Aggregate) -> DfResult<Option<LogicalPlan>> {
    let input = &aggregate.input;
    // A key that is given twice is one column.
    let mut groups: Vec<&Expr> = vec![];
    for group in &aggregate.group_expr {
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    let documents = groups.iter().map(|group| match *group {
        Expr::GroupingSet(_) => Ok(false),
        group => is_document(group, input.schema()),
    });
    let documents = documents.collect::<DfResult<Vec<bool>>>()?;
    if !documents.contains(&true) {
        return Ok(None);
    }
    let (mut keys, mut calls) = (vec![], aggregate.aggr_expr.clone());
    for (i, (group, document)) in groups.iter().zip(&documents).enumerate() {
        keys.push(match document {
            true => value_of(group).alias(format!("#value {i}")),
            false => (*group).clone(),
        });
        if *document {
            calls.push(min((*group).clone()).alias(format!("#document {i}")));
        }
    }
    let outputs = aggregate.schema.iter().enumerate().map(|(i, (relation, field))| {
        if !documents.get(i).is_some_and(|document| *document) {
            return Ok(Expr::Column(Column::new(relation.cloned(), field.name())));
        }
        let standing = Expr::Column(Column::new_unqualified(format!("#document {i}")));
        let of = field_of(groups[i], input.schema())?;
        Ok(kept_mark(standing, &of).alias_qualified(relation.cloned(), field.name()))
    });
    let outputs = outputs.collect::<DfResult<Vec<_>>>()?;
    let aggregate = Aggregate::try_new(Arc::clone(input), keys, calls)?;
    let projection = Projection::try_new(outputs, Arc::new(LogicalPlan::Aggregate(aggregate)))?;
    Ok(Some(LogicalPlan::Projection(projection)))
}

/// DISTINCT over documents is a GROUP BY of all columns.
fn distinct(input: &Arc<LogicalPlan>) -> DfResult<Option<LogicalPlan>> {
    let groups: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    by_value(&Aggregate::try_new(Arc::clone(input), groups, vec![])?)
}

/// Documents among the operands of what compares them inside of a node's expressions.
fn in_expressions(node: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let mut schema = DFSchema::empty();
    for input in node.inputs() {
        schema.merge(input.schema());
    }
    let names = NamePreserver::new(&node);
    node.map_expressions(|expr| {
        let name = names.save(&expr);
        let compared = expr.transform_up(|expr| compared(expr, &schema))?;
        let transformed = compared.transformed;
        Ok(if transformed { compared.update_data(|e| name.restore(e)) } else { compared })
    })?
    .map_data(LogicalPlan::recompute_schema)
}

fn compared(expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    match expr {
        Expr::InList(list) if is_document(&list.expr, schema)? => {
            let (expr, items) = (value_of(&list.expr), list.list.iter().map(value_of).collect());
            let list = InList { expr: Box::new(expr), list: items, ..list };
            Ok(Transformed::yes(Expr::InList(list)))
        }
        Expr::InSubquery(test) if is_document(&test.expr, schema)? => {
            let column = test.subquery.subquery.schema().columns().swap_remove(0);
            let rows = LogicalPlanBuilder::from(test.subquery.subquery.as_ref().clone());
            let value = value_of(&Expr::Column(column.clone())).alias(column.name);
            let rows = rows.project(vec![value])?.build()?;
            let subquery = test.subquery.with_plan(Arc::new(rows));
            let expr = Box::new(value_of(&test.expr));
            Ok(Transformed::yes(Expr::InSubquery(InSubquery { expr, subquery, ..test })))
        }
        Expr::AggregateFunction(mut call)
            if call.params.distinct && call.func.name() == "count" =>
        {
            let changed = to_values(&mut call.params.args, schema)?;
            let expr = Expr::AggregateFunction(call);
            Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
        }
        Expr::WindowFunction(mut call) => {
            let changed = to_values(&mut call.params.partition_by, schema)?;
            let expr = Expr::WindowFunction(call);
            Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
        }
        other => Ok(Transformed::no(other)),
    }
}

fn to_values(exprs: &mut [Expr], schema: &DFSchema) -> DfResult<bool> {
    let mut changed = false;
    for expr in exprs {
        if is_document(expr, schema)? {
            *expr = value_of(expr);
            changed = true;
        }
    }
    Ok(changed)
}
