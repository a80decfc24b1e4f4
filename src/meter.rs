//! What the operators of a running dataflow have done and what they hold, counted by the glue around them.
//!
//! A [`Meters`] is of one object: for each of its operators a cell on each worker, which that worker alone writes, once a
//! batch and never once a row, without locks and without read-modify-write. Whoever reads gets each number as it is at that moment, not all of
//! one moment. What is counted only grows, so that two readings tell what happened between them; what is held is as last
//! measured. Nothing here knows what an operator is: they are told apart by their number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::change::ChangeBatch;

/// The number of the operator in which an object's changes end: its live table, index or sink.
pub const END: usize = 0;

/// One operator on one worker. Cells of different workers share no cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cell {
    rows_in: AtomicU64,
    rows_out: AtomicU64,
    batches_in: AtomicU64,
    batches_out: AtomicU64,
    busy_ns: AtomicU64,
    state_rows: AtomicU64,
    state_bytes: AtomicU64,
}

/// The numbers of an operator on one worker, or of several together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub rows_in: u64,
    pub rows_out: u64,
    pub batches_in: u64,
    pub batches_out: u64,
    /// Time that its own work took, those behind it not included.
    pub busy_ns: u64,
    /// Rows, groups or entries held.
    pub state_rows: u64,
    pub state_bytes: u64,
}

/// The meters of one object's dataflow.
#[derive(Debug)]
pub struct Meters {
    pub since: SystemTime,
    workers: usize,
    /// By operator, then worker.
    cells: Box<[Cell]>,
}

/// The writing end of one operator on one worker.
#[derive(Clone, Debug)]
pub struct Meter {
    meters: Arc<Meters>,
    cell: usize,
}

impl Meters {
    /// Of a dataflow of so many operators beside its [`END`], which have the numbers from 1 on.
    pub fn new(operators: usize, workers: usize) -> Arc<Meters> {
        let cells = (0..(operators + 1) * workers).map(|_| Cell::default()).collect();
        Arc::new(Meters { since: SystemTime::now(), workers, cells })
    }

    /// The meter of an operator, which nobody but this worker may write.
    pub fn of(self: &Arc<Self>, operator: usize, worker: usize) -> Meter {
        debug_assert!(worker < self.workers && (operator + 1) * self.workers <= self.cells.len());
        Meter { meters: self.clone(), cell: operator * self.workers + worker }
    }

    /// The numbers of an operator, those of each worker.
    pub fn read(&self, operator: usize) -> Vec<Counts> {
        let cells = &self.cells[operator * self.workers..][..self.workers];
        cells.iter().map(Cell::read).collect()
    }

    /// How many operators there are, [`END`] included.
    pub fn operators(&self) -> usize {
        self.cells.len() / self.workers
    }
}

impl Cell {
    fn read(&self) -> Counts {
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        Counts {
            rows_in: read(&self.rows_in),
            rows_out: read(&self.rows_out),
            batches_in: read(&self.batches_in),
            batches_out: read(&self.batches_out),
            busy_ns: read(&self.busy_ns),
            state_rows: read(&self.state_rows),
            state_bytes: read(&self.state_bytes),
        }
    }
}

/// Adds to what nobody else writes.
fn add(cell: &AtomicU64, more: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

impl Meter {
    fn cell(&self) -> &Cell {
        &self.meters.cells[self.cell]
    }

    /// The number of its operator.
    pub fn operator(&self) -> usize {
        self.cell / self.meters.workers
    }

    /// A batch has arrived.
    pub fn took(&self, rows: usize) {
        add(&self.cell().batches_in, 1);
        add(&self.cell().rows_in, rows as u64);
    }

    /// A batch was put out.
    pub fn gave(&self, rows: usize) {
        add(&self.cell().batches_out, 1);
        add(&self.cell().rows_out, rows as u64);
    }

    /// These were put out; errors are no rows.
    pub fn gave_all(&self, changes: &[ChangeBatch]) {
        changes.iter().filter(|change| !change.is_errors()).for_each(|c| self.gave(c.len()));
    }

    pub fn worked(&self, time: Duration) {
        add(&self.cell().busy_ns, u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    pub fn holds(&self, rows: usize, bytes: usize) {
        self.cell().state_rows.store(rows as u64, Ordering::Relaxed);
        self.cell().state_bytes.store(bytes as u64, Ordering::Relaxed);
    }
}

/// Time since the last lap, which begins anew.
pub fn lap(watch: &mut Instant) -> Duration {
    let now = Instant::now();
    let time = now - *watch;
    *watch = now;
    time
}

impl Counts {
    /// What happened since an earlier reading; what is held stays as it is.
    pub fn since(&self, earlier: &Counts) -> Counts {
        Counts {
            rows_in: self.rows_in - earlier.rows_in,
            rows_out: self.rows_out - earlier.rows_out,
            batches_in: self.batches_in - earlier.batches_in,
            batches_out: self.batches_out - earlier.batches_out,
            busy_ns: self.busy_ns - earlier.busy_ns,
            state_rows: self.state_rows,
            state_bytes: self.state_bytes,
        }
    }

    /// All of them together.
    pub fn total(counts: &[Counts]) -> Counts {
        counts.iter().fold(Counts::default(), |sum, c| Counts {
            rows_in: sum.rows_in + c.rows_in,
            rows_out: sum.rows_out + c.rows_out,
            batches_in: sum.batches_in + c.batches_in,
            batches_out: sum.batches_out + c.batches_out,
            busy_ns: sum.busy_ns + c.busy_ns,
            state_rows: sum.state_rows + c.state_rows,
            state_bytes: sum.state_bytes + c.state_bytes,
        })
    }
}

/// The worst worker's share over the mean one: 1 where all have the same, the number of workers where one has all. `None` where there is
/// nothing to share.
pub fn skew(shares: impl Iterator<Item = u64> + Clone) -> Option<f64> {
    let (worst, sum) = (shares.clone().max()?, shares.clone().sum::<u64>());
    (sum > 0).then(|| worst as f64 * shares.count() as f64 / sum as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_worker_counts_for_itself_and_two_readings_tell_what_happened_between_them() {
        let meters = Meters::new(1, 2);
        let (left, right) = (meters.of(1, 0), meters.of(1, 1));
        left.took(10);
        right.took(30);
        right.gave(4);
        right.worked(Duration::from_nanos(7));
        right.holds(3, 300);
        let before = meters.read(1);
        assert_eq!(before.iter().map(|c| c.rows_in).collect::<Vec<_>>(), [10, 30]);
        right.took(5);
        right.holds(4, 400);
        let after = meters.read(1);
        let (all, last) = (Counts::total(&after), after[1].since(&before[1]));
        assert_eq!((all.rows_in, all.batches_in, all.rows_out, all.busy_ns), (45, 3, 4, 7));
        assert_eq!(
            (last.rows_in, last.batches_in, last.rows_out, last.state_bytes),
            (5, 1, 0, 400)
        );
        assert_eq!(meters.read(END), [Counts::default(); 2]);
    }

    #[test]
    fn skew_is_the_worst_share_over_the_mean_one() {
        assert_eq!(skew([10, 30].into_iter()), Some(1.5));
        assert_eq!(skew([0, 8, 0, 0].into_iter()), Some(4.0));
        assert_eq!(skew([0, 0].into_iter()), None);
        assert_eq!(skew([].into_iter()), None);
    }
}
