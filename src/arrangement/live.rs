//! Live tables: what workers publish of a table or view, and what readers on any thread take from it.
//!
//! Each worker owns one shard and publishes a version whenever it has applied an epoch; readers pick the versions of one
//! epoch. The read clock decides that epoch: never before anything acknowledged or already read, so reads are strictly
//! serializable, and never before what workers may have forgotten.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Instant;

use arc_swap::ArcSwap;
use arrow_schema::SchemaRef;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Snapshot;
use crate::epoch::Epoch;
use crate::error::Error;

/// One shard's rows and errors as of an epoch.
#[derive(Clone)]
pub struct Version {
    pub epoch: Epoch,
    /// `None` for sources, which keep no rows.
    pub rows: Option<Snapshot>,
    pub errors: Snapshot,
    /// Number of standing errors that make the answer wrong.
    pub poison: i64,
}

/// Latencies kept for metrics between two takings.
const LATENCIES_MAX: usize = 4_096;

/// One worker's part.
#[derive(Default)]
struct Shard {
    complete: AtomicU64,
    versions: Mutex<VecDeque<Version>>,
}

/// Counters that workers raise and metrics read.
#[derive(Default)]
pub struct Counters {
    pub rows_in: AtomicU64,
    pub rows_out: AtomicU64,
    /// Errors that stand.
    pub errors: AtomicI64,
    /// Errors that ever stood.
    pub errors_ever: AtomicU64,
    pub state_bytes: AtomicI64,
    /// What the operators in front of it hold: groups, join inputs, ordered rows.
    pub operator_bytes: AtomicI64,
    /// Seconds from an epoch's close to its publication, since metrics last took them; the newest are left out when
    /// nobody takes them.
    pub latencies: Mutex<Vec<f64>>,
}

/// What people call an object and its columns: ALTER changes it while everything runs.
#[derive(Debug)]
pub struct Names {
    pub object: String,
    /// As [`LiveTable::schema`] but for the names.
    pub columns: SchemaRef,
}

/// What is published of one table, source or view.
pub struct LiveTable {
    names: ArcSwap<Names>,
    pub schema: SchemaRef,
    pub key: Vec<usize>,
    /// Whether at most one row has a key's values.
    pub key_is_unique: bool,
    /// Rows are only ever added.
    pub append_only: bool,
    pub counters: Counters,
    shards: Vec<Shard>,
    failed: OnceLock<Error>,
    /// It has rows from this epoch on; before, another object had them.
    begins: AtomicU64,
    /// Another object has taken its place in this epoch: nobody but dataflows reads it as of this or a later one.
    ends: AtomicU64,
    /// While a view is fed its sources' earlier rows it answers nothing.
    attached: AtomicBool,
    /// For those who wait for this object alone.
    changed: Notify,
    progress: Arc<Progress>,
}

impl LiveTable {
    pub fn new(
        name: String,
        schema: SchemaRef,
        key: Option<Vec<usize>>,
        append_only: bool,
        workers: usize,
        progress: Arc<Progress>,
    ) -> LiveTable {
        LiveTable {
            names: ArcSwap::from_pointee(Names { object: name, columns: schema.clone() }),
            schema,
            key_is_unique: key.is_some(),
            append_only,
            key: key.unwrap_or_default(),
            counters: Counters::default(),
            shards: (0..workers).map(|_| Shard::default()).collect(),
            failed: OnceLock::new(),
            begins: AtomicU64::new(0),
            ends: AtomicU64::new(u64::MAX),
            attached: AtomicBool::new(true),
            changed: Notify::new(),
            progress,
        }
    }

    pub fn names(&self) -> Arc<Names> {
        self.names.load_full()
    }

    pub fn rename(&self, object: &str, columns: SchemaRef) {
        self.names.store(Arc::new(Names { object: object.to_owned(), columns }));
    }

    /// How many rows there are in the newest versions of all shards, which may be of different epochs.
    pub fn rows(&self) -> u64 {
        let newest = |shard: &Shard| {
            let versions = shard.versions.lock();
            versions.back().and_then(|version| version.rows.as_ref()).map_or(0, Snapshot::len)
        };
        self.shards.iter().map(|shard| newest(shard) as u64).sum()
    }

    /// Rows are looked up by these columns, of which several may have the same values.
    pub fn with_lookup_key(self, key: Vec<usize>) -> LiveTable {
        LiveTable { key, key_is_unique: false, ..self }
    }

    /// The first epoch as of which it can be read.
    pub fn begins(&self) -> Epoch {
        Epoch(self.begins.load(Ordering::Acquire))
    }

