//! From key columns to small dense numbers: the group index under every keyed operator.
//!
//! A group is a `u32`; operators keep their state in vectors by group. Keys are stored once: a single integer-like
//! column inline in the hash table, anything else as its Arrow row encoding in an arena. NULL equals NULL, floats are
//! compared in canonical form. Freed groups are used again; [`GroupIndex::compact`] gives memory back by renumbering.
//! Refuses to know what a group is good for.

use arrow::row::{RowConverter, Rows, SortField};
use arrow_array::{Array, ArrayRef};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use xxhash_rust::xxh3::xxh3_64;

use super::native_column::{from_i64, is_integer_like, to_i64};
use super::prefetch::{AHEAD, gather, prefetch};
use crate::canonical::canonical;
use crate::error::{Error, Result};

/// Fewer slots than this are never worth renumbering.
const COMPACT_MIN_SLOTS: usize = 1024;

const EMPTY: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Slot {
    /// The integer key itself, or the hash of an encoded key.
    key: u64,
    group: u32,
}

/// An open-addressing table from 64-bit keys to groups. Linear probing keeps a probe within one or two cache lines;
/// deletion shifts back, so that there are no tombstones to walk over.
struct Slots {
    slots: Vec<Slot>,
    len: usize,
}

/// Spreads the bits of a key: the two halves of one wide multiplication, folded.
#[inline]
fn mix(key: u64) -> u64 {
    let wide = u128::from(key ^ 0x9E37_79B9_7F4A_7C15) * 0xD6E8_FEB8_6659_FD93_u128;
    (wide as u64) ^ ((wide >> 64) as u64)
}

impl Slots {
    fn new(capacity: usize) -> Slots {
        let size = (capacity * 2).next_power_of_two().max(16);
        Slots { slots: vec![Slot { key: 0, group: EMPTY }; size], len: 0 }
    }

    #[inline]
    fn home(&self, key: u64) -> usize {
        mix(key) as usize & (self.slots.len() - 1)
    }

    #[inline]
    fn prefetch(&self, key: u64) {
        prefetch(&self.slots, self.home(key));
    }

    /// The group of `key` among those for which `same` holds, or the slot where it belongs.
    #[inline]
    fn find(&self, key: u64, same: impl Fn(u32) -> bool) -> std::result::Result<usize, usize> {
        let mask = self.slots.len() - 1;
        let mut at = self.home(key);
        loop {
            let slot = self.slots[at];
            if slot.group == EMPTY {
                return Err(at);
            }
            if slot.key == key && same(slot.group) {
                return Ok(at);
            }
            at = (at + 1) & mask;
        }
    }

    /// Puts a key that is not there into the free slot `at` that `find` named.
    #[inline]
    fn insert(&mut self, at: usize, key: u64, group: u32) {
        self.slots[at] = Slot { key, group };
        self.len += 1;
        if self.len * 2 > self.slots.len() {
            self.rebuild(self.slots.len());
        }
    }

    /// Makes the table anew with room for `capacity` keys at half load.
    fn rebuild(&mut self, capacity: usize) {
        let old = std::mem::replace(self, Slots::new(capacity));
        let mask = self.slots.len() - 1;
        for slot in old.slots.into_iter().filter(|s| s.group != EMPTY) {
            let mut at = self.home(slot.key);
            while self.slots[at].group != EMPTY {
                at = (at + 1) & mask;
            }
            self.slots[at] = slot;
            self.len += 1;
        }
    }

    /// Empties slot `at` and moves later members of its run back, so that each stays reachable from its home.
    fn remove(&mut self, mut at: usize) {
        let mask = self.slots.len() - 1;
        let mut next = at;
        loop {
            next = (next + 1) & mask;
            let slot = self.slots[next];
            if slot.group == EMPTY {
                break;
            }
            let home = self.home(slot.key);
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(at) & mask) {
                self.slots[at] = slot;
                at = next;
            }
        }
        self.slots[at].group = EMPTY;
        self.len -= 1;
    }
}

/// Encoded keys by group in one arena; the bytes of freed keys are reclaimed when they are the larger half.
struct Arena {
    bytes: Vec<u8>,
    /// Start and length by group.
    spans: Vec<(usize, u32)>,
    dead_bytes: usize,
}

