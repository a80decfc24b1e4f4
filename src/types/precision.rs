//! Times with fewer than six fraction digits, as `timestamp(3)` and `interval(0)` have them: rounding half away from zero.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow_array::{ArrayRef, PrimitiveArray};
use arrow_buffer::IntervalMonthDayNano;
use arrow_schema::DataType;

/// Times, timestamps (infinities stay) or intervals with their seconds rounded to so many fraction digits; other columns
/// as they are.
pub fn round_seconds(values: &ArrayRef, digits: u32) -> ArrayRef {
    let step = 10_i64.pow(6_u32.saturating_sub(digits));
    let round = |micros: i64| round_to(micros, step);
    match values.data_type() {
        DataType::Timestamp(..) => {
            let infinite = |micros: i64| matches!(micros, i64::MIN | i64::MAX);
            let rounded: PrimitiveArray<TimestampMicrosecondType> = values
                .as_primitive::<TimestampMicrosecondType>()
                .unary(|micros| if infinite(micros) { micros } else { round(micros) });
            Arc::new(rounded.with_data_type(values.data_type().clone()))
        }
        DataType::Time64(_) => {
            let rounded: PrimitiveArray<Time64MicrosecondType> =
                values.as_primitive::<Time64MicrosecondType>().unary(round);
            Arc::new(rounded)
        }
        DataType::Interval(_) => {
            let rounded: PrimitiveArray<IntervalMonthDayNanoType> =
                values.as_primitive::<IntervalMonthDayNanoType>().unary(|value| {
                    let nanoseconds = round(value.nanoseconds / 1000).saturating_mul(1000);
                    IntervalMonthDayNano::new(value.months, value.days, nanoseconds)
                });
            Arc::new(rounded)
        }
        _ => Arc::clone(values),
    }
}

fn round_to(micros: i64, step: i64) -> i64 {
    let rest = micros.rem_euclid(step);
    let floor = micros.saturating_sub(rest);
    let up = rest * 2 > step || (rest * 2 == step && micros >= 0);
    if up { floor.saturating_add(step) } else { floor }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_rounded_away_from_zero() {
        assert_eq!(
            [1499, 1500, -1500, -1499].map(|v| round_to(v, 1000)),
            [1000, 2000, -2000, -1000]
        );
        assert_eq!(round_to(i64::MAX - 1, 1_000_000), i64::MAX);
    }
}
