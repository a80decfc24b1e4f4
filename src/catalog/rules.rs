//! What a table demands of its rows and does for them besides its key and defaults: checks, generated columns, numbers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::error::{Error, Result, SqlState};

/// The rules of a table.
#[derive(Clone, Debug, Default)]
pub struct TableRules {
    pub checks: Vec<Check>,
    /// One a column; shorter where the last columns have none.
    pub generated: Vec<Option<Generation>>,
    /// The key's constraint, where it was given a name.
    pub key_name: Option<String>,
}

/// A CHECK constraint.
#[derive(Clone, Debug)]
pub struct Check {
    pub name: String,
    /// A boolean expression over the table's columns, as SQL.
    pub sql: String,
    /// Whether all rows satisfy it; those there were at ADD CONSTRAINT ... NOT VALID may not.
    pub validated: bool,
}

/// Where the values of a column come from.
#[derive(Clone, Debug)]
pub enum Generation {
    /// GENERATED ALWAYS AS (expression) STORED; the expression as SQL.
    Stored(String),
    /// GENERATED ALWAYS or BY DEFAULT AS IDENTITY.
    Identity { always: bool, numbers: Arc<Numbers> },
    /// SERIAL and its kin: a default that numbers.
    Serial(Arc<Numbers>),
}

impl Generation {
    pub fn numbers(&self) -> Option<&Arc<Numbers>> {
        match self {
            Generation::Stored(_) => None,
            Generation::Identity { numbers, .. } | Generation::Serial(numbers) => Some(numbers),
        }
    }

    /// Whether no statement may give a value, and the words for it.
    pub fn refuses_values(&self, column: &str) -> Option<String> {
        match self {
            Generation::Stored(_) => Some(format!("Column \"{column}\" is a generated column.")),
            Generation::Identity { always: true, .. } => Some(format!(
                "Column \"{column}\" is an identity column defined as GENERATED ALWAYS."
            )),
            Generation::Identity { always: false, .. } | Generation::Serial(_) => None,
        }
    }
}

/// The numbers of a column: each is given out once, in order, with gaps where statements fail.
///
/// The counter is shared by every version of the table's definition and by an image that a server starts from, so it never
/// goes back. Whoever makes the catalog durable has to save a number that is beyond all given out.
pub struct Numbers {
    /// As PostgreSQL names the sequence: `table_column_seq`.
    pub name: String,
    next: AtomicI64,
    increment: i64,
    max: i64,
}

impl Numbers {
    /// Counts from `start` by `increment`, which is not 0, up to `max` (or down to 1).
    pub fn new(name: String, start: i64, increment: i64, max: i64) -> Numbers {
        Numbers { name, next: AtomicI64::new(start), increment, max }
    }

    /// Takes `count` numbers; returns the first, and by how much each is greater than the one before. 2200H when there
    /// are not so many left.
    pub fn take(&self, count: usize) -> Result<(i64, i64)> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let taken = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
            let after = self.increment.checked_mul(count).and_then(|by| next.checked_add(by))?;
            let last = after - self.increment;
            (count == 0 || (1..=self.max).contains(&last)).then_some(after)
        });
        match taken {
            Ok(first) => Ok((first, self.increment)),
            Err(_) => {
                let (what, bound) =
                    if self.increment > 0 { ("maximum", self.max) } else { ("minimum", 1) };
                let message = format!(
                    "nextval: reached {what} value of sequence \"{}\" ({bound})",
                    self.name
                );
                Err(Error::new(SqlState::SEQUENCE_LIMIT_EXCEEDED, message))
            }
        }
    }

    /// The next number will be this one.
    pub fn restart(&self, next: i64) {
        self.next.store(next, Ordering::Relaxed);
    }
}

impl fmt::Debug for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Numbers({} at {})", self.name, self.next.load(Ordering::Relaxed))
    }
}
