//! `sum` over intervals: months, days and nanoseconds each for itself, as PostgreSQL adds them.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::IntervalMonthDayNanoType;
use arrow_array::{ArrayRef, IntervalMonthDayNanoArray};
use arrow_buffer::IntervalMonthDayNano;

use super::{Accumulator, Failure, Input, reset, split};
use crate::error::{Result, SqlState};
use crate::operators::group_index::keep;

#[derive(Clone, Copy, Default)]
struct State {
    months: i128,
    days: i128,
    nanoseconds: i128,
    count: i64,
}

#[derive(Default)]
pub struct IntervalSums {
    states: Vec<State>,
}

impl Accumulator for IntervalSums {
    fn resize(&mut self, slots: usize) {
        self.states.resize(slots, State::default());
    }

    fn update(&mut self, input: &Input) -> Result<()> {
        let values = input.args[0].as_primitive::<IntervalMonthDayNanoType>().values();
        let states = self.states.as_mut_slice();
        input.for_each(input.nulls().as_ref(), |row, group, weight| {
            let (state, value, times) = (&mut states[group], values[row], i128::from(weight));
            state.months += i128::from(value.months) * times;
            state.days += i128::from(value.days) * times;
            state.nanoseconds += i128::from(value.nanoseconds) * times;
            state.count += weight;
        });
        Ok(())
    }

    fn evaluate(
        &mut self,
        groups: &[u32],
        _: &[i64],
        failures: &mut Vec<Failure>,
    ) -> Result<ArrayRef> {
        let mut result = |(position, &group): (usize, &u32)| {
            let State { months, days, nanoseconds, count } = self.states[group as usize];
            if count <= 0 {
                return None;
            }
            let parts = (i32::try_from(months), i32::try_from(days), i64::try_from(nanoseconds));
            if let (Ok(months), Ok(days), Ok(nanoseconds)) = parts {
                return Some(IntervalMonthDayNano { months, days, nanoseconds });
            }
            let message = "interval out of range".to_owned();
            failures.push(Failure { position, code: SqlState::DATETIME_FIELD_OVERFLOW, message });
            None
        };
        let results = groups.iter().enumerate().map(&mut result);
        Ok(Arc::new(results.collect::<IntervalMonthDayNanoArray>()))
    }

    fn clear(&mut self, groups: &[u32]) {
        reset(&mut self.states, groups);
    }

    fn compact(&mut self, kept: &[u32]) {
        keep(&mut self.states, kept);
    }

    fn bytes(&self) -> usize {
        self.states.capacity() * size_of::<State>()
    }

    fn is_additive(&self) -> bool {
        true
    }

    fn merge(&mut self, from: usize, into: usize, times: i64) {
        let (State { months, days, nanoseconds, count }, wide) =
            (self.states[from], i128::from(times));
        let state = &mut self.states[into];
        state.months += wide * months;
        state.days += wide * days;
        state.nanoseconds += wide * nanoseconds;
        state.count += times * count;
    }

    fn is_zero(&self, group: usize) -> bool {
        let State { months, days, nanoseconds, count } = self.states[group];
        (months, days, nanoseconds, count) == (0, 0, 0, 0)
    }

    fn save(&self, group: usize, into: &mut Vec<u8>) {
        let State { months, days, nanoseconds, count } = self.states[group];
        [months, days, nanoseconds].iter().for_each(|v| into.extend_from_slice(&v.to_le_bytes()));
        into.extend_from_slice(&count.to_le_bytes());
    }

    fn load(&mut self, group: usize, from: &[u8]) -> Result<()> {
        let (months, from) = split(from)?;
        let (days, from) = split(from)?;
        let (nanoseconds, from) = split(from)?;
        self.states[group] = State {
            months: i128::from_le_bytes(months),
            days: i128::from_le_bytes(days),
            nanoseconds: i128::from_le_bytes(nanoseconds),
            count: i64::from_le_bytes(split(from)?.0),
        };
        Ok(())
    }
}
