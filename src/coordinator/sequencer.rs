//! The DML sequencer: folds each write against its table's state plus what is accepted and not yet applied.
//!
//! Whatever may be refused (a duplicate key, a NULL in a NOT NULL column) is refused here, so nothing downstream ever is.
//! A table with a primary key has an overlay: the keys written in epochs that the table has not applied yet. Of every table
//! [`Recent`] knows what was written since the oldest epoch that a transaction may have read.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

use arrow::row::{Row, RowConverter, Rows, SortField};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::Schema;
use hashbrown::HashTable;

use crate::arrangement::live::LiveTable;
use crate::canonical::canonical;
use crate::catalog::ObjectId;
use crate::change::{ChangeBatch, take_rows};
use crate::epoch::Epoch;
use crate::error::{Error, Result, SqlState};
use crate::hash::hash_columns;
use crate::types::row_values;

/// What a statement does to a table: first what is deleted goes, then what is inserted comes. The rows deleted were read under
/// the table's lock and are there.
#[derive(Clone, Debug, Default)]
pub struct Write {
    pub deletes: Vec<RecordBatch>,
    pub inserts: Vec<RecordBatch>,
    /// ON CONFLICT DO NOTHING: rows whose key is taken are left out instead of refused.
    pub skip_conflicts: bool,
}

impl Write {
    /// The rows a client is told of: those inserted, or deleted where none are.
    pub fn rows(&self) -> usize {
        let count = |batches: &[RecordBatch]| batches.iter().map(RecordBatch::num_rows).sum();
        if self.inserts.is_empty() { count(&self.deletes) } else { count(&self.inserts) }
    }
}

/// Keys written in one epoch, each once, and whether it is taken now.
struct KeySet {
    epoch: Epoch,
    keys: Rows,
    taken: Vec<bool>,
    /// Places in `keys`, by hash.
    places: HashTable<(u64, u32)>,
}

impl KeySet {
    fn new(epoch: Epoch, converter: &RowConverter) -> KeySet {
        let keys = converter.empty_rows(0, 0);
        KeySet { epoch, keys, taken: vec![], places: HashTable::new() }
    }

    fn place(&self, hash: u64, key: Row<'_>) -> Option<usize> {
        let found =
            self.places.find(hash, |(h, at)| *h == hash && self.keys.row(*at as usize) == key);
        found.map(|(_, at)| *at as usize)
    }

    fn get(&self, hash: u64, key: Row<'_>) -> Option<bool> {
        self.place(hash, key).map(|at| self.taken[at])
    }

    fn set(&mut self, hash: u64, key: Row<'_>, taken: bool) {
        if let Some(at) = self.place(hash, key) {
            self.taken[at] = taken;
            return;
        }
        let at = self.taken.len() as u32;
        self.keys.push(key);
        self.taken.push(taken);
        self.places.insert_unique(hash, (hash, at), |(hash, _)| *hash);
    }
}

/// Keys of a batch with their hashes.
struct Keys {
    columns: Vec<ArrayRef>,
    rows: Rows,
    hashes: Vec<u64>,
}

/// Keys of one table written lately, one set an epoch, oldest first.
struct Overlay {
    converter: RowConverter,
    sets: VecDeque<KeySet>,
}

impl Overlay {
    fn new(live: &LiveTable) -> Result<Overlay> {
        let fields = live.key.iter().map(|&k| live.schema.field(k).data_type().clone());
        let converter = RowConverter::new(fields.map(SortField::new).collect()).map_err(failed)?;
        Ok(Overlay { converter, sets: VecDeque::new() })
    }

    fn keys(&self, live: &LiveTable, rows: &RecordBatch) -> Result<Keys> {
        let columns = key_columns(live, rows);
        let mut hashes = vec![];
        hash_columns(&columns, rows.num_rows(), &mut hashes);
        let rows = self.converter.convert_columns(&columns).map_err(failed)?;
        Ok(Keys { columns, rows, hashes })
    }

    /// Whether a key is taken, as far as it was written lately.
    fn get(&self, hash: u64, key: Row<'_>) -> Option<bool> {
        self.sets.iter().rev().find_map(|set| set.get(hash, key))
    }

    /// The set of the epoch that is open.
    fn open(&mut self, epoch: Epoch) -> &mut KeySet {
        if self.sets.back().is_none_or(|set| set.epoch != epoch) {
            self.sets.push_back(KeySet::new(epoch, &self.converter));
        }
        self.sets.back_mut().expect("pushed where there was none")
    }

    /// Forgets what the table has applied.
    fn forget(&mut self, complete: Epoch) {
        while self.sets.front().is_some_and(|set| set.epoch <= complete) {
            self.sets.pop_front();
        }
    }
}

/// What went from a table in each of the last epochs in which it was written to: hashes of its rows' keys, or of whole rows
/// without a key. What is there as of an epoch and changes later goes first. Two rows of one hash are taken for one, which
/// costs a transaction a needless repetition once in a lifetime.
#[derive(Default)]
struct Recent(VecDeque<(Epoch, HashSet<u64>)>);

