//! information_schema: the same objects in the SQL standard's words.
//!
//! Materialized views are listed as MATERIALIZED VIEW although PostgreSQL leaves them out: tools that look here for something
//! to read would not find what Tidewater is for.

use arrow_schema::{DataType, Field};

use super::SystemContext;
use super::cells::{Cell, Row, row};
use super::relations::{self, default_of, definition, is_not_null, type_words};
use super::{columns, sequences};
use crate::catalog::object::{Object, ObjectKind};
use crate::catalog::rules::Generation;
use crate::catalog::{DATABASE, OWNER};
use crate::types::{pg_type_of, type_modifier};

/// `None` for relations that are always empty.
pub(super) fn rows(context: &SystemContext, name: &str) -> Option<Vec<Row>> {
    Some(match name {
        "information_schema_catalog_name" => vec![row! {catalog_name: DATABASE}],
        "schemata" => {
            let schemas = context.snapshot.schemas();
            schemas.map(|(name, _)| row! {catalog_name: DATABASE, schema_name: name, schema_owner: OWNER}).collect()
        }
        "tables" => tables(context),
        "sequences" => sequences::information(context),
        "columns" => columns_rows(context),
        "views" => {
            let views = objects(context).filter(|o| matches!(o.kind, ObjectKind::View { .. }));
            views.map(view).collect()
        }
        "table_constraints" => {
            let keys = relations::constraints(context).map(|index| {
                let kind = if index.is_primary { "PRIMARY KEY" } else { "UNIQUE" };
                constraint(index.table, &index.name, kind)
            });
            let checks =
                relations::checks(context).map(|(o, _, check)| constraint(o, &check.name, "CHECK"));
            keys.chain(checks).collect()
        }
        "key_column_usage" | "constraint_column_usage" => {
            key_columns(context, name == "key_column_usage")
        }
        _ => return None,
    })
}

/// The relations that are tables of some kind: no sequences.
fn objects(context: &SystemContext) -> impl Iterator<Item = &Object> {
    relations::relations(context).filter(|o| !matches!(o.kind, ObjectKind::Sequence { .. }))
}

fn table_type(object: &Object) -> &'static str {
    match object.kind {
        ObjectKind::Table { .. } => "BASE TABLE",
        ObjectKind::Source { .. } => "FOREIGN",
        ObjectKind::View { .. } => "VIEW",
        ObjectKind::MaterializedView { .. } => "MATERIALIZED VIEW",
        ObjectKind::Sink { .. } => "SINK",
        ObjectKind::Index { .. } => "INDEX",
        ObjectKind::Sequence { .. } => "SEQUENCE",
    }
}

fn yes_or_no(yes: bool) -> &'static str {
    if yes { "YES" } else { "NO" }
}

fn tables(context: &SystemContext) -> Vec<Row> {
    let system = columns::all().iter().map(|t| {
        let table_type = if t.kind == "r" { "BASE TABLE" } else { "VIEW" };
        row! {table_catalog: DATABASE, table_schema: &t.schema, table_name: &t.name, table_type: table_type,
              is_insertable_into: "NO", is_typed: "NO"}
    });
    let users = objects(context).map(|o| {
        let insertable = matches!(&o.kind, ObjectKind::Table { connector: None, .. });
        row! {table_catalog: DATABASE, table_schema: &o.schema, table_name: &o.name, table_type: table_type(o),
              is_insertable_into: yes_or_no(insertable), is_typed: "NO"}
    });
    system.chain(users).collect()
}

fn columns_rows(context: &SystemContext) -> Vec<Row> {
    let mut rows = vec![];
    for table in columns::all() {
        for (i, field) in table.columns.fields().iter().enumerate() {
            rows.push(column(
                &table.schema,
                &table.name,
                i,
                field,
                !field.is_nullable(),
                None,
                false,
            ));
        }
    }
    for object in objects(context) {
        let updatable = matches!(&object.kind, ObjectKind::Table { connector: None, .. });
        for (i, field) in object.columns.fields().iter().enumerate() {
            let (not_null, default) = (is_not_null(object, i), default_of(context, object, i));
            let mut row =
                column(&object.schema, &object.name, i, field, not_null, default, updatable);
            generated(context, &mut row, object.generation(i));
            rows.push(row);
        }
    }
    rows
}

