//! Small expressions of the syntax tree, recognised and made: the vocabulary of the rewrites.

use sqlparser::ast::{
    self, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArgumentList, FunctionArguments, Ident, ObjectName, OrderByExpr, Query, SetExpr, Value,
};

use super::columns;
use crate::sql::fold_identifier;

pub(super) fn is_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
}

pub(super) fn is_oid_column(expr: &Expr) -> bool {
    let ident = match expr {
        Expr::Identifier(ident) => Some(ident),
        Expr::CompoundIdentifier(parts) => parts.last(),
        _ => None,
    };
    ident.is_some_and(|ident| columns::is_oid_column(&fold_identifier(ident)))
}

pub(super) fn string_literal(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// A function's bare name, folded.
pub(super) fn function_name(name: &ObjectName) -> String {
    name.0.last().and_then(|part| part.as_ident()).map(fold_identifier).unwrap_or_default()
}

pub(super) fn argument(arg: &FunctionArg) -> Option<&Expr> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

pub(super) fn first_argument(function: &Function) -> Option<&Expr> {
    match &function.args {
        FunctionArguments::List(list) => list.args.first().and_then(argument),
        FunctionArguments::None | FunctionArguments::Subquery(_) => None,
    }
}

pub(super) fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::value(Value::Null))
}

pub(super) fn number(text: String) -> Expr {
    Expr::value(Value::Number(text, false))
}

pub(super) fn boolean(value: bool) -> Expr {
    Expr::value(Value::Boolean(value))
}

/// `CAST(NULL AS element[])`
pub(super) fn null_array(element: DataType) -> Expr {
    let array = ast::ArrayElemTypeDef::SquareBracket(Box::new(element), None);
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(Expr::value(Value::Null)),
        data_type: DataType::Array(array),
        array: false,
        format: None,
    }
}

pub(super) fn null_text() -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(Expr::value(Value::Null)),
        data_type: DataType::Text,
        array: false,
        format: None,
    }
}

pub(super) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args =
        args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    function(name, args, vec![])
}

pub(super) fn aggregate(name: &str, arg: Expr, order: Vec<OrderByExpr>) -> Expr {
    let clauses =
        if order.is_empty() { vec![] } else { vec![FunctionArgumentClause::OrderBy(order)] };
    function(name, vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))], clauses)
}

pub(super) fn function(
    name: &str,
    args: Vec<FunctionArg>,
    clauses: Vec<FunctionArgumentClause>,
) -> Expr {
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses,
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

/// A placeholder for a query that is moved elsewhere.
pub(super) fn empty_query() -> Query {
    Query {
        with: None,
        body: Box::new(SetExpr::Values(ast::Values {
            explicit_row: false,
            value_keyword: false,
            rows: vec![],
        })),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: vec![],
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: vec![],
    }
}
