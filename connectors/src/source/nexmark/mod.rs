//! connector = 'nexmark': the streams of the Nexmark benchmark (an online auction), made on the spot.
//!
//! One endless sequence of events, a person, three auctions and 46 bids in every cycle of 50, is a pure function of the
//! seed; the source hands out the events of one table. Cycles are dealt to the splits in turn, so the whole does not
//! depend on `nexmark.split.num`, and sources of the three tables with the same options tell one story. A split's offset
//! counts all events of its cycles, those of other tables too.
//!
//! Event time is 2015-07-15 00:00:00 plus the event's number times the gap: `nexmark.min.event.gap.in.ns`, or 100 us
//! (10,000 events per second of event time) where that is 0. It never reads the clock. `nexmark.max.delay.in.ms` sets
//! single events back by up to that much, so that they come out of order.
//!
//! Sizes, ratios and distributions are those of the benchmark as published (NEXMark paper, Apache Beam's generator); the
//! text of names, URLs and padding is our own.

use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use crate::contract::{ConnectorError, ErrorKind, Source};
use crate::options::Options;
use crate::registry::SourceSpec;
use crate::source::generator::{GeneratorSource, SPLITS_MAX, Sequence};
use crate::source::{refuse_format_and_include, unused_column};

mod columns;
mod model;
mod text;

use columns::Column;
use model::{CYCLE, Model, Settings, Table};

const KNOWN_OPTIONS: &[&str] = &[
    "connector",
    "nexmark.table.type",
    "nexmark.split.num",
    "nexmark.event.num",
    "nexmark.events.per.second",
    "nexmark.min.event.gap.in.ns",
    "nexmark.max.chunk.size",
    "nexmark.active.people",
    "nexmark.seed",
    "nexmark.max.delay.in.ms",
];

/// An hour between two events, and an hour of delay: more is a slip of the pen.
const GAP_NS_MAX: u64 = 3_600_000_000_000;
const DELAY_MS_MAX: u64 = 3_600_000;

pub(crate) fn open(spec: &SourceSpec) -> Result<Arc<dyn Source>, ConnectorError> {
    Ok(Arc::new(GeneratorSource::new(Nexmark::new(spec)?)))
}

/// One table of the benchmark.
struct Nexmark {
    table: Table,
    model: Model,
    splits: u32,
    /// Events of all splits and tables; `None` when endless.
    events: Option<u64>,
    events_per_second: Option<f64>,
    chunk_rows_max: usize,
    schema: SchemaRef,
    /// For each field of `schema` the column that fills it.
    columns: Vec<&'static Column>,
}

impl Nexmark {
    fn new(spec: &SourceSpec) -> Result<Nexmark, ConnectorError> {
        refuse_format_and_include(spec, "nexmark")?;
        let options = &spec.options;
        options.check_known("connector \"nexmark\"", KNOWN_OPTIONS)?;
        options.required("nexmark.table.type")?;
        let table = match options.choice("nexmark.table.type", &["person", "auction", "bid"])? {
            Some(0) => Table::Person,
            Some(1) => Table::Auction,
            _ => Table::Bid,
        };
        let (schema, columns) = match spec.columns.fields().is_empty() {
            true => own_columns(table),
            false => declared_columns(table, &spec.columns)?,
        };
        let gap_ns = options.integer("nexmark.min.event.gap.in.ns", 0..=GAP_NS_MAX)?.unwrap_or(0);
        Ok(Nexmark {
            table,
            model: Model::new(settings(options, gap_ns)?),
            splits: options.integer("nexmark.split.num", 1..=SPLITS_MAX)?.unwrap_or(1),
            events: match options.integer("nexmark.event.num", -1..=i64::MAX >> 4)? {
                None | Some(-1) => None,
                Some(events) => Some(events.unsigned_abs()),
            },
            events_per_second: rate(options, gap_ns)?,
            chunk_rows_max: options
                .integer("nexmark.max.chunk.size", 1..=1 << 20)?
                .unwrap_or(usize::MAX),
            schema,
            columns,
        })
    }
}

