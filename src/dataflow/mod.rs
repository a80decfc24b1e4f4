//! The dataflow: operator cores and what drives them.

pub mod operators;
