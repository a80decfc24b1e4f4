//! Between timely and the operator cores.
//!
//! In one activation the frontier may have passed an epoch while rows of the next are already there: batches are queued by
//! epoch, and cores see epochs one after the other. A core that fails or panics marks its object failed and is
//! not called again; the rest of the worker goes on. Work in one activation is bounded by [`FUEL_BATCHES`] and
//! [`JOIN_FUEL`]. Whatever keeps state
//! takes a seat in the object's [`steps`](super::steps), where checkpoints find it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{DistributorPact, ParallelizationContract, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::Operator as _;
use timely::dataflow::{Scope, Stream};
use timely::progress::frontier::MutableAntichain;

use super::container::{HashDistributor, RouteTable};
use super::steps::{IDLE_COMPACTION_ROWS, ROWS, Stateful, Steps, hand_over_rows, take_back_rows};
use crate::arrangement::Arrangement;
use crate::arrangement::live::LiveTable;
use crate::change::ChangeBatch;
use crate::epoch::Epoch;
use crate::error::{Error, Result};
use crate::meter::{END, Meter, Meters, lap};
use crate::operators::join::{Join, JoinEpoch, Versions, poisoned};
use crate::operators::{Operator, Output, StateChange};

/// Batches processed in one activation before other dataflows get their turn.
const FUEL_BATCHES: usize = 64;
/// Rows and pairs that a join looks at in one activation: a few milliseconds.
const JOIN_FUEL: usize = 1 << 17;
/// Rows that compaction of a join input may move per epoch.
const COMPACTION_ROWS: usize = 16_384;

pub type Changes<'s> = Stream<'s, u64, ChangeBatch>;
type Builder = CapacityContainerBuilder<ChangeBatch>;

/// Where a stream's rows go before the next operator.
#[derive(Clone, Debug)]
pub enum Route {
    /// They stay on their worker.
    Local,
    /// To the owner of the bucket of these columns; no columns: all to one worker.
    Key(Vec<usize>),
}

/// What every operator of an object's dataflow shares.
#[derive(Clone)]
pub struct Context {
    pub live: Arc<LiveTable>,
    pub table: RouteTable,
    /// What its dataflow keeps: for checkpoints and metrics.
    pub steps: Rc<Steps>,
    /// There is one worker, to which all rows belong.
    pub alone: bool,
    /// This worker's number.
    pub worker: usize,
    /// What its operators do is counted by.
    pub meters: Arc<Meters>,
    /// Bytes of results that wait until their epoch is complete.
    pub waiting_bytes: Rc<Cell<usize>>,
}

thread_local! {
    /// Whether this thread runs a step whose panic is caught.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread, now, ends one object only.
pub fn is_guarded() -> bool {
    GUARDED.get()
}

impl Context {
    /// Runs a step of a core; a panic or error marks the object failed.
    pub fn guard(&self, name: &str, step: impl FnOnce() -> Result<()>) -> bool {
        if self.live.failure().is_some() {
            return false;
        }
        GUARDED.set(true);
        let outcome = catch_unwind(AssertUnwindSafe(step));
        GUARDED.set(false);
        let error = match outcome {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error,
            Err(panic) => {
                let text = panic.downcast_ref::<&str>().map(|s| s.to_string());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
                Error::internal(text.unwrap_or_else(|| "panic".to_owned()))
            }
        };
        tracing::error!(object = %self.live.names().object, operator = name, %error, "operator failed");
        let message = format!("\"{}\" has failed: {}", self.live.names().object, error.message);
        self.live.fail(Error { message, ..error }.with_hint("Drop it and create it again."));
        false
    }

    /// What an operator is counted by here.
    pub fn meter(&self, operator: usize) -> Meter {
        self.meters.of(operator, self.worker)
    }

    /// Where rows have to go: nowhere when there is one worker.
    fn route(&self, route: Route) -> Route {
        if self.alone { Route::Local } else { route }
    }

    fn pact(
        &self,
        key: Vec<usize>,
    ) -> DistributorPact<impl FnOnce(usize) -> HashDistributor + 'static> {
        let table = self.table.clone();
        DistributorPact(move |peers: usize| HashDistributor::new(key, table, peers))
    }
}

