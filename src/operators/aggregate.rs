//! GROUP BY: aggregate calls over the rows of each group, kept up to date under inserts and deletes.
//!
//! A batch goes key columns -> groups -> row counts and accumulators, column by column. Before a group changes for the
//! first time in an epoch its results are computed once more; at the end of the epoch they are compared with the new
//! ones, and what differs is emitted as -old, +new. So no output is kept beside the state.
//! Invariant: after `emit`, exactly the groups with a positive number of rows (or, without group columns, the only
//! group) have a row or an error in the output; a group without rows holds no state.
//! A call that fails for a group (an overflow) turns the group's row into an error row until the cause is retracted.

mod checkpoint;

use std::collections::HashMap;

use arrow::compute::kernels::cmp::not_distinct;
use arrow::row::SortField;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, UInt32Array};
use arrow_buffer::BooleanBuffer;
use arrow_schema::{DataType, SchemaRef};
use arrow_select::concat::concat;
use arrow_select::take::take;

use self::checkpoint::History;
use super::accumulators::{self, Accumulator, Failure, Input};
pub use super::accumulators::{AggregateCall, AggregateFunction, RecomputedFunction, UdafArgument};
use super::consolidate::ChangeLog;
use super::group_index::{GroupIndex, keep, row_converter};
use super::row_text::row_text;
use super::{Operator, Output, StateChange};
use crate::change::{ChangeBatch, RowError, batch_of, errors_batch};
use crate::epoch::Epoch;
use crate::error::{Error, Result};

/// The group has changed in the open epoch.
const TOUCHED: u8 = 1;
/// The group had a row or an error in the output when the last epoch ended.
const EMITTED: u8 = 2;
/// The group has changed since the last checkpoint.
const DIRTY: u8 = 4;
/// A checkpoint has a row of the group.
const SAVED: u8 = 8;

struct Call {
    args: Vec<usize>,
    filter: Option<usize>,
    accumulator: Box<dyn Accumulator>,
    /// The name of its part of the state, for calls whose accumulator holds entries.
    part: &'static str,
    /// Its input since the last checkpoint, once there was one.
    log: Option<ChangeLog>,
}

/// Results of some groups: one row a group, in the order of `groups`.
#[derive(Default)]
struct Results {
    groups: Vec<u32>,
    columns: Vec<ArrayRef>,
    /// At most one a group, by position.
    failures: Vec<Failure>,
}

/// The operator. Output columns are the group columns, then one a call.
pub struct Aggregate {
    input_schema: SchemaRef,
    output_schema: SchemaRef,
    group_columns: Vec<usize>,
    calls: Vec<Call>,
    index: GroupIndex,
    /// Number of input rows by group.
    rows: Vec<i64>,
    flags: Vec<u8>,
    /// Groups changed in the open epoch, in the order of their first change.
    touched: Vec<u32>,
    /// What those of them that had been emitted came to before, in the same order, one part a batch.
    before: Vec<Results>,
    /// Without group columns: the only group is there without rows, too.
    global: bool,
    history: Option<History>,
    groups: Vec<u32>,
}

fn internal(error: arrow_schema::ArrowError) -> Error {
    Error::internal(error.to_string())
}

impl Aggregate {
    /// An aggregate of an input of `input_schema`; `append_only` promises that no weight is negative. Without group
    /// columns it always has exactly one row, emitted at the first `emit`: only the worker that owns the empty key
    /// may call it. Calls over types for which the function is not defined are 0A000.
    pub fn new(
        input_schema: SchemaRef,
        group_columns: Vec<usize>,
        calls: Vec<AggregateCall>,
        output_schema: SchemaRef,
        append_only: bool,
    ) -> Result<Self> {
        let global = group_columns.is_empty();
        let aggregate =
            Self::keyed(input_schema, group_columns, calls, output_schema, append_only)?;
        Ok(Aggregate { global, ..aggregate })
    }

