//! `to_char(value, pattern)`, `to_timestamp(text, pattern)` and `to_date(text, pattern)` with PostgreSQL's patterns.
//!
//! Owns how values become what a pattern writes, by type; the patterns themselves are [`super::moment_pattern`]'s and
//! [`super::number_pattern`]'s, reading by them [`super::moment_reader`]'s. Moments with a zone are written in the session's.

use std::hash::Hash;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float64Type, Int64Type, IntervalMonthDayNanoType,
    TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, PrimitiveArray, StringArray};
use arrow_schema::{DataType, FieldRef};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::math::any_arguments;
use super::moment_pattern::{self, Calendar, Moment, Part};
use super::moment_reader;
use super::number_pattern::{Digits, NumberPattern};
use crate::error::{Error, Result, SqlState};
use crate::query::arithmetic::{bounded, power_of_ten, round_quotient};
use crate::query::errors::{from_arrow, to_datafusion, undefined_function};
use crate::query::moments;
use crate::query::sql_types::{numeric, pg_name, plain, timestamptz};
use crate::query::text;
use crate::types::{TimeZone, civil_of_days, days_of_civil};

/// The family.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    vec![
        Arc::new(ScalarUDF::from(ToChar { signature: any_arguments(Volatility::Immutable) })),
        Arc::new(ScalarUDF::from(Reading::new("to_timestamp", timestamptz()))),
        Arc::new(ScalarUDF::from(Reading::new("to_date", DataType::Date32))),
    ]
}

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;
/// The Julian day of 1970-01-01.
const JULIAN_1970: i64 = 2_440_588;
/// Digits that a double surely has.
const FLOAT_DIGITS: usize = 15;

fn undefined(name: &str, fields: &[FieldRef]) -> Error {
    undefined_function(name, &fields.iter().map(|f| pg_name(f)).collect::<Vec<_>>())
}

/// Evaluates in the session's time zone: once where all arguments are constants, not at all where one is NULL by its type.
fn evaluate(
    args: &ScalarFunctionArgs,
    returned: &DataType,
    compute: impl FnOnce(&[ArrayRef], &str) -> Result<ArrayRef>,
) -> DfResult<ColumnarValue> {
    let zone = args.config_options.execution.time_zone.as_deref().unwrap_or_default();
    let scalar = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
    let rows = if scalar { 1 } else { args.number_rows };
    let arrays = args.args.iter().map(|a| a.to_array(rows)).collect::<DfResult<Vec<_>>>()?;
    let values = if arrays.iter().any(|array| array.data_type().is_null()) {
        arrow_array::new_null_array(returned, rows)
    } else {
        compute(&arrays, zone).map_err(to_datafusion)?
    };
    Ok(if scalar {
        ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?)
    } else {
        ColumnarValue::Array(values)
    })
}

/// `to_char(value, pattern)`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ToChar {
    signature: Signature,
}

impl ScalarUDFImpl for ToChar {
    fn name(&self) -> &str {
        "to_char"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        use DataType as T;
        let served = |t: &T| {
            matches!(
                t,
                T::Date32 | T::Timestamp(..) | T::Interval(_) | T::Time64(_) | T::Decimal128(..)
            ) || matches!(t, T::Int16 | T::Int32 | T::Int64 | T::Float32 | T::Float64 | T::Null)
        };
        match args.arg_fields {
            [value, pattern]
                if served(value.data_type())
                    && matches!(pattern.data_type(), T::Utf8 | T::Null) =>
            {
                Ok(plain(T::Utf8))
            }
            fields => Err(to_datafusion(undefined("to_char", fields))),
        }
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        evaluate(&args, &DataType::Utf8, |arrays, zone| {
            let written = write_column(&arrays[0], arrays[1].as_string::<i32>(), zone)?;
            Ok(Arc::new(written))
        })
    }
}

