//! Window calls: how far each looks around a row, what a change of the partition means to it, and its results.
//!
//! Numbers and ranks are counted; values are picked by position. Aggregates whose states add up are computed of prefix
//! sums: the state of a frame is that of the rows up to its end less that of the rows before its start. Others
//! take in and take back rows as the frame moves.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, UInt32Array,
    new_empty_array, new_null_array,
};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow_select::concat::concat;
use arrow_select::interleave::interleave;
use arrow_select::take::take;

use super::super::accumulators::{
    self, Accumulator, AggregateCall, AggregateFunction, Failure, Input, RecomputedFunction,
};
use super::super::row_order::SortKey;
use super::blocks::Extent;
use super::frames::Frame;
use super::slices::{Slice, Slices};
use crate::error::{Error, Result};

/// Which function.
#[derive(Clone, Debug, PartialEq)]
pub enum WindowFunction {
    RowNumber,
    Rank,
    DenseRank,
    PercentRank,
    CumeDist,
    /// The number of tiles, positive or NULL.
    Ntile(Option<i64>),
    /// lag and lead: the value so many rows later (before, where negative), where that is a constant; else by the second
    /// argument, `sign` times as many. The last argument is the default, if there is one.
    Shift {
        rows: Option<i64>,
        sign: i64,
        default: bool,
    },
    FirstValue,
    LastValue,
    /// The frame's row of this number, positive or NULL.
    NthValue(Option<i64>),
    Aggregate(AggregateFunction),
}

/// One call over plain columns of the input.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowCall {
    pub function: WindowFunction,
    pub args: Vec<usize>,
    /// A boolean column; only rows for which it is true count. Only for aggregates.
    pub filter: Option<usize>,
    pub frame: Frame,
    /// Name and type of the result column.
    pub return_field: FieldRef,
}

impl WindowCall {
    /// The function as it is called in SQL.
    pub fn name(&self) -> String {
        match &self.function {
            WindowFunction::RowNumber => "row_number".to_owned(),
            WindowFunction::Rank => "rank".to_owned(),
            WindowFunction::DenseRank => "dense_rank".to_owned(),
            WindowFunction::PercentRank => "percent_rank".to_owned(),
            WindowFunction::CumeDist => "cume_dist".to_owned(),
            WindowFunction::Ntile(_) => "ntile".to_owned(),
            WindowFunction::Shift { sign, .. } => if *sign < 0 { "lag" } else { "lead" }.to_owned(),
            WindowFunction::FirstValue => "first_value".to_owned(),
            WindowFunction::LastValue => "last_value".to_owned(),
            WindowFunction::NthValue(_) => "nth_value".to_owned(),
            WindowFunction::Aggregate(function) => match function {
                AggregateFunction::CountStar | AggregateFunction::Count => "count".to_owned(),
                AggregateFunction::Sum => "sum".to_owned(),
                AggregateFunction::Avg => "avg".to_owned(),
                AggregateFunction::Min => "min".to_owned(),
                AggregateFunction::Max => "max".to_owned(),
                AggregateFunction::BoolAnd => "bool_and".to_owned(),
                AggregateFunction::BoolOr => "bool_or".to_owned(),
                AggregateFunction::Udaf(function) => function.function.name().to_owned(),
            },
        }
    }

    /// The frame, for functions that have one.
    pub fn spelled_frame(&self) -> Option<String> {
        let framed = matches!(
            self.function,
            WindowFunction::FirstValue
                | WindowFunction::LastValue
                | WindowFunction::NthValue(_)
                | WindowFunction::Aggregate(_)
        );
        framed.then(|| self.frame.to_string())
    }

    /// What of a partition is computed again when a row of it comes or goes.
    pub fn recomputes(&self) -> &'static str {
        let starts = self.frame.starts_unbounded();
        let ranged = matches!(self.frame, Frame::Range { .. });
        match &self.function {
            WindowFunction::RowNumber | WindowFunction::Rank | WindowFunction::DenseRank => {
                "from the change on"
            }
            WindowFunction::PercentRank | WindowFunction::CumeDist | WindowFunction::Ntile(_) => {
                "the partition"
            }
            WindowFunction::Shift { rows: Some(_), .. } => "neighbours",
            WindowFunction::Shift { rows: None, .. } => "the partition",
            _ if ranged || self.frame.ends_unbounded() => "the partition",
            WindowFunction::FirstValue | WindowFunction::NthValue(_) if starts => "neighbours",
            WindowFunction::LastValue => "neighbours",
            WindowFunction::FirstValue
            | WindowFunction::NthValue(_)
            | WindowFunction::Aggregate(_)
                if !starts =>
            {
                "neighbours"
            }
            _ => "from the change on",
        }
    }
}

