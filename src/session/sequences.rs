//! CREATE SEQUENCE and ALTER SEQUENCE, and the sequences that come with columns: SERIAL, IDENTITY, defaults that call one.
//!
//! There is one mechanism: a column that numbers its rows has a default that calls a sequence by its number, whatever it is
//! called. What owns the sequence, and whether it is a part of the column, is noted at the sequence.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use arrow_schema::Schema;
use sqlparser::ast;

use super::alter::{Altered, column_of};
use super::sequence_functions::Sequences;
use super::{Outcome, Session, command};
use crate::catalog::system::shown_default;
use crate::catalog::{
    self, CatalogChange, CatalogSnapshot, Counter, Counting, Generation, NumberType, Object,
    ObjectId, ObjectKind, Oid, Owner, sequence_columns,
};
use crate::error::{Error, Result, SqlState};
use crate::sql::{
    self, CreateSequence, Generated, IdentityChange, ObjectName, OwnedBy, RedactedOptions,
    SequenceOptions, Statement, parse_expr, quote_identifier,
};

/// Bytes of a name, as in PostgreSQL.
const NAME_BYTES_MAX: usize = 63;

impl Session {
    pub(super) async fn create_sequence(&mut self, create: &CreateSequence) -> Result<Outcome> {
        const TAG: &str = "CREATE SEQUENCE";
        self.outside_of_block(TAG)?;
        let mut name = create.name.clone();
        if name.schema.as_deref() == Some(sql::TEMPORARY_SCHEMA) {
            name = ObjectName::qualified(self.own_schema().await?, name.name);
        }
        if self.exists_already(&name, create.if_not_exists)? {
            return command(TAG);
        }
        let snapshot = self.server.catalog.snapshot();
        let schema = snapshot.creation_schema(&self.settings.search_path(), &name)?;
        let counting = Counting::new(&create.options, NumberType::BigInt)?;
        let owner = match &create.options.owned_by {
            Some(owned_by) => self.owner(&snapshot, &schema, owned_by)?,
            None => None,
        };
        let number = self.server.catalog.allocate();
        let sequence = new_sequence(number, schema, name.name, counting, owner);
        self.server.coordinator.define(CatalogChange::Create(Arc::new(sequence))).await?;
        command(TAG)
    }

