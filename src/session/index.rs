//! CREATE INDEX: an arrangement that a user asks for by name. UNIQUE, as a constraint or an index, is one by which the
//! sequencer judges writes, as it judges them by the primary key.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::row::{RowConverter, SortField};
use arrow_array::{Array, RecordBatch};
use arrow_schema::Schema;
use tokio_util::sync::CancellationToken;

use super::ddl::{Definition, create_sql, key_columns};
use super::select::columns_of;
use super::{Outcome, Session, command};
use crate::catalog::{self, CatalogChange, CatalogSnapshot, Object, ObjectId, ObjectKind, Unique};
use crate::coordinator::{Runtime, sequencer};
use crate::epoch::Epoch;
use crate::error::{Error, Result, SqlState};
use crate::memory;
use crate::query::errors::{canceled, from_arrow};
use crate::sql::{self, CreateIndex, ObjectName, Statement, UniqueConstraint};
use crate::types::row_values;

impl Session {
    pub(super) async fn create_index(
        &mut self,
        index: &CreateIndex,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        const TAG: &str = "CREATE INDEX";
        self.outside_of_block(TAG)?;
        let snapshot = self.server.catalog.snapshot();
        let table = snapshot.resolve(&self.settings.search_path(), &index.table)?;
        check_kept(&table)?;
        let key = key_of(&table, &index.columns, "the index")?;
        // An index is in the schema of its table, whatever the search path says.
        let name = match &index.name {
            Some(name) => ObjectName { schema: Some(table.schema.clone()), ..name.clone() },
            None => free_name(&table, &index.columns, "idx", |name| {
                snapshot.check_creatable(&table.schema, name).is_ok()
            }),
        };
        if self.exists_already(&name, index.if_not_exists)? {
            return command(TAG);
        }
        let unique = Unique { constraint: false, nulls_distinct: index.nulls_distinct };
        if !index.unique {
            self.begin_index(&table, name, key, None, cancel).await?;
            return command(TAG);
        }
        self.add_unique(&table, name, key, unique, cancel).await?;
        command(TAG)
    }

    /// Makes no two rows of a table have the same key, from now on: 23505 where some have.
    pub(super) async fn add_unique(
        &mut self,
        table: &Arc<Object>,
        name: ObjectName,
        key: Vec<usize>,
        unique: Unique,
        cancel: &CancellationToken,
    ) -> Result<()> {
        self.check_judged(table)?;
        // Nobody writes to the table while it is looked at, and everybody behind is judged by the key.
        let _guards = self.hold_still(table, cancel).await?;
        let now = self.server.catalog.snapshot();
        if now.get(table.id).is_none_or(|now| !Arc::ptr_eq(now, table)) {
            let message = format!("\"{}\" has been altered meanwhile", table.name);
            return Err(Error::new(SqlState::SERIALIZATION_FAILURE, message));
        }
        let shown = ObjectName::qualified(&table.schema, &table.name);
        let query = sql::parse_query(&format!("SELECT * FROM {shown}"))?;
        let planned = self.plan_batch(&query, &[])?;
        let (batches, _held) =
            self.collect(planned, vec![], memory::Purpose::Relief, cancel).await?;
        let rows = columns_of(&batches, 0, &table.columns)?;
        check_distinct(table, &rows, &name.name, &key, unique)?;
        self.begin_index(table, name, key, Some(unique), cancel).await?;
        self.forget_pin();
        Ok(())
    }

    /// Whether every write to a table is judged: 0A000 where rows come otherwise than by statements.
    fn check_judged(&self, table: &Object) -> Result<()> {
        let catalog = self.server.catalog.snapshot();
        let poured = catalog.sinks_into(table.id).next().is_some();
        match &table.kind {
            ObjectKind::Table { connector: None, .. } if !poured => Ok(()),
            _ => {
                let message = format!(
                    "UNIQUE constraints and indexes are not supported for {} \"{}\"",
                    table.kind.words(),
                    table.name
                );
                Err(Error::unsupported(message)
                    .with_detail("Its rows do not come by statements, which could be refused."))
            }
        }
    }

