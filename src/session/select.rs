//! Queries: planned, pinned to one epoch, run in DataFusion on the query threads.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Field, FieldRef, Fields, Schema};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::scalar::ScalarValue;
use futures::stream::{self, BoxStream, StreamExt};
use sqlparser::ast;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::resolver::{Names, Purpose};
use super::{Outcome, Prepared, Session};
use crate::arrangement::live::LiveTable;
use crate::change::batch_of;
use crate::error::{Error, Result};
use crate::memory::{self, Holder, Reservation};
use crate::query::at_hand::AtHand;
use crate::query::errors::{canceled, from_arrow, from_datafusion};
use crate::query::execute::RowStream;
use crate::query::live_scan::ReadAt;
use crate::query::output::{canonicalise, output_fields};
use crate::query::params::{bind_params, has_untyped, prepare_params_of, with_dropped};
use crate::sql;
use crate::types::pg_type_of;

/// Batches of a result that wait for the client: one being sent, one ready.
const RESULT_BATCHES: usize = 2;

/// Statements from this length on may take longer to plan than other connections should wait.
const LONG_STATEMENT_BYTES: usize = 4 * 1024;

/// A planned query with what it reads.
pub struct Planned {
    pub plan: LogicalPlan,
    pub names: Vec<String>,
    pub scanned: Vec<Arc<LiveTable>>,
    pub read_at: ReadAt,
}

impl Session {
    /// The query with the names PostgreSQL gives and the forms that DataFusion understands.
    pub(super) fn prepared_query(&self, query: &ast::Query) -> (ast::Query, Vec<sql::OutputName>) {
        let mut query = query.clone();
        let names = sql::output_names(&query);
        crate::catalog::system::rewrite_for_catalog(&mut query);
        sql::name_derived_columns(&mut query);
        (query, names)
    }

    /// Plans a query for one run. `params` are the known types of `$1`, `$2` ...
    pub(super) fn plan_batch(
        &self,
        query: &ast::Query,
        params: &[Option<FieldRef>],
    ) -> Result<Planned> {
        self.plan_over(query, params, AtHand::default())
    }

    /// As [`Self::plan_batch`], for a query that also reads rows the statement has at hand, to be filled in later.
    pub(super) fn plan_over(
        &self,
        query: &ast::Query,
        params: &[Option<FieldRef>],
        at_hand: AtHand,
    ) -> Result<Planned> {
        let (mut query, names) = self.prepared_query(query);
        crate::catalog::system::type_arguments(&mut query, params);
        let mut resolver = Names::new(self, Purpose::Batch);
        resolver.at_hand = at_hand;
        resolver.own = self.own_rows();
        let plan = self.engine.plan(&query, &resolver, params)?;
        let planned: Vec<String> = output_fields(&plan).iter().map(|f| f.name().clone()).collect();
        let names = sql::expand_names(&names, &planned);
        let (scanned, read_at) = (resolver.scanned.take(), resolver.read_at.clone());
        Ok(Planned { plan, names, scanned, read_at })
    }

    pub(super) fn describe_query(
        &self,
        query: &ast::Query,
        given: &[Option<FieldRef>],
    ) -> Result<(Vec<FieldRef>, Option<Vec<FieldRef>>)> {
        let planned = self.plan_batch(query, given)?;
        let given = &with_dropped(query, &planned.plan, given)?;
        let params = self.typed_params(&[&planned.plan], given)?;
        // Columns whose type follows a parameter's are known only once that is.
        let known: Vec<Option<FieldRef>> = params.iter().cloned().map(Some).collect();
        let planned = if params.is_empty() { planned } else { self.plan_batch(query, &known)? };
        let analyzed = self.engine.analyze(planned.plan)?;
        Ok((params, Some(result_fields(&analyzed, &planned.names))))
    }

    /// The parameters' types. What no operator, function or assignment has told may follow from what the expressions
    /// around them are coerced to.
    pub(super) fn typed_params(
        &self,
        plans: &[&LogicalPlan],
        given: &[Option<FieldRef>],
    ) -> Result<Vec<FieldRef>> {
        if !has_untyped(plans, given)? {
            return prepare_params_of(plans, given);
        }
        // A plan that cannot be analyzed is refused when it is made with its parameters' types.
        let analyzed = plans.iter().map(|plan| self.engine.analyze((*plan).clone()));
        let analyzed: Vec<LogicalPlan> = analyzed.filter_map(Result::ok).collect();
        prepare_params_of(&plans.iter().copied().chain(&analyzed).collect::<Vec<_>>(), given)
    }

    pub(super) async fn select(
        &mut self,
        query: &ast::Query,
        prepared: &Prepared,
        params: Vec<ScalarValue>,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        if let Some(found) = self.look_up(query, prepared, &params, cancel).await? {
            return Ok(found);
        }
        let types: Vec<Option<FieldRef>> = prepared.params.iter().cloned().map(Some).collect();
        let planned = at_leisure(prepared.parsed.sql.len(), || self.plan_batch(query, &types))?;
        let names = planned.names.clone();
        let rows = self.run(planned, params, cancel).await?;
        let columns = named(rows.schema.fields(), &names);
        check_types(prepared, &columns)?;
        Ok(Outcome::Rows { columns, batches: rows.batches, tag: "SELECT", binary: false })
    }

