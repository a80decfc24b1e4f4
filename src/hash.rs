//! The bucket hash: which bucket, and so which worker, a row belongs to, and where an index looks for it.
//!
//! It is xxh3 (64 bits) over a canonical encoding of a row's key columns, both ours to keep: stored
//! state is cut by [`bucket`], so a change of the encoding is a new [`ENCODING_VERSION`] and the
//! loading of older state under the old one. Two keys that compare equal hash equal whatever the
//! arrays' offsets, null buffers, chunking or string layout are.
//!
//! # The encoding, version 1
//! The encodings of the columns' values one after the other. All numbers are little-endian.
//!
//! | value | bytes |
//! | --- | --- |
//! | NULL | `00`, then zeros up to the length of the type's other values where that is fixed |
//! | boolean | `01`, one byte 0 or 1 |
//! | integers, dates, times, timestamps, durations, decimals of up to 64 bits | `01`, the value widened to 64 bits |
//! | floats | `01`, the value as a 64-bit float; -0.0 is 0.0, every NaN is `7ff8000000000000` |
//! | decimals of 128 and 256 bits | `01`, the unscaled value in 16 or 32 bytes |
//! | interval of months, days, nanoseconds | `01`, 4 + 4 + 8 bytes |
//! | binary of fixed length | `01`, the bytes |
//! | text, binary | `01`, the bytes, their number in 4 bytes |
//! | list | `01`, the elements' encodings, their number in 4 bytes |
//! | struct | `01`, the fields' encodings |
//! | anything else | `02`: such rows are all in one bucket |
//!
//! What is absent: scales and time units are not normalised, and intervals are not ordered by their
//! length. Both sides of a comparison are cast to one type before they come here.

use arrow_array::cast::AsArray;
use arrow_array::types::Float16Type;
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{ArrowNativeType, BooleanBuffer, Buffer, NullBuffer};
use arrow_schema::{DataType, IntervalUnit};
use xxhash_rust::xxh3::xxh3_64;

/// Version of the encoding above; stored beside everything that is cut by [`bucket`].
pub const ENCODING_VERSION: u32 = 1;

/// The number of buckets that state is cut into.
pub const BUCKETS: usize = 256;

/// The bucket of a hash: its low 8 bits. Indexes use the high bits, which stay evenly spread within a bucket.
pub fn bucket(hash: u64) -> usize {
    (hash & (BUCKETS as u64 - 1)) as usize
}

/// Rows encoded at a time when all columns are of fixed width: the block stays in the L1 cache.
///
/// Not fewer: a row that is hashed right after it was written waits for its bytes to leave the store
/// buffer, which costs three times the hash.
const BLOCK_ROWS: usize = 256;

/// Bytes of a number's encoding.
const NUMBER: usize = 9;

/// Hashes `rows` rows of `columns`, all of them at least that long, into `out`, whose contents are replaced.
/// Without columns all rows hash the same.
pub fn hash_columns(columns: &[ArrayRef], rows: usize, out: &mut Vec<u64>) {
    out.clear();
    out.reserve(rows);
    let plain: Vec<ArrayRef> = columns.iter().map(decoded).collect();
    let encoders: Vec<Encoder> = plain.iter().map(|c| Encoder::new(c.as_ref())).collect();
    match encoders.iter().map(Encoder::width).sum::<Option<usize>>() {
        Some(stride) => hash_fixed(&encoders, stride, rows, out),
        None => hash_varying(&encoders, rows, out),
    }
}

