//! Aggregates WITHIN GROUP, written with those that there are.
//!
//! `percentile_cont(f) WITHIN GROUP (ORDER BY x)` becomes a function of `f` and `array_agg(x ORDER BY x)`, as do percentile_disc
//! and mode: what a view keeps of a group is what array_agg keeps, its values in order. `rank(v) WITHIN GROUP (ORDER BY x)` and the
//! like only count the rows before `v`. Rewrites the parsed query alone.

use sqlparser::ast::{
    BinaryOperator as Op, CaseWhen, CastKind, DataType, DuplicateTreatment, Expr, Function,
    FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments,
    Ident, ObjectName, ObjectNamePart, OrderByExpr, Value,
};

use super::spelling::{call, is_named};
use crate::error::{Error, Result};

/// An aggregate and the function of what is collected for it.
const COLLECTED: &[(&str, &str, usize)] = &[
    ("percentile_cont", "percentile_cont:of", 1),
    ("percentile_disc", "percentile_disc:of", 1),
    ("mode", "mode:of", 0),
];

/// What is told of a row that is not there.
const HYPOTHETICAL: &[&str] = &["rank", "dense_rank", "percent_rank", "cume_dist"];

/// Rewrites a call of one of them.
pub(super) fn respell(expr: &mut Expr) -> Result<()> {
    let Expr::Function(function) = expr else { return Ok(()) };
    if function.within_group.is_empty() {
        return Ok(());
    }
    let Some(args) = arguments(function) else { return Ok(()) };
    let kinds = COLLECTED.iter().find(|(name, ..)| is_named(function, name));
    let hypothetical = HYPOTHETICAL.iter().find(|name| is_named(function, name));
    if kinds.is_none() && hypothetical.is_none() {
        return Ok(());
    }
    if function.over.is_some() {
        let message = format!("OVER is not supported for ordered-set aggregate {}", function.name);
        return Err(Error::unsupported(message));
    }
    let replaced = match (kinds, hypothetical) {
        (Some((_, of, count)), _) if args.len() == *count && function.within_group.len() == 1 => {
            Some(collected(of, args, function))
        }
        (_, Some(name)) if args.len() == function.within_group.len() => {
            hypothetically(name, &args, function)
        }
        _ => None,
    };
    if let Some(replaced) = replaced {
        *expr = replaced;
    }
    Ok(())
}

fn arguments(function: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    if list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
        return None;
    }
    let plain = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) => Some(arg.clone()),
        _ => None,
    };
    list.args.iter().map(plain).collect()
}

fn collected(of: &str, mut args: Vec<Expr>, function: &Function) -> Expr {
    let order = function.within_group[0].clone();
    let value = order.expr.clone();
    let known = Expr::IsNotNull(boxed(value.clone()));
    let clauses = vec![FunctionArgumentClause::OrderBy(vec![order])];
    args.push(aggregate("array_agg", vec![value], clauses, false, both(known, function)));
    call(of, args)
}

/// The rank of a row with these values among those that there are.
fn hypothetically(name: &str, values: &[Expr], function: &Function) -> Option<Expr> {
    let order = &function.within_group;
    let before = before(values, order);
    let counted = |wanted: Option<Expr>| {
        let filter = match (wanted, &function.filter) {
            (Some(wanted), _) => both(wanted, function),
            (None, filter) => filter.as_ref().map(|filter| filter.as_ref().clone()),
        };
        count(vec![], false, filter)
    };
    let rows_before = counted(Some(before.clone()));
    let counts = match name {
        "rank" => binary(rows_before, Op::Plus, number("1")),
        "dense_rank" => {
            let [key] = order.as_slice() else { return None };
            let distinct = count(vec![key.expr.clone()], true, both(before.clone(), function));
            let null = binary(Expr::IsNull(boxed(key.expr.clone())), Op::And, before);
            let nulls = count(vec![], false, both(null, function));
            let one = case(binary(nulls, Op::Gt, number("0")), number("1"), number("0"));
            binary(binary(distinct, Op::Plus, one), Op::Plus, number("1"))
        }
        "percent_rank" => {
            let share = binary(fraction(rows_before), Op::Divide, counted(None));
            case(binary(counted(None), Op::Eq, number("0")), fraction(number("0")), share)
        }
        _ => {
            let same = values.iter().zip(order).map(|(value, key)| same(value, key));
            let same = same.reduce(|all, same| binary(all, Op::And, same))?;
            let up_to = counted(Some(binary(before, Op::Or, nested(same))));
            let up_to = fraction(binary(up_to, Op::Plus, number("1")));
            binary(up_to, Op::Divide, nested(binary(counted(None), Op::Plus, number("1"))))
        }
    };
    Some(nested(counts))
}

