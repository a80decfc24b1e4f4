//! Arrangements that joins share: an object's rows by some of its columns, kept once, however many look them up.
//!
//! An object's own arrangement serves those that look it up by its key. For any other columns there is a dataflow that keeps
//! the object's rows by them, begun with the first view or index that wants it and ended with the last one. It is an object like
//! others to workers and checkpoints, and none to the catalog.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::super::{Create, Runtime};
use super::Core;
use super::checkpoints::Saved;
use crate::arrangement::live::Index;
use crate::catalog::{ObjectId, Unique};
use crate::coordinator::sequencer::UniqueKey;
use crate::dataflow::{Arrangements, HubSpec, ViewSpec};
use crate::plan::{Node, Op, Properties};

/// Who keeps an object's rows by a key, and for whom.
struct Kept {
    holder: ObjectId,
    users: BTreeSet<ObjectId>,
}

/// The arrangements there are beside those of the objects themselves.
#[derive(Default)]
pub struct Sharing {
    kept: BTreeMap<(ObjectId, Vec<usize>), Kept>,
}

impl Sharing {
    /// Who keeps rows for an object.
    pub(super) fn holders(&self, user: ObjectId) -> impl Iterator<Item = ObjectId> {
        self.kept.values().filter(move |kept| kept.users.contains(&user)).map(|kept| kept.holder)
    }

    /// Who keeps rows for an object and for nobody else.
    pub(super) fn kept_for_alone(&self, user: ObjectId) -> impl Iterator<Item = ObjectId> {
        let alone = move |kept: &&Kept| kept.users.len() == 1 && kept.users.contains(&user);
        self.kept.values().filter(alone).map(|kept| kept.holder)
    }
}

impl Core {
    /// Who keeps what an object looks up; begins what nobody keeps yet.
    pub(super) fn share(&mut self, create: &Create) -> Arrangements {
        let mut found = Arrangements::new();
        let mut spare_ids = create.spare_ids.iter();
        for (object, key) in create.runtime.arrangements() {
            let Some(live) = self.live(object) else { continue };
            let wanted = (object, key);
            if live.key_is_unique && live.key == wanted.1 {
                found.insert(wanted, object);
                continue;
            }
            if !self.sharing.kept.contains_key(&wanted)
                && let Some(&id) = spare_ids.next()
            {
                let names = wanted.1.iter().map(|&c| live.schema.field(c).name().as_str());
                let name = format!(
                    "{} by ({})",
                    live.names().object,
                    names.collect::<Vec<_>>().join(", ")
                );
                let (schema, key) = (live.schema.clone(), wanted.1.clone());
                let runtime = Runtime::Arrangement { object, key };
                self.begin(Create { change: None, id, name, schema, runtime, spare_ids: vec![] });
            }
            let Some(kept) = self.sharing.kept.get_mut(&wanted) else { continue };
            kept.users.insert(create.id);
            let holder = kept.holder;
            // Where it has failed the view does without it.
            if self.live(holder).is_some_and(|live| live.failure().is_none()) {
                self.readers.entry(holder).or_default().push(create.id);
                found.insert(wanted, holder);
            }
        }
        found
    }

    /// From now on a table's rows are told apart by a key, too. Its primary key does that anyway.
    pub(super) fn note_unique(
        &mut self,
        index: ObjectId,
        table: ObjectId,
        columns: Vec<usize>,
        unique: Unique,
    ) {
        let wanted = (table, columns);
        let Some(live) = self.sharing.kept.get(&wanted).and_then(|kept| self.live(kept.holder))
        else {
            return;
        };
        let indexes = self.shared.indexes.load();
        let known = indexes.get(&table).into_iter().flatten();
        let from = known.into_iter().find(|index| Arc::ptr_eq(&index.live, &live));
        let from = from.map_or(self.open, |index| index.from);
        let nulls_distinct = unique.nulls_distinct;
        let key = UniqueKey { id: index, columns: wanted.1, nulls_distinct, live, from };
        self.uniques.entry(table).or_default().push(key);
    }