fn settings(options: &Options, gap_ns: u64) -> Result<Settings, ConnectorError> {
    let delay_ms = options.integer("nexmark.max.delay.in.ms", 0..=DELAY_MS_MAX)?.unwrap_or(0);
    Ok(Settings {
        seed: options.integer("nexmark.seed", 0..=u64::MAX)?.unwrap_or(0),
        gap_ns: if gap_ns == 0 { model::DEFAULT_GAP_NS } else { gap_ns },
        delay_us_max: delay_ms * 1000,
        active_people: options
            .integer("nexmark.active.people", 1..=1 << 40)?
            .unwrap_or(model::DEFAULT_ACTIVE_PEOPLE),
    })
}

/// Events per second over the three tables: as told, else one per gap, else unlimited.
fn rate(options: &Options, gap_ns: u64) -> Result<Option<f64>, ConnectorError> {
    let rate = options.integer("nexmark.events.per.second", 0..=1_000_000_000u64)?;
    Ok(match (rate, gap_ns) {
        (Some(0), _) | (None, 0) => None,
        (Some(rate), _) => Some(rate as f64),
        (None, gap_ns) => Some(1e9 / gap_ns as f64),
    })
}

fn own_columns(table: Table) -> (SchemaRef, Vec<&'static Column>) {
    let columns: Vec<&'static Column> = columns::of(table).iter().collect();
    let fields = columns.iter().map(|column| Field::new(column.name, column.data_type(), true));
    (Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns)
}

/// Declared columns are some of the table's own, in any order, each with a type of the same family.
fn declared_columns(
    table: Table,
    declared: &SchemaRef,
) -> Result<(SchemaRef, Vec<&'static Column>), ConnectorError> {
    let known = columns::of(table);
    let find = |field: &Field| -> Result<&'static Column, ConnectorError> {
        let Some(column) = known.iter().find(|column| column.name == field.name()) else {
            let names: Vec<&str> = known.iter().map(|column| column.name).collect();
            let message = format!("nexmark's {} has no column \"{}\"", table.name(), field.name());
            return Err(ConnectorError::fix(message)
                .with_hint(format!("Its columns are {}.", names.join(", "))));
        };
        if !same_family(&column.data_type(), field.data_type()) {
            let message =
                format!("column \"{}\" must be of type {}", column.name, column.sql_type());
            return Err(ConnectorError::fix(message));
        }
        Ok(column)
    };
    let columns: Result<Vec<_>, _> = declared.fields().iter().map(|field| find(field)).collect();
    Ok((declared.clone(), columns?))
}

/// Whether `declared` is `own` in another Arrow layout or unit.
fn same_family(own: &DataType, declared: &DataType) -> bool {
    use DataType::{LargeUtf8, Timestamp, Utf8, Utf8View};
    match (own, declared) {
        (Utf8, Utf8 | LargeUtf8 | Utf8View) => true,
        (Timestamp(_, None), Timestamp(_, zone)) => zone.is_none(),
        (own, declared) => own == declared,
    }
}

impl Sequence for Nexmark {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn splits(&self) -> u32 {
        self.splits
    }

    fn end(&self, split: u32) -> Option<u64> {
        let (events, split, splits) = (self.events?, u64::from(split), u64::from(self.splits));
        let (cycles, rest) = (events / CYCLE, events % CYCLE);
        let whole = cycles.saturating_sub(split).div_ceil(splits);
        Some(whole * CYCLE + if cycles % splits == split { rest } else { 0 })
    }

    fn offsets_per_second(&self) -> Option<f64> {
        self.events_per_second
    }

    fn chunk_rows_max(&self) -> usize {
        self.chunk_rows_max
    }

