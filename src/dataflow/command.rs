//! What workers are told. Every worker gets the same commands in the same order; only `Feed` goes to one of them, since
//! rows find their way by exchange.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread::Thread;

use arrow_schema::SchemaRef;
use crossbeam_channel::Sender;

use crate::arrangement::feed::Feed;
use crate::arrangement::live::LiveTable;
use crate::catalog::ObjectId;
use crate::change::ChangeBatch;
use crate::checkpoint::StepState;
use crate::egress::Outbox;
use crate::epoch::Epoch;
use crate::meter::Meters;
use crate::plan::Node;
use crate::plan::shared::operators;

/// An object whose changes others read.
#[derive(Clone)]
pub struct HubSpec {
    pub object: ObjectId,
    pub schema: SchemaRef,
    /// Columns that identify a row; `None`: rows may repeat, and are found by their whole content.
    pub key: Option<Vec<usize>>,
    /// Whether rows are kept: tables and views yes, sources no.
    pub stored: bool,
    /// Rows replace their key's older row (+1) or delete it (-1): the fold of keyed sources.
    pub upsert: bool,
    /// Another object's rows by columns of which several rows may have the same values; its errors are the other's.
    pub copy: bool,
    /// The first error of its own ends it.
    pub fail_on_error: bool,
    /// Of a sink: what its changes are put into.
    pub outbox: Option<Arc<Outbox>>,
    pub live: Arc<LiveTable>,
    /// What its steps begin with, as of the epoch before the open one; `None`: with nothing, and views with the rows of
    /// what they read.
    pub state: Option<Arc<Vec<StepState>>>,
}

impl HubSpec {
    /// A hub that keeps its rows as they come and begins with nothing.
    pub fn new(
        object: ObjectId,
        schema: SchemaRef,
        key: Option<Vec<usize>>,
        live: Arc<LiveTable>,
    ) -> HubSpec {
        let (stored, upsert, copy) = (true, false, false);
        let (fail_on_error, outbox, state) = (false, None, None);
        HubSpec { object, schema, key, stored, upsert, copy, fail_on_error, outbox, live, state }
    }

    /// The columns by whose bucket rows are routed: their key, or their whole content where they may repeat.
    pub fn routed_by(&self) -> Vec<usize> {
        self.key.clone().unwrap_or_else(|| (0..self.schema.fields().len()).collect())
    }
}

/// A checkpoint to be taken of some objects.
pub struct Cut {
    pub epoch: Epoch,
    pub objects: BTreeSet<ObjectId>,
    pub parts: Sender<Part>,
    /// Unparked for each part.
    pub wake: Thread,
}

impl Cut {
    pub fn send(&self, part: Part) {
        // Nobody is left to tell when the coordinator has gone.
        let _ = self.parts.send(part);
        self.wake.unpark();
    }
}

/// What an object's steps on one worker handed over.
pub struct Part {
    pub epoch: Epoch,
    pub object: ObjectId,
    pub steps: Vec<StepState>,
}

/// The objects that keep an object's rows by a key, columns of it in that order.
pub type Arrangements = BTreeMap<(ObjectId, Vec<usize>), ObjectId>;

/// A view to maintain.
#[derive(Clone)]
pub struct ViewSpec {
    pub hub: HubSpec,
    pub plan: Arc<Node>,
    /// Whose arrangement has what the plan wants arranged by other columns; what is missing the view arranges for itself.
    pub arrangements: Arrangements,
    /// Sources whose earlier rows the view gets by `FeedView` until `Attach` tells it to follow the shared reader.
    pub backfill: Vec<ObjectId>,
    /// What its operators do is counted by, in the plan's order.
    pub meters: Arc<Meters>,
}

impl ViewSpec {
    /// A view that reads what has its rows at hand, and shares nothing.
    pub fn new(hub: HubSpec, plan: Arc<Node>, workers: usize) -> ViewSpec {
        let meters = Meters::new(operators(&plan), workers);
        ViewSpec { hub, plan, arrangements: Arrangements::new(), backfill: vec![], meters }
    }
}

/// A step of the command log.
#[derive(Clone)]
pub enum Command {
    /// A table or source: something that is fed.
    Create(Arc<HubSpec>),
    /// A view that takes its inputs as of the open epoch and follows them from there.
    Install(Arc<ViewSpec>, Epoch),
    /// Rows of the open epoch for a table or source.
    Feed(ObjectId, Vec<ChangeBatch>),
    /// Earlier rows of source `.1` for view `.0` only.
    FeedView(ObjectId, ObjectId, Vec<ChangeBatch>),
    /// View `.0` follows the shared reader of source `.1` from epoch `.2` on, and gets no earlier rows any more.
    Attach(ObjectId, ObjectId, Epoch),
    /// The open epoch has all its rows; the next one opens. A checkpoint as of it is asked for in the same breath, before
    /// anything of the next epoch can be applied anywhere.
    Close(Epoch, Option<Arc<Cut>>),
    /// What object `.1` has flows into table `.0`: its rows as of the open epoch and every later change or, restored, the changes
    /// from the open epoch on.
    Pour(ObjectId, ObjectId, Epoch, bool),
    /// Object `.1` flows into table `.0` up to this epoch, which is not part of it.
    EndPour(ObjectId, ObjectId, Epoch),
    /// The feed gets what the object's hubs apply after this epoch. Earlier epochs may still be on their way.
    Tap(ObjectId, Arc<Feed>, Epoch),
    Drop(ObjectId),
    /// Answers once everything before it has been done.
    Sync(Sender<()>),
    Stop,
}
