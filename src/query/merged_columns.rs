//! The columns that `JOIN ... USING` and `NATURAL JOIN` merge, written out before planning.
//!
//! DataFusion takes the left side's column for a merged one and keeps the order of the tables in `*`. In PostgreSQL `*` has the
//! merged columns first, a RIGHT JOIN's are the right side's and a FULL JOIN's whichever is not NULL. A FROM whose columns are
//! known is therefore rewritten: NATURAL becomes USING, `*` a list of columns, and a reference to a merged column the
//! expression it stands for. Where they are not known, RIGHT and FULL joins are refused with 0A000 rather than answered
//! wrongly. Owns no names beyond the query's: what tables have is asked through a function.

use std::collections::HashMap;
use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, Distinct, Expr, GroupByExpr, Ident, JoinConstraint, JoinOperator, ObjectName,
    ObjectNamePart, OrderByKind, Query, Select, SelectItem, SetExpr, TableFactor, TableWithJoins,
    VisitMut, VisitorMut,
};

use super::spelling::{call, rewrite_own};
use crate::error::{Error, Result};
use crate::sql::{OutputName, fold_identifier, output_names};

/// The columns of a table by its name as written; `None` for names that are no table.
pub(super) type ColumnsOf<'a> = &'a dyn Fn(&ObjectName) -> Option<Vec<String>>;

/// Writes out the merged columns of a query and its subqueries.
pub(super) fn write_out(query: &mut Query, tables: ColumnsOf<'_>) -> Result<()> {
    let mut merger = Merger { tables, common: HashMap::new() };
    match query.visit(&mut merger) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Merger<'a> {
    tables: ColumnsOf<'a>,
    /// Columns of common table expressions; `None` where they cannot be told.
    common: HashMap<String, Option<Vec<String>>>,
}

impl VisitorMut for Merger<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let columns = match cte.alias.columns.is_empty() {
                true => plain_names(&cte.query),
                false => Some(cte.alias.columns.iter().map(|c| fold_identifier(&c.name)).collect()),
            };
            self.common.insert(fold_identifier(&cte.alias.name), columns);
        }
        match self.query(query) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// The columns of a query that lists them.
fn plain_names(query: &Query) -> Option<Vec<String>> {
    let named = |name: OutputName| match name {
        OutputName::Named(name) => Some(name),
        OutputName::Wildcard => None,
    };
    output_names(query).into_iter().map(named).collect()
}

/// A relation of a FROM.
#[derive(Clone)]
struct Relation {
    name: Ident,
    columns: Vec<String>,
}

impl Relation {
    fn column(&self, name: &str) -> Expr {
        Expr::CompoundIdentifier(vec![self.name.clone(), Ident::with_quote('"', name)])
    }
}

/// What one item of a FROM consists of.
#[derive(Default)]
struct Joined {
    relations: Vec<Relation>,
    /// Merged columns in their order, with what they stand for.
    merged: Vec<(String, Expr)>,
    /// Whether a merged column is more than the first relation's that has it, which is what DataFusion takes it for.
    outer: bool,
}