    fn rows(
        &self,
        split: u32,
        from: u64,
        until: u64,
        rows_max: usize,
        wanted: &[bool],
    ) -> Result<(RecordBatch, u64), ConnectorError> {
        let (numbers, end) = model::numbers(self.table, split, self.splits, from, until, rows_max);
        let fields = self.schema.fields().iter().zip(&self.columns).zip(wanted);
        let arrays: Result<Vec<_>, _> = fields
            .map(|((field, column), wanted)| {
                if !wanted {
                    return Ok(unused_column(field, numbers.len()));
                }
                let array = (column.make)(&self.model, &numbers);
                match array.data_type() == field.data_type() {
                    true => Ok(array),
                    false => cast(&array, field.data_type()),
                }
            })
            .collect();
        let rows = RecordBatchOptions::new().with_row_count(Some(numbers.len()));
        arrays
            .and_then(|arrays| {
                RecordBatch::try_new_with_options(self.schema.clone(), arrays, &rows)
            })
            .map(|rows| (rows, end))
            .map_err(|error| {
                ConnectorError::new(ErrorKind::Bug, "could not make nexmark rows")
                    .with_detail(error.to_string())
            })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::conformance::{self, Stretch};
    use crate::contract::{SourceOffset, SplitId, SplitRange};
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Int64Type, TimestampMicrosecondType};
    use std::collections::{BTreeMap, HashSet};
    use std::time::{Duration, Instant};

    fn spec(table: &str, options: &[(&str, &str)]) -> SourceSpec {
        let fixed = [("connector", "nexmark"), ("nexmark.table.type", table)];
        SourceSpec {
            name: table.into(),
            options: Options::new(fixed.into_iter().chain(options.iter().copied())).unwrap(),
            format: None,
            encode: None,
            columns: Arc::new(Schema::empty()),
            primary_key: vec![],
            include: vec![],
        }
    }

    fn read(source: &dyn Source, split: &str, until: u64) -> RecordBatch {
        let range = SplitRange {
            split: SplitId(split.into()),
            from: SourceOffset(0),
            until: Some(SourceOffset(until)),
        };
        conformance::read(source, range, None, 4096, Duration::from_secs(60)).unwrap().rows
    }

    fn source(table: &str, options: &[(&str, &str)]) -> Arc<dyn Source> {
        open(&spec(table, options)).unwrap()
    }

    fn bigints(batch: &RecordBatch, name: &str) -> Vec<i64> {
        let column = batch.column_by_name(name).unwrap();
        column.as_primitive::<Int64Type>().values().to_vec()
    }

    #[test]
    fn every_table_holds_the_contract_of_sources() {
        for table in ["Person", "Auction", "Bid"] {
            for options in [
                &[("nexmark.event.num", "10007")][..],
                &[("nexmark.split.num", "3"), ("nexmark.event.num", "10007")],
                &[("nexmark.split.num", "2"), ("nexmark.max.delay.in.ms", "5")],
            ] {
                let endless = !options.iter().any(|(key, _)| *key == "nexmark.event.num");
                let stretch = Stretch { offsets_max: 6000, endless, ..Stretch::default() };
                conformance::check(source(table, options).as_ref(), stretch).unwrap();
            }
        }
    }

    #[test]
    fn of_fifty_events_one_is_a_person_three_are_auctions_the_rest_bids() {
        let events = [("nexmark.event.num", "10000")];
        let rows = |table| read(source(table, &events).as_ref(), "0", 10_000).num_rows();
        assert_eq!([rows("person"), rows("auction"), rows("bid")], [200, 600, 9200]);
    }

