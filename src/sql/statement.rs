//! The statements Tidewater understands: queries and DML as sqlparser has them, everything else as our own structs.
//!
//! Names are already folded (unquoted ones to lower case), so nobody downstream looks at quote styles. Option values
//! never appear in `Debug` output, because some of them are credentials and only connectors know which.

use std::fmt;

use sqlparser::ast;

use super::copy::Copy;
use super::sequence::SequenceOptions;
use crate::error::{Error, Result};
use crate::sql::{fold_identifier, quote_identifier};

/// One SQL statement.
#[derive(Clone, Debug)]
pub enum Statement {
    Query(Box<ast::Query>),
    Insert(Box<ast::Insert>, Overriding),
    Update(Box<ast::Update>),
    Delete(Box<ast::Delete>),
    Truncate(Truncate),
    CreateTable(Box<CreateTable>),
    CreateSource(Box<CreateSource>),
    CreateView(Box<CreateView>),
    CreateMaterializedView(Box<CreateMaterializedView>),
    CreateSink(Box<CreateSink>),
    CreateIndex(Box<CreateIndex>),
    CreateSequence(Box<CreateSequence>),
    CreateSchema {
        name: String,
        if_not_exists: bool,
    },
    Drop(Drop),
    Alter(Box<Alter>),
    Comment(Box<ast::Statement>),
    Show(Show),
    Set(Set),
    /// RESET name; `None` is RESET ALL.
    Reset {
        name: Option<String>,
    },
    SetTransaction {
        modes: TransactionModes,
        session: bool,
    },
    Explain(Explain),
    Begin {
        modes: TransactionModes,
    },
    Commit {
        chain: bool,
    },
    Rollback {
        chain: bool,
    },
    Savepoint {
        name: String,
    },
    Release {
        name: String,
    },
    RollbackTo {
        name: String,
    },
    Discard(Discard),
    /// DEALLOCATE name; `None` is DEALLOCATE ALL.
    Deallocate {
        name: Option<String>,
    },
    Prepare {
        name: String,
        types: Vec<ast::DataType>,
        statement: Box<Statement>,
    },
    Execute {
        name: String,
        args: Vec<ast::Expr>,
    },
    Declare(Declare),
    Fetch(Fetch),
    /// CLOSE name; `None` is CLOSE ALL.
    Close {
        name: Option<String>,
    },
    Copy(Box<Copy>),
    /// REFRESH MATERIALIZED VIEW: views are maintained, so it only waits until one has everything written before.
    /// CANCEL JOB or JOBS: by the numbers that SHOW JOBS tells.
    CancelJobs(Vec<u64>),
    Refresh {
        name: ObjectName,
    },
    Subscribe(Box<Subscribe>),
    /// What there is nothing to do for: FLUSH and WAIT, since everything written is visible; UNLISTEN, which connection pools
    /// send when they reset a session; VACUUM and ANALYZE, which tools send after loading.
    Nothing {
        tag: &'static str,
        /// The tables that it names have to be there.
        tables: Vec<ObjectName>,
    },
}

/// ALTER of a relation or schema: everything asked for happens, or nothing.
#[derive(Clone, Debug)]
pub struct Alter {
    pub kind: DropKind,
    pub name: ObjectName,
    pub if_exists: bool,
    pub actions: Vec<AlterAction>,
}

#[derive(Clone, Debug)]
pub enum AlterAction {
    Rename(String),
    RenameColumn {
        from: String,
        to: String,
    },
    RenameConstraint {
        from: String,
        to: String,
    },
    SetSchema(String),
    Owner(String),
    /// Options of a sequence.
    Sequence(Box<SequenceOptions>),
    /// Of an identity column.
    Identity {
        column: String,
        change: Box<IdentityChange>,
    },
    AddColumn {
        column: Box<ColumnDef>,
        /// Those written behind the column.
        constraints: Vec<NewConstraint>,
        if_not_exists: bool,
    },
    DropColumn {
        name: String,
        if_exists: bool,
        cascade: bool,
    },
    /// `None` is DROP DEFAULT.
    SetDefault {
        column: String,
        default: Option<ast::Expr>,
    },
    SetNotNull {
        column: String,
        not_null: bool,
    },
    SetType {
        column: String,
        data_type: ast::DataType,
        /// What the new values are; `None`: the old ones, cast as an assignment casts.
        using: Option<ast::Expr>,
    },
    AddConstraint(NewConstraint),
    ValidateConstraint(String),
    DropConstraint {
        name: String,
        if_exists: bool,
        cascade: bool,
    },
}

