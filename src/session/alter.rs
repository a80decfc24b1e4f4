//! ALTER: gives what exists another definition, and what reads it a text that still means the same.
//!
//! An object keeps its number, so nothing that runs is touched: views are maintained by number and read each other by name,
//! which is why the texts of those that read an object by the name it had are written anew. All actions of a statement
//! become one change of the catalog, refused when another statement has changed it since they were worked out.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};
use tokio_util::sync::CancellationToken;

use super::alter_columns::{duplicate_constraint, not_a_table};
use super::reshape::Value;
use super::sequences::linked;
use super::{Outcome, Session, command};
use crate::catalog::{
    self, Alteration, CatalogSnapshot, Counter, DropPlan, Generation, Object, ObjectId, ObjectKind,
    Relation,
};
use crate::coordinator;
use crate::coordinator::locks::Access;
use crate::error::{Error, Result, SqlState};
use crate::query::errors::canceled;
use crate::sql::{
    self, Alter, AlterAction, DropKind, Generated, NewConstraint, ObjectName, Replacement,
    Statement, UniqueConstraint, parse_expr,
};

/// How often an ALTER is worked out again because something else has changed the catalog meanwhile.
const TRIES: usize = 20;

impl Session {
    pub(super) async fn alter(
        &mut self,
        alter: &Alter,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        let tag = format!("ALTER {}", alter.kind.words().to_uppercase());
        self.outside_of_block(&tag)?;
        if let [AlterAction::AddConstraint(NewConstraint::Unique(unique))] =
            alter.actions.as_slice()
        {
            return self.alter_unique(alter, unique, tag, cancel).await;
        }
        let told = self.notices.len();
        let mut tries = 0;
        loop {
            tries += 1;
            self.notices.truncate(told);
            let outcome = match alter.kind {
                DropKind::Schema => self.alter_schema(alter).await,
                _ => self.try_alter(alter, cancel).await,
            };
            match outcome {
                Ok(()) => break,
                Err(error) if error.code == SqlState::SERIALIZATION_FAILURE && tries < TRIES => {}
                Err(error) => return Err(error),
            }
        }
        self.forget_pin();
        command(tag)
    }

    /// ADD CONSTRAINT ... UNIQUE: an index is begun, for which nothing of the table changes.
    async fn alter_unique(
        &mut self,
        alter: &Alter,
        unique: &UniqueConstraint,
        tag: String,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        let mut tries = 0;
        loop {
            tries += 1;
            let snapshot = self.server.catalog.snapshot();
            let Some(table) = self.object_to_alter(&snapshot, alter)? else { return command(tag) };
            let checks = table.rules().map_or(&[][..], |rules| &rules.checks);
            if let Some(check) =
                checks.iter().find(|check| Some(&check.name) == unique.name.as_ref())
            {
                return Err(duplicate_constraint(&table.name, &check.name));
            }
            for (name, key, unique) in self.new_uniques(&table, std::slice::from_ref(unique))? {
                match self.add_unique(&table, name, key, unique, cancel).await {
                    Err(error)
                        if error.code == SqlState::SERIALIZATION_FAILURE && tries < TRIES => {}
                    Err(error) => return Err(error),
                    Ok(()) => {
                        self.forget_pin();
                        return command(tag);
                    }
                }
            }
        }
    }

