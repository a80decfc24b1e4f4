//! Lowers GROUPING SETS, ROLLUP and CUBE: an aggregate for each set, united.
//!
//! Each set is a GROUP BY of its own over the same input, so that the empty set has its one row even where the input has
//! none, and a set that is written twice gives its rows twice. Columns that a set does not group by are NULL in its rows.
//! Invariant: the grouping id tells the sets apart, so that it and the columns together identify a row.

use datafusion::common::ScalarValue;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{Aggregate, EmptyRelation, Expr, GroupingSet, LogicalPlan};

use super::lower::{arrow_schema, lower, project};
use super::stream_plan::{Node, Op, Properties};
use crate::error::{Error, Result};
use crate::query::compile::compile_with;
use crate::query::errors::from_datafusion;

/// The node of an aggregate over grouping sets; `None` for one over plain groups.
pub(super) fn grouping_sets(props: &ExecutionProps, a: &Aggregate) -> Result<Option<Node>> {
    let [Expr::GroupingSet(written)] = a.group_expr.as_slice() else { return Ok(None) };
    let columns = grouping_set_to_exprlist(&a.group_expr).map_err(from_datafusion)?;
    let sets = sets(written);
    let mut inputs = vec![];
    for (i, set) in sets.iter().enumerate() {
        let earlier = sets[..i].iter().filter(|other| *other == set).count();
        inputs.push(one_set(props, a, &columns, set, earlier)?);
    }
    let key = (0..=columns.len()).collect();
    let properties = Properties { append_only: false, keys: vec![key] };
    Ok(Some(Node { op: Op::Union, inputs, schema: arrow_schema(&a.schema), properties }))
}

/// The sets in the order in which they are written. How many there may be the planner has checked.
fn sets(written: &GroupingSet) -> Vec<Vec<Expr>> {
    match written {
        GroupingSet::GroupingSets(sets) => sets.clone(),
        GroupingSet::Rollup(exprs) => {
            (0..=exprs.len()).rev().map(|n| exprs[..n].to_vec()).collect()
        }
        GroupingSet::Cube(exprs) => {
            let picked = |bits: usize| {
                let picked = exprs.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1);
                picked.map(|(_, expr)| expr.clone()).collect()
            };
            (0..1_usize << exprs.len()).map(picked).collect()
        }
    }
}

/// The rows of one set in the columns of all. `earlier` is how many sets before it are the same.
fn one_set(
    props: &ExecutionProps,
    a: &Aggregate,
    columns: &[&Expr],
    set: &[Expr],
    earlier: usize,
) -> Result<Node> {
    let mut groups: Vec<&Expr> = vec![];
    for expr in set {
        if !groups.contains(&expr) {
            groups.push(expr);
        }
    }
    let rows = match groups.is_empty() && a.aggr_expr.is_empty() {
        // Without aggregates the empty set is one row without columns.
        true => LogicalPlan::EmptyRelation(EmptyRelation {
            produce_one_row: true,
            schema: std::sync::Arc::new(datafusion::common::DFSchema::empty()),
        }),
        false => {
            let groups = groups.iter().map(|expr| (*expr).clone()).collect();
            let aggregate = Aggregate::try_new(a.input.clone(), groups, a.aggr_expr.clone());
            LogicalPlan::Aggregate(aggregate.map_err(from_datafusion)?)
        }
    };
    let place = |column: usize| Expr::Column(rows.schema().columns()[column].clone());
    let fields = a.schema.fields();
    let mut exprs = vec![];
    let mut id = earlier << columns.len();
    for (i, column) in columns.iter().enumerate() {
        exprs.push(match groups.iter().position(|group| group == column) {
            Some(at) => place(at),
            None => {
                id |= 1 << (columns.len() - 1 - i);
                constant(&ScalarValue::Null, fields[i].data_type())?
            }
        });
    }
    exprs.push(constant(&ScalarValue::UInt64(Some(id as u64)), fields[columns.len()].data_type())?);
    exprs.extend((0..a.aggr_expr.len()).map(|i| place(groups.len() + i)));
    let exprs = exprs.iter().map(|expr| compile_with(props, expr, rows.schema()));
    let exprs = exprs.collect::<Result<Vec<_>>>()?;
    Ok(project(lower(props, &rows)?, exprs, arrow_schema(&a.schema)))
}

fn constant(value: &ScalarValue, data_type: &arrow_schema::DataType) -> Result<Expr> {
    let value = value.cast_to(data_type).map_err(|e| Error::internal(e.to_string()))?;
    Ok(Expr::Literal(value, None))
}
