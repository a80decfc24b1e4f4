//! PostgreSQL's values read from their text: numbers, dates and times, intervals, uuid, bytea.
//!
//! Owns what every decoder of text needs (JSON now, CSV next): pure functions from text to the value Arrow stores,
//! with PostgreSQL's SQLSTATE and message where the text is wrong. Knows no format, no column and no builder.
//! Nothing here panics on any text, and nothing reads the clock or a time zone setting: `now`, `today` and
//! `infinity` are refused.

use arrow_schema::Field;

mod datetime;
mod interval;
mod numeric;

pub use datetime::{
    MINUTE_TEXT_BYTES, date, iso_timestamp, minute, time, timestamp, timestamp_from_count,
    timestamp_from_number, units_per_second,
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

/// SQLSTATE string_data_right_truncation.
const TOO_LONG: &str = "22001";

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

/// The metadata key under which a field carries the SQL type that its Arrow type does not tell.
const SQL_TYPE_KEY: &str = "tidewater.type";
/// The one with the length of `varchar(n)` and `char(n)`.
const LENGTH_KEY: &str = "tidewater.typmod";

fn sql_type(field: &Field) -> Option<&str> {
    field.metadata().get(SQL_TYPE_KEY).map(String::as_str)
}

/// Whether a text column holds jsonb.
pub fn is_jsonb(field: &Field) -> bool {
    sql_type(field) == Some("jsonb")
}

/// Whether a list of pairs is a map: its entries in the order of their keys, each key once.
pub fn is_map(field: &Field) -> bool {
    sql_type(field) == Some("map")
}

/// The length of a `varchar(n)` or `char(n)` column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    pub chars_max: usize,
    /// `char(n)`: blanks at the end mean nothing and are not kept.
    blank_padded: bool,
}

impl Length {
    /// `None` for columns of any length.
    pub fn of(field: &Field) -> Option<Length> {
        let blank_padded = match sql_type(field)? {
            "varchar" => false,
            "bpchar" => true,
            _ => return None,
        };
        let chars_max = field.metadata().get(LENGTH_KEY)?.parse().ok()?;
        Some(Length { chars_max, blank_padded })
    }

    /// A text of no more bytes is stored as it is.
    pub fn bytes_that_fit(&self) -> usize {
        if self.blank_padded { 0 } else { self.chars_max }
    }

    /// The text as it is stored: what is too long may lose blanks at its end and nothing else, 22001.
    pub fn fit<'a>(&self, text: &'a str) -> Result<&'a str, Invalid> {
        let end = text.char_indices().nth(self.chars_max).map_or(text.len(), |(at, _)| at);
        if text[end..].bytes().any(|b| b != b' ') {
            let name = if self.blank_padded { "character" } else { "character varying" };
            let message = format!("value too long for type {name}({})", self.chars_max);
            return Err(Invalid { sqlstate: TOO_LONG, message });
        }
        let kept = &text[..end];
        Ok(if self.blank_padded { kept.trim_end_matches(' ') } else { kept })
    }
}

/// A boolean as PostgreSQL reads it: beginnings of true, false, yes, no; on, off, 1, 0; any case, spaces around.
pub fn boolean(text: &str) -> Result<bool, Invalid> {
    let word = text.trim_ascii().to_ascii_lowercase();
    let begins = |whole: &str, least: usize| word.len() >= least && whole.starts_with(&word);
    if begins("true", 1) || begins("yes", 1) || begins("on", 2) || word == "1" {
        Ok(true)
    } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || word == "0" {
        Ok(false)
    } else {
        Err(Invalid::syntax("boolean", text.as_bytes()))
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
    fn texts_longer_than_their_column_may_lose_blanks_alone() {
        let length = |name: &str| {
            let metadata = [(SQL_TYPE_KEY, name), (LENGTH_KEY, "3")];
            let metadata = metadata.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
            let field = Field::new("x", arrow_schema::DataType::Utf8, true);
            Length::of(&field.with_metadata(metadata)).unwrap()
        };
        let (varchar, char) = (length("varchar"), length("bpchar"));
        assert_eq!((varchar.fit("äöü  "), varchar.fit("a ")), (Ok("äöü"), Ok("a ")));
        assert_eq!((char.fit("äöü  "), char.fit("a ")), (Ok("äöü"), Ok("a")));
        let too_long = varchar.fit("abcd").unwrap_err();
        assert_eq!(too_long.message, "value too long for type character varying(3)");
        assert_eq!(char.fit("abc d").map_err(|e| e.sqlstate), Err("22001"));
    }

    #[test]
    fn booleans_are_read_in_every_form_postgres_takes() {
        for (text, want) in [("t", true), (" TRUE ", true), ("y", true), ("on", true), ("1", true)]
        {
            assert_eq!(boolean(text), Ok(want), "{text}");
        }
        for text in ["f", "False", "no", "of", "0"] {
            assert_eq!(boolean(text), Ok(false), "{text}");
        }
        for text in ["", "o", "truely", "2", "maybe"] {
            assert_eq!(boolean(text).map_err(|e| e.sqlstate), Err("22P02"), "{text}");
        }
    }

    #[test]
    fn long_values_are_cut_in_messages() {
        let message = Invalid::syntax("bigint", "é".repeat(1000).as_bytes()).message;
        assert!(message.len() < 200 && message.ends_with("...\""), "{message}");
    }
}
