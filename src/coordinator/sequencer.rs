//! The DML sequencer: folds each write against its table's state plus what is accepted and not yet applied.
//!
//! Whatever may be refused (a duplicate key, a NULL in a NOT NULL column) is refused here, so nothing downstream ever is.
//! A table with a primary key has an overlay: the keys written in epochs that the table has not applied yet.

use std::collections::HashMap;

use arrow::row::{OwnedRow, RowConverter, SortField};
use arrow_array::{ArrayRef, RecordBatch};

use crate::arrangement::live::LiveTable;
use crate::change::{ChangeBatch, take_rows};
use crate::epoch::Epoch;
use crate::error::{Error, Result, SqlState};
use crate::hash::hash_columns;
use crate::types::row_values;

/// What a statement does to a table. The rows deleted were read under the table's lock and are there.
#[derive(Clone, Debug, Default)]
pub struct Write {
    pub deletes: Option<RecordBatch>,
    pub inserts: Option<RecordBatch>,
    /// ON CONFLICT DO NOTHING: rows whose key is taken are left out instead of refused.
    pub skip_conflicts: bool,
}

/// Keys of one table written lately: the epoch of the last write and whether the key is now taken.
#[derive(Default)]
struct Overlay {
    converter: Option<RowConverter>,
    keys: HashMap<OwnedRow, (Epoch, bool)>,
}

/// The overlays of all tables with a primary key.
#[derive(Default)]
pub struct Sequencer {
    overlays: HashMap<crate::catalog::ObjectId, Overlay>,
}

impl Sequencer {
    /// Checks a write that is to be part of `epoch`; returns the change and the number of rows inserted, or deleted
    /// where none are.
    pub fn accept(
        &mut self,
        table: crate::catalog::ObjectId,
        live: &LiveTable,
        write: Write,
        epoch: Epoch,
    ) -> Result<(Vec<ChangeBatch>, usize)> {
        let mut inserts = write.inserts;
        if let Some(rows) = &inserts {
            check_not_null(live, rows)?;
        }
        if live.key_is_unique && !live.key.is_empty() {
            inserts = self.check_keys(
                table,
                live,
                write.deletes.as_ref(),
                inserts,
                write.skip_conflicts,
                epoch,
            )?;
        }
        let deleted = write.deletes.as_ref().map_or(0, RecordBatch::num_rows);
        let rows = inserts.as_ref().map_or(deleted, RecordBatch::num_rows);
        let deletes = write.deletes.map(ChangeBatch::deletes);
        let changes = deletes.into_iter().chain(inserts.map(ChangeBatch::inserts));
        Ok((changes.filter(|c| !c.is_empty()).collect(), rows))
    }

    /// Takes back what `accept` noted of a write that is not applied after all.
    pub fn undo(
        &mut self,
        table: crate::catalog::ObjectId,
        live: &LiveTable,
        changes: &[ChangeBatch],
        epoch: Epoch,
    ) -> Result<()> {
        let Some(overlay) = self.overlays.get_mut(&table) else { return Ok(()) };
        let mut before: HashMap<OwnedRow, bool> = HashMap::new();
        // Deletes come first in a write: a key both deleted and inserted was taken before.
        for change in changes.iter().rev() {
            let taken = change.weights.first().is_some_and(|w| *w < 0);
            before.extend(overlay.rows(live, change.rows())?.into_iter().map(|key| (key, taken)));
        }
        overlay.keys.extend(before.into_iter().map(|(key, taken)| (key, (epoch, taken))));
        Ok(())
    }

    pub fn forget(&mut self, table: crate::catalog::ObjectId) {
        self.overlays.remove(&table);
    }

