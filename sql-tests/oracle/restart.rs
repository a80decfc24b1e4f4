//! Restarts from checkpoints where the drawn cases do not get: sources, dead letters, views that were being filled, keys,
//! state of another plan.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidewater::checkpoint::ObjectState;
use tidewater::coordinator::Image;
use tidewater::error::{Error, SqlState};
use tidewater::server::Server;

use crate::engine::{Bag, bag, execute, session};

const MEMORY: u64 = 1 << 30;

async fn run(server: &Arc<Server>, sql: &str) -> Bag {
    let mut session = session(server).unwrap();
    bag(&execute(&mut session, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}")))
}

async fn number(server: &Arc<Server>, sql: &str) -> i64 {
    run(server, sql).await.keys().next().unwrap().parse().unwrap()
}

/// Everything as of the image, on other workers.
fn restore(server: Arc<Server>, image: &Image, workers: usize) -> Arc<Server> {
    server.shutdown();
    Server::restore(image.clone(), workers, MEMORY).unwrap()
}

const TABLES: &str = "
    create table item (id bigint primary key, kind text, price bigint);
    create table kind (name text, divisor bigint);
    create materialized view paired as
        select i.id, i.kind, i.price, k.divisor from item i left join kind k on i.kind = k.name;
    create materialized view unpaired as select id, price from paired where divisor is null;
    create materialized view dearest as select * from item order by price desc limit 3;
    create materialized view kinds as select distinct kind from item;
    create materialized view total as select count(*) as n, sum(price) as s from item;
    create materialized view nothing as select count(*) as n from item where price < 0;
    create materialized view middle as
        select kind, median(price) as m, array_agg(id order by id) as ids from item group by kind;
    create materialized view shares as select id, price / divisor as share from paired;
    create materialized view constant as select 7 as seven;
";

const QUESTIONS: [&str; 11] = [
    "select * from item",
    "select * from paired",
    "select * from unpaired",
    "select * from dearest",
    "select * from kinds",
    "select * from total",
    "select * from nothing",
    "select * from middle",
    "select * from shares",
    "select * from constant",
    "select object, error, payload from tidewater.dead_letters",
];

/// What a server that never restarted would answer, too: each statement alone, in order.
const STATEMENTS: [&str; 12] = [
    "insert into kind values ('a', 2), ('zero', 0)",
    "insert into item values (1, 'a', 10), (2, 'a', 30), (3, 'b', 20), (4, 'zero', 5), (5, null, 7)",
    "update item set price = price + 1 where id < 3",
    "alter table item add column size integer not null default 3, add check (size > 0)",
    "insert into kind values ('b', 5)",
    "alter table kind add column said text default 'so', add column number bigserial",
    "delete from item where id = 4",
    "alter table item drop column size",
    "alter table kind drop column number",
    "insert into item values (6, 'zero', 1), (7, 'a', 100), (8, 'c', 100)",
    "delete from kind",
    "delete from item",
];

#[test]
fn a_restart_after_any_statement_changes_no_answer() {
    crate::runtime().block_on(async {
        let steady = Server::start(2, MEMORY).unwrap();
        let mut server = Server::start(1, MEMORY).unwrap();
        run(&steady, TABLES).await;
        run(&server, TABLES).await;
        let mut image: Option<Image> = None;
        for (at, statement) in STATEMENTS.iter().enumerate() {
            run(&steady, statement).await;
            run(&server, statement).await;
            let later = server.coordinator.checkpoint().await.unwrap();
            match &mut image {
                None => image = Some(later),
                Some(image) => image.extend(later).unwrap(),
            }
            if at % 2 == 1 {
                server = restore(server, image.as_ref().unwrap(), at % 3 + 1);
            }
            for question in QUESTIONS {
                let expected = run(&steady, question).await;
                assert_eq!(run(&server, question).await, expected, "{question} after {statement}");
            }
        }
    });
}

#[test]
fn a_delta_holds_what_has_changed_and_no_more() {
    crate::runtime().block_on(async {
        let server = Server::start(2, MEMORY).unwrap();
        run(&server, "create table t (k bigint primary key, v bigint)").await;
        run(&server, "create materialized view s as select v, count(*) as n from t group by v")
            .await;
        run(&server, "insert into t select g, g % 10 from generate_series(1, 1000) as x(g)").await;
        let mut image = server.coordinator.checkpoint().await.unwrap();
        // The table's rows, the view's, the groups of its aggregate.
        assert_eq!(image.checkpoint.rows(), 1000 + 10 + 10);
        let server = changed(server, &mut image).await;
        assert_eq!(image.checkpoint.rows(), 1020 + 7);
        // Old and new of the row, of group 0 and (the second time) of group 10, and both groups of the aggregate. After a
        // restart, too, only what has changed since is handed over.
        let server = restore(server, &image, 3);
        let server = changed(server, &mut image).await;
        assert_eq!(image.checkpoint.rows(), 1020 + 7 + 8);
        let server = restore(server, &image, 1);
        let moved = run(&server, "select v, n from s where v > 9").await;
        assert_eq!(moved.keys().collect::<Vec<_>>(), ["10 | 2"]);
    });
}

/// Moves a row and adds what that changed to the image.
async fn changed(server: Arc<Server>, image: &mut Image) -> Arc<Server> {
    run(&server, "update t set v = 10 where k = (select min(k) from t where v = 0)").await;
    let delta = server.coordinator.checkpoint().await.unwrap();
    image.extend(delta).unwrap();
    server
}

const SOURCES: &str = "
    create source reading (id bigint, sensor integer) with (
        connector = 'datagen', datagen.rows.per.second = '20000', datagen.rows.total = '20000',
        datagen.split.num = '2', fields.id.kind = 'sequence', fields.id.start = '1');
    create source bid with (
        connector = 'nexmark', nexmark.table.type = 'Bid', nexmark.events.per.second = '20000',
        nexmark.event.num = '20000');
    create materialized view readings as
        select count(*) as n, count(distinct id) as ids, sum(id) as s from reading;
    create materialized view bids as select auction, count(*) as n, sum(price) as s from bid group by auction;
";

const READINGS: &str = "20000 | 20000 | 200010000";

#[test]
fn sources_go_on_where_they_were_without_loss_or_duplicates() {
    crate::runtime().block_on(async {
        let mut server = Server::start(2, MEMORY).unwrap();
        run(&server, SOURCES).await;
        let mut image = server.coordinator.checkpoint().await.unwrap();
        let mut restarts = 0;
        for workers in [3, 1, 2] {
            tokio::time::sleep(Duration::from_millis(120)).await;
            // A view that is being filled from the source's past is in one of the images, to start again.
            let filling = tokio::spawn(late(server.clone(), workers));
            tokio::time::sleep(Duration::from_millis(2)).await;
            image.extend(server.coordinator.checkpoint().await.unwrap()).unwrap();
            // What is read after the cut is read again.
            tokio::time::sleep(Duration::from_millis(30)).await;
            filling.abort();
            server = restore(server, &image, workers);
            restarts += usize::from(number(&server, "select n from readings").await < 20_000);
        }
        assert!(restarts > 0, "the source had ended before the first restart");
        until(&server, "select * from readings", READINGS).await;
        until(&server, "select sum(n) from bids", "18400").await;
        let whole = "select auction, count(*) as n, sum(price) as s from bid group by auction";
        assert_eq!(run(&server, "select * from bids").await, run(&server, whole).await);
        for view in image.catalog.objects().filter(|object| object.name.starts_with("late")) {
            until(&server, &format!("select * from {}", view.name), READINGS).await;
        }
        run(&server, &format!("create materialized view afterwards as {LATE}")).await;
        until(&server, "select * from afterwards", READINGS).await;
    });
}

const LATE: &str = "select count(*) as n, count(distinct id) as ids, sum(id) as s from reading";

async fn late(server: Arc<Server>, number: usize) {
    let mut session = session(&server).unwrap();
    let sql = format!("create materialized view late{number} as {LATE}");
    // The restart ends it.
    drop(execute(&mut session, &sql).await);
}

/// Asks until the answer is the one row expected.
async fn until(server: &Arc<Server>, sql: &str, expected: &str) {
    let started = Instant::now();
    loop {
        let found = run(server, sql).await;
        if found.len() == 1 && found.contains_key(expected) {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{sql}: {found:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn keys_are_judged_by_what_was_restored() {
    crate::runtime().block_on(async {
        let server = Server::start(3, MEMORY).unwrap();
        run(&server, "create table t (k bigint primary key, v bigint)").await;
        run(&server, "insert into t values (1, 1), (2, 2); delete from t where k = 2").await;
        let image = server.coordinator.checkpoint().await.unwrap();
        run(&server, "insert into t values (3, 3)").await;
        let server = restore(server, &image, 2);
        let mut session = session(&server).unwrap();
        let again = execute(&mut session, "insert into t values (1, 5)").await;
        assert_eq!(again.unwrap_err().code, SqlState::UNIQUE_VIOLATION);
        run(&server, "insert into t values (2, 6), (3, 7)").await;
        let rows = run(&server, "select * from t").await;
        assert_eq!(rows.keys().collect::<Vec<_>>(), ["1 | 1", "2 | 6", "3 | 7"]);
    });
}

#[test]
fn state_of_another_plan_is_refused() {
    crate::runtime().block_on(async {
        let server = Server::start(1, MEMORY).unwrap();
        run(&server, "create table t (k bigint, v text)").await;
        run(&server, "create materialized view a as select k, count(*) as n from t group by k")
            .await;
        run(&server, "create materialized view b as select v, count(*) as n from t group by v")
            .await;
        run(&server, "create materialized view c as select distinct v from t").await;
        run(&server, "insert into t values (1, 'x')").await;
        let image = server.coordinator.checkpoint().await.unwrap();
        let id = |name: &str| image.catalog.find("public", name).unwrap().id;
        for (of, under) in [("a", "b"), ("b", "c"), ("t", "a")] {
            let mut other = image.clone();
            let state: ObjectState = image.checkpoint.objects[&id(of)].clone();
            other.checkpoint.objects.insert(id(under), state);
            let refused = Server::restore(other, 2, MEMORY);
            let error = refused.err().unwrap_or_else(|| panic!("{of} under {under}"));
            assert!(error.message.contains(under), "{error}");
        }
        let mut lacking = image.clone();
        lacking.checkpoint.objects.remove(&id("t"));
        let refused = Server::restore(lacking, 2, MEMORY).err().unwrap();
        assert_eq!(refused.code, SqlState::DATA_CORRUPTED);
    });
}

#[test]
fn what_fails_or_goes_while_a_checkpoint_is_taken_does_not_hold_it_up() {
    crate::runtime().block_on(async {
        let server = Server::start(2, MEMORY).unwrap();
        run(&server, "create table t (k bigint); create table gone (k bigint)").await;
        run(&server, "create materialized view sum as select sum(k) as s from t").await;
        run(&server, "create materialized view on_sum as select s + 1 as s from sum").await;
        run(&server, "insert into t values (1)").await;
        let id = server.catalog.snapshot().find("public", "sum").unwrap().id;
        server.coordinator.live(id).unwrap().fail(Error::internal("broken"));
        let (image, _) = tokio::join!(
            server.coordinator.checkpoint(),
            run(&server, "insert into t values (2); drop table gone")
        );
        let server = restore(server, &image.unwrap(), 1);
        let mut session = session(&server).unwrap();
        for view in ["sum", "on_sum"] {
            let read = execute(&mut session, &format!("select * from {view}")).await;
            assert!(read.unwrap_err().message.contains("broken"));
        }
        // It stays failed until it is created again.
        run(&server, "drop materialized view sum cascade").await;
        run(&server, "create materialized view sum as select sum(k) as s from t").await;
        until(&server, "select s from sum", "1").await;
    });
}
