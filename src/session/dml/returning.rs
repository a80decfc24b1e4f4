//! RETURNING: a select list over the rows that a statement is about to write, computed before it writes them.
//!
//! A list that fails therefore fails the statement as a whole. Aggregates, windows and functions that give several rows are
//! refused, as in PostgreSQL: the result has one row a row written, in the order in which the rows were given.

use arrow_array::RecordBatch;
use arrow_schema::FieldRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::LogicalPlan;
use datafusion::scalar::ScalarValue;
use futures::stream::{self, StreamExt};
use sqlparser::ast::SelectItem;
use tokio_util::sync::CancellationToken;

use super::super::select::{Planned, check_types, named, result_fields};
use super::super::{Outcome, Prepared, Session};
use super::Types;
use crate::error::{Error, Result, SqlState};
use crate::memory::{self, Reservation};
use crate::query::at_hand::AtHand;
use crate::query::errors::from_datafusion;

/// What a client gets, and its place on the memory account.
pub(super) struct Returned {
    columns: Vec<FieldRef>,
    batches: Vec<RecordBatch>,
    held: Reservation,
}

impl Returned {
    pub fn outcome(self, tag: &'static str) -> Outcome {
        let Returned { columns, batches, held } = self;
        // The rows are on the account until the last is taken.
        let batches = stream::iter(batches).map(move |batch| {
            let _ = &held;
            Ok(batch)
        });
        Outcome::Rows { columns, batches: batches.boxed(), tag, binary: false }
    }
}

impl Session {
    /// Plans a RETURNING list over relations whose rows are not there yet.
    pub(super) fn plan_returning(
        &self,
        items: &[SelectItem],
        at_hand: &AtHand,
        types: &Types,
    ) -> Result<Planned> {
        let query = at_hand.query(items.to_vec(), None)?;
        let planned = self.plan_over(&query, types, at_hand.clone())?;
        check_form(&planned.plan)?;
        Ok(planned)
    }

    /// What the client is told of the result before the statement runs.
    pub(super) fn returning_columns(&self, planned: Planned) -> Result<Vec<FieldRef>> {
        Ok(result_fields(&self.engine.analyze(planned.plan)?, &planned.names))
    }

    /// Computes a RETURNING list, if there is one, over rows that have the columns of all relations side by side.
    pub(super) async fn returned(
        &self,
        items: Option<&[SelectItem]>,
        at_hand: &AtHand,
        rows: &[RecordBatch],
        prepared: &Prepared,
        params: &[ScalarValue],
        cancel: &CancellationToken,
    ) -> Result<Option<Returned>> {
        let Some(items) = items else { return Ok(None) };
        let types: Vec<Option<FieldRef>> = prepared.params.iter().cloned().map(Some).collect();
        let mut planned = self.plan_returning(items, at_hand, &types)?;
        planned.plan = at_hand.fill(planned.plan, rows)?;
        let names = planned.names.clone();
        let analyzed = self.engine.analyze(planned.plan.clone())?;
        let columns = result_fields(&analyzed, &names);
        check_types(prepared, &columns)?;
        let (batches, held) =
            self.collect(planned, params.to_vec(), memory::Purpose::Relief, cancel).await?;
        let columns = match batches.first() {
            Some(batch) => named(batch.schema().fields(), &names),
            None => columns,
        };
        Ok(Some(Returned { columns, batches, held }))
    }
}

fn check_form(plan: &LogicalPlan) -> Result<()> {
    let mut refused = None;
    plan.apply(|node| {
        refused = match node {
            LogicalPlan::Aggregate(_) => Some(Error::new(
                SqlState::GROUPING_ERROR,
                "aggregate functions are not allowed in RETURNING",
            )),
            LogicalPlan::Window(_) => {
                Some(Error::new(SqlState("42P20"), "window functions are not allowed in RETURNING"))
            }
            LogicalPlan::Unnest(_) => {
                let message = "set-returning functions are not allowed in RETURNING";
                Some(Error::unsupported(message))
            }
            _ => None,
        };
        Ok(if refused.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })
    .map_err(from_datafusion)?;
    refused.map_or(Ok(()), Err)
}
