//! The rows of a common query while a SELECT runs: gathered when the first of its readers asks, kept for the others.
//!
//! Whoever waits for the rows drives their evaluation, so that a reader that is left alone holds up nobody. They are on the
//! memory account until the last reader is done.

use std::fmt;
use std::sync::{Arc, Weak};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result as DfResult, internal_datafusion_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::session_state::SessionState;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, execute_stream,
};
use futures::future::{BoxFuture, FutureExt, Shared};
use futures::stream::{self, StreamExt, TryStreamExt};
use parking_lot::Mutex;

use super::Common;

type Gathering = Shared<BoxFuture<'static, Result<Arc<Gathered>, Arc<DataFusionError>>>>;

/// The rows of each evaluation. A plan may be run more than once; the readers of one run have its context in common.
pub(super) struct Rows {
    name: String,
    runs: Mutex<Vec<(Weak<TaskContext>, Gathering)>>,
}

struct Gathered {
    batches: Vec<RecordBatch>,
    _memory: MemoryReservation,
}

impl Rows {
    pub fn new(name: &str) -> Arc<Rows> {
        Arc::new(Rows { name: name.to_owned(), runs: Mutex::default() })
    }

    /// All rows of `plan`, of whichever reader asks first: the readers' plans are the same.
    fn gathered(&self, plan: &Arc<dyn ExecutionPlan>, context: &Arc<TaskContext>) -> Gathering {
        let mut runs = self.runs.lock();
        runs.retain(|(run, _)| run.strong_count() > 0);
        let run = Arc::downgrade(context);
        if let Some((_, gathering)) = runs.iter().find(|(other, _)| other.ptr_eq(&run)) {
            return gathering.clone();
        }
        let (plan, context) = (Arc::clone(plan), Arc::clone(context));
        let consumer = MemoryConsumer::new(format!("WITH {}", self.name));
        let rows = gather(plan, context, consumer).map(|rows| rows.map_err(Arc::new));
        let gathering = rows.boxed().shared();
        runs.push((run, gathering.clone()));
        gathering
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rows of {}", self.name)
    }
}

async fn gather(
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    consumer: MemoryConsumer,
) -> DfResult<Arc<Gathered>> {
    let memory = consumer.register(context.memory_pool());
    let mut rows = execute_stream(plan, context)?;
    let mut batches = vec![];
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        memory.try_grow(batch.get_array_memory_size())?;
        batches.push(batch);
    }
    Ok(Arc::new(Gathered { batches, _memory: memory }))
}

#[async_trait::async_trait]
impl TableProvider for Common {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let missing = || internal_datafusion_err!("the columns of {} are not chosen", self.name);
        let chosen = self.chosen().ok_or_else(missing)?;
        let columns = self.positions(projection).ok_or_else(missing)?;
        let state = state.as_any().downcast_ref::<SessionState>().ok_or_else(missing)?;
        let input = state.query_planner().create_physical_plan(&chosen.plan, state).await?;
        Ok(Arc::new(CommonExec::new(input, columns, Arc::clone(&self.rows))?))
    }
}

/// Some columns of the rows, in one partition.
#[derive(Debug)]
struct CommonExec {
    input: Arc<dyn ExecutionPlan>,
    columns: Vec<usize>,
    rows: Arc<Rows>,
    properties: Arc<PlanProperties>,
}

impl CommonExec {
    fn new(
        input: Arc<dyn ExecutionPlan>,
        columns: Vec<usize>,
        rows: Arc<Rows>,
    ) -> DfResult<CommonExec> {
        let schema = Arc::new(input.schema().project(&columns)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Ok(CommonExec { input, columns, rows, properties: Arc::new(properties) })
    }
}

impl DisplayAs for CommonExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "CommonExec: {}", self.rows.name)
    }
}

impl ExecutionPlan for CommonExec {
    fn name(&self) -> &str {
        "CommonExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let input = children.swap_remove(0);
        Ok(Arc::new(CommonExec::new(input, self.columns.clone(), Arc::clone(&self.rows))?))
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let input = children.swap_remove(0);
        Ok(Arc::new(CommonExec::new(input, self.columns.clone(), Arc::clone(&self.rows))?))
    }

    fn execute(
        &self,
        _partition: usize,
        context: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        let gathering = self.rows.gathered(&self.input, &context);
        let columns = self.columns.clone();
        let batches = gathering.map(move |gathered| {
            let gathered = gathered.map_err(DataFusionError::Shared)?;
            let batches = 0..gathered.batches.len();
            let batches = batches.map(move |i| Ok(gathered.batches[i].project(&columns)?));
            Ok::<_, DataFusionError>(stream::iter(batches))
        });
        let batches = stream::once(batches).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}
