//! The loop of one session: messages in, statements run, results out.
//!
//! While anything runs, the socket is watched too, so that a client that went away cancels its statement. An error ends the
//! query string or, in the extended protocol, everything up to the next Sync. Invariant: between two messages the output
//! holds whole messages only, and after Query and Sync it ends with ReadyForQuery and is flushed.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt};
use tokio_util::sync::CancellationToken;

use super::Meter;
use super::backend::{self, Severity};
use super::copy::{copy_in, copy_out};
use super::frontend::{self, Bind, Message, Target};
use super::portal::{Format, Portal, PortalState, Rows};
use super::rows::BatchRows;
use super::socket::{OUTPUT_BYTES_FLUSH, Socket};
use crate::backends::Backend;
use crate::error::{Error, Result, SqlState};
use crate::session::{Outcome, Parsed, Prepared, Session, TransactionStatus};
use crate::sql::{Fetch, FetchDirection, Statement};
use crate::types::{TextStyle, field_of_oid};

/// Portals that one session may keep; a client that needs more has lost count of them.
const PORTALS_MAX: usize = 1_000;

/// The type oids by which a client leaves a parameter's type to us: none, and `unknown`.
const UNTYPED_OIDS: [u32; 2] = [0, 705];

/// Why the normal course stopped.
pub(super) enum Failure {
    /// The client hears of it and goes on.
    Statement(Error),
    /// The client hears of it and the connection ends.
    Fatal(Error),
    /// The client is gone.
    Closed,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Statement(error)
    }
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Failure {
        Failure::Closed
    }
}

pub(super) type Flow<T> = Result<T, Failure>;

/// How far the rows of a result went.
enum Sent {
    All { rows: u64 },
    UpToLimit,
}

pub struct Connection {
    socket: Socket,
    session: Session,
    portals: HashMap<String, Portal>,
    /// This connection among all; its `terminate` ends it.
    peer: Arc<Backend>,
    meter: Arc<dyn Meter>,
    /// After an error in the extended protocol: everything before the next Sync is skipped.
    skipping: bool,
}

impl Connection {
    pub fn new(
        socket: Socket,
        session: Session,
        peer: Arc<Backend>,
        meter: Arc<dyn Meter>,
    ) -> Connection {
        Connection { socket, session, portals: HashMap::new(), peer, meter, skipping: false }
    }

    /// Serves until the client leaves or the server shuts down. What is in the output already goes out first.
    pub async fn run(mut self) {
        let end = self.serve().await;
        // What is open is cancelled before the last words, which may wait for a slow client.
        self.portals.clear();
        self.session.end().await;
        if let Err(Failure::Fatal(error) | Failure::Statement(error)) = end {
            backend::put_error(&error, Severity::Fatal, &mut self.socket.output);
            if let Err(error) = self.socket.flush().await {
                tracing::debug!(%error, "a client was gone before its last message");
            }
        }
    }

    /// Ends with `Ok` after Terminate.
    async fn serve(&mut self) -> Flow<()> {
        self.ready().await?;
        loop {
            match self.next_message().await? {
                Ok(Message::Terminate) => return Ok(()),
                Ok(message) if self.skipping && message != Message::Sync => {}
                Ok(message) => self.dispatch(message).await?,
                Err((kind, error)) => self.refuse_message(kind, error).await?,
            }
        }
    }

    /// The next message; inside, one that is well formed but cannot be taken, with its kind.
    async fn next_message(&mut self) -> Flow<Result<Message, (u8, Error)>> {
        loop {
            if let Some(frame) = self.socket.take_frame().map_err(Failure::Fatal)? {
                let kind = frame.kind;
                return match frontend::decode(frame) {
                    Ok(message) => Ok(Ok(message)),
                    Err(error) if error.code == SqlState::PROTOCOL_VIOLATION => {
                        Err(Failure::Fatal(error))
                    }
                    Err(error) => Ok(Err((kind, error))),
                };
            }
            self.socket.release();
            tokio::select! {
                () = self.peer.terminate.cancelled() => return Err(Failure::Fatal(shutting_down())),
                error = idle_too_long(self.session.idle_limit()) => return Err(Failure::Fatal(error)),
                more = self.socket.read() => if !more? { return Err(Failure::Closed) },
            }
        }
    }

    async fn refuse_message(&mut self, kind: u8, error: Error) -> Flow<()> {
        if kind == b'Q' {
            self.report(error).await?;
            return self.ready().await;
        }
        if !self.skipping {
            self.fail_extended(error).await?;
        }
        Ok(())
    }

