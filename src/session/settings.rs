//! Settings: what SET, RESET and SHOW work on, with PostgreSQL's names, defaults and checks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use crate::config::ByteSize;
use crate::error::{Error, Result, SqlState};
use crate::types::{ByteaOutput, DateOrder, IntervalStyle, TextStyle, TimeZone};

/// A setting that Tidewater knows: its name as SHOW spells it, its default, and whether it can be changed.
struct Known {
    name: &'static str,
    default: &'static str,
    fixed: bool,
    reported: bool,
}

const fn known(name: &'static str, default: &'static str) -> Known {
    Known { name, default, fixed: false, reported: false }
}

const fn fixed(name: &'static str, default: &'static str, reported: bool) -> Known {
    Known { name, default, fixed: true, reported }
}

const fn reported(name: &'static str, default: &'static str) -> Known {
    Known { name, default, fixed: false, reported: true }
}

/// The version that clients decide by what they may ask for.
pub const SERVER_VERSION: &str = "15.8";

const SETTINGS: &[Known] = &[
    reported("application_name", ""),
    known("bytea_output", "hex"),
    reported("client_encoding", "UTF8"),
    known("client_min_messages", "notice"),
    reported("DateStyle", "ISO, MDY"),
    known("default_table_access_method", "heap"),
    known("default_transaction_isolation", "repeatable read"),
    reported("default_transaction_read_only", "off"),
    known("extra_float_digits", "1"),
    known("idle_in_transaction_session_timeout", "1h"),
    known("idle_session_timeout", "0"),
    fixed("in_hot_standby", "off", true),
    fixed("integer_datetimes", "on", true),
    reported("IntervalStyle", "postgres"),
    reported("is_superuser", "on"),
    known("jit", "off"),
    known("lock_timeout", "0"),
    fixed("max_connections", "1000", false),
    fixed("max_identifier_length", "63", false),
    fixed("max_index_keys", "32", false),
    known("role", "none"),
    known("row_security", "on"),
    known("search_path", "\"$user\", public"),
    fixed("server_encoding", "UTF8", true),
    fixed("server_version", SERVER_VERSION, true),
    fixed("server_version_num", "150008", false),
    reported("session_authorization", ""),
    reported("standard_conforming_strings", "on"),
    known("statement_timeout", "0"),
    known("subscribe_buffer_rows", "1000000"),
    known("subscribe_buffer_size", "64MiB"),
    known("synchronous_commit", "on"),
    reported("TimeZone", "UTC"),
    known("transaction_isolation", "repeatable read"),
    known("transaction_read_only", "off"),
    known("xmloption", "content"),
];

/// Prefixes of settings of other systems whose clients set them at connect: kept, without effect.
const FOREIGN_PREFIXES: &[&str] =
    &["rw_", "streaming_", "enable_", "plan_cache_", "jit_", "log_", "work_mem"];

/// Values that were set, by name in lower case. Whoever has derived something from them asks for the version, which no other
/// state of any settings has.
#[derive(Clone, Debug)]
struct Values {
    set: BTreeMap<String, String>,
    version: u64,
    derived: OnceLock<Derived>,
}

impl Values {
    fn new(set: BTreeMap<String, String>) -> Values {
        static VERSIONS: AtomicU64 = AtomicU64::new(0);
        let version = VERSIONS.fetch_add(1, Ordering::Relaxed);
        Values { set, version, derived: OnceLock::new() }
    }

    /// The values, which are about to change.
    fn change(&mut self) -> &mut BTreeMap<String, String> {
        *self = Values::new(std::mem::take(&mut self.set));
        &mut self.set
    }
}

/// What every statement asks of the settings.
#[derive(Clone, Copy, Debug)]
struct Derived {
    text_style: TextStyle,
    statement_timeout: Option<Duration>,
    idle_session_timeout: Option<Duration>,
    idle_in_transaction_session_timeout: Option<Duration>,
}

/// One session's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    values: Values,
    /// As they were when the transaction block began.
    before: Option<BTreeMap<String, String>>,
    /// What SET LOCAL has changed in the block, with what the session had; `None` is the default.
    local: BTreeMap<String, Option<String>>,
    user: String,
    temporary_schema: Option<String>,
    /// What set_config() was called with since [`Settings::apply_requested`], shared with the statement that calls it.
    requested: Arc<Mutex<Vec<Requested>>>,
}

fn find(name: &str) -> Option<&'static Known> {
    SETTINGS.iter().find(|known| known.name.eq_ignore_ascii_case(name))
}

pub(super) fn unknown(name: &str) -> Error {
    Error::new(
        SqlState::UNDEFINED_OBJECT,
        format!("unrecognized configuration parameter \"{name}\""),
    )
}

