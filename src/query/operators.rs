//! Which function a binary operator stands for, by PostgreSQL's rules for its operands' types.
//!
//! Owns operator resolution while SQL is planned: untyped literals and parameters take the other side's type, numbers
//! the wider of two types, and what PostgreSQL has no operator for is refused with 42883 instead of being
//! coerced as DataFusion would. Comparisons stay DataFusion's own over operands made equal in type; arithmetic becomes
//! `arithmetic`'s functions. Evaluates nothing but literals.

use std::sync::Arc;

use arrow_schema::{DataType, FieldRef};
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr,
};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, ScalarUDF};
use sqlparser::ast::{self, BinaryOperator};

use super::arithmetic::{self, Operation};
use super::cast::{CAST_PREFIX, cast_expr, target_of};
use super::errors::{to_datafusion, undefined_operator};
use super::functions;
use super::key_equality::value_function;
use super::quantified::{self, Quantified};
use super::spelling::take;
use super::sql_types::{canonical, canonical_field, interval, mark_of, numeric, pg_name, plain};
use super::subscripts;
use crate::error::{Error, Result, SqlState};
use crate::types::{map_field, map_parts};

/// The words of the operators that stand for `IS DISTINCT FROM` and its opposite, about which no planner is asked.
const DISTINCT: &str = "is distinct from";
const NOT_DISTINCT: &str = "is not distinct from";

/// Makes such a comparison an operator. Rows stay as they are.
pub(super) fn respell(expr: &mut ast::Expr) {
    use ast::Expr as E;
    let (word, left, right) = match expr {
        E::IsDistinctFrom(left, right) => (DISTINCT, left, right),
        E::IsNotDistinctFrom(left, right) => (NOT_DISTINCT, left, right),
        _ => return,
    };
    if matches!((left.as_ref(), right.as_ref()), (E::Tuple(_), _) | (_, E::Tuple(_))) {
        return;
    }
    let op = BinaryOperator::PGCustomBinaryOperator(vec![word.to_owned()]);
    let (left, right) = (Box::new(take(left)), Box::new(take(right)));
    *expr = E::BinaryOp { left, op, right };
}

/// Resolves operators as PostgreSQL does.
#[derive(Debug)]
pub(super) struct PgOperators;

impl ExprPlanner for PgOperators {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> DfResult<PlannerResult<RawBinaryExpr>> {
        if let Some(planned) = super::marks::hidden_operand(&expr.op, &expr.left, schema) {
            return planned.map(PlannerResult::Planned);
        }
        let left = Side::of(expr.left, schema)?;
        let right = Side::of(expr.right, schema)?;
        match resolve(&expr.op, left, right).map_err(to_datafusion)? {
            Resolved::Planned(planned) => Ok(PlannerResult::Planned(planned)),
            Resolved::Left(left, right) => {
                Ok(PlannerResult::Original(RawBinaryExpr { op: expr.op, left, right }))
            }
        }
    }

    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> DfResult<PlannerResult<RawFieldAccessExpr>> {
        subscripts::resolve(access, schema)
    }

    fn plan_array_literal(
        &self,
        exprs: Vec<Expr>,
        _schema: &DFSchema,
    ) -> DfResult<PlannerResult<Vec<Expr>>> {
        if exprs.is_empty() {
            let message = "cannot determine type of empty array";
            return Err(to_datafusion(
                Error::new(SqlState::INDETERMINATE_DATATYPE, message).with_hint(
                    "Explicitly cast to the desired type, for example ARRAY[]::integer[].",
                ),
            ));
        }
        Ok(PlannerResult::Planned(functions::arrays::array().call(exprs)))
    }
}

/// An operand with its type; `untyped` literals and parameters take their type from the other side.
struct Side {
    expr: Expr,
    field: FieldRef,
    untyped: bool,
}

impl Side {
    fn of(expr: Expr, schema: &DFSchema) -> DfResult<Side> {
        let untyped = is_untyped(&expr);
        if untyped {
            return Ok(Side { expr, field: plain(DataType::Utf8), untyped });
        }
        let field = super::marks::field_of(&expr, schema)?;
        // DataFusion's own functions give unsigned integers and nanoseconds: operators only know the stored forms.
        if !field.data_type().is_null() && canonical(field.data_type()) != *field.data_type() {
            let field: FieldRef = Arc::new(canonical_field(&field));
            return Ok(Side {
                expr: cast_expr(expr, &field).map_err(to_datafusion)?,
                field,
                untyped,
            });
        }
        Ok(Side { expr, field, untyped })
    }

