//! The careful way through one message's text: JSON's syntax (RFC 8259), checked byte by byte, with the place of a
//! fault.
//!
//! Owns the position in the text and what may stand there; knows no column and no type. Strings are checked when
//! they are passed over: UTF-8, no control characters, escapes well formed, surrogates in pairs. Nesting is bounded,
//! so that a message of brackets cannot exhaust the stack.

use super::blocks;
use crate::types::{Invalid, hex_digit, quoted};

/// Objects and arrays may be nested this deep: far deeper than events are, far shallower than a thread's stack
/// allows.
pub(in crate::decode) const DEPTH_MAX: usize = 128;

/// Why a message is no row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::decode) struct Fault {
    pub sqlstate: &'static str,
    pub reason: String,
}

impl Fault {
    /// The text is not JSON: 22P02 with what was expected and where, in bytes from the message's start.
    pub fn syntax(at: usize, expected: &str) -> Fault {
        Fault {
            sqlstate: "22P02",
            reason: format!("invalid input syntax for type json: {expected} at byte {at}"),
        }
    }

    /// The text is JSON, but the value does not fit its column.
    pub fn in_column(path: &str, invalid: Invalid) -> Fault {
        Fault {
            sqlstate: invalid.sqlstate,
            reason: format!("column \"{path}\": {}", invalid.message),
        }
    }
}

/// A string as it stands in the message, checked, without its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::decode) struct Text<'a> {
    pub raw: &'a str,
    pub has_escapes: bool,
    /// Whether `\u0000` is among the escapes, which no PostgreSQL text can hold.
    pub has_nul: bool,
}

/// A whole value; of objects and arrays only that they are well formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::decode) enum Value<'a> {
    Null,
    Bool(bool),
    Number,
    String(Text<'a>),
    Object,
    Array,
}

#[derive(Clone, Copy)]
pub(in crate::decode) struct Cursor<'a> {
    pub text: &'a [u8],
    pub at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Cursor { text, at: 0 }
    }

    pub fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    pub fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Passes over the byte `c` if it is next.
    pub fn take(&mut self, c: u8) -> bool {
        let next = self.peek() == Some(c);
        self.at += usize::from(next);
        next
    }

    /// A fault at the present position.
    pub fn fault<T>(&self, expected: &str) -> Result<T, Fault> {
        let found = match self.peek() {
            None => " but the message ends".to_owned(),
            Some(c) if c.is_ascii_graphic() => format!(" but found {}", quoted(&[c])),
            Some(_) => String::new(),
        };
        Err(Fault::syntax(self.at, &format!("{expected}{found}")))
    }

    /// A member's key and the colon after it, up to the value.
    pub fn key(&mut self) -> Result<Text<'a>, Fault> {
        let key = self.string()?;
        self.skip_whitespace();
        if !self.take(b':') {
            return self.fault("expected \":\"");
        }
        self.skip_whitespace();
        Ok(key)
    }

    /// After an element of an object or array: true when another one follows, false when `close` ended it.
    pub fn another(&mut self, close: u8) -> Result<bool, Fault> {
        self.skip_whitespace();
        if self.take(b',') {
            self.skip_whitespace();
            return Ok(true);
        }
        if self.take(close) {
            return Ok(false);
        }
        self.fault(if close == b'}' {
            "expected \",\" or \"}\""
        } else {
            "expected \",\" or \"]\""
        })
    }

    /// Passes over `open` and the whitespace after it; true when an element follows, false when the container is
    /// empty.
    pub fn enter(&mut self, open: u8, close: u8) -> Result<bool, Fault> {
        if !self.take(open) {
            return self.fault(if open == b'{' {
                "expected an object"
            } else {
                "expected an array"
            });
        }
        self.skip_whitespace();
        Ok(!self.take(close))
    }

    /// Passes over a value of any kind, `depth` containers deep.
    pub fn value(&mut self, depth: usize) -> Result<Value<'a>, Fault> {
        match self.peek() {
            Some(b'"') => Ok(Value::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number().map(|()| Value::Number),
            Some(b't') => self.word(b"true", Value::Bool(true)),
            Some(b'f') => self.word(b"false", Value::Bool(false)),
            Some(b'n') => self.word(b"null", Value::Null),
            Some(b'{') => {
                self.check_depth(depth)?;
                let mut more = self.enter(b'{', b'}')?;
                while more {
                    self.key()?;
                    self.value(depth + 1)?;
                    more = self.another(b'}')?;
                }
                Ok(Value::Object)
            }
            Some(b'[') => {
                self.check_depth(depth)?;
                let mut more = self.enter(b'[', b']')?;
                while more {
                    self.value(depth + 1)?;
                    more = self.another(b']')?;
                }
                Ok(Value::Array)
            }
            _ => self.fault("expected a value"),
        }
    }

    pub fn check_depth(&self, depth: usize) -> Result<(), Fault> {
        if depth < DEPTH_MAX {
            return Ok(());
        }
        let reason = format!("JSON is nested deeper than {DEPTH_MAX} levels at byte {}", self.at);
        Err(Fault { sqlstate: "54001", reason })
    }

    fn word(&mut self, word: &[u8], value: Value<'a>) -> Result<Value<'a>, Fault> {
        if !self.text[self.at..].starts_with(word) {
            return self.fault("expected a value");
        }
        self.at += word.len();
        Ok(value)
    }

    fn number(&mut self) -> Result<(), Fault> {
        let _ = self.take(b'-');
        // A leading zero stands alone: what follows it then fails as no delimiter.
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { self.fault("expected a digit") } else { Ok(()) }
    }

    /// Passes over a string.
    pub fn string(&mut self) -> Result<Text<'a>, Fault> {
        if !self.take(b'"') {
            return self.fault("expected a string");
        }
        let start = self.at;
        let (mut ascii, mut has_escapes, mut has_nul) = (true, false, false);
        loop {
            ascii &= self.plain();
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    has_escapes = true;
                    has_nul |= self.escape()? == Some('\0');
                }
                Some(_) => {
                    return Err(Fault::syntax(
                        self.at,
                        "a control character must be escaped in a string,",
                    ));
                }
                None => return self.fault("expected the string's closing quote"),
            }
        }
        let raw = utf8(&self.text[start..self.at], ascii).map_err(|valid| {
            Fault::syntax(start + valid, "invalid byte sequence for encoding \"UTF8\"")
        })?;
        self.at += 1;
        Ok(Text { raw, has_escapes, has_nul })
    }

    /// Passes over the plain part of a string; true if it is ASCII.
    fn plain(&mut self) -> bool {
        if let Some(plain) = blocks::plain(self.text, self.at) {
            self.at += plain.len;
            return plain.ascii;
        }
        let rest = &self.text[self.at..];
        let len =
            rest.iter().position(|c| matches!(c, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len());
        self.at += len;
        rest[..len].is_ascii()
    }

    /// Passes over a backslash and what it introduces; gives the character of a `\u` escape.
    fn escape(&mut self) -> Result<Option<char>, Fault> {
        let start = self.at;
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(None)
            }
            Some(b'u') => {
                self.at -= 1;
                match unicode_escape(&self.text[start..]) {
                    Some((c, len)) => {
                        self.at += len;
                        Ok(Some(c))
                    }
                    None => Err(Fault::syntax(
                        start,
                        "\\u must be followed by four hexadecimal digits, surrogates in pairs,",
                    )),
                }
            }
            _ => self.fault("expected an escape sequence"),
        }
    }
}

