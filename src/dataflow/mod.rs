//! The dataflow: the only code that knows timely. Workers are threads; all build the same dataflows in the same order, told by
//! one command log.
//!
//! In the order in which rows flow: [`command`] what workers are told; [`worker`] the loop that obeys; [`hub`] what an object's
//! changes pass through on their way to its live table and to those that read it, with its [`standing_errors`]; [`render`] a streaming plan as timely operators;
//! [`glue`] between timely and [`crate::operators`], which know nothing of it; [`steps`] where checkpoints find the state of an
//! object; [`container`] batches on their way between workers.

pub mod command;
mod container;
mod glue;
mod hub;
mod inflow;
mod render;
mod standing_errors;
mod steps;
mod worker;

pub use command::{Arrangements, Command, Cut, HubSpec, Part, ViewSpec};
pub use glue::is_guarded;
pub use worker::Workers;
