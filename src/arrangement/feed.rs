//! A feed: one object's changes on their way from the workers to one reader on any thread.
//!
//! Each worker adds its part of an epoch when it has applied it, and says which epochs are complete; the reader takes whole
//! epochs in order. Nobody waits for the reader. What it leaves lying is bounded: a feed is cut off by the first change of a
//! further epoch that finds more than [`Limits`] allow still waiting. One epoch alone is never too much, however large, as
//! long as the memory account has room for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::live::Version;
use crate::change::ChangeBatch;
use crate::config::ByteSize;
use crate::epoch::Epoch;
use crate::error::{Error, Result, SqlState};
use crate::memory::{Purpose, Reservation};

/// What may wait for a reader.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub rows: u64,
    pub bytes: u64,
}

/// What all feeds of a server have come to, for metrics.
#[derive(Default)]
pub struct FeedCounters {
    pub active: AtomicI64,
    /// Rows that readers have taken.
    pub rows: AtomicU64,
    pub cut_off: AtomicU64,
}

/// An epoch in which the object has changed.
pub struct Changed {
    pub epoch: Epoch,
    /// Each consolidated; equal rows are in one of them, unless they were only inserted.
    pub changes: Vec<ChangeBatch>,
    /// A worker's part as of the epoch, where errors make it wrong.
    pub poisoned: Option<Version>,
}

/// What a reader gets when it asks.
pub enum Taken {
    Changed(Changed),
    /// There is no change up to `complete`, as far as that was asked for.
    Nothing {
        complete: Epoch,
    },
}

#[derive(Default)]
struct Waiting {
    changes: Vec<ChangeBatch>,
    poisoned: Option<Version>,
    rows: u64,
    bytes: u64,
}

struct State {
    /// The first epoch that is not complete, by worker.
    below: Vec<u64>,
    epochs: BTreeMap<Epoch, Waiting>,
    rows: u64,
    bytes: u64,
    /// Of what the reader has taken last and may still have.
    taken_bytes: u64,
    cut_off: Option<Error>,
    closed: bool,
}

impl State {
    /// The last epoch that every worker has applied.
    fn complete(&self) -> Epoch {
        let below = self.below.iter().copied().min().unwrap_or(u64::MAX);
        Epoch(below.saturating_sub(1)).min(Epoch::FINISHED)
    }

    /// Drops all that waits.
    fn clear(&mut self) {
        self.epochs.clear();
        (self.rows, self.bytes) = (0, 0);
    }
}

/// The way from the workers to a reader.
pub struct Feed {
    limits: Limits,
    counters: Arc<FeedCounters>,
    held: Reservation,
    state: Mutex<State>,
    changed: Notify,
}

impl Feed {
    /// `held` is empty, and what waits is on it.
    pub fn new(
        workers: usize,
        limits: Limits,
        counters: Arc<FeedCounters>,
        held: Reservation,
    ) -> Feed {
        counters.active.fetch_add(1, Ordering::Relaxed);
        let state = State {
            below: vec![0; workers],
            epochs: BTreeMap::new(),
            rows: 0,
            bytes: 0,
            taken_bytes: 0,
            cut_off: None,
            closed: false,
        };
        Feed { limits, counters, held, state: Mutex::new(state), changed: Notify::new() }
    }

    /// Called by workers: part of an epoch that is not complete yet.
    pub fn push(&self, epoch: Epoch, change: ChangeBatch) {
        let (rows, bytes) = (change.len() as u64, change.memory_bytes() as u64);
        let mut state = self.state.lock();
        if state.closed || state.cut_off.is_some() {
            return;
        }
        let full = state.rows + rows > self.limits.rows || state.bytes + bytes > self.limits.bytes;
        let others_wait = state.epochs.keys().next().is_some_and(|first| *first < epoch);
        let refused = match full && others_wait {
            true => Err(self.too_slow(&state)),
            false => self.held.try_grow(Purpose::Write, bytes),
        };
        if let Err(error) = refused {
            self.counters.cut_off.fetch_add(1, Ordering::Relaxed);
            state.cut_off = Some(error);
            state.clear();
            self.held.set(state.taken_bytes);
            drop(state);
            self.changed.notify_waiters();
            return;
        }
        state.rows += rows;
        state.bytes += bytes;
        let waiting = state.epochs.entry(epoch).or_default();
        waiting.changes.push(change);
        waiting.rows += rows;
        waiting.bytes += bytes;
    }

    /// Called by workers: as of this epoch errors make the object's rows wrong.
    pub fn poison(&self, epoch: Epoch, version: Version) {
        let mut state = self.state.lock();
        if !state.closed && state.cut_off.is_none() {
            state.epochs.entry(epoch).or_default().poisoned = Some(version);
        }
    }

    /// Called by worker `shard`: it has applied every epoch below `below`.
    pub fn advance(&self, shard: usize, below: u64) {
        self.state.lock().below[shard] = below;
        self.changed.notify_waiters();
    }

