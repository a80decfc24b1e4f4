//! Lowers window functions: stacked operators, one for each set of keys, and, where a filter keeps the first ranks only, the
//! rows of those ranks below it.
//!
//! `rank() <= 3` over a window needs no more of a partition than the rows of its first three ranks: these are found by a top-n,
//! whose state is bounded where input is appended, and the window is computed over what it leaves. That is right only for
//! functions to which later rows are nothing, which is why other calls of the same window prevent it.

use std::sync::Arc;

use arrow_schema::{Schema, SortOptions};
use datafusion::common::ScalarValue;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr::{
    AggregateFunction as AggregateExpr, Sort as SortExpr, WindowFunction as WindowExpr,
};
use datafusion::logical_expr::{
    Expr, Filter, LogicalPlan, Operator, Window, WindowFrame, WindowFrameBound, WindowFrameUnits,
    WindowFunctionDefinition,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;

use super::lower::{
    aggregate_function, arrow_schema, column, filter, lower, not_maintained, project, with_columns,
    without_ties,
};
use super::properties;
use super::stream_plan::{Node, Op, Properties, SortKey, Ties};
use crate::error::{Error, Result, SqlState};
use crate::operators::aggregate::AggregateFunction;
use crate::operators::window::{Bound, Frame, WindowCall, WindowFunction};
use crate::query::compile::compile_with;
use crate::query::windows::tie_of;

/// The window's columns: the input's, then one a call.
pub(super) fn window(props: &ExecutionProps, w: &Window) -> Result<Node> {
    over(props, w, lower(props, &w.input)?)
}

fn calls_of(w: &Window) -> Result<Vec<&WindowExpr>> {
    w.window_expr.iter().map(call_of).collect()
}

fn call_of(expr: &Expr) -> Result<&WindowExpr> {
    match expr {
        Expr::Alias(alias) => call_of(&alias.expr),
        Expr::WindowFunction(call) => Ok(call.as_ref()),
        other => Err(Error::internal(format!("unexpected window expression {other}"))),
    }
}

fn name_of(call: &WindowExpr) -> &str {
    match &call.fun {
        WindowFunctionDefinition::AggregateUDF(function) => function.name(),
        WindowFunctionDefinition::WindowUDF(function) => function.name(),
    }
}

fn same_keys(a: &WindowExpr, b: &WindowExpr) -> bool {
    a.params.partition_by == b.params.partition_by && a.params.order_by == b.params.order_by
}

/// The window's calls over the rows of `input`, an operator for each set of keys.
fn over(props: &ExecutionProps, w: &Window, input: Node) -> Result<Node> {
    let calls = calls_of(w)?;
    let width = w.input.schema().fields().len();
    let mut node = input;
    let mut columns: Vec<usize> = (0..width).collect();
    let mut places = vec![None; calls.len()];
    for first in 0..calls.len() {
        if places[first].is_some() {
            continue;
        }
        let same: Vec<usize> =
            (first..calls.len()).filter(|&i| same_keys(calls[first], calls[i])).collect();
        let before = node.schema.fields().len();
        for (n, &call) in same.iter().enumerate() {
            places[call] = Some(before + n);
        }
        node = stage(props, w, &calls, &same, node)?;
    }
    columns.extend(places.into_iter().flatten());
    let schema = arrow_schema(&w.schema);
    let exprs = columns.iter().enumerate().map(|(i, &at)| column(schema.field(i).name(), at));
    Ok(project(node, exprs.collect(), schema))
}

/// Calls with the same keys over `input`: its columns, then theirs.
fn stage(
    props: &ExecutionProps,
    w: &Window,
    calls: &[&WindowExpr],
    same: &[usize],
    input: Node,
) -> Result<Node> {
    let df_schema = w.input.schema();
    let kept = input.schema.fields().len();
    let width = df_schema.fields().len();
    let mut exprs = key_exprs(calls[same[0]]);
    let mut drafts = vec![];
    for &i in same {
        let mut draft = draft(calls[i], &mut exprs)?;
        draft.return_field = arrow_schema(&w.schema).fields()[width + i].clone();
        drafts.push(draft);
    }
    let (node, columns) = with_columns(props, input, &exprs.iter().collect::<Vec<_>>(), df_schema)?;
    let keys = Keys::new(calls[same[0]], &columns, width);
    for draft in &mut drafts {
        draft.args.iter_mut().chain(&mut draft.filter).for_each(|at| *at = columns[*at]);
        if let Frame::Range { column, options, .. } = &mut draft.frame {
            let key = keys.order.first().ok_or_else(|| Error::internal("a range has a key"))?;
            *column = key.column;
            *options = SortOptions { descending: key.descending, nulls_first: key.nulls_first };
        }
    }
    let mut fields = node.schema.fields().to_vec();
    let wide = fields.len();
    fields.extend(drafts.iter().map(|draft| draft.return_field.clone()));
    let schema = Arc::new(Schema::new(fields));
    let properties = properties::window(&node.properties);
    let Keys { partition, order, ties } = keys;
    let op = Op::Window { partition, order, tie_keys: ties, calls: drafts };
    let node = Node { op, inputs: vec![node], schema: schema.clone(), properties };
    let columns: Vec<usize> = (0..kept).chain(wide..wide + same.len()).collect();
    let narrow = schema.project(&columns).map_err(|e| Error::internal(e.to_string()))?;
    let exprs = columns.iter().map(|&at| column(schema.field(at).name(), at)).collect();
    Ok(project(node, exprs, Arc::new(narrow)))
}

/// What a call's keys sort and partition by, those that only break ties included.
fn key_exprs(call: &WindowExpr) -> Vec<Expr> {
    let orders = call.params.order_by.iter().map(|key| tie_of(&key.expr).unwrap_or(&key.expr));
    call.params.partition_by.iter().chain(orders).cloned().collect()
}

struct Keys {
    partition: Vec<usize>,
    order: Vec<SortKey>,
    ties: Vec<SortKey>,
}

impl Keys {
    /// `columns` are those of [`key_exprs`], `width` how many columns the rows have that ties are broken by.
    fn new(call: &WindowExpr, columns: &[usize], width: usize) -> Keys {
        let (partition, rest) = columns.split_at(call.params.partition_by.len());
        let keys = call.params.order_by.iter().zip(rest);
        let key = |(key, &column): (&SortExpr, &usize)| SortKey {
            column,
            descending: !key.asc,
            nulls_first: key.nulls_first,
        };
        let is_tie = |(key, _): &(&SortExpr, &usize)| tie_of(&key.expr).is_some();
        let order: Vec<SortKey> = keys.clone().filter(|k| !is_tie(k)).map(key).collect();
        let ties = keys.filter(is_tie).map(key);
        // Ties are broken by the whole row anyway: nothing more is needed where that comes to the same.
        let total = without_ties(order.iter().cloned().chain(ties).collect(), width, partition);
        let ties = total.get(order.len()..).unwrap_or_default().to_vec();
        Keys { partition: partition.to_vec(), order, ties }
    }
}

/// The call, its columns as positions in `exprs`.
fn draft(call: &WindowExpr, exprs: &mut Vec<Expr>) -> Result<WindowCall> {
    let mut place = |expr: Expr| match exprs.iter().position(|known| *known == expr) {
        Some(at) => at,
        None => {
            exprs.push(expr);
            exprs.len() - 1
        }
    };
    let given = &call.params.args;
    let mut args: Vec<usize> = vec![];
    let filter = call.params.filter.as_ref().map(|filter| place(filter.as_ref().clone()));
    let function = match &call.fun {
        WindowFunctionDefinition::AggregateUDF(function) => {
            let counts_rows = function.name() == "count"
                && given.iter().all(|arg| matches!(arg, Expr::Literal(v, _) if !v.is_null()));
            let aggregate =
                AggregateExpr::new_udf(function.clone(), given.clone(), false, None, vec![], None);
            match counts_rows {
                true => WindowFunction::Aggregate(AggregateFunction::CountStar),
                false => WindowFunction::Aggregate(aggregate_function(
                    &aggregate, &mut args, &mut place,
                )?),
            }
        }
        WindowFunctionDefinition::WindowUDF(function) => {
            let constant = |what: &str| match given.last().map(constant) {
                Some(Some(number)) => Ok(number),
                _ => Err(not_maintained(
                    &format!("{} with {what} that is no constant", function.name()),
                    "Use a constant.",
                )),
            };
            match function.name() {
                "row_number" => WindowFunction::RowNumber,
                "rank" => WindowFunction::Rank,
                "dense_rank" => WindowFunction::DenseRank,
                "percent_rank" => WindowFunction::PercentRank,
                "cume_dist" => WindowFunction::CumeDist,
                "ntile" => {
                    let code = SqlState::INVALID_ARGUMENT_FOR_NTILE;
                    WindowFunction::Ntile(positive(constant("a number")?, "ntile", code)?)
                }
                "lag" => shift(given, -1, &mut args, &mut place),
                "lead" => shift(given, 1, &mut args, &mut place),
                "first_value" | "last_value" | "nth_value" => {
                    args.push(place(given[0].clone()));
                    match function.name() {
                        "first_value" => WindowFunction::FirstValue,
                        "last_value" => WindowFunction::LastValue,
                        name => {
                            let code = SqlState::INVALID_ARGUMENT_FOR_NTH_VALUE;
                            let nth = constant("a number")?;
                            WindowFunction::NthValue(positive(nth, name, code)?)
                        }
                    }
                }
                name => {
                    return Err(not_maintained(
                        &format!("the window function {name}"),
                        "Compute it when reading the view.",
                    ));
                }
            }
        }
    };
    let frame = frame(&call.params.window_frame)?;
    // The caller knows the column's name and type.
    let return_field = Arc::new(arrow_schema::Field::new("", arrow_schema::DataType::Null, true));
    Ok(WindowCall { function, args, filter, frame, return_field })
}

/// lag (`sign` -1) and lead (1).
fn shift(
    given: &[Expr],
    sign: i64,
    args: &mut Vec<usize>,
    place: &mut impl FnMut(Expr) -> usize,
) -> WindowFunction {
    let rows = match given.get(1).map(constant) {
        None => Some(sign),
        Some(Some(Some(rows))) => Some(rows.saturating_mul(sign)),
        // A NULL or a column: row by row.
        Some(Some(None) | None) => None,
    };
    args.push(place(given[0].clone()));
    if let (None, Some(offset)) = (rows, given.get(1)) {
        args.push(place(offset.clone()));
    }
    args.extend(given.get(2).map(|default| place(default.clone())));
    WindowFunction::Shift { rows, sign, default: given.len() > 2 }
}

/// The value of an integer constant.
fn constant(expr: &Expr) -> Option<Option<i64>> {
    let Expr::Literal(value, _) = expr else { return None };
    match value.cast_to(&arrow_schema::DataType::Int64).ok()? {
        ScalarValue::Int64(value) => Some(value),
        _ => None,
    }
}

fn positive(number: Option<i64>, function: &str, code: SqlState) -> Result<Option<i64>> {
    match number {
        Some(number) if number <= 0 => {
            Err(Error::new(code, format!("argument of {function} must be greater than zero")))
        }
        number => Ok(number),
    }
}

fn frame(frame: &WindowFrame) -> Result<Frame> {
    let offset = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::Preceding(value) | WindowFrameBound::Following(value) => !value.is_null(),
        WindowFrameBound::CurrentRow => false,
    };
    if frame.units == WindowFrameUnits::Range
        && (offset(&frame.start_bound) || offset(&frame.end_bound))
    {
        let (column, options) = (0, SortOptions::default());
        return Ok(Frame::Range { frame: Arc::new(frame.clone()), column, options });
    }
    let (start, end) = (bound(&frame.start_bound)?, bound(&frame.end_bound)?);
    Ok(match frame.units {
        WindowFrameUnits::Rows => Frame::Rows(start, end),
        WindowFrameUnits::Range | WindowFrameUnits::Groups => Frame::Groups(start, end),
    })
}

