//! PostgreSQL's spellings in the parsed query, rewritten to those DataFusion's SQL planner understands as PostgreSQL means.
//!
//! Owns the types of number literals (integer where it fits, else bigint, else numeric), casts and typed literals as calls
//! of cast functions, the names PostgreSQL gives to unnamed result columns, and constructs DataFusion plans with other
//! types (BETWEEN, negation). It knows no tables and no types of columns. Invariant: a rewritten
//! query means in DataFusion what the original means in PostgreSQL; numbers that count positions (ORDER BY 1, LIMIT) stay.

use std::collections::HashSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    AccessExpr, BinaryOperator, CastKind, DateTimeField, Distinct, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentList, FunctionArguments, GroupByExpr, Ident, Interval,
    LimitClause, ObjectName, ObjectNamePart, OrderByKind, Query, Select, SelectItem, SetExpr,
    Statement, TableFactor, TableWithJoins, TrimWhereField, TypedString, UnaryOperator, Value,
    VisitMut, VisitorMut, WindowFrameBound, WindowType,
};

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::arithmetic::Operation;
use super::cast::CAST_PREFIX;
use super::functions::similar::SIMILAR_TO;
use super::operators::integer_cast_name;
use super::row_comparison::{compare_rows, row_in_query, row_in_rows};
use super::{bags, row_comparison, row_sets, scopes};
use crate::error::{Error, Result, SqlState};
use crate::sql::{UNIQUE_MARK, type_name};

/// The column's name as a client sees it.
pub fn visible_name(name: &str) -> &str {
    name.split(UNIQUE_MARK).next().unwrap_or(name)
}

/// Rewrites a query in place. Two relations of one name in a FROM are 42712.
pub(super) fn rewrite(query: &mut Query) -> Result<()> {
    bags::number_equal_rows(query)?;
    scopes::qualify_outer_references(query);
    match query.visit(&mut Speller { depth: 0 }) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Rewrites a single expression in place, as for defaults and other expressions without a query.
pub(super) fn rewrite_expr(expr: &mut Expr) -> Result<()> {
    match expr.visit(&mut Speller { depth: 0 }) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Speller {
    /// How many queries enclose the current position.
    depth: usize,
}

impl VisitorMut for Speller {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        self.depth += 1;
        if let Err(error) = row_sets::refuse_misplaced_behind(query) {
            return ControlFlow::Break(error);
        }
        if let Some(order_by) = &mut query.order_by
            && let OrderByKind::Expressions(exprs) = &mut order_by.kind
        {
            exprs.iter_mut().for_each(|order| rewrite_own(&mut order.expr, row_sets::respell));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        super::output::check_width(select)?;
        if let Err(error) = row_sets::refuse_misplaced(select) {
            return ControlFlow::Break(error);
        }
        if let Some(alias) = select.projection.iter().find_map(quoted_alias) {
            let message = format!("syntax error at or near \"{alias}\"");
            return ControlFlow::Break(Error::syntax(message));
        }
        name_columns(&mut select.projection, self.depth == 1);
        for item in &mut select.projection {
            if let SelectItem::ExprWithAlias { expr, .. } = item {
                rewrite_own(expr, row_sets::respell);
            }
        }
        if let GroupByExpr::Expressions(exprs, _) = &mut select.group_by {
            exprs.iter_mut().for_each(|expr| rewrite_own(expr, row_sets::respell));
        }
        if let Some(Distinct::On(exprs)) = &mut select.distinct {
            exprs.iter_mut().for_each(|expr| rewrite_own(expr, row_sets::respell));
        }
        match repeated_relation(&select.from) {
            Some(name) => ControlFlow::Break(Error::new(
                SqlState::DUPLICATE_ALIAS,
                format!("table name \"{name}\" specified more than once"),
            )),
            None => ControlFlow::Continue(()),
        }
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        let refused = unserved_literal(expr).or_else(|| row_sets::refused(expr));
        match refused.or_else(|| row_comparison::refused(expr)) {
            Some(error) => ControlFlow::Break(error),
            None => {
                super::forms::respell(expr);
                super::quantified::respell(expr);
                super::operators::respell(expr);
                respell(expr);
                super::collecting::respell(expr);
                let collected = super::array_rows::respell(expr).err();
                let collected = collected.or(super::ordered_sets::respell(expr).err());
                super::marks::respell(expr);
                match collected.or_else(|| super::windows::refused_frame(expr)) {
                    Some(error) => ControlFlow::Break(error),
                    None => ControlFlow::Continue(()),
                }
            }
        }
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        if let GroupByExpr::Expressions(exprs, _) = &mut select.group_by {
            exprs.iter_mut().for_each(keep_position);
        }
        if let Some(Distinct::On(exprs)) = &mut select.distinct {
            exprs.iter_mut().for_each(keep_position);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        self.depth -= 1;
        super::forms::respell_values(&mut query.body);
        if let SetExpr::Values(values) = query.body.as_mut() {
            super::literals::type_literals(&mut values.rows);
        }
        if let Some(order_by) = &mut query.order_by
            && let OrderByKind::Expressions(exprs) = &mut order_by.kind
        {
            exprs.iter_mut().for_each(|order| keep_position(&mut order.expr));
        }
        match &mut query.limit_clause {
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                limit.iter_mut().for_each(keep_position);
                offset.iter_mut().for_each(|offset| keep_position(&mut offset.value));
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => {
                keep_position(offset);
                keep_position(limit);
            }
            None => {}
        }
        if let Some(fetch) = &mut query.fetch {
            fetch.quantity.iter_mut().for_each(keep_position);
        }
        ControlFlow::Continue(())
    }
}

/// Rewrites an expression bottom-up; subqueries, which have names and forms of their own, are left alone.
pub(super) fn rewrite_own(expr: &mut Expr, rewrite: impl FnMut(&mut Expr)) {
    struct Own<F> {
        rewrite: F,
        depth: usize,
    }
    impl<F: FnMut(&mut Expr)> VisitorMut for Own<F> {
        type Break = ();

        fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
            self.depth += 1;
            ControlFlow::Continue(())
        }

        fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if self.depth == 0 {
                (self.rewrite)(expr);
            }
            ControlFlow::Continue(())
        }
    }
    let _ = expr.visit(&mut Own { rewrite, depth: 0 });
}

/// A name under which two relations of one FROM can be referred to.
fn repeated_relation(from: &[TableWithJoins]) -> Option<String> {
    let mut names = HashSet::new();
    from.iter()
        .flat_map(|item| {
            std::iter::once(&item.relation).chain(item.joins.iter().map(|join| &join.relation))
        })
        .filter_map(relation_name)
        .find(|name| !names.insert(name.clone()))
}

fn relation_name(relation: &TableFactor) -> Option<String> {
    match relation {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. } => Some(folded(&alias.name)),
        TableFactor::Table { name, alias: None, args: None, .. } if name.0.len() == 1 => {
            name.0[0].as_ident().map(folded)
        }
        _ => None,
    }
}

