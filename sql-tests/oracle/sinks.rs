//! Sinks through restarts: whatever was delivered when, a topic adds up to the view as it is now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidewater::coordinator::Image;
use tidewater::server::Server;
use tidewater_connectors::testing::kafka::Kafka;

use crate::engine::{Bag, bag, execute, session};

const MEMORY: u64 = 1 << 30;
const PATIENCE: Duration = Duration::from_secs(60);

async fn run(server: &Arc<Server>, sql: &str) -> Bag {
    let mut session = session(server).unwrap();
    bag(&execute(&mut session, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}")))
}

/// The last value of each key.
fn folded(kafka: &Kafka, topic: &str) -> Bag {
    let mut rows = BTreeMap::new();
    for message in kafka.consume(topic) {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        match message.value {
            Some(value) => drop(rows.insert(message.key.unwrap(), text(value))),
            None => drop(rows.remove(&message.key.unwrap())),
        }
    }
    rows.into_values().map(|value| (value, 1)).collect()
}

#[test]
fn a_topic_adds_up_to_the_view_whenever_the_server_ends() {
    let Some(kafka) = Kafka::shared() else { return };
    let topic = kafka.create_topic("sums", 2);
    let mut rng = StdRng::seed_from_u64(11);
    crate::runtime().block_on(async {
        let mut server = Server::start(2, MEMORY).unwrap();
        let create = format!(
            "create table t (id bigint primary key, k bigint, v bigint); \
             create materialized view sums as select k, sum(v) as s from t group by k; \
             create sink out from sums with (connector = 'kafka', topic = '{topic}', \
             properties.bootstrap.server = '{}') format upsert encode json",
            kafka.servers()
        );
        run(&server, &create).await;
        let mut image: Option<Image> = None;
        for workers in [1, 3, 2, 1] {
            for _ in 0..rng.random_range(1..20) {
                let (from, k) = (rng.random_range(0..50), rng.random_range(0..9));
                let to = from + 20;
                run(&server, &format!("delete from t where id between {from} and {to}")).await;
                let insert = format!(
                    "insert into t select g, g % 5 + {k}, g from generate_series({from}, {to}) as x(g) where g % 3 = {}",
                    k % 3
                );
                run(&server, &insert).await;
            }
            // Some of it is delivered and some is not; the checkpoint knows which.
            let later = server.coordinator.checkpoint().await.unwrap();
            match &mut image {
                None => image = Some(later),
                Some(image) => image.extend(later).unwrap(),
            }
            server.shutdown();
            server = Server::restore(image.clone().unwrap(), workers, MEMORY).unwrap();
            let sums = "select '{\"k\":' || k || ',\"s\":' || s || '}' from sums";
            let expected = run(&server, sums).await;
            let began = Instant::now();
            while folded(&kafka, &topic) != expected {
                let found = folded(&kafka, &topic);
                assert!(began.elapsed() < PATIENCE, "{found:?} is not {expected:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        server.shutdown();
    });
}
