//! Dataflows as they run: the plan that was rendered, what its operators have done, and how far a new one is in reading the rows that there
//! were before it.
//!
//! The coordinator's thread alone adds and removes them; whoever explains, lists or cancels looks at them as they are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use crate::arrangement::live::LiveTable;
use crate::catalog::ObjectId;
use crate::dataflow::Arrangements;
use crate::epoch::Epoch;
use crate::meter::{Counts, Meters};
use crate::plan::Node;
use crate::plan::shared::listed;

/// A view's, sink's, subscription's or shared arrangement's dataflow.
pub struct Running {
    pub live: Arc<LiveTable>,
    /// The plan that runs: made anew it might come out otherwise.
    pub plan: Arc<Node>,
    /// Whose arrangements its joins look up.
    pub arrangements: Arrangements,
    pub meters: Arc<Meters>,
    /// `None` where it was begun with its rows, at a start of the server.
    pub fill: Option<Fill>,
}

/// The reading of the rows that there were before the object.
pub struct Fill {
    /// It answers once it has applied this epoch.
    pub installed: Epoch,
    pub since: SystemTime,
    /// Rows of all tables and views that it reads, as they were when it began.
    pub rows: u64,
    /// Of the sources that it reads from their beginning: messages read, and those to be read.
    messages: Mutex<BTreeMap<ObjectId, (u64, u64)>>,
}

/// How far a fill is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FillProgress {
    /// Rows and messages read, and all that are to be read.
    pub done: u64,
    pub all: u64,
    pub stage: Stage,
}

/// What a fill waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// More rows from before.
    Reading,
    /// Its operators, which have work left.
    Computing,
    /// Nothing: the object answers.
    Done,
}

impl Fill {
    pub fn new(installed: Epoch, rows: u64) -> Fill {
        Fill { installed, since: SystemTime::now(), rows, messages: Mutex::default() }
    }

    /// How much of a source has been read.
    pub fn read(&self, source: ObjectId, done: u64, all: u64) {
        self.messages.lock().insert(source, (done, all));
    }
}

impl Running {
    /// How far it is; `None` where it was begun with its rows.
    pub fn progress(&self) -> Option<FillProgress> {
        let fill = self.fill.as_ref()?;
        let messages = fill.messages.lock().values().fold((0, 0), |(done, all), (d, a)| {
            // New messages may have arrived since the number of all was told.
            (done + d, all + *a.max(d))
        });
        let done = self.rows_read().min(fill.rows) + messages.0;
        let all = fill.rows + messages.1;
        let stage = match () {
            () if self.live.is_attached() && self.live.complete() >= fill.installed => Stage::Done,
            () if !self.live.is_attached() || done < all => Stage::Reading,
            () => Stage::Computing,
        };
        let done = if stage == Stage::Done { all } else { done };
        Some(FillProgress { done, all, stage })
    }

    /// Whether rows from before are still to come, so that it cannot answer yet.
    pub fn is_filling(&self) -> bool {
        let stage = self.progress().map(|progress| progress.stage);
        matches!(stage, Some(Stage::Reading | Stage::Computing)) && self.live.failure().is_none()
    }

    /// Rows that have come from what keeps its rows.
    fn rows_read(&self) -> u64 {
        let operators = listed(&self.plan).into_iter().filter(|listed| !listed.again);
        let kept = operators.filter(|listed| listed.node.imported().is_some());
        kept.map(|listed| Counts::total(&self.meters.read(listed.number)).rows_out).sum()
    }
}
