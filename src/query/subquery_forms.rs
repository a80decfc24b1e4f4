//! Subqueries in the forms that can be joined. An analyzer rule.
//!
//! A scalar subquery that may find several rows has them collected, and taking the one value out of several is 21000. As an
//! aggregate it gives one row by its form, which is what subqueries are joined by. The value is taken where the subquery stood,
//! so that rows nobody asks for are nobody's error. In a SELECT subqueries that refer to nothing outside are left alone:
//! they run on their own, and DataFusion counts their rows. Comparisons with ANY and ALL become IN, or ask whether there are
//! rows that decide.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, UInt32Array};
use arrow_schema::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison, SetQuantifier};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, LogicalPlanBuilder, Operator, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Subquery, Volatility, lit, when,
};
use datafusion::optimizer::AnalyzerRule;

use super::errors::{several_rows, to_datafusion};
use super::functions;
use super::lateral::{as_outer, gives_one_row, outside_columns};
use super::operators::compared;
use super::windows::Runner;

/// The rule. It comes before type coercion.
#[derive(Debug)]
pub(super) struct SubqueryForms {
    pub runner: Runner,
}

impl AnalyzerRule for SubqueryForms {
    fn name(&self) -> &str {
        "subquery_forms"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> DfResult<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| {
            let mut schema = DFSchema::empty();
            node.inputs().into_iter().for_each(|input| schema.merge(input.schema()));
            let names = NamePreserver::new(&node);
            node.map_expressions(|expr| {
                let name = names.save(&expr);
                let replaced = expr.transform_up(|expr| match expr {
                    Expr::ScalarSubquery(subquery) => self.with_one_row(subquery),
                    Expr::SetComparison(comparison) => {
                        compared_with_rows(comparison, &schema).map(Transformed::yes)
                    }
                    other => Ok(Transformed::no(other)),
                })?;
                let changed = replaced.transformed;
                Ok(if changed { replaced.update_data(|e| name.restore(e)) } else { replaced })
            })
        })
        .data()
    }
}

impl SubqueryForms {
    fn with_one_row(&self, subquery: Subquery) -> DfResult<Transformed<Expr>> {
        let alone = self.runner == Runner::Batch && outside_columns(&subquery.subquery)?.is_empty();
        let mut columns = subquery.subquery.schema().columns();
        if alone || gives_one_row(&subquery.subquery) || columns.len() != 1 {
            return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
        }
        let column = columns.swap_remove(0);
        let rows = functions::array_agg().call(vec![Expr::Column(column)]);
        let plan = LogicalPlanBuilder::from(subquery.subquery.as_ref().clone())
            .aggregate(Vec::<Expr>::new(), vec![rows.alias("#rows")])?
            .build()?;
        let rows = Expr::ScalarSubquery(subquery.with_plan(Arc::new(plan)));
        Ok(Transformed::yes(only_one().call(vec![rows])))
    }
}

/// `value op ANY (subquery)` and its like.
fn compared_with_rows(comparison: SetComparison, schema: &DFSchema) -> DfResult<Expr> {
    let SetComparison { expr, subquery, op, quantifier } = comparison;
    let all = quantifier == SetQuantifier::All;
    if let (Operator::Eq, false) | (Operator::NotEq, true) = (op, all) {
        return Ok(Expr::InSubquery(InSubquery { expr, subquery, negated: all }));
    }
    let rows = Arc::clone(&subquery.subquery);
    let column = Expr::Column(rows.schema().columns().swap_remove(0));
    let outside = as_outer(*expr, schema)?;
    let holds = compared(op, outside, column, rows.schema())?;
    let any_of = |condition: Expr| -> DfResult<Expr> {
        let found = LogicalPlanBuilder::from(rows.as_ref().clone()).filter(condition)?.build()?;
        let outer_ref_columns = found.all_out_ref_exprs();
        let found = Subquery {
            subquery: Arc::new(found),
            outer_ref_columns,
            spans: subquery.spans.clone(),
        };
        Ok(Expr::Exists(Exists { subquery: found, negated: false }))
    };
    let decides = if all { holds.clone().is_false() } else { holds.clone().is_true() };
    let null = Expr::Literal(ScalarValue::Boolean(None), None);
    when(any_of(decides)?, lit(!all)).when(any_of(holds.is_null())?, null).otherwise(lit(all))
}

/// The function that takes the only element out of an array: NULL of an empty one, 21000 of several.
fn only_one() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(OnlyOne { signature: Signature::any(1, Volatility::Immutable) }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OnlyOne {
    signature: Signature,
}

impl ScalarUDFImpl for OnlyOne {
    fn name(&self) -> &str {
        "#only_one"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(match &types[0] {
            DataType::List(item) => item.data_type().clone(),
            other => other.clone(),
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let item = match args.arg_fields[0].data_type() {
            DataType::List(item) => item,
            _ => &args.arg_fields[0],
        };
        Ok(Arc::new(item.as_ref().clone().with_name(self.name()).with_nullable(true)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let lists = args.args[0].to_array(args.number_rows)?;
        let Some(lists) = lists.as_list_opt::<i32>() else {
            return Ok(args.args[0].clone());
        };
        let mut places = Vec::with_capacity(lists.len());
        for row in 0..lists.len() {
            let offset = lists.value_offsets()[row] as u32;
            match if lists.is_null(row) { 0 } else { lists.value_length(row) } {
                0 => places.push(None),
                1 => places.push(Some(offset)),
                _ => return Err(to_datafusion(several_rows())),
            }
        }
        let values: ArrayRef =
            arrow::compute::take(lists.values(), &UInt32Array::from(places), None)?;
        Ok(ColumnarValue::Array(values))
    }
}
