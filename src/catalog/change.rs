//! The one way to change the catalog: a change says what is to be, so that a log can carry it and a replay ends the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidewater_connectors::contract::SplitStart;

use super::errors::{already_exists, reserved_schema, schema_does_not_exist};
use super::object::{Object, ObjectId, ObjectKind, Oid};
use super::snapshot::{CatalogSnapshot, SchemaEntry};
use crate::error::{Error, Result, SqlState};
use crate::types::format_type;

/// A change of the catalog. Numbers are allocated by `Catalog::allocate` before, and are part of the change.
#[derive(Clone, Debug)]
pub enum CatalogChange {
    CreateSchema {
        id: ObjectId,
        name: String,
        owner: String,
    },
    /// Only empty schemas can be dropped: drop what is in it first.
    DropSchema {
        name: String,
    },
    Create(Arc<Object>),
    /// Gives a plain view, under the number it has, another query.
    Replace(Arc<Object>),
    Alter(Alteration),
    /// In the order given; nothing that remains may depend on any of them.
    Drop(Vec<ObjectId>),
    /// Several, in this order.
    All(Vec<CatalogChange>),
    /// Splits of a source or connector table that were not known before.
    AddSplits {
        id: ObjectId,
        splits: Vec<SplitStart>,
    },
    /// COMMENT ON the object (column 0) or its nth column; `None` removes it.
    Comment {
        id: ObjectId,
        column: usize,
        text: Option<String>,
    },
}

/// Other definitions for objects, worked out from the catalog of version `as_of`: 40001 when it has changed since.
#[derive(Clone, Debug, Default)]
pub struct Alteration {
    pub as_of: u64,
    /// Also those that are new.
    pub objects: Vec<Arc<Object>>,
    /// Those that get other rows, and with them another number: by the number they have, the one they are to have, which is
    /// that of their new definition.
    pub renumbered: BTreeMap<ObjectId, ObjectId>,
    /// What goes with what it was about; dependents come before what they depend on.
    pub dropped: Vec<ObjectId>,
    /// A schema's name, and the one it is to have; the definitions of what is in it are among the objects.
    pub schema: Option<(String, String)>,
}

impl CatalogChange {
    /// The number that the change brings into use; the greatest of several.
    pub(super) fn created_id(&self) -> Option<ObjectId> {
        match self {
            CatalogChange::CreateSchema { id, .. } => Some(*id),
            CatalogChange::Create(object) => Some(object.id),
            CatalogChange::Alter(alteration) => {
                alteration.objects.iter().map(|object| object.id).max()
            }
            CatalogChange::All(changes) => {
                changes.iter().filter_map(CatalogChange::created_id).max()
            }
            CatalogChange::DropSchema { .. }
            | CatalogChange::Replace(_)
            | CatalogChange::Drop(_)
            | CatalogChange::AddSplits { .. }
            | CatalogChange::Comment { .. } => None,
        }
    }
}

impl CatalogSnapshot {
    /// Makes the change in this snapshot; after an error the snapshot is to be thrown away.
    pub(super) fn apply(&mut self, change: CatalogChange) -> Result<()> {
        self.version += 1;
        self.make(change)
    }

    fn make(&mut self, change: CatalogChange) -> Result<()> {
        match change {
            CatalogChange::CreateSchema { id, name, owner } => self.create_schema(id, name, owner),
            CatalogChange::DropSchema { name } => self.drop_schema(&name),
            CatalogChange::Create(object) => self.create(object),
            CatalogChange::Replace(view) => self.replace(view),
            CatalogChange::Alter(alteration) => self.alter(alteration),
            CatalogChange::Drop(ids) => ids.into_iter().try_for_each(|id| self.drop_object(id)),
            CatalogChange::All(changes) => {
                changes.into_iter().try_for_each(|change| self.make(change))
            }
            CatalogChange::AddSplits { id, splits } => self.add_splits(id, splits),
            CatalogChange::Comment { id, column, text } => self.comment(id, column, text),
        }
    }

