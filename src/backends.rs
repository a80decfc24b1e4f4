//! Who is connected and what runs there: the sessions that a cancel request, pg_stat_activity and pg_terminate_backend find.
//!
//! A backend is found by its process id: the number a client gets when it connects. A cancel request comes on a connection of
//! its own and names its target by that number and a secret. Credentials never get here: who tells what runs leaves options out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// What a backend does, or did last.
#[derive(Clone, Debug)]
pub struct Doing {
    /// As pg_stat_activity names it: active, idle, idle in transaction ...
    pub state: &'static str,
    /// The statement that runs, or ran last.
    pub query: Arc<str>,
    pub query_started: Option<SystemTime>,
    pub application_name: String,
}

/// One connected session.
pub struct Backend {
    pub pid: i32,
    pub secret: i32,
    pub user: String,
    pub client_addr: Option<IpAddr>,
    pub started: SystemTime,
    /// Ends the connection with 57P01.
    pub terminate: CancellationToken,
    doing: Mutex<Doing>,
    /// Stops the statement that runs at the moment, if any.
    running: Mutex<Option<CancellationToken>>,
    timed_out: AtomicBool,
}

impl Backend {
    pub fn doing(&self) -> Doing {
        self.doing.lock().clone()
    }

    /// A statement begins.
    pub fn active(&self, query: Arc<str>) {
        let mut doing = self.doing.lock();
        doing.state = "active";
        doing.query = query;
        doing.query_started = Some(SystemTime::now());
    }

    /// The client has its answer.
    pub fn rests(&self, state: &'static str) {
        self.doing.lock().state = state;
    }

    pub fn is_named(&self, application_name: String) {
        self.doing.lock().application_name = application_name;
    }

    /// From now on a cancel request goes to `token`; until the guard is dropped.
    pub fn begin(self: &Arc<Self>, token: CancellationToken) -> RunningGuard {
        *self.running.lock() = Some(token);
        RunningGuard { backend: self.clone() }
    }

    /// Stops the statement that runs, if any.
    pub fn cancel(&self) {
        if let Some(token) = &*self.running.lock() {
            token.cancel();
        }
    }

    /// Cancels `token` when `timeout` has passed; until the guard is dropped.
    pub fn limit(
        self: &Arc<Self>,
        token: &CancellationToken,
        timeout: Option<Duration>,
    ) -> Option<TimeoutGuard> {
        let (backend, token, timeout) = (self.clone(), token.clone(), timeout?);
        let timer = tokio::spawn(async move {
            tokio::time::sleep(timeout).await;
            backend.timed_out.store(true, Ordering::Release);
            token.cancel();
        });
        Some(TimeoutGuard(timer.abort_handle()))
    }

    /// Whether a statement has run out of time since this was last asked.
    pub fn take_timed_out(&self) -> bool {
        self.timed_out.swap(false, Ordering::AcqRel)
    }
}

pub struct TimeoutGuard(tokio::task::AbortHandle);

impl Drop for TimeoutGuard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub struct RunningGuard {
    backend: Arc<Backend>,
}

impl Drop for RunningGuard {
    fn drop(&mut self) {
        *self.backend.running.lock() = None;
    }
}

/// All connected sessions, by process id.
#[derive(Default)]
pub struct Backends {
    entries: Mutex<BTreeMap<i32, Arc<Backend>>>,
}

/// A connection's entry; it goes with its connection.
pub struct Registered {
    backends: Arc<Backends>,
    pub backend: Arc<Backend>,
}

impl Backends {
    /// A new entry under a process id that no other connection has.
    pub fn register(
        self: &Arc<Self>,
        user: &str,
        client_addr: Option<IpAddr>,
        terminate: CancellationToken,
    ) -> Registered {
        let mut entries = self.entries.lock();
        let pid = std::iter::repeat_with(|| rand::random_range(1..=i32::MAX))
            .find(|pid| !entries.contains_key(pid))
            .expect("there are fewer connections than process ids");
        let doing = Doing {
            state: "idle",
            query: Arc::from(""),
            query_started: None,
            application_name: String::new(),
        };
        let backend = Arc::new(Backend {
            pid,
            secret: rand::random(),
            user: user.to_owned(),
            client_addr,
            started: SystemTime::now(),
            terminate,
            doing: Mutex::new(doing),
            running: Mutex::default(),
            timed_out: AtomicBool::default(),
        });
        entries.insert(pid, backend.clone());
        Registered { backends: self.clone(), backend }
    }

    pub fn get(&self, pid: i32) -> Option<Arc<Backend>> {
        self.entries.lock().get(&pid).cloned()
    }

    /// All of them, by process id.
    pub fn all(&self) -> Vec<Arc<Backend>> {
        self.entries.lock().values().cloned().collect()
    }

    /// A cancel request. A wrong key and an idle connection are passed over in silence, as the protocol wants: the asker
    /// learns nothing.
    pub fn cancel(&self, pid: i32, secret: i32) {
        if let Some(backend) = self.get(pid).filter(|backend| backend.secret == secret) {
            backend.cancel();
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.backends.entries.lock().remove(&self.backend.pid);
    }
}
