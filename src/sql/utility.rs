//! Statements recognised by their first words: transactions, settings, SHOW, EXPLAIN, DROP.
//!
//! [`Cursor::statement`] is the entry: it hands what is not ours to sqlparser and refuses with 0A000 what sqlparser
//! knows and Tidewater does not have.

use sqlparser::ast;
use sqlparser::tokenizer::Token;

use super::cursor::{Cursor, Parse};
use super::statement::*;
use crate::error::Error;

impl Cursor {
    /// One statement, up to where it ends.
    pub(super) fn statement(&mut self) -> Parse<Statement> {
        if self.at(&["CREATE"])
            && let Some(statement) = self.create()?
        {
            return Ok(statement);
        }
        if let Some(statement) = self.transaction()? {
            return Ok(statement);
        }
        if let Some(statement) = self.setting()? {
            return Ok(statement);
        }
        if let Some(statement) = self.prepared_or_cursor()? {
            return Ok(statement);
        }
        if self.eat(&["SHOW"]) {
            return self.show();
        }
        if self.at(&["DESCRIBE"]) || self.at(&["DESC"]) {
            self.parser.advance_token();
            return Ok(Statement::Show(Show::Columns { name: self.name()?, like: None }));
        }
        if self.eat(&["EXPLAIN"]) {
            return self.explain();
        }
        if self.eat(&["CANCEL"]) {
            return self.cancel();
        }
        if self.at(&["DROP"])
            && let Some(statement) = self.drop_statement()?
        {
            return Ok(statement);
        }
        if self.at(&["ALTER"])
            && let Some(statement) = self.alter()?
        {
            return Ok(statement);
        }
        if self.eat(&["COPY"]) {
            return Ok(Statement::Copy(Box::new(self.copy()?)));
        }
        if self.eat(&["REFRESH", "MATERIALIZED", "VIEW"]) {
            self.eat(&["CONCURRENTLY"]);
            let name = self.name()?;
            self.eat(&["WITH", "DATA"]);
            return Ok(Statement::Refresh { name });
        }
        if self.eat(&["SUBSCRIBE"]) {
            return Ok(Statement::Subscribe(Box::new(self.subscribe()?)));
        }
        let words = ["FLUSH", "WAIT", "UNLISTEN", "VACUUM", "ANALYZE", "ANALYSE"];
        if let Some(word) = self.eat_one(&words) {
            return self.nothing(word);
        }
        self.sqlparser_statement()
    }

    /// What stands behind the first word of a statement for which there is nothing to do.
    fn nothing(&mut self, word: &'static str) -> Parse<Statement> {
        let mut tables = vec![];
        match word {
            "UNLISTEN" if !self.eat_token(&Token::Mul) => drop(self.ident()?),
            "UNLISTEN" => {}
            "VACUUM" | "ANALYZE" | "ANALYSE" => {
                if self.at_token(&Token::LParen) {
                    self.parenthesized(|this| {
                        while !this.at_token(&Token::Comma) && !this.at_token(&Token::RParen) {
                            this.parser.next_token();
                        }
                        Ok(())
                    })?;
                }
                while self.eat_one(&["FULL", "FREEZE", "VERBOSE", "ANALYZE", "ANALYSE"]).is_some() {
                }
                if !self.at_end() {
                    tables = self.comma_separated(|this| {
                        let table = this.name()?;
                        if this.at_token(&Token::LParen) {
                            this.parenthesized(Self::ident)?;
                        }
                        Ok(table)
                    })?;
                }
            }
            _ => {}
        }
        let tag = if word == "ANALYSE" { "ANALYZE" } else { word };
        Ok(Statement::Nothing { tag, tables })
    }

