//! `tidewater server`: listeners, signals, logs, and the order in which everything starts and stops.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::arrangement::feed::FeedCounters;
use crate::arrangement::live::LiveTable;
use crate::catalog::{ObjectId, ObjectKind};
use crate::config::{ListenAddress, LogFormat, ServerConfig};
use crate::egress::SinkStatus;
use crate::http::{HttpState, Phase, Readiness};
use crate::ingest::SourceStatus;
use crate::metrics::{Metrics, SourceState};
use crate::server::Server;
use crate::wire;

/// Sessions at a time; PostgreSQL's clients see the same number as max_connections.
const SESSIONS_MAX: usize = 1_000;
/// How often what workers count is copied into metrics.
const METRICS_INTERVAL: Duration = Duration::from_millis(500);

/// A server that listens.
pub struct Running {
    pub server: Arc<Server>,
    pub address: SocketAddr,
    pub http_address: SocketAddr,
    stop: CancellationToken,
    wire: tokio::task::JoinHandle<std::io::Result<()>>,
    http: tokio::task::JoinHandle<std::io::Result<()>>,
}

/// Counts sessions and queries.
struct Meter(Arc<Metrics>);

impl wire::Meter for Meter {
    fn session_opened(&self) {
        self.0.sessions.opened.inc();
        self.0.sessions.open.inc();
    }

    fn session_closed(&self) {
        self.0.sessions.open.dec();
    }

    fn connection_refused(&self) {
        self.0.sessions.refused.inc();
    }

    fn query_finished(&self, took: Duration, sqlstate: Option<&str>) {
        self.0.query_finished(took, sqlstate);
    }
}

async fn bind(address: &ListenAddress) -> Result<TcpListener, String> {
    TcpListener::bind(address.addresses())
        .await
        .map_err(|error| format!("could not listen on {address}: {error}"))
}

impl Running {
    /// Binds both listeners, starts the engine and begins to accept.
    pub async fn start(config: &ServerConfig) -> Result<Running, String> {
        let (listener, http_listener) =
            (bind(&config.listen).await?, bind(&config.http_listen).await?);
        let local = |listener: &TcpListener| listener.local_addr().map_err(|e| e.to_string());
        let (address, http_address) = (local(&listener)?, local(&http_listener)?);
        std::fs::create_dir_all(&config.data_dir).map_err(|e| {
            format!("could not create the data directory {}: {e}", config.data_dir.display())
        })?;
        let start = if config.test_mode { Server::start_for_test } else { Server::start };
        let server = start(config.workers, config.memory_limit_bytes).map_err(|e| e.to_string())?;
        let metrics = Metrics::new(server.memory.clone());
        let readiness = Readiness::default();
        let stop = CancellationToken::new();
        let state = HttpState { metrics: metrics.clone(), readiness: readiness.clone() };
        let http = tokio::spawn(crate::http::serve(http_listener, state, stop.clone()));
        let meter = Arc::new(Meter(metrics.clone()));
        let wire =
            tokio::spawn(wire::serve(listener, server.clone(), stop.clone(), SESSIONS_MAX, meter));
        tokio::spawn(observe(server.clone(), metrics, stop.clone()));
        readiness.set(Phase::Ready);
        Ok(Running { server, address, http_address, stop, wire, http })
    }

    /// How clients reach the server.
    pub fn url(&self) -> String {
        format!(
            "postgres://{}@{}/{}",
            crate::catalog::OWNER,
            self.address,
            crate::catalog::DATABASE
        )
    }

    /// Lets running statements go, then stops the engine.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = self.wire.await;
        let _ = self.http.await;
        let server = self.server;
        // Joining threads blocks.
        let _ = tokio::task::spawn_blocking(move || server.shutdown()).await;
    }
}

/// What counters were when they were last copied.
#[derive(Clone, Copy, Default)]
struct Seen {
    rows_in: u64,
    rows_out: u64,
    source_rows: u64,
    messages: u64,
    bytes: u64,
    troubles: u64,
    errors: u64,
}

