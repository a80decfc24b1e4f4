//! Functions that return sets of rows, where a query calls them: in FROM and in the select list.
//!
//! A call in the select list becomes `field:0(unnest(rows:f(...)))`: a list of the rows (see [`super::functions`]), which
//! DataFusion unnests, several side by side as PostgreSQL runs them. A call in FROM becomes a LATERAL subquery that has
//! it in its select list. Owns the names of such functions and of their columns, and where they are refused. Invariant:
//! behind [`in_from`] no FROM calls a function but a series of integers between constants, which can be longer than a list (see [`super::constant_series`]).

use std::ops::ControlFlow;

use sqlparser::ast::{
    self, AccessExpr, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr,
    Ident, JoinConstraint, JoinOperator, ObjectName, OrderByKind, Query, Select, SelectItem,
    SetExpr, TableAlias, TableFactor, TableWithJoins, UnaryOperator, Value, VisitMut, VisitorMut,
};

use super::cast::CAST_PREFIX;
use super::merged_columns::ColumnsOf;
use super::spelling::{call, is_named, template};
use crate::error::{Error, Result, SqlState};
use crate::sql::{OutputName, fold_identifier, output_names};

/// What functions are called whose rows come as a list.
pub(super) const ROWS: &str = "rows:";
/// What functions are called that take a column out of a row.
pub(super) const FIELD: &str = "field:";

const ORDINALITY: &str = "ordinality";

/// The functions, with the columns that they name themselves.
const FUNCTIONS: &[(&str, &[&str])] = &[
    ("unnest", &[]),
    ("generate_series", &[]),
    ("generate_subscripts", &[]),
    // PostgreSQL's own, of information_schema; drivers number the columns of keys by it.
    ("_pg_expandarray", &["x", "n"]),
    ("jsonb_array_elements", &["value"]),
    ("jsonb_array_elements_text", &["value"]),
    ("json_array_elements", &["value"]),
    ("json_array_elements_text", &["value"]),
    ("jsonb_each", &["key", "value"]),
    ("jsonb_each_text", &["key", "value"]),
    ("json_each", &["key", "value"]),
    ("json_each_text", &["key", "value"]),
    ("jsonb_object_keys", &[]),
    ("json_object_keys", &[]),
    ("string_to_table", &[]),
    ("regexp_split_to_table", &[]),
    ("regexp_matches", &[]),
];

/// The columns that a function names itself; `None` for one that returns no set.
fn set_columns(name: &str) -> Option<&'static [&'static str]> {
    FUNCTIONS.iter().find(|(known, _)| *known == name).map(|(_, columns)| *columns)
}

/// The columns of a call's rows, where they have several.
pub(super) fn row_columns(call: &Expr) -> Option<&'static [&'static str]> {
    let Expr::Function(function) = call else { return None };
    let columns = plain_name(&function.name).and_then(|name| set_columns(&name));
    columns.filter(|columns| columns.len() > 1 && function.over.is_none())
}

/// The name of a function in `pg_catalog` or without a schema, and of the one in `information_schema`.
fn plain_name(name: &ObjectName) -> Option<String> {
    let mut parts = name.0.iter().map(|part| part.as_ident().map(fold_identifier));
    match (parts.next()??, parts.next(), parts.next()) {
        (name, None, _) => Some(name),
        (schema, Some(name), None) if schema == "pg_catalog" => name,
        (schema, Some(name), None) if schema == "information_schema" => {
            name.filter(|name| name == "_pg_expandarray")
        }
        _ => None,
    }
}

fn quoted(name: impl Into<String>) -> Ident {
    Ident::with_quote('"', name)
}

/// Makes subqueries of the functions in every FROM of a query. `columns` tells what tables have.
pub(super) fn in_from(query: &mut Query, columns: ColumnsOf<'_>) -> Result<()> {
    match query.visit(&mut InFrom { columns }) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct InFrom<'a> {
    columns: ColumnsOf<'a>,
}

impl VisitorMut for InFrom<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        self.name_whole_rows(query);
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        if let Some(source) = RowSource::of(factor) {
            match source.subquery(factor) {
                Ok(subquery) => *factor = subquery,
                Err(error) => return ControlFlow::Break(error),
            }
        }
        ControlFlow::Continue(())
    }
}

