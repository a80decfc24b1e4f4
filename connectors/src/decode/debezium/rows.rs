//! The rows of events as the JSON that columns are read from.
//!
//! Debezium writes some types as JSON that does not tell what it is: a decimal as the bytes of its digits, a time as a number
//! of some unit, json as a string. What a value is says its field's description, where the message has one; else the declared
//! column and the [`Modes`] say it. Everything else is left as it is, and a row in which nothing is to be done is copied.
//!
//! | written as | read by |
//! | --- | --- |
//! | bytes (base64) with a scale: `Decimal`, `VariableScaleDecimal` | numeric and any other column, as the number's text |
//! | number of milli-, micro- or nanoseconds: `Timestamp`, `MicroTimestamp`, `NanoTimestamp` | timestamp, with or without time zone |
//! | number of days: `Date` | date; timestamp |
//! | number of milli-, micro- or nanoseconds: `Time`, `MicroTime`, `NanoTime` | time |
//! | number of microseconds: `MicroDuration` | interval |
//! | bytes (base64) | bytea |
//! | text with JSON in it: `Json` | jsonb |
//! | 0, 1 (MySQL's tinyint(1)) | boolean |
//!
//! Without a description a timestamp's unit is told by its size among milli-, micro- and nanoseconds: milliseconds are right up
//! to the year 5138, microseconds from 1973 on.

use std::collections::HashMap;

use arrow_schema::{DataType, Schema};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Description;

use super::super::json::cursor::{Cursor, Fault, Value};
use crate::contract::ConnectorError;
use crate::decode::{Messages, PADDING};
use crate::options::Options;
use crate::types::{self, INVALID_TEXT, Invalid, Number, OUT_OF_RANGE, is_jsonb};

/// What stands for a large value that an update has left alone and the database therefore did not log.
const UNAVAILABLE: &[u8] = b"\"__debezium_unavailable_value\"";
/// The same in base64, of a bytea column.
const UNAVAILABLE_BYTES: &[u8] = b"\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\"";
/// Descriptions remembered: a topic has one, and for a while two when its table was changed.
const DESCRIPTIONS_MAX: usize = 4;
/// A scale beyond this is no decimal's of any database.
const SCALE_MAX: i64 = 1_000;
/// Numbers below this are milliseconds, below the next microseconds, where nothing else says so.
const MILLIS_BELOW: u64 = 100_000_000_000_000;
const MICROS_BELOW: u64 = 100_000_000_000_000_000;

/// How values without a description are to be read: the options of ENCODE JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    /// Decimals are bytes of the declared scale; else text or numbers.
    pub decimals_are_bytes: bool,
    /// Units per second of a timestamp; `None`: told by the size.
    pub timestamp_per_second: Option<i64>,
    /// Units per second of a time; `None`: microseconds.
    pub time_per_second: Option<i64>,
    /// Bytes are in hexadecimal; else in base64.
    pub bytes_are_hex: bool,
}

const UNITS: &[&str] = &["milli", "micro", "nano"];

impl Modes {
    pub const OPTIONS: &[&str] = &[
        "decimal.handling.mode",
        "timestamp.handling.mode",
        "time.handling.mode",
        "binary.handling.mode",
    ];

    /// Reads the options of ENCODE JSON.
    pub fn new(options: &Options) -> Result<Modes, ConnectorError> {
        options.check_known("FORMAT DEBEZIUM ENCODE JSON", Self::OPTIONS)?;
        let per_second = |unit: usize| [1_000, 1_000_000, 1_000_000_000][unit];
        let decimals = options.choice(Self::OPTIONS[0], &["precise", "string", "double"])?;
        let guess = [UNITS, &["guess_number"]].concat();
        let timestamp = options.choice(Self::OPTIONS[1], &guess)?;
        let time = options.choice(Self::OPTIONS[2], UNITS)?;
        let bytes = options.choice(Self::OPTIONS[3], &["bytes", "base64", "hex"])?;
        Ok(Modes {
            decimals_are_bytes: decimals == Some(0),
            timestamp_per_second: timestamp.filter(|unit| *unit < UNITS.len()).map(per_second),
            time_per_second: time.map(per_second),
            bytes_are_hex: bytes == Some(2),
        })
    }
}

/// How a value is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reading {
    Decimal {
        scale: i64,
    },
    /// `{"scale": n, "value": bytes}`.
    VariableScale,
    Bytes {
        hex: bool,
    },
    JsonText,
    Boolean,
    /// `None`: by size.
    Timestamp {
        per_second: Option<i64>,
    },
    Days,
    Time {
        per_second: i64,
    },
    Duration,
    List(Box<Reading>),
}

