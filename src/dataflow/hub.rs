//! Where an object's changes become its live table and are handed to those that read it.
//!
//! Streams cannot cross dataflows, so each object has a hub on each worker: the arrangement, the errors that stand, and
//! the queues of subscribers. The hub applies epochs whole and in order; a subscriber attached as of an epoch gets
//! the rows of that epoch from the arrangement, in slices, and every later change from its queue.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, RecordBatch};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Scope;
use timely::dataflow::operators::generic::operator::source;
use timely::scheduling::Activator;

use super::command::HubSpec;
use super::glue::{Changes, Sink};
use super::standing_errors::{self, MESSAGE_BYTES_MAX, StandingErrors};
use super::steps::{IDLE_COMPACTION_ROWS, ROWS, Stateful, hand_over_rows, take_back_rows};
use crate::arrangement::feed::Feed;
use crate::arrangement::live::{LiveTable, ReadClock, Version};
use crate::arrangement::{Arrangement, Snapshot};
use crate::canonical::canonical;
use crate::change::{ChangeBatch, Kind, error_schema};
use crate::checkpoint::mismatch;
use crate::egress::Outbox;
use crate::epoch::Epoch;
use crate::error::{Error, Result, SqlState};
use crate::hash::hash_columns;
use crate::meter::{Meter, lap};
use crate::operators::StateChange;
use crate::operators::consolidate::consolidate;
use crate::types::row_values;

/// Slices of a snapshot handed to a new subscriber in one activation: bounds how long it holds the worker.
pub const HYDRATION_SLICES: usize = 2;
/// Rows that compaction may move per epoch, so that no epoch waits long for it.
const COMPACTION_ROWS: usize = 16_384;
/// The part of a hub's state that its errors are.
const ERRORS: &str = "errors";
/// The one that is what a sink owes.
const OWED: &str = "owed";

/// A reader of the hub in another dataflow of this worker.
pub struct Subscription {
    pub items: VecDeque<(u64, ChangeBatch)>,
    /// The first epoch that is not complete.
    pub frontier: u64,
    closed: bool,
    activator: Option<Activator>,
    /// Changes before this epoch are not for this reader; `None`: none are yet, it is fed otherwise.
    pub from: Option<u64>,
}

impl Subscription {
    /// The next change that is for this reader; others are passed over.
    fn next(&mut self) -> Option<(u64, ChangeBatch)> {
        loop {
            let (epoch, change) = self.items.pop_front()?;
            if self.from.is_some_and(|from| epoch >= from) {
                return Some((epoch, change));
            }
        }
    }

    /// Ends the import: its dataflow loses this input.
    pub fn close(&mut self) {
        self.closed = true;
        self.items.clear();
        if let Some(activator) = &self.activator {
            activator.activate();
        }
    }
}

/// A feed to a reader outside of the workers.
struct Tap {
    feed: Arc<Feed>,
    /// Changes up to this epoch the reader has otherwise.
    after: Epoch,
}

/// One worker's part of an object.
pub struct Hub {
    pub live: Arc<LiveTable>,
    shard: usize,
    upsert: bool,
    copy: bool,
    fail_on_error: bool,
    /// The columns that say on which worker a row is.
    routed_by: Vec<usize>,
    /// Joins in other dataflows of this worker read it, too.
    rows: Option<Rc<RefCell<Arrangement>>>,
    outbox: Option<Arc<Outbox>>,
    errors: StandingErrors,
    /// Rows and bytes as last added to the counters, which all workers share.
    told: (i64, i64),
    applied: u64,
    /// The first epoch that is not complete.
    below: u64,
    /// Epochs with changes that are applied and not yet published, and the poison as of each.
    unpublished: Vec<(u64, i64)>,
    subscriptions: Vec<Rc<RefCell<Subscription>>>,
    taps: Vec<Tap>,
    /// Epochs that subscribers still need the arrangement as of.
    holds: Vec<Weak<Cell<u64>>>,
    /// Several write to it, who know nothing of each other's keys.
    watches_keys: bool,
    /// Something is kept that no reader will ask for, or will not for long.
    untidy: bool,
    clock: Arc<ReadClock>,
}

pub type HubRef = Rc<RefCell<Hub>>;

