//! `nextval`, `currval`, `setval` and `lastval`: sequences as expressions call them.
//!
//! They work at once and for ever, whatever becomes of the transaction. What a session has taken of each sequence is kept for
//! currval and lastval.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, Int64Array};
use arrow_schema::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use parking_lot::Mutex;

use crate::catalog::system::parse_name;
use crate::catalog::{CatalogSnapshot, Counter, Counting, Object, ObjectId, ObjectKind, Oid};
use crate::error::{Error, Result, SqlState};
use crate::query::errors::{to_datafusion, undefined_function};
use crate::query::sql_types::{pg_name, plain};

/// The numbers that a session has taken.
#[derive(Debug, Default)]
pub struct Taken(Mutex<LastNumbers>);

#[derive(Debug, Default)]
struct LastNumbers {
    of: HashMap<ObjectId, i64>,
    last: Option<ObjectId>,
}

impl Taken {
    fn note(&self, sequence: ObjectId, number: i64) {
        let mut numbers = self.0.lock();
        numbers.of.insert(sequence, number);
        numbers.last = Some(sequence);
    }

    /// After setval.
    fn set(&self, sequence: ObjectId, number: i64) {
        self.0.lock().of.insert(sequence, number);
    }

    /// As DISCARD SEQUENCES.
    pub fn forget(&self) {
        *self.0.lock() = LastNumbers::default();
    }
}

/// What the functions work on: those of one statement.
#[derive(Clone, Debug)]
pub struct Sequences {
    pub catalog: Arc<CatalogSnapshot>,
    pub search_path: Vec<String>,
    pub taken: Arc<Taken>,
    pub read_only: bool,
}

/// A sequence at hand.
struct Found<'a> {
    object: &'a Object,
    counting: &'a Counting,
    counter: &'a Counter,
}

impl Sequences {
    /// By its name as SQL writes it; 42P01 and 42809.
    pub fn named(&self, text: &str) -> Result<Arc<Object>> {
        let object = self.catalog.resolve(&self.search_path, &parse_name(text)?)?;
        check_sequence(&object)?;
        Ok(object)
    }

    fn numbered(&self, oid: i64) -> Result<Arc<Object>> {
        let object = u32::try_from(oid).ok().and_then(|oid| self.catalog.get_by_oid(Oid(oid)));
        let object = object.cloned().ok_or_else(|| {
            let message = format!("could not open relation with OID {oid}");
            Error::new(SqlState::UNDEFINED_TABLE, message)
        })?;
        check_sequence(&object)?;
        Ok(object)
    }
}

fn check_sequence(object: &Object) -> Result<()> {
    found(object).map(drop)
}

fn found(object: &Object) -> Result<Found<'_>> {
    match &object.kind {
        ObjectKind::Sequence { counting, counter, .. } => Ok(Found { object, counting, counter }),
        _ => {
            let message = format!("\"{}\" is not a sequence", object.name);
            Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message))
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Function {
    Next,
    Current,
    Set,
    Last,
}

/// The function of this name over a statement's sequences.
pub fn sequence_function(
    name: &str,
    sequences: impl FnOnce() -> Sequences,
) -> Option<Arc<ScalarUDF>> {
    let function = match name {
        "nextval" => Function::Next,
        "currval" => Function::Current,
        "setval" => Function::Set,
        "lastval" => Function::Last,
        _ => return None,
    };
    let signature = match function {
        Function::Last => Signature::nullary(Volatility::Volatile),
        Function::Next | Function::Current | Function::Set => {
            Signature::user_defined(Volatility::Volatile)
        }
    };
    let call = SequenceCall { function, signature, sequences: sequences() };
    Some(Arc::new(ScalarUDF::from(call)))
}

#[derive(Debug)]
struct SequenceCall {
    function: Function,
    signature: Signature,
    sequences: Sequences,
}

impl PartialEq for SequenceCall {
    fn eq(&self, other: &Self) -> bool {
        self.function == other.function
            && Arc::ptr_eq(&self.sequences.taken, &other.sequences.taken)
    }
}

impl Eq for SequenceCall {}

impl Hash for SequenceCall {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.hash(state);
    }
}

/// One argument, for all rows or row by row.
enum Argument<'a> {
    Name(&'a str),
    Number(i64),
}

impl SequenceCall {
    fn sequence(&self, argument: &Argument<'_>) -> Result<Arc<Object>> {
        match argument {
            Argument::Name(name) => self.sequences.named(name),
            Argument::Number(oid) => self.sequences.numbered(*oid),
        }
    }

    /// The next `count` numbers.
    fn take(&self, sequence: &Object, count: usize) -> Result<Vec<i64>> {
        self.refuse_read_only()?;
        let Found { object, counting, counter } = found(sequence)?;
        let numbers = counter.take(&object.name, counting, count)?;
        if let Some(last) = numbers.last() {
            self.sequences.taken.note(object.id, *last);
        }
        Ok(numbers)
    }

