//! An arrangement against a multiset a epoch: random changes over mixed types, held snapshots, readers
//! on another thread, compaction, checkpoints; and that memory comes back.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::builder::{FixedSizeBinaryBuilder, Int64Builder, ListBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::*;
use arrow_schema::{DataType, Field, IntervalUnit, Schema, SchemaRef, TimeUnit};

use super::*;
use crate::change::{ChangeBatch, take_rows};
use crate::epoch::Epoch;
use crate::hash::hash_columns;

/// SplitMix64: small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// One column of every kind of storage that a chunk knows.
fn mixed_types() -> Vec<DataType> {
    use DataType::*;
    let item = Arc::new(Field::new("item", Int64, true));
    let fields = vec![Field::new("a", Int64, true), Field::new("b", Utf8, true)];
    vec![
        Int64,
        Utf8,
        Boolean,
        Int16,
        UInt8,
        Int32,
        Float32,
        Float64,
        Decimal128(20, 2),
        Decimal256(50, 3),
        Binary,
        FixedSizeBinary(16),
        Date32,
        Time64(TimeUnit::Microsecond),
        Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        Interval(IntervalUnit::MonthDayNano),
        List(item),
        Struct(fields.into()),
        LargeUtf8,
        Utf8View,
    ]
}

/// A column in which row i is determined by `seeds[i]`: 0 is NULL, equal seeds are equal values.
fn column(data_type: &DataType, seeds: &[u64]) -> ArrayRef {
    use DataType::*;
    let ints = || Int64Array::from_iter(seeds.iter().map(|&s| (s > 0).then_some(s as i64)));
    let words = || {
        let word = |s: u64| (s > 0).then(|| format!("{}-{s}", "word".repeat(s as usize % 7)));
        StringArray::from_iter(seeds.iter().map(|&s| word(s)))
    };
    match data_type {
        Boolean => {
            Arc::new(BooleanArray::from_iter(seeds.iter().map(|&s| (s > 0).then_some(s % 2 == 1))))
        }
        Float64 => Arc::new(Float64Array::from_iter(seeds.iter().map(|&s| match s {
            0 => None,
            1 => Some(f64::NAN),
            2 => Some(0.0),
            s => Some(s as f64 / 8.0),
        }))),
        FixedSizeBinary(16) => {
            let mut builder = FixedSizeBinaryBuilder::new(16);
            for &s in seeds {
                match s {
                    0 => builder.append_null(),
                    s => builder.append_value([s as u8; 16]).unwrap(),
                }
            }
            Arc::new(builder.finish())
        }
        Interval(_) => Arc::new(IntervalMonthDayNanoArray::from_iter(seeds.iter().map(|&s| {
            let value = arrow_buffer::IntervalMonthDayNano::new(s as i32, 1, s as i64);
            (s > 0).then_some(value)
        }))),
        Time64(_) | Timestamp(..) | Int64 => arrow_cast::cast(&ints(), data_type).unwrap(),
        Date32 => arrow_cast::cast(&arrow_cast::cast(&ints(), &Int32).unwrap(), &Date32).unwrap(),
        Utf8 | LargeUtf8 | Utf8View | Binary => arrow_cast::cast(&words(), data_type).unwrap(),
        List(_) => {
            let mut builder = ListBuilder::new(Int64Builder::new());
            for &s in seeds {
                (0..s % 4)
                    .for_each(|i| builder.values().append_option((i != 1).then_some(s as i64)));
                builder.append(s > 0);
            }
            Arc::new(builder.finish())
        }
        Struct(fields) => {
            let columns = vec![Arc::new(ints()) as ArrayRef, Arc::new(words()) as ArrayRef];
            let nulls = seeds.iter().map(|&s| s > 0).collect::<Vec<_>>();
            Arc::new(StructArray::new(fields.clone(), columns, Some(nulls.into())))
        }
        other => arrow_cast::cast(&ints(), other).unwrap(),
    }
}

