//! CREATE TABLE, SOURCE, VIEW, MATERIALIZED VIEW, SINK and SCHEMA.
//!
//! RisingWave's order of clauses is `(columns) INCLUDE ... WITH (...) FORMAT ... ENCODE ...`; the clauses are taken in any
//! order, each once. Constraints that are not enforced are refused by name: accepting and ignoring one would lie.

use sqlparser::ast::{self, ColumnOption, DataType};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::cursor::{Cursor, Parse, is_keyword};
use super::fold_identifier;
use super::sequence::{SequenceOptions, in_temporary_schema};
use super::statement::*;
use super::types;
use crate::error::{Error, SqlState};

/// Everything in the parentheses after a table's or source's name.
#[derive(Default)]
pub(super) struct Body {
    pub(super) columns: Vec<ColumnDef>,
    pub(super) primary_key: Vec<String>,
    pub(super) primary_key_name: Option<String>,
    pub(super) checks: Vec<CheckConstraint>,
    pub(super) uniques: Vec<UniqueConstraint>,
    like: Vec<Like>,
    watermark: Option<Watermark>,
}

/// The clauses after the parentheses.
#[derive(Default)]
struct Clauses {
    append_only: bool,
    include: Vec<IncludeColumn>,
    options: Option<Options>,
    format: Option<FormatEncode>,
}

impl Cursor {
    /// The CREATE statements that are ours; `None` leaves the cursor at CREATE for sqlparser.
    pub(super) fn create(&mut self) -> Parse<Option<Statement>> {
        if let Some(statement) = self.create_temporary()? {
            return Ok(Some(statement));
        }
        // Every table is kept the same way.
        if self.eat(&["CREATE", "UNLOGGED", "TABLE"]) {
            return self.create_table().map(Some);
        }
        if self.eat(&["CREATE", "OR", "REPLACE", "MATERIALIZED", "VIEW"]) {
            return self.create_materialized_view(true).map(Some);
        }
        if self.eat(&["CREATE", "OR", "REPLACE", "VIEW"]) {
            return self.create_view(true).map(Some);
        }
        if self.eat(&["CREATE", "MATERIALIZED", "VIEW"]) {
            return self.create_materialized_view(false).map(Some);
        }
        if self.eat(&["CREATE", "VIEW"]) {
            return self.create_view(false).map(Some);
        }
        if self.eat(&["CREATE", "TABLE"]) {
            return self.create_table().map(Some);
        }
        if self.eat(&["CREATE", "SOURCE"]) {
            return self.create_source().map(Some);
        }
        if self.eat(&["CREATE", "SINK"]) {
            return self.create_sink().map(Some);
        }
        if self.eat(&["CREATE", "INDEX"]) {
            return self.create_index(false).map(Some);
        }
        if self.eat(&["CREATE", "UNIQUE", "INDEX"]) {
            return self.create_index(true).map(Some);
        }
        if self.eat(&["CREATE", "SEQUENCE"]) {
            return self.create_sequence(false).map(Some);
        }
        if self.eat(&["CREATE", "SCHEMA"]) {
            let if_not_exists = self.if_not_exists();
            let name = self.ident()?;
            if self.eat(&["AUTHORIZATION"]) {
                self.ident()?;
            }
            return Ok(Some(Statement::CreateSchema { name, if_not_exists }));
        }
        Ok(None)
    }

    fn create_temporary(&mut self) -> Parse<Option<Statement>> {
        let words: &[&[&str]] =
            &[&["TEMP"], &["TEMPORARY"], &["LOCAL", "TEMP"], &["LOCAL", "TEMPORARY"]];
        for word in words {
            let table = [&["CREATE"], *word, &["TABLE"]].concat();
            if self.eat(&table) {
                let mut statement = self.create_table()?;
                if let Statement::CreateTable(table) = &mut statement {
                    table.name = in_temporary_schema(table.name.clone())?;
                }
                return Ok(Some(statement));
            }
            if self.eat(&[&["CREATE"], *word, &["SEQUENCE"]].concat()) {
                return self.create_sequence(true).map(Some);
            }
            let other = [&["CREATE"], *word].concat();
            if self.at(&other) || self.at(&[&["CREATE", "OR", "REPLACE"], *word].concat()) {
                return Err(Error::unsupported("only tables and sequences can be temporary").into());
            }
        }
        Ok(None)
    }

