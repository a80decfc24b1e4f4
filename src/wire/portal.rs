//! Portals of one connection, and the checks that Bind makes.

use arrow_array::RecordBatch;
use arrow_schema::FieldRef;
use datafusion::scalar::ScalarValue;
use futures::stream::BoxStream;
use tokio_util::sync::CancellationToken;

use super::frontend::Bind;
use super::rows::BatchRows;
use crate::error::{Error, Result, SqlState};
use crate::session::{Named, Prepared};
use crate::types::{TextStyle, parse_binary, parse_text, utf8_text};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Binary,
}

impl Format {
    pub fn code(self) -> i16 {
        match self {
            Format::Text => 0,
            Format::Binary => 1,
        }
    }

    fn of_code(code: i16) -> Result<Format> {
        match code {
            0 => Ok(Format::Text),
            1 => Ok(Format::Binary),
            _ => {
                let message = format!("unsupported format code: {code}");
                Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message))
            }
        }
    }

    /// None given means text, one means the same for all.
    pub fn of_column(formats: &[Format], column: usize) -> Format {
        match formats {
            [] => Format::Text,
            [one] => *one,
            many => many.get(column).copied().unwrap_or(Format::Text),
        }
    }
}

/// A statement with its parameters, ready to run or running.
pub struct Portal {
    pub statement: Named,
    pub formats: Vec<Format>,
    pub state: PortalState,
}

pub enum PortalState {
    Ready {
        params: Vec<ScalarValue>,
    },
    /// Between two Executes with a row limit, or while rows are sent.
    Open(Rows),
    /// All rows are sent; running it again yields none.
    Exhausted {
        tag: &'static str,
    },
    /// A command has run, or rows have failed; it cannot run again.
    Done,
}

/// A result on its way to the client.
pub struct Rows {
    pub columns: Vec<FieldRef>,
    pub batches: BoxStream<'static, Result<RecordBatch>>,
    pub tag: &'static str,
    /// The batch being sent.
    pub batch: Option<BatchRows>,
    /// Stops the stream; cancel requests reach it while the portal is executed.
    pub cancel: CancellationToken,
}

impl Portal {
    /// Errors: 08P01 for counts that do not match, and what reading the parameters raises.
    pub fn bind(statement: Named, bind: Bind, style: &TextStyle) -> Result<Portal> {
        let formats =
            bind.result_formats.iter().map(|c| Format::of_code(*c)).collect::<Result<Vec<_>>>()?;
        let Some(prepared) = &statement else {
            return Ok(Portal {
                statement: None,
                formats,
                state: PortalState::Ready { params: vec![] },
            });
        };
        let columns = prepared.columns.as_ref().map_or(0, Vec::len);
        if formats.len() > 1 && formats.len() != columns {
            let message = format!(
                "bind message has {} result formats but query has {columns} columns",
                formats.len()
            );
            return Err(Error::new(SqlState::PROTOCOL_VIOLATION, message));
        }
        let params = read_params(prepared, &bind, style)?;
        Ok(Portal { statement, formats, state: PortalState::Ready { params } })
    }
}

fn read_params(prepared: &Prepared, bind: &Bind, style: &TextStyle) -> Result<Vec<ScalarValue>> {
    let (given, wanted) = (bind.params.len(), prepared.params.len());
    let formats =
        bind.param_formats.iter().map(|c| Format::of_code(*c)).collect::<Result<Vec<_>>>()?;
    if formats.len() > 1 && formats.len() != given {
        let message =
            format!("bind message has {} parameter formats but {given} parameters", formats.len());
        return Err(Error::new(SqlState::PROTOCOL_VIOLATION, message));
    }
    if given != wanted {
        let message = format!(
            "bind message supplies {given} parameters, but prepared statement \"{}\" requires {wanted}",
            bind.statement
        );
        return Err(Error::new(SqlState::PROTOCOL_VIOLATION, message));
    }
    let values = bind.params.iter().zip(&prepared.params).enumerate();
    values
        .map(|(i, (bytes, field))| match bytes {
            None => {
                ScalarValue::try_from(field.data_type()).map_err(|e| Error::internal(e.to_string()))
            }
            Some(bytes) => match Format::of_column(&formats, i) {
                Format::Text => parse_text(utf8_text(bytes)?, field, style),
                Format::Binary => parse_binary(bytes, field).map_err(|e| at_parameter(e, i + 1)),
            },
        })
        .collect()
}

/// PostgreSQL names the parameter whose bytes do not fit.
fn at_parameter(mut error: Error, number: usize) -> Error {
    if error.code == SqlState::INVALID_BINARY_REPRESENTATION {
        error.message.push_str(&format!(" in bind parameter {number}"));
    }
    error
}
