//! Cursors: DECLARE, FETCH, MOVE and CLOSE, and what becomes of cursors when their transaction ends.
//!
//! A cursor's rows are those of the moment at which its transaction reads; own later writes do not show. It ends with its
//! transaction, except WITH HOLD: then COMMIT draws the rows that are left. A cursor over a subscription has no last row.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow_schema::FieldRef;
use datafusion::scalar::ScalarValue;
use futures::stream::{self, StreamExt};
use tokio::sync::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::cursor_rows::CursorRows;
use super::select::named;
use super::settings::duration;
use super::{Outcome, Prepared, Session, command};
use crate::catalog::system::CursorRow;
use crate::error::{Error, Result, SqlState};
use crate::memory::Holder;
use crate::query::errors::canceled;
use crate::sql::{Declare, Fetch, Statement};

/// Cursors that one session may keep open; a client that needs more has lost count of them.
const CURSORS_MAX: usize = 1_000;

struct Cursor {
    columns: Vec<FieldRef>,
    rows: Arc<Mutex<CursorRows>>,
    declared: Declare,
    sql: Arc<str>,
    made: SystemTime,
    /// Ascending in the order of declaration.
    number: u64,
    /// The transaction that it was declared in goes on.
    of_block: bool,
    /// Stops the query when the cursor goes.
    _query: DropGuard,
}

/// A session's open cursors, by name.
#[derive(Default)]
pub(super) struct Cursors {
    open: BTreeMap<String, Cursor>,
    /// The number of the next one.
    next: u64,
}

impl Cursors {
    fn get(&self, name: &str) -> Result<&Cursor> {
        self.open.get(name).ok_or_else(|| {
            let message = format!("cursor \"{name}\" does not exist");
            Error::new(SqlState::INVALID_CURSOR_NAME, message)
        })
    }

    fn check_new(&self, name: &str) -> Result<()> {
        if self.open.contains_key(name) {
            let message = format!("cursor \"{name}\" already exists");
            return Err(Error::new(SqlState::DUPLICATE_CURSOR, message));
        }
        if self.open.len() >= CURSORS_MAX {
            let message = format!("a session keeps at most {CURSORS_MAX} cursors open");
            return Err(Error::new(SqlState::INSUFFICIENT_RESOURCES, message));
        }
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.open.clear();
    }

    /// What a savepoint remembers of the cursors there are.
    pub(super) fn mark(&self) -> u64 {
        self.next
    }

    /// Closes those declared since a mark was made.
    pub(super) fn close_since(&mut self, mark: u64) {
        self.open.retain(|_, cursor| cursor.number < mark);
    }

    /// The transaction has ended; of its cursors those WITH HOLD outlive a commit.
    pub(super) fn end_block(&mut self, committed: bool) {
        self.open.retain(|_, cursor| !cursor.of_block || (committed && cursor.declared.hold));
        self.open.values_mut().for_each(|cursor| cursor.of_block = false);
    }

    /// For pg_cursors.
    pub(super) fn rows(&self) -> Vec<CursorRow> {
        let row = |(name, cursor): (&String, &Cursor)| CursorRow {
            name: name.clone(),
            statement: cursor.sql.to_string(),
            is_holdable: cursor.declared.hold,
            is_binary: cursor.declared.binary,
            is_scrollable: cursor.declared.scroll,
            made: cursor.made,
        };
        self.open.iter().map(row).collect()
    }
}

impl Session {
    /// The columns of an open cursor, which the protocol describes as it does portals.
    pub fn cursor_columns(&self, name: &str) -> Option<&[FieldRef]> {
        self.cursors.open.get(name).map(|cursor| &cursor.columns[..])
    }

    pub(super) async fn declare(
        &mut self,
        declare: &Declare,
        prepared: &Prepared,
        params: Vec<ScalarValue>,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        if !self.is_in_block() && !declare.hold {
            let message = "DECLARE CURSOR can only be used in transaction blocks";
            return Err(Error::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
        }
        self.cursors.check_new(&declare.name)?;
        let query = CancellationToken::new();
        let held = self.server.memory.reserve(Holder::Session, "the cursor");
        let (columns, mut rows) = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(canceled()),
            begun = self.begin_cursor(declare, prepared, params, &query, held) => begun?,
        };
        if !self.is_in_block() {
            // Its transaction is this statement alone.
            finish(&mut rows, cancel).await?;
        }
        let number = self.cursors.next;
        self.cursors.next += 1;
        let cursor = Cursor {
            columns,
            rows: Arc::new(Mutex::new(rows)),
            declared: declare.clone(),
            sql: prepared.parsed.shown(),
            made: SystemTime::now(),
            number,
            of_block: self.is_in_block(),
            _query: query.drop_guard(),
        };
        self.cursors.open.insert(declare.name.clone(), cursor);
        command("DECLARE CURSOR")
    }

