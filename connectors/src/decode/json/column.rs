//! The columns being built: a tree of typed values that can be cut back to any row.
//!
//! Owns storage and nothing of JSON. The tree's root is a struct whose fields are the declared columns, so that
//! messages and nested objects are one thing. Invariant between messages: a column that is kept has as many rows as
//! its struct, one that is not kept (nobody wants it) has none; while a message is being read, a field of the
//! present row is set exactly when its column is longer than that. Anything written for a message that turns out bad
//! is cut off again.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::types::*;
use arrow_array::*;
use arrow_buffer::{
    BooleanBuffer, BooleanBufferBuilder, IntervalMonthDayNano, NullBuffer, OffsetBuffer,
};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Fields, IntervalUnit, TimeUnit};

use super::blocks;
use crate::contract::ConnectorError;
use crate::types::{
    Invalid, Length, MINUTE_TEXT_BYTES, is_jsonb, is_map, pow10_i128, units_per_second,
};

/// A column's index in [`Columns`].
pub(super) type ColumnId = usize;

/// Bytes of text a row is taken to have before anything is known of the column.
const TEXT_BYTES_PER_ROW_GUESS: usize = 16;

/// Values of varying length: `offsets` begins with zero and has one more entry than there are values.
#[derive(Debug)]
pub(super) struct Bytes {
    pub offsets: Vec<i32>,
    pub bytes: Vec<u8>,
    /// Of the previous batch, to reserve for the next one.
    bytes_per_row: usize,
}

/// The last timestamp prefix seen, since neighbours mostly share it.
#[derive(Debug)]
pub(super) struct Minute {
    pub text: [u8; MINUTE_TEXT_BYTES],
    pub minutes: i64,
}

impl Default for Minute {
    /// A minute like any other: the text compared with must always be a valid one.
    fn default() -> Self {
        Minute { text: *b"1970-01-01 00:00", minutes: 0 }
    }
}

/// The fields of a struct and how keys find them.
#[derive(Debug, Default)]
pub(super) struct Members {
    pub rows: usize,
    pub columns: Vec<ColumnId>,
    exact: HashMap<String, ColumnId>,
    lowercase: HashMap<String, ColumnId>,
}

/// A column's values with what its type needs to read them.
#[derive(Debug)]
pub(super) enum Values {
    Boolean(Vec<bool>),
    SmallInt(Vec<i16>),
    Integer(Vec<i32>),
    BigInt(Vec<i64>),
    Real(Vec<f32>),
    Double(Vec<f64>),
    /// `limit` is 10^precision: every value is smaller in magnitude.
    Numeric {
        precision: u8,
        scale: i8,
        limit: u128,
        values: Vec<i128>,
    },
    /// Strings of at most `fast_bytes` bytes fit the length whatever they are.
    Text {
        text: Bytes,
        length: Option<Length>,
        fast_bytes: usize,
    },
    Jsonb(Bytes),
    Bytea(Bytes),
    Date(Vec<i32>),
    Time(Vec<i64>),
    Timestamp {
        unit: TimeUnit,
        per_second: i64,
        zoned: bool,
        minute: Minute,
        values: Vec<i64>,
    },
    Interval(Vec<IntervalMonthDayNano>),
    Uuid(Vec<[u8; 16]>),
    List {
        offsets: Vec<i32>,
        item: ColumnId,
    },
    Struct(Members),
}

#[derive(Debug)]
pub(super) struct Column {
    /// The column's name for messages, such as `address.city` or `tags[]`.
    pub path: String,
    field: FieldRef,
    /// Whether its values are wanted; else they are only checked.
    pub kept: bool,
    pub values: Values,
    /// The rows that are NULL, ascending.
    nulls: Vec<u32>,
    /// Stands in for the values of an unwanted column; as long as the longest batch so far.
    filler: Option<ArrayRef>,
}

#[derive(Debug)]
pub(super) struct Columns {
    nodes: Vec<Column>,
    pub root: ColumnId,
    /// The declared columns that are not kept.
    unwanted: Vec<ColumnId>,
    pub scratch: String,
}

impl Bytes {
    fn new() -> Self {
        Bytes { offsets: vec![0], bytes: Vec::new(), bytes_per_row: TEXT_BYTES_PER_ROW_GUESS }
    }

    /// Ends a value at the end of `bytes`. Fails past 2 GiB, which Arrow's offsets cannot express.
    pub fn close(&mut self) -> Result<(), Invalid> {
        let too_long = |_| Invalid {
            sqlstate: "54000",
            message: "more than 2 GiB of values in one batch".to_owned(),
        };
        self.offsets.push(i32::try_from(self.bytes.len()).map_err(too_long)?);
        Ok(())
    }

