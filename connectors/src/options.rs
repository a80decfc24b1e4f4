//! The options of `WITH (...)` and of FORMAT/ENCODE clauses: names, typed values, secrets.
//!
//! Keys are case-insensitive. A value whose key carries credentials is a [`Secret`] from the moment it is stored: every
//! Debug, Display and [`Options::redacted`] shows `[redacted]`, and text that comes back from client libraries is passed
//! through [`Options::scrub`] before it reaches a message. Nothing here knows which connector an option belongs to: the
//! connector says what it knows with [`Options::check_known`].

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use crate::contract::ConnectorError;

/// What stands in place of a secret wherever it would be shown.
pub const REDACTED: &str = "[redacted]";

/// Secrets shorter than this are not looked for in foreign texts: replacing every "a" would garble the message and
/// tell more about the secret than it hides.
const SCRUBBED_BYTES_MIN: usize = 4;

/// A hint names a known option only when it is at most this many edits away from what was typed.
const SUGGESTION_EDITS_MAX: usize = 3;

/// A value that never prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Secret {
        Secret(value.into())
    }

    /// The value itself, for the client library that needs it and for the encrypted catalog only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

#[derive(Clone, PartialEq, Eq)]
enum Value {
    Plain(String),
    Secret(Secret),
}

impl Value {
    fn exposed(&self) -> &str {
        match self {
            Value::Plain(value) => value,
            Value::Secret(secret) => secret.expose(),
        }
    }

    fn shown(&self) -> &str {
        match self {
            Value::Plain(value) => value,
            Value::Secret(_) => REDACTED,
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.shown(), f)
    }
}

/// Parts of a key that tell that its value is a credential. Too many are better than too few: a redacted value costs a
/// look into one's own script, a shown one costs a new credential.
const SECRET_KEY_PARTS: &[&str] = &[
    "password",
    "passphrase",
    "passwd",
    "secret",
    "token",
    "credential",
    "private.key",
    "private_key",
    "privatekey",
    "access.key",
    "access_key",
    "accesskey",
    "account.key",
    "account_key",
    "api.key",
    "api_key",
    "apikey",
    "sasl.jaas.config",
    "sasl.oauthbearer.config",
    "auth.user.info",
    "authorization",
];

/// Whether the values of this key are credentials.
pub fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    key.ends_with(".pem")
        || key.ends_with("ssl.keystore.key")
        || key.ends_with("ssl.keystore.certificate.chain")
        || SECRET_KEY_PARTS.iter().any(|part| key.contains(part))
}

/// Key/value options, keys in lower case and in alphabetical order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    values: BTreeMap<String, Value>,
}

