//! Expressions compiled for evaluation: the one way for views, SELECT, DML and the oracle.
//!
//! Owns nothing but the last steps: operators and casts are PostgreSQL's functions since planning, here AND and OR are
//! sealed (see `fallible`) and DataFusion's physical expression is made. Refuses what depends on more than the row.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::physical_expr::create_physical_expr;
use datafusion::physical_plan::PhysicalExpr;

use super::errors::from_datafusion;
use super::fallible::seal_expr;
use crate::error::{Error, Result};

/// Compiles an expression of an optimized plan over rows of `schema`. It evaluates to the value PostgreSQL gives, or errs;
/// a batch errs if and only if one of its rows errs alone.
pub fn compile(expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
    compile_with(&ExecutionProps::new(), expr, schema)
}

/// As [`compile`], under a session's settings (its time zone above all).
pub fn compile_with(
    props: &ExecutionProps,
    expr: &Expr,
    schema: &DFSchema,
) -> Result<Arc<dyn PhysicalExpr>> {
    let sealed = seal_expr(expr.clone(), schema).map_err(from_datafusion)?;
    create_physical_expr(&sealed, schema, props, &Default::default()).map_err(from_datafusion)
}

/// The name of the first function in the plan whose value is not a function of its arguments: such functions are
/// refused in views. `now()` and its kin count: they differ between statements.
pub fn volatile_function(plan: &LogicalPlan) -> Option<String> {
    first_in(plan, &volatile_in)
}

/// The first thing that is found in an expression of the plan.
fn first_in(plan: &LogicalPlan, find: &dyn Fn(&Expr) -> Option<String>) -> Option<String> {
    let mut found = None;
    let visited = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found = find(expr);
            Ok(match found {
                Some(_) => TreeNodeRecursion::Stop,
                None => TreeNodeRecursion::Continue,
            })
        })
    });
    visited.ok()?;
    found
}

/// As [`volatile_function`], in one expression.
pub fn volatile_in(expr: &Expr) -> Option<String> {
    let mut found = None;
    let visited = expr.apply(|e| {
        if let Expr::ScalarFunction(call) = e
            && call.func.signature().volatility != Volatility::Immutable
            && super::fallible::guarded(e).is_none()
        {
            found = Some(call.func.name().to_owned());
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    visited.ok()?;
    found
}

/// Refuses a plan that takes or looks at numbers of sequences: a view would not go with them.
pub fn refuse_sequences(plan: &LogicalPlan) -> Result<()> {
    let of_sequences = |expr: &Expr| {
        let mut found = None;
        let visited = expr.apply(|e| {
            if let Expr::ScalarFunction(call) = e
                && ["nextval", "currval", "setval", "lastval"].contains(&call.func.name())
            {
                found = Some(call.func.name().to_owned());
                return Ok(TreeNodeRecursion::Stop);
            }
            Ok(TreeNodeRecursion::Continue)
        });
        visited.ok()?;
        found
    };
    match first_in(plan, &of_sequences) {
        Some(name) => {
            Err(Error::unsupported(format!("function {name}() is not supported in a view"))
                .with_hint("Call it in the query over the view."))
        }
        None => Ok(()),
    }
}

/// Refuses a plan with a volatile function: 0A000 naming it.
pub fn refuse_volatile(plan: &LogicalPlan) -> Result<()> {
    match volatile_function(plan) {
        Some(name) => Err(Error::unsupported(format!(
            "function {name}() is not supported in a materialized view"
        ))
        .with_hint("Its value changes between evaluations; compute it when you query the view.")),
        None => Ok(()),
    }
}