    /// Where the value being written begins.
    fn start(&self) -> usize {
        self.offsets.last().map_or(0, |&end| end as usize)
    }

    /// Takes back what was written after the last whole value.
    pub fn undo(&mut self) {
        self.bytes.truncate(self.start());
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.undo();
    }

    fn reserve(&mut self, rows: usize, bytes_max: usize) {
        self.offsets.reserve(rows);
        // An eighth more than last time, so that steady input does not grow the buffer at each batch's end.
        let wanted = rows * (self.bytes_per_row + self.bytes_per_row / 8) + blocks::BLOCK_BYTES;
        self.bytes.reserve(wanted.min(bytes_max + blocks::BLOCK_BYTES));
    }

    fn take(&mut self) -> (OffsetBuffer<i32>, Vec<u8>) {
        let rows = self.offsets.len() - 1;
        if rows > 0 {
            self.bytes_per_row = self.bytes.len().div_ceil(rows);
        }
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        (OffsetBuffer::new(offsets.into()), std::mem::take(&mut self.bytes))
    }
}

impl Members {
    fn new(names: impl Iterator<Item = String>, columns: Vec<ColumnId>) -> Self {
        let mut members =
            Members { rows: 0, exact: HashMap::new(), lowercase: HashMap::new(), columns };
        for (name, &column) in names.zip(&members.columns) {
            // Of names that differ only in case the first declared one takes keys that match none exactly.
            members.lowercase.entry(name.to_lowercase()).or_insert(column);
            members.exact.entry(name).or_insert(column);
        }
        members
    }

    /// The field of that name exactly, else the one that differs only in case.
    pub fn named(&self, key: &str) -> Option<ColumnId> {
        self.exact.get(key).or_else(|| self.lowercase.get(&key.to_lowercase())).copied()
    }
}

impl Column {
    pub fn nullable(&self) -> bool {
        self.field.is_nullable()
    }

    /// Whether it is a list of the entries of maps.
    pub fn is_map(&self) -> bool {
        is_map(&self.field)
    }

    pub fn type_name(&self) -> &'static str {
        match &self.values {
            Values::Boolean(_) => "boolean",
            Values::SmallInt(_) => "smallint",
            Values::Integer(_) => "integer",
            Values::BigInt(_) => "bigint",
            Values::Real(_) => "real",
            Values::Double(_) => "double precision",
            Values::Numeric { .. } => "numeric",
            Values::Text { .. } => "text",
            Values::Jsonb(_) => "jsonb",
            Values::Bytea(_) => "bytea",
            Values::Date(_) => "date",
            Values::Time(_) => "time",
            Values::Timestamp { zoned: false, .. } => "timestamp",
            Values::Timestamp { zoned: true, .. } => "timestamp with time zone",
            Values::Interval(_) => "interval",
            Values::Uuid(_) => "uuid",
            Values::List { .. } if self.is_map() => "map",
            Values::List { .. } => "array",
            Values::Struct(_) => "struct",
        }
    }

    pub fn len(&self) -> usize {
        match &self.values {
            Values::Boolean(v) => v.len(),
            Values::SmallInt(v) => v.len(),
            Values::Integer(v) | Values::Date(v) => v.len(),
            Values::BigInt(v) | Values::Time(v) | Values::Timestamp { values: v, .. } => v.len(),
            Values::Real(v) => v.len(),
            Values::Double(v) => v.len(),
            Values::Numeric { values, .. } => values.len(),
            Values::Interval(v) => v.len(),
            Values::Uuid(v) => v.len(),
            Values::Text { text: b, .. } | Values::Jsonb(b) | Values::Bytea(b) => {
                b.offsets.len() - 1
            }
            Values::List { offsets, .. } => offsets.len() - 1,
            Values::Struct(members) => members.rows,
        }
    }

    fn reserve(&mut self, rows: usize, bytes_max: usize) {
        match &mut self.values {
            Values::Boolean(v) => v.reserve(rows),
            Values::SmallInt(v) => v.reserve(rows),
            Values::Integer(v) | Values::Date(v) => v.reserve(rows),
            Values::BigInt(v) | Values::Time(v) | Values::Timestamp { values: v, .. } => {
                v.reserve(rows)
            }
            Values::Real(v) => v.reserve(rows),
            Values::Double(v) => v.reserve(rows),
            Values::Numeric { values, .. } => values.reserve(rows),
            Values::Interval(v) => v.reserve(rows),
            Values::Uuid(v) => v.reserve(rows),
            Values::Text { text: b, .. } | Values::Jsonb(b) | Values::Bytea(b) => {
                b.reserve(rows, bytes_max)
            }
            Values::List { offsets, .. } => offsets.reserve(rows),
            Values::Struct(_) => {}
        }
    }

    fn take_nulls(&mut self, rows: usize) -> Option<NullBuffer> {
        if self.nulls.is_empty() {
            return None;
        }
        let mut valid = BooleanBufferBuilder::new(rows);
        valid.append_n(rows, true);
        for row in self.nulls.drain(..) {
            valid.set_bit(row as usize, false);
        }
        Some(NullBuffer::new(valid.finish()))
    }

    /// The filler at `rows` rows: NULLs, or zero values where the column is NOT NULL.
    fn filler(&mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        match &self.filler {
            Some(filler) if filler.len() >= rows => Ok(filler.slice(0, rows)),
            _ => Ok(Arc::clone(self.filler.insert(filler(&self.field, rows)?))),
        }
    }
}