/// The first epoch that is not complete; `u64::MAX` when no more will come.
fn closed_below(frontier: &MutableAntichain<u64>) -> u64 {
    frontier.frontier().first().copied().unwrap_or(u64::MAX)
}

/// One input's batches, by epoch.
struct Queued {
    cap: Capability<u64>,
    batches: VecDeque<ChangeBatch>,
}

impl Queued {
    fn new(cap: Capability<u64>) -> Queued {
        Queued { cap, batches: VecDeque::new() }
    }
}

/// Stateless operators behind another one, run in its place: each operator of timely's own costs every epoch several
/// microseconds, whatever the rows.
#[derive(Default)]
pub struct Chain(Vec<Counted>);

/// An operator and what it is counted by.
pub struct Counted {
    pub core: Box<dyn Operator>,
    pub meter: Meter,
}

impl Counted {
    pub fn new(core: impl Operator + 'static, meter: Meter) -> Counted {
        Counted { core: Box::new(core), meter }
    }
}

impl Chain {
    /// These behind `first`.
    pub fn after(mut self, first: Counted) -> Chain {
        self.0.insert(0, first);
        self
    }

    /// A batch through `first` and all of them.
    fn apply(
        &mut self,
        first: &mut dyn Operator,
        meter: &Meter,
        change: ChangeBatch,
        out: &mut Output,
    ) -> Result<()> {
        let mut watch = Instant::now();
        meter.took(change.len());
        first.apply(0, change, out)?;
        meter.gave_all(&out.batches);
        meter.worked(lap(&mut watch));
        self.run(out, watch)
    }

    /// The end of an epoch for `first`, and what it puts out through all of them.
    fn emit(
        &mut self,
        first: &mut dyn Operator,
        meter: &Meter,
        epoch: u64,
        out: &mut Output,
    ) -> Result<()> {
        let mut watch = Instant::now();
        first.emit(Epoch(epoch), out)?;
        meter.gave_all(&out.batches);
        meter.worked(lap(&mut watch));
        self.run(out, watch)
    }

    /// Takes what an operator has put out, at the moment `watch`, through all of them; errors pass.
    fn run(&mut self, out: &mut Output, mut watch: Instant) -> Result<()> {
        for Counted { core, meter } in &mut self.0 {
            if out.batches.is_empty() {
                break;
            }
            for change in std::mem::take(&mut out.batches) {
                match change.is_errors() {
                    true => out.push(change),
                    false => {
                        meter.took(change.len());
                        core.apply(0, change, out)?
                    }
                }
            }
            meter.gave_all(&out.batches);
            meter.worked(lap(&mut watch));
        }
        Ok(())
    }
}

/// Stateless operators behind what has no place for them.
pub fn chain<'s>(stream: Changes<'s>, context: &Context, mut chain: Chain) -> Changes<'s> {
    if chain.0.is_empty() {
        return stream;
    }
    let context = context.clone();
    // Rows pass at once: frontiers are none of its business.
    stream.unary::<Builder, _, _, _>(Pipeline, "chain", move |_cap, _info| {
        let mut out = Output::default();
        move |input, output| {
            input.for_each(|time, data| {
                out.push(std::mem::take(data));
                if !context.guard("chain", || chain.run(&mut out, Instant::now())) {
                    out.batches.clear();
                }
                for mut change in out.batches.drain(..) {
                    output.session(&time).give_container(&mut change);
                }
            });
        }
    })
}

