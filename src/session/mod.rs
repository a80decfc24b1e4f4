//! One client's session: settings, what its statements mean, the transaction's state. Independent of the wire.
//!
//! The wire parses and binds through [`Session`] and streams what comes back; it never sees plans or the catalog. Statements by
//! kind: [`select`], [`dml`], [`ddl`] with [`create_as`], [`drops`], [`show`]; [`statements`] are those prepared under a name, [`cursors`] queries fetched piece by piece, [`subscribe`] changes as they happen; [`rules`] is what tables demand of rows; [`sequences`] number them, [`sequence_functions`] by hand; [`resolver`] tells planning what names stand for; [`settings`] are
//! SET's.

mod alter;
mod alter_columns;
mod create_as;
mod cursor_rows;
mod cursors;
mod ddl;
mod dml;
mod drops;
mod explain;
mod functions;
mod index;
mod jobs;
mod lookup;
mod reshape;
mod resolver;
mod rules;
mod select;
mod sequence_functions;
mod sequences;
mod settings;
mod show;
mod sink_into;
mod sinks;
mod statements;
mod subscribe;
mod temporary;
mod transaction;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::FieldRef;
use datafusion::scalar::ScalarValue;
use futures::stream::{BoxStream, StreamExt};
use tokio_util::sync::CancellationToken;

pub use self::dml::{CopyIn, CopyOut};
use crate::backends::Backend;
use crate::error::{Error, Result, SqlState};
use crate::query::engine::Engine;
use crate::server::Server;
use crate::sql::{Discard, RedactedOptions, Set, Statement, create_sql};
use crate::types::DateOrder;
pub use lookup::Compiled;
use select::at_leisure;
use settings::Settings;

use cursors::Cursors;
use sequence_functions::Taken;
pub use statements::Named;
use statements::Statements;
use transaction::Block;
pub use transaction::TransactionStatus;

/// How often a statement is run that finds what it reads altered meanwhile.
const RUNS_MAX: usize = 20;

/// A parsed statement with its own text; planning happens at prepare and execute.
#[derive(Clone, Debug)]
pub struct Parsed {
    pub statement: Statement,
    pub sql: Arc<str>,
    /// Characters of the query string before this statement.
    pub offset: usize,
}

impl Parsed {
    /// The text as others may see it: options, which may hold credentials, are left out.
    fn shown(&self) -> Arc<str> {
        let bare = match &self.statement {
            Statement::CreateTable(_) | Statement::CreateSource(_) | Statement::CreateSink(_) => {
                create_sql(&self.statement, RedactedOptions::default())
            }
            _ => None,
        };
        bare.map_or_else(|| self.sql.clone(), Arc::from)
    }

    /// Tells an error of analysis its place in the query string.
    fn locate(&self, error: Error) -> Error {
        let mut error = crate::sql::locate(error, &self.sql);
        error.position = error.position.map(|position| position + self.offset);
        error
    }
}

/// A statement whose parameter and result types are known.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub parsed: Parsed,
    /// The parameters' types as Arrow fields (see `crate::types` for the mapping to PostgreSQL's), `$1` first.
    pub params: Vec<FieldRef>,
    /// The result's columns under the names a client sees; `None` for statements that return no rows.
    pub columns: Option<Vec<FieldRef>>,
    /// What spares planning when it is run again.
    pub compiled: Arc<Compiled>,
}

/// What a statement came to.
pub enum Outcome {
    /// Rows, as they come. The number of rows makes the command tag: `tag` is its first word, such as "SELECT".
    Rows {
        columns: Vec<FieldRef>,
        batches: BoxStream<'static, Result<RecordBatch>>,
        tag: &'static str,
        /// In the simple protocol rows are text, except of a BINARY cursor.
        binary: bool,
    },
    /// The client is to send data, for [`Session::copy_data`] and [`Session::copy_done`].
    CopyIn(Box<CopyIn>),
    /// The client gets data instead of rows.
    CopyOut(Box<CopyOut>),
    /// The whole command tag, such as "INSERT 0 3" or "CREATE TABLE".
    Command { tag: String },
    /// An empty query string.
    Empty,
}