impl Columns {
    /// The tree for declared columns, of which those at the indices `wanted` are kept.
    pub fn new(fields: &Fields, wanted: &[usize]) -> Result<Self, ConnectorError> {
        let mut columns =
            Columns { nodes: Vec::new(), root: 0, unwanted: Vec::new(), scratch: String::new() };
        let mut ids = Vec::with_capacity(fields.len());
        for (index, field) in fields.iter().enumerate() {
            let kept = wanted.contains(&index);
            let id = columns.add(field, field.name().clone(), kept)?;
            ids.push(id);
            if !kept {
                columns.unwanted.push(id);
            }
        }
        let names = fields.iter().map(|field| field.name().clone());
        let values = Values::Struct(Members::new(names, ids));
        let field = Arc::new(Field::new_struct("message", fields.clone(), false));
        columns.root = columns.push(field, String::new(), true, values);
        Ok(columns)
    }

    fn push(&mut self, field: FieldRef, path: String, kept: bool, values: Values) -> ColumnId {
        self.nodes.push(Column { path, field, kept, values, nulls: Vec::new(), filler: None });
        self.nodes.len() - 1
    }

    fn add(
        &mut self,
        field: &FieldRef,
        path: String,
        kept: bool,
    ) -> Result<ColumnId, ConnectorError> {
        let values = match field.data_type() {
            DataType::Boolean => Values::Boolean(Vec::new()),
            DataType::Int16 => Values::SmallInt(Vec::new()),
            DataType::Int32 => Values::Integer(Vec::new()),
            DataType::Int64 => Values::BigInt(Vec::new()),
            DataType::Float32 => Values::Real(Vec::new()),
            DataType::Float64 => Values::Double(Vec::new()),
            &DataType::Decimal128(precision, scale) => {
                let limit =
                    pow10_i128(precision).expect("Decimal128 has at most 38 digits").unsigned_abs();
                Values::Numeric { precision, scale, limit, values: Vec::new() }
            }
            DataType::Utf8 if is_jsonb(field) => Values::Jsonb(Bytes::new()),
            DataType::Utf8 => {
                let length = Length::of(field);
                let fast_bytes = length.map_or(usize::MAX, |length| length.bytes_that_fit());
                Values::Text { text: Bytes::new(), length, fast_bytes }
            }
            DataType::Binary => Values::Bytea(Bytes::new()),
            DataType::Date32 => Values::Date(Vec::new()),
            DataType::Time64(TimeUnit::Microsecond) => Values::Time(Vec::new()),
            DataType::Timestamp(unit, zone) => Values::Timestamp {
                unit: *unit,
                per_second: units_per_second(*unit),
                zoned: zone.is_some(),
                minute: Minute::default(),
                values: Vec::new(),
            },
            DataType::Interval(IntervalUnit::MonthDayNano) => Values::Interval(Vec::new()),
            DataType::FixedSizeBinary(16) => Values::Uuid(Vec::new()),
            DataType::List(item) => {
                let item = self.add(item, format!("{path}[]"), kept)?;
                Values::List { offsets: vec![0], item }
            }
            DataType::Struct(fields) => {
                let names = fields.iter().map(|field| field.name().clone());
                let children = fields
                    .iter()
                    .map(|child| self.add(child, format!("{path}.{}", child.name()), kept));
                let children = children.collect::<Result<_, _>>()?;
                Values::Struct(Members::new(names, children))
            }
            other => {
                let message = format!(
                    "column \"{path}\" cannot be read from JSON: its Arrow type is {other}"
                );
                return Err(ConnectorError::fix(message));
            }
        };
        Ok(self.push(Arc::clone(field), path, kept, values))
    }

