//! Sinks: a dataflow that ends in an outbox, and the thread that empties it.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::Create;
use super::Core;
use super::checkpoints::Saved;
use crate::arrangement::live::LiveTable;
use crate::catalog::ObjectId;
use crate::dataflow::HubSpec;
use crate::egress::{Egress, Outbox, Sink, SinkStatus};
use crate::plan::Node;

impl Core {
    pub(super) fn create_sink(
        &mut self,
        create: &Create,
        plan: Arc<Node>,
        sink: Arc<Sink>,
        fail_on_error: bool,
        saved: Option<Saved>,
    ) {
        let (name, schema) = (create.name.clone(), plan.schema.clone());
        let (workers, progress) = (self.workers.count(), self.shared.progress.clone());
        // Nobody looks rows up: there are none.
        let live = LiveTable::new(name, schema.clone(), None, false, workers, progress);
        let live = Arc::new(live);
        let outbox = Arc::new(Outbox::new(workers, sink.shape.row_key()));
        let key = (!sink.shape.key.is_empty()).then(|| sink.shape.key.clone());
        let hub = HubSpec::new(create.id, schema, key, live.clone());
        let hub = HubSpec { stored: false, outbox: Some(outbox.clone()), fail_on_error, ..hub };
        self.follow(create, plan, hub, saved);
        let status = Arc::new(SinkStatus::default());
        self.set_sinks(|sinks| drop(sinks.insert(create.id, status.clone())));
        match Egress::start(sink, outbox, live.clone(), status) {
            Ok(egress) => drop(self.sinks.insert(create.id, egress)),
            Err(error) => live.fail(error),
        }
    }

    /// A dropped sink delivers nothing more.
    pub(super) fn end_sink(&mut self, id: ObjectId) {
        if self.sinks.remove(&id).is_some() {
            self.set_sinks(|sinks| drop(sinks.remove(&id)));
        }
    }

    fn set_sinks(&self, change: impl FnOnce(&mut HashMap<ObjectId, Arc<SinkStatus>>)) {
        let mut map = HashMap::clone(&self.shared.sinks.load());
        change(&mut map);
        self.shared.sinks.store(Arc::new(map));
    }
}