fn write_column(values: &ArrayRef, patterns: &StringArray, zone: &str) -> Result<StringArray> {
    use DataType as T;
    let wide = |to: &T| arrow_cast::cast(values, to).map_err(from_arrow);
    match values.data_type() {
        T::Int16 | T::Int32 | T::Int64 => {
            let wide = wide(&T::Int64)?;
            let wide = wide.as_primitive::<Int64Type>();
            write_numbers(
                wide,
                patterns,
                |v, places| exact_digits(v.into(), 0, places),
                |v, places| exact_scientific(v.into(), 0, places),
            )
        }
        T::Decimal128(_, scale) => {
            let values = values.as_primitive::<Decimal128Type>();
            write_numbers(
                values,
                patterns,
                |v, places| exact_digits(v, *scale, places),
                |v, places| exact_scientific(v, *scale, places),
            )
        }
        T::Float32 | T::Float64 => {
            let wide = wide(&T::Float64)?;
            let wide = wide.as_primitive::<Float64Type>();
            write_numbers(
                wide,
                patterns,
                |v, places| Ok(float_digits(v, places)),
                |v, places| with_exponent(&format!("{v:.places$e}")),
            )
        }
        T::Time64(_) => write_column(&moments::times_as_intervals(values)?, patterns, zone),
        T::Interval(_) => {
            let intervals = values.as_primitive::<IntervalMonthDayNanoType>();
            write_moments(patterns, |row| {
                intervals.is_valid(row).then(|| {
                    let value = intervals.value(row);
                    elapsed(value.months.into(), value.days.into(), value.nanoseconds / 1000)
                })
            })
        }
        T::Date32 => {
            let midnight = text::local_to_instant(&moments::midnights(values)?, zone)?;
            write_column(&midnight, patterns, zone)
        }
        T::Timestamp(_, with_zone) => {
            let zone = with_zone.as_ref().and_then(|_| TimeZone::parse(zone));
            let times = values.as_primitive::<TimestampMicrosecondType>();
            write_moments(patterns, |row| {
                let finite =
                    times.is_valid(row) && !matches!(times.value(row), i64::MIN | i64::MAX);
                finite.then(|| moment(times.value(row), zone))
            })
        }
        other => Err(Error::internal(format!("to_char of {other}"))),
    }
}

/// Keeps what a pattern was read to while the next one is the same.
struct Memo<P> {
    pattern: Option<(String, P)>,
}

impl<P> Memo<P> {
    fn get(&mut self, pattern: &str, parse: impl Fn(&str) -> Result<P>) -> Result<&P> {
        if self.pattern.as_ref().is_none_or(|(known, _)| known != pattern) {
            self.pattern = Some((pattern.to_owned(), parse(pattern)?));
        }
        let (_, parsed) = self.pattern.as_ref().expect("it was set above");
        Ok(parsed)
    }
}

fn write_moments(
    patterns: &StringArray,
    moment_of: impl Fn(usize) -> Option<Moment>,
) -> Result<StringArray> {
    let mut memo: Memo<Vec<Part>> = Memo { pattern: None };
    let mut written = String::new();
    let rows = patterns.iter().enumerate().map(|(row, pattern)| {
        // PostgreSQL gives NULL for an empty pattern.
        let Some(pattern) = pattern.filter(|p| !p.is_empty()) else { return Ok(None) };
        let Some(moment) = moment_of(row) else { return Ok(None) };
        let parts = memo.get(pattern, |p| Ok(moment_pattern::parse(p)))?;
        written.clear();
        moment_pattern::write(parts, &moment, &mut written)?;
        Ok(Some(written.clone()))
    });
    rows.collect()
}

fn write_numbers<T: arrow_array::ArrowPrimitiveType>(
    values: &PrimitiveArray<T>,
    patterns: &StringArray,
    digits: impl Fn(T::Native, usize) -> Result<Digits>,
    scientific: impl Fn(T::Native, usize) -> String,
) -> Result<StringArray> {
    let mut memo: Memo<NumberPattern> = Memo { pattern: None };
    let rows = values.iter().zip(patterns).map(|(value, pattern)| {
        let (Some(value), Some(pattern)) = (value, pattern) else { return Ok(None) };
        let pattern = memo.get(pattern, NumberPattern::parse)?;
        if pattern.scientific {
            return Ok(Some(scientific(value, pattern.fraction)));
        }
        let mut written = String::new();
        let mut digits = digits(value, pattern.places())?;
        if pattern.shift > 0 {
            digits.text.retain(|c| c != '.');
            let zeros = digits.text.len() - digits.text.trim_start_matches('0').len();
            digits.text.drain(..zeros.min(digits.text.len() - 1));
        }
        pattern.write(&digits, &mut written);
        Ok(Some(written))
    });
    rows.collect()
}

