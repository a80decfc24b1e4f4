//! The queries of the Nexmark benchmark in our SQL, with the streams they read.
//!
//! Those that need what is not built yet say so instead. Columns and results are those of the published SQL suite; what
//! each query is about stands above it.

/// A query of the suite.
pub struct Query {
    pub name: &'static str,
    pub body: Body,
}

pub enum Body {
    Sql {
        /// Of `person`, `auction`, `bid`.
        streams: &'static [&'static str],
        sql: &'static str,
    },
    /// What has to come first.
    Needs(&'static str),
}

const fn query(name: &'static str, streams: &'static [&'static str], sql: &'static str) -> Query {
    Query { name, body: Body::Sql { streams, sql } }
}

const fn needs(name: &'static str, what: &'static str) -> Query {
    Query { name, body: Body::Needs(what) }
}

/// All of them in order, and the count per auction that the Kafka figure is given for.
pub const QUERIES: &[Query] = &[
    // Bids as they are.
    query("q0", &["bid"], "select * from bid"),
    // Dollars to euros.
    query(
        "q1",
        &["bid"],
        "select auction, bidder, 0.908 * price as price, date_time, extra from bid",
    ),
    // Bids on some auctions.
    query("q2", &["bid"], "select auction, price from bid where auction % 123 = 0"),
    // Who sells in category 10 in Oregon, Idaho and California.
    query(
        "q3",
        &["auction", "person"],
        "select p.name, p.city, p.state, a.id
           from auction a join person p on a.seller = p.id
          where a.category = 10 and p.state in ('OR', 'ID', 'CA')",
    ),
    // Average of the closing prices of each category.
    query(
        "q4",
        &["auction", "bid"],
        "select category, avg(final) as average
           from (select a.category, max(b.price) as final
                   from auction a join bid b on a.id = b.auction
                  where b.date_time between a.date_time and a.expires
                  group by a.id, a.category) as closed
          group by category",
    ),
    needs("q5", "windows (HOP)"),
    // Average of the winning prices of each seller's last ten closed auctions.
    query(
        "q6",
        &["auction", "bid"],
        "select seller, avg(final) over (partition by seller order by date_time
                                         rows between 10 preceding and current row) as average
           from (select a.seller, b.price as final, b.date_time,
                        row_number() over (partition by a.id, a.seller
                                           order by b.price desc, b.date_time) as rank
                   from auction a join bid b on a.id = b.auction
                  where b.date_time between a.date_time and a.expires) as bids
          where rank <= 1",
    ),
    needs("q7", "windows (TUMBLE)"),
    needs("q8", "windows (TUMBLE)"),
    // The winning bid of each auction.
    query(
        "q9",
        &["auction", "bid"],
        "select id, item_name, description, initial_bid, reserve, date_time, expires, seller,
                category, extra, auction, bidder, price, bid_date_time, bid_extra
           from (select a.id, a.item_name, a.description, a.initial_bid, a.reserve, a.date_time,
                        a.expires, a.seller, a.category, a.extra, b.auction, b.bidder, b.price,
                        b.date_time as bid_date_time, b.extra as bid_extra,
                        row_number() over (partition by a.id
                                           order by b.price desc, b.date_time) as rank
                   from auction a join bid b on a.id = b.auction
                  where b.date_time between a.date_time and a.expires) as bids
          where rank <= 1",
    ),
    needs("q10", "the lake sink"),
    needs("q11", "session windows"),
    needs("q12", "processing time"),
    needs("q13", "processing time"),
    // Conversions and a count of letters.
    query(
        "q14",
        &["bid"],
        "select auction, bidder, 0.908 * price as price,
                case when extract(hour from date_time) between 8 and 18 then 'dayTime'
                     when extract(hour from date_time) <= 6
                       or extract(hour from date_time) >= 20 then 'nightTime'
                     else 'otherTime' end as bid_time_type,
                date_time, extra,
                length(extra) - length(replace(extra, 'c', '')) as c_counts
           from bid
          where 0.908 * price > 1000000 and 0.908 * price < 50000000",
    ),
    // Bids, bidders and auctions of a day by price rank.
    query(
        "q15",
        &["bid"],
        "select to_char(date_time, 'YYYY-MM-DD') as day,
                count(*) as total_bids,
                count(*) filter (where price < 10000) as rank1_bids,
                count(*) filter (where price >= 10000 and price < 1000000) as rank2_bids,
                count(*) filter (where price >= 1000000) as rank3_bids,
                count(distinct bidder) as total_bidders,
                count(distinct bidder) filter (where price < 10000) as rank1_bidders,
                count(distinct bidder) filter (where price >= 10000 and price < 1000000) as rank2_bidders,
                count(distinct bidder) filter (where price >= 1000000) as rank3_bidders,
                count(distinct auction) as total_auctions,
                count(distinct auction) filter (where price < 10000) as rank1_auctions,
                count(distinct auction) filter (where price >= 10000 and price < 1000000) as rank2_auctions,
                count(distinct auction) filter (where price >= 1000000) as rank3_auctions
           from bid group by to_char(date_time, 'YYYY-MM-DD')",
    ),
    // The same by channel, with the last minute.
    query(
        "q16",
        &["bid"],
        "select channel, to_char(date_time, 'YYYY-MM-DD') as day,
                max(to_char(date_time, 'HH24:MI')) as minute,
                count(*) as total_bids,
                count(*) filter (where price < 10000) as rank1_bids,
                count(*) filter (where price >= 10000 and price < 1000000) as rank2_bids,
                count(*) filter (where price >= 1000000) as rank3_bids,
                count(distinct bidder) as total_bidders,
                count(distinct bidder) filter (where price < 10000) as rank1_bidders,
                count(distinct bidder) filter (where price >= 10000 and price < 1000000) as rank2_bidders,
                count(distinct bidder) filter (where price >= 1000000) as rank3_bidders,
                count(distinct auction) as total_auctions,
                count(distinct auction) filter (where price < 10000) as rank1_auctions,
                count(distinct auction) filter (where price >= 10000 and price < 1000000) as rank2_auctions,
                count(distinct auction) filter (where price >= 1000000) as rank3_auctions
           from bid group by channel, to_char(date_time, 'YYYY-MM-DD')",
    ),
    // Figures of each auction and day.
    query(
        "q17",
        &["bid"],
        "select auction, to_char(date_time, 'YYYY-MM-DD') as day,
                count(*) as total_bids,
                count(*) filter (where price < 10000) as rank1_bids,
                count(*) filter (where price >= 10000 and price < 1000000) as rank2_bids,
                count(*) filter (where price >= 1000000) as rank3_bids,
                min(price) as min_price, max(price) as max_price,
                avg(price) as avg_price, sum(price) as sum_price
           from bid group by auction, to_char(date_time, 'YYYY-MM-DD')",
    ),
    // The last bid of each bidder on each auction.
    query(
        "q18",
        &["bid"],
        "select auction, bidder, price, channel, url, date_time, extra
           from (select auction, bidder, price, channel, url, date_time, extra,
                        row_number() over (partition by bidder, auction
                                           order by date_time desc) as rank
                   from bid) as bids
          where rank <= 1",
    ),
    // The ten highest bids on each auction.
    query(
        "q19",
        &["bid"],
        "select auction, bidder, price, channel, url, date_time, extra, rank
           from (select auction, bidder, price, channel, url, date_time, extra,
                        row_number() over (partition by auction order by price desc) as rank
                   from bid) as bids
          where rank <= 10",
    ),
    // Bids with their auction, where it is of category 10.
    query(
        "q20",
        &["auction", "bid"],
        "select b.auction, b.bidder, b.price, b.channel, b.url,
                b.date_time as bid_date_time, b.extra as bid_extra,
                a.item_name, a.description, a.initial_bid, a.reserve,
                a.date_time as auction_date_time, a.expires, a.seller, a.category,
                a.extra as auction_extra
           from bid b join auction a on b.auction = a.id
          where a.category = 10",
    ),
    // Bids with the id of their channel, which the URL of most others tells.
    query(
        "q21",
        &["bid"],
        "select auction, bidder, price, channel, channel_id
           from (select auction, bidder, price, channel,
                        case lower(channel)
                          when 'apple' then '0' when 'google' then '1'
                          when 'facebook' then '2' when 'baidu' then '3'
                          else (regexp_match(url, '(&|^)channel_id=([^&]*)'))[2] end as channel_id
                   from bid) as identified
          where channel_id is not null",
    ),
    // Bids with the folders of their URL.
    query(
        "q22",
        &["bid"],
        "select auction, bidder, price, channel, split_part(url, '/', 4) as dir1,
                split_part(url, '/', 5) as dir2, split_part(url, '/', 6) as dir3
           from bid",
    ),
    // Bids with their auction and its seller.
    query(
        "q23",
        &["auction", "bid", "person"],
        "select b.auction, b.bidder, b.price, b.date_time, a.item_name, a.category,
                p.name as seller, p.city, p.state
           from bid b join auction a on b.auction = a.id join person p on a.seller = p.id",
    ),
    query(
        "bids_per_auction",
        &["bid"],
        "select auction, count(*) as bids from bid group by auction",
    ),
];

/// The queries of these names, all where none are given; an unknown name is an error that lists the known ones.
pub fn chosen(names: &[String]) -> Result<Vec<&'static Query>, String> {
    if names.is_empty() {
        return Ok(QUERIES.iter().collect());
    }
    let find = |name: &String| {
        QUERIES.iter().find(|query| query.name.eq_ignore_ascii_case(name.trim())).ok_or_else(|| {
            let known: Vec<&str> = QUERIES.iter().map(|query| query.name).collect();
            format!("no query \"{name}\"; the queries are {}", known.join(", "))
        })
    };
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_found_by_name_and_unknown_ones_refused() {
        assert_eq!(chosen(&[]).unwrap().len(), 25);
        let two = chosen(&["Q4".to_owned(), "q0".to_owned()]).unwrap();
        assert_eq!([two[0].name, two[1].name], ["q4", "q0"]);
        let error = chosen(&["q99".to_owned()]).err().unwrap();
        assert!(error.starts_with("no query \"q99\"; the queries are q0, q1"), "{error}");
    }
}
