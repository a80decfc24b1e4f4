//! ORDER BY over jsonb and intervals, in PostgreSQL's order: sort keys become `functions::json`'s keys, and lengths.
//!
//! An analyzer rule over sorts and the ORDER BY of aggregates and windows. A call with DISTINCT keeps its order, which has to
//! be that of its argument.

use arrow_schema::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result as DfResult};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, SortExpr};
use datafusion::optimizer::AnalyzerRule;

use super::functions::datetime::interval_length;
use super::functions::json;
use super::functions::nested_order::sort_bytes;
use super::marks::field_of;
use super::sql_types::mark_of;

/// The rule. It comes before type coercion.
#[derive(Debug)]
pub(super) struct KeyOrder;

impl AnalyzerRule for KeyOrder {
    fn name(&self) -> &str {
        "key_order"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> DfResult<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Sort(mut sort) => {
                let schema = sort.input.schema().clone();
                let changed = order(&mut sort.expr, &schema)?;
                let node = LogicalPlan::Sort(sort);
                Ok(if changed { Transformed::yes(node) } else { Transformed::no(node) })
            }
            LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) => order_calls(node),
            other => Ok(Transformed::no(other)),
        })
        .data()
    }
}

/// Puts keys in place of documents; whether there were any.
fn order(keys: &mut [SortExpr], schema: &DFSchema) -> DfResult<bool> {
    let mut changed = false;
    for key in keys {
        let field = field_of(&key.expr, schema)?;
        let function = match field.data_type() {
            DataType::Interval(_) => interval_length(),
            _ if mark_of(&field) == Some("jsonb") => json::order_key(),
            _ => continue,
        };
        key.expr = function.call(vec![std::mem::take(&mut key.expr)]);
        changed = true;
    }
    Ok(changed)
}

fn order_calls(node: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let mut schema = DFSchema::empty();
    for input in node.inputs() {
        schema.merge(input.schema());
    }
    let names = NamePreserver::new(&node);
    node.map_expressions(|expr| {
        let name = names.save(&expr);
        let ordered = expr.transform_up(|expr| match expr {
            Expr::AggregateFunction(mut call) if !call.params.distinct => {
                let mut changed = order(&mut call.params.order_by, &schema)?;
                for key in &mut call.params.order_by {
                    // DataFusion's aggregates cannot compare all nested values.
                    if key.expr.get_type(&schema)?.is_nested() {
                        key.expr = sort_bytes().call(vec![std::mem::take(&mut key.expr)]);
                        changed = true;
                    }
                }
                let expr = Expr::AggregateFunction(call);
                Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
            }
            Expr::WindowFunction(mut call) => {
                let changed = order(&mut call.params.order_by, &schema)?;
                let expr = Expr::WindowFunction(call);
                Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
            }
            other => Ok(Transformed::no(other)),
        })?;
        let transformed = ordered.transformed;
        Ok(if transformed { ordered.update_data(|e| name.restore(e)) } else { ordered })
    })?
    .map_data(LogicalPlan::recompute_schema)
}
