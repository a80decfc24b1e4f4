//! The functions of regular expressions: `~` and its kin, `regexp_...` and `substring(text from pattern)`.
//!
//! Positions count characters from one. What matches and how matches follow one another is [`super::regular`]'s.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::types::Int32Type;
use arrow_schema::DataType;
use datafusion::logical_expr::ScalarUDF;
use regex::Regex;

use super::native::Kind::{Int4, Text};
use super::native::{Call, form, native, text_array};
use super::regular::{Matches, Options, compiled};
use crate::error::{Error, Result, SqlState};

/// The function that `~` stands for.
pub(crate) const MATCHES: &str = "regexp_matches_text";
/// The function that `~*` stands for.
pub(crate) const MATCHES_ANY_CASE: &str = "regexp_matches_text_any_case";

/// The family.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    use DataType::{Boolean, Int32, Utf8};
    vec![
        native(MATCHES, vec![form(&[Text, Text], Boolean, matches)]),
        native(MATCHES_ANY_CASE, vec![form(&[Text, Text], Boolean, matches_any_case)]),
        native(
            "regexp_like",
            vec![form(&[Text, Text], Boolean, like), form(&[Text, Text, Text], Boolean, like)],
        ),
        native(
            "regexp_match",
            vec![
                form(&[Text, Text], text_array(), first_match),
                form(&[Text, Text, Text], text_array(), first_match),
            ],
        ),
        native(
            "regexp_split_to_array",
            vec![
                form(&[Text, Text], text_array(), split),
                form(&[Text, Text, Text], text_array(), split),
            ],
        ),
        native(
            "regexp_replace",
            vec![
                form(&[Text, Text, Text], Utf8, replace),
                form(&[Text, Text, Text, Text], Utf8, replace),
                form(&[Text, Text, Text, Int4], Utf8, replace_from),
                form(&[Text, Text, Text, Int4, Int4], Utf8, replace_from),
                form(&[Text, Text, Text, Int4, Int4, Text], Utf8, replace_from),
            ],
        ),
        native(
            "regexp_count",
            vec![
                form(&[Text, Text], Int32, count),
                form(&[Text, Text, Int4], Int32, count),
                form(&[Text, Text, Int4, Text], Int32, count),
            ],
        ),
        native(
            "regexp_instr",
            vec![
                form(&[Text, Text], Int32, position),
                form(&[Text, Text, Int4], Int32, position),
                form(&[Text, Text, Int4, Int4], Int32, position),
                form(&[Text, Text, Int4, Int4, Int4], Int32, position),
                form(&[Text, Text, Int4, Int4, Int4, Text], Int32, position),
                form(&[Text, Text, Int4, Int4, Int4, Text, Int4], Int32, position),
            ],
        ),
        native(
            "regexp_substr",
            vec![
                form(&[Text, Text], Utf8, part),
                form(&[Text, Text, Int4], Utf8, part),
                form(&[Text, Text, Int4, Int4], Utf8, part),
                form(&[Text, Text, Int4, Int4, Text], Utf8, part),
                form(&[Text, Text, Int4, Int4, Text, Int4], Utf8, part),
            ],
        ),
    ]
}

