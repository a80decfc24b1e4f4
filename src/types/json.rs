//! json, which is kept as it was written, and jsonb, which has one form for each value.
//!
//! jsonb's form is PostgreSQL's: of equal keys the last one stays, keys are ordered by length and then by bytes, a space
//! follows each `:` and `,`, numbers are written out exactly as numeric would show them. Invariant:
//! `jsonb_of_text` of its own result is the same text.

use std::borrow::Cow;

use crate::error::{Error, Result, SqlState};

/// Deepest nesting: bounds the recursion, where PostgreSQL checks its stack.
const NESTING_MAX: usize = 1000;

/// What numeric holds before and after the point.
const WHOLE_DIGITS_MAX: i64 = 131_072;
const FRACTION_DIGITS_MAX: i64 = 16_383;

/// Checks that `text` is JSON. Errors: 22P02 with the token at fault in DETAIL.
pub fn validate_json(text: &str) -> Result<()> {
    let mut parser = Parser { rest: text, strict: false };
    parser.document(&mut String::new())
}

/// The jsonb text of a JSON text. Errors: 22P02, 22P05 for \u0000, 22003 for a number beyond numeric.
pub fn jsonb_of_text(text: &str) -> Result<String> {
    let mut parser = Parser { rest: text, strict: true };
    let mut out = String::with_capacity(text.len());
    parser.document(&mut out)?;
    Ok(out)
}

struct Parser<'a> {
    rest: &'a str,
    /// jsonb refuses what json merely keeps, such as \u0000.
    strict: bool,
}

fn invalid(detail: String) -> Error {
    Error::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type json")
        .with_detail(detail)
}

fn ended() -> Error {
    invalid("The input string ended unexpectedly.".to_owned())
}

impl Parser<'_> {
    fn document(&mut self, out: &mut String) -> Result<()> {
        self.value(0, out)?;
        self.skip_space();
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(invalid(format!("Expected end of input, but found \"{}\".", self.token())))
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    /// The token at hand, for messages.
    fn token(&self) -> &str {
        let word = |c: char| c.is_alphanumeric() || c == '_' || c == '.' || c == '-' || c == '+';
        let end = self.rest.find(|c| !word(c)).unwrap_or(self.rest.len());
        let first = self.rest.chars().next().map_or(0, char::len_utf8);
        &self.rest[..end.max(first)]
    }

    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: usize, out: &mut String) -> Result<()> {
        if depth > NESTING_MAX {
            return Err(Error::new(crate::error::SqlState("54001"), "stack depth limit exceeded"));
        }
        self.skip_space();
        match self.rest.bytes().next() {
            None => Err(ended()),
            Some(b'{') => self.object(depth, out),
            Some(b'[') => self.array(depth, out),
            Some(b'"') => {
                let text = self.string()?;
                push_json_string(&text, out);
                Ok(())
            }
            Some(b'-' | b'0'..=b'9') => self.number(out),
            Some(_) => {
                let token = self.token();
                if !matches!(token, "true" | "false" | "null") {
                    let kind = if token.starts_with(|c: char| c.is_alphanumeric()) {
                        format!("Token \"{token}\" is invalid.")
                    } else {
                        format!("Expected JSON value, but found \"{token}\".")
                    };
                    return Err(invalid(kind));
                }
                out.push_str(token);
                self.rest = &self.rest[token.len()..];
                Ok(())
            }
        }
    }

    fn array(&mut self, depth: usize, out: &mut String) -> Result<()> {
        self.rest = &self.rest[1..];
        out.push('[');
        self.skip_space();
        if self.eat("]") {
            out.push(']');
            return Ok(());
        }
        loop {
            self.value(depth + 1, out)?;
            self.skip_space();
            if self.eat("]") {
                out.push(']');
                return Ok(());
            }
            if !self.eat(",") {
                return Err(self.expected("\",\" or \"]\""));
            }
            out.push_str(", ");
        }
    }

    fn expected(&self, what: &str) -> Error {
        if self.rest.is_empty() {
            return ended();
        }
        invalid(format!("Expected {what}, but found \"{}\".", self.token()))
    }

    fn object(&mut self, depth: usize, out: &mut String) -> Result<()> {
        self.rest = &self.rest[1..];
        self.skip_space();
        if self.eat("}") {
            out.push_str("{}");
            return Ok(());
        }
        let mut members: Vec<(String, String)> = vec![];
        loop {
            self.skip_space();
            if !self.rest.starts_with('"') {
                return Err(self.expected("string"));
            }
            let key = self.string()?;
            self.skip_space();
            if !self.eat(":") {
                return Err(self.expected("\":\""));
            }
            let mut value = String::new();
            self.value(depth + 1, &mut value)?;
            members.push((key, value));
            self.skip_space();
            if self.eat("}") {
                break;
            }
            if !self.eat(",") {
                return Err(self.expected("\",\" or \"}\""));
            }
        }
        let members =
            members.iter().map(|(name, value)| (Cow::Borrowed(name.as_str()), value.as_str()));
        push_jsonb_object(members, out);
        Ok(())
    }

    /// A string, unescaped.
    fn string(&mut self) -> Result<String> {
        self.rest = &self.rest[1..];
        let mut text = String::new();
        loop {
            let stop =
                self.rest.find(|c: char| c == '"' || c == '\\' || c < ' ').ok_or_else(ended)?;
            text.push_str(&self.rest[..stop]);
            let found = self.rest.as_bytes()[stop];
            self.rest = &self.rest[stop + 1..];
            match found {
                b'"' => return Ok(text),
                b'\\' => self.escape(&mut text)?,
                _ => {
                    return Err(invalid(format!(
                        "Character with value 0x{found:02x} must be escaped."
                    )));
                }
            }
        }
    }

    fn escape(&mut self, text: &mut String) -> Result<()> {
        let c = self.rest.chars().next().ok_or_else(ended)?;
        self.rest = &self.rest[c.len_utf8()..];
        text.push(match c {
            '"' | '\\' | '/' => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => self.unicode_escape()?,
            _ => return Err(invalid(format!("Escape sequence \"\\{c}\" is invalid."))),
        });
        Ok(())
    }

    fn unicode_escape(&mut self) -> Result<char> {
        let first = self.four_hex()?;
        let surrogate = |detail: &str| invalid(detail.to_owned());
        match first {
            0 if self.strict => {
                Err(Error::new(SqlState("22P05"), "unsupported Unicode escape sequence")
                    .with_detail("\\u0000 cannot be converted to text."))
            }
            0xD800..=0xDBFF => {
                if !self.eat("\\u") {
                    return Err(surrogate("Unicode low surrogate must follow a high surrogate."));
                }
                let low = self.four_hex()?;
                if !(0xDC00..=0xDFFF).contains(&low) {
                    return Err(surrogate("Unicode low surrogate must follow a high surrogate."));
                }
                let code = 0x10000 + ((first - 0xD800) << 10) + (low - 0xDC00);
                Ok(char::from_u32(code).expect("two surrogates make a code point below 0x110000"))
            }
            _ => char::from_u32(first)
                .ok_or_else(|| surrogate("Unicode low surrogate must follow a high surrogate.")),
        }
    }

    fn four_hex(&mut self) -> Result<u32> {
        let wrong = || invalid("\"\\u\" must be followed by four hexadecimal digits.".to_owned());
        let digits = self
            .rest
            .get(..4)
            .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))
            .ok_or_else(wrong)?;
        let code = u32::from_str_radix(digits, 16).map_err(|_| wrong())?;
        self.rest = &self.rest[4..];
        Ok(code)
    }

    fn number(&mut self, out: &mut String) -> Result<()> {
        let token = self.token();
        let number =
            read_number(token).ok_or_else(|| invalid(format!("Token \"{token}\" is invalid.")))?;
        number.push(out)?;
        self.rest = &self.rest[token.len()..];
        Ok(())
    }
}