    fn create_table(&mut self) -> Parse<Statement> {
        let no_data = self.take_suffix(&["WITH", "NO", "DATA"]);
        self.take_suffix(&["WITH", "DATA"]);
        let if_not_exists = self.if_not_exists();
        let name = self.name()?;
        let named_only = self.at_token(&Token::LParen) && self.at_bare_name_list();
        let mut column_names = vec![];
        let body = match named_only {
            true => {
                column_names = self.parenthesized(Self::ident)?;
                Body::default()
            }
            false => self.body()?,
        };
        if self.eat(&["ON", "COMMIT"]) && !self.eat(&["PRESERVE", "ROWS"]) {
            return Err(Error::unsupported("only ON COMMIT PRESERVE ROWS is supported").into());
        }
        let clauses = self.clauses()?;
        let query = if self.eat(&["AS"]) {
            if !body.columns.is_empty() {
                return Err(Error::unsupported(
                    "CREATE TABLE AS with column types is not supported",
                )
                .with_hint("Give column names only, and cast in the query.")
                .into());
            }
            Some(self.query()?)
        } else if named_only {
            return self.expected("AS");
        } else {
            None
        };
        let mut options = clauses.options.unwrap_or_default();
        options.drop_storage_parameters();
        Ok(Statement::CreateTable(Box::new(CreateTable {
            name,
            if_not_exists,
            columns: body.columns,
            primary_key: body.primary_key,
            primary_key_name: body.primary_key_name,
            checks: body.checks,
            uniques: body.uniques,
            like: body.like,
            append_only: clauses.append_only,
            watermark: body.watermark,
            include: clauses.include,
            options,
            format: clauses.format,
            query,
            no_data,
            column_names,
        })))
    }

    /// Whether `(a, b, c)` without types comes next, as in CREATE TABLE t (a, b) AS.
    fn at_bare_name_list(&self) -> bool {
        let mut tokens = self.rest().iter().skip(1);
        loop {
            match (tokens.next().map(|t| &t.token), tokens.next().map(|t| &t.token)) {
                (Some(Token::Word(_)), Some(Token::Comma)) => {}
                (Some(Token::Word(_)), Some(Token::RParen)) => return true,
                _ => return false,
            }
        }
    }

    fn create_source(&mut self) -> Parse<Statement> {
        let if_not_exists = self.if_not_exists();
        let name = self.name()?;
        let body = self.body()?;
        let clauses = self.clauses()?;
        let refused = match () {
            () if !body.checks.is_empty() => Some("CHECK constraints are"),
            () if !body.uniques.is_empty() => Some("UNIQUE constraints are"),
            () if !body.like.is_empty() => Some("LIKE is"),
            () if body.columns.iter().any(|c| c.generated.is_some()) => {
                Some("generated columns are")
            }
            () => None,
        };
        if let Some(what) = refused {
            return Err(Error::unsupported(format!("{what} not supported in CREATE SOURCE")).into());
        }
        if body.columns.iter().any(|c| c.default.is_some()) {
            return Err(Error::unsupported("DEFAULT is not supported for columns of a source")
                .with_hint("Use coalesce() in a view over the source, or CREATE TABLE.")
                .into());
        }
        Ok(Statement::CreateSource(Box::new(CreateSource {
            name,
            if_not_exists,
            columns: body.columns,
            primary_key: body.primary_key,
            watermark: body.watermark,
            include: clauses.include,
            options: clauses.options.unwrap_or_default(),
            format: clauses.format,
        })))
    }

