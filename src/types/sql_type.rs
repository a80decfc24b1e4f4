//! SQL type names to Arrow fields: PostgreSQL's names and aliases, Flink's (STRING, BYTES), and STRUCT as RisingWave
//! writes it. Unknown names are 42704; names of real types that Tidewater does not have are 0A000.

use std::collections::HashMap;

use arrow_schema::{DataType, Field, Fields, IntervalUnit, TimeUnit};
use sqlparser::ast::{
    ArrayElemTypeDef, CharacterLength, DataType as Sql, ExactNumberInfo, StructField, TimezoneInfo,
};

use super::maps::map_field;
use super::pg_type::{
    NUMERIC_PRECISION, NUMERIC_SCALE, PgType, TYPMOD_KEY, field_of_pg_type, marked, timestamptz,
};
use crate::error::{Error, Result, SqlState};

/// PostgreSQL's bound for the n of varchar(n).
const CHARACTER_LENGTH_MAX: u64 = 10_485_760;

/// Widest decimal that Arrow has.
const DECIMAL256_PRECISION_MAX: u64 = 76;

/// Deepest nesting of arrays and structs: bounds the recursion.
const NESTING_MAX: usize = 32;

/// The nullable Arrow field for a column `name` of SQL type `sql`.
///
/// Errors: 42704 for an unknown type, 22023 for a modifier out of range, 0A000 for what Tidewater does not have.
pub fn field_of_sql_type(name: &str, sql: &Sql) -> Result<Field> {
    field_at_depth(name, sql, 0)
}

fn field_at_depth(name: &str, sql: &Sql, depth: usize) -> Result<Field> {
    if depth > NESTING_MAX {
        return Err(Error::unsupported(format!("types nested deeper than {NESTING_MAX}")));
    }
    let plain = |t: DataType| Ok(Field::new(name, t, true));
    match sql {
        Sql::Bool | Sql::Boolean => plain(DataType::Boolean),
        Sql::Int2(_) | Sql::SmallInt(_) | Sql::TinyInt(_) | Sql::Int16 => plain(DataType::Int16),
        Sql::Int(_) | Sql::Int4(_) | Sql::Integer(_) | Sql::MediumInt(_) | Sql::Int32 => {
            plain(DataType::Int32)
        }
        Sql::BigInt(_) | Sql::Int8(_) | Sql::Int64 => plain(DataType::Int64),
        Sql::Real | Sql::Float4 | Sql::Float32 => plain(DataType::Float32),
        Sql::Double(_) | Sql::DoublePrecision | Sql::Float8 | Sql::Float64 => {
            plain(DataType::Float64)
        }
        Sql::Float(info) => float_field(name, info),
        Sql::Numeric(info) | Sql::Decimal(info) | Sql::Dec(info) => numeric_field(name, info),
        Sql::Text | Sql::String(_) | Sql::TinyText | Sql::MediumText | Sql::LongText => {
            plain(DataType::Utf8)
        }
        Sql::Varchar(n) | Sql::CharacterVarying(n) | Sql::CharVarying(n) | Sql::Nvarchar(n) => {
            character_field(name, "varchar", character_length(n)?)
        }
        Sql::Char(n) | Sql::Character(n) => {
            character_field(name, "bpchar", Some(character_length(n)?.unwrap_or(1)))
        }
        Sql::Bytea | Sql::Bytes(_) | Sql::Varbinary(_) | Sql::Binary(_) | Sql::Blob(_) => {
            plain(DataType::Binary)
        }
        Sql::Date | Sql::Date32 => plain(DataType::Date32),
        Sql::Time(digits, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            Ok(precise(name, DataType::Time64(TimeUnit::Microsecond), *digits))
        }
        Sql::Timestamp(digits, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => {
            Ok(precise(name, timestamptz(), *digits))
        }
        Sql::Timestamp(digits, _) | Sql::TimestampNtz(digits) | Sql::Datetime(digits) => {
            Ok(precise(name, DataType::Timestamp(TimeUnit::Microsecond, None), *digits))
        }
        Sql::Interval { precision, .. } => {
            Ok(precise(name, DataType::Interval(IntervalUnit::MonthDayNano), *precision))
        }
        Sql::Uuid => Ok(field_of_pg_type(name, PgType::UUID)),
        Sql::JSON => Ok(field_of_pg_type(name, PgType::JSON)),
        Sql::JSONB => Ok(field_of_pg_type(name, PgType::JSONB)),
        Sql::Regclass => Ok(field_of_pg_type(name, PgType::REGCLASS)),
        Sql::Array(element) => array_field(name, element, depth),
        Sql::Map(key, value) => {
            let key = field_at_depth("key", key, depth + 1)?;
            map_field(name, &key, &field_at_depth("value", value, depth + 1)?)
        }
        Sql::Struct(fields, _) | Sql::Tuple(fields) => struct_field(name, fields, depth),
        Sql::Custom(object, modifiers) => custom_field(name, sql, &object.to_string(), modifiers),
        other => Err(Error::unsupported(format!(
            "type {} is not supported",
            other.to_string().to_lowercase()
        ))),
    }
}

/// A type of time whose seconds have so many fraction digits; six, which are all there are, for more than that.
fn precise(name: &str, data_type: DataType, digits: Option<u64>) -> Field {
    let field = Field::new(name, data_type, true);
    match digits.filter(|digits| *digits < 6) {
        Some(digits) => {
            field.with_metadata(HashMap::from([(TYPMOD_KEY.to_owned(), digits.to_string())]))
        }
        None => field,
    }
}

/// PostgreSQL's float(p): up to 24 bits are a real, up to 53 a double precision.
fn float_field(name: &str, info: &ExactNumberInfo) -> Result<Field> {
    let out_of_range = |m: &str| {
        Err(Error::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("precision for type float must be {m}"),
        ))
    };
    match info {
        ExactNumberInfo::Precision(0) => out_of_range("at least 1 bit"),
        ExactNumberInfo::Precision(1..=24) => Ok(Field::new(name, DataType::Float32, true)),
        ExactNumberInfo::None | ExactNumberInfo::Precision(25..=53) => {
            Ok(Field::new(name, DataType::Float64, true))
        }
        ExactNumberInfo::Precision(_) => out_of_range("less than 54 bits"),
        ExactNumberInfo::PrecisionAndScale(..) => {
            Err(Error::syntax("type float takes one modifier"))
        }
    }
}