    /// The column that OWNED BY names, if any: of a table of the sequence's own schema.
    fn owner(
        &self,
        snapshot: &CatalogSnapshot,
        schema: &str,
        owned_by: &OwnedBy,
    ) -> Result<Option<Owner>> {
        let OwnedBy::Column { table, column } = owned_by else { return Ok(None) };
        let table = snapshot.resolve(&self.settings.search_path(), table)?;
        if !matches!(table.kind, ObjectKind::Table { connector: None, .. }) {
            let message = format!("sequence cannot be owned by relation \"{}\"", table.name);
            let detail = format!("This operation is not supported for {}s.", table.kind.words());
            return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message).with_detail(detail));
        }
        if table.schema != schema {
            let message = "sequence must be in same schema as table it is linked to";
            return Err(Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
        }
        let column = column_of(&table, column)?;
        Ok(Some(Owner { table: table.oid, column, is_identity: false }))
    }

    /// The sequences of a new table's columns, those that number rows; none twice by name.
    pub(super) fn column_sequences(
        &self,
        (schema, table, oid): (&str, &str, Oid),
        columns: &[sql::ColumnDef],
        fields: &Schema,
    ) -> Result<Vec<Object>> {
        let mut sequences: Vec<Object> = vec![];
        for (at, (column, field)) in columns.iter().zip(fields.fields()).enumerate() {
            let (options, is_identity) = match &column.generated {
                Some(Generated::Identity { options, .. }) => (options.as_ref().clone(), true),
                Some(Generated::Serial) => (SequenceOptions::default(), false),
                Some(Generated::Stored(_)) | None => continue,
            };
            let number_type = NumberType::of(field.data_type()).ok_or_else(|| {
                let message = "identity column type must be smallint, integer, or bigint";
                Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
            })?;
            let counting = Counting::new(&options, number_type)?;
            let snapshot = self.server.catalog.snapshot();
            let is_free = |name: &str| {
                snapshot.find(schema, name).is_none() && !sequences.iter().any(|s| s.name == name)
            };
            let name = sequence_name(table, &column.name, is_free);
            let owner = Some(Owner { table: oid, column: at, is_identity });
            let number = self.server.catalog.allocate();
            sequences.push(new_sequence(number, schema.to_owned(), name, counting, owner));
        }
        Ok(sequences)
    }

    /// A default as it is kept, with the sequences that it calls by their numbers.
    pub(super) fn bound_default(&self, default: &ast::Expr) -> Result<String> {
        let sequences = self.sequences(self.server.catalog.snapshot());
        let mut bound = default.clone();
        sql::bind_sequences(&mut bound, &|name| sequences.named(name).map(|s| s.oid.0))?;
        Ok(bound.to_string())
    }

    /// What a statement's sequence functions work on.
    pub(super) fn sequences(&self, catalog: Arc<CatalogSnapshot>) -> Sequences {
        Sequences {
            catalog,
            search_path: self.settings.search_path(),
            taken: self.taken.clone(),
            read_only: self.settings.get("transaction_read_only").as_deref() == Some("on"),
        }
    }

    /// ALTER SEQUENCE's options.
    pub(super) fn alter_sequence(
        &self,
        altered: &mut Altered<'_>,
        mut object: Object,
        options: &SequenceOptions,
    ) -> Result<()> {
        let name = object.name.clone();
        let new_owner = match &options.owned_by {
            Some(owned_by) => Some(self.owner(altered.catalog, &object.schema, owned_by)?),
            None => None,
        };
        let ObjectKind::Sequence { owner, .. } = &mut object.kind else {
            let message = format!("\"{name}\" is not a sequence");
            return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message));
        };
        if let Some(new_owner) = new_owner {
            if let Some(owner) = owner.filter(|owner| owner.is_identity) {
                let message = "cannot change ownership of identity sequence";
                return Err(Error::unsupported(message).with_detail(linked(
                    altered.catalog,
                    &name,
                    owner,
                )));
            }
            *owner = new_owner;
        }
        altered.count_otherwise(object, options)
    }

    /// What ALTER COLUMN does to an identity column.
    pub(super) fn alter_identity(
        &self,
        altered: &mut Altered<'_>,
        object: Object,
        column: &str,
        change: &IdentityChange,
    ) -> Result<()> {
        let at = column_of(&object, column)?;
        let sequence = match object.generation(at) {
            Some(Generation::Identity { sequence, .. }) => Some(*sequence),
            Some(Generation::Stored(_)) | None => None,
        };
        match (change, sequence) {
            (IdentityChange::Add { always, options }, _) => {
                self.add_identity(altered, object, at, *always, options)
            }
            (IdentityChange::Set { always, options }, Some(sequence)) => {
                let sequence = altered.sequence(sequence)?;
                altered.count_otherwise(sequence, options)?;
                altered.set_identity(object, at, *always)
            }
            (IdentityChange::Drop { .. }, Some(sequence)) => {
                let dropped = Arc::new(altered.sequence(sequence)?);
                altered.drop_dependent(dropped);
                altered.end_identity(object, at)
            }
            (IdentityChange::Set { .. } | IdentityChange::Drop { if_exists: false }, None) => {
                Err(identity_error(&object, column, "is not an identity column"))
            }
            (IdentityChange::Drop { if_exists: true }, None) => {
                let error = identity_error(&object, column, "is not an identity column");
                altered.notices.push(Error::new(
                    SqlState::SUCCESSFUL_COMPLETION,
                    format!("{}, skipping", error.message),
                ));
                Ok(())
            }
        }
    }

    fn add_identity(
        &self,
        altered: &mut Altered<'_>,
        mut object: Object,
        at: usize,
        always: bool,
        options: &SequenceOptions,
    ) -> Result<()> {
        let column = object.columns.field(at).name().clone();
        let definition = sql::ColumnDef {
            name: column.clone(),
            data_type: sql::parse_data_type("bigint")?,
            nullable: false,
            default: None,
            generated: Some(Generated::Identity { always, options: Box::new(options.clone()) }),
        };
        let columns = object.columns.project(&[at]).map_err(|e| Error::internal(e.to_string()))?;
        let table = (object.schema.as_str(), object.name.as_str(), object.oid);
        let sequences =
            self.column_sequences(table, std::slice::from_ref(&definition), &columns)?;
        let refused = |words: &str| Err(identity_error(&object, &column, words));
        if object.columns.field(at).is_nullable() {
            return refused("must be declared NOT NULL before identity can be added");
        }
        if object.generation(at).is_some() {
            return refused("is already an identity column");
        }
        if object.default_sql(at).is_some() {
            return refused("already has a default value");
        }
        for mut sequence in sequences {
            let sequence_oid = sequence.oid;
            if let ObjectKind::Sequence { owner: Some(owner), .. } = &mut sequence.kind {
                owner.column = at;
            }
            altered.objects.insert(sequence.id, sequence);
            if let ObjectKind::Table { rules, .. } = &mut object.kind {
                rules.generated.resize(rules.generated.len().max(at + 1), None);
                rules.generated[at] = Some(Generation::Identity { always, sequence: sequence_oid });
            }
        }
        altered.set_identity(object, at, Some(always))
    }
}

