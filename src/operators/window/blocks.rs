//! The rows of a partition in order, cut into blocks: what a change replaces, and how far around it one has to look.
//!
//! A block has at most [`BLOCK_ROWS_MAX`] rows, is never empty and never changed: a change replaces the blocks between its first
//! and its last row (the hull), so that the rows before and after it can be read side by side. What is known of a block (its
//! rows, its groups of peers) lets one find a row's position without reading those before it.

use std::sync::{Arc, OnceLock};

use super::super::row_order::peers;

/// Small, since whole blocks are evaluated; large enough that a partition of a million rows has few thousand. Tests have
/// few rows, and are to have many blocks.
pub const BLOCK_ROWS_MAX: usize = if cfg!(test) { 4 } else { 128 };

/// An encoded row.
pub type Row = Arc<[u8]>;

pub struct Block {
    /// In order, each once.
    pub rows: Vec<(Row, i64)>,
    /// Sum of the weights.
    pub count: i64,
    /// Runs of peers.
    groups: i64,
    /// Where accumulators keep what the block's rows come to, once that was asked for.
    pub slot: OnceLock<u32>,
}

impl Block {
    fn new(rows: Vec<(Row, i64)>) -> Arc<Block> {
        let count = rows.iter().map(|(_, weight)| (*weight).max(0)).sum();
        let differ = rows.windows(2).filter(|pair| peers(&pair[0].0) != peers(&pair[1].0)).count();
        Arc::new(Block { rows, count, groups: differ as i64 + 1, slot: OnceLock::new() })
    }

    fn first(&self) -> &[u8] {
        &self.rows[0].0
    }

    fn last(&self) -> &[u8] {
        &self.rows[self.rows.len() - 1].0
    }

    pub fn bytes(&self) -> usize {
        self.rows.iter().map(|(row, _)| row.len() + 40).sum()
    }
}

#[derive(Default)]
pub struct Partition {
    pub blocks: Vec<Arc<Block>>,
    /// Changes of the open epoch, as they came.
    pub pending: Vec<(Row, i64)>,
}

/// What the changes of an epoch have replaced.
pub struct Hull {
    /// The first block that is another now.
    pub start: usize,
    /// The blocks that were there.
    pub old: Vec<Arc<Block>>,
    /// How many there are instead.
    pub new_len: usize,
    /// The changes, in order, no row twice.
    pub deltas: Vec<(Row, i64)>,
}

impl Partition {
    /// Applies what is pending; `None` where nothing has changed.
    pub fn settle(&mut self) -> Option<Hull> {
        let deltas = consolidated(std::mem::take(&mut self.pending));
        let (first, last) = (deltas.first()?, deltas.last()?);
        let (start, end) = match self.blocks.is_empty() {
            true => (0, 0),
            false => (self.block_of(&first.0), self.block_of(&last.0) + 1),
        };
        let mut new: Vec<Arc<Block>> = vec![];
        let mut rest = &deltas[..];
        for at in start..end {
            let next = self.blocks.get(at + 1).filter(|_| at + 1 < end);
            let mine = next.map_or(rest.len(), |next| {
                rest.partition_point(|(row, _)| row.as_ref() < next.first())
            });
            let (own, later) = rest.split_at(mine);
            rest = later;
            match own.is_empty() {
                true => push_block(&mut new, self.blocks[at].clone()),
                false => push_rows(&mut new, merged(&self.blocks[at].rows, own)),
            }
        }
        if start == end {
            push_rows(&mut new, deltas.clone());
        }
        let new_len = new.len();
        let old = self.blocks.splice(start..end, new).collect();
        Some(Hull { start, old, new_len, deltas })
    }

    /// The block that a row belongs to.
    fn block_of(&self, row: &[u8]) -> usize {
        self.blocks.partition_point(|block| block.first() <= row).saturating_sub(1)
    }
}

fn consolidated(mut deltas: Vec<(Row, i64)>) -> Vec<(Row, i64)> {
    deltas.sort_unstable();
    deltas.dedup_by(|later, kept| {
        let same = later.0 == kept.0;
        if same {
            kept.1 += later.1;
        }
        same
    });
    deltas.retain(|(_, weight)| *weight != 0);
    deltas
}

