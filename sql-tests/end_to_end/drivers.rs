//! Clients as people have them: each driver in a program of its own under sql-tests/drivers, against a fresh server.
//!
//! A program is told the server's address by TIDEWATER_URL, says what it checks, and ends with a status other than 0 where
//! something differs from what PostgreSQL does. Drivers come from their languages' registries in fixed versions, and are kept
//! in a cache folder outside of the checkout. Where one cannot be had the test is skipped with a loud line, or fails if
//! TIDEWATER_TEST_REQUIRE contains `drivers`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64;

use super::client::Client;
use super::server::Server;

/// A program that takes longer hangs: the longest needs a tenth of it on an idle machine.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(300);

fn programs(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sql-tests/drivers").join(language)
}

/// A folder in the cache that `install` has filled once for these `files`: others get another folder.
pub fn installed(
    name: &str,
    files: &[PathBuf],
    install: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let mut text = vec![];
    for file in files {
        text.extend(fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?);
    }
    let home = std::env::var_os("HOME").ok_or("HOME is not set")?;
    let cache = Path::new(&home).join(".cache/tidewater-drivers");
    fs::create_dir_all(&cache).map_err(|e| format!("{}: {e}", cache.display()))?;
    // One installs, the others wait.
    let lock = File::create(cache.join(format!("{name}.lock"))).map_err(|e| e.to_string())?;
    lock.lock().map_err(|e| e.to_string())?;
    let dir = cache.join(format!("{name}-{:016x}", xxh3_64(&text)));
    let complete = dir.join("complete");
    if !complete.exists() {
        // What is there was left in the middle.
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
        install(&dir)?;
        File::create(complete).map_err(|e| e.to_string())?;
    }
    Ok(dir)
}

/// Runs a command to its end; an error is what it said.
pub fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().map_err(|e| format!("there is no {name}: {e}"))?;
    if output.status.success() { Ok(()) } else { Err(format!("{name}: {}", told(&output))) }
}

fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// What was installed, or `None` when the test is to be skipped.
pub fn or_skip<T>(what: &str, installed: Result<T, String>) -> Option<T> {
    match installed {
        Ok(installed) => Some(installed),
        Err(reason) => {
            let required = std::env::var("TIDEWATER_TEST_REQUIRE").unwrap_or_default();
            assert!(!required.contains("drivers"), "no {what} for this test: {reason}");
            eprintln!("\n==== SKIPPED: no {what} for this test: {reason} ====\n");
            None
        }
    }
}

/// A virtual environment with what a file of requirements names; inside, its python.
pub fn python(name: &str, requirements: &Path) -> Result<PathBuf, String> {
    let dir = installed(name, &[requirements.to_owned()], |dir| {
        run(Command::new("python3").args(["-m", "venv"]).arg(dir))?;
        let mut pip = Command::new(dir.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        run(pip.args(["--only-binary=:all:", "-r"]).arg(requirements))
    })?;
    Ok(dir.join("bin/python"))
}

/// Runs a program against a server of its own.
fn check(program: &mut Command) {
    let server = Server::start(&["--workers", "2"]).unwrap();
    program.env("TIDEWATER_URL", &server.url).stdin(Stdio::null());
    finish(program, &server);
    server.stop().unwrap();
}

/// Runs a program to its end, which has to be a good one and in time.
pub fn finish(program: &mut Command, server: &Server) {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let output = File::create(&log).unwrap();
    let errors = output.try_clone().unwrap();
    let mut child = program.stdout(output).stderr(errors).spawn().unwrap();
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if began.elapsed() > PROGRAM_TIMEOUT {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let said = fs::read_to_string(&log).unwrap();
    match status {
        Some(status) if status.success() => eprintln!("{said}"),
        Some(status) => panic!("{program:?} ended with {status}\n{said}\n{}", server.log()),
        None => {
            panic!("{program:?} did not end within {PROGRAM_TIMEOUT:?}\n{said}\n{}", server.log())
        }
    }
}

fn python_program(file: &str) {
    let folder = programs("python");
    let Some(python) =
        or_skip("Python drivers", python("python", &folder.join("requirements.txt")))
    else {
        return;
    };
    check(Command::new(python).arg("-B").arg(folder.join(file)));
}

#[test]
fn psycopg2_finds_a_postgresql() {
    python_program("with_psycopg2.py");
}

#[test]
fn psycopg3_finds_a_postgresql() {
    python_program("with_psycopg3.py");
}

#[test]
fn asyncpg_finds_a_postgresql() {
    python_program("with_asyncpg.py");
}

#[test]
fn sqlalchemy_finds_a_postgresql() {
    python_program("with_sqlalchemy.py");
}

/// pgjdbc, from Maven; inside, its jar. Programs are compiled as they are started, which needs a JDK.
fn pgjdbc() -> Result<PathBuf, String> {
    run(Command::new("javac").arg("-version"))?;
    let pom = programs("java").join("pom.xml");
    let dir = installed("java", std::slice::from_ref(&pom), |dir| {
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "-f"]).arg(&pom).arg("dependency:copy-dependencies");
        run(maven.arg(format!("-DoutputDirectory={}", dir.join("jars").display())))
    })?;
    Ok(dir.join("jars/*"))
}