/// How far calls look around a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reach {
    /// A change of a row so far before or after another one may change that one's result.
    pub back: Extent,
    pub ahead: Extent,
    /// So many of the partition's first rows are looked at from everywhere.
    pub head: i64,
    /// All rows before, or behind, are needed to compute a result.
    pub front: bool,
    pub tail: bool,
    /// What the rows before come to is needed.
    pub carry: bool,
}

impl Reach {
    pub fn or(self, other: Reach) -> Reach {
        Reach {
            back: self.back.or(other.back),
            ahead: self.ahead.or(other.ahead),
            head: self.head.max(other.head),
            front: self.front || other.front,
            tail: self.tail || other.tail,
            carry: self.carry || other.carry,
        }
    }
}

/// What an epoch did to a partition.
pub struct Delta {
    /// Rows more than before.
    pub rows: i64,
    /// Groups of peers more than before.
    pub groups: i64,
    /// Rows before the first change, at least.
    pub first: i64,
}

enum Kind {
    /// By position alone.
    Counted,
    Shift,
    Value,
    Additive(Box<dyn Accumulator>),
    Moving(Box<dyn Accumulator>),
}

pub struct Call {
    call: WindowCall,
    kind: Kind,
}

/// The results of one call for all emitted rows; those of failed rows are anything.
pub struct Results {
    pub column: ArrayRef,
    /// By position among the emitted rows.
    pub failures: Vec<Failure>,
}

impl Results {
    fn of(column: ArrayRef) -> Results {
        Results { column, failures: vec![] }
    }
}

/// The accumulator of an aggregate. One that computes from all rows gets their positions as a further argument, to
/// have them in the window's order.
fn built(mut aggregate: AggregateCall, schema: &SchemaRef) -> Result<Box<dyn Accumulator>> {
    let AggregateFunction::Udaf(function) = &aggregate.function else {
        return accumulators::build(&aggregate, schema, false);
    };
    let position = SortKey { column: aggregate.args.len(), descending: false, nulls_first: false };
    let function = RecomputedFunction { order: vec![position], ..function.as_ref().clone() };
    aggregate.args.push(schema.fields().len());
    aggregate.function = AggregateFunction::Udaf(Arc::new(function));
    let mut fields = schema.fields().to_vec();
    fields.push(Arc::new(Field::new("position", DataType::Int64, true)));
    accumulators::build(&aggregate, &Arc::new(Schema::new(fields)), false)
}

fn internal(error: arrow_schema::ArrowError) -> Error {
    Error::internal(error.to_string())
}

impl Call {
    /// Functions over types that they are not defined for are 0A000.
    pub fn new(call: WindowCall, schema: &SchemaRef) -> Result<Call> {
        let kind = match &call.function {
            WindowFunction::Shift { .. } => Kind::Shift,
            WindowFunction::FirstValue
            | WindowFunction::LastValue
            | WindowFunction::NthValue(_) => Kind::Value,
            WindowFunction::Aggregate(AggregateFunction::CountStar) if call.filter.is_none() => {
                Kind::Counted
            }
            WindowFunction::Aggregate(function) => {
                let aggregate = AggregateCall {
                    function: function.clone(),
                    args: call.args.clone(),
                    filter: call.filter,
                    distinct: false,
                    return_field: call.return_field.clone(),
                };
                let mut accumulator = built(aggregate, schema)?;
                let ranged = matches!(call.frame, Frame::Range { .. });
                match accumulator.is_additive() {
                    true if !ranged => Kind::Additive(accumulator),
                    _ => {
                        accumulator.resize(1);
                        Kind::Moving(accumulator)
                    }
                }
            }
            WindowFunction::RowNumber
            | WindowFunction::Rank
            | WindowFunction::DenseRank
            | WindowFunction::PercentRank
            | WindowFunction::CumeDist
            | WindowFunction::Ntile(_) => Kind::Counted,
        };
        Ok(Call { call, kind })
    }

    /// The accumulator that keeps what blocks of rows come to, if there is one.
    pub fn additive(&mut self) -> Option<&mut Box<dyn Accumulator>> {
        match &mut self.kind {
            Kind::Additive(accumulator) => Some(accumulator),
            _ => None,
        }
    }

