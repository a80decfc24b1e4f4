//! What the server holds, told to the memory account: state of live tables and operators, changes in flight, readers'
//! queues.
//!
//! Workers and readers count for themselves; the coordinator adds up, at most once per [`INTERVAL`], so that the account is
//! never older than that and costs no worker anything.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Shared;
use crate::change::ChangeBatch;
use crate::epoch::Epoch;
use crate::memory::{Holder, MemoryAccount, Reservation};

/// Between two countings: at full intake a few dozen megabytes.
const INTERVAL: Duration = Duration::from_millis(5);

/// The coordinator's reservations.
pub struct MemoryWatch {
    state: Reservation,
    in_flight: Reservation,
    readers: Reservation,
    counted: Instant,
    /// Bytes fed into the open epoch.
    open_bytes: u64,
    /// Bytes of the closed epochs that are not applied yet.
    flight: VecDeque<(Epoch, u64)>,
}

impl MemoryWatch {
    pub fn new(account: &Arc<MemoryAccount>) -> MemoryWatch {
        MemoryWatch {
            state: account.reserve(Holder::Arrangement, "state"),
            in_flight: account.reserve(Holder::InFlight, "changes in flight"),
            readers: account.reserve(Holder::Reader, "readers"),
            counted: Instant::now(),
            open_bytes: 0,
            flight: VecDeque::new(),
        }
    }

    /// Changes were given to the workers.
    pub fn fed(&mut self, changes: &[ChangeBatch]) {
        let bytes = changes.iter().map(|c| c.memory_bytes() as u64).sum::<u64>();
        self.open_bytes += bytes;
        self.in_flight.grow(bytes);
    }

    pub fn closed(&mut self, epoch: Epoch) {
        self.flight.push_back((epoch, std::mem::take(&mut self.open_bytes)));
    }

    /// Counts anew if that is due; returns whether it was.
    pub fn update(&mut self, shared: &Shared, complete: Epoch) -> bool {
        while let Some((epoch, bytes)) = self.flight.front().copied()
            && epoch <= complete
        {
            self.in_flight.shrink(bytes);
            self.flight.pop_front();
        }
        if self.counted.elapsed() < INTERVAL {
            return false;
        }
        self.counted = Instant::now();
        let live = shared.live.load();
        let counters = live.values().map(|live| &live.counters);
        let state: i64 = counters
            .map(|c| {
                c.state_bytes.load(Ordering::Relaxed) + c.operator_bytes.load(Ordering::Relaxed)
            })
            .sum();
        self.state.set(state.max(0) as u64);
        let sources = shared.sources.load();
        let queued =
            sources.values().map(|(_, status)| status.queued_bytes.load(Ordering::Relaxed));
        self.readers.set(queued.sum());
        true
    }
}
