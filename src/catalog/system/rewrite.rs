//! Brings the queries that psql and drivers send about the catalog into a form that DataFusion plans, without changing their answer.
//!
//! Two passes over the parsed statement. [`Spelling`] is for every statement: `pg_catalog.` before functions, operators and types,
//! `OPERATOR(...)`, `COLLATE`, casts to regclass and its like, and words such as `current_user`. [`SystemQuery`] is for
//! statements that read system relations only, because it uses what is known of them: that some are always empty, that OIDs are
//! compared with quoted numbers, and that their scalar subqueries find at most one row.

use std::ops::ControlFlow;

use sqlparser::ast::{
    self, Array, BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArgumentList, FunctionArguments, Ident, JoinOperator,
    ObjectName, OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr, TableFactor, Value,
    Visit, VisitMut, Visitor, VisitorMut,
};

use super::relations::is_always_empty;
use super::{columns, is_system_table};
use crate::sql::{expr_name, fold_identifier, referenced_relations};

/// Rewrites a query, a statement or an expression in place.
pub fn rewrite_for_catalog<V: Visit + VisitMut>(node: &mut V) {
    let system = referenced_relations(node).iter().any(|name| match &name.schema {
        Some(schema) => schema == "pg_catalog" || schema == "information_schema",
        None => is_system_table("pg_catalog", &name.name),
    });
    let ControlFlow::Continue(()) = VisitMut::visit(node, &mut Spelling { depth: 0 });
    if system {
        let ControlFlow::Continue(()) = VisitMut::visit(node, &mut SystemQuery);
    }
}

type Never = std::convert::Infallible;

/// Words that are functions although no parentheses follow.
const REGISTERS: &[&str] =
    &["current_user", "session_user", "user", "current_role", "current_catalog", "current_schema"];

/// Types that are names to read and numbers to compare.
const REG_TYPES: &[&str] =
    &["regclass", "regtype", "regnamespace", "regproc", "regprocedure", "regrole"];