fn merged(rows: &[(Row, i64)], deltas: &[(Row, i64)]) -> Vec<(Row, i64)> {
    let mut out = Vec::with_capacity(rows.len() + deltas.len());
    let (mut rows, mut deltas) = (rows.iter().peekable(), deltas.iter().peekable());
    while let (Some(row), Some(delta)) = (rows.peek(), deltas.peek()) {
        match row.0.cmp(&delta.0) {
            std::cmp::Ordering::Less => out.extend(rows.next().cloned()),
            std::cmp::Ordering::Greater => out.extend(deltas.next().cloned()),
            std::cmp::Ordering::Equal => {
                let weight = row.1 + delta.1;
                if weight != 0 {
                    out.push((row.0.clone(), weight));
                }
                rows.next();
                deltas.next();
            }
        }
    }
    out.extend(rows.cloned());
    out.extend(deltas.cloned());
    out
}

/// Appends a block, together with the one before where both are small.
fn push_block(blocks: &mut Vec<Arc<Block>>, block: Arc<Block>) {
    match blocks.last_mut() {
        Some(last) if last.rows.len() + block.rows.len() <= BLOCK_ROWS_MAX / 2 => {
            *last = Block::new(last.rows.iter().chain(&block.rows).cloned().collect());
        }
        _ => blocks.push(block),
    }
}

/// Appends rows as blocks of about equal size, no larger than three quarters full, so that they do not split again at once.
fn push_rows(blocks: &mut Vec<Arc<Block>>, rows: Vec<(Row, i64)>) {
    if rows.is_empty() {
        return;
    }
    if rows.len() <= BLOCK_ROWS_MAX {
        return push_block(blocks, Block::new(rows));
    }
    let pieces = rows.len().div_ceil(BLOCK_ROWS_MAX * 3 / 4);
    let size = rows.len().div_ceil(pieces);
    blocks.extend(rows.chunks(size).map(|piece| Block::new(piece.to_vec())));
}

/// A distance from a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    pub rows: i64,
    /// Whole groups of peers beyond the row's own; `Some(0)` is its own group.
    pub groups: Option<i64>,
    /// As far as the partition goes.
    pub all: bool,
}

impl Extent {
    pub const ALL: Extent = Extent { rows: 0, groups: None, all: true };

    pub fn rows(rows: i64) -> Extent {
        Extent { rows, ..Extent::default() }
    }

    pub fn groups(groups: i64) -> Extent {
        Extent { groups: Some(groups), ..Extent::default() }
    }

    pub fn or(self, other: Extent) -> Extent {
        Extent {
            rows: self.rows.max(other.rows),
            groups: self.groups.max(other.groups),
            all: self.all || other.all,
        }
    }
}

/// The blocks of a partition, as they are or as they were: the hull's may be the old ones.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub before: &'a [Arc<Block>],
    pub hull: &'a [Arc<Block>],
    pub after: &'a [Arc<Block>],
}

impl<'a> View<'a> {
    pub fn len(&self) -> usize {
        self.before.len() + self.hull.len() + self.after.len()
    }

