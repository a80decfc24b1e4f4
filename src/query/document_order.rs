//! ORDER BY over jsonb, in PostgreSQL's order of documents: sort keys become `functions::json`'s keys.
//!
//! An analyzer rule over sorts and the ORDER BY of aggregates and windows. A call with DISTINCT keeps its order, which has to
//! be that of its argument.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result as DfResult};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, SortExpr};
use datafusion::optimizer::AnalyzerRule;

use super::functions::json;
use super::marks::field_of;
use super::sql_types::mark_of;

/// The rule. It comes before type coercion.
#[derive(Debug)]
pub(super) struct DocumentOrder;

impl AnalyzerRule for DocumentOrder {
    fn name(&self) -> &str {
        "document_order"
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
        if mark_of(&field) == Some("jsonb") {
            key.expr = json::order_key().call(vec![key.expr.clone()]);
            changed = true;
        }
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
                let changed = order(&mut call.params.order_by, &schema)?;
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
