//! SQL type names to Arrow fields and back: which Arrow type stands for which PostgreSQL type inside a plan.
//!
//! Owns the mapping for casts and column definitions and the names that error messages use. Types that Arrow cannot tell
//! apart (jsonb from text, uuid from sixteen bytes) are marked in the field's metadata under [`TYPE_KEY`]. Values,
//! their text and their binary form are `crate::types`' business. Invariant: `pg_name(field_of(t))` names `t` again.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::planner::TypePlanner;
use sqlparser::ast::{self, ArrayElemTypeDef, ExactNumberInfo, TimezoneInfo};

use super::errors::to_datafusion;
use crate::error::{Error, Result, SqlState};

/// The metadata key that tells PostgreSQL types with the same Arrow type apart.
pub const TYPE_KEY: &str = "tidewater.type";
/// Digits that Decimal128 holds.
pub const NUMERIC_PRECISION: u8 = 38;
/// Fraction digits of a `numeric` without precision where nothing else says how many are needed; marked `numeric`, so
/// that trailing zeros are not shown.
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
    let metadata = HashMap::from([(TYPE_KEY.to_owned(), mark.to_owned())]);
    Arc::new(Field::new("", data_type, true).with_metadata(metadata))
}

/// The field's type and mark under another name and nullability, without other metadata.
pub fn renamed(field: &Field, name: &str, nullable: bool) -> Field {
    let metadata = mark_of(field).map(|mark| (TYPE_KEY.to_owned(), mark.to_owned()));
    Field::new(name, field.data_type().clone(), nullable).with_metadata(metadata.into_iter().collect())
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
    use ast::DataType as T;
    Ok(match sql_type {
        T::Boolean | T::Bool => plain(DataType::Boolean),
        T::SmallInt(_) | T::Int2(_) => plain(DataType::Int16),
        T::Int(_) | T::Integer(_) | T::Int4(_) => plain(DataType::Int32),
        T::BigInt(_) | T::Int8(_) => plain(DataType::Int64),
        T::Real | T::Float4 => plain(DataType::Float32),
        T::Double(_) | T::DoublePrecision | T::Float8 => plain(DataType::Float64),
        T::Float(ExactNumberInfo::Precision(bits)) if *bits <= 24 => plain(DataType::Float32),
        T::Float(_) => plain(DataType::Float64),
        T::Numeric(info) | T::Decimal(info) | T::Dec(info) => numeric_field(info)?,
        T::Text | T::String(_) | T::Varchar(_) | T::CharVarying(_) | T::CharacterVarying(_) => plain(DataType::Utf8),
        T::Bytea | T::Bytes(_) => plain(DataType::Binary),
        T::Date => plain(DataType::Date32),
        T::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => plain(DataType::Time64(TimeUnit::Microsecond)),
        T::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => plain(timestamp()),
        T::Timestamp(_, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => plain(timestamptz()),
        T::Interval { .. } => plain(interval()),
        T::Uuid => marked(DataType::FixedSizeBinary(16), "uuid"),
        T::JSONB | T::JSON => marked(DataType::Utf8, "jsonb"),
        T::Array(ArrayElemTypeDef::AngleBracket(inner) | ArrayElemTypeDef::SquareBracket(inner, _)) => {
            array_field(field_of(inner)?)
        }
        T::Struct(fields, _) => struct_field(fields)?,
        T::Custom(name, _) => custom_field(&name.to_string())?,
        other => return Err(unsupported_type(&other.to_string())),
    })
}

fn numeric_field(info: &ExactNumberInfo) -> Result<FieldRef> {
    let (precision, scale) = match *info {
        ExactNumberInfo::None => return Ok(marked(numeric(NUMERIC_SCALE), "numeric")),
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    let limit = u64::from(NUMERIC_PRECISION);
    if precision == 0 || precision > limit {
        return Err(Error::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("NUMERIC precision {precision} must be between 1 and {limit}"),
        ));
    }
    if scale < 0 || scale as u64 > precision {
        return Err(Error::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("NUMERIC scale {scale} must be between 0 and precision {precision}"),
        ));
    }
    Ok(plain(DataType::Decimal128(precision as u8, scale as i8)))
}

fn array_field(element: FieldRef) -> FieldRef {
    plain(DataType::List(Arc::new(renamed(&element, "item", true))))
}

fn struct_field(fields: &[ast::StructField]) -> Result<FieldRef> {
    let fields = fields
        .iter()
        .enumerate()
        .map(|(i, field)| {
            let name = field.field_name.as_ref().map_or(format!("f{}", i + 1), |ident| ident.value.clone());
            Ok(renamed(&*field_of(&field.field_type)?, &name, true))
        })
        .collect::<Result<Vec<Field>>>()?;
    Ok(plain(DataType::Struct(fields.into())))
}

