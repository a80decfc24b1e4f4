//! Any JSON value as the text that PostgreSQL's jsonb prints, so that equal values have equal bytes.
//!
//! Members are sorted by the length of their key and then by its bytes, the last of equal keys wins, a colon or comma
//! is followed by one space, strings carry only the escapes they need, and numbers are written out as numeric does:
//! `1.50e1` becomes `15.0`, `-0` becomes `0`. Numbers outside of numeric's range are refused (22003), and so is a value
//! that writing out its numbers would blow up (54000).

use super::cursor::{Cursor, Fault, Text, Value};
use crate::types::{Invalid, Number, OUT_OF_RANGE, quoted};

/// numeric's bounds in PostgreSQL: digits before and after the decimal point.
const INTEGER_DIGITS_MAX: i64 = 131_072;
const FRACTION_DIGITS_MAX: i64 = 16_383;

/// A jsonb text may be this much longer than four times its source: room for every honest value, a bound for a
/// message full of `1e131071`.
const GROWTH_BYTES_MAX: usize = 1024 * 1024;

/// Appends the value at the cursor to `out` and passes over it. On a fault `out` has grown by something the caller
/// takes back. Faults of the value, not of the syntax, name the column by `path`.
pub(super) fn normalise(
    cursor: &mut Cursor<'_>,
    path: &str,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let limit = 4 * (cursor.text.len() - cursor.at) + GROWTH_BYTES_MAX;
    Writer { path, limit, scratch: String::new() }.value(cursor, 0, out)
}

struct Writer<'a> {
    path: &'a str,
    /// How long the text of one container may become.
    limit: usize,
    scratch: String,
}

impl Writer<'_> {
    fn value(
        &mut self,
        cursor: &mut Cursor<'_>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let start = cursor.at;
        match cursor.peek() {
            Some(b'{') => {
                cursor.check_depth(depth)?;
                self.object(cursor, depth, out)
            }
            Some(b'[') => {
                cursor.check_depth(depth)?;
                self.array(cursor, depth, out)
            }
            _ => match cursor.value(depth)? {
                Value::String(text) => {
                    let text = self.checked(text)?;
                    write_string(text, out);
                    Ok(())
                }
                Value::Number => {
                    let result = write_number(&cursor.text[start..cursor.at], out);
                    result.map_err(|invalid| Fault::in_column(self.path, invalid))
                }
                Value::Null | Value::Bool(_) | Value::Object | Value::Array => {
                    out.extend_from_slice(&cursor.text[start..cursor.at]);
                    Ok(())
                }
            },
        }
    }

    fn checked<'s>(&'s mut self, text: Text<'s>) -> Result<&'s str, Fault> {
        let path = self.path;
        text.unescaped(&mut self.scratch).map_err(|invalid| Fault::in_column(path, invalid))
    }

    fn array(
        &mut self,
        cursor: &mut Cursor<'_>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let start = out.len();
        out.push(b'[');
        let mut more = cursor.enter(b'[', b']')?;
        while more {
            self.value(cursor, depth + 1, out)?;
            self.check_length(out.len() - start)?;
            more = cursor.another(b']')?;
            if more {
                out.extend_from_slice(b", ");
            }
        }
        out.push(b']');
        Ok(())
    }

    fn object(
        &mut self,
        cursor: &mut Cursor<'_>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        // The members' values one after the other in the order of the message, and where each one lies.
        let mut values = Vec::new();
        let mut members = Vec::new();
        let mut more = cursor.enter(b'{', b'}')?;
        while more {
            let key = cursor.key()?;
            let key = self.checked(key)?.to_owned();
            let start = values.len();
            self.value(cursor, depth + 1, &mut values)?;
            self.check_length(values.len())?;
            members.push((key, start..values.len()));
            more = cursor.another(b'}')?;
        }
        // The sort keeps the order of equal keys, so the last of them is the last in the message.
        members.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
        let mut separator = b"{".as_slice();
        for (i, (key, value)) in members.iter().enumerate() {
            if members.get(i + 1).is_some_and(|(next, _)| next == key) {
                continue;
            }
            out.extend_from_slice(separator);
            write_string(key, out);
            out.extend_from_slice(b": ");
            out.extend_from_slice(&values[value.clone()]);
            separator = b", ";
        }
        out.extend_from_slice(if members.is_empty() { b"{}" } else { b"}" });
        Ok(())
    }

    fn check_length(&self, length: usize) -> Result<(), Fault> {
        if length <= self.limit {
            return Ok(());
        }
        let message = "jsonb value is too long once its numbers are written out".to_owned();
        Err(Fault::in_column(self.path, Invalid { sqlstate: "54000", message }))
    }
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for &c in text.as_bytes() {
        match c {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x8 => out.extend_from_slice(b"\\b"),
            0xc => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{c:04x}").as_bytes()),
            _ => out.push(c),
        }
    }
    out.push(b'"');
}