    /// As [`Aggregate::new`], but without group columns there is a row only when there is input.
    pub(super) fn keyed(
        input_schema: SchemaRef,
        group_columns: Vec<usize>,
        calls: Vec<AggregateCall>,
        output_schema: SchemaRef,
        append_only: bool,
    ) -> Result<Self> {
        if output_schema.fields().len() != group_columns.len() + calls.len() {
            return Err(Error::internal("an aggregate's output has its group columns and calls"));
        }
        let types: Vec<DataType> =
            group_columns.iter().map(|&c| input_schema.field(c).data_type().clone()).collect();
        let index = GroupIndex::new(&types)?;
        let build = |(position, call): (usize, AggregateCall)| {
            Ok(Call {
                accumulator: accumulators::build(&call, &input_schema, append_only)?,
                args: call.args,
                filter: call.filter,
                part: checkpoint::entries_part(position),
                log: None,
            })
        };
        let calls = calls.into_iter().enumerate().map(build).collect::<Result<_>>()?;
        let mut aggregate = Aggregate {
            input_schema,
            output_schema,
            group_columns,
            calls,
            index,
            rows: vec![],
            flags: vec![],
            touched: vec![],
            before: vec![],
            global: false,
            history: None,
            groups: vec![],
        };
        aggregate.grow();
        Ok(aggregate)
    }

    /// Makes room for the groups that the index has handed out.
    fn grow(&mut self) {
        let slots = self.index.slots();
        if slots > self.rows.len() {
            self.rows.resize(slots, 0);
            self.flags.resize(slots, 0);
            self.calls.iter_mut().for_each(|c| c.accumulator.resize(slots));
        }
    }

    /// Marks the groups of the batch as touched; what those touched for the first time came to is computed now.
    fn touch(&mut self) -> Result<()> {
        let mut emitted = vec![];
        for &group in &self.groups {
            let flags = &mut self.flags[group as usize];
            if *flags & TOUCHED == 0 {
                *flags |= TOUCHED;
                self.touched.push(group);
                if *flags & EMITTED != 0 {
                    emitted.push(group);
                }
            }
        }
        if !emitted.is_empty() {
            let results = self.evaluate(emitted)?;
            self.before.push(results);
        }
        Ok(())
    }

    fn evaluate(&mut self, groups: Vec<u32>) -> Result<Results> {
        let mut failures = vec![];
        let mut columns = Vec::with_capacity(self.calls.len());
        for call in &mut self.calls {
            columns.push(call.accumulator.evaluate(&groups, &self.rows, &mut failures)?);
        }
        // Of several calls that fail the first one speaks for the group.
        failures.sort_by_key(|f| f.position);
        failures.dedup_by_key(|f| f.position);
        Ok(Results { groups, columns, failures })
    }

    fn update(&mut self, change: &ChangeBatch) -> Result<()> {
        let weights = (!change.all_inserts()).then_some(&change.weights[..]);
        match weights {
            None => self.groups.iter().for_each(|&g| self.rows[g as usize] += 1),
            Some(weights) => {
                let rows = self.groups.iter().zip(weights);
                rows.for_each(|(&g, &w)| self.rows[g as usize] += w);
            }
        }
        let tracked = self.history.is_some();
        for call in &mut self.calls {
            let columns = change.rows().columns();
            let mut args: Vec<ArrayRef> = call.args.iter().map(|&c| columns[c].clone()).collect();
            let selected = call.filter.and_then(|filter| selected_rows(&columns[filter]));
            let Some(selected) = selected else {
                call.accumulator.update(&Input { groups: &self.groups, weights, args: &args })?;
                if tracked && let Some(log) = &mut call.log {
                    log.push(entries(
                        log,
                        &self.group_columns,
                        columns,
                        args,
                        change.weights.to_vec(),
                    )?)?;
                }
                continue;
            };
            let indices = UInt32Array::from(selected);
            let selected = indices.values();
            let groups: Vec<u32> = selected.iter().map(|&i| self.groups[i as usize]).collect();
            let weights: Vec<i64> = selected.iter().map(|&i| change.weights[i as usize]).collect();
            let take = |column: &ArrayRef| take(column, &indices, None).map_err(internal);
            args = args.iter().map(take).collect::<Result<_>>()?;
            call.accumulator.update(&Input {
                groups: &groups,
                weights: Some(&weights),
                args: &args,
            })?;
            if tracked && let Some(log) = &mut call.log {
                let columns = columns.iter().map(take).collect::<Result<Vec<_>>>()?;
                log.push(entries(log, &self.group_columns, &columns, args, weights)?)?;
            }
        }
        Ok(())
    }

