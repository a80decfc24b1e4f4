//! The names and types of the system relations' columns, as PostgreSQL 15 has them.
//!
//! columns.txt has a line for each relation: `schema.name oid kind column:type column:type? ...`; a question mark says nullable.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::types::marked;

/// A system relation.
#[derive(Debug)]
pub(super) struct SystemTable {
    pub schema: String,
    pub name: String,
    pub oid: i64,
    /// 'r' or 'v', as pg_class has it.
    pub kind: String,
    pub columns: SchemaRef,
}

struct SystemTables {
    all: Vec<SystemTable>,
    /// Indices by schema and name.
    by_name: HashMap<(String, String), usize>,
}

static TABLES: LazyLock<SystemTables> = LazyLock::new(|| {
    let all: Vec<SystemTable> = include_str!("columns.txt").lines().map(parse).collect();
    let by_name =
        all.iter().enumerate().map(|(i, t)| ((t.schema.clone(), t.name.clone()), i)).collect();
    SystemTables { all, by_name }
});

pub(super) fn find(schema: &str, name: &str) -> Option<&'static SystemTable> {
    let index = TABLES.by_name.get(&(schema.to_owned(), name.to_owned()))?;
    Some(&TABLES.all[*index])
}

pub(super) fn all() -> &'static [SystemTable] {
    &TABLES.all
}

/// Whether a system relation has an OID column called so; names are looked up without their relation.
pub(super) fn is_oid_column(name: &str) -> bool {
    static NAMES: LazyLock<std::collections::HashSet<String>> = LazyLock::new(|| {
        let fields = all().iter().flat_map(|t| t.columns.fields().iter());
        let oids = fields
            .filter(|f| crate::types::type_marker(f).is_some_and(|m| m != "name") && is_number(f));
        oids.map(|f| f.name().clone()).collect()
    });
    NAMES.contains(name)
}

fn is_number(field: &Field) -> bool {
    *field.data_type() == DataType::Int64
}

fn parse(line: &str) -> SystemTable {
    const WHY: &str = "columns.txt is part of the program and tested";
    let mut words = line.split(' ');
    let (schema, name) = words.next().and_then(|w| w.split_once('.')).expect(WHY);
    let oid = words.next().and_then(|w| w.parse().ok()).expect(WHY);
    let kind = words.next().expect(WHY).to_owned();
    let fields = words.map(|word| {
        let (column, type_name) = word.split_once(':').expect(WHY);
        let nullable = type_name.ends_with('?');
        field(column, type_name.trim_end_matches('?')).with_nullable(nullable)
    });
    let columns = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    SystemTable { schema: schema.to_owned(), name: name.to_owned(), oid, kind, columns }
}

/// The field of a PostgreSQL type. OIDs are 64 bits wide since Arrow's unsigned integers mean other things here.
pub(super) fn field(name: &str, type_name: &str) -> Field {
    let list = |item: Field| Field::new(name, DataType::List(Arc::new(item)), true);
    let timestamptz = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    match type_name {
        "oid" | "xid" => marked(name, DataType::Int64, "oid"),
        "regproc" | "regtype" => marked(name, DataType::Int64, type_name),
        "bool" => Field::new(name, DataType::Boolean, true),
        "int2" => Field::new(name, DataType::Int16, true),
        "int4" | "cardinal_number" => Field::new(name, DataType::Int32, true),
        "int8" => Field::new(name, DataType::Int64, true),
        "float4" => Field::new(name, DataType::Float32, true),
        "float8" => Field::new(name, DataType::Float64, true),
        "name" | "sql_identifier" => marked(name, DataType::Utf8, "name"),
        "char" => marked(name, DataType::Utf8, "char"),
        "character_data" | "yes_or_no" => marked(name, DataType::Utf8, "varchar"),
        "timestamptz" | "time_stamp" => Field::new(name, timestamptz, true),
        "_oid" => list(marked("item", DataType::Int64, "oid")),
        "oidvector" => vector(name, marked("item", DataType::Int64, "oid"), type_name),
        "_int2" => list(Field::new("item", DataType::Int16, true)),
        "int2vector" => vector(name, Field::new("item", DataType::Int16, true), type_name),
        "_float4" => list(Field::new("item", DataType::Float32, true)),
        "_text" | "_name" | "_aclitem" | "_char" | "_regtype" => {
            list(Field::new("item", DataType::Utf8, true))
        }
        // Text, and types that are text to read: inet, pg_node_tree, pg_lsn, interval ...
        _ => Field::new(name, DataType::Utf8, true),
    }
}

/// A list whose text is PostgreSQL's of vectors.
fn vector(name: &str, item: Field, type_name: &str) -> Field {
    marked(name, DataType::List(Arc::new(item)), type_name)
}