    /// It takes another object's place in this epoch. To be said before anybody finds it.
    pub fn begin_at(&self, epoch: Epoch) {
        self.begins.store(epoch.0, Ordering::Release);
    }

    /// Another object has taken its place in this epoch.
    pub fn end_at(&self, epoch: Epoch) {
        self.ends.store(epoch.0, Ordering::Release);
    }

    /// Whether it is what there was as of an epoch.
    pub fn is_as_of(&self, epoch: Epoch) -> bool {
        self.begins() <= epoch && epoch.0 < self.ends.load(Ordering::Acquire)
    }

    /// The last epoch that every worker has applied.
    pub fn complete(&self) -> Epoch {
        let shards = self.shards.iter().map(|s| s.complete.load(Ordering::Acquire));
        Epoch(shards.min().unwrap_or(u64::MAX))
    }

    /// Called by worker `shard`: it has applied every epoch up to `complete`; `new` are the versions of those in which
    /// something changed. Versions that no reader from `oldest` on can ask for are forgotten.
    pub fn publish(&self, shard: usize, complete: Epoch, new: Vec<Version>, oldest: Epoch) {
        let shard = &self.shards[shard];
        if !new.is_empty() {
            let mut versions = shard.versions.lock();
            versions.extend(new);
            while versions.len() > 1 && versions[1].epoch <= oldest {
                versions.pop_front();
            }
        }
        shard.complete.store(complete.0, Ordering::Release);
        if let Some(seconds) = self.progress.since_close(complete) {
            let mut latencies = self.counters.latencies.lock();
            if latencies.len() < LATENCIES_MAX {
                latencies.push(seconds);
            }
        }
        self.changed.notify_waiters();
        self.progress.advanced(complete);
    }

    /// Called by worker `shard`: its newest version, the same rows in less memory. Nobody asks for earlier ones.
    pub fn republish(&self, shard: usize, version: Version) {
        let mut versions = self.shards[shard].versions.lock();
        // A shard without versions has no rows: there is nothing to replace.
        if versions.back().is_some() {
            versions.clear();
            versions.push_back(version);
        }
    }

    /// The shards' versions as of `epoch`, which must be complete and not older than the reader's pin; shards without
    /// rows so far are left out.
    pub fn versions(&self, epoch: Epoch) -> Vec<Version> {
        debug_assert!(self.complete() >= epoch, "read of an epoch that is not complete");
        let at =
            |shard: &Shard| shard.versions.lock().iter().rev().find(|v| v.epoch <= epoch).cloned();
        self.shards.iter().filter_map(at).collect()
    }

    /// The newest version of every shard, for whoever holds no pin: as of an epoch a shard that is ahead of the others may
    /// have forgotten its version. Each is at least as new as a `complete` read before.
    pub fn newest(&self) -> Vec<Version> {
        self.shards.iter().filter_map(|shard| shard.versions.lock().back().cloned()).collect()
    }

    /// The first failure stays: dependents and readers are told this one.
    pub fn fail(&self, error: Error) {
        if self.failed.set(error).is_ok() {
            self.progress.failures.fetch_add(1, Ordering::Release);
        }
        self.notify();
    }

    /// Whether the view has all its sources' earlier rows.
    pub fn set_attached(&self, attached: bool) {
        self.attached.store(attached, Ordering::Release);
        self.notify();
    }

    /// Something else than rows has changed, which is rare.
    fn notify(&self) {
        self.changed.notify_waiters();
        self.progress.wake_coordinator();
    }

    pub fn is_attached(&self) -> bool {
        self.attached.load(Ordering::Acquire)
    }

    pub fn failure(&self) -> Option<&Error> {
        self.failed.get()
    }

    /// Waits until `epoch` is complete or the object has failed.
    pub async fn wait_for(&self, epoch: Epoch) -> Result<(), Error> {
        self.wait_until(|| self.complete() >= epoch).await
    }

    /// Waits until the view has all its sources' earlier rows or has failed.
    pub async fn wait_attached(&self) -> Result<(), Error> {
        self.wait_until(|| self.is_attached()).await
    }

    /// Waits until the object has failed, which may be for ever.
    pub async fn failed(&self) -> Error {
        loop {
            if let Err(error) = self.wait_until(|| false).await {
                return error;
            }
        }
    }

    async fn wait_until(&self, reached: impl Fn() -> bool) -> Result<(), Error> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(error) = self.failure() {
                return Err(error.clone());
            }
            if reached() {
                return Ok(());
            }
            changed.await;
        }
    }
}

/// An object's rows by other columns than its key, as of its installation and later.
#[derive(Clone)]
pub struct Index {
    pub live: Arc<LiveTable>,
    pub from: Epoch,
}

