//! The workers: threads that obey the command log and step timely.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::Thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use parking_lot::Mutex;
use timely::communication::WorkerGuards;
use timely::dataflow::operators::Input;
use timely::worker::Worker;

use super::command::{Command, Cut, HubSpec, ViewSpec};
use super::container::{RouteTable, route_table};
use super::glue::{self, Context, Route};
use super::hub::{self, Hub, HubRef, Subscription};
use super::inflow::{self, Inflow};
use super::render::{FeedHandle, Rendering, ViewFeed};
use crate::arrangement::live::ReadClock;
use crate::catalog::ObjectId;
use crate::change::ChangeBatch;
use crate::epoch::Epoch;
use crate::error::{Error, Result};
use crate::meter::{END, Meters};

/// How often operators are asked for their bytes, and what they keep of earlier epochs is given back.
const MEASURE: Duration = Duration::from_millis(20);
/// How long an idle worker sleeps at most; commands wake it at once.
const PARK: Duration = Duration::from_millis(100);

/// Handle on the worker threads: the writing end of the command log.
pub struct Workers {
    senders: Vec<Sender<Command>>,
    threads: Arc<Mutex<Vec<Option<Thread>>>>,
    guards: Option<WorkerGuards<()>>,
    next: usize,
    /// Objects of which the order of rows matters within an epoch: the last one of a key wins.
    ordered: HashSet<ObjectId>,
}

impl Workers {
    /// Starts the threads; `open` is the epoch that rows are fed into first.
    pub fn start(workers: usize, clock: Arc<ReadClock>, open: Epoch) -> Result<Workers> {
        let channels: Vec<(Sender<Command>, Receiver<Command>)> =
            (0..workers).map(|_| unbounded()).collect();
        let receivers: Vec<Receiver<Command>> = channels.iter().map(|c| c.1.clone()).collect();
        let threads: Arc<Mutex<Vec<Option<Thread>>>> = Arc::new(Mutex::new(vec![None; workers]));
        let config = match workers {
            1 => timely::Config::thread(),
            n => timely::Config::process(n),
        };
        let register = threads.clone();
        let guards = timely::execute(config, move |worker| {
            let index = worker.index();
            register.lock()[index] = Some(std::thread::current());
            let state = Loop::new(worker.index(), worker.peers(), clock.clone(), open.0);
            state.run(worker, &receivers[index]);
        });
        let guards =
            guards.map_err(|e| Error::internal(format!("could not start workers: {e}")))?;
        while threads.lock().iter().any(Option::is_none) {
            std::thread::yield_now();
        }
        let senders = channels.into_iter().map(|c| c.0).collect();
        let guards = Some(guards);
        Ok(Workers { senders, threads, guards, next: 0, ordered: HashSet::new() })
    }

    pub fn count(&self) -> usize {
        self.senders.len()
    }

    /// Appends to the command log. Feeds are dealt over the workers in turn, those of an upsert fold to one of them, and
    /// wait for the epoch's `Close` to wake anybody.
    pub fn send(&mut self, command: Command) {
        match command {
            Command::Feed(object, batches) if self.ordered.contains(&object) => {
                // What one worker sends to another arrives in order; what several send does not.
                let worker = object.0 as usize % self.senders.len();
                let _ = self.senders[worker].send(Command::Feed(object, batches));
            }
            Command::Feed(object, batches) => {
                self.deal(batches, |part| Command::Feed(object, part))
            }
            Command::FeedView(view, source, batches) => {
                self.deal(batches, |part| Command::FeedView(view, source, part))
            }
            other => {
                match &other {
                    Command::Create(spec) if spec.upsert => drop(self.ordered.insert(spec.object)),
                    Command::Drop(object) => drop(self.ordered.remove(object)),
                    _ => {}
                }
                for sender in &self.senders {
                    // A worker that is gone has aborted the process or is stopping: nobody is left to tell.
                    let _ = sender.send(other.clone());
                }
                self.wake();
            }
        }
    }

    /// Waits until every worker has done all it was told.
    pub fn sync(&mut self) {
        let (sender, done) = unbounded();
        self.send(Command::Sync(sender));
        // Ends when each has answered and dropped its end.
        while done.recv().is_ok() {}
    }

