//! `sum` and `avg` with PostgreSQL's result types: exact for integers and numerics, rounded once for floats.
//!
//! sum(smallint, integer) is bigint, sum(bigint) numeric, avg of integers and numerics numeric with at least sixteen
//! fraction digits (rounded half away from zero); floats sum exactly, so results do not depend on order or partitions.
//! Results out of range are 22003, found when the result is read: a total may pass through any value.

use std::hash::Hash;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType,
};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType};
use arrow_buffer::{IntervalMonthDayNano, i256};
use arrow_schema::{DataType, Field, FieldRef};
use datafusion::common::{HashSet, Result as DfResult, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};

use super::exact_sum::ExactSum;
use crate::error::{Error, Result, SqlState};
use crate::query::arithmetic::{bounded, power_of_ten, round_quotient};
use crate::query::errors::{out_of_range, to_datafusion, undefined_function};
use crate::query::sql_types::{QUOTIENT_SCALE, interval, numeric, pg_type_name};

/// The family.
pub(super) fn all() -> Vec<Arc<AggregateUDF>> {
    [false, true].map(|average| Arc::new(AggregateUDF::from(Total::new(average)))).into()
}

/// `sum`, or `avg`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Total {
    average: bool,
    signature: Signature,
}

impl Total {
    fn new(average: bool) -> Total {
        Total { average, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for Total {
    fn name(&self) -> &str {
        if self.average { "avg" } else { "sum" }
    }

    fn aliases(&self) -> &[String] {
        &[]
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        use DataType as T;
        let coerced = match types {
            [T::Int16 | T::Int32 | T::Int64 | T::Float32 | T::Float64 | T::Decimal128(..)] => {
                types[0].clone()
            }
            [T::Interval(_) | T::Duration(_)] => interval(),
            [T::Int8 | T::UInt8] => T::Int16,
            [T::UInt16] => T::Int32,
            [T::UInt32] => T::Int64,
            [T::UInt64] => numeric(0),
            [T::Decimal32(_, s) | T::Decimal64(_, s) | T::Decimal256(_, s)] => numeric(*s),
            [T::Null] => T::Float64,
            _ => {
                let names: Vec<String> = types.iter().map(pg_type_name).collect();
                return Err(to_datafusion(undefined_function(self.name(), &names)));
            }
        };
        Ok(vec![coerced])
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        use DataType as T;
        Ok(match (&self.coerce_types(types)?[0], self.average) {
            (T::Int16 | T::Int32, false) => T::Int64,
            (T::Int64, false) => numeric(0),
            (T::Int16 | T::Int32 | T::Int64, true) => numeric(QUOTIENT_SCALE),
            (T::Decimal128(_, scale), false) => numeric(*scale),
            (T::Decimal128(_, scale), true) => numeric((*scale).max(QUOTIENT_SCALE)),
            (T::Float32, false) => T::Float32,
            (T::Interval(_), _) => interval(),
            _ => T::Float64,
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        let input = args.expr_fields[0].data_type();
        let totals = Totals {
            average: self.average,
            total: Sum::new(input),
            count: 0,
            returned: args.return_field.data_type().clone(),
            scale: if let DataType::Decimal128(_, scale) = input { *scale } else { 0 },
        };
        if args.is_distinct {
            return Ok(Box::new(Distinct { input: input.clone(), seen: HashSet::new(), totals }));
        }
        Ok(Box::new(totals))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        let input = args.input_fields[0].data_type();
        if args.is_distinct {
            let item = Arc::new(Field::new_list_field(input.clone(), true));
            return Ok(vec![Arc::new(Field::new("values", DataType::List(item), true))]);
        }
        let total = Sum::new(input).state_type();
        Ok(vec![
            Arc::new(Field::new("total", total, true)),
            Arc::new(Field::new("count", DataType::Int64, true)),
        ])
    }
}

/// A total in a form that no order of additions changes.
#[derive(Debug)]
enum Sum {
    /// Units of the argument's scale; 2^255 is out of reach of 2^64 values of 38 digits.
    Number(i256),
    Float(ExactSum),
    Interval {
        months: i64,
        days: i64,
        nanoseconds: i128,
    },
}

impl Sum {
    fn new(input: &DataType) -> Sum {
        match input {
            DataType::Float32 | DataType::Float64 | DataType::Null => {
                Sum::Float(ExactSum::default())
            }
            DataType::Interval(_) => Sum::Interval { months: 0, days: 0, nanoseconds: 0 },
            _ => Sum::Number(i256::ZERO),
        }
    }

    fn state_type(&self) -> DataType {
        match self {
            Sum::Number(_) => DataType::Decimal256(76, 0),
            Sum::Float(_) => {
                DataType::List(Arc::new(Field::new_list_field(DataType::Float64, true)))
            }
            Sum::Interval { .. } => {
                DataType::List(Arc::new(Field::new_list_field(DataType::Decimal128(38, 0), true)))
            }
        }
    }

    fn add(&mut self, values: &ArrayRef) -> Result<()> {
        fn numbers<T: ArrowPrimitiveType>(values: &ArrayRef) -> i256
        where
            T::Native: Into<i128>,
        {
            let values = values.as_primitive::<T>();
            values
                .iter()
                .flatten()
                .fold(i256::ZERO, |sum, v| sum.wrapping_add(i256::from_i128(v.into())))
        }
        match self {
            Sum::Number(total) => {
                let sum = match values.data_type() {
                    DataType::Int16 => numbers::<Int16Type>(values),
                    DataType::Int32 => numbers::<Int32Type>(values),
                    DataType::Int64 => numbers::<Int64Type>(values),
                    DataType::Decimal128(..) => numbers::<Decimal128Type>(values),
                    other => return Err(Error::internal(format!("a sum of {other}"))),
                };
                *total = total.wrapping_add(sum);
            }
            Sum::Float(total) => match values.data_type() {
                DataType::Float32 => values
                    .as_primitive::<Float32Type>()
                    .iter()
                    .flatten()
                    .for_each(|v| total.add(v.into())),
                _ => {
                    values.as_primitive::<Float64Type>().iter().flatten().for_each(|v| total.add(v))
                }
            },
            Sum::Interval { months, days, nanoseconds } => {
                for value in values.as_primitive::<IntervalMonthDayNanoType>().iter().flatten() {
                    *months += i64::from(value.months);
                    *days += i64::from(value.days);
                    *nanoseconds += i128::from(value.nanoseconds);
                }
            }
        }
        Ok(())
    }

    fn remove(&mut self, values: &ArrayRef) -> Result<()> {
        if let Sum::Float(total) = self {
            match values.data_type() {
                DataType::Float32 => {
                    let values = values.as_primitive::<Float32Type>();
                    values.iter().flatten().for_each(|v| total.remove(v.into()));
                }
                _ => {
                    let values = values.as_primitive::<Float64Type>();
                    values.iter().flatten().for_each(|v| total.remove(v));
                }
            }
            return Ok(());
        }
        let mut removed = Sum::new(values.data_type());
        removed.add(values)?;
        match (self, removed) {
            (Sum::Number(total), Sum::Number(removed)) => *total = total.wrapping_sub(removed),
            (
                Sum::Interval { months, days, nanoseconds },
                Sum::Interval { months: m, days: d, nanoseconds: n },
            ) => {
                *months -= m;
                *days -= d;
                *nanoseconds -= n;
            }
            _ => return Err(Error::internal("a sum takes back what it was given")),
        }
        Ok(())
    }

    fn state(&self) -> ScalarValue {
        match self {
            Sum::Number(total) => ScalarValue::Decimal256(Some(*total), 76, 0),
            Sum::Float(total) => {
                let parts: Vec<ScalarValue> =
                    total.parts().into_iter().map(ScalarValue::from).collect();
                ScalarValue::List(ScalarValue::new_list_nullable(&parts, &DataType::Float64))
            }
            Sum::Interval { months, days, nanoseconds } => {
                let parts = [i128::from(*months), i128::from(*days), *nanoseconds]
                    .map(|part| ScalarValue::Decimal128(Some(part), 38, 0));
                ScalarValue::List(ScalarValue::new_list_nullable(
                    &parts,
                    &DataType::Decimal128(38, 0),
                ))
            }
        }
    }

    fn merge(&mut self, states: &ArrayRef) -> Result<()> {
        match self {
            Sum::Number(total) => {
                for state in states.as_primitive::<Decimal256Type>().iter().flatten() {
                    *total = total.wrapping_add(state);
                }
            }
            Sum::Float(total) => {
                for parts in states.as_list::<i32>().iter().flatten() {
                    parts.as_primitive::<Float64Type>().iter().flatten().for_each(|v| total.add(v));
                }
            }
            Sum::Interval { months, days, nanoseconds } => {
                for parts in states.as_list::<i32>().iter().flatten() {
                    let parts = parts.as_primitive::<Decimal128Type>();
                    *months += parts.value(0) as i64;
                    *days += parts.value(1) as i64;
                    *nanoseconds += parts.value(2);
                }
            }
        }
        Ok(())
    }
}

/// A running sum or average.
#[derive(Debug)]
struct Totals {
    average: bool,
    total: Sum,
    /// Values that are not NULL.
    count: i64,
    returned: DataType,
    /// Fraction digits of the argument.
    scale: i8,
}

impl Totals {
    fn result(&self) -> Result<ScalarValue> {
        if self.count == 0 {
            return ScalarValue::try_from(&self.returned)
                .map_err(crate::query::errors::from_datafusion);
        }
        match &self.total {
            Sum::Number(total) => self.number(*total),
            Sum::Float(total) => {
                let overflow = || {
                    Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow")
                };
                let sum = total.round().ok_or_else(overflow)?;
                if self.average {
                    return Ok(ScalarValue::from(sum / self.count as f64));
                }
                match self.returned {
                    DataType::Float32 if (sum as f32).is_infinite() && sum.is_finite() => {
                        Err(overflow())
                    }
                    DataType::Float32 => Ok(ScalarValue::from(sum as f32)),
                    _ => Ok(ScalarValue::from(sum)),
                }
            }
            Sum::Interval { months, days, nanoseconds } => {
                self.interval(*months, *days, *nanoseconds)
            }
        }
    }

    fn number(&self, total: i256) -> Result<ScalarValue> {
        if !self.average && self.returned == DataType::Int64 {
            let sum = total
                .to_i128()
                .and_then(|v| i64::try_from(v).ok())
                .ok_or_else(|| out_of_range("bigint"))?;
            return Ok(ScalarValue::from(sum));
        }
        let DataType::Decimal128(precision, scale) = self.returned else {
            return Err(Error::internal("a sum of numbers is a number"));
        };
        let value = if self.average {
            let raised = total
                .checked_mul(power_of_ten(scale - self.scale))
                .ok_or_else(crate::query::errors::numeric_overflow)?;
            round_quotient(raised, i256::from_i128(self.count.into()))
        } else {
            total
        };
        Ok(ScalarValue::Decimal128(Some(bounded(value)?), precision, scale))
    }

    /// Averages carry fractions of months into days (of 30 a month) and of days into time, as PostgreSQL's division does.
    fn interval(&self, months: i64, days: i64, nanoseconds: i128) -> Result<ScalarValue> {
        let overflow = || out_of_range("interval");
        let (months, days, nanoseconds) = if self.average {
            let count = i128::from(self.count);
            let (month, rest) = (i128::from(months) / count, i128::from(months) % count);
            let all_days = i128::from(days) + rest * 30;
            let (day, rest) = (all_days / count, all_days % count);
            let all_nanoseconds = nanoseconds + rest * 86_400_000_000_000;
            (month as i64, day as i64, all_nanoseconds / count / 1000 * 1000)
        } else {
            (months, days, nanoseconds)
        };
        let value = IntervalMonthDayNano::new(
            i32::try_from(months).map_err(|_| overflow())?,
            i32::try_from(days).map_err(|_| overflow())?,
            i64::try_from(nanoseconds).map_err(|_| overflow())?,
        );
        Ok(ScalarValue::IntervalMonthDayNano(Some(value)))
    }
}

impl Accumulator for Totals {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.count += (values[0].len() - values[0].logical_null_count()) as i64;
        self.total.add(&values[0]).map_err(to_datafusion)
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        self.result().map_err(to_datafusion)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.count -= (values[0].len() - values[0].logical_null_count()) as i64;
        self.total.remove(&values[0]).map_err(to_datafusion)
    }

    fn size(&self) -> usize {
        let parts = if let Sum::Float(sum) = &self.total { sum.parts().capacity() * 8 } else { 0 };
        size_of::<Totals>() + parts
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![self.total.state(), ScalarValue::from(self.count)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        self.count += states[1].as_primitive::<Int64Type>().iter().flatten().sum::<i64>();
        self.total.merge(&states[0]).map_err(to_datafusion)
    }
}

/// The same over distinct values.
#[derive(Debug)]
struct Distinct {
    input: DataType,
    seen: HashSet<ScalarValue>,
    totals: Totals,
}

impl Distinct {
    fn see(&mut self, values: &ArrayRef) -> DfResult<()> {
        for row in (0..values.len()).filter(|&row| values.is_valid(row)) {
            self.seen.insert(ScalarValue::try_from_array(values, row)?);
        }
        Ok(())
    }
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.see(&values[0])
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let mut totals = Totals {
            total: Sum::new(&self.input),
            count: 0,
            returned: self.totals.returned.clone(),
            ..self.totals
        };
        if !self.seen.is_empty() {
            totals.update_batch(&[ScalarValue::iter_to_array(self.seen.iter().cloned())?])?;
        }
        totals.evaluate()
    }

    fn size(&self) -> usize {
        size_of::<Distinct>() + self.seen.iter().map(ScalarValue::size).sum::<usize>()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let values: Vec<ScalarValue> = self.seen.iter().cloned().collect();
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(&values, &self.input))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        for values in states[0].as_list::<i32>().iter().flatten() {
            self.see(&values)?;
        }
        Ok(())
    }
}
