//! The DML sequencer: folds each write against its table's state plus what is accepted and not yet applied.
//!
//! Whatever may be refused (a duplicate key, a NULL in a NOT NULL column) is refused here, so nothing downstream ever is.
//! Each key of a table, its primary key and those that are UNIQUE, has an overlay: the keys written in epochs that the
//! arrangement by it has not applied yet. Of every table [`Recent`] knows what was written since the oldest epoch that a transaction may have read.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

use arrow::row::{Row, RowConverter, Rows, SortField};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::Schema;
use hashbrown::HashTable;

use crate::arrangement::live::LiveTable;
pub use crate::arrangement::unique::UniqueKey;
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
    pub skip: Skip,
}

/// Which of a table's keys a row may meet without being refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Skip {
    #[default]
    Nothing,
    Any,
    /// The key of this number.
    Of(ObjectId),
}

impl Skip {
    fn is_of(self, key: ObjectId) -> bool {
        match self {
            Skip::Nothing => false,
            Skip::Any => true,
            Skip::Of(id) => id == key,
        }
    }
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
    /// Which of them are like no other.
    distinct: Vec<bool>,
}

/// Keys of one table written lately, one set an epoch, oldest first.
struct Overlay {
    key: UniqueKey,
    converter: RowConverter,
    sets: VecDeque<KeySet>,
}

impl Overlay {
    fn new(key: &UniqueKey) -> Result<Overlay> {
        let fields = key.columns.iter().map(|&k| key.live.schema.field(k).data_type().clone());
        let converter = RowConverter::new(fields.map(SortField::new).collect()).map_err(failed)?;
        Ok(Overlay { key: key.clone(), converter, sets: VecDeque::new() })
    }

