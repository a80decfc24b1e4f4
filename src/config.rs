//! The command line, the environment and the configuration file, resolved into one [`ServerConfig`].
//!
//! Owns the options' names, their defaults and their precedence: flag, then `TIDEWATER_*`, then the TOML file, then the
//! default. A [`ServerConfig`] exists only validated, so nothing behind this file checks an option again. The only I/O
//! is reading the file named by `--config`, resolving host names and asking the kernel for cores and memory.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Where a server keeps its data when nothing else is said.
pub const DEFAULT_DATA_DIR: &str = "./tidewater-data";
/// Where clients connect when nothing else is said.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7432";
/// Where HTTP answers when nothing else is said.
pub const DEFAULT_HTTP_LISTEN: &str = "127.0.0.1:7480";
/// What an ordinary machine runs; the demo's generator is held to it so that a laptop stays quiet.
pub const DEFAULT_DEMO_EVENTS_PER_SECOND: u64 = 10_000;
/// Enough for a stable figure, few enough that a whole run of all queries takes minutes.
pub const DEFAULT_BENCH_EVENTS: u64 = 10_000_000;

/// More than one, so that rows are exchanged between workers in every test.
pub const DEFAULT_TEST_WORKERS: usize = 2;
/// A file of tests that takes longer hangs.
pub const DEFAULT_TEST_TIMEOUT_SECONDS: u64 = 120;

/// The share of the machine's memory that a server takes by default; the rest is the kernel's, the page cache's and what
/// the account cannot see (allocator slack, stacks, code).
const MEMORY_SHARE_PERCENT: u64 = 80;
/// Used where the machine's memory cannot be found out.
const MACHINE_MEMORY_FALLBACK_BYTES: u64 = 4 << 30;
/// Below this an empty server already stands at its limit.
const MEMORY_LIMIT_MIN: ByteSize = ByteSize(32 << 20);
/// Each worker is a thread that holds a shard of every arrangement: more than this is a slip of the keyboard.
const WORKERS_MAX: usize = 256;

/// `tidewater`, as typed.
#[derive(Debug, Parser)]
#[command(name = "tidewater", version, about = "A Postgres-wire-compatible streaming SQL database")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the database server
    Server(ServerArgs),
    /// Run a server on a temporary data directory with a built-in event generator and views to try
    Demo(DemoArgs),
    /// Measure throughput in process and print one JSON line per case
    Bench(BenchArgs),
    /// Run .slt files, each against a fresh server, and compare answers with what they expect
    Test(TestArgs),
}

#[derive(Debug, Default, Args)]
pub struct ServerArgs {
    /// Directory of everything durable [default: ./tidewater-data]
    #[arg(long, value_name = "DIR", env = "TIDEWATER_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// TOML file with the same options, as data_dir = "..."
    #[arg(long, value_name = "FILE", env = "TIDEWATER_CONFIG")]
    pub config: Option<PathBuf>,
    /// Let statements stand in for what is outside: sources take INSERT, sinks are read with SELECT
    #[arg(long)]
    pub test_mode: bool,
    #[command(flatten)]
    pub common: CommonArgs,
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Events generated per second
    #[arg(long, value_name = "N", env = "TIDEWATER_DEMO_RATE",
          default_value_t = DEFAULT_DEMO_EVENTS_PER_SECOND,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: u64,
    #[command(flatten)]
    pub common: CommonArgs,
}

/// What a server and the demo have in common. Absent means: ask the file, then take the default.
#[derive(Clone, Debug, Default, Args)]
pub struct CommonArgs {
    /// Address for PostgreSQL clients; port 0 picks a free one [default: 127.0.0.1:7432]
    #[arg(long, value_name = "HOST:PORT", env = "TIDEWATER_LISTEN")]
    pub listen: Option<String>,
    /// Address for health, readiness and metrics [default: 127.0.0.1:7480]
    #[arg(long, value_name = "HOST:PORT", env = "TIDEWATER_HTTP_LISTEN")]
    pub http_listen: Option<String>,
    /// Dataflow worker threads [default: the number of cores]
    #[arg(long, value_name = "N", env = "TIDEWATER_WORKERS")]
    pub workers: Option<usize>,
    /// Memory of the whole server, such as 512MiB or 4GB [default: 80% of the machine's or cgroup's]
    #[arg(long, value_name = "SIZE", env = "TIDEWATER_MEMORY_LIMIT")]
    pub memory_limit: Option<ByteSize>,
    /// Allow listening on addresses other than loopback although there is no authentication
    #[arg(long, env = "TIDEWATER_INSECURE", value_name = "BOOL", num_args = 0..=1,
          require_equals = true, default_missing_value = "true",
          value_parser = BoolishValueParser::new())]
    pub insecure: Option<bool>,
    /// How logs are written to standard error [default: text]
    #[arg(long, value_name = "FORMAT", env = "TIDEWATER_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
}