/// Column by column into a block of rows of `stride` bytes each, then row by row through the hash.
fn hash_fixed(encoders: &[Encoder], stride: usize, rows: usize, out: &mut Vec<u64>) {
    if stride == 0 {
        return out.resize(rows, xxh3_64(&[]));
    }
    let mut block = vec![0u8; stride * BLOCK_ROWS.min(rows)];
    let mut from = 0;
    while from < rows {
        let n = BLOCK_ROWS.min(rows - from);
        let block = &mut block[..n * stride];
        let mut at = 0;
        for encoder in encoders {
            encoder.fill(from, block, stride, at);
            at += encoder.width().expect("every column here is of fixed width");
        }
        // Most keys are one number. With the length known, xxh3 comes down to a few instructions.
        match stride {
            NUMBER => out.extend(block.as_chunks::<NUMBER>().0.iter().map(|row| xxh3_64(row))),
            _ => out.extend(block.chunks_exact(stride).map(xxh3_64)),
        }
        from += n;
    }
}

fn hash_varying(encoders: &[Encoder], rows: usize, out: &mut Vec<u64>) {
    let mut key = Vec::with_capacity(64);
    for row in 0..rows {
        key.clear();
        for encoder in encoders {
            encoder.append(row, &mut key);
        }
        out.push(xxh3_64(&key));
    }
}

/// A dictionary's values in place of its keys; other arrays as they are.
fn decoded(array: &ArrayRef) -> ArrayRef {
    match array.as_any_dictionary_opt() {
        Some(d) => arrow_select::take::take(d.values(), d.keys(), None).unwrap_or(array.clone()),
        None => array.clone(),
    }
}

/// Typed access to one column, for encoding.
struct Encoder<'a> {
    values: Values<'a>,
    nulls: Option<&'a NullBuffer>,
}

