//! Accumulators: what one aggregate call keeps by group, added to and taken back column by column.
//!
//! An accumulator's state is a function of the multiset of its input, never of its order or its batches. Those that
//! must keep their input (distinct, updating min and max, recomputation) are saved as that input; the others as a few
//! bytes a group. FILTER is applied before an accumulator sees a row; NULLs are each accumulator's own business.
//! Adding a function is a variant here, an arm in [`build`] and a file.

mod bool_extreme;
mod count;
mod distinct;
mod extreme;
mod float_sum;
mod interval_sum;
mod number_sum;
mod recompute;

use std::fmt::Debug;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, FieldRef, IntervalUnit, SchemaRef};

pub use self::recompute::{RecomputedFunction, UdafArgument};
use crate::error::{Error, Result, SqlState};

/// Which aggregate, with what its call fixes beyond argument columns.
#[derive(Clone, Debug, PartialEq)]
pub enum AggregateFunction {
    CountStar,
    /// Rows in which no argument is NULL.
    Count,
    /// Integers and decimals (exact, checked when read), floats (exact, rounded once), intervals.
    Sum,
    /// As `Sum`, divided by the number of values; decimals round half away from zero to the return type's scale.
    Avg,
    Min,
    Max,
    BoolAnd,
    BoolOr,
    /// Any other function of DataFusion: changed groups are computed anew from their rows.
    Udaf(Arc<RecomputedFunction>),
}

/// One aggregate call over plain columns of the input.
#[derive(Clone, Debug, PartialEq)]
pub struct AggregateCall {
    pub function: AggregateFunction,
    /// Argument columns of the input; for `Udaf` as its `arguments` and `order` refer to them.
    pub args: Vec<usize>,
    /// A boolean column of the input; only rows for which it is true count.
    pub filter: Option<usize>,
    pub distinct: bool,
    /// Name and type of the result column.
    pub return_field: FieldRef,
}

/// Rows of one batch that reach an accumulator.
pub struct Input<'a> {
    pub groups: &'a [u32],
    /// `None` when every weight is +1.
    pub weights: Option<&'a [i64]>,
    pub args: &'a [ArrayRef],
}

impl Input<'_> {
    /// Calls `f(row, group, weight)` for every row that is not null in `nulls`. Inlined, so that the common case (no
    /// nulls, every weight +1) becomes a loop without a branch.
    #[inline]
    pub fn for_each(&self, nulls: Option<&NullBuffer>, mut f: impl FnMut(usize, usize, i64)) {
        match (self.weights, nulls.filter(|n| n.null_count() > 0)) {
            (None, None) => self.groups.iter().enumerate().for_each(|(i, &g)| f(i, g as usize, 1)),
            (Some(weights), None) => {
                let rows = self.groups.iter().zip(weights);
                rows.enumerate().for_each(|(i, (&g, &w))| f(i, g as usize, w));
            }
            (weights, Some(nulls)) => nulls
                .valid_indices()
                .for_each(|i| f(i, self.groups[i] as usize, weights.map_or(1, |w| w[i]))),
        }
    }

    /// The null buffer of the only argument.
    pub fn nulls(&self) -> Option<NullBuffer> {
        self.args[0].logical_nulls()
    }
}

/// Why a group has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Position within the groups that were evaluated.
    pub position: usize,
    pub code: SqlState,
    pub message: String,
}

/// Everything an accumulator has kept: one row an entry, its group, argument columns and weight.
pub struct Entries {
    pub groups: Vec<u32>,
    pub args: Vec<ArrayRef>,
    pub weights: Vec<i64>,
}

/// One aggregate call's state by group.
pub trait Accumulator: Send {
    /// Makes room for groups below `slots`; new ones are empty.
    fn resize(&mut self, slots: usize);

    fn update(&mut self, input: &Input) -> Result<()>;

    /// The results of `groups` in that order; `rows` is the number of input rows by group. A group that fails is
    /// reported in `failures` and its result is anything.
    fn evaluate(
        &mut self,
        groups: &[u32],
        rows: &[i64],
        failures: &mut Vec<Failure>,
    ) -> Result<ArrayRef>;

    /// The groups are freed: they are empty again.
    fn clear(&mut self, groups: &[u32]);

    /// Groups are renumbered: keeps the state of `kept`, in that order.
    fn compact(&mut self, kept: &[u32]);

