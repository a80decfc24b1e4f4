//! jsonb: operators.

use std::sync::Arc;

use arrow_schema::Field;
use datafusion::logical_expr::ScalarUDF;
use sqlparser::ast::BinaryOperator;

/// The function a jsonb operator stands for between these operands; `None` where it is another family's.
pub(crate) fn operator(_op: &BinaryOperator, _left: &Field, _right: &Field) -> Option<Arc<ScalarUDF>> {
    None
}
