//! ALTER's actions about columns and constraints, each worked out over definitions alone.
//!
//! What the rows have to do with it comes behind, in [`super::reshape`]: here is only noted what each column is to hold, and
//! what the rows have to satisfy.

use std::sync::Arc;

use arrow_schema::{Field, FieldRef, Schema, SchemaRef};
use sqlparser::ast;

use super::Session;
use super::alter::{Altered, column_of, no_constraint};
use super::reshape::Value;
use super::resolver::{Names, Purpose};
use super::rules::row_schema;
use crate::catalog::{Check, Generation, Object, ObjectId, ObjectKind, Oid};
use crate::error::{Error, Result, SqlState};
use crate::query::{canonicalise, output_fields};
use crate::sql::{self, Generated, NewConstraint, ObjectName, Replacement, Statement, parse_expr};
use crate::types::{field_of_sql_type, format_type};

impl Session {
    /// ADD COLUMN behind the others.
    pub(super) fn add_column(
        &mut self,
        altered: &mut Altered<'_>,
        mut object: Object,
        column: &sql::ColumnDef,
        if_not_exists: bool,
    ) -> Result<bool> {
        if object.columns.index_of(&column.name).is_ok() {
            let message = format!(
                "column \"{}\" of relation \"{}\" already exists",
                column.name, object.name
            );
            let error = Error::new(SqlState::DUPLICATE_COLUMN, message);
            if !if_not_exists {
                return Err(error);
            }
            let message = format!("{}, skipping", error.message);
            self.notices.push(Error { message, ..error });
            return Ok(false);
        }
        let field = field_of_sql_type(&column.name, &column.data_type)?;
        let field = Arc::new(field.with_nullable(column.nullable));
        let default = column.default.as_ref().map(|d| self.bound_default(d)).transpose()?;
        self.check_defaults(&Schema::new(vec![field.clone()]), std::slice::from_ref(&default))?;
        let before = object.columns.clone();
        // Columns of a message's metadata come behind those that are declared.
        let at = before.fields().len() - object.kind.connector().map_or(0, |c| c.include.len());
        let mut fields: Vec<FieldRef> = before.fields().iter().cloned().collect();
        fields.insert(at, field.clone());
        object.columns = Arc::new(Schema::new_with_metadata(fields, before.metadata().clone()));
        count_on(&mut object, at)?;
        let schema = row_schema(&object.name, &object.columns)?;
        let stored = computed(&object);
        let sequence = self.new_sequence(altered, &object, column, at)?;
        let generated = self.new_generation(column, &field, &schema, &stored, sequence)?;
        let serial = matches!(column.generated, Some(Generated::Serial));
        let default = match sequence.filter(|_| serial) {
            Some(sequence) => Some(format!("nextval({sequence})")),
            None => default,
        };
        if object.kind.connector().is_some() && (default.is_some() || generated.is_some()) {
            let message = format!("a default of column \"{}\" is not supported", column.name);
            return Err(Error::unsupported(message)
                .with_detail("A connector feeds the rows, and sets every column."));
        }
        if let ObjectKind::Table { defaults, rules, connector: None, .. } = &mut object.kind {
            defaults.resize(at, None);
            defaults.push(default);
            rules.generated.resize(at, None);
            rules.generated.push(generated);
        }
        object.create_sql = sql::rewritten(&object.create_sql, |statement| {
            match statement {
                Statement::CreateTable(table) => table.columns.push(column.clone()),
                Statement::CreateSource(source) => source.columns.push(column.clone()),
                _ => {}
            }
            Ok(())
        })?;
        altered.values.insert(at, Value::New);
        altered.note_sequences(&mut object)?;
        let id = object.id;
        let replacement = shows(&object, &before, None);
        altered.objects.insert(id, object);
        altered.rewrite_dependents(id, &replacement)?;
        Ok(true)
    }

    /// The sequence that a new column of a table owns, which comes with it.
    fn new_sequence(
        &self,
        altered: &mut Altered<'_>,
        object: &Object,
        column: &sql::ColumnDef,
        at: usize,
    ) -> Result<Option<Oid>> {
        if !matches!(object.kind, ObjectKind::Table { connector: None, .. }) {
            return Ok(None);
        }
        let table = (object.schema.as_str(), object.name.as_str(), object.oid);
        let field = object.columns.project(&[at]).map_err(|e| Error::internal(e.to_string()))?;
        let sequences = self.column_sequences(table, std::slice::from_ref(column), &field)?;
        let mut oid = None;
        for mut sequence in sequences {
            if let ObjectKind::Sequence { owner: Some(owner), .. } = &mut sequence.kind {
                owner.column = at;
            }
            oid = Some(sequence.oid);
            altered.objects.insert(sequence.id, sequence);
        }
        Ok(oid)
    }

