//! Events of a real Kafka broker in, exact views out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidewater_connectors::testing::kafka::{Kafka, TestMessage};

use super::client::Client;
use super::server::Server;

const PATIENCE: Duration = Duration::from_secs(60);

fn bid(n: u64) -> (u64, u64, String) {
    let (auction, price) = (n * 7 % 50, n * n % 1_000);
    (
        auction,
        price,
        format!("{{\"auction\":{auction},\"price\":{price},\"extra\":\"{}\"}}", "x".repeat(80)),
    )
}

/// What the view must hold, counted beside the server.
#[derive(Default)]
struct Recount(BTreeMap<u64, (u64, u64)>);

impl Recount {
    /// Messages numbered `from..to`, over four partitions.
    fn messages(&mut self, from: u64, to: u64) -> Vec<TestMessage> {
        (from..to)
            .map(|n| {
                let (auction, price, json) = bid(n);
                let entry = self.0.entry(auction).or_default();
                *entry = (entry.0 + 1, entry.1 + price);
                TestMessage::value((n % 4) as i32, json)
            })
            .collect()
    }

    fn rows(&self) -> Vec<String> {
        self.0.iter().map(|(auction, (count, sum))| format!("{auction}|{count}|{sum}")).collect()
    }
}

#[test]
fn views_over_a_topic_are_exact_through_bad_messages_and_a_broker_kill() {
    let Some(mut kafka) = Kafka::own() else { return };
    let topic = kafka.create_topic("bid", 4);
    let mut recount = Recount::default();
    kafka.produce(&topic, recount.messages(0, 20_000));
    let bad = ["{", "{\"auction\":\"abc\",\"price\":1}", "", "[1,2]", "{\"auction\":1} x"];
    kafka.produce(&topic, bad.map(|message| TestMessage::value(1, message)));
    let server = Server::start(&["--workers", "2"]).unwrap();
    let client = Client::connect(&server.url);
    client.query(&format!(
        "create source bid (auction bigint, price bigint) with (connector = 'kafka', topic = '{topic}', \
         properties.bootstrap.server = '{}', scan.startup.mode = 'earliest') format plain encode json; \
         create materialized view per_auction as select auction, count(*) c, sum(price) s from bid group by auction",
        kafka.servers()
    ));
    let total = "select coalesce(sum(c), 0) from per_auction";
    let rows = "select * from per_auction order by auction";
    client.wait_for(total, "20000", PATIENCE);
    assert_eq!(client.query(rows), recount.rows());
    kafka.kill();
    assert_eq!(client.value("select count(*) from per_auction"), recount.0.len().to_string());
    kafka.restart().unwrap();
    kafka.produce(&topic, recount.messages(20_000, 30_000));
    client.wait_for(total, "30000", PATIENCE);
    assert_eq!(client.query(rows), recount.rows());
    wait_for_state(&client, "bid", "running");
    // A view made later reads the earlier messages itself, then follows the shared reader.
    client.query("create materialized view later as select auction, count(*) c, sum(price) s from bid group by auction");
    assert_eq!(client.query("select * from later order by auction"), recount.rows());
    kafka.produce(&topic, recount.messages(30_000, 31_000));
    client.wait_for(total, "31000", PATIENCE);
    let together = "select count(*) from (select * from later except select * from per_auction) d";
    assert_eq!(client.value(together), "0");
    assert_eq!(client.value("select count(*) from tidewater.dead_letters"), "5");
    assert_eq!(client.value("select count(*) from bid"), "31000");
    server.stop().unwrap();
}

