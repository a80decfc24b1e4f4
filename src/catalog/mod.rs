//! What exists: schemas, tables, sources, views, materialized views and sinks, with their ids and dependencies.
//!
//! [`object`] says what an object is, [`rules`] what a table demands of its rows, [`sequence`] how numbers are given out, [`snapshot`] holds all of them at one moment and answers look-ups, [`change`] is the one
//! way to change them, [`drop`] plans what has to go with what, and [`system`] shows it all as pg_catalog and
//! information_schema. Readers take a [`CatalogSnapshot`] and never lock or wait; a snapshot never changes. The catalog plans
//! nothing, opens no connector and does no I/O: whoever makes it durable logs the [`CatalogChange`]s and applies them again.

mod change;
mod drop;
mod errors;
mod object;
mod rules;
mod sequence;
mod snapshot;
pub mod system;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::error::Result;

pub use change::{Alteration, CatalogChange};
pub use drop::DropPlan;
pub use errors::{already_exists, already_exists_notice, does_not_exist};
pub use object::{ConnectorSpec, CreationContext, Object, ObjectId, ObjectKind, Oid, Unique};
pub use rules::{Check, Generation, TableRules};
pub use sequence::{Counter, Counting, NumberType, Owner, columns as sequence_columns};
pub use snapshot::{CatalogSnapshot, Relation, SchemaEntry};

/// The one database; sessions are always connected to it.
pub const DATABASE: &str = "tidewater";

/// The schema of Tidewater's own relations, such as `tidewater.dead_letters`.
pub const TIDEWATER_SCHEMA: &str = "tidewater";

/// The owner of everything as long as there are no roles.
pub const OWNER: &str = "tidewater";

/// All objects, changed one [`CatalogChange`] at a time.
pub struct Catalog {
    current: ArcSwap<CatalogSnapshot>,
    /// Held while a change is made, so that changes follow each other; readers do not take it.
    writer: Mutex<()>,
    /// The number of the next object; greater than those of all objects that ever existed.
    next_id: AtomicU64,
}

impl Default for Catalog {
    fn default() -> Self {
        Catalog::new()
    }
}

impl Catalog {
    /// A catalog with the built-in schemas and nothing else.
    pub fn new() -> Catalog {
        Catalog::of(Arc::new(CatalogSnapshot::initial()))
    }

    /// The catalog that a snapshot is of.
    pub fn of(snapshot: Arc<CatalogSnapshot>) -> Catalog {
        let next_id = AtomicU64::new(snapshot.next_id);
        Catalog { current: ArcSwap::new(snapshot), writer: Mutex::new(()), next_id }
    }

    /// Everything as it is now.
    pub fn snapshot(&self) -> Arc<CatalogSnapshot> {
        self.current.load_full()
    }

    /// A number that no object has or had, with the OID clients see for it.
    pub fn allocate(&self) -> (ObjectId, Oid) {
        let id = ObjectId(self.next_id.fetch_add(1, Ordering::Relaxed));
        (id, Oid::of(id))
    }

    /// Makes a change and returns the catalog after it; an error leaves everything as it was.
    ///
    /// Errors are those of the statement behind the change: 42P07 and 42P06 for names that are taken, 3F000 for a
    /// schema that is not there, 2BP01 for objects that others still depend on.
    pub fn apply(&self, change: CatalogChange) -> Result<Arc<CatalogSnapshot>> {
        let _writer = self.writer.lock();
        let mut next = CatalogSnapshot::clone(&self.current.load());
        if let Some(id) = change.created_id() {
            next.next_id = next.next_id.max(id.0 + 1);
            self.next_id.fetch_max(next.next_id, Ordering::Relaxed);
        }
        next.apply(change)?;
        let next = Arc::new(next);
        self.current.store(next.clone());
        Ok(next)
    }
}
