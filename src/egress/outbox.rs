//! What a sink owes: the changes that no writer has acknowledged, in order and without what lies between.
//!
//! Workers put in each epoch's changes and say how far they are; the sink's thread takes everything up to an epoch that all
//! workers have reached. What was taken stays owed until it is acknowledged, since nobody knows what of it has arrived.
//!
//! Of a key only its first row before and its last row after are kept, so one of a view whose rows change in place stays as large as
//! the rows that have changed. A key that is as it was stays, too, as a row that came and went: an earlier delivery that was not
//! acknowledged may have told of something else. Rows without key that only come grow up to [`OWED_BYTES_MAX`], and then
//! the sink fails.
//!
//! Invariants: all changes of a key are on one worker, in the order of epochs, and of one epoch what goes before what comes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use parking_lot::Mutex;

use super::fallen_behind;
use crate::change::ChangeBatch;
use crate::checkpoint::mismatch;
use crate::epoch::Epoch;
use crate::error::{Error, Result};
use crate::operators::consolidate::consolidate;
use crate::operators::group_index::GroupIndex;

/// Changes of fewer bytes are not worth tidying before they are taken.
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

/// Its changes have two more columns than rows do: their place in the order and their weight.
#[derive(Default)]
struct Owed {
    /// The place of the next change.
    next: i64,
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
    /// In the order of epochs.
    fn all(&self) -> Vec<ChangeBatch> {
        self.taken.iter().chain(self.waiting.iter().map(|(_, change)| change)).cloned().collect()
    }

    fn recount(&mut self) {
        let waiting = self.waiting.iter().map(|(_, change)| change);
        self.bytes = self.taken.iter().chain(waiting).map(ChangeBatch::memory_bytes).sum();
    }

    /// Tidies what waits, which then is of its newest epoch.
    fn settle(&mut self, key: &[usize]) -> Result<()> {
        let Some(newest) = self.waiting.iter().map(|(epoch, _)| *epoch).max() else {
            return Ok(());
        };
        let waiting: Vec<ChangeBatch> = self.waiting.drain(..).map(|(_, change)| change).collect();
        self.waiting.push((newest, settled(&waiting, key)?));
        self.recount();
        self.settled_bytes = self.bytes;
        Ok(())
    }
}

/// What one sink owes.
pub struct Outbox {
    shards: Vec<Shard>,
    /// Columns that identify a row; empty where rows are only ever added.
    key: Vec<usize>,
    thread: OnceLock<Thread>,
}

impl Outbox {
    /// `key`: columns that identify a row; empty for a sink that leaves out what goes.
    pub fn new(workers: usize, key: Vec<usize>) -> Outbox {
        let shards = (0..workers).map(|_| Shard::default()).collect();
        Outbox { shards, key, thread: OnceLock::new() }
    }

    /// Whom to wake when there is something.
    pub fn wake(&self, thread: Thread) {
        let _ = self.thread.set(thread);
    }

