//! Checkpoints: which objects one is of, the parts that workers hand over, and the start from one.
//!
//! The cut is made by the command that closes an epoch, so it costs the flow nothing but what steps hand over; dataflows
//! that lag hand over when they get there. One is taken at a time. An object that fails or is dropped meanwhile is recorded
//! as failed and holds nothing up: the epoch of the drop is later, so the image has the object to be dropped.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::super::sources::SharedSource;
use super::super::{Create, Feed, Reply, Runtime};
use super::Core;
use crate::catalog::{CatalogSnapshot, ObjectId};
use crate::checkpoint::{self, Checkpoint, ObjectState, Position, StepState};
use crate::dataflow::{Cut, Part};
use crate::epoch::Epoch;
use crate::error::{Error, Result, SqlState};

/// What a coordinator can be started from: a checkpoint and the objects it is of.
#[derive(Clone)]
pub struct Image {
    pub catalog: Arc<CatalogSnapshot>,
    /// In the order of ids, so that nothing precedes what it reads.
    pub objects: Vec<Arc<Create>>,
    /// What was handed over since the last one: the whole state only together with those before it.
    pub checkpoint: Checkpoint,
}

impl Image {
    /// Adds the image that was taken after this one.
    pub fn extend(&mut self, later: Image) -> Result<()> {
        self.catalog = later.catalog;
        self.objects = later.objects;
        self.checkpoint.extend(later.checkpoint)
    }
}

/// What an object is started from.
pub(super) struct Saved {
    pub steps: Arc<Vec<StepState>>,
    /// Of sources and connector tables.
    pub position: Option<Position>,
}

/// The checkpoint under way.
struct Pending {
    image: Image,
    /// Parts that are missing.
    waiting: BTreeMap<ObjectId, usize>,
    reply: Reply<Image>,
}

/// The coordinator's checkpoints.
pub struct Checkpoints {
    sender: Sender<Part>,
    parts: Receiver<Part>,
    asked: VecDeque<Reply<Image>>,
    pending: Option<Pending>,
    /// Handed over for somebody who had gone: part of the next answer.
    undelivered: Option<Image>,
}

impl Default for Checkpoints {
    fn default() -> Self {
        let (sender, parts) = unbounded();
        Checkpoints { sender, parts, asked: VecDeque::new(), pending: None, undelivered: None }
    }
}

impl Checkpoints {
    /// Whether one is under way.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Takes a part that a worker handed over; those of an earlier checkpoint or of objects that have gone are late.
    fn accept(&mut self, part: Part) -> Result<()> {
        let Some(pending) = &mut self.pending else { return Ok(()) };
        let checkpoint = &mut pending.image.checkpoint;
        if part.epoch != checkpoint.epoch {
            return Ok(());
        }
        let Some(missing) = pending.waiting.get_mut(&part.object) else { return Ok(()) };
        *missing -= 1;
        if *missing == 0 {
            pending.waiting.remove(&part.object);
        }
        match checkpoint.objects.get_mut(&part.object) {
            Some(ObjectState::Steps(steps)) => checkpoint::append(steps, part.steps),
            Some(ObjectState::StartAgain | ObjectState::Failed(_)) => Ok(()),
            None => {
                checkpoint.objects.insert(part.object, ObjectState::Steps(part.steps));
                Ok(())
            }
        }
    }

    /// Answers with the checkpoint that is complete.
    fn deliver(&mut self, pending: Pending) {
        let image = match self.undelivered.take() {
            None => Ok(pending.image),
            Some(mut earlier) => earlier.extend(pending.image).map(|()| earlier),
        };
        if let Err(Ok(image)) = pending.reply.send(image) {
            self.undelivered = Some(image);
        }
    }
}

impl Core {
    /// A checkpoint is wanted of what has been asked for so far, or of a later epoch where one is under way.
    pub(super) fn ask_checkpoint(&mut self, reply: Reply<Image>) {
        self.checkpoints.asked.push_back(reply);
        self.begin_checkpoint();
    }

