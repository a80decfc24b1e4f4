//! Decoders: the bytes of messages into Arrow rows, with an error for each message that is no row.
//!
//! Owns the seam between readers, which fill one buffer with many messages, and formats, which know what the bytes
//! mean. A decoder never fails a batch because of a message: what is wrong with one message becomes a [`Failure`] of
//! that message alone. Decoders do no I/O and know neither topics, splits nor offsets; a reader maps a failure's
//! index to its offset. A new encoding is a file here, a variant of [`Encode`] and a line in [`decoder`]; [`debezium`] takes
//! change events apart and leaves their rows to the decoder of their encoding.

pub mod debezium;
mod json;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use crate::contract::ConnectorError;
pub use json::JsonDecoder;

/// How many zero bytes should follow the last message in its buffer. Decoders look this far ahead of a message's
/// end; where the bytes are missing, the messages at the buffer's end are decoded on a slower way with the same
/// result.
pub const PADDING: usize = 64;

/// Messages laid out in one buffer, with at least [`PADDING`] zero bytes after the last one.
#[derive(Clone, Copy, Debug)]
pub struct Messages<'a> {
    pub data: &'a [u8],
    /// Where each message lies in `data`: its start and its length, in bytes.
    pub spans: &'a [(u32, u32)],
}

/// A message that did not become a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The message's index into [`Messages::spans`].
    pub message: usize,
    /// SQLSTATE of the failure, such as 22P02.
    pub sqlstate: &'static str,
    /// Why, in PostgreSQL's manner, naming the column or the position in bytes from the message's start.
    pub reason: String,
}

/// Turns messages into rows. One decoder serves one reader thread and learns from what it sees, so it is kept
/// between batches; the rows do not depend on what it has learned.
pub trait Decoder: Send {
    /// The columns of the batches: all declared ones, in their order.
    fn schema(&self) -> &SchemaRef;

    /// One row for each good message, in order. Bad messages are left out and appended to `failures`, in order.
    ///
    /// Every message is checked wholly against all declared columns, so whether it is good does not depend on which
    /// columns are wanted. A column that is not wanted comes as nulls (zero values where it is declared NOT NULL).
    ///
    /// Fails, as a defect of the caller, only when a span lies outside of the buffer.
    fn decode(
        &mut self,
        messages: Messages<'_>,
        failures: &mut Vec<Failure>,
    ) -> Result<RecordBatch, ConnectorError>;
}

/// The encodings there are: what stands after ENCODE in CREATE SOURCE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encode {
    Json,
}

impl Encode {
    /// The encoding of that name, in any case.
    pub fn from_name(name: &str) -> Result<Encode, ConnectorError> {
        if name.eq_ignore_ascii_case("json") {
            return Ok(Encode::Json);
        }
        let error = ConnectorError::fix(format!("encoding \"{name}\" is not supported"));
        Err(error.with_hint("Use ENCODE JSON."))
    }
}

/// A decoder of `encode` for the declared columns of `schema`, where `nullable = false` means NOT NULL, that builds
/// the columns at the indices `wanted`. Fails when a column's type has no reading in that encoding.
pub fn decoder(
    encode: Encode,
    schema: SchemaRef,
    wanted: &[usize],
) -> Result<Box<dyn Decoder>, ConnectorError> {
    match encode {
        Encode::Json => Ok(Box::new(JsonDecoder::new(schema, wanted)?)),
    }
}