    fn sqlparser_statement(&mut self) -> Parse<Statement> {
        // sqlparser wants a FROM behind an empty select list.
        if self.rest().len() == 1 && self.eat(&["SELECT"]) {
            return Ok(Statement::Query(super::parse_query("SELECT FROM (VALUES (0)) AS one")?));
        }
        let words: Vec<String> =
            self.rest().iter().take(3).map(|t| t.token.to_string().to_uppercase()).collect();
        let overriding = self.take_overriding();
        let statement = self.parser.parse_statement()?;
        Ok(match statement {
            ast::Statement::Query(query) => query_statement(query, overriding)?,
            ast::Statement::Insert(insert) => Statement::Insert(Box::new(insert), overriding),
            ast::Statement::Update(update) => Statement::Update(Box::new(update)),
            ast::Statement::Delete(delete) => Statement::Delete(Box::new(delete)),
            ast::Statement::Truncate(truncate) => Statement::Truncate(truncate_of(&truncate)?),
            statement @ ast::Statement::Comment { .. } => Statement::Comment(Box::new(statement)),
            _ => return Err(unsupported_statement(&words).into()),
        })
    }

    /// Cuts OVERRIDING ... VALUE out of an INSERT, which sqlparser does not know.
    fn take_overriding(&mut self) -> Overriding {
        if !self.at(&["INSERT"]) && !self.at(&["WITH"]) {
            return Overriding::No;
        }
        if self.take_words(&["OVERRIDING", "SYSTEM", "VALUE"]) {
            return Overriding::System;
        }
        match self.take_words(&["OVERRIDING", "USER", "VALUE"]) {
            true => Overriding::User,
            false => Overriding::No,
        }
    }

    fn transaction(&mut self) -> Parse<Option<Statement>> {
        if self.eat(&["BEGIN"]) {
            self.eat_one(&["WORK", "TRANSACTION"]);
            return Ok(Some(Statement::Begin { modes: self.transaction_modes()? }));
        }
        if self.eat(&["START", "TRANSACTION"]) {
            return Ok(Some(Statement::Begin { modes: self.transaction_modes()? }));
        }
        if self.eat_one(&["COMMIT", "END"]).is_some() {
            if self.at(&["PREPARED"]) {
                return Err(Error::unsupported("COMMIT PREPARED is not supported").into());
            }
            self.eat_one(&["WORK", "TRANSACTION"]);
            return Ok(Some(Statement::Commit { chain: self.and_chain()? }));
        }
        if self.eat_one(&["ROLLBACK", "ABORT"]).is_some() {
            if self.at(&["PREPARED"]) {
                return Err(Error::unsupported("ROLLBACK PREPARED is not supported").into());
            }
            self.eat_one(&["WORK", "TRANSACTION"]);
            if self.eat(&["TO"]) {
                self.eat(&["SAVEPOINT"]);
                return Ok(Some(Statement::RollbackTo { name: self.ident()? }));
            }
            return Ok(Some(Statement::Rollback { chain: self.and_chain()? }));
        }
        if self.eat(&["SAVEPOINT"]) {
            return Ok(Some(Statement::Savepoint { name: self.ident()? }));
        }
        if self.eat(&["RELEASE"]) {
            self.eat(&["SAVEPOINT"]);
            return Ok(Some(Statement::Release { name: self.ident()? }));
        }
        Ok(None)
    }

    fn and_chain(&mut self) -> Parse<bool> {
        if !self.eat(&["AND"]) {
            return Ok(false);
        }
        let chain = !self.eat(&["NO"]);
        self.expect(&["CHAIN"])?;
        Ok(chain)
    }

    fn transaction_modes(&mut self) -> Parse<TransactionModes> {
        let mut modes = TransactionModes::default();
        let mut after_comma = false;
        loop {
            if self.eat(&["ISOLATION", "LEVEL"]) {
                modes.isolation = Some(self.isolation_level()?);
            } else if self.eat(&["READ", "ONLY"]) {
                modes.read_only = Some(true);
            } else if self.eat(&["READ", "WRITE"]) {
                modes.read_only = Some(false);
            } else if self.eat(&["NOT", "DEFERRABLE"]) {
                modes.deferrable = Some(false);
            } else if self.eat(&["DEFERRABLE"]) {
                modes.deferrable = Some(true);
            } else if after_comma {
                return self.expected("a transaction mode");
            } else {
                return Ok(modes);
            }
            after_comma = self.eat_token(&Token::Comma);
        }
    }

