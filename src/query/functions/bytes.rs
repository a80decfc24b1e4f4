//! Functions of byte strings, `length` of both kinds of strings, and texts that stand for bytes.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_schema::DataType;
use datafusion::logical_expr::ScalarUDF;

use super::native::Kind::{Bytea, Int4, Int8, Text};
use super::native::{Call, form, infallible, native};
use super::strings::span;
use crate::error::{Error, Result, SqlState};

/// The family.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    use DataType::{Binary, Int32, Int64, Utf8};
    let trims = [
        ("btrim", trim_both as fn(&Call) -> Result<ArrayRef>, trim_both_text as fn(&Call) -> _),
        ("ltrim", trim_start, trim_start_text),
        ("rtrim", trim_end, trim_end_text),
    ];
    let trims = trims.map(|(name, of_bytes, of_text)| {
        let forms = vec![
            form(&[Text], Utf8, of_text),
            form(&[Text, Text], Utf8, of_text),
            form(&[Bytea, Bytea], Binary, of_bytes),
        ];
        infallible(name, forms)
    });
    let strpos = |name| {
        let forms =
            vec![form(&[Text, Text], Int32, find), form(&[Bytea, Bytea], Int32, find_bytes)];
        infallible(name, forms)
    };
    let mut functions = vec![
        native(
            "length",
            vec![form(&[Text], Int32, length), form(&[Bytea], Int32, length_of_bytes)],
        ),
        strpos("strpos"),
        strpos("position"),
        native(
            "overlay",
            vec![
                form(&[Text, Text, Int4], Utf8, overlay_text),
                form(&[Text, Text, Int4, Int4], Utf8, overlay_text),
                form(&[Bytea, Bytea, Int4], Binary, overlay),
                form(&[Bytea, Bytea, Int4, Int4], Binary, overlay),
            ],
        ),
        native("get_byte", vec![form(&[Bytea, Int4], Int32, get_byte)]),
        native("set_byte", vec![form(&[Bytea, Int4, Int4], Binary, set_byte)]),
        native("get_bit", vec![form(&[Bytea, Int8], Int32, get_bit)]),
        native("set_bit", vec![form(&[Bytea, Int8, Int4], Binary, set_bit)]),
        infallible("bit_count", vec![form(&[Bytea], Int64, bit_count)]),
        native("encode", vec![form(&[Bytea, Text], Utf8, encode)]),
        native("decode", vec![form(&[Text, Text], Binary, decode)]),
        native("convert_to", vec![form(&[Text, Text], Binary, convert_to)]),
        native("convert_from", vec![form(&[Bytea, Text], Utf8, convert_from)]),
    ];
    functions.extend(trims);
    functions
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

fn count(n: usize) -> i32 {
    // A value has less than 2 GiB: Arrow's offsets are of 32 bits.
    n as i32
}

fn length(call: &Call) -> Result<ArrayRef> {
    call.values::<Int32Type>(|row| Ok(Some(count(call.text(0, row).chars().count()))))
}

fn length_of_bytes(call: &Call) -> Result<ArrayRef> {
    call.values::<Int32Type>(|row| Ok(Some(count(call.bytes(0, row).len()))))
}

pub(super) fn substr(call: &Call) -> Result<ArrayRef> {
    call.blobs(|row, out| {
        let bytes = call.bytes(0, row);
        let length = (call.count() == 3).then(|| call.int(2, row));
        let (start, end) = span(call.int(1, row), length)?;
        let end = end.min(bytes.len());
        out.extend_from_slice(bytes.get(start.min(end)..end).unwrap_or_default());
        Ok(true)
    })
}

fn find(call: &Call) -> Result<ArrayRef> {
    call.values::<Int32Type>(|row| {
        let text = call.text(0, row);
        let at = text.find(call.text(1, row));
        Ok(Some(at.map_or(0, |at| count(text[..at].chars().count()) + 1)))
    })
}

fn find_bytes(call: &Call) -> Result<ArrayRef> {
    call.values::<Int32Type>(|row| {
        let (bytes, part) = (call.bytes(0, row), call.bytes(1, row));
        let at = match part.is_empty() {
            true => Some(0),
            false => bytes.windows(part.len()).position(|window| window == part),
        };
        Ok(Some(at.map_or(0, |at| count(at) + 1)))
    })
}

