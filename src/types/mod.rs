//! PostgreSQL's types over Arrow's: which Arrow type carries which PostgreSQL type, how values are written as text and
//! binary and read back. Used by the wire, by casts, by literals and by the catalog; knows no protocol and no plan.
//!
//! In the order data flows: [`pg_type`] and [`sql_type`] say what a column is; [`text_in`] and [`binary_in`] read values
//! into Arrow; [`column`] brings whatever DataFusion produced into the few canonical Arrow types; [`text_out`] and
//! [`binary_out`] write those. The files in between own one kind of value each. Nothing here reads the clock, so the special
//! inputs `now`, `today`, `tomorrow` and `yesterday` are refused as invalid.

mod array_text;
mod binary_in;
mod binary_out;
mod calendar;
mod column;
mod date_order;
mod datetime_in;
mod float;
mod interval;
mod json;
mod json_out;
mod maps;
mod numeric;
mod pg_type;
mod precision;
mod sql_type;
mod style;
mod text_in;
mod text_out;

pub use array_text::split_array;
pub use binary_in::{column_from_binary, parse_binary, utf8_text};
pub use calendar::{civil_of_days, days_in_month, days_of_civil};
pub use column::ColumnWriter;
pub use date_order::{DateOrder, depends_on_order};
pub use interval::parse_interval;
pub use json::{jsonb_of_text, push_json_string, push_jsonb_object, validate_json};
pub use json_out::{JsonForm, JsonWriter};
pub use maps::{Assembly, Twice, map_field, map_parts};
pub use numeric::parse_decimal;
pub use pg_type::{
    PgType, TYPE_KEY, TYPMOD_KEY, field_of_oid, field_of_pg_type, format_type, marked, pg_type_of,
    second_digits, type_marker, type_modifier,
};
pub use precision::round_seconds;
pub use sql_type::field_of_sql_type;
pub use style::{ByteaOutput, IntervalStyle, TextStyle, TimeZone};
pub use text_in::{cast_from_text, parse_text};
pub use text_out::{cast_to_text, row_values};

#[cfg(test)]
mod tests;
