//! What ordered-set aggregates come to, over what array_agg has collected in their order: percentiles and the most frequent value.
//!
//! The values come in order and without NULLs; of no values the result is NULL. Fractions are of each row, so that one out of range is a
//! failing row.

use std::sync::Arc;

use arrow::array::make_comparator;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, IntervalMonthDayNanoType};
use arrow_array::{Array, ArrayRef, ListArray, UInt32Array, new_null_array};
use arrow_buffer::{NullBuffer, OffsetBuffer};

use arrow_schema::{DataType, FieldRef, IntervalUnit, SortOptions};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::error::{Error, Result, SqlState};
use crate::query::errors::{from_arrow, to_datafusion, undefined_function};
use crate::query::moments::between;
use crate::query::sql_types::{pg_type_name, plain, renamed};

/// The family; no user can write a name with a colon.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    [Summary::Continuous, Summary::Discrete, Summary::Mode]
        .map(|summary| {
            let signature = Signature::user_defined(Volatility::Immutable);
            Arc::new(ScalarUDF::from(OrderedSet { summary, signature }))
        })
        .into()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Summary {
    /// percentile_cont: between two values where none is at the place.
    Continuous,
    /// percentile_disc: the first value at the place or behind it.
    Discrete,
    /// The value that is there most often; of several the first.
    Mode,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OrderedSet {
    summary: Summary,
    signature: Signature,
}

/// The type of an array's items.
fn item_of(list: &DataType) -> Option<&FieldRef> {
    match list {
        DataType::List(item) => Some(item),
        _ => None,
    }
}

impl OrderedSet {
    /// The values are the last argument; before them come the fractions, if any.
    fn are_taken(&self, types: &[DataType]) -> bool {
        let values = types.last().and_then(item_of).map(|item| item.data_type());
        let is_number = |t: &DataType| t.is_numeric() || t.is_null();
        match (self.summary, types, values) {
            (Summary::Mode, [_], Some(_)) => true,
            (Summary::Continuous | Summary::Discrete, [fraction, _], Some(values)) => {
                let fraction = item_of(fraction).map_or(fraction, |item| item.data_type());
                let interpolated = is_number(values) || matches!(values, DataType::Interval(_));
                is_number(fraction) && (interpolated || self.summary == Summary::Discrete)
            }
            _ => false,
        }
    }
}

impl ScalarUDFImpl for OrderedSet {
    fn name(&self) -> &str {
        match self.summary {
            Summary::Continuous => "percentile_cont:of",
            Summary::Discrete => "percentile_disc:of",
            Summary::Mode => "mode:of",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        if self.are_taken(types) {
            return Ok(types.to_vec());
        }
        let names = types.iter().map(|t| match (t, types.last() == Some(t)) {
            (DataType::List(item), true) => pg_type_name(item.data_type()),
            (other, _) => pg_type_name(other),
        });
        let name = self.name().trim_end_matches(":of");
        Err(to_datafusion(undefined_function(name, &names.collect::<Vec<_>>())))
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Err(to_datafusion(Error::internal("the type depends on the items' field")))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let fields = args.arg_fields;
        let values = fields.last().and_then(|field| item_of(field.data_type()));
        let values = values.ok_or_else(|| to_datafusion(Error::internal("values are an array")))?;
        let item = match (self.summary, values.data_type()) {
            (Summary::Continuous, DataType::Interval(_)) => plain(values.data_type().clone()),
            (Summary::Continuous, _) => plain(DataType::Float64),
            (Summary::Discrete | Summary::Mode, _) => Arc::new(renamed(values, "", true)),
        };
        let of_many = fields.len() == 2 && item_of(fields[0].data_type()).is_some();
        Ok(match of_many {
            true => plain(DataType::List(Arc::new(renamed(&item, "item", true)))),
            false => item,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let returned = args.return_field.data_type();
        let result = match (self.summary, arrays.as_slice()) {
            (Summary::Mode, [lists]) => modes(lists.as_list()),
            (_, [fractions, lists]) => self.percentiles(fractions, lists.as_list(), returned),
            _ => Err(Error::internal("values come with their fractions")),
        };
        Ok(ColumnarValue::Array(result.map_err(to_datafusion)?))
    }
}

impl OrderedSet {
    fn percentiles(
        &self,
        fractions: &ArrayRef,
        lists: &ListArray,
        returned: &DataType,
    ) -> Result<ArrayRef> {
        let Some(item) = item_of(returned).filter(|_| item_of(fractions.data_type()).is_some())
        else {
            let rows = (0..lists.len()).map(|row| (row, row));
            return self.at(fractions, rows.collect(), lists);
        };
        let fractions = fractions.as_list::<i32>();
        let (mut pairs, mut offsets, mut valid) = (vec![], vec![0_i32], vec![]);
        for row in 0..lists.len() {
            let known = fractions.is_valid(row) && lists.is_valid(row);
            valid.push(known);
            if known {
                let offsets = fractions.value_offsets();
                pairs.extend((offsets[row]..offsets[row + 1]).map(|at| (at as usize, row)));
            }
            offsets.push(i32::try_from(pairs.len()).map_err(|_| {
                Error::new(SqlState::STATEMENT_TOO_COMPLEX, "too many percentiles at once")
            })?);
        }
        let values = self.at(fractions.values(), pairs, lists)?;
        let offsets = OffsetBuffer::new(offsets.into());
        let nulls = Some(NullBuffer::from(valid));
        let list = ListArray::try_new(item.clone(), offsets, values, nulls).map_err(from_arrow)?;
        Ok(Arc::new(list))
    }

    /// For each pair the percentile by the fraction at the first place, of the list at the second.
    fn at(
        &self,
        fractions: &ArrayRef,
        pairs: Vec<(usize, usize)>,
        lists: &ListArray,
    ) -> Result<ArrayRef> {
        let fractions = arrow_cast::cast(fractions, &DataType::Float64).map_err(from_arrow)?;
        let fractions = fractions.as_primitive::<Float64Type>();
        let places = pairs.into_iter().map(|(at, row)| {
            if lists.is_null(row) || lists.value_length(row) == 0 || fractions.is_null(at) {
                return Ok(None);
            }
            let start = lists.value_offsets()[row] as usize;
            let count = lists.value_length(row) as usize;
            place(self.summary, fractions.value(at), start, count).map(Some)
        });
        let places: Vec<Option<Place>> = places.collect::<Result<_>>()?;
        if self.summary == Summary::Discrete {
            let first = places.iter().map(|place| place.as_ref().map(|place| place.low as u32));
            let first: UInt32Array = first.collect();
            return arrow_select::take::take(lists.values(), &first, None).map_err(from_arrow);
        }
        interpolated(lists.values(), &places)
    }
}

/// Where a percentile is: between two values, so far from the first.
struct Place {
    low: usize,
    high: usize,
    part: f64,
}

fn place(summary: Summary, fraction: f64, start: usize, count: usize) -> Result<Place> {
    if !(0.0..=1.0).contains(&fraction) {
        let message = format!("percentile value {fraction} is not between 0 and 1");
        return Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message));
    }
    let last = start + count - 1;
    if summary == Summary::Discrete {
        let low = start + ((fraction * count as f64).ceil() as usize).saturating_sub(1);
        return Ok(Place { low: low.min(last), high: last, part: 0.0 });
    }
    let exact = fraction * (count - 1) as f64;
    let (low, high) = (exact.floor(), exact.ceil());
    let at = |place: f64| (start + place as usize).min(last);
    Ok(Place { low: at(low), high: at(high), part: exact - low })
}

fn interpolated(values: &ArrayRef, places: &[Option<Place>]) -> Result<ArrayRef> {
    if values.data_type().is_null() {
        return Ok(new_null_array(&DataType::Float64, places.len()));
    }
    if let DataType::Interval(IntervalUnit::MonthDayNano) = values.data_type() {
        let values = values.as_primitive::<IntervalMonthDayNanoType>();
        let value = |place: &Option<Place>| {
            let Some(Place { low, high, part }) = place else { return Ok(None) };
            let (low, high) = (values.value(*low), values.value(*high));
            if *part == 0.0 { Ok(Some(low)) } else { between(low, high, *part).map(Some) }
        };
        let values = places.iter().map(value).collect::<Result<Vec<_>>>()?;
        let values: arrow_array::IntervalMonthDayNanoArray = values.into_iter().collect();
        return Ok(Arc::new(values));
    }
    let values = arrow_cast::cast(values, &DataType::Float64).map_err(from_arrow)?;
    let values = values.as_primitive::<Float64Type>();
    let value = |place: &Option<Place>| {
        let Place { low, high, part } = place.as_ref()?;
        let (low, high) = (values.value(*low), values.value(*high));
        Some(if *part == 0.0 { low } else { low + part * (high - low) })
    };
    Ok(Arc::new(places.iter().map(value).collect::<arrow_array::Float64Array>()))
}

fn modes(lists: &ListArray) -> Result<ArrayRef> {
    let values = lists.values();
    let order = make_comparator(values, values, SortOptions::default()).map_err(from_arrow)?;
    let mode = |row: usize| {
        if lists.is_null(row) {
            return None;
        }
        let range = lists.value_offsets()[row] as usize..lists.value_offsets()[row + 1] as usize;
        let (mut best, mut begin) = (None, range.start);
        for at in range.clone() {
            if order(begin, at).is_ne() {
                begin = at;
            }
            let often = at + 1 - begin;
            if best.is_none_or(|(_, most)| often > most) {
                best = Some((begin, often));
            }
        }
        best.map(|(at, _)| at as u32)
    };
    let modes: UInt32Array = (0..lists.len()).map(mode).collect();
    arrow_select::take::take(values, &modes, None).map_err(from_arrow)
}
