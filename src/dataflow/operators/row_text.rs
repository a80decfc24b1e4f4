//! A row as readable JSON-like text, for the payload of an error.

use arrow_array::{Array, ArrayRef};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::Fields;

/// `{"name":value,...}` of one row: numbers and booleans bare, NULL as null, everything else quoted.
pub fn row_text(fields: &Fields, columns: &[ArrayRef], row: usize) -> String {
    let member = |(field, column): (&arrow_schema::FieldRef, &ArrayRef)| {
        format!("{}:{}", quoted(field.name()), value_text(column, row))
    };
    let members: Vec<String> = fields.iter().zip(columns).map(member).collect();
    format!("{{{}}}", members.join(","))
}

fn value_text(column: &ArrayRef, row: usize) -> String {
    if column.logical_nulls().is_some_and(|n| n.is_null(row)) {
        return "null".to_owned();
    }
    let options = FormatOptions::default().with_display_error(true);
    let text = match ArrayFormatter::try_new(column.as_ref(), &options) {
        Ok(formatter) => formatter.value(row).to_string(),
        Err(error) => error.to_string(),
    };
    let data_type = column.data_type();
    let bare = data_type.is_numeric() || *data_type == arrow_schema::DataType::Boolean;
    // NaN and the infinities are no JSON numbers.
    if bare && !text.ends_with(['N', 'f']) { text } else { quoted(&text) }
}

fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}
