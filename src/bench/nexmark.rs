//! `tidewater bench nexmark`: each query as a materialized view of a fresh server in this process.
//!
//! A case begins with CREATE MATERIALIZED VIEW, which starts the sources' readers, and ends when every event is in the
//! view. The generator runs beside the workers on threads of its own; its CPU time is told apart. A Kafka topic is
//! filled once before, and there readers and decoders count.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tidewater_connectors::options::Options;
use tidewater_connectors::registry::SourceSpec;

use super::kafka;
use super::queries::{self, Body, Query};
use super::report::{Case, Meter, Report, rounded};
use crate::arrangement::live::LiveTable;
use crate::catalog::{DATABASE, OWNER};
use crate::config::{BenchSource, NexmarkArgs, ServerArgs};
use crate::error::{Error, Result};
use crate::ingest::SourceStatus;
use crate::memory::Pressure;
use crate::server::Server;
use crate::session::Session;
use crate::sql::ObjectName;

/// How often it is looked whether all is taken in; a case lasts thousands of times as long.
const POLL: Duration = Duration::from_millis(1);
/// Nothing taken in for this long means that nothing will be.
const STANDSTILL: Duration = Duration::from_secs(60);
/// An offset that is asked for outside is there within this time or not at all.
const BOUNDS_TIMEOUT: Duration = Duration::from_secs(10);

/// Where bids are read from instead of the generator.
pub struct Topic {
    pub servers: String,
    pub name: String,
    pub messages: u64,
}

/// What is the same for all queries.
struct Setup {
    events: u64,
    workers: usize,
    memory_limit_bytes: u64,
    topic: Option<Topic>,
}

/// A stream that a query reads.
struct Input {
    status: Arc<SourceStatus>,
    /// The sum of its splits' ends.
    end: i64,
}

pub fn run(args: NexmarkArgs) -> std::result::Result<(), String> {
    let chosen = queries::chosen(&args.queries)?;
    let workers = args.workers().map_err(|e| e.to_string())?;
    let server = ServerArgs::default().resolve().map_err(|e| e.to_string())?;
    let topic = match args.source {
        BenchSource::Generator => None,
        BenchSource::Kafka => Some(kafka::fill(args.kafka.as_deref(), args.events)?),
    };
    let setup = Setup {
        events: args.events,
        workers,
        memory_limit_bytes: server.memory_limit_bytes,
        topic,
    };
    let runtime = crate::serve::runtime()?;
    let failed = runtime.block_on(setup.all(&chosen));
    match failed.as_slice() {
        [] => Ok(()),
        names => Err(format!("could not measure {}", names.join(", "))),
    }
}