#[test]
fn nested_json_becomes_structs_and_maps_and_goes_on_as_them() {
    let Some(kafka) = Kafka::shared() else { return };
    let (topic, out) = (kafka.create_topic("order", 2), kafka.create_topic("spent", 1));
    let message = |id: u32, name: &str, zip: &str| {
        let at = format!("{{\"city\":\"{name}ville\",\"zip\":{zip}}}");
        TestMessage::value(
            (id % 2) as i32,
            format!(
                "{{\"id\":{id},\"who\":{{\"name\":\"{name}\",\"at\":{at}}},\"items\":[{{\"sku\":\"a\",\"n\":{id}}},{{\"sku\":\"b\"}}],\
                 \"tags\":{{\"z\":{id},\"a\":null}},\"grid\":[[1,{id}],[]]}}"
            ),
        )
    };
    kafka.produce(
        &topic,
        [message(1, "Ann", "11"), message(2, "Bob", "22"), message(3, "Ann", "11")],
    );
    kafka.produce(
        &topic,
        [message(4, "Eve", "\"x\""), TestMessage::value(0, "{\"id\":5,\"tags\":[]}")],
    );
    let server = Server::start(&["--workers", "2"]).unwrap();
    let client = Client::connect(&server.url);
    let servers = kafka.servers();
    client.query(&format!(
        "create source orders (id int, who struct<name varchar, at struct<city varchar, zip int>>, \
         items struct<sku varchar, n int>[], tags map(varchar, int), grid int[][]) with (connector = 'kafka', topic = '{topic}', \
         properties.bootstrap.server = '{servers}', scan.startup.mode = 'earliest') format plain encode json; \
         create materialized view spent as select o.who, sum(i.n) as n, sum(o.tags['z']) as z, map {{'last': max(o.id)}} as m \
         from orders o, unnest(o.items) i group by o.who; \
         create sink spent_out from spent with (connector = 'kafka', topic = '{out}', \
         properties.bootstrap.server = '{servers}', primary_key = 'who') format upsert encode json"
    ));
    client.wait_for("select count(*) from orders", "3", PATIENCE);
    let rows = client.query("select who, (who).at.zip, n, z, m from spent order by who");
    let expected =
        ["(Ann,\"(Annville,11)\")|11|4|8|{last:3}", "(Bob,\"(Bobville,22)\")|22|2|4|{last:2}"];
    assert_eq!(rows, expected);
    let values = client.query("select tags, grid, items[1].n from orders where id = 3");
    assert_eq!(values, ["{a:NULL,z:3}|{{1,3},{}}|3"]);
    assert_eq!(client.value("select count(*) from tidewater.dead_letters"), "2");
    let began = Instant::now();
    let wanted =
        r#"{"who":{"name":"Ann","at":{"city":"Annville","zip":11}},"n":4,"z":8,"m":{"last":3}}"#;
    let arrived = || kafka.consume(&out).into_iter().filter_map(|message| message.value);
    while !arrived().any(|value| value == wanted.as_bytes()) {
        assert!(began.elapsed() < PATIENCE, "the sink writes objects");
        std::thread::sleep(Duration::from_millis(100));
    }
    server.stop().unwrap();
}

#[test]
fn upserts_by_key_become_a_table_and_new_partitions_are_noticed() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = kafka.create_topic("user", 1);
    let upsert = |key: u32, name: &str| {
        TestMessage::keyed(
            format!("{{\"id\":{key}}}"),
            Some(&format!("{{\"id\":{key},\"name\":\"{name}\"}}")),
        )
    };
    kafka.produce(&topic, [upsert(1, "ada"), upsert(2, "bob"), upsert(1, "eve"), upsert(3, "zoe")]);
    kafka.produce(&topic, [TestMessage::keyed("{\"id\":2}", None)]);
    let server = Server::start(&["--workers", "2"]).unwrap();
    let client = Client::connect(&server.url);
    client.query(&format!(
        "create table users (id int primary key, name varchar) with (connector = 'kafka', topic = '{topic}', \
         properties.bootstrap.server = '{}', scan.startup.mode = 'earliest') format upsert encode json; \
         create materialized view n as select count(*) c from users",
        kafka.servers()
    ));
    client.wait_for(
        "select string_agg(id || name, ' ' order by id) from users",
        "1eve 3zoe",
        PATIENCE,
    );
    assert_eq!(client.value("select c from n"), "2");
    kafka.add_partitions(&topic, 2);
    let mut message = upsert(9, "new");
    message.partition = 1;
    kafka.produce(&topic, [message]);
    client.wait_for("select c from n", "3", PATIENCE);
    server.stop().unwrap();
}

