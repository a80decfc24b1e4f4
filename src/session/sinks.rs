//! CREATE SINK: what goes out, in which messages, and whether the place is there.

use std::sync::Arc;

use arrow_schema::Schema;
use sqlparser::ast;
use tidewater_connectors::options::Options as ConnectorOptions;
use tidewater_connectors::sink::{self, Target};
use tokio_util::sync::CancellationToken;

use super::ddl::{
    DISCOVER_TIMEOUT, Definition, PlannedView, create_sql, key_columns, take_on_error,
};
use super::{Outcome, Session, command};
use crate::catalog::{ConnectorSpec, ObjectKind};
use crate::coordinator::Runtime;
use crate::egress::encode::{KeyEncoding, RowEncoding};
use crate::egress::{Format, Shape, Sink};
use crate::error::{Error, Result, SqlState};
use crate::plan::Node;
use crate::query::errors::canceled;
use crate::sql::{self, CreateSink, SinkInput, Statement};

/// Options that are ours, not the connector's.
struct Own {
    primary_key: Vec<String>,
    force_append_only: bool,
    fail_on_error: bool,
}

impl Session {
    pub(super) async fn create_sink(
        &mut self,
        sink: &CreateSink,
        statement: &Statement,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        const TAG: &str = "CREATE SINK";
        self.outside_of_block(TAG)?;
        if sink.emit_on_window_close {
            return Err(Error::unsupported("EMIT ON WINDOW CLOSE is not supported yet"));
        }
        if self.exists_already(&sink.name, sink.if_not_exists)? {
            return command(TAG);
        }
        if let Some((table, columns)) = &sink.into {
            return self.create_sink_into(sink, table, columns, statement, cancel).await;
        }
        let redacted = ConnectorOptions::new(sink.options.0.clone())?.redacted();
        let mut pairs = sink.options.0.clone();
        let own = Own::take(&mut pairs)?;
        let (format, encoding, key_encoding) = formats(sink)?;
        let is_file = sink.options.get("connector") == Some("file");
        if is_file && sink.options.get("extension").is_none() {
            let extension = if encoding == RowEncoding::Csv { "csv" } else { "json" };
            pairs.push(("extension".to_owned(), extension.to_owned()));
        }
        let target = sink::open(&sink.name.name, &ConnectorOptions::new(pairs)?)?;
        let query = sink_query(sink)?;
        let PlannedView { node: plan, depends_on, .. } = self.plan_view(&query, &[])?;
        check_append_only(sink, &plan, format, target.as_ref(), own.force_append_only)?;
        let key = message_key(&plan, format, &own.primary_key)?;
        if key_encoding == KeyEncoding::Text && key.len() != 1 {
            let message = "KEY ENCODE TEXT needs a primary key of one column";
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
        let stand_in = self.server.test_mode;
        let (name, schema, plan) = (sink.name.name.clone(), plan.schema.clone(), Arc::new(plan));
        let fail_on_error = own.fail_on_error;
        let (columns, runtime) = if stand_in {
            (schema, Runtime::View { plan, fail_on_error })
        } else {
            reachable(target.clone(), cancel).await?;
            let shape = Shape { name, schema, key, format, encoding, key_encoding };
            let sink = Arc::new(Sink { target, shape });
            (Arc::new(Schema::empty()), Runtime::Sink { plan, sink, fail_on_error })
        };
        let connector = ConnectorSpec {
            options: sink.options.clone(),
            format: sink.format.clone(),
            stand_in,
            ..ConnectorSpec::default()
        };
        let (id, epoch) = self
            .define(Definition {
                name: sink.name.clone(),
                columns,
                kind: ObjectKind::Sink { connector, into: None },
                depends_on,
                create_sql: create_sql(statement, &redacted),
                runtime,
            })
            .await?;
        if stand_in {
            self.server.coordinator.hydrated(id, epoch).await?;
        }
        command(TAG)
    }
}

/// What goes into a sink.
pub(super) fn sink_query(sink: &CreateSink) -> Result<Box<ast::Query>> {
    match &sink.input {
        SinkInput::Relation(name) => sql::parse_query(&format!("SELECT * FROM {name}")),
        SinkInput::Query(query) => Ok(query.clone()),
    }
}

impl Own {
    fn take(pairs: &mut Vec<(String, String)>) -> Result<Own> {
        let fail_on_error = take_on_error(pairs)?;
        let options = ConnectorOptions::new(pairs.clone())?;
        let force_append_only = options.boolean("force_append_only")?.unwrap_or(false);
        let names = options.get("primary_key").unwrap_or_default().split(',');
        let names = names.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        let primary_key = names.collect();
        pairs.retain(|(key, _)| key != "force_append_only" && key != "primary_key");
        Ok(Own { primary_key, force_append_only, fail_on_error })
    }
}

/// Asks the place itself: what is wrong with it is told now.
async fn reachable(target: Arc<dyn Target>, cancel: &CancellationToken) -> Result<()> {
    let check = tokio::task::spawn_blocking(move || target.check(DISCOVER_TIMEOUT));
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(canceled()),
        checked = check => Ok(checked.map_err(|e| Error::internal(e.to_string()))??),
    }
}