/// One client's session.
pub struct Session {
    server: Arc<Server>,
    engine: Engine,
    settings: Settings,
    /// The connection it serves; none for sessions inside the process.
    backend: Option<Arc<Backend>>,
    notices: Vec<Error>,
    statements: Statements,
    cursors: Cursors,
    /// Parameter values as last told to the client.
    reported: BTreeMap<&'static str, String>,
    /// The version of the settings that are reported.
    reported_version: Option<u64>,
    status: TransactionStatus,
    /// Inside a query string of several statements and no BEGIN: writes are gathered as in a block.
    implicit: bool,
    block: Block,
    /// The numbers it has taken of sequences.
    taken: Arc<Taken>,
}

impl Session {
    /// A new session for `user` on `database`; `options` are the startup packet's other parameters (application_name,
    /// client_encoding, options ...), applied as SET would. An unknown database is 3D000.
    pub fn new(
        server: Arc<Server>,
        user: &str,
        database: &str,
        options: &BTreeMap<String, String>,
    ) -> Result<Session> {
        // Drivers and tools connect to their user's database or to "postgres" when told nothing: there is one database.
        if ![crate::catalog::DATABASE, "postgres", "", user].contains(&database) {
            let message = format!("database \"{database}\" does not exist");
            let error = Error::new(SqlState::INVALID_CATALOG_NAME, message);
            return Err(error.with_hint("Connect to database \"tidewater\"."));
        }
        let engine = server.engine.clone();
        let mut session = Session {
            server,
            engine,
            settings: Settings::new(user),
            backend: None,
            notices: vec![],
            statements: Statements::default(),
            cursors: Cursors::default(),
            reported: BTreeMap::new(),
            reported_version: None,
            status: TransactionStatus::Idle,
            implicit: false,
            block: Block::default(),
            taken: Arc::default(),
        };
        for (name, value) in options {
            session.settings.set_at_startup(name, value)?;
        }
        session.settings_changed()?;
        Ok(session)
    }

    /// From now on what the session does is seen in pg_stat_activity.
    pub fn runs_in(&mut self, backend: Arc<Backend>) {
        self.backend = Some(backend);
        self.tell_name();
    }

    fn tell_name(&self) {
        if let Some(backend) = &self.backend {
            backend.is_named(self.settings.get("application_name").unwrap_or_default());
        }
    }

    /// The client has its answer: the session waits for the next statement.
    pub fn rests(&self) {
        let state = match self.status {
            TransactionStatus::Idle => "idle",
            TransactionStatus::InBlock => "idle in transaction",
            TransactionStatus::Failed => "idle in transaction (aborted)",
        };
        if let Some(backend) = &self.backend {
            backend.rests(state);
        }
    }

    /// Splits and parses a query string: one entry a statement, empty for an empty string.
    pub fn parse(&self, sql: &str) -> Result<Vec<Parsed>> {
        let parsed = at_leisure(sql.len(), || crate::sql::parse(sql))?;
        let (mut bytes, mut offset) = (0, 0);
        Ok(parsed
            .into_iter()
            .map(|p| {
                offset += sql[bytes..p.text.start].chars().count();
                bytes = p.text.start;
                Parsed { statement: p.statement, sql: Arc::from(&sql[p.text]), offset }
            })
            .collect())
    }

    /// Finds parameter and result types. `param_types` are those the client named (as Arrow fields), `None` where it
    /// left them to us.
    pub async fn prepare(
        &mut self,
        parsed: Parsed,
        param_types: Vec<Option<FieldRef>>,
    ) -> Result<Prepared> {
        let describe = || self.describe(&parsed.statement, &param_types);
        let mut described = at_leisure(parsed.sql.len(), describe);
        for _ in 1..RUNS_MAX {
            // A relation was altered between the look at the catalog and the one at its rows.
            match &described {
                Err(error) if error.code == SqlState::SERIALIZATION_FAILURE => {
                    described = at_leisure(parsed.sql.len(), describe);
                }
                _ => break,
            }
        }
        match described {
            Ok((params, columns)) => {
                Ok(Prepared { parsed, params, columns, compiled: Arc::default() })
            }
            Err(error) => Err(parsed.locate(error)),
        }
    }

