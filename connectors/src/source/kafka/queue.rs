//! The queue of one partition inside librdkafka, emptied in batches: the only unsafe code of the reader.
//!
//! `rd_kafka_consume_batch_queue` hands over what is queued without the event that the safe interface makes of every
//! message, which is what makes it twice as fast. A message's bytes are copied into [`Arrivals`] and the message is given
//! back at once, so no pointer of librdkafka's outlives [`PartitionQueue::take`]. Nothing here decides what an error means.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka_sys as sys;
use sys::rd_kafka_resp_err_t as Code;

use super::client::Client;

/// Messages asked of librdkafka at once. With the bytes in a queue bounded, this bounds nothing but the array.
const CHUNK_MESSAGES: usize = 256;

/// A batch is closed once it has this many bytes, whatever its rows: decoding then still works within the cache's reach
/// and one split of large messages does not hold up the others.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// Start and length of bytes in a buffer.
pub(super) type Span = (u32, u32);

/// The span of a key or value that is not there, which is something else than an empty one.
pub(super) const ABSENT: Span = (u32::MAX, 0);

/// What of the messages, besides their values and offsets, somebody needs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Carry {
    pub(super) keys: bool,
    pub(super) timestamps: bool,
    pub(super) headers: bool,
}

/// One header of the message with index `message`; both spans are of [`Arrivals::side`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) message: u32,
    pub(super) key: Span,
    pub(super) value: Span,
}

/// Messages of one partition, copied out. What [`Carry`] leaves out is empty; the other vectors have one element per message.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// The values, one after the other.
    pub(super) data: Vec<u8>,
    /// Keys and headers.
    pub(super) side: Vec<u8>,
    pub(super) offsets: Vec<u64>,
    /// Into `data`, [`ABSENT`] for tombstones.
    pub(super) values: Vec<Span>,
    /// How many values are absent.
    pub(super) absent: usize,
    /// Into `side`.
    pub(super) keys: Vec<Span>,
    /// Milliseconds since 1970; negative where the message has none.
    pub(super) timestamps_ms: Vec<i64>,
    pub(super) headers: Vec<Header>,
    /// Bytes of keys and values, as they came.
    pub(super) bytes: u64,
    /// The partition is read up to here, gaps included.
    pub(super) position: u64,
    /// What librdkafka said about the partition itself.
    pub(super) errors: Vec<(RDKafkaErrorCode, String)>,
}

impl Arrivals {
    pub(super) fn clear(&mut self, position: u64) {
        self.data.clear();
        self.side.clear();
        self.offsets.clear();
        self.values.clear();
        self.absent = 0;
        self.keys.clear();
        self.timestamps_ms.clear();
        self.headers.clear();
        self.bytes = 0;
        self.position = position;
        self.errors.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.offsets.len()
    }

    /// The value of a message, `None` for a tombstone.
    pub(super) fn value(&self, message: usize) -> Option<&[u8]> {
        slice_of(&self.data, self.values[message])
    }

    pub(super) fn key(&self, message: usize) -> Option<&[u8]> {
        slice_of(&self.side, self.keys[message])
    }
}

pub(super) fn slice_of(data: &[u8], span: Span) -> Option<&[u8]> {
    let (start, length) = (span.0 as usize, span.1 as usize);
    if span == ABSENT { None } else { data.get(start..start + length) }
}

/// Wakes a reader when one of its queues is no longer empty.
#[derive(Debug, Default)]
pub(super) struct Wake {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Wake {
    pub(super) fn raise(&self) {
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }

    /// Waits until raised since the last wait, or for `timeout`.
    pub(super) fn wait(&self, timeout: Duration) {
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(raised, timeout, |raised| !*raised);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

/// The queue into which librdkafka's threads put what they fetch of one partition.
pub(super) struct PartitionQueue {
    queue: NonNull<sys::rd_kafka_queue_t>,
    chunk: Vec<*mut sys::rd_kafka_message_t>,
    /// librdkafka holds a pointer to it until the queue is dropped.
    wake: Arc<Wake>,
    /// The queue must not outlive its client.
    _client: Arc<Client>,
}

// SAFETY: librdkafka's queues may be used from any thread; the chunk's pointers are only valid, and only used, within one
// call of `take`, which borrows the queue mutably.
unsafe impl Send for PartitionQueue {}

impl PartitionQueue {
    /// Takes the partition's queue out of the consumer's common one. To be called before the partition is assigned, as
    /// what is queued by then has gone the common way.
    pub(super) fn new(
        client: &Arc<Client>,
        topic: &str,
        partition: i32,
        wake: &Arc<Wake>,
    ) -> Option<PartitionQueue> {
        let topic = CString::new(topic).ok()?;
        let handle = client.client().native_ptr();
        // SAFETY: the handle is that of a living client, which `_client` keeps; the topic is a C string that librdkafka
        // copies. The queue returned is owned by us until destroyed.
        let queue = unsafe { sys::rd_kafka_queue_get_partition(handle, topic.as_ptr(), partition) };
        let queue = NonNull::new(queue)?;
        let wake = wake.clone();
        // SAFETY: the queue is valid. The opaque pointer is that of an Arc which the returned value holds until its drop
        // has taken the callback away again; `Wake` is Sync, as librdkafka calls from its own threads.
        unsafe {
            sys::rd_kafka_queue_forward(queue.as_ptr(), ptr::null_mut());
            let opaque = Arc::as_ptr(&wake).cast_mut().cast::<c_void>();
            sys::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(on_nonempty), opaque);
        }
        let chunk = vec![ptr::null_mut(); CHUNK_MESSAGES];
        Some(PartitionQueue { queue, chunk, wake, _client: client.clone() })
    }

    /// Moves what is queued to `into`, which is at the partition's position: at most `messages_max` messages, and none at
    /// or after `until`. Never waits. Reaching `until` shows in the position.
    pub(super) fn take(
        &mut self,
        messages_max: usize,
        until: u64,
        carry: Carry,
        into: &mut Arrivals,
    ) {
        while into.len() < messages_max
            && into.data.len() < BATCH_BYTES_MAX
            && into.position < until
        {
            let asked = CHUNK_MESSAGES.min(messages_max - into.len());
            // SAFETY: the chunk has room for `asked` pointers; the messages returned are ours until destroyed below.
            let count = unsafe {
                let chunk = self.chunk.as_mut_ptr();
                sys::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, chunk, asked)
            };
            let count = usize::try_from(count).unwrap_or(0);
            for &message in &self.chunk[..count] {
                // SAFETY: librdkafka filled the first `count` elements with valid messages; each is read, then destroyed
                // exactly once.
                unsafe {
                    into.push(message, until, carry);
                    sys::rd_kafka_message_destroy(message);
                }
            }
            if count < asked {
                return;
            }
        }
    }
}

impl Drop for PartitionQueue {
    fn drop(&mut self) {
        // SAFETY: the queue is valid and ours. Taking the callback away locks the queue, as calling it does, so no thread
        // of librdkafka uses `wake` afterwards. `_client`, which the queue needs, is dropped after this.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
        self.wake.raise();
    }
}

unsafe extern "C" fn on_nonempty(_: *mut sys::rd_kafka_t, opaque: *mut c_void) {
    // SAFETY: opaque is the Wake that PartitionQueue keeps alive while this callback is set.
    unsafe { &*opaque.cast::<Wake>() }.raise();
}

impl Arrivals {
    /// Copies one message, or notes the error or the end of the partition that stands in its place.
    ///
    /// # Safety
    /// `message` is a valid message of librdkafka's.
    unsafe fn push(&mut self, message: *mut sys::rd_kafka_message_t, until: u64, carry: Carry) {
        // SAFETY: valid by the caller's promise.
        let raw = unsafe { &*message };
        let offset = u64::try_from(raw.offset).unwrap_or(0);
        match raw.err {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            Code::RD_KAFKA_RESP_ERR__PARTITION_EOF => {
                // The offset is the next one to come: control records and compacted messages before it are passed.
                self.position = self.position.max(offset);
                return;
            }
            code => {
                // SAFETY: an error's text is a C string that lives as long as the message.
                let text = unsafe { text(sys::rd_kafka_message_errstr(message)) };
                self.errors.push((code.into(), text));
                return;
            }
        }
        if offset >= until {
            self.position = until;
        }
        // A message before the position was handed over already: librdkafka may fetch again after a change of leaders.
        if offset < self.position || self.position == until {
            return;
        }
        // SAFETY: payload and key are null or have their length.
        let (value, key) =
            unsafe { (bytes(raw.payload, raw.len), bytes(raw.key.cast_const(), raw.key_len)) };
        self.bytes += value.map_or(0, <[u8]>::len) as u64 + key.map_or(0, <[u8]>::len) as u64;
        let value = copy(value, &mut self.data);
        self.absent += usize::from(value == ABSENT);
        if carry.keys {
            let key = copy(key, &mut self.side);
            self.keys.push(key);
        }
        if carry.timestamps {
            let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
            // SAFETY: the message is valid.
            self.timestamps_ms.push(unsafe { sys::rd_kafka_message_timestamp(message, &mut kind) });
        }
        if carry.headers {
            // SAFETY: the message is valid.
            unsafe { self.push_headers(message) };
        }
        self.offsets.push(offset);
        self.values.push(value);
        self.position = offset + 1;
    }

    /// # Safety
    /// `message` is a valid message of librdkafka's.
    unsafe fn push_headers(&mut self, message: *const sys::rd_kafka_message_t) {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is valid; the headers stay its own.
        let code = unsafe { sys::rd_kafka_message_headers(message, &mut headers) };
        if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        let index = self.offsets.len() as u32;
        for at in 0.. {
            let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the headers are valid while the message is; an index past the last one gives an error.
            let code = unsafe {
                sys::rd_kafka_header_get_all(headers, at, &mut name, &mut value, &mut length)
            };
            if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                return;
            }
            // SAFETY: a header's name is a C string, its value null or of its length.
            let (name, value) = unsafe { (text(name), bytes(value, length)) };
            let key = copy(Some(name.as_bytes()), &mut self.side);
            let value = copy(value, &mut self.side);
            self.headers.push(Header { message: index, key, value });
        }
    }
}

/// Appends to a buffer and says where. A reader's queues are bounded far below what 32 bits can address.
fn copy(bytes: Option<&[u8]>, buffer: &mut Vec<u8>) -> Span {
    let Some(bytes) = bytes else { return ABSENT };
    let span = (buffer.len() as u32, bytes.len() as u32);
    buffer.extend_from_slice(bytes);
    span
}

/// # Safety
/// `start` is null or points to `length` bytes that live for `'a`.
unsafe fn bytes<'a>(start: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: by the caller's promise; null was excluded.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast(), length) })
}

/// # Safety
/// `start` is null or a C string.
unsafe fn text(start: *const c_char) -> String {
    if start.is_null() {
        return String::new();
    }
    // SAFETY: by the caller's promise.
    unsafe { CStr::from_ptr(start) }.to_string_lossy().into_owned()
}
