//! Parameters that stand for an argument of a function: `left(name, $1)` takes an integer, whatever nobody has said.
//!
//! PostgreSQL finds their types by choosing among the functions of the name; so does this, as far as the statement's text
//! tells: it knows no columns' types. Where the functions left disagree the parameter stays as it is, and takes its type
//! from elsewhere. A parameter whose type the client has named is left alone.

use std::ops::ControlFlow;

use arrow_schema::FieldRef;
use sqlparser::ast::{
    self, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Query, Value,
};

use super::fixed;
use super::nodes::function_name;
use crate::sql::fold_identifier;
use crate::types::PgType;

/// OIDs of the types of numbers, the one that PostgreSQL prefers among them, and integer.
const NUMBERS: [u32; 6] = [20, 21, 23, 700, 701, 1700];
const DOUBLE_PRECISION: u32 = 701;
const INTEGER: u32 = 23;

/// Types that are text anyway, and those whose parameters are texts to look up.
const LEFT_ALONE: &[&str] = &["text", "varchar", "bpchar", "name", "char", "oid", "regclass"];

/// Casts the parameters of a query that are arguments and have no type in `given` to what their functions take.
pub fn type_arguments(query: &mut Query, given: &[Option<FieldRef>]) {
    let ControlFlow::Continue(()) = ast::visit_expressions_mut(query, |expr| {
        if let Expr::Function(function) = expr {
            type_call(function, given);
        }
        ControlFlow::<super::rewrite::Never>::Continue(())
    });
}

/// What is known of an argument without its type.
#[derive(Clone, Copy, PartialEq)]
enum Known {
    Parameter,
    Integer,
    Number,
    /// A string, which has no type of its own.
    Open,
    Nothing,
}

fn type_call(function: &mut Function, given: &[Option<FieldRef>]) {
    if !is_builtin(function) {
        return;
    }
    let name = function_name(&function.name);
    let FunctionArguments::List(list) = &mut function.args else { return };
    let known: Vec<Known> = list.args.iter().map(|arg| known(arg, given)).collect();
    if !known.contains(&Known::Parameter) {
        return;
    }
    let candidates = candidates(&name, &known);
    for (at, arg) in list.args.iter_mut().enumerate() {
        if known[at] != Known::Parameter {
            continue;
        }
        let mut types: Vec<u32> = candidates.iter().map(|arguments| arguments[at]).collect();
        types.sort_unstable();
        types.dedup();
        if let Some(pg_type) = agreed(&types, &known)
            && let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = arg
            && let Ok(cast) = crate::sql::parse_expr(&format!("CAST({expr} AS {pg_type})"))
        {
            *expr = cast;
        }
    }
}

fn is_builtin(function: &Function) -> bool {
    match function.name.0.as_slice() {
        [_] => true,
        [schema, _] => schema.as_ident().is_some_and(|s| fold_identifier(s) == "pg_catalog"),
        _ => false,
    }
}

fn known(arg: &FunctionArg, given: &[Option<FieldRef>]) -> Known {
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) = arg else {
        return Known::Nothing;
    };
    match &value.value {
        Value::Placeholder(name) => {
            let number: Option<usize> = name.strip_prefix('$').and_then(|n| n.parse().ok());
            let number = number.and_then(|number| number.checked_sub(1));
            match number.map(|at| given.get(at).is_some_and(Option::is_some)) {
                Some(false) => Known::Parameter,
                Some(true) | None => Known::Nothing,
            }
        }
        Value::Number(digits, _) if digits.parse::<i32>().is_ok() => Known::Integer,
        Value::Number(..) => Known::Number,
        Value::SingleQuotedString(_) | Value::Null => Known::Open,
        _ => Known::Nothing,
    }
}

/// The argument types of the functions that may be meant, as many types as there are arguments.
fn candidates(name: &str, known: &[Known]) -> Vec<Vec<u32>> {
    let takes = |function: &&fixed::Function| {
        let most = function.arguments.len();
        !function.is_variadic
            && (most.saturating_sub(function.defaults)..=most).contains(&known.len())
    };
    let is_number = |known: &Known| matches!(known, Known::Integer | Known::Number);
    let functions = fixed::functions(name).filter(takes);
    let arguments = functions.map(|function| {
        let oids = function.arguments.iter().take(known.len());
        oids.map(|oid| u32::try_from(*oid).unwrap_or(0)).collect::<Vec<u32>>()
    });
    let fits = |arguments: &Vec<u32>| {
        let mut both = known.iter().zip(arguments);
        both.all(|(known, oid)| !is_number(known) || NUMBERS.contains(oid) || is_open(*oid))
    };
    let fitting: Vec<Vec<u32>> = arguments.filter(fits).collect();
    // Those that take the integers as they are come before those that convert them.
    let exact = |arguments: &Vec<u32>| {
        let both = known.iter().zip(arguments);
        both.filter(|(known, oid)| **known == Known::Integer && **oid == INTEGER).count()
    };
    let most = fitting.iter().map(exact).max().unwrap_or(0);
    fitting.into_iter().filter(|arguments| exact(arguments) == most).collect()
}

/// Whether a type stands for any other.
fn is_open(oid: u32) -> bool {
    PgType::of_oid(oid).is_none()
}

/// The type as SQL writes it, where one is left or PostgreSQL prefers one.
fn agreed(types: &[u32], known: &[Known]) -> Option<String> {
    let oid = match types {
        [one] => *one,
        // Nothing but numbers is possible, and no argument says which.
        several
            if !known.contains(&Known::Nothing)
                && several.iter().all(|oid| NUMBERS.contains(oid))
                && several.contains(&DOUBLE_PRECISION) =>
        {
            DOUBLE_PRECISION
        }
        _ => return None,
    };
    let pg_type = PgType::of_oid(oid)?;
    match PgType::of_oid(pg_type.element_oid) {
        Some(element) => Some(format!("{}[]", element.sql_name)),
        None => (!LEFT_ALONE.contains(&pg_type.name)).then(|| pg_type.sql_name.to_owned()),
    }
}
