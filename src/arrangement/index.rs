//! The hash index: from a hash to the newest row that has it, and from each row to the next older one.
//!
//! One writer, any number of readers without locks. A slot is `hash32 << 32 | row + 1`; a chain of rows
//! of one hash runs through [`Links`]. Readers compare keys themselves: a chain holds all rows whose
//! upper 32 bits of the hash agree.
//!
//! Invariant: the link of a row is stored before the slot that leads to it is released, so whoever
//! finds a row finds everything behind it. A reader that holds an older table finds every row that
//! was there when it took it. The index is cut in [`PARTS`] tables by the hash's top bits, each with a
//! load threshold of its own, so that growth is spread over many epochs.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*};
use std::sync::{Arc, OnceLock};

/// No row.
pub(super) const NIL: u32 = u32::MAX;

/// How many rows ahead of the one at work its cache lines are asked for.
pub(super) const AHEAD: usize = 16;

/// Tables of an index that has outgrown the first one.
const PARTS: usize = 64;

/// Slots of a new index, and used slots at which its one table is split into [`PARTS`].
const FIRST_SLOTS: usize = 16;
const SPLIT_AT: u32 = 2048;

#[inline(always)]
pub(super) fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint; it reads nothing, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// The 32 bits of a hash that the index uses: never zero, so that no used slot looks empty.
#[inline(always)]
pub(super) fn tag(hash: u64) -> u32 {
    ((hash >> 32) as u32).max(1)
}

/// An atomic array of `len` zeros, from pages that the system hands out zeroed and untouched.
pub(super) fn zeros(len: usize) -> Box<[AtomicU32]> {
    // SAFETY: all zeros is a value of AtomicU32.
    unsafe { Box::new_zeroed_slice(len).assume_init() }
}

/// One row id for each row, in segments of doubling size that never move: readers follow them while
/// the writer appends.
pub(super) struct Links {
    segments: [OnceLock<Box<[AtomicU32]>>; 23],
}

impl Links {
    pub fn new() -> Links {
        Links { segments: std::array::from_fn(|_| OnceLock::new()) }
    }

    #[inline(always)]
    fn place(row: u32) -> (usize, usize) {
        let x = row as u64 + 1024;
        let top = 63 - x.leading_zeros();
        ((top - 10) as usize, (x - (1 << top)) as usize)
    }

    #[inline(always)]
    pub fn get(&self, row: u32) -> u32 {
        let (segment, at) = Self::place(row);
        // Stored plus one: zero, as allocated, is NIL.
        self.segments[segment].get().map_or(NIL, |s| s[at].load(Relaxed).wrapping_sub(1))
    }

    /// Returns the bytes newly allocated.
    #[inline(always)]
    pub fn set(&self, row: u32, to: u32) -> usize {
        let (segment, at) = Self::place(row);
        let mut grown = 0;
        let links = self.segments[segment].get_or_init(|| {
            grown = 4096 << segment;
            zeros(1024 << segment)
        });
        links[at].store(to.wrapping_add(1), Relaxed);
        grown
    }

    pub fn bytes(&self) -> usize {
        self.segments.iter().filter_map(|s| s.get()).map(|s| s.len() * 4).sum()
    }

    #[inline(always)]
    pub fn prefetch(&self, row: u32) {
        let (segment, at) = Self::place(row);
        if let Some(links) = self.segments[segment].get() {
            prefetch(&links[at]);
        }
    }
}

struct Table {
    mask: usize,
    slots: Box<[AtomicU64]>,
}

impl Table {
    fn new(slots: usize) -> Table {
        // SAFETY: all zeros is a value of AtomicU64.
        let slots = unsafe { Box::<[AtomicU64]>::new_zeroed_slice(slots).assume_init() };
        Table { mask: slots.len() - 1, slots }
    }

    /// The slot of `tag`, or the empty one where it would go. One is always empty.
    #[inline(always)]
    fn find(&self, tag: u32) -> (&AtomicU64, u64) {
        let mut at = tag as usize & self.mask;
        loop {
            let slot = &self.slots[at];
            let value = slot.load(Acquire);
            if value == 0 || (value >> 32) as u32 == tag {
                return (slot, value);
            }
            at = (at + 1) & self.mask;
        }
    }

    /// Used slots that lead to a row.
    fn live(&self) -> impl Iterator<Item = u64> {
        self.slots.iter().map(|s| s.load(Relaxed)).filter(|&v| v as u32 != 0)
    }

    /// Enters a slot's value; its tag is not in the table yet.
    fn enter(&self, value: u64) {
        self.find((value >> 32) as u32).0.store(value, Relaxed);
    }
}

/// What readers hold: the tables of one moment.
#[derive(Clone)]
pub(super) struct Index {
    /// `tag >> shift` is the part: 32 with a single table.
    shift: u32,
    parts: Vec<Arc<Table>>,
}

impl Index {
    #[inline(always)]
    fn part(&self, tag: u32) -> usize {
        (tag as u64 >> self.shift) as usize
    }

