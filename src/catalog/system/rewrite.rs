//! Brings the queries that psql and drivers send about the catalog into a form that DataFusion plans, without changing
//! their answer.
//!
//! Two passes over the parsed statement. [`Spelling`] is for every statement. [`SystemQuery`] is for statements that read system
//! relations only, because it uses what is known of them: that some are always empty, that OIDs are compared with
//! quoted numbers, and that their scalar subqueries find at most one row.

use std::ops::ControlFlow;

use sqlparser::ast::{
    self, Array, BinaryOperator, Expr, FunctionArguments, Ident, JoinOperator, ObjectName,
    OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr, TableFactor, Value, Visit,
    VisitMut, Visitor, VisitorMut,
};

use super::correlation::{base_type, factors, row_type_columns};
use super::nodes::{
    aggregate, argument, boolean, call, empty_query, function_name, is_column, is_oid_column,
    null_text, number, string_literal,
};
use super::relations::is_always_empty;
use super::spelling::Spelling;
use super::{columns, is_system_table};
use crate::sql::{expr_name, fold_identifier, referenced_relations};

/// Rewrites a query, a statement or an expression in place.
pub fn rewrite_for_catalog<V: Visit + VisitMut>(node: &mut V) {
    let system = referenced_relations(node).iter().any(|name| match &name.schema {
        Some(schema) => schema == "pg_catalog" || schema == "information_schema",
        None => is_system_table("pg_catalog", &name.name),
    });
    let ControlFlow::Continue(()) = VisitMut::visit(node, &mut Spelling { depth: 0 });
    if system {
        let ControlFlow::Continue(()) = VisitMut::visit(node, &mut SystemQuery);
    }
}

pub(super) type Never = std::convert::Infallible;

struct SystemQuery;

