//! Comparisons of rows as comparisons of their parts, in the parsed query.

use sqlparser::ast::{BinaryOperator, Expr};

/// Comparisons of rows, part by part: `(a, b) = (1, 2)` is `a = 1 AND b = 2`.
pub(super) fn compare_rows(left: &[Expr], op: &BinaryOperator, right: &[Expr]) -> Option<Expr> {
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
