//! Shared readers: each source is read once, by a reader that starts with the first object that needs it, and a view
//! created later gets the earlier rows from a reader of its own.
//!
//! A backfill reads in rounds, each up to where the shared reader was when the round began; rounds shrink, and the last
//! one runs while the shared reader is held back, so that the view is attached at an epoch at which both have read the same prefix.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use tidewater_connectors::contract::{
    ConnectorError, ErrorKind, Source, SourceBatch, SplitId, SplitRange, SplitStart,
};

use super::Stream;
use crate::catalog::ObjectId;
use crate::change::ChangeBatch;
use crate::checkpoint::{Offsets, Position};
use crate::ingest::{Event, Reader, SourceStatus, errors_of, in_one_line, rows_of};

/// Rows of a source in one epoch: more gives operators nothing, less costs epochs.
const EPOCH_ROWS: usize = 131_072;
/// A backfill round shorter than this many messages runs with the shared reader held back.
const LAST_ROUND: u64 = 50_000;
/// How often splits and lag are looked up.
const DISCOVERY: Duration = Duration::from_secs(2);
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(5);

/// The coordinator's state of one source or connector table.
pub struct SharedSource {
    pub name: String,
    pub stream: Stream,
    pub status: Arc<SourceStatus>,
    /// Where the next epoch's rows begin.
    pub offsets: Offsets,
    starts: Offsets,
    /// The objects that read it directly, with the columns they use. A connector table reads itself.
    pub consumers: BTreeMap<ObjectId, BTreeSet<usize>>,
    columns: BTreeSet<usize>,
    reader: Option<Reader>,
    /// Number of backfills in their last round.
    pub held: usize,
    watch: Option<Watch>,
    pub failed: bool,
    /// What the reader told of has not passed.
    troubled: bool,
    /// The last look for splits failed.
    unseen: bool,
    paused: bool,
}

/// What a source gave an epoch.
#[derive(Default)]
pub struct Taken {
    pub changes: Vec<ChangeBatch>,
    pub errors: Vec<ChangeBatch>,
    pub failure: Option<String>,
}

impl SharedSource {
    /// Reading begins at `position`, or where the stream begins.
    pub fn new(
        name: String,
        stream: Stream,
        status: Arc<SourceStatus>,
        position: Option<Position>,
    ) -> SharedSource {
        let Position { starts, offsets } = position.unwrap_or_else(|| {
            let starts: Offsets =
                stream.starts.iter().map(|s| (s.split.clone(), s.start)).collect();
            Position { offsets: starts.clone(), starts }
        });
        status.set("idle");
        SharedSource {
            name,
            stream,
            status,
            offsets,
            starts,
            consumers: BTreeMap::new(),
            columns: BTreeSet::new(),
            reader: None,
            held: 0,
            watch: None,
            failed: false,
            troubled: false,
            unseen: false,
            paused: false,
        }
    }

    fn show_state(&self) {
        self.status.set(match () {
            () if self.failed => "failed",
            () if self.reader.is_none() => "idle",
            () if self.troubled || self.unseen => "retrying",
            () if self.paused => "paused",
            () => "running",
        });
    }

    /// Whether it is held back for want of memory.
    pub fn pause(&mut self, paused: bool) {
        if self.paused != paused {
            self.paused = paused;
            self.show_state();
        }
    }

    fn note(&self, error: &ConnectorError) {
        let error = in_one_line(error);
        tracing::warn!(source = %self.name, error, "source is in trouble, retrying");
        self.status.note(error);
    }

    /// How far it was read as of the open epoch.
    pub fn position(&self) -> Position {
        Position { starts: self.starts.clone(), offsets: self.offsets.clone() }
    }

    /// Reading goes on from where another reader of the same stream was.
    pub fn go_on_at(&mut self, position: Position, wake: &Thread) {
        (self.starts, self.offsets) = (position.starts, position.offsets);
        if self.reader.is_some() {
            self.restart(wake);
        }
    }

    /// Whether anything was read: a view created now needs the earlier rows.
    pub fn has_progressed(&self) -> bool {
        self.offsets != self.starts
    }

    /// Adds a reader of the source; starts the shared reader, anew where more columns are wanted.
    pub fn add_consumer(&mut self, object: ObjectId, columns: BTreeSet<usize>, wake: &Thread) {
        self.consumers.insert(object, columns);
        let wanted: BTreeSet<usize> = self.consumers.values().flatten().copied().collect();
        if self.reader.is_none() || !wanted.is_subset(&self.columns) {
            self.columns = wanted;
            self.restart(wake);
        }
    }

    /// The last reader gone, the stream is not read any more; its position stays.
    pub fn remove_consumer(&mut self, object: ObjectId) {
        self.consumers.remove(&object);
        if self.consumers.is_empty() {
            self.reader = None;
            self.watch = None;
            self.columns.clear();
            self.show_state();
        }
    }

