//! An exact sum of doubles, rounded once when it is read.
//!
//! Keeps a list of doubles that do not overlap and whose sum is the exact sum so far (Shewchuk, "Adaptive Precision
//! Floating-Point Arithmetic", 1997). Invariant: the result depends on the multiset of values only. NaN and infinities are
//! counted apart.

/// The exact sum so far.
#[derive(Clone, Debug, Default)]
pub(super) struct ExactSum {
    /// Non-overlapping, by increasing magnitude.
    parts: Vec<f64>,
    nans: u64,
    infinities: [u64; 2],
}

impl ExactSum {
    pub(super) fn add(&mut self, value: f64) {
        if value.is_nan() {
            self.nans += 1;
        } else if value.is_infinite() {
            self.infinities[usize::from(value > 0.0)] += 1;
        } else {
            self.add_finite(value);
        }
    }

    /// Takes back a value that was added.
    pub(super) fn remove(&mut self, value: f64) {
        if value.is_nan() {
            self.nans -= 1;
        } else if value.is_infinite() {
            self.infinities[usize::from(value > 0.0)] -= 1;
        } else {
            self.add_finite(-value);
        }
    }

    fn add_finite(&mut self, value: f64) {
        let mut carried = value;
        let mut kept = 0;
        for i in 0..self.parts.len() {
            let part = self.parts[i];
            let (large, small) =
                if carried.abs() < part.abs() { (part, carried) } else { (carried, part) };
            let sum = large + small;
            let rest = small - (sum - large);
            if rest != 0.0 {
                self.parts[kept] = rest;
                kept += 1;
            }
            carried = sum;
        }
        self.parts.truncate(kept);
        self.parts.push(carried);
    }

    /// The values whose sum this is, for merging: exact parts, then one for each special value that counts.
    pub(super) fn parts(&self) -> Vec<f64> {
        let mut parts = self.parts.clone();
        if self.nans > 0 {
            parts.push(f64::NAN);
        }
        for (count, value) in self.infinities.iter().zip([f64::NEG_INFINITY, f64::INFINITY]) {
            if *count > 0 {
                parts.push(value);
            }
        }
        parts
    }

    /// The sum rounded to nearest, ties to even; `None` when finite values sum to more than a double holds.
    pub(super) fn round(&self) -> Option<f64> {
        if self.nans > 0 || self.infinities.iter().all(|count| *count > 0) {
            return Some(f64::NAN);
        }
        for (count, value) in self.infinities.iter().zip([f64::NEG_INFINITY, f64::INFINITY]) {
            if *count > 0 {
                return Some(value);
            }
        }
        let mut parts = self.parts.iter().rev().copied();
        let mut high = parts.next().unwrap_or(0.0);
        let mut low = 0.0;
        let mut rest = parts;
        for part in rest.by_ref() {
            let sum = high + part;
            low = part - (sum - high);
            high = sum;
            if low != 0.0 {
                break;
            }
        }
        // Exactly half a unit is left: what comes after it decides the direction.
        if let Some(next) = rest.next()
            && ((low < 0.0 && next < 0.0) || (low > 0.0 && next > 0.0))
        {
            let doubled = low * 2.0;
            let sum = high + doubled;
            if doubled == sum - high {
                high = sum;
            }
        }
        // Zero reads as +0, whatever signs came in.
        high.is_finite().then_some(high + 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum_of(values: &[f64]) -> Option<f64> {
        let mut sum = ExactSum::default();
        values.iter().for_each(|v| sum.add(*v));
        sum.round()
    }

    #[test]
    fn sum_does_not_depend_on_order() {
        assert_eq!(sum_of(&[1e100, 1.0, -1e100]), Some(1.0));
        assert_eq!(sum_of(&[1.0, 1e100, -1e100]), Some(1.0));
        assert_eq!(sum_of(&[0.1; 10]), Some(1.0));
    }

    #[test]
    fn infinities_and_nan_win() {
        assert_eq!(sum_of(&[f64::INFINITY, 1.0]), Some(f64::INFINITY));
        assert!(sum_of(&[f64::INFINITY, f64::NEG_INFINITY]).is_some_and(f64::is_nan));
    }
}