    /// Emits the difference between what the touched groups were and what they are.
    fn push_changes(&self, before: &Results, after: &Results, out: &mut Output) -> Result<()> {
        let (gone, come) = difference(&self.touched, before, after)?;
        if !gone.is_empty() || !come.is_empty() {
            let groups: Vec<u32> = gone
                .iter()
                .map(|&b| before.groups[b as usize])
                .chain(come.iter().map(|&a| after.groups[a as usize]))
                .collect();
            let mut columns = self.index.keys(&groups)?;
            for call in 0..self.calls.len() {
                let new = pick(&after.columns[call], &come)?;
                columns.push(match before.columns.get(call).filter(|_| !gone.is_empty()) {
                    Some(old) => concat(&[&pick(old, &gone)?, &new]).map_err(internal)?,
                    None => new,
                });
            }
            let batch =
                batch_of(self.output_schema.clone(), columns, groups.len()).map_err(internal)?;
            let mut weights = vec![-1; gone.len()];
            weights.resize(groups.len(), 1);
            out.push(ChangeBatch::new(batch, weights));
        }
        self.push_errors(before, after, out)
    }

    fn push_errors(&self, before: &Results, after: &Results, out: &mut Output) -> Result<()> {
        if before.failures.is_empty() && after.failures.is_empty() {
            return Ok(());
        }
        let mut weights: HashMap<(u32, &str, &str), i64> = HashMap::new();
        for (results, weight) in [(before, -1), (after, 1)] {
            for failure in &results.failures {
                let group = results.groups[failure.position];
                *weights.entry((group, failure.code.0, &failure.message)).or_default() += weight;
            }
        }
        let mut changed: Vec<_> = weights.into_iter().filter(|(_, w)| *w != 0).collect();
        changed.sort_unstable();
        let groups: Vec<u32> = changed.iter().map(|((group, ..), _)| *group).collect();
        let keys = self.index.keys(&groups)?;
        let error =
            |(row, ((_, code, message), weight)): (usize, ((u32, &str, &str), i64))| RowError {
                sqlstate: code.to_owned(),
                message: message.to_owned(),
                payload: row_text(self.output_schema.fields(), &keys, row),
                poison: false,
                weight,
            };
        let errors: Vec<RowError> = changed.into_iter().enumerate().map(error).collect();
        if !errors.is_empty() {
            out.push(errors_batch(&errors));
        }
        Ok(())
    }

    /// Ends the epoch for the touched groups: flags them, frees those without rows.
    fn settle(&mut self, touched: Vec<u32>) -> Result<()> {
        let mut freed = vec![];
        let mut forgotten = vec![];
        for group in touched {
            let (rows, flags) = (self.rows[group as usize], &mut self.flags[group as usize]);
            if rows == 0 && !self.global {
                freed.push(group);
                if *flags & SAVED != 0 {
                    forgotten.push(group);
                }
                *flags = 0;
                continue;
            }
            *flags &= !(TOUCHED | EMITTED);
            if rows > 0 || self.global {
                *flags |= EMITTED;
            }
            if let Some(history) = &mut self.history
                && *flags & DIRTY == 0
            {
                *flags |= DIRTY;
                history.dirty.push(group);
            }
        }
        if let Some(history) = self.history.as_mut().filter(|_| !forgotten.is_empty()) {
            history.deleted.push(self.index.keys(&forgotten)?);
        }
        self.free(&freed);
        Ok(())
    }