    /// Constraints that were written behind a column, or by themselves.
    pub(super) fn add_constraint(
        &mut self,
        altered: &mut Altered<'_>,
        mut object: Object,
        constraint: &NewConstraint,
    ) -> Result<()> {
        let name = object.name.clone();
        let key_name = (!object.kind.primary_key().is_empty()).then(|| object.primary_key_name());
        let columns = object.columns.clone();
        let schema = row_schema(&name, &columns)?;
        let words = "ADD CONSTRAINT";
        let refused = not_a_table(&object, words);
        let ObjectKind::Table { rules, primary_key, connector: None, .. } = &mut object.kind else {
            return Err(refused);
        };
        match constraint {
            NewConstraint::Check { check, not_valid } => {
                if key_name.is_some() && key_name == check.name {
                    return Err(duplicate_constraint(&name, key_name.as_deref().unwrap_or("")));
                }
                let mut check = self.new_check(&name, check, &schema, &rules.checks).map_err(
                    |error| match (error.code, &check.name) {
                        (SqlState::DUPLICATE_OBJECT, Some(given)) => {
                            duplicate_constraint(&name, given)
                        }
                        _ => error,
                    },
                )?;
                check.validated = !not_valid;
                if check.validated {
                    altered.checks.push(check.name.clone());
                }
                rules.checks.push(check);
                rules.checks.sort_by(|a, b| a.name.cmp(&b.name));
            }
            NewConstraint::Unique(_) => {
                let message = "a UNIQUE constraint is added by a statement of its own";
                return Err(Error::unsupported(message)
                    .with_hint("Use ALTER TABLE ... ADD CONSTRAINT ... UNIQUE behind this one."));
            }
            NewConstraint::PrimaryKey { name: given, columns: key } => {
                if !primary_key.is_empty() {
                    let message =
                        format!("multiple primary keys for table \"{name}\" are not allowed");
                    return Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, message));
                }
                let taken = |check: &Check| Some(&check.name) == given.as_ref();
                if let Some(check) = rules.checks.iter().find(|check| taken(check)) {
                    return Err(duplicate_constraint(&name, &check.name));
                }
                *primary_key = super::ddl::key_columns(&columns, key)?;
                rules.key_name.clone_from(given);
                object.columns = super::ddl::not_null(&columns, primary_key);
                altered.other_key = true;
            }
        }
        write_nullability(&mut object)?;
        altered.write_rules(object)
    }

    /// Also tells whether there was such a column.
    pub(super) fn drop_column(
        &mut self,
        altered: &mut Altered<'_>,
        object: Object,
        name: &str,
        if_exists: bool,
        cascade: bool,
    ) -> Result<()> {
        let at = match column_of(&object, name) {
            Ok(at) => at,
            Err(error) if if_exists => {
                let message = format!("{}, skipping", error.message);
                self.notices.push(Error::new(SqlState::SUCCESSFUL_COMPLETION, message));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let computed = computed_from(&object, name)?;
        if let Some(column) = computed.first()
            && !cascade
        {
            let table = object.label();
            let message =
                format!("cannot drop column {name} of {table} because other objects depend on it");
            return Err(Error::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
                .with_detail(format!(
                    "column {column} of {table} depends on column {name} of {table}"
                ))
                .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        let id = object.id;
        for column in computed {
            let object = altered.get(id)?;
            self.drop_column(altered, object, &column, false, cascade)?;
        }
        let object = altered.get(id)?;
        let at = object.columns.index_of(name).unwrap_or(at);
        let before = object.columns.clone();
        let replacement = shows(&object, &before, Some(at));
        let dependents = self.dependents_on_column(altered, &object, at, &replacement)?;
        let owned = altered.leave_sequences(object.oid, at);
        let plan = altered.catalog.plan_drop_column(&object, name, &dependents, &owned, cascade)?;
        self.notices.extend(plan.notice);
        for (table, column) in plan.defaults {
            let table = altered.get(table.id)?;
            altered.set_default(table, column, None, None)?;
        }
        let object = altered.get(id)?;
        for dropped in plan.objects {
            altered.drop_dependent(dropped);
        }
        // Of a column that the statement itself has added.
        owned.iter().for_each(|sequence| drop(altered.objects.remove(sequence)));
        altered.remove_column(object, at)?;
        altered.rewrite_dependents(id, &replacement)
    }

    /// The views over a table that depend on one of its columns: their result uses it, or their text names it.
    fn dependents_on_column(
        &self,
        altered: &Altered<'_>,
        table: &Object,
        at: usize,
        without: &Replacement,
    ) -> Result<Vec<ObjectId>> {
        // A column that the statement itself has added nobody knows.
        let Some(stored) = altered.values.get(at).and_then(Value::from) else { return Ok(vec![]) };
        let mut found = vec![];
        for dependent in altered.catalog.dependents(table.id) {
            if altered.is_dropped(dependent.id) {
                continue;
            }
            let depends = match &dependent.kind {
                ObjectKind::View { query, context, .. }
                | ObjectKind::MaterializedView { query, context, .. } => {
                    let mut rewritten = query.as_ref().clone();
                    altered.replace_in(&mut rewritten, &context.search_path, table.id, without)?;
                    let path = &context.search_path;
                    self.uses_column(query, path, table.id, stored)
                        || !self.gives_columns(&rewritten, path, &dependent.columns)
                }
                ObjectKind::Index { .. } => false,
                ObjectKind::Sink { .. }
                | ObjectKind::Table { .. }
                | ObjectKind::Source { .. }
                | ObjectKind::Sequence { .. } => true,
            };
            if depends {
                found.push(dependent.id);
            }
        }
        Ok(found)
    }

    /// Whether a query's result may depend on what an object's column holds.
    fn uses_column(&self, query: &ast::Query, path: &[String], id: ObjectId, at: usize) -> bool {
        let names = Names::new(self, Purpose::Streaming);
        let plan = names.plan_as(query, path).and_then(canonicalise);
        match plan.and_then(|plan| self.engine.optimize_streaming(plan)) {
            Ok(plan) => crate::plan::lower::scans_column(&plan, id, at),
            // It reads what no maintained view can read, so nothing is known.
            Err(_) => true,
        }
    }

    fn gives_columns(&self, query: &ast::Query, path: &[String], columns: &SchemaRef) -> bool {
        let names = Names::new(self, Purpose::Batch);
        let Ok(plan) = names.plan_as(query, path) else { return false };
        let fields = output_fields(&plan);
        let same = |(a, b): (&FieldRef, &FieldRef)| a.data_type() == b.data_type();
        fields.len() == columns.fields().len() && fields.iter().zip(columns.fields()).all(same)
    }

    pub(super) fn set_type(
        &mut self,
        altered: &mut Altered<'_>,
        mut object: Object,
        column: &str,
        data_type: &ast::DataType,
        using: Option<&ast::Expr>,
    ) -> Result<()> {
        let at = column_of(&object, column)?;
        let before = object.columns.clone();
        let nullable = before.field(at).is_nullable();
        let field = field_of_sql_type(column, data_type)?.with_nullable(nullable);
        if using.is_none() && format_type(before.field(at)) == format_type(&field) {
            return Ok(());
        }
        if !computed_from(&object, column)?.is_empty() {
            let message = "cannot alter type of a column used by a generated column";
            return Err(Error::unsupported(message));
        }
        let numbers = object.generation(at).is_some();
        if numbers {
            let message = format!("cannot alter type of generated column \"{column}\"");
            return Err(
                Error::unsupported(message).with_hint("Drop the column, and add it again behind.")
            );
        }
        let without = shows(&object, &object.columns.clone(), Some(at));
        let dependents = self.dependents_on_column(altered, &object, at, &without)?;
        if let Some(view) = dependents.first().and_then(|id| altered.catalog.get(*id)) {
            let message = "cannot alter type of a column used by a view or rule";
            return Err(Error::unsupported(message)
                .with_detail(format!("{} depends on column \"{column}\"", view.label())));
        }
        let fields = object.columns.fields().iter().enumerate();
        let field = Arc::new(field);
        let fields = fields.map(|(i, old)| if i == at { field.clone() } else { old.clone() });
        let fields: Vec<FieldRef> = fields.collect();
        object.columns = Arc::new(Schema::new(fields));
        self.check_type(altered, &object, at, before.field(at))?;
        object.create_sql = sql::rewritten(&object.create_sql, |statement| {
            if let Statement::CreateTable(table) = statement
                && let Some(column) = table.columns.get_mut(at)
            {
                column.data_type = data_type.clone();
            }
            Ok(())
        })?;
        altered.other_key |= object.kind.primary_key().contains(&at);
        altered.values[at] = match altered.values[at].clone() {
            Value::Old(from) => Value::Cast { from, using: using.cloned().map(Box::new) },
            Value::Cast { .. } | Value::New => {
                return Err(Error::unsupported("a column can be given one type in a statement"));
            }
        };
        altered.objects.insert(object.id, object);
        Ok(())
    }

    /// What is said of a column has to make sense of its new type, too.
    fn check_type(
        &self,
        altered: &mut Altered<'_>,
        object: &Object,
        at: usize,
        before: &Field,
    ) -> Result<()> {
        let ObjectKind::Table { defaults, rules, .. } = &object.kind else { return Ok(()) };
        let field = &object.columns.fields()[at];
        let schema = row_schema(&object.name, &object.columns)?;
        let default = defaults.get(at).cloned().flatten();
        let default = default.map(|text| format!("({text})::{}", format_type(before)));
        self.check_defaults(&Schema::new(vec![field.clone()]), &[default]).map_err(|_| {
            let (column, to) = (field.name(), format_type(field));
            let message = format!(
                "default for column \"{column}\" cannot be cast automatically to type {to}"
            );
            Error::new(SqlState::DATATYPE_MISMATCH, message)
        })?;
        for check in &rules.checks {
            let expr = parse_expr(&check.sql)?;
            let names_it = sql::names_column(&expr, field.name());
            let name = Some(check.name.clone());
            self.new_check(&object.name, &sql::CheckConstraint { name, expr }, &schema, &[])?;
            if check.validated && names_it {
                altered.checks.push(check.name.clone());
            }
        }
        Ok(())
    }

    pub(super) fn set_not_null(
        &mut self,
        altered: &mut Altered<'_>,
        mut object: Object,
        column: &str,
        not_null: bool,
    ) -> Result<()> {
        let at = column_of(&object, column)?;
        if object.columns.field(at).is_nullable() != not_null {
            return Ok(());
        }
        let refused = not_a_table(&object, "ALTER COLUMN");
        let ObjectKind::Table { primary_key, connector: None, .. } = &object.kind else {
            return Err(refused);
        };
        if !not_null {
            if primary_key.contains(&at) {
                let message = format!("column \"{column}\" is in a primary key");
                return Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, message));
            }
            if matches!(object.generation(at), Some(Generation::Identity { .. })) {
                let message = format!(
                    "column \"{column}\" of relation \"{}\" is an identity column",
                    object.name
                );
                return Err(Error::syntax(message));
            }
            altered.refuse_dataflows(&object, "drop NOT NULL of")?;
        }
        let fields = object.columns.fields().iter().enumerate().map(|(i, field)| match i == at {
            true => Arc::new(field.as_ref().clone().with_nullable(!not_null)),
            false => field.clone(),
        });
        object.columns = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        write_nullability(&mut object)?;
        altered.objects.insert(object.id, object);
        Ok(())
    }

    pub(super) fn validate_constraint(
        &mut self,
        altered: &mut Altered<'_>,
        mut object: Object,
        name: &str,
    ) -> Result<()> {
        let missing = no_constraint(&object, name);
        let is_key = !object.kind.primary_key().is_empty() && object.primary_key_name() == name;
        let ObjectKind::Table { rules, .. } = &mut object.kind else { return Err(missing) };
        match rules.checks.iter_mut().find(|check| check.name == name) {
            Some(check) if !check.validated => {
                check.validated = true;
                altered.checks.push(name.to_owned());
            }
            Some(_) => {}
            None if is_key => {}
            None => return Err(missing),
        }
        altered.objects.insert(object.id, object);
        Ok(())
    }
}

impl Altered<'_> {
    pub fn is_dropped(&self, id: ObjectId) -> bool {
        self.dropped.iter().any(|dropped| dropped.id == id)
    }

    pub fn drop_dependent(&mut self, object: Arc<Object>) {
        self.objects.remove(&object.id);
        if !self.is_dropped(object.id) {
            self.dropped.push(object);
        }
    }

    fn remove_column(&mut self, mut object: Object, at: usize) -> Result<()> {
        let name = object.columns.field(at).name().clone();
        let stored = self.values.get(at).and_then(Value::from);
        let fields = object.columns.fields().iter().enumerate();
        let fields = fields.filter(|(i, _)| *i != at).map(|(_, field)| field.clone());
        object.columns = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        object.comments = object
            .comments
            .into_iter()
            .filter(|(column, _)| *column != at + 1)
            .map(|(column, text)| (if column > at + 1 { column - 1 } else { column }, text))
            .collect();
        match &mut object.kind {
            ObjectKind::Table { connector: None, .. } => {
                self.other_key |= leave_constraints(&mut object, at, &name)?;
                self.note_sequences(&mut object)?;
            }
            ObjectKind::Table { primary_key, connector: Some(connector), .. }
            | ObjectKind::Source { primary_key, connector, .. } => {
                let included = at >= object.columns.fields().len() + 1 - connector.include.len();
                if primary_key.contains(&at) || included {
                    let message = format!("cannot drop column \"{name}\" of \"{}\"", object.name);
                    return Err(Error::unsupported(message)
                        .with_detail("It is of the key, or INCLUDEd of the messages.")
                        .with_hint("Leave it out in a view."));
                }
                primary_key.iter_mut().filter(|key| **key > at).for_each(|key| *key -= 1);
            }
            ObjectKind::View { .. }
            | ObjectKind::MaterializedView { .. }
            | ObjectKind::Sink { .. }
            | ObjectKind::Index { .. }
            | ObjectKind::Sequence { .. } => return Err(not_a_table(&object, "DROP COLUMN")),
        }
        leave_watermark(&mut object, at)?;
        let keyless = object.kind.primary_key().is_empty();
        object.create_sql = sql::rewritten(&object.create_sql, |statement| {
            match statement {
                Statement::CreateTable(table) => {
                    table.columns.retain(|column| column.name != name);
                    if keyless {
                        table.primary_key.clear();
                    }
                }
                Statement::CreateSource(source) => {
                    source.columns.retain(|column| column.name != name);
                }
                _ => {}
            }
            Ok(())
        })?;
        self.values.remove(at);
        // So do indexes.
        let id = object.id;
        let of_column = |index: &&Arc<Object>| {
            matches!(&index.kind, ObjectKind::Index { key, .. }
                if stored.is_some_and(|stored| key.contains(&stored)))
        };
        let indexes: Vec<_> = self.catalog.dependents(id).filter(of_column).cloned().collect();
        indexes.into_iter().for_each(|index| self.drop_dependent(index));
        match object.kind.connector() {
            Some(_) => drop(self.objects.insert(id, object)),
            None => self.write_rules(object)?,
        }
        Ok(())
    }

    /// What maintained views rest on cannot be loosened under them.
    pub(super) fn refuse_dataflows(&self, table: &Object, what: &str) -> Result<()> {
        let plan = self.catalog.plan_drop(&[table.id], true)?;
        let runs = |object: &&Arc<Object>| {
            matches!(object.kind, ObjectKind::MaterializedView { .. } | ObjectKind::Sink { .. })
                && !self.is_dropped(object.id)
        };
        match plan.objects.iter().find(runs) {
            None => Ok(()),
            Some(object) => Err(Error::unsupported(format!(
                "cannot {what} \"{}\" because {} is maintained by it",
                table.name,
                object.label()
            ))
            .with_hint("Drop it first, and create it again behind.")),
        }
    }
}

