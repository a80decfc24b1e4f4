//! jsonb: the operators `@>`, `<@` and `?`, over canonical text.

use std::hash::Hash;
use std::sync::Arc;

use arrow_array::BooleanArray;
use arrow_array::cast::AsArray;
use arrow_schema::DataType;
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use sqlparser::ast::BinaryOperator;

use super::json::{as_text, items, member};
use crate::error::Error;
use crate::query::errors::to_datafusion;

/// The family.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    [Test::Contains, Test::Contained, Test::HasKey].map(function).into()
}

/// The function of one of the operators; `None` for others.
pub(super) fn operator(op: &BinaryOperator) -> Option<Arc<ScalarUDF>> {
    match op {
        BinaryOperator::AtArrow => Some(function(Test::Contains)),
        BinaryOperator::ArrowAt => Some(function(Test::Contained)),
        BinaryOperator::Question => Some(function(Test::HasKey)),
        _ => None,
    }
}

fn function(test: Test) -> Arc<ScalarUDF> {
    let signature = Signature::any(2, Volatility::Immutable);
    Arc::new(ScalarUDF::from(Tester { test, signature }))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Test {
    Contains,
    Contained,
    HasKey,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Tester {
    test: Test,
    signature: Signature,
}

impl ScalarUDFImpl for Tester {
    fn name(&self) -> &str {
        match self.test {
            Test::Contains => "jsonb_contains",
            Test::Contained => "jsonb_contained",
            Test::HasKey => "jsonb_exists",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Boolean)
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let left = args.args[0].to_array(args.number_rows)?;
        let right = args.args[1].to_array(args.number_rows)?;
        let (Some(left), Some(right)) = (left.as_string_opt::<i32>(), right.as_string_opt::<i32>())
        else {
            return Err(to_datafusion(Error::internal("jsonb is text")));
        };
        let tested = left.iter().zip(right).map(|(left, right)| {
            let (left, right) = (left?, right?);
            Some(match self.test {
                Test::Contains => contains(left, right, true),
                Test::Contained => contains(right, left, true),
                Test::HasKey => has_key(left, right),
            })
        });
        Ok(ColumnarValue::Array(Arc::new(tested.collect::<BooleanArray>())))
    }
}

/// A key of an object, a string in an array, or the string itself.
fn has_key(document: &str, key: &str) -> bool {
    let is_key = |item: &str| item.starts_with('"') && as_text(item).as_deref() == Some(key);
    match document.as_bytes().first() {
        Some(b'{') => member(document, key).is_some(),
        Some(b'[') => items(document).any(is_key),
        _ => is_key(document),
    }
}

/// PostgreSQL's containment: members and elements may be more, order and number of elements do not count, and at the top an
/// array contains a bare scalar.
fn contains(whole: &str, part: &str, top: bool) -> bool {
    let kind = |document: &str| document.as_bytes().first().copied().unwrap_or_default();
    match (kind(whole), kind(part)) {
        (b'{', b'{') => {
            let mut parts = items(part);
            while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
                let found = as_text(name).and_then(|name| member(whole, &name));
                if !found.is_some_and(|found| contains(found, value, false)) {
                    return false;
                }
            }
            true
        }
        (b'[', b'[') => {
            items(part).all(|part| items(whole).any(|whole| contains(whole, part, false)))
        }
        (b'[', b'{') | (b'{', _) | (_, b'{' | b'[') => false,
        (b'[', _) => top && items(whole).any(|whole| same_scalar(whole, part)),
        _ => same_scalar(whole, part),
    }
}

/// Numbers are equal by value: 1 is 1.00.
fn same_scalar(left: &str, right: &str) -> bool {
    let plain = |number: &str| match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => number.to_owned(),
    };
    let number = |text: &str| text.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    left == right || number(left) && number(right) && plain(left) == plain(right)
}
