//! Sources whose rows are a pure function of the offset: pacing, splits, `until` and bounds for all of them.
//!
//! A generator implements [`Sequence`] and never sees a clock; [`GeneratorSource`] never makes a row. The invariant is
//! that offset k of a split yields the same rows whenever and by whomever it is read, so that resuming anywhere is exact.
//!
//! A rate limit slows only live readers. A reader of a range with an end is somebody catching up with what has already
//! been shown to others, and would never arrive at the same rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use crate::contract::{
    ConnectorError, Source, SourceBatch, SourceOffset, SourceReader, SplitBounds, SplitId,
    SplitRange, SplitStart,
};

/// A limited generator hands rows over in steps of this length: shorter ones cost an epoch for a few rows each.
const PACE_INTERVAL: Duration = Duration::from_millis(5);

/// Offsets end here, so that their arithmetic cannot overflow: 35 years at a million per second.
pub(crate) const OFFSETS_MAX: u64 = 1 << 50;

/// More splits than any machine has cores; [`OFFSETS_MAX`] times this still fits 63 bits.
pub(crate) const SPLITS_MAX: u32 = 1024;

/// No batch has more rows: 32-bit string offsets hold it whatever the columns are.
const BATCH_ROWS_MAX: usize = 1 << 16;

/// Rows computed from offsets.
pub(crate) trait Sequence: Send + Sync + 'static {
    fn schema(&self) -> &SchemaRef;

    fn splits(&self) -> u32;

    /// Where a split ends; `None` when it does not.
    fn end(&self, split: u32) -> Option<u64>;

    /// Offsets per second, all splits together; `None` for as fast as possible.
    fn offsets_per_second(&self) -> Option<f64>;

    /// No batch is to have more rows than this.
    fn chunk_rows_max(&self) -> usize;

    /// The rows of offsets `from..until`, at most `rows_max` (at least 1), and the offset up to which they reach: `until`
    /// unless the rows ran full. `wanted` says for each column whether it is to be made.
    fn rows(
        &self,
        split: u32,
        from: u64,
        until: u64,
        rows_max: usize,
        wanted: &[bool],
    ) -> Result<(RecordBatch, u64), ConnectorError>;
}

/// A [`Sequence`] as a source.
pub(crate) struct GeneratorSource<S> {
    sequence: Arc<S>,
    /// Per split, how far any reader has come: what an unbounded or paced generator calls its latest offset.
    generated: Arc<[AtomicU64]>,
}

impl<S: Sequence> GeneratorSource<S> {
    pub(crate) fn new(sequence: S) -> GeneratorSource<S> {
        let generated = (0..sequence.splits()).map(|_| AtomicU64::new(0)).collect();
        GeneratorSource { sequence: Arc::new(sequence), generated }
    }

    fn split_number(&self, split: &SplitId) -> Result<u32, ConnectorError> {
        split_number(split, self.sequence.splits())
    }
}

fn split_number(split: &SplitId, splits: u32) -> Result<u32, ConnectorError> {
    match split.0.parse::<u32>() {
        Ok(number) if number < splits => Ok(number),
        _ => Err(ConnectorError::fix(format!("split \"{split}\" does not exist"))
            .with_detail(format!("The generator has {splits} splits, numbered from 0."))),
    }
}

impl<S: Sequence> Source for GeneratorSource<S> {
    fn schema(&self) -> SchemaRef {
        self.sequence.schema().clone()
    }

    fn discover(&self, _timeout: Duration) -> Result<Vec<SplitStart>, ConnectorError> {
        let splits = 0..self.sequence.splits();
        let start = SourceOffset(0);
        Ok(splits.map(|n| SplitStart { split: SplitId(n.to_string()), start }).collect())
    }

    fn bounds(&self, split: &SplitId, _: Duration) -> Result<SplitBounds, ConnectorError> {
        let number = self.split_number(split)?;
        let generated = self.generated[number as usize].load(Ordering::Acquire);
        let latest = match (self.sequence.end(number), self.sequence.offsets_per_second()) {
            (Some(end), None) => end,
            (_, _) => generated,
        };
        Ok(SplitBounds { earliest: SourceOffset(0), latest: SourceOffset(latest) })
    }