    fn free(&mut self, groups: &[u32]) {
        if groups.is_empty() {
            return;
        }
        self.calls.iter_mut().for_each(|c| c.accumulator.clear(groups));
        self.index.remove(groups);
        let Some(kept) = self.index.compact() else {
            return;
        };
        if let Some(history) = &mut self.history {
            // A freed group's number may still be in the list; its flag says whether it counts.
            history.dirty = (0..kept.len() as u32)
                .filter(|&new| self.flags[kept[new as usize] as usize] & DIRTY != 0)
                .collect();
        }
        keep(&mut self.rows, &kept);
        keep(&mut self.flags, &kept);
        self.calls.iter_mut().for_each(|c| c.accumulator.compact(&kept));
        self.groups = vec![];
    }
}

impl Operator for Aggregate {
    fn apply(&mut self, _port: usize, change: ChangeBatch, _out: &mut Output) -> Result<()> {
        if change.is_empty() {
            return Ok(());
        }
        let columns = change.rows().columns();
        let keys: Vec<ArrayRef> = self.group_columns.iter().map(|&c| columns[c].clone()).collect();
        self.index.intern(&keys, change.len(), &mut self.groups)?;
        self.grow();
        self.touch()?;
        self.update(&change)
    }

    fn emit(&mut self, _epoch: Epoch, out: &mut Output) -> Result<()> {
        if self.global && self.flags[0] & (EMITTED | TOUCHED) == 0 {
            self.touched.push(0);
        }
        if self.touched.is_empty() {
            return Ok(());
        }
        let before = joined(std::mem::take(&mut self.before))?;
        let rows = &self.rows;
        let alive = self.touched.iter().copied().filter(|&g| rows[g as usize] > 0 || self.global);
        let after = self.evaluate(alive.collect())?;
        self.push_changes(&before, &after, out)?;
        let touched = std::mem::take(&mut self.touched);
        self.settle(touched)
    }

    fn checkpoint(&mut self) -> Result<Vec<StateChange>> {
        self.save()
    }

    fn restore(&mut self, state: StateChange) -> Result<()> {
        self.load(state)
    }

    fn state_bytes(&self) -> usize {
        let accumulators: usize = self.calls.iter().map(|c| c.accumulator.bytes()).sum();
        let logs: usize = self.calls.iter().filter_map(|c| c.log.as_ref()).map(|l| l.bytes()).sum();
        let groups = self.index.bytes() + self.rows.capacity() * 8 + self.flags.capacity();
        groups + accumulators + logs
    }

    fn state_rows(&self) -> usize {
        self.index.len()
    }
}

/// The rows for which a filter is true; `None` when it is for all of them.
fn selected_rows(filter: &ArrayRef) -> Option<Vec<u32>> {
    let filter = filter.as_boolean();
    if filter.null_count() == 0 && filter.true_count() == filter.len() {
        return None;
    }
    Some(
        (0..filter.len())
            .filter(|&i| filter.is_valid(i) && filter.value(i))
            .map(|i| i as u32)
            .collect(),
    )
}

/// A batch of the call's entries: group columns and arguments.
fn entries(
    log: &ChangeLog,
    group_columns: &[usize],
    columns: &[ArrayRef],
    args: Vec<ArrayRef>,
    weights: Vec<i64>,
) -> Result<ChangeBatch> {
    let columns = group_columns.iter().map(|&c| columns[c].clone()).chain(args).collect();
    let batch = batch_of(log.schema.clone(), columns, weights.len()).map_err(internal)?;
    Ok(ChangeBatch::new(batch, weights))
}

