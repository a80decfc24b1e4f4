//! `tidewater bench operators`: single operators on one worker, fed as the server feeds them.
//!
//! Inputs have four bigint columns and come in batches of 8,192 rows, sixteen to an epoch, which is what the server puts
//! in an epoch under load. They are made before the clock starts. Cases ending in `_view` also keep the result as a live table.
//! A case is run three times (fewer where the machine is slow) on fresh workers; the best run counts, and is shown as
//! soon as the case is done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::flow::{Flow, Input, Outcome};
use super::report::{Case, Meter, Report, rounded};
use crate::error::Result;

/// What readers hand over at once.
const BATCH_ROWS: usize = 8_192;
/// Batches of an epoch under load: the coordinator takes in 131,072 rows.
const EPOCH_BATCHES: usize = 16;
/// Epochs that a view may be behind a table, as in the coordinator.
const WRITE_LAG_EPOCHS: u64 = 256;
const RUNS: usize = 3;
/// How often the input is fed where every row is kept.
const VIEW_ROUNDS: usize = 2;
/// A case that has taken this long is not run again, and none is once the whole suite has taken as long as the second:
/// it stays below a minute on a slow machine.
const CASE_PATIENCE: Duration = Duration::from_millis(2_000);
const SUITE_PATIENCE: Duration = Duration::from_secs(15);
/// A run that has taken this long is fed no more.
const RUN_PATIENCE: Duration = Duration::from_secs(3);
const SEED: u64 = 7;

const FILTER_PROJECT: &str = "select a, b + c as s, b * 2 as m, d from t where d >= 0";
const GROUP: &str = "select a, count(*) as n, sum(b) as s from t group by a";
const JOIN: &str = "select l.a, l.b, l.c, l.d, r.b as rb, r.c as rc, r.d as rd \
                    from l join r on l.a = r.a";
const FILTER_GROUP: &str = "select a, count(*) as n, sum(b) as s from t where d >= 0 group by a";

/// All cases in order: those with a mark, each followed by itself with a live table behind it, then epochs of one row.
const CASES: [&str; 10] = [
    "filter_project",
    "filter_project_view",
    "group_count_sum_100k",
    "group_count_sum_100k_view",
    "group_count_sum_1m",
    "group_count_sum_1m_view",
    "join",
    "join_view",
    PIPELINED,
    WAITED,
];
const PIPELINED: &str = "one_row_epoch_pipelined";
const WAITED: &str = "one_row_epoch_waited";

/// How much is done: everything, or just enough to see that it runs.
#[derive(Clone, Copy)]
struct Scale {
    rows: usize,
    epochs: usize,
}

/// A case over batches that are fed round by round until enough rows have passed.
struct Feed<'a> {
    query: &'a str,
    inputs: Vec<Input>,
    /// For each input its batches; all have the same number.
    batches: Vec<&'a [RecordBatch]>,
    rounds: usize,
}

/// Runs the cases of these names, or all.
pub fn run(cases: &[String]) -> std::result::Result<(), String> {
    if let Some(unknown) = cases.iter().find(|case| !CASES.contains(&case.as_str())) {
        return Err(format!("no case \"{unknown}\"; the cases are {}", CASES.join(", ")));
    }
    let report = Report::begin(
        "One worker; 4 bigint columns, batches of 8,192 rows, 131,072 rows an epoch; best of up to three runs.",
    );
    let scale = Scale { rows: 1 << 20, epochs: 20_000 };
    let mut suite = Suite { report, scale, cases: cases.to_vec(), began: Instant::now() };
    suite.run().map_err(|e| e.to_string())?;
    suite.report.end();
    Ok(())
}

struct Suite {
    report: Report,
    scale: Scale,
    /// The cases wanted; none named: all.
    cases: Vec<String>,
    began: Instant,
}

