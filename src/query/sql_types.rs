//! Types inside a plan: the fields casts yield, the names messages use, and the stored form of every type.
//!
//! Which Arrow type carries which PostgreSQL type is `crate::types`' business; types that Arrow cannot tell apart (jsonb
//! from text, numeric with and without precision) are marked in the field's metadata under [`TYPE_KEY`]. Invariant:
//! `pg_name(field_of(t))` names `t` again.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::planner::TypePlanner;
use sqlparser::ast;

use super::errors::to_datafusion;
use crate::error::Result;
pub use crate::types::TYPE_KEY;
use crate::types::{TYPMOD_KEY, field_of_sql_type, format_type, pg_type_of};

/// Digits that Decimal128 holds.
pub const NUMERIC_PRECISION: u8 = 38;
/// Fraction digits of a `numeric` without precision where nothing else says how many are needed; such fields are marked
/// `numeric`, so that trailing zeros are not shown.
pub const NUMERIC_SCALE: i8 = 10;
/// Least fraction digits of a numeric quotient or average; PostgreSQL computes at least sixteen significant digits.
pub const QUOTIENT_SCALE: i8 = 16;

/// The mark of a field (`jsonb`, `uuid`, `numeric`), if it carries one.
pub fn mark_of(field: &Field) -> Option<&str> {
    field.metadata().get(TYPE_KEY).map(String::as_str)
}

/// A nullable field without a name.
pub fn plain(data_type: DataType) -> FieldRef {
    Arc::new(Field::new("", data_type, true))
}

/// A nullable field without a name that carries a mark.
pub fn marked(data_type: DataType, mark: &str) -> FieldRef {
    Arc::new(crate::types::marked("", data_type, mark))
}

/// The field's type and mark under another name and nullability, without other metadata.
pub fn renamed(field: &Field, name: &str, nullable: bool) -> Field {
    Field::new(name, field.data_type().clone(), nullable).with_metadata(type_metadata(field))
}

/// The metadata that is part of the type.
fn type_metadata(field: &Field) -> std::collections::HashMap<String, String> {
    [TYPE_KEY, TYPMOD_KEY]
        .iter()
        .filter_map(|key| {
            field.metadata().get(*key).map(|value| ((*key).to_owned(), value.clone()))
        })
        .collect()
}

/// `numeric(38, scale)`.
pub fn numeric(scale: i8) -> DataType {
    DataType::Decimal128(NUMERIC_PRECISION, scale)
}

/// `timestamp` in microseconds.
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// `timestamptz`: microseconds in UTC; the session's zone matters only when text is read or written.
pub fn timestamptz() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
}

/// `interval`: months, days and nanoseconds (always whole microseconds).
pub fn interval() -> DataType {
    DataType::Interval(IntervalUnit::MonthDayNano)
}

/// The field a SQL type name stands for; 42704 for unknown names, 0A000 for types that are not there yet.
pub fn field_of(sql_type: &ast::DataType) -> Result<FieldRef> {
    field_of_sql_type("", sql_type).map(Arc::new)
}

/// PostgreSQL's name of a field's type, as error messages have it.
pub fn pg_name(field: &Field) -> String {
    match field.data_type() {
        DataType::Null => "unknown".to_owned(),
        _ => pg_type_of(field).sql_name.to_owned(),
    }
}

/// PostgreSQL's name of an Arrow type without a mark.
pub fn pg_type_name(data_type: &DataType) -> String {
    pg_name(&Field::new("", data_type.clone(), true))
}

/// What a cast to the field is called: its type with precision and scale, so that different casts have different names.
pub fn cast_name(field: &Field) -> String {
    format_type(field)
}

/// The stored form of a type: what live tables, views and results hold. Utf8View and LargeUtf8 become Utf8, timestamps
/// microseconds, unsigned integers signed ones, decimals Decimal128.
pub fn canonical(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Null | DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        // Only DataFusion's own functions (row_number, array_length) yield unsigned 64 bits; PostgreSQL's yield bigint.
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
        DataType::Decimal256(p, s) => DataType::Decimal128((*p).min(NUMERIC_PRECISION), *s),
        DataType::Timestamp(_, None) => timestamp(),
        DataType::Timestamp(_, Some(_)) => timestamptz(),
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Interval(_) | DataType::Duration(_) => interval(),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            DataType::List(Arc::new(canonical_field(item)))
        }
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|f| canonical_field(f)).collect())
        }
        DataType::Dictionary(_, value) => canonical(value),
        other => other.clone(),
    }
}

/// The field with its type in stored form; name, nullability and mark stay.
pub fn canonical_field(field: &Field) -> Field {
    Field::new(field.name(), canonical(field.data_type()), field.is_nullable())
        .with_metadata(type_metadata(field))
}

/// Hands our mapping to DataFusion's SQL planner, for the few type names that it plans itself.
#[derive(Debug)]
pub(crate) struct PgTypes;

impl TypePlanner for PgTypes {
    fn plan_type_field(&self, sql_type: &ast::DataType) -> DfResult<Option<FieldRef>> {
        field_of(sql_type).map(Some).map_err(to_datafusion)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sqlparser::dialect::PostgreSqlDialect;
    use sqlparser::parser::Parser;

    use super::*;

    fn parse(name: &str) -> Result<FieldRef> {
        field_of(
            &Parser::new(&PostgreSqlDialect {})
                .try_with_sql(name)
                .unwrap()
                .parse_data_type()
                .unwrap(),
        )
    }

    #[test]
    fn type_names_map_to_arrow_and_back() {
        for (name, pg) in [
            ("int", "integer"),
            ("int8", "bigint"),
            ("varchar(3)", "character varying"),
            ("numeric(10,2)", "numeric"),
            ("timestamptz", "timestamp with time zone"),
            ("timestamp(3)", "timestamp without time zone"),
            ("uuid", "uuid"),
            ("jsonb", "jsonb"),
            ("int[]", "integer[]"),
            ("float8", "double precision"),
            ("interval", "interval"),
        ] {
            assert_eq!(pg_name(&parse(name).unwrap()), pg, "{name}");
        }
    }

    #[test]
    fn impossible_types_are_refused_with_postgres_codes() {
        assert_eq!(parse("numeric(1001,2)").unwrap_err().code.0, "22023");
        assert_eq!(parse("nosuchtype").unwrap_err().code.0, "42704");
    }
}
