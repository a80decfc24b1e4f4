//! The order of inner joins, by what is known of the rows that they join.
//!
//! Inner joins next to each other are one set of inputs under common conditions. They are joined one after the other so that
//! what comes out in between is small: for a view that is what has to be kept, for a SELECT what has to be gone through. The
//! order as written stands unless another is clearly better, so the order is a user's where we know no better. A SELECT also
//! gathers the smaller side of each join and streams the other past it. Conditions that may raise an error bound the set:
//! elsewhere they would meet other rows.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{
    Column, DFSchemaRef, JoinConstraint, JoinType, NullEquality, Result as DfResult,
};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Expr, Join, LogicalPlan, Projection};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use recursive::recursive;

use super::fallible::is_fallible;
use super::sizes::{KnownOf, Size, size_of};
use super::windows::Runner;

/// By how much rows in between must become fewer for an order other than the written one.
const CLEARLY: f64 = 0.8;
/// From how many inputs on not each is tried as the first.
const TRY_ALL: usize = 12;

/// The optimizer rule. It comes after conditions have become joins' own.
#[derive(Debug)]
pub(super) struct JoinOrder {
    pub runner: Runner,
    pub known_of: KnownOf,
}

impl OptimizerRule for JoinOrder {
    fn name(&self) -> &str {
        "join_order"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> DfResult<Transformed<LogicalPlan>> {
        self.rewritten(plan)
    }
}

impl JoinOrder {
    fn rewritten(&self, plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
        let ordered = self.inner_joins_ordered(plan)?;
        match self.runner {
            Runner::Streaming => Ok(ordered),
            Runner::Batch => ordered.transform_data(|plan| {
                plan.transform_up_with_subqueries(|node| self.with_smaller_left(node))
            }),
        }
    }

    #[recursive]
    fn inner_joins_ordered(&self, plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
        if !is_movable(&plan) {
            let plan = plan.map_subqueries(|plan| self.inner_joins_ordered(plan))?;
            return plan.transform_data(|p| p.map_children(|p| self.inner_joins_ordered(p)));
        }
        let plan = self.inputs_ordered(plan)?;
        let mut set = Set::new(self.known_of);
        let written = set.gather(&plan.data);
        let Some(best) = set.best().filter(|best| best.between < written.between * CLEARLY) else {
            return Ok(plan);
        };
        let schema = Arc::clone(plan.data.schema());
        Ok(Transformed::yes(with_columns(set.joined(&best.order)?, schema)?))
    }

    /// The plan with the inputs of its outermost set rewritten.
    fn inputs_ordered(&self, plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
        match is_movable(&plan) {
            true => plan.map_children(|plan| self.inputs_ordered(plan)),
            false => self.inner_joins_ordered(plan),
        }
    }

    /// The join with its sides exchanged where the right one is clearly smaller: the left one is gathered first.
    fn with_smaller_left(&self, plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
        let LogicalPlan::Join(join) = plan else { return Ok(Transformed::no(plan)) };
        let (left, right) =
            (size_of(&join.left, self.known_of), size_of(&join.right, self.known_of));
        let stays = join.null_aware || !join.join_type.supports_swap();
        if stays || right.rows >= left.rows * CLEARLY {
            return Ok(Transformed::no(LogicalPlan::Join(join)));
        }
        let schema = Arc::clone(&join.schema);
        let swapped = Join::try_new(
            join.right,
            join.left,
            join.on.into_iter().map(|(left, right)| (right, left)).collect(),
            join.filter,
            join.join_type.swap(),
            join.join_constraint,
            join.null_equality,
            false,
        )?;
        Ok(Transformed::yes(with_columns(LogicalPlan::Join(swapped), schema)?))
    }
}

/// The plan with columns in the order of `schema`, which has the same.
fn with_columns(plan: LogicalPlan, schema: DFSchemaRef) -> DfResult<LogicalPlan> {
    if plan.schema().columns() == schema.columns() {
        return Ok(plan);
    }
    let columns = schema.columns().into_iter().map(Expr::Column).collect();
    let plan = Projection::try_new_with_schema(columns, Arc::new(plan), schema)?;
    Ok(LogicalPlan::Projection(plan))
}

/// The plan below projections that only leave columns out.
fn unpruned(plan: &LogicalPlan) -> &LogicalPlan {
    match plan {
        LogicalPlan::Projection(projection)
            if projection.expr.iter().all(|expr| matches!(expr, Expr::Column(_))) =>
        {
            unpruned(&projection.input)
        }
        other => other,
    }
}

/// Whether the plan is an inner join that may be taken apart and put together in another order.
fn is_movable(plan: &LogicalPlan) -> bool {
    let LogicalPlan::Join(join) = unpruned(plan) else { return false };
    let stays = |expr: &Expr| is_fallible(expr, &join.schema) || expr.is_volatile();
    join.join_type == JoinType::Inner
        && !join.null_aware
        && (join.null_equality == NullEquality::NullEqualsNothing || join.on.is_empty())
        && !join.on.iter().any(|(left, right)| stays(left) || stays(right))
        && !join.filter.iter().any(stays)
}

/// Inner joins taken apart.
struct Set<'a> {
    known_of: KnownOf,
    inputs: Vec<Input<'a>>,
    equalities: Vec<Equality>,
    filters: Vec<(Expr, Inputs)>,
}

