//! What the engine hands over at a checkpoint, and what it is started from.
//!
//! A [`Checkpoint`] is a consistent cut at one epoch: per object what its stateful steps handed over, per source where reading
//! was. It holds what changed since the one before; [`Checkpoint::extend`] puts base and deltas together, oldest first. Rows
//! are cut by bucket only when they are loaded ([`share`]), so any number of workers can take them.
//!
//! Invariant: an object's changes are complete up to the epoch or not there at all.
//! What is absent: files and manifests, encodings, and who decides when to take one.

use std::collections::BTreeMap;

use arrow_array::{ArrayRef, RecordBatch};
use tidewater_connectors::contract::{SourceOffset, SplitId};

use crate::catalog::ObjectId;
use crate::epoch::Epoch;
use crate::error::{Error, Result, SqlState};
use crate::hash::{bucket, hash_columns};
use crate::operators::StateChange;

/// Where each split of a source stands.
pub type Offsets = BTreeMap<SplitId, SourceOffset>;

/// What one stateful step of an object's dataflow handed over.
#[derive(Clone, Debug)]
pub struct StepState {
    /// As the dataflow calls it: "aggregate", "arrange", "hub".
    pub name: &'static str,
    /// In the order in which they are to be taken back; those of one worker after those of another.
    pub changes: Vec<StateChange>,
}

/// One object as of a checkpoint's epoch.
#[derive(Clone, Debug)]
pub enum ObjectState {
    /// Its steps in the order in which the plan is rendered, the hub last.
    Steps(Vec<StepState>),
    /// A view that had not caught up with its inputs: to be filled from scratch.
    StartAgain,
    /// It had failed, and stays so until it is dropped.
    Failed(Error),
}

/// How far a source was read.
#[derive(Clone, Debug, Default)]
pub struct Position {
    /// Where each split begins, for those who read its past.
    pub starts: Offsets,
    /// Where the rows of the next epoch begin.
    pub offsets: Offsets,
}

/// A consistent cut at `epoch`: everything up to it, nothing of later epochs.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    pub epoch: Epoch,
    /// All objects that are there at the epoch and have something running behind them.
    pub objects: BTreeMap<ObjectId, ObjectState>,
    /// Sources and connector tables.
    pub sources: BTreeMap<ObjectId, Position>,
}

impl Checkpoint {
    /// Adds the checkpoint that was taken after this one. XX001 when an object's steps are others than before.
    pub fn extend(&mut self, later: Checkpoint) -> Result<()> {
        let mut earlier = std::mem::take(&mut self.objects);
        for (id, state) in later.objects {
            let state = match (earlier.remove(&id), state) {
                (Some(ObjectState::Steps(mut steps)), ObjectState::Steps(more)) => {
                    append(&mut steps, more)?;
                    ObjectState::Steps(steps)
                }
                (_, state) => state,
            };
            self.objects.insert(id, state);
        }
        self.epoch = later.epoch;
        self.sources = later.sources;
        Ok(())
    }

    /// Rows handed over.
    pub fn rows(&self) -> usize {
        let of_object = |state: &ObjectState| match state {
            ObjectState::Steps(steps) => {
                steps.iter().flat_map(|step| &step.changes).map(|c| c.change.len()).sum()
            }
            ObjectState::StartAgain | ObjectState::Failed(_) => 0,
        };
        self.objects.values().map(of_object).sum()
    }
}

/// Adds to each step what the same step handed over later, or on another worker.
pub fn append(steps: &mut [StepState], more: Vec<StepState>) -> Result<()> {
    let names = |steps: &[StepState]| steps.iter().map(|step| step.name).collect::<Vec<_>>();
    if names(steps) != names(&more) {
        return Err(mismatch(&format!("{:?} after {:?}", names(&more), names(steps))));
    }
    for (step, more) in steps.iter_mut().zip(more) {
        step.changes.extend(more.changes);
    }
    Ok(())
}

/// The rows of a change whose bucket is `mine`.
pub fn share(state: &StateChange, mine: impl Fn(usize) -> bool) -> Result<StateChange> {
    let Some(rows) = &state.change.batch else { return Ok(state.clone()) };
    let key = key_columns(rows, &state.key)?;
    let mut hashes = vec![];
    hash_columns(&key, rows.num_rows(), &mut hashes);
    let kept: Vec<u32> =
        (0..hashes.len() as u32).filter(|&row| mine(bucket(hashes[row as usize]))).collect();
    let change = match kept.len() == hashes.len() {
        true => state.change.clone(),
        false => state.change.take(&kept).map_err(|e| Error::internal(e.to_string()))?,
    };
    Ok(StateChange { part: state.part, key: state.key.clone(), change })
}

fn key_columns(rows: &RecordBatch, key: &[usize]) -> Result<Vec<ArrayRef>> {
    let column = |&k: &usize| rows.columns().get(k).cloned();
    let missing = || mismatch("rows without the columns that say where they belong");
    key.iter().map(|k| column(k).ok_or_else(missing)).collect()
}

/// State that belongs to another plan than the one it is to be loaded under.
pub fn mismatch(detail: &str) -> Error {
    Error::new(SqlState::DATA_CORRUPTED, "saved state does not fit the object's plan")
        .with_detail(detail.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow_array::Int64Array;

    use super::*;
    use crate::change::ChangeBatch;

    fn state(values: &[i64]) -> StateChange {
        let column: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
        let rows = RecordBatch::try_from_iter([("k", column)]).unwrap();
        StateChange { part: "rows", key: vec![0], change: ChangeBatch::inserts(rows) }
    }

    fn checkpoint(epoch: u64, objects: Vec<(u64, ObjectState)>) -> Checkpoint {
        let objects = objects.into_iter().map(|(id, state)| (ObjectId(id), state)).collect();
        Checkpoint { epoch: Epoch(epoch), objects, sources: BTreeMap::new() }
    }

    fn hub(values: &[i64]) -> ObjectState {
        ObjectState::Steps(vec![StepState { name: "hub", changes: vec![state(values)] }])
    }

    #[test]
    fn deltas_follow_their_base_and_dropped_objects_go() {
        let mut base = checkpoint(3, vec![(1, hub(&[1])), (2, hub(&[2, 3])), (3, hub(&[4]))]);
        let later = vec![(1, hub(&[5, 6])), (3, ObjectState::StartAgain), (4, hub(&[7]))];
        base.extend(checkpoint(8, later)).unwrap();
        assert_eq!(base.epoch, Epoch(8));
        assert_eq!(base.objects.keys().map(|id| id.0).collect::<Vec<_>>(), [1, 3, 4]);
        assert_eq!(base.rows(), 4);
        base.extend(checkpoint(9, vec![(3, hub(&[8]))])).unwrap();
        assert_eq!(base.rows(), 1);
    }

    #[test]
    fn steps_of_another_plan_are_refused() {
        let other = StepState { name: "top_n", changes: vec![] };
        let mut base = checkpoint(3, vec![(1, hub(&[1]))]);
        let later = checkpoint(4, vec![(1, ObjectState::Steps(vec![other]))]);
        assert_eq!(base.extend(later).unwrap_err().code, SqlState::DATA_CORRUPTED);
    }

    #[test]
    fn each_row_goes_to_exactly_one_of_the_workers() {
        let all = state(&(0..1000).collect::<Vec<_>>());
        let parts = (0..3).map(|worker| share(&all, |b| b % 3 == worker).unwrap().change.len());
        let parts: Vec<usize> = parts.collect();
        assert_eq!(parts.iter().sum::<usize>(), 1000);
        assert!(parts.iter().all(|&rows| rows > 200));
    }
}
