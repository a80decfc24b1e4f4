//! PostgreSQL's window functions for SELECT, with its result types and errors: row_number and the ranks are bigint, ntile
//! integer; offsets and defaults of lag and lead are evaluated for each row.
//!
//! Views have an operator of their own, which knows these by their names. DataFusion sorts and cuts into partitions; here
//! a whole partition is evaluated at once, except for functions of the frame.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Float64Array, Int32Array, Int64Array, new_null_array};
use arrow_schema::{DataType, Field, FieldRef};
use arrow_select::interleave::interleave;
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::type_coercion::binary::type_union_resolution;
use datafusion::logical_expr::{
    LimitEffect, PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl,
};
use datafusion::physical_plan::PhysicalExpr;

use crate::error::{Error, SqlState};
use crate::query::errors::{to_datafusion, undefined_function};
use crate::query::sql_types::pg_type_name;

/// The family.
pub(in crate::query) fn all() -> Vec<Arc<WindowUDF>> {
    Kind::ALL.map(|kind| Arc::new(WindowUDF::from(Function::new(kind)))).into()
}

/// `row_number()`.
pub(in crate::query) fn row_number() -> Arc<WindowUDF> {
    Arc::new(WindowUDF::from(Function::new(Kind::RowNumber)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    RowNumber,
    Rank,
    DenseRank,
    PercentRank,
    CumeDist,
    Ntile,
    Lag,
    Lead,
    FirstValue,
    LastValue,
    NthValue,
}

impl Kind {
    const ALL: [Kind; 11] = [
        Kind::RowNumber,
        Kind::Rank,
        Kind::DenseRank,
        Kind::PercentRank,
        Kind::CumeDist,
        Kind::Ntile,
        Kind::Lag,
        Kind::Lead,
        Kind::FirstValue,
        Kind::LastValue,
        Kind::NthValue,
    ];

    fn name(self) -> &'static str {
        match self {
            Kind::RowNumber => "row_number",
            Kind::Rank => "rank",
            Kind::DenseRank => "dense_rank",
            Kind::PercentRank => "percent_rank",
            Kind::CumeDist => "cume_dist",
            Kind::Ntile => "ntile",
            Kind::Lag => "lag",
            Kind::Lead => "lead",
            Kind::FirstValue => "first_value",
            Kind::LastValue => "last_value",
            Kind::NthValue => "nth_value",
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Function {
    kind: Kind,
    signature: Signature,
}

impl Function {
    fn new(kind: Kind) -> Function {
        let signature = match kind {
            Kind::RowNumber | Kind::Rank | Kind::DenseRank | Kind::PercentRank | Kind::CumeDist => {
                Signature::nullary(Volatility::Immutable)
            }
            _ => Signature::user_defined(Volatility::Immutable),
        };
        Function { kind, signature }
    }
}

/// The type that a value and its default meet in.
fn common(value: &DataType, default: &DataType) -> Option<DataType> {
    match (value, default) {
        (value, default) if value == default => Some(value.clone()),
        (value, DataType::Null | DataType::Utf8) => Some(value.clone()),
        (DataType::Null, default) => Some(default.clone()),
        (value, default) => type_union_resolution(&[value.clone(), default.clone()]),
    }
}

impl WindowUDFImpl for Function {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let whole = |t: &DataType| t.is_integer() || t.is_null();
        let coerced = match (self.kind, types) {
            (Kind::Ntile, [buckets]) if whole(buckets) => Some(vec![DataType::Int64]),
            (Kind::Lag | Kind::Lead | Kind::FirstValue | Kind::LastValue, [value]) => {
                Some(vec![value.clone()])
            }
            (Kind::Lag | Kind::Lead | Kind::NthValue, [value, offset]) if whole(offset) => {
                Some(vec![value.clone(), DataType::Int64])
            }
            (Kind::Lag | Kind::Lead, [value, offset, default]) if whole(offset) => {
                common(value, default).map(|t| vec![t.clone(), DataType::Int64, t])
            }
            _ => None,
        };
        coerced.ok_or_else(|| {
            let names: Vec<String> = types.iter().map(pg_type_name).collect();
            to_datafusion(undefined_function(self.name(), &names))
        })
    }

    fn field(&self, args: WindowUDFFieldArgs) -> DfResult<FieldRef> {
        let plain = |t: DataType, nullable: bool| Arc::new(Field::new(args.name(), t, nullable));
        Ok(match self.kind {
            Kind::RowNumber | Kind::Rank | Kind::DenseRank => plain(DataType::Int64, false),
            Kind::PercentRank | Kind::CumeDist => plain(DataType::Float64, false),
            Kind::Ntile => plain(DataType::Int32, true),
            // What a column is beyond its Arrow type, its values are wherever they are shown.
            Kind::Lag | Kind::Lead | Kind::FirstValue | Kind::LastValue | Kind::NthValue => {
                let field = args.input_fields()[0].as_ref().clone();
                Arc::new(field.with_name(args.name()).with_nullable(true))
            }
        })
    }

    fn partition_evaluator(
        &self,
        args: PartitionEvaluatorArgs,
    ) -> DfResult<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Evaluator {
            kind: self.kind,
            value_type: args.input_fields().first().map(|f| f.data_type().clone()),
        }))
    }

    fn limit_effect(&self, _args: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        LimitEffect::Unknown
    }
}

