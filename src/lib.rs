//! Tidewater, a streaming SQL database server that speaks PostgreSQL's protocol.
//!
//! In the order a statement travels: [`wire`] and [`http`] are what the outside sees, [`session`] what a client's
//! statements mean, [`sql`] how they are parsed, [`catalog`] what names stand for, [`query`] DataFusion set up as
//! PostgreSQL, [`plan`] the streaming plan. In the order rows travel: [`ingest`], [`coordinator`], [`dataflow`],
//! [`arrangement`], [`checkpoint`], [`egress`]. docs/ARCHITECTURE.md is the map.

pub mod arrangement;
pub mod backends;
pub mod bench;
pub mod canonical;
pub mod catalog;
pub mod change;
pub mod checkpoint;
pub mod config;
pub mod coordinator;
pub mod copy;
pub mod dataflow;
pub mod demo;
pub mod egress;
pub mod epoch;
pub mod error;
pub mod hash;
pub mod http;
pub mod ingest;
pub mod log;
pub mod memory;
pub mod meter;
pub mod metrics;
pub mod operators;
pub mod plan;
pub mod process;
pub mod query;
pub mod serve;
pub mod server;
pub mod session;
pub mod sql;
pub mod testing;
pub mod types;
pub mod wire;