    /// Closes the open epoch with the next checkpoint that is wanted.
    pub(super) fn begin_checkpoint(&mut self) {
        if self.checkpoints.is_pending() || !self.alters.is_empty() {
            return;
        }
        let Some(reply) = self.checkpoints.asked.pop_front() else { return };
        self.take_writes();
        let objects = self.settled();
        let waiting: BTreeMap<ObjectId, usize> = self
            .definitions
            .iter()
            .filter(|(id, create)| create.runtime.is_running() && !objects.contains_key(id))
            .map(|(id, _)| (*id, self.workers.count()))
            .collect();
        let position = |(id, source): (&ObjectId, &SharedSource)| (*id, source.position());
        let sources = self.sources.iter().map(position).collect();
        let image = Image {
            catalog: self.shared.catalog.snapshot(),
            objects: self.definitions.values().cloned().collect(),
            checkpoint: Checkpoint { epoch: self.open, objects, sources },
        };
        let cut = Cut {
            epoch: self.open,
            objects: waiting.keys().copied().collect(),
            parts: self.checkpoints.sender.clone(),
            wake: self.wake.clone(),
        };
        self.checkpoints.pending = Some(Pending { image, waiting, reply });
        self.close(Some(Arc::new(cut)));
    }

    /// The objects of which nothing is to be handed over: those that have failed, and views that have not caught up with
    /// what they read, with those that read them.
    fn settled(&self) -> BTreeMap<ObjectId, ObjectState> {
        let mut settled = BTreeMap::new();
        for (id, create) in &self.definitions {
            let Some(live) = self.live(*id) else { continue };
            if let Some(error) = live.failure() {
                settled.insert(*id, ObjectState::Failed(error.clone()));
                continue;
            }
            let inputs = self.inputs(create);
            if inputs.is_empty() {
                continue;
            }
            let unfilled =
                |(view, installed): &(ObjectId, Epoch)| view == id && live.complete() < *installed;
            let reads = |input| matches!(settled.get(&input), Some(ObjectState::StartAgain));
            let behind = !live.is_attached() || self.filling.iter().any(unfilled);
            if behind || inputs.into_iter().any(reads) {
                settled.insert(*id, ObjectState::StartAgain);
            }
        }
        settled
    }

    /// Takes what has been handed over; answers when nothing is missing and begins the next one.
    pub(super) fn collect_checkpoint(&mut self) {
        if self.checkpoints.pending.is_none() {
            return;
        }
        while let Ok(part) = self.checkpoints.parts.try_recv() {
            if let Err(error) = self.checkpoints.accept(part) {
                self.abandon_checkpoint(error);
                return;
            }
        }
        let live = self.shared.live.load_full();
        let Some(pending) = &mut self.checkpoints.pending else { return };
        pending.waiting.retain(|id, _| live.get(id).is_some_and(|live| live.failure().is_none()));
        if !pending.waiting.is_empty() {
            return;
        }
        let Some(mut pending) = self.checkpoints.pending.take() else { return };
        // What fails while others hand over takes along those that read it, so that none of them is restored on nothing.
        let mut failed: BTreeMap<ObjectId, Error> = BTreeMap::new();
        for create in &pending.image.objects {
            let error = match live.get(&create.id) {
                Some(live) => live.failure().cloned(),
                None if create.runtime.is_running() => Some(dropped(&create.name)),
                None => None,
            };
            let mut inputs = self.inputs(create).into_iter();
            if let Some(error) = error.or_else(|| inputs.find_map(|id| failed.get(&id)).cloned()) {
                failed.insert(create.id, error);
            }
        }
        let objects = &mut pending.image.checkpoint.objects;
        objects.extend(failed.into_iter().map(|(id, error)| (id, ObjectState::Failed(error))));
        self.checkpoints.deliver(pending);
        self.begin_checkpoint();
    }

