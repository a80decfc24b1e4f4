//! `x = ANY (array)`, `x <> ALL (array)` and their like, with PostgreSQL's types and NULLs.
//!
//! Owns the function that each of them becomes. Left and right are of one type when it is called: an untyped parameter
//! on the right has become an array of the left side's type by then. A NULL in the array makes the answer NULL where no other
//! element decides it. Over an array that is known, `= ANY` is IN and `<> ALL` is NOT IN, so that keys are looked up.

use std::sync::Arc;

use arrow::compute::kernels::{cmp, comparison};
use arrow::compute::{and_kleene, or_kleene, take};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, Datum, ListArray, Scalar, UInt32Array};
use arrow_schema::{ArrowError, DataType};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use sqlparser::ast::{self, BinaryOperator};

use super::errors::to_datafusion;
use super::functions::nested_order;
use crate::canonical::{canonical, holds_floats, ordering};
use crate::error::Error;

/// The words under which a quantified comparison travels through DataFusion's planner, which asks nobody about its own form.
const ANY: &str = "any";
const ALL: &str = "all";

/// Makes `x = ANY (array)` a binary operator, which the planner of operators is asked about. Subqueries stay.
pub(super) fn respell(expr: &mut ast::Expr) {
    let (left, op, right, word) = match expr {
        ast::Expr::AnyOp { left, compare_op, right, .. } => (left, compare_op, right, ANY),
        ast::Expr::AllOp { left, compare_op, right } => (left, compare_op, right, ALL),
        _ => return,
    };
    if matches!(**right, ast::Expr::Subquery(_)) {
        return;
    }
    let op = BinaryOperator::PGCustomBinaryOperator(vec![word.to_owned(), op.to_string()]);
    let placeholder = || Box::new(ast::Expr::Value(ast::Value::Null.into()));
    let (left, right) =
        (std::mem::replace(left, placeholder()), std::mem::replace(right, placeholder()));
    *expr = ast::Expr::BinaryOp { left, op, right };
}

/// The comparison that an operator made by [`respell`] stands for; `None` for all other operators.
pub(super) fn of_operator(op: &BinaryOperator) -> Option<Quantified> {
    let BinaryOperator::PGCustomBinaryOperator(words) = op else { return None };
    let [quantifier, symbol] = words.as_slice() else { return None };
    let all = match quantifier.as_str() {
        ANY => false,
        ALL => true,
        _ => return None,
    };
    let symbols = ["=", "<>", "<", "<=", ">", ">=", "~~", "!~~", "~~*", "!~~*"];
    symbols.into_iter().find(|known| known == symbol).map(|symbol| Quantified::new(all, symbol))
}

/// One of the comparisons with any or all elements of an array.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Quantified {
    name: String,
    all: bool,
    pub symbol: &'static str,
    signature: Signature,
}

impl Quantified {
    fn new(all: bool, symbol: &'static str) -> Quantified {
        // No user can write a name with a colon.
        let name = format!("{}:{symbol}", if all { ALL } else { ANY });
        Quantified { name, all, symbol, signature: Signature::any(2, Volatility::Immutable) }
    }

    /// The call; `array` holds elements of the type of `value`.
    pub fn call(self, value: Expr, array: Expr) -> Expr {
        ScalarUDF::from(self).call(vec![value, array])
    }

    fn compare(&self, left: &dyn Datum, right: &dyn Datum) -> Result<BooleanArray, ArrowError> {
        if left.get().0.data_type().is_nested() {
            return nested_order::compare(left, right, |order| match self.symbol {
                "=" => order.is_eq(),
                "<>" => order.is_ne(),
                "<" => order.is_lt(),
                "<=" => order.is_le(),
                ">" => order.is_gt(),
                _ => order.is_ge(),
            });
        }
        match self.symbol {
            "=" => cmp::eq(left, right),
            "<>" => cmp::neq(left, right),
            "<" => cmp::lt(left, right),
            "<=" => cmp::lt_eq(left, right),
            ">" => cmp::gt(left, right),
            ">=" => cmp::gt_eq(left, right),
            "~~" => comparison::like(left, right),
            "!~~" => comparison::nlike(left, right),
            "~~*" => comparison::ilike(left, right),
            _ => comparison::nilike(left, right),
        }
    }

    /// All rows against the one array `elements`: a comparison of whole columns for each element.
    fn against_one(&self, values: &ArrayRef, elements: &ArrayRef) -> DfResult<BooleanArray> {
        let mut verdict = BooleanArray::from(vec![self.all; values.len()]);
        for i in 0..elements.len() {
            let element = Scalar::new(elements.slice(i, 1));
            let compared = self.compare(values, &element)?;
            verdict = match self.all {
                true => and_kleene(&verdict, &compared)?,
                false => or_kleene(&verdict, &compared)?,
            };
        }
        Ok(verdict)
    }

