//! ALTER TABLE where it is about columns and what they hold: the table's rows as they are to be.
//!
//! What an action comes to is worked out over definitions alone ([`Altered`]); only then the rows are read, written anew and
//! checked, under the table's lock, and handed to the coordinator with the definitions as one change.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{Field, FieldRef, Schema, SchemaRef};
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::Session;
use super::alter::{Altered, column_of, no_constraint};
use super::resolver::{Names, Purpose};
use super::rules::row_schema;
use super::select::{columns_of, nullable};
use crate::catalog::{Alteration, CatalogChange, Generation, Object, ObjectId, ObjectKind};
use crate::coordinator::{self, Create, Reshape, Runtime};
use crate::epoch::Epoch;
use crate::error::{Error, Result, SqlState};
use crate::memory::{self, Reservation};
use crate::query::errors::from_arrow;
use crate::query::{assign, assignable_column, canonicalise, output_fields};
use crate::sql::{
    self, Generated, NewConstraint, ObjectName, Replacement, Statement, parse_expr,
    quote_identifier,
};
use crate::types::{field_of_sql_type, format_type};

/// What a column of the table as it is to be holds.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// What a column holds now.
    Old(usize),
    /// A column's values as another type: by an expression over the row, or as an assignment casts.
    Cast { from: usize, using: Option<ast::Expr> },
    /// What the column's definition gives rows without a value.
    New,
}

impl Value {
    /// The column it has been.
    pub fn from(&self) -> Option<usize> {
        match self {
            Value::Old(at) | Value::Cast { from: at, .. } => Some(*at),
            Value::New => None,
        }
    }
}

