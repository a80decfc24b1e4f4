//! Makes what window functions and DISTINCT ON give a function of the rows alone.
//!
//! Rows that a window's ORDER BY does not tell apart are told apart by all columns of its input, in type order. Functions
//! that know peers (rank, a RANGE frame) must go on seeing the keys as written, so in a view's plan the further keys are
//! marked ([`tie_of`]) and the operator keeps the two apart. DataFusion, which runs SELECT, has no such marks: functions
//! that do not look at ties keep their keys, the others get the further keys or, where they look at peers too, find their
//! rows sorted by a window below them. DISTINCT ON becomes the rows whose number within the group is one.
//! In keys -0 is made 0, since they are peers. Refuses what PostgreSQL refuses of window calls.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow_schema::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result as DfResult, ScalarValue, TableReference};
use datafusion::logical_expr::expr::{NullTreatment, Sort as SortExpr, WindowFunction};
use datafusion::logical_expr::utils::generate_sort_key;
use datafusion::logical_expr::{
    ColumnarValue, Distinct, DistinctOn, Expr, ExprSchemable, Filter, LogicalPlan, Projection,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Sort, Volatility, Window, WindowFrame,
    WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition, col, lit, when,
};
use sqlparser::ast;

use super::errors::to_datafusion;
use super::functions::canonical_value;
use super::functions::sliding::sliding;
use super::functions::windows::row_number;
use super::key_equality::value_of;
use super::spelling::{cast_text, string};
use super::sql_types::pg_type_name;
use crate::canonical::holds_floats;
use crate::error::{Error, SqlState};
use crate::types::parse_interval;

/// What runs the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runner {
    /// DataFusion, once.
    Batch,
    /// The incremental operators.
    Streaming,
}

/// The analyzed plan with every window in a total order and without DISTINCT ON.
pub(super) fn determine(plan: LogicalPlan, runner: Runner) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        Ok(match node {
            LogicalPlan::Window(window) => Transformed::yes(totally_ordered(window, runner)?),
            LogicalPlan::Distinct(Distinct::On(distinct)) => {
                Transformed::yes(first_of_each(distinct, runner)?)
            }
            LogicalPlan::Filter(filter) => {
                refuse_windows_in_filter(&filter.predicate)?;
                Transformed::no(LogicalPlan::Filter(filter))
            }
            other => Transformed::no(other),
        })
    })
    .data()
}

fn refuse_windows_in_filter(predicate: &Expr) -> DfResult<()> {
    let found = predicate.exists(|e| Ok(matches!(e, Expr::WindowFunction(_))))?;
    if !found {
        return Ok(());
    }
    let message = "window functions are not allowed in WHERE";
    Err(to_datafusion(Error::new(SqlState::WINDOWING_ERROR, message)))
}

/// The column of DISTINCT ON's row numbers.
const NUMBER: &str = "#number";

/// `DISTINCT ON (a) x ORDER BY a, b` as the projection of the sorted rows that are number one by `a`.
fn first_of_each(distinct: DistinctOn, runner: Runner) -> DfResult<LogicalPlan> {
    let DistinctOn { on_expr, select_expr, sort_expr, input, schema } = distinct;
    let order = sort_expr.iter().flatten().filter(|key| !on_expr.contains(&key.expr)).cloned();
    let mut number = WindowFunction::new(row_number(), vec![]);
    number.params.order_by = order.collect();
    number.params.partition_by = on_expr
        .into_iter()
        .map(|key| Ok(value_of(&key, input.schema())?.unwrap_or(key)))
        .collect::<DfResult<_>>()?;
    let number = Expr::from(number).alias(NUMBER);
    let numbered = totally_ordered(Window::try_new(vec![number], input)?, runner)?;
    let first = Filter::try_new(col(NUMBER).eq(lit(1_i64)), Arc::new(numbered))?;
    let mut plan = LogicalPlan::Filter(first);
    if let Some(expr) = sort_expr {
        plan = LogicalPlan::Sort(Sort { expr, input: Arc::new(plan), fetch: None });
    }
    let projection = Projection::try_new_with_schema(select_expr, Arc::new(plan), schema)?;
    Ok(LogicalPlan::Projection(projection))
}

