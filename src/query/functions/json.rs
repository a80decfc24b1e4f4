//! jsonb: the operators `->`, `->>`, `#>`, `#>>` and jsonb_typeof.
//!
//! A jsonb column holds canonical text (see `crate::types`), so a part of it is canonical text too: parts are found by
//! scanning, without building trees, and numbers keep every digit. Text that is not JSON has no parts.

use std::hash::Hash;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, StringArray};
use arrow_schema::{DataType, Field, FieldRef};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use sqlparser::ast::BinaryOperator;

use crate::error::{Error, Result};
use crate::query::errors::to_datafusion;
use crate::query::sql_types::{mark_of, marked, plain};

/// The family.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    let mut functions: Vec<Arc<ScalarUDF>> =
        Access::ALL.iter().map(|access| access.function()).collect();
    for name in ["jsonb_typeof", "json_typeof"] {
        functions.push(Arc::new(ScalarUDF::from(TypeOf {
            name,
            signature: Signature::any(1, Volatility::Immutable),
        })));
    }
    functions
}

/// The function a jsonb operator stands for between these operands; `None` where it is another family's.
pub(crate) fn operator(
    op: &BinaryOperator,
    left: &Field,
    _right: &Field,
) -> Option<Arc<ScalarUDF>> {
    if !matches!(mark_of(left), Some("jsonb" | "json")) {
        return None;
    }
    let access = match op {
        BinaryOperator::Arrow => Access { path: false, text: false },
        BinaryOperator::LongArrow => Access { path: false, text: true },
        BinaryOperator::HashArrow => Access { path: true, text: false },
        BinaryOperator::HashLongArrow => Access { path: true, text: true },
        _ => return super::json_contains::operator(op),
    };
    Some(access.function())
}

/// Whether the right operand is a path, and whether the result is text instead of jsonb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Access {
    path: bool,
    text: bool,
}

impl Access {
    const ALL: [Access; 4] = [
        Access { path: false, text: false },
        Access { path: false, text: true },
        Access { path: true, text: false },
        Access { path: true, text: true },
    ];

    fn name(self) -> &'static str {
        match (self.path, self.text) {
            (false, false) => "json_get",
            (false, true) => "json_get_text",
            (true, false) => "json_path",
            (true, true) => "json_path_text",
        }
    }

    fn function(self) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::from(Get {
            access: self,
            signature: Signature::any(2, Volatility::Immutable),
        }))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Get {
    access: Access,
    signature: Signature,
}

impl ScalarUDFImpl for Get {
    fn name(&self) -> &str {
        self.access.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs) -> DfResult<FieldRef> {
        Ok(if self.access.text { plain(DataType::Utf8) } else { marked(DataType::Utf8, "jsonb") })
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let documents = args.args[0].to_array(args.number_rows)?;
        let keys = args.args[1].to_array(args.number_rows)?;
        let documents = documents
            .as_string_opt::<i32>()
            .ok_or_else(|| to_datafusion(Error::internal("jsonb is text")))?;
        let values =
            (0..documents.len()).map(|row| {
                if documents.is_null(row) || keys.is_null(row) {
                    return Ok(None);
                }
                let part = step(documents.value(row), &keys, row, self.access.path)?;
                Ok(part.and_then(|part| {
                    if self.access.text { as_text(part) } else { Some(part.to_owned()) }
                }))
            });
        let values = values.collect::<Result<StringArray>>().map_err(to_datafusion)?;
        Ok(ColumnarValue::Array(Arc::new(values)))
    }
}

