//! Filters moved towards the tables, only as far as no error can appear or vanish by it.
//!
//! Replaces DataFusion's rule, which reorders conjuncts by cost and moves failing ones below joins. Invariant: a
//! conjunct that may fail stays above every filter and join it was written above; what moves is infallible, is not
//! volatile, and sees the same values below as above.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result as DfResult};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, Filter, Join, JoinType, LogicalPlan, Projection,
    TableProviderFilterPushDown, TableScan, Union, Unnest,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::fallible::{is_fallible, reguard, release};

/// The optimizer rule.
#[derive(Debug)]
pub(super) struct PushDown;

impl OptimizerRule for PushDown {
    fn name(&self) -> &str {
        "push_down_safe_filters"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> DfResult<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Filter(filter) => push_filter(filter),
            LogicalPlan::Join(join) if join.filter.is_some() => push_join_condition(join),
            other => Ok(Transformed::no(other)),
        }
    }
}

/// Whether a conjunct may be evaluated for more rows than before.
fn is_movable(conjunct: &Expr, schema: &DFSchema) -> bool {
    !conjunct.is_volatile()
        && !conjunct.contains_scalar_subquery()
        && !has_subquery(conjunct)
        && !is_fallible(conjunct, schema)
}

fn has_subquery(expr: &Expr) -> bool {
    expr.exists(|e| {
        Ok(matches!(
            e,
            Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
        ))
    })
    .unwrap_or(true)
}

fn with_filter(conjuncts: Vec<Expr>, input: LogicalPlan) -> LogicalPlan {
    match conjunction(conjuncts) {
        Some(predicate) => LogicalPlan::Filter(Filter::new(predicate, Arc::new(input))),
        None => input,
    }
}

