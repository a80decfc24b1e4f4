//! The single owner of order: one thread that gives every write, every source batch and every DDL its epoch.
//!
//! [`Coordinator`] is the handle that sessions use; [`core`] the thread behind it, checkpoints included; [`sequencer`] what decides about
//! writes; [`sources`] the shared readers and backfills; [`running`] dataflows as others see them; [`subscriptions`] what a subscription is; [`flight`] how many epochs are on their way; [`memory_watch`] what is told to the memory account; [`locks`] who may change a table while a statement reads it.

mod core;
mod flight;
pub mod locks;
mod memory_watch;
pub mod running;
pub mod sequencer;
mod sources;
pub mod subscriptions;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::thread::{JoinHandle, Thread};

use arc_swap::ArcSwap;
use arrow_array::RecordBatch;
use crossbeam_channel::{Sender, bounded, unbounded};
use parking_lot::Mutex;
use tidewater_connectors::contract::{Source, SplitStart};
use tokio::sync::oneshot;

pub use self::core::Image;
pub use self::flight::Flight;
use crate::arrangement::feed::FeedCounters;
use crate::arrangement::live::{Index, LiveTable, Pin, Progress, ReadClock};
use crate::catalog::{Alteration, Catalog, CatalogChange, DropPlan, ObjectId, Unique};
use crate::dataflow::Workers;
use crate::egress::{Sink, SinkStatus};
use crate::epoch::Epoch;
use crate::error::{Error, Result, SqlState};
use crate::ingest::SourceStatus;
use crate::log::EpochLog;
use crate::memory::MemoryAccount;
use crate::plan::Node;
use locks::TableLocks;
use running::Running;
pub use sequencer::{Skip, UniqueKey, Write};
use subscriptions::{Subscribe, Subscribed};

/// A connector's part of a source or table.
#[derive(Clone)]
pub struct Stream {
    pub source: Arc<dyn Source>,
    pub starts: Vec<SplitStart>,
    /// Rows replace their key's older row.
    pub upsert: bool,
    /// on_error = 'fail': the first message that is no row stops the object.
    pub fail_on_error: bool,
}

/// Who changes the rows of a table.
#[derive(Clone)]
pub enum Feed {
    Statements,
    Connector(Stream),
    /// Statements in a connector's stead, for tests. Rows only ever come or, where `upsert`, replace their key's older
    /// row as messages do.
    StandIn {
        upsert: bool,
    },
}

impl Feed {
    /// Whether a row takes the place of the older one of its key, and a deletion counts by its key alone.
    pub fn upserts(&self) -> bool {
        match self {
            Feed::Statements => false,
            Feed::Connector(stream) => stream.upsert,
            Feed::StandIn { upsert } => *upsert,
        }
    }
}

/// What runs behind a catalog object.
#[derive(Clone)]
pub enum Runtime {
    /// Nothing: a plain view.
    None,
    Table {
        key: Option<Vec<usize>>,
        feed: Feed,
    },
    Source(Stream),
    /// What a table or source was before ALTER gave it other columns, for those that read it as it was.
    Former {
        key: Option<Vec<usize>>,
        stored: bool,
        upsert: bool,
        former: Former,
    },
    View {
        plan: Arc<Node>,
        /// on_error = 'fail': the first row that cannot be evaluated stops the view.
        fail_on_error: bool,
    },
    /// What somebody has subscribed to; `stored`: its rows are kept, for a first look and to tell changes apart.
    Query {
        plan: Arc<Node>,
        stored: bool,
    },
    /// A query whose changes go outside.
    Sink {
        plan: Arc<Node>,
        sink: Arc<Sink>,
        fail_on_error: bool,
    },
    /// A user's wish that there be the arrangement of an object by a key.
    Index {
        object: ObjectId,
        key: Vec<usize>,
        /// No two rows of the object have the same key.
        unique: Option<Unique>,
    },
    /// What `object` has flows into `table`: a sink between relations.
    Pour {
        object: ObjectId,
        table: ObjectId,
    },
    /// An object's rows by some of its columns, for all joins and queries that look them up so.
    Arrangement {
        object: ObjectId,
        key: Vec<usize>,
    },
}