/// A call with the name of its column.
type Named = (Option<TableReference>, String, WindowFunction);

fn totally_ordered(window: Window, runner: Runner) -> DfResult<LogicalPlan> {
    let Window { window_expr, input, schema } = window;
    let width = input.schema().fields().len();
    let mut calls: Vec<Named> = vec![];
    for (expr, (qualifier, field)) in window_expr.into_iter().zip(schema.iter().skip(width)) {
        let Expr::WindowFunction(mut call) = expr.unalias() else {
            return Err(to_datafusion(Error::internal("a window of something else than a call")));
        };
        refuse_unknown(&call, input.schema()).map_err(to_datafusion)?;
        with_one_zero(&mut call, input.schema())?;
        calls.push((qualifier.cloned(), field.name().clone(), *call));
    }
    match runner {
        Runner::Streaming => {
            let exprs = calls.into_iter().map(|(qualifier, name, mut call)| {
                let ties = ties(&call, input.schema()).into_iter().map(mark);
                call.params.order_by.extend(ties);
                Expr::from(call).alias_qualified(qualifier, name)
            });
            Window::try_new(exprs.collect(), Arc::clone(&input)).map(LogicalPlan::Window)
        }
        Runner::Batch => {
            let below = with_key_columns(&mut calls, Arc::clone(&input))?;
            Stack::of(calls, &input)?.over(below, &schema)
        }
    }
}

/// Has the expressions in PARTITION BY computed below the windows, as columns of the result. DataFusion at times takes rows
/// for sorted by an expression where it does not find them so when it runs the window.
fn with_key_columns(calls: &mut [Named], input: Arc<LogicalPlan>) -> DfResult<LogicalPlan> {
    let mut keys: Vec<Expr> = vec![];
    for key in calls.iter().flat_map(|(_, _, call)| &call.params.partition_by) {
        if key.try_as_col().is_none() && !keys.contains(key) {
            keys.push(key.clone());
        }
    }
    if keys.is_empty() {
        return Ok(Arc::unwrap_or_clone(input));
    }
    let in_column = |expr: &mut Expr| {
        if let Some(i) = keys.iter().position(|key| key == expr) {
            *expr = Expr::Column(Column::new_unqualified(format!("#key{i}")));
        }
    };
    for (_, _, call) in calls {
        call.params.partition_by.iter_mut().for_each(in_column);
        call.params.order_by.iter_mut().map(|key| &mut key.expr).for_each(in_column);
    }
    let columns = input.schema().columns().into_iter().map(Expr::Column);
    let computed = keys.iter().enumerate().map(|(i, key)| key.clone().alias(format!("#key{i}")));
    let exprs = columns.chain(computed).collect();
    Projection::try_new(exprs, input).map(LogicalPlan::Projection)
}

fn has_offset(frame: &WindowFrame) -> bool {
    let bounds = [&frame.start_bound, &frame.end_bound];
    bounds.iter().any(|b| !b.is_unbounded() && !matches!(b, WindowFrameBound::CurrentRow))
}

