//! An aggregate's state as rows and back.
//!
//! Part `groups`: group columns, number of rows, one binary column a call that saves its state so; a row replaces its
//! group's older row, weight -1 deletes the group. Parts `entries_0`, `entries_1` ...: for calls whose accumulator keeps its
//! input, a Z-set of group columns and arguments. Entries come before groups, so that whoever frees a group finds it empty.
//! The first checkpoint hands over everything and starts to record what changes; an operator that is never checkpointed
//! records nothing.

use std::sync::{Arc, Mutex};

use arrow_array::builder::BinaryBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, BinaryArray, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow_select::concat::concat;

use super::super::StateChange;
use super::super::accumulators::Input;
use super::super::consolidate::ChangeLog;
use super::{Aggregate, DIRTY, EMITTED, SAVED, internal};
use crate::change::{ChangeBatch, batch_of};
use crate::error::{Error, Result, SqlState};

const GROUPS: &str = "groups";

/// What has happened since the last checkpoint.
#[derive(Default)]
pub struct History {
    /// Groups that have changed; counts only if the group's flag says so, since groups are freed and used again.
    pub dirty: Vec<u32>,
    /// Key columns of freed groups that a checkpoint knows.
    pub deleted: Vec<Vec<ArrayRef>>,
}

/// The name of a call's entries. Names live as long as the process; there are as many as the widest aggregate has calls.
pub fn entries_part(call: usize) -> &'static str {
    static NAMES: Mutex<Vec<&'static str>> = Mutex::new(vec![]);
    let mut names = NAMES.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    while names.len() <= call {
        let name = format!("entries_{}", names.len());
        names.push(Box::leak(name.into_boxed_str()));
    }
    names[call]
}

impl Aggregate {
    pub(super) fn save(&mut self) -> Result<Vec<StateChange>> {
        let history = self.history.replace(History::default());
        let mut state = vec![];
        for call in 0..self.calls.len() {
            if !self.calls[call].accumulator.holds_entries() {
                continue;
            }
            let change = match &mut self.calls[call].log {
                Some(log) if history.is_some() => log.take()?,
                _ => self.all_entries(call)?,
            };
            self.push_state(self.calls[call].part, change, &mut state);
        }
        let groups = match history {
            Some(history) => {
                let deleted = self.deleted_groups(history.deleted)?;
                self.push_state(GROUPS, deleted, &mut state);
                let mut groups = history.dirty;
                groups.retain(|&g| {
                    let dirty = self.flags[g as usize] & DIRTY != 0;
                    self.flags[g as usize] &= !DIRTY;
                    dirty
                });
                groups
            }
            None => {
                let known =
                    |&g: &u32| self.rows[g as usize] != 0 || self.flags[g as usize] & EMITTED != 0;
                self.index.live_groups().into_iter().filter(known).collect()
            }
        };
        let saved = self.saved_groups(&groups)?;
        self.push_state(GROUPS, saved, &mut state);
        groups.iter().for_each(|&g| self.flags[g as usize] |= SAVED);
        Ok(state)
    }

    fn push_state(&self, part: &'static str, change: ChangeBatch, state: &mut Vec<StateChange>) {
        if !change.is_empty() {
            let key = (0..self.group_columns.len()).collect();
            state.push(StateChange { part, key, change });
        }
    }

    fn key_fields(&self) -> Vec<FieldRef> {
        let key = |&c: &usize| Arc::new(self.input_schema.field(c).clone().with_nullable(true));
        self.group_columns.iter().map(key).collect()
    }

    /// All entries of a call; from now on its changes are logged.
    fn all_entries(&mut self, call: usize) -> Result<ChangeBatch> {
        let mut fields = self.key_fields();
        for &column in &self.calls[call].args {
            fields.push(Arc::new(self.input_schema.field(column).clone().with_nullable(true)));
        }
        let schema = Arc::new(Schema::new(fields));
        let entries = self.calls[call].accumulator.entries()?;
        let mut columns = self.index.keys(&entries.groups)?;
        columns.extend(entries.args);
        let batch = batch_of(schema.clone(), columns, entries.weights.len()).map_err(internal)?;
        self.calls[call].log = Some(ChangeLog::new(schema));
        Ok(ChangeBatch::new(batch, entries.weights))
    }

    fn groups_schema(&self) -> SchemaRef {
        let mut fields = self.key_fields();
        fields.push(Arc::new(Field::new("rows", DataType::Int64, true)));
        for (i, call) in self.calls.iter().enumerate() {
            if !call.accumulator.holds_entries() {
                fields.push(Arc::new(Field::new(format!("state_{i}"), DataType::Binary, true)));
            }
        }
        Arc::new(Schema::new(fields))
    }

