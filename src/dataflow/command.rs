//! What workers are told. Every worker gets the same commands in the same order; only `Feed` goes to one of them, since
//! rows find their way by exchange.

use std::sync::Arc;

use arrow_schema::SchemaRef;

use crate::arrangement::live::LiveTable;
use crate::catalog::ObjectId;
use crate::change::ChangeBatch;
use crate::epoch::Epoch;
use crate::plan::Node;

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
    pub live: Arc<LiveTable>,
}

/// A view to maintain.
#[derive(Clone)]
pub struct ViewSpec {
    pub hub: HubSpec,
    pub plan: Arc<Node>,
    /// Sources whose earlier rows the view gets by `FeedView` until `Attach` tells it to follow the shared reader.
    pub backfill: Vec<ObjectId>,
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
    /// The open epoch has all its rows; the next one opens.
    Close(Epoch),
    Drop(ObjectId),
    Stop,
}
