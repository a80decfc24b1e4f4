//! Rows of system relations as named cells, turned into Arrow columns. Small and rarely asked for, hence row by row.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow_array::builder::{
    BooleanBuilder, Float32Builder, Float64Builder, Int16Builder, Int32Builder, Int64Builder,
    ListBuilder, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, FieldRef};

use super::columns::SystemTable;
use crate::change::batch_of;
use crate::error::{Error, Result};

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Texts(Vec<String>),
    Ints(Vec<i64>),
    Time(SystemTime),
}

macro_rules! cell_from {
    ($($type:ty, $value:ident => $cell:expr;)+) => {
        $(impl From<$type> for Cell {
            fn from($value: $type) -> Cell { $cell }
        })+
    };
}

cell_from! {
    bool, b => Cell::Bool(b);
    f64, n => Cell::Float(n);
    i64, n => Cell::Int(n);
    i32, n => Cell::Int(i64::from(n));
    i16, n => Cell::Int(i64::from(n));
    super::super::object::Oid, oid => Cell::Int(i64::from(oid.0));
    &str, text => Cell::Text(text.to_owned());
    String, text => Cell::Text(text);
    &String, text => Cell::Text(text.clone());
    SystemTime, time => Cell::Time(time);
    Vec<i64>, ints => Cell::Ints(ints);
    Vec<String>, texts => Cell::Texts(texts);
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Cell {
        value.map_or(Cell::Null, Into::into)
    }
}

/// The cells of a row that are not their column's default: null where allowed, else 0, false and the empty text.
pub(super) type Row = Vec<(&'static str, Cell)>;

/// `row!{ oid: 1, relname: "t" }`
macro_rules! row {
    ($($column:ident: $value:expr),* $(,)?) => {
        vec![$((stringify!($column), $crate::catalog::system::cells::Cell::from($value))),*]
    };
}
pub(super) use row;

/// The rows in the relation's columns.
pub(super) fn batch(table: &SystemTable, rows: Vec<Row>) -> Result<RecordBatch> {
    let known = |name: &str| table.columns.fields().iter().any(|f| f.name() == name);
    debug_assert!(
        rows.iter().flatten().all(|(name, _)| known(name)),
        "{}: unknown column in {:?}",
        table.name,
        rows.first()
    );
    let columns = table.columns.fields().iter().map(|field| {
        let cells: Vec<Cell> = rows
            .iter()
            .map(|row| {
                let given = row.iter().find(|(name, _)| name == field.name());
                given.map_or_else(|| default_of(field), |(_, cell)| cell.clone())
            })
            .collect();
        column(field, &cells)
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    batch_of(table.columns.clone(), columns, rows.len())
        .map_err(|e| Error::internal(format!("system relation {}: {e}", table.name)))
}

pub(super) fn default_of(field: &Field) -> Cell {
    match field.data_type() {
        _ if field.is_nullable() => Cell::Null,
        DataType::Boolean => Cell::Bool(false),
        DataType::Float32 | DataType::Float64 => Cell::Float(0.0),
        DataType::Utf8 => Cell::Text(String::new()),
        DataType::List(item) if *item.data_type() == DataType::Utf8 => Cell::Texts(vec![]),
        DataType::List(_) => Cell::Ints(vec![]),
        DataType::Timestamp(..) => Cell::Time(UNIX_EPOCH),
        _ => Cell::Int(0),
    }
}

/// One Arrow column of cells; a cell of another kind than the field's type becomes null.
pub(super) fn column(field: &Field, cells: &[Cell]) -> Result<ArrayRef> {
    macro_rules! build {
        ($builder:expr, $cell:pat => $value:expr) => {{
            let mut builder = $builder;
            for cell in cells {
                match cell {
                    $cell => builder.append_value($value),
                    _ => builder.append_null(),
                }
            }
            Arc::new(builder.finish()) as ArrayRef
        }};
    }
    Ok(match field.data_type() {
        DataType::Boolean => build!(BooleanBuilder::new(), Cell::Bool(b) => *b),
        DataType::Int16 => build!(Int16Builder::new(), Cell::Int(n) => *n as i16),
        DataType::Int32 => build!(Int32Builder::new(), Cell::Int(n) => *n as i32),
        DataType::Int64 => build!(Int64Builder::new(), Cell::Int(n) => *n),
        DataType::Float32 => build!(Float32Builder::new(), Cell::Float(n) => *n as f32),
        DataType::Float64 => build!(Float64Builder::new(), Cell::Float(n) => *n),
        DataType::Utf8 => build!(StringBuilder::new(), Cell::Text(text) => text),
        DataType::Timestamp(..) => {
            let builder =
                TimestampMicrosecondBuilder::new().with_data_type(field.data_type().clone());
            build!(builder, Cell::Time(time) => micros(*time))
        }
        DataType::List(item) => list(item, cells),
        other => {
            return Err(Error::internal(format!("system column {} of type {other}", field.name())));
        }
    })
}

fn list(item: &FieldRef, cells: &[Cell]) -> ArrayRef {
    macro_rules! build {
        ($builder:expr, $cell:pat => $values:expr) => {{
            let mut builder = ListBuilder::new($builder).with_field(item.clone());
            for cell in cells {
                match cell {
                    $cell => builder.append_value($values.map(Some)),
                    _ => builder.append_null(),
                }
            }
            Arc::new(builder.finish()) as ArrayRef
        }};
    }
    match item.data_type() {
        DataType::Int16 => {
            build!(Int16Builder::new(), Cell::Ints(values) => values.iter().map(|n| *n as i16))
        }
        DataType::Int64 => {
            build!(Int64Builder::new(), Cell::Ints(values) => values.iter().copied())
        }
        DataType::Float32 => {
            build!(Float32Builder::new(), Cell::Ints(values) => values.iter().map(|n| *n as f32))
        }
        _ => build!(StringBuilder::new(), Cell::Texts(values) => values.iter().cloned()),
    }
}

/// Microseconds since 1970; times before that do not occur here.
pub(super) fn micros(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX))
}