    /// Deletions of freed groups, less those whose key is in use again: these have a row of their own.
    fn deleted_groups(&mut self, deleted: Vec<Vec<ArrayRef>>) -> Result<ChangeBatch> {
        let Some(first) = deleted.first() else {
            return Ok(ChangeBatch::default());
        };
        let schema = self.groups_schema();
        let mut columns = vec![];
        for column in 0..first.len() {
            let parts: Vec<&dyn Array> = deleted.iter().map(|keys| keys[column].as_ref()).collect();
            columns.push(concat(&parts).map_err(internal)?);
        }
        // A key may be freed several times between two checkpoints; deleting it twice does no harm.
        let rows = deleted.iter().map(|keys| keys.first().map_or(0, |k| k.len())).sum();
        let live = self.index.find(&columns, rows)?;
        let dead = (0..rows as u32).filter(|&row| live[row as usize].is_none());
        for field in &schema.fields()[columns.len()..] {
            columns.push(arrow_array::new_null_array(field.data_type(), rows));
        }
        let batch = batch_of(schema, columns, rows).map_err(internal)?;
        ChangeBatch::deletes(batch).take(&dead.collect::<Vec<_>>()).map_err(internal)
    }

    fn saved_groups(&self, groups: &[u32]) -> Result<ChangeBatch> {
        let mut columns = self.index.keys(groups)?;
        let rows = groups.iter().map(|&g| self.rows[g as usize]);
        columns.push(Arc::new(Int64Array::from_iter_values(rows)));
        let mut bytes = vec![];
        for call in self.calls.iter().filter(|c| !c.accumulator.holds_entries()) {
            let mut states = BinaryBuilder::with_capacity(groups.len(), groups.len() * 32);
            for &group in groups {
                bytes.clear();
                call.accumulator.save(group as usize, &mut bytes);
                states.append_value(&bytes);
            }
            columns.push(Arc::new(states.finish()));
        }
        let batch = batch_of(self.groups_schema(), columns, groups.len()).map_err(internal)?;
        Ok(ChangeBatch::inserts(batch))
    }

    pub(super) fn load(&mut self, state: StateChange) -> Result<()> {
        if state.change.is_empty() {
            return Ok(());
        }
        if state.part == GROUPS {
            return self.load_groups(&state.change);
        }
        let Some(call) = self.calls.iter().position(|c| c.part == state.part) else {
            return Err(mismatch(&format!("no part \"{}\"", state.part)));
        };
        let keys = self.group_columns.len();
        let columns = state.change.rows().columns();
        if columns.len() != keys + self.calls[call].args.len() {
            return Err(mismatch("entries have other columns"));
        }
        self.index.intern(&columns[..keys], state.change.len(), &mut self.groups)?;
        self.grow();
        let (groups, weights) = (&self.groups[..], Some(&state.change.weights[..]));
        self.calls[call].accumulator.update(&Input { groups, weights, args: &columns[keys..] })
    }

    fn load_groups(&mut self, change: &ChangeBatch) -> Result<()> {
        let rows = change.rows();
        if rows.num_columns() != self.groups_schema().fields().len() {
            return Err(mismatch("groups have other columns"));
        }
        // Rows apply in order, in runs of one sign.
        let mut start = 0;
        while start < change.len() {
            let set = change.weights[start] > 0;
            let run = change.weights[start..].iter().take_while(|&&w| (w > 0) == set).count();
            let slice = rows.slice(start, run);
            if set {
                self.set_groups(&slice)?
            } else {
                self.delete_groups(&slice)?
            }
            start += run;
        }
        Ok(())
    }

    fn set_groups(&mut self, rows: &RecordBatch) -> Result<()> {
        let keys = self.group_columns.len();
        self.index.intern(&rows.columns()[..keys], rows.num_rows(), &mut self.groups)?;
        self.grow();
        let counts = rows.column(keys).as_primitive_opt::<Int64Type>();
        let counts = counts.ok_or_else(|| mismatch("the number of rows is no bigint"))?;
        for (row, &group) in self.groups.iter().enumerate() {
            self.rows[group as usize] = counts.value(row);
            let emitted = counts.value(row) > 0 || self.global;
            self.flags[group as usize] = if emitted { EMITTED } else { 0 };
        }
        let saved = self.calls.iter_mut().filter(|c| !c.accumulator.holds_entries());
        for (call, column) in saved.zip(&rows.columns()[keys + 1..]) {
            let states: Option<&BinaryArray> = column.as_binary_opt();
            let states = states.ok_or_else(|| mismatch("a state is not binary"))?;
            for (row, &group) in self.groups.iter().enumerate() {
                call.accumulator.load(group as usize, states.value(row))?;
            }
        }
        Ok(())
    }

    fn delete_groups(&mut self, rows: &RecordBatch) -> Result<()> {
        let keys = &rows.columns()[..self.group_columns.len()];
        let mut groups: Vec<u32> =
            self.index.find(keys, rows.num_rows())?.into_iter().flatten().collect();
        groups.sort_unstable();
        groups.dedup();
        for &group in &groups {
            self.rows[group as usize] = 0;
            self.flags[group as usize] = 0;
        }
        self.free(&groups);
        Ok(())
    }
}

fn mismatch(detail: &str) -> Error {
    Error::new(SqlState::DATA_CORRUPTED, "saved state does not fit the aggregate")
        .with_detail(detail)
}