/// An operator with one input, and stateless ones behind it. `first_epoch`: emit in this epoch also without rows (global
/// aggregates).
pub fn unary<'s>(
    stream: Changes<'s>,
    route: Route,
    context: &Context,
    name: &'static str,
    core: Counted,
    chain: Chain,
    first_epoch: Option<u64>,
) -> Changes<'s> {
    let core = (core, chain);
    match context.route(route) {
        Route::Local => unary_over(stream, Pipeline, context, name, core, first_epoch),
        Route::Key(key) => unary_over(stream, context.pact(key), context, name, core, first_epoch),
    }
}

fn unary_over<'s, P: ParallelizationContract<u64, ChangeBatch>>(
    stream: Changes<'s>,
    pact: P,
    context: &Context,
    name: &'static str,
    (core, mut chain): (Counted, Chain),
    first_epoch: Option<u64>,
) -> Changes<'s> {
    let scope = stream.scope();
    let context = context.clone();
    let Counted { core, meter } = core;
    let core = Rc::new(RefCell::new(core));
    let seat = context.seat(name, meter.operator(), core.clone());
    stream.unary_frontier::<Builder, _, _, _>(pact, name, move |cap, info| {
        let activator = scope.activator_for(info.address);
        let mut queue: BTreeMap<u64, Queued> = BTreeMap::new();
        if let Some(first) = first_epoch {
            queue.insert(first, Queued::new(cap.delayed(&first)));
        }
        drop(cap);
        move |(input, frontier), output| {
            let port = output.output_index();
            input.for_each(|time, data| {
                let mut change = std::mem::take(data);
                if change.is_errors() {
                    output.session(&time).give_container(&mut change);
                } else if !change.is_empty() {
                    let queued = queue.entry(*time.time());
                    let queued = queued.or_insert_with(|| Queued::new(time.retain(port)));
                    queued.batches.push_back(change);
                }
            });
            let below = closed_below(frontier);
            let mut fuel = FUEL_BATCHES;
            let mut out = Output::default();
            while let Some(mut entry) = queue.first_entry() {
                let epoch = *entry.key();
                if epoch > below {
                    break;
                }
                seat.reached(epoch);
                let queued = entry.get_mut();
                while let Some(change) = queued.batches.pop_front() {
                    context.guard(name, || {
                        chain.apply(&mut **core.borrow_mut(), &meter, change, &mut out)
                    });
                    for mut change in out.batches.drain(..) {
                        output.session(&queued.cap).give_container(&mut change);
                    }
                    fuel -= 1;
                    if fuel == 0 {
                        activator.activate();
                        return;
                    }
                }
                if epoch == below {
                    break;
                }
                context
                    .guard(name, || chain.emit(&mut **core.borrow_mut(), &meter, epoch, &mut out));
                for mut change in out.batches.drain(..) {
                    output.session(&queued.cap).give_container(&mut change);
                }
                entry.remove();
            }
            seat.reached(below);
        }
    })
}

/// A join's input, kept by its key: the dataflow's own, or another object's.
#[derive(Clone)]
pub struct Arranged {
    arrangement: Rc<RefCell<Arrangement>>,
    /// The join needs it as of this epoch and later.
    hold: Rc<Cell<u64>>,
    /// What it is needed for by all joins of its dataflow.
    holds: Rc<RefCell<Vec<Rc<Cell<u64>>>>>,
    /// The epoch in which the join gets all rows that there are: before it there were none for the join, though another
    /// object's arrangement has them.
    begins: Option<u64>,
}

impl Arranged {
    /// What another object keeps, from `begins` on or, of a join with state, from the epoch `hold`.
    pub fn shared(
        arrangement: Rc<RefCell<Arrangement>>,
        hold: Rc<Cell<u64>>,
        begins: Option<u64>,
    ) -> Arranged {
        Arranged { arrangement, hold, holds: Rc::default(), begins }
    }

    fn new(arrangement: Arrangement, hold: u64) -> Arranged {
        let hold = Rc::new(Cell::new(hold));
        let holds = Rc::new(RefCell::new(vec![hold.clone()]));
        let arrangement = Rc::new(RefCell::new(arrangement));
        Arranged { arrangement, hold, holds, begins: None }
    }

