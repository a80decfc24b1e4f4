//! Names, words, padding and URLs.
//!
//! All text is ASCII and is appended to a byte buffer; lengths are in bytes.

use arrow_array::StringArray;

use crate::source::draws::{Draws, below, letters};

pub(super) const FIRST_NAMES: &[&str] = &[
    "Ada", "Boris", "Chandra", "Dalia", "Emil", "Farah", "Goran", "Hana", "Ivo", "Jun", "Kofi",
    "Lena",
];
pub(super) const LAST_NAMES: &[&str] =
    &["Adler", "Bloom", "Castro", "Dahl", "Evans", "Fuchs", "Gupta", "Haas", "Ito", "Jansen"];
pub(super) const STATES: &[&str] = &["OR", "ID", "CA", "WA", "AZ", "WY"];
pub(super) const CITIES: &[&str] = &[
    "Phoenix",
    "Los Angeles",
    "San Francisco",
    "Boise",
    "Portland",
    "Bend",
    "Redmond",
    "Seattle",
    "Kent",
    "Cheyenne",
];

/// Half of the bids come through these.
const HOT_CHANNELS: &[&str] = &["Google", "Facebook", "Baidu", "Apple"];
const NUMBERED_CHANNELS: u64 = 10_000;
/// This share of the numbered channels, in percent, says its number in its URL.
const URL_CHANNEL_ID_PERCENT: u64 = 90;

/// Appends `length` bytes of words of lower-case letters, about seven letters each.
pub(super) fn words(draws: Draws, length: usize, out: &mut Vec<u8>) {
    let start = out.len();
    letters(draws, length, out);
    let mut at = start;
    for word in 0.. {
        at += 4 + below(draws.at(u64::MAX - word), 8) as usize;
        if at + 1 >= out.len() {
            return;
        }
        out[at] = b' ';
    }
}

/// Appends four groups of four digits.
pub(super) fn credit_card(draw: u64, out: &mut Vec<u8>) {
    let mut rest = below(draw, 10_000_000_000_000_000);
    let mut digits = *b"0000 0000 0000 0000";
    for digit in digits.iter_mut().rev().filter(|digit| **digit != b' ') {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&digits);
}

/// Channels and their URLs, made once: a bid's are picked by index.
pub(super) struct Channels {
    pub(super) names: StringArray,
    pub(super) urls: StringArray,
}

impl Channels {
    pub(super) fn new(draws: Draws) -> Channels {
        let hot = HOT_CHANNELS.iter().enumerate();
        let hot = hot.map(|(i, name)| ((*name).to_owned(), url(draws.of(i as u64), None)));
        let numbered = (0..NUMBERED_CHANNELS).map(|number| {
            let draws = draws.of(HOT_CHANNELS.len() as u64 + number);
            let told = below(draws.at(u64::MAX), 100) < URL_CHANNEL_ID_PERCENT;
            (format!("channel-{number}"), url(draws, told.then_some(number)))
        });
        let (names, urls): (Vec<String>, Vec<String>) = hot.chain(numbered).unzip();
        Channels { names: StringArray::from(names), urls: StringArray::from(urls) }
    }

    /// The index of the channel that a draw means.
    pub(super) fn pick(draw: u64) -> u32 {
        let hot = HOT_CHANNELS.len() as u64;
        let index = match draw & 1 {
            0 => below(draw, hot),
            _ => hot + below(draw, NUMBERED_CHANNELS),
        };
        index as u32
    }
}

fn url(draws: Draws, channel_id: Option<u64>) -> String {
    let mut url = b"https://www.auction.example".to_vec();
    for part in 0..3 {
        url.push(b'/');
        letters(draws.of(part), 5, &mut url);
    }
    url.extend_from_slice(b"/item.htm?query=1");
    if let Some(id) = channel_id {
        url.extend_from_slice(format!("&channel_id={id}").as_bytes());
    }
    String::from_utf8(url).expect("letters are ASCII")
}