    /// Bytes held.
    fn bytes(&self) -> usize;

    /// Whether the state is saved as entries, given back through `update`, instead of by `save` and `load`.
    fn holds_entries(&self) -> bool {
        false
    }

    /// Everything kept, for accumulators that hold entries.
    fn entries(&self) -> Result<Entries> {
        Err(Error::internal("the accumulator holds no entries"))
    }

    /// Appends the group's state to `into`.
    fn save(&self, _group: usize, _into: &mut Vec<u8>) {}

    /// Whether states can be added up: [`Accumulator::merge`] and [`Accumulator::is_zero`] may be called.
    fn is_additive(&self) -> bool {
        false
    }

    /// Adds the state of one group to another's, or takes it off where `times` is -1.
    fn merge(&mut self, _from: usize, _into: usize, _times: i64) {}

    /// Whether the group's state is that of no input at all.
    fn is_zero(&self, _group: usize) -> bool {
        false
    }

    /// Takes the group's state back.
    fn load(&mut self, _group: usize, _from: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// The accumulator for `call` over an input of `schema`. Functions over types that they are not defined for are 0A000.
pub fn build(
    call: &AggregateCall,
    schema: &SchemaRef,
    append_only: bool,
) -> Result<Box<dyn Accumulator>> {
    let types: Vec<DataType> =
        call.args.iter().map(|&c| schema.field(c).data_type().clone()).collect();
    if call.distinct
        && matches!(
            call.function,
            AggregateFunction::Count | AggregateFunction::Sum | AggregateFunction::Avg
        )
    {
        let inner = build_plain(call, &types, append_only)?;
        return Ok(Box::new(distinct::Distinct::new(&types, inner)?));
    }
    if let AggregateFunction::Udaf(function) = &call.function {
        let fields: Vec<FieldRef> =
            call.args.iter().map(|&c| Arc::new(schema.field(c).clone())).collect();
        let recompute = recompute::Recompute::new(function.clone(), fields, call)?;
        return Ok(Box::new(recompute));
    }
    build_plain(call, &types, append_only)
}

fn build_plain(
    call: &AggregateCall,
    types: &[DataType],
    append_only: bool,
) -> Result<Box<dyn Accumulator>> {
    let returned = call.return_field.data_type();
    let only = || match types {
        [one] => Ok(one),
        _ => Err(Error::internal(format!("{:?} takes one argument", call.function))),
    };
    Ok(match &call.function {
        AggregateFunction::CountStar if call.filter.is_none() => Box::new(count::CountStar),
        AggregateFunction::CountStar | AggregateFunction::Count => {
            Box::new(count::Count::default())
        }
        AggregateFunction::Sum | AggregateFunction::Avg => {
            let average = matches!(call.function, AggregateFunction::Avg);
            match only()? {
                DataType::Float32 | DataType::Float64 => {
                    Box::new(float_sum::FloatSums::new(average, returned)?)
                }
                DataType::Interval(IntervalUnit::MonthDayNano) if !average => {
                    Box::new(interval_sum::IntervalSums::default())
                }
                other => Box::new(number_sum::NumberSums::new(average, other, returned)?),
            }
        }
        AggregateFunction::Min => extreme::build(only()?, false, append_only)?,
        AggregateFunction::Max => extreme::build(only()?, true, append_only)?,
        AggregateFunction::BoolAnd => Box::new(bool_extreme::BoolExtreme::new(true)),
        AggregateFunction::BoolOr => Box::new(bool_extreme::BoolExtreme::new(false)),
        AggregateFunction::Udaf(_) => {
            return Err(Error::internal("recomputed functions are built apart"));
        }
    })
}

/// State bytes of the wrong length: XX001.
fn damaged() -> Error {
    Error::new(SqlState::DATA_CORRUPTED, "a saved aggregate state has the wrong length")
}

/// The first `N` bytes of a saved state and the rest.
fn split<const N: usize>(from: &[u8]) -> Result<([u8; N], &[u8])> {
    from.split_first_chunk::<N>().map(|(head, rest)| (*head, rest)).ok_or_else(damaged)
}

/// Sets the groups' elements back to their empty value.
fn reset<T: Default>(by_group: &mut [T], groups: &[u32]) {
    groups.iter().for_each(|&g| by_group[g as usize] = T::default());
}
