//! Statements' writes become part of the open epoch: as many as fit, each whole or not at all.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatch;

use super::{Core, Pending};
use crate::arrangement::live::LiveTable;
use crate::catalog::{CatalogChange, ObjectId};
use crate::change::ChangeBatch;
use crate::coordinator::sequencer::{UniqueKey, Write};
use crate::coordinator::{Runtime, Snapshot, Writes};
use crate::error::{Error, Result, SqlState};
use crate::memory::Purpose;

/// Epochs that a view may be behind a table before writes to it wait.
const WRITE_LAG_EPOCHS: u64 = 256;
/// Writes folded into one epoch.
const EPOCH_WRITES: usize = 4_096;

impl Core {
    pub(super) fn take_writes(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        let mut lag: HashMap<ObjectId, u64> = HashMap::new();
        for (n, write) in pending.into_iter().enumerate() {
            let mut behind = false;
            for (table, _) in &write.writes.writes {
                let lag = lag
                    .entry(*table)
                    .or_insert_with(|| self.open.prev().0 - self.complete_behind(*table).0);
                behind |= *lag > WRITE_LAG_EPOCHS || !self.judges_keys(*table);
            }
            if behind || n >= EPOCH_WRITES {
                self.pending.push(write);
            } else {
                self.take_write(write);
            }
        }
    }

    fn take_write(&mut self, pending: Pending) {
        match self.accept_writes(pending.writes) {
            Ok(rows) => {
                let reply = pending.reply;
                self.answers.push(Box::new(move |epoch| {
                    let _ = reply.send(Ok((epoch, rows)));
                }));
            }
            Err(error) => {
                let _ = pending.reply.send(Err(error));
            }
        }
    }

    /// All of the writes or none; returns the rows of the last one.
    fn accept_writes(&mut self, Writes { writes, transaction }: Writes) -> Result<usize> {
        if let Some(snapshot) = transaction {
            self.check_unchanged(&writes, &snapshot)?;
        }
        let mut accepted = vec![];
        let mut rows = 0;
        for (table, write) in writes {
            match self.accept_write(table, write) {
                Ok((changes, count)) => {
                    accepted.push((table, changes));
                    rows = count;
                }
                Err(error) => {
                    // The keys of what was accepted before are as they were.
                    for (table, changes) in accepted.iter().rev() {
                        if let Some(live) = self.live(*table) {
                            let keys = self.keys(*table, &live);
                            self.sequencer.undo(&keys, changes, self.open)?;
                        }
                    }
                    return Err(error);
                }
            }
        }
        for (table, changes) in accepted {
            if let Some(live) = self.live(table) {
                self.sequencer.note(table, &live, &changes, self.open);
            }
            self.record.writes.extend(changes.iter().map(|change| (table, change.clone())));
            if !changes.is_empty() {
                self.feed(table, changes);
            }
        }
        self.dirty = true;
        Ok(rows)
    }

    /// A transaction's rows must be as it has seen them: 40001 otherwise.
    fn check_unchanged(&self, writes: &[(ObjectId, Write)], snapshot: &Snapshot) -> Result<()> {
        let touched = writes.iter().any(|(table, write)| {
            self.live(*table).is_some_and(|live| {
                self.sequencer.is_touched(*table, &live, &write.deletes, snapshot.epoch)
            })
        });
        let altered = |table: &ObjectId| {
            self.altered.get(table).is_some_and(|altered| *altered > snapshot.epoch)
        };
        let changed = |table: &ObjectId| self.sequencer.is_changed(*table, snapshot.epoch);
        let message = if writes.iter().any(|(table, _)| altered(table)) {
            "could not serialize access due to concurrent ALTER TABLE"
        } else if touched {
            "could not serialize access due to concurrent update"
        } else if snapshot.tables.iter().any(changed) {
            "could not serialize access due to read/write dependencies among transactions"
        } else {
            return Ok(());
        };
        Err(Error::new(SqlState::SERIALIZATION_FAILURE, message)
            .with_hint("The transaction might succeed if retried."))
    }

    /// Changes go to the workers.
    pub(super) fn fed(&mut self, changes: &[ChangeBatch]) {
        self.memory.fed(changes);
        self.flight.fed(changes.iter().map(ChangeBatch::len).sum());
    }

    pub(super) fn accept_write(
        &mut self,
        table: ObjectId,
        write: Write,
    ) -> Result<(Vec<ChangeBatch>, usize)> {
        // Also of a table that has been dropped: the statement is run again, and finds out.
        let live = self.live(table).filter(|_| !self.formers.contains_key(&table));
        let live = live.ok_or_else(|| {
            let message = "could not serialize access due to concurrent ALTER TABLE";
            Error::new(SqlState::SERIALIZATION_FAILURE, message)
        })?;
        if let Some(error) = live.failure() {
            return Err(error.clone());
        }
        self.refuse_poured(table, &live)?;
        if write.deletes.iter().all(|rows| rows.num_rows() == 0) {
            let bytes = write.inserts.iter().map(RecordBatch::get_array_memory_size).sum::<usize>();
            self.shared.memory.admit(Purpose::Write, &live.names().object, bytes as u64)?;
        }
        let key_name = |key: ObjectId| match self.shared.catalog.snapshot().get(key) {
            Some(object) if key != table => object.name.clone(),
            Some(object) => object.primary_key_name(),
            // It is about to be created.
            None => match self.definitions.get(&table).map(|create| &create.change) {
                Some(Some(CatalogChange::Create(object))) => object.primary_key_name(),
                _ => format!("{}_pkey", live.names().object),
            },
        };
        // Where rows replace those of their key, none is refused.
        let upserts = self.definitions.get(&table).is_some_and(
            |create| matches!(&create.runtime, Runtime::Table { feed, .. } if feed.upserts()),
        );
        let keys = if upserts { vec![] } else { self.keys(table, &live) };
        if let Some(error) = keys.iter().find_map(|key| key.live.failure()) {
            return Err(error.clone());
        }
        self.sequencer.accept(&live, write, self.open, &keys, &key_name)
    }

    /// What no two rows of a table have in common, the primary key first.
    fn keys(&self, table: ObjectId, live: &Arc<LiveTable>) -> Vec<UniqueKey> {
        let others = self.uniques.get(&table).into_iter().flatten().cloned();
        UniqueKey::primary(table, live).into_iter().chain(others).collect()
    }
}
