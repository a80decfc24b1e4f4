//! Tests of change events as a whole: what each does, what each type is read from, and that a random stream of changes,
//! written as Debezium does, comes to the rows that a model has.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, Field, IntervalUnit, Schema, SchemaRef, TimeUnit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::*;
use crate::decode::PADDING;
use crate::options::Options;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("n", DataType::Int32, false),
    ]))
}

fn decoder(schema: &SchemaRef, key: &[usize], modes: &Modes) -> DebeziumDecoder {
    let all: Vec<usize> = (0..schema.fields().len()).collect();
    DebeziumDecoder::new(schema.clone(), key, &all, modes).unwrap()
}

fn decode(
    decoder: &mut DebeziumDecoder,
    messages: &[(String, Option<String>)],
) -> (Events, Vec<Failure>) {
    let (mut data, mut spans) = (Vec::new(), Vec::new());
    for (message, _) in messages {
        spans.push((data.len() as u32, message.len() as u32));
        data.extend_from_slice(message.as_bytes());
    }
    data.resize(data.len() + PADDING, 0);
    let mut failures = vec![];
    let key_of = |n: usize| messages[n].1.as_ref().map(|key: &String| key.as_bytes());
    let laid = Messages { data: &data, spans: &spans };
    let events = decoder.decode(laid, key_of, &mut failures).unwrap();
    (events, failures)
}

fn rendered(batch: &RecordBatch, row: usize) -> String {
    let options = FormatOptions::new().with_null("-");
    let cell = |column: &ArrayRef| {
        ArrayFormatter::try_new(column, &options).unwrap().value(row).to_string()
    };
    batch.columns().iter().map(cell).collect::<Vec<_>>().join(" ")
}

/// `MESSAGE SIGN ROW` for each row, then `MESSAGE SQLSTATE REASON` for each failure.
fn outcome(schema: &SchemaRef, messages: &[(&str, Option<&str>)]) -> Vec<String> {
    let owned: Vec<(String, Option<String>)> =
        messages.iter().map(|(m, k)| ((*m).to_owned(), k.map(str::to_owned))).collect();
    let (events, failures) = decode(&mut decoder(schema, &[0], &Modes::default()), &owned);
    let sign = |row| if events.deletes.value(row) { '-' } else { '+' };
    let rows = (0..events.rows.num_rows()).map(|row| {
        format!("{} {} {}", events.messages[row], sign(row), rendered(&events.rows, row))
    });
    let failed = failures.iter().map(|f| format!("{} {} {}", f.message, f.sqlstate, f.reason));
    rows.chain(failed).collect()
}

