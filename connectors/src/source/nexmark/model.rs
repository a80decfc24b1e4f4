//! The auction's story as a pure function of the event number: which table, which ids, when.
//!
//! Event number n belongs to cycle n / 50; slot 0 of a cycle is its person, slots 1 to 3 its auctions, the others its
//! bids. So whoever knows n knows how many people and auctions there have been, and no state is kept. Randomness is a
//! hash of (seed, purpose, n): every column has a stream of its own and unwanted ones cost nothing.

use super::text::Channels;
use crate::source::draws::{Draws, below};

/// Events in a cycle: 1 person, 3 auctions, 46 bids.
pub(super) const CYCLE: u64 = 50;
const AUCTIONS_PER_CYCLE: u64 = 3;

/// People and auctions are numbered from here.
pub(super) const FIRST_ID: u64 = 1000;
pub(super) const FIRST_CATEGORY: u64 = 10;
pub(super) const CATEGORIES: u64 = 5;

/// Bids that are not on the hot auction go to one of the last this many.
const AUCTIONS_IN_FLIGHT: u64 = 100;
/// The hot auction, seller and bidder change once in so many auctions or people.
const HOT_PERIOD: u64 = 100;
/// Bidders and sellers may be people who appear only this much later, as a late person event would look.
const PERSON_LEAD: u64 = 10;

/// 2015-07-15 00:00:00 UTC in microseconds, where the benchmark's event time has always begun.
const BASE_TIME_US: u64 = 1_436_918_400_000_000;
pub(super) const DEFAULT_GAP_NS: u64 = 100_000;
pub(super) const DEFAULT_ACTIVE_PEOPLE: u64 = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Person,
    Auction,
    Bid,
}

impl Table {
    pub(super) fn name(self) -> &'static str {
        match self {
            Table::Person => "person",
            Table::Auction => "auction",
            Table::Bid => "bid",
        }
    }

    /// The slots of a cycle that are this table's.
    fn slots(self) -> (u64, u64) {
        match self {
            Table::Person => (0, 1),
            Table::Auction => (1, 1 + AUCTIONS_PER_CYCLE),
            Table::Bid => (1 + AUCTIONS_PER_CYCLE, CYCLE),
        }
    }
}

/// The numbers of a table's events among offsets `from..until` of a split, at most `rows_max`, and the offset reached.
pub(super) fn numbers(
    table: Table,
    split: u32,
    splits: u32,
    from: u64,
    until: u64,
    rows_max: usize,
) -> (Vec<u64>, u64) {
    let (first, last) = table.slots();
    let mut numbers = Vec::with_capacity(rows_max.min((until - from) as usize));
    let mut offset = from;
    while offset < until {
        let (cycle, slot) = (offset / CYCLE, offset % CYCLE);
        let start = (cycle * u64::from(splits) + u64::from(split)) * CYCLE;
        let low = first.max(slot);
        let high = last.min(until - cycle * CYCLE).min(low + (rows_max - numbers.len()) as u64);
        numbers.extend(start + low..start + high.max(low));
        if numbers.len() == rows_max {
            return (numbers, cycle * CYCLE + high);
        }
        offset = (cycle + 1) * CYCLE;
    }
    (numbers, until)
}

/// What a random number is for. The order is part of the data: new purposes go to the end.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Delay = 1,
    PersonName,
    Email,
    CreditCard,
    City,
    State,
    ItemName,
    Description,
    InitialBid,
    Reserve,
    Expires,
    Seller,
    Category,
    BidAuction,
    Bidder,
    Price,
    Channel,
    Url,
    ExtraLength,
    Extra,
}

pub(super) struct Settings {
    pub(super) seed: u64,
    pub(super) gap_ns: u64,
    pub(super) delay_us_max: u64,
    pub(super) active_people: u64,
}

/// The story told with one set of settings.
pub(super) struct Model {
    settings: Settings,
    prices: Prices,
    pub(super) channels: Channels,
}

impl Model {
    pub(super) fn new(settings: Settings) -> Model {
        let urls = Draws::new(settings.seed, Purpose::Url as u64);
        Model { settings, prices: Prices::new(), channels: Channels::new(urls) }
    }

    pub(super) fn draws(&self, purpose: Purpose) -> Draws {
        Draws::new(self.settings.seed, purpose as u64)
    }

    /// The person or auction that event `n` is, in order of appearance.
    pub(super) fn id(&self, table: Table, n: u64) -> i64 {
        let number = match table {
            Table::Person => last_person(n),
            Table::Auction | Table::Bid => last_auction(n),
        };
        (FIRST_ID + number) as i64
    }

    /// Event time in microseconds since 1970.
    pub(super) fn time_us(&self, n: u64) -> i64 {
        let gap_ns = self.settings.gap_ns;
        let since_us =
            n.saturating_mul(gap_ns / 1000).saturating_add(n.saturating_mul(gap_ns % 1000) / 1000);
        let delay_us = match self.settings.delay_us_max {
            0 => 0,
            max => below(self.draws(Purpose::Delay).at(n), max + 1),
        };
        let time_us = since_us.saturating_add(BASE_TIME_US) - delay_us;
        i64::try_from(time_us).unwrap_or(i64::MAX)
    }

