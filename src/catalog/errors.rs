//! The catalog's errors in PostgreSQL's words.

use super::object::Object;
use super::snapshot::PUBLIC;
use crate::error::{Error, SqlState};
use crate::sql::{DropKind, ObjectName, quote_identifier};

/// `relation "s.t" does not exist`; `what` is relation or a kind of object.
pub fn does_not_exist(what: &str, name: &ObjectName) -> Error {
    let name = match &name.schema {
        Some(schema) => format!("{schema}.{}", name.name),
        None => name.name.clone(),
    };
    Error::new(SqlState::UNDEFINED_TABLE, format!("{what} \"{name}\" does not exist"))
}

pub fn already_exists(name: &str) -> Error {
    Error::new(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists"))
}

/// The notice of CREATE ... IF NOT EXISTS.
pub fn already_exists_notice(name: &str) -> Error {
    Error::new(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists, skipping"))
}

pub(super) fn schema_does_not_exist(name: &str) -> Error {
    Error::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{name}\" does not exist"))
}

pub(super) fn reserved_schema(name: &str) -> Error {
    Error::new(SqlState::INSUFFICIENT_PRIVILEGE, format!("permission denied for schema {name}"))
        .with_detail("The schema belongs to the system.")
}

/// `"m" is not a table`, with the statement that would do.
pub(super) fn not_a(kind: DropKind, object: &Object) -> Error {
    let actual = object.kind.words();
    let article = if kind == DropKind::Index { "an" } else { "a" };
    Error::new(
        SqlState::WRONG_OBJECT_TYPE,
        format!("\"{}\" is not {article} {}", object.name, kind.words()),
    )
    .with_hint(format!("Use DROP {} to remove a {actual}.", actual.to_uppercase()))
}

impl Object {
    /// The name as messages show it: with its schema unless that is public.
    pub fn display_name(&self) -> String {
        match self.schema.as_str() {
            PUBLIC => quote_identifier(&self.name),
            schema => format!("{}.{}", quote_identifier(schema), quote_identifier(&self.name)),
        }
    }

    /// `materialized view m`.
    pub fn label(&self) -> String {
        format!("{} {}", self.kind.words(), self.display_name())
    }
}