    async fn begin_cursor(
        &self,
        declare: &Declare,
        prepared: &Prepared,
        params: Vec<ScalarValue>,
        query: &CancellationToken,
        held: crate::memory::Reservation,
    ) -> Result<(Vec<FieldRef>, CursorRows)> {
        let types: Vec<Option<FieldRef>> = prepared.params.iter().cloned().map(Some).collect();
        let select = match declare.statement.as_ref() {
            Statement::Query(select) => select,
            Statement::Subscribe(_) if declare.scroll => {
                let message = "a cursor over a subscription cannot SCROLL";
                return Err(Error::unsupported(message));
            }
            Statement::Subscribe(subscribe) => {
                let types = &prepared.params;
                let begun = self.begin_subscription(subscribe, types, params, query).await?;
                return Ok((begun.columns.clone(), CursorRows::of_changes(begun, held)));
            }
            _ => return Err(Error::internal("a cursor is for a query")),
        };
        let planned = self.plan_batch(select, &types)?;
        let names = planned.names.clone();
        let rows = self.run(planned, params, query).await?;
        let columns = named(rows.schema.fields(), &names);
        Ok((columns, CursorRows::new(rows.batches, declare.scroll, held)))
    }

    pub(super) async fn fetch(
        &mut self,
        fetch: &Fetch,
        prepared: &Prepared,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        let cursor = self.cursors.get(&fetch.cursor)?;
        let (columns, binary) = (cursor.columns.clone(), cursor.declared.binary);
        super::select::check_types(prepared, &columns)?;
        let mut rows = cursor.rows.clone().try_lock_owned().map_err(|_| in_use(&fetch.cursor))?;
        rows.begin_fetch(fetch.timeout.as_deref().map(timeout_of).transpose()?);
        let skip = fetch.only_move;
        let turn = async {
            let mut motion = rows.turn(fetch.direction).await?;
            let mut skipped = 0;
            if skip {
                while let Some(batch) = rows.step(&mut motion).await? {
                    skipped += batch.num_rows();
                }
            }
            Ok::<_, Error>((motion, skipped))
        };
        let (motion, skipped) = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(canceled()),
            turned = turn => turned?,
        };
        if skip {
            return command(format!("MOVE {skipped}"));
        }
        let batches = stream::unfold(Some((rows, motion)), |state| async move {
            let (mut rows, mut motion) = state?;
            match rows.step(&mut motion).await.transpose()? {
                Ok(batch) => Some((Ok(batch), Some((rows, motion)))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(Outcome::Rows { columns, batches: batches.boxed(), tag: "FETCH", binary })
    }

    pub(super) fn describe_fetch(&self, fetch: &Fetch) -> Option<Vec<FieldRef>> {
        // A name that is not there is told when it is executed.
        let columns = || Some(self.cursors.get(&fetch.cursor).ok()?.columns.clone());
        if fetch.only_move { None } else { columns() }
    }

    pub(super) fn close(&mut self, name: Option<&str>) -> Result<Outcome> {
        let Some(name) = name else {
            self.cursors.clear();
            return command("CLOSE CURSOR ALL");
        };
        self.cursors.get(name)?;
        self.cursors.open.remove(name);
        command("CLOSE CURSOR")
    }

    /// Closes a cursor where there is one of the name.
    pub fn close_cursor(&mut self, name: &str) {
        self.cursors.open.remove(name);
    }

    /// Draws what is left of the transaction's cursors WITH HOLD: it is about to commit.
    pub(super) async fn hold_cursors(&mut self, cancel: &CancellationToken) -> Result<()> {
        let held = self.cursors.open.iter().filter(|(_, c)| c.of_block && c.declared.hold);
        for (name, cursor) in held {
            let mut rows = cursor.rows.try_lock().map_err(|_| in_use(name))?;
            finish(&mut rows, cancel).await?;
        }
        Ok(())
    }
}

async fn finish(rows: &mut CursorRows, cancel: &CancellationToken) -> Result<()> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(canceled()),
        finished = rows.finish() => finished,
    }
}

/// How long a FETCH waits.
fn timeout_of(text: &str) -> Result<Duration> {
    duration(text).ok_or_else(|| {
        let message = format!("invalid value for FETCH option \"timeout\": \"{text}\"");
        Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
            .with_hint("Valid units are \"us\", \"ms\", \"s\", \"min\", \"h\", and \"d\".")
    })
}

/// A portal with a row limit has not taken all of a FETCH yet.
fn in_use(name: &str) -> Error {
    let message = format!("cannot use cursor \"{name}\": a FETCH of it has rows left to send");
    Error::new(SqlState::OBJECT_IN_USE, message)
}
