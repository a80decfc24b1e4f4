//! The Kafka source against a real broker.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_schema::{DataType, Field, Schema};

use crate::conformance::{self, Stretch};
use crate::contract::*;
use crate::options::Options;
use crate::registry::{self, Encode, Format, Include, IncludeKind, SourceSpec};
use crate::testing::kafka::{Kafka, SASL_USER, TestMessage};

const PATIENCE: Duration = Duration::from_secs(30);

fn spec(servers: &str, topic: &str) -> SourceSpec {
    SourceSpec {
        name: "bid".into(),
        options: Options::new([
            ("connector", "kafka"),
            ("topic", topic),
            ("properties.bootstrap.server", servers),
        ])
        .unwrap(),
        format: Some(Format::Plain),
        encode: Some(Encode::Json(Options::default())),
        columns: Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("name", DataType::Utf8, true),
        ])),
        primary_key: vec![],
        include: vec![],
    }
}

fn with(mut spec: SourceSpec, options: &[(&str, &str)]) -> SourceSpec {
    let old: Vec<(String, String)> =
        spec.options.exposed().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let new = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    spec.options = Options::new(old.into_iter().chain(new)).unwrap();
    spec
}

fn upsert(mut spec: SourceSpec, primary_key: Vec<usize>) -> SourceSpec {
    spec.format = Some(Format::Upsert);
    spec.primary_key = primary_key;
    spec
}

fn included(mut spec: SourceSpec, kinds: Vec<IncludeKind>) -> SourceSpec {
    let include = |kind: IncludeKind| Include { name: kind.default_name("kafka"), kind };
    spec.include = kinds.into_iter().map(include).collect();
    spec
}

fn stretch(offsets_max: u64) -> Stretch {
    Stretch { offsets_max, patience: PATIENCE, endless: false }
}

fn row(id: i64) -> String {
    format!(r#"{{"id":{id},"name":"name {id}"}}"#)
}

fn ids(batch: &RecordBatch) -> Vec<i64> {
    batch.column(0).as_primitive::<Int64Type>().values().to_vec()
}

fn range(split: &str, from: u64, until: Option<u64>) -> SplitRange {
    SplitRange {
        split: SplitId(split.into()),
        from: SourceOffset(from),
        until: until.map(SourceOffset),
    }
}

fn read(source: &dyn Source, split: &str, from: u64, until: u64) -> conformance::Content {
    conformance::read(source, range(split, from, Some(until)), None, 1000, PATIENCE).unwrap()
}

fn latest(source: &dyn Source, split: &str) -> u64 {
    source.bounds(&SplitId(split.into()), PATIENCE).unwrap().latest.0
}

/// What a live reader has brought so far, checked for offsets without gap or overlap.
#[derive(Default)]
struct Live {
    ids: BTreeMap<String, Vec<i64>>,
    ends: BTreeMap<String, u64>,
    errors: Vec<ConnectorError>,
}

impl Live {
    fn poll_until(&mut self, reader: &mut dyn SourceReader, done: impl Fn(&Live) -> bool) {
        let began = Instant::now();
        while !done(self) {
            assert!(began.elapsed() < 2 * PATIENCE, "{:?}, {:?}", self.ends, self.errors);
            match reader.poll(Duration::from_millis(100), 500) {
                Ok(Some(batch)) => {
                    let end = self.ends.entry(batch.split.0.clone()).or_default();
                    let rows = batch.rows.num_rows() + batch.rejected.len();
                    assert_eq!(*end + rows as u64, batch.end.0, "split {}", batch.split);
                    *end = batch.end.0;
                    self.ids.entry(batch.split.0).or_default().extend(ids(&batch.rows));
                }
                Ok(None) => {}
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::Retry, "{error:?}");
                    self.errors.push(error);
                }
            }
        }
    }

    fn total(&self) -> usize {
        self.ids.values().map(Vec::len).sum()
    }
}

