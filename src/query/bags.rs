//! INTERSECT ALL and EXCEPT ALL as PostgreSQL has them: of equal rows as many as the smaller number, or the difference.
//!
//! DataFusion plans both as joins that keep every equal row of the left side. Here each side's equal rows are numbered
//! first, and the operation is then the distinct one over numbered rows, which is exact. Invariant: the columns
//! keep the names that the first side gives them.

use std::ops::ControlFlow;

use sqlparser::ast::{Query, SetExpr, SetOperator, SetQuantifier, VisitMut, VisitorMut};

use crate::error::{Error, Result};
use crate::sql::{OutputName, output_names, parse_query, quote_identifier};

/// Rewrites the operations of a query in place. One whose columns a `*` hides is 0A000.
pub(super) fn number_equal_rows(query: &mut Query) -> Result<()> {
    match query.visit(&mut Bags) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Bags;

impl VisitorMut for Bags {
    type Break = Error;

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        match rewrite(&mut query.body) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

fn rewrite(body: &mut SetExpr) -> Result<()> {
    let SetExpr::SetOperation { op, set_quantifier, left, right } = body else { return Ok(()) };
    rewrite(left)?;
    rewrite(right)?;
    let op = match (op, set_quantifier) {
        (SetOperator::Intersect, SetQuantifier::All) => "INTERSECT",
        (SetOperator::Except, SetQuantifier::All) => "EXCEPT",
        _ => return Ok(()),
    };
    let names = output_names(&*parse_query(&left.to_string())?);
    let names: Option<Vec<String>> = names
        .into_iter()
        .map(|name| match name {
            OutputName::Named(name) => Some(name),
            OutputName::Wildcard => None,
        })
        .collect();
    let Some(names) = names else {
        return Err(Error::unsupported(format!("{op} ALL of a SELECT * is not supported yet"))
            .with_hint("Name the columns."));
    };
    let columns: Vec<String> = (1..=names.len()).map(|i| format!("\"#{i}\"")).collect();
    let columns = columns.join(", ");
    let side = |body: &SetExpr| {
        format!(
            "SELECT {columns}, row_number() OVER (PARTITION BY {columns}) AS \"#n\" \
             FROM ({body}) AS \"#side\" ({columns})"
        )
    };
    let named = names.iter().enumerate();
    let named: Vec<String> =
        named.map(|(i, name)| format!("\"#{}\" AS {}", i + 1, quote_identifier(name))).collect();
    let text = format!(
        "SELECT {} FROM ({} {op} {}) AS \"#rows\"",
        named.join(", "),
        side(left),
        side(right)
    );
    *body = *parse_query(&text)?.body;
    Ok(())
}