impl Suite {
    fn run(&mut self) -> Result<()> {
        let rows = self.scale.rows;
        for (name, query, keys, rounds) in [
            ("filter_project", FILTER_PROJECT, 1 << 40, 64),
            ("group_count_sum_100k", GROUP, 100_000, 12),
        ] {
            self.both(name, || vec![uniform(rows, keys)], query, rounds)?;
        }
        // Four times as many rows: of a million keys drawn a million times one in three would not be seen.
        self.both("group_count_sum_1m", || vec![uniform(rows * 4, 1_000_000)], GROUP, 1)?;
        self.both("join", || vec![shuffled(rows, SEED), shuffled(rows, SEED + 1)], JOIN, 1)?;
        self.latency(PIPELINED, false)?;
        self.latency(WAITED, true)
    }

    fn wants(&self, name: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|case| case == name)
    }

    /// The operators alone, then with the live table behind them.
    fn both(
        &mut self,
        name: &str,
        batches: impl Fn() -> Vec<Vec<RecordBatch>>,
        query: &str,
        rounds: usize,
    ) -> Result<()> {
        let view = format!("{name}_view");
        if !self.wants(name) && !self.wants(&view) {
            return Ok(());
        }
        let began = Instant::now();
        let batches = batches();
        let generator = began.elapsed();
        let names: &[&str] = if batches.len() == 1 { &["t"] } else { &["l", "r"] };
        let inputs = names.iter().map(|name| Input { name, schema: schema() }).collect();
        let batches = batches.iter().map(Vec::as_slice).collect();
        let feed = Feed { query, inputs, batches, rounds };
        if self.wants(name) {
            let case = throughput(name, generator, &feed, Outcome::Discarded, self.runs())?;
            self.report.add(case);
        }
        if self.wants(&view) {
            // Keeping every row of a long stream would measure the machine's memory.
            let feed = Feed { rounds: feed.rounds.min(VIEW_ROUNDS), ..feed };
            let case = throughput(&view, generator, &feed, Outcome::Kept, self.runs())?;
            self.report.add(case);
        }
        Ok(())
    }

    /// Where the machine is slow every case is run, but not as often.
    fn runs(&self) -> usize {
        if self.began.elapsed() < SUITE_PATIENCE { RUNS } else { 1 }
    }

    /// Epochs of one row through a filter and an aggregate into a live table.
    fn latency(&mut self, name: &str, waited: bool) -> Result<()> {
        if !self.wants(name) {
            return Ok(());
        }
        let epochs = self.scale.epochs;
        let rows = uniform(epochs.min(BATCH_ROWS), 1_000);
        let inputs = [Input { name: "t", schema: schema() }];
        let flow = Flow::start(FILTER_GROUP, &inputs, Outcome::Kept, 1)?;
        let mut flow = flow.with_view_lag(WRITE_LAG_EPOCHS);
        flow.close()?;
        flow.finish()?;
        let meter = Meter::start();
        let mut done = 0;
        for epoch in 0..epochs {
            if meter.seconds() > RUN_PATIENCE.as_secs_f64() {
                break;
            }
            done += 1;
            flow.feed(0, &rows[0].slice(epoch % rows[0].num_rows(), 1));
            flow.close()?;
            if waited {
                flow.finish()?;
            }
        }
        flow.finish()?;
        let case = Case::new(name, done, meter.stop(), 0.0);
        let microseconds_per_epoch = Some(rounded(case.seconds * 1e6 / done as f64, 1));
        self.report.add(Case { microseconds_per_epoch, ..case });
        Ok(())
    }
}

fn throughput(
    name: &str,
    generator: Duration,
    feed: &Feed<'_>,
    outcome: Outcome,
    runs: usize,
) -> Result<Case> {
    let began = Instant::now();
    let mut best: Option<Case> = None;
    for _ in 0..runs {
        let mut flow = Flow::start(feed.query, &feed.inputs, outcome, 1)?;
        // What is started is not what is measured.
        flow.close()?;
        flow.finish()?;
        let meter = Meter::start();
        let rows = pour(&mut flow, feed, &meter)?;
        let case = Case::new(name, rows, meter.stop(), 0.0);
        debug_assert_eq!(flow.errors(), 0, "the input has no row that fails");
        let rows_out = Some(flow.rows_out());
        let case =
            Case { generator_seconds: Some(rounded(generator.as_secs_f64(), 2)), rows_out, ..case };
        if best.as_ref().is_none_or(|best| case.seconds < best.seconds) {
            best = Some(case);
        }
        if began.elapsed() > CASE_PATIENCE {
            break;
        }
    }
    Ok(best.expect("there is at least one run"))
}

