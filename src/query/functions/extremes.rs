//! `min` and `max`: DataFusion's, except that floats go one by one instead of through its accumulator for groups, and that
//! intervals are compared by their length.
//!
//! That one starts from the largest finite float, so that the maximum of `-Infinity` alone was `-3.4028235e+38`, and lets
//! whatever follows a NaN replace it, where PostgreSQL has NaN as the greatest float.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::types::IntervalMonthDayNanoType;
use arrow_buffer::IntervalMonthDayNano;
use arrow_schema::{DataType, FieldRef, IntervalUnit};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature,
};

use crate::canonical::interval_length;
use crate::query::errors::{to_datafusion, undefined_function};
use crate::query::sql_types::pg_type_name;

/// The family.
pub(super) fn all() -> Vec<Arc<AggregateUDF>> {
    [min_udaf(), max_udaf()].map(|base| Arc::new(AggregateUDF::from(Extreme { base }))).into()
}

/// `min`.
pub(in crate::query) fn min() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(Extreme { base: min_udaf() }))
}

/// DataFusion's function, kept from its own accumulator for groups of floats.
#[derive(Debug, PartialEq, Eq)]
struct Extreme {
    base: Arc<AggregateUDF>,
}

impl Hash for Extreme {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.base.name().hash(state);
    }
}

impl AggregateUDFImpl for Extreme {
    fn name(&self) -> &str {
        self.base.name()
    }

    fn signature(&self) -> &Signature {
        self.base.signature()
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        // PostgreSQL 15 has none of records; DataFusion's takes a NULL member for the smallest, where ORDER BY has it last.
        let holds_records = |t: &DataType| match t {
            DataType::List(item) => matches!(item.data_type(), DataType::Struct(_)),
            other => matches!(other, DataType::Struct(_)),
        };
        if types.iter().any(holds_records) {
            let error = undefined_function(self.name(), &[pg_type_name(&types[0])]);
            return Err(to_datafusion(error));
        }
        self.base.inner().coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        self.base.inner().return_type(types)
    }

    fn return_field(&self, fields: &[FieldRef]) -> DfResult<FieldRef> {
        self.base.inner().return_field(fields)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        self.base.inner().state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        if is_interval(&args) {
            return Ok(Box::new(self.of_intervals()));
        }
        self.base.inner().accumulator(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.return_field.data_type().is_floating()
            && !is_interval(&args)
            && self.base.inner().groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> DfResult<Box<dyn GroupsAccumulator>> {
        self.base.inner().create_groups_accumulator(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        if is_interval(&args) {
            return Ok(Box::new(self.of_intervals()));
        }
        self.base.inner().create_sliding_accumulator(args)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.base.inner().order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn is_descending(&self) -> Option<bool> {
        self.base.inner().is_descending()
    }
}

impl Extreme {
    fn of_intervals(&self) -> Intervals {
        Intervals { greatest: self.base.name() == "max", counts: BTreeMap::new() }
    }
}

fn is_interval(args: &AccumulatorArgs) -> bool {
    matches!(args.return_field.data_type(), DataType::Interval(IntervalUnit::MonthDayNano))
}

/// The intervals there are, in order: by length, equal ones by their parts.
#[derive(Debug)]
struct Intervals {
    greatest: bool,
    counts: BTreeMap<(i128, IntervalMonthDayNano), usize>,
}

impl Intervals {
    fn each(&mut self, values: &ArrayRef, mut of: impl FnMut(&mut Intervals, IntervalKey)) {
        for value in values.as_primitive::<IntervalMonthDayNanoType>().iter().flatten() {
            of(self, (interval_length(value), value));
        }
    }
}

type IntervalKey = (i128, IntervalMonthDayNano);

impl Accumulator for Intervals {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.each(&values[0], |all, key| *all.counts.entry(key).or_default() += 1);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.each(&values[0], |all, key| {
            if let Entry::Occupied(mut count) = all.counts.entry(key) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        });
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let found = match self.greatest {
            true => self.counts.last_key_value(),
            false => self.counts.first_key_value(),
        };
        Ok(ScalarValue::IntervalMonthDayNano(found.map(|((_, value), _)| *value)))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.counts.len() * (size_of::<IntervalKey>() + size_of::<usize>())
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        self.update_batch(states)
    }
}
