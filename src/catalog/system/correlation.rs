//! Correlated scalar subqueries of system queries, in the one form that DataFusion decorrelates: an aggregate over equalities.

use std::ops::ControlFlow;

use sqlparser::ast::{
    self, BinaryOperator, DataType, Expr, Ident, ObjectName, Query, Select, SelectItem, SetExpr,
    TableFactor, Visit, Visitor,
};

use super::nodes::{
    and, call, first_argument, function_name, is_column, is_oid_column, null_array, take,
};
use super::rewrite::{Never, has_aggregate};
use crate::sql::fold_identifier;

/// The relations of a SELECT, joined ones included.
pub(super) fn factors(select: &Select) -> impl Iterator<Item = &TableFactor> {
    select.from.iter().flat_map(|from| {
        std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation))
    })
}

/// The names under which a SELECT's relations are known.
fn relation_names(select: &Select) -> Vec<String> {
    let names = factors(select).filter_map(|factor| match factor {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. }
        | TableFactor::Function { alias: Some(alias), .. }
        | TableFactor::UNNEST { alias: Some(alias), .. } => Some(fold_identifier(&alias.name)),
        TableFactor::Table { name, alias: None, .. } => {
            name.0.last().and_then(|part| part.as_ident()).map(fold_identifier)
        }
        _ => None,
    });
    names.collect()
}

/// Whether a column is qualified with a relation that the SELECT itself does not have.
fn is_outer(expr: &Expr, own: &[String]) -> bool {
    match expr {
        Expr::CompoundIdentifier(parts) if parts.len() == 2 => {
            !own.contains(&fold_identifier(&parts[0]))
        }
        _ => false,
    }
}

pub(super) fn is_correlated(select: &Select) -> bool {
    struct Outer<'a>(&'a [String]);

    impl Visitor for Outer<'_> {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if is_outer(expr, self.0) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }

    Visit::visit(select, &mut Outer(&relation_names(select))).is_break()
}

/// Makes a correlated scalar subquery an aggregate of its at most one row: DataFusion decorrelates only those. Outer columns are
/// replaced by the inner ones they equal, since it pulls up nothing but equalities through an aggregate.
pub(super) fn single_row(select: &mut Select) {
    if has_aggregate(select) {
        return;
    }
    let own = relation_names(select);
    if let [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] =
        select.projection.as_mut_slice()
    {
        // Documents keep their type, by which drivers know them.
        let is_json =
            matches!(expr, Expr::Function(f) if function_name(&f.name) == "json_build_object");
        *expr = call("min", vec![take(expr)]);
        if is_json {
            *expr = Expr::Cast {
                kind: ast::CastKind::Cast,
                expr: Box::new(take(expr)),
                data_type: DataType::JSON,
                array: false,
                format: None,
            };
        }
        if let Some(condition) = &mut select.selection {
            let mut equal = vec![];
            equalities(condition, &own, &mut equal);
            replace_outer(condition, &equal);
        }
    }
}

/// Takes the conjuncts that concern outer columns alone out of a scalar subquery's condition: DataFusion finds no
/// place for them below the aggregate, and beside it they mean the same.
pub(super) fn take_outer_condition(select: &mut Select) -> Option<Expr> {
    let own = relation_names(select);
    let mut conjuncts = vec![];
    split_conjuncts(select.selection.take()?, &mut conjuncts);
    let (outer, inner): (Vec<Expr>, Vec<Expr>) =
        conjuncts.into_iter().partition(|c| only_outer(c, &own));
    select.selection = inner.into_iter().reduce(and);
    outer.into_iter().reduce(and)
}

/// The walk from a type to its base type, by which drivers look domains up: a recursive query from `t2.oid = t.oid` on over
/// pg_type. Every domain here is over a base type, so the walk ends where it begins: at `t.typbasetype`.
pub(super) fn base_type(query: &Query) -> Option<Expr> {
    let with = query.with.as_ref().filter(|with| with.recursive)?;
    let [walk] = with.cte_tables.as_slice() else { return None };
    let SetExpr::SetOperation { left, .. } = walk.query.body.as_ref() else { return None };
    let SetExpr::Select(first) = left.as_ref() else { return None };
    let base = first_column(first)?;
    if fold_identifier(base.last()?) != "typbasetype" {
        return None;
    }
    let mut found = vec![];
    equalities(first.selection.as_ref()?, &relation_names(first), &mut found);
    match found.into_iter().next()? {
        (Expr::CompoundIdentifier(outer), _) => {
            let base = Ident::new("typbasetype");
            Some(Expr::CompoundIdentifier(vec![outer.first()?.clone(), base]))
        }
        _ => None,
    }
}