/// Columns from `at` on are one place further behind.
fn count_on(object: &mut Object, at: usize) -> Result<()> {
    object.comments = std::mem::take(&mut object.comments)
        .into_iter()
        .map(|(column, text)| (if column > at { column + 1 } else { column }, text))
        .collect();
    let later = |column: &mut usize| *column += usize::from(*column >= at);
    match &mut object.kind {
        ObjectKind::Table { primary_key, .. } => primary_key.iter_mut().for_each(later),
        ObjectKind::Source { primary_key, watermark, .. } => {
            primary_key.iter_mut().for_each(later);
            watermark.iter_mut().for_each(|(column, _)| later(column));
        }
        ObjectKind::View { .. }
        | ObjectKind::MaterializedView { .. }
        | ObjectKind::Sink { .. }
        | ObjectKind::Index { .. }
        | ObjectKind::Sequence { .. } => return Err(not_a_table(object, "ADD COLUMN")),
    }
    Ok(())
}

/// Constraints that involve a column go with it; whether the primary key does.
fn leave_constraints(object: &mut Object, at: usize, name: &str) -> Result<bool> {
    let ObjectKind::Table { defaults, rules, primary_key, .. } = &mut object.kind else {
        return Ok(false);
    };
    if at < defaults.len() {
        defaults.remove(at);
    }
    if at < rules.generated.len() {
        rules.generated.remove(at);
    }
    let mut checks = vec![];
    for check in std::mem::take(&mut rules.checks) {
        if !sql::names_column(&parse_expr(&check.sql)?, name) {
            checks.push(check);
        }
    }
    rules.checks = checks;
    let of_key = primary_key.contains(&at);
    if of_key {
        primary_key.clear();
        rules.key_name = None;
    }
    primary_key.iter_mut().filter(|key| **key > at).for_each(|key| *key -= 1);
    Ok(of_key)
}