    async fn dispatch(&mut self, message: Message) -> Flow<()> {
        let done = match message {
            Message::Query { sql } => return self.query(&sql).await,
            Message::Sync => return self.sync().await,
            Message::Parse { name, sql, param_oids } => self.parse(name, &sql, &param_oids).await,
            Message::Bind(bind) => self.bind(bind),
            Message::Describe { target, name } => self.describe(target, &name),
            Message::Execute { portal, rows_max } => self.execute(&portal, rows_max).await,
            Message::Close { target, name } => {
                self.close(target, &name);
                Ok(())
            }
            Message::Flush => self.socket.flush().await.map_err(Failure::from),
            Message::FunctionCall => {
                self.report(Error::unsupported("function call messages are not supported")).await?;
                return self.ready().await;
            }
            Message::CopyData(_)
            | Message::CopyDone
            | Message::CopyFail { .. }
            | Message::Terminate => Ok(()),
        };
        match done {
            Err(Failure::Statement(error)) => self.fail_extended(error).await,
            // Replies wait for Sync or Flush, within bounds.
            Ok(()) if self.socket.output.len() >= OUTPUT_BYTES_FLUSH => {
                Ok(self.socket.flush().await?)
            }
            other => other,
        }
    }

    async fn fail_extended(&mut self, error: Error) -> Flow<()> {
        self.skipping = true;
        self.report(error).await?;
        Ok(self.socket.flush().await?)
    }

    /// Tells the client of an error. A transaction block is failed by it, wherever it arose.
    async fn report(&mut self, mut error: Error) -> Flow<()> {
        self.session.fail_transaction();
        self.put_notices();
        if self.peer.terminate.is_cancelled() && error.code == SqlState::QUERY_CANCELED {
            return Err(Failure::Fatal(shutting_down()));
        }
        if self.peer.take_timed_out() && error.code == SqlState::QUERY_CANCELED {
            error.message = "canceling statement due to statement timeout".to_owned();
        }
        backend::put_error(&error, Severity::Error, &mut self.socket.output);
        Ok(())
    }

    fn put_notices(&mut self) {
        for notice in self.session.take_notices() {
            backend::put_notice(&notice, &mut self.socket.output);
        }
    }

    /// Portals end with their transaction.
    fn drop_portals_of_ended_transaction(&mut self) {
        if self.session.transaction_status() != TransactionStatus::InBlock {
            self.portals.clear();
        }
    }

    async fn ready(&mut self) -> Flow<()> {
        self.put_notices();
        self.drop_portals_of_ended_transaction();
        for (name, value) in self.session.take_parameter_changes() {
            backend::put_parameter_status(&name, &value, &mut self.socket.output);
        }
        self.session.rests();
        backend::put_ready(self.session.transaction_status(), &mut self.socket.output);
        Ok(self.socket.flush().await?)
    }

    async fn sync(&mut self) -> Flow<()> {
        let succeeded = !std::mem::take(&mut self.skipping);
        self.end_pipeline(succeeded).await?;
        self.ready().await
    }

    /// Statements sent ahead of one Sync are applied together, as those of one query string. One that Sync follows at once
    /// stays by itself: then it is run again, not refused, where another client was faster.
    async fn begin_pipeline(&mut self) -> Flow<()> {
        // No client may expect an answer before it has sent Sync or Flush, so that the next message is waited for.
        while self.socket.next_kind().is_none() {
            tokio::select! {
                () = self.peer.terminate.cancelled() => return Err(Failure::Fatal(shutting_down())),
                more = self.socket.read() => if !more? { return Err(Failure::Closed) },
            }
        }
        if self.socket.next_kind() != Some(b'S') {
            self.session.begin_implicit();
        }
        Ok(())
    }

    async fn end_pipeline(&mut self, succeeded: bool) -> Flow<()> {
        if !self.session.is_implicit() {
            return Ok(());
        }
        let cancel = self.peer.terminate.child_token();
        let guard = self.peer.begin(cancel.clone());
        let ended = self.session.end_implicit(succeeded, &cancel).await;
        drop(guard);
        match ended {
            Ok(()) => Ok(()),
            Err(error) => self.report(error).await,
        }
    }

