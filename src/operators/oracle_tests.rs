//! Every operator against its naive recomputation over the accumulated input, after every epoch of drawn streams.
//!
//! Streams hold inserts, deletes (also before their inserts), duplicates, NULLs, NaNs, infinities and extreme values, in
//! random batches; at random epochs the operators are checkpointed and replaced by 1 to 3 others, restored by bucket.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::*;
use arrow_buffer::IntervalMonthDayNano;
use arrow_schema::{DataType, Field, FieldRef, IntervalUnit, Schema, SchemaRef};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

use super::aggregate::{Aggregate, AggregateCall, AggregateFunction};
use super::consolidate::consolidate;
use super::distinct::Distinct;
use super::top_n::{SortKey, TopN};
use super::{Operator, Output, StateChange};
use crate::change::{ChangeBatch, errors_of};
use crate::epoch::Epoch;

/// A value with SQL's order, NULL last; floats by their bits, which tests keep canonical where that matters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum V {
    Bool(bool),
    Int(i128),
    Float(i64),
    Text(String),
    /// Its length in nanoseconds with months of 30 days, then its parts.
    Interval(i128, i32, i32, i64),
    List(Vec<V>),
    Null,
}

pub type Row = Vec<V>;
pub type Zset = BTreeMap<Row, i64>;
/// (sqlstate, message) by the text of the group's key.
type Errors = BTreeMap<(String, String, String), i64>;

fn float(value: f64) -> V {
    let bits = value.to_bits() as i64;
    V::Float(bits ^ (((bits >> 63) as u64) >> 1) as i64)
}

fn float_of(ordered: i64) -> f64 {
    f64::from_bits((ordered ^ (((ordered >> 63) as u64) >> 1) as i64) as u64)
}

fn interval(months: i32, days: i32, nanoseconds: i64) -> V {
    let length =
        (i128::from(months) * 30 + i128::from(days)) * 86_400_000_000_000 + i128::from(nanoseconds);
    V::Interval(length, months, days, nanoseconds)
}