/// What ALTER COLUMN does to an identity column.
#[derive(Clone, Debug)]
pub enum IdentityChange {
    /// ADD GENERATED ... AS IDENTITY.
    Add { always: bool, options: SequenceOptions },
    /// SET GENERATED and the options of its sequence, RESTART above all.
    Set { always: Option<bool>, options: SequenceOptions },
    /// DROP IDENTITY.
    Drop { if_exists: bool },
}

/// A constraint for a table that exists.
#[derive(Clone, Debug)]
pub enum NewConstraint {
    PrimaryKey {
        name: Option<String>,
        columns: Vec<String>,
    },
    Unique(UniqueConstraint),
    /// `not_valid`: the rows there are may violate it.
    Check {
        check: Box<CheckConstraint>,
        not_valid: bool,
    },
}

/// A name with up to two qualifiers, all folded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    pub database: Option<String>,
    pub schema: Option<String>,
    pub name: String,
}

impl ObjectName {
    pub fn bare(name: impl Into<String>) -> ObjectName {
        ObjectName { database: None, schema: None, name: name.into() }
    }

    pub fn qualified(schema: impl Into<String>, name: impl Into<String>) -> ObjectName {
        ObjectName { database: None, schema: Some(schema.into()), name: name.into() }
    }
}

impl TryFrom<&ast::ObjectName> for ObjectName {
    type Error = Error;

    /// 42601 for names of more than three parts, as PostgreSQL has it.
    fn try_from(name: &ast::ObjectName) -> Result<ObjectName> {
        let parts: Option<Vec<String>> =
            name.0.iter().map(|p| p.as_ident().map(fold_identifier)).collect();
        match parts.as_deref() {
            Some([name]) => Ok(ObjectName::bare(name)),
            Some([schema, name]) => Ok(ObjectName::qualified(schema, name)),
            Some([database, schema, name]) => Ok(ObjectName {
                database: Some(database.clone()),
                ..ObjectName::qualified(schema, name)
            }),
            _ => Err(Error::syntax(format!(
                "improper qualified name (too many dotted names): {name}"
            ))),
        }
    }
}

/// As SQL: each part quoted where it needs to be.
impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.database, &self.schema].into_iter().flatten() {
            write!(f, "{}.", quote_identifier(part))?;
        }
        f.write_str(&quote_identifier(&self.name))
    }
}

/// Keys and values of a WITH or ENCODE clause in the order given; keys are lower case unless quoted, no key twice.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Options(pub Vec<(String, String)>);

impl Options {
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets how PostgreSQL would store a table, which means nothing here; a connector's options are its own.
    pub(super) fn drop_storage_parameters(&mut self) {
        const NAMES: &[&str] = &[
            "fillfactor",
            "log_autovacuum_min_duration",
            "parallel_workers",
            "toast_tuple_target",
            "user_catalog_table",
        ];
        let is_one = |key: &str| {
            NAMES.contains(&key)
                || ["autovacuum_", "toast.", "vacuum_"].iter().any(|start| key.starts_with(start))
        };
        if self.get("connector").is_none() {
            self.0.retain(|(key, _)| !is_one(key));
        }
    }
}

/// Keys only: values may be credentials.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(k, _)| k)).finish()
    }
}

/// A declared column.
#[derive(Clone, Debug)]
pub struct ColumnDef {
    pub name: String,
    pub data_type: ast::DataType,
    pub nullable: bool,
    pub default: Option<ast::Expr>,
    pub generated: Option<Generated>,
}

/// How a column's values come about by themselves.
#[derive(Clone, Debug)]
pub enum Generated {
    /// GENERATED ALWAYS AS (expression) STORED.
    Stored(Box<ast::Expr>),
    /// GENERATED ALWAYS or BY DEFAULT AS IDENTITY.
    Identity { always: bool, options: Box<SequenceOptions> },
    /// SERIAL, BIGSERIAL, SMALLSERIAL.
    Serial,
}

/// A CHECK constraint.
#[derive(Clone, Debug)]
pub struct CheckConstraint {
    pub name: Option<String>,
    pub expr: ast::Expr,
}

/// A UNIQUE constraint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UniqueConstraint {
    pub name: Option<String>,
    pub columns: Vec<String>,
    /// Rows with a NULL in these columns are like no other.
    pub nulls_distinct: bool,
}

/// OVERRIDING ... VALUE of INSERT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overriding {
    #[default]
    No,
    /// Values given for identity columns are taken.
    System,
    /// Values given for identity columns are left out.
    User,
}

