//! System relations whose rows are PostgreSQL's own and never change: types, operators, collations, functions.

use std::sync::LazyLock;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::Field;
use datafusion_pg_catalog::pg_catalog::{ArrowTable, PgCatalogStaticTables};

use super::cells::{self, Cell, default_of};
use super::columns::SystemTable;
use crate::change::batch_of;
use crate::error::{Error, Result};

static TABLES: LazyLock<Option<PgCatalogStaticTables>> =
    LazyLock::new(|| PgCatalogStaticTables::try_new().ok());

/// The relations that have rows here. Other fixed relations of the crate describe features that Tidewater lacks.
const FILLED: &[&str] = &[
    "pg_aggregate",
    "pg_am",
    "pg_amop",
    "pg_amproc",
    "pg_cast",
    "pg_collation",
    "pg_conversion",
    "pg_language",
    "pg_opclass",
    "pg_operator",
    "pg_opfamily",
    "pg_proc",
    "pg_range",
    "pg_type",
];

pub(super) fn is_filled(name: &str) -> bool {
    FILLED.contains(&name)
}

/// The fixed rows of a relation in PostgreSQL's columns; none for relations about features that are not there.
pub(super) fn batch(table: &SystemTable) -> Result<RecordBatch> {
    let Some(source) =
        TABLES.as_ref().filter(|_| is_filled(&table.name)).and_then(|all| find(all, &table.name))
    else {
        return Ok(RecordBatch::new_empty(table.columns.clone()));
    };
    let failed = |e: arrow_schema::ArrowError| {
        Error::internal(format!("system relation {}: {e}", table.name))
    };
    let schema = source.schema();
    let rows = arrow_select::concat::concat_batches(&schema, source.data()).map_err(failed)?;
    let columns = table.columns.fields().iter().map(|field| {
        let given = rows.column_by_name(field.name()).map(|array| convert(array, field));
        match given {
            Some(Some(array)) => Ok(array),
            _ => cells::column(field, &vec![default_of(field); rows.num_rows()]),
        }
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    batch_of(table.columns.clone(), columns, rows.num_rows()).map_err(failed)
}

/// The array in the field's type; `None` where it does not fit, or has nulls that the column may not have.
fn convert(array: &ArrayRef, field: &Field) -> Option<ArrayRef> {
    let array = arrow_cast::cast(array, field.data_type()).ok()?;
    if array.null_count() == 0 || field.is_nullable() {
        return Some(array);
    }
    let filler = cells::column(field, &[default_of(field)]).ok()?;
    let both: [&dyn Array; 2] = [&array, &filler];
    let picks: Vec<(usize, usize)> =
        (0..array.len()).map(|i| if array.is_null(i) { (1, 0) } else { (0, i) }).collect();
    arrow_select::interleave::interleave(&both, &picks).ok()
}

/// A type of pg_type by OID or, for regtype, by name: (oid, name).
pub(super) fn pg_type(matches: impl Fn(i64, &str) -> bool) -> Option<(i64, String)> {
    let rows = type_names();
    rows.iter().find(|(oid, name)| matches(*oid, name)).cloned()
}

fn type_names() -> &'static [(i64, String)] {
    static NAMES: LazyLock<Vec<(i64, String)>> = LazyLock::new(|| {
        let Some(table) = super::columns::find("pg_catalog", "pg_type") else { return vec![] };
        let Ok(rows) = batch(table) else { return vec![] };
        let (oids, names) = (column_cells(&rows, "oid"), column_cells(&rows, "typname"));
        let pairs = oids.into_iter().zip(names);
        pairs
            .filter_map(|pair| match pair {
                (Cell::Int(oid), Cell::Text(name)) => Some((oid, name)),
                _ => None,
            })
            .collect()
    });
    &NAMES
}

fn column_cells(rows: &RecordBatch, column: &str) -> Vec<Cell> {
    let array = rows.column_by_name(column);
    array.map_or_else(Vec::new, super::functions::cells_of)
}

fn find<'a>(all: &'a PgCatalogStaticTables, name: &str) -> Option<&'a ArrowTable> {
    Some(match name {
        "pg_aggregate" => &all.pg_aggregate,
        "pg_am" => &all.pg_am,
        "pg_amop" => &all.pg_amop,
        "pg_amproc" => &all.pg_amproc,
        "pg_cast" => &all.pg_cast,
        "pg_collation" => &all.pg_collation,
        "pg_conversion" => &all.pg_conversion,
        "pg_language" => &all.pg_language,
        "pg_opclass" => &all.pg_opclass,
        "pg_operator" => &all.pg_operator,
        "pg_opfamily" => &all.pg_opfamily,
        "pg_proc" => &all.pg_proc,
        "pg_range" => &all.pg_range,
        "pg_type" => &all.pg_type,
        _ => return None,
    })
}