    fn describe(
        &self,
        statement: &Statement,
        param_types: &[Option<FieldRef>],
    ) -> Result<(Vec<FieldRef>, Option<Vec<FieldRef>>)> {
        self.check_transaction(statement)?;
        Ok(match statement {
            Statement::Query(query) => self.describe_query(query, param_types)?,
            Statement::Insert(insert, overriding) => {
                self.describe_insert(insert, *overriding, param_types)?
            }
            Statement::Update(update) => self.describe_update(update, param_types)?,
            Statement::Delete(delete) => self.describe_delete(delete, param_types)?,
            Statement::Show(show) => (vec![], Some(show::columns(show))),
            Statement::Explain(_) => (vec![], Some(vec![show::text_field("QUERY PLAN")])),
            Statement::Execute { name, args } => self.describe_execute(name, args, param_types)?,
            Statement::Declare(declare) => {
                (self.describe(&declare.statement, param_types)?.0, None)
            }
            Statement::Fetch(fetch) => (vec![], self.describe_fetch(fetch)),
            Statement::Subscribe(subscribe) => {
                self.describe_subscription(subscribe, param_types)?
            }
            _ => (vec![], None),
        })
    }

    /// Runs a statement. `cancel` stops planning, execution and the returned stream with 57014.
    pub async fn execute(
        &mut self,
        prepared: &Prepared,
        params: Vec<ScalarValue>,
        cancel: CancellationToken,
    ) -> Result<Outcome> {
        if let Some(backend) = &self.backend {
            backend.active(prepared.parsed.shown());
        }
        let outcome = self.dispatch_again(prepared, params, &cancel).await;
        if outcome.is_err() {
            self.fail_transaction();
        }
        outcome.map_err(|error| prepared.parsed.locate(error))
    }

    /// Runs statements one after the other to their end, for callers inside the process that want no rows.
    pub async fn run_script(&mut self, sql: &str) -> Result<()> {
        for parsed in self.parse(sql)? {
            let prepared = self.prepare(parsed, vec![]).await?;
            let outcome = self.execute(&prepared, vec![], CancellationToken::new()).await?;
            if let Outcome::Rows { mut batches, .. } = outcome {
                while let Some(batch) = batches.next().await {
                    batch?;
                }
            }
        }
        Ok(())
    }

    /// A statement that finds a relation altered since it was planned is run again: outside of a block it never fails with
    /// 40001.
    async fn dispatch_again(
        &mut self,
        prepared: &Prepared,
        params: Vec<ScalarValue>,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        use Statement as S;
        let again = !self.is_in_block()
            && matches!(
                prepared.parsed.statement,
                S::Query(_)
                    | S::Insert(..)
                    | S::Update(_)
                    | S::Delete(_)
                    | S::Truncate(_)
                    | S::Drop(_)
                    | S::CreateMaterializedView(_)
                    | S::CreateIndex(_)
                    | S::Subscribe(_)
                    | S::Execute { .. }
            );
        for _ in 1..if again { RUNS_MAX } else { 1 } {
            match self.dispatch(prepared, params.clone(), cancel).await {
                Err(error) if error.code == SqlState::SERIALIZATION_FAILURE => {}
                outcome => return outcome,
            }
        }
        self.dispatch(prepared, params, cancel).await
    }