/// The parts of an epoch as one.
fn joined(parts: Vec<Results>) -> Result<Results> {
    if parts.len() <= 1 {
        return Ok(parts.into_iter().next().unwrap_or_default());
    }
    let mut all = Results::default();
    for part in &parts {
        let start = all.groups.len();
        let failures = part.failures.iter().cloned();
        all.failures.extend(failures.map(|f| Failure { position: f.position + start, ..f }));
        all.groups.extend_from_slice(&part.groups);
    }
    for call in 0..parts[0].columns.len() {
        let columns: Vec<&dyn Array> = parts.iter().map(|p| p.columns[call].as_ref()).collect();
        all.columns.push(concat(&columns).map_err(internal)?);
    }
    Ok(all)
}

/// Which rows of `before` go and which of `after` come. The groups of both are subsequences of `touched`.
fn difference(touched: &[u32], before: &Results, after: &Results) -> Result<(Vec<u32>, Vec<u32>)> {
    let (mut gone, mut come) = (vec![], vec![]);
    let (mut old_pairs, mut new_pairs) = (vec![], vec![]);
    let (mut olds, mut news) = (Walk::new(before), Walk::new(after));
    for &group in touched {
        match (olds.step(group), news.step(group)) {
            (Some(old), Some(new)) => {
                old_pairs.push(old);
                new_pairs.push(new);
            }
            (Some(old), None) => gone.push(old),
            (None, Some(new)) => come.push(new),
            (None, None) => {}
        }
    }
    if old_pairs.is_empty() {
        return Ok((gone, come));
    }
    let mut same = BooleanBuffer::new_set(old_pairs.len());
    for (old, new) in before.columns.iter().zip(&after.columns) {
        same = &same & &equal_rows(&pick(old, &old_pairs)?, &pick(new, &new_pairs)?)?;
    }
    for changed in (!&same).set_indices() {
        gone.push(old_pairs[changed]);
        come.push(new_pairs[changed]);
    }
    Ok((gone, come))
}

/// Walks the groups of some results beside a longer sequence that contains them.
struct Walk<'a> {
    groups: &'a [u32],
    failures: &'a [Failure],
    position: usize,
}

impl<'a> Walk<'a> {
    fn new(results: &'a Results) -> Walk<'a> {
        Walk { groups: &results.groups, failures: &results.failures, position: 0 }
    }

    /// The position of `group`'s row, if it is next and has one.
    #[inline]
    fn step(&mut self, group: u32) -> Option<u32> {
        if self.groups.get(self.position) != Some(&group) {
            return None;
        }
        let position = self.position;
        self.position += 1;
        if let Some((failure, rest)) = self.failures.split_first()
            && failure.position == position
        {
            self.failures = rest;
            return None;
        }
        Some(position as u32)
    }
}

/// Where two columns of one type have the same value, bit by bit; NULL is the same as NULL.
fn equal_rows(old: &ArrayRef, new: &ArrayRef) -> Result<BooleanBuffer> {
    if !old.data_type().is_nested() {
        let same = not_distinct(old, new).map_err(internal)?;
        return Ok(same.values().clone());
    }
    let converter = row_converter(vec![SortField::new(old.data_type().clone())])?;
    let encode = |column: &ArrayRef| {
        converter.convert_columns(std::slice::from_ref(column)).map_err(internal)
    };
    let (old, new) = (encode(old)?, encode(new)?);
    Ok(old.iter().zip(new.iter()).map(|(old, new)| old == new).collect())
}

/// The rows at `indices`; the column itself when these are all of them in order.
fn pick(column: &ArrayRef, indices: &[u32]) -> Result<ArrayRef> {
    let whole = indices.len() == column.len();
    if whole && indices.iter().enumerate().all(|(i, &index)| i == index as usize) {
        return Ok(column.clone());
    }
    take(column, &UInt32Array::from(indices.to_vec()), None).map_err(internal)
}
