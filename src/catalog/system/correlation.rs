//! What system queries ask of types by correlated subqueries that have a simpler answer here, and the relations of a SELECT.

use sqlparser::ast::{
    BinaryOperator, DataType, Expr, Ident, ObjectName, Query, Select, SelectItem, SetExpr,
    TableFactor,
};

use super::nodes::{first_argument, function_name, is_column, is_oid_column, null_array};
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