    async fn dispatch(
        &mut self,
        prepared: &Prepared,
        params: Vec<ScalarValue>,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        let statement = &prepared.parsed.statement;
        self.check_transaction(statement)?;
        if self.settings.apply_requested(self.status != TransactionStatus::Idle) {
            self.settings_changed()?;
        }
        if let Statement::Execute { name, args } = statement {
            return self.execute_named(name, args, prepared, params, cancel).await;
        }
        if self.implicit && self.needs_own_writes(statement) {
            self.apply_block(cancel).await?;
        }
        if self.is_in_block() {
            self.note_reads(statement);
        }
        match statement {
            Statement::Query(query) => self.select(query, prepared, params, cancel).await,
            Statement::Insert(insert, over) => {
                self.insert(insert, *over, prepared, params, cancel).await
            }
            Statement::Update(update) => self.update(update, prepared, params, cancel).await,
            Statement::Delete(delete) => self.delete(delete, prepared, params, cancel).await,
            Statement::Truncate(truncate) => self.truncate(truncate, cancel).await,
            Statement::Copy(copy) => self.copy(copy, cancel).await,
            Statement::Subscribe(subscribe) => {
                self.subscribe(subscribe, prepared, params, cancel).await
            }
            Statement::CreateTable(_)
            | Statement::CreateSource(_)
            | Statement::CreateView(_)
            | Statement::CreateMaterializedView(_)
            | Statement::CreateIndex(_)
            | Statement::CreateSink(_)
            | Statement::CreateSequence(_)
            | Statement::CreateSchema { .. }
            | Statement::Drop(_)
            | Statement::Alter(_)
            | Statement::Comment(_) => self.change_catalog(statement, cancel).await,
            Statement::Show(show) => self.show(show),
            Statement::Explain(explain) => self.explain(explain, cancel).await,
            Statement::Set(set) => self.set(set),
            Statement::Reset { name } => self.reset(name.as_deref(), "RESET"),
            Statement::SetTransaction { modes, session } => self.set_transaction(*modes, *session),
            Statement::Begin { modes } => self.begin(&prepared.parsed.sql, *modes),
            Statement::Commit { chain } => self.commit(*chain, cancel).await,
            Statement::Rollback { chain } => self.rollback(*chain),
            Statement::Savepoint { name } => self.savepoint(name),
            Statement::Release { name } => self.release(name),
            Statement::RollbackTo { name } => self.rollback_to(name),
            Statement::Discard(kind) => self.discard(*kind),
            Statement::Prepare { name, types, statement } => {
                self.prepare_named(name, types, statement, &prepared.parsed)
            }
            Statement::Deallocate { name } => self.deallocate(name.as_deref()),
            Statement::Declare(declare) => self.declare(declare, prepared, params, cancel).await,
            Statement::Fetch(fetch) => self.fetch(fetch, prepared, cancel).await,
            Statement::Close { name } => self.close(name.as_deref()),
            Statement::CancelJobs(ids) => self.cancel_jobs(ids).await,
            Statement::Refresh { name } => self.refresh(name, cancel).await,
            Statement::Nothing { tag, tables } => self.nothing(tag, tables),
            Statement::Execute { .. } => Err(unsupported(&prepared.parsed.sql)),
        }
    }