fn refuse_unknown(call: &WindowFunction, schema: &DFSchema) -> Result<(), Error> {
    let unsupported = |message: &str| Err(Error::unsupported(message));
    if call.params.distinct {
        return unsupported("DISTINCT is not implemented for window functions");
    }
    if call.params.null_treatment == Some(NullTreatment::IgnoreNulls) {
        return unsupported("IGNORE NULLS is not supported for window functions");
    }
    let frame = &call.params.window_frame;
    if frame.units == WindowFrameUnits::Range && has_offset(frame) {
        let key = call.params.order_by.first().map(|key| key.expr.get_type(schema));
        if let Some(Ok(t)) =
            key.filter(|t| t.as_ref().is_ok_and(|t| !t.is_numeric() && !t.is_temporal()))
        {
            let name = pg_type_name(&t);
            return unsupported(&format!(
                "RANGE with offset PRECEDING/FOLLOWING is not supported for column type {name}"
            ));
        }
    }
    let nth =
        matches!(&call.fun, WindowFunctionDefinition::WindowUDF(f) if f.name() == "nth_value");
    if nth && call.params.args.iter().skip(1).any(|number| !number.column_refs().is_empty()) {
        return unsupported("nth_value with a number that is no constant is not supported");
    }
    if call.params.filter.is_some() && matches!(call.fun, WindowFunctionDefinition::WindowUDF(_)) {
        return unsupported("FILTER is not implemented for non-aggregate window functions");
    }
    Ok(())
}

/// Makes keys of floats such that -0 and 0 are one key.
fn with_one_zero(call: &mut WindowFunction, schema: &DFSchema) -> DfResult<()> {
    let orders = call.params.order_by.iter_mut().map(|key| &mut key.expr);
    for expr in call.params.partition_by.iter_mut().chain(orders) {
        let data_type = expr.get_type(schema)?;
        if holds_floats(&data_type) {
            *expr = canonical_value().call(vec![std::mem::take(expr)]);
        }
    }
    Ok(())
}

/// Keys for the columns that a window's keys leave open.
fn ties(call: &WindowFunction, schema: &DFSchema) -> Vec<SortExpr> {
    let orders = call.params.order_by.iter().map(|key| &key.expr);
    let keys: Vec<&Expr> = call.params.partition_by.iter().chain(orders).collect();
    let is_key = |column: &Column| keys.iter().any(|key| key.try_as_col() == Some(column));
    let columns = schema.columns().into_iter().filter(|column| !is_key(column));
    columns.map(|column| Expr::Column(column).sort(true, false)).collect()
}

/// Aggregates to which the order of their rows is nothing.
const UNORDERED: &[&str] = &[
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "bool_and",
    "every",
    "bool_or",
    "bit_and",
    "bit_or",
    "bit_xor",
    "stddev",
    "stddev_pop",
    "var",
    "var_pop",
    "corr",
    "covar_samp",
    "covar_pop",
    "median",
];

/// What a call asks of rows that its keys do not tell apart.
enum Ties {
    /// Nothing.
    Ignored,
    /// Their order; it does not know peers.
    Ordered,
    /// Their order, among peers.
    OrderedPeers,
}

fn ties_of(call: &mut WindowFunction) -> Ties {
    let frame = &mut call.params.window_frame;
    let name = match &call.fun {
        WindowFunctionDefinition::AggregateUDF(function) => function.name(),
        WindowFunctionDefinition::WindowUDF(function) => function.name(),
    };
    let framed = matches!(call.fun, WindowFunctionDefinition::AggregateUDF(_))
        || matches!(name, "first_value" | "last_value" | "nth_value");
    match name {
        "rank" | "dense_rank" | "percent_rank" | "cume_dist" => return Ties::Ignored,
        _ if !framed || frame.units == WindowFrameUnits::Rows => return Ties::Ordered,
        _ if UNORDERED.contains(&name) => return Ties::Ignored,
        _ => {}
    }
    let from_first = frame.start_bound.is_unbounded();
    if from_first && frame.end_bound.is_unbounded() {
        let (start, end) = (frame.start_bound.clone(), frame.end_bound.clone());
        *frame = WindowFrame::new_bounds(WindowFrameUnits::Rows, rows(start), rows(end));
        return Ties::Ordered;
    }
    if from_first
        && name == "first_value"
        && matches!(frame.end_bound, WindowFrameBound::CurrentRow)
    {
        *frame = WindowFrame::new(Some(true));
        return Ties::Ordered;
    }
    Ties::OrderedPeers
}

