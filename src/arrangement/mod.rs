//! Versioned collections that others look up: live tables, join inputs, indexes, upsert folds.
//!
//! An [`Arrangement`] takes whole epochs of changes; a [`Snapshot`] reads it as of one epoch, on any
//! thread, without locks; [`Pins`] say which epochs are still read. Rows stay Arrow columns
//! throughout. What is absent: timely, sharding over workers (each has an arrangement of its own rows,
//! cut by [`crate::hash::bucket`]), and spilling to disk.
//!
//! In the order in which a row passes through:
//! - `arrangement`: the writer; epochs, versions, compaction, checkpoints
//! - `generation`: rows, deaths and indexes from one rebuild to the next
//! - `chunk`: the rows in append order, and when each died
//! - `column`: typed access to a chunk's columns, equality
//! - `index`: from a key's hash to its rows
//! - `snapshot`: what a reader sees; probing and scanning
//! - `gather`: rows found back into arrays
//! - `rebuild`: the living rows into a new generation, in slices
//! - `live`: what readers on any thread see of a table or view, and at which epoch
//! - `unique`: what tells whether a row is like another
//! - `feed`: an object's changes on their way to a subscription
//! - `pins`: which epochs somebody still reads

#[allow(clippy::module_inception)]
mod arrangement;
mod chunk;
mod column;
pub mod feed;
mod gather;
mod generation;
mod index;
pub mod live;
mod pins;
mod rebuild;
mod snapshot;
pub mod unique;

#[cfg(test)]
mod tests;

pub use arrangement::Arrangement;
pub use pins::{Pin, Pins};
pub use snapshot::Snapshot;
