//! Maps: from entries or from keys and values, what is in them, and maps made of maps.
//!
//! A map is kept as a list of its entries in the order of their keys, each key once, so that equal maps are equal lists. What
//! makes a map comes through `types::Assembly`, which sees to that.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{DynComparator, make_comparator};
use arrow::compute::SortOptions;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, Int32Array, ListArray, UInt32Array};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, FieldRef};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::error::{Error, Result, SqlState};
use crate::query::cast::cast_array;
use crate::query::errors::{from_arrow, to_datafusion, undefined_function};
use crate::query::sql_types::{pg_name, plain, renamed};
use crate::types::{Assembly, Twice, map_field, map_parts};

/// The family.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    let calls = [
        ("map_from_entries", Call::FromEntries),
        ("map_from_key_values", Call::FromKeyValues),
        ("map_keys", Call::Keys),
        ("map_values", Call::Values),
        ("map_entries", Call::Entries),
        ("map_access", Call::Access),
        ("map_contains", Call::Contains),
        ("map_length", Call::Length),
        ("map_cat", Call::Cat),
        ("map_insert", Call::Insert),
        ("map_delete", Call::Delete),
    ];
    calls.into_iter().map(|(name, call)| function(name, call)).collect()
}

/// `map[key]`.
pub(in crate::query) fn access() -> Arc<ScalarUDF> {
    function("map_access", Call::Access)
}

fn function(name: &'static str, call: Call) -> Arc<ScalarUDF> {
    let signature = Signature::variadic_any(Volatility::Immutable);
    Arc::new(ScalarUDF::from(MapFunction { name, call, signature }))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Call {
    FromEntries,
    FromKeyValues,
    Keys,
    Values,
    Entries,
    Access,
    Contains,
    Length,
    Cat,
    Insert,
    Delete,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct MapFunction {
    name: &'static str,
    call: Call,
    signature: Signature,
}

impl MapFunction {
    fn undefined(&self, fields: &[FieldRef]) -> Error {
        let names: Vec<String> = fields.iter().map(|field| pg_name(field)).collect();
        undefined_function(self.name, &names)
    }

    /// What the function gives for arguments of these types.
    fn returned(&self, fields: &[FieldRef]) -> Result<FieldRef> {
        let list = |item: &Field| plain(DataType::List(Arc::new(renamed(item, "item", true))));
        let given = fields.iter().map(|field| map_parts(field)).collect::<Vec<_>>();
        Ok(match (self.call, fields, given.as_slice()) {
            (Call::FromEntries, [entries], _) => match entries.data_type() {
                DataType::List(item) => match item.data_type() {
                    DataType::Struct(parts) if parts.len() == 2 => {
                        Arc::new(map_field("", &parts[0], &parts[1])?)
                    }
                    _ => return Err(self.undefined(fields)),
                },
                _ => return Err(self.undefined(fields)),
            },
            (Call::FromKeyValues, [keys, values], _) => {
                match (keys.data_type(), values.data_type()) {
                    (DataType::List(key), DataType::List(value)) => {
                        Arc::new(map_field("", key, value)?)
                    }
                    _ => return Err(self.undefined(fields)),
                }
            }
            (Call::Keys, [_], [Some((key, _))]) => list(key),
            (Call::Values, [_], [Some((_, value))]) => list(value),
            (Call::Entries, [map], [Some(_)]) => plain(map.data_type().clone()),
            (Call::Access, [_, _], [Some((_, value)), _]) => Arc::new(renamed(value, "", true)),
            (Call::Contains, [_, _], [Some(_), _]) => plain(DataType::Boolean),
            (Call::Length, [_], [Some(_)]) => plain(DataType::Int32),
            (Call::Delete, [map, _], [Some(_), _])
            | (Call::Insert, [map, _, _], [Some(_), _, _])
            | (Call::Cat, [map, _], [Some(_), Some(_)]) => Arc::new(renamed(map, "", true)),
            _ => return Err(self.undefined(fields)),
        })
    }
}

impl ScalarUDFImpl for MapFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        let fields: Vec<FieldRef> = types.iter().map(|t| plain(t.clone())).collect();
        Err(to_datafusion(self.undefined(&fields)))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        self.returned(args.arg_fields).map_err(to_datafusion)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let scalars = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if scalars { 1 } else { args.number_rows };
        let arrays =
            args.args.iter().map(|arg| arg.to_array(rows)).collect::<DfResult<Vec<_>>>()?;
        let result = self.evaluate(&arrays, &args.arg_fields, &args.return_field, rows);
        let result = result.map_err(to_datafusion)?;
        Ok(match scalars && !matches!(result.data_type(), DataType::List(_)) {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?),
            // DataFusion's own way drops the marks of a list's items.
            false if scalars => {
                ColumnarValue::Scalar(ScalarValue::List(Arc::new(result.as_list::<i32>().clone())))
            }
            false => ColumnarValue::Array(result),
        })
    }
}

