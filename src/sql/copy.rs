//! COPY: what is copied, which way, and the options in both of PostgreSQL's spellings, checked as far as no catalog is needed.

use sqlparser::ast;
use sqlparser::tokenizer::Token;

use super::cursor::{Cursor, Parse};
use super::statement::{ObjectName, Subscribe};
use crate::error::{Error, Result, SqlState};

/// COPY subject FROM STDIN, or TO STDOUT.
#[derive(Clone, Debug)]
pub struct Copy {
    pub subject: CopySubject,
    /// COPY ... TO; otherwise FROM.
    pub to: bool,
    pub options: CopyOptions,
}

#[derive(Clone, Debug)]
pub enum CopySubject {
    /// No columns means all of them.
    Relation {
        name: ObjectName,
        columns: Vec<String>,
    },
    Query(Box<ast::Query>),
    Subscribe(Box<Subscribe>),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CopyFormat {
    #[default]
    Text,
    Csv,
    Binary,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CopyHeader {
    #[default]
    None,
    /// The first line has names, which nobody reads.
    Names,
    /// The first line has the columns' names in their order.
    Match,
}

/// Columns that an option is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CopyColumns {
    #[default]
    None,
    All,
    Named(Vec<String>),
}

/// The options of a COPY with their defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOptions {
    pub format: CopyFormat,
    pub delimiter: u8,
    /// How NULL is written.
    pub null: String,
    pub header: CopyHeader,
    pub quote: u8,
    pub escape: u8,
    pub force_quote: CopyColumns,
    pub force_not_null: Vec<String>,
    pub force_null: Vec<String>,
}

/// The options as they were given.
#[derive(Default)]
struct Given {
    format: Option<String>,
    delimiter: Option<String>,
    null: Option<String>,
    header: Option<String>,
    quote: Option<String>,
    escape: Option<String>,
    encoding: Option<String>,
    freeze: Option<String>,
    force_quote: Option<CopyColumns>,
    force_not_null: Option<CopyColumns>,
    force_null: Option<CopyColumns>,
}

impl Cursor {
    /// What follows COPY.
    pub(super) fn copy(&mut self) -> Parse<Copy> {
        let mut given = Given::default();
        if self.eat(&["BINARY"]) {
            given.format = Some("binary".to_owned());
        }
        let subject = match self.eat_token(&Token::LParen) {
            true => {
                let subject = match self.eat(&["SUBSCRIBE"]) {
                    true => CopySubject::Subscribe(Box::new(self.subscribe()?)),
                    false => CopySubject::Query(self.query()?),
                };
                self.expect_token(&Token::RParen)?;
                subject
            }
            false => {
                let name = self.name()?;
                let columns = match self.at_token(&Token::LParen) {
                    true => self.parenthesized(Self::ident)?,
                    false => vec![],
                };
                CopySubject::Relation { name, columns }
            }
        };
        let to = match self.eat_one(&["FROM", "TO"]) {
            Some(word) => word == "TO",
            None => return self.expected("FROM or TO"),
        };
        if !to && !matches!(subject, CopySubject::Relation { .. }) {
            return self.expected("TO");
        }
        if self.eat_one(&["STDIN", "STDOUT"]).is_none() {
            let program = self.eat(&["PROGRAM"]);
            self.string()?;
            let what = if program { "a program" } else { "a file" };
            let way = if to { "to" } else { "from" };
            return Err(Error::unsupported(format!("COPY {way} {what} is not supported"))
                .with_hint("Use COPY FROM STDIN or TO STDOUT, or psql's \\copy command.")
                .into());
        }
        self.eat(&["WITH"]);
        if self.eat_token(&Token::LParen) {
            loop {
                self.copy_option(&mut given)?;
                if !self.eat_token(&Token::Comma) {
                    break;
                }
            }
            self.expect_token(&Token::RParen)?;
        } else {
            while !self.at_end() && !self.at(&["WHERE"]) {
                self.old_copy_option(&mut given)?;
            }
        }
        if self.at(&["WHERE"]) {
            return Err(Error::unsupported("WHERE in COPY is not supported")
                .with_hint("Copy into another table, then INSERT ... SELECT from it.")
                .into());
        }
        Ok(Copy { subject, to, options: given.checked(to)? })
    }

