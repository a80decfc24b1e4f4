//! The epoch log: what each epoch is made of, so that a replay makes exactly the same cuts.
//!
//! Here is the seam: the coordinator appends a record for every epoch and acknowledges nothing before it is durable. The log
//! of this release keeps nothing, so data lives as long as the process; a durable one takes its place behind [`EpochLog`].

use tidewater_connectors::contract::{SourceOffset, SplitId};

use crate::catalog::ObjectId;
use crate::change::ChangeBatch;
use crate::epoch::Epoch;
use crate::error::Result;

/// What went into one epoch.
#[derive(Clone, Debug, Default)]
pub struct EpochRecord {
    pub epoch: Epoch,
    /// Microseconds since 1970 when the epoch was closed: what now() means in it.
    pub wall_clock_us: i64,
    /// Where each split was read to, for the sources that took rows.
    pub offsets: Vec<(ObjectId, SplitId, SourceOffset)>,
    /// Changes of tables by DML, with defaults and constraints already resolved.
    pub writes: Vec<(ObjectId, ChangeBatch)>,
    /// Objects created and dropped, by id; their definitions are the catalog's.
    pub created: Vec<ObjectId>,
    pub dropped: Vec<ObjectId>,
}

/// Where epochs are recorded. Records are appended in epoch order.
pub trait EpochLog: Send {
    /// Returns once the record is as durable as the log makes it.
    fn append(&mut self, record: EpochRecord) -> Result<()>;
}

/// Keeps nothing.
#[derive(Default)]
pub struct MemoryLog;

impl EpochLog for MemoryLog {
    fn append(&mut self, _record: EpochRecord) -> Result<()> {
        Ok(())
    }
}
