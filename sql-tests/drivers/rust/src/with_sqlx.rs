//! sqlx: a pool, statements kept prepared on each connection, types checked against what the server describes.

mod checks;

use checks::{Checks, ENDLESS, Outcome, expect, url};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use futures_util::TryStreamExt;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgHasArrayType, PgPool, PgPoolOptions, PgSslMode};
use sqlx::types::Uuid;
use sqlx::{
    AssertSqlSafe, Column, Connection, Decode, Encode, Executor, Postgres, Row, Statement, Type,
    TypeInfo,
};

async fn both_ways<T>(pool: &PgPool, type_name: &str, values: Vec<T>) -> Outcome
where
    T: Type<Postgres>
        + PgHasArrayType
        + Clone
        + PartialEq
        + std::fmt::Debug
        + Send
        + Sync
        + Unpin
        + 'static,
    T: for<'q> Encode<'q, Postgres> + for<'r> Decode<'r, Postgres>,
{
    let table = format!("v_{}", type_name.replace([' ', '(', ')', ','], "_"));
    let sql = format!("create table {table} (id integer primary key, c {type_name})");
    sqlx::query(AssertSqlSafe(sql)).execute(pool).await?;
    let array: Vec<Option<T>> = values.into_iter().map(Some).chain([None]).collect();
    for (id, value) in (0i32..).zip(&array) {
        let insert = sqlx::query(AssertSqlSafe(format!("insert into {table} values ($1, $2)")));
        insert.bind(id).bind(value.clone()).execute(pool).await?;
        let select = format!("select c from {table} where id = $1");
        let row = sqlx::query(AssertSqlSafe(select)).bind(id).fetch_one(pool).await?;
        expect(type_name, &row.try_get::<Option<T>, _>(0)?, value)?;
    }
    let select =
        sqlx::query(AssertSqlSafe(format!("select $1::{type_name}[]"))).bind(array.clone());
    let row = select.fetch_one(pool).await?;
    expect(type_name, row.try_get::<Vec<Option<T>>, _>(0)?, array)
}

async fn values(pool: &PgPool) -> Outcome {
    let day = |y, m, d| NaiveDate::from_ymd_opt(y, m, d).ok_or("a day");
    let time = |h, m, s, u| NaiveTime::from_hms_micro_opt(h, m, s, u).ok_or("a time");
    let moment: NaiveDateTime = day(2024, 2, 29)?.and_time(time(12, 30, 15, 123_456)?);
    both_ways(pool, "boolean", vec![true, false]).await?;
    both_ways(pool, "smallint", vec![0i16, i16::MIN, i16::MAX]).await?;
    both_ways(pool, "integer", vec![0i32, i32::MIN, i32::MAX]).await?;
    both_ways(pool, "bigint", vec![0i64, i64::MIN, i64::MAX]).await?;
    both_ways(pool, "real", vec![1.5f32, f32::MAX, f32::NEG_INFINITY]).await?;
    both_ways(pool, "double precision", vec![0.1f64, f64::MAX, 5e-324, f64::INFINITY]).await?;
    let decimals = vec!["0.01".parse::<Decimal>()?, "-99999999999999.99".parse()?];
    both_ways(pool, "numeric(20,2)", decimals).await?;
    both_ways(pool, "text", ["", "a'b\\c\"\n\t", "äöü € 😀"].map(str::to_owned).to_vec()).await?;
    both_ways(pool, "bytea", vec![vec![], (0..=255u8).collect::<Vec<u8>>()]).await?;
    both_ways(pool, "date", vec![day(1, 1, 1)?, day(9999, 12, 31)?]).await?;
    both_ways(pool, "time", vec![time(0, 0, 0, 0)?, time(23, 59, 59, 999_999)?]).await?;
    both_ways(pool, "timestamp", vec![moment]).await?;
    both_ways::<DateTime<Utc>>(pool, "timestamptz", vec![moment.and_utc()]).await?;
    both_ways(pool, "uuid", vec![Uuid::nil(), Uuid::from_u128(u128::MAX)]).await?;
    both_ways::<Value>(pool, "jsonb", vec![json!({"a": [1, null, "ä"]}), json!("text")]).await
}

async fn batches(pool: &PgPool) -> Outcome {
    pool.execute("create table item (id integer primary key, name text)").await?;
    pool.execute(
        "create materialized view total as select count(*) as items, sum(id) as ids from item",
    )
    .await?;
    for id in 0..100i32 {
        sqlx::query("insert into item values ($1, $2)")
            .bind(id)
            .bind(format!("n{id}"))
            .execute(pool)
            .await?;
    }
    let ids: Vec<i32> = (100..2000).collect();
    let written = sqlx::query("insert into item (id) select * from unnest($1::integer[])")
        .bind(&ids)
        .execute(pool)
        .await?;
    expect("written", written.rows_affected(), 1900u64)?;
    let total: (i64, i64) = sqlx::query_as("select items, ids from total").fetch_one(pool).await?;
    expect("total", total, (2000, 1999 * 1000))?;
    let several = "insert into item values (5000, 'a'); update item set name = 'b' where id = 5000";
    let done = sqlx::raw_sql(several).execute(pool).await?;
    expect("several", done.rows_affected(), 2u64)?;
    let first: (i32, Option<String>) =
        sqlx::query_as("select id, name from item where id = $1").bind(1).fetch_one(pool).await?;
    expect("a row", first, (1, Some("n1".to_owned())))?;
    let returned: i32 = sqlx::query_scalar("delete from item where name = $1 returning id")
        .bind("b")
        .fetch_one(pool)
        .await?;
    expect("returned", returned, 5000)?;
    let counted =
        sqlx::query("select id from item").fetch(pool).try_fold(0, async |n, _| Ok(n + 1)).await?;
    expect("streamed", counted, 2000)
}