/// A row's text within a message.
#[derive(Clone, Copy)]
pub(super) enum RowText<'a> {
    /// A member of an event with the event's description.
    Event(&'static str, Option<&'a [u8]>),
    /// A message's key with its own description.
    Key(Option<&'a [u8]>),
}

/// Texts of rows, ready for the decoder.
pub(super) struct TextRows {
    columns: Vec<Column>,
    exact: HashMap<String, usize>,
    lowercase: HashMap<String, usize>,
    /// Per column, where messages do not describe their fields.
    undescribed: Readings,
    described: Vec<(Vec<u8>, Readings)>,
    data: Vec<u8>,
    spans: Vec<(u32, u32)>,
}

struct Column {
    name: String,
    data_type: DataType,
    is_jsonb: bool,
}

/// Per column how its values are read, `None` where as they stand.
type Readings = Vec<Option<Reading>>;

impl TextRows {
    pub fn new(schema: &Schema, modes: &Modes) -> TextRows {
        let columns: Vec<Column> = schema
            .fields()
            .iter()
            .map(|field| Column {
                name: field.name().clone(),
                data_type: field.data_type().clone(),
                is_jsonb: is_jsonb(field),
            })
            .collect();
        let mut lowercase = HashMap::new();
        for (at, column) in columns.iter().enumerate() {
            lowercase.entry(column.name.to_lowercase()).or_insert(at);
        }
        let exact = columns.iter().enumerate().rev().map(|(at, c)| (c.name.clone(), at)).collect();
        let undescribed =
            columns.iter().map(|c| undescribed(&c.data_type, c.is_jsonb, modes)).collect();
        let (described, data, spans) = (vec![], vec![], vec![]);
        TextRows { columns, exact, lowercase, undescribed, described, data, spans }
    }

    pub fn clear(&mut self) {
        self.data.clear();
        self.spans.clear();
    }

    pub fn len(&self) -> usize {
        self.spans.len()
    }

    pub fn truncate(&mut self, rows: usize) {
        self.spans.truncate(rows);
        self.data.truncate(self.spans.last().map_or(0, |(start, len)| (start + len) as usize));
    }

    /// All texts, with the room behind them that decoders want.
    pub fn messages(&mut self) -> Messages<'_> {
        self.data.resize(self.data.len() + PADDING, 0);
        Messages { data: &self.data, spans: &self.spans }
    }

    /// Keeps a row's text, a JSON object; returns its number.
    pub fn push(&mut self, text: &[u8], of: RowText<'_>) -> Result<u32, Fault> {
        if contains(text, UNAVAILABLE) || contains(text, UNAVAILABLE_BYTES) {
            let reason = "a large value that the update has left alone is not in the event: the \
                          database logs it under REPLICA IDENTITY FULL only";
            return Err(Fault { sqlstate: "55000", reason: reason.to_owned() });
        }
        let start = self.data.len();
        let readings = self.readings(of);
        if self.readings_of(readings).iter().all(Option::is_none) {
            self.data.extend_from_slice(text);
        } else {
            let mut data = std::mem::take(&mut self.data);
            let outcome = self.rewrite(text, self.readings_of(readings), &mut data);
            if outcome.is_err() {
                data.truncate(start);
            }
            self.data = data;
            outcome?;
        }
        self.spans.push((start as u32, (self.data.len() - start) as u32));
        Ok((self.spans.len() - 1) as u32)
    }

    fn readings_of(&self, described: Option<usize>) -> &Readings {
        described.map_or(&self.undescribed, |at| &self.described[at].1)
    }

    /// Which of the descriptions applies; reads it where it is new.
    fn readings(&mut self, of: RowText<'_>) -> Option<usize> {
        let (RowText::Event(_, schema) | RowText::Key(schema)) = of;
        let schema = schema?;
        if let Some(at) = self.described.iter().position(|(known, _)| known == schema) {
            return Some(at);
        }
        let description: Description = serde_json::from_slice(schema).ok()?;
        let fields = match of {
            RowText::Event(member, _) => {
                let field = description["fields"].as_array()?.iter().find(|f| f["field"] == member);
                field?["fields"].as_array()?
            }
            RowText::Key(_) => description["fields"].as_array()?,
        };
        let mut readings = vec![None; self.columns.len()];
        for field in fields {
            let Some(column) = field["field"].as_str().and_then(|name| self.column(name)) else {
                continue;
            };
            let of = &self.columns[column];
            readings[column] = described(field, &of.data_type, of.is_jsonb)
                .or_else(|| self.undescribed[column].clone().filter(needs_no_description));
        }
        if self.described.len() == DESCRIPTIONS_MAX {
            self.described.remove(0);
        }
        self.described.push((schema.to_vec(), readings));
        Some(self.described.len() - 1)
    }

    fn column(&self, name: &str) -> Option<usize> {
        self.exact.get(name).or_else(|| self.lowercase.get(&name.to_lowercase())).copied()
    }

    fn rewrite(&self, text: &[u8], readings: &Readings, out: &mut Vec<u8>) -> Result<(), Fault> {
        let mut cursor = Cursor::new(text);
        let mut copied = 0;
        let mut more = cursor.enter(b'{', b'}')?;
        while more {
            let key = cursor.key()?;
            let column = self.column(key.characters(&mut String::new()));
            match column.and_then(|column| Some((column, readings[column].as_ref()?))) {
                Some((column, reading)) => {
                    out.extend_from_slice(&text[copied..cursor.at]);
                    reading
                        .write(&mut cursor, out)
                        .map_err(|wrong| wrong.in_column(&self.columns[column].name))?;
                    copied = cursor.at;
                }
                None => drop(cursor.value(0)?),
            }
            more = cursor.another(b'}')?;
        }
        out.extend_from_slice(&text[copied..]);
        Ok(())
    }
}

