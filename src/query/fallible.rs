//! Which expressions may raise an error on some row, and the rewriting that keeps a row's verdict its own.
//!
//! DataFusion evaluates AND and OR by whole batches: whether the right side is evaluated for a row depends on the other
//! rows. Before execution ("sealing") every AND and OR whose right side may fail is therefore turned into a CASE, which
//! DataFusion evaluates for exactly the rows that reach it. Until then failing conjuncts travel through the optimizer
//! inside an opaque, volatile function (the guard), so that no rule takes them apart, reorders them or makes join
//! keys of them. Invariant: after sealing a batch errs if and only if one of its rows errs alone.

use std::sync::{Arc, LazyLock};

use arrow_schema::DataType;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ExprSchema, Result as DfResult, ScalarValue};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, Filter, LogicalPlan, Operator,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit, when,
};

use super::arithmetic::Operation;
use super::cast::{self, CastTo};
use super::functions::native::Native;

/// Functions that never raise, whatever their arguments' values.
const INFALLIBLE: &[&str] = &[
    "abs_float",
    "array_length",
    "array_position",
    "array_to_string",
    "ascii",
    "bit_length",
    "cardinality",
    "char_length",
    "character_length",
    "coalesce",
    "date_part",
    "date_trunc",
    "ends_with",
    "extract",
    "field:0",
    "field:1",
    "get_field",
    "greatest",
    "initcap",
    "isnan",
    "least",
    "left",
    "make_array",
    "map_access",
    "map_contains",
    "map_entries",
    "map_keys",
    "map_length",
    "map_values",
    "md5",
    "named_struct",
    "nullif",
    "nvl",
    "octet_length",
    "order:<",
    "order:<=",
    "order:>",
    "order:>=",
    "replace",
    "reverse",
    "right",
    "row",
    "row:pair",
    "split_part",
    "starts_with",
    "struct",
    "translate",
    "trim",
    "pg_typeof",
    "array_has",
    "any:=",
    "any:<>",
    "any:<",
    "any:<=",
    "any:>",
    "any:>=",
    "all:=",
    "all:<>",
    "all:<",
    "all:<=",
    "all:>",
    "all:>=",
    "array_element",
    "array_subscript",
    "array_slice_between",
    "arrayoverlap",
    "json_get",
    "json_get_text",
    "json_element",
    "json_element_text",
    "jsonb_contains",
    "jsonb_contained",
    "jsonb_exists",
    "jsonb_order",
    "jsonb_value",
    "jsonb_pretty",
    "jsonb_strip_nulls",
    "json_strip_nulls",
    "json_path",
    "json_path_text",
    "json_typeof",
    "jsonb_typeof",
    "timezone",
    "interval_length",
    "order:bytes",
    "value:",
    "rows:ordinality",
    "rows:unnest",
];

