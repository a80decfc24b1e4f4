//! From connectors to epochs: reader threads, what they report, and how a source's batch becomes change batches.
//!
//! A reader thread owns one connector reader and hands its batches over through a bounded channel, so a slow dataflow
//! stops the reader and not the server. Offsets count only what the coordinator has taken into an epoch: what is still
//! in the channel when a reader is replaced is simply read again. [`mod@bounded`] is a SELECT over a source.

pub mod bounded;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use arrow_array::Array;
use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded, unbounded};
use parking_lot::Mutex;
use tidewater_connectors::contract::{
    ConnectorError, ErrorKind, Rejected, Source, SourceBatch, SplitId, SplitRange,
};

use crate::change::{ChangeBatch, RowError, errors_batch};
use crate::error::{Error, SqlState};

/// Batches between a reader and the coordinator: enough to hide a wake-up, few enough to bound memory.
const CHANNEL_BATCHES: usize = 8;
/// Rows in one batch of a reader.
const BATCH_ROWS: usize = 8_192;
/// How long a reader waits for something new before it looks whether it is still wanted.
const POLL_WAIT: Duration = Duration::from_millis(50);
/// Pause after a failure that may pass, doubled up to the maximum.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// What a reader thread reports.
pub enum Event {
    Batch(SourceBatch),
    /// Something is wrong outside; the reader goes on trying.
    Trouble(ConnectorError),
    /// It has passed.
    Recovered,
    /// The reader cannot go on.
    Failed(ConnectorError),
}

/// What SHOW SOURCES and metrics know of a source.
#[derive(Default)]
pub struct SourceStatus {
    pub rows: AtomicU64,
    pub bytes: AtomicU64,
    pub rejected: AtomicU64,
    pub troubles: AtomicU64,
    /// Bytes in the queues of the reader's client library.
    pub queued_bytes: AtomicU64,
    /// Sum over splits of where the stream ended when it was last looked at; 0 when that is not known.
    pub latest: AtomicI64,
    /// Sum over splits of where reading is.
    pub position: AtomicI64,
    pub state: Mutex<SourceState>,
}

#[derive(Clone, Debug, Default)]
pub struct SourceState {
    /// "idle" (nobody reads it), "running", "paused", "retrying" or "failed".
    pub name: &'static str,
    pub last_error: Option<String>,
}

impl SourceStatus {
    /// Messages behind the end of the stream; `None` when that is not known.
    pub fn lag(&self) -> Option<i64> {
        let latest = self.latest.load(Ordering::Relaxed);
        (latest > 0).then(|| (latest - self.position.load(Ordering::Relaxed)).max(0))
    }

    pub fn set(&self, name: &'static str) {
        self.state.lock().name = name;
    }

    /// The error is shown until there is another one: what was wrong is worth knowing when it has passed.
    pub fn note(&self, error: String) {
        self.troubles.fetch_add(1, Ordering::Relaxed);
        self.state.lock().last_error = Some(error);
    }
}

/// An error with its detail in one line, for SHOW and logs.
pub fn in_one_line(error: &ConnectorError) -> String {
    match &error.detail {
        Some(detail) => format!("{}: {detail}", error.message),
        None => error.message.clone(),
    }
}

impl From<ConnectorError> for Error {
    fn from(error: ConnectorError) -> Error {
        let code = match error.kind {
            ErrorKind::Retry => SqlState::CONNECTION_FAILURE,
            ErrorKind::Fix => SqlState::INVALID_PARAMETER_VALUE,
            ErrorKind::DataLoss => SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            ErrorKind::Bug => SqlState::INTERNAL_ERROR,
        };
        Error {
            detail: error.detail,
            hint: error.hint.map(String::into_boxed_str),
            ..Error::new(code, error.message)
        }
    }
}

/// A running reader thread.
pub struct Reader {
    pub events: Receiver<Event>,
    control: Sender<SplitRange>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Starts reading `ranges`; `wake` is unparked whenever an event was queued.
    pub fn start(
        name: &str,
        status: Arc<SourceStatus>,
        source: Arc<dyn Source>,
        ranges: Vec<SplitRange>,
        columns: Vec<usize>,
        wake: Thread,
    ) -> Reader {
        let (sender, events) = bounded(CHANNEL_BATCHES);
        let (control, added) = unbounded();
        let stop = Arc::new(AtomicBool::new(false));
        let job = Job { source, status, ranges, columns, sender, added, stop: stop.clone(), wake };
        let thread = std::thread::Builder::new()
            .name(format!("read {name}").chars().take(15).collect())
            .spawn(move || job.run())
            .ok();
        Reader { events, control, stop, thread }
    }

