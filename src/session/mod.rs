//! One client's session: settings, prepared statements' meaning, the transaction's state. Independent of the wire.
//!
//! The wire parses and binds through [`Session`] and streams what comes back; it never sees plans or the catalog.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::FieldRef;
use datafusion::scalar::ScalarValue;
use futures::stream::BoxStream;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::server::Server;

/// A parsed statement with its own text; planning happens at prepare and execute.
#[derive(Clone, Debug)]
pub struct Parsed {
    pub statement: crate::sql::Statement,
    pub sql: Arc<str>,
}

/// A statement whose parameter and result types are known.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub parsed: Parsed,
    /// The parameters' types as Arrow fields (see `crate::types` for the mapping to PostgreSQL's), `$1` first.
    pub params: Vec<FieldRef>,
    /// The result's columns under the names a client sees; `None` for statements that return no rows.
    pub columns: Option<Vec<FieldRef>>,
}

/// What a statement came to.
pub enum Outcome {
    /// Rows, as they come. The number of rows makes the command tag: `tag` is its first word, such as "SELECT".
    Rows { columns: Vec<FieldRef>, batches: BoxStream<'static, Result<RecordBatch>>, tag: &'static str },
    /// The whole command tag, such as "INSERT 0 3" or "CREATE TABLE".
    Command { tag: String },
    /// An empty query string.
    Empty,
}

/// The transaction's state as ReadyForQuery reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    Idle,
    InBlock,
    Failed,
}

/// One client's session.
pub struct Session {
    server: Arc<Server>,
    /// The running statement's cancellation; a fresh child for each statement.
    notices: Vec<Error>,
    settings: BTreeMap<String, String>,
}

impl Session {
    /// A new session for `user` on `database`; `options` are the startup packet's other parameters (application_name,
    /// client_encoding, options ...), applied as SET would. An unknown database is 3D000.
    pub fn new(server: Arc<Server>, user: &str, database: &str, options: &BTreeMap<String, String>) -> Result<Session>;

    /// Splits and parses a query string: one entry a statement, empty for an empty string.
    pub fn parse(&self, sql: &str) -> Result<Vec<Parsed>>;

    /// Finds parameter and result types. `param_types` are those the client named (as Arrow fields), `None` where it left
    /// them to us.
    pub async fn prepare(&mut self, parsed: Parsed, param_types: Vec<Option<FieldRef>>) -> Result<Prepared>;

    /// Runs a statement. `cancel` stops planning, execution and the returned stream with 57014.
    pub async fn execute(&mut self, prepared: &Prepared, params: Vec<ScalarValue>, cancel: CancellationToken) -> Result<Outcome>;

    /// After an error outside of execute (bind, parse): a transaction block becomes failed.
    pub fn fail_transaction(&mut self);

    pub fn transaction_status(&self) -> TransactionStatus;

    /// Notices and warnings raised since the last call.
    pub fn take_notices(&mut self) -> Vec<Error>;

    /// (name, value) of every parameter that PostgreSQL 15 reports, at the start and whenever one has changed since the
    /// last call: server_version, server_encoding, client_encoding, DateStyle, TimeZone, integer_datetimes ...
    pub fn take_parameter_changes(&mut self) -> Vec<(String, String)>;

    /// How values are written as text: TimeZone, DateStyle, IntervalStyle, bytea_output, extra_float_digits.
    pub fn text_style(&self) -> crate::types::TextStyle;
}