    fn create_schema(&mut self, id: ObjectId, name: String, owner: String) -> Result<()> {
        if name.starts_with("pg_") && !crate::sql::is_temporary_schema(&name) {
            return Err(reserved_schema_name(&name));
        }
        if self.schemas.contains_key(&name) {
            return Err(duplicate_schema(&name));
        }
        self.schemas.insert(name, SchemaEntry { oid: Oid::of(id), owner, built_in: false });
        Ok(())
    }

    fn drop_schema(&mut self, name: &str) -> Result<()> {
        let Some(schema) = self.schemas.get(name) else { return Err(schema_does_not_exist(name)) };
        if schema.built_in {
            return Err(reserved_schema(name));
        }
        if self.objects_in(name).next().is_some() {
            let message = format!("cannot drop schema {name} because other objects depend on it");
            return Err(Error::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message));
        }
        self.schemas.remove(name);
        Ok(())
    }

    fn create(&mut self, object: Arc<Object>) -> Result<()> {
        self.check_creatable(&object.schema, &object.name)?;
        if self.objects.contains_key(&object.id) {
            return Err(Error::internal(format!("object {} exists twice", object.id)));
        }
        self.check_dependencies(&object)?;
        self.check_no_loop(&object)?;
        for id in &object.depends_on {
            self.dependents.entry(*id).or_default().insert(object.id);
        }
        self.by_name.insert((object.schema.clone(), object.name.clone()), object.id);
        self.by_oid.insert(object.oid, object.id);
        self.objects.insert(object.id, object);
        Ok(())
    }

    /// A sink into a table that its query depends on would wait for itself: 42P17. Among what it depends on is the table
    /// that it writes to.
    fn check_no_loop(&self, sink: &Object) -> Result<()> {
        let ObjectKind::Sink { into: Some(table), .. } = sink.kind else { return Ok(()) };
        let mut stack: Vec<ObjectId> =
            sink.depends_on.iter().copied().filter(|id| *id != table).collect();
        let mut seen = BTreeSet::new();
        while let Some(id) = stack.pop() {
            if id == table {
                return Err(self.loop_into(table));
            }
            if !seen.insert(id) {
                continue;
            }
            let read = self.objects.get(&id).into_iter().flat_map(|object| &object.depends_on);
            let written = self.sinks_into(id).flat_map(|sink| &sink.depends_on);
            stack.extend(read.chain(written));
        }
        Ok(())
    }

    /// 42P17 for a sink that reads what it writes.
    pub fn loop_into(&self, table: ObjectId) -> Error {
        let name = self.objects.get(&table).map(|object| object.name.clone()).unwrap_or_default();
        let message = format!("infinite recursion detected in sink into table \"{name}\"");
        Error::new(SqlState::INVALID_OBJECT_DEFINITION, message)
            .with_detail("What the sink reads depends on the table.")
    }

    fn check_dependencies(&self, object: &Object) -> Result<()> {
        match object.depends_on.iter().find(|id| !self.objects.contains_key(id)) {
            None => Ok(()),
            // What was read while the statement was planned has been dropped since.
            Some(missing) => {
                let message = format!(
                    "relation {missing} that {} depends on does not exist any more",
                    object.name
                );
                Err(Error::new(SqlState::UNDEFINED_TABLE, message))
            }
        }
    }

    fn replace(&mut self, view: Arc<Object>) -> Result<()> {
        let Some(old) = self.objects.get(&view.id).cloned() else {
            return Err(Error::new(
                SqlState::UNDEFINED_TABLE,
                format!("view \"{}\" does not exist any more", view.name),
            ));
        };
        self.check_dependencies(&view)?;
        check_columns(&old, &view)?;
        self.check_dependents(&old, &view)?;
        for id in &old.depends_on {
            if let Some(dependents) = self.dependents.get_mut(id) {
                dependents.remove(&view.id);
            }
        }
        for id in &view.depends_on {
            self.dependents.entry(*id).or_default().insert(view.id);
        }
        self.objects.insert(view.id, view);
        Ok(())
    }

    fn alter(&mut self, alteration: Alteration) -> Result<()> {
        // Version `as_of` and this change.
        if self.version != alteration.as_of + 1 {
            let message = "another statement has changed the catalog meanwhile";
            return Err(Error::new(SqlState::SERIALIZATION_FAILURE, message));
        }
        if let Some((from, to)) = &alteration.schema {
            self.rename_schema(from, to)?;
        }
        let old: BTreeMap<ObjectId, ObjectId> =
            alteration.renumbered.iter().map(|(old, new)| (*new, *old)).collect();
        for id in &alteration.dropped {
            self.take_out(*id)?;
        }
        for object in &alteration.objects {
            let id = *old.get(&object.id).unwrap_or(&object.id);
            // A sequence may come with a column of a table.
            if self.objects.contains_key(&id) {
                self.take_out(id)?;
            }
        }
        for object in alteration.objects {
            self.check_creatable(&object.schema, &object.name)?;
            for id in &object.depends_on {
                self.dependents.entry(*id).or_default().insert(object.id);
            }
            self.by_name.insert((object.schema.clone(), object.name.clone()), object.id);
            self.by_oid.insert(object.oid, object.id);
            self.objects.insert(object.id, object);
        }
        // Whatever read what is there no more has another definition now, or is not there either.
        let gone = alteration.dropped.iter().chain(alteration.renumbered.keys());
        for id in gone {
            if self.dependents.remove(id).is_some_and(|dependents| !dependents.is_empty()) {
                return Err(Error::internal(format!("something still depends on object {id}")));
            }
        }
        Ok(())
    }

    /// Removes an object without asking who depends on it.
    fn take_out(&mut self, id: ObjectId) -> Result<()> {
        let Some(object) = self.objects.remove(&id) else {
            return Err(Error::internal(format!("object {id} does not exist")));
        };
        for used in &object.depends_on {
            if let Some(dependents) = self.dependents.get_mut(used) {
                dependents.remove(&id);
            }
        }
        self.by_oid.remove(&object.oid);
        self.by_name.remove(&(object.schema.clone(), object.name.clone()));
        Ok(())
    }

    fn rename_schema(&mut self, from: &str, to: &str) -> Result<()> {
        if to.starts_with("pg_") {
            return Err(reserved_schema_name(to));
        }
        let Some(entry) = self.schemas.get(from).cloned() else {
            return Err(schema_does_not_exist(from));
        };
        if entry.built_in {
            return Err(reserved_schema(from));
        }
        if self.schemas.contains_key(to) {
            return Err(duplicate_schema(to));
        }
        self.schemas.remove(from);
        self.schemas.insert(to.to_owned(), entry);
        Ok(())
    }

    /// A materialized view is maintained by the query it was made with, and `*` in a view stands for the columns there were
    /// then; so neither may change its meaning. Nor may a view read itself.
    fn check_dependents(&self, old: &Object, new: &Object) -> Result<()> {
        let dependents = self.plan_drop(&[old.id], true)?.objects;
        let mut others = dependents.iter().filter(|object| object.id != old.id);
        if dependents.iter().any(|object| new.depends_on.contains(&object.id)) {
            let message =
                format!("infinite recursion detected in rules for relation \"{}\"", new.name);
            return Err(Error::new(SqlState::INVALID_OBJECT_DEFINITION, message));
        }
        let wider = new.columns.fields().len() > old.columns.fields().len();
        let refused =
            |d: &&Arc<Object>| wider || !matches!(d.kind, super::object::ObjectKind::View { .. });
        let Some(dependent) = others.find(refused) else { return Ok(()) };
        Err(Error::unsupported(format!(
            "cannot replace view {} because other objects depend on it",
            old.name
        ))
        .with_detail(format!("{} depends on {}", dependent.label(), old.label()))
        .with_hint("Drop the dependent objects first."))
    }

    /// Whether something called so may be created: the schema exists and is the user's, and the name is free.
    pub fn check_creatable(&self, schema: &str, name: &str) -> Result<()> {
        match self.schemas.get(schema) {
            None => Err(schema_does_not_exist(schema)),
            Some(entry) if entry.built_in && schema != super::snapshot::PUBLIC => {
                Err(reserved_schema(schema))
            }
            Some(_) if self.by_name.contains_key(&(schema.to_owned(), name.to_owned())) => {
                Err(already_exists(name))
            }
            Some(_) => Ok(()),
        }
    }

    fn drop_object(&mut self, id: ObjectId) -> Result<()> {
        let Some(object) = self.objects.remove(&id) else {
            // Two DROPs of it were planned at once; the other one came first.
            let message = format!("relation {id} does not exist any more");
            return Err(Error::new(SqlState::UNDEFINED_TABLE, message));
        };
        if let Some(dependent) = self.dependents.get(&id).and_then(|ids| ids.first()) {
            let message =
                format!("cannot drop {} because other objects depend on it", object.label());
            let error = Error::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message);
            let dependent = self.objects.get(dependent).map(|d| d.label()).unwrap_or_default();
            return Err(error.with_detail(format!("{dependent} depends on {}", object.label())));
        }
        for used in &object.depends_on {
            if let Some(dependents) = self.dependents.get_mut(used) {
                dependents.remove(&id);
            }
        }
        self.dependents.remove(&id);
        self.by_oid.remove(&object.oid);
        self.by_name.remove(&(object.schema.clone(), object.name.clone()));
        Ok(())
    }

    fn add_splits(&mut self, id: ObjectId, splits: Vec<SplitStart>) -> Result<()> {
        self.update(id, |object| {
            let connector = match &mut object.kind {
                ObjectKind::Source { connector, .. }
                | ObjectKind::Table { connector: Some(connector), .. } => connector,
                ObjectKind::Table { connector: None, .. }
                | ObjectKind::View { .. }
                | ObjectKind::MaterializedView { .. }
                | ObjectKind::Sink { .. }
                | ObjectKind::Index { .. }
                | ObjectKind::Sequence { .. } => {
                    return Err(Error::internal("only sources have splits"));
                }
            };
            for split in splits {
                if !connector.start.iter().any(|known| known.split == split.split) {
                    connector.start.push(split);
                }
            }
            Ok(())
        })
    }

    fn comment(&mut self, id: ObjectId, column: usize, text: Option<String>) -> Result<()> {
        self.update(id, |object| {
            match text {
                Some(text) => object.comments.insert(column, text),
                None => object.comments.remove(&column),
            };
            Ok(())
        })
    }

    fn update(&mut self, id: ObjectId, edit: impl FnOnce(&mut Object) -> Result<()>) -> Result<()> {
        let Some(object) = self.objects.get_mut(&id) else {
            return Err(Error::internal(format!("object {id} is changed but does not exist")));
        };
        edit(Arc::make_mut(object))
    }
}

