//! Transaction blocks: what a session has read and written since BEGIN and not yet committed.
//!
//! All of a block is read as of one epoch, that of its first statement, with the block's own changes of tables laid over; views
//! show what was committed by then. Nothing is locked meanwhile. At COMMIT the changes are handed over whole, for one
//! epoch, and refused with 40001 when somebody else has changed a row that they change, or, in a serializable
//! transaction, a table that was read. The statements of one query string without BEGIN are a block, too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow_array::RecordBatch;
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::{Outcome, Session, command};
use crate::arrangement::live::{LiveTable, Pin};
use crate::arrangement::unique::UniqueKey;
use crate::catalog::{CatalogSnapshot, Object, ObjectId, ObjectKind, Relation};
use crate::coordinator::locks::Access;
use crate::coordinator::{Snapshot, Write, Writes, sequencer};
use crate::error::{Error, Result, SqlState};
use crate::hash::hash_columns;
use crate::memory::{self, Holder, Reservation};
use crate::query::errors::canceled;
use crate::query::own_rows::OwnRows;
use crate::sql::{self, IsolationLevel, ObjectName, TransactionModes};

/// The transaction's state as ReadyForQuery reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    Idle,
    InBlock,
    Failed,
}

/// A block's changes, by table.
pub(super) type Own = BTreeMap<ObjectId, Arc<OwnRows>>;

/// What has happened since BEGIN.
#[derive(Default)]
pub(super) struct Block {
    own: Own,
    /// Keeps what the block reads from being forgotten; taken by its first statement that reads.
    pin: OnceLock<Arc<Pin>>,
    /// Tables behind what was read.
    read: BTreeSet<ObjectId>,
    /// The changes as of each savepoint, oldest first.
    savepoints: Vec<Savepoint>,
    /// The changes' place on the memory account.
    held: Option<Reservation>,
}

/// What ROLLBACK TO goes back to.
struct Savepoint {
    name: String,
    own: Own,
    /// The cursors there were.
    cursors: u64,
}

impl Session {
    /// Whether statements are gathered for a COMMIT.
    pub(super) fn is_in_block(&self) -> bool {
        self.status == TransactionStatus::InBlock || self.implicit
    }

    /// In a failed block nothing is allowed but what ends it.
    pub(super) fn check_transaction(&self, statement: &sql::Statement) -> Result<()> {
        use sql::Statement as S;
        let ends =
            matches!(statement, S::Commit { .. } | S::Rollback { .. } | S::RollbackTo { .. });
        if self.status == TransactionStatus::Failed && !ends {
            let message =
                "current transaction is aborted, commands ignored until end of transaction block";
            return Err(Error::new(SqlState::IN_FAILED_SQL_TRANSACTION, message));
        }
        let read_only = || self.settings.get("transaction_read_only").as_deref() == Some("on");
        if let Some(what) = written_by(statement)
            && read_only()
        {
            let message = format!("cannot execute {what} in a read-only transaction");
            return Err(Error::new(SqlState::READ_ONLY_SQL_TRANSACTION, message));
        }
        Ok(())
    }

    pub(super) fn begin(&mut self, sql: &str, modes: TransactionModes) -> Result<Outcome> {
        match self.status {
            TransactionStatus::Idle => self.start_block()?,
            TransactionStatus::InBlock | TransactionStatus::Failed => {
                let message = "there is already a transaction in progress";
                self.notices.push(Error::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
            }
        }
        self.set_modes(modes)?;
        // The one statement whose tag is in the words it was written with.
        let start = sql.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("start"));
        command(if start { "START TRANSACTION" } else { "BEGIN" })
    }

    fn start_block(&mut self) -> Result<()> {
        self.settings.begin();
        self.status = TransactionStatus::InBlock;
        self.implicit = false;
        for (setting, default) in [
            ("transaction_isolation", "default_transaction_isolation"),
            ("transaction_read_only", "default_transaction_read_only"),
        ] {
            let value = self.settings.get(default).unwrap_or_default();
            self.settings.set_local(setting, Some(&[value]))?;
        }
        Ok(())
    }