fn schema_of(types: &[DataType]) -> SchemaRef {
    let field = |(i, t): (usize, &DataType)| Field::new(format!("c{i}"), t.clone(), true);
    Arc::new(Schema::new(types.iter().enumerate().map(field).collect::<Vec<_>>()))
}

/// A row in the oracle: the seed of each column.
type Row = Vec<u64>;

fn batch(schema: &SchemaRef, rows: &[Row]) -> RecordBatch {
    let columns = (0..schema.fields().len())
        .map(|k| {
            let seeds: Vec<u64> = rows.iter().map(|r| r[k]).collect();
            column(schema.field(k).data_type(), &seeds)
        })
        .collect();
    crate::change::batch_of(schema.clone(), columns, rows.len()).unwrap()
}

/// Renders rows so that they can be compared as a multiset, whatever the arrays' layouts.
fn rendered(batches: &[RecordBatch]) -> BTreeMap<String, i64> {
    let mut out = BTreeMap::new();
    for batch in batches {
        for i in 0..batch.num_rows() {
            *out.entry(rendered_row(batch.columns(), i)).or_default() += 1;
        }
    }
    out
}

fn rendered_row(columns: &[ArrayRef], row: usize) -> String {
    let show = |c: &ArrayRef| arrow_cast::display::array_value_to_string(c, row).unwrap();
    columns.iter().map(|c| show(c) + if c.is_null(row) { "?" } else { "|" }).collect()
}

type Multiset = HashMap<Row, i64>;

fn expected(schema: &SchemaRef, set: &Multiset) -> BTreeMap<String, i64> {
    let rows: Vec<Row> =
        set.iter().flat_map(|(row, &n)| std::iter::repeat_n(row.clone(), n as usize)).collect();
    rendered(&[batch(schema, &rows)])
}

/// Checks everything a snapshot answers against the multiset of its epoch.
fn check(snapshot: &Snapshot, set: &Multiset, key: &[usize], random: &mut Random) {
    let schema = snapshot.schema().clone();
    let wanted = expected(&schema, set);
    let scan = snapshot.scan();
    assert_eq!(rendered(&scan), wanted, "scan as of {}", snapshot.epoch());
    assert_eq!(snapshot.len() as i64, set.values().sum::<i64>());

    // Probe with keys of which some are there.
    let mut probes: Vec<Row> = set.keys().take(20).cloned().collect();
    probes.extend((0..10).map(|_| (0..schema.fields().len()).map(|_| random.next() % 9).collect()));
    let probe = batch(&schema, &probes);
    let keys: Vec<ArrayRef> = key.iter().map(|&k| probe.column(k).clone()).collect();
    let (mut hashes, mut at, mut found, mut any) = (vec![], vec![], vec![], vec![]);
    hash_columns(&keys, probe.num_rows(), &mut hashes);
    snapshot.probe(&keys, &hashes, &mut at, &mut found);
    snapshot.contains_keys(&keys, &hashes, &mut any);
    assert!(at.is_sorted());
    let columns = snapshot.gather(&found).unwrap();
    let mut matches: BTreeMap<(u32, String), i64> = BTreeMap::new();
    for (i, &p) in at.iter().enumerate() {
        *matches.entry((p, rendered_row(&columns, i))).or_default() += 1;
    }
    let mut wanted: BTreeMap<(u32, String), i64> = BTreeMap::new();
    let rows: Vec<Row> = set.keys().cloned().collect();
    let all = batch(&schema, &rows);
    for (i, row) in rows.iter().enumerate() {
        let text = rendered_row(all.columns(), i);
        for (p, probe) in probes.iter().enumerate() {
            if key.iter().all(|&k| same(schema.field(k).data_type(), row[k], probe[k])) {
                *wanted.entry((p as u32, text.clone())).or_default() += set[row];
            }
        }
    }
    assert_eq!(matches, wanted, "probe as of {}", snapshot.epoch());
    for (p, any) in any.iter().enumerate() {
        assert_eq!(*any, wanted.keys().any(|(q, _)| *q == p as u32));
    }
}

