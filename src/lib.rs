//! Tidewater, a streaming SQL database server that speaks PostgreSQL's protocol.

pub mod catalog;
pub mod change;
pub mod epoch;
pub mod error;
pub mod sql;
pub mod types;
