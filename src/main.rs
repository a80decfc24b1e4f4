//! The command line: `server`, `demo`, `bench` and `test`. Decides nothing but which of them runs.

use std::process::ExitCode;

use clap::Parser;
use tidewater::config::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Server(args) => {
            args.resolve().map_err(|e| e.to_string()).and_then(tidewater::serve::run)
        }
        Command::Demo(args) => tidewater::demo::run(args),
        Command::Bench(args) => tidewater::bench::run(args),
        Command::Test(args) => return tidewater::testing::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