impl Runtime {
    /// The arrangements that it looks up.
    pub fn arrangements(&self) -> BTreeSet<(ObjectId, Vec<usize>)> {
        match self {
            Runtime::View { plan, .. }
            | Runtime::Query { plan, .. }
            | Runtime::Sink { plan, .. } => plan.arrangements(),
            Runtime::Index { object, key, .. } => BTreeSet::from([(*object, key.clone())]),
            Runtime::None
            | Runtime::Table { .. }
            | Runtime::Source(_)
            | Runtime::Pour { .. }
            | Runtime::Former { .. }
            | Runtime::Arrangement { .. } => BTreeSet::new(),
        }
    }
}

/// What a former table takes from the one that it follows.
#[derive(Clone)]
pub struct Former {
    /// The table of which it has been the definition.
    pub of: ObjectId,
    /// Where each of its columns is in that table; `None`: nowhere any more.
    pub columns: Vec<Option<usize>>,
}

/// Other definitions, and a table's other rows where it gets some.
pub struct Alter {
    pub change: Alteration,
    pub reshape: Option<Reshape>,
}

/// A table that takes another's place. Whoever asks for it keeps the old one from changing.
pub struct Reshape {
    pub old: ObjectId,
    /// Where each of the old one's columns is in the new one; `None`: nowhere any more.
    pub columns: Vec<Option<usize>>,
    /// The old one was declared to have rows added only.
    pub append_only: bool,
    pub table: Create,
    /// All rows of the new one.
    pub rows: Vec<RecordBatch>,
    /// All rows of the old one, where a column of it is nowhere any more.
    pub old_rows: Vec<RecordBatch>,
    /// The numbers of the old one's indexes, and what is to be there instead.
    pub indexes: Vec<(ObjectId, Create)>,
}

/// A source that is held back.
pub struct HeldBack {
    id: ObjectId,
    requests: Sender<Request>,
    thread: Thread,
}

impl Drop for HeldBack {
    fn drop(&mut self) {
        if self.requests.send(Request::Release(self.id)).is_ok() {
            self.thread.unpark();
        }
    }
}

/// An object to create: its catalog entry, where users know of it, and what runs behind it.
#[derive(Clone)]
pub struct Create {
    pub change: Option<CatalogChange>,
    pub id: ObjectId,
    pub name: String,
    pub schema: arrow_schema::SchemaRef,
    pub runtime: Runtime,
    /// Numbers before its own, one for each arrangement that it looks up and that nobody may keep yet.
    pub spare_ids: Vec<ObjectId>,
}

/// Writes that are applied together.
#[derive(Default)]
pub struct Writes {
    pub writes: Vec<(ObjectId, Write)>,
    /// Of a transaction; single statements hold the locks of what they have read.
    pub transaction: Option<Snapshot>,
}

/// What a transaction has seen: nothing of it that matters may have changed since.
pub struct Snapshot {
    /// What it has read is as of this epoch. Somebody keeps it pinned.
    pub epoch: Epoch,
    /// Tables of which not a single row may have changed since.
    pub tables: BTreeSet<ObjectId>,
}

pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// What sessions ask of the coordinator.
pub(crate) enum Request {
    /// Applied together or not at all.
    Write(Writes, Reply<(Epoch, usize)>),
    Create(Box<Create>, Reply<Epoch>),
    /// Ids in an order in which nothing depends on what is already dropped.
    Drop(CatalogChange, Vec<ObjectId>, Reply<Epoch>),
    Subscribe(Box<Subscribe>, Reply<Subscribed>),
    /// A subscription's query has nobody to read it any more.
    Unsubscribe(ObjectId),
    /// Ends what is still being filled, and what depends on it; gives what has gone.
    Cancel(ObjectId, Reply<DropPlan>),
    /// What the object has flows into its table no more, from the epoch of the answer on.
    EndPour(ObjectId, Reply<Epoch>),
    Alter(Box<Alter>, Reply<Epoch>),
    /// A source gives nothing more, until it is released as often as it was held.
    Hold(ObjectId, Reply<Epoch>),
    Release(ObjectId),
    /// A change of the catalog alone.
    Define(CatalogChange, Reply<Epoch>),
    Checkpoint(Reply<Image>),
    Shutdown,
}

