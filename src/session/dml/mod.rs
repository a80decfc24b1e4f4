//! INSERT, UPDATE, DELETE, TRUNCATE and COPY: what changes is found out here, the sequencer applies it.
//!
//! In the order of a statement: [`insert`], [`update`] and [`delete`] find the rows by a query ([`literals`]: without one),
//! [`assignments`] reads SET lists, [`conflict`] meets stored rows of the same key, [`returning`] computes what the client gets; [`mod@copy`] takes rows in bulk.
//! Everything that can fail is computed before the write, under locks that keep what was read from changing; then the
//! write is handed over whole. This file owns the locks and the handing over.

mod assignments;
mod conflict;
mod copy;
mod delete;
mod insert;
mod literals;
mod returning;
mod update;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, FieldRef};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

pub use self::copy::{CopyIn, CopyOut};
use self::returning::Returned;
use super::select::Planned;
use super::{Outcome, Session, command};
use crate::catalog::{Object, ObjectId, ObjectKind, Relation};
use crate::coordinator::Write;
use crate::coordinator::locks::{Access, Guard};
use crate::error::{Error, Result, SqlState};
use crate::query::canonicalise;
use crate::query::errors::{canceled, from_datafusion};
use crate::sql::{self, ObjectName, fold_identifier};

type Types = [Option<FieldRef>];

/// The table that a statement changes, and the name that its expressions know it by.
struct Target {
    table: Arc<Object>,
    name: String,
}

/// What a statement does to its table, all of it computed.
struct Change {
    write: Write,
    returned: Option<Returned>,
}

impl Session {
    /// The table of INSERT or COPY; connector tables and views are refused.
    fn writable(&self, name: &ast::ObjectName) -> Result<Arc<Object>> {
        let name = ObjectName::try_from(name)?;
        let catalog = self.server.catalog.snapshot();
        let object = catalog.resolve(&self.settings.search_path(), &name)?;
        match &object.kind {
            kind if kind.takes_statements() => match catalog.sinks_into(object.id).next() {
                None => Ok(object),
                Some(sink) => Err(poured(&object, sink)),
            },
            kind => {
                let message = match kind {
                    ObjectKind::Table { .. } => {
                        format!("cannot change table \"{}\": a connector feeds it", object.name)
                    }
                    _ => format!("cannot change {} \"{}\"", kind.words(), object.name),
                };
                Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message))
            }
        }
    }

    /// The table of UPDATE, DELETE or TRUNCATE: not one to which rows only come.
    fn changeable(&self, name: &ast::ObjectName) -> Result<Arc<Object>> {
        let object = self.writable(name)?;
        refuse_append_only(&object)?;
        Ok(object)
    }

    fn column(&self, table: &Object, name: &str) -> Result<usize> {
        table.columns.index_of(name).map_err(|_| {
            let message =
                format!("column \"{name}\" of relation \"{}\" does not exist", table.name);
            Error::new(SqlState::UNDEFINED_COLUMN, message)
        })
    }

    /// The table of UPDATE or DELETE.
    fn target(&self, from: &ast::TableWithJoins) -> Result<Target> {
        let ast::TableFactor::Table { name, alias, .. } = &from.relation else {
            return Err(Error::syntax("a table name is expected"));
        };
        if !from.joins.is_empty() {
            return Err(Error::syntax("syntax error at or near \"JOIN\""));
        }
        let table = self.changeable(name)?;
        let name = alias.as_ref().map_or(table.name.clone(), |a| fold_identifier(&a.name));
        Ok(Target { table, name })
    }

    /// Hands a change over and tells the client what came of it; `tag` is the statement's word.
    async fn apply(
        &mut self,
        tag: &'static str,
        table: &Object,
        change: Change,
        guards: Vec<Guard>,
    ) -> Result<Outcome> {
        let rows = self.write(table, change.write, guards).await?;
        match change.returned {
            Some(returned) => Ok(returned.outcome(tag)),
            None if tag == "INSERT" => command(format!("INSERT 0 {rows}")),
            None => command(format!("{tag} {rows}")),
        }
    }

    /// Keeps statements from writing to a table while the guards live.
    pub(super) async fn hold_still(
        &self,
        table: &Object,
        cancel: &CancellationToken,
    ) -> Result<Vec<Guard>> {
        let tables = BTreeMap::from([(table.id, Access::Alone)]);
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(canceled()),
            guards = self.server.coordinator.locks.acquire(&tables) => Ok(guards),
        }
    }

    /// Locks the table and, alone, every table that the queries read.
    pub(super) async fn lock(
        &self,
        table: &Object,
        queries: &[&ast::Query],
        access: Access,
        cancel: &CancellationToken,
    ) -> Result<Vec<Guard>> {
        // A block reads as of its epoch and is judged at COMMIT.
        if self.is_in_block() {
            return Ok(vec![]);
        }
        let mut tables: BTreeMap<ObjectId, Access> = BTreeMap::new();
        let catalog = self.server.catalog.snapshot();
        for query in queries {
            for name in sql::referenced_relations(*query) {
                if let Ok(Relation::Object(object)) =
                    catalog.relation(&self.settings.search_path(), &name)
                {
                    self.base_tables(&catalog, &object, &mut tables);
                }
            }
        }
        let entry = tables.entry(table.id).or_insert(access);
        *entry = (*entry).max(access);
        let guards = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(canceled()),
            guards = self.server.coordinator.locks.acquire(&tables) => guards,
        };
        // What the statement knows of the table may be from before an ALTER that it has waited for.
        let catalog = self.server.catalog.snapshot();
        if catalog.get(table.id).is_none_or(|now| !std::ptr::eq(now.as_ref(), table)) {
            let message = format!("\"{}\" has been altered meanwhile", table.name);
            return Err(Error::new(SqlState::SERIALIZATION_FAILURE, message));
        }
        Ok(guards)
    }

    /// The tables behind an object, through views.
    fn base_tables(
        &self,
        catalog: &crate::catalog::CatalogSnapshot,
        object: &Object,
        tables: &mut BTreeMap<ObjectId, Access>,
    ) {
        if object.kind.takes_statements() {
            tables.insert(object.id, Access::Alone);
        }
        let written = catalog.sinks_into(object.id).flat_map(|sink| &sink.depends_on);
        for id in object.depends_on.iter().chain(written).filter(|id| **id != object.id) {
            if let Some(object) = catalog.get(*id) {
                self.base_tables(catalog, object, tables);
            }
        }
    }

    /// Applies a write now, or at COMMIT in a transaction block.
    pub(super) async fn write(
        &mut self,
        table: &Object,
        write: Write,
        guards: Vec<Guard>,
    ) -> Result<usize> {
        if self.is_in_block() {
            refuse_in_block(table)?;
            return self.write_in_block(table, write).await;
        }
        let written = self.server.coordinator.write(vec![(table.id, write)]).await;
        drop(guards);
        written
    }

    /// The query that finds the rows, below what happens to them.
    fn explain_change(&self, what: &str, table: &Object, planned: Planned) -> Result<String> {
        let plan = self.engine.optimize_batch(canonicalise(planned.plan)?)?;
        let rows = plan.display_indent().to_string();
        let rows: Vec<String> = rows.lines().map(|line| format!("  {line}")).collect();
        Ok(format!("{what} on {}\n{}", table.name, rows.join("\n")))
    }
}