#[test]
fn pgjdbc_finds_a_postgresql() {
    let Some(jars) = or_skip("pgjdbc", pgjdbc()) else { return };
    let program = programs("java").join("WithPgjdbc.java");
    check(Command::new("java").arg("-cp").arg(jars).arg(program));
}

/// node-pg, from the lock file; inside, its modules.
fn node_modules() -> Result<PathBuf, String> {
    run(Command::new("node").arg("--version"))?;
    let files = ["package.json", "package-lock.json"].map(|file| programs("node").join(file));
    let dir = installed("node", &files, |dir| {
        for file in &files {
            let name = file.file_name().ok_or("a file has a name")?;
            fs::copy(file, dir.join(name)).map_err(|e| e.to_string())?;
        }
        run(Command::new("npm").args(["ci", "--ignore-scripts"]).current_dir(dir))
    })?;
    Ok(dir.join("node_modules"))
}

#[test]
fn node_pg_finds_a_postgresql() {
    let Some(modules) = or_skip("node-pg", node_modules()) else { return };
    let program = programs("node").join("with_pg.js");
    check(Command::new("node").env("NODE_PATH", modules).arg(program));
}

/// Built by cargo, apart from the server's own crates; inside, where the programs are.
fn rust_programs() -> Result<PathBuf, String> {
    let folder = programs("rust");
    let files = ["Cargo.toml", "Cargo.lock"].map(|file| folder.join(file));
    let dir = installed("rust", &files, |_| Ok(()))?;
    let build = |offline: &[&str]| {
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--locked"]).args(offline).current_dir(&folder);
        run(cargo.arg("--target-dir").arg(&dir))
    };
    build(&["--offline"]).or_else(|_| build(&[]))?;
    Ok(dir.join("debug"))
}

fn rust_program(name: &str) {
    let Some(folder) = or_skip("Rust drivers", rust_programs()) else { return };
    check(&mut Command::new(folder.join(name)));
}

#[test]
fn tokio_postgres_finds_a_postgresql() {
    rust_program("with_tokio_postgres");
}

#[test]
fn sqlx_finds_a_postgresql() {
    rust_program("with_sqlx");
}