#[derive(Debug, Args)]
pub struct TestArgs {
    /// Files, or directories that are searched for .slt files
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Run only files whose path contains this; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub filter: Vec<String>,
    /// SQL to run before each file, such as the pipeline under test; may be given several times
    #[arg(long, value_name = "FILE")]
    pub setup: Vec<PathBuf>,
    /// Files at a time, each with a server of its own [default: the number of cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Dataflow worker threads of each server
    #[arg(long, value_name = "N", default_value_t = DEFAULT_TEST_WORKERS)]
    pub workers: usize,
    /// Seconds that a file may take
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TEST_TIMEOUT_SECONDS,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,
    /// Rewrite what the files expect to what was answered
    #[arg(long)]
    pub update: bool,
    /// Write a report in JUnit's XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Read real sources and write real sinks instead of standing in for them
    #[arg(long)]
    pub real_connectors: bool,
    /// Run the files against a PostgreSQL instead, given by a superuser's URL: views stand in for materialized views
    #[arg(long, value_name = "URL", conflicts_with_all = ["update", "real_connectors"])]
    pub postgres: Option<String>,
}

#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub suite: BenchSuite,
}

#[derive(Debug, Subcommand)]
pub enum BenchSuite {
    /// Single operators on one worker
    Operators(OperatorsArgs),
    /// The Nexmark queries as materialized views
    Nexmark(NexmarkArgs),
}

#[derive(Debug, Args)]
pub struct OperatorsArgs {
    /// Cases to run, such as join,filter_project [default: all]
    #[arg(long, value_name = "CASE,CASE", value_delimiter = ',')]
    pub cases: Vec<String>,
}

#[derive(Debug, Args)]
pub struct NexmarkArgs {
    /// Queries to run, such as q0,q4 [default: all]
    #[arg(long, value_name = "Q,Q", value_delimiter = ',')]
    pub queries: Vec<String>,
    /// Events per query
    #[arg(long, value_name = "N", default_value_t = DEFAULT_BENCH_EVENTS,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub events: u64,
    /// Dataflow worker threads [default: the number of cores]
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// Where the events come from
    #[arg(long, value_enum, default_value_t = BenchSource::Generator)]
    pub source: BenchSource,
    /// The broker for --source kafka
    #[arg(long, value_name = "HOST:PORT", env = "TIDEWATER_TEST_KAFKA")]
    pub kafka: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum BenchSource {
    #[default]
    Generator,
    Kafka,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// The options of a server, complete and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    pub data_dir: PathBuf,
    pub listen: ListenAddress,
    pub http_listen: ListenAddress,
    /// At least 1.
    pub workers: usize,
    pub memory_limit_bytes: u64,
    pub insecure: bool,
    pub log_format: LogFormat,
    /// Statements stand in for what is outside. Only a flag says so, lest it be left on by accident.
    pub test_mode: bool,
}

/// An address to bind: what was typed, and what it resolved to (never empty). Port 0 means any free port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    text: String,
    resolved: Vec<SocketAddr>,
}