fn value_of(array: &ArrayRef, row: usize) -> V {
    if array.is_null(row) {
        return V::Null;
    }
    match array.data_type() {
        DataType::Boolean => V::Bool(array.as_boolean().value(row)),
        DataType::Int32 => V::Int(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Date32 => V::Int(array.as_primitive::<Date32Type>().value(row).into()),
        DataType::Int64 => V::Int(array.as_primitive::<Int64Type>().value(row).into()),
        DataType::Decimal128(..) => V::Int(array.as_primitive::<Decimal128Type>().value(row)),
        DataType::Float32 => float(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => V::Text(array.as_string::<i32>().value(row).into()),
        DataType::LargeUtf8 => V::Text(array.as_string::<i64>().value(row).into()),
        DataType::Interval(_) => {
            let value = array.as_primitive::<IntervalMonthDayNanoType>().value(row);
            interval(value.months, value.days, value.nanoseconds)
        }
        DataType::List(_) => {
            let values = array.as_list::<i32>().value(row);
            V::List((0..values.len()).map(|i| value_of(&values, i)).collect())
        }
        other => panic!("no test value for {other}"),
    }
}

fn column_of(values: Vec<&V>, data_type: &DataType) -> ArrayRef {
    let int = |v: &V| if let V::Int(v) = v { Some(*v) } else { None };
    let real = |v: &V| {
        if let V::Float(v) = v { Some(float_of(*v)) } else { None }
    };
    let values = values.into_iter();
    match data_type {
        DataType::Boolean => Arc::new(
            values
                .map(|v| if let V::Bool(v) = v { Some(*v) } else { None })
                .collect::<BooleanArray>(),
        ),
        DataType::Int32 => {
            Arc::new(values.map(|v| int(v).map(|v| v as i32)).collect::<Int32Array>())
        }
        DataType::Date32 => {
            Arc::new(values.map(|v| int(v).map(|v| v as i32)).collect::<Date32Array>())
        }
        DataType::Int64 => {
            Arc::new(values.map(|v| int(v).map(|v| v as i64)).collect::<Int64Array>())
        }
        DataType::Decimal128(..) => {
            Arc::new(values.map(int).collect::<Decimal128Array>().with_data_type(data_type.clone()))
        }
        DataType::Float32 => {
            Arc::new(values.map(|v| real(v).map(|v| v as f32)).collect::<Float32Array>())
        }
        DataType::Float64 => Arc::new(values.map(real).collect::<Float64Array>()),
        DataType::Utf8 => Arc::new(
            values
                .map(|v| if let V::Text(v) = v { Some(v) } else { None })
                .collect::<StringArray>(),
        ),
        DataType::Interval(_) => {
            let part = |v: &V| match v {
                V::Interval(_, months, days, nanoseconds) => {
                    Some(IntervalMonthDayNano::new(*months, *days, *nanoseconds))
                }
                _ => None,
            };
            Arc::new(values.map(part).collect::<IntervalMonthDayNanoArray>())
        }
        other => panic!("no test column of {other}"),
    }
}

pub fn change_of(schema: &SchemaRef, rows: &[(Row, i64)]) -> ChangeBatch {
    let column = |c: usize| {
        column_of(rows.iter().map(|(r, _)| &r[c]).collect(), schema.field(c).data_type())
    };
    let columns = (0..schema.fields().len()).map(column).collect();
    let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
    ChangeBatch::new(batch, rows.iter().map(|(_, w)| *w).collect::<Vec<_>>())
}

pub fn rows_of(change: &ChangeBatch) -> Vec<(Row, i64)> {
    let Some(batch) = &change.batch else {
        return vec![];
    };
    let row = |i: usize| batch.columns().iter().map(|c| value_of(c, i)).collect();
    (0..change.len()).map(|i| (row(i), change.weights[i])).collect()
}

pub fn add<K: Ord>(zset: &mut BTreeMap<K, i64>, key: K, weight: i64) {
    use std::collections::btree_map::Entry;
    match zset.entry(key) {
        Entry::Vacant(entry) => drop(entry.insert(weight)),
        Entry::Occupied(mut entry) => {
            *entry.get_mut() += weight;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

const KEY: usize = 0;
const NAME: usize = 1;
const BIG: usize = 2;
const MONEY: usize = 3;
const RATIO: usize = 4;
const TEXT: usize = 5;
const FLAG: usize = 6;
const SPAN: usize = 7;
const REAL: usize = 8;
const DAY: usize = 9;

pub fn input_schema() -> SchemaRef {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        field("key", DataType::Int64),
        field("name", DataType::Utf8),
        field("big", DataType::Int64),
        field("money", DataType::Decimal128(38, 2)),
        field("ratio", DataType::Float64),
        field("text", DataType::Utf8),
        field("flag", DataType::Boolean),
        field("span", DataType::Interval(IntervalUnit::MonthDayNano)),
        field("real", DataType::Float32),
        field("day", DataType::Date32),
    ]))
}

/// A drawn row: few keys and many duplicates, now and then something extreme.
fn draw_row(random: &mut StdRng, wild: bool) -> Row {
    let extreme = wild && random.random_bool(0.05);
    let small = random.random_range(-3i64..4);
    let ten38 = 10i128.pow(38) - 1;
    let big = if extreme { *[i64::MAX, i64::MIN].choose(random).unwrap() } else { small };
    let money =
        if extreme { *[ten38, -ten38].choose(random).unwrap() } else { i128::from(small) * 33 };
    let specials =
        [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, -f64::MAX, 5e-324, -0.0, 1e-300];
    let ratio = match extreme || random.random_bool(0.05) {
        true if wild => *specials.choose(random).unwrap(),
        _ => *[0.1, 0.2, -0.3, 1e16, -1e16, 1.0, 3.7].choose(random).unwrap(),
    };
    let days = if extreme { i32::MAX } else { 30 * small as i32 };
    let mut row = vec![
        V::Int(random.random_range(-2..5)),
        V::Text(
            ["", "a", "b", "a longer name than the rest of them"]
                .choose(random)
                .unwrap()
                .to_string(),
        ),
        V::Int(big.into()),
        V::Int(money),
        float(ratio),
        V::Text(["x", "y", "xx", "żółw"].choose(random).unwrap().to_string()),
        V::Bool(random.random()),
        interval(random.random_range(-1..2), days, small),
        float(f64::from(ratio as f32)),
        V::Int(random.random_range(-3..3)),
    ];
    for value in &mut row {
        if random.random_bool(0.1) {
            *value = V::Null;
        }
    }
    row
}

/// The batches of one epoch over the collection `live`, shuffled, so that a delete may come before its insert.
fn draw_epoch(
    random: &mut StdRng,
    live: &mut Zset,
    append_only: bool,
    wild: bool,
) -> Vec<Vec<(Row, i64)>> {
    let mut ops = vec![];
    if !append_only && random.random_bool(0.1) {
        ops.extend(std::mem::take(live).into_iter().map(|(row, weight)| (row, -weight)));
    }
    for _ in 0..random.random_range(0..40) {
        if !append_only && !live.is_empty() && random.random_bool(0.5) {
            let (row, weight) = live.iter().nth(random.random_range(0..live.len())).unwrap();
            let (row, weight) = (row.clone(), random.random_range(1..=*weight));
            add(live, row.clone(), -weight);
            ops.push((row, -weight));
        } else {
            let (row, weight) =
                (draw_row(random, wild), if random.random_bool(0.2) { 3 } else { 1 });
            add(live, row.clone(), weight);
            ops.push((row, weight));
        }
    }
    ops.shuffle(random);
    let size = random.random_range(1..20);
    ops.chunks(size).map(<[_]>::to_vec).collect()
}

/// Operators that share the keys, as workers would, and what their checkpoints handed over.
struct Fleet<'a> {
    build: &'a dyn Fn() -> Box<dyn Operator>,
    key: Vec<usize>,
    workers: Vec<Box<dyn Operator>>,
    history: Vec<StateChange>,
    saved: bool,
}

fn bucket(row: &Row, key: &[usize], workers: usize) -> usize {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    for &column in key {
        match &row[column] {
            V::Float(v) if float_of(*v) == 0.0 => 0.hash(&mut hasher),
            other => format!("{other:?}").hash(&mut hasher),
        }
    }
    hasher.finish() as usize % workers
}

impl Fleet<'_> {
    fn apply(&mut self, schema: &SchemaRef, rows: &[(Row, i64)], out: &mut Output) {
        let count = self.workers.len();
        for (i, worker) in self.workers.iter_mut().enumerate() {
            let mine = rows.iter().filter(|(row, _)| bucket(row, &self.key, count) == i);
            let mine: Vec<_> = mine.cloned().collect();
            if !mine.is_empty() {
                worker.apply(0, change_of(schema, &mine), out).unwrap();
            }
        }
    }

    fn emit(&mut self, epoch: u64, out: &mut Output) {
        // Only the owner of the empty key is woken where nothing is keyed.
        let owner = bucket(&vec![], &[], self.workers.len());
        for (i, worker) in self.workers.iter_mut().enumerate() {
            if !self.key.is_empty() || i == owner {
                worker.emit(Epoch(epoch), out).unwrap();
            }
        }
    }

    fn checkpoint(&mut self) {
        if !std::mem::replace(&mut self.saved, true) {
            self.history.clear();
        }
        for worker in &mut self.workers {
            self.history.extend(worker.checkpoint().unwrap());
        }
    }

    fn restart(&mut self, workers: usize) {
        self.checkpoint();
        self.workers = (0..workers).map(|_| (self.build)()).collect();
        for state in &self.history {
            let rows = rows_of_state(&state.change, &state.key);
            for (i, worker) in self.workers.iter_mut().enumerate() {
                let positions: Vec<usize> = (0..state.key.len()).collect();
                let mine = rows.iter().enumerate();
                let mine = mine.filter(|(_, key)| bucket(key, &positions, workers) == i);
                let mine: Vec<u32> = mine.map(|(row, _)| row as u32).collect();
                let change = state.change.take(&mine).unwrap();
                worker.restore(StateChange { change, ..state.clone() }).unwrap();
            }
        }
        self.saved = false;
    }
}