/// The rows of a table that is altered.
struct Rows {
    old: RecordBatch,
    new: RecordBatch,
    _held: Reservation,
}

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
        let default = column.default.as_ref().map(ToString::to_string);
        self.check_defaults(&Schema::new(vec![field.clone()]), std::slice::from_ref(&default))?;
        let before = object.columns.clone();
        let fields = before.fields().iter().cloned().chain([field.clone()]).collect::<Vec<_>>();
        object.columns = Arc::new(Schema::new_with_metadata(fields, before.metadata().clone()));
        let schema = row_schema(&object.name, &object.columns)?;
        let stored = computed(&object);
        let generated = self.new_generation(&object.name, column, &field, &schema, &stored)?;
        let ObjectKind::Table { defaults, rules, .. } = &mut object.kind else {
            return Err(not_a_table(&object, "ADD COLUMN"));
        };
        defaults.resize(before.fields().len(), None);
        defaults.push(default);
        rules.generated.resize(before.fields().len(), None);
        rules.generated.push(generated);
        object.create_sql = sql::rewritten(&object.create_sql, |statement| {
            if let Statement::CreateTable(table) = statement {
                table.columns.push(column.clone());
            }
            Ok(())
        })?;
        altered.values.push(Value::New);
        let id = object.id;
        let replacement = shows(&object, &before, None);
        altered.objects.insert(id, object);
        altered.rewrite_dependents(id, &replacement)?;
        Ok(true)
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
            NewConstraint::PrimaryKey { name: given, columns: key } => {
                if !primary_key.is_empty() {
                    let message =
                        format!("multiple primary keys for table \"{name}\" are not allowed");
                    return Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, message));
                }
                let taken = |check: &crate::catalog::Check| Some(&check.name) == given.as_ref();
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
        let plan = altered.catalog.plan_drop_column(&object, name, &dependents, cascade)?;
        self.notices.extend(plan.notice);
        for dropped in plan.objects {
            altered.drop_dependent(dropped);
        }
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
                ObjectKind::Sink { .. } | ObjectKind::Table { .. } | ObjectKind::Source { .. } => {
                    true
                }
            };
            if depends {
                found.push(dependent.id);
            }
        }
        Ok(found)
    }

    /// Whether a query's result may depend on what an object's column holds.
    fn uses_column(&self, query: &ast::Query, path: &[String], id: ObjectId, at: usize) -> bool {
        let names = Names::new(&self.server, &self.engine, &self.settings, Purpose::Streaming);
        let plan = names.plan_as(query, path).and_then(canonicalise);
        match plan.and_then(|plan| self.engine.optimize_streaming(plan)) {
            Ok(plan) => crate::plan::lower::scans_column(&plan, id, at),
            // It reads what no maintained view can read, so nothing is known.
            Err(_) => true,
        }
    }

    fn gives_columns(&self, query: &ast::Query, path: &[String], columns: &SchemaRef) -> bool {
        let names = Names::new(&self.server, &self.engine, &self.settings, Purpose::Batch);
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
        let schema = row_schema(&object.name, &object.columns)?;
        if let ObjectKind::Table { defaults, rules, .. } = &object.kind {
            // What is said of the column has to make sense of the new type, too.
            let default = defaults.get(at).cloned().flatten();
            let default =
                default.map(|text| format!("({text})::{}", format_type(before.field(at))));
            self.check_defaults(&Schema::new(vec![field.clone()]), &[default]).map_err(|_| {
                let to = format_type(&field);
                let message = format!(
                    "default for column \"{column}\" cannot be cast automatically to type {to}"
                );
                Error::new(SqlState::DATATYPE_MISMATCH, message)
            })?;
            for check in &rules.checks {
                let name = Some(check.name.clone());
                let expr = parse_expr(&check.sql)?;
                let names_it = sql::names_column(&expr, column);
                self.new_check(&object.name, &sql::CheckConstraint { name, expr }, &schema, &[])?;
                if check.validated && names_it {
                    altered.checks.push(check.name.clone());
                }
            }
        }
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
            Value::Old(from) => Value::Cast { from, using: using.cloned() },
            Value::Cast { .. } | Value::New => {
                return Err(Error::unsupported("a column can be given one type in a statement"));
            }
        };
        altered.objects.insert(object.id, object);
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

    /// Makes the change: with the table's rows where it is about them. The table is locked.
    pub(super) async fn put(
        &mut self,
        altered: Altered<'_>,
        id: ObjectId,
        cancel: &CancellationToken,
    ) -> Result<Epoch> {
        let before = altered.catalog.get(id).cloned();
        let before = before.ok_or_else(|| Error::internal(format!("object {id} is gone")))?;
        let after = Arc::new(altered.get(id)?);
        if !altered.reads_rows(&before, &after) {
            return self.define_altered(altered).await;
        }
        let rows = self.rows_of(&altered, &before, &after, cancel).await?;
        self.check_rows(&altered, &before, &after, &rows.new)?;
        match altered.is_reshaped() {
            true => self.put_reshaped(altered, &before, &after, rows, cancel).await,
            false => self.define_altered(altered).await,
        }
    }

    async fn define_altered(&self, altered: Altered<'_>) -> Result<Epoch> {
        let change = altered.alteration(BTreeMap::new());
        let objects = change.objects.clone();
        let alter = coordinator::Alter { change, reshape: None };
        let epoch = self.server.coordinator.alter(alter).await?;
        for object in objects {
            if let Some(live) = self.server.coordinator.live(object.id) {
                live.rename(&object.name, object.columns.clone());
            }
        }
        Ok(epoch)
    }

    /// The table's rows as they are and as they are to be.
    async fn rows_of(
        &self,
        altered: &Altered<'_>,
        before: &Arc<Object>,
        after: &Arc<Object>,
        cancel: &CancellationToken,
    ) -> Result<Rows> {
        let width = before.columns.fields().len();
        let casts: Vec<(usize, &Option<ast::Expr>, &FieldRef)> = altered
            .values
            .iter()
            .zip(after.columns.fields())
            .filter_map(|(value, field)| match value {
                Value::Cast { from, using } => Some((*from, using, field)),
                Value::Old(_) | Value::New => None,
            })
            .collect();
        let mut items = vec!["*".to_owned()];
        for (i, (from, using, _)) in casts.iter().enumerate() {
            let value = match using {
                Some(expr) => format!("({expr})"),
                None => quote_identifier(before.columns.field(*from).name()).to_string(),
            };
            items.push(format!("{value} AS \"#{i}\""));
        }
        let table = ObjectName::qualified(&before.schema, &before.name);
        let query = sql::parse_query(&format!("SELECT {} FROM {table}", items.join(", ")))?;
        let mut planned = self.plan_batch(&query, &[])?;
        let schema = planned.plan.schema().clone();
        let mut exprs = vec![];
        for i in 0..width {
            let column = datafusion::logical_expr::Expr::Column(schema.columns()[i].clone());
            exprs.push(column.alias(format!("#old{i}")));
        }
        for (i, (_, using, field)) in casts.iter().enumerate() {
            let value = assign(assignable_column(&planned.plan, width + i), &schema, field);
            let value = value.map_err(|error| not_castable(error, field, using.is_some()))?;
            exprs.push(value.alias(format!("#new{i}")));
        }
        planned.plan = super::dml::project(planned.plan, exprs)?;
        let (batches, held) = self.collect(planned, vec![], memory::Purpose::Write, cancel).await?;
        let old = columns_of(&batches, 0, &before.columns)?;
        let casts: Vec<FieldRef> = casts.iter().map(|(_, _, field)| (*field).clone()).collect();
        let casts = columns_of(&batches, width, &Arc::new(Schema::new(casts)))?;
        let mut cast = casts.columns().iter();
        let mut given: Vec<(usize, ArrayRef)> = vec![];
        for (i, value) in altered.values.iter().enumerate() {
            match value {
                Value::Old(at) => given.push((i, old.column(*at).clone())),
                Value::Cast { .. } => given.extend(cast.next().map(|array| (i, array.clone()))),
                Value::New => given.extend(numbered(after, i, old.num_rows())?),
            }
        }
        let mut new = self.completed(after, given, old.num_rows(), cancel).await?;
        if let Some(rules) = after.rules()
            && altered.values.iter().any(|value| matches!(value, Value::New))
        {
            let schema = row_schema(&after.name, &nullable(&after.columns))?;
            new = self.generated(after, rules, &schema, new)?;
        }
        Ok(Rows { old, new, _held: held })
    }

    /// Refuses what the rows there are violate.
    fn check_rows(
        &self,
        altered: &Altered<'_>,
        before: &Object,
        after: &Object,
        rows: &RecordBatch,
    ) -> Result<()> {
        for (i, field) in after.columns.fields().iter().enumerate() {
            let had_none = match &altered.values[i] {
                Value::Old(at) => !before.columns.field(*at).is_nullable(),
                Value::Cast { .. } | Value::New => false,
            };
            if !field.is_nullable() && !had_none && rows.column(i).null_count() > 0 {
                let message = format!(
                    "column \"{}\" of relation \"{}\" contains null values",
                    field.name(),
                    after.name
                );
                return Err(Error::new(SqlState::NOT_NULL_VIOLATION, message));
            }
        }
        let Some(rules) = after.rules() else { return Ok(()) };
        let schema = row_schema(&after.name, &nullable(&after.columns))?;
        for check in rules.checks.iter().filter(|check| altered.checks.contains(&check.name)) {
            if self.violating(check, &schema, rows)?.is_some() {
                let message = format!(
                    "check constraint \"{}\" of relation \"{}\" is violated by some row",
                    check.name, after.name
                );
                return Err(Error::new(SqlState::CHECK_VIOLATION, message));
            }
        }
        Ok(())
    }

    async fn put_reshaped(
        &mut self,
        mut altered: Altered<'_>,
        before: &Arc<Object>,
        after: &Arc<Object>,
        rows: Rows,
        cancel: &CancellationToken,
    ) -> Result<Epoch> {
        let catalog = &self.server.catalog;
        let (id, _) = catalog.allocate();
        let mut renumbered = BTreeMap::from([(before.id, id)]);
        let mut indexes = vec![];
        let mut keys = vec![];
        for index in altered.take_dependents(before.id)? {
            let Some((old, index)) = altered.index_moved(index, id, &after.columns)? else {
                continue;
            };
            // Before its own number: nothing depends on what comes after it.
            let spare_ids = vec![catalog.allocate().0];
            let (number, _) = catalog.allocate();
            let ObjectKind::Index { key, .. } = &index.kind else { continue };
            let runtime = Runtime::Index { object: id, key: key.clone() };
            keys.push(key.clone());
            let index = Object { id: number, ..index };
            renumbered.insert(old, number);
            indexes.push((old, created(&index, runtime, spare_ids)));
            altered.objects.insert(old, index);
        }
        let table = Object { id, ..after.as_ref().clone() };
        let primary_key = table.kind.primary_key().to_vec();
        let key = (!primary_key.is_empty()).then_some(primary_key);
        let runtime = Runtime::Table { key, stream: None };
        let create = created(&table, runtime, vec![]);
        altered.objects.insert(before.id, table);
        let columns: Vec<Option<usize>> = (0..before.columns.fields().len())
            .map(|at| {
                altered.values.iter().position(|v| matches!(v, Value::Old(old) if *old == at))
            })
            .collect();
        let append_only = matches!(&before.kind, ObjectKind::Table { append_only: true, .. });
        let old_rows = if columns.contains(&None) { vec![rows.old] } else { vec![] };
        let change = altered.alteration(renumbered);
        let dropped = change.dropped.clone();
        let reshape = Reshape {
            old: before.id,
            columns,
            append_only,
            table: create,
            rows: vec![rows.new],
            old_rows,
            indexes,
        };
        let alter = coordinator::Alter { change, reshape: Some(reshape) };
        let epoch = self.server.coordinator.alter(alter).await?;
        for old in dropped.iter().chain([&before.id]) {
            self.server.coordinator.locks.forget(*old);
        }
        for key in keys {
            tokio::select! {
                biased;
                // They are filled all the same.
                () = cancel.cancelled() => {}
                filled = self.index_filled(id, &key, epoch) => filled?,
            }
        }
        Ok(epoch)
    }
}