    fn data_type(&self) -> &DataType {
        self.field.data_type()
    }

    /// What messages call it.
    fn name(&self) -> String {
        if self.untyped { "unknown".to_owned() } else { pg_name(&self.field) }
    }

    fn cast(self, target: &FieldRef) -> Result<Expr> {
        if let Expr::Placeholder(placeholder) = &self.expr
            && placeholder.field.is_none()
        {
            let typed =
                Placeholder::new_with_field(placeholder.id.clone(), Some(Arc::clone(target)));
            return Ok(Expr::Placeholder(typed));
        }
        let same_mark = mark_of(target).is_none_or(|mark| mark_of(&self.field) == Some(mark));
        if self.data_type() == target.data_type() && same_mark && !self.untyped {
            return Ok(self.expr);
        }
        cast_expr(self.expr, target)
    }
}

/// Whether SQL leaves the expression's type open: string literals, NULL, and parameters nobody has typed.
pub(super) fn is_untyped(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(ScalarValue::Utf8(_) | ScalarValue::Null, metadata) => metadata.is_none(),
        Expr::Placeholder(placeholder) => placeholder.field.is_none(),
        _ => false,
    }
}

enum Resolved {
    Planned(Expr),
    /// Another planner, or DataFusion itself, knows the operator.
    Left(Expr, Expr),
}

fn resolve(op: &BinaryOperator, left: Side, right: Side) -> Result<Resolved> {
    use BinaryOperator as B;
    let (left, right) = match documents(op, left, right)? {
        Ok(planned) => return Ok(Resolved::Planned(planned)),
        Err(sides) => sides,
    };
    Ok(Resolved::Planned(match op {
        B::Plus => arithmetic(Operation::Add, left, right)?,
        B::Minus => arithmetic(Operation::Subtract, left, right)?,
        B::Multiply => arithmetic(Operation::Multiply, left, right)?,
        B::Divide => arithmetic(Operation::Divide, left, right)?,
        B::Modulo => arithmetic(Operation::Modulo, left, right)?,
        B::Eq => compare(Operator::Eq, "=", left, right)?,
        B::NotEq => compare(Operator::NotEq, "<>", left, right)?,
        B::Lt => compare(Operator::Lt, "<", left, right)?,
        B::LtEq => compare(Operator::LtEq, "<=", left, right)?,
        B::Gt => compare(Operator::Gt, ">", left, right)?,
        B::GtEq => compare(Operator::GtEq, ">=", left, right)?,
        B::And => logical(Operator::And, left, right)?,
        B::Or => logical(Operator::Or, left, right)?,
        B::StringConcat => return concat(left, right),
        B::PGExp => power(left, right)?,
        B::PGRegexMatch => matches("~", left, right)?,
        B::PGRegexIMatch => matches("~*", left, right)?,
        B::PGRegexNotMatch => matches("!~", left, right)?,
        B::PGRegexNotIMatch => matches("!~*", left, right)?,
        B::PGOverlap => between_arrays("&&", functions::arrays::overlap, left, right)?,
        B::AtArrow => between_arrays("@>", functions::arrays::contains, left, right)?,
        B::ArrowAt => between_arrays("<@", functions::arrays::contains, right, left)?,
        B::PGCustomBinaryOperator(words) if words.as_slice() == [DISTINCT] => {
            compare(Operator::IsDistinctFrom, "=", left, right)?
        }
        B::PGCustomBinaryOperator(words) if words.as_slice() == [NOT_DISTINCT] => {
            compare(Operator::IsNotDistinctFrom, "=", left, right)?
        }
        other => match quantified::of_operator(other) {
            Some(function) => quantify(function, left, right)?,
            None => return Ok(Resolved::Left(left.expr, right.expr)),
        },
    }))
}

