//! Runs every `sql-tests/**/*.slt` over the wire against the built server, each file against a fresh one.
//!
//! Behind them run the tests of [`clients`], which need more than one statement at a time.
//!
//! Statements go by the simple protocol, so that values are compared as psql shows them. The letters behind `query` give the
//! number of columns, not their types. An error is compared as `SQLSTATE: message`, followed by DETAIL and HINT in lines of
//! their own, so `statement error 22012: division by zero` fixes both.
//!
//! What a file expects is PostgreSQL's answer wherever PostgreSQL has the statement. With TIDEWATER_SLT_POSTGRES set to the
//! URL of a PostgreSQL 15 (a superuser's), the files run against that instead, each in a database of its own: views stand in
//! for materialized views, and records marked `skipif postgres` are left out. That checks the files, not the server.
//!
//! `cargo test --test sql -- joins` runs the files whose path contains `joins`; TIDEWATER_SLT does the same for
//! `cargo test`. TIDEWATER_SLT_WORKERS sets the number of workers.

#![allow(clippy::print_stdout)]

mod clients;
mod server;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use server::Server;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

/// More than one, so that rows are exchanged between workers in every test.
const DEFAULT_WORKERS: &str = "2";
/// Two files at a time: each has a server of two workers beside it.
const FILES_AT_ONCE: usize = 2;
/// A statement that takes longer hangs.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql-tests");
    let filters = filters();
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    files.retain(|file| {
        let name = name(&root, file);
        filters.is_empty() || filters.iter().any(|filter| name.contains(filter))
    });
    assert!(!files.is_empty() || !filters.is_empty(), "sql-tests holds .slt files");
    println!("running {} files of sql-tests", files.len());

    let next = AtomicUsize::new(0);
    let failed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..FILES_AT_ONCE {
            scope.spawn(|| {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    failed.fetch_add(usize::from(!run_and_tell(&root, file)), Ordering::Relaxed);
                }
            });
        }
    });
    let (tests, tests_failed) = run_clients(&filters);
    let failed = failed.into_inner() + tests_failed;
    println!("sql-tests: {} passed, {failed} failed", files.len() + tests - failed);
    std::process::exit(i32::from(failed > 0));
}

/// The client tests one by one: they measure time and memory. Returns how many ran and how many failed.
fn run_clients(filters: &[String]) -> (usize, usize) {
    if std::env::var("TIDEWATER_SLT_POSTGRES").is_ok() {
        return (0, 0);
    }
    let wanted =
        |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter));
    let tests: Vec<_> = clients::TESTS.iter().filter(|test| wanted(test.name)).collect();
    let failed = tests.iter().filter(|test| {
        let started = Instant::now();
        let result = test.run();
        tell(test.name, started.elapsed(), &result);
        result.is_err()
    });
    (tests.len(), failed.count())
}

/// From the command line (options of libtest are ignored, so that `cargo test -- --nocapture` works) and environment.
fn filters() -> Vec<String> {
    let words = std::env::args().skip(1).filter(|arg| !arg.starts_with('-'));
    words.chain(std::env::var("TIDEWATER_SLT")).filter(|filter| !filter.is_empty()).collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("sql-tests can be read") {
        let path = entry.expect("sql-tests can be read").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "slt") {
            files.push(path);
        }
    }
}

fn name(root: &Path, file: &Path) -> String {
    file.strip_prefix(root).unwrap_or(file).display().to_string()
}

/// Whether the file passed. One print a file, so that two files' failures do not mix.
fn run_and_tell(root: &Path, file: &Path) -> bool {
    let started = Instant::now();
    let result = run(file);
    tell(&name(root, file), started.elapsed(), &result);
    result.is_ok()
}

fn tell(name: &str, took: Duration, result: &Result<(), String>) {
    let seconds = took.as_secs_f64();
    match result {
        Ok(()) => println!("ok     {name} ({seconds:.1} s)"),
        Err(why) => println!("FAILED {name} ({seconds:.1} s)\n{why}\n"),
    }
}