fn push_filter(filter: Filter) -> DfResult<Transformed<LogicalPlan>> {
    if filter.input.fetch()?.is_some() || filter.input.skip()?.is_some() {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    let schema = Arc::clone(filter.input.schema());
    let conjuncts: Vec<Expr> = split_conjunction_owned(filter.predicate.clone())
        .into_iter()
        .map(|conjunct| release(conjunct, &schema))
        .collect();
    match filter.input.as_ref() {
        LogicalPlan::Filter(inner) => {
            let mut all = split_conjunction_owned(inner.predicate.clone());
            for conjunct in conjuncts {
                if !all.contains(&conjunct) {
                    all.push(conjunct);
                }
            }
            let merged = Filter::new(
                conjunction(all).expect("a filter has a predicate"),
                Arc::clone(&inner.input),
            );
            let pushed = push_filter(merged)?;
            Ok(Transformed::yes(pushed.data))
        }
        LogicalPlan::Projection(projection) => {
            push_through_projection(conjuncts, projection, filter.clone())
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let names = renaming(&alias.schema, alias.input.schema());
            let predicate = substitute(filter.predicate.clone(), &names)?;
            let mut alias = alias.clone();
            alias.input = Arc::new(LogicalPlan::Filter(Filter::new(predicate, alias.input)));
            Ok(Transformed::yes(LogicalPlan::SubqueryAlias(alias)))
        }
        LogicalPlan::Sort(sort) => {
            let mut sort = sort.clone();
            sort.input = Arc::new(LogicalPlan::Filter(Filter::new(filter.predicate, sort.input)));
            Ok(Transformed::yes(LogicalPlan::Sort(sort)))
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let pushed =
                LogicalPlan::Filter(Filter::new(filter.predicate.clone(), Arc::clone(input)));
            Ok(Transformed::yes(LogicalPlan::Distinct(Distinct::All(Arc::new(pushed)))))
        }
        LogicalPlan::Unnest(unnest) => push_through_unnest(conjuncts, unnest, filter.clone()),
        LogicalPlan::Union(union) => push_into_union(union.clone(), filter.predicate),
        LogicalPlan::Aggregate(aggregate) => {
            push_through_aggregate(conjuncts, aggregate, filter.clone())
        }
        LogicalPlan::Join(join) => push_through_join(conjuncts, join.clone(), filter.clone()),
        LogicalPlan::TableScan(scan) => push_into_scan(conjuncts, scan.clone(), filter.clone()),
        _ => Ok(Transformed::no(LogicalPlan::Filter(filter))),
    }
}

/// Conjuncts on columns that are only repeated drop whole rows, and what would be unnested of them.
fn push_through_unnest(
    conjuncts: Vec<Expr>,
    unnest: &Unnest,
    filter: Filter,
) -> DfResult<Transformed<LogicalPlan>> {
    let schema = unnest.input.schema();
    let is_list = |at: &usize| unnest.list_type_columns.iter().any(|(list, _)| list == at);
    let output = unnest.schema.columns().into_iter().zip(&unnest.dependency_indices);
    let repeated: HashMap<Column, Expr> = output
        .filter(|(_, at)| !is_list(at) && !unnest.struct_type_columns.contains(at))
        .map(|(column, &at)| (column, Expr::Column(Column::from(schema.qualified_field(at)))))
        .collect();
    let movable = |conjunct: &Expr| {
        let columns = conjunct.column_refs();
        let on_repeated = !columns.is_empty() && columns.iter().all(|c| repeated.contains_key(*c));
        on_repeated && is_movable(conjunct, &unnest.schema)
    };
    let (down, stay): (Vec<Expr>, Vec<Expr>) = conjuncts.into_iter().partition(movable);
    if down.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    let down = down.into_iter().map(|conjunct| substitute(conjunct, &repeated));
    let down = down.collect::<DfResult<Vec<_>>>()?;
    let input = Arc::new(with_filter(down, unnest.input.as_ref().clone()));
    let unnest = LogicalPlan::Unnest(Unnest { input, ..unnest.clone() });
    Ok(Transformed::yes(with_filter(stay, unnest)))
}

fn push_into_union(mut union: Union, predicate: Expr) -> DfResult<Transformed<LogicalPlan>> {
    let inputs = union.inputs.iter().map(|input| {
        let names = renaming(&union.schema, input.schema());
        let predicate = substitute(predicate.clone(), &names)?;
        Ok(Arc::new(LogicalPlan::Filter(Filter::new(predicate, Arc::clone(input)))))
    });
    union.inputs = inputs.collect::<DfResult<Vec<_>>>()?;
    Ok(Transformed::yes(LogicalPlan::Union(union)))
}

/// Conjuncts on group keys alone drop whole groups, so they may as well drop those groups' rows.
fn push_through_aggregate(
    conjuncts: Vec<Expr>,
    aggregate: &Aggregate,
    filter: Filter,
) -> DfResult<Transformed<LogicalPlan>> {
    let keys: HashMap<Column, Expr> = aggregate
        .schema
        .columns()
        .into_iter()
        .zip(aggregate.group_expr.iter().map(|expr| expr.clone().unalias()))
        .collect();
    let sets = aggregate.group_expr.iter().any(|e| matches!(e, Expr::GroupingSet(_)));
    let movable = |conjunct: &Expr| {
        let columns = conjunct.column_refs();
        let on_keys = !columns.is_empty() && columns.iter().all(|c| keys.contains_key(*c));
        !sets && on_keys && is_movable(conjunct, &aggregate.schema)
    };
    let (down, stay): (Vec<Expr>, Vec<Expr>) = conjuncts.into_iter().partition(movable);
    if down.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    let schema = Arc::clone(aggregate.input.schema());
    let down = down
        .into_iter()
        .map(|conjunct| reguard(substitute(conjunct, &keys)?, &schema))
        .collect::<DfResult<Vec<_>>>()?;
    let mut aggregate = aggregate.clone();
    aggregate.input = Arc::new(with_filter(down, Arc::unwrap_or_clone(aggregate.input)));
    Ok(Transformed::yes(with_filter(stay, LogicalPlan::Aggregate(aggregate))))
}

/// The columns of a renaming node as columns of its input, by position.
fn renaming(outer: &DFSchema, inner: &DFSchema) -> HashMap<Column, Expr> {
    outer
        .columns()
        .into_iter()
        .zip(inner.columns())
        .map(|(outer, inner)| (outer, Expr::Column(inner)))
        .collect()
}

fn substitute(expr: Expr, names: &HashMap<Column, Expr>) -> DfResult<Expr> {
    let replaced = expr.transform_up(|node| match &node {
        Expr::Column(column) => match names.get(column) {
            Some(replacement) => Ok(Transformed::yes(replacement.clone())),
            None => Ok(Transformed::no(node)),
        },
        _ => Ok(Transformed::no(node)),
    })?;
    Ok(replaced.data)
}

/// A conjunct crosses a projection as long as what it refers to is computed from the row alone and only once.
fn push_through_projection(
    conjuncts: Vec<Expr>,
    projection: &Projection,
    filter: Filter,
) -> DfResult<Transformed<LogicalPlan>> {
    let definitions: HashMap<Column, Expr> = projection
        .schema
        .columns()
        .into_iter()
        .zip(projection.expr.iter().map(|e| e.clone().unalias()))
        .collect();
    let movable = |conjunct: &Expr| {
        !conjunct.column_refs().iter().any(|column| {
            definitions.get(*column).is_none_or(|definition| {
                definition.is_volatile()
                    || definition.contains_scalar_subquery()
                    || definition.exists(|e| Ok(matches!(e, Expr::Unnest(_)))).unwrap_or(true)
            })
        })
    };
    let (down, stay): (Vec<Expr>, Vec<Expr>) = conjuncts.into_iter().partition(movable);
    if down.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    let schema = Arc::clone(projection.input.schema());
    let down = down
        .into_iter()
        .map(|conjunct| reguard(substitute(conjunct, &definitions)?, &schema))
        .collect::<DfResult<Vec<_>>>()?;
    let mut projection = projection.clone();
    projection.input = Arc::new(with_filter(down, Arc::unwrap_or_clone(projection.input)));
    Ok(Transformed::yes(with_filter(stay, LogicalPlan::Projection(projection))))
}

/// Whether rows of (left, right) that a filter above the join would drop may be dropped before it.
fn preserved(join_type: JoinType) -> (bool, bool) {
    match join_type {
        JoinType::Inner => (true, true),
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
            (true, false)
        }
        JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
            (false, true)
        }
        JoinType::Full => (false, false),
    }
}

