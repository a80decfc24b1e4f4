//! The change batch as timely's container, and its way between workers.

use std::io::Write;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_buffer::ScalarBuffer;
use arrow_schema::{DataType, Field, Schema};
use std::sync::Arc;
use timely::Accountable;
use timely::communication::Push;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::dataflow::channels::{ContainerBytes, Message};

use crate::change::{ChangeBatch, Kind, batch_of, weights_array};
use crate::hash::{BUCKETS, bucket, hash_columns};

impl Accountable for ChangeBatch {
    fn record_count(&self) -> i64 {
        self.len() as i64
    }
}

/// Between processes a batch travels as one Arrow IPC stream with the weights as the last column, behind a header of
/// its length (u64) and kind (u64), padded to eight bytes.
impl ContainerBytes for ChangeBatch {
    fn from_bytes(bytes: timely::bytes::arc::Bytes) -> Self {
        decode(&bytes)
    }

    fn length_in_bytes(&self) -> usize {
        16 + encode(self).len().next_multiple_of(8)
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        let encoded = encode(self);
        let padding = [0u8; 8];
        let kind = match self.kind {
            Kind::Rows => 0u64,
            Kind::Errors => 1,
            Kind::Inherited => 2,
        };
        let written = writer
            .write_all(&(encoded.len() as u64).to_le_bytes())
            .and_then(|()| writer.write_all(&kind.to_le_bytes()))
            .and_then(|()| writer.write_all(&encoded))
            .and_then(|()| {
                writer.write_all(&padding[..encoded.len().next_multiple_of(8) - encoded.len()])
            });
        written.expect("the channel has room for what length_in_bytes announced");
    }
}

fn encode(change: &ChangeBatch) -> Vec<u8> {
    let Some(batch) = &change.batch else { return vec![] };
    let mut columns = batch.columns().to_vec();
    columns.push(weights_array(&change.weights));
    let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("weight", DataType::Int64, false)));
    let schema = Arc::new(Schema::new(fields));
    let encoded = batch_of(schema.clone(), columns, change.len()).and_then(|batch| {
        let mut writer = arrow::ipc::writer::StreamWriter::try_new(vec![], &schema)?;
        writer.write(&batch)?;
        writer.into_inner()
    });
    encoded.expect("an in-memory batch of Arrow's own types encodes")
}

fn decode(bytes: &[u8]) -> ChangeBatch {
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let (length, kind) = (word(0) as usize, word(8));
    if length == 0 {
        return ChangeBatch::default();
    }
    let batch: RecordBatch =
        arrow::ipc::reader::StreamReader::try_new(&bytes[16..16 + length], None)
            .and_then(|mut reader| reader.next().expect("one batch was written"))
            .expect("bytes come from our own encoder over a reliable channel");
    let width = batch.num_columns() - 1;
    let weights: ScalarBuffer<i64> =
        batch.column(width).as_primitive::<Int64Type>().values().clone();
    let rows = batch.project(&(0..width).collect::<Vec<_>>()).expect("columns exist");
    let kind = match kind {
        0 => Kind::Rows,
        1 => Kind::Errors,
        _ => Kind::Inherited,
    };
    ChangeBatch { batch: Some(rows), weights, kind }
}

/// Which worker owns a bucket: `table[bucket]`, the same on all workers.
pub type RouteTable = Arc<[usize; BUCKETS]>;

/// Buckets dealt to `workers` in turn.
pub fn route_table(workers: usize) -> RouteTable {
    Arc::new(std::array::from_fn(|bucket| bucket % workers))
}

/// Sends each row to the worker that owns the bucket of its key columns; errors go by the whole error row.
pub struct HashDistributor {
    key: Vec<usize>,
    table: RouteTable,
    hashes: Vec<u64>,
    indices: Vec<Vec<u32>>,
}

impl HashDistributor {
    pub fn new(key: Vec<usize>, table: RouteTable, peers: usize) -> Self {
        HashDistributor { key, table, hashes: vec![], indices: vec![vec![]; peers] }
    }
}

impl Distributor<ChangeBatch> for HashDistributor {
    fn partition<T: Clone, P: Push<Message<T, ChangeBatch>>>(
        &mut self,
        change: &mut ChangeBatch,
        time: &T,
        pushers: &mut [P],
    ) {
        let Some(batch) = &change.batch else { return };
        let columns: Vec<_> = match change.kind {
            Kind::Rows => self.key.iter().map(|&k| batch.column(k).clone()).collect(),
            Kind::Errors | Kind::Inherited => batch.columns().to_vec(),
        };
        hash_columns(&columns, batch.num_rows(), &mut self.hashes);
        for (row, hash) in self.hashes.iter().enumerate() {
            self.indices[self.table[bucket(*hash)]].push(row as u32);
        }
        for (worker, indices) in self.indices.iter_mut().enumerate() {
            if indices.is_empty() {
                continue;
            }
            let whole = indices.len() == change.len();
            let mut part = match whole {
                true => std::mem::take(change),
                false => change.take(indices).expect("indices are within the batch"),
            };
            indices.clear();
            Message::push_at(&mut part, time.clone(), &mut pushers[worker]);
            if whole {
                break;
            }
        }
        *change = ChangeBatch::default();
    }

    fn flush<T: Clone, P: Push<Message<T, ChangeBatch>>>(&mut self, _time: &T, _pushers: &mut [P]) {
    }
}
