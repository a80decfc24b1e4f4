//! The marks of types (`jsonb`, `uuid`, `numeric`) through expressions that DataFusion takes for plain Arrow types.
//!
//! CASE, coalesce and their like, and scalar subqueries give values of their operands' type, but DataFusion keeps only the
//! Arrow type. Owns what such an expression's type is, and the function that says it to DataFusion. The planner asks nobody
//! about these expressions, so each of them is made the left side of an operator of our own, which it does ask about; the
//! same way a relation's name finds to its whole row. Invariant: an expression without a mark is planned as it was written.

use std::sync::Arc;

use arrow_schema::{DataType, FieldRef};
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, when,
};
use sqlparser::ast::{self, BinaryOperator};

use super::cast::cast_expr;
use super::errors::to_datafusion;
use super::functions::records::whole_row;
use super::operators::{compared, is_untyped};
use super::sql_types::{mark_of, plain};
use crate::error::Error;

/// Functions whose result is one of their arguments.
const CHOOSING: &[&str] = &["coalesce", "nvl", "nullif", "greatest", "least"];

/// The word of the operator by which planning comes here.
const KEEP: &str = "keep mark";

/// Makes an expression that chooses between values, or may be a row, an operand.
pub(super) fn respell(expr: &mut ast::Expr) {
    let asked = match expr {
        ast::Expr::Case { .. } => true,
        ast::Expr::Function(function) => {
            CHOOSING.iter().any(|name| super::spelling::is_named(function, name))
        }
        _ => false,
    };
    if asked {
        operand(expr);
    }
}

/// Makes the arguments of a function that takes rows operands, where they may be relations' names.
pub(super) fn respell_rows(function: &mut ast::Function) {
    let ast::FunctionArguments::List(list) = &mut function.args else { return };
    for arg in &mut list.args {
        if let ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(arg)) = arg
            && matches!(arg, ast::Expr::Identifier(_))
        {
            operand(arg);
        }
    }
}

fn operand(expr: &mut ast::Expr) {
    let null = || ast::Expr::Value(ast::Value::Null.into());
    let left = Box::new(std::mem::replace(expr, null()));
    let op = BinaryOperator::PGCustomBinaryOperator(vec![KEEP.to_owned()]);
    *expr = ast::Expr::BinaryOp { left, op, right: Box::new(null()) };
}

/// What [`respell`] has hidden, with its mark.
pub(super) fn hidden_operand(
    op: &BinaryOperator,
    expr: &Expr,
    schema: &DFSchema,
) -> Option<DfResult<Expr>> {
    match op {
        BinaryOperator::PGCustomBinaryOperator(words) if words.as_slice() == [KEEP] => {
            Some(with_mark(expr.clone(), schema))
        }
        _ => None,
    }
}

fn with_mark(expr: Expr, schema: &DFSchema) -> DfResult<Expr> {
    if let Expr::Column(column) = &expr {
        let row = column.relation.is_none().then(|| whole_row(&column.name, schema)).flatten();
        return Ok(row.unwrap_or(expr));
    }
    refuse_greatest_record(&expr, schema)?;
    if let Some(compared) = null_if(&expr, schema)? {
        return Ok(compared);
    }
    if let Some(array) = array_choice(&expr, schema) {
        return with_typed_literals(expr, &array);
    }
    let field = field_of(&expr, schema)?;
    let Some(mark) = mark_of(&field) else { return Ok(expr) };
    if mark_of(&expr.to_field(schema)?.1) == Some(mark) {
        return Ok(expr);
    }
    Ok(kept_mark(with_typed_literals(expr, &field)?, &field))
}

/// DataFusion takes a NULL member for the smallest, where ORDER BY has it last.
fn refuse_greatest_record(expr: &Expr, schema: &DFSchema) -> DfResult<()> {
    let Expr::ScalarFunction(call) = expr else { return Ok(()) };
    let name = call.func.name();
    let ordered = matches!(name, "greatest" | "least");
    let record = |arg: &Expr| matches!(arg.get_type(schema), Ok(DataType::Struct(_)));
    match ordered && call.args.iter().any(record) {
        true => {
            Err(to_datafusion(Error::unsupported(format!("{name} of records is not supported"))))
        }
        false => Ok(()),
    }
}

