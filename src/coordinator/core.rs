//! The coordinator's thread: forms epochs.
//!
//! An epoch is opened as soon as there is something for it and not too many are on their way through the tables and sources
//! ([`Flight`]), so epochs shrink to single rows when idle and grow by themselves under load. A source adds nothing
//! while a dataflow that reads it is behind; epochs go on for the others.

mod altering;
mod checkpoints;
mod jobs;
mod pours;
mod sharing;
mod sinks;
mod subscriptions;
mod writes;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::Thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

pub use self::checkpoints::Image;
use self::checkpoints::{Checkpoints, Saved};
use self::pours::Pours;
use self::sharing::Sharing;
use super::flight::Flight;
use super::memory_watch::MemoryWatch;
use super::sequencer::{Sequencer, UniqueKey};
use super::sources::{Backfill, SharedSource, Step};
use super::{Alter, Create, Feed, Former, Reply, Request, Runtime, Shared, Stream, Writes};
use crate::arrangement::live::LiveTable;
use crate::catalog::{CatalogChange, ObjectId};
use crate::checkpoint::Position;
use crate::dataflow::{Command, Cut, HubSpec, ViewSpec, Workers};
use crate::egress::Egress;
use crate::epoch::Epoch;
use crate::error::{Error, Result, SqlState};
use crate::ingest::SourceStatus;
use crate::log::{EpochLog, EpochRecord};
use crate::memory::{Pressure, Purpose};
use crate::plan::{Node, Op};

/// An idle coordinator looks around this often; whatever happens unparks it at once.
const PARK: Duration = Duration::from_millis(50);

/// A write that waits for its epoch.
struct Pending {
    writes: Writes,
    reply: Reply<(Epoch, usize)>,
}

/// What answers a request once its epoch is durable.
type Answer = Box<dyn FnOnce(Epoch) + Send>;

pub struct Core {
    shared: Arc<Shared>,
    workers: Workers,
    requests: Receiver<Request>,
    log: Box<dyn EpochLog>,
    wake: Thread,
    open: Epoch,
    record: EpochRecord,
    answers: Vec<Answer>,
    /// The open epoch has something in it.
    dirty: bool,
    pending: Vec<Pending>,
    sequencer: Sequencer,
    /// What is UNIQUE in tables, beside their primary keys.
    uniques: HashMap<ObjectId, Vec<UniqueKey>>,
    /// What there is, by id: nothing depends on what comes after it.
    definitions: BTreeMap<ObjectId, Arc<Create>>,
    sources: HashMap<ObjectId, SharedSource>,
    backfills: Vec<Backfill>,
    /// Views lately installed, with the epoch as of which they read their inputs.
    filling: Vec<(ObjectId, Epoch)>,
    /// Tables and sources: what epochs in flight are counted by.
    bases: BTreeSet<ObjectId>,
    /// Who reads whom, directly.
    readers: HashMap<ObjectId, Vec<ObjectId>>,
    sharing: Sharing,
    /// Tables that ALTER has given other columns, as long as something reads them as they were.
    formers: BTreeMap<ObjectId, Former>,
    alters: VecDeque<(Alter, Reply<Epoch>)>,
    /// What ALTER has changed, and in which epoch.
    altered: HashMap<ObjectId, Epoch>,
    /// Views without a name, each there for one subscription.
    queries: BTreeMap<ObjectId, Arc<Node>>,
    sinks: HashMap<ObjectId, Egress>,
    pours: Pours,
    failures_seen: usize,
    checkpoints: Checkpoints,
    stopping: bool,
    memory: MemoryWatch,
    flight: Flight,
}

