//! What clients send after the startup, decoded from whole messages.
//!
//! The bytes come from outside: every count and length is checked against what is left of the message. A message that does
//! not add up is 08P01 and ends the connection, since nothing after it can be trusted; text that is not UTF-8 is an
//! ordinary error (22021).

use bytes::{Buf, Bytes};

use super::socket::Frame;
use crate::error::{Error, Result, SqlState};
use crate::types::utf8_text;

#[derive(Debug, PartialEq, Eq)]
pub enum Message {
    Query {
        sql: String,
    },
    Parse {
        name: String,
        sql: String,
        param_oids: Vec<u32>,
    },
    Bind(Bind),
    Describe {
        target: Target,
        name: String,
    },
    Execute {
        portal: String,
        rows_max: i32,
    },
    Close {
        target: Target,
        name: String,
    },
    Flush,
    Sync,
    Terminate,
    /// Data of a COPY. Outside of one it is skipped, with CopyDone and CopyFail: they may follow one that failed.
    CopyData(Bytes),
    CopyDone,
    CopyFail {
        reason: String,
    },
    /// The function call of old clients.
    FunctionCall,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Bind {
    pub portal: String,
    pub statement: String,
    /// None, one for all, or one a parameter.
    pub param_formats: Vec<i16>,
    /// `None` for NULL.
    pub params: Vec<Option<Bytes>>,
    /// None, one for all, or one a column.
    pub result_formats: Vec<i16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Statement,
    Portal,
}

fn malformed() -> Error {
    Error::new(SqlState::PROTOCOL_VIOLATION, "invalid message format")
}

pub fn decode(frame: Frame) -> Result<Message> {
    let mut body = Body { rest: frame.body };
    let message = match frame.kind {
        b'Q' => Message::Query { sql: body.text()? },
        b'P' => Message::Parse {
            name: body.text()?,
            sql: body.text()?,
            param_oids: body.list(Body::u32)?,
        },
        b'B' => Message::Bind(Bind {
            portal: body.text()?,
            statement: body.text()?,
            param_formats: body.list(Body::i16)?,
            params: body.list(Body::param)?,
            result_formats: body.list(Body::i16)?,
        }),
        b'D' => Message::Describe { target: body.target()?, name: body.text()? },
        b'E' => Message::Execute { portal: body.text()?, rows_max: body.i32()? },
        b'C' => Message::Close { target: body.target()?, name: body.text()? },
        b'H' => Message::Flush,
        b'S' => Message::Sync,
        b'X' => Message::Terminate,
        b'd' => return Ok(Message::CopyData(body.rest)),
        b'c' => Message::CopyDone,
        b'f' => Message::CopyFail { reason: body.text()? },
        b'F' => return Ok(Message::FunctionCall),
        _ => return Err(malformed()),
    };
    if body.rest.has_remaining() { Err(malformed()) } else { Ok(message) }
}

struct Body {
    rest: Bytes,
}

impl Body {
    fn take(&mut self, count: usize) -> Result<Bytes> {
        if count > self.rest.len() { Err(malformed()) } else { Ok(self.rest.split_to(count)) }
    }

    fn i16(&mut self) -> Result<i16> {
        Ok(self.take(2)?.get_i16())
    }

    fn i32(&mut self) -> Result<i32> {
        Ok(self.take(4)?.get_i32())
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(self.take(4)?.get_u32())
    }

    /// Text up to a NUL.
    fn text(&mut self) -> Result<String> {
        let end = self.rest.iter().position(|b| *b == 0).ok_or_else(malformed)?;
        let text = self.take(end)?;
        self.rest.advance(1);
        Ok(utf8_text(&text)?.to_owned())
    }

    /// A count (unsigned, as newer clients have it), then as many items. Nothing is allocated on the count's word alone.
    fn list<T>(&mut self, item: impl Fn(&mut Body) -> Result<T>) -> Result<Vec<T>> {
        let count = self.i16()? as u16;
        (0..count).map(|_| item(self)).collect()
    }

    fn param(&mut self) -> Result<Option<Bytes>> {
        match self.i32()? {
            -1 => Ok(None),
            length => self.take(usize::try_from(length).map_err(|_| malformed())?).map(Some),
        }
    }

    fn target(&mut self) -> Result<Target> {
        match self.take(1)?[0] {
            b'S' => Ok(Target::Statement),
            b'P' => Ok(Target::Portal),
            _ => Err(malformed()),
        }
    }
}