struct Spelling {
    /// How many queries enclose the current place.
    depth: usize,
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
    let type_name = crate::sql::type_name(data_type);
    if REG_TYPES.contains(&type_name.as_str()) {
        let type_name = if type_name == "regprocedure" { "regproc" } else { &type_name };
        let is_name = matches!(inner, Expr::Value(_));
        let direction = if is_name { "in" } else { "out" };
        return Some(call(&format!("{type_name}_{direction}"), vec![take(inner)]));
    }
    match type_name.as_str() {
        // Already a number.
        "oid" | "xid" if reg_call(inner, "_in").is_some() => Some(take(inner)),
        "oid" | "xid" => {
            renamed_in(inner);
            if reg_call(inner, "_in").is_some() {
                Some(take(inner))
            } else {
                Some(call("oid_in", vec![take(inner)]))
            }
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
    let type_name = name.strip_suffix(suffix)?;
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
        *item = SelectItem::ExprWithAlias {
            expr: call(&format!("{type_name}_out"), vec![take(expr)]),
            alias: Ident::with_quote('"', type_name),
        };
    } else if let Some(type_name) = reg_call(expr, "_out") {
        // A cast is called like the column inside of it.
        let Expr::Function(function) = &*expr else { return };
        let name = first_argument(function).map(expr_name).filter(|name| name != "?column?");
        let alias = Ident::with_quote('"', name.unwrap_or(type_name));
        *item = SelectItem::ExprWithAlias { expr: take(expr), alias };
    }
}

struct SystemQuery;

impl VisitorMut for SystemQuery {
    type Break = Never;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Never> {
        simplify_empty(&mut query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Never> {
        simplify(expr);
        ControlFlow::Continue(())
    }
}

fn simplify(expr: &mut Expr) {
    match expr {
        Expr::Exists { subquery, negated } if is_empty(&subquery.body) => *expr = boolean(*negated),
        Expr::InSubquery { subquery, negated, .. } if is_empty(&subquery.body) => {
            *expr = boolean(*negated)
        }
        Expr::Subquery(query) if is_empty(&query.body) => *expr = null_text(),
        Expr::Subquery(query) => {
            if let SetExpr::Select(select) = &mut *query.body
                && query.limit_clause.is_none()
                && is_correlated(select)
            {
                single_row(select);
            }
        }
        Expr::Function(function) if function_name(&function.name) == "array" => {
            if let FunctionArguments::Subquery(query) = &mut function.args
                && let Some(array) = array_of(query)
            {
                *expr = array;
            }
        }
        Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => match &mut **right {
            Expr::Subquery(query) => {
                let subquery = std::mem::replace(query, Box::new(empty_query()));
                *expr = Expr::InSubquery { expr: Box::new(take(left)), subquery, negated: false };
            }
            literal => array_literal(literal),
        },
        Expr::AllOp { right, .. } => array_literal(right),
        Expr::BinaryOp { left, op, right } if op.is_comparison() => {
            number_literal(left, right);
            number_literal(right, left);
            array_literal(left);
            array_literal(right);
        }
        Expr::InList { expr: tested, list, .. } => {
            list.iter_mut().for_each(|item| number_literal(item, tested))
        }
        _ => {}
    }
}

trait IsComparison {
    fn is_comparison(&self) -> bool;
}

impl IsComparison for BinaryOperator {
    fn is_comparison(&self) -> bool {
        use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
        matches!(self, Eq | NotEq | Lt | LtEq | Gt | GtEq)
    }
}

/// A SELECT without rows keeps its columns, but none of the expressions that DataFusion could not plan.
fn simplify_empty(body: &mut SetExpr) {
    match body {
        SetExpr::SetOperation { left, right, .. } => {
            simplify_empty(left);
            simplify_empty(right);
        }
        SetExpr::Select(select) if is_empty_select(select) => {
            for item in &mut select.projection {
                match item {
                    SelectItem::UnnamedExpr(expr) if is_hard(expr) => {
                        let alias = Ident::with_quote('"', expr_name(expr));
                        *item = SelectItem::ExprWithAlias { expr: null_text(), alias };
                    }
                    SelectItem::ExprWithAlias { expr, .. } if is_hard(expr) => *expr = null_text(),
                    _ => {}
                }
            }
            select.selection = Some(boolean(false));
        }
        _ => {}
    }
}

fn is_empty(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => is_empty_select(select),
        SetExpr::Query(query) => is_empty(&query.body),
        _ => false,
    }
}

/// Whether a SELECT has no rows because something it reads or joins with never has any.
fn is_empty_select(select: &Select) -> bool {
    let grouped = match &select.group_by {
        ast::GroupByExpr::Expressions(exprs, modifiers) => {
            !exprs.is_empty() || !modifiers.is_empty()
        }
        ast::GroupByExpr::All(_) => true,
    };
    if grouped || has_aggregate(select) {
        return false;
    }
    select.from.iter().any(|from| {
        let inner = from.joins.iter().filter(|join| {
            use JoinOperator::{CrossJoin, Inner, Join};
            matches!(join.join_operator, Inner(_) | Join(_) | CrossJoin(_))
        });
        let outer = from.joins.iter().any(|join| {
            use JoinOperator::{FullOuter, Right, RightOuter};
            matches!(join.join_operator, FullOuter(_) | Right(_) | RightOuter(_))
        });
        !outer
            && (is_empty_factor(&from.relation)
                || inner.into_iter().any(|join| is_empty_factor(&join.relation)))
    })
}

/// An always empty relation, or the elements of a column: the array columns of system relations that are unnested by
/// psql (options, tags) are null in all rows.
fn is_empty_factor(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::Table { name, args: None, .. } => {
            let last = name.0.last().and_then(|part| part.as_ident()).map(fold_identifier);
            last.is_some_and(|name| is_always_empty(&name))
        }
        TableFactor::Table { name, args: Some(args), .. } => {
            is_unnesting(name) && args.args.iter().any(|arg| argument(arg).is_some_and(is_column))
        }
        TableFactor::Function { name, args, .. } => {
            is_unnesting(name) && args.iter().any(|arg| argument(arg).is_some_and(is_column))
        }
        TableFactor::UNNEST { array_exprs, .. } => array_exprs.iter().any(is_column),
        _ => false,
    }
}

fn is_unnesting(name: &ObjectName) -> bool {
    ["unnest", "pg_options_to_table"].contains(&function_name(name).as_str())
}

fn is_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
}

