//! Maps: which fields are maps, and how entries become one.
//!
//! A map is kept as a list of pairs marked `map`, in the order of their keys and each key once, so that equal maps are equal
//! lists: hashing, joining, sorting and checkpoints need to know nothing of maps. Invariant: every map comes out of an
//! [`Assembly`], or of the decoder of a source, which does the same. Keys are never NULL; values may be.

use std::sync::Arc;

use arrow::array::{DynComparator, make_comparator};
use arrow::compute::SortOptions;
use arrow_array::{Array, ArrayRef, ListArray, StructArray, UInt32Array};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{ArrowError, DataType, Field, FieldRef};

use super::pg_type::{TYPE_KEY, marked, type_marker};
use crate::error::{Error, Result, SqlState};

const MARK: &str = "map";

/// The nullable field of a map from values like `key` to values like `value`. Keys are texts and integers, whose order and
/// equality leave no doubt; 0A000 for others.
pub fn map_field(name: &str, key: &Field, value: &Field) -> Result<Field> {
    if key.data_type().is_null() {
        let message = "cannot determine type of empty map";
        return Err(Error::new(SqlState::INDETERMINATE_DATATYPE, message).with_hint(
            "Explicitly cast to the desired type, for example '{}'::map(varchar, integer).",
        ));
    }
    let is_key = match key.data_type() {
        DataType::Utf8 => !matches!(type_marker(key), Some("json" | "jsonb" | "bpchar")),
        DataType::Int16 | DataType::Int32 | DataType::Int64 => true,
        _ => false,
    };
    if !is_key {
        let message =
            format!("maps with keys of type {} are not supported", super::format_type(key));
        return Err(Error::unsupported(message).with_hint("Use keys of type varchar or bigint."));
    }
    let part = |field: &Field, name: &str| {
        let part = field.clone().with_name(name).with_nullable(true);
        // A varchar of any length is text: maps of one and of the other are of one type.
        let is_text = type_marker(field) == Some("varchar") && super::type_modifier(field) < 0;
        if is_text { part.with_metadata(Default::default()) } else { part }
    };
    let entry = DataType::Struct(vec![part(key, "key"), part(value, "value")].into());
    let item = Arc::new(Field::new("item", entry, true));
    Ok(marked(name, DataType::List(item), MARK))
}

/// The fields of a map's keys and values; `None` for what is no map.
pub fn map_parts(field: &Field) -> Option<(&FieldRef, &FieldRef)> {
    match field.data_type() {
        DataType::List(item) if field.metadata().get(TYPE_KEY).is_some_and(|mark| mark == MARK) => {
            match item.data_type() {
                DataType::Struct(parts) if parts.len() == 2 => Some((&parts[0], &parts[1])),
                _ => None,
            }
        }
        _ => None,
    }
}

/// What becomes of a key that is there twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twice {
    /// 22023.
    Refused,
    LastWins,
}

/// Maps in the making, of entries in two columns.
pub struct Assembly {
    keys: ArrayRef,
    values: ArrayRef,
    compare: DynComparator,
    twice: Twice,
    /// The entries of all maps so far, sorted.
    entries: Vec<u32>,
    lengths: Vec<usize>,
    valid: Vec<bool>,
}

impl Assembly {
    pub fn new(keys: &ArrayRef, values: &ArrayRef, twice: Twice) -> Result<Assembly> {
        let (keys, values) = (Arc::clone(keys), Arc::clone(values));
        let compare = make_comparator(&keys, &keys, SortOptions::default()).map_err(failed)?;
        let (entries, lengths, valid) = (vec![], vec![], vec![]);
        Ok(Assembly { keys, values, compare, twice, entries, lengths, valid })
    }

    /// The next row's map has these entries; `None` for NULL. After an error, 22023, the row is NULL.
    pub fn push(&mut self, entries: Option<impl Iterator<Item = u32>>) -> Result<()> {
        let start = self.entries.len();
        let there = entries.is_some();
        self.entries.extend(entries.into_iter().flatten());
        let settled = self.settle(start);
        if settled.is_err() {
            self.entries.truncate(start);
        }
        self.valid.push(there && settled.is_ok());
        self.lengths.push(self.entries.len() - start);
        settled
    }

    /// Sorts the entries from `start` on and leaves each key once.
    fn settle(&mut self, start: usize) -> Result<()> {
        let refused = |message: &str| Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
        let (keys, compare) = (&self.keys, &self.compare);
        let own = &mut self.entries[start..];
        if own.iter().any(|at| keys.is_null(*at as usize)) {
            return refused("map keys must not be null");
        }
        // Of equal keys the last one comes first.
        own.sort_unstable_by(|a, b| compare(*a as usize, *b as usize).then(b.cmp(a)));
        let mut kept = start;
        for at in start..self.entries.len() {
            let entry = self.entries[at];
            let again =
                kept > start && compare(self.entries[kept - 1] as usize, entry as usize).is_eq();
            if again && self.twice == Twice::Refused {
                return refused("map keys must be unique");
            }
            if !again {
                self.entries[kept] = entry;
                kept += 1;
            }
        }
        self.entries.truncate(kept);
        Ok(())
    }

    /// The maps, as values of a field that [`map_field`] made.
    pub fn finish(self, field: &Field) -> Result<ArrayRef> {
        let (DataType::List(item), true) = (field.data_type(), map_parts(field).is_some()) else {
            return Err(Error::internal("a map is a list of its entries"));
        };
        let DataType::Struct(parts) = item.data_type() else {
            return Err(Error::internal("an entry is a pair"));
        };
        let indices = UInt32Array::from(self.entries);
        let take =
            |array: &ArrayRef| arrow_select::take::take(array, &indices, None).map_err(failed);
        let columns = vec![take(&self.keys)?, take(&self.values)?];
        let entries = StructArray::try_new(parts.clone(), columns, None).map_err(failed)?;
        let offsets = OffsetBuffer::from_lengths(self.lengths);
        let nulls = Some(NullBuffer::from(self.valid));
        let list = ListArray::try_new(Arc::clone(item), offsets, Arc::new(entries), nulls);
        Ok(Arc::new(list.map_err(failed)?))
    }
}

fn failed(error: ArrowError) -> Error {
    Error::internal(error.to_string())
}
