//! UPSERT keys: the bytes of a message's key into the primary key's columns.
//!
//! A key is a JSON object with the primary key's columns, or, where that is one column, also its plain value: JSON or
//! bare text (`42`, `"abc"`, `abc`). Everything a key can be is brought into the object's form and decoded as values are.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use serde::de::IgnoredAny;

use super::queue::Arrivals;
use crate::contract::ConnectorError;
use crate::decode::{JsonDecoder, Messages, PADDING};

const NOT_NULL_VIOLATION: &str = "23502";

/// Where the primary key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyColumns {
    /// These declared columns are in the key.
    Decoded(Vec<usize>),
    /// The key's bytes are the primary key: an INCLUDE KEY column.
    Raw,
}

impl KeyColumns {
    pub(super) fn decoded_columns(&self) -> &[usize] {
        match self {
            KeyColumns::Decoded(columns) => columns,
            KeyColumns::Raw => &[],
        }
    }

    /// The columns as values are decoded into: the key's may be missing there, since the key has them.
    pub(super) fn value_schema(&self, declared: &SchemaRef) -> SchemaRef {
        let columns = self.decoded_columns();
        let field = |(at, field): (usize, &Arc<Field>)| match columns.contains(&at) {
            true => Arc::new(field.as_ref().clone().with_nullable(true)),
            false => field.clone(),
        };
        Arc::new(Schema::new(declared.fields().iter().enumerate().map(field).collect::<Vec<_>>()))
    }
}

/// How a plain key of a single column is read.
struct Plain {
    /// The column's name as JSON, with a colon: what comes before the value.
    member: Vec<u8>,
    name: String,
    is_text: bool,
}

/// Decodes the keys of one reader.
pub(super) struct Keys {
    schema: SchemaRef,
    /// `None` where the bytes themselves are the key.
    decoder: Option<JsonDecoder>,
    plain: Option<Plain>,
    data: Vec<u8>,
    spans: Vec<(u32, u32)>,
    messages: Vec<usize>,
}

/// The keys of some messages.
pub(super) struct Decoded {
    /// The primary key's columns, one row per good key.
    pub(super) batch: RecordBatch,
    /// Per message the row of its key; `None` where that is bad.
    pub(super) rows: Vec<Option<u32>>,
    /// Messages with bad keys: index, SQLSTATE, reason.
    pub(super) failures: Vec<(usize, &'static str, String)>,
}

impl Keys {
    pub(super) fn new(columns: &KeyColumns, declared: &SchemaRef) -> Result<Keys, ConnectorError> {
        let field = |column: &usize| declared.field(*column).clone().with_nullable(false);
        let fields: Vec<Field> = columns.decoded_columns().iter().map(field).collect();
        let plain = match fields.as_slice() {
            [field] => Some(Plain {
                member: format!("{{{}:", serde_json::Value::from(field.name().as_str())).into(),
                name: field.name().clone(),
                is_text: matches!(
                    field.data_type(),
                    DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
                ),
            }),
            _ => None,
        };
        let all: Vec<usize> = (0..fields.len()).collect();
        let schema = Arc::new(Schema::new(fields));
        let decoder = match columns {
            KeyColumns::Decoded(_) => Some(JsonDecoder::new(schema.clone(), &all)?),
            KeyColumns::Raw => None,
        };
        let (data, spans, messages) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Keys { schema, decoder, plain, data, spans, messages })
    }

    pub(super) fn decode(&mut self, arrivals: &Arrivals) -> Result<Decoded, ConnectorError> {
        self.data.clear();
        self.spans.clear();
        self.messages.clear();
        let mut failures = Vec::new();
        for message in 0..arrivals.len() {
            match arrivals.key(message) {
                Some(key) => {
                    let start = self.data.len();
                    object(key, self.plain.as_ref(), &mut self.data);
                    self.spans.push((start as u32, (self.data.len() - start) as u32));
                    self.messages.push(message);
                }
                None => failures.push((message, NOT_NULL_VIOLATION, "message has no key".into())),
            }
        }
        self.data.resize(self.data.len() + PADDING, 0);
        let mut rows = vec![None; arrivals.len()];
        let Some(decoder) = &mut self.decoder else {
            for (row, message) in self.messages.iter().enumerate() {
                rows[*message] = Some(row as u32);
            }
            let batch = RecordBatch::new_empty(self.schema.clone());
            return Ok(Decoded { batch, rows, failures });
        };
        let mut bad = Vec::new();
        let messages = Messages { data: &self.data, spans: &self.spans };
        let batch = decoder.decode(messages, &mut bad)?;
        let mut bad = bad.into_iter().peekable();
        let mut row = 0;
        for (index, message) in self.messages.iter().enumerate() {
            match bad.next_if(|failure| failure.message == index) {
                Some(failure) => {
                    let reason = format!("message key: {}", failure.reason);
                    failures.push((*message, failure.sqlstate, reason));
                }
                None => {
                    rows[*message] = Some(row);
                    row += 1;
                }
            }
        }
        Ok(Decoded { batch, rows, failures })
    }
}

/// Appends the key as a JSON object; what cannot be one is appended so that the decoder refuses it.
fn object(key: &[u8], plain: Option<&Plain>, out: &mut Vec<u8>) {
    let Some(plain) = plain else { return out.extend_from_slice(key) };
    let is_object = key.trim_ascii_start().first() == Some(&b'{');
    if is_object && (!plain.is_text || has_member(key, &plain.name)) {
        return out.extend_from_slice(key);
    }
    let is_json_string = key.first() == Some(&b'"') && is_json(key);
    if is_json_string || (!plain.is_text && is_json(key)) {
        out.extend_from_slice(&plain.member);
        out.extend_from_slice(key);
        return out.push(b'}');
    }
    match std::str::from_utf8(key) {
        Ok(text) => {
            out.extend_from_slice(&plain.member);
            out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
            out.push(b'}');
        }
        // The decoder says that it is not UTF-8.
        Err(_) => out.extend_from_slice(key),
    }
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

/// Whether these bytes are a JSON object with that member: else a text that happens to begin with a brace.
fn has_member(bytes: &[u8], name: &str) -> bool {
    let object = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(bytes);
    object.is_ok_and(|object| object.keys().any(|key| key.eq_ignore_ascii_case(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str, is_text: bool, expected: &str) {
        let plain = Plain { member: b"{\"id\":".to_vec(), name: "id".into(), is_text };
        let mut out = Vec::new();
        object(key.as_bytes(), Some(&plain), &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn a_plain_key_becomes_an_object_of_its_column() {
        check("42", false, r#"{"id":42}"#);
        check("42", true, r#"{"id":"42"}"#);
        check("abc", true, r#"{"id":"abc"}"#);
        check("\"abc\"", true, r#"{"id":"abc"}"#);
        check("a\"b", true, r#"{"id":"a\"b"}"#);
        check("2024-01-01", false, r#"{"id":"2024-01-01"}"#);
        check(r#"{"id":1}"#, false, r#"{"id":1}"#);
        check(r#"{"id":"x"}"#, true, r#"{"id":"x"}"#);
        check("{curly", true, r#"{"id":"{curly"}"#);
    }

    #[test]
    fn a_key_cannot_smuggle_another_member_in() {
        check(r#"1,"id":2"#, false, r#"{"id":"1,\"id\":2"}"#);
    }
}
