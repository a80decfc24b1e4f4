//! Dates and times: extract, date_part, date_trunc, timezone (AT TIME ZONE) and the clock.
//!
//! Values are microseconds; timestamptz is taken apart in the session's zone. The clock is read once a statement, when its
//! plan is simplified; nothing here reads it while rows are evaluated.

use std::hash::Hash;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, IntervalMonthDayNanoType, Time64MicrosecondType,
    TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, Float64Array, PrimitiveArray, StringArray};
use arrow_buffer::IntervalMonthDayNano;
use arrow_schema::{DataType, FieldRef, TimeUnit};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::math::any_arguments;
use crate::error::{Error, Result, SqlState};
use crate::query::cast::cast_array;
use crate::query::errors::{from_arrow, to_datafusion, undefined_function};
use crate::query::moments::{finite_timestamp, is_infinite, is_infinite_date, midnights};
use crate::query::sql_types::{interval, numeric, pg_name, plain, timestamp, timestamptz};
use crate::query::text;
use crate::types::{TimeZone, civil_of_days, days_of_civil};

/// The family.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    let mut functions = vec![
        interval_length(),
        Arc::new(ScalarUDF::from(Part::new("extract", true))),
        Arc::new(ScalarUDF::from(Part::new("date_part", false))),
        Arc::new(ScalarUDF::from(Truncate { signature: any_arguments(Volatility::Immutable) })),
        Arc::new(ScalarUDF::from(Zone { signature: Signature::any(2, Volatility::Immutable) })),
    ];
    let clocks = [
        ("now", timestamptz()),
        ("current_timestamp", timestamptz()),
        ("transaction_timestamp", timestamptz()),
        ("statement_timestamp", timestamptz()),
        ("clock_timestamp", timestamptz()),
        ("localtimestamp", timestamp()),
        ("localtime", DataType::Time64(TimeUnit::Microsecond)),
        ("current_date", DataType::Date32),
        ("today", DataType::Date32),
    ];
    functions.extend(
        clocks.map(|(name, returned)| Arc::new(ScalarUDF::from(Clock::new(name, returned)))),
    );
    functions
}

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// The Julian day of 1970-01-01.
const JULIAN_1970: i64 = 2_440_588;

fn out_of_range() -> Error {
    Error::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp out of range")
}

fn field_name(literal: Option<&ScalarValue>) -> String {
    literal.and_then(|value| value.try_as_str().flatten()).unwrap_or_default().to_ascii_lowercase()
}

/// The singular name of a field, as PostgreSQL's abbreviations and plurals have it.
fn unit(name: &str) -> &str {
    match name {
        "y" | "yr" | "yrs" | "years" => "year",
        "mon" | "mons" | "months" => "month",
        "d" | "days" => "day",
        "h" | "hr" | "hrs" | "hours" => "hour",
        "m" | "min" | "mins" | "minutes" => "minute",
        "s" | "sec" | "secs" | "seconds" => "second",
        "ms" | "msec" | "msecs" | "millisecond" => "milliseconds",
        "us" | "usec" | "usecs" | "microsecond" => "microseconds",
        "w" | "weeks" => "week",
        "decades" => "decade",
        "centuries" | "c" | "cent" => "century",
        "millennia" | "mil" | "mils" => "millennium",
        "quarters" | "qtr" => "quarter",
        other => other,
    }
}

/// Fraction digits of a field's value.
fn scale_of(unit: &str, from: &DataType) -> i8 {
    match unit {
        "epoch" if *from == DataType::Date32 => 0,
        "second" | "epoch" => 6,
        "milliseconds" => 3,
        _ => 0,
    }
}

/// `extract(field, value)` as numeric, `date_part(field, value)` as double precision.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Part {
    name: &'static str,
    exact: bool,
    signature: Signature,
}

