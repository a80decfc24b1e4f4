//! The tables' columns: name, type and how an array of it is made from event numbers.
//!
//! A column is made alone, from nothing but the model and the numbers: those that nobody uses cost nothing.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray, UInt32Array};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, TimeUnit};
use arrow_select::take::take;

use super::model::{CATEGORIES, FIRST_CATEGORY, Model, Purpose, Table};
use super::text::{self, Channels};
use crate::source::draws::{below, letters};

/// Average bytes of `extra`, which pads a person to about 200 bytes, an auction to 500 and a bid to 100 (its four
/// numbers counted, its channel and URL not, as the benchmark does).
const PERSON_EXTRA_BYTES: u64 = 126;
const AUCTION_EXTRA_BYTES: u64 = 360;
const BID_EXTRA_BYTES: u64 = 68;

#[derive(Clone, Copy)]
enum Kind {
    BigInt,
    Varchar,
    Timestamp,
}

pub(super) struct Column {
    pub(super) name: &'static str,
    kind: Kind,
    pub(super) make: fn(&Model, &[u64]) -> ArrayRef,
}

impl Column {
    pub(super) fn data_type(&self) -> DataType {
        match self.kind {
            Kind::BigInt => DataType::Int64,
            Kind::Varchar => DataType::Utf8,
            Kind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        }
    }

    pub(super) fn sql_type(&self) -> &'static str {
        match self.kind {
            Kind::BigInt => "bigint",
            Kind::Varchar => "varchar",
            Kind::Timestamp => "timestamp",
        }
    }
}

const fn bigint(name: &'static str, make: fn(&Model, &[u64]) -> ArrayRef) -> Column {
    Column { name, kind: Kind::BigInt, make }
}

const fn varchar(name: &'static str, make: fn(&Model, &[u64]) -> ArrayRef) -> Column {
    Column { name, kind: Kind::Varchar, make }
}

const fn timestamp(name: &'static str, make: fn(&Model, &[u64]) -> ArrayRef) -> Column {
    Column { name, kind: Kind::Timestamp, make }
}

/// A table's columns in their order.
pub(super) fn of(table: Table) -> &'static [Column] {
    match table {
        Table::Person => PERSON,
        Table::Auction => AUCTION,
        Table::Bid => BID,
    }
}

const PERSON: &[Column] = &[
    bigint("id", |m, ns| numbers(ns, |n| m.id(Table::Person, n))),
    varchar("name", person_name),
    varchar("email_address", email_address),
    varchar("credit_card", credit_card),
    varchar("city", |m, ns| picks(m, ns, Purpose::City, text::CITIES)),
    varchar("state", |m, ns| picks(m, ns, Purpose::State, text::STATES)),
    timestamp("date_time", date_time),
    varchar("extra", |m, ns| extra(m, ns, PERSON_EXTRA_BYTES)),
];

const AUCTION: &[Column] = &[
    bigint("id", |m, ns| numbers(ns, |n| m.id(Table::Auction, n))),
    varchar("item_name", |m, ns| sentences(m, ns, Purpose::ItemName, 5, 20)),
    varchar("description", |m, ns| sentences(m, ns, Purpose::Description, 20, 100)),
    bigint("initial_bid", |m, ns| numbers(ns, |n| m.price(n, Purpose::InitialBid))),
    bigint("reserve", |m, ns| {
        numbers(ns, |n| m.price(n, Purpose::InitialBid) + m.price(n, Purpose::Reserve))
    }),
    timestamp("date_time", date_time),
    timestamp("expires", |m, ns| times(ns, |n| m.expires_us(n))),
    bigint("seller", |m, ns| numbers(ns, |n| m.seller(n))),
    bigint("category", |m, ns| {
        let draws = m.draws(Purpose::Category);
        numbers(ns, |n| (FIRST_CATEGORY + below(draws.at(n), CATEGORIES)) as i64)
    }),
    varchar("extra", |m, ns| extra(m, ns, AUCTION_EXTRA_BYTES)),
];