/// `nullif(a, b)` of types whose equality is not DataFusion's.
fn null_if(expr: &Expr, schema: &DFSchema) -> DfResult<Option<Expr>> {
    let Expr::ScalarFunction(call) = expr else { return Ok(None) };
    let [left, right] = call.args.as_slice() else { return Ok(None) };
    if call.func.name() != "nullif" {
        return Ok(None);
    }
    let field = match is_untyped(left) {
        true => field_of(right, schema)?,
        false => field_of(left, schema)?,
    };
    let data_type = field.data_type();
    let interval = matches!(data_type, DataType::Interval(_));
    if mark_of(&field) != Some("jsonb") && !interval && !data_type.is_nested() {
        return Ok(None);
    }
    let left = match is_untyped(left) {
        true => cast_expr(left.clone(), &field).map_err(to_datafusion)?,
        false => left.clone(),
    };
    let equal = compared(Operator::Eq, left.clone(), right.clone(), schema)?;
    let null = Expr::Literal(ScalarValue::try_from(data_type)?, None);
    let kept = when(equal, null).otherwise(left)?;
    Ok(Some(if mark_of(&field).is_some() { kept_mark(kept, &field) } else { kept }))
}

/// The type of arrays among the choices.
fn array_choice(expr: &Expr, schema: &DFSchema) -> Option<FieldRef> {
    let fields = choices(expr).into_iter().filter_map(|choice| field_of(choice, schema).ok());
    fields
        .into_iter()
        .find(|field| matches!(field.data_type(), DataType::List(_)) && mark_of(field).is_none())
}

/// Literals among the choices become values of the type, as their form is the type's own.
fn with_typed_literals(expr: Expr, field: &FieldRef) -> DfResult<Expr> {
    let typed = |expr: Expr| match &expr {
        Expr::Literal(ScalarValue::Utf8(Some(_)), _) if is_untyped(&expr) => {
            cast_expr(expr, field).map_err(to_datafusion)
        }
        _ => Ok(expr),
    };
    match expr {
        Expr::Case(mut case) => {
            for (_, then) in &mut case.when_then_expr {
                **then = typed(then.as_ref().clone())?;
            }
            if let Some(otherwise) = &mut case.else_expr {
                **otherwise = typed(otherwise.as_ref().clone())?;
            }
            Ok(Expr::Case(case))
        }
        Expr::ScalarFunction(mut call) => {
            call.args = call.args.into_iter().map(typed).collect::<DfResult<_>>()?;
            Ok(Expr::ScalarFunction(call))
        }
        other => Ok(other),
    }
}

/// The identity, whose result has a mark.
#[derive(Debug, PartialEq, Eq, Hash)]
struct KeepMark {
    name: String,
    field: FieldRef,
    signature: Signature,
}

impl ScalarUDFImpl for KeepMark {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(types[0].clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let given = args.arg_fields[0].data_type();
        Ok(match given == self.field.data_type() {
            true => Arc::new(super::sql_types::renamed(&self.field, "", true)),
            false => plain(given.clone()),
        })
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Ok(args.args.swap_remove(0))
    }
}

/// The expression, whose type is the same, with the mark of a field.
pub(super) fn kept_mark(expr: Expr, field: &FieldRef) -> Expr {
    let keep = KeepMark {
        name: format!("keep:{}", mark_of(field).unwrap_or_default()),
        field: Arc::clone(field),
        signature: Signature::any(1, Volatility::Immutable),
    };
    ScalarUDF::from(keep).call(vec![expr])
}

/// Whether a function is the identity that keeps a mark.
pub(super) fn keeps_mark(name: &str) -> bool {
    name.starts_with("keep:")
}

/// The field of an expression, with the mark of the values that it chooses from.
pub(super) fn field_of(expr: &Expr, schema: &DFSchema) -> DfResult<FieldRef> {
    let field = expr.to_field(schema)?.1;
    if mark_of(&field).is_some() || field.data_type().is_null() {
        return Ok(field);
    }
    let chosen = choices(expr)
        .into_iter()
        .filter_map(|choice| field_of(choice, schema).ok())
        .chain(subquery_field(expr));
    let mut marked = chosen.filter(|f| mark_of(f).is_some() && f.data_type() == field.data_type());
    Ok(marked.next().unwrap_or(field))
}

fn subquery_field(expr: &Expr) -> Option<FieldRef> {
    match expr {
        Expr::ScalarSubquery(subquery) => {
            subquery.subquery.schema().fields().first().map(Arc::clone)
        }
        _ => None,
    }
}

/// The expressions whose values an expression may have.
fn choices(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::Alias(alias) => choices(&alias.expr),
        Expr::Case(case) => {
            let branches = case.when_then_expr.iter().map(|(_, then)| then.as_ref());
            branches.chain(case.else_expr.as_deref()).collect()
        }
        Expr::ScalarFunction(call) if CHOOSING.contains(&call.func.name()) => {
            call.args.iter().collect()
        }
        _ => vec![],
    }
}
