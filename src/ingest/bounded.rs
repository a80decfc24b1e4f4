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
use tokio::sync::mpsc::Sender;

use crate::error::{Error, SqlState};

/// How long a lookup of the stream's end may take.
const BOUNDS_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_WAIT: Duration = Duration::from_millis(50);
const BATCH_ROWS: usize = 8_192;

/// A source as a bounded table.
pub struct BoundedScan {
    source: Arc<dyn Source>,
    starts: Vec<SplitStart>,
    schema: SchemaRef,
    fail_on_error: bool,
}

impl BoundedScan {
    /// `starts`: where reading of the splits begins that were there at first. With `fail_on_error` a message that is no row
    /// fails the query; else it is left out, as it is from views.
    pub fn new(
        source: Arc<dyn Source>,
        starts: Vec<SplitStart>,
        schema: SchemaRef,
        fail_on_error: bool,
    ) -> BoundedScan {
        BoundedScan { source, starts, schema, fail_on_error }
    }
}

impl fmt::Debug for BoundedScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedScan").field("splits", &self.starts.len()).finish_non_exhaustive()
    }
}

fn failed(error: ConnectorError) -> DataFusionError {
    DataFusionError::External(Box::new(Error::from(error)))
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
        let part = SourcePart {
            source: self.source.clone(),
            starts: self.starts.clone(),
            columns: columns.into(),
            schema: schema.clone(),
            fail_on_error: self.fail_on_error,
        };
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
#[derive(Clone)]
struct SourcePart {
    source: Arc<dyn Source>,
    starts: Vec<SplitStart>,
    columns: Arc<[usize]>,
    schema: SchemaRef,
    fail_on_error: bool,
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
        let part = self.clone();
        stream.spawn_blocking(move || part.read(&sender));
        stream.build()
    }
}

impl SourcePart {
    /// What there is to read: every split to its end as of now, those that have appeared since the source was created
    /// included.
    fn ranges(&self) -> Result<Vec<SplitRange>, ConnectorError> {
        let mut starts = self.starts.clone();
        for found in self.source.discover(BOUNDS_TIMEOUT)? {
            if !starts.iter().any(|known| known.split == found.split) {
                starts.push(found);
            }
        }
        let mut ranges = vec![];
        for SplitStart { split, start } in starts {
            let until = self.source.bounds(&split, BOUNDS_TIMEOUT)?.latest;
            if until > start {
                ranges.push(SplitRange { split, from: start, until: Some(until) });
            }
        }
        Ok(ranges)
    }

    /// Reads all of it; stops early when nobody takes the rows any more.
    fn read(&self, rows: &Sender<DfResult<RecordBatch>>) -> DfResult<()> {
        let ranges = self.ranges().map_err(failed)?;
        let mut open = ranges.clone();
        if open.is_empty() {
            return Ok(());
        }
        let mut reader = self.source.reader(ranges, &self.columns).map_err(failed)?;
        while !open.is_empty() && !rows.is_closed() {
            let batch = match reader.poll(POLL_WAIT, BATCH_ROWS) {
                Ok(Some(batch)) => batch,
                Ok(None) => continue,
                Err(error) if error.kind == ErrorKind::Retry => continue,
                Err(error) => return Err(failed(error)),
            };
            if self.fail_on_error
                && let Some(rejected) = batch.rejected.first()
            {
                let error = Error::new(SqlState::of(rejected.sqlstate), rejected.reason.clone());
                let detail = format!("Split {}, offset {}.", batch.split, rejected.offset);
                return Err(DataFusionError::External(Box::new(error.with_detail(detail))));
            }
            open.retain(|range| {
                let done = batch.finished || range.until.is_some_and(|until| batch.end >= until);
                range.split != batch.split || !done
            });
            if batch.rows.num_rows() > 0
                && rows.blocking_send(Ok(batch.rows.project(&self.columns)?)).is_err()
            {
                return Ok(());
            }
        }
        Ok(())
    }
}
