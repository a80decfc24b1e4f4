//! A JSON text read in place: its kind, its members and elements, a way into it.
//!
//! Parts are slices of the text they are parts of; nothing is built but unescaped strings. The text is valid JSON: canonical
//! where it is jsonb, with any space between tokens where it is json. Text that is not JSON has no parts.

use std::borrow::Cow;

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    // In the order in which PostgreSQL compares values of different kinds.
    Null,
    String,
    Number,
    Boolean,
    Array,
    Object,
}

impl Kind {
    pub fn of(document: &str) -> Kind {
        match document.trim_start().as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Boolean,
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        }
    }

    /// As jsonb_typeof says it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::String => "string",
            Kind::Number => "number",
            Kind::Boolean => "boolean",
            Kind::Array => "array",
            Kind::Object => "object",
        }
    }

    pub fn is_scalar(self) -> bool {
        !matches!(self, Kind::Array | Kind::Object)
    }
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

/// The elements of an array, or the names (in quotes) and values of an object one after the other.
pub(in crate::query::functions) fn items(container: &str) -> impl Iterator<Item = &str> {
    let container = container.trim_start();
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

/// The members of an object: names in quotes, as they are written, and values.
pub(super) fn members(object: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut items = items(object);
    std::iter::from_fn(move || Some((items.next()?, items.next()?)))
}

/// A string in quotes as the text it stands for.
pub(super) fn unquoted(string: &str) -> Cow<'_, str> {
    let inner = string.get(1..string.len().saturating_sub(1)).unwrap_or_default();
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    Cow::Owned(serde_json::from_str(string).unwrap_or_default())
}

/// Finds the value of an object's member.
pub(super) type Find = for<'a> fn(&'a str, &str) -> Option<&'a str>;

fn is_named(quoted: &str, name: &str) -> bool {
    match quoted.get(1..quoted.len().saturating_sub(1)) {
        Some(inner) if !inner.contains('\\') => inner == name,
        _ => unquoted(quoted) == name,
    }
}

/// The value of a member of jsonb, which has each name once.
pub(super) fn member<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    if Kind::of(document) != Kind::Object {
        return None;
    }
    members(document).find(|(quoted, _)| is_named(quoted, name)).map(|(_, value)| value)
}

/// The value of a member of json: the last of the name.
pub(super) fn last_member<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    if Kind::of(document) != Kind::Object {
        return None;
    }
    members(document).filter(|(quoted, _)| is_named(quoted, name)).last().map(|(_, value)| value)
}

/// The position of an array's element, counted from the end where `index` is negative; `None` where there is none.
pub(super) fn position(length: usize, index: i64) -> Option<usize> {
    let index = if index < 0 { index + length as i64 } else { index };
    usize::try_from(index).ok().filter(|index| *index < length)
}

/// An array's element.
pub(super) fn element(document: &str, index: i64) -> Option<&str> {
    if Kind::of(document) != Kind::Array {
        return None;
    }
    match usize::try_from(index) {
        Ok(index) => items(document).nth(index),
        Err(_) => items(document).nth(position(items(document).count(), index)?),
    }
}

/// The part that a path leads to.
pub(super) fn walk<'a>(document: &'a str, steps: &[Option<String>], find: Find) -> Option<&'a str> {
    steps.iter().try_fold(document, |part, step| {
        let step = step.as_deref()?;
        match Kind::of(part) {
            Kind::Object => find(part, step),
            Kind::Array => element(part, index_of_step(step)?),
            _ => None,
        }
    })
}

/// A step of a path as the index it is in an array.
pub(super) fn index_of_step(step: &str) -> Option<i64> {
    step.trim_start().parse::<i32>().ok().map(i64::from)
}

/// A part as text: strings without quotes, null as NULL.
pub(in crate::query::functions) fn as_text(part: &str) -> Option<Cow<'_, str>> {
    match Kind::of(part) {
        Kind::String => Some(unquoted(part)),
        Kind::Null => None,
        _ => Some(Cow::Borrowed(part)),
    }
}

/// Writes an array of elements that are canonical.
pub(super) fn push_array<T: AsRef<str>>(elements: impl Iterator<Item = T>, out: &mut String) {
    out.push('[');
    for (i, element) in elements.enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        out.push_str(element.as_ref());
    }
    out.push(']');
}

/// Writes an object of members that are canonical and in order; names are in quotes.
pub(super) fn push_object<'a>(members: impl Iterator<Item = (&'a str, &'a str)>, out: &mut String) {
    out.push('{');
    for (i, (name, value)) in members.enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        out.push_str(name);
        out.push_str(": ");
        out.push_str(value);
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_in_any_spacing() {
        let json = " { \"a\" : [1 , {\"b\":\"},\"} ] , \"a\":2, \"x\\u0079\" : null } ";
        assert_eq!(last_member(json, "a"), Some("2"));
        assert_eq!(member(json, "xy"), Some("null"));
        let array = "[1, \"a,]\", {\"k\": [2]}, null]";
        assert_eq!(items(array).collect::<Vec<_>>(), ["1", "\"a,]\"", "{\"k\": [2]}", "null"]);
        assert_eq!(element(array, -1), Some("null"));
        assert_eq!(element(array, -5), None);
        let steps = ["2", "k", "0"].map(|step| Some(step.to_owned()));
        assert_eq!(walk(array, &steps, member), Some("2"));
    }
}
