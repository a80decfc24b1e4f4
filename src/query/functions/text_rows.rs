//! Text cut into rows: `string_to_table`, `regexp_split_to_table` and `regexp_matches`.
//!
//! Patterns are read by the regex crate: alternatives are tried from left to right, where PostgreSQL takes the longest, and
//! there are no back references. PostgreSQL's escapes for word boundaries and ends are translated.

use std::sync::Arc;

use arrow_array::builder::{ArrayBuilder, ListBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, StringArray};
use arrow_schema::{DataType, Field, FieldRef};
use regex::{Regex, RegexBuilder};

use super::row_sets::Sets;
use crate::error::{Error, Result, SqlState};
use crate::query::sql_types::plain;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum TextRows {
    Split,
    SplitByPattern,
    Matches,
}

impl TextRows {
    pub fn name(self) -> &'static str {
        match self {
            TextRows::Split => "string_to_table",
            TextRows::SplitByPattern => "regexp_split_to_table",
            TextRows::Matches => "regexp_matches",
        }
    }

    pub fn coerce(self, types: &[DataType]) -> Option<Vec<DataType>> {
        use DataType as T;
        let text = |t: &T| matches!(t, T::Utf8 | T::Utf8View | T::LargeUtf8 | T::Null);
        let fits = (2..=3).contains(&types.len()) && types.iter().all(text);
        fits.then(|| vec![T::Utf8; types.len()])
    }

    pub fn columns(self) -> Vec<FieldRef> {
        match self {
            TextRows::Split | TextRows::SplitByPattern => vec![plain(DataType::Utf8)],
            TextRows::Matches => vec![plain(DataType::List(item()))],
        }
    }

    pub fn sets(self, args: &[ArrayRef]) -> Result<Sets> {
        let text = |at: usize| args.get(at).map(|array| array.as_string::<i32>());
        let (Some(texts), Some(by)) = (text(0), text(1)) else {
            return Err(Error::internal("text is split by something"));
        };
        match self {
            TextRows::Split => split(texts, by, text(2)),
            TextRows::SplitByPattern => split_by_pattern(texts, by, text(2)),
            TextRows::Matches => matches(texts, by, text(2)),
        }
    }
}

fn item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Utf8, true))
}

fn at(array: &StringArray, row: usize) -> Option<&str> {
    array.is_valid(row).then(|| array.value(row))
}

/// A NULL delimiter cuts between all characters, an empty one nowhere; empty text has no parts.
fn split(texts: &StringArray, by: &StringArray, null: Option<&StringArray>) -> Result<Sets> {
    let mut parts = StringBuilder::new();
    let mut lengths = Vec::with_capacity(texts.len());
    for row in 0..texts.len() {
        let before = parts.len();
        let null = null.and_then(|null| at(null, row));
        let mut put = |part: &str| parts.append_option((Some(part) != null).then_some(part));
        match (at(texts, row), at(by, row)) {
            (None | Some(""), _) => {}
            (Some(text), None) => {
                let mut buffer = [0; 4];
                text.chars().for_each(|c| put(c.encode_utf8(&mut buffer)));
            }
            (Some(text), Some("")) => put(text),
            (Some(text), Some(by)) => text.split(by).for_each(put),
        }
        lengths.push(parts.len() - before);
    }
    Sets::of_lengths(lengths, vec![Arc::new(parts.finish())])
}

fn split_by_pattern(
    texts: &StringArray,
    patterns: &StringArray,
    flags: Option<&StringArray>,
) -> Result<Sets> {
    let mut memo = Memo::default();
    let mut parts = StringBuilder::new();
    let mut lengths = Vec::with_capacity(texts.len());
    for row in 0..texts.len() {
        let before = parts.len();
        if let Some((text, pattern, flags)) = call(texts, patterns, flags, row) {
            let pattern = memo.get(pattern, flags)?;
            if pattern.global {
                let message = "regexp_split_to_table() does not support the \"global\" option";
                return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
            }
            let mut from = 0;
            for found in pattern.regex.find_iter(text) {
                // Nothing is cut off by an empty match at either end or right behind another match.
                if found.is_empty() && (found.start() == from || found.end() == text.len()) {
                    continue;
                }
                parts.append_value(&text[from..found.start()]);
                from = found.end();
            }
            parts.append_value(&text[from..]);
        }
        lengths.push(parts.len() - before);
    }
    Sets::of_lengths(lengths, vec![Arc::new(parts.finish())])
}

