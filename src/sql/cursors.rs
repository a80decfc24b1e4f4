//! Prepared statements and cursors as SQL: PREPARE, EXECUTE, DEALLOCATE, DECLARE, FETCH, MOVE, CLOSE.

use sqlparser::tokenizer::Token;

use super::cursor::{Cursor, Failure, Parse};
use super::statement::*;
use crate::error::{Error, SqlState};

impl Cursor {
    pub(super) fn prepared_or_cursor(&mut self) -> Parse<Option<Statement>> {
        if self.at(&["PREPARE", "TRANSACTION"]) {
            return Err(Error::unsupported("PREPARE TRANSACTION is not supported").into());
        }
        if self.eat(&["PREPARE"]) {
            return self.prepare().map(Some);
        }
        if self.eat(&["EXECUTE"]) {
            let name = self.ident()?;
            let args = match self.at_token(&Token::LParen) {
                true => self.parenthesized(Self::expr)?,
                false => vec![],
            };
            return Ok(Some(Statement::Execute { name, args }));
        }
        if self.eat(&["DEALLOCATE"]) {
            self.eat(&["PREPARE"]);
            return Ok(Some(Statement::Deallocate { name: self.name_or_all()? }));
        }
        if self.eat(&["DECLARE"]) {
            return self.declare().map(Some);
        }
        if self.eat(&["CLOSE"]) {
            return Ok(Some(Statement::Close { name: self.name_or_all()? }));
        }
        match self.eat_one(&["FETCH", "MOVE"]) {
            Some(word) => {
                let direction = self.fetch_direction()?;
                self.eat_one(&["FROM", "IN"]);
                let cursor = self.ident()?;
                let (only_move, timeout) = (word == "MOVE", self.fetch_timeout()?);
                Ok(Some(Statement::Fetch(Fetch { cursor, direction, only_move, timeout })))
            }
            None => Ok(None),
        }
    }

    fn name_or_all(&mut self) -> Parse<Option<String>> {
        if self.eat(&["ALL"]) { Ok(None) } else { self.ident().map(Some) }
    }

    fn prepare(&mut self) -> Parse<Statement> {
        let name = self.ident()?;
        let types = match self.at_token(&Token::LParen) {
            true => self.parenthesized(|c| Ok(c.parser.parse_data_type()?))?,
            false => vec![],
        };
        self.expect(&["AS"])?;
        let statement = self.statement()?;
        match statement {
            Statement::Query(_)
            | Statement::Insert(..)
            | Statement::Update(_)
            | Statement::Delete(_) => {
                Ok(Statement::Prepare { name, types, statement: Box::new(statement) })
            }
            _ => {
                Err(Error::syntax("only SELECT, VALUES, INSERT, UPDATE and DELETE can be prepared")
                    .into())
            }
        }
    }

    fn declare(&mut self) -> Parse<Statement> {
        let name = self.ident()?;
        let (mut binary, mut scroll, mut insensitive) = (false, None, None);
        loop {
            if self.eat(&["NO", "SCROLL"]) {
                either(&mut scroll, false, "SCROLL and NO SCROLL")?;
            } else if self.eat(&["SCROLL"]) {
                either(&mut scroll, true, "SCROLL and NO SCROLL")?;
            } else if self.eat(&["BINARY"]) {
                binary = true;
            } else if let Some(word) = self.eat_one(&["INSENSITIVE", "ASENSITIVE"]) {
                // Every cursor is insensitive: its rows are those of one moment.
                either(&mut insensitive, word == "INSENSITIVE", "INSENSITIVE and ASENSITIVE")?;
            } else {
                break;
            }
        }
        self.expect(&["CURSOR"])?;
        let hold = match self.eat_one(&["WITH", "WITHOUT"]) {
            Some(word) => {
                self.expect(&["HOLD"])?;
                word == "WITH"
            }
            None => false,
        };
        self.expect(&["FOR"])?;
        let statement = match self.eat(&["SUBSCRIBE"]) {
            true => Statement::Subscribe(Box::new(self.subscribe()?)),
            false => Statement::Query(self.query()?),
        };
        let statement = Box::new(statement);
        let scroll = scroll.unwrap_or(false);
        Ok(Statement::Declare(Declare { name, binary, hold, scroll, statement }))
    }

    fn fetch_direction(&mut self) -> Parse<FetchDirection> {
        let words = [
            "NEXT", "PRIOR", "FIRST", "LAST", "ABSOLUTE", "RELATIVE", "ALL", "FORWARD", "BACKWARD",
        ];
        // A cursor may be called like a direction: `FETCH next` alone fetches from cursor "next".
        let named = self.rest().len() == 1;
        let word = if named { None } else { self.eat_one(&words) };
        Ok(match word {
            Some("NEXT") => FetchDirection::Forward(1),
            Some("PRIOR") => FetchDirection::Forward(-1),
            Some("FIRST") => FetchDirection::First,
            Some("LAST") => FetchDirection::Last,
            Some("ABSOLUTE") => FetchDirection::Absolute(self.integer()?),
            Some("RELATIVE") => FetchDirection::Relative(self.integer()?),
            Some("ALL") => FetchDirection::ForwardAll,
            Some("FORWARD") if self.eat(&["ALL"]) => FetchDirection::ForwardAll,
            Some("FORWARD") if self.at_integer() => FetchDirection::Forward(self.integer()?),
            Some("FORWARD") => FetchDirection::Forward(1),
            Some(_) if self.eat(&["ALL"]) => FetchDirection::BackwardAll,
            Some(_) if self.at_integer() => {
                FetchDirection::Forward(self.integer()?.saturating_neg())
            }
            Some(_) => FetchDirection::Forward(-1),
            None if self.at_integer() => FetchDirection::Forward(self.integer()?),
            None => FetchDirection::Forward(1),
        })
    }

    /// `WITH (timeout = '1s')`
    fn fetch_timeout(&mut self) -> Parse<Option<String>> {
        if !self.eat(&["WITH"]) {
            return Ok(None);
        }
        self.expect_token(&Token::LParen)?;
        self.expect(&["TIMEOUT"])?;
        self.eat_token(&Token::Eq);
        let timeout = self.set_value()?;
        self.expect_token(&Token::RParen)?;
        Ok(Some(timeout))
    }

    fn at_integer(&self) -> bool {
        matches!(
            self.rest().first().map(|t| &t.token),
            Some(Token::Number(..) | Token::Minus | Token::Plus)
        )
    }

    fn integer(&mut self) -> Parse<i64> {
        if !self.at_integer() {
            return self.expected("an integer");
        }
        let text = self.set_value()?;
        text.parse().map_err(|_| {
            Failure::Ours(Error::syntax(format!("syntax error at or near \"{text}\"")))
        })
    }
}

/// An option and its opposite exclude each other.
fn either(option: &mut Option<bool>, value: bool, both: &str) -> Parse<()> {
    if option.replace(value).is_some_and(|before| before != value) {
        let message = format!("cannot specify both {both}");
        return Err(Error::new(SqlState::INVALID_CURSOR_DEFINITION, message).into());
    }
    Ok(())
}