    fn deal(&mut self, batches: Vec<ChangeBatch>, command: impl Fn(Vec<ChangeBatch>) -> Command) {
        for batch in batches {
            self.next = (self.next + 1) % self.senders.len();
            let _ = self.senders[self.next].send(command(vec![batch]));
        }
    }

    fn wake(&self) {
        for thread in self.threads.lock().iter().flatten() {
            thread.unpark();
        }
    }

    /// Stops all workers and waits for their threads.
    pub fn stop(&mut self) {
        self.send(Command::Stop);
        drop(self.guards.take());
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        if self.guards.is_some() {
            self.stop();
        }
    }
}

/// A table or source.
struct Base {
    context: Context,
    input: FeedHandle,
    /// Where there are any, they say when the input moves on.
    inflows: Vec<Inflow>,
}

/// An installed view.
struct Installed {
    context: Context,
    /// Operators' bytes as last added to the view's counter.
    told: i64,
    subscriptions: Vec<(ObjectId, Rc<RefCell<Subscription>>)>,
    feeds: Vec<ViewFeed>,
}

/// One worker's state.
struct Loop {
    index: usize,
    peers: usize,
    table: RouteTable,
    clock: Arc<ReadClock>,
    hubs: HashMap<ObjectId, HubRef>,
    bases: HashMap<ObjectId, Base>,
    views: HashMap<ObjectId, Installed>,
    /// Tables that other objects flow into.
    poured: Vec<ObjectId>,
    /// The epoch that rows are fed into.
    open: u64,
}

impl Loop {
    fn new(index: usize, peers: usize, clock: Arc<ReadClock>, open: u64) -> Loop {
        let (hubs, bases, views) = (HashMap::new(), HashMap::new(), HashMap::new());
        let (table, poured) = (route_table(peers), vec![]);
        Loop { index, peers, table, clock, hubs, bases, views, poured, open }
    }

    fn run(mut self, worker: &mut Worker, commands: &Receiver<Command>) {
        let mut measured = Instant::now();
        let mut untidy = false;
        loop {
            while let Ok(command) = commands.try_recv() {
                if !self.obey(worker, command) {
                    self.bases.clear();
                    self.views.values().for_each(Installed::close);
                    self.views.clear();
                    while worker.step() {}
                    return;
                }
            }
            let park = match (self.pour(), untidy) {
                (true, _) => Duration::ZERO,
                (false, true) => MEASURE,
                (false, false) => PARK,
            };
            worker.step_or_park(Some(park));
            if measured.elapsed() >= MEASURE {
                untidy = self.tidy();
                self.views.values_mut().for_each(Installed::measure);
                measured = Instant::now();
            }
        }
    }

    /// Gives back memory of earlier epochs; returns whether more is to be done.
    fn tidy(&self) -> bool {
        let bases = self.bases.values().map(|base| &base.context);
        let views = self.views.values().map(|view| &view.context);
        bases.chain(views).fold(false, |left, context| context.tidy() | left)
    }

    /// Returns false when the worker is to stop.
    fn obey(&mut self, worker: &mut Worker, command: Command) -> bool {
        match command {
            Command::Create(spec) => self.create(worker, &spec),
            Command::Install(spec, as_of) => self.install(worker, &spec, as_of),
            Command::Feed(object, batches) => {
                if let Some(base) = self.bases.get_mut(&object) {
                    for mut batch in batches {
                        base.input.send_batch(&mut batch);
                    }
                }
            }
            Command::FeedView(view, source, batches) => self.feed_view(view, source, batches),
            Command::Attach(view, source, epoch) => self.attach(view, source, epoch),
            Command::Close(epoch, cut) => {
                if let Some(cut) = &cut {
                    self.ask(cut);
                }
                self.open = epoch.next().0;
                let fed = self.bases.values_mut().filter(|base| base.inflows.is_empty());
                fed.for_each(|base| base.input.advance_to(self.open));
                for view in self.views.values_mut() {
                    view.feeds.iter_mut().for_each(|feed| feed.handle.advance_to(self.open));
                }
            }
            Command::Pour(table, object, epoch, restored) => {
                self.begin_pour(table, object, epoch, restored);
            }
            Command::EndPour(table, object, until) => {
                let inflows = self.bases.get_mut(&table).map(|base| &mut base.inflows);
                let inflows = inflows.into_iter().flatten();
                inflows.filter(|i| i.object == object).for_each(|inflow| inflow.end(until.0));
            }
            Command::Tap(object, feed, after) => {
                if let Some(hub) = self.hubs.get(&object) {
                    hub.borrow_mut().tap(feed, after);
                }
            }
            Command::Drop(object) => {
                self.bases.remove(&object);
                if let Some(view) = self.views.remove(&object) {
                    view.close();
                }
                self.hubs.remove(&object);
            }
            // The answer is that the sender is dropped.
            Command::Sync(done) => drop(done),
            Command::Stop => return false,
        }
        true
    }