#[test]
fn each_operation_does_what_it_says() {
    let messages = [
        (r#"{"op":"c","before":null,"after":{"id":1,"name":"a","n":1},"source":{"db":"x"}}"#, None),
        (r#"{"payload":{"op":"r","after":{"id":2,"n":2}},"schema":{"fields":[]}}"#, None),
        (r#"{"op":"u","before":{"id":1,"name":null},"after":{"id":1,"name":"b","n":3}}"#, None),
        (r#"{"op":"u","before":null,"after":{"id":1,"name":"c","n":4}}"#, None),
        (r#"{"op":"u","before":{"id":1},"after":{"id":9,"name":"moved","n":5}}"#, None),
        (r#"{"op":"d","before":{"id":2},"after":null}"#, Some("{\"id\":7}")),
        (r#"{"op":"d","before":null,"after":null}"#, Some("{\"id\":9}")),
        (r#"{"schema":null,"payload":null}"#, None),
        (r#"{"op":"m","message":{"prefix":"p"}}"#, None),
    ];
    let expected = [
        "0 + 1 a 1",
        "1 + 2 - 2",
        "2 + 1 b 3",
        "3 + 1 c 4",
        "4 - 1 - 0",
        "4 + 9 moved 5",
        "5 - 2 - 0",
        "6 - 9 - 0",
    ];
    assert_eq!(outcome(&schema(), &messages), expected);
}

#[test]
fn a_key_with_a_schema_names_the_row_that_is_deleted() {
    let key = r#"{"schema":{"type":"struct","fields":[{"type":"int64","field":"id"}]},"payload":{"id":5}}"#;
    assert_eq!(outcome(&schema(), &[(r#"{"op":"d"}"#, Some(key))]), ["0 - 5 - 0"]);
}

#[test]
fn bad_events_are_left_out_whole_and_say_why() {
    let messages = [
        (r#"{"op":"u","before":{"id":1},"after":{"id":"x","n":1}}"#, None),
        (r#"{"op":"c","after":{"id":1,"n":null}}"#, None),
        (r#"{"op":"t"}"#, None),
        (r#"{"id":1,"n":2}"#, None),
        (r#"{"op":"q"}"#, None),
        (r#"{"op":"c","after":null}"#, None),
        (r#"{"op":"d"}"#, None),
        (r#"{"op":"d","before":{}}"#, None),
        (r#"{"op":"c","after":[1]}"#, None),
        (r#"{"op":"u","after":{"id":3,"n":1,"name":"__debezium_unavailable_value"}}"#, None),
        (r#"{"op":"c","after":{"id":4,"n":4}"#, None),
        ("", None),
        (r#"{"op":"c","after":{"id":4,"name":"good","n":4}}"#, None),
    ];
    let outcome = outcome(&schema(), &messages);
    assert_eq!(outcome[0], "12 + 4 good 4");
    let expected = [
        "0 22P02 column \"id\": invalid input syntax for type bigint: \"x\"",
        "1 23502 null value in column \"n\"",
        "2 0A000 TRUNCATE cannot be followed",
        "3 22P02 the message is no Debezium event",
        "4 22P02 the event has an unknown \"op\"",
        "5 22P02 the event has no \"after\"",
        "6 22P02 a delete has neither",
        "7 23502 null value in column \"id\"",
        "8 22P02 \"after\" of the event",
        "9 55000 a large value",
        "10 22P02 invalid input syntax for type json",
        "11 22P02 the message is empty",
    ];
    assert_eq!(outcome.len(), expected.len() + 1, "{outcome:#?}");
    for (outcome, expected) in outcome[1..].iter().zip(expected) {
        assert!(outcome.starts_with(expected), "{outcome} is not {expected}");
    }
}

fn typed() -> SchemaRef {
    let micros =
        |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
    let jsonb = [("tidewater.type".to_owned(), "jsonb".to_owned())].into();
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("price", DataType::Decimal128(12, 3), true),
        Field::new("at", micros(None), true),
        Field::new("day", DataType::Date32, true),
        Field::new("clock", DataType::Time64(TimeUnit::Microsecond), true),
        Field::new("doc", DataType::Utf8, true).with_metadata(jsonb),
        Field::new("raw", DataType::Binary, true),
        Field::new("flag", DataType::Boolean, true),
        Field::new("zoned", micros(Some("+00:00")), true),
        Field::new("span", DataType::Interval(IntervalUnit::MonthDayNano), true),
        Field::new("text", DataType::Utf8, true),
        Field::new("list", DataType::new_list(DataType::Decimal128(6, 1), true), true),
    ]))
}

/// An event of the fields with descriptions.
fn described(fields: &[(&str, Value, Value)]) -> String {
    let described = |(name, description, _): &(&str, Value, Value)| {
        let mut description = description.clone();
        description["field"] = json!(name);
        description
    };
    let row: serde_json::Map<String, Value> =
        fields.iter().map(|(name, _, value)| ((*name).to_owned(), value.clone())).collect();
    let described: Vec<Value> = fields.iter().map(described).collect();
    let schema = json!({"type": "struct", "fields": [
        {"type": "struct", "field": "before", "fields": described},
        {"type": "struct", "field": "after", "fields": described},
        {"type": "string", "field": "op"},
    ]});
    json!({"schema": schema, "payload": {"op": "c", "before": null, "after": row}}).to_string()
}

fn one_row(modes: &Modes, message: String) -> Result<String, String> {
    let (events, failures) = decode(&mut decoder(&typed(), &[0], modes), &[(message, None)]);
    match failures.first() {
        Some(failure) => Err(format!("{} {}", failure.sqlstate, failure.reason)),
        None => Ok(rendered(&events.rows, 0)),
    }
}

#[test]
fn described_fields_are_read_by_what_they_are() {
    let decimal = |scale: &str| json!({"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", "parameters": {"scale": scale}});
    let named = |name: &str| json!({"type": "int64", "name": name});
    let fields = [
        ("id", json!({"type": "int64"}), json!(1)),
        ("price", decimal("2"), json!(STANDARD.encode([0xff, 0x85]))),
        // A second in 1970, which its size would not tell from milliseconds.
        ("at", named("io.debezium.time.MicroTimestamp"), json!(1_500_000)),
        ("day", named("io.debezium.time.Date"), json!(19_000)),
        ("clock", named("io.debezium.time.Time"), json!(3_723_004)),
        (
            "doc",
            json!({"type": "string", "name": "io.debezium.data.Json"}),
            json!("{\"b\": [1,\"x\"], \"a\": null}"),
        ),
        ("raw", json!({"type": "bytes"}), json!(STANDARD.encode([0, 255]))),
        ("flag", json!({"type": "int16"}), json!(1)),
        (
            "zoned",
            json!({"type": "string", "name": "io.debezium.time.ZonedTimestamp"}),
            json!("2024-02-29T10:00:00.5+02:00"),
        ),
        ("span", named("io.debezium.time.MicroDuration"), json!(-1_500_000)),
        (
            "text",
            json!({"type": "struct", "name": "io.debezium.data.VariableScaleDecimal"}),
            json!({"scale": 1, "value": STANDARD.encode([12])}),
        ),
        (
            "list",
            json!({"type": "array", "items": decimal("1")}),
            json!([STANDARD.encode([15]), null]),
        ),
    ];
    let expected = "1 -1.230 1970-01-01T00:00:01.500 2022-01-08 01:02:03.004 {\"a\": null, \"b\": [1, \"x\"]} \
                    00ff true 2024-02-29T08:00:00.500Z -1.500000000 secs 1.2 [1.5, -]";
    assert_eq!(one_row(&Modes::default(), described(&fields)).unwrap(), expected);
}

#[test]
fn undescribed_values_are_read_by_their_column_and_the_modes() {
    let after = |fields: &str| format!("{{\"op\":\"c\",\"after\":{{\"id\":1,{fields}}}}}");
    let modes =
        |pairs: &[(&str, &str)]| Modes::new(&Options::new(pairs.to_vec()).unwrap()).unwrap();
    let check = |pairs: &[(&str, &str)], fields: &str, column: usize, expected: &str| {
        let row = decode(&mut decoder(&typed(), &[0], &modes(pairs)), &[(after(fields), None)]);
        assert!(row.1.is_empty(), "{fields}: {:?}", row.1);
        let text = rendered(&row.0.rows.project(&[column]).unwrap(), 0);
        assert_eq!(text, expected, "{fields}");
    };
    check(&[], "\"price\":\"12.5\"", 1, "12.500");
    check(&[("decimal.handling.mode", "precise")], "\"price\":\"Ew==\"", 1, "0.019");
    check(&[], "\"at\":1709201472500", 2, "2024-02-29T10:11:12.500");
    check(&[], "\"at\":1709201472500000", 2, "2024-02-29T10:11:12.500");
    check(&[], "\"at\":1709201472500000000", 2, "2024-02-29T10:11:12.500");
    check(&[], "\"at\":86400000", 2, "1970-01-02T00:00:00");
    check(&[("timestamp.handling.mode", "micro")], "\"at\":-1", 2, "1969-12-31T23:59:59.999999");
    check(&[], "\"at\":\"2024-02-29T10:11:12Z\"", 2, "2024-02-29T10:11:12");
    check(&[], "\"clock\":1000000", 4, "00:00:01");
    check(&[("time.handling.mode", "milli")], "\"clock\":1000", 4, "00:00:01");
    check(&[], r#""doc":"[1, {\"a\":2}]""#, 5, "[1, {\"a\": 2}]");
    check(&[], r#""raw":"AP8=""#, 6, "00ff");
    check(&[("binary.handling.mode", "hex")], r#""raw":"00FF""#, 6, "00ff");
    check(&[], "\"flag\":0", 7, "false");
    check(&[], "\"flag\":true", 7, "true");
    let smuggled = after(r#""doc":"1,\"id\":2""#);
    assert!(one_row(&Modes::default(), smuggled).unwrap_err().starts_with("22P02"));
    let no_base64 = after(r#""raw":"***""#);
    let expected = "22P02 column \"raw\": invalid base64: \"***\"";
    assert_eq!(one_row(&Modes::default(), no_base64).unwrap_err(), expected);
    let beyond = after("\"at\":9223372036825200000");
    assert!(
        one_row(&modes(&[("timestamp.handling.mode", "milli")]), beyond)
            .unwrap_err()
            .starts_with("22008")
    );
}

/// A table, and the events that change it at random.
struct Upstream {
    rng: StdRng,
    rows: BTreeMap<i64, (Option<String>, i32)>,
}

impl Upstream {
    fn row(id: i64, row: &(Option<String>, i32)) -> Value {
        json!({"id": id, "name": row.0, "n": row.1})
    }

    fn event(&mut self) -> (String, Option<String>) {
        let rng = &mut self.rng;
        let id = rng.random_range(0..20i64);
        let name = rng.random_bool(0.8).then(|| format!("é\"{}", rng.random_range(0..9)));
        let new = (name, rng.random_range(-5..5));
        let before = self.rows.get(&id).map(|old| Self::row(id, old));
        let mut key = id;
        let mut event = match (before, rng.random_range(0..4)) {
            (None, _) => {
                let op = if rng.random_bool(0.5) { "c" } else { "r" };
                self.rows.insert(id, new.clone());
                json!({"before": null, "after": Self::row(id, &new), "op": op})
            }
            (Some(before), 0) => {
                self.rows.remove(&id);
                let before = match rng.random_range(0..3) {
                    0 => Value::Null,
                    1 => json!({"id": id, "name": null, "n": null}),
                    _ => before,
                };
                json!({"before": before, "after": null, "op": "d"})
            }
            (Some(before), 1) => {
                // The primary key itself is updated: the row must not stay behind under its old key.
                key = rng.random_range(0..20);
                self.rows.remove(&id);
                self.rows.insert(key, new.clone());
                json!({"before": before, "after": Self::row(key, &new), "op": "u"})
            }
            (Some(before), _) => {
                self.rows.insert(id, new.clone());
                let before = if rng.random_bool(0.5) { before } else { Value::Null };
                json!({"before": before, "after": Self::row(id, &new), "op": "u"})
            }
        };
        event["source"] = json!({"lsn": 1, "txId": null, "op": "x"});
        let event = match rng.random_bool(0.5) {
            true => event,
            false => json!({"schema": {"type": "struct", "fields": []}, "payload": event}),
        };
        (event.to_string(), Some(json!({"id": key}).to_string()))
    }
}

#[test]
fn oracle_random_events_come_to_the_rows_of_the_table_they_are_of() {
    for seed in 0..200 {
        let mut upstream = Upstream { rng: StdRng::seed_from_u64(seed), rows: BTreeMap::new() };
        let mut folded: BTreeMap<i64, String> = BTreeMap::new();
        let mut decoder = decoder(&schema(), &[0], &Modes::default());
        for _ in 0..5 {
            let messages: Vec<_> =
                (0..upstream.rng.random_range(0..60)).map(|_| upstream.event()).collect();
            let (events, failures) = decode(&mut decoder, &messages);
            assert!(failures.is_empty(), "{failures:?}");
            for row in 0..events.rows.num_rows() {
                let id = events.rows.column(0).as_primitive::<Int64Type>().value(row);
                match events.deletes.value(row) {
                    true => folded.remove(&id),
                    false => folded.insert(id, rendered(&events.rows, row)),
                };
            }
            let text = |(id, (name, n)): (&i64, &(Option<String>, i32))| {
                (*id, format!("{id} {} {n}", name.as_deref().unwrap_or("-")))
            };
            assert_eq!(folded, upstream.rows.iter().map(text).collect(), "seed {seed}");
        }
    }
}

#[test]
fn differential_broken_events_harm_only_themselves() {
    let mut upstream = Upstream { rng: StdRng::seed_from_u64(7), rows: BTreeMap::new() };
    let mut rng = StdRng::seed_from_u64(8);
    for _ in 0..300 {
        let mut messages: Vec<(String, Option<String>)> =
            (0..10).map(|_| upstream.event()).collect();
        for (message, _) in &mut messages {
            if rng.random_bool(0.5) {
                let mut bytes = std::mem::take(message).into_bytes();
                for _ in 0..rng.random_range(1..4) {
                    let at = rng.random_range(0..bytes.len());
                    match rng.random_range(0..3) {
                        0 => bytes[at] = *b"{}[]\",:0n\\".get(rng.random_range(0..10)).unwrap(),
                        1 => drop(bytes.remove(at)),
                        _ => bytes.truncate(at.max(1)),
                    }
                }
                *message = String::from_utf8_lossy(&bytes).into_owned();
            }
        }
        let (together, failed) =
            decode(&mut decoder(&schema(), &[0], &Modes::default()), &messages);
        let (mut rows, mut failures) = (vec![], vec![]);
        for (n, message) in messages.iter().enumerate() {
            let one = std::slice::from_ref(message);
            let (events, failure) = decode(&mut decoder(&schema(), &[0], &Modes::default()), one);
            rows.extend(
                (0..events.rows.num_rows())
                    .map(|row| (n as u32, events.deletes.value(row), rendered(&events.rows, row))),
            );
            failures.extend(failure.into_iter().map(|f| Failure { message: n, ..f }));
        }
        let all: Vec<(u32, bool, String)> = (0..together.rows.num_rows())
            .map(|row| {
                let text = rendered(&together.rows, row);
                (together.messages[row], together.deletes.value(row), text)
            })
            .collect();
        assert_eq!((all, failed), (rows, failures));
    }
}

#[test]
fn arbitrary_bytes_never_panic() {
    let mut rng = StdRng::seed_from_u64(9);
    let base = described(&[
        ("id", json!({"type": "int64"}), json!(1)),
        (
            "price",
            json!({"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", "parameters": {"scale": "2"}}),
            json!("Aw=="),
        ),
        ("at", json!({"type": "int64", "name": "io.debezium.time.NanoTimestamp"}), json!(5)),
    ]);
    let mut decoder = decoder(&typed(), &[0], &Modes::default());
    for _ in 0..3_000 {
        let mut bytes = base.clone().into_bytes();
        for _ in 0..rng.random_range(1..6) {
            let at = rng.random_range(0..bytes.len());
            bytes[at] = rng.random();
        }
        decode(&mut decoder, &[(String::from_utf8_lossy(&bytes).into_owned(), None)]);
    }
}