impl Hub {
    /// `of_messages`: its errors are a stream's messages, not a view's rows.
    pub fn new(
        spec: &HubSpec,
        shard: usize,
        clock: Arc<ReadClock>,
        applied: Epoch,
        of_messages: bool,
    ) -> HubRef {
        let rows = spec.stored.then(|| {
            let key = spec.key.clone().unwrap_or_default();
            let unique = spec.key.is_some() && !spec.copy;
            let rows = Arrangement::new(spec.schema.clone(), key).with_unique_key(unique);
            Rc::new(RefCell::new(rows))
        });
        let hub = Hub {
            live: spec.live.clone(),
            shard,
            upsert: spec.upsert,
            copy: spec.copy,
            fail_on_error: spec.fail_on_error,
            routed_by: spec.routed_by(),
            rows,
            outbox: spec.outbox.clone(),
            errors: StandingErrors::new(if of_messages { MESSAGE_BYTES_MAX } else { usize::MAX }),
            told: (0, 0),
            applied: applied.0,
            below: applied.next().0,
            unpublished: vec![],
            subscriptions: vec![],
            taps: vec![],
            holds: vec![],
            watches_keys: false,
            untidy: false,
            clock,
        };
        Rc::new(RefCell::new(hub))
    }

    /// Applies one complete epoch and queues it for subscribers; gives the number of changed rows.
    fn apply_epoch(&mut self, epoch: u64, changes: Vec<ChangeBatch>) -> Result<usize> {
        let (errors, rows): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(ChangeBatch::is_errors);
        let counters = &self.live.counters;
        let taken: usize = rows.iter().map(ChangeBatch::len).sum();
        counters.rows_in.fetch_add(taken as u64, Ordering::Relaxed);
        let mut rows = match (self.upsert, self.rows.is_some() && !self.copy) {
            (true, _) => self.fold(rows)?,
            (false, true) => consolidated(rows)?,
            (false, false) => rows,
        };
        rows.retain(|r| !r.is_empty());
        let changed: usize = rows.iter().map(ChangeBatch::len).sum();
        counters.rows_out.fetch_add(changed as u64, Ordering::Relaxed);
        if let Some(arrangement) = &self.rows
            && !rows.is_empty()
        {
            arrangement.borrow_mut().apply(Epoch(epoch), &rows)?;
            if self.watches_keys {
                self.check_keys(epoch, &rows)?;
            }
        }
        if let Some(outbox) = &self.outbox {
            outbox.put(self.shard, Epoch(epoch), &rows)?;
        }
        let errors = self.apply_errors(epoch, errors)?;
        self.applied = epoch;
        self.unpublished.push((epoch, self.errors.poison));
        // One of the two may have had nothing to apply; taps read both as of this epoch.
        if let Some(arrangement) = &self.rows {
            arrangement.borrow_mut().advance(Epoch(epoch));
        }
        self.errors.rows.advance(Epoch(epoch));
        for subscription in &self.subscriptions {
            let mut subscription = subscription.borrow_mut();
            for change in rows.iter().chain(&errors) {
                subscription.items.push_back((epoch, change.clone()));
            }
        }
        self.feed_taps(Epoch(epoch), &rows);
        Ok(changed)
    }

    /// From now on no two rows may have the same key, whoever writes them.
    pub fn watch_keys(&mut self) {
        self.watches_keys = self.live.key_is_unique && !self.live.key.is_empty();
    }

