//! Fields of the text format: separated by a byte, special characters behind a backslash.

use super::bad_format;
use crate::error::Result;
use crate::types::utf8_text;

/// Shows a row's fields one by one, `None` for NULL. `scratch` is kept between rows.
pub(super) fn fields(
    line: &str,
    delimiter: u8,
    null: &str,
    scratch: &mut Vec<u8>,
    put: &mut dyn FnMut(Option<&str>) -> Result<()>,
) -> Result<()> {
    let bytes = line.as_bytes();
    let (mut start, mut at, mut escaped) = (0, 0, false);
    loop {
        match bytes.get(at) {
            Some(b'\\') => {
                escaped = true;
                at += 2;
                continue;
            }
            Some(byte) if *byte != delimiter => {
                at += 1;
                continue;
            }
            _ => {}
        }
        let end = at.min(bytes.len());
        // A backslash before a character of several bytes is stepped over with its first byte, so the cut is at a boundary.
        let raw = &line[start..end];
        if raw == null {
            put(None)?;
        } else if escaped {
            scratch.clear();
            unescape(raw.as_bytes(), scratch);
            put(Some(utf8_text(scratch)?))?;
        } else {
            put(Some(raw))?;
        }
        if end == bytes.len() {
            return Ok(());
        }
        (start, at, escaped) = (end + 1, end + 1, false);
    }
}

fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    let mut rest = raw;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let Some((&code, after)) = tail.split_first().filter(|_| byte == b'\\') else {
            out.push(byte);
            continue;
        };
        rest = after;
        out.push(match code {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            b'0'..=b'7' => digits(code, &mut rest, 8, 2),
            b'x' if rest.first().is_some_and(u8::is_ascii_hexdigit) => {
                digits(b'0', &mut rest, 16, 2)
            }
            other => other,
        });
    }
}

/// A number that begins with `first` and has at most `more` further digits.
fn digits(first: u8, rest: &mut &[u8], radix: u32, more: usize) -> u8 {
    let mut value = u32::from(first - b'0');
    for _ in 0..more {
        let Some((&byte, tail)) = rest.split_first() else { break };
        let Some(digit) = (byte as char).to_digit(radix) else { break };
        value = value * radix + digit;
        *rest = tail;
    }
    value as u8
}

/// The error of a row that has too few fields.
pub(super) fn missing(column: &str) -> crate::error::Error {
    bad_format(format!("missing data for column \"{column}\""))
}