impl MapFunction {
    fn evaluate(
        &self,
        arrays: &[ArrayRef],
        fields: &[FieldRef],
        returned: &FieldRef,
        rows: usize,
    ) -> Result<ArrayRef> {
        let map = |at: usize| Lists::of(&arrays[at]);
        match self.call {
            Call::FromEntries => from_lists(&map(0), returned),
            Call::FromKeyValues => from_keys_and_values(&arrays[0], &arrays[1], returned),
            Call::Keys => {
                let of = map(0);
                of.list_of(returned, &of.keys)
            }
            Call::Values => {
                let of = map(0);
                of.list_of(returned, &of.values)
            }
            Call::Entries => Ok(Arc::clone(&arrays[0])),
            Call::Length => {
                let of = map(0);
                let length = |row: usize| of.range(row).map(|range| range.len() as i32);
                Ok(Arc::new((0..rows).map(length).collect::<Int32Array>()))
            }
            Call::Access | Call::Contains => {
                let of = map(0);
                let wanted = key_like(&arrays[1], &fields[1], &fields[0])?;
                let found = of.find(&wanted)?;
                if self.call == Call::Access {
                    return arrow_select::take::take(&of.values, &found, None).map_err(from_arrow);
                }
                let known = |row: usize| of.range(row).is_some() && wanted.is_valid(row);
                let contains = (0..rows).map(|row| known(row).then(|| found.is_valid(row)));
                Ok(Arc::new(contains.collect::<BooleanArray>()))
            }
            Call::Cat => {
                let other = cast_array(&arrays[1], &fields[1], &fields[0], "UTC")?;
                joined(&map(0), &Lists::of(&other), returned)
            }
            Call::Insert => {
                let (key, value) = parts(&fields[0])?;
                let keys = cast_array(&arrays[1], &fields[1], key, "UTC")?;
                let values = cast_array(&arrays[2], &fields[2], value, "UTC")?;
                let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(1, rows));
                joined(&map(0), &Lists { keys, values, offsets, nulls: None }, returned)
            }
            Call::Delete => {
                let of = map(0);
                let found = of.find(&key_like(&arrays[1], &fields[1], &fields[0])?)?;
                let mut assembly = Assembly::new(&of.keys, &of.values, Twice::Refused)?;
                for row in 0..rows {
                    let gone = found.is_valid(row).then(|| found.value(row));
                    let kept = of
                        .range(row)
                        .map(|range| range.map(|at| at as u32).filter(move |at| Some(*at) != gone));
                    assembly.push(kept)?;
                }
                assembly.finish(returned)
            }
        }
    }
}

fn parts(map: &FieldRef) -> Result<(&FieldRef, &FieldRef)> {
    map_parts(map).ok_or_else(|| Error::internal("a map has keys and values"))
}

/// A key that is looked for, as the map's keys are.
fn key_like(array: &ArrayRef, field: &FieldRef, map: &FieldRef) -> Result<ArrayRef> {
    cast_array(array, field, parts(map)?.0, "UTC")
}

fn comparator(left: &ArrayRef, right: &ArrayRef) -> Result<DynComparator> {
    make_comparator(left, right, SortOptions::default()).map_err(from_arrow)
}

/// The entries of maps, or of lists of pairs.
struct Lists {
    keys: ArrayRef,
    values: ArrayRef,
    offsets: OffsetBuffer<i32>,
    nulls: Option<NullBuffer>,
}

impl Lists {
    fn of(array: &ArrayRef) -> Lists {
        let list = array.as_list::<i32>();
        let entries = list.values().as_struct();
        Lists {
            keys: Arc::clone(entries.column(0)),
            values: Arc::clone(entries.column(1)),
            offsets: list.offsets().clone(),
            nulls: list.nulls().cloned(),
        }
    }