/// Expressions that DataFusion does not plan at all, or not here.
fn is_hard(expr: &Expr) -> bool {
    struct Hard;

    impl Visitor for Hard {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Subquery(_)
                | Expr::Exists { .. }
                | Expr::InSubquery { .. }
                | Expr::AnyOp { .. }
                | Expr::AllOp { .. }
                | Expr::CompoundFieldAccess { .. } => ControlFlow::Break(()),
                Expr::Function(function)
                    if matches!(function.args, FunctionArguments::Subquery(_)) =>
                {
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }

    Visit::visit(expr, &mut Hard).is_break()
}

fn has_aggregate(select: &Select) -> bool {
    const AGGREGATES: &[&str] = &[
        "count",
        "sum",
        "min",
        "max",
        "avg",
        "array_agg",
        "string_agg",
        "bool_or",
        "bool_and",
        "every",
        "json_agg",
    ];

    /// Looks at the expressions of one SELECT and not into its subqueries.
    struct Aggregates(usize);

    impl Visitor for Aggregates {
        type Break = ();

        fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
            self.0 += 1;
            ControlFlow::Continue(())
        }

        fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
            self.0 -= 1;
            ControlFlow::Continue(())
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Function(f)
                    if self.0 == 0 && AGGREGATES.contains(&function_name(&f.name).as_str()) =>
                {
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }

    Visit::visit(&select.projection, &mut Aggregates(0)).is_break()
}

/// The names under which a SELECT's relations are known.
fn relation_names(select: &Select) -> Vec<String> {
    let factors = select.from.iter().flat_map(|from| {
        std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation))
    });
    let names = factors.filter_map(|factor| match factor {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. }
        | TableFactor::Function { alias: Some(alias), .. }
        | TableFactor::UNNEST { alias: Some(alias), .. } => Some(fold_identifier(&alias.name)),
        TableFactor::Table { name, alias: None, .. } => {
            name.0.last().and_then(|part| part.as_ident()).map(fold_identifier)
        }
        _ => None,
    });
    names.collect()
}

/// Whether a column is qualified with a relation that the SELECT itself does not have.
fn is_outer(expr: &Expr, own: &[String]) -> bool {
    match expr {
        Expr::CompoundIdentifier(parts) if parts.len() == 2 => {
            !own.contains(&fold_identifier(&parts[0]))
        }
        _ => false,
    }
}

fn is_correlated(select: &Select) -> bool {
    struct Outer<'a>(&'a [String]);

    impl Visitor for Outer<'_> {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if is_outer(expr, self.0) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }

    Visit::visit(select, &mut Outer(&relation_names(select))).is_break()
}

/// Makes a correlated scalar subquery an aggregate of its at most one row: DataFusion decorrelates only those. Outer columns are
/// replaced by the inner ones they equal, since it pulls up nothing but equalities through an aggregate.
fn single_row(select: &mut Select) {
    if has_aggregate(select) {
        return;
    }
    let own = relation_names(select);
    if let [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] =
        select.projection.as_mut_slice()
    {
        *expr = call("min", vec![take(expr)]);
        if let Some(condition) = &mut select.selection {
            let mut equal = vec![];
            equalities(condition, &own, &mut equal);
            replace_outer(condition, &own, &equal);
        }
    }
}

/// Pairs (outer column, inner column) of the condition's conjuncts.
fn equalities(condition: &Expr, own: &[String], found: &mut Vec<(Expr, Expr)>) {
    match condition {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            equalities(left, own, found);
            equalities(right, own, found);
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right }
            if is_column(left) && is_column(right) =>
        {
            match (is_outer(left, own), is_outer(right, own)) {
                (true, false) => found.push((Expr::clone(left), Expr::clone(right))),
                (false, true) => found.push((Expr::clone(right), Expr::clone(left))),
                _ => {}
            }
        }
        _ => {}
    }
}

fn replace_outer(condition: &mut Expr, own: &[String], equal: &[(Expr, Expr)]) {
    match condition {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            replace_outer(left, own, equal);
            replace_outer(right, own, equal);
        }
        // The equalities themselves stay: they are what is pulled up.
        Expr::BinaryOp { op: BinaryOperator::Eq, .. } => {}
        other => {
            let ControlFlow::Continue(()) = ast::visit_expressions_mut(other, |expr| {
                if let Some((_, inner)) = equal.iter().find(|(outer, _)| same_column(outer, expr)) {
                    *expr = inner.clone();
                }
                ControlFlow::<Never>::Continue(())
            });
        }
    }
}

fn same_column(a: &Expr, b: &Expr) -> bool {
    match (a, b) {
        (Expr::CompoundIdentifier(a), Expr::CompoundIdentifier(b)) => {
            a.iter().map(fold_identifier).eq(b.iter().map(fold_identifier))
        }
        _ => false,
    }
}