fn formats(sink: &CreateSink) -> Result<(Format, RowEncoding, KeyEncoding)> {
    let Some(declared) = &sink.format else {
        if sink.options.get("connector") == Some("kafka") {
            return Err(Error::new(
                SqlState::INVALID_PARAMETER_VALUE,
                "a sink to Kafka needs a FORMAT",
            )
            .with_hint("Add FORMAT PLAIN, UPSERT or DEBEZIUM ENCODE JSON."));
        }
        return Ok((Format::Plain, RowEncoding::Json, KeyEncoding::Json));
    };
    ConnectorOptions::new(declared.options.0.clone())?.check_known("ENCODE", &[])?;
    let unsupported = |what: &str, value: &str, known: &str| {
        Error::unsupported(format!("{what} {value} of a sink is not supported yet"))
            .with_hint(format!("Use {known}."))
    };
    let format = match declared.format.as_str() {
        "PLAIN" => Format::Plain,
        "UPSERT" => Format::Upsert,
        "DEBEZIUM" => Format::Debezium,
        other => return Err(unsupported("FORMAT", other, "PLAIN, UPSERT or DEBEZIUM")),
    };
    let encoding = match declared.encode.as_str() {
        "JSON" => RowEncoding::Json,
        "CSV" if format == Format::Plain => RowEncoding::Csv,
        other => return Err(unsupported("ENCODE", other, "JSON, or CSV under FORMAT PLAIN")),
    };
    let key_encoding = match declared.key_encode.as_deref() {
        None | Some("JSON") => KeyEncoding::Json,
        Some("TEXT") => KeyEncoding::Text,
        Some(other) => return Err(unsupported("KEY ENCODE", other, "JSON or TEXT")),
    };
    Ok((format, encoding, key_encoding))
}

/// Rows that are taken back later must not be left out silently.
fn check_append_only(
    sink: &CreateSink,
    plan: &Node,
    format: Format,
    target: &dyn Target,
    force: bool,
) -> Result<()> {
    if target.is_append_only() && format != Format::Plain {
        let connector = sink.options.get("connector").unwrap_or_default();
        let message = format!("connector \"{connector}\" takes FORMAT PLAIN only");
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
            .with_detail("What it has written cannot be taken back."));
    }
    let counts_only = sink.options.get("connector") == Some("blackhole");
    if format != Format::Plain || plan.properties.append_only || force || counts_only {
        return Ok(());
    }
    let message = format!("sink \"{}\" only adds rows, but its input changes them", sink.name.name);
    let hint = match target.is_append_only() {
        true => {
            "Add force_append_only = 'true' to write rows as they come and leave out that they go."
        }
        false => {
            "Use FORMAT UPSERT or DEBEZIUM, or add force_append_only = 'true' to write rows as they come and leave out that they go."
        }
    };
    Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message).with_hint(hint))
}

/// The columns of the messages' key. Where a key says which row a message replaces, no two rows may have the same.
fn message_key(plan: &Node, format: Format, names: &[String]) -> Result<Vec<usize>> {
    let named = key_columns(&plan.schema, names)?;
    if format == Format::Plain {
        return Ok(named);
    }
    let word = if format == Format::Upsert { "UPSERT" } else { "DEBEZIUM" };
    if named.is_empty() {
        return plan.key().filter(|key| !key.is_empty()).ok_or_else(|| {
            let message = format!(
                "FORMAT {word} needs a primary key, and the input is not known to have one"
            );
            Error::new(SqlState::INVALID_PARAMETER_VALUE, message).with_hint(UNIQUE_HINT)
        });
    }
    let is_unique =
        plan.properties.keys.iter().any(|key| key.iter().all(|column| named.contains(column)));
    if !is_unique {
        let message = format!(
            "several rows of the input may have the same primary_key ({})",
            names.join(", ")
        );
        return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
            .with_detail("A message of one would silently replace the other.")
            .with_hint(UNIQUE_HINT));
    }
    Ok(named)
}

pub(super) const UNIQUE_HINT: &str = "Read a table with a PRIMARY KEY, or make the columns unique by GROUP BY or SELECT DISTINCT ON.";
