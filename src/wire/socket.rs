//! A client's socket with its two buffers.
//!
//! Output grows to [`OUTPUT_BYTES_FLUSH`] (and one row) before it must be flushed; flushing waits for the client, which is
//! the back-pressure. Input is read no further than one message, or [`READ_AHEAD_BYTES_MAX`] while a statement runs.
//! Invariants: output holds whole messages, of which a prefix may already be sent; both buffers are given back when the
//! connection is idle.

use std::io;
use std::net::IpAddr;

use bytes::{Buf, Bytes, BytesMut};
use tokio::net::TcpStream;

use crate::error::{Error, SqlState};

/// Output is sent once it has this many bytes: a few large writes rather than many small ones.
pub const OUTPUT_BYTES_FLUSH: usize = 64 * 1024;

/// What a client may send ahead while its statement runs; beyond it, the kernel's buffers fill and the client waits.
const READ_AHEAD_BYTES_MAX: usize = 64 * 1024;

/// Buffers above this are freed rather than kept for the next message.
const KEEP_BYTES_MAX: usize = 256 * 1024;

/// Bytes asked of the kernel at once.
const READ_BYTES: usize = 16 * 1024;

/// The longest message: a statement or parameter beyond 64 MiB is a mistake, and each connection could send one.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The longest message of the kinds that carry no data, as in PostgreSQL.
const SMALL_MESSAGE_BYTES_MAX: usize = 10_000;

/// A whole message: its kind and its body, without the length.
pub struct Frame {
    pub kind: u8,
    pub body: Bytes,
}

pub struct Socket {
    stream: TcpStream,
    pub input: BytesMut,
    pub output: BytesMut,
}

impl Socket {
    pub fn new(stream: TcpStream) -> Socket {
        Socket { stream, input: BytesMut::new(), output: BytesMut::new() }
    }

    /// Where the client is.
    pub fn client_addr(&self) -> Option<IpAddr> {
        self.stream.peer_addr().ok().map(|addr| addr.ip())
    }

    /// Waits for input and appends what is there. `false` at the end of the stream.
    pub async fn read(&mut self) -> io::Result<bool> {
        loop {
            self.stream.readable().await?;
            // Room is made only now, so that an idle connection holds none.
            self.input.reserve(READ_BYTES);
            match self.stream.try_read_buf(&mut self.input) {
                Ok(count) => return Ok(count > 0),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Returns when the client is gone; meanwhile takes in what it sends ahead, up to the bound.
    pub async fn disconnected(&mut self) {
        while self.input.len() < READ_AHEAD_BYTES_MAX {
            if !matches!(self.read().await, Ok(true)) {
                return;
            }
        }
        // Past the bound the end of the stream cannot be seen behind what the kernel holds; a failing write will tell.
        std::future::pending().await
    }

    /// The next message, if it is wholly there. Errors with 08P01 for lengths that cannot be.
    pub fn take_frame(&mut self) -> Result<Option<Frame>, Error> {
        let Some(head) = self.input.first_chunk::<5>() else { return Ok(None) };
        let kind = head[0];
        let length = i32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let most = match kind {
            b'Q' | b'P' | b'B' | b'd' | b'F' => MESSAGE_BYTES_MAX,
            b'p' | b'C' | b'D' | b'E' | b'H' | b'S' | b'X' | b'c' | b'f' => SMALL_MESSAGE_BYTES_MAX,
            _ => {
                let message = format!("invalid frontend message type {kind}");
                return Err(Error::new(SqlState::PROTOCOL_VIOLATION, message));
            }
        };
        let length = usize::try_from(length).ok().filter(|n| (4..=most).contains(n)).ok_or_else(|| {
            Error::new(SqlState::PROTOCOL_VIOLATION, "invalid message length").with_detail(format!(
                "A message of type \"{}\" has {length} bytes; between 4 and {most} are allowed.",
                kind as char
            ))
        })?;
        if self.input.len() < length + 1 {
            return Ok(None);
        }
        let mut body = self.input.split_to(length + 1);
        body.advance(5);
        Ok(Some(Frame { kind, body: body.freeze() }))
    }

    /// The kind of the next message that does something, as far as it is there: what closes a statement or portal does
    /// nothing that others see.
    pub fn next_kind(&self) -> Option<u8> {
        let mut input = &self.input[..];
        while let Some((b'C', rest)) = input.split_first() {
            let length = rest.first_chunk().map(|length| i32::from_be_bytes(*length))?;
            input = rest.get(usize::try_from(length).ok()?..)?;
        }
        input.first().copied()
    }

    /// Sends all output. May be dropped in between: what is sent is gone from the buffer, the rest stays.
    pub async fn flush(&mut self) -> io::Result<()> {
        while !self.output.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(&self.output) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.output.advance(count),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
        if self.output.capacity() > KEEP_BYTES_MAX {
            self.output = BytesMut::new();
        } else {
            self.output.clear();
        }
        Ok(())
    }

    /// Gives the buffers back before a wait of unknown length.
    pub fn release(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        if self.output.is_empty() {
            self.output = BytesMut::new();
        }
    }
}
