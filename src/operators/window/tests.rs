//! What an operator has emitted over many epochs is what a new one emits for all rows at once. Blocks have few rows here, so
//! that little of a partition is looked at.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::{Float64Array, Int32Array, Int64Array, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use datafusion::functions_aggregate::array_agg::array_agg_udaf;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::super::accumulators::{AggregateFunction, RecomputedFunction, UdafArgument};
use super::super::row_order::SortKey;
use super::super::{Operator, Output};
use super::{Bound, Frame, Window, WindowCall, WindowFunction};
use crate::change::{ChangeBatch, errors_of};
use crate::epoch::Epoch;

/// Partition, key, number, float.
type Row = (i64, Option<i32>, i64, i64);

fn input_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("p", DataType::Int64, true),
        Field::new("k", DataType::Int32, true),
        Field::new("n", DataType::Int64, true),
        Field::new("f", DataType::Float64, true),
    ]))
}

fn batch(rows: &[(Row, i64)]) -> ChangeBatch {
    let columns: Vec<arrow_array::ArrayRef> = vec![
        Arc::new(rows.iter().map(|(r, _)| Some(r.0)).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|(r, _)| r.1).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|(r, _)| Some(r.2)).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|(r, _)| Some(r.3 as f64 / 10.0)).collect::<Float64Array>()),
    ];
    let rows: Vec<i64> = rows.iter().map(|(_, weight)| *weight).collect();
    ChangeBatch::new(RecordBatch::try_new(input_schema(), columns).unwrap(), rows)
}

fn bound(random: &mut StdRng, start: bool) -> Bound {
    match random.random_range(0..5) {
        0 | 1 => Bound::Unbounded,
        2 => Bound::Before(random.random_range(0..4)),
        3 if start => Bound::Before(random.random_range(0..12)),
        _ => Bound::After(random.random_range(0..4)),
    }
}

fn frame(random: &mut StdRng) -> Frame {
    let (start, end) = (bound(random, true), bound(random, false));
    if random.random() { Frame::Rows(start, end) } else { Frame::Groups(start, end) }
}

fn call(random: &mut StdRng, number: usize) -> WindowCall {
    use AggregateFunction as A;
    use WindowFunction as W;
    let array_agg = RecomputedFunction {
        function: array_agg_udaf(),
        arguments: vec![UdafArgument::Column(0)],
        order: vec![],
        ignore_nulls: false,
    };
    let item = Arc::new(Field::new_list_field(DataType::Int64, true));
    let rows = |random: &mut StdRng| Some(random.random_range(-9..9));
    let big = DataType::Int64;
    let (function, args, returned) = match random.random_range(0..18) {
        0 => (W::RowNumber, vec![], big),
        1 => (W::Rank, vec![], big),
        2 => (W::DenseRank, vec![], big),
        3 => (W::PercentRank, vec![], DataType::Float64),
        4 => (W::CumeDist, vec![], DataType::Float64),
        5 => (W::Ntile(Some(random.random_range(1..5))), vec![], DataType::Int32),
        6 | 7 => (W::Shift { rows: rows(random), sign: 1, default: false }, vec![2], big),
        8 => (W::Shift { rows: rows(random), sign: 1, default: true }, vec![2, 0], big),
        9 => (W::FirstValue, vec![2], big),
        10 => (W::LastValue, vec![2], big),
        11 => (W::NthValue(Some(random.random_range(1..7))), vec![2], big),
        12 => (W::Aggregate(A::CountStar), vec![], big),
        13 => (W::Aggregate(A::Sum), vec![3], DataType::Float64),
        14 => (W::Aggregate(A::Sum), vec![2], DataType::Decimal128(38, 0)),
        15 => (W::Aggregate(A::Min), vec![2], big),
        16 => (W::Aggregate(A::Count), vec![1], big),
        _ => (W::Aggregate(A::Udaf(Arc::new(array_agg))), vec![2], DataType::List(item)),
    };
    let return_field = Arc::new(Field::new(format!("c{number}"), returned, true));
    WindowCall { function, args, filter: None, frame: frame(random), return_field }
}

fn operator(calls: &[WindowCall]) -> Window {
    let key = SortKey { column: 1, descending: false, nulls_first: false };
    let mut fields = input_schema().fields().to_vec();
    fields.extend(calls.iter().map(|call| call.return_field.clone()));
    let schema = Arc::new(Schema::new(fields));
    Window::new(input_schema(), vec![0], (&[key], &[]), calls.to_vec(), schema).unwrap()
}

