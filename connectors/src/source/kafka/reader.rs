//! Reads partitions: takes what librdkafka has fetched, partition by partition, and turns it into batches.
//!
//! The position of a split is ours alone: it moves only over messages that were copied out or that the broker says are
//! not there, so a batch starts where the last one ended, whatever the library does when brokers come and go. The library
//! reconnects by itself; the reader only tells about an outage, once until a broker is connected again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{Client, Report};
use super::errors::{Cause, Wording, cause, reason};
use super::queue::{Arrivals, Carry, PartitionQueue, Wake};
use super::rows::Rows;
use crate::contract::{
    ConnectorError, ErrorKind, SourceBatch, SourceOffset, SourceReader, SplitId, SplitRange,
};

/// Errors and statistics are looked for this often although nothing was fetched.
const REPORTS_INTERVAL: Duration = Duration::from_millis(100);

/// An outage is told when its reason is known or after this long: a connection that comes back at once is none.
const OUTAGE_PATIENCE: Duration = Duration::from_secs(2);

/// Reasons kept to explain an outage with.
const REASONS_MAX: usize = 16;

struct Split {
    split: SplitId,
    partition: i32,
    position: u64,
    /// `u64::MAX` for no end.
    until: u64,
    /// `None` once there is nothing more to read.
    queue: Option<PartitionQueue>,
    finished: bool,
}

pub(super) struct KafkaReader {
    /// Before `client`, so that the queues are gone when it closes.
    splits: Vec<Split>,
    client: Arc<Client>,
    wording: Wording,
    rows: Rows,
    carry: Carry,
    wake: Arc<Wake>,
    arrivals: Arrivals,
    turn: usize,
    /// What was told and has not passed since.
    told: Vec<Cause>,
    reasons: Vec<Report>,
    /// Since when no broker has been connected.
    outage: Option<Instant>,
    /// A final error, returned at every poll from then on.
    failed: Option<ConnectorError>,
}

impl KafkaReader {
    pub(super) fn new(
        mut client: Client,
        wording: Wording,
        rows: Rows,
        ranges: Vec<SplitRange>,
    ) -> Result<KafkaReader, ConnectorError> {
        let wake = Arc::new(Wake::default());
        let waker = wake.clone();
        client.set_nonempty_callback(move || waker.raise());
        let mut reader = KafkaReader {
            splits: Vec::new(),
            client: Arc::new(client),
            wording,
            carry: rows.carry(),
            rows,
            wake,
            arrivals: Arrivals::default(),
            turn: 0,
            told: Vec::new(),
            reasons: Vec::new(),
            outage: None,
            failed: None,
        };
        reader.add_all(ranges)?;
        Ok(reader)
    }

    fn add_all(&mut self, ranges: Vec<SplitRange>) -> Result<(), ConnectorError> {
        let topic = self.wording.topic.clone();
        let mut assigned = TopicPartitionList::with_capacity(ranges.len());
        let mut splits = Vec::with_capacity(ranges.len());
        for range in ranges {
            let partition = partition_number(&range.split)?;
            let until = range.until.map_or(u64::MAX, |until| until.0);
            let mut queue = None;
            if range.from.0 < until {
                queue = PartitionQueue::new(&self.client, &topic, partition, &self.wake);
                if queue.is_none() {
                    let message =
                        format!("partition {partition} of topic \"{topic}\" has no queue");
                    return Err(ConnectorError::new(ErrorKind::Bug, message));
                }
                let from = Offset::Offset(range.from.0 as i64);
                assigned
                    .add_partition_offset(&topic, partition, from)
                    .map_err(|error| self.defect(&error))?;
            }
            splits.push(Split {
                split: range.split,
                partition,
                position: range.from.0,
                until,
                queue,
                finished: false,
            });
        }
        if assigned.count() > 0 {
            let done = self.client.incremental_assign(&assigned);
            done.map_err(|error| self.defect(&error))?;
        }
        self.splits.append(&mut splits);
        Ok(())
    }

    fn defect(&self, error: &KafkaError) -> ConnectorError {
        let message = format!("could not read topic \"{}\"", self.wording.topic);
        ConnectorError::new(ErrorKind::Bug, message).with_detail(error.to_string())
    }

    /// Serves the library's events and says whether one of them is news to the caller.
    fn serve_events(&mut self) -> Result<(), ConnectorError> {
        while let Some(event) = self.client.poll(Duration::ZERO) {
            match event {
                // Every partition has its own queue before it is assigned, so nothing may come this way.
                Ok(_) => {
                    let message = "a message came outside of its partition's queue";
                    return Err(ConnectorError::new(ErrorKind::Bug, message));
                }
                Err(KafkaError::MessageConsumptionFatal(code)) => {
                    let message = "the Kafka client has failed";
                    return Err(
                        ConnectorError::new(ErrorKind::Bug, message).with_detail(code.to_string())
                    );
                }
                // The same error is among the reports, with its reason.
                Err(_) => {}
            }
        }
        if self.client.context().take_connected() {
            // Messages prove nothing: they may have waited in the queue since before the outage.
            self.told.retain(|cause| *cause == Cause::Missing);
            self.reasons.clear();
            self.outage = None;
        }
        match self.client.context().missing_partition() {
            None => self.told.retain(|cause| *cause != Cause::Missing),
            Some(partition) => {
                let reason = format!("The brokers do not know partition {partition}.");
                self.tell(Cause::Missing, &reason)?;
            }
        }
        let reports = self.client.context().take();
        for report in reports {
            let cause = cause(report.code);
            self.reasons.push(report);
            if self.reasons.len() > REASONS_MAX {
                self.reasons.remove(0);
            }
            match cause {
                Cause::Unreachable => self.outage = self.outage.or(Some(Instant::now())),
                Cause::Credentials | Cause::Forbidden | Cause::Unreadable => {
                    let reason = reason(&self.reasons).to_owned();
                    self.tell(cause, &reason)?;
                }
                // The partition's own queue says which it is.
                Cause::Passing | Cause::Missing | Cause::OutOfRange | Cause::Recreated => {}
            }
        }
        self.tell_outage()
    }

