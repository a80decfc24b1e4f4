//! Documents changed: `||`, `-`, `#-`, jsonb_set, jsonb_insert, jsonb_strip_nulls and jsonb_pretty.
//!
//! A changed document is written from slices of the old one: what is not touched is copied as text.

use std::borrow::Cow;

use arrow_array::{Array, ArrayRef};

use super::call::{Call, Function, Gives, Takes};
use super::document::{
    Kind, index_of_step, items, members, position, push_array, push_object, unquoted,
};
use crate::error::{Error, Result, SqlState};
use crate::types::push_json_string;

const fn edit(
    name: &'static str,
    takes: &'static [Takes],
    required: usize,
    gives: Gives,
    evaluate: fn(&Call) -> Result<ArrayRef>,
) -> Function {
    Function { name, takes, required, rest: None, gives, strict: true, evaluate }
}

use Takes::{Boolean, Integer, Json, Jsonb, Text, Texts};

pub(super) static CONCAT: Function = edit("jsonb_concat", &[Jsonb, Jsonb], 2, Gives::Jsonb, concat);
pub(super) static DELETE: Function =
    edit("jsonb_delete", &[Jsonb, Text], 2, Gives::Jsonb, delete_name);
pub(super) static DELETE_NAMES: Function =
    edit("jsonb_delete_names", &[Jsonb, Texts], 2, Gives::Jsonb, delete_names);
pub(super) static DELETE_ELEMENT: Function =
    edit("jsonb_delete_element", &[Jsonb, Integer], 2, Gives::Jsonb, delete_element);
pub(super) static DELETE_PATH: Function =
    edit("jsonb_delete_path", &[Jsonb, Texts], 2, Gives::Jsonb, delete_path);

/// The functions with names that users write.
pub(super) static FUNCTIONS: &[Function] = &[
    edit("jsonb_set", &[Jsonb, Texts, Jsonb, Boolean], 3, Gives::Jsonb, set),
    Function {
        strict: false,
        ..edit("jsonb_set_lax", &[Jsonb, Texts, Jsonb, Boolean, Text], 3, Gives::Jsonb, set_lax)
    },
    edit("jsonb_insert", &[Jsonb, Texts, Jsonb, Boolean], 3, Gives::Jsonb, insert),
    edit("jsonb_strip_nulls", &[Jsonb], 1, Gives::Jsonb, strip_nulls),
    edit("json_strip_nulls", &[Json], 1, Gives::Json, strip_nulls_compact),
    edit("jsonb_pretty", &[Jsonb], 1, Gives::Text, pretty),
];

fn refused(message: impl Into<String>) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

fn concat(call: &Call) -> Result<ArrayRef> {
    let (lefts, rights) = (call.jsonb(0)?, call.jsonb(1)?);
    call.write_texts(|row, out| {
        let (Some(left), Some(right)) = (lefts.get(row), rights.get(row)) else {
            return Ok(false);
        };
        if (Kind::of(left), Kind::of(right)) == (Kind::Object, Kind::Object) {
            merge(left, right, out);
        } else {
            let both = elements_or_self(left).into_iter().chain(elements_or_self(right));
            push_array(both, out);
        }
        Ok(true)
    })
}

fn elements_or_self(document: &str) -> Vec<&str> {
    match Kind::of(document) {
        Kind::Array => items(document).collect(),
        _ => vec![document],
    }
}

/// The members of both objects, the right one's where both have one. Both are in order: shorter names first.
fn merge(left: &str, right: &str, out: &mut String) {
    let mut all: Vec<_> =
        members(left).chain(members(right)).map(|(n, v)| (unquoted(n), n, v)).collect();
    all.sort_by(|(a, ..), (b, ..)| (a.len(), a.as_bytes()).cmp(&(b.len(), b.as_bytes())));
    let last = |i: usize| all.get(i + 1).is_none_or(|next| next.0 != all[i].0);
    let kept = (0..all.len()).filter(|i| last(*i)).map(|i| (all[i].1, all[i].2));
    push_object(kept, out);
}

