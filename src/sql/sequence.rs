//! CREATE SEQUENCE, and the options of a sequence wherever they stand: ALTER SEQUENCE, identity columns.
//!
//! What the options come to is the catalog's business: here is only read what was said, each thing once.

use std::fmt;

use sqlparser::ast::DataType;
use sqlparser::tokenizer::Token;

use super::cursor::{Cursor, Parse};
use super::statement::{AlterAction, CreateSequence, ObjectName, Statement};
use super::{TEMPORARY_SCHEMA, quote_identifier};
use crate::error::{Error, SqlState};

/// The options of a sequence, as far as they were given.
#[derive(Clone, Debug, Default)]
pub struct SequenceOptions {
    pub data_type: Option<DataType>,
    pub increment: Option<i64>,
    /// `Some(None)` is NO MINVALUE.
    pub min: Option<Option<i64>>,
    /// `Some(None)` is NO MAXVALUE.
    pub max: Option<Option<i64>>,
    pub start: Option<i64>,
    /// `Some(None)` is RESTART alone.
    pub restart: Option<Option<i64>>,
    pub cache: Option<i64>,
    pub cycle: Option<bool>,
    pub owned_by: Option<OwnedBy>,
}

/// OWNED BY.
#[derive(Clone, Debug)]
pub enum OwnedBy {
    Nobody,
    Column { table: ObjectName, column: String },
}

impl Cursor {
    /// What follows CREATE [TEMPORARY] SEQUENCE.
    pub(super) fn create_sequence(&mut self, temporary: bool) -> Parse<Statement> {
        let if_not_exists = self.if_not_exists();
        let mut name = self.name()?;
        if temporary {
            name = in_temporary_schema(name)?;
        }
        let options = self.sequence_options()?;
        if options.restart.is_some() {
            return self.expected("an option of a new sequence");
        }
        let create = CreateSequence { name, if_not_exists, options };
        Ok(Statement::CreateSequence(Box::new(create)))
    }

    /// What follows ALTER SEQUENCE name: one of the forms that all relations have, or options.
    pub(super) fn alter_sequence(&mut self) -> Parse<Vec<AlterAction>> {
        if ["RENAME", "SET", "OWNER"].iter().any(|word| self.at(&[word])) {
            return Ok(vec![self.alter_action()?]);
        }
        let options = self.sequence_options()?;
        match self.at_end() && options.is_empty() {
            true => self.expected("an option of a sequence"),
            false => Ok(vec![AlterAction::Sequence(Box::new(options))]),
        }
    }

    /// Options in any order, as many as there are.
    pub(super) fn sequence_options(&mut self) -> Parse<SequenceOptions> {
        let mut options = SequenceOptions::default();
        while self.sequence_option(&mut options)? {}
        Ok(options)
    }

    /// Takes one option, where one comes next.
    pub(super) fn sequence_option(&mut self, options: &mut SequenceOptions) -> Parse<bool> {
        const WORDS: &[&str] =
            &["AS", "INCREMENT", "MINVALUE", "MAXVALUE", "START", "RESTART", "CACHE", "CYCLE"];
        if self.eat(&["OWNED", "BY"]) {
            let owner = self.owned_by()?;
            return once(&mut options.owned_by, owner);
        }
        if self.eat(&["NO"]) {
            return match self.eat_one(&["MINVALUE", "MAXVALUE", "CYCLE"]) {
                Some("MINVALUE") => once(&mut options.min, None),
                Some("MAXVALUE") => once(&mut options.max, None),
                Some(_) => once(&mut options.cycle, false),
                None => self.expected("MINVALUE, MAXVALUE or CYCLE"),
            };
        }
        match self.eat_one(WORDS) {
            Some("AS") => {
                let data_type = self.data_type()?;
                once(&mut options.data_type, data_type)
            }
            Some("INCREMENT") => {
                self.eat(&["BY"]);
                once(&mut options.increment, self.whole_number()?)
            }
            Some("MINVALUE") => once(&mut options.min, Some(self.whole_number()?)),
            Some("MAXVALUE") => once(&mut options.max, Some(self.whole_number()?)),
            Some("START") => {
                self.eat(&["WITH"]);
                once(&mut options.start, self.whole_number()?)
            }
            Some("RESTART") => {
                let given = self.eat(&["WITH"]) || self.at_number();
                let to = if given { Some(self.whole_number()?) } else { None };
                once(&mut options.restart, to)
            }
            Some("CACHE") => once(&mut options.cache, self.whole_number()?),
            Some(_) => once(&mut options.cycle, true),
            None => Ok(false),
        }
    }

