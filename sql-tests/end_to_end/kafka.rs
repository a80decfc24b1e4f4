//! Events of a real Kafka broker in, exact views out.

use std::collections::BTreeMap;
use std::time::Duration;

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
