//! What an object of the catalog is: its ids, columns, definition and what it depends on.
//!
//! An object is immutable: a change makes a new one with the same id. Option values (which may be credentials) are kept only in
//! [`ConnectorSpec`], whose `Debug` shows keys alone, and `create_sql` is redacted by who made it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use arrow_schema::SchemaRef;
use sqlparser::ast;
use tidewater_connectors::contract::SplitStart;

use super::rules::{Generation, TableRules};
use super::sequence::{Counter, Counting, Owner};
use crate::sql::{FormatEncode, IncludeColumn, Options, sequences_called};

/// Names an object for ever: never used again, not even after a drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub u64);

/// What clients of pg_catalog see as an object's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid(pub u32);

/// OIDs below belong to PostgreSQL itself.
const FIRST_OID: u64 = 16_384;

/// Each object owns four numbers: itself, its row type, that type's array, and the index of its primary key.
const OIDS_PER_OBJECT: u64 = 4;

impl Oid {
    /// The number of the object `id`; wraps around after a billion objects as PostgreSQL's own counter does.
    pub fn of(id: ObjectId) -> Oid {
        let range = u64::from(u32::MAX) - FIRST_OID - OIDS_PER_OBJECT;
        let offset = (id.0 - 1).wrapping_mul(OIDS_PER_OBJECT) % (range - range % OIDS_PER_OBJECT);
        Oid((FIRST_OID + offset) as u32)
    }

    pub fn row_type(self) -> Oid {
        Oid(self.0 + 1)
    }

    pub fn row_array_type(self) -> Oid {
        Oid(self.0 + 2)
    }

    pub fn primary_key_index(self) -> Oid {
        Oid(self.0 + 3)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One table, source, view, materialized view, sink, index or sequence.
#[derive(Clone, Debug)]
pub struct Object {
    pub id: ObjectId,
    pub oid: Oid,
    pub schema: String,
    pub name: String,
    /// The columns as others see them, in order; of sinks only where something is kept.
    pub columns: SchemaRef,
    pub kind: ObjectKind,
    /// The objects that this one reads, each once.
    pub depends_on: Vec<ObjectId>,
    /// The CREATE statement as SHOW CREATE gives it, without credentials.
    pub create_sql: String,
    pub created_at: SystemTime,
    pub owner: String,
    /// COMMENT ON: 0 is the object itself, n its nth column.
    pub comments: BTreeMap<usize, String>,
}

impl Object {
    /// What the constraint of its primary key is called, and the index behind it.
    pub fn primary_key_name(&self) -> String {
        let given = self.rules().and_then(|rules| rules.key_name.clone());
        given.unwrap_or_else(|| format!("{}_pkey", self.name))
    }

    /// What a table demands of its rows; `None` for everything else.
    pub fn rules(&self) -> Option<&TableRules> {
        match &self.kind {
            ObjectKind::Table { rules, .. } => Some(rules),
            ObjectKind::Source { .. }
            | ObjectKind::View { .. }
            | ObjectKind::MaterializedView { .. }
            | ObjectKind::Sink { .. }
            | ObjectKind::Index { .. }
            | ObjectKind::Sequence { .. } => None,
        }
    }

    /// Where a column's values come from, if not from statements.
    pub fn generation(&self, column: usize) -> Option<&Generation> {
        self.rules()?.generated.get(column)?.as_ref()
    }

    /// The sequences that a column's default calls.
    pub fn sequences_of(&self, column: usize) -> Vec<Oid> {
        let text = self.default_sql(column);
        text.map_or_else(Vec::new, |text| sequences_called(&text).into_iter().map(Oid).collect())
    }

    /// What DEFAULT stands for in a column, as SQL; `None` is NULL.
    pub fn default_sql(&self, column: usize) -> Option<String> {
        let ObjectKind::Table { defaults, .. } = &self.kind else { return None };
        match self.generation(column) {
            Some(Generation::Identity { sequence, .. }) => Some(format!("nextval({sequence})")),
            Some(Generation::Stored(_)) | None => defaults.get(column)?.clone(),
        }
    }
}

/// What a session's settings were at CREATE: a view keeps meaning what it meant then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreationContext {
    pub time_zone: String,
    pub search_path: Vec<String>,
}

/// What an index says of the table beside where rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unique {
    /// It is behind a UNIQUE constraint of its name, and goes with that.
    pub constraint: bool,
    /// Rows with a NULL in the key are like no other.
    pub nulls_distinct: bool,
}