impl Merger<'_> {
    fn query(&self, query: &mut Query) -> Result<()> {
        let merged = self.set_expr(&mut query.body)?;
        if merged.is_empty() {
            return Ok(());
        }
        let SetExpr::Select(select) = query.body.as_ref() else { return Ok(()) };
        let projected: Vec<String> = select.projection.iter().filter_map(output_name).collect();
        if let Some(order_by) = &mut query.order_by
            && let OrderByKind::Expressions(exprs) = &mut order_by.kind
        {
            for order in exprs {
                let output = |name: &Ident| projected.contains(&fold_identifier(name));
                if !matches!(&order.expr, Expr::Identifier(name) if output(name)) {
                    substitute(&mut order.expr, &merged);
                }
            }
        }
        Ok(())
    }

    /// The merged columns whose references were replaced, of a SELECT alone.
    fn set_expr(&self, body: &mut SetExpr) -> Result<Vec<(String, Expr)>> {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::SetOperation { left, right, .. } => {
                self.set_expr(left)?;
                self.set_expr(right)?;
                Ok(vec![])
            }
            // A query in parentheses is visited by itself.
            _ => Ok(vec![]),
        }
    }

    fn select(&self, select: &mut Select) -> Result<Vec<(String, Expr)>> {
        let merges = |from: &TableWithJoins| {
            from.joins.iter().any(|join| {
                matches!(
                    constraint(&join.join_operator),
                    Some(JoinConstraint::Using(_) | JoinConstraint::Natural)
                )
            })
        };
        if !select.from.iter().any(merges) {
            return Ok(vec![]);
        }
        let mut items = vec![];
        for from in &mut select.from {
            match self.joined(from) {
                Some(joined) => items.push(joined),
                None if from.joins.iter().any(is_right_or_full) && merges(from) => {
                    return Err(Error::unsupported(
                        "RIGHT and FULL JOIN with USING or NATURAL over a subquery with * are not supported",
                    )
                    .with_hint("List the subquery's columns, or join with ON."));
                }
                None => return Ok(vec![]),
            }
        }
        select.projection = select
            .projection
            .drain(..)
            .flat_map(|item| match item {
                SelectItem::Wildcard(options) if options == Default::default() => expanded(&items),
                other => vec![other],
            })
            .collect();
        let merged: Vec<(String, Expr)> = items.into_iter().flat_map(|item| item.merged).collect();
        substitute_all(select, &merged);
        Ok(merged)
    }

    /// `None` where the columns of a relation are not known, or a join is none of SQL's.
    fn joined(&self, from: &mut TableWithJoins) -> Option<Joined> {
        let mut joined =
            Joined { relations: vec![self.relation(&from.relation)?], ..Joined::default() };
        for join in &mut from.joins {
            let right = self.relation(&join.relation)?;
            let is_right = is_right(&join.join_operator);
            let is_full = matches!(join.join_operator, JoinOperator::FullOuter(_));
            let constraint = constraint_mut(&mut join.join_operator)?;
            let columns = match constraint {
                JoinConstraint::Using(names) => {
                    let name = |name: &ObjectName| name.0.first()?.as_ident().map(fold_identifier);
                    names.iter().map(name).collect::<Option<Vec<_>>>()?
                }
                JoinConstraint::Natural => {
                    let common: Vec<String> = joined
                        .columns()
                        .into_iter()
                        .filter(|column| right.columns.contains(column))
                        .collect();
                    let named = |name: &String| {
                        ObjectName(vec![ObjectNamePart::Identifier(Ident::with_quote('"', name))])
                    };
                    *constraint = match common.is_empty() {
                        true => {
                            JoinConstraint::On(Expr::value(sqlparser::ast::Value::Boolean(true)))
                        }
                        false => JoinConstraint::Using(common.iter().map(named).collect()),
                    };
                    common
                }
                JoinConstraint::On(_) | JoinConstraint::None => vec![],
            };
            if joined.outer && !columns.is_empty() {
                *constraint = JoinConstraint::On(joined.equalities(&columns, &right)?);
            }
            joined.merge(&columns, &right, is_right, is_full)?;
            joined.relations.push(right);
        }
        Some(joined)
    }

    /// The columns of `SELECT * FROM relation`.
    fn all_of_one(&self, query: &Query) -> Option<Vec<String>> {
        let SetExpr::Select(select) = query.body.as_ref() else { return None };
        let ([SelectItem::Wildcard(options)], [from]) =
            (select.projection.as_slice(), select.from.as_slice())
        else {
            return None;
        };
        let plain = *options == Default::default() && from.joins.is_empty();
        plain.then(|| self.relation(&from.relation)).flatten().map(|relation| relation.columns)
    }

    fn relation(&self, factor: &TableFactor) -> Option<Relation> {
        let (alias, columns) = match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                let bare = name.0.last()?.as_ident()?;
                let common = self.common.get(&fold_identifier(bare)).filter(|_| name.0.len() == 1);
                let columns = match common {
                    Some(columns) => columns.clone()?,
                    None => (self.tables)(name)?,
                };
                (alias.clone().map_or((bare.clone(), vec![]), |a| (a.name, a.columns)), columns)
            }
            TableFactor::Derived { subquery, alias: Some(alias), .. } => {
                // Columns that an alias names need no other names.
                let columns = match alias.columns.is_empty() {
                    true => plain_names(subquery).or_else(|| self.all_of_one(subquery))?,
                    false => vec![],
                };
                ((alias.name.clone(), alias.columns.clone()), columns)
            }
            _ => return None,
        };
        let (name, renames) = alias;
        let mut columns = columns;
        for (i, rename) in renames.iter().enumerate() {
            match columns.get_mut(i) {
                Some(column) => *column = fold_identifier(&rename.name),
                None => columns.push(fold_identifier(&rename.name)),
            }
        }
        Some(Relation { name, columns })
    }
}

impl Joined {
    /// The columns in PostgreSQL's order: merged ones first.
    fn columns(&self) -> Vec<String> {
        let merged = |name: &String| self.merged.iter().any(|(m, _)| m == name);
        let rest = self.relations.iter().flat_map(|r| &r.columns).filter(|name| !merged(name));
        self.merged.iter().map(|(name, _)| name).chain(rest).cloned().collect()
    }