    pub fn bytes(&self) -> usize {
        match &self.kind {
            Kind::Additive(accumulator) | Kind::Moving(accumulator) => accumulator.bytes(),
            Kind::Counted | Kind::Shift | Kind::Value => 0,
        }
    }

    pub fn reach(&self) -> Reach {
        let (back, ahead) = self.call.frame.extents();
        let frame = Reach { back, ahead, ..Reach::default() };
        let starts = self.call.frame.starts_unbounded();
        let ends = self.call.frame.ends_unbounded();
        match &self.call.function {
            WindowFunction::RowNumber | WindowFunction::Ntile(_) => Reach::default(),
            WindowFunction::Rank | WindowFunction::DenseRank | WindowFunction::PercentRank => {
                Reach { back: Extent::groups(0), ..Reach::default() }
            }
            WindowFunction::CumeDist => Reach { ahead: Extent::groups(0), ..Reach::default() },
            WindowFunction::Shift { rows: Some(rows), .. } if *rows < 0 => {
                Reach { back: Extent::rows(rows.saturating_neg()), ..Reach::default() }
            }
            WindowFunction::Shift { rows: Some(rows), .. } => {
                Reach { ahead: Extent::rows(*rows), ..Reach::default() }
            }
            WindowFunction::Shift { rows: None, .. } => {
                Reach { back: Extent::ALL, ahead: Extent::ALL, ..Reach::default() }
            }
            WindowFunction::LastValue => match ends {
                true => Reach { ahead: Extent::ALL, ..frame },
                false => frame,
            },
            WindowFunction::FirstValue | WindowFunction::NthValue(_) => {
                let nth = self.nth();
                match (starts, ends) {
                    (true, _) => Reach { head: nth, ..frame },
                    (false, false) => frame,
                    (false, true) if nth == 1 => frame,
                    (false, true) => Reach { ahead: Extent::ALL, ..frame },
                }
            }
            WindowFunction::Aggregate(_) => match &self.kind {
                Kind::Counted => frame,
                Kind::Additive(_) => Reach { tail: ends, carry: starts, ..frame },
                _ => Reach { tail: ends, front: starts, ..frame },
            },
        }
    }

    fn nth(&self) -> i64 {
        match self.call.function {
            WindowFunction::NthValue(nth) => nth.unwrap_or(1),
            _ => 1,
        }
    }

    /// Whether results of rows before what has changed may change, and of rows behind it, beyond what [`Call::reach`]
    /// says. `slot` is where the accumulator has what the changes come to.
    pub fn affects(&self, delta: &Delta, slot: Option<u32>) -> (bool, bool) {
        let starts = self.call.frame.starts_unbounded();
        let ends = self.call.frame.ends_unbounded();
        match &self.call.function {
            WindowFunction::RowNumber | WindowFunction::Rank => (false, delta.rows != 0),
            WindowFunction::DenseRank => (false, delta.groups != 0),
            WindowFunction::PercentRank | WindowFunction::CumeDist | WindowFunction::Ntile(_) => {
                (delta.rows != 0, delta.rows != 0)
            }
            WindowFunction::Shift { .. } | WindowFunction::LastValue => (false, false),
            WindowFunction::FirstValue | WindowFunction::NthValue(_) => {
                let changed = starts && delta.first < self.nth();
                (changed && ends, changed)
            }
            WindowFunction::Aggregate(_) => {
                let changed = match (&self.kind, slot) {
                    (Kind::Counted, _) => delta.rows != 0,
                    (Kind::Additive(accumulator), Some(slot)) => {
                        !accumulator.is_zero(slot as usize)
                    }
                    _ => true,
                };
                (changed && ends, changed && starts)
            }
        }
    }

    /// Adds rows to groups of the accumulator, those that the filter lets through.
    pub fn add(&mut self, columns: &[ArrayRef], groups: &[u32], weights: &[i64]) -> Result<()> {
        let Kind::Additive(accumulator) = &mut self.kind else { return Ok(()) };
        let args: Vec<ArrayRef> = self.call.args.iter().map(|&c| columns[c].clone()).collect();
        let Some(filter) = self.call.filter else {
            return accumulator.update(&Input { groups, weights: Some(weights), args: &args });
        };
        let rows = passing(&columns[filter], 0..groups.len());
        let groups: Vec<u32> = rows.values().iter().map(|&row| groups[row as usize]).collect();
        let weights: Vec<i64> = rows.values().iter().map(|&row| weights[row as usize]).collect();
        let args = args.iter().map(|arg| take(arg, &rows, None).map_err(internal));
        let args = args.collect::<Result<Vec<_>>>()?;
        accumulator.update(&Input { groups: &groups, weights: Some(&weights), args: &args })
    }

