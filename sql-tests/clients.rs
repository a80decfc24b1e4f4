//! What one statement at a time does not show: binary values, cancel requests, streaming, many clients, shutdown.
//!
//! Each test has a fresh server. They run behind the `.slt` files, under the name `clients/<test>`.

use std::error::Error as StdError;
use std::future::Future;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type};
use tokio_postgres::{Client, NoTls};

use crate::server::Server;

type Outcome = Result<(), Box<dyn StdError>>;

/// A test by its name.
pub struct Test {
    pub name: &'static str,
    run: fn() -> Outcome,
}

impl Test {
    pub fn run(&self) -> Result<(), String> {
        (self.run)().map_err(|error| error.to_string())
    }
}

/// In the order they run.
pub const TESTS: &[Test] = &[
    Test { name: "clients/every_type_travels_in_binary_both_ways", run: binary_types },
    Test { name: "clients/a_cancel_request_stops_a_query", run: cancel },
    Test { name: "clients/a_large_result_is_streamed", run: streamed },
    Test { name: "clients/many_clients_read_their_own_writes", run: many_clients },
    Test { name: "clients/a_failed_statement_undoes_its_query_string", run: query_string },
    Test { name: "clients/transactions_lose_no_update", run: transactions },
    Test { name: "clients/an_idle_transaction_is_ended", run: idle },
    Test { name: "clients/untyped_arrays_take_the_type_they_meet", run: arrays },
    Test { name: "clients/a_table_made_anew_changes_no_result_type", run: made_anew },
    Test { name: "clients/sessions_see_and_end_each_other", run: activity },
    Test { name: "clients/a_view_dropped_beside_readers_gives_no_stale_row", run: dropped_view },
    Test { name: "clients/sigterm_ends_running_queries", run: sigterm },
];

/// Runs a test's client side, then stops the server in order.
fn with_server<F: Future<Output = Outcome>>(test: impl FnOnce(String) -> F) -> Outcome {
    let server = Server::start(&["--workers", "2"])?;
    let outcome = runtime()?.block_on(test(server.url.clone()));
    outcome.map_err(|error| format!("{error}\n{}", server.log()))?;
    Ok(server.stop()?)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // An error of the connection reaches the statement that waits for it.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(client)
}

fn check(holds: bool, what: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(what().into()) }
}