/// Whether two seeds make the same value of a type.
fn same(data_type: &DataType, a: u64, b: u64) -> bool {
    match data_type {
        DataType::Boolean => (a > 0) == (b > 0) && (a == 0 || a % 2 == b % 2),
        DataType::List(_) => {
            a == b || (a > 0 && b > 0 && a.is_multiple_of(4) && b.is_multiple_of(4))
        }
        _ => a == b,
    }
}

/// The row with seeds that make equal values made equal, so that the multiset counts values.
fn canonical(types: &[DataType], mut row: Row) -> Row {
    for (seed, data_type) in row.iter_mut().zip(types) {
        match data_type {
            DataType::Boolean if *seed > 0 => *seed = 2 - *seed % 2,
            // A list of seed 4, 8, … is empty.
            DataType::List(_) if *seed > 0 && *seed % 4 == 0 => *seed = 4,
            _ => {}
        }
    }
    row
}

/// Random changes of one epoch, applied to the multiset.
fn random_changes(
    schema: &SchemaRef,
    set: &mut Multiset,
    unique: Option<usize>,
    random: &mut Random,
) -> Vec<ChangeBatch> {
    let types: Vec<DataType> = schema.fields().iter().map(|f| f.data_type().clone()).collect();
    let (mut rows, mut weights): (Vec<Row>, Vec<i64>) = (vec![], vec![]);
    let inserts = random.below(40);
    let mut change = |row: Row, weight: i64, set: &mut Multiset| {
        *set.entry(row.clone()).or_default() += weight;
        if set[&row] == 0 {
            set.remove(&row);
        }
        rows.push(row);
        weights.push(weight);
    };
    for _ in 0..inserts {
        let row: Row = (0..types.len()).map(|_| random.next() % 6).collect();
        let mut row = canonical(&types, row);
        let mut weight = 1;
        match unique {
            Some(key) => {
                row[key] = random.next() % 200;
                if let Some(old) = set.keys().find(|r| r[key] == row[key]).cloned() {
                    change(old, -1, set);
                }
            }
            None => weight += random.below(2) as i64,
        }
        change(row, weight, set);
    }
    let share = random.below(3);
    for _ in 0..inserts * share / 2 {
        let Some(row) = set.keys().next().cloned() else { break };
        change(row, -1, set);
    }
    let batch = batch(schema, &rows);
    // In two batches, of which the second is a slice.
    let cut = random.below(rows.len() + 1);
    let change = |from: usize, n: usize| {
        ChangeBatch::new(batch.slice(from, n), weights[from..from + n].to_vec())
    };
    vec![change(0, cut), change(cut, rows.len() - cut)]
}