/// An operator with a document on one side; the sides are given back where it is none.
fn documents(
    op: &BinaryOperator,
    left: Side,
    right: Side,
) -> Result<std::result::Result<Expr, (Side, Side)>> {
    use BinaryOperator as B;
    // An untyped literal is a document beside one where the operator takes two.
    let left = match op {
        B::AtArrow | B::ArrowAt | B::StringConcat
            if left.untyped && mark_of(&right.field) == Some("jsonb") =>
        {
            let field = Arc::clone(&right.field);
            Side { expr: left.cast(&field)?, field, untyped: false }
        }
        _ => left,
    };
    let text = !right.untyped && mark_of(&right.field) != Some("jsonb");
    if matches!(op, B::StringConcat) && text {
        return Ok(Err((left, right)));
    }
    let Some(operator) = functions::json::operator(op, &left.field, &right.field) else {
        return Ok(Err((left, right)));
    };
    let right = if right.untyped { right.cast(&operator.untyped)? } else { right.expr };
    Ok(Ok(operator.function.call(vec![left.expr, right])))
}

/// `left op ANY (right)`: the elements' type and the left side's meet as in a comparison.
fn quantify(function: Quantified, left: Side, right: Side) -> Result<Expr> {
    let element = match right.data_type() {
        DataType::List(element) => Arc::clone(element),
        _ if right.untyped => Arc::clone(&left.field),
        _ => {
            let message = "op ANY/ALL (array) requires array on right side";
            return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message));
        }
    };
    let target = match left.untyped {
        true => element,
        false => comparison_type(&left.field, &element)
            .ok_or_else(|| undefined_operator(&left.name(), function.symbol, &pg_name(&element)))?,
    };
    let element = Arc::new(super::sql_types::renamed(&target, "item", true));
    let right = right.cast(&plain(DataType::List(element)))?;
    Ok(function.call(left.cast(&target)?, right))
}

/// An operator between arrays, whose items meet as in a comparison.
fn between_arrays(
    symbol: &str,
    function: fn() -> Arc<ScalarUDF>,
    left: Side,
    right: Side,
) -> Result<Expr> {
    let refused = undefined_operator(&left.name(), symbol, &right.name());
    let known = if left.untyped { &right.field } else { &left.field };
    let other = if right.untyped { &left.field } else { &right.field };
    let target = comparison_type(known, other).ok_or_else(|| refused.clone())?;
    if !matches!(target.data_type(), DataType::List(_)) || pg_name(known) != pg_name(other) {
        return Err(refused);
    }
    Ok(function().call(vec![left.cast(&target)?, right.cast(&target)?]))
}

fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}

fn logical(op: Operator, left: Side, right: Side) -> Result<Expr> {
    let boolean = plain(DataType::Boolean);
    for side in [&left, &right] {
        if !side.untyped && !matches!(side.data_type(), DataType::Boolean | DataType::Null) {
            return Err(crate::error::Error::new(
                crate::error::SqlState::DATATYPE_MISMATCH,
                format!("argument of {op} must be type boolean, not type {}", side.name()),
            ));
        }
    }
    Ok(binary(left.cast(&boolean)?, op, right.cast(&boolean)?))
}

fn rank(data_type: &DataType) -> Option<u8> {
    Some(match data_type {
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => 0,
        DataType::Int32 | DataType::UInt16 => 1,
        DataType::Int64 | DataType::UInt32 => 2,
        DataType::UInt64 | DataType::Decimal128(..) | DataType::Decimal256(..) => 3,
        DataType::Float16 | DataType::Float32 => 4,
        DataType::Float64 => 5,
        _ => return None,
    })
}

/// The types two numbers are cast to for an operator. A real meets anything else as double precision.
fn numbers(left: &FieldRef, right: &FieldRef) -> Option<(FieldRef, FieldRef)> {
    let (l, r) = (rank(left.data_type())?, rank(right.data_type())?);
    let unified = |rank: u8, field: &FieldRef| match rank {
        0 => plain(DataType::Int16),
        1 => plain(DataType::Int32),
        2 => plain(DataType::Int64),
        3 => match field.data_type() {
            DataType::Decimal128(..) => Arc::clone(field),
            DataType::Decimal256(_, s) => plain(numeric(*s)),
            _ => plain(numeric(0)),
        },
        4 => plain(DataType::Float32),
        _ => plain(DataType::Float64),
    };
    let common = if l == r {
        l
    } else if l.max(r) >= 4 {
        5
    } else {
        l.max(r)
    };
    Some((unified(common, left), unified(common, right)))
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_moment(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Date32 | DataType::Timestamp(..) | DataType::Time64(_))
}