fn reserved_schema_name(name: &str) -> Error {
    Error::new(SqlState::RESERVED_NAME, format!("unacceptable schema name \"{name}\""))
        .with_detail("The prefix \"pg_\" is reserved for system schemas.")
}

fn duplicate_schema(name: &str) -> Error {
    Error::new(SqlState::DUPLICATE_SCHEMA, format!("schema \"{name}\" already exists"))
}

/// A view that is replaced keeps its columns, and may get more behind them.
fn check_columns(old: &Object, new: &Object) -> Result<()> {
    let refused = |message: String| Error::new(SqlState::INVALID_TABLE_DEFINITION, message);
    if new.columns.fields().len() < old.columns.fields().len() {
        return Err(refused("cannot drop columns from view".to_owned()));
    }
    for (before, after) in old.columns.fields().iter().zip(new.columns.fields()) {
        let (name, renamed) = (before.name(), after.name());
        if name != renamed {
            let message = format!("cannot change name of view column \"{name}\" to \"{renamed}\"");
            return Err(refused(message)
                .with_hint("Name the column as it was, or drop the view and create it anew."));
        }
        let (was, is) = (format_type(before), format_type(after));
        if was != is {
            return Err(refused(format!(
                "cannot change data type of view column \"{name}\" from {was} to {is}"
            )));
        }
    }
    Ok(())
}