    /// Steps have forgotten what they handed over, so no later checkpoint could be right: a defect, told to whoever asks.
    fn abandon_checkpoint(&mut self, error: Error) {
        tracing::error!(%error, "a checkpoint does not fit together");
        if let Some(pending) = self.checkpoints.pending.take() {
            let _ = pending.reply.send(Err(error));
        }
        self.stopping = true;
    }

    /// Begins with the objects of an image, as of its epoch. Fails with XX001 when an object's state does not fit its plan.
    pub(super) fn restore(&mut self, image: Image) -> Result<()> {
        let Image { objects, mut checkpoint, .. } = image;
        self.open = checkpoint.epoch.next();
        self.shared.clock.raise(checkpoint.epoch);
        self.shared.epochs.store(checkpoint.epoch.0, std::sync::atomic::Ordering::Relaxed);
        let mut restored = vec![];
        for create in objects {
            self.definitions.insert(create.id, create.clone());
            if let Runtime::Pour { object, table } = create.runtime {
                self.pour(create.id, object, table, true);
                continue;
            }
            if !create.runtime.is_running() {
                self.start(&create, None);
                continue;
            }
            let position = checkpoint.sources.remove(&create.id);
            match checkpoint.objects.remove(&create.id) {
                None => {
                    let message = format!("the checkpoint lacks \"{}\"", create.name);
                    return Err(Error::new(SqlState::DATA_CORRUPTED, message));
                }
                // Whoever shared it has failed with it.
                Some(ObjectState::Failed(_))
                    if matches!(create.runtime, Runtime::Arrangement { .. }) =>
                {
                    self.definitions.remove(&create.id);
                }
                Some(ObjectState::Failed(error)) => self.start_failed(&create, position, error),
                Some(ObjectState::StartAgain) => self.start(&create, None),
                Some(ObjectState::Steps(steps)) => {
                    self.start(&create, Some(Saved { steps: Arc::new(steps), position }));
                    restored.push(create.id);
                }
            }
        }
        self.read_for_formers();
        self.end_unused();
        // Keys are judged by what tables have published: nobody may write before they have.
        self.workers.sync();
        for id in restored {
            if let Some(error) = self.live(id).and_then(|live| live.failure().cloned()) {
                return Err(error);
            }
        }
        Ok(())
    }

    /// What had failed is there to be seen and dropped; nothing runs behind it.
    fn start_failed(&mut self, create: &Create, position: Option<Position>, error: Error) {
        let key = match &create.runtime {
            Runtime::Table { key, .. } | Runtime::Former { key, .. } => key.clone(),
            Runtime::None
            | Runtime::Source(_)
            | Runtime::View { .. }
            | Runtime::Query { .. }
            | Runtime::Sink { .. }
            | Runtime::Index { .. }
            | Runtime::Pour { .. }
            | Runtime::Arrangement { .. } => None,
        };
        let live = Arc::new(self.new_live(create, key, false));
        if let Runtime::Table { feed: Feed::Connector(stream), .. } | Runtime::Source(stream) =
            &create.runtime
        {
            let source = self.add_source(create, stream, position);
            source.fail(error.message.clone());
        }
        self.publish(create.id, live.clone());
        live.fail(error);
    }
}

fn dropped(name: &str) -> Error {
    let message = format!("\"{name}\" was dropped while a checkpoint was taken");
    Error::new(SqlState::UNDEFINED_TABLE, message)
}

impl Runtime {
    fn is_running(&self) -> bool {
        match self {
            Runtime::None
            | Runtime::Index { .. }
            | Runtime::Query { .. }
            | Runtime::Pour { .. } => false,
            Runtime::Table { .. }
            | Runtime::Source(_)
            | Runtime::Former { .. }
            | Runtime::View { .. }
            | Runtime::Sink { .. }
            | Runtime::Arrangement { .. } => true,
        }
    }
}