impl Part {
    fn new(name: &'static str, exact: bool) -> Part {
        Part { name, exact, signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Part {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(if self.exact { numeric(6) } else { DataType::Float64 })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let from = args.arg_fields[1].data_type();
        let dated = matches!(
            from,
            DataType::Date32
                | DataType::Timestamp(..)
                | DataType::Time64(_)
                | DataType::Interval(_)
                | DataType::Null
        );
        if !dated {
            let name = if self.exact { "pg_catalog.extract" } else { self.name };
            let error =
                undefined_function(name, &["unknown".to_owned(), pg_name(&args.arg_fields[1])]);
            return Err(to_datafusion(error));
        }
        if !self.exact {
            return Ok(plain(DataType::Float64));
        }
        let name = field_name(args.scalar_arguments[0]);
        Ok(plain(numeric(scale_of(unit(&name), from))))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let name = constant(&args.args[0])?;
        let zone = args.config_options.execution.time_zone.clone().unwrap_or_default();
        with_column(&args.args[1], args.number_rows, |array| {
            let unit = unit(&name);
            let scale = scale_of(unit, array.data_type());
            let infinity = if self.exact { Infinity::Refused } else { Infinity::Extreme };
            let values = parts(array, unit, scale, &zone, infinity)?;
            if self.exact {
                let values = values.with_precision_and_scale(38, scale).map_err(from_arrow)?;
                return Ok(Arc::new(values) as ArrayRef);
            }
            let divisor = 10_f64.powi(scale.into());
            let doubles: Float64Array = values.unary(|v| match v {
                i128::MAX => f64::INFINITY,
                i128::MIN => f64::NEG_INFINITY,
                v => v as f64 / divisor,
            });
            Ok(Arc::new(doubles) as ArrayRef)
        })
    }
}

fn constant(value: &ColumnarValue) -> DfResult<String> {
    match value {
        ColumnarValue::Scalar(value) => Ok(field_name(Some(value))),
        ColumnarValue::Array(array) if array.len() == 1 => {
            Ok(field_name(Some(&ScalarValue::try_from_array(array, 0)?)))
        }
        ColumnarValue::Array(_) => Err(to_datafusion(Error::unsupported(
            "the first argument must be a constant for all rows",
        ))),
    }
}

/// A constant text as it was written.
fn constant_text(value: &ColumnarValue) -> DfResult<String> {
    let value = match value {
        ColumnarValue::Scalar(value) => value.clone(),
        ColumnarValue::Array(array) if array.len() == 1 => ScalarValue::try_from_array(array, 0)?,
        ColumnarValue::Array(_) => {
            return Err(to_datafusion(Error::unsupported("a time zone that differs by row")));
        }
    };
    Ok(value.try_as_str().flatten().unwrap_or_default().to_owned())
}

fn unknown_zone(zone: &str) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, format!("time zone \"{zone}\" not recognized"))
}

/// The fixed zone that lies an interval east of UTC, as POSIX names it.
fn zone_of_interval(value: IntervalMonthDayNano) -> Result<String> {
    if value.months != 0 || value.days != 0 {
        let message = "interval time zone must not include months or days";
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    let east = value.nanoseconds / 1_000_000_000;
    let (sign, west) = if east < 0 { ('+', -east) } else { ('-', east) };
    Ok(format!("<zone>{sign}{:02}:{:02}:{:02}", west / 3600, west / 60 % 60, west % 60))
}

/// Applies a function of a column to an argument, a scalar giving a scalar.
pub(super) fn with_column(
    value: &ColumnarValue,
    _rows: usize,
    compute: impl Fn(&ArrayRef) -> Result<ArrayRef>,
) -> DfResult<ColumnarValue> {
    Ok(match value {
        ColumnarValue::Array(array) => ColumnarValue::Array(compute(array).map_err(to_datafusion)?),
        ColumnarValue::Scalar(value) => {
            let array = compute(&value.to_array()?).map_err(to_datafusion)?;
            ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)
        }
    })
}

fn unknown_unit(unit: &str, type_name: &str) -> Error {
    Error::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("unit \"{unit}\" not recognized for type {type_name}"),
    )
}

