//! The copy subprotocol: data from the client until it says that this is all, and rows as data to it.
//!
//! Flush and Sync are ignored while a client copies in, as in PostgreSQL, since drivers send a Sync before the data. After an
//! error the data that is still on its way is skipped as any other message. Data is taken message by message, so a client
//! sends no faster than its data is read.

use std::io;

use bytes::{BufMut, BytesMut};
use futures::{FutureExt, StreamExt};
use tokio_util::sync::CancellationToken;

use super::backend;
use super::connection::{Failure, Flow, canceled, watch};
use super::frontend::{self, Message};
use super::socket::{OUTPUT_BYTES_FLUSH, Socket};
use crate::error::{Error, SqlState};
use crate::session::{CopyIn, CopyOut, Outcome, Session};
use crate::types::TextStyle;

/// Takes a client's data to its end and writes it.
pub(super) async fn copy_in(
    socket: &mut Socket,
    session: &mut Session,
    mut copy: CopyIn,
    cancel: &CancellationToken,
) -> Flow<Outcome> {
    backend::put_copy_in(copy.is_binary(), copy.columns(), &mut socket.output);
    socket.flush().await?;
    loop {
        let message = tokio::select! {
            biased;
            // First what is there: were the Sync behind Execute left for later, the client would be told twice of one end.
            message = next_message(socket) => message?,
            () = cancel.cancelled() => return Err(canceled().into()),
        };
        match message {
            Message::CopyData(_) if cancel.is_cancelled() => return Err(canceled().into()),
            Message::CopyData(data) => session.copy_data(&mut copy, &data, cancel).await?,
            Message::CopyDone => {
                return Ok(watch(socket, cancel, session.copy_done(copy, cancel)).await??);
            }
            Message::CopyFail { reason } => {
                let message = format!("COPY from stdin failed: {reason}");
                return Err(Error::new(SqlState::QUERY_CANCELED, message).into());
            }
            Message::Flush | Message::Sync => {}
            Message::Terminate => return Err(Failure::Closed),
            _ => {
                let message = "unexpected message type during COPY from stdin";
                return Err(Failure::Fatal(Error::new(SqlState::PROTOCOL_VIOLATION, message)));
            }
        }
    }
}

async fn next_message(socket: &mut Socket) -> Flow<Message> {
    loop {
        if let Some(frame) = socket.take_frame().map_err(Failure::Fatal)? {
            return frontend::decode(frame).map_err(|error| match error.code {
                SqlState::PROTOCOL_VIOLATION => Failure::Fatal(error),
                _ => Failure::Statement(error),
            });
        }
        if !socket.read().await? {
            return Err(Failure::Closed);
        }
    }
}

/// Sends rows as data, one message a row; returns how many.
pub(super) async fn copy_out(
    socket: &mut Socket,
    copy: CopyOut,
    style: &TextStyle,
    cancel: &CancellationToken,
) -> Flow<u64> {
    let CopyOut { mut writer, mut batches } = copy;
    backend::put_copy_out(writer.is_binary(), writer.columns(), &mut socket.output);
    // The binary format's header travels with what follows it, where drivers look for it; a line of names is a row.
    let mut begins = writer.is_binary();
    if !begins {
        put_data(&mut socket.output, |out| {
            writer.begin(out);
            Ok(())
        })?;
    }
    let mut rows = 0;
    loop {
        let next = match batches.next().now_or_never() {
            Some(next) => next,
            None => {
                let wait = async {
                    socket.flush().await?;
                    watch(socket, cancel, batches.next()).await
                };
                match cancel.run_until_cancelled(wait).await {
                    Some(next) => next?,
                    None => return Err(canceled().into()),
                }
            }
        };
        let Some(batch) = next.transpose()? else { break };
        let writers = writer.writers(&batch)?;
        for row in 0..batch.num_rows() {
            put_data(&mut socket.output, |out| {
                if std::mem::take(&mut begins) {
                    writer.begin(out);
                }
                writer.row(&writers, row, style, out)
            })?;
            if socket.output.len() >= OUTPUT_BYTES_FLUSH {
                flush(socket, cancel).await?;
            }
        }
        rows += batch.num_rows() as u64;
    }
    put_data(&mut socket.output, |out| {
        if begins {
            writer.begin(out);
        }
        writer.end(out);
        Ok(())
    })?;
    backend::put_copy_done(&mut socket.output);
    Ok(rows)
}

async fn flush(socket: &mut Socket, cancel: &CancellationToken) -> Flow<()> {
    let flushed: Option<io::Result<()>> = cancel.run_until_cancelled(socket.flush()).await;
    match flushed {
        Some(flushed) => Ok(flushed?),
        None => Err(canceled().into()),
    }
}

/// A CopyData message of what `write` appends; none where that is nothing or fails.
fn put_data(
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut) -> Result<(), Error>,
) -> Result<(), Error> {
    const HEAD: usize = 5;
    let start = out.len();
    out.put_u8(b'd');
    out.put_i32(0);
    let written = write(out);
    let length = out.len() - start - 1;
    let fits = i32::try_from(length).ok().filter(|_| out.len() > start + HEAD);
    match (&written, fits) {
        (Ok(()), Some(length)) => {
            out[start + 1..start + HEAD].copy_from_slice(&length.to_be_bytes());
        }
        _ => out.truncate(start),
    }
    written
}