    /// A query string of any number of statements; the first error ends it.
    async fn query(&mut self, sql: &str) -> Flow<()> {
        // As in PostgreSQL, a simple query takes the place of the unnamed statement and portal.
        self.session.close_statement("");
        self.portals.remove("");
        self.end_pipeline(true).await?;
        let cancel = self.peer.terminate.child_token();
        let guard = self.peer.begin(cancel.clone());
        let done = self.query_statements(sql, &cancel).await;
        drop(guard);
        match done {
            Ok(()) => {}
            Err(Failure::Statement(error)) => self.report(error).await?,
            Err(other) => return Err(other),
        }
        self.ready().await
    }

    async fn query_statements(&mut self, sql: &str, cancel: &CancellationToken) -> Flow<()> {
        let statements = self.session.parse(sql)?;
        if statements.is_empty() {
            backend::put_empty_query(&mut self.socket.output);
        }
        if statements.len() < 2 {
            return self.query_each(statements, cancel).await;
        }
        self.session.begin_implicit();
        let done = self.query_each(statements, cancel).await;
        let ended = self.session.end_implicit(done.is_ok(), cancel).await;
        done?;
        Ok(ended?)
    }

    async fn query_each(
        &mut self,
        statements: Vec<Parsed>,
        cancel: &CancellationToken,
    ) -> Flow<()> {
        for parsed in statements {
            let began = Instant::now();
            let _limit = self.peer.limit(cancel, self.session.statement_timeout());
            let done = self.query_statement(parsed, cancel).await;
            self.meter.query_finished(began.elapsed(), sqlstate_of(&done));
            done?;
        }
        Ok(())
    }

    async fn query_statement(&mut self, parsed: Parsed, cancel: &CancellationToken) -> Flow<()> {
        if let Statement::Fetch(fetch) = &parsed.statement
            && fetch.only_move
            && self.portals.contains_key(&fetch.cursor)
        {
            return self.move_portal(fetch).await;
        }
        let prepared = prepare(&mut self.socket, &mut self.session, parsed, vec![], cancel).await?;
        if !prepared.params.is_empty() {
            return Err(
                Error::new(SqlState::UNDEFINED_PARAMETER, "there is no parameter $1").into()
            );
        }
        let outcome = start(&mut self.socket, &mut self.session, &prepared, vec![], cancel).await?;
        self.put_notices();
        match self.copied(outcome, cancel).await? {
            Outcome::Empty => backend::put_empty_query(&mut self.socket.output),
            Outcome::Command { tag } => {
                backend::put_command_complete(&tag, &mut self.socket.output)
            }
            Outcome::CopyIn(_) | Outcome::CopyOut(_) => {}
            Outcome::Rows { columns, batches, tag, binary } => {
                let formats: &[Format] = if binary { &[Format::Binary] } else { &[] };
                backend::put_row_description(&columns, formats, &mut self.socket.output);
                let mut rows = Rows { columns, batches, tag, batch: None, cancel: cancel.clone() };
                let style = self.session.text_style();
                if let Sent::All { rows } =
                    send(&mut self.socket, &mut rows, formats, &style, u64::MAX).await?
                {
                    self.put_notices();
                    backend::put_rows_complete(tag, rows, &mut self.socket.output);
                }
            }
        }
        self.drop_portals_of_ended_transaction();
        Ok(())
    }

    /// Copies where that is what a statement has come to, until it has come to its tag.
    async fn copied(&mut self, outcome: Outcome, cancel: &CancellationToken) -> Flow<Outcome> {
        match outcome {
            Outcome::CopyIn(copy) => {
                let done = copy_in(&mut self.socket, &mut self.session, *copy, cancel).await?;
                self.put_notices();
                Ok(done)
            }
            Outcome::CopyOut(copy) => {
                let style = self.session.text_style();
                let rows = copy_out(&mut self.socket, *copy, &style, cancel).await?;
                Ok(Outcome::Command { tag: format!("COPY {rows}") })
            }
            Outcome::Rows { .. } | Outcome::Command { .. } | Outcome::Empty => Ok(outcome),
        }
    }

    async fn parse(&mut self, name: String, sql: &str, param_oids: &[u32]) -> Flow<()> {
        self.session.make_room_for_statement(&name)?;
        let mut parsed = self.session.parse(sql)?;
        if parsed.len() > 1 {
            return Err(
                Error::syntax("cannot insert multiple commands into a prepared statement").into()
            );
        }
        let statement = match parsed.pop() {
            None => None,
            Some(parsed) => {
                let types = param_oids.iter().enumerate().map(|(i, oid)| param_type(i + 1, *oid));
                let types = types.collect::<Result<Vec<_>>>()?;
                let cancel = self.peer.terminate.child_token();
                let _guard = self.peer.begin(cancel.clone());
                let _limit = self.peer.limit(&cancel, self.session.statement_timeout());
                let prepared =
                    prepare(&mut self.socket, &mut self.session, parsed, types, &cancel).await?;
                Some(Arc::new(prepared))
            }
        };
        self.session.keep_statement(name, statement);
        backend::put_parse_complete(&mut self.socket.output);
        Ok(())
    }

