//! Parameters of prepared statements: their types and their values.
//!
//! Types come from the context while operators are resolved, from INSERT targets, or from the client; what nothing
//! determines is text, as PostgreSQL has it. Values are substituted as literals before optimization.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef};
use datafusion::common::metadata::{FieldMetadata, ScalarAndMetadata};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan};
use sqlparser::ast;

use super::cast::target_of;
use super::errors::from_datafusion;
use super::sql_types::{field_of, mark_of, plain};
use crate::error::{Error, Result, SqlState};

/// The parameters' types, `$1` first, as the plan and the client (`given`) say; text where neither does.
///
/// A gap (`$2` without `$1`) is 42P18, as PostgreSQL cannot tell the missing one's type.
pub fn prepare_params(plan: &LogicalPlan, given: &[Option<FieldRef>]) -> Result<Vec<FieldRef>> {
    prepare_params_of(&[plan], given)
}

/// As [`prepare_params`], for a statement of several plans: the first that types a parameter decides.
pub fn prepare_params_of(
    plans: &[&LogicalPlan],
    given: &[Option<FieldRef>],
) -> Result<Vec<FieldRef>> {
    let mut found: HashMap<String, Option<FieldRef>> = HashMap::new();
    for plan in plans {
        for (id, field) in parameter_fields(plan)? {
            let known = found.entry(id).or_insert(None);
            *known = known.take().or(field);
        }
    }
    let highest = found.keys().filter_map(|id| number_of(id)).max().unwrap_or(0).max(given.len());
    (1..=highest)
        .map(|number| {
            let told = given.get(number - 1).cloned().flatten();
            let seen = found.get(&format!("${number}"));
            match (told, seen) {
                (Some(field), _) => Ok(field),
                (None, Some(Some(field))) => Ok(renamed(field)),
                (None, Some(None)) => Ok(Arc::new(Field::new("", DataType::Utf8, true))),
                (None, None) => Err(Error::new(
                    SqlState::INDETERMINATE_DATATYPE,
                    format!("could not determine data type of parameter ${number}"),
                )),
            }
        })
        .collect()
}

/// The types given, and of parameters that the query mentions and its plan has lost what they are cast to, or text: parts of
/// queries about the catalog are never planned.
pub fn with_dropped(
    query: &ast::Query,
    plan: &LogicalPlan,
    given: &[Option<FieldRef>],
) -> Result<Vec<Option<FieldRef>>> {
    let planned = plan.get_parameter_names().map_err(from_datafusion)?;
    let mut types = given.to_vec();
    let mut note = |expr: &ast::Expr, field: &dyn Fn() -> Result<FieldRef>| {
        let ast::Expr::Value(value) = expr else { return Ok(()) };
        let ast::Value::Placeholder(id) = &value.value else { return Ok(()) };
        let at = number_of(id).and_then(|number| number.checked_sub(1));
        let Some(at) = at.filter(|_| !planned.contains(id)) else { return Ok(()) };
        if types.len() <= at {
            types.resize(at + 1, None);
        }
        if types[at].is_none() {
            types[at] = Some(field()?);
        }
        Ok(())
    };
    let text = || Ok(Arc::new(Field::new("", DataType::Utf8, true)));
    let visited = ast::visit_expressions(query, |expr| {
        let noted = match expr {
            ast::Expr::Cast { expr, data_type, .. } => note(expr, &|| field_of(data_type)),
            expr => note(expr, &text),
        };
        noted.map_or_else(ControlFlow::Break, ControlFlow::Continue)
    });
    visited.break_value().map_or(Ok(types), Err)
}