fn rows_of_state(change: &ChangeBatch, key: &[usize]) -> Vec<Row> {
    let batch = change.rows();
    (0..change.len()).map(|i| key.iter().map(|&c| value_of(batch.column(c), i)).collect()).collect()
}

/// Runs a drawn stream and compares the accumulated output with `naive` after every epoch.
fn check(
    seed: u64,
    append_only: bool,
    wild: bool,
    key: Vec<usize>,
    build: &dyn Fn() -> Box<dyn Operator>,
    naive: &dyn Fn(&Zset) -> (Zset, Errors),
) {
    let random = &mut StdRng::seed_from_u64(seed);
    let schema = input_schema();
    let workers = (0..random.random_range(1..4)).map(|_| build()).collect();
    let mut fleet = Fleet { build, key, workers, history: vec![], saved: false };
    let (mut live, mut output, mut errors) = (Zset::new(), Zset::new(), Errors::new());
    for epoch in 1..30 {
        let mut out = Output::default();
        for rows in draw_epoch(random, &mut live, append_only, wild) {
            fleet.apply(&schema, &rows, &mut out);
        }
        fleet.emit(epoch, &mut out);
        for batch in &out.batches {
            if batch.is_errors() {
                for e in errors_of(batch) {
                    add(&mut errors, (e.sqlstate, e.message, e.payload), e.weight);
                }
            } else {
                rows_of(batch).into_iter().for_each(|(row, weight)| add(&mut output, row, weight));
            }
        }
        let (expected, expected_errors) = naive(&live);
        assert_eq!(output, expected, "rows, seed {seed}, epoch {epoch}, input {live:#?}");
        assert_eq!(errors, expected_errors, "errors, seed {seed}, epoch {epoch}");
        match random.random_range(0..8) {
            0 => fleet.checkpoint(),
            1 => fleet.restart(random.random_range(1..4)),
            _ => {}
        }
    }
}

