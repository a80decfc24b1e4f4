//! Functions of text: case, parts, concatenation, `format` and encodings of characters.
//!
//! Positions and lengths count characters. Values of other types are written as clients see them, in the session's time zone.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::types::Int32Type;
use arrow_schema::DataType;
use bytes::BytesMut;
use datafusion::logical_expr::ScalarUDF;
use unicode_normalization::{UnicodeNormalization, is_nfc, is_nfd, is_nfkc, is_nfkd};

use super::native::Kind::{Any, Bytea, Int4, Int8, Text};
use super::native::{Call, form, infallible, native, text_array};
use super::regexp;
use super::similar;
use crate::error::{Error, Result, SqlState};
use crate::query::text::style;
use crate::sql::quote_identifier;
use crate::types::ColumnWriter;

/// The pattern of `LIKE pattern ESCAPE character` with a backslash for its escape.
pub(crate) const LIKE_ESCAPE: &str = "like_escape";

/// The family.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    use DataType::{Boolean, Int32, Utf8};
    let sub = |name| {
        native(
            name,
            vec![
                form(&[Text, Int4], Utf8, substr),
                form(&[Text, Int4, Int4], Utf8, substr),
                form(&[Bytea, Int4], DataType::Binary, super::bytes::substr),
                form(&[Bytea, Int4, Int4], DataType::Binary, super::bytes::substr),
                form(&[Text, Text], Utf8, regexp::substring),
                form(&[Text, Text, Text], Utf8, similar::substring),
            ],
        )
    };
    vec![
        infallible("upper", vec![form(&[Text], Utf8, upper)]),
        infallible("lower", vec![form(&[Text], Utf8, lower)]),
        sub("substr"),
        sub("substring"),
        infallible("concat", vec![form(&[], Utf8, concat).with_rest(Any).seeing_nulls()]),
        infallible("concat_ws", vec![form(&[Text], Utf8, concat_ws).with_rest(Any).seeing_nulls()]),
        native("format", vec![form(&[Text], Utf8, format_text).with_rest(Any).seeing_nulls()]),
        native("chr", vec![form(&[Int4], Utf8, chr)]),
        native(LIKE_ESCAPE, vec![form(&[Text, Text], Utf8, like_escape)]),
        native(
            "to_ascii",
            vec![form(&[Text], Utf8, to_ascii), form(&[Text, Text], Utf8, to_ascii)],
        ),
        native("unistr", vec![form(&[Text], Utf8, unistr)]),
        native(
            "normalize",
            vec![form(&[Text], Utf8, normalize), form(&[Text, Text], Utf8, normalize)],
        ),
        native(
            "is_normalized",
            vec![
                form(&[Text], Boolean, is_normalized),
                form(&[Text, Text], Boolean, is_normalized),
            ],
        ),
        native("parse_ident", vec![form(&[Text], text_array(), parse_ident)]),
        infallible(
            "to_hex",
            vec![form(&[Int4], Utf8, hex_of_int), form(&[Int8], Utf8, hex_of_long)],
        ),
        infallible("num_nulls", vec![form(&[], Int32, nulls).with_rest(Any).seeing_nulls()]),
        infallible("num_nonnulls", vec![form(&[], Int32, values).with_rest(Any).seeing_nulls()]),
    ]
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// Letter by letter, as PostgreSQL does it: a letter whose other case is two letters stays.
fn upper(call: &Call) -> Result<ArrayRef> {
    call.texts(|row, out| {
        let text = call.text(0, row);
        if text.is_ascii() {
            out.push_str(text);
            out.make_ascii_uppercase();
            return Ok(true);
        }
        out.extend(text.chars().map(|c| {
            let mut upper = c.to_uppercase();
            if upper.len() == 1 { upper.next().unwrap_or(c) } else { c }
        }));
        Ok(true)
    })
}

