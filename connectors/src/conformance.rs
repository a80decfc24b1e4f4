//! Whether a source holds the contract: the same check for every connector, for use in its tests.
//!
//! It reads a stretch of every split once in large batches and takes that as the truth; then again cut at other offsets,
//! in small batches, column by column and all splits in one reader, and wants the same rows, deletes and rejected
//! messages each time. What the rows should be is the connector's own test's business.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use arrow_array::{Array, RecordBatch};
use arrow_select::concat::concat_batches;

use crate::contract::{
    Rejected, Source, SourceBatch, SourceOffset, SourceReader, SplitId, SplitRange,
};

/// What to read and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// At most this many offsets of each split are read.
    pub offsets_max: u64,
    /// How long all of one split may take.
    pub patience: Duration,
    /// The source is endless: so much is read whatever it calls its latest offset, which is nothing read so far.
    pub endless: bool,
}

impl Default for Stretch {
    fn default() -> Self {
        Stretch { offsets_max: 5000, patience: Duration::from_secs(20), endless: false }
    }
}

/// All that came of a range of one split.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    pub rows: RecordBatch,
    /// One per row: whether it deletes its key.
    pub deletes: Vec<bool>,
    pub rejected: Vec<Rejected>,
    /// The end offset of each batch, in order.
    pub ends: Vec<SourceOffset>,
}

impl Content {
    fn same_rows(&self, other: &Content) -> bool {
        self.rows == other.rows && self.deletes == other.deletes && self.rejected == other.rejected
    }
}

/// Checks every split of `source`; the error says what differed and where.
pub fn check(source: &dyn Source, stretch: Stretch) -> Result<(), String> {
    let starts = source.discover(stretch.patience).map_err(|e| format!("discover: {e}"))?;
    if source.discover(stretch.patience).map_err(|e| format!("discover again: {e}"))? != starts {
        return Err("discover gives other splits or starts the second time".into());
    }
    let mut truth = Vec::new();
    for start in starts {
        let bounds =
            source.bounds(&start.split, stretch.patience).map_err(|e| format!("bounds: {e}"))?;
        let latest = if stretch.endless { u64::MAX } else { bounds.latest.0.max(start.start.0) };
        let until = latest.min(start.start.0.saturating_add(stretch.offsets_max));
        let range =
            SplitRange { split: start.split, from: start.start, until: Some(SourceOffset(until)) };
        let whole = read(source, range.clone(), None, 1 << 16, stretch.patience)?;
        resumes_anywhere(source, &range, &whole, stretch)?;
        columns_alone_are_the_same(source, &range, &whole, stretch)?;
        empty_range_finishes(source, &range, stretch)?;
        truth.push((range, whole));
    }
    one_reader_for_all(source, &truth, stretch)
}

/// Reads a range with an end; `columns` is all of them where `None`.
pub fn read(
    source: &dyn Source,
    range: SplitRange,
    columns: Option<&[usize]>,
    rows_max: usize,
    patience: Duration,
) -> Result<Content, String> {
    let split = range.split.clone();
    let mut contents = read_all(source, vec![range], columns, rows_max, patience)?;
    contents.remove(&split).ok_or_else(|| format!("nothing came of split {split}"))
}

fn read_all(
    source: &dyn Source,
    ranges: Vec<SplitRange>,
    columns: Option<&[usize]>,
    rows_max: usize,
    patience: Duration,
) -> Result<BTreeMap<SplitId, Content>, String> {
    let all: Vec<usize> = (0..source.schema().fields().len()).collect();
    let mut reader = source
        .reader(ranges.clone(), columns.unwrap_or(&all))
        .map_err(|e| format!("reader: {e}"))?;
    let mut positions: BTreeMap<SplitId, (SourceOffset, SourceOffset, bool)> = ranges
        .iter()
        .map(|range| {
            let until = range.until.expect("ranges of a check have an end");
            (range.split.clone(), (range.from, until, false))
        })
        .collect();
    let mut batches: BTreeMap<SplitId, Vec<SourceBatch>> = BTreeMap::new();
    let deadline = Instant::now() + patience;
    while positions.values().any(|(_, _, finished)| !finished) {
        if Instant::now() > deadline {
            return Err(format!("nothing more came at {positions:?}"));
        }
        if let Some(batch) = poll(reader.as_mut(), rows_max)? {
            let position = positions
                .get_mut(&batch.split)
                .ok_or_else(|| format!("a batch of split {} was not asked for", batch.split))?;
            follows(&batch, position, rows_max)?;
            if batch.rows.schema() != source.schema() {
                return Err(format!("a batch of split {} has another schema", batch.split));
            }
            batches.entry(batch.split.clone()).or_default().push(batch);
        }
    }
    batches.into_iter().map(|(split, batches)| Ok((split, content(source, batches)?))).collect()
}

fn poll(reader: &mut dyn SourceReader, rows_max: usize) -> Result<Option<SourceBatch>, String> {
    reader.poll(Duration::from_millis(200), rows_max).map_err(|e| format!("poll: {e}"))
}

