//! The PostgreSQL protocol, and the only code that names pgwire.
//!
//! One task a connection: [`startup`] negotiates, [`connection`] runs the loop of queries over a
//! [`crate::session::Session`], [`frontend`] decodes what clients send, [`backend`] and [`rows`] encode what they get,
//! [`mod@copy`] moves COPY's data, [`socket`] holds the bounded buffers in between; [`crate::backends`] finds a running statement by its key.
//!
//! pgwire's message structs encode what we send; its handlers are not used, since they flush only at the end and
//! cannot cancel, nor its decoders past the startup, since they trust the lengths inside a message. The wire sees neither plans nor
//! the catalog. Invariant: what one connection holds is bounded, so that a client that does not read, or sends without end, stops
//! its own session only.

mod backend;
mod connection;
mod copy;
mod frontend;
mod portal;
mod rows;
mod socket;
mod startup;
#[cfg(test)]
mod tests;

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::startup::Gate;
use crate::server::Server;

/// Connections that may be negotiating beyond the limit of sessions, so that cancel requests still get through when all
/// sessions are taken.
const STARTUPS_MAX: usize = 100;

/// How long sessions may take to end at shutdown: the server as a whole has five seconds.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

/// A pause after accept fails, mostly for want of file descriptors, so that the loop does not spin until some are back.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What the wire reports while it works, for metrics. Calls must not block.
pub trait Meter: Send + Sync {
    /// A session began; [`Meter::session_closed`] follows exactly once.
    fn session_opened(&self) {}
    fn session_closed(&self) {}
    /// A connection ended before its session began: over the limit, or a bad startup.
    fn connection_refused(&self) {}
    /// A statement ended, its rows sent; `sqlstate` when it failed.
    fn query_finished(&self, _took: Duration, _sqlstate: Option<&str>) {}
}

/// For those who do not count.
impl Meter for () {}

/// Accepts connections until `shutdown`, at most `sessions_max` sessions at a time (more are refused with 53300).
///
/// After `shutdown` running statements are cancelled, clients get 57P01, and sessions that have not ended within three
/// seconds are dropped. Returns when none is left.
pub async fn serve(
    listener: TcpListener,
    server: Arc<Server>,
    shutdown: CancellationToken,
    sessions_max: usize,
    meter: Arc<dyn Meter>,
) -> io::Result<()> {
    let gate = Arc::new(Gate::new(server, sessions_max, shutdown.clone(), meter));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < sessions_max + STARTUPS_MAX => {
                    connections.spawn(connection_task(gate.clone(), stream));
                }
                Ok(_) => gate.meter.connection_refused(),
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(SHUTDOWN_GRACE, all_ended).await.is_err() {
        tracing::warn!(
            sessions = connections.len(),
            "sessions did not end in time and are dropped"
        );
        connections.shutdown().await;
    }
    Ok(())
}

async fn connection_task(gate: Arc<Gate>, stream: TcpStream) {
    // A panic in one session must not take the others with it; the socket closes as it unwinds.
    if AssertUnwindSafe(startup::admit(gate, stream)).catch_unwind().await.is_err() {
        tracing::error!("a session panicked and was closed");
    }
}