    fn isolation_level(&mut self) -> Parse<IsolationLevel> {
        for (words, level) in [
            (["READ", "UNCOMMITTED"].as_slice(), IsolationLevel::ReadUncommitted),
            (&["READ", "COMMITTED"], IsolationLevel::ReadCommitted),
            (&["REPEATABLE", "READ"], IsolationLevel::RepeatableRead),
            (&["SERIALIZABLE"], IsolationLevel::Serializable),
        ] {
            if self.eat(words) {
                return Ok(level);
            }
        }
        self.expected("an isolation level")
    }

    fn setting(&mut self) -> Parse<Option<Statement>> {
        if self.eat(&["SET"]) {
            return self.set().map(Some);
        }
        if self.eat(&["RESET"]) {
            let name = match self.eat(&["ALL"]) {
                true => None,
                false => Some(self.setting_name()?),
            };
            return Ok(Some(Statement::Reset { name }));
        }
        if self.eat(&["DISCARD"]) {
            let what = match self.eat_one(&["ALL", "PLANS", "SEQUENCES", "TEMPORARY", "TEMP"]) {
                Some("ALL") => Discard::All,
                Some("PLANS") => Discard::Plans,
                Some("SEQUENCES") => Discard::Sequences,
                Some(_) => Discard::Temp,
                None => return self.expected("ALL, PLANS, SEQUENCES or TEMP"),
            };
            return Ok(Some(Statement::Discard(what)));
        }
        Ok(None)
    }

    fn set(&mut self) -> Parse<Statement> {
        if self.eat(&["TRANSACTION"]) {
            return self.set_transaction(false);
        }
        if self.eat(&["SESSION", "CHARACTERISTICS", "AS", "TRANSACTION"]) {
            return self.set_transaction(true);
        }
        // There is one role, which everybody has already.
        for (words, own) in
            [(["SESSION", "AUTHORIZATION"].as_slice(), "DEFAULT"), (&["ROLE"], "NONE")]
        {
            if self.at(&[words, &[own]].concat()) {
                self.eat(&[words, &[own]].concat());
                let name = words.join("_").to_lowercase();
                return Ok(Statement::Set(Set { name, values: None, local: false }));
            }
        }
        if self.at(&["SESSION", "AUTHORIZATION"]) || self.at(&["ROLE"]) || self.at(&["CONSTRAINTS"])
        {
            return Err(Error::unsupported(
                "SET ROLE, SESSION AUTHORIZATION and CONSTRAINTS are not supported",
            )
            .into());
        }
        let local = match self.eat_one(&["LOCAL", "SESSION"]) {
            Some("LOCAL") => true,
            Some(_) | None => false,
        };
        if self.eat(&["TIME", "ZONE"]) {
            let values = self.time_zone()?;
            return Ok(Statement::Set(Set { name: "timezone".into(), values, local }));
        }
        if self.eat(&["NAMES"]) {
            let values = match self.at_end() || self.eat(&["DEFAULT"]) {
                true => None,
                false => Some(vec![self.set_value()?]),
            };
            return Ok(Statement::Set(Set { name: "client_encoding".into(), values, local }));
        }
        let name = self.setting_name()?;
        if !self.eat_token(&Token::Eq) {
            self.expect(&["TO"])?;
        }
        let values = match self.eat(&["DEFAULT"]) {
            true => None,
            false => Some(self.comma_separated(Self::set_value)?),
        };
        Ok(Statement::Set(Set { name, values, local }))
    }

    fn set_transaction(&mut self, session: bool) -> Parse<Statement> {
        if self.at(&["SNAPSHOT"]) {
            return Err(Error::unsupported("SET TRANSACTION SNAPSHOT is not supported").into());
        }
        let modes = self.transaction_modes()?;
        match modes == TransactionModes::default() {
            true => self.expected("a transaction mode"),
            false => Ok(Statement::SetTransaction { modes, session }),
        }
    }