    fn check_keys(
        &mut self,
        table: crate::catalog::ObjectId,
        live: &LiveTable,
        deletes: Option<&RecordBatch>,
        inserts: Option<RecordBatch>,
        skip: bool,
        epoch: Epoch,
    ) -> Result<Option<RecordBatch>> {
        let overlay = self.overlays.entry(table).or_default();
        // First what is applied, then the versions: a key is found in at least one of the two.
        let complete = live.complete();
        overlay.keys.retain(|_, (written, _)| *written > complete);
        let mut accepted: HashMap<OwnedRow, bool> = HashMap::new();
        if let Some(rows) = deletes {
            accepted.extend(overlay.rows(live, rows)?.into_iter().map(|key| (key, false)));
        }
        let mut kept = inserts.clone();
        if let Some(rows) = &inserts {
            let keys = overlay.rows(live, rows)?;
            let stored = stored_keys(live, rows);
            let mut fresh = vec![];
            for (row, key) in keys.into_iter().enumerate() {
                let taken = accepted.get(&key).copied();
                let taken = taken.or_else(|| overlay.keys.get(&key).map(|(_, taken)| *taken));
                if taken.unwrap_or(stored[row]) {
                    if skip {
                        continue;
                    }
                    return Err(duplicate(live, rows, row));
                }
                accepted.insert(key, true);
                fresh.push(row as u32);
            }
            if fresh.len() < rows.num_rows() {
                kept = Some(take_rows(rows, &fresh).map_err(|e| Error::internal(e.to_string()))?);
            }
        }
        overlay.keys.extend(accepted.into_iter().map(|(key, taken)| (key, (epoch, taken))));
        Ok(kept)
    }
}

impl Overlay {
    fn rows(&mut self, live: &LiveTable, rows: &RecordBatch) -> Result<Vec<OwnedRow>> {
        let failed = |e: arrow_schema::ArrowError| Error::internal(e.to_string());
        if self.converter.is_none() {
            let fields =
                live.key.iter().map(|&k| SortField::new(live.schema.field(k).data_type().clone()));
            self.converter = Some(RowConverter::new(fields.collect()).map_err(failed)?);
        }
        let converter = self.converter.as_ref().expect("made above");
        let encoded = converter.convert_columns(&key_columns(live, rows)).map_err(failed)?;
        Ok(encoded.iter().map(|row| row.owned()).collect())
    }
}

fn key_columns(live: &LiveTable, rows: &RecordBatch) -> Vec<ArrayRef> {
    live.key.iter().map(|&k| rows.column(k).clone()).collect()
}

/// For each row: does the table have its key, as far as its workers have come? That is the truth for every key that the
/// overlay does not know: nothing has been written to it since.
fn stored_keys(live: &LiveTable, rows: &RecordBatch) -> Vec<bool> {
    let keys = key_columns(live, rows);
    let mut hashes = vec![];
    hash_columns(&keys, rows.num_rows(), &mut hashes);
    let mut stored = vec![false; rows.num_rows()];
    for version in live.newest() {
        let Some(snapshot) = &version.rows else { continue };
        let mut found = vec![];
        snapshot.contains_keys(&keys, &hashes, &mut found);
        stored.iter_mut().zip(found).for_each(|(s, f)| *s |= f);
    }
    stored
}

fn duplicate(live: &LiveTable, rows: &RecordBatch, row: usize) -> Error {
    let names: Vec<&str> = live.key.iter().map(|&k| live.schema.field(k).name().as_str()).collect();
    let values = rows.project(&live.key).map(|key| row_values(&key, row));
    let message = format!("duplicate key value violates unique constraint \"{}_pkey\"", live.name);
    let error = Error::new(SqlState::UNIQUE_VIOLATION, message);
    match values {
        Ok(values) => error.with_detail(format!(
            "Key ({})=({}) already exists.",
            names.join(", "),
            values.join(", ")
        )),
        Err(_) => error,
    }
}

fn check_not_null(live: &LiveTable, rows: &RecordBatch) -> Result<()> {
    for (field, column) in live.schema.fields().iter().zip(rows.columns()) {
        if field.is_nullable() || column.null_count() == 0 {
            continue;
        }
        let row = (0..column.len()).find(|&row| column.is_null(row)).unwrap_or(0);
        let message = format!(
            "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
            field.name(),
            live.name
        );
        let detail = format!("Failing row contains ({}).", row_values(rows, row).join(", "));
        return Err(Error::new(SqlState::NOT_NULL_VIOLATION, message).with_detail(detail));
    }
    Ok(())
}
