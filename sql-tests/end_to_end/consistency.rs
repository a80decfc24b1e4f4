//! Bank transfers: whatever happens beside them, no reader sees money appear or vanish.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::client::Client;
use super::server::Server;

const VIEWS: &str = "create table t (id int primary key, a int, b int, n int); \
    create materialized view credits as select a acc, sum(n) v from t group by a; \
    create materialized view debits as select b acc, sum(n) v from t group by b; \
    create materialized view balance as select coalesce(c.acc, d.acc) acc, coalesce(c.v, 0) - coalesce(d.v, 0) v \
        from credits c full join debits d on c.acc = d.acc; \
    create materialized view total as select sum(v) v from balance; \
    create materialized view self_join as select x.id, y.id other from t x left join t y on x.id = y.id";

fn write(url: &str, writer: i32, stop: &AtomicBool) -> u32 {
    let client = Client::connect(url);
    let (mut id, mut written) = (writer * 1_000_000, 0);
    while !stop.load(Ordering::Relaxed) {
        let (a, b, n) = (id % 10, id * 7 % 10, id % 97);
        client.query(&format!(
            "insert into t values ({id}, {a}, {b}, {n}), ({}, {b}, {a}, {n})",
            id + 1
        ));
        id += 2;
        written += 2;
        if id % 20 == 0 {
            client.query(&format!("delete from t where id % 7 = {} and id < {}", id % 7, id - 50));
            client.query(&format!("update t set n = n + 1 where id = {}", id - 2));
        }
    }
    written
}

#[test]
fn readers_never_see_a_total_other_than_zero_nor_a_false_null() {
    let server = Server::start(&["--workers", "2"]).unwrap();
    Client::connect(&server.url).query(VIEWS);
    let stop = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicU32::new(0));
    std::thread::scope(|scope| {
        for writer in 1..=2 {
            let (url, stop, written) = (&server.url, stop.clone(), written.clone());
            scope.spawn(move || written.fetch_add(write(url, writer, &stop), Ordering::Relaxed));
        }
        let (url, stopped) = (&server.url, stop.clone());
        scope.spawn(move || {
            let client = Client::connect(url);
            while !stopped.load(Ordering::Relaxed) {
                client.query("create materialized view beside as select b, count(*) c, max(n) m from t group by b");
                assert_eq!(client.value("select coalesce(sum(c), 0) - (select count(*) from t) from beside"), "0");
                client.query("drop materialized view beside");
            }
        });
        let client = Client::connect(&server.url);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(8) {
            assert_eq!(client.value("select coalesce(max(v), 0) from total"), "0");
            assert_eq!(client.value("select count(*) from self_join where other is null"), "0");
            let difference =
                "select coalesce((select sum(v) from credits) - (select sum(v) from debits), 0)";
            assert_eq!(client.value(difference), "0");
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(written.load(Ordering::Relaxed) > 20, "the writers were not stuck");
    server.stop().unwrap();
}

/// Two writers insert, update and delete while a column comes and goes, and the views over the table are looked at.
#[test]
fn columns_come_and_go_under_writers_and_no_row_is_lost_or_seen_by_half() {
    let server = Server::start(&["--workers", "2"]).unwrap();
    Client::connect(&server.url).query(VIEWS);
    let stop = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let writers: Vec<_> = (1..=2)
            .map(|writer| {
                let (url, stop) = (&server.url, stop.clone());
                scope.spawn(move || write(url, writer, &stop))
            })
            .collect();
        let (url, stopped) = (&server.url, stop.clone());
        let altering = scope.spawn(move || {
            let client = Client::connect(url);
            let mut altered = 0;
            while !stopped.load(Ordering::Relaxed) {
                client.query("alter table t add column extra int not null default 5");
                assert_eq!(client.value("select count(*) from t where extra <> 5"), "0");
                client.query("alter table t add constraint c check (extra > 0), drop column extra");
                altered += 1;
            }
            altered
        });
        let client = Client::connect(&server.url);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(8) {
            assert_eq!(client.value("select coalesce(max(v), 0) from total"), "0");
            assert_eq!(client.value("select count(*) from self_join where other is null"), "0");
            // The table and the views over it are read at one moment.
            let difference = "select (select count(*) from t) - (select count(*) from self_join) \
                + coalesce((select sum(n) from t) - (select sum(v) from credits), 0)";
            assert_eq!(client.value(difference), "0");
        }
        stop.store(true, Ordering::Relaxed);
        assert!(altering.join().unwrap() > 2, "columns came and went");
        for (writer, written) in (1..).zip(writers) {
            let written = written.join().unwrap();
            assert!(written > 20, "the writers were not stuck");
            // The second one's newest rows were never deleted; it deletes the first one's, whose numbers are less.
            if writer == 2 {
                let (end, kept) = (2_000_000 + written, written.min(40));
                let newest = format!("select count(*) from t where id >= {end} - {kept}");
                assert_eq!(client.value(&newest), kept.to_string());
            }
        }
    });
    server.stop().unwrap();
}
