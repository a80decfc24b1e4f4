//! From copied messages to rows: values by the decoder, keys, INCLUDE columns, and what is rejected.
//!
//! Under PLAIN a good value is a row. Under UPSERT the key decides: it is decoded into the primary key's columns (or is the
//! INCLUDE KEY column, when that is the primary key), a message without value deletes. A message is good when its key and
//! its value both are, and every other one is in `rejected`, so rows and rejected together account for all messages. Under
//! DEBEZIUM an event may also be no row, or two.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, ListBuilder, StringBuilder, StructBuilder};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Int32Array, Int64Array, RecordBatch,
    RecordBatchOptions, StringArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow_schema::{ArrowError, SchemaRef};
use arrow_select::concat::concat;
use arrow_select::take::take;

use super::keys::{KeyColumns, Keys};
use super::queue::{Arrivals, Carry, Header, slice_of};
use crate::contract::{
    ConnectorError, ErrorKind, REJECTED_PAYLOAD_BYTES_MAX, Rejected, SourceOffset,
};
use crate::decode::debezium::{DebeziumDecoder, Modes};
use crate::decode::{Failure, JsonDecoder, Messages, PADDING};
use crate::registry::{Include, IncludeKind, header_fields};
use crate::source::unused_column;

const INVALID_TEXT: &str = "22P02";

/// What rows are made of, as declared.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Declared columns, then included ones.
    pub(super) schema: SchemaRef,
    /// The declared columns alone.
    pub(super) declared: SchemaRef,
    pub(super) include: Vec<Include>,
    pub(super) kind: Kind,
}

/// What a message is, by FORMAT.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Plain,
    Upsert(KeyColumns),
    /// The primary key's columns and how values are read.
    Debezium(Vec<usize>, Modes),
}

/// Makes rows of values, by FORMAT.
enum Values {
    Plain(JsonDecoder),
    Upsert(JsonDecoder, Box<Keys>),
    Debezium(Box<DebeziumDecoder>),
}

/// Makes rows of one reader's messages.
pub(super) struct Rows {
    plan: Plan,
    wanted: Vec<bool>,
    values: Values,
    failures: Vec<Failure>,
    /// Spans and message indices of the values to decode, where not all are.
    spans: Vec<(u32, u32)>,
    messages: Vec<u32>,
}

/// The rows of some messages of one split.
pub(super) struct Made {
    pub(super) rows: RecordBatch,
    pub(super) deletes: Option<BooleanArray>,
    pub(super) rejected: Vec<Rejected>,
}

