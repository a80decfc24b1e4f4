//! What a table demands of its rows and does for them besides its key and defaults: checks and generated columns.

use super::object::Oid;

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
    /// GENERATED ALWAYS or BY DEFAULT AS IDENTITY, numbered by a sequence of its own.
    Identity { always: bool, sequence: Oid },
}

impl Generation {
    /// Whether no statement may give a value, and the words for it.
    pub fn refuses_values(&self, column: &str) -> Option<String> {
        match self {
            Generation::Stored(_) => Some(format!("Column \"{column}\" is a generated column.")),
            Generation::Identity { always: true, .. } => Some(format!(
                "Column \"{column}\" is an identity column defined as GENERATED ALWAYS."
            )),
            Generation::Identity { always: false, .. } => None,
        }
    }
}
