//! The errors that stand at an object, on one worker: its dead letters and what poisons its answer.
//!
//! They are rows like others, in an arrangement, so that a retraction removes its own and a reader sees them as of its
//! epoch; beside the columns of [`error_schema`] each has the epoch in which it came. Retractions do not know that epoch: they
//! take the oldest of equal errors. A stream's messages are never retracted, so a flood of bad ones would fill the memory: of
//! those the oldest go once more than [`MESSAGE_BYTES_MAX`] are held.

use std::sync::{Arc, LazyLock};

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use crate::arrangement::{Arrangement, Snapshot};
use crate::change::{ChangeBatch, Kind, error_schema};
use crate::epoch::Epoch;
use crate::error::{Error, Result};
use crate::hash::hash_columns;
use crate::operators::consolidate::consolidate;

/// Dead letters that a source or connector table keeps on each worker; the oldest go first.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// The columns of [`error_schema`], and the epoch.
fn stored_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let mut fields = error_schema().fields().to_vec();
        fields.push(Arc::new(Field::new("epoch", DataType::Int64, false)));
        Arc::new(Schema::new(fields))
    });
    SCHEMA.clone()
}

/// The columns that an error is known by.
pub fn identity() -> Vec<usize> {
    (0..error_schema().fields().len()).collect()
}

fn internal(error: arrow_schema::ArrowError) -> Error {
    Error::internal(error.to_string())
}

pub struct StandingErrors {
    pub rows: Arrangement,
    /// How many of them make the answer wrong.
    pub poison: i64,
    bytes_max: usize,
}

impl StandingErrors {
    /// `bytes_max`: beyond it the oldest are forgotten.
    pub fn new(bytes_max: usize) -> StandingErrors {
        let rows = Arrangement::new(stored_schema(), identity());
        StandingErrors { rows, poison: 0, bytes_max }
    }

    /// Takes one epoch's changes, in the columns of [`error_schema`]. Returns the net change as [`Kind::Inherited`] for
    /// readers of the object, and by how many errors more stand.
    pub fn apply(
        &mut self,
        epoch: Epoch,
        changes: Vec<ChangeBatch>,
    ) -> Result<(Option<ChangeBatch>, i64)> {
        let as_rows = |change: ChangeBatch| ChangeBatch { kind: Kind::Rows, ..change };
        let changes: Vec<ChangeBatch> = changes.into_iter().map(as_rows).collect();
        let change = consolidate(&changes)?;
        if change.is_empty() {
            return Ok((None, 0));
        }
        let poison = change.rows().column(3).as_boolean();
        let weights = change.weights.iter().enumerate();
        self.poison += weights.filter(|(i, _)| poison.value(*i)).map(|(_, w)| w).sum::<i64>();
        let (born, gone): (Vec<u32>, Vec<u32>) =
            (0..change.len() as u32).partition(|&i| change.weights[i as usize] > 0);
        let mut parts = vec![];
        if !born.is_empty() {
            parts.push(dated(&change.take(&born).map_err(internal)?, epoch)?);
        }
        let standing = self.rows.snapshot(self.rows.epoch());
        if !gone.is_empty() {
            parts.push(oldest(&standing, &change.take(&gone).map_err(internal)?)?);
        }
        let mut more = change.weights.iter().sum::<i64>();
        if gone.is_empty()
            && self.rows.bytes() > self.bytes_max
            && let Some(slice) = (0..standing.chunks()).find_map(|i| standing.scan_chunk(i, None))
        {
            more -= slice.num_rows() as i64;
            parts.push(ChangeBatch::deletes(slice));
        }
        self.rows.apply(epoch, &parts)?;
        Ok((Some(ChangeBatch { kind: Kind::Inherited, ..change }), more))
    }

    /// After a restore: what the errors held mean. Returns how many there are.
    pub fn recount(&mut self, epoch: Epoch) -> i64 {
        let held = self.rows.snapshot(epoch).scan();
        self.poison = held.iter().map(|b| b.column(3).as_boolean().true_count() as i64).sum();
        held.iter().map(|b| b.num_rows() as i64).sum()
    }
}

