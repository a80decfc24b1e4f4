//! Plans run: a SELECT's optimized plan becomes a stream of batches that ends early when it is cancelled.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::streaming::StreamingTableExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::FutureExt;
use futures::stream::{self, BoxStream, StreamExt};
use tokio_util::sync::CancellationToken;

use super::engine::Engine;
use super::errors::{canceled, from_datafusion};
use super::interrupt::interruptible;
use super::panics::{contained, panicked};
use super::top_k::with_whole_keys;
use crate::error::Result;

/// The rows of a SELECT, as they come. After an error, or 57014 when cancelled, it ends.
pub struct RowStream {
    pub schema: SchemaRef,
    pub batches: BoxStream<'static, Result<RecordBatch>>,
}

impl Engine {
    /// The physical plan of an optimized plan.
    pub async fn physical_plan(&self, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
        let mut state = self.state().as_ref().clone();
        // Functions see the session's options, its time zone above all, only through what this call records.
        state.mark_start_execution();
        let plan = state.query_planner().create_physical_plan(plan, &state).await;
        plan.and_then(with_whole_keys).map_err(from_datafusion)
    }

    /// Runs a plan that [`Engine::optimize_batch`] gave. Cancelling `cancel` stops planning and execution.
    pub async fn execute_batch(
        &self,
        plan: &LogicalPlan,
        cancel: CancellationToken,
    ) -> Result<RowStream> {
        let physical = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(canceled()),
            physical = AssertUnwindSafe(self.physical_plan(plan)).catch_unwind() => {
                physical.unwrap_or_else(|panic| Err(panicked(panic.as_ref())))?
            }
        };
        self.run(physical, cancel)
    }

    /// Runs a physical plan, all partitions merged into one stream.
    pub fn run(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        cancel: CancellationToken,
    ) -> Result<RowStream> {
        let plan = interruptible(plan, &cancel).map_err(from_datafusion)?;
        self.start(plan, cancel)
    }

    /// Starts a plan that counts the rows of all its operators; with it as it runs, which has them once the stream has ended.
    pub fn run_counted(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        cancel: CancellationToken,
    ) -> Result<(Arc<dyn ExecutionPlan>, RowStream)> {
        let plan = interruptible(plan, &cancel).and_then(counted).map_err(from_datafusion)?;
        Ok((plan.clone(), self.start(plan, cancel)?))
    }

    fn start(&self, plan: Arc<dyn ExecutionPlan>, cancel: CancellationToken) -> Result<RowStream> {
        let schema = plan.schema();
        let context = Arc::new(TaskContext::from(self.state().as_ref()));
        let stream = contained(|| execute_stream(plan, context).map_err(from_datafusion))?;
        Ok(RowStream { schema, batches: cancellable(stream, cancel) })
    }

    /// Runs a plan to its end and gives all its batches.
    pub async fn collect(
        &self,
        plan: &LogicalPlan,
        cancel: CancellationToken,
    ) -> Result<Vec<RecordBatch>> {
        let mut rows = self.execute_batch(plan, cancel).await?;
        let mut batches = vec![];
        while let Some(batch) = rows.batches.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }
}

/// Reading a table counts its rows only where it has a limit: here one that it never comes to.
fn counted(plan: Arc<dyn ExecutionPlan>) -> DfResult<Arc<dyn ExecutionPlan>> {
    let plan = plan.transform_up(|node| {
        let scan = node.downcast_ref::<StreamingTableExec>().filter(|s| s.limit().is_none());
        let limited = scan.and_then(|_| node.with_fetch(Some(usize::MAX)));
        Ok(limited.map_or(Transformed::no(node), Transformed::yes))
    });
    plan.map(|plan| plan.data)
}

fn cancellable(
    stream: SendableRecordBatchStream,
    cancel: CancellationToken,
) -> BoxStream<'static, Result<RecordBatch>> {
    let running = Some((stream, cancel));
    stream::unfold(running, |running| async move {
        let (mut stream, cancel) = running?;
        let next = tokio::select! {
            biased;
            () = cancel.cancelled() => return Some((Err(canceled()), None)),
            next = AssertUnwindSafe(stream.next()).catch_unwind() => next,
        };
        let next = match next {
            Ok(next) => next?,
            // What panicked is not asked again.
            Err(panic) => return Some((Err(panicked(panic.as_ref())), None)),
        };
        match next {
            Ok(batch) => Some((Ok(batch), Some((stream, cancel)))),
            Err(error) => Some((Err(from_datafusion(error)), None)),
        }
    })
    .boxed()
}
