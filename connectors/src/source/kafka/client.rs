//! The client library as a source uses it: its settings, and what it reports besides messages.
//!
//! Settings come from `properties.*` as they are, except those that Tidewater's own offsets rest on. Reports (errors,
//! statistics, logs) arrive while the client is polled and wait in [`Reports`] until somebody decides what they mean.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientContext, Statistics};

use crate::contract::ConnectorError;
use crate::options::Options;

/// A consumer that neither joins a group nor commits.
pub(super) type Client = BaseConsumer<Reports>;

/// What the options handed to the client library begin with.
pub(crate) const PREFIX: &str = "properties.";
const QUEUE_KBYTES: &str = "queued.max.messages.kbytes";
const QUEUE_KBYTES_DEFAULT: u64 = 64 << 10;
/// Spans of a batch are 32-bit: a queue stays well below.
const QUEUE_KBYTES_MAX: u64 = 1 << 20;
/// A partition is given this much even where there are many.
const PARTITION_KBYTES_MIN: u64 = 1 << 10;
const FETCH_BYTES_MAX: u64 = 4 << 20;

/// Settings that are ours: offsets are kept with the data, and an offset that is gone is an error, never a jump.
const FIXED: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "true"),
    ("auto.offset.reset", "error"),
    ("statistics.interval.ms", "1000"),
    ("allow.auto.create.topics", "false"),
];

/// Settings that would have the library load code or run commands that a SQL user names.
pub(crate) const REFUSED: &[&str] = &["plugin.library.paths", "sasl.kerberos.kinit.cmd"];

/// Settings that users may change. The backoff's own default stalls fetching for a second whenever a queue was full.
const DEFAULTS: &[(&str, &str)] = &[
    ("fetch.queue.backoff.ms", "5"),
    ("fetch.wait.max.ms", "100"),
    ("fetch.max.bytes", "67108864"),
    ("queued.min.messages", "100000"),
    ("reconnect.backoff.ms", "100"),
    ("reconnect.backoff.max.ms", "2000"),
    ("socket.keepalive.enable", "true"),
];

/// A partition is missing when so many counts in a row, each a second apart, did not know it: at the start it is unknown
/// until the first answer.
const MISSING_COUNTS_MIN: u32 = 3;

/// Reports kept at most; the newest say what is wrong now.
const REPORTS_MAX: usize = 16;

/// How to reach the brokers of one source. Holds credentials: it has no Debug.
#[derive(Clone)]
pub(super) struct Settings {
    config: ClientConfig,
    options: Options,
    /// As the user named them, for messages.
    pub(super) brokers: String,
    queue_kbytes: u64,
}

impl Settings {
    pub(super) fn new(source: &str, options: &Options) -> Result<Settings, ConnectorError> {
        let brokers = brokers(options)?;
        let mut config = ClientConfig::new();
        for (key, value) in DEFAULTS {
            config.set(*key, *value);
        }
        config.set("client.id", format!("tidewater-{source}"));
        for (key, value) in options.with_prefix(PREFIX) {
            match key {
                "bootstrap.server" | "bootstrap.servers" | QUEUE_KBYTES => continue,
                _ => {}
            }
            if let Some((_, ours)) = FIXED.iter().find(|(fixed, _)| *fixed == key)
                && *ours != value.trim()
            {
                let message = format!("option \"{PREFIX}{key}\" cannot be changed");
                return Err(ConnectorError::fix(message).with_detail(format!(
                    "Tidewater keeps offsets itself and needs {key} = {ours}."
                )));
            }
            if REFUSED.contains(&key) {
                let message = format!("option \"{PREFIX}{key}\" is not allowed");
                return Err(ConnectorError::fix(message)
                    .with_detail("It makes the client run code outside of Tidewater."));
            }
            config.set(key, value);
        }
        for (key, value) in FIXED {
            config.set(*key, *value);
        }
        config.set("bootstrap.servers", &brokers);
        let key = format!("{PREFIX}{QUEUE_KBYTES}");
        let queue_kbytes = options.integer(&key, PARTITION_KBYTES_MIN..=QUEUE_KBYTES_MAX)?;
        let settings = Settings {
            config,
            options: options.clone(),
            brokers,
            queue_kbytes: queue_kbytes.unwrap_or(QUEUE_KBYTES_DEFAULT),
        };
        // Names and values are checked here, without a client and its threads.
        settings.config.create_native_config().map_err(|error| settings.refused(error))?;
        Ok(settings)
    }