    fn set_modes(&mut self, modes: TransactionModes) -> Result<()> {
        if let Some(level) = modes.isolation {
            let level = isolation_words(level).to_owned();
            self.settings.set_local("transaction_isolation", Some(&[level]))?;
        }
        if let Some(read_only) = modes.read_only {
            let value = if read_only { "on" } else { "off" }.to_owned();
            self.settings.set_local("transaction_read_only", Some(&[value]))?;
        }
        Ok(())
    }

    /// SET TRANSACTION, and SET SESSION CHARACTERISTICS AS TRANSACTION.
    pub(super) fn set_transaction(
        &mut self,
        modes: TransactionModes,
        session: bool,
    ) -> Result<Outcome> {
        if session {
            if let Some(level) = modes.isolation {
                let level = isolation_words(level).to_owned();
                self.settings.set("default_transaction_isolation", Some(&[level]))?;
            }
            if let Some(read_only) = modes.read_only {
                let value = if read_only { "on" } else { "off" }.to_owned();
                self.settings.set("default_transaction_read_only", Some(&[value]))?;
            }
        } else if !self.is_in_block() {
            let message = "SET TRANSACTION can only be used in transaction blocks";
            self.notices.push(Error::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
        } else if self.block.pin.get().is_some() && modes.isolation.is_some() {
            let message = "SET TRANSACTION ISOLATION LEVEL must be called before any query";
            return Err(Error::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
        } else {
            self.set_modes(modes)?;
        }
        command("SET")
    }

    /// Whether statements are gathered without a BEGIN.
    pub fn is_implicit(&self) -> bool {
        self.implicit
    }

    /// The statements of one query string, or of one pipeline, are applied together, as PostgreSQL does without BEGIN. What cannot be part of a
    /// block (DDL, views over what the string has written) applies the writes before it.
    pub fn begin_implicit(&mut self) {
        self.implicit = self.status == TransactionStatus::Idle;
    }

    /// Ends what [`Self::begin_implicit`] began: the writes are applied, or dropped after an error.
    pub async fn end_implicit(
        &mut self,
        succeeded: bool,
        cancel: &CancellationToken,
    ) -> Result<()> {
        if !std::mem::replace(&mut self.implicit, false) {
            return Ok(());
        }
        let applied = match succeeded {
            true => match self.hold_cursors(cancel).await {
                Ok(()) => self.apply_block(cancel).await,
                Err(error) => Err(error),
            },
            false => Ok(()),
        };
        self.block = Block::default();
        self.cursors.end_block(succeeded && applied.is_ok());
        applied
    }

    /// Hands the block's changes over and forgets the block; nothing of it is applied when canceled while it waits.
    pub(super) async fn apply_block(&mut self, cancel: &CancellationToken) -> Result<()> {
        let block = std::mem::take(&mut self.block);
        let mut tables = BTreeMap::new();
        let mut writes = vec![];
        for (id, own) in &block.own {
            if own.is_empty() {
                continue;
            }
            let (deletes, inserts) = (own.deleted_rows().to_vec(), own.inserted_rows()?);
            let access = if deletes.is_empty() { Access::Shared } else { Access::Alone };
            tables.insert(*id, access);
            writes.push((*id, Write { deletes, inserts, ..Write::default() }));
        }
        if writes.is_empty() {
            return Ok(());
        }
        let tables_read = if self.is_serializable() { block.read.clone() } else { BTreeSet::new() };
        let epoch = block.pin.get().map(|pin| pin.epoch);
        let transaction = epoch.map(|epoch| Snapshot { epoch, tables: tables_read });
        // Statements that have read a table and not yet written it go first.
        let _guards = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(canceled()),
            guards = self.server.coordinator.locks.acquire(&tables) => guards,
        };
        self.server.coordinator.commit(Writes { writes, transaction }).await
    }

    pub(super) async fn commit(
        &mut self,
        chain: bool,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        let held = match self.status {
            TransactionStatus::Failed => Ok(()),
            TransactionStatus::Idle | TransactionStatus::InBlock => self.hold_cursors(cancel).await,
        };
        let status = std::mem::replace(&mut self.status, TransactionStatus::Idle);
        let written = match status {
            TransactionStatus::Idle if self.implicit => {
                // What the query string has done so far; what follows is a transaction of its own.
                let message = "there is no transaction in progress";
                self.notices.push(Error::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
                held?;
                self.apply_block(cancel).await?;
                self.cursors.end_block(true);
                return command("COMMIT");
            }
            TransactionStatus::Idle => {
                let message = "there is no transaction in progress";
                self.notices.push(Error::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
                return command("COMMIT");
            }
            TransactionStatus::InBlock => match held {
                Ok(()) => self.apply_block(cancel).await,
                Err(error) => Err(error),
            },
            TransactionStatus::Failed => Ok(()),
        };
        let committed = status == TransactionStatus::InBlock && written.is_ok();
        self.end_block(committed)?;
        written?;
        if chain {
            self.start_block()?;
        }
        command(if committed { "COMMIT" } else { "ROLLBACK" })
    }

    pub(super) fn rollback(&mut self, chain: bool) -> Result<Outcome> {
        let was_idle = self.status == TransactionStatus::Idle;
        if was_idle {
            let message = "there is no transaction in progress";
            self.notices.push(Error::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
        }
        self.end_block(false)?;
        if chain && !was_idle {
            self.start_block()?;
        }
        command("ROLLBACK")
    }

    fn end_block(&mut self, committed: bool) -> Result<()> {
        self.status = TransactionStatus::Idle;
        self.block = Block::default();
        self.cursors.end_block(committed);
        self.settings.end(committed);
        self.settings_changed()
    }

    /// After an error outside of execute (bind, parse): a transaction block becomes failed.
    pub fn fail_transaction(&mut self) {
        if self.status == TransactionStatus::InBlock {
            self.status = TransactionStatus::Failed;
        }
    }

    pub fn transaction_status(&self) -> TransactionStatus {
        self.status
    }

    /// How long the session may wait for its client, and what ends it then.
    pub fn idle_limit(&self) -> Option<(Duration, Error)> {
        let in_block = !matches!(self.status, TransactionStatus::Idle);
        let (code, what) = match in_block {
            false => (SqlState::IDLE_SESSION_TIMEOUT, "idle-session"),
            true => (SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT, "idle-in-transaction"),
        };
        let limit = self.settings.idle_timeout(in_block)?;
        Some((limit, Error::new(code, format!("terminating connection due to {what} timeout"))))
    }

    pub(super) fn savepoint(&mut self, name: &str) -> Result<Outcome> {
        self.in_block_only("SAVEPOINT")?;
        let (own, cursors) = (self.block.own.clone(), self.cursors.mark());
        self.block.savepoints.push(Savepoint { name: name.to_owned(), own, cursors });
        command("SAVEPOINT")
    }

    pub(super) fn release(&mut self, name: &str) -> Result<Outcome> {
        self.in_block_only("RELEASE SAVEPOINT")?;
        let at = self.savepoint_named(name)?;
        self.block.savepoints.truncate(at);
        command("RELEASE")
    }

    /// What came after the savepoint is as if it had never been; the savepoint stays.
    pub(super) fn rollback_to(&mut self, name: &str) -> Result<Outcome> {
        self.in_block_only("ROLLBACK TO SAVEPOINT")?;
        let at = self.savepoint_named(name)?;
        self.block.own = self.block.savepoints[at].own.clone();
        self.cursors.close_since(self.block.savepoints[at].cursors);
        self.block.savepoints.truncate(at + 1);
        self.status = TransactionStatus::InBlock;
        command("ROLLBACK")
    }

    fn savepoint_named(&self, name: &str) -> Result<usize> {
        let found = self.block.savepoints.iter().rposition(|savepoint| savepoint.name == name);
        found.ok_or_else(|| {
            let message = format!("savepoint \"{name}\" does not exist");
            Error::new(SqlState::INVALID_SAVEPOINT, message)
        })
    }

    fn in_block_only(&self, what: &str) -> Result<()> {
        if self.status != TransactionStatus::Idle {
            return Ok(());
        }
        let message = format!("{what} can only be used in transaction blocks");
        Err(Error::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, message))
    }

    /// DDL takes effect at once and is not rolled back. A block that has written nothing may have it, since tools wrap all they
    /// do in BEGIN and COMMIT; it is told so, and goes on as of what comes after.
    pub(super) fn outside_of_block(&mut self, what: &str) -> Result<()> {
        if self.status == TransactionStatus::Idle {
            // A query string goes on as of what comes after, too.
            self.block.pin = OnceLock::new();
            return Ok(());
        }
        let has_written = self.block.own.values().any(|own| !own.is_empty());
        if has_written || self.is_serializable() {
            let message = format!("{what} cannot run inside a transaction block");
            let detail = "It takes effect at once, before what the transaction has done so far.";
            return Err(Error::new(SqlState::ACTIVE_SQL_TRANSACTION, message)
                .with_detail(detail)
                .with_hint("COMMIT first, or set autocommit."));
        }
        let message = format!("{what} takes effect at once and is not undone by ROLLBACK");
        self.notices.push(Error::new(SqlState::WARNING, message));
        self.block.pin = OnceLock::new();
        Ok(())
    }

    /// What a block reads from now on is as of a later epoch: a statement that is no part of it has changed what there is.
    pub(super) fn forget_pin(&mut self) {
        self.block.pin = OnceLock::new();
    }

    fn is_serializable(&self) -> bool {
        self.settings.get("transaction_isolation").as_deref() == Some("serializable")
    }

    /// The epoch that a statement reads these objects at: the block's in a block.
    pub(super) async fn pin(&self, objects: &[Arc<LiveTable>]) -> Result<Arc<Pin>> {
        let coordinator = &self.server.coordinator;
        if !self.is_in_block() {
            let pin = Arc::new(coordinator.pin(objects).await?);
            return check_as_of(objects, &pin).map(|()| pin);
        }
        let Some(pin) = self.block.pin.get() else {
            let pin = Arc::new(coordinator.pin(objects).await?);
            check_as_of(objects, &pin)?;
            return Ok(self.block.pin.get_or_init(|| pin).clone());
        };
        check_as_of(objects, pin)?;
        for object in objects {
            object.wait_attached().await?;
            object.wait_for(pin.epoch).await?;
        }
        Ok(pin.clone())
    }

    /// The block's changes, for scans.
    pub(super) fn own_rows(&self) -> Own {
        self.block.own.clone()
    }

    pub(super) fn has_own_rows(&self) -> bool {
        !self.block.own.is_empty()
    }

    /// Adds a write to the block; what the table's constraints refuse is refused now.
    pub(super) async fn write_in_block(&mut self, table: &Object, write: Write) -> Result<usize> {
        let live = self.server.live(table)?;
        write
            .inserts
            .iter()
            .try_for_each(|rows| sequencer::check_not_null(&table.name, &table.columns, rows))?;
        let pin = self.pin(std::slice::from_ref(&live)).await?;
        let (catalog, keys) = (self.server.catalog.snapshot(), self.unique_keys(table));
        for key in keys.iter().filter(|key| key.from <= pin.epoch) {
            key.live.wait_for(pin.epoch).await?;
        }
        let memory = &self.server.coordinator.shared.memory;
        let held =
            self.block.held.get_or_insert_with(|| memory.reserve(Holder::Query, "the transaction"));
        let bytes = |rows: &[RecordBatch]| -> u64 {
            rows.iter().map(|rows| rows.get_array_memory_size() as u64).sum()
        };
        held.try_grow(memory::Purpose::Write, bytes(&write.inserts))?;
        held.grow(bytes(&write.deletes));
        let own = self.block.own.entry(table.id);
        let own = own.or_insert_with(|| Arc::new(OwnRows::new(&live, keys.clone())));
        let own = Arc::make_mut(own);
        write.deletes.iter().try_for_each(|rows| own.delete(rows))?;
        for rows in &write.inserts {
            let taken = match key_stored(&live, own, rows, &pin)? {
                Some(row) => Some(row),
                None => {
                    let name = |id| catalog.get(id).map_or_else(String::new, |o| o.name.clone());
                    refuse_taken(&live, own, &keys, rows, &pin, &name)?;
                    own.insert(rows)?
                }
            };
            if let Some(row) = taken {
                let name = table.primary_key_name();
                return Err(sequencer::duplicate(&live, &live.key, rows, row, &name));
            }
        }
        Ok(write.rows())
    }

    /// What is UNIQUE in a table beside its primary key.
    pub(super) fn unique_keys(&self, table: &Object) -> Vec<UniqueKey> {
        let catalog = self.server.catalog.snapshot();
        let indexes = self.server.coordinator.indexes(table.id);
        let mut keys = vec![];
        for object in catalog.dependents(table.id) {
            let ObjectKind::Index { key, unique: Some(unique), .. } = &object.kind else {
                continue;
            };
            if let Some(index) = indexes.iter().find(|index| index.live.key == *key) {
                keys.push(UniqueKey {
                    id: object.id,
                    columns: key.clone(),
                    nulls_distinct: unique.nulls_distinct,
                    live: index.live.clone(),
                    from: index.from,
                });
            }
        }
        keys
    }

    /// Notes which tables a statement of a block reads; they may matter at COMMIT.
    pub(super) fn note_reads(&mut self, statement: &sql::Statement) {
        let catalog = self.server.catalog.snapshot();
        let mut tables = BTreeSet::new();
        for object in self.objects_read(&catalog, statement) {
            base_tables(&catalog, &object, &mut tables);
        }
        self.block.read.extend(tables);
    }

    /// Whether a statement of a query string without BEGIN has to see what the string has written as others do: it is of a kind
    /// that cannot be part of a block, or reads views, which show what is committed.
    pub(super) fn needs_own_writes(&self, statement: &sql::Statement) -> bool {
        use sql::Statement as S;
        if self.block.own.is_empty() {
            return false;
        }
        match statement {
            S::Begin { .. } | S::Rollback { .. } | S::Set(_) | S::Show(_) => false,
            S::Fetch(_) | S::Close { .. } | S::Prepare { .. } | S::Deallocate { .. } => false,
            S::Declare(declare) if !matches!(*declare.statement, S::Query(_)) => true,
            S::Query(_)
            | S::Declare(_)
            | S::Insert(..)
            | S::Update(_)
            | S::Delete(_)
            | S::Truncate(_) => {
                let catalog = self.server.catalog.snapshot();
                let objects = self.objects_read(&catalog, statement);
                objects.iter().any(|object| shows_committed(&catalog, object))
            }
            _ => true,
        }
    }

    /// The relations that a statement names, system relations left out.
    fn objects_read(
        &self,
        catalog: &CatalogSnapshot,
        statement: &sql::Statement,
    ) -> Vec<Arc<Object>> {
        use sql::Statement as S;
        let names: Vec<ObjectName> = match statement {
            S::Query(query) => sql::referenced_relations(query.as_ref()),
            S::Insert(insert, _) => {
                let mut names = sql::referenced_relations(insert.as_ref());
                // What is done about conflicts may depend on the rows that are stored.
                if let (Some(_), ast::TableObject::TableName(name)) = (&insert.on, &insert.table) {
                    names.extend(ObjectName::try_from(name));
                }
                names
            }
            S::Update(update) => sql::referenced_relations(update.as_ref()),
            S::Delete(delete) => sql::referenced_relations(delete.as_ref()),
            S::Declare(declare) => return self.objects_read(catalog, &declare.statement),
            S::Copy(copy) => match &copy.subject {
                sql::CopySubject::Query(query) => sql::referenced_relations(query.as_ref()),
                sql::CopySubject::Relation { name, .. } if copy.to => vec![name.clone()],
                sql::CopySubject::Relation { .. } | sql::CopySubject::Subscribe(_) => vec![],
            },
            _ => vec![],
        };
        let path = self.settings.search_path();
        let found = names.iter().filter_map(|name| match catalog.relation(&path, name) {
            Ok(Relation::Object(object)) => Some(object),
            Ok(Relation::System { .. }) | Err(_) => None,
        });
        found.collect()
    }
}

/// What is to be read is what there was as of the epoch: 40001 where ALTER has put it in another's place since, or another in
/// its own.
fn check_as_of(objects: &[Arc<LiveTable>], pin: &Pin) -> Result<()> {
    if objects.iter().all(|object| object.is_as_of(pin.epoch)) {
        return Ok(());
    }
    let message = "could not serialize access due to concurrent ALTER TABLE";
    Err(Error::new(SqlState::SERIALIZATION_FAILURE, message)
        .with_hint("The transaction might succeed if retried."))
}

/// The tables behind an object, through views.
fn base_tables(catalog: &CatalogSnapshot, object: &Object, tables: &mut BTreeSet<ObjectId>) {
    if matches!(object.kind, ObjectKind::Table { .. }) {
        tables.insert(object.id);
    }
    for object in object.depends_on.iter().filter_map(|id| catalog.get(*id)) {
        base_tables(catalog, object, tables);
    }
}

/// Whether reading an object reads a materialized view.
fn shows_committed(catalog: &CatalogSnapshot, object: &Object) -> bool {
    matches!(object.kind, ObjectKind::MaterializedView { .. })
        || (matches!(object.kind, ObjectKind::View { .. })
            && object
                .depends_on
                .iter()
                .filter_map(|id| catalog.get(*id))
                .any(|object| shows_committed(catalog, object)))
}

/// The first of some rows whose key is stored, as of the block's epoch, and not deleted by the block since.
fn key_stored(
    live: &LiveTable,
    own: &OwnRows,
    rows: &RecordBatch,
    pin: &Pin,
) -> Result<Option<usize>> {
    if !live.key_is_unique || live.key.is_empty() {
        return Ok(None);
    }
    let stored = stored_keys(live, &live.key, rows, pin);
    let gone = own.has_deleted(rows)?;
    Ok(stored.iter().zip(gone).position(|(stored, gone)| *stored && !gone))
}

/// Which of some rows have a key that is stored as of the block's epoch.
fn stored_keys(live: &LiveTable, key: &[usize], rows: &RecordBatch, pin: &Pin) -> Vec<bool> {
    let keys = sequencer::key_columns(key, rows);
    let mut hashes = vec![];
    hash_columns(&keys, rows.num_rows(), &mut hashes);
    let mut stored = vec![false; rows.num_rows()];
    for snapshot in live.versions(pin.epoch).iter().filter_map(|v| v.rows.as_ref()) {
        let mut found = vec![];
        snapshot.contains_keys(&keys, &hashes, &mut found);
        stored.iter_mut().zip(found).for_each(|(stored, found)| *stored |= found);
    }
    stored
}

/// 23505 where a row that is to be inserted is like another. A key that is younger than the block is judged at COMMIT.
fn refuse_taken(
    live: &LiveTable,
    own: &OwnRows,
    keys: &[UniqueKey],
    rows: &RecordBatch,
    pin: &Pin,
    name: &dyn Fn(ObjectId) -> String,
) -> Result<()> {
    for key in keys.iter().filter(|key| key.from <= pin.epoch) {
        let Some(own) = own.of_key(key.id) else { continue };
        let stored = stored_keys(&key.live, &key.columns, rows, pin);
        if let Some(row) = own.first_taken(rows, &stored)? {
            return Err(sequencer::duplicate(live, &key.columns, rows, row, &name(key.id)));
        }
    }
    Ok(())
}

/// The words for a statement that a read-only transaction refuses.
fn written_by(statement: &sql::Statement) -> Option<&'static str> {
    use sql::Statement as S;
    Some(match statement {
        S::Insert(..) => "INSERT",
        S::Update(_) => "UPDATE",
        S::Delete(_) => "DELETE",
        S::Truncate(_) => "TRUNCATE TABLE",
        S::CreateTable(_) => "CREATE TABLE",
        S::CreateSource(_) => "CREATE SOURCE",
        S::CreateView(_) => "CREATE VIEW",
        S::CreateMaterializedView(_) => "CREATE MATERIALIZED VIEW",
        S::CreateIndex(_) => "CREATE INDEX",
        S::CreateSequence(_) => "CREATE SEQUENCE",
        S::CreateSchema { .. } => "CREATE SCHEMA",
        S::Drop(_) => "DROP",
        S::Comment(_) => "COMMENT",
        _ => return None,
    })
}

fn isolation_words(level: IsolationLevel) -> &'static str {
    match level {
        IsolationLevel::ReadUncommitted => "read uncommitted",
        IsolationLevel::ReadCommitted => "read committed",
        IsolationLevel::RepeatableRead => "repeatable read",
        IsolationLevel::Serializable => "serializable",
    }
}