impl Index {
    /// Whether it can be read as of `epoch`, at once or very soon: it has been filled and goes on.
    pub fn serves(&self, epoch: Epoch) -> bool {
        self.from <= epoch && self.live.complete() >= self.from && self.live.failure().is_none()
    }
}

/// Tells the coordinator that some frontier has moved.
pub struct Progress {
    /// How many objects have failed since the start: tells the coordinator when to look which.
    pub failures: AtomicUsize,
    /// When the last epoch was closed.
    closed: Mutex<Option<(Epoch, Instant)>>,
    coordinator: OnceLock<Thread>,
    /// The coordinator can do nothing more until a frontier has passed this epoch; [`NOT_AWAITED`] while it is at work.
    awaited: AtomicU64,
}

const NOT_AWAITED: u64 = u64::MAX;

impl Default for Progress {
    fn default() -> Progress {
        Progress {
            failures: AtomicUsize::new(0),
            closed: Mutex::new(None),
            coordinator: OnceLock::new(),
            awaited: AtomicU64::new(NOT_AWAITED),
        }
    }
}

impl Progress {
    pub fn set_coordinator(&self, thread: Thread) {
        let _ = self.coordinator.set(thread);
    }

    /// The coordinator has closed an epoch.
    pub fn close(&self, epoch: Epoch) {
        *self.closed.lock() = Some((epoch, Instant::now()));
    }

    /// Seconds since `epoch` was closed; `None` when it is not the last one, whose time alone is kept.
    fn since_close(&self, epoch: Epoch) -> Option<f64> {
        let (closed, at) = (*self.closed.lock())?;
        (closed == epoch).then(|| at.elapsed().as_secs_f64())
    }

    /// The coordinator is about to look once more and then to park; the first object that has applied `awaited` is to wake
    /// it, if any. Waking a thread costs the worker more than an epoch of a few rows, so nobody is woken who has nothing
    /// to do then.
    pub fn set_awaited(&self, awaited: Option<Epoch>) {
        self.awaited.store(awaited.map_or(NOT_AWAITED, |epoch| epoch.0), Ordering::SeqCst);
        // What the coordinator looks at next was stored either before this, so that it is seen, or by a worker that
        // finds the flag afterwards.
        fence(Ordering::SeqCst);
    }

    /// An object has applied all up to `complete`.
    fn advanced(&self, complete: Epoch) {
        fence(Ordering::SeqCst);
        if complete.0 >= self.awaited.load(Ordering::Relaxed)
            && self.awaited.swap(NOT_AWAITED, Ordering::SeqCst) != NOT_AWAITED
        {
            self.wake_coordinator();
        }
    }

    fn wake_coordinator(&self) {
        if let Some(thread) = self.coordinator.get() {
            thread.unpark();
        }
    }
}

/// Chooses the epochs of reads and keeps them readable.
#[derive(Default)]
pub struct ReadClock {
    state: Mutex<ClockState>,
}

#[derive(Default)]
struct ClockState {
    /// No later read may be before this: the last epoch acknowledged to a writer, shown to a reader or complete everywhere.
    floor: Epoch,
    pins: BTreeMap<Epoch, usize>,
}

impl ReadClock {
    /// Something of `epoch` was acknowledged or shown, or it is complete everywhere.
    pub fn raise(&self, epoch: Epoch) {
        let mut state = self.state.lock();
        state.floor = state.floor.max(epoch);
    }

    /// Pins the epoch of a read: the newest that is complete at hand (`complete`), but never before the floor. What has
    /// finished says nothing about which epochs there are.
    pub fn pin(self: &Arc<Self>, complete: Epoch) -> Pin {
        let mut state = self.state.lock();
        let epoch =
            if complete >= Epoch::FINISHED { state.floor } else { state.floor.max(complete) };
        state.floor = epoch;
        *state.pins.entry(epoch).or_insert(0) += 1;
        Pin { clock: self.clone(), epoch }
    }

    /// The oldest epoch that a present or later reader may ask for.
    pub fn oldest(&self) -> Epoch {
        let state = self.state.lock();
        state.pins.keys().next().copied().unwrap_or(state.floor).min(state.floor)
    }

    pub fn floor(&self) -> Epoch {
        self.state.lock().floor
    }
}

/// Keeps an epoch readable while it lives.
pub struct Pin {
    clock: Arc<ReadClock>,
    pub epoch: Epoch,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut state = self.clock.state.lock();
        if let Some(count) = state.pins.get_mut(&self.epoch) {
            *count -= 1;
            if *count == 0 {
                state.pins.remove(&self.epoch);
            }
        }
    }
}
