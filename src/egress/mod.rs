//! Sinks: the changes of a view or query on their way to a place outside.
//!
//! ```text
//! dataflow ── changes ──> Outbox ── what is owed ──> encode ── messages ──> Writer (a connector's)
//!                           └─ state: a checkpoint has what was not acknowledged as of its epoch
//! ```
//!
//! [`outbox`] keeps what is owed and is the only state; [`encode`] makes messages of it, [`files`] and [`parquet`] whole files;
//! [`Egress`] is the thread that delivers. Delivery is at-least-once: what was not acknowledged when a checkpoint was taken is sent again after a start from it.
//!
//! Invariants: a delivery has all changes up to one epoch and nothing later, since the last one that was acknowledged, and a key
//! that changed ten times is one message. Whatever happens outside, the dataflow never waits for a sink.

pub mod encode;
pub mod files;
pub mod outbox;
pub mod parquet;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tidewater_connectors::contract::{ConnectorError, ErrorKind};
use tidewater_connectors::sink::{Rolling, Target, Writer};

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
/// What is gathered for a file is written before the server stops: how long that waits for what was acknowledged last.
const LAST_EPOCH_WAIT: Duration = Duration::from_secs(5);

/// A sink as declared: what messages look like and where they go.
pub struct Sink {
    pub target: Arc<dyn Target>,
    pub shape: Shape,
}

/// What SHOW SINKS and metrics know of a sink.
#[derive(Default)]
pub struct SinkStatus {
    /// Messages, or rows of files, acknowledged, and their bytes.
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

/// Asks the thread to end.
#[derive(Default)]
struct Stop {
    now: AtomicBool,
    /// The epoch up to which a sink that gathers files is to write what it has; what there is at the moment, unless set.
    last: AtomicU64,
}

/// A running sink; dropping it ends the thread, without waiting for it.
pub struct Egress {
    stop: Arc<Stop>,
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
        let stop = Arc::new(Stop::default());
        let name: String = format!("sink {}", live.names().object).chars().take(15).collect();
        status.set("running");
        let job = Job {
            rolling: sink.target.rolling(),
            sink,
            outbox: outbox.clone(),
            live,
            status,
            stop: stop.clone(),
            writer: None,
            gathering: None,
            delivered: Epoch::ZERO,
            backoff: BACKOFF_MIN,
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
    /// Ends sinks and waits until none of them sends any more: what the next start sends must come behind it. Files that are
    /// being gathered are written with everything up to `last`.
    pub fn end_all(mut sinks: Vec<Egress>, last: Epoch) {
        for sink in &sinks {
            sink.stop.last.store(last.0, Ordering::Relaxed);
            sink.stop();
        }
        for join in sinks.iter_mut().filter_map(|sink| sink.join.take()) {
            // A thread that has panicked sends nothing either.
            let _ = join.join();
        }
    }

    fn stop(&self) {
        self.stop.now.store(true, Ordering::Release);
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
    stop: Arc<Stop>,
    writer: Option<Box<dyn Writer>>,
    rolling: Option<Rolling>,
    /// Since when rows wait for their file.
    gathering: Option<Instant>,
    delivered: Epoch,
    backoff: Duration,
}

impl Job {
    fn run(mut self) {
        while !self.stop.now.load(Ordering::Acquire) {
            if let Some(error) = self.live.failure() {
                self.status.note(error.message.clone());
                self.status.set("failed");
                return;
            }
            let complete = self.complete();
            if !self.is_due() || complete <= self.delivered {
                std::thread::park_timeout(PARK);
                continue;
            }
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
        if self.rolling.is_some() {
            self.finish();
        }
    }

    /// The last epoch that can be delivered. A view that is still being filled may be started again, as if nothing of it had
    /// been sent.
    fn complete(&self) -> Epoch {
        if self.live.is_attached() { self.outbox.complete() } else { Epoch::ZERO }
    }

    /// Messages go at once; a file is written when it has gathered rows for long enough, or enough of them.
    fn is_due(&mut self) -> bool {
        let rows = self.outbox.rows();
        self.status.owed_rows.store(rows as u64, Ordering::Relaxed);
        let Some(rolling) = self.rolling.filter(|_| rows > 0) else {
            self.gathering = None;
            return true;
        };
        let since = *self.gathering.get_or_insert_with(Instant::now);
        since.elapsed() >= rolling.interval || self.outbox.bytes_owed() >= rolling.bytes
    }

    /// Writes the file that was being gathered.
    fn finish(&mut self) {
        let last = Epoch(self.stop.last.load(Ordering::Relaxed));
        let began = Instant::now();
        while self.complete() < last && self.live.failure().is_none() {
            if began.elapsed() >= LAST_EPOCH_WAIT {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        if self.live.failure().is_some() || self.outbox.rows() == 0 {
            return;
        }
        let error = match self.deliver(self.complete()) {
            Ok(()) => return,
            Err(Failure::Passing(error)) => crate::ingest::in_one_line(&error),
            Err(Failure::Final(error)) => error.message,
        };
        let rows = self.outbox.rows();
        tracing::error!(sink = %self.live.names().object, rows, error, "the last file is not written");
    }

    /// Hands over everything up to `complete`.
    fn deliver(&mut self, complete: Epoch) -> std::result::Result<(), Failure> {
        let owed = self.outbox.take(complete).map_err(Failure::Final)?;
        if !owed.is_empty() {
            let shape = &self.sink.shape;
            let messages = match self.rolling {
                Some(rolling) => shape.files(&owed, rolling.bytes),
                None => shape.messages(&owed),
            };
            let mut messages = messages.map_err(Failure::Final)?;
            messages.epoch = complete.0;
            if !messages.is_empty() {
                let writer = match &mut self.writer {
                    Some(writer) => writer,
                    None => self.writer.insert(self.sink.target.writer()?),
                };
                writer.deliver(&messages, &self.stop.now)?;
            }
            self.status.messages.fetch_add(messages.units, Ordering::Relaxed);
            self.status.bytes.fetch_add(messages.bytes() as u64, Ordering::Relaxed);
        }
        self.outbox.acknowledged();
        self.gathering = None;
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
        if self.stop.now.load(Ordering::Relaxed) {
            return;
        }
        let text = crate::ingest::in_one_line(error);
        tracing::warn!(sink = %self.live.names().object, error = text, "sink is in trouble, retrying");
        self.status.note(text);
        self.status.set("retrying");
        let until = Instant::now() + self.backoff;
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        while let Some(left) = until.checked_duration_since(Instant::now())
            && !self.stop.now.load(Ordering::Relaxed)
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