/// Waits until SHOW SOURCES has a source in this state.
fn wait_for_state(client: &Client, name: &str, wanted: &str) {
    let began = Instant::now();
    let wanted = format!("{name}|kafka|{wanted}|");
    while !client.query("show sources").iter().any(|row| row.starts_with(&wanted)) {
        assert!(began.elapsed() < PATIENCE, "{wanted} {:?}", client.query("show sources"));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The WITH clause of a topic.
fn with_topic(kafka: &Kafka, topic: &str) -> String {
    let servers = kafka.servers();
    format!(
        "with (connector = 'kafka', topic = '{topic}', properties.bootstrap.server = '{servers}')"
    )
}

#[test]
fn an_upsert_source_is_read_as_what_its_messages_come_to() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = kafka.create_topic("price", 1);
    let set = |key: u32, price: u32| {
        let json = format!("{{\"id\":{key},\"kind\":\"k\",\"price\":{price}}}");
        TestMessage::keyed(format!("{key}"), Some(&json))
    };
    kafka.produce(&topic, [set(1, 10), set(2, 20), set(3, 5)]);
    let server = Server::start(&["--workers", "2"]).unwrap();
    let client = Client::connect(&server.url);
    let with = with_topic(&kafka, &topic);
    client.query(&format!(
        "create source price (id int primary key, kind varchar, price int) {with} format upsert encode json; \
         create materialized view extremes as select kind, max(price) hi, min(price) lo from price group by kind; \
         create materialized view dearest as select id from price order by price desc limit 1; \
         create source raw (kind varchar, price int, primary key (k)) include key as k {with} format upsert encode json; \
         create table newest (kind varchar primary key, price int) {with} format plain encode json"
    ));
    client.wait_for("select max(hi || ' ' || lo) from extremes", "20 5", PATIENCE);
    // Views over it are told of rows that go: neither the largest nor the first row of an order may stay behind.
    kafka.produce(&topic, [set(2, 1), TestMessage::keyed("3", None)]);
    client.wait_for("select max(hi || ' ' || lo) from extremes", "10 1", PATIENCE);
    assert_eq!(client.value("select id from dearest"), "1");
    assert_eq!(client.query("select id, price from price order by id"), ["1|10", "2|1"]);
    client.wait_for("select string_agg(price::text, ' ' order by k) from raw", "10 1", PATIENCE);
    // A table has one row of a key whatever the format; a message without value is no row of FORMAT PLAIN.
    client.wait_for("select max(price) from newest", "1", PATIENCE);
    let tables = "create table t (a int default 1) with (connector = 'datagen')";
    assert_eq!(client.failure(tables), "0A000");
    let keyed = "create source s (a int primary key) with (connector = 'datagen')";
    assert_eq!(client.failure(keyed), "42P16");
    server.stop().unwrap();
}

#[test]
fn a_column_of_a_topic_is_read_from_when_it_is_added() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = kafka.create_topic("widening", 1);
    let set = |key: u32, price: u32, size: u32| {
        let json = format!("{{\"id\":{key},\"price\":{price},\"size\":{size}}}");
        TestMessage::keyed(format!("{key}"), Some(&json))
    };
    kafka.produce(&topic, [set(1, 10, 100), set(2, 20, 200)]);
    let server = Server::start(&["--workers", "2"]).unwrap();
    let client = Client::connect(&server.url);
    let with = with_topic(&kafka, &topic);
    client.query(&format!(
        "create table item (id int primary key, price int) {with} format upsert encode json; \
         create source log (id int, price int) {with} format plain encode json; \
         create materialized view total as select sum(price) v from item; \
         create materialized view messages as select count(*) n, sum(price) v from log"
    ));
    client.wait_for("select v from total", "30", PATIENCE);
    client.wait_for("select n || ' ' || v from messages", "2 30", PATIENCE);
    client.query("alter table item add column size int");
    client.query("alter source log add column size int");
    assert_eq!(client.query("select * from item order by id"), ["1|10|~", "2|20|~"]);
    client.query("create materialized view sizes as select sum(size) v from log");
    kafka.produce(&topic, [set(1, 11, 101), set(3, 30, 300), TestMessage::keyed("2", None)]);
    client.wait_for("select v from total", "41", PATIENCE);
    assert_eq!(client.query("select * from item order by id"), ["1|11|101", "3|30|300"]);
    client.wait_for("select n || ' ' || v from messages", "4 71", PATIENCE);
    client.wait_for("select v from sizes", "701", PATIENCE);
    // What nobody reads any more goes; the views do not notice.
    client.query("alter table item drop column size");
    kafka.produce(&topic, [set(3, 31, 0)]);
    client.wait_for("select v from total", "42", PATIENCE);
    assert_eq!(client.query("select * from item order by id"), ["1|11", "3|31"]);
    server.stop().unwrap();
}

#[test]
fn the_last_message_of_a_key_wins_however_many_workers_there_are() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = kafka.create_topic("last", 1);
    // Many batches of a reader, which come in one epoch, have each key.
    let (keys, messages) = (10u32, 100_000u32);
    let set = |n: u32| {
        TestMessage::keyed(format!("{}", n % keys), Some(&format!("{{\"id\":1,\"n\":{n}}}")))
    };
    kafka.produce(&topic, (0..messages).map(set));
    let server = Server::start(&["--workers", "3"]).unwrap();
    let client = Client::connect(&server.url);
    let with = with_topic(&kafka, &topic);
    for table in ["a", "b", "c", "d"] {
        client.query(&format!(
            "create table {table} (id int primary key, n int) {with} format upsert encode json"
        ));
    }
    for table in ["a", "b", "c", "d"] {
        let last = messages - 1;
        client.wait_for(&format!("select max(n) from {table}"), &last.to_string(), PATIENCE);
        let least = (messages - keys).to_string();
        assert_eq!(client.value(&format!("select min(n) from {table}")), least, "{table}");
    }
    server.stop().unwrap();
}

