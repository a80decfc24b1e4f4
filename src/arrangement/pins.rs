//! Pins: which epochs somebody still reads.
//!
//! Every reader that outlives one step of the worker holds a [`Pin`]; compaction forgets only what is
//! older than [`Pins::oldest`]. A pin is refused below an epoch that `oldest` has given up, so a
//! reader that picks up a published snapshot and pins it cannot lose a race against compaction.
//! What is absent: pins do not own rows, and a reader that is cut off is not stopped here. It asks
//! [`Pin::is_cut_off`] after each batch, before it believes what it read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::epoch::Epoch;

/// The register of pins, shared by all arrangements and readers of a server.
#[derive(Clone, Default)]
pub struct Pins {
    register: Arc<Mutex<Register>>,
}

#[derive(Default)]
struct Register {
    held: BTreeMap<(Epoch, u64), Held>,
    next_id: u64,
    /// The newest epoch that `oldest` has answered: anything before it may be forgotten already.
    given_up: Epoch,
}

struct Held {
    since: Instant,
    cut_off: Arc<AtomicBool>,
}

impl Pins {
    pub fn new() -> Pins {
        Pins::default()
    }

    /// Keeps everything visible as of `epoch` readable until the pin is dropped. For callers that
    /// know the epoch is not given up, such as a worker about its own newest one.
    pub fn pin(&self, epoch: Epoch) -> Pin {
        let mut register = self.register.lock();
        self.enter(&mut register, epoch)
    }

    /// As [`Pins::pin`], or `None` when `epoch` is given up already: take a newer snapshot then.
    pub fn try_pin(&self, epoch: Epoch) -> Option<Pin> {
        let mut register = self.register.lock();
        (epoch >= register.given_up).then(|| self.enter(&mut register, epoch))
    }

    fn enter(&self, register: &mut Register, epoch: Epoch) -> Pin {
        let id = register.next_id;
        register.next_id += 1;
        let cut_off = Arc::new(AtomicBool::new(false));
        let held = Held { since: Instant::now(), cut_off: cut_off.clone() };
        register.held.insert((epoch, id), held);
        Pin { pins: self.clone(), epoch, id, cut_off }
    }

    /// The oldest epoch that is pinned, or `default` where that is older or nothing is pinned: what
    /// to hand to `Arrangement::compact`. Epochs before the answer cannot be pinned afterwards.
    pub fn oldest(&self, default: Epoch) -> Epoch {
        let mut register = self.register.lock();
        let pinned = register.held.first_key_value().map(|((epoch, _), _)| *epoch);
        let oldest = pinned.map_or(default, |pinned| pinned.min(default));
        register.given_up = register.given_up.max(oldest);
        oldest
    }

    /// Releases the pins held for longer than `max_age` and tells their readers; returns how many.
    pub fn cut_off(&self, max_age: Duration) -> usize {
        let mut register = self.register.lock();
        let before = register.held.len();
        register.held.retain(|_, held| {
            let keep = held.since.elapsed() <= max_age;
            if !keep {
                held.cut_off.store(true, Ordering::Release);
            }
            keep
        });
        before - register.held.len()
    }

    /// The number of pins held.
    pub fn len(&self) -> usize {
        self.register.lock().held.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Holds one epoch readable; dropping it releases the epoch.
pub struct Pin {
    pins: Pins,
    epoch: Epoch,
    id: u64,
    cut_off: Arc<AtomicBool>,
}

impl Pin {
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether the pin was taken away: what was read since may lack rows and must not be used.
    pub fn is_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Acquire)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.pins.register.lock().held.remove(&(self.epoch, self.id));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_oldest_pin_holds_compaction_back_until_it_is_dropped() {
        let pins = Pins::new();
        let (a, b) = (pins.pin(Epoch(3)), pins.pin(Epoch(5)));
        assert_eq!(pins.oldest(Epoch(9)), Epoch(3));
        assert_eq!(pins.oldest(Epoch(2)), Epoch(2));
        drop(a);
        assert_eq!(pins.oldest(Epoch(9)), Epoch(5));
        drop(b);
        assert_eq!(pins.oldest(Epoch(9)), Epoch(9));
        assert!(pins.is_empty());
    }

    #[test]
    fn an_epoch_that_was_given_up_cannot_be_pinned() {
        let pins = Pins::new();
        assert_eq!(pins.oldest(Epoch(7)), Epoch(7));
        assert!(pins.try_pin(Epoch(6)).is_none());
        assert_eq!(pins.try_pin(Epoch(7)).unwrap().epoch(), Epoch(7));
    }

    #[test]
    fn a_reader_that_is_too_old_is_cut_off() {
        let pins = Pins::new();
        let pin = pins.pin(Epoch(1));
        assert_eq!(pins.cut_off(Duration::from_secs(60)), 0);
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(pins.cut_off(Duration::from_millis(1)), 1);
        assert!(pin.is_cut_off());
        assert_eq!(pins.oldest(Epoch(4)), Epoch(4));
    }
}