/// Whether evaluating the expression on some row of `schema` may raise an error. Errs on the side of yes.
pub fn is_fallible(expr: &Expr, schema: &dyn ExprSchema) -> bool {
    let mut fallible = false;
    let visited = expr.apply(|node| {
        fallible = match node {
            Expr::ScalarFunction(call) => may_raise(call.func.inner().as_ref(), &call.args, schema),
            Expr::Cast(cast) => cast
                .expr
                .get_type(schema)
                .map_or(true, |from| cast::may_fail(&from, cast.field.data_type())),
            Expr::BinaryExpr(binary) => is_arithmetic(binary.op),
            Expr::Negative(_)
            | Expr::ScalarSubquery(_)
            | Expr::HigherOrderFunction(_)
            | Expr::SetComparison(_) => true,
            Expr::Like(like) => !matches!(like.pattern.as_ref(), Expr::Literal(..)),
            Expr::SimilarTo(_) => true,
            // A subquery's own expressions are guarded in its own plan.
            _ => false,
        };
        Ok(if fallible { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    fallible || visited.is_err()
}

fn is_arithmetic(op: Operator) -> bool {
    use Operator as O;
    matches!(
        op,
        O::Plus
            | O::Minus
            | O::Multiply
            | O::Divide
            | O::Modulo
            | O::IntegerDivide
            | O::BitwiseShiftLeft
            | O::BitwiseShiftRight
            | O::RegexMatch
            | O::RegexIMatch
            | O::RegexNotMatch
            | O::RegexNotIMatch
    )
}

fn may_raise(function: &dyn ScalarUDFImpl, args: &[Expr], schema: &dyn ExprSchema) -> bool {
    if function.name() == GUARD {
        return true;
    }
    let any: &dyn std::any::Any = function;
    if let Some(cast) = any.downcast_ref::<CastTo>() {
        return args[0]
            .get_type(schema)
            .map_or(true, |from| cast::may_fail(&from, cast.target().data_type()));
    }
    if Operation::ALL.iter().any(|o| o.function_name() == function.name()) {
        return true;
    }
    if let Some(native) = any.downcast_ref::<Native>() {
        return native.may_raise() && !is_plain_substring(native, args, schema);
    }
    if super::marks::keeps_mark(function.name()) {
        return false;
    }
    // Integers have a least value without an absolute one.
    if matches!(function.name(), "abs" | "ceil" | "floor") {
        return !matches!(args[0].get_type(schema), Ok(DataType::Float32 | DataType::Float64));
    }
    !INFALLIBLE.contains(&function.name())
}

/// A part of a text by position raises only for a negative length.
fn is_plain_substring(function: &Native, args: &[Expr], schema: &dyn ExprSchema) -> bool {
    let by_position = |at: &Expr| at.get_type(schema).is_ok_and(|t| t.is_integer());
    let length = |length: &Expr| match length {
        Expr::Literal(ScalarValue::Int32(Some(length)), _) => *length >= 0,
        Expr::Literal(ScalarValue::Int64(Some(length)), _) => *length >= 0,
        _ => false,
    };
    matches!(function.name(), "substr" | "substring")
        && match args {
            [_, at] => by_position(at),
            [_, at, of] => by_position(at) && length(of),
            _ => false,
        }
}

const GUARD: &str = "guard";

/// An opaque identity on booleans.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Guard {
    signature: Signature,
}

impl ScalarUDFImpl for Guard {
    fn name(&self) -> &str {
        GUARD
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Ok(args.args[0].clone())
    }
}

fn guard(expr: Expr) -> Expr {
    static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        Arc::new(ScalarUDF::from(Guard { signature: Signature::any(1, Volatility::Volatile) }))
    });
    FUNCTION.call(vec![expr])
}

/// The guarded expression inside, if it is one.
pub(super) fn guarded(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::ScalarFunction(call) if call.func.name() == GUARD => call.args.first(),
        _ => None,
    }
}

/// Wraps the failing conjuncts of filters and join conditions. Subquery predicates are left for decorrelation.
pub(super) fn guard_plan(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Filter(filter) => {
            let schema = Arc::clone(filter.input.schema());
            let predicate = guard_conjuncts(filter.predicate, &schema);
            Ok(Transformed::yes(LogicalPlan::Filter(Filter::new(predicate, filter.input))))
        }
        LogicalPlan::Join(mut join) if join.filter.is_some() => {
            let schema = join.left.schema().join(join.right.schema())?;
            join.filter = join.filter.map(|filter| guard_conjuncts(filter, &schema));
            Ok(Transformed::yes(LogicalPlan::Join(join)))
        }
        other => Ok(Transformed::no(other)),
    })
    .data()
}

fn guard_conjuncts(predicate: Expr, schema: &DFSchema) -> Expr {
    let conjuncts = split_conjunction_owned(predicate).into_iter().map(|conjunct| {
        let bare = match &conjunct {
            Expr::Not(inner) => inner.as_ref(),
            other => other,
        };
        let subquery =
            matches!(bare, Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_));
        if !subquery && is_fallible(&conjunct, schema) && guarded(&conjunct).is_none() {
            guard(conjunct)
        } else {
            conjunct
        }
    });
    conjunction(conjuncts).expect("a predicate has at least one conjunct")
}

/// Takes the guards off again and makes every AND and OR with a failing right side a CASE.
pub(super) fn seal_plan(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        let schema = input_schema(&node)?;
        let names = NamePreserver::new(&node);
        let filter = matches!(node, LogicalPlan::Filter(_));
        node.map_expressions(|expr| {
            let name = names.save(&expr);
            let sealed = unguard(expr)?.transform_data(|expr| {
                if filter && needs_seal(&expr, &schema) {
                    Ok(Transformed::yes(seal_filter(expr, &schema)?))
                } else {
                    seal(expr, &schema)
                }
            })?;
            Ok(sealed.update_data(|expr| name.restore(expr)))
        })
    })
    .data()
}

