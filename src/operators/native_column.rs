//! Columns whose values are plain integers underneath (numbers, dates, times), read and made as `i64`.
//!
//! Knows physical layout only: a date is its days, a timestamp its ticks.

use arrow_array::types::{Int8Type, Int16Type, Int32Type, UInt8Type, UInt16Type, UInt32Type};
use arrow_array::{Array, ArrayRef, PrimitiveArray, make_array};
use arrow_array::{
    Int8Array, Int16Array, Int32Array, Int64Array, UInt8Array, UInt16Array, UInt32Array,
};
use arrow_buffer::{ArrowNativeType, NullBuffer, ScalarBuffer};
use arrow_schema::{DataType, IntervalUnit};

/// Whether every value of the type is an integer that fits `i64`, in the type's order.
pub fn is_integer_like(data_type: &DataType) -> bool {
    use DataType::*;
    match data_type {
        Interval(unit) => *unit == IntervalUnit::YearMonth,
        Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 => true,
        Date32 | Date64 | Time32(_) | Time64(_) | Timestamp(..) | Duration(_) => true,
        _ => false,
    }
}

/// The values of an integer-like column; what stands at nulls is undefined. 64-bit types are not copied.
pub fn to_i64(array: &ArrayRef) -> ScalarBuffer<i64> {
    fn widen<T: ArrowNativeType + Into<i64>>(array: &ArrayRef) -> ScalarBuffer<i64> {
        raw::<T>(array).iter().map(|&v| v.into()).collect()
    }
    use DataType::*;
    match array.data_type() {
        Int8 => widen::<i8>(array),
        Int16 => widen::<i16>(array),
        UInt8 => widen::<u8>(array),
        UInt16 => widen::<u16>(array),
        UInt32 => widen::<u32>(array),
        Int32 | Date32 | Time32(_) | Interval(_) => widen::<i32>(array),
        _ => raw::<i64>(array),
    }
}

fn raw<T: ArrowNativeType>(array: &ArrayRef) -> ScalarBuffer<T> {
    let data = array.to_data();
    ScalarBuffer::new(data.buffers()[0].clone(), data.offset(), data.len())
}

/// A column of an integer-like type from its values, which all are within the type's range.
pub fn from_i64(values: Vec<i64>, nulls: Option<NullBuffer>, data_type: &DataType) -> ArrayRef {
    use DataType::*;
    macro_rules! narrow {
        ($array:ident, $type:ty) => {{
            let values =
                values.into_iter().map(|v| v as <$type as arrow_array::ArrowPrimitiveType>::Native);
            relabel($array::new(values.collect(), nulls), data_type)
        }};
    }
    match data_type {
        Int8 => narrow!(Int8Array, Int8Type),
        Int16 => narrow!(Int16Array, Int16Type),
        UInt8 => narrow!(UInt8Array, UInt8Type),
        UInt16 => narrow!(UInt16Array, UInt16Type),
        UInt32 => narrow!(UInt32Array, UInt32Type),
        Int32 | Date32 | Time32(_) | Interval(_) => narrow!(Int32Array, Int32Type),
        _ => relabel(Int64Array::new(values.into(), nulls), data_type),
    }
}

fn relabel<T: arrow_array::ArrowPrimitiveType>(
    array: PrimitiveArray<T>,
    data_type: &DataType,
) -> ArrayRef {
    if array.data_type() == data_type {
        return std::sync::Arc::new(array);
    }
    let data = array.into_data().into_builder().data_type(data_type.clone()).build();
    make_array(data.expect("the type has the same physical layout"))
}