    /// The same rows for one more join, while none has run yet.
    pub fn for_another_join(&self) -> Arranged {
        let hold = Rc::new(Cell::new(self.hold.get()));
        self.holds.borrow_mut().push(hold.clone());
        Arranged { hold, ..self.clone() }
    }

    /// The rows in an epoch and before it.
    fn versions(&self, epoch: Epoch) -> Versions {
        let arrangement = self.arrangement.borrow();
        let prev = match self.begins == Some(epoch.0) {
            true => Arrangement::new(arrangement.schema().clone(), arrangement.key().to_vec())
                .snapshot(Epoch::ZERO),
            false => arrangement.snapshot(epoch.prev()),
        };
        Versions { prev, now: arrangement.snapshot(epoch) }
    }

    /// Forgets what the join has passed; returns whether work is left.
    fn compact(&self, budget_rows: usize) -> bool {
        let mut arrangement = self.arrangement.borrow_mut();
        let needed = self.holds.borrow().iter().map(|hold| hold.get()).min();
        let oldest = Epoch(needed.unwrap_or(u64::MAX)).min(arrangement.epoch());
        arrangement.compact(oldest, budget_rows)
    }
}

/// Its rows belong where the join's key does.
impl Stateful for Arranged {
    fn hand_over(&mut self) -> Result<Vec<StateChange>> {
        let mut arrangement = self.arrangement.borrow_mut();
        let key = arrangement.key().to_vec();
        hand_over_rows(&mut arrangement, ROWS, key)
    }

    fn take_back(&mut self, state: Vec<StateChange>, epoch: Epoch) -> Result<()> {
        take_back_rows(&mut self.arrangement.borrow_mut(), ROWS, &state, epoch)
    }

    fn bytes(&self) -> usize {
        self.arrangement.borrow().bytes()
    }

    fn rows(&self) -> usize {
        self.arrangement.borrow().rows()
    }

    fn tidy(&mut self) -> bool {
        self.compact(IDLE_COMPACTION_ROWS)
    }
}

/// Keeps a stream by `key`; passes its changes on once they are applied. Its work is that of the join it is for.
pub fn arrange<'s>(
    stream: Changes<'s>,
    schema: arrow_schema::SchemaRef,
    key: Vec<usize>,
    context: &Context,
    meter: &Meter,
    as_of: u64,
) -> (Changes<'s>, Arranged) {
    let arrangement = Arrangement::new(schema, key.clone());
    let arranged = Arranged::new(arrangement, as_of.saturating_sub(1));
    let stream = match context.route(Route::Key(key)) {
        Route::Local => arrange_over(stream, Pipeline, context, meter, arranged.clone()),
        Route::Key(key) => {
            arrange_over(stream, context.pact(key), context, meter, arranged.clone())
        }
    };
    (stream, arranged)
}

fn arrange_over<'s, P: ParallelizationContract<u64, ChangeBatch>>(
    stream: Changes<'s>,
    pact: P,
    context: &Context,
    meter: &Meter,
    mine: Arranged,
) -> Changes<'s> {
    let (context, meter) = (context.clone(), meter.clone());
    let seat = context.seat("arrange", meter.operator(), Rc::new(RefCell::new(mine.clone())));
    stream.unary_frontier::<Builder, _, _, _>(pact, "arrange", move |cap, _info| {
        drop(cap);
        let mut queue: BTreeMap<u64, (Capability<u64>, Vec<ChangeBatch>)> = BTreeMap::new();
        move |(input, frontier), output| {
            let port = output.output_index();
            input.for_each(|time, data| {
                let mut change = std::mem::take(data);
                if change.is_errors() {
                    output.session(&time).give_container(&mut change);
                } else if !change.is_empty() {
                    queue
                        .entry(*time.time())
                        .or_insert_with(|| (time.retain(port), vec![]))
                        .1
                        .push(change);
                }
            });
            let below = closed_below(frontier);
            while let Some(entry) = queue.first_entry() {
                if *entry.key() >= below {
                    break;
                }
                let (epoch, (cap, mut changes)) = entry.remove_entry();
                seat.reached(epoch);
                let mut watch = Instant::now();
                let applied = context.guard("arrange", || {
                    mine.arrangement.borrow_mut().apply(Epoch(epoch), &changes)?;
                    mine.compact(COMPACTION_ROWS);
                    Ok(())
                });
                meter.worked(lap(&mut watch));
                if applied {
                    for change in &mut changes {
                        output.session(&cap).give_container(change);
                    }
                }
            }
            // Epochs without rows count too: the other side asks for the rows as of them.
            let complete = Epoch(below.saturating_sub(1)).min(Epoch::FINISHED);
            mine.arrangement.borrow_mut().advance(complete);
            seat.reached(below);
        }
    })
}

