//! Every kind of join against nested loops over the accumulated inputs, whatever the fuel of a step.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use arrow_array::Int64Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_schema::DataType;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::arrangement::Arrangement;
use crate::epoch::Epoch;

/// A row of any width, with NULLs.
type Row = Vec<Option<i64>>;
type Zset = BTreeMap<Row, i64>;

const KINDS: [JoinKind; 7] = [
    JoinKind::Inner,
    JoinKind::Left,
    JoinKind::Right,
    JoinKind::Full,
    JoinKind::LeftSemi,
    JoinKind::LeftAnti,
    JoinKind::LeftMark,
];

fn schema(names: &[&str]) -> SchemaRef {
    Arc::new(Schema::new(
        names.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect::<Vec<_>>(),
    ))
}

fn batch(changes: &[(Row, i64)]) -> ChangeBatch {
    let column = |c: usize| -> ArrayRef {
        Arc::new(changes.iter().map(|(row, _)| row[c]).collect::<Int64Array>())
    };
    let rows = RecordBatch::try_new(schema(&["k", "v"]), vec![column(0), column(1)]).unwrap();
    ChangeBatch::new(rows, changes.iter().map(|(_, weight)| *weight).collect::<Vec<_>>())
}

fn add(set: &mut Zset, row: Row, weight: i64) {
    let sum = set.entry(row.clone()).or_default();
    *sum += weight;
    if *sum == 0 {
        set.remove(&row);
    }
}

fn add_batch(set: &mut Zset, change: &ChangeBatch) {
    let value = |column: &ArrayRef, row: usize| {
        if column.is_null(row) {
            None
        } else if let Some(flag) = column.as_boolean_opt() {
            Some(flag.value(row).into())
        } else {
            Some(column.as_primitive::<Int64Type>().value(row))
        }
    };
    for row in 0..change.len() {
        let cells = change.rows().columns().iter().map(|column| value(column, row)).collect();
        add(set, cells, change.weights[row]);
    }
}

/// A join `on l.k = r.k` (or without keys), perhaps `and l.v < r.v`.
#[derive(Clone, Copy, Debug)]
struct Shape {
    kind: JoinKind,
    keyed: bool,
    conditional: bool,
}

impl Shape {
    fn core(self) -> Join {
        let keys = if self.keyed { vec![0] } else { vec![] };
        let input = schema(&["k", "v"]);
        let column = |name, at| Arc::new(Column::new(name, at)) as Arc<dyn PhysicalExpr>;
        let less = BinaryExpr::new(column("v", 1), Operator::Lt, column("v", 3));
        let condition = self.conditional.then(|| Arc::new(less) as Arc<dyn PhysicalExpr>);
        let output = match self.kind {
            JoinKind::LeftSemi | JoinKind::LeftAnti => input.clone(),
            JoinKind::LeftMark => {
                let mark = Field::new("mark", DataType::Boolean, false);
                let fields = input.fields().iter().map(|f| f.as_ref().clone());
                Arc::new(Schema::new(fields.chain([mark]).collect::<Vec<_>>()))
            }
            JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full => {
                schema(&["lk", "lv", "rk", "rv"])
            }
        };
        let schemas = [input.clone(), input];
        Join::new(self.kind, [keys.clone(), keys], false, condition, schemas, output)
    }

    fn matches(self, l: &Row, r: &Row) -> bool {
        let less = |a: Option<i64>, b: Option<i64>| a.zip(b).is_some_and(|(a, b)| a < b);
        (!self.keyed || l[0].is_some() && l[0] == r[0]) && (!self.conditional || less(l[1], r[1]))
    }

    /// The whole result, by nested loops.
    fn naive(self, left: &Zset, right: &Zset) -> Zset {
        let mut out = Zset::new();
        let nulls = || vec![None, None];
        for (l, lw) in left {
            let matches: Vec<_> = right.iter().filter(|(r, _)| self.matches(l, r)).collect();
            match self.kind {
                JoinKind::LeftSemi if !matches.is_empty() => add(&mut out, l.clone(), *lw),
                JoinKind::LeftAnti if matches.is_empty() => add(&mut out, l.clone(), *lw),
                JoinKind::LeftMark => {
                    let mark = vec![Some((!matches.is_empty()).into())];
                    add(&mut out, [l.clone(), mark].concat(), *lw)
                }
                JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full => {
                    for (r, rw) in &matches {
                        add(&mut out, [l.clone(), r.to_vec()].concat(), lw * **rw);
                    }
                    let padded = matches!(self.kind, JoinKind::Left | JoinKind::Full);
                    if padded && matches.is_empty() {
                        add(&mut out, [l.clone(), nulls()].concat(), *lw);
                    }
                }
                JoinKind::LeftSemi | JoinKind::LeftAnti => {}
            }
        }
        if matches!(self.kind, JoinKind::Right | JoinKind::Full) {
            for (r, rw) in right.iter().filter(|(r, _)| !left.keys().any(|l| self.matches(l, r))) {
                add(&mut out, [nulls(), r.clone()].concat(), *rw);
            }
        }
        out
    }
}

