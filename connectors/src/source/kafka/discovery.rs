//! Asks the brokers: which partitions a topic has, and which offsets they begin, end or resume at.
//!
//! Calls to the library block and give a bare timeout when something is wrong; why, it reports beside. So a question is
//! asked in short slices, with a look at the reports between them, until there is an answer, a reason that will not
//! change by waiting, or the caller's time is over.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{Client, Report, Settings};
use super::errors::{Cause, Wording, cause, reason};
use super::topic_id::{self, TopicId};
use crate::contract::{ConnectorError, ErrorKind};

/// How long one blocking call may take before the reports are looked at.
const SLICE: Duration = Duration::from_millis(500);

/// A broker that refuses connections for this long is down; a name with several addresses is tried out within it.
const DOWN_PATIENCE: Duration = Duration::from_secs(3);

const PAUSE: Duration = Duration::from_millis(50);

/// Where reading of a partition begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Startup {
    Earliest,
    Latest,
    /// At the first message of that time (milliseconds since 1970) or later; at the end where there is none.
    Timestamp {
        millis: i64,
    },
}

pub(super) struct Discovery {
    settings: Settings,
    wording: Wording,
    /// Kept between calls; made anew after a failure, so that old reports do not explain new ones.
    client: Mutex<Option<Arc<Client>>>,
}

impl Discovery {
    pub(super) fn new(settings: Settings, wording: Wording) -> Discovery {
        Discovery { settings, wording, client: Mutex::default() }
    }

    /// The numbers of the topic's partitions, all of which have a leader, in order.
    pub(super) fn partitions(&self, timeout: Duration) -> Result<Vec<i32>, ConnectorError> {
        let topic = &self.wording.topic;
        let metadata = self.ask(timeout, |client, slice| {
            let metadata = client.fetch_metadata(Some(topic), slice)?;
            let named = metadata.topics().iter().find(|found| found.name() == topic);
            named.map_or(Err(missing()), partitions)
        })?;
        Ok(metadata)
    }

    /// Tells the topic from another one of its name; `None` where the brokers are too old to say or do not answer.
    pub(super) fn topic_id(&self, timeout: Duration) -> Option<TopicId> {
        topic_id::of(self.client().ok()?.as_ref(), &self.wording.topic, timeout)
    }

    /// The offsets at which reading of `partitions` begins.
    pub(super) fn resolve(
        &self,
        partitions: &[i32],
        startup: Startup,
        timeout: Duration,
    ) -> Result<Vec<(i32, u64)>, ConnectorError> {
        let offset = match startup {
            Startup::Earliest => Offset::Beginning,
            Startup::Latest => Offset::End,
            Startup::Timestamp { millis } => Offset::Offset(millis),
        };
        let found =
            self.ask(timeout, |client, slice| self.offsets(client, partitions, offset, slice))?;
        // A partition without a message that young answers with its end, as a symbol.
        let open: Vec<i32> = found
            .iter()
            .filter(|(_, offset)| *offset < 0)
            .map(|(partition, _)| *partition)
            .collect();
        let ends = match open.is_empty() {
            true => Vec::new(),
            false => {
                self.ask(timeout, |client, slice| self.offsets(client, &open, Offset::End, slice))?
            }
        };
        let numbers = found.into_iter().chain(ends);
        Ok(numbers
            .filter_map(|(partition, at)| Some((partition, u64::try_from(at).ok()?)))
            .collect())
    }

    /// The first offset that is there and the one after the last that can be read.
    pub(super) fn bounds(
        &self,
        partition: i32,
        timeout: Duration,
    ) -> Result<(u64, u64), ConnectorError> {
        let (low, high) = self.ask(timeout, |client, slice| {
            client.fetch_watermarks(&self.wording.topic, partition, slice)
        })?;
        let low = u64::try_from(low).unwrap_or(0);
        Ok((low, u64::try_from(high).unwrap_or(0).max(low)))
    }