    /// `name value` in parentheses.
    fn copy_option(&mut self, given: &mut Given) -> Parse<()> {
        let name = self.ident()?;
        match name.as_str() {
            "force_quote" => set(&mut given.force_quote, self.copy_columns(true)?),
            "force_not_null" => set(&mut given.force_not_null, self.copy_columns(true)?),
            "force_null" => set(&mut given.force_null, self.copy_columns(true)?),
            "format" => set(&mut given.format, self.copy_value()?),
            "delimiter" => set(&mut given.delimiter, self.copy_value()?),
            "null" => set(&mut given.null, self.copy_value()?),
            "quote" => set(&mut given.quote, self.copy_value()?),
            "escape" => set(&mut given.escape, self.copy_value()?),
            "encoding" => set(&mut given.encoding, self.copy_value()?),
            "header" => set(&mut given.header, self.copy_flag()?),
            "freeze" => set(&mut given.freeze, self.copy_flag()?),
            _ => {
                return Err(Error::syntax(format!("option \"{name}\" not recognized")).into());
            }
        }?;
        Ok(())
    }

    /// The options of PostgreSQL before 9.0, which many scripts still have.
    fn old_copy_option(&mut self, given: &mut Given) -> Parse<()> {
        if self.eat(&["BINARY"]) {
            return Ok(set(&mut given.format, "binary".to_owned())?);
        }
        if self.eat(&["CSV"]) {
            return Ok(set(&mut given.format, "csv".to_owned())?);
        }
        if self.eat(&["HEADER"]) {
            return Ok(set(&mut given.header, "true".to_owned())?);
        }
        if self.eat(&["FREEZE"]) {
            return Ok(set(&mut given.freeze, "true".to_owned())?);
        }
        if self.eat(&["FORCE", "QUOTE"]) {
            return Ok(set(&mut given.force_quote, self.copy_columns(false)?)?);
        }
        if self.eat(&["FORCE", "NOT", "NULL"]) {
            return Ok(set(&mut given.force_not_null, self.copy_columns(false)?)?);
        }
        if self.eat(&["FORCE", "NULL"]) {
            return Ok(set(&mut given.force_null, self.copy_columns(false)?)?);
        }
        let words = ["DELIMITERS", "DELIMITER", "NULL", "QUOTE", "ESCAPE", "ENCODING"];
        let Some(word) = self.eat_one(&words) else { return self.expected("an option of COPY") };
        self.eat(&["AS"]);
        let value = self.string()?;
        Ok(match word {
            "NULL" => set(&mut given.null, value),
            "QUOTE" => set(&mut given.quote, value),
            "ESCAPE" => set(&mut given.escape, value),
            "ENCODING" => set(&mut given.encoding, value),
            _ => set(&mut given.delimiter, value),
        }?)
    }

    /// `*` or a list of names.
    fn copy_columns(&mut self, parentheses: bool) -> Parse<CopyColumns> {
        if self.eat_token(&Token::Mul) {
            return Ok(CopyColumns::All);
        }
        Ok(CopyColumns::Named(match parentheses {
            true => self.parenthesized(Self::ident)?,
            false => self.comma_separated(Self::ident)?,
        }))
    }

    fn copy_value(&mut self) -> Parse<String> {
        match self.rest().first().map(|t| t.token.clone()) {
            Some(Token::Word(_)) => self.ident(),
            _ => self.string(),
        }
    }

    /// A boolean, which may be left out, or a word that stands in its place.
    fn copy_flag(&mut self) -> Parse<String> {
        match self.rest().first().map(|t| t.token.clone()) {
            Some(Token::Comma | Token::RParen) | None => Ok("true".to_owned()),
            Some(Token::Number(number, _)) => {
                self.parser.advance_token();
                Ok(number)
            }
            _ => Ok(self.copy_value()?.to_lowercase()),
        }
    }
}

fn set<T>(option: &mut Option<T>, value: T) -> Result<()> {
    match option.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::syntax("conflicting or redundant options")),
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// The one byte of an option.
fn one_byte(name: &str, value: &str) -> Result<u8> {
    match value.as_bytes() {
        [byte] => Ok(*byte),
        _ => {
            let message = format!("COPY {name} must be a single one-byte character");
            Err(Error::unsupported(message))
        }
    }
}

fn flag(name: &str, value: &str) -> Result<bool> {
    match value {
        "true" | "on" | "1" => Ok(true),
        "false" | "off" | "0" => Ok(false),
        _ => Err(Error::syntax(format!("{name} requires a Boolean value"))),
    }
}