fn refers_only_to(conjunct: &Expr, schema: &DFSchema) -> bool {
    let columns = conjunct.column_refs();
    !columns.is_empty() && columns.iter().all(|column| schema.has_column(column))
}

fn push_through_join(
    conjuncts: Vec<Expr>,
    mut join: Join,
    filter: Filter,
) -> DfResult<Transformed<LogicalPlan>> {
    let (left_kept, right_kept) = preserved(join.join_type);
    let (mut left, mut right, mut condition, mut stay) = (vec![], vec![], vec![], vec![]);
    for conjunct in conjuncts {
        let movable = is_movable(&conjunct, &join.schema);
        if movable && left_kept && refers_only_to(&conjunct, join.left.schema()) {
            left.push(conjunct);
        } else if movable && right_kept && refers_only_to(&conjunct, join.right.schema()) {
            right.push(conjunct);
        } else if movable && join.join_type == JoinType::Inner && !conjunct.column_refs().is_empty()
        {
            condition.push(conjunct);
        } else {
            stay.push(conjunct);
        }
    }
    if left.is_empty() && right.is_empty() && condition.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    join.left = Arc::new(with_filter(left, Arc::unwrap_or_clone(join.left)));
    join.right = Arc::new(with_filter(right, Arc::unwrap_or_clone(join.right)));
    join.filter = conjunction(join.filter.take().into_iter().chain(condition));
    Ok(Transformed::yes(with_filter(stay, LogicalPlan::Join(join))))
}

/// Conjuncts of ON that concern one side only become filters of that side, where that side is not padded.
fn push_join_condition(mut join: Join) -> DfResult<Transformed<LogicalPlan>> {
    let (left_free, right_free) = match join.join_type {
        JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi => (true, true),
        JoinType::Left | JoinType::LeftAnti | JoinType::LeftMark => (false, true),
        JoinType::Right | JoinType::RightAnti | JoinType::RightMark => (true, false),
        JoinType::Full => (false, false),
    };
    let schema = join.left.schema().join(join.right.schema())?;
    let (mut left, mut right, mut stay) = (vec![], vec![], vec![]);
    for conjunct in join.filter.take().map_or_else(Vec::new, split_conjunction_owned) {
        let conjunct = release(conjunct, &schema);
        let movable = is_movable(&conjunct, &schema) && !join.null_aware;
        if movable && left_free && refers_only_to(&conjunct, join.left.schema()) {
            left.push(conjunct);
        } else if movable && right_free && refers_only_to(&conjunct, join.right.schema()) {
            right.push(conjunct);
        } else {
            stay.push(conjunct);
        }
    }
    let moved = !left.is_empty() || !right.is_empty();
    join.filter = conjunction(stay);
    join.left = Arc::new(with_filter(left, Arc::unwrap_or_clone(join.left)));
    join.right = Arc::new(with_filter(right, Arc::unwrap_or_clone(join.right)));
    Ok(Transformed::new_transformed(LogicalPlan::Join(join), moved))
}

/// Offers infallible conjuncts to the table; it may use them exactly, as a hint, or not at all.
fn push_into_scan(
    conjuncts: Vec<Expr>,
    mut scan: TableScan,
    filter: Filter,
) -> DfResult<Transformed<LogicalPlan>> {
    let schema = Arc::clone(&scan.projected_schema);
    let (offered, mut stay): (Vec<Expr>, Vec<Expr>) =
        conjuncts.into_iter().partition(|c| is_movable(c, &schema));
    let answers = scan.source.supports_filters_pushdown(&offered.iter().collect::<Vec<_>>())?;
    let mut kept = vec![];
    let mut changed = false;
    for (conjunct, answer) in offered.into_iter().zip(answers) {
        if answer != TableProviderFilterPushDown::Unsupported && !scan.filters.contains(&conjunct) {
            scan.filters.push(conjunct.clone());
            changed = true;
        }
        if answer != TableProviderFilterPushDown::Exact {
            kept.push(conjunct);
        } else {
            changed = true;
        }
    }
    if !changed {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    kept.append(&mut stay);
    Ok(Transformed::yes(with_filter(kept, LogicalPlan::TableScan(scan))))
}
