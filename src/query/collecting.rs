//! Aggregates that make one value of what array_agg collects: jsonb_agg, jsonb_object_agg and json's.
//!
//! `jsonb_agg(x ORDER BY y)` becomes a function of `array_agg(x ORDER BY y)`. So DISTINCT, FILTER, ORDER BY, frames, ties and
//! what a view keeps are array_agg's, and a failing value is a failing row of the result. Rewrites the parsed query alone.

use sqlparser::ast::{Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident};

use super::functions::records::PAIR;
use super::spelling::{call, is_named};

/// An aggregate and the function of what is collected for it.
const COLLECTING: &[(&str, &str, usize)] = &[
    ("jsonb_agg", "jsonb:agg", 1),
    ("json_agg", "json:agg", 1),
    ("jsonb_object_agg", "jsonb:object_agg", 2),
    ("json_object_agg", "json:object_agg", 2),
];

/// Functions whose arguments may be a relation's name, which is its row.
const OF_ROWS: &[&str] = &[
    "to_json",
    "to_jsonb",
    "row_to_json",
    "json_build_array",
    "json_build_object",
    "jsonb_build_array",
    "jsonb_build_object",
    "array_agg",
];

/// Rewrites a call of one of them.
pub(super) fn respell(expr: &mut Expr) {
    let Expr::Function(function) = expr else { return };
    if OF_ROWS.iter().any(|name| is_named(function, name)) {
        return super::marks::respell_rows(function);
    }
    if is_named(function, "regr_count") && takes(function, 2) {
        // Rows in which neither is NULL.
        function.name.0[0] = sqlparser::ast::ObjectNamePart::Identifier(Ident::new("count"));
        return;
    }
    let known = COLLECTING.iter().find(|(name, ..)| is_named(function, name));
    let Some((_, finish, arguments)) = known else { return };
    if !takes(function, *arguments) {
        return;
    }
    let mut collect = function.clone();
    super::marks::respell_rows(&mut collect);
    if *arguments == 2 {
        pair_arguments(&mut collect);
    }
    collect.name.0.truncate(1);
    collect.name.0[0] = sqlparser::ast::ObjectNamePart::Identifier(Ident::new("array_agg"));
    *expr = call(finish, vec![Expr::Function(collect)]);
}

fn takes(function: &Function, arguments: usize) -> bool {
    match &function.args {
        FunctionArguments::List(list) => {
            let plain =
                |arg: &FunctionArg| matches!(arg, FunctionArg::Unnamed(FunctionArgExpr::Expr(_)));
            list.args.len() == arguments && list.args.iter().all(plain)
        }
        _ => false,
    }
}

/// A name and a value are collected as one.
fn pair_arguments(function: &mut Function) {
    let FunctionArguments::List(list) = &mut function.args else { return };
    let args = std::mem::take(&mut list.args).into_iter().filter_map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) => Some(arg),
        _ => None,
    });
    let pair = call(PAIR, args.collect());
    list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(pair))];
}
