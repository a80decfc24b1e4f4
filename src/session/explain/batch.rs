//! EXPLAIN ANALYZE of a query: it is run, its rows are thrown away, and each operator tells how many it gave and how long it worked.

use std::time::{Duration, Instant};

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use futures::StreamExt;
use serde_json::{Map, Value};
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::super::Session;
use super::json_text;
use crate::error::Result;
use crate::query::errors::canceled;
use crate::query::execute::RowStream;
use crate::query::output::canonicalise;
use crate::sql::{ExplainFormat, ExplainOptions};

/// What is told besides the plan.
struct Summary {
    planning: Duration,
    execution: Duration,
}

impl Session {
    pub(super) async fn analyze_query(
        &self,
        query: &ast::Query,
        options: &ExplainOptions,
        cancel: &CancellationToken,
    ) -> Result<String> {
        let began = Instant::now();
        let planned = self.plan_batch(query, &[])?;
        let plan = self.engine.optimize_batch(canonicalise(planned.plan)?)?;
        let pin = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(canceled()),
            pin = self.pin(&planned.scanned) => pin?,
        };
        planned.read_at.set(pin);
        let physical = self.engine.physical_plan(&plan).await?;
        let (plan, RowStream { batches, .. }) =
            self.engine.run_counted(physical, cancel.clone())?;
        let started = Instant::now();
        let mut batches = self.on_query_threads(batches);
        while let Some(batch) = batches.next().await {
            batch?;
        }
        let summary = Summary { planning: started - began, execution: started.elapsed() };
        Ok(match options.format {
            ExplainFormat::Text => text(plan.as_ref(), options, &summary),
            ExplainFormat::Json => json(plan.as_ref(), options, &summary),
        })
    }
}

fn milliseconds(time: Duration) -> f64 {
    // Three digits, as PostgreSQL has them.
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn text(plan: &dyn ExecutionPlan, options: &ExplainOptions, summary: &Summary) -> String {
    let mut lines = vec![];
    write(plan, 0, options, &mut lines);
    if options.summary.unwrap_or(true) {
        lines.push(format!("Planning Time: {:.3} ms", milliseconds(summary.planning)));
        lines.push(format!("Execution Time: {:.3} ms", milliseconds(summary.execution)));
    }
    lines.join("\n")
}

fn write(
    plan: &dyn ExecutionPlan,
    depth: usize,
    options: &ExplainOptions,
    lines: &mut Vec<String>,
) {
    let plan = told(plan);
    let arrow =
        if depth == 0 { String::new() } else { format!("{}->  ", "  ".repeat(depth * 2 - 1)) };
    let mut actual = vec![];
    if let Some(time) = time(plan).filter(|_| options.timing.unwrap_or(true)) {
        actual.push(format!("time={:.3} ms", milliseconds(time)));
    }
    actual.extend(rows(plan).map(|rows| format!("rows={rows}")));
    let actual = match actual.is_empty() {
        true => String::new(),
        false => format!("  (actual {})", actual.join(" ")),
    };
    lines.push(format!("{arrow}{}{actual}", described(plan)));
    for child in plan.children() {
        write(child.as_ref(), depth + 1, options, lines);
    }
}

fn json(plan: &dyn ExecutionPlan, options: &ExplainOptions, summary: &Summary) -> String {
    let mut more = Map::new();
    if options.summary.unwrap_or(true) {
        more.insert("Planning Time".to_owned(), milliseconds(summary.planning).into());
        more.insert("Execution Time".to_owned(), milliseconds(summary.execution).into());
    }
    json_text(object(plan, options), more)
}

fn object(plan: &dyn ExecutionPlan, options: &ExplainOptions) -> Value {
    let plan = told(plan);
    let mut fields = Map::new();
    fields.insert("Node Type".to_owned(), kind(plan).into());
    fields.insert("Operator".to_owned(), described(plan).into());
    if let Some(rows) = rows(plan) {
        fields.insert("Actual Rows".to_owned(), rows.into());
    }
    if let Some(time) = time(plan).filter(|_| options.timing.unwrap_or(true)) {
        fields.insert("Actual Time".to_owned(), milliseconds(time).into());
    }
    let inputs: Vec<Value> =
        plan.children().into_iter().map(|child| object(child.as_ref(), options)).collect();
    if !inputs.is_empty() {
        fields.insert("Plans".to_owned(), inputs.into());
    }
    Value::Object(fields)
}

/// The operator itself: what only gives way to others is not told.
fn told(plan: &dyn ExecutionPlan) -> &dyn ExecutionPlan {
    match (plan.downcast_ref::<CooperativeExec>(), plan.children().first().copied()) {
        (Some(_), Some(child)) => told(child.as_ref()),
        _ => plan,
    }
}

/// `Sort`, `HashJoin` ...
fn kind(plan: &dyn ExecutionPlan) -> &str {
    let name = plan.name();
    match name {
        "StreamingTableExec" => "Scan",
        _ => name.strip_suffix("Exec").unwrap_or(name),
    }
}

/// The operator with its expressions in a line.
fn described(plan: &dyn ExecutionPlan) -> String {
    let line = DisplayableExecutionPlan::new(plan).one_line().to_string();
    let line = line.trim().replace(&format!(", fetch={}", usize::MAX), "");
    match line.strip_prefix(plan.name()) {
        Some(rest) => format!("{}{rest}", kind(plan)),
        None => line,
    }
}

/// Rows given, of all partitions.
fn rows(plan: &dyn ExecutionPlan) -> Option<usize> {
    plan.metrics()?.output_rows()
}

/// Time that its own work took, of all partitions.
fn time(plan: &dyn ExecutionPlan) -> Option<Duration> {
    let time = plan.metrics()?.elapsed_compute()?;
    Some(Duration::from_nanos(time as u64))
}