#[test]
fn four_partitions_are_read_exactly_and_hold_the_contract() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = kafka.create_topic("exact", 4);
    let messages = (0..20_000).map(|n| TestMessage::value((n % 4) as i32, row(n)));
    kafka.produce(&topic, messages);
    let source = registry::open(&spec(kafka.servers(), &topic)).unwrap();
    let starts = source.discover(PATIENCE).unwrap();
    let splits: Vec<&str> = starts.iter().map(|start| start.split.0.as_str()).collect();
    assert_eq!(splits, ["0", "1", "2", "3"]);
    assert!(starts.iter().all(|start| start.start == SourceOffset(0)));
    for split in 0..4i64 {
        assert_eq!(latest(source.as_ref(), &split.to_string()), 5000);
        let content = read(source.as_ref(), &split.to_string(), 0, 5000);
        let expected: Vec<i64> = (0..5000).map(|n| n * 4 + split).collect();
        assert_eq!(ids(&content.rows), expected);
    }
    conformance::check(source.as_ref(), stretch(3001)).unwrap();
}

#[test]
fn until_inside_of_a_fetched_batch_is_respected() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = kafka.create_topic("until", 1);
    kafka.produce(&topic, (0..1000).map(|n| TestMessage::value(0, row(n))));
    let source = registry::open(&spec(kafka.servers(), &topic)).unwrap();
    let content = read(source.as_ref(), "0", 17, 333);
    assert_eq!(ids(&content.rows), (17..333).collect::<Vec<i64>>());
    assert_eq!(content.ends.last(), Some(&SourceOffset(333)));
    let empty = read(source.as_ref(), "0", 500, 500);
    assert_eq!((empty.rows.num_rows(), empty.ends), (0, vec![SourceOffset(500)]));
}

