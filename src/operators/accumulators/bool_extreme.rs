//! `bool_and` and `bool_or`, by counting what is true and what is false.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, BooleanArray};

use super::{Accumulator, Failure, Input, reset, split};
use crate::error::Result;
use crate::operators::group_index::keep;

#[derive(Clone, Copy, Default)]
struct Tally {
    yes: i64,
    no: i64,
}

pub struct BoolExtreme {
    /// `bool_and` rather than `bool_or`.
    all: bool,
    tallies: Vec<Tally>,
}

impl BoolExtreme {
    pub fn new(all: bool) -> BoolExtreme {
        BoolExtreme { all, tallies: vec![] }
    }
}

impl Accumulator for BoolExtreme {
    fn resize(&mut self, slots: usize) {
        self.tallies.resize(slots, Tally::default());
    }

    fn update(&mut self, input: &Input) -> Result<()> {
        let values = input.args[0].as_boolean().values();
        let tallies = self.tallies.as_mut_slice();
        input.for_each(input.nulls().as_ref(), |row, group, weight| {
            let tally = &mut tallies[group];
            *(if values.value(row) { &mut tally.yes } else { &mut tally.no }) += weight;
        });
        Ok(())
    }

    fn evaluate(&mut self, groups: &[u32], _: &[i64], _: &mut Vec<Failure>) -> Result<ArrayRef> {
        let verdict = |&group: &u32| {
            let Tally { yes, no } = self.tallies[group as usize];
            let verdict = if self.all { no <= 0 } else { yes > 0 };
            (yes > 0 || no > 0).then_some(verdict)
        };
        Ok(Arc::new(groups.iter().map(verdict).collect::<BooleanArray>()))
    }

    fn clear(&mut self, groups: &[u32]) {
        reset(&mut self.tallies, groups);
    }

    fn compact(&mut self, kept: &[u32]) {
        keep(&mut self.tallies, kept);
    }

    fn bytes(&self) -> usize {
        self.tallies.capacity() * size_of::<Tally>()
    }

    fn is_additive(&self) -> bool {
        true
    }

    fn merge(&mut self, from: usize, into: usize, times: i64) {
        let Tally { yes, no } = self.tallies[from];
        self.tallies[into].yes += times * yes;
        self.tallies[into].no += times * no;
    }

    fn is_zero(&self, group: usize) -> bool {
        let Tally { yes, no } = self.tallies[group];
        yes == 0 && no == 0
    }

    fn save(&self, group: usize, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.tallies[group].yes.to_le_bytes());
        into.extend_from_slice(&self.tallies[group].no.to_le_bytes());
    }

    fn load(&mut self, group: usize, from: &[u8]) -> Result<()> {
        let (yes, from) = split(from)?;
        let (no, _) = split(from)?;
        self.tallies[group] = Tally { yes: i64::from_le_bytes(yes), no: i64::from_le_bytes(no) };
        Ok(())
    }
}
