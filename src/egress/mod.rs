//! Sinks: the changes of a view or query on their way to a place outside.
//!
//! ```text
//! dataflow ── changes ──> Outbox ── what is owed ──> encode ── messages ──> Writer (a connector's)
//!                           └─ state: a checkpoint has what was not acknowledged as of its epoch
//! ```
//!
//! [`outbox`] keeps what is owed and is the only state; [`encode`] makes messages of it; [`Egress`] is the thread that
//! delivers. Delivery is at-least-once: what was not acknowledged when a checkpoint was taken is sent again after a start from it.
//!
//! Invariants: a delivery has all changes up to one epoch and nothing later, since the last one that was acknowledged, and a key
//! that changed ten times is one message. Whatever happens outside, the dataflow never waits for a sink.

pub mod encode;
pub mod outbox;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tidewater_connectors::contract::{ConnectorError, ErrorKind};
use tidewater_connectors::sink::{Target, Writer};

pub use self::encode::{Format, Shape};
pub use self::outbox::Outbox;
use crate::arrangement::live::LiveTable;
use crate::epoch::Epoch;
use crate::error::{Error, Result, SqlState};

/// An idle sink looks this often how far its view is; changes wake it at once.
const PARK: Duration = Duration::from_millis(50);
/// Pause after a delivery that failed, doubled up to the maximum.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// A sink as declared: what messages look like and where they go.
pub struct Sink {
    pub target: Arc<dyn Target>,
    pub shape: Shape,
}

/// What SHOW SINKS and metrics know of a sink.
#[derive(Default)]
pub struct SinkStatus {
    /// Messages acknowledged, and their bytes.
    pub messages: AtomicU64,
    pub bytes: AtomicU64,
    /// Deliveries that failed.
    pub errors: AtomicU64,
    /// Everything up to this epoch is acknowledged.
    pub delivered: AtomicU64,
    /// Rows that are owed.
    pub owed_rows: AtomicU64,
    pub state: Mutex<SinkState>,
}

/// What a sink is doing.
#[derive(Clone, Debug, Default)]
pub struct SinkState {
    /// "running", "retrying" or "failed".
    pub name: &'static str,
    /// Stays when it has passed.
    pub last_error: Option<String>,
}

impl SinkStatus {
    /// Epochs behind `epoch`, the last one closed.
    pub fn lag(&self, epoch: u64) -> u64 {
        epoch.saturating_sub(self.delivered.load(Ordering::Relaxed))
    }

    fn set(&self, name: &'static str) {
        self.state.lock().name = name;
    }

    fn note(&self, error: String) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        self.state.lock().last_error = Some(error);
    }
}

/// A running sink; dropping it ends the thread, without waiting for it.
pub struct Egress {
    stop: Arc<AtomicBool>,
    thread: Thread,
    join: Option<JoinHandle<()>>,
}

impl Egress {
    /// Delivers what comes into `outbox`; `live` is told when the sink cannot go on.
    pub fn start(
        sink: Arc<Sink>,
        outbox: Arc<Outbox>,
        live: Arc<LiveTable>,
        status: Arc<SinkStatus>,
    ) -> Result<Egress> {
        let stop = Arc::new(AtomicBool::new(false));
        let name: String = format!("sink {}", live.names().object).chars().take(15).collect();
        status.set("running");
        let (delivered, backoff) = (Epoch::ZERO, BACKOFF_MIN);
        let (stopped, inner) = (stop.clone(), outbox.clone());
        let job = Job {
            sink,
            outbox: inner,
            live,
            status,
            stop: stopped,
            writer: None,
            delivered,
            backoff,
        };
        let join = std::thread::Builder::new()
            .name(name)
            .spawn(move || job.run())
            .map_err(|e| Error::internal(format!("could not start a sink: {e}")))?;
        let thread = join.thread().clone();
        outbox.wake(thread.clone());
        Ok(Egress { stop, thread, join: Some(join) })
    }
}

impl Egress {
    /// Ends sinks and waits until none of them sends any more: what the next start sends must come behind it.
    pub fn end_all(mut sinks: Vec<Egress>) {
        sinks.iter().for_each(Egress::stop);
        for join in sinks.iter_mut().filter_map(|sink| sink.join.take()) {
            // A thread that has panicked sends nothing either.
            let _ = join.join();
        }
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.unpark();
    }
}

