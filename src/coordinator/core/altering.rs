//! ALTER: other definitions, and tables that get other columns.
//!
//! A table with other columns is a new object, begun with all its rows in the epoch in which the old one's number leaves the
//! catalog. What reads the old one goes on reading it: as a former table it follows, getting every change of the new one
//! cut to its own columns, in the same epoch and with NULL where a column is not there any more. It ends with its last reader.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, new_null_array};
use arrow_schema::{FieldRef, Schema, SchemaRef};
use datafusion::scalar::ScalarValue;

use super::Core;
use super::checkpoints::Saved;
use crate::arrangement::live::LiveTable;
use crate::catalog::{CatalogChange, ObjectId};
use crate::change::{ChangeBatch, Kind, batch_of};
use crate::coordinator::sequencer::Write;
use crate::coordinator::{Alter, Create, Feed, Former, Reshape, Runtime};
use crate::dataflow::{Command, HubSpec};
use crate::error::{Error, Result, SqlState};
use crate::plan::Node;

/// What is to follow a table, and the changes that make it fit.
struct Follower {
    id: ObjectId,
    former: Former,
    left: Vec<ChangeBatch>,
}

impl Core {
    /// Takes up what has been asked for; not while a checkpoint is taken, which still wants the tables as they were.
    pub(super) fn take_alters(&mut self) {
        while !self.checkpoints.is_pending()
            && let Some((alter, reply)) = self.alters.pop_front()
        {
            let outcome = self.alter(alter);
            self.answer(outcome, reply);
            self.begin_checkpoint();
        }
    }

    fn alter(&mut self, alter: Alter) -> Result<()> {
        self.take_writes();
        let Alter { change, reshape } = alter;
        let gone = change.dropped.clone();
        let altered: Vec<ObjectId> = change.objects.iter().map(|object| object.id).collect();
        match reshape {
            None => {
                self.shared.catalog.apply(CatalogChange::Alter(change))?;
                self.end_dropped(&gone);
            }
            Some(reshape) => {
                let formers = self.formers_after(&reshape, &gone)?;
                let rows = self.begin_reshaped(&reshape)?;
                if let Err(error) = self.shared.catalog.apply(CatalogChange::Alter(change)) {
                    self.forget(reshape.table.id);
                    return Err(error);
                }
                self.feed(reshape.table.id, rows);
                self.end_dropped(&gone);
                self.renumber_indexes(&reshape);
                self.follow_on(&reshape, formers);
            }
        }
        // A transaction that has read or written before knows nothing of what a table demands now.
        self.altered.extend(altered.into_iter().map(|id| (id, self.open)));
        self.end_unread();
        self.dirty = true;
        Ok(())
    }

    pub(super) fn hold(&mut self, id: ObjectId) -> Result<()> {
        let Some(source) = self.sources.get_mut(&id) else {
            let message = "the source has been altered or dropped meanwhile";
            return Err(Error::new(SqlState::SERIALIZATION_FAILURE, message));
        };
        source.held += 1;
        self.dirty = true;
        Ok(())
    }

    /// What has taken its place was never held.
    pub(super) fn release(&mut self, id: ObjectId) {
        if let Some(source) = self.sources.get_mut(&id) {
            source.held = source.held.saturating_sub(1);
        }
    }

    fn end_dropped(&mut self, dropped: &[ObjectId]) {
        self.end_queries_over(dropped);
        for &id in dropped {
            self.forget(id);
            self.unshare(id);
        }
    }

    /// What will follow the table as it is to be: the table as it was and what has followed that, as far as anything reads them
    /// that does not go. All that can fail is done here.
    fn formers_after(&self, reshape: &Reshape, gone: &[ObjectId]) -> Result<Vec<Follower>> {
        if self.backfills.iter().any(|backfill| backfill.source == reshape.old) {
            let message = "the source is being read for a view that is not filled yet";
            return Err(Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                .with_hint("Try again when that has finished."));
        }
        if let Some(error) = self.live(reshape.old).and_then(|live| live.failure().cloned()) {
            return Err(error);
        }
        let mut but: BTreeSet<ObjectId> = gone.iter().copied().collect();
        but.extend(reshape.indexes.iter().map(|(old, _)| *old));
        let whole =
            Former { of: reshape.old, columns: (0..reshape.columns.len()).map(Some).collect() };
        let formers = self.formers.iter().filter(|(_, former)| former.of == reshape.old);
        let all = formers.chain([(&reshape.old, &whole)]);
        let mut followers = vec![];
        for (&id, former) in all.filter(|(id, _)| self.is_read(**id, &but)) {
            let Some(live) = self.live(id).filter(|live| live.failure().is_none()) else {
                continue;
            };
            let after: Vec<Option<usize>> =
                former.columns.iter().map(|at| at.and_then(|at| reshape.columns[at])).collect();
            check_follower(&live, &after, reshape)?;
            self.check_readers(id, &after, &but)?;
            let left = leave_columns(&live, &former.columns, &after, &reshape.old_rows)?;
            let former = Former { of: reshape.table.id, columns: after };
            followers.push(Follower { id, former, left });
        }
        Ok(followers)
    }

