//! Operator cores: plain structs without timely types, one a file, tested without it.
//!
//! The glue (`dataflow::glue`) queues batches by epoch and calls [`Operator::apply`] only with batches of the open
//! epoch, in any order and split; then [`Operator::emit`] once when the epoch is complete, also for epochs without rows when
//! the operator asked to be woken. What an operator has emitted for an epoch, over both calls, consolidates to the exact change of
//! its output. Error batches (`Kind::Errors`) never reach a core: the glue forwards them.

pub mod aggregate;
pub mod consolidate;
pub mod distinct;
pub mod join;
pub mod project;
pub mod top_n;
pub mod unnest;
pub mod upsert;
pub mod window;

mod accumulators;
mod exact_float_sum;
pub(crate) mod group_index;
mod native_column;
mod ordered_bag;
mod ordered_key;
mod prefetch;
mod row_order;
mod row_text;

#[cfg(test)]
mod oracle_tests;

use crate::change::ChangeBatch;
use crate::epoch::Epoch;
use crate::error::{Error, Result, SqlState};

/// What an operator has produced, in order; empty batches are dropped.
#[derive(Default)]
pub struct Output {
    pub batches: Vec<ChangeBatch>,
}

impl Output {
    pub fn push(&mut self, change: ChangeBatch) {
        if !change.is_empty() {
            self.batches.push(change);
        }
    }
}

/// State as rows, handed over at a checkpoint and taken back at a restore.
///
/// Rows are routed to the worker that owns the bucket (`hash::bucket`) of the columns `key`, so another number of workers can
/// load them. Whether a row replaces its key's older row or adds to a Z-set is the operator's business; weights say set (+)
/// and delete (-).
#[derive(Clone, Debug)]
pub struct StateChange {
    /// Names the part of the operator's state, for those that have several.
    pub part: &'static str,
    pub key: Vec<usize>,
    pub change: ChangeBatch,
}

/// The core of an operator.
pub trait Operator: Send {
    /// Takes a batch of the open epoch from input `port`; may emit at once. A failing row is no `Err`: it is emitted as an
    /// error batch. `Err` and panics mean a defect: the object fails with XX000.
    fn apply(&mut self, port: usize, change: ChangeBatch, out: &mut Output) -> Result<()>;

    /// The open epoch is complete. Called for every epoch in which `apply` was called, in order.
    fn emit(&mut self, epoch: Epoch, out: &mut Output) -> Result<()>;

    /// What changed since the last call (everything at the first one). Called between epochs.
    fn checkpoint(&mut self) -> Result<Vec<StateChange>> {
        Ok(vec![])
    }

    /// Takes back rows that `checkpoint` handed over, in the same order, before the first `apply`.
    fn restore(&mut self, state: StateChange) -> Result<()> {
        let detail = format!("part \"{}\" for an operator that keeps none", state.part);
        Err(Error::new(SqlState::DATA_CORRUPTED, "saved state does not fit the operator")
            .with_detail(detail))
    }

    /// Bytes of state held; 0 for stateless operators.
    fn state_bytes(&self) -> usize {
        0
    }

    /// Rows (groups, for aggregates) of state held.
    fn state_rows(&self) -> usize {
        0
    }
}