/// LIKE table INCLUDING ...: columns as in another table.
#[derive(Clone, Debug)]
pub struct Like {
    pub table: ObjectName,
    /// Columns declared before it.
    pub before: usize,
    pub defaults: bool,
    pub constraints: bool,
    pub generated: bool,
    pub identity: bool,
    pub indexes: bool,
}

/// The schema that temporary tables are created in, as statements call it; each session has one of its own behind.
pub const TEMPORARY_SCHEMA: &str = "pg_temp";

/// Whether a schema is a session's own.
pub fn is_temporary_schema(name: &str) -> bool {
    name.strip_prefix(TEMPORARY_SCHEMA).is_some_and(|rest| rest.starts_with('_'))
}

/// CREATE TABLE, with or without a connector.
#[derive(Clone, Debug)]
pub struct CreateTable {
    pub name: ObjectName,
    pub if_not_exists: bool,
    pub columns: Vec<ColumnDef>,
    /// Names of columns in key order; empty without a primary key.
    pub primary_key: Vec<String>,
    pub primary_key_name: Option<String>,
    pub checks: Vec<CheckConstraint>,
    pub uniques: Vec<UniqueConstraint>,
    /// LIKE other tables, in their order, before the columns declared here.
    pub like: Vec<Like>,
    pub append_only: bool,
    pub watermark: Option<Watermark>,
    pub include: Vec<IncludeColumn>,
    pub options: Options,
    pub format: Option<FormatEncode>,
    /// CREATE TABLE ... AS; `columns` is then empty and `column_names` may rename.
    pub query: Option<Box<ast::Query>>,
    /// CREATE TABLE ... AS ... WITH NO DATA.
    pub no_data: bool,
    pub column_names: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct CreateSource {
    pub name: ObjectName,
    pub if_not_exists: bool,
    pub columns: Vec<ColumnDef>,
    pub primary_key: Vec<String>,
    pub watermark: Option<Watermark>,
    pub include: Vec<IncludeColumn>,
    pub options: Options,
    /// `None` for connectors that produce rows themselves (nexmark, datagen).
    pub format: Option<FormatEncode>,
}

/// WATERMARK FOR column AS expression.
#[derive(Clone, Debug)]
pub struct Watermark {
    pub column: String,
    pub expr: ast::Expr,
}

/// INCLUDE kind [AS name].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncludeColumn {
    pub kind: IncludeKind,
    /// The column's name; `None` where the connector's default applies.
    pub name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IncludeKind {
    Key,
    Partition,
    Offset,
    Timestamp,
    /// All headers, or the value of one.
    Header(Option<String>),
    Payload,
}

impl IncludeKind {
    /// The word after INCLUDE.
    pub fn word(&self) -> &'static str {
        match self {
            IncludeKind::Key => "key",
            IncludeKind::Partition => "partition",
            IncludeKind::Offset => "offset",
            IncludeKind::Timestamp => "timestamp",
            IncludeKind::Header(_) => "header",
            IncludeKind::Payload => "payload",
        }
    }
}

/// FORMAT f ENCODE e (options); both words in upper case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatEncode {
    pub format: String,
    pub encode: String,
    pub options: Options,
    /// KEY ENCODE, in upper case.
    pub key_encode: Option<String>,
}

#[derive(Clone, Debug)]
pub struct CreateView {
    pub name: ObjectName,
    pub or_replace: bool,
    pub if_not_exists: bool,
    /// New names for the first columns of the query; may be fewer than the query has.
    pub columns: Vec<String>,
    pub query: Box<ast::Query>,
}

#[derive(Clone, Debug)]
pub struct CreateMaterializedView {
    pub name: ObjectName,
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub columns: Vec<String>,
    pub query: Box<ast::Query>,
    pub options: Options,
    pub emit_on_window_close: bool,
}

/// `CREATE [UNIQUE] INDEX` name ON table (columns); the name may be left out.
#[derive(Clone, Debug)]
pub struct CreateIndex {
    pub name: Option<ObjectName>,
    pub if_not_exists: bool,
    pub table: ObjectName,
    pub columns: Vec<String>,
    pub unique: bool,
    /// Of a unique index: rows with a NULL in these columns are like no other.
    pub nulls_distinct: bool,
}

/// CREATE SEQUENCE.
#[derive(Clone, Debug)]
pub struct CreateSequence {
    pub name: ObjectName,
    pub if_not_exists: bool,
    pub options: SequenceOptions,
}

