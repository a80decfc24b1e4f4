//! PostgreSQL's regular expressions over those of the regex crate: their spelling, their options and how matches follow.
//!
//! An advanced regular expression is translated (`\m`, `\M`, `\y`, brackets), so that what both have means the same; back
//! references and lookaround, which a linear-time matcher cannot have, are 0A000. Of several alternatives that match at one
//! place the first one written is taken, where PostgreSQL takes the longest. Compiled expressions are kept by thread, so that
//! small batches of a view do not compile theirs again and again.

use std::cell::RefCell;
use std::collections::HashMap;

use regex::{CaptureLocations, Regex, RegexBuilder};

use crate::error::{Error, Result, SqlState};

/// Compiled expressions that a thread keeps; a query has a few.
const KEPT_MAX: usize = 64;
/// Bytes that a compiled expression may take.
const COMPILED_BYTES_MAX: usize = 10 << 20;

/// How an expression matches, as its flags say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Options {
    ignore_case: bool,
    /// Whether `.` stops at the end of a line.
    lines: bool,
    /// Whether `^` and `$` match at every line.
    anchors: bool,
    extended: bool,
    literal: bool,
    pub all: bool,
}

impl Options {
    pub(super) const PLAIN: Options = Options {
        ignore_case: false,
        lines: false,
        anchors: false,
        extended: false,
        literal: false,
        all: false,
    };

    /// Reads flags such as `gi`; 22023 for others than PostgreSQL's.
    pub(super) fn parse(flags: &str) -> Result<Options> {
        let mut options = Options::PLAIN;
        for flag in flags.chars() {
            match flag {
                'g' => options.all = true,
                'i' => options.ignore_case = true,
                'c' => options.ignore_case = false,
                'n' | 'm' => (options.lines, options.anchors) = (true, true),
                's' => (options.lines, options.anchors) = (false, false),
                'p' => (options.lines, options.anchors) = (true, false),
                'w' => (options.lines, options.anchors) = (false, true),
                'x' => options.extended = true,
                't' => options.extended = false,
                'q' => options.literal = true,
                'b' | 'e' => {
                    return Err(Error::unsupported(format!(
                        "regular expressions of the kind \"{flag}\" are not supported"
                    )));
                }
                other => {
                    let message = format!("invalid regular expression option: \"{other}\"");
                    return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
                }
            }
        }
        Ok(options)
    }

    pub(super) fn ignoring_case(self) -> Options {
        Options { ignore_case: true, ..self }
    }
}

thread_local! {
    static KEPT: RefCell<HashMap<(String, Options), Regex>> = RefCell::default();
}

/// The compiled expression; 2201B where it is none.
pub(super) fn compiled(pattern: &str, options: Options) -> Result<Regex> {
    KEPT.with_borrow_mut(|kept| {
        let key = (pattern.to_owned(), options);
        if let Some(regex) = kept.get(&key) {
            return Ok(regex.clone());
        }
        let regex = compile(pattern, options)?;
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(key, regex.clone());
        Ok(regex)
    })
}

fn compile(pattern: &str, options: Options) -> Result<Regex> {
    let translated = match options.literal {
        true => regex::escape(pattern),
        false => translate(pattern)?,
    };
    let built = RegexBuilder::new(&translated)
        .case_insensitive(options.ignore_case)
        .dot_matches_new_line(!options.lines)
        .multi_line(options.anchors)
        .ignore_whitespace(options.extended && !options.literal)
        .size_limit(COMPILED_BYTES_MAX)
        .build();
    built.map_err(|error| {
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default();
        let reason = reason.strip_prefix("error: ").unwrap_or(reason);
        Error::new(SqlState("2201B"), format!("invalid regular expression: {reason}"))
    })
}

fn unserved(what: &str) -> Error {
    Error::unsupported(format!("{what} in regular expressions are not supported"))
}

/// An advanced regular expression in the regex crate's spelling.
fn translate(pattern: &str) -> Result<String> {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern.strip_prefix("***:").unwrap_or(pattern);
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => rest = escape(rest, &mut out)?,
            '[' => match ["[:<:]]", "[:>:]]"].iter().position(|word| rest.starts_with(word)) {
                Some(which) => {
                    rest = &rest["[:<:]]".len()..];
                    out.push_str(["\\b{start}", "\\b{end}"][which]);
                }
                None => rest = bracket(rest, &mut out),
            },
            '(' if ["?=", "?!", "?<=", "?<!"].iter().any(|look| rest.starts_with(look)) => {
                return Err(unserved("lookahead and lookbehind"));
            }
            // What does not count repetitions stands for itself.
            '{' if !rest.starts_with(|c: char| c.is_ascii_digit()) => out.push_str("\\{"),
            c => out.push(c),
        }
    }
    Ok(out)
}