fn numeric_field(name: &str, info: &ExactNumberInfo) -> Result<Field> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => {
            return Ok(marked(
                name,
                DataType::Decimal128(NUMERIC_PRECISION, NUMERIC_SCALE),
                "numeric",
            ));
        }
        ExactNumberInfo::Precision(p) => (*p, 0),
        ExactNumberInfo::PrecisionAndScale(p, s) => (*p, *s),
    };
    if !(1..=1000).contains(&precision) {
        let message = format!("NUMERIC precision {precision} must be between 1 and 1000");
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    if precision > DECIMAL256_PRECISION_MAX || scale < 0 || scale > precision as i64 {
        let message = format!("numeric({precision},{scale}) is not supported");
        return Err(Error::unsupported(message)
            .with_hint("Use a precision of at most 76 and a scale between 0 and the precision."));
    }
    let (p, s) = (precision as u8, scale as i8);
    let data_type = if p <= 38 { DataType::Decimal128(p, s) } else { DataType::Decimal256(p, s) };
    Ok(Field::new(name, data_type, true))
}

fn character_length(length: &Option<CharacterLength>) -> Result<Option<u64>> {
    match length {
        Some(CharacterLength::IntegerLength { length, .. }) => Ok(Some(*length)),
        Some(CharacterLength::Max) | None => Ok(None),
    }
}

fn character_field(name: &str, marker: &str, length: Option<u64>) -> Result<Field> {
    let field = marked(name, DataType::Utf8, marker);
    let Some(n) = length else { return Ok(field) };
    let sql_name = if marker == "bpchar" { "char" } else { marker };
    let refuse = |bound: String| {
        Err(Error::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("length for type {sql_name} {bound}"),
        ))
    };
    match n {
        0 => refuse("must be at least 1".to_owned()),
        1..=CHARACTER_LENGTH_MAX => {
            let mut metadata = field.metadata().clone();
            metadata.insert(TYPMOD_KEY.to_owned(), n.to_string());
            Ok(field.with_metadata(metadata))
        }
        _ => refuse(format!("cannot exceed {CHARACTER_LENGTH_MAX}")),
    }
}

fn array_field(name: &str, element: &ArrayElemTypeDef, depth: usize) -> Result<Field> {
    let element = match element {
        ArrayElemTypeDef::AngleBracket(t) | ArrayElemTypeDef::Parenthesis(t) => t,
        // PostgreSQL ignores the bound in int[3].
        ArrayElemTypeDef::SquareBracket(t, _) => t,
        ArrayElemTypeDef::None => return Err(Error::syntax("an array type needs an element type")),
    };
    let item = field_at_depth("item", element, depth + 1)?;
    Ok(Field::new(name, DataType::List(item.into()), true))
}

fn struct_field(name: &str, members: &[StructField], depth: usize) -> Result<Field> {
    let fields = members
        .iter()
        .enumerate()
        .map(|(i, member)| {
            let name = match &member.field_name {
                Some(ident) if ident.quote_style.is_none() => ident.value.to_lowercase(),
                Some(ident) => ident.value.clone(),
                None => format!("f{}", i + 1),
            };
            field_at_depth(&name, &member.field_type, depth + 1)
        })
        .collect::<Result<Vec<Field>>>()?;
    Ok(Field::new(name, DataType::Struct(Fields::from(fields)), true))
}

/// Names that the parser has no variant for.
fn custom_field(name: &str, sql: &Sql, written: &str, modifiers: &[String]) -> Result<Field> {
    let lower = written.to_lowercase().replace('"', "");
    let base = lower.strip_prefix("pg_catalog.").unwrap_or(&lower);
    if matches!(base, "varchar" | "bpchar") && !modifiers.is_empty() {
        return character_field(name, base, modifiers[0].trim().parse().ok());
    }
    if let Some(element) = base.strip_suffix("[]") {
        let element = Sql::Custom(vec![sqlparser::ast::Ident::new(element)].into(), vec![]);
        return array_field(name, &ArrayElemTypeDef::SquareBracket(Box::new(element), None), 0);
    }
    let pg_type = match base {
        "string" => Some(PgType::TEXT),
        "bytes" => Some(PgType::BYTEA),
        "double" => Some(PgType::FLOAT8),
        // Serial is a default, not a type; Tidewater has no sequences behind it yet.
        "serial" | "bigserial" | "smallserial" | "serial4" | "serial8" | "serial2" => {
            return Err(Error::unsupported(format!("type {base} is not supported"))
                .with_hint("Declare the column as integer or bigint and give its values."));
        }
        _ => PgType::of_name(base),
    };
    match pg_type {
        Some(t) if t.oid != PgType::RECORD.oid => Ok(field_of_pg_type(name, t)),
        _ => {
            let message = format!("type \"{}\" does not exist", sql.to_string().to_lowercase());
            Err(Error::new(SqlState::UNDEFINED_OBJECT, message))
        }
    }
}
