//! `<`, `<=`, `>` and `>=` of arrays and records, in the order in which ORDER BY has them: element by element, NULL behind
//! everything, NaN as the greatest float. DataFusion's own comparison has NULL before everything.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::make_comparator;
use arrow::compute::SortOptions;
use arrow::row::{RowConverter, SortField};
use arrow_array::{ArrayRef, BinaryArray, BooleanArray, Datum};
use arrow_schema::{ArrowError, DataType};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::canonical::{canonical, ordering};
use crate::query::errors::{from_arrow, to_datafusion};

/// The comparison by an operator; `None` for operators that are none of order.
pub(in crate::query) fn function(op: Operator) -> Option<Arc<ScalarUDF>> {
    let holds = match op {
        Operator::Lt => Holds::Less,
        Operator::LtEq => Holds::LessOrEqual,
        Operator::Gt => Holds::Greater,
        Operator::GtEq => Holds::GreaterOrEqual,
        _ => return None,
    };
    let signature = Signature::any(2, Volatility::Immutable);
    Some(Arc::new(ScalarUDF::from(NestedOrder { holds, signature })))
}

/// All four.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    [Operator::Lt, Operator::LtEq, Operator::Gt, Operator::GtEq]
        .into_iter()
        .filter_map(function)
        .collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Holds {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct NestedOrder {
    holds: Holds,
    signature: Signature,
}

impl ScalarUDFImpl for NestedOrder {
    fn name(&self) -> &str {
        match self.holds {
            Holds::Less => "order:<",
            Holds::LessOrEqual => "order:<=",
            Holds::Greater => "order:>",
            Holds::GreaterOrEqual => "order:>=",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Boolean)
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let scalars = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if scalars { 1 } else { args.number_rows };
        let side = |arg: &ColumnarValue| arg.to_array(rows);
        let compared = self.compare(&side(&args.args[0])?, &side(&args.args[1])?);
        let compared: ArrayRef = Arc::new(compared?);
        match scalars {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&compared, 0)?)),
            false => Ok(ColumnarValue::Array(compared)),
        }
    }
}

impl NestedOrder {
    fn compare(&self, left: &ArrayRef, right: &ArrayRef) -> DfResult<BooleanArray> {
        let form = |array: &ArrayRef| ordering(&canonical(array));
        compare(&form(left), &form(right), |order| match self.holds {
            Holds::Less => order.is_lt(),
            Holds::LessOrEqual => order.is_le(),
            Holds::Greater => order.is_gt(),
            Holds::GreaterOrEqual => order.is_ge(),
        })
        .map_err(|error| to_datafusion(from_arrow(error)))
    }
}

/// Whether the order of the values of canonical form, row by row, is one that holds; NULL where either side is.
pub(in crate::query) fn compare(
    left: &dyn Datum,
    right: &dyn Datum,
    holds: impl Fn(Ordering) -> bool,
) -> Result<BooleanArray, ArrowError> {
    let ((left, left_scalar), (right, right_scalar)) = (left.get(), right.get());
    let options = SortOptions { descending: false, nulls_first: false };
    let comparator = make_comparator(left, right, options)?;
    let rows = if left_scalar { right.len() } else { left.len() };
    let at = |scalar: bool, row: usize| if scalar { 0 } else { row };
    let verdict = |row: usize| {
        let (l, r) = (at(left_scalar, row), at(right_scalar, row));
        (left.is_valid(l) && right.is_valid(r)).then(|| holds(comparator(l, r)))
    };
    Ok((0..rows).map(verdict).collect())
}

/// The function whose bytes are in the order of its nested argument's values.
pub(in crate::query) fn sort_bytes() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(SortBytes { signature: Signature::any(1, Volatility::Immutable) }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SortBytes {
    signature: Signature,
}

impl ScalarUDFImpl for SortBytes {
    fn name(&self) -> &str {
        "order:bytes"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Binary)
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let values = ordering(&args.args[0].to_array(args.number_rows)?);
        let options = SortOptions { descending: false, nulls_first: false };
        let field = SortField::new_with_options(values.data_type().clone(), options);
        let rows = RowConverter::new(vec![field])?.convert_columns(&[Arc::clone(&values)])?;
        let bytes = (0..rows.num_rows()).map(|row| {
            let valid = values.is_valid(row);
            valid.then(|| rows.row(row).data().to_vec())
        });
        Ok(ColumnarValue::Array(Arc::new(bytes.collect::<BinaryArray>())))
    }
}