    fn context(&self, spec: &HubSpec, meters: Arc<Meters>) -> Context {
        Context {
            live: spec.live.clone(),
            worker: self.index,
            meters,
            table: self.table.clone(),
            steps: Rc::default(),
            alone: self.peers == 1,
            waiting_bytes: Rc::default(),
        }
    }

    /// Rows that are kept meet on the worker that owns them, as do a sink's: what one key's row was and what it is now must
    /// be owed together.
    fn route(spec: &HubSpec) -> Route {
        let kept = spec.stored || spec.outbox.is_some();
        if kept { Route::Key(spec.routed_by()) } else { Route::Local }
    }

    /// Asks the steps of the cut's objects for what has changed.
    fn ask(&self, cut: &Arc<Cut>) {
        for object in &cut.objects {
            let base = self.bases.get(object).map(|base| &base.context);
            let context = base.or_else(|| self.views.get(object).map(|view| &view.context));
            if let Some(context) = context {
                context.ask(*object, cut);
            }
        }
    }

    /// Gives a new object's steps the state they begin with.
    fn take_back(&self, spec: &HubSpec, context: &Context) {
        let Some(state) = &spec.state else { return };
        let mine = |bucket: usize| self.table[bucket] == self.index;
        context.take_back(state, mine, Epoch(self.open).prev());
    }

    fn create(&mut self, worker: &mut Worker, spec: &HubSpec) {
        let hub = Hub::new(spec, self.index, self.clock.clone(), Epoch(self.open).prev(), true);
        let context = self.context(spec, Meters::new(0, self.peers));
        let mut input = worker.dataflow::<u64, _, _>(|scope| {
            let (input, stream) = scope.new_input::<ChangeBatch>();
            glue::sink(stream, Self::route(spec), &context, hub.clone());
            input
        });
        input.advance_to(self.open);
        self.take_back(spec, &context);
        self.hubs.insert(spec.object, hub);
        self.bases.insert(spec.object, Base { context, input, inflows: vec![] });
    }

    fn install(&mut self, worker: &mut Worker, spec: &ViewSpec, as_of: Epoch) {
        let hub = Hub::new(&spec.hub, self.index, self.clock.clone(), as_of.prev(), false);
        let mut rendering = Rendering {
            context: self.context(&spec.hub, spec.meters.clone()),
            hubs: &self.hubs,
            as_of: as_of.0,
            restored: spec.hub.state.is_some(),
            worker: self.index,
            backfill: &spec.backfill,
            arrangements: &spec.arrangements,
            subscriptions: vec![],
            feeds: vec![],
            numbered: END,
        };
        let rendered = worker.dataflow::<u64, _, _>(|scope| {
            let stream = rendering.render(scope, &spec.plan)?;
            glue::sink(stream, Self::route(&spec.hub), &rendering.context, hub.clone());
            Ok::<(), Error>(())
        });
        let installed = Installed {
            context: rendering.context,
            told: 0,
            subscriptions: rendering.subscriptions,
            feeds: rendering.feeds,
        };
        if let Err(error) = rendered {
            // Planning has checked the plan: what fails here fails on every worker in the same way.
            spec.hub.live.fail(error);
        }
        self.take_back(&spec.hub, &installed.context);
        self.hubs.insert(spec.hub.object, hub);
        self.views.insert(spec.hub.object, installed);
    }

    fn begin_pour(&mut self, table: ObjectId, object: ObjectId, epoch: Epoch, restored: bool) {
        // Where either is not there it has failed, and whoever reads it with it.
        let (Some(base), Some(hub), Some(into)) =
            (self.bases.get_mut(&table), self.hubs.get(&object), self.hubs.get(&table))
        else {
            return;
        };
        into.borrow_mut().watch_keys();
        base.inflows.push(Inflow::new(object, hub, epoch.0, restored));
        if !self.poured.contains(&table) {
            self.poured.push(table);
        }
    }