/// The options in an argument, which may be missing. 22023 for `g` where the function finds all or one by itself.
fn options(call: &Call, arg: usize, row: usize, function: &str) -> Result<Options> {
    if arg >= call.count() {
        return Ok(Options::PLAIN);
    }
    let options = Options::parse(call.text(arg, row))?;
    if options.all {
        let message = format!("{function}() does not support the \"global\" option");
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    Ok(options)
}

/// An integer argument of at least `least`, `default` where it is missing.
fn at_least(
    call: &Call,
    arg: usize,
    row: usize,
    (name, least, default): (&str, i32, i32),
) -> Result<usize> {
    let value = if arg < call.count() { call.int(arg, row) } else { default };
    if value < least {
        let message = format!("invalid value for parameter \"{name}\": {value}");
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    Ok(value as usize)
}

/// The byte at which the character of that number, counted from one, begins; behind the end there is none.
fn byte_of(text: &str, character: usize) -> Option<usize> {
    let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    starts.into_iter().nth(character - 1)
}

fn characters_before(text: &str, byte: usize) -> i32 {
    i32::try_from(text[..byte].chars().count()).unwrap_or(i32::MAX)
}

fn matches(call: &Call) -> Result<ArrayRef> {
    call.booleans(|row| {
        Ok(Some(compiled(call.text(1, row), Options::PLAIN)?.is_match(call.text(0, row))))
    })
}

fn matches_any_case(call: &Call) -> Result<ArrayRef> {
    let options = Options::PLAIN.ignoring_case();
    call.booleans(|row| Ok(Some(compiled(call.text(1, row), options)?.is_match(call.text(0, row)))))
}

fn like(call: &Call) -> Result<ArrayRef> {
    call.booleans(|row| {
        let options = options(call, 2, row, "regexp_like")?;
        Ok(Some(compiled(call.text(1, row), options)?.is_match(call.text(0, row))))
    })
}

fn first_match(call: &Call) -> Result<ArrayRef> {
    call.text_arrays(|row, items| {
        let options = options(call, 2, row, "regexp_match")?;
        let regex = compiled(call.text(1, row), options)?;
        let mut matches = Matches::new(&regex, call.text(0, row), 0);
        if matches.next().is_none() {
            return Ok(false);
        }
        // Without groups the whole match is the one item.
        let groups = if regex.captures_len() > 1 { 1..regex.captures_len() } else { 0..1 };
        groups.for_each(|group| items.append_option(matches.group(group)));
        Ok(true)
    })
}

fn split(call: &Call) -> Result<ArrayRef> {
    call.text_arrays(|row, items| {
        let options = options(call, 2, row, "regexp_split_to_array")?;
        let regex = compiled(call.text(1, row), options)?;
        let text = call.text(0, row);
        let mut matches = Matches::new(&regex, text, 0);
        let (mut from, mut last) = (0, 0);
        while let Some((start, end)) = matches.next() {
            // Empty matches at the ends and right behind another separate nothing.
            if start < text.len() && end > last {
                items.append_value(&text[from..start]);
                from = end;
            }
            last = end;
        }
        items.append_value(&text[from..]);
        Ok(true)
    })
}

/// How a match is replaced: text, and groups of the match.
enum Piece<'a> {
    Text(&'a str),
    Group(usize),
}

fn pieces(replacement: &str) -> Vec<Piece<'_>> {
    let mut pieces = vec![];
    let mut rest = replacement;
    while let Some(at) = rest.find('\\') {
        pieces.push(Piece::Text(&rest[..at]));
        let (piece, length) = match rest.as_bytes().get(at + 1) {
            Some(digit @ b'1'..=b'9') => (Piece::Group(usize::from(digit - b'0')), 2),
            Some(b'&') => (Piece::Group(0), 2),
            Some(b'\\') => (Piece::Text("\\"), 2),
            // A backslash before anything else is an ordinary character.
            _ => (Piece::Text("\\"), 1),
        };
        pieces.push(piece);
        rest = &rest[at + length..];
    }
    pieces.push(Piece::Text(rest));
    pieces
}

/// Replaces the match of number `which` from a byte on, all of them for zero.
fn replaced(
    regex: &Regex,
    text: &str,
    replacement: &str,
    from: usize,
    which: usize,
    out: &mut String,
) {
    let pieces = pieces(replacement);
    let mut matches = Matches::new(regex, text, from);
    let (mut copied, mut number) = (0, 0);
    while let Some((start, end)) = matches.next() {
        number += 1;
        if which != 0 && number < which {
            continue;
        }
        out.push_str(&text[copied..start]);
        for piece in &pieces {
            out.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Group(group) => matches.group(*group).unwrap_or_default(),
            });
        }
        copied = end;
        if which != 0 {
            break;
        }
    }
    out.push_str(&text[copied..]);
}

