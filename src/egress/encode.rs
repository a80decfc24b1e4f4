//! What a sink's messages look like: changes as JSON or CSV, under the key of their row.
//!
//! [`Shape::messages`] makes one message of each row that came (PLAIN) or of each key that changed (UPSERT, DEBEZIUM). Values are
//! written as PostgreSQL's to_json has them; events take bytea and jsonb as Debezium writes them, base64 and text.

use std::fmt::Write;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, SchemaRef};
use bytes::BytesMut;
use tidewater_connectors::sink::Outgoing;

use super::parquet::Compression;
use crate::change::ChangeBatch;
use crate::error::{Error, Result, SqlState};
use crate::operators::group_index::GroupIndex;
use crate::types::{ColumnWriter, TextStyle, map_parts, type_marker};

/// How changes become messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Each row that comes is a message; what goes is left out.
    Plain,
    /// A key's new row, or nothing where it has gone.
    Upsert,
    /// An event with the rows before and after.
    Debezium,
}

/// How a row is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowEncoding {
    Json,
    Csv,
    /// Files only.
    Parquet(Compression),
}

/// How a key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEncoding {
    Json,
    /// The text of the only column.
    Text,
}

/// What the messages of a sink look like.
#[derive(Clone, Debug)]
pub struct Shape {
    pub name: String,
    pub schema: SchemaRef,
    /// The columns of a message's key; empty for messages without.
    pub key: Vec<usize>,
    pub format: Format,
    pub encoding: RowEncoding,
    pub key_encoding: KeyEncoding,
}

/// What became of one key: the numbers of its first row before and its last one after, and of one that came and went.
#[derive(Clone, Copy, Default)]
struct Turn {
    before: Option<usize>,
    after: Option<usize>,
    gone: Option<usize>,
}

impl Shape {
    /// The columns that identify a row; none where rows are only ever added.
    pub fn row_key(&self) -> Vec<usize> {
        if self.format == Format::Plain { vec![] } else { self.key.clone() }
    }

    /// The messages of changes, those of a key in their order. 21000 where a key has two rows.
    pub fn messages(&self, change: &ChangeBatch) -> Result<Outgoing> {
        let mut out = Outgoing::default();
        let rows = Rows::new(self, change.rows())?;
        let style = TextStyle::default();
        let value = |row: usize, out: &mut Vec<u8>| rows.put_row(row, &style, out);
        if self.format == Format::Plain {
            for (row, &weight) in change.weights.iter().enumerate() {
                for _ in 0..weight.max(0) {
                    out.push(|out| rows.put_key(row, &style, out), |out| value(row, out));
                }
            }
            return Ok(out);
        }
        for turn in self.turns(change)? {
            let Some(of) = turn.after.or(turn.before).or(turn.gone) else { continue };
            let key = |out: &mut Vec<u8>| rows.put_key(of, &style, out);
            if self.format == Format::Debezium {
                out.push(key, |out| rows.put_event(turn, &style, out));
            }
            match (self.format, turn.after) {
                (Format::Upsert, Some(after)) => out.push(key, |out| value(after, out)),
                // Behind an event it lets the topic's compaction forget the key.
                (_, None) => out.push(key, |_| false),
                (Format::Debezium | Format::Plain, Some(_)) => {}
            }
        }
        Ok(out)
    }

    /// What became of each key, in the order in which keys first come.
    fn turns(&self, change: &ChangeBatch) -> Result<Vec<Turn>> {
        let columns: Vec<ArrayRef> =
            self.key.iter().map(|&column| change.rows().column(column).clone()).collect();
        let types: Vec<DataType> = columns.iter().map(|c| c.data_type().clone()).collect();
        let mut groups = vec![];
        GroupIndex::bitwise(&types)?.intern(&columns, change.len(), &mut groups)?;
        let mut turns: Vec<Turn> = vec![];
        for (row, (&group, &weight)) in groups.iter().zip(change.weights.iter()).enumerate() {
            let group = group as usize;
            if group == turns.len() {
                turns.push(Turn::default());
            }
            let turn = &mut turns[group];
            let is_first = (turn.before, turn.after, turn.gone) == (None, None, None);
            let is_second = match weight {
                1 => turn.after.replace(row).is_some(),
                -1 => {
                    turn.before = turn.before.or(is_first.then_some(row));
                    (turn.after, turn.gone) = (None, Some(row));
                    false
                }
                _ => true,
            };
            if is_second {
                let names = self.key.iter().map(|&c| self.schema.field(c).name().as_str());
                let names = names.collect::<Vec<_>>().join(", ");
                let message = format!("two rows have the same primary key ({names})");
                return Err(Error::new(SqlState::CARDINALITY_VIOLATION, message));
            }
        }
        Ok(turns)
    }
}

