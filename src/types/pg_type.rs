//! PostgreSQL's catalog of base types, and which of them an Arrow field is.
//!
//! The Arrow type decides; where one Arrow type carries several PostgreSQL types (text, varchar, jsonb ... are all
//! Utf8) the field's metadata tells them apart under [`TYPE_KEY`]. A marker that does not fit its Arrow type is
//! ignored, since expressions may hand a field's metadata on to values of another type.
//!
//! Numeric without precision is Decimal128(38, 10) marked `numeric`: 28 digits before the point, 10 after, and
//! trailing zeros are not shown. Arrow has no decimal whose scale varies by value, and ten digits hold prices and rates.

use std::collections::HashMap;

use arrow_schema::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};

use super::maps::map_parts;

/// Metadata key that names the PostgreSQL type where the Arrow type does not say it, such as "jsonb".
pub const TYPE_KEY: &str = "tidewater.type";

/// Metadata key with a length in characters, of `varchar(n)` and `char(n)`.
pub const TYPMOD_KEY: &str = "tidewater.typmod";

/// Numeric without precision: see the file's head.
pub const NUMERIC_PRECISION: u8 = 38;
pub const NUMERIC_SCALE: i8 = 10;

/// A row of pg_type as clients know it.
#[derive(Debug, PartialEq, Eq)]
pub struct PgType {
    pub oid: u32,
    /// The name in pg_type, such as "int4".
    pub name: &'static str,
    /// The name in SQL, such as "integer".
    pub sql_name: &'static str,
    /// Bytes of a value, -1 where it varies.
    pub size: i16,
    /// The type of arrays of this one; 0 for arrays themselves.
    pub array_oid: u32,
    /// The type of an array's elements; 0 for all others.
    pub element_oid: u32,
    /// pg_type.typcategory.
    pub category: char,
}

macro_rules! pg_types {
    ($($name:ident $array:ident: $oid:literal $array_oid:literal $typname:literal $sql:literal $size:literal $category:literal;)+) => {
        impl PgType {
            $(
                pub const $name: &'static PgType = &PgType {
                    oid: $oid, name: $typname, sql_name: $sql, size: $size, array_oid: $array_oid, element_oid: 0,
                    category: $category,
                };
                pub const $array: &'static PgType = &PgType {
                    oid: $array_oid, name: concat!("_", $typname), sql_name: concat!($sql, "[]"), size: -1, array_oid: 0,
                    element_oid: $oid, category: 'A',
                };
            )+

            /// Every type known here, arrays included.
            pub const ALL: &'static [&'static PgType] = &[$(PgType::$name, PgType::$array),+];
        }
    };
}

pg_types! {
    BOOL BOOL_ARRAY: 16 1000 "bool" "boolean" 1 'B';
    BYTEA BYTEA_ARRAY: 17 1001 "bytea" "bytea" -1 'U';
    CHAR CHAR_ARRAY: 18 1002 "char" "\"char\"" 1 'Z';
    NAME NAME_ARRAY: 19 1003 "name" "name" 64 'S';
    INT8 INT8_ARRAY: 20 1016 "int8" "bigint" 8 'N';
    INT2 INT2_ARRAY: 21 1005 "int2" "smallint" 2 'N';
    INT4 INT4_ARRAY: 23 1007 "int4" "integer" 4 'N';
    REGPROC REGPROC_ARRAY: 24 1008 "regproc" "regproc" 4 'N';
    TEXT TEXT_ARRAY: 25 1009 "text" "text" -1 'S';
    OID OID_ARRAY: 26 1028 "oid" "oid" 4 'N';
    JSON JSON_ARRAY: 114 199 "json" "json" -1 'U';
    FLOAT4 FLOAT4_ARRAY: 700 1021 "float4" "real" 4 'N';
    FLOAT8 FLOAT8_ARRAY: 701 1022 "float8" "double precision" 8 'N';
    BPCHAR BPCHAR_ARRAY: 1042 1014 "bpchar" "character" -1 'S';
    VARCHAR VARCHAR_ARRAY: 1043 1015 "varchar" "character varying" -1 'S';
    DATE DATE_ARRAY: 1082 1182 "date" "date" 4 'D';
    TIME TIME_ARRAY: 1083 1183 "time" "time without time zone" 8 'D';
    TIMESTAMP TIMESTAMP_ARRAY: 1114 1115 "timestamp" "timestamp without time zone" 8 'D';
    TIMESTAMPTZ TIMESTAMPTZ_ARRAY: 1184 1185 "timestamptz" "timestamp with time zone" 8 'D';
    INTERVAL INTERVAL_ARRAY: 1186 1187 "interval" "interval" 16 'T';
    NUMERIC NUMERIC_ARRAY: 1700 1231 "numeric" "numeric" -1 'N';
    REGCLASS REGCLASS_ARRAY: 2205 2210 "regclass" "regclass" 4 'N';
    REGTYPE REGTYPE_ARRAY: 2206 2211 "regtype" "regtype" 4 'N';
    RECORD RECORD_ARRAY: 2249 2287 "record" "record" -1 'P';
    UUID UUID_ARRAY: 2950 2951 "uuid" "uuid" 16 'U';
    JSONB JSONB_ARRAY: 3802 3807 "jsonb" "jsonb" -1 'U';
}