/// A number of 10^-scale rounded half away from zero to `places` fraction digits.
fn exact_digits(value: i128, scale: i8, places: usize) -> Result<Digits> {
    let kept = scale.min(places.min(usize::from(i8::MAX.unsigned_abs())) as i8);
    let value = arrow_buffer::i256::from_i128(value);
    let rounded = bounded(round_quotient(value, power_of_ten(scale - kept)))?;
    let kept = kept.unsigned_abs() as usize;
    let mut text = format!("{:0width$}", rounded.unsigned_abs(), width = kept + 1);
    text.insert(text.len() - kept, '.');
    text.push_str(&"0".repeat(places - kept));
    Ok(Digits { negative: rounded < 0, text: text.trim_end_matches('.').to_owned() })
}

/// A number of 10^-scale as `d.ddde+xx`, rounded half away from zero to `places` fraction digits.
fn exact_scientific(value: i128, scale: i8, places: usize) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut exponent = digits.len() as i32 - 1 - i32::from(scale);
    if value == 0 {
        exponent = 0;
    }
    let mut kept: Vec<u8> =
        digits.bytes().chain(std::iter::repeat(b'0')).take(places + 1).collect();
    if digits.as_bytes().get(places + 1).is_some_and(|next| *next >= b'5') {
        let mut at = kept.len();
        while at > 0 && kept[at - 1] == b'9' {
            at -= 1;
            kept[at] = b'0';
        }
        match at {
            0 => {
                kept.insert(0, b'1');
                kept.pop();
                exponent += 1;
            }
            at => kept[at - 1] += 1,
        }
    }
    let kept: String = kept.into_iter().map(char::from).collect();
    let sign = if value < 0 { "-" } else { "" };
    let point = if places > 0 { "." } else { "" };
    with_exponent(&format!("{sign}{}{point}{}e{exponent}", &kept[..1], &kept[1..]))
}

/// `-1.2e5` as PostgreSQL writes it: a blank for the missing sign, and two digits of exponent at least.
fn with_exponent(text: &str) -> String {
    let blank = if text.starts_with('-') { "" } else { " " };
    let Some((mantissa, exponent)) = text.split_once('e') else {
        return format!("{blank}{text}");
    };
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{blank}{mantissa}e{sign}{digits:0>2}")
}

fn float_digits(value: f64, places: usize) -> Digits {
    if !value.is_finite() {
        let text = if value.is_nan() { "NaN" } else { "Infinity" };
        return Digits { negative: value < 0.0, text: text.to_owned() };
    }
    let whole = format!("{:.0}", value.abs()).len();
    let shown = places.min(FLOAT_DIGITS.saturating_sub(whole));
    Digits { negative: value.is_sign_negative(), text: format!("{:.shown$}", value.abs()) }
}

/// An interval's parts.
fn elapsed(months: i64, days: i64, micros: i64) -> Moment {
    let seconds = micros / MICROS_PER_SECOND;
    Moment {
        year: months / 12,
        month: months % 12,
        day: days,
        hour: seconds / 3600,
        minute: seconds / 60 % 60,
        second: seconds % 60,
        micros: micros % MICROS_PER_SECOND,
        day_of_year: months * 30 + days,
        calendar: None,
    }
}

/// A moment's parts: on the zone's clock, or as it stands where there is no zone.
fn moment(micros: i64, zone: Option<TimeZone>) -> Moment {
    let offset = zone.map_or(0, |zone| i64::from(zone.offset_at_instant(micros)));
    let local = micros.saturating_add(offset * MICROS_PER_SECOND);
    let (days, of_day) = (local.div_euclid(MICROS_PER_DAY), local.rem_euclid(MICROS_PER_DAY));
    let (year, month, day) = civil_of_days(days);
    let seconds = of_day / MICROS_PER_SECOND;
    // 1970-01-01 was a Thursday. A week belongs to the year of its Thursday.
    let weekday = (days + 4).rem_euclid(7);
    let thursday = days - (weekday + 6) % 7 + 3;
    let (iso_year, _, _) = civil_of_days(thursday);
    Moment {
        year,
        month: month.into(),
        day: day.into(),
        hour: seconds / 3600,
        minute: seconds / 60 % 60,
        second: seconds % 60,
        micros: of_day % MICROS_PER_SECOND,
        day_of_year: days - days_of_civil(year, 1, 1) + 1,
        calendar: Some(Calendar {
            weekday,
            iso_year,
            iso_week: (thursday - days_of_civil(iso_year, 1, 1)) / 7 + 1,
            julian_day: days + JULIAN_1970,
            zone: zone.map_or_else(String::new, |zone| zone.abbreviation_at(micros)),
            offset,
        }),
    }
}

