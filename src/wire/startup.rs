//! From an accepted socket to a session: encryption requests (refused, TLS is not there yet), the startup packet, the
//! connection limit, and what a new session is told. A cancel request is answered here and never becomes a session.
//!
//! Authentication is trust: the server listens on loopback unless told otherwise.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use pgwire::messages::cancel::CancelRequest;
use pgwire::messages::startup::{GssEncRequest, SecretKey, SslRequest, Startup};
use pgwire::messages::{DecodeContext, Message, ProtocolVersion};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::Meter;
use super::backend::{self, Severity};
use super::connection::Connection;
use super::socket::Socket;
use crate::error::{Error, SqlState};
use crate::server::Server;
use crate::session::Session;

/// A client has this long to say who it is.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(60);

/// PostgreSQL's bound on a startup packet.
const STARTUP_BYTES_MAX: usize = 10_000;

/// What all connections share.
pub struct Gate {
    server: Arc<Server>,
    sessions: AtomicUsize,
    sessions_max: usize,
    shutdown: CancellationToken,
    pub meter: Arc<dyn Meter>,
}

impl Gate {
    pub fn new(
        server: Arc<Server>,
        sessions_max: usize,
        shutdown: CancellationToken,
        meter: Arc<dyn Meter>,
    ) -> Gate {
        let sessions = AtomicUsize::new(0);
        Gate { server, sessions, sessions_max, shutdown, meter }
    }

    /// A place among the sessions, if one is left.
    fn seat(self: &Arc<Self>) -> Option<Seat> {
        let grow = |n: usize| (n < self.sessions_max).then_some(n + 1);
        self.sessions.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow).ok()?;
        self.meter.session_opened();
        Some(Seat { gate: self.clone() })
    }
}

/// Counts one session while it lives.
struct Seat {
    gate: Arc<Gate>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.gate.sessions.fetch_sub(1, Ordering::Relaxed);
        self.gate.meter.session_closed();
    }
}

/// What the first packets came to.
pub enum Opening {
    Startup(Startup),
    Cancel { pid: i32, secret: i32 },
    Closed,
}

/// Serves one connection from its first byte to its last.
pub async fn admit(gate: Arc<Gate>, stream: TcpStream) {
    // Replies are small and awaited: batching them in the kernel only costs time.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no delay could not be set");
    }
    let mut socket = Socket::new(stream);
    let opening = tokio::select! {
        () = gate.shutdown.cancelled() => return,
        opening = tokio::time::timeout(STARTUP_TIMEOUT, open(&mut socket)) => opening,
    };
    match opening {
        Ok(Ok(Opening::Startup(startup))) => begin(gate, socket, startup).await,
        Ok(Ok(Opening::Cancel { pid, secret })) => gate.server.backends.cancel(pid, secret),
        Ok(Ok(Opening::Closed)) | Err(_) => gate.meter.connection_refused(),
        Ok(Err(error)) => refuse(&gate, socket, &error).await,
    }
}

async fn refuse(gate: &Gate, mut socket: Socket, error: &Error) {
    gate.meter.connection_refused();
    backend::put_error(error, Severity::Fatal, &mut socket.output);
    if let Err(error) = socket.flush().await {
        tracing::debug!(%error, "a refused client was gone already");
    }
}

/// Reads packets until one is a startup or a cancel request. Each kind of encryption may be asked for once.
pub async fn open(socket: &mut Socket) -> Result<Opening, Error> {
    let (mut asked_ssl, mut asked_gss) = (false, false);
    loop {
        let Ok(Some(packet)) = read_packet(socket).await? else { return Ok(Opening::Closed) };
        if SslRequest::is_ssl_request_packet(&packet) && !asked_ssl {
            asked_ssl = true;
        } else if GssEncRequest::is_gss_enc_request_packet(&packet) && !asked_gss {
            asked_gss = true;
        } else {
            return decode_opening(packet);
        }
        // Bytes sent before our answer could be a man in the middle's, once the answer is yes; as in PostgreSQL they are refused.
        if !socket.input.is_empty() {
            return Err(Error::new(
                SqlState::PROTOCOL_VIOLATION,
                "received unencrypted data after SSL request",
            ));
        }
        socket.output.extend_from_slice(b"N");
        if socket.flush().await.is_err() {
            return Ok(Opening::Closed);
        }
    }
}