    /// The UNIQUE constraints of a new table, which is held alone: none has a name twice.
    pub(super) async fn begin_uniques(
        &mut self,
        table: &Arc<Object>,
        uniques: &[UniqueConstraint],
        cancel: &CancellationToken,
    ) -> Result<()> {
        for (name, key, unique) in self.new_uniques(table, uniques)? {
            self.begin_index(table, name, key, Some(unique), cancel).await?;
        }
        Ok(())
    }

    /// Names and keys of new UNIQUE constraints. What says no more than another one is left out.
    pub(super) fn new_uniques(
        &self,
        table: &Object,
        uniques: &[UniqueConstraint],
    ) -> Result<Vec<(ObjectName, Vec<usize>, Unique)>> {
        let snapshot = self.server.catalog.snapshot();
        let mut new: Vec<(ObjectName, Vec<usize>, Unique)> = vec![];
        for constraint in uniques {
            let key = key_of(table, &constraint.columns, "unique constraint")?;
            let known = new.iter().any(|(_, other, unique)| {
                *other == key && unique.nulls_distinct == constraint.nulls_distinct
            });
            if known || (key == table.kind.primary_key() && constraint.name.is_none()) {
                continue;
            }
            let is_free = |name: &str| {
                snapshot.check_creatable(&table.schema, name).is_ok()
                    && name != table.primary_key_name()
                    && !new.iter().any(|(other, ..)| other.name == name)
            };
            let name = match &constraint.name {
                Some(name) if !is_free(name) => return Err(catalog::already_exists(name)),
                Some(name) => ObjectName::qualified(&table.schema, name),
                None => free_name(table, &constraint.columns, "key", is_free),
            };
            let nulls_distinct = constraint.nulls_distinct;
            new.push((name, key, Unique { constraint: true, nulls_distinct }));
        }
        Ok(new)
    }

    /// Begins an index, and waits until it has all rows.
    async fn begin_index(
        &mut self,
        table: &Arc<Object>,
        name: ObjectName,
        key: Vec<usize>,
        unique: Option<Unique>,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let columns = table.columns.project(&key).map_err(|e| Error::internal(e.to_string()))?;
        let object = table.id;
        let named = CreateIndex {
            name: Some(name.clone()),
            if_not_exists: false,
            table: ObjectName::qualified(&table.schema, &table.name),
            columns: columns.fields().iter().map(|field| field.name().clone()).collect(),
            unique: unique.is_some(),
            nulls_distinct: unique.is_none_or(|unique| unique.nulls_distinct),
        };
        let definition = Definition {
            name,
            columns: Arc::new(columns),
            kind: ObjectKind::Index { on: object, key: key.clone(), unique },
            depends_on: vec![object],
            create_sql: create_sql(&Statement::CreateIndex(Box::new(named)), &[]),
            runtime: Runtime::Index { object, key: key.clone(), unique },
        };
        let (id, epoch) = self.define(definition).await?;
        let filled = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(canceled()),
            filled = self.index_filled(object, &key, epoch) => filled,
        };
        if let Err(error) = filled {
            let coordinator = &self.server.coordinator;
            let _ = coordinator.drop_objects(CatalogChange::Drop(vec![id]), vec![id]).await;
            return Err(error);
        }
        self.still_there(id)
    }

    /// Waits until the rows are in it; the table's own key needs no index.
    pub(super) async fn index_filled(
        &self,
        object: ObjectId,
        key: &[usize],
        epoch: Epoch,
    ) -> Result<()> {
        let indexes = self.server.coordinator.indexes(object);
        match indexes.into_iter().find(|index| index.live.key == key) {
            Some(index) => index.live.wait_for(epoch).await,
            None => Ok(()),
        }
    }
}