    fn create_view(&mut self, or_replace: bool) -> Parse<Statement> {
        // PostgreSQL has one or the other.
        let if_not_exists = !or_replace && self.if_not_exists();
        let name = self.name()?;
        let columns = self.column_names()?;
        if self.at(&["WITH"]) {
            return Err(Error::unsupported("options of views are not supported").into());
        }
        self.expect(&["AS"])?;
        let query = self.query()?;
        Ok(Statement::CreateView(Box::new(CreateView {
            name,
            or_replace,
            if_not_exists,
            columns,
            query,
        })))
    }

    fn create_materialized_view(&mut self, or_replace: bool) -> Parse<Statement> {
        let emit_on_window_close = self.take_emit_on_window_close();
        self.take_with_data()?;
        let if_not_exists = self.if_not_exists();
        let name = self.name()?;
        let columns = self.column_names()?;
        let options = if self.eat(&["WITH"]) { self.options()? } else { Options::default() };
        self.expect(&["AS"])?;
        let query = self.query()?;
        Ok(Statement::CreateMaterializedView(Box::new(CreateMaterializedView {
            name,
            or_replace,
            if_not_exists,
            columns,
            query,
            options,
            emit_on_window_close,
        })))
    }

    fn create_sink(&mut self) -> Parse<Statement> {
        // The query of a sink is followed by WITH (...), which sqlparser would take for table hints.
        let mut tail = top_level_with(self.rest()).map(|at| self.split_off(at));
        let emit_on_window_close = self.take_emit_on_window_close();
        let if_not_exists = self.if_not_exists();
        let name = self.name()?;
        let into = match self.eat(&["INTO"]) {
            true => Some((self.name()?, self.column_names()?)),
            false => None,
        };
        let input = match self.eat(&["FROM"]) {
            true => SinkInput::Relation(self.name()?),
            false => {
                self.expect(&["AS"])?;
                SinkInput::Query(self.query()?)
            }
        };
        if let Some(tail) = tail.take() {
            self.expect_end()?;
            *self = tail;
        }
        let clauses = self.clauses()?;
        let options = match clauses.options {
            Some(options) => options,
            None if into.is_some() => Options::default(),
            None => return self.expected("WITH"),
        };
        let format = clauses.format;
        Ok(Statement::CreateSink(Box::new(CreateSink {
            name,
            if_not_exists,
            into,
            input,
            options,
            format,
            emit_on_window_close,
        })))
    }

    /// `(a, b)` if it comes next.
    fn column_names(&mut self) -> Parse<Vec<String>> {
        if self.at_token(&Token::LParen) { self.parenthesized(Self::ident) } else { Ok(vec![]) }
    }

    /// Cuts EMIT ON WINDOW CLOSE off the end, where sqlparser would take EMIT for a table's alias.
    fn take_emit_on_window_close(&mut self) -> bool {
        self.take_suffix(&["EMIT", "ON", "WINDOW", "CLOSE"])
    }

    /// Cuts PostgreSQL's WITH DATA off the end; WITH NO DATA is refused since a view here is never unpopulated.
    fn take_with_data(&mut self) -> Parse<()> {
        if self.take_suffix(&["WITH", "NO", "DATA"]) {
            return Err(Error::unsupported("WITH NO DATA is not supported")
                .with_hint("A materialized view is filled when it is created.")
                .into());
        }
        self.take_suffix(&["WITH", "DATA"]);
        Ok(())
    }

    fn take_suffix(&mut self, words: &[&str]) -> bool {
        let rest = self.rest();
        let Some(at) = rest.len().checked_sub(words.len()) else { return false };
        let found =
            words.iter().zip(&rest[at..]).all(|(word, token)| is_keyword(&token.token, word));
        if found {
            self.split_off(at);
        }
        found
    }

    /// `(column type options, PRIMARY KEY (...), WATERMARK FOR ..., ...)`; may be absent.
    fn body(&mut self) -> Parse<Body> {
        let mut body = Body::default();
        if !self.eat_token(&Token::LParen) || self.eat_token(&Token::RParen) {
            return Ok(body);
        }
        loop {
            self.body_item(&mut body)?;
            if !self.eat_token(&Token::Comma) {
                break;
            }
        }
        self.expect_token(&Token::RParen)?;
        check_columns(&mut body)?;
        Ok(body)
    }

