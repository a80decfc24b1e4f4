//! What happens to types between planning and optimization: analyzer rules around DataFusion's type coercion.
//!
//! Owns two steps: before coercion, untyped literals in lists, simple CASE and UNION take the type of what they meet; after it, the casts that coercion inserted become PostgreSQL's (see `cast`).

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr::{Case, Cast, InList, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Projection, Union};
use datafusion::optimizer::AnalyzerRule;

use super::cast::{CAST_PREFIX, cast_expr, cast_named, may_fail, target_of};
use super::common_type;
use super::errors::{to_datafusion, undefined_function, undefined_operator};
use super::functions::canonical_value;
use super::operators::{comparison_type, is_untyped};
use super::sql_types::{pg_name, plain};
use crate::error::{Error, Result, SqlState};

/// Applies `rewrite` to every expression of the plan, subqueries included, bottom-up and under the same names.
fn rewrite_plan(
    plan: LogicalPlan,
    rewrite: impl Fn(Expr, &DFSchema) -> DfResult<Transformed<Expr>>,
) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        let mut schema = DFSchema::empty();
        for input in node.inputs() {
            schema.merge(input.schema());
        }
        if let LogicalPlan::TableScan(scan) = &node {
            schema.merge(&scan.projected_schema);
        }
        let names = NamePreserver::new(&node);
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            Ok(expr.transform_up(|e| rewrite(e, &schema))?.update_data(|e| name.restore(e)))
        })?
        .map_data(LogicalPlan::recompute_schema)
    })
    .data()
}

/// Before coercion: untyped literals take a type.
#[derive(Debug)]
pub(super) struct UntypedLiterals;

impl AnalyzerRule for UntypedLiterals {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> DfResult<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(type_union).data()?;
        rewrite_plan(plan, |expr, schema| match expr {
            Expr::InList(list) => type_list(list, schema),
            Expr::Case(case) if case.expr.is_some() => type_case(case, schema),
            Expr::ScalarFunction(call) => {
                let expr = Expr::ScalarFunction(call);
                let field = match &expr {
                    Expr::ScalarFunction(call) if common_type::is_common(call) => {
                        expr.to_field(schema)?.1
                    }
                    _ => return Ok(Transformed::no(expr)),
                };
                common_type::resolved(expr, &field).map(Transformed::yes).map_err(to_datafusion)
            }
            other => Ok(Transformed::no(other)),
        })
    }

    fn name(&self) -> &str {
        "untyped_literals"
    }
}

/// Literals of one side of a UNION take the type that the other has; 42804 where two types have nothing in common.
fn type_union(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let LogicalPlan::Union(mut union) = plan else { return Ok(Transformed::no(plan)) };
    let width = union.schema.fields().len();
    if union.inputs.iter().any(|input| input.schema().fields().len() != width) {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let mut changed = false;
    for column in 0..width {
        let open: Vec<bool> =
            union.inputs.iter().map(|input| is_open_text(input, column)).collect();
        let fields = union.inputs.iter().map(|input| &input.schema().fields()[column]);
        let mut typed = fields.zip(&open).filter(|(f, open)| !**open && !f.data_type().is_null());
        let Some((target, _)) = typed.next() else { continue };
        let target = Arc::clone(target);
        let fields: Vec<FieldRef> =
            union.inputs.iter().map(|input| Arc::clone(&input.schema().fields()[column])).collect();
        if let Some((other, _)) = typed.find(|(f, _)| comparison_type(&target, f).is_none()) {
            let message = format!(
                "UNION types {} and {} cannot be matched",
                pg_name(&target),
                pg_name(other)
            );
            return Err(to_datafusion(Error::new(SqlState::DATATYPE_MISMATCH, message)));
        }
        for (input, _) in union.inputs.iter_mut().zip(&open).filter(|(_, open)| **open) {
            *input = Arc::new(with_typed_literal(input, column, &target)?);
            changed = true;
        }
        // A numeric beside a float is a float.
        let float = [DataType::Float64, DataType::Float32]
            .into_iter()
            .find(|float| fields.iter().any(|field| field.data_type() == float));
        for (input, field) in union.inputs.iter_mut().zip(&fields) {
            if let (Some(float), DataType::Decimal128(..)) = (&float, field.data_type()) {
                *input = Arc::new(with_cast(input, column, &plain(float.clone()))?);
                changed = true;
            }
        }
    }
    if !changed {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let union = Union::try_new_with_loose_types(union.inputs)?;
    Ok(Transformed::yes(LogicalPlan::Union(union)))
}

/// Whether a column of a plan is a string literal that nothing has typed.
fn is_open_text(plan: &LogicalPlan, column: usize) -> bool {
    let LogicalPlan::Projection(projection) = plan else { return false };
    let expr = projection.expr[column].clone().unalias();
    is_untyped(&expr) && matches!(expr, Expr::Literal(ScalarValue::Utf8(Some(_)), _))
}

fn with_typed_literal(
    plan: &LogicalPlan,
    column: usize,
    target: &FieldRef,
) -> DfResult<LogicalPlan> {
    let LogicalPlan::Projection(projection) = plan else { return Ok(plan.clone()) };
    let mut exprs = projection.expr.clone();
    let name = exprs[column].schema_name().to_string();
    let literal = exprs[column].clone().unalias();
    exprs[column] = cast_expr(literal, target).map_err(to_datafusion)?.alias(name);
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::clone(&projection.input))?))
}

