//! Comparisons of rows as comparisons of their parts, in the parsed query.

use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, Ident, Query, SelectItem, SetExpr, TableFactor, Value,
};

use super::spelling::template;
use crate::error::Error;

/// Comparisons of rows, part by part: `(a, b) = (1, 2)` is `a = 1 AND b = 2`, and `(a, b) < (1, 2)` is
/// `a < 1 OR a = 1 AND b < 2`.
pub(super) fn compare_rows(left: &[Expr], op: &BinaryOperator, right: &[Expr]) -> Option<Expr> {
    let strict = match op {
        BinaryOperator::Lt | BinaryOperator::LtEq => BinaryOperator::Lt,
        BinaryOperator::Gt | BinaryOperator::GtEq => BinaryOperator::Gt,
        _ => return compare_parts(left, op, right),
    };
    if left.len() != right.len() {
        return None;
    }
    let binary = |l: Expr, op: &BinaryOperator, r: Expr| Expr::BinaryOp {
        left: Box::new(l),
        op: op.clone(),
        right: Box::new(r),
    };
    let pairs = left.iter().zip(right).rev();
    let ordered = pairs.fold(None, |rest: Option<Expr>, (l, r)| {
        let Some(rest) = rest else { return Some(binary(l.clone(), op, r.clone())) };
        let equal = binary(l.clone(), &BinaryOperator::Eq, r.clone());
        let later = binary(equal, &BinaryOperator::And, rest);
        let first = binary(l.clone(), &strict, r.clone());
        Some(Expr::Nested(Box::new(binary(first, &BinaryOperator::Or, later))))
    })?;
    Some(Expr::Nested(Box::new(ordered)))
}

fn compare_parts(left: &[Expr], op: &BinaryOperator, right: &[Expr]) -> Option<Expr> {
    let (joined, each) = match op {
        BinaryOperator::Eq => (BinaryOperator::And, BinaryOperator::Eq),
        BinaryOperator::NotEq => (BinaryOperator::Or, BinaryOperator::NotEq),
        _ => return None,
    };
    if left.len() != right.len() {
        return None;
    }
    let pairs = left.iter().zip(right).map(|(l, r)| Expr::BinaryOp {
        left: Box::new(l.clone()),
        op: each.clone(),
        right: Box::new(r.clone()),
    });
    let all = pairs.reduce(|l, r| Expr::BinaryOp {
        left: Box::new(l),
        op: joined.clone(),
        right: Box::new(r),
    })?;
    Some(Expr::Nested(Box::new(all)))
}

/// `(a, b) IN ((1, 2), (3, 4))` as comparisons; `None` unless every item is a row of the same length.
pub(super) fn row_in_rows(row: &[Expr], list: &[Expr], negated: bool) -> Option<Expr> {
    let (op, joined) = if negated {
        (BinaryOperator::NotEq, BinaryOperator::And)
    } else {
        (BinaryOperator::Eq, BinaryOperator::Or)
    };
    let tests = list.iter().map(|item| match item {
        Expr::Tuple(other) => compare_rows(row, &op, other),
        _ => None,
    });
    let tests = tests.collect::<Option<Vec<Expr>>>()?;
    let all = tests.into_iter().reduce(|l, r| Expr::BinaryOp {
        left: Box::new(l),
        op: joined.clone(),
        right: Box::new(r),
    })?;
    Some(Expr::Nested(Box::new(all)))
}

/// `(a, b) IN (SELECT x, y ...)` as a question for rows that are equal and, where there is none, for rows that may be.
pub(super) fn row_in_query(row: &[Expr], query: &Query, negated: bool) -> Option<Expr> {
    let names: Vec<String> = (1..=row.len()).map(|i| format!("\"#{i}\"")).collect();
    let from = format!("SELECT 1 FROM (SELECT 1) AS \"#rows\" ({})", names.join(", "));
    let columns: Vec<Expr> = (1..=row.len())
        .map(|i| Expr::Identifier(Ident::with_quote('"', format!("#{i}"))))
        .collect();
    let equal = compare_rows(row, &BinaryOperator::Eq, &columns)?;
    let any_where = |condition: Expr| {
        let mut asked = template(&from);
        if let SetExpr::Select(select) = asked.body.as_mut() {
            if let Some(TableFactor::Derived { subquery, .. }) =
                select.from.first_mut().map(|from| &mut from.relation)
            {
                **subquery = query.clone();
            }
            select.selection = Some(condition);
        }
        Expr::Exists { subquery: asked, negated: false }
    };
    let when =
        |condition: Expr, result: Value| CaseWhen { condition, result: Expr::Value(result.into()) };
    let conditions = vec![
        when(any_where(equal.clone()), Value::Boolean(!negated)),
        when(any_where(Expr::IsNull(Box::new(equal))), Value::Null),
    ];
    Some(Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions,
        else_result: Some(Box::new(Expr::Value(Value::Boolean(negated).into()))),
    })
}

/// The refusal of an IN over a subquery that has another number of columns.
pub(super) fn refused(expr: &Expr) -> Option<Error> {
    let Expr::InSubquery { expr: row, subquery, .. } = expr else { return None };
    let SetExpr::Select(select) = subquery.body.as_ref() else { return None };
    let plain = |item: &SelectItem| {
        matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. })
    };
    let wanted = if let Expr::Tuple(row) = row.as_ref() { row.len() } else { 1 };
    let columns = select.projection.len();
    if columns == wanted || !select.projection.iter().all(plain) {
        return None;
    }
    let number = if columns < wanted { "few" } else { "many" };
    Some(Error::syntax(format!("subquery has too {number} columns")))
}
