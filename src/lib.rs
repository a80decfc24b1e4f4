//! Tidewater, a streaming SQL database server that speaks PostgreSQL's protocol.

pub mod change;
pub mod dataflow;
pub mod epoch;
pub mod error;