/// Where what is overlaid begins and ends, from zero; `length` is that of what is laid there unless given.
fn overlaid(call: &Call, row: usize, length: usize) -> Result<(usize, usize)> {
    let start = call.int(2, row);
    if start <= 0 {
        let message = "negative substring length not allowed";
        return Err(Error::new(SqlState("22011"), message));
    }
    let length = if call.count() == 4 { i64::from(call.int(3, row)) } else { length as i64 };
    let start = i64::from(start) - 1;
    Ok((start as usize, (start + length).max(0) as usize))
}

fn overlay(call: &Call) -> Result<ArrayRef> {
    call.blobs(|row, out| {
        let (bytes, laid) = (call.bytes(0, row), call.bytes(1, row));
        let (start, end) = overlaid(call, row, laid.len())?;
        out.extend_from_slice(&bytes[..start.min(bytes.len())]);
        out.extend_from_slice(laid);
        out.extend_from_slice(&bytes[end.min(bytes.len())..]);
        Ok(true)
    })
}

fn overlay_text(call: &Call) -> Result<ArrayRef> {
    call.texts(|row, out| {
        let (text, laid) = (call.text(0, row), call.text(1, row));
        let (start, end) = overlaid(call, row, laid.chars().count())?;
        out.extend(text.chars().take(start));
        out.push_str(laid);
        out.extend(text.chars().skip(end));
        Ok(true)
    })
}

fn trimmed<'a>(bytes: &'a [u8], set: &[u8], start: bool, end: bool) -> &'a [u8] {
    let mut bytes = bytes;
    while let Some((_, rest)) = bytes.split_first().filter(|(b, _)| start && set.contains(b)) {
        bytes = rest;
    }
    while let Some((_, rest)) = bytes.split_last().filter(|(b, _)| end && set.contains(b)) {
        bytes = rest;
    }
    bytes
}

fn trim(call: &Call, start: bool, end: bool) -> Result<ArrayRef> {
    call.blobs(|row, out| {
        out.extend_from_slice(trimmed(call.bytes(0, row), call.bytes(1, row), start, end));
        Ok(true)
    })
}

fn trim_both(call: &Call) -> Result<ArrayRef> {
    trim(call, true, true)
}

fn trim_start(call: &Call) -> Result<ArrayRef> {
    trim(call, true, false)
}

fn trim_end(call: &Call) -> Result<ArrayRef> {
    trim(call, false, true)
}

fn trim_text(call: &Call, start: bool, end: bool) -> Result<ArrayRef> {
    call.texts(|row, out| {
        let set = if call.count() > 1 { call.text(1, row) } else { " " };
        let mut text = call.text(0, row);
        if start {
            text = text.trim_start_matches(|c| set.contains(c));
        }
        if end {
            text = text.trim_end_matches(|c| set.contains(c));
        }
        out.push_str(text);
        Ok(true)
    })
}

fn trim_both_text(call: &Call) -> Result<ArrayRef> {
    trim_text(call, true, true)
}

fn trim_start_text(call: &Call) -> Result<ArrayRef> {
    trim_text(call, true, false)
}

fn trim_end_text(call: &Call) -> Result<ArrayRef> {
    trim_text(call, false, true)
}

/// The byte of an index, and which of its bits where the index counts bits; 2202E outside of the bytes.
fn within(index: i64, bytes: &[u8], each: usize) -> Result<usize> {
    let valid = bytes.len() * each;
    usize::try_from(index).ok().filter(|index| *index < valid).ok_or_else(|| {
        let message = format!("index {index} out of valid range, 0..{}", valid as i64 - 1);
        Error::new(SqlState("2202E"), message)
    })
}

fn get_byte(call: &Call) -> Result<ArrayRef> {
    call.values::<Int32Type>(|row| {
        let bytes = call.bytes(0, row);
        let index = within(call.int(1, row).into(), bytes, 1)?;
        Ok(Some(bytes[index].into()))
    })
}

fn set_byte(call: &Call) -> Result<ArrayRef> {
    call.blobs(|row, out| {
        out.extend_from_slice(call.bytes(0, row));
        let index = within(call.int(1, row).into(), out, 1)?;
        out[index] = call.int(2, row) as u8;
        Ok(true)
    })
}