const BID: &[Column] = &[
    bigint("auction", |m, ns| numbers(ns, |n| m.bid_auction(n))),
    bigint("bidder", |m, ns| numbers(ns, |n| m.bidder(n))),
    bigint("price", |m, ns| numbers(ns, |n| m.price(n, Purpose::Price))),
    varchar("channel", |m, ns| from_channel(m, ns, &m.channels.names)),
    varchar("url", |m, ns| from_channel(m, ns, &m.channels.urls)),
    timestamp("date_time", date_time),
    varchar("extra", |m, ns| extra(m, ns, BID_EXTRA_BYTES)),
];

fn numbers(ns: &[u64], value: impl Fn(u64) -> i64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(ns.iter().map(|n| value(*n))))
}

fn times(ns: &[u64], value_us: impl Fn(u64) -> i64) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(ns.iter().map(|n| value_us(*n))))
}

/// An array of the texts that `append` adds for each number; `row_bytes` is what a row takes on average.
fn texts(ns: &[u64], row_bytes: u64, append: impl Fn(u64, &mut Vec<u8>)) -> ArrayRef {
    let mut bytes: Vec<u8> = Vec::with_capacity(ns.len() * (row_bytes as usize + 8));
    let mut offsets: Vec<i32> = Vec::with_capacity(ns.len() + 1);
    offsets.push(0);
    for n in ns {
        append(*n, &mut bytes);
        offsets.push(bytes.len() as i32);
    }
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let array = StringArray::try_new(offsets, Buffer::from_vec(bytes), None);
    Arc::new(array.expect("all generated text is ASCII"))
}

fn date_time(model: &Model, ns: &[u64]) -> ArrayRef {
    times(ns, |n| model.time_us(n))
}

fn person_name(model: &Model, ns: &[u64]) -> ArrayRef {
    let draws = model.draws(Purpose::PersonName);
    texts(ns, 12, |n, out| {
        let draws = draws.of(n);
        out.extend_from_slice(pick(text::FIRST_NAMES, draws.at(0)).as_bytes());
        out.push(b' ');
        out.extend_from_slice(pick(text::LAST_NAMES, draws.at(1)).as_bytes());
    })
}

fn email_address(model: &Model, ns: &[u64]) -> ArrayRef {
    let draws = model.draws(Purpose::Email);
    texts(ns, 17, |n, out| {
        let draws = draws.of(n);
        letters(draws, 7, out);
        out.push(b'@');
        letters(draws.of(0), 5, out);
        out.extend_from_slice(b".com");
    })
}

fn credit_card(model: &Model, ns: &[u64]) -> ArrayRef {
    let draws = model.draws(Purpose::CreditCard);
    texts(ns, 19, |n, out| text::credit_card(draws.at(n), out))
}

fn pick(choices: &'static [&'static str], draw: u64) -> &'static str {
    choices[below(draw, choices.len() as u64) as usize]
}

fn picks(
    model: &Model,
    ns: &[u64],
    purpose: Purpose,
    choices: &'static [&'static str],
) -> ArrayRef {
    let draws = model.draws(purpose);
    let values = ns.iter().map(|n| pick(choices, draws.at(*n)));
    Arc::new(StringArray::from_iter_values(values))
}

fn sentences(model: &Model, ns: &[u64], purpose: Purpose, min: u64, max: u64) -> ArrayRef {
    let draws = model.draws(purpose);
    texts(ns, (min + max) / 2, |n, out| {
        let length = min + below(draws.at(n), max - min + 1);
        text::words(draws.of(n), length as usize, out);
    })
}

/// A bid's channel or URL: both are picked by the same draw, so they belong together.
fn from_channel(model: &Model, ns: &[u64], values: &StringArray) -> ArrayRef {
    let draws = model.draws(Purpose::Channel);
    let indices = UInt32Array::from_iter_values(ns.iter().map(|n| Channels::pick(draws.at(*n))));
    take(values, &indices, None).expect("Channels::pick stays within the channels")
}

/// Padding of `average_bytes`, give or take a fifth.
fn extra(model: &Model, ns: &[u64], average_bytes: u64) -> ArrayRef {
    let (lengths, draws) = (model.draws(Purpose::ExtraLength), model.draws(Purpose::Extra));
    let spread = average_bytes / 5;
    texts(ns, average_bytes, |n, out| {
        let length = average_bytes - spread + below(lengths.at(n), 2 * spread + 1);
        letters(draws.of(n), length as usize, out);
    })
}