    /// 23505 where a row that has come stands beside another one of its key.
    fn check_keys(&self, epoch: u64, changes: &[ChangeBatch]) -> Result<()> {
        let Some(arrangement) = &self.rows else { return Ok(()) };
        let arrangement = arrangement.borrow();
        let snapshot = arrangement.snapshot(Epoch(epoch));
        for change in changes {
            let come: Vec<u32> =
                (0..change.len() as u32).filter(|&i| change.weights[i as usize] > 0).collect();
            let come = change.take(&come).map_err(|e| Error::internal(e.to_string()))?;
            if come.is_empty() {
                continue;
            }
            let key = |&k: &usize| canonical(come.rows().column(k));
            let keys: Vec<ArrayRef> = self.live.key.iter().map(key).collect();
            let mut hashes = vec![];
            hash_columns(&keys, come.len(), &mut hashes);
            let (mut probes, mut stored) = (vec![], vec![]);
            snapshot.probe(&keys, &hashes, &mut probes, &mut stored);
            probes.sort_unstable();
            let twice =
                probes.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0] as usize);
            let same = come.weights.iter().position(|weight| *weight > 1);
            if let Some(row) = twice.or(same) {
                return Err(self.duplicate(come.rows(), row));
            }
        }
        Ok(())
    }

    fn duplicate(&self, rows: &RecordBatch, row: usize) -> Error {
        let names = self.live.names();
        let columns = self.live.key.iter().map(|&k| names.columns.field(k).name().as_str());
        let columns: Vec<&str> = columns.collect();
        let values = rows.project(&self.live.key).map(|key| row_values(&key, row));
        let message = format!("two rows written to table \"{}\" have the same key", names.object);
        let detail = format!(
            "Key ({})=({}) exists already.",
            columns.join(", "),
            values.unwrap_or_default().join(", ")
        );
        Error::new(SqlState::UNIQUE_VIOLATION, message).with_detail(detail)
    }

    /// From now on `feed` gets what is applied after an epoch.
    pub fn tap(&mut self, feed: Arc<Feed>, after: Epoch) {
        feed.advance(self.shard, self.below);
        self.taps.push(Tap { feed, after });
    }

    fn feed_taps(&self, epoch: Epoch, rows: &[ChangeBatch]) {
        for tap in self.taps.iter().filter(|tap| epoch > tap.after) {
            for change in rows {
                tap.feed.push(epoch, change.clone());
            }
            if self.errors.poison > 0 {
                tap.feed.poison(epoch, self.version(epoch, self.errors.poison));
            }
        }
    }

    /// Keeps own errors and poison, of a copy all; returns what readers of this object inherit: errors of rows only (a
    /// message that could not be decoded never was a row).
    fn apply_errors(
        &mut self,
        epoch: u64,
        errors: Vec<ChangeBatch>,
    ) -> Result<Option<ChangeBatch>> {
        let mut own = vec![];
        for batch in errors {
            own.push(match batch.kind {
                Kind::Rows | Kind::Errors => batch,
                Kind::Inherited if self.copy => batch,
                Kind::Inherited => {
                    let poison = batch.rows().column(3).as_boolean();
                    let poison = (0..batch.len()).filter(|&i| poison.value(i)).map(|i| i as u32);
                    let poison = poison.collect::<Vec<_>>();
                    batch.take(&poison).map_err(|e| Error::internal(e.to_string()))?
                }
            });
        }
        let (change, more) = self.errors.apply(Epoch(epoch), own)?;
        let counters = &self.live.counters;
        counters.errors.fetch_add(more, Ordering::Relaxed);
        let weights = change.iter().flat_map(|change| change.weights.iter());
        let born: i64 = weights.filter(|weight| **weight > 0).sum();
        counters.errors_ever.fetch_add(born.unsigned_abs(), Ordering::Relaxed);
        if self.fail_on_error
            && let Some(change) = &change
            && let Some(row) = change.weights.iter().position(|weight| *weight > 0)
        {
            return Err(stopping_error(change, row));
        }
        Ok(change.filter(|_| self.rows.is_some()))
    }

    /// Turns upserts and deletes by key into changes of rows: the last one of a key in the epoch wins.
    fn fold(&self, rows: Vec<ChangeBatch>) -> Result<Vec<ChangeBatch>> {
        let change = ChangeBatch::concat(&rows).map_err(|e| Error::internal(e.to_string()))?;
        if change.is_empty() {
            return Ok(vec![]);
        }
        let arrangement =
            self.rows.as_ref().ok_or_else(|| Error::internal("an upsert fold keeps its rows"))?;
        let arrangement = arrangement.borrow();
        crate::operators::upsert::fold(
            &change,
            arrangement.key(),
            // Epochs without rows have not touched it.
            &arrangement.snapshot(arrangement.epoch()),
        )
    }

    /// Everything below `below` is complete: publishes it and tells subscribers.
    fn publish(&mut self, below: u64) {
        let complete = Epoch(below.saturating_sub(1)).min(Epoch::FINISHED);
        self.below = below;
        if let Some(rows) = &self.rows {
            rows.borrow_mut().advance(complete);
        }
        self.errors.rows.advance(complete);
        let oldest = self.oldest();
        self.compact(oldest, COMPACTION_ROWS);
        // Until told otherwise by `tidy`, which has the time to look.
        self.untidy = true;
        let versions = self.unpublished_versions(oldest);
        self.live.publish(self.shard, complete, versions, oldest);
        if let Some(outbox) = &self.outbox {
            outbox.publish(self.shard, complete);
        }
        self.subscriptions.retain(|s| !s.borrow().closed);
        for subscription in &self.subscriptions {
            let mut subscription = subscription.borrow_mut();
            subscription.frontier = below;
            if let Some(activator) = &subscription.activator {
                activator.activate();
            }
        }
        self.taps.retain(|tap| !tap.feed.is_closed());
        self.taps.iter().for_each(|tap| tap.feed.advance(self.shard, below));
    }

    /// The oldest epoch that somebody may still ask for.
    fn oldest(&mut self) -> Epoch {
        self.holds.retain(|hold| hold.strong_count() > 0);
        let held = self.holds.iter().filter_map(Weak::upgrade).map(|hold| hold.get()).min();
        Epoch(self.clock.oldest().0.min(held.unwrap_or(u64::MAX)).min(self.applied))
    }

    /// Whether work is left.
    fn compact(&mut self, oldest: Epoch, budget_rows: usize) -> bool {
        let mut left = self.errors.rows.compact(oldest, budget_rows);
        let mut bytes = 0;
        if let Some(rows) = &self.rows {
            let mut rows = rows.borrow_mut();
            left |= rows.compact(oldest, budget_rows);
            self.told.0 = rows.rows() as i64;
            bytes += rows.bytes();
        }
        bytes += self.errors.rows.bytes();
        bytes += self.outbox.as_ref().map_or(0, |outbox| outbox.bytes(self.shard));
        self.live.counters.state_bytes.fetch_add(bytes as i64 - self.told.1, Ordering::Relaxed);
        self.told.1 = bytes as i64;
        left
    }

    /// Whether readers hold memory that is not in use any more.
    fn is_held(&self) -> bool {
        self.errors.rows.is_held() || self.rows.as_ref().is_some_and(|r| r.borrow().is_held())
    }

    /// A version for each epoch with changes that some reader may ask for: epochs that were applied together are
    /// still read one by one.
    fn unpublished_versions(&mut self, oldest: Epoch) -> Vec<Version> {
        let epochs = std::mem::take(&mut self.unpublished);
        let asked = epochs.partition_point(|(epoch, _)| *epoch <= oldest.0).saturating_sub(1);
        let version = |&(epoch, poison): &(u64, i64)| {
            // What nobody can tell apart from `oldest` is read as of it: the earlier versions are forgotten.
            Version { epoch: Epoch(epoch), ..self.version(Epoch(epoch).max(oldest), poison) }
        };
        epochs[asked..].iter().map(version).collect()
    }

    fn version(&self, epoch: Epoch, poison: i64) -> Version {
        Version {
            epoch,
            rows: self.rows.as_ref().map(|rows| rows.borrow().snapshot(epoch)),
            errors: self.errors.rows.snapshot(epoch),
            poison,
        }
    }

    pub fn subscribe(&mut self, from: Option<u64>) -> Rc<RefCell<Subscription>> {
        let subscription = Subscription {
            items: VecDeque::new(),
            // An object that has finished tells nobody any more that it is complete.
            frontier: self.below,
            closed: false,
            activator: None,
            from,
        };
        let subscription = Rc::new(RefCell::new(subscription));
        self.subscriptions.push(subscription.clone());
        subscription
    }

    /// What is kept, for joins; `None` for sources.
    pub fn arrangement(&self) -> Option<Rc<RefCell<Arrangement>>> {
        self.rows.clone()
    }

    /// Keeps the arrangement readable as of the cell's epoch while the cell lives.
    pub fn hold(&mut self, epoch: u64) -> Rc<Cell<u64>> {
        let hold = Rc::new(Cell::new(epoch));
        self.holds.push(Rc::downgrade(&hold));
        hold
    }
}

