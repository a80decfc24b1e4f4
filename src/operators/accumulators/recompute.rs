//! Any other DataFusion aggregate: keeps a group's rows and computes changed groups anew when they are read.
//!
//! The only operator file that names DataFusion. Rows are fed in the order of the call's ORDER BY, then of the whole
//! row in type order, so that `array_agg`, `string_agg` or `first_value` are functions of the multiset.
//! Invariant: `results[group]` is `Some` exactly when no row of the group has changed since it was computed.

use std::fmt;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::{ArrowError, DataType, FieldRef, Schema};
use datafusion::common::DataFusionError;
use datafusion::logical_expr::AggregateUDF;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::scalar::ScalarValue;

use super::{Accumulator, AggregateCall, Entries, Failure, Input};
use crate::error::{Error, Result, SqlState};
use crate::operators::group_index::keep;
use crate::operators::ordered_bag::{Added, OrderedBag};
use crate::operators::row_order::{RowOrder, SortKey};

/// Rows of a group that are handed to DataFusion's accumulator at a time.
const FEED_ROWS_MAX: usize = 8192;

/// A DataFusion aggregate with what a call fixes.
#[derive(Clone, PartialEq)]
pub struct RecomputedFunction {
    pub function: Arc<AggregateUDF>,
    /// The function's arguments in order.
    pub arguments: Vec<UdafArgument>,
    /// The call's ORDER BY; its columns are positions in the call's `args`.
    pub order: Vec<SortKey>,
    pub ignore_nulls: bool,
}

impl fmt::Debug for RecomputedFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({:?})", self.function.name(), self.arguments)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum UdafArgument {
    /// A position in the call's `args`.
    Column(usize),
    /// A constant, such as `string_agg`'s delimiter.
    Constant(ScalarValue),
}

type Outcome = std::result::Result<ScalarValue, (SqlState, String)>;

/// The rows of every group and the results of those that have not changed.
pub struct Recompute {
    function: Arc<RecomputedFunction>,
    distinct: bool,
    returned: FieldRef,
    schema: Schema,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    expr_fields: Vec<FieldRef>,
    rows: RowOrder,
    bags: Vec<OrderedBag<Box<[u8]>>>,
    results: Vec<Option<Outcome>>,
    entry_bytes: usize,
}

impl Recompute {
    /// `fields` are those of the call's argument columns.
    pub fn new(
        function: Arc<RecomputedFunction>,
        fields: Vec<FieldRef>,
        call: &AggregateCall,
    ) -> Result<Recompute> {
        let types: Vec<DataType> = fields.iter().map(|f| f.data_type().clone()).collect();
        let rows = RowOrder::new(&types, &function.order)?;
        let (mut exprs, mut expr_fields) = (vec![], vec![]);
        for argument in &function.arguments {
            let (expr, field): (Arc<dyn PhysicalExpr>, FieldRef) = match argument {
                UdafArgument::Column(at) => {
                    (Arc::new(Column::new(fields[*at].name(), *at)), fields[*at].clone())
                }
                UdafArgument::Constant(value) => {
                    let field =
                        arrow_schema::Field::new("constant", value.data_type(), value.is_null());
                    (Arc::new(Literal::new(value.clone())), Arc::new(field))
                }
            };
            exprs.push(expr);
            expr_fields.push(field);
        }
        Ok(Recompute {
            distinct: call.distinct,
            returned: call.return_field.clone(),
            schema: Schema::new(fields),
            exprs,
            expr_fields,
            rows,
            bags: vec![],
            results: vec![],
            entry_bytes: 0,
            function,
        })
    }

    fn compute(&self, group: usize) -> Outcome {
        self.feed(group).map_err(|error| match error.find_root() {
            DataFusionError::ArrowError(arrow, _) => match arrow.as_ref() {
                ArrowError::DivideByZero => {
                    (SqlState::DIVISION_BY_ZERO, "division by zero".to_owned())
                }
                ArrowError::ArithmeticOverflow(what) => {
                    (SqlState::NUMERIC_VALUE_OUT_OF_RANGE, what.clone())
                }
                other => (SqlState::INVALID_PARAMETER_VALUE, other.to_string()),
            },
            other => (SqlState::INVALID_PARAMETER_VALUE, other.strip_backtrace()),
        })
    }