    /// The newest row whose hash has this tag, NIL when there is none.
    #[inline(always)]
    pub fn head(&self, tag: u32) -> u32 {
        // An empty slot, and one whose chain has ended, hold zero in place of row + 1.
        (self.parts[self.part(tag)].find(tag).1 as u32).wrapping_sub(1)
    }

    #[inline(always)]
    pub fn prefetch(&self, tag: u32) {
        let table = &self.parts[self.part(tag)];
        prefetch(&table.slots[tag as usize & table.mask]);
    }
}

/// The writer's side of an index.
pub(super) struct IndexWriter {
    index: Arc<Index>,
    used: Vec<u32>,
    bytes: usize,
}

impl IndexWriter {
    pub fn new() -> IndexWriter {
        let parts = vec![Arc::new(Table::new(FIRST_SLOTS))];
        IndexWriter {
            index: Arc::new(Index { shift: 32, parts }),
            used: vec![0],
            bytes: FIRST_SLOTS * 8,
        }
    }

    pub fn shared(&self) -> &Arc<Index> {
        &self.index
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes `row` the head of its chain. `link` gets the head before it (NIL when there was none)
    /// and must link `row` to it; readers see `row` only afterwards.
    #[inline(always)]
    pub fn push(&mut self, tag: u32, row: u32, link: impl FnOnce(u32)) {
        let part = self.index.part(tag);
        let table = &self.index.parts[part];
        let (slot, value) = table.find(tag);
        link((value as u32).wrapping_sub(1));
        slot.store((tag as u64) << 32 | (row as u64 + 1), Release);
        if value == 0 {
            self.used[part] += 1;
            if self.used[part] >= room(table.slots.len(), part) {
                self.grow(part);
            }
        }
    }

    /// Makes `row` (or NIL) the head in place of a newer one that leaves the chain.
    pub fn set_head(&mut self, tag: u32, row: u32) {
        let (slot, _) = self.index.parts[self.index.part(tag)].find(tag);
        slot.store((tag as u64) << 32 | row.wrapping_add(1) as u64, Release);
    }

    /// A larger table for one part, or one of the same size when most chains in it have ended.
    #[cold]
    fn grow(&mut self, part: usize) {
        if self.index.parts.len() == 1 && self.used[0] >= SPLIT_AT {
            return self.split();
        }
        let old = self.index.parts[part].clone();
        let live = old.live().count();
        let many = live as u32 * 2 > self.used[part];
        let new = Table::new(if many { old.slots.len() * 2 } else { old.slots.len() });
        old.live().for_each(|value| new.enter(value));
        self.bytes = self.bytes + new.slots.len() * 8 - old.slots.len() * 8;
        self.used[part] = live as u32;
        Arc::make_mut(&mut self.index).parts[part] = Arc::new(new);
    }

    fn split(&mut self) {
        const SLOTS: usize = 4 * SPLIT_AT as usize / PARTS;
        let shift = 32 - PARTS.ilog2();
        let parts: Vec<Table> = (0..PARTS).map(|_| Table::new(SLOTS)).collect();
        self.used = vec![0; PARTS];
        for value in self.index.parts[0].live() {
            let part = (value >> 32 >> shift) as usize;
            parts[part].enter(value);
            self.used[part] += 1;
        }
        self.bytes = PARTS * SLOTS * 8;
        self.index = Arc::new(Index { shift, parts: parts.into_iter().map(Arc::new).collect() });
    }
}

/// Used slots at which a table of `slots` grows: a load of 0.35 to 0.70, rising with the part, so that
/// equally filled parts grow one after the other.
fn room(slots: usize, part: usize) -> u32 {
    (slots * (PARTS + part) * 35 / (100 * PARTS)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_while_the_index_grows_and_splits() {
        let (mut writer, links) = (IndexWriter::new(), Links::new());
        let tag_of = |row: u32| tag((row as u64 / 3).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut old = vec![];
        for row in 0..30_000u32 {
            writer.push(tag_of(row), row, |head| {
                links.set(row, head);
            });
            if row % 5000 == 0 {
                old.push((row, writer.shared().clone()));
            }
        }
        old.push((29_999, writer.shared().clone()));
        for (newest, index) in old {
            for row in 0..=newest {
                let mut at = index.head(tag_of(row));
                while at != row {
                    assert_ne!(at, NIL, "row {row} is in its chain");
                    at = links.get(at);
                }
            }
        }
    }

    #[test]
    fn ended_chains_make_room_without_growth() {
        let mut writer = IndexWriter::new();
        for row in 0..100_000u32 {
            let tag = tag((row as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            writer.push(tag, row, |_| {});
            writer.set_head(tag, NIL);
            assert_eq!(writer.shared().head(tag), NIL);
        }
        assert!(writer.bytes() <= 4096, "{}", writer.bytes());
    }

    #[test]
    fn links_hold_any_row_id() {
        let links = Links::new();
        for row in [0, 1, 1023, 1024, 70_000] {
            assert_eq!(links.get(row), NIL);
            links.set(row, row / 2);
            assert_eq!(links.get(row), row / 2);
        }
        assert_eq!(Links::place(u32::MAX).0, 22);
    }
}
