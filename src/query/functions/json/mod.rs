//! json and jsonb: operators and functions.
//!
//! A jsonb column holds canonical text (see `crate::types`), so a part of it is canonical text too: parts are found by
//! scanning, without building trees, and numbers keep every digit. json keeps the text it was given.
//!
//! `document` reads documents in place; `call` is what the functions have in common; `access`, `contain`, `edit`, `build`,
//! `order`, `casts` and `path` are the families of them.

mod access;
mod build;
mod call;
mod casts;
mod contain;
pub(super) mod document;
mod edit;
mod order;
mod path;

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef};
use datafusion::logical_expr::ScalarUDF;
use sqlparser::ast::BinaryOperator;

pub(super) use self::build::PAIR;
use self::call::{Function, Takes};
pub(crate) use self::casts::{has_cast, scalars};
use crate::query::sql_types::{mark_of, marked, plain};

/// The functions behind operators, under names that are not PostgreSQL's.
static BEHIND_OPERATORS: &[&Function] = &[
    &access::MEMBER,
    &access::MEMBER_TEXT,
    &access::ELEMENT,
    &access::ELEMENT_TEXT,
    &access::PATH,
    &access::PATH_TEXT,
    &edit::CONCAT,
    &edit::DELETE,
    &edit::DELETE_NAMES,
    &edit::DELETE_ELEMENT,
    &edit::DELETE_PATH,
    &order::KEY,
    &order::VALUE,
    &path::EXISTS,
    &path::MATCH,
];

/// The family.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    let tables =
        [access::FUNCTIONS, build::FUNCTIONS, contain::FUNCTIONS, edit::FUNCTIONS, path::FUNCTIONS];
    let functions = BEHIND_OPERATORS.iter().copied().chain(tables.into_iter().flatten());
    functions.map(Function::udf).collect()
}

fn is_json(field: &Field) -> bool {
    mark_of(field) == Some("json")
}

/// Whether a field is of one of the two types.
pub(crate) fn is_document(field: &Field) -> bool {
    matches!(mark_of(field), Some("jsonb" | "json"))
}

/// The function whose results compare as documents do.
pub(crate) fn order_key() -> Arc<ScalarUDF> {
    order::KEY.udf()
}

/// The function whose results are equal where documents are.
pub(crate) fn equality_key() -> Arc<ScalarUDF> {
    order::VALUE.udf()
}

/// The function of `#>`.
pub(crate) fn path() -> Arc<ScalarUDF> {
    access::PATH.udf()
}

/// What an operator between a document and something else stands for.
pub(crate) struct Operator {
    pub function: Arc<ScalarUDF>,
    /// The type of an untyped literal or parameter on the right.
    pub untyped: FieldRef,
}

/// The function of an operator whose left side is a document; `None` where there is none.
pub(crate) fn operator(op: &BinaryOperator, left: &Field, right: &Field) -> Option<Operator> {
    use BinaryOperator as B;
    if !is_document(left) {
        return None;
    }
    let integer = right.data_type().is_integer();
    let function = match op {
        B::Arrow if integer => &access::ELEMENT,
        B::Arrow => &access::MEMBER,
        B::LongArrow if integer => &access::ELEMENT_TEXT,
        B::LongArrow => &access::MEMBER_TEXT,
        B::HashArrow => &access::PATH,
        B::HashLongArrow => &access::PATH_TEXT,
        _ if is_json(left) => return None,
        B::AtArrow => named(contain::FUNCTIONS, "jsonb_contains"),
        B::ArrowAt => named(contain::FUNCTIONS, "jsonb_contained"),
        B::AtQuestion => &path::EXISTS,
        B::AtAt => &path::MATCH,
        B::Question => named(contain::FUNCTIONS, "jsonb_exists"),
        B::QuestionPipe => named(contain::FUNCTIONS, "jsonb_exists_any"),
        B::QuestionAnd => named(contain::FUNCTIONS, "jsonb_exists_all"),
        B::StringConcat => &edit::CONCAT,
        B::HashMinus => &edit::DELETE_PATH,
        B::Minus if integer => &edit::DELETE_ELEMENT,
        B::Minus => match right.data_type() {
            DataType::List(_) => &edit::DELETE_NAMES,
            _ => &edit::DELETE,
        },
        _ => return None,
    };
    let untyped = match function.takes[1] {
        Takes::Jsonb => marked(DataType::Utf8, "jsonb"),
        Takes::Texts => plain(DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)))),
        _ => plain(DataType::Utf8),
    };
    Some(Operator { function: function.udf(), untyped })
}

fn named(functions: &'static [Function], name: &str) -> &'static Function {
    functions.iter().find(|f| f.name == name).expect("the table holds the operators' functions")
}