    pub(super) fn body_item(&mut self, body: &mut Body) -> Parse<()> {
        if self.eat(&["CONSTRAINT"]) {
            let name = self.ident()?;
            return self.table_constraint(body, Some(name));
        }
        if self.at_table_constraint() {
            return self.table_constraint(body, None);
        }
        if self.eat(&["WATERMARK", "FOR"]) {
            if body.watermark.is_some() {
                return Err(Error::syntax("more than one watermark is declared").into());
            }
            let column = self.ident()?;
            self.expect(&["AS"])?;
            let expr = self.expr()?;
            body.watermark = Some(Watermark { column, expr });
            return Ok(());
        }
        self.column_def(body)
    }

    pub(super) fn at_table_constraint(&self) -> bool {
        let parenthesis = self.rest().get(1).is_some_and(|t| t.token == Token::LParen);
        self.at(&["PRIMARY", "KEY"])
            || self.at(&["FOREIGN", "KEY"])
            || self.at(&["EXCLUDE", "USING"])
            || self.at(&["LIKE"])
            || (parenthesis
                && (self.at(&["UNIQUE"]) || self.at(&["CHECK"]) || self.at(&["EXCLUDE"])))
            || self.at(&["UNIQUE", "NULLS"])
            || self.at(&["UNIQUE", "USING"])
    }

    fn table_constraint(&mut self, body: &mut Body, name: Option<String>) -> Parse<()> {
        if self.eat(&["PRIMARY", "KEY"]) {
            if !body.primary_key.is_empty() {
                return Err(second_primary_key().into());
            }
            body.primary_key = self.parenthesized(Self::ident)?;
            body.primary_key_name = name;
            return Ok(());
        }
        if self.eat(&["CHECK"]) {
            self.expect_token(&Token::LParen)?;
            let expr = self.expr()?;
            self.expect_token(&Token::RParen)?;
            body.checks.push(CheckConstraint { name, expr });
            return Ok(());
        }
        if self.eat(&["UNIQUE"]) {
            let nulls_distinct = self.nulls_distinct()?;
            if self.at(&["USING"]) {
                return Err(Error::unsupported("UNIQUE USING INDEX is not supported").into());
            }
            let columns = self.parenthesized(Self::ident)?;
            self.index_parameters()?;
            body.uniques.push(UniqueConstraint { name, columns, nulls_distinct });
            return Ok(());
        }
        for (word, name) in [("FOREIGN", "FOREIGN KEY"), ("EXCLUDE", "EXCLUDE")] {
            if self.at(&[word]) {
                return Err(refused_constraint(name).into());
            }
        }
        if self.eat(&["LIKE"]) {
            let before = body.columns.len();
            let like = Like { before, ..self.like_table()? };
            body.like.push(like);
            return Ok(());
        }
        self.expected("a constraint")
    }

    /// The table behind LIKE, and what is taken of it besides names, types and NOT NULL.
    fn like_table(&mut self) -> Parse<Like> {
        const KINDS: &[&str] = &[
            "ALL",
            "DEFAULTS",
            "CONSTRAINTS",
            "GENERATED",
            "IDENTITY",
            "INDEXES",
            "COMMENTS",
            "COMPRESSION",
            "STATISTICS",
            "STORAGE",
        ];
        let table = self.name()?;
        let mut like = Like {
            table,
            before: 0,
            defaults: false,
            constraints: false,
            generated: false,
            identity: false,
            indexes: false,
        };
        while let Some(word) = self.eat_one(&["INCLUDING", "EXCLUDING"]) {
            let including = word == "INCLUDING";
            let Some(kind) = self.eat_one(KINDS) else { return self.expected("a kind of option") };
            let all = kind == "ALL";
            for (name, option) in [
                ("DEFAULTS", &mut like.defaults),
                ("CONSTRAINTS", &mut like.constraints),
                ("GENERATED", &mut like.generated),
                ("IDENTITY", &mut like.identity),
                ("INDEXES", &mut like.indexes),
            ] {
                if all || kind == name {
                    *option = including;
                }
            }
        }
        Ok(like)
    }