/// Undoes the typing of a bare number.
fn keep_position(expr: &mut Expr) {
    if let Some(number) = typed_number(expr) {
        *expr = Expr::Value(Value::Number(number, false).into());
    }
}

/// The digits of a number that was typed here.
pub(super) fn typed_number(expr: &Expr) -> Option<String> {
    let Expr::Function(function) = expr else {
        return None;
    };
    if function.name.0.first()?.as_ident()?.value != integer_cast_name() {
        return None;
    }
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value)))] => match &value.value {
            Value::Number(number, _) => Some(number.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// The text of a number that was typed as numeric here.
pub(super) fn open_numeric_text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Function(function) => cast_text(function, "numeric"),
        _ => None,
    }
}

/// Whether it is a number that was written as a numeric.
pub(super) fn is_numeric_literal(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => {
            matches!(&value.value, Value::Number(number, _) if number.contains('.'))
        }
        other => open_numeric_text(other).is_some(),
    }
}

/// The text that is cast to the type.
pub(super) fn cast_text(function: &Function, sql_type: &str) -> Option<String> {
    if function.name.0.first()?.as_ident()?.value != format!("{CAST_PREFIX}{sql_type}") {
        return None;
    }
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value)))] => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args =
        args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    Expr::Function(Function {
        name: ObjectName(vec![ObjectNamePart::Identifier(Ident::with_quote('"', name))]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

pub(super) fn cast(sql_type: &str, value: Expr) -> Expr {
    call(&format!("{CAST_PREFIX}{sql_type}"), vec![value])
}

pub(super) fn string(text: impl Into<String>) -> Expr {
    Expr::Value(Value::SingleQuotedString(text.into()).into())
}

/// Takes an expression out of the tree, which is about to be replaced.
pub(super) fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::Value(Value::Null.into()))
}

pub(super) fn respell(expr: &mut Expr) {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => {
                if let Some(typed) = number_literal(number) {
                    *expr = typed;
                }
            }
            Value::UnicodeStringLiteral(text) | Value::NationalStringLiteral(text) => {
                *expr = string(text.clone());
            }
            _ => {}
        },
        Expr::Cast {
            kind: CastKind::Cast | CastKind::DoubleColon,
            expr: inner,
            data_type,
            array: false,
            format: None,
        } => {
            let inner = super::literals::cast_operand(inner, data_type);
            *expr = cast(&data_type.to_string(), inner);
        }
        Expr::TypedString(TypedString { data_type, value, .. }) => {
            *expr = cast(&data_type.to_string(), Expr::Value(value.clone()));
        }
        Expr::Interval(interval) => {
            if let Some(text) = interval_text(interval) {
                *expr = cast("interval", string(text));
            }
        }
        Expr::CompoundFieldAccess { access_chain, .. } => {
            access_chain.iter_mut().for_each(super::subscripts::respell);
        }
        Expr::UnaryOp { op: UnaryOperator::Minus, expr: inner } => {
            let number = typed_number(inner).or_else(|| plain_number(inner));
            *expr = match number.or_else(|| open_numeric_text(inner)) {
                Some(number) => {
                    // The number may be negative already: `- -1`.
                    let number = match number.strip_prefix('-') {
                        Some(positive) => positive.to_owned(),
                        None => format!("-{number}"),
                    };
                    number_literal(&number)
                        .unwrap_or_else(|| Expr::Value(Value::Number(number, false).into()))
                }
                None => call(Operation::Negate.function_name(), vec![take(inner)]),
            };
        }
        Expr::BinaryOp { .. }
        | Expr::InList { .. }
        | Expr::InSubquery { .. }
        | Expr::Between { .. }
        | Expr::SimilarTo { .. } => respell_comparison(expr),
        // An ARRAY that is planned as such cannot refer to enclosing queries.
        Expr::Array(array) if !array.elem.is_empty() => {
            *expr = call("make_array", std::mem::take(&mut array.elem));
        }
        Expr::Function(function) => {
            respell_function(function);
            if let Some(operator) = operator_call(function) {
                *expr = operator;
            }
        }
        _ => {}
    }
}