#[derive(Debug)]
struct Evaluator {
    kind: Kind,
    /// Of the first argument.
    value_type: Option<DataType>,
}

impl Evaluator {
    fn null(&self) -> DfResult<ScalarValue> {
        self.value_type.as_ref().map_or(Ok(ScalarValue::Null), ScalarValue::try_from)
    }

    fn shifted(&self, values: &[ArrayRef], rows: usize) -> DfResult<ArrayRef> {
        let nothing = new_null_array(values[0].data_type(), 1);
        let default = values.get(2).unwrap_or(&nothing);
        let offsets = values.get(1).map(|offsets| offsets.as_primitive::<Int64Type>());
        let sources = (0..rows).map(|row| {
            let offset = match offsets {
                Some(offsets) if offsets.is_null(row) => return (2, 0),
                Some(offsets) => offsets.value(row),
                None => 1,
            };
            let row = row as i64;
            let from = match self.kind {
                Kind::Lag => row.checked_sub(offset),
                _ => row.checked_add(offset),
            };
            match from.filter(|from| (0..rows as i64).contains(from)) {
                Some(from) => (0, from as usize),
                None if values.len() > 2 => (1, row as usize),
                None => (2, 0),
            }
        });
        let sources: Vec<(usize, usize)> = sources.collect();
        Ok(interleave(&[values[0].as_ref(), default.as_ref(), nothing.as_ref()], &sources)?)
    }

    fn tiles(&self, values: &[ArrayRef], rows: usize) -> DfResult<ArrayRef> {
        let buckets = values[0].as_primitive::<Int64Type>();
        if rows == 0 || buckets.is_null(0) {
            return Ok(new_null_array(&DataType::Int32, rows));
        }
        let buckets = buckets.value(0);
        if buckets <= 0 {
            let message = "argument of ntile must be greater than zero";
            return Err(to_datafusion(Error::new(SqlState::INVALID_ARGUMENT_FOR_NTILE, message)));
        }
        let (size, larger) = (rows as i64 / buckets, rows as i64 % buckets);
        let tile = |row: i64| match row < larger * (size + 1) {
            true => row / (size + 1),
            false => larger + (row - larger * (size + 1)) / size.max(1),
        };
        let tiles = (0..rows as i64).map(|row| i32::try_from(tile(row) + 1).unwrap_or(i32::MAX));
        Ok(Arc::new(Int32Array::from_iter_values(tiles)))
    }
}

impl PartitionEvaluator for Evaluator {
    fn include_rank(&self) -> bool {
        matches!(self.kind, Kind::Rank | Kind::DenseRank | Kind::PercentRank | Kind::CumeDist)
    }

    fn uses_window_frame(&self) -> bool {
        matches!(self.kind, Kind::FirstValue | Kind::LastValue | Kind::NthValue)
    }

    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> DfResult<ArrayRef> {
        match self.kind {
            Kind::RowNumber => Ok(Arc::new(Int64Array::from_iter_values(1..=rows as i64))),
            Kind::Lag | Kind::Lead => self.shifted(values, rows),
            Kind::Ntile => self.tiles(values, rows),
            _ => Err(to_datafusion(Error::internal("evaluated by its ranks or its frame"))),
        }
    }

    fn evaluate_all_with_rank(
        &self,
        rows: usize,
        ranks_in_partition: &[Range<usize>],
    ) -> DfResult<ArrayRef> {
        let peers = ranks_in_partition.iter().enumerate();
        let each = peers.flat_map(|(n, peers)| peers.clone().map(move |_| (n, peers)));
        Ok(match self.kind {
            Kind::Rank => Arc::new(each.map(|(_, p)| p.start as i64 + 1).collect::<Int64Array>()),
            Kind::DenseRank => Arc::new(each.map(|(n, _)| n as i64 + 1).collect::<Int64Array>()),
            Kind::PercentRank => {
                let others = rows.saturating_sub(1).max(1) as f64;
                Arc::new(each.map(|(_, p)| p.start as f64 / others).collect::<Float64Array>())
            }
            _ => Arc::new(each.map(|(_, p)| p.end as f64 / rows as f64).collect::<Float64Array>()),
        })
    }

    fn evaluate(&mut self, values: &[ArrayRef], frame: &Range<usize>) -> DfResult<ScalarValue> {
        if frame.is_empty() {
            return self.null();
        }
        let at = match self.kind {
            Kind::FirstValue => frame.start,
            Kind::LastValue => frame.end - 1,
            _ => {
                let nth = values[1].as_primitive::<Int64Type>();
                if nth.is_null(frame.start) {
                    return self.null();
                }
                let nth = nth.value(frame.start);
                if nth <= 0 {
                    let message = "argument of nth_value must be greater than zero";
                    let code = SqlState::INVALID_ARGUMENT_FOR_NTH_VALUE;
                    return Err(to_datafusion(Error::new(code, message)));
                }
                frame.start.saturating_add(usize::try_from(nth - 1).unwrap_or(usize::MAX))
            }
        };
        if at >= frame.end {
            return self.null();
        }
        ScalarValue::try_from_array(&values[0], at)
    }
}
