//! DataFusion plans, evaluates and answers: the one place that configures it so that it behaves as PostgreSQL 15.
//!
//! In the order a query takes: `row_sets`, `merged_columns`, `spelling`, `forms`, `common_type` and `grouping` rewrite the parsed query (with `array_rows`, `collecting` and `literals` for what has a form of its own there), [`engine`] plans it with `operators`, `cast`,
//! [`sql_types`] and [`functions`] (`quantified`: ANY and ALL over arrays; `subscripts`; `marks` keeps types that Arrow does not know; `key_order` sorts jsonb and intervals, `key_equality` groups them); [`params`] types and binds parameters; `pushdown` and `fallible` keep optimization
//! from moving errors, `subquery_forms`, `subquery_columns`, `membership` (what an IN does not know) and `lateral` make joins of subqueries, `total_order` and `top_k` from changing what a LIMIT cuts, [`windows`] orders what window functions see, `padding` from concluding too much; [`output`] says what comes out, `assign` fits values to columns, [`at_hand`] lets expressions speak of rows that a statement holds, [`own_rows`] lays a transaction's changes over what it reads, [`own_keys`] over what is UNIQUE. [`mod@compile`] and [`mod@evaluate`] run single expressions for views and
//! DML, [`execute`] whole plans for SELECT, `interrupt` ends them early and `panics` keeps a defect to the query that met it. [`errors`] puts everything that goes wrong into PostgreSQL's words.
//!
//! Knows no catalog, no session and no storage: tables come through [`engine::Resolver`]. Views, SELECT, DML and the
//! oracle all go through here, so that one expression has one meaning.

mod arithmetic;
mod array_rows;
pub mod assign;
pub mod at_hand;
mod bags;
pub mod cast;
mod coercion;
mod collecting;
pub mod common;
mod common_type;
pub mod compile;
pub mod constant_series;
pub mod engine;
pub mod errors;
pub mod evaluate;
pub mod execute;
mod fallible;
mod forms;
pub mod functions;
mod grouping;
mod interrupt;
mod join_order;
mod key_equality;
mod key_order;
mod lateral;
mod literals;
pub mod live_scan;
mod marks;
mod membership;
mod merged_columns;
mod moments;
mod null_keys;
mod operators;
mod ordered_sets;
pub mod output;
pub mod own_keys;
pub mod own_rows;
mod padding;
mod panics;
pub mod params;
pub mod point;
mod pushdown;
mod quantified;
mod reading;
mod required_order;
mod row_columns;
mod row_comparison;
mod row_sets;
mod row_star;
mod scopes;
pub mod sizes;
mod spelling;
pub mod sql_types;
mod subquery_columns;
mod subquery_forms;
mod subscripts;
mod text;
mod top_k;
mod total_order;
mod unnested_keys;
pub mod windows;

#[cfg(test)]
mod tests;

pub use assign::{assign, assignable_column};
pub use compile::{compile, compile_with, refuse_volatile, volatile_function};
pub use engine::{Engine, EngineOptions, Resolver};
pub use evaluate::{Evaluated, Filtered, evaluate, filter};
pub use execute::RowStream;
pub use fallible::is_fallible;
pub use output::{canonicalise, output_fields};
pub use params::{bind_params, prepare_params};
pub use row_sets::refuse_sets;
pub use spelling::visible_name;