/// An alias in single quotes, as it was written: sqlparser takes `'a' 'b'` for a column named b.
fn quoted_alias(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } if alias.quote_style == Some('\'') => {
            Some(format!("'{}'", alias.value))
        }
        _ => None,
    }
}

/// The refusal of a literal of a type that is not there.
fn unserved_literal(expr: &Expr) -> Option<Error> {
    let Expr::Value(value) = expr else { return None };
    matches!(value.value, Value::SingleQuotedByteStringLiteral(_) | Value::HexStringLiteral(_))
        .then(|| Error::unsupported("bit strings are not supported"))
}

/// The tree of a query that is written out here.
pub(super) fn template(sql: &str) -> Box<Query> {
    let mut statements =
        Parser::parse_sql(&PostgreSqlDialect {}, sql).expect("the template is SQL");
    let Some(Statement::Query(query)) = statements.pop() else {
        unreachable!("the template is a query")
    };
    query
}

/// Comparisons that stand for several, or for a function.
fn respell_comparison(expr: &mut Expr) {
    match expr {
        Expr::BinaryOp { left, op, right } => {
            if let (Expr::Tuple(left), Expr::Tuple(right)) = (left.as_ref(), right.as_ref())
                && let Some(compared) = compare_rows(left, op, right)
            {
                *expr = compared;
            }
        }
        Expr::InList { expr: row, list, negated } => {
            if let Expr::Tuple(row) = row.as_ref()
                && let Some(compared) = row_in_rows(row, list, *negated)
            {
                *expr = compared;
            }
        }
        Expr::InSubquery { expr: row, subquery, negated } => {
            if let Expr::Tuple(row) = row.as_ref()
                && let Some(compared) = row_in_query(row, subquery, *negated)
            {
                *expr = compared;
            }
        }
        Expr::Between { expr: value, negated, low, high } => {
            let (value, low, high) = (take(value), take(low), take(high));
            *expr = between(value, *negated, low, high);
        }
        Expr::SimilarTo { negated, expr: value, pattern, escape_char } => {
            let escape = escape_char.take().map(Expr::Value);
            let args = [take(value), take(pattern)].into_iter().chain(escape).collect();
            let similar = call(SIMILAR_TO, args);
            *expr = match negated {
                true => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(similar) },
                false => similar,
            };
        }
        _ => {}
    }
}

