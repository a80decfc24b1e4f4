//! Values of any type as JSON, as PostgreSQL's to_json and to_jsonb write them.
//!
//! Numbers and booleans are JSON's, NaN and the infinities strings; dates and times are ISO 8601; arrays and records are arrays
//! and objects; everything else is its text as a string. jsonb comes out canonical.

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field};
use bytes::BytesMut;

use super::column::{Column, Values, canonical};
use super::json::{jsonb_of_text, push_json_string, push_jsonb_object};
use super::maps::map_parts;
use super::pg_type::{PgType, retyped};
use super::style::TextStyle;
use super::text_out::put_text;
use crate::error::{Error, Result};

/// Which of the two types is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonForm {
    Json,
    Jsonb,
}

/// Writes the values of a column row by row.
pub struct JsonWriter {
    node: Node,
    form: JsonForm,
    style: TextStyle,
}

impl JsonWriter {
    /// A writer for `array` with the column's `field`, as [`super::ColumnWriter::try_new`].
    pub fn try_new(
        array: &ArrayRef,
        field: &Field,
        form: JsonForm,
        style: TextStyle,
    ) -> Result<JsonWriter> {
        Ok(JsonWriter { node: Node::try_new(array, field)?, form, style })
    }

    pub fn is_null(&self, row: usize) -> bool {
        self.node.is_null(row)
    }

    /// Appends the value of a row, `null` for NULL. Errors: 22P05 where json holds what jsonb cannot.
    pub fn write(&self, row: usize, out: &mut String) -> Result<()> {
        self.put(&self.node, row, out)
    }

    fn put(&self, node: &Node, row: usize, out: &mut String) -> Result<()> {
        if node.is_null(row) {
            out.push_str("null");
            return Ok(());
        }
        match node {
            Node::List { offsets, items, .. } => {
                let range = offsets[row] as usize..offsets[row + 1] as usize;
                self.put_list(items, range, out)
            }
            Node::Map { offsets, keys, values, .. } => {
                let range = offsets[row] as usize..offsets[row + 1] as usize;
                self.put_map(keys, values, range, out)
            }
            Node::Record { names, columns, .. } => self.put_record(names, columns, row, out),
            Node::Leaf { column, kind } => self.put_leaf(column, *kind, row, out),
        }
    }

    fn put_list(
        &self,
        items: &Node,
        range: std::ops::Range<usize>,
        out: &mut String,
    ) -> Result<()> {
        let between = match self.form {
            JsonForm::Json => ",",
            JsonForm::Jsonb => ", ",
        };
        let start = range.start;
        out.push('[');
        for at in range {
            out.push_str(if at > start { between } else { "" });
            self.put(items, at, out)?;
        }
        out.push(']');
        Ok(())
    }

    /// An object whose names are the texts of the keys.
    fn put_map(
        &self,
        keys: &Column,
        values: &Node,
        range: std::ops::Range<usize>,
        out: &mut String,
    ) -> Result<()> {
        let mut members = Vec::with_capacity(range.len());
        for at in range {
            let (mut name, mut value) = (BytesMut::new(), String::new());
            put_text(keys, at, &self.style, &mut name);
            self.put(values, at, &mut value)?;
            members.push((String::from_utf8_lossy(&name).into_owned(), value));
        }
        if self.form == JsonForm::Jsonb {
            let members = members.iter();
            push_jsonb_object(members.map(|(name, value)| (name.into(), value.as_str())), out);
            return Ok(());
        }
        out.push('{');
        for (at, (name, value)) in members.iter().enumerate() {
            out.push_str(if at > 0 { "," } else { "" });
            push_json_string(name, out);
            out.push(':');
            out.push_str(value);
        }
        out.push('}');
        Ok(())
    }

    fn put_record(
        &self,
        names: &[String],
        columns: &[Node],
        row: usize,
        out: &mut String,
    ) -> Result<()> {
        if self.form == JsonForm::Jsonb {
            let mut values = Vec::with_capacity(columns.len());
            for column in columns {
                let mut value = String::new();
                self.put(column, row, &mut value)?;
                values.push(value);
            }
            let members = names.iter().zip(&values);
            push_jsonb_object(members.map(|(name, value)| (name.into(), value.as_str())), out);
            return Ok(());
        }
        out.push('{');
        for (at, (name, column)) in names.iter().zip(columns).enumerate() {
            out.push_str(if at > 0 { "," } else { "" });
            push_json_string(name, out);
            out.push(':');
            self.put(column, row, out)?;
        }
        out.push('}');
        Ok(())
    }