fn delete_name(call: &Call) -> Result<ArrayRef> {
    let (documents, names) = (call.jsonb(0)?, call.texts(1)?);
    call.write_texts(|row, out| match (documents.get(row), names.get(row)) {
        (Some(document), Some(name)) => without(document, |n| n == name, out),
        _ => Ok(false),
    })
}

fn delete_names(call: &Call) -> Result<ArrayRef> {
    let (documents, names) = (call.jsonb(0)?, call.paths(1)?);
    call.write_texts(|row, out| match (documents.get(row), names.get(row)?) {
        (Some(document), Some(names)) => {
            without(document, |n| names.iter().flatten().any(|name| name == n), out)
        }
        _ => Ok(false),
    })
}

/// The document without the members, or the strings, that are named.
fn without(document: &str, named: impl Fn(&str) -> bool, out: &mut String) -> Result<bool> {
    match Kind::of(document) {
        Kind::Object => {
            push_object(members(document).filter(|(name, _)| !named(&unquoted(name))), out);
        }
        Kind::Array => {
            let goes = |item: &str| Kind::of(item) == Kind::String && named(&unquoted(item));
            push_array(items(document).filter(|item| !goes(item)), out);
        }
        _ => return Err(refused("cannot delete from scalar")),
    }
    Ok(true)
}

fn delete_element(call: &Call) -> Result<ArrayRef> {
    let (documents, indexes) = (call.jsonb(0)?, call.integers(1)?);
    call.write_texts(|row, out| {
        let Some(document) = documents.get(row) else { return Ok(false) };
        match Kind::of(document) {
            Kind::Array => {}
            Kind::Object => {
                return Err(refused("cannot delete from object using integer index"));
            }
            _ => return Err(refused("cannot delete from scalar")),
        }
        let gone = position(items(document).count(), indexes.value(row).into());
        let kept = items(document).enumerate().filter(|(i, _)| Some(*i) != gone);
        push_array(kept.map(|(_, item)| item), out);
        Ok(true)
    })
}

/// What is done at the end of a path.
#[derive(Clone, Copy)]
enum Change<'a> {
    Delete,
    /// Replaces what is there; where nothing is, `create` says whether it is added.
    Set {
        value: &'a str,
        create: bool,
    },
    Insert {
        value: &'a str,
        after: bool,
    },
}

impl<'a> Change<'a> {
    /// What is added where the path's end is not there.
    fn added(self) -> Option<&'a str> {
        match self {
            Change::Set { value, create: true } | Change::Insert { value, .. } => Some(value),
            Change::Delete | Change::Set { .. } => None,
        }
    }
}

/// A document being changed at a path.
struct Editor<'a> {
    steps: &'a [Option<String>],
    change: Change<'a>,
}

