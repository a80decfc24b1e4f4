//! CREATE INDEX: an arrangement that a user asks for by name.

use std::sync::Arc;

use arrow_schema::Schema;
use tokio_util::sync::CancellationToken;

use super::ddl::{Definition, create_sql, key_columns};
use super::{Outcome, Session, command};
use crate::catalog::{CatalogChange, Object, ObjectId, ObjectKind};
use crate::coordinator::Runtime;
use crate::epoch::Epoch;
use crate::error::{Error, Result, SqlState};
use crate::query::errors::canceled;
use crate::sql::{CreateIndex, ObjectName, Statement};

impl Session {
    pub(super) async fn create_index(
        &mut self,
        index: &CreateIndex,
        statement: &Statement,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        const TAG: &str = "CREATE INDEX";
        self.outside_of_block(TAG)?;
        let snapshot = self.server.catalog.snapshot();
        let table = snapshot.resolve(&self.settings.search_path(), &index.table)?;
        check_kept(&table)?;
        let key = key_of(&table, &index.columns)?;
        // An index is in the schema of its table, whatever the search path says.
        let name = match &index.name {
            Some(name) => ObjectName { schema: Some(table.schema.clone()), ..name.clone() },
            None => free_name(&table, &index.columns, |name| {
                snapshot.check_creatable(&table.schema, name).is_ok()
            }),
        };
        if self.exists_already(&name, index.if_not_exists)? {
            return command(TAG);
        }
        let columns = table.columns.project(&key).map_err(|e| Error::internal(e.to_string()))?;
        let object = table.id;
        let named = CreateIndex { name: Some(name.clone()), ..index.clone() };
        let create_sql = match &index.name {
            Some(_) => create_sql(statement, &[]),
            None => create_sql(&Statement::CreateIndex(Box::new(named)), &[]),
        };
        let definition = Definition {
            name,
            columns: Arc::new(columns),
            kind: ObjectKind::Index { on: object, key: key.clone() },
            depends_on: vec![object],
            create_sql,
            runtime: Runtime::Index { object, key: key.clone() },
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
        self.still_there(id)?;
        command(TAG)
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

fn key_of(table: &Object, columns: &[String]) -> Result<Vec<usize>> {
    for (i, column) in columns.iter().enumerate() {
        if columns[..i].contains(column) {
            let message = format!("column \"{column}\" appears twice in the index");
            return Err(Error::new(SqlState::DUPLICATE_COLUMN, message));
        }
    }
    let schema: &Schema = &table.columns;
    key_columns(schema, columns)
        .map_err(|error| Error { message: error.message.replace(" named in key", ""), ..error })
}

/// `t_a_b_idx`, with a number where that is taken.
fn free_name(table: &Object, columns: &[String], is_free: impl Fn(&str) -> bool) -> ObjectName {
    let base = format!("{}_{}_idx", table.name, columns.join("_"));
    let numbered = (1..).map(|n| format!("{base}{n}"));
    let name = std::iter::once(base.clone()).chain(numbered).find(|name| is_free(name));
    ObjectName::qualified(&table.schema, name.unwrap_or(base))
}