/// Feeds everything, or what the time allows, and waits until it is through; returns the number of rows.
fn pour(flow: &mut Flow, feed: &Feed<'_>, meter: &Meter) -> Result<u64> {
    let mut rows = 0;
    let epoch_batches = EPOCH_BATCHES / feed.inputs.len();
    for _ in 0..feed.rounds {
        let count = feed.batches[0].len();
        for first in (0..count).step_by(epoch_batches) {
            if meter.seconds() > RUN_PATIENCE.as_secs_f64() {
                break;
            }
            for (input, batches) in feed.batches.iter().enumerate() {
                for batch in &batches[first..(first + epoch_batches).min(count)] {
                    rows += batch.num_rows() as u64;
                    flow.feed(input, batch);
                }
            }
            flow.close()?;
        }
    }
    flow.finish()?;
    Ok(rows)
}

fn schema() -> SchemaRef {
    let fields = ["a", "b", "c", "d"].map(|name| Field::new(name, DataType::Int64, true));
    Arc::new(Schema::new(fields.to_vec()))
}

fn batches(keys: &[i64], rng: &mut StdRng) -> Vec<RecordBatch> {
    let batch = |keys: &[i64]| {
        let mut drawn = |range: std::ops::Range<i64>| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(
                keys.iter().map(|_| rng.random_range(range.clone())),
            ))
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(keys.to_vec())),
            drawn(-1_000_000..1_000_000),
            drawn(0..1_000_000),
            // Half of the rows pass `d >= 0`, in no order that a processor could guess.
            drawn(-1_000..1_000),
        ];
        RecordBatch::try_new(schema(), columns).expect("four columns of the same length")
    };
    keys.chunks(BATCH_ROWS).map(batch).collect()
}

/// Rows with keys drawn from `keys`.
fn uniform(rows: usize, keys: i64) -> Vec<RecordBatch> {
    let mut rng = StdRng::seed_from_u64(SEED);
    let drawn: Vec<i64> = (0..rows).map(|_| rng.random_range(0..keys)).collect();
    batches(&drawn, &mut rng)
}

/// Rows with each key once, in any order.
fn shuffled(rows: usize, seed: u64) -> Vec<RecordBatch> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut keys: Vec<i64> = (0..rows as i64).collect();
    keys.shuffle(&mut rng);
    batches(&keys, &mut rng)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_join_finds_one_match_a_row_and_the_filter_keeps_half() {
        let (left, right) = (shuffled(20_000, 1), shuffled(20_000, 2));
        let input = |name| Input { name, schema: schema() };
        let join = Feed {
            query: JOIN,
            inputs: vec![input("l"), input("r")],
            batches: vec![&left, &right],
            rounds: 1,
        };
        let case = throughput("join", Duration::ZERO, &join, Outcome::Kept, 1).unwrap();
        assert_eq!((case.events, case.rows_out), (40_000, Some(20_000)));
        let (inputs, batches) = (vec![input("t")], vec![left.as_slice()]);
        let feed = Feed { query: FILTER_PROJECT, inputs, batches, rounds: 1 };
        let case = throughput("filter", Duration::ZERO, &feed, Outcome::Discarded, 1).unwrap();
        assert!((9_000..11_000).contains(&case.rows_out.unwrap()), "{case:?}");
    }

    fn suite(cases: &[&str]) -> Vec<String> {
        let cases = cases.iter().map(|case| case.to_string()).collect();
        let (report, scale) = (Report::quiet(), Scale { rows: 9_000, epochs: 10 });
        let mut suite = Suite { report, scale, cases, began: Instant::now() };
        suite.run().unwrap();
        suite.report.cases().iter().map(|case| case.query.clone()).collect()
    }

    #[test]
    fn all_cases_run_or_those_that_are_named() {
        assert_eq!(suite(&[]), CASES);
        assert_eq!(suite(&["join_view", WAITED]), ["join_view", WAITED]);
        assert!(run(&["jion".to_owned()]).unwrap_err().contains("no case \"jion\""));
    }
}