    /// The results for the emitted rows; `slots` are free groups of the accumulator.
    pub fn evaluate(&mut self, slices: &Slices, slots: &[u32]) -> Result<Results> {
        match self.kind {
            Kind::Counted => self.counted(slices).map(Results::of),
            Kind::Shift => self.shifted(slices).map(Results::of),
            Kind::Value => {
                self.framed(slices, |call, frames| call.picked(slices, &frames).map(Results::of))
            }
            Kind::Additive(_) => {
                self.framed(slices, |call, frames| call.differences(slices, &frames, slots))
            }
            Kind::Moving(_) => self.framed(slices, |call, frames| call.moving(slices, &frames)),
        }
    }

    /// How many groups of the accumulator an evaluation needs.
    pub fn slots(&self, slices: &Slices) -> usize {
        match self.kind {
            Kind::Additive(_) => {
                let contexts = slices.slices.iter().map(|slice| slice.context.len() + 1);
                contexts.sum::<usize>() + slices.emitted()
            }
            _ => 0,
        }
    }

    /// With the frames of the emitted rows, slice by slice. Where they cannot be computed, the slice's rows fail.
    fn framed(
        &mut self,
        slices: &Slices,
        evaluate: impl FnOnce(&mut Call, Vec<Vec<(i64, i64)>>) -> Result<Results>,
    ) -> Result<Results> {
        let (mut frames, mut failures, mut position) = (vec![], vec![], 0);
        for slice in &slices.slices {
            match self.call.frame.of_slice(slices, slice) {
                Ok(of_slice) => frames.push(of_slice),
                Err(error) => {
                    frames.push(vec![(0, 0); slice.emit.len()]);
                    failures.extend((position..position + slice.emit.len()).map(|position| {
                        Failure { position, code: error.code, message: error.message.clone() }
                    }));
                }
            }
            position += slice.emit.len();
        }
        let mut results = evaluate(self, frames)?;
        results.failures.extend(failures);
        Ok(results)
    }