#[test]
fn bad_messages_are_rejected_one_by_one_with_their_offsets() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = kafka.create_topic("bad", 1);
    let values: [Option<&[u8]>; 9] = [
        Some(br#"{"id":1}"#),
        Some(b"{"),
        Some(br#"{"id":"abc","name":"x"}"#),
        None,
        Some(br#"{"id":2,"name":"two"}"#),
        Some(b""),
        Some(br#"{"name":"no id"}"#),
        Some(b"\xff\xfe"),
        Some(br#"{"id":3}"#),
    ];
    let message = |value: Option<&[u8]>| TestMessage {
        value: value.map(<[u8]>::to_vec),
        ..TestMessage::default()
    };
    kafka.produce(&topic, values.map(message));
    let source = registry::open(&spec(kafka.servers(), &topic)).unwrap();
    let content = read(source.as_ref(), "0", 0, 9);
    assert_eq!(ids(&content.rows), [1, 2, 3]);
    let offsets: Vec<u64> = content.rejected.iter().map(|rejected| rejected.offset.0).collect();
    assert_eq!(offsets, [1, 2, 3, 5, 6, 7], "{:?}", content.rejected);
    assert_eq!(content.rejected[2].reason, "message has no value");
    assert_eq!(content.rejected[4].sqlstate, "23502");
    for rejected in &content.rejected {
        let value = values[rejected.offset.0 as usize].unwrap_or_default();
        assert_eq!(rejected.payload, value);
    }
    conformance::check(source.as_ref(), stretch(9)).unwrap();
}

#[test]
fn upsert_keys_set_rows_and_tombstones_delete_them() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = kafka.create_topic("upsert", 1);
    kafka.produce(
        &topic,
        [
            TestMessage::keyed("1", Some(r#"{"id":1,"name":"one"}"#)),
            TestMessage::keyed(r#"{"id":2}"#, Some(r#"{"name":"two"}"#)),
            TestMessage::keyed("1", None),
            TestMessage::keyed("x", Some(r#"{"name":"bad key"}"#)),
            TestMessage::keyed("3", Some(r#"{"name":3.5"#)),
            TestMessage { value: Some(b"{}".to_vec()), ..TestMessage::default() },
            TestMessage::keyed("y", None),
            TestMessage::keyed("2", Some(r#"{"id":7,"name":null}"#)),
        ],
    );
    let source = registry::open(&upsert(spec(kafka.servers(), &topic), vec![0])).unwrap();
    let content = read(source.as_ref(), "0", 0, 8);
    assert_eq!(ids(&content.rows), [1, 2, 1, 2]);
    assert_eq!(content.deletes, [false, false, true, false]);
    let names: Vec<Option<&str>> = content.rows.column(1).as_string::<i32>().iter().collect();
    assert_eq!(names, [Some("one"), Some("two"), None, None]);
    let offsets: Vec<u64> = content.rejected.iter().map(|rejected| rejected.offset.0).collect();
    assert_eq!(offsets, [3, 4, 5, 6], "{:?}", content.rejected);
    assert_eq!(content.rejected[2].reason, "message has no key");
    assert_eq!(content.rejected[3].payload, b"y");
    conformance::check(source.as_ref(), stretch(8)).unwrap();
}

#[test]
fn not_null_columns_of_deleting_rows_and_raw_keys_are_taken() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = kafka.create_topic("raw", 1);
    let (key, value) = (b"\x00\xff".to_vec(), Some(r#"{"id":1,"name":"one"}"#));
    kafka.produce(&topic, [TestMessage::keyed(key.clone(), value), TestMessage::keyed(key, None)]);
    // The declared id is NOT NULL, and the primary key is the included column behind the declared ones.
    let keyed = included(spec(kafka.servers(), &topic), vec![IncludeKind::Key]);
    let source = registry::open(&upsert(keyed, vec![2])).unwrap();
    let content = read(source.as_ref(), "0", 0, 2);
    assert_eq!(content.deletes, [false, true]);
    let keys: Vec<Option<&[u8]>> = content.rows.column(2).as_binary::<i32>().iter().collect();
    assert_eq!(keys, [Some(&b"\x00\xff"[..]); 2]);
    conformance::check(source.as_ref(), stretch(2)).unwrap();
}

#[test]
fn included_columns_come_after_the_declared_ones() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = kafka.create_topic("include", 3);
    let header = |key: &str, value: &str| (key.to_owned(), Some(value.as_bytes().to_vec()));
    let messages = [
        TestMessage {
            partition: 2,
            key: Some(b"k".to_vec()),
            value: Some(row(1).into()),
            headers: vec![header("a", "1"), header("b", "2"), header("a", "3")],
            timestamp_ms: Some(1_700_000_000_123),
        },
        TestMessage::value(2, "not json"),
        TestMessage { timestamp_ms: Some(5), ..TestMessage::value(2, row(2)) },
    ];
    kafka.produce(&topic, messages);
    let kinds = vec![
        IncludeKind::Key,
        IncludeKind::Partition,
        IncludeKind::Offset,
        IncludeKind::Timestamp,
        IncludeKind::Header(None),
        IncludeKind::Header(Some("a".into())),
        IncludeKind::Payload,
    ];
    let source = registry::open(&included(spec(kafka.servers(), &topic), kinds)).unwrap();
    let rows = read(source.as_ref(), "2", 0, 3).rows;
    assert_eq!(rows.schema().field(4).name(), "_kafka_offset");
    let keys: Vec<Option<&[u8]>> = rows.column(2).as_binary::<i32>().iter().collect();
    assert_eq!(keys, [Some(&b"k"[..]), None]);
    assert_eq!(rows.column(3).as_primitive::<Int32Type>().values(), &[2, 2]);
    assert_eq!(rows.column(4).as_primitive::<Int64Type>().values(), &[0, 2]);
    let times = rows.column(5).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(times.values(), &[1_700_000_000_123_000, 5000]);
    let headers = rows.column(6).as_list::<i32>();
    assert_eq!(headers.offsets().as_ref(), [0, 3, 3]);
    assert_eq!(headers.values().as_struct().column(0).as_string::<i32>().value(1), "b");
    let named: Vec<Option<&[u8]>> = rows.column(7).as_binary::<i32>().iter().collect();
    assert_eq!(named, [Some(&b"3"[..]), None]);
    assert_eq!(rows.column(8).as_string::<i32>().value(1), row(2));
    conformance::check(source.as_ref(), stretch(3)).unwrap();
}

#[test]
fn startup_modes_are_resolved_once_and_new_partitions_start_at_their_beginning() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = kafka.create_topic("startup", 2);
    let at = |n: i64| TestMessage { timestamp_ms: Some(1000 * n), ..TestMessage::value(0, row(n)) };
    kafka.produce(&topic, (1..=10).map(at));
    let open = |options: &[(&str, &str)]| {
        registry::open(&with(spec(kafka.servers(), &topic), options)).unwrap()
    };
    let starts = |source: &Arc<dyn Source>| -> Vec<u64> {
        source.discover(PATIENCE).unwrap().iter().map(|start| start.start.0).collect()
    };
    let latest = open(&[("scan.startup.mode", "latest")]);
    assert_eq!(starts(&latest), [10, 0]);
    let time = |millis| {
        let mode = ("scan.startup.mode", "timestamp");
        starts(&open(&[mode, ("scan.startup.timestamp.millis", millis)]))
    };
    assert_eq!(time("4500"), [4, 0]);
    assert_eq!(time("4000"), [3, 0]);
    assert_eq!(time("99000"), [10, 0]);
    kafka.produce(&topic, (11..=12).map(at));
    kafka.add_partitions(&topic, 3);
    kafka.produce(&topic, [TestMessage::value(2, row(100))]);
    let began = Instant::now();
    while starts(&latest).len() < 3 {
        assert!(began.elapsed() < PATIENCE);
    }
    assert_eq!(starts(&latest), [10, 0, 0]);
    let mut reader = latest.reader(vec![range("0", 10, None)], &[0]).unwrap();
    reader.add(range("2", 0, None)).unwrap();
    let mut live = Live { ends: [("0".to_owned(), 10)].into(), ..Live::default() };
    live.poll_until(reader.as_mut(), |live| live.total() == 3);
    assert_eq!((&live.ids["0"], &live.ids["2"]), (&vec![11, 12], &vec![100]));
}

#[test]
fn transactions_leave_gaps_that_count_as_read() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = kafka.create_topic("transactions", 1);
    kafka.produce_transaction(&topic, (0..3).map(|n| TestMessage::value(0, row(n))), true);
    kafka.produce_transaction(&topic, (3..5).map(|n| TestMessage::value(0, row(n))), false);
    kafka.produce_transaction(&topic, (5..6).map(|n| TestMessage::value(0, row(n))), true);
    let source = registry::open(&spec(kafka.servers(), &topic)).unwrap();
    // Three rows and a marker, two aborted rows and a marker, one row and a marker.
    let until = latest(source.as_ref(), "0");
    assert_eq!(until, 9);
    let content = read(source.as_ref(), "0", 0, until);
    assert_eq!(ids(&content.rows), [0, 1, 2, 5]);
    assert_eq!(content.ends.last(), Some(&SourceOffset(9)));
    for until in 1..=9 {
        let content = read(source.as_ref(), "0", 0, until);
        assert_eq!(content.ends.last(), Some(&SourceOffset(until)), "until {until}");
    }
    let content = read(source.as_ref(), "0", 4, 7);
    assert_eq!(content.rows.num_rows(), 0);
}

#[test]
fn a_killed_broker_loses_and_doubles_nothing() {
    let Some(mut kafka) = Kafka::own() else { return };
    let topic = kafka.create_topic("kill", 4);
    let produce = |kafka: &Kafka, from: i64, to: i64| {
        kafka.produce(&topic, (from..to).map(|n| TestMessage::value((n % 4) as i32, row(n))));
    };
    produce(&kafka, 0, 40_000);
    let source = registry::open(&spec(kafka.servers(), &topic)).unwrap();
    let starts = source.discover(PATIENCE).unwrap();
    let ranges = starts.iter().map(|start| range(&start.split.0, start.start.0, None)).collect();
    let mut reader = source.reader(ranges, &[0]).unwrap();
    let mut live = Live::default();
    live.poll_until(reader.as_mut(), |live| live.total() > 5000);
    kafka.kill();
    live.poll_until(reader.as_mut(), |live| !live.errors.is_empty());
    let error = &live.errors[0];
    let expected = format!("could not connect to Kafka broker(s) \"{}\"", kafka.servers());
    assert_eq!((error.kind, &error.message), (ErrorKind::Retry, &expected));
    assert!(error.detail.as_ref().unwrap().contains(kafka.servers()), "{error:?}");
    let down = Instant::now();
    live.poll_until(reader.as_mut(), |_| down.elapsed() > Duration::from_secs(3));
    assert_eq!(live.errors.len(), 1, "told twice of one outage: {:?}", live.errors);
    assert_eq!(source.discover(Duration::from_secs(1)).unwrap_err().kind, ErrorKind::Retry);
    kafka.restart().unwrap();
    produce(&kafka, 40_000, 60_000);
    live.poll_until(reader.as_mut(), |live| live.total() >= 60_000);
    for split in 0..4i64 {
        let expected: Vec<i64> = (0..15_000).map(|n| n * 4 + split).collect();
        assert!(live.ids[&split.to_string()] == expected, "split {split}");
    }
    assert_eq!(source.discover(PATIENCE).unwrap(), starts);
}

#[test]
fn a_deleted_topic_is_an_error_and_no_panic() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = kafka.create_topic("deleted", 1);
    kafka.produce(&topic, (0..10).map(|n| TestMessage::value(0, row(n))));
    let source = registry::open(&spec(kafka.servers(), &topic)).unwrap();
    let fast = [
        ("properties.topic.metadata.refresh.interval.ms", "500"),
        ("properties.topic.metadata.propagation.max.ms", "1000"),
    ];
    let quick = registry::open(&with(spec(kafka.servers(), &topic), &fast)).unwrap();
    source.discover(PATIENCE).unwrap();
    let mut reader = quick.reader(vec![range("0", 0, None)], &[0]).unwrap();
    let mut live = Live::default();
    live.poll_until(reader.as_mut(), |live| live.total() == 10);
    kafka.delete_topic(&topic);
    assert!(!reader.is_in_trouble());
    live.poll_until(reader.as_mut(), |live| !live.errors.is_empty());
    assert!(reader.is_in_trouble());
    assert_eq!(live.errors[0].message, format!("topic \"{topic}\" does not exist"));
    let error = source.discover(PATIENCE).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fix);
}

#[test]
fn a_topic_made_again_under_its_name_is_another_one() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = kafka.create_topic("again", 1);
    let source = registry::open(&spec(kafka.servers(), &topic)).unwrap();
    source.discover(PATIENCE).unwrap();
    source.discover(PATIENCE).unwrap();
    kafka.delete_topic(&topic);
    kafka.create_topic_named(&topic, 1);
    kafka.produce(&topic, (0..10).map(|n| TestMessage::value(0, row(n))));
    let error = source.discover(PATIENCE).unwrap_err();
    assert_eq!(error.kind, ErrorKind::DataLoss, "{error:?}");
    assert_eq!(error.message, format!("topic \"{topic}\" was deleted and created again"));
}

#[test]
fn an_offset_that_is_gone_is_data_loss() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = kafka.create_topic("gone", 1);
    kafka.produce(&topic, (0..10).map(|n| TestMessage::value(0, row(n))));
    let source = registry::open(&spec(kafka.servers(), &topic)).unwrap();
    let mut reader = source.reader(vec![range("0", 1000, None)], &[0]).unwrap();
    let began = Instant::now();
    let error = loop {
        assert!(began.elapsed() < PATIENCE);
        match reader.poll(Duration::from_millis(100), 10) {
            Ok(batch) => assert!(batch.is_none()),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, ErrorKind::DataLoss, "{error:?}");
    assert!(error.detail.unwrap().contains("offset 1000"));
    assert_eq!(reader.poll(Duration::ZERO, 10).unwrap_err().kind, ErrorKind::DataLoss);
}

#[test]
fn a_missing_topic_is_named() {
    let Some(kafka) = Kafka::shared() else { return };
    let source = registry::open(&spec(kafka.servers(), "no-such-topic")).unwrap();
    let error = source.discover(PATIENCE).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fix, "{error:?}");
    assert_eq!(error.message, "topic \"no-such-topic\" does not exist");
}

#[test]
fn a_broker_that_is_down_is_named_with_the_reason() {
    // Nothing listens on port 1.
    let source = registry::open(&spec("127.0.0.1:1", "t")).unwrap();
    let began = Instant::now();
    let error = source.discover(Duration::from_secs(30)).unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(error.kind, ErrorKind::Retry);
    assert_eq!(error.message, "could not connect to Kafka broker(s) \"127.0.0.1:1\"");
    assert!(error.detail.as_ref().unwrap().contains("refused"), "{error:?}");
}

#[test]
fn a_wrong_password_is_an_error_to_fix_and_never_shown() {
    let Some(kafka) = Kafka::shared() else { return };
    let Some(servers) = kafka.sasl_servers() else { return };
    let topic = kafka.create_topic("sasl", 1);
    kafka.produce(&topic, [TestMessage::value(0, row(1))]);
    let open = |password| {
        let options = [
            ("properties.security.protocol", "SASL_PLAINTEXT"),
            ("properties.sasl.mechanism", "PLAIN"),
            ("properties.sasl.username", SASL_USER.0),
            ("properties.sasl.password", password),
        ];
        registry::open(&with(spec(servers, &topic), &options)).unwrap()
    };
    let error = open("wrong-password").discover(PATIENCE).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fix, "{error:?}");
    assert!(error.message.contains("could not authenticate"), "{error:?}");
    assert!(!format!("{error:?}").contains("wrong-password"));
    let right = open(SASL_USER.1);
    assert_eq!(right.discover(PATIENCE).unwrap().len(), 1);
    assert_eq!(ids(&read(right.as_ref(), "0", 0, 1).rows), [1]);
}

#[test]
fn declarations_that_cannot_work_are_refused() {
    let message = |spec: SourceSpec| {
        let error = registry::open(&spec).err().unwrap();
        assert_eq!(error.kind, ErrorKind::Fix);
        error.message
    };
    let base = || spec("127.0.0.1:1", "t");
    assert_eq!(
        message(SourceSpec { format: None, ..base() }),
        "connector \"kafka\" needs a FORMAT"
    );
    assert_eq!(message(upsert(base(), vec![])), "FORMAT UPSERT needs a PRIMARY KEY");
    assert_eq!(
        message(upsert(included(base(), vec![IncludeKind::Offset]), vec![2])),
        "the PRIMARY KEY must be in the message key"
    );
    assert_eq!(
        message(with(base(), &[("scan.startup.mode", "timestamp")])),
        "option \"scan.startup.timestamp.millis\" is required"
    );
    assert_eq!(
        message(with(base(), &[("scan.startup.mode", "middle")])),
        "invalid value for option \"scan.startup.mode\": \"middle\""
    );
    let twice = SourceSpec {
        include: vec![Include { kind: IncludeKind::Offset, name: "id".into() }],
        ..base()
    };
    assert_eq!(message(twice), "column \"id\" specified more than once");
}