/// The exact sum of finite doubles, rounded once, by Shewchuk's growing expansions; `None` on overflow.
fn exact_sum(values: impl Iterator<Item = f64>) -> Option<f64> {
    // Halving twice keeps the largest values' sums in range; the smallest do not occur beside them in these tests.
    let mut partials: Vec<f64> = vec![];
    for mut x in values {
        let mut kept = 0;
        for i in 0..partials.len() {
            let mut y = partials[i];
            if x.abs() < y.abs() {
                std::mem::swap(&mut x, &mut y);
            }
            let high = x + y;
            let low = y - (high - x);
            if low != 0.0 {
                partials[kept] = low;
                kept += 1;
            }
            x = high;
        }
        partials.truncate(kept);
        partials.push(x);
    }
    let mut high = partials.pop().unwrap_or(0.0);
    let mut low = 0.0;
    while let Some(y) = partials.pop() {
        let x = high;
        high = x + y;
        low = y - (high - x);
        if low != 0.0 {
            break;
        }
    }
    // Halfway cases need the sign of what is left.
    if let Some(rest) = partials.last()
        && ((low < 0.0 && *rest < 0.0) || (low > 0.0 && *rest > 0.0))
    {
        let y = low * 2.0;
        let x = high + y;
        if x - high == y {
            high = x;
        }
    }
    high.is_finite().then_some(high + 0.0)
}

fn naive_float_sum(values: &[(V, i64)]) -> Result<f64, ()> {
    let all = values.iter().flat_map(|(v, w)| std::iter::repeat_n(v, *w as usize));
    let all: Vec<f64> =
        all.map(|v| if let V::Float(v) = v { float_of(*v) } else { panic!() }).collect();
    let (up, down) = (all.contains(&f64::INFINITY), all.contains(&f64::NEG_INFINITY));
    if all.iter().any(|v| v.is_nan()) || (up && down) {
        return Ok(f64::NAN);
    }
    if up || down {
        return Ok(if up { f64::INFINITY } else { f64::NEG_INFINITY });
    }
    // Largest values cancel exactly first, so that no partial sum overflows unless the whole does.
    let maxima: i64 = all.iter().filter(|v| v.abs() == f64::MAX).map(|v| v.signum() as i64).sum();
    let rest = all.iter().copied().filter(|v| v.abs() != f64::MAX);
    let largest =
        std::iter::repeat_n(f64::MAX * maxima.signum() as f64, maxima.unsigned_abs() as usize);
    match maxima.abs() {
        0 | 1 => exact_sum(largest.chain(rest)).ok_or(()),
        _ => Err(()),
    }
}

/// The sum of reals, which in these tests all are multiples of 2^-60, rounded once to a real.
fn naive_real_sum(values: &[(V, i64)]) -> f32 {
    let unit = 2f64.powi(60);
    let units = values.iter().map(|(v, w)| match v {
        V::Float(v) => (float_of(*v) * unit) as i128 * i128::from(*w),
        _ => panic!(),
    });
    units.sum::<i128>() as f32 / unit as f32
}

type Naive = std::result::Result<V, (&'static str, &'static str)>;

fn divided_half_away(dividend: i128, divisor: i128) -> i128 {
    let (quotient, rest) = (dividend / divisor, dividend % divisor);
    if rest.abs() * 2 >= divisor { quotient + dividend.signum() } else { quotient }
}

/// What a call comes to over a group's rows.
fn naive_call(call: &AggregateCall, rows: &[(&Row, i64)]) -> Naive {
    let rows: Vec<_> = rows
        .iter()
        .filter(|(row, _)| call.filter.is_none_or(|filter| row[filter] == V::Bool(true)))
        .collect();
    if matches!(call.function, AggregateFunction::CountStar) {
        return Ok(V::Int(rows.iter().map(|(_, w)| i128::from(*w)).sum()));
    }
    // The extremes of -0.0 and 0.0 are told apart, lest they depend on the order of the rows.
    let extreme = matches!(call.function, AggregateFunction::Min | AggregateFunction::Max);
    let mut values: BTreeMap<V, i64> = BTreeMap::new();
    for (row, weight) in rows {
        let value = match row[call.args[0]].clone() {
            V::Null => continue,
            V::Float(v) if extreme && !float_of(v).is_nan() => V::Float(v),
            other => canonical(other),
        };
        add(&mut values, value, *weight);
    }
    if call.distinct {
        values.values_mut().for_each(|w| *w = 1);
    }
    let values: Vec<(V, i64)> = values.into_iter().collect();
    let count: i64 = values.iter().map(|(_, w)| w).sum();
    match call.function {
        AggregateFunction::Count => return Ok(V::Int(count.into())),
        _ if values.is_empty() => return Ok(V::Null),
        AggregateFunction::Min => return Ok(values[0].0.clone()),
        AggregateFunction::Max => return Ok(values.last().unwrap().0.clone()),
        AggregateFunction::BoolAnd => return Ok(V::Bool(values[0].0 == V::Bool(true))),
        AggregateFunction::BoolOr => return Ok(V::Bool(values.last().unwrap().0 == V::Bool(true))),
        _ => {}
    }
    let average = matches!(call.function, AggregateFunction::Avg);
    match &values[0].0 {
        V::Float(_) => {
            let sum =
                naive_float_sum(&values).map_err(|()| ("22003", "value out of range: overflow"))?;
            if *call.return_field.data_type() == DataType::Float32 && sum.is_finite() {
                return Ok(float(naive_real_sum(&values).into()));
            }
            Ok(float(if average { sum / count as f64 } else { sum }))
        }
        V::Interval(..) => {
            let mut sums = [0i128; 3];
            for (value, weight) in &values {
                let V::Interval(_, months, days, nanos) = value else { panic!() };
                let parts = [i128::from(*months), i128::from(*days), i128::from(*nanos)];
                sums.iter_mut()
                    .zip(parts)
                    .for_each(|(sum, part)| *sum += part * i128::from(*weight));
            }
            match (i32::try_from(sums[0]), i32::try_from(sums[1]), i64::try_from(sums[2])) {
                (Ok(months), Ok(days), Ok(nanos)) => Ok(interval(months, days, nanos)),
                _ => Err(("22008", "interval out of range")),
            }
        }
        _ => {
            use arrow_buffer::i256;
            let term = |(v, w): &(V, i64)| match v {
                V::Int(v) => i256::from_i128(*v).wrapping_mul(i256::from_i128((*w).into())),
                _ => panic!(),
            };
            let sum = values.iter().map(term).fold(i256::ZERO, |sum, v| sum.wrapping_add(v));
            match call.return_field.data_type() {
                DataType::Int64 => match sum.to_i128().and_then(|v| i64::try_from(v).ok()) {
                    Some(sum) => Ok(V::Int(sum.into())),
                    None => Err(("22003", "bigint out of range")),
                },
                _ if average => {
                    let sum = sum
                        .to_i128()
                        .and_then(|s| s.checked_mul(10_000))
                        .ok_or(("22003", "numeric field overflow"))?;
                    Ok(V::Int(divided_half_away(sum, count.into())))
                }
                _ => match sum.to_i128().filter(|v| v.unsigned_abs() < 10u128.pow(38)) {
                    Some(sum) => Ok(V::Int(sum)),
                    None => Err(("22003", "numeric field overflow")),
                },
            }
        }
    }
}

