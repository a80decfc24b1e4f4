//! `min` and `max` over any ordered type: one value a group where input is only appended, else a sorted multiset.

use arrow_array::ArrayRef;
use arrow_schema::DataType;

use super::{Accumulator, Entries, Failure, Input, reset};
use crate::error::Result;
use crate::operators::group_index::keep;
use crate::operators::ordered_bag::{Added, OrderedBag};
use crate::operators::ordered_key::{BytesCodec, DecimalCodec, KeyCodec, NarrowCodec};

/// `max` where `greatest`, else `min`.
pub fn build(
    data_type: &DataType,
    greatest: bool,
    append_only: bool,
) -> Result<Box<dyn Accumulator>> {
    fn of<C: KeyCodec>(codec: C, greatest: bool, append_only: bool) -> Box<dyn Accumulator> {
        match append_only {
            true => Box::new(BestSeen { codec, greatest, best: vec![], heap_bytes: 0 }),
            false => Box::new(Extreme { codec, greatest, bags: vec![], entry_bytes: 0 }),
        }
    }
    Ok(match data_type {
        narrow if NarrowCodec::supports(narrow) => {
            of(NarrowCodec::new(narrow), greatest, append_only)
        }
        DataType::Decimal128(..) => of(DecimalCodec(data_type.clone()), greatest, append_only),
        other => of(BytesCodec::new(other)?, greatest, append_only),
    })
}

/// The best value seen so far; right only where nothing is ever retracted.
struct BestSeen<C: KeyCodec> {
    codec: C,
    greatest: bool,
    best: Vec<Option<C::Key>>,
    heap_bytes: usize,
}

impl<C: KeyCodec> Accumulator for BestSeen<C> {
    fn resize(&mut self, slots: usize) {
        self.best.resize(slots, None);
    }

    fn update(&mut self, input: &Input) -> Result<()> {
        let keys = self.codec.encode(&input.args[0])?;
        let (best, greatest) = (self.best.as_mut_slice(), self.greatest);
        let heap_bytes = &mut self.heap_bytes;
        input.for_each(input.nulls().as_ref(), |row, group, _| {
            let (key, best) = (C::key(&keys, row), &mut best[group]);
            let better = match best {
                None => true,
                Some(best) if greatest => key > *best,
                Some(best) => key < *best,
            };
            if better {
                *heap_bytes += C::heap_bytes(&key);
                *heap_bytes -= best.as_ref().map_or(0, C::heap_bytes);
                *best = Some(key);
            }
        });
        Ok(())
    }

    fn evaluate(&mut self, groups: &[u32], _: &[i64], _: &mut Vec<Failure>) -> Result<ArrayRef> {
        let best: Vec<_> = groups.iter().map(|&g| self.best[g as usize].as_ref()).collect();
        self.codec.decode(&best)
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            self.heap_bytes -= self.best[group as usize].as_ref().map_or(0, C::heap_bytes);
        }
        reset(&mut self.best, groups);
    }

    fn compact(&mut self, kept: &[u32]) {
        keep(&mut self.best, kept);
    }

    fn bytes(&self) -> usize {
        self.best.capacity() * size_of::<Option<C::Key>>() + self.heap_bytes
    }

    fn save(&self, group: usize, into: &mut Vec<u8>) {
        if let Some(best) = &self.best[group] {
            into.push(1);
            C::save(best, into);
        }
    }

    fn load(&mut self, group: usize, from: &[u8]) -> Result<()> {
        self.clear(&[group as u32]);
        if let Some((_, key)) = from.split_first() {
            let key = C::load(key)?;
            self.heap_bytes += C::heap_bytes(&key);
            self.best[group] = Some(key);
        }
        Ok(())
    }
}

/// Every value with its weight, in order.
struct Extreme<C: KeyCodec> {
    codec: C,
    greatest: bool,
    bags: Vec<OrderedBag<C::Key>>,
    entry_bytes: usize,
}

impl<C: KeyCodec> Extreme<C> {
    fn bytes_of(key: &C::Key) -> usize {
        size_of::<(C::Key, i64)>() + C::heap_bytes(key)
    }
}

impl<C: KeyCodec> Accumulator for Extreme<C> {
    fn resize(&mut self, slots: usize) {
        self.bags.resize_with(slots, OrderedBag::default);
    }

    fn update(&mut self, input: &Input) -> Result<()> {
        let keys = self.codec.encode(&input.args[0])?;
        let (bags, entry_bytes) = (self.bags.as_mut_slice(), &mut self.entry_bytes);
        input.for_each(input.nulls().as_ref(), |row, group, weight| {
            let key = C::key(&keys, row);
            let bytes = Self::bytes_of(&key);
            match bags[group].add(key, weight) {
                Added::Entry => *entry_bytes += bytes,
                Added::Removal => *entry_bytes -= bytes,
                Added::Weight => {}
            }
        });
        Ok(())
    }

    fn evaluate(&mut self, groups: &[u32], _: &[i64], _: &mut Vec<Failure>) -> Result<ArrayRef> {
        let best = |&group: &u32| {
            let bag = &self.bags[group as usize];
            if self.greatest { bag.max() } else { bag.min() }
        };
        let best: Vec<_> = groups.iter().map(best).collect();
        self.codec.decode(&best)
    }

    fn clear(&mut self, groups: &[u32]) {
        for &group in groups {
            let bag = std::mem::take(&mut self.bags[group as usize]);
            self.entry_bytes -= bag.iter().map(|(k, _)| Self::bytes_of(k)).sum::<usize>();
        }
    }

    fn compact(&mut self, kept: &[u32]) {
        keep(&mut self.bags, kept);
    }

    fn bytes(&self) -> usize {
        self.bags.capacity() * size_of::<OrderedBag<C::Key>>() + self.entry_bytes
    }

    fn holds_entries(&self) -> bool {
        true
    }

    fn entries(&self) -> Result<Entries> {
        let (mut groups, mut keys, mut weights) = (vec![], vec![], vec![]);
        for (group, bag) in self.bags.iter().enumerate() {
            for (key, weight) in bag.iter() {
                groups.push(group as u32);
                keys.push(Some(key));
                weights.push(weight);
            }
        }
        Ok(Entries { groups, args: vec![self.codec.decode(&keys)?], weights })
    }
}