    #[test]
    fn the_whole_does_not_depend_on_the_number_of_splits() {
        let mut sets = Vec::new();
        for splits in ["1", "3", "7"] {
            let options = [("nexmark.event.num", "5013"), ("nexmark.split.num", splits)];
            let bids = source("bid", &options);
            let mut rows = Vec::new();
            for split in bids.discover(Duration::ZERO).unwrap() {
                let end = bids.bounds(&split.split, Duration::ZERO).unwrap().latest.0;
                let batch = read(bids.as_ref(), &split.split.0, end);
                let times = batch.column(5).as_primitive::<TimestampMicrosecondType>();
                let urls = batch.column(4).as_string::<i32>();
                for row in 0..batch.num_rows() {
                    rows.push((times.value(row), urls.value(row).to_owned()));
                }
            }
            rows.sort();
            sets.push(rows);
        }
        assert_eq!(sets[0].len(), 5013 / 50 * 46 + 13 - 4);
        assert!(sets[0] == sets[1] && sets[0] == sets[2]);
    }

    #[test]
    fn bids_are_for_auctions_and_auctions_by_people_that_exist() {
        let people = read(source("person", &[]).as_ref(), "0", 100_000);
        let auctions = read(source("auction", &[]).as_ref(), "0", 100_000);
        let bids = read(source("bid", &[]).as_ref(), "0", 100_000);
        assert_eq!(bigints(&people, "id"), (1000..3000).collect::<Vec<i64>>());
        assert_eq!(bigints(&auctions, "id"), (1000..7000).collect::<Vec<i64>>());
        assert!(bigints(&bids, "auction").iter().all(|id| (1000..7000).contains(id)));
        // The lead of ten: some people are known as sellers and bidders before their own event.
        for ids in [bigints(&bids, "bidder"), bigints(&auctions, "seller")] {
            assert!(ids.iter().all(|id| (1000..3010).contains(id)));
        }
        assert!(bigints(&auctions, "category").iter().all(|id| (10..15).contains(id)));
        assert!(bigints(&bids, "price").iter().all(|price| (100..=100_000_000).contains(price)));
        let texts = people.column_by_name("state").unwrap();
        let states: HashSet<_> = texts.as_string::<i32>().iter().flatten().collect();
        assert_eq!(states.len(), 6);
    }

    #[test]
    fn the_hot_auction_and_the_hot_channels_get_half_of_the_bids() {
        let bids = read(source("bid", &[]).as_ref(), "0", 100_000);
        let total = bids.num_rows() as f64;
        let share = |count: usize| count as f64 / total;
        let hot = bigints(&bids, "auction").iter().filter(|id| *id % 100 == 0).count();
        assert!((0.49..0.53).contains(&share(hot)), "{}", share(hot));
        let hot = bigints(&bids, "bidder").iter().filter(|id| *id % 100 == 1).count();
        assert!((0.74..0.78).contains(&share(hot)), "{}", share(hot));
        let mut channels: BTreeMap<&str, usize> = BTreeMap::new();
        let urls = bids.column(4).as_string::<i32>();
        let mut numbered_with_id = 0;
        for (channel, url) in bids.column(3).as_string::<i32>().iter().zip(urls) {
            let (channel, url) = (channel.unwrap(), url.unwrap());
            assert_eq!(url.split('/').count(), 7, "{url}");
            *channels.entry(channel).or_default() += 1;
            numbered_with_id += usize::from(url.contains("&channel_id="));
        }
        let hot: usize = ["Google", "Facebook", "Baidu", "Apple"].map(|c| channels[c]).iter().sum();
        assert!((0.48..0.52).contains(&share(hot)), "{}", share(hot));
        assert!((0.43..0.47).contains(&share(numbered_with_id)));
        assert!(channels.len() > 9000);
    }

    #[test]
    fn event_time_advances_by_the_gap_and_is_late_by_no_more_than_the_delay() {
        let times = |options: &[(&str, &str)]| {
            let bids = read(source("bid", options).as_ref(), "0", 5000);
            bids.column(5).as_primitive::<TimestampMicrosecondType>().values().to_vec()
        };
        let base = 1_436_918_400_000_000;
        let exact = times(&[]);
        assert_eq!(exact[..3], [base + 400, base + 500, base + 600]);
        let gap = times(&[("nexmark.min.event.gap.in.ns", "1500")]);
        assert_eq!(gap[..3], [base + 6, base + 7, base + 9]);
        let late = times(&[("nexmark.max.delay.in.ms", "10")]);
        assert!(!late.is_sorted());
        assert!(late.iter().zip(&exact).all(|(late, on)| (0..=10_000).contains(&(on - late))));
    }