/// The rows of one batch, ready to be written.
pub(super) struct Rows<'a> {
    shape: &'a Shape,
    columns: Vec<Cells>,
    /// `"name":` of each column.
    members: Vec<String>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(shape: &'a Shape, batch: &RecordBatch) -> Result<Rows<'a>> {
        let fields = shape.schema.fields().iter();
        let columns = batch.columns().iter().zip(fields.clone());
        let events = shape.format == Format::Debezium;
        let columns = columns
            .map(|(array, field)| Cells::new(array, field, events))
            .collect::<Result<_>>()?;
        let member = |field: &std::sync::Arc<Field>| {
            let mut name = String::new();
            put_string(field.name(), &mut name);
            name + ":"
        };
        Ok(Rows { shape, columns, members: fields.map(member).collect() })
    }

    pub(super) fn put_row(&self, row: usize, style: &TextStyle, out: &mut Vec<u8>) -> bool {
        match self.shape.encoding {
            RowEncoding::Json => self.put_object(0..self.columns.len(), row, style, out),
            RowEncoding::Csv => self.put_csv(row, style, out),
            // A file has rows; a row alone has no bytes.
            RowEncoding::Parquet(_) => return false,
        }
        true
    }

    fn put_object(
        &self,
        columns: impl Iterator<Item = usize>,
        row: usize,
        style: &TextStyle,
        out: &mut Vec<u8>,
    ) {
        let mut text = String::from("{");
        for column in columns {
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(&self.members[column]);
            self.columns[column].put(row, style, &mut text);
        }
        text.push('}');
        out.extend_from_slice(text.as_bytes());
    }

    fn put_csv(&self, row: usize, style: &TextStyle, out: &mut Vec<u8>) {
        let mut value = BytesMut::new();
        for (at, column) in self.columns.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            if column.writer.is_null(row) {
                continue;
            }
            value.clear();
            column.writer.write_text(row, style, &mut value);
            let special = |b: &u8| matches!(b, b',' | b'"' | b'\n' | b'\r');
            if value.is_empty() || value.iter().any(special) {
                out.push(b'"');
                for &b in value.iter() {
                    if b == b'"' {
                        out.push(b'"');
                    }
                    out.push(b);
                }
                out.push(b'"');
            } else {
                out.extend_from_slice(&value);
            }
        }
    }

    /// False for messages without key.
    fn put_key(&self, row: usize, style: &TextStyle, out: &mut Vec<u8>) -> bool {
        match (self.shape.key.as_slice(), self.shape.key_encoding) {
            ([], _) => return false,
            (&[column], KeyEncoding::Text) => {
                let mut text = BytesMut::new();
                self.columns[column].writer.write_text(row, style, &mut text);
                out.extend_from_slice(&text);
            }
            (key, _) => self.put_object(key.iter().copied(), row, style, out),
        }
        true
    }

    fn put_event(&self, turn: Turn, style: &TextStyle, out: &mut Vec<u8>) -> bool {
        // A key that came and went is gone, whoever has seen it.
        let before = turn.before.or(turn.gone.filter(|_| turn.after.is_none()));
        let mut side = |name: &str, row: Option<usize>| {
            out.extend_from_slice(name.as_bytes());
            match row {
                Some(row) => drop(self.put_row(row, style, out)),
                None => out.extend_from_slice(b"null"),
            }
        };
        side("{\"before\":", before);
        side(",\"after\":", turn.after);
        let op = match (before, turn.after) {
            (None, _) => 'c',
            (Some(_), Some(_)) => 'u',
            (Some(_), None) => 'd',
        };
        let mut name = String::new();
        put_string(&self.shape.name, &mut name);
        let end = format!(
            ",\"op\":\"{op}\",\"source\":{{\"connector\":\"tidewater\",\"name\":{name}}}}}"
        );
        out.extend_from_slice(end.as_bytes());
        true
    }
}

/// What a value looks like in JSON.
enum Look {
    /// As its text.
    Bare,
    /// A number, but for those that JSON has not.
    Float,
    Quoted,
    /// PostgreSQL's text with T between date and time, and minutes in the zone.
    Moment,
    /// Bytes in base64.
    Base64,
    List {
        offsets: Vec<i32>,
        items: Box<Cells>,
    },
    /// An object whose names are keys; the entries are pairs.
    Map {
        offsets: Vec<i32>,
        entries: Box<Cells>,
    },
    Struct(Vec<(String, Cells)>),
}

