//! Tidewater, a streaming SQL database server that speaks PostgreSQL's protocol.

pub mod change;
pub mod config;
pub mod epoch;
pub mod error;
pub mod http;
pub mod memory;
pub mod metrics;
pub mod process;
