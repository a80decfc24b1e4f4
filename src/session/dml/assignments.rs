//! SET lists of UPDATE and ON CONFLICT DO UPDATE: which column gets which expression.
//!
//! `(a, b) = (x, y)` and `(a, b) = ROW (x, y)` are two assignments; `(a, b) = (SELECT x, y ...)` becomes one scalar subquery a
//! column. Every column is assigned at most once (42601).

use sqlparser::ast::{self, Assignment, AssignmentTarget, Expr, SelectItem, SetExpr};

use super::{Target, default_ast, is_default};
use crate::error::{Error, Result, SqlState};
use crate::session::Session;
use crate::sql::{self, ObjectName, fold_identifier};

/// A column of the target by its index, and what it becomes.
pub(super) type Assigned = Vec<(usize, Expr)>;

impl Session {
    /// Reads a SET list; DEFAULTs become what they stand for.
    pub(super) fn assigned(&self, target: &Target, list: &[Assignment]) -> Result<Assigned> {
        let mut assigned: Assigned = vec![];
        for Assignment { target: columns, value } in list {
            let pairs = match columns {
                AssignmentTarget::ColumnName(name) => vec![(name, value.clone())],
                AssignmentTarget::Tuple(names) => {
                    let values = parts(value, names.len())?;
                    names.iter().zip(values).collect()
                }
            };
            for (name, value) in pairs {
                let name = ObjectName::try_from(name)?.name;
                let column = self.column(&target.table, &name)?;
                if assigned.iter().any(|(other, _)| *other == column) {
                    let message = format!("multiple assignments to same column \"{name}\"");
                    return Err(Error::syntax(message));
                }
                crate::query::refuse_sets(&value, "UPDATE")?;
                let given = !is_default(&value);
                let generation = target.table.generation(column).filter(|_| given);
                if let Some(detail) = generation.and_then(|g| g.refuses_values(&name)) {
                    let message = format!("column \"{name}\" can only be updated to DEFAULT");
                    return Err(Error::new(SqlState::GENERATED_ALWAYS, message).with_detail(detail));
                }
                let value = if given { value } else { default_ast(&target.table, column)? };
                assigned.push((column, value));
            }
        }
        Ok(assigned)
    }
}

/// The values of a row of `count` columns, one by one.
fn parts(value: &Expr, count: usize) -> Result<Vec<Expr>> {
    let values = match value {
        Expr::Tuple(values) => values.clone(),
        Expr::Nested(value) if count == 1 => vec![value.as_ref().clone()],
        Expr::Function(call) if is_row(call) => row_values(call)?,
        Expr::Subquery(query) => {
            return (0..count).map(|i| column_of(query, i, count)).collect();
        }
        _ => {
            let message =
                "source for a multiple-column UPDATE item must be a sub-SELECT or ROW() expression";
            return Err(Error::unsupported(message));
        }
    };
    if values.len() != count {
        return Err(Error::syntax("number of columns does not match number of values"));
    }
    Ok(values)
}

fn is_row(call: &ast::Function) -> bool {
    matches!(call.name.0.as_slice(), [part] if part.as_ident().is_some_and(|ident| {
        ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("row")
    }))
}

fn row_values(call: &ast::Function) -> Result<Vec<Expr>> {
    let ast::FunctionArguments::List(list) = &call.args else { return Ok(vec![]) };
    let values = list.args.iter().map(|arg| match arg {
        ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(value)) => Ok(value.clone()),
        other => Err(Error::unsupported(format!("{other} in a row is not supported"))),
    });
    values.collect()
}

/// Aggregates that stand alone in a select list, so that each gives one row by itself.
const AGGREGATES: &[&str] = &[
    "array_agg",
    "avg",
    "bool_and",
    "bool_or",
    "count",
    "every",
    "max",
    "min",
    "string_agg",
    "sum",
];

/// The query with its `i`th column alone, as a scalar subquery. Only a list of aggregates can be taken apart: that is
/// also the form in which a subquery may refer to the row that is updated.
fn column_of(query: &ast::Query, i: usize, count: usize) -> Result<Expr> {
    let mut query = query.clone();
    let SetExpr::Select(select) = query.body.as_mut() else { return whole_column(query, i, count) };
    let plain = select.distinct.is_none()
        && query.order_by.is_none()
        && select.projection.iter().all(is_aggregate);
    if !plain {
        return whole_column(query, i, count);
    }
    if select.projection.len() != count {
        return Err(Error::syntax("number of columns does not match number of values"));
    }
    let item = select.projection.swap_remove(i);
    select.projection = vec![item];
    Ok(Expr::Subquery(Box::new(query)))
}

fn is_aggregate(item: &SelectItem) -> bool {
    let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else {
        return false;
    };
    let Expr::Function(call) = expr else { return false };
    let name = call.name.0.last().and_then(|part| part.as_ident()).map(fold_identifier);
    name.is_some_and(|name| AGGREGATES.contains(&name.as_str())) && call.over.is_none()
}

/// As above for queries whose columns cannot be taken apart: `SELECT "#i" FROM (query) AS t ("#0", "#1")`.
fn whole_column(query: ast::Query, i: usize, count: usize) -> Result<Expr> {
    let names: Vec<String> = (0..count).map(|i| format!("\"#{i}\"")).collect();
    let text = format!("SELECT \"#{i}\" FROM (SELECT 1) AS \"#row\" ({})", names.join(", "));
    let mut outer = sql::parse_query(&text)?;
    if let SetExpr::Select(select) = outer.body.as_mut()
        && let Some(from) = select.from.first_mut()
        && let ast::TableFactor::Derived { subquery, .. } = &mut from.relation
    {
        **subquery = query;
    }
    Ok(Expr::Subquery(outer))
}