impl Options {
    /// Takes what was written in `WITH (...)`. An option given twice is an error, as one of the two would be ignored.
    pub fn new<K, V>(pairs: impl IntoIterator<Item = (K, V)>) -> Result<Options, ConnectorError>
    where
        K: AsRef<str>,
        V: Into<String>,
    {
        let mut values = BTreeMap::new();
        for (key, value) in pairs {
            let key = key.as_ref().trim().to_ascii_lowercase();
            let value = match is_secret_key(&key) {
                true => Value::Secret(Secret::new(value)),
                false => Value::Plain(value.into()),
            };
            if values.insert(key.clone(), value).is_some() {
                return Err(ConnectorError::fix(format!(
                    "option \"{key}\" specified more than once"
                )));
            }
        }
        Ok(Options { values })
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub fn contains(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// The value of `key` (in lower case), secrets included.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(Value::exposed)
    }

    /// As [`Options::get`]; a missing or empty value is an error that names the option.
    pub fn required(&self, key: &str) -> Result<&str, ConnectorError> {
        match self.get(key).map(str::trim) {
            Some(value) if !value.is_empty() => Ok(value),
            Some(_) => Err(ConnectorError::fix(format!("option \"{key}\" must not be empty"))),
            None => Err(ConnectorError::fix(format!("option \"{key}\" is required"))
                .with_hint(format!("Add {key} = '...' to the WITH clause."))),
        }
    }

    /// A whole number within `range`; `None` when the option is not given.
    pub fn integer<T>(
        &self,
        key: &str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, ConnectorError>
    where
        T: FromStr + PartialOrd + fmt::Display,
    {
        let Some(text) = self.get(key) else { return Ok(None) };
        match text.trim().replace('_', "").parse::<T>() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(self.invalid(key).with_detail(format!(
                "It takes a whole number from {} to {}.",
                range.start(),
                range.end()
            ))),
        }
    }

    /// A finite number; `None` when the option is not given.
    pub fn number(&self, key: &str) -> Result<Option<f64>, ConnectorError> {
        let Some(text) = self.get(key) else { return Ok(None) };
        match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Some(number)),
            _ => Err(self.invalid(key).with_detail("It takes a number.")),
        }
    }

    /// A time, a number with its unit: `500ms`, `10s`, `5min`, `1h`, `1d`; `None` when the option is not given.
    pub fn duration(&self, key: &str, max: Duration) -> Result<Option<Duration>, ConnectorError> {
        const UNITS: &[(&str, u64)] =
            &[("ms", 1), ("s", 1_000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
        let Some(text) = self.get(key) else { return Ok(None) };
        let time = with_unit(text, UNITS).map(Duration::from_millis);
        match time.filter(|time| *time <= max) {
            Some(time) => Ok(Some(time)),
            None => Err(self.invalid(key).with_detail(format!(
                "It takes a number and a unit (ms, s, min, h, d) of at most {} s together.",
                max.as_secs()
            ))),
        }
    }

    /// A number of bytes with its unit, as PostgreSQL's settings have them: `512kB`, `64MB`, `1GB`; `None` when the option is
    /// not given.
    pub fn size(
        &self,
        key: &str,
        range: RangeInclusive<usize>,
    ) -> Result<Option<usize>, ConnectorError> {
        const UNITS: &[(&str, u64)] =
            &[("b", 1), ("kb", 1 << 10), ("mb", 1 << 20), ("gb", 1 << 30)];
        let Some(text) = self.get(key) else { return Ok(None) };
        let bytes = with_unit(text, UNITS).and_then(|bytes| usize::try_from(bytes).ok());
        match bytes.filter(|bytes| range.contains(bytes)) {
            Some(bytes) => Ok(Some(bytes)),
            None => Err(self.invalid(key).with_detail(format!(
                "It takes a number and a unit (B, kB, MB, GB), from {} B to {} MB together.",
                range.start(),
                range.end() >> 20
            ))),
        }
    }

    /// A boolean as PostgreSQL's settings take it; `None` when the option is not given.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, ConnectorError> {
        let Some(text) = self.get(key) else { return Ok(None) };
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "t" | "on" | "yes" | "y" | "1" => Ok(Some(true)),
            "false" | "f" | "off" | "no" | "n" | "0" => Ok(Some(false)),
            _ => Err(self.invalid(key).with_detail("It takes true or false.")),
        }
    }

    /// The index in `choices` (lower case) of the value, compared without case; `None` when the option is not given.
    pub fn choice(&self, key: &str, choices: &[&str]) -> Result<Option<usize>, ConnectorError> {
        let Some(text) = self.get(key) else { return Ok(None) };
        let text = text.trim().to_ascii_lowercase();
        match choices.iter().position(|choice| *choice == text) {
            Some(index) => Ok(Some(index)),
            None => {
                let known: Vec<String> =
                    choices.iter().map(|choice| format!("\"{choice}\"")).collect();
                Err(self.invalid(key).with_detail(format!("It takes {}.", known.join(", "))))
            }
        }
    }

    /// The error for a value that its option does not take; the value is shown unless it is a secret.
    pub fn invalid(&self, key: &str) -> ConnectorError {
        let shown = self.values.get(key).map_or("", Value::shown);
        ConnectorError::fix(format!("invalid value for option \"{key}\": \"{shown}\""))
    }

    /// The options whose keys begin with `prefix`, which is taken off; secrets included.
    pub fn with_prefix<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> + 'a {
        self.values
            .iter()
            .filter_map(move |(key, value)| Some((key.strip_prefix(prefix)?, value.exposed())))
    }

    /// Every option that `known` does not name is an error with the closest known one as a hint. A known name that ends in
    /// `*` stands for all keys that begin with what is before it.
    pub fn check_known(&self, of: &str, known: &[&str]) -> Result<(), ConnectorError> {
        for key in self.values.keys() {
            let is_known = known.iter().any(|name| match name.strip_suffix('*') {
                Some(prefix) => key.len() > prefix.len() && key.starts_with(prefix),
                None => key == name,
            });
            if !is_known {
                let names = known.iter().filter(|name| !name.ends_with('*')).copied();
                let error = ConnectorError::fix(format!("unrecognized option \"{key}\" of {of}"));
                return Err(match closest(key, names) {
                    Some(name) => error.with_hint(format!("Perhaps you meant \"{name}\".")),
                    None if known.is_empty() => error.with_hint("It takes no options."),
                    None => error.with_hint(format!("The options are {}.", known.join(", "))),
                });
            }
        }
        Ok(())
    }

    /// Keys and values as they may be shown to anybody: for SHOW CREATE.
    pub fn redacted(&self) -> Vec<(String, String)> {
        self.values.iter().map(|(key, value)| (key.clone(), value.shown().to_owned())).collect()
    }

    /// Keys and values with secrets, for the durable catalog only.
    pub fn exposed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value.exposed()))
    }

    /// Takes every secret of these options out of a text that a client library made.
    pub fn scrub(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for value in self.values.values() {
            if let Value::Secret(secret) = value
                && secret.expose().len() >= SCRUBBED_BYTES_MIN
                && text.contains(secret.expose())
            {
                text = text.replace(secret.expose(), REDACTED);
            }
        }
        text
    }
}