    /// Worker `shard` has applied an epoch with these changes. Fails when the sink has fallen behind too far.
    pub fn put(&self, shard: usize, epoch: Epoch, changes: &[ChangeBatch]) -> Result<()> {
        let change = ordered(consolidate(changes)?, !self.key.is_empty())?;
        if change.is_empty() {
            return Ok(());
        }
        let mut owed = self.shards[shard].owed.lock();
        let change = numbered(&change, owed.next)?;
        owed.next += change.len() as i64;
        owed.bytes += change.memory_bytes();
        owed.waiting.push((epoch, change));
        if !self.key.is_empty() && owed.bytes > SETTLE_BYTES_MIN + 2 * owed.settled_bytes {
            owed.settle(&self.key)?;
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

    /// All that is owed as of `complete`: what was taken before and not acknowledged is part of it. The changes of a key are
    /// in their order.
    pub fn take(&self, complete: Epoch) -> Result<ChangeBatch> {
        let mut all = vec![];
        for shard in &self.shards {
            let mut owed = shard.owed.lock();
            let (due, later): (Vec<_>, Vec<_>) =
                std::mem::take(&mut owed.waiting).into_iter().partition(|(e, _)| *e <= complete);
            owed.waiting = later;
            owed.taken.extend(due.into_iter().map(|(_, change)| change));
            if owed.taken.len() > 1 {
                owed.taken = vec![settled(&owed.taken, &self.key)?];
                owed.recount();
            }
            all.extend(owed.taken.iter().cloned());
        }
        let all = ChangeBatch::concat(&all).map_err(failed)?;
        if all.is_empty() {
            return Ok(all);
        }
        let columns: Vec<usize> = (0..all.rows().num_columns() - NUMBERS).collect();
        let rows = all.rows().project(&columns).map_err(failed)?;
        Ok(ChangeBatch::new(rows, all.weights))
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

    /// Rows owed.
    pub fn rows(&self) -> usize {
        let of = |shard: &Shard| {
            let owed = shard.owed.lock();
            let waiting = owed.waiting.iter().map(|(_, change)| change);
            owed.taken.iter().chain(waiting).map(ChangeBatch::len).sum::<usize>()
        };
        self.shards.iter().map(of).sum()
    }

    /// Bytes that all workers keep.
    pub fn bytes_owed(&self) -> usize {
        (0..self.shards.len()).map(|shard| self.bytes(shard)).sum()
    }

    /// Bytes that worker `shard` keeps.
    pub fn bytes(&self, shard: usize) -> usize {
        self.shards[shard].owed.lock().bytes
    }

    /// How what worker `shard` owes differs from the last checkpoint.
    pub fn hand_over(&self, shard: usize) -> Result<ChangeBatch> {
        let mut owed = self.shards[shard].owed.lock();
        let mut now = settled(&owed.all(), &self.key)?;
        // The weight is among the columns: what came must not cancel what went.
        now.weights = vec![1; now.len()].into();
        match owed.handed_over.replace(now.clone()) {
            Some(before) if !before.is_empty() => consolidate(&[before.negated(), now]),
            _ => Ok(now),
        }
    }

    /// Worker `shard` owes this as of `epoch`: the sum of what was handed over, by several workers perhaps.
    pub fn take_back(&self, shard: usize, epoch: Epoch, state: &[ChangeBatch]) -> Result<()> {
        let sum = consolidate(state)?;
        let mut owed = self.shards[shard].owed.lock();
        owed.handed_over = Some(sum.clone());
        if !sum.is_empty() {
            let (change, next) = in_order(&sum)?;
            owed.next = next;
            owed.waiting.push((epoch, change));
        }
        owed.recount();
        Ok(())
    }
}

fn failed(error: ArrowError) -> Error {
    Error::internal(error.to_string())
}

/// One epoch's changes, what goes before what comes; without `keyed` only what comes.
fn ordered(change: ChangeBatch, keyed: bool) -> Result<ChangeBatch> {
    if change.is_empty() || change.all_inserts() {
        return Ok(change);
    }
    let rows = |wanted: fn(i64) -> bool| {
        let weights = change.weights.iter().enumerate();
        weights.filter(move |(_, weight)| wanted(**weight)).map(|(row, _)| row as u32)
    };
    let goes = rows(|weight| weight < 0).filter(|_| keyed);
    let order: Vec<u32> = goes.chain(rows(|weight| weight > 0)).collect();
    change.take(&order).map_err(failed)
}

/// Of the changes of each key the first and the last, as far as they say what the key was, what it is, and that it was touched.
fn settled(changes: &[ChangeBatch], key: &[usize]) -> Result<ChangeBatch> {
    let all = ChangeBatch::concat(changes).map_err(failed)?;
    if key.is_empty() || all.is_empty() {
        return Ok(all);
    }
    let columns: Vec<ArrayRef> = key.iter().map(|&k| all.rows().column(k).clone()).collect();
    let types: Vec<DataType> = columns.iter().map(|c| c.data_type().clone()).collect();
    let mut groups = vec![];
    GroupIndex::bitwise(&types)?.intern(&columns, all.len(), &mut groups)?;
    let mut ends: Vec<(u32, u32)> = vec![];
    for (row, &group) in groups.iter().enumerate() {
        // A fresh index numbers groups in the order of their first rows.
        match ends.get_mut(group as usize) {
            Some((_, last)) => *last = row as u32,
            None => ends.push((row as u32, row as u32)),
        }
    }
    let goes = |row: u32| all.weights[row as usize] < 0;
    let mut kept = vec![];
    for (first, last) in ends {
        if goes(first) || goes(last) {
            kept.push(first);
        }
        if first != last && (!goes(last) || !goes(first)) || first == last && !goes(first) {
            kept.push(last);
        }
    }
    kept.sort_unstable();
    if kept.len() == all.len() {
        return Ok(all);
    }
    all.take(&kept).map_err(failed)
}

/// The columns behind a row's own: its place and its weight.
const NUMBERS: usize = 2;

/// The same changes with their places, from `first` on, and their weights as columns.
fn numbered(change: &ChangeBatch, first: i64) -> Result<ChangeBatch> {
    let rows = change.rows();
    let number = |name: &str| Arc::new(Field::new(name, DataType::Int64, false));
    let fields = rows.schema_ref().fields().iter().cloned().chain(["place", "weight"].map(number));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let places = first..first + change.len() as i64;
    let places: ArrayRef = Arc::new(Int64Array::from_iter_values(places));
    let weights: ArrayRef = Arc::new(Int64Array::new(change.weights.clone(), None));
    let columns = rows.columns().iter().cloned().chain([places, weights]).collect();
    let rows = RecordBatch::try_new(schema, columns).map_err(failed)?;
    Ok(ChangeBatch::new(rows, change.weights.clone()))
}

/// Changes of a checkpoint in the order of their places and with their weights; the place behind the last.
fn in_order(state: &ChangeBatch) -> Result<(ChangeBatch, i64)> {
    let count = state.rows().num_columns();
    let number = |column: usize| state.rows().column(column).as_primitive_opt::<Int64Type>();
    let numbers = count.checked_sub(NUMBERS).and_then(|at| Some((number(at)?, number(at + 1)?)));
    let Some((places, weights)) = numbers else {
        return Err(mismatch("what a sink owes lacks its order"));
    };
    let mut order: Vec<u32> = (0..state.len() as u32).collect();
    order.sort_by_key(|&row| places.value(row as usize));
    let next = order.last().map_or(0, |&row| places.value(row as usize) + 1);
    let mut change = state.take(&order).map_err(failed)?;
    change.weights = order.iter().map(|&row| weights.value(row as usize)).collect();
    Ok((change, next))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Rows of a key, a value and a weight.
    fn change(rows: &[(i64, i64, i64)]) -> ChangeBatch {
        let column = |of: fn(&(i64, i64, i64)) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(rows.iter().map(of)))
        };
        let columns = [("k", column(|row| row.0)), ("v", column(|row| row.1))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        ChangeBatch::new(batch, rows.iter().map(|r| r.2).collect::<Vec<i64>>())
    }

    fn rows(change: &ChangeBatch) -> Vec<(i64, i64, i64)> {
        if change.is_empty() {
            return vec![];
        }
        let column = |n: usize| change.rows().column(n).as_primitive::<Int64Type>();
        let row = |(at, weight): (usize, &i64)| (column(0).value(at), column(1).value(at), *weight);
        change.weights.iter().enumerate().map(row).collect()
    }

    #[test]
    fn what_is_taken_is_of_epochs_that_all_workers_have_reached() {
        let outbox = Outbox::new(2, vec![0]);
        outbox.put(0, Epoch(1), &[change(&[(1, 10, 1), (2, 20, 1)])]).unwrap();
        outbox.put(1, Epoch(1), &[change(&[(7, 70, 1), (7, 60, -1)])]).unwrap();
        outbox.put(0, Epoch(2), &[change(&[(3, 30, 1), (1, 11, 1), (1, 10, -1)])]).unwrap();
        outbox.publish(0, Epoch(2));
        assert_eq!(outbox.complete(), Epoch(0));
        outbox.publish(1, Epoch(1));
        let taken = rows(&outbox.take(outbox.complete()).unwrap());
        assert_eq!(taken, [(1, 10, 1), (2, 20, 1), (7, 60, -1), (7, 70, 1)]);
        outbox.acknowledged();
        let taken = rows(&outbox.take(Epoch(2)).unwrap());
        assert_eq!(taken, [(1, 10, -1), (3, 30, 1), (1, 11, 1)]);
        outbox.acknowledged();
        assert!(outbox.take(Epoch(2)).unwrap().is_empty());
        assert_eq!(outbox.rows(), 0);
    }

    #[test]
    fn a_key_that_is_as_it_was_is_told_again_while_nobody_knows_what_has_arrived() {
        let outbox = Outbox::new(1, vec![0]);
        outbox.put(0, Epoch(1), &[change(&[(1, 10, 1), (2, 21, 1), (2, 20, -1)])]).unwrap();
        outbox.take(Epoch(1)).unwrap();
        // The delivery fails, and may have arrived all the same.
        outbox.put(0, Epoch(2), &[change(&[(1, 10, -1), (2, 21, -1), (2, 20, 1)])]).unwrap();
        let state = outbox.hand_over(0).unwrap();
        let expected = [(2, 20, -1), (1, 10, 1), (1, 10, -1), (2, 20, 1)];
        assert_eq!(rows(&outbox.take(Epoch(2)).unwrap()), expected);
        let restored = Outbox::new(1, vec![0]);
        restored.take_back(0, Epoch(2), &[state]).unwrap();
        assert_eq!(rows(&restored.take(Epoch(2)).unwrap()), expected);
    }

    #[test]
    fn a_checkpoint_has_what_is_owed_and_nothing_that_has_arrived() {
        let outbox = Outbox::new(1, vec![0]);
        outbox.put(0, Epoch(1), &[change(&[(1, 10, 1), (2, 20, 1)])]).unwrap();
        let mut state = vec![outbox.hand_over(0).unwrap()];
        outbox.take(Epoch(1)).unwrap();
        outbox.acknowledged();
        outbox.put(0, Epoch(2), &[change(&[(2, 20, -1), (3, 30, 1)])]).unwrap();
        state.push(outbox.hand_over(0).unwrap());
        let restored = Outbox::new(1, vec![0]);
        restored.take_back(0, Epoch(2), &state).unwrap();
        assert!(restored.hand_over(0).unwrap().is_empty());
        assert_eq!(rows(&restored.take(Epoch(2)).unwrap()), [(2, 20, -1), (3, 30, 1)]);
        // What was taken back is the base of the next difference.
        restored.acknowledged();
        state.push(restored.hand_over(0).unwrap());
        let again = Outbox::new(1, vec![0]);
        again.take_back(0, Epoch(3), &state).unwrap();
        assert!(again.take(Epoch(3)).unwrap().is_empty());
    }

    #[test]
    fn a_place_that_is_down_costs_no_more_than_the_rows_that_change() {
        let outbox = Outbox::new(1, vec![0]);
        for epoch in 1..600 {
            let rows: Vec<_> =
                (0..2_000).flat_map(|n| [(n, epoch - 1, -1), (n, epoch, 1)]).collect();
            outbox.put(0, Epoch(epoch as u64), &[change(&rows)]).unwrap();
        }
        assert!(outbox.bytes(0) < 2 * SETTLE_BYTES_MIN, "{}", outbox.bytes(0));
        assert_eq!(outbox.take(Epoch(600)).unwrap().len(), 4_000);
    }

    #[test]
    fn without_a_key_what_goes_is_left_out() {
        let outbox = Outbox::new(1, vec![]);
        outbox.put(0, Epoch(1), &[change(&[(1, 10, -1), (1, 11, 1)])]).unwrap();
        assert_eq!(rows(&outbox.take(Epoch(1)).unwrap()), [(1, 11, 1)]);
    }
}
