//! Reading JSON eight and sixteen bytes at a time: literals, digits and the plain part of strings.
//!
//! Every load is bounds-checked and gives `None` past the buffer's end, so nothing here can read what it should not;
//! the caller then takes the way that goes byte by byte. The file holds all of the decoder's unsafe code: one
//! reinterpretation of sixteen bytes as a vector and one string array made from bytes that were checked before. The
//! portable variants are compiled and tested on every architecture.

use arrow_array::StringArray;
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer};

/// How many bytes a block holds.
pub(super) const BLOCK_BYTES: usize = 16;

/// What sixteen bytes of a string's body hold, one bit a byte, the first byte lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Classes {
    /// A quote, a backslash or a control character.
    stops: u32,
    /// Not ASCII.
    high: u32,
}

/// The plain part of a string's body: up to its first quote, backslash or control character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plain {
    pub len: usize,
    pub ascii: bool,
}

#[inline(always)]
pub(super) fn load16(data: &[u8], at: usize) -> Option<[u8; BLOCK_BYTES]> {
    data.get(at..)?.first_chunk().copied()
}

/// Eight bytes, the first in the lowest byte.
#[inline(always)]
pub(super) fn load8(data: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*data.get(at..)?.first_chunk()?))
}

#[inline(always)]
fn classify(block: [u8; BLOCK_BYTES]) -> Classes {
    #[cfg(target_arch = "x86_64")]
    return classify_sse2(block);
    #[cfg(not(target_arch = "x86_64"))]
    classify_portable(block)
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn classify_sse2(block: [u8; BLOCK_BYTES]) -> Classes {
    use std::arch::x86_64::*;
    // SAFETY: SSE2 is part of x86-64 itself, so the instructions exist; both types are sixteen bytes in which every
    // bit pattern is valid.
    unsafe {
        let bytes: __m128i = std::mem::transmute(block);
        let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
        let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
        let control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
        let stops = _mm_or_si128(_mm_or_si128(quote, backslash), control);
        Classes { stops: _mm_movemask_epi8(stops) as u32, high: _mm_movemask_epi8(bytes) as u32 }
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn classify_portable(block: [u8; BLOCK_BYTES]) -> Classes {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * EACH;
    // The high bit of every byte that is zero, exactly: no carry passes from one byte to the next.
    let zero_bytes = |x: u64| !(((x & !HIGH) + !HIGH) | x | !HIGH);
    // Gathers the high bits of eight bytes: the product adds each of them, shifted, into the top byte without
    // overlap.
    let gather = |x: u64| ((x >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32;
    let (low, high) = block.split_at(8);
    let mut classes = Classes { stops: 0, high: 0 };
    for (half, shift) in [(low, 0), (high, 8)] {
        let x = u64::from_le_bytes(half.try_into().expect("half of a block has eight bytes"));
        let quote = zero_bytes(x ^ (u64::from(b'"') * EACH));
        let backslash = zero_bytes(x ^ (u64::from(b'\\') * EACH));
        let control = zero_bytes(x & (0xe0 * EACH));
        classes.stops |= gather(quote | backslash | control) << shift;
        classes.high |= gather(x & HIGH) << shift;
    }
    classes
}

/// The plain part of a string's body at `at`; `None` when the buffer ends too soon to tell by blocks.
#[inline(always)]
pub(super) fn plain(data: &[u8], at: usize) -> Option<Plain> {
    let (mut len, mut high) = (0, 0);
    loop {
        let classes = classify(load16(data, at + len)?);
        if classes.stops != 0 {
            let rest = classes.stops.trailing_zeros();
            high |= classes.high & ((1 << rest) - 1);
            return Some(Plain { len: len + rest as usize, ascii: high == 0 });
        }
        high |= classes.high;
        len += BLOCK_BYTES;
    }
}

/// The same, appending the plain part to `out` in the same pass. With `None` nothing is appended.
#[inline(always)]
pub(super) fn copy_plain(data: &[u8], at: usize, out: &mut Vec<u8>) -> Option<Plain> {
    let start = out.len();
    let (mut len, mut high) = (0, 0);
    loop {
        let Some(block) = load16(data, at + len) else {
            out.truncate(start);
            return None;
        };
        // Whole blocks are copied, and what was too much is cut off at the end.
        out.extend_from_slice(&block);
        let classes = classify(block);
        if classes.stops != 0 {
            let rest = classes.stops.trailing_zeros();
            high |= classes.high & ((1 << rest) - 1);
            len += rest as usize;
            out.truncate(start + len);
            return Some(Plain { len, ascii: high == 0 });
        }
        high |= classes.high;
        len += BLOCK_BYTES;
    }
}

/// 10^0 up to 10^18.
pub(super) const POW10: [u64; 19] = {
    let mut powers = [1; 19];
    let mut i = 1;
    while i < 19 {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

/// The leading decimal digits of eight bytes: their value and how many they are. Neighbouring digits are combined in
/// pairs, the pairs in fours and those in eights by multiplications on the whole word (D. Lemire, "Quickly parsing
/// eight digits").
#[inline(always)]
pub(super) fn digits8(word: u64) -> (u64, usize) {
    let values = word ^ 0x3030_3030_3030_3030;
    // A byte above nine sets its high bit in the sum, or has it set itself; a carry touches only later bytes.
    let others = (values.wrapping_add(0x7676_7676_7676_7676) | values) & 0x8080_8080_8080_8080;
    let count = (others.trailing_zeros() / 8) as usize;
    if count == 0 {
        return (0, 0);
    }
    // The digits move to the word's end, with zeros as leading digits before them.
    let aligned = values << (64 - 8 * count as u32);
    let pairs = ((aligned & 0x0f0f_0f0f_0f0f_0f0f).wrapping_mul(2561) >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(6_553_601) >> 16) & 0x0000_ffff_0000_ffff;
    (fours.wrapping_mul(42_949_672_960_001) >> 32, count)
}

/// Leading digits at `at`, up to 18 of them; `None` where more follow or the buffer ends too soon.
#[inline(always)]
fn digits18(data: &[u8], at: usize) -> Option<(u64, usize)> {
    let (mut value, mut count) = digits8(load8(data, at)?);
    if count == 8 {
        let (more, n) = digits8(load8(data, at + 8)?);
        value = value * POW10[n] + more;
        count += n;
        if n == 8 {
            let (more, n) = digits8(load8(data, at + 16)?);
            if n > 2 {
                return None;
            }
            value = value * POW10[n] + more;
            count += n;
        }
    }
    Some((value, count))
}

/// A JSON integer of up to 18 digits, without point or exponent, at `at`: its value and where it ends. `None` leaves
/// the matter to the careful parser.
#[inline(always)]
pub(super) fn integer(data: &[u8], at: usize) -> Option<(i64, usize)> {
    let negative = *data.get(at)? == b'-';
    let at = at + usize::from(negative);
    let (value, count) = digits18(data, at)?;
    if count == 0 || count > 1 && data[at] == b'0' {
        return None;
    }
    let value = value as i64;
    match data.get(at + count)? {
        b'.' | b'e' | b'E' => None,
        _ => Some((if negative { -value } else { value }, at + count)),
    }
}

/// A JSON number without exponent and of up to 18 digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PlainNumber {
    pub negative: bool,
    /// All digits, without the point.
    pub digits: u64,
    /// How many of the digits stand after the point.
    pub scale: usize,
    pub end: usize,
}

/// The plain number at `at`. `None` leaves the matter to the careful parser.
#[inline(always)]
pub(super) fn plain_number(data: &[u8], at: usize) -> Option<PlainNumber> {
    let negative = *data.get(at)? == b'-';
    let at = at + usize::from(negative);
    let (mut digits, count) = digits18(data, at)?;
    if count == 0 || count > 1 && data[at] == b'0' {
        return None;
    }
    let (mut end, mut scale) = (at + count, 0);
    if *data.get(end)? == b'.' {
        let (fraction, n) = digits18(data, end + 1)?;
        if n == 0 || count + n > 18 {
            return None;
        }
        digits = digits * POW10[n] + fraction;
        end += 1 + n;
        scale = n;
    }
    match data.get(end)? {
        b'e' | b'E' => None,
        _ => Some(PlainNumber { negative, digits, scale, end }),
    }
}

/// A string array of bytes that were checked to be UTF-8 string by string as they were appended; checking them again
/// as a whole would read all of them a second time.
pub(super) fn checked_strings(
    offsets: OffsetBuffer<i32>,
    bytes: Vec<u8>,
    nulls: Option<NullBuffer>,
) -> StringArray {
    if cfg!(debug_assertions) {
        return StringArray::new(offsets, Buffer::from_vec(bytes), nulls);
    }
    let end = usize::try_from(*offsets.last().expect("offsets begin with zero"))
        .expect("offsets grow from zero");
    assert!(end <= bytes.len(), "the last offset lies within the bytes");
    // SAFETY: `OffsetBuffer` keeps its offsets ascending from zero, the last one was just compared with the bytes,
    // and the decoder only ever appends whole strings that are valid UTF-8 and an offset at the end of each.
    unsafe { StringArray::new_unchecked(offsets, Buffer::from_vec(bytes), nulls) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_classified_alike_by_both_variants_at_every_place() {
        for byte in 0..=255u8 {
            for place in 0..BLOCK_BYTES {
                for around in [b'a', 0xff, 0x21, 0x20] {
                    let mut block = [around; BLOCK_BYTES];
                    block[place] = byte;
                    let stop = |b: &u8| *b < 0x20 || *b == b'"' || *b == b'\\';
                    let bits = |is: &dyn Fn(&u8) -> bool| {
                        (0..16).map(|i| u32::from(is(&block[i])) << i).sum()
                    };
                    let want = Classes { stops: bits(&stop), high: bits(&|b| *b >= 0x80) };
                    assert_eq!(classify(block), want, "{block:?}");
                    assert_eq!(classify_portable(block), want, "{block:?}");
                }
            }
        }
    }

    #[test]
    fn digits_end_at_any_other_byte() {
        for byte in (0..=255u8).filter(|b| !b.is_ascii_digit()) {
            for count in 0..8 {
                let mut word = *b"12345678";
                word[count] = byte;
                let want = word[..count].iter().fold(0, |v, d| v * 10 + u64::from(d - b'0'));
                assert_eq!(digits8(u64::from_le_bytes(word)), (want, count), "{word:?}");
            }
        }
        assert_eq!(digits8(u64::from_le_bytes(*b"98765432")), (98765432, 8));
    }

    #[test]
    fn numbers_are_read_up_to_eighteen_digits() {
        let padded = |text: &str| [text.as_bytes(), &[0; 64]].concat();
        for (text, want) in [
            ("0,", Some((0, 1))),
            ("-0,", Some((0, 2))),
            ("-17}", Some((-17, 3))),
            ("123456789012345678,", Some((123456789012345678, 18))),
            ("1234567890123456789,", None),
            ("01,", None),
            ("1.0,", None),
            ("1e3,", None),
            ("-,", None),
            ("x", None),
        ] {
            assert_eq!(integer(&padded(text), 0), want, "{text}");
        }
        let number =
            |text| plain_number(&padded(text), 0).map(|n| (n.negative, n.digits, n.scale, n.end));
        assert_eq!(number("-12.50,"), Some((true, 1250, 2, 6)));
        assert_eq!(number("7}"), Some((false, 7, 0, 1)));
        assert_eq!(number("1.,"), None);
        assert_eq!(number("1.5e3,"), None);
        assert_eq!(number("00.5,"), None);
        assert_eq!(integer(b"12", 0), None, "the buffer ends too soon");
    }

    #[test]
    fn plain_part_of_strings_is_copied_up_to_its_stop() {
        for len in 0..50 {
            let text = "é".repeat(len / 2) + &"a".repeat(len % 2);
            let data = [text.as_bytes(), b"\"rest", &[0; 64]].concat();
            let want = Some(Plain { len: text.len(), ascii: text.is_ascii() });
            let mut out = b"before".to_vec();
            assert_eq!(plain(&data, 0), want);
            assert_eq!(copy_plain(&data, 0, &mut out), want);
            assert_eq!(out, [b"before", text.as_bytes()].concat());
            assert_eq!(copy_plain(&data[..text.len()], 0, &mut out), None);
            assert_eq!(out, [b"before", text.as_bytes()].concat());
        }
    }
}
