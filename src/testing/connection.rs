//! One session of a test file, over the wire by the simple protocol, so that values are compared as psql shows them.
//!
//! The letters behind `query` give the number of columns, not their types. An error reads `SQLSTATE: message`, followed by
//! DETAIL and HINT in lines of their own.

use std::time::Duration;

use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType};
use tokio_postgres::error::ErrorPosition;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Tidewater,
    Postgres,
}

/// One session; `connection NAME` in the file opens another.
pub struct Connection {
    engine: Engine,
    client: Client,
}

/// An error as the files name it.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    #[error("{}", told(.0))]
    Database(Box<tokio_postgres::error::DbError>),
    #[error("connection: {0}")]
    Connection(tokio_postgres::Error),
}

fn told(error: &tokio_postgres::error::DbError) -> String {
    let mut text = format!("{}: {}", error.code().code(), error.message());
    for (field, value) in [("DETAIL", error.detail()), ("HINT", error.hint())] {
        if let Some(value) = value {
            text += &format!("\n{field}: {value}");
        }
    }
    text
}

impl From<tokio_postgres::Error> for SqlError {
    fn from(error: tokio_postgres::Error) -> SqlError {
        match error.as_db_error() {
            Some(db) => SqlError::Database(Box::new(db.clone())),
            None => SqlError::Connection(error),
        }
    }
}

impl SqlError {
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            SqlError::Database(error) => Some(error.code().code()),
            SqlError::Connection(_) => None,
        }
    }

    /// The line of the statement's text that the error points at, from 1.
    pub fn line(&self, text: &str) -> Option<usize> {
        let SqlError::Database(error) = self else { return None };
        let Some(ErrorPosition::Original(position)) = error.position() else { return None };
        let before = text.chars().take(*position as usize);
        Some(before.filter(|c| *c == '\n').count() + 1)
    }
}

impl Connection {
    pub async fn open(engine: Engine, config: Config) -> Result<Connection, SqlError> {
        let (client, connection) = config.connect(NoTls).await?;
        // The task ends with the client; an error of the connection reaches the statement that waits for it.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Connection { engine, client })
    }
}

#[async_trait::async_trait]
impl AsyncDB for Connection {
    type Error = SqlError;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, SqlError> {
        let sql = match self.engine {
            Engine::Tidewater => sql.to_owned(),
            // A view is what a materialized view must always equal.
            Engine::Postgres => {
                sql.replace("materialized view", "view").replace("MATERIALIZED VIEW", "VIEW")
            }
        };
        let messages = self.client.simple_query(&sql).await?;
        let mut columns = None;
        let mut rows = Vec::new();
        let mut changed = 0;
        for message in messages {
            match message {
                SimpleQueryMessage::RowDescription(description) => {
                    columns = Some(description.len())
                }
                SimpleQueryMessage::Row(row) => {
                    rows.push((0..row.len()).map(|i| shown(row.get(i))).collect())
                }
                SimpleQueryMessage::CommandComplete(count) => changed = count,
                _ => {}
            }
        }
        Ok(match columns {
            Some(count) => DBOutput::Rows { types: vec![DefaultColumnType::Any; count], rows },
            None => DBOutput::StatementComplete(changed),
        })
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        match self.engine {
            Engine::Tidewater => "tidewater",
            Engine::Postgres => "postgres",
        }
    }

    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn error_sql_state(error: &SqlError) -> Option<String> {
        error.sqlstate().map(str::to_owned)
    }
}

/// A null and an empty text are visible.
fn shown(value: Option<&str>) -> String {
    match value {
        None => "NULL".to_owned(),
        Some("") => "(empty)".to_owned(),
        Some(text) => text.to_owned(),
    }
}
