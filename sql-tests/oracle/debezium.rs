//! A database's change events from a real broker: at every restart the table and its views have the rows that the database has.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidewater::coordinator::Image;
use tidewater::server::Server;
use tidewater_connectors::testing::kafka::{Kafka, TestMessage};

use crate::engine::{Bag, bag, execute, session};

const MEMORY: u64 = 1 << 30;
const PARTITIONS: i64 = 3;
const KEYS: i64 = 30;
const PATIENCE: Duration = Duration::from_secs(60);

/// The table upstream.
struct Upstream {
    rng: StdRng,
    rows: BTreeMap<i64, i64>,
}

impl Upstream {
    /// One change at random; an update of the key itself is a delete and an insert, as databases' logs have it.
    fn change(&mut self, id: i64) -> TestMessage {
        let total = self.rng.random_range(-1_000..1_000i64);
        let described = |row: &str| {
            let fields = r#"[{"type":"int64","field":"id"},{"type":"bytes","field":"total","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}}]"#;
            let (before, after) = (r#""field":"before""#, r#""field":"after""#);
            format!(
                r#"{{"schema":{{"fields":[{{{before},"fields":{fields}}},{{{after},"fields":{fields}}}]}},"payload":{row}}}"#
            )
        };
        let row = |id: i64, total: i64| {
            let bytes = base64(&total.to_be_bytes());
            format!(r#"{{"id":{id},"total":"{bytes}"}}"#)
        };
        let event = match (self.rows.get(&id).copied(), self.rng.random_range(0..3)) {
            (None, _) => {
                self.rows.insert(id, total);
                format!(r#"{{"op":"c","before":null,"after":{}}}"#, row(id, total))
            }
            (Some(_), 0) => {
                self.rows.remove(&id);
                format!(r#"{{"op":"d","before":{{"id":{id}}},"after":null}}"#)
            }
            (Some(old), _) => {
                self.rows.insert(id, total);
                let before = if self.rng.random_bool(0.5) { row(id, old) } else { "null".into() };
                format!(r#"{{"op":"u","before":{before},"after":{}}}"#, row(id, total))
            }
        };
        let mut message = TestMessage::keyed(format!("{{\"id\":{id}}}"), Some(&described(&event)));
        message.partition = (id % PARTITIONS) as i32;
        message
    }

    fn changes(&mut self, count: usize) -> Vec<TestMessage> {
        let mut messages = vec![];
        for _ in 0..count {
            let id = self.rng.random_range(0..KEYS);
            let change = self.change(id);
            let tombstone = TestMessage { value: None, ..change.clone() };
            messages.push(change);
            if !self.rows.contains_key(&id) {
                messages.push(tombstone);
            }
        }
        messages
    }

    fn rows(&self) -> Bag {
        let cents = |(id, total): (&i64, &i64)| {
            let (sign, whole) = (if *total < 0 { "-" } else { "" }, total.abs());
            let mut text = String::new();
            write!(text, "{id} | {sign}{}.{:02}", whole / 100, whole % 100).unwrap();
            (text, 1)
        };
        self.rows.iter().map(cents).collect()
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| {
        let bits =
            three.iter().fold(0u32, |bits, b| bits << 8 | u32::from(*b)) << (8 * (3 - three.len()));
        let digit = |n: usize| char::from(DIGITS[(bits >> (18 - 6 * n) & 63) as usize]);
        (0..4).map(|n| if n <= three.len() { digit(n) } else { '=' }).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

async fn rows(server: &Arc<Server>, sql: &str) -> Bag {
    let mut session = session(server).unwrap();
    bag(&execute(&mut session, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}")))
}

async fn wait_for(server: &Arc<Server>, expected: &Bag) {
    let began = Instant::now();
    loop {
        let found = rows(server, "select id, total from orders").await;
        if found == *expected {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{found:?} is not {expected:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let view = rows(server, "select * from same").await;
    assert_eq!(view, *expected, "a view over it");
    let letters = rows(server, "select object, error from tidewater.dead_letters").await;
    assert!(letters.is_empty(), "{letters:?}");
}

#[test]
fn a_database_is_followed_exactly_through_restarts() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = kafka.create_topic("orders", PARTITIONS as i32);
    let mut upstream = Upstream { rng: StdRng::seed_from_u64(4), rows: BTreeMap::new() };
    crate::runtime().block_on(async {
        let mut server = Server::start(2, MEMORY).unwrap();
        let create = format!(
            "create source orders (id bigint primary key, total numeric(9,2)) with (connector = 'kafka', \
             topic = '{topic}', properties.bootstrap.server = '{}') format debezium encode json; \
             create materialized view same as select id, total from orders",
            kafka.servers()
        );
        rows(&server, &create).await;
        let mut image: Option<Image> = None;
        for workers in [1, 3, 2] {
            kafka.produce(&topic, upstream.changes(200));
            wait_for(&server, &upstream.rows()).await;
            let later = server.coordinator.checkpoint().await.unwrap();
            match &mut image {
                None => image = Some(later),
                Some(image) => image.extend(later).unwrap(),
            }
            // What is read after the checkpoint is forgotten by the restart, and read again.
            kafka.produce(&topic, upstream.changes(100));
            wait_for(&server, &upstream.rows()).await;
            server.shutdown();
            server = Server::restore(image.clone().unwrap(), workers, MEMORY).unwrap();
            wait_for(&server, &upstream.rows()).await;
        }
        server.shutdown();
    });
}
