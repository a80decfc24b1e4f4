//! PostgreSQL's spellings in any statement: `pg_catalog.` before functions, operators and types, `OPERATOR(...)`, `COLLATE`,
//! casts to regclass and its like, and words such as `current_user` that are calls without parentheses.

use std::ops::ControlFlow;

use sqlparser::ast::{
    self, BinaryOperator, DataType, Expr, FunctionArguments, Ident, ObjectName, Query, SelectItem,
    SetExpr, TableFactor, VisitorMut,
};

use super::nodes::{call, first_argument, function_name, is_oid_column, take};
use super::rewrite::Never;
use crate::sql::{expr_name, fold_identifier};

/// Words that are functions although no parentheses follow.
const REGISTERS: &[&str] =
    &["current_user", "session_user", "user", "current_role", "current_catalog", "current_schema"];

/// Types that are names to read and numbers to compare.
const REG_TYPES: &[&str] =
    &["regclass", "regtype", "regnamespace", "regproc", "regprocedure", "regrole"];

pub(super) struct Spelling {
    /// How many queries enclose the current place.
    pub depth: usize,
}

impl VisitorMut for Spelling {
    type Break = Never;

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Never> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Never> {
        self.depth -= 1;
        if self.depth == 0
            && let SetExpr::Select(select) = &mut *query.body
        {
            select.projection.iter_mut().for_each(show_name);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Never> {
        match factor {
            // A function without arguments, whose rows are a relation here.
            TableFactor::Table { name, args: args @ Some(_), .. }
                if function_name(name) == "pg_get_keywords" =>
            {
                *args = None;
                *name =
                    ObjectName::from(vec![Ident::new("pg_catalog"), Ident::new("pg_get_keywords")]);
            }
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => {
                unqualify(name)
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Never> {
        respell(expr);
        ControlFlow::Continue(())
    }
}

fn respell(expr: &mut Expr) {
    match expr {
        Expr::Function(function) => {
            unqualify(&mut function.name);
            if matches!(function.args, FunctionArguments::None) && is_register(&function.name) {
                *expr = call(&function_name(&function.name), vec![]);
            }
        }
        Expr::Identifier(ident) if ident.quote_style.is_none() => {
            let name = fold_identifier(ident);
            if REGISTERS.contains(&name.as_str()) {
                *expr = call(&name, vec![]);
            }
        }
        // `pg_catalog.pg_class.oid`; no relation is called so twice in a query that writes its columns like this.
        Expr::CompoundIdentifier(parts)
            if parts.len() == 3 && fold_identifier(&parts[0]) == "pg_catalog" =>
        {
            parts.remove(0);
        }
        Expr::BinaryOp { op, left, right } => {
            respell_operator(op);
            compare_numbers(left, right);
            compare_numbers(right, left);
        }
        Expr::Collate { expr: inner, collation } if is_bytewise(collation) => *expr = take(inner),
        Expr::Cast { expr: inner, data_type, .. } => {
            unqualify_type(data_type);
            if let Some(cast) = oid_cast(inner, data_type) {
                *expr = cast;
            }
        }
        _ => {}
    }
}

/// Drops `pg_catalog.` before a name.
fn unqualify(name: &mut ObjectName) {
    let qualified = match name.0.as_slice() {
        [schema, _] => schema.as_ident().is_some_and(|s| fold_identifier(s) == "pg_catalog"),
        _ => false,
    };
    if qualified {
        name.0.remove(0);
    }
}

fn unqualify_type(data_type: &mut DataType) {
    match data_type {
        DataType::Custom(name, modifiers) if name.0.len() == 2 => {
            unqualify(name);
            let written = match modifiers.is_empty() {
                true => name.to_string(),
                false => format!("{name}({})", modifiers.join(", ")),
            };
            if let Ok(parsed) = crate::sql::parse_data_type(&written) {
                *data_type = parsed;
            }
        }
        DataType::Array(ast::ArrayElemTypeDef::SquareBracket(element, _)) => {
            unqualify_type(element)
        }
        _ => {}
    }
}

/// Collations that compare byte by byte, as Tidewater does.
fn is_bytewise(collation: &ObjectName) -> bool {
    let last = collation.0.last().and_then(|part| part.as_ident());
    last.is_some_and(|ident| {
        ["default", "c", "posix", "c.utf-8", "ucs_basic"]
            .contains(&ident.value.to_lowercase().as_str())
    })
}

/// `OPERATOR(pg_catalog.~)` as `~`.
fn respell_operator(op: &mut BinaryOperator) {
    let BinaryOperator::PGCustomBinaryOperator(parts) = op else { return };
    let Some((symbol, [] | [_])) = parts.split_last() else { return };
    if parts.len() == 2 && parts[0] != "pg_catalog" {
        return;
    }
    let plain = match symbol.as_str() {
        "~" => BinaryOperator::PGRegexMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "~~" => BinaryOperator::PGLikeMatch,
        "!~~" => BinaryOperator::PGNotLikeMatch,
        "=" => BinaryOperator::Eq,
        "<>" | "!=" => BinaryOperator::NotEq,
        "<" => BinaryOperator::Lt,
        "<=" => BinaryOperator::LtEq,
        ">" => BinaryOperator::Gt,
        ">=" => BinaryOperator::GtEq,
        "+" => BinaryOperator::Plus,
        "-" => BinaryOperator::Minus,
        "*" => BinaryOperator::Multiply,
        "/" => BinaryOperator::Divide,
        "||" => BinaryOperator::StringConcat,
        _ => return,
    };
    *op = plain;
}

/// Casts to and from OIDs and their named kinds; `None` leaves the cast as it is.
fn oid_cast(inner: &mut Expr, data_type: &DataType) -> Option<Expr> {
    if matches!(data_type, DataType::Array(_)) {
        return None;
    }
    let type_name = crate::sql::type_name(data_type);
    if REG_TYPES.contains(&type_name.as_str()) {
        let type_name = if type_name == "regprocedure" { "regproc" } else { &type_name };
        let is_name = matches!(inner, Expr::Value(_));
        let direction = if is_name { "in" } else { "out" };
        return Some(call(&format!("{type_name}_{direction}"), vec![take(inner)]));
    }
    match type_name.as_str() {
        "oid" | "xid" => {
            renamed_in(inner);
            Some(call("oid_in", vec![take(inner)]))
        }
        "text" | "varchar" | "name" => {
            let type_name = reg_call(inner, "_in")?;
            Some(call(&format!("{type_name}_out"), vec![take(inner)]))
        }
        _ => None,
    }
}

/// The type's name, when the expression is a call of its in or out function.
fn reg_call(expr: &Expr, suffix: &str) -> Option<String> {
    let Expr::Function(function) = expr else { return None };
    let name = function_name(&function.name);
    // `to_regclass(x)` is `x::regclass`, but for names that are not there.
    let found = name.strip_prefix("to_").filter(|_| suffix == "_in");
    let type_name = found.or_else(|| name.strip_suffix(suffix))?;
    REG_TYPES.contains(&type_name).then(|| type_name.to_owned())
}

/// A cast to regclass that is compared with an OID is the number.
fn compare_numbers(side: &mut Expr, other: &Expr) {
    if is_oid_column(other) || reg_call(other, "_in").is_some() {
        renamed_in(side);
    }
}

/// `regclass_out(x)` becomes `regclass_in(x)`.
fn renamed_in(expr: &mut Expr) {
    if let Some(type_name) = reg_call(expr, "_out")
        && let Expr::Function(function) = expr
    {
        function.name = ObjectName::from(vec![Ident::new(format!("{type_name}_in"))]);
    }
}

/// `SELECT 't'::regclass` shows the name.
fn show_name(item: &mut SelectItem) {
    let SelectItem::UnnamedExpr(expr) = item else { return };
    if let Some(type_name) = reg_call(expr, "_in") {
        let alias = expr_name(expr);
        let alias = if alias.starts_with("to_") { alias } else { type_name.clone() };
        *item = SelectItem::ExprWithAlias {
            expr: call(&format!("{type_name}_out"), vec![take(expr)]),
            alias: Ident::with_quote('"', alias),
        };
    } else if let Some(type_name) = reg_call(expr, "_out") {
        // A cast is called like the column inside of it.
        let Expr::Function(function) = &*expr else { return };
        let name = first_argument(function).map(expr_name).filter(|name| name != "?column?");
        let alias = Ident::with_quote('"', name.unwrap_or(type_name));
        *item = SelectItem::ExprWithAlias { expr: take(expr), alias };
    }
}

fn is_register(name: &ObjectName) -> bool {
    REGISTERS.contains(&function_name(name).as_str())
}