    fn reader(
        &self,
        ranges: Vec<SplitRange>,
        columns: &[usize],
    ) -> Result<Box<dyn SourceReader>, ConnectorError> {
        let mut wanted = vec![false; self.sequence.schema().fields().len()];
        for &column in columns {
            match wanted.get_mut(column) {
                Some(wanted) => *wanted = true,
                None => return Err(ConnectorError::fix(format!("no column {column}"))),
            }
        }
        let rate = self.sequence.offsets_per_second();
        let mut reader = GeneratorReader {
            split_rate: rate.map(|rate| rate / f64::from(self.sequence.splits())),
            sequence: self.sequence.clone(),
            generated: self.generated.clone(),
            wanted,
            splits: Vec::new(),
            turn: 0,
        };
        ranges.into_iter().try_for_each(|range| reader.add(range))?;
        Ok(Box::new(reader))
    }
}

/// One split as a reader sees it.
struct Reading {
    split: SplitId,
    number: u32,
    position: u64,
    /// Where reading ends: `until` or the end of the sequence.
    limit: u64,
    /// When and where paced reading began; `None` where no limit applies.
    paced_from: Option<(Instant, u64)>,
    finished: bool,
}

impl Reading {
    /// The offset up to which rows are due at `now`.
    fn due(&self, now: Instant, split_rate: Option<f64>) -> u64 {
        let (Some((began, from)), Some(rate)) = (self.paced_from, split_rate) else {
            return self.limit;
        };
        let intervals = now.duration_since(began).as_micros() / PACE_INTERVAL.as_micros();
        let seconds = intervals as f64 * PACE_INTERVAL.as_secs_f64();
        from.saturating_add((seconds * rate) as u64).min(self.limit)
    }
}

struct GeneratorReader<S> {
    sequence: Arc<S>,
    generated: Arc<[AtomicU64]>,
    split_rate: Option<f64>,
    wanted: Vec<bool>,
    splits: Vec<Reading>,
    /// The split whose turn it is, so that one fast split does not starve the others.
    turn: usize,
}

impl<S: Sequence> GeneratorReader<S> {
    /// The next batch of a split, if any of its rows is due.
    fn read(&mut self, at: usize, rows_max: usize) -> Result<Option<SourceBatch>, ConnectorError> {
        let reading = &mut self.splits[at];
        if reading.finished {
            return Ok(None);
        }
        let due = reading.due(Instant::now(), self.split_rate);
        if due <= reading.position && reading.position < reading.limit {
            return Ok(None);
        }
        let rows_max = rows_max.min(self.sequence.chunk_rows_max()).clamp(1, BATCH_ROWS_MAX);
        let from = reading.position;
        let (rows, end) =
            self.sequence.rows(reading.number, from, due.max(from), rows_max, &self.wanted)?;
        reading.position = end;
        reading.finished = end >= reading.limit;
        if rows.num_rows() == 0 && !reading.finished {
            return Ok(None);
        }
        self.generated[reading.number as usize].fetch_max(end, Ordering::AcqRel);
        Ok(Some(SourceBatch {
            split: reading.split.clone(),
            bytes: rows.get_array_memory_size() as u64,
            rows,
            deletes: None,
            rejected: Vec::new(),
            end: SourceOffset(end),
            finished: reading.finished,
        }))
    }
}

impl<S: Sequence> SourceReader for GeneratorReader<S> {
    fn poll(
        &mut self,
        wait: Duration,
        rows_max: usize,
    ) -> Result<Option<SourceBatch>, ConnectorError> {
        let deadline = Instant::now() + wait;
        loop {
            for _ in 0..self.splits.len() {
                self.turn = (self.turn + 1) % self.splits.len();
                if let Some(batch) = self.read(self.turn, rows_max)? {
                    return Ok(Some(batch));
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let idle = self.splits.iter().all(|reading| reading.finished);
            thread::sleep(if idle { left } else { left.min(PACE_INTERVAL) });
        }
    }

    fn add(&mut self, range: SplitRange) -> Result<(), ConnectorError> {
        let number = split_number(&range.split, self.sequence.splits())?;
        let until = range.until.map_or(OFFSETS_MAX, |until| until.0);
        let end = self.sequence.end(number).unwrap_or(OFFSETS_MAX);
        let paced = self.split_rate.is_some() && range.until.is_none();
        self.splits.push(Reading {
            split: range.split,
            number,
            position: range.from.0,
            limit: until.min(end).min(OFFSETS_MAX),
            paced_from: paced.then(|| (Instant::now(), range.from.0)),
            finished: false,
        });
        Ok(())
    }
}
