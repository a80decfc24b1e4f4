//! Rows are told apart by the values of their keys, where equal values may be stored in more ways than one: jsonb, intervals, and
//! floats within arrays and records (-0 and 0, which DataFusion takes for one only in columns of floats). GROUP BY, DISTINCT,
//! UNION and the like, PARTITION BY, IN, CASE, aggregates with DISTINCT (of floats also in columns), joins that name their keys.
//!
//! Documents are equal where `functions::json`'s value is, intervals where their lengths are: keys become these. Of the equal
//! ones of a group the least stands for it (of documents the one whose text is), so that the result is a function of the rows
//! alone. Of floats the canonical one stands. An analyzer rule; a plan without such keys stays as it is, as do documents and
//! intervals under the DISTINCT of aggregates other than `count`.

use std::sync::Arc;

use arrow_schema::{DataType, Field};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema, Result as DfResult};
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, ExprSchemable, GroupingSet, LogicalPlan, LogicalPlanBuilder,
    Projection, ScalarUDF, when,
};
use datafusion::optimizer::AnalyzerRule;

use super::functions::datetime::interval_length;
use super::functions::{self, json::equality_key};
use super::marks::{field_of, kept_mark};
use super::sql_types::mark_of;
use crate::canonical::holds_floats;

/// The rule. It comes before type coercion.
#[derive(Debug)]
pub(super) struct KeyEquality;