    fn column_def(&mut self, body: &mut Body) -> Parse<()> {
        let name = self.ident()?;
        let (data_type, serial) = base_of_serial(self.data_type()?);
        let generated = serial.then_some(Generated::Serial);
        let mut column = ColumnDef { name, data_type, nullable: !serial, default: None, generated };
        loop {
            let name = if self.eat(&["CONSTRAINT"]) { Some(self.ident()?) } else { None };
            if self.at(&["AS"]) {
                return Err(Error::unsupported("AS (expression) is not supported")
                    .with_hint("Write GENERATED ALWAYS AS (expression) STORED.")
                    .into());
            }
            if let Some(identity) = self.identity()? {
                column.generated = Some(identity);
                column.nullable = false;
                continue;
            }
            if self.eat(&["UNIQUE"]) {
                let nulls_distinct = self.nulls_distinct()?;
                self.index_parameters()?;
                let columns = vec![column.name.clone()];
                body.uniques.push(UniqueConstraint { name, columns, nulls_distinct });
                continue;
            }
            let Some(option) = self.parser.parse_optional_column_option()? else { break };
            self.column_option(body, &mut column, name, option)?;
        }
        check_generated(&column)?;
        body.columns.push(column);
        Ok(())
    }

    /// GENERATED ... AS IDENTITY, with its options in any order.
    pub(super) fn identity(&mut self) -> Parse<Option<Generated>> {
        let always = self.eat(&["GENERATED", "ALWAYS", "AS", "IDENTITY"]);
        if !always && !self.eat(&["GENERATED", "BY", "DEFAULT", "AS", "IDENTITY"]) {
            return Ok(None);
        }
        let mut options = SequenceOptions::default();
        if self.eat_token(&Token::LParen) {
            options = self.sequence_options()?;
            self.expect_token(&Token::RParen)?;
        }
        if options.data_type.is_some() || options.restart.is_some() || options.owned_by.is_some() {
            return Err(Error::syntax("invalid option of an identity column").into());
        }
        Ok(Some(Generated::Identity { always, options: Box::new(options) }))
    }

    fn column_option(
        &self,
        body: &mut Body,
        column: &mut ColumnDef,
        name: Option<String>,
        option: ColumnOption,
    ) -> Parse<()> {
        match option {
            ColumnOption::Null => {}
            ColumnOption::NotNull => column.nullable = false,
            ColumnOption::Default(expr) => column.default = Some(expr),
            ColumnOption::PrimaryKey(_) if !body.primary_key.is_empty() => {
                return Err(second_primary_key().into());
            }
            ColumnOption::PrimaryKey(_) => {
                body.primary_key.push(column.name.clone());
                body.primary_key_name = name;
            }
            ColumnOption::Check(check) => {
                body.checks.push(CheckConstraint { name, expr: *check.expr });
            }
            ColumnOption::ForeignKey(_) => return Err(refused_constraint("FOREIGN KEY").into()),
            ColumnOption::Generated { generation_expr: Some(expr), .. } => {
                column.generated = Some(Generated::Stored(Box::new(expr)));
            }
            ColumnOption::Collation(_) => {
                return Err(Error::unsupported("COLLATE of columns is not supported")
                    .with_hint("Text is compared byte by byte, as with collation \"C\".")
                    .into());
            }
            other => {
                let message = format!("column option {other} is not supported");
                return Err(Error::unsupported(message).into());
            }
        }
        Ok(())
    }

    /// A type in a column definition.
    pub(super) fn data_type(&mut self) -> Parse<DataType> {
        Ok(types::data_type(&mut self.parser)?)
    }

