//! EXPLAIN: of a statement the plan by which it would run, or has just run; of a view, sink or index the plan by which it is maintained, and
//! what its operators do.

mod batch;
mod running;
mod table;

use tokio_util::sync::CancellationToken;

use super::jobs::dataflow_of;
use super::settings::duration;
use super::show::{rows, text_field};
use super::{Outcome, Session};
use crate::catalog::{Object, ObjectKind};
use crate::error::{Error, Result, SqlState};
use crate::plan::Node;
use crate::plan::explain::{explain, explain_json};
use crate::query::common::display;
use crate::query::errors::canceled;
use crate::query::output::canonicalise;
use crate::sql::{
    DropKind, Explain, ExplainFormat, ExplainOptions, ExplainTarget, ObjectName, Statement,
};
use running::Observed;

/// Statements of a row of `EXPLAIN (FORMAT JSON)`, as PostgreSQL gives them.
fn json_text(plan: serde_json::Value, more: serde_json::Map<String, serde_json::Value>) -> String {
    let mut fields = serde_json::Map::from_iter([("Plan".to_owned(), plan)]);
    fields.extend(more);
    format!("{:#}", serde_json::Value::from(vec![serde_json::Value::Object(fields)]))
}

impl Session {
    pub(super) async fn explain(
        &mut self,
        explain: &Explain,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        let Explain { options, target } = explain;
        let text = match target {
            ExplainTarget::Running { kind, name } => {
                self.explain_running(*kind, name, options, cancel).await?
            }
            ExplainTarget::Statement(_) if options.duration.is_some() => {
                let message = "EXPLAIN option \"duration\" is for what is running";
                return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
                    .with_hint("EXPLAIN (ANALYZE, DURATION '5 s') MATERIALIZED VIEW name"));
            }
            ExplainTarget::Statement(statement) => match statement.as_ref() {
                Statement::Query(query) if options.analyze => {
                    self.analyze_query(query, options, cancel).await?
                }
                _ if options.analyze => {
                    let message = "EXPLAIN ANALYZE of this statement is not supported yet";
                    return Err(Error::unsupported(message).with_hint(
                        "EXPLAIN ANALYZE runs a query, or looks at a MATERIALIZED VIEW, SINK or INDEX.",
                    ));
                }
                statement => self.explain_statement(statement, options.format)?,
            },
        };
        let lines = match options.format {
            ExplainFormat::Text => text.lines().map(|line| vec![Some(line.to_owned())]).collect(),
            ExplainFormat::Json => vec![vec![Some(text)]],
        };
        rows(vec![text_field("QUERY PLAN")], lines, "EXPLAIN")
    }

    fn explain_statement(&self, statement: &Statement, format: ExplainFormat) -> Result<String> {
        if let Statement::CreateMaterializedView(view) = statement {
            let planned = self.plan_view(&view.query, &view.columns)?;
            return Ok(plan_text(&planned.node, &planned.join_orders, format));
        }
        let json = format == ExplainFormat::Json;
        match statement {
            Statement::Query(query) => {
                let planned = self.plan_batch(query, &[])?;
                let plan = self.engine.optimize_batch(canonicalise(planned.plan)?)?;
                Ok(match json {
                    true => plan.display_pg_json().to_string(),
                    false => display(&plan),
                })
            }
            Statement::Insert(_, _) | Statement::Update(_) | Statement::Delete(_) if json => {
                Err(Error::unsupported("EXPLAIN (FORMAT JSON) of this statement is not supported"))
            }
            Statement::Insert(insert, overriding) => self.explain_insert(insert, *overriding),
            Statement::Update(update) => self.explain_update(update),
            Statement::Delete(delete) => self.explain_delete(delete),
            _ => Err(Error::unsupported("EXPLAIN of this statement is not supported yet")
                .with_hint("EXPLAIN a query, INSERT, UPDATE, DELETE or CREATE MATERIALIZED VIEW.")),
        }
    }

    async fn explain_running(
        &self,
        kind: DropKind,
        name: &ObjectName,
        options: &ExplainOptions,
        cancel: &CancellationToken,
    ) -> Result<String> {
        let snapshot = self.server.catalog.snapshot();
        let object = snapshot.resolve_kind(&self.settings.search_path(), name, kind)?;
        let window = options.duration.as_deref().map(window_of).transpose()?;
        let Some(running) = dataflow_of(&self.server, &object) else {
            return self.explain_stopped(&object, options);
        };
        if !options.analyze {
            return Ok(plan_text(&running.plan, &[], options.format));
        }
        let mut observed = Observed::new(running);
        if let Some(window) = window {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(canceled()),
                () = tokio::time::sleep(window) => observed.look_again(window),
            }
        }
        let others = self.server.coordinator.shared.running.load_full();
        Ok(match options.format {
            ExplainFormat::Text => observed.text(&object, &others, options.verbose),
            ExplainFormat::Json => observed.json(),
        })
    }

    /// Where nothing runs: a view that had failed before the server was started, an index that is the table's own key.
    fn explain_stopped(&self, object: &Object, options: &ExplainOptions) -> Result<String> {
        let ObjectKind::MaterializedView { query, .. } = &object.kind else {
            let message =
                format!("no dataflow runs for {} \"{}\"", object.kind.words(), object.name);
            return Err(Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
        };
        if options.analyze {
            let live = self.server.coordinator.live(object.id);
            let failure = live.and_then(|live| live.failure().cloned());
            return Err(failure.unwrap_or_else(|| {
                let message = format!("materialized view \"{}\" is not running", object.name);
                Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
            }));
        }
        let columns = object.columns.fields().iter().map(|f| f.name().clone());
        let plan = self.plan_view(query, &columns.collect::<Vec<_>>())?;
        Ok(plan_text(&plan.node, &plan.join_orders, options.format))
    }
}

fn plan_text(plan: &Node, join_orders: &[String], format: ExplainFormat) -> String {
    let mut more = serde_json::Map::new();
    match format {
        ExplainFormat::Text => {
            let orders = join_orders.iter().map(|order| format!("Join order: {order}\n"));
            explain(plan) + &orders.collect::<String>()
        }
        ExplainFormat::Json => {
            if !join_orders.is_empty() {
                more.insert("Join Orders".to_owned(), join_orders.into());
            }
            json_text(explain_json(plan, &|_| serde_json::Map::new()), more)
        }
    }
}

/// How long EXPLAIN looks: a time with its unit, or a number of seconds.
fn window_of(text: &str) -> Result<std::time::Duration> {
    let seconds = text.parse::<f64>().ok();
    let seconds = seconds.and_then(|s| std::time::Duration::try_from_secs_f64(s).ok());
    seconds.or_else(|| duration(text)).ok_or_else(|| {
        let message = format!("invalid value for EXPLAIN option \"duration\": \"{text}\"");
        Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
            .with_hint("Valid units are \"us\", \"ms\", \"s\", \"min\", \"h\", and \"d\".")
    })
}
