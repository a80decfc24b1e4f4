//! The careful way from a message to a row: every member of its object into the column of that name.
//!
//! Owns the rules of what JSON a column takes (they are listed in the module above) and the only place where faults
//! are made; the fast way ([`super::template`]) merely gives up and leaves the message to this one. On a fault the
//! columns hold a piece of the message, which the caller cuts off.

use super::column::{Column, ColumnId, Columns, Values};
use super::cursor::{Cursor, Fault, Value};
use super::jsonb;
use super::template::{Closing, Learner};
use crate::types::{self, Invalid, Number};

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// A scalar on its way into its column.
#[derive(Clone, Copy)]
enum Scalar<'a> {
    Bool(bool),
    Number(&'a [u8]),
    Text(&'a str),
    /// An object or array where the column has no place for one.
    Container,
}

impl Columns {
    /// Reads one message into one row of all columns and has `learner` take note of its layout.
    pub fn read_message(&mut self, message: &[u8], learner: &mut Learner) -> Result<(), Fault> {
        learner.begin();
        let mut cursor = Cursor::new(message);
        cursor.skip_whitespace();
        if cursor.peek().is_none() {
            return Err(Fault { sqlstate: "22P02", reason: "the message is empty".to_owned() });
        }
        self.read_object(self.root, &mut cursor, Some(learner))?;
        cursor.skip_whitespace();
        if cursor.peek().is_some() {
            return cursor.fault("expected the message's end after its object");
        }
        learner.end(message);
        self.discard_unwanted();
        Ok(())
    }

    /// Reads the value at the cursor into a column.
    pub fn read_value(&mut self, id: ColumnId, cursor: &mut Cursor<'_>) -> Result<(), Fault> {
        let column = self.get_mut(id);
        let is_map = column.is_map();
        match (cursor.peek(), &mut column.values) {
            (Some(b'n'), _) => {
                cursor.value(0)?;
                self.read_null(id)
            }
            (Some(b'{'), Values::Struct(_)) => self.read_object(id, cursor, None),
            (Some(b'{'), Values::List { item, .. }) if is_map => {
                let item = *item;
                self.read_map(id, item, cursor)
            }
            (Some(b'['), Values::List { item, .. }) if !is_map => {
                let item = *item;
                self.read_list(id, item, cursor)
            }
            (_, Values::Jsonb(bytes)) => {
                jsonb::normalise(cursor, &column.path, &mut bytes.bytes)?;
                bytes.close().map_err(|invalid| Fault::in_column(&column.path, invalid))
            }
            _ => self.read_scalar(id, cursor),
        }
    }

    fn read_object(
        &mut self,
        id: ColumnId,
        cursor: &mut Cursor<'_>,
        mut learner: Option<&mut Learner>,
    ) -> Result<(), Fault> {
        let row = self.get(id).len();
        let mut more = cursor.enter(b'{', b'}')?;
        while more {
            let key = cursor.key()?;
            match self.member(id, key.characters(&mut String::new())) {
                None => {
                    let start = cursor.at;
                    cursor.value(0)?;
                    if let Some(learner) = learner.as_deref_mut() {
                        learner.skipped(cursor, start);
                    }
                }
                Some(member) => {
                    let member_row = self.rows_of_member(id, member, row);
                    if self.get(member).len() > member_row {
                        // The key came before: its last value wins.
                        self.truncate(member, member_row);
                        if let Some(learner) = learner.as_deref_mut() {
                            learner.give_up();
                        }
                    }
                    self.read_member(member, cursor, learner.as_deref_mut())?;
                }
            }
            more = cursor.another(b'}')?;
        }
        self.close_object(id, row, learner)
    }

    fn member(&self, id: ColumnId, key: &str) -> Option<ColumnId> {
        match &self.get(id).values {
            Values::Struct(members) => members.named(key),
            _ => None,
        }
    }

    fn read_member(
        &mut self,
        member: ColumnId,
        cursor: &mut Cursor<'_>,
        learner: Option<&mut Learner>,
    ) -> Result<(), Fault> {
        // The members of an object inside of the message are learned like its own.
        if cursor.peek() == Some(b'{') && matches!(self.get(member).values, Values::Struct(_)) {
            return self.read_object(member, cursor, learner);
        }
        let start = cursor.at;
        self.read_value(member, cursor)?;
        if let Some(learner) = learner {
            learner.value(cursor, start, member);
        }
        Ok(())
    }

    /// Makes the members that did not come NULL and counts the object as a row.
    fn close_object(
        &mut self,
        id: ColumnId,
        row: usize,
        mut learner: Option<&mut Learner>,
    ) -> Result<(), Fault> {
        for index in 0..self.members(id).len() {
            let member = self.members(id)[index];
            if self.get(member).len() > self.rows_of_member(id, member, row) {
                continue;
            }
            self.read_null(member)?;
            if let Some(learner) = learner.as_deref_mut().filter(|_| self.get(member).kept) {
                learner.close(member, Closing::Null);
            }
        }
        if let Some(learner) = learner.filter(|_| self.get(id).kept) {
            learner.close(id, Closing::Present);
        }
        self.close_struct(id);
        Ok(())
    }

    /// Counts a row of a struct whose fields are all set.
    pub fn close_struct(&mut self, id: ColumnId) {
        if let Values::Struct(members) = &mut self.get_mut(id).values {
            members.rows += 1;
        }
    }

    fn read_null(&mut self, id: ColumnId) -> Result<(), Fault> {
        let column = self.get(id);
        if !column.nullable() {
            let reason = format!("null value in column \"{}\"", column.path);
            return Err(Fault { sqlstate: "23502", reason });
        }
        self.push_null(id);
        Ok(())
    }

    fn read_list(
        &mut self,
        id: ColumnId,
        item: ColumnId,
        cursor: &mut Cursor<'_>,
    ) -> Result<(), Fault> {
        let mut more = cursor.enter(b'[', b']')?;
        while more {
            self.read_value(item, cursor)?;
            more = cursor.another(b']')?;
        }
        self.close_list(id, item)
    }

    /// Reads an object as entries in the order of their keys; of a key that comes twice the last one counts.
    fn read_map(
        &mut self,
        id: ColumnId,
        item: ColumnId,
        cursor: &mut Cursor<'_>,
    ) -> Result<(), Fault> {
        let &[key, value] = self.members(item) else { return self.read_scalar(id, cursor) };
        // The keys, and where their values begin.
        let mut entries: Vec<(String, usize)> = vec![];
        let mut more = cursor.enter(b'{', b'}')?;
        while more {
            let name = cursor.key()?;
            let name = name.unescaped(&mut self.scratch).map(str::to_owned);
            let name = name.map_err(|invalid| Fault::in_column(&self.get(key).path, invalid))?;
            entries.push((name, cursor.at));
            cursor.value(0)?;
            more = cursor.another(b'}')?;
        }
        let end = cursor.at;
        let is_text = matches!(self.get(key).values, Values::Text { .. });
        // Numbers have an order of their own; what is none is refused below.
        let number = |name: &str| if is_text { None } else { name.trim().parse::<i64>().ok() };
        entries.sort_by(|(a, _), (b, _)| (number(a), a.as_str()).cmp(&(number(b), b.as_str())));
        let same = |a: &str, b: &str| a == b || number(a).is_some() && number(a) == number(b);
        for (at, (name, start)) in entries.iter().enumerate() {
            if entries.get(at + 1).is_some_and(|(next, _)| same(name, next)) {
                continue;
            }
            let column = self.get_mut(key);
            let stored = column.store(Scalar::Text(name), name.as_bytes());
            stored.map_err(|invalid| Fault::in_column(&column.path, invalid))?;
            cursor.at = *start;
            self.read_value(value, cursor)?;
            self.close_struct(item);
        }
        cursor.at = end;
        self.close_list(id, item)
    }

    /// The items read since the last row are the next row's.
    fn close_list(&mut self, id: ColumnId, item: ColumnId) -> Result<(), Fault> {
        let items = self.get(item).len();
        let column = self.get_mut(id);
        let Values::List { offsets, .. } = &mut column.values else { return Ok(()) };
        let too_long = |_| Invalid {
            sqlstate: "54000",
            message: "too many array elements in one batch".to_owned(),
        };
        let end = i32::try_from(items).map_err(too_long);
        offsets.push(end.map_err(|invalid| Fault::in_column(&column.path, invalid))?);
        Ok(())
    }

    fn read_scalar(&mut self, id: ColumnId, cursor: &mut Cursor<'_>) -> Result<(), Fault> {
        let start = cursor.at;
        let value = cursor.value(0)?;
        let raw = &cursor.text[start..cursor.at];
        let (column, scratch) = self.with_scratch(id);
        let scalar = match value {
            Value::Bool(value) => Ok(Scalar::Bool(value)),
            Value::Number => Ok(Scalar::Number(raw)),
            Value::String(text) => text.unescaped(scratch).map(Scalar::Text),
            Value::Object | Value::Array | Value::Null => Ok(Scalar::Container),
        };
        let stored = scalar.and_then(|scalar| column.store(scalar, raw));
        stored.map_err(|invalid| Fault::in_column(&column.path, invalid))
    }
}

impl Column {
    /// Appends a scalar of which `raw` is the JSON text.
    fn store(&mut self, scalar: Scalar<'_>, raw: &[u8]) -> Result<(), Invalid> {
        let type_name = self.type_name();
        let wrong = || match scalar {
            Scalar::Text(text) => Invalid::syntax(type_name, text.as_bytes()),
            _ => Invalid::syntax(type_name, raw),
        };
        match &mut self.values {
            Values::Boolean(v) => match scalar {
                Scalar::Bool(value) => v.push(value),
                Scalar::Text(text) => v.push(types::boolean(text)?),
                _ => return Err(wrong()),
            },
            Values::SmallInt(v) => v.push(scalar.integer(type_name)?.ok_or_else(wrong)?),
            Values::Integer(v) => v.push(scalar.integer(type_name)?.ok_or_else(wrong)?),
            Values::BigInt(v) => v.push(scalar.integer(type_name)?.ok_or_else(wrong)?),
            Values::Real(v) => v.push(types::float32(scalar.numeric_text().ok_or_else(wrong)?)?),
            Values::Double(v) => v.push(types::float64(scalar.numeric_text().ok_or_else(wrong)?)?),
            Values::Numeric { precision, scale, values, .. } => {
                let text = scalar.numeric_text().ok_or_else(wrong)?;
                values.push(types::decimal(text.as_bytes(), *precision, *scale)?);
            }
            Values::Text { text: bytes, length, .. } => {
                // What is no string keeps its JSON text.
                let text = match scalar {
                    Scalar::Text(text) => text,
                    _ => std::str::from_utf8(raw).map_err(|_| wrong())?,
                };
                let text = length.map_or(Ok(text), |length| length.fit(text))?;
                bytes.bytes.extend_from_slice(text.as_bytes());
                bytes.close()?;
            }
            Values::Bytea(bytes) => {
                types::bytea(scalar.text().ok_or_else(wrong)?, &mut bytes.bytes)?;
                bytes.close()?;
            }
            Values::Date(v) => v.push(match scalar {
                Scalar::Text(text) => types::date(text)?,
                _ => scalar.integer(type_name)?.ok_or_else(wrong)?,
            }),
            Values::Time(v) => v.push(match scalar {
                Scalar::Text(text) => types::time(text)?,
                _ => {
                    let micros = scalar.integer(type_name)?.ok_or_else(wrong)?;
                    let in_day = (0..=MICROS_PER_DAY).contains(&micros);
                    in_day.then_some(micros).ok_or_else(|| Invalid::out_of_range(type_name, raw))?
                }
            }),
            Values::Timestamp { unit, zoned, values, .. } => values.push(match scalar {
                Scalar::Text(text) => types::timestamp(text, *unit, *zoned)?,
                Scalar::Number(raw) => {
                    let number = Number::parse(raw).expect("every JSON number is a number");
                    let instant = types::timestamp_from_number(&number, *unit);
                    instant.ok_or_else(|| Invalid::out_of_range(type_name, raw))?
                }
                Scalar::Bool(_) | Scalar::Container => return Err(wrong()),
            }),
            Values::Interval(v) => v.push(types::interval(scalar.text().ok_or_else(wrong)?)?),
            Values::Uuid(v) => v.push(types::uuid(scalar.text().ok_or_else(wrong)?)?),
            // jsonb takes any value and never comes here; the others need an array or an object.
            Values::Jsonb(_) | Values::List { .. } | Values::Struct(_) => return Err(wrong()),
        }
        Ok(())
    }
}

impl<'a> Scalar<'a> {
    fn text(self) -> Option<&'a str> {
        match self {
            Scalar::Text(text) => Some(text),
            Scalar::Bool(_) | Scalar::Number(_) | Scalar::Container => None,
        }
    }

    /// The text of a number, or of a string that is to be read as one.
    fn numeric_text(self) -> Option<&'a str> {
        match self {
            Scalar::Text(text) => Some(text),
            Scalar::Number(raw) => Some(std::str::from_utf8(raw).expect("a JSON number is ASCII")),
            Scalar::Bool(_) | Scalar::Container => None,
        }
    }

    /// `Ok(None)` when this is neither a number nor a string.
    fn integer<T: TryFrom<i128>>(self, type_name: &str) -> Result<Option<T>, Invalid> {
        match self {
            Scalar::Text(text) => types::integer(text, type_name).map(Some),
            Scalar::Number(raw) => {
                let number = Number::parse(raw).expect("every JSON number is a number");
                types::integer_from_number(&number, raw, type_name).map(Some)
            }
            Scalar::Bool(_) | Scalar::Container => Ok(None),
        }
    }
}