fn canonical(value: V) -> V {
    match value {
        V::Float(v) if float_of(v).is_nan() => float(f64::NAN),
        V::Float(v) => float(float_of(v) + 0.0),
        other => other,
    }
}

fn naive_aggregate(
    live: &Zset,
    key: &[usize],
    calls: &[AggregateCall],
    output: &SchemaRef,
) -> (Zset, Errors) {
    let mut groups: BTreeMap<Row, Vec<(&Row, i64)>> = BTreeMap::new();
    if key.is_empty() {
        groups.insert(vec![], vec![]);
    }
    for (row, weight) in live {
        let key = key.iter().map(|&c| canonical(row[c].clone())).collect();
        groups.entry(key).or_default().push((row, *weight));
    }
    let (mut rows, mut errors) = (Zset::new(), Errors::new());
    for (key, members) in groups {
        let results: Result<Vec<V>, _> =
            calls.iter().map(|call| naive_call(call, &members)).collect();
        match results {
            Ok(results) => add(&mut rows, key.iter().cloned().chain(results).collect(), 1),
            Err((code, message)) => {
                add(&mut errors, (code.into(), message.into(), key_text(&key, output)), 1);
            }
        }
    }
    (rows, errors)
}

fn key_text(key: &Row, output: &SchemaRef) -> String {
    let text = |(i, value): (usize, &V)| {
        let field = output.field(i);
        let array = column_of(vec![value], field.data_type());
        let text = ArrayFormatter::try_new(&array, &FormatOptions::default())
            .unwrap()
            .value(0)
            .to_string();
        let bare = (field.data_type().is_numeric() || *field.data_type() == DataType::Boolean)
            && !text.ends_with(['N', 'f']);
        match value {
            V::Null => format!("{:?}:null", field.name()),
            _ if bare => format!("{:?}:{text}", field.name()),
            _ => format!("{:?}:{text:?}", field.name()),
        }
    };
    format!("{{{}}}", key.iter().enumerate().map(text).collect::<Vec<_>>().join(","))
}

fn call(function: AggregateFunction, args: &[usize], returned: DataType) -> AggregateCall {
    let return_field = Arc::new(Field::new("result", returned, true));
    AggregateCall { function, args: args.to_vec(), filter: None, distinct: false, return_field }
}

