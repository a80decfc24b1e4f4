//! Which connection runs what: a cancel request comes on a connection of its own and names its target by a process id
//! and a secret.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The statement that a connection runs at the moment, if any.
#[derive(Default)]
pub struct Running {
    token: Mutex<Option<CancellationToken>>,
    timed_out: AtomicBool,
}

impl Running {
    /// From now on a cancel request goes to `token`; until the guard is dropped.
    pub fn begin(self: &Arc<Self>, token: CancellationToken) -> RunningGuard {
        *self.token.lock() = Some(token);
        RunningGuard { running: self.clone() }
    }

    /// Cancels `token` when `timeout` has passed; until the guard is dropped.
    pub fn limit(
        self: &Arc<Self>,
        token: &CancellationToken,
        timeout: Option<Duration>,
    ) -> Option<TimeoutGuard> {
        let (running, token, timeout) = (self.clone(), token.clone(), timeout?);
        let timer = tokio::spawn(async move {
            tokio::time::sleep(timeout).await;
            running.timed_out.store(true, Ordering::Release);
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
    running: Arc<Running>,
}

impl Drop for RunningGuard {
    fn drop(&mut self) {
        *self.running.token.lock() = None;
    }
}

struct Entry {
    secret: i32,
    running: Arc<Running>,
}

/// All connections that can be cancelled, by process id.
#[derive(Default)]
pub struct Cancels {
    entries: Mutex<HashMap<i32, Entry>>,
}

/// A connection's entry; it goes with its connection.
pub struct Registered {
    cancels: Arc<Cancels>,
    pub pid: i32,
    pub secret: i32,
    pub running: Arc<Running>,
}

impl Cancels {
    /// A new entry under a process id that no other connection has.
    pub fn register(self: &Arc<Self>) -> Registered {
        let mut entries = self.entries.lock();
        let pid = std::iter::repeat_with(|| rand::random_range(1..=i32::MAX))
            .find(|pid| !entries.contains_key(pid))
            .expect("there are fewer connections than process ids");
        let (secret, running) = (rand::random(), Arc::new(Running::default()));
        entries.insert(pid, Entry { secret, running: running.clone() });
        Registered { cancels: self.clone(), pid, secret, running }
    }

    /// Cancels what the connection runs. A wrong key and an idle connection are passed over in silence, as the protocol
    /// wants: the asker learns nothing.
    pub fn cancel(&self, pid: i32, secret: i32) {
        let entries = self.entries.lock();
        if let Some(entry) = entries.get(&pid).filter(|e| e.secret == secret)
            && let Some(token) = &*entry.running.token.lock()
        {
            token.cancel();
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.cancels.entries.lock().remove(&self.pid);
    }
}