/// A row's error as one that ends the object.
fn stopping_error(errors: &ChangeBatch, row: usize) -> Error {
    let text =
        |column: usize| errors.rows().column(column).as_string::<i32>().value(row).to_owned();
    Error::new(SqlState::of(&text(0)), text(1))
        .with_detail(format!("It was made with on_error = 'fail'; the row was {}.", text(2)))
}

fn consolidated(parts: Vec<ChangeBatch>) -> Result<Vec<ChangeBatch>> {
    if parts.iter().all(ChangeBatch::all_inserts) {
        return Ok(parts);
    }
    Ok(vec![consolidate(&parts)?])
}

impl Sink for Hub {
    fn apply(&mut self, epoch: u64, changes: Vec<ChangeBatch>) -> Result<usize> {
        self.apply_epoch(epoch, changes)
    }

    fn advance(&mut self, below: u64) {
        self.publish(below);
    }
}

/// Rows and standing errors; whether the answer is poisoned follows from the errors.
impl Stateful for Hub {
    fn hand_over(&mut self) -> Result<Vec<StateChange>> {
        let mut state = vec![];
        if let Some(rows) = &self.rows {
            state.extend(hand_over_rows(&mut rows.borrow_mut(), ROWS, self.routed_by.clone())?);
        }
        state.extend(hand_over_rows(&mut self.errors.rows, ERRORS, standing_errors::identity())?);
        if let Some(outbox) = &self.outbox {
            let change = outbox.hand_over(self.shard)?;
            state.push(StateChange { part: OWED, key: self.routed_by.clone(), change });
        }
        Ok(state)
    }