/// Fields that some type has.
const UNITS: &[&str] = &[
    "century",
    "day",
    "decade",
    "dow",
    "doy",
    "epoch",
    "hour",
    "isodow",
    "isoyear",
    "julian",
    "microseconds",
    "millennium",
    "milliseconds",
    "minute",
    "month",
    "quarter",
    "second",
    "timezone",
    "timezone_hour",
    "timezone_minute",
    "week",
    "year",
];

/// The refusal of a field that this type does not have.
fn unserved_unit(unit: &str, type_name: &str) -> Error {
    if UNITS.contains(&unit) {
        return Error::unsupported(format!("unit \"{unit}\" not supported for type {type_name}"));
    }
    unknown_unit(unit, type_name)
}

/// How a part of an infinite moment is written: PostgreSQL has infinite years, but NULL for its month.
#[derive(Clone, Copy)]
enum Infinity {
    /// As the extreme values, which stand for infinite doubles.
    Extreme,
    /// Not at all: numeric has no infinities here.
    Refused,
}

impl Infinity {
    fn part(self, negative: bool, unit: &str, type_name: &str) -> Result<Option<i128>> {
        let endless = ["epoch", "julian", "year", "isoyear", "decade", "century", "millennium"];
        if !endless.contains(&unit) {
            // A unit that is none is one for no moment.
            return moment_part(0, unit, 6, type_name).map(|_| None);
        }
        match self {
            Infinity::Extreme => Ok(Some(if negative { i128::MIN } else { i128::MAX })),
            Infinity::Refused => {
                Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "numeric cannot be infinite")
                    .with_hint("Use date_part, whose results are double precision."))
            }
        }
    }
}

/// A field of every value, in units of 10^-scale.
fn parts(
    array: &ArrayRef,
    unit: &str,
    scale: i8,
    zone: &str,
    infinity: Infinity,
) -> Result<PrimitiveArray<Decimal128Type>> {
    let moments = |name: &'static str, part: &dyn Fn(i64) -> Result<i128>| {
        let values = array.as_primitive::<TimestampMicrosecondType>().iter();
        let parts = values.map(|value| match value {
            None => Ok(None),
            Some(micros) if is_infinite(micros) => infinity.part(micros < 0, unit, name),
            Some(micros) => part(micros).map(Some),
        });
        parts.collect::<Result<PrimitiveArray<Decimal128Type>>>()
    };
    match array.data_type() {
        DataType::Null => Ok(PrimitiveArray::new_null(array.len())),
        DataType::Date32 => {
            let values = array.as_primitive::<Date32Type>().iter();
            let parts = values.map(|value| match value {
                None => Ok(None),
                Some(days) if is_infinite_date(days) => match unit {
                    "epoch" => infinity.part(days < 0, unit, "date"),
                    // A field that dates do not have is refused for these too.
                    _ => day_part(0, unit, "date")
                        .and_then(|_| infinity.part(days < 0, unit, "date")),
                },
                Some(days) if unit == "epoch" => Ok(Some(i128::from(days) * 86_400)),
                Some(days) => day_part(days.into(), unit, "date").map(Some),
            });
            parts.collect()
        }
        DataType::Timestamp(_, Some(_)) if unit == "epoch" => {
            moments("timestamp with time zone", &|micros| Ok(micros.into()))
        }
        DataType::Timestamp(_, Some(_)) if unit.starts_with("timezone") => {
            let zone = TimeZone::parse(zone).unwrap_or(TimeZone::UTC);
            moments("timestamp with time zone", &|micros| {
                let offset = i128::from(zone.offset_at_instant(micros));
                Ok(match unit {
                    "timezone" => offset,
                    "timezone_hour" => offset / 3600,
                    "timezone_minute" => offset / 60 % 60,
                    _ => return Err(unknown_unit(unit, "timestamp with time zone")),
                })
            })
        }
        DataType::Timestamp(_, Some(_)) => {
            let local = text::instant_to_local(array, zone)?;
            parts(&local, unit, scale, zone, infinity)
        }
        DataType::Timestamp(..) => moments("timestamp without time zone", &|micros| {
            moment_part(micros, unit, scale, "timestamp without time zone")
        }),
        DataType::Time64(_) => {
            array.as_primitive::<Time64MicrosecondType>().try_unary(|micros| match unit {
                "hour" | "minute" | "second" | "milliseconds" | "microseconds" | "epoch" => {
                    moment_part(micros, unit, scale, "time without time zone")
                }
                _ => Err(unserved_unit(unit, "time without time zone")),
            })
        }
        DataType::Interval(_) => array
            .as_primitive::<IntervalMonthDayNanoType>()
            .try_unary(|value| interval_part(value, unit)),
        other => Err(Error::internal(format!("a part of {other}"))),
    }
}