impl Core {
    pub fn new(
        shared: Arc<Shared>,
        workers: Workers,
        requests: Receiver<Request>,
        log: Box<dyn EpochLog>,
    ) -> Core {
        Core {
            memory: MemoryWatch::new(&shared.memory),
            shared,
            workers,
            requests,
            log,
            wake: std::thread::current(),
            open: Epoch::ZERO.next(),
            record: EpochRecord::default(),
            answers: vec![],
            dirty: false,
            pending: vec![],
            sequencer: Sequencer::default(),
            uniques: HashMap::new(),
            definitions: BTreeMap::new(),
            sources: HashMap::new(),
            backfills: vec![],
            filling: vec![],
            bases: BTreeSet::new(),
            readers: HashMap::new(),
            sharing: Sharing::default(),
            formers: BTreeMap::new(),
            alters: VecDeque::new(),
            altered: HashMap::new(),
            queries: BTreeMap::new(),
            sinks: HashMap::new(),
            pours: Pours::default(),
            failures_seen: 0,
            checkpoints: Checkpoints::default(),
            stopping: false,
            flight: Flight::default(),
        }
    }

    /// Begins with an image where there is one, tells `started` how that went, and goes on until asked to stop.
    pub fn run(mut self, image: Option<Image>, started: Sender<Result<()>>) {
        self.wake = std::thread::current();
        let outcome = image.map_or(Ok(()), |image| self.restore(image));
        self.stopping = outcome.is_err();
        // Whoever starts a coordinator waits for this.
        let _ = started.send(outcome);
        while !self.stopping {
            if !self.round() && !self.stopping {
                self.park();
            }
        }
        let sinks = self.sinks.drain().map(|(_, sink)| sink).collect();
        Egress::end_all(sinks, self.open.prev());
        self.sources.clear();
        self.backfills.clear();
        self.workers.stop();
    }

    /// Sleeps until there is a request, a reader has something or, where anything waits for it, a frontier moves.
    fn park(&mut self) {
        let waiting = self.dirty || !self.pending.is_empty() || !self.backfills.is_empty();
        let waiting = waiting || !self.sources.is_empty();
        let awaited = waiting.then(|| self.flight.awaited(self.complete()));
        self.shared.progress.set_awaited(awaited);
        // A frontier may have moved after the last look and before that was said.
        if !self.round() && !self.stopping {
            std::thread::park_timeout(PARK);
        }
        self.shared.progress.set_awaited(None);
    }

    /// Does what can be done now; false when there was nothing.
    fn round(&mut self) -> bool {
        self.notice_failures();
        self.collect_checkpoint();
        self.watch_memory();
        while let Ok(request) = self.requests.try_recv() {
            self.accept(request);
        }
        self.take_alters();
        if self.flight.is_full(self.complete()) {
            return false;
        }
        self.take_writes();
        self.take_backfills();
        self.take_sources();
        if !self.dirty {
            return false;
        }
        self.close(None);
        true
    }

    fn accept(&mut self, request: Request) {
        match request {
            Request::Write(writes, reply) => self.pending.push(Pending { writes, reply }),
            Request::Create(create, reply) => {
                // What was written before is part of what the new object sees.
                self.take_writes();
                let outcome = self.create(*create);
                self.answer(outcome, reply);
            }
            Request::Drop(change, ids, reply) => {
                self.take_writes();
                let outcome = self.drop_objects(change, &ids);
                self.answer(outcome, reply);
            }
            Request::Alter(alter, reply) => {
                self.alters.push_back((*alter, reply));
            }
            Request::Hold(id, reply) => {
                let outcome = self.hold(id);
                self.answer(outcome, reply);
            }
            Request::Release(id) => self.release(id),
            Request::Cancel(id, reply) => self.cancel(id, reply),
            Request::Subscribe(subscribe, reply) => self.subscribe(*subscribe, reply),
            Request::Unsubscribe(query) => self.unsubscribe(query),
            Request::EndPour(object, reply) => {
                self.end_pour(object);
                self.answer(Ok(()), reply);
            }
            Request::Define(change, reply) => {
                let outcome = self.shared.catalog.apply(change);
                self.dirty |= outcome.is_ok();
                self.answer(outcome.map(drop), reply);
            }
            Request::Checkpoint(reply) => self.ask_checkpoint(reply),
            Request::Shutdown => self.stopping = true,
        }
    }