/// A function in FROM.
struct RowSource {
    name: String,
    args: Vec<Expr>,
    with_ordinality: bool,
    alias: Option<TableAlias>,
}

impl RowSource {
    /// The function that a factor calls.
    fn of(factor: &TableFactor) -> Option<RowSource> {
        let plain_args = |args: &[FunctionArg]| {
            let arg = |arg: &FunctionArg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
                _ => None,
            };
            args.iter().map(arg).collect::<Option<Vec<_>>>()
        };
        Some(match factor {
            TableFactor::UNNEST { alias, array_exprs, with_ordinality, .. } => RowSource {
                name: "unnest".to_owned(),
                args: array_exprs.clone(),
                with_ordinality: *with_ordinality,
                alias: alias.clone(),
            },
            TableFactor::Table { name, alias, args: Some(args), with_ordinality, .. } => {
                RowSource {
                    name: plain_name(name)?,
                    args: plain_args(&args.args)?,
                    with_ordinality: *with_ordinality,
                    alias: alias.clone(),
                }
            }
            TableFactor::Function { name, args, with_ordinality, alias, .. } => RowSource {
                name: plain_name(name)?,
                args: plain_args(args)?,
                with_ordinality: *with_ordinality,
                alias: alias.clone(),
            },
            _ => return None,
        })
    }

    /// The names of its columns, as far as it has them from itself, the ordinality's left out.
    fn own_columns(&self) -> Vec<String> {
        match set_columns(&self.name) {
            Some(columns) if !columns.is_empty() => {
                columns.iter().map(|column| (*column).to_owned()).collect()
            }
            _ if self.name == "unnest" && self.args.len() > 1 => {
                vec!["unnest".to_owned(); self.args.len()]
            }
            _ => {
                let alias = self.alias.as_ref().map(|alias| fold_identifier(&alias.name));
                vec![alias.unwrap_or_else(|| self.name.clone())]
            }
        }
    }

    /// Whether it is a series of integers between constants, and of PostgreSQL's smaller ones.
    fn constant_series(&self) -> Option<bool> {
        if self.name != "generate_series" || self.with_ordinality {
            return None;
        }
        let bounds = self.args.iter().map(whole_number).collect::<Option<Vec<i64>>>()?;
        Some(bounds.into_iter().all(|bound| i32::try_from(bound).is_ok()))
    }

    /// What it computes for each of its columns, and for the ordinality.
    fn values(&self, columns: usize) -> Vec<Expr> {
        let sets = match self.name.as_str() {
            "unnest" => self.args.iter().map(|arg| rows(&self.name, vec![arg.clone()])).collect(),
            name if set_columns(name).is_some() => vec![rows(name, self.args.clone())],
            _ => vec![],
        };
        let mut values: Vec<Expr> = match sets.as_slice() {
            // Any other function is a row of its result.
            [] => vec![call(&self.name, self.args.clone())],
            [one] => (0..columns).map(|column| field(column, one.clone())).collect(),
            several => several.iter().map(|set| field(0, set.clone())).collect(),
        };
        if self.with_ordinality {
            values.push(match sets.is_empty() {
                true => Expr::value(Value::Number("1".to_owned(), false)),
                false => field(0, call(&format!("{ROWS}{ORDINALITY}"), sets)),
            });
        }
        values
    }

    /// `LATERAL (SELECT f(...) AS column) AS alias` in place of the factor that it was.
    fn subquery(self, factor: &TableFactor) -> Result<TableFactor> {
        let mut names = self.own_columns();
        let mut from = vec![];
        let is_table = matches!(factor, TableFactor::Table { .. });
        let values = match self.constant_series().filter(|_| is_table) {
            None => self.values(names.len()),
            Some(small) => {
                let mut series = factor.clone();
                if let TableFactor::Table { alias, .. } = &mut series {
                    *alias = None;
                }
                from.push(TableWithJoins { relation: series, joins: vec![] });
                let value = Expr::Identifier(quoted("value"));
                vec![if small {
                    call(&format!("{CAST_PREFIX}integer"), vec![value])
                } else {
                    value
                }]
            }
        };
        if self.with_ordinality {
            names.push(ORDINALITY.to_owned());
        }
        let given = self.alias.iter().flat_map(|alias| &alias.columns);
        let given: Vec<String> = given.map(|column| fold_identifier(&column.name)).collect();
        if given.len() > names.len() {
            let table = self.alias.map(|alias| fold_identifier(&alias.name)).unwrap_or_default();
            let message = format!(
                "table \"{table}\" has {} columns available but {} columns specified",
                names.len(),
                given.len()
            );
            return Err(Error::new(SqlState::INVALID_COLUMN_REFERENCE, message));
        }
        names.splice(..given.len(), given);
        let mut subquery = template("SELECT 1");
        if let SetExpr::Select(select) = subquery.body.as_mut() {
            let item = |(expr, name)| SelectItem::ExprWithAlias { expr, alias: quoted(name) };
            select.projection = values.into_iter().zip(names).map(item).collect();
            select.from = from;
        }
        let name = match self.alias {
            Some(alias) => alias.name,
            None => quoted(&self.name),
        };
        let alias = TableAlias { explicit: true, name, columns: vec![], at: None };
        let lateral = self.args.iter().any(refers);
        Ok(TableFactor::Derived { lateral, subquery, alias: Some(alias), sample: None })
    }
}

