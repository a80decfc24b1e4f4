//! Calls of `nextval('s')` and its kin in a default: kept with the sequence's number, so that they mean it under any name.

use std::ops::ControlFlow;

use sqlparser::ast::{
    self, DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Value, VisitMut,
    VisitorMut,
};

use super::canonical::quote_literal;
use super::{fold_identifier, parse_expr};
use crate::error::{Error, Result};

/// Functions whose first argument is a sequence.
const FUNCTIONS: &[&str] = &["nextval", "currval", "setval"];

/// Puts numbers in place of the names; `find` tells the number of a name as SQL writes it.
pub fn bind_sequences(expr: &mut Expr, find: &dyn Fn(&str) -> Result<u32>) -> Result<()> {
    visit(expr, &mut |argument| {
        if let Some(name) = constant_name(argument) {
            *argument = number(find(&name)?);
        }
        Ok(())
    })
}

/// Puts names in place of the numbers; where `name` has none the number stays.
pub fn show_sequences(expr: &mut Expr, name: &dyn Fn(u32) -> Option<String>) -> Result<()> {
    visit(expr, &mut |argument| {
        if let Some(name) = bound_number(argument).and_then(name) {
            let mut shown = parse_expr(&format!("{}::regclass", quote_literal(&name)))?;
            if let Expr::Cast { data_type, .. } = &mut shown {
                // As PostgreSQL shows it.
                *data_type = DataType::Custom(vec![Ident::new("regclass")].into(), vec![]);
            }
            *argument = shown;
        }
        Ok(())
    })
}

/// The numbers of the sequences that a default calls.
pub fn sequences_called(text: &str) -> Vec<u32> {
    let mut found = vec![];
    // Most defaults are none that are worth parsing.
    if !FUNCTIONS.iter().any(|function| text.contains(function)) {
        return found;
    }
    if let Ok(mut expr) = parse_expr(text) {
        let visited = visit(&mut expr, &mut |argument| {
            found.extend(bound_number(argument));
            Ok(())
        });
        debug_assert!(visited.is_ok(), "looking fails nowhere");
    }
    found
}

fn visit(expr: &mut Expr, each: &mut dyn FnMut(&mut Expr) -> Result<()>) -> Result<()> {
    struct Visitor<'a>(&'a mut dyn FnMut(&mut Expr) -> Result<()>);

    impl VisitorMut for Visitor<'_> {
        type Break = Box<Error>;

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
            match first_argument(expr).map_or(Ok(()), &mut self.0) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(Box::new(error)),
            }
        }
    }

    match expr.visit(&mut Visitor(each)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

/// The sequence that an expression calls for a number.
fn first_argument(expr: &mut Expr) -> Option<&mut Expr> {
    let Expr::Function(function) = expr else { return None };
    let name = fold_identifier(function.name.0.last()?.as_ident()?);
    if !FUNCTIONS.contains(&name.as_str()) {
        return None;
    }
    let FunctionArguments::List(list) = &mut function.args else { return None };
    match list.args.first_mut()? {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(argument)) => Some(argument),
        _ => None,
    }
}

/// The name in `'s'` and `'s'::regclass`.
fn constant_name(argument: &Expr) -> Option<String> {
    match argument {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(name) => Some(name.clone()),
            _ => None,
        },
        Expr::Cast { expr, data_type, .. } if *data_type == DataType::Regclass => {
            constant_name(expr)
        }
        _ => None,
    }
}

fn bound_number(argument: &Expr) -> Option<u32> {
    match argument {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

fn number(oid: u32) -> Expr {
    Expr::Value(ast::Value::Number(oid.to_string(), false).into())
}