    fn counted(&mut self, slices: &Slices) -> Result<ArrayRef> {
        let integers = |number: fn(&Slice, Peers) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from(each(slices, number)))
        };
        Ok(match self.call.function {
            WindowFunction::RowNumber => integers(|slice, row| slice.position(row.at) + 1),
            WindowFunction::Rank => integers(|slice, row| slice.position(row.start) + 1),
            WindowFunction::DenseRank => integers(|_, row| row.group),
            WindowFunction::PercentRank => {
                let percent = |slice: &Slice, row: Peers| {
                    slice.position(row.start) as f64 / (slice.total - 1).max(1) as f64
                };
                Arc::new(Float64Array::from(each(slices, percent)))
            }
            WindowFunction::CumeDist => {
                let share =
                    |slice: &Slice, row: Peers| slice.position(row.end) as f64 / slice.total as f64;
                Arc::new(Float64Array::from(each(slices, share)))
            }
            WindowFunction::Ntile(None) => new_null_array(&DataType::Int32, slices.emitted()),
            WindowFunction::Ntile(Some(tiles)) => {
                let tile = |slice: &Slice, row: Peers| tile(slice, row.at, tiles);
                Arc::new(Int32Array::from(each(slices, tile)))
            }
            _ => {
                let mut counts = Vec::with_capacity(slices.emitted());
                for slice in &slices.slices {
                    let frames = self.call.frame.of_slice(slices, slice)?;
                    counts.extend(frames.iter().map(|(start, end)| end - start));
                }
                Arc::new(Int64Array::from(counts))
            }
        })
    }

    fn shifted(&self, slices: &Slices) -> Result<ArrayRef> {
        let WindowFunction::Shift { rows, sign, default } = self.call.function else {
            return Err(Error::internal("only lag and lead are shifts"));
        };
        let column = |arg: usize| &slices.columns[self.call.args[arg]];
        let nothing = new_null_array(column(0).data_type(), 1);
        let other = if default { column(self.call.args.len() - 1) } else { &nothing };
        let offsets = rows.is_none().then(|| column(1).as_primitive::<Int64Type>());
        let mut sources = Vec::with_capacity(slices.emitted());
        for slice in &slices.slices {
            sources.extend(slice.emitted().map(|at| {
                let shift = match offsets {
                    Some(offsets) if offsets.is_null(at) => return (2, 0),
                    Some(offsets) => offsets.value(at).saturating_mul(sign),
                    None => rows.unwrap_or(0),
                };
                let position = slice.position(at).saturating_add(shift);
                match slice.index(position).filter(|_| position >= 0 && position < slice.total) {
                    Some(from) => (0, from),
                    None if default => (1, at),
                    None => (2, 0),
                }
            }));
        }
        let columns: [&dyn Array; 3] = [column(0).as_ref(), other.as_ref(), nothing.as_ref()];
        interleave(&columns, &sources).map_err(internal)
    }

    fn picked(&self, slices: &Slices, frames: &[Vec<(i64, i64)>]) -> Result<ArrayRef> {
        let pick = |(start, end): (i64, i64)| match self.call.function {
            WindowFunction::LastValue => Some(end - 1).filter(|_| start < end),
            WindowFunction::NthValue(None) => None,
            _ => Some(start.saturating_add(self.nth() - 1)).filter(|at| *at < end),
        };
        let rows = slices.slices.iter().zip(frames).flat_map(|(slice, frames)| {
            frames
                .iter()
                .map(move |frame| pick(*frame).and_then(|p| slice.index(p)).map(|i| i as u32))
        });
        let rows: UInt32Array = rows.collect();
        take(&slices.columns[self.call.args[0]], &rows, None).map_err(internal)
    }

    /// Aggregates by differences of prefixes. A prefix begins with the partition where frames do, else with the context.
    fn differences(
        &mut self,
        slices: &Slices,
        frames: &[Vec<(i64, i64)>],
        slots: &[u32],
    ) -> Result<Results> {
        let from_first = self.call.frame.starts_unbounded();
        let (mut prefixes, rest) = (vec![], slots);
        let mut rest = rest;
        let (mut rows, mut groups) = (vec![], vec![]);
        for slice in &slices.slices {
            let (mine, others) = rest.split_at(slice.context.len() + 1);
            rest = others;
            rows.extend(slice.context.clone().map(|at| at as u32));
            groups.extend_from_slice(&mine[1..]);
            prefixes.push(mine);
        }
        let rows = UInt32Array::from(rows);
        let mut columns = slices.columns.clone();
        for &column in self.call.args.iter().chain(&self.call.filter) {
            columns[column] = take(&slices.columns[column], &rows, None).map_err(internal)?;
        }
        self.add(&columns, &groups, &vec![1; groups.len()])?;
        let Kind::Additive(accumulator) = &mut self.kind else {
            return Err(Error::internal("only additive accumulators have prefixes"));
        };
        let results = &rest[..slices.emitted()];
        let mut result = results.iter();
        for ((slice, frames), prefix) in slices.slices.iter().zip(frames).zip(prefixes) {
            if let Some(carry) = slice.carry.filter(|_| from_first) {
                accumulator.merge(carry as usize, prefix[0] as usize, 1);
            }
            for pair in prefix.windows(2) {
                accumulator.merge(pair[0] as usize, pair[1] as usize, 1);
            }
            let state = |position: i64| prefix[(position - slice.first) as usize] as usize;
            for (&(start, end), &result) in frames.iter().zip(&mut result) {
                if start < end {
                    accumulator.merge(state(end), result as usize, 1);
                    if !from_first {
                        accumulator.merge(state(start), result as usize, -1);
                    }
                }
            }
        }
        let mut failures = vec![];
        let column = accumulator.evaluate(results, &[], &mut failures)?;
        Ok(Results { column, failures })
    }

    /// Aggregates that take rows in and back as the frame moves.
    fn moving(&mut self, slices: &Slices, frames: &[Vec<(i64, i64)>]) -> Result<Results> {
        let Kind::Moving(accumulator) = &mut self.kind else {
            return Err(Error::internal("only moving aggregates move"));
        };
        let mut args: Vec<ArrayRef> =
            self.call.args.iter().map(|&c| slices.columns[c].clone()).collect();
        if let WindowFunction::Aggregate(AggregateFunction::Udaf(_)) = self.call.function {
            args.push(Arc::new(Int64Array::from_iter_values(0..slices.len() as i64)));
        }
        let mut window = Moving {
            accumulator: accumulator.as_mut(),
            args,
            filter: self.call.filter.map(|c| slices.columns[c].clone()),
            zeros: vec![0; slices.len()],
            signs: [vec![1; slices.len()], vec![-1; slices.len()]],
        };
        let (mut columns, mut failures) = (vec![], vec![]);
        for (slice, frames) in slices.slices.iter().zip(frames) {
            window.accumulator.clear(&[0]);
            // Bounds only move on from row to row.
            let mut held = (slice.first, slice.first);
            for &(start, end) in frames {
                let (start, end) = if start < end { (start, end) } else { (held.1, held.1) };
                let from = |position: i64| slice.context.start + (position - slice.first) as usize;
                if start >= held.1 || end <= held.0 {
                    window.accumulator.clear(&[0]);
                    held = (start, start);
                }
                window.change(from(held.0)..from(start), 1)?;
                window.change(from(held.1)..from(end), 0)?;
                held = (start, end);
                let mut failed = vec![];
                let value = window.accumulator.evaluate(&[0], &[end - start], &mut failed)?;
                failures
                    .extend(failed.into_iter().map(|f| Failure { position: columns.len(), ..f }));
                columns.push(value);
            }
        }
        window.accumulator.clear(&[0]);
        let column = match columns.is_empty() {
            true => new_empty_array(self.call.return_field.data_type()),
            false => {
                concat(&columns.iter().map(|c| c.as_ref()).collect::<Vec<_>>()).map_err(internal)?
            }
        };
        Ok(Results { column, failures })
    }
}