    fn range(&self, row: usize) -> Option<Range<usize>> {
        let valid = self.nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
        valid.then(|| self.offsets[row] as usize..self.offsets[row + 1] as usize)
    }

    fn list_of(&self, returned: &FieldRef, items: &ArrayRef) -> Result<ArrayRef> {
        let DataType::List(item) = returned.data_type() else {
            return Err(Error::internal("parts of a map are a list"));
        };
        let (offsets, nulls) = (self.offsets.clone(), self.nulls.clone());
        let list = ListArray::try_new(Arc::clone(item), offsets, Arc::clone(items), nulls);
        Ok(Arc::new(list.map_err(from_arrow)?))
    }

    /// Where each row's map has the row's key; NULL where it has not.
    fn find(&self, wanted: &ArrayRef) -> Result<UInt32Array> {
        let compare = comparator(&self.keys, wanted)?;
        let find = |row: usize| {
            let mut range = self.range(row).filter(|_| wanted.is_valid(row))?;
            while !range.is_empty() {
                let middle = range.start + range.len() / 2;
                match compare(middle, row) {
                    std::cmp::Ordering::Equal => return Some(middle as u32),
                    std::cmp::Ordering::Less => range.start = middle + 1,
                    std::cmp::Ordering::Greater => range.end = middle,
                }
            }
            None
        };
        Ok((0..wanted.len()).map(find).collect())
    }
}

fn from_lists(entries: &Lists, returned: &FieldRef) -> Result<ArrayRef> {
    let mut assembly = Assembly::new(&entries.keys, &entries.values, Twice::Refused)?;
    for row in 0..entries.offsets.len() - 1 {
        assembly.push(entries.range(row).map(|range| range.map(|at| at as u32)))?;
    }
    assembly.finish(returned)
}

fn from_keys_and_values(
    keys: &ArrayRef,
    values: &ArrayRef,
    returned: &FieldRef,
) -> Result<ArrayRef> {
    let (keys, values) = (keys.as_list::<i32>(), values.as_list::<i32>());
    // The values in the places of their keys.
    let mut places: Vec<Option<u32>> = vec![None; keys.values().len()];
    for row in 0..keys.len() {
        if keys.is_null(row) || values.is_null(row) {
            continue;
        }
        let (from, to) = (values.value_offsets()[row], keys.value_offsets()[row]);
        if keys.value_length(row) != values.value_length(row) {
            let message = "number of keys and values of a map must be equal";
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        for at in 0..keys.value_length(row) {
            places[(to + at) as usize] = Some((from + at) as u32);
        }
    }
    let values_of_keys =
        arrow_select::take::take(values.values(), &UInt32Array::from(places), None);
    let nulls = NullBuffer::union(keys.nulls(), values.nulls());
    let entries = Lists {
        keys: Arc::clone(keys.values()),
        values: values_of_keys.map_err(from_arrow)?,
        offsets: keys.offsets().clone(),
        nulls,
    };
    from_lists(&entries, returned)
}

/// The entries of both, those of `over` where a key is in both.
fn joined(map: &Lists, over: &Lists, returned: &FieldRef) -> Result<ArrayRef> {
    let concat = |left: &ArrayRef, right: &ArrayRef| {
        arrow_select::concat::concat(&[left.as_ref(), right.as_ref()]).map_err(from_arrow)
    };
    let (keys, values) = (concat(&map.keys, &over.keys)?, concat(&map.values, &over.values)?);
    let behind = map.keys.len();
    let mut assembly = Assembly::new(&keys, &values, Twice::LastWins)?;
    for row in 0..map.offsets.len() - 1 {
        let both = map.range(row).zip(over.range(row));
        assembly.push(both.map(|(own, other)| {
            own.chain(other.start + behind..other.end + behind).map(|at| at as u32)
        }))?;
    }
    assembly.finish(returned)
}

/// Lists of pairs as maps: what casts to a map and what is read from text come to.
pub(in crate::query) fn as_maps(lists: &ArrayRef, returned: &FieldRef) -> Result<ArrayRef> {
    from_lists(&Lists::of(lists), returned)
}