    /// What runs must not look at a column that goes, whatever its text came to when it was planned again.
    fn check_readers(
        &self,
        id: ObjectId,
        columns: &[Option<usize>],
        but: &BTreeSet<ObjectId>,
    ) -> Result<()> {
        for create in self.definitions.values().filter(|create| !but.contains(&create.id)) {
            let (Runtime::View { plan, .. } | Runtime::Sink { plan, .. }) = &create.runtime else {
                continue;
            };
            if uses_left(plan, id, columns) {
                let message = "cannot alter a column because other objects depend on it";
                return Err(Error::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
                    .with_detail(format!("\"{}\" depends on it", create.name)));
            }
        }
        Ok(())
    }

    /// Whether anything but `but` reads an object; former tables that follow it do not count.
    fn is_read(&self, id: ObjectId, but: &BTreeSet<ObjectId>) -> bool {
        let readers = self.readers.get(&id).into_iter().flatten();
        readers.filter(|reader| !self.formers.contains_key(*reader)).any(|reader| {
            match self.users_of(*reader) {
                Some(users) => users.iter().any(|user| !but.contains(user)),
                None => !but.contains(reader),
            }
        })
    }

    /// Begins the table as it is to be; returns its rows as a change, all of them accepted.
    fn begin_reshaped(&mut self, reshape: &Reshape) -> Result<Vec<ChangeBatch>> {
        let id = reshape.table.id;
        self.begin(reshape.table.clone());
        let live = self.live(id).ok_or_else(|| Error::internal("it has just been begun"))?;
        live.begin_at(self.open);
        if reshape.table.runtime.is_fed() {
            return Ok(reshape.rows.iter().cloned().map(ChangeBatch::inserts).collect());
        }
        let write = Write { inserts: reshape.rows.clone(), ..Write::default() };
        match self.accept_write(id, write) {
            Ok((changes, _)) => Ok(changes),
            Err(error) => {
                self.forget(id);
                Err(not_unique(error))
            }
        }
    }

    /// The table as it was becomes a former one of the new, and those before it follow the new one, too.
    fn follow_on(&mut self, reshape: &Reshape, followers: Vec<Follower>) {
        let base = reshape.table.id;
        for follower in &followers {
            let uses = |(id, plan): (&ObjectId, &Arc<Node>)| {
                uses_left(plan, follower.id, &follower.former.columns).then_some(*id)
            };
            let queries: Vec<ObjectId> = self.queries.iter().filter_map(uses).collect();
            let message = "a column that the subscription is about has been altered";
            self.end_queries(&queries, &Error::new(SqlState::SERIALIZATION_FAILURE, message));
        }
        if let Some(live) = self.live(reshape.old) {
            live.end_at(self.open);
            call_former(&live, base);
        }
        for Follower { id, former, left } in followers {
            let Some(definition) = self.definitions.get(&id) else { continue };
            let runtime = definition.runtime.as_former(former.clone());
            let create = Create { runtime, ..definition.as_ref().clone() };
            self.definitions.insert(id, Arc::new(create));
            self.sequencer.forget(id);
            self.formers.insert(id, former);
            self.readers.entry(base).or_default().push(id);
            if !left.is_empty() {
                self.fed(&left);
                self.workers.send(Command::Feed(id, left));
            }
        }
        self.take_over_source(reshape);
        if !self.formers.contains_key(&reshape.old) {
            self.supersede(reshape.old);
        }
    }