/// The columns of a composite type, by which drivers look those up, gathered into an array: no relation here has a row type
/// (pg_class.reltype is 0), so it is null.
pub(super) fn row_type_columns(select: &Select) -> Option<Expr> {
    let [
        SelectItem::UnnamedExpr(Expr::Function(call))
        | SelectItem::ExprWithAlias { expr: Expr::Function(call), .. },
    ] = select.projection.as_slice()
    else {
        return None;
    };
    if function_name(&call.name) != "array_agg" {
        return None;
    }
    let mut found = vec![];
    equalities(select.selection.as_ref()?, &relation_names(select), &mut found);
    let by_row_type = found.iter().any(|(_, inner)| match inner {
        Expr::CompoundIdentifier(parts) => {
            parts.last().is_some_and(|column| fold_identifier(column) == "reltype")
        }
        _ => false,
    });
    let element = match first_argument(call)? {
        argument if is_oid_column(argument) => {
            DataType::Custom(ObjectName::from(vec![Ident::new("oid")]), vec![])
        }
        _ => DataType::Text,
    };
    by_row_type.then(|| null_array(element))
}

fn first_column(select: &Select) -> Option<&[Ident]> {
    match select.projection.first()? {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => match expr {
            Expr::CompoundIdentifier(parts) => Some(parts),
            Expr::Identifier(name) => Some(std::slice::from_ref(name)),
            _ => None,
        },
        _ => None,
    }
}

fn split_conjuncts(condition: Expr, conjuncts: &mut Vec<Expr>) {
    match condition {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            split_conjuncts(*left, conjuncts);
            split_conjuncts(*right, conjuncts);
        }
        other => conjuncts.push(other),
    }
}

/// Whether an expression has columns, all of them outer ones.
fn only_outer(expr: &Expr, own: &[String]) -> bool {
    let (mut outer, mut inner) = (false, false);
    let ControlFlow::Continue(()) = ast::visit_expressions(expr, |expr| {
        match expr {
            Expr::CompoundIdentifier(_) if is_outer(expr, own) => outer = true,
            Expr::CompoundIdentifier(_) | Expr::Identifier(_) => inner = true,
            _ => {}
        }
        ControlFlow::<Never>::Continue(())
    });
    outer && !inner
}

/// Pairs (outer column, inner column) of the condition's conjuncts.
fn equalities(condition: &Expr, own: &[String], found: &mut Vec<(Expr, Expr)>) {
    match condition {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            equalities(left, own, found);
            equalities(right, own, found);
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right }
            if is_column(left) && is_column(right) =>
        {
            match (is_outer(left, own), is_outer(right, own)) {
                (true, false) => found.push((Expr::clone(left), Expr::clone(right))),
                (false, true) => found.push((Expr::clone(right), Expr::clone(left))),
                _ => {}
            }
        }
        _ => {}
    }
}

fn replace_outer(condition: &mut Expr, equal: &[(Expr, Expr)]) {
    match condition {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            replace_outer(left, equal);
            replace_outer(right, equal);
        }
        // The equalities themselves stay: they are what is pulled up.
        Expr::BinaryOp { op: BinaryOperator::Eq, .. } => {}
        other => {
            let ControlFlow::Continue(()) = ast::visit_expressions_mut(other, |expr| {
                if let Some((_, inner)) = equal.iter().find(|(outer, _)| same_column(outer, expr)) {
                    *expr = inner.clone();
                }
                ControlFlow::<Never>::Continue(())
            });
        }
    }
}

fn same_column(a: &Expr, b: &Expr) -> bool {
    match (a, b) {
        (Expr::CompoundIdentifier(a), Expr::CompoundIdentifier(b)) => {
            a.iter().map(fold_identifier).eq(b.iter().map(fold_identifier))
        }
        _ => false,
    }
}
