//! Fills a Kafka topic with Nexmark bids as JSON, once for all queries of a run.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use tidewater_connectors::contract::SplitRange;
use tidewater_connectors::source::kafka::fill::Filler;

use super::nexmark::{Topic, bids};

/// Enough for readers to have something to do in parallel, as a small topic has.
const PARTITIONS: i32 = 4;
const POLL_WAIT: Duration = Duration::from_secs(1);
const BATCH_ROWS: usize = 8_192;

/// Sends the bids among `events` events to a new topic on `servers`.
pub fn fill(servers: Option<&str>, events: u64) -> Result<Topic, String> {
    let servers = servers.filter(|servers| !servers.is_empty()).ok_or(
        "--source kafka needs a broker: name it with --kafka HOST:PORT or TIDEWATER_TEST_KAFKA",
    )?;
    let now = UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis());
    let name = format!("tidewater-bench-{}-{now}", std::process::id());
    eprintln!("filling topic {name} on {servers} ...");
    let source = bids(events).map_err(|e| e.to_string())?;
    let splits = source.discover(POLL_WAIT).map_err(|e| e.to_string())?;
    let ranges =
        splits.into_iter().map(|s| SplitRange { split: s.split, from: s.start, until: None });
    let columns: Vec<usize> = (0..source.schema().fields().len()).collect();
    let mut reader = source.reader(ranges.collect(), &columns).map_err(|e| e.to_string())?;
    let mut filler = Filler::create(servers, &name, PARTITIONS).map_err(|e| e.to_string())?;
    let mut text = String::new();
    let mut messages = 0;
    while let Some(batch) = reader.poll(POLL_WAIT, BATCH_ROWS).map_err(|e| e.to_string())? {
        for row in 0..batch.rows.num_rows() {
            text.clear();
            json(&batch.rows, row, &mut text);
            let partition = (messages % PARTITIONS as u64) as i32;
            filler.send(partition, text.as_bytes()).map_err(|e| e.to_string())?;
            messages += 1;
        }
        if batch.finished {
            break;
        }
    }
    filler.finish().map_err(|e| e.to_string())?;
    Ok(Topic { servers: servers.to_owned(), name, messages })
}

/// A bid as one JSON object, about 230 bytes.
fn json(rows: &RecordBatch, row: usize, out: &mut String) {
    out.push('{');
    for (i, (field, column)) in rows.schema_ref().fields().iter().zip(rows.columns()).enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let written = write!(out, "{comma}\"{}\":", field.name());
        let written = written.and_then(|()| {
            if let Some(numbers) = column.as_primitive_opt::<Int64Type>() {
                write!(out, "{}", numbers.value(row))
            } else if let Some(times) = column.as_primitive_opt::<TimestampMicrosecondType>() {
                let time = chrono::DateTime::from_timestamp_micros(times.value(row));
                let time = time.unwrap_or_default();
                write!(out, "\"{}\"", time.format("%Y-%m-%d %H:%M:%S%.6f"))
            } else {
                let text = column.as_string::<i32>().value(row);
                write!(out, "{}", serde_json::Value::from(text))
            }
        });
        written.expect("a string takes whatever is written");
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_broker_it_is_said_what_to_set() {
        let error = fill(None, 10).err().unwrap();
        assert!(error.contains("--kafka HOST:PORT or TIDEWATER_TEST_KAFKA"), "{error}");
    }

    #[test]
    fn a_bid_is_one_object_with_the_declared_columns() {
        let source = bids(50).unwrap();
        let splits = source.discover(POLL_WAIT).unwrap();
        let ranges =
            splits.into_iter().map(|s| SplitRange { split: s.split, from: s.start, until: None });
        let mut reader = source.reader(ranges.collect(), &[0, 1, 2, 3, 4, 5, 6]).unwrap();
        let batch = reader.poll(POLL_WAIT, 100).unwrap().unwrap();
        let mut text = String::new();
        json(&batch.rows, 0, &mut text);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["date_time"], "2015-07-15 00:00:00.000400");
        assert!(value["price"].as_i64().unwrap() >= 100);
        assert!(value["url"].as_str().unwrap().starts_with("https://"));
    }
}
