//! `ARRAY(SELECT ...)`: the rows of a query as an array, in the query's order.
//!
//! Becomes array_agg over the query, whose rows are numbered in the order that it asks for: the order of a query inside of
//! another one is not kept by itself. Without rows the array is empty. Rewrites the parsed query alone.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, FunctionArgumentClause, FunctionArguments, GroupByExpr, Ident, OrderByExpr, OrderByKind,
    Query, SelectItem, SetExpr, Statement, TableFactor, Value,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::cast::CAST_PREFIX;
use super::spelling::{call, is_named, string};
use crate::error::{Error, Result};

/// Rewrites an expression that is one.
pub(super) fn respell(expr: &mut Expr) -> Result<()> {
    let Expr::Function(function) = expr else { return Ok(()) };
    if !is_named(function, "array") {
        return Ok(());
    }
    let FunctionArguments::Subquery(query) = &function.args else { return Ok(()) };
    let collected = collected(query.as_ref().clone())?;
    *expr = call("coalesce", vec![Expr::Subquery(collected), string("{}")]);
    Ok(())
}

/// The query that gives the array.
fn collected(mut query: Query) -> Result<Box<Query>> {
    let order = order_of(&query)?;
    let Some(item) = only_column(&mut query) else {
        return Err(Error::syntax("subquery must return only one column"));
    };
    if is_flat(&query, &item, &order) {
        return Ok(flat(query, item, order));
    }
    let template = if order.is_empty() {
        "SELECT array_agg(v) FROM series AS rows(v)"
    } else {
        "SELECT array_agg(v ORDER BY n) FROM (SELECT row_number() OVER () AS n) AS rows(v, n)"
    };
    let mut outer = parsed(template);
    if !order.is_empty() {
        number(&mut query, item, order)?;
    }
    let SetExpr::Select(select) = outer.body.as_mut() else {
        unreachable!("the template is a SELECT")
    };
    let relation = &mut select.from[0].relation;
    let alias = match relation {
        TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. } => alias.take(),
        _ => None,
    };
    *relation =
        TableFactor::Derived { lateral: false, subquery: Box::new(query), alias, sample: None };
    Ok(outer)
}

/// Whether the query has a row for each row of FROM, so that it can collect them itself; it may then refer to the query
/// around it.
fn is_flat(query: &Query, item: &Expr, order: &[OrderByExpr]) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    let ungrouped =
        matches!(&select.group_by, GroupByExpr::Expressions(exprs, _) if exprs.is_empty());
    let whole = query.limit_clause.is_none() && query.fetch.is_none() && query.with.is_none();
    let plain = select.distinct.is_none() && select.having.is_none() && !select.from.is_empty();
    let wildcard =
        matches!(select.projection[0], SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    let exprs = || std::iter::once(item).chain(order.iter().map(|by| &by.expr));
    ungrouped && whole && plain && !wildcard && exprs().all(is_of_one_row)
}

/// Whether an expression is surely no aggregate and no set of rows: it calls nothing but casts.
fn is_of_one_row(expr: &Expr) -> bool {
    let called = sqlparser::ast::visit_expressions(expr, |expr| match expr {
        Expr::Function(function) if !function.name.to_string().contains(CAST_PREFIX) => {
            ControlFlow::Break(())
        }
        Expr::Subquery(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    called.is_continue()
}

/// The query with its column collected.
fn flat(mut query: Query, item: Expr, order: Vec<OrderByExpr>) -> Box<Query> {
    let name = column_name(&query);
    let collect = call("array_agg", vec![item.clone()]);
    query.order_by = None;
    if let (SetExpr::Select(select), Expr::Function(mut collect)) = (query.body.as_mut(), collect) {
        if let (FunctionArguments::List(list), false) = (&mut collect.args, order.is_empty()) {
            let order = order.into_iter().map(|by| by_item(by, &item, name.as_deref()));
            list.clauses = vec![FunctionArgumentClause::OrderBy(order.collect())];
        }
        select.projection = vec![SelectItem::ExprWithAlias {
            expr: Expr::Function(collect),
            alias: Ident::with_quote('"', "array"),
        }];
    }
    Box::new(query)
}

/// The name of a SELECT's only column.
fn column_name(query: &Query) -> Option<String> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    match select.projection.first()? {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        SelectItem::UnnamedExpr(Expr::Identifier(ident)) => Some(ident.value.clone()),
        _ => None,
    }
}

/// ORDER BY with the column itself in place of its position or name.
fn by_item(mut by: OrderByExpr, item: &Expr, name: Option<&str>) -> OrderByExpr {
    let named = match &by.expr {
        Expr::Value(value) => matches!(value.value, Value::Number(..)),
        Expr::Identifier(ident) => Some(ident.value.as_str()) == name,
        _ => false,
    };
    if named {
        by.expr = item.clone();
    }
    by
}

fn parsed(sql: &str) -> Box<Query> {
    let mut statements =
        Parser::parse_sql(&PostgreSqlDialect {}, sql).expect("the template is SQL");
    match statements.pop() {
        Some(Statement::Query(query)) => query,
        _ => unreachable!("the template is a query"),
    }
}

/// The expressions that the query is ordered by.
fn order_of(query: &Query) -> Result<Vec<OrderByExpr>> {
    match &query.order_by {
        None => Ok(vec![]),
        Some(order) => match &order.kind {
            OrderByKind::Expressions(exprs) => Ok(exprs.clone()),
            OrderByKind::All(_) => Err(Error::unsupported("ORDER BY ALL is not supported")),
        },
    }
}

/// The expression of the only column of a SELECT; of anything else, nothing in particular.
fn only_column(query: &mut Query) -> Option<Expr> {
    let SetExpr::Select(select) = query.body.as_mut() else {
        return Some(Expr::Value(Value::Null.into()));
    };
    match select.projection.as_slice() {
        [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] => {
            Some(expr.clone())
        }
        [SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)] => {
            Some(Expr::Value(Value::Null.into()))
        }
        _ => None,
    }
}

/// Adds a column with the number of each row in the query's order.
fn number(query: &mut Query, item: Expr, order: Vec<OrderByExpr>) -> Result<()> {
    let refused = || {
        Error::unsupported(
            "ARRAY over a query with ORDER BY and DISTINCT or UNION is not supported",
        )
    };
    let name = column_name(query);
    let SetExpr::Select(select) = query.body.as_mut() else { return Err(refused()) };
    let wildcard =
        matches!(select.projection[0], SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    if select.distinct.is_some() || wildcard {
        return Err(refused());
    }
    let template = parsed("SELECT row_number() OVER (ORDER BY 1) AS \"n\"");
    let SetExpr::Select(numbering) = *template.body else {
        unreachable!("the template is a SELECT")
    };
    let Some(SelectItem::ExprWithAlias { expr: Expr::Function(mut call), .. }) =
        numbering.projection.into_iter().next()
    else {
        unreachable!("the template has one call")
    };
    let order = order.into_iter().map(|by| by_item(by, &item, name.as_deref()));
    if let Some(sqlparser::ast::WindowType::WindowSpec(spec)) = &mut call.over {
        spec.order_by = order.collect();
    }
    select.projection.push(SelectItem::ExprWithAlias {
        expr: Expr::Function(call),
        alias: Ident::with_quote('"', "n"),
    });
    Ok(())
}
