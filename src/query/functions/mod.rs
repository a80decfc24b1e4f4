//! PostgreSQL's functions that DataFusion lacks or has with another meaning; one family a file.
//!
//! What DataFusion already has right is not here. Each family gives its functions by `all()`; a function registered here
//! replaces DataFusion's of the same name.

use std::sync::Arc;

use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

use super::arithmetic::{self, Operation};

mod absolute;
mod aggregates;
pub(super) mod arrays;
mod bytes;
mod collect;
pub(super) mod datetime;
mod exact_sum;
mod extremes;
pub(super) mod json;
pub(super) mod math;
pub(super) mod missing;
mod moment_pattern;
mod moment_reader;
mod number_pattern;
mod patterns;
pub(super) mod records;
pub(super) mod similar;
pub(super) mod sliding;
mod values;
pub(super) mod windows;

/// Every scalar function, ours last so that they win over DataFusion's.
pub(super) fn scalar() -> Vec<Arc<ScalarUDF>> {
    let mut functions = SessionStateDefaults::default_scalar_functions();
    // Names that PostgreSQL has for functions of DataFusion's.
    functions.push(Arc::new(
        datafusion::functions::math::signum().as_ref().clone().with_aliases(["sign"]),
    ));
    functions.extend(Operation::ALL.map(arithmetic::function));
    functions.extend(absolute::all());
    functions.extend(arrays::all());
    functions.extend(bytes::all());
    functions.extend(datetime::all());
    functions.extend(json::all());
    functions.extend(math::all());
    functions.extend(patterns::all());
    functions.extend(records::all());
    functions.extend(similar::all());
    functions.extend(values::all());
    functions
}

/// Every aggregate function, ours last.
pub(super) fn aggregate() -> Vec<Arc<AggregateUDF>> {
    let mut functions = SessionStateDefaults::default_aggregate_functions();
    let every = datafusion::functions_aggregate::bool_and_or::bool_and_udaf();
    functions.push(Arc::new(every.as_ref().clone().with_aliases(["every"])));
    let variance = datafusion::functions_aggregate::variance::var_samp_udaf();
    functions.push(Arc::new(variance.as_ref().clone().with_aliases(["variance"])));
    functions.extend(aggregates::all());
    functions.extend(collect::all());
    functions.extend(extremes::all());
    functions
}