impl ListenAddress {
    /// In the resolver's order; binding tries one after the other.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.resolved
    }

    fn is_loopback(&self) -> bool {
        self.resolved.iter().all(|a| a.ip().is_loopback())
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why the options cannot be used. Printed after `tidewater: ` on standard error.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("could not read configuration file {path:?}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("configuration file {path:?} is not valid: {message}")]
    Toml { path: PathBuf, message: String },
    #[error("unknown option \"{key}\" in configuration file {path:?}; {hint}")]
    UnknownKey { path: PathBuf, key: String, hint: String },
    #[error("option \"{key}\" is given twice in configuration file {path:?}")]
    DuplicateKey { path: PathBuf, key: &'static str },
    #[error("invalid address \"{text}\" for {option}: {reason}")]
    Address { option: &'static str, text: String, reason: String },
    #[error(
        "{option} {address} is not a loopback address, and there is no authentication yet: anyone who reaches it owns \
         the data; listen on 127.0.0.1, or add --insecure where the network itself is trusted"
    )]
    NotLoopback { option: &'static str, address: String },
    #[error("workers must be between 1 and {WORKERS_MAX}, not {count}")]
    Workers { count: usize },
    #[error("memory limit {given} is too small; at least {needed} is needed")]
    MemoryLimit { given: ByteSize, needed: ByteSize },
}

impl ServerArgs {
    /// Fills what flags and environment leave open from the file and the defaults, and checks the whole.
    pub fn resolve(self) -> Result<ServerConfig, ConfigError> {
        let file = match &self.config {
            Some(path) => FileOptions::read(path)?,
            None => FileOptions::default(),
        };
        let data_dir = self.data_dir.or(file.data_dir.clone());
        let data_dir = data_dir.unwrap_or_else(|| DEFAULT_DATA_DIR.into());
        Ok(ServerConfig { test_mode: self.test_mode, ..resolve(data_dir, self.common, file)? })
    }
}

impl DemoArgs {
    /// The server's options for a demo that keeps its data in `data_dir`.
    pub fn resolve(self, data_dir: PathBuf) -> Result<ServerConfig, ConfigError> {
        resolve(data_dir, self.common, FileOptions::default())
    }
}

impl NexmarkArgs {
    /// The number of workers to run with.
    pub fn workers(&self) -> Result<usize, ConfigError> {
        check_workers(self.workers)
    }
}

/// Flags and environment have been merged by clap into `args`; they win over the file.
fn resolve(
    data_dir: PathBuf,
    args: CommonArgs,
    file: FileOptions,
) -> Result<ServerConfig, ConfigError> {
    let insecure = args.insecure.or(file.insecure).unwrap_or(false);
    let listen = args.listen.or(file.listen).unwrap_or_else(|| DEFAULT_LISTEN.to_owned());
    let http_listen =
        args.http_listen.or(file.http_listen).unwrap_or_else(|| DEFAULT_HTTP_LISTEN.to_owned());
    let memory_limit = args.memory_limit.or(file.memory_limit).unwrap_or_else(default_memory_limit);
    if memory_limit < MEMORY_LIMIT_MIN {
        return Err(ConfigError::MemoryLimit { given: memory_limit, needed: MEMORY_LIMIT_MIN });
    }
    Ok(ServerConfig {
        data_dir,
        listen: check_address("--listen", listen, insecure)?,
        http_listen: check_address("--http-listen", http_listen, insecure)?,
        workers: check_workers(args.workers.or(file.workers))?,
        memory_limit_bytes: memory_limit.0,
        insecure,
        log_format: args.log_format.or(file.log_format).unwrap_or_default(),
        test_mode: false,
    })
}

fn check_workers(workers: Option<usize>) -> Result<usize, ConfigError> {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
    match workers.unwrap_or_else(cores) {
        n @ 1..=WORKERS_MAX => Ok(n),
        count => Err(ConfigError::Workers { count }),
    }
}

fn check_address(
    option: &'static str,
    text: String,
    insecure: bool,
) -> Result<ListenAddress, ConfigError> {
    let refuse = |reason: &str| ConfigError::Address {
        option,
        text: text.clone(),
        reason: reason.to_owned(),
    };
    if !text.contains(':') {
        return Err(refuse("a port is missing; write HOST:PORT, such as 127.0.0.1:7432"));
    }
    let resolved: Vec<SocketAddr> =
        text.to_socket_addrs().map_err(|e| refuse(&e.to_string()))?.collect();
    if resolved.is_empty() {
        return Err(refuse("the host name has no address"));
    }
    let address = ListenAddress { text, resolved };
    // A name that resolves to both kinds is judged by its worst address, since binding may take any of them.
    if !insecure && !address.is_loopback() {
        return Err(ConfigError::NotLoopback { option, address: address.text });
    }
    Ok(address)
}

/// The keys of the configuration file, in the order the reference lists them.
const FILE_KEYS: [&str; 7] =
    ["data_dir", "listen", "http_listen", "workers", "memory_limit", "insecure", "log_format"];

/// A misspelling further away than this names no key that was meant.
const KEY_DISTANCE_MAX: usize = 4;

#[derive(Debug, Default, serde::Deserialize)]
struct FileOptions {
    data_dir: Option<PathBuf>,
    listen: Option<String>,
    http_listen: Option<String>,
    workers: Option<usize>,
    memory_limit: Option<ByteSize>,
    insecure: Option<bool>,
    log_format: Option<LogFormat>,
}

impl FileOptions {
    fn read(path: &Path) -> Result<FileOptions, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.into(), source })?;
        FileOptions::parse(&text, path)
    }

    /// Keys may be spelled as the flags are (`data-dir`); they are checked before the values, so that a misspelt key is
    /// named with the one that was probably meant.
    fn parse(text: &str, path: &Path) -> Result<FileOptions, ConfigError> {
        let invalid = |e: toml::de::Error| ConfigError::Toml {
            path: path.into(),
            message: e.to_string().trim_end().to_owned(),
        };
        let table: toml::Table = toml::from_str(text).map_err(invalid)?;
        let mut known = toml::Table::new();
        for (key, value) in table {
            let plain = key.replace('-', "_");
            let Some(name) = FILE_KEYS.into_iter().find(|k| *k == plain) else {
                return Err(ConfigError::UnknownKey {
                    path: path.into(),
                    hint: key_hint(&plain),
                    key,
                });
            };
            if known.insert(name.to_owned(), value).is_some() {
                return Err(ConfigError::DuplicateKey { path: path.into(), key: name });
            }
        }
        toml::Value::Table(known).try_into().map_err(invalid)
    }
}