/// `bytes` as UTF-8, which they are for certain where they are `ascii`; else how many bytes of them are valid.
fn utf8(bytes: &[u8], ascii: bool) -> Result<&str, usize> {
    if !ascii && simdutf8::basic::from_utf8(bytes).is_err() {
        return Err(std::str::from_utf8(bytes).map_or_else(|e| e.valid_up_to(), str::len));
    }
    // Of ASCII this check costs next to nothing, and it keeps the function free of unsafe code.
    std::str::from_utf8(bytes).map_err(|e| e.valid_up_to())
}

/// The character of a `\uXXXX` or of a pair of them at the beginning of `text`, and its length there.
fn unicode_escape(text: &[u8]) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0u32, |value, &c| Some(value << 4 | u32::from(hex_digit(c)?)))
    };
    let first = unit(0)?;
    if let Some(c) = char::from_u32(first) {
        return Some((c, 6));
    }
    let second = unit(6)?;
    let in_order = (0xd800..0xdc00).contains(&first) && (0xdc00..0xe000).contains(&second);
    let code = in_order.then(|| 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))?;
    Some((char::from_u32(code)?, 12))
}

impl<'a> Text<'a> {
    /// The string's characters: the text itself or, where it has escapes, what `scratch` is filled with. 22P05 for a
    /// string with `\u0000`.
    pub fn unescaped<'s>(&self, scratch: &'s mut String) -> Result<&'s str, Invalid>
    where
        'a: 's,
    {
        if self.has_nul {
            let message =
                "unsupported Unicode escape sequence: \\u0000 cannot be converted to text"
                    .to_owned();
            return Err(Invalid { sqlstate: "22P05", message });
        }
        Ok(self.characters(scratch))
    }

    /// The same with `\u0000` as a character, for keys.
    pub fn characters<'s>(&self, scratch: &'s mut String) -> &'s str
    where
        'a: 's,
    {
        if !self.has_escapes {
            return self.raw;
        }
        scratch.clear();
        let mut rest = self.raw;
        while let Some(plain) = rest.find('\\') {
            scratch.push_str(&rest[..plain]);
            rest = &rest[plain..];
            let (c, len) = match rest.as_bytes().get(1) {
                Some(b'b') => ('\u{8}', 2),
                Some(b'f') => ('\u{c}', 2),
                Some(b'n') => ('\n', 2),
                Some(b'r') => ('\r', 2),
                Some(b't') => ('\t', 2),
                Some(b'u') => unicode_escape(rest.as_bytes())
                    .expect("the escape was checked when it was passed over"),
                Some(&other) => (char::from(other), 2),
                None => unreachable!("a backslash alone was refused when it was passed over"),
            };
            scratch.push(c);
            rest = &rest[len..];
        }
        scratch.push_str(rest);
        scratch
    }
}
