//! Runs SQL through the engine over a few small tables and gives text as psql would show it.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use datafusion::common::TableReference;
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::{LogicalPlan, TableSource};
use sqlparser::ast::{Query, Statement};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result, SqlState};
use crate::query::errors::from_parser;
use crate::query::{Engine, EngineOptions, Resolver, canonicalise, text};

/// t(a int, b int, c bigint, d double precision, s text, n numeric(10,2)), u(id int, v int), empty(x int).
pub(super) struct Tables;

pub(super) fn t_batch() -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), Some(2), Some(3), None]));
    let n = arrow_cast::cast(&numbers, &DataType::Decimal128(10, 2)).unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("a", numbers),
        ("b", Arc::new(Int32Array::from(vec![Some(0), Some(1), Some(2), Some(0)]))),
        ("c", Arc::new(Int64Array::from(vec![Some(i64::MAX), Some(5), None, Some(7)]))),
        ("d", Arc::new(Float64Array::from(vec![Some(1.5), Some(2.5), Some(0.0), None]))),
        ("s", Arc::new(StringArray::from(vec![Some("1"), Some("two"), None, Some("4")]))),
        ("n", n),
    ];
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap()
}

fn u_batch() -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int32, true),
        Field::new("v", DataType::Int32, true),
    ]);
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int32Array::from(vec![2, 3])), Arc::new(Int32Array::from(vec![20, 30]))];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

fn empty_batch() -> RecordBatch {
    RecordBatch::new_empty(Arc::new(Schema::new(vec![Field::new("x", DataType::Int32, true)])))
}

impl Resolver for Tables {
    fn table(&self, reference: &TableReference) -> Result<Arc<dyn TableSource>> {
        let batch = match reference.table() {
            "t" => t_batch(),
            "u" => u_batch(),
            "empty" => empty_batch(),
            name => {
                return Err(Error::new(
                    SqlState::UNDEFINED_TABLE,
                    format!("relation \"{name}\" does not exist"),
                ));
            }
        };
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).unwrap();
        Ok(provider_as_source(Arc::new(table)))
    }

    fn setting(&self, _name: &str) -> Option<String> {
        None
    }
}

pub(super) fn engine() -> Engine {
    static ENGINE: std::sync::LazyLock<Engine> =
        std::sync::LazyLock::new(|| Engine::new(EngineOptions::default()).unwrap());
    ENGINE.clone()
}

pub(super) fn parse(sql: &str) -> Result<Query> {
    let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).map_err(from_parser)?;
    match statements.pop() {
        Some(Statement::Query(query)) => Ok(*query),
        other => panic!("not a query: {other:?}"),
    }
}

pub(super) fn plan(sql: &str) -> Result<LogicalPlan> {
    engine().plan(&parse(sql)?, &Tables, &[])
}

pub(super) fn plan_with(sql: &str, params: &[Option<FieldRef>]) -> Result<LogicalPlan> {
    engine().plan(&parse(sql)?, &Tables, params)
}

pub(super) fn run_plan(plan: LogicalPlan) -> Result<Vec<RecordBatch>> {
    let plan = engine().optimize_batch(canonicalise(plan)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(engine().collect(&plan, CancellationToken::new()))
}

/// The rows, columns separated by `|`, rows by `;`, NULL as `∅`.
pub(super) fn rows(sql: &str) -> Result<String> {
    let batches = run_plan(plan(sql)?)?;
    let mut lines = vec![];
    for batch in &batches {
        let columns: Vec<ArrayRef> = batch
            .schema()
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, column)| match column.data_type() {
                DataType::Boolean => {
                    let shown =
                        column.as_boolean().iter().map(|v| v.map(|v| if v { "t" } else { "f" }));
                    Ok(Arc::new(shown.collect::<StringArray>()) as ArrayRef)
                }
                _ => text::to_text(column, field, "UTC"),
            })
            .collect::<Result<_>>()?;
        for row in 0..batch.num_rows() {
            let cells: Vec<&str> =
                columns
                    .iter()
                    .map(|column| {
                        if column.is_null(row) {
                            "∅"
                        } else {
                            column.as_string::<i32>().value(row)
                        }
                    })
                    .collect();
            lines.push(cells.join("|"));
        }
    }
    Ok(lines.join(";"))
}

/// The rows, or `CODE message` of the error.
pub(super) fn outcome(sql: &str) -> String {
    match rows(sql) {
        Ok(text) => text,
        Err(error) => format!("{} {}", error.code, error.message),
    }
}