fn lower(call: &Call) -> Result<ArrayRef> {
    call.texts(|row, out| {
        let text = call.text(0, row);
        if text.is_ascii() {
            out.push_str(text);
            out.make_ascii_lowercase();
            return Ok(true);
        }
        out.extend(text.chars().map(|c| {
            let mut lower = c.to_lowercase();
            if lower.len() == 1 { lower.next().unwrap_or(c) } else { c }
        }));
        Ok(true)
    })
}

/// Where a substring begins and ends among so many characters or bytes: both count from zero. 22011 for negative lengths.
pub(super) fn span(start: i32, length: Option<i32>) -> Result<(usize, usize)> {
    let first = i64::from(start) - 1;
    let end = match length {
        Some(length) if length < 0 => {
            let message = "negative substring length not allowed";
            return Err(Error::new(SqlState("22011"), message));
        }
        Some(length) => first + i64::from(length),
        None => i64::MAX,
    };
    Ok((first.max(0) as usize, end.max(0) as usize))
}

fn substr(call: &Call) -> Result<ArrayRef> {
    call.texts(|row, out| {
        let length = (call.count() == 3).then(|| call.int(2, row));
        let (start, end) = span(call.int(1, row), length)?;
        let text = call.text(0, row);
        if text.is_ascii() {
            let end = end.min(text.len());
            out.push_str(text.get(start.min(end)..end).unwrap_or_default());
        } else {
            out.extend(text.chars().skip(start).take(end.saturating_sub(start)));
        }
        Ok(true)
    })
}

/// The arguments from one on, written as text.
struct Written {
    writers: Vec<ColumnWriter>,
    style: crate::types::TextStyle,
    buffer: BytesMut,
    first: usize,
}

impl Written {
    fn new(call: &Call, first: usize) -> Result<Written> {
        let writers = (first..call.count())
            .map(|arg| ColumnWriter::try_new(call.array(arg), call.field(arg)))
            .collect::<Result<_>>()?;
        Ok(Written { writers, style: style(call.zone), buffer: BytesMut::new(), first })
    }

    /// The text of an argument; `None` for NULL.
    fn get(&mut self, call: &Call, arg: usize, row: usize) -> Option<&str> {
        if call.is_null(arg, row) {
            return None;
        }
        self.buffer.clear();
        let writer = &self.writers[arg - self.first];
        writer.write_text(call.at(arg, row), &self.style, &mut self.buffer);
        Some(std::str::from_utf8(&self.buffer).expect("values are written as UTF-8"))
    }
}

fn concat(call: &Call) -> Result<ArrayRef> {
    let mut args = Written::new(call, 0)?;
    call.texts(|row, out| {
        for arg in 0..call.count() {
            out.push_str(args.get(call, arg, row).unwrap_or_default());
        }
        Ok(true)
    })
}

fn concat_ws(call: &Call) -> Result<ArrayRef> {
    let mut args = Written::new(call, 1)?;
    call.texts(|row, out| {
        if call.is_null(0, row) {
            return Ok(false);
        }
        let mut first = true;
        for arg in 1..call.count() {
            if let Some(text) = args.get(call, arg, row) {
                if !first {
                    out.push_str(call.text(0, row));
                }
                out.push_str(text);
                first = false;
            }
        }
        Ok(true)
    })
}

fn format_text(call: &Call) -> Result<ArrayRef> {
    let mut args = Written::new(call, 1)?;
    let mut piece = String::new();
    call.texts(|row, out| {
        if call.is_null(0, row) {
            return Ok(false);
        }
        let mut next = 1;
        let mut rest = call.text(0, row);
        while let Some(at) = rest.find('%') {
            out.push_str(&rest[..at]);
            let (specifier, behind) = Specifier::parse(&rest[at + 1..])?;
            rest = behind;
            let Some(specifier) = specifier else {
                out.push('%');
                continue;
            };
            let width = match specifier.width {
                Width::Of(width) => width,
                Width::Argument(number) => {
                    let arg = argument(call, number, &mut next)?;
                    args.get(call, arg, row).map_or(Ok(0), |text| {
                        let message = || crate::query::errors::invalid_text("integer", text);
                        text.trim().parse::<i32>().map_err(|_| message())
                    })?
                }
            };
            let arg = argument(call, specifier.argument, &mut next)?;
            piece.clear();
            specifier.convert(args.get(call, arg, row), &mut piece)?;
            pad(&piece, width, specifier.left, out);
        }
        out.push_str(rest);
        Ok(true)
    })
}