    fn current(&self, sequence: &Object) -> Result<i64> {
        let taken = self.sequences.taken.0.lock();
        taken.of.get(&sequence.id).copied().ok_or_else(|| {
            let name = &sequence.name;
            let message =
                format!("currval of sequence \"{name}\" is not yet defined in this session");
            Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        })
    }

    fn set(&self, sequence: &Object, value: i64, is_called: bool) -> Result<i64> {
        self.refuse_read_only()?;
        let Found { object, counting, counter } = found(sequence)?;
        let (min, max) = (counting.min, counting.max);
        if !(min..=max).contains(&value) {
            let name = &object.name;
            let message = format!(
                "setval: value {value} is out of bounds for sequence \"{name}\" ({min}..{max})"
            );
            return Err(Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message));
        }
        counter.set(value, is_called);
        if is_called {
            self.sequences.taken.set(object.id, value);
        }
        Ok(value)
    }

    fn last(&self) -> Result<i64> {
        let taken = self.sequences.taken.0.lock();
        let there = taken.last.filter(|id| self.sequences.catalog.get(*id).is_some());
        there.and_then(|id| taken.of.get(&id).copied()).ok_or_else(|| {
            let message = "lastval is not yet defined in this session";
            Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        })
    }

    fn refuse_read_only(&self) -> Result<()> {
        if !self.sequences.read_only {
            return Ok(());
        }
        let message = format!("cannot execute {}() in a read-only transaction", self.name());
        Err(Error::new(SqlState::READ_ONLY_SQL_TRANSACTION, message))
    }

    /// The value for one row; NULL for any NULL.
    fn row(&self, columns: &[Arc<dyn Array>], row: usize) -> Result<Option<i64>> {
        if columns.iter().any(|column| column.is_null(row)) {
            return Ok(None);
        }
        let sequence = match columns.first() {
            None => return self.last().map(Some),
            Some(first) => self.sequence(&argument(first, row)?)?,
        };
        let value = match self.function {
            Function::Next => self.take(&sequence, 1)?.first().copied(),
            Function::Current => Some(self.current(&sequence)?),
            Function::Set => {
                let is_called = columns.get(2).is_none_or(|called| called.as_boolean().value(row));
                let value = columns[1].as_primitive::<Int64Type>().value(row);
                Some(self.set(&sequence, value, is_called)?)
            }
            Function::Last => Some(self.last()?),
        };
        Ok(value)
    }
}

fn argument(column: &Arc<dyn Array>, row: usize) -> Result<Argument<'_>> {
    match column.data_type() {
        DataType::Utf8 => Ok(Argument::Name(column.as_string::<i32>().value(row))),
        DataType::Int64 => Ok(Argument::Number(column.as_primitive::<Int64Type>().value(row))),
        other => Err(Error::internal(format!("a sequence is named by {other}"))),
    }
}

impl ScalarUDFImpl for SequenceCall {
    fn name(&self) -> &str {
        match self.function {
            Function::Next => "nextval",
            Function::Current => "currval",
            Function::Set => "setval",
            Function::Last => "lastval",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Int64)
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let counts = match self.function {
            Function::Set => 2..=3,
            Function::Next | Function::Current => 1..=1,
            Function::Last => 0..=0,
        };
        let coerced = types.iter().enumerate().map(|(at, given)| match (at, given) {
            (0, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null) => {
                Some(DataType::Utf8)
            }
            (0 | 1, given) if given.is_integer() => Some(DataType::Int64),
            (1, DataType::Null) => Some(DataType::Int64),
            (2, DataType::Boolean | DataType::Null) => Some(DataType::Boolean),
            _ => None,
        });
        let coerced: Option<Vec<DataType>> = coerced.collect();
        coerced.filter(|types| counts.contains(&types.len())).ok_or_else(|| {
            let names: Vec<String> = types.iter().map(|t| pg_name(&plain(t.clone()))).collect();
            to_datafusion(undefined_function(self.name(), &names))
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let rows = args.number_rows;
        // A default's numbers, which are taken together.
        if let (Function::Next, [ColumnarValue::Scalar(ScalarValue::Int64(Some(oid)))]) =
            (self.function, args.args.as_slice())
        {
            let numbers = self
                .sequence(&Argument::Number(*oid))
                .and_then(|sequence| self.take(&sequence, rows))
                .map_err(to_datafusion)?;
            return Ok(ColumnarValue::Array(Arc::new(Int64Array::from(numbers))));
        }
        let columns = args.args.into_iter().map(|argument| argument.into_array(rows));
        let columns = columns.collect::<DfResult<Vec<_>>>()?;
        let values = (0..rows).map(|row| self.row(&columns, row).map_err(to_datafusion));
        Ok(ColumnarValue::Array(Arc::new(values.collect::<DfResult<Int64Array>>()?)))
    }
}