    #[inline(always)]
    pub fn get(&self, id: ColumnId) -> &Column {
        &self.nodes[id]
    }

    #[inline(always)]
    pub fn get_mut(&mut self, id: ColumnId) -> &mut Column {
        &mut self.nodes[id]
    }

    /// A column together with the scratch for unescaping.
    pub fn with_scratch(&mut self, id: ColumnId) -> (&mut Column, &mut String) {
        (&mut self.nodes[id], &mut self.scratch)
    }

    /// How many messages have become rows.
    pub fn rows(&self) -> usize {
        self.nodes[self.root].len()
    }

    /// The columns of a struct's fields; none for other columns.
    pub fn members(&self, id: ColumnId) -> &[ColumnId] {
        match &self.nodes[id].values {
            Values::Struct(members) => &members.columns,
            _ => &[],
        }
    }

    /// How many rows `member` has when its struct has `rows` whole ones: as many, or none if it alone is not kept.
    pub fn rows_of_member(&self, parent: ColumnId, member: ColumnId, rows: usize) -> usize {
        if self.nodes[parent].kept == self.nodes[member].kept { rows } else { 0 }
    }

    /// Makes room for a batch of so many rows from so many bytes.
    pub fn reserve(&mut self, rows: usize, bytes: usize) {
        for id in 0..self.nodes.len() {
            if self.nodes[id].kept {
                self.nodes[id].reserve(rows, bytes);
            }
        }
    }

    /// Cuts a column and everything below it to `rows` rows.
    pub fn truncate(&mut self, id: ColumnId, rows: usize) {
        let column = &mut self.nodes[id];
        while column.nulls.last().is_some_and(|&row| row as usize >= rows) {
            column.nulls.pop();
        }
        match &mut column.values {
            Values::Boolean(v) => v.truncate(rows),
            Values::SmallInt(v) => v.truncate(rows),
            Values::Integer(v) | Values::Date(v) => v.truncate(rows),
            Values::BigInt(v) | Values::Time(v) | Values::Timestamp { values: v, .. } => {
                v.truncate(rows)
            }
            Values::Real(v) => v.truncate(rows),
            Values::Double(v) => v.truncate(rows),
            Values::Numeric { values, .. } => values.truncate(rows),
            Values::Interval(v) => v.truncate(rows),
            Values::Uuid(v) => v.truncate(rows),
            Values::Text { text: b, .. } | Values::Jsonb(b) | Values::Bytea(b) => b.truncate(rows),
            Values::List { offsets, item } => {
                offsets.truncate(rows + 1);
                let (item, items) = (*item, offsets.last().map_or(0, |&end| end as usize));
                self.truncate(item, items);
            }
            Values::Struct(members) => {
                members.rows = rows;
                for index in 0..self.members(id).len() {
                    let member = self.members(id)[index];
                    self.truncate(member, self.rows_of_member(id, member, rows));
                }
            }
        }
    }

    /// Cuts everything to `rows` messages.
    pub fn rollback(&mut self, rows: usize) {
        self.truncate(self.root, rows);
    }

    /// Forgets the values of unwanted columns, once they are checked.
    pub fn discard_unwanted(&mut self) {
        for index in 0..self.unwanted.len() {
            self.truncate(self.unwanted[index], 0);
        }
    }

    /// Appends a NULL, whatever the column's declaration says: below a NULL struct every field is NULL.
    pub fn push_null(&mut self, id: ColumnId) {
        let column = &mut self.nodes[id];
        let row = u32::try_from(column.len())
            .expect("a batch's spans are addressed by 32 bits, so rows are as well");
        column.nulls.push(row);
        match &mut column.values {
            Values::Boolean(v) => v.push(false),
            Values::SmallInt(v) => v.push(0),
            Values::Integer(v) | Values::Date(v) => v.push(0),
            Values::BigInt(v) | Values::Time(v) | Values::Timestamp { values: v, .. } => v.push(0),
            Values::Real(v) => v.push(0.0),
            Values::Double(v) => v.push(0.0),
            Values::Numeric { values, .. } => values.push(0),
            Values::Interval(v) => v.push(IntervalMonthDayNano::ZERO),
            Values::Uuid(v) => v.push([0; 16]),
            Values::Text { text: Bytes { offsets, .. }, .. }
            | Values::Jsonb(Bytes { offsets, .. })
            | Values::Bytea(Bytes { offsets, .. })
            | Values::List { offsets, .. } => offsets.push(offsets.last().copied().unwrap_or(0)),
            Values::Struct(members) => {
                members.rows += 1;
                for index in 0..self.members(id).len() {
                    self.push_null(self.members(id)[index]);
                }
            }
        }
    }

