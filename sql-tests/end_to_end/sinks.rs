//! Views that go out: to a real broker, whose topics another client adds up, and to files.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use arrow_array::ArrayRef;
use arrow_cast::display::array_value_to_string;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tidewater_connectors::testing::kafka::Kafka;

use super::client::Client;
use super::server::Server;

const PATIENCE: Duration = Duration::from_secs(60);

/// What an upsert topic comes to: the last value of each key.
fn folded(kafka: &Kafka, topic: &str) -> BTreeMap<String, String> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let mut rows = BTreeMap::new();
    for message in kafka.consume(topic) {
        let key = text(message.key.expect("messages of an upsert sink have keys"));
        match message.value {
            Some(value) => drop(rows.insert(key, text(value))),
            None => drop(rows.remove(&key)),
        }
    }
    rows
}

/// The same of a SELECT of key and value.
fn selected(client: &Client, sql: &str) -> BTreeMap<String, String> {
    let pair = |row: String| {
        let (key, value) = row.split_once('|').unwrap();
        (key.to_owned(), value.to_owned())
    };
    client.query(sql).into_iter().map(pair).collect()
}

fn wait_until(what: &str, reached: impl Fn() -> bool) {
    let began = Instant::now();
    while !reached() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

const TOTALS: &str = "select '{\"kind\":\"' || kind || '\"}', \
    '{\"kind\":\"' || kind || '\",\"n\":' || n || ',\"s\":' || s || '}' from totals";

/// Rows come, move and go.
fn work(client: &Client, from: u32, to: u32) {
    for n in from..to {
        let insert = "insert into sale select g, 'k' || g % 7, g % 100 from generate_series";
        client.query(&format!("{insert}({n}00, {n}99) as x(g)"));
        client
            .query(&format!("update sale set kind = 'k' || (id + {n}) % 9 where id % 5 = {n} % 5"));
        client.query(&format!("delete from sale where id % 11 = {n} % 11 or kind = 'k{}'", n % 9));
    }
}

#[test]
fn an_upsert_topic_adds_up_to_the_view_through_a_broker_kill() {
    let Some(mut kafka) = Kafka::own() else { return };
    let topic = kafka.create_topic("totals", 3);
    let server = Server::start(&["--workers", "2"]).unwrap();
    let client = Client::connect(&server.url);
    let servers = kafka.servers().to_owned();
    client.query(
        "create table sale (id int primary key, kind varchar, price int); \
         create materialized view totals as select kind, count(*) n, sum(price) s from sale group by kind"
    );
    work(&client, 1, 3);
    client.query(&format!(
        "create sink out from totals with (connector = 'kafka', topic = '{topic}', \
         properties.bootstrap.server = '{servers}', primary_key = 'kind') format upsert encode json"
    ));
    work(&client, 3, 6);
    let same = |kafka: &Kafka| folded(kafka, &topic) == selected(&client, TOTALS);
    wait_until("the topic has the view", || same(&kafka));
    kafka.kill();
    work(&client, 6, 9);
    let state = |state: &'static str| {
        move |client: &Client| {
            client.query("show sinks")[0].starts_with(&format!("out|kafka|{state}|"))
        }
    };
    wait_until("the outage is shown", || state("retrying")(&client));
    // A view answers whatever its sink is doing, and what its rows were in between is not owed.
    work(&client, 9, 12);
    assert_eq!(client.value("select count(*) > 0 from totals"), "t");
    kafka.restart().unwrap();
    wait_until("the topic has the view again", || same(&kafka));
    wait_until("the sink runs again", || state("running")(&client));
    assert_eq!(client.failure("drop materialized view totals"), "2BP01");
    client.query("drop materialized view totals cascade");
    assert!(client.query("show sinks").is_empty());
    server.stop().unwrap();
}

