//! Views, indexes and sinks that are being filled: seen as jobs, ended by CANCEL JOB or by their own session, while writes go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::client::Client;
use super::server::Server;

/// Takes some seconds to be filled: each row of a key meets all others of it.
const SLOW: &str =
    "select x.k, count(*) c, sum(y.id) s from t x join t y on x.k = y.k group by x.k";
const PATIENCE: Duration = Duration::from_secs(60);

fn table(client: &Client) {
    client.query(
        "create table t (id int primary key, k int); \
         insert into t select i, i % 8 from generate_series(1, 12000) s(i)",
    );
}

/// The job of an object, once it is there.
fn job_of(client: &Client, object: &str) -> String {
    let began = Instant::now();
    let ask = format!("select id from tidewater.jobs where object = '{object}'");
    loop {
        if let Some(id) = client.query(&ask).pop() {
            return id;
        }
        assert!(began.elapsed() < PATIENCE, "{object} is never a job");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_canceled_job_goes_with_what_depends_on_it_and_whoever_waits_is_told() {
    let server = Server::start(&["--workers", "2"]).unwrap();
    let client = Client::connect(&server.url);
    table(&client);
    client.query("create materialized view counts as select k, count(*) c from t group by k");
    std::thread::scope(|scope| {
        let run = |sql: String| {
            let url = &server.url;
            scope.spawn(move || Client::connect(url).failure(&sql))
        };
        let slow = run(format!("create materialized view slow as {SLOW}"));
        let id = job_of(&client, "slow");
        let above = run("create materialized view above as select max(c) from slow".to_owned());
        job_of(&client, "above");
        client.query("create view plain as select * from slow");
        let reader = run("select * from slow".to_owned());
        let states = "select object, state in ('reading', 'computing'), done <= total, total \
            from tidewater.jobs where object = 'slow'";
        assert_eq!(client.query(states), ["slow|t|t|24000"]);
        assert_eq!(
            client.value("select state from tidewater.jobs where object = 'above'"),
            "waiting"
        );
        let explained = client.query("explain analyze materialized view slow");
        assert!(explained.iter().any(|line| line.contains("Inner join")), "{explained:?}");
        std::thread::sleep(Duration::from_millis(100));
        client.query(&format!("cancel job {id}"));
        for waiting in [slow, above, reader] {
            let code = waiting.join().unwrap();
            assert!(code == "57014" || code == "42P01", "{code}");
        }
        assert_eq!(client.failure(&format!("cancel job {id}")), "42704");
    });
    assert_eq!(client.query("select id from tidewater.jobs"), Vec::<String>::new());
    for gone in ["slow", "above", "plain"] {
        assert_eq!(client.failure(&format!("select * from {gone}")), "42P01");
    }
    let filled = "select oid from pg_class where relname = 'counts'";
    assert_eq!(client.query(filled).len(), 1, "what does not depend on it stays");
    client.query("insert into t values (0, 0)");
    assert_eq!(client.value("select c from counts where k = 0"), "1501");
    server.stop().unwrap();
}

#[test]
fn jobs_canceled_at_any_moment_while_writes_go_on_leave_nothing_behind() {
    let server = Server::start(&["--workers", "2"]).unwrap();
    let client = Client::connect(&server.url);
    table(&client);
    client.query("create materialized view counts as select k, count(*) c from t group by k");
    let stop = AtomicBool::new(false);
    let statements = [
        format!("create materialized view slow as {SLOW}"),
        "create index slow on t (k)".to_owned(),
        "create materialized view slow as select k, max(id) m from t group by k".to_owned(),
    ];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let client = Client::connect(&server.url);
            let mut id = 1_000_000;
            while !stop.load(Ordering::Relaxed) {
                client.query(&format!("insert into t values ({id}, {})", id % 8));
                client.query(&format!("delete from t where id = {id}"));
                id += 1;
            }
        });
        let (mut canceled, mut done) = (0, 0);
        for round in 0..24 {
            let statement = &statements[round % statements.len()];
            let made = scope.spawn(|| Client::connect(&server.url).try_query(statement).is_ok());
            // From at once to long after.
            std::thread::sleep(Duration::from_millis((round as u64 * 37) % 160));
            while !made.is_finished() {
                for id in client.query("select id from tidewater.jobs") {
                    // It may have ended between the two statements.
                    let _ = client.try_query(&format!("cancel job {id}"));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            match made.join().unwrap() {
                true => done += 1,
                false => canceled += 1,
            }
            let there = client.value("select count(*) from pg_class where relname = 'slow'") == "1";
            if there {
                let kind = if round % 3 == 1 { "index" } else { "materialized view" };
                client.query(&format!("drop {kind} slow"));
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(canceled > 0 && canceled + done == 24, "{canceled} canceled, {done} made");
    });
    assert_eq!(client.value("select count(*), sum(c) from counts"), "8|12000");
    let exact = format!("create materialized view again as {SLOW}");
    client.query(&exact);
    let wrong = format!("select count(*) from (({SLOW}) except (select k, c, s from again)) d");
    assert_eq!(client.value(&wrong), "0");
    server.stop().unwrap();
}

#[test]
fn a_view_whose_own_statement_is_canceled_does_not_stay() {
    let server = Server::start(&["--workers", "2"]).unwrap();
    let client = Client::connect(&server.url);
    table(&client);
    let making = Client::connect(&server.url);
    let pid = making.value("select pg_backend_pid()");
    std::thread::scope(|scope| {
        let made =
            scope.spawn(|| making.failure(&format!("create materialized view slow as {SLOW}")));
        job_of(&client, "slow");
        assert_eq!(client.value(&format!("select pg_cancel_backend({pid})")), "t");
        assert_eq!(made.join().unwrap(), "57014");
    });
    assert_eq!(client.query("select id from tidewater.jobs"), Vec::<String>::new());
    assert_eq!(client.failure("select * from slow"), "42P01");
    server.stop().unwrap();
}
