//! What a sequence is: how it counts, the counter itself, and who owns it.
//!
//! Numbers are given out once, in order, with gaps where statements fail: nothing that a transaction does takes one back. The
//! counter is shared by every version of a sequence's definition and by an image that a server starts from, so it never
//! goes back by itself. Whoever makes the catalog durable has to save a number that is beyond all given out.

use std::fmt;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parking_lot::Mutex;

use super::object::Oid;
use crate::error::{Error, Result, SqlState};
use crate::sql::SequenceOptions;
use crate::types::field_of_sql_type;

/// PostgreSQL notes this many numbers beforehand; `log_cnt` tells how many of them are left.
const NOTED_BEFOREHAND: i64 = 32;

/// The type of a sequence's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberType {
    SmallInt,
    Integer,
    BigInt,
}

impl NumberType {
    /// `None` for what is no integer.
    pub fn of(data_type: &DataType) -> Option<NumberType> {
        match data_type {
            DataType::Int16 => Some(NumberType::SmallInt),
            DataType::Int32 => Some(NumberType::Integer),
            DataType::Int64 => Some(NumberType::BigInt),
            _ => None,
        }
    }

    pub fn words(self) -> &'static str {
        match self {
            NumberType::SmallInt => "smallint",
            NumberType::Integer => "integer",
            NumberType::BigInt => "bigint",
        }
    }

    pub fn bits(self) -> u32 {
        match self {
            NumberType::SmallInt => 16,
            NumberType::Integer => 32,
            NumberType::BigInt => 64,
        }
    }

    /// PostgreSQL's number of the type.
    pub fn oid(self) -> i64 {
        match self {
            NumberType::SmallInt => 21,
            NumberType::Integer => 23,
            NumberType::BigInt => 20,
        }
    }

    fn max(self) -> i64 {
        i64::MAX >> (64 - self.bits())
    }

    fn min(self) -> i64 {
        i64::MIN >> (64 - self.bits())
    }
}

/// How a sequence counts. The bounds are of the type, `start` is within them, `increment` is not 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counting {
    pub number_type: NumberType,
    pub start: i64,
    pub increment: i64,
    pub min: i64,
    pub max: i64,
    /// Shown only: numbers are given out one by one, since that costs nothing here.
    pub cache: i64,
    pub cycle: bool,
}

impl Counting {
    /// What a new sequence's options come to; `number_type` is that of a column, which none of them may change.
    pub fn new(options: &SequenceOptions, number_type: NumberType) -> Result<Counting> {
        let before = Counting {
            number_type: numbers_of(options)?.unwrap_or(number_type),
            start: 1,
            increment: 1,
            min: 1,
            max: 1,
            cache: 1,
            cycle: false,
        };
        let bare = SequenceOptions {
            min: Some(options.min.flatten()),
            max: Some(options.max.flatten()),
            ..options.clone()
        };
        let start = match options.increment.unwrap_or(1) > 0 {
            true => before.bounds(&bare)?.0,
            false => before.bounds(&bare)?.1,
        };
        before.altered(&SequenceOptions { start: Some(options.start.unwrap_or(start)), ..bare })
    }

    /// As the options of an ALTER make it. Errors as PostgreSQL's: 22023.
    pub fn altered(&self, options: &SequenceOptions) -> Result<Counting> {
        let number_type = numbers_of(options)?.unwrap_or(self.number_type);
        let increment = options.increment.unwrap_or(self.increment);
        if increment == 0 {
            return Err(invalid("INCREMENT must not be zero".to_owned()));
        }
        let (min, max) = self.bounds(options)?;
        if min >= max {
            return Err(invalid(format!("MINVALUE ({min}) must be less than MAXVALUE ({max})")));
        }
        let start = options.start.unwrap_or(self.start);
        check_within("START", start, min, max)?;
        let cache = options.cache.unwrap_or(self.cache);
        if cache <= 0 {
            return Err(invalid(format!("CACHE ({cache}) must be greater than zero")));
        }
        let cycle = options.cycle.unwrap_or(self.cycle);
        Ok(Counting { number_type, start, increment, min, max, cache, cycle })
    }

    /// The least and the greatest number.
    fn bounds(&self, options: &SequenceOptions) -> Result<(i64, i64)> {
        let number_type = numbers_of(options)?.unwrap_or(self.number_type);
        let up = options.increment.unwrap_or(self.increment) > 0;
        // A bound that was its type's follows the type.
        let retyped = number_type != self.number_type;
        let own_max = if up { number_type.max() } else { -1 };
        let own_min = if up { 1 } else { number_type.min() };
        let max = match options.max {
            Some(given) => given.unwrap_or(own_max),
            None if retyped && self.max == self.number_type.max() => own_max,
            None => self.max,
        };
        let min = match options.min {
            Some(given) => given.unwrap_or(own_min),
            None if retyped && self.min == self.number_type.min() => own_min,
            None => self.min,
        };
        for (what, bound) in [("MAXVALUE", max), ("MINVALUE", min)] {
            if !(number_type.min()..=number_type.max()).contains(&bound) {
                let words = number_type.words();
                return Err(invalid(format!(
                    "{what} ({bound}) is out of range for sequence data type {words}"
                )));
            }
        }
        Ok((min, max))
    }

    /// The number after `last`, which was given out; `None` where there is none.
    fn after(&self, last: i64) -> Option<i64> {
        let next = last.checked_add(self.increment);
        match next.filter(|next| (self.min..=self.max).contains(next)) {
            None if self.cycle => Some(if self.increment > 0 { self.min } else { self.max }),
            next => next,
        }
    }