fn moment_part(micros: i64, unit: &str, scale: i8, type_name: &str) -> Result<i128> {
    let (day, of_day) = (micros.div_euclid(MICROS_PER_DAY), micros.rem_euclid(MICROS_PER_DAY));
    debug_assert!((0..=6).contains(&scale), "parts have at most six fraction digits");
    Ok(match unit {
        "epoch" => micros.into(),
        "microseconds" | "milliseconds" | "second" => (of_day % (60 * MICROS_PER_SECOND)).into(),
        "minute" => (of_day / (60 * MICROS_PER_SECOND) % 60).into(),
        "hour" => (of_day / (3600 * MICROS_PER_SECOND)).into(),
        _ => return day_part(day, unit, type_name),
    })
}

/// A field that a day decides.
fn day_part(day: i64, unit: &str, type_name: &str) -> Result<i128> {
    let (year, month, day_of_month) = civil_of_days(day);
    // 1970-01-01 was a Thursday. A week belongs to the year of its Thursday.
    let weekday = (day + 4).rem_euclid(7);
    let thursday = day - (weekday + 6) % 7 + 3;
    let iso_year = || civil_of_days(thursday).0;
    // There is no year zero: 1 BC is year -1.
    let shown = |year: i64| if year > 0 { year } else { year - 1 };
    Ok(i128::from(match unit {
        "year" => shown(year),
        "month" => month.into(),
        "day" => day_of_month.into(),
        "quarter" => i64::from((month - 1) / 3 + 1),
        "dow" => weekday,
        "isodow" => (weekday + 6) % 7 + 1,
        "doy" => day - days_of_civil(year, 1, 1) + 1,
        "week" => (thursday - days_of_civil(iso_year(), 1, 1)) / 7 + 1,
        "isoyear" => shown(iso_year()),
        "decade" => year.div_euclid(10),
        "century" if year > 0 => (year + 99) / 100,
        "century" => -((99 - (year - 1)) / 100),
        "millennium" if year > 0 => (year + 999) / 1000,
        "millennium" => -((999 - (year - 1)) / 1000),
        "julian" => day + JULIAN_1970,
        _ => return Err(unserved_unit(unit, type_name)),
    }))
}

fn interval_part(value: IntervalMonthDayNano, unit: &str) -> Result<i128> {
    let months = i128::from(value.months);
    let micros = i128::from(value.nanoseconds / 1000);
    let second = i128::from(MICROS_PER_SECOND);
    Ok(match unit {
        "year" => months / 12,
        "month" => months % 12,
        "quarter" => months % 12 / 3 + 1,
        "decade" => months / 120,
        "century" => months / 1200,
        "millennium" => months / 12_000,
        "day" => value.days.into(),
        "hour" => micros / (3600 * second),
        "minute" => micros / (60 * second) % 60,
        "second" | "milliseconds" | "microseconds" => micros % (60 * second),
        // A year is 365.25 days here, a month beyond whole years thirty.
        "epoch" => {
            let quarter_days = months / 12 * 1461 + months % 12 * 120 + i128::from(value.days) * 4;
            quarter_days * 21_600 * second + micros
        }
        _ => return Err(unserved_unit(unit, "interval")),
    })
}

/// `date_trunc(field, value)`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Truncate {
    signature: Signature,
}