/// Inputs by position.
type Inputs = BTreeSet<usize>;

struct Input<'a> {
    plan: &'a LogicalPlan,
    size: Size,
}

struct Equality {
    sides: [(Expr, Inputs); 2],
}

/// Some inputs joined.
struct Joined {
    size: Size,
    /// Rows of the joins below it.
    between: f64,
}

/// An order of all inputs.
struct Order {
    order: Vec<usize>,
    between: f64,
}

impl<'a> Set<'a> {
    fn new(known_of: KnownOf) -> Set<'a> {
        Set { known_of, inputs: vec![], equalities: vec![], filters: vec![] }
    }

    /// Takes a plan's joins apart; what they are as written.
    fn gather(&mut self, plan: &'a LogicalPlan) -> Joined {
        let LogicalPlan::Join(join) = unpruned(plan) else { return self.gather_input(plan) };
        if !is_movable(plan) {
            return self.gather_input(plan);
        }
        let left = self.gather(&join.left);
        let right = self.gather(&join.right);
        let on: Vec<(&Expr, &Expr)> = join.on.iter().map(|(l, r)| (l, r)).collect();
        let filters = join.filter.as_ref().map_or(0, |filter| split_conjunction(filter).len());
        let size = left.size.joined(&right.size, &on, filters);
        for (l, r) in &join.on {
            let side = |expr: &Expr| (expr.clone(), self.inputs_of(expr));
            self.equalities.push(Equality { sides: [side(l), side(r)] });
        }
        for filter in join.filter.iter().flat_map(split_conjunction) {
            self.filters.push((filter.clone(), self.inputs_of(filter)));
        }
        let is_input = |plan: &LogicalPlan| !is_movable(plan);
        let mut between = left.between + right.between;
        between += if is_input(&join.left) { 0.0 } else { left.size.rows };
        between += if is_input(&join.right) { 0.0 } else { right.size.rows };
        Joined { size, between }
    }

    fn gather_input(&mut self, plan: &'a LogicalPlan) -> Joined {
        let size = size_of(plan, self.known_of);
        self.inputs.push(Input { plan, size: size.clone() });
        Joined { size, between: 0.0 }
    }

    /// The inputs whose columns an expression mentions.
    fn inputs_of(&self, expr: &Expr) -> Inputs {
        let of =
            |column: &Column| self.inputs.iter().position(|i| i.plan.schema().has_column(column));
        expr.column_refs().into_iter().filter_map(of).collect()
    }

    /// The best order that is found by taking, from some first input on, what gives the fewest rows; of equal ones the first
    /// as written.
    fn best(&self) -> Option<Order> {
        let mut columns = HashSet::new();
        let mut all = self.inputs.iter().flat_map(|input| input.plan.schema().columns());
        // Columns that are left out as written may have names that others have.
        if self.inputs.len() < 3 || !all.all(|column| columns.insert(column)) {
            return None;
        }
        let mut firsts: Vec<usize> = (0..self.inputs.len()).collect();
        if firsts.len() > TRY_ALL {
            firsts.sort_by(|a, b| self.inputs[*a].size.rows.total_cmp(&self.inputs[*b].size.rows));
            firsts.truncate(TRY_ALL);
        }
        let orders = firsts.into_iter().map(|first| self.order_from(first));
        orders.reduce(|best, other| if other.between < best.between { other } else { best })
    }

    fn order_from(&self, first: usize) -> Order {
        let mut order = vec![first];
        let mut joined = Inputs::from([first]);
        let mut size = self.inputs[first].size.clone();
        let mut between = 0.0;
        while order.len() < self.inputs.len() {
            if order.len() > 1 {
                between += size.rows;
            }
            let left = |next: &usize| !joined.contains(next);
            let related =
                |next: &usize| self.equalities.iter().any(|e| e.between(&joined, *next).is_some());
            // Products of what has nothing in common come last.
            let (mut candidates, others): (Vec<usize>, Vec<usize>) =
                (0..self.inputs.len()).filter(left).partition(related);
            if candidates.is_empty() {
                candidates = others;
            }
            let sizes =
                candidates.into_iter().map(|next| (next, self.size_with(&joined, &size, next)));
            let fewest =
                sizes.reduce(|best, other| if other.1.rows < best.1.rows { other } else { best });
            let Some((next, with_next)) = fewest else { break };
            order.push(next);
            joined.insert(next);
            size = with_next;
        }
        Order { order, between }
    }

    fn size_with(&self, joined: &Inputs, size: &Size, next: usize) -> Size {
        let on: Vec<(&Expr, &Expr)> =
            self.equalities.iter().filter_map(|equality| equality.between(joined, next)).collect();
        let filters = self.filters.iter().filter(|(_, inputs)| completes(inputs, joined, next));
        size.joined(&self.inputs[next].size, &on, filters.count())
    }

    /// The inputs joined in this order.
    fn joined(&self, order: &[usize]) -> DfResult<LogicalPlan> {
        let mut joined = Inputs::from([order[0]]);
        let mut plan = self.inputs[order[0]].plan.clone();
        for &next in &order[1..] {
            let on: Vec<(Expr, Expr)> = self
                .equalities
                .iter()
                .filter_map(|equality| equality.between(&joined, next))
                .map(|(left, right)| (left.clone(), right.clone()))
                .collect();
            let mut filters: Vec<Expr> = vec![];
            for equality in &self.equalities {
                // With sides of several inputs it may be no key here.
                if completes(&equality.inputs(), &joined, next)
                    && equality.between(&joined, next).is_none()
                {
                    let [(left, _), (right, _)] = &equality.sides;
                    filters.push(left.clone().eq(right.clone()));
                }
            }
            let completed =
                self.filters.iter().filter(|(_, inputs)| completes(inputs, &joined, next));
            filters.extend(completed.map(|(filter, _)| filter.clone()));
            let filter = conjunction(filters);
            let right = Arc::new(self.inputs[next].plan.clone());
            let (kind, constraint) = (JoinType::Inner, JoinConstraint::On);
            let nulls = NullEquality::NullEqualsNothing;
            let join =
                Join::try_new(Arc::new(plan), right, on, filter, kind, constraint, nulls, false)?;
            plan = LogicalPlan::Join(join);
            joined.insert(next);
        }
        Ok(plan)
    }
}