    /// `LOCAL` and `DEFAULT` are the default; intervals keep their text.
    fn time_zone(&mut self) -> Parse<Option<Vec<String>>> {
        if self.eat_one(&["LOCAL", "DEFAULT"]).is_some() {
            return Ok(None);
        }
        if self.at(&["INTERVAL"]) {
            let interval = self.expr()?;
            let ast::Expr::Interval(interval) = interval else {
                return self.expected("an interval");
            };
            let ast::Expr::Value(value) = *interval.value else {
                return self.expected("an interval");
            };
            let text = value.value.into_string().unwrap_or_default();
            // An interval counts to the east, and so does the name in brackets; the rest of a POSIX zone to the west.
            let west = match text.strip_prefix('-') {
                Some(distance) => format!("+{distance}"),
                None => format!("-{}", text.trim_start_matches('+')),
            };
            return Ok(Some(vec![west]));
        }
        Ok(Some(vec![self.set_value()?]))
    }

    /// `search_path`, `timezone`, `myapp.user_id`; lower case.
    fn setting_name(&mut self) -> Parse<String> {
        for (words, name) in [
            (["TIME", "ZONE"].as_slice(), "timezone"),
            (&["TRANSACTION", "ISOLATION", "LEVEL"], "transaction_isolation"),
            (&["SESSION", "AUTHORIZATION"], "session_authorization"),
        ] {
            if self.eat(words) {
                return Ok(name.into());
            }
        }
        let mut name = self.ident()?;
        while self.eat_token(&Token::Period) {
            name.push('.');
            name.push_str(&self.ident()?);
        }
        Ok(name.to_lowercase())
    }

    /// One value of SET or of an option: a string, a number with its sign, or a word, folded as PostgreSQL folds it.
    pub(super) fn set_value(&mut self) -> Parse<String> {
        let sign = match self.eat_token(&Token::Minus) {
            true => "-",
            false => {
                self.eat_token(&Token::Plus);
                ""
            }
        };
        let value = match self.rest().first().map(|t| t.token.clone()) {
            Some(Token::Number(number, _)) => format!("{sign}{number}"),
            _ if !sign.is_empty() => return self.expected("a number"),
            Some(Token::SingleQuotedString(value) | Token::EscapedStringLiteral(value)) => value,
            Some(Token::DollarQuotedString(value)) => value.value,
            Some(Token::Word(word)) => {
                let quoted = word.quote_style.is_some();
                if quoted { word.value } else { word.value.to_lowercase() }
            }
            _ => return self.expected("a value"),
        };
        self.parser.advance_token();
        Ok(value)
    }

    fn show(&mut self) -> Parse<Statement> {
        if self.eat(&["CREATE"]) {
            let Some(kind) = self.object_kind() else { return self.expected("a kind of object") };
            return Ok(Statement::Show(Show::Create { kind, name: self.name()? }));
        }
        if self.eat_one(&["COLUMNS", "FIELDS"]).is_some() {
            if self.eat_one(&["FROM", "IN"]).is_none() {
                return self.expected("FROM");
            }
            let name = self.name()?;
            return Ok(Statement::Show(Show::Columns { name, like: self.like()? }));
        }
        for (words, kind) in [
            (["TABLES"].as_slice(), ShowKind::Tables),
            (&["SOURCES"], ShowKind::Sources),
            (&["VIEWS"], ShowKind::Views),
            (&["MATERIALIZED", "VIEWS"], ShowKind::MaterializedViews),
            (&["SINKS"], ShowKind::Sinks),
            (&["SEQUENCES"], ShowKind::Sequences),
            (&["SCHEMAS"], ShowKind::Schemas),
            (&["DATABASES"], ShowKind::Databases),
            (&["JOBS"], ShowKind::Jobs),
        ] {
            if self.eat(words) {
                let in_schema =
                    !matches!(kind, ShowKind::Schemas | ShowKind::Databases | ShowKind::Jobs);
                let schema = match in_schema && self.eat_one(&["FROM", "IN"]).is_some() {
                    true => Some(self.ident()?),
                    false => None,
                };
                return Ok(Statement::Show(Show::List { kind, schema, like: self.like()? }));
            }
        }
        if self.eat(&["ALL"]) {
            return Ok(Statement::Show(Show::All));
        }
        Ok(Statement::Show(Show::Setting(self.setting_name()?)))
    }