/// A packet of the opening, its length included; `None` at the end of the stream.
async fn read_packet(socket: &mut Socket) -> Result<io::Result<Option<BytesMut>>, Error> {
    loop {
        if let Some(head) = socket.input.first_chunk::<4>() {
            let length = i32::from_be_bytes(*head);
            let length =
                usize::try_from(length).ok().filter(|n| (8..=STARTUP_BYTES_MAX).contains(n));
            let length = length.ok_or_else(invalid_startup)?;
            if socket.input.len() >= length {
                return Ok(Ok(Some(socket.input.split_to(length))));
            }
        }
        match socket.read().await {
            Ok(true) => {}
            Ok(false) => return Ok(Ok(None)),
            Err(e) => return Ok(Err(e)),
        }
    }
}

fn invalid_startup() -> Error {
    Error::new(SqlState::PROTOCOL_VIOLATION, "invalid length of startup packet")
}

/// pgwire decodes these two from a buffer that holds just the packet, whose lengths it then cannot overrun.
fn decode_opening(mut packet: BytesMut) -> Result<Opening, Error> {
    let mut context = DecodeContext::default();
    context.protocol_version = ProtocolVersion::PROTOCOL3_0;
    if CancelRequest::is_cancel_request_packet(&packet) {
        return Ok(match CancelRequest::decode(&mut packet, &context) {
            Ok(Some(CancelRequest { pid, secret_key: SecretKey::I32(secret), .. })) => {
                Opening::Cancel { pid, secret }
            }
            _ => Opening::Closed,
        });
    }
    let major = u16::from_be_bytes([packet[4], packet[5]]);
    if major != Startup::PG_PROTOCOL_LATEST {
        let minor = u16::from_be_bytes([packet[6], packet[7]]);
        let message =
            format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.0");
        return Err(Error::unsupported(message));
    }
    let end = [packet[packet.len() - 2], packet[packet.len() - 1]];
    if packet.len() > 9 && end != [0, 0] {
        return Err(Error::new(
            SqlState::PROTOCOL_VIOLATION,
            "invalid startup packet layout: expected terminator as last byte",
        ));
    }
    match Startup::decode(&mut packet, &context) {
        Ok(Some(startup)) => Ok(Opening::Startup(startup)),
        _ => Err(Error::new(SqlState::PROTOCOL_VIOLATION, "invalid startup packet")),
    }
}

/// Who connects where, and the rest of the startup packet.
struct Identity {
    user: String,
    database: String,
    options: BTreeMap<String, String>,
    /// Protocol extensions asked for; we have none.
    unsupported: Vec<String>,
}

fn identity(startup: Startup) -> Result<Identity, Error> {
    let (extensions, mut options): (BTreeMap<_, _>, BTreeMap<_, _>) =
        startup.parameters.into_iter().partition(|(name, _)| name.starts_with("_pq_."));
    let user = options.remove("user").filter(|u| !u.is_empty()).ok_or_else(|| {
        Error::new(SqlState("28000"), "no PostgreSQL user name specified in startup packet")
    })?;
    let database =
        options.remove("database").filter(|d| !d.is_empty()).unwrap_or_else(|| user.clone());
    if let Some(replication) = options.remove("replication")
        && !matches!(replication.as_str(), "false" | "off" | "no" | "0")
    {
        return Err(Error::unsupported("replication connections are not supported"));
    }
    Ok(Identity { user, database, options, unsupported: extensions.into_keys().collect() })
}

async fn begin(gate: Arc<Gate>, mut socket: Socket, startup: Startup) {
    let minor = startup.protocol_number_minor;
    let identity = match identity(startup) {
        Ok(identity) => identity,
        Err(error) => return refuse(&gate, socket, &error).await,
    };
    let Some(seat) = gate.seat() else {
        let error = Error::new(SqlState::TOO_MANY_CONNECTIONS, "sorry, too many clients already");
        return refuse(&gate, socket, &error).await;
    };
    let Identity { user, database, options, unsupported } = identity;
    let mut session = match Session::new(gate.server.clone(), &user, &database, &options) {
        Ok(session) => session,
        Err(error) => return refuse(&gate, socket, &error).await,
    };
    let terminate = gate.shutdown.child_token();
    let registered = gate.server.backends.register(&user, socket.client_addr(), terminate);
    let peer = registered.backend.clone();
    session.runs_in(peer.clone());
    let out = &mut socket.output;
    if minor > 0 || !unsupported.is_empty() {
        backend::put_negotiation(unsupported, out);
    }
    backend::put_authentication_ok(out);
    for (name, value) in session.take_parameter_changes() {
        backend::put_parameter_status(&name, &value, out);
    }
    backend::put_key_data(peer.pid, peer.secret, out);
    Connection::new(socket, session, peer, gate.meter.clone()).run().await;
    drop((registered, seat));
}