fn poured(table: &Object, sink: &Object) -> Error {
    let message =
        format!("cannot change table \"{}\": sink \"{}\" writes to it", table.name, sink.name);
    Error::new(SqlState::WRONG_OBJECT_TYPE, message)
        .with_hint("Change what the sink reads, or drop the sink: the table keeps its rows.")
}

/// Views of what only grows are maintained without the means to take rows back.
fn refuse_append_only(object: &Object) -> Result<()> {
    let kind = object.kind.words();
    let message = match &object.kind {
        ObjectKind::Table { append_only: true, .. } => {
            format!("cannot change rows of append-only table \"{}\"", object.name)
        }
        stand_in if stand_in.connector().is_some() && stand_in.primary_key().is_empty() => {
            format!("cannot change rows of {kind} \"{}\": its messages only add rows", object.name)
        }
        _ => return Ok(()),
    };
    Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message))
}

/// What a block has written is laid over what it reads by rules of tables: a second row of a key is refused there.
fn refuse_in_block(table: &Object) -> Result<()> {
    if table.kind.connector().is_none() || table.kind.primary_key().is_empty() {
        return Ok(());
    }
    let message = format!("cannot feed \"{}\" in a transaction block", table.name);
    Err(Error::unsupported(message)
        .with_detail("A new row of a key takes the place of the older one at once."))
}

/// Remembers that `$n` has the type of `field`, unless the client said otherwise.
fn note_placeholder(value: &ast::Expr, field: &Field, known: &mut Vec<Option<FieldRef>>) {
    let Some(index) = placeholder(value) else { return };
    if known.len() <= index {
        known.resize(index + 1, None);
    }
    let unset = known[index].as_ref().is_none_or(|field| *field.data_type() == DataType::Null);
    if unset {
        known[index] = Some(Arc::new(field.clone().with_name("").with_nullable(true)));
    }
}

/// The place of the parameter that an expression is, from 0.
fn placeholder(value: &ast::Expr) -> Option<usize> {
    let ast::Expr::Value(value) = value else { return None };
    let ast::Value::Placeholder(name) = &value.value else { return None };
    name.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1)
}

fn is_default(value: &ast::Expr) -> bool {
    matches!(value, ast::Expr::Identifier(ident)
        if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
}

/// What DEFAULT stands for, as an expression.
fn default_ast(table: &Object, column: usize) -> Result<ast::Expr> {
    match table.default_sql(column) {
        Some(text) => sql::parse_expr(&text),
        None => Ok(ast::Expr::Value(ast::Value::Null.into())),
    }
}

/// The plan with another select list.
pub(super) fn project(plan: LogicalPlan, exprs: Vec<Expr>) -> Result<LogicalPlan> {
    LogicalPlanBuilder::from(plan)
        .project(exprs)
        .and_then(LogicalPlanBuilder::build)
        .map_err(from_datafusion)
}

/// Rows of a table from a batch that has its columns first.
fn first_columns(rows: &RecordBatch, table: &Object) -> Result<RecordBatch> {
    super::select::columns_of(std::slice::from_ref(rows), 0, &table.columns)
}

/// `SELECT items FROM from WHERE selection`.
fn selection(
    items: Vec<ast::SelectItem>,
    from: Vec<ast::TableWithJoins>,
    selection: Option<ast::Expr>,
) -> Result<ast::Query> {
    let mut query = *sql::parse_query("SELECT * FROM x")?;
    let ast::SetExpr::Select(select) = query.body.as_mut() else {
        return Err(Error::internal("the template is a SELECT"));
    };
    select.projection.extend(items);
    select.from = from;
    select.selection = selection;
    Ok(query)
}