/// An integer as it is written out.
fn whole_number(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => number.parse().ok(),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => whole_number(expr)?.checked_neg(),
        _ => None,
    }
}

/// Whether an argument may refer to tables on its left.
fn refers(arg: &Expr) -> bool {
    let found = ast::visit_expressions(arg, |expr| match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Subquery(_) => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// The list of a function's rows. A string or a parameter takes the type that the function wants.
fn rows(name: &str, args: Vec<Expr>) -> Expr {
    let wanted = name.split('_').next().filter(|kind| matches!(*kind, "json" | "jsonb"));
    let typed = |arg: Expr| match (wanted, &arg) {
        (Some(wanted), Expr::Value(_)) => call(&format!("{CAST_PREFIX}{wanted}"), vec![arg]),
        _ => arg,
    };
    call(&format!("{ROWS}{name}"), args.into_iter().map(typed).collect())
}

/// A column of the rows of a list.
fn field(column: usize, list: Expr) -> Expr {
    call(&format!("{FIELD}{column}"), vec![call("unnest", vec![list])])
}

impl InFrom<'_> {
    /// The alias of a function in FROM is its only column where no column of that name is there: `e->>'a'` in
    /// `FROM jsonb_array_elements(j) AS e`, whose column is called value.
    fn name_whole_rows(&self, query: &mut Query) {
        let SetExpr::Select(select) = query.body.as_mut() else { return };
        let factors: Vec<&TableFactor> = select.from.iter().flat_map(factors).collect();
        let wholes: Vec<(String, String)> = factors
            .iter()
            .filter_map(|factor| {
                let source = RowSource::of(factor)?;
                let alias = source.alias.as_ref()?;
                let name = fold_identifier(&alias.name);
                let mut columns = source.own_columns();
                if source.with_ordinality || columns.len() != 1 {
                    return None;
                }
                let given = alias.columns.first().map(|column| fold_identifier(&column.name));
                let column = given.unwrap_or_else(|| columns.remove(0));
                let taken = || factors.iter().any(|other| self.may_have(other, &name));
                (column != name && !taken()).then_some((name, column))
            })
            .collect();
        if wholes.is_empty() {
            return;
        }
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(Expr::Identifier(name)) = item
                && wholes.iter().any(|(alias, _)| *alias == fold_identifier(name))
            {
                let alias = name.clone();
                *item = SelectItem::ExprWithAlias { expr: Expr::Identifier(alias.clone()), alias };
            }
        }
        let mut namer = WholeRows { wholes: &wholes, depth: 0 };
        let ControlFlow::Continue(()) = VisitMut::visit(select.as_mut(), &mut namer);
        let ControlFlow::Continue(()) = VisitMut::visit(&mut query.order_by, &mut namer);
    }

    /// Whether a relation has a column of the name, or may have.
    fn may_have(&self, factor: &TableFactor, column: &str) -> bool {
        if let Some(source) = RowSource::of(factor) {
            let given = source.alias.iter().flat_map(|alias| &alias.columns);
            let given: Vec<String> = given.map(|column| fold_identifier(&column.name)).collect();
            let own = source.own_columns().into_iter().skip(given.len());
            return given.iter().cloned().chain(own).any(|name| name == column);
        }
        match factor {
            TableFactor::Table { name, args: None, .. } => {
                (self.columns)(name).is_none_or(|columns| columns.iter().any(|c| c == column))
            }
            TableFactor::Table { .. } => false,
            TableFactor::Derived { subquery, .. } => output_names(subquery).iter().any(|name| {
                matches!(name, OutputName::Wildcard)
                    || matches!(name, OutputName::Named(name) if name == column)
            }),
            _ => true,
        }
    }
}