    /// What a column stands for on the left side of the next join.
    fn column(&self, name: &str) -> Option<Expr> {
        let merged = self.merged.iter().find(|(merged, _)| merged == name);
        merged.map(|(_, expr)| expr.clone()).or_else(|| {
            let relation = self.relations.iter().find(|r| r.columns.iter().any(|c| c == name))?;
            Some(relation.column(name))
        })
    }

    /// The condition that USING stands for.
    fn equalities(&self, columns: &[String], right: &Relation) -> Option<Expr> {
        let binary = |left: Expr, op: BinaryOperator, right: Expr| Expr::BinaryOp {
            left: Box::new(left),
            op,
            right: Box::new(right),
        };
        let equal = |column: &String| {
            Some(binary(self.column(column)?, BinaryOperator::Eq, right.column(column)))
        };
        let all = columns.iter().map(equal).collect::<Option<Vec<Expr>>>()?;
        all.into_iter().reduce(|l, r| binary(l, BinaryOperator::And, r))
    }

    /// Adds a join with `right`. `None` where a column is not on the left side, which planning will tell.
    fn merge(
        &mut self,
        columns: &[String],
        right: &Relation,
        is_right: bool,
        is_full: bool,
    ) -> Option<()> {
        if columns.is_empty() {
            return Some(());
        }
        let mut merged = vec![];
        for column in columns {
            let left = self.column(column)?;
            self.merged.retain(|(name, _)| name != column);
            let expr = match (is_right, is_full) {
                (true, _) => right.column(column),
                (_, true) => call("coalesce", vec![left, right.column(column)]),
                _ => left,
            };
            merged.push((column.clone(), expr));
        }
        self.outer |= is_right || is_full;
        merged.append(&mut self.merged);
        self.merged = merged;
        Some(())
    }
}

/// What `*` stands for.
fn expanded(items: &[Joined]) -> Vec<SelectItem> {
    let mut list = vec![];
    for item in items {
        let alias = |name: &String| Ident::with_quote('"', name);
        list.extend(item.merged.iter().map(|(name, expr)| SelectItem::ExprWithAlias {
            expr: expr.clone(),
            alias: alias(name),
        }));
        for relation in &item.relations {
            let rest = relation
                .columns
                .iter()
                .filter(|column| !item.merged.iter().any(|(merged, _)| merged == *column));
            list.extend(rest.map(|column| SelectItem::ExprWithAlias {
                expr: relation.column(column),
                alias: alias(column),
            }));
        }
    }
    list
}

fn output_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(fold_identifier(alias)),
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(fold_identifier(name)),
        _ => None,
    }
}

fn substitute_all(select: &mut Select, merged: &[(String, Expr)]) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(Expr::Identifier(name)) = item
            && merged.iter().any(|(column, _)| *column == fold_identifier(name))
        {
            let alias = name.clone();
            *item = SelectItem::ExprWithAlias { expr: Expr::Identifier(name.clone()), alias };
        }
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            substitute(expr, merged);
        }
    }
    let clauses = select.selection.iter_mut().chain(&mut select.having);
    clauses.for_each(|expr| substitute(expr, merged));
    if let GroupByExpr::Expressions(exprs, _) = &mut select.group_by {
        exprs.iter_mut().for_each(|expr| substitute(expr, merged));
    }
    if let Some(Distinct::On(exprs)) = &mut select.distinct {
        exprs.iter_mut().for_each(|expr| substitute(expr, merged));
    }
}

/// Replaces references to merged columns; subqueries have names of their own.
fn substitute(expr: &mut Expr, merged: &[(String, Expr)]) {
    rewrite_own(expr, |expr| {
        if let Expr::Identifier(name) = expr
            && let Some((_, meant)) =
                merged.iter().find(|(column, _)| *column == fold_identifier(name))
        {
            *expr = meant.clone();
        }
    });
}

fn is_right(operator: &JoinOperator) -> bool {
    matches!(operator, JoinOperator::Right(_) | JoinOperator::RightOuter(_))
}

fn is_right_or_full(join: &sqlparser::ast::Join) -> bool {
    is_right(&join.join_operator) || matches!(join.join_operator, JoinOperator::FullOuter(_))
}

fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    use JoinOperator as J;
    match operator {
        J::Join(c) | J::Inner(c) | J::Left(c) | J::LeftOuter(c) => Some(c),
        J::Right(c) | J::RightOuter(c) | J::FullOuter(c) | J::CrossJoin(c) => Some(c),
        _ => None,
    }
}

fn constraint_mut(operator: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    use JoinOperator as J;
    match operator {
        J::Join(c) | J::Inner(c) | J::Left(c) | J::LeftOuter(c) => Some(c),
        J::Right(c) | J::RightOuter(c) | J::FullOuter(c) | J::CrossJoin(c) => Some(c),
        _ => None,
    }
}
