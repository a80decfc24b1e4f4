//! One file of tests: a fresh server, the setup, every record in order, and the verdict.
//!
//! A query whose rows differ is told and the file goes on; a statement that fails ends it, since what follows rests on it.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqllogictest::{AsyncDB, DefaultColumnType, MakeConnection, Record, Runner, TestErrorKind};
use tokio::time::Instant;
use tokio_postgres::Config;

use super::Verdict;
use super::connection::{Connection, Engine, SqlError};
use super::difference;
use super::files::Text;
use super::server::Server;
use super::update;

/// Differences of one file that are told; more of them rarely have another cause.
const DIFFERENCES_MAX: usize = 20;

pub type Line = Record<DefaultColumnType>;

/// What all files of a run have in common.
pub struct Plan {
    pub against: Against,
    /// Run before each file, in this order.
    pub setup: Vec<Text>,
    /// What a file may take once its server is ready.
    pub timeout: Duration,
    pub update: bool,
}

pub enum Against {
    /// A server of its own for each file.
    Tidewater { workers: usize, test_mode: bool },
    /// A database of its own for each file, in the server at a superuser's URL.
    Postgres { url: String },
}

pub fn run(file: &Path, plan: &Plan) -> Verdict {
    judged(file, plan).unwrap_or_else(|reason| Verdict::Failed(vec![reason]))
}

fn judged(file: &Path, plan: &Plan) -> Result<Verdict, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    let (workers, test_mode) = match &plan.against {
        Against::Tidewater { workers, test_mode } => (workers.to_string(), test_mode),
        Against::Postgres { url } => {
            return runtime.block_on(async {
                let config = fresh_database(url).await.map_err(|e| e.to_string())?;
                talk(file, plan, Engine::Postgres, config).await
            });
        }
    };
    let mut options = vec!["--workers", workers.as_str()];
    options.extend(test_mode.then_some("--test-mode"));
    let server = Server::start(&options)?;
    let config: Config = server.url.parse().map_err(|e| format!("{}: {e}", server.url))?;
    match runtime.block_on(talk(file, plan, Engine::Tidewater, config))? {
        // Whether it stops in order is part of every test. A server that was killed has said why.
        Verdict::Failed(mut reasons) => {
            if let Err(reason) = server.stop() {
                reasons.push(reason);
            }
            Ok(Verdict::Failed(reasons))
        }
        verdict => server.stop().map(|()| verdict),
    }
}

async fn talk(file: &Path, plan: &Plan, engine: Engine, config: Config) -> Result<Verdict, String> {
    let records: Vec<Line> = sqllogictest::parse_file(file).map_err(|e| e.to_string())?;
    let deadline = Deadline { at: Instant::now() + plan.timeout, timeout: plan.timeout };
    deadline.hold(set_up(plan, engine, &config)).await??;
    let mut runner = Runner::new(|| Connection::open(engine, config.clone()));
    runner.with_column_validator(|actual, expected| actual.len() == expected.len());
    let verdict = match plan.update {
        true => update::rewrite(file, records, &mut runner, &deadline).await,
        false => Ok(compare(records, &mut runner, &deadline).await),
    };
    runner.shutdown_async().await;
    verdict
}

/// When a file has taken too long.
pub struct Deadline {
    at: Instant,
    timeout: Duration,
}

impl Deadline {
    pub async fn hold<T>(&self, work: impl Future<Output = T>) -> Result<T, String> {
        let late = |_| format!("the file takes longer than {} s", self.timeout.as_secs());
        tokio::time::timeout_at(self.at, work).await.map_err(late)
    }
}

async fn set_up(plan: &Plan, engine: Engine, config: &Config) -> Result<(), String> {
    if plan.setup.is_empty() {
        return Ok(());
    }
    let mut connection =
        Connection::open(engine, config.clone()).await.map_err(|e| e.to_string())?;
    for setup in &plan.setup {
        connection.run(&setup.text).await.map_err(|error| match error.line(&setup.text) {
            Some(line) => format!("{}:{line}: {error}", setup.name),
            None => format!("{}: {error}", setup.name),
        })?;
    }
    Ok(())
}

async fn compare<M: MakeConnection<Conn = Connection>>(
    records: Vec<Line>,
    runner: &mut Runner<Connection, M>,
    deadline: &Deadline,
) -> Verdict {
    let mut reasons = vec![];
    for record in records {
        if matches!(record, Record::Halt { .. }) {
            break;
        }
        let place = place(&record);
        match deadline.hold(runner.run_async(record)).await {
            Err(late) => {
                reasons.push(format!("{place}{late}"));
                break;
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                reasons.push(difference::told(&error));
                if ends_file(&error.kind()) || reasons.len() == DIFFERENCES_MAX {
                    break;
                }
            }
        }
    }
    match reasons.is_empty() {
        true => Verdict::Passed,
        false => Verdict::Failed(reasons),
    }
}

/// `file:line: ` of what is sent to the server; nothing for the rest.
pub fn place(record: &Line) -> String {
    match record {
        Record::Statement { loc, .. } | Record::Query { loc, .. } | Record::System { loc, .. } => {
            format!("{}:{}: ", loc.file(), loc.line())
        }
        _ => String::new(),
    }
}

/// What follows a statement that failed rests on it, and without a connection nothing follows.
fn ends_file(kind: &TestErrorKind) -> bool {
    match kind {
        TestErrorKind::Fail { kind: sqllogictest::RecordKind::Statement, .. }
        | TestErrorKind::SystemFail { .. }
        | TestErrorKind::LetFail { .. } => true,
        TestErrorKind::Fail { err, .. } | TestErrorKind::ErrorMismatch { err, .. } => {
            matches!(err.downcast_ref::<SqlError>(), Some(SqlError::Connection(_)))
        }
        _ => false,
    }
}

async fn fresh_database(url: &str) -> Result<Config, SqlError> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let mut config: Config = url.parse()?;
    let name = format!("tidewater_slt_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let mut admin = Connection::open(Engine::Postgres, config.clone()).await?;
    admin.run(&format!("drop database if exists {name}")).await?;
    admin.run(&format!("create database {name}")).await?;
    config.dbname(name);
    Ok(config)
}