    /// The reader has gone. Workers let go of the feed when they next apply an epoch.
    pub fn close(&self) {
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.closed, true) {
            self.counters.active.fetch_sub(1, Ordering::Relaxed);
        }
        state.clear();
        self.held.set(0);
    }

    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// The last epoch that every worker has applied; [`Epoch::FINISHED`] when nothing will ever change again.
    pub fn complete(&self) -> Epoch {
        self.state.lock().complete()
    }

    /// Why there is nothing more to take: 53400 where the feed was cut off, 53200 where the memory account had no room.
    pub fn check(&self) -> Result<()> {
        self.state.lock().cut_off.clone().map_or(Ok(()), Err)
    }

    /// The first epoch with changes that waits, where it is complete and not after `until`. What was taken before is given
    /// back. Errors are those of [`Feed::check`].
    pub fn take(&self, until: Epoch) -> Result<Taken> {
        let mut state = self.state.lock();
        if let Some(error) = &state.cut_off {
            return Err(error.clone());
        }
        self.held.shrink(state.taken_bytes);
        state.taken_bytes = 0;
        let until = until.min(state.complete());
        let Some(entry) = state.epochs.first_entry().filter(|entry| *entry.key() <= until) else {
            return Ok(Taken::Nothing { complete: until });
        };
        let (epoch, waiting) = entry.remove_entry();
        state.rows -= waiting.rows;
        state.bytes -= waiting.bytes;
        state.taken_bytes = waiting.bytes;
        self.counters.rows.fetch_add(waiting.rows, Ordering::Relaxed);
        let Waiting { changes, poisoned, .. } = waiting;
        Ok(Taken::Changed(Changed { epoch, changes, poisoned }))
    }

    /// Waits until all up to `epoch` is complete, or the feed is cut off.
    pub async fn wait_complete(&self, epoch: Epoch) {
        self.wait_until(|state| state.complete() >= epoch).await;
    }

    /// Waits until there is an epoch to take, or anything beyond `seen` is complete where that is wanted, or the feed is cut
    /// off or at its end.
    pub async fn wait_for_more(&self, seen: Option<Epoch>) {
        self.wait_until(|state| {
            let complete = state.complete();
            complete == Epoch::FINISHED
                || state.epochs.keys().next().is_some_and(|first| *first <= complete)
                || seen.is_some_and(|seen| complete > seen)
        })
        .await;
    }

    async fn wait_until(&self, reached: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = self.state.lock();
                if state.cut_off.is_some() || reached(&state) {
                    return;
                }
            }
            changed.await;
        }
    }

    fn too_slow(&self, state: &State) -> Error {
        let (rows, bytes) = (state.rows, ByteSize(state.bytes));
        let limits = (self.limits.rows, ByteSize(self.limits.bytes));
        Error::new(
            SqlState::CONFIGURATION_LIMIT_EXCEEDED,
            "the subscription was cut off: its changes are not taken fast enough",
        )
        .with_detail(format!(
            "{rows} rows ({bytes}) were waiting; at most {} rows or {} may.",
            limits.0, limits.1
        ))
        .with_hint(
            "Fetch more often, or raise subscribe_buffer_rows and subscribe_buffer_size; then subscribe again.",
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, RecordBatch};

    use super::*;
    use crate::memory::{Holder, MemoryAccount};

    fn rows(n: i64) -> ChangeBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..n));
        ChangeBatch::inserts(RecordBatch::try_from_iter([("n", column)]).unwrap())
    }

    fn feed(rows: u64) -> (Feed, Arc<MemoryAccount>) {
        let account = MemoryAccount::new(1 << 30);
        let held = account.reserve(Holder::Session, "subscription");
        (Feed::new(2, Limits { rows, bytes: u64::MAX }, Arc::default(), held), account)
    }

    /// The epoch that is taken and the number of its parts.
    fn taken(feed: &Feed, until: u64) -> Option<(Epoch, usize)> {
        match feed.take(Epoch(until)).unwrap() {
            Taken::Changed(changed) => Some((changed.epoch, changed.changes.len())),
            Taken::Nothing { .. } => None,
        }
    }

    #[test]
    fn an_epoch_is_taken_whole_once_all_workers_have_applied_it() {
        let (feed, account) = feed(100);
        feed.push(Epoch(3), rows(1));
        feed.advance(0, 5);
        assert_eq!(taken(&feed, 9), None);
        feed.push(Epoch(3), rows(2));
        feed.push(Epoch(4), rows(1));
        feed.advance(1, 4);
        assert_eq!(taken(&feed, 2), None, "nothing after what is asked for");
        assert_eq!(taken(&feed, 9), Some((Epoch(3), 2)));
        assert_eq!(taken(&feed, 9), None, "epoch 4 is not complete");
        feed.close();
        assert_eq!(account.used(), 0);
    }

    #[test]
    fn a_reader_that_is_behind_is_cut_off_and_its_memory_given_back() {
        let (feed, account) = feed(10);
        feed.push(Epoch(3), rows(50));
        assert!(feed.take(Epoch(0)).is_ok(), "one epoch is never too much");
        feed.push(Epoch(4), rows(1));
        let error = feed.take(Epoch(9)).err().unwrap();
        assert_eq!(error.code, SqlState::CONFIGURATION_LIMIT_EXCEEDED);
        assert_eq!(account.used(), 0);
        assert_eq!(feed.counters.cut_off.load(Ordering::Relaxed), 1);
    }
}