    /// Failures are told at once, successes when the epoch is durable.
    fn answer(&mut self, outcome: Result<()>, reply: Reply<Epoch>) {
        match outcome {
            Ok(()) => self.answers.push(Box::new(move |epoch| {
                let _ = reply.send(Ok(epoch));
            })),
            Err(error) => {
                let _ = reply.send(Err(error));
            }
        }
    }

    fn live(&self, id: ObjectId) -> Option<Arc<LiveTable>> {
        self.shared.live.load().get(&id).cloned()
    }

    /// The last epoch that all tables and sources have applied.
    fn complete(&self) -> Epoch {
        let live = self.shared.live.load();
        let working =
            self.bases.iter().filter_map(|id| live.get(id)).filter(|l| l.failure().is_none());
        working.map(|l| l.complete()).fold(self.open.prev(), Epoch::min)
    }

    /// The last epoch that all dataflows behind an object have applied. Those still backfilling take no credit.
    fn complete_behind(&self, id: ObjectId) -> Epoch {
        let live = self.shared.live.load();
        let (mut stack, mut seen, mut slowest) = (vec![id], BTreeSet::new(), self.open.prev());
        while let Some(id) = stack.pop() {
            if !seen.insert(id) {
                continue;
            }
            if let Some(table) = live.get(&id)
                && table.is_attached()
                && table.failure().is_none()
            {
                slowest = slowest.min(table.complete());
            }
            stack.extend(self.readers.get(&id).into_iter().flatten());
        }
        slowest
    }

    /// Brings the account up to date; at the limit, views that are still being filled give way.
    fn watch_memory(&mut self) {
        let complete = self.complete();
        if !self.memory.update(&self.shared, complete) {
            return;
        }
        self.raise_clock();
        let live = self.shared.live.load_full();
        self.sequencer.settle(self.shared.clock.oldest());
        if self.shared.memory.pressure() != Pressure::RefuseWrites {
            return;
        }
        for (id, installed) in std::mem::take(&mut self.filling) {
            let Some(view) = live.get(&id) else { continue };
            let unfinished = !view.is_attached() || view.complete() < installed;
            if unfinished
                && let Err(error) =
                    self.shared.memory.admit(Purpose::Write, &view.names().object, 1)
            {
                view.fail(error);
            }
        }
    }

    /// Lets later reads begin where every object has arrived, so that what is older is forgotten also while nobody reads.
    /// Views that are still being filled are waited for by their readers.
    fn raise_clock(&self) {
        let live = self.shared.live.load();
        let arrived = live
            .iter()
            .filter(|(_, live)| live.failure().is_none() && live.is_attached())
            .filter(|(id, live)| {
                !self.filling.iter().any(|(view, at)| view == *id && live.complete() < *at)
            })
            .map(|(_, live)| live.complete())
            .fold(self.open.prev(), Epoch::min);
        self.shared.clock.raise(arrived);
    }

    fn take_sources(&mut self) {
        let paused = self.shared.memory.pressure() != Pressure::None;
        self.sources.values_mut().for_each(|source| source.pause(paused));
        if paused {
            return;
        }
        let ids: Vec<ObjectId> = self.sources.keys().copied().collect();
        for id in ids {
            if self.flight.is_full(self.complete_behind(id)) {
                continue;
            }
            let Some(source) = self.sources.get_mut(&id) else { continue };
            let taken = source.take();
            if !taken.changes.is_empty() || !taken.errors.is_empty() {
                let offsets =
                    source.offsets.iter().map(|(split, offset)| (id, split.clone(), *offset));
                self.record.offsets.extend(offsets);
                self.dirty = true;
                self.feed(id, [taken.changes, taken.errors].concat());
            }
            if let Some(reason) = taken.failure {
                self.fail_source(id, reason);
            }
        }
    }