impl Altered<'_> {
    /// The sequence of a number, as it is to be.
    pub fn sequence(&self, oid: Oid) -> Result<Object> {
        let new = self.objects.values().find(|object| object.oid == oid).cloned();
        let there = || self.catalog.get_by_oid(oid).map(|object| object.as_ref().clone());
        new.or_else(there).ok_or_else(|| Error::internal("its sequence is gone"))
    }

    /// The sequences that a table's columns own, as they are to be.
    pub fn sequences_owned_by(&self, table: Oid) -> Vec<Object> {
        let mut found: BTreeMap<ObjectId, Object> = BTreeMap::new();
        for object in self.catalog.sequences_owned_by(table) {
            found.insert(object.id, object.as_ref().clone());
        }
        found.extend(self.objects.iter().map(|(id, object)| (*id, object.clone())));
        let is_owned = |object: &Object| matches!(&object.kind, ObjectKind::Sequence { owner: Some(owner), .. } if owner.table == table);
        found.into_values().filter(|o| is_owned(o) && !self.is_dropped(o.id)).collect()
    }

    /// A sequence under other options.
    fn count_otherwise(&mut self, mut object: Object, options: &SequenceOptions) -> Result<()> {
        let ObjectKind::Sequence { counting, counter, .. } = &mut object.kind else {
            return Err(Error::internal("not a sequence"));
        };
        *counting = counting.altered(options)?;
        let restart = options.restart.map(|to| to.unwrap_or(counting.start));
        counting.check_restart(restart.unwrap_or_else(|| counter.counted().last_value))?;
        self.restarts.extend(restart.map(|to| (counter.clone(), to)));
        let name = ObjectName::qualified(&object.schema, &object.name);
        object.create_sql = sequence_sql(name, counting);
        self.objects.insert(object.id, object);
        Ok(())
    }

    /// Tells an identity column anew, with whether values may be given for it.
    fn set_identity(&mut self, mut object: Object, at: usize, always: Option<bool>) -> Result<()> {
        let ObjectKind::Table { rules, .. } = &mut object.kind else { return Ok(()) };
        let Some(Some(Generation::Identity { always: now, sequence })) =
            rules.generated.get_mut(at)
        else {
            return Ok(());
        };
        *now = always.unwrap_or(*now);
        let (now, sequence) = (*now, *sequence);
        let options = match &self.sequence(sequence)?.kind {
            ObjectKind::Sequence { counting, .. } => identity_options(counting),
            _ => SequenceOptions::default(),
        };
        self.write_column(object, at, |column| {
            column.generated =
                Some(Generated::Identity { always: now, options: Box::new(options) });
        })
    }

    fn end_identity(&mut self, mut object: Object, at: usize) -> Result<()> {
        if let ObjectKind::Table { rules, .. } = &mut object.kind {
            rules.generated[at] = None;
        }
        self.write_column(object, at, |column| {
            column.generated = None;
            column.nullable = false;
        })
    }

    /// Writes a column's definition into the table's text.
    pub fn write_column(
        &mut self,
        mut object: Object,
        at: usize,
        write: impl FnOnce(&mut sql::ColumnDef),
    ) -> Result<()> {
        object.create_sql = sql::rewritten(&object.create_sql, |statement| {
            if let Statement::CreateTable(table) = statement
                && let Some(column) = table.columns.get_mut(at)
            {
                write(column);
            }
            Ok(())
        })?;
        self.note_sequences(&mut object)?;
        self.objects.insert(object.id, object);
        Ok(())
    }

    /// A table depends on the sequences that its defaults call.
    pub fn note_sequences(&self, object: &mut Object) -> Result<()> {
        if !matches!(object.kind, ObjectKind::Table { .. }) {
            return Ok(());
        }
        let columns = 0..object.columns.fields().len();
        let called: Vec<Oid> = columns.flat_map(|at| object.sequences_of(at)).collect();
        let mut ids: Vec<ObjectId> = vec![];
        for oid in called {
            let id = self.sequence(oid)?.id;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        object.depends_on = ids;
        Ok(())
    }

    /// A sequence is called otherwise: the text of a table whose defaults call it, anew.
    pub fn rewrite_defaults(&self, table: &mut Object) -> Result<()> {
        let name = |oid: u32| self.sequence(Oid(oid)).ok().map(|s| s.display_name());
        let mut shown = vec![];
        for at in 0..table.columns.fields().len() {
            let calls = !table.sequences_of(at).is_empty();
            let text = table.default_sql(at).filter(|_| calls);
            shown.push(text.map(|text| parse_expr(&shown_default(&text, &name))).transpose()?);
        }
        table.create_sql = sql::rewritten(&table.create_sql, |statement| {
            let Statement::CreateTable(create) = statement else { return Ok(()) };
            for (column, shown) in create.columns.iter_mut().zip(shown) {
                if column.default.is_some() && shown.is_some() {
                    column.default = shown;
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Sequences of a column that goes are to go with it, those of later columns count from one less.
    pub fn leave_sequences(&mut self, table: Oid, at: usize) -> Vec<ObjectId> {
        let mut gone = vec![];
        for mut sequence in self.sequences_owned_by(table) {
            let ObjectKind::Sequence { owner: Some(owner), .. } = &mut sequence.kind else {
                continue;
            };
            if owner.column == at {
                gone.push(sequence.id);
            } else if owner.column > at {
                owner.column -= 1;
                self.objects.insert(sequence.id, sequence);
            }
        }
        gone
    }
}

fn identity_error(object: &Object, column: &str, words: &str) -> Error {
    let message = format!("column \"{column}\" of relation \"{}\" {words}", object.name);
    Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
}

/// `Sequence "s" is linked to table "t".`
pub(super) fn linked(catalog: &CatalogSnapshot, sequence: &str, owner: Owner) -> String {
    let table = catalog.get_by_oid(owner.table).map(|table| table.name.clone()).unwrap_or_default();
    format!("Sequence \"{sequence}\" is linked to table \"{table}\".")
}

fn new_sequence(
    (id, oid): (ObjectId, Oid),
    schema: String,
    name: String,
    counting: Counting,
    owner: Option<Owner>,
) -> Object {
    let create_sql = sequence_sql(ObjectName::qualified(&schema, &name), &counting);
    let counter = Arc::new(Counter::new(counting.start));
    Object {
        id,
        oid,
        schema,
        name,
        columns: sequence_columns(),
        kind: ObjectKind::Sequence { counting, counter, owner },
        depends_on: vec![],
        create_sql,
        created_at: SystemTime::now(),
        owner: catalog::OWNER.to_owned(),
        comments: BTreeMap::new(),
    }
}

fn sequence_sql(name: ObjectName, counting: &Counting) -> String {
    let number_type = match counting.number_type {
        NumberType::BigInt => None,
        other => sql::parse_data_type(other.words()).ok(),
    };
    let options = SequenceOptions { data_type: number_type, ..identity_options(counting) };
    let name = match name.schema.as_deref() {
        Some("public") => ObjectName::bare(name.name),
        _ => name,
    };
    let create = CreateSequence { name, if_not_exists: false, options };
    let statement = Statement::CreateSequence(Box::new(create));
    sql::create_sql(&statement, RedactedOptions::default()).unwrap_or_default()
}

/// The options that tell how a sequence counts, where that is not as it would be anyway.
pub(super) fn identity_options(counting: &Counting) -> SequenceOptions {
    let bare = SequenceOptions {
        increment: (counting.increment != 1).then_some(counting.increment),
        ..SequenceOptions::default()
    };
    let usual = Counting::new(&bare, counting.number_type);
    let usual = usual.as_ref().unwrap_or(counting);
    let first = if counting.increment > 0 { counting.min } else { counting.max };
    SequenceOptions {
        min: (counting.min != usual.min).then_some(Some(counting.min)),
        max: (counting.max != usual.max).then_some(Some(counting.max)),
        start: (counting.start != first).then_some(counting.start),
        cache: (counting.cache != 1).then_some(counting.cache),
        cycle: counting.cycle.then_some(true),
        ..bare
    }
}

/// `table_column_seq`, the longer part cut where that is too long, with a number where that is taken.
fn sequence_name(table: &str, column: &str, is_free: impl Fn(&str) -> bool) -> String {
    let named = |label: &str| {
        let (mut table, mut column) = (table, column);
        while table.len() + column.len() + label.len() + 2 > NAME_BYTES_MAX {
            let longer = if table.len() > column.len() { &mut table } else { &mut column };
            let end = longer.char_indices().next_back().map_or(0, |(at, _)| at);
            *longer = &longer[..end];
        }
        format!("{table}_{column}_{label}")
    };
    let numbered = (1..).map(|n| named(&format!("seq{n}")));
    let mut names = std::iter::once(named("seq")).chain(numbered);
    names.find(|name| is_free(name)).unwrap_or_else(|| quote_identifier(table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_called_after_its_column_within_the_length_of_names() {
        assert_eq!(sequence_name("t", "id", |_| true), "t_id_seq");
        assert_eq!(sequence_name("t", "id", |name| name != "t_id_seq"), "t_id_seq1");
        let long = "t".repeat(80);
        let name = sequence_name(&long, "id", |_| true);
        assert_eq!((name.len(), name.ends_with("_id_seq")), (63, true));
    }
}
