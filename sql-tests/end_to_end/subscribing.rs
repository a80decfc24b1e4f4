//! Subscriptions: what they tell, folded, is what there is; and how they end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::client::Client;
use crate::server::Server;

fn server() -> Server {
    Server::start(&["--workers", "2"]).unwrap()
}

/// A row of a subscription: its epoch, weight, and columns.
fn parts(row: &str) -> (u64, i64, String) {
    let mut parts = row.splitn(4, '|');
    let mut next = || parts.next().unwrap();
    let epoch = next().parse().unwrap();
    let operation = next().to_owned();
    let weight: i64 = next().parse().unwrap();
    assert_eq!(operation, if weight > 0 { "insert" } else { "delete" });
    (epoch, weight, next().to_owned())
}

/// What is fetched without the epochs, which depend on all that happens.
fn fetched(client: &Client, fetch: &str) -> Vec<String> {
    let rows = client.query(fetch);
    rows.iter().map(|row| row.split_once('|').unwrap().1.to_owned()).collect()
}

#[test]
fn a_cursor_tells_the_rows_there_are_and_then_each_change() {
    let server = server();
    let client = Client::connect(&server.url);
    client.query(
        "create table t (id integer primary key, n integer); \
         create materialized view sums as select n % 2 as k, sum(n) as s from t group by n % 2; \
         create view seen as select id, n * 2 as double from t where n > 10",
    );
    client.query("insert into t values (1, 10), (2, 21)");
    client.query("declare a cursor with hold for subscribe t");
    client.query("declare b cursor with hold for subscribe to sums with (snapshot)");
    client.query("declare c cursor with hold for subscribe seen with (snapshot = false)");
    client.query(
        "declare d cursor with hold for subscribe (select max(n) as most from t) with (progress)",
    );
    let mut rows = fetched(&client, "fetch all a");
    rows.sort();
    assert_eq!(rows, ["insert|1|1|10", "insert|1|2|21"]);
    let mut rows = fetched(&client, "fetch all b");
    rows.sort();
    assert_eq!(rows, ["insert|1|0|10", "insert|1|1|21"]);
    assert_eq!(fetched(&client, "fetch all c"), Vec::<String>::new());
    assert_eq!(fetched(&client, "fetch all d"), ["insert|1|f|21", "~|~|t|~"]);

    client.query("update t set n = 30 where id = 2");
    assert_eq!(fetched(&client, "fetch all a"), ["delete|-1|2|21", "insert|1|2|30"]);
    let mut rows = fetched(&client, "fetch all b");
    rows.sort();
    assert_eq!(rows, ["delete|-1|0|10", "delete|-1|1|21", "insert|1|0|40"]);
    assert_eq!(fetched(&client, "fetch all c"), ["delete|-1|2|42", "insert|1|2|60"]);
    let rows = fetched(&client, "fetch all d");
    assert_eq!(rows[..2], ["delete|-1|f|21", "insert|1|f|30"]);
    assert_eq!(rows.last().unwrap(), "~|~|t|~");

    // Piece by piece, and nothing twice.
    client.query("insert into t values (3, 1); insert into t values (4, 2)");
    assert_eq!(fetched(&client, "fetch a"), ["insert|1|3|1"]);
    assert_eq!(fetched(&client, "fetch 5 a"), ["insert|1|4|2"]);
    assert_eq!(fetched(&client, "fetch a"), Vec::<String>::new());
    let asked = Instant::now();
    assert_eq!(fetched(&client, "fetch a with (timeout = '200ms')"), Vec::<String>::new());
    assert!(asked.elapsed() >= Duration::from_millis(200));

    // A change that others make is waited for, and shown as soon as it is there.
    let writer = Client::connect(&server.url);
    let url = server.url.clone();
    let later = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        Client::connect(&url).query("delete from t where id = 3");
    });
    let asked = Instant::now();
    let rows = fetched(&client, "fetch all from a with (timeout = '30s')");
    assert_eq!(rows, ["delete|-1|3|1"]);
    assert!(asked.elapsed() < Duration::from_secs(10));
    later.join().unwrap();
    writer.query("truncate t");
    assert_eq!(fetched(&client, "fetch all a").len(), 3);
    client.query("close all");
    server.stop().unwrap();
}