    fn fail_source(&mut self, id: ObjectId, reason: String) {
        let Some(source) = self.sources.get_mut(&id) else { return };
        tracing::error!(source = %source.name, reason, "source has failed");
        let message = format!("source \"{}\" has failed: {reason}", source.name);
        source.fail(reason);
        if let Some(live) = self.live(id) {
            live.fail(
                Error::new(SqlState::CONNECTION_EXCEPTION, message)
                    .with_hint("Mend the cause, then drop the source and create it again."),
            );
        }
    }

    fn take_backfills(&mut self) {
        if self.backfills.is_empty() || self.shared.memory.pressure() != Pressure::None {
            return;
        }
        let mut backfills = std::mem::take(&mut self.backfills);
        backfills.retain_mut(|backfill| self.step_backfill(backfill));
        self.backfills = backfills;
    }

    /// Whether the backfill goes on.
    fn step_backfill(&mut self, backfill: &mut Backfill) -> bool {
        let (view, source) = (backfill.view, backfill.source);
        let Some(live) = self.live(view).filter(|live| live.failure().is_none()) else {
            if let Some(shared) = self.sources.get_mut(&source) {
                backfill.let_go(shared);
            }
            return false;
        };
        // The view's own progress bounds how much of its past is on its way.
        if self.flight.is_full(live.complete()) {
            return true;
        }
        let Some(shared) = self.sources.get_mut(&source) else { return false };
        let step = backfill.step(shared, &self.wake);
        self.note_progress(backfill);
        let Some(shared) = self.sources.get_mut(&source) else { return false };
        match step {
            Step::Waiting => true,
            Step::Rows(rows) => {
                self.fed(&rows);
                self.workers.send(Command::FeedView(view, source, rows));
                self.dirty = true;
                true
            }
            Step::Done => {
                self.workers.send(Command::Attach(view, source, self.open));
                self.dirty = true;
                let last = !self.backfills.iter().any(|b| b.view == view);
                if last {
                    self.answers.push(Box::new(move |_| live.set_attached(true)));
                }
                false
            }
            Step::Failed(error) => {
                backfill.let_go(shared);
                let error = Error::from(error);
                let message = format!("could not read earlier rows: {}", error.message);
                live.fail(Error { message, ..error });
                false
            }
        }
    }

    /// Closes the open epoch, with a checkpoint as of it where one is wanted: records it, tells the workers, then whoever
    /// waits for it.
    fn close(&mut self, cut: Option<Arc<Cut>>) {
        let epoch = self.open;
        let mut record = std::mem::take(&mut self.record);
        record.epoch = epoch;
        record.wall_clock_us = chrono::Utc::now().timestamp_micros();
        if let Err(error) = self.log.append(record) {
            // Nothing of this epoch was acknowledged; going on would acknowledge what a restart forgets.
            tracing::error!(%error, "could not append to the epoch log");
            self.stopping = true;
            return;
        }
        self.memory.closed(epoch);
        self.flight.closed(epoch);
        self.shared.progress.close(epoch);
        self.workers.send(Command::Close(epoch, cut));
        self.shared.epochs.store(epoch.0, Ordering::Relaxed);
        self.open = epoch.next();
        self.dirty = false;
        if !self.answers.is_empty() {
            self.shared.clock.raise(epoch);
        }
        for answer in self.answers.drain(..) {
            answer(epoch);
        }
    }

    fn create(&mut self, create: Create) -> Result<()> {
        let inputs = self.inputs(&create);
        if !inputs.is_empty() {
            self.check_inputs(&inputs)?;
            self.shared.memory.admit(Purpose::Write, &create.name, 0)?;
        }
        if let Runtime::Pour { object, table } = create.runtime {
            self.check_inputs(&[object, table])?;
        }
        if let Some(change) = &create.change {
            self.shared.catalog.apply(change.clone())?;
        }
        self.begin(create);
        Ok(())
    }

