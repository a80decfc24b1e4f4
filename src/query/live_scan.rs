//! Live tables as DataFusion tables: a scan of every shard as of one epoch, or a lookup when the filters fix the key or an
//! index's columns.
//!
//! A plan is made before its epoch is chosen: the providers of one statement share a [`ReadAt`], which the session sets
//! between planning and execution. Readers never visit the workers; they read the published versions.

use std::fmt;
use std::sync::{Arc, OnceLock};

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as DfResult;
use datafusion::datasource::TableType;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::scalar::ScalarValue;

use super::errors::to_datafusion;
use super::own_rows::{LeftOver, OwnRows};
use super::sizes::Known;
use crate::arrangement::Snapshot;
use crate::arrangement::live::{Index, LiveTable, Pin, Version};
use crate::change::batch_of;
use crate::epoch::Epoch;
use crate::error::{Error, Result, SqlState};
use crate::hash::hash_columns;

/// The epoch that a statement reads at, once it is chosen.
#[derive(Clone, Default)]
pub struct ReadAt(Arc<OnceLock<Arc<Pin>>>);

impl ReadAt {
    /// Sets the epoch; it stays readable while any scan of the statement lives.
    pub fn set(&self, pin: Arc<Pin>) {
        let _ = self.0.set(pin);
    }

    pub fn epoch(&self) -> Result<Epoch> {
        self.0
            .get()
            .map(|pin| pin.epoch)
            .ok_or_else(|| Error::internal("the epoch of the read is not chosen yet"))
    }
}

impl fmt::Debug for ReadAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadAt").field(&self.0.get().map(|pin| pin.epoch)).finish()
    }
}

/// A table or materialized view in a statement.
pub struct LiveScan {
    pub live: Arc<LiveTable>,
    /// As the statement sees it, with the catalog's field metadata.
    schema: SchemaRef,
    /// The same rows by other columns.
    indexes: Vec<Index>,
    /// What the statement's transaction has changed of it.
    own: Option<Arc<OwnRows>>,
    read_at: ReadAt,
}

impl LiveScan {
    pub fn new(
        live: Arc<LiveTable>,
        schema: SchemaRef,
        indexes: Vec<Index>,
        read_at: ReadAt,
    ) -> LiveScan {
        LiveScan { live, schema, indexes, own: None, read_at }
    }

    /// As the transaction sees it that has made these changes.
    pub fn with_own_rows(self, own: Option<Arc<OwnRows>>) -> LiveScan {
        LiveScan { own, ..self }
    }

    /// What is known of the rows before they are read.
    pub fn known(&self) -> Known {
        let keys = if self.live.key_is_unique { vec![self.live.key.clone()] } else { vec![] };
        Known { rows: self.live.rows(), keys }
    }

    pub(super) fn has_own_rows(&self) -> bool {
        self.own.is_some()
    }

    pub(super) fn field(&self, column: usize) -> &FieldRef {
        &self.schema.fields()[column]
    }

    /// The position of a column.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.schema.index_of(name).ok()
    }

    /// The value of each column of a key where the filters fix them all.
    fn key_values(&self, key: &[usize], filters: &[Expr]) -> Option<Key> {
        if key.is_empty() {
            return None;
        }
        let mut values: Vec<Option<ScalarValue>> = vec![None; key.len()];
        for filter in filters {
            let Some((column, value)) = equality(filter) else { continue };
            let position = key.iter().position(|&k| self.schema.field(k).name() == column);
            if let Some(position) = position
                && value.data_type() == *self.schema.field(key[position]).data_type()
            {
                values[position] = Some(value.clone());
            }
        }
        let values = values.into_iter().collect::<Option<_>>()?;
        Some(Key { columns: key.to_vec(), values })
    }

    /// Whose versions to read as of `epoch`, and by which key where the filters fix one: the table's own before an index's,
    /// and of these the one that fixes most.
    async fn way(&self, epoch: Epoch, filters: &[Expr]) -> Result<(Vec<Version>, Option<Key>)> {
        if let Some(key) = self.key_values(&self.live.key, filters) {
            return Ok((self.live.versions(epoch), Some(key)));
        }
        let usable = self.indexes.iter().filter(|index| index.serves(epoch));
        let fixed =
            usable.filter_map(|index| Some((index, self.key_values(&index.live.key, filters)?)));
        if let Some((index, key)) = fixed.max_by_key(|(_, key)| key.columns.len())
            // It is behind the table by a few wake-ups; should it fail meanwhile, the table still has everything.
            && index.live.wait_for(epoch).await.is_ok()
        {
            return Ok((index.live.versions(epoch), Some(key)));
        }
        Ok((self.live.versions(epoch), None))
    }
}

/// A value for each of some columns.
struct Key {
    columns: Vec<usize>,
    values: Vec<ScalarValue>,
}