/// Seals a single expression over `schema`.
pub(super) fn seal_expr(expr: Expr, schema: &DFSchema) -> DfResult<Expr> {
    unguard(expr)?.transform_data(|expr| seal(expr, schema)).data()
}

fn input_schema(node: &LogicalPlan) -> DfResult<DFSchema> {
    let mut schema = DFSchema::empty();
    for input in node.inputs() {
        schema.merge(input.schema());
    }
    if let LogicalPlan::TableScan(scan) = node {
        schema.merge(&scan.projected_schema);
    }
    Ok(schema)
}

fn unguard(expr: Expr) -> DfResult<Transformed<Expr>> {
    expr.transform_up(|node| match node {
        Expr::ScalarFunction(mut call) if call.func.name() == GUARD => {
            Ok(Transformed::yes(call.args.pop().expect("a guard has one argument")))
        }
        other => Ok(Transformed::no(other)),
    })
}

fn needs_seal(expr: &Expr, schema: &DFSchema) -> bool {
    split_conjunction(expr).iter().skip(1).any(|conjunct| is_fallible(conjunct, schema))
}

/// A filter's conjuncts one after the other, each evaluated only for the rows all earlier ones kept: NULL is false here.
fn seal_filter(expr: Expr, schema: &DFSchema) -> DfResult<Expr> {
    let mut conjuncts = split_conjunction_owned(expr).into_iter().rev();
    let last = conjuncts.next().expect("a predicate has at least one conjunct");
    let mut sealed = seal(last, schema)?.data;
    for conjunct in conjuncts {
        let conjunct = seal(conjunct, schema)?.data;
        // Neighbours that cannot fail stay an AND, which is evaluated faster.
        sealed = if is_fallible(&sealed, schema) {
            when(conjunct, sealed).otherwise(lit(false))?
        } else {
            conjunct.and(sealed)
        };
    }
    Ok(sealed)
}

fn seal(expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    expr.transform_down(|node| {
        let Expr::BinaryExpr(BinaryExpr { op: op @ (Operator::And | Operator::Or), .. }) = &node
        else {
            return Ok(Transformed::no(node));
        };
        let op = *op;
        let terms = terms_of(&node, op);
        if !terms.iter().skip(1).any(|term| is_fallible(term, schema)) {
            return Ok(Transformed::no(node));
        }
        let terms = terms
            .into_iter()
            .map(|term| Ok(seal(term.clone(), schema)?.data))
            .collect::<DfResult<Vec<Expr>>>()?;
        Ok(Transformed::new(lazy(op, terms)?, true, TreeNodeRecursion::Jump))
    })
}

/// The operands of nested applications of one operator, from left to right.
fn terms_of(expr: &Expr, op: Operator) -> Vec<&Expr> {
    match expr {
        Expr::BinaryExpr(binary) if binary.op == op => {
            let mut terms = terms_of(&binary.left, op);
            terms.extend(terms_of(&binary.right, op));
            terms
        }
        other => vec![other],
    }
}

/// AND as `CASE WHEN a IS FALSE THEN false WHEN b IS FALSE THEN false ... ELSE a AND b AND ...`: an operand is evaluated only
/// for rows that no earlier one decided, as PostgreSQL evaluates them. OR likewise with true.
fn lazy(op: Operator, terms: Vec<Expr>) -> DfResult<Expr> {
    let decided = op == Operator::Or;
    let all = terms.iter().cloned().reduce(|left, right| {
        Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
    });
    let all = all.expect("an operator has operands");
    let mut terms = terms.into_iter();
    let test = |term: Expr| if decided { term } else { term.is_false() };
    let first = terms.next().expect("an operator has operands");
    let mut case = when(test(first), lit(decided));
    for term in terms {
        case = case.when(test(term), lit(decided));
    }
    case.otherwise(all)
}

/// Guards a conjunct that became fallible by substitution.
pub(super) fn reguard(conjunct: Expr, schema: &DFSchema) -> DfResult<Expr> {
    Ok(if guarded(&conjunct).is_none() && is_fallible(&conjunct, schema) {
        guard(conjunct)
    } else {
        conjunct
    })
}

/// Takes the guard off a conjunct that simplification has made infallible.
pub(super) fn release(conjunct: Expr, schema: &DFSchema) -> Expr {
    match guarded(&conjunct) {
        Some(inner) if !is_fallible(inner, schema) => inner.clone(),
        _ => conjunct,
    }
}
