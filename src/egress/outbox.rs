//! What a sink owes: changes that no writer has acknowledged, added up.
//!
//! Workers put in each epoch's changes and say how far they are; the sink's thread takes everything up to an epoch that all
//! workers have reached. What was taken stays owed until it is acknowledged. An outbox that nobody empties is added up each time
//! it has doubled, so one of a view whose rows change in place stays as large as the rows that have changed; one of rows that only
//! come grows up to [`OWED_BYTES_MAX`], and then the sink fails.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Thread;

use arrow_array::RecordBatch;
use parking_lot::Mutex;

use super::fallen_behind;
use crate::change::ChangeBatch;
use crate::epoch::Epoch;
use crate::error::Result;
use crate::operators::consolidate::consolidate;

/// Changes of fewer bytes are not worth adding up before they are taken.
const SETTLE_BYTES_MIN: usize = 8 << 20;
/// A sink that owes more than this on one worker fails: a place that is down must not fill the server's memory. At a
/// thousand rows of 100 bytes a second it is reached after an hour and a half.
const OWED_BYTES_MAX: usize = 512 << 20;

/// One worker's part.
#[derive(Default)]
struct Shard {
    complete: AtomicU64,
    owed: Mutex<Owed>,
}

#[derive(Default)]
struct Owed {
    /// Taken and not acknowledged.
    taken: Vec<ChangeBatch>,
    /// Not taken, by epoch.
    waiting: Vec<(Epoch, ChangeBatch)>,
    bytes: usize,
    settled_bytes: usize,
    /// As of the last checkpoint.
    handed_over: Option<ChangeBatch>,
}

impl Owed {
    fn all(&self) -> Vec<ChangeBatch> {
        self.taken.iter().chain(self.waiting.iter().map(|(_, change)| change)).cloned().collect()
    }

    fn recount(&mut self) {
        let waiting = self.waiting.iter().map(|(_, change)| change);
        self.bytes = self.taken.iter().chain(waiting).map(ChangeBatch::memory_bytes).sum();
    }

    /// Adds up what waits, which then is of its newest epoch.
    fn settle(&mut self) -> Result<()> {
        let Some(newest) = self.waiting.iter().map(|(epoch, _)| *epoch).max() else {
            return Ok(());
        };
        let waiting: Vec<ChangeBatch> = self.waiting.drain(..).map(|(_, change)| change).collect();
        let sum = consolidate(&waiting)?;
        if !sum.is_empty() {
            self.waiting.push((newest, sum));
        }
        self.recount();
        self.settled_bytes = self.bytes;
        Ok(())
    }
}

/// What one sink owes.
pub struct Outbox {
    shards: Vec<Shard>,
    thread: OnceLock<Thread>,
}

impl Outbox {
    pub fn new(workers: usize) -> Outbox {
        let shards = (0..workers).map(|_| Shard::default()).collect();
        Outbox { shards, thread: OnceLock::new() }
    }

    /// Whom to wake when there is something.
    pub fn wake(&self, thread: Thread) {
        let _ = self.thread.set(thread);
    }

    /// Worker `shard` has applied an epoch with these changes. Fails when the sink has fallen behind too far.
    pub fn put(&self, shard: usize, epoch: Epoch, changes: &[ChangeBatch]) -> Result<()> {
        let mut owed = self.shards[shard].owed.lock();
        for change in changes.iter().filter(|change| !change.is_empty()) {
            owed.bytes += change.memory_bytes();
            owed.waiting.push((epoch, change.clone()));
        }
        if owed.bytes > SETTLE_BYTES_MIN + 2 * owed.settled_bytes {
            owed.settle()?;
        }
        match owed.bytes > OWED_BYTES_MAX {
            true => Err(fallen_behind(owed.bytes)),
            false => Ok(()),
        }
    }