/// A whole number and one of `units` (lower case), multiplied.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// The name nearest to `typed`, when near enough to be meant.
pub fn closest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names
        .into_iter()
        .map(|name| (edits(typed, name), name))
        .filter(|(edits, name)| *edits <= SUGGESTION_EDITS_MAX.min(name.len() / 2))
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein's distance in bytes: insertions, deletions and replacements from `a` to `b`.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Options {
        Options::new(pairs.iter().copied()).unwrap()
    }

    #[test]
    fn keys_are_case_insensitive_and_given_once() {
        assert_eq!(options(&[("Topic", "Bid")]).get("topic"), Some("Bid"));
        let twice = Options::new([("topic", "a"), ("TOPIC", "b")]).unwrap_err();
        assert_eq!(twice.message, "option \"topic\" specified more than once");
    }

    #[test]
    fn an_unknown_option_is_named_with_the_closest_known_one() {
        let known = ["topic", "scan.startup.mode", "properties.*"];
        let o = options(&[("tpoic", "x")]);
        let error = o.check_known("connector \"kafka\"", &known).unwrap_err();
        assert_eq!(error.message, "unrecognized option \"tpoic\" of connector \"kafka\"");
        assert_eq!(error.hint.unwrap(), "Perhaps you meant \"topic\".");
        let far = options(&[("colour", "x")]).check_known("c", &known).unwrap_err();
        assert_eq!(far.hint.unwrap(), "The options are topic, scan.startup.mode, properties.*.");
        options(&[("topic", ""), ("properties.x", "")]).check_known("c", &known).unwrap();
        options(&[("properties.", "")]).check_known("c", &known).unwrap_err();
    }

    #[test]
    fn a_missing_or_empty_required_option_is_named() {
        let o = options(&[("topic", " ")]);
        assert_eq!(o.required("topic").unwrap_err().message, "option \"topic\" must not be empty");
        assert_eq!(o.required("format").unwrap_err().message, "option \"format\" is required");
    }

    #[test]
    fn numbers_booleans_and_choices_say_what_they_take() {
        let o = options(&[("n", "1_000"), ("b", "On"), ("c", "Latest"), ("x", "abc")]);
        assert_eq!(o.integer("n", 1..=1000u64).unwrap(), Some(1000));
        assert_eq!(o.boolean("b").unwrap(), Some(true));
        assert_eq!(o.choice("c", &["earliest", "latest"]).unwrap(), Some(1));
        assert_eq!(o.integer("none", 1..=10u32).unwrap(), None);
        let error = o.integer("x", 1..=10u32).unwrap_err();
        assert_eq!(error.message, "invalid value for option \"x\": \"abc\"");
        assert_eq!(error.detail.unwrap(), "It takes a whole number from 1 to 10.");
        assert_eq!(
            o.choice("x", &["a", "b"]).unwrap_err().detail.unwrap(),
            "It takes \"a\", \"b\"."
        );
        assert!(o.integer("n", 1..=999u64).is_err());
    }

    #[test]
    fn times_and_sizes_have_units() {
        let o = options(&[("t", "5min"), ("s", "64 MB"), ("bare", "64"), ("huge", "99999999999d")]);
        let hour = Duration::from_secs(3_600);
        assert_eq!(o.duration("t", hour).unwrap(), Some(Duration::from_secs(300)));
        assert_eq!(o.duration("none", hour).unwrap(), None);
        assert_eq!(o.size("s", 1..=1 << 30).unwrap(), Some(64 << 20));
        assert!(o.duration("t", Duration::from_secs(299)).is_err());
        assert!(o.size("s", 1..=1 << 20).is_err());
        assert!(o.size("bare", 1..=1 << 20).is_err());
        let error = o.duration("huge", hour).unwrap_err();
        assert_eq!(error.message, "invalid value for option \"huge\": \"99999999999d\"");
    }

    #[test]
    fn credentials_never_print() {
        let secrets = [
            ("properties.sasl.password", "hunter2"),
            ("properties.ssl.key.password", "hunter2"),
            ("properties.ssl.key.pem", "hunter2"),
            ("properties.sasl.jaas.config", "... password=hunter2"),
            ("s3.secret.access.key", "hunter2"),
            ("s3.access.key", "hunter2"),
            ("auth_token", "hunter2"),
            ("Client.Secret", "hunter2"),
        ];
        let o = options(&secrets);
        assert!(!format!("{o:?}").contains("hunter2"));
        assert!(o.redacted().iter().all(|(_, value)| value == REDACTED));
        assert_eq!(o.get("properties.sasl.password"), Some("hunter2"));
        assert_eq!(o.scrub("cannot log in with hunter2"), "cannot log in with [redacted]");
        assert!(!o.invalid("s3.access.key").message.contains("hunter2"));
        assert!(!is_secret_key("properties.bootstrap.server"));
        assert!(!is_secret_key("properties.ssl.ca.location"));
        assert!(!is_secret_key("properties.sasl.username"));
    }
}
