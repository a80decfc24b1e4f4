//! The room's tests: a corpus of expressions and bad queries with PostgreSQL's answers, and properties.
#![allow(clippy::unwrap_used)]

mod corpus;
mod harness;
mod plans;
mod verdicts;

#[test]
fn scratch() {
    let path = std::env::var("SCRATCH").unwrap_or_default();
    let Ok(text) = std::fs::read_to_string(path) else { return };
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        println!("{line}\t{}", harness::outcome(line));
    }
}
