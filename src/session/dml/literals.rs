//! Rows whose values are literals and parameters, read column by column without planning any of them.
//!
//! A statement of a hundred thousand rows has no time for an expression a value. Literals are read by the same functions that
//! read a cast's text, so they mean the same; whatever is not plainly a value of its column, or fails to be read, is left
//! to the planner, which gives PostgreSQL's answer or error. Rows that lack columns are completed by their defaults.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, RecordBatch, new_null_array};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use datafusion::logical_expr::Expr;
use datafusion::scalar::ScalarValue;
use sqlparser::ast::{self, UnaryOperator, Value};
use tokio_util::sync::CancellationToken;

use super::{placeholder, project};
use crate::catalog::Object;
use crate::change::batch_of;
use crate::error::Result;
use crate::memory;
use crate::query::at_hand::rows_plan;
use crate::query::errors::from_arrow;
use crate::query::live_scan::ReadAt;
use crate::session::Session;
use crate::session::select::{Planned, columns_of, nullable};
use crate::types::{TextStyle, cast_from_text, type_marker};

/// Columns of a table by their index, with a value a row.
pub(super) type Given = Vec<(usize, ArrayRef)>;

/// A value that needs no planning.
enum Literal<'a> {
    Null,
    Text(&'a str),
    /// Negative, and the digits.
    Number(bool, &'a str),
    Boolean(bool),
    Param,
}

impl Session {
    /// The columns of VALUES, where all values are literals that can be read as values of their columns.
    pub(super) fn literal_columns(
        &self,
        values: &ast::Values,
        columns: &[usize],
        table: &Object,
        params: &[ScalarValue],
    ) -> Option<Given> {
        let style = self.text_style();
        let width = values.rows.first()?.content.len();
        let given = columns[..width].iter().enumerate().map(|(position, &column)| {
            let cells = values.rows.iter().map(|row| row.content.get(position));
            let field = table.columns.field(column);
            column_of(cells, field, values.rows.len(), params, &style).map(|array| (column, array))
        });
        given.collect()
    }

    /// Whole rows of the table from some of their columns; the others take their defaults.
    pub(in crate::session) async fn completed(
        &self,
        table: &Arc<Object>,
        given: Given,
        rows: usize,
        cancel: &CancellationToken,
    ) -> Result<RecordBatch> {
        let schema = nullable(&table.columns);
        let missing = |i: usize| given.iter().all(|(column, _)| *column != i);
        let default = |i: usize| table.default_sql(i).is_some();
        let width = schema.fields().len();
        if !(0..width).any(|i| missing(i) && default(i)) {
            let column = |(i, field): (usize, &FieldRef)| match given.iter().find(|(c, _)| *c == i)
            {
                Some((_, array)) => Arc::clone(array),
                None => new_null_array(field.data_type(), rows),
            };
            let columns = schema.fields().iter().enumerate().map(column).collect();
            return batch_of(schema.clone(), columns, rows).map_err(from_arrow);
        }
        let planned = self.plan_completed(table, given, rows)?;
        let (batches, _held) =
            self.collect(planned, vec![], memory::Purpose::Write, cancel).await?;
        columns_of(&batches, 0, &table.columns)
    }

    fn plan_completed(&self, table: &Object, given: Given, rows: usize) -> Result<Planned> {
        let fields: Vec<Field> = given
            .iter()
            .map(|(i, _)| {
                table.columns.field(*i).clone().with_name(format!("#{i}")).with_nullable(true)
            })
            .collect();
        let columns = given.iter().map(|(_, array)| Arc::clone(array)).collect();
        let batch = batch_of(Arc::new(Schema::new(fields)), columns, rows).map_err(from_arrow)?;
        let plan = rows_plan(batch)?;
        let sources = plan.schema().columns();
        let mut exprs = vec![];
        for (i, field) in table.columns.fields().iter().enumerate() {
            let value = match given.iter().position(|(column, _)| *column == i) {
                Some(at) => Expr::Column(sources[at].clone()),
                None => self.default_expr(table, i, field)?,
            };
            exprs.push(value.alias(format!("=#{i}")));
        }
        let plan = project(plan, exprs)?;
        Ok(Planned { plan, names: vec![], scanned: vec![], read_at: ReadAt::default() })
    }
}

/// Whether every value is a literal or a parameter, of whatever type.
pub(super) fn are_literals(values: &ast::Values) -> bool {
    values.rows.iter().flat_map(|row| row.iter()).all(|value| literal(value).is_some())
}

fn literal(value: &ast::Expr) -> Option<Literal<'_>> {
    if placeholder(value).is_some() {
        return Some(Literal::Param);
    }
    match value {
        ast::Expr::Value(value) => match &value.value {
            Value::Null => Some(Literal::Null),
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => {
                Some(Literal::Text(text))
            }
            Value::Number(digits, false) => Some(Literal::Number(false, digits)),
            Value::Boolean(value) => Some(Literal::Boolean(*value)),
            _ => None,
        },
        ast::Expr::UnaryOp { op: UnaryOperator::Minus, expr } => match literal(expr)? {
            Literal::Number(false, digits) => Some(Literal::Number(true, digits)),
            _ => None,
        },
        _ => None,
    }
}

/// A column of values; `None` where one is not plainly a value of the column.
fn column_of<'a>(
    cells: impl Iterator<Item = Option<&'a ast::Expr>> + Clone,
    field: &Field,
    rows: usize,
    params: &[ScalarValue],
    style: &TextStyle,
) -> Option<ArrayRef> {
    let first = cells.clone().next()??;
    if placeholder(first).is_some() {
        return params_column(cells, field, params, style);
    }
    let mut text = StringBuilder::with_capacity(rows, rows * 8);
    for cell in cells {
        match literal(cell?)? {
            Literal::Null => text.append_null(),
            Literal::Text(value) => text.append_value(value),
            Literal::Boolean(value) if *field.data_type() == DataType::Boolean => {
                text.append_value(if value { "true" } else { "false" });
            }
            Literal::Number(negative, digits) if is_number_of(digits, field) => {
                use std::fmt::Write;
                if negative {
                    // A builder takes what is written before as the beginning of the value.
                    text.write_char('-').ok()?;
                }
                text.append_value(digits);
            }
            Literal::Number(..) | Literal::Boolean(_) | Literal::Param => return None,
        }
    }
    let (array, errors) = cast_from_text(&text.finish(), field, style);
    errors.is_empty().then_some(array)
}

/// Parameters whose values have the column's type already.
fn params_column<'a>(
    cells: impl Iterator<Item = Option<&'a ast::Expr>>,
    field: &Field,
    params: &[ScalarValue],
    style: &TextStyle,
) -> Option<ArrayRef> {
    let mut values = vec![];
    for cell in cells {
        let value = params.get(placeholder(cell?)?)?;
        if value.data_type() != *field.data_type() {
            return None;
        }
        values.push(value.clone());
    }
    let array = ScalarValue::iter_to_array(values).ok()?;
    if *field.data_type() != DataType::Utf8 || type_marker(field).is_none() {
        return Some(array);
    }
    // Lengths and forms that the type keeps are checked as for any text.
    let (array, errors) = cast_from_text(array.as_string::<i32>(), field, style);
    errors.is_empty().then_some(array)
}

/// Whether a number as it is written is a value of the column without rounding to another kind.
fn is_number_of(digits: &str, field: &Field) -> bool {
    let whole = digits.bytes().all(|b| b.is_ascii_digit());
    let plain = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'-' | b'+'));
    match field.data_type() {
        DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            whole && type_marker(field).is_none()
        }
        DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => plain,
        _ => false,
    }
}