fn replace(call: &Call) -> Result<ArrayRef> {
    call.texts(|row, out| {
        let options = match call.count() {
            3 => Options::PLAIN,
            _ => Options::parse(call.text(3, row))?,
        };
        let regex = compiled(call.text(1, row), options)?;
        let which = if options.all { 0 } else { 1 };
        replaced(&regex, call.text(0, row), call.text(2, row), 0, which, out);
        Ok(true)
    })
}

fn replace_from(call: &Call) -> Result<ArrayRef> {
    call.texts(|row, out| {
        let start = at_least(call, 3, row, ("start", 1, 1))?;
        let which = at_least(call, 4, row, ("n", 0, 1))?;
        // A number of a match overrules `g`.
        let options = match call.count() {
            6 => Options::parse(call.text(5, row))?,
            _ => Options::PLAIN,
        };
        let regex = compiled(call.text(1, row), options)?;
        let text = call.text(0, row);
        match byte_of(text, start) {
            Some(from) => replaced(&regex, text, call.text(2, row), from, which, out),
            None => out.push_str(text),
        }
        Ok(true)
    })
}

fn count(call: &Call) -> Result<ArrayRef> {
    call.values::<Int32Type>(|row| {
        let start = at_least(call, 2, row, ("start", 1, 1))?;
        let regex = compiled(call.text(1, row), options(call, 3, row, "regexp_count")?)?;
        let text = call.text(0, row);
        let Some(from) = byte_of(text, start) else { return Ok(Some(0)) };
        let mut matches = Matches::new(&regex, text, from);
        Ok(Some(std::iter::from_fn(|| matches.next()).count() as i32))
    })
}

/// Bytes of a group of the match of that number.
fn found(
    regex: &Regex,
    text: &str,
    from: usize,
    number: usize,
    group: usize,
) -> Option<(usize, usize)> {
    let mut matches = Matches::new(regex, text, from);
    for _ in 0..number {
        matches.next()?;
    }
    matches.groups.get(group)
}

fn position(call: &Call) -> Result<ArrayRef> {
    call.values::<Int32Type>(|row| {
        let start = at_least(call, 2, row, ("start", 1, 1))?;
        let number = at_least(call, 3, row, ("n", 1, 1))?;
        let end = at_least(call, 4, row, ("endoption", 0, 0))?;
        if end > 1 {
            let message = format!("invalid value for parameter \"endoption\": {end}");
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        let options = options(call, 5, row, "regexp_instr")?;
        let group = at_least(call, 6, row, ("subexpr", 0, 0))?;
        let regex = compiled(call.text(1, row), options)?;
        let text = call.text(0, row);
        let found = byte_of(text, start).and_then(|from| found(&regex, text, from, number, group));
        Ok(Some(found.map_or(0, |(first, last)| {
            characters_before(text, if end == 1 { last } else { first }) + 1
        })))
    })
}

fn part(call: &Call) -> Result<ArrayRef> {
    call.texts(|row, out| {
        let start = at_least(call, 2, row, ("start", 1, 1))?;
        let number = at_least(call, 3, row, ("n", 1, 1))?;
        let options = options(call, 4, row, "regexp_substr")?;
        let group = at_least(call, 5, row, ("subexpr", 0, 0))?;
        let regex = compiled(call.text(1, row), options)?;
        let text = call.text(0, row);
        let found = byte_of(text, start).and_then(|from| found(&regex, text, from, number, group));
        if let Some((first, last)) = found {
            out.push_str(&text[first..last]);
        }
        Ok(found.is_some())
    })
}

/// `substring(text from pattern)`: the first group of the first match, the whole match where there are no groups.
pub(super) fn substring(call: &Call) -> Result<ArrayRef> {
    call.texts(|row, out| {
        let regex = compiled(call.text(1, row), Options::PLAIN)?;
        let mut matches = Matches::new(&regex, call.text(0, row), 0);
        if matches.next().is_none() {
            return Ok(false);
        }
        let group = matches.group(usize::from(regex.captures_len() > 1));
        out.push_str(group.unwrap_or_default());
        Ok(group.is_some())
    })
}