impl ScalarUDFImpl for Truncate {
    fn name(&self) -> &str {
        "date_trunc"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        let undefined = || {
            let names = types.iter().map(|t| pg_name(&plain(t.clone()))).collect::<Vec<_>>();
            Err(to_datafusion(undefined_function("date_trunc", &names)))
        };
        match types {
            [_, DataType::Timestamp(..) | DataType::Date32 | DataType::Null, DataType::Utf8] => {
                return Ok(timestamptz());
            }
            [_, _] => {}
            _ => return undefined(),
        }
        match &types[1] {
            DataType::Timestamp(_, None) | DataType::Utf8 | DataType::Null => Ok(timestamp()),
            DataType::Timestamp(..) | DataType::Date32 => Ok(timestamptz()),
            DataType::Interval(_) => Ok(interval()),
            _ => undefined(),
        }
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let name = constant(&args.args[0])?;
        let zone = args.config_options.execution.time_zone.clone().unwrap_or_default();
        let returned = args.return_field.data_type();
        let Some(at) = args.args.get(2) else {
            return with_column(&args.args[1], args.number_rows, |array| {
                truncate(array, unit(&name), returned, &zone)
            });
        };
        let at = constant_text(at)?;
        TimeZone::parse(&at).ok_or_else(|| to_datafusion(unknown_zone(&at)))?;
        with_column(&args.args[1], args.number_rows, |array| {
            let source = plain(array.data_type().clone());
            let instants = cast_array(array, &source, &plain(timestamptz()), &zone)?;
            truncate(&instants, unit(&name), returned, &at)
        })
    }
}

fn truncate(array: &ArrayRef, unit: &str, returned: &DataType, zone: &str) -> Result<ArrayRef> {
    if array.data_type().is_null() {
        return Ok(arrow_array::new_null_array(returned, array.len()));
    }
    match array.data_type() {
        DataType::Timestamp(_, Some(_)) => {
            let local = text::instant_to_local(array, zone)?;
            text::local_to_instant(&truncate(&local, unit, &timestamp(), zone)?, zone)
        }
        DataType::Date32 => {
            let midnight = midnights(array)?;
            text::local_to_instant(&truncate(&midnight, unit, &timestamp(), zone)?, zone)
        }
        DataType::Interval(_) => {
            let truncated: PrimitiveArray<IntervalMonthDayNanoType> = array
                .as_primitive::<IntervalMonthDayNanoType>()
                .try_unary(|value| truncate_interval(value, unit))?;
            Ok(Arc::new(truncated))
        }
        DataType::Utf8 => {
            truncate(&text::from_text(array, &plain(timestamp()), zone)?, unit, returned, zone)
        }
        _ => {
            let truncated: PrimitiveArray<TimestampMicrosecondType> = array
                .as_primitive::<TimestampMicrosecondType>()
                .try_unary(|micros| truncate_moment(micros, unit))?;
            Ok(Arc::new(truncated))
        }
    }
}

fn truncate_moment(micros: i64, unit: &str) -> Result<i64> {
    if is_infinite(micros) {
        return Ok(micros);
    }
    // The least moment is far enough from the least number that its steps do not leave the type.
    let floor = |step: i64| micros.div_euclid(step) * step;
    let day = micros.div_euclid(MICROS_PER_DAY);
    let start = |year: i64, month: u32| -> Result<i64> {
        let day = days_of_civil(year, month, 1);
        finite_timestamp(day.checked_mul(MICROS_PER_DAY).ok_or_else(out_of_range)?)
    };
    Ok(match unit {
        "microseconds" => micros,
        "milliseconds" => floor(1000),
        "second" => floor(MICROS_PER_SECOND),
        "minute" => floor(60 * MICROS_PER_SECOND),
        "hour" => floor(3600 * MICROS_PER_SECOND),
        "day" => finite_timestamp(day * MICROS_PER_DAY)?,
        // 1970-01-01 was a Thursday, the fourth day of its week.
        "week" => finite_timestamp((day - (day + 3).rem_euclid(7)) * MICROS_PER_DAY)?,
        "month" | "quarter" | "year" | "decade" | "century" | "millennium" => {
            let (year, month, _) = civil_of_days(day);
            match unit {
                "month" => start(year, month)?,
                "quarter" => start(year, (month - 1) / 3 * 3 + 1)?,
                "year" => start(year, 1)?,
                "decade" => start(year.div_euclid(10) * 10, 1)?,
                "century" => start((year - 1).div_euclid(100) * 100 + 1, 1)?,
                _ => start((year - 1).div_euclid(1000) * 1000 + 1, 1)?,
            }
        }
        _ => return Err(unserved_unit(unit, "timestamp without time zone")),
    })
}