fn get_bit(call: &Call) -> Result<ArrayRef> {
    call.values::<Int32Type>(|row| {
        let bytes = call.bytes(0, row);
        let index = within(call.long(1, row), bytes, 8)?;
        Ok(Some((bytes[index / 8] >> (index % 8) & 1).into()))
    })
}

fn set_bit(call: &Call) -> Result<ArrayRef> {
    call.blobs(|row, out| {
        out.extend_from_slice(call.bytes(0, row));
        let index = within(call.long(1, row), out, 8)?;
        let mask = 1 << (index % 8);
        match call.int(2, row) {
            0 => out[index / 8] &= !mask,
            1 => out[index / 8] |= mask,
            _ => return Err(invalid("new bit must be 0 or 1")),
        }
        Ok(true)
    })
}

fn bit_count(call: &Call) -> Result<ArrayRef> {
    call.values::<Int64Type>(|row| {
        Ok(Some(call.bytes(0, row).iter().map(|b| i64::from(b.count_ones())).sum()))
    })
}

/// A way to write bytes as text.
enum Coding {
    Hex,
    Base64,
    Escape,
}

impl Coding {
    fn named(name: &str) -> Result<Coding> {
        match name.to_ascii_lowercase().as_str() {
            "hex" => Ok(Coding::Hex),
            "base64" => Ok(Coding::Base64),
            "escape" => Ok(Coding::Escape),
            _ => Err(invalid(format!("unrecognized encoding: \"{name}\""))),
        }
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Characters of a line of base64, as in mail.
const BASE64_LINE: usize = 76;

fn encode(call: &Call) -> Result<ArrayRef> {
    call.texts(|row, out| {
        let bytes = call.bytes(0, row);
        match Coding::named(call.text(1, row))? {
            Coding::Hex => out.extend(bytes.iter().flat_map(|b| {
                [HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]].map(char::from)
            })),
            Coding::Base64 => push_base64(bytes, out),
            Coding::Escape => push_escaped(bytes, out),
        }
        Ok(true)
    })
}

fn push_base64(bytes: &[u8], out: &mut String) {
    let mut column = 0;
    for chunk in bytes.chunks(3) {
        if column == BASE64_LINE {
            out.push('\n');
            column = 0;
        }
        let value =
            chunk.iter().fold(0, |v, b| v << 8 | usize::from(*b)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            out.push(match place <= chunk.len() {
                true => char::from(BASE64[value >> (18 - 6 * place) & 63]),
                false => '=',
            });
        }
        column += 4;
    }
}

fn push_escaped(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            0 | 0x80.. => {
                out.push('\\');
                out.extend([byte >> 6, byte >> 3 & 7, byte & 7].map(|d| char::from(b'0' + d)));
            }
            byte => out.push(char::from(*byte)),
        }
    }
}

fn decode(call: &Call) -> Result<ArrayRef> {
    call.blobs(|row, out| {
        let text = call.text(0, row);
        match Coding::named(call.text(1, row))? {
            Coding::Hex => read_hex(text, out)?,
            Coding::Base64 => read_base64(text, out)?,
            Coding::Escape => read_escaped(text, out)?,
        }
        Ok(true)
    })
}

fn read_hex(text: &str, out: &mut Vec<u8>) -> Result<()> {
    let mut high = None;
    for c in text.chars().filter(|c| !matches!(c, ' ' | '\n' | '\t' | '\r')) {
        let digit = c.to_digit(16).map(|digit| digit as u8);
        let digit = digit.ok_or_else(|| invalid(format!("invalid hexadecimal digit: \"{c}\"")))?;
        match high.take() {
            None => high = Some(digit),
            Some(high) => out.push(high << 4 | digit),
        }
    }
    match high {
        None => Ok(()),
        Some(_) => Err(invalid("invalid hexadecimal data: odd number of digits")),
    }
}