/// One random run: epochs with held snapshots, compaction and checkpoints in between.
fn run(seed: u64, types: &[DataType], key: &[usize], unique: bool) {
    let mut random = Random(seed);
    let schema = schema_of(types);
    let new = || Arrangement::new(schema.clone(), key.to_vec()).with_unique_key(unique);
    let mut arrangement = new();
    let pins = Pins::new();
    let mut set = Multiset::new();
    let mut held: Vec<(Pin, Snapshot, Multiset)> = vec![];
    let (mut copy, mut copy_epoch) = (new(), Epoch::ZERO);
    let mut epoch = Epoch::ZERO;
    // Wide rows take long to render and compare.
    let steps = if types.len() > 5 { 60 } else { 120 };
    for step in 0..steps {
        epoch = Epoch(epoch.0 + 1 + random.next() % 2);
        if step % 40 == 30 {
            let rows: Vec<(Row, i64)> = set.drain().collect();
            let gone: Vec<Row> = rows.iter().map(|(r, _)| r.clone()).collect();
            let weights: Vec<i64> = rows.iter().map(|(_, n)| -n).collect();
            let clear = ChangeBatch::new(batch(&schema, &gone), weights);
            arrangement.apply(epoch, &[clear]).unwrap();
        } else {
            let key = unique.then(|| key[0]);
            let changes = random_changes(&schema, &mut set, key, &mut random);
            arrangement.apply(epoch, &changes).unwrap();
        }
        assert_eq!(arrangement.rows() as i64, set.values().sum::<i64>());
        if random.below(4) == 0 {
            held.push((pins.pin(epoch), arrangement.snapshot(epoch), set.clone()));
        }
        if random.below(6) == 0 && !held.is_empty() {
            let (pin, snapshot, set) = held.swap_remove(random.below(held.len()));
            check(&snapshot, &set, key, &mut random);
            // As of the same epoch, taken from what the arrangement has become.
            check(&arrangement.snapshot(pin.epoch()), &set, key, &mut random);
        }
        arrangement.compact(pins.oldest(epoch), 1 + random.below(300));
        if random.below(10) == 0 {
            copy_epoch = copy_epoch.next();
            copy.apply(copy_epoch, &arrangement.take_changes().unwrap()).unwrap();
            check(&copy.snapshot(copy_epoch), &set, key, &mut random);
        }
        if step % 10 == 0 {
            check(&arrangement.snapshot(epoch), &set, key, &mut random);
        }
    }
}

#[test]
fn snapshots_agree_with_the_multiset_of_their_epoch_for_all_types() {
    run(1, &mixed_types(), &[0], false);
    run(2, &mixed_types(), &[1, 7, 2], false);
}

#[test]
fn every_type_can_be_a_key() {
    let types = mixed_types();
    for (seed, data_type) in types.into_iter().enumerate() {
        run(seed as u64, &[data_type, DataType::Int64], &[0], false);
    }
}

#[test]
fn unique_keys_delete_through_the_key_index() {
    for seed in 0..4 {
        run(seed, &[DataType::Int64, DataType::Utf8, DataType::Float64], &[0], true);
    }
}

#[test]
fn an_arrangement_without_key_columns_matches_every_row() {
    run(1, &[DataType::Int64, DataType::Utf8], &[], false);
    run(2, &[DataType::Boolean], &[], false);
}

#[test]
fn rows_without_columns_are_counted() {
    let schema: SchemaRef = Arc::new(Schema::empty());
    let rows = |n: usize, weight: i64| {
        let batch = crate::change::batch_of(schema.clone(), vec![], n).unwrap();
        ChangeBatch::new(batch, vec![weight; n])
    };
    let mut a = Arrangement::new(schema.clone(), vec![]);
    a.apply(Epoch(1), &[rows(10, 2)]).unwrap();
    a.apply(Epoch(2), &[rows(3, -1)]).unwrap();
    assert_eq!((a.snapshot(Epoch(1)).len(), a.snapshot(Epoch(2)).len()), (20, 17));
    let scanned: usize = a.snapshot(Epoch(2)).scan().iter().map(RecordBatch::num_rows).sum();
    assert_eq!(scanned, 17);
}

fn ints(columns: &[Vec<i64>]) -> RecordBatch {
    let schema = schema_of(&vec![DataType::Int64; columns.len()]);
    let columns = columns.iter().map(|c| Arc::new(Int64Array::from(c.clone())) as _).collect();
    RecordBatch::try_new(schema, columns).unwrap()
}

fn probe_ints(snapshot: &Snapshot, keys: Vec<i64>) -> Vec<u32> {
    let keys: [ArrayRef; 1] = [Arc::new(Int64Array::from(keys))];
    let (mut hashes, mut at, mut found) = (vec![], vec![], vec![]);
    hash_columns(&keys, keys[0].len(), &mut hashes);
    snapshot.probe(&keys, &hashes, &mut at, &mut found);
    at
}