/// Whether a batch follows what came before it; moves the position.
fn follows(
    batch: &SourceBatch,
    (position, until, finished): &mut (SourceOffset, SourceOffset, bool),
    rows_max: usize,
) -> Result<(), String> {
    let problem = |what: &str| {
        Err(format!("split {}: {what}: {batch:?} at {position} until {until}", batch.split))
    };
    if *finished {
        return problem("a batch after the finished one");
    }
    if batch.rows.num_rows() > rows_max {
        return problem("more rows than asked for");
    }
    if batch.end < *position || (batch.end == *position && !batch.finished) {
        return problem("the end does not advance");
    }
    if batch.end < *until && batch.finished {
        return problem("finished early");
    }
    if batch.end >= *until && !batch.finished {
        return problem("until is reached but not said");
    }
    if batch.deletes.as_ref().is_some_and(|deletes| deletes.len() != batch.rows.num_rows()) {
        return problem("the deletes are not one per row");
    }
    let offsets: Vec<SourceOffset> = batch.rejected.iter().map(|r| r.offset).collect();
    if !offsets.is_sorted() || offsets.iter().any(|o| *o < *position || *o >= batch.end) {
        return problem("rejected messages outside the batch or out of order");
    }
    *position = batch.end;
    *finished = batch.finished;
    Ok(())
}

fn content(source: &dyn Source, batches: Vec<SourceBatch>) -> Result<Content, String> {
    let mut deletes = Vec::new();
    let mut rejected = Vec::new();
    for batch in &batches {
        match &batch.deletes {
            Some(mask) => deletes.extend(mask.iter().map(|delete| delete == Some(true))),
            None => deletes.extend(std::iter::repeat_n(false, batch.rows.num_rows())),
        }
        rejected.extend(batch.rejected.iter().cloned());
    }
    let rows = concat_batches(&source.schema(), batches.iter().map(|batch| &batch.rows))
        .map_err(|e| format!("batches do not fit together: {e}"))?;
    let ends = batches.iter().map(|batch| batch.end).collect();
    Ok(Content { rows, deletes, rejected, ends })
}

fn resumes_anywhere(
    source: &dyn Source,
    range: &SplitRange,
    whole: &Content,
    stretch: Stretch,
) -> Result<(), String> {
    let until = range.until.map_or(0, |until| until.0);
    let length = until - range.from.0;
    for cut in [1, 7, length / 3, length / 2, length.saturating_sub(1)] {
        let cut = SourceOffset(range.from.0 + cut.min(length));
        let first = SplitRange { until: Some(cut), ..range.clone() };
        let second = SplitRange { from: cut, ..range.clone() };
        let first = read(source, first, None, 113, stretch.patience)?;
        let second = read(source, second, None, 1009, stretch.patience)?;
        let rows = concat_batches(&source.schema(), [&first.rows, &second.rows])
            .map_err(|e| format!("parts do not fit together: {e}"))?;
        let parts = Content {
            rows,
            deletes: [first.deletes, second.deletes].concat(),
            rejected: [first.rejected, second.rejected].concat(),
            ends: Vec::new(),
        };
        if !parts.same_rows(whole) {
            return Err(format!("split {}: cut at {cut} its parts differ", range.split));
        }
    }
    Ok(())
}

fn columns_alone_are_the_same(
    source: &dyn Source,
    range: &SplitRange,
    whole: &Content,
    stretch: Stretch,
) -> Result<(), String> {
    for (index, field) in source.schema().fields().iter().enumerate() {
        let alone = read(source, range.clone(), Some(&[index]), 2000, stretch.patience)?;
        let same = alone.rows.column(index).to_data() == whole.rows.column(index).to_data();
        if !same || alone.rejected != whole.rejected || alone.deletes != whole.deletes {
            return Err(format!("column \"{}\" differs when read alone", field.name()));
        }
    }
    let none = read(source, range.clone(), Some(&[]), 2000, stretch.patience)?;
    if none.rows.num_rows() != whole.rows.num_rows() || none.rejected != whole.rejected {
        return Err("with no column read there are other rows".into());
    }
    Ok(())
}

fn empty_range_finishes(
    source: &dyn Source,
    range: &SplitRange,
    stretch: Stretch,
) -> Result<(), String> {
    let empty = SplitRange { until: Some(range.from), ..range.clone() };
    let content = read(source, empty, None, 10, stretch.patience)?;
    match content.rows.num_rows() {
        0 => Ok(()),
        rows => Err(format!("split {}: an empty range has {rows} rows", range.split)),
    }
}

fn one_reader_for_all(
    source: &dyn Source,
    truth: &[(SplitRange, Content)],
    stretch: Stretch,
) -> Result<(), String> {
    let ranges = truth.iter().map(|(range, _)| range.clone()).collect();
    let mut contents = read_all(source, ranges, None, 500, stretch.patience)?;
    for (range, whole) in truth {
        let content = contents.remove(&range.split);
        if !content.is_some_and(|content| content.same_rows(whole)) {
            return Err(format!("split {} differs when read with the others", range.split));
        }
    }
    Ok(())
}