    fn keys(&self, rows: &RecordBatch) -> Result<Keys> {
        let columns = key_columns(&self.key.columns, rows);
        let mut hashes = vec![];
        hash_columns(&columns, rows.num_rows(), &mut hashes);
        let distinct = self.key.distinct(rows);
        let rows = self.converter.convert_columns(&columns).map_err(failed)?;
        Ok(Keys { columns, rows, hashes, distinct })
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

    /// Forgets what the arrangement has applied.
    fn forget(&mut self) {
        let complete = self.key.live.complete();
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
    /// Of keys, by their numbers.
    overlays: HashMap<ObjectId, Overlay>,
    recent: HashMap<ObjectId, Recent>,
}

impl Sequencer {
    /// Checks a write that is to be part of `epoch`; returns the change and the number of rows inserted, or deleted
    /// where none are. `keys` are the table's, without those of which rows replace each other; `key_name` tells what a
    /// key's constraint is called.
    pub fn accept(
        &mut self,
        live: &LiveTable,
        mut write: Write,
        epoch: Epoch,
        keys: &[UniqueKey],
        key_name: &dyn Fn(ObjectId) -> String,
    ) -> Result<(Vec<ChangeBatch>, usize)> {
        let names = live.names();
        let checked = |rows| check_not_null(&names.object, &names.columns, rows);
        write.inserts.iter().try_for_each(checked)?;
        if !keys.is_empty() {
            self.check_keys(live, &mut write, epoch, keys, key_name)?;
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

    /// Forgets what nobody asks about any more: what has been applied, and epochs up to `oldest`. Without this, a table
    /// would keep the keys of its last write until the next one.
    pub fn settle(&mut self, oldest: Epoch) {
        self.overlays.values_mut().for_each(Overlay::forget);
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
        keys: &[UniqueKey],
        changes: &[ChangeBatch],
        epoch: Epoch,
    ) -> Result<()> {
        for key in keys {
            let Some(overlay) = self.overlays.get_mut(&key.id) else { continue };
            // Deletes come first in a write: a key both deleted and inserted was taken before.
            for change in changes.iter().rev() {
                let taken = change.weights.first().is_some_and(|w| *w < 0);
                let keys = overlay.keys(change.rows())?;
                let set = overlay.open(epoch);
                for (key, &hash) in keys.rows.iter().zip(&keys.hashes) {
                    set.set(hash, key, taken);
                }
            }
        }
        Ok(())
    }

    /// A table or key is gone.
    pub fn forget(&mut self, id: ObjectId) {
        self.overlays.remove(&id);
        self.recent.remove(&id);
    }

    /// Finds the keys that are taken: they are refused, or their rows left out of the write.
    fn check_keys(
        &mut self,
        live: &LiveTable,
        write: &mut Write,
        epoch: Epoch,
        keys: &[UniqueKey],
        key_name: &dyn Fn(ObjectId) -> String,
    ) -> Result<()> {
        // What this write does is noted for others only once all of it is accepted.
        let mut accepted = Vec::with_capacity(keys.len());
        for key in keys {
            let overlay = match self.overlays.entry(key.id) {
                Entry::Occupied(there) => there.into_mut(),
                Entry::Vacant(free) => free.insert(Overlay::new(key)?),
            };
            // First what is applied, then the versions: a key is found in at least one of the two.
            overlay.forget();
            let mut set = KeySet::new(epoch, &overlay.converter);
            for rows in &write.deletes {
                let keys = overlay.keys(rows)?;
                for (key, &hash) in keys.rows.iter().zip(&keys.hashes) {
                    set.set(hash, key, false);
                }
            }
            accepted.push(set);
        }
        let skip = write.skip;
        for rows in &mut write.inserts {
            let fresh = self.fresh(live, rows, keys, &mut accepted, skip, key_name)?;
            if fresh.len() < rows.num_rows() {
                *rows = take_rows(rows, &fresh).map_err(failed)?;
            }
        }
        for (key, accepted) in keys.iter().zip(accepted) {
            let Some(overlay) = self.overlays.get_mut(&key.id) else { continue };
            let open = overlay.open(epoch);
            if open.taken.is_empty() {
                *open = accepted;
                continue;
            }
            for &(hash, at) in &accepted.places {
                let at = at as usize;
                open.set(hash, accepted.keys.row(at), accepted.taken[at]);
            }
        }
        Ok(())
    }

    /// The places of rows that meet no other, which are accepted.
    fn fresh(
        &self,
        live: &LiveTable,
        rows: &RecordBatch,
        keys: &[UniqueKey],
        accepted: &mut [KeySet],
        skip: Skip,
        key_name: &dyn Fn(ObjectId) -> String,
    ) -> Result<Vec<u32>> {
        let mut asked = Vec::with_capacity(keys.len());
        for key in keys {
            let Some(overlay) = self.overlays.get(&key.id) else { continue };
            let given = overlay.keys(rows)?;
            let stored = stored_keys(&key.live, &given);
            asked.push((key, overlay, given, stored));
        }
        let mut fresh = Vec::with_capacity(rows.num_rows());
        'rows: for row in 0..rows.num_rows() {
            for ((key, overlay, given, stored), accepted) in asked.iter().zip(&*accepted) {
                let (hash, value) = (given.hashes[row], given.rows.row(row));
                let known = || accepted.get(hash, value).or_else(|| overlay.get(hash, value));
                if given.distinct[row] || !known().unwrap_or(stored[row]) {
                    continue;
                }
                if skip.is_of(key.id) {
                    continue 'rows;
                }
                return Err(duplicate(live, &key.columns, rows, row, &key_name(key.id)));
            }
            for ((_, _, given, _), accepted) in asked.iter().zip(&mut *accepted) {
                if !given.distinct[row] {
                    accepted.set(given.hashes[row], given.rows.row(row), true);
                }
            }
            fresh.push(row as u32);
        }
        Ok(fresh)
    }
}

fn failed(e: arrow_schema::ArrowError) -> Error {
    Error::internal(e.to_string())
}

/// The key of each row, in canonical form: `-0` and `0` are one key.
pub fn key_columns(key: &[usize], rows: &RecordBatch) -> Vec<ArrayRef> {
    key.iter().map(|&k| canonical(rows.column(k))).collect()
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
    let columns = if keyed { key_columns(&live.key, rows) } else { rows.columns().to_vec() };
    let mut hashes = vec![];
    hash_columns(&columns, rows.num_rows(), &mut hashes);
    hashes
}

/// 23505 for a row whose key is taken.
pub fn duplicate(
    live: &LiveTable,
    key: &[usize],
    rows: &RecordBatch,
    row: usize,
    key_name: &str,
) -> Error {
    let columns = live.names().columns.clone();
    let names: Vec<&str> = key.iter().map(|&k| columns.field(k).name().as_str()).collect();
    let values = rows.project(key).map(|key| row_values(&key, row));
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