impl Given {
    fn checked(self, to: bool) -> Result<CopyOptions> {
        let format = match self.format.as_deref().map(str::to_lowercase).as_deref() {
            None | Some("text") => CopyFormat::Text,
            Some("csv") => CopyFormat::Csv,
            Some("binary") => CopyFormat::Binary,
            Some(other) => return Err(invalid(format!("COPY format \"{other}\" not recognized"))),
        };
        if let Some(freeze) = &self.freeze {
            flag("freeze", freeze)?;
        }
        self.check_encoding()?;
        let header = match self.header.as_deref() {
            None => CopyHeader::None,
            Some("match") if to => {
                return Err(Error::unsupported("cannot use \"match\" with HEADER in COPY TO"));
            }
            Some("match") => CopyHeader::Match,
            Some(other) => match flag("header", other) {
                Ok(true) => CopyHeader::Names,
                Ok(false) => CopyHeader::None,
                Err(_) => {
                    return Err(Error::syntax("header requires a Boolean value or \"match\""));
                }
            },
        };
        self.check_format(format, header, to)?;
        let csv = format == CopyFormat::Csv;
        let byte = |name: &str, value: &Option<String>, default: u8| {
            value.as_deref().map_or(Ok(default), |value| one_byte(name, value))
        };
        let delimiter = byte("delimiter", &self.delimiter, if csv { b',' } else { b'\t' })?;
        let quote = byte("quote", &self.quote, b'"')?;
        let escape = byte("escape", &self.escape, quote)?;
        let null = self.null.unwrap_or_else(|| if csv { "" } else { "\\N" }.to_owned());
        check_bytes(csv, delimiter, quote, &null)?;
        let named = |columns: Option<CopyColumns>, name: &str| match columns {
            None | Some(CopyColumns::None) => Ok(vec![]),
            Some(CopyColumns::Named(names)) => Ok(names),
            Some(CopyColumns::All) => {
                let message =
                    format!("argument to option \"{name}\" must be a list of column names");
                Err(invalid(message))
            }
        };
        Ok(CopyOptions {
            format,
            delimiter,
            null,
            header,
            quote,
            escape,
            force_quote: self.force_quote.unwrap_or_default(),
            force_not_null: named(self.force_not_null, "force_not_null")?,
            force_null: named(self.force_null, "force_null")?,
        })
    }

    fn check_encoding(&self) -> Result<()> {
        let Some(encoding) = &self.encoding else { return Ok(()) };
        let name: String = encoding.chars().filter(char::is_ascii_alphanumeric).collect();
        match name.to_lowercase().as_str() {
            "utf8" | "unicode" => Ok(()),
            _ => {
                Err(Error::unsupported(format!("COPY in encoding \"{encoding}\" is not supported"))
                    .with_hint("Convert the data to UTF8, for example with iconv."))
            }
        }
    }

    /// Options that a format or direction does not have.
    fn check_format(&self, format: CopyFormat, header: CopyHeader, to: bool) -> Result<()> {
        if format == CopyFormat::Binary {
            for (name, given) in [("DELIMITER", &self.delimiter), ("NULL", &self.null)] {
                if given.is_some() {
                    return Err(Error::syntax(format!("cannot specify {name} in BINARY mode")));
                }
            }
            if header != CopyHeader::None {
                return Err(Error::unsupported("cannot specify HEADER in BINARY mode"));
            }
        }
        if format != CopyFormat::Csv {
            let csv_only = [
                ("quote", self.quote.is_some()),
                ("escape", self.escape.is_some()),
                ("force quote", self.force_quote.is_some()),
                ("force not null", self.force_not_null.is_some()),
                ("force null", self.force_null.is_some()),
            ];
            if let Some((name, _)) = csv_only.iter().find(|(_, given)| *given) {
                let message = format!("COPY {name} available only in CSV mode");
                return Err(Error::unsupported(message));
            }
        }
        let message = match () {
            () if !to && self.force_quote.is_some() => {
                "COPY force quote only available using COPY TO"
            }
            () if to && self.force_not_null.is_some() => {
                "COPY force not null only available using COPY FROM"
            }
            () if to && self.force_null.is_some() => {
                "COPY force null only available using COPY FROM"
            }
            () => return Ok(()),
        };
        Err(Error::unsupported(message))
    }
}

/// Delimiter, quote and NULL can be told apart from each other and from data.
fn check_bytes(csv: bool, delimiter: u8, quote: u8, null: &str) -> Result<()> {
    if matches!(delimiter, b'\n' | b'\r') {
        return Err(invalid("COPY delimiter cannot be newline or carriage return"));
    }
    if null.contains(['\n', '\r']) {
        return Err(invalid("COPY null representation cannot use newline or carriage return"));
    }
    let is_data = matches!(delimiter, b'\\' | b'.' | b'a'..=b'z' | b'0'..=b'9');
    if !csv && is_data {
        return Err(invalid(format!("COPY delimiter cannot be \"{}\"", delimiter as char)));
    }
    if csv && delimiter == quote {
        return Err(invalid("COPY delimiter and quote must be different"));
    }
    if null.as_bytes().contains(&delimiter) {
        return Err(Error::unsupported("COPY delimiter must not appear in the NULL specification"));
    }
    if csv && null.as_bytes().contains(&quote) {
        let message = "CSV quote character must not appear in the NULL specification";
        return Err(Error::unsupported(message));
    }
    Ok(())
}