fn contains(text: &[u8], what: &[u8]) -> bool {
    memchr::memmem::find(text, what).is_some()
}

/// What a column of this type takes in events that do not describe their fields.
fn undescribed(data_type: &DataType, is_jsonb: bool, modes: &Modes) -> Option<Reading> {
    match data_type {
        DataType::Boolean => Some(Reading::Boolean),
        DataType::Utf8 if is_jsonb => Some(Reading::JsonText),
        DataType::Binary => Some(Reading::Bytes { hex: modes.bytes_are_hex }),
        DataType::Decimal128(_, scale) if modes.decimals_are_bytes => {
            Some(Reading::Decimal { scale: i64::from(*scale) })
        }
        DataType::Timestamp(..) => {
            Some(Reading::Timestamp { per_second: modes.timestamp_per_second })
        }
        DataType::Time64(_) => modes.time_per_second.map(|per_second| Reading::Time { per_second }),
        DataType::List(item) => undescribed(item.data_type(), self::is_jsonb(item), modes)
            .map(|item| Reading::List(Box::new(item))),
        _ => None,
    }
}

/// What also holds for a described field that has no name of its own.
fn needs_no_description(reading: &Reading) -> bool {
    match reading {
        Reading::Boolean | Reading::Bytes { .. } | Reading::JsonText => true,
        Reading::List(item) => needs_no_description(item),
        Reading::Decimal { .. }
        | Reading::VariableScale
        | Reading::Timestamp { .. }
        | Reading::Days
        | Reading::Time { .. }
        | Reading::Duration => false,
    }
}

/// What a field's description says of values for a column of this type.
fn described(field: &Description, data_type: &DataType, is_jsonb: bool) -> Option<Reading> {
    let of_timestamp = matches!(data_type, DataType::Timestamp(..));
    let of_time = matches!(data_type, DataType::Time64(_));
    let timestamp =
        |per_second| of_timestamp.then_some(Reading::Timestamp { per_second: Some(per_second) });
    let time = |per_second| of_time.then_some(Reading::Time { per_second });
    match field["name"].as_str().unwrap_or_default() {
        "org.apache.kafka.connect.data.Decimal" => {
            let scale = field["parameters"]["scale"].as_str()?.parse().ok()?;
            Some(Reading::Decimal { scale })
        }
        "io.debezium.data.VariableScaleDecimal" => Some(Reading::VariableScale),
        "io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp" => {
            timestamp(1_000)
        }
        "io.debezium.time.MicroTimestamp" => timestamp(1_000_000),
        "io.debezium.time.NanoTimestamp" => timestamp(1_000_000_000),
        "io.debezium.time.Time" | "org.apache.kafka.connect.data.Time" => time(1_000),
        "io.debezium.time.MicroTime" => time(1_000_000),
        "io.debezium.time.NanoTime" => time(1_000_000_000),
        "io.debezium.time.Date" | "org.apache.kafka.connect.data.Date" => {
            of_timestamp.then_some(Reading::Days)
        }
        "io.debezium.time.MicroDuration" => {
            matches!(data_type, DataType::Interval(_)).then_some(Reading::Duration)
        }
        "io.debezium.data.Json" => is_jsonb.then_some(Reading::JsonText),
        _ => match (field["type"].as_str(), data_type) {
            (Some("bytes"), DataType::Binary) => Some(Reading::Bytes { hex: false }),
            (Some("array"), DataType::List(item)) => {
                described(&field["items"], item.data_type(), self::is_jsonb(item))
                    .map(|item| Reading::List(Box::new(item)))
            }
            _ => None,
        },
    }
}