impl VisitorMut for SystemQuery {
    type Break = Never;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Never> {
        simplify_empty(&mut query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Never> {
        number_tables(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Never> {
        simplify(expr);
        ControlFlow::Continue(())
    }
}

fn simplify(expr: &mut Expr) {
    match expr {
        Expr::Exists { subquery, negated } if is_empty(&subquery.body) => *expr = boolean(*negated),
        Expr::InSubquery { subquery, negated, .. } if is_empty(&subquery.body) => {
            *expr = boolean(*negated)
        }
        Expr::Subquery(query) if is_empty(&query.body) => *expr = null_text(),
        Expr::Subquery(query) => {
            if let Some(base) = base_type(query) {
                *expr = base;
            } else if let SetExpr::Select(select) = &*query.body
                && let Some(columns) = row_type_columns(select)
            {
                *expr = columns;
            }
        }
        Expr::Function(function) if function_name(&function.name) == "array" => {
            if let FunctionArguments::Subquery(query) = &mut function.args
                && let Some(array) = array_of(query)
            {
                *expr = array;
            }
        }
        Expr::AnyOp { compare_op: BinaryOperator::Eq, right, .. } => array_literal(right),
        Expr::AllOp { right, .. } => array_literal(right),
        Expr::BinaryOp { left, op, right } if is_comparison(op) => {
            number_literal(left, right);
            number_literal(right, left);
            array_literal(left);
            array_literal(right);
        }
        Expr::InList { expr: tested, list, .. } => {
            list.iter_mut().for_each(|item| number_literal(item, tested))
        }
        _ => {}
    }
}

/// `c.tableoid`, a column that no relation here has, as the number of the system relation that `c` is.
fn number_tables(select: &mut Select) {
    let tables: Vec<(String, i64)> = factors(select)
        .filter_map(|factor| match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                let name = function_name(name);
                let oid = columns::find("pg_catalog", &name)?.oid;
                Some((alias.as_ref().map_or(name, |alias| fold_identifier(&alias.name)), oid))
            }
            _ => None,
        })
        .collect();
    let ControlFlow::Continue(()) = ast::visit_expressions_mut(select, |expr| {
        if let Expr::CompoundIdentifier(parts) = expr
            && let [relation, column] = parts.as_slice()
            && fold_identifier(column) == "tableoid"
            && let Some((_, oid)) =
                tables.iter().find(|(name, _)| *name == fold_identifier(relation))
        {
            *expr = call("oid_in", vec![number(oid.to_string())]);
        }
        ControlFlow::<Never>::Continue(())
    });
}

fn is_comparison(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

/// A SELECT without rows keeps its columns, but none of the expressions that DataFusion could not plan.
fn simplify_empty(body: &mut SetExpr) {
    match body {
        SetExpr::SetOperation { left, right, .. } => {
            simplify_empty(left);
            simplify_empty(right);
        }
        SetExpr::Select(select) if is_empty_select(select) => {
            for item in &mut select.projection {
                match item {
                    SelectItem::UnnamedExpr(expr) if is_hard(expr) => {
                        let alias = Ident::with_quote('"', expr_name(expr));
                        *item = SelectItem::ExprWithAlias { expr: null_text(), alias };
                    }
                    SelectItem::ExprWithAlias { expr, .. } if is_hard(expr) => *expr = null_text(),
                    _ => {}
                }
            }
            select.selection = Some(boolean(false));
        }
        _ => {}
    }
}

fn is_empty(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => is_empty_select(select),
        SetExpr::Query(query) => is_empty(&query.body),
        _ => false,
    }
}

/// Whether a SELECT has no rows because something it reads or joins with never has any.
fn is_empty_select(select: &Select) -> bool {
    let grouped = match &select.group_by {
        ast::GroupByExpr::Expressions(exprs, modifiers) => {
            !exprs.is_empty() || !modifiers.is_empty()
        }
        ast::GroupByExpr::All(_) => true,
    };
    if grouped || has_aggregate(select) {
        return false;
    }
    select.from.iter().any(|from| {
        let inner = from.joins.iter().filter(|join| {
            use JoinOperator::{CrossJoin, Inner, Join};
            matches!(join.join_operator, Inner(_) | Join(_) | CrossJoin(_))
        });
        let outer = from.joins.iter().any(|join| {
            use JoinOperator::{FullOuter, Right, RightOuter};
            matches!(join.join_operator, FullOuter(_) | Right(_) | RightOuter(_))
        });
        !outer
            && (is_empty_factor(&from.relation)
                || inner.into_iter().any(|join| is_empty_factor(&join.relation)))
    })
}

/// An always empty relation, or the elements of a column: the array columns of system relations that are unnested by
/// psql (options, tags) are null in all rows.
fn is_empty_factor(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::Table { name, args: None, .. } => {
            let last = name.0.last().and_then(|part| part.as_ident()).map(fold_identifier);
            last.is_some_and(|name| is_always_empty(&name))
        }
        TableFactor::Table { name, args: Some(args), .. } => {
            is_unnesting(name) && args.args.iter().any(|arg| argument(arg).is_some_and(is_column))
        }
        TableFactor::Function { name, args, .. } => {
            is_unnesting(name) && args.iter().any(|arg| argument(arg).is_some_and(is_column))
        }
        TableFactor::UNNEST { array_exprs, .. } => array_exprs.iter().any(is_column),
        _ => false,
    }
}

fn is_unnesting(name: &ObjectName) -> bool {
    ["unnest", "pg_options_to_table"].contains(&function_name(name).as_str())
}

/// Expressions that DataFusion does not plan at all, or not here.
fn is_hard(expr: &Expr) -> bool {
    struct Hard;

    impl Visitor for Hard {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Subquery(_)
                | Expr::Exists { .. }
                | Expr::InSubquery { .. }
                | Expr::AnyOp { .. }
                | Expr::AllOp { .. }
                | Expr::CompoundFieldAccess { .. } => ControlFlow::Break(()),
                Expr::Function(function)
                    if matches!(function.args, FunctionArguments::Subquery(_)) =>
                {
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }

    Visit::visit(expr, &mut Hard).is_break()
}

pub(super) fn has_aggregate(select: &Select) -> bool {
    const AGGREGATES: &[&str] = &[
        "count",
        "sum",
        "min",
        "max",
        "avg",
        "array_agg",
        "string_agg",
        "bool_or",
        "bool_and",
        "every",
        "json_agg",
    ];

    /// Looks at the expressions of one SELECT and not into its subqueries.
    struct Aggregates(usize);

    impl Visitor for Aggregates {
        type Break = ();

        fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
            self.0 += 1;
            ControlFlow::Continue(())
        }

        fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
            self.0 -= 1;
            ControlFlow::Continue(())
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Function(f)
                    if self.0 == 0 && AGGREGATES.contains(&function_name(&f.name).as_str()) =>
                {
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }

    Visit::visit(&select.projection, &mut Aggregates(0)).is_break()
}

/// `ARRAY(SELECT x ... ORDER BY 1)` as an aggregate, empty where nothing is found.
fn array_of(query: &mut Query) -> Option<Expr> {
    if is_empty(&query.body) {
        return Some(call("empty_text_array", vec![]));
    }
    if query.limit_clause.is_some() || query.with.is_some() {
        return None;
    }
    let order = match query.order_by.take().map(|order| order.kind) {
        Some(OrderByKind::Expressions(exprs)) => exprs,
        _ => vec![],
    };
    let SetExpr::Select(select) = &mut *query.body else { return None };
    let [SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }] =
        select.projection.as_mut_slice()
    else {
        return None;
    };
    let is_number = is_oid_column(item);
    let element = item.clone();
    let order = order.into_iter().map(|order| by_value(order, &element)).collect::<Vec<_>>();
    *item = aggregate("array_agg", element, order);
    let array = Expr::Subquery(Box::new(std::mem::replace(query, empty_query())));
    // An array of numbers stays null when empty: its type is not that of an empty text array.
    Some(if is_number {
        array
    } else {
        call("coalesce", vec![array, call("empty_text_array", vec![])])
    })
}

/// `ORDER BY 1` inside of an aggregate would order by the number one.
fn by_value(mut order: OrderByExpr, element: &Expr) -> OrderByExpr {
    if matches!(&order.expr, Expr::Value(value) if matches!(value.value, Value::Number(..))) {
        order.expr = element.clone();
    }
    order
}

/// `'{r,v}'` as an array; elements that are all numbers become numbers.
fn array_literal(expr: &mut Expr) {
    let Some(text) = string_literal(expr) else { return };
    let Some(inner) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) else { return };
    let items: Vec<&str> = inner.split(',').map(|item| item.trim().trim_matches('"')).collect();
    let numbers = items.iter().all(|item| item.parse::<i64>().is_ok());
    let value = |item: &&str| match numbers {
        true => number((*item).to_owned()),
        false => Expr::value(Value::SingleQuotedString((*item).to_owned())),
    };
    let elem = items.iter().filter(|item| !item.is_empty()).map(value).collect();
    *expr = Expr::Array(Array { elem, named: true });
}

/// `'16384'` beside an OID column as a number.
fn number_literal(literal: &mut Expr, other: &Expr) {
    let Some(text) = string_literal(literal) else { return };
    if is_oid_column(other) && text.parse::<u32>().is_ok() {
        *literal = number(text);
    }
}