impl Editor<'_> {
    /// Writes `part`, which the first `level` steps lead to, with the change.
    fn write(&self, part: &str, level: usize, out: &mut String) -> Result<()> {
        let kind = Kind::of(part);
        if kind.is_scalar() {
            out.push_str(part);
            return Ok(());
        }
        let step = self.steps[level].as_deref().ok_or_else(|| {
            let message = format!("path element at position {} is null", level + 1);
            Error::new(SqlState("22004"), message)
        })?;
        let last = level + 1 == self.steps.len();
        match kind {
            Kind::Object => self.write_object(part, step, level, last, out),
            _ => self.write_array(part, step, level, last, out),
        }
    }

    fn write_object(
        &self,
        object: &str,
        step: &str,
        level: usize,
        last: bool,
        out: &mut String,
    ) -> Result<()> {
        let mut changed: Option<Option<String>> = None;
        for (_, value) in members(object).filter(|(name, _)| unquoted(name) == step) {
            changed = Some(match self.change {
                _ if !last => {
                    let mut inner = String::new();
                    self.write(value, level + 1, &mut inner)?;
                    Some(inner)
                }
                Change::Delete => None,
                Change::Set { value, .. } => Some(value.to_owned()),
                Change::Insert { .. } => {
                    return Err(refused("cannot replace existing key")
                        .with_hint("Try using the function jsonb_set to replace key value."));
                }
            });
        }
        let mut name = String::new();
        push_json_string(step, &mut name);
        let added = if changed.is_none() && last { self.change.added() } else { None };
        match (&changed, added) {
            (None, Some(value)) => {
                merge(object, &format!("{{{name}: {value}}}"), out);
            }
            (Some(value), _) => {
                let kept = members(object).filter_map(|(n, v)| match unquoted(n) == step {
                    true => value.as_deref().map(|value| (n, value)),
                    false => Some((n, v)),
                });
                push_object(kept, out);
            }
            (None, None) => out.push_str(object),
        }
        Ok(())
    }

    fn write_array(
        &self,
        array: &str,
        step: &str,
        level: usize,
        last: bool,
        out: &mut String,
    ) -> Result<()> {
        let index = index_of_step(step).ok_or_else(|| {
            let at = level + 1;
            let message = format!("path element at position {at} is not an integer: \"{step}\"");
            Error::new(SqlState::INVALID_TEXT_REPRESENTATION, message)
        })?;
        let mut elements: Vec<Cow<str>> = items(array).map(Cow::Borrowed).collect();
        match position(elements.len(), index) {
            Some(at) if !last => {
                let mut inner = String::new();
                self.write(&elements[at], level + 1, &mut inner)?;
                elements[at] = Cow::Owned(inner);
            }
            Some(at) => match self.change {
                Change::Delete => {
                    elements.remove(at);
                }
                Change::Set { value, .. } => elements[at] = Cow::Borrowed(value),
                Change::Insert { value, after } => {
                    elements.insert(at + usize::from(after), Cow::Borrowed(value));
                }
            },
            // Beyond either end it is added there.
            None => {
                if let Some(value) = self.change.added().filter(|_| last) {
                    let at = if index < 0 { 0 } else { elements.len() };
                    elements.insert(at, Cow::Borrowed(value));
                }
            }
        }
        push_array(elements.iter(), out);
        Ok(())
    }
}

/// The document changed at the end of the path.
fn change(
    document: &str,
    steps: &[Option<String>],
    change: Change,
    out: &mut String,
) -> Result<bool> {
    if Kind::of(document).is_scalar() {
        let verb = if matches!(change, Change::Delete) { "delete" } else { "set" };
        return Err(refused(format!("cannot {verb} path in scalar")));
    }
    let unchanged = change.added().is_none() && items(document).next().is_none();
    match steps.is_empty() || unchanged {
        true => out.push_str(document),
        false => Editor { steps, change }.write(document, 0, out)?,
    }
    Ok(true)
}

fn delete_path(call: &Call) -> Result<ArrayRef> {
    let (documents, paths) = (call.jsonb(0)?, call.paths(1)?);
    call.write_texts(|row, out| match (documents.get(row), paths.get(row)?) {
        (Some(document), Some(steps)) => change(document, &steps, Change::Delete, out),
        _ => Ok(false),
    })
}

fn set(call: &Call) -> Result<ArrayRef> {
    let (documents, paths, values) = (call.jsonb(0)?, call.paths(1)?, call.jsonb(2)?);
    let create = (call.arguments() > 3).then(|| call.booleans(3)).transpose()?;
    call.write_texts(|row, out| {
        let parts = (documents.get(row), paths.get(row)?, values.get(row));
        let (Some(document), Some(steps), Some(value)) = parts else { return Ok(false) };
        let create = create.as_ref().is_none_or(|create| create.value(row));
        change(document, &steps, Change::Set { value, create }, out)
    })
}