impl PgType {
    pub fn of_oid(oid: u32) -> Option<&'static PgType> {
        PgType::ALL.iter().copied().find(|t| t.oid == oid)
    }

    /// The lists of columns and types in pg_catalog, whose text is `1 2` and not `{1,2}`.
    pub const INT2VECTOR: &'static PgType = &PgType {
        oid: 22,
        name: "int2vector",
        sql_name: "int2vector",
        element_oid: 21,
        ..*PgType::INT2_ARRAY
    };
    pub const OIDVECTOR: &'static PgType = &PgType {
        oid: 30,
        name: "oidvector",
        sql_name: "oidvector",
        element_oid: 26,
        ..*PgType::OID_ARRAY
    };

    /// Maps, which PostgreSQL has not: to clients they are their text.
    pub const MAP: &'static PgType = &PgType { sql_name: "map", ..*PgType::TEXT };

    pub(super) fn is_map(&self) -> bool {
        self.sql_name == PgType::MAP.sql_name
    }

    pub(super) fn is_vector(&self) -> bool {
        [PgType::INT2VECTOR.oid, PgType::OIDVECTOR.oid].contains(&self.oid)
    }

    /// By the name in pg_type; arrays begin with an underscore.
    pub fn of_name(name: &str) -> Option<&'static PgType> {
        PgType::ALL.iter().copied().find(|t| t.name == name)
    }

    /// The array type of this one; arrays are their own, since PostgreSQL does not tell dimensions apart.
    pub fn array(&'static self) -> &'static PgType {
        if self.array_oid == 0 {
            self
        } else {
            PgType::of_oid(self.array_oid).unwrap_or(PgType::TEXT_ARRAY)
        }
    }
}

/// The marker under [`TYPE_KEY`].
pub fn type_marker(field: &Field) -> Option<&str> {
    field.metadata().get(TYPE_KEY).map(String::as_str)
}

/// A nullable field marked as the PostgreSQL type `marker`.
pub fn marked(name: &str, data_type: DataType, marker: &str) -> Field {
    Field::new(name, data_type, true)
        .with_metadata(HashMap::from([(TYPE_KEY.to_owned(), marker.to_owned())]))
}