    /// How many numbers come after `last` without beginning anew.
    fn left(&self, last: i64) -> u64 {
        let bound = if self.increment > 0 { self.max } else { self.min };
        last.abs_diff(bound) / self.increment.unsigned_abs()
    }

    /// Whether counting may go on from a number that RESTART, or the definition before, has left.
    pub fn check_restart(&self, last: i64) -> Result<()> {
        check_within("RESTART", last, self.min, self.max)
    }
}

fn numbers_of(options: &SequenceOptions) -> Result<Option<NumberType>> {
    let Some(data_type) = &options.data_type else { return Ok(None) };
    let field = field_of_sql_type("", data_type)?;
    match NumberType::of(field.data_type()).filter(|_| field.metadata().is_empty()) {
        Some(number_type) => Ok(Some(number_type)),
        None => Err(invalid("sequence type must be smallint, integer, or bigint".to_owned())),
    }
}

fn check_within(what: &str, value: i64, min: i64, max: i64) -> Result<()> {
    let (than, bound) = match value {
        _ if value < min => ("cannot be less than MINVALUE", min),
        _ if value > max => ("cannot be greater than MAXVALUE", max),
        _ => return Ok(()),
    };
    Err(invalid(format!("{what} value ({value}) {than} ({bound})")))
}

fn invalid(message: String) -> Error {
    Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// How far a sequence has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub last_value: i64,
    /// How many numbers PostgreSQL would have noted beforehand and not given out.
    pub log_cnt: i64,
    /// Whether `last_value` has been given out; else it is the next one.
    pub is_called: bool,
}

/// The counter of a sequence.
pub struct Counter(Mutex<Counted>);

impl Counter {
    /// The first number will be `start`.
    pub fn new(start: i64) -> Counter {
        Counter(Mutex::new(Counted { last_value: start, log_cnt: 0, is_called: false }))
    }

    pub fn counted(&self) -> Counted {
        *self.0.lock()
    }

    /// As setval: the next number is `value`, or the one after it where that has been given out.
    pub fn set(&self, value: i64, is_called: bool) {
        *self.0.lock() = Counted { last_value: value, log_cnt: 0, is_called };
    }

    /// Takes `count` numbers; 2200H where there are not so many left, which takes those there are.
    pub fn take(&self, name: &str, counting: &Counting, count: usize) -> Result<Vec<i64>> {
        let mut counted = self.0.lock();
        let mut numbers = Vec::with_capacity(count);
        while numbers.len() < count {
            let next = match counted.is_called {
                true => counting.after(counted.last_value),
                false => Some(counted.last_value),
            };
            let Some(next) = next else {
                let (what, bound) = match counting.increment > 0 {
                    true => ("maximum", counting.max),
                    false => ("minimum", counting.min),
                };
                let message =
                    format!("nextval: reached {what} value of sequence \"{name}\" ({bound})");
                return Err(Error::new(SqlState::SEQUENCE_LIMIT_EXCEEDED, message));
            };
            let noted = match (counted.is_called, counted.log_cnt) {
                (true, 1..) => counted.log_cnt - 1,
                _ => NOTED_BEFOREHAND,
            };
            let left = counting.left(next);
            let log_cnt = if counting.cycle { noted } else { noted.min(left.min(64) as i64) };
            *counted = Counted { last_value: next, log_cnt, is_called: true };
            numbers.push(next);
        }
        Ok(numbers)
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Counter({:?})", self.counted())
    }
}

/// The column that a sequence goes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// A table keeps this number, whatever ALTER makes of it.
    pub table: Oid,
    pub column: usize,
    /// It is how an identity column counts, and has no life of its own.
    pub is_identity: bool,
}

/// What a sequence shows as a relation, one row.
pub fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("last_value", DataType::Int64, false),
        Field::new("log_cnt", DataType::Int64, false),
        Field::new("is_called", DataType::Boolean, false),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(options: SequenceOptions) -> Counting {
        Counting::new(&options, NumberType::BigInt).unwrap()
    }

    #[test]
    fn a_sequence_that_cycles_begins_anew_at_its_least_number() {
        let counting = counting(SequenceOptions {
            max: Some(Some(3)),
            start: Some(2),
            cycle: Some(true),
            ..SequenceOptions::default()
        });
        let counter = Counter::new(counting.start);
        assert_eq!(counter.take("s", &counting, 5).unwrap(), [2, 3, 1, 2, 3]);
    }

    #[test]
    fn a_sequence_at_its_end_has_given_out_what_was_left() {
        let down = SequenceOptions {
            increment: Some(-2),
            min: Some(Some(-4)),
            ..SequenceOptions::default()
        };
        let counting = counting(down);
        let counter = Counter::new(counting.start);
        assert_eq!(counter.take("s", &counting, 1).unwrap(), [-1]);
        let error = counter.take("s", &counting, 3).unwrap_err();
        assert_eq!(error.message, "nextval: reached minimum value of sequence \"s\" (-4)");
        let counted = Counted { last_value: -3, log_cnt: 0, is_called: true };
        assert_eq!(counter.counted(), counted);
    }

    #[test]
    fn numbers_noted_beforehand_are_counted_down_as_in_postgresql() {
        let counting = counting(SequenceOptions::default());
        let counter = Counter::new(counting.start);
        let mut seen = vec![];
        for _ in 0..34 {
            counter.take("s", &counting, 1).unwrap();
            seen.push(counter.counted().log_cnt);
        }
        assert_eq!((seen[0], seen[1], seen[32], seen[33]), (32, 31, 0, 32));
    }
}