/// Copies what workers and readers count into metrics; series of dropped objects go.
async fn observe(server: Arc<Server>, metrics: Arc<Metrics>, stop: CancellationToken) {
    // By id: an object that is dropped and made again under its name begins anew.
    let mut seen: HashMap<ObjectId, (String, Seen)> = HashMap::new();
    let mut epochs = 0;
    while tokio::time::timeout(METRICS_INTERVAL, stop.cancelled()).await.is_err() {
        let snapshot = server.catalog.snapshot();
        let live = server.coordinator.shared.live.load_full();
        let epoch = server.coordinator.shared.epochs.load(Ordering::Relaxed);
        metrics.epochs.current.set(epoch as i64);
        metrics.epochs.closed.inc_by(epoch - epochs);
        epochs = epoch;
        observe_subscriptions(&metrics, &server.coordinator.shared.feeds);
        seen.retain(|id, (name, _)| {
            let there = live.contains_key(id);
            if !there {
                metrics.remove(name);
            }
            there
        });
        for (id, live) in live.iter() {
            let names = live.names();
            let name = &names.object;
            let (known_as, before) =
                seen.entry(*id).or_insert_with(|| (name.clone(), Seen::default()));
            if known_as != name {
                // It goes on under its new name with what is counted from now on.
                metrics.remove(&std::mem::replace(known_as, name.clone()));
            }
            let Some(object) = snapshot.get(*id) else {
                let counters = &live.counters;
                let bytes = counters.state_bytes.load(Ordering::Relaxed);
                metrics.arrangement(name, bytes, live.rows() as i64);
                continue;
            };
            observe_table(&metrics, name, &object.kind, live, before);
            if let Some(status) = server.coordinator.source_status(*id) {
                observe_source(&metrics, name, &status, before);
            }
            if let Some(status) = server.coordinator.sink_status(*id) {
                observe_sink(&metrics, name, &status, epoch, before);
            }
        }
    }
}

fn observe_subscriptions(metrics: &Metrics, feeds: &FeedCounters) {
    let subscriptions = &metrics.subscriptions;
    subscriptions.open.set(feeds.active.load(Ordering::Relaxed));
    for (counter, counted) in
        [(&subscriptions.rows, &feeds.rows), (&subscriptions.cut_off, &feeds.cut_off)]
    {
        counter.inc_by(counted.load(Ordering::Relaxed).saturating_sub(counter.get()));
    }
}

fn observe_table(
    metrics: &Metrics,
    name: &str,
    kind: &ObjectKind,
    live: &LiveTable,
    before: &mut Seen,
) {
    let counters = &live.counters;
    let (rows_in, rows_out) =
        (counters.rows_in.load(Ordering::Relaxed), counters.rows_out.load(Ordering::Relaxed));
    let (rows, bytes) = (live.rows() as i64, counters.state_bytes.load(Ordering::Relaxed));
    let dead_letters = metrics.dead_letters(name);
    let errors = counters.errors_ever.load(Ordering::Relaxed);
    dead_letters.standing.set(counters.errors.load(Ordering::Relaxed));
    dead_letters.written.inc_by(errors - before.errors);
    before.errors = errors;
    match kind {
        ObjectKind::MaterializedView { .. } => {
            let view = metrics.view(name);
            view.rows_in.inc_by(rows_in - before.rows_in);
            view.rows_out.inc_by(rows_out - before.rows_out);
            counters
                .latencies
                .lock()
                .drain(..)
                .for_each(|seconds| view.epoch_seconds.observe(seconds));
            view.state_bytes.set(bytes + counters.operator_bytes.load(Ordering::Relaxed));
            view.state_rows.set(rows);
            view.failed.set(i64::from(live.failure().is_some()));
        }
        ObjectKind::Table { .. } => {
            let table = metrics.table(name);
            table.rows_in.inc_by(rows_in - before.rows_in);
            counters
                .latencies
                .lock()
                .drain(..)
                .for_each(|seconds| metrics.epochs.seconds.observe(seconds));
            table.state_bytes.set(bytes);
            table.state_rows.set(rows);
        }
        ObjectKind::Source { .. }
        | ObjectKind::View { .. }
        | ObjectKind::Sink { .. }
        | ObjectKind::Index { .. }
        | ObjectKind::Sequence { .. } => {}
    }
    (before.rows_in, before.rows_out) = (rows_in, rows_out);
}