/// The PostgreSQL type that a client is told for a column.
pub fn pg_type_of(field: &Field) -> &'static PgType {
    let marker = type_marker(field);
    match field.data_type() {
        DataType::Boolean => PgType::BOOL,
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => PgType::INT2,
        DataType::Int32 | DataType::UInt16 => integer_type(marker, PgType::INT4),
        DataType::UInt32 | DataType::Int64 => integer_type(marker, PgType::INT8),
        DataType::Float16 | DataType::Float32 => PgType::FLOAT4,
        DataType::Float64 => PgType::FLOAT8,
        // A u64 may exceed bigint, so it is a numeric to clients.
        DataType::UInt64 => PgType::NUMERIC,
        DataType::Decimal32(..) | DataType::Decimal64(..) => PgType::NUMERIC,
        DataType::Decimal128(..) | DataType::Decimal256(..) => PgType::NUMERIC,
        DataType::Null => PgType::TEXT,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => string_type(marker),
        DataType::FixedSizeBinary(16) => PgType::UUID,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => PgType::BYTEA,
        DataType::FixedSizeBinary(_) => PgType::BYTEA,
        DataType::Date32 | DataType::Date64 => PgType::DATE,
        DataType::Time32(_) | DataType::Time64(_) => PgType::TIME,
        DataType::Timestamp(_, None) => PgType::TIMESTAMP,
        DataType::Timestamp(_, Some(_)) => PgType::TIMESTAMPTZ,
        DataType::Interval(_) | DataType::Duration(_) => PgType::INTERVAL,
        DataType::Struct(_) => PgType::RECORD,
        DataType::Map(..) => PgType::RECORD_ARRAY,
        DataType::List(_) if map_parts(field).is_some() => PgType::MAP,
        DataType::List(_) if marker == Some("int2vector") => PgType::INT2VECTOR,
        DataType::List(_) if marker == Some("oidvector") => PgType::OIDVECTOR,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            pg_type_of(item).array()
        }
        DataType::ListView(item) | DataType::LargeListView(item) => pg_type_of(item).array(),
        DataType::Dictionary(_, value) => pg_type_of(&retyped(field, value)),
        DataType::RunEndEncoded(_, value) => pg_type_of(&retyped(field, value.data_type())),
        DataType::Union(..) => PgType::TEXT,
    }
}

fn integer_type(marker: Option<&str>, plain: &'static PgType) -> &'static PgType {
    match marker {
        Some("oid") => PgType::OID,
        Some("regclass") => PgType::REGCLASS,
        Some("regtype") => PgType::REGTYPE,
        Some("regproc") => PgType::REGPROC,
        _ => plain,
    }
}

fn string_type(marker: Option<&str>) -> &'static PgType {
    match marker {
        Some("varchar") => PgType::VARCHAR,
        Some("bpchar") => PgType::BPCHAR,
        Some("name") => PgType::NAME,
        Some("char") => PgType::CHAR,
        Some("json") => PgType::JSON,
        Some("jsonb") => PgType::JSONB,
        // What pg_typeof gives is the type's name.
        Some("regtype") => PgType::REGTYPE,
        // A regclass kept as its name cannot be sent as the number that binary regclass is: it stays text.
        _ => PgType::TEXT,
    }
}

/// The same field over another Arrow type, metadata kept, also that of items and members: arrays that come out of
/// expressions often have lost it inside.
pub(super) fn retyped(field: &Field, data_type: &DataType) -> Field {
    let data_type = match (field.data_type(), data_type) {
        (
            DataType::List(declared)
            | DataType::LargeList(declared)
            | DataType::FixedSizeList(declared, _)
            | DataType::ListView(declared)
            | DataType::LargeListView(declared),
            DataType::List(actual),
        ) => DataType::List(retyped(declared, actual.data_type()).into()),
        (DataType::Struct(declared), DataType::Struct(actual))
            if declared.len() == actual.len() =>
        {
            let members = declared.iter().zip(actual).map(|(d, a)| retyped(d, a.data_type()));
            DataType::Struct(members.collect())
        }
        (_, actual) => actual.clone(),
    };
    field.clone().with_data_type(data_type)
}

/// pg_attribute.atttypmod, -1 where there is none.
pub fn type_modifier(field: &Field) -> i32 {
    match field.data_type() {
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => numeric_modifier(*p, *s),
        DataType::Decimal128(..) | DataType::Decimal256(..)
            if type_marker(field) == Some("numeric") =>
        {
            -1
        }
        DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => numeric_modifier(*p, *s),
        DataType::List(item) => type_modifier(item),
        DataType::Time64(_) | DataType::Timestamp(..) => {
            second_digits(field).map_or(-1, |digits| digits as i32)
        }
        // The upper half says that the interval has all its fields.
        DataType::Interval(_) => {
            second_digits(field).map_or(-1, |digits| 0x7FFF << 16 | digits as i32)
        }
        _ => character_length(field).map_or(-1, |n| n as i32 + 4),
    }
}

fn numeric_modifier(precision: u8, scale: i8) -> i32 {
    ((i32::from(precision) << 16) | (i32::from(scale) & 0x7ff)) + 4
}

