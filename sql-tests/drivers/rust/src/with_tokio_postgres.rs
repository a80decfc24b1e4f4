//! tokio-postgres: every statement is prepared, every value binary, and many can be under way on one connection.

mod checks;

use std::pin::pin;

use bytes::Bytes;
use checks::{Checks, ENDLESS, Outcome, expect, url};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use futures_util::{SinkExt, TryStreamExt, future::join_all};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSqlOwned, ToSql, Type};
use tokio_postgres::{Client, Config, NoTls, config::SslMode};
use uuid::Uuid;

async fn connect() -> Result<Client, tokio_postgres::Error> {
    let mut config: Config = url().parse()?;
    config.ssl_mode(SslMode::Prefer).application_name("checks");
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Values of a type and their array, each with NULL.
async fn both_ways<T>(client: &Client, type_name: &str, values: Vec<T>) -> Outcome
where
    T: ToSql + FromSqlOwned + Sync + Clone + PartialEq + std::fmt::Debug,
{
    let table = format!("v_{}", type_name.replace([' ', '(', ')', ','], "_"));
    client
        .batch_execute(&format!("create table {table} (id integer primary key, c {type_name})"))
        .await?;
    let insert = client.prepare(&format!("insert into {table} values ($1, $2)")).await?;
    let select = client.prepare(&format!("select c from {table} where id = $1")).await?;
    let array: Vec<Option<T>> = values.into_iter().map(Some).chain([None]).collect();
    for (id, value) in (0i32..).zip(&array) {
        client.execute(&insert, &[&id, value]).await?;
        let back: Option<T> = client.query_one(&select, &[&id]).await?.try_get(0)?;
        expect(type_name, &back, value)?;
    }
    let back = client.query_one(&format!("select $1::{type_name}[]"), &[&array]).await?;
    expect(type_name, back.try_get::<_, Vec<Option<T>>>(0)?, array)
}

async fn values(client: &Client) -> Outcome {
    let day = |y, m, d| NaiveDate::from_ymd_opt(y, m, d).ok_or("a day");
    let time = |h, m, s, u| NaiveTime::from_hms_micro_opt(h, m, s, u).ok_or("a time");
    let moment: NaiveDateTime = day(2024, 2, 29)?.and_time(time(12, 30, 15, 123_456)?);
    both_ways(client, "boolean", vec![true, false]).await?;
    both_ways(client, "smallint", vec![0i16, i16::MIN, i16::MAX]).await?;
    both_ways(client, "integer", vec![0i32, i32::MIN, i32::MAX]).await?;
    both_ways(client, "bigint", vec![0i64, i64::MIN, i64::MAX]).await?;
    both_ways(client, "real", vec![1.5f32, f32::MAX, f32::MIN_POSITIVE, f32::NEG_INFINITY]).await?;
    both_ways(client, "double precision", vec![0.1f64, f64::MAX, 5e-324, f64::INFINITY]).await?;
    let decimals = vec!["0.01".parse::<Decimal>()?, "-99999999999999.99".parse()?];
    both_ways(client, "numeric(20,2)", decimals).await?;
    let texts = ["", "a'b\\c\"\n\t", "äöü € 😀"].map(str::to_owned).to_vec();
    both_ways(client, "text", texts).await?;
    both_ways(client, "varchar", vec!["12345".to_owned()]).await?;
    both_ways(client, "bytea", vec![vec![], (0..=255u8).collect::<Vec<u8>>()]).await?;
    both_ways(client, "date", vec![day(1, 1, 1)?, day(2024, 2, 29)?, day(9999, 12, 31)?]).await?;
    both_ways(client, "time", vec![time(0, 0, 0, 0)?, time(23, 59, 59, 999_999)?]).await?;
    both_ways(client, "timestamp", vec![moment]).await?;
    both_ways::<DateTime<Utc>>(client, "timestamptz", vec![moment.and_utc()]).await?;
    both_ways(client, "uuid", vec![Uuid::nil(), Uuid::from_u128(u128::MAX)]).await?;
    both_ways::<Value>(client, "jsonb", vec![json!({"a": [1, 2.5, null, "ä"]}), json!("text")])
        .await
}

async fn descriptions(client: &Client) -> Outcome {
    client
        .batch_execute("create table item (id integer primary key, name varchar(20), n bigint)")
        .await?;
    let statement = client
        .prepare("select left(name, $1), n + $2 as m from item where id = any($3) and name like $4 limit $5")
        .await?;
    let wanted = [Type::INT4, Type::INT8, Type::INT4_ARRAY, Type::TEXT, Type::INT8];
    expect("parameters", statement.params(), &wanted[..])?;
    let columns: Vec<_> =
        statement.columns().iter().map(|c| (c.name(), c.type_().clone())).collect();
    expect("columns", columns, vec![("left", Type::TEXT), ("m", Type::INT8)])?;
    let typed = client.prepare_typed("select $1", &[Type::INT8]).await?;
    expect("given", typed.columns()[0].type_(), &Type::INT8)
}

async fn batches(client: &Client) -> Outcome {
    client
        .batch_execute(
            "create materialized view total as select count(*) as items, sum(n) as n from item",
        )
        .await?;
    let insert = client.prepare("insert into item values ($1, $2, $3)").await?;
    let (names, numbers): (Vec<String>, Vec<i64>) =
        (0..500i64).map(|i| (format!("n{i}"), i)).unzip();
    let ids: Vec<i32> = (0..500).collect();
    let written = (0..500).map(|i| {
        let (insert, id, name, n) = (&insert, &ids[i], &names[i], &numbers[i]);
        async move { client.execute(insert, &[id, name, n]).await }
    });
    let written: Result<Vec<u64>, _> = join_all(written).await.into_iter().collect();
    expect("written", written?.iter().sum::<u64>(), 500u64)?;
    let ids: Vec<i32> = (500..3000).collect();
    let unnest = "insert into item select i, null, i from unnest($1::integer[]) i";
    expect("at once", client.execute(unnest, &[&ids]).await?, 2500u64)?;
    let row = client.query_one("select items, n::bigint from total", &[]).await?;
    expect("total", (row.try_get::<_, i64>(0)?, row.try_get::<_, i64>(1)?), (3000, 3000 * 2999 / 2))
}

async fn portals(client: &mut Client) -> Outcome {
    let transaction = client.transaction().await?;
    let portal =
        transaction.bind("select id from item where id >= $1 order by id", &[&10i32]).await?;
    let mut ids = vec![];
    loop {
        let rows = transaction.query_portal(&portal, 700).await?;
        if rows.is_empty() {
            break;
        }
        ids.extend(rows.iter().map(|row| row.get::<_, i32>(0)));
    }
    expect("ids", ids, (10..3000).collect::<Vec<i32>>())?;
    transaction.commit().await?;
    let rows = client.query_raw("select id from item", Vec::<i32>::new()).await?;
    expect("streamed", pin!(rows).try_fold(0, async |n, _| Ok(n + 1)).await?, 3000)
}

async fn cancel(client: &Client) -> Outcome {
    let token = client.cancel_token();
    let cancelled = tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(1000)).await;
        token.cancel_query(NoTls).await
    });
    let error = client.query(ENDLESS, &[]).await.err().ok_or("the query ended by itself")?;
    expect("code", error.code(), Some(&SqlState::QUERY_CANCELED))?;
    cancelled.await??;
    client.query_one("select 1", &[]).await?;
    Ok(())
}