fn arithmetic(operation: Operation, left: Side, right: Side) -> Result<Expr> {
    let refused = undefined_operator(&left.name(), operation.symbol(), &right.name());
    let (l, r) = operand_types(operation, &left, &right).ok_or_else(|| refused.clone())?;
    arithmetic::result_type(operation, l.data_type(), r.data_type()).ok_or(refused)?;
    if operation == Operation::Divide
        && let (DataType::Decimal128(..), DataType::Decimal128(..)) = (l.data_type(), r.data_type())
        && let (Some(dividend), Some(divisor)) = (known(&left.expr), known(&right.expr))
        && let Some(quotient) = arithmetic::known_quotient(dividend, divisor)
    {
        return Ok(Expr::Literal(quotient, None));
    }
    Ok(arithmetic::function(operation).call(vec![left.cast(&l)?, right.cast(&r)?]))
}

/// The value and scale of a number that is written out, casts included.
fn known(expr: &Expr) -> Option<(i128, i8)> {
    match expr {
        Expr::Literal(ScalarValue::Decimal128(Some(value), _, scale), _) => Some((*value, *scale)),
        Expr::Literal(value, _) => {
            let whole = match value {
                ScalarValue::Int16(value) => i64::from((*value)?),
                ScalarValue::Int32(value) => i64::from((*value)?),
                ScalarValue::Int64(value) => (*value)?,
                _ => return None,
            };
            Some((whole.into(), 0))
        }
        Expr::ScalarFunction(call) => {
            let (target, [argument @ Expr::Literal(..)]) = (target_of(call)?, call.args.as_slice())
            else {
                return None;
            };
            match cast_expr(argument.clone(), target).ok()? {
                literal @ Expr::Literal(..) => known(&literal),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The types that both operands are cast to before the operator.
fn operand_types(operation: Operation, left: &Side, right: &Side) -> Option<(FieldRef, FieldRef)> {
    use DataType as T;
    let (l, r) = (left.data_type(), right.data_type());
    if left.untyped && right.untyped {
        // PostgreSQL finds several operators here and gives up; NULL arithmetic is written often enough to be let through.
        return [left, right]
            .iter()
            .any(|s| matches!(s.expr, Expr::Literal(ScalarValue::Null, _)))
            .then(|| (plain(T::Int32), plain(T::Int32)));
    }
    if left.untyped || right.untyped {
        let known = if left.untyped { &right.field } else { &left.field };
        let other = match (known.data_type(), operation) {
            // `timestamp - '...'` subtracts a timestamp, `timestamp + '...'` adds an interval.
            (T::Timestamp(..) | T::Date32 | T::Time64(_), Operation::Subtract) => Arc::clone(known),
            (t, _) if is_moment(t) => plain(interval()),
            (T::Interval(_), Operation::Multiply | Operation::Divide) => plain(T::Float64),
            (T::Decimal128(..), _) => {
                super::sql_types::marked(numeric(super::sql_types::NUMERIC_SCALE), "numeric")
            }
            _ => Arc::clone(known),
        };
        return Some(if left.untyped {
            (other, Arc::clone(known))
        } else {
            (Arc::clone(known), other)
        });
    }
    if let Some(pair) = numbers(&left.field, &right.field) {
        return Some(pair);
    }
    let days = |t: &DataType| matches!(t, T::Int16 | T::Int32);
    match (l, r) {
        (T::Date32, r) if days(r) => Some((plain(T::Date32), plain(T::Int32))),
        (l, T::Date32) if days(l) => Some((plain(T::Int32), plain(T::Date32))),
        (T::Interval(_), r) if rank(r).is_some() => Some((plain(interval()), plain(T::Float64))),
        (l, T::Interval(_)) if rank(l).is_some() => Some((plain(T::Float64), plain(interval()))),
        (T::Date32 | T::Timestamp(..), T::Date32 | T::Timestamp(..)) if l != r => {
            let moment = later_moment(l, r);
            Some((moment.clone(), moment))
        }
        _ => Some((Arc::clone(&left.field), Arc::clone(&right.field))),
    }
}

/// The type in which two dates or timestamps meet.
fn later_moment(left: &DataType, right: &DataType) -> FieldRef {
    let zoned = |t: &DataType| matches!(t, DataType::Timestamp(_, Some(_)));
    plain(if zoned(left) || zoned(right) {
        super::sql_types::timestamptz()
    } else {
        super::sql_types::timestamp()
    })
}

/// The type in which two operands are compared; `None` where PostgreSQL has no such comparison.
pub(super) fn comparison_type(left: &FieldRef, right: &FieldRef) -> Option<FieldRef> {
    use DataType as T;
    let (l, r) = (left.data_type(), right.data_type());
    if let (T::Decimal128(_, a), T::Decimal128(_, b)) = (l, r) {
        return Some(plain(numeric(*a.max(b))));
    }
    if let Some((left, right)) = numbers(left, right) {
        return Some(match (left.data_type(), right.data_type()) {
            (T::Decimal128(_, a), T::Decimal128(_, b)) => plain(numeric(*a.max(b))),
            _ => left,
        });
    }
    match (l, r) {
        _ if mark_of(left) != mark_of(right)
            && mark_of(left).or(mark_of(right)) == Some("jsonb") =>
        {
            None
        }
        (l, r) if l == r && functions::json::is_document(left) => Some(Arc::clone(left)),
        (l, r) if is_text(l) && is_text(r) => Some(plain(T::Utf8)),
        (T::Null, _) => Some(Arc::clone(right)),
        (_, T::Null) => Some(Arc::clone(left)),
        (l, r) if l == r => Some(Arc::clone(left)),
        (T::Date32 | T::Timestamp(..), T::Date32 | T::Timestamp(..)) => Some(later_moment(l, r)),
        (T::Interval(_) | T::Duration(_), T::Interval(_) | T::Duration(_)) => {
            Some(plain(interval()))
        }
        (T::List(a), T::List(b)) => {
            if let (Some(a), Some(b)) = (map_parts(left), map_parts(right)) {
                let (key, value) = (comparison_type(a.0, b.0)?, comparison_type(a.1, b.1)?);
                return map_field("", &key, &value).ok().map(Arc::new);
            }
            let item = comparison_type(a, b)?;
            let item = super::sql_types::renamed(&item, "item", true);
            Some(plain(T::List(Arc::new(item))))
        }
        // Rows are compared by places, whatever their members are called.
        (T::Struct(a), T::Struct(b)) if a.len() == b.len() => {
            let member = |(a, b): (&FieldRef, &FieldRef)| {
                let common = comparison_type(a, b)?;
                Some(super::sql_types::renamed(&common, a.name(), true))
            };
            let members = a.iter().zip(b).map(member).collect::<Option<arrow_schema::Fields>>()?;
            Some(plain(T::Struct(members)))
        }
        (T::Dictionary(..), _) | (_, T::Dictionary(..)) => Some(Arc::clone(left)),
        _ => None,
    }
}

/// The comparison as the operator's planner makes it; `=` is what messages call it.
pub(super) fn compared(op: Operator, left: Expr, right: Expr, schema: &DFSchema) -> DfResult<Expr> {
    let (left, right) = (Side::of(left, schema)?, Side::of(right, schema)?);
    compare(op, "=", left, right).map_err(to_datafusion)
}

fn compare(op: Operator, symbol: &str, left: Side, right: Side) -> Result<Expr> {
    let target = match (left.untyped, right.untyped) {
        (true, true) => plain(DataType::Utf8),
        (true, false) => literal_target(&left, &right.field),
        (false, true) => literal_target(&right, &left.field),
        // Columns stay columns, which joins and lookups know.
        (false, false) if are_numerics_alike(&left, &right) => Arc::clone(&left.field),
        (false, false) => comparison_type(&left.field, &right.field)
            .ok_or_else(|| undefined_operator(&left.name(), symbol, &right.name()))?,
    };
    // An untyped literal keeps the digits it was written with: numerics of two scales meet in the larger one.
    let target = match (left.untyped || right.untyped, target.data_type()) {
        (true, DataType::Decimal128(_, scale)) => plain(numeric(*scale)),
        _ => target,
    };
    if mark_of(&target) == Some("json") {
        return Err(undefined_operator(&left.name(), symbol, &right.name()));
    }
    if mark_of(&target) == Some("jsonb") {
        let function = match op {
            Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => {
                functions::json::order_key()
            }
            _ => functions::json::equality_key(),
        };
        let key = |side| function.call(vec![side]);
        let (left, right) = (left.cast(&target)?, right.cast(&target)?);
        return Ok(binary(key(left), op, key(right)));
    }
    let (left, right) = (left.cast(&target)?, right.cast(&target)?);
    if target.data_type().is_nested()
        && let Some(function) = functions::nested_order::function(op)
    {
        return Ok(function.call(vec![left, right]));
    }
    if let Some(value) = value_function(&target) {
        return Ok(binary(value.call(vec![left]), op, value.call(vec![right])));
    }
    Ok(binary(left, op, right))
}

fn are_numerics_alike(left: &Side, right: &Side) -> bool {
    left.data_type() == right.data_type() && matches!(left.data_type(), DataType::Decimal128(..))
}

/// What an untyped literal becomes beside a typed operand: a numeric with all the digits that either side has.
fn literal_target(literal: &Side, known: &FieldRef) -> FieldRef {
    match (&literal.expr, known.data_type()) {
        (Expr::Literal(ScalarValue::Utf8(Some(text)), _), DataType::Decimal128(_, scale)) => {
            let written =
                text.split_once('.').map_or(0, |(_, fraction)| fraction.trim().len().min(37) as i8);
            plain(numeric(written.max(*scale)))
        }
        _ => Arc::clone(known),
    }
}

/// `||` on text and anything that has a text form; arrays are left to DataFusion's planner.
fn concat(left: Side, right: Side) -> Result<Resolved> {
    let list = |side: &Side| matches!(side.data_type(), DataType::List(_) | DataType::LargeList(_));
    // An untyped literal beside an array is an array.
    if list(&left) && right.untyped {
        let field = Arc::clone(&left.field);
        return Ok(Resolved::Left(left.expr, right.cast(&field)?));
    }
    if list(&right) && left.untyped {
        let field = Arc::clone(&right.field);
        return Ok(Resolved::Left(left.cast(&field)?, right.expr));
    }
    if list(&left) || list(&right) {
        return Ok(Resolved::Left(left.expr, right.expr));
    }
    if !(is_text(left.data_type()) || is_text(right.data_type()) || left.untyped || right.untyped) {
        if matches!((left.data_type(), right.data_type()), (DataType::Binary, DataType::Binary)) {
            return Ok(Resolved::Left(left.expr, right.expr));
        }
        return Err(undefined_operator(&left.name(), "||", &right.name()));
    }
    let bytes = |side: &Side| *side.data_type() == DataType::Binary;
    if (bytes(&left) && right.untyped) || (left.untyped && bytes(&right)) {
        let bytea = plain(DataType::Binary);
        return Ok(Resolved::Left(left.cast(&bytea)?, right.cast(&bytea)?));
    }
    let text = plain(DataType::Utf8);
    Ok(Resolved::Planned(binary(left.cast(&text)?, Operator::StringConcat, right.cast(&text)?)))
}

/// `^` is a power of doubles.
fn power(left: Side, right: Side) -> Result<Expr> {
    let float = plain(DataType::Float64);
    Ok(functions::named("power").call(vec![left.cast(&float)?, right.cast(&float)?]))
}

/// `text ~ pattern` and its kin: whether any case matches, whether the answer is turned round.
fn matches(symbol: &str, left: Side, right: Side) -> Result<Expr> {
    let text = plain(DataType::Utf8);
    if [&left, &right].iter().any(|side| !side.untyped && !is_text(side.data_type())) {
        return Err(undefined_operator(&left.name(), symbol, &right.name()));
    }
    let name = match symbol.contains('*') {
        true => functions::regexp::MATCHES_ANY_CASE,
        false => functions::regexp::MATCHES,
    };
    let matches = functions::named(name).call(vec![left.cast(&text)?, right.cast(&text)?]);
    Ok(if symbol.starts_with('!') { Expr::Not(Box::new(matches)) } else { matches })
}

/// The name of the cast function to an integer, which number literals are written with.
pub(super) fn integer_cast_name() -> String {
    format!("{CAST_PREFIX}integer")
}
