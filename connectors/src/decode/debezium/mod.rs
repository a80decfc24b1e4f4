//! FORMAT DEBEZIUM ENCODE JSON: change events of a database into upserts and deletes by primary key.
//!
//! Owns what an event does to the collection. The rows inside of events are JSON objects and are decoded as other
//! messages are, once [`rows`] has brought the values that Debezium writes in its own way into a form that says what they
//! are; [`envelope`] finds the rows. A bad event is left out whole, and never the batch.
//!
//! | op | does |
//! | --- | --- |
//! | `c`, `r` | sets the row of `after` |
//! | `u` | the same, and deletes the row of `before` where that is there and has another primary key |
//! | `d` | deletes the row of `before`, or of the message's key where there is no `before` |
//! | `t` | refused: which rows a TRUNCATE has taken is not in it |
//! | `m` | nothing: a message in the database's log, no change of a table |
//!
//! Of `before` only the primary key is read, since databases leave out the rest (REPLICA IDENTITY DEFAULT). A message
//! without value (a tombstone) or with a null payload is nothing: it follows the `d` that it repeats.

mod envelope;
mod rows;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow_ord::cmp::not_distinct;
use arrow_schema::{ArrowError, Field, Schema, SchemaRef};
use arrow_select::interleave::interleave;
use arrow_select::take::take;

use self::envelope::{Envelope, Op};
pub use self::rows::Modes;
use self::rows::{RowText, TextRows};
use super::json::cursor::Fault;
use super::{Failure, JsonDecoder, Messages};
use crate::contract::{ConnectorError, ErrorKind};
use crate::source::unused_column;

/// What some events did, in their order.
#[derive(Clone, Debug)]
pub struct Events {
    /// All declared columns; of a row that is deleted only the key's are set.
    pub rows: RecordBatch,
    pub deletes: BooleanArray,
    /// Per row the index of the message that it came from, ascending. An event whose row has moved to another key makes two.
    pub messages: Vec<u32>,
}

/// What one event does, by the numbers of its texts.
#[derive(Clone, Copy)]
struct Effect {
    message: u32,
    delete: Option<u32>,
    upsert: Option<u32>,
}

/// Decodes events; one serves one reader thread.
pub struct DebeziumDecoder {
    schema: SchemaRef,
    key: Vec<usize>,
    rows: TextRows,
    row_decoder: JsonDecoder,
    keys: TextRows,
    key_decoder: JsonDecoder,
}

impl DebeziumDecoder {
    /// A decoder for the declared columns of `schema`, of which those at `key` are the primary key, that builds the columns
    /// at `wanted`. Fails when there is no key or a column's type has no reading in JSON.
    pub fn new(
        schema: SchemaRef,
        key: &[usize],
        wanted: &[usize],
        modes: &Modes,
    ) -> Result<DebeziumDecoder, ConnectorError> {
        if key.is_empty() {
            return Err(ConnectorError::fix("FORMAT DEBEZIUM needs a PRIMARY KEY")
                .with_detail("It says which row an update or a delete is about."));
        }
        let required = |field: &Field| field.clone().with_nullable(false);
        let key_fields: Vec<Field> = key.iter().map(|&k| required(schema.field(k))).collect();
        let fields =
            schema.fields().iter().enumerate().map(|(at, field)| match key.contains(&at) {
                true => Arc::new(required(field)),
                false => field.clone(),
            });
        let row_schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let key_schema = Arc::new(Schema::new(key_fields));
        let mut built: Vec<usize> = wanted.iter().chain(key).copied().collect();
        built.sort_unstable();
        built.dedup();
        let all: Vec<usize> = (0..key.len()).collect();
        Ok(DebeziumDecoder {
            rows: TextRows::new(&row_schema, modes),
            row_decoder: JsonDecoder::new(row_schema, &built)?,
            keys: TextRows::new(&key_schema, modes),
            key_decoder: JsonDecoder::new(key_schema, &all)?,
            schema,
            key: key.to_vec(),
        })
    }