#[test]
fn a_delete_removes_the_row_of_its_own_bits() {
    let schema = schema_of(&[DataType::Float64]);
    let floats = |v: Vec<f64>| {
        RecordBatch::try_new(schema.clone(), vec![Arc::new(Float64Array::from(v))]).unwrap()
    };
    for key in [vec![0], vec![]] {
        let mut a = Arrangement::new(schema.clone(), key);
        a.apply(Epoch(1), &[ChangeBatch::inserts(floats(vec![-0.0]))]).unwrap();
        // Inserts come first within an epoch, so both are there when the one is looked for.
        a.apply(Epoch(2), &[ChangeBatch::new(floats(vec![-0.0, 0.0]), vec![-1, 1])]).unwrap();
        let left = a.snapshot(Epoch(2)).scan();
        let left: Vec<u64> = left
            .iter()
            .flat_map(|b| b.column(0).as_primitive::<Float64Type>().values().to_vec())
            .map(f64::to_bits)
            .collect();
        assert_eq!(left, [0.0f64.to_bits()]);
    }
}

#[test]
fn a_failed_epoch_leaves_everything_as_it_was() {
    for unique in [false, true] {
        let rows = ints(&[(0..1000).collect(), (0..1000).map(|v| v * 2).collect()]);
        let mut a = Arrangement::new(rows.schema(), vec![0]).with_unique_key(unique);
        a.apply(Epoch(1), &[ChangeBatch::inserts(rows.clone())]).unwrap();
        let before = rendered(&a.snapshot(Epoch(1)).scan());
        let more = ChangeBatch::inserts(ints(&[vec![5000], vec![1]]));
        let gone = ChangeBatch::deletes(rows.slice(0, 10));
        let missing = ChangeBatch::deletes(ints(&[vec![3], vec![7]]));
        let error = a.apply(Epoch(2), &[more.clone(), gone.clone(), missing]).unwrap_err();
        assert_eq!(error.code.0, "XX000");
        assert_eq!((a.epoch(), a.rows()), (Epoch(1), 1000));
        // A row can be deleted once only, also within an epoch.
        assert!(a.apply(Epoch(2), &[gone.clone(), gone.clone()]).is_err());
        // Other faults: an old epoch, errors, another schema.
        assert!(a.apply(Epoch(1), &[]).is_err());
        assert!(a.apply(Epoch(2), &[crate::change::errors_batch(&[])]).is_ok());
        let other = ChangeBatch::inserts(ints(&[vec![1]]));
        assert!(a.apply(Epoch(3), &[more.clone(), other]).is_err());
        assert_eq!(rendered(&a.snapshot(a.epoch()).scan()), before);
        // And the epoch goes through without its fault.
        a.apply(Epoch(3), &[more, gone]).unwrap();
        assert_eq!(a.rows(), 991);
        assert_eq!(probe_ints(&a.snapshot(Epoch(3)), vec![5000, 3, 10]), vec![0, 2]);
        assert_eq!(probe_ints(&a.snapshot(Epoch(2)), vec![5000, 3, 10]), vec![1, 2]);
        a.compact(Epoch(3), 10);
        assert_eq!(probe_ints(&a.snapshot(Epoch(3)), vec![5000, 3, 10]), vec![0, 2]);
    }
}

#[test]
fn memory_is_flat_when_filled_and_emptied_a_hundred_times() {
    for unique in [false, true] {
        let rows = ints(&[(0..5000).collect(), (0..5000).map(|v| v % 7).collect()]);
        let mut a = Arrangement::new(rows.schema(), vec![0]).with_unique_key(unique);
        let (empty, mut full) = (a.bytes(), 0);
        let mut epoch = Epoch::ZERO;
        for round in 0..100 {
            for change in [ChangeBatch::inserts(rows.clone()), ChangeBatch::deletes(rows.clone())] {
                epoch = epoch.next();
                a.apply(epoch, &[change]).unwrap();
                if round == 0 {
                    full = full.max(a.bytes());
                }
                assert!(
                    a.bytes() <= full,
                    "{} bytes in round {round}, {full} in the first",
                    a.bytes()
                );
                // The reader is an epoch behind.
                a.compact(epoch.prev(), 100);
            }
            epoch = epoch.next();
            a.advance(epoch);
            a.compact(epoch, 100);
            assert_eq!(a.bytes(), empty, "empty again after round {round}");
        }
    }
}

