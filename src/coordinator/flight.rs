//! The epochs on their way through the dataflows, and whether another may follow them.
//!
//! This is the only place that bounds them: what is let in decides how large epochs grow under load and how long a new one
//! waits behind the others.

use std::collections::VecDeque;

use crate::epoch::Epoch;

/// Epochs that may always be on their way: one being worked on, one waiting.
const EPOCHS_MIN: usize = 2;
/// Small epochs that may be on their way together: waking whoever feeds for each costs more than they do.
const EPOCHS_MAX: usize = 16;
/// Epochs are small while all that are on their way have no more rows than this.
const SMALL_ROWS: usize = 1_024;

/// The last epochs closed, and how much is in each.
#[derive(Default)]
pub struct Flight {
    open_rows: usize,
    /// The newest [`EPOCHS_MAX`], oldest first.
    closed: VecDeque<(Epoch, usize)>,
}

impl Flight {
    /// Rows were fed into the open epoch.
    pub fn fed(&mut self, rows: usize) {
        self.open_rows += rows;
    }

    /// The open epoch was closed.
    pub fn closed(&mut self, epoch: Epoch) {
        if self.closed.len() == EPOCHS_MAX {
            self.closed.pop_front();
        }
        self.closed.push_back((epoch, std::mem::take(&mut self.open_rows)));
    }

    /// Whether who has applied all up to `complete` is so far behind that nothing may be added.
    pub fn is_full(&self, complete: Epoch) -> bool {
        let behind = self.closed.iter().rev().take_while(|(epoch, _)| *epoch > complete);
        let (epochs, rows) = behind.fold((0, 0), |(n, sum), (_, rows)| (n + 1, sum + rows));
        epochs >= EPOCHS_MAX || epochs >= EPOCHS_MIN && rows > SMALL_ROWS
    }

    /// The epoch that has to be complete before it is worth looking again: half of those that stand in the way, or any
    /// where nothing does.
    pub fn awaited(&self, complete: Epoch) -> Epoch {
        if !self.is_full(complete) {
            return Epoch::ZERO;
        }
        let first = self.closed.partition_point(|(epoch, _)| *epoch <= complete);
        self.closed[first + (self.closed.len() - first - 1) / 2].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight(rows: &[usize]) -> Flight {
        let mut flight = Flight::default();
        for (i, rows) in rows.iter().enumerate() {
            flight.fed(*rows);
            flight.closed(Epoch(i as u64 + 1));
        }
        flight
    }

    #[test]
    fn two_epochs_of_any_size_are_on_their_way_and_more_while_they_are_small() {
        let large = flight(&[1 << 20, 1 << 20]);
        assert!(large.is_full(Epoch(0)) && !large.is_full(Epoch(1)));
        assert_eq!(large.awaited(Epoch(0)), Epoch(1));
        let small = flight(&[10; EPOCHS_MAX]);
        assert!(small.is_full(Epoch(0)) && !small.is_full(Epoch(1)));
        assert_eq!(small.awaited(Epoch(0)), Epoch(EPOCHS_MAX as u64 / 2));
        let mixed = flight(&[10, 10, 1 << 20]);
        assert!(mixed.is_full(Epoch(0)) && !mixed.is_full(Epoch(2)));
    }

    #[test]
    fn who_is_far_behind_is_full_and_what_is_done_is_not_waited_for() {
        let flight = flight(&[0; 3 * EPOCHS_MAX]);
        let last = 3 * EPOCHS_MAX as u64;
        assert!(flight.is_full(Epoch(5)) && !flight.is_full(Epoch(last)));
        assert_eq!(flight.awaited(Epoch(5)), Epoch(last - EPOCHS_MAX as u64 / 2));
        assert_eq!(flight.awaited(Epoch(last)), Epoch::ZERO);
    }
}
