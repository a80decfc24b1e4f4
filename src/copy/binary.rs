//! Rows of the binary format: a signature, then a count of fields a row and a length a field.

use super::bad_format;
use crate::error::{Error, Result};

pub(super) const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// Flags below this one may be ignored.
const CRITICAL_FLAGS: u32 = 1 << 16;

/// What the bytes begin with.
pub(super) enum Head {
    /// More bytes are needed.
    Partial,
    /// So many bytes are the header, or a row whose fields have been shown.
    Taken(usize),
    /// The end of the data.
    Trailer(usize),
}

/// The header of a file.
pub(super) fn header(bytes: &[u8]) -> Result<Head> {
    let known = bytes.len().min(SIGNATURE.len());
    if bytes[..known] != SIGNATURE[..known] {
        return Err(bad_format("COPY file signature not recognized"));
    }
    let Some(flags) = word(bytes, SIGNATURE.len()) else { return Ok(Head::Partial) };
    if flags >= CRITICAL_FLAGS {
        return Err(bad_format("unrecognized critical flags in COPY file header"));
    }
    let Some(extension) = word(bytes, SIGNATURE.len() + 4) else { return Ok(Head::Partial) };
    let extension = i32::try_from(extension)
        .map_err(|_| bad_format("invalid COPY file header (wrong length)"))?;
    let length = SIGNATURE.len() + 8 + extension as usize;
    Ok(if bytes.len() < length { Head::Partial } else { Head::Taken(length) })
}

/// The next row: its fields are shown once all of them are there.
pub(super) fn row(
    bytes: &[u8],
    columns: usize,
    put: &mut dyn FnMut(usize, Option<&[u8]>),
) -> Result<Head> {
    let Some(count) = bytes.first_chunk::<2>().map(|b| i16::from_be_bytes(*b)) else {
        return Ok(Head::Partial);
    };
    if count == -1 {
        return Ok(Head::Trailer(2));
    }
    if count as usize != columns {
        return Err(bad_format(format!("row field count is {count}, expected {columns}")));
    }
    let mut end = 2;
    for _ in 0..columns {
        let Some(length) = word(bytes, end) else { return Ok(Head::Partial) };
        end += 4 + length_of(length)?.unwrap_or(0);
        if bytes.len() < end {
            return Ok(Head::Partial);
        }
    }
    let mut at = 2;
    for column in 0..columns {
        let length = word(bytes, at).map(length_of).transpose()?.flatten();
        at += 4;
        put(column, length.map(|length| &bytes[at..at + length]));
        at += length.unwrap_or(0);
    }
    Ok(Head::Taken(end))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().map(|b| u32::from_be_bytes(*b))
}

/// A field's length; `None` for NULL.
fn length_of(word: u32) -> Result<Option<usize>, Error> {
    match word as i32 {
        -1 => Ok(None),
        length => usize::try_from(length).map(Some).map_err(|_| bad_format("invalid field size")),
    }
}
