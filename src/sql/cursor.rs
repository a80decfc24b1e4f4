//! Walks one statement's tokens: keywords compared by text, everything larger parsed by sqlparser.
//!
//! Keywords are compared by their text and not by sqlparser's list, because ours (WATERMARK, INCLUDE, ENCODE) need not be on it.
//! A quoted word is never a keyword.

use super::dialect::PgDialect;
use sqlparser::ast;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use super::fold_identifier;
use super::lexer::RECURSION_LIMIT;
use super::statement::ObjectName;
use crate::error::Error;

/// Why a statement could not be parsed: sqlparser's reason, to be reworded, or an error that is already ours.
pub(super) enum Failure {
    Sql(ParserError),
    Ours(Error),
}

impl From<ParserError> for Failure {
    fn from(error: ParserError) -> Failure {
        Failure::Sql(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Ours(error)
    }
}

pub(super) type Parse<T> = Result<T, Failure>;

static DIALECT: PgDialect = PgDialect;

/// A place in a statement's tokens.
pub(super) struct Cursor {
    pub parser: Parser<'static>,
    tokens: Vec<TokenWithSpan>,
}

impl Cursor {
    pub fn new(tokens: Vec<TokenWithSpan>) -> Self {
        let parser = Parser::new(&DIALECT)
            .with_recursion_limit(RECURSION_LIMIT)
            .with_tokens_with_locations(tokens.clone());
        Cursor { parser, tokens }
    }

    /// The tokens from here to the end.
    pub fn rest(&self) -> &[TokenWithSpan] {
        &self.tokens[self.parser.index().min(self.tokens.len())..]
    }

    /// Leaves out everything from `index` (counted from here) on and returns it as a cursor of its own.
    pub fn split_off(&mut self, index: usize) -> Self {
        let at = self.parser.index() + index;
        let tail = self.tokens.split_off(at);
        let rest = self.tokens[self.parser.index()..].to_vec();
        *self = Cursor::new(rest);
        Cursor::new(tail)
    }

    /// Leaves out these keywords, all in a row, outside of parentheses.
    pub fn take_words(&mut self, words: &[&str]) -> bool {
        let mut depth = 0usize;
        let rest = self.rest();
        let found = (0..rest.len()).find(|&at| {
            match rest[at].token {
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0
                && rest.len() >= at + words.len()
                && words.iter().zip(&rest[at..]).all(|(word, t)| is_keyword(&t.token, word))
        });
        let Some(at) = found else { return false };
        let mut rest = rest.to_vec();
        rest.drain(at..at + words.len());
        *self = Cursor::new(rest);
        true
    }

    /// Where the next token starts; `None` at the end.
    pub fn next_location(&self) -> Option<Location> {
        self.rest().first().map(|t| t.span.start)
    }

    /// Whether these keywords come next.
    pub fn at(&self, words: &[&str]) -> bool {
        let rest = self.rest();
        rest.len() >= words.len()
            && words.iter().zip(rest).all(|(word, token)| is_keyword(&token.token, word))
    }

    /// Skips these keywords if they come next, all or none.
    pub fn eat(&mut self, words: &[&str]) -> bool {
        let found = self.at(words);
        if found {
            words.iter().for_each(|_| self.parser.advance_token());
        }
        found
    }

    /// The first of the keywords that comes next, skipped.
    pub fn eat_one<'w>(&mut self, words: &[&'w str]) -> Option<&'w str> {
        words.iter().copied().find(|word| self.eat(&[word]))
    }

    pub fn expect(&mut self, words: &[&str]) -> Parse<()> {
        for word in words {
            if !self.eat(&[word]) {
                return self.expected(word);
            }
        }
        Ok(())
    }

    pub fn at_token(&self, token: &Token) -> bool {
        self.rest().first().is_some_and(|t| t.token == *token)
    }

    pub fn eat_token(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    pub fn expect_token(&mut self, token: &Token) -> Parse<()> {
        self.parser.expect_token(token)?;
        Ok(())
    }

    /// The error that something else than `what` comes next.
    pub fn expected<T>(&self, what: &str) -> Parse<T> {
        Ok(self.parser.expected_ref(what, self.parser.peek_token_ref())?)
    }

    pub fn at_end(&self) -> bool {
        self.rest().is_empty()
    }

    pub fn expect_end(&mut self) -> Parse<()> {
        if self.at_end() { Ok(()) } else { self.expected("end of statement") }
    }

    pub fn ident(&mut self) -> Parse<String> {
        Ok(fold_identifier(&self.parser.parse_identifier()?))
    }

    pub fn name(&mut self) -> Parse<ObjectName> {
        let name = self.parser.parse_object_name(false)?;
        Ok(ObjectName::try_from(&name)?)
    }

    pub fn expr(&mut self) -> Parse<ast::Expr> {
        Ok(self.parser.parse_expr()?)
    }

    pub fn query(&mut self) -> Parse<Box<ast::Query>> {
        Ok(self.parser.parse_query()?)
    }

    pub fn string(&mut self) -> Parse<String> {
        Ok(self.parser.parse_literal_string()?)
    }

    pub fn if_exists(&mut self) -> bool {
        self.eat(&["IF", "EXISTS"])
    }

    pub fn if_not_exists(&mut self) -> bool {
        self.eat(&["IF", "NOT", "EXISTS"])
    }

    /// `item, item, ...`, at least one.
    pub fn comma_separated<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Parse<T>,
    ) -> Parse<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.eat_token(&Token::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// `(item, item, ...)`, at least one.
    pub fn parenthesized<T>(&mut self, item: impl FnMut(&mut Self) -> Parse<T>) -> Parse<Vec<T>> {
        self.expect_token(&Token::LParen)?;
        let items = self.comma_separated(item)?;
        self.expect_token(&Token::RParen)?;
        Ok(items)
    }
}

/// Whether a token is this keyword (given in any case), unquoted.
pub(super) fn is_keyword(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}