/// One of every kind of call.
fn all_calls() -> Vec<AggregateCall> {
    use AggregateFunction::*;
    let schema = input_schema();
    let mut calls = vec![
        call(CountStar, &[], DataType::Int64),
        call(Sum, &[BIG], DataType::Int64),
        call(Sum, &[BIG], DataType::Decimal128(38, 0)),
        call(Sum, &[MONEY], DataType::Decimal128(38, 2)),
        call(Sum, &[RATIO], DataType::Float64),
        call(Sum, &[REAL], DataType::Float32),
        call(Sum, &[SPAN], DataType::Interval(IntervalUnit::MonthDayNano)),
        call(Avg, &[RATIO], DataType::Float64),
        call(Avg, &[DAY], DataType::Decimal128(38, 4)),
        call(BoolAnd, &[FLAG], DataType::Boolean),
        call(BoolOr, &[FLAG], DataType::Boolean),
    ];
    calls.retain(|c| c.args != [DAY]);
    calls.push(call(Avg, &[BIG], DataType::Decimal128(38, 4)));
    for column in 0..schema.fields().len() {
        let data_type = schema.field(column).data_type();
        calls.push(call(Count, &[column], DataType::Int64));
        calls.push(call(Min, &[column], data_type.clone()));
        calls.push(call(Max, &[column], data_type.clone()));
    }
    calls
}

fn aggregate_output(key: &[usize], calls: &[AggregateCall]) -> SchemaRef {
    let input = input_schema();
    let keys = key.iter().map(|&c| Arc::new(input.field(c).clone()));
    let fields: Vec<FieldRef> = keys.chain(calls.iter().map(|c| c.return_field.clone())).collect();
    Arc::new(Schema::new(fields))
}

fn check_aggregate(seed: u64, append_only: bool) {
    let random = &mut StdRng::seed_from_u64(seed ^ 0xA66);
    let keys: [&[usize]; 8] =
        [&[KEY], &[KEY], &[NAME], &[KEY, NAME], &[RATIO], &[DAY], &[FLAG, DAY], &[]];
    let key = keys.choose(random).unwrap().to_vec();
    let mut calls: Vec<_> =
        all_calls().choose_multiple(random, random_size(seed)).cloned().collect();
    for call in &mut calls {
        call.filter = random.random_bool(0.3).then_some(FLAG);
        call.distinct = !call.args.is_empty() && random.random_bool(0.3);
    }
    let output = aggregate_output(&key, &calls);
    let build = || -> Box<dyn Operator> {
        let new =
            Aggregate::new(input_schema(), key.clone(), calls.clone(), output.clone(), append_only);
        Box::new(new.unwrap())
    };
    let naive = |live: &Zset| naive_aggregate(live, &key, &calls, &output);
    check(seed, append_only, seed.is_multiple_of(3), key.clone(), &build, &naive);
}

fn random_size(seed: u64) -> usize {
    1 + seed as usize % 6
}

#[test]
fn aggregates_equal_their_recomputation_at_every_epoch() {
    (0..150).for_each(|seed| check_aggregate(seed, false));
}

#[test]
fn append_only_aggregates_equal_their_recomputation_at_every_epoch() {
    (1000..1080).for_each(|seed| check_aggregate(seed, true));
}

#[test]
fn distinct_equals_its_recomputation_at_every_epoch() {
    for seed in 0..25 {
        let key: Vec<usize> = (0..input_schema().fields().len()).collect();
        let build = || -> Box<dyn Operator> { Box::new(Distinct::new(input_schema()).unwrap()) };
        let naive = |live: &Zset| {
            let rows = live.keys().map(|row| (row.iter().cloned().map(canonical).collect(), 1));
            (rows.collect(), Errors::new())
        };
        check(seed, false, true, key, &build, &naive);
    }
}

/// `array_agg(big ORDER BY text DESC NULLS LAST)` and `string_agg(text, ',')`, each plain, distinct or filtered.
fn recomputed_calls(random: &mut StdRng) -> Vec<AggregateCall> {
    use super::aggregate::{RecomputedFunction, UdafArgument};
    use datafusion::functions_aggregate::{array_agg::array_agg_udaf, string_agg::string_agg_udaf};
    use datafusion::scalar::ScalarValue;
    let schema = input_schema();
    let field = |c: usize| Arc::new(schema.field(c).clone());
    let by_text = SortKey { column: 1, descending: true, nulls_first: false };
    let array = RecomputedFunction {
        function: array_agg_udaf(),
        arguments: vec![UdafArgument::Column(0)],
        order: vec![by_text],
        ignore_nulls: false,
    };
    let comma = ScalarValue::from(",");
    let string = RecomputedFunction {
        function: string_agg_udaf(),
        arguments: vec![UdafArgument::Column(0), UdafArgument::Constant(comma.clone())],
        order: vec![],
        ignore_nulls: false,
    };
    let comma = Arc::new(Field::new("comma", comma.data_type(), false));
    let array_type = array.function.return_field(&[field(BIG)]).unwrap();
    let string_type = string.function.return_field(&[field(TEXT), comma]).unwrap();
    let mut calls = vec![
        call(
            AggregateFunction::Udaf(Arc::new(array)),
            &[BIG, TEXT],
            array_type.data_type().clone(),
        ),
        call(AggregateFunction::Udaf(Arc::new(string)), &[TEXT], string_type.data_type().clone()),
        call(AggregateFunction::CountStar, &[], DataType::Int64),
    ];
    for call in &mut calls[..2] {
        call.filter = random.random_bool(0.3).then_some(FLAG);
        call.distinct = random.random_bool(0.3);
    }
    calls
}

