//! A real PostgreSQL for tests: the one named in TIDEWATER_TEST_POSTGRES, else one started from the programs of a package.
//!
//! Where neither is possible the test is skipped with a loud line, or fails if TIDEWATER_TEST_REQUIRE contains `postgres`.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::Client;

/// What answers are compared with: docs/COMPAT.md is about this one.
const VERSION: u32 = 15;
const START_TIMEOUT: Duration = Duration::from_secs(60);

pub struct Postgres {
    pub url: String,
    _server: Option<Running>,
}

/// Ends with its process.
struct Running {
    process: Child,
    _dir: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Postgres {
    /// `None` when the test is to be skipped.
    pub fn start() -> Option<Postgres> {
        let named = std::env::var("TIDEWATER_TEST_POSTGRES").unwrap_or_default();
        let started = match named.is_empty() {
            true => start(),
            false => Ok(Postgres { url: named, _server: None }),
        };
        match started {
            Ok(postgres) => Some(postgres),
            Err(reason) => {
                let required = std::env::var("TIDEWATER_TEST_REQUIRE").unwrap_or_default();
                assert!(!required.contains("postgres"), "no PostgreSQL for this test: {reason}");
                eprintln!("\n==== SKIPPED: no PostgreSQL for this test: {reason} ====\n");
                None
            }
        }
    }
}

fn start() -> Result<Postgres, String> {
    let programs = programs()?;
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let data = dir.path().join("data");
    let user = unprivileged(dir.path())?;
    let log = |name: &str| File::create(dir.path().join(name)).map_err(|e| e.to_string());
    let mut init = command(&programs.join("initdb"), user);
    init.arg("-D").arg(&data).args([
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C.UTF-8",
    ]);
    let made = init.stdout(Stdio::null()).stderr(log("initdb")?).status();
    if !made.map_err(|e| e.to_string())?.success() {
        return Err(std::fs::read_to_string(dir.path().join("initdb")).unwrap_or_default());
    }
    let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    let port = free.map_err(|e| e.to_string())?.port();
    let mut server = command(&programs.join("postgres"), user);
    server.arg("-D").arg(&data).args(["-p", &port.to_string(), "-k", "", "-c", "fsync=off"]);
    server.args(["-c", "listen_addresses=127.0.0.1", "-c", "timezone=UTC"]);
    let process = server.stdout(Stdio::null()).stderr(log("log")?).spawn();
    let mut running = Running { process: process.map_err(|e| e.to_string())?, _dir: dir };
    let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
    let deadline = Instant::now() + START_TIMEOUT;
    while Client::try_connect(&url).is_err() {
        let ended = running.process.try_wait().map_err(|e| e.to_string())?;
        if ended.is_some() || Instant::now() > deadline {
            return Err(format!("PostgreSQL did not start on port {port}"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(Postgres { url, _server: Some(running) })
}

/// Where initdb and postgres of the right version are.
fn programs() -> Result<PathBuf, String> {
    let debian = PathBuf::from(format!("/usr/lib/postgresql/{VERSION}/bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).chain([debian]);
    let of_version = |place: &PathBuf| {
        let version = Command::new(place.join("initdb")).arg("--version").output();
        version.is_ok_and(|version| {
            String::from_utf8_lossy(&version.stdout).contains(&format!(") {VERSION}."))
        })
    };
    let missing =
        format!("TIDEWATER_TEST_POSTGRES is not set and there is no PostgreSQL {VERSION}");
    places.find(of_version).ok_or(missing)
}

/// PostgreSQL refuses to run as root: then it runs as its package's user, who gets the directory.
fn unprivileged(dir: &Path) -> Result<Option<(u32, u32)>, String> {
    let owner = std::fs::metadata(dir).map_err(|e| e.to_string())?.uid();
    if owner != 0 {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd").map_err(|e| e.to_string())?;
    let user = users.lines().find(|line| line.starts_with("postgres:"));
    let mut fields = user.ok_or("there is no user postgres to run it as")?.split(':').skip(2);
    let mut id = || fields.next()?.parse().ok();
    let (Some(uid), Some(gid)) = (id(), id()) else {
        return Err("the user postgres has no number".into());
    };
    chown(dir, Some(uid), Some(gid)).map_err(|e| e.to_string())?;
    Ok(Some((uid, gid)))
}

fn command(program: &Path, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).current_dir("/");
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}