/// A value as it is on the wire.
#[derive(Debug)]
struct Raw(Vec<u8>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Raw, Box<dyn StdError + Sync + Send>> {
        Ok(Raw(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl ToSql for Raw {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    tokio_postgres::types::to_sql_checked!();
}

/// A type, a value as text, and the bytes that PostgreSQL 15 sends for it, in hexadecimal.
const VALUES: &[(&str, &str, &str)] = &[
    ("boolean", "true", "01"),
    ("smallint", "-2", "fffe"),
    ("integer", "2147483647", "7fffffff"),
    ("bigint", "-9223372036854775808", "8000000000000000"),
    ("real", "1.5", "3fc00000"),
    ("double precision", "-0.1", "bfb999999999999a"),
    ("numeric", "-12345.678", "000300014000000300010929 1a7c"),
    ("text", "häł", "68c3a4c582"),
    ("varchar", "x", "78"),
    ("bytea", "\\x00ff", "00ff"),
    ("date", "2000-01-02", "00000001"),
    ("time", "00:00:00.000001", "0000000000000001"),
    ("timestamp", "2000-01-01 00:00:01", "00000000000f4240"),
    ("timestamptz", "2000-01-01 00:00:01+00", "00000000000f4240"),
    ("interval", "1 mon 2 days 00:00:00.000003", "00000000000000030000000200000001"),
    ("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc999c0b4ef8bb6d6bb9bd380a11"),
    ("jsonb", "{\"a\": 1}", "017b2261223a20317d"),
    ("integer[]", "{1,NULL}", "00000001000000010000001700000002000000010000000400000001ffffffff"),
    ("text[]", "{a}", "00000001000000000000001900000001000000010000000161"),
];

fn binary_types() -> Outcome {
    with_server(|url| async move {
        let client = connect(&url).await?;
        for (sql_type, text, bytes) in VALUES {
            let row = client.query_one(&format!("select '{text}'::{sql_type}"), &[]).await?;
            let sent: Raw = row.try_get(0)?;
            let shown: String = sent.0.iter().map(|byte| format!("{byte:02x}")).collect();
            check(shown == bytes.replace(' ', ""), || format!("{sql_type} is sent as {shown}"))?;
            let back = format!("select $1::{sql_type}::text");
            let row = client.query_one(&back, &[&sent]).await;
            let row = row.map_err(|error| format!("{sql_type} is not taken: {error:?}"))?;
            let back: String = row.try_get(0)?;
            check(back == *text, || format!("{sql_type} {text} is taken for {back}"))?;
            let null = client.query_one(&format!("select null::{sql_type}"), &[]).await?;
            check(null.try_get::<_, Option<Raw>>(0)?.is_none(), || format!("no null {sql_type}"))?;
        }
        Ok(())
    })
}

/// More rows than any machine counts in a test's time.
const ENDLESS: &str = "select count(*) from generate_series(1, 1000000) a(x), \
     generate_series(1, 1000000) b(y) where x <> y";

fn cancel() -> Outcome {
    with_server(|url| async move {
        let client = connect(&url).await?;
        let token = client.cancel_token();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let _ = token.cancel_query(NoTls).await;
        });
        let asked = Instant::now();
        let error = client.simple_query(ENDLESS).await.err().ok_or("the query was not canceled")?;
        let code = error.code().map(|code| code.code().to_owned());
        check(code.as_deref() == Some("57014"), || format!("canceled with {error:?}"))?;
        check(asked.elapsed() < Duration::from_secs(5), || "canceled late".to_owned())?;
        client.query_one("select 1", &[]).await?;
        Ok(())
    })
}

/// Bytes of one row of the large result, and its rows: 200 MB in all.
const ROW_BYTES: usize = 2_000;
const ROWS: i32 = 100_000;
/// What the server may grow by while it sends them.
const GROWTH_MAX_KIB: u64 = 100_000;

fn streamed() -> Outcome {
    let server = Server::start(&["--workers", "2"])?;
    let outcome: Outcome = runtime()?.block_on(async {
        let client = connect(&server.url).await?;
        client.query_one("select 1", &[]).await?;
        let before = server.peak_memory_kib()?;
        let query = format!("select repeat('x', {ROW_BYTES}) from generate_series(1, {ROWS})");
        let none: [i32; 0] = [];
        let mut rows = std::pin::pin!(client.query_raw(&query, none).await?);
        let mut count = 0;
        while rows.try_next().await?.is_some() {
            count += 1;
        }
        check(count == ROWS, || format!("{count} rows"))?;
        let grown = server.peak_memory_kib()?.saturating_sub(before);
        check(grown < GROWTH_MAX_KIB, || format!("the server grew by {grown} KiB"))
    });
    outcome?;
    Ok(server.stop()?)
}

const CLIENTS: i32 = 100;

fn many_clients() -> Outcome {
    with_server(|url| async move {
        let client = connect(&url).await?;
        client
            .batch_execute(
                "create table t (id integer primary key, k integer); \
                 create materialized view m as select k, count(*) as n from t group by k",
            )
            .await?;
        let tasks: Vec<_> =
            (0..CLIENTS).map(|id| tokio::spawn(one_client(url.clone(), id))).collect();
        for task in tasks {
            task.await??;
        }
        let total: i64 = client.query_one("select count(*) from t", &[]).await?.try_get(0)?;
        check(total == i64::from(CLIENTS), || format!("{total} rows"))
    })
}

async fn one_client(url: String, id: i32) -> Result<(), String> {
    let told = |error: tokio_postgres::Error| format!("client {id}: {error:?}");
    let client = connect(&url).await.map_err(told)?;
    client.execute("insert into t values ($1, $1)", &[&id]).await.map_err(told)?;
    let row = client.query_one("select n from m where k = $1", &[&id]).await.map_err(told)?;
    let n: i64 = row.try_get(0).map_err(told)?;
    if n == 1 { Ok(()) } else { Err(format!("client {id} sees {n} of its own rows")) }
}

fn query_string() -> Outcome {
    with_server(|url| async move {
        let client = connect(&url).await?;
        client.batch_execute("create table t (id integer)").await?;
        let failed = client.batch_execute("insert into t values (1); select 1/0; select 2").await;
        check(failed.is_err(), || "a division by zero".to_owned())?;
        let rows: i64 = client.query_one("select count(*) from t", &[]).await?.try_get(0)?;
        check(rows == 0, || "the insert outlived its query string".to_owned())?;
        client.batch_execute("insert into t values (1); insert into t values (2)").await?;
        let rows: i64 = client.query_one("select count(*) from t", &[]).await?.try_get(0)?;
        check(rows == 2, || format!("{rows} rows"))
    })
}

/// Clients that add to what they have read, in a few rows that all of them want; one view over all.
fn transactions() -> Outcome {
    with_server(|url| async move {
        let client = connect(&url).await?;
        client
            .batch_execute(
                "create table account (id integer primary key, balance bigint); \
                 create table history (client integer, amount bigint); \
                 insert into account select i, 0 from generate_series(1, 5) i; \
                 create materialized view total as select sum(balance) as balance from account",
            )
            .await?;
        let transfers = |id| tokio::spawn(transfers(url.clone(), id));
        let tasks: Vec<_> = (0..TRANSACTING_CLIENTS).map(transfers).collect();
        let mut refused = 0;
        for task in tasks {
            refused += task.await??;
        }
        let sums = "select (select sum(balance) from account)::bigint, (select balance from total)::bigint, \
                    (select sum(amount) from history)::bigint, (select count(*) from history)";
        let row = client.query_one(sums, &[]).await?;
        let sums: Vec<i64> = (0..4).map(|i| row.try_get(i)).collect::<Result<_, _>>()?;
        let done = i64::from(TRANSACTING_CLIENTS * TRANSACTIONS);
        check(sums == [done, done, done, done], || {
            format!("{sums:?} after {done} transactions, {refused} of them refused before")
        })
    })
}

fn idle() -> Outcome {
    with_server(|url| async move {
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
        let ended = tokio::spawn(connection);
        client.batch_execute("set idle_in_transaction_session_timeout = '50ms'").await?;
        tokio::time::sleep(Duration::from_millis(150)).await;
        client.batch_execute("begin; select 1").await?;
        let error = ended.await?.err().ok_or("the connection was closed in peace")?;
        let code = error.code().map_or("none", |code| code.code());
        check(code == "25P03", || format!("{code}: {error}"))
    })
}

const TRANSACTING_CLIENTS: i32 = 8;
const TRANSACTIONS: i32 = 20;

/// Returns how often a transaction had to be run again.
async fn transfers(url: String, id: i32) -> Result<usize, String> {
    let told = |error: tokio_postgres::Error| format!("client {id}: {error:?}");
    let client = connect(&url).await.map_err(told)?;
    let mut refused = 0;
    for n in 0..TRANSACTIONS {
        let account = (id + n) % 5 + 1;
        loop {
            client.batch_execute("begin").await.map_err(told)?;
            let read = "select balance from account where id = $1";
            let read: i64 = client.query_one(read, &[&account]).await.map_err(told)?.get(0);
            let write = "update account set balance = $1 where id = $2";
            client.execute(write, &[&(read + 1), &account]).await.map_err(told)?;
            let note = "insert into history values ($1, 1)";
            client.execute(note, &[&id]).await.map_err(told)?;
            match client.batch_execute("commit").await {
                Ok(()) => break,
                Err(error) if error.code().is_some_and(|code| code.code() == "40001") => {
                    refused += 1;
                }
                Err(error) => return Err(told(error)),
            }
        }
    }
    Ok(refused)
}

fn arrays() -> Outcome {
    with_server(|url| async move {
        let client = connect(&url).await?;
        client.batch_execute("create table t (id integer primary key, u uuid, v text)").await?;
        client.batch_execute("insert into t values (1, null, 'a'), (2, null, 'b')").await?;
        let statement = client
            .prepare(
                "select count(*) from t where id = any($1) and v <> all($2) and not u = any($3)",
            )
            .await?;
        let types = [Type::INT4_ARRAY, Type::TEXT_ARRAY, Type::UUID_ARRAY];
        check(statement.params() == types, || format!("{:?}", statement.params()))?;
        let ids = vec![1, 2, 3];
        let rows: i64 =
            client.query_one("select count(*) from t where id = any($1)", &[&ids]).await?.get(0);
        check(rows == 2, || format!("{rows} rows"))?;
        // What drivers ask when they first meet an array.
        let oids = vec![1007_u32];
        let sql = "select t.oid, t.typelem, case when t.typtype = 'c' then (select array_agg(a.atttypid) from \
                   pg_attribute a join pg_class c on a.attrelid = c.oid where c.reltype = t.oid) end, case when \
                   t.typtype = 'd' then (with recursive b(oid, depth) as (select t2.typbasetype, 0 from pg_type t2 \
                   where t2.oid = t.oid union all select t2.typbasetype, b.depth + 1 from pg_type t2, b where b.oid = \
                   t2.oid and t2.typbasetype <> 0) select oid from b order by depth desc limit 1) end \
                   from pg_type t where t.oid = any($1::oid[])";
        let row = client.query_one(sql, &[&oids]).await?;
        check(row.columns()[2].type_() == &Type::OID_ARRAY, || "an array of oids".to_owned())?;
        check(row.get::<_, u32>(1) == 23, || "the element of integer[]".to_owned())
    })
}

fn made_anew() -> Outcome {
    with_server(|url| async move {
        let client = connect(&url).await?;
        client.batch_execute("create table t (a integer)").await?;
        let statement = client.prepare("select * from t").await?;
        client.batch_execute("drop table t").await?;
        let gone = client.query(&statement, &[]).await;
        check(code_of(gone) == "42P01", || "the table is gone".to_owned())?;
        client.batch_execute("create table t (a text, b integer)").await?;
        let other = client.query(&statement, &[]).await;
        check(code_of(other) == "0A000", || "the result has another type".to_owned())?;
        client.batch_execute("deallocate all").await?;
        let forgotten = client.query(&statement, &[]).await;
        check(code_of(forgotten) == "26000", || "the statement is forgotten".to_owned())
    })
}

fn code_of<T>(outcome: Result<T, tokio_postgres::Error>) -> String {
    outcome.err().and_then(|e| e.code().map(|c| c.code().to_owned())).unwrap_or_default()
}

fn activity() -> Outcome {
    with_server(|url| async move {
        let (watcher, other) = (connect(&url).await?, connect(&url).await?);
        other.batch_execute("set application_name = 'worker'").await?;
        let pid: i32 = other.query_one("select pg_backend_pid()", &[]).await?.get(0);
        let seen = "select usename::text, state, query from pg_stat_activity \
                    where pid = $1 and application_name = 'worker'";
        let row = watcher.query_one(seen, &[&pid]).await?;
        let (user, state): (String, String) = (row.get(0), row.get(1));
        check((user.as_str(), state.as_str()) == ("tidewater", "idle"), || {
            format!("{user} {state}")
        })?;
        let running =
            tokio::spawn(async move { (code_of(other.simple_query(ENDLESS).await), other) });
        while watcher.query_one(seen, &[&pid]).await?.get::<_, String>(1) != "active" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let row = watcher.query_one(seen, &[&pid]).await?;
        check(row.get::<_, String>(2) == ENDLESS, || row.get(2))?;
        let stopped: bool =
            watcher.query_one("select pg_cancel_backend($1::integer)", &[&pid]).await?.get(0);
        let (code, other) = running.await?;
        check(stopped && code == "57014", || format!("canceled with {code}"))?;
        watcher.query_one("select pg_terminate_backend($1::integer)", &[&pid]).await?;
        while !other.is_closed() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let gone: bool =
            watcher.query_one("select pg_cancel_backend($1::integer)", &[&pid]).await?.get(0);
        check(!gone, || "it is there still".to_owned())
    })
}

/// A read that was planned before a DROP and runs after it is refused; it used to take the last rows of the dropped view
/// for those of a later moment, or to wait for ever.
fn dropped_view() -> Outcome {
    with_server(|url| async move {
        let (ddl, writer, reader) =
            (connect(&url).await?, connect(&url).await?, connect(&url).await?);
        ddl.batch_execute("create table t (id integer primary key)").await?;
        let until = Instant::now() + Duration::from_secs(3);
        let drops = tokio::spawn(async move {
            while Instant::now() < until {
                ddl.batch_execute("create materialized view m as select count(*) as n from t")
                    .await?;
                tokio::time::sleep(Duration::from_millis(5)).await;
                ddl.batch_execute("drop materialized view m").await?;
            }
            Ok::<_, tokio_postgres::Error>(())
        });
        let writes = tokio::spawn(async move {
            for id in 0_i32.. {
                if Instant::now() >= until {
                    break;
                }
                writer.execute("insert into t values ($1)", &[&id]).await?;
            }
            Ok::<_, tokio_postgres::Error>(())
        });
        while Instant::now() < until {
            let read = reader.query_one("select (select count(*) from t), (select n from m)", &[]);
            match tokio::time::timeout(Duration::from_secs(10), read).await? {
                Ok(row) => {
                    let (rows, counted): (i64, i64) = (row.get(0), row.get(1));
                    check(rows == counted, || format!("{counted} of {rows} rows are counted"))?;
                }
                Err(error) => {
                    let code = code_of::<()>(Err(error));
                    check(code == "42P01", || format!("a read ended with {code}"))?;
                }
            }
        }
        drops.await??;
        Ok(writes.await??)
    })
}

fn sigterm() -> Outcome {
    let server = Server::start(&["--workers", "2"])?;
    let url = server.url.clone();
    let (running, is_running) = std::sync::mpsc::channel();
    let client = std::thread::spawn(move || -> Result<String, String> {
        let runtime = runtime().map_err(|e| e.to_string())?;
        runtime.block_on(async {
            let client = connect(&url).await.map_err(|e| e.to_string())?;
            running.send(()).map_err(|e| e.to_string())?;
            match client.simple_query(ENDLESS).await {
                Ok(_) => Err("the query ended by itself".to_owned()),
                Err(error) => Ok(error.code().map_or(String::new(), |c| c.code().to_owned())),
            }
        })
    });
    is_running.recv()?;
    std::thread::sleep(Duration::from_millis(500));
    server.stop()?;
    let code = client.join().map_err(|_| "the client panicked")??;
    check(["57P01", "57014", ""].contains(&code.as_str()), || format!("ended with {code}"))
}