impl Setup {
    /// Measures one query after the other; returns those that should have run and did not.
    async fn all(&self, chosen: &[&'static Query]) -> Vec<&'static str> {
        let from = match &self.topic {
            None => format!("{} events from the generator", self.events),
            Some(topic) => format!("{} bids as JSON from Kafka", topic.messages),
        };
        let mut report = Report::begin(&format!("Nexmark: {from}, {} worker(s).", self.workers));
        let mut failed = vec![];
        for query in chosen {
            let (streams, sql) = match &query.body {
                Body::Needs(what) => {
                    report.skip(query.name, &format!("needs {what}"));
                    continue;
                }
                Body::Sql { streams, .. } if self.topic.is_some() && **streams != ["bid"] => {
                    report.skip(query.name, "reads more than bids, which is all the topic has");
                    continue;
                }
                Body::Sql { streams, sql } => (streams, sql),
            };
            match self.measure(query.name, streams, sql).await {
                Ok(case) => report.add(case),
                Err(error) => {
                    report.skip(query.name, &format!("failed: {}", error.message));
                    failed.push(query.name);
                }
            }
        }
        report.end();
        failed
    }

    async fn measure(&self, name: &str, streams: &[&str], sql: &str) -> Result<Case> {
        let server = Server::start(self.workers, self.memory_limit_bytes)?;
        let outcome = self.run(&server, name, streams, sql).await;
        let stopping = server.clone();
        // Joining threads blocks.
        let _ = tokio::task::spawn_blocking(move || stopping.shutdown()).await;
        outcome
    }

    async fn run(
        &self,
        server: &Arc<Server>,
        name: &str,
        streams: &[&str],
        sql: &str,
    ) -> Result<Case> {
        let mut session = Session::new(server.clone(), OWNER, DATABASE, &BTreeMap::new())?;
        let mut inputs = vec![];
        for stream in streams {
            session.run_script(&self.create_source(stream)).await?;
            inputs.push(input(server, stream)?);
        }
        let meter = Meter::start();
        session.run_script(&format!("create materialized view result as {sql}")).await?;
        let view = live(server, "result")?;
        all_taken_in(server, &inputs, &view).await?;
        // The epoch of this statement is behind the last row's.
        session.run_script("create schema finished").await?;
        server.coordinator.pin(std::slice::from_ref(&view)).await?;
        let generator = self.topic.is_none().then(generator_cpu_seconds);
        let events = self.topic.as_ref().map_or(self.events, |topic| topic.messages);
        let case = Case::new(name, events, meter.stop(), generator.unwrap_or(0.0));
        let rows_out = Some(view.rows());
        Ok(Case { generator_seconds: generator, rows_out, ..case })
    }

    fn create_source(&self, stream: &str) -> String {
        match &self.topic {
            None => format!(
                "create source {stream} with (connector = 'nexmark', nexmark.table.type = '{stream}', \
                 nexmark.event.num = '{}')",
                self.events
            ),
            Some(topic) => format!(
                "create source {stream} (auction bigint, bidder bigint, price bigint, channel varchar, \
                 url varchar, date_time timestamp, extra varchar) with (connector = 'kafka', \
                 topic = '{}', properties.bootstrap.server = '{}') format plain encode json",
                topic.name, topic.servers
            ),
        }
    }
}

fn object(server: &Server, name: &str) -> Result<crate::catalog::ObjectId> {
    let path = ["public".to_owned()];
    Ok(server.catalog.snapshot().resolve(&path, &ObjectName::bare(name))?.id)
}

fn live(server: &Server, name: &str) -> Result<Arc<LiveTable>> {
    let live = server.coordinator.live(object(server, name)?);
    live.ok_or_else(|| Error::internal(format!("\"{name}\" is not running")))
}

fn input(server: &Server, name: &str) -> Result<Input> {
    let id = object(server, name)?;
    let (stream, status) = server
        .coordinator
        .source(id)
        .zip(server.coordinator.source_status(id))
        .ok_or_else(|| Error::internal(format!("\"{name}\" is not a running source")))?;
    let mut end = 0;
    for start in &stream.starts {
        let bounds = stream.source.bounds(&start.split, BOUNDS_TIMEOUT);
        end += bounds.map_err(|e| Error::internal(e.message))?.latest.0 as i64;
    }
    Ok(Input { status, end })
}

/// Waits until every source is read to its end.
async fn all_taken_in(server: &Server, inputs: &[Input], view: &LiveTable) -> Result<()> {
    let position = || -> i64 {
        inputs.iter().map(|input| input.status.position.load(Ordering::Relaxed)).sum()
    };
    let (end, mut seen, mut moved) = (inputs.iter().map(|i| i.end).sum::<i64>(), 0, Instant::now());
    while position() < end {
        if let Some(error) = view.failure() {
            return Err(error.clone());
        }
        if position() != seen {
            (seen, moved) = (position(), Instant::now());
        } else if moved.elapsed() > STANDSTILL {
            let why = match server.memory.pressure() {
                Pressure::None => "nothing arrives any more",
                _ => "the memory limit is reached; try fewer --events",
            };
            return Err(Error::internal(format!("stopped at {seen} of {end} events: {why}")));
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// CPU time of the threads that make events, in the kernel's ticks of 10 ms.
fn generator_cpu_seconds() -> f64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0.0 };
    let of_reader = |task: std::fs::DirEntry| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        if !name.starts_with("read ") {
            return None;
        }
        crate::process::cpu_seconds(&std::fs::read_to_string(task.path().join("stat")).ok()?)
    };
    rounded(tasks.flatten().filter_map(of_reader).sum(), 2)
}

/// The generator's bids, for whoever wants to send them elsewhere.
pub fn bids(events: u64) -> Result<Arc<dyn tidewater_connectors::contract::Source>> {
    let events = events.to_string();
    let options = [
        ("connector", "nexmark"),
        ("nexmark.table.type", "bid"),
        ("nexmark.event.num", events.as_str()),
    ];
    let spec = SourceSpec {
        name: "bid".to_owned(),
        options: Options::new(options).map_err(|e| Error::internal(e.message))?,
        format: None,
        encode: None,
        columns: Arc::new(arrow_schema::Schema::empty()),
        primary_key: vec![],
        include: vec![],
    };
    tidewater_connectors::registry::open(&spec).map_err(|e| Error::internal(e.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_that_claims_to_run_does_and_takes_in_all_events() {
        let setup = Setup { events: 5_000, workers: 2, memory_limit_bytes: 1 << 30, topic: None };
        let runtime = crate::serve::runtime().unwrap();
        runtime.block_on(async {
            for query in queries::QUERIES {
                let Body::Sql { streams, sql } = &query.body else { continue };
                let case = setup.measure(query.name, streams, sql).await;
                let case = case.unwrap_or_else(|e| panic!("{}: {e}", query.name));
                assert_eq!(case.events, 5_000);
                assert!(case.rows_out > Some(0), "{case:?}");
                if query.name == "q0" {
                    assert_eq!(case.rows_out, Some(4_600));
                }
            }
        });
    }
}
