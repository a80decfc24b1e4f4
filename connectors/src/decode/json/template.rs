//! The fast way from a message to a row: the layout of earlier messages, guessed again.
//!
//! Messages of one topic mostly have the same keys in the same order with the same spacing. A [`Template`] is that
//! layout, learned from a message which the careful way took: the literal bytes between the values (`,"price":`),
//! each followed by what to do with the value behind it. A message fits a template when every literal is found at
//! its place and the last one ends exactly at the message's end; then it is the same JSON with other values, and
//! since each value was read by a rule that takes only valid ones, the row is the one that the careful way would
//! have made. A value that the short rules here do not take (a null, an escape, a nested array) is read by the
//! careful way and the template goes on. On any other surprise the message is given up, cut off the columns and left
//! to the careful way whole. Nothing here decides that a message is bad.

use arrow_schema::TimeUnit;

use super::blocks::{self, BLOCK_BYTES, POW10, load16};
use super::column::{Bytes, Column, ColumnId, Columns, Minute, Values};
use super::cursor::Cursor;
use crate::types;

/// How many layouts are remembered: enough for optional keys or a few kinds of message in one topic, few enough that
/// trying them all in vain costs less than the careful way.
const TEMPLATES_MAX: usize = 4;
/// A layout with more steps is not learned; it bounds what a strange message can make us keep.
const STEPS_MAX: usize = 4096;

/// What follows a literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// The rest of a long literal, or nothing at the message's end.
    Nothing,
    /// A value that belongs to no column.
    Skip,
    /// The value of a column.
    Column,
}

/// A piece of literal text, compared sixteen bytes at once, and the value after it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    literal: u128,
    mask: u128,
    column: ColumnId,
    len: u8,
    action: Action,
}

/// What is left to do for a column once the message fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closing {
    /// The layout has no such member.
    Null,
    /// The object is there: its struct has one more row.
    Present,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Template {
    steps: Vec<Step>,
    closings: Vec<(ColumnId, Closing)>,
}

/// The layouts learned, the last one that fitted first.
#[derive(Debug, Default)]
pub(super) struct Templates {
    recent: Vec<Template>,
    /// How many messages fitted a template.
    pub hits: u64,
}

/// Takes note of a message's layout while the careful way reads it.
#[derive(Debug, Default)]
pub(super) struct Learner {
    template: Template,
    /// Where the last value ended and the next literal begins.
    literal_start: usize,
    /// Whether the message's layout can be a template at all.
    useless: bool,
}

impl Templates {
    /// Reads the message at `start..end` of `data` into a row if it fits a template; else leaves the columns as they
    /// were.
    #[inline]
    pub fn read_message(
        &mut self,
        columns: &mut Columns,
        data: &[u8],
        start: usize,
        end: usize,
    ) -> bool {
        for index in 0..self.recent.len() {
            if self.recent[index].read_message(columns, data, start, end) {
                if index > 0 {
                    self.recent[..=index].rotate_right(1);
                }
                self.hits += 1;
                return true;
            }
            columns.rollback(columns.rows());
        }
        false
    }

    /// Remembers the layout of the message that the learner has just seen, in place of the one used longest ago.
    pub fn learn(&mut self, learner: &mut Learner) {
        if learner.useless {
            return;
        }
        // A known layout comes here when the message lies too near the end of a buffer without padding.
        if let Some(index) = self.recent.iter().position(|known| *known == learner.template) {
            self.recent[..=index].rotate_right(1);
            return;
        }
        self.recent.truncate(TEMPLATES_MAX - 1);
        self.recent.insert(0, std::mem::take(&mut learner.template));
    }
}

impl Learner {
    pub fn begin(&mut self) {
        self.template.steps.clear();
        self.template.closings.clear();
        self.literal_start = 0;
        self.useless = false;
    }

    /// The message cannot be a template.
    pub fn give_up(&mut self) {
        self.useless = true;
    }

    /// A column's value went from `start` to the cursor.
    pub fn value(&mut self, cursor: &Cursor<'_>, start: usize, column: ColumnId) {
        self.step(cursor.text, start, Action::Column, column);
        self.literal_start = cursor.at;
    }

    /// A value without a column went from `start` to the cursor.
    pub fn skipped(&mut self, cursor: &Cursor<'_>, start: usize) {
        self.step(cursor.text, start, Action::Skip, 0);
        self.literal_start = cursor.at;
    }

    pub fn close(&mut self, column: ColumnId, closing: Closing) {
        self.template.closings.push((column, closing));
    }

    /// The message is read to its end.
    pub fn end(&mut self, message: &[u8]) {
        self.step(message, message.len(), Action::Nothing, 0);
        self.useless |= self.template.steps.len() > STEPS_MAX;
    }