/// `to_timestamp(text, pattern)`, `to_timestamp(double precision)` and `to_date(text, pattern)`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Reading {
    name: &'static str,
    returned: DataType,
    signature: Signature,
}

impl Reading {
    fn new(name: &'static str, returned: DataType) -> Reading {
        Reading { name, returned, signature: any_arguments(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Reading {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(self.returned.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        use DataType as T;
        let text = |field: &FieldRef| matches!(field.data_type(), T::Utf8 | T::Null);
        match args.arg_fields {
            [value, pattern] if text(value) && text(pattern) => Ok(plain(self.returned.clone())),
            [seconds]
                if self.name == "to_timestamp"
                    && (seconds.data_type().is_numeric() || seconds.data_type().is_null()) =>
            {
                Ok(plain(self.returned.clone()))
            }
            fields => Err(to_datafusion(undefined(self.name, fields))),
        }
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        evaluate(&args, &self.returned, |arrays, zone| self.read(arrays, zone))
    }
}

impl Reading {
    fn read(&self, arrays: &[ArrayRef], zone: &str) -> Result<ArrayRef> {
        let [values, patterns] = arrays else { return from_epoch(&arrays[0]) };
        let patterns = patterns.as_string::<i32>();
        let mut memo: Memo<Vec<Part>> = Memo { pattern: None };
        let texts = values.as_string::<i32>().iter().zip(patterns);
        let rows = texts.map(|(value, pattern)| {
            let (Some(value), Some(pattern)) = (value, pattern) else { return Ok(None) };
            let parts = memo.get(pattern, |p| Ok(moment_pattern::parse(p)))?;
            moment_reader::read(value, parts).map(Some)
        });
        if self.returned == DataType::Date32 {
            let days = rows.map(|read| match read? {
                Some(read) => moments::finite_date(read.days).map(Some),
                None => Ok(None),
            });
            return Ok(Arc::new(days.collect::<Result<PrimitiveArray<Date32Type>>>()?));
        }
        let zone = TimeZone::parse(zone).unwrap_or(TimeZone::UTC);
        let instants = rows.map(|read| match read? {
            Some(read) => instant(&read, &zone).map(Some),
            None => Ok(None),
        });
        let instants = instants.collect::<Result<PrimitiveArray<TimestampMicrosecondType>>>()?;
        Ok(Arc::new(instants.with_data_type(timestamptz())))
    }
}

/// The instant of what was read, whose clock is the zone's unless the text says another.
fn instant(read: &moment_reader::Read, zone: &TimeZone) -> Result<i64> {
    let out_of_range = || Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp out of range");
    let midnight = read.days.checked_mul(MICROS_PER_DAY).ok_or_else(out_of_range)?;
    let local = midnight.checked_add(read.micros_of_day).ok_or_else(out_of_range)?;
    let offset = read.offset.unwrap_or_else(|| i64::from(zone.offset_at_local(local)));
    let instant = local.checked_sub(offset * MICROS_PER_SECOND).ok_or_else(out_of_range)?;
    moments::finite_timestamp(instant)
}

/// Seconds since 1970 as instants, rounded to microseconds; infinities stay such.
fn from_epoch(seconds: &ArrayRef) -> Result<ArrayRef> {
    let out_of_range = |seconds: f64| {
        Error::new(
            SqlState::DATETIME_FIELD_OVERFLOW,
            format!("timestamp out of range: \"{seconds}\""),
        )
    };
    let seconds = match seconds.data_type() {
        DataType::Decimal128(..) => {
            let exact = arrow_cast::cast(seconds, &numeric(6)).map_err(from_arrow)?;
            arrow_cast::cast(&exact, &DataType::Float64).map_err(from_arrow)?
        }
        _ => arrow_cast::cast(seconds, &DataType::Float64).map_err(from_arrow)?,
    };
    let instants: PrimitiveArray<TimestampMicrosecondType> =
        seconds.as_primitive::<Float64Type>().try_unary(|seconds| {
            if seconds.is_nan() {
                return Err(Error::new(
                    SqlState::DATETIME_FIELD_OVERFLOW,
                    "timestamp cannot be NaN",
                ));
            }
            if seconds.is_infinite() {
                return Ok(if seconds > 0.0 { i64::MAX } else { i64::MIN });
            }
            let micros = (seconds * 1e6).round();
            if micros.abs() < 9.2e18 { Ok(micros as i64) } else { Err(out_of_range(seconds)) }
        })?;
    Ok(Arc::new(instants.with_data_type(timestamptz())))
}