/// What the coordinator shares with readers.
pub struct Shared {
    pub catalog: Arc<Catalog>,
    pub clock: Arc<ReadClock>,
    pub progress: Arc<Progress>,
    pub live: ArcSwap<HashMap<ObjectId, Arc<LiveTable>>>,
    pub sources: ArcSwap<HashMap<ObjectId, (Stream, Arc<SourceStatus>)>>,
    pub sinks: ArcSwap<HashMap<ObjectId, Arc<SinkStatus>>>,
    pub running: ArcSwap<HashMap<ObjectId, Arc<Running>>>,
    /// By the object whose rows they have.
    pub indexes: ArcSwap<HashMap<ObjectId, Vec<Index>>>,
    pub memory: Arc<MemoryAccount>,
    pub feeds: Arc<FeedCounters>,
    pub epochs: std::sync::atomic::AtomicU64,
}

fn stopped() -> Error {
    Error::new(SqlState::ADMIN_SHUTDOWN, "the server is shutting down")
}

/// Handle on the coordinator.
pub struct Coordinator {
    pub shared: Arc<Shared>,
    pub locks: TableLocks,
    requests: Sender<Request>,
    thread: Thread,
    join: Mutex<Option<JoinHandle<()>>>,
}

impl Coordinator {
    /// Starts the workers and the coordinator's thread, with nothing or with the objects of an image; `catalog` is then
    /// that of the image. XX001 when the image does not fit.
    pub fn start(
        catalog: Arc<Catalog>,
        workers: usize,
        memory: Arc<MemoryAccount>,
        log: Box<dyn EpochLog>,
        image: Option<Image>,
    ) -> Result<Coordinator> {
        let shared = Arc::new(Shared {
            catalog,
            clock: Arc::default(),
            progress: Arc::default(),
            live: ArcSwap::default(),
            sources: ArcSwap::default(),
            sinks: ArcSwap::default(),
            running: ArcSwap::default(),
            indexes: ArcSwap::default(),
            memory,
            feeds: Arc::default(),
            epochs: std::sync::atomic::AtomicU64::new(0),
        });
        let open = image.as_ref().map_or(Epoch::ZERO, |image| image.checkpoint.epoch).next();
        let workers = Workers::start(workers, shared.clock.clone(), open)?;
        let (requests, received) = unbounded();
        let core = core::Core::new(shared.clone(), workers, received, log);
        let (started, outcome) = bounded(1);
        let join = std::thread::Builder::new()
            .name("coordinator".to_owned())
            .spawn(move || core.run(image, started))
            .map_err(|e| Error::internal(format!("could not start the coordinator: {e}")))?;
        let thread = join.thread().clone();
        shared.progress.set_coordinator(thread.clone());
        outcome.recv().map_err(|_| Error::internal("the coordinator did not start"))??;
        let locks = TableLocks::default();
        Ok(Coordinator { shared, locks, requests, thread, join: Mutex::new(Some(join)) })
    }

    /// Applies writes in one epoch, theirs alone or with others'; returns once it is acknowledged: the number of rows.
    pub async fn write(&self, writes: Vec<(ObjectId, Write)>) -> Result<usize> {
        let writes = Writes { writes, transaction: None };
        self.ask(|reply| Request::Write(writes, reply)).await.map(|(_, rows)| rows)
    }

    /// Applies all that a transaction has written, or fails with 40001 where others have changed what it rests on.
    pub async fn commit(&self, writes: Writes) -> Result<()> {
        self.ask(|reply| Request::Write(writes, reply)).await.map(drop)
    }

    /// Creates an object; for views returns when they are installed, not when they have caught up: see [`Self::hydrated`].
    pub async fn create(&self, create: Create) -> Result<Epoch> {
        self.ask(|reply| Request::Create(Box::new(create), reply)).await
    }

    pub async fn drop_objects(&self, change: CatalogChange, ids: Vec<ObjectId>) -> Result<Epoch> {
        self.ask(|reply| Request::Drop(change, ids, reply)).await
    }

    /// Ends an object that is still being filled, and all that depend on it: they have never been. Whoever waits for one of them gets
    /// 57014. 55000 where it has been filled meanwhile.
    pub async fn cancel(&self, id: ObjectId) -> Result<DropPlan> {
        self.ask(|reply| Request::Cancel(id, reply)).await
    }