/// Rows going into an accumulator and out of it.
struct Moving<'a> {
    accumulator: &'a mut dyn Accumulator,
    args: Vec<ArrayRef>,
    filter: Option<ArrayRef>,
    zeros: Vec<u32>,
    /// For rows that come and for rows that go.
    signs: [Vec<i64>; 2],
}

impl Moving<'_> {
    fn change(&mut self, rows: std::ops::Range<usize>, sign: usize) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let (args, rows) = match &self.filter {
            None => {
                let args = self.args.iter().map(|arg| arg.slice(rows.start, rows.len()));
                (args.collect(), rows.len())
            }
            Some(filter) => {
                // count(*) has no arguments to tell how many rows there are.
                let passing = passing(filter, rows);
                let args = self.args.iter().map(|arg| take(arg, &passing, None).map_err(internal));
                (args.collect::<Result<Vec<_>>>()?, passing.len())
            }
        };
        let (groups, weights) = (&self.zeros[..rows], Some(&self.signs[sign][..rows]));
        self.accumulator.update(&Input { groups, weights, args: &args })
    }
}

/// The rows of a range for which the filter is true.
fn passing(filter: &ArrayRef, rows: std::ops::Range<usize>) -> UInt32Array {
    let filter: &BooleanArray = filter.as_boolean();
    let passes = |row: &usize| filter.is_valid(*row) && filter.value(*row);
    rows.filter(passes).map(|row| row as u32).collect::<Vec<_>>().into()
}

/// A row and its peers, as indices.
#[derive(Clone, Copy)]
struct Peers {
    at: usize,
    start: usize,
    end: usize,
    /// The number of its group in the partition, from 1.
    group: i64,
}

/// Calls `f` with every emitted row.
fn each<T>(slices: &Slices, mut f: impl FnMut(&Slice, Peers) -> T) -> Vec<T> {
    let mut out = Vec::with_capacity(slices.emitted());
    for slice in &slices.slices {
        let mut at = slice.context.start;
        let mut group = slice.groups_before;
        while at < slice.emit.end {
            group += i64::from(slices.starts[at]);
            let next = (at + 1..slice.context.end).find(|&next| slices.starts[next]);
            let end = next.unwrap_or(slice.context.end);
            let emitted = at.max(slice.emit.start)..end.min(slice.emit.end);
            out.extend(emitted.map(|row| f(slice, Peers { at: row, start: at, end, group })));
            at = end;
        }
    }
    out
}

fn tile(slice: &Slice, at: usize, tiles: i64) -> i32 {
    let row = slice.position(at);
    let (size, larger) = (slice.total / tiles, slice.total % tiles);
    let tile = match row < larger * (size + 1) {
        true => row / (size + 1),
        false => larger + (row - larger * (size + 1)) / size.max(1),
    };
    i32::try_from(tile + 1).unwrap_or(i32::MAX)
}