    /// Once; 40001 where something else has changed the catalog meanwhile.
    async fn try_alter(&mut self, alter: &Alter, cancel: &CancellationToken) -> Result<()> {
        let snapshot = self.server.catalog.snapshot();
        let Some(object) = self.object_to_alter(&snapshot, alter)? else { return Ok(()) };
        let locked = BTreeMap::from([(object.id, Access::Alone)]);
        // Nobody writes to a table while it is looked at, and everybody behind knows what it has become.
        let _guards = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(canceled()),
            guards = self.server.coordinator.locks.acquire(&locked) => guards,
        };
        let snapshot = self.server.catalog.snapshot();
        if snapshot.get(object.id).is_none_or(|now| !Arc::ptr_eq(now, &object)) {
            let message = format!("\"{}\" has been altered meanwhile", object.name);
            return Err(Error::new(SqlState::SERIALIZATION_FAILURE, message));
        }
        let mut altered = Altered::new(&snapshot, &object);
        for action in &alter.actions {
            let object = altered.get(object.id)?;
            self.alter_one(&mut altered, object, action)?;
        }
        let (restarts, notices) =
            (std::mem::take(&mut altered.restarts), std::mem::take(&mut altered.notices));
        self.put(altered, object.id, cancel).await?;
        restarts.iter().for_each(|(counter, to)| counter.set(*to, false));
        self.notices.extend(notices);
        Ok(())
    }

    /// ALTER SCHEMA: what is in it is called anew, and what reads that.
    async fn alter_schema(&mut self, alter: &Alter) -> Result<()> {
        let snapshot = self.server.catalog.snapshot();
        let from = &alter.name.name;
        if snapshot.schema(from).is_none() {
            let message = format!("schema \"{from}\" does not exist");
            return Err(Error::new(SqlState::INVALID_SCHEMA_NAME, message));
        }
        let mut altered = Altered::over(&snapshot);
        for action in &alter.actions {
            let to = match action {
                AlterAction::Rename(to) => to.clone(),
                AlterAction::Owner(owner) => {
                    check_owner(owner)?;
                    continue;
                }
                _ => return Err(Error::unsupported("ALTER SCHEMA renames and sets the owner")),
            };
            let schema = Some((from.clone(), to.clone()));
            for object in snapshot.objects_in(from) {
                let object = altered.get(object.id)?;
                let name = object.name.clone();
                altered.call(object, to.clone(), name)?;
            }
            altered.rename_in_paths(from, &to)?;
            let objects = std::mem::take(&mut altered.objects).into_values().map(Arc::new);
            let objects = objects.collect();
            let change =
                Alteration { as_of: snapshot.version, objects, schema, ..Alteration::default() };
            let alter = coordinator::Alter { change, reshape: None };
            self.server.coordinator.alter(alter).await?;
        }
        Ok(())
    }

    /// Drops what a plan says, with the defaults of tables that stay: one change of the catalog.
    pub(super) async fn drop_with_defaults(&mut self, plan: DropPlan) -> Result<()> {
        let snapshot = self.server.catalog.snapshot();
        let mut altered = Altered::over(&snapshot);
        for (table, column) in &plan.defaults {
            let table = altered.get(table.id)?;
            altered.set_default(table, *column, None, None)?;
        }
        altered.dropped = plan.objects;
        self.define_altered(altered).await?;
        Ok(())
    }

    /// REFRESH MATERIALIZED VIEW: the view has everything that was acknowledged before.
    pub(super) async fn refresh(
        &mut self,
        name: &ObjectName,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        let snapshot = self.server.catalog.snapshot();
        let path = self.settings.search_path();
        let view = snapshot.resolve_kind(&path, name, DropKind::MaterializedView)?;
        if let Some(live) = self.server.coordinator.live(view.id) {
            let views = [live];
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(canceled()),
                pin = self.pin(&views) => drop(pin?),
            }
        }
        command("REFRESH MATERIALIZED VIEW")
    }

    /// ALTER TABLE works on whatever has columns, as in PostgreSQL; `None`, with a notice, where IF EXISTS lets it be.
    fn object_to_alter(
        &mut self,
        snapshot: &CatalogSnapshot,
        alter: &Alter,
    ) -> Result<Option<Arc<Object>>> {
        let path = self.settings.search_path();
        let found = match alter.kind {
            DropKind::Table => snapshot.resolve(&path, &alter.name),
            DropKind::Sequence => snapshot.resolve(&path, &alter.name).and_then(|object| {
                let wrong = || {
                    Error::new(
                        SqlState::WRONG_OBJECT_TYPE,
                        format!("\"{}\" is not a sequence", object.name),
                    )
                };
                matches!(object.kind, ObjectKind::Sequence { .. })
                    .then_some(object.clone())
                    .ok_or_else(wrong)
            }),
            kind => snapshot.resolve_kind(&path, &alter.name, kind),
        };
        match found {
            Ok(object) => Ok(Some(object)),
            Err(error) if alter.if_exists && error.code == SqlState::UNDEFINED_TABLE => {
                let message = format!("{}, skipping", error.message);
                self.notices.push(Error::new(SqlState::SUCCESSFUL_COMPLETION, message));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn alter_one(
        &mut self,
        altered: &mut Altered<'_>,
        object: Object,
        action: &AlterAction,
    ) -> Result<()> {
        match action {
            AlterAction::Rename(name) => {
                let schema = object.schema.clone();
                altered.move_to(object, schema, name.clone())
            }
            AlterAction::SetSchema(schema) => {
                let name = object.name.clone();
                altered.move_to(object, schema.clone(), name)
            }
            AlterAction::RenameColumn { from, to } => altered.rename_column(object, from, to),
            AlterAction::Owner(owner) => check_owner(owner),
            AlterAction::Sequence(options) => self.alter_sequence(altered, object, options),
            AlterAction::Identity { column, change } => {
                self.alter_identity(altered, object, column, change)
            }
            AlterAction::SetDefault { column, default } => {
                let text = default.as_ref().map(|d| self.bound_default(d)).transpose()?;
                let at = column_of(&object, column)?;
                let field = Schema::new(vec![object.columns.fields()[at].clone()]);
                self.check_defaults(&field, std::slice::from_ref(&text))?;
                altered.set_default(object, at, default.clone(), text)
            }
            AlterAction::RenameConstraint { from, to } => {
                altered.rename_constraint(object, from, to)
            }
            AlterAction::DropConstraint { name, if_exists, .. } => {
                let missing = altered.drop_constraint(object, name)?;
                match missing {
                    Some(error) if *if_exists => {
                        let message = format!("{}, skipping", error.message);
                        self.notices.push(Error::new(SqlState::SUCCESSFUL_COMPLETION, message));
                        Ok(())
                    }
                    Some(error) => Err(error),
                    None => Ok(()),
                }
            }
            AlterAction::AddColumn { .. }
            | AlterAction::DropColumn { .. }
            | AlterAction::SetType { .. }
            | AlterAction::SetNotNull { .. }
            | AlterAction::AddConstraint(_)
            | AlterAction::ValidateConstraint(_) => self.alter_columns(altered, object, action),
        }
    }

    /// The actions that are about what a table's columns hold.
    fn alter_columns(
        &mut self,
        altered: &mut Altered<'_>,
        object: Object,
        action: &AlterAction,
    ) -> Result<()> {
        let moves =
            matches!(action, AlterAction::AddColumn { .. } | AlterAction::DropColumn { .. });
        match &object.kind {
            ObjectKind::Table { connector: None, .. } => {}
            ObjectKind::Table { .. } | ObjectKind::Source { .. } if moves => {}
            _ => return Err(not_a_table(&object, action.words())),
        }
        let id = object.id;
        match action {
            AlterAction::AddColumn { column, constraints, if_not_exists } => {
                if self.add_column(altered, object, column, *if_not_exists)? {
                    for constraint in constraints {
                        let object = altered.get(id)?;
                        self.add_constraint(altered, object, constraint)?;
                    }
                }
                Ok(())
            }
            AlterAction::DropColumn { name, if_exists, cascade } => {
                self.drop_column(altered, object, name, *if_exists, *cascade)
            }
            AlterAction::SetType { column, data_type, using } => {
                self.set_type(altered, object, column, data_type, using.as_ref())
            }
            AlterAction::SetNotNull { column, not_null } => {
                self.set_not_null(altered, object, column, *not_null)
            }
            AlterAction::AddConstraint(constraint) => {
                self.add_constraint(altered, object, constraint)
            }
            AlterAction::ValidateConstraint(name) => {
                self.validate_constraint(altered, object, name)
            }
            AlterAction::Rename(_)
            | AlterAction::RenameColumn { .. }
            | AlterAction::RenameConstraint { .. }
            | AlterAction::SetSchema(_)
            | AlterAction::Owner(_)
            | AlterAction::Sequence(_)
            | AlterAction::Identity { .. }
            | AlterAction::SetDefault { .. }
            | AlterAction::DropConstraint { .. } => Err(Error::internal("not about columns")),
        }
    }
}

/// The definitions that a statement has changed so far, over those of the catalog.
pub(super) struct Altered<'a> {
    pub catalog: &'a CatalogSnapshot,
    pub objects: BTreeMap<ObjectId, Object>,
    /// How many columns the altered object has.
    pub width: usize,
    /// What each column of the altered object as it is to be holds.
    pub values: Vec<Value>,
    /// Its primary key is to be another.
    pub other_key: bool,
    /// CHECK constraints that the rows there have to satisfy.
    pub checks: Vec<String>,
    /// What goes with what it was about; dependents come first.
    pub dropped: Vec<Arc<Object>>,
    /// Counters that begin anew when all is done, with their next numbers.
    pub restarts: Vec<(Arc<Counter>, i64)>,
    pub notices: Vec<Error>,
}

impl<'a> Altered<'a> {
    fn new(catalog: &'a CatalogSnapshot, object: &Object) -> Altered<'a> {
        let width = object.columns.fields().len();
        Altered { width, values: (0..width).map(Value::Old).collect(), ..Altered::over(catalog) }
    }

    /// Nothing altered, and no object that it is about.
    pub fn over(catalog: &'a CatalogSnapshot) -> Altered<'a> {
        Altered {
            catalog,
            objects: BTreeMap::new(),
            width: 0,
            values: vec![],
            other_key: false,
            checks: vec![],
            dropped: vec![],
            restarts: vec![],
            notices: vec![],
        }
    }
}

impl Altered<'_> {
    pub fn get(&self, id: ObjectId) -> Result<Object> {
        let of_catalog = || self.catalog.get(id).map(|object| object.as_ref().clone());
        let object = self.objects.get(&id).cloned().or_else(of_catalog);
        object.ok_or_else(|| Error::internal(format!("object {id} does not exist")))
    }

    /// Another name or schema.
    fn move_to(&mut self, object: Object, schema: String, name: String) -> Result<()> {
        let moves = schema != object.schema;
        if let ObjectKind::Sequence { owner: Some(owner), .. } = &object.kind
            && moves
        {
            let message = "cannot move an owned sequence into another schema";
            let detail = linked(self.catalog, &object.name, *owner);
            return Err(Error::unsupported(message).with_detail(detail));
        }
        self.catalog.check_creatable(&schema, &name)?;
        if moves {
            for sequence in self.sequences_owned_by(object.oid) {
                self.catalog.check_creatable(&schema, &sequence.name)?;
                let name = sequence.name.clone();
                self.call(sequence, schema.clone(), name)?;
            }
            // Its defaults may have been written anew.
            let object = Object { create_sql: self.get(object.id)?.create_sql, ..object };
            return self.call(object, schema, name);
        }
        self.call(object, schema, name)
    }

    fn call(&mut self, mut object: Object, schema: String, name: String) -> Result<()> {
        let key_name = object.primary_key_name();
        if let ObjectKind::Table { rules, primary_key, .. } = &mut object.kind
            && !primary_key.is_empty()
        {
            // A constraint keeps its name.
            rules.key_name = Some(key_name);
        }
        (object.schema, object.name) = (schema.clone(), name.clone());
        let new = ObjectName::qualified(&schema, &name);
        object.create_sql = sql::rewritten(&object.create_sql, |statement| {
            sql::set_created_name(statement, new.clone());
            Ok(())
        })?;
        let id = object.id;
        match object.rules() {
            Some(_) => self.write_rules(object)?,
            None => drop(self.objects.insert(id, object)),
        }
        self.rewrite_dependents(id, &Replacement { name: new, columns: None })
    }

    /// A search path that names a schema goes on naming it.
    fn rename_in_paths(&mut self, from: &str, to: &str) -> Result<()> {
        for object in self.catalog.objects() {
            let mut object = self.get(object.id)?;
            let (ObjectKind::View { context, .. } | ObjectKind::MaterializedView { context, .. }) =
                &mut object.kind
            else {
                continue;
            };
            let named = context.search_path.iter_mut().filter(|schema| *schema == from);
            let mut found = false;
            for schema in named {
                to.clone_into(schema);
                found = true;
            }
            if found {
                self.objects.insert(object.id, object);
            }
        }
        Ok(())
    }

    fn rename_column(&mut self, mut object: Object, from: &str, to: &str) -> Result<()> {
        if object.kind.connector().is_some() {
            let message =
                format!("cannot rename a column of {} \"{}\"", object.kind.words(), object.name);
            return Err(Error::unsupported(message)
                .with_detail("Its columns are called as the fields of the messages are.")
                .with_hint("Give the column another name in a view."));
        }
        let at = column_of(&object, from)?;
        if object.columns.index_of(to).is_ok() {
            let message = format!("column \"{to}\" of relation \"{}\" already exists", object.name);
            return Err(Error::new(SqlState::DUPLICATE_COLUMN, message));
        }
        let before = object.columns.clone();
        object.columns = with_name(&before, at, to);
        let names: Vec<String> =
            object.columns.fields().iter().map(|field| field.name().clone()).collect();
        if let ObjectKind::Table { rules, .. } = &mut object.kind {
            for check in &mut rules.checks {
                check.sql = with_column_renamed(&check.sql, from, to)?;
            }
            for generation in rules.generated.iter_mut().flatten() {
                if let Generation::Stored(text) = generation {
                    *text = with_column_renamed(text, from, to)?;
                }
            }
        }
        object.create_sql = sql::rewritten(&object.create_sql, |statement| {
            sql::rename_created_column(statement, &names, at, from);
            Ok(())
        })?;
        let pairs = names.into_iter().zip(before.fields().iter().map(|f| f.name().clone()));
        let replacement = Replacement {
            name: ObjectName::qualified(&object.schema, &object.name),
            columns: Some(pairs.collect()),
        };
        let id = object.id;
        self.objects.insert(id, object);
        self.rewrite_dependents(id, &replacement)
    }

    /// Writes the texts anew of what reads an object that has got another name, or other names for its columns.
    pub fn rewrite_dependents(&mut self, id: ObjectId, replacement: &Replacement) -> Result<()> {
        let dropped = |object: &&Arc<Object>| self.dropped.iter().any(|d| d.id == object.id);
        let dependents = self.catalog.dependents(id).filter(|object| !dropped(object));
        let dependents: Vec<ObjectId> = dependents.map(|object| object.id).collect();
        let columns = self.get(id)?.columns;
        for dependent in dependents {
            let mut dependent = self.get(dependent)?;
            match &mut dependent.kind {
                ObjectKind::View { sql: text, query, context }
                | ObjectKind::MaterializedView { sql: text, query, context, .. } => {
                    let path = context.search_path.clone();
                    let is_it = |name: &ObjectName| stands_for(self.catalog, &path, name, id);
                    let mut shown = sql::parse_query(text)?;
                    sql::replace_relation(&mut shown, &is_it, replacement)?;
                    *text = shown.to_string();
                    sql::replace_relation(Arc::make_mut(query), &is_it, replacement)?;
                    dependent.create_sql = sql::rewritten(&dependent.create_sql, |statement| {
                        sql::replace_relation_in(statement, &is_it, replacement)
                    })?;
                }
                ObjectKind::Index { key, .. } => {
                    // Its key is told by places among the columns that the catalog has.
                    let places: Option<Vec<usize>> = key
                        .iter()
                        .map(|at| self.values.iter().position(|v| v.from() == Some(*at)))
                        .collect();
                    let places = places.ok_or_else(|| Error::internal("its column is gone"))?;
                    let of_table =
                        columns.project(&places).map_err(|e| Error::internal(e.to_string()))?;
                    dependent.columns = Arc::new(of_table);
                    let names = dependent.columns.fields().iter().map(|f| f.name().clone());
                    let names: Vec<String> = names.collect();
                    dependent.create_sql = sql::rewritten(&dependent.create_sql, |statement| {
                        if let Statement::CreateIndex(index) = statement {
                            (index.table, index.columns) = (replacement.name.clone(), names);
                        }
                        Ok(())
                    })?;
                }
                ObjectKind::Table { .. } => self.rewrite_defaults(&mut dependent)?,
                ObjectKind::Sink { .. }
                | ObjectKind::Source { .. }
                | ObjectKind::Sequence { .. } => {
                    return Err(read_by(&dependent));
                }
            }
            self.objects.insert(dependent.id, dependent);
        }
        Ok(())
    }

    /// Puts what replaces an object into a query over it.
    pub fn replace_in(
        &self,
        query: &mut sqlparser::ast::Query,
        path: &[String],
        id: ObjectId,
        replacement: &Replacement,
    ) -> Result<()> {
        let is_it = |name: &ObjectName| stands_for(self.catalog, path, name, id);
        sql::replace_relation(query, &is_it, replacement)
    }

    pub fn set_default(
        &mut self,
        mut object: Object,
        at: usize,
        default: Option<sqlparser::ast::Expr>,
        text: Option<String>,
    ) -> Result<()> {
        let generated = object.generation(at).cloned();
        let name = object.name.clone();
        let ObjectKind::Table { defaults, connector: None, .. } = &mut object.kind else {
            let message = format!("\"{name}\" is not a table that statements write to");
            return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message));
        };
        if let Some(generation) = generated {
            let column = object.columns.field(at).name();
            let what = match generation {
                Generation::Stored(_) => "a generated column",
                Generation::Identity { .. } => "an identity column",
            };
            let message = format!("column \"{column}\" of relation \"{name}\" is {what}");
            return Err(Error::syntax(message));
        }
        defaults.resize(defaults.len().max(at + 1), None);
        defaults[at] = text;
        self.write_column(object, at, |column| {
            column.nullable &= !matches!(column.generated, Some(Generated::Serial));
            column.default = default;
            column.generated = None;
        })
    }

    fn rename_constraint(&mut self, mut object: Object, from: &str, to: &str) -> Result<()> {
        if has_constraint(self.catalog, &object, to) {
            let message =
                format!("constraint \"{to}\" for relation \"{}\" already exists", object.name);
            return Err(Error::new(SqlState::DUPLICATE_OBJECT, message));
        }
        if let Some(index) = unique_named(self.catalog, object.id, from) {
            let (index, schema) = (self.get(index.id)?, object.schema.clone());
            return self.move_to(index, schema, to.to_owned());
        }
        let is_key = !object.kind.primary_key().is_empty() && object.primary_key_name() == from;
        let missing = no_constraint(&object, from);
        let ObjectKind::Table { rules, .. } = &mut object.kind else { return Err(missing) };
        match rules.checks.iter_mut().find(|check| check.name == from) {
            Some(check) => check.name = to.to_owned(),
            None if is_key => rules.key_name = Some(to.to_owned()),
            None => return Err(missing),
        }
        self.write_rules(object)
    }

    /// The error for a constraint that is not there.
    fn drop_constraint(&mut self, mut object: Object, name: &str) -> Result<Option<Error>> {
        if let Some(index) = unique_named(self.catalog, object.id, name) {
            self.drop_dependent(index);
            return Ok(None);
        }
        let missing = no_constraint(&object, name);
        let is_key = !object.kind.primary_key().is_empty() && object.primary_key_name() == name;
        let ObjectKind::Table { rules, primary_key, connector: None, .. } = &mut object.kind else {
            return Ok(Some(missing));
        };
        if is_key {
            // Its columns stay NOT NULL, as in PostgreSQL.
            primary_key.clear();
            rules.key_name = None;
            self.other_key = true;
            object.create_sql = sql::rewritten(&object.create_sql, |statement| {
                if let Statement::CreateTable(table) = statement {
                    table.primary_key.clear();
                }
                Ok(())
            })?;
            self.write_rules(object)?;
            return Ok(None);
        }
        let before = rules.checks.len();
        rules.checks.retain(|check| check.name != name);
        if rules.checks.len() == before {
            return Ok(Some(missing));
        }
        self.write_rules(object)?;
        Ok(None)
    }

    /// Writes a table's constraints into its text.
    pub fn write_rules(&mut self, mut object: Object) -> Result<()> {
        let Some(rules) = object.rules().cloned() else { return Ok(()) };
        object.create_sql = sql::rewritten(&object.create_sql, |statement| {
            let Statement::CreateTable(table) = statement else { return Ok(()) };
            table.primary_key_name = rules.key_name.clone();
            let check = |check: &catalog::Check| {
                let expr = parse_expr(&check.sql)?;
                Ok(sql::CheckConstraint { name: Some(check.name.clone()), expr })
            };
            table.checks = rules.checks.iter().map(check).collect::<Result<_>>()?;
            Ok(())
        })?;
        self.objects.insert(object.id, object);
        Ok(())
    }
}