impl Recent {
    fn note(&mut self, epoch: Epoch, hashes: &[u64]) {
        if self.0.back().is_none_or(|(last, _)| *last != epoch) {
            self.0.push_back((epoch, HashSet::new()));
        }
        self.0.back_mut().expect("pushed where there was none").1.extend(hashes);
    }

    fn since(&self, epoch: Epoch) -> impl Iterator<Item = &HashSet<u64>> {
        self.0.iter().filter(move |(written, _)| *written > epoch).map(|(_, hashes)| hashes)
    }

    /// Forgets what nobody asks about any more.
    fn forget(&mut self, oldest: Epoch) {
        while self.0.front().is_some_and(|(epoch, _)| *epoch <= oldest) {
            self.0.pop_front();
        }
    }
}

/// What is accepted and not everywhere known.
#[derive(Default)]
pub struct Sequencer {
    /// Of tables with a primary key.
    overlays: HashMap<ObjectId, Overlay>,
    recent: HashMap<ObjectId, Recent>,
}

impl Sequencer {
    /// Checks a write that is to be part of `epoch`; returns the change and the number of rows inserted, or deleted
    /// where none are. `key_name` tells what the key's constraint is called; without it rows replace those of their key.
    pub fn accept(
        &mut self,
        table: ObjectId,
        live: &LiveTable,
        mut write: Write,
        epoch: Epoch,
        key_name: Option<&dyn Fn() -> String>,
    ) -> Result<(Vec<ChangeBatch>, usize)> {
        let names = live.names();
        let checked = |rows| check_not_null(&names.object, &names.columns, rows);
        write.inserts.iter().try_for_each(checked)?;
        if live.key_is_unique
            && !live.key.is_empty()
            && let Some(key_name) = key_name
        {
            self.check_keys(table, live, &mut write, epoch, key_name)?;
        }
        let rows = write.rows();
        let deletes = write.deletes.into_iter().map(ChangeBatch::deletes);
        let changes = deletes.chain(write.inserts.into_iter().map(ChangeBatch::inserts));
        Ok((changes.filter(|c| !c.is_empty()).collect(), rows))
    }

    /// Notes for later transactions what an accepted change takes away.
    pub fn note(
        &mut self,
        table: ObjectId,
        live: &LiveTable,
        changes: &[ChangeBatch],
        epoch: Epoch,
    ) {
        let recent = self.recent.entry(table).or_default();
        for change in changes {
            let inserted = change.weights.first().is_some_and(|weight| *weight > 0);
            let gone = if inserted { vec![] } else { identities(live, change.rows()) };
            recent.note(epoch, &gone);
        }
    }

    /// Forgets what nobody asks about any more: of what a table has applied, which `complete` tells, and of epochs up to
    /// `oldest`. Without this, a table would keep the keys of its last write until the next one.
    pub fn settle(&mut self, complete: impl Fn(ObjectId) -> Option<Epoch>, oldest: Epoch) {
        for (table, overlay) in &mut self.overlays {
            if let Some(complete) = complete(*table) {
                overlay.forget(complete);
            }
        }
        self.recent.retain(|_, recent| {
            recent.forget(oldest);
            !recent.0.is_empty()
        });
    }

    /// Whether somebody has written to one of these rows after `epoch`.
    pub fn is_touched(
        &self,
        table: ObjectId,
        live: &LiveTable,
        rows: &[RecordBatch],
        epoch: Epoch,
    ) -> bool {
        let Some(recent) = self.recent.get(&table) else { return false };
        if recent.since(epoch).next().is_none() {
            return false;
        }
        let touched = |hash: &u64| recent.since(epoch).any(|hashes| hashes.contains(hash));
        rows.iter().any(|rows| identities(live, rows).iter().any(touched))
    }

    /// Whether anything was written to a table after `epoch`.
    pub fn is_changed(&self, table: ObjectId, epoch: Epoch) -> bool {
        self.recent.get(&table).is_some_and(|recent| recent.since(epoch).next().is_some())
    }

    /// Takes back what `accept` noted of a write that is not applied after all.
    pub fn undo(
        &mut self,
        table: ObjectId,
        live: &LiveTable,
        changes: &[ChangeBatch],
        epoch: Epoch,
    ) -> Result<()> {
        let Some(overlay) = self.overlays.get_mut(&table) else { return Ok(()) };
        // Deletes come first in a write: a key both deleted and inserted was taken before.
        for change in changes.iter().rev() {
            let taken = change.weights.first().is_some_and(|w| *w < 0);
            let keys = overlay.keys(live, change.rows())?;
            let set = overlay.open(epoch);
            for (key, &hash) in keys.rows.iter().zip(&keys.hashes) {
                set.set(hash, key, taken);
            }
        }
        Ok(())
    }