/// The argument of a number counted from one, or the one after the last one used.
fn argument(call: &Call, number: Option<usize>, next: &mut usize) -> Result<usize> {
    let arg = number.unwrap_or(*next);
    if arg >= call.count() {
        return Err(invalid("too few arguments for format()"));
    }
    *next = arg + 1;
    Ok(arg)
}

fn pad(piece: &str, width: i32, left: bool, out: &mut String) {
    let missing = (width.unsigned_abs() as usize).saturating_sub(piece.chars().count());
    let blanks = std::iter::repeat_n(' ', missing);
    if left || width < 0 {
        out.push_str(piece);
        out.extend(blanks);
    } else {
        out.extend(blanks);
        out.push_str(piece);
    }
}

enum Width {
    Of(i32),
    /// An argument's value, of a number or the next.
    Argument(Option<usize>),
}

/// What stands behind a `%` of a format.
struct Specifier {
    argument: Option<usize>,
    left: bool,
    width: Width,
    kind: char,
}

impl Specifier {
    /// Reads behind a `%`; `None` for `%%`.
    fn parse(text: &str) -> Result<(Option<Specifier>, &str)> {
        let unterminated = || {
            invalid("unterminated format() type specifier")
                .with_hint("For a single \"%\" use \"%%\".")
        };
        if let Some(rest) = text.strip_prefix('%') {
            return Ok((None, rest));
        }
        let mut rest = text;
        let mut specifier =
            Specifier { argument: None, left: false, width: Width::Of(0), kind: ' ' };
        if let Some((number, behind)) = numbered(rest)? {
            (specifier.argument, rest) = (Some(number), behind);
        }
        while let Some(behind) = rest.strip_prefix('-') {
            (specifier.left, rest) = (true, behind);
        }
        if let Some(behind) = rest.strip_prefix('*') {
            rest = behind;
            let number = numbered(rest)?;
            specifier.width = Width::Argument(number.map(|(number, _)| number));
            rest = number.map_or(rest, |(_, behind)| behind);
        } else {
            let (digits, behind) = digits(rest);
            if !digits.is_empty() {
                let width = digits.parse().map_err(|_| invalid("number is out of range"))?;
                (specifier.width, rest) = (Width::Of(width), behind);
            }
        }
        specifier.kind = rest.chars().next().ok_or_else(unterminated)?;
        if !matches!(specifier.kind, 's' | 'I' | 'L') {
            let message = format!("unrecognized format() type specifier \"{}\"", specifier.kind);
            return Err(invalid(message).with_hint("For a single \"%\" use \"%%\"."));
        }
        Ok((Some(specifier), &rest[1..]))
    }

