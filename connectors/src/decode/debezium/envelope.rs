//! The frame of an event: where its rows are, and what happened to them.
//!
//! Passes over a message once, so that the whole of it is known to be JSON, and copies nothing. Messages come with
//! (`{"schema": ..., "payload": {...}}`) or without the description of their fields, as the converter that wrote them was set.

use super::super::json::cursor::{Cursor, Fault, Value};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// `c` and, of a snapshot, `r`.
    Set,
    Update,
    Delete,
    Truncate,
    Message,
}

/// An event with the texts of what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Envelope<'a> {
    pub op: Op,
    /// Rows are objects; `None` where they are null or not there.
    pub before: Option<&'a [u8]>,
    pub after: Option<&'a [u8]>,
    /// The description of all fields, an object.
    pub schema: Option<&'a [u8]>,
}

/// A member's value with its text.
type Member<'a> = Option<(Value<'a>, &'a [u8])>;

/// The members of an object that mean something to us.
#[derive(Clone, Copy, Debug, Default)]
struct Members<'a> {
    op: Member<'a>,
    before: Member<'a>,
    after: Member<'a>,
    schema: Member<'a>,
    payload: Member<'a>,
}

impl<'a> Envelope<'a> {
    /// `None` for a message that says nothing: null, or with a null payload.
    pub fn read(message: &'a [u8]) -> Result<Option<Envelope<'a>>, Fault> {
        let Some((members, schema)) = Members::unwrapped(message)? else { return Ok(None) };
        let op = match members.op {
            Some((Value::String(op), _)) => op.raw,
            _ => {
                let reason = "the message is no Debezium event: it has no \"op\"".to_owned();
                return Err(Fault { sqlstate: "22P02", reason });
            }
        };
        let op = match op {
            "c" | "r" => Op::Set,
            "u" => Op::Update,
            "d" => Op::Delete,
            "t" => Op::Truncate,
            "m" => Op::Message,
            _ => {
                let reason = format!("the event has an unknown \"op\": \"{op}\"");
                return Err(Fault { sqlstate: "22P02", reason });
            }
        };
        let (before, after) = (row(members.before, "before")?, row(members.after, "after")?);
        Ok(Some(Envelope { op, before, after, schema }))
    }
}

/// The object in a message's key, and the description of its fields.
pub(super) fn key(key: &[u8]) -> Result<(&[u8], Option<&[u8]>), Fault> {
    let in_key = |fault: Fault| Fault { reason: format!("message key: {}", fault.reason), ..fault };
    let whole = Members::of_message(key).map_err(in_key)?;
    match (whole.schema, whole.payload) {
        (Some(schema), Some((Value::Object, payload))) => Ok((payload, object(Some(schema)))),
        _ => Ok((key, None)),
    }
}

fn object<'a>(member: Member<'a>) -> Option<&'a [u8]> {
    member.filter(|(value, _)| *value == Value::Object).map(|(_, text)| text)
}

fn row<'a>(member: Member<'a>, name: &str) -> Result<Option<&'a [u8]>, Fault> {
    match member {
        None | Some((Value::Null, _)) => Ok(None),
        Some((Value::Object, text)) => Ok(Some(text)),
        Some(_) => {
            let reason = format!("\"{name}\" of the event is neither an object nor null");
            Err(Fault { sqlstate: "22P02", reason })
        }
    }
}

impl<'a> Members<'a> {
    /// The members of the event and its description, whether it is wrapped in a payload or not.
    #[allow(clippy::type_complexity)]
    fn unwrapped(message: &'a [u8]) -> Result<Option<(Members<'a>, Option<&'a [u8]>)>, Fault> {
        if message.trim_ascii() == b"null" {
            return Ok(None);
        }
        let whole = Members::of_message(message)?;
        match whole.payload {
            Some((Value::Object, payload)) if whole.op.is_none() => {
                Ok(Some((Members::of_message(payload)?, object(whole.schema))))
            }
            Some((Value::Null, _)) if whole.op.is_none() => Ok(None),
            _ => Ok(Some((whole, None))),
        }
    }

    fn of_message(message: &'a [u8]) -> Result<Members<'a>, Fault> {
        let mut cursor = Cursor::new(message);
        cursor.skip_whitespace();
        if cursor.peek().is_none() {
            return Err(Fault { sqlstate: "22P02", reason: "the message is empty".to_owned() });
        }
        let mut members = Members::default();
        let mut more = cursor.enter(b'{', b'}')?;
        while more {
            let key = cursor.key()?;
            let start = cursor.at;
            let value = cursor.value(0)?;
            let member = Some((value, &cursor.text[start..cursor.at]));
            match key.raw {
                "op" => members.op = member,
                "before" => members.before = member,
                "after" => members.after = member,
                "schema" => members.schema = member,
                "payload" => members.payload = member,
                _ => {}
            }
            more = cursor.another(b'}')?;
        }
        cursor.skip_whitespace();
        if cursor.peek().is_some() {
            return cursor.fault("expected the message's end after its object");
        }
        Ok(members)
    }
}
