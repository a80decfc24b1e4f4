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
use crate::coordinator::{Alter, Create, Former, Reshape, Runtime};
use crate::dataflow::{Command, HubSpec};
use crate::error::{Error, Result, SqlState};

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
            None => drop(self.shared.catalog.apply(CatalogChange::Alter(change))?),
            Some(reshape) => {
                self.check_reshape(&reshape, &gone)?;
                let rows = self.begin_reshaped(&reshape)?;
                if let Err(error) = self.shared.catalog.apply(CatalogChange::Alter(change)) {
                    self.forget(reshape.table.id);
                    return Err(error);
                }
                self.feed(reshape.table.id, rows);
                self.end_dropped(&gone);
                self.renumber_indexes(&reshape);
                self.follow_on(&reshape)?;
            }
        }
        // A transaction that has read or written before knows nothing of what a table demands now.
        self.altered.extend(altered.into_iter().map(|id| (id, self.open)));
        self.end_unread();
        self.dirty = true;
        Ok(())
    }

    fn end_dropped(&mut self, dropped: &[ObjectId]) {
        self.end_queries_over(dropped);
        for &id in dropped {
            self.forget(id);
            self.unshare(id);
        }
    }

    /// What goes on reading the table as it was must not depend on what it will not find there.
    fn check_reshape(&self, reshape: &Reshape, gone: &[ObjectId]) -> Result<()> {
        let mut but: BTreeSet<ObjectId> = gone.iter().copied().collect();
        but.extend(reshape.indexes.iter().map(|(old, _)| *old));
        let Runtime::Table { key, .. } = &reshape.table.runtime else { return Ok(()) };
        for (former, columns) in self.formers_after(reshape) {
            if !self.is_read(former, &but) {
                continue;
            }
            let Some(live) = self.live(former) else { continue };
            if let Some(error) = live.failure() {
                return Err(error.clone());
            }
            let found: Vec<Option<usize>> = live.key.iter().map(|&k| columns[k]).collect();
            let identifies =
                key.as_ref().is_some_and(|key| key.iter().all(|k| found.contains(&Some(*k))));
            if live.key_is_unique && !(identifies && found.iter().all(Option::is_some)) {
                let message =
                    "cannot change the primary key of a table that materialized views read";
                return Err(Error::unsupported(message)
                    .with_hint("Drop the views first, and create them again behind."));
            }
            if columns.contains(&None) && reshape.append_only {
                let message = "cannot drop columns of an APPEND ONLY table that others read";
                return Err(Error::unsupported(message)
                    .with_hint("Drop what reads it first, and create it again behind."));
            }
        }
        Ok(())
    }

    /// The table as it was and the formers that follow it, with where their columns will be.
    fn formers_after(&self, reshape: &Reshape) -> Vec<(ObjectId, Vec<Option<usize>>)> {
        let compose = |columns: &[Option<usize>]| -> Vec<Option<usize>> {
            columns.iter().map(|at| at.and_then(|at| reshape.columns[at])).collect()
        };
        let formers = self.formers.iter().filter(|(_, former)| former.of == reshape.old);
        let mut all: Vec<_> = formers.map(|(id, former)| (*id, compose(&former.columns))).collect();
        all.push((reshape.old, reshape.columns.clone()));
        all
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
    fn follow_on(&mut self, reshape: &Reshape) -> Result<()> {
        let base = reshape.table.id;
        let but = reshape.indexes.iter().map(|(old, _)| *old).collect();
        for (id, columns) in self.formers_after(reshape) {
            if !self.is_read(id, &but) {
                continue;
            }
            let before = match self.formers.get(&id) {
                Some(former) => former.columns.clone(),
                None => (0..columns.len()).map(Some).collect(),
            };
            self.leave_columns(id, &before, &columns, &reshape.old_rows)?;
            let Some(definition) = self.definitions.get(&id) else { continue };
            let stored = !matches!(
                definition.runtime,
                Runtime::Source(_) | Runtime::Former { stored: false, .. }
            );
            let (key, upsert) = match &definition.runtime {
                Runtime::Table { key, stream } => {
                    (key.clone(), stream.as_ref().is_some_and(|stream| stream.upsert))
                }
                Runtime::Former { key, upsert, .. } => (key.clone(), *upsert),
                _ => (None, false),
            };
            let former = Former { of: base, columns };
            let runtime = Runtime::Former { key, stored, upsert, former: former.clone() };
            let create = Create { runtime, ..definition.as_ref().clone() };
            self.definitions.insert(id, Arc::new(create));
            self.sequencer.forget(id);
            self.formers.insert(id, former);
            self.readers.entry(base).or_default().push(id);
        }
        self.take_over_source(reshape);
        if !self.formers.contains_key(&reshape.old) {
            self.supersede(reshape.old);
        }
        Ok(())
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

    /// Columns that a former table will not be told of any more are NULL from now on, so that the rows to come fit those
    /// there are. Nobody reads these columns.
    fn leave_columns(
        &mut self,
        id: ObjectId,
        before: &[Option<usize>],
        after: &[Option<usize>],
        rows: &[RecordBatch],
    ) -> Result<()> {
        let left = |at: usize| before[at].is_some() && after[at].is_none();
        if !(0..before.len()).any(left) {
            return Ok(());
        }
        let Some(live) = self.live(id) else { return Ok(()) };
        let now: Vec<Option<usize>> =
            (0..before.len()).map(|at| before[at].filter(|_| after[at].is_some())).collect();
        let mut changes = vec![];
        for rows in rows.iter().filter(|rows| rows.num_rows() > 0) {
            changes.push(ChangeBatch::deletes(cut(&live.schema, rows, before)?));
            changes.push(ChangeBatch::inserts(cut(&live.schema, rows, &now)?));
        }
        self.fed(&changes);
        self.workers.send(Command::Feed(id, changes));
        Ok(())
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
    /// Whether a connector feeds it.
    fn is_fed(&self) -> bool {
        matches!(self, Runtime::Table { stream: Some(_), .. } | Runtime::Source(_))
    }
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
