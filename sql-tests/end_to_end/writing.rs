//! Statements that write and answer: many clients upserting, and RETURNING through the extended protocol.

use std::time::{Duration, Instant};

use tokio_postgres::NoTls;
use tokio_postgres::types::Type;

use super::client::Client;
use super::server::Server;

const CLIENTS: usize = 4;
const KEYS: i32 = 7;

#[test]
fn counters_that_four_clients_upsert_lose_no_increment() {
    let server = Server::start(&["--workers", "2"]).unwrap();
    Client::connect(&server.url).query(
        "create table counter (id int primary key, n bigint); \
         create materialized view total as select count(*) as keys, sum(n) as n from counter",
    );
    let began = Instant::now();
    let written: i64 = std::thread::scope(|scope| {
        let clients = (0..CLIENTS).map(|client| {
            let url = &server.url;
            scope.spawn(move || {
                let connection = Client::connect(url);
                let mut written = 0;
                while began.elapsed() < Duration::from_secs(4) {
                    let (a, b) = ((written as i32 + client as i32) % KEYS, KEYS);
                    let returned = connection.query(&format!(
                        "insert into counter values ({a}, 1), ({b}, 1) \
                         on conflict (id) do update set n = counter.n + excluded.n returning id, n"
                    ));
                    assert_eq!(returned.len(), 2);
                    written += 2;
                }
                written
            })
        });
        let clients: Vec<_> = clients.collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    let reader = Client::connect(&server.url);
    assert_eq!(reader.value("select n from total"), written.to_string());
    assert_eq!(reader.value("select sum(n) from counter"), written.to_string());
    assert_eq!(reader.value("select keys from total"), (KEYS + 1).to_string());
    assert!(written > 20, "the clients were not stuck");
    server.stop().unwrap();
}

/// Of all that four clients insert by values, a query, a transaction and a block of several, one row of each UNIQUE value stays;
/// an index made UNIQUE meanwhile is exact from its first moment on.
#[test]
fn of_rows_with_one_unique_value_that_four_clients_insert_one_is_there() {
    const VALUES: i32 = 60;
    let server = Server::start(&["--workers", "2"]).unwrap();
    let owner = Client::connect(&server.url);
    owner.query("create table taken (id int primary key, a int unique, b int)");
    let inserted: i32 = std::thread::scope(|scope| {
        let clients = (0..CLIENTS as i32).map(|client| {
            let url = &server.url;
            scope.spawn(move || {
                let connection = Client::connect(url);
                let mut inserted = 0;
                for a in 0..VALUES {
                    let id = client * VALUES + a;
                    let sql = match (a + client) % 4 {
                        0 => format!("insert into taken values ({id}, {a}, {a})"),
                        1 => format!("insert into taken select {id}, {a}, {a}"),
                        2 => format!("begin; insert into taken values ({id}, {a}, {a}); commit"),
                        _ => format!("update taken set a = a where a = {a}; insert into taken values ({id}, {a}, {a})"),
                    };
                    match connection.try_query(&sql) {
                        Ok(_) => inserted += 1,
                        Err(error) => {
                            let code = error.code().map(|code| code.code().to_owned());
                            assert!(matches!(code.as_deref(), Some("23505" | "40001")), "{error:?}");
                            connection.query("rollback");
                        }
                    }
                }
                inserted
            })
        });
        let clients: Vec<_> = clients.collect();
        owner.query("create unique index b_once on taken (b)");
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    let rows = owner.value("select count(*) from taken");
    assert_eq!(rows, inserted.to_string());
    assert_eq!(owner.value("select count(distinct a) from taken"), rows);
    assert_eq!(owner.value("select count(distinct b) from taken"), rows);
    assert_eq!(
        owner.failure("insert into taken select max(id) + 1, -1, max(b) from taken"),
        "23505"
    );
    server.stop().unwrap();
}

#[test]
fn returning_is_described_and_travels_in_binary() {
    let server = Server::start(&["--workers", "2"]).unwrap();
    Client::connect(&server.url).query("create table t (id int primary key, name text, n bigint)");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&server.url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let insert = client
            .prepare("insert into t values ($1, $2, $3) returning id, upper(name) as shout, n * $4")
            .await
            .unwrap();
        assert_eq!(insert.params(), [Type::INT4, Type::TEXT, Type::INT8, Type::INT8]);
        let columns: Vec<_> = insert.columns().iter().map(|c| (c.name(), c.type_())).collect();
        assert_eq!(
            columns,
            [("id", &Type::INT4), ("shout", &Type::TEXT), ("?column?", &Type::INT8)]
        );
        let row = client.query_one(&insert, &[&1i32, &"one", &5i64, &3i64]).await.unwrap();
        assert_eq!((row.get::<_, i32>(0), row.get::<_, &str>(1)), (1, "ONE"));
        assert_eq!(row.get::<_, i64>(2), 15);
        let upsert = "insert into t as x values ($1, $2, 1) on conflict (id) \
                      do update set n = x.n + $3, name = excluded.name where x.n < $4 returning *";
        let row = client.query_one(upsert, &[&1i32, &"uno", &10i64, &100i64]).await.unwrap();
        assert_eq!((row.get::<_, &str>(1), row.get::<_, i64>(2)), ("uno", 15));
        let none = client.query(upsert, &[&1i32, &"eins", &10i64, &0i64]).await.unwrap();
        assert!(none.is_empty());
        let update = "update t set n = s.n from (values ($1::int, $2::bigint)) as s (id, n) \
                      where s.id = t.id returning t.n, s.id";
        let row = client.query_one(update, &[&1i32, &7i64]).await.unwrap();
        assert_eq!((row.get::<_, i64>(0), row.get::<_, i32>(1)), (7, 1));
        let deleted = client.query("delete from t where id = $1 returning name", &[&1i32]).await;
        assert_eq!(deleted.unwrap()[0].get::<_, &str>(0), "uno");
        let plain = client.prepare("insert into t values ($1, $2, $3)").await.unwrap();
        assert!(plain.columns().is_empty());
        assert_eq!(client.execute(&plain, &[&2i32, &"two", &None::<i64>]).await.unwrap(), 1);
        let failed = client.execute(&plain, &[&2i32, &"two", &None::<i64>]).await.unwrap_err();
        assert_eq!(failed.code().unwrap().code(), "23505");
    });
    server.stop().unwrap();
}
