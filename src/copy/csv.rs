//! Fields of the CSV format: quotes around what could be mistaken, NULL by the lack of them.

use super::bad_format;
use crate::error::Result;
use crate::sql::CopyOptions;

/// What the options say of a column.
#[derive(Clone, Copy, Default)]
pub(super) struct Force {
    /// An unquoted NULL is the text it is written as.
    pub not_null: bool,
    /// A quoted one is NULL, too.
    pub null: bool,
}

/// Shows a row's fields one by one, `None` for NULL. `scratch` is kept between rows.
pub(super) fn fields(
    line: &str,
    options: &CopyOptions,
    force: &[Force],
    scratch: &mut Vec<u8>,
    put: &mut dyn FnMut(Option<&str>) -> Result<()>,
) -> Result<()> {
    let bytes = line.as_bytes();
    let mut at = 0;
    for column in 0.. {
        let force = force.get(column).copied().unwrap_or_default();
        let plain = bytes[at..].iter().position(|b| *b == options.delimiter || *b == options.quote);
        let end = plain.map_or(bytes.len(), |length| at + length);
        if bytes.get(end) == Some(&options.quote) {
            scratch.clear();
            at = quoted(bytes, at, options, scratch)?;
            // Cut at bytes that are no part of any other character, so the pieces are whole.
            let value = crate::types::utf8_text(scratch)?;
            put((!(force.null && value == options.null)).then_some(value))?;
        } else {
            let value = &line[at..end];
            put((value != options.null || force.not_null).then_some(value))?;
            at = end;
        }
        if at >= bytes.len() {
            return Ok(());
        }
        at += 1;
    }
    Ok(())
}

/// Reads a field that has quotes in it, up to its delimiter; returns where that is.
fn quoted(bytes: &[u8], from: usize, options: &CopyOptions, out: &mut Vec<u8>) -> Result<usize> {
    let (mut at, mut inside) = (from, false);
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        if !inside {
            match byte {
                _ if byte == options.delimiter => return Ok(at - 1),
                _ if byte == options.quote => inside = true,
                _ => out.push(byte),
            }
            continue;
        }
        let next = bytes.get(at);
        let escapes = next.filter(|next| **next == options.quote || **next == options.escape);
        match escapes {
            Some(next) if byte == options.escape => {
                out.push(*next);
                at += 1;
            }
            _ if byte == options.quote => inside = false,
            _ => out.push(byte),
        }
    }
    if inside { Err(bad_format("unterminated CSV quoted field")) } else { Ok(at) }
}
