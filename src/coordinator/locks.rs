//! Table locks: a statement that reads before it writes keeps what it has read from changing until it has written.
//!
//! INSERT ... VALUES shares the lock of its table, since the sequencer alone can judge it; UPDATE, DELETE and INSERT ...
//! SELECT hold it alone, and share the locks of the other tables they read. Locks are taken in the order of ids, so no
//! cycle can form; they are fair, so nobody starves.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::catalog::ObjectId;

/// How a statement uses a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Its rows are read, or added to.
    Shared,
    /// Its rows are read and changed.
    Alone,
}

/// Held while the statement runs.
pub enum Guard {
    Shared(#[allow(dead_code, reason = "held for its drop")] OwnedRwLockReadGuard<()>),
    Alone(#[allow(dead_code, reason = "held for its drop")] OwnedRwLockWriteGuard<()>),
}

/// The locks of all tables.
#[derive(Default)]
pub struct TableLocks {
    locks: Mutex<HashMap<ObjectId, Arc<RwLock<()>>>>,
}

impl TableLocks {
    pub async fn acquire(&self, tables: &BTreeMap<ObjectId, Access>) -> Vec<Guard> {
        let mut guards = vec![];
        for (table, access) in tables {
            let lock = self.locks.lock().entry(*table).or_default().clone();
            guards.push(match access {
                Access::Shared => Guard::Shared(lock.read_owned().await),
                Access::Alone => Guard::Alone(lock.write_owned().await),
            });
        }
        guards
    }

    pub fn forget(&self, table: ObjectId) {
        self.locks.lock().remove(&table);
    }
}
