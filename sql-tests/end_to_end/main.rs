//! The server as a whole: real processes, a real broker, a real client.
//!
//! [`kafka`] the main job; [`memory`] what happens at the limit; [`consistency`] what concurrent readers may see; [`jobs`] what
//! happens when views are canceled while they are filled; [`writing`] statements that write and answer, [`copying`] data in bulk,
//! [`subscribing`] changes as they happen; [`sinks`] views that go out; [`expressions`] what they come to, beside PostgreSQL;
//! [`testing`] users' own tests; [`drivers`] the clients that people have.

#![allow(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]

mod client;
mod consistency;
mod copying;
mod drivers;
mod expressions;
mod jobs;
mod kafka;
mod memory;
mod postgres;
#[path = "../../src/testing/server.rs"]
#[allow(dead_code, reason = "shared with others, who use the rest")]
mod server;
mod sinks;
mod subscribing;
mod testing;
mod writing;