#[test]
fn events_of_a_view_make_the_same_table_elsewhere() {
    let Some(kafka) = Kafka::shared() else { return };
    let (topic, plain) = (kafka.create_topic("events", 2), kafka.create_topic("plain", 1));
    let server = Server::start(&["--workers", "3"]).unwrap();
    let client = Client::connect(&server.url);
    let with = |topic: &str| {
        let servers = kafka.servers();
        format!(
            "with (connector = 'kafka', topic = '{topic}', properties.bootstrap.server = '{servers}'"
        )
    };
    let columns = "id int primary key, n numeric(9,2), t timestamp, z timestamptz, d date, j jsonb, b bytea, a text[], ok boolean, f double precision";
    client.query(&format!(
        "create table here ({columns}); \
         create sink out from here {}) format debezium encode json; \
         create source there ({columns}) {}) format debezium encode json; \
         create table log (id int, note varchar) append only; \
         create sink notes as select note, id * 2 as twice from log {}, primary_key = 'twice') \
         format plain encode json key encode text",
        with(&topic),
        with(&topic),
        with(&plain)
    ));
    client.query(
        "insert into here select g, g / 7.0, timestamp '1969-12-31 23:59:59.5' + g * interval '1 day', \
         '2024-02-29 10:00:00+02', date '1970-01-03', '{\"b\": [1, null], \"a\": \"x\\\"y\"}', '\\x00ff', \
         array['a,b', null, ''], g % 2 = 0, float8 '1e300' / g from generate_series(1, 500) as x(g); \
         insert into here (id) values (1000)",
    );
    client.query("update here set n = null where id % 3 = 0; delete from here where id % 4 = 0");
    let differences = "select count(*) from ((select * from here except select * from there) union all \
                       (select * from there except select * from here)) d";
    client.wait_for(differences, "0", PATIENCE);
    assert_eq!(client.value("select count(*) from there"), "375");
    client.query("update here set id = id + 5000 where id < 50; delete from here where id > 400");
    client.wait_for(differences, "0", PATIENCE);
    client.query("insert into log values (1, 'a'), (2, null)");
    wait_until("notes arrive", || kafka.consume(&plain).len() == 2);
    let mut notes: Vec<(String, String)> = kafka
        .consume(&plain)
        .into_iter()
        .map(|m| {
            (
                String::from_utf8(m.key.unwrap()).unwrap(),
                String::from_utf8(m.value.unwrap()).unwrap(),
            )
        })
        .collect();
    notes.sort();
    let note = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let expected =
        [note("2", "{\"note\":\"a\",\"twice\":2}"), note("4", "{\"note\":null,\"twice\":4}")];
    assert_eq!(notes, expected);
    let missing =
        format!("create sink s from here {}) format upsert encode json", with("nosuchtopic"));
    assert_eq!(client.failure(&missing), "22023");
    server.stop().unwrap();
}