    /// Binds, optimizes, pins and starts a planned query.
    pub(super) async fn run(
        &self,
        planned: Planned,
        params: Vec<ScalarValue>,
        cancel: &CancellationToken,
    ) -> Result<RowStream> {
        let plan =
            if params.is_empty() { planned.plan } else { bind_params(planned.plan, params)? };
        let plan = self.engine.optimize_batch(canonicalise(plan)?)?;
        let pin = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(canceled()),
            pin = self.pin(&planned.scanned) => pin?,
        };
        planned.read_at.set(pin);
        let rows = self.engine.execute_batch(&plan, cancel.clone()).await?;
        Ok(RowStream { schema: rows.schema, batches: self.on_query_threads(rows.batches) })
    }

    /// Runs a statement's query to its end. What is gathered is on the memory account while the reservation lives: rows to
    /// write are refused with 53200 where the account has no room for them, rows to delete never are.
    pub(super) async fn collect(
        &self,
        planned: Planned,
        params: Vec<ScalarValue>,
        purpose: memory::Purpose,
        cancel: &CancellationToken,
    ) -> Result<(Vec<RecordBatch>, Reservation)> {
        let held = self.server.coordinator.shared.memory.reserve(Holder::Query, "the statement");
        let mut rows = self.run(planned, params, cancel).await?;
        let mut batches = vec![];
        while let Some(batch) = rows.batches.next().await {
            let batch = batch?;
            let bytes = batch.get_array_memory_size() as u64;
            match purpose {
                memory::Purpose::Write => held.try_grow(purpose, bytes)?,
                memory::Purpose::Relief => held.grow(bytes),
            }
            batches.push(batch);
        }
        Ok((batches, held))
    }

    /// Moves the work of a stream to the query threads.
    pub(super) fn on_query_threads(
        &self,
        mut batches: BoxStream<'static, Result<RecordBatch>>,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let (sender, receiver) = mpsc::channel(RESULT_BATCHES);
        self.server.queries().spawn(async move {
            while let Some(batch) = batches.next().await {
                // Nobody is left to send to: the portal was closed or the client has gone.
                if sender.send(batch).await.is_err() {
                    break;
                }
            }
        });
        stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|batch| (batch, receiver))
        })
        .boxed()
    }
}

/// A client that was told one set of columns must not get another, because a table was dropped and made anew.
pub(super) fn check_types(prepared: &Prepared, columns: &[FieldRef]) -> Result<()> {
    let Some(told) = &prepared.columns else { return Ok(()) };
    let same = |(a, b): (&FieldRef, &FieldRef)| pg_type_of(a).oid == pg_type_of(b).oid;
    if told.len() == columns.len() && told.iter().zip(columns).all(same) {
        return Ok(());
    }
    Err(Error::unsupported("cached plan must not change result type"))
}

/// Runs planning work for a statement of so many bytes. Only long statements take long; they are worked on where other
/// connections do not wait for the thread.
pub(super) fn at_leisure<T>(statement_bytes: usize, work: impl FnOnce() -> T) -> T {
    let spare_threads =
        || Handle::try_current().is_ok_and(|h| h.runtime_flavor() == RuntimeFlavor::MultiThread);
    if statement_bytes >= LONG_STATEMENT_BYTES && spare_threads() {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}

/// The fields under the names a client sees.
pub fn named(fields: &Fields, names: &[String]) -> Vec<FieldRef> {
    let rename =
        |(field, name): (&FieldRef, &String)| Arc::new(field.as_ref().clone().with_name(name));
    fields.iter().zip(names).map(rename).collect()
}

pub(super) fn result_fields(plan: &LogicalPlan, names: &[String]) -> Vec<FieldRef> {
    let fields: Fields = output_fields(plan).into();
    named(&fields, names)
}

/// The plan with its columns cast to and called as `fields`: a view's declared columns.
pub fn renamed(plan: LogicalPlan, fields: &Fields) -> Result<LogicalPlan> {
    let plan = canonicalise(plan)?;
    let columns: Vec<Expr> = plan
        .schema()
        .columns()
        .into_iter()
        .zip(fields)
        .map(|(column, field)| Expr::Column(column).alias(field.name()))
        .collect();
    LogicalPlanBuilder::from(plan)
        .project(columns)
        .and_then(LogicalPlanBuilder::build)
        .map_err(from_datafusion)
}

/// Some columns of batches under another schema, as one batch.
pub fn columns_of(
    batches: &[RecordBatch],
    from: usize,
    schema: &Arc<Schema>,
) -> Result<RecordBatch> {
    let width = schema.fields().len();
    let cut = |batch: &RecordBatch| {
        let columns = batch.columns()[from..from + width].to_vec();
        batch_of(nullable(schema), columns, batch.num_rows()).map_err(from_arrow)
    };
    let parts = batches.iter().map(cut).collect::<Result<Vec<_>>>()?;
    let whole =
        arrow_select::concat::concat_batches(&nullable(schema), &parts).map_err(from_arrow)?;
    Ok(whole)
}

/// Rows on their way to a table may still hold NULLs where it has none: the sequencer says so with PostgreSQL's words.
pub fn nullable(schema: &Arc<Schema>) -> Arc<Schema> {
    let fields: Vec<Field> =
        schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
    Arc::new(Schema::new(fields))
}
