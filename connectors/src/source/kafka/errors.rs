//! What librdkafka's error codes mean for a source: the one place that knows them.

use rdkafka::error::RDKafkaErrorCode as Code;

use super::client::Report;
use crate::contract::{ConnectorError, ErrorKind};

/// Why reading or discovering does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// No broker answers.
    Unreachable,
    /// The brokers answer and refuse us, or we them.
    Credentials,
    /// Credentials are good but not for this topic.
    Forbidden,
    /// The topic or one of its partitions is not there.
    Missing,
    /// The offset asked for is no longer, or not yet, in the partition.
    OutOfRange,
    /// Another topic has the name now.
    Recreated,
    /// What is in the partition cannot be read.
    Unreadable,
    /// Goes away by itself, or is only the reason for another.
    Passing,
}

pub(super) fn cause(code: Code) -> Cause {
    match code {
        Code::AllBrokersDown => Cause::Unreachable,
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::SSL => Cause::Credentials,
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => Cause::Forbidden,
        Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopicId
        | Code::InvalidTopic => Cause::Missing,
        Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation => Cause::OutOfRange,
        Code::BadMessage
        | Code::BadCompression
        | Code::NotImplemented
        | Code::MessageSizeTooLarge => Cause::Unreadable,
        _ => Cause::Passing,
    }
}

/// The errors of one topic, worded.
#[derive(Clone, Debug)]
pub(super) struct Wording {
    pub(super) topic: String,
    pub(super) brokers: String,
}

impl Wording {
    /// What a cause is called. At CREATE the user is there to put wrong things right; a running source tries again by
    /// itself, so there the same causes are retried.
    pub(super) fn error(&self, cause: Cause, running: bool, reason: &str) -> ConnectorError {
        let Wording { topic, brokers } = self;
        let unless_running = if running { ErrorKind::Retry } else { ErrorKind::Fix };
        let (kind, message) = match cause {
            Cause::Unreachable | Cause::Passing => {
                (ErrorKind::Retry, format!("could not connect to Kafka broker(s) \"{brokers}\""))
            }
            Cause::Credentials => {
                (unless_running, format!("Kafka broker(s) \"{brokers}\" could not authenticate"))
            }
            Cause::Forbidden => {
                (unless_running, format!("permission denied for Kafka topic \"{topic}\""))
            }
            Cause::Missing => (unless_running, format!("topic \"{topic}\" does not exist")),
            Cause::OutOfRange => (
                ErrorKind::DataLoss,
                format!("topic \"{topic}\" no longer has the messages to be read next"),
            ),
            Cause::Recreated => {
                (ErrorKind::DataLoss, format!("topic \"{topic}\" was deleted and created again"))
            }
            Cause::Unreadable => {
                (ErrorKind::DataLoss, format!("could not read messages of topic \"{topic}\""))
            }
        };
        let error = ConnectorError::new(kind, message).with_hint(hint(cause));
        if reason.is_empty() { error } else { error.with_detail(reason) }
    }
}

/// What the user can do about it.
fn hint(cause: Cause) -> &'static str {
    match cause {
        Cause::Unreachable | Cause::Passing => {
            "Check that the brokers run, and the options properties.bootstrap.server and properties.security.protocol."
        }
        Cause::Credentials => {
            "Check the options properties.sasl.*, properties.ssl.* and properties.security.protocol."
        }
        Cause::Forbidden => "The user needs the permissions READ and DESCRIBE on the topic.",
        Cause::Missing => "Check the name, or create the topic first.",
        Cause::OutOfRange | Cause::Recreated => {
            "Drop the source and create it again: it then begins with what is there."
        }
        Cause::Unreadable => "Check that no other program than Kafka producers wrote to the topic.",
    }
}

/// The reason to show for an outage: the newest one that is more than a summary.
pub(super) fn reason(reports: &[Report]) -> &str {
    let telling = reports.iter().rev().find(|report| report.code != Code::AllBrokersDown);
    telling.or(reports.last()).map_or("", |report| &report.reason)
}
