//! Subscriptions: feeds tapped from objects, and dataflows that are there for one subscription alone.
//!
//! A feed gets what its object's hubs apply after an epoch at which the object can be read: together they are all of its
//! changes, without gap or overlap. A query becomes a view without a name: workers maintain it as any other, the catalog,
//! the log and checkpoints do not know it, and it goes with its subscription or with anything that it reads.

use std::sync::Arc;

use super::super::subscriptions::{Subscribe, Subscribed, To};
use super::super::{Create, Reply, Runtime};
use super::Core;
use crate::arrangement::feed::Feed;
use crate::catalog::ObjectId;
use crate::dataflow::{Command, HubSpec, ViewSpec};
use crate::error::{Error, Result, SqlState};
use crate::memory::Purpose;

impl Core {
    pub(super) fn subscribe(&mut self, subscribe: Subscribe, reply: Reply<Subscribed>) {
        match self.begin_subscription(subscribe) {
            Ok((subscribed, false)) => {
                // Nobody may be left to tell; what is dropped ends itself.
                let _ = reply.send(Ok(subscribed));
            }
            Ok((mut subscribed, true)) => {
                let clock = self.shared.clock.clone();
                self.answers.push(Box::new(move |epoch| {
                    subscribed.pin = Some(clock.pin(epoch));
                    let _ = reply.send(Ok(subscribed));
                }));
            }
            Err(error) => {
                let _ = reply.send(Err(error));
            }
        }
    }

    /// Also says whether what is read begins with the open epoch, which must be closed first.
    fn begin_subscription(&mut self, subscribe: Subscribe) -> Result<(Subscribed, bool)> {
        let (object, opens) = match &subscribe.to {
            To::Object(object) => (*object, false),
            To::Query(create) => (create.id, true),
        };
        if let To::Query(create) = subscribe.to {
            // What was written before is part of what the subscription begins with.
            self.take_writes();
            self.create_query(&create)?;
        } else {
            self.check_inputs(&[object])?;
        }
        let began = if opens { self.open } else { self.open.prev() };
        let after = subscribe.as_of.map_or(began, |epoch| epoch.max(began));
        let (workers, counters) = (self.workers.count(), self.shared.feeds.clone());
        let feed = Arc::new(Feed::new(workers, subscribe.limits, counters, subscribe.held));
        let live = self.live(object).ok_or_else(|| Error::internal("it has just been checked"))?;
        self.workers.send(Command::Tap(object, feed.clone(), after));
        let pin = (!opens).then(|| self.shared.clock.pin(began));
        let query = subscribe.query;
        Ok((Subscribed { live, feed, began, after, pin, _query: query }, opens))
    }

    fn create_query(&mut self, create: &Create) -> Result<()> {
        let Runtime::Query { plan, stored } = &create.runtime else {
            return Err(Error::internal("a subscription is of a query"));
        };
        self.check_inputs(&self.inputs(create))?;
        self.shared.memory.admit(Purpose::Write, &create.name, 0)?;
        let key = plan.key();
        let live = Arc::new(self.new_live(create, key.clone(), plan.properties.append_only));
        let (object, schema) = (create.id, create.schema.clone());
        let arrangements = self.share(create);
        self.read_inputs(object, plan, false);
        let hub = HubSpec::new(object, schema, key, live);
        // A row that cannot be evaluated ends the subscription, as it ends a SELECT: nobody would look for its dead letters.
        let hub = HubSpec { stored: *stored, fail_on_error: true, ..hub };
        self.queries.insert(object, plan.clone());
        self.dirty = true;
        let spec = ViewSpec::new(hub, plan.clone(), self.workers.count());
        self.install(ViewSpec { arrangements, ..spec });
        Ok(())
    }

    /// A subscription has ended, and its query with it.
    pub(super) fn unsubscribe(&mut self, query: ObjectId) {
        if self.queries.remove(&query).is_some() {
            self.end(query);
            self.unshare(query);
            self.end_unread();
        }
    }

    /// Ends the subscriptions that read what is about to be dropped.
    pub(super) fn end_queries_over(&mut self, dropped: &[ObjectId]) {
        for object in dropped {
            let readers = self.readers.get(object).into_iter().flatten();
            let queries: Vec<ObjectId> =
                readers.filter(|reader| self.queries.contains_key(reader)).copied().collect();
            let Some(name) = self.live(*object).map(|live| live.names().object.clone()) else {
                continue;
            };
            let message = format!("relation \"{name}\" has been dropped");
            self.end_queries(&queries, &Error::new(SqlState::UNDEFINED_TABLE, message));
        }
    }

    pub(super) fn end_queries(&mut self, queries: &[ObjectId], error: &Error) {
        for &query in queries {
            if let Some(live) = self.live(query) {
                live.fail(error.clone());
            }
            self.unsubscribe(query);
        }
    }
}