fn matches(
    texts: &StringArray,
    patterns: &StringArray,
    flags: Option<&StringArray>,
) -> Result<Sets> {
    let mut memo = Memo::default();
    let mut found = ListBuilder::new(StringBuilder::new()).with_field(item());
    let mut lengths = Vec::with_capacity(texts.len());
    for row in 0..texts.len() {
        let before = found.len();
        if let Some((text, pattern, flags)) = call(texts, patterns, flags, row) {
            let pattern = memo.get(pattern, flags)?;
            let most = if pattern.global { usize::MAX } else { 1 };
            for captures in pattern.regex.captures_iter(text).take(most) {
                // Without groups in parentheses it is the whole match.
                let first = usize::from(captures.len() > 1);
                for group in captures.iter().skip(first) {
                    found.values().append_option(group.map(|group| group.as_str()));
                }
                found.append(true);
            }
        }
        lengths.push(found.len() - before);
    }
    Sets::of_lengths(lengths, vec![Arc::new(found.finish())])
}

/// The arguments of a call; `None` where one is NULL.
fn call<'a>(
    texts: &'a StringArray,
    patterns: &'a StringArray,
    flags: Option<&'a StringArray>,
    row: usize,
) -> Option<(&'a str, &'a str, &'a str)> {
    let flags = match flags {
        Some(flags) => at(flags, row)?,
        None => "",
    };
    Some((at(texts, row)?, at(patterns, row)?, flags))
}

struct Pattern {
    regex: Regex,
    global: bool,
}

/// Keeps what a pattern was compiled to while the next one is the same.
#[derive(Default)]
struct Memo {
    known: Option<(String, String, Pattern)>,
}

impl Memo {
    fn get(&mut self, pattern: &str, flags: &str) -> Result<&Pattern> {
        let same = |(p, f, _): &(String, String, Pattern)| p == pattern && f == flags;
        if !self.known.as_ref().is_some_and(same) {
            let compiled = compile(pattern, flags)?;
            self.known = Some((pattern.to_owned(), flags.to_owned(), compiled));
        }
        let (_, _, compiled) = self.known.as_ref().expect("it was set above");
        Ok(compiled)
    }
}

fn compile(pattern: &str, flags: &str) -> Result<Pattern> {
    let (mut global, mut quoted) = (false, false);
    let (mut any_case, mut by_line, mut spaced) = (false, (false, false), false);
    for flag in flags.chars() {
        match flag {
            'g' => global = true,
            'i' => any_case = true,
            'c' => any_case = false,
            'n' | 'm' => by_line = (true, true),
            'p' => by_line = (true, false),
            'w' => by_line = (false, true),
            's' => by_line = (false, false),
            'x' => spaced = true,
            't' => spaced = false,
            'q' => quoted = true,
            'e' => {}
            other => {
                let message = format!("invalid regular expression option: \"{other}\"");
                return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
            }
        }
    }
    let expression = if quoted { regex::escape(pattern) } else { translated(pattern) };
    let regex = RegexBuilder::new(&expression)
        .case_insensitive(any_case)
        .dot_matches_new_line(!by_line.0)
        .multi_line(by_line.1)
        .ignore_whitespace(spaced)
        .build();
    let regex = regex.map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().to_owned();
        let message =
            format!("invalid regular expression: {}", reason.trim_start_matches("error: "));
        Error::new(SqlState("2201B"), message)
    })?;
    Ok(Pattern { regex, global })
}

/// PostgreSQL's escapes that are spelled otherwise here.
fn translated(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        out.push(c);
        if c != '\\' {
            continue;
        }
        match chars.next() {
            Some('y') => out.push('b'),
            Some('Y') => out.push('B'),
            Some('m') => out.push_str("b{start}"),
            Some('M') => out.push_str("b{end}"),
            Some('Z') => out.push('z'),
            other => out.extend(other),
        }
    }
    out
}
