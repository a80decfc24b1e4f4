//! COPY over the wire: psql's way and the drivers', what is loaded, and what ends a copy early.

use std::pin::pin;

use bytes::Bytes;
use futures::{SinkExt, TryStreamExt};
use tokio_postgres::NoTls;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;

use super::client::Client;
use super::server::Server;

const ROWS: i32 = 100_000;

fn with_client<F: Future<Output = ()>>(test: impl FnOnce(tokio_postgres::Client, String) -> F) {
    let server = Server::start(&["--workers", "2"]).unwrap();
    Client::connect(&server.url).query(
        "create table t (id int primary key, name text, at timestamp default '2024-01-01'); \
         create materialized view total as select count(*) n, sum(id) ids, count(name) names from t",
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&server.url, NoTls).await.unwrap();
        tokio::spawn(connection);
        test(client, server.url.clone()).await;
    });
    server.stop().unwrap();
}

async fn total(client: &tokio_postgres::Client) -> (i64, Option<i64>, i64) {
    let row = client.query_one("select n, ids, names from total", &[]).await.unwrap();
    (row.get(0), row.get(1), row.get(2))
}

#[test]
fn many_rows_are_loaded_at_once_and_come_out_again() {
    with_client(|client, url| async move {
        let (reader, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let sink = client.copy_in("copy t (id, name) from stdin (format csv)").await.unwrap();
        let mut sink = pin!(sink);
        // Messages end anywhere, also within a row.
        let data: String = (0..ROWS).map(|i| format!("{i},\"name {i}\"\n")).collect();
        for piece in data.as_bytes().chunks(70_001) {
            sink.send(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        assert_eq!(total(&reader).await.0, 0, "nothing is seen before the end");
        assert_eq!(sink.finish().await.unwrap(), ROWS as u64);
        let ids = i64::from(ROWS) * i64::from(ROWS - 1) / 2;
        assert_eq!(total(&client).await, (ROWS.into(), Some(ids), ROWS.into()));
        let out = client.copy_out("copy (select id, name from t order by id) to stdout csv").await;
        let chunks: Vec<Bytes> = out.unwrap().try_collect().await.unwrap();
        assert_eq!(chunks.len(), ROWS as usize, "one message a row");
        assert_eq!(chunks[7], "7,name 7\n");
    });
}

#[test]
fn binary_copies_go_both_ways() {
    with_client(|client, _| async move {
        let sink = client.copy_in("copy t from stdin binary").await.unwrap();
        let writer = BinaryCopyInWriter::new(sink, &[Type::INT4, Type::TEXT, Type::TIMESTAMP]);
        let mut writer = pin!(writer);
        for id in 0..1_000i32 {
            let name = (id % 3 > 0).then(|| format!("n{id}"));
            writer.as_mut().write(&[&id, &name, &None::<std::time::SystemTime>]).await.unwrap();
        }
        assert_eq!(writer.finish().await.unwrap(), 1_000);
        assert_eq!(total(&client).await, (1_000, Some(499_500), 666));
        let out = client.copy_out("copy t (id, name) to stdout (format binary)").await.unwrap();
        let types = [Type::INT4, Type::TEXT];
        let rows = tokio_postgres::binary_copy::BinaryCopyOutStream::new(out, &types);
        let rows: Vec<_> = pin!(rows).try_collect().await.unwrap();
        let mut ids: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..1_000).collect::<Vec<_>>());
    });
}

#[test]
fn a_copy_that_does_not_end_well_leaves_nothing() {
    with_client(|client, url| async move {
        let copy = "copy t (id, name) from stdin";
        // A row that cannot be read, with its place; the data behind it is skipped.
        let mut sink = pin!(client.copy_in(copy).await.unwrap());
        sink.send(Bytes::from_static(b"1\ta\nx\tb\n")).await.unwrap();
        sink.send(Bytes::from_static(b"3\tc\n")).await.unwrap();
        let error = sink.finish().await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "22P02");
        assert_eq!(error.where_(), Some("COPY t, line 2, column id: \"x\""));
        // A key twice.
        let mut sink = pin!(client.copy_in(copy).await.unwrap());
        sink.send(Bytes::from_static(b"1\ta\n1\tb\n")).await.unwrap();
        assert_eq!(sink.finish().await.unwrap_err().code().unwrap().code(), "23505");
        // The client says no (CopyFail), or goes away.
        {
            let mut sink = Box::pin(client.copy_in(copy).await.unwrap());
            sink.send(Bytes::from_static(b"5\ta\n")).await.unwrap();
        }
        assert_eq!(total(&client).await.0, 0);
        {
            let (other, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
            let connection = tokio::spawn(connection);
            let mut sink = Box::pin(other.copy_in(copy).await.unwrap());
            sink.send(Bytes::from_static(b"6\ta\n")).await.unwrap();
            sink.flush().await.unwrap();
            connection.abort();
        }
        // A cancel request.
        let token = client.cancel_token();
        let mut sink = pin!(client.copy_in(copy).await.unwrap());
        sink.send(Bytes::from_static(b"7\ta\n")).await.unwrap();
        sink.flush().await.unwrap();
        token.cancel_query(NoTls).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let error = sink.finish().await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), "57014");
        assert_eq!(total(&client).await.0, 0);
        // The session goes on, and a copy in a transaction block ends with it.
        client.batch_execute("begin").await.unwrap();
        let mut sink = pin!(client.copy_in(copy).await.unwrap());
        sink.send(Bytes::from_static(b"8\ta\n")).await.unwrap();
        assert_eq!(sink.finish().await.unwrap(), 1);
        client.batch_execute("rollback").await.unwrap();
        assert_eq!(total(&client).await.0, 0);
    });
}