async fn transactions(client: &mut Client) -> Outcome {
    client
        .batch_execute(
            "create table tx (id integer primary key, n integer); insert into tx values (1, 1)",
        )
        .await?;
    let transaction = client.transaction().await?;
    transaction.execute("update tx set n = 5", &[]).await?;
    drop(transaction);
    let mut transaction = client.transaction().await?;
    expect(
        "rolled back",
        transaction.query_one("select n from tx", &[]).await?.get::<_, i32>(0),
        1,
    )?;
    transaction.execute("update tx set n = 2", &[]).await?;
    let savepoint = transaction.savepoint("here").await?;
    let error =
        savepoint.execute("insert into tx values (1, 1)", &[]).await.err().ok_or("a key twice")?;
    expect("code", error.code(), Some(&SqlState::UNIQUE_VIOLATION))?;
    let error = error.as_db_error().ok_or("an answer of the server")?;
    expect("constraint", (error.table(), error.constraint()), (Some("tx"), Some("tx_pkey")))?;
    savepoint.rollback().await?;
    transaction.commit().await?;
    let mut other = connect().await?;
    let level = tokio_postgres::IsolationLevel::RepeatableRead;
    let mine = client.build_transaction().isolation_level(level).start().await?;
    let theirs = other.build_transaction().isolation_level(level).start().await?;
    for one in [&mine, &theirs] {
        expect("n", one.query_one("select n from tx", &[]).await?.get::<_, i32>(0), 2)?;
    }
    mine.execute("update tx set n = 10", &[]).await?;
    mine.commit().await?;
    let refused = match theirs.execute("update tx set n = 20", &[]).await {
        Ok(_) => theirs.commit().await.err(),
        Err(error) => Some(error),
    };
    expect(
        "conflict",
        refused.as_ref().and_then(|e| e.code()),
        Some(&SqlState::T_R_SERIALIZATION_FAILURE),
    )?;
    expect("the first one's", client.query_one("select n from tx", &[]).await?.get::<_, i32>(0), 10)
}

async fn copy(client: &Client) -> Outcome {
    client.batch_execute("create table copied (id integer primary key, name text)").await?;
    let mut sink = pin!(client.copy_in("copy copied from stdin (format csv)").await?);
    sink.send(Bytes::from_static(b"1,one\n2,\n")).await?;
    expect("in", sink.finish().await?, 2u64)?;
    let out = client.copy_out("copy (select * from copied order by id) to stdout").await?;
    let chunks: Vec<Bytes> = out.try_collect().await?;
    expect("out", chunks.concat(), b"1\tone\n2\t\\N\n")
}

async fn errors(client: &Client) -> Outcome {
    for (sql, code) in [
        ("select * from nowhere", "42P01"),
        ("select nothing from item", "42703"),
        ("selec 1", "42601"),
        ("select 'x'::integer", "22P02"),
        ("select 1/0", "22012"),
        ("select nofunction(1)", "42883"),
        ("insert into item (id) values (null)", "23502"),
        ("create table item (id integer)", "42P07"),
    ] {
        let error = client.query(sql, &[]).await.err().ok_or("no error")?;
        expect(sql, error.code().map(SqlState::code), Some(code))?;
    }
    Ok(())
}

#[tokio::main]
async fn main() {
    let mut client = connect().await.expect("the server takes connections");
    let mut checks = Checks::default();
    checks.run("values of every type go both ways", values(&client)).await;
    checks.run("parameters and columns are described", descriptions(&client)).await;
    checks.run("batches are written", batches(&client)).await;
    checks.run("portals give rows in pieces", portals(&mut client)).await;
    checks.run("a query is cancelled", cancel(&client)).await;
    checks.run("transactions commit and roll back", transactions(&mut client)).await;
    checks.run("copy goes both ways", copy(&client)).await;
    checks.run("errors have PostgreSQL's codes", errors(&client)).await;
    checks.finish();
}