    /// One question per leader for all partitions. The protocol's symbols for the first and last offset stand in place
    /// of a time.
    fn offsets(
        &self,
        client: &Client,
        partitions: &[i32],
        at: Offset,
        slice: Duration,
    ) -> KafkaResult<Vec<(i32, i64)>> {
        let mut asked = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            asked.add_partition_offset(&self.wording.topic, *partition, at)?;
        }
        let answered = client.offsets_for_times(asked, slice)?;
        let elements = answered.elements();
        elements
            .iter()
            .map(|element| {
                element.error()?;
                Ok((element.partition(), element.offset().to_raw().unwrap_or(-1)))
            })
            .collect()
    }

    fn ask<T>(
        &self,
        timeout: Duration,
        question: impl Fn(&Client, Duration) -> KafkaResult<T>,
    ) -> Result<T, ConnectorError> {
        let client = self.client()?;
        let began = Instant::now();
        let mut reports: Vec<Report> = Vec::new();
        loop {
            let left = timeout.saturating_sub(began.elapsed());
            let failure = match question(&client, SLICE.min(left).max(PAUSE)) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            while client.poll(Duration::ZERO).is_some() {}
            reports.extend(client.context().take());
            let over = began.elapsed() >= timeout;
            if let Some(error) = self.verdict(&failure, &reports, began.elapsed(), over) {
                *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
                return Err(error);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// What a failed question means, when waiting longer makes no sense.
    fn verdict(
        &self,
        failure: &KafkaError,
        reports: &[Report],
        waited: Duration,
        over: bool,
    ) -> Option<ConnectorError> {
        let decisive =
            |report: &&Report| matches!(cause(report.code), Cause::Credentials | Cause::Forbidden);
        if let Some(report) = reports.iter().find(decisive) {
            return Some(self.wording.error(cause(report.code), false, &report.reason));
        }
        let code = failure.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        match cause(code) {
            Cause::Missing => return Some(self.wording.error(Cause::Missing, false, "")),
            Cause::Forbidden | Cause::Credentials => {
                return Some(self.wording.error(cause(code), false, &failure.to_string()));
            }
            _ => {}
        }
        let down = reports.iter().any(|report| cause(report.code) == Cause::Unreachable);
        if over || (down && waited >= DOWN_PATIENCE) {
            let text = failure.to_string();
            let detail = match (reason(reports), code) {
                ("", RDKafkaErrorCode::LeaderNotAvailable) => "A partition has no leader.",
                ("", _) => &text,
                (reason, _) => reason,
            };
            let detail = self.settings.scrub(detail);
            let error = self.wording.error(Cause::Unreachable, false, &detail);
            debug_assert_eq!(error.kind, ErrorKind::Retry, "the brokers may come back");
            return Some(error);
        }
        None
    }

    fn client(&self) -> Result<Arc<Client>, ConnectorError> {
        let mut kept = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = kept.as_ref() {
            // What it said since the last question is no answer to this one.
            while client.poll(Duration::ZERO).is_some() {}
            client.context().take();
            return Ok(client.clone());
        }
        let client = Arc::new(self.settings.metadata_client()?);
        *kept = Some(client.clone());
        Ok(client)
    }
}

fn missing() -> KafkaError {
    KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition)
}

/// The partitions' numbers; an error while the topic or one of its leaders is not there.
fn partitions(topic: &MetadataTopic) -> KafkaResult<Vec<i32>> {
    if let Some(code) = topic.error() {
        return Err(KafkaError::MetadataFetch(code.into()));
    }
    if topic.partitions().is_empty() {
        return Err(missing());
    }
    let mut numbers = Vec::with_capacity(topic.partitions().len());
    for partition in topic.partitions() {
        if partition.leader() < 0 {
            return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::LeaderNotAvailable));
        }
        numbers.push(partition.id());
    }
    numbers.sort_unstable();
    Ok(numbers)
}