/// A JSON number as numeric prints it: every digit it was given, no exponent.
fn write_number(text: &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
    let number = Number::parse(text).expect("every JSON number is a number");
    let zero = number.is_zero();
    let digits = || number.integer.iter().chain(number.fraction).copied();
    // How many digits stand before the point, leading zeros included, and how many after it.
    let before = number.integer.len() as i64 + i64::from(number.exponent);
    let after = (number.fraction.len() as i64 - i64::from(number.exponent)).max(0);
    let leading_zeros = digits().take_while(|&d| d == b'0').count() as i64;
    if !zero && before - leading_zeros > INTEGER_DIGITS_MAX || after > FRACTION_DIGITS_MAX {
        let message = format!("value overflows numeric format: {}", quoted(text));
        return Err(Invalid { sqlstate: OUT_OF_RANGE, message });
    }
    if number.negative && !zero {
        out.push(b'-');
    }
    let start = out.len();
    if !zero && before > 0 {
        let integer = digits().chain(std::iter::repeat(b'0')).take(before as usize);
        out.extend(integer.skip_while(|&d| d == b'0'));
    }
    if out.len() == start {
        out.push(b'0');
    }
    if after > 0 {
        out.push(b'.');
        let zeros = std::iter::repeat_n(b'0', (-before).clamp(0, after) as usize);
        let fraction = digits().skip(before.max(0) as usize);
        let fraction = zeros.chain(fraction).chain(std::iter::repeat(b'0'));
        out.extend(fraction.take(after as usize));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jsonb(text: &str) -> Result<String, &'static str> {
        let mut out = Vec::new();
        let mut cursor = Cursor::new(text.as_bytes());
        normalise(&mut cursor, "j", &mut out).map_err(|fault| fault.sqlstate)?;
        assert_eq!(cursor.at, text.len());
        Ok(String::from_utf8(out).expect("jsonb is UTF-8"))
    }

    #[test]
    fn jsonb_is_written_as_postgres_prints_it() {
        for (text, want) in [
            ("{}", "{}"),
            ("[ ]", "[]"),
            (
                r#"{"bb":1,"a":2,"c":[1,{"x":null}],"a":true}"#,
                r#"{"a": true, "c": [1, {"x": null}], "bb": 1}"#,
            ),
            (r#""\u00e9\ud83d\ude00\/\u0001\n""#, r#""é😀/\u0001\n""#),
            ("1.50e1", "15.0"),
            ("1e3", "1000"),
            ("1.5E-3", "0.0015"),
            ("-0", "0"),
            ("-0.0", "0.0"),
            ("0e5", "0"),
            ("0e-2", "0.00"),
            ("0.001e2", "0.1"),
            ("0.001e3", "1"),
            ("0.0012e3", "1.2"),
            ("123.456e1", "1234.56"),
            ("-12e-1", "-1.2"),
        ] {
            assert_eq!(jsonb(text).as_deref(), Ok(want), "{text}");
        }
        assert_eq!(jsonb(r#"["\u0000"]"#), Err("22P05"));
        assert_eq!(jsonb(r#"{"\u0000":1}"#), Err("22P05"));
        assert_eq!(jsonb("1e131072"), Err("22003"));
        assert_eq!(jsonb("1e-16384"), Err("22003"));
        assert_eq!(jsonb("1e-99999999999"), Err("22003"));
        assert_eq!(jsonb(&format!("[{}1]", "1e131071,".repeat(10_000))), Err("54000"));
        assert_eq!(jsonb(&"[".repeat(100_000)), Err("54001"));
        assert_eq!(jsonb(r#"{"a":}"#), Err("22P02"));
    }
}