    /// Starts what is new.
    fn begin(&mut self, create: Create) {
        self.dirty = true;
        self.record.created.push(create.id);
        let create = Arc::new(create);
        self.definitions.insert(create.id, create.clone());
        self.start(&create, None);
    }

    /// Starts what runs behind an object, from what was saved of it where there is something.
    fn start(&mut self, create: &Create, saved: Option<Saved>) {
        match create.runtime.clone() {
            // A subscription's query is begun with its feed.
            Runtime::None | Runtime::Query { .. } => {}
            Runtime::Index { object, key, unique } => {
                self.share(create);
                if let Some(unique) = unique {
                    self.note_unique(create.id, object, key, unique);
                }
            }
            Runtime::Table { key, feed } => self.create_base(create, key, true, feed, saved),
            Runtime::Source(stream) => {
                self.create_base(create, None, false, Feed::Connector(stream), saved)
            }
            Runtime::Former { key, stored, upsert, former } => {
                let live = Arc::new(self.new_live(create, key.clone(), !stored));
                let hub = HubSpec::new(create.id, create.schema.clone(), key, live);
                self.create_former(create, &former, HubSpec { stored, upsert, ..hub }, saved);
            }
            Runtime::View { plan, fail_on_error } => {
                self.create_view(create, plan, fail_on_error, saved)
            }
            Runtime::Sink { plan, sink, fail_on_error } => {
                self.create_sink(create, plan, sink, fail_on_error, saved)
            }
            Runtime::Pour { object, table } => self.pour(create.id, object, table, false),
            Runtime::Arrangement { object, key } => {
                self.create_arrangement(create, object, key, saved)
            }
        }
    }