/// A join of two arranged streams, and stateless operators behind it. An epoch whose output is large is done over many activations, between which other
/// dataflows have their turn and the operators behind take what there is.
pub fn join<'s>(
    left: (Changes<'s>, Arranged),
    right: (Changes<'s>, Arranged),
    (core, meter): (Join, Meter),
    chain: Chain,
    context: &Context,
) -> Changes<'s> {
    let poisons = [core.kind().poisons(0), core.kind().poisons(1)];
    let context = context.clone();
    let scope = left.0.scope();
    let ((left, l), (right, r)) = (left, right);
    left.binary_frontier::<_, Builder, _, _, _, _>(
        right,
        Pipeline,
        Pipeline,
        "join",
        move |cap, info| {
            drop(cap);
            let activator = scope.activator_for(info.address);
            let (sides, queue) = ([l, r], BTreeMap::new());
            let mut work = JoinWork { core, meter, chain, sides, queue, open: None };
            move |(left, left_frontier), (right, right_frontier), output| {
                let port = output.output_index();
                let mut take = |side: usize,
                                time: timely::dataflow::operators::InputCapability<u64>,
                                data: &mut ChangeBatch| {
                    let mut change = std::mem::take(data);
                    if change.is_errors() {
                        if poisons[side] {
                            change = poisoned(&change);
                        }
                        output.session(&time).give_container(&mut change);
                    } else {
                        work.meter.took(change.len());
                        let pending = work
                            .queue
                            .entry(*time.time())
                            .or_insert_with(|| (time.retain(port), Default::default()));
                        pending.1[side].push(change);
                    }
                };
                left.for_each(|time, data| take(0, time, data));
                right.for_each(|time, data| take(1, time, data));
                let below = closed_below(left_frontier).min(closed_below(right_frontier));
                let mut fuel = JOIN_FUEL;
                let mut out = Output::default();
                while fuel > 0 && work.has_more(below) {
                    let mut done = false;
                    let step = || work.step(&mut fuel, &mut out).map(|all| done = all);
                    if !context.guard("join", step) {
                        (work.open, work.queue) = (None, BTreeMap::new());
                        break;
                    }
                    if let Some((_, cap, _)) = &work.open {
                        for mut change in out.batches.drain(..) {
                            output.session(cap).give_container(&mut change);
                        }
                    }
                    if done {
                        work.open = None;
                    }
                }
                if work.has_more(below) {
                    activator.activate();
                }
                work.release(below);
            }
        },
    )
}

/// The epochs of a join that have arrived.
struct JoinWork {
    core: Join,
    meter: Meter,
    chain: Chain,
    sides: [Arranged; 2],
    queue: BTreeMap<u64, (Capability<u64>, [Vec<ChangeBatch>; 2])>,
    /// The one that is under way.
    open: Option<(u64, Capability<u64>, JoinEpoch)>,
}