fn step<'a>(document: &'a str, keys: &ArrayRef, row: usize, path: bool) -> Result<Option<&'a str>> {
    Ok(match keys.data_type() {
        DataType::Int32 => element(document, keys.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => element(document, keys.as_primitive::<Int64Type>().value(row)),
        DataType::Utf8 if path => walk(document, &path_of_text(keys.as_string::<i32>().value(row))),
        DataType::Utf8 => member(document, keys.as_string::<i32>().value(row)),
        DataType::List(_) if path => {
            let steps = keys.as_list::<i32>().value(row);
            let Some(steps) = steps.as_string_opt::<i32>() else {
                return Err(Error::unsupported("a jsonb path is an array of text"));
            };
            if steps.null_count() > 0 {
                return Ok(None);
            }
            walk(document, &steps.iter().flatten().map(str::to_owned).collect::<Vec<_>>())
        }
        other => return Err(Error::unsupported(format!("a jsonb key of type {other}"))),
    })
}

/// `{a,b,0}` as its steps.
fn path_of_text(text: &str) -> Vec<String> {
    let inner = text.trim().trim_start_matches('{').trim_end_matches('}');
    if inner.is_empty() {
        return vec![];
    }
    inner.split(',').map(|step| step.trim().trim_matches('"').to_owned()).collect()
}

fn walk<'a>(document: &'a str, steps: &[String]) -> Option<&'a str> {
    steps.iter().try_fold(document, |part, step| match part.as_bytes().first()? {
        b'{' => member(part, step),
        b'[' => element(part, step.parse().ok()?),
        _ => None,
    })
}

/// The end of the value that begins at `start`.
fn value_end(text: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut quoted = false;
    let mut at = start;
    while at < text.len() {
        match text[at] {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return at,
            b'}' | b']' => depth -= 1,
            b',' | b':' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

/// The values of an array or the alternating keys and values of an object.
pub(super) fn items(container: &str) -> impl Iterator<Item = &str> {
    let bytes = container.as_bytes();
    let mut at = 1;
    std::iter::from_fn(move || {
        while at < bytes.len() && matches!(bytes[at], b',' | b':' | b' ' | b'\n' | b'\t' | b'\r') {
            at += 1;
        }
        if at >= bytes.len() || matches!(bytes[at], b'}' | b']') {
            return None;
        }
        let end = value_end(bytes, at);
        let item = container[at..end].trim_end();
        at = end;
        Some(item)
    })
}

pub(super) fn member<'a>(document: &'a str, key: &str) -> Option<&'a str> {
    let document = document.trim_start();
    if !document.starts_with('{') {
        return None;
    }
    let mut items = items(document);
    while let (Some(name), Some(value)) = (items.next(), items.next()) {
        let plain = name.get(1..name.len().saturating_sub(1))?;
        let same =
            if plain.contains('\\') { as_text(name).as_deref() == Some(key) } else { plain == key };
        if same {
            return Some(value);
        }
    }
    None
}

fn element(document: &str, index: i64) -> Option<&str> {
    let document = document.trim_start();
    if !document.starts_with('[') {
        return None;
    }
    let index = if index < 0 { items(document).count() as i64 + index } else { index };
    items(document).nth(usize::try_from(index).ok()?)
}

/// A part as text: strings without quotes, null as NULL.
pub(super) fn as_text(part: &str) -> Option<String> {
    match part.as_bytes().first()? {
        b'"' => serde_json::from_str(part).ok(),
        b'n' => None,
        _ => Some(part.to_owned()),
    }
}

/// `jsonb_typeof(jsonb)`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct TypeOf {
    name: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for TypeOf {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let documents = args.args[0].to_array(args.number_rows)?;
        let documents = documents
            .as_string_opt::<i32>()
            .ok_or_else(|| to_datafusion(Error::internal("jsonb is text")))?;
        let kinds = documents.iter().map(|document| {
            document.and_then(|text| text.trim_start().bytes().next()).map(|first| match first {
                b'{' => "object",
                b'[' => "array",
                b'"' => "string",
                b't' | b'f' => "boolean",
                b'n' => "null",
                _ => "number",
            })
        });
        Ok(ColumnarValue::Array(Arc::new(kinds.collect::<StringArray>())))
    }
}