    /// When auction `n` closes: about when the auctions in flight at its start have been replaced, on average.
    pub(super) fn expires_us(&self, n: u64) -> i64 {
        let events = AUCTIONS_IN_FLIGHT * CYCLE / AUCTIONS_PER_CYCLE;
        let horizon_us = events.saturating_mul(self.settings.gap_ns) / 1000;
        let length_us = below(self.draws(Purpose::Expires).at(n), horizon_us.saturating_mul(2));
        self.time_us(n).saturating_add(1000 + length_us as i64)
    }

    /// The auction bid `n` is for: half of them for the first of the running hundred.
    pub(super) fn bid_auction(&self, n: u64) -> i64 {
        let (last, draw) = (last_auction(n), self.draws(Purpose::BidAuction).at(n));
        let number = match draw & 1 {
            0 => last / HOT_PERIOD * HOT_PERIOD,
            _ => last - below(draw, (last + 1).min(AUCTIONS_IN_FLIGHT)),
        };
        (FIRST_ID + number) as i64
    }

    /// The seller of auction `n`: three of four times the first of the running hundred people.
    pub(super) fn seller(&self, n: u64) -> i64 {
        self.person(n, self.draws(Purpose::Seller).at(n), 0)
    }

    /// Who makes bid `n`: three of four times the second of the running hundred people, who is not the hot seller.
    pub(super) fn bidder(&self, n: u64) -> i64 {
        self.person(n, self.draws(Purpose::Bidder).at(n), 1)
    }

    fn person(&self, n: u64, draw: u64, hot: u64) -> i64 {
        let last = last_person(n);
        let number = match draw & 3 {
            0 => {
                let people = last + 1;
                let active = people.min(self.settings.active_people);
                people - active + below(draw, active + PERSON_LEAD)
            }
            _ => last / HOT_PERIOD * HOT_PERIOD + hot,
        };
        (FIRST_ID + number) as i64
    }

    /// Between 100 and 100 million, each order of magnitude as likely as any other.
    pub(super) fn price(&self, n: u64, purpose: Purpose) -> i64 {
        self.prices.at(self.draws(purpose).at(n))
    }
}

fn last_person(n: u64) -> u64 {
    n / CYCLE
}

/// The newest auction when event `n` has happened. A cycle's own auctions come after its person.
fn last_auction(n: u64) -> u64 {
    let (cycle, slot) = (n / CYCLE, n % CYCLE);
    (cycle * AUCTIONS_PER_CYCLE + slot.min(AUCTIONS_PER_CYCLE)).saturating_sub(1)
}

/// round(100 * 10^(6u)) for u of 24 random bits, as a product of three table entries: no call of the platform's pow,
/// whose last digit differs between platforms.
struct Prices {
    factors: [[f64; 256]; 3],
}

impl Prices {
    fn new() -> Prices {
        // 10^(6/256), 10^(6/256^2), 10^(6/256^3); powers of them by repeated multiplication are the same everywhere.
        let roots = [1.055_449_600_878_603_f64, 1.000_210_830_182_908_4, 1.000_000_823_468_938_1];
        let powers = |root: f64| {
            let mut power = 1.0;
            std::array::from_fn(|_| {
                let this = power;
                power *= root;
                this
            })
        };
        Prices { factors: roots.map(powers) }
    }

    fn at(&self, draw: u64) -> i64 {
        let byte = |shift: u32| ((draw >> shift) & 0xff) as usize;
        let [a, b, c] = &self.factors;
        (100.0 * a[byte(56)] * b[byte(48)] * c[byte(40)]).round() as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_of_the_price_range_are_exact_enough() {
        let prices = Prices::new();
        let factors = &prices.factors;
        for (power, factor) in [(256.0f64, factors[0][1]), (65536.0, factors[1][1])] {
            assert!((factor - 10f64.powf(6.0 / power)).abs() < 1e-12, "{factor}");
        }
        assert!((factors[2][1] - 10f64.powf(6.0 / 16_777_216.0)).abs() < 1e-12);
        assert_eq!(prices.at(0), 100);
        assert!((99_999_000..=100_000_000).contains(&prices.at(u64::MAX)));
    }

    #[test]
    fn ids_count_people_and_auctions_in_order_of_appearance() {
        assert_eq!([1, 2, 3, 51].map(last_auction), [0, 1, 2, 3]);
        assert_eq!([4, 49, 50].map(last_auction), [2, 2, 2]);
        assert_eq!([0, 49, 50].map(last_person), [0, 0, 1]);
    }

    #[test]
    fn numbers_skip_other_tables_and_reach_until_or_the_last_row() {
        assert_eq!(numbers(Table::Bid, 0, 1, 0, 6, 100), (vec![4, 5], 6));
        assert_eq!(numbers(Table::Auction, 0, 1, 0, 200, 4), (vec![1, 2, 3, 51], 52));
        assert_eq!(numbers(Table::Person, 1, 2, 0, 100, 10), (vec![50, 150], 100));
        assert_eq!(numbers(Table::Person, 0, 1, 1, 50, 10), (vec![], 50));
        assert_eq!(numbers(Table::Person, 0, 1, 7, 7, 10), (vec![], 7));
        assert_eq!(numbers(Table::Auction, 0, 1, 2, 3, 10), (vec![2], 3));
    }
}
