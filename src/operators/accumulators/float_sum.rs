//! `sum` and `avg` over `real` and `double precision`, exact until they are read.
//!
//! The average is the rounded sum divided by the count. A finite sum beyond the type's range fails as in PostgreSQL.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{ArrayRef, Float32Array, Float64Array};
use arrow_schema::DataType;

use super::{Accumulator, Failure, Input, reset, split};
use crate::error::{Error, Result, SqlState};
use crate::operators::exact_float_sum::FloatSum;
use crate::operators::group_index::keep;
use crate::operators::prefetch::{AHEAD, prefetch};

#[derive(Clone, Default)]
struct State {
    sum: FloatSum,
    count: i64,
}

pub struct FloatSums {
    average: bool,
    real: bool,
    states: Vec<State>,
}

impl FloatSums {
    pub fn new(average: bool, returned: &DataType) -> Result<FloatSums> {
        let real = match returned {
            DataType::Float64 => false,
            DataType::Float32 => true,
            other => return Err(Error::unsupported(format!("a float sum of type {other}"))),
        };
        Ok(FloatSums { average, real, states: vec![] })
    }

    /// The results; those of failed groups are zero.
    fn results<T: Default>(
        &mut self,
        groups: &[u32],
        failures: &mut Vec<Failure>,
        read: impl Fn(&State) -> Option<T>,
    ) -> Vec<Option<T>> {
        // Full-width sums that have become zero again are given back here, since every changed group comes by.
        let mut results = Vec::with_capacity(groups.len());
        for (position, &group) in groups.iter().enumerate() {
            if let Some(&later) = groups.get(position + AHEAD) {
                prefetch(&self.states, later as usize);
            }
            let state = &mut self.states[group as usize];
            state.sum.shrink();
            if state.count <= 0 {
                results.push(None);
                continue;
            }
            let value = read(state);
            if value.is_none() {
                let message = "value out of range: overflow".to_owned();
                failures.push(Failure {
                    position,
                    code: SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
                    message,
                });
            }
            results.push(Some(value.unwrap_or_default()));
        }
        results
    }
}

impl Accumulator for FloatSums {
    fn resize(&mut self, slots: usize) {
        self.states.resize(slots, State::default());
    }

    fn update(&mut self, input: &Input) -> Result<()> {
        let nulls = input.nulls();
        let states = self.states.as_mut_slice();
        let mut add = |group: usize, value: f64, weight: i64| {
            states[group].sum.add(value, weight);
            states[group].count += weight;
        };
        if let Some(values) = input.args[0].as_primitive_opt::<Float64Type>() {
            let values = values.values();
            input.for_each(nulls.as_ref(), |row, group, weight| add(group, values[row], weight));
        } else {
            let values = input.args[0].as_primitive::<Float32Type>().values();
            input.for_each(nulls.as_ref(), |row, group, weight| {
                add(group, values[row].into(), weight)
            });
        }
        Ok(())
    }

    fn evaluate(
        &mut self,
        groups: &[u32],
        _: &[i64],
        failures: &mut Vec<Failure>,
    ) -> Result<ArrayRef> {
        let average = self.average;
        let divided = |s: &State| s.sum.to_f64().ok().map(|sum| sum / s.count as f64);
        Ok(match (self.real, average) {
            (true, true) => {
                let results = self.results(groups, failures, |s| divided(s).map(|v| v as f32));
                Arc::new(Float32Array::from(results))
            }
            (true, false) => {
                let results = self.results(groups, failures, |s| s.sum.to_f32().ok());
                Arc::new(Float32Array::from(results))
            }
            (false, true) => Arc::new(Float64Array::from(self.results(groups, failures, divided))),
            (false, false) => {
                let results = self.results(groups, failures, |s| s.sum.to_f64().ok());
                Arc::new(Float64Array::from(results))
            }
        })
    }

    fn clear(&mut self, groups: &[u32]) {
        reset(&mut self.states, groups);
    }

    fn compact(&mut self, kept: &[u32]) {
        keep(&mut self.states, kept);
    }

    fn bytes(&self) -> usize {
        // Counting the few wide sums exactly would walk every group at each call.
        self.states.capacity() * size_of::<State>()
    }

    fn is_additive(&self) -> bool {
        true
    }

    fn merge(&mut self, from: usize, into: usize, times: i64) {
        let State { sum, count } = self.states[from].clone();
        let state = &mut self.states[into];
        state.sum.merge(&sum, times);
        state.count += times * count;
    }

    fn is_zero(&self, group: usize) -> bool {
        let State { sum, count } = &self.states[group];
        *count == 0 && sum.is_zero()
    }

    fn save(&self, group: usize, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.states[group].count.to_le_bytes());
        self.states[group].sum.save(into);
    }

    fn load(&mut self, group: usize, from: &[u8]) -> Result<()> {
        let (count, rest) = split(from)?;
        self.states[group] = State { sum: FloatSum::load(rest)?, count: i64::from_le_bytes(count) };
        Ok(())
    }
}
