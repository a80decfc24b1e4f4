//! Whole rows that a function returns in a subquery, of which the query around it takes columns:
//! `SELECT (s.k).x FROM (SELECT f(a) AS k) AS s`.
//!
//! The subquery gets a column for each of the row's, named `k:x`. A row that is wanted as a whole stays, and is refused
//! where it is planned.

use std::ops::ControlFlow;

use sqlparser::ast::{
    self, AccessExpr, Expr, Ident, Query, Select, SelectItem, SetExpr, TableFactor, VisitMut,
    VisitorMut,
};

use super::row_sets::row_columns;
use crate::sql::fold_identifier;

/// Spreads the rows in all of a query.
pub(super) fn spread(query: &mut Query) {
    let ControlFlow::Continue(()) = query.visit(&mut Spread);
}

struct Spread;

impl VisitorMut for Spread {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        if let SetExpr::Select(select) = query.body.as_mut() {
            spread_in(select);
        }
        ControlFlow::Continue(())
    }
}

/// A row among the columns of a subquery.
struct Row {
    subquery: String,
    name: String,
}

fn spread_in(select: &mut Select) {
    let mut rows = vec![];
    for from in &mut select.from {
        let joined = from.joins.iter_mut().map(|join| &mut join.relation);
        for factor in std::iter::once(&mut from.relation).chain(joined) {
            let TableFactor::Derived { subquery, alias: Some(alias), .. } = factor else {
                continue;
            };
            let subquery_name = fold_identifier(&alias.name);
            if let (SetExpr::Select(inner), true) =
                (subquery.body.as_mut(), alias.columns.is_empty())
            {
                let names = spread_items(&mut inner.projection);
                rows.extend(
                    names.into_iter().map(|name| Row { subquery: subquery_name.clone(), name }),
                );
            }
        }
    }
    if rows.is_empty() {
        return;
    }
    let ControlFlow::Continue(()) = ast::visit_expressions_mut(select, |expr| {
        take_column(expr, &rows);
        ControlFlow::<std::convert::Infallible>::Continue(())
    });
}

/// Puts columns in the place of rows; the rows' names.
fn spread_items(items: &mut Vec<SelectItem>) -> Vec<String> {
    let mut names = vec![];
    for item in std::mem::take(items) {
        let SelectItem::ExprWithAlias { expr, alias } = item else {
            items.push(item);
            continue;
        };
        let Some(columns) = row_columns(&expr) else {
            items.push(SelectItem::ExprWithAlias { expr, alias });
            continue;
        };
        let row = fold_identifier(&alias);
        for column in columns {
            let access = AccessExpr::Dot(Expr::Identifier(Ident::new(*column)));
            let root = Box::new(Expr::Nested(Box::new(expr.clone())));
            let expr = Expr::CompoundFieldAccess { root, access_chain: vec![access] };
            items.push(SelectItem::ExprWithAlias { expr, alias: column_name(&row, column) });
        }
        names.push(row);
    }
    names
}

fn column_name(row: &str, column: &str) -> Ident {
    Ident::with_quote('"', format!("{row}:{column}"))
}

/// `(s.k).x` as `s."k:x"`.
fn take_column(expr: &mut Expr, rows: &[Row]) {
    let Expr::CompoundFieldAccess { root, access_chain } = &*expr else { return };
    let [AccessExpr::Dot(Expr::Identifier(column))] = access_chain.as_slice() else { return };
    let mut root = root.as_ref();
    while let Expr::Nested(inner) = root {
        root = inner;
    }
    let (subquery, name) = match root {
        Expr::Identifier(name) => (None, fold_identifier(name)),
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [subquery, name] => (Some(fold_identifier(subquery)), fold_identifier(name)),
            _ => return,
        },
        _ => return,
    };
    let row = rows.iter().find(|row| {
        row.name == name && subquery.as_ref().is_none_or(|subquery| *subquery == row.subquery)
    });
    if let Some(row) = row {
        let column = column_name(&row.name, &fold_identifier(column));
        let subquery = Ident::with_quote('"', row.subquery.clone());
        *expr = Expr::CompoundIdentifier(vec![subquery, column]);
    }
}
