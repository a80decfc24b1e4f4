//! Runs every `sql-tests/**/*.slt` and the examples of the documentation with `tidewater test`, as users run theirs.
//!
//! Behind them run the tests of [`clients`], which need more than one statement at a time.
//!
//! What a file expects is PostgreSQL's answer wherever PostgreSQL has the statement. With TIDEWATER_SLT_POSTGRES set to the
//! URL of a PostgreSQL 15 (a superuser's), the files run against that instead, each in a database of its own: views stand in
//! for materialized views, and records marked `skipif postgres` are left out. That checks the files, not the server.
//!
//! `cargo test --test sql -- joins` runs the files whose path contains `joins`; TIDEWATER_SLT does the same for
//! `cargo test`. TIDEWATER_SLT_WORKERS sets the number of workers.

#![allow(clippy::print_stdout)]

mod clients;
#[path = "../src/testing/server.rs"]
mod server;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Two files at a time: each has a server of two workers beside it.
const FILES_AT_ONCE: &str = "2";
/// Of a debug build on a busy machine.
const FILE_TIMEOUT_SECONDS: &str = "600";
/// Files in which statements stand in for connectors.
const TEST_MODE: &str = "sql-tests/test-mode";
/// Pipelines of the documentation with their tests.
const EXAMPLES: &str = "docs/examples";

fn main() {
    let filters = filters();
    let mut files = vec![];
    collect(Path::new("sql-tests"), &mut files);
    files.sort();
    let (with_stand_ins, mut plain): (Vec<PathBuf>, Vec<PathBuf>) =
        files.into_iter().partition(|file| file.starts_with(TEST_MODE));
    assert!(!plain.is_empty(), "sql-tests holds .slt files");
    let postgres = std::env::var("TIDEWATER_SLT_POSTGRES").ok();
    let real: &[&str] = match &postgres {
        Some(url) => &["--postgres", url],
        None => &["--real-connectors"],
    };
    plain.retain(|file| wanted(&filters, &file.to_string_lossy()));
    let mut passed = run(&plain, real);
    if postgres.is_none() {
        let mut files = with_stand_ins;
        files.retain(|file| wanted(&filters, &file.to_string_lossy()));
        passed &= run(&files, &[]);
        for pipeline in directories(Path::new(EXAMPLES)) {
            let mut tests = vec![];
            collect(&pipeline, &mut tests);
            tests.retain(|file| wanted(&filters, &file.to_string_lossy()));
            let setup = pipeline.join("pipeline.sql").display().to_string();
            passed &= run(&tests, &["--setup", &setup]);
        }
        passed &= run_clients(&filters);
    }
    std::process::exit(i32::from(!passed));
}

/// Whether all files passed.
fn run(files: &[PathBuf], options: &[&str]) -> bool {
    if files.is_empty() {
        return true;
    }
    let mut test = Command::new(env!("CARGO_BIN_EXE_tidewater"));
    test.args(["test", "--jobs", FILES_AT_ONCE, "--timeout", FILE_TIMEOUT_SECONDS]).args(options);
    if let Ok(workers) = std::env::var("TIDEWATER_SLT_WORKERS") {
        test.args(["--workers", &workers]);
    }
    test.args(files).status().expect("the built program can be run").success()
}

/// The client tests one by one: they measure time and memory. Whether all of them passed.
fn run_clients(filters: &[String]) -> bool {
    let mut passed = true;
    for test in clients::TESTS.iter().filter(|test| wanted(filters, test.name)) {
        let started = Instant::now();
        let result = test.run();
        let seconds = started.elapsed().as_secs_f64();
        match &result {
            Ok(()) => println!("ok      {} ({seconds:.1} s)", test.name),
            Err(why) => println!("FAILED  {} ({seconds:.1} s)\n{why}\n", test.name),
        }
        passed &= result.is_ok();
    }
    passed
}

fn wanted(filters: &[String], name: &str) -> bool {
    filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
}

/// From the command line (options of libtest are ignored, so that `cargo test -- --nocapture` works) and environment.
fn filters() -> Vec<String> {
    let words = std::env::args().skip(1).filter(|arg| !arg.starts_with('-'));
    words.chain(std::env::var("TIDEWATER_SLT")).filter(|filter| !filter.is_empty()).collect()
}

/// Tests run in the package's directory, so paths in messages are as one writes them.
fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for path in entries(dir) {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "slt") {
            files.push(path);
        }
    }
}

fn directories(dir: &Path) -> Vec<PathBuf> {
    entries(dir).into_iter().filter(|path| path.is_dir()).collect()
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut paths: Vec<PathBuf> =
        listed.map(|entry| entry.expect("it can be read").path()).collect();
    paths.sort();
    paths
}
