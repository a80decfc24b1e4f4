//! Sinks into tables: at any epoch a table has what its sinks' queries have, through restarts and beside writers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidewater::coordinator::Image;
use tidewater::server::Server;

use crate::engine::{Bag, bag, execute, session};

const MEMORY: u64 = 1 << 30;

const OBJECTS: &str = "\
    create table t (id bigint primary key, k bigint, v bigint); \
    create table u (id bigint primary key, k bigint, v bigint); \
    create materialized view sums as select k, sum(v) as s from t group by k; \
    create table target (k bigint primary key, s numeric, n bigint); \
    insert into target values (-1, 5, 5); \
    create sink one into target (k, s) from sums; \
    create sink two into target as select k + 1000, null, count(*) from u group by k + 1000; \
    create table bag (n bigint); \
    create sink three into bag as select n from target where s is null; \
    create sink four into bag as select v from t join u using (k, v); \
    create materialized view total as select count(*) as c, sum(s) as s, sum(n) as n from target";

/// What each table should have, as a query without sinks, and what it has. All of it is read in one statement.
const DIFFERENCES: &str = "\
    with wanted as (select k, s, null::bigint as n from sums \
      union all select k + 1000, null, count(*) from u group by k \
      union all select -1, 5, 5), \
    bagged as (select count(*) as n from u group by k \
      union all select v from t join u using (k, v)) \
    select 'target', k::text, s::text, n::text from (select k, s, n from wanted except all select k, s, n from target) \
    union all select 'too much', k::text, s::text, n::text from (select k, s, n from target except all select k, s, n from wanted) \
    union all select 'bag', n::text, null, null from (select n from bagged except all select n from bag) \
    union all select 'too much', n::text, null, null from (select n from bag except all select n from bagged) \
    union all select 'total', c::text, s::text, n::text from (select c, s, n from total \
      except select count(*), sum(s), sum(n) from target)";

async fn run(server: &Arc<Server>, sql: &str) -> Bag {
    let mut session = session(server).unwrap();
    bag(&execute(&mut session, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}")))
}

async fn change(server: &Arc<Server>, rng: &mut StdRng) {
    let table = ["t", "u"][rng.random_range(0..2)];
    let (from, k) = (rng.random_range(0..50), rng.random_range(0..9));
    let to = from + rng.random_range(0..25);
    let sql = match rng.random_range(0..3) {
        0 => format!("delete from {table} where id between {from} and {to}"),
        1 => format!(
            "update {table} set k = (k + {k}) % 7, v = v + 1 where id between {from} and {to}"
        ),
        _ => format!(
            "insert into {table} select g, g % 5 + {k}, g % 3 from generate_series({from}, {to}) as x(g) on conflict do nothing"
        ),
    };
    run(server, &sql).await;
}

#[test]
fn a_table_has_what_its_sinks_have_after_every_write_and_restart() {
    crate::runtime().block_on(async {
        let mut rng = StdRng::seed_from_u64(23);
        let mut server = Server::start(2, MEMORY).unwrap();
        run(&server, OBJECTS).await;
        let mut image: Option<Image> = None;
        for workers in [1, 3, 2, 1, 2] {
            for _ in 0..rng.random_range(3..12) {
                change(&server, &mut rng).await;
                assert_eq!(run(&server, DIFFERENCES).await, Bag::new());
            }
            let later = server.coordinator.checkpoint().await.unwrap();
            match &mut image {
                None => image = Some(later),
                Some(image) => image.extend(later).unwrap(),
            }
            // What comes after the checkpoint is forgotten.
            change(&server, &mut rng).await;
            server.shutdown();
            server = Server::restore(image.clone().unwrap(), workers, MEMORY).unwrap();
            assert_eq!(run(&server, DIFFERENCES).await, Bag::new());
        }
        server.shutdown();
    });
}

#[test]
fn beside_writers_every_read_finds_a_table_as_its_sinks_are() {
    crate::runtime().block_on(async {
        let server = Server::start(3, MEMORY).unwrap();
        run(&server, OBJECTS).await;
        let done = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..3)
            .map(|seed| {
                let (server, done) = (server.clone(), done.clone());
                tokio::spawn(async move {
                    let mut rng = StdRng::seed_from_u64(seed);
                    while !done.load(Ordering::Relaxed) {
                        change(&server, &mut rng).await;
                    }
                })
            })
            .collect();
        for round in 0..20 {
            assert_eq!(run(&server, DIFFERENCES).await, Bag::new(), "round {round}");
            if round % 10 == 5 {
                // A sink may come and go while everything is written to.
                run(&server, "create table late (k bigint primary key, s numeric); create sink five into late from sums").await;
                let late = "select k, s from sums except all select k, s from late";
                assert_eq!(run(&server, late).await, Bag::new());
                run(&server, "drop sink five").await;
                run(&server, "delete from late; drop table late").await;
            }
        }
        done.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.await.unwrap();
        }
        server.shutdown();
    });
}
