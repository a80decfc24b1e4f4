//! A sorted multiset with weights, small while it is small: one sorted vector first, a B-tree beyond.
//!
//! Weights may be negative within an epoch (a deletion may come before its insertion); an entry whose weight is zero
//! is gone. Reading skips what is not positive.

use std::collections::BTreeMap;

/// Above this many entries a bag becomes a tree: shifting a vector is cheaper than a tree's nodes below.
const FEW_MAX: usize = 32;

/// Below this many entries a tree becomes a vector again; far enough from `FEW_MAX` not to swing between both.
const MANY_MIN: usize = 8;

#[derive(Debug)]
pub enum OrderedBag<K> {
    Few(Vec<(K, i64)>),
    Many(BTreeMap<K, i64>),
}

impl<K> Default for OrderedBag<K> {
    fn default() -> Self {
        OrderedBag::Few(vec![])
    }
}

/// What an addition did to the number of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    Entry,
    Weight,
    Removal,
}

impl<K: Ord> OrderedBag<K> {
    pub fn add(&mut self, key: K, weight: i64) -> Added {
        let added = match self {
            OrderedBag::Few(entries) => match entries.binary_search_by(|(k, _)| k.cmp(&key)) {
                Ok(at) => {
                    entries[at].1 += weight;
                    if entries[at].1 == 0 {
                        entries.remove(at);
                        Added::Removal
                    } else {
                        Added::Weight
                    }
                }
                Err(at) => {
                    entries.insert(at, (key, weight));
                    Added::Entry
                }
            },
            OrderedBag::Many(entries) => {
                use std::collections::btree_map::Entry;
                match entries.entry(key) {
                    Entry::Vacant(vacant) => {
                        vacant.insert(weight);
                        Added::Entry
                    }
                    Entry::Occupied(mut occupied) => {
                        *occupied.get_mut() += weight;
                        if *occupied.get() == 0 {
                            occupied.remove();
                            Added::Removal
                        } else {
                            Added::Weight
                        }
                    }
                }
            }
        };
        match added {
            Added::Entry => self.grow(),
            Added::Removal => self.shrink(),
            Added::Weight => {}
        }
        added
    }

    fn grow(&mut self) {
        if let OrderedBag::Few(entries) = self
            && entries.len() > FEW_MAX
        {
            *self = OrderedBag::Many(std::mem::take(entries).into_iter().collect());
        }
    }

    fn shrink(&mut self) {
        match self {
            OrderedBag::Few(entries) if entries.is_empty() => *entries = vec![],
            OrderedBag::Many(entries) if entries.len() < MANY_MIN => {
                *self = OrderedBag::Few(std::mem::take(entries).into_iter().collect());
            }
            _ => {}
        }
    }

    /// Removes the greatest entry.
    pub fn pop_last(&mut self) -> Option<(K, i64)> {
        let last = match self {
            OrderedBag::Few(entries) => entries.pop(),
            OrderedBag::Many(entries) => entries.pop_last(),
        };
        self.shrink();
        last
    }

    pub fn last(&self) -> Option<(&K, i64)> {
        match self {
            OrderedBag::Few(entries) => entries.last().map(|(k, w)| (k, *w)),
            OrderedBag::Many(entries) => entries.last_key_value().map(|(k, w)| (k, *w)),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn len(&self) -> usize {
        match self {
            OrderedBag::Few(entries) => entries.len(),
            OrderedBag::Many(entries) => entries.len(),
        }
    }

    /// All entries in order, those with a negative weight included.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, i64)> {
        // One of the two is empty: chaining saves a boxed iterator.
        let (few, many) = match self {
            OrderedBag::Few(entries) => (Some(entries), None),
            OrderedBag::Many(entries) => (None, Some(entries)),
        };
        let few = few.into_iter().flatten().map(|(k, w)| (k, *w));
        few.chain(many.into_iter().flatten().map(|(k, w)| (k, *w)))
    }

    /// The smallest key with a positive weight.
    pub fn min(&self) -> Option<&K> {
        self.iter().find(|(_, w)| *w > 0).map(|(k, _)| k)
    }

    /// The greatest key with a positive weight.
    pub fn max(&self) -> Option<&K> {
        self.iter().rev().find(|(_, w)| *w > 0).map(|(k, _)| k)
    }
}