fn plain_number(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) if !number.starts_with('-') => Some(number.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// A number in PostgreSQL's type for it; `None` where DataFusion's reading is already that (bigint, plain decimals).
fn number_literal(number: &str) -> Option<Expr> {
    let digits = number.replace('_', "");
    let whole = !digits.contains(['.', 'e', 'E']);
    if whole && digits.parse::<i32>().is_ok() {
        return Some(call(
            &integer_cast_name(),
            vec![Expr::Value(Value::Number(digits, false).into())],
        ));
    }
    if (whole && digits.parse::<i64>().is_ok()) || digits.ends_with('.') && digits.len() < 18 {
        return None;
    }
    if whole || digits.contains(['e', 'E']) { Some(cast("numeric", string(digits))) } else { None }
}

fn between(value: Expr, negated: bool, low: Expr, high: Expr) -> Expr {
    let op = |left: Expr, op: BinaryOperator, right: Expr| Expr::BinaryOp {
        left: Box::new(left),
        op,
        right: Box::new(right),
    };
    let both = if negated {
        op(
            op(value.clone(), BinaryOperator::Lt, low),
            BinaryOperator::Or,
            op(value, BinaryOperator::Gt, high),
        )
    } else {
        op(
            op(value.clone(), BinaryOperator::GtEq, low),
            BinaryOperator::And,
            op(value, BinaryOperator::LtEq, high),
        )
    };
    Expr::Nested(Box::new(both))
}

/// The text of an interval literal: `interval '1' day` is `interval '1 day'`.
fn interval_text(interval: &Interval) -> Option<String> {
    let value = match interval.value.as_ref() {
        Expr::Value(value) => value.value.clone().into_string()?,
        other => typed_number(other)?,
    };
    use DateTimeField::{Minute, Second};
    Some(match (&interval.leading_field, &interval.last_field) {
        // The first of two parts is hours unless it is said to be minutes.
        (Some(Minute | DateTimeField::Minutes), Some(Second | DateTimeField::Seconds)) => {
            format!("0:{value}")
        }
        (Some(_), Some(_)) | (None, _) => value,
        (Some(field), None) => format!("{value} {field}"),
    })
}

pub(super) fn is_named(function: &Function, name: &str) -> bool {
    match function.name.0.as_slice() {
        [part] => part.as_ident().is_some_and(|ident| folded(ident) == name),
        _ => false,
    }
}

/// `mod(a, b)` is `a % b`, with the operator's types.
fn operator_call(function: &mut Function) -> Option<Expr> {
    if !is_named(function, "mod") {
        return None;
    }
    let FunctionArguments::List(list) = &mut function.args else {
        return None;
    };
    let [
        FunctionArg::Unnamed(FunctionArgExpr::Expr(left)),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(right)),
    ] = list.args.as_mut_slice()
    else {
        return None;
    };
    let (left, right) = (Box::new(take(left)), Box::new(take(right)));
    Some(Expr::Nested(Box::new(Expr::BinaryOp { left, op: BinaryOperator::Modulo, right })))
}

fn respell_function(function: &mut Function) {
    let qualified = function.name.0.len() == 2
        && function.name.0[0]
            .as_ident()
            .is_some_and(|i| i.value.eq_ignore_ascii_case("pg_catalog"));
    if qualified {
        function.name.0.remove(0);
    }
    if let Some(WindowType::WindowSpec(spec)) = &mut function.over
        && let Some(frame) = &mut spec.window_frame
    {
        let bounds = [Some(&mut frame.start_bound), frame.end_bound.as_mut()];
        for bound in bounds.into_iter().flatten() {
            if let WindowFrameBound::Preceding(Some(expr))
            | WindowFrameBound::Following(Some(expr)) = bound
            {
                keep_position(expr);
                super::windows::respell_bound(expr);
            }
        }
    }
}