fn run(file: &Path) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    if let Ok(url) = std::env::var("TIDEWATER_SLT_POSTGRES") {
        return runtime.block_on(async {
            let config = fresh_database(&url).await.map_err(|e| e.to_string())?;
            run_against(file, Engine::Postgres, config).await
        });
    }
    let workers = std::env::var("TIDEWATER_SLT_WORKERS").unwrap_or(DEFAULT_WORKERS.to_owned());
    let server = Server::start(&["--workers", &workers])?;
    let config: Config = server.url.parse().map_err(|e| format!("{}: {e}", server.url))?;
    match runtime.block_on(run_against(file, Engine::Tidewater, config)) {
        Ok(()) => server.stop(),
        Err(why) => Err(format!("{why}\n{}", server.log())),
    }
}

async fn run_against(file: &Path, engine: Engine, config: Config) -> Result<(), String> {
    let mut runner = Runner::new(|| Connection::open(engine, config.clone()));
    runner.with_column_validator(|actual, expected| actual.len() == expected.len());
    let result = runner.run_file_async(file).await;
    runner.shutdown_async().await;
    result.map_err(|error| error.display(false).to_string())
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    Tidewater,
    Postgres,
}

/// One session of a test file; `connection NAME` in the file opens another.
struct Connection {
    engine: Engine,
    client: Client,
}

/// An error as the files name it.
#[derive(Debug, thiserror::Error)]
enum SqlError {
    #[error("{}", told(.0))]
    Database(Box<tokio_postgres::error::DbError>),
    #[error("connection: {0}")]
    Connection(tokio_postgres::Error),
    #[error("no answer within {} s", STATEMENT_TIMEOUT.as_secs())]
    Timeout,
}

fn told(error: &tokio_postgres::error::DbError) -> String {
    let mut text = format!("{}: {}", error.code().code(), error.message());
    for (field, value) in [("DETAIL", error.detail()), ("HINT", error.hint())] {
        if let Some(value) = value {
            text += &format!("\n{field}: {value}");
        }
    }
    text
}

impl From<tokio_postgres::Error> for SqlError {
    fn from(error: tokio_postgres::Error) -> SqlError {
        match error.as_db_error() {
            Some(db) => SqlError::Database(Box::new(db.clone())),
            None => SqlError::Connection(error),
        }
    }
}

impl Connection {
    async fn open(engine: Engine, config: Config) -> Result<Connection, SqlError> {
        let (client, connection) = config.connect(NoTls).await?;
        // The task ends with the client; an error of the connection reaches the statement that waits for it.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Connection { engine, client })
    }
}

#[async_trait::async_trait]
impl AsyncDB for Connection {
    type Error = SqlError;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, SqlError> {
        let sql = match self.engine {
            Engine::Tidewater => sql.to_owned(),
            // A view is what a materialized view must always equal.
            Engine::Postgres => {
                sql.replace("materialized view", "view").replace("MATERIALIZED VIEW", "VIEW")
            }
        };
        let answer = tokio::time::timeout(STATEMENT_TIMEOUT, self.client.simple_query(&sql));
        let messages = answer.await.map_err(|_| SqlError::Timeout)??;
        let mut columns = None;
        let mut rows = Vec::new();
        let mut changed = 0;
        for message in messages {
            match message {
                SimpleQueryMessage::RowDescription(description) => {
                    columns = Some(description.len())
                }
                SimpleQueryMessage::Row(row) => {
                    rows.push((0..row.len()).map(|i| shown(row.get(i))).collect())
                }
                SimpleQueryMessage::CommandComplete(count) => changed = count,
                _ => {}
            }
        }
        Ok(match columns {
            Some(count) => DBOutput::Rows { types: vec![DefaultColumnType::Any; count], rows },
            None => DBOutput::StatementComplete(changed),
        })
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        match self.engine {
            Engine::Tidewater => "tidewater",
            Engine::Postgres => "postgres",
        }
    }

    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn error_sql_state(error: &SqlError) -> Option<String> {
        match error {
            SqlError::Database(error) => Some(error.code().code().to_owned()),
            SqlError::Connection(_) | SqlError::Timeout => None,
        }
    }
}

/// A null and an empty text are visible.
fn shown(value: Option<&str>) -> String {
    match value {
        None => "NULL".to_owned(),
        Some("") => "(empty)".to_owned(),
        Some(text) => text.to_owned(),
    }
}