    fn bind(&mut self, bind: Bind) -> Flow<()> {
        let name = bind.portal.clone();
        let statement = self.session.statement(&bind.statement)?;
        if !name.is_empty() && self.portals.contains_key(&name) {
            let message = format!("cursor \"{name}\" already exists");
            return Err(Error::new(SqlState("42P03"), message).into());
        }
        if self.portals.len() >= PORTALS_MAX {
            let message = format!("a transaction keeps at most {PORTALS_MAX} portals open");
            return Err(Error::new(SqlState::INSUFFICIENT_RESOURCES, message).into());
        }
        let portal = Portal::bind(statement, bind, &self.session.text_style())?;
        self.portals.insert(name, portal);
        backend::put_bind_complete(&mut self.socket.output);
        Ok(())
    }

    fn describe(&mut self, target: Target, name: &str) -> Flow<()> {
        let (statement, formats) = match target {
            Target::Statement => (self.session.statement(name)?, vec![]),
            Target::Portal if !self.portals.contains_key(name) => {
                // A cursor of DECLARE is a portal, too.
                let columns = self.session.cursor_columns(name);
                let columns = columns.ok_or_else(|| unknown_portal(name))?;
                backend::put_row_description(columns, &[], &mut self.socket.output);
                return Ok(());
            }
            Target::Portal => {
                let portal = self.portals.get(name).ok_or_else(|| unknown_portal(name))?;
                (portal.statement.clone(), portal.formats.clone())
            }
        };
        let out = &mut self.socket.output;
        if target == Target::Statement {
            let params = statement.as_ref().map_or(&[][..], |s| &s.params);
            backend::put_parameter_description(params, out);
        }
        match statement.as_ref().and_then(|s| s.columns.as_ref()) {
            Some(columns) => backend::put_row_description(columns, &formats, out),
            None => backend::put_no_data(out),
        }
        Ok(())
    }

    fn close(&mut self, target: Target, name: &str) {
        // Closing what is not there is no error.
        match target {
            Target::Statement => self.session.close_statement(name),
            Target::Portal if self.portals.remove(name).is_none() => {
                self.session.close_cursor(name)
            }
            Target::Portal => {}
        }
        backend::put_close_complete(&mut self.socket.output);
    }

    async fn execute(&mut self, name: &str, rows_max: i32) -> Flow<()> {
        self.begin_pipeline().await?;
        // The portal is out of the map while it runs: dropping this future drops what it holds.
        let mut portal = self.portals.remove(name).ok_or_else(|| unknown_portal(name))?;
        let began = Instant::now();
        let done = self.execute_portal(name, &mut portal, rows_max).await;
        if portal.statement.is_some() {
            self.meter.query_finished(began.elapsed(), sqlstate_of(&done));
        }
        done?;
        self.portals.insert(name.to_owned(), portal);
        Ok(())
    }

    async fn execute_portal(&mut self, name: &str, portal: &mut Portal, rows_max: i32) -> Flow<()> {
        let Some(prepared) = portal.statement.clone() else {
            backend::put_empty_query(&mut self.socket.output);
            return Ok(());
        };
        let limit = u64::try_from(rows_max).ok().filter(|n| *n > 0).unwrap_or(u64::MAX);
        let mut rows = match std::mem::replace(&mut portal.state, PortalState::Done) {
            PortalState::Open(rows) => rows,
            PortalState::Ready { params } => match self.begin_portal(&prepared, params).await? {
                Some(rows) => rows,
                None => return Ok(()),
            },
            PortalState::Exhausted { tag } => {
                backend::put_rows_complete(tag, 0, &mut self.socket.output);
                portal.state = PortalState::Exhausted { tag };
                return Ok(());
            }
            PortalState::Done => return Err(spent(name).into()),
        };
        let _guard = self.peer.begin(rows.cancel.clone());
        let _limit = self.peer.limit(&rows.cancel, self.session.statement_timeout());
        let style = self.session.text_style();
        let sent = send(&mut self.socket, &mut rows, &portal.formats, &style, limit).await?;
        self.put_notices();
        match sent {
            Sent::All { rows: count } => {
                portal.state = PortalState::Exhausted { tag: rows.tag };
                backend::put_rows_complete(rows.tag, count, &mut self.socket.output);
            }
            Sent::UpToLimit => {
                portal.state = PortalState::Open(rows);
                backend::put_portal_suspended(&mut self.socket.output);
            }
        }
        Ok(())
    }