    fn convert(&self, value: Option<&str>, out: &mut String) -> Result<()> {
        match (self.kind, value) {
            ('s', value) => out.push_str(value.unwrap_or_default()),
            ('I', Some(value)) => out.push_str(&quote_identifier(value)),
            ('I', None) => {
                let message = "null values cannot be formatted as an SQL identifier";
                return Err(Error::new(SqlState("22004"), message));
            }
            (_, Some(value)) => push_literal(value, out),
            (_, None) => out.push_str("NULL"),
        }
        Ok(())
    }
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// A number before a `$`.
fn numbered(text: &str) -> Result<Option<(usize, &str)>> {
    let (number, rest) = digits(text);
    let Some(rest) = rest.strip_prefix('$').filter(|_| !number.is_empty()) else {
        return Ok(None);
    };
    match number.parse() {
        Ok(0) => Err(invalid("format specifies argument 0, but arguments are numbered from 1")),
        Ok(number) => Ok(Some((number, rest))),
        Err(_) => Err(invalid("number is out of range")),
    }
}

/// A text as a literal of SQL, with E where there are backslashes.
fn push_literal(text: &str, out: &mut String) {
    if text.contains('\\') {
        out.push('E');
    }
    out.push('\'');
    for c in text.chars() {
        if matches!(c, '\'' | '\\') {
            out.push(c);
        }
        out.push(c);
    }
    out.push('\'');
}

fn chr(call: &Call) -> Result<ArrayRef> {
    call.texts(|row, out| {
        let code = call.int(0, row);
        if code == 0 {
            return Err(Error::new(SqlState("54000"), "null character not permitted"));
        }
        let code = u32::try_from(code).map_err(|_| invalid("character number must be positive"))?;
        let too_large = || {
            let message = format!("requested character too large for encoding: {code}");
            Error::new(SqlState("54000"), message)
        };
        out.push(char::from_u32(code).ok_or_else(too_large)?);
        Ok(true)
    })
}

fn like_escape(call: &Call) -> Result<ArrayRef> {
    call.texts(|row, out| {
        let mut escapes = call.text(1, row).chars();
        let escape = escapes.next();
        if escapes.next().is_some() {
            return Err(Error::new(SqlState("22025"), "invalid escape string")
                .with_hint("Escape string must be empty or one character."));
        }
        escape_pattern(call.text(0, row), escape, out);
        Ok(true)
    })
}

/// A pattern with a backslash in place of its escape character.
pub(crate) fn escape_pattern(pattern: &str, escape: Option<char>, out: &mut String) {
    let mut escaped = false;
    for c in pattern.chars() {
        match c {
            c if Some(c) == escape && !escaped => {
                out.push('\\');
                escaped = true;
                continue;
            }
            '\\' if !escaped => out.push_str("\\\\"),
            c => out.push(c),
        }
        escaped = false;
    }
}

fn to_ascii(call: &Call) -> Result<ArrayRef> {
    call.texts(|_, _| {
        Err(Error::unsupported("encoding conversion from UTF8 to ASCII not supported"))
    })
}

fn unistr(call: &Call) -> Result<ArrayRef> {
    let invalid = || Error::syntax("invalid Unicode escape");
    call.texts(|row, out| {
        let mut rest = call.text(0, row);
        while let Some(at) = rest.find('\\') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(behind) = rest.strip_prefix('\\') {
                out.push('\\');
                rest = behind;
                continue;
            }
            let (skip, length) = match rest.as_bytes().first() {
                Some(b'+') => (1, 6),
                Some(b'u') => (1, 4),
                Some(b'U') => (1, 8),
                _ => (0, 4),
            };
            let digits = rest.get(skip..skip + length).ok_or_else(invalid)?;
            let code = u32::from_str_radix(digits, 16).map_err(|_| invalid())?;
            out.push(
                char::from_u32(code)
                    .ok_or_else(|| Error::syntax("invalid Unicode surrogate pair"))?,
            );
            rest = &rest[skip + length..];
        }
        out.push_str(rest);
        Ok(true)
    })
}

/// The name of a normal form, NFC where there is none.
fn normal_form<'a>(call: &'a Call, row: usize) -> &'a str {
    if call.count() > 1 { call.text(1, row) } else { "NFC" }
}

fn unknown_form(form: &str) -> Error {
    invalid(format!("invalid normalization form: {form}"))
}