/// A project of seeds, views, tables, incremental and materialized views, a snapshot and tests, built and built again.
#[test]
fn dbt_builds_a_project_twice() {
    let folder = programs("dbt");
    let Some(python) = or_skip("dbt", python("dbt", &folder.join("requirements.txt"))) else {
        return;
    };
    let server = Server::start(&["--workers", "2"]).unwrap();
    let address = server.url.split('@').nth(1).unwrap().split('/').next().unwrap();
    let (host, port) = address.split_once(':').unwrap();
    let work = tempfile::tempdir().unwrap();
    let dbt = python.with_file_name("dbt");
    for words in [&["build"][..], &["build"], &["docs", "generate"]] {
        let mut command = Command::new(&dbt);
        command.args(words).arg("--target-path").arg(work.path().join("target"));
        command.arg("--log-path").arg(work.path()).arg("--profiles-dir").arg(&folder);
        command.arg("--project-dir").arg(&folder).env("DBT_SEND_ANONYMOUS_USAGE_STATS", "false");
        finish(command.env("TIDEWATER_HOST", host).env("TIDEWATER_PORT", port), &server);
    }
    let client = Client::connect(&server.url);
    client.query("insert into shop.orders values (4, 'bob', 1, '2026-01-04')");
    let spent = client.query("select customer, total, orders from shop.spent order by 1");
    assert_eq!(spent, ["ann|15.75|2", "bob|21.00|2"]);
    let labelled = client.query("select label, total from shop.labelled order by 1");
    assert_eq!(labelled, ["ANN|15.75", "BOB|20.00"], "a table is as of its build");
    assert_eq!(client.value("select count(*) from shop.ordered"), "3");
    assert_eq!(client.value("select count(*) from shop.orders_snapshot"), "3");
    // dbt names a column with its database, schema and table.
    assert_eq!(client.value("select col_description('shop.spent'::regclass, 1)"), "Who");
    assert_eq!(
        client.value("select obj_description('shop.spent'::regclass)"),
        "What each customer has spent"
    );
    let catalog = fs::read_to_string(work.path().join("target/catalog.json")).unwrap();
    assert!(catalog.contains("\"good_customers\""), "docs know the tables");
    server.stop().unwrap();
}

const PGBENCH_TABLES: &str = "drop table pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers; \
    create table pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22)); \
    create table pgbench_tellers (tid int primary key, bid int, tbalance int, filler char(84)); \
    create table pgbench_accounts (aid int primary key, bid int, abalance int, filler char(84)); \
    create table pgbench_branches (bid int primary key, bbalance int, filler char(88))";

/// PostgreSQL's load generator with the scripts that it brings: who commits second is refused and tries again.
#[test]
fn pgbench_runs_its_own_scripts() {
    let places = ["pgbench", "/usr/lib/postgresql/15/bin/pgbench"];
    let found = places.into_iter().find(|place| {
        let version = Command::new(place).arg("--version").output();
        version.is_ok_and(|version| version.status.success())
    });
    let Some(pgbench) = or_skip("pgbench", found.ok_or_else(|| "it is not installed".to_owned()))
    else {
        return;
    };
    let server = Server::start(&["--workers", "2"]).unwrap();
    let run = |words: &str| {
        let mut command = Command::new(pgbench);
        command.args(words.split(' ')).arg(&server.url);
        finish(&mut command, &server);
    };
    let client = Client::connect(&server.url);
    run("-i -q -I dt");
    // Its own tables get their keys by ALTER TABLE, the step `p`; here they have them from the beginning.
    client.query(PGBENCH_TABLES);
    run("-i -q -I gv");
    client.query(
        "create materialized view balance as select sum(abalance) as total from pgbench_accounts",
    );
    assert_eq!(client.value("select count(*) from pgbench_accounts"), "100000");
    for script in ["select-only", "simple-update", "tpcb-like"] {
        for protocol in ["simple", "extended", "prepared"] {
            run(&format!("-n -b {script} -M {protocol} -c 2 -t 10 --max-tries=100"));
        }
    }
    assert_eq!(client.value("select count(*) from pgbench_history"), "120");
    let moved = client.value("select sum(delta) from pgbench_history");
    assert_eq!(client.value("select sum(abalance) from pgbench_accounts"), moved);
    assert_eq!(client.value("select total from balance"), moved);
    let tellers = client.value("select sum(tbalance) from pgbench_tellers");
    assert_eq!(client.value("select sum(bbalance) from pgbench_branches"), tellers);
    server.stop().unwrap();
}