    /// The stream is read under the new number from where it was read under the old one.
    fn take_over_source(&mut self, reshape: &Reshape) {
        let Some(old) = self.sources.remove(&reshape.old) else { return };
        let mut map = HashMap::clone(&self.shared.sources.load());
        map.remove(&reshape.old);
        self.shared.sources.store(Arc::new(map));
        let wake = self.wake.clone();
        if let Some(source) = self.sources.get_mut(&reshape.table.id) {
            source.go_on_at(old.position(), &wake);
        }
        self.read_for_formers();
    }

    /// A source is read for those that follow it; a table that a connector feeds reads everything itself.
    pub(super) fn read_for_formers(&mut self) {
        let wake = self.wake.clone();
        for (id, former) in &self.formers {
            if let Some(source) = self.sources.get_mut(&former.of)
                && !source.consumers.contains_key(&former.of)
            {
                source.add_consumer(*id, former.columns.iter().flatten().copied().collect(), &wake);
            }
        }
    }

    /// Changes go to a table or source, and to those that follow it.
    pub(super) fn feed(&mut self, id: ObjectId, changes: Vec<ChangeBatch>) {
        let formers: Vec<ObjectId> =
            self.formers.iter().filter(|(_, f)| f.of == id).map(|(id, _)| *id).collect();
        for former in formers {
            let Some(live) = self.live(former).filter(|live| live.failure().is_none()) else {
                continue;
            };
            match cut_changes(&live, &self.formers[&former].columns, &changes) {
                Ok(changes) => {
                    self.fed(&changes);
                    self.workers.send(Command::Feed(former, changes));
                }
                Err(error) => live.fail(error),
            }
        }
        self.fed(&changes);
        self.workers.send(Command::Feed(id, changes));
    }

    fn renumber_indexes(&mut self, reshape: &Reshape) {
        for (old, new) in &reshape.indexes {
            self.forget(*old);
            self.unshare(*old);
            self.begin(new.clone());
        }
    }

    pub(super) fn create_former(
        &mut self,
        create: &Create,
        former: &Former,
        hub: HubSpec,
        saved: Option<Saved>,
    ) {
        let state = saved.map(|saved| saved.steps);
        let (object, live) = (create.id, hub.live.clone());
        call_former(&live, former.of);
        self.workers.send(Command::Create(Arc::new(HubSpec { state, ..hub })));
        self.publish(object, live);
        self.bases.insert(object);
        self.formers.insert(object, former.clone());
        self.readers.entry(former.of).or_default().push(object);
    }

    /// Ends the former tables that nobody reads any more, or whose table has gone.
    pub(super) fn end_unread(&mut self) {
        let none = BTreeSet::new();
        let unread = self.formers.iter().filter(|(id, former)| {
            !self.is_read(**id, &none) || !self.definitions.contains_key(&former.of)
        });
        for id in unread.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.supersede(id);
        }
    }

    /// Ends a table of which there is a newer definition: whoever was about to read it has to look again.
    fn supersede(&mut self, id: ObjectId) {
        if let Some(live) = self.live(id) {
            let message = format!("\"{}\" has been altered meanwhile", live.names().object);
            live.fail(Error::new(SqlState::SERIALIZATION_FAILURE, message));
        }
        self.forget(id);
    }
}

impl Runtime {
    /// What runs behind a table when it has become a former one.
    fn as_former(&self, former: Former) -> Runtime {
        let (key, stored, upsert) = match self {
            Runtime::Table { key, feed } => (key.clone(), true, feed.upserts()),
            Runtime::Former { key, stored, upsert, .. } => (key.clone(), *stored, *upsert),
            Runtime::None
            | Runtime::Source(_)
            | Runtime::View { .. }
            | Runtime::Query { .. }
            | Runtime::Sink { .. }
            | Runtime::Index { .. }
            | Runtime::Pour { .. }
            | Runtime::Arrangement { .. } => (None, false, false),
        };
        Runtime::Former { key, stored, upsert, former }
    }

    /// Whether a connector feeds it.
    fn is_fed(&self) -> bool {
        matches!(self, Runtime::Table { feed: Feed::Connector(_), .. } | Runtime::Source(_))
    }
}

/// Whether a plan looks at columns of an object that are nowhere any more.
fn uses_left(plan: &Node, id: ObjectId, columns: &[Option<usize>]) -> bool {
    let imported = super::imported_columns(plan);
    imported.get(&id).is_some_and(|used| used.iter().any(|&at| columns[at].is_none()))
}

