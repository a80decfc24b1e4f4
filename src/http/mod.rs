//! HTTP beside the wire: is the server alive, is it ready, what does it count.
//!
//! Owns routes and status codes; reads [`Metrics`] and [`Readiness`] and changes nothing. Answers while the server starts
//! and while it stops, so that an orchestrator sees both.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// How long open requests may take after the shutdown began; well within the five seconds a server has to exit.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// What the handlers read.
#[derive(Clone)]
pub struct HttpState {
    pub metrics: Arc<Metrics>,
    pub readiness: Readiness,
}

/// Whether the server accepts clients; shared between who knows and who is asked. Starts as [`Phase::Starting`].
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicU8>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    Starting = 0,
    Ready = 1,
    Stopping = 2,
}

impl Readiness {
    pub fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Release);
    }

    pub fn phase(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            1 => Phase::Ready,
            2 => Phase::Stopping,
            _ => Phase::Starting,
        }
    }
}

/// Answers requests on `listener` until `shutdown` is cancelled.
pub async fn serve(
    listener: TcpListener,
    state: HttpState,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let stop = shutdown.clone();
    let server = axum::serve(listener, router(state))
        .with_graceful_shutdown(async move { stop.cancelled().await });
    // A client that holds its request open must not hold the server: after the grace the connections are dropped.
    let grace_over = async {
        shutdown.cancelled().await;
        tokio::time::sleep(SHUTDOWN_GRACE).await;
    };
    tokio::select! {
        result = server => result,
        () = grace_over => Ok(()),
    }
}

fn router(state: HttpState) -> Router {
    Router::new()
        .route("/", get(home))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(state)
}

async fn home() -> String {
    format!(
        "tidewater {}\n\n/health   200 while the process is alive\n/ready    200 when it accepts clients, else 503\n\
         /metrics  Prometheus text\n",
        env!("CARGO_PKG_VERSION")
    )
}

async fn health() -> &'static str {
    "ok\n"
}

async fn ready(State(state): State<HttpState>) -> Response {
    match state.readiness.phase() {
        Phase::Ready => "ready\n".into_response(),
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response(),
        Phase::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response(),
    }
}

async fn metrics(State(state): State<HttpState>) -> Response {
    let text_format = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, text_format)], state.metrics.render()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryAccount;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    struct Running {
        address: std::net::SocketAddr,
        readiness: Readiness,
        shutdown: CancellationToken,
        server: tokio::task::JoinHandle<io::Result<()>>,
    }

    async fn start() -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let readiness = Readiness::default();
        let metrics = Metrics::new(MemoryAccount::new(1 << 30));
        let state = HttpState { metrics, readiness: readiness.clone() };
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(listener, state, shutdown.clone()));
        Running { address, readiness, shutdown, server }
    }

    impl Running {
        async fn request(&self, method: &str, path: &str) -> (u16, String) {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            let request =
                format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            (answer[9..12].parse().unwrap(), answer)
        }
    }

    #[tokio::test]
    async fn readiness_follows_the_server_while_health_stays() {
        let server = start().await;
        assert_eq!(server.request("GET", "/ready").await.0, 503);
        assert_eq!(server.request("GET", "/health").await.0, 200);
        server.readiness.set(Phase::Ready);
        assert_eq!(server.request("GET", "/ready").await.0, 200);
        server.readiness.set(Phase::Stopping);
        let (status, text) = server.request("GET", "/ready").await;
        assert!(status == 503 && text.ends_with("stopping\n"), "{text}");
        assert_eq!(server.request("GET", "/health").await.0, 200);
    }

    #[tokio::test]
    async fn pages_answer_and_others_are_not_found() {
        let server = start().await;
        assert!(server.request("GET", "/").await.1.contains("/metrics"));
        let (status, text) = server.request("GET", "/metrics").await;
        assert_eq!(status, 200);
        assert!(text.contains("content-type: text/plain; version=0.0.4"), "{text}");
        assert!(text.contains("tidewater_sessions 0"), "{text}");
        assert_eq!(server.request("GET", "/nothing").await.0, 404);
        assert_eq!(server.request("POST", "/metrics").await.0, 405);
    }

    #[tokio::test]
    async fn an_idle_connection_does_not_hold_the_shutdown() {
        let server = start().await;
        let mut idle = TcpStream::connect(server.address).await.unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        server.shutdown.cancel();
        let stopped = tokio::time::timeout(SHUTDOWN_GRACE * 3, server.server).await;
        stopped.expect("the server stops").unwrap().unwrap();
    }
}