    /// Starts a portal's statement. One that has no rows is done, and its end is told.
    async fn begin_portal(
        &mut self,
        prepared: &Prepared,
        params: Vec<datafusion::scalar::ScalarValue>,
    ) -> Flow<Option<Rows>> {
        let cancel = self.peer.terminate.child_token();
        let _guard = self.peer.begin(cancel.clone());
        let _limit = self.peer.limit(&cancel, self.session.statement_timeout());
        let outcome = start(&mut self.socket, &mut self.session, prepared, params, &cancel).await?;
        self.put_notices();
        match self.copied(outcome, &cancel).await? {
            Outcome::Rows { columns, batches, tag, binary: _ } => {
                return Ok(Some(Rows { columns, batches, tag, batch: None, cancel }));
            }
            Outcome::CopyIn(_) | Outcome::CopyOut(_) => {}
            Outcome::Command { tag } => {
                backend::put_command_complete(&tag, &mut self.socket.output)
            }
            Outcome::Empty => backend::put_empty_query(&mut self.socket.output),
        }
        Ok(None)
    }

    /// MOVE over a portal of the protocol, which is a cursor, too.
    async fn move_portal(&mut self, fetch: &Fetch) -> Flow<()> {
        let limit = match fetch.direction {
            FetchDirection::Forward(count) => u64::try_from(count).ok(),
            FetchDirection::ForwardAll => Some(u64::MAX),
            FetchDirection::BackwardAll
            | FetchDirection::First
            | FetchDirection::Last
            | FetchDirection::Absolute(_)
            | FetchDirection::Relative(_) => None,
        };
        let limit = limit.ok_or_else(|| {
            let message = "cursor can only scan forward";
            Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        })?;
        let name = &fetch.cursor;
        let mut portal = self.portals.remove(name).ok_or_else(|| unknown_portal(name))?;
        let moved = self.skip_rows(name, &mut portal, limit).await?;
        self.portals.insert(name.clone(), portal);
        backend::put_command_complete(&format!("MOVE {moved}"), &mut self.socket.output);
        Ok(())
    }

    async fn skip_rows(&mut self, name: &str, portal: &mut Portal, limit: u64) -> Flow<u64> {
        let mut rows = match std::mem::replace(&mut portal.state, PortalState::Done) {
            PortalState::Open(rows) => rows,
            PortalState::Ready { params } => {
                let Some(prepared) = portal.statement.clone().filter(|p| p.columns.is_some())
                else {
                    return Err(spent(name).into());
                };
                self.begin_portal(&prepared, params).await?.ok_or_else(|| spent(name))?
            }
            PortalState::Exhausted { tag } => {
                portal.state = PortalState::Exhausted { tag };
                return Ok(0);
            }
            PortalState::Done => return Err(spent(name).into()),
        };
        let cancel = rows.cancel.clone();
        let _guard = self.peer.begin(cancel.clone());
        let mut moved = 0;
        while moved < limit {
            if let Some(batch) = rows.batch.as_mut().filter(|batch| !batch.is_done()) {
                moved += batch.skip(limit - moved);
                continue;
            }
            match watch(&mut self.socket, &cancel, rows.batches.next()).await?.transpose()? {
                Some(batch) => {
                    rows.batch = Some(BatchRows::try_new(&batch, &rows.columns, &portal.formats)?);
                }
                None => {
                    portal.state = PortalState::Exhausted { tag: rows.tag };
                    return Ok(moved);
                }
            }
        }
        portal.state = PortalState::Open(rows);
        Ok(moved)
    }
}

fn sqlstate_of<T>(done: &Flow<T>) -> Option<&'static str> {
    match done {
        Ok(_) => None,
        Err(Failure::Statement(error) | Failure::Fatal(error)) => Some(error.code.0),
        Err(Failure::Closed) => Some(SqlState::CONNECTION_FAILURE.0),
    }
}

