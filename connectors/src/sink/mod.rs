//! Sinks: where changes go outside. A [`Target`] is the declared place, a [`Writer`] the connection that one thread delivers by.
//!
//! Messages are bytes: what they say is the caller's business, as are progress, retries and their pauses. Delivery is
//! at-least-once: after an error, or a writer that was dropped, the caller gives the same messages to a new one. A new
//! connector is a file here and a line in [`TARGETS`].

mod blackhole;
mod file;
mod kafka;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::contract::ConnectorError;
use crate::options::{Options, closest};

/// Messages on their way out, in order, in one buffer.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    data: Vec<u8>,
    /// Ends of key and value in `data`, and whether they are there at all.
    entries: Vec<(Option<usize>, Option<usize>)>,
    /// The newest epoch whose changes are among them.
    pub epoch: u64,
    /// What they say, in the units that users count: messages, or the rows of files.
    pub units: u64,
}

/// How a place that takes whole files wants them: a file holds what has come within `interval`, or `bytes` of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rolling {
    pub interval: Duration,
    pub bytes: usize,
}

impl Outgoing {
    /// Appends a message whose parts `key` and `value` write; false leaves the part out.
    pub fn push(
        &mut self,
        key: impl FnOnce(&mut Vec<u8>) -> bool,
        value: impl FnOnce(&mut Vec<u8>) -> bool,
    ) {
        let key = key(&mut self.data).then_some(self.data.len());
        let value = value(&mut self.data).then_some(self.data.len());
        self.entries.push((key, value));
        self.units += 1;
    }

    /// Appends the content of a file of `rows` rows.
    pub fn push_file(&mut self, content: &[u8], rows: u64) {
        self.data.extend_from_slice(content);
        self.entries.push((None, Some(self.data.len())));
        self.units += rows;
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// Keys and values; a message without value is a tombstone.
    pub fn iter(&self) -> impl Iterator<Item = (Option<&[u8]>, Option<&[u8]>)> {
        let mut start = 0;
        self.entries.iter().map(move |&(key, value)| {
            let mut part = |end: Option<usize>| {
                let end = end?;
                Some(&self.data[std::mem::replace(&mut start, end)..end])
            };
            (part(key), part(value))
        })
    }
}

/// A validated place outside. Making one does no I/O.
pub trait Target: Send + Sync {
    /// Whether the place is there; called at CREATE, where its errors are shown to the user.
    fn check(&self, timeout: Duration) -> Result<(), ConnectorError>;

    fn writer(&self) -> Result<Box<dyn Writer>, ConnectorError>;

    /// For places that take whole files: each message is the content of one, and what is written cannot be taken back.
    fn rolling(&self) -> Option<Rolling> {
        None
    }
}

/// Delivers; owned by one thread.
pub trait Writer: Send {
    /// Returns when the place has all messages for good, or early with an error that can be retried once `stop` is set.
    /// After an error any of them may be there; the writer is then not used again.
    fn deliver(&mut self, messages: &Outgoing, stop: &AtomicBool) -> Result<(), ConnectorError>;
}

type Open = fn(&str, &Options) -> Result<Arc<dyn Target>, ConnectorError>;

/// Every connector that writes.
const TARGETS: &[(&str, Open)] =
    &[("kafka", kafka::open), ("file", file::open), ("blackhole", blackhole::open)];

/// Makes the target that a sink's options declare. No I/O is done; all errors are the user's to fix.
pub fn open(name: &str, options: &Options) -> Result<Arc<dyn Target>, ConnectorError> {
    let connector = options.required("connector")?.to_ascii_lowercase();
    if let Some((_, open)) = TARGETS.iter().find(|(known, _)| *known == connector) {
        return open(name, options);
    }
    let known: Vec<&str> = TARGETS.iter().map(|(known, _)| *known).collect();
    let error = ConnectorError::fix(format!("connector \"{connector}\" has no sinks"));
    Err(match closest(&connector, known.iter().copied()) {
        Some(near) => error.with_hint(format!("Perhaps you meant \"{near}\".")),
        None => error.with_hint(format!("Sinks have the connectors {}.", known.join(", "))),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn messages_come_back_as_they_were_put_in() {
        let put = |text: &'static [u8]| {
            move |out: &mut Vec<u8>| {
                out.extend_from_slice(text);
                true
            }
        };
        let nothing = |_: &mut Vec<u8>| false;
        let mut outgoing = Outgoing::default();
        outgoing.push(put(b"k"), put(b"value"));
        outgoing.push(nothing, put(b""));
        outgoing.push(put(b"key"), nothing);
        let bytes = |text: &'static str| Some(text.as_bytes());
        let expected = [(bytes("k"), bytes("value")), (None, bytes("")), (bytes("key"), None)];
        assert!(outgoing.iter().eq(expected));
    }

    #[test]
    fn an_unknown_connector_is_refused_with_the_nearest_name() {
        let options = Options::new([("connector", "kafca")]).unwrap();
        let error = open("s", &options).err().unwrap();
        assert_eq!(error.hint.unwrap(), "Perhaps you meant \"kafka\".");
    }
}
