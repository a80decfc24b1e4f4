//! PostgreSQL's functions that DataFusion lacks or has with another meaning; one family a file.
//!
//! What DataFusion already has right is not here. Each family gives its functions by `all()`; a function registered here
//! replaces DataFusion's of the same name.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

pub(super) use canonical_value::canonical_value;
pub(super) use collect::array_agg;
pub(super) use extremes::min;

use super::arithmetic::{self, Operation};

mod absolute;
mod aggregates;
pub(super) mod arrays;
mod bytes;
mod canonical_value;
mod collect;
pub(super) mod datetime;
mod exact_sum;
mod extremes;
pub(super) mod json;
mod json_rows;
pub(super) mod maps;
pub(super) mod math;
pub(super) mod missing;
mod moment_pattern;
mod moment_reader;
pub(super) mod native;
pub(super) mod nested_order;
mod number_pattern;
pub(super) mod numbers;
mod ordered_sets;
mod patterns;
pub(super) mod records;
pub(super) mod regexp;
mod regular;
pub mod required;
pub(super) mod row_sets;
mod series;
pub(super) mod similar;
pub(super) mod sliding;
pub(super) mod spans;
mod spread;
pub(super) mod strings;
mod text_rows;
mod values;
pub(super) mod windows;

/// Every scalar function, ours last so that they win over DataFusion's.
pub(super) fn scalar() -> Vec<Arc<ScalarUDF>> {
    let mut functions = SessionStateDefaults::default_scalar_functions();
    functions.extend(Operation::ALL.map(arithmetic::function));
    functions.push(super::common_type::function());
    functions.extend(absolute::all());
    functions.push(canonical_value());
    functions.push(arrays::array());
    functions.extend(arrays::all());
    functions.extend(bytes::all());
    functions.extend(datetime::all());
    functions.extend(json::all());
    functions.extend(maps::all());
    functions.extend(math::all());
    functions.extend(nested_order::all());
    functions.extend(numbers::all());
    functions.extend(ordered_sets::all());
    functions.extend(patterns::all());
    functions.extend(row_sets::all());
    functions.extend(regexp::all());
    functions.extend(records::all());
    functions.extend(similar::all());
    functions.extend(spans::all());
    functions.extend(strings::all());
    functions.extend(values::all());
    functions
}

/// One of our own functions, for operators that stand for it.
pub(super) fn named(name: &str) -> Arc<ScalarUDF> {
    static FUNCTIONS: LazyLock<HashMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
        let own = [numbers::all(), regexp::all()].concat();
        own.into_iter().map(|function| (function.name().to_owned(), function)).collect()
    });
    Arc::clone(FUNCTIONS.get(name).expect("operators name functions that are there"))
}

/// Every aggregate function, ours last.
pub(super) fn aggregate() -> Vec<Arc<AggregateUDF>> {
    let mut functions = SessionStateDefaults::default_aggregate_functions();
    let every = datafusion::functions_aggregate::bool_and_or::bool_and_udaf();
    functions.push(Arc::new(every.as_ref().clone().with_aliases(["every"])));
    functions.extend(aggregates::all());
    functions.extend(collect::all());
    functions.extend(extremes::all());
    functions.extend(spread::all());
    functions
}
