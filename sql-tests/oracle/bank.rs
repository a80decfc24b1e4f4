//! Bank transfers: money moves between accounts while readers look on and views come and go.
//!
//! Every transfer is one epoch, so no reader, at whatever moment, may see a total other than zero, nor a row of a self outer join
//! without its partner.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tidewater::server::Server;

use crate::engine::{bag, execute, session};

const TIME: Duration = Duration::from_secs(8);
const WORKERS: usize = 2;
const ACCOUNTS: i64 = 10;

const SCHEMA: &str = "
    create table transfer (id bigint primary key, giver bigint, taker bigint, amount bigint);
    create materialized view credits as
        select taker as account, sum(amount) as credits from transfer group by taker;
    create materialized view debits as
        select giver as account, sum(amount) as debits from transfer group by giver;
    create materialized view balance as
        select coalesce(c.account, d.account) as account,
               coalesce(credits, 0) - coalesce(debits, 0) as balance
        from credits c full join debits d on c.account = d.account;
    create materialized view total as select sum(balance) as total from balance;
    create materialized view partners as
        select a.id as one, b.id as other from transfer a full join transfer b on a.id = b.id;
";

/// What every reader asks, and the only answers there are.
const QUESTIONS: [(&str, &[&str]); 4] = [
    ("select total from total", &["0", "null"]),
    ("select sum(balance) from balance", &["0", "null"]),
    ("select count(*) from partners where one is null or other is null", &["0"]),
    (
        "select (select coalesce(sum(credits), 0) from credits) - (select coalesce(sum(debits), 0) from debits)",
        &["0"],
    ),
];

struct Bank {
    server: Arc<Server>,
    stop: AtomicBool,
    done: AtomicU64,
}

impl Bank {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Transfers, corrections and cancellations.
    async fn transfer(&self, seed: u64) {
        let rng = &mut StdRng::seed_from_u64(seed);
        let mut session = session(&self.server).unwrap();
        let mut id = seed as i64 * 1_000_000;
        let first = id;
        while !self.stopped() {
            let old = rng.random_range(first..=id);
            let (giver, taker) = (rng.random_range(0..ACCOUNTS), rng.random_range(0..ACCOUNTS));
            let amount = rng.random_range(1..100);
            let sql = match rng.random_range(0..10) {
                0 | 1 => format!("delete from transfer where id = {old}"),
                2 => format!(
                    "update transfer set taker = {taker}, amount = {amount} where id = {old}"
                ),
                3 => format!(
                    "update transfer set giver = taker, taker = giver where id % 7 = {}",
                    id % 7
                ),
                _ => {
                    id += 1;
                    format!("insert into transfer values ({id}, {giver}, {taker}, {amount})")
                }
            };
            execute(&mut session, &sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn read(&self) -> u64 {
        let mut session = session(&self.server).unwrap();
        let mut answers = 0;
        while !self.stopped() {
            let (sql, allowed) = QUESTIONS[answers as usize % QUESTIONS.len()];
            let rows = execute(&mut session, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
            let found = bag(&rows);
            let right = found.len() == 1 && found.keys().all(|row| allowed.contains(&row.as_str()));
            assert!(right, "{sql}: {found:?}");
            answers += 1;
        }
        answers
    }

    /// Views are created and dropped beside the others, and are exact as soon as they can be read.
    async fn churn(&self) -> u64 {
        let mut session = session(&self.server).unwrap();
        let mut rounds = 0;
        while !self.stopped() {
            let sql = "create materialized view late as select sum(balance) as s from balance";
            execute(&mut session, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
            let rows = execute(&mut session, "select s from late").await.unwrap();
            let found = bag(&rows);
            assert!(found.keys().all(|row| row == "0" || row == "null"), "late: {found:?}");
            execute(&mut session, "drop materialized view late").await.unwrap();
            rounds += 1;
        }
        rounds
    }
}

#[test]
fn no_reader_ever_sees_money_appear_or_a_partner_missing() {
    let runtime = crate::runtime();
    let server = Server::start(WORKERS, 4 << 30).unwrap();
    let bank = Arc::new(Bank { server, stop: AtomicBool::new(false), done: AtomicU64::new(0) });
    runtime.block_on(async {
        let mut first = session(&bank.server).unwrap();
        execute(&mut first, SCHEMA).await.unwrap();
        let of = |task: u64| {
            let bank = bank.clone();
            tokio::spawn(async move {
                match task {
                    0 | 1 => bank.transfer(task + 1).await,
                    2 => assert!(bank.churn().await > 0),
                    _ => assert!(bank.read().await > 0),
                }
            })
        };
        let tasks: Vec<_> = (0..5).map(of).collect();
        let started = Instant::now();
        while started.elapsed() < TIME && !tasks.iter().any(|task| task.is_finished()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bank.stop.store(true, Ordering::Relaxed);
        for task in tasks {
            let ended = tokio::time::timeout(Duration::from_secs(20), task).await;
            ended.expect("a reader or writer hangs").expect("a reader or writer has failed");
        }
    });
    let transfers = bank.done.load(Ordering::Relaxed);
    eprintln!("bank: {transfers} transfers");
    assert!(transfers > 0);
}
