//! System relations whose rows are PostgreSQL's own and never change: types, operators, collations, functions.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field};
use datafusion_pg_catalog::pg_catalog::{ArrowTable, PgCatalogStaticTables};

use super::cells::{self, Cell, default_of};
use super::columns::SystemTable;
use crate::change::batch_of;
use crate::error::{Error, Result};
use crate::types::type_marker;

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
    "pg_get_keywords",
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
    let array = &match (array.data_type(), field.data_type()) {
        (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, DataType::List(_)) => {
            of_cells(array, field, |text| items(&text).into())?
        }
        (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, DataType::Int64)
            if type_marker(field) == Some("regproc") =>
        {
            of_cells(array, field, |name| function_oid(&name).unwrap_or(0).into())?
        }
        _ => Arc::clone(array),
    };
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

/// A column of texts in another type, value by value.
fn of_cells(texts: &ArrayRef, field: &Field, read: impl Fn(String) -> Cell) -> Option<ArrayRef> {
    let read = |cell| match cell {
        Cell::Text(text) => read(text),
        other => other,
    };
    let cells: Vec<Cell> = super::functions::cells_of(texts).into_iter().map(read).collect();
    cells::column(field, &cells).ok()
}

/// The items of `{25,23}`, and of `25 23` as PostgreSQL writes vectors.
fn items(text: &str) -> Items {
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    let items = match inner {
        Some(inner) => inner.split(',').collect::<Vec<_>>(),
        None => text.split(' ').collect(),
    };
    let items = items.into_iter().filter(|item| !item.is_empty());
    Items(items.map(|item| item.trim_matches('"').to_owned()).collect())
}

struct Items(Vec<String>);

impl From<Items> for Cell {
    fn from(Items(items): Items) -> Cell {
        let numbers: Option<Vec<i64>> = items.iter().map(|item| item.parse().ok()).collect();
        numbers.map_or(Cell::Texts(items), Cell::Ints)
    }
}

/// A function of pg_proc: PostgreSQL has several of some names, which differ in their arguments.
pub(super) struct Function {
    pub oid: i64,
    pub name: String,
    /// Their types; of one that takes any number of the last, that once.
    pub arguments: Vec<i64>,
    /// How many of them may be left out at the end.
    pub defaults: usize,
    pub is_variadic: bool,
    pub returns: i64,
    pub is_set: bool,
}

/// All of one name.
pub(super) fn functions(name: &str) -> impl Iterator<Item = &'static Function> {
    let from = FUNCTIONS.partition_point(|function| function.name.as_str() < name);
    let name = name.to_owned();
    FUNCTIONS[from..].iter().take_while(move |function| function.name == name)
}

/// The function of a name, the first made of several.
pub(super) fn function_oid(name: &str) -> Option<i64> {
    functions(name).map(|function| function.oid).min()
}

pub(super) fn function_of(oid: i64) -> Option<&'static Function> {
    static PLACES: LazyLock<HashMap<i64, usize>> = LazyLock::new(|| {
        FUNCTIONS.iter().enumerate().map(|(place, function)| (function.oid, place)).collect()
    });
    PLACES.get(&oid).map(|place| &FUNCTIONS[*place])
}

/// By name.
static FUNCTIONS: LazyLock<Vec<Function>> = LazyLock::new(|| {
    let Some(source) = TABLES.as_ref().and_then(|all| find(all, "pg_proc")) else { return vec![] };
    let mut functions = vec![];
    for rows in source.data() {
        let cells = |column| column_cells(rows, column).into_iter();
        let columns = cells("oid").zip(cells("proname")).zip(cells("proargtypes"));
        let columns = columns.zip(cells("pronargdefaults")).zip(cells("provariadic"));
        let columns = columns.zip(cells("prorettype").zip(cells("proretset")));
        functions.extend(columns.filter_map(|(row, (returns, is_set))| {
            let ((((oid, name), arguments), defaults), variadic) = row;
            let (Cell::Int(oid), Cell::Text(name)) = (oid, name) else { return None };
            let arguments = match arguments {
                Cell::Text(text) => items(&text).into(),
                other => other,
            };
            let arguments = if let Cell::Ints(types) = arguments { types } else { vec![] };
            let defaults = if let Cell::Int(count) = defaults { count as usize } else { 0 };
            let is_variadic = matches!(variadic, Cell::Int(element) if element != 0);
            let returns = if let Cell::Int(oid) = returns { oid } else { 0 };
            let is_set = is_set == Cell::Bool(true);
            Some(Function { oid, name, arguments, defaults, is_variadic, returns, is_set })
        }));
    }
    functions.sort_by(|a, b| (&a.name, a.oid).cmp(&(&b.name, b.oid)));
    functions
});

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
        "pg_get_keywords" => &all.pg_get_keywords,
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