/// A source's column goes, which is none of its watermark.
fn leave_watermark(object: &mut Object, at: usize) -> Result<()> {
    let ObjectKind::Source { watermark, .. } = &mut object.kind else { return Ok(()) };
    if watermark.as_ref().is_some_and(|(column, _)| *column == at) {
        return Err(Error::unsupported("the column of a watermark cannot be dropped"));
    }
    let later = watermark.iter_mut().filter(|(column, _)| *column > at);
    later.for_each(|(column, _)| *column -= 1);
    Ok(())
}

/// A table's columns, but one, as they are called now: for queries that knew these only.
fn shows(object: &Object, columns: &SchemaRef, but: Option<usize>) -> Replacement {
    let names = columns.fields().iter().enumerate().filter(|(i, _)| Some(*i) != but);
    let pairs = names.map(|(_, field)| (field.name().clone(), field.name().clone()));
    let name = ObjectName::qualified(&object.schema, &object.name);
    Replacement { name, columns: Some(pairs.collect()) }
}

/// The names of the columns that are computed from others.
fn computed(object: &Object) -> Vec<String> {
    let fields = object.columns.fields().iter().enumerate();
    let stored =
        fields.filter(|(i, _)| matches!(object.generation(*i), Some(Generation::Stored(_))));
    stored.map(|(_, field)| field.name().clone()).collect()
}

