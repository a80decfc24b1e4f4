//! DISTINCT inside an aggregate: counts each value of a group and passes it on when it appears or disappears.
//!
//! Only for functions that ignore rows with a NULL argument (count, sum, avg).

use arrow_array::cast::AsArray;
use arrow_array::types::UInt32Type;
use arrow_array::{Array, ArrayRef, UInt32Array};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use std::sync::Arc;

use super::{Accumulator, Entries, Failure, Input};
use crate::error::{Error, Result};
use crate::operators::group_index::{GroupIndex, keep};

pub struct Distinct {
    key_types: Vec<DataType>,
    /// (group, arguments) to entry.
    index: GroupIndex,
    /// How often each entry is there.
    weights: Vec<i64>,
    inner: Box<dyn Accumulator>,
    entries: Vec<u32>,
}

impl Distinct {
    pub fn new(args: &[DataType], inner: Box<dyn Accumulator>) -> Result<Distinct> {
        let mut key_types = vec![DataType::UInt32];
        key_types.extend_from_slice(args);
        let index = GroupIndex::new(&key_types)?;
        Ok(Distinct { key_types, index, weights: vec![], inner, entries: vec![] })
    }

    /// Adds the rows' weights and returns the rows at which an entry came (+1) or went (-1), and the entries at zero.
    fn transitions(
        &mut self,
        input: &Input,
        nulls: Option<&NullBuffer>,
    ) -> (Vec<u32>, Vec<i64>, Vec<u32>) {
        let (mut rows, mut steps, mut zeros) = (vec![], vec![], vec![]);
        let (entries, weights) = (&self.entries, &mut self.weights);
        input.for_each(nulls, |row, _, weight| {
            let entry = entries[row];
            let count = &mut weights[entry as usize];
            let before = *count > 0;
            *count += weight;
            if before != (*count > 0) {
                rows.push(row as u32);
                steps.push(if before { -1 } else { 1 });
            }
            if *count == 0 {
                zeros.push(entry);
            }
        });
        zeros.sort_unstable();
        zeros.dedup();
        zeros.retain(|&entry| weights[entry as usize] == 0);
        (rows, steps, zeros)
    }
}

impl Accumulator for Distinct {
    fn resize(&mut self, slots: usize) {
        self.inner.resize(slots);
    }

    fn update(&mut self, input: &Input) -> Result<()> {
        let nulls = input.args.iter().fold(None, |nulls: Option<NullBuffer>, column| {
            NullBuffer::union(nulls.as_ref(), column.logical_nulls().as_ref())
        });
        let groups: ArrayRef = Arc::new(UInt32Array::from(input.groups.to_vec()));
        let columns: Vec<ArrayRef> =
            std::iter::once(groups).chain(input.args.iter().cloned()).collect();
        self.index.intern(&columns, input.groups.len(), &mut self.entries)?;
        self.weights.resize(self.index.slots(), 0);
        let (rows, steps, mut zeros) = self.transitions(input, nulls.as_ref());
        if !rows.is_empty() {
            let groups: Vec<u32> = rows.iter().map(|&r| input.groups[r as usize]).collect();
            let indices = UInt32Array::from(rows);
            let take = |c: &ArrayRef| arrow_select::take::take(c, &indices, None);
            let args = input.args.iter().map(take).collect::<Result<Vec<_>, _>>();
            let args = args.map_err(|e| Error::internal(e.to_string()))?;
            self.inner.update(&Input { groups: &groups, weights: Some(&steps), args: &args })?;
        }
        // Rows with a NULL were interned too, since masking them first would cost a copy of every batch.
        if let Some(nulls) = nulls {
            let unused = (0..nulls.len()).filter(|&i| nulls.is_null(i)).map(|i| self.entries[i]);
            zeros.extend(unused);
            zeros.sort_unstable();
            zeros.dedup();
        }
        self.index.remove(&zeros);
        if let Some(kept) = self.index.compact() {
            keep(&mut self.weights, &kept);
        }
        Ok(())
    }

    fn evaluate(
        &mut self,
        groups: &[u32],
        rows: &[i64],
        failures: &mut Vec<Failure>,
    ) -> Result<ArrayRef> {
        self.inner.evaluate(groups, rows, failures)
    }

    fn clear(&mut self, groups: &[u32]) {
        // A group without rows has no entries any more.
        self.inner.clear(groups);
    }

    fn compact(&mut self, kept: &[u32]) {
        self.inner.compact(kept);
        let mut renumbered = vec![None; kept.last().map_or(0, |&last| last as usize + 1)];
        for (new, &old) in kept.iter().enumerate() {
            renumbered[old as usize] = Some(new as u32);
        }
        let mut entries = self.index.live_groups();
        let groups_of = |keys: &[ArrayRef]| keys[0].as_primitive::<UInt32Type>().values().clone();
        let keys = self.index.keys(&entries).expect("the keys were encoded by this index");
        let new_group = |group: u32| renumbered.get(group as usize).copied().flatten();
        // Entries of freed groups are there only where input was retracted that had never come; they end here.
        let known: Vec<bool> = groups_of(&keys).iter().map(|&g| new_group(g).is_some()).collect();
        let mut known = known.into_iter();
        entries.retain(|_| known.next() == Some(true));
        let mut keys = self.index.keys(&entries).expect("the keys were encoded by this index");
        let groups = groups_of(&keys);
        keys[0] = Arc::new(UInt32Array::from_iter(groups.iter().map(|&g| new_group(g))));
        let mut index = GroupIndex::new(&self.key_types).expect("the types were accepted before");
        let interned = index.intern(&keys, entries.len(), &mut self.entries);
        interned.expect("the same keys were encoded before");
        // A fresh index numbers distinct keys in their order.
        keep(&mut self.weights, &entries);
        self.index = index;
    }

    fn bytes(&self) -> usize {
        self.index.bytes() + self.weights.capacity() * 8 + self.inner.bytes()
    }

    fn holds_entries(&self) -> bool {
        true
    }

    fn entries(&self) -> Result<Entries> {
        let entries = self.index.live_groups();
        let keys = self.index.keys(&entries)?;
        let weights = entries.iter().map(|&e| self.weights[e as usize]).collect();
        let groups = keys[0].as_primitive::<UInt32Type>().values().to_vec();
        Ok(Entries { groups, args: keys[1..].to_vec(), weights })
    }
}