    fn restart(&mut self, wake: &Thread) {
        if self.failed {
            return;
        }
        let ranges = self.offsets.iter().map(|(split, from)| SplitRange {
            split: split.clone(),
            from: *from,
            until: None,
        });
        let columns = self.columns.iter().copied().collect();
        self.reader = Some(Reader::start(
            &self.name,
            self.status.clone(),
            self.stream.source.clone(),
            ranges.collect(),
            columns,
            wake.clone(),
        ));
        self.troubled = false;
        self.show_state();
        if self.watch.is_none() {
            self.watch =
                Some(Watch::start(self.stream.source.clone(), self.status.clone(), wake.clone()));
        }
    }

    /// Splits that have appeared since are read from their start. Fails when what was read before is no longer there.
    fn adopt_splits(&mut self) -> Result<(), ConnectorError> {
        let Some(found) = self.watch.as_ref().and_then(|watch| watch.found.try_iter().last())
        else {
            return Ok(());
        };
        let failed_before = std::mem::replace(&mut self.unseen, found.is_err());
        let found = match found {
            Ok(found) => found,
            Err(error) if error.kind == ErrorKind::DataLoss => return Err(error),
            Err(error) => {
                // The reader has told of an outage already.
                if !failed_before && !self.troubled {
                    self.note(&error);
                }
                self.show_state();
                return Ok(());
            }
        };
        if failed_before {
            self.show_state();
        }
        for SplitStart { split, start } in found {
            if self.offsets.contains_key(&split) {
                continue;
            }
            tracing::info!(source = %self.name, %split, "new split");
            self.offsets.insert(split.clone(), start);
            self.starts.insert(split.clone(), start);
            if let Some(reader) = &self.reader {
                reader.add(SplitRange { split, from: start, until: None });
            }
        }
        Ok(())
    }

    /// What has arrived for the open epoch, up to the bound.
    pub fn take(&mut self) -> Taken {
        let mut taken = Taken::default();
        if let Err(error) = self.adopt_splits() {
            taken.failure = Some(in_one_line(&error));
            return taken;
        }
        let mut rows = 0;
        while rows < EPOCH_ROWS && self.held == 0 {
            let Some(Ok(event)) = self.reader.as_ref().map(|reader| reader.events.try_recv())
            else {
                break;
            };
            match event {
                Event::Batch(batch) => {
                    rows += batch.rows.num_rows();
                    self.accept(batch, &mut taken);
                }
                Event::Trouble(error) => {
                    self.troubled = true;
                    self.note(&error);
                    self.show_state();
                }
                Event::Recovered => {
                    self.troubled = false;
                    self.show_state();
                }
                Event::Failed(error) => {
                    taken.failure = Some(in_one_line(&error));
                    break;
                }
            }
        }
        taken
    }

    fn accept(&mut self, batch: SourceBatch, taken: &mut Taken) {
        self.status.rows.fetch_add(batch.rows.num_rows() as u64, Ordering::Relaxed);
        self.status.bytes.fetch_add(batch.bytes, Ordering::Relaxed);
        self.offsets.insert(batch.split.clone(), batch.end);
        let position: i64 = self.offsets.values().map(|offset| offset.0 as i64).sum();
        self.status.position.store(position, Ordering::Relaxed);
        if !batch.rejected.is_empty() {
            self.status.rejected.fetch_add(batch.rejected.len() as u64, Ordering::Relaxed);
            taken.errors.push(errors_of(&batch.split, &batch.rejected));
            if self.stream.fail_on_error {
                let first = &batch.rejected[0];
                taken.failure = Some(format!(
                    "{} (split {}, offset {})",
                    first.reason, batch.split, first.offset
                ));
            }
        }
        if batch.rows.num_rows() > 0 {
            taken.changes.push(rows_of(&batch));
        }
    }

    /// Stops reading for good.
    pub fn fail(&mut self, reason: String) {
        self.failed = true;
        self.reader = None;
        self.watch = None;
        self.status.note(reason);
        self.show_state();
    }
}

/// Looks for new splits and measures lag, off the reader's path.
struct Watch {
    found: Receiver<Result<Vec<SplitStart>, ConnectorError>>,
    stop: Arc<AtomicBool>,
}