/// One column of a batch.
struct Cells {
    writer: ColumnWriter,
    array: ArrayRef,
    look: Look,
}

impl Cells {
    fn new(array: &ArrayRef, field: &Field, events: bool) -> Result<Cells> {
        let look = match array.data_type() {
            DataType::Boolean => Look::Bare,
            data_type if data_type.is_floating() => Look::Float,
            data_type if data_type.is_integer() => Look::Bare,
            DataType::Decimal128(..) | DataType::Decimal256(..) => Look::Float,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
                if matches!(type_marker(field), Some("jsonb" | "json")) && !events =>
            {
                Look::Bare
            }
            DataType::Timestamp(..) => Look::Moment,
            DataType::Binary if events => Look::Base64,
            DataType::List(_) if map_parts(field).is_some() => {
                let list = array.as_list::<i32>();
                let entries: ArrayRef = list.values().clone();
                let item = Field::new("item", entries.data_type().clone(), true);
                let entries = Box::new(Cells::new(&entries, &item, events)?);
                Look::Map { offsets: list.offsets().to_vec(), entries }
            }
            DataType::List(item) => {
                let list = array.as_list::<i32>();
                let items = Box::new(Cells::new(list.values(), item, events)?);
                Look::List { offsets: list.offsets().to_vec(), items }
            }
            DataType::Struct(fields) => {
                let columns = array.as_struct().columns().iter().zip(fields);
                let member = |(array, field): (&ArrayRef, &std::sync::Arc<Field>)| {
                    Ok((field.name().clone(), Cells::new(array, field, events)?))
                };
                Look::Struct(columns.map(member).collect::<Result<_>>()?)
            }
            _ => Look::Quoted,
        };
        Ok(Cells { writer: ColumnWriter::try_new(array, field)?, array: array.clone(), look })
    }

    fn put(&self, row: usize, style: &TextStyle, out: &mut String) {
        if self.writer.is_null(row) {
            return out.push_str("null");
        }
        match &self.look {
            Look::List { offsets, items } => {
                out.push('[');
                for item in offsets[row]..offsets[row + 1] {
                    if item > offsets[row] {
                        out.push(',');
                    }
                    items.put(item as usize, style, out);
                }
                out.push(']');
            }
            Look::Map { offsets, entries } => {
                out.push('{');
                let Look::Struct(parts) = &entries.look else { return };
                let [(_, keys), (_, values)] = parts.as_slice() else { return };
                for entry in offsets[row]..offsets[row + 1] {
                    if entry > offsets[row] {
                        out.push(',');
                    }
                    let mut name = BytesMut::new();
                    keys.writer.write_text(entry as usize, style, &mut name);
                    put_string(&String::from_utf8_lossy(&name), out);
                    out.push(':');
                    values.put(entry as usize, style, out);
                }
                out.push('}');
            }
            Look::Struct(members) => {
                out.push('{');
                for (at, (name, cells)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    put_string(name, out);
                    out.push(':');
                    cells.put(row, style, out);
                }
                out.push('}');
            }
            Look::Base64 => put_base64(self.array.as_binary::<i32>().value(row), out),
            Look::Bare | Look::Float | Look::Quoted | Look::Moment => {
                let mut text = BytesMut::new();
                self.writer.write_text(row, style, &mut text);
                let text = String::from_utf8_lossy(&text);
                match &self.look {
                    Look::Bare if self.array.data_type() == &DataType::Boolean => {
                        out.push_str(if text == "t" { "true" } else { "false" });
                    }
                    Look::Bare => out.push_str(&text),
                    Look::Float if text.bytes().all(|b| !b.is_ascii_alphabetic() || b == b'e') => {
                        out.push_str(&text);
                    }
                    Look::Moment => {
                        let zone = if text.ends_with("+00") { ":00" } else { "" };
                        put_string(&(text.replacen(' ', "T", 1) + zone), out);
                    }
                    _ => put_string(&text, out),
                }
            }
        }
    }
}

