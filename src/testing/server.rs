//! A server under test: a process of its own on free ports and a data directory of its own.
//!
//! Starts, waits for the line by which a server says that it is ready, and ends it by its process id. What the server
//! logs is kept and shown when it fails. Depends on nothing else of this package, so that tests that talk to a server over
//! the wire have this file, too.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A debug build on a busy machine starts within this, or not at all.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// What the server promises, from SIGTERM to its end.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// The end of the log that is shown; its beginning is rarely the cause.
const LOG_SHOWN_BYTES: usize = 4_000;

const READY: &str = "tidewater is ready: ";

pub struct Server {
    child: Child,
    /// `postgres://user@host:port/database`
    pub url: String,
    dir: tempfile::TempDir,
}

impl Server {
    /// Starts `tidewater server` with `options` behind those that every test needs.
    pub fn start(options: &[&str]) -> Result<Server, String> {
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let log = std::fs::File::create(dir.path().join("log")).map_err(|e| e.to_string())?;
        let mut child = Command::new(program()?)
            .args(["server", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
            .arg("--data-dir")
            .arg(dir.path().join("data"))
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|e| format!("could not start the server: {e}"))?;
        let lines = lines_of(&mut child);
        let mut server = Server { child, url: String::new(), dir };
        server.url = server.wait_until_ready(&lines)?;
        Ok(server)
    }

    fn wait_until_ready(&mut self, lines: &mpsc::Receiver<String>) -> Result<String, String> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some(url) = line.strip_prefix(READY) {
                        return Ok(url.trim().to_owned());
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(format!("the server ended before it was ready\n{}", self.log()));
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let seconds = START_TIMEOUT.as_secs();
                    return Err(format!(
                        "the server was not ready within {seconds} s\n{}",
                        self.log()
                    ));
                }
            }
        }
    }

    /// The end of what the server logged.
    pub fn log(&self) -> String {
        let path: PathBuf = self.dir.path().join("log");
        let bytes = std::fs::read(path).unwrap_or_default();
        let from = bytes.len().saturating_sub(LOG_SHOWN_BYTES);
        format!("--- end of the server's log\n{}", String::from_utf8_lossy(&bytes[from..]))
    }

    /// The most memory that the server has had, as Linux counts it; 0 elsewhere.
    pub fn peak_memory_kib(&self) -> Result<u64, String> {
        let path = format!("/proc/{}/status", self.child.id());
        let Ok(status) = std::fs::read_to_string(path) else { return Ok(0) };
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        kib.ok_or_else(|| "no VmHWM in the server's status".to_owned())
    }

    /// Ends the server as an operator does, and checks that it ends in time and in order.
    pub fn stop(mut self) -> Result<(), String> {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().map_err(|e| e.to_string())?;
        let asked = Instant::now();
        while asked.elapsed() < STOP_TIMEOUT {
            if let Some(status) = self.child.try_wait().map_err(|e| e.to_string())? {
                return self.judge(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(format!("the server did not end within {STOP_TIMEOUT:?} of SIGTERM\n{}", self.log()))
    }

    fn judge(&self, status: ExitStatus) -> Result<(), String> {
        match status.success() {
            true => Ok(()),
            false => Err(format!("the server ended with {status}\n{}", self.log())),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, which is no failure here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Cargo tells its tests which program to run; everybody else runs the one that runs.
fn program() -> Result<PathBuf, String> {
    match option_env!("CARGO_BIN_EXE_tidewater") {
        Some(path) => Ok(path.into()),
        None => std::env::current_exe().map_err(|e| format!("could not find this program: {e}")),
    }
}

/// Standard output line by line, read to its end by a thread so that the server never blocks on a full pipe.
fn lines_of(child: &mut Child) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    let stdout = child.stdout.take().expect("standard output is piped");
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // Nobody listens once the server is ready.
            let _ = sender.send(line);
        }
    });
    receiver
}
