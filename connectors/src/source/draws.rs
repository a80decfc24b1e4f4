//! Random numbers of which any can be had by its index, and what is made of them for all generators.
//!
//! The numbers are data: changing a function here changes what every seed means.

/// A stream of random numbers: SplitMix64's finaliser over a Weyl sequence (Steele, Lea and Flood, 2014).
#[derive(Clone, Copy)]
pub(crate) struct Draws(u64);

const WEYL: u64 = 0x9e37_79b9_7f4a_7c15;

impl Draws {
    /// The stream of a seed for one purpose; streams of different purposes are independent.
    pub(crate) fn new(seed: u64, purpose: u64) -> Draws {
        Draws(mix(mix(seed).wrapping_add(purpose)))
    }

    pub(crate) fn at(self, n: u64) -> u64 {
        mix(self.0.wrapping_add(n.wrapping_mul(WEYL)))
    }

    /// A stream of event `n`'s own, for values that need many draws.
    pub(crate) fn of(self, n: u64) -> Draws {
        Draws(self.at(n))
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// `draw` scaled to `0..bound`, by its high bits: the low ones stay free for a coin.
pub(crate) fn below(draw: u64, bound: u64) -> u64 {
    ((u128::from(draw) * u128::from(bound)) >> 64) as u64
}

/// Appends `length` lower-case letters, eight from each draw.
pub(crate) fn letters(draws: Draws, length: usize, out: &mut Vec<u8>) {
    const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
    const A: u64 = 0x6161_6161_6161_6161;
    let end = out.len() + length;
    for block in 0..length.div_ceil(8) {
        // Each byte b becomes b * 26 / 256 in its own 16-bit lane, so no product reaches its neighbour.
        let draw = draws.at(block as u64);
        let even = (((draw & EVEN) * 26) >> 8) & EVEN;
        let odd = (((draw >> 8) & EVEN) * 26) & !EVEN;
        out.extend_from_slice(&((even | odd) + A).to_le_bytes());
    }
    out.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_lower_case_and_all_of_them_occur() {
        let mut text = Vec::new();
        letters(Draws::new(1, 2), 10_001, &mut text);
        assert_eq!(text.len(), 10_001);
        assert!(text.iter().all(u8::is_ascii_lowercase));
        assert!((b'a'..=b'z').all(|letter| text.contains(&letter)));
    }

    #[test]
    fn below_stays_below_and_reaches_both_ends() {
        assert_eq!(below(0, 7), 0);
        assert_eq!(below(u64::MAX, 7), 6);
    }
}
