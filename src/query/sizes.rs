//! How many rows a plan gives, roughly, and which columns tell them apart: what the order of joins is chosen by.
//!
//! Relations say how many rows they have when the query is planned; all else is guessed from there. A relation that is empty
//! will hardly stay so, and is taken for one of a thousand rows.

use datafusion::common::{Column, JoinType};
use datafusion::datasource::DefaultTableSource;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, FetchType, LogicalPlan, Operator, TableScan, TableSource,
};
use recursive::recursive;

use super::live_scan::LiveScan;

/// What is known of a relation when a query over it is planned.
#[derive(Clone, Debug)]
pub struct Known {
    /// Rows; 0 where there are none yet.
    pub rows: u64,
    /// Sets of columns, by position, that have other values in each row.
    pub keys: Vec<Vec<usize>>,
}

/// Tells what is known of a relation that the engine does not know itself.
pub type KnownOf = fn(&dyn TableSource) -> Option<Known>;

/// Rows of what nothing is known of, and of what is empty.
const UNKNOWN: f64 = 1000.0;
/// How many of the rows a condition leaves that fixes a value, and any other.
const EQUAL: f64 = 0.1;
const OTHER: f64 = 1.0 / 3.0;

/// A plan's rows.
#[derive(Clone, Debug)]
pub(super) struct Size {
    pub rows: f64,
    keys: Vec<Key>,
}

/// Columns that have other values in each row.
#[derive(Clone, Debug)]
struct Key {
    columns: Vec<Column>,
    /// How many values they have where nothing is filtered.
    values: f64,
}

impl Size {
    fn of_rows(rows: f64) -> Size {
        Size { rows: rows.max(1.0), keys: vec![] }
    }

    /// What conditions leave of the rows.
    fn filtered(mut self, conditions: &[&Expr]) -> Size {
        let fixed: Vec<&Column> = conditions.iter().filter_map(|c| fixed_column(c)).collect();
        if self.keys.iter().any(|key| key.columns.iter().all(|c| fixed.contains(&c))) {
            self.rows = 1.0;
            return self;
        }
        for condition in conditions {
            self.rows *= if fixed_column(condition).is_some() { EQUAL } else { OTHER };
        }
        self.rows = self.rows.max(1.0);
        self
    }

    /// How many values some columns have, and whether they tell all rows apart.
    fn values(&self, columns: &[&Expr]) -> (f64, bool) {
        let has = |column: &Column| columns.iter().any(|expr| expr.try_as_col() == Some(column));
        let keys = self.keys.iter().filter(|key| key.columns.iter().all(has));
        match keys.map(|key| key.values).reduce(f64::min) {
            Some(values) => (values, true),
            None => ((self.rows / 10.0).max(1.0), false),
        }
    }

    /// The rows of an inner join with `other` by equal values of `on`, under `filters` more conditions.
    pub fn joined(&self, other: &Size, on: &[(&Expr, &Expr)], filters: usize) -> Size {
        let (left, right): (Vec<&Expr>, Vec<&Expr>) = on.iter().copied().unzip();
        let ((left, left_is_key), (right, right_is_key)) =
            (self.values(&left), other.values(&right));
        // Who refers to a key finds the row, if it has not been filtered away.
        let values = match (left_is_key, right_is_key) {
            _ if on.is_empty() => 1.0,
            (true, true) | (false, false) => left.max(right),
            (true, false) => left,
            (false, true) => right,
        };
        let rows = self.rows * other.rows / values * OTHER.powi(filters as i32);
        let mut keys = vec![];
        if right_is_key && !on.is_empty() {
            keys.extend(self.keys.iter().cloned());
        }
        if left_is_key && !on.is_empty() {
            keys.extend(other.keys.iter().cloned());
        }
        Size { rows: rows.max(1.0), keys }
    }
}

/// The column of `column = constant`.
fn fixed_column(condition: &Expr) -> Option<&Column> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else {
        return None;
    };
    match (left.as_ref(), right.as_ref()) {
        (Expr::Column(column), other) | (other, Expr::Column(column)) => {
            other.column_refs().is_empty().then_some(column)
        }
        _ => None,
    }
}