fn column(
    schema: &str,
    table: &str,
    index: usize,
    field: &Field,
    not_null: bool,
    default: Option<String>,
    updatable: bool,
) -> Row {
    let pg_type = pg_type_of(field);
    let modifier = type_modifier(field);
    let length = (matches!(pg_type.name, "varchar" | "bpchar") && modifier >= 4)
        .then_some(i64::from(modifier) - 4);
    let (precision, radix, scale) = numeric_facts(field, pg_type.name, modifier);
    let is_datetime = matches!(pg_type.name, "time" | "timestamp" | "timestamptz" | "interval");
    let datetime = if pg_type.name == "date" { Some(0i64) } else { is_datetime.then_some(6) };
    row! {
        table_catalog: DATABASE, table_schema: schema, table_name: table, column_name: field.name(),
        ordinal_position: index as i64 + 1, column_default: default, is_nullable: yes_or_no(!not_null),
        data_type: type_words(field), character_maximum_length: length, numeric_precision: precision,
        numeric_precision_radix: radix, numeric_scale: scale, datetime_precision: datetime, udt_catalog: DATABASE,
        udt_schema: "pg_catalog", udt_name: pg_type.name, dtd_identifier: (index + 1).to_string(), is_identity: "NO",
        is_self_referencing: "NO", is_generated: "NEVER", is_updatable: yes_or_no(updatable),
    }
}

/// What a row of `columns` says of a column whose values come about by themselves.
fn generated(context: &SystemContext, row: &mut Row, generation: Option<&Generation>) {
    let mut set = |name: &'static str, text: &str| {
        row.retain(|(other, _)| *other != name);
        row.push((name, Cell::Text(text.to_owned())));
    };
    match generation {
        Some(Generation::Stored(text)) => {
            set("is_generated", "ALWAYS");
            set("generation_expression", text);
            row.retain(|(name, _)| *name != "column_default");
        }
        Some(Generation::Identity { always, sequence }) => {
            set("is_identity", "YES");
            set("identity_generation", if *always { "ALWAYS" } else { "BY DEFAULT" });
            set("identity_cycle", "NO");
            if let Some(ObjectKind::Sequence { counting, .. }) =
                context.snapshot.get_by_oid(*sequence).map(|sequence| &sequence.kind)
            {
                set("identity_start", &counting.start.to_string());
                set("identity_increment", &counting.increment.to_string());
                set("identity_maximum", &counting.max.to_string());
                set("identity_minimum", &counting.min.to_string());
                set("identity_cycle", yes_or_no(counting.cycle));
            }
        }
        None => {}
    }
}

/// Precision, its radix, and scale.
fn numeric_facts(field: &Field, name: &str, modifier: i32) -> (Cell, Cell, Cell) {
    let binary = |bits: i64, scale: Cell| (Cell::Int(bits), Cell::Int(2), scale);
    match name {
        "int2" => binary(16, Cell::Int(0)),
        "int4" => binary(32, Cell::Int(0)),
        "int8" => binary(64, Cell::Int(0)),
        "float4" => binary(24, Cell::Null),
        "float8" => binary(53, Cell::Null),
        "numeric" => match field.data_type() {
            DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale)
                if modifier >= 0 =>
            {
                (Cell::Int(i64::from(*precision)), Cell::Int(10), Cell::Int(i64::from(*scale)))
            }
            _ => (Cell::Null, Cell::Int(10), Cell::Null),
        },
        _ => (Cell::Null, Cell::Null, Cell::Null),
    }
}

fn view(object: &Object) -> Row {
    row! {
        table_catalog: DATABASE, table_schema: &object.schema, table_name: &object.name,
        view_definition: definition(object), check_option: "NONE", is_updatable: "NO", is_insertable_into: "NO",
        is_trigger_updatable: "NO", is_trigger_deletable: "NO", is_trigger_insertable_into: "NO",
    }
}

fn constraint(object: &Object, name: &str, kind: &str) -> Row {
    row! {
        constraint_catalog: DATABASE, constraint_schema: &object.schema, constraint_name: name,
        table_catalog: DATABASE, table_schema: &object.schema, table_name: &object.name, constraint_type: kind,
        is_deferrable: "NO", initially_deferred: "NO", enforced: "YES",
    }
}

fn key_columns(context: &SystemContext, with_position: bool) -> Vec<Row> {
    let mut rows = vec![];
    for index in relations::constraints(context) {
        let object = index.table;
        for (i, key) in index.key.iter().enumerate() {
            let mut row: Row = row! {
                constraint_catalog: DATABASE, constraint_schema: &object.schema, table_catalog: DATABASE,
                constraint_name: &index.name, table_schema: &object.schema, table_name: &object.name,
                column_name: object.columns.field(*key).name(),
            };
            if with_position {
                row.push(("ordinal_position", Cell::Int(i as i64 + 1)));
            }
            rows.push(row);
        }
    }
    rows
}