fn naive_recomputed(calls: &[AggregateCall], rows: &[(&Row, i64)]) -> Vec<V> {
    let passing = |call: &AggregateCall| {
        let rows =
            rows.iter().filter(|(row, _)| call.filter.is_none_or(|f| row[f] == V::Bool(true)));
        let mut args: BTreeMap<Row, i64> = BTreeMap::new();
        rows.for_each(|(row, w)| {
            add(&mut args, call.args.iter().map(|&c| row[c].clone()).collect(), *w)
        });
        let times = |w: i64| if call.distinct { 1 } else { w as usize };
        args.into_iter().flat_map(|(row, w)| std::iter::repeat_n(row, times(w))).collect::<Vec<_>>()
    };
    let mut array = passing(&calls[0]);
    array.sort_by(|a, b| match (&a[1], &b[1]) {
        (V::Null, V::Null) => a.cmp(b),
        (V::Null, _) => std::cmp::Ordering::Greater,
        (_, V::Null) => std::cmp::Ordering::Less,
        (left, right) => right.cmp(left).then_with(|| a.cmp(b)),
    });
    let array: Row = array.into_iter().map(|row| row[0].clone()).collect();
    let texts = passing(&calls[1]).into_iter();
    let texts =
        texts.filter_map(|row| if let V::Text(t) = &row[0] { Some(t.clone()) } else { None });
    let texts: Vec<String> = texts.collect();
    vec![
        if array.is_empty() { V::Null } else { V::List(array) },
        if texts.is_empty() { V::Null } else { V::Text(texts.join(",")) },
        V::Int(rows.iter().map(|(_, w)| i128::from(*w)).sum()),
    ]
}

#[test]
fn recomputed_aggregates_are_functions_of_the_multiset() {
    for seed in 0..40 {
        let random = &mut StdRng::seed_from_u64(seed);
        let calls = recomputed_calls(random);
        let output = aggregate_output(&[KEY], &calls);
        let build = || -> Box<dyn Operator> {
            let new =
                Aggregate::new(input_schema(), vec![KEY], calls.clone(), output.clone(), false);
            Box::new(new.unwrap())
        };
        let naive = |live: &Zset| {
            let mut groups: BTreeMap<V, Vec<(&Row, i64)>> = BTreeMap::new();
            live.iter()
                .for_each(|(row, w)| groups.entry(row[KEY].clone()).or_default().push((row, *w)));
            let row = |(key, rows): (V, Vec<(&Row, i64)>)| {
                (std::iter::once(key).chain(naive_recomputed(&calls, &rows)).collect(), 1)
            };
            (groups.into_iter().map(row).collect(), Errors::new())
        };
        check(seed, false, true, vec![KEY], &build, &naive);
    }
}

/// The rows of a partition in the order of the keys, then by the whole row.
fn naive_top_n(
    live: &Zset,
    partition: &[usize],
    order: &[SortKey],
    limit: Option<usize>,
    offset: usize,
) -> Zset {
    let mut partitions: BTreeMap<Row, Vec<&Row>> = BTreeMap::new();
    for (row, weight) in live {
        let key = partition.iter().map(|&c| canonical(row[c].clone())).collect();
        let rows = partitions.entry(key).or_default();
        rows.extend(std::iter::repeat_n(row, *weight as usize));
    }
    let by_length = |v: &V| match v {
        V::Interval(length, ..) => V::Int(*length),
        V::Float(v) if !float_of(*v).is_nan() => V::Float(*v),
        other => canonical(other.clone()),
    };
    let mut output = Zset::new();
    for (_, mut rows) in partitions {
        rows.sort_by(|a, b| {
            let by_key = order.iter().map(|k| {
                let (a, b) = (&a[k.column], &b[k.column]);
                match (a == &V::Null, b == &V::Null) {
                    (true, true) => std::cmp::Ordering::Equal,
                    (false, false) if k.descending => by_length(b).cmp(&by_length(a)),
                    (false, false) => by_length(a).cmp(&by_length(b)),
                    (null, _) if null == k.nulls_first => std::cmp::Ordering::Less,
                    _ => std::cmp::Ordering::Greater,
                }
            });
            let mut by_key = by_key.filter(|o| o.is_ne());
            let whole = |row: &Row| row.iter().map(by_length).collect::<Vec<_>>();
            by_key.next().unwrap_or_else(|| whole(a).cmp(&whole(b)).then_with(|| a.cmp(b)))
        });
        for row in rows.into_iter().skip(offset).take(limit.unwrap_or(usize::MAX)) {
            add(&mut output, row.clone(), 1);
        }
    }
    output
}