    /// A client for metadata and offsets; without a group it asks for no coordinator.
    pub(super) fn metadata_client(&self) -> Result<Client, ConnectorError> {
        self.create(&self.config)
    }

    /// A client that reads `splits` partitions, each with a queue of its own.
    pub(super) fn reading_client(
        &self,
        source: &str,
        splits: usize,
    ) -> Result<Client, ConnectorError> {
        let mut config = self.config.clone();
        // librdkafka refuses to assign without a group's name; nothing is ever committed under it.
        if config.get("group.id").is_none() {
            config.set("group.id", format!("tidewater-{source}"));
        }
        let kbytes = (self.queue_kbytes / splits.max(1) as u64).max(PARTITION_KBYTES_MIN);
        config.set(QUEUE_KBYTES, kbytes.to_string());
        for key in ["fetch.message.max.bytes", "max.partition.fetch.bytes"] {
            if config.get(key).is_none() {
                config.set(key, (kbytes * 1024).min(FETCH_BYTES_MAX).to_string());
            }
        }
        self.create(&config)
    }

    fn create(&self, config: &ClientConfig) -> Result<Client, ConnectorError> {
        let reports = Reports { options: self.options.clone(), ..Reports::default() };
        config.create_with_context(reports).map_err(|error| self.refused(error))
    }

    /// The library's refusal of its settings in our words.
    fn refused(&self, error: KafkaError) -> ConnectorError {
        match error {
            KafkaError::ClientConfig(_, reason, key, _) => {
                ConnectorError::fix(format!("invalid Kafka property \"{key}\""))
                    .with_detail(self.scrub(&reason))
            }
            KafkaError::ClientCreation(reason) => {
                ConnectorError::fix("could not create a Kafka client")
                    .with_detail(self.scrub(&reason))
            }
            other => ConnectorError::fix("could not create a Kafka client")
                .with_detail(self.scrub(&other.to_string())),
        }
    }

    pub(super) fn scrub(&self, text: &str) -> String {
        self.options.scrub(text)
    }
}

/// The brokers as the user named them.
pub(crate) fn brokers(options: &Options) -> Result<String, ConnectorError> {
    let one = "properties.bootstrap.server";
    let many = "properties.bootstrap.servers";
    match (options.contains(one), options.contains(many)) {
        (true, true) => {
            Err(ConnectorError::fix(format!("options \"{one}\" and \"{many}\" exclude each other")))
        }
        (false, true) => options.required(many).map(str::to_owned),
        (_, false) => options.required(one).map(str::to_owned),
    }
}

/// The library's name for log lines about failed connections.
const CONNECTION_FAILED: &str = "FAIL";

/// Something the client library said about its connections.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) code: RDKafkaErrorCode,
    /// Without secrets.
    pub(super) reason: String,
}

/// What the client reports while it is polled.
#[derive(Default)]
pub(super) struct Reports {
    options: Options,
    errors: Mutex<VecDeque<Report>>,
    queued_bytes: AtomicU64,
    connected: AtomicBool,
    /// For how many counts in a row a partition was not known to the brokers.
    unknown: Mutex<BTreeMap<i32, u32>>,
}

impl Reports {
    /// The errors since the last call, oldest first.
    pub(super) fn take(&self) -> Vec<Report> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }

    /// Bytes in the library's queues when it last counted, a second ago at most.
    pub(super) fn queued_bytes(&self) -> u64 {
        self.queued_bytes.load(Ordering::Relaxed)
    }

    /// Whether a broker was connected at the last count, since the last call.
    pub(super) fn take_connected(&self) -> bool {
        self.connected.swap(false, Ordering::Relaxed)
    }

    /// A partition that is read and that the brokers have not known for a while. The library only logs this.
    pub(super) fn missing_partition(&self) -> Option<i32> {
        let unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = unknown.iter().find(|(_, counts)| **counts >= MISSING_COUNTS_MIN);
        missing.map(|(partition, _)| *partition)
    }

    fn push(&self, code: RDKafkaErrorCode, reason: &str) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        if errors.len() == REPORTS_MAX {
            errors.pop_front();
        }
        errors.push_back(Report { code, reason: self.options.scrub(reason) });
    }

    fn count_unknown(&self, statistics: &Statistics) {
        let mut unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        for partition in statistics.topics.values().flat_map(|topic| topic.partitions.values()) {
            if partition.desired && partition.unknown {
                *unknown.entry(partition.partition).or_default() += 1;
            } else {
                unknown.remove(&partition.partition);
            }
        }
    }
}

