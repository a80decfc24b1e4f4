//! connector = 'kafka': the partitions of a topic are its splits, message offsets its offsets.
//!
//! Partitions are assigned by the caller and offsets kept by it: no consumer group is joined and nothing is committed.
//! `scan.startup.mode` is resolved to an offset per partition at the first [`Source::discover`]; partitions that appear
//! later start at their beginning.
//!
//! Transactions that were aborted are not read (isolation.level, read_committed unless told otherwise); their control
//! records and compacted messages leave gaps between offsets, which count as read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arrow_schema::{Field, Schema, SchemaRef};

use crate::contract::{
    ConnectorError, Source, SourceOffset, SourceReader, SplitBounds, SplitId, SplitRange,
    SplitStart,
};
use crate::decode::debezium::Modes;
use crate::options::Options;
use crate::registry::{Encode, Format, Include, IncludeKind, SourceSpec};

mod client;
mod discovery;
mod errors;
pub mod fill;
mod keys;
mod queue;
mod reader;
mod rows;
#[cfg(test)]
mod tests;
mod topic_id;

use client::Settings;
pub(crate) use client::{PREFIX, REFUSED, brokers};
use discovery::{Discovery, Startup};
use errors::{Cause, Wording};
use keys::KeyColumns;
use reader::KafkaReader;
use rows::{Kind, Plan, Rows};
use topic_id::TopicId;

const KNOWN_OPTIONS: &[&str] =
    &["connector", "topic", "scan.startup.mode", "scan.startup.timestamp.millis", "properties.*"];

pub(crate) fn open(spec: &SourceSpec) -> Result<Arc<dyn Source>, ConnectorError> {
    let options = &spec.options;
    options.check_known("connector \"kafka\"", KNOWN_OPTIONS)?;
    let topic = options.required("topic")?.to_owned();
    let startup = startup(options)?;
    let settings = Settings::new(&spec.name, options)?;
    let plan = plan(spec)?;
    // Says now what a reader would say later: a column of a type that JSON is not read into.
    let all: Vec<usize> = (0..plan.schema.fields().len()).collect();
    Rows::new(plan.clone(), &all)?;
    let wording = Wording { topic, brokers: settings.brokers.clone() };
    Ok(Arc::new(KafkaSource {
        name: spec.name.clone(),
        plan,
        discovery: Discovery::new(settings.clone(), wording.clone()),
        settings,
        wording,
        startup,
        starts: Mutex::default(),
        topic_id: OnceLock::new(),
    }))
}

fn startup(options: &Options) -> Result<Startup, ConnectorError> {
    let mode = options.choice("scan.startup.mode", &["earliest", "latest", "timestamp"])?;
    let key = "scan.startup.timestamp.millis";
    match (mode, options.integer(key, 0..=i64::MAX)?) {
        (Some(2), Some(millis)) => Ok(Startup::Timestamp { millis }),
        (Some(2), None) => Err(options.required(key).err().unwrap_or_else(|| options.invalid(key))),
        (_, Some(_)) => Err(ConnectorError::fix(format!(
            "option \"{key}\" needs scan.startup.mode = 'timestamp'"
        ))),
        (Some(1), None) => Ok(Startup::Latest),
        (_, None) => Ok(Startup::Earliest),
    }
}

fn plan(spec: &SourceSpec) -> Result<Plan, ConnectorError> {
    let (Some(format), Some(Encode::Json(encode_options))) = (&spec.format, &spec.encode) else {
        return Err(ConnectorError::fix("connector \"kafka\" needs a FORMAT")
            .with_hint("Add FORMAT PLAIN, UPSERT or DEBEZIUM ENCODE JSON."));
    };
    if spec.columns.fields().is_empty() {
        return Err(ConnectorError::fix("connector \"kafka\" needs declared columns"));
    }
    let kind = match format {
        Format::Plain => Kind::Plain,
        Format::Upsert => Kind::Upsert(key_columns(spec)?),
        Format::Debezium => Kind::Debezium(event_key(spec)?, Modes::new(encode_options)?),
    };
    if *format != Format::Debezium {
        encode_options.check_known("ENCODE JSON", &[])?;
    }
    let included = spec.include.iter().map(Include::field).map(Arc::new);
    let fields: Vec<Arc<Field>> = spec.columns.fields().iter().cloned().chain(included).collect();
    for (at, field) in fields.iter().enumerate() {
        if fields[..at].iter().any(|other| other.name() == field.name()) {
            let message = format!("column \"{}\" specified more than once", field.name());
            return Err(ConnectorError::fix(message));
        }
    }
    Ok(Plan {
        schema: Arc::new(Schema::new(fields)),
        declared: spec.columns.clone(),
        include: spec.include.clone(),
        kind,
    })
}

