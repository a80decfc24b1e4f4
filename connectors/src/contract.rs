//! What a source connector promises, in Arrow and bytes only.
//!
//! A [`Source`] is a declared external stream cut into splits (Kafka partitions, generator shards). A [`SourceReader`]
//! reads some of its splits and hands over [`SourceBatch`]es: decoded rows, the messages that could not be decoded, and
//! the offset up to which the split is now read. Who assigns splits, gives epochs to batches and keeps offsets is the
//! caller's business. A batch is from one split; within a split batches follow offset order without gap or overlap.

use std::fmt;
use std::time::Duration;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::SchemaRef;

/// Names one split of a source, for example a partition number in decimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SplitId(pub String);

/// A position in a split: everything before it has been read. Its unit is the connector's own (messages for Kafka,
/// events for generators); offsets of one split are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceOffset(pub u64);

impl fmt::Display for SplitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SourceOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A split with the offset where reading of it begins, resolved from the scan.startup.mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitStart {
    pub split: SplitId,
    pub start: SourceOffset,
}

/// What a reader is to read of a split: from `from`, up to but not including `until` where that is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitRange {
    pub split: SplitId,
    pub from: SourceOffset,
    pub until: Option<SourceOffset>,
}

/// A message that did not become a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    pub offset: SourceOffset,
    /// SQLSTATE of the failure, such as 22P02.
    pub sqlstate: &'static str,
    /// Why, in PostgreSQL's manner, naming the column where one is at fault.
    pub reason: String,
    /// The message itself, cut at [`REJECTED_PAYLOAD_BYTES_MAX`].
    pub payload: Vec<u8>,
}

/// Dead letters keep at most this much of a message: enough to see what it was, bounded against floods of large ones.
pub const REJECTED_PAYLOAD_BYTES_MAX: usize = 8 * 1024;

/// What one poll of a reader brought, all from one split.
#[derive(Clone, Debug)]
pub struct SourceBatch {
    pub split: SplitId,
    /// Rows in offset order, in the source's schema.
    pub rows: RecordBatch,
    /// For keyed formats (UPSERT): which rows delete their key (only the key columns are set). `None` when all insert.
    pub deletes: Option<BooleanArray>,
    pub rejected: Vec<Rejected>,
    /// The split is read up to here, rejected and skipped messages included.
    pub end: SourceOffset,
    /// Bytes of the messages as they came.
    pub bytes: u64,
    /// The split's `until` is reached: no more will come of it.
    pub finished: bool,
}

/// How far a split is readable at the moment: for lag and for bounded reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitBounds {
    pub earliest: SourceOffset,
    pub latest: SourceOffset,
}

/// A validated external stream.
pub trait Source: Send + Sync {
    /// The rows' columns: those declared, then the INCLUDE ones.
    fn schema(&self) -> SchemaRef;

    /// The splits that exist now with their start offsets. Called at CREATE SOURCE (where its errors are shown to the
    /// user) and again from time to time: a split that was not there before starts at its earliest offset.
    fn discover(&self, timeout: Duration) -> Result<Vec<SplitStart>, ConnectorError>;

    /// How far a split can be read now.
    fn bounds(&self, split: &SplitId, timeout: Duration) -> Result<SplitBounds, ConnectorError>;

    /// A reader over some splits. `columns` are the indices of the columns that somebody uses: the others may come
    /// as nulls, though every message is still checked against all of them.
    fn reader(
        &self,
        ranges: Vec<SplitRange>,
        columns: &[usize],
    ) -> Result<Box<dyn SourceReader>, ConnectorError>;
}

/// Reads splits; owned by one thread. Dropping it stops reading.
pub trait SourceReader: Send {
    /// Waits up to `wait` for something; `Ok(None)` when nothing came. At most `rows_max` rows come at once.
    ///
    /// A retriable error (broker down) is returned once per cause and poll may be called again: the reader reconnects
    /// by itself and goes on at its position. Other errors are final.
    fn poll(
        &mut self,
        wait: Duration,
        rows_max: usize,
    ) -> Result<Option<SourceBatch>, ConnectorError>;

    /// Adds a split found later.
    fn add(&mut self, range: SplitRange) -> Result<(), ConnectorError>;

    /// Whether what a retriable error told of still stands. An error that has passed by itself no longer does, though
    /// nothing may have come since.
    fn is_in_trouble(&self) -> bool {
        false
    }

    /// Bytes held in queues of the reader's client library.
    fn queued_bytes(&self) -> u64 {
        0
    }
}

/// What the caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The outside is down or slow: the same call may succeed later.
    Retry,
    /// The user's options, credentials or declarations are wrong.
    Fix,
    /// Data between the position asked for and the position available is gone.
    DataLoss,
    /// A defect.
    Bug,
}

/// A connector's failure, already free of secrets.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ConnectorError {
    pub kind: ErrorKind,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl ConnectorError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        ConnectorError { kind, message: message.into(), detail: None, hint: None }
    }

    pub fn retry(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Retry, message)
    }

    pub fn fix(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Fix, message)
    }

    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