const TABLES: &str = "create table t (id integer primary key, a integer, b integer, n bigint); \
    create materialized view balance as select a, sum(n) as n from t group by a; \
    create view pairs as select x.id, y.id as other from t x join t y on x.a = y.b and x.id < y.id";

/// What is subscribed to, and what is compared in the end.
const SUBJECTS: &[(&str, &str)] = &[
    ("t", "select * from t"),
    ("balance", "select * from balance"),
    ("pairs", "select * from pairs"),
    ("(select a, b, count(*) from t group by a, b)", "select a, b, count(*) from t group by a, b"),
    ("(select b, n from t order by n, b limit 7)", "select b, n from t order by n, b limit 7"),
    ("(select sum(n) from t)", "select sum(n) from t"),
];

/// Every statement leaves the sum of `n` at 0.
fn write(url: &str, writer: i32, stop: &AtomicBool) -> u32 {
    let client = Client::connect(url);
    let (mut id, mut written) = (writer * 1_000_000, 0);
    while !stop.load(Ordering::Relaxed) {
        let (a, b, n) = (id % 10, id * 7 % 11, id % 97);
        client.query(&format!(
            "insert into t values ({id}, {a}, {b}, {n}), ({}, {b}, {a}, -{n})",
            id + 1
        ));
        id += 2;
        written += 1;
        if id % 10 == 0 {
            let old = id - 40;
            client.query(&format!("delete from t where id in ({old}, {})", old + 1));
            client.query(&format!(
                "update t set a = b, b = a, n = -n where id in ({}, {})",
                id - 4,
                id - 3
            ));
        }
    }
    written
}

/// Folds a subscription while writers write; the rows in the end with the client that has the cursor.
fn follow(url: &str, subject: &str, stop: &AtomicBool) -> (Client, HashMap<String, i64>) {
    let client = Client::connect(url);
    client.query(&format!("declare c cursor with hold for subscribe {subject}"));
    let (mut rows, mut last) = (HashMap::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        fold(&client, "fetch 1000 c with (timeout = '100ms')", &mut rows, &mut last);
    }
    (client, rows)
}

fn fold(client: &Client, fetch: &str, rows: &mut HashMap<String, i64>, last: &mut u64) -> usize {
    let changes = client.query(fetch);
    for change in &changes {
        let (epoch, weight, row) = parts(change);
        assert!(epoch >= *last, "epochs come in order");
        *last = epoch;
        let sum = rows.entry(row.clone()).or_insert(0);
        *sum += weight;
        assert!(*sum >= 0, "{row} is deleted before it is inserted");
        if *sum == 0 {
            rows.remove(&row);
        }
    }
    changes.len()
}

#[test]
fn changes_folded_are_the_answer_while_writers_write() {
    let server = server();
    let admin = Client::connect(&server.url);
    admin.query(TABLES);
    let stop = Arc::new(AtomicBool::new(false));
    let url = server.url.as_str();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (1..=2)
            .map(|writer| {
                let stop = stop.clone();
                scope.spawn(move || write(url, writer, &stop))
            })
            .collect();
        // Each begins at another moment of the writing.
        let followers: Vec<_> = SUBJECTS
            .iter()
            .map(|(subject, _)| {
                std::thread::sleep(Duration::from_millis(300));
                let stop = stop.clone();
                scope.spawn(move || follow(url, subject, &stop))
            })
            .collect();
        std::thread::sleep(Duration::from_secs(5));
        stop.store(true, Ordering::Relaxed);
        let written: u32 = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
        assert!(written > 20, "the writers were not stuck");
        for (follower, (subject, query)) in followers.into_iter().zip(SUBJECTS) {
            let (client, mut rows) = follower.join().unwrap();
            // Everything that was acknowledged is there without waiting.
            let (mut answer, mut last) = (admin.query(query), 0);
            fold(&client, "fetch all c", &mut rows, &mut last);
            let mut folded: Vec<String> = rows
                .into_iter()
                .flat_map(|(row, n)| std::iter::repeat_n(row, usize::try_from(n).unwrap()))
                .collect();
            answer.sort();
            folded.sort();
            assert_eq!(folded, answer, "{subject}");
            assert!(!answer.is_empty(), "{subject}");
        }
    });
    server.stop().unwrap();
}