    fn put_leaf(&self, column: &Column, kind: Leaf, row: usize, out: &mut String) -> Result<()> {
        if let (Leaf::Boolean, Values::Bool(values)) = (kind, &column.values) {
            out.push_str(if values.value(row) { "true" } else { "false" });
            return Ok(());
        }
        let mut text = BytesMut::new();
        put_text(column, row, &self.style, &mut text);
        let text = std::str::from_utf8(&text).expect("writers emit UTF-8 only");
        match (kind, self.form) {
            // NaN and the infinities.
            (Leaf::Number, _) if text.ends_with(['N', 'y']) => push_json_string(text, out),
            (Leaf::Number, JsonForm::Jsonb) if text.contains('e') => {
                out.push_str(&jsonb_of_text(text)?);
            }
            (Leaf::Number | Leaf::Jsonb, _) | (Leaf::Json, JsonForm::Json) => out.push_str(text),
            (Leaf::Json, JsonForm::Jsonb) => out.push_str(&jsonb_of_text(text)?),
            (Leaf::Timestamp, _) => push_json_string(&iso(text), out),
            (Leaf::Text | Leaf::Boolean, _) => push_json_string(text, out),
        }
        Ok(())
    }
}

/// `2020-01-02 03:04:05+00` as `2020-01-02T03:04:05+00:00`.
fn iso(text: &str) -> String {
    let Some((date, time)) = text.split_once(' ') else { return text.to_owned() };
    // The year may be before Christ: ` BC` follows the time.
    let (time, era) = time.split_once(' ').map_or((time, ""), |(time, _)| (time, " BC"));
    let zone = time.rfind(['+', '-']).map_or("", |at| &time[at..]);
    let minutes = if zone.is_empty() || zone.contains(':') { "" } else { ":00" };
    format!("{date}T{time}{minutes}{era}")
}

/// How the value of a type without parts is written.
#[derive(Clone, Copy)]
enum Leaf {
    Boolean,
    Number,
    Jsonb,
    Json,
    Timestamp,
    Text,
}

impl Leaf {
    fn of(pg_type: &PgType) -> Leaf {
        match pg_type.name {
            "bool" => Leaf::Boolean,
            "int2" | "int4" | "int8" | "float4" | "float8" | "numeric" => Leaf::Number,
            "jsonb" => Leaf::Jsonb,
            "json" => Leaf::Json,
            "timestamp" | "timestamptz" => Leaf::Timestamp,
            _ => Leaf::Text,
        }
    }
}

enum Node {
    Leaf { column: Column, kind: Leaf },
    List { nulls: Option<NullBuffer>, offsets: OffsetBuffer<i32>, items: Box<Node> },
    Map { nulls: Option<NullBuffer>, offsets: OffsetBuffer<i32>, keys: Column, values: Box<Node> },
    Record { nulls: Option<NullBuffer>, names: Vec<String>, columns: Vec<Node> },
}

impl Node {
    fn try_new(array: &ArrayRef, field: &Field) -> Result<Node> {
        let array = canonical(array)?;
        let field = retyped(field, array.data_type());
        let nulls = array.nulls().cloned();
        match field.data_type() {
            DataType::List(_) if map_parts(&field).is_some() => {
                let list = array.as_list::<i32>();
                let (entries, offsets) = (list.values().as_struct(), list.offsets().clone());
                let Some((key, value)) = map_parts(&field) else {
                    return Err(Error::internal("a map has keys and values"));
                };
                let keys = Column::try_new(entries.column(0), key)?;
                let values = Box::new(Node::try_new(entries.column(1), value)?);
                Ok(Node::Map { nulls, offsets, keys, values })
            }
            DataType::List(item) => {
                let list = array.as_list::<i32>();
                let items = Box::new(Node::try_new(list.values(), item)?);
                Ok(Node::List { nulls, offsets: list.offsets().clone(), items })
            }
            DataType::Struct(fields) => {
                let columns = array.as_struct().columns().iter().zip(fields);
                let columns = columns.map(|(c, f)| Node::try_new(c, f)).collect::<Result<_>>()?;
                let names = fields.iter().map(|f| f.name().clone()).collect();
                Ok(Node::Record { nulls, names, columns })
            }
            _ => {
                let column = Column::try_new(&array, &field)?;
                let kind = Leaf::of(column.pg_type);
                Ok(Node::Leaf { column, kind })
            }
        }
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Node::Leaf { column, .. } => column.is_null(row),
            Node::List { nulls, .. } | Node::Map { nulls, .. } | Node::Record { nulls, .. } => {
                nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
            }
        }
    }
}