/// The plan with one of its columns cast.
fn with_cast(plan: &Arc<LogicalPlan>, column: usize, target: &FieldRef) -> DfResult<LogicalPlan> {
    let columns = plan.schema().columns().into_iter().enumerate();
    let exprs = columns.map(|(at, name)| {
        let expr = Expr::Column(name.clone());
        if at != column {
            return Ok(expr);
        }
        Ok(cast_expr(expr, target)
            .map_err(to_datafusion)?
            .alias_qualified(name.relation, name.name))
    });
    let exprs = exprs.collect::<DfResult<Vec<_>>>()?;
    Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::clone(plan))?))
}

fn type_list(list: InList, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let InList { expr, list, negated } = list;
    // `NULL IN (1, 2)`: an untyped left side takes the type of the first item that has one.
    let mut typed = std::iter::once(expr.as_ref()).chain(&list).filter(|item| !is_untyped(item));
    let tested = match typed.next() {
        Some(item) => item.to_field(schema)?.1,
        None => plain(DataType::Utf8),
    };
    let expr = if is_untyped(&expr) { Box::new(type_item(*expr, &tested, schema)?) } else { expr };
    let list = list
        .into_iter()
        .map(|item| type_item(item, &tested, schema))
        .collect::<DfResult<Vec<_>>>()?;
    Ok(Transformed::yes(Expr::InList(InList { expr, list, negated })))
}

/// Lists are looked up by bits, in which -0 is not 0.
fn with_one_zero(list: InList) -> Expr {
    let value = |expr: Expr| canonical_value().call(vec![expr]);
    let InList { expr, list, negated } = list;
    let list = list.into_iter().map(value).collect();
    Expr::InList(InList { expr: Box::new(value(*expr)), list, negated })
}

fn type_case(mut case: Case, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let Some(operand) = &case.expr else {
        return Ok(Transformed::no(Expr::Case(case)));
    };
    let tested = operand.to_field(schema)?.1;
    for (when, _) in &mut case.when_then_expr {
        let typed = type_item(when.as_ref().clone(), &tested, schema)?;
        **when = typed;
    }
    Ok(Transformed::yes(Expr::Case(case)))
}

/// An item compared with `tested`: untyped ones are cast, incomparable ones refused.
fn type_item(item: Expr, tested: &FieldRef, schema: &DFSchema) -> DfResult<Expr> {
    if is_untyped(&item) {
        return match tested.data_type() {
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8
                if !matches!(item, Expr::Placeholder(_)) =>
            {
                Ok(item)
            }
            _ => match item {
                Expr::Placeholder(mut placeholder) => {
                    placeholder.field = Some(Arc::clone(tested));
                    Ok(Expr::Placeholder(placeholder))
                }
                literal => cast_expr(literal, tested).map_err(to_datafusion),
            },
        };
    }
    let field = item.to_field(schema)?.1;
    match comparison_type(tested, &field) {
        Some(_) => Ok(item),
        None => Err(to_datafusion(undefined_operator(&pg_name(tested), "=", &pg_name(&field)))),
    }
}

/// After coercion: inserted casts become PostgreSQL's.
#[derive(Debug)]
pub(super) struct PgCasts;