impl AnalyzerRule for KeyEquality {
    fn name(&self) -> &str {
        "key_equality"
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
                        if let (Some(a), Some(b)) = (value_of(l, &left)?, value_of(r, &right)?) {
                            (*l, *r) = (a, b);
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

/// Whether the value is of another type than the key: a group shows the least of its keys.
fn is_stood_for(expr: &Expr, schema: &DFSchema) -> DfResult<bool> {
    let field = field_of(expr, schema)?;
    let interval = matches!(field.data_type(), DataType::Interval(_));
    Ok(interval || mark_of(field.as_ref()) == Some("jsonb"))
}

/// The expression whose results are the same where those of `expr` are equal; `None` where `expr` is that.
pub(super) fn value_of(expr: &Expr, schema: &DFSchema) -> DfResult<Option<Expr>> {
    let field = field_of(expr, schema)?;
    Ok(value_function(&field).map(|value| value.call(vec![expr.clone()])))
}

/// The function that makes one value of the equal ones of a type; `None` where they are one.
pub(super) fn value_function(field: &Field) -> Option<Arc<ScalarUDF>> {
    let data_type = field.data_type();
    match mark_of(field) {
        Some("jsonb") => Some(equality_key()),
        _ if matches!(data_type, DataType::Interval(_)) => Some(interval_length()),
        _ if data_type.is_nested() && holds_floats(data_type) => Some(functions::canonical_value()),
        _ => None,
    }
}

/// A key of which equal values may look different.
struct Key {
    key: Expr,
    value: Expr,
    stood_for: bool,
}

impl Key {
    fn value_name(&self) -> String {
        format!("#value of {}", self.key.schema_name())
    }

    fn least_name(&self) -> String {
        format!("#least of {}", self.key.schema_name())
    }

    /// What a group shows of its key.
    fn standing(&self, schema: &DFSchema) -> DfResult<Expr> {
        let value = Expr::Column(Column::new_unqualified(self.value_name()));
        if !self.stood_for {
            return Ok(value);
        }
        let least = Expr::Column(Column::new_unqualified(self.least_name()));
        // In a grouping set without the key there is none.
        let least = when(value.is_not_null(), least).end()?;
        let field = field_of(&self.key, schema)?;
        Ok(if mark_of(field.as_ref()).is_some() { kept_mark(least, &field) } else { least })
    }
}

/// The aggregate with the values of its keys for keys; `None` where the keys are those.
fn by_value(aggregate: &Aggregate) -> DfResult<Option<LogicalPlan>> {
    let input = &aggregate.input;
    let mut keys: Vec<Key> = vec![];
    for group in grouping_set_to_exprlist(&aggregate.group_expr)? {
        if keys.iter().any(|other| other.key == *group) {
            continue;
        }
        if let Some(value) = value_of(group, input.schema())? {
            let stood_for = is_stood_for(group, input.schema())?;
            keys.push(Key { key: group.clone(), value, stood_for });
        }
    }
    if keys.is_empty() {
        return Ok(None);
    }
    let own = input.schema().columns().into_iter().map(Expr::Column);
    let values = keys.iter().map(|key| key.value.clone().alias(key.value_name()));
    let projected = own.chain(values).collect();
    let below = LogicalPlan::Projection(Projection::try_new(projected, Arc::clone(input))?);
    let by_value = |expr: &Expr| match keys.iter().find(|key| key.key == *expr) {
        Some(key) => Expr::Column(Column::new_unqualified(key.value_name())),
        None => expr.clone(),
    };
    let list = |exprs: &Vec<Expr>| exprs.iter().map(by_value).collect::<Vec<_>>();
    let groups = aggregate.group_expr.iter().map(|group| match group {
        Expr::GroupingSet(GroupingSet::Rollup(keys)) => {
            Expr::GroupingSet(GroupingSet::Rollup(list(keys)))
        }
        Expr::GroupingSet(GroupingSet::Cube(keys)) => {
            Expr::GroupingSet(GroupingSet::Cube(list(keys)))
        }
        Expr::GroupingSet(GroupingSet::GroupingSets(sets)) => {
            Expr::GroupingSet(GroupingSet::GroupingSets(sets.iter().map(list).collect()))
        }
        key => by_value(key),
    });
    let least = keys.iter().filter(|key| key.stood_for);
    let least =
        least.map(|key| functions::min().call(vec![key.key.clone()]).alias(key.least_name()));
    let calls = aggregate.aggr_expr.iter().cloned().chain(least).collect();
    let valued = Aggregate::try_new(Arc::new(below), groups.collect(), calls)?;
    let outputs = aggregate.schema.iter().map(|(relation, field)| {
        let column = Column::new(relation.cloned(), field.name());
        let key = keys.iter().find(|key| is_output(&key.key, &column));
        Ok(match key {
            Some(key) => {
                key.standing(input.schema())?.alias_qualified(relation.cloned(), field.name())
            }
            None => Expr::Column(column),
        })
    });
    let outputs = outputs.collect::<DfResult<Vec<_>>>()?;
    let projection = Projection::try_new(outputs, Arc::new(LogicalPlan::Aggregate(valued)))?;
    Ok(Some(LogicalPlan::Projection(projection)))
}

/// Whether the column of an aggregate is that of the key.
fn is_output(key: &Expr, column: &Column) -> bool {
    let (relation, name) = key.qualified_name();
    relation == column.relation && name == column.name
}

/// DISTINCT is a GROUP BY of all columns.
fn distinct(input: &Arc<LogicalPlan>) -> DfResult<Option<LogicalPlan>> {
    let groups: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    by_value(&Aggregate::try_new(Arc::clone(input), groups, vec![])?)
}

/// Such keys among the operands of what compares them inside of a node's expressions.
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
        Expr::InList(mut list) => match function_of(&list.expr, schema)? {
            Some(value) => {
                let operands = std::iter::once(list.expr.as_mut()).chain(&mut list.list);
                operands.for_each(|operand| wrap(operand, &value));
                Ok(Transformed::yes(Expr::InList(list)))
            }
            None => Ok(Transformed::no(Expr::InList(list))),
        },
        Expr::Case(mut case) => {
            let operand = case.expr.as_deref();
            let Some(value) = operand.map(|o| function_of(o, schema)).transpose()?.flatten() else {
                return Ok(Transformed::no(Expr::Case(case)));
            };
            let whens = case.when_then_expr.iter_mut().map(|(when, _)| when.as_mut());
            whens.chain(case.expr.as_deref_mut()).for_each(|operand| wrap(operand, &value));
            Ok(Transformed::yes(Expr::Case(case)))
        }
        Expr::InSubquery(test) if function_of(&test.expr, schema)?.is_some() => {
            let value = function_of(&test.expr, schema)?.expect("there is one");
            let value_of = |expr: &Expr| value.call(vec![expr.clone()]);
            let column = test.subquery.subquery.schema().columns().swap_remove(0);
            let rows = LogicalPlanBuilder::from(test.subquery.subquery.as_ref().clone());
            let value = value_of(&Expr::Column(column.clone())).alias(column.name);
            let rows = rows.project(vec![value])?.build()?;
            let subquery = test.subquery.with_plan(Arc::new(rows));
            let expr = Box::new(value_of(&test.expr));
            Ok(Transformed::yes(Expr::InSubquery(InSubquery { expr, subquery, ..test })))
        }
        Expr::AggregateFunction(mut call) if call.params.distinct => {
            let mut changed = false;
            let orders = call.params.order_by.iter_mut().map(|key| &mut key.expr);
            for expr in call.params.args.iter_mut().chain(orders) {
                let function = match function_of(expr, schema)? {
                    // Other aggregates show their values.
                    Some(value) if !is_stood_for(expr, schema)? => Some(value),
                    Some(value) => (call.func.name() == "count").then_some(value),
                    None if expr.get_type(schema)?.is_floating() => {
                        Some(functions::canonical_value())
                    }
                    None => None,
                };
                if let Some(function) = function {
                    wrap(expr, &function);
                    changed = true;
                }
            }
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

fn function_of(expr: &Expr, schema: &DFSchema) -> DfResult<Option<Arc<ScalarUDF>>> {
    Ok(value_function(field_of(expr, schema)?.as_ref()))
}

fn wrap(expr: &mut Expr, function: &Arc<ScalarUDF>) {
    *expr = function.call(vec![std::mem::take(expr)]);
}

fn to_values(exprs: &mut [Expr], schema: &DFSchema) -> DfResult<bool> {
    let mut changed = false;
    for expr in exprs {
        if let Some(value) = value_of(expr, schema)? {
            *expr = value;
            changed = true;
        }
    }
    Ok(changed)
}