impl ClientContext for Reports {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        // Why a connection failed is only logged; everything else that matters is an error too.
        if facility == CONNECTION_FAILED {
            let reason = message.split_once("]: ").map_or(message, |(_thread, reason)| reason);
            self.push(RDKafkaErrorCode::BrokerTransportFailure, reason);
        }
        tracing::debug!(target: "librdkafka", facility, "{}", self.options.scrub(message));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.push(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown), reason);
    }

    fn stats(&self, statistics: Statistics) {
        let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
        let bytes = partitions.map(|partition| partition.fetchq_size);
        self.queued_bytes.store(bytes.sum(), Ordering::Relaxed);
        // Brokers with a number are the cluster's own; the bootstrap entries have -1.
        let mut brokers = statistics.brokers.values();
        let connected = brokers.any(|broker| broker.nodeid >= 0 && broker.state == "UP");
        self.connected.store(connected, Ordering::Relaxed);
        if connected {
            self.count_unknown(&statistics);
        }
    }
}

impl ConsumerContext for Reports {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Result<Settings, ConnectorError> {
        let brokers = [("properties.bootstrap.server", "127.0.0.1:1")];
        Settings::new("s", &Options::new(brokers.iter().chain(pairs).copied()).unwrap())
    }

    #[test]
    fn properties_reach_the_library_and_wrong_ones_are_named() {
        let good = settings(&[("properties.security.protocol", "sasl_ssl")]).unwrap();
        assert_eq!(good.config.get("security.protocol"), Some("sasl_ssl"));
        assert_eq!(good.config.get("bootstrap.servers"), Some("127.0.0.1:1"));
        let error = settings(&[("properties.no.such.thing", "1")]).err().unwrap();
        assert_eq!(error.message, "invalid Kafka property \"no.such.thing\"");
        let error = settings(&[("properties.security.protocol", "telnet")]).err().unwrap();
        assert!(error.detail.unwrap().contains("security.protocol"));
    }

    #[test]
    fn settings_that_exactness_rests_on_cannot_be_changed() {
        let error = settings(&[("properties.auto.offset.reset", "latest")]).err().unwrap();
        assert_eq!(error.message, "option \"properties.auto.offset.reset\" cannot be changed");
        settings(&[("properties.enable.auto.commit", "false")]).unwrap();
        let error = settings(&[("properties.plugin.library.paths", "x.so")]).err().unwrap();
        assert_eq!(error.message, "option \"properties.plugin.library.paths\" is not allowed");
    }

    #[test]
    fn the_queue_limit_is_shared_by_the_partitions() {
        let settings = settings(&[("properties.queued.max.messages.kbytes", "16384")]).unwrap();
        let kbytes = |splits| {
            let client = settings.reading_client("s", splits).unwrap();
            drop(client);
            (settings.queue_kbytes / splits as u64).max(PARTITION_KBYTES_MIN)
        };
        assert_eq!([kbytes(4), kbytes(1000)], [4096, 1024]);
    }

    #[test]
    fn brokers_are_required_once() {
        let none = Settings::new("s", &Options::default()).err().unwrap();
        assert_eq!(none.message, "option \"properties.bootstrap.server\" is required");
        assert!(settings(&[("properties.bootstrap.servers", "b:1")]).is_err());
    }

    #[test]
    fn reports_are_bounded_and_without_secrets() {
        let options = Options::new([("properties.sasl.password", "hunter2")]).unwrap();
        let reports = Reports { options, ..Reports::default() };
        for _ in 0..100 {
            let error = KafkaError::Global(RDKafkaErrorCode::Authentication);
            reports.error(error, "no entry for hunter2");
        }
        let taken = reports.take();
        assert_eq!(
            (taken.len(), taken[0].reason.as_str()),
            (REPORTS_MAX, "no entry for [redacted]")
        );
        assert!(reports.take().is_empty());
    }
}