impl Equality {
    fn inputs(&self) -> Inputs {
        self.sides.iter().flat_map(|(_, inputs)| inputs).copied().collect()
    }

    /// Its sides as a key of the join of what is joined with the next input.
    fn between(&self, joined: &Inputs, next: usize) -> Option<(&Expr, &Expr)> {
        let [(left, lefts), (right, rights)] = &self.sides;
        let is_next = |inputs: &Inputs| inputs.len() == 1 && inputs.contains(&next);
        let is_joined = |inputs: &Inputs| !inputs.is_empty() && inputs.is_subset(joined);
        match () {
            () if is_joined(lefts) && is_next(rights) => Some((left, right)),
            () if is_joined(rights) && is_next(lefts) => Some((right, left)),
            () => None,
        }
    }
}

/// Whether a condition over these inputs can be evaluated as soon as the next one is joined, and not before. The first join
/// evaluates whatever its two inputs suffice for.
fn completes(inputs: &Inputs, joined: &Inputs, next: usize) -> bool {
    let mut missing = inputs.difference(joined);
    match missing.next() {
        None => joined.len() == 1,
        Some(first) => *first == next && missing.next().is_none(),
    }
}

/// A line for each set of more than two inner joins of an optimized plan: its inputs in order, with the rows that are
/// expected of them and of what they are joined to.
pub(super) fn told(plan: &LogicalPlan, known_of: KnownOf) -> DfResult<Vec<String>> {
    let mut lines = vec![];
    let mut inner: Vec<*const LogicalPlan> = vec![];
    plan.apply_with_subqueries(|node| {
        if !is_movable(node) {
            return Ok(TreeNodeRecursion::Continue);
        }
        if !inner.contains(&std::ptr::from_ref(node)) {
            let mut set = Set::new(known_of);
            set.gather(node);
            if set.inputs.len() > 2 {
                lines.push(set.told());
            }
        }
        // What a set consists of comes after it, and is no set of its own.
        inner.extend(node.inputs().into_iter().map(std::ptr::from_ref));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(lines)
}

impl Set<'_> {
    /// The inputs in the order in which they are, one after the other.
    fn told(&self) -> String {
        let mut text = String::new();
        let mut joined = Inputs::new();
        let mut size: Option<Size> = None;
        for (i, input) in self.inputs.iter().enumerate() {
            let rows = input.size.rows;
            let comma = if i == 0 { "" } else { ", " };
            let _ = write!(text, "{comma}{} ({rows:.0} rows)", name_of(input.plan));
            size = Some(match size {
                None => input.size.clone(),
                Some(size) => {
                    let size = self.size_with(&joined, &size, i);
                    let _ = write!(text, " makes {:.0}", size.rows);
                    size
                }
            });
            joined.insert(i);
        }
        text
    }
}

fn name_of(plan: &LogicalPlan) -> &str {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => alias.alias.table(),
        LogicalPlan::TableScan(scan) => scan.table_name.table(),
        LogicalPlan::Projection(projection) => name_of(&projection.input),
        LogicalPlan::Filter(filter) => name_of(&filter.input),
        _ => "a subquery",
    }
}
