//! CREATE INDEX.
//!
//! What an index of PostgreSQL may have and ours cannot is refused by name; what only matters to a B-tree (its method, the
//! order of a column, INCLUDE, storage parameters) is read over, since a lookup here finds whole rows by equality.

use sqlparser::tokenizer::Token;

use super::cursor::{Cursor, Parse};
use super::statement::{CreateIndex, Statement};
use crate::error::Error;

impl Cursor {
    /// What follows CREATE [UNIQUE] INDEX.
    pub(super) fn create_index(&mut self, unique: bool) -> Parse<Statement> {
        self.eat(&["CONCURRENTLY"]);
        let if_not_exists = self.if_not_exists();
        let name = if !if_not_exists && self.at(&["ON"]) { None } else { Some(self.name()?) };
        self.expect(&["ON"])?;
        self.eat(&["ONLY"]);
        let table = self.name()?;
        if self.eat(&["USING"]) {
            self.ident()?;
        }
        let columns = self.parenthesized(Self::index_column)?;
        if self.eat(&["INCLUDE"]) {
            self.parenthesized(Self::ident)?;
        }
        let nulls_distinct = self.nulls_distinct()?;
        if self.eat(&["WITH"]) {
            self.options()?;
        }
        if self.eat(&["DISTRIBUTED", "BY"]) {
            self.parenthesized(Self::ident)?;
        }
        if self.at(&["WHERE"]) {
            return Err(Error::unsupported("an index with WHERE is not supported")
                .with_hint("Create a materialized view with that WHERE, and an index on it.")
                .into());
        }
        Ok(Statement::CreateIndex(Box::new(CreateIndex {
            name,
            if_not_exists,
            table,
            columns,
            unique,
            nulls_distinct,
        })))
    }

    /// NULLS [NOT] DISTINCT; without it they are.
    pub(super) fn nulls_distinct(&mut self) -> Parse<bool> {
        if self.eat(&["NULLS", "NOT", "DISTINCT"]) {
            return Ok(false);
        }
        self.eat(&["NULLS", "DISTINCT"]);
        Ok(true)
    }

    /// What may stand behind a UNIQUE constraint: read over, but for DEFERRABLE, which would change its meaning.
    pub(super) fn index_parameters(&mut self) -> Parse<()> {
        if self.eat(&["INCLUDE"]) {
            self.parenthesized(Self::ident)?;
        }
        if self.eat(&["WITH"]) {
            self.options()?;
        }
        self.eat(&["NOT", "DEFERRABLE"]);
        self.eat(&["INITIALLY", "IMMEDIATE"]);
        if self.at(&["DEFERRABLE"]) || self.at(&["INITIALLY"]) {
            return Err(Error::unsupported("DEFERRABLE constraints are not supported").into());
        }
        Ok(())
    }

    fn index_column(&mut self) -> Parse<String> {
        let of_names = |token: &Token| matches!(token, Token::Word(_));
        let call = self.rest().get(1).is_some_and(|next| next.token == Token::LParen);
        if call || !self.rest().first().is_some_and(|first| of_names(&first.token)) {
            return Err(Error::unsupported("an index on an expression is not supported")
                .with_hint("Create a materialized view with the expression as a column, and an index on it.")
                .into());
        }
        let column = self.ident()?;
        if self.eat(&["COLLATE"]) {
            self.name()?;
        }
        let follows = ["ASC", "DESC", "NULLS"].iter().any(|word| self.at(&[word]));
        if !follows && self.rest().first().is_some_and(|next| of_names(&next.token)) {
            // An operator class.
            self.name()?;
        }
        self.eat_one(&["ASC", "DESC"]);
        if self.eat(&["NULLS"]) && self.eat_one(&["FIRST", "LAST"]).is_none() {
            return self.expected("FIRST or LAST");
        }
        Ok(column)
    }
}
