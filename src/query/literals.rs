//! Literals whose type is said beside them: what is cast, and VALUES such as `('{}'::jsonb), ('[]')`.

use sqlparser::ast::{DataType, Expr, Parens, Value};

use super::cast::CAST_PREFIX;
use super::spelling::{call, open_numeric_text, string, take, typed_number};

/// String literals and NULLs in a column of VALUES take the type that another row writes out.
pub(super) fn type_literals(rows: &mut [Parens<Vec<Expr>>]) {
    let width = rows.first().map_or(0, |row| row.len());
    for column in 0..width {
        let name = rows.iter().find_map(|row| match row.get(column) {
            Some(Expr::Function(function)) => {
                let name = function.name.0.first()?.as_ident()?.value.clone();
                (name.starts_with(CAST_PREFIX) && typed_number(&row[column]).is_none())
                    .then_some(name)
            }
            _ => None,
        });
        let Some(name) = name else { continue };
        for value in rows.iter_mut().filter_map(|row| row.get_mut(column)) {
            let open = |value: &Value| matches!(value, Value::SingleQuotedString(_) | Value::Null);
            if matches!(value, Expr::Value(literal) if open(&literal.value)) {
                *value = call(&name, vec![take(value)]);
            }
        }
    }
}

/// What is cast. The text of a number survives into types that hold more digits than numeric does, but not as a text; an
/// array without elements has no type of its own.
pub(super) fn cast_operand(operand: &mut Expr, target: &DataType) -> Expr {
    match operand {
        Expr::Array(array) if array.elem.is_empty() => string("{}"),
        operand if matches!(target, DataType::Text | DataType::Varchar(_)) => take(operand),
        operand => open_numeric_text(operand).map_or_else(|| take(operand), string),
    }
}
