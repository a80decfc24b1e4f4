//! `x SIMILAR TO pattern [ESCAPE character]`, planned as `similar_to(x, pattern [, character])`.
//!
//! Owns the way from SQL's patterns to regular expressions: `%` is `.*`, `_` any character, `|*+?{}()[]` mean what they
//! mean there, and everything else stands for itself. The whole text has to match. The escape is a backslash unless given.

use std::hash::Hash;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, StringArray};
use arrow_schema::{DataType, FieldRef};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use regex::Regex;

use super::math::any_arguments;
use crate::error::{Error, Result, SqlState};
use crate::query::errors::{to_datafusion, undefined_operator};
use crate::query::sql_types::{pg_name, plain};

/// The function that SIMILAR TO stands for.
pub(crate) const SIMILAR_TO: &str = "similar_to";

/// The family.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    vec![Arc::new(ScalarUDF::from(Similar { signature: any_arguments(Volatility::Immutable) }))]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Similar {
    signature: Signature,
}

impl ScalarUDFImpl for Similar {
    fn name(&self) -> &str {
        SIMILAR_TO
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Boolean)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let text = |f: &FieldRef| matches!(f.data_type(), DataType::Utf8 | DataType::Null);
        match args.arg_fields {
            [value, pattern, ..] if !args.arg_fields.iter().all(text) => {
                let error = undefined_operator(&pg_name(value), "~", &pg_name(pattern));
                Err(to_datafusion(error))
            }
            _ => Ok(plain(DataType::Boolean)),
        }
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let scalar = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|a| a.to_array(rows)).collect::<DfResult<Vec<_>>>()?;
        let matched = if arrays.iter().any(|array| array.data_type().is_null()) {
            BooleanArray::new_null(rows)
        } else {
            let texts: Vec<&StringArray> = arrays.iter().map(|a| a.as_string::<i32>()).collect();
            matches(&texts).map_err(to_datafusion)?
        };
        Ok(if scalar {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&matched, 0)?)
        } else {
            ColumnarValue::Array(Arc::new(matched))
        })
    }
}

fn matches(texts: &[&StringArray]) -> Result<BooleanArray> {
    let (values, patterns) = (texts[0], texts[1]);
    // Nearly always one pattern for all rows: it is compiled once.
    let mut last: Option<(String, Regex)> = None;
    let rows = (0..values.len()).map(|row| {
        if texts.iter().any(|text| text.is_null(row)) {
            return Ok(None);
        }
        let escape = texts.get(2).map_or("\\", |escapes| escapes.value(row));
        let expression = expression(patterns.value(row), escape)?;
        if last.as_ref().is_none_or(|(known, _)| *known != expression) {
            let regex = Regex::new(&expression).map_err(|_| {
                Error::new(
                    SqlState("2201B"),
                    format!("invalid regular expression: \"{}\"", patterns.value(row)),
                )
            })?;
            last = Some((expression, regex));
        }
        let (_, regex) = last.as_ref().expect("it was set above");
        Ok(Some(regex.is_match(values.value(row))))
    });
    rows.collect()
}

/// `substring(text similar pattern escape character)`: what matches between the pattern's two separators, which are the escape
/// followed by a double quote; the whole text where there are none.
pub(super) fn substring(call: &super::native::Call) -> Result<ArrayRef> {
    call.texts(|row, out| {
        let (text, pattern) = (call.text(0, row), call.text(1, row));
        let escape = escape_of(call.text(2, row))?;
        let separator = escape.map(|escape| format!("{escape}\""));
        let parts: Vec<&str> = match &separator {
            Some(separator) => pattern.split(separator.as_str()).collect(),
            None => vec![pattern],
        };
        // The part before the separator takes as little as it can.
        let expression = match parts.as_slice() {
            [whole] => format!("(?s)^({})$", body(whole, escape)),
            [before, part, after] => format!(
                "(?s)^(?U:{})({})(?:{})$",
                body(before, escape),
                body(part, escape),
                body(after, escape)
            ),
            _ => {
                let message = "SQL regular expression may not contain more than two escape-double-quote separators";
                return Err(Error::new(SqlState("2200C"), message));
            }
        };
        let regex = Regex::new(&expression).map_err(|_| {
            let message = format!("invalid regular expression: \"{pattern}\"");
            Error::new(SqlState("2201B"), message)
        })?;
        let found = regex.captures(text).and_then(|groups| groups.get(1));
        out.push_str(found.map_or("", |group| group.as_str()));
        Ok(found.is_some())
    })
}

/// The escape character; none for an empty text.
fn escape_of(escape: &str) -> Result<Option<char>> {
    let mut escapes = escape.chars();
    let escape = escapes.next();
    if escapes.next().is_some() {
        return Err(Error::new(SqlState("22019"), "invalid escape string")
            .with_hint("Escape string must be empty or one character."));
    }
    Ok(escape)
}

/// The regular expression of a pattern.
fn expression(pattern: &str, escape: &str) -> Result<String> {
    Ok(format!("(?s)^(?:{})$", body(pattern, escape_of(escape)?)))
}

/// The regular expression of a pattern, without what ties it to the ends of a text.
fn body(pattern: &str, escape: Option<char>) -> String {
    let mut out = String::new();
    let mut in_class = false;
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            c if Some(c) == escape => {
                let literal = chars.next().map(String::from).unwrap_or_default();
                out.push_str(&regex::escape(&literal));
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '[' if in_class => out.push_str("\\["),
            '\\' | '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            c if in_class => out.push(c),
            '[' => {
                in_class = true;
                out.push('[');
            }
            '%' => out.push_str(".*"),
            '_' => out.push('.'),
            '(' => out.push_str("(?:"),
            ')' | '|' | '*' | '+' | '?' | '{' | '}' => out.push(c),
            c => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_text_has_to_match() {
        let similar = |text: &str, pattern: &str| {
            Regex::new(&expression(pattern, "\\").unwrap()).unwrap().is_match(text)
        };
        assert!(similar("abc", "a%") && similar("abc", "_b_") && similar("abc", "%(b|d)%"));
        assert!(!similar("abc", "a") && !similar("abc", "(b|c)%") && !similar("a.c", "a\\_c"));
        assert!(similar("a%", "a\\%") && similar("b5", "[a-c][0-9]") && !similar("a\nb", "a"));
    }
}