/// The n of `varchar(n)` and `char(n)`.
pub(super) fn character_length(field: &Field) -> Option<usize> {
    match type_marker(field) {
        Some("varchar" | "bpchar") => field.metadata().get(TYPMOD_KEY)?.parse().ok(),
        _ => None,
    }
}

/// The fraction digits that the seconds of a type of time have, where they are fewer than six.
pub fn second_digits(field: &Field) -> Option<u32> {
    let timed = matches!(
        field.data_type(),
        DataType::Time64(_) | DataType::Timestamp(..) | DataType::Interval(_)
    );
    field.metadata().get(TYPMOD_KEY).filter(|_| timed)?.parse().ok().filter(|digits| *digits < 6)
}

/// The type as PostgreSQL's format_type writes it, such as "numeric(10,2)" or "character varying(20)[]".
pub fn format_type(field: &Field) -> String {
    if let Some((key, value)) = map_parts(field) {
        return format!("map({},{})", format_type(key), format_type(value));
    }
    match field.data_type() {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            // PostgreSQL writes one pair of brackets whatever the number of dimensions.
            let inner = format_type(item);
            if inner.ends_with("[]") { inner } else { format!("{inner}[]") }
        }
        DataType::Decimal128(p, s) | DataType::Decimal256(p, s) if type_modifier(field) >= 0 => {
            format!("numeric({p},{s})")
        }
        DataType::Struct(fields) => {
            let member = |f: &FieldRef| format!("{} {}", member_name(f.name()), format_type(f));
            let members: Vec<String> = fields.iter().map(member).collect();
            format!("struct<{}>", members.join(", "))
        }
        _ => {
            let name = pg_type_of(field).sql_name;
            if let Some(digits) = second_digits(field) {
                // The digits stand behind the first word.
                let (first, rest) = name.split_at(name.find(' ').unwrap_or(name.len()));
                return format!("{first}({digits}){rest}");
            }
            character_length(field).map_or_else(|| name.to_owned(), |n| format!("{name}({n})"))
        }
    }
}

/// A member's name as it has to be written.
fn member_name(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    match name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        true if !name.is_empty() => name.to_owned(),
        _ => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// The nullable field that carries a PostgreSQL type, such as a parameter's whose oid the client named. `None` for types
/// that are not known here and for `unknown` (705) and 0, which leave the type to us.
pub fn field_of_oid(name: &str, oid: u32) -> Option<Field> {
    PgType::of_oid(oid).map(|t| field_of_pg_type(name, t))
}

/// The nullable field that carries `pg_type` without a modifier.
pub fn field_of_pg_type(name: &str, pg_type: &'static PgType) -> Field {
    if let Some(element) = PgType::of_oid(pg_type.element_oid) {
        let item = field_of_pg_type("item", element);
        return Field::new(name, DataType::List(item.into()), true);
    }
    let (data_type, needs_marker) = match pg_type.name {
        "bool" => (DataType::Boolean, false),
        "bytea" => (DataType::Binary, false),
        "int2" => (DataType::Int16, false),
        "int4" => (DataType::Int32, false),
        "int8" => (DataType::Int64, false),
        "oid" | "regclass" | "regtype" | "regproc" => (DataType::Int64, true),
        "float4" => (DataType::Float32, false),
        "float8" => (DataType::Float64, false),
        "numeric" => (DataType::Decimal128(NUMERIC_PRECISION, NUMERIC_SCALE), true),
        "date" => (DataType::Date32, false),
        "time" => (DataType::Time64(TimeUnit::Microsecond), false),
        "timestamp" => (DataType::Timestamp(TimeUnit::Microsecond, None), false),
        "timestamptz" => (timestamptz(), false),
        "interval" => (DataType::Interval(IntervalUnit::MonthDayNano), false),
        "uuid" => (DataType::FixedSizeBinary(16), true),
        "varchar" | "bpchar" | "name" | "char" | "json" | "jsonb" => (DataType::Utf8, true),
        // Text itself, and records, whose columns an oid does not tell.
        _ => (DataType::Utf8, false),
    };
    if needs_marker {
        marked(name, data_type, pg_type.name)
    } else {
        Field::new(name, data_type, true)
    }
}

pub(super) fn timestamptz() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
}