fn bound(bound: &WindowFrameBound) -> Result<Bound> {
    let count = |value: &ScalarValue| match value {
        ScalarValue::UInt64(Some(n)) => Ok(i64::try_from(*n).unwrap_or(i64::MAX)),
        other => Err(Error::internal(format!("{other} is no number of rows"))),
    };
    Ok(match bound {
        WindowFrameBound::Preceding(value) | WindowFrameBound::Following(value)
            if value.is_null() =>
        {
            Bound::Unbounded
        }
        WindowFrameBound::CurrentRow => Bound::Before(0),
        WindowFrameBound::Preceding(value) => Bound::Before(count(value)?),
        WindowFrameBound::Following(value) => Bound::After(count(value)?),
    })
}

/// A filter that keeps the first ranks of each partition over the window that ranks, if `f` is one.
pub(super) fn first_of_each(props: &ExecutionProps, f: &Filter) -> Result<Option<Node>> {
    let Some(w) = window_below(&f.input) else { return Ok(None) };
    let calls = calls_of(w)?;
    let Some(ties) = calls.iter().map(|call| ties_of(call)).collect::<Option<Vec<_>>>() else {
        return Ok(None);
    };
    if !calls.iter().all(|call| same_keys(calls[0], call)) {
        return Ok(None);
    }
    let mut limits = vec![];
    collect_limits(&f.predicate, &f.input, &mut limits);
    let Some(&(call, _)) = limits.first() else { return Ok(None) };
    let own = limits.iter().filter(|(other, _)| *other == call).map(|(_, limit)| *limit);
    let limit = own.min().unwrap_or(0).max(0);
    let width = w.input.schema().fields().len();
    let exprs = key_exprs(calls[call]);
    let input = lower(props, &w.input)?;
    let (input, columns) =
        with_columns(props, input, &exprs.iter().collect::<Vec<_>>(), w.input.schema())?;
    let Keys { partition, order, ties: tie_keys } = Keys::new(calls[call], &columns, width);
    let (schema, mut keys) = (input.schema.clone(), input.properties.keys.clone());
    if ties[call] == Ties::Cut && limit <= 1 {
        keys.push(partition.clone());
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let op = Op::Ranked { partition, order, tie_keys, limit, ties: ties[call] };
    let properties = Properties { append_only: false, keys };
    let ranked = Node { op, inputs: vec![input], schema, properties };
    let rows = super::lower::only_first(ranked, width, arrow_schema(w.input.schema()));
    let numbered = match limit == 1 && ties.iter().all(|ties| *ties == Ties::Cut) {
        true => with_ones(rows, w, calls.len()),
        false => over(props, w, rows)?,
    };
    let predicate = compile_with(props, &f.predicate, f.input.schema())?;
    Ok(Some(filter(above(props, &f.input, numbered)?, predicate)))
}

/// The window that a plan is, but for projections.
fn window_below(plan: &LogicalPlan) -> Option<&Window> {
    match plan {
        LogicalPlan::Window(w) => Some(w),
        LogicalPlan::Projection(p) => window_below(&p.input),
        LogicalPlan::SubqueryAlias(a) => window_below(&a.input),
        _ => None,
    }
}

/// What is above the window, over other rows than the window's.
fn above(props: &ExecutionProps, plan: &LogicalPlan, numbered: Node) -> Result<Node> {
    match plan {
        LogicalPlan::Projection(p) => {
            let input = above(props, &p.input, numbered)?;
            let exprs = p.expr.iter().map(|e| compile_with(props, e, p.input.schema()));
            Ok(project(input, exprs.collect::<Result<_>>()?, arrow_schema(&p.schema)))
        }
        LogicalPlan::SubqueryAlias(a) => above(props, &a.input, numbered),
        _ => Ok(numbered),
    }
}

/// The call whose result a column of the plan is.
fn call_at(plan: &LogicalPlan, at: usize) -> Option<usize> {
    match plan {
        LogicalPlan::Window(w) => at.checked_sub(w.input.schema().fields().len()),
        LogicalPlan::SubqueryAlias(a) => call_at(&a.input, at),
        LogicalPlan::Projection(p) => {
            let mut expr = &p.expr[at];
            while let Expr::Alias(alias) = expr {
                expr = &alias.expr;
            }
            let below = p.input.schema().maybe_index_of_column(expr.try_as_col()?)?;
            call_at(&p.input, below)
        }
        _ => None,
    }
}

/// The rows as the only ones of their partitions: each is number one.
fn with_ones(rows: Node, w: &Window, calls: usize) -> Node {
    let schema = arrow_schema(&w.schema);
    let width = schema.fields().len() - calls;
    let mut exprs: Vec<Arc<dyn PhysicalExpr>> =
        (0..width).map(|at| column(schema.field(at).name(), at)).collect();
    let one: Arc<dyn PhysicalExpr> = Arc::new(Literal::new(ScalarValue::Int64(Some(1))));
    exprs.resize(width + calls, one);
    project(rows, exprs, schema)
}

/// What a limit of the call's results does with peers; `None` for calls that are no ranks.
fn ties_of(call: &WindowExpr) -> Option<Ties> {
    match name_of(call) {
        "row_number" => Some(Ties::Cut),
        "rank" => Some(Ties::Stay),
        "dense_rank" => Some(Ties::Groups),
        _ => None,
    }
}

/// The calls of the window in `plan` that a predicate over it bounds above, with the bounds.
fn collect_limits(predicate: &Expr, plan: &LogicalPlan, limits: &mut Vec<(usize, i64)>) {
    let call =
        |expr: &Expr| call_at(plan, plan.schema().maybe_index_of_column(expr.try_as_col()?)?);
    let number = |expr: &Expr| constant(expr).flatten();
    match predicate {
        Expr::BinaryExpr(binary) if binary.op == Operator::And => {
            collect_limits(&binary.left, plan, limits);
            collect_limits(&binary.right, plan, limits);
        }
        Expr::BinaryExpr(binary) => {
            let (op, sides) = match call(&binary.left) {
                Some(call) => (Some(binary.op), Some((call, number(&binary.right)))),
                None => (binary.op.swap(), call(&binary.right).map(|c| (c, number(&binary.left)))),
            };
            let Some((call, Some(number))) = sides else { return };
            match op {
                Some(Operator::Lt) => limits.push((call, number.saturating_sub(1))),
                Some(Operator::LtEq | Operator::Eq) => limits.push((call, number)),
                _ => {}
            }
        }
        Expr::Between(between) if !between.negated => {
            if let (Some(call), Some(high)) = (call(&between.expr), number(&between.high)) {
                limits.push((call, high));
            }
        }
        // A conjunction whose right side may fail.
        Expr::Case(case) if case.expr.is_none() && case.when_then_expr.len() == 1 => {
            let otherwise = case.else_expr.as_deref();
            let no = matches!(otherwise, Some(Expr::Literal(ScalarValue::Boolean(Some(false)), _)));
            if no {
                collect_limits(&case.when_then_expr[0].0, plan, limits);
            }
        }
        _ => {}
    }
}