fn key_hint(key: &str) -> String {
    let nearest = FILE_KEYS.into_iter().min_by_key(|k| strsim::damerau_levenshtein(k, key));
    match nearest.filter(|k| strsim::damerau_levenshtein(k, key) <= KEY_DISTANCE_MAX) {
        Some(nearest) => format!("did you mean \"{nearest}\"?"),
        None => format!("the options are {}", FILE_KEYS.join(", ")),
    }
}

/// A number of bytes as people write it: `512MiB`, `4GB`, `1.5 GiB`, `1048576`. kB, MB, GB, TB are powers of ten, KiB,
/// MiB, GiB, TiB powers of two; case does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("b", 1),
    ("kb", 1_000),
    ("kib", 1 << 10),
    ("mb", 1_000_000),
    ("mib", 1 << 20),
    ("gb", 1_000_000_000),
    ("gib", 1 << 30),
    ("tb", 1_000_000_000_000),
    ("tib", 1 << 40),
];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<ByteSize, String> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim_start().to_ascii_lowercase();
        let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
        let factor = factor.ok_or_else(|| {
            format!("unknown unit \"{unit}\"; use KiB, MiB, GiB, TiB, kB, MB, GB or TB")
        })?;
        // Whole numbers stay exact; only a fraction goes through floating point, where a byte more or less is nothing.
        let bytes = match number.parse::<u64>() {
            Ok(whole) => whole.checked_mul(factor),
            Err(_) => number
                .parse::<f64>()
                .ok()
                .map(|n| n * factor as f64)
                .filter(|n| *n < u64::MAX as f64)
                .map(|n| n as u64),
        };
        bytes.map(ByteSize).ok_or_else(|| format!("\"{text}\" is not a size such as 512MiB or 4GB"))
    }
}

impl fmt::Display for ByteSize {
    /// In the largest binary unit that leaves at least 1, with one decimal where it is not whole.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units.into_iter().find(|(size, _)| self.0 >= *size) {
            None => write!(f, "{} B", self.0),
            Some((size, unit)) if self.0.is_multiple_of(size) => {
                write!(f, "{} {unit}", self.0 / size)
            }
            Some((size, unit)) => write!(f, "{:.1} {unit}", self.0 as f64 / size as f64),
        }
    }
}