impl Arena {
    #[inline]
    fn get(&self, group: u32) -> &[u8] {
        let (start, len) = self.spans[group as usize];
        &self.bytes[start..start + len as usize]
    }

    fn put(&mut self, group: u32, key: &[u8]) {
        let span = (self.bytes.len(), key.len() as u32);
        self.bytes.extend_from_slice(key);
        match self.spans.get_mut(group as usize) {
            Some(slot) => *slot = span,
            None => self.spans.push(span),
        }
    }

    fn free(&mut self, group: u32) {
        let span = &mut self.spans[group as usize];
        self.dead_bytes += span.1 as usize;
        *span = (0, 0);
    }

    fn reclaim(&mut self) {
        if self.dead_bytes < 4096 || self.dead_bytes * 2 < self.bytes.len() {
            return;
        }
        let mut bytes = Vec::with_capacity(self.bytes.len() - self.dead_bytes);
        for span in &mut self.spans {
            let start = bytes.len();
            bytes.extend_from_slice(&self.bytes[span.0..span.0 + span.1 as usize]);
            span.0 = start;
        }
        self.bytes = bytes;
        self.dead_bytes = 0;
    }
}

enum Keys {
    /// No key columns: group 0 is the only one.
    None,
    /// One column whose values fit `i64`.
    Integers {
        data_type: DataType,
        values: Vec<i64>,
        null_group: Option<u32>,
    },
    Encoded {
        converter: RowConverter,
        scratch: Rows,
        arena: Arena,
    },
}

/// Assigns groups to keys and gives the keys back as columns.
pub struct GroupIndex {
    keys: Keys,
    slots: Slots,
    free: Vec<u32>,
    /// Groups handed out so far, free ones included: the length of vectors by group.
    used: usize,
    /// Whether keys are compared bit by bit instead of as SQL values.
    bitwise: bool,
}

impl GroupIndex {
    /// An index of keys with these columns. A type without a row encoding (such as a map) is 0A000.
    pub fn new(key_types: &[DataType]) -> Result<GroupIndex> {
        let keys = match key_types {
            [] => Keys::None,
            [one] if is_integer_like(one) => {
                Keys::Integers { data_type: one.clone(), values: vec![], null_group: None }
            }
            _ => {
                let converter =
                    row_converter(key_types.iter().cloned().map(SortField::new).collect())?;
                let scratch = converter.empty_rows(0, 0);
                let arena = Arena { bytes: vec![], spans: vec![], dead_bytes: 0 };
                Keys::Encoded { converter, scratch, arena }
            }
        };
        let used = usize::from(matches!(keys, Keys::None));
        Ok(GroupIndex { keys, slots: Slots::new(0), free: vec![], used, bitwise: false })
    }

    /// As [`GroupIndex::new`], but `-0.0` and `0.0`, and NaNs of other bits, are different keys: the identity of rows
    /// rather than the equality of values.
    pub fn bitwise(key_types: &[DataType]) -> Result<GroupIndex> {
        Ok(GroupIndex { bitwise: true, ..GroupIndex::new(key_types)? })
    }

    /// The length that vectors by group need.
    pub fn slots(&self) -> usize {
        self.used
    }

    /// Groups in use.
    pub fn len(&self) -> usize {
        self.used - self.free.len()
    }

    /// Replaces `groups` by the group of each of the `rows` rows, making new groups for unknown keys.
    pub fn intern(
        &mut self,
        columns: &[ArrayRef],
        rows: usize,
        groups: &mut Vec<u32>,
    ) -> Result<()> {
        groups.clear();
        groups.reserve(rows);
        let GroupIndex { keys, slots, free, used, bitwise } = self;
        let allocate = || {
            free.pop().unwrap_or_else(|| {
                *used += 1;
                u32::try_from(*used - 1).expect("memory ends before 2^32 groups")
            })
        };
        match keys {
            Keys::None => groups.resize(rows, 0),
            Keys::Integers { values, null_group, .. } => {
                let ints = to_i64(&columns[0]);
                let nulls = columns[0].logical_nulls();
                intern_integers(&ints, nulls.as_ref(), values, null_group, slots, allocate, groups);
            }
            Keys::Encoded { converter, scratch, arena } => {
                encode(converter, scratch, columns, *bitwise)?;
                intern_encoded(scratch, rows, arena, slots, allocate, groups);
            }
        }
        Ok(())
    }