#[derive(Clone, Debug)]
pub struct CreateSink {
    pub name: ObjectName,
    pub if_not_exists: bool,
    /// INTO table (column, ...)
    pub into: Option<(ObjectName, Vec<String>)>,
    pub input: SinkInput,
    pub options: Options,
    pub format: Option<FormatEncode>,
    pub emit_on_window_close: bool,
}

#[derive(Clone, Debug)]
pub enum SinkInput {
    Relation(ObjectName),
    Query(Box<ast::Query>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropKind {
    Table,
    Source,
    View,
    MaterializedView,
    Sink,
    Schema,
    Index,
    Sequence,
}

impl DropKind {
    /// As in messages: `materialized view`.
    pub fn words(self) -> &'static str {
        match self {
            DropKind::Table => "table",
            DropKind::Source => "source",
            DropKind::View => "view",
            DropKind::MaterializedView => "materialized view",
            DropKind::Sink => "sink",
            DropKind::Schema => "schema",
            DropKind::Index => "index",
            DropKind::Sequence => "sequence",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Drop {
    pub kind: DropKind,
    /// At least one; schemas are bare names.
    pub names: Vec<ObjectName>,
    pub if_exists: bool,
    pub cascade: bool,
}

#[derive(Clone, Debug)]
pub struct Truncate {
    pub names: Vec<ObjectName>,
    /// The sequences that the tables' columns own begin anew.
    pub restart_identity: bool,
    pub cascade: bool,
}

/// The lists that SHOW gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShowKind {
    Tables,
    Sources,
    Views,
    MaterializedViews,
    Sinks,
    Sequences,
    Schemas,
    Databases,
    Jobs,
}

#[derive(Clone, Debug)]
pub enum Show {
    /// SHOW TABLES and its like. `schema` never accompanies schemas, databases and jobs.
    List {
        kind: ShowKind,
        schema: Option<String>,
        like: Option<String>,
    },
    /// SHOW COLUMNS FROM x, DESCRIBE x.
    Columns {
        name: ObjectName,
        like: Option<String>,
    },
    /// SHOW CREATE kind x.
    Create {
        kind: DropKind,
        name: ObjectName,
    },
    /// SHOW name; the name is lower case.
    Setting(String),
    All,
}

/// SET [SESSION|LOCAL] name = ...; SET TIME ZONE and SET NAMES arrive as the settings they stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Lower case, dots included.
    pub name: String,
    /// The values as text; `None` is DEFAULT.
    pub values: Option<Vec<String>>,
    pub local: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransactionModes {
    pub isolation: Option<IsolationLevel>,
    pub read_only: Option<bool>,
    pub deferrable: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsolationLevel {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

#[derive(Clone, Debug)]
pub struct Explain {
    pub options: ExplainOptions,
    pub target: ExplainTarget,
}

#[derive(Clone, Debug, Default)]
pub struct ExplainOptions {
    pub analyze: bool,
    pub verbose: bool,
    /// As they are without being named: on where a statement is run.
    pub timing: Option<bool>,
    pub summary: Option<bool>,
    pub format: ExplainFormat,
    /// Of what is running: how long to look at it, as text; else all since it was created.
    pub duration: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExplainFormat {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Debug)]
pub enum ExplainTarget {
    Statement(Box<Statement>),
    /// What is running: a materialized view, sink or index.
    Running {
        kind: DropKind,
        name: ObjectName,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    All,
    Plans,
    Sequences,
    Temp,
}

/// SUBSCRIBE TO a relation or query.
#[derive(Clone, Debug)]
pub struct Subscribe {
    pub to: SubscribeTo,
    /// Begin with the rows there are.
    pub snapshot: bool,
    /// Tell how far the changes are complete.
    pub progress: bool,
    /// The epoch to begin with.
    pub as_of: Option<u64>,
}

#[derive(Clone, Debug)]
pub enum SubscribeTo {
    Relation(ObjectName),
    Query(Box<ast::Query>),
}

/// DECLARE name CURSOR FOR a query.
#[derive(Clone, Debug)]
pub struct Declare {
    pub name: String,
    pub binary: bool,
    pub hold: bool,
    pub scroll: bool,
    pub statement: Box<Statement>,
}

/// FETCH or MOVE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    pub cursor: String,
    pub direction: FetchDirection,
    /// MOVE: the rows are skipped, only their number is told.
    pub only_move: bool,
    /// How long to wait for the changes of a subscription when there are none.
    pub timeout: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchDirection {
    /// That many rows on; negative ones back. FETCH NEXT is `Forward(1)`.
    Forward(i64),
    ForwardAll,
    BackwardAll,
    First,
    Last,
    Absolute(i64),
    Relative(i64),
}
