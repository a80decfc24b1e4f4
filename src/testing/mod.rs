//! `tidewater test`: runs .slt files in sqllogictest's dialect, each against a fresh server, several at a time.
//!
//! In the order of a run: [`files`] which files there are, [`server`] the process that a file talks to, [`connection`] how,
//! [`run_file`] one file from start to verdict, [`update`] what rewrites it, [`difference`] how a mismatch is told, [`junit`] the
//! report for machines. This file owns the order of all of it and the exit code: 0 where all files pass, 1 where one does
//! not, 2 where nothing could be run.

mod connection;
mod difference;
mod files;
mod junit;
mod run_file;
pub mod server;
mod update;

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::config::TestArgs;
use crate::serve::say;
use run_file::{Against, Plan};

/// Some file differs from what was answered.
const DIFFERENCES: u8 = 1;
/// Nothing could be run.
const WRONG_USE: u8 = 2;

/// What became of a file.
struct Outcome {
    name: String,
    took: Duration,
    verdict: Verdict,
}

enum Verdict {
    Passed,
    /// So many expectations were rewritten.
    Updated(usize),
    /// Why, each with its place.
    Failed(Vec<String>),
}

/// Runs what the command line names, tells each file as it ends, and all of them at the end.
pub fn run(args: TestArgs) -> ExitCode {
    let prepared = files::find(&args.paths, &args.filter).and_then(|files| {
        let setup =
            args.setup.iter().map(|path| files::read(path)).collect::<Result<Vec<_>, _>>()?;
        Ok((files, setup))
    });
    let (files, setup) = match prepared {
        Ok(prepared) => prepared,
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::from(WRONG_USE);
        }
    };
    let against = match &args.postgres {
        Some(url) => Against::Postgres { url: url.clone() },
        None => Against::Tidewater { workers: args.workers, test_mode: !args.real_connectors },
    };
    let timeout = Duration::from_secs(args.timeout);
    let plan = Plan { against, setup, timeout, update: args.update };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.map_or(cores, usize::from);
    let started = Instant::now();
    let outcomes = run_all(&files, &plan, jobs);
    if let Some(path) = &args.junit
        && let Err(error) = std::fs::write(path, junit::report(&outcomes))
    {
        eprintln!("error: could not write {}: {error}", path.display());
        return ExitCode::from(WRONG_USE);
    }
    let failed = outcomes.iter().filter(|o| matches!(o.verdict, Verdict::Failed(_))).count();
    let passed = outcomes.len() - failed;
    say(&format!("{passed} passed, {failed} failed ({:.1} s)", started.elapsed().as_secs_f64()));
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(DIFFERENCES),
    }
}

/// Runs `jobs` files at a time; the outcomes are in the files' order.
fn run_all(files: &[std::path::PathBuf], plan: &Plan, jobs: usize) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::with_capacity(files.len()));
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(files.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(file) = files.get(at) else { return };
                    let outcome = run_one(file, plan);
                    // One print a file, so that two files' failures do not mix.
                    say(&told(&outcome, colour));
                    let mut outcomes = outcomes.lock().unwrap_or_else(|e| e.into_inner());
                    outcomes.push((at, outcome));
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(|e| e.into_inner());
    outcomes.sort_by_key(|(at, _)| *at);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

fn run_one(file: &Path, plan: &Plan) -> Outcome {
    let started = Instant::now();
    let verdict = run_file::run(file, plan);
    Outcome { name: file.display().to_string(), took: started.elapsed(), verdict }
}

fn told(outcome: &Outcome, colour: bool) -> String {
    let (name, seconds) = (&outcome.name, outcome.took.as_secs_f64());
    match &outcome.verdict {
        Verdict::Passed => format!("ok      {name} ({seconds:.1} s)"),
        Verdict::Updated(count) => format!("updated {name} ({count} expectations, {seconds:.1} s)"),
        Verdict::Failed(reasons) => {
            let reasons: Vec<String> =
                reasons.iter().map(|reason| difference::indented(reason, colour)).collect();
            format!("FAILED  {name} ({seconds:.1} s)\n{}", reasons.join("\n"))
        }
    }
}