impl Key {
    /// One row of them.
    fn arrays(&self) -> Result<Vec<ArrayRef>> {
        let arrays = self.values.iter().map(|value| value.to_array_of_size(1));
        arrays.collect::<DfResult<_>>().map_err(super::errors::from_datafusion)
    }
}

impl fmt::Debug for LiveScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveScan")
            .field("name", &self.live.names().object)
            .field("read_at", &self.read_at)
            .finish()
    }
}

/// `column = literal`, either way round.
fn equality(filter: &Expr) -> Option<(&str, &ScalarValue)> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = filter else {
        return None;
    };
    match (left.as_ref(), right.as_ref()) {
        (Expr::Column(column), Expr::Literal(value, _))
        | (Expr::Literal(value, _), Expr::Column(column)) => {
            (!value.is_null()).then_some((column.name.as_str(), value))
        }
        _ => None,
    }
}

/// The first error that makes the versions' answer wrong, raised instead of rows.
pub fn check_poison(name: &str, versions: &[Version]) -> Result<()> {
    use arrow_array::cast::AsArray;
    let Some(version) = versions.iter().find(|v| v.poison > 0) else { return Ok(()) };
    for batch in version.errors.scan() {
        let poison = batch.column(3).as_boolean();
        let Some(row) = (0..batch.num_rows()).find(|&row| poison.value(row)) else { continue };
        let text = |column: usize| batch.column(column).as_string::<i32>().value(row).to_owned();
        let detail = format!(
            "Row {} of what \"{name}\" reads fails, and without it the answer would be wrong.",
            text(2)
        );
        return Err(Error::new(SqlState::of(&text(0)), text(1)).with_detail(detail));
    }
    Ok(())
}

#[async_trait]
impl TableProvider for LiveScan {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DfResult<Vec<TableProviderFilterPushDown>> {
        let keys = self.indexes.iter().map(|index| &index.live.key).chain([&self.live.key]);
        let keys: Vec<usize> = keys.flatten().copied().collect();
        let key = |column: &str| keys.iter().any(|&k| self.schema.field(k).name() == column);
        let support = |filter: &&Expr| match equality(filter) {
            Some((column, _)) if key(column) => TableProviderFilterPushDown::Inexact,
            _ => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let epoch = self.read_at.epoch().map_err(to_datafusion)?;
        let (versions, key) = self.way(epoch, filters).await.map_err(to_datafusion)?;
        check_poison(&self.live.names().object, &versions).map_err(to_datafusion)?;
        let columns =
            projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let schema = Arc::new(self.schema.project(&columns)?);
        let shards = versions.into_iter().filter_map(|version| version.rows);
        let mut partitions: Vec<Arc<dyn PartitionStream>> = vec![];
        // What the transaction has deleted is told by columns that the query may not want.
        let told_by = self.own.as_ref().map_or(&[][..], |own| own.identity());
        let extra = told_by.iter().copied().filter(|column| !columns.contains(column));
        let read: Vec<usize> = columns.iter().copied().chain(extra).collect();
        for snapshot in shards {
            let (columns, schema, read_at) = (read.clone(), schema.clone(), self.read_at.clone());
            let own = self.own.clone();
            partitions.push(match &key {
                None => Arc::new(ShardScan { snapshot, columns, schema, own, read_at }),
                Some(key) => {
                    let keys = key.arrays().map_err(to_datafusion)?;
                    let found = look_up(&snapshot, &keys, &read).map_err(to_datafusion)?;
                    let mut left = self.own.as_ref().map(|own| LeftOver::new(own.clone(), &read));
                    let found = finished(found, &schema, &mut left).map_err(to_datafusion)?;
                    Arc::new(Rows { batches: vec![found], schema })
                }
            });
        }
        if let Some(own) = &self.own {
            let batches = inserted(own, key.as_ref(), &columns, &schema);
            let batches = batches.map_err(to_datafusion)?;
            partitions.push(Arc::new(Rows { batches, schema: schema.clone() }));
        }
        if partitions.is_empty() {
            partitions.push(Arc::new(Rows { batches: vec![], schema: schema.clone() }));
        }
        Ok(Arc::new(StreamingTableExec::try_new(schema, partitions, None, vec![], false, limit)?))
    }
}

/// Some columns of what the transaction has inserted: of all rows or, where the key is the table's own, of those under it.
fn inserted(
    own: &OwnRows,
    key: Option<&Key>,
    columns: &[usize],
    schema: &SchemaRef,
) -> Result<Vec<RecordBatch>> {
    let rows = match key {
        Some(key) if own.key() == Some(&key.columns) => {
            vec![own.inserted_under(None, &key.arrays()?)?.0]
        }
        _ => own.inserted_rows()?,
    };
    let some = |rows: &RecordBatch| {
        let columns = columns.iter().map(|&column| rows.column(column).clone()).collect();
        batch_of(schema.clone(), columns, rows.num_rows()).map_err(super::errors::from_arrow)
    };
    rows.iter().map(some).collect()
}

/// Some columns of the rows under a key, of which `keys` holds one row.
pub(super) fn look_up(
    snapshot: &Snapshot,
    keys: &[ArrayRef],
    columns: &[usize],
) -> Result<RecordBatch> {
    let mut hashes = vec![];
    hash_columns(keys, 1, &mut hashes);
    let (mut probe, mut stored) = (vec![], vec![]);
    snapshot.probe(keys, &hashes, &mut probe, &mut stored);
    let found = snapshot.gather_columns(&stored, columns)?;
    let schema = Arc::new(snapshot.schema().project(columns).map_err(super::errors::from_arrow)?);
    batch_of(schema, found, stored.len()).map_err(super::errors::from_arrow)
}

/// Rows without those that the transaction has deleted, and without the columns behind those of `schema`.
fn finished(
    rows: RecordBatch,
    schema: &SchemaRef,
    left: &mut Option<LeftOver>,
) -> Result<RecordBatch> {
    let rows = match left {
        Some(left) => left.of(&rows)?,
        None => rows,
    };
    let columns = rows.columns()[..schema.fields().len()].to_vec();
    batch_of(schema.clone(), columns, rows.num_rows()).map_err(super::errors::from_arrow)
}

/// One shard, a chunk at a time.
struct ShardScan {
    snapshot: Snapshot,
    /// Those of the schema, then those that deleted rows are told by.
    columns: Vec<usize>,
    schema: SchemaRef,
    own: Option<Arc<OwnRows>>,
    /// Keeps the epoch pinned while the scan runs.
    read_at: ReadAt,
}

impl fmt::Debug for ShardScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardScan").field("columns", &self.columns).finish_non_exhaustive()
    }
}

