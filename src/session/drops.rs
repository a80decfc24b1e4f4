//! DROP and COMMENT.

use sqlparser::ast;

use super::{Outcome, Session, command};
use crate::catalog::{self, CatalogChange};
use crate::error::{Error, Result, SqlState};
use crate::sql::{self, ObjectName};

impl Session {
    pub(super) async fn drop_objects(&mut self, drop: &sql::Drop) -> Result<Outcome> {
        let tag = format!("DROP {}", drop.kind.words().to_uppercase());
        self.outside_of_block(&tag)?;
        if drop.kind == sql::DropKind::Schema {
            return self.drop_schemas(drop, tag).await;
        }
        let snapshot = self.server.catalog.snapshot();
        let mut ids = vec![];
        for name in &drop.names {
            match snapshot.resolve_kind(&self.settings.search_path(), name, drop.kind) {
                Ok(object) => ids.push(object.id),
                Err(error) if drop.if_exists && error.code == SqlState::UNDEFINED_TABLE => {
                    let message = format!("{}, skipping", error.message);
                    self.notices.push(Error::new(SqlState::SUCCESSFUL_COMPLETION, message));
                }
                Err(error) => return Err(error),
            }
        }
        if ids.is_empty() {
            return command(tag);
        }
        let plan = snapshot.plan_drop(&ids, drop.cascade)?;
        self.apply_drop(plan).await?;
        command(tag)
    }

    pub(super) async fn apply_drop(&mut self, plan: catalog::DropPlan) -> Result<()> {
        let ids = plan.ids();
        if ids.is_empty() {
            return Ok(());
        }
        self.end_pours(&ids).await?;
        if !plan.defaults.is_empty() {
            let notice = plan.notice.clone();
            self.drop_with_defaults(plan).await?;
            self.notices.extend(notice);
            return Ok(());
        }
        self.server.coordinator.drop_objects(CatalogChange::Drop(ids.clone()), ids.clone()).await?;
        ids.into_iter().for_each(|id| self.server.coordinator.locks.forget(id));
        self.notices.extend(plan.notice);
        Ok(())
    }

    async fn drop_schemas(&mut self, drop: &sql::Drop, tag: String) -> Result<Outcome> {
        for name in &drop.names {
            let snapshot = self.server.catalog.snapshot();
            if drop.if_exists && snapshot.schema(&name.name).is_none() {
                let message = format!("schema \"{}\" does not exist, skipping", name.name);
                self.notices.push(Error::new(SqlState::SUCCESSFUL_COMPLETION, message));
                continue;
            }
            let plan = snapshot.plan_drop_schema(&name.name, drop.cascade)?;
            self.apply_drop(plan).await?;
            self.server
                .coordinator
                .define(CatalogChange::DropSchema { name: name.name.clone() })
                .await?;
        }
        command(tag)
    }

    pub(super) async fn comment(&mut self, statement: &ast::Statement) -> Result<Outcome> {
        let ast::Statement::Comment { object_name, comment, object_type, .. } = statement else {
            return Err(Error::internal("not a COMMENT statement"));
        };
        let snapshot = self.server.catalog.snapshot();
        let path = self.settings.search_path();
        let (object, column) = match object_type {
            ast::CommentObject::Column => {
                let mut table = object_name.clone();
                let column = table.0.pop().filter(|_| !table.0.is_empty());
                let Some(column) = column.as_ref().and_then(|part| part.as_ident()) else {
                    return Err(Error::syntax("column name must be qualified"));
                };
                let column = sql::fold_identifier(column);
                let object = snapshot.resolve(&path, &ObjectName::try_from(&table)?)?;
                let column = object.columns.index_of(&column).map_err(|_| {
                    let message = format!(
                        "column \"{column}\" of relation \"{}\" does not exist",
                        object.name
                    );
                    Error::new(SqlState::UNDEFINED_COLUMN, message)
                })?;
                (object, column + 1)
            }
            _ => (snapshot.resolve(&path, &ObjectName::try_from(object_name)?)?, 0),
        };
        let change = CatalogChange::Comment { id: object.id, column, text: comment.clone() };
        self.server.coordinator.define(change).await?;
        command("COMMENT")
    }
}
