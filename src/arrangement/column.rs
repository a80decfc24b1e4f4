//! Typed access to the columns of a chunk: equality of two values without dynamic comparators.
//!
//! A [`Column`] is a second view of an Arrow array's buffers, made once a chunk; it copies nothing.
//! Equality is that of keys: NULL equals NULL, NaN equals NaN and -0.0 equals 0.0; a row that is to be removed is found by
//! its bits. Values of all other fixed-width types are equal when their bits are. Types without an accessor here (unions, run-end
//! encoding, dictionaries) compare through Arrow's own equality: right, but slow.

use arrow::array::ArrayData;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{
    ArrowNativeType, BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer, i256,
};
use arrow_schema::{DataType, IntervalUnit};

use super::index::prefetch;

/// One column of one chunk, or of a batch of keys.
pub(super) struct Column {
    pub values: Values,
    pub nulls: Option<NullBuffer>,
}

pub(super) enum Values {
    /// The type whose only value is NULL.
    Nothing,
    Bits(BooleanBuffer),
    W1(ScalarBuffer<u8>),
    W2(ScalarBuffer<u16>),
    W4(ScalarBuffer<u32>),
    W8(ScalarBuffer<u64>),
    W16(ScalarBuffer<i128>),
    W32(ScalarBuffer<i256>),
    F32(ScalarBuffer<f32>),
    F64(ScalarBuffer<f64>),
    /// `width` bytes a value.
    Fixed {
        width: usize,
        bytes: Buffer,
    },
    Text {
        offsets: OffsetBuffer<i32>,
        bytes: Buffer,
    },
    LargeText {
        offsets: OffsetBuffer<i64>,
        bytes: Buffer,
    },
    TextView(arrow_array::StringViewArray),
    BinaryView(arrow_array::BinaryViewArray),
    List {
        offsets: OffsetBuffer<i32>,
        items: Box<Column>,
    },
    LargeList {
        offsets: OffsetBuffer<i64>,
        items: Box<Column>,
    },
    FixedList {
        count: usize,
        items: Box<Column>,
    },
    Struct(Vec<Column>),
    Other(ArrayRef),
}

fn natives<T: ArrowNativeType>(data: &ArrayData) -> ScalarBuffer<T> {
    ScalarBuffer::new(data.buffers()[0].clone(), data.offset(), data.len())
}

fn fixed(data: &ArrayData, width: usize) -> Values {
    let bytes = data.buffers()[0].slice_with_length(data.offset() * width, data.len() * width);
    Values::Fixed { width, bytes }
}

impl Column {
    pub fn new(array: &dyn Array) -> Column {
        use DataType::*;
        let values = match array.data_type() {
            Null => Values::Nothing,
            Boolean => Values::Bits(array.as_boolean().values().clone()),
            Int8 | UInt8 => Values::W1(natives(&array.to_data())),
            Int16 | UInt16 => Values::W2(natives(&array.to_data())),
            Int32 | UInt32 | Date32 | Time32(_) | Decimal32(..) => {
                Values::W4(natives(&array.to_data()))
            }
            Interval(IntervalUnit::YearMonth) => Values::W4(natives(&array.to_data())),
            Int64 | UInt64 | Date64 | Time64(_) | Timestamp(..) | Duration(_) | Decimal64(..) => {
                Values::W8(natives(&array.to_data()))
            }
            Decimal128(..) => Values::W16(natives(&array.to_data())),
            Decimal256(..) => Values::W32(natives(&array.to_data())),
            Float32 => Values::F32(natives(&array.to_data())),
            Float64 => Values::F64(natives(&array.to_data())),
            // Months, days and nanoseconds are aligned to 8 bytes only, so they are no W16.
            Interval(IntervalUnit::MonthDayNano) => fixed(&array.to_data(), 16),
            Interval(IntervalUnit::DayTime) => fixed(&array.to_data(), 8),
            FixedSizeBinary(width) => fixed(&array.to_data(), *width as usize),
            _ => Self::varying(array),
        };
        let nulls = array.nulls().filter(|n| n.null_count() > 0).cloned();
        Column { values, nulls }
    }

    /// The types whose values differ in length.
    fn varying(array: &dyn Array) -> Values {
        use DataType::*;
        match array.data_type() {
            Utf8 => {
                let array = array.as_string::<i32>();
                Values::Text { offsets: array.offsets().clone(), bytes: array.values().clone() }
            }
            Binary => {
                let array = array.as_binary::<i32>();
                Values::Text { offsets: array.offsets().clone(), bytes: array.values().clone() }
            }
            LargeUtf8 => {
                let array = array.as_string::<i64>();
                Values::LargeText {
                    offsets: array.offsets().clone(),
                    bytes: array.values().clone(),
                }
            }
            LargeBinary => {
                let array = array.as_binary::<i64>();
                Values::LargeText {
                    offsets: array.offsets().clone(),
                    bytes: array.values().clone(),
                }
            }
            Utf8View => Values::TextView(array.as_string_view().clone()),
            BinaryView => Values::BinaryView(array.as_binary_view().clone()),
            List(_) => {
                let array = array.as_list::<i32>();
                let items = Box::new(Column::new(array.values().as_ref()));
                Values::List { offsets: array.offsets().clone(), items }
            }
            LargeList(_) => {
                let array = array.as_list::<i64>();
                let items = Box::new(Column::new(array.values().as_ref()));
                Values::LargeList { offsets: array.offsets().clone(), items }
            }
            FixedSizeList(_, count) => {
                let items = Column::new(array.as_fixed_size_list().values().as_ref());
                Values::FixedList { count: *count as usize, items: Box::new(items) }
            }
            Map(..) => {
                let array = array.as_map();
                let items = Box::new(Column::new(array.entries()));
                Values::List { offsets: array.offsets().clone(), items }
            }
            Struct(_) => {
                let columns = array.as_struct().columns();
                Values::Struct(columns.iter().map(|c| Column::new(c.as_ref())).collect())
            }
            _ => Values::Other(arrow_array::make_array(array.to_data())),
        }
    }