/// Gives unnamed result columns the names PostgreSQL gives them. Names that recur are made unique for the plan: all of
/// them inside of the query, so that a reference to one is found to be ambiguous; at the top, where nothing refers to the
/// columns, all but the first and columns that a wildcard may bring as well.
fn name_columns(items: &mut [SelectItem], top: bool) {
    let wildcard = items
        .iter()
        .any(|i| matches!(i, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
    let mut taken: HashSet<String> = HashSet::new();
    if !top {
        taken.extend(recurring_names(items));
    }
    for item in items.iter_mut() {
        let (name, column) = match item {
            SelectItem::UnnamedExpr(expr) => {
                let column = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
                (figure_name(expr).map_or_else(|| "?column?".to_owned(), |(name, _)| name), column)
            }
            SelectItem::ExprWithAlias { alias, .. } => {
                let name = folded(alias);
                if !taken.insert(name.clone()) {
                    *alias = Ident::with_quote('"', unique(&name, &mut taken));
                }
                continue;
            }
            _ => continue,
        };
        let recurs = !taken.insert(name.clone());
        if column && !recurs && !(wildcard && top) {
            continue;
        }
        let alias = if recurs || (wildcard && top) { unique(&name, &mut taken) } else { name };
        if let SelectItem::UnnamedExpr(expr) = item {
            // A qualified column keeps its qualifier unless its name recurs in the same list.
            *item = SelectItem::ExprWithAlias {
                expr: take(expr),
                alias: Ident::with_quote('"', alias),
            };
        }
    }
}

/// The names of aliases that several columns of a select list have.
fn recurring_names(items: &[SelectItem]) -> Vec<String> {
    let mut seen = HashSet::new();
    let aliases = items.iter().filter_map(|item| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        _ => None,
    });
    aliases.filter(|name| !seen.insert(name.clone())).collect()
}

fn unique(name: &str, taken: &mut HashSet<String>) -> String {
    let mut number = 2;
    loop {
        let candidate = format!("{name}{UNIQUE_MARK}{number}");
        if taken.insert(candidate.clone()) {
            return candidate;
        }
        number += 1;
    }
}

pub(super) fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// The name PostgreSQL derives for an expression, and whether it is a strong one that a cast around it keeps.
fn figure_name(expr: &Expr) -> Option<(String, bool)> {
    let strong = |name: &str| Some((name.to_owned(), true));
    match expr {
        Expr::Identifier(ident) => Some((folded(ident), true)),
        Expr::CompoundIdentifier(idents) => idents.last().map(|ident| (folded(ident), true)),
        Expr::Function(function) => {
            function.name.0.last()?.as_ident().map(|ident| (folded(ident), true))
        }
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => figure_name(inner),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let field = access_chain.iter().rev().find_map(|access| match access {
                AccessExpr::Dot(Expr::Identifier(ident)) => Some((folded(ident), true)),
                AccessExpr::Dot(_) | AccessExpr::Subscript(_) => None,
            });
            field.or_else(|| figure_name(root))
        }
        Expr::Cast { expr: inner, data_type, .. } => match figure_name(inner) {
            Some((name, true)) => Some((name, true)),
            _ => Some((type_name(data_type), false)),
        },
        Expr::TypedString(typed) => Some((type_name(&typed.data_type), false)),
        Expr::Interval(_) => Some(("interval".to_owned(), false)),
        Expr::Value(value) if matches!(value.value, Value::Boolean(_)) => {
            Some(("bool".to_owned(), false))
        }
        Expr::Case { else_result, .. } => match else_result.as_deref().and_then(figure_name) {
            Some((name, true)) => Some((name, true)),
            _ => Some(("case".to_owned(), false)),
        },
        Expr::Exists { .. } => strong("exists"),
        Expr::Subquery(query) => first_column(&query.body),
        Expr::Array(_) => strong("array"),
        Expr::Extract { .. } => strong("extract"),
        Expr::AtTimeZone { .. } => strong("timezone"),
        Expr::Substring { .. } => strong("substring"),
        Expr::Position { .. } => strong("position"),
        Expr::Overlay { .. } => strong("overlay"),
        Expr::Ceil { .. } => strong("ceil"),
        Expr::Floor { .. } => strong("floor"),
        Expr::Trim { trim_where, .. } => strong(match trim_where {
            Some(TrimWhereField::Leading) => "ltrim",
            Some(TrimWhereField::Trailing) => "rtrim",
            _ => "btrim",
        }),
        _ => None,
    }
}

fn first_column(body: &SetExpr) -> Option<(String, bool)> {
    match body {
        SetExpr::Select(select) => match select.projection.first()? {
            SelectItem::UnnamedExpr(expr) => figure_name(expr),
            SelectItem::ExprWithAlias { alias, .. } => Some((folded(alias), true)),
            _ => None,
        },
        SetExpr::Query(query) => first_column(&query.body),
        _ => None,
    }
}