    /// A table or index has gone.
    pub(super) fn forget_unique(&mut self, id: ObjectId) {
        self.uniques.remove(&id);
        self.uniques.values_mut().for_each(|keys| keys.retain(|key| key.id != id));
    }

    /// Whether a table's writes can be judged: what it is looked up by has all its rows.
    pub(super) fn judges_keys(&self, table: ObjectId) -> bool {
        let keys = self.uniques.get(&table).into_iter().flatten();
        let filled = |key: &UniqueKey| key.live.complete() >= key.from;
        keys.into_iter().all(|key| filled(key) || key.live.failure().is_some())
    }

    /// An object has gone; what was kept for it alone goes, too.
    pub(super) fn unshare(&mut self, user: ObjectId) {
        for kept in self.sharing.kept.values_mut() {
            kept.users.remove(&user);
        }
        self.end_unused();
    }

    /// Who looks things up in an arrangement; `None` for other objects.
    pub(super) fn users_of(&self, holder: ObjectId) -> Option<&BTreeSet<ObjectId>> {
        self.sharing.kept.values().find(|kept| kept.holder == holder).map(|kept| &kept.users)
    }

    /// Ends what is kept for nobody.
    pub(super) fn end_unused(&mut self) {
        let unused = self.sharing.kept.extract_if(.., |_, kept| kept.users.is_empty());
        for ((object, _), kept) in unused.collect::<Vec<_>>() {
            if let Some(live) = self.live(kept.holder) {
                self.set_indexes(object, |indexes| {
                    indexes.retain(|index| !Arc::ptr_eq(&index.live, &live));
                });
            }
            self.forget(kept.holder);
        }
    }

    /// Tells readers which arrangements there are of an object.
    fn set_indexes(&self, object: ObjectId, change: impl FnOnce(&mut Vec<Index>)) {
        let mut map = HashMap::clone(&self.shared.indexes.load());
        let indexes = map.entry(object).or_default();
        change(indexes);
        if indexes.is_empty() {
            map.remove(&object);
        }
        self.shared.indexes.store(Arc::new(map));
    }

    /// What an object reads, the arrangements that it shares included.
    pub(super) fn inputs(&self, create: &Create) -> Vec<ObjectId> {
        match &create.runtime {
            Runtime::View { plan, .. }
            | Runtime::Query { plan, .. }
            | Runtime::Sink { plan, .. } => {
                let shared = plan.arrangements();
                let shared = shared.iter().filter_map(|wanted| self.sharing.kept.get(wanted));
                plan.imports().into_iter().chain(shared.map(|kept| kept.holder)).collect()
            }
            Runtime::Arrangement { object, .. } => vec![*object],
            Runtime::Index { object, .. } => vec![*object],
            Runtime::None
            | Runtime::Table { .. }
            | Runtime::Source(_)
            | Runtime::Former { .. }
            | Runtime::Pour { .. } => {
                vec![]
            }
        }
    }

    pub(super) fn create_arrangement(
        &mut self,
        create: &Create,
        object: ObjectId,
        key: Vec<usize>,
        saved: Option<Saved>,
    ) {
        let live = Arc::new(self.new_live(create, None, false).with_lookup_key(key.clone()));
        let schema = create.schema.clone();
        let columns = (0..schema.fields().len()).collect();
        let op = Op::Import { object, name: create.name.clone(), columns, stored: true };
        let properties = Properties::default();
        let plan = Node { op, inputs: vec![], schema: schema.clone(), properties };
        self.readers.entry(object).or_default().push(create.id);
        let kept = Kept { holder: create.id, users: BTreeSet::new() };
        self.sharing.kept.insert((object, key.clone()), kept);
        // Restored, it has the rows as of the checkpoint.
        let from = if saved.is_some() { self.open.prev() } else { self.open };
        self.set_indexes(object, |indexes| indexes.push(Index { live: live.clone(), from }));
        let state = saved.map(|saved| saved.steps);
        let hub = HubSpec::new(create.id, schema, Some(key), live);
        let hub = HubSpec { copy: true, state, ..hub };
        self.install(ViewSpec::new(hub, Arc::new(plan), self.workers.count()));
    }
}