    #[inline(always)]
    pub fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|n| n.is_null(row))
    }

    /// The value's bytes where the type is text or binary, whatever its layout.
    #[inline]
    pub fn bytes(&self, row: usize) -> Option<&[u8]> {
        match &self.values {
            Values::Text { offsets, bytes } => {
                Some(&bytes[offsets[row] as usize..offsets[row + 1] as usize])
            }
            Values::LargeText { offsets, bytes } => {
                Some(&bytes[offsets[row] as usize..offsets[row + 1] as usize])
            }
            Values::TextView(array) => Some(array.value(row).as_bytes()),
            Values::BinaryView(array) => Some(array.value(row)),
            _ => None,
        }
    }

    /// The column as words of eight bytes, when it is one of those types.
    #[inline(always)]
    pub fn words(&self) -> Option<&[u64]> {
        match &self.values {
            Values::W8(words) => Some(words),
            _ => None,
        }
    }

    /// The items of a list's value, as a range of the column of items.
    fn items(&self, row: usize) -> Option<(&Column, std::ops::Range<usize>)> {
        match &self.values {
            Values::List { offsets, items } => {
                Some((items, offsets[row] as usize..offsets[row + 1] as usize))
            }
            Values::LargeList { offsets, items } => {
                Some((items, offsets[row] as usize..offsets[row + 1] as usize))
            }
            Values::FixedList { count, items } => Some((items, row * count..(row + 1) * count)),
            _ => None,
        }
    }

    /// Whether the value at `row` equals that of `other` at `other_row`. Columns of different types
    /// are never equal, except that the layout of text, binary and lists does not matter.
    #[inline]
    pub fn equals(&self, row: usize, other: &Column, other_row: usize) -> bool {
        self.compare::<false>(row, other, other_row)
    }

    /// As [`Column::equals`], but -0.0 is not 0.0, and a NaN is only the one of its bits.
    #[inline]
    pub fn is_same(&self, row: usize, other: &Column, other_row: usize) -> bool {
        self.compare::<true>(row, other, other_row)
    }

    #[inline(always)]
    fn compare<const BITS: bool>(&self, row: usize, other: &Column, other_row: usize) -> bool {
        match (self.is_null(row), other.is_null(other_row)) {
            (false, false) => {}
            (left, right) => return left && right,
        }
        let (i, j) = (row, other_row);
        match (&self.values, &other.values) {
            (Values::W8(a), Values::W8(b)) => a[i] == b[j],
            (Values::W4(a), Values::W4(b)) => a[i] == b[j],
            (Values::Nothing, Values::Nothing) => true,
            (Values::Bits(a), Values::Bits(b)) => a.value(i) == b.value(j),
            (Values::W1(a), Values::W1(b)) => a[i] == b[j],
            (Values::W2(a), Values::W2(b)) => a[i] == b[j],
            (Values::W16(a), Values::W16(b)) => a[i] == b[j],
            (Values::W32(a), Values::W32(b)) => a[i] == b[j],
            (Values::F32(a), Values::F32(b)) if BITS => a[i].to_bits() == b[j].to_bits(),
            (Values::F64(a), Values::F64(b)) if BITS => a[i].to_bits() == b[j].to_bits(),
            (Values::F32(a), Values::F32(b)) => a[i] == b[j] || (a[i].is_nan() && b[j].is_nan()),
            (Values::F64(a), Values::F64(b)) => a[i] == b[j] || (a[i].is_nan() && b[j].is_nan()),
            (Values::Fixed { width: w, bytes: a }, Values::Fixed { width: v, bytes: b }) => {
                w == v && a[i * w..(i + 1) * w] == b[j * w..(j + 1) * w]
            }
            (Values::Struct(a), Values::Struct(b)) => {
                a.len() == b.len()
                    && a.iter().zip(b).all(|(a, b)| a.compare_nested::<BITS>(i, b, j))
            }
            (Values::Other(a), Values::Other(b)) => {
                a.data_type() == b.data_type() && a.slice(i, 1).to_data() == b.slice(j, 1).to_data()
            }
            _ => self.compare_varying::<BITS>(i, other, j),
        }
    }

    /// Not inlined, for it calls itself.
    fn compare_nested<const BITS: bool>(&self, row: usize, other: &Column, at: usize) -> bool {
        self.compare::<BITS>(row, other, at)
    }

    fn compare_varying<const BITS: bool>(
        &self,
        row: usize,
        other: &Column,
        other_row: usize,
    ) -> bool {
        if let (Some(a), Some(b)) = (self.bytes(row), other.bytes(other_row)) {
            return a == b;
        }
        let (Some((a, at)), Some((b, bt))) = (self.items(row), other.items(other_row)) else {
            return false;
        };
        at.len() == bt.len() && at.zip(bt).all(|(i, j)| a.compare_nested::<BITS>(i, b, j))
    }

    /// Asks for the cache line of a value that is compared soon.
    #[inline(always)]
    pub fn prefetch(&self, row: usize) {
        match &self.values {
            Values::W8(v) => prefetch(&v[row]),
            Values::W4(v) => prefetch(&v[row]),
            Values::W16(v) => prefetch(&v[row]),
            Values::F64(v) => prefetch(&v[row]),
            Values::Fixed { width, bytes } if *width > 0 => prefetch(&bytes[row * width]),
            // The bytes lie behind the offset; waiting for it here would cost what it saves.
            Values::Text { offsets, .. } => prefetch(&offsets[row]),
            _ => {}
        }
    }
}