fn read_base64(text: &str, out: &mut Vec<u8>) -> Result<()> {
    let incomplete = || {
        invalid("invalid base64 end sequence")
            .with_hint("Input data is missing padding, is truncated, or is otherwise corrupted.")
    };
    let (mut value, mut places, mut padding) = (0u32, 0, 0);
    for c in text.chars().filter(|c| !matches!(c, ' ' | '\n' | '\t' | '\r')) {
        let digit = match c {
            '=' if places >= 2 => {
                padding += 1;
                0
            }
            '=' => return Err(invalid("unexpected \"=\" while decoding base64 sequence")),
            c => match BASE64.iter().position(|known| char::from(*known) == c) {
                Some(digit) if padding == 0 => digit as u32,
                _ => {
                    let message =
                        format!("invalid symbol \"{c}\" found while decoding base64 sequence");
                    return Err(invalid(message));
                }
            },
        };
        (value, places) = (value << 6 | digit, places + 1);
        if places == 4 {
            let bytes = value.to_be_bytes();
            out.extend_from_slice(&bytes[1..4 - padding]);
            (value, places) = (0, 0);
        }
    }
    if places == 0 { Ok(()) } else { Err(incomplete()) }
}

fn read_escaped(text: &str, out: &mut Vec<u8>) -> Result<()> {
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        match (byte, behind) {
            (b'\\', [b'\\', behind @ ..]) => {
                out.push(b'\\');
                rest = behind;
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', behind @ ..]) => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = behind;
            }
            (b'\\', _) => {
                let message = "invalid input syntax for type bytea";
                return Err(Error::new(SqlState::INVALID_TEXT_REPRESENTATION, message));
            }
            (byte, behind) => {
                out.push(*byte);
                rest = behind;
            }
        }
    }
    Ok(())
}

/// A way to write characters as bytes.
#[derive(Clone, Copy)]
enum Charset {
    Utf8,
    Latin1,
    Ascii,
}

impl Charset {
    fn named(name: &str, role: &str) -> Result<Charset> {
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        match plain.to_ascii_lowercase().as_str() {
            "utf8" | "unicode" => Ok(Charset::Utf8),
            "latin1" | "iso88591" => Ok(Charset::Latin1),
            "sqlascii" => Ok(Charset::Ascii),
            _ => Err(invalid(format!("invalid {role} encoding name \"{name}\""))),
        }
    }
}

fn convert_to(call: &Call) -> Result<ArrayRef> {
    call.blobs(|row, out| {
        let text = call.text(0, row);
        match Charset::named(call.text(1, row), "destination")? {
            Charset::Utf8 | Charset::Ascii => out.extend_from_slice(text.as_bytes()),
            Charset::Latin1 => {
                for c in text.chars() {
                    out.push(u8::try_from(u32::from(c)).map_err(|_| untranslatable(c))?);
                }
            }
        }
        Ok(true)
    })
}

fn untranslatable(c: char) -> Error {
    let bytes: Vec<String> =
        c.encode_utf8(&mut [0; 4]).bytes().map(|b| format!("0x{b:02x}")).collect();
    let message = format!(
        "character with byte sequence {} in encoding \"UTF8\" has no equivalent in encoding \"LATIN1\"",
        bytes.join(" ")
    );
    Error::new(SqlState("22P05"), message)
}

fn convert_from(call: &Call) -> Result<ArrayRef> {
    call.texts(|row, out| {
        let bytes = call.bytes(0, row);
        match Charset::named(call.text(1, row), "source")? {
            Charset::Utf8 | Charset::Ascii => out.push_str(crate::types::utf8_text(bytes)?),
            Charset::Latin1 if bytes.contains(&0) => {
                let message = "invalid byte sequence for encoding \"LATIN1\": 0x00";
                return Err(Error::new(SqlState("22021"), message));
            }
            Charset::Latin1 => out.extend(bytes.iter().map(|b| char::from(*b))),
        }
        Ok(true)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_reads_back_what_it_writes() {
        for bytes in [&b""[..], b"a", b"ab", b"abc", &[255; 100]] {
            let mut text = String::new();
            push_base64(bytes, &mut text);
            let mut back = vec![];
            read_base64(&text, &mut back).unwrap();
            assert_eq!(back, bytes);
        }
        assert!(read_base64("YW", &mut vec![]).is_err() && read_base64("=", &mut vec![]).is_err());
    }

    #[test]
    fn the_escape_coding_writes_what_is_not_ascii_in_octal() {
        let mut text = String::new();
        push_escaped(b"\0\xff\\a", &mut text);
        assert_eq!(text, "\\000\\377\\\\a");
        let mut back = vec![];
        read_escaped(&text, &mut back).unwrap();
        assert_eq!(back, b"\0\xff\\a");
        assert!(read_escaped("\\9", &mut back).is_err());
    }
}
