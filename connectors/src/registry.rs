//! From a declaration to a connector: what CREATE SOURCE says, and the one place where a new connector is added.
//!
//! [`open`] checks options, format and columns and does no I/O; whether the outside is there, [`Source::discover`] finds
//! out. All of its errors are of kind [`ErrorKind::Fix`].
//!
//! [`ErrorKind::Fix`]: crate::contract::ErrorKind::Fix

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, SchemaRef, TimeUnit};

use crate::contract::{ConnectorError, Source};
use crate::options::{Options, closest};
use crate::source::{datagen, kafka, nexmark};

/// How messages change the collection: FORMAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Every message is one inserted row.
    Plain,
    /// A message sets the row of its key, one without value deletes it.
    Upsert,
    /// A message is a change event of a database, as Debezium writes it.
    Debezium,
}

/// How the value of a message is written: ENCODE, with its own options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encode {
    Json(Options),
}

/// What of a message, besides its value, becomes a column: INCLUDE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IncludeKind {
    /// The key as it came: bytea.
    Key,
    /// integer.
    Partition,
    /// bigint.
    Offset,
    /// When the message was made or appended, as the topic has it: timestamp with time zone.
    Timestamp,
    /// All headers, a list of (key varchar, value bytea); with a name the last header of that name: bytea.
    Header(Option<String>),
    /// The value as it came, which for text formats is text: varchar.
    Payload,
}

/// One INCLUDE column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Include {
    pub kind: IncludeKind,
    /// The column's name: AS name, else [`IncludeKind::default_name`].
    pub name: String,
}

impl IncludeKind {
    /// The column's name where no AS gives one: `_kafka_offset`, `_kafka_header_trace_id`.
    pub fn default_name(&self, connector: &str) -> String {
        let what = match self {
            IncludeKind::Key => "key",
            IncludeKind::Partition => "partition",
            IncludeKind::Offset => "offset",
            IncludeKind::Timestamp => "timestamp",
            IncludeKind::Header(None) => "header",
            IncludeKind::Header(Some(name)) => return format!("_{connector}_header_{name}"),
            IncludeKind::Payload => "payload",
        };
        format!("_{connector}_{what}")
    }

    pub fn data_type(&self) -> DataType {
        match self {
            IncludeKind::Key | IncludeKind::Header(Some(_)) => DataType::Binary,
            IncludeKind::Partition => DataType::Int32,
            IncludeKind::Offset => DataType::Int64,
            IncludeKind::Timestamp => {
                DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
            }
            IncludeKind::Header(None) => {
                let header = DataType::Struct(header_fields());
                DataType::List(Arc::new(Field::new("item", header, true)))
            }
            IncludeKind::Payload => DataType::Utf8,
        }
    }
}

/// The fields of one message header.
pub(crate) fn header_fields() -> Fields {
    Fields::from(vec![
        Field::new("key", DataType::Utf8, true),
        Field::new("value", DataType::Binary, true),
    ])
}

impl Include {
    pub fn field(&self) -> Field {
        Field::new(&self.name, self.kind.data_type(), true)
    }
}

/// A source as declared.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    /// The source's name in SQL, for messages and client ids.
    pub name: String,
    /// WITH (...), the connector's name among them.
    pub options: Options,
    pub format: Option<Format>,
    pub encode: Option<Encode>,
    /// The declared columns, `nullable = false` for NOT NULL; may be empty where the connector has columns of its own.
    pub columns: SchemaRef,
    /// Indices into the source's columns: those declared, then those of `include`.
    pub primary_key: Vec<usize>,
    pub include: Vec<Include>,
}

type Open = fn(&SourceSpec) -> Result<Arc<dyn Source>, ConnectorError>;

/// A connector that reads.
struct Connector {
    name: &'static str,
    open: Open,
    /// Makes its rows itself: there is nothing outside to read from.
    generates: bool,
}

/// Every connector that reads. A new one is a file in `source/` and a line here.
const SOURCES: &[Connector] = &[
    Connector { name: "kafka", open: kafka::open, generates: false },
    Connector { name: "nexmark", open: nexmark::open, generates: true },
    Connector { name: "datagen", open: datagen::open, generates: true },
];

/// The names of the connectors that read.
pub fn source_connectors() -> impl Iterator<Item = &'static str> {
    SOURCES.iter().map(|connector| connector.name)
}

/// Whether a declared source makes its rows itself, so that it needs nothing outside.
pub fn generates(spec: &SourceSpec) -> bool {
    let name = spec.options.get("connector").unwrap_or_default().to_ascii_lowercase();
    SOURCES.iter().any(|connector| connector.name == name && connector.generates)
}

/// Makes the source that `spec` declares. No I/O is done.
pub fn open(spec: &SourceSpec) -> Result<Arc<dyn Source>, ConnectorError> {
    let name = spec.options.required("connector")?.to_ascii_lowercase();
    match SOURCES.iter().find(|connector| connector.name == name) {
        Some(connector) => (connector.open)(spec),
        None => {
            let known: Vec<&str> = source_connectors().collect();
            let error = ConnectorError::fix(format!("connector \"{name}\" does not exist"));
            Err(match closest(&name, known.iter().copied()) {
                Some(near) => error.with_hint(format!("Perhaps you meant \"{near}\".")),
                None => error.with_hint(format!("The connectors are {}.", known.join(", "))),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use arrow_schema::Schema;

    fn spec(connector: &str) -> SourceSpec {
        SourceSpec {
            name: "s".into(),
            options: Options::new([("connector", connector)]).unwrap(),
            format: None,
            encode: None,
            columns: Arc::new(Schema::empty()),
            primary_key: vec![],
            include: vec![],
        }
    }

    #[test]
    fn an_unknown_connector_is_refused_with_the_nearest_name() {
        let error = open(&spec("kafak")).err().unwrap();
        assert_eq!(error.message, "connector \"kafak\" does not exist");
        assert_eq!(error.hint.unwrap(), "Perhaps you meant \"kafka\".");
    }

    #[test]
    fn include_columns_have_default_names_and_fixed_types() {
        assert_eq!(IncludeKind::Offset.default_name("kafka"), "_kafka_offset");
        let named = IncludeKind::Header(Some("trace".into()));
        assert_eq!(named.default_name("kafka"), "_kafka_header_trace");
        assert_eq!(named.data_type(), DataType::Binary);
        assert_eq!(IncludeKind::Partition.data_type(), DataType::Int32);
    }
}