    /// Moves what has come to the tables that it flows into; whether more is at hand.
    fn pour(&mut self) -> bool {
        let mut more = false;
        let (bases, open) = (&mut self.bases, self.open);
        self.poured.retain(|table| {
            let Some(base) = bases.get_mut(table) else { return false };
            let schema = base.context.live.schema.clone();
            match inflow::pour(&mut base.inflows, &mut base.input, &schema, open) {
                Ok(left) => more |= left,
                Err(error) => base.context.live.fail(error),
            }
            !base.inflows.is_empty()
        });
        more
    }

    fn feed_view(&mut self, view: ObjectId, source: ObjectId, batches: Vec<ChangeBatch>) {
        let Some(view) = self.views.get_mut(&view) else { return };
        for feed in view.feeds.iter_mut().filter(|feed| feed.source == source) {
            for batch in &batches {
                feed.meter.gave_all(std::slice::from_ref(batch));
                feed.handle.send_batch(&mut hub::project(batch, &feed.columns));
            }
        }
    }

    fn attach(&mut self, view: ObjectId, source: ObjectId, epoch: Epoch) {
        let Some(view) = self.views.get_mut(&view) else { return };
        view.feeds.retain(|feed| feed.source != source);
        for (_, subscription) in view.subscriptions.iter().filter(|s| s.0 == source) {
            subscription.borrow_mut().from = Some(epoch.0);
        }
    }
}

impl Installed {
    /// Tells the view's counter what its operators hold.
    fn measure(&mut self) {
        let now = self.context.state_bytes() as i64;
        let counter = &self.context.live.counters.operator_bytes;
        counter.fetch_add(now - self.told, Ordering::Relaxed);
        self.told = now;
        self.context.measure();
    }

    fn close(&self) {
        for (_, subscription) in &self.subscriptions {
            subscription.borrow_mut().close();
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int32Type;
    use arrow_array::{Int32Array, RecordBatch};
    use arrow_schema::{DataType, Field, Schema};

    use super::*;
    use crate::arrangement::live::{LiveTable, Progress};

    #[test]
    fn the_last_row_of_a_key_wins_within_an_epoch_of_many_batches() {
        let field = |name: &str| Field::new(name, DataType::Int32, false);
        let schema = Arc::new(Schema::new(vec![field("key"), field("value")]));
        let (workers, progress) = (4, Arc::<Progress>::default());
        let mut pool = Workers::start(workers, Arc::default(), Epoch(1)).unwrap();
        let (object, key) = (ObjectId(7), Some(vec![0]));
        let name = "folded".to_owned();
        let live = LiveTable::new(name, schema.clone(), key.clone(), false, workers, progress);
        let live = Arc::new(live);
        pool.send(Command::Create(Arc::new(HubSpec {
            object,
            schema: schema.clone(),
            key,
            stored: true,
            upsert: true,
            copy: false,
            fail_on_error: false,
            outbox: None,
            live: live.clone(),
            state: None,
        })));
        let row = |value: i32| {
            let columns = [value % 5, value].map(|v| Arc::new(Int32Array::from(vec![v])) as _);
            ChangeBatch::inserts(RecordBatch::try_new(schema.clone(), columns.into()).unwrap())
        };
        for epoch in 1..=20 {
            pool.send(Command::Feed(object, (0..200).map(|n| row(epoch * 200 + n)).collect()));
            pool.send(Command::Close(Epoch(epoch as u64), None));
            while live.complete() < Epoch(epoch as u64) {
                std::thread::yield_now();
            }
            let versions = live.versions(Epoch(epoch as u64));
            let batches = versions.iter().flat_map(|v| v.rows.as_ref().unwrap().scan());
            let mut values: Vec<i32> = batches
                .flat_map(|b| b.column(1).as_primitive::<Int32Type>().values().to_vec())
                .collect();
            values.sort_unstable();
            let last = epoch * 200 + 199;
            assert_eq!(values, (last - 4..=last).collect::<Vec<i32>>(), "epoch {epoch}");
        }
        pool.stop();
    }
}