impl AnalyzerRule for PgCasts {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> DfResult<LogicalPlan> {
        rewrite_plan(plan, |expr, schema| match expr {
            Expr::ScalarFunction(call) => {
                refuse_implicit_text(&call, schema)?;
                fold_cast(call).map_err(to_datafusion)
            }
            Expr::InList(list) if list.expr.get_type(schema)?.is_floating() => {
                Ok(Transformed::yes(with_one_zero(list)))
            }
            Expr::Cast(cast) => {
                let from = cast.expr.get_type(schema)?;
                let other_text =
                    matches!(cast.field.data_type(), DataType::Utf8View | DataType::LargeUtf8);
                if other_text && differs(&from, &DataType::Utf8) {
                    let text = cast_named(*cast.expr, &plain(DataType::Utf8), Some(INSERTED_TEXT))
                        .map_err(to_datafusion)?;
                    return Ok(Transformed::yes(Expr::Cast(Cast::new_from_field(
                        Box::new(text),
                        cast.field,
                    ))));
                }
                if differs(&from, cast.field.data_type()) {
                    let target = Arc::clone(&cast.field);
                    let to_text = *target.data_type() == DataType::Utf8;
                    let name = to_text.then_some(INSERTED_TEXT);
                    Ok(Transformed::yes(
                        cast_named(*cast.expr, &target, name).map_err(to_datafusion)?,
                    ))
                } else {
                    Ok(Transformed::no(Expr::Cast(cast)))
                }
            }
            other => Ok(Transformed::no(other)),
        })
    }

    fn name(&self) -> &str {
        "postgres_casts"
    }
}

/// A cast of a literal becomes a literal at once, as in PostgreSQL, so that comparisons with it are seen to be infallible.
fn fold_cast(call: ScalarFunction) -> Result<Transformed<Expr>> {
    let target = target_of(&call).filter(|_| call.func.name().starts_with(CAST_PREFIX)).cloned();
    match (target, call.args.as_slice()) {
        (Some(target), [Expr::Literal(..)]) => {
            let name = call.func.name().to_owned();
            let literal = call.args.into_iter().next().expect("the pattern has one argument");
            cast_named(literal, &target, Some(&name)).map(Transformed::yes)
        }
        _ => Ok(Transformed::no(Expr::ScalarFunction(call))),
    }
}

/// Functions whose arguments PostgreSQL itself takes in any type.
const TAKES_ANYTHING: &[&str] =
    &["concat", "concat_ws", "coalesce", "nullif", "greatest", "least", "array_to_string"];

/// PostgreSQL never turns a number or a date into text for a function's sake: `lower(1)` does not exist.
fn refuse_implicit_text(call: &ScalarFunction, schema: &DFSchema) -> DfResult<()> {
    let name = call.func.name();
    if TAKES_ANYTHING.contains(&name) || name.starts_with("array_") || name.starts_with("make_") {
        return Ok(());
    }
    // Casts are replaced bottom-up, so an inserted one is already a cast function when its caller is seen.
    let inner = |arg: &Expr| match without_cast(arg) {
        Expr::ScalarFunction(cast) if cast.func.name() == INSERTED_TEXT => {
            cast.args.first().cloned()
        }
        _ => None,
    };
    if !call.args.iter().any(|arg| inner(arg).is_some()) {
        return Ok(());
    }
    let names = call
        .args
        .iter()
        .map(|arg| Ok(pg_name(&inner(arg).unwrap_or_else(|| arg.clone()).to_field(schema)?.1)))
        .collect::<DfResult<Vec<String>>>()?;
    Err(to_datafusion(undefined_function(name, &names)))
}

fn without_cast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(cast) => without_cast(&cast.expr),
        other => other,
    }
}

/// The name of the cast that coercion to text becomes; casts that were written have the prefix `cast:`.
pub(super) const INSERTED_TEXT: &str = "implicit:text";

/// Whether Arrow's cast may give another value, another text or another error than PostgreSQL's.
fn differs(from: &DataType, to: &DataType) -> bool {
    let text = |t: &DataType| {
        matches!(t, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 | DataType::Null)
    };
    match (from, to) {
        (f, t) if text(f) && text(t) => false,
        (_, DataType::Utf8View | DataType::LargeUtf8) => false,
        (f, DataType::Utf8) => !text(f),
        (DataType::List(f), DataType::List(t)) => differs(f.data_type(), t.data_type()),
        (DataType::Timestamp(_, f), DataType::Timestamp(_, t)) => f.is_some() != t.is_some(),
        // Units and widths that PostgreSQL does not have only appear inside DataFusion's own functions.
        (_, t)
            if super::sql_types::canonical_field(&Field::new("", t.clone(), true)).data_type()
                != t =>
        {
            false
        }
        (f, t) => may_fail(f, t),
    }
}