#[test]
fn memory_stays_bounded_under_updates_with_checkpoints() {
    let mut random = Random(3);
    let n = 20_000i64;
    let rows = ints(&[(0..n).collect(), vec![0; n as usize], (0..n).map(|k| k % 50).collect()]);
    for unique in [false, true] {
        let key = if unique { 0 } else { 2 };
        let mut a = Arrangement::new(rows.schema(), vec![key]).with_unique_key(unique);
        a.apply(Epoch(1), &[ChangeBatch::inserts(rows.clone())]).unwrap();
        let mut versions = vec![0i64; n as usize];
        let mut peak = 0;
        for e in 2..800u64 {
            let mut keys: Vec<i64> = (0..500).map(|_| random.below(n as usize) as i64).collect();
            keys.sort_unstable();
            keys.dedup();
            let both: Vec<i64> = keys.iter().chain(&keys).copied().collect();
            let old = keys.iter().map(|&k| versions[k as usize]);
            let vs: Vec<i64> = old.chain(keys.iter().map(|_| e as i64)).collect();
            let weights: Vec<i64> =
                (0..both.len()).map(|i| if i < keys.len() { -1 } else { 1 }).collect();
            let groups = both.iter().map(|k| k % 50).collect();
            a.apply(Epoch(e), &[ChangeBatch::new(ints(&[both, vs, groups]), weights)]).unwrap();
            keys.iter().for_each(|&k| versions[k as usize] = e as i64);
            a.compact(Epoch(e - 1), 1000);
            if e.is_multiple_of(20) {
                a.take_changes().unwrap();
            }
            if e <= 300 {
                peak = a.bytes().max(peak);
            }
            assert!(a.bytes() <= peak * 5 / 4, "{} bytes at epoch {e}, {peak} before", a.bytes());
        }
        let found = rendered(&a.snapshot(Epoch(799)).scan());
        let wanted = ints(&[(0..n).collect(), versions, (0..n).map(|k| k % 50).collect()]);
        assert!(found == rendered(&[wanted]));
    }
}

#[test]
fn many_equal_rows_are_deleted_in_linear_time() {
    let rows = ints(&[vec![1; 100_000], vec![2; 100_000]]);
    let mut a = Arrangement::new(rows.schema(), vec![0]);
    a.apply(Epoch(1), &[ChangeBatch::inserts(rows.clone())]).unwrap();
    // By chains this would be five billion steps.
    a.apply(Epoch(2), &[ChangeBatch::deletes(rows.slice(0, 99_999))]).unwrap();
    assert_eq!(a.rows(), 1);
    assert_eq!(probe_ints(&a.snapshot(Epoch(2)), vec![1]), vec![0]);
}

#[test]
fn a_kept_slice_does_not_pin_the_batch_it_was_cut_from() {
    let big = StringArray::from_iter_values((0..10_000).map(|i| "x".repeat(100) + &i.to_string()));
    let schema = schema_of(&[DataType::Utf8]);
    let big = RecordBatch::try_new(schema.clone(), vec![Arc::new(big)]).unwrap();
    let mut a = Arrangement::new(schema, vec![0]);
    a.apply(Epoch(1), &[ChangeBatch::inserts(big.slice(500, 2))]).unwrap();
    let kept = a.snapshot(Epoch(1)).scan();
    assert!(kept[0].column(0).get_buffer_memory_size() < 2000);
    assert_eq!(take_rows(&big, &[500, 501]).unwrap().column(0), kept[0].column(0));
}