/// Names that the parser does not know as types: PostgreSQL's internal ones, psql's casts, Flink's.
fn custom_field(name: &str) -> Result<FieldRef> {
    let lower = name.to_ascii_lowercase();
    let bare = lower.strip_prefix("pg_catalog.").unwrap_or(&lower).trim_matches('"');
    if let Some(element) = bare.strip_prefix('_') {
        return Ok(array_field(custom_field(element)?));
    }
    Ok(match bare {
        "bool" => plain(DataType::Boolean),
        "int2" => plain(DataType::Int16),
        "int4" => plain(DataType::Int32),
        "int8" => plain(DataType::Int64),
        "float4" => plain(DataType::Float32),
        "float8" => plain(DataType::Float64),
        "numeric" => marked(numeric(NUMERIC_SCALE), "numeric"),
        "text" | "name" | "varchar" | "bpchar" | "string" | "cstring" | "unknown" => plain(DataType::Utf8),
        "bytea" => plain(DataType::Binary),
        "date" => plain(DataType::Date32),
        "time" => plain(DataType::Time64(TimeUnit::Microsecond)),
        "timestamp" => plain(timestamp()),
        "timestamptz" => plain(timestamptz()),
        "interval" => plain(interval()),
        "uuid" => marked(DataType::FixedSizeBinary(16), "uuid"),
        "json" | "jsonb" => marked(DataType::Utf8, "jsonb"),
        "oid" | "regclass" | "regtype" | "regproc" | "xid" => plain(DataType::Int64),
        _ => {
            return Err(Error::new(SqlState::UNDEFINED_OBJECT, format!("type \"{bare}\" does not exist")));
        }
    })
}

fn unsupported_type(name: &str) -> Error {
    Error::unsupported(format!("type {} is not supported", name.to_ascii_lowercase()))
}

/// PostgreSQL's name of a field's type, as error messages have it.
pub fn pg_name(field: &Field) -> String {
    match mark_of(field) {
        Some(mark) => mark.to_owned(),
        None => pg_type_name(field.data_type()),
    }
}

/// PostgreSQL's name of an Arrow type without a mark.
pub fn pg_type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Null => "unknown".into(),
        DataType::Boolean => "boolean".into(),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint".into(),
        DataType::Int32 | DataType::UInt16 => "integer".into(),
        DataType::Int64 | DataType::UInt32 => "bigint".into(),
        DataType::UInt64 => "numeric".into(),
        DataType::Float16 | DataType::Float32 => "real".into(),
        DataType::Float64 => "double precision".into(),
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            "numeric".into()
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => "bytea".into(),
        DataType::Date32 | DataType::Date64 => "date".into(),
        DataType::Time32(_) | DataType::Time64(_) => "time without time zone".into(),
        DataType::Timestamp(_, None) => "timestamp without time zone".into(),
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone".into(),
        DataType::Interval(_) | DataType::Duration(_) => "interval".into(),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            format!("{}[]", pg_name(item))
        }
        DataType::Struct(_) => "record".into(),
        DataType::Dictionary(_, value) => pg_type_name(value),
        other => other.to_string().to_ascii_lowercase(),
    }
}

/// The stored form of a type: what live tables, views and results hold. Utf8View and LargeUtf8 become Utf8, timestamps
/// microseconds, unsigned integers the next signed one (UInt64 numeric), decimals Decimal128.
pub fn canonical(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Null | DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => numeric(0),
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
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|f| canonical_field(f)).collect()),
        DataType::Dictionary(_, value) => canonical(value),
        other => other.clone(),
    }
}

/// The field with its type in stored form; name, nullability and mark stay.
pub fn canonical_field(field: &Field) -> Field {
    let mark = mark_of(field).map(|mark| (TYPE_KEY.to_owned(), mark.to_owned()));
    Field::new(field.name(), canonical(field.data_type()), field.is_nullable()).with_metadata(mark.into_iter().collect())
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
        field_of(&Parser::new(&PostgreSqlDialect {}).try_with_sql(name).unwrap().parse_data_type().unwrap())
    }

    #[test]
    fn type_names_map_to_arrow_and_back() {
        for (name, pg) in [
            ("int", "integer"),
            ("int8", "bigint"),
            ("varchar(3)", "text"),
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
        assert_eq!(parse("numeric(99,2)").unwrap_err().code, SqlState::INVALID_PARAMETER_VALUE);
        assert_eq!(parse("nosuchtype").unwrap_err().code, SqlState::UNDEFINED_OBJECT);
    }
}
