//! connector = 'datagen': rows of the declared columns, counted up or drawn at random.
//!
//! Row r is offset r / splits of split r % splits, so the whole does not depend on `datagen.split.num`. A field's kind is
//! `sequence` (start + r; the shortest one with an end ends the source) or `random` (between min and max, or so many
//! letters), a pure function of its seed and r. Dates and timestamps count in days and seconds from their start.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, TimestampMicrosecondType};
use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{ArrowError, DataType, Field, SchemaRef, TimeUnit};

use crate::contract::{ConnectorError, ErrorKind, Source};
use crate::options::{Options, closest};
use crate::registry::SourceSpec;
use crate::source::draws::{Draws, below, letters};
use crate::source::generator::{GeneratorSource, SPLITS_MAX, Sequence};
use crate::source::{refuse_format_and_include, unused_column};
use crate::types::{Length, is_jsonb};

const KNOWN_OPTIONS: &[&str] = &[
    "connector",
    "datagen.rows.per.second",
    "datagen.split.num",
    "datagen.rows.total",
    "fields.*",
];
const FIELD_OPTIONS: &[&str] = &["kind", "start", "end", "min", "max", "length", "seed"];

const DEFAULT_ROWS_PER_SECOND: u64 = 10;
const DEFAULT_TEXT_BYTES: u64 = 10;
/// With 65,536 rows at most in a batch the text of a column stays within 32-bit offsets.
const TEXT_BYTES_MAX: u64 = 16 * 1024;
const SECOND_US: i64 = 1_000_000;
const DAY_US: i64 = 86_400 * SECOND_US;
/// Random dates and timestamps lie in 2020 to 2029 unless told otherwise.
const DEFAULT_TIMES: (&str, &str) = ("2020-01-01", "2029-12-31");

pub(crate) fn open(spec: &SourceSpec) -> Result<Arc<dyn Source>, ConnectorError> {
    Ok(Arc::new(GeneratorSource::new(Datagen::new(spec)?)))
}

/// How a column's values are made, before they are cast to its type. Times are in microseconds since 1970.
#[derive(Clone, Debug, PartialEq)]
enum Filler {
    /// start + r * step.
    Sequence {
        start: i64,
        step: i64,
    },
    /// From min to max, in whole steps.
    Whole {
        min: i64,
        max: i64,
        step: i64,
    },
    Number {
        min: f64,
        max: f64,
    },
    Letters {
        bytes: u64,
    },
    Coin,
}

struct Column {
    filler: Filler,
    draws: Draws,
}

struct Datagen {
    schema: SchemaRef,
    columns: Vec<Column>,
    splits: u32,
    rows: Option<u64>,
    rows_per_second: Option<f64>,
}

impl Datagen {
    fn new(spec: &SourceSpec) -> Result<Datagen, ConnectorError> {
        refuse_format_and_include(spec, "datagen")?;
        let options = &spec.options;
        options.check_known("connector \"datagen\"", KNOWN_OPTIONS)?;
        let fields = spec.columns.fields();
        if fields.is_empty() {
            return Err(ConnectorError::fix("connector \"datagen\" needs declared columns"));
        }
        check_field_options(options, &spec.columns)?;
        let mut rows = options.integer("datagen.rows.total", 0..=u64::MAX)?;
        let mut columns = Vec::with_capacity(fields.len());
        for (index, field) in fields.iter().enumerate() {
            let declared = Declared { options, field, prefix: prefix(field) };
            let (filler, count) = declared.filler()?;
            rows = [rows, count].into_iter().flatten().min();
            let seed = declared.integer("seed", 0..=u64::MAX)?.unwrap_or(index as u64);
            columns.push(Column { filler, draws: Draws::new(seed, 0) });
        }
        let rate = options.integer("datagen.rows.per.second", 0..=1_000_000_000u64)?;
        let rate = rate.unwrap_or(DEFAULT_ROWS_PER_SECOND);
        Ok(Datagen {
            schema: spec.columns.clone(),
            columns,
            splits: options.integer("datagen.split.num", 1..=SPLITS_MAX)?.unwrap_or(1),
            rows,
            rows_per_second: (rate > 0).then_some(rate as f64),
        })
    }
}