    fn feed(&self, group: usize) -> Result<ScalarValue, DataFusionError> {
        let mut accumulator = self.function.function.accumulator(AccumulatorArgs {
            return_field: self.returned.clone(),
            schema: &self.schema,
            ignore_nulls: self.function.ignore_nulls,
            order_bys: &[],
            is_reversed: false,
            name: self.returned.name(),
            is_distinct: false,
            exprs: &self.exprs,
            expr_fields: &self.expr_fields,
        })?;
        let positive = self.bags[group].iter().filter(|(_, w)| *w > 0);
        let times = |w: i64| if self.distinct { 1 } else { w as usize };
        let mut rows =
            positive.flat_map(|(k, w)| std::iter::repeat_n(k.as_ref(), times(w))).peekable();
        while rows.peek().is_some() {
            let slice: Vec<&[u8]> = rows.by_ref().take(FEED_ROWS_MAX).collect();
            let columns = self.rows.decode(slice.iter().copied())?;
            let argument = |argument: &UdafArgument| match argument {
                UdafArgument::Column(at) => Ok(columns[*at].clone()),
                UdafArgument::Constant(value) => value.to_array_of_size(slice.len()),
            };
            let arguments = self.function.arguments.iter().map(argument);
            accumulator.update_batch(&arguments.collect::<Result<Vec<_>, _>>()?)?;
        }
        let value = accumulator.evaluate()?;
        let wanted: &DataType = self.returned.data_type();
        if value.data_type() == *wanted { Ok(value) } else { value.cast_to(wanted) }
    }
}

impl Accumulator for Recompute {
    fn resize(&mut self, slots: usize) {
        self.bags.resize_with(slots, OrderedBag::default);
        self.results.resize(slots, None);
    }

    fn update(&mut self, input: &Input) -> Result<()> {
        let rows = self.rows.encode(input.args)?;
        let (bags, results, entry_bytes) =
            (&mut self.bags, &mut self.results, &mut self.entry_bytes);
        input.for_each(None, |row, group, weight| {
            let key: Box<[u8]> = rows.row(row).into();
            let bytes = key.len() + 32;
            results[group] = None;
            match bags[group].add(key, weight) {
                Added::Entry => *entry_bytes += bytes,
                Added::Removal => *entry_bytes -= bytes,
                Added::Weight => {}
            }
        });
        Ok(())
    }

    fn evaluate(
        &mut self,
        groups: &[u32],
        _: &[i64],
        failures: &mut Vec<Failure>,
    ) -> Result<ArrayRef> {
        let mut values = Vec::with_capacity(groups.len());
        let null = ScalarValue::try_from(self.returned.data_type());
        let null = null.map_err(|e| Error::internal(e.strip_backtrace()))?;
        for (position, &group) in groups.iter().enumerate() {
            let group = group as usize;
            if self.results[group].is_none() {
                self.results[group] = Some(self.compute(group));
            }
            match self.results[group].as_ref().expect("it was just computed") {
                Ok(value) => values.push(value.clone()),
                Err((code, message)) => {
                    failures.push(Failure { position, code: *code, message: message.clone() });
                    values.push(null.clone());
                }
            }
        }
        if values.is_empty() {
            return Ok(arrow_array::new_empty_array(self.returned.data_type()));
        }
        ScalarValue::iter_to_array(values).map_err(|e| Error::internal(e.strip_backtrace()))
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            let bag = std::mem::take(&mut self.bags[group as usize]);
            self.entry_bytes -= bag.iter().map(|(k, _)| k.len() + 32).sum::<usize>();
            self.results[group as usize] = None;
        }
    }

    fn compact(&mut self, kept: &[u32]) {
        keep(&mut self.bags, kept);
        keep(&mut self.results, kept);
    }

    fn bytes(&self) -> usize {
        let by_group = size_of::<OrderedBag<Box<[u8]>>>() + size_of::<Option<Outcome>>();
        self.bags.capacity() * by_group + self.entry_bytes
    }

    fn holds_entries(&self) -> bool {
        true
    }

    fn entries(&self) -> Result<Entries> {
        let (mut groups, mut rows, mut weights) = (vec![], vec![], vec![]);
        for (group, bag) in self.bags.iter().enumerate() {
            for (key, weight) in bag.iter() {
                groups.push(group as u32);
                rows.push(key.as_ref());
                weights.push(weight);
            }
        }
        let args = self.rows.decode(rows).map_err(|e| Error::internal(e.to_string()))?;
        Ok(Entries { groups, args, weights })
    }
}