#[test]
fn a_client_that_is_too_slow_is_cut_off_and_nobody_else() {
    let server = server();
    let (slow, quick) = (Client::connect(&server.url), Client::connect(&server.url));
    slow.query("create table t (id integer)");
    slow.query("set subscribe_buffer_rows = 100");
    slow.query("declare c cursor with hold for subscribe t");
    quick.query("declare c cursor with hold for subscribe t");
    // One epoch alone is never too much.
    quick.query("insert into t select * from generate_series(1, 200)");
    assert_eq!(slow.query("fetch all c").len(), 200);
    for _ in 0..3 {
        quick.query("insert into t select * from generate_series(1, 60)");
    }
    assert_eq!(slow.failure("fetch all c"), "53400");
    assert_eq!(quick.query("fetch all c").len(), 380);
    assert_eq!(slow.value("select count(*) from t"), "380");
    server.stop().unwrap();
}

#[test]
fn a_subscription_ends_with_what_it_reads() {
    let server = server();
    let (client, other) = (Client::connect(&server.url), Client::connect(&server.url));
    client.query("create table t (id integer, n integer); insert into t values (1, 1)");
    client.query("declare a cursor with hold for subscribe t");
    client.query("declare b cursor with hold for subscribe (select id, 10 / n from t)");
    client.query("declare c cursor with hold for subscribe (select count(*) from t)");
    client.query("declare d cursor with hold for subscribe (select 1 as one)");
    assert_eq!(fetched(&client, "fetch all d with (timeout = '30s')"), ["insert|1|1"]);
    assert_eq!(fetched(&client, "fetch all d with (timeout = '30s')"), Vec::<String>::new());
    assert_eq!(fetched(&client, "fetch all b"), ["insert|1|1|10"]);
    other.query("insert into t values (2, 0)");
    assert_eq!(client.failure("fetch all b with (timeout = '30s')"), "22012");
    other.query("drop table t");
    assert_eq!(client.failure("fetch all a with (timeout = '30s')"), "42P01");
    assert_eq!(client.failure("fetch all c with (timeout = '30s')"), "42P01");
    // Nothing of them is in the way of a table of the same name.
    other.query("create table t (id integer); insert into t values (5)");
    client.query("declare e cursor with hold for subscribe (select count(*) from t)");
    assert_eq!(fetched(&client, "fetch all e"), ["insert|1|1"]);
    // A client that leaves takes its own with it.
    drop(client);
    other.query("drop table t");
    server.stop().unwrap();
}

#[test]
fn a_client_that_comes_back_goes_on_where_nothing_has_changed() {
    let server = server();
    let (client, other) = (Client::connect(&server.url), Client::connect(&server.url));
    client.query("create table t (id integer); create table u (id integer)");
    client.query("insert into t values (1)");
    client.query("declare a cursor with hold for subscribe (select id + 1 from t) with (progress)");
    let progress = client.query("fetch all a").pop().unwrap();
    let complete = progress.split('|').next().unwrap().parse::<u64>().unwrap() - 1;
    client.query("close a");
    other.query("insert into u values (1)");
    let resume =
        format!("for subscribe (select id + 1 from t) with (snapshot = 0) as of {complete}");
    client.query(&format!("declare b cursor with hold {resume}"));
    client.query(&format!("declare w cursor with hold for subscribe t as of {complete}"));
    let first = client.query("fetch all w");
    assert_eq!(first, [format!("{complete}|insert|1|1")]);
    other.query("insert into t values (2)");
    assert_eq!(fetched(&client, "fetch all b"), ["insert|1|3"]);
    assert_eq!(fetched(&client, "fetch all w"), ["insert|1|2"]);
    assert_eq!(client.failure(&format!("declare c cursor with hold {resume}")), "22023");

    // What is to come is waited for.
    let later = complete + 20;
    let url = server.url.clone();
    let writer = std::thread::spawn(move || {
        let writer = Client::connect(&url);
        for id in 10..40 {
            std::thread::sleep(Duration::from_millis(20));
            writer.query(&format!("insert into t values ({id})"));
        }
    });
    client.query(&format!("declare d cursor with hold for subscribe t as of {later}"));
    writer.join().unwrap();
    let rows = client.query("fetch all d");
    let epochs: Vec<u64> = rows.iter().map(|row| parts(row).0).collect();
    assert_eq!(rows.len(), 32);
    assert!(epochs.iter().all(|epoch| *epoch >= later) && epochs[1] == later, "{epochs:?}");
    let answer = client.value("select count(*) from t");
    assert_eq!(answer, "32");
    server.stop().unwrap();
}