impl Altered<'_> {
    /// Whether the table's rows are looked at.
    fn reads_rows(&self, before: &Object, after: &Object) -> bool {
        let narrower = || {
            let fields = before.columns.fields().iter().zip(after.columns.fields());
            fields.into_iter().any(|(old, new)| old.is_nullable() && !new.is_nullable())
        };
        self.is_reshaped() || !self.checks.is_empty() || narrower()
    }

    /// Whether the rows are to be others.
    fn is_reshaped(&self) -> bool {
        let same = |(i, value): (usize, &Value)| matches!(value, Value::Old(at) if *at == i);
        self.other_key
            || self.values.len() != self.width
            || !self.values.iter().enumerate().all(same)
    }

    fn is_dropped(&self, id: ObjectId) -> bool {
        self.dropped.iter().any(|dropped| dropped.id == id)
    }

    fn drop_dependent(&mut self, object: Arc<Object>) {
        self.objects.remove(&object.id);
        if !self.is_dropped(object.id) {
            self.dropped.push(object);
        }
    }

    /// What the catalog is told.
    fn alteration(self, renumbered: BTreeMap<ObjectId, ObjectId>) -> Alteration {
        let moved = |id: &mut ObjectId| {
            if let Some(new) = renumbered.get(id) {
                *id = *new;
            }
        };
        let objects = self.objects.into_values().map(|mut object| {
            object.depends_on.iter_mut().for_each(moved);
            Arc::new(object)
        });
        Alteration {
            as_of: self.catalog.version,
            objects: objects.collect(),
            dropped: self.dropped.iter().map(|object| object.id).collect(),
            renumbered,
            schema: None,
        }
    }

    /// All that reads the table is altered with it, since the table gets another number.
    fn take_dependents(&mut self, id: ObjectId) -> Result<Vec<Object>> {
        let mut all = vec![];
        for dependent in self.catalog.dependents(id) {
            if self.is_dropped(dependent.id) {
                continue;
            }
            if matches!(dependent.kind, ObjectKind::Sink { .. }) {
                return Err(super::alter::read_by(dependent));
            }
            let dependent = self.get(dependent.id)?;
            self.objects.insert(dependent.id, dependent.clone());
            all.push(dependent);
        }
        Ok(all)
    }

    /// An index over the table under its new number, with the number it had; `None` for what is no index.
    fn index_moved(
        &mut self,
        mut index: Object,
        table: ObjectId,
        columns: &SchemaRef,
    ) -> Result<Option<(ObjectId, Object)>> {
        let ObjectKind::Index { on, key } = &mut index.kind else { return Ok(None) };
        *on = table;
        for at in key.iter_mut() {
            let found = self.values.iter().position(|value| value.from() == Some(*at));
            *at = found.ok_or_else(|| Error::internal("an index of a column that is gone"))?;
        }
        index.columns = Arc::new(columns.project(key).map_err(from_arrow)?);
        Ok(Some((index.id, index)))
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
        let refused = not_a_table(&object, "DROP COLUMN");
        let ObjectKind::Table { defaults, rules, primary_key, .. } = &mut object.kind else {
            return Err(refused);
        };
        if at < defaults.len() {
            defaults.remove(at);
        }
        if at < rules.generated.len() {
            rules.generated.remove(at);
        }
        // Constraints that involve the column go with it.
        if primary_key.contains(&at) {
            primary_key.clear();
            rules.key_name = None;
            self.other_key = true;
        }
        primary_key.iter_mut().filter(|key| **key > at).for_each(|key| *key -= 1);
        let mut checks = vec![];
        for check in std::mem::take(&mut rules.checks) {
            if !sql::names_column(&parse_expr(&check.sql)?, &name) {
                checks.push(check);
            }
        }
        rules.checks = checks;
        let keyless = primary_key.is_empty();
        object.create_sql = sql::rewritten(&object.create_sql, |statement| {
            if let Statement::CreateTable(table) = statement {
                table.columns.retain(|column| column.name != name);
                if keyless {
                    table.primary_key.clear();
                }
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
        self.write_rules(object)
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

/// A table's columns, but one, as they are called now: for queries that knew these only.
fn shows(object: &Object, columns: &SchemaRef, but: Option<usize>) -> Replacement {
    let names = columns.fields().iter().enumerate().filter(|(i, _)| Some(*i) != but);
    let pairs = names.map(|(_, field)| (field.name().clone(), field.name().clone()));
    let name = ObjectName::qualified(&object.schema, &object.name);
    Replacement { name, columns: Some(pairs.collect()) }
}

fn created(object: &Object, runtime: Runtime, spare_ids: Vec<ObjectId>) -> Create {
    Create {
        change: Some(CatalogChange::Create(Arc::new(object.clone()))),
        id: object.id,
        name: object.name.clone(),
        schema: object.columns.clone(),
        runtime,
        spare_ids,
    }
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

/// The numbers of a new column's rows, where it numbers them.
fn numbered(table: &Object, column: usize, rows: usize) -> Result<Option<(usize, ArrayRef)>> {
    let Some(numbers) = table.generation(column).and_then(Generation::numbers) else {
        return Ok(None);
    };
    let (first, increment) = numbers.take(rows)?;
    let numbers = (0..rows as i64).map(|i| first + i * increment);
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
    let target = table.columns.field(column).data_type();
    let numbers = arrow_cast::cast(&numbers, target).map_err(from_arrow)?;
    Ok(Some((column, numbers)))
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

fn duplicate_constraint(table: &str, name: &str) -> Error {
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

fn not_castable(error: Error, field: &Field, using: bool) -> Error {
    if error.code != SqlState::DATATYPE_MISMATCH {
        return error;
    }
    let (name, data_type) = (field.name(), format_type(field));
    let (what, hint) = match using {
        true => (
            "result of USING clause for column",
            "You might need to add an explicit cast.".to_owned(),
        ),
        false => {
            let quoted = quote_identifier(name);
            ("column", format!("You might need to specify \"USING {quoted}::{data_type}\"."))
        }
    };
    let message = format!("{what} \"{name}\" cannot be cast automatically to type {data_type}");
    Error::new(SqlState::DATATYPE_MISMATCH, message).with_hint(hint)
}