#[derive(Clone, Debug)]
pub enum ObjectKind {
    Table {
        /// Indices of the key columns in key order; empty without a primary key.
        primary_key: Vec<usize>,
        /// SQL text of each column's default.
        defaults: Vec<Option<String>>,
        rules: TableRules,
        append_only: bool,
        /// What feeds the table; `None` for tables changed by DML.
        connector: Option<ConnectorSpec>,
    },
    Source {
        primary_key: Vec<usize>,
        connector: ConnectorSpec,
        /// The event time column's index and the SQL text of WATERMARK FOR ... AS.
        watermark: Option<(usize, String)>,
    },
    View {
        /// The query's text, and the same parsed.
        sql: String,
        query: Arc<ast::Query>,
        context: CreationContext,
    },
    MaterializedView {
        sql: String,
        query: Arc<ast::Query>,
        context: CreationContext,
        /// Indices of columns that identify a row, as far as the plan knows any.
        key: Vec<usize>,
        options: Options,
    },
    Sink {
        connector: ConnectorSpec,
        /// The table that it writes to, instead of something outside.
        into: Option<ObjectId>,
    },
    /// The rows of a table or view by some of its columns.
    Index {
        on: ObjectId,
        /// Indices of the columns, in order; the index's own columns are these.
        key: Vec<usize>,
        unique: Option<Unique>,
    },
    Sequence {
        counting: Counting,
        counter: Arc<Counter>,
        owner: Option<Owner>,
    },
}

impl ObjectKind {
    /// As in messages: `materialized view`.
    pub fn words(&self) -> &'static str {
        self.drop_kind().words()
    }

    /// The kind that DROP and SHOW CREATE name.
    pub fn drop_kind(&self) -> crate::sql::DropKind {
        use crate::sql::DropKind;
        match self {
            ObjectKind::Table { .. } => DropKind::Table,
            ObjectKind::Source { .. } => DropKind::Source,
            ObjectKind::View { .. } => DropKind::View,
            ObjectKind::MaterializedView { .. } => DropKind::MaterializedView,
            ObjectKind::Sink { .. } => DropKind::Sink,
            ObjectKind::Index { .. } => DropKind::Index,
            ObjectKind::Sequence { .. } => DropKind::Sequence,
        }
    }

    /// What feeds it from outside.
    pub fn connector(&self) -> Option<&ConnectorSpec> {
        match self {
            ObjectKind::Table { connector, .. } => connector.as_ref(),
            ObjectKind::Source { connector, .. } => Some(connector),
            ObjectKind::View { .. }
            | ObjectKind::MaterializedView { .. }
            | ObjectKind::Sink { .. }
            | ObjectKind::Index { .. }
            | ObjectKind::Sequence { .. } => None,
        }
    }

    /// Whether INSERT, and where rows have a key UPDATE and DELETE, change it.
    pub fn takes_statements(&self) -> bool {
        match self {
            ObjectKind::Table { connector, .. } => connector.as_ref().is_none_or(|c| c.stand_in),
            ObjectKind::Source { connector, .. } => connector.stand_in,
            ObjectKind::View { .. }
            | ObjectKind::MaterializedView { .. }
            | ObjectKind::Sink { .. }
            | ObjectKind::Index { .. }
            | ObjectKind::Sequence { .. } => false,
        }
    }

    /// The declared primary key's column indices; empty without one.
    pub fn primary_key(&self) -> &[usize] {
        match self {
            ObjectKind::Table { primary_key, .. } | ObjectKind::Source { primary_key, .. } => {
                primary_key
            }
            ObjectKind::View { .. }
            | ObjectKind::MaterializedView { .. }
            | ObjectKind::Sink { .. }
            | ObjectKind::Index { .. }
            | ObjectKind::Sequence { .. } => &[],
        }
    }
}

/// A connector with everything it was declared with, credentials included.
#[derive(Clone, Debug, Default)]
pub struct ConnectorSpec {
    pub options: Options,
    pub format: Option<FormatEncode>,
    pub include: Vec<IncludeColumn>,
    /// Where reading of each split begins, resolved once at CREATE; splits found later are added. Empty for sinks.
    pub start: Vec<SplitStart>,
    /// In a test, statements stand in for the connector: nothing outside is asked for.
    pub stand_in: bool,
}