    /// The group of each row, `None` for keys that have none.
    pub fn find(&mut self, columns: &[ArrayRef], rows: usize) -> Result<Vec<Option<u32>>> {
        let GroupIndex { keys, slots, bitwise, .. } = self;
        let group_at =
            |found: std::result::Result<usize, usize>| found.ok().map(|at| slots.slots[at].group);
        Ok(match keys {
            Keys::None => vec![Some(0); rows],
            Keys::Integers { null_group, .. } => {
                let ints = to_i64(&columns[0]);
                let nulls = columns[0].logical_nulls();
                let find = |row: usize| match nulls.as_ref().is_some_and(|n| n.is_null(row)) {
                    true => *null_group,
                    false => group_at(slots.find(ints[row] as u64, |_| true)),
                };
                (0..rows).map(find).collect()
            }
            Keys::Encoded { converter, scratch, arena } => {
                encode(converter, scratch, columns, *bitwise)?;
                let find = |row: usize| {
                    let bytes = scratch.row(row).data();
                    group_at(slots.find(xxh3_64(bytes), |g| arena.get(g) == bytes))
                };
                (0..rows).map(find).collect()
            }
        })
    }

    /// The key columns of `groups`, one row each.
    pub fn keys(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        match &self.keys {
            Keys::None => Ok(vec![]),
            Keys::Integers { data_type, values, null_group } => {
                let ints = gather(values, groups);
                let nulls = null_group
                    .map(|null| groups.iter().map(|&g| g != null).collect::<NullBuffer>())
                    .filter(|n| n.null_count() > 0);
                Ok(vec![from_i64(ints, nulls, data_type)])
            }
            Keys::Encoded { converter, arena, .. } => {
                let parser = converter.parser();
                let rows = groups.iter().enumerate().map(|(i, &g)| {
                    if let Some(&later) = groups.get(i + AHEAD) {
                        prefetch(&arena.spans, later as usize);
                    }
                    parser.parse(arena.get(g))
                });
                converter.convert_rows(rows).map_err(|e| Error::internal(e.to_string()))
            }
        }
    }

    /// Frees groups that are in use; their numbers will be given to other keys.
    pub fn remove(&mut self, groups: &[u32]) {
        let slots = &mut self.slots;
        match &mut self.keys {
            Keys::None => return,
            Keys::Integers { values, null_group, .. } => {
                for &group in groups {
                    if *null_group == Some(group) {
                        *null_group = None;
                    } else if let Ok(at) = slots.find(values[group as usize] as u64, |g| g == group)
                    {
                        slots.remove(at);
                    }
                }
            }
            Keys::Encoded { arena, .. } => {
                for &group in groups {
                    if let Ok(at) = slots.find(xxh3_64(arena.get(group)), |g| g == group) {
                        slots.remove(at);
                    }
                    arena.free(group);
                }
                arena.reclaim();
            }
        }
        self.free.extend_from_slice(groups);
    }

    /// When mostly empty, renumbers the groups in use densely and shrinks. Returns the old numbers in the order of the
    /// new ones: whoever keeps a vector by group keeps exactly these elements ([`keep`]).
    pub fn compact(&mut self) -> Option<Vec<u32>> {
        if self.used < COMPACT_MIN_SLOTS || self.len() * 4 > self.used {
            return None;
        }
        let kept = self.live_groups();
        let mut renumbered = vec![EMPTY; self.used];
        for (new, &old) in kept.iter().enumerate() {
            renumbered[old as usize] = new as u32;
        }
        match &mut self.keys {
            Keys::None => {}
            Keys::Integers { values, null_group, .. } => {
                keep(values, &kept);
                *null_group = null_group.map(|g| renumbered[g as usize]);
            }
            Keys::Encoded { arena, scratch, converter } => {
                keep(&mut arena.spans, &kept);
                arena.reclaim();
                arena.bytes.shrink_to_fit();
                *scratch = converter.empty_rows(0, 0);
            }
        }
        for slot in self.slots.slots.iter_mut().filter(|s| s.group != EMPTY) {
            slot.group = renumbered[slot.group as usize];
        }
        self.slots.rebuild(self.slots.len);
        self.free = vec![];
        self.used = kept.len();
        Some(kept)
    }