enum Values<'a> {
    /// The type whose only value is NULL.
    Nothing,
    Bits(&'a BooleanBuffer),
    I8(&'a [i8]),
    I16(&'a [i16]),
    I32(&'a [i32]),
    I64(&'a [i64]),
    U8(&'a [u8]),
    U16(&'a [u16]),
    U32(&'a [u32]),
    U64(&'a [u64]),
    F16(&'a [half_bits::F16]),
    F32(&'a [f32]),
    F64(&'a [f64]),
    /// `width` bytes a value, taken as they are.
    Raw {
        width: usize,
        bytes: &'a [u8],
    },
    Text {
        offsets: &'a [i32],
        bytes: &'a [u8],
    },
    LargeText {
        offsets: &'a [i64],
        bytes: &'a [u8],
    },
    TextView(&'a arrow_array::StringViewArray),
    BinaryView(&'a arrow_array::BinaryViewArray),
    List {
        offsets: &'a [i32],
        items: Box<Encoder<'a>>,
    },
    LargeList {
        offsets: &'a [i64],
        items: Box<Encoder<'a>>,
    },
    FixedList {
        count: usize,
        items: Box<Encoder<'a>>,
    },
    Struct(Vec<Encoder<'a>>),
    Opaque,
}

/// The native type of half floats, under a name of ours so that the crate behind it is named once.
mod half_bits {
    pub type F16 = <super::Float16Type as arrow_array::ArrowPrimitiveType>::Native;
}

const VALUE: u8 = 1;
const OPAQUE: u8 = 2;

/// The values of a primitive array as natives of the same width, whatever its logical type.
fn natives<T: ArrowNativeType>(array: &dyn Array) -> &[T] {
    primitive_buffer(array).map_or(&[], |buffer| buffer.typed_data())
}

/// The bytes of a primitive array's values.
fn primitive_bytes(array: &dyn Array) -> &[u8] {
    primitive_buffer(array).map_or(&[], |buffer| buffer.as_slice())
}

/// The buffer of a primitive array's values, its offset applied.
fn primitive_buffer(array: &dyn Array) -> Option<&Buffer> {
    arrow_array::downcast_primitive_array!(
        array => Some(array.values().inner()),
        _ => None
    )
}

impl<'a> Encoder<'a> {
    fn new(array: &'a dyn Array) -> Encoder<'a> {
        use DataType::*;
        let values = match array.data_type() {
            Null => Values::Nothing,
            Boolean => Values::Bits(array.as_boolean().values()),
            Int8 => Values::I8(natives(array)),
            Int16 => Values::I16(natives(array)),
            Int32 | Date32 | Time32(_) | Decimal32(..) | Interval(IntervalUnit::YearMonth) => {
                Values::I32(natives(array))
            }
            Int64 | Date64 | Time64(_) | Timestamp(..) | Duration(_) | Decimal64(..) => {
                Values::I64(natives(array))
            }
            UInt8 => Values::U8(natives(array)),
            UInt16 => Values::U16(natives(array)),
            UInt32 => Values::U32(natives(array)),
            UInt64 => Values::U64(natives(array)),
            Float16 => Values::F16(array.as_primitive::<Float16Type>().values()),
            Float32 => Values::F32(natives(array)),
            Float64 => Values::F64(natives(array)),
            Decimal128(..) | Interval(IntervalUnit::MonthDayNano) => {
                Values::Raw { width: 16, bytes: primitive_bytes(array) }
            }
            Decimal256(..) => Values::Raw { width: 32, bytes: primitive_bytes(array) },
            Interval(IntervalUnit::DayTime) => {
                Values::Raw { width: 8, bytes: primitive_bytes(array) }
            }
            FixedSizeBinary(width) => Values::Raw {
                width: *width as usize,
                bytes: array.as_fixed_size_binary().value_data(),
            },
            _ => Self::varying(array),
        };
        Encoder { values, nulls: array.nulls() }
    }

    /// The types whose values differ in length.
    fn varying(array: &'a dyn Array) -> Values<'a> {
        use DataType::*;
        match array.data_type() {
            Utf8 => {
                let array = array.as_string::<i32>();
                Values::Text { offsets: array.value_offsets(), bytes: array.value_data() }
            }
            LargeUtf8 => {
                let array = array.as_string::<i64>();
                Values::LargeText { offsets: array.value_offsets(), bytes: array.value_data() }
            }
            Binary => {
                let array = array.as_binary::<i32>();
                Values::Text { offsets: array.value_offsets(), bytes: array.value_data() }
            }
            LargeBinary => {
                let array = array.as_binary::<i64>();
                Values::LargeText { offsets: array.value_offsets(), bytes: array.value_data() }
            }
            Utf8View => Values::TextView(array.as_string_view()),
            BinaryView => Values::BinaryView(array.as_binary_view()),
            List(_) => {
                let array = array.as_list::<i32>();
                let items = Box::new(Encoder::new(array.values().as_ref()));
                Values::List { offsets: array.value_offsets(), items }
            }
            LargeList(_) => {
                let array = array.as_list::<i64>();
                let items = Box::new(Encoder::new(array.values().as_ref()));
                Values::LargeList { offsets: array.value_offsets(), items }
            }
            FixedSizeList(_, count) => {
                let items = Encoder::new(array.as_fixed_size_list().values().as_ref());
                Values::FixedList { count: *count as usize, items: Box::new(items) }
            }
            Map(..) => {
                let array = array.as_map();
                let items = Box::new(Encoder::new(array.entries()));
                Values::List { offsets: array.value_offsets(), items }
            }
            Struct(_) => {
                let columns = array.as_struct().columns();
                Values::Struct(columns.iter().map(|c| Encoder::new(c.as_ref())).collect())
            }
            _ => Values::Opaque,
        }
    }

    /// Bytes of every value's encoding, NULL's too; `None` where values differ.
    fn width(&self) -> Option<usize> {
        match &self.values {
            Values::Nothing => Some(1),
            Values::Bits(_) => Some(2),
            Values::I8(_) | Values::I16(_) | Values::I32(_) | Values::I64(_) => Some(NUMBER),
            Values::U8(_) | Values::U16(_) | Values::U32(_) | Values::U64(_) => Some(NUMBER),
            Values::F16(_) | Values::F32(_) | Values::F64(_) => Some(NUMBER),
            Values::Raw { width, .. } => Some(1 + width),
            Values::Text { .. } | Values::LargeText { .. } => None,
            Values::TextView(_) | Values::BinaryView(_) => None,
            Values::List { .. } | Values::LargeList { .. } | Values::FixedList { .. } => None,
            Values::Struct(_) | Values::Opaque => None,
        }
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|n| n.is_null(row))
    }

    /// Writes the rows from `from` on into `block`, at byte `at` of each of its rows of `stride` bytes.
    fn fill(&self, from: usize, block: &mut [u8], stride: usize, at: usize) {
        let n = block.len() / stride;
        match &self.values {
            Values::Nothing => block.iter_mut().skip(at).step_by(stride).for_each(|b| *b = 0),
            Values::Bits(bits) => {
                put(block, stride, at, (from..from + n).map(|i| [bits.value(i) as u8]))
            }
            Values::I8(v) => put(block, stride, at, v[from..].iter().map(|&v| widen(v as i64))),
            Values::I16(v) => put(block, stride, at, v[from..].iter().map(|&v| widen(v as i64))),
            Values::I32(v) => put(block, stride, at, v[from..].iter().map(|&v| widen(v as i64))),
            Values::I64(v) => put(block, stride, at, v[from..].iter().map(|&v| widen(v))),
            Values::U8(v) => put(block, stride, at, v[from..].iter().map(|&v| widen(v as i64))),
            Values::U16(v) => put(block, stride, at, v[from..].iter().map(|&v| widen(v as i64))),
            Values::U32(v) => put(block, stride, at, v[from..].iter().map(|&v| widen(v as i64))),
            Values::U64(v) => put(block, stride, at, v[from..].iter().map(|&v| widen(v as i64))),
            Values::F16(v) => put(block, stride, at, v[from..].iter().map(|v| float(v.to_f64()))),
            Values::F32(v) => put(block, stride, at, v[from..].iter().map(|&v| float(v as f64))),
            Values::F64(v) => put(block, stride, at, v[from..].iter().map(|&v| float(v))),
            Values::Raw { width, bytes } => {
                let values = bytes[from * width..].chunks_exact((*width).max(1));
                for (row, value) in block.chunks_exact_mut(stride).zip(values) {
                    row[at] = VALUE;
                    row[at + 1..at + 1 + width].copy_from_slice(value);
                }
                if *width == 0 {
                    block.chunks_exact_mut(stride).for_each(|row| row[at] = VALUE);
                }
            }
            Values::Text { .. } | Values::LargeText { .. } => {}
            Values::TextView(_) | Values::BinaryView(_) => {}
            Values::List { .. } | Values::LargeList { .. } | Values::FixedList { .. } => {}
            Values::Struct(_) | Values::Opaque => {}
        }
        if let (Some(nulls), Some(width)) = (self.nulls, self.width()) {
            for (i, row) in block.chunks_exact_mut(stride).enumerate() {
                if nulls.is_null(from + i) {
                    row[at..at + width].fill(0);
                }
            }
        }
    }

    /// Appends the encoding of one row.
    fn append(&self, row: usize, key: &mut Vec<u8>) {
        if self.is_null(row) {
            let width = self.width().unwrap_or(1);
            return key.resize(key.len() + width, 0);
        }
        match &self.values {
            Values::Nothing => key.push(0),
            Values::Bits(bits) => key.extend([VALUE, bits.value(row) as u8]),
            Values::I8(v) => append_fixed(key, widen(v[row] as i64)),
            Values::I16(v) => append_fixed(key, widen(v[row] as i64)),
            Values::I32(v) => append_fixed(key, widen(v[row] as i64)),
            Values::I64(v) => append_fixed(key, widen(v[row])),
            Values::U8(v) => append_fixed(key, widen(v[row] as i64)),
            Values::U16(v) => append_fixed(key, widen(v[row] as i64)),
            Values::U32(v) => append_fixed(key, widen(v[row] as i64)),
            Values::U64(v) => append_fixed(key, widen(v[row] as i64)),
            Values::F16(v) => append_fixed(key, float(v[row].to_f64())),
            Values::F32(v) => append_fixed(key, float(v[row] as f64)),
            Values::F64(v) => append_fixed(key, float(v[row])),
            Values::Raw { width, bytes } => {
                key.push(VALUE);
                key.extend_from_slice(&bytes[row * width..(row + 1) * width]);
            }
            Values::Text { offsets, bytes } => {
                append_bytes(key, &bytes[offsets[row] as usize..offsets[row + 1] as usize])
            }
            Values::LargeText { offsets, bytes } => {
                append_bytes(key, &bytes[offsets[row] as usize..offsets[row + 1] as usize])
            }
            Values::TextView(array) => append_bytes(key, array.value(row).as_bytes()),
            Values::BinaryView(array) => append_bytes(key, array.value(row)),
            Values::List { offsets, items } => {
                append_items(key, items, offsets[row] as usize, offsets[row + 1] as usize)
            }
            Values::LargeList { offsets, items } => {
                append_items(key, items, offsets[row] as usize, offsets[row + 1] as usize)
            }
            Values::FixedList { count, items } => {
                append_items(key, items, row * count, (row + 1) * count)
            }
            Values::Struct(fields) => {
                key.push(VALUE);
                fields.iter().for_each(|field| field.append(row, key));
            }
            Values::Opaque => key.push(OPAQUE),
        }
    }
}

#[inline(always)]
fn widen(value: i64) -> [u8; 8] {
    value.to_le_bytes()
}

/// One pattern of bits for all NaNs, one for both zeros.
#[inline(always)]
fn float(value: f64) -> [u8; 8] {
    let bits = if value.is_nan() { 0x7ff8_0000_0000_0000 } else { (value + 0.0).to_bits() };
    bits.to_le_bytes()
}

/// One value a row of the block, tag first.
#[inline(always)]
fn put<const N: usize>(
    block: &mut [u8],
    stride: usize,
    at: usize,
    values: impl Iterator<Item = [u8; N]>,
) {
    for (row, value) in block.chunks_exact_mut(stride).zip(values) {
        let cell = &mut row[at..at + 1 + N];
        cell[0] = VALUE;
        cell[1..].copy_from_slice(&value);
    }
}

fn append_fixed(key: &mut Vec<u8>, value: [u8; 8]) {
    key.push(VALUE);
    key.extend_from_slice(&value);
}

fn append_bytes(key: &mut Vec<u8>, bytes: &[u8]) {
    key.push(VALUE);
    key.extend_from_slice(bytes);
    key.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
}

fn append_items(key: &mut Vec<u8>, items: &Encoder, from: usize, to: usize) {
    key.push(VALUE);
    (from..to).for_each(|item| items.append(item, key));
    key.extend_from_slice(&((to - from) as u32).to_le_bytes());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow_array::types::Int32Type;
    use arrow_array::*;
    use arrow_buffer::NullBuffer;

    use super::*;

    fn hashes(columns: &[ArrayRef]) -> Vec<u64> {
        let mut out = vec![7];
        hash_columns(columns, columns[0].len(), &mut out);
        out
    }

    #[test]
    fn the_encoding_is_what_the_table_says() {
        // Fixed values: whoever changes one of these changes where stored rows belong.
        let int: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("ab"), None]));
        let one = [1, 1, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(hashes(std::slice::from_ref(&int)), vec![xxh3_64(&one), xxh3_64(&[0; 9])]);
        let ab = [1, b'a', b'b', 2, 0, 0, 0];
        assert_eq!(hashes(std::slice::from_ref(&text)), vec![xxh3_64(&ab), xxh3_64(&[0])]);
        let both = hashes(&[int, text]);
        assert_eq!(both[0], xxh3_64(&[one.as_slice(), &ab].concat()));
        assert_eq!(both[1], xxh3_64(&[0; 10]));
        let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
            Some(vec![Some(1), None]),
        ]));
        let expected = [&[1][..], &one, &[0; 9], &[2, 0, 0, 0]].concat();
        assert_eq!(hashes(&[list]), vec![xxh3_64(&expected)]);
        assert_eq!(bucket(0x1234_5678_9abc_def0), 0xf0);
    }

    #[test]
    fn equal_values_hash_equal_in_every_layout() {
        let nulls = NullBuffer::from(vec![true, true, true]);
        let int = Int64Array::from(vec![1, -5, 9]);
        let with_nulls = Int64Array::new(int.values().clone(), Some(nulls));
        let wanted = hashes(&[Arc::new(int.clone()) as _]);
        assert_eq!(wanted, hashes(&[Arc::new(with_nulls) as _]));
        assert_eq!(wanted, hashes(&[Arc::new(Int32Array::from(vec![1, -5, 9])) as _]));
        let nullable = Int64Array::from(vec![None, Some(1), Some(-5), Some(9)]).slice(1, 3);
        assert_eq!(wanted, hashes(&[Arc::new(nullable) as _]));

        let words =
            vec![Some("a"), None, Some("some text that is longer than a view's inline part")];
        let utf8: ArrayRef = Arc::new(StringArray::from(words.clone()));
        let large: ArrayRef = Arc::new(LargeStringArray::from(words.clone()));
        let view: ArrayRef = Arc::new(StringViewArray::from(words.clone()));
        let dictionary: ArrayRef =
            Arc::new(words.into_iter().collect::<DictionaryArray<Int32Type>>());
        for other in [large, view, dictionary] {
            assert_eq!(hashes(std::slice::from_ref(&utf8)), hashes(&[other]));
        }
    }

    #[test]
    fn zeros_and_nans_are_one_value_each() {
        let negative_nan = f64::from_bits(f64::NAN.to_bits() | 1 << 63 | 5);
        let floats: ArrayRef =
            Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, negative_nan]));
        let h = hashes(std::slice::from_ref(&floats));
        assert!(h[0] == h[1] && h[2] == h[3] && h[0] != h[2]);
        // The same through the encoding for rows of varying length.
        let text: ArrayRef = Arc::new(StringArray::from(vec!["x"; 4]));
        let h = hashes(&[floats, text]);
        assert!(h[0] == h[1] && h[2] == h[3] && h[0] != h[2]);
    }

    #[test]
    fn both_ways_of_encoding_agree_for_every_fixed_type() {
        use arrow_schema::DataType::*;
        let ints: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(100), Some(-7)]));
        let types = [Boolean, Int8, Int16, Int32, Float16, Float32, Float64, Date32];
        let decimals = [Decimal128(10, 0), Decimal256(40, 0)];
        let times = [Timestamp(arrow_schema::TimeUnit::Microsecond, None)];
        for data_type in types.iter().chain(&decimals).chain(&times) {
            let from = if *data_type == Date32 {
                arrow_cast::cast(&ints, &Int32).unwrap()
            } else {
                ints.clone()
            };
            let column = arrow_cast::cast(&from, data_type).unwrap();
            let column = arrow_select::concat::concat(&[&column, &column]).unwrap().slice(1, 5);
            let encoder = Encoder::new(column.as_ref());
            let (mut fixed, mut varying) = (vec![], vec![]);
            hash_fixed(std::slice::from_ref(&encoder), encoder.width().unwrap(), 5, &mut fixed);
            hash_varying(std::slice::from_ref(&encoder), 5, &mut varying);
            assert_eq!(fixed, varying, "{data_type}");
        }
    }

    #[test]
    fn text_boundaries_matter() {
        let left: [ArrayRef; 2] = [
            Arc::new(StringArray::from(vec!["ab", "a"])),
            Arc::new(StringArray::from(vec!["c", "bc"])),
        ];
        let h = hashes(&left);
        assert_ne!(h[0], h[1]);
    }

    #[test]
    fn no_columns_hash_all_rows_the_same() {
        let mut out = vec![];
        hash_columns(&[], 3, &mut out);
        assert!(out.len() == 3 && out[0] == out[2]);
    }
}