fn factors(from: &TableWithJoins) -> impl Iterator<Item = &TableFactor> {
    std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation))
}

/// Writes the only columns of functions where their aliases stand, outside of subqueries.
struct WholeRows<'a> {
    wholes: &'a [(String, String)],
    depth: usize,
}

impl VisitorMut for WholeRows<'_> {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Self::Break> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Self::Break> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        if let Expr::Identifier(name) = expr
            && self.depth == 0
        {
            let folded = fold_identifier(name);
            if let Some((alias, column)) = self.wholes.iter().find(|(alias, _)| *alias == folded) {
                *expr = Expr::CompoundIdentifier(vec![quoted(alias), quoted(column)]);
            }
        }
        ControlFlow::Continue(())
    }
}

/// Whether an expression is a call of a function that returns a set, not yet rewritten.
fn is_set(expr: &Expr) -> bool {
    let Expr::Function(function) = expr else { return false };
    plain_name(&function.name).is_some_and(|name| set_columns(&name).is_some())
        && function.over.is_none()
        && !unnests_rows(function)
}

/// `unnest(rows:f(...))`.
fn unnests_rows(function: &Function) -> bool {
    let FunctionArguments::List(list) = &function.args else { return false };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(inner)))] = list.args.as_slice()
    else {
        return false;
    };
    let inner = inner.name.0.first().and_then(|part| part.as_ident());
    is_named(function, "unnest") && inner.is_some_and(|inner| inner.value.starts_with(ROWS))
}

/// Rewrites a call of a function that returns a set, as it stands in a select list: `f(x)`, or `(f(x)).key` where its rows
/// have several columns.
pub(super) fn respell(expr: &mut Expr) {
    let (call, wanted) = match &*expr {
        Expr::CompoundFieldAccess { root, access_chain } => {
            let (Expr::Nested(call), [AccessExpr::Dot(Expr::Identifier(column))]) =
                (root.as_ref(), access_chain.as_slice())
            else {
                return;
            };
            (call.as_ref(), Some(fold_identifier(column)))
        }
        call => (call, None),
    };
    let Expr::Function(function) = call else { return };
    let (Some(name), FunctionArguments::List(list)) = (plain_name(&function.name), &function.args)
    else {
        return;
    };
    let columns = set_columns(&name).unwrap_or_default();
    let column = match &wanted {
        Some(wanted) => columns.iter().position(|column| column == wanted),
        None => (columns.len() < 2).then_some(0),
    };
    let arg = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    let args = list.args.iter().map(arg).collect::<Option<Vec<_>>>();
    if let (true, Some(column), Some(args)) = (is_set(call), column, args) {
        *expr = field(column, rows(&name, args));
    }
}

/// The refusal of a call that is still there when its place in the query has had its turn.
pub(super) fn refused(expr: &Expr) -> Option<Error> {
    if !is_set(expr) {
        return None;
    }
    Some(match row_columns(expr).is_some() {
        true => Error::unsupported("rows of several columns are not supported as a value")
            .with_hint("Call the function in FROM, or take a column: (f(x)).key."),
        false => Error::unsupported("set-returning functions are not allowed here")
            .with_hint("Call the function in FROM or in a select list."),
    })
}