    fn nothing(&self, tag: &'static str, tables: &[crate::sql::ObjectName]) -> Result<Outcome> {
        if tag == "VACUUM" && self.is_in_block() {
            let message = "VACUUM cannot run inside a transaction block";
            return Err(Error::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
        }
        let (catalog, path) = (self.server.catalog.snapshot(), self.settings.search_path());
        for table in tables {
            catalog.relation(&path, table)?;
        }
        command(tag)
    }

    /// A setting, or all of them, as the session began with.
    fn reset(&mut self, name: Option<&str>, tag: &str) -> Result<Outcome> {
        self.settings.reset(name)?;
        self.settings_changed()?;
        command(tag)
    }

    fn discard(&mut self, kind: Discard) -> Result<Outcome> {
        match kind {
            Discard::All => return self.discard_all(),
            Discard::Sequences => self.taken.forget(),
            Discard::Plans | Discard::Temp => {}
        }
        command(format!("DISCARD {}", discarded(kind)))
    }

    fn discard_all(&mut self) -> Result<Outcome> {
        const TAG: &str = "DISCARD ALL";
        if self.status != TransactionStatus::Idle || self.implicit {
            let message = format!("{TAG} cannot run inside a transaction block");
            return Err(Error::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
        }
        self.cursors.clear();
        self.statements.clear();
        self.taken.forget();
        self.reset(None, TAG)
    }

    async fn change_catalog(
        &mut self,
        statement: &Statement,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        match statement {
            Statement::CreateTable(table) => self.create_table(table, statement, cancel).await,
            Statement::CreateSource(source) => self.create_source(source, statement, cancel).await,
            Statement::CreateView(view) => self.create_view(view, statement).await,
            Statement::CreateMaterializedView(view) => {
                self.create_materialized_view(view, statement, cancel).await
            }
            Statement::CreateIndex(index) => self.create_index(index, cancel).await,
            Statement::CreateSink(sink) => self.create_sink(sink, statement, cancel).await,
            Statement::CreateSequence(sequence) => self.create_sequence(sequence).await,
            Statement::CreateSchema { name, if_not_exists } => {
                self.create_schema(name, *if_not_exists).await
            }
            Statement::Drop(drop) => self.drop_objects(drop).await,
            Statement::Alter(alter) => self.alter(alter, cancel).await,
            Statement::Comment(comment) => self.comment(comment).await,
            _ => Err(Error::internal("not a change of the catalog")),
        }
    }

    /// Notices and warnings raised since the last call, as far as client_min_messages lets them through.
    pub fn take_notices(&mut self) -> Vec<Error> {
        let mut notices = std::mem::take(&mut self.notices);
        if !notices.is_empty() {
            match self.settings.get("client_min_messages").as_deref() {
                Some("warning") => notices.retain(|notice| notice.code.is_warning()),
                Some("error") => notices.clear(),
                _ => {}
            }
        }
        notices
    }

    /// (name, value) of every parameter that PostgreSQL 15 reports, at the start and whenever one has changed since
    /// the last call: server_version, server_encoding, client_encoding, DateStyle, TimeZone, integer_datetimes ...
    pub fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        let mut changes = vec![];
        let version = Some(self.settings.version());
        if std::mem::replace(&mut self.reported_version, version) == version {
            return changes;
        }
        for (name, value) in self.settings.reported() {
            if self.reported.get(name) != Some(&value) {
                changes.push((name.to_owned(), value.clone()));
                self.reported.insert(name, value);
            }
        }
        changes
    }

    /// How values are written as text: TimeZone, DateStyle, IntervalStyle, bytea_output, extra_float_digits.
    pub fn text_style(&self) -> crate::types::TextStyle {
        self.settings.text_style()
    }

    /// How long a statement may run; `None`: as long as it takes.
    pub fn statement_timeout(&self) -> Option<Duration> {
        self.settings.statement_timeout()
    }

    /// SET LOCAL outside of a transaction block changes nothing, and says so.
    fn set(&mut self, set: &Set) -> Result<Outcome> {
        if set.local && self.status == TransactionStatus::Idle {
            let message = "SET LOCAL can only be used in transaction blocks";
            self.notices.push(Error::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
            return command("SET");
        }
        match set.local {
            true => self.settings.set_local(&set.name, set.values.as_deref())?,
            false => self.settings.set(&set.name, set.values.as_deref())?,
        }
        self.settings_changed()?;
        command("SET")
    }

    fn settings_changed(&mut self) -> Result<()> {
        self.tell_name();
        self.engine = match self.settings.get("timezone") {
            Some(zone) if zone != "UTC" => self.server.engine.with_time_zone(&zone),
            _ => self.server.engine.clone(),
        };
        let date_style = self.settings.get("DateStyle").unwrap_or_default();
        if DateOrder::of_style(&date_style) != DateOrder::Mdy {
            self.engine = self.engine.with_date_style(&date_style);
        }
        Ok(())
    }
}

fn command(tag: impl Into<String>) -> Result<Outcome> {
    Ok(Outcome::Command { tag: tag.into() })
}

fn discarded(kind: Discard) -> &'static str {
    match kind {
        Discard::All => "ALL",
        Discard::Plans => "PLANS",
        Discard::Sequences => "SEQUENCES",
        Discard::Temp => "TEMP",
    }
}

/// Names a refused statement by its words, without the names in it.
fn unsupported(sql: &str) -> Error {
    const SECOND_WORDS: &[&str] =
        &["TABLE", "VIEW", "MATERIALIZED", "SOURCE", "SINK", "SCHEMA", "SAVEPOINT", "TO"];
    let mut words = sql.split_whitespace().map(str::to_uppercase);
    let first = words.next().unwrap_or_default();
    let second = words.next().filter(|word| SECOND_WORDS.contains(&word.as_str()));
    let statement = [Some(first), second].into_iter().flatten().collect::<Vec<_>>().join(" ");
    Error::unsupported(format!("{statement} is not supported yet"))
}