async fn descriptions(pool: &PgPool) -> Outcome {
    let mut connection = pool.acquire().await?;
    let sql = "select id, upper(name) as shout from item where id > $1";
    let statement = connection.prepare(sqlx::SqlStr::from_static(sql)).await?;
    let columns: Vec<(&str, &str)> =
        statement.columns().iter().map(|c| (c.name(), c.type_info().name())).collect();
    expect("columns", columns, vec![("id", "INT4"), ("shout", "TEXT")])?;
    match statement.parameters() {
        Some(sqlx::Either::Left([one])) => expect("parameter", one.name(), "INT4"),
        other => Err(format!("parameters: {other:?}").into()),
    }
}

async fn transactions(pool: &PgPool) -> Outcome {
    pool.execute("create table tx (id integer primary key, n integer)").await?;
    let mut transaction = pool.begin().await?;
    transaction.execute("insert into tx values (1, 1)").await?;
    drop(transaction);
    let mut transaction = pool.begin().await?;
    let rows: i64 =
        sqlx::query_scalar("select count(*) from tx").fetch_one(&mut *transaction).await?;
    expect("rolled back", rows, 0)?;
    transaction.execute("insert into tx values (1, 1)").await?;
    let mut inner = transaction.begin().await?;
    let error = inner.execute("insert into tx values (1, 2)").await.err().ok_or("a key twice")?;
    let error = error.into_database_error().ok_or("an answer of the server")?;
    expect("kind", (error.is_unique_violation(), error.constraint()), (true, Some("tx_pkey")))?;
    inner.rollback().await?;
    transaction.commit().await?;
    let level = "begin isolation level repeatable read";
    let (mut mine, mut theirs) = (pool.begin_with(level).await?, pool.begin_with(level).await?);
    for one in [&mut mine, &mut theirs] {
        let n: i32 = sqlx::query_scalar("select n from tx").fetch_one(&mut **one).await?;
        expect("n", n, 1)?;
    }
    mine.execute("update tx set n = 10").await?;
    mine.commit().await?;
    let refused = match theirs.execute("update tx set n = 20").await {
        Ok(_) => theirs.commit().await.err(),
        Err(error) => Some(error),
    };
    let refused = refused
        .and_then(|error| error.into_database_error())
        .ok_or("the second was not refused")?;
    expect("conflict", refused.code().as_deref(), Some("40001"))
}

async fn errors(pool: &PgPool) -> Outcome {
    for (sql, code) in [
        ("select * from nowhere", "42P01"),
        ("select nothing from item", "42703"),
        ("selec 1", "42601"),
        ("select 'x'::integer", "22P02"),
        ("select 1/0", "22012"),
        ("select nofunction(1)", "42883"),
        ("insert into item (id) values (null)", "23502"),
        ("insert into item (id) values (1)", "23505"),
    ] {
        let error = sqlx::query(sql).fetch_all(pool).await.err().ok_or("no error")?;
        let error = error.into_database_error().ok_or("an answer of the server")?;
        expect(sql, error.code().as_deref(), Some(code))?;
    }
    Ok(())
}

async fn cancel(pool: &PgPool) -> Outcome {
    let mut connection = pool.acquire().await?;
    let pid: i32 =
        sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *connection).await?;
    let other = pool.clone();
    let cancelled = tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(1000)).await;
        sqlx::query_scalar::<_, bool>("select pg_cancel_backend($1)")
            .bind(pid)
            .fetch_one(&other)
            .await
    });
    let error = connection.execute(ENDLESS).await.err().ok_or("the query ended by itself")?;
    let error = error.into_database_error().ok_or("an answer of the server")?;
    expect("code", error.code().as_deref(), Some("57014"))?;
    expect("found", cancelled.await??, true)
}

async fn copy(pool: &PgPool) -> Outcome {
    pool.execute("create table copied (id integer primary key, name text)").await?;
    let mut connection = pool.acquire().await?;
    let mut sink = connection.copy_in_raw("copy copied from stdin (format csv)").await?;
    sink.send(&b"1,one\n2,\n"[..]).await?;
    expect("in", sink.finish().await?, 2u64)?;
    let out = connection.copy_out_raw("copy (select * from copied order by id) to stdout").await?;
    let chunks: Vec<_> = out.try_collect().await?;
    expect("out", chunks.concat(), b"1\tone\n2\t\\N\n")
}

#[tokio::main]
async fn main() {
    let options: PgConnectOptions = url().parse().expect("TIDEWATER_URL is a URL");
    let options = options.ssl_mode(PgSslMode::Prefer);
    let pool = PgPoolOptions::new().max_connections(4).connect_with(options).await;
    let pool = pool.expect("the server takes connections");
    let mut checks = Checks::default();
    checks.run("values of every type go both ways", values(&pool)).await;
    checks.run("batches are written", batches(&pool)).await;
    checks.run("parameters and columns are described", descriptions(&pool)).await;
    checks.run("transactions commit and roll back", transactions(&pool)).await;
    checks.run("a query is cancelled", cancel(&pool)).await;
    checks.run("copy goes both ways", copy(&pool)).await;
    checks.run("errors have PostgreSQL's codes", errors(&pool)).await;
    pool.close().await;
    checks.finish();
}
