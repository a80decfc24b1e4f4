//! Aggregates over frames whose start moves, for functions that cannot take a row back: each result is computed from the
//! frame's rows.
//!
//! A wrapper that the planner of windows puts around such a function. It is the function in all else.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, FieldRef, Schema};
use arrow_select::concat::concat;
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature};
use datafusion::physical_plan::PhysicalExpr;

/// DataFusion's functions that take rows back by themselves.
const RETRACTABLE: &[&str] = &["count", "sum", "avg", "min", "max"];

/// The function, such that it can be computed over frames whose start moves.
pub(in crate::query) fn sliding(function: &Arc<AggregateUDF>) -> Arc<AggregateUDF> {
    match RETRACTABLE.contains(&function.name()) {
        true => Arc::clone(function),
        false => Arc::new(AggregateUDF::from(Sliding { base: Arc::clone(function) })),
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Sliding {
    base: Arc<AggregateUDF>,
}

impl Hash for Sliding {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.base.name().hash(state);
    }
}

impl AggregateUDFImpl for Sliding {
    fn name(&self) -> &str {
        self.base.name()
    }

    fn signature(&self) -> &Signature {
        self.base.signature()
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
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
        self.base.inner().accumulator(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        Ok(Box::new(Frame {
            base: Arc::clone(&self.base),
            returned: args.return_field,
            schema: args.schema.clone(),
            name: args.name.to_owned(),
            exprs: args.exprs.to_vec(),
            fields: args.expr_fields.to_vec(),
            rows: vec![],
        }))
    }
}

/// The arguments of the frame's rows, and what a fresh accumulator is made with.
#[derive(Debug)]
struct Frame {
    base: Arc<AggregateUDF>,
    returned: FieldRef,
    schema: Schema,
    name: String,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    fields: Vec<FieldRef>,
    /// In order, a column an argument.
    rows: Vec<ArrayRef>,
}

impl Frame {
    fn fresh(&self) -> DfResult<Box<dyn Accumulator>> {
        self.base.accumulator(AccumulatorArgs {
            return_field: Arc::clone(&self.returned),
            schema: &self.schema,
            ignore_nulls: false,
            order_bys: &[],
            is_reversed: false,
            name: &self.name,
            is_distinct: false,
            exprs: &self.exprs,
            expr_fields: &self.fields,
        })
    }
}

impl Accumulator for Frame {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        if self.rows.is_empty() {
            self.rows = values.to_vec();
            return Ok(());
        }
        for (rows, new) in self.rows.iter_mut().zip(values) {
            *rows = concat(&[rows.as_ref(), new.as_ref()])?;
        }
        Ok(())
    }

    /// Rows leave a frame in the order in which they came.
    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let gone = values.first().map_or(0, |column| column.len());
        for rows in &mut self.rows {
            *rows = rows.slice(gone, rows.len() - gone);
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let mut accumulator = self.fresh()?;
        if self.rows.first().is_some_and(|column| !column.is_empty()) {
            accumulator.update_batch(&self.rows)?;
        }
        accumulator.evaluate()
    }

    fn size(&self) -> usize {
        let rows: usize = self.rows.iter().map(|column| column.get_array_memory_size()).sum();
        size_of::<Frame>() + rows
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        self.fresh()?.state()
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> DfResult<()> {
        Ok(())
    }
}