/// New errors with their epoch.
fn dated(change: &ChangeBatch, epoch: Epoch) -> Result<ChangeBatch> {
    let mut columns = change.rows().columns().to_vec();
    columns.push(Arc::new(Int64Array::from(vec![epoch.0 as i64; change.len()])));
    let batch = RecordBatch::try_new(stored_schema(), columns).map_err(internal)?;
    Ok(ChangeBatch::new(batch, change.weights.clone()))
}

/// For each retraction the oldest errors that it is equal to.
fn oldest(standing: &Snapshot, change: &ChangeBatch) -> Result<ChangeBatch> {
    let keys: Vec<ArrayRef> = change.rows().columns().to_vec();
    let mut hashes = vec![];
    hash_columns(&keys, change.len(), &mut hashes);
    let (mut asking, mut found) = (vec![], vec![]);
    standing.probe(&keys, &hashes, &mut asking, &mut found);
    // Ids grow with age; matches of one key are in any order.
    let mut pairs: Vec<(u32, u32)> = asking.into_iter().zip(found).collect();
    pairs.sort_unstable();
    let mut owed: Vec<i64> = change.weights.iter().map(|w| -w).collect();
    pairs.retain(|(i, _)| {
        owed[*i as usize] -= 1;
        owed[*i as usize] >= 0
    });
    if owed.iter().any(|&owed| owed > 0) {
        return Err(Error::internal("an error is retracted that does not stand"));
    }
    let rows: Vec<u32> = pairs.into_iter().map(|(_, row)| row).collect();
    let batch = RecordBatch::try_new(stored_schema(), standing.gather(&rows)?).map_err(internal)?;
    Ok(ChangeBatch::deletes(batch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{RowError, errors_batch};

    fn errors(list: &[(&str, i64)]) -> Vec<ChangeBatch> {
        let error = |(payload, weight): &(&str, i64)| RowError {
            sqlstate: "22012".to_owned(),
            message: "division by zero".to_owned(),
            payload: (*payload).to_owned(),
            poison: *payload == "poison",
            weight: *weight,
        };
        vec![errors_batch(&list.iter().map(error).collect::<Vec<_>>())]
    }

    fn shown(standing: &StandingErrors, epoch: u64) -> String {
        let batches = standing.rows.snapshot(Epoch(epoch)).scan();
        let rows = batches.iter().flat_map(|batch| {
            let payload = batch.column(2).as_string::<i32>();
            let epochs = batch.column(4).as_primitive::<arrow_array::types::Int64Type>();
            (0..batch.num_rows()).map(|i| format!("{}@{}", payload.value(i), epochs.value(i)))
        });
        rows.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_retraction_takes_the_oldest_of_equal_errors() {
        let mut standing = StandingErrors::new(usize::MAX);
        let mut step = |epoch: u64, list: &[(&str, i64)]| {
            let (_, more) = standing.apply(Epoch(epoch), errors(list)).unwrap();
            standing.rows.advance(Epoch(epoch));
            (shown(&standing, epoch), more, standing.poison)
        };
        assert_eq!(step(1, &[("a", 1), ("poison", 1)]), ("a@1 poison@1".to_owned(), 2, 1));
        assert_eq!(step(2, &[("a", 2)]), ("a@1 poison@1 a@2 a@2".to_owned(), 2, 1));
        assert_eq!(step(3, &[("a", -2), ("poison", -1)]), ("a@2".to_owned(), -3, 0));
        assert_eq!(step(4, &[("b", 1), ("b", -1)]), ("a@2".to_owned(), 0, 0));
    }

    #[test]
    fn the_oldest_messages_go_when_there_are_too_many() {
        let mut standing = StandingErrors::new(100_000);
        let payload = "x".repeat(1_000);
        let mut held = 0;
        for epoch in 1..=500 {
            let changes = errors(&[(payload.as_str(), 1)]);
            held += standing.apply(Epoch(epoch), changes).unwrap().1;
            standing.rows.compact(Epoch(epoch), 1_000);
        }
        let shown = shown(&standing, 500);
        assert_eq!(shown.split(' ').count() as i64, held);
        assert!(held < 400 && shown.ends_with("@500"), "{held} messages are held");
    }
}
