//! The unit of logical time. Owns nothing but the newtype: who advances epochs is the coordinator's business.

use std::fmt;

/// One tick of logical time, a consistent cut over all sources and tables.
///
/// Epochs start at 1; `Epoch::ZERO` stands for "before anything happened".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    pub const ZERO: Epoch = Epoch(0);

    /// What is complete up to here never changes again: a view of constants. No epoch gets this far.
    pub const FINISHED: Epoch = Epoch(u64::MAX - 2);

    /// The epoch after this one.
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }

    /// The epoch before this one; the epoch before zero is zero.
    pub fn prev(self) -> Epoch {
        Epoch(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
