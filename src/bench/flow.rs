//! A view on its own dataflow workers: planned from SQL, rendered and fed exactly as the server does it, without the
//! coordinator's thread, so that a benchmark decides itself what is in an epoch.
//!
//! The view's result is either kept as a live table or, with [`Outcome::Discarded`], only counted: then what is measured is
//! the operators and timely between them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::common::TableReference;
use datafusion::logical_expr::TableSource;

use crate::arrangement::live::{LiveTable, Progress, ReadClock};
use crate::catalog::ObjectId;
use crate::change::ChangeBatch;
use crate::coordinator::Flight;
use crate::dataflow::{Command, HubSpec, ViewSpec, Workers};
use crate::epoch::Epoch;
use crate::error::{Error, Result, SqlState};
use crate::plan::lower::{ObjectFacts, ObjectSource};
use crate::plan::{Node, Properties, lower};
use crate::query::engine::{Engine, EngineOptions, Resolver};
use crate::query::output::canonicalise;
use crate::sql::Statement;

/// A lost wake-up costs this much and no more.
const PARK: Duration = Duration::from_millis(10);

/// What becomes of the view's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// They are counted.
    Discarded,
    /// They make a live table, as every view's do.
    Kept,
}

/// An input: append-only, like a source.
#[derive(Clone, Debug)]
pub struct Input {
    pub name: &'static str,
    pub schema: SchemaRef,
}

struct Tables(Vec<ObjectFacts>);

impl Resolver for Tables {
    fn table(&self, reference: &TableReference) -> Result<Arc<dyn TableSource>> {
        let name = reference.table();
        let facts = self.0.iter().find(|facts| facts.name == name).ok_or_else(|| {
            let message = format!("relation \"{name}\" does not exist");
            Error::new(SqlState::UNDEFINED_TABLE, message)
        })?;
        Ok(Arc::new(ObjectSource::new(facts.clone())))
    }

    fn setting(&self, _name: &str) -> Option<String> {
        None
    }
}

/// A running view and its inputs, which are named by their position.
pub struct Flow {
    workers: Workers,
    inputs: Vec<(ObjectId, Arc<LiveTable>)>,
    view: Arc<LiveTable>,
    progress: Arc<Progress>,
    clock: Arc<ReadClock>,
    open: Epoch,
    flight: Flight,
    /// Epochs that the view may be behind; `None`: as many as the inputs.
    view_lag: Option<u64>,
}

impl Flow {
    /// Starts `workers` threads that maintain `query` over the inputs.
    pub fn start(query: &str, inputs: &[Input], outcome: Outcome, workers: usize) -> Result<Flow> {
        let facts = |(i, input): (usize, &Input)| ObjectFacts {
            id: ObjectId(i as u64 + 1),
            name: input.name.to_owned(),
            schema: input.schema.clone(),
            properties: Properties { append_only: true, keys: vec![] },
            stored: false,
            rows: 0,
        };
        let facts: Vec<ObjectFacts> = inputs.iter().enumerate().map(facts).collect();
        let plan = Arc::new(plan(query, &Tables(facts.clone()))?);
        let progress = Arc::new(Progress::default());
        // Whoever feeds waits for the workers on this thread.
        progress.set_coordinator(std::thread::current());
        let clock = Arc::new(ReadClock::default());
        let mut pool = Workers::start(workers, clock.clone(), Epoch::ZERO.next())?;
        let spec = |object, name: &str, schema: &SchemaRef, key: Option<Vec<usize>>, stored| {
            let live = LiveTable::new(
                name.to_owned(),
                schema.clone(),
                key.clone(),
                false,
                workers,
                progress.clone(),
            );
            let live = Arc::new(live);
            HubSpec { stored, ..HubSpec::new(object, schema.clone(), key, live) }
        };
        let mut fed = vec![];
        for facts in facts {
            let hub = spec(facts.id, &facts.name, &facts.schema, None, false);
            fed.push((facts.id, hub.live.clone()));
            pool.send(Command::Create(Arc::new(hub)));
        }
        let id = ObjectId(fed.len() as u64 + 1);
        let hub = spec(id, "view", &plan.schema, plan.key(), outcome == Outcome::Kept);
        let view = hub.live.clone();
        let open = Epoch::ZERO.next();
        let spec = ViewSpec::new(hub, plan, workers);
        pool.send(Command::Install(Arc::new(spec), open));
        let (flight, view_lag) = (Flight::default(), None);
        Ok(Flow { workers: pool, inputs: fed, view, progress, clock, open, flight, view_lag })
    }

    /// Adds rows to the open epoch.
    pub fn feed(&mut self, input: usize, rows: &RecordBatch) {
        self.flight.fed(rows.num_rows());
        let rows = ChangeBatch::inserts(rows.clone());
        self.workers.send(Command::Feed(self.inputs[input].0, vec![rows]));
    }

    /// Lets the view be this many epochs behind: the coordinator allows 256 where rows are written to tables.
    pub fn with_view_lag(self, epochs: u64) -> Flow {
        Flow { view_lag: Some(epochs), ..self }
    }

    /// Closes the open epoch once not too many are on their way.
    pub fn close(&mut self) -> Result<()> {
        self.wait(|flow| !flow.is_full())?;
        // As in the coordinator, what every object has passed is forgotten.
        self.clock.raise(self.view.complete().min(self.inputs_complete()));
        self.workers.send(Command::Close(self.open, None));
        self.flight.closed(self.open);
        self.open = self.open.next();
        Ok(())
    }

    /// Waits until everything closed is in the result.
    pub fn finish(&self) -> Result<()> {
        // As a session does that reads. The inputs are complete before what is made of them.
        futures::executor::block_on(self.view.wait_for(self.open.prev()))
    }

    fn inputs_complete(&self) -> Epoch {
        self.inputs.iter().map(|(_, live)| live.complete()).fold(Epoch::FINISHED, Epoch::min)
    }

    fn is_full(&self) -> bool {
        let view = self.view.complete();
        let view_is_behind = match self.view_lag {
            Some(epochs) => self.open.prev().0.saturating_sub(view.0) > epochs,
            None => self.flight.is_full(view),
        };
        view_is_behind || self.flight.is_full(self.inputs_complete())
    }

    fn wait(&self, reached: impl Fn(&Flow) -> bool) -> Result<()> {
        loop {
            if let Some(error) = self.view.failure() {
                return Err(error.clone());
            }
            if reached(self) {
                return Ok(());
            }
            let awaited = self.flight.awaited(self.inputs_complete());
            self.progress.set_awaited(Some(awaited));
            if !reached(self) {
                std::thread::park_timeout(PARK);
            }
            self.progress.set_awaited(None);
        }
    }

    /// Rows of all changes of the result so far, errors not counted.
    pub fn rows_out(&self) -> u64 {
        self.view.counters.rows_out.load(Ordering::Relaxed)
    }

    /// Rows that failed.
    pub fn errors(&self) -> i64 {
        self.view.counters.errors.load(Ordering::Relaxed)
    }
}

/// The streaming plan that CREATE MATERIALIZED VIEW makes of the query.
fn plan(query: &str, tables: &dyn Resolver) -> Result<Node> {
    let engine = Engine::new(EngineOptions::default())?;
    let parsed = crate::sql::parse(query)?.into_iter().next().map(|parsed| parsed.statement);
    let Some(Statement::Query(query)) = parsed else {
        return Err(Error::internal("a benchmark measures a query"));
    };
    let plan = engine.plan(&query, tables, &[])?;
    lower(&engine.props(), &engine.optimize_streaming(canonicalise(plan)?)?)
}