/// What goes on reading a table as it was must not depend on what it will not find there.
fn check_follower(live: &LiveTable, columns: &[Option<usize>], reshape: &Reshape) -> Result<()> {
    let Runtime::Table { key, .. } = &reshape.table.runtime else { return Ok(()) };
    let found: Vec<Option<usize>> = live.key.iter().map(|&k| columns[k]).collect();
    let identifies = key.as_ref().is_some_and(|key| key.iter().all(|k| found.contains(&Some(*k))));
    if live.key_is_unique && !(identifies && found.iter().all(Option::is_some)) {
        let message = "cannot change the primary key of a table that materialized views read";
        return Err(Error::unsupported(message)
            .with_hint("Drop the views first, and create them again behind."));
    }
    if columns.contains(&None) && reshape.append_only {
        let message = "cannot drop columns of an APPEND ONLY table that others read";
        return Err(Error::unsupported(message)
            .with_hint("Drop what reads it first, and create it again behind."));
    }
    Ok(())
}

/// Columns that a former table will not be told of any more are NULL from now on, so that the rows to come fit those there
/// are. Nobody reads these columns.
fn leave_columns(
    live: &LiveTable,
    before: &[Option<usize>],
    after: &[Option<usize>],
    rows: &[RecordBatch],
) -> Result<Vec<ChangeBatch>> {
    let left = |at: usize| before[at].is_some() && after[at].is_none();
    let mut changes = vec![];
    if !(0..before.len()).any(left) {
        return Ok(changes);
    }
    let now: Vec<Option<usize>> =
        (0..before.len()).map(|at| before[at].filter(|_| after[at].is_some())).collect();
    for rows in rows {
        changes.push(ChangeBatch::deletes(cut(&live.schema, rows, before)?));
        changes.push(ChangeBatch::inserts(cut(&live.schema, rows, &now)?));
    }
    changes.retain(|change| !change.is_empty());
    Ok(changes)
}

/// Beside the table itself a former one has a name of its own, in metrics and messages.
fn call_former(live: &LiveTable, of: ObjectId) {
    let names = live.names();
    live.rename(&format!("{} before {of}", names.object), names.columns.clone());
}

/// Changes as a former table gets them; what is no row is for its table alone.
fn cut_changes(
    live: &LiveTable,
    columns: &[Option<usize>],
    changes: &[ChangeBatch],
) -> Result<Vec<ChangeBatch>> {
    let rows = changes.iter().filter(|change| change.kind == Kind::Rows && !change.is_empty());
    rows.map(|change| {
        let batch = cut(&live.schema, change.rows(), columns)?;
        Ok(ChangeBatch::new(batch, change.weights.clone()))
    })
    .collect()
}

/// Rows under a schema of theirs: its columns from where they are, constants where they are nowhere.
fn cut(schema: &SchemaRef, rows: &RecordBatch, columns: &[Option<usize>]) -> Result<RecordBatch> {
    let array = |(field, at): (&FieldRef, &Option<usize>)| -> Result<ArrayRef> {
        match at {
            Some(at) => Ok(rows.column(*at).clone()),
            None if field.is_nullable() => Ok(new_null_array(field.data_type(), rows.num_rows())),
            // Nobody looks at it; but where a NULL cannot be, there is none.
            None => ScalarValue::new_default(field.data_type())
                .and_then(|value| value.to_array_of_size(rows.num_rows()))
                .map_err(|e| Error::internal(e.to_string())),
        }
    };
    let arrays = schema.fields().iter().zip(columns).map(array).collect::<Result<Vec<_>>>()?;
    // A message that deletes has nothing but its key.
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    batch_of(schema, arrays, rows.num_rows()).map_err(|e| Error::internal(e.to_string()))
}

/// What a key that is taken twice is called when there was no key before.
fn not_unique(error: Error) -> Error {
    if error.code != SqlState::UNIQUE_VIOLATION {
        return error;
    }
    let name = error.message.split('"').nth(1).unwrap_or_default();
    let message = format!("could not create unique index \"{name}\"");
    let detail = error.detail.map(|detail| detail.replace(" already exists.", " is duplicated."));
    Error { message, detail, ..Error::new(SqlState::UNIQUE_VIOLATION, "") }
}