/// An unbounded bound as ROWS has it.
fn rows(bound: WindowFrameBound) -> WindowFrameBound {
    match bound {
        WindowFrameBound::Preceding(_) => WindowFrameBound::Preceding(ScalarValue::UInt64(None)),
        WindowFrameBound::Following(_) => WindowFrameBound::Following(ScalarValue::UInt64(None)),
        WindowFrameBound::CurrentRow => WindowFrameBound::CurrentRow,
    }
}

/// Calls of one window, with the columns of their results.
type Calls = Vec<(WindowFunction, Column)>;

/// Calls that know peers and look at the order among them: over a window that numbers the rows by all keys. Nothing sorts
/// them again for the keys as written, which are the first of all keys.
struct Sorted {
    partition_by: Vec<Expr>,
    order_by: Vec<SortExpr>,
    number: Calls,
    /// The calls' first arguments. They mention the number, though it changes nothing, so that the window below stays; and
    /// they are computed between both windows, since DataFusion's search for common expressions takes windows on top of
    /// each other for one.
    args: Vec<(Expr, Column)>,
    calls: Calls,
}

/// Windows for DataFusion, each of calls with the same keys.
#[derive(Default)]
struct Stack {
    sorted: Vec<Sorted>,
    groups: Vec<(Vec<(SortExpr, bool)>, Calls)>,
    /// Columns of the result that are another name for one that is there.
    renamed: HashMap<Column, Column>,
}

impl Stack {
    fn of(calls: Vec<Named>, input: &LogicalPlan) -> DfResult<Stack> {
        let mut stack = Stack::default();
        for (qualifier, name, mut call) in calls {
            if let WindowFunctionDefinition::AggregateUDF(function) = &mut call.fun
                && !call.params.window_frame.start_bound.is_unbounded()
            {
                *function = sliding(function);
            }
            let order = ties_of(&mut call);
            let ties = ties(&call, input.schema());
            let column = Column::new(qualifier, name);
            let found = match order {
                Ties::OrderedPeers => stack.push_sorted(call, ties, column.clone())?,
                Ties::Ignored => stack.push(call, column.clone())?,
                Ties::Ordered => {
                    call.params.order_by.extend(ties);
                    stack.push(call, column.clone())?
                }
            };
            if found != column {
                stack.renamed.insert(column, found);
            }
        }
        // The longest keys first: shorter ones find their rows sorted.
        stack.groups.sort_by_key(|(key, _)| std::cmp::Reverse(key.len()));
        Ok(stack)
    }

    fn push(&mut self, call: WindowFunction, column: Column) -> DfResult<Column> {
        let key = generate_sort_key(&call.params.partition_by, &call.params.order_by)?;
        match self.groups.iter_mut().find(|(other, _)| *other == key) {
            Some((_, calls)) => Ok(push_call(calls, call, column)),
            None => {
                self.groups.push((key, vec![(call, column.clone())]));
                Ok(column)
            }
        }
    }

    fn push_sorted(
        &mut self,
        mut call: WindowFunction,
        ties: Vec<SortExpr>,
        column: Column,
    ) -> DfResult<Column> {
        let params = &call.params;
        let known = self.sorted.iter().position(|sorted| {
            sorted.partition_by == params.partition_by && sorted.order_by == params.order_by
        });
        let at = known.unwrap_or(self.sorted.len());
        let number = Column::new_unqualified(format!("#order{at}"));
        if known.is_none() {
            let mut below = WindowFunction::new(row_number(), vec![]);
            below.params.partition_by.clone_from(&params.partition_by);
            below.params.order_by = params.order_by.iter().cloned().chain(ties).collect();
            self.sorted.push(Sorted {
                partition_by: params.partition_by.clone(),
                order_by: params.order_by.clone(),
                number: vec![(below, number.clone())],
                args: vec![],
                calls: vec![],
            });
        }
        let sorted = &mut self.sorted[at];
        if let Some(arg) = call.params.args.first_mut() {
            let expr = when(Expr::Column(number).gt(lit(0_i64)), std::mem::take(arg)).end()?;
            let known = sorted.args.iter().find(|(other, _)| *other == expr);
            let computed = match known {
                Some((_, computed)) => computed.clone(),
                None => {
                    let name = format!("#arg{at}.{}", sorted.args.len());
                    let computed = Column::new_unqualified(name);
                    sorted.args.push((expr, computed.clone()));
                    computed
                }
            };
            *arg = Expr::Column(computed);
        }
        Ok(push_call(&mut sorted.calls, call, column))
    }