    fn owned_by(&mut self) -> Parse<OwnedBy> {
        if self.eat(&["NONE"]) {
            return Ok(OwnedBy::Nobody);
        }
        let mut parts = vec![self.ident()?];
        while self.eat_token(&Token::Period) {
            parts.push(self.ident()?);
        }
        let column = parts.pop().unwrap_or_default();
        let mut parts = parts.into_iter().rev();
        let Some(name) = parts.next() else {
            return Err(Error::syntax("invalid OWNED BY option")
                .with_hint("Specify OWNED BY table.column or OWNED BY NONE.")
                .into());
        };
        let table = ObjectName { schema: parts.next(), database: parts.next(), name };
        Ok(OwnedBy::Column { table, column })
    }

    fn at_number(&self) -> bool {
        matches!(self.rest().first().map(|t| &t.token), Some(Token::Number(..) | Token::Minus))
    }

    /// A number of 64 bits with its sign.
    pub(super) fn whole_number(&mut self) -> Parse<i64> {
        let sign = if self.eat_token(&Token::Minus) { "-" } else { "" };
        let Some(Token::Number(digits, _)) = self.rest().first().map(|t| t.token.clone()) else {
            return self.expected("a number");
        };
        let text = format!("{sign}{digits}");
        let Ok(number) = text.parse() else {
            let message = format!("value \"{text}\" is out of range for type bigint");
            return Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message).into());
        };
        self.parser.advance_token();
        Ok(number)
    }
}

/// The name of what is created TEMPORARY: 42P16 where it is qualified by another schema.
pub(super) fn in_temporary_schema(name: ObjectName) -> Parse<ObjectName> {
    if name.schema.as_deref().is_some_and(|schema| schema != TEMPORARY_SCHEMA) {
        let message = "cannot create temporary relation in non-temporary schema";
        return Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, message).into());
    }
    Ok(ObjectName::qualified(TEMPORARY_SCHEMA, name.name))
}

fn once<T>(option: &mut Option<T>, value: T) -> Parse<bool> {
    match option.replace(value) {
        None => Ok(true),
        Some(_) => Err(Error::syntax("conflicting or redundant options").into()),
    }
}

impl SequenceOptions {
    pub fn is_empty(&self) -> bool {
        self.to_string().is_empty() && self.restart.is_none()
    }
}

/// As SQL, without RESTART: `INCREMENT BY 2 START WITH 5`.
impl fmt::Display for SequenceOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = |name: &str, bound: &Option<Option<i64>>| match bound {
            None => None,
            Some(None) => Some(format!("NO {name}")),
            Some(Some(n)) => Some(format!("{name} {n}")),
        };
        let owner = self.owned_by.as_ref().map(|owner| match owner {
            OwnedBy::Nobody => "OWNED BY NONE".to_owned(),
            OwnedBy::Column { table, column } => {
                format!("OWNED BY {table}.{}", quote_identifier(column))
            }
        });
        let cycle = self.cycle.map(|cycle| if cycle { "CYCLE" } else { "NO CYCLE" }.to_owned());
        let words = [
            self.data_type.as_ref().map(|t| format!("AS {t}")),
            self.start.map(|n| format!("START WITH {n}")),
            self.increment.map(|n| format!("INCREMENT BY {n}")),
            bound("MINVALUE", &self.min),
            bound("MAXVALUE", &self.max),
            self.cache.map(|n| format!("CACHE {n}")),
            cycle,
            owner,
        ];
        f.write_str(&words.into_iter().flatten().collect::<Vec<_>>().join(" "))
    }
}