    /// The groups in use, ascending.
    pub fn live_groups(&self) -> Vec<u32> {
        let mut live = vec![true; self.used];
        for &group in &self.free {
            live[group as usize] = false;
        }
        (0..self.used as u32).filter(|&g| live[g as usize]).collect()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let keys = match &self.keys {
            Keys::None => 0,
            Keys::Integers { values, .. } => values.capacity() * 8,
            Keys::Encoded { scratch, arena, .. } => {
                scratch.size() + arena.bytes.capacity() + arena.spans.capacity() * 16
            }
        };
        keys + self.slots.slots.capacity() * size_of::<Slot>() + self.free.capacity() * 4
    }
}

fn intern_integers(
    ints: &[i64],
    nulls: Option<&NullBuffer>,
    values: &mut Vec<i64>,
    null_group: &mut Option<u32>,
    slots: &mut Slots,
    mut allocate: impl FnMut() -> u32,
    groups: &mut Vec<u32>,
) {
    let mut store = |values: &mut Vec<i64>, value: i64| {
        let group = allocate();
        match values.get_mut(group as usize) {
            Some(old) => *old = value,
            None => values.push(value),
        }
        group
    };
    let nulls = nulls.filter(|n| n.null_count() > 0);
    for (row, &value) in ints.iter().enumerate() {
        if let Some(&later) = ints.get(row + AHEAD) {
            slots.prefetch(later as u64);
        }
        let group = if nulls.is_some_and(|n| n.is_null(row)) {
            *null_group.get_or_insert_with(|| store(values, 0))
        } else {
            match slots.find(value as u64, |_| true) {
                Ok(at) => slots.slots[at].group,
                Err(at) => {
                    let group = store(values, value);
                    slots.insert(at, value as u64, group);
                    group
                }
            }
        };
        groups.push(group);
    }
}

fn intern_encoded(
    keys: &Rows,
    rows: usize,
    arena: &mut Arena,
    slots: &mut Slots,
    mut allocate: impl FnMut() -> u32,
    groups: &mut Vec<u32>,
) {
    let hashes: Vec<u64> = (0..rows).map(|i| xxh3_64(keys.row(i).data())).collect();
    for (row, &hash) in hashes.iter().enumerate() {
        // A probe depends on three reads, slot, span and key: each is fetched while the one before it arrives.
        if let Some(&later) = hashes.get(row + 3 * AHEAD) {
            slots.prefetch(later);
        }
        if let Some(&later) = hashes.get(row + 2 * AHEAD) {
            prefetch(&arena.spans, slots.slots[slots.home(later)].group as usize);
        }
        if let Some(&later) = hashes.get(row + AHEAD)
            && let Some(span) = arena.spans.get(slots.slots[slots.home(later)].group as usize)
        {
            prefetch(&arena.bytes, span.0);
        }
        let bytes = keys.row(row).data();
        let group = match slots.find(hash, |g| arena.get(g) == bytes) {
            Ok(at) => slots.slots[at].group,
            Err(at) => {
                let group = allocate();
                arena.put(group, bytes);
                slots.insert(at, hash, group);
                group
            }
        };
        groups.push(group);
    }
}

fn encode(
    converter: &RowConverter,
    scratch: &mut Rows,
    columns: &[ArrayRef],
    bitwise: bool,
) -> Result<()> {
    scratch.clear();
    if bitwise {
        return converter.append(scratch, columns).map_err(|e| Error::internal(e.to_string()));
    }
    let columns: Vec<ArrayRef> = columns.iter().map(canonical).collect();
    converter.append(scratch, &columns).map_err(|e| Error::internal(e.to_string()))
}

/// A row converter for `fields`; types that it cannot encode are 0A000.
pub fn row_converter(fields: Vec<SortField>) -> Result<RowConverter> {
    RowConverter::new(fields).map_err(|e| {
        Error::unsupported("a column's type cannot be compared").with_detail(e.to_string())
    })
}

/// Keeps the elements at `kept`, in that order, and no spare capacity.
pub fn keep<T: Default>(by_group: &mut Vec<T>, kept: &[u32]) {
    *by_group = kept.iter().map(|&g| std::mem::take(&mut by_group[g as usize])).collect();
}