impl<'de> serde::Deserialize<'de> for ByteSize {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Written {
            Bytes(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Bytes(bytes) => Ok(ByteSize(bytes)),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

fn default_memory_limit() -> ByteSize {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let machine = machine_memory_bytes(read).unwrap_or(MACHINE_MEMORY_FALLBACK_BYTES);
    ByteSize(machine / 100 * MEMORY_SHARE_PERCENT).max(MEMORY_LIMIT_MIN)
}

/// The memory that this process may use: the machine's, or less where a control group of it or of a parent is limited.
fn machine_memory_bytes(read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let machine = read("/proc/meminfo").as_deref().and_then(mem_total_bytes);
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    let mut limits: Vec<u64> = machine.into_iter().collect();
    for line in groups.lines() {
        // Each line is `id:controllers:path`; no controllers means version 2.
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            c if c.split(',').any(|c| c == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        for ancestor in Path::new(path).ancestors() {
            let group = ancestor.to_string_lossy();
            let limit = read(&format!("{root}{}/{file}", group.trim_end_matches('/')));
            // Version 2 writes `max` for no limit, version 1 a number larger than any machine.
            limits.extend(limit.and_then(|l| l.trim().parse::<u64>().ok()));
        }
    }
    limits.into_iter().min()
}

fn mem_total_bytes(meminfo: &str) -> Option<u64> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(args: &[&str]) -> ServerArgs {
        let words = ["tidewater", "server"].iter().chain(args);
        match Cli::try_parse_from(words).unwrap().command {
            Command::Server(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn file(text: &str) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tidewater.toml");
        std::fs::write(&path, text).unwrap();
        (dir, path.to_str().unwrap().to_owned())
    }

    #[test]
    fn nothing_said_gives_the_documented_defaults() {
        let config = server(&[]).resolve().unwrap();
        assert_eq!(config.data_dir, Path::new("./tidewater-data"));
        assert_eq!(config.listen.to_string(), "127.0.0.1:7432");
        assert_eq!(config.http_listen.to_string(), "127.0.0.1:7480");
        assert!(config.workers >= 1);
        assert!(config.memory_limit_bytes >= MEMORY_LIMIT_MIN.0);
        assert_eq!((config.insecure, config.log_format), (false, LogFormat::Text));
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let (_dir, path) = file(
            "data_dir = '/var/lib/tw'\nworkers = 3\nmemory-limit = '1GiB'\nlisten = '127.0.0.1:0'\n",
        );
        let config = server(&["--config", &path, "--workers", "5", "--memory-limit", "64MiB"])
            .resolve()
            .unwrap();
        assert_eq!((config.workers, config.memory_limit_bytes), (5, 64 << 20));
        assert_eq!(config.data_dir, Path::new("/var/lib/tw"));
        assert_eq!(config.listen.addresses()[0].port(), 0);
    }

    #[test]
    fn every_option_can_be_set_in_the_environment() {
        use clap::CommandFactory;
        let cli = Cli::command();
        let server = cli.find_subcommand("server").unwrap();
        for key in FILE_KEYS.into_iter().chain(["config"]) {
            let arg = server.get_arguments().find(|a| a.get_id() == key).unwrap();
            let expected = format!("TIDEWATER_{}", key.to_uppercase());
            assert_eq!(arg.get_env().unwrap().to_str(), Some(expected.as_str()));
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_name() {
        let (_dir, path) = file("worker = 3\n");
        let message = server(&["--config", &path]).resolve().unwrap_err().to_string();
        assert!(message.contains("unknown option \"worker\""), "{message}");
        assert!(message.contains("did you mean \"workers\"?"), "{message}");
        let (_dir, path) = file("entirely_different = 3\n");
        let message = server(&["--config", &path]).resolve().unwrap_err().to_string();
        assert!(message.contains("the options are data_dir, listen"), "{message}");
    }

    #[test]
    fn a_key_in_both_spellings_is_refused() {
        let (_dir, path) = file("data_dir = 'a'\ndata-dir = 'b'\n");
        let message = server(&["--config", &path]).resolve().unwrap_err().to_string();
        assert!(message.contains("\"data_dir\" is given twice"), "{message}");
    }

    #[test]
    fn a_wrong_value_in_the_file_is_refused() {
        for text in ["workers = 'many'", "memory_limit = '4 parsecs'", "log_format = 'xml'", "= 1"]
        {
            let (_dir, path) = file(text);
            let error = server(&["--config", &path]).resolve().unwrap_err();
            assert!(matches!(error, ConfigError::Toml { .. }), "{text}: {error}");
        }
        let error = server(&["--config", "/nowhere/at/all.toml"]).resolve().unwrap_err();
        assert!(matches!(error, ConfigError::Read { .. }), "{error}");
    }

    #[test]
    fn an_address_other_than_loopback_needs_insecure() {
        for address in ["0.0.0.0:7432", "[::]:0", "192.0.2.1:7432"] {
            for option in ["--listen", "--http-listen"] {
                let error = server(&[option, address]).resolve().unwrap_err();
                assert!(matches!(error, ConfigError::NotLoopback { .. }), "{error}");
                assert!(error.to_string().contains("--insecure"));
                assert!(server(&[option, address, "--insecure"]).resolve().unwrap().insecure);
            }
        }
        for address in ["127.0.0.1:0", "127.8.9.10:1", "[::1]:0"] {
            server(&["--listen", address]).resolve().unwrap();
        }
        let (_dir, path) = file("insecure = true\nlisten = '0.0.0.0:0'\n");
        server(&["--config", &path]).resolve().unwrap();
        server(&["--config", &path, "--insecure=false"]).resolve().unwrap_err();
    }

    #[test]
    fn a_malformed_address_is_refused_with_its_option() {
        for address in ["localhost", "127.0.0.1:port", "127.0.0.1:70000", ""] {
            let error = server(&["--listen", address]).resolve().unwrap_err();
            assert!(error.to_string().contains("--listen"), "{error}");
        }
    }

    #[test]
    fn worker_counts_and_memory_limits_out_of_range_are_refused() {
        assert!(matches!(
            server(&["--workers", "0"]).resolve(),
            Err(ConfigError::Workers { count: 0 })
        ));
        assert!(matches!(
            server(&["--workers", "257"]).resolve(),
            Err(ConfigError::Workers { count: 257 })
        ));
        let error = server(&["--memory-limit", "1MiB"]).resolve().unwrap_err();
        assert_eq!(error.to_string(), "memory limit 1 MiB is too small; at least 32 MiB is needed");
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let cases = [
            ("1048576", 1 << 20),
            ("512MiB", 512 << 20),
            ("4GB", 4_000_000_000),
            ("1.5 GiB", 3 << 29),
            ("2tib", 2 << 40),
            (" 7 kB ", 7_000),
            ("0B", 0),
        ];
        for (text, bytes) in cases {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "MiB", "4X", "-1GB", "1.2.3MB", "99999999999TiB", "1e5"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit() {
        for (bytes, text) in
            [(0, "0 B"), (1 << 20, "1 MiB"), (3 << 29, "1.5 GiB"), (1023, "1023 B")]
        {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }

    #[test]
    fn the_smallest_limit_of_machine_and_control_groups_counts() {
        let machine = |files: &[(&str, &str)]| {
            let files: std::collections::HashMap<String, String> =
                files.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            machine_memory_bytes(|path| files.get(path).cloned())
        };
        let meminfo = ("/proc/meminfo", "MemTotal:       16384 kB\nMemFree: 1 kB\n");
        assert_eq!(machine(&[]), None);
        assert_eq!(machine(&[meminfo]), Some(16 << 20));
        let v2 = ("/proc/self/cgroup", "0::/a/b\n");
        let max = ("/sys/fs/cgroup/a/b/memory.max", "max\n");
        let parent = ("/sys/fs/cgroup/a/memory.max", "8388608\n");
        assert_eq!(machine(&[meminfo, v2, max]), Some(16 << 20));
        assert_eq!(machine(&[meminfo, v2, max, parent]), Some(8 << 20));
        let v1 = ("/proc/self/cgroup", "5:cpu,memory:/x\n4:pids:/x\n");
        let limit = ("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "4194304\n");
        assert_eq!(machine(&[meminfo, v1, limit]), Some(4 << 20));
    }

    #[test]
    fn bench_and_demo_are_parsed() {
        let parse = |words: &[&str]| Cli::try_parse_from(words).map(|cli| cli.command);
        let bench =
            parse(&["tidewater", "bench", "nexmark", "--queries", "q0,q4", "--source", "kafka"]);
        let Command::Bench(BenchArgs { suite: BenchSuite::Nexmark(args) }) = bench.unwrap() else {
            panic!("not a nexmark bench")
        };
        assert_eq!(args.queries, ["q0", "q4"]);
        assert_eq!((args.events, args.source), (DEFAULT_BENCH_EVENTS, BenchSource::Kafka));
        assert!(args.workers().unwrap() >= 1);
        let bench = parse(&["tidewater", "bench", "operators", "--cases", "join,join_view"]);
        let Command::Bench(BenchArgs { suite: BenchSuite::Operators(args) }) = bench.unwrap()
        else {
            panic!("not a bench of operators")
        };
        assert_eq!(args.cases, ["join", "join_view"]);
        let Command::Demo(demo) = parse(&["tidewater", "demo", "--listen", "127.0.0.1:0"]).unwrap()
        else {
            panic!("not a demo")
        };
        assert_eq!(demo.rate, DEFAULT_DEMO_EVENTS_PER_SECOND);
        assert_eq!(demo.resolve("/tmp/x".into()).unwrap().data_dir, Path::new("/tmp/x"));
        assert!(parse(&["tidewater", "demo", "--rate", "0"]).is_err());
    }
}