    /// Worker `shard` has applied everything up to `complete`.
    pub fn publish(&self, shard: usize, complete: Epoch) {
        let shard = &self.shards[shard];
        shard.complete.store(complete.0, Ordering::Release);
        if !shard.owed.lock().waiting.is_empty()
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// The last epoch that every worker has applied.
    pub fn complete(&self) -> Epoch {
        let complete = self.shards.iter().map(|shard| shard.complete.load(Ordering::Acquire));
        Epoch(complete.min().unwrap_or(0))
    }

    /// All that is owed as of `complete`, added up: what was taken before and not acknowledged is part of it.
    pub fn take(&self, complete: Epoch) -> Result<ChangeBatch> {
        let mut all = vec![];
        for shard in &self.shards {
            let mut owed = shard.owed.lock();
            let (due, later): (Vec<_>, Vec<_>) =
                std::mem::take(&mut owed.waiting).into_iter().partition(|(e, _)| *e <= complete);
            owed.waiting = later;
            owed.taken.extend(due.into_iter().map(|(_, change)| change));
            if owed.taken.len() > 1 {
                let sum = consolidate(&owed.taken)?;
                owed.taken = if sum.is_empty() { vec![] } else { vec![sum] };
                owed.recount();
            }
            all.extend(owed.taken.iter().cloned());
        }
        consolidate(&all)
    }

    /// What was taken last has arrived.
    pub fn acknowledged(&self) {
        for shard in &self.shards {
            let mut owed = shard.owed.lock();
            owed.taken.clear();
            owed.recount();
            owed.settled_bytes = owed.settled_bytes.min(owed.bytes);
        }
    }

    /// Rows owed, not added up.
    pub fn rows(&self) -> usize {
        let of =
            |shard: &Shard| shard.owed.lock().all().iter().map(ChangeBatch::len).sum::<usize>();
        self.shards.iter().map(of).sum()
    }

    /// Bytes that worker `shard` keeps.
    pub fn bytes(&self, shard: usize) -> usize {
        self.shards[shard].owed.lock().bytes
    }

    /// How what worker `shard` owes differs from the last checkpoint.
    pub fn hand_over(&self, shard: usize) -> Result<ChangeBatch> {
        let mut owed = self.shards[shard].owed.lock();
        let now = consolidate(&owed.all())?;
        let before = owed.handed_over.replace(now.clone());
        match before.filter(|before| !before.is_empty()) {
            Some(before) => consolidate(&[negated(&before), now]),
            None => Ok(now),
        }
    }

    /// Worker `shard` owes this as of `epoch`: the sum of what was handed over.
    pub fn take_back(&self, shard: usize, epoch: Epoch, state: &[ChangeBatch]) -> Result<()> {
        let sum = consolidate(state)?;
        let mut owed = self.shards[shard].owed.lock();
        owed.handed_over = Some(sum.clone());
        if !sum.is_empty() {
            owed.waiting.push((epoch, sum));
        }
        owed.recount();
        Ok(())
    }
}

/// The same rows with opposite weights.
fn negated(change: &ChangeBatch) -> ChangeBatch {
    let rows: RecordBatch = change.rows().clone();
    let weights: Vec<i64> = change.weights.iter().map(|weight| -weight).collect();
    ChangeBatch::new(rows, weights)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use arrow_array::{ArrayRef, Int64Array};

    use super::*;

    fn change(rows: &[(i64, i64)]) -> ChangeBatch {
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.0)));
        let batch = RecordBatch::try_from_iter([("v", values)]).unwrap();
        ChangeBatch::new(batch, rows.iter().map(|r| r.1).collect::<Vec<i64>>())
    }

    fn rows(change: &ChangeBatch) -> BTreeMap<i64, i64> {
        if change.is_empty() {
            return BTreeMap::new();
        }
        let values = change.rows().column(0).as_primitive::<Int64Type>().values().to_vec();
        let mut sums = BTreeMap::new();
        for (value, weight) in values.into_iter().zip(change.weights.iter()) {
            *sums.entry(value).or_insert(0) += weight;
        }
        sums.retain(|_, weight| *weight != 0);
        sums
    }

    fn of<const N: usize>(rows: [(i64, i64); N]) -> BTreeMap<i64, i64> {
        BTreeMap::from(rows)
    }

    #[test]
    fn what_is_taken_is_of_epochs_that_all_workers_have_reached_and_added_up() {
        let outbox = Outbox::new(2);
        outbox.put(0, Epoch(1), &[change(&[(1, 1), (2, 1)])]).unwrap();
        outbox.put(1, Epoch(1), &[change(&[(2, -1)])]).unwrap();
        outbox.put(0, Epoch(2), &[change(&[(1, -1), (3, 1)])]).unwrap();
        outbox.publish(0, Epoch(2));
        assert_eq!(outbox.complete(), Epoch(0));
        outbox.publish(1, Epoch(1));
        assert_eq!(outbox.complete(), Epoch(1));
        assert_eq!(rows(&outbox.take(Epoch(1)).unwrap()), of([(1, 1)]));
        // It was not acknowledged: the next delivery has the sum of both.
        assert_eq!(rows(&outbox.take(Epoch(2)).unwrap()), of([(3, 1)]));
        outbox.acknowledged();
        assert!(outbox.take(Epoch(2)).unwrap().is_empty());
        assert_eq!(outbox.rows(), 0);
    }

    #[test]
    fn a_checkpoint_has_what_is_owed_and_nothing_that_has_arrived() {
        let outbox = Outbox::new(1);
        outbox.put(0, Epoch(1), &[change(&[(1, 1), (2, 1)])]).unwrap();
        let mut state = vec![outbox.hand_over(0).unwrap()];
        outbox.take(Epoch(1)).unwrap();
        outbox.put(0, Epoch(2), &[change(&[(2, -1), (3, 1)])]).unwrap();
        state.push(outbox.hand_over(0).unwrap());
        let restored = Outbox::new(1);
        restored.take_back(0, Epoch(2), &state).unwrap();
        assert_eq!(rows(&restored.take(Epoch(2)).unwrap()), of([(1, 1), (3, 1)]));
        outbox.acknowledged();
        state.push(outbox.hand_over(0).unwrap());
        let restored = Outbox::new(1);
        restored.take_back(0, Epoch(3), &state).unwrap();
        assert_eq!(rows(&restored.take(Epoch(3)).unwrap()), of([(2, -1), (3, 1)]));
    }

    #[test]
    fn a_place_that_is_down_costs_no_more_than_the_rows_that_change() {
        let outbox = Outbox::new(1);
        for epoch in 1..600 {
            let rows: Vec<(i64, i64)> =
                (0..2_000).flat_map(|n| [(n + epoch - 1, -1), (n + epoch, 1)]).collect();
            outbox.put(0, Epoch(epoch as u64), &[change(&rows)]).unwrap();
        }
        assert!(outbox.bytes(0) < 2 * SETTLE_BYTES_MIN, "{}", outbox.bytes(0));
    }
}