    fn take_back(&mut self, state: Vec<StateChange>, epoch: Epoch) -> Result<()> {
        let (owed, state): (Vec<_>, Vec<_>) = state.into_iter().partition(|s| s.part == OWED);
        let (rows, errors): (Vec<_>, Vec<_>) = state.into_iter().partition(|s| s.part == ROWS);
        match &self.outbox {
            Some(outbox) => {
                let owed: Vec<ChangeBatch> = owed.into_iter().map(|s| s.change).collect();
                outbox.take_back(self.shard, epoch, &owed)?;
            }
            None if owed.is_empty() => {}
            None => return Err(mismatch("what a sink owes, for an object that is none")),
        }
        match &self.rows {
            Some(arrangement) => take_back_rows(&mut arrangement.borrow_mut(), ROWS, &rows, epoch)?,
            None if rows.is_empty() => {}
            None => return Err(mismatch("rows for an object that keeps none")),
        }
        take_back_rows(&mut self.errors.rows, ERRORS, &errors, epoch)?;
        let errors = self.errors.recount(epoch);
        self.live.counters.errors.fetch_add(errors, Ordering::Relaxed);
        self.unpublished.push((epoch.0, self.errors.poison));
        self.publish(epoch.next().0);
        Ok(())
    }

    /// The hub tells the live table's counters itself.
    fn bytes(&self) -> usize {
        0
    }

    fn rows(&self) -> usize {
        usize::try_from(self.told.0).unwrap_or(0)
    }

    fn held_bytes(&self) -> usize {
        usize::try_from(self.told.1).unwrap_or(0)
    }

    fn tidy(&mut self) -> bool {
        if !self.untidy || self.live.failure().is_some() {
            return false;
        }
        let oldest = self.oldest();
        let mut left = self.compact(oldest, IDLE_COMPACTION_ROWS);
        if !left && oldest.0 >= self.applied {
            // The version that readers find still holds the chunks that compaction has replaced.
            let version = self.version(Epoch(self.applied), self.errors.poison);
            self.live.republish(self.shard, version);
            left = self.compact(oldest, IDLE_COMPACTION_ROWS);
            self.untidy = left || self.is_held();
        }
        left
    }
}

/// The snapshot still to be handed to a new subscriber.
pub struct Hydration {
    rows: Option<Snapshot>,
    errors: Option<Snapshot>,
    next: usize,
}

/// How an import begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// With the rows as of the installation.
    Hydrate,
    /// The same, but earlier and later rows come otherwise until the import is attached.
    Detached,
    /// With the changes of the first epoch: what was before is in the operators' state.
    Restored,
}