#[test]
fn nested_json_is_read_by_field_element_and_path() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = kafka.create_topic("nested", 1);
    let json = r#"{"at":1709201472.5,"s":{"a":1,"B":["x","y"]},"j":{"k":[1]},"v":"abcd"}"#;
    kafka.produce(&topic, [TestMessage::value(0, json)]);
    kafka.produce(&topic, [TestMessage::value(0, r#"{"s":{"a":2},"v":"abcde"}"#)]);
    let server = Server::start(&["--workers", "2"]).unwrap();
    let client = Client::connect(&server.url);
    let with = with_topic(&kafka, &topic);
    client.query(&format!(
        "create source nested (at timestamp, s struct<a int, b text[]>, j jsonb, v varchar(4)) \
         include payload as message {with} format plain encode json; \
         create materialized view flat as select (s).a, (s).b[2] as second, j->'k'->>0 as k, v, at, message from nested"
    ));
    client.wait_for("select count(*) from flat", "1", PATIENCE);
    let flat = client.value("select a, second, k, v, at, message from flat");
    assert_eq!(flat, format!("1|y|1|abcd|2024-02-29 10:11:12.5|{json}"));
    assert_eq!(client.value("select sum((s).a) from nested where (s).a > 0"), "1");
    assert_eq!(client.failure("select (s).nosuch from nested"), "42703");
    assert_eq!(client.failure("select (v).a from nested"), "42809");
    let letter = "select sqlstate, error from tidewater.dead_letters";
    let too_long = "column \"v\": value too long for type character varying(4)";
    assert_eq!(client.value(letter), format!("22001|{too_long} (split 0, offset 1)"));
    server.stop().unwrap();
}

#[test]
fn what_a_topic_has_lost_stops_only_those_who_need_it() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = kafka.create_topic("lost", 1);
    let ids = |from: u32, to: u32| {
        (from..to).map(|id| TestMessage::value(0, format!("{{\"id\":{id}}}"))).collect::<Vec<_>>()
    };
    kafka.produce(&topic, ids(0, 100));
    let server = Server::start(&["--workers", "2"]).unwrap();
    let client = Client::connect(&server.url);
    let with = with_topic(&kafka, &topic);
    client.query(&format!(
        "create source lost (id int) {with} format plain encode json; \
         create materialized view early as select count(*) c from lost"
    ));
    client.wait_for("select c from early", "100", PATIENCE);
    kafka.delete_records(&topic, 0, 50);
    // The backfill fails; the shared reader, which waited for its end, goes on.
    let late = "create materialized view late as select count(*) c from lost";
    assert_eq!(client.failure(late), "55000");
    assert_eq!(client.failure("select count(*) from lost"), "55000");
    kafka.produce(&topic, ids(100, 110));
    client.wait_for("select c from early", "110", PATIENCE);
    // A partition that appears later is in a SELECT at once, in views when it was noticed.
    let other = kafka.create_topic("grown", 1);
    client.query(&format!(
        "create source grown (id int) {} format plain encode json",
        with_topic(&kafka, &other)
    ));
    kafka.add_partitions(&other, 2);
    kafka.produce(&other, [TestMessage::value(1, "{\"id\":7}")]);
    client.wait_for("select coalesce(max(id), 0) from grown", "7", PATIENCE);
    // Another topic of the name is not read on as if it were the same.
    kafka.delete_topic(&topic);
    wait_for_state(&client, "lost", "retrying");
    kafka.create_topic_named(&topic, 1);
    kafka.produce(&topic, ids(0, 500));
    wait_for_state(&client, "lost", "failed");
    assert_eq!(client.failure("select c from early"), "08000");
    assert_eq!(client.value("select count(*) from grown"), "1");
    server.stop().unwrap();
}

#[test]
fn a_source_that_cannot_be_read_is_refused_with_the_cause() {
    let Some(kafka) = Kafka::shared() else { return };
    let server = Server::start(&[]).unwrap();
    let client = Client::connect(&server.url);
    let create = |topic: &str, servers: &str| {
        format!(
            "create source s (a int) with (connector = 'kafka', topic = '{topic}', \
             properties.bootstrap.server = '{servers}') format plain encode json"
        )
    };
    assert_eq!(client.failure(&create("no-such-topic", kafka.servers())), "22023");
    assert_eq!(client.failure(&create("t", "127.0.0.1:1")), "08006");
    assert_eq!(
        client
            .failure("create source s (a int) with (connector = 'kafak') format plain encode json"),
        "22023"
    );
    server.stop().unwrap();
}
