//! What tells a topic from another one of the same name, made after it was deleted.
//!
//! librdkafka answers this only through its admin interface, which the safe bindings leave out: the one use of it, and
//! all of its unsafe code, is [`of`]. Every object of librdkafka's is freed by the guard that holds it.

use std::ffi::{CString, c_char};
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka_sys as sys;

use super::client::Client;

/// The 128 bits that a broker gave the topic when it was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TopicId(i64, i64);

/// A pointer of librdkafka's with the function that frees it.
struct Owned<T>(NonNull<T>, unsafe extern "C" fn(*mut T));

impl<T> Owned<T> {
    fn new(pointer: *mut T, free: unsafe extern "C" fn(*mut T)) -> Option<Owned<T>> {
        NonNull::new(pointer).map(|pointer| Owned(pointer, free))
    }

    fn get(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: `new` was given an object that is ours and the function that librdkafka has for freeing it.
        unsafe { (self.1)(self.0.as_ptr()) }
    }
}

/// The id of a topic. `None` when the brokers do not answer in time or know of no ids, or the topic is not there.
pub(super) fn of(client: &Client, topic: &str, timeout: Duration) -> Option<TopicId> {
    let name = CString::new(topic).ok()?;
    let mut names: [*const c_char; 1] = [name.as_ptr()];
    let handle = client.client().native_ptr();
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the handle is that of a living client. The collection copies the names. The queue and the event are ours
    // until their guards drop, the event first; what is read of the event is not kept beyond it, and its pointers are
    // checked before they are followed.
    unsafe {
        let topics = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1);
        let topics = Owned::new(topics, sys::rd_kafka_TopicCollection_destroy)?;
        let queue = Owned::new(sys::rd_kafka_queue_new(handle), sys::rd_kafka_queue_destroy)?;
        sys::rd_kafka_DescribeTopics(handle, topics.get(), ptr::null(), queue.get());
        let event = sys::rd_kafka_queue_poll(queue.get(), timeout_ms);
        let event = Owned::new(event, sys::rd_kafka_event_destroy)?;
        let result = sys::rd_kafka_event_DescribeTopics_result(event.get());
        if result.is_null() {
            return None;
        }
        let mut count = 0;
        let found = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if found.is_null() || count != 1 {
            return None;
        }
        let id = sys::rd_kafka_TopicDescription_topic_id(*found);
        if id.is_null() {
            return None;
        }
        let id = TopicId(
            sys::rd_kafka_Uuid_most_significant_bits(id),
            sys::rd_kafka_Uuid_least_significant_bits(id),
        );
        (id != TopicId(0, 0)).then_some(id)
    }
}
