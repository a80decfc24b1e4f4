//! Temporary tables and sequences: those in a schema of the session's own, which is searched first and goes with the session.

use super::Session;
use crate::catalog::{self, CatalogChange};
use crate::error::Result;
use crate::sql::{CreateTable, ObjectName, TEMPORARY_SCHEMA};

impl Session {
    /// The session's own schema, which is made where there is none yet.
    pub(super) async fn own_schema(&mut self) -> Result<String> {
        if let Some(schema) = self.settings.temporary_schema() {
            return Ok(schema.to_owned());
        }
        let pid = self.backend.as_ref().map_or(0, |backend| backend.pid);
        let schema = format!("{TEMPORARY_SCHEMA}_{pid}");
        let (id, _) = self.server.catalog.allocate();
        let owner = catalog::OWNER.to_owned();
        let change = CatalogChange::CreateSchema { id, name: schema.clone(), owner };
        self.server.coordinator.define(change).await?;
        self.settings.set_temporary_schema(schema.clone());
        Ok(schema)
    }

    /// The table as one of the session's own schema.
    pub(super) async fn in_own_schema(&mut self, table: &CreateTable) -> Result<CreateTable> {
        let schema = self.own_schema().await?;
        Ok(CreateTable { name: ObjectName::qualified(schema, &table.name.name), ..table.clone() })
    }

    /// Ends the session: what is temporary goes, with whatever reads it.
    pub async fn end(&mut self) {
        let Some(schema) = self.settings.temporary_schema().map(str::to_owned) else { return };
        if let Err(error) = self.drop_temporary(&schema).await {
            tracing::warn!(schema, %error, "temporary tables could not be dropped");
        }
    }

    async fn drop_temporary(&mut self, schema: &str) -> Result<()> {
        let plan = self.server.catalog.snapshot().plan_drop_schema(schema, true)?;
        self.apply_drop(plan).await?;
        let change = CatalogChange::DropSchema { name: schema.to_owned() };
        self.server.coordinator.define(change).await?;
        Ok(())
    }
}