impl Watch {
    fn start(source: Arc<dyn Source>, status: Arc<SourceStatus>, wake: Thread) -> Watch {
        let (sender, found) = bounded(1);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let job = move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(DISCOVERY);
                let found = source.discover(DISCOVERY_TIMEOUT);
                if let Ok(splits) = &found {
                    let latest: i64 = splits
                        .iter()
                        .filter_map(|s| source.bounds(&s.split, DISCOVERY_TIMEOUT).ok())
                        .map(|bounds| bounds.latest.0 as i64)
                        .fold(0, i64::saturating_add);
                    status.latest.store(latest, Ordering::Relaxed);
                }
                // Nobody took what was found last: the next look finds the same.
                let _ = sender.try_send(found);
                wake.unpark();
            }
        };
        // Without the thread new splits are not noticed; reading goes on.
        if let Err(error) = std::thread::Builder::new().name("splits".to_owned()).spawn(job) {
            tracing::error!(%error, "could not start the thread that looks for new splits");
        }
        Watch { found, stop }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A view's own reading of what a source gave before the view was.
pub struct Backfill {
    pub view: ObjectId,
    pub source: ObjectId,
    columns: Vec<usize>,
    offsets: Offsets,
    round: Option<Round>,
    /// The shared reader is held back until this backfill is done.
    pub last: bool,
}

struct Round {
    reader: Reader,
    until: Offsets,
    unfinished: BTreeSet<SplitId>,
}

/// What a step of a backfill came to.
pub enum Step {
    /// Nothing to do at the moment.
    Waiting,
    Rows(Vec<ChangeBatch>),
    /// The view has the same prefix as the shared reader.
    Done,
    Failed(ConnectorError),
}

impl Backfill {
    pub fn new(
        view: ObjectId,
        source: ObjectId,
        shared: &SharedSource,
        columns: BTreeSet<usize>,
    ) -> Backfill {
        let columns = columns.into_iter().collect();
        Backfill { view, source, columns, offsets: shared.starts.clone(), round: None, last: false }
    }

    /// Goes on as far as is possible without waiting.
    pub fn step(&mut self, shared: &mut SharedSource, wake: &Thread) -> Step {
        if self.round.is_none() && !self.begin_round(shared, wake) {
            return Step::Done;
        }
        let Some(round) = &mut self.round else { return Step::Waiting };
        let mut rows = vec![];
        let mut count = 0;
        while count < EPOCH_ROWS {
            match round.reader.events.try_recv() {
                Ok(Event::Batch(batch)) => {
                    count += batch.rows.num_rows();
                    self.offsets.insert(batch.split.clone(), batch.end);
                    if batch.finished
                        || round.until.get(&batch.split).is_some_and(|until| batch.end >= *until)
                    {
                        round.unfinished.remove(&batch.split);
                    }
                    if batch.rows.num_rows() > 0 {
                        rows.push(rows_of(&batch));
                    }
                }
                // How the source is doing is for its shared reader to say.
                Ok(Event::Trouble(error)) => shared.note(&error),
                Ok(Event::Recovered) => {}
                Ok(Event::Failed(error)) => return Step::Failed(error),
                Err(_) => break,
            }
        }
        if round.unfinished.is_empty() {
            self.round = None;
            wake.unpark();
        }
        if rows.is_empty() { Step::Waiting } else { Step::Rows(rows) }
    }

    /// Messages read, and all up to where the shared reader is.
    pub fn progress(&self, shared: &SharedSource) -> (u64, u64) {
        let distance = |to: &Offsets| {
            let from = |split: &SplitId| shared.starts.get(split).map_or(0, |start| start.0);
            to.iter().map(|(split, offset)| offset.0.saturating_sub(from(split))).sum()
        };
        (distance(&self.offsets), distance(&shared.offsets))
    }

    /// Ends the holding back of the shared reader, however the backfill came to its end.
    pub fn let_go(&mut self, shared: &mut SharedSource) {
        if std::mem::take(&mut self.last) {
            shared.held -= 1;
        }
    }

    /// Reads up to where the shared reader is; false when there is nothing left to read.
    fn begin_round(&mut self, shared: &mut SharedSource, wake: &Thread) -> bool {
        let mut ranges = vec![];
        let mut gap = 0;
        for (split, until) in &shared.offsets {
            let from = *self.offsets.entry(split.clone()).or_insert_with(|| shared.starts[split]);
            if from < *until {
                gap += until.0 - from.0;
                ranges.push(SplitRange { split: split.clone(), from, until: Some(*until) });
            }
        }
        if ranges.is_empty() {
            self.let_go(shared);
            return false;
        }
        if !self.last && gap <= LAST_ROUND {
            self.last = true;
            shared.held += 1;
        }
        let until = shared.offsets.clone();
        let unfinished = ranges.iter().map(|r| r.split.clone()).collect();
        let name = format!("fill {}", shared.name);
        let reader = Reader::start(
            &name,
            Arc::default(),
            shared.stream.source.clone(),
            ranges,
            self.columns.clone(),
            wake.clone(),
        );
        self.round = Some(Round { reader, until, unfinished });
        true
    }
}