    fn over(self, input: LogicalPlan, schema: &DFSchema) -> DfResult<LogicalPlan> {
        let mut plan = input;
        for sorted in self.sorted {
            plan = window(sorted.number, plan)?;
            let columns = plan.schema().columns().into_iter().map(Expr::Column);
            let args = sorted.args.into_iter().map(|(arg, column)| arg.alias(column.name));
            let exprs = columns.chain(args).collect();
            plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(plan))?);
            plan = window(sorted.calls, plan)?;
        }
        for (_, calls) in self.groups {
            plan = window(calls, plan)?;
        }
        if self.renamed.is_empty() && plan.schema().columns() == schema.columns() {
            return Ok(plan);
        }
        let columns = schema.columns().into_iter().map(|column| match self.renamed.get(&column) {
            Some(found) => {
                Expr::Column(found.clone()).alias_qualified(column.relation, column.name)
            }
            None => Expr::Column(column),
        });
        Projection::try_new(columns.collect(), Arc::new(plan)).map(LogicalPlan::Projection)
    }
}

/// The column that has the call's result: `column`, unless there is one. Calls may have become the same by their further
/// keys, and the optimizer fails over calls that are there twice.
fn push_call(calls: &mut Calls, call: WindowFunction, column: Column) -> Column {
    if let Some((_, found)) = calls.iter().find(|(other, _)| *other == call) {
        return found.clone();
    }
    calls.push((call, column.clone()));
    column
}

fn window(calls: Calls, input: LogicalPlan) -> DfResult<LogicalPlan> {
    let named = |(call, column): (WindowFunction, Column)| {
        Expr::from(call).alias_qualified(column.relation, column.name)
    };
    let calls = calls.into_iter().map(named).collect();
    Window::try_new(calls, Arc::new(input)).map(LogicalPlan::Window)
}

const TIE: &str = "tie";

/// The identity, by which keys that only break ties are known.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Tie {
    signature: Signature,
}

impl ScalarUDFImpl for Tie {
    fn name(&self) -> &str {
        TIE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(types[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Ok(args.args[0].clone())
    }
}

fn mark(key: SortExpr) -> SortExpr {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        Arc::new(ScalarUDF::from(Tie { signature: Signature::any(1, Volatility::Immutable) }))
    });
    SortExpr { expr: FUNCTION.call(vec![key.expr]), ..key }
}

/// What a key of a view's window sorts by, if it only breaks ties.
pub fn tie_of(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::ScalarFunction(call) if call.func.name() == TIE => call.args.first(),
        _ => None,
    }
}