/// Whether a parameter's type is told neither by the plans nor by the client.
pub fn has_untyped(plans: &[&LogicalPlan], given: &[Option<FieldRef>]) -> Result<bool> {
    for plan in plans {
        for (id, field) in parameter_fields(plan)? {
            let at = number_of(&id).and_then(|number| number.checked_sub(1));
            let told = at.and_then(|at| given.get(at)).is_some_and(Option::is_some);
            if field.is_none() && !told {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn parameter_fields(plan: &LogicalPlan) -> Result<HashMap<String, Option<FieldRef>>> {
    let mut found = plan.get_parameter_fields().map_err(from_datafusion)?;
    // PostgreSQL has no operators of varchar: beside one a parameter is text.
    for field in found.values_mut().flatten().filter(|field| mark_of(field) == Some("varchar")) {
        *field = plain(DataType::Utf8);
    }
    for (id, target) in cast_targets(plan)? {
        found.entry(id).and_modify(|field| *field = field.take().or(Some(target)));
    }
    for id in row_counts(plan)? {
        found.insert(id, Some(Arc::new(Field::new("", DataType::Int64, true))));
    }
    Ok(found)
}

/// What parameters are cast to: `$1::boolean` is a boolean already when it comes.
fn cast_targets(plan: &LogicalPlan) -> Result<Vec<(String, FieldRef)>> {
    let mut targets = vec![];
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                let cast = match expr {
                    Expr::ScalarFunction(call) => match call.args.as_slice() {
                        [inner] => target_of(call).map(|target| (inner, target)),
                        _ => None,
                    },
                    Expr::Cast(cast) => Some((cast.expr.as_ref(), &cast.field)),
                    _ => None,
                };
                if let Some((Expr::Placeholder(placeholder), target)) = cast {
                    targets.push((placeholder.id.clone(), Arc::clone(target)));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })
    .map_err(from_datafusion)?;
    Ok(targets)
}

/// The parameters that stand for a LIMIT or an OFFSET.
fn row_counts(plan: &LogicalPlan) -> Result<Vec<String>> {
    let mut ids = vec![];
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Limit(limit) = node {
            for expr in [&limit.skip, &limit.fetch].into_iter().flatten() {
                if let Expr::Placeholder(placeholder) = expr.as_ref() {
                    ids.push(placeholder.id.clone());
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map_err(from_datafusion)?;
    Ok(ids)
}

fn number_of(id: &str) -> Option<usize> {
    id.strip_prefix('$')?.parse().ok()
}

fn renamed(field: &FieldRef) -> FieldRef {
    if field.data_type().is_null() {
        return Arc::new(Field::new("", DataType::Utf8, true));
    }
    Arc::new(field.as_ref().clone().with_name("").with_nullable(true))
}

/// The plan with `$1`, `$2` ... replaced by values of the types [`prepare_params`] gave. Too few values are 08P01.
pub fn bind_params(plan: LogicalPlan, values: Vec<ScalarValue>) -> Result<LogicalPlan> {
    let names = plan.get_parameter_names().map_err(from_datafusion)?;
    let needed = names.iter().filter_map(|id| number_of(id)).max().unwrap_or(0);
    if values.len() < needed {
        return Err(Error::new(
            SqlState::PROTOCOL_VIOLATION,
            format!(
                "bind message supplies {} parameters, but the statement requires {needed}",
                values.len()
            ),
        ));
    }
    if needed == 0 {
        return Ok(plan);
    }
    let values = marked(&plan, values)?;
    plan.with_param_values(ParamValues::List(values)).map_err(from_datafusion)
}

/// The values with their types' marks, which tell jsonb from text and a numeric with fixed scale from one without.
fn marked(plan: &LogicalPlan, values: Vec<ScalarValue>) -> Result<Vec<ScalarAndMetadata>> {
    let mut fields = plan.get_parameter_fields().map_err(from_datafusion)?;
    for (id, target) in cast_targets(plan)? {
        fields.entry(id).and_modify(|field| *field = field.take().or(Some(target)));
    }
    let mark = |index: usize| {
        let field = fields.get(&format!("${}", index + 1))?.as_ref()?;
        (!field.metadata().is_empty()).then(|| FieldMetadata::from(field.metadata()))
    };
    let values = values.into_iter().enumerate();
    Ok(values.map(|(index, value)| ScalarAndMetadata::new(value, mark(index))).collect())
}
