//! Names in ORDER BY that are output columns by name only.
//!
//! In PostgreSQL a name alone in ORDER BY is the output column of that name; within an expression, and with a qualifier, it
//! is a column of FROM: `SELECT -a AS a FROM t ORDER BY t.a` and `ORDER BY a + 1` order by the table's. DataFusion refuses
//! the one as ambiguous and takes the output column in the other. So an output column that ORDER BY could be mistaken for
//! gets another name inside of the query ([`UNIQUE_MARK`] behind it), and its own back from what is around the query.

use std::collections::HashSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    self, Distinct, Expr, GroupByExpr, Ident, OrderByExpr, OrderByKind, SelectItem, SetExpr,
    TableAlias, TableAliasColumnDef, TableFactor, Visit, VisitMut, Visitor, VisitorMut,
};

use super::fold_identifier;
use super::names::{OutputName, UNIQUE_MARK, item_names, output_names};

/// Renames such output columns in a query and its subqueries. The query's own names change: take
/// [`output_names`] before this.
pub(super) fn set_apart(query: &mut ast::Query) {
    rename(query);
    let ControlFlow::Continue(()) = VisitMut::visit(query, &mut Subqueries);
}

struct Subqueries;

impl VisitorMut for Subqueries {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, query: &mut ast::Query) -> ControlFlow<Self::Break> {
        for cte in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            rename_derived(&mut cte.query, Some(&mut cte.alias));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Self::Break> {
        if let TableFactor::Derived { subquery, alias, .. } = factor {
            rename_derived(subquery, alias.as_mut());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        // Nobody sees their names.
        if let Expr::Subquery(query)
        | Expr::InSubquery { subquery: query, .. }
        | Expr::Exists { subquery: query, .. } = expr
        {
            rename(query);
        }
        ControlFlow::Continue(())
    }
}

/// Of a table in FROM, whose columns then get their names from its alias.
fn rename_derived(query: &mut ast::Query, alias: Option<&mut TableAlias>) {
    let names: Option<Vec<String>> = output_names(query)
        .into_iter()
        .map(|name| match name {
            OutputName::Named(name) => Some(name),
            OutputName::Wildcard => None,
        })
        .collect();
    let (Some(names), Some(alias)) = (names, alias) else { return };
    if rename(query) {
        // A name that is there twice finds nothing.
        let column = |(place, name): (usize, &String)| {
            let unique = names.iter().filter(|other| *other == name).count() == 1;
            let apart = || format!("{name}{UNIQUE_MARK}{place}");
            let name = if unique { name.clone() } else { apart() };
            TableAliasColumnDef { name: Ident::with_quote('"', name), data_type: None }
        };
        let columns = names.iter().enumerate().skip(alias.columns.len()).map(column);
        alias.columns.extend(columns);
    }
}

/// Whether there was something to rename.
fn rename(query: &mut ast::Query) -> bool {
    let SetExpr::Select(select) = query.body.as_mut() else { return false };
    let mut orders: Vec<&mut Expr> = vec![];
    if let Some(order_by) = &mut query.order_by
        && let OrderByKind::Expressions(exprs) = &mut order_by.kind
    {
        orders.extend(exprs.iter_mut().map(|OrderByExpr { expr, .. }| expr));
    }
    if let Some(Distinct::On(exprs)) = &mut select.distinct {
        orders.extend(exprs);
    }
    let items = &mut select.projection;
    let meant = columns_in_expressions(&orders, items);
    // What the wildcard stands for may have the same name. GROUP BY may mean the output column, which only the tables tell.
    let grouped =
        !matches!(&select.group_by, GroupByExpr::Expressions(exprs, _) if exprs.is_empty());
    let wildcard = !grouped && item_names(items).contains(&OutputName::Wildcard);
    let mut renamed: Vec<(String, Ident)> = vec![];
    let names = item_names(items);
    for (place, (item, name)) in items.iter_mut().zip(names).enumerate() {
        let OutputName::Named(name) = name else { continue };
        let apart = || Ident::with_quote('"', format!("{name}{UNIQUE_MARK}o{place}"));
        let alias = match item {
            SelectItem::ExprWithAlias { alias, .. } if wildcard || meant.contains(&name) => {
                *alias = apart();
                alias.clone()
            }
            // A cast and its like have their column's name.
            SelectItem::UnnamedExpr(expr) if meant.contains(&name) && !is_column(expr) => {
                let expr = std::mem::replace(expr, Expr::value(ast::Value::Null));
                *item = SelectItem::ExprWithAlias { expr, alias: apart() };
                apart()
            }
            _ => continue,
        };
        renamed.push((name, alias));
    }
    for order in orders {
        if let Expr::Identifier(name) = order
            && let Some((_, alias)) = renamed.iter().find(|(n, _)| *n == fold_identifier(name))
        {
            *name = alias.clone();
        }
    }
    !renamed.is_empty()
}

fn is_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
}

/// The names that columns of FROM have where ORDER BY refers to them otherwise than by an output column.
fn columns_in_expressions(orders: &[&mut Expr], items: &[SelectItem]) -> HashSet<String> {
    let is_item = |order: &Expr| {
        items.iter().any(|item| match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => expr == order,
            _ => false,
        })
    };
    let mut names = HashSet::new();
    for order in orders {
        if !matches!(order, Expr::Identifier(_)) && !is_item(order) {
            let ControlFlow::Continue(()) = Visit::visit(&**order, &mut Columns(&mut names));
        }
    }
    names
}

struct Columns<'a>(&'a mut HashSet<String>);

impl Visitor for Columns<'_> {
    type Break = std::convert::Infallible;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::Identifier(name) => self.0.insert(fold_identifier(name)),
            Expr::CompoundIdentifier(parts) => {
                parts.last().is_some_and(|name| self.0.insert(fold_identifier(name)))
            }
            _ => false,
        };
        ControlFlow::Continue(())
    }
}