    /// Ends what a sink writes to a table, which keeps all of it up to the epoch returned. Only then is the sink dropped.
    pub async fn end_pour(&self, object: ObjectId) -> Result<Epoch> {
        self.ask(|reply| Request::EndPour(object, reply)).await
    }

    /// 40001 when the catalog has changed since this was worked out.
    pub async fn alter(&self, alter: Alter) -> Result<Epoch> {
        self.ask(|reply| Request::Alter(Box::new(alter), reply)).await
    }

    /// Holds a source back while the guard lives; all that it has given before is there as of the epoch.
    pub async fn hold_back(&self, id: ObjectId) -> Result<(HeldBack, Epoch)> {
        let (requests, thread) = (self.requests.clone(), self.thread.clone());
        let epoch = self.ask(|reply| Request::Hold(id, reply)).await?;
        Ok((HeldBack { id, requests, thread }, epoch))
    }

    pub async fn define(&self, change: CatalogChange) -> Result<Epoch> {
        self.ask(|reply| Request::Define(change, reply)).await
    }

    /// What changed since the last checkpoint, everything at the first one, as of an epoch that has all that was asked for
    /// before this call and nothing asked for later (later calls wait for earlier ones and may be of later epochs). The
    /// request is made at once, the answer comes when the last dataflow has reached the epoch; nothing stops meanwhile.
    pub fn checkpoint(&self) -> impl Future<Output = Result<Image>> + Send + use<> {
        let answer = self.request(Request::Checkpoint);
        async { answer?.await.map_err(|_| stopped())? }
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T> {
        self.request(request)?.await.map_err(|_| stopped())?
    }

    fn request<T>(
        &self,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<oneshot::Receiver<Result<T>>> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).map_err(|_| stopped())?;
        self.thread.unpark();
        Ok(answer)
    }

    pub fn live(&self, id: ObjectId) -> Option<Arc<LiveTable>> {
        self.shared.live.load().get(&id).cloned()
    }

    /// The arrangements of an object by other columns than its key.
    pub fn indexes(&self, id: ObjectId) -> Vec<Index> {
        self.shared.indexes.load().get(&id).cloned().unwrap_or_default()
    }

    /// The dataflow of a view, sink or arrangement.
    pub fn running(&self, id: ObjectId) -> Option<Arc<Running>> {
        self.shared.running.load().get(&id).cloned()
    }

    /// What feeds a source or connector table.
    pub fn source(&self, id: ObjectId) -> Option<Stream> {
        self.shared.sources.load().get(&id).map(|(stream, _)| stream.clone())
    }

    pub fn sink_status(&self, id: ObjectId) -> Option<Arc<SinkStatus>> {
        self.shared.sinks.load().get(&id).cloned()
    }

    pub fn source_status(&self, id: ObjectId) -> Option<Arc<SourceStatus>> {
        self.shared.sources.load().get(&id).map(|(_, status)| status.clone())
    }

    /// Waits until a view has its inputs' earlier rows and answers exactly.
    pub async fn hydrated(&self, id: ObjectId, installed: Epoch) -> Result<()> {
        let Some(live) = self.live(id) else { return Ok(()) };
        live.wait_attached().await?;
        live.wait_for(installed).await
    }

    /// Pins one epoch at which all these objects can be read, and waits until they are complete there.
    pub async fn pin(&self, objects: &[Arc<LiveTable>]) -> Result<Pin> {
        for object in objects {
            object.wait_attached().await?;
        }
        let complete = objects.iter().map(|o| o.complete()).min().unwrap_or(Epoch::FINISHED);
        // What has taken another's place is not read as of an epoch before it did.
        let begun = objects.iter().map(|o| o.begins()).max().unwrap_or(Epoch::ZERO);
        let pin = self.shared.clock.pin(complete.max(begun));
        for object in objects {
            object.wait_for(pin.epoch).await?;
        }
        Ok(pin)
    }

    /// Stops readers, workers and the coordinator's thread.
    pub fn shutdown(&self) {
        if self.requests.send(Request::Shutdown).is_ok() {
            self.thread.unpark();
        }
        if let Some(join) = self.join.lock().take() {
            let _ = join.join();
        }
    }
}
