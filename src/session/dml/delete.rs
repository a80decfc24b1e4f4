//! DELETE and TRUNCATE.

use arrow_schema::FieldRef;
use datafusion::scalar::ScalarValue;
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::copy::written_name;
use super::update::{Search, returning_reads};
use super::{Change, Types};
use crate::catalog::ObjectKind;
use crate::coordinator::Write;
use crate::coordinator::locks::Access;
use crate::error::{Error, Result, SqlState};
use crate::memory;
use crate::session::select::columns_of;
use crate::session::{Outcome, Prepared, Session, command};
use crate::sql;

impl Session {
    pub(in crate::session) async fn delete(
        &mut self,
        delete: &ast::Delete,
        prepared: &Prepared,
        params: Vec<ScalarValue>,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        let search = self.delete_search(delete)?;
        let returning = delete.returning.as_deref();
        let reads = returning_reads(returning)?;
        let reads: Vec<&ast::Query> =
            [Some(&search.query), reads.as_ref()].into_iter().flatten().collect();
        let guards = self.lock(&search.target.table, &reads, Access::Alone, cancel).await?;
        let found = self.find(&search, prepared, &params, cancel).await?;
        let result = std::slice::from_ref(&found.result);
        let returned =
            self.returned(returning, &found.at_hand, result, prepared, &params, cancel).await?;
        let write = Write { deletes: vec![found.old], ..Write::default() };
        self.apply("DELETE", &search.target.table, Change { write, returned }, guards).await
    }

    fn delete_search(&self, delete: &ast::Delete) -> Result<Search> {
        let from = match &delete.from {
            ast::FromTable::WithFromKeyword(tables) | ast::FromTable::WithoutKeyword(tables) => {
                tables
            }
        };
        let [from] = from.as_slice() else {
            return Err(Error::syntax("DELETE names one table"));
        };
        let target = self.target(from)?;
        let using = delete.using.clone().unwrap_or_default();
        self.search(target, from, using, delete.selection.clone(), vec![])
    }

    pub(in crate::session) async fn truncate(
        &mut self,
        truncate: &sql::Truncate,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        if truncate.restart_identity && self.is_in_block() {
            let message =
                "RESTART IDENTITY takes effect at once and is not undone by ROLLBACK".to_owned();
            self.notices.push(Error::new(SqlState::WARNING, message));
        }
        for name in &truncate.names {
            let table = self.changeable(&written_name(name))?;
            let query = *sql::parse_query(&format!("SELECT * FROM {name}"))?;
            let guards = self.lock(&table, &[&query], Access::Alone, cancel).await?;
            let planned = self.plan_batch(&query, &[])?;
            let (batches, _held) =
                self.collect(planned, vec![], memory::Purpose::Relief, cancel).await?;
            let old = columns_of(&batches, 0, &table.columns)?;
            let write = Write { deletes: vec![old], ..Write::default() };
            self.write(&table, write, guards).await?;
            if truncate.restart_identity {
                let snapshot = self.server.catalog.snapshot();
                for sequence in snapshot.sequences_owned_by(table.oid) {
                    if let ObjectKind::Sequence { counting, counter, .. } = &sequence.kind {
                        counter.set(counting.start, false);
                    }
                }
            }
        }
        command("TRUNCATE TABLE")
    }

    pub(in crate::session) fn explain_delete(&self, delete: &ast::Delete) -> Result<String> {
        let search = self.delete_search(delete)?;
        let planned = self.plan_search(&search, &[])?.planned;
        self.explain_change("Delete", &search.target.table, planned)
    }

    pub(in crate::session) fn describe_delete(
        &self,
        delete: &ast::Delete,
        given: &Types,
    ) -> Result<(Vec<FieldRef>, Option<Vec<FieldRef>>)> {
        let search = self.delete_search(delete)?;
        self.describe_search(&search, delete.returning.as_deref(), given)
    }
}