    fn like(&mut self) -> Parse<Option<String>> {
        if self.eat(&["LIKE"]) { self.string().map(Some) } else { Ok(None) }
    }

    /// TABLE, SOURCE, MATERIALIZED VIEW ..., skipped.
    pub(super) fn object_kind(&mut self) -> Option<DropKind> {
        if self.eat(&["MATERIALIZED", "VIEW"]) {
            return Some(DropKind::MaterializedView);
        }
        match self.eat_one(&["TABLE", "SOURCE", "VIEW", "SINK", "SCHEMA", "INDEX", "SEQUENCE"])? {
            "TABLE" => Some(DropKind::Table),
            "SOURCE" => Some(DropKind::Source),
            "VIEW" => Some(DropKind::View),
            "SINK" => Some(DropKind::Sink),
            "SCHEMA" => Some(DropKind::Schema),
            "SEQUENCE" => Some(DropKind::Sequence),
            _ => Some(DropKind::Index),
        }
    }

    fn drop_statement(&mut self) -> Parse<Option<Statement>> {
        let index = self.parser.index();
        self.expect(&["DROP"])?;
        let Some(kind) = self.object_kind() else {
            while self.parser.index() > index {
                self.parser.prev_token();
            }
            return Ok(None);
        };
        if kind == DropKind::Index {
            self.eat(&["CONCURRENTLY"]);
        }
        let if_exists = self.if_exists();
        let names = self.comma_separated(Self::name)?;
        let cascade = self.eat_one(&["CASCADE", "RESTRICT"]) == Some("CASCADE");
        Ok(Some(Statement::Drop(Drop { kind, names, if_exists, cascade })))
    }

    fn cancel(&mut self) -> Parse<Statement> {
        if self.eat_one(&["JOB", "JOBS"]).is_none() {
            return self.expected("JOB");
        }
        Ok(Statement::CancelJobs(self.comma_separated(Self::job)?))
    }

    fn job(&mut self) -> Parse<u64> {
        match self.set_value()?.parse() {
            Ok(id) => Ok(id),
            Err(_) => Err(Error::syntax("a job is named by its number")
                .with_hint("SHOW JOBS tells it.")
                .into()),
        }
    }

    fn explain(&mut self) -> Parse<Statement> {
        let mut options = ExplainOptions::default();
        if self.at_token(&Token::LParen) && !self.at_parenthesized_query() {
            for (name, value) in self.parenthesized(Self::explain_option)? {
                set_explain_option(&mut options, &name, value.as_deref())?;
            }
        } else {
            options.analyze = self.eat_one(&["ANALYZE", "ANALYSE"]).is_some();
            options.verbose = self.eat(&["VERBOSE"]);
        }
        let target = match self.running_kind() {
            Some(kind) => ExplainTarget::Running { kind, name: self.name()? },
            None => ExplainTarget::Statement(Box::new(self.statement()?)),
        };
        Ok(Statement::Explain(Explain { options, target }))
    }

    /// The kind of an object that a dataflow is behind, skipped.
    fn running_kind(&mut self) -> Option<DropKind> {
        if self.eat(&["MATERIALIZED", "VIEW"]) {
            return Some(DropKind::MaterializedView);
        }
        match self.eat_one(&["SINK", "INDEX"])? {
            "SINK" => Some(DropKind::Sink),
            _ => Some(DropKind::Index),
        }
    }

    fn at_parenthesized_query(&self) -> bool {
        let inner = self.rest().iter().find(|t| t.token != Token::LParen);
        ["SELECT", "VALUES", "WITH", "TABLE"]
            .iter()
            .any(|word| inner.is_some_and(|t| super::cursor::is_keyword(&t.token, word)))
    }

    fn explain_option(&mut self) -> Parse<(String, Option<String>)> {
        let name = self.ident()?;
        let bare = self.at_token(&Token::Comma) || self.at_token(&Token::RParen);
        let value = if bare { None } else { Some(self.set_value()?.to_lowercase()) };
        Ok((name, value))
    }
}

