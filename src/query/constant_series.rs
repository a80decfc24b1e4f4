//! `generate_series` of integers between constants: the one function in FROM that stays a table.
//!
//! SELECT streams its rows, however many; a view, whose plan may only have rows that are given, has them as a literal
//! collection ([`ConstantSeries::values`]).

use std::sync::Arc;

use arrow_array::Int64Array;
use arrow_schema::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::error::{Error, Result, SqlState};

/// Most rows of a series in a view, which are all in memory.
const ROWS_MAX: i64 = 1 << 24;

/// The series, and its bounds and step as they were given.
#[derive(Debug)]
pub struct ConstantSeries {
    rows: Arc<dyn TableProvider>,
    args: Vec<Expr>,
}

impl ConstantSeries {
    /// `rows` are those of the series from `args[0]` to `args[1]`, by steps of `args[2]` where it is given.
    pub(super) fn new(rows: Arc<dyn TableProvider>, args: Vec<Expr>) -> ConstantSeries {
        ConstantSeries { rows, args }
    }

    /// All its values. More than a view holds are 54000.
    pub fn values(&self) -> Result<Int64Array> {
        let number = |at: usize| match self.args.get(at) {
            Some(Expr::Literal(ScalarValue::Int64(number), _)) => Ok(*number),
            None => Ok(Some(1)),
            Some(_) => Err(Error::internal("a constant series has constant bounds")),
        };
        let (Some(start), Some(stop), Some(step)) = (number(0)?, number(1)?, number(2)?) else {
            return Ok(Int64Array::from(Vec::<i64>::new()));
        };
        if step == 0 {
            return Err(Error::internal("the step of a series is checked when it is planned"));
        }
        let mut values = vec![];
        let mut at = Some(start);
        while let Some(value) = at.filter(|&v| if step > 0 { v <= stop } else { v >= stop }) {
            if values.len() as i64 == ROWS_MAX {
                let message = format!("a series in a view has at most {ROWS_MAX} rows");
                return Err(Error::new(SqlState("54000"), message)
                    .with_hint("Insert it into a table instead."));
            }
            values.push(value);
            at = value.checked_add(step);
        }
        Ok(Int64Array::from(values))
    }
}

#[async_trait::async_trait]
impl TableProvider for ConstantSeries {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    fn table_type(&self) -> TableType {
        self.rows.table_type()
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        self.rows.scan(state, projection, filters, limit).await
    }
}