impl PartitionStream for ShardScan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (snapshot, columns, schema) =
            (self.snapshot.clone(), self.columns.clone(), self.schema.clone());
        let (pinned, batch_schema) = (self.read_at.clone(), self.schema.clone());
        let mut left = self.own.as_ref().map(|own| LeftOver::new(own.clone(), &columns));
        let chunks = (0..snapshot.chunks()).filter_map(move |chunk| {
            let _ = &pinned;
            let batch = snapshot.scan_chunk(chunk, Some(&columns))?;
            Some(finished(batch, &batch_schema, &mut left).map_err(to_datafusion))
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(chunks)))
    }
}

/// Rows that are already at hand.
struct Rows {
    batches: Vec<RecordBatch>,
    schema: SchemaRef,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("batches", &self.batches.len()).finish()
    }
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batches: Vec<DfResult<RecordBatch>> = self.batches.iter().cloned().map(Ok).collect();
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), futures::stream::iter(batches)))
    }
}

/// `tidewater.dead_letters`: the errors that stand, of all objects, as of the statement's epoch.
pub struct DeadLetters {
    /// Each under the name that it is shown by.
    pub objects: Vec<(String, Arc<LiveTable>)>,
    pub read_at: ReadAt,
}

/// object, sqlstate, error and payload as text, and the epoch in which it came.
pub fn dead_letters_schema() -> SchemaRef {
    let text = |name: &str| -> FieldRef {
        Arc::new(arrow_schema::Field::new(name, arrow_schema::DataType::Utf8, false))
    };
    let epoch = arrow_schema::Field::new("epoch", arrow_schema::DataType::Int64, false);
    let columns = ["object", "sqlstate", "error", "payload"].map(text);
    Arc::new(Schema::new(columns.into_iter().chain([Arc::new(epoch)]).collect::<Vec<_>>()))
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeadLetters")
    }
}

#[async_trait]
impl TableProvider for DeadLetters {
    fn schema(&self) -> SchemaRef {
        dead_letters_schema()
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
        let epoch = self.read_at.epoch().map_err(to_datafusion)?;
        let mut batches = vec![];
        for (name, object) in &self.objects {
            if object.failure().is_some() {
                continue;
            }
            for batch in object.versions(epoch).iter().flat_map(|version| version.errors.scan()) {
                let names = vec![name.as_str(); batch.num_rows()];
                let name = Arc::new(arrow_array::StringArray::from(names));
                let columns = [0, 1, 2, 4].map(|i| batch.column(i).clone());
                let columns = std::iter::once(name as ArrayRef).chain(columns).collect();
                let batch = RecordBatch::try_new(dead_letters_schema(), columns)?;
                batches.push(match projection {
                    Some(columns) => batch.project(columns)?,
                    None => batch,
                });
            }
        }
        let schema = match projection {
            Some(columns) => Arc::new(dead_letters_schema().project(columns)?),
            None => dead_letters_schema(),
        };
        let rows = Arc::new(Rows { batches, schema: schema.clone() });
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![rows], None, vec![], false, limit)?))
    }
}