    #[test]
    fn seeds_tell_different_stories() {
        let price = |seed| {
            bigints(&read(source("bid", &[("nexmark.seed", seed)]).as_ref(), "0", 1000), "price")
        };
        assert_eq!(price("1"), price("1"));
        assert_ne!(price("1"), price("2"));
    }

    #[test]
    fn rows_have_about_the_sizes_of_the_benchmark() {
        let average = |table| {
            let rows = read(source(table, &[]).as_ref(), "0", 100_000);
            let mut bytes = 0;
            for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
                // A bid's channel and URL come on top of its 100 bytes.
                bytes += match (field.name().as_str(), column.data_type()) {
                    ("channel" | "url", _) => 0,
                    (_, DataType::Utf8) => column.as_string::<i32>().values().len(),
                    _ => 8 * column.len(),
                };
            }
            bytes / rows.num_rows()
        };
        assert!((180..220).contains(&average("person")), "{}", average("person"));
        assert!((460..540).contains(&average("auction")), "{}", average("auction"));
        assert!((90..110).contains(&average("bid")), "{}", average("bid"));
    }

    #[test]
    fn a_rate_limit_paces_a_live_reader_and_not_one_that_catches_up() {
        let bids = source("bid", &[("nexmark.events.per.second", "20000")]);
        let split = SplitId("0".into());
        let range = SplitRange { split: split.clone(), from: SourceOffset(0), until: None };
        let mut reader = bids.reader(vec![range], &[0]).unwrap();
        let began = Instant::now();
        let mut end = 0;
        while began.elapsed() < Duration::from_millis(300) {
            if let Some(batch) = reader.poll(Duration::from_millis(10), 8192).unwrap() {
                end = batch.end.0;
            }
        }
        let allowed = (began.elapsed().as_secs_f64() * 20_000.0) as u64;
        assert!(end <= allowed && end > 1000, "{end} of {allowed}");
        assert_eq!(bids.bounds(&split, Duration::ZERO).unwrap().latest.0, end);
        assert_eq!(read(bids.as_ref(), "0", 1_000_000).num_rows(), 920_000);
    }

    #[test]
    fn declared_columns_are_a_subset_by_name_and_type() {
        let declare = |fields: Vec<Field>| {
            let mut spec = spec("bid", &[]);
            spec.columns = Arc::new(Schema::new(fields));
            open(&spec)
        };
        let some = declare(vec![
            Field::new("price", DataType::Int64, false),
            Field::new("url", DataType::Utf8View, true),
        ]);
        let rows = read(some.unwrap().as_ref(), "0", 100);
        assert_eq!((rows.num_columns(), rows.num_rows()), (2, 92));
        let error = declare(vec![Field::new("prize", DataType::Int64, true)]).err().unwrap();
        assert_eq!(error.message, "nexmark's bid has no column \"prize\"");
        let error = declare(vec![Field::new("price", DataType::Int32, true)]).err().unwrap();
        assert_eq!(error.message, "column \"price\" must be of type bigint");
    }

    #[test]
    fn wrong_options_are_refused() {
        let message = |options: &[(&str, &str)]| open(&spec("bid", options)).err().unwrap().message;
        assert_eq!(
            message(&[("nexmark.split.num", "0")]),
            "invalid value for option \"nexmark.split.num\": \"0\""
        );
        assert_eq!(
            message(&[("nexmark.sead", "0")]),
            "unrecognized option \"nexmark.sead\" of connector \"nexmark\""
        );
        let mut formatted = spec("bid", &[]);
        formatted.format = Some(crate::registry::Format::Plain);
        assert_eq!(
            open(&formatted).err().unwrap().message,
            "connector \"nexmark\" takes no FORMAT"
        );
    }
}