fn shutting_down() -> Error {
    Error::new(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
}

pub(super) fn canceled() -> Error {
    Error::new(SqlState::QUERY_CANCELED, "canceling statement due to user request")
}

fn unknown_portal(name: &str) -> Error {
    Error::new(SqlState::INVALID_CURSOR_NAME, format!("portal \"{name}\" does not exist"))
}

fn spent(name: &str) -> Error {
    let message = format!("portal \"{name}\" cannot be run");
    Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
}

fn param_type(number: usize, oid: u32) -> Result<Option<arrow_schema::FieldRef>> {
    if UNTYPED_OIDS.contains(&oid) {
        return Ok(None);
    }
    match field_of_oid(&format!("${number}"), oid) {
        Some(field) => Ok(Some(Arc::new(field))),
        None => {
            let message = format!("type with OID {oid} does not exist");
            Err(Error::new(SqlState::UNDEFINED_OBJECT, message))
        }
    }
}

/// Runs `work` while watching the socket: when the client goes away, `cancel` fires and the work is dropped.
pub(super) async fn watch<T>(
    socket: &mut Socket,
    cancel: &CancellationToken,
    work: impl Future<Output = T>,
) -> Flow<T> {
    // A statement that panics ends its session, whose state may be anything, after a word to the client.
    let mut work = pin!(AssertUnwindSafe(work).catch_unwind());
    tokio::select! {
        biased;
        done = &mut work => done.map_err(|_| {
            Failure::Fatal(Error::internal("a statement panicked").with_hint("This is a defect; please report it."))
        }),
        () = socket.disconnected() => {
            cancel.cancel();
            Err(Failure::Closed)
        }
    }
}

/// Comes back when a client has been idle for too long, with what it is told.
async fn idle_too_long(limit: Option<(Duration, Error)>) -> Error {
    match limit {
        None => std::future::pending().await,
        Some((limit, error)) => {
            tokio::time::sleep(limit).await;
            error
        }
    }
}

/// Planning changes nothing, so a cancel request just drops it.
async fn prepare(
    socket: &mut Socket,
    session: &mut Session,
    parsed: Parsed,
    types: Vec<Option<arrow_schema::FieldRef>>,
    cancel: &CancellationToken,
) -> Flow<Prepared> {
    let work = cancel.run_until_cancelled(session.prepare(parsed, types));
    Ok(watch(socket, cancel, work).await?.unwrap_or_else(|| Err(canceled()))?)
}

/// A cancel request goes through the session, which alone knows when a statement can still be stopped.
async fn start(
    socket: &mut Socket,
    session: &mut Session,
    prepared: &Prepared,
    params: Vec<datafusion::scalar::ScalarValue>,
    cancel: &CancellationToken,
) -> Flow<Outcome> {
    Ok(watch(socket, cancel, session.execute(prepared, params, cancel.clone())).await??)
}

/// Sends rows until there are no more or `limit` is reached. Output is flushed when it is full and whenever the stream
/// makes us wait, so that the first rows do not wait for the last.
async fn send(
    socket: &mut Socket,
    rows: &mut Rows,
    formats: &[Format],
    style: &TextStyle,
    limit: u64,
) -> Flow<Sent> {
    let mut sent = 0;
    let cancel = rows.cancel.clone();
    while sent < limit {
        // A stream that is always ready never waits, so the request is looked for here too.
        if cancel.is_cancelled() {
            return Err(canceled().into());
        }
        if let Some(batch) = rows.batch.as_mut().filter(|b| !b.is_done()) {
            sent += batch.put(limit - sent, OUTPUT_BYTES_FLUSH, style, &mut socket.output)?;
            if socket.output.len() >= OUTPUT_BYTES_FLUSH {
                match cancel.run_until_cancelled(socket.flush()).await {
                    Some(flushed) => flushed?,
                    None => return Err(canceled().into()),
                }
            }
            continue;
        }
        rows.batch = None;
        let next = match rows.batches.next().now_or_never() {
            Some(next) => next,
            None => {
                let wait = async {
                    socket.flush().await?;
                    watch(socket, &cancel, rows.batches.next()).await
                };
                match cancel.run_until_cancelled(wait).await {
                    Some(next) => next?,
                    None => return Err(canceled().into()),
                }
            }
        };
        match next.transpose()? {
            Some(batch) => rows.batch = Some(BatchRows::try_new(&batch, &rows.columns, formats)?),
            None => return Ok(Sent::All { rows: sent }),
        }
    }
    Ok(Sent::UpToLimit)
}