    /// The literal up to `end`, in pieces of a block, of which the last one carries the action.
    fn step(&mut self, message: &[u8], end: usize, action: Action, column: ColumnId) {
        if self.useless || self.template.steps.len() > STEPS_MAX {
            return;
        }
        let mut pieces = message[self.literal_start..end].chunks(BLOCK_BYTES).peekable();
        while let Some(piece) = pieces.next() {
            let mut literal = [0; BLOCK_BYTES];
            literal[..piece.len()].copy_from_slice(piece);
            let mut mask = [0; BLOCK_BYTES];
            mask[..piece.len()].fill(0xff);
            self.template.steps.push(Step {
                literal: u128::from_ne_bytes(literal),
                mask: u128::from_ne_bytes(mask),
                column,
                len: piece.len() as u8,
                action: if pieces.peek().is_some() { Action::Nothing } else { action },
            });
        }
    }
}

impl Template {
    /// With false the columns may hold a piece of the message.
    #[inline]
    fn read_message(&self, columns: &mut Columns, data: &[u8], start: usize, end: usize) -> bool {
        let mut at = start;
        for step in &self.steps {
            let Some(block) = load16(data, at) else { return false };
            if (u128::from_ne_bytes(block) ^ step.literal) & step.mask != 0 {
                return false;
            }
            at += usize::from(step.len);
            let next = match step.action {
                Action::Nothing => Some(at),
                Action::Skip => {
                    skip_string(data, at, usize::MAX).or_else(|| skip_value(data, at, end))
                }
                Action::Column => match columns.get_mut(step.column).read_fast(data, at) {
                    Some(next) => Some(next),
                    None => columns.read_carefully(step.column, data, at, end),
                },
            };
            match next {
                Some(next) => at = next,
                None => return false,
            }
        }
        // Past the message's end the literals may have matched another message; ending at its end, they did not.
        if at != end {
            return false;
        }
        for &(column, closing) in &self.closings {
            match closing {
                Closing::Null => columns.push_null(column),
                Closing::Present => columns.close_struct(column),
            }
        }
        true
    }
}

/// Where the plain string at `at` ends.
#[inline(always)]
fn skip_string(data: &[u8], at: usize, bytes_max: usize) -> Option<usize> {
    if *data.get(at)? != b'"' {
        return None;
    }
    let plain = blocks::plain(data, at + 1)?;
    let end = at + 1 + plain.len;
    let valid = data[end] == b'"' && (plain.ascii || is_utf8(&data[at + 1..end]));
    (valid && plain.len <= bytes_max).then_some(end + 1)
}

#[inline(never)]
fn is_utf8(bytes: &[u8]) -> bool {
    simdutf8::basic::from_utf8(bytes).is_ok()
}

/// A cursor at `at` over the text up to `end`; `None` where literals have already matched past the message's end.
fn cursor(data: &[u8], at: usize, end: usize) -> Option<Cursor<'_>> {
    (at <= end).then_some(Cursor { text: data.get(..end)?, at })
}

/// Where the value at `at` ends, whatever it is.
fn skip_value(data: &[u8], at: usize, end: usize) -> Option<usize> {
    let mut cursor = cursor(data, at, end)?;
    cursor.value(0).ok()?;
    Some(cursor.at)
}

impl Columns {
    #[inline(never)]
    fn read_carefully(
        &mut self,
        id: ColumnId,
        data: &[u8],
        at: usize,
        end: usize,
    ) -> Option<usize> {
        let mut cursor = cursor(data, at, end)?;
        self.read_value(id, &mut cursor).ok()?;
        if !self.get(id).kept {
            self.truncate(id, 0);
        }
        Some(cursor.at)
    }
}

impl Column {
    /// Reads the value at `at` by a short rule and gives its end. With `None` nothing is appended: the value is no
    /// plain one of the column's type, or its type has no short rule.
    #[inline(always)]
    fn read_fast(&mut self, data: &[u8], at: usize) -> Option<usize> {
        let kept = self.kept;
        match &mut self.values {
            Values::BigInt(v) => keep(v, kept, blocks::integer(data, at)),
            Values::Integer(v) => keep(v, kept, narrow(data, at)),
            Values::SmallInt(v) => keep(v, kept, narrow(data, at)),
            Values::Boolean(v) => keep(v, kept, boolean(data, at)),
            Values::Double(v) => keep(v, kept, double(data, at)),
            Values::Real(v) => keep(v, kept, real(data, at)),
            Values::Numeric { scale, limit, values, .. } => {
                keep(values, kept, numeric(data, at, *scale, *limit))
            }
            Values::Text { text, fast_bytes, .. } if kept => {
                copy_string(data, at, text, *fast_bytes)
            }
            Values::Text { fast_bytes, .. } => skip_string(data, at, *fast_bytes),
            Values::Timestamp { unit, per_second, zoned: _, minute, values } => keep(
                values,
                kept,
                match *data.get(at)? {
                    b'"' => timestamp(data, at + 1, *per_second, minute),
                    _ => epoch_number(data, at, *unit),
                },
            ),
            Values::Jsonb(_)
            | Values::Bytea(_)
            | Values::Date(_)
            | Values::Time(_)
            | Values::Interval(_)
            | Values::Uuid(_)
            | Values::List { .. }
            | Values::Struct(_) => None,
        }
    }
}

