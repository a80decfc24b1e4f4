//! Arrangements that views share: one for all of them, gone with the last one, and there again after a restart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidewater::server::Server;

use crate::engine::{execute, session};

const MEMORY: u64 = 4 << 30;

async fn run(server: &Arc<Server>, sql: &str) -> Vec<String> {
    let mut session = session(server).unwrap();
    let rows = execute(&mut session, sql).await.unwrap();
    crate::engine::bag(&rows).into_keys().collect()
}

/// What runs that the catalog does not know: name, and whose it is does not matter.
fn shared(server: &Server) -> Vec<String> {
    let catalog = server.catalog.snapshot();
    let live = server.coordinator.shared.live.load();
    let unknown = live.iter().filter(|(id, _)| catalog.get(**id).is_none());
    let names: BTreeMap<_, _> =
        unknown.map(|(id, live)| (*id, live.names().object.clone())).collect();
    names.into_values().collect()
}

/// Bytes that the operators of all views hold.
fn operators(server: &Server) -> i64 {
    let live = server.coordinator.shared.live.load();
    live.values().map(|live| live.counters.operator_bytes.load(Ordering::Relaxed)).sum()
}

#[test]
fn ten_views_that_join_a_table_on_a_column_keep_it_once() {
    crate::runtime().block_on(async {
        let server = Server::start(2, MEMORY).unwrap();
        run(&server, "create table orders (id int primary key, customer int, price int)").await;
        run(&server, "create table customers (id int primary key, name text)").await;
        run(&server, "insert into orders select i, i % 100, i from generate_series(1, 1000) i")
            .await;
        run(&server, "insert into customers select i, 'c' || i from generate_series(0, 99) i")
            .await;
        for view in 0..10 {
            let sql = format!(
                "create materialized view v{view} as select o.id, c.name, o.price + {view} as price \
                 from customers c join orders o on c.id = o.customer"
            );
            run(&server, &sql).await;
        }
        // The customers' own arrangement is by their key.
        assert_eq!(shared(&server), ["orders by (customer)"]);
        // Joins keep nothing for themselves once what they were filled with has gone.
        while operators(&server) > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let sums = "select sum(price) from v0 union all select sum(price) - 10000 from v1";
        run(&server, "update orders set customer = 7, price = price + 1 where id <= 10").await;
        assert_eq!(run(&server, sums).await, ["491510", "500510"].map(str::to_owned));
        drop_nine(&server).await;
    });
}

async fn drop_nine(server: &Arc<Server>) {
    for view in 1..10 {
        run(server, &format!("drop materialized view v{view}")).await;
    }
    assert_eq!(shared(server), ["orders by (customer)"]);
    run(server, "drop materialized view v0").await;
    assert_eq!(shared(server), [""; 0]);
}

#[test]
fn a_named_index_keeps_an_arrangement_after_the_views_and_goes_with_its_table() {
    crate::runtime().block_on(async {
        let server = Server::start(2, MEMORY).unwrap();
        run(&server, "create table t (k int primary key, g int); create table u (g int)").await;
        run(&server, "insert into t select i, i % 3 from generate_series(1, 9) i").await;
        run(&server, "create index by_g on t (g)").await;
        let view = "create materialized view v as select t.k from t join u on t.g = u.g";
        run(&server, view).await;
        assert_eq!(shared(&server), ["t by (g)", "u by (g)"]);
        run(&server, "drop index by_g").await;
        run(&server, "insert into u values (1)").await;
        assert_eq!(run(&server, "select k from v").await, ["1", "4", "7"]);
        run(&server, "create index again on t (g)").await;
        run(&server, "drop materialized view v").await;
        assert_eq!(shared(&server), ["t by (g)"]);
        assert_eq!(run(&server, "select k from t where g = 2").await, ["2", "5", "8"]);

        let image = server.coordinator.checkpoint().await.unwrap();
        server.shutdown();
        let server = Server::restore(image, 1, MEMORY).unwrap();
        assert_eq!(shared(&server), ["t by (g)"]);
        assert_eq!(run(&server, "select k from t where g = 2").await, ["2", "5", "8"]);
        run(&server, view).await;
        assert_eq!(run(&server, "select k from v").await, ["1", "4", "7"]);
        run(&server, "drop table t cascade").await;
        run(&server, "drop table u").await;
        assert_eq!(shared(&server), [""; 0]);
        assert!(server.coordinator.shared.indexes.load().is_empty());
    });
}
