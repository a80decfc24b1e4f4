//! Comparisons of rows as comparisons of their parts, in the parsed query.

use sqlparser::ast::{BinaryOperator, Expr};

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
