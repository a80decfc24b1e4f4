//! A client on one connection, with a runtime of its own so that tests read top to bottom.

use std::time::{Duration, Instant};

use tokio_postgres::{NoTls, SimpleQueryMessage};

pub struct Client {
    runtime: tokio::runtime::Runtime,
    client: tokio_postgres::Client,
}

impl Client {
    pub fn connect(url: &str) -> Client {
        Client::try_connect(url).unwrap()
    }

    pub fn try_connect(url: &str) -> Result<Client, tokio_postgres::Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            tokio::spawn(connection);
            Ok::<_, tokio_postgres::Error>(client)
        })?;
        Ok(Client { runtime, client })
    }

    /// Runs statements; the rows of the last one, values as text, columns joined by `|`, NULL as `~`.
    pub fn try_query(&self, sql: &str) -> Result<Vec<String>, tokio_postgres::Error> {
        let messages = self.runtime.block_on(self.client.simple_query(sql))?;
        let mut rows = vec![];
        for message in messages {
            match message {
                SimpleQueryMessage::Row(row) => {
                    let values = (0..row.len()).map(|i| row.get(i).unwrap_or("~").to_owned());
                    rows.push(values.collect::<Vec<_>>().join("|"));
                }
                SimpleQueryMessage::RowDescription(_) => rows.clear(),
                _ => {}
            }
        }
        Ok(rows)
    }

    pub fn query(&self, sql: &str) -> Vec<String> {
        self.try_query(sql).unwrap_or_else(|error| panic!("{sql}: {}", shown(&error)))
    }

    /// The only value of the only row.
    pub fn value(&self, sql: &str) -> String {
        let rows = self.query(sql);
        assert_eq!(rows.len(), 1, "{sql} gives one row: {rows:?}");
        rows.into_iter().next().unwrap()
    }

    /// SQLSTATE of the error that the statement ends with.
    pub fn failure(&self, sql: &str) -> String {
        let error = self.try_query(sql).expect_err("the statement is refused");
        error.code().map(|code| code.code().to_owned()).unwrap_or_else(|| shown(&error))
    }

    /// Asks again until the answer is `wanted`.
    pub fn wait_for(&self, sql: &str, wanted: &str, timeout: Duration) {
        let began = Instant::now();
        let mut last = self.value(sql);
        while last != wanted {
            assert!(
                began.elapsed() < timeout,
                "{sql} is {last} and not {wanted} after {timeout:?}"
            );
            std::thread::sleep(Duration::from_millis(50));
            last = self.value(sql);
        }
    }
}

fn shown(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |error| format!("{error:?}"))
}
