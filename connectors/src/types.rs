//! PostgreSQL's values read from their text: numbers, dates and times, intervals, uuid, bytea.
//!
//! Owns what every decoder of text needs (JSON now, CSV next): pure functions from text to the value Arrow stores,
//! with PostgreSQL's SQLSTATE and message where the text is wrong. Knows no format, no column and no builder.
//! Nothing here panics on any text, and nothing reads the clock or a time zone setting: `now`, `today` and
//! `infinity` are refused.

mod datetime;
mod interval;
mod numeric;

pub use datetime::{
    MINUTE_TEXT_BYTES, date, minute, time, timestamp, timestamp_from_seconds, units_per_second,
};
pub use interval::interval;
pub use numeric::{Number, decimal, float32, float64, integer, integer_from_number, pow10_i128};

/// Why a text is no value of its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    pub sqlstate: &'static str,
    /// In PostgreSQL's words, such as `invalid input syntax for type bigint: "abc"`.
    pub message: String,
}

/// SQLSTATE invalid_text_representation.
pub const INVALID_TEXT: &str = "22P02";
/// SQLSTATE numeric_value_out_of_range.
pub const OUT_OF_RANGE: &str = "22003";
/// SQLSTATE invalid_datetime_format.
pub const INVALID_DATETIME: &str = "22007";
/// SQLSTATE datetime_field_overflow.
pub const DATETIME_OVERFLOW: &str = "22008";

/// Messages quote at most this many characters of a value: enough to recognise it, bounded against long ones.
const QUOTED_CHARS_MAX: usize = 64;

/// `text` for a message: cut at 64 characters, with what is not UTF-8 replaced.
pub fn quoted(text: &[u8]) -> String {
    // A character has at most four bytes, so a prefix of that many bytes is all that can be shown.
    let prefix = &text[..text.len().min(4 * QUOTED_CHARS_MAX)];
    let shown = String::from_utf8_lossy(prefix);
    match shown.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((cut, _)) => format!("\"{}...\"", &shown[..cut]),
        None => format!("\"{shown}\""),
    }
}

impl Invalid {
    /// `invalid input syntax for type TYPE: "TEXT"`, 22P02.
    pub fn syntax(type_name: &str, text: &[u8]) -> Invalid {
        let message = format!("invalid input syntax for type {type_name}: {}", quoted(text));
        Invalid { sqlstate: INVALID_TEXT, message }
    }

    /// The same for dates and times, which PostgreSQL reports as 22007.
    fn datetime_syntax(type_name: &str, text: &[u8]) -> Invalid {
        Invalid { sqlstate: INVALID_DATETIME, ..Self::syntax(type_name, text) }
    }

    /// `value "TEXT" is out of range for type TYPE`, 22003.
    pub fn out_of_range(type_name: &str, text: &[u8]) -> Invalid {
        let message = format!("value {} is out of range for type {type_name}", quoted(text));
        Invalid { sqlstate: OUT_OF_RANGE, message }
    }

    fn field_out_of_range(text: &[u8]) -> Invalid {
        let message = format!("date/time field value out of range: {}", quoted(text));
        Invalid { sqlstate: DATETIME_OVERFLOW, message }
    }
}

/// A uuid as PostgreSQL reads it: 32 hexadecimal digits of either case, a hyphen allowed after each group of four,
/// braces allowed around the whole.
pub fn uuid(text: &str) -> Result<[u8; 16], Invalid> {
    let invalid = || Invalid::syntax("uuid", text.as_bytes());
    let inner = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}').ok_or_else(invalid)?,
        None => text,
    };
    let (mut bytes, mut digits) = ([0u8; 16], 0usize);
    let mut hyphen_allowed = false;
    for c in inner.bytes() {
        if c == b'-' && hyphen_allowed {
            hyphen_allowed = false;
            continue;
        }
        let digit = hex_digit(c).filter(|_| digits < 32).ok_or_else(invalid)?;
        bytes[digits / 2] = bytes[digits / 2] << 4 | digit;
        digits += 1;
        hyphen_allowed = digits.is_multiple_of(4) && digits < 32;
    }
    // A hyphen is consumed only between digits, so the text cannot end in one unless digits are missing.
    if digits == 32 { Ok(bytes) } else { Err(invalid()) }
}

