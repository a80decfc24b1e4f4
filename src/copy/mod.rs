//! COPY's formats: bytes to Arrow batches and rows to bytes, without tables, sessions or sockets.
//!
//! [`CopyReader`] takes bytes as they come and gives batches of typed columns: [`lines`] finds where a row ends, [`text`] and
//! [`csv`] cut it into fields, [`binary`] reads the binary format; every field goes straight into its column's builder, and whole
//! columns are read by the functions that read a cast's text. [`CopyWriter`] is the way back. Errors are PostgreSQL's, with
//! the line and column as CONTEXT. What a reader holds is bounded by a batch and one row.

mod binary;
mod csv;
mod lines;
mod reader;
mod text;
mod writer;

#[cfg(test)]
mod tests;

pub use reader::CopyReader;
pub use writer::CopyWriter;

use crate::error::{Error, SqlState};

/// Bytes of data that a message shows.
const SHOWN_BYTES_MAX: usize = 100;

fn bad_format(message: impl Into<String>) -> Error {
    Error::new(SqlState::BAD_COPY_FILE_FORMAT, message)
}

/// Data as a CONTEXT line shows it.
fn shown(data: &str) -> String {
    match data.len() > SHOWN_BYTES_MAX {
        true => format!("{}...", &data[..data.floor_char_boundary(SHOWN_BYTES_MAX)]),
        false => data.to_owned(),
    }
}