/// Adds what has been emitted to rows as text.
fn collect(out: &Output, into: &mut BTreeMap<String, i64>) {
    let options = FormatOptions::default().with_null("null");
    for change in &out.batches {
        assert!(!change.is_errors(), "{:?}", errors_of(change));
        let columns = change.rows().columns().iter();
        let columns: Vec<ArrayFormatter> =
            columns.map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap()).collect();
        for (row, weight) in change.weights.iter().enumerate() {
            let text: Vec<String> = columns.iter().map(|c| c.value(row).to_string()).collect();
            *into.entry(text.join(" | ")).or_default() += weight;
        }
    }
    into.retain(|_, weight| *weight != 0);
}

fn run(operator: &mut Window, changes: &[(Row, i64)], into: &mut BTreeMap<String, i64>) {
    let mut out = Output::default();
    for part in changes.chunks(7) {
        operator.apply(0, batch(part), &mut out).unwrap();
    }
    operator.emit(Epoch(1), &mut out).unwrap();
    collect(&out, into);
}

fn changes(random: &mut StdRng, rows: &mut Vec<Row>, grows: bool) -> Vec<(Row, i64)> {
    let many = if random.random_bool(0.2) { 25 } else { 3 };
    let mut changes = vec![];
    for _ in 0..random.random_range(1..=many) {
        if !rows.is_empty() && random.random_bool(if grows { 0.3 } else { 0.7 }) {
            changes.push((rows.swap_remove(random.random_range(0..rows.len())), -1));
        } else {
            let key = random.random_bool(0.9).then(|| random.random_range(0..8));
            let row = (
                random.random_range(0..2),
                key,
                random.random_range(0..40),
                random.random_range(0..9),
            );
            rows.push(row);
            changes.push((row, 1));
        }
    }
    changes
}

#[test]
fn results_after_changes_are_those_of_the_rows_that_are_left() {
    for seed in 0..25 {
        let random = &mut StdRng::seed_from_u64(seed);
        let count = [1, 1, 1, 2, 3].choose(random).copied().unwrap();
        let calls: Vec<WindowCall> = (0..count).map(|n| call(random, n)).collect();
        let (mut rows, mut found) = (vec![], BTreeMap::new());
        let mut maintained = operator(&calls);
        let mut saved = vec![];
        for epoch in 0..30 {
            let changes = changes(random, &mut rows, epoch < 18);
            run(&mut maintained, &changes, &mut found);
            let mut expected = BTreeMap::new();
            let all: Vec<(Row, i64)> = rows.iter().map(|row| (*row, 1)).collect();
            if !all.is_empty() {
                run(&mut operator(&calls), &all, &mut expected);
            }
            assert_eq!(found, expected, "seed {seed}, epoch {epoch}: {calls:?}");
            assert_eq!(maintained.state_rows() == 0, rows.is_empty());
            if random.random_bool(0.3) {
                saved.extend(maintained.checkpoint().unwrap());
            }
            if random.random_bool(0.1) {
                saved.extend(maintained.checkpoint().unwrap());
                maintained = operator(&calls);
                saved.iter().for_each(|state| maintained.restore(state.clone()).unwrap());
                maintained.checkpoint().unwrap();
            }
        }
    }
}

#[test]
fn slots_of_accumulators_are_given_back() {
    let random = &mut StdRng::seed_from_u64(1);
    let sum = WindowCall {
        function: WindowFunction::Aggregate(AggregateFunction::Sum),
        args: vec![3],
        filter: None,
        frame: Frame::Rows(Bound::Unbounded, Bound::Before(0)),
        return_field: Arc::new(Field::new("s", DataType::Float64, true)),
    };
    let mut window = operator(&[sum]);
    let mut rows = vec![];
    for round in 0..300 {
        let changes = changes(random, &mut rows, round % 100 < 60);
        run(&mut window, &changes, &mut BTreeMap::new());
    }
    let gone: Vec<(Row, i64)> = rows.iter().map(|row| (*row, -1)).collect();
    run(&mut window, &gone, &mut BTreeMap::new());
    assert_eq!(window.slots.free.len(), window.slots.used as usize);
    assert_eq!((window.state_rows, window.state_bytes), (0, 0));
}