fn set_lax(call: &Call) -> Result<ArrayRef> {
    let (documents, paths, values) = (call.jsonb(0)?, call.paths(1)?, call.jsonb(2)?);
    let create = (call.arguments() > 3).then(|| call.booleans(3)).transpose()?;
    let treatment = (call.arguments() > 4).then(|| call.texts(4)).transpose()?;
    call.write_texts(|row, out| {
        let create = create.as_ref().map_or(Some(true), |c| c.is_valid(row).then(|| c.value(row)));
        let parts = (documents.get(row), paths.get(row)?, create);
        let (Some(document), Some(steps), Some(create)) = parts else { return Ok(false) };
        if let Some(value) = values.get(row) {
            return change(document, &steps, Change::Set { value, create }, out);
        }
        let treatment = treatment.as_ref().map_or(Some("use_json_null"), |t| t.get(row));
        match treatment {
            Some("use_json_null") => {
                change(document, &steps, Change::Set { value: "null", create }, out)
            }
            Some("delete_key") => change(document, &steps, Change::Delete, out),
            Some("return_target") => {
                out.push_str(document);
                Ok(true)
            }
            Some("raise_exception") => Err(Error::new(
                SqlState("22004"),
                "JSON value must not be null",
            )
            .with_detail("Exception was raised because null_value_treatment is \"raise_exception\".")),
            _ => Err(refused(
                "null_value_treatment must be \"delete_key\", \"return_target\", \"use_json_null\", or \"raise_exception\"",
            )),
        }
    })
}

fn insert(call: &Call) -> Result<ArrayRef> {
    let (documents, paths, values) = (call.jsonb(0)?, call.paths(1)?, call.jsonb(2)?);
    let after = (call.arguments() > 3).then(|| call.booleans(3)).transpose()?;
    call.write_texts(|row, out| {
        let parts = (documents.get(row), paths.get(row)?, values.get(row));
        let (Some(document), Some(steps), Some(value)) = parts else { return Ok(false) };
        let after = after.as_ref().is_some_and(|after| after.value(row));
        change(document, &steps, Change::Insert { value, after }, out)
    })
}

fn strip_nulls(call: &Call) -> Result<ArrayRef> {
    let documents = call.jsonb(0)?;
    call.write_texts(|row, out| {
        let Some(document) = documents.get(row) else { return Ok(false) };
        strip(document, [", ", ": "], out);
        Ok(true)
    })
}

fn strip_nulls_compact(call: &Call) -> Result<ArrayRef> {
    let documents = call.json(0)?;
    call.write_texts(|row, out| {
        let Some(document) = documents.get(row) else { return Ok(false) };
        strip(document, [",", ":"], out);
        Ok(true)
    })
}

/// Writes the document without members that are null; null elements stay.
fn strip(document: &str, [comma, colon]: [&str; 2], out: &mut String) {
    match Kind::of(document) {
        Kind::Object => {
            out.push('{');
            let kept = members(document).filter(|(_, value)| Kind::of(value) != Kind::Null);
            for (i, (name, value)) in kept.enumerate() {
                out.push_str(if i > 0 { comma } else { "" });
                out.push_str(name);
                out.push_str(colon);
                strip(value, [comma, colon], out);
            }
            out.push('}');
        }
        Kind::Array => {
            out.push('[');
            for (i, item) in items(document).enumerate() {
                out.push_str(if i > 0 { comma } else { "" });
                strip(item, [comma, colon], out);
            }
            out.push(']');
        }
        _ => out.push_str(document.trim()),
    }
}

/// Blanks by which a level of nesting is indented.
const INDENT: usize = 4;

fn pretty(call: &Call) -> Result<ArrayRef> {
    let documents = call.jsonb(0)?;
    call.write_texts(|row, out| {
        let Some(document) = documents.get(row) else { return Ok(false) };
        lay_out(document, 0, out);
        Ok(true)
    })
}

fn lay_out(document: &str, depth: usize, out: &mut String) {
    let kind = Kind::of(document);
    if kind.is_scalar() {
        return out.push_str(document);
    }
    let line = |depth: usize, out: &mut String| {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', depth * INDENT));
    };
    out.push(if kind == Kind::Object { '{' } else { '[' });
    let mut first = true;
    let mut parts = items(document);
    while let Some(part) = parts.next() {
        out.push_str(if first { "" } else { "," });
        first = false;
        line(depth + 1, out);
        match kind {
            Kind::Object => {
                out.push_str(part);
                out.push_str(": ");
                lay_out(parts.next().unwrap_or_default(), depth + 1, out);
            }
            _ => lay_out(part, depth + 1, out),
        }
    }
    line(depth, out);
    out.push(if kind == Kind::Object { '}' } else { ']' });
}
