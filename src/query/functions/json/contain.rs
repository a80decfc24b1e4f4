//! Tests of documents: `@>`, `<@`, `?`, `?|` and `?&`.

use arrow_array::ArrayRef;

use super::call::{Call, Function, Gives, Takes};
use super::document::{Kind, items, member, members, unquoted};
use crate::error::Result;

const fn test(
    name: &'static str,
    takes: &'static [Takes; 2],
    evaluate: fn(&Call) -> Result<ArrayRef>,
) -> Function {
    Function { name, takes, required: 2, rest: None, gives: Gives::Boolean, strict: true, evaluate }
}

/// The functions behind the operators, which can be called by these names too.
pub(super) static FUNCTIONS: &[Function] = &[
    test("jsonb_contains", &[Takes::Jsonb, Takes::Jsonb], |call| contained(call, 0, 1)),
    test("jsonb_contained", &[Takes::Jsonb, Takes::Jsonb], |call| contained(call, 1, 0)),
    test("jsonb_exists", &[Takes::Jsonb, Takes::Text], has_name),
    test("jsonb_exists_any", &[Takes::Jsonb, Takes::Texts], |call| has_names(call, false)),
    test("jsonb_exists_all", &[Takes::Jsonb, Takes::Texts], |call| has_names(call, true)),
];

fn contained(call: &Call, whole: usize, part: usize) -> Result<ArrayRef> {
    let (wholes, parts) = (call.jsonb(whole)?, call.jsonb(part)?);
    call.test(|row| {
        let both = wholes.get(row).zip(parts.get(row));
        Ok(both.map(|(whole, part)| contains(whole, part, true)))
    })
}

fn has_name(call: &Call) -> Result<ArrayRef> {
    let (documents, names) = (call.jsonb(0)?, call.texts(1)?);
    call.test(|row| {
        let both = documents.get(row).zip(names.get(row));
        Ok(both.map(|(document, name)| has(document, name)))
    })
}

fn has_names(call: &Call, all: bool) -> Result<ArrayRef> {
    let (documents, names) = (call.jsonb(0)?, call.paths(1)?);
    call.test(|row| {
        let (Some(document), Some(names)) = (documents.get(row), names.get(row)?) else {
            return Ok(None);
        };
        let mut found = names.iter().flatten().map(|name| has(document, name));
        Ok(Some(if all { found.all(|found| found) } else { found.any(|found| found) }))
    })
}

/// A key of an object, a string in an array, or the string itself.
fn has(document: &str, name: &str) -> bool {
    let is_name = |item: &str| Kind::of(item) == Kind::String && unquoted(item) == name;
    match Kind::of(document) {
        Kind::Object => member(document, name).is_some(),
        Kind::Array => items(document).any(is_name),
        _ => is_name(document),
    }
}

/// PostgreSQL's containment: members and elements may be more, order and number of elements do not count, and at the top an
/// array contains a bare scalar.
fn contains(whole: &str, part: &str, top: bool) -> bool {
    match (Kind::of(whole), Kind::of(part)) {
        (Kind::Object, Kind::Object) => members(part).all(|(name, value)| {
            let found = member(whole, &unquoted(name));
            found.is_some_and(|found| contains(found, value, false))
        }),
        (Kind::Array, Kind::Array) => {
            items(part).all(|part| items(whole).any(|whole| contains(whole, part, false)))
        }
        (Kind::Array, Kind::Object) | (Kind::Object, _) | (_, Kind::Array | Kind::Object) => false,
        (Kind::Array, _) => top && items(whole).any(|whole| same_scalar(whole, part)),
        _ => same_scalar(whole, part),
    }
}

/// Numbers are equal by value: 1 is 1.00.
fn same_scalar(left: &str, right: &str) -> bool {
    let plain = |number: &str| match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => number.to_owned(),
    };
    let number = |text: &str| text.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    left == right || number(left) && number(right) && plain(left) == plain(right)
}