fn prefix(field: &Field) -> String {
    format!("fields.{}.", field.name().to_ascii_lowercase())
}

/// Every `fields.*` option names a column and something that a column has.
fn check_field_options(options: &Options, columns: &SchemaRef) -> Result<(), ConnectorError> {
    for (rest, _) in options.with_prefix("fields.") {
        let (name, what) = rest.rsplit_once('.').unwrap_or((rest, ""));
        if !columns.fields().iter().any(|field| field.name().eq_ignore_ascii_case(name)) {
            let error = ConnectorError::fix(format!("option \"fields.{rest}\" names no column"));
            let names = columns.fields().iter().map(|field| field.name().as_str());
            return Err(match closest(name, names) {
                Some(near) => {
                    error.with_hint(format!("Perhaps you meant \"fields.{near}.{what}\"."))
                }
                None => error,
            });
        }
        if !FIELD_OPTIONS.contains(&what) {
            return Err(ConnectorError::fix(format!("unrecognized option \"fields.{rest}\""))
                .with_hint(format!("A field has {}.", FIELD_OPTIONS.join(", "))));
        }
    }
    Ok(())
}

/// A column with the options that are its own.
struct Declared<'a> {
    options: &'a Options,
    field: &'a Field,
    prefix: String,
}

impl Declared<'_> {
    fn key(&self, what: &str) -> String {
        format!("{}{what}", self.prefix)
    }

    fn integer<T>(&self, what: &str, range: RangeInclusive<T>) -> Result<Option<T>, ConnectorError>
    where
        T: std::str::FromStr + PartialOrd + std::fmt::Display,
    {
        self.options.integer(&self.key(what), range)
    }

    /// The filler, and how many rows it lasts.
    fn filler(&self) -> Result<(Filler, Option<u64>), ConnectorError> {
        let sequence = self.options.choice(&self.key("kind"), &["random", "sequence"])? == Some(1);
        let (foreign, needs): (&[&str], _) = match sequence {
            true => (&["min", "max", "length", "seed"], "random"),
            false => (&["start", "end"], "sequence"),
        };
        for what in foreign {
            if self.options.contains(&self.key(what)) {
                let message = format!("option \"{}\" needs kind = '{needs}'", self.key(what));
                return Err(ConnectorError::fix(message));
            }
        }
        let (filler, rows) = match sequence {
            true => self.sequence()?,
            false => (self.random()?, None),
        };
        let foreign: &[&str] = match filler {
            Filler::Sequence { .. } => &[],
            Filler::Whole { .. } | Filler::Number { .. } => &["length"],
            Filler::Letters { .. } => &["min", "max"],
            Filler::Coin => &["min", "max", "length"],
        };
        match foreign.iter().find(|what| self.options.contains(&self.key(what))) {
            Some(what) => Err(ConnectorError::fix(format!(
                "option \"{}\" means nothing for a column of its type",
                self.key(what)
            ))),
            None => Ok((filler, rows)),
        }
    }

    fn sequence(&self) -> Result<(Filler, Option<u64>), ConnectorError> {
        let (step, default_start) = match self.field.data_type() {
            DataType::Date32 => (DAY_US, self.time("start")?.unwrap_or(0)),
            DataType::Timestamp(_, _) => (SECOND_US, self.time("start")?.unwrap_or(0)),
            data_type => {
                if whole_range(data_type).is_none() && !is_number(data_type) {
                    return Err(self.unsupported("sequences"));
                }
                (1, 0)
            }
        };
        let (start, end, last) = match step {
            1 => {
                let data_type = self.field.data_type();
                let range = whole_range(data_type).unwrap_or_else(|| numeric_range(data_type));
                let last = *range.end();
                (
                    self.integer("start", range.clone())?.unwrap_or(0),
                    self.integer("end", range)?,
                    last,
                )
            }
            _ => (default_start, self.time("end")?, i64::MAX),
        };
        if end.is_some_and(|end| end < start) {
            return Err(ConnectorError::fix(format!(
                "option \"{}\" must not be less than \"{}\"",
                self.key("end"),
                self.key("start")
            )));
        }
        // A sequence without an end stops where its type does.
        let steps = end.unwrap_or(last).abs_diff(start) / step as u64;
        Ok((Filler::Sequence { start, step }, Some(steps.saturating_add(1))))
    }

    fn random(&self) -> Result<Filler, ConnectorError> {
        let data_type = self.field.data_type();
        match data_type {
            DataType::Boolean => return Ok(Filler::Coin),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View if !is_jsonb(self.field) => {
                let declared = Length::of(self.field).map(|length| length.chars_max as u64);
                let bytes_max = declared.unwrap_or(TEXT_BYTES_MAX).min(TEXT_BYTES_MAX);
                let bytes = self.integer("length", 0..=bytes_max)?;
                let bytes = bytes.unwrap_or(DEFAULT_TEXT_BYTES.min(bytes_max));
                return Ok(Filler::Letters { bytes });
            }
            _ => {}
        }
        let filler = if let Some(range) = whole_range(data_type) {
            let min = self.integer("min", range.clone())?;
            let max = self.integer("max", range.clone())?;
            let (min, max) = self.ordered(min, max, 0, 1000.min(*range.end()))?;
            Filler::Whole { min, max, step: 1 }
        } else if is_number(data_type) {
            let min = self.options.number(&self.key("min"))?;
            let (min, max) = self.ordered(min, self.options.number(&self.key("max"))?, 0.0, 1.0)?;
            let bounds: ArrayRef = Arc::new(Float64Array::from(vec![min, max]));
            to_type(bounds, data_type).map_err(|_| {
                let message =
                    format!("column \"{}\" cannot hold {min} to {max}", self.field.name());
                ConnectorError::fix(message).with_hint(format!(
                    "Change its type, or the options \"{}\" and \"{}\".",
                    self.key("min"),
                    self.key("max")
                ))
            })?;
            Filler::Number { min, max }
        } else if matches!(data_type, DataType::Date32 | DataType::Timestamp(_, _)) {
            let default = |text| parse_time(text).unwrap_or(0);
            let (first, last) = (default(DEFAULT_TIMES.0), default(DEFAULT_TIMES.1));
            let (min, max) = self.ordered(self.time("min")?, self.time("max")?, first, last)?;
            let step = if *data_type == DataType::Date32 { DAY_US } else { 1 };
            Filler::Whole { min, max, step }
        } else {
            return Err(self.unsupported("random values"));
        };
        Ok(filler)
    }

    /// Min and max in their order; one of them given moves the other's default.
    fn ordered<T: PartialOrd + Copy>(
        &self,
        min: Option<T>,
        max: Option<T>,
        default_min: T,
        default_max: T,
    ) -> Result<(T, T), ConnectorError> {
        let low = |a: T, b: T| if a < b { a } else { b };
        let high = |a: T, b: T| if a < b { b } else { a };
        match (min, max) {
            (Some(min), Some(max)) if max < min => Err(ConnectorError::fix(format!(
                "option \"{}\" must not be less than \"{}\"",
                self.key("max"),
                self.key("min")
            ))),
            (Some(min), max) => Ok((min, max.unwrap_or(high(min, default_max)))),
            (None, Some(max)) => Ok((low(default_min, max), max)),
            (None, None) => Ok((default_min, default_max)),
        }
    }

    fn time(&self, what: &str) -> Result<Option<i64>, ConnectorError> {
        let Some(text) = self.options.get(&self.key(what)) else { return Ok(None) };
        match parse_time(text) {
            Some(time_us) => Ok(Some(time_us)),
            None => Err(self
                .options
                .invalid(&self.key(what))
                .with_detail("It takes a date or a timestamp, such as 2024-01-31 12:00:00.")),
        }
    }

    fn unsupported(&self, what: &str) -> ConnectorError {
        let message =
            format!("connector \"datagen\" makes no {what} for \"{}\"", self.field.name());
        ConnectorError::fix(message).with_detail(
            "It knows numbers, boolean, varchar, date and timestamps; sequences of numbers, dates and timestamps.",
        )
    }
}