    /// The rows as arrays, one for each declared column; the columns are empty afterwards.
    pub fn finish(&mut self) -> Result<(Vec<ArrayRef>, usize), ArrowError> {
        let rows = self.rows();
        let declared = self.members(self.root).to_vec();
        let arrays = declared.into_iter().map(|id| match self.nodes[id].kept {
            true => self.take(id),
            false => self.nodes[id].filler(rows),
        });
        let arrays = arrays.collect::<Result<_, _>>()?;
        self.rollback(0);
        Ok((arrays, rows))
    }

    fn take(&mut self, id: ColumnId) -> Result<ArrayRef, ArrowError> {
        let column = &mut self.nodes[id];
        let rows = column.len();
        let nulls = column.take_nulls(rows);
        let data_type = column.field.data_type();
        Ok(match &mut column.values {
            Values::Boolean(v) => {
                Arc::new(BooleanArray::new(BooleanBuffer::from(std::mem::take(v)), nulls))
            }
            Values::SmallInt(v) => primitive::<Int16Type>(v, nulls, data_type),
            Values::Integer(v) => primitive::<Int32Type>(v, nulls, data_type),
            Values::BigInt(v) => primitive::<Int64Type>(v, nulls, data_type),
            Values::Real(v) => primitive::<Float32Type>(v, nulls, data_type),
            Values::Double(v) => primitive::<Float64Type>(v, nulls, data_type),
            Values::Numeric { values, .. } => primitive::<Decimal128Type>(values, nulls, data_type),
            Values::Text { text: b, .. } | Values::Jsonb(b) => {
                let (offsets, bytes) = b.take();
                Arc::new(blocks::checked_strings(offsets, bytes, nulls))
            }
            Values::Bytea(b) => {
                let (offsets, bytes) = b.take();
                Arc::new(BinaryArray::try_new(offsets, bytes.into(), nulls)?)
            }
            Values::Date(v) => primitive::<Date32Type>(v, nulls, data_type),
            Values::Time(v) => primitive::<Time64MicrosecondType>(v, nulls, data_type),
            Values::Timestamp { unit, values, .. } => match unit {
                TimeUnit::Second => primitive::<TimestampSecondType>(values, nulls, data_type),
                TimeUnit::Millisecond => {
                    primitive::<TimestampMillisecondType>(values, nulls, data_type)
                }
                TimeUnit::Microsecond => {
                    primitive::<TimestampMicrosecondType>(values, nulls, data_type)
                }
                TimeUnit::Nanosecond => {
                    primitive::<TimestampNanosecondType>(values, nulls, data_type)
                }
            },
            Values::Interval(v) => primitive::<IntervalMonthDayNanoType>(v, nulls, data_type),
            Values::Uuid(v) => {
                let bytes = std::mem::take(v).into_flattened();
                Arc::new(FixedSizeBinaryArray::try_new(16, bytes.into(), nulls)?)
            }
            Values::List { offsets, item } => {
                let (offsets, item) = (std::mem::replace(offsets, vec![0]), *item);
                let items = self.take(item)?;
                let field = Arc::clone(&self.nodes[item].field);
                Arc::new(ListArray::try_new(
                    field,
                    OffsetBuffer::new(offsets.into()),
                    items,
                    nulls,
                )?)
            }
            Values::Struct(members) => {
                let members = members.columns.clone();
                let arrays =
                    members.iter().map(|&member| self.take(member)).collect::<Result<_, _>>()?;
                let fields =
                    members.iter().map(|&member| Arc::clone(&self.nodes[member].field)).collect();
                Arc::new(StructArray::try_new_with_length(fields, arrays, nulls, rows)?)
            }
        })
    }
}

fn primitive<T: ArrowPrimitiveType>(
    values: &mut Vec<T::Native>,
    nulls: Option<NullBuffer>,
    data_type: &DataType,
) -> ArrayRef {
    let values = std::mem::take(values);
    Arc::new(PrimitiveArray::<T>::new(values.into(), nulls).with_data_type(data_type.clone()))
}

fn filler(field: &Field, rows: usize) -> Result<ArrayRef, ArrowError> {
    if field.is_nullable() {
        return Ok(new_null_array(field.data_type(), rows));
    }
    if let DataType::Struct(fields) = field.data_type() {
        let arrays = fields.iter().map(|field| filler(field, rows)).collect::<Result<_, _>>()?;
        return Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), arrays, None, rows)?));
    }
    let zeros = new_null_array(field.data_type(), rows).to_data().into_builder().nulls(None);
    Ok(make_array(zeros.build()?))
}