/// Appends a value that was read, if its column is kept, and gives its end.
#[inline(always)]
fn keep<T>(values: &mut Vec<T>, kept: bool, read: Option<(T, usize)>) -> Option<usize> {
    let (value, end) = read?;
    if kept {
        values.push(value);
    }
    Some(end)
}

/// Appends the plain string at `at` and gives its end; with `None` nothing is appended.
#[inline(always)]
fn copy_string(data: &[u8], at: usize, text: &mut Bytes, bytes_max: usize) -> Option<usize> {
    if *data.get(at)? != b'"' {
        return None;
    }
    let plain = blocks::copy_plain(data, at + 1, &mut text.bytes)?;
    let end = at + 1 + plain.len;
    let valid = data[end] == b'"' && (plain.ascii || is_utf8(&data[at + 1..end]));
    if !valid || plain.len > bytes_max || text.close().is_err() {
        text.undo();
        return None;
    }
    Some(end + 1)
}

#[inline(always)]
fn narrow<T: TryFrom<i64>>(data: &[u8], at: usize) -> Option<(T, usize)> {
    let (value, end) = blocks::integer(data, at)?;
    Some((T::try_from(value).ok()?, end))
}

#[inline(always)]
fn epoch_number(data: &[u8], at: usize, unit: TimeUnit) -> Option<(i64, usize)> {
    let (value, end) = blocks::integer(data, at)?;
    Some((types::timestamp_from_count(value, unit)?, end))
}

#[inline(always)]
fn boolean(data: &[u8], at: usize) -> Option<(bool, usize)> {
    let rest = data.get(at..)?;
    if rest.starts_with(b"true") {
        Some((true, at + 4))
    } else if rest.starts_with(b"false") {
        Some((false, at + 5))
    } else {
        None
    }
}

/// Exact where digits and power of ten both are exact as floats, since one division then rounds once (W. Clinger,
/// "How to read floating point numbers accurately").
#[inline(always)]
fn double(data: &[u8], at: usize) -> Option<(f64, usize)> {
    let number = blocks::plain_number(data, at)?;
    if number.digits >= 1 << f64::MANTISSA_DIGITS {
        return None;
    }
    // Every power up to 10^22 is exact, and the scale is at most 18.
    let value = number.digits as f64 / POW10[number.scale] as f64;
    Some((if number.negative { -value } else { value }, number.end))
}

#[inline(always)]
fn real(data: &[u8], at: usize) -> Option<(f32, usize)> {
    let number = blocks::plain_number(data, at)?;
    // 10^10 is the last power of ten that is exact in 24 bits.
    if number.digits >= 1 << f32::MANTISSA_DIGITS || number.scale > 10 {
        return None;
    }
    let value = number.digits as f32 / POW10[number.scale] as f32;
    Some((if number.negative { -value } else { value }, number.end))
}

/// A number with no more digits after the point than the column's scale.
#[inline(always)]
fn numeric(data: &[u8], at: usize, scale: i8, limit: u128) -> Option<(i128, usize)> {
    let number = blocks::plain_number(data, at)?;
    let zeros = usize::try_from(scale).ok()?.checked_sub(number.scale)?;
    let magnitude = u128::from(number.digits) * u128::from(*POW10.get(zeros)?);
    if magnitude >= limit {
        return None;
    }
    let value = magnitude as i128;
    Some((if number.negative { -value } else { value }, number.end))
}

/// The timestamp `YYYY-MM-DD hh:mm:ss[.fraction][Z]` (or with a `T`) at `at` and its closing quote.
///
/// `Z` may be taken whatever the column: with a time zone it says what holds without it, else it is ignored.
#[inline(always)]
fn timestamp(data: &[u8], at: usize, per_second: i64, minute: &mut Minute) -> Option<(i64, usize)> {
    let prefix = load16(data, at)?;
    if u128::from_ne_bytes(prefix) != u128::from_ne_bytes(minute.text) {
        *minute = Minute { minutes: types::minute(&prefix)?, text: prefix };
    }
    let seconds = data.get(at + 16..at + 20)?;
    let (tens, ones) = (seconds[1].wrapping_sub(b'0'), seconds[2].wrapping_sub(b'0'));
    if seconds[0] != b':' || tens > 5 || ones > 9 {
        return None;
    }
    let (mut end, mut fraction) = (at + 19, 0);
    if seconds[3] == b'.' {
        let (digits, count) = blocks::digits8(blocks::load8(data, at + 20)?);
        if count == 0 || count == 8 {
            return None;
        }
        // digits / 10^count seconds in the unit, rounded half up.
        let power = POW10[count] as i64;
        fraction = (digits as i64 * per_second + power / 2) / power;
        end += 1 + count;
    }
    end += usize::from(*data.get(end)? == b'Z');
    if *data.get(end)? != b'"' {
        return None;
    }
    let whole = minute.minutes * 60 + i64::from(tens) * 10 + i64::from(ones);
    Some((whole.checked_mul(per_second)?.checked_add(fraction)?, end + 1))
}