/// RANGE frames without offsets over keys of types that DataFusion computes no ranges of, as GROUPS frames, which are the
/// same. For plans that are not analyzed yet.
pub(super) fn without_odd_ranges(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Window(window) = node else { return Ok(Transformed::no(node)) };
        if !window.window_expr.iter().any(|e| has_odd_range(e, window.input.schema())) {
            return Ok(Transformed::no(LogicalPlan::Window(window)));
        }
        let Window { window_expr, input, schema } = window;
        let width = input.schema().fields().len();
        let names = schema.iter().skip(width);
        let exprs = window_expr.into_iter().zip(names).map(|(expr, (qualifier, field))| {
            let expr = match expr.unalias() {
                Expr::WindowFunction(mut call) if is_odd_range(&call, input.schema()) => {
                    let frame = &call.params.window_frame;
                    let bounds = (frame.start_bound.clone(), frame.end_bound.clone());
                    let units = WindowFrameUnits::Groups;
                    call.params.window_frame =
                        WindowFrame::new_bounds(units, rows(bounds.0), rows(bounds.1));
                    Expr::WindowFunction(call)
                }
                other => other,
            };
            expr.alias_qualified(qualifier.cloned(), field.name())
        });
        let window = Window::try_new(exprs.collect(), Arc::clone(&input))?;
        Ok(Transformed::yes(LogicalPlan::Window(window)))
    })
    .data()
}

fn has_odd_range(expr: &Expr, schema: &DFSchema) -> bool {
    let mut odd = false;
    let visited = expr.apply(|e| {
        if let Expr::WindowFunction(call) = e {
            odd |= is_odd_range(call, schema);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    odd && visited.is_ok()
}

fn is_odd_range(call: &WindowFunction, schema: &DFSchema) -> bool {
    let frame = &call.params.window_frame;
    let Some(key) = call.params.order_by.first() else { return false };
    // Intervals count as temporal, but are none that a range can be computed of.
    let simple = |t: DataType| {
        let temporal = t.is_temporal() && !matches!(t, DataType::Interval(_));
        t.is_numeric() || t.is_string() || temporal
    };
    frame.units == WindowFrameUnits::Range
        && !has_offset(frame)
        && key.expr.get_type(schema).is_ok_and(|t| !simple(t))
}

/// What PostgreSQL says of a call whose frame cannot be.
pub(super) fn refused_frame(expr: &ast::Expr) -> Option<Error> {
    use ast::WindowFrameBound as B;
    let ast::Expr::Function(call) = expr else { return None };
    let Some(ast::WindowType::WindowSpec(spec)) = &call.over else { return None };
    let frame = spec.window_frame.as_ref()?;
    let end = frame.end_bound.as_ref().unwrap_or(&B::CurrentRow);
    for (bound, name) in [(&frame.start_bound, "starting"), (end, "ending")] {
        if let B::Preceding(Some(offset)) | B::Following(Some(offset)) = bound
            && let ast::Expr::Value(value) = offset.as_ref()
            && let ast::Value::Number(number, _) = &value.value
            && number.starts_with('-')
        {
            let message = format!("frame {name} offset must not be negative");
            return Some(Error::new(SqlState::INVALID_PRECEDING_OR_FOLLOWING_SIZE, message));
        }
    }
    let message = match (&frame.start_bound, end) {
        (B::CurrentRow, B::Preceding(Some(_))) => {
            "frame starting from current row cannot have preceding rows"
        }
        (B::Following(Some(_)), B::CurrentRow | B::Preceding(Some(_))) => {
            "frame starting from following row cannot have preceding rows"
        }
        _ => return None,
    };
    Some(Error::new(SqlState::WINDOWING_ERROR, message))
}

/// The offset of a frame, given as text or as an interval, in a form in which DataFusion takes it there.
pub(super) fn respell_bound(expr: &mut ast::Expr) {
    let text = match expr {
        ast::Expr::Function(function) => cast_text(function, "interval"),
        ast::Expr::Value(value) => match &value.value {
            ast::Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    };
    let Some(text) = text else { return };
    if text.parse::<f64>().is_ok() && matches!(expr, ast::Expr::Value(_)) {
        *expr = ast::Expr::Value(ast::Value::Number(text, false).into());
        return;
    }
    let Ok(value) = parse_interval(&text) else { return };
    let (months, days, nanoseconds) = (value.months, value.days, value.nanoseconds);
    let text = format!("{months} months {days} days {nanoseconds} nanoseconds");
    *expr = ast::Expr::Interval(ast::Interval {
        value: Box::new(string(text)),
        leading_field: None,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    });
}
