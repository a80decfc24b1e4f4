//! The text of arrays and records cut into their items, as PostgreSQL's array_in and record_in read it.
//!
//! Only cuts: an item that is itself an array comes back as its own text.

use crate::error::{Error, Result, SqlState};

/// The items of `{a,"b c",NULL,{d}}`; `None` for NULL. Errors: 22P02.
pub fn split_array(text: &str) -> Result<Vec<Option<String>>> {
    let malformed = |detail: &str| {
        let message = format!("malformed array literal: \"{text}\"");
        Error::new(SqlState::INVALID_TEXT_REPRESENTATION, message).with_detail(detail)
    };
    let body = strip_bounds(text.trim());
    let inner = body
        .strip_prefix('{')
        .ok_or_else(|| malformed("Array value must start with \"{\" or dimension information."))?;
    let mut items = vec![];
    let mut chars = Cursor { rest: inner };
    chars.skip_space();
    if chars.eat('}') {
        return if chars.at_end() {
            Ok(items)
        } else {
            Err(malformed("Junk after closing right brace."))
        };
    }
    loop {
        chars.skip_space();
        items.push(chars.array_item().ok_or_else(|| malformed("Unexpected array element."))?);
        chars.skip_space();
        if chars.eat(',') {
            continue;
        }
        if !chars.eat('}') {
            return Err(malformed("Unexpected end of input."));
        }
        return if chars.at_end() {
            Ok(items)
        } else {
            Err(malformed("Junk after closing right brace."))
        };
    }
}

/// The keys and values of `{a:1,"b c":NULL}`; `None` for NULL. Errors: 22P02.
pub fn split_map(text: &str) -> Result<Vec<[Option<String>; 2]>> {
    let malformed = || {
        let message = format!("malformed map literal: \"{text}\"");
        Error::new(SqlState::INVALID_TEXT_REPRESENTATION, message)
    };
    let inner = text.trim().strip_prefix('{').ok_or_else(malformed)?;
    let mut entries = vec![];
    let mut chars = Cursor { rest: inner };
    chars.skip_space();
    let mut more = !chars.eat('}');
    while more {
        let key = chars.map_part(&[':']).ok_or_else(malformed)?;
        if !chars.eat(':') {
            return Err(malformed());
        }
        entries.push([key, chars.map_part(&[',', '}']).ok_or_else(malformed)?]);
        more = chars.eat(',');
        if !more && !chars.eat('}') {
            return Err(malformed());
        }
    }
    if chars.at_end() { Ok(entries) } else { Err(malformed()) }
}

/// Drops explicit bounds such as `[0:2]=`: Arrow's lists begin at one place only.
fn strip_bounds(text: &str) -> &str {
    if !text.starts_with('[') {
        return text;
    }
    match text.split_once('=') {
        Some((bounds, rest))
            if bounds
                .bytes()
                .all(|b| b.is_ascii_digit() || matches!(b, b'[' | b']' | b':' | b'-' | b'+')) =>
        {
            rest.trim_start()
        }
        _ => text,
    }
}

/// The items of `(a,"b c",)`; nothing at all stands for NULL. Errors: 22P02.
pub fn split_record(text: &str) -> Result<Vec<Option<String>>> {
    let malformed = |detail: &str| {
        let message = format!("malformed record literal: \"{text}\"");
        Error::new(SqlState::INVALID_TEXT_REPRESENTATION, message).with_detail(detail)
    };
    let trimmed = text.trim();
    let inner = trimmed.strip_prefix('(').ok_or_else(|| malformed("Missing left parenthesis."))?;
    let mut items = vec![];
    let mut chars = Cursor { rest: inner };
    loop {
        items.push(chars.record_item().ok_or_else(|| malformed("Unexpected end of input."))?);
        if chars.eat(',') {
            continue;
        }
        if !chars.eat(')') {
            return Err(malformed("Unexpected end of input."));
        }
        return if chars.at_end() {
            Ok(items)
        } else {
            Err(malformed("Junk after right parenthesis."))
        };
    }
}

struct Cursor<'a> {
    rest: &'a str,
}

impl Cursor<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.rest.starts_with(c);
        if found {
            self.rest = &self.rest[c.len_utf8()..];
        }
        found
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    }

    fn at_end(&mut self) -> bool {
        self.skip_space();
        self.rest.is_empty()
    }

    /// The outer `None` is a malformed item.
    fn array_item(&mut self) -> Option<Option<String>> {
        match self.peek()? {
            '{' => self.nested().map(Some),
            '"' => {
                self.next();
                let mut item = String::new();
                loop {
                    match self.next()? {
                        '"' => return Some(Some(item)),
                        '\\' => item.push(self.next()?),
                        c => item.push(c),
                    }
                }
            }
            _ => self.bare_array_item(),
        }
    }

    fn bare_array_item(&mut self) -> Option<Option<String>> {
        let mut item = String::new();
        let mut escaped = false;
        // Trailing blanks do not belong to the item, unless escaped.
        let mut keep = 0;
        while let Some(c) = self.peek() {
            match c {
                ',' | '}' => break,
                '{' | '"' => return None,
                '\\' => {
                    self.next();
                    item.push(self.next()?);
                    escaped = true;
                    keep = item.len();
                }
                _ => {
                    self.next();
                    item.push(c);
                    if !c.is_ascii_whitespace() {
                        keep = item.len();
                    }
                }
            }
        }
        item.truncate(keep);
        if item.is_empty() && !escaped {
            return None;
        }
        let null = !escaped && item.eq_ignore_ascii_case("null");
        Some(if null { None } else { Some(item) })
    }

    /// A key or a value of a map and the blanks around it; a bare one goes up to one of `ends`.
    fn map_part(&mut self, ends: &[char]) -> Option<Option<String>> {
        self.skip_space();
        let part = match self.peek()? {
            '"' | '{' => self.array_item()?,
            _ => {
                let length = self.rest.find(|c| ends.contains(&c) || matches!(c, '"' | '\\'))?;
                let (bare, rest) = self.rest.split_at(length);
                self.rest = rest;
                let bare = bare.trim_end();
                if bare.is_empty() {
                    return None;
                }
                (!bare.eq_ignore_ascii_case("null")).then(|| bare.to_owned())
            }
        };
        self.skip_space();
        Some(part)
    }

    /// The text of an array inside, with its braces.
    fn nested(&mut self) -> Option<String> {
        let (mut depth, mut quoted, mut escaped) = (0, false, false);
        for (i, c) in self.rest.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => quoted = !quoted,
                '{' if !quoted => depth += 1,
                '}' if !quoted => {
                    depth -= 1;
                    if depth == 0 {
                        let item = self.rest[..=i].to_owned();
                        self.rest = &self.rest[i + 1..];
                        return Some(item);
                    }
                }
                _ => {}
            }
        }
        None
    }

    fn record_item(&mut self) -> Option<Option<String>> {
        if matches!(self.peek()?, ',' | ')') {
            return Some(None);
        }
        let mut item = String::new();
        let mut quoted = false;
        loop {
            match self.peek()? {
                ',' | ')' if !quoted => return Some(Some(item)),
                '\\' => {
                    self.next();
                    item.push(self.next()?);
                }
                '"' => {
                    self.next();
                    // A doubled quote inside quotes is the quote itself.
                    if quoted && self.eat('"') {
                        item.push('"');
                    } else {
                        quoted = !quoted;
                    }
                }
                c => {
                    self.next();
                    item.push(c);
                }
            }
        }
    }
}