    /// Each row against its own array: all pairs are compared at once, then folded by row.
    fn against_own(&self, values: &ArrayRef, lists: &ListArray) -> DfResult<BooleanArray> {
        let offsets = lists.value_offsets();
        let (first, last) = (offsets[0] as usize, offsets[lists.len()] as usize);
        let elements = comparable(&lists.values().slice(first, last - first));
        let rows = (0..lists.len())
            .flat_map(|row| std::iter::repeat_n(row as u32, lists.value_length(row) as usize));
        let values = take(values, &UInt32Array::from_iter_values(rows), None)?;
        let pairs = self.compare(&values, &elements)?;
        let fold = |row: usize| {
            if lists.is_null(row) {
                return None;
            }
            let range = offsets[row] as usize - first..offsets[row + 1] as usize - first;
            let pairs = pairs.slice(range.start, range.len());
            let deciding = pairs.iter().any(|pair| pair == Some(!self.all));
            if deciding { Some(!self.all) } else { (pairs.null_count() == 0).then_some(self.all) }
        };
        Ok((0..lists.len()).map(fold).collect())
    }
}

/// The column in the form in which Arrow compares it as PostgreSQL does.
fn comparable(values: &ArrayRef) -> ArrayRef {
    ordering(&canonical(values))
}

/// Whether equal values have equal bits, by which lists are looked up.
fn bits_are_equal(data_type: &DataType) -> bool {
    !holds_floats(data_type) && !matches!(data_type, DataType::Interval(_))
}

impl ScalarUDFImpl for Quantified {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Boolean)
    }

    fn simplify(&self, mut args: Vec<Expr>, _: &SimplifyContext) -> DfResult<ExprSimplifyResult> {
        let known = match (args.get(1), self.all, self.symbol) {
            (Some(Expr::Literal(ScalarValue::List(list), _)), false, "=")
            | (Some(Expr::Literal(ScalarValue::List(list), _)), true, "<>") => list.clone(),
            _ => return Ok(ExprSimplifyResult::Original(args)),
        };
        let elements = known.value(0);
        if known.is_null(0) || elements.is_empty() || !bits_are_equal(elements.data_type()) {
            return Ok(ExprSimplifyResult::Original(args));
        }
        let literals = (0..elements.len())
            .map(|i| ScalarValue::try_from_array(&elements, i).map(|v| Expr::Literal(v, None)));
        let list = literals.collect::<DfResult<Vec<Expr>>>()?;
        let tested = InList { expr: Box::new(args.swap_remove(0)), list, negated: self.all };
        Ok(ExprSimplifyResult::Simplified(Expr::InList(tested)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let rows = args.number_rows;
        let values = comparable(&args.args[0].to_array(rows)?);
        let verdict = match &args.args[1] {
            ColumnarValue::Scalar(ScalarValue::List(list)) => match list.is_null(0) {
                true => BooleanArray::new_null(rows),
                false => self.against_one(&values, &comparable(&list.value(0)))?,
            },
            ColumnarValue::Scalar(other) if other.is_null() => BooleanArray::new_null(rows),
            other => {
                let lists = other.to_array(rows)?;
                let lists = lists.as_list_opt::<i32>().ok_or_else(|| {
                    to_datafusion(Error::internal("a quantified comparison without an array"))
                })?;
                self.against_own(&values, lists)?
            }
        };
        Ok(ColumnarValue::Array(Arc::new(verdict)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use arrow_array::Int32Array;
    use arrow_array::types::Int32Type;

    use super::*;

    #[test]
    fn one_array_and_an_array_for_each_row_give_the_same_verdicts() {
        let arrays =
            [None, Some(vec![]), Some(vec![Some(1)]), Some(vec![Some(1), None]), Some(vec![None])];
        for value in [None, Some(0), Some(1), Some(2)] {
            let values: ArrayRef = Arc::new(Int32Array::from(vec![value; arrays.len()]));
            let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(arrays.clone());
            for all in [false, true] {
                for symbol in ["=", "<>", "<", "<=", ">", ">="] {
                    let function = Quantified::new(all, symbol);
                    let own = function.against_own(&values, &lists).unwrap();
                    for row in (0..arrays.len()).filter(|row| lists.is_valid(*row)) {
                        let one = function.against_one(&values, &lists.value(row)).unwrap();
                        assert_eq!(own.slice(row, 1), one.slice(0, 1), "{value:?} {symbol} {row}");
                    }
                    assert!(own.is_null(0), "a NULL array decides nothing");
                }
            }
        }
    }
}