/// The names of the columns that are computed from this one.
fn computed_from(object: &Object, column: &str) -> Result<Vec<String>> {
    let mut found = vec![];
    for (i, field) in object.columns.fields().iter().enumerate() {
        if let Some(Generation::Stored(text)) = object.generation(i)
            && sql::names_column(&parse_expr(text)?, column)
        {
            found.push(field.name().clone());
        }
    }
    Ok(found)
}

/// Writes which columns are NOT NULL into a table's text.
fn write_nullability(object: &mut Object) -> Result<()> {
    let columns = object.columns.clone();
    let names: Vec<String> =
        object.kind.primary_key().iter().map(|&key| columns.field(key).name().clone()).collect();
    object.create_sql = sql::rewritten(&object.create_sql, |statement| {
        if let Statement::CreateTable(table) = statement {
            table.primary_key = names;
            for (column, field) in table.columns.iter_mut().zip(columns.fields()) {
                let numbers = matches!(
                    column.generated,
                    Some(Generated::Serial | Generated::Identity { .. })
                );
                column.nullable = field.is_nullable() && !numbers;
            }
        }
        Ok(())
    })?;
    Ok(())
}

pub(super) fn duplicate_constraint(table: &str, name: &str) -> Error {
    let message = format!("constraint \"{name}\" for relation \"{table}\" already exists");
    Error::new(SqlState::DUPLICATE_OBJECT, message)
}

pub(super) fn not_a_table(object: &Object, action: &str) -> Error {
    let message =
        format!("ALTER action {action} cannot be performed on relation \"{}\"", object.name);
    let detail = match object.kind.connector() {
        Some(_) => "A connector feeds it.".to_owned(),
        None => format!("This operation is not supported for {}s.", object.kind.words()),
    };
    Error::new(SqlState::WRONG_OBJECT_TYPE, message).with_detail(detail)
}
