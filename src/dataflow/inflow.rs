//! What flows into a table from inside: the changes of other objects, which sinks write to it.
//!
//! Streams cannot cross dataflows, so the worker itself moves what an object's hub hands out to the table's input. It holds
//! the input at the first epoch that one of the objects has not completed, so that the table applies an epoch once, with all
//! that is in it: at any epoch it has exactly what the objects have. It begins with the rows as of an epoch, in slices, and ends
//! before one.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use arrow_schema::SchemaRef;

use super::hub::{HYDRATION_SLICES, Hub, HubRef, Hydration, Subscription, start_hydration};
use super::render::FeedHandle;
use crate::catalog::ObjectId;
use crate::change::{ChangeBatch, Kind, batch_of};
use crate::error::{Error, Result};

/// One object that flows into a table.
pub struct Inflow {
    pub object: ObjectId,
    subscription: Rc<RefCell<Subscription>>,
    hub: Weak<RefCell<Hub>>,
    /// The epoch that its rows are taken as of; `None` once they are.
    begins: Option<u64>,
    hydration: Option<Hydration>,
    hold: Option<Rc<Cell<u64>>>,
    /// Changes from this epoch on do not flow any more.
    until: Option<u64>,
}

impl Inflow {
    /// From `epoch` on: with the rows as of it, or `restored` with its changes, the table having what was before.
    pub fn new(object: ObjectId, hub: &HubRef, epoch: u64, restored: bool) -> Inflow {
        let from = if restored { epoch } else { epoch + 1 };
        let hold = (!restored).then(|| hub.borrow_mut().hold(epoch));
        Inflow {
            object,
            subscription: hub.borrow_mut().subscribe(Some(from)),
            hub: Rc::downgrade(hub),
            begins: (!restored).then_some(epoch),
            hydration: None,
            hold,
            until: None,
        }
    }

    pub fn end(&mut self, until: u64) {
        self.until = Some(until);
    }

    /// The first epoch of which more may come; none where it has ended.
    fn frontier(&self) -> u64 {
        let frontier = self.begins.unwrap_or(self.subscription.borrow().frontier);
        if self.until.is_some_and(|until| frontier >= until) { u64::MAX } else { frontier }
    }

    /// Hands over the next rows as of the beginning, once the input is there; whether more of them are at hand.
    fn hydrate(&mut self, input: &mut FeedHandle, schema: &SchemaRef) -> Result<bool> {
        let begins = *input.time();
        if !self.is_ready(begins) {
            return Ok(false);
        }
        let columns: Vec<usize> = (0..schema.fields().len()).collect();
        let hydration = self.hydration.get_or_insert_with(|| start_hydration(&self.hub, begins));
        for _ in 0..HYDRATION_SLICES {
            let Some(change) = hydration.slice(&columns) else {
                (self.begins, self.hydration, self.hold) = (None, None, None);
                return Ok(false);
            };
            input.send_batch(&mut of_table(change, schema)?);
        }
        Ok(true)
    }

    /// Whether its rows as of its beginning can be handed over at `time`.
    fn is_ready(&self, time: u64) -> bool {
        self.begins == Some(time) && self.subscription.borrow().frontier > time
    }

    /// The changes before `below`, with their epochs.
    fn take(&mut self, below: u64) -> Vec<(u64, ChangeBatch)> {
        let below = below.min(self.until.unwrap_or(u64::MAX));
        let mut subscription = self.subscription.borrow_mut();
        let from = subscription.from.unwrap_or_default();
        let ready = subscription.items.partition_point(|(epoch, _)| *epoch < below);
        let changes = subscription.items.drain(..ready);
        changes.filter(|(epoch, _)| *epoch >= from).collect()
    }
}

impl Drop for Inflow {
    fn drop(&mut self) {
        self.subscription.borrow_mut().close();
    }
}

/// Moves what is complete to a table's input, and the input on, at most to `open`; whether more is at hand.
pub fn pour(
    inflows: &mut Vec<Inflow>,
    input: &mut FeedHandle,
    schema: &SchemaRef,
    open: u64,
) -> Result<bool> {
    let mut more = false;
    for inflow in inflows.iter_mut() {
        more |= inflow.hydrate(input, schema)?;
    }
    let below = inflows.iter().map(Inflow::frontier).fold(open, u64::min);
    let mut changes: Vec<_> = inflows.iter_mut().flat_map(|inflow| inflow.take(below)).collect();
    changes.sort_by_key(|(epoch, _)| *epoch);
    for (epoch, change) in changes {
        advance(input, epoch);
        input.send_batch(&mut of_table(change, schema)?);
    }
    advance(input, below);
    inflows.retain(|inflow| inflow.frontier() < u64::MAX);
    // One may have waited for the input to get to its beginning.
    Ok(more || inflows.iter().any(|inflow| inflow.is_ready(*input.time())))
}

fn advance(input: &mut FeedHandle, epoch: u64) {
    if epoch > *input.time() {
        input.advance_to(epoch);
    }
}

/// A change with the table's columns, which are of the same types but may be NOT NULL.
fn of_table(change: ChangeBatch, schema: &SchemaRef) -> Result<ChangeBatch> {
    let (Some(rows), Kind::Rows) = (&change.batch, change.kind) else { return Ok(change) };
    let rows = batch_of(schema.clone(), rows.columns().to_vec(), rows.num_rows())
        .map_err(|e| Error::internal(e.to_string()))?;
    Ok(ChangeBatch { batch: Some(rows), ..change })
}
