//! What is told of dataflows while they run, and the end of those that are still being filled.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::Reply;
use super::super::running::{Fill, Running};
use super::super::sources::Backfill;
use super::Core;
use crate::catalog::{CatalogChange, DropPlan, ObjectId};
use crate::dataflow::ViewSpec;
use crate::error::{Error, Result, SqlState};
use crate::plan::Node;
use crate::plan::shared::listed;

impl Core {
    /// Makes a dataflow known that is about to be installed.
    pub(super) fn note_running(&self, spec: &ViewSpec) {
        let filled = spec.hub.state.is_some();
        let fill = (!filled).then(|| Fill::new(self.open, self.rows_to_read(&spec.plan)));
        let running = Arc::new(Running {
            live: spec.hub.live.clone(),
            plan: spec.plan.clone(),
            arrangements: spec.arrangements.clone(),
            meters: spec.meters.clone(),
            fill,
        });
        self.set_running(|map| drop(map.insert(spec.hub.object, running)));
    }

    pub(super) fn set_running(&self, change: impl FnOnce(&mut HashMap<ObjectId, Arc<Running>>)) {
        let mut map = HashMap::clone(&self.shared.running.load());
        change(&mut map);
        self.shared.running.store(Arc::new(map));
    }

    /// The rows that there are now of the tables and views that a plan reads, each as often as it is read.
    fn rows_to_read(&self, plan: &Node) -> u64 {
        let live = self.shared.live.load();
        let operators = listed(plan).into_iter().filter(|listed| !listed.again);
        let read = operators.filter_map(|listed| live.get(&listed.node.imported()?));
        read.map(|table| table.rows()).sum()
    }

    /// A view has read more of a source.
    pub(super) fn note_progress(&self, backfill: &Backfill) {
        let running = self.shared.running.load();
        let fill = running.get(&backfill.view).and_then(|running| running.fill.as_ref());
        if let (Some(fill), Some(source)) = (fill, self.sources.get(&backfill.source)) {
            let (done, all) = backfill.progress(source);
            fill.read(backfill.source, done, all);
        }
    }

    pub(super) fn cancel(&mut self, id: ObjectId, reply: Reply<DropPlan>) {
        match self.end_fill(id) {
            Ok(plan) => self.answers.push(Box::new(move |_| {
                // Who has asked may have gone; what was asked for is done.
                let _ = reply.send(Ok(plan));
            })),
            Err(error) => {
                let _ = reply.send(Err(error));
            }
        }
    }

    /// Drops an object that is still being filled, and all that depend on it.
    fn end_fill(&mut self, id: ObjectId) -> Result<DropPlan> {
        let snapshot = self.shared.catalog.snapshot();
        let object = snapshot.get(id).filter(|_| self.is_filling(id)).ok_or_else(|| {
            let message = format!("job {id} has ended");
            Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                .with_hint("DROP removes what it has made.")
        })?;
        let name = object.name.clone();
        let plan = snapshot.plan_drop(&[id], true)?;
        // Whoever waits for it is told why it has gone, not that there is no such object.
        for holder in plan.ids().into_iter().chain(self.sharing.kept_for_alone(id)) {
            if let Some(live) = self.live(holder) {
                let message = format!("canceling creation of \"{name}\" due to user request");
                live.fail(Error::new(SqlState::QUERY_CANCELED, message));
            }
        }
        self.take_writes();
        self.drop_objects(CatalogChange::Drop(plan.ids()), &plan.ids())?;
        Ok(plan)
    }

    /// Whether an object, or the arrangement that an index stands for, cannot answer yet.
    fn is_filling(&self, id: ObjectId) -> bool {
        let running = self.shared.running.load();
        let filling = |id: ObjectId| running.get(&id).is_some_and(|running| running.is_filling());
        filling(id) || self.sharing.holders(id).any(filling)
    }
}
