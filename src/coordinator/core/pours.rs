//! Sinks into tables: what one object has flows into another one, in the same epoch.
//!
//! A table that is poured into is complete when what flows into it is: it no longer counts among those that epochs in flight
//! are counted by, and its readers are readers of what flows in. Statements do not write to it meanwhile.

use std::collections::BTreeMap;

use super::Core;
use crate::arrangement::live::LiveTable;
use crate::catalog::ObjectId;
use crate::dataflow::Command;
use crate::error::{Error, Result, SqlState};

/// Which objects flow into which table, and the number of the pour.
#[derive(Default)]
pub(super) struct Pours(BTreeMap<ObjectId, (ObjectId, ObjectId)>);

impl Pours {
    fn has_table(&self, table: ObjectId) -> bool {
        self.0.values().any(|(into, _)| *into == table)
    }
}

impl Core {
    /// Begins to pour; `restored`: the table has what was before the open epoch.
    pub(super) fn pour(
        &mut self,
        pour: ObjectId,
        object: ObjectId,
        table: ObjectId,
        restored: bool,
    ) {
        self.pours.0.insert(object, (table, pour));
        self.readers.entry(object).or_default().push(table);
        self.bases.remove(&table);
        self.workers.send(Command::Pour(table, object, self.open, restored));
    }

    /// From the open epoch on nothing more flows.
    pub(super) fn end_pour(&mut self, object: ObjectId) {
        let Some((table, pour)) = self.pours.0.get(&object).copied() else { return };
        self.take_writes();
        if self.definitions.remove(&pour).is_some() {
            self.record.dropped.push(pour);
            self.workers.send(Command::EndPour(table, object, self.open));
        }
        self.dirty = true;
    }

    /// An object has ended that may have flowed into a table, which is its own again; or it is that table.
    pub(super) fn forget_pour(&mut self, id: ObjectId) {
        if let Some((table, pour)) = self.pours.0.remove(&id) {
            self.definitions.remove(&pour);
            if !self.pours.has_table(table) && self.definitions.contains_key(&table) {
                self.bases.insert(table);
            }
        }
    }

    /// Only what flows in writes to a table.
    pub(super) fn refuse_poured(&self, table: ObjectId, live: &LiveTable) -> Result<()> {
        if !self.pours.has_table(table) {
            return Ok(());
        }
        let message =
            format!("cannot change table \"{}\": a sink writes to it", live.names().object);
        Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message))
    }
}
