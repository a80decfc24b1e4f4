//! JSON messages into Arrow rows.
//!
//! Owns what a JSON message means for declared columns. It refuses, each message for itself and never the batch,
//! whatever is not exactly one JSON object (RFC 8259, UTF-8) with a fitting value for every declared column.
//!
//! ```text
//! message ──> template ───────────────────────────────> column ──> RecordBatch
//!                │ does not fit          ▲
//!                └──> value ─ cursor, jsonb, types ─> learned for next time
//! ```
//!
//! # Messages
//! - Whitespace around the object is allowed. An empty message, a scalar, an array, a second object, trailing bytes,
//!   invalid UTF-8, lone surrogates: 22P02 with the position. Nesting deeper than 128 levels: 54001.
//! - A key takes the column of exactly its name, else the one that differs only in case. Other keys are passed over;
//!   their values must still be JSON.
//! - Of keys that mean the same column the last one wins; each of the values must fit.
//! - A missing member and `null` are NULL (also in a jsonb column); where the column, a struct's field or a list's element
//!   is NOT NULL that is 23502.
//!
//! # Values
//! Faults name the column. What is no value of the type is 22P02, 22007 for dates and times; what is beyond its
//! range 22003, 22008 for dates and times.
//!
//! | column | takes |
//! | --- | --- |
//! | boolean | `true`, `false`; a string that PostgreSQL reads as one |
//! | smallint, integer, bigint | a number of integral value (`1.0` and `1e3` are, `1.5` is refused); a string of digits |
//! | real, double precision | a number; a string with a number, `NaN`, `Infinity` or `-Infinity` |
//! | numeric(p, s) | a number or a string with one, exact, rounded half away from zero to the scale |
//! | text | a string; anything else but `null` as its JSON text, as it stands in the message. `\u0000` is 22P05 |
//! | varchar(n), char(n) | the same; what is too long may lose blanks at its end, else it is 22001 |
//! | jsonb | any value but `null`, as PostgreSQL prints it |
//! | bytea | a string in PostgreSQL's bytea syntax: `\x` and hexadecimal digits, else the escape format. No base64 |
//! | date | an ISO 8601 string; a number of days since 1970-01-01 |
//! | time | an ISO 8601 string; a number of microseconds since midnight |
//! | timestamp | an ISO 8601 string (with `T` or a space), whose zone is ignored; a number of seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by its size |
//! | timestamp with time zone | the same, but the zone counts; without one it is UTC |
//! | interval | a string in PostgreSQL's style or ISO 8601's with designators |
//! | uuid | a string |
//! | array | an array whose elements fit |
//! | struct | an object, by the rules of messages |
//! | map | an object whose keys and values fit; of a key that comes twice the last one counts |

mod blocks;
mod column;
pub(super) mod cursor;
mod jsonb;
mod template;
#[cfg(test)]
mod tests;
mod value;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::{ArrowError, SchemaRef};

use self::column::Columns;
use self::template::{Learner, Templates};
use super::{Decoder, Failure, Messages};
use crate::contract::{ConnectorError, ErrorKind};

/// Decodes JSON; see the module's documentation for what it takes.
#[derive(Debug)]
pub struct JsonDecoder {
    schema: SchemaRef,
    columns: Columns,
    templates: Templates,
    learner: Learner,
    /// Without templates every message goes the careful way, which tests compare with the fast one.
    use_templates: bool,
}

impl JsonDecoder {
    /// A decoder for the declared columns of `schema`, where `nullable = false` means NOT NULL, that builds the
    /// columns at the indices `wanted`; the others are only checked. Fails when a column has a type that JSON is not
    /// read into, or an index is out of bounds.
    pub fn new(schema: SchemaRef, wanted: &[usize]) -> Result<Self, ConnectorError> {
        let count = schema.fields().len();
        if let Some(index) = wanted.iter().find(|&&index| index >= count) {
            let message = format!("column {index} is wanted of a source with {count} columns");
            return Err(ConnectorError::new(ErrorKind::Bug, message));
        }
        let columns = Columns::new(schema.fields(), wanted)?;
        Ok(JsonDecoder {
            schema,
            columns,
            templates: Templates::default(),
            learner: Learner::default(),
            use_templates: true,
        })
    }

    /// See [`Decoder::decode`].
    pub fn decode(
        &mut self,
        messages: Messages<'_>,
        failures: &mut Vec<Failure>,
    ) -> Result<RecordBatch, ConnectorError> {
        let Messages { data, spans } = messages;
        let bytes = spans.iter().map(|&(_, len)| len as usize).sum();
        self.columns.reserve(spans.len(), bytes);
        for (message, &(start, len)) in spans.iter().enumerate() {
            let (start, end) = (start as usize, start as usize + len as usize);
            if end > data.len() {
                self.columns.rollback(0);
                let reason =
                    format!("message {message} ends at byte {end} of a buffer with {}", data.len());
                return Err(ConnectorError::new(ErrorKind::Bug, reason));
            }
            if self.use_templates
                && self.templates.read_message(&mut self.columns, data, start, end)
            {
                continue;
            }
            let rows = self.columns.rows();
            match self.columns.read_message(&data[start..end], &mut self.learner) {
                Ok(()) => self.templates.learn(&mut self.learner),
                Err(fault) => {
                    self.columns.rollback(rows);
                    failures.push(Failure {
                        message,
                        sqlstate: fault.sqlstate,
                        reason: fault.reason,
                    });
                }
            }
        }
        let (arrays, rows) = self.columns.finish().map_err(defect)?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options).map_err(defect)
    }
}

/// Arrow refused columns that were built for it.
fn defect(error: ArrowError) -> ConnectorError {
    ConnectorError::new(ErrorKind::Bug, format!("decoded columns do not make a batch: {error}"))
}

impl Decoder for JsonDecoder {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn decode(
        &mut self,
        messages: Messages<'_>,
        failures: &mut Vec<Failure>,
    ) -> Result<RecordBatch, ConnectorError> {
        JsonDecoder::decode(self, messages, failures)
    }
}