#[test]
fn top_n_equals_its_recomputation_at_every_epoch() {
    for seed in 0..150 {
        let random = &mut StdRng::seed_from_u64(seed ^ 0x709);
        let partition: Vec<usize> =
            [vec![], vec![KEY], vec![NAME, FLAG]].choose(random).unwrap().clone();
        let columns = [BIG, MONEY, RATIO, TEXT, FLAG, SPAN, REAL, DAY];
        let key = |&column: &usize, random: &mut StdRng| SortKey {
            column,
            descending: random.random(),
            nulls_first: random.random(),
        };
        let columns: Vec<_> = columns.choose_multiple(random, seed as usize % 3).collect();
        let order: Vec<SortKey> = columns.into_iter().map(|c| key(c, random)).collect();
        let limit = [None, Some(0), Some(1), Some(3), Some(10)].choose(random).copied().unwrap();
        let offset = [0, 0, 1, 5].choose(random).copied().unwrap();
        let append_only = random.random_bool(0.3);
        let build = || -> Box<dyn Operator> {
            let (partition, order) = (partition.clone(), order.clone());
            Box::new(
                TopN::new(input_schema(), partition, order, limit, offset, append_only).unwrap(),
            )
        };
        let naive =
            |live: &Zset| (naive_top_n(live, &partition, &order, limit, offset), Errors::new());
        check(seed, append_only, true, partition.clone(), &build, &naive);
    }
}

#[test]
fn consolidated_rows_occur_once_with_the_sum_of_their_weights() {
    let random = &mut StdRng::seed_from_u64(3);
    for _ in 0..200 {
        let batches = draw_epoch(random, &mut Zset::new(), false, true);
        let batches: Vec<_> = batches.iter().map(|rows| change_of(&input_schema(), rows)).collect();
        let mut expected = Zset::new();
        let rows = batches.iter().flat_map(rows_of);
        rows.for_each(|(row, weight)| add(&mut expected, row, weight));
        let consolidated = consolidate(&batches).unwrap();
        let mut actual = Zset::new();
        for (row, weight) in rows_of(&consolidated) {
            assert!(
                consolidated.all_inserts() || !actual.contains_key(&row),
                "{row:?} occurs twice"
            );
            add(&mut actual, row, weight);
        }
        assert_eq!(actual, expected);
    }
    assert!(consolidate(&[]).unwrap().is_empty());
}

/// Fills an operator with many keys and empties it again.
fn memory_after_emptying(mut operator: Box<dyn Operator>) -> (usize, usize) {
    let (mut full, mut out) = (0, Output::default());
    let row = |key: i64| {
        let mut row = vec![V::Null; input_schema().fields().len()];
        row[KEY] = V::Int(key.into());
        row[NAME] = V::Text(format!("name {key}"));
        row[BIG] = V::Int(key.into());
        row[MONEY] = V::Int(key.into());
        row[RATIO] = float(key as f64);
        row[TEXT] = V::Text(format!("text {key}"));
        (row, 1)
    };
    let rows: Vec<_> = (0..5_000).map(row).collect();
    let change = change_of(&input_schema(), &rows);
    for epoch in 0..4 {
        operator.apply(0, change.clone(), &mut out).unwrap();
        operator.emit(Epoch(epoch * 2 + 1), &mut out).unwrap();
        full = operator.state_bytes();
        operator.apply(0, change.negated(), &mut out).unwrap();
        operator.emit(Epoch(epoch * 2 + 2), &mut out).unwrap();
        out.batches.clear();
    }
    assert_eq!(operator.state_rows(), 0);
    (full, operator.state_bytes())
}

#[test]
fn emptied_operators_give_their_memory_back() {
    for key in [vec![KEY], vec![NAME, KEY]] {
        let mut calls = all_calls();
        calls.iter_mut().for_each(|c| c.distinct = !c.args.is_empty());
        let output = aggregate_output(&key, &calls);
        let aggregate = Aggregate::new(input_schema(), key.clone(), calls, output, false).unwrap();
        let top = SortKey { column: BIG, descending: true, nulls_first: false };
        let top = TopN::new(input_schema(), key, vec![top], Some(2), 0, false).unwrap();
        let operators: [Box<dyn Operator>; 3] =
            [Box::new(aggregate), Box::new(top), Box::new(Distinct::new(input_schema()).unwrap())];
        for operator in operators {
            let (full, empty) = memory_after_emptying(operator);
            assert!(empty * 20 < full, "{empty} of {full} bytes are left");
        }
    }
}

#[test]
fn state_of_another_operator_is_refused() {
    let calls = vec![call(AggregateFunction::Sum, &[BIG], DataType::Int64)];
    let output = aggregate_output(&[KEY], &calls);
    let mut aggregate = Aggregate::new(input_schema(), vec![KEY], calls, output, false).unwrap();
    for part in ["groups", "entries_0", "rows", "nonsense"] {
        let change = change_of(&input_schema(), &[(vec![V::Null; 10], 1)]);
        assert!(aggregate.restore(StateChange { part, key: vec![0], change }).is_err());
    }
}