/// The range of a whole-number type.
fn whole_range(data_type: &DataType) -> Option<RangeInclusive<i64>> {
    match data_type {
        DataType::Int8 => Some(i8::MIN.into()..=i8::MAX.into()),
        DataType::Int16 => Some(i16::MIN.into()..=i16::MAX.into()),
        DataType::Int32 => Some(i32::MIN.into()..=i32::MAX.into()),
        DataType::Int64 => Some(i64::MIN..=i64::MAX),
        _ => None,
    }
}

/// The whole numbers that a numeric column holds, as far as bigint goes; floats hold all of them, more or less.
fn numeric_range(data_type: &DataType) -> RangeInclusive<i64> {
    let &DataType::Decimal128(precision, scale) = data_type else { return i64::MIN..=i64::MAX };
    let digits = u32::try_from(i32::from(precision) - i32::from(scale)).unwrap_or(0);
    let last = 10i64.checked_pow(digits).map_or(i64::MAX, |limit| limit - 1);
    -last..=last
}

fn is_number(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float32 | DataType::Float64 | DataType::Decimal128(_, _))
}

/// Microseconds since 1970 of a date or timestamp.
fn parse_time(text: &str) -> Option<i64> {
    let utc: arrow_array::timezone::Tz = "+00:00".parse().ok()?;
    let parsed = arrow_cast::parse::string_to_datetime(&utc, text.trim());
    parsed.ok().map(|time| time.timestamp_micros())
}