/// What follows a backslash outside of brackets; gives the rest of the pattern.
fn escape<'a>(rest: &'a str, out: &mut String) -> Result<&'a str> {
    let Some(c) = rest.chars().next() else {
        let message = "invalid regular expression: invalid escape \\ sequence";
        return Err(Error::new(SqlState("2201B"), message));
    };
    match c {
        'm' => out.push_str("\\b{start}"),
        'M' => out.push_str("\\b{end}"),
        'y' => out.push_str("\\b"),
        'Y' => out.push_str("\\B"),
        'Z' => out.push_str("\\z"),
        'e' => out.push_str("\\x1B"),
        'B' => out.push_str("\\\\"),
        '1'..='9' => return Err(unserved("back references")),
        c if c.is_ascii_alphanumeric() => {
            out.push('\\');
            out.push(c);
        }
        c => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
    }
    Ok(&rest[c.len_utf8()..])
}

/// A bracket expression after its bracket; gives the rest of the pattern. The regex crate has operators on sets that PostgreSQL
/// does not have, so that their characters are escaped.
fn bracket<'a>(rest: &'a str, out: &mut String) -> &'a str {
    out.push('[');
    let mut rest = rest;
    if let Some(negated) = rest.strip_prefix('^') {
        out.push('^');
        rest = negated;
    }
    if let Some(first) = rest.strip_prefix(']') {
        out.push_str("\\]");
        rest = first;
    }
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            ']' => {
                out.push(']');
                return rest;
            }
            '[' if rest.starts_with(':') => match rest.find(":]") {
                Some(end) => {
                    out.push('[');
                    out.push_str(&rest[..end + 2]);
                    rest = &rest[end + 2..];
                }
                None => out.push_str("\\["),
            },
            '\\' => {
                out.push('\\');
                if let Some(escaped) = rest.chars().next() {
                    out.push(escaped);
                    rest = &rest[escaped.len_utf8()..];
                }
            }
            '[' | '&' | '~' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    rest
}

/// The matches of an expression in a text, one after the other as PostgreSQL finds them.
pub(super) struct Matches<'a> {
    regex: &'a Regex,
    text: &'a str,
    /// Where the next search starts; `None` behind the end.
    from: Option<usize>,
    pub groups: CaptureLocations,
}

impl<'a> Matches<'a> {
    /// Searches from a byte of the text on.
    pub(super) fn new(regex: &'a Regex, text: &'a str, from: usize) -> Matches<'a> {
        Matches { regex, text, from: Some(from), groups: regex.capture_locations() }
    }

    /// Bytes of the next match, whose groups are then in `groups`.
    pub(super) fn next(&mut self) -> Option<(usize, usize)> {
        let from = self.from.filter(|from| *from <= self.text.len())?;
        let found = self.regex.captures_read_at(&mut self.groups, self.text, from)?;
        self.from = match found.is_empty() {
            // An empty match is followed by a character.
            true => self.text[found.end()..].chars().next().map(|c| found.end() + c.len_utf8()),
            false => Some(found.end()),
        };
        Some((found.start(), found.end()))
    }

    /// The text of a group of the last match; `None` where it took no part.
    pub(super) fn group(&self, group: usize) -> Option<&'a str> {
        self.groups.get(group).map(|(start, end)| &self.text[start..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pattern: &str, text: &str) -> Vec<(usize, usize)> {
        let regex = compiled(pattern, Options::PLAIN).unwrap();
        let mut matches = Matches::new(&regex, text, 0);
        std::iter::from_fn(|| matches.next()).collect()
    }

    #[test]
    fn words_brackets_and_braces_are_translated() {
        assert_eq!(all(r"\mb\M", "ab b bc"), [(3, 4)]);
        assert_eq!(all("[[:<:]]b", "ab b"), [(3, 4)]);
        assert_eq!(all("[a&&b]", "&"), [(0, 1)]);
        assert_eq!(all("[]x]", "]"), [(0, 1)]);
        assert_eq!(all("a{", "a{"), [(0, 2)]);
        assert_eq!(all("a.b", "a\nb"), [(0, 3)]);
    }

    #[test]
    fn empty_matches_go_on_a_character_further() {
        assert_eq!(all("a*", "baa"), [(0, 0), (1, 3), (3, 3)]);
        assert_eq!(all("", "ä"), [(0, 0), (2, 2)]);
    }

    #[test]
    fn what_a_linear_matcher_cannot_have_is_refused() {
        for pattern in [r"(a)\1", "(?=a)", "(?<!a)"] {
            assert_eq!(compiled(pattern, Options::PLAIN).unwrap_err().code.0, "0A000");
        }
        assert_eq!(compiled("[", Options::PLAIN).unwrap_err().code.0, "2201B");
    }
}