fn invalid(name: &str, value: &str) -> Error {
    let message = format!("invalid value for parameter \"{name}\": \"{value}\"");
    Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// Settings as they were.
#[derive(Debug)]
pub struct Kept {
    version: u64,
    temporary_schema: Option<String>,
}

/// A call of set_config().
#[derive(Clone, Debug)]
struct Requested {
    name: String,
    value: String,
    local: bool,
}

impl Settings {
    pub fn new(user: &str) -> Settings {
        Settings {
            values: Values::new(BTreeMap::new()),
            before: None,
            local: BTreeMap::new(),
            user: user.to_owned(),
            temporary_schema: None,
            requested: Arc::default(),
        }
    }

    /// All that statements may depend on.
    pub fn kept(&self) -> Kept {
        Kept { version: self.version(), temporary_schema: self.temporary_schema.clone() }
    }

    /// Whether statements mean what they meant then.
    pub fn are(&self, kept: &Kept) -> bool {
        self.version() == kept.version && self.temporary_schema == kept.temporary_schema
    }

    /// Another one whenever a value has changed.
    pub fn version(&self) -> u64 {
        self.values.version
    }

    pub fn user(&self) -> &str {
        &self.user
    }

    /// What the startup packet brings. Parameters that are no settings are passed over, as PostgreSQL's drivers send
    /// some of their own.
    pub fn set_at_startup(&mut self, name: &str, value: &str) -> Result<()> {
        if name == "options" {
            return self.set_options(value);
        }
        match find(name) {
            Some(known) if !known.fixed => self.set(name, Some(&[value.to_owned()])),
            _ => Ok(()),
        }
    }

    /// `-c name=value` and `--name=value`, as in libpq's options.
    fn set_options(&mut self, options: &str) -> Result<()> {
        let mut words = options.split_whitespace().peekable();
        while let Some(word) = words.next() {
            let pair = match word {
                "-c" => words.next(),
                _ => word.strip_prefix("--").or_else(|| word.strip_prefix("-c")),
            };
            if let Some((name, value)) = pair.and_then(|pair| pair.split_once('=')) {
                self.set(&name.replace('-', "_").to_lowercase(), Some(&[value.to_owned()]))?;
            }
        }
        Ok(())
    }

    /// A transaction block begins.
    pub fn begin(&mut self) {
        self.before = Some(self.values.set.clone());
    }

    /// A transaction block ends: what SET LOCAL changed goes; without a commit, what SET changed goes too.
    pub fn end(&mut self, committed: bool) {
        let local = std::mem::take(&mut self.local);
        match (committed, self.before.take()) {
            (false, Some(before)) => *self.values.change() = before,
            _ => {
                for (name, value) in local {
                    match value {
                        Some(value) => self.values.change().insert(name, value),
                        None => self.values.change().remove(&name),
                    };
                }
            }
        }
    }

    /// SET LOCAL, until the transaction block ends.
    pub fn set_local(&mut self, name: &str, values: Option<&[String]>) -> Result<()> {
        let key = name.to_lowercase();
        let outer =
            self.local.get(&key).cloned().unwrap_or_else(|| self.values.set.get(&key).cloned());
        self.set(name, values)?;
        self.local.insert(key, outer);
        Ok(())
    }

    /// SET; `None` is DEFAULT.
    pub fn set(&mut self, name: &str, values: Option<&[String]>) -> Result<()> {
        let Some(values) = values else { return self.reset(Some(name)) };
        let value = values.join(", ");
        let Some(known) = find(name) else {
            let foreign = FOREIGN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
                || name.contains('.');
            if !foreign {
                return Err(unknown(name));
            }
            self.values.change().insert(name.to_owned(), value);
            return Ok(());
        };
        if known.fixed {
            let message = format!("parameter \"{}\" cannot be changed", known.name);
            return Err(Error::new(SqlState::CANT_CHANGE_RUNTIME_PARAM, message));
        }
        let value = match known.name {
            "DateStyle" => date_style(&value, &self.get("DateStyle").unwrap_or_default())?,
            name => checked(name, value)?,
        };
        let key = known.name.to_lowercase();
        self.local.remove(&key);
        self.values.change().insert(key, value);
        Ok(())
    }

    /// set_config(): checks a value and gives it as it is kept. It takes effect with the session's next statement, since the
    /// one that calls the function is running.
    pub fn request(&self, name: &str, value: &str, local: bool) -> Result<String> {
        let mut changed = self.clone();
        changed.set(name, Some(&[value.to_owned()]))?;
        let requested = Requested { name: name.to_owned(), value: value.to_owned(), local };
        self.requested.lock().push(requested);
        changed.show(name)
    }

    /// Applies what was requested; whether that was anything. What was for its transaction alone is over where that was the
    /// statement.
    pub fn apply_requested(&mut self, in_block: bool) -> bool {
        let mut requested = std::mem::take(&mut *self.requested.lock());
        requested.retain(|requested| in_block || !requested.local);
        for Requested { name, value, local } in &requested {
            let value = Some(std::slice::from_ref(value));
            // Each was checked when it was requested.
            let _ = if *local { self.set_local(name, value) } else { self.set(name, value) };
        }
        !requested.is_empty()
    }

    /// RESET; `None` is ALL.
    pub fn reset(&mut self, name: Option<&str>) -> Result<()> {
        match name {
            None => self.values.change().clear(),
            Some(name) if find(name).is_some() || self.values.set.contains_key(name) => {
                self.values.change().remove(&name.to_lowercase());
            }
            Some(name) => return Err(unknown(name)),
        }
        Ok(())
    }

    /// A setting's value; `None` for unknown ones.
    pub fn get(&self, name: &str) -> Option<String> {
        let name = name.to_lowercase();
        if let Some(value) = self.values.set.get(&name) {
            return Some(value.clone());
        }
        match name.as_str() {
            "session_authorization" => Some(self.user.clone()),
            _ => find(&name).map(|known| known.default.to_owned()),
        }
    }

    pub fn show(&self, name: &str) -> Result<String> {
        self.get(name).ok_or_else(|| unknown(name))
    }

    /// The name as SHOW spells it.
    pub fn spelled(name: &str) -> String {
        find(name).map_or_else(|| name.to_owned(), |known| known.name.to_owned())
    }

    /// Every known setting with its value, in order of names.
    pub fn all(&self) -> Vec<(String, String)> {
        SETTINGS.iter().filter_map(|k| Some((k.name.to_owned(), self.get(k.name)?))).collect()
    }

    /// Settings of the session's own making, such as `myapp.user_id`.
    pub fn custom(&self) -> impl Iterator<Item = (String, String)> {
        let own = self.values.set.iter().filter(|(name, _)| find(name).is_none());
        own.map(|(name, value)| (name.clone(), value.clone()))
    }

    /// Those that PostgreSQL tells clients without being asked.
    pub fn reported(&self) -> Vec<(&'static str, String)> {
        let told = SETTINGS.iter().filter(|known| known.reported);
        told.filter_map(|known| Some((known.name, self.get(known.name)?))).collect()
    }

    pub fn statement_timeout(&self) -> Option<Duration> {
        self.derived().statement_timeout
    }

    /// How long a session may wait in a block, or outside of one.
    pub fn idle_timeout(&self, in_block: bool) -> Option<Duration> {
        let derived = self.derived();
        match in_block {
            true => derived.idle_in_transaction_session_timeout,
            false => derived.idle_session_timeout,
        }
    }

    fn derived(&self) -> &Derived {
        self.values.derived.get_or_init(|| Derived {
            text_style: self.read_text_style(),
            statement_timeout: self.timeout("statement_timeout"),
            idle_session_timeout: self.timeout("idle_session_timeout"),
            idle_in_transaction_session_timeout: self
                .timeout("idle_in_transaction_session_timeout"),
        })
    }

    /// What a setting limits; `None` where it is 0.
    fn timeout(&self, name: &str) -> Option<Duration> {
        duration(&self.get(name)?).filter(|timeout| !timeout.is_zero())
    }

    /// A setting that is a number, which was checked when it was set.
    pub fn count(&self, name: &str) -> u64 {
        self.get(name).and_then(|value| value.parse().ok()).unwrap_or(u64::MAX)
    }

    /// A setting that is a size, which was checked when it was set.
    pub fn bytes(&self, name: &str) -> u64 {
        self.get(name).and_then(|value| value.parse().ok()).map_or(u64::MAX, |ByteSize(n)| n)
    }

    /// Schemas that unqualified names are looked up in. The user's own schema stands for nothing: there is none.
    pub fn search_path(&self) -> Vec<String> {
        let path = self.get("search_path").unwrap_or_default();
        let names = path.split(',').map(|name| name.trim().trim_matches('"').to_owned());
        let names = names.filter(|name| !name.is_empty() && name != "$user");
        self.temporary_schema.iter().cloned().chain(names).collect()
    }

    /// The schema of the session's temporary tables, once there are any.
    pub fn temporary_schema(&self) -> Option<&str> {
        self.temporary_schema.as_deref()
    }

    pub fn set_temporary_schema(&mut self, schema: String) {
        self.temporary_schema = Some(schema);
    }

    pub fn text_style(&self) -> TextStyle {
        self.derived().text_style
    }

    fn read_text_style(&self) -> TextStyle {
        let get = |name: &str| self.get(name).unwrap_or_default();
        TextStyle {
            time_zone: TimeZone::parse(&get("TimeZone")).unwrap_or(TimeZone::UTC),
            date_order: DateOrder::of_style(&get("DateStyle")),
            interval_style: match get("IntervalStyle").as_str() {
                "iso_8601" => IntervalStyle::Iso8601,
                _ => IntervalStyle::Postgres,
            },
            bytea_output: if get("bytea_output") == "escape" {
                ByteaOutput::Escape
            } else {
                ByteaOutput::Hex
            },
            extra_float_digits: get("extra_float_digits").parse().unwrap_or(1),
        }
    }
}

/// The value as it is kept, or 22023.
fn checked(name: &'static str, value: String) -> Result<String> {
    let one_of = |choices: &[&str]| {
        let chosen = choices.iter().find(|choice| choice.eq_ignore_ascii_case(&value));
        chosen.map(|choice| (*choice).to_owned()).ok_or_else(|| invalid(name, &value))
    };
    match name {
        "TimeZone" => {
            TimeZone::parse(&value).map(|zone| zone.name()).ok_or_else(|| invalid(name, &value))
        }
        "client_encoding" => match encoding_name(&value).as_str() {
            "UTF8" | "UNICODE" | "SQLASCII" => Ok("UTF8".to_owned()),
            _ => Err(invalid(name, &value).with_detail("Only UTF8 is supported.")),
        },
        "client_min_messages" => one_of(&[
            "debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error",
        ]),
        "IntervalStyle" => one_of(&["postgres", "iso_8601"]),
        "statement_timeout"
        | "lock_timeout"
        | "idle_session_timeout"
        | "idle_in_transaction_session_timeout" => {
            match duration(&value) {
                Some(_) => Ok(value),
                None => Err(invalid(name, &value).with_hint(
                    "Valid units for this parameter are \"us\", \"ms\", \"s\", \"min\", \"h\", and \"d\".",
                )),
            }
        }
        "subscribe_buffer_rows" => match value.parse::<u64>() {
            Ok(1..) => Ok(value),
            _ => Err(invalid(name, &value)),
        },
        "subscribe_buffer_size" => match value.parse::<ByteSize>() {
            Ok(ByteSize(1..)) => Ok(value),
            _ => Err(invalid(name, &value).with_hint("Sizes are such as 64MiB or 100MB.")),
        },
        "transaction_isolation" | "default_transaction_isolation" => {
            one_of(&["read uncommitted", "read committed", "repeatable read", "serializable"])
        }
        "transaction_read_only" | "default_transaction_read_only" => {
            match value.to_lowercase().as_str() {
                "on" | "true" | "yes" | "1" => Ok("on".to_owned()),
                "off" | "false" | "no" | "0" => Ok("off".to_owned()),
                _ => Err(invalid(name, &value)),
            }
        }
        "bytea_output" => one_of(&["hex", "escape"]),
        "standard_conforming_strings" => one_of(&["on"]),
        "extra_float_digits" => match value.parse::<i32>() {
            Ok(-15..=3) => Ok(value),
            _ => Err(invalid(name, &value)),
        },
        _ => Ok(value),
    }
}

/// A DateStyle: the output style, of which there is ISO alone, and the order of day, month and year in input; what is left
/// out stays as in `current`.
fn date_style(value: &str, current: &str) -> Result<String> {
    let mut order = current.rsplit(' ').next().unwrap_or("MDY");
    for word in value.split(',').map(|word| word.trim().to_uppercase()) {
        order = match word.as_str() {
            "ISO" => order,
            "MDY" | "US" | "NONEURO" | "NONEUROPEAN" => "MDY",
            "DMY" | "EURO" | "EUROPEAN" => "DMY",
            "YMD" => "YMD",
            "DEFAULT" => "MDY",
            "POSTGRES" | "SQL" | "GERMAN" => {
                return Err(invalid("DateStyle", value)
                    .with_detail("Only the output style \"ISO\" is supported."));
            }
            _ => return Err(invalid("DateStyle", value)),
        };
    }
    Ok(format!("ISO, {order}"))
}

/// A time as settings have it: a number of milliseconds, or of the unit behind it.
pub(super) fn duration(value: &str) -> Option<Duration> {
    let value = value.trim();
    let unit = value.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(value.len());
    let (number, unit) = value.split_at(unit);
    let seconds = match unit {
        "us" => 1e-6,
        "" | "ms" => 1e-3,
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.trim().parse::<f64>().ok()? * seconds).ok()
}

/// Only letters and digits of an encoding's name count: asyncpg asks for `'utf-8'`, quotes included.
fn encoding_name(value: &str) -> String {
    value.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_uppercase()
}