/// Whether a row stands before one with these values.
fn before(values: &[Expr], order: &[OrderByExpr]) -> Expr {
    let (value, key) = (&values[0], &order[0]);
    let descending = key.options.asc == Some(false);
    let nulls_first = key.options.nulls_first.unwrap_or(descending);
    let op = if descending { Op::Gt } else { Op::Lt };
    let null = |expr: &Expr| Expr::IsNull(boxed(expr.clone()));
    let known = |expr: &Expr| Expr::IsNotNull(boxed(expr.clone()));
    // Unknown is as good as false: nobody negates it.
    let compared = nested(binary(key.expr.clone(), op, value.clone()));
    let by_null = match nulls_first {
        true => binary(null(&key.expr), Op::And, known(value)),
        false => binary(known(&key.expr), Op::And, null(value)),
    };
    let first = binary(compared, Op::Or, nested(by_null));
    if values.len() == 1 {
        return nested(first);
    }
    let rest = before(&values[1..], &order[1..]);
    nested(binary(first, Op::Or, nested(binary(same(value, key), Op::And, rest))))
}

fn same(value: &Expr, key: &OrderByExpr) -> Expr {
    Expr::IsNotDistinctFrom(boxed(key.expr.clone()), boxed(value.clone()))
}

/// A condition together with the call's own FILTER.
fn both(condition: Expr, function: &Function) -> Option<Expr> {
    Some(match &function.filter {
        Some(filter) => binary(nested(filter.as_ref().clone()), Op::And, condition),
        None => condition,
    })
}

fn count(args: Vec<Expr>, distinct: bool, filter: Option<Expr>) -> Expr {
    aggregate("count", args, vec![], distinct, filter)
}

/// A call of an aggregate; without arguments over whole rows.
fn aggregate(
    name: &str,
    args: Vec<Expr>,
    clauses: Vec<FunctionArgumentClause>,
    distinct: bool,
    filter: Option<Expr>,
) -> Expr {
    let args = match args.is_empty() {
        true => vec![FunctionArg::Unnamed(FunctionArgExpr::Wildcard)],
        false => args.into_iter().map(|a| FunctionArg::Unnamed(FunctionArgExpr::Expr(a))).collect(),
    };
    let duplicate_treatment = distinct.then_some(DuplicateTreatment::Distinct);
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment, args, clauses }),
        filter: filter.map(Box::new),
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

fn boxed(expr: Expr) -> Box<Expr> {
    Box::new(expr)
}

fn nested(expr: Expr) -> Expr {
    Expr::Nested(boxed(expr))
}

fn binary(left: Expr, op: Op, right: Expr) -> Expr {
    Expr::BinaryOp { left: boxed(left), op, right: boxed(right) }
}

fn number(text: &str) -> Expr {
    Expr::Value(Value::Number(text.to_owned(), false).into())
}

/// As double precision.
fn fraction(expr: Expr) -> Expr {
    let mut cast = Expr::Cast {
        kind: CastKind::Cast,
        expr: boxed(expr),
        data_type: DataType::DoublePrecision,
        array: false,
        format: None,
    };
    super::spelling::respell(&mut cast);
    cast
}

fn case(condition: Expr, result: Expr, otherwise: Expr) -> Expr {
    Expr::Case {
        case_token: sqlparser::ast::helpers::attached_token::AttachedToken::empty(),
        end_token: sqlparser::ast::helpers::attached_token::AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition, result }],
        else_result: Some(boxed(otherwise)),
    }
}