/// Why a value could not be read.
enum Wrong {
    Fault(Fault),
    Invalid(Invalid),
}

impl Wrong {
    fn in_column(self, name: &str) -> Fault {
        match self {
            Wrong::Fault(fault) => fault,
            Wrong::Invalid(invalid) => Fault::in_column(name, invalid),
        }
    }
}

impl From<Fault> for Wrong {
    fn from(fault: Fault) -> Wrong {
        Wrong::Fault(fault)
    }
}

impl From<Invalid> for Wrong {
    fn from(invalid: Invalid) -> Wrong {
        Wrong::Invalid(invalid)
    }
}

impl Reading {
    /// Passes over the value at the cursor and appends it as columns take it. A value of another kind than this reading is
    /// about stays as it is: whether the column takes it is the decoder's to say.
    fn write(&self, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Result<(), Wrong> {
        if let (Reading::List(item), Some(b'[')) = (self, cursor.peek()) {
            out.push(b'[');
            let mut more = cursor.enter(b'[', b']')?;
            while more {
                item.write(cursor, out)?;
                more = cursor.another(b']')?;
                if more {
                    out.push(b',');
                }
            }
            out.push(b']');
            return Ok(());
        }
        let start = cursor.at;
        let value = cursor.value(0)?;
        let raw = &cursor.text[start..cursor.at];
        let mut scratch = String::new();
        match (self, value) {
            (Reading::Decimal { scale }, Value::String(text)) => {
                decimal(text.unescaped(&mut scratch)?, *scale, out)?
            }
            (Reading::VariableScale, Value::Object) => variable_scale(raw, out)?,
            (Reading::Bytes { hex }, Value::String(text)) => {
                bytes(text.unescaped(&mut scratch)?, *hex, out)?
            }
            (Reading::JsonText, Value::String(text)) => {
                let json = text.unescaped(&mut scratch)?;
                check_json(json)?;
                out.extend_from_slice(json.as_bytes());
            }
            (Reading::Boolean, Value::Number) => {
                let number = Number::parse(raw).expect("every JSON number is a number");
                let is_true = number.shifted(0).is_none_or(|value| value != 0);
                out.extend_from_slice(if is_true { b"true" } else { b"false" });
            }
            (Reading::Timestamp { per_second }, Value::Number) => {
                timestamp(integer(raw)?, *per_second, out)?
            }
            (Reading::Days, Value::Number) => {
                let seconds = integer(raw)?.checked_mul(86_400).ok_or_else(|| beyond(raw))?;
                timestamp(seconds, Some(1), out)?
            }
            (Reading::Time { per_second }, Value::Number) => {
                let micros = i128::from(integer(raw)?) * 1_000_000 / i128::from(*per_second);
                out.extend_from_slice(micros.to_string().as_bytes());
            }
            (Reading::Duration, Value::Number) => {
                out.extend_from_slice(format!("\"{} microseconds\"", integer(raw)?).as_bytes());
            }
            _ => out.extend_from_slice(raw),
        }
        Ok(())
    }
}

fn integer(raw: &[u8]) -> Result<i64, Invalid> {
    let number = Number::parse(raw).expect("every JSON number is a number");
    types::integer_from_number(&number, raw, "bigint")
}

fn beyond(raw: &[u8]) -> Invalid {
    let message = format!("date/time field value out of range: {}", types::quoted(raw));
    Invalid { sqlstate: types::DATETIME_OVERFLOW, message }
}

fn from_base64(text: &str) -> Result<Vec<u8>, Invalid> {
    STANDARD.decode(text).map_err(|_| {
        let message = format!("invalid base64: {}", types::quoted(text.as_bytes()));
        Invalid { sqlstate: INVALID_TEXT, message }
    })
}

fn bytes(text: &str, hex: bool, out: &mut Vec<u8>) -> Result<(), Invalid> {
    out.extend_from_slice(b"\"\\\\x");
    if hex {
        if !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Invalid::syntax("bytea", text.as_bytes()));
        }
        out.extend_from_slice(text.as_bytes());
    } else {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        for byte in from_base64(text)? {
            out.push(DIGITS[usize::from(byte >> 4)]);
            out.push(DIGITS[usize::from(byte & 15)]);
        }
    }
    out.push(b'"');
    Ok(())
}

