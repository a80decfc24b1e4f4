//! Outer references that DataFusion would take for fields: `item.id` in a subquery over a table with a column `item`.
//!
//! In PostgreSQL `a.b` is column `b` of relation `a`, from the innermost FROM outwards. DataFusion prefers field `b` of a
//! column `a` of the innermost FROM. A reference to a relation of an enclosing query is therefore written
//! with one more qualifier, which rules the field out and matches the same relation.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, Ident, ObjectName, Query, Select, TableFactor, TableWithJoins, VisitMut, VisitorMut,
};

use crate::sql::fold_identifier;

/// Matches every relation that FROM names by one word, and no column.
const ANY_SCHEMA: &str = "\u{1}";

/// Qualifies the outer references of a query in place.
pub(super) fn qualify_outer_references(query: &mut Query) {
    let ControlFlow::Continue(()) = query.visit(&mut Scopes { selects: vec![] });
}

/// A relation's name in a query and the qualifier in front of it.
struct Relation {
    name: String,
    schema: Ident,
}

struct Scopes {
    /// The relations of each enclosing SELECT, the innermost last.
    selects: Vec<Vec<Relation>>,
}

impl VisitorMut for Scopes {
    type Break = std::convert::Infallible;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        self.selects.push(select.from.iter().flat_map(relations).collect());
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _select: &mut Select) -> ControlFlow<Self::Break> {
        self.selects.pop();
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        let Expr::CompoundIdentifier(parts) = expr else { return ControlFlow::Continue(()) };
        let [relation, _column] = parts.as_slice() else { return ControlFlow::Continue(()) };
        let name = fold_identifier(relation);
        let found = self.selects.iter().rev().enumerate().find_map(|(depth, relations)| {
            relations.iter().find(|relation| relation.name == name).map(|found| (depth, found))
        });
        if let Some((1.., relation)) = found {
            parts.insert(0, relation.schema.clone());
        }
        ControlFlow::Continue(())
    }
}

fn relations(from: &TableWithJoins) -> impl Iterator<Item = Relation> {
    let joined = from.joins.iter().map(|join| &join.relation);
    std::iter::once(&from.relation).chain(joined).filter_map(relation)
}

fn relation(factor: &TableFactor) -> Option<Relation> {
    let any_schema = || Ident::with_quote('"', ANY_SCHEMA);
    match factor {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. } => {
            Some(Relation { name: fold_identifier(&alias.name), schema: any_schema() })
        }
        TableFactor::Table { name: ObjectName(parts), alias: None, args: None, .. } => {
            let mut parts = parts.iter().rev().map(|part| part.as_ident());
            let name = fold_identifier(parts.next().flatten()?);
            let schema = parts.next().flatten().cloned();
            Some(Relation { name, schema: schema.unwrap_or_else(any_schema) })
        }
        _ => None,
    }
}