/// The primary key of a DEBEZIUM source is columns of the rows in its events.
fn event_key(spec: &SourceSpec) -> Result<Vec<usize>, ConnectorError> {
    let declared = spec.columns.fields().len();
    let needed = "It says which row an event is about, by columns of the rows in events.";
    match spec.primary_key.as_slice() {
        [] => Err(ConnectorError::fix("FORMAT DEBEZIUM needs a PRIMARY KEY").with_detail(needed)),
        key if key.iter().all(|column| *column < declared) => Ok(key.to_vec()),
        _ => {
            Err(ConnectorError::fix("the PRIMARY KEY must be of declared columns")
                .with_detail(needed))
        }
    }
}

/// The primary key of an UPSERT source is declared columns, or the INCLUDE KEY column alone.
fn key_columns(spec: &SourceSpec) -> Result<KeyColumns, ConnectorError> {
    let declared = spec.columns.fields().len();
    let key = spec.primary_key.as_slice();
    if key.is_empty() {
        return Err(ConnectorError::fix("FORMAT UPSERT needs a PRIMARY KEY")
            .with_detail("The key of a message says which row it sets or deletes."));
    }
    if key.iter().all(|column| *column < declared) {
        return Ok(KeyColumns::Decoded(key.to_vec()));
    }
    match key {
        [column]
            if spec.include.get(column - declared).is_some_and(|i| i.kind == IncludeKind::Key) =>
        {
            Ok(KeyColumns::Raw)
        }
        _ => Err(ConnectorError::fix("the PRIMARY KEY must be in the message key").with_detail(
            "It is made of declared columns, or of the INCLUDE KEY column and nothing else.",
        )),
    }
}

struct KafkaSource {
    name: String,
    plan: Plan,
    settings: Settings,
    wording: Wording,
    startup: Startup,
    discovery: Discovery,
    /// Where each known partition starts.
    starts: Mutex<BTreeMap<i32, u64>>,
    /// Of the topic that was there first.
    topic_id: OnceLock<TopicId>,
}

impl Source for KafkaSource {
    fn schema(&self) -> SchemaRef {
        self.plan.schema.clone()
    }

    fn discover(&self, timeout: Duration) -> Result<Vec<SplitStart>, ConnectorError> {
        // Held over the calls to the broker: two at once would resolve the same starts twice, perhaps differently.
        let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        let partitions = self.discovery.partitions(timeout)?;
        // Offsets mean nothing in another topic of the same name, even where it has messages at them.
        if let Some(id) = self.discovery.topic_id(timeout)
            && *self.topic_id.get_or_init(|| id) != id
        {
            return Err(self.wording.error(Cause::Recreated, true, ""));
        }
        let new: Vec<i32> = partitions
            .iter()
            .copied()
            .filter(|partition| !starts.contains_key(partition))
            .collect();
        if !new.is_empty() {
            let startup = if starts.is_empty() { self.startup } else { Startup::Earliest };
            starts.extend(self.discovery.resolve(&new, startup, timeout)?);
        }
        let start = |partition: &i32| SplitStart {
            split: SplitId(partition.to_string()),
            start: SourceOffset(starts.get(partition).copied().unwrap_or(0)),
        };
        Ok(partitions.iter().map(start).collect())
    }

    fn bounds(&self, split: &SplitId, timeout: Duration) -> Result<SplitBounds, ConnectorError> {
        let partition = reader::partition_number(split)?;
        let (earliest, latest) = self.discovery.bounds(partition, timeout)?;
        Ok(SplitBounds { earliest: SourceOffset(earliest), latest: SourceOffset(latest) })
    }

    fn reader(
        &self,
        ranges: Vec<SplitRange>,
        columns: &[usize],
    ) -> Result<Box<dyn SourceReader>, ConnectorError> {
        let rows = Rows::new(self.plan.clone(), columns)?;
        let client = self.settings.reading_client(&self.name, ranges.len())?;
        Ok(Box::new(KafkaReader::new(client, self.wording.clone(), rows, ranges)?))
    }
}