    /// Also reads a split found later.
    pub fn add(&self, range: SplitRange) {
        let _ = self.control.send(range);
    }
}

impl Drop for Reader {
    /// The thread notices within a poll; nobody waits for it, as a broker that is down may hold it for seconds.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.thread.take());
    }
}

/// What the reader thread works on.
struct Job {
    source: Arc<dyn Source>,
    status: Arc<SourceStatus>,
    ranges: Vec<SplitRange>,
    columns: Vec<usize>,
    sender: Sender<Event>,
    added: Receiver<SplitRange>,
    stop: Arc<AtomicBool>,
    wake: Thread,
}

impl Job {
    fn run(self) {
        let mut backoff = BACKOFF_MIN;
        let mut reader = loop {
            match self.source.reader(self.ranges.clone(), &self.columns) {
                Ok(reader) => break reader,
                Err(error) if error.kind == ErrorKind::Retry => {
                    if !self.send(Event::Trouble(error)) {
                        return;
                    }
                    std::thread::sleep(backoff);
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
                Err(error) => {
                    self.send(Event::Failed(error));
                    return;
                }
            }
        };
        // What was wrong until there was a reader is over.
        let mut told = backoff > BACKOFF_MIN;
        backoff = BACKOFF_MIN;
        while !self.stop.load(Ordering::Relaxed) {
            while let Ok(range) = self.added.try_recv() {
                if let Err(error) = reader.add(range) {
                    self.send(Event::Trouble(error));
                }
            }
            if told && !reader.is_in_trouble() {
                told = false;
                if !self.send(Event::Recovered) {
                    return;
                }
            }
            self.status.queued_bytes.store(reader.queued_bytes(), Ordering::Relaxed);
            match reader.poll(POLL_WAIT, BATCH_ROWS) {
                Ok(Some(batch)) => {
                    backoff = BACKOFF_MIN;
                    if !self.send(Event::Batch(batch)) {
                        return;
                    }
                }
                Ok(None) => {}
                Err(error) if error.kind == ErrorKind::Retry => {
                    told = true;
                    if !self.send(Event::Trouble(error)) {
                        return;
                    }
                    std::thread::sleep(backoff);
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
                Err(error) => {
                    self.send(Event::Failed(error));
                    return;
                }
            }
        }
    }

    /// Queues an event, waiting for room; false when the reader is not wanted any more.
    fn send(&self, mut event: Event) -> bool {
        loop {
            match self.sender.send_timeout(event, POLL_WAIT) {
                Ok(()) => {
                    self.wake.unpark();
                    return true;
                }
                Err(SendTimeoutError::Timeout(back)) if !self.stop.load(Ordering::Relaxed) => {
                    event = back
                }
                Err(_) => return false,
            }
        }
    }
}

/// The rows of a source's batch as changes; for keyed formats a weight of -1 deletes the key.
pub fn rows_of(batch: &SourceBatch) -> ChangeBatch {
    match &batch.deletes {
        None => ChangeBatch::inserts(batch.rows.clone()),
        Some(deletes) => {
            let delete = |row: usize| deletes.is_valid(row) && deletes.value(row);
            let weights: Vec<i64> =
                (0..batch.rows.num_rows()).map(|row| if delete(row) { -1 } else { 1 }).collect();
            ChangeBatch::new(batch.rows.clone(), weights)
        }
    }
}

/// The messages that did not become rows, as error rows told apart by split and offset.
pub fn errors_of(split: &SplitId, rejected: &[Rejected]) -> ChangeBatch {
    let errors: Vec<RowError> = rejected
        .iter()
        .map(|r| RowError {
            sqlstate: r.sqlstate.to_owned(),
            message: format!("{} (split {split}, offset {})", r.reason, r.offset),
            payload: String::from_utf8_lossy(&r.payload).into_owned(),
            poison: false,
            weight: 1,
        })
        .collect();
    errors_batch(&errors)
}
