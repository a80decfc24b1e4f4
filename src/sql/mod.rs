//! SQL text to statements: our own statements around sqlparser's, and the names PostgreSQL gives to things.
//!
//! In the order the text flows: [`lexer`] cuts the text into statements, [`cursor`] walks one statement's tokens, [`create`], [`alter`], [`index`],
//! [`sequence`], [`copy`], [`cursors`], [`subscribe`] and [`utility`] recognise the statements that are ours by their first words, and everything else is sqlparser's PostgreSQL, put right in [`expressions`] and, as to types, in [`types`].
//! [`names`] tells what a query's columns are called, [`relations`] what it reads, [`rename`] puts another name there, [`canonical`] writes a statement back for
//! SHOW CREATE, [`sequence_calls`] binds a default's sequences, [`position`] finds what an error of analysis is about. This module knows no catalog, resolves no name and does no I/O.

mod alter;
mod canonical;
mod copy;
mod create;
mod cursor;
mod cursors;
mod dialect;
mod expressions;
mod index;
mod lexer;
mod names;
mod order_names;
mod position;
mod relations;
mod rename;
mod sequence;
mod sequence_calls;
mod statement;
mod subscribe;
mod types;
mod utility;

#[cfg(test)]
mod tests;

use std::ops::Range;

use sqlparser::ast;

use crate::error::{Error, Result};

pub use canonical::{RedactedOptions, create_sql, quote_identifier, quote_literal};
pub use copy::{Copy, CopyColumns, CopyFormat, CopyHeader, CopyOptions, CopySubject};
pub use names::{
    OutputName, UNIQUE_MARK, expand_names, expr_name, item_names, name_derived_columns,
    output_names, row_of_star, type_name,
};
pub use position::locate;
pub use relations::{has_query, placeholders, referenced_relations};
pub use rename::{
    Replacement, names_column, rename_column, rename_created_column, replace_relation,
    replace_relation_in, rewritten, set_created_name,
};
pub use sequence::{OwnedBy, SequenceOptions};
pub use sequence_calls::{bind_sequences, sequences_called, show_sequences};
pub use statement::*;

use cursor::Cursor;
use lexer::Lexed;

/// A statement with the place of its text in the query string.
#[derive(Clone, Debug)]
pub struct ParsedStatement {
    pub statement: Statement,
    /// Bytes of the query string, without the semicolon and the whitespace around.
    pub text: Range<usize>,
}

/// Cuts a query string at its semicolons and parses every statement; empty statements are skipped.
///
/// Errors are 42601 as PostgreSQL words them, 54001 for statements nested too deeply and 0A000 for statements that
/// Tidewater does not have; `position` counts characters of the whole query string from 1.
pub fn parse(sql: &str) -> Result<Vec<ParsedStatement>> {
    let lexed = Lexed::new(sql)?;
    lexed
        .statements()
        .iter()
        .map(|tokens| {
            lexed.check_depth(tokens)?;
            let mut cursor = Cursor::new(tokens.tokens.clone());
            let statement = cursor.statement();
            let statement = statement
                .and_then(|statement| cursor.expect_end().map(|()| statement))
                .map_err(|failure| lexed.error(tokens, &cursor, failure))?;
            lexed.check_relations(tokens)?;
            Ok(ParsedStatement { statement, text: tokens.text.clone() })
        })
        .collect()
}

/// Parses exactly one statement, for text that is known to be one (a view's query in the catalog).
pub fn parse_one(sql: &str) -> Result<Statement> {
    let mut statements = parse(sql)?;
    match statements.len() {
        1 => Ok(statements.swap_remove(0).statement),
        count => Err(Error::syntax(format!("one statement is expected, not {count}"))),
    }
}

/// Parses a query alone: `SELECT`, `VALUES`, `TABLE`, with or without `WITH`.
pub fn parse_query(sql: &str) -> Result<Box<ast::Query>> {
    match parse_one(sql)? {
        Statement::Query(query) => Ok(query),
        _ => Err(Error::syntax("a query is expected")),
    }
}

/// Parses the name of a type alone, such as `numeric(10,2)`.
pub fn parse_data_type(sql: &str) -> Result<ast::DataType> {
    match parse_expr(&format!("CAST(NULL AS {sql})"))? {
        ast::Expr::Cast { data_type, .. } => Ok(data_type),
        _ => Err(Error::syntax(format!("syntax error at or near \"{sql}\""))),
    }
}

/// Parses a scalar expression alone, such as a column's default.
pub fn parse_expr(sql: &str) -> Result<ast::Expr> {
    let lexed = Lexed::new(sql)?;
    let [tokens] = lexed.statements() else {
        return Err(Error::syntax("one expression is expected"));
    };
    lexed.check_depth(tokens)?;
    let mut cursor = Cursor::new(tokens.tokens.clone());
    let expr = cursor.expr();
    expr.and_then(|expr| cursor.expect_end().map(|()| expr))
        .map_err(|failure| lexed.error(tokens, &cursor, failure))
}

/// The name an identifier stands for: folded to lower case unless it was quoted.
pub fn fold_identifier(ident: &ast::Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}