/// What a plan gives.
#[recursive]
pub(super) fn size_of(plan: &LogicalPlan, known_of: KnownOf) -> Size {
    let input = |plan: &LogicalPlan| size_of(plan, known_of);
    match plan {
        LogicalPlan::TableScan(scan) => scanned(scan, known_of),
        LogicalPlan::Filter(filter) => {
            input(&filter.input).filtered(&split_conjunction(&filter.predicate))
        }
        LogicalPlan::Projection(projection) => {
            let columns: Vec<(&Expr, Column)> =
                projection.expr.iter().zip(projection.schema.columns()).collect();
            renamed(input(&projection.input), |column| {
                let found = columns.iter().find(|(expr, _)| is_column(expr, column));
                found.map(|(_, name)| name.clone())
            })
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let (from, to) = (alias.input.schema().columns(), alias.schema.columns());
            renamed(input(&alias.input), |column| {
                from.iter().position(|c| c == column).map(|i| to[i].clone())
            })
        }
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => Size::of_rows(1.0),
        LogicalPlan::Aggregate(aggregate) => {
            let size = input(&aggregate.input);
            let groups: Vec<&Expr> = aggregate.group_expr.iter().collect();
            let rows = size.values(&groups).0.min(size.rows);
            let columns = aggregate.schema.columns().into_iter().take(groups.len()).collect();
            Size { rows, keys: vec![Key { columns, values: rows }] }
        }
        LogicalPlan::Distinct(Distinct::All(plan)) => input(plan),
        LogicalPlan::Union(union) => {
            Size::of_rows(union.inputs.iter().map(|plan| input(plan).rows).sum())
        }
        LogicalPlan::Values(values) => Size::of_rows(values.values.len() as f64),
        LogicalPlan::EmptyRelation(_) => Size::of_rows(1.0),
        LogicalPlan::Limit(limit) => {
            let size = input(&limit.input);
            match limit.get_fetch_type() {
                Ok(FetchType::Literal(Some(rows))) => capped(size, rows),
                _ => size,
            }
        }
        LogicalPlan::Sort(sort) => match sort.fetch {
            Some(rows) => capped(input(&sort.input), rows),
            None => input(&sort.input),
        },
        LogicalPlan::Join(join) => {
            let (left, right) = (input(&join.left), input(&join.right));
            let on: Vec<(&Expr, &Expr)> = join.on.iter().map(|(l, r)| (l, r)).collect();
            let filters = join.filter.as_ref().map_or(0, |f| split_conjunction(f).len());
            let inner = left.joined(&right, &on, filters);
            match join.join_type {
                JoinType::Inner => inner,
                JoinType::Left => Size { rows: inner.rows.max(left.rows), ..inner },
                JoinType::Right => Size { rows: inner.rows.max(right.rows), ..inner },
                JoinType::Full => Size::of_rows(inner.rows.max(left.rows).max(right.rows)),
                JoinType::LeftSemi | JoinType::LeftAnti => halved(left),
                JoinType::RightSemi | JoinType::RightAnti => halved(right),
                JoinType::LeftMark => left,
                JoinType::RightMark => right,
            }
        }
        LogicalPlan::Window(window) => input(&window.input),
        LogicalPlan::Unnest(unnest) => Size::of_rows(input(&unnest.input).rows * 10.0),
        other => match other.inputs().as_slice() {
            [plan] => Size::of_rows(input(plan).rows),
            _ => Size::of_rows(UNKNOWN),
        },
    }
}

fn scanned(scan: &TableScan, known_of: KnownOf) -> Size {
    let Some(known) = live(scan.source.as_ref()).or_else(|| known_of(scan.source.as_ref())) else {
        return Size::of_rows(UNKNOWN).filtered(&scan.filters.iter().collect::<Vec<_>>());
    };
    let rows = if known.rows == 0 { UNKNOWN } else { known.rows as f64 };
    let (schema, columns) = (scan.source.schema(), scan.projected_schema.columns());
    let column = |i: &usize| columns.iter().find(|c| c.name == *schema.field(*i).name()).cloned();
    let keys = known.keys.iter().filter_map(|key| key.iter().map(column).collect());
    let keys = keys.map(|columns| Key { columns, values: rows }).collect();
    Size { rows, keys }.filtered(&scan.filters.iter().collect::<Vec<_>>())
}

/// What is known of a live table in a SELECT.
fn live(source: &dyn TableSource) -> Option<Known> {
    let source = source.downcast_ref::<DefaultTableSource>()?;
    Some(source.table_provider.downcast_ref::<LiveScan>()?.known())
}

fn is_column(expr: &Expr, column: &Column) -> bool {
    match expr {
        Expr::Alias(alias) => is_column(&alias.expr, column),
        other => other.try_as_col() == Some(column),
    }
}

fn capped(size: Size, rows: usize) -> Size {
    Size { rows: size.rows.min(rows as f64).max(1.0), ..size }
}

fn halved(size: Size) -> Size {
    Size { rows: (size.rows / 2.0).max(1.0), ..size }
}

/// The same rows with other names of columns; a key of which one is missing is none.
fn renamed(size: Size, name: impl Fn(&Column) -> Option<Column>) -> Size {
    let renamed = |key: Key| {
        let columns = key.columns.iter().map(&name).collect::<Option<_>>()?;
        Some(Key { columns, ..key })
    };
    Size { rows: size.rows, keys: size.keys.into_iter().filter_map(renamed).collect() }
}
