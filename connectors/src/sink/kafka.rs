//! connector = 'kafka': messages to a topic, acknowledged by all replicas in sync.
//!
//! The producer is idempotent, so the client library's own retries neither repeat nor reorder within a partition; what the
//! caller retries may repeat. Messages with a key go to the partition that Java's clients would choose (murmur2).

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext, PurgeConfig,
};

use super::{Outgoing, Target, Writer};
use crate::contract::ConnectorError;
use crate::options::Options;
use crate::source::kafka::{PREFIX, REFUSED, brokers};

const KNOWN_OPTIONS: &[&str] = &["connector", "topic", "properties.*"];

/// How long one look at the producer's reports may take: bounds how long a drop of the sink waits.
const POLL: Duration = Duration::from_millis(50);

/// How long a delivery that is given up waits for what is on the wire already: it must not arrive behind what is sent next.
const SETTLE: Duration = Duration::from_secs(2);

/// Settings that users may change. A message that no broker takes is given back after some seconds, so that the sink's state
/// says so; the sink tries again for ever.
const DEFAULTS: &[(&str, &str)] = &[
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("partitioner", "murmur2_random"),
    ("linger.ms", "5"),
    ("message.timeout.ms", "10000"),
    ("queue.buffering.max.messages", "100000"),
    ("queue.buffering.max.kbytes", "65536"),
    ("compression.codec", "none"),
    ("reconnect.backoff.ms", "100"),
    ("reconnect.backoff.max.ms", "2000"),
];

pub(super) fn open(name: &str, options: &Options) -> Result<Arc<dyn Target>, ConnectorError> {
    options.check_known("connector \"kafka\"", KNOWN_OPTIONS)?;
    let topic = options.required("topic")?.to_owned();
    let brokers = brokers(options)?;
    let mut config = ClientConfig::new();
    for (key, value) in DEFAULTS {
        config.set(*key, *value);
    }
    config.set("client.id", format!("tidewater-{name}"));
    for (key, value) in options.with_prefix(PREFIX) {
        if REFUSED.contains(&key) {
            let message = format!("option \"{PREFIX}{key}\" is not allowed");
            return Err(ConnectorError::fix(message)
                .with_detail("It makes the client run code outside of Tidewater."));
        }
        if !matches!(key, "bootstrap.server" | "bootstrap.servers") {
            config.set(key, value);
        }
    }
    config.set("bootstrap.servers", &brokers).set_log_level(RDKafkaLogLevel::Critical);
    config.create_native_config().map_err(|error| {
        ConnectorError::fix("the client library refuses the options")
            .with_detail(options.scrub(&error.to_string()))
    })?;
    Ok(Arc::new(Topic { topic, brokers, config, options: options.clone() }))
}

/// Holds credentials: it has no Debug.
#[derive(Clone)]
struct Topic {
    topic: String,
    brokers: String,
    config: ClientConfig,
    options: Options,
}

impl Topic {
    fn producer(&self) -> Result<BaseProducer<Reports>, ConnectorError> {
        self.config.create_with_context(Reports::default()).map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &KafkaError) -> ConnectorError {
        let code = error.rdkafka_error_code();
        let (topic, brokers) = (&self.topic, &self.brokers);
        let error = ConnectorError::retry(match code {
            Some(Code::MessageTimedOut | Code::AllBrokersDown | Code::BrokerTransportFailure) => {
                format!("no broker of {brokers} takes messages for topic \"{topic}\"")
            }
            _ => format!("could not write to topic \"{topic}\" on {brokers}"),
        })
        .with_detail(self.options.scrub(&error.to_string()));
        match code {
            Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize) => ConnectorError {
                kind: crate::contract::ErrorKind::Fix,
                ..error.with_hint("Raise properties.message.max.bytes and the topic's limit.")
            },
            _ => error,
        }
    }
}

impl Target for Topic {
    fn check(&self, timeout: Duration) -> Result<(), ConnectorError> {
        // Producers make a topic by asking for it, where brokers let them; consumers need not.
        let mut config = self.config.clone();
        config.set("allow.auto.create.topics", "false");
        let client: BaseConsumer = config.create().map_err(|error| self.failed(&error))?;
        let metadata = client.fetch_metadata(Some(&self.topic), timeout).map_err(|error| {
            ConnectorError::retry(format!("could not reach a broker of {}", self.brokers))
                .with_detail(self.options.scrub(&error.to_string()))
        })?;
        let found = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        if found.is_some_and(|topic| topic.error().is_none() && !topic.partitions().is_empty()) {
            return Ok(());
        }
        let message = format!("topic \"{}\" does not exist on {}", self.topic, self.brokers);
        Err(ConnectorError::fix(message).with_hint("Create the topic, then the sink."))
    }

    fn writer(&self) -> Result<Box<dyn Writer>, ConnectorError> {
        Ok(Box::new(TopicWriter { topic: self.clone(), producer: self.producer()? }))
    }
}

/// What became of the messages of one delivery.
#[derive(Default)]
struct Reports {
    settled: AtomicUsize,
    failure: Mutex<Option<KafkaError>>,
}

impl ClientContext for Reports {
    /// What goes wrong is told by deliveries.
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _message: &str) {}

    fn error(&self, _error: KafkaError, _reason: &str) {}
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        if let Err((error, _)) = result {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert_with(|| error.clone());
        }
        self.settled.fetch_add(1, Ordering::Relaxed);
    }
}

struct TopicWriter {
    topic: Topic,
    producer: BaseProducer<Reports>,
}

impl TopicWriter {
    /// Takes reports; the first failure ends the delivery.
    fn poll(&self, wait: Duration, stop: &AtomicBool) -> Result<(), ConnectorError> {
        self.producer.poll(wait);
        let failure = &self.producer.context().failure;
        if let Some(error) = failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(self.topic.failed(&error));
        }
        match stop.load(Ordering::Relaxed) {
            true => Err(ConnectorError::retry("the sink is stopping")),
            false => Ok(()),
        }
    }
}

impl TopicWriter {
    fn send_all(&self, messages: &Outgoing, stop: &AtomicBool) -> Result<(), ConnectorError> {
        self.producer.context().settled.store(0, Ordering::Relaxed);
        for (key, value) in messages.iter() {
            loop {
                let mut record = BaseRecord::<[u8], [u8]>::to(&self.topic.topic);
                record.key = key;
                record.payload = value;
                match self.producer.send(record) {
                    Ok(()) => break,
                    Err((KafkaError::MessageProduction(Code::QueueFull), _)) => {
                        self.poll(POLL, stop)?;
                    }
                    Err((error, _)) => return Err(self.topic.failed(&error)),
                }
            }
        }
        while self.producer.context().settled.load(Ordering::Relaxed) < messages.len() {
            self.poll(POLL, stop)?;
        }
        // What is acknowledged is, also when the sink stops now.
        self.poll(Duration::ZERO, &AtomicBool::new(false))
    }
}

impl Writer for TopicWriter {
    fn deliver(&mut self, messages: &Outgoing, stop: &AtomicBool) -> Result<(), ConnectorError> {
        let outcome = self.send_all(messages, stop);
        if outcome.is_err() {
            self.producer.purge(PurgeConfig::default().queue());
            // The time it takes is bounded: a broker that does not answer has dropped the connection by then.
            let _ = self.producer.flush(SETTLE);
        }
        outcome
    }
}