    /// A view or index is created only on inputs that answer.
    fn check_inputs(&self, inputs: &[ObjectId]) -> Result<()> {
        for &id in inputs {
            if self.formers.contains_key(&id) {
                let message = "a relation that is read has been altered meanwhile";
                return Err(Error::new(SqlState::SERIALIZATION_FAILURE, message));
            }
            let live = self.live(id).ok_or_else(|| {
                Error::new(
                    SqlState::UNDEFINED_TABLE,
                    "a relation that is read has been dropped meanwhile",
                )
            })?;
            if let Some(error) = live.failure() {
                return Err(error.clone());
            }
            if !live.is_attached() {
                let message = format!("\"{}\" is still being filled", live.names().object);
                let error = Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message);
                return Err(error.with_hint("Try again when that has finished."));
            }
        }
        Ok(())
    }

    fn publish(&self, id: ObjectId, live: Arc<LiveTable>) {
        let mut map = HashMap::clone(&self.shared.live.load());
        map.insert(id, live);
        self.shared.live.store(Arc::new(map));
    }

    fn new_live(&self, create: &Create, key: Option<Vec<usize>>, append_only: bool) -> LiveTable {
        let (name, schema) = (create.name.clone(), create.schema.clone());
        let (workers, progress) = (self.workers.count(), self.shared.progress.clone());
        let live = LiveTable::new(name, schema, key, append_only, workers, progress);
        if let Some(object) = self.shared.catalog.snapshot().get(create.id) {
            // It may have been altered since it was created, before this start.
            live.rename(&object.name, object.columns.clone());
        }
        live
    }

    fn create_base(
        &mut self,
        create: &Create,
        key: Option<Vec<usize>>,
        stored: bool,
        feed: Feed,
        saved: Option<Saved>,
    ) {
        let append_only = !stored || matches!(feed, Feed::StandIn { upsert: false });
        let live = Arc::new(self.new_live(create, key.clone(), append_only));
        let upsert = feed.upserts();
        let (object, schema) = (create.id, create.schema.clone());
        let (state, position) = match saved {
            Some(saved) => (Some(saved.steps), saved.position),
            None => (None, None),
        };
        // Where the first bad message is to end it, the source stops by itself.
        let spec = HubSpec::new(object, schema, key, live.clone());
        let spec = HubSpec { stored, upsert, state, ..spec };
        self.workers.send(Command::Create(Arc::new(spec)));
        self.publish(object, live);
        self.bases.insert(object);
        let Feed::Connector(stream) = feed else { return };
        let wake = self.wake.clone();
        let source = self.add_source(create, &stream, position);
        if stored {
            // A connector table keeps every column, whoever reads it later.
            source.add_consumer(object, (0..create.schema.fields().len()).collect(), &wake);
        }
    }

    fn add_source(
        &mut self,
        create: &Create,
        stream: &Stream,
        position: Option<Position>,
    ) -> &mut SharedSource {
        let status = Arc::new(SourceStatus::default());
        let mut map = HashMap::clone(&self.shared.sources.load());
        map.insert(create.id, (stream.clone(), status.clone()));
        self.shared.sources.store(Arc::new(map));
        let source = SharedSource::new(create.name.clone(), stream.clone(), status, position);
        self.sources.entry(create.id).insert_entry(source).into_mut()
    }

    fn create_view(
        &mut self,
        create: &Create,
        plan: Arc<Node>,
        fail_on_error: bool,
        saved: Option<Saved>,
    ) {
        let key = plan.key();
        let append_only = plan.properties.append_only;
        let live = Arc::new(self.new_live(create, key.clone(), append_only));
        let hub = HubSpec::new(create.id, create.schema.clone(), key, live);
        self.follow(create, plan, HubSpec { fail_on_error, ..hub }, saved);
    }

    /// Begins a dataflow that reads what a plan names: as it is now and then as it changes, or from what was saved.
    fn follow(&mut self, create: &Create, plan: Arc<Node>, hub: HubSpec, saved: Option<Saved>) {
        let (object, live) = (create.id, hub.live.clone());
        let arrangements = self.share(create);
        let backfill = self.read_inputs(object, &plan, saved.is_none());
        live.set_attached(backfill.is_empty());
        let hub = HubSpec { state: saved.map(|saved| saved.steps), ..hub };
        let spec = ViewSpec::new(hub, plan, self.workers.count());
        self.install(ViewSpec { arrangements, backfill, ..spec });
    }

    /// Notes what a dataflow reads, and has sources read for it; gives those whose `earlier` rows, where it wants them, it
    /// gets from a reader of its own.
    fn read_inputs(&mut self, object: ObjectId, plan: &Node, earlier: bool) -> Vec<ObjectId> {
        let mut backfill = vec![];
        for (source, columns) in imported_columns(plan) {
            self.readers.entry(source).or_default().push(object);
            let Some(shared) = self.sources.get_mut(&source) else { continue };
            if shared.consumers.contains_key(&source) {
                // A connector table: its arrangement has the earlier rows.
                continue;
            }
            if shared.has_progressed() && earlier {
                backfill.push(source);
                self.backfills.push(Backfill::new(object, source, shared, columns.clone()));
            }
            shared.add_consumer(object, columns, &self.wake);
        }
        backfill
    }

    fn install(&mut self, spec: ViewSpec) {
        let (object, live) = (spec.hub.object, spec.hub.live.clone());
        if spec.hub.state.is_none() {
            self.note_filling(object);
        }
        self.note_running(&spec);
        self.workers.send(Command::Install(Arc::new(spec), self.open));
        self.publish(object, live);
    }

    fn note_filling(&mut self, view: ObjectId) {
        let live = self.shared.live.load();
        self.filling.retain(|(id, installed)| {
            live.get(id).is_some_and(|l| !l.is_attached() || l.complete() < *installed)
        });
        self.filling.push((view, self.open));
    }

    fn drop_objects(&mut self, change: CatalogChange, ids: &[ObjectId]) -> Result<()> {
        self.shared.catalog.apply(change)?;
        self.dirty = true;
        let formers = self.formers.iter().filter(|(_, former)| ids.contains(&former.of));
        let formers = formers.map(|(id, _)| *id);
        let ids: Vec<ObjectId> = ids.iter().copied().chain(formers).collect();
        self.end_queries_over(&ids);
        for id in ids {
            self.forget(id);
            self.unshare(id);
        }
        self.end_unread();
        Ok(())
    }

    /// Ends an object for good.
    fn forget(&mut self, id: ObjectId) {
        self.record.dropped.push(id);
        self.end(id);
    }

    /// Ends whatever there is of an object.
    fn end(&mut self, id: ObjectId) {
        // Told before the dataflow ends: a read that was planned before and waits must neither wait for ever nor take
        // the last rows of a dropped view for those of a later epoch.
        if let Some(live) = self.live(id) {
            let message = format!("relation \"{}\" does not exist", live.names().object);
            live.fail(Error::new(SqlState::UNDEFINED_TABLE, message));
        }
        self.stop_object(id);
        self.set_running(|running| drop(running.remove(&id)));
        self.bases.remove(&id);
        self.formers.remove(&id);
        self.altered.remove(&id);
        self.readers.remove(&id);
        self.definitions.remove(&id);
        self.sequencer.forget(id);
        self.forget_unique(id);
        self.sources.remove(&id);
        self.end_sink(id);
        self.forget_pour(id);
        let mut map = HashMap::clone(&self.shared.live.load());
        map.remove(&id);
        self.shared.live.store(Arc::new(map));
        let mut map = HashMap::clone(&self.shared.sources.load());
        map.remove(&id);
        self.shared.sources.store(Arc::new(map));
    }

    /// Ends an object's dataflow and its reading of others.
    fn stop_object(&mut self, id: ObjectId) {
        self.workers.send(Command::Drop(id));
        for backfill in self.backfills.iter_mut().filter(|b| b.view == id) {
            if let Some(source) = self.sources.get_mut(&backfill.source) {
                backfill.let_go(source);
            }
        }
        self.backfills.retain(|b| b.view != id);
        for readers in self.readers.values_mut() {
            readers.retain(|reader| *reader != id);
        }
        for source in self.sources.values_mut() {
            source.remove_consumer(id);
        }
    }

    /// Drops the dataflows of failed objects; what depends on them fails visibly, too.
    fn notice_failures(&mut self) {
        let failures = self.shared.progress.failures.load(Ordering::Acquire);
        if failures == self.failures_seen {
            return;
        }
        self.failures_seen = failures;
        let live = self.shared.live.load_full();
        let failed: Vec<ObjectId> =
            live.iter().filter(|(_, l)| l.failure().is_some()).map(|(id, _)| *id).collect();
        for id in failed {
            let Some(error) = live.get(&id).and_then(|l| l.failure()) else { continue };
            for reader in self.readers.get(&id).cloned().unwrap_or_default() {
                let Some(reader) = live.get(&reader).filter(|l| l.failure().is_none()) else {
                    continue;
                };
                let message = format!(
                    "\"{}\" depends on what has failed: {}",
                    reader.names().object,
                    error.message
                );
                reader.fail(Error { message, ..error.clone() });
            }
            self.stop_object(id);
            if let Some(source) = self.sources.get_mut(&id)
                && !source.failed
            {
                source.fail(error.message.clone());
            }
        }
    }
}

/// The columns that a plan uses of each object it reads.
fn imported_columns(plan: &Node) -> BTreeMap<ObjectId, BTreeSet<usize>> {
    let mut out: BTreeMap<ObjectId, BTreeSet<usize>> = BTreeMap::new();
    plan.visit(&mut |node| {
        if let Op::Import { object, columns, .. } = &node.op {
            out.entry(*object).or_default().extend(columns);
        }
    });
    out
}