/// Refuses calls where PostgreSQL refuses them: everywhere in a SELECT but in its list, GROUP BY and DISTINCT ON.
pub(super) fn refuse_misplaced(select: &Select) -> Result<()> {
    let clauses = [(&select.selection, "WHERE"), (&select.having, "HAVING")];
    for (clause, name) in clauses {
        if let Some(expr) = clause {
            refuse_sets(expr, name)?;
        }
    }
    for join in select.from.iter().flat_map(|from| &from.joins) {
        if let Some(on) = condition(&join.join_operator) {
            refuse_sets(on, "JOIN conditions")?;
        }
    }
    let listed = select.projection.iter().filter_map(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    });
    let grouped = match &select.group_by {
        GroupByExpr::Expressions(exprs, _) => exprs.as_slice(),
        GroupByExpr::All(_) => &[],
    };
    listed.chain(grouped).try_for_each(refuse_inside)
}

/// Refuses calls in a LIMIT or OFFSET, and misplaced ones in ORDER BY.
pub(super) fn refuse_misplaced_behind(query: &Query) -> Result<()> {
    if let Some(ast::LimitClause::LimitOffset { limit, offset, .. }) = &query.limit_clause {
        limit.iter().try_for_each(|limit| refuse_sets(limit, "LIMIT"))?;
        offset.iter().try_for_each(|offset| refuse_sets(&offset.value, "OFFSET"))?;
    }
    match query.order_by.as_ref().map(|order| &order.kind) {
        Some(OrderByKind::Expressions(exprs)) => {
            exprs.iter().try_for_each(|order| refuse_inside(&order.expr))
        }
        _ => Ok(()),
    }
}

fn condition(operator: &JoinOperator) -> Option<&Expr> {
    match operator {
        JoinOperator::Join(JoinConstraint::On(on))
        | JoinOperator::Inner(JoinConstraint::On(on))
        | JoinOperator::Left(JoinConstraint::On(on))
        | JoinOperator::LeftOuter(JoinConstraint::On(on))
        | JoinOperator::Right(JoinConstraint::On(on))
        | JoinOperator::RightOuter(JoinConstraint::On(on))
        | JoinOperator::FullOuter(JoinConstraint::On(on)) => Some(on),
        _ => None,
    }
}

/// Calls of sets in the expression, subqueries left out; `f` for each, until one breaks.
fn has_set(expr: &Expr) -> bool {
    struct Sets {
        depth: usize,
    }
    impl ast::Visitor for Sets {
        type Break = ();

        fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
            self.depth += 1;
            ControlFlow::Continue(())
        }

        fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match self.depth == 0 && is_set(expr) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
    }
    ast::Visit::visit(expr, &mut Sets { depth: 0 }).is_break()
}

/// 0A000 for an expression that calls one in a clause where none may stand.
pub fn refuse_sets(expr: &Expr, clause: &str) -> Result<()> {
    match has_set(expr) {
        true => {
            Err(Error::unsupported(format!("set-returning functions are not allowed in {clause}")))
        }
        false => Ok(()),
    }
}

/// Refuses calls inside of CASE, COALESCE and calls of aggregates and windows.
fn refuse_inside(expr: &Expr) -> Result<()> {
    const AGGREGATES: &[&str] = &[
        "count",
        "sum",
        "avg",
        "min",
        "max",
        "array_agg",
        "string_agg",
        "bool_and",
        "bool_or",
        "every",
        "json_agg",
        "jsonb_agg",
        "stddev",
        "variance",
    ];
    let mut refused = None;
    let _ = ast::visit_expressions(expr, |expr| {
        let named = |function: &Function, names: &[&str]| {
            plain_name(&function.name).is_some_and(|name| names.contains(&name.as_str()))
        };
        let place = match expr {
            Expr::Case { .. } => Some("set-returning functions are not allowed in CASE"),
            Expr::Function(function) if named(function, &["coalesce"]) => {
                Some("set-returning functions are not allowed in COALESCE")
            }
            Expr::Function(function) if function.over.is_some() => {
                Some("window function calls cannot contain set-returning function calls")
            }
            Expr::Function(function) if named(function, AGGREGATES) => {
                Some("aggregate function calls cannot contain set-returning function calls")
            }
            _ => None,
        };
        match place.filter(|_| has_set(expr)) {
            Some(message) => {
                refused = Some(message);
                ControlFlow::Break(())
            }
            None => ControlFlow::Continue(()),
        }
    });
    match refused {
        Some(message) => Err(Error::unsupported(message).with_hint(
            "You might be able to move the set-returning function into a LATERAL FROM item.",
        )),
        None => Ok(()),
    }
}