/// The index behind a UNIQUE constraint.
fn unique_named(catalog: &CatalogSnapshot, table: ObjectId, name: &str) -> Option<Arc<Object>> {
    let is_it = |index: &&Arc<Object>| {
        matches!(&index.kind, ObjectKind::Index { unique: Some(unique), .. } if unique.constraint)
            && index.name == name
    };
    catalog.dependents(table).find(is_it).cloned()
}

/// Whether a table has a constraint of a name.
fn has_constraint(catalog: &CatalogSnapshot, table: &Object, name: &str) -> bool {
    let is_key = !table.kind.primary_key().is_empty() && table.primary_key_name() == name;
    let checks = table.rules().map_or(&[][..], |rules| &rules.checks);
    is_key
        || checks.iter().any(|check| check.name == name)
        || unique_named(catalog, table.id, name).is_some()
}

fn check_owner(owner: &str) -> Result<()> {
    match owner {
        catalog::OWNER | "current_user" | "session_user" | "current_role" => Ok(()),
        _ => {
            let message = format!("role \"{owner}\" does not exist");
            Err(Error::new(SqlState::UNDEFINED_OBJECT, message))
        }
    }
}

/// Whether a name stands for an object under a search path.
fn stands_for(catalog: &CatalogSnapshot, path: &[String], name: &ObjectName, id: ObjectId) -> bool {
    matches!(catalog.relation(path, name), Ok(Relation::Object(object)) if object.id == id)
}

