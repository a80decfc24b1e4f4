//! The room's tests: a corpus of expressions and bad queries with PostgreSQL's answers, and properties.
#![allow(clippy::unwrap_used)]

mod corpus;
mod harness;
mod plans;
mod verdicts;