/// Both inputs of a join, accumulated and arranged.
struct Inputs {
    sets: [Zset; 2],
    arrangements: [Arrangement; 2],
}

impl Inputs {
    fn new(shape: Shape) -> Inputs {
        let key = || if shape.keyed { vec![0] } else { vec![] };
        let arrangement = || Arrangement::new(schema(&["k", "v"]), key());
        Inputs { sets: Default::default(), arrangements: [arrangement(), arrangement()] }
    }

    /// Applies the changes and joins them in steps; returns the change of the output and the rows of each step.
    fn epoch(
        &mut self,
        core: &Join,
        epoch: Epoch,
        deltas: [Vec<ChangeBatch>; 2],
        fuel: usize,
    ) -> (Zset, Vec<usize>) {
        for (side, changes) in deltas.iter().enumerate() {
            changes.iter().for_each(|change| add_batch(&mut self.sets[side], change));
            self.arrangements[side].apply(epoch, changes).unwrap();
        }
        let versions = self
            .arrangements
            .each_ref()
            .map(|a| Versions { prev: a.snapshot(epoch.prev()), now: a.snapshot(epoch) });
        let mut work = core.begin(deltas, versions);
        let (mut change, mut steps, mut done) = (Zset::new(), vec![], false);
        while !done {
            let mut out = Output::default();
            done = core.step(&mut work, &mut fuel.clone(), &mut out).unwrap();
            steps.push(out.batches.iter().map(ChangeBatch::len).sum());
            out.batches.iter().for_each(|batch| add_batch(&mut change, batch));
        }
        (change, steps)
    }
}

/// Inserts and deletes of rows with few keys, one of them frequent, in one or several batches.
fn drawn(rng: &mut StdRng, held: &Zset) -> Vec<ChangeBatch> {
    let mut set = held.clone();
    let mut changes: Vec<(Row, i64)> = vec![];
    for _ in 0..rng.random_range(0..40) {
        let gone = set.keys().nth(rng.random_range(0..set.len().max(1))).cloned();
        if let Some(row) = gone.filter(|_| rng.random_bool(0.4)) {
            add(&mut set, row.clone(), -1);
            changes.push((row, -1));
        } else {
            let key = [None, Some(1), Some(1), Some(1), Some(rng.random_range(0..8))];
            let row = vec![key[rng.random_range(0..key.len())], Some(rng.random_range(0..12))];
            add(&mut set, row.clone(), 1);
            changes.push((row, 1));
        }
    }
    changes.chunks(rng.random_range(1..25)).map(batch).collect()
}

#[test]
fn differential_every_join_is_exact_whatever_the_fuel() {
    for kind in KINDS {
        for (keyed, conditional) in [(true, false), (true, true), (false, false), (false, true)] {
            for (seed, fuel) in [(1, 1), (2, 50), (3, usize::MAX)] {
                let shape = Shape { kind, keyed, conditional };
                let (core, mut rng) = (shape.core(), StdRng::seed_from_u64(seed));
                let mut inputs = Inputs::new(shape);
                let mut output = Zset::new();
                for epoch in 1..=12 {
                    let deltas = [0, 1].map(|side| drawn(&mut rng, &inputs.sets[side]));
                    let (change, _) = inputs.epoch(&core, Epoch(epoch), deltas, fuel);
                    change.into_iter().for_each(|(row, weight)| add(&mut output, row, weight));
                    let [left, right] = &inputs.sets;
                    let wanted = shape.naive(left, right);
                    assert_eq!(
                        output, wanted,
                        "{shape:?}, seed {seed}, epoch {epoch}, fuel {fuel}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_step_stops_past_its_fuel_however_large_the_epoch() {
    const ROWS: usize = 300;
    let rows: Vec<(Row, i64)> = (0..ROWS as i64).map(|v| (vec![Some(7), Some(v)], 1)).collect();
    for (keyed, conditional) in [(true, false), (true, true), (false, false)] {
        for kind in [JoinKind::Inner, JoinKind::Full] {
            let shape = Shape { kind, keyed, conditional };
            let mut inputs = Inputs::new(shape);
            let deltas = [vec![batch(&rows)], vec![batch(&rows)]];
            let (change, steps) = inputs.epoch(&shape.core(), Epoch(1), deltas, 100);
            assert_eq!(change, shape.naive(&inputs.sets[0], &inputs.sets[1]), "{shape:?}");
            assert!(steps.len() > ROWS * ROWS / (2 * (100 + PAIRS_MAX + ROWS)), "{shape:?}");
            let most = steps.iter().max().copied().unwrap();
            assert!(most <= 100 + PAIRS_MAX + ROWS, "{shape:?}: {most} rows in one step");
        }
    }
}