fn check_kept(table: &Object) -> Result<()> {
    match &table.kind {
        ObjectKind::Table { .. } | ObjectKind::MaterializedView { .. } => Ok(()),
        ObjectKind::Source { primary_key, .. } if !primary_key.is_empty() => Ok(()),
        ObjectKind::Source { .. }
        | ObjectKind::View { .. }
        | ObjectKind::Sink { .. }
        | ObjectKind::Index { .. }
        | ObjectKind::Sequence { .. } => {
            let message = format!("cannot create index on relation \"{}\"", table.name);
            let detail = format!("This operation is not supported for {}.", plural(&table.kind));
            Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message)
                .with_detail(detail)
                .with_hint("Create a materialized view of it, and the index on that."))
        }
    }
}

fn plural(kind: &ObjectKind) -> String {
    let words = kind.words();
    if words.ends_with('x') { format!("{words}es") } else { format!("{words}s") }
}

/// The UNIQUE constraints of a table, as CREATE TABLE would declare them.
pub(super) fn uniques_of(catalog: &CatalogSnapshot, table: &Object) -> Vec<UniqueConstraint> {
    let constraint = |index: &Arc<Object>| match &index.kind {
        ObjectKind::Index { unique: Some(unique), .. } if unique.constraint => {
            let columns = index.columns.fields().iter().map(|field| field.name().clone());
            Some(UniqueConstraint {
                name: Some(index.name.clone()),
                columns: columns.collect(),
                nulls_distinct: unique.nulls_distinct,
            })
        }
        _ => None,
    };
    catalog.dependents(table.id).filter_map(constraint).collect()
}

/// 23505 where two of all rows of a table have the same key.
pub(super) fn check_distinct(
    table: &Object,
    rows: &RecordBatch,
    name: &str,
    key: &[usize],
    unique: Unique,
) -> Result<()> {
    let columns = sequencer::key_columns(key, rows);
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone()));
    let converter = RowConverter::new(fields.collect()).map_err(from_arrow)?;
    let keys = converter.convert_columns(&columns).map_err(from_arrow)?;
    let mut seen = HashSet::with_capacity(rows.num_rows());
    for row in 0..rows.num_rows() {
        let has_null = unique.nulls_distinct && columns.iter().any(|column| column.is_null(row));
        if has_null || seen.insert(keys.row(row)) {
            continue;
        }
        let names: Vec<&str> =
            key.iter().map(|&at| table.columns.field(at).name().as_str()).collect();
        let given = rows.project(key).map_err(from_arrow)?;
        let values = row_values(&given, row).join(", ");
        let message = format!("could not create unique index \"{name}\"");
        return Err(Error::new(SqlState::UNIQUE_VIOLATION, message)
            .with_detail(format!("Key ({})=({values}) is duplicated.", names.join(", ")))
            .about_constraint(&table.name, name));
    }
    Ok(())
}

fn key_of(table: &Object, columns: &[String], what: &str) -> Result<Vec<usize>> {
    for (i, column) in columns.iter().enumerate() {
        if columns[..i].contains(column) {
            let message = format!("column \"{column}\" appears twice in {what}");
            return Err(Error::new(SqlState::DUPLICATE_COLUMN, message));
        }
    }
    let schema: &Schema = &table.columns;
    let message = |message: String| match what {
        "the index" => message.replace(" named in key", ""),
        _ => message,
    };
    key_columns(schema, columns)
        .map_err(|error| Error { message: message(error.message.clone()), ..error })
}

/// `t_a_b_idx`, with a number where that is taken.
fn free_name(
    table: &Object,
    columns: &[String],
    label: &str,
    is_free: impl Fn(&str) -> bool,
) -> ObjectName {
    let base = format!("{}_{}_{label}", table.name, columns.join("_"));
    let numbered = (1..).map(|n| format!("{base}{n}"));
    let name = std::iter::once(base.clone()).chain(numbered).find(|name| is_free(name));
    ObjectName::qualified(&table.schema, name.unwrap_or(base))
}