impl Rows {
    /// `columns` are the indices into the plan's schema that somebody uses.
    pub(super) fn new(plan: Plan, columns: &[usize]) -> Result<Rows, ConnectorError> {
        let mut wanted = vec![false; plan.schema.fields().len()];
        for &column in columns {
            match wanted.get_mut(column) {
                Some(wanted) => *wanted = true,
                None => {
                    let message = format!("column {column} of {} is wanted", wanted.len());
                    return Err(ConnectorError::new(ErrorKind::Bug, message));
                }
            }
        }
        let declared = plan.declared.fields().len();
        let used: Vec<usize> = (0..declared).filter(|column| wanted[*column]).collect();
        let values = match &plan.kind {
            Kind::Plain => Values::Plain(JsonDecoder::new(plan.declared.clone(), &used)?),
            Kind::Upsert(key) => {
                let used: Vec<usize> =
                    used.into_iter().filter(|c| !key.decoded_columns().contains(c)).collect();
                let decoder = JsonDecoder::new(key.value_schema(&plan.declared), &used)?;
                Values::Upsert(decoder, Box::new(Keys::new(key, &plan.declared)?))
            }
            Kind::Debezium(key, modes) => {
                let decoder = DebeziumDecoder::new(plan.declared.clone(), key, &used, modes)?;
                Values::Debezium(Box::new(decoder))
            }
        };
        let (failures, spans, messages) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Rows { values, wanted, plan, failures, spans, messages })
    }

    /// The schema of all batches.
    pub(super) fn schema(&self) -> SchemaRef {
        self.plan.schema.clone()
    }

    /// What the reader has to copy besides values.
    pub(super) fn carry(&self) -> Carry {
        let keyed = !matches!(self.values, Values::Plain(_));
        let mut carry = Carry { keys: keyed, ..Carry::default() };
        let columns = &self.wanted[self.plan.declared.fields().len()..];
        for (include, wanted) in self.plan.include.iter().zip(columns) {
            match (&include.kind, wanted) {
                (_, false) => {}
                (IncludeKind::Key, true) => carry.keys = true,
                (IncludeKind::Timestamp, true) => carry.timestamps = true,
                (IncludeKind::Header(_), true) => carry.headers = true,
                (IncludeKind::Partition | IncludeKind::Offset | IncludeKind::Payload, true) => {}
            }
        }
        carry
    }

    /// The rows of all messages in `arrivals`.
    pub(super) fn make(
        &mut self,
        arrivals: &mut Arrivals,
        partition: i32,
    ) -> Result<Made, ConnectorError> {
        arrivals.data.resize(arrivals.data.len() + PADDING, 0);
        self.failures.clear();
        match self.plan.kind {
            Kind::Plain => self.plain(arrivals, partition),
            Kind::Upsert(_) => self.upsert(arrivals, partition),
            Kind::Debezium(..) => self.debezium(arrivals, partition),
        }
    }

    fn plain(&mut self, arrivals: &Arrivals, partition: i32) -> Result<Made, ConnectorError> {
        let mut rejected = Vec::new();
        let spans = if arrivals.absent == 0 {
            &arrivals.values
        } else {
            self.select_values(arrivals, |_| true);
            for message in (0..arrivals.len()).filter(|m| arrivals.value(*m).is_none()) {
                rejected.push(reject(
                    arrivals,
                    message,
                    INVALID_TEXT,
                    "message has no value".into(),
                ));
            }
            &self.spans
        };
        let messages = Messages { data: &arrivals.data, spans };
        let Values::Plain(decoder) = &mut self.values else { return Err(other_format()) };
        let decoded = decoder.decode(messages, &mut self.failures)?;
        for failure in self.failures.drain(..) {
            let message = match arrivals.absent {
                0 => failure.message,
                _ => self.messages[failure.message] as usize,
            };
            rejected.push(reject(arrivals, message, failure.sqlstate, failure.reason));
        }
        rejected.sort_by_key(|rejected| rejected.offset);
        let good = good_messages(arrivals, &rejected);
        let columns = decoded.columns().to_vec();
        let rows = self.with_included(columns, &good, arrivals, partition)?;
        Ok(Made { rows, deletes: None, rejected })
    }

    fn upsert(&mut self, arrivals: &Arrivals, partition: i32) -> Result<Made, ConnectorError> {
        let mut rejected = Vec::new();
        let Values::Upsert(_, keys) = &mut self.values else { return Err(other_format()) };
        let decoded_keys = keys.decode(arrivals)?;
        for (message, sqlstate, reason) in decoded_keys.failures {
            rejected.push(reject(arrivals, message, sqlstate, reason));
        }
        let key_rows = decoded_keys.rows;
        self.select_values(arrivals, |message| key_rows[message].is_some());
        let messages = Messages { data: &arrivals.data, spans: &self.spans };
        let Values::Upsert(decoder, _) = &mut self.values else { return Err(other_format()) };
        let values = decoder.decode(messages, &mut self.failures)?;
        let mut value_rows = vec![None; arrivals.len()];
        let mut failures = self.failures.drain(..).peekable();
        let mut row = 0;
        for (index, &message) in self.messages.iter().enumerate() {
            match failures.next_if(|failure| failure.message == index) {
                Some(failure) => {
                    let message = message as usize;
                    rejected.push(reject(arrivals, message, failure.sqlstate, failure.reason));
                }
                None => {
                    value_rows[message as usize] = Some(row);
                    row += 1;
                }
            }
        }
        drop(failures);
        rejected.sort_by_key(|rejected| rejected.offset);
        let good = good_messages(arrivals, &rejected);
        let keyed: UInt32Array = good.iter().map(|m| key_rows[*m as usize]).collect();
        let valued: UInt32Array = good.iter().map(|m| value_rows[*m as usize]).collect();
        let columns = self.join_key_and_value(&decoded_keys.batch, &keyed, &values, &valued)?;
        let deletes = good.iter().map(|m| arrivals.value(*m as usize).is_none());
        let deletes = BooleanArray::from(deletes.collect::<Vec<bool>>());
        let rows = self.with_included(columns, &good, arrivals, partition)?;
        Ok(Made { rows, deletes: Some(deletes), rejected })
    }

    fn debezium(&mut self, arrivals: &Arrivals, partition: i32) -> Result<Made, ConnectorError> {
        self.select_values(arrivals, |_| true);
        let messages = Messages { data: &arrivals.data, spans: &self.spans };
        let Values::Debezium(decoder) = &mut self.values else { return Err(other_format()) };
        let key_of = |n: usize| arrivals.key(self.messages[n] as usize);
        let mut events = decoder.decode(messages, key_of, &mut self.failures)?;
        let mut rejected = Vec::new();
        for failure in self.failures.drain(..) {
            let message = self.messages[failure.message] as usize;
            rejected.push(reject(arrivals, message, failure.sqlstate, failure.reason));
        }
        events.messages.iter_mut().for_each(|message| *message = self.messages[*message as usize]);
        let columns = events.rows.columns().to_vec();
        let rows = self.with_included(columns, &events.messages, arrivals, partition)?;
        Ok(Made { rows, deletes: Some(events.deletes), rejected })
    }

    /// Fills `spans` and `messages` with the values that are there and chosen.
    fn select_values(&mut self, arrivals: &Arrivals, chosen: impl Fn(usize) -> bool) {
        self.spans.clear();
        self.messages.clear();
        for message in 0..arrivals.len() {
            if chosen(message) && arrivals.value(message).is_some() {
                self.spans.push(arrivals.values[message]);
                self.messages.push(message as u32);
            }
        }
    }

    /// The declared columns: the key's from the keys, the others from the values, null where a row deletes.
    fn join_key_and_value(
        &self,
        keys: &RecordBatch,
        keyed: &UInt32Array,
        values: &RecordBatch,
        valued: &UInt32Array,
    ) -> Result<Vec<ArrayRef>, ConnectorError> {
        let key_columns = match &self.plan.kind {
            Kind::Upsert(key) => key.decoded_columns(),
            Kind::Plain | Kind::Debezium(..) => &[],
        };
        let whole = valued.null_count() == 0 && valued.len() == values.num_rows();
        // A NOT NULL column has no null for the rows that delete: they take a zero behind the values.
        let zero = values.num_rows() as u32;
        let filled: UInt32Array = valued.iter().map(|row| row.or(Some(zero))).collect();
        let fields = self.plan.declared.fields().iter().enumerate();
        fields
            .map(|(column, field)| {
                if let Some(at) = key_columns.iter().position(|key| *key == column) {
                    return take(keys.column(at), keyed, None);
                }
                let array = values.column(column);
                if whole {
                    Ok(array.clone())
                } else if field.is_nullable() {
                    take(array, valued, None)
                } else {
                    let with_zero = concat(&[array, &unused_column(field, 1)])?;
                    take(&with_zero, &filled, None)
                }
            })
            .collect::<Result<_, _>>()
            .map_err(defect)
    }

    /// Appends the INCLUDE columns for the good messages.
    fn with_included(
        &self,
        mut columns: Vec<ArrayRef>,
        good: &[u32],
        arrivals: &Arrivals,
        partition: i32,
    ) -> Result<RecordBatch, ConnectorError> {
        let declared = self.plan.declared.fields().len();
        for (at, include) in self.plan.include.iter().enumerate() {
            let raw_key = matches!(self.plan.kind, Kind::Upsert(KeyColumns::Raw));
            let wanted = self.wanted[declared + at] || raw_key;
            columns.push(match wanted {
                true => included(&include.kind, good, arrivals, partition),
                false => unused_column(self.plan.schema.field(declared + at), good.len()),
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(good.len()));
        RecordBatch::try_new_with_options(self.plan.schema.clone(), columns, &options)
            .map_err(defect)
    }
}

fn other_format() -> ConnectorError {
    ConnectorError::new(ErrorKind::Bug, "messages of another format than the reader's")
}

fn defect(error: ArrowError) -> ConnectorError {
    ConnectorError::new(ErrorKind::Bug, "could not build rows of Kafka messages")
        .with_detail(error.to_string())
}

/// The indices of the messages that are not among `rejected`, which is in offset order.
fn good_messages(arrivals: &Arrivals, rejected: &[Rejected]) -> Vec<u32> {
    let mut rejected = rejected.iter().map(|rejected| rejected.offset.0).peekable();
    (0..arrivals.len() as u32)
        .filter(|message| rejected.next_if_eq(&arrivals.offsets[*message as usize]).is_none())
        .collect()
}

fn reject(arrivals: &Arrivals, message: usize, sqlstate: &'static str, reason: String) -> Rejected {
    // A tombstone can only be at fault by its key, so that is what is shown of it.
    let key = || arrivals.keys.get(message).and_then(|span| slice_of(&arrivals.side, *span));
    let payload = arrivals.value(message).or_else(key).unwrap_or_default();
    Rejected {
        offset: SourceOffset(arrivals.offsets[message]),
        sqlstate,
        reason,
        payload: payload[..payload.len().min(REJECTED_PAYLOAD_BYTES_MAX)].to_vec(),
    }
}

fn included(kind: &IncludeKind, good: &[u32], arrivals: &Arrivals, partition: i32) -> ArrayRef {
    let messages = good.iter().map(|message| *message as usize);
    match kind {
        IncludeKind::Key => Arc::new(messages.map(|m| arrivals.key(m)).collect::<BinaryArray>()),
        IncludeKind::Partition => Arc::new(Int32Array::from_value(partition, good.len())),
        IncludeKind::Offset => {
            Arc::new(Int64Array::from_iter_values(messages.map(|m| arrivals.offsets[m] as i64)))
        }
        IncludeKind::Timestamp => {
            let micros = messages.map(|m| {
                let millis = arrivals.timestamps_ms[m];
                (millis >= 0).then(|| millis.saturating_mul(1000))
            });
            Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone("+00:00"))
        }
        IncludeKind::Header(None) => all_headers(good, arrivals),
        IncludeKind::Header(Some(name)) => {
            let last = |m: usize| {
                let named = |header: &&Header| {
                    slice_of(&arrivals.side, header.key) == Some(name.as_bytes())
                };
                let header = headers_of(m, arrivals).iter().rev().find(named)?;
                slice_of(&arrivals.side, header.value)
            };
            Arc::new(messages.map(last).collect::<BinaryArray>())
        }
        IncludeKind::Payload => {
            // What the decoder took is UTF-8, so only tombstones are null.
            let text = |m: usize| arrivals.value(m).and_then(|v| std::str::from_utf8(v).ok());
            Arc::new(messages.map(text).collect::<StringArray>())
        }
    }
}

/// The headers of a message; they are in message order.
fn headers_of(message: usize, arrivals: &Arrivals) -> &[Header] {
    let headers = &arrivals.headers;
    let from = headers.partition_point(|header| (header.message as usize) < message);
    let to = headers.partition_point(|header| header.message as usize <= message);
    &headers[from..to]
}

fn all_headers(good: &[u32], arrivals: &Arrivals) -> ArrayRef {
    let fields = header_fields();
    let children: Vec<Box<dyn arrow_array::builder::ArrayBuilder>> =
        vec![Box::new(StringBuilder::new()), Box::new(BinaryBuilder::new())];
    let mut list = ListBuilder::new(StructBuilder::new(fields, children));
    for &message in good {
        for header in headers_of(message as usize, arrivals) {
            let entry = list.values();
            let key = slice_of(&arrivals.side, header.key).unwrap_or_default();
            if let Some(keys) = entry.field_builder::<StringBuilder>(0) {
                keys.append_value(String::from_utf8_lossy(key));
            }
            if let Some(values) = entry.field_builder::<BinaryBuilder>(1) {
                values.append_option(slice_of(&arrivals.side, header.value));
            }
            entry.append(true);
        }
        list.append(true);
    }
    Arc::new(list.finish())
}
