//! What sessions ask for with a subscription, and what they get: a feed of changes after an epoch, and that epoch to read at.

use std::sync::Arc;
use std::thread::Thread;

use crossbeam_channel::Sender;

use super::{Coordinator, Create, Request};
use crate::arrangement::feed::{Feed, Limits};
use crate::arrangement::live::{LiveTable, Pin};
use crate::catalog::ObjectId;
use crate::epoch::Epoch;
use crate::error::Result;
use crate::memory::{Holder, Reservation};

/// Whose changes.
pub enum To {
    /// A table, view or keyed source, which has them at hand.
    Object(ObjectId),
    /// A query, maintained while the subscription lives.
    Query(Box<Create>),
}

/// A subscription as it is asked for.
pub(crate) struct Subscribe {
    pub to: To,
    pub limits: Limits,
    /// For what waits in the feed.
    pub held: Reservation,
    /// The epoch to begin after, where that is still to come.
    pub as_of: Option<Epoch>,
    pub query: Option<RunningQuery>,
}

/// A subscription that has begun; it ends when this is dropped.
pub struct Subscribed {
    pub live: Arc<LiveTable>,
    /// All changes after `after`.
    pub feed: Arc<Feed>,
    /// The first epoch as of which the object could be read.
    pub began: Epoch,
    /// `began`, or a later epoch that was asked for.
    pub after: Epoch,
    /// Keeps `began` and what follows readable.
    pub pin: Option<Pin>,
    pub(super) _query: Option<RunningQuery>,
}

impl Drop for Subscribed {
    fn drop(&mut self) {
        self.feed.close();
    }
}

/// Ends a subscription's dataflow when it is dropped.
pub(crate) struct RunningQuery {
    id: ObjectId,
    requests: Sender<Request>,
    coordinator: Thread,
}

impl Drop for RunningQuery {
    fn drop(&mut self) {
        // A coordinator that has gone has ended all dataflows.
        let _ = self.requests.send(Request::Unsubscribe(self.id));
        self.coordinator.unpark();
    }
}

impl Coordinator {
    /// Begins a subscription after the newest epoch, or after `as_of` where that is later.
    pub async fn subscribe(
        &self,
        to: To,
        limits: Limits,
        as_of: Option<Epoch>,
    ) -> Result<Subscribed> {
        let query = match &to {
            To::Object(_) => None,
            To::Query(create) => Some(RunningQuery {
                id: create.id,
                requests: self.requests.clone(),
                coordinator: self.thread.clone(),
            }),
        };
        let held = self.shared.memory.reserve(Holder::Session, "the subscription");
        let subscribe = Subscribe { to, limits, held, as_of, query };
        self.ask(|reply| Request::Subscribe(Box::new(subscribe), reply)).await
    }
}
