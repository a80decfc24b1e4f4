//! Finds the place in a statement's text that an error of analysis is about.
//!
//! Planning works on trees that have been rewritten several times, so errors come back with names and not with places. The
//! name is looked for among the statement's tokens; the first that is spelled so, in a role that fits, is what PostgreSQL
//! points at. An error whose text names nothing of the statement keeps no position: none is better than a wrong one.

use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::fold_identifier;
use super::lexer::Lexed;
use crate::error::{Error, SqlState};

/// What the error's message names.
#[derive(Debug, PartialEq, Eq)]
enum Named<'a> {
    /// `a`, or `t.a` where the message has the qualifier.
    Column(Option<&'a str>, &'a str),
    /// A table or alias before a point.
    Qualifier(&'a str),
    Relation(&'a str),
    Function(&'a str),
    Operator(&'a str),
    Type(&'a str),
    Literal(&'a str),
}

/// Gives `error` the 1-based character position in `sql`, one statement, of what its message names. Errors that have a
/// position, or of a kind for which PostgreSQL tells none, are returned unchanged.
pub fn locate(error: Error, sql: &str) -> Error {
    if error.position.is_some() {
        return error;
    }
    let Some(named) = named(&error) else { return error };
    let Ok(lexed) = Lexed::new(sql) else { return error };
    let tokens = lexed.statements().iter().flat_map(|s| &s.tokens).collect::<Vec<_>>();
    let find = |named: &Named<'_>| (0..tokens.len()).find_map(|i| place(named, &tokens, i));
    // The message may have a qualifier that the text leaves out.
    let found = find(&named).or_else(|| match named {
        Named::Column(Some(_), column) => find(&Named::Column(None, column)),
        _ => None,
    });
    match found {
        Some(i) => {
            let at = lexed.position(tokens[i].span.start);
            error.at(at)
        }
        None => error,
    }
}

fn named(error: &Error) -> Option<Named<'_>> {
    let message = error.message.as_str();
    let quoted = message.split('"').nth(1);
    match error.code {
        SqlState::UNDEFINED_TABLE => match message.strip_prefix("missing FROM-clause entry") {
            Some(_) => quoted.map(Named::Qualifier),
            None if message.starts_with("relation ") => {
                quoted.map(|name| Named::Relation(name.rsplit('.').next().unwrap_or(name)))
            }
            None => None,
        },
        SqlState::UNDEFINED_COLUMN | SqlState::AMBIGUOUS_COLUMN | SqlState::GROUPING_ERROR => {
            let bare = message.strip_prefix("column ")?.split(' ').next()?;
            let name = quoted.unwrap_or(bare);
            Some(match name.split_once('.') {
                Some((table, column)) => Named::Column(Some(table), column),
                None => Named::Column(None, name),
            })
        }
        SqlState::UNDEFINED_FUNCTION => match message.strip_prefix("operator does not exist: ") {
            Some(operands) => {
                operands.split(' ').find(|word| is_operator(word)).map(Named::Operator)
            }
            None => message.strip_prefix("function ")?.split('(').next().map(Named::Function),
        },
        SqlState::UNDEFINED_OBJECT if message.starts_with("type ") => quoted.map(Named::Type),
        SqlState::INVALID_TEXT_REPRESENTATION
        | SqlState::INVALID_DATETIME_FORMAT
        | SqlState::DATETIME_FIELD_OVERFLOW => {
            let (_, text) = message.split_once(": \"")?;
            text.strip_suffix('"').map(Named::Literal)
        }
        _ => None,
    }
}

fn is_operator(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| "+-*/<>=~!@#%^&|`?".contains(c))
}

/// The token to point at when token `i` ends what is named; of a qualified name that is the qualifier.
fn place(named: &Named<'_>, tokens: &[&TokenWithSpan], i: usize) -> Option<usize> {
    let is_period =
        |i: Option<usize>| i.and_then(|i| tokens.get(i)).is_some_and(|t| t.token == Token::Period);
    let qualified = is_period(i.checked_sub(1));
    let start = if qualified { i.saturating_sub(2) } else { i };
    let opens = tokens.get(i + 1).is_some_and(|t| t.token == Token::LParen);
    let here = match named {
        Named::Column(Some(table), column) => {
            word(tokens[i], column) && qualified && word(tokens[start], table)
        }
        // What follows AS is a new name, not a reference.
        Named::Column(None, column) => {
            let renames = i.checked_sub(1).is_some_and(|i| word(tokens[i], "as"));
            word(tokens[i], column) && !renames && !opens && !is_period(Some(i + 1))
        }
        Named::Qualifier(table) => {
            return (word(tokens[i], table) && is_period(Some(i + 1))).then_some(i);
        }
        Named::Relation(name) => word(tokens[i], name) && !is_period(Some(i + 1)),
        Named::Function(name) => {
            let last = name.rsplit('.').next().unwrap_or(name);
            word(tokens[i], last) && opens
        }
        Named::Type(name) => word(tokens[i], name),
        Named::Operator(operator) => {
            return (tokens[i].token.to_string() == *operator).then_some(i);
        }
        Named::Literal(text) => return literal(&tokens[i].token, text).then_some(i),
    };
    here.then_some(start)
}

fn word(token: &TokenWithSpan, name: &str) -> bool {
    match &token.token {
        Token::Word(word) => {
            let ident = sqlparser::ast::Ident {
                value: word.value.clone(),
                quote_style: word.quote_style,
                span: token.span,
            };
            fold_identifier(&ident) == name
        }
        _ => false,
    }
}

fn literal(token: &Token, text: &str) -> bool {
    match token {
        Token::SingleQuotedString(value) | Token::EscapedStringLiteral(value) => value == text,
        Token::DollarQuotedString(value) => value.value == text,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: SqlState, message: &str, sql: &str, at: Option<usize>) {
        assert_eq!(locate(Error::new(code, message), sql).position, at, "{message}: {sql}");
    }

    #[test]
    fn errors_point_at_the_name_they_are_about() {
        let (table, column) = (SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_COLUMN);
        check(table, "relation \"nope\" does not exist", "select 1 from Nope", Some(15));
        check(table, "relation \"s.nope\" does not exist", "select 1 from s.nope", Some(15));
        check(table, "missing FROM-clause entry for table \"u\"", "select u.a from t", Some(8));
        check(column, "column \"b\" does not exist", "select 1 as b, b from t", Some(16));
        check(column, "column t.b does not exist", "select é, t.b from t", Some(11));
        check(
            column,
            "column \"b\" of relation \"t\" does not exist",
            "insert into t (a, b)",
            Some(19),
        );
        check(
            SqlState::AMBIGUOUS_COLUMN,
            "column reference \"a\" is ambiguous",
            "select a from t, u",
            Some(8),
        );
    }

    #[test]
    fn errors_point_at_functions_operators_and_literals() {
        let function = SqlState::UNDEFINED_FUNCTION;
        check(function, "function f(integer) does not exist", "select f, f(1)", Some(11));
        check(
            function,
            "operator does not exist: integer || boolean",
            "select 1 || true",
            Some(10),
        );
        check(SqlState::UNDEFINED_OBJECT, "type \"foo\" does not exist", "select 1::foo", Some(11));
        let syntax = SqlState::INVALID_TEXT_REPRESENTATION;
        check(syntax, "invalid input syntax for type integer: \"x\"", "select 'x'::int", Some(8));
        check(syntax, "invalid input syntax for type integer: \"x\"", "select a::int from t", None);
    }
}