    /// What the events in `messages` do. Bad ones are left out and appended to `failures`, in order. `key_of` gives the key
    /// of a message by its index.
    pub fn decode<'k>(
        &mut self,
        messages: Messages<'_>,
        key_of: impl Fn(usize) -> Option<&'k [u8]>,
        failures: &mut Vec<Failure>,
    ) -> Result<Events, ConnectorError> {
        self.rows.clear();
        self.keys.clear();
        let mut effects = Vec::with_capacity(messages.spans.len());
        for (message, &(start, len)) in messages.spans.iter().enumerate() {
            let (start, end) = (start as usize, start as usize + len as usize);
            let text = messages.data.get(start..end).ok_or_else(|| {
                let reason = format!("message {message} lies outside of its buffer");
                ConnectorError::new(ErrorKind::Bug, reason)
            })?;
            let (rows, keys) = (self.rows.len(), self.keys.len());
            match self.take(text, message, &key_of) {
                Ok(Some(effect)) => effects.push(effect),
                Ok(None) => {}
                Err(Fault { sqlstate, reason }) => {
                    self.rows.truncate(rows);
                    self.keys.truncate(keys);
                    failures.push(Failure { message, sqlstate, reason });
                }
            }
        }
        let (rows, row_of) = decode_texts(&mut self.row_decoder, &mut self.rows)?;
        let (keys, key_row_of) = decode_texts(&mut self.key_decoder, &mut self.keys)?;
        let mut good = Vec::with_capacity(effects.len());
        for effect in effects {
            let upsert = effect.upsert.map(|n| row_of[n as usize].clone()).transpose();
            let delete = effect.delete.map(|n| key_row_of[n as usize].clone()).transpose();
            match (delete, upsert) {
                (Ok(delete), Ok(upsert)) => good.push(Effect { delete, upsert, ..effect }),
                (Err(fault), _) | (_, Err(fault)) => {
                    let Fault { sqlstate, reason } = fault;
                    failures.push(Failure { message: effect.message as usize, sqlstate, reason });
                }
            }
        }
        failures.sort_by_key(|failure| failure.message);
        self.forget_unmoved(&mut good, &keys, &rows).map_err(defect)?;
        self.assemble(&good, &keys, &rows).map_err(defect)
    }

    /// Takes one event apart and keeps the texts of its rows.
    fn take<'k>(
        &mut self,
        text: &[u8],
        message: usize,
        key_of: &impl Fn(usize) -> Option<&'k [u8]>,
    ) -> Result<Option<Effect>, Fault> {
        let Some(Envelope { op, before, after, schema }) = Envelope::read(text)? else {
            return Ok(None);
        };
        let mut effect = Effect { message: message as u32, delete: None, upsert: None };
        match op {
            Op::Message => return Ok(None),
            Op::Truncate => {
                let reason =
                    "TRUNCATE cannot be followed: the event does not say which rows are gone";
                return Err(Fault { sqlstate: "0A000", reason: reason.to_owned() });
            }
            Op::Set | Op::Update => {
                let after = after.ok_or_else(|| lacks("after"))?;
                if let Some(before) = before.filter(|_| op == Op::Update) {
                    effect.delete = Some(self.keys.push(before, RowText::Event("before", schema))?);
                }
                effect.upsert = Some(self.rows.push(after, RowText::Event("after", schema))?);
            }
            Op::Delete => {
                let deleted = match before {
                    Some(before) => self.keys.push(before, RowText::Event("before", schema))?,
                    None => {
                        let key = key_of(message).ok_or_else(|| lacks("before"))?;
                        let (key, schema) = envelope::key(key)?;
                        self.keys.push(key, RowText::Key(schema))?
                    }
                };
                effect.delete = Some(deleted);
            }
        }
        Ok(Some(effect))
    }

    /// An update that leaves its row under the same key needs no delete.
    fn forget_unmoved(
        &self,
        effects: &mut [Effect],
        keys: &RecordBatch,
        rows: &RecordBatch,
    ) -> Result<(), ArrowError> {
        let mut updates: Vec<&mut Effect> =
            effects.iter_mut().filter(|e| e.delete.is_some() && e.upsert.is_some()).collect();
        if updates.is_empty() {
            return Ok(());
        }
        let before: UInt32Array = updates.iter().map(|effect| effect.delete).collect();
        let after: UInt32Array = updates.iter().map(|effect| effect.upsert).collect();
        let mut same = vec![true; updates.len()];
        for (at, &column) in self.key.iter().enumerate() {
            let before = take(keys.column(at), &before, None)?;
            let after = take(rows.column(column), &after, None)?;
            // Of types that cannot be compared the delete stays, and the row that follows it wins.
            let equal = not_distinct(&before, &after).ok();
            for (row, same) in same.iter_mut().enumerate() {
                *same &= equal.as_ref().is_some_and(|equal| equal.value(row));
            }
        }
        for (effect, same) in updates.iter_mut().zip(same) {
            effect.delete = effect.delete.filter(|_| !same);
        }
        Ok(())
    }

    fn assemble(
        &self,
        effects: &[Effect],
        keys: &RecordBatch,
        rows: &RecordBatch,
    ) -> Result<Events, ArrowError> {
        let (mut messages, mut deletes, mut from) = (vec![], vec![], vec![]);
        for effect in effects {
            for (source, row) in [(0, effect.delete), (1, effect.upsert)] {
                let Some(row) = row else { continue };
                messages.push(effect.message);
                deletes.push(source == 0);
                from.push((source, row as usize));
            }
        }
        let columns: Vec<ArrayRef> =
            match deletes.contains(&true) || effects.len() < rows.num_rows() {
                false => rows.columns().to_vec(),
                true => (0..self.schema.fields().len())
                    .map(|column| self.interleaved(column, &from, keys, rows))
                    .collect::<Result<_, _>>()?,
            };
        let fields = self.schema.fields().clone();
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
        Ok(Events { rows, deletes: deletes.into(), messages })
    }

    /// A declared column of deleted keys (0) and rows (1).
    fn interleaved(
        &self,
        column: usize,
        from: &[(usize, usize)],
        keys: &RecordBatch,
        rows: &RecordBatch,
    ) -> Result<ArrayRef, ArrowError> {
        match self.key.iter().position(|key| *key == column) {
            Some(at) => interleave(&[keys.column(at), rows.column(column)], from),
            None => {
                let nothing = unused_column(self.schema.field(column), 1);
                let from: Vec<(usize, usize)> = from
                    .iter()
                    .map(|&(source, row)| (source, if source == 0 { 0 } else { row }))
                    .collect();
                interleave(&[&nothing, rows.column(column)], &from)
            }
        }
    }
}

/// The rows of texts, and per text the row it became.
fn decode_texts(
    decoder: &mut JsonDecoder,
    texts: &mut TextRows,
) -> Result<(RecordBatch, Vec<Result<u32, Fault>>), ConnectorError> {
    let mut failures = vec![];
    let batch = decoder.decode(texts.messages(), &mut failures)?;
    let mut failures = failures.into_iter().peekable();
    let mut row = 0;
    let outcome = |text| match failures.next_if(|failure: &Failure| failure.message == text) {
        Some(Failure { sqlstate, reason, .. }) => Err(Fault { sqlstate, reason }),
        None => {
            row += 1;
            Ok(row - 1)
        }
    };
    let rows = (0..texts.len()).map(outcome).collect();
    Ok((batch, rows))
}

fn lacks(what: &str) -> Fault {
    let reason = match what {
        "before" => "a delete has neither \"before\" nor a message key".to_owned(),
        _ => format!("the event has no \"{what}\""),
    };
    Fault { sqlstate: "22P02", reason }
}

fn defect(error: ArrowError) -> ConnectorError {
    ConnectorError::new(ErrorKind::Bug, format!("decoded events do not make a batch: {error}"))
}