fn observe_source(metrics: &Metrics, name: &str, status: &SourceStatus, before: &mut Seen) {
    let source = metrics.source(name);
    let (rows, bytes) = (status.rows.load(Ordering::Relaxed), status.bytes.load(Ordering::Relaxed));
    let troubles = status.troubles.load(Ordering::Relaxed);
    source.rows.inc_by(rows - before.source_rows);
    source.bytes.inc_by(bytes - before.bytes);
    source.errors.inc_by(troubles - before.troubles);
    if let Some(lag) = status.lag() {
        source.lag.set(lag);
    }
    source.set_state(match status.state.lock().name {
        "running" => SourceState::Running,
        "retrying" => SourceState::Retrying,
        "failed" => SourceState::Failed,
        "paused" => SourceState::Paused,
        _ => SourceState::Idle,
    });
    (before.source_rows, before.bytes, before.troubles) = (rows, bytes, troubles);
}

fn observe_sink(metrics: &Metrics, name: &str, status: &SinkStatus, epoch: u64, before: &mut Seen) {
    let sink = metrics.sink(name);
    let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let (messages, bytes) = (read(&status.messages), read(&status.bytes));
    let errors = read(&status.errors);
    sink.messages.inc_by(messages - before.messages);
    sink.bytes.inc_by(bytes - before.bytes);
    sink.errors.inc_by(errors - before.troubles);
    sink.owed_rows.set(read(&status.owed_rows) as i64);
    sink.lag_epochs.set(status.lag(epoch) as i64);
    sink.running.set(i64::from(status.state.lock().name == "running"));
    (before.messages, before.bytes, before.troubles) = (messages, bytes, errors);
}

/// Starts logging to standard error; `RUST_LOG` decides what, warnings and our own news by default.
pub fn start_logs(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        tracing_subscriber::EnvFilter::new("warn,tidewater=info,tidewater_connectors=info")
    });
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Colours are for whoever looks on, not for files.
        .with_ansi(std::io::stderr().is_terminal());
    let started = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    // A second server in one process (tests) logs where the first one does.
    drop(started);
}

/// A panic in an operator is caught where it happens; anywhere else other workers would wait for ever, so the process
/// ends, visibly.
pub fn abort_on_worker_panic() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        default(info);
        let name = std::thread::current().name().map(str::to_owned).unwrap_or_default();
        let worker = name.starts_with("timely:") && !crate::dataflow::is_guarded();
        if worker || name == "coordinator" {
            std::process::abort();
        }
    }));
}

/// Of threads that plan queries: as much as they touch is used. Plans nest deeply.
const STACK: usize = 16 << 20;

pub fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread()
        .thread_name("session")
        .thread_stack_size(STACK)
        .enable_all()
        .build()
        .map_err(|e| format!("could not start: {e}"))
}

/// Ctrl-C or SIGTERM.
pub async fn asked_to_stop() {
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).ok();
    let terminated = async {
        match &mut terminate {
            Some(signal) => {
                signal.recv().await;
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

/// Runs until told to stop.
pub fn run(config: ServerConfig) -> Result<(), String> {
    start_logs(config.log_format);
    abort_on_worker_panic();
    let runtime = runtime()?;
    let outcome = runtime.block_on(async {
        let running = Running::start(&config).await?;
        say(&format!("tidewater is ready: {}", running.url()));
        tracing::info!(http = %running.http_address, workers = config.workers, "listening");
        asked_to_stop().await;
        tracing::info!("stopping");
        running.stop().await;
        Ok(())
    });
    runtime.shutdown_timeout(Duration::from_millis(500));
    outcome
}

/// A line on standard output. Nobody listening is no reason to stop.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}