#[test]
fn chunks_are_sealed_and_found_again() {
    let mut a = Arrangement::new(schema_of(&[DataType::Int64, DataType::Int64]), vec![0]);
    let mut random = Random(9);
    let (mut n, mut epoch) = (0i64, Epoch::ZERO);
    while n < 200_000 {
        let m = random.below(9000) as i64;
        let rows = ints(&[(n..n + m).collect(), (n..n + m).map(|v| -v).collect()]);
        epoch = epoch.next();
        a.apply(epoch, &[ChangeBatch::inserts(rows)]).unwrap();
        n += m;
    }
    let snapshot = a.snapshot(epoch);
    assert!(snapshot.chunks() < 40, "{} chunks", snapshot.chunks());
    let ids: Vec<u32> = (0..5000).map(|_| random.below(n as usize) as u32).collect();
    for rows in [&ids[..], &ids[..3], &[]] {
        let columns = snapshot.gather_columns(rows, &[1, 0]).unwrap();
        let values = columns[0].as_any().downcast_ref::<Int64Array>().unwrap();
        assert!(rows.iter().zip(values.values()).all(|(&r, &v)| v == -(r as i64)));
        assert_eq!(columns.len(), 2);
    }
    assert_eq!(probe_ints(&snapshot, (0..n).collect()).len() as i64, n);
}

#[test]
fn readers_on_another_thread_see_their_epoch_while_the_writer_compacts() {
    // Every epoch moves one unit between two rows of a pair: sums are constant as of any epoch.
    let n = 3000i64;
    let mut a = Arrangement::new(schema_of(&[DataType::Int64, DataType::Int64]), vec![0]);
    let pins = Pins::new();
    a.apply(Epoch(1), &[ChangeBatch::inserts(ints(&[(0..n).collect(), vec![100; n as usize]]))])
        .unwrap();
    let published = Arc::new(parking_lot::Mutex::new(a.snapshot(Epoch(1))));
    let stop = Arc::new(AtomicBool::new(false));
    let reader = std::thread::spawn({
        let (pins, published, stop) = (pins.clone(), published.clone(), stop.clone());
        move || {
            let mut reads = 0;
            while !stop.load(Ordering::Relaxed) || reads == 0 {
                let snapshot = published.lock().clone();
                let Some(_pin) = pins.try_pin(snapshot.epoch()) else { continue };
                let keys: [ArrayRef; 1] = [Arc::new(Int64Array::from_iter_values(0..n))];
                let (mut hashes, mut at, mut found) = (vec![], vec![], vec![]);
                hash_columns(&keys, n as usize, &mut hashes);
                snapshot.probe(&keys, &hashes, &mut at, &mut found);
                assert_eq!(at, (0..n as u32).collect::<Vec<_>>());
                let columns = snapshot.gather_columns(&found, &[1]).unwrap();
                let values = columns[0].as_any().downcast_ref::<Int64Array>().unwrap();
                assert_eq!(values.values().iter().sum::<i64>(), 100 * n);
                let scanned: usize = snapshot.scan().iter().map(RecordBatch::num_rows).sum();
                assert_eq!(scanned, n as usize);
                reads += 1;
            }
            reads
        }
    });
    let mut random = Random(17);
    let mut balance = vec![100i64; n as usize];
    for e in 2..1500u64 {
        let (mut keys, mut values, mut weights) = (vec![], vec![], vec![]);
        for _ in 0..20 {
            let (i, j) = (random.below(n as usize), random.below(n as usize));
            for (k, by) in [(i, 1), (j, -1)] {
                keys.extend([k as i64, k as i64]);
                values.extend([balance[k], balance[k] + by]);
                weights.extend([-1, 1]);
                balance[k] += by;
            }
        }
        a.apply(Epoch(e), &[ChangeBatch::new(ints(&[keys, values]), weights)]).unwrap();
        *published.lock() = a.snapshot(Epoch(e));
        a.compact(pins.oldest(Epoch(e)), 200);
    }
    stop.store(true, Ordering::Relaxed);
    assert!(reader.join().unwrap() > 0);
}