impl Column {
    /// The values of `rows`, cast to the field's type.
    fn make(&self, rows: &[u64], data_type: &DataType) -> Result<ArrayRef, ArrowError> {
        let draws = self.draws;
        let array: ArrayRef = match self.filler {
            Filler::Sequence { start, step } => {
                let value = |row: u64| start.wrapping_add((row as i64).wrapping_mul(step));
                Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| value(*row))))
            }
            Filler::Whole { min, max, step } => {
                // The distance fits u64; one more would not for the whole range of bigint, whose last value is then left out.
                let steps = (max.abs_diff(min) / step as u64).saturating_add(1);
                let value = |row: u64| {
                    min.wrapping_add((below(draws.at(row), steps) as i64).wrapping_mul(step))
                };
                Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| value(*row))))
            }
            Filler::Number { min, max } => {
                let unit = |row: u64| (draws.at(row) >> 11) as f64 / (1u64 << 53) as f64;
                let value = |row: u64| min + unit(row) * (max - min);
                Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| value(*row))))
            }
            Filler::Coin => {
                let values: Vec<bool> = rows.iter().map(|row| draws.at(*row) & 1 == 1).collect();
                Arc::new(BooleanArray::from(values))
            }
            Filler::Letters { bytes } => {
                Arc::new(StringArray::from_iter_values(rows.iter().map(|row| {
                    let mut text = Vec::with_capacity(bytes as usize + 8);
                    letters(draws.of(*row), bytes as usize, &mut text);
                    String::from_utf8(text).expect("letters are ASCII")
                })))
            }
        };
        to_type(array, data_type)
    }
}

/// Whole numbers become times as microseconds since 1970, everything else as SQL's casts do.
fn to_type(array: ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let cast = |array: &ArrayRef, to: &DataType| cast_with_options(array, to, &options);
    match data_type {
        DataType::Date32 => {
            let micros = array.as_primitive::<arrow_array::types::Int64Type>();
            let days = micros.unary::<_, Date32Type>(|us| us.div_euclid(DAY_US) as i32);
            Ok(Arc::new(days))
        }
        DataType::Timestamp(_, zone) => {
            let micros = array.as_primitive::<arrow_array::types::Int64Type>();
            let micros = micros.reinterpret_cast::<TimestampMicrosecondType>();
            let micros: ArrayRef = Arc::new(micros.with_timezone_opt(zone.clone()));
            match data_type {
                DataType::Timestamp(TimeUnit::Microsecond, _) => Ok(micros),
                other => cast(&micros, other),
            }
        }
        same if array.data_type() == same => Ok(array),
        other => cast(&array, other),
    }
}

impl Sequence for Datagen {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn splits(&self) -> u32 {
        self.splits
    }

