//! pg_catalog and information_schema: what PostgreSQL's clients ask about, made from the catalog when they ask.
//!
//! [`columns`] knows every system relation's columns, [`cells`] turns rows into Arrow, and the files [`relations`], [`sequences`], [`cluster`] and
//! [`information`] make the rows that depend on the catalog or the session. What never changes (types, operators, collations) comes
//! from the crate datafusion-pg-catalog through [`fixed`]. Relations that Tidewater has nothing for (triggers, publications) exist and
//! are empty. [`functions`] are PostgreSQL's functions about all this, and [`rewrite`] brings the queries that psql and
//! drivers send into a form that DataFusion plans. Nothing here changes anything.

mod arguments;
mod cells;
mod cluster;
mod columns;
mod correlation;
mod fixed;
mod functions;
mod information;
mod nodes;
mod relations;
mod rewrite;
mod sequences;
mod spelling;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;

use super::TIDEWATER_SCHEMA;
use super::object::{Object, ObjectId};
use super::snapshot::CatalogSnapshot;
use crate::error::{Error, Result};

pub use arguments::type_arguments;
pub use functions::{parse_name, system_functions};
pub use relations::shown_default;
pub use rewrite::rewrite_for_catalog;

/// What the system relations and functions are made from.
#[derive(Clone, Debug)]
pub struct SystemContext {
    pub snapshot: Arc<CatalogSnapshot>,
    pub user: String,
    /// As set, without the implicit pg_catalog.
    pub search_path: Vec<String>,
    pub backend_pid: i32,
    /// What version() answers.
    pub version: String,
    pub started_at: SystemTime,
    /// For pg_settings, by name.
    pub settings: Vec<Setting>,
    /// For pg_prepared_statements.
    pub prepared: Vec<PreparedRow>,
    /// For pg_cursors.
    pub cursors: Vec<CursorRow>,
    /// For pg_stat_activity.
    pub sessions: Vec<Activity>,
    /// For tidewater.jobs.
    pub jobs: Vec<JobRow>,
    /// Bytes of state of objects, as far as known; the others count as 0.
    pub sizes: HashMap<ObjectId, u64>,
}

/// A row of pg_settings.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    pub name: String,
    pub value: String,
    pub default: String,
    pub description: String,
}

/// A row of pg_prepared_statements.
#[derive(Clone, Debug)]
pub struct PreparedRow {
    pub name: String,
    pub statement: String,
    pub made: SystemTime,
    /// As SQL names them.
    pub parameter_types: Vec<String>,
    pub from_sql: bool,
}

/// A row of pg_cursors.
#[derive(Clone, Debug)]
pub struct CursorRow {
    pub name: String,
    pub statement: String,
    pub is_holdable: bool,
    pub is_binary: bool,
    pub is_scrollable: bool,
    pub made: SystemTime,
}

/// A row of pg_stat_activity.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    pub pid: i32,
    pub user: String,
    pub application_name: String,
    pub client_addr: Option<String>,
    pub backend_start: Option<SystemTime>,
    pub query_start: Option<SystemTime>,
    /// active, idle, idle in transaction ...
    pub state: String,
    pub query: String,
}

/// A row of tidewater.jobs: an object that is still reading the rows that there were before it.
#[derive(Clone, Debug)]
pub struct JobRow {
    pub object: Arc<Object>,
    pub state: &'static str,
    /// Rows read, and all that are to be read; `None` where that is not known yet.
    pub done: u64,
    pub total: Option<u64>,
    pub since: SystemTime,
}

impl JobRow {
    /// How much of the rows has been read, in tenths of a percent; all where there are none.
    pub fn percent(&self) -> Option<f64> {
        let of = |total: u64| (self.done as f64 / total as f64 * 1_000.0).floor() / 10.0;
        self.total.map(|total| if total == 0 { 100.0 } else { of(total) })
    }
}

impl SystemContext {
    /// The session of `user` over a snapshot, with nothing known of other sessions, settings and sizes.
    pub fn new(
        snapshot: Arc<CatalogSnapshot>,
        user: impl Into<String>,
        search_path: Vec<String>,
    ) -> SystemContext {
        SystemContext {
            snapshot,
            user: user.into(),
            search_path,
            backend_pid: 0,
            version: format!("PostgreSQL 15.0 (Tidewater {})", env!("CARGO_PKG_VERSION")),
            started_at: SystemTime::now(),
            settings: vec![],
            prepared: vec![],
            cursors: vec![],
            sessions: vec![],
            jobs: vec![],
            sizes: HashMap::new(),
        }
    }
}

/// Whether pg_catalog or information_schema has a relation called so.
pub fn is_system_table(schema: &str, name: &str) -> bool {
    columns::find(schema, name).is_some()
}

/// A system relation as it is at the context's snapshot; `None` when there is no such relation. It is made on every
/// call, in time proportional to its rows.
pub fn system_table(
    context: &SystemContext,
    schema: &str,
    name: &str,
) -> Option<Result<Arc<dyn TableProvider>>> {
    let table = columns::find(schema, name)?;
    let rows = match (relations::rows(context, table), table.schema.as_str()) {
        (Some(rows), _) => Some(rows),
        (None, "pg_catalog" | TIDEWATER_SCHEMA) => cluster::rows(context, &table.name),
        (None, _) => information::rows(context, &table.name),
    };
    let batch = match rows {
        Some(rows) => cells::batch(table, rows),
        None => fixed::batch(table),
    };
    let provider = batch.and_then(|batch| {
        MemTable::try_new(batch.schema(), vec![vec![batch]])
            .map_err(|e| Error::internal(format!("system relation {}: {e}", table.name)))
    });
    Some(provider.map(|table| Arc::new(table) as Arc<dyn TableProvider>))
}