    /// APPEND ONLY, INCLUDE, WITH, FORMAT ... ENCODE in any order.
    fn clauses(&mut self) -> Parse<Clauses> {
        let mut clauses = Clauses::default();
        loop {
            if self.eat(&["APPEND", "ONLY"]) {
                clauses.append_only = true;
            } else if self.eat(&["INCLUDE"]) {
                let column = self.include()?;
                clauses.include.push(column);
            } else if self.at(&["ON", "CONFLICT"]) {
                return Err(Error::unsupported("ON CONFLICT in CREATE TABLE is not supported")
                    .with_hint("A row replaces the row with the same primary key when it comes from a connector.")
                    .into());
            } else if clauses.options.is_none() && self.eat(&["WITH"]) {
                clauses.options = Some(self.options()?);
            } else if clauses.format.is_none() && self.eat(&["FORMAT"]) {
                clauses.format = Some(self.format_encode()?);
            } else {
                return Ok(clauses);
            }
        }
    }

    fn include(&mut self) -> Parse<IncludeColumn> {
        const KINDS: &[&str] =
            &["KEY", "PARTITION", "OFFSET", "TIMESTAMP", "HEADERS", "HEADER", "PAYLOAD"];
        let kind = match self.eat_one(KINDS) {
            Some("KEY") => IncludeKind::Key,
            Some("PARTITION") => IncludeKind::Partition,
            Some("OFFSET") => IncludeKind::Offset,
            Some("TIMESTAMP") => IncludeKind::Timestamp,
            Some("PAYLOAD") => IncludeKind::Payload,
            Some(_) => {
                let one = matches!(
                    self.rest().first().map(|t| &t.token),
                    Some(Token::SingleQuotedString(_))
                );
                let header = if one { Some(self.string()?) } else { None };
                IncludeKind::Header(header)
            }
            None => return self.expected("key, partition, offset, timestamp, header or payload"),
        };
        let name = if self.eat(&["AS"]) { Some(self.ident()?) } else { None };
        Ok(IncludeColumn { kind, name })
    }

    fn format_encode(&mut self) -> Parse<FormatEncode> {
        let format = self.ident()?.to_uppercase();
        self.expect(&["ENCODE"])?;
        let encode = self.ident()?.to_uppercase();
        let options =
            if self.at_token(&Token::LParen) { self.options()? } else { Options::default() };
        let key_encode = match self.eat(&["KEY", "ENCODE"]) {
            true => Some(self.ident()?.to_uppercase()),
            false => None,
        };
        Ok(FormatEncode { format, encode, options, key_encode })
    }

    /// `(key = value, ...)`; a key given twice is 42601.
    pub(super) fn options(&mut self) -> Parse<Options> {
        self.expect_token(&Token::LParen)?;
        let mut options = Options::default();
        if self.eat_token(&Token::RParen) {
            return Ok(options);
        }
        loop {
            let key = self.option_key()?;
            self.expect_token(&Token::Eq)?;
            let value = self.option_value()?;
            if options.get(&key).is_some() {
                return Err(Error::syntax(format!("option \"{key}\" is given twice")).into());
            }
            options.0.push((key, value));
            if !self.eat_token(&Token::Comma) || self.at_token(&Token::RParen) {
                break;
            }
        }
        self.expect_token(&Token::RParen)?;
        Ok(options)
    }

    /// `connector`, `properties.bootstrap.server`, `"Quoted"`, `'quoted.key'`.
    fn option_key(&mut self) -> Parse<String> {
        let mut key = String::new();
        loop {
            match self.rest().first().map(|t| t.token.clone()) {
                Some(Token::Word(word)) => {
                    let part = ast::Ident {
                        value: word.value,
                        quote_style: word.quote_style,
                        span: Span::empty(),
                    };
                    key.push_str(&fold_identifier(&part));
                }
                Some(Token::SingleQuotedString(part)) => key.push_str(&part),
                _ => return self.expected("the name of an option"),
            }
            self.parser.advance_token();
            if !self.eat_token(&Token::Period) {
                return Ok(key);
            }
            key.push('.');
        }
    }