/// A JSON string.
fn put_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn put_base64(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.push('"');
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, b| bits << 8 | u32::from(*b));
        let bits = bits << (8 * (3 - three.len()));
        for n in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * n) & 63) as usize];
            out.push(if n <= three.len() { char::from(digit) } else { '=' });
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow_array::{
        BinaryArray, BooleanArray, Float64Array, Int32Array, StringArray, TimestampMicrosecondArray,
    };
    use arrow_schema::{Schema, TimeUnit};

    use super::*;

    fn shape(schema: SchemaRef, format: Format) -> Shape {
        let (encoding, key_encoding) = (RowEncoding::Json, KeyEncoding::Json);
        Shape { name: "s".into(), schema, key: vec![0], format, encoding, key_encoding }
    }

    fn texts(outgoing: &Outgoing) -> Vec<String> {
        let text = |part: Option<&[u8]>| {
            part.map_or("-".to_owned(), |part| String::from_utf8(part.to_vec()).unwrap())
        };
        outgoing.iter().map(|(key, value)| format!("{} {}", text(key), text(value))).collect()
    }

    fn changes(rows: &[(i32, &str, i64)]) -> (SchemaRef, ChangeBatch) {
        let fields = vec![
            Field::new("id", DataType::Int32, false),
            Field::new("name", DataType::Utf8, true),
        ];
        let schema = Arc::new(Schema::new(fields));
        let ids = Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.0)));
        let names = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1)));
        let batch = RecordBatch::try_new(schema.clone(), vec![ids, names]).unwrap();
        let weights: Vec<i64> = rows.iter().map(|row| row.2).collect();
        (schema, ChangeBatch::new(batch, weights))
    }

    #[test]
    fn a_key_is_one_message_whatever_happened_to_it() {
        let (schema, change) =
            changes(&[(1, "old", -1), (2, "gone", -1), (3, "b", 1), (1, "new", 1)]);
        let upserts = shape(schema.clone(), Format::Upsert).messages(&change).unwrap();
        let expected = [
            "{\"id\":1} {\"id\":1,\"name\":\"new\"}",
            "{\"id\":2} -",
            "{\"id\":3} {\"id\":3,\"name\":\"b\"}",
        ];
        assert_eq!(texts(&upserts), expected);
        let events = texts(&shape(schema, Format::Debezium).messages(&change).unwrap());
        assert_eq!(events.len(), 4);
        assert!(
            events[0].starts_with(
                "{\"id\":1} {\"before\":{\"id\":1,\"name\":\"old\"},\"after\":{\"id\":1"
            )
        );
        assert!(events[0].contains("\"op\":\"u\""));
        assert!(events[1].contains("\"after\":null,\"op\":\"d\""));
        assert_eq!(events[2], "{\"id\":2} -");
        assert!(events[3].contains("\"before\":null"));
    }

    #[test]
    fn a_key_with_two_rows_is_an_error_and_no_overwriting() {
        let (schema, change) = changes(&[(1, "a", 1), (1, "b", 1)]);
        let error = shape(schema.clone(), Format::Upsert).messages(&change).unwrap_err();
        assert_eq!(error.message, "two rows have the same primary key (id)");
        let (_, change) = changes(&[(1, "a", 2)]);
        assert!(shape(schema.clone(), Format::Upsert).messages(&change).is_err());
        let plain = shape(schema, Format::Plain).messages(&change).unwrap();
        assert_eq!(plain.len(), 2);
    }

    #[test]
    fn values_are_written_as_to_json_has_them() {
        let jsonb = Field::new("j", DataType::Utf8, true)
            .with_metadata([("tidewater.type".into(), "jsonb".into())].into());
        let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
        let columns: Vec<(Field, ArrayRef)> = vec![
            (
                Field::new("a\"", DataType::Float64, true),
                Arc::new(Float64Array::from(vec![f64::NAN])),
            ),
            (Field::new("b", DataType::Boolean, true), Arc::new(BooleanArray::from(vec![true]))),
            (jsonb, Arc::new(StringArray::from(vec!["{\"k\": 1}"]))),
            (
                Field::new("t", micros, true),
                Arc::new(TimestampMicrosecondArray::from(vec![1_500_000]).with_timezone("+00:00")),
            ),
            (
                Field::new("x", DataType::Binary, true),
                Arc::new(BinaryArray::from(vec![&b"\x00\xff"[..]])),
            ),
            (Field::new("s", DataType::Utf8, true), Arc::new(StringArray::from(vec!["a\n\u{1}é"]))),
        ];
        let schema = Arc::new(Schema::new(
            columns.iter().map(|(field, _)| field.clone()).collect::<Vec<_>>(),
        ));
        let arrays = columns.into_iter().map(|(_, array)| array).collect();
        let change = ChangeBatch::inserts(RecordBatch::try_new(schema.clone(), arrays).unwrap());
        let text = |format| {
            let shape = Shape { key: vec![], ..shape(schema.clone(), format) };
            texts(&shape.messages(&change).unwrap())
        };
        let expected = r#"- {"a\"":"NaN","b":true,"j":{"k": 1},"t":"1970-01-01T00:00:01.5+00:00","x":"\\x00ff","s":"a\n\u0001é"}"#;
        assert_eq!(text(Format::Plain), [expected]);
    }
}
