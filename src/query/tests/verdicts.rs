//! Properties: a row's verdict is its verdict alone, whatever batch it is in.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int32Array, RecordBatch};
use datafusion::common::DFSchema;
use proptest::prelude::*;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::harness::{Tables, engine};
use crate::query::{compile, evaluate, filter};

/// A boolean expression over x and y of which parts may fail.
fn predicate() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("x > 0".to_owned()),
        Just("y is null".to_owned()),
        Just("10 / x > 2".to_owned()),
        Just("(x + 2147483600) > y".to_owned()),
        Just("y / x = x / y".to_owned()),
        Just("x <> 0".to_owned()),
        Just("y % x = 0".to_owned()),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} and {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} or {b})")),
            inner.clone().prop_map(|a| format!("(not {a})")),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(a, b, c)| format!("(case when {a} then {b} else {c} end)")),
        ]
    })
}

fn value() -> impl Strategy<Value = Option<i32>> {
    prop_oneof![Just(None), (-2..100_i32).prop_map(Some), Just(Some(0)), Just(Some(0))]
}

fn batch(rows: &[(Option<i32>, Option<i32>)]) -> RecordBatch {
    let (x, y): (Vec<_>, Vec<_>) = rows.iter().copied().unzip();
    let columns: Vec<(&str, ArrayRef)> =
        vec![("x", Arc::new(Int32Array::from(x))), ("y", Arc::new(Int32Array::from(y)))];
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_row_has_the_same_verdict_alone_and_in_a_batch(
        sql in predicate(),
        rows in prop::collection::vec((value(), value()), 1..20),
    ) {
        let whole = batch(&rows);
        let schema = DFSchema::try_from(whole.schema().as_ref().clone()).unwrap();
        let ast = Parser::new(&PostgreSqlDialect {}).try_with_sql(&sql).unwrap().parse_expr().unwrap();
        let expr = engine().plan_expr(&ast, &schema, &Tables).unwrap();
        let compiled = compile(&expr, &schema).unwrap();
        let together = filter(&compiled, &whole).unwrap();
        let values = evaluate(&[Arc::clone(&compiled)], &whole).unwrap();
        prop_assert_eq!(values.columns[0].len() + values.failures.len(), rows.len());
        for row in 0..rows.len() {
            let alone = filter(&compiled, &whole.slice(row, 1)).unwrap();
            let failed = together.failures.iter().find(|(r, _)| *r == row).map(|(_, error)| error.code);
            prop_assert_eq!(alone.failures.first().map(|(_, error)| error.code), failed, "row {} of {}", row, &sql);
            prop_assert_eq!(alone.keep.value(0), together.keep.value(row), "row {} of {}", row, &sql);
        }
        // Sealing makes a batch err only for rows that err alone: without failing rows one evaluation suffices.
        if together.failures.is_empty() {
            prop_assert!(compiled.evaluate(&whole).is_ok(), "{} errs on a batch without failing rows", &sql);
        }
    }
}

#[test]
fn good_rows_keep_their_order_around_failures() {
    let rows: Vec<_> = (0..10).map(|i| (Some(i % 3), Some(i))).collect();
    let whole = batch(&rows);
    let schema = DFSchema::try_from(whole.schema().as_ref().clone()).unwrap();
    let ast =
        Parser::new(&PostgreSqlDialect {}).try_with_sql("y + 0 / x").unwrap().parse_expr().unwrap();
    let expr = engine().plan_expr(&ast, &schema, &Tables).unwrap();
    let evaluated = evaluate(&[compile(&expr, &schema).unwrap()], &whole).unwrap();
    let expected: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 4, 5, 7, 8]));
    assert_eq!(&evaluated.columns[0], &expected);
    assert_eq!(
        evaluated.failures.iter().map(|(row, _)| *row).collect::<Vec<_>>(),
        vec![0, 3, 6, 9]
    );
    assert!(evaluated.failures.iter().all(|(_, error)| error.code.0 == "22012"));
}