    /// A string, number or bare word, as text; a bare word keeps its case.
    fn option_value(&mut self) -> Parse<String> {
        let sign = if self.eat_token(&Token::Minus) { "-" } else { "" };
        let value = match self.rest().first().map(|t| t.token.clone()) {
            Some(Token::Number(number, _)) => format!("{sign}{number}"),
            _ if !sign.is_empty() => return self.expected("a number"),
            Some(Token::Word(word))
                if word.keyword != Keyword::SECRET || word.quote_style.is_some() =>
            {
                word.value
            }
            Some(Token::Word(_)) => {
                return Err(Error::unsupported("secret objects are not supported")
                    .with_hint("Give the value itself; credentials are never shown again.")
                    .into());
            }
            Some(
                Token::SingleQuotedString(value)
                | Token::EscapedStringLiteral(value)
                | Token::UnicodeStringLiteral(value),
            ) => value,
            Some(Token::DollarQuotedString(value)) => value.value,
            _ => return self.expected("a value"),
        };
        self.parser.advance_token();
        Ok(value)
    }
}

/// Where `WITH (` starts outside of all parentheses; a common table expression has a name between the two.
fn top_level_with(tokens: &[TokenWithSpan]) -> Option<usize> {
    let opens = |at: usize| tokens.get(at).is_some_and(|t| t.token == Token::LParen);
    let mut depth = 0usize;
    for (i, token) in tokens.iter().enumerate() {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            word if depth == 0 && is_keyword(word, "WITH") && opens(i + 1) => return Some(i),
            _ => {}
        }
    }
    None
}

/// Columns are distinct, key columns exist and become NOT NULL.
fn check_columns(body: &mut Body) -> Parse<()> {
    for (i, column) in body.columns.iter().enumerate() {
        if body.columns[..i].iter().any(|c| c.name == column.name) {
            let message = format!("column \"{}\" specified more than once", column.name);
            return Err(Error::new(SqlState::DUPLICATE_COLUMN, message).into());
        }
    }
    for (i, key) in body.primary_key.iter().enumerate() {
        if body.primary_key[..i].contains(key) {
            let message = format!("column \"{key}\" appears twice in primary key constraint");
            return Err(Error::new(SqlState::DUPLICATE_COLUMN, message).into());
        }
        // A key column that is not declared may still come from an INCLUDE clause: checked where the schema is made.
        if let Some(column) = body.columns.iter_mut().find(|c| c.name == *key) {
            column.nullable = false;
        }
    }
    Ok(())
}

/// The integer type behind serial and its kin.
fn base_of_serial(data_type: DataType) -> (DataType, bool) {
    let name = match &data_type {
        DataType::Custom(name, modifiers) if modifiers.is_empty() => name.to_string(),
        _ => return (data_type, false),
    };
    match name.to_lowercase().as_str() {
        "serial" | "serial4" => (DataType::Integer(None), true),
        "bigserial" | "serial8" => (DataType::BigInt(None), true),
        "smallserial" | "serial2" => (DataType::SmallInt(None), true),
        _ => (data_type, false),
    }
}

/// A column has one source of values.
fn check_generated(column: &ColumnDef) -> Parse<()> {
    let (Some(generated), Some(_)) = (&column.generated, &column.default) else { return Ok(()) };
    let what = match generated {
        Generated::Stored(_) => "both default and generation expression",
        Generated::Identity { .. } => "both default and identity",
        Generated::Serial => "multiple default values",
    };
    Err(Error::syntax(format!("{what} specified for column \"{}\"", column.name)).into())
}

fn second_primary_key() -> Error {
    Error::new(SqlState::INVALID_TABLE_DEFINITION, "multiple primary keys are not allowed")
}

fn refused_constraint(name: &str) -> Error {
    let hint = "Leave the constraint out; a materialized view can list the rows that violate it.";
    Error::unsupported(format!("{name} constraints are not supported")).with_hint(hint)
}