    fn end(&self, split: u32) -> Option<u64> {
        Some(self.rows?.saturating_sub(split.into()).div_ceil(self.splits.into()))
    }

    fn offsets_per_second(&self) -> Option<f64> {
        self.rows_per_second
    }

    fn chunk_rows_max(&self) -> usize {
        usize::MAX
    }

    fn rows(
        &self,
        split: u32,
        from: u64,
        until: u64,
        rows_max: usize,
        wanted: &[bool],
    ) -> Result<(RecordBatch, u64), ConnectorError> {
        let end = until.min(from.saturating_add(rows_max as u64));
        let row = |offset: u64| offset * u64::from(self.splits) + u64::from(split);
        let rows: Vec<u64> = (from..end).map(row).collect();
        let fields = self.schema.fields().iter().zip(&self.columns).zip(wanted);
        let arrays: Result<Vec<_>, _> = fields
            .map(|((field, column), wanted)| match wanted {
                true => column.make(&rows, field.data_type()),
                false => Ok(unused_column(field, rows.len())),
            })
            .collect();
        let count = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let made = arrays.and_then(|arrays| {
            RecordBatch::try_new_with_options(self.schema.clone(), arrays, &count)
        });
        // A decimal too small for its random range is only noticed here: the declaration is at fault.
        made.map(|batch| (batch, end)).map_err(|error| {
            ConnectorError::new(ErrorKind::Fix, "could not make datagen rows")
                .with_detail(error.to_string())
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::conformance::{self, Stretch};
    use crate::contract::{SourceOffset, SplitId, SplitRange};
    use arrow_array::types::Int32Type;
    use arrow_schema::Schema;
    use std::time::Duration;

    fn every_type() -> Vec<Field> {
        let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        vec![
            Field::new("id", DataType::Int32, false),
            Field::new("small", DataType::Int16, true),
            Field::new("big", DataType::Int64, true),
            Field::new("ratio", DataType::Float64, true),
            Field::new("amount", DataType::Decimal128(10, 2), true),
            Field::new("name", DataType::Utf8, false),
            Field::new("flag", DataType::Boolean, true),
            Field::new("day", DataType::Date32, true),
            Field::new("at", zoned, true),
        ]
    }

    fn try_open(
        fields: Vec<Field>,
        options: &[(&str, &str)],
    ) -> Result<Arc<dyn Source>, ConnectorError> {
        let connector = [("connector", "datagen")];
        open(&SourceSpec {
            name: "d".into(),
            options: Options::new(connector.into_iter().chain(options.iter().copied())).unwrap(),
            format: None,
            encode: None,
            columns: Arc::new(Schema::new(fields)),
            primary_key: vec![],
            include: vec![],
        })
    }

    fn read(source: &dyn Source, until: u64) -> RecordBatch {
        let range = SplitRange {
            split: SplitId("0".into()),
            from: SourceOffset(0),
            until: Some(SourceOffset(until)),
        };
        conformance::read(source, range, None, 4096, Duration::from_secs(10)).unwrap().rows
    }

    #[test]
    fn datagen_holds_the_contract_of_sources() {
        for splits in ["1", "3"] {
            let source = try_open(
                every_type(),
                &[
                    ("fields.id.kind", "sequence"),
                    ("fields.name.length", "17"),
                    ("datagen.split.num", splits),
                    ("datagen.rows.per.second", "0"),
                ],
            );
            let stretch = Stretch { offsets_max: 3000, endless: true, ..Stretch::default() };
            conformance::check(source.unwrap().as_ref(), stretch).unwrap();
        }
    }

    #[test]
    fn the_shortest_sequence_ends_the_source() {
        let source = try_open(
            every_type(),
            &[
                ("fields.id.kind", "sequence"),
                ("fields.id.start", "5"),
                ("fields.id.end", "9"),
                ("fields.small.kind", "sequence"),
                ("fields.day.kind", "sequence"),
                ("fields.day.start", "2024-02-28"),
                ("datagen.rows.total", "100"),
                ("datagen.rows.per.second", "0"),
            ],
        )
        .unwrap();
        let bounds = source.bounds(&SplitId("0".into()), Duration::ZERO).unwrap();
        assert_eq!(bounds.latest, SourceOffset(5));
        let rows = read(source.as_ref(), 5);
        assert_eq!(rows.column(0).as_primitive::<Int32Type>().values(), &[5, 6, 7, 8, 9]);
        let days = rows.column(7).as_primitive::<Date32Type>();
        assert_eq!(days.value_as_date(2).unwrap().to_string(), "2024-03-01");
    }

    #[test]
    fn random_values_stay_between_min_and_max() {
        let source = try_open(
            every_type(),
            &[
                ("fields.id.min", "-3"),
                ("fields.id.max", "3"),
                ("fields.amount.min", "10"),
                ("fields.amount.max", "20"),
                ("fields.day.min", "2024-01-01"),
                ("fields.day.max", "2024-01-02"),
                ("fields.big.min", "-9223372036854775808"),
                ("fields.big.max", "9223372036854775807"),
            ],
        )
        .unwrap();
        let rows = read(source.as_ref(), 2000);
        let ids = rows.column(0).as_primitive::<Int32Type>();
        let (min, max) = (ids.values().iter().min(), ids.values().iter().max());
        assert_eq!((min, max), (Some(&-3), Some(&3)));
        let amounts = rows.column(4).as_primitive::<arrow_array::types::Decimal128Type>();
        assert!(amounts.values().iter().all(|cents| (1000..=2000).contains(cents)));
        let days = rows.column(7).as_primitive::<Date32Type>();
        assert!(days.values().iter().all(|day| (19723..=19724).contains(day)));
    }

    #[test]
    fn values_that_the_column_could_not_hold_are_refused_at_once() {
        let typed = |data_type: DataType, marks: &[(&str, &str)], options: &[(&str, &str)]| {
            let marks = marks.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let field = Field::new("x", data_type, true).with_metadata(marks);
            try_open(vec![field], options)
        };
        let cents = || DataType::Decimal128(3, 2);
        let error = typed(cents(), &[], &[("fields.x.max", "10")]).err().unwrap();
        assert_eq!(error.message, "column \"x\" cannot hold 0 to 10");
        let fast = ("datagen.rows.per.second", "0");
        let counted = typed(cents(), &[], &[("fields.x.kind", "sequence"), fast]).unwrap();
        let bounds = counted.bounds(&SplitId("0".into()), Duration::ZERO).unwrap();
        assert_eq!(bounds.latest, SourceOffset(10));
        let varchar = [("tidewater.type", "varchar"), ("tidewater.typmod", "3")];
        typed(DataType::Utf8, &varchar, &[("fields.x.length", "4")]).err().unwrap();
        let short = read(typed(DataType::Utf8, &varchar, &[]).unwrap().as_ref(), 5);
        assert!(short.column(0).as_string::<i32>().iter().all(|text| text.unwrap().len() == 3));
        let jsonb = [("tidewater.type", "jsonb")];
        let error = typed(DataType::Utf8, &jsonb, &[]).err().unwrap();
        assert_eq!(error.message, "connector \"datagen\" makes no random values for \"x\"");
        let error = typed(DataType::Int32, &[], &[("fields.x.length", "4")]).err().unwrap();
        assert_eq!(
            error.message,
            "option \"fields.x.length\" means nothing for a column of its type"
        );
    }

    #[test]
    fn wrong_field_options_are_refused() {
        let message =
            |key: &str, value: &str| try_open(every_type(), &[(key, value)]).err().unwrap().message;
        assert_eq!(
            message("fields.nam.length", "3"),
            "option \"fields.nam.length\" names no column"
        );
        assert_eq!(message("fields.name.size", "3"), "unrecognized option \"fields.name.size\"");
        assert_eq!(
            message("fields.id.start", "3"),
            "option \"fields.id.start\" needs kind = 'sequence'"
        );
        assert_eq!(
            message("fields.name.kind", "sequence"),
            "connector \"datagen\" makes no sequences for \"name\""
        );
        assert_eq!(
            message("fields.small.max", "40000"),
            "invalid value for option \"fields.small.max\": \"40000\""
        );
    }
}