pub(super) fn column_of(object: &Object, name: &str) -> Result<usize> {
    object.columns.index_of(name).map_err(|_| {
        let message = format!("column \"{name}\" of relation \"{}\" does not exist", object.name);
        Error::new(SqlState::UNDEFINED_COLUMN, message)
    })
}

pub(super) fn no_constraint(object: &Object, name: &str) -> Error {
    let message = format!("constraint \"{name}\" of relation \"{}\" does not exist", object.name);
    Error::new(SqlState::UNDEFINED_OBJECT, message)
}

/// The refusal for the sake of a sink.
pub(super) fn read_by(dependent: &Object) -> Error {
    Error::unsupported(format!("cannot alter what {} reads", dependent.label()))
        .with_hint("Drop it first, and create it again behind.")
}

fn with_name(columns: &SchemaRef, at: usize, name: &str) -> SchemaRef {
    let fields = columns.fields().iter().enumerate().map(|(i, field)| match i == at {
        true => Arc::new(field.as_ref().clone().with_name(name)),
        false => field.clone(),
    });
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), columns.metadata().clone()))
}

fn with_column_renamed(text: &str, from: &str, to: &str) -> Result<String> {
    let mut expr = parse_expr(text)?;
    sql::rename_column(&mut expr, from, to);
    Ok(expr.to_string())
}
