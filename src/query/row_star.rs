//! `(row).*` in a select list: a column for each member of the row, written out before planning.
//!
//! What members there are is a matter of types, so a query that gives just the row is planned first, over the same FROM and the
//! same WITH. Where that cannot be planned alone, as in a subquery that refers to the query around it, it is refused.

use std::ops::ControlFlow;

use arrow_schema::{DataType, FieldRef};
use sqlparser::ast::{
    self, AccessExpr, Expr, Ident, Query, Select, SelectItem, SetExpr, VisitMut, VisitorMut, With,
};

use crate::error::{Error, Result, SqlState};
use crate::sql::row_of_star;

/// The type of the only column of a query.
type TypeOf<'a> = &'a dyn Fn(&Query) -> Result<FieldRef>;

/// Writes out the members in all of a query.
pub(super) fn spread(query: &mut Query, type_of: TypeOf<'_>) -> Result<()> {
    let mut spreader = Spreader { type_of, with: vec![] };
    match query.visit(&mut spreader) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Spreader<'a> {
    type_of: TypeOf<'a>,
    /// What the queries around, and this one, have in WITH.
    with: Vec<Option<With>>,
}

impl VisitorMut for Spreader<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        self.with.push(query.with.clone());
        match self.set_expr(&mut query.body) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Error> {
        self.with.pop();
        ControlFlow::Continue(())
    }
}

impl Spreader<'_> {
    fn set_expr(&self, body: &mut SetExpr) -> Result<()> {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::SetOperation { left, right, .. } => {
                self.set_expr(left)?;
                self.set_expr(right)
            }
            // A query in parentheses is visited by itself.
            _ => Ok(()),
        }
    }

    fn select(&self, select: &mut Select) -> Result<()> {
        if !select.projection.iter().any(|item| row_of_star(item).is_some()) {
            return Ok(());
        }
        let mut items = vec![];
        for item in std::mem::take(&mut select.projection) {
            let Some(row) = row_of_star(&item) else {
                items.push(item);
                continue;
            };
            let DataType::Struct(members) = self.type_of(&row, select)?.data_type().clone() else {
                let message = "type of what stands before .* is not composite";
                return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message));
            };
            items.extend(members.iter().map(|member| member_of(&row, member.name())));
        }
        select.projection = items;
        Ok(())
    }

    /// The type of an expression over the relations of a SELECT.
    fn type_of(&self, row: &Expr, select: &Select) -> Result<FieldRef> {
        let mut alone = select.clone();
        alone.projection = vec![SelectItem::UnnamedExpr(row.clone())];
        alone.distinct = None;
        let tables = self.with.iter().flatten().flat_map(|with| with.cte_tables.clone());
        let tables: Vec<ast::Cte> = tables.collect();
        let with = self.with.iter().flatten().last().cloned();
        let query = Query {
            with: with.map(|with| With { cte_tables: tables, ..with }),
            body: Box::new(SetExpr::Select(Box::new(alone))),
            order_by: None,
            limit_clause: None,
            fetch: None,
            locks: vec![],
            for_clause: None,
            settings: None,
            format_clause: None,
            pipe_operators: vec![],
        };
        (self.type_of)(&query).map_err(|error| match error.code {
            SqlState::UNDEFINED_COLUMN if self.with.len() > 1 => {
                Error::unsupported("a row with .* of the query around a subquery is not supported")
                    .with_hint("List its members.")
            }
            _ => error,
        })
    }
}

/// `(row)."member"`.
fn member_of(row: &Expr, name: &str) -> SelectItem {
    let member = Expr::Identifier(Ident::with_quote('"', name));
    SelectItem::UnnamedExpr(Expr::CompoundFieldAccess {
        root: Box::new(Expr::Nested(Box::new(row.clone()))),
        access_chain: vec![AccessExpr::Dot(member)],
    })
}