/// A query as a statement; `WITH ... INSERT` becomes an INSERT whose source has the WITH clause.
fn query_statement(mut query: Box<ast::Query>, overriding: Overriding) -> Parse<Statement> {
    match &mut *query.body {
        ast::SetExpr::Insert(ast::Statement::Insert(insert)) => {
            if let (Some(source), Some(with)) = (&mut insert.source, query.with.take()) {
                if source.with.is_some() {
                    return Err(Error::unsupported(
                        "WITH both before and inside of INSERT is not supported",
                    )
                    .into());
                }
                source.with = Some(with);
            }
            Ok(Statement::Insert(Box::new(insert.clone()), overriding))
        }
        ast::SetExpr::Insert(_)
        | ast::SetExpr::Update(_)
        | ast::SetExpr::Delete(_)
        | ast::SetExpr::Merge(_) => {
            Err(Error::unsupported("WITH before UPDATE, DELETE or MERGE is not supported")
                .with_hint("Use a subquery instead.")
                .into())
        }
        ast::SetExpr::Select(select) if select.into.is_some() => {
            Err(Error::unsupported("SELECT INTO is not supported")
                .with_hint("Use CREATE TABLE ... AS instead.")
                .into())
        }
        _ => Ok(Statement::Query(query)),
    }
}

fn truncate_of(truncate: &ast::Truncate) -> Parse<Truncate> {
    let names = truncate.table_names.iter().map(|t| ObjectName::try_from(&t.name));
    let names = names.collect::<crate::error::Result<Vec<_>>>()?;
    let cascade = matches!(truncate.cascade, Some(ast::CascadeOption::Cascade));
    let restart_identity = matches!(truncate.identity, Some(ast::TruncateIdentityOption::Restart));
    Ok(Truncate { names, restart_identity, cascade })
}

/// 0A000 naming the statement by its first words, such as CREATE FUNCTION.
fn unsupported_statement(words: &[String]) -> Error {
    let two = matches!(
        words.first().map(String::as_str),
        Some("CREATE" | "DROP" | "ALTER" | "REFRESH" | "LOCK")
    );
    let name = if two {
        words.iter().take(2).cloned().collect::<Vec<_>>().join(" ")
    } else {
        words[0].clone()
    };
    Error::unsupported(format!("{name} is not supported"))
}

/// The value of a boolean option; absent means on.
pub(super) fn on(name: &str, value: Option<&str>) -> Parse<bool> {
    match value {
        None | Some("true" | "on" | "1") => Ok(true),
        Some("false" | "off" | "0") => Ok(false),
        Some(_) => Err(Error::syntax(format!("{name} requires a Boolean value")).into()),
    }
}

fn set_explain_option(options: &mut ExplainOptions, name: &str, value: Option<&str>) -> Parse<()> {
    match name {
        "analyze" => options.analyze = on(name, value)?,
        "verbose" => options.verbose = on(name, value)?,
        "timing" => options.timing = Some(on(name, value)?),
        "summary" => options.summary = Some(on(name, value)?),
        "format" => options.format = explain_format(value)?,
        "duration" => {
            let missing = || Error::syntax("EXPLAIN option \"duration\" requires a value");
            options.duration = Some(value.ok_or_else(missing)?.to_owned());
        }
        // What these would add or leave out is not measured; their presence changes nothing.
        "costs" | "buffers" | "settings" | "wal" => drop(on(name, value)?),
        _ => {
            let message = format!("unrecognized EXPLAIN option \"{name}\"");
            return Err(Error::syntax(message).into());
        }
    }
    Ok(())
}

fn explain_format(value: Option<&str>) -> Parse<ExplainFormat> {
    match value {
        Some("text") => Ok(ExplainFormat::Text),
        Some("json") => Ok(ExplainFormat::Json),
        Some(other) => Err(Error::new(
            crate::error::SqlState::INVALID_PARAMETER_VALUE,
            format!("unrecognized value for EXPLAIN option \"format\": \"{other}\""),
        )
        .with_hint("Formats are text and json.")
        .into()),
        None => Err(Error::syntax("EXPLAIN option \"format\" requires a value").into()),
    }
}