/// A bytea as PostgreSQL reads it, appended to `out`: `\x` and hexadecimal digits (whitespace allowed between
/// bytes), else the escape format, where `\\` is a backslash and `\ooo` a byte in octal. On an error `out` has grown
/// by something the caller takes back.
pub fn bytea(text: &str, out: &mut Vec<u8>) -> Result<(), Invalid> {
    let invalid = || Invalid::syntax("bytea", text.as_bytes());
    let mut bytes = text.bytes();
    if let Some(hex) = text.strip_prefix("\\x") {
        let mut bytes = hex.bytes();
        while let Some(high) = bytes.next() {
            if high.is_ascii_whitespace() {
                continue;
            }
            let high = hex_digit(high).ok_or_else(invalid)?;
            let low = bytes.next().and_then(hex_digit).ok_or_else(invalid)?;
            out.push(high << 4 | low);
        }
        return Ok(());
    }
    while let Some(c) = bytes.next() {
        if c != b'\\' {
            out.push(c);
            continue;
        }
        match bytes.next() {
            Some(b'\\') => out.push(b'\\'),
            Some(first @ b'0'..=b'3') => {
                let mut octal =
                    || bytes.next().filter(|c| (b'0'..=b'7').contains(c)).map(|c| c - b'0');
                let (second, third) = (octal().ok_or_else(invalid)?, octal().ok_or_else(invalid)?);
                out.push((first - b'0') << 6 | second << 3 | third);
            }
            _ => return Err(invalid()),
        }
    }
    Ok(())
}

/// The value of a hexadecimal digit of either case.
pub fn hex_digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        b'A'..=b'F' => Some(c - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_is_read_in_every_form_postgres_takes() {
        let want = Ok([
            0xa0, 0xee, 0xbc, 0x99, 0x9c, 0x0b, 0x4e, 0xf8, 0xbb, 0x6d, 0x6b, 0xb9, 0xbd, 0x38,
            0x0a, 0x11,
        ]);
        for text in [
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
        ] {
            assert_eq!(uuid(text), want, "{text}");
        }
        for text in [
            "",
            "a0ee",
            "{a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0eebc99--9c0b4ef8bb6d6bb9bd380a11",
            "é",
        ] {
            assert_eq!(uuid(text).map_err(|e| e.sqlstate), Err("22P02"), "{text}");
        }
        assert!(uuid("a0eebc999c0b4ef8bb6d6bb9bd380a11-").is_err());
        assert!(uuid("a0eebc999c0b4ef8bb6d6bb9bd380a1122").is_err());
    }

    #[test]
    fn bytea_is_read_as_hex_or_escapes() {
        let read = |text| {
            let mut out = Vec::new();
            bytea(text, &mut out).map(|()| out).map_err(|e| e.sqlstate)
        };
        assert_eq!(read("\\xDEad be"), Ok(vec![0xde, 0xad, 0xbe]));
        assert_eq!(read("a\\\\b\\001é"), Ok([b"a\\b\x01".as_slice(), "é".as_bytes()].concat()));
        assert_eq!(read(""), Ok(vec![]));
        for bad in ["\\xabc", "\\xzz", "\\", "\\9", "\\01", "\\400"] {
            assert_eq!(read(bad), Err("22P02"), "{bad}");
        }
    }

    #[test]
    fn long_values_are_cut_in_messages() {
        let message = Invalid::syntax("bigint", "é".repeat(1000).as_bytes()).message;
        assert!(message.len() < 200 && message.ends_with("...\""), "{message}");
    }
}