/// The changes of another object in this dataflow: as of `as_of`, then every later change. `columns` are those wanted.
pub fn import<'s>(
    scope: Scope<'s, u64>,
    hub: &HubRef,
    as_of: u64,
    columns: Vec<usize>,
    begin: Begin,
    meter: Meter,
) -> (Changes<'s>, Rc<RefCell<Subscription>>) {
    let restored = begin == Begin::Restored;
    // An arrangement brings the rows of `as_of` itself; of a source they come through the queue.
    let brought = hub.borrow().rows.is_some() && !restored;
    let first = if brought { as_of + 1 } else { as_of };
    let subscription = hub.borrow_mut().subscribe((begin != Begin::Detached).then_some(first));
    let mut hold = (!restored).then(|| hub.borrow_mut().hold(as_of));
    let (mine, hub) = (subscription.clone(), Rc::downgrade(hub));
    let stream = source::<u64, CapacityContainerBuilder<ChangeBatch>, _, _>(
        scope,
        "import",
        move |mut cap, info| {
            cap.downgrade(&as_of);
            mine.borrow_mut().activator = Some(scope.activator_for(info.address));
            let mut cap = Some(cap);
            let mut hydration: Option<Hydration> = None;
            let mut hydrated = restored;
            move |output| {
                let mut queue = mine.borrow_mut();
                if queue.closed {
                    cap = None;
                }
                let Some(c) = cap.as_mut() else { return };
                let mut watch = Instant::now();
                if !hydrated {
                    if queue.frontier <= as_of {
                        return;
                    }
                    let state = hydration.get_or_insert_with(|| start_hydration(&hub, as_of));
                    for _ in 0..HYDRATION_SLICES {
                        let Some(mut change) = state.slice(&columns) else {
                            hydrated = true;
                            drop(hold.take());
                            break;
                        };
                        meter.gave_all(std::slice::from_ref(&change));
                        output.session(&*c).give_container(&mut change);
                    }
                    meter.worked(lap(&mut watch));
                    if !hydrated {
                        queue.activator.as_ref().expect("set above").activate();
                        return;
                    }
                    hydration = None;
                }
                while let Some((epoch, change)) = queue.next() {
                    let mut change = project(&change, &columns);
                    meter.gave_all(std::slice::from_ref(&change));
                    output.session(&c.delayed(&epoch)).give_container(&mut change);
                }
                meter.worked(lap(&mut watch));
                if queue.frontier > *c.time() {
                    if queue.frontier == u64::MAX {
                        cap = None;
                    } else {
                        c.downgrade(&queue.frontier);
                    }
                }
            }
        },
    );
    (stream, subscription)
}

pub fn start_hydration(hub: &Weak<RefCell<Hub>>, as_of: u64) -> Hydration {
    let Some(hub) = hub.upgrade() else { return Hydration { rows: None, errors: None, next: 0 } };
    let hub = hub.borrow();
    let at = Epoch(as_of.min(hub.applied));
    let rows = hub.rows.as_ref().map(|rows| rows.borrow().snapshot(at));
    // A source's errors are messages, not rows: nobody inherits them.
    let errors = rows.is_some().then(|| hub.errors.rows.snapshot(at));
    Hydration { rows, errors, next: 0 }
}

impl Hydration {
    /// The next slice of the snapshot, errors last.
    pub fn slice(&mut self, columns: &[usize]) -> Option<ChangeBatch> {
        while let Some(rows) = &self.rows {
            if self.next == rows.chunks() {
                self.rows = None;
                break;
            }
            self.next += 1;
            if let Some(batch) = rows.scan_chunk(self.next - 1, Some(columns)) {
                return Some(ChangeBatch::inserts(batch));
            }
        }
        let errors = self.errors.take()?;
        let own = errors.scan().into_iter().map(|batch| {
            let columns = batch.columns()[..standing_errors::identity().len()].to_vec();
            RecordBatch::try_new(error_schema(), columns)
                .expect("its columns and one more are kept")
        });
        let parts: Vec<ChangeBatch> = own.map(ChangeBatch::inserts).collect();
        let mut change = ChangeBatch::concat(&parts).expect("parts share the error schema");
        change.kind = Kind::Inherited;
        Some(change)
    }
}

/// The wanted columns of a change; errors are passed on as they are.
pub fn project(change: &ChangeBatch, columns: &[usize]) -> ChangeBatch {
    match (&change.batch, change.kind) {
        (Some(batch), Kind::Rows) => ChangeBatch {
            batch: Some(batch.project(columns).expect("the plan's columns are the object's")),
            weights: change.weights.clone(),
            kind: Kind::Rows,
        },
        _ => change.clone(),
    }
}