/// `ARRAY(SELECT x ... ORDER BY 1)` as an aggregate, empty where nothing is found.
fn array_of(query: &mut Query) -> Option<Expr> {
    if is_empty(&query.body) {
        return Some(call("empty_text_array", vec![]));
    }
    if query.limit_clause.is_some() || query.with.is_some() {
        return None;
    }
    let order = match query.order_by.take().map(|order| order.kind) {
        Some(OrderByKind::Expressions(exprs)) => exprs,
        _ => vec![],
    };
    let SetExpr::Select(select) = &mut *query.body else { return None };
    let [SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }] =
        select.projection.as_mut_slice()
    else {
        return None;
    };
    let is_number = is_oid_column(item);
    let element = item.clone();
    let order = order.into_iter().map(|order| by_value(order, &element)).collect::<Vec<_>>();
    *item = aggregate("array_agg", element, order);
    let array = Expr::Subquery(Box::new(std::mem::replace(query, empty_query())));
    // An array of numbers stays null when empty: its type is not that of an empty text array.
    Some(if is_number {
        array
    } else {
        call("coalesce", vec![array, call("empty_text_array", vec![])])
    })
}

/// `ORDER BY 1` inside of an aggregate would order by the number one.
fn by_value(mut order: OrderByExpr, element: &Expr) -> OrderByExpr {
    if matches!(&order.expr, Expr::Value(value) if matches!(value.value, Value::Number(..))) {
        order.expr = element.clone();
    }
    order
}

/// `'{r,v}'` as an array; elements that are all numbers become numbers.
fn array_literal(expr: &mut Expr) {
    let Some(text) = string_literal(expr) else { return };
    let Some(inner) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) else { return };
    let items: Vec<&str> = inner.split(',').map(|item| item.trim().trim_matches('"')).collect();
    let numbers = items.iter().all(|item| item.parse::<i64>().is_ok());
    let value = |item: &&str| match numbers {
        true => number((*item).to_owned()),
        false => Expr::value(Value::SingleQuotedString((*item).to_owned())),
    };
    let elem = items.iter().filter(|item| !item.is_empty()).map(value).collect();
    *expr = Expr::Array(Array { elem, named: true });
}

/// `'16384'` beside an OID column as a number.
fn number_literal(literal: &mut Expr, other: &Expr) {
    let Some(text) = string_literal(literal) else { return };
    if is_oid_column(other) && text.parse::<u32>().is_ok() {
        *literal = number(text);
    }
}

fn is_oid_column(expr: &Expr) -> bool {
    let ident = match expr {
        Expr::Identifier(ident) => Some(ident),
        Expr::CompoundIdentifier(parts) => parts.last(),
        _ => None,
    };
    ident.is_some_and(|ident| columns::is_oid_column(&fold_identifier(ident)))
}

fn string_literal(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}

fn is_register(name: &ObjectName) -> bool {
    REGISTERS.contains(&function_name(name).as_str())
}

/// A function's bare name, folded.
fn function_name(name: &ObjectName) -> String {
    name.0.last().and_then(|part| part.as_ident()).map(fold_identifier).unwrap_or_default()
}

fn argument(arg: &FunctionArg) -> Option<&Expr> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

fn first_argument(function: &Function) -> Option<&Expr> {
    match &function.args {
        FunctionArguments::List(list) => list.args.first().and_then(argument),
        FunctionArguments::None | FunctionArguments::Subquery(_) => None,
    }
}

fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::value(Value::Null))
}

fn number(text: String) -> Expr {
    Expr::value(Value::Number(text, false))
}

fn boolean(value: bool) -> Expr {
    Expr::value(Value::Boolean(value))
}

fn null_text() -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(Expr::value(Value::Null)),
        data_type: DataType::Text,
        array: false,
        format: None,
    }
}

fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args =
        args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    function(name, args, vec![])
}

fn aggregate(name: &str, arg: Expr, order: Vec<OrderByExpr>) -> Expr {
    let clauses =
        if order.is_empty() { vec![] } else { vec![FunctionArgumentClause::OrderBy(order)] };
    function(name, vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))], clauses)
}

fn function(name: &str, args: Vec<FunctionArg>, clauses: Vec<FunctionArgumentClause>) -> Expr {
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
fn empty_query() -> Query {
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
