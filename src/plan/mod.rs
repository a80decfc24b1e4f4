//! DataFusion's logical plan becomes a streaming plan: a tree of incremental operators with their properties.
//!
//! The planner never reads the clock, the catalog's storage or any data: it sees an optimized logical plan and the
//! properties of the objects it reads. What cannot be maintained is refused here with 0A000.

pub mod explain;
mod grouping_sets;
pub mod lower;
mod properties;
pub mod shared;
pub mod stream_plan;
mod windows;

pub use lower::lower;
pub use stream_plan::{JoinKind, Node, Op, Properties, SortKey};
