//! A SELECT over a source: everything from its start up to where it ends when the query begins.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::datasource::TableType;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use tidewater_connectors::contract::{ConnectorError, ErrorKind, Source, SplitRange, SplitStart};

/// How long a lookup of the stream's end may take.
const BOUNDS_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_WAIT: Duration = Duration::from_millis(50);
const BATCH_ROWS: usize = 8_192;

/// A source as a bounded table.
pub struct BoundedScan {
    source: Arc<dyn Source>,
    starts: Vec<SplitStart>,
    schema: SchemaRef,
}

impl BoundedScan {
    pub fn new(source: Arc<dyn Source>, starts: Vec<SplitStart>, schema: SchemaRef) -> BoundedScan {
        BoundedScan { source, starts, schema }
    }
}

impl fmt::Debug for BoundedScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedScan").field("splits", &self.starts.len()).finish_non_exhaustive()
    }
}

fn failed(error: ConnectorError) -> DataFusionError {
    DataFusionError::Execution(format!("could not read the source: {}", error.message))
}

#[async_trait]
impl TableProvider for BoundedScan {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let columns =
            projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let schema = Arc::new(self.schema.project(&columns)?);
        let (source, starts) = (self.source.clone(), self.starts.clone());
        let part = SourcePart { source, starts, columns, schema: schema.clone() };
        Ok(Arc::new(StreamingTableExec::try_new(
            schema,
            vec![Arc::new(part)],
            None,
            vec![],
            false,
            limit,
        )?))
    }
}

/// All splits, read by one blocking task.
struct SourcePart {
    source: Arc<dyn Source>,
    starts: Vec<SplitStart>,
    columns: Vec<usize>,
    schema: SchemaRef,
}

impl fmt::Debug for SourcePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourcePart").field("columns", &self.columns).finish_non_exhaustive()
    }
}

impl PartitionStream for SourcePart {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStreamBuilder::new(self.schema.clone(), 2);
        let sender = stream.tx();
        let (source, starts, columns) =
            (self.source.clone(), self.starts.clone(), self.columns.clone());
        stream.spawn_blocking(move || {
            read(source.as_ref(), &starts, &columns, |batch| {
                sender.blocking_send(Ok(batch)).is_ok()
            })
        });
        stream.build()
    }
}

/// Reads every split to its end as of now; stops early when nobody takes the rows any more.
fn read(
    source: &dyn Source,
    starts: &[SplitStart],
    columns: &[usize],
    mut give: impl FnMut(RecordBatch) -> bool,
) -> DfResult<()> {
    let mut ranges = vec![];
    for SplitStart { split, start } in starts {
        let until = source.bounds(split, BOUNDS_TIMEOUT).map_err(failed)?.latest;
        if until > *start {
            ranges.push(SplitRange { split: split.clone(), from: *start, until: Some(until) });
        }
    }
    let mut open = ranges.clone();
    if open.is_empty() {
        return Ok(());
    }
    let mut reader = source.reader(ranges, columns).map_err(failed)?;
    while !open.is_empty() {
        let batch = match reader.poll(POLL_WAIT, BATCH_ROWS) {
            Ok(Some(batch)) => batch,
            Ok(None) => continue,
            Err(error) if error.kind == ErrorKind::Retry => continue,
            Err(error) => return Err(failed(error)),
        };
        open.retain(|range| {
            let done = batch.finished || range.until.is_some_and(|until| batch.end >= until);
            range.split != batch.split || !done
        });
        if batch.rows.num_rows() > 0 && !give(batch.rows.project(columns)?) {
            return Ok(());
        }
    }
    Ok(())
}
