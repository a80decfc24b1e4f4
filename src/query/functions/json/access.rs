//! Parts of documents: `->`, `->>`, `#>`, `#>>`, the functions of the same meaning, jsonb_typeof and the like.

use std::borrow::Cow;

use arrow_array::ArrayRef;

use super::call::{Call, Function, Gives, Takes};
use super::document::{Find, Kind, as_text, element, items, last_member, member, walk};
use crate::error::{Error, Result, SqlState};

const fn access(
    name: &'static str,
    takes: &'static [Takes],
    gives: Gives,
    evaluate: fn(&Call) -> Result<ArrayRef>,
) -> Function {
    Function { name, takes, required: takes.len(), rest: None, gives, strict: true, evaluate }
}

const fn extract(
    name: &'static str,
    document: &'static [Takes],
    gives: Gives,
    evaluate: fn(&Call) -> Result<ArrayRef>,
) -> Function {
    Function {
        name,
        takes: document,
        required: 2,
        rest: Some(Takes::Text),
        gives,
        strict: true,
        evaluate,
    }
}

pub(super) static MEMBER: Function =
    access("json_get", &[Takes::Document, Takes::Text], Gives::Same, |call| by_name(call, part));
pub(super) static MEMBER_TEXT: Function =
    access("json_get_text", &[Takes::Document, Takes::Text], Gives::Text, |call| {
        by_name(call, text)
    });
pub(super) static ELEMENT: Function =
    access("json_element", &[Takes::Document, Takes::Integer], Gives::Same, |call| {
        by_index(call, part)
    });
pub(super) static ELEMENT_TEXT: Function =
    access("json_element_text", &[Takes::Document, Takes::Integer], Gives::Text, |call| {
        by_index(call, text)
    });
pub(super) static PATH: Function =
    access("json_path", &[Takes::Document, Takes::Texts], Gives::Same, |call| by_path(call, part));
pub(super) static PATH_TEXT: Function =
    access("json_path_text", &[Takes::Document, Takes::Texts], Gives::Text, |call| {
        by_path(call, text)
    });

/// The functions with names that users write.
pub(super) static FUNCTIONS: &[Function] = &[
    extract("jsonb_extract_path", &[Takes::Jsonb], Gives::Jsonb, |call| by_steps(call, part)),
    extract("jsonb_extract_path_text", &[Takes::Jsonb], Gives::Text, |call| by_steps(call, text)),
    extract("json_extract_path", &[Takes::Json], Gives::Json, |call| by_steps(call, part)),
    extract("json_extract_path_text", &[Takes::Json], Gives::Text, |call| by_steps(call, text)),
    access("jsonb_typeof", &[Takes::Jsonb], Gives::Text, kinds),
    access("json_typeof", &[Takes::Json], Gives::Text, kinds),
    access("jsonb_array_length", &[Takes::Jsonb], Gives::Integer, lengths),
    access("json_array_length", &[Takes::Json], Gives::Integer, lengths),
];

/// How a part becomes the result.
type Form = for<'a> fn(&'a str) -> Option<Cow<'a, str>>;

fn part(part: &str) -> Option<Cow<'_, str>> {
    Some(Cow::Borrowed(part))
}

fn text(part: &str) -> Option<Cow<'_, str>> {
    as_text(part)
}

fn finder(call: &Call) -> Find {
    if super::is_json(call.field(0)) { last_member } else { member }
}

fn by_name(call: &Call, form: Form) -> Result<ArrayRef> {
    let (documents, names) = (call.json(0)?, call.texts(1)?);
    let find = finder(call);
    call.borrow_texts(|row| {
        let both = documents.get(row).zip(names.get(row));
        Ok(both.and_then(|(document, name)| find(document, name)).and_then(form))
    })
}

fn by_index(call: &Call, form: Form) -> Result<ArrayRef> {
    let (documents, indexes) = (call.json(0)?, call.integers(1)?);
    let jsonb = !super::is_json(call.field(0));
    call.borrow_texts(|row| {
        let (Some(document), index) = (documents.get(row), indexes.value(row)) else {
            return Ok(None);
        };
        // PostgreSQL keeps a bare scalar of jsonb as an array of one element.
        let found = match Kind::of(document).is_scalar() {
            true => (jsonb && matches!(index, 0 | -1)).then_some(document),
            false => element(document, index.into()),
        };
        Ok(found.and_then(form))
    })
}

fn by_path(call: &Call, form: Form) -> Result<ArrayRef> {
    let (documents, paths) = (call.json(0)?, call.paths(1)?);
    let find = finder(call);
    call.borrow_texts(|row| {
        let (Some(document), Some(steps)) = (documents.get(row), paths.get(row)?) else {
            return Ok(None);
        };
        Ok(walk(document.trim(), &steps, find).and_then(form))
    })
}

fn by_steps(call: &Call, form: Form) -> Result<ArrayRef> {
    let documents = call.json(0)?;
    let find = finder(call);
    let steps = (1..call.arguments()).map(|at| call.texts(at)).collect::<Result<Vec<_>>>()?;
    call.borrow_texts(|row| {
        let Some(document) = documents.get(row) else { return Ok(None) };
        let path: Vec<_> = steps.iter().map(|step| step.get(row).map(str::to_owned)).collect();
        Ok(walk(document.trim(), &path, find).and_then(form))
    })
}

fn kinds(call: &Call) -> Result<ArrayRef> {
    let documents = call.json(0)?;
    call.borrow_texts(|row| Ok(documents.get(row).map(|d| Cow::Borrowed(Kind::of(d).name()))))
}

fn lengths(call: &Call) -> Result<ArrayRef> {
    let documents = call.json(0)?;
    call.count(|row| {
        let Some(document) = documents.get(row) else { return Ok(None) };
        let kind = match Kind::of(document) {
            Kind::Array => return Ok(Some(items(document).count() as i32)),
            Kind::Object => "non-array",
            _ => "scalar",
        };
        let message = format!("cannot get array length of a {kind}");
        Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message))
    })
}