    pub fn block(&self, at: usize) -> &'a Arc<Block> {
        let (before, hull) = (self.before.len(), self.hull.len());
        if at < before {
            &self.before[at]
        } else if at < before + hull {
            &self.hull[at - before]
        } else {
            &self.after[at - before - hull]
        }
    }

    pub fn blocks(&self, range: std::ops::Range<usize>) -> impl Iterator<Item = &'a Arc<Block>> {
        let view = *self;
        range.map(move |at| view.block(at))
    }

    /// Whether a group of peers begins with the block (or the partition ends before it).
    pub fn is_start(&self, at: usize) -> bool {
        let end = at == 0 || at >= self.len();
        end || peers(self.block(at - 1).last()) != peers(self.block(at).first())
    }

    /// Groups that begin in the blocks.
    pub fn groups(&self, range: std::ops::Range<usize>) -> i64 {
        range.map(|at| self.block(at).groups - 1 + i64::from(self.is_start(at))).sum()
    }

    /// The first block of those that reach as far back from the start of block `from` as the extent says.
    pub fn back(&self, from: usize, extent: Extent) -> usize {
        if extent.all {
            return 0;
        }
        let (mut by_rows, mut rows) = (from, extent.rows);
        while rows > 0 && by_rows > 0 {
            by_rows -= 1;
            rows -= self.block(by_rows).count;
        }
        let Some(groups) = extent.groups else { return by_rows };
        let (mut by_groups, mut starts) = (from, i64::from(self.is_start(from)));
        while starts <= groups && by_groups > 0 {
            by_groups -= 1;
            starts += self.groups(by_groups..by_groups + 1);
        }
        by_rows.min(by_groups)
    }

    /// The end of the blocks that reach as far ahead from the end `to` of others as the extent says.
    pub fn ahead(&self, to: usize, extent: Extent) -> usize {
        if extent.all {
            return self.len();
        }
        let (mut by_rows, mut rows) = (to, extent.rows);
        while rows > 0 && by_rows < self.len() {
            rows -= self.block(by_rows).count;
            by_rows += 1;
        }
        let Some(groups) = extent.groups else { return by_rows };
        let (mut by_groups, mut starts) = (to, i64::from(self.is_start(to)));
        while starts <= groups && by_groups < self.len() {
            starts += self.block(by_groups).groups - 1;
            by_groups += 1;
            starts += i64::from(self.is_start(by_groups));
        }
        by_rows.max(by_groups)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// A row of one byte as its key and one that tells it from its peers.
    fn row(key: u8, rest: u8) -> Row {
        Arc::from([key, rest, 1, 0, 0, 0])
    }

    #[test]
    fn blocks_hold_what_was_added_and_not_taken_back() {
        let mut random = StdRng::seed_from_u64(3);
        let mut partition = Partition::default();
        let mut expected: BTreeMap<Row, i64> = BTreeMap::new();
        for round in 0..300 {
            let grows = round % 100 < 60;
            for _ in 0..random.random_range(1..40) {
                let row = row(random.random_range(0..20), random.random());
                let has = expected.get(&row).copied().unwrap_or(0);
                let weight = if grows || has == 0 { 1 } else { -has };
                *expected.entry(row.clone()).or_default() += weight;
                expected.retain(|_, weight| *weight != 0);
                partition.pending.push((row, weight));
            }
            let before: Vec<_> = partition.blocks.clone();
            let Some(hull) = partition.settle() else { continue };
            let mut rebuilt = before[..hull.start].to_vec();
            rebuilt.extend(hull.old.iter().cloned());
            rebuilt.extend(partition.blocks[hull.start + hull.new_len..].iter().cloned());
            assert_eq!(rebuilt.len(), before.len());
            let rows = partition.blocks.iter().flat_map(|block| block.rows.iter().cloned());
            assert_eq!(rows.collect::<Vec<_>>(), expected.clone().into_iter().collect::<Vec<_>>());
            assert!(partition.blocks.iter().all(|b| (1..=BLOCK_ROWS_MAX).contains(&b.rows.len())));
            let all = View { before: &partition.blocks, hull: &[], after: &[] };
            let keys: std::collections::BTreeSet<u8> = expected.keys().map(|row| row[0]).collect();
            assert_eq!(all.groups(0..all.len()), keys.len() as i64);
        }
    }

    #[test]
    fn an_extent_of_groups_reaches_their_first_and_last_rows() {
        let mut partition = Partition::default();
        for key in 0..4 {
            partition.pending.extend((0..100).map(|rest| (row(key, rest), 1)));
        }
        partition.settle().unwrap();
        let view = View { before: &partition.blocks, hull: &[], after: &[] };
        for at in 0..view.len() {
            let key = view.block(at).first()[0];
            let back = view.back(at, Extent::groups(1));
            let reached = view.block(back).first();
            assert!(back == 0 || reached[0] < key.saturating_sub(1) || view.is_start(back));
            let key = view.block(at).last()[0];
            let end = view.ahead(at + 1, Extent::groups(0));
            assert!(end == view.len() || view.block(end).first()[0] > key);
        }
    }
}
