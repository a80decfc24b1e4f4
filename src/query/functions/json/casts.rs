//! jsonb cast to numbers and booleans.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, StringArray};
use arrow_schema::{DataType, Field};

use super::document::Kind;
use crate::error::{Error, Result, SqlState};
use crate::query::sql_types::{numeric, pg_name};
use crate::types::{TextStyle, cast_from_text};

/// Whether jsonb is cast to the type.
pub(crate) fn has_cast(to: &DataType) -> bool {
    *to == DataType::Boolean || to.is_numeric()
}

/// Fraction digits of the numeric through which jsonb becomes an integer, whose rounding they decide.
const FRACTION_DIGITS: i8 = 10;

/// The booleans or numbers of documents that are to become `target`: numbers in a type that has a cast to it.
/// Errors: 22023 for documents of another kind, 22003 for numbers out of range.
pub(crate) fn scalars(documents: &StringArray, target: &Field) -> Result<ArrayRef> {
    let boolean = *target.data_type() == DataType::Boolean;
    let wanted = if boolean { Kind::Boolean } else { Kind::Number };
    for document in documents.iter().flatten() {
        let kind = Kind::of(document);
        if kind != wanted {
            let kind = if kind == Kind::Number { "numeric" } else { kind.name() };
            let message = format!("cannot cast jsonb {kind} to type {}", pg_name(target));
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
    }
    if boolean {
        let values = documents.iter().map(|document| document.map(|d| d == "true"));
        return Ok(Arc::new(values.collect::<BooleanArray>()));
    }
    let through = match target.data_type() {
        DataType::Float32 | DataType::Float64 | DataType::Decimal128(..) => target.clone(),
        _ => Field::new("", numeric(FRACTION_DIGITS), true),
    };
    let (values, errors) = cast_from_text(documents, &through, &TextStyle::default());
    match errors.into_iter().next() {
        Some((_, error)) => Err(error),
        None => Ok(values),
    }
}
