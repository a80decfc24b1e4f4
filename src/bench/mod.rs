//! `tidewater bench`: throughput and latency, in process, through the code that the server runs.
//!
//! [`operators`] measures single operators over [`flow`], a view on workers of its own; [`nexmark`] the [`queries`] of
//! the Nexmark benchmark as materialized views of a whole server; [`report`] shows what came of it.

mod flow;
mod kafka;
mod nexmark;
mod operators;
mod queries;
mod report;

use crate::config::{BenchArgs, BenchSuite, LogFormat};

/// Runs a suite. A case that cannot run is reported and left out; an error is something that stopped the suite.
pub fn run(args: BenchArgs) -> Result<(), String> {
    crate::serve::start_logs(LogFormat::Text);
    match args.suite {
        BenchSuite::Operators(args) => operators::run(&args.cases),
        BenchSuite::Nexmark(args) => nexmark::run(args),
    }
}
