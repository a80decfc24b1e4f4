//! Arrays: `ARRAY[...]`, subscripts, slices, and functions and operators where DataFusion's differ from PostgreSQL's.
//!
//! An array of several dimensions is an array of arrays. Functions work on the flat column of all elements.

mod elements;
mod make;
mod search;
mod shape;
mod size;
mod subscript;

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;

pub(crate) use self::make::array;
pub(crate) use self::search::{contains, overlap};
pub(crate) use self::subscript::{slice, subscript};

/// The family.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    [search::all(), shape::all(), size::all(), subscript::all()].concat()
}
