//! A topic filled from scratch: what benchmarks read. The only writing that this connector does.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;

use crate::contract::ConnectorError;

/// What a broker that is up does within this time or not at all.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The rest of a run's messages is acknowledged within this time.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(120);

/// Sends messages to a topic that it has created.
pub struct Filler {
    topic: String,
    producer: BaseProducer,
}

fn failed(what: &str, error: impl std::fmt::Display) -> ConnectorError {
    ConnectorError::fix(format!("could not {what}: {error}"))
}

impl Filler {
    /// Creates the topic on the brokers `servers` (`host:port,...`).
    pub fn create(servers: &str, topic: &str, partitions: i32) -> Result<Filler, ConnectorError> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", servers);
        let admin: AdminClient<DefaultClientContext> =
            config.create().map_err(|e| failed("reach Kafka", e))?;
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let options = AdminOptions::new()
            .operation_timeout(Some(CALL_TIMEOUT))
            .request_timeout(Some(CALL_TIMEOUT));
        let created = block_on(admin.create_topics([&new], &options))
            .map_err(|e| failed("create the topic", e))?;
        if let Some(Err((_, code))) = created.into_iter().next() {
            return Err(failed("create the topic", code));
        }
        config.set("linger.ms", "20").set("batch.size", "1000000");
        config.set("queue.buffering.max.messages", "500000");
        let producer = config.create().map_err(|e| failed("reach Kafka", e))?;
        Ok(Filler { topic: topic.to_owned(), producer })
    }

    /// Queues a message, waiting for room.
    pub fn send(&mut self, partition: i32, value: &[u8]) -> Result<(), ConnectorError> {
        loop {
            let record = BaseRecord::<[u8], [u8]>::to(&self.topic).partition(partition);
            match self.producer.send(record.payload(value)) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    self.producer.poll(Duration::from_millis(10));
                }
                Err((error, _)) => return Err(failed("produce", error)),
            }
        }
    }

    /// Waits until all messages are acknowledged.
    pub fn finish(self) -> Result<(), ConnectorError> {
        self.producer.flush(FLUSH_TIMEOUT).map_err(|e| failed("produce", e))
    }
}

/// Waits for one future on this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