impl Drop for Egress {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the thread works on.
struct Job {
    sink: Arc<Sink>,
    outbox: Arc<Outbox>,
    live: Arc<LiveTable>,
    status: Arc<SinkStatus>,
    stop: Arc<AtomicBool>,
    writer: Option<Box<dyn Writer>>,
    delivered: Epoch,
    backoff: Duration,
}

impl Job {
    fn run(mut self) {
        let interval = self.sink.target.interval();
        let mut last = Instant::now().checked_sub(interval).unwrap_or_else(Instant::now);
        while !self.stop.load(Ordering::Relaxed) {
            if let Some(error) = self.live.failure() {
                self.status.note(error.message.clone());
                self.status.set("failed");
                return;
            }
            self.status.owed_rows.store(self.outbox.rows() as u64, Ordering::Relaxed);
            // A view that is still being filled may be started again, as if nothing of it had been sent.
            let attached = self.live.is_attached();
            let complete = if attached { self.outbox.complete() } else { Epoch::ZERO };
            let early = interval.saturating_sub(last.elapsed());
            if complete <= self.delivered || !early.is_zero() {
                std::thread::park_timeout(early.clamp(Duration::from_millis(1), PARK));
                continue;
            }
            last = Instant::now();
            match self.deliver(complete) {
                Ok(()) => {}
                Err(Failure::Passing(error)) => self.pause(&error),
                Err(Failure::Final(error)) => {
                    tracing::error!(sink = %self.live.names().object, %error, "sink has failed");
                    let message = format!(
                        "sink \"{}\" has failed: {}",
                        self.live.names().object,
                        error.message
                    );
                    self.live.fail(Error { message, ..error });
                }
            }
        }
    }

    /// Hands over everything up to `complete`.
    fn deliver(&mut self, complete: Epoch) -> std::result::Result<(), Failure> {
        let owed = self.outbox.take(complete).map_err(Failure::Final)?;
        if !owed.is_empty() {
            let mut messages = self.sink.shape.messages(&owed).map_err(Failure::Final)?;
            messages.epoch = complete.0;
            if !messages.is_empty() {
                let writer = match &mut self.writer {
                    Some(writer) => writer,
                    None => self.writer.insert(self.sink.target.writer()?),
                };
                writer.deliver(&messages, &self.stop)?;
            }
            self.status.messages.fetch_add(messages.len() as u64, Ordering::Relaxed);
            self.status.bytes.fetch_add(messages.bytes() as u64, Ordering::Relaxed);
        }
        self.outbox.acknowledged();
        self.delivered = complete;
        self.status.delivered.store(complete.0, Ordering::Relaxed);
        if self.backoff > BACKOFF_MIN {
            tracing::info!(sink = %self.live.names().object, "sink goes on");
            self.backoff = BACKOFF_MIN;
            self.status.set("running");
        }
        Ok(())
    }

    /// Something is wrong outside: the same changes, and what has come meanwhile, are sent later by a new writer.
    fn pause(&mut self, error: &ConnectorError) {
        self.writer = None;
        if self.stop.load(Ordering::Relaxed) {
            return;
        }
        let text = crate::ingest::in_one_line(error);
        tracing::warn!(sink = %self.live.names().object, error = text, "sink is in trouble, retrying");
        self.status.note(text);
        self.status.set("retrying");
        let until = Instant::now() + self.backoff;
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        while let Some(left) = until.checked_duration_since(Instant::now())
            && !self.stop.load(Ordering::Relaxed)
        {
            self.status.owed_rows.store(self.outbox.rows() as u64, Ordering::Relaxed);
            std::thread::park_timeout(left.min(PARK));
        }
    }
}

/// Why a delivery did not come about.
enum Failure {
    Passing(ConnectorError),
    Final(Error),
}

impl From<ConnectorError> for Failure {
    fn from(error: ConnectorError) -> Failure {
        match error.kind {
            ErrorKind::Retry => Failure::Passing(error),
            ErrorKind::Fix | ErrorKind::DataLoss | ErrorKind::Bug => Failure::Final(error.into()),
        }
    }
}

/// What a sink owes is more than it may: it has been behind for too long.
pub(crate) fn fallen_behind(bytes: usize) -> Error {
    let mebibytes = bytes >> 20;
    Error::new(SqlState::OUT_OF_MEMORY, "the sink has fallen behind by more than it may keep")
        .with_detail(format!("It owes {mebibytes} MiB of changes that nobody has taken."))
        .with_hint("Mend the place that it writes to, then drop the sink and create it again.")
}