fn normalize(call: &Call) -> Result<ArrayRef> {
    call.texts(|row, out| {
        let text = call.text(0, row);
        match normal_form(call, row).to_ascii_uppercase().as_str() {
            "NFC" => out.extend(text.nfc()),
            "NFD" => out.extend(text.nfd()),
            "NFKC" => out.extend(text.nfkc()),
            "NFKD" => out.extend(text.nfkd()),
            other => return Err(unknown_form(other)),
        }
        Ok(true)
    })
}

fn is_normalized(call: &Call) -> Result<ArrayRef> {
    call.booleans(|row| {
        let text = call.text(0, row);
        Ok(Some(match normal_form(call, row).to_ascii_uppercase().as_str() {
            "NFC" => is_nfc(text),
            "NFD" => is_nfd(text),
            "NFKC" => is_nfkc(text),
            "NFKD" => is_nfkd(text),
            other => return Err(unknown_form(other)),
        }))
    })
}

fn parse_ident(call: &Call) -> Result<ArrayRef> {
    call.text_arrays(|row, items| {
        let text = call.text(0, row);
        let invalid = || invalid(format!("string is not a valid identifier: \"{text}\""));
        let mut rest = text.trim_start();
        loop {
            if let Some(quoted) = rest.strip_prefix('"') {
                let mut name = String::new();
                let mut tail = quoted;
                loop {
                    let end = tail.find('"').ok_or_else(invalid)?;
                    name.push_str(&tail[..end]);
                    tail = &tail[end + 1..];
                    match tail.strip_prefix('"') {
                        Some(more) => (tail, _) = (more, name.push('"')),
                        None => break,
                    }
                }
                if name.is_empty() {
                    return Err(invalid());
                }
                items.append_value(name);
                rest = tail;
            } else {
                let starts = |c: char| c.is_alphabetic() || c == '_';
                let goes_on = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
                let end = rest.find(|c| !goes_on(c)).unwrap_or(rest.len());
                if !rest.starts_with(starts) {
                    return Err(invalid());
                }
                items.append_value(rest[..end].to_lowercase());
                rest = &rest[end..];
            }
            rest = rest.trim_start();
            match rest.strip_prefix('.') {
                Some(more) => rest = more.trim_start(),
                None if rest.is_empty() => return Ok(true),
                None => return Err(invalid()),
            }
        }
    })
}

fn hex_of_int(call: &Call) -> Result<ArrayRef> {
    call.texts(|row, out| {
        out.push_str(&format!("{:x}", call.int(0, row)));
        Ok(true)
    })
}

fn hex_of_long(call: &Call) -> Result<ArrayRef> {
    call.texts(|row, out| {
        out.push_str(&format!("{:x}", call.long(0, row)));
        Ok(true)
    })
}

fn count_of(call: &Call, null: bool) -> Result<ArrayRef> {
    call.values::<Int32Type>(|row| {
        let counted = (0..call.count()).filter(|arg| call.is_null(*arg, row) == null);
        Ok(Some(counted.count() as i32))
    })
}

fn nulls(call: &Call) -> Result<ArrayRef> {
    count_of(call, true)
}

fn values(call: &Call) -> Result<ArrayRef> {
    count_of(call, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escape_character_becomes_a_backslash() {
        let escaped = |pattern: &str, escape: Option<char>| {
            let mut out = String::new();
            escape_pattern(pattern, escape, &mut out);
            out
        };
        assert_eq!(escaped("a#%c", Some('#')), "a\\%c");
        assert_eq!(escaped("a##", Some('#')), "a\\#");
        assert_eq!(escaped("a\\b", Some('#')), "a\\\\b");
        assert_eq!(escaped("a\\b%", None), "a\\\\b%");
    }

    #[test]
    fn literals_are_quoted_as_sql_reads_them() {
        let literal = |text: &str| {
            let mut out = String::new();
            push_literal(text, &mut out);
            out
        };
        assert_eq!((literal("it's"), literal("a\\b")), ("'it''s'".into(), "E'a\\\\b'".into()));
    }
}
