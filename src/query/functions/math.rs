//! Mathematics: functions over numbers whose PostgreSQL result type or errors differ from DataFusion's.

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;

/// `power(double precision, double precision)`, also `^`.
pub(crate) fn power() -> Arc<ScalarUDF> {
    datafusion::functions::math::power()
}
