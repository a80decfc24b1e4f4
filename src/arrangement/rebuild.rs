//! A rebuild in slices: a shadow generation without the forgotten rows, filled beside the one in use.
//!
//! The shadow copies rows in append order, some at a call. Meanwhile the original goes on: rows
//! appended to it are copied later, since the copy goes up to its end; deaths of rows that were
//! copied already are entered in both. Once all is copied, the shadow takes the original's place and
//! row ids change: [`Shadow::translate`] leads from old to new ids and [`Shadow::rank`] from old to
//! new limits. Kept ids stay in order, so "born by an epoch" remains a prefix.

use std::sync::Arc;

use arrow_array::BooleanArray;
use arrow_buffer::BooleanBuffer;

use super::generation::{Generation, NEVER, Shape};
use crate::change::batch_of;
use crate::epoch::Epoch;
use crate::error::{Error, Result};

/// What a rebuild may leave out.
#[derive(Clone, Copy)]
pub(super) struct Forgettable {
    /// Rows that died at or before this epoch are read by nobody.
    pub oldest: Epoch,
    /// But those before this id that died after this epoch are owed to the next checkpoint.
    pub owed: Option<(u32, Epoch)>,
}

impl Forgettable {
    fn keeps(&self, row: u32, death: Option<Epoch>) -> bool {
        let Some(death) = death else { return true };
        let owed = self.owed.is_some_and(|(limit, taken)| row < limit && death > taken);
        death > self.oldest || owed
    }

    /// The base of the new generation's count of deaths: no death that is kept is older.
    fn base(&self) -> Epoch {
        self.owed.map_or(self.oldest, |(_, taken)| taken.min(self.oldest))
    }
}

/// One bit for each row of the original, kept or not, with running counts.
#[derive(Default)]
struct Kept {
    words: Vec<u64>,
    /// Rows kept before each word.
    ranks: Vec<u32>,
    rows: u32,
    kept: u32,
}

impl Kept {
    fn push(&mut self, keep: bool) {
        if self.rows.is_multiple_of(64) {
            self.words.push(0);
            self.ranks.push(self.kept);
        }
        if let Some(word) = self.words.last_mut() {
            *word |= (keep as u64) << (self.rows % 64);
        }
        self.rows += 1;
        self.kept += keep as u32;
    }

    fn rank(&self, row: u32) -> u32 {
        match self.words.get(row as usize / 64) {
            Some(word) => {
                let before = word & ((1 << (row % 64)) - 1);
                self.ranks[row as usize / 64] + before.count_ones()
            }
            None => self.kept,
        }
    }

    fn contains(&self, row: u32) -> bool {
        self.words.get(row as usize / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }
}

/// A generation under construction.
pub(super) struct Shadow {
    pub generation: Generation,
    kept: Kept,
    /// New ids of rows kept only for the next checkpoint.
    pub owed: Vec<u32>,
}

impl Shadow {
    pub fn new(shape: &Arc<Shape>, original: &Generation, forgettable: Forgettable) -> Shadow {
        let mut generation = Generation::new(shape.clone(), forgettable.base());
        generation.prepare_like(original);
        Shadow { generation, kept: Kept::default(), owed: vec![] }
    }

    pub fn is_complete(&self, original: &Generation) -> bool {
        self.kept.rows == original.limit
    }

    /// Copies up to `budget` rows more.
    pub fn copy(
        &mut self,
        original: &Generation,
        forgettable: Forgettable,
        mut budget: usize,
    ) -> Result<()> {
        while budget > 0 && !self.is_complete(original) {
            budget -= self.copy_slice(original, forgettable, budget)?;
        }
        Ok(())
    }

    /// Copies rows of one chunk; returns how many it looked at.
    fn copy_slice(
        &mut self,
        original: &Generation,
        forgettable: Forgettable,
        budget: usize,
    ) -> Result<usize> {
        let from = self.kept.rows;
        let (chunk, at) = original.chunks.locate(from);
        let rows = (chunk.rows() - at).min(budget);
        let mut deaths = vec![];
        let start = self.generation.limit;
        let mask = BooleanBuffer::collect_bool(rows, |i| {
            let row = from + i as u32;
            let death = original.death(row);
            let keep = forgettable.keeps(row, death);
            if let Some(death) = death.filter(|_| keep) {
                let place = self.kept.kept - start;
                let code = self.generation.code(death);
                debug_assert!(code > NEVER, "kept deaths are later than the base");
                deaths.push((place, code));
                if death <= forgettable.oldest {
                    self.owed.push(start + place);
                }
            }
            self.kept.push(keep);
            keep
        });
        let kept = mask.count_set_bits();
        let slice = chunk.batch.slice(at, rows);
        let failed = |e| Error::internal(format!("cannot copy rows: {e}"));
        let batch = if kept == rows {
            slice
        } else if slice.num_columns() == 0 {
            batch_of(slice.schema(), vec![], kept).map_err(failed)?
        } else {
            let mask = BooleanArray::new(mask, None);
            arrow_select::filter::filter_record_batch(&slice, &mask).map_err(failed)?
        };
        if kept > 0 {
            self.generation.append_with_deaths(&batch, &deaths)?;
        }
        Ok(rows)
    }

    /// The new id of a row, or `None` when it is not copied (yet).
    pub fn translate(&self, row: u32) -> Option<u32> {
        self.kept.contains(row).then(|| self.kept.rank(row))
    }

    /// How many of the original's rows before `limit` were kept.
    pub fn rank(&self, limit: u32) -> u32 {
        self.kept.rank(limit)
    }

    /// Bytes of the new generation and of the way to it.
    pub fn bytes(&self) -> usize {
        self.generation.bytes() + self.kept.words.len() * 12
    }
}