fn truncate_interval(value: IntervalMonthDayNano, unit: &str) -> Result<IntervalMonthDayNano> {
    let months = |step: i32| IntervalMonthDayNano::new(value.months / step * step, 0, 0);
    let time = |step: i64| {
        let step = step * 1000;
        IntervalMonthDayNano::new(value.months, value.days, value.nanoseconds / step * step)
    };
    Ok(match unit {
        "millennium" => months(12_000),
        "century" => months(1200),
        "decade" => months(120),
        "year" => months(12),
        "quarter" => months(3),
        "month" => months(1),
        "day" => IntervalMonthDayNano::new(value.months, value.days, 0),
        "hour" => time(3600 * MICROS_PER_SECOND),
        "minute" => time(60 * MICROS_PER_SECOND),
        "second" => time(MICROS_PER_SECOND),
        "milliseconds" => time(1000),
        "microseconds" => time(1),
        "week" => {
            return Err(unserved_unit(unit, "interval")
                .with_detail("Months usually have fractional weeks."));
        }
        _ => return Err(unserved_unit(unit, "interval")),
    })
}

/// `timezone(zone, value)`, which AT TIME ZONE stands for.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Zone {
    signature: Signature,
}

impl ScalarUDFImpl for Zone {
    fn name(&self) -> &str {
        "timezone"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        match &types[1] {
            DataType::Timestamp(_, None) => Ok(timestamptz()),
            DataType::Timestamp(..) | DataType::Date32 => Ok(timestamp()),
            other => {
                let names = ["unknown".to_owned(), pg_name(&plain(other.clone()))];
                Err(to_datafusion(undefined_function("timezone", &names)))
            }
        }
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let session = args.config_options.execution.time_zone.clone().unwrap_or_default();
        let zone = match &args.args[0] {
            ColumnarValue::Scalar(ScalarValue::IntervalMonthDayNano(Some(east))) => {
                zone_of_interval(*east).map_err(to_datafusion)?
            }
            ColumnarValue::Scalar(zone) => {
                zone.try_as_str().flatten().unwrap_or_default().to_owned()
            }
            ColumnarValue::Array(zones) => {
                let zones = zones.as_string_opt::<i32>().ok_or_else(|| {
                    to_datafusion(Error::unsupported("AT TIME ZONE with intervals by row"))
                })?;
                let values = args.args[1].to_array(args.number_rows)?;
                let moved = zoned_by_row(zones, &values, &session).map_err(to_datafusion)?;
                return Ok(ColumnarValue::Array(moved));
            }
        };
        with_column(&args.args[1], args.number_rows, |array| zoned(array, &zone, &session))
    }
}

/// Each value in its own row's zone: runs of rows of one zone are moved together.
fn zoned_by_row(zones: &StringArray, values: &ArrayRef, session: &str) -> Result<ArrayRef> {
    let mut moved: Vec<ArrayRef> = vec![];
    let mut start = 0;
    while start < zones.len() {
        let zone = zones.is_valid(start).then(|| zones.value(start));
        let same = |row: &usize| zones.is_valid(*row).then(|| zones.value(*row)) == zone;
        let length = (start..zones.len()).take_while(same).count();
        let run = values.slice(start, length);
        moved.push(match zone {
            Some(zone) => zoned(&run, zone, session)?,
            None => arrow_array::new_null_array(&zoned_type(values.data_type()), length),
        });
        start += length;
    }
    if moved.is_empty() {
        return Ok(arrow_array::new_empty_array(&zoned_type(values.data_type())));
    }
    let runs: Vec<&dyn Array> = moved.iter().map(AsRef::as_ref).collect();
    arrow_select::concat::concat(&runs).map_err(from_arrow)
}

