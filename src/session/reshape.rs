//! ALTER TABLE where it is about columns and what they hold: the table's rows as they are to be.
//!
//! What the actions come to has been worked out over definitions ([`Altered`], [`super::alter_columns`]). The rows are read, written
//! anew and checked under the table's lock, and handed to the coordinator with the definitions as one change.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{Field, FieldRef, Schema, SchemaRef};
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::Session;
use super::alter::Altered;
use super::index::check_distinct;
use super::rules::row_schema;
use super::select::{columns_of, nullable};
use crate::catalog::{Alteration, CatalogChange, Object, ObjectId, ObjectKind};
use crate::coordinator::{self, Create, Feed, Reshape, Runtime, Stream};
use crate::epoch::Epoch;
use crate::error::{Error, Result, SqlState};
use crate::memory::{self, Reservation};
use crate::query::errors::from_arrow;
use crate::query::{assign, assignable_column};
use crate::sql::{self, ObjectName, quote_identifier};
use crate::types::format_type;

/// What a column of the table as it is to be holds.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// What a column holds now.
    Old(usize),
    /// A column's values as another type: by an expression over the row, or as an assignment casts.
    Cast { from: usize, using: Option<Box<ast::Expr>> },
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
        if let Some(sink) = altered.catalog.sinks_into(id).next() {
            let message =
                format!("cannot alter \"{}\": sink \"{}\" writes to it", before.name, sink.name);
            return Err(Error::unsupported(message).with_hint("Drop the sink first."));
        }
        let feed = match before.kind.connector() {
            Some(connector) if connector.stand_in => {
                Feed::StandIn { upsert: !after.kind.primary_key().is_empty() }
            }
            Some(_) => Feed::Connector(self.opened_again(&before, &after, cancel).await?),
            None => Feed::Statements,
        };
        let streams = matches!(feed, Feed::Connector(_));
        let stored = !streams
            || matches!(before.kind, ObjectKind::Table { .. })
            || self.server.coordinator.source(id).is_none_or(|s| s.upsert);
        // Nothing of a stream comes in while the rows that it has given are looked at.
        let _held = if streams && stored { Some(self.held_back(id).await?) } else { None };
        let rows = match stored {
            true => self.rows_of(&altered, &before, &after, cancel).await?,
            false => self.no_rows(&before, &after),
        };
        self.check_rows(&altered, &before, &after, &rows.new)?;
        match altered.is_reshaped() {
            true => self.put_reshaped(altered, &before, &after, (rows, feed), cancel).await,
            false => self.define_altered(altered).await,
        }
    }

    /// The connector of what it feeds, opened for its columns as they are to be. Its splits and where they begin stay.
    async fn opened_again(
        &self,
        before: &Object,
        after: &Object,
        cancel: &CancellationToken,
    ) -> Result<Stream> {
        let running = self.server.coordinator.source(before.id);
        let running = running.ok_or_else(|| Error::internal("the source is not running"))?;
        let source = self.opened_for(after, cancel).await?;
        let wanted = after.columns.fields().iter().map(|field| (field.name(), field.data_type()));
        let schema = source.schema();
        if !schema.fields().iter().map(|field| (field.name(), field.data_type())).eq(wanted) {
            let message = format!("the columns of \"{}\" are its connector's own", before.name);
            return Err(Error::unsupported(message));
        }
        Ok(Stream { source, ..running })
    }

    /// Holds a stream back, and waits until all that it has given is there.
    async fn held_back(&self, id: ObjectId) -> Result<coordinator::HeldBack> {
        let (held, epoch) = self.server.coordinator.hold_back(id).await?;
        if let Some(live) = self.server.coordinator.live(id) {
            live.wait_for(epoch).await?;
        }
        Ok(held)
    }

    fn no_rows(&self, before: &Object, after: &Object) -> Rows {
        let memory = &self.server.coordinator.shared.memory;
        let held = memory.reserve(memory::Holder::Query, "the statement");
        let empty = |object: &Object| RecordBatch::new_empty(nullable(&object.columns));
        Rows { old: empty(before), new: empty(after), _held: held }
    }

    pub(super) async fn define_altered(&self, altered: Altered<'_>) -> Result<Epoch> {
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
        let casts: Vec<(usize, &Option<Box<ast::Expr>>, &FieldRef)> = altered
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
                Value::New => given.extend(numbered(altered, after, i, old.num_rows())?),
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
        (rows, feed): (Rows, Feed),
        cancel: &CancellationToken,
    ) -> Result<Epoch> {
        let catalog = &self.server.catalog;
        let (id, _) = catalog.allocate();
        let mut renumbered = BTreeMap::from([(before.id, id)]);
        let indexes = self.moved_indexes(&mut altered, id, after, &rows.new, &mut renumbered)?;
        let keys: Vec<Vec<usize>> = indexes.iter().map(|(_, index)| key_of(index)).collect();
        let table = Object { id, ..after.as_ref().clone() };
        let primary_key = table.kind.primary_key().to_vec();
        let key = (!primary_key.is_empty()).then_some(primary_key);
        let runtime = match feed {
            Feed::Connector(stream)
                if key.is_none() && matches!(table.kind, ObjectKind::Source { .. }) =>
            {
                Runtime::Source(stream)
            }
            feed => Runtime::Table { key, feed },
        };
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

    /// The table's indexes under new numbers, with those they had.
    fn moved_indexes(
        &self,
        altered: &mut Altered<'_>,
        table: ObjectId,
        of_table: &Object,
        rows: &RecordBatch,
        renumbered: &mut BTreeMap<ObjectId, ObjectId>,
    ) -> Result<Vec<(ObjectId, Create)>> {
        let catalog = &self.server.catalog;
        let mut indexes = vec![];
        let of: Vec<ObjectId> = renumbered.keys().copied().collect();
        for id in of {
            for index in altered.take_dependents(id)? {
                let columns = &of_table.columns;
                let Some((old, index)) = altered.index_moved(index, table, columns)? else {
                    continue;
                };
                // Before its own number: nothing depends on what comes after it.
                let spare_ids = vec![catalog.allocate().0];
                let (number, _) = catalog.allocate();
                let index = Object { id: number, ..index };
                let ObjectKind::Index { key, unique, .. } = &index.kind else { continue };
                let (key, unique) = (key.clone(), *unique);
                if let Some(unique) = unique {
                    check_distinct(of_table, rows, &index.name, &key, unique)?;
                }
                let runtime = Runtime::Index { object: table, key, unique };
                renumbered.insert(old, number);
                indexes.push((old, created(&index, runtime, spare_ids)));
                altered.objects.insert(old, index);
            }
        }
        Ok(indexes)
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
        let ObjectKind::Index { on, key, .. } = &mut index.kind else { return Ok(None) };
        *on = table;
        for at in key.iter_mut() {
            let found = self.values.iter().position(|value| value.from() == Some(*at));
            *at = found.ok_or_else(|| Error::internal("an index of a column that is gone"))?;
        }
        index.columns = Arc::new(columns.project(key).map_err(from_arrow)?);
        Ok(Some((index.id, index)))
    }
}

/// The columns that an index is by.
fn key_of(index: &Create) -> Vec<usize> {
    match &index.runtime {
        Runtime::Index { key, .. } => key.clone(),
        _ => vec![],
    }
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

/// The numbers of a new column's rows, where it numbers them.
fn numbered(
    altered: &Altered<'_>,
    table: &Object,
    column: usize,
    rows: usize,
) -> Result<Option<(usize, ArrayRef)>> {
    for sequence in altered.sequences_owned_by(table.oid) {
        let ObjectKind::Sequence { counting, counter, owner: Some(owner) } = &sequence.kind else {
            continue;
        };
        if owner.column != column {
            continue;
        }
        let numbers = counter.take(&sequence.name, counting, rows)?;
        return numbers_as(numbers, table, column).map(Some);
    }
    Ok(None)
}

fn numbers_as(numbers: Vec<i64>, table: &Object, column: usize) -> Result<(usize, ArrayRef)> {
    let numbers: ArrayRef = Arc::new(Int64Array::from(numbers));
    let target = table.columns.field(column).data_type();
    let numbers = arrow_cast::cast(&numbers, target).map_err(from_arrow)?;
    Ok((column, numbers))
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