/// Writes an object of names, unescaped, and values that are canonical. The later of equal names stays; shorter ones come
/// first.
pub fn push_jsonb_object<'a>(
    members: impl Iterator<Item = (Cow<'a, str>, &'a str)>,
    out: &mut String,
) {
    let mut members: Vec<(Cow<str>, &str)> = members.collect();
    members.sort_by(|(a, _), (b, _)| (a.len(), a.as_bytes()).cmp(&(b.len(), b.as_bytes())));
    out.push('{');
    let mut first = true;
    for (i, (name, value)) in members.iter().enumerate() {
        if members.get(i + 1).is_some_and(|(next, _)| next == name) {
            continue;
        }
        if !first {
            out.push_str(", ");
        }
        first = false;
        push_json_string(name, out);
        out.push_str(": ");
        out.push_str(value);
    }
    out.push('}');
}

/// Writes a text as a JSON string, escaped as PostgreSQL does.
pub fn push_json_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A JSON number: -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
struct Number<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    exponent: i64,
}

fn read_number(token: &str) -> Option<Number<'_>> {
    let (negative, body) = match token.strip_prefix('-') {
        Some(body) => (true, body),
        None => (false, token),
    };
    let (mantissa, exponent) = match body.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            // An exponent beyond i64 is beyond numeric all the more.
            let size = digits.parse::<i64>().unwrap_or(i64::MAX / 4);
            (mantissa, if exponent.starts_with('-') { -size } else { size })
        }
        None => (body, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return None,
        Some((whole, fraction)) => (whole, fraction),
        None => (mantissa, ""),
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let leading_zero = whole.len() > 1 && whole.starts_with('0');
    (!whole.is_empty() && digits(whole) && digits(fraction) && !leading_zero).then_some(Number {
        negative,
        whole,
        fraction,
        exponent,
    })
}

impl Number<'_> {
    /// Writes the number without exponent, as numeric shows it.
    fn push(&self, out: &mut String) -> Result<()> {
        let overflow =
            || Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format");
        let digits: String = [self.whole, self.fraction].concat();
        let point = self.whole.len() as i64 + self.exponent;
        let scale = (self.fraction.len() as i64 - self.exponent).max(0);
        let zero = digits.bytes().all(|b| b == b'0');
        if scale > FRACTION_DIGITS_MAX || (!zero && point > WHOLE_DIGITS_MAX) {
            return Err(overflow());
        }
        if self.negative && !zero {
            out.push('-');
        }
        // Digit i before the point stands at index point - 1 - i; what lies outside of the digits is zero.
        let digit = |i: i64| {
            usize::try_from(i)
                .ok()
                .and_then(|i| digits.as_bytes().get(i))
                .map_or('0', |b| *b as char)
        };
        let whole: String = if zero { String::new() } else { (0..point).map(digit).collect() };
        let whole = whole.trim_start_matches('0');
        out.push_str(if whole.is_empty() { "0" } else { whole });
        if scale > 0 {
            out.push('.');
            out.extend((point..point + scale).map(digit));
        }
        Ok(())
    }
}