fn zoned_type(from: &DataType) -> DataType {
    if matches!(from, DataType::Timestamp(_, None)) { timestamptz() } else { timestamp() }
}

fn zoned(array: &ArrayRef, zone: &str, session: &str) -> Result<ArrayRef> {
    if TimeZone::parse(zone).is_none() {
        // PostgreSQL looks for the zone only when a value needs it.
        let needs = |micros: i64| !is_infinite(micros);
        let needed = match array.data_type() {
            DataType::Timestamp(..) => {
                array.as_primitive::<TimestampMicrosecondType>().iter().flatten().any(needs)
            }
            _ => array.null_count() < array.len(),
        };
        if needed {
            return Err(unknown_zone(zone));
        }
    }
    match array.data_type() {
        DataType::Timestamp(_, None) => text::local_to_instant(array, zone),
        DataType::Date32 => {
            let midnight = midnights(array)?;
            text::instant_to_local(&text::local_to_instant(&midnight, session)?, zone)
        }
        _ => text::instant_to_local(array, zone),
    }
}

/// A function of the moment at which the statement began.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Clock {
    name: &'static str,
    returned: DataType,
    signature: Signature,
}

impl Clock {
    fn new(name: &'static str, returned: DataType) -> Clock {
        Clock { name, returned, signature: Signature::nullary(Volatility::Stable) }
    }
}

impl ScalarUDFImpl for Clock {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(self.returned.clone())
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> DfResult<ExprSimplifyResult> {
        let Some(now) = info.query_execution_start_time() else {
            return Ok(ExprSimplifyResult::Original(args));
        };
        let instant: ArrayRef = Arc::new(
            PrimitiveArray::<TimestampMicrosecondType>::from(vec![now.timestamp_micros()])
                .with_data_type(timestamptz()),
        );
        let zone = info.config_options().execution.time_zone.clone().unwrap_or_default();
        let value = match &self.returned {
            DataType::Timestamp(_, Some(_)) => instant,
            other => {
                let local = text::instant_to_local(&instant, &zone).map_err(to_datafusion)?;
                cast_array(&local, &plain(timestamp()), &plain(other.clone()), &zone)
                    .map_err(to_datafusion)?
            }
        };
        Ok(ExprSimplifyResult::Simplified(Expr::Literal(
            ScalarValue::try_from_array(&value, 0)?,
            None,
        )))
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Err(to_datafusion(Error::internal(format!(
            "{}() was not resolved while planning",
            self.name
        ))))
    }
}

/// The length by which intervals compare.
pub(crate) fn interval_length() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Length { signature: Signature::any(1, Volatility::Immutable) }))
}

/// `interval_length(interval)`: microseconds, a month as thirty days of twenty-four hours.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Length {
    signature: Signature,
}

impl ScalarUDFImpl for Length {
    fn name(&self) -> &str {
        "interval_length"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(numeric(0))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        with_column(&args.args[0], args.number_rows, |array| {
            let intervals = array
                .as_primitive_opt::<IntervalMonthDayNanoType>()
                .ok_or_else(|| Error::internal("only intervals have a length"))?;
            let lengths: PrimitiveArray<Decimal128Type> = intervals.unary(|value| {
                let days = i128::from(value.months) * 30 + i128::from(value.days);
                days * i128::from(MICROS_PER_DAY) + i128::from(value.nanoseconds / 1000)
            });
            Ok(Arc::new(lengths.with_precision_and_scale(38, 0).map_err(from_arrow)?) as ArrayRef)
        })
    }
}