    fn tell_outage(&mut self) -> Result<(), ConnectorError> {
        let Some(since) = self.outage else { return Ok(()) };
        let explained = self.reasons.iter().any(|report| cause(report.code) == Cause::Passing);
        if explained || since.elapsed() >= OUTAGE_PATIENCE {
            let reason = reason(&self.reasons).to_owned();
            self.tell(Cause::Unreachable, &reason)?;
        }
        Ok(())
    }

    /// An error for the caller, unless it has been told of the same cause before.
    fn tell(&mut self, cause: Cause, reason: &str) -> Result<(), ConnectorError> {
        if self.told.contains(&cause) {
            return Ok(());
        }
        self.told.push(cause);
        Err(self.wording.error(cause, true, reason))
    }

    /// The next batch of one split, if something came of it.
    fn read(&mut self, at: usize, rows_max: usize) -> Result<Option<SourceBatch>, ConnectorError> {
        let split = &mut self.splits[at];
        if split.finished {
            return Ok(None);
        }
        self.arrivals.clear(split.position);
        if let Some(queue) = &mut split.queue {
            queue.take(rows_max.max(1), split.until, self.carry, &mut self.arrivals);
        }
        if self.arrivals.position == split.position && split.position < split.until {
            return self.partition_error(at).map(|()| None);
        }
        let partition = split.partition;
        let made = match self.arrivals.len() {
            0 => None,
            _ => Some(self.rows.make(&mut self.arrivals, partition)?),
        };
        let split = &mut self.splits[at];
        // A range that was empty from the start may begin after its end.
        split.position = self.arrivals.position.max(split.position);
        split.finished = split.position >= split.until;
        let (end, finished) = (SourceOffset(split.position), split.finished);
        let batch = SourceBatch {
            split: split.split.clone(),
            rows: match &made {
                Some(made) => made.rows.clone(),
                None => RecordBatch::new_empty(self.rows.schema()),
            },
            deletes: made.as_ref().and_then(|made| made.deletes.clone()),
            rejected: made.map_or_else(Vec::new, |made| made.rejected),
            end,
            bytes: self.arrivals.bytes,
            finished,
        };
        if finished {
            self.stop_fetching(at);
        }
        // What went wrong after these messages is told once they are handed over.
        self.failed = self.partition_error(at).err().filter(|error| error.kind != ErrorKind::Retry);
        Ok(Some(batch))
    }

    /// What the library said about the partition, when it is news.
    fn partition_error(&mut self, at: usize) -> Result<(), ConnectorError> {
        let (partition, position) = (self.splits[at].partition, self.splits[at].position);
        for (code, text) in std::mem::take(&mut self.arrivals.errors) {
            let detail = format!("Partition {partition} at offset {position}: {text}");
            match cause(code) {
                Cause::Passing => tracing::debug!(partition, position, ?code, "{text}"),
                cause => self.tell(cause, &detail)?,
            }
        }
        Ok(())
    }

    fn stop_fetching(&mut self, at: usize) {
        let split = &mut self.splits[at];
        if split.queue.take().is_some() {
            let mut list = TopicPartitionList::with_capacity(1);
            list.add_partition(&self.wording.topic, split.partition);
            // Fails only when it is not assigned, and then nothing is fetched either.
            if let Err(error) = self.client.incremental_unassign(&list) {
                tracing::warn!(partition = split.partition, %error, "could not stop fetching");
            }
        }
    }

    fn poll_once(&mut self, rows_max: usize) -> Result<Option<SourceBatch>, ConnectorError> {
        self.serve_events()?;
        for _ in 0..self.splits.len() {
            self.turn = (self.turn + 1) % self.splits.len();
            if let Some(batch) = self.read(self.turn, rows_max)? {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}

pub(super) fn partition_number(split: &SplitId) -> Result<i32, ConnectorError> {
    match split.0.parse::<i32>() {
        Ok(partition) if partition >= 0 => Ok(partition),
        _ => Err(ConnectorError::fix(format!("\"{split}\" is no partition's number"))),
    }
}

impl SourceReader for KafkaReader {
    fn poll(
        &mut self,
        wait: Duration,
        rows_max: usize,
    ) -> Result<Option<SourceBatch>, ConnectorError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let deadline = Instant::now() + wait;
        loop {
            match self.poll_once(rows_max) {
                Ok(Some(batch)) => return Ok(Some(batch)),
                Ok(None) => {}
                Err(error) => {
                    if error.kind != ErrorKind::Retry {
                        self.failed = Some(error.clone());
                    }
                    return Err(error);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.wake.wait(left.min(REPORTS_INTERVAL));
        }
    }

    fn add(&mut self, range: SplitRange) -> Result<(), ConnectorError> {
        self.add_all(vec![range])
    }

    fn is_in_trouble(&self) -> bool {
        !self.told.is_empty()
    }

    fn queued_bytes(&self) -> u64 {
        self.client.context().queued_bytes()
    }
}