    pub fn forget(&mut self, table: ObjectId) {
        self.overlays.remove(&table);
        self.recent.remove(&table);
    }

    /// Finds the keys that are taken: they are refused, or their rows left out of the write.
    fn check_keys(
        &mut self,
        table: ObjectId,
        live: &LiveTable,
        write: &mut Write,
        epoch: Epoch,
        key_name: &dyn Fn() -> String,
    ) -> Result<()> {
        let overlay = match self.overlays.entry(table) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(free) => free.insert(Overlay::new(live)?),
        };
        // First what is applied, then the versions: a key is found in at least one of the two.
        overlay.forget(live.complete());
        // What this write does is noted for others only once all of it is accepted.
        let mut accepted = KeySet::new(epoch, &overlay.converter);
        for rows in &write.deletes {
            let keys = overlay.keys(live, rows)?;
            for (key, &hash) in keys.rows.iter().zip(&keys.hashes) {
                accepted.set(hash, key, false);
            }
        }
        for rows in &mut write.inserts {
            let keys = overlay.keys(live, rows)?;
            let stored = stored_keys(live, &keys);
            let mut fresh = Vec::with_capacity(rows.num_rows());
            for (row, (key, &hash)) in keys.rows.iter().zip(&keys.hashes).enumerate() {
                let taken = accepted.get(hash, key).or_else(|| overlay.get(hash, key));
                if !taken.unwrap_or(stored[row]) {
                    accepted.set(hash, key, true);
                    fresh.push(row as u32);
                } else if !write.skip_conflicts {
                    return Err(duplicate(live, rows, row, &key_name()));
                }
            }
            if fresh.len() < rows.num_rows() {
                *rows = take_rows(rows, &fresh).map_err(failed)?;
            }
        }
        let open = overlay.open(epoch);
        if open.taken.is_empty() {
            *open = accepted;
            return Ok(());
        }
        for &(hash, at) in &accepted.places {
            let at = at as usize;
            open.set(hash, accepted.keys.row(at), accepted.taken[at]);
        }
        Ok(())
    }
}

fn failed(e: arrow_schema::ArrowError) -> Error {
    Error::internal(e.to_string())
}

/// The key of each row, in canonical form: `-0` and `0` are one key.
pub fn key_columns(live: &LiveTable, rows: &RecordBatch) -> Vec<ArrayRef> {
    live.key.iter().map(|&k| canonical(rows.column(k))).collect()
}

/// For each row: does the table have its key, as far as its workers have come? That is the truth for every key that the
/// overlay does not know: nothing has been written to it since.
fn stored_keys(live: &LiveTable, keys: &Keys) -> Vec<bool> {
    let mut stored = vec![false; keys.hashes.len()];
    for version in live.newest() {
        let Some(snapshot) = &version.rows else { continue };
        let mut found = vec![];
        snapshot.contains_keys(&keys.columns, &keys.hashes, &mut found);
        stored.iter_mut().zip(found).for_each(|(s, f)| *s |= f);
    }
    stored
}

/// What tells rows apart: a hash of the key, or of the whole row.
fn identities(live: &LiveTable, rows: &RecordBatch) -> Vec<u64> {
    let keyed = live.key_is_unique && !live.key.is_empty();
    let columns = if keyed { key_columns(live, rows) } else { rows.columns().to_vec() };
    let mut hashes = vec![];
    hash_columns(&columns, rows.num_rows(), &mut hashes);
    hashes
}

/// 23505 for a row whose key is taken.
pub fn duplicate(live: &LiveTable, rows: &RecordBatch, row: usize, key_name: &str) -> Error {
    let columns = live.names().columns.clone();
    let names: Vec<&str> = live.key.iter().map(|&k| columns.field(k).name().as_str()).collect();
    let values = rows.project(&live.key).map(|key| row_values(&key, row));
    let message = format!("duplicate key value violates unique constraint \"{key_name}\"");
    let error = Error::new(SqlState::UNIQUE_VIOLATION, message)
        .about_constraint(&live.names().object, key_name);
    match values {
        Ok(values) => error.with_detail(format!(
            "Key ({})=({}) already exists.",
            names.join(", "),
            values.join(", ")
        )),
        Err(_) => error,
    }
}

/// Refuses a NULL where the table has none: 23502.
pub fn check_not_null(table: &str, columns: &Schema, rows: &RecordBatch) -> Result<()> {
    for (field, column) in columns.fields().iter().zip(rows.columns()) {
        if field.is_nullable() || column.null_count() == 0 {
            continue;
        }
        let row = (0..column.len()).find(|&row| column.is_null(row)).unwrap_or(0);
        let message = format!(
            "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
            field.name(),
            table
        );
        let detail = format!("Failing row contains ({}).", row_values(rows, row).join(", "));
        return Err(Error::new(SqlState::NOT_NULL_VIOLATION, message)
            .with_detail(detail)
            .about_column(table, field.name()));
    }
    Ok(())
}