async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn changes_stream_through_every_protocol_until_they_are_canceled() {
    let server = server();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let writer = connect(&server.url).await;
        writer.batch_execute("create table t (id integer, s text)").await.unwrap();
        writer.batch_execute("insert into t values (1, 'one')").await.unwrap();

        let simple = connect(&server.url).await;
        let messages = simple.simple_query_raw("subscribe t").await.unwrap();
        let mut messages = std::pin::pin!(messages.try_filter_map(|message| async move {
            Ok(match message {
                SimpleQueryMessage::Row(row) => Some(row.get("s").unwrap().to_owned()),
                _ => None,
            })
        }));
        let extended = connect(&server.url).await;
        let statement = extended.prepare("subscribe (select s from t where id > $1)").await;
        let rows = extended.query_raw(&statement.unwrap(), &[&0i32]).await.unwrap();
        let mut rows = std::pin::pin!(rows);
        let copied = connect(&server.url).await;
        let copy = "copy (subscribe t with (snapshot = false)) to stdout (format csv)";
        let mut data = std::pin::pin!(copied.copy_out(copy).await.unwrap());

        for (id, name) in [(1, "one"), (2, "two"), (3, "three")] {
            if id > 1 {
                let insert = format!("insert into t values ({id}, '{name}')");
                writer.batch_execute(&insert).await.unwrap();
                let line = tokio::time::timeout(PATIENCE, data.next()).await.unwrap();
                let line = String::from_utf8(line.unwrap().unwrap().to_vec()).unwrap();
                assert!(line.ends_with(&format!(",insert,1,{id},{name}\n")), "{line}");
            }
            let row = tokio::time::timeout(PATIENCE, messages.next()).await.unwrap();
            assert_eq!(row.unwrap().unwrap(), name);
            let row = tokio::time::timeout(PATIENCE, rows.next()).await.unwrap();
            assert_eq!(row.unwrap().unwrap().get::<_, &str>("s"), name);
        }
        for client in [&simple, &extended, &copied] {
            client.cancel_token().cancel_query(NoTls).await.unwrap();
        }
        let code = |error: tokio_postgres::Error| error.code().unwrap().code().to_owned();
        assert_eq!(code(messages.next().await.unwrap().unwrap_err()), "57014");
        assert_eq!(code(rows.next().await.unwrap().err().unwrap()), "57014");
        assert_eq!(code(data.next().await.unwrap().unwrap_err()), "57014");
        // Each connection goes on.
        for client in [&simple, &extended, &copied] {
            client.query_one("select count(*) from t", &[]).await.unwrap();
        }
        simple.batch_execute("set statement_timeout = '300ms'").await.unwrap();
        let ended = simple.batch_execute("subscribe t").await.unwrap_err();
        assert_eq!(code(ended), "57014");
    });
    // A subscription that runs does not hold the server up.
    let url = server.url.clone();
    let last = std::thread::spawn(move || Client::connect(&url).failure("subscribe t"));
    std::thread::sleep(Duration::from_millis(500));
    server.stop().unwrap();
    assert_eq!(last.join().unwrap(), "57P01");
}
