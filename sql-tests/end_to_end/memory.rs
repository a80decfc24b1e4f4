//! The memory limit: writes are refused at it, deleting makes room, sources wait and go on.

use std::time::Duration;

use super::client::Client;
use super::server::Server;

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn at_the_limit_inserts_fail_and_sources_pause_until_rows_are_deleted() {
    let server = Server::start(&["--workers", "1", "--memory-limit", "64MiB"]).unwrap();
    let client = Client::connect(&server.url);
    client.query("create table filler (id int primary key, text varchar)");
    let fill = |from: u32| {
        format!(
            "insert into filler select i, repeat('x', 1000) from generate_series({from}, {}) t(i)",
            from + 1999
        )
    };
    let mut from = 0;
    let refused = loop {
        match client.try_query(&fill(from)) {
            Ok(_) => from += 2_000,
            Err(error) => break error,
        }
        assert!(from < 200_000, "the limit is never reached");
    };
    assert_eq!(refused.code().map(|c| c.code()), Some("53200"), "{refused:?}");
    // Reading goes on, and a source that is created now waits.
    assert_eq!(client.value("select count(*) from filler"), from.to_string());
    client.query(
        "create source numbers (n bigint) with (connector = 'datagen', fields.n.kind = 'sequence', fields.n.start = '1', \
         fields.n.end = '1000', 'datagen.rows.per.second' = '1000')",
    );
    client.query("create materialized view total as select count(*) c from numbers");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(client.value("select c from total"), "0");
    client.query("delete from filler");
    client.wait_for("select c from total", "1000", PATIENCE);
    client.query(&fill(0));
    server.stop().unwrap();
}

#[test]
fn a_table_filled_and_emptied_many_times_leaves_its_state_flat() {
    let server = Server::start(&["--workers", "2"]).unwrap();
    let client = Client::connect(&server.url);
    client.query(
        "create table t (id int primary key, k int, v text); \
         create materialized view m as select k, count(*) c, max(v) v from t group by k",
    );
    for _ in 0..20 {
        client.query(
            "insert into t select i, i % 100, 'value ' || i from generate_series(1, 2000) s(i)",
        );
        client.query("delete from t");
    }
    assert_eq!(client.value("select count(*) from m"), "0");
    let bytes: u64 =
        client.value("select pg_relation_size('t') + pg_relation_size('m')").parse().unwrap();
    assert!(bytes < 400_000, "{bytes} bytes are held for nothing");
    server.stop().unwrap();
}