#[test]
fn files_appear_whole_and_have_each_row_once() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&["--workers", "2"]).unwrap();
    let client = Client::connect(&server.url);
    let (lines, values) = (directory.path().join("lines"), directory.path().join("values"));
    client.query(&format!(
        "create table log (id int, note varchar) append only; \
         insert into log values (1, 'before'); \
         create sink lines from log with (connector = 'file', path = '{}', roll_interval = '50ms'); \
         create sink vals as select id, note from log with (connector = 'file', path = '{}', roll_interval = '0s') \
         format plain encode csv",
        lines.display(),
        values.display()
    ));
    for id in 2..40 {
        client.query(&format!("insert into log values ({id}, 'a \"b\", {id}'), ({id}, null)"));
    }
    let rows = |directory: &std::path::Path, extension: &str| {
        let mut rows = vec![];
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == extension) {
                rows.extend(std::fs::read_to_string(path).unwrap().lines().map(str::to_owned));
            }
        }
        rows.sort();
        rows
    };
    wait_until("all lines are there", || rows(&lines, "json").len() == 77);
    wait_until("all values are there", || rows(&values, "csv").len() == 77);
    assert!(rows(&lines, "json").contains(&r#"{"id":7,"note":"a \"b\", 7"}"#.to_owned()));
    assert!(rows(&values, "csv").contains(&r#"7,"a ""b"", 7""#.to_owned()));
    assert!(rows(&values, "csv").contains(&"7,".to_owned()));
    client.query("drop sink lines; drop sink vals; drop table log");
    server.stop().unwrap();
}

/// The rows of all Parquet files in a directory, values as Arrow shows them with `|` between, sorted; the names of the files.
fn parquet_rows(directory: &Path) -> (Vec<String>, Vec<String>) {
    let (mut rows, mut names) = (vec![], vec![]);
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with('.') {
            continue;
        }
        let file = std::fs::File::open(&path).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        for batch in reader.map(Result::unwrap) {
            let shown = |column: &ArrayRef, row| array_value_to_string(column, row).unwrap();
            rows.extend((0..batch.num_rows()).map(|row| {
                let values = batch.columns().iter().map(|column| shown(column, row));
                values.collect::<Vec<String>>().join("|")
            }));
        }
        names.push(name);
    }
    rows.sort();
    names.sort();
    (rows, names)
}

#[test]
fn parquet_files_have_what_select_has_through_an_outage_and_the_end_of_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&["--workers", "2"]).unwrap();
    let client = Client::connect(&server.url);
    let place = |name: &str| directory.path().join(name);
    let (small, slow, away) = (place("small"), place("slow"), place("away"));
    let with = |path: &Path, options: &str| {
        let path = path.display();
        format!("with (connector = 'file', path = '{path}', {options}) format plain encode parquet")
    };
    client.query(&format!(
        "create table log (id int, price numeric(9,2), note text, tags text[], at timestamptz) append only; \
         create sink small from log {}; create sink slow from log {}",
        with(&small, "roll_interval = '20ms', roll_size = '1kB', compression = 'snappy'"),
        with(&slow, "roll_interval = '1h'"),
    ));
    let insert = |from: u32, to: u32| {
        client.query(&format!(
            "insert into log select g, g / 4.0, case when g % 3 > 0 then 'n' || g end, array['a', 'b' || g], \
             timestamptz '2024-01-01 00:00:00Z' + g * interval '1 minute' from generate_series({from}, {to}) as x(g)"
        ));
    };
    let selected = || {
        let mut rows = client.query(
            "select id, price, coalesce(note, ''), '[a, b' || id || ']', \
             to_char(at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') from log",
        );
        rows.sort();
        rows
    };
    insert(1, 20_000);
    wait_until("all rows are in files", || parquet_rows(&small).0 == selected());
    assert!(parquet_rows(&small).1.len() > 1, "files are cut by their size");
    // The place is away for a while: that is seen, and nothing is lost.
    std::fs::rename(&small, &away).unwrap();
    insert(20_001, 20_100);
    let state = |state: &str| client.query("show sinks").iter().any(|row| row.contains(state));
    wait_until("the outage is shown", || state("small|file|retrying|"));
    std::fs::rename(&away, &small).unwrap();
    wait_until("the rest is in files", || parquet_rows(&small).0 == selected());
    wait_until("the sink runs again", || state("small|file|running|"));
    assert!(parquet_rows(&slow).1.is_empty(), "an hour has not passed");
    insert(20_101, 20_200);
    let expected = selected();
    server.stop().unwrap();
    let (rows, names) = parquet_rows(&slow);
    assert!(rows == expected, "the open file is written at the end: {} rows", rows.len());
    assert_eq!(names.len(), 1);
    assert!(parquet_rows(&small).0 == expected);
}

#[test]
fn a_place_that_takes_no_files_is_refused_when_the_sink_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(&["--workers", "1"]).unwrap();
    let client = Client::connect(&server.url);
    client.query("create table log (id int) append only; create table t (id int primary key)");
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let create = |from: &str, options: &str, format: &str| {
        let path = directory.path().display();
        let sink = format!(
            "create sink s from {from} with (connector = 'file', path = '{path}/{options})"
        );
        client.failure(&format!("{sink} {format}"))
    };
    assert_eq!(create("log", "file/x'", ""), "22023");
    assert_eq!(create("log", "d', roll_interval = '10'", ""), "22023");
    assert_eq!(create("log", "d', roll_size = '1'", ""), "22023");
    assert_eq!(create("log", "d', compression = 'zstd'", "format plain encode json"), "22023");
    assert_eq!(create("log", "d', compression = 'rar'", "format plain encode parquet"), "22023");
    assert_eq!(create("t", "d'", "format plain encode parquet"), "22023");
    assert_eq!(create("t", "d'", "format upsert encode parquet"), "0A000");
    server.stop().unwrap();
}