/// The text must be exactly one JSON value, so that it can stand in a row without becoming more than that.
fn check_json(text: &str) -> Result<(), Fault> {
    let mut cursor = Cursor::new(text.as_bytes());
    cursor.skip_whitespace();
    cursor.value(0)?;
    cursor.skip_whitespace();
    match cursor.peek() {
        None => Ok(()),
        Some(_) => cursor.fault("expected the end of the JSON text"),
    }
}

/// A number written as the bytes of its digits, most significant first, in two's complement.
fn decimal(text: &str, scale: i64, out: &mut Vec<u8>) -> Result<(), Invalid> {
    let bytes = from_base64(text)?;
    let too_large = || {
        let message =
            format!("a decimal of {} bytes is out of range for type numeric", bytes.len());
        Invalid { sqlstate: OUT_OF_RANGE, message }
    };
    let Some(&first) = bytes.first() else {
        return Err(Invalid::syntax("numeric", text.as_bytes()));
    };
    let sign = if first >= 0x80 { 0xff } else { 0 };
    let (extra, kept) = bytes.split_at(bytes.len().saturating_sub(16));
    let mut wide = [sign; 16];
    wide[16 - kept.len()..].copy_from_slice(kept);
    let unscaled = i128::from_be_bytes(wide);
    if extra.iter().any(|&b| b != sign) || (unscaled < 0) != (sign != 0) {
        return Err(too_large());
    }
    if !(-SCALE_MAX..=SCALE_MAX).contains(&scale) {
        let message = format!("a decimal has the scale {scale}");
        return Err(Invalid { sqlstate: OUT_OF_RANGE, message });
    }
    let mut digits = unscaled.unsigned_abs().to_string();
    if scale < 0 && unscaled != 0 {
        digits.push_str(&"0".repeat(scale.unsigned_abs() as usize));
    }
    let fraction = scale.max(0) as usize;
    let (whole, fraction) = match digits.len().checked_sub(fraction) {
        Some(at) if at > 0 => digits.split_at(at),
        _ => {
            digits.insert_str(0, &"0".repeat(fraction + 1 - digits.len()));
            digits.split_at(1)
        }
    };
    let (sign, point) = (if unscaled < 0 { "-" } else { "" }, if scale > 0 { "." } else { "" });
    out.extend_from_slice(format!("\"{sign}{whole}{point}{fraction}\"").as_bytes());
    Ok(())
}

fn variable_scale(raw: &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
    let wrong = || Invalid::syntax("numeric", raw);
    let value: Description = serde_json::from_slice(raw).map_err(|_| wrong())?;
    let scale = value["scale"].as_i64().ok_or_else(wrong)?;
    decimal(value["value"].as_str().ok_or_else(wrong)?, scale, out)
}

/// An instant as ISO text.
fn timestamp(count: i64, per_second: Option<i64>, out: &mut Vec<u8>) -> Result<(), Invalid> {
    let per_second = per_second.unwrap_or(match count.unsigned_abs() {
        0..MILLIS_BELOW => 1_000,
        MILLIS_BELOW..MICROS_BELOW => 1_000_000,
        _ => 1_000_000_000,
    });
    let text = types::iso_timestamp(count, per_second)
        .ok_or_else(|| beyond(count.to_string().as_bytes()))?;
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
    Ok(())
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn decimals_are_exact_to_the_last_of_their_bytes() {
        let text = |bytes: &[u8], scale| {
            let mut out = vec![];
            let outcome = decimal(&STANDARD.encode(bytes), scale, &mut out);
            outcome.map(|()| String::from_utf8_lossy(&out).into_owned()).map_err(|e| e.sqlstate)
        };
        let is = |text: &str| Ok(format!("\"{text}\""));
        assert_eq!(text(&[0x7b], 2), is("1.23"));
        assert_eq!(text(&[0x7b], 3), is("0.123"));
        assert_eq!(text(&[0x85], 5), is("-0.00123"));
        assert_eq!(text(&[0xff], 0), is("-1"));
        assert_eq!(text(&[0x00, 0xff], -3), is("255000"));
        assert_eq!(text(&[0; 40], 1), is("0.0"));
        assert_eq!(text(&i128::MIN.to_be_bytes(), 0), is(&i128::MIN.to_string()));
        assert_eq!(text(&[1; 17], 0), Err(OUT_OF_RANGE));
        assert_eq!(text(&[], 0), Err(INVALID_TEXT));
    }
}