impl JoinWork {
    /// Goes on with the epoch under way, which is the next one unless there is one; whether it is done.
    fn step(&mut self, fuel: &mut usize, out: &mut Output) -> Result<bool> {
        let mut watch = Instant::now();
        if self.open.is_none()
            && let Some((epoch, (cap, [left, right]))) = self.queue.pop_first()
        {
            let versions = self.sides.each_ref().map(|side| side.versions(Epoch(epoch)));
            let begun = self.core.begin([left, right], versions);
            self.open = Some((epoch, cap, begun));
        }
        let Some((_, _, epoch)) = &mut self.open else { return Ok(true) };
        let done = self.core.step(epoch, fuel, out)?;
        self.meter.gave_all(&out.batches);
        self.meter.worked(lap(&mut watch));
        self.chain.run(out, watch)?;
        Ok(done)
    }

    /// Whether an epoch is under way or complete.
    fn has_more(&self, below: u64) -> bool {
        self.open.is_some() || self.queue.first_key_value().is_some_and(|(&epoch, _)| epoch < below)
    }

    /// Tells the arrangements what they may forget: an epoch is joined as of the one before it.
    fn release(&self, below: u64) {
        let open = self.open.as_ref().map(|(epoch, ..)| *epoch);
        let next = open.or(self.queue.first_key_value().map(|(&epoch, _)| epoch));
        let needed = next.unwrap_or(below).min(below);
        if needed != u64::MAX {
            for side in &self.sides {
                side.hold.set(side.hold.get().max(needed.saturating_sub(1)));
            }
        }
    }
}

/// The end of an object's dataflow, in a sink that gets each complete epoch that has changes, then
/// the first epoch that is not complete, whenever that has moved.
pub fn sink<'s, S: Sink>(
    stream: Changes<'s>,
    route: Route,
    context: &Context,
    sink: Rc<RefCell<S>>,
) {
    match context.route(route) {
        Route::Local => sink_over(stream, Pipeline, context, sink),
        Route::Key(key) => sink_over(stream, context.pact(key), context, sink),
    }
}

/// What stands at the end of an object's dataflow.
pub trait Sink: Stateful + 'static {
    /// One complete epoch that has changes; gives the number of rows in which it differs from the one before.
    fn apply(&mut self, epoch: u64, changes: Vec<ChangeBatch>) -> Result<usize>;

    /// All epochs below `below` are applied.
    fn advance(&mut self, below: u64);
}

fn sink_over<'s, P: ParallelizationContract<u64, ChangeBatch>, S: Sink>(
    stream: Changes<'s>,
    pact: P,
    context: &Context,
    sink: Rc<RefCell<S>>,
) {
    let (context, meter) = (context.clone(), context.meter(END));
    let seat = context.seat("hub", END, sink.clone());
    let mut queue: BTreeMap<u64, Vec<ChangeBatch>> = BTreeMap::new();
    let mut done = 0;
    stream.sink(pact, "hub", move |(input, frontier)| {
        let waiting = &context.waiting_bytes;
        input.for_each(|time, data| {
            let change = std::mem::take(data);
            if !change.is_errors() {
                meter.took(change.len());
            }
            waiting.set(waiting.get() + change.memory_bytes());
            queue.entry(*time.time()).or_default().push(change)
        });
        let below = closed_below(frontier);
        if below <= done {
            return;
        }
        done = below;
        let mut watch = Instant::now();
        let later = queue.split_off(&below);
        for (epoch, changes) in std::mem::replace(&mut queue, later) {
            seat.reached(epoch);
            let bytes: usize = changes.iter().map(ChangeBatch::memory_bytes).sum();
            waiting.set(waiting.get().saturating_sub(bytes));
            context.guard("hub", || {
                meter.gave(sink.borrow_mut().apply(epoch, changes)?);
                Ok(())
            });
        }
        context.guard("hub", || {
            sink.borrow_mut().advance(below);
            Ok(())
        });
        meter.worked(lap(&mut watch));
        seat.reached(below);
    });
}

/// Rows of several streams together.
pub fn union<'s>(scope: Scope<'s, u64>, streams: Vec<Changes<'s>>) -> Changes<'s> {
    use timely::dataflow::operators::Concatenate;
    scope.concatenate(streams)
}
