//! INSERT, UPDATE, DELETE and TRUNCATE: the rows are found by a query, then the sequencer applies the change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, FieldRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::scalar::ScalarValue;
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::resolver::{Names, Purpose};
use super::select::at_leisure;
use super::select::{Planned, columns_of, nullable};
use super::{Outcome, Prepared, Session, TransactionStatus, command};
use crate::catalog::{Object, ObjectId, ObjectKind, Relation};
use crate::coordinator::Write;
use crate::coordinator::locks::Access;
use crate::error::{Error, Result, SqlState};
use crate::memory;
use crate::query::errors::{canceled, from_datafusion};
use crate::query::params::prepare_params;
use crate::query::{assign, assignable_column, canonicalise};
use crate::sql::{self, ObjectName, quote_identifier};

type Types = [Option<FieldRef>];

/// How long a transaction block that holds tables waits for another: longer than any statement should take, shorter than a
/// user's patience.
const DEADLOCK_TIMEOUT: Duration = Duration::from_secs(5);

impl Session {
    /// The table of a DML statement; connector tables and views are refused.
    fn writable(&self, name: &ast::ObjectName) -> Result<Arc<Object>> {
        let name = ObjectName::try_from(name)?;
        let object = self.server.catalog.snapshot().resolve(&self.settings.search_path(), &name)?;
        match &object.kind {
            ObjectKind::Table { connector: None, .. } => Ok(object),
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

    pub(super) async fn insert(
        &mut self,
        insert: &ast::Insert,
        prepared: &Prepared,
        params: Vec<ScalarValue>,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        let table = self.insert_table(insert)?;
        let skip_conflicts = skips_conflicts(insert)?;
        let types: Vec<Option<FieldRef>> = prepared.params.iter().cloned().map(Some).collect();
        let query = self.insert_query(insert, &table)?;
        let guards = self.lock(&table, &[&query], Access::Shared, cancel).await?;
        let plan = || self.plan_insert(insert, &table, &query, &types);
        let planned = at_leisure(prepared.parsed.sql.len(), plan)?;
        let (batches, _held) =
            self.collect(planned, params, memory::Purpose::Write, cancel).await?;
        let rows = columns_of(&batches, 0, &table.columns)?;
        let inserts = (rows.num_rows() > 0).then_some(rows);
        let rows =
            self.write(&table, Write { deletes: None, inserts, skip_conflicts }, guards).await?;
        command(format!("INSERT 0 {rows}"))
    }

    fn insert_table(&self, insert: &ast::Insert) -> Result<Arc<Object>> {
        if insert.returning.is_some() {
            return Err(Error::unsupported("RETURNING is not supported yet")
                .with_hint("Read the rows with a SELECT."));
        }
        match &insert.table {
            ast::TableObject::TableName(name) => self.writable(name),
            other => Err(Error::unsupported(format!("INSERT INTO {other} is not supported"))),
        }
    }

    /// Which column of the table each value goes to.
    fn insert_columns(&self, insert: &ast::Insert, table: &Object) -> Result<Vec<usize>> {
        if insert.columns.is_empty() {
            return Ok((0..table.columns.fields().len()).collect());
        }
        let mut columns = vec![];
        for name in &insert.columns {
            let name = ObjectName::try_from(name)?.name;
            let column = self.column(table, &name)?;
            if columns.contains(&column) {
                let message = format!("column \"{name}\" specified more than once");
                return Err(Error::new(SqlState::DUPLICATE_COLUMN, message));
            }
            columns.push(column);
        }
        Ok(columns)
    }

    fn column(&self, table: &Object, name: &str) -> Result<usize> {
        table.columns.index_of(name).map_err(|_| {
            let message =
                format!("column \"{name}\" of relation \"{}\" does not exist", table.name);
            Error::new(SqlState::UNDEFINED_COLUMN, message)
        })
    }

    /// The rows to insert as a query, DEFAULTs in VALUES replaced by what they stand for.
    fn insert_query(&self, insert: &ast::Insert, table: &Object) -> Result<ast::Query> {
        let Some(source) = &insert.source else {
            // INSERT ... DEFAULT VALUES: one row without a value given.
            return sql::parse_query("SELECT").map(|query| *query);
        };
        let mut query = source.as_ref().clone();
        let columns = self.insert_columns(insert, table)?;
        if let ast::SetExpr::Values(values) = query.body.as_mut() {
            for row in &mut values.rows {
                for (position, value) in row.iter_mut().enumerate() {
                    let is_default = matches!(value, ast::Expr::Identifier(ident)
                        if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"));
                    if is_default && let Some(&column) = columns.get(position) {
                        *value = default_ast(table, column)?;
                    }
                }
            }
        }
        Ok(query)
    }

    /// The query's rows as rows of the table: each value assigned to its column, the others by their defaults.
    fn plan_insert(
        &self,
        insert: &ast::Insert,
        table: &Object,
        query: &ast::Query,
        types: &Types,
    ) -> Result<Planned> {
        let columns = self.insert_columns(insert, table)?;
        let explicit = !insert.columns.is_empty();
        if let Some(values) = plain_values(query) {
            return self.plan_insert_values(table, &columns, explicit, values, types);
        }
        let mut planned = self.plan_batch(query, types)?;
        let given = planned.plan.schema().fields().len();
        if insert.source.is_some() {
            check_width(given, columns.len(), explicit)?;
        }
        let schema = planned.plan.schema().clone();
        let mut exprs = vec![];
        for (index, field) in table.columns.fields().iter().enumerate() {
            let position =
                columns.iter().position(|c| *c == index).filter(|position| *position < given);
            let value = match position {
                Some(position) => {
                    assign(assignable_column(&planned.plan, position), &schema, field)?
                }
                None => self.default_expr(table, index, field)?,
            };
            exprs.push(value.alias(format!("#{index}")));
        }
        planned.plan = project(planned.plan, exprs)?;
        Ok(planned)
    }

    /// Rows of VALUES, each value assigned by itself: `(array['a']), ('{}')` are two arrays.
    fn plan_insert_values(
        &self,
        table: &Object,
        columns: &[usize],
        explicit: bool,
        values: &ast::Values,
        types: &Types,
    ) -> Result<Planned> {
        let resolver = Names::new(&self.server, &self.engine, &self.settings, Purpose::Batch);
        let schema = DFSchema::empty();
        let width = values.rows.first().map_or(0, |row| row.content.len());
        let mut rows = vec![];
        for row in self.engine.plan_values(values, &resolver, types)? {
            if row.len() != width {
                return Err(Error::syntax("VALUES lists must all be the same length"));
            }
            check_width(width, columns.len(), explicit)?;
            let mut given: Vec<Option<Expr>> = vec![None; table.columns.fields().len()];
            for (value, &column) in row.into_iter().zip(columns) {
                given[column] = Some(assign(value, &schema, table.columns.field(column))?);
            }
            let fields = table.columns.fields().iter().enumerate();
            let whole = fields.zip(given).map(|((index, field), value)| match value {
                Some(value) => Ok(value),
                None => self.default_expr(table, index, field),
            });
            rows.push(whole.collect::<Result<Vec<Expr>>>()?);
        }
        let plan = rows_plan(rows, table)?;
        let (scanned, read_at) = (resolver.scanned.take(), resolver.read_at.clone());
        Ok(Planned { plan, names: vec![], scanned, read_at })
    }

    fn default_expr(&self, table: &Object, index: usize, field: &FieldRef) -> Result<Expr> {
        let ObjectKind::Table { defaults, .. } = &table.kind else {
            return Err(Error::internal("not a table"));
        };
        let Some(Some(text)) = defaults.get(index) else {
            let null = ScalarValue::try_from(field.data_type()).map_err(from_datafusion)?;
            return Ok(lit(null));
        };
        let names = Names::new(&self.server, &self.engine, &self.settings, Purpose::Batch);
        let schema = DFSchema::empty();
        assign(self.engine.plan_expr(&parse_expr(text)?, &schema, &names)?, &schema, field)
    }

    pub(super) async fn update(
        &mut self,
        update: &ast::Update,
        prepared: &Prepared,
        params: Vec<ScalarValue>,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        let (table, query, assigned) = self.update_query(update)?;
        let guards = self.lock(&table, &[&query], Access::Alone, cancel).await?;
        let types: Vec<Option<FieldRef>> = prepared.params.iter().cloned().map(Some).collect();
        let planned = self.plan_update(&table, &query, &assigned, &types)?;
        let (batches, _held) =
            self.collect(planned, params, memory::Purpose::Relief, cancel).await?;
        let width = table.columns.fields().len();
        let old = columns_of(&batches, 0, &table.columns)?;
        let new = columns_of(&batches, width, &table.columns)?;
        let rows = old.num_rows();
        let write = Write { deletes: Some(old), inserts: Some(new), skip_conflicts: false };
        self.write(&table, write, guards).await?;
        command(format!("UPDATE {rows}"))
    }

    /// The rows to change as a query: the table's columns, then the new values of those assigned.
    fn update_query(&self, update: &ast::Update) -> Result<(Arc<Object>, ast::Query, Vec<usize>)> {
        if update.returning.is_some() || update.from.is_some() {
            return Err(Error::unsupported("UPDATE with FROM or RETURNING is not supported yet"));
        }
        let (table, reference) = self.target(&update.table)?;
        let mut assigned = vec![];
        let mut items = column_items(&table, &reference);
        for assignment in &update.assignments {
            let ast::AssignmentTarget::ColumnName(name) = &assignment.target else {
                return Err(Error::unsupported(
                    "assigning to a list of columns is not supported yet",
                ));
            };
            let column = self.column(&table, &ObjectName::try_from(name)?.name)?;
            if assigned.contains(&column) {
                let name = table.columns.field(column).name();
                let message = format!("multiple assignments to same column \"{name}\"");
                return Err(Error::syntax(message));
            }
            let is_default = assignment.value.to_string().eq_ignore_ascii_case("default");
            let value =
                if is_default { default_ast(&table, column)? } else { assignment.value.clone() };
            items.push(format!("{value} AS \"#{}\"", assigned.len()));
            assigned.push(column);
        }
        let query = selection(&items, &update.table, update.selection.as_ref())?;
        Ok((table, query, assigned))
    }

    fn plan_update(
        &self,
        table: &Object,
        query: &ast::Query,
        assigned: &[usize],
        types: &Types,
    ) -> Result<Planned> {
        let mut planned = self.plan_batch(query, types)?;
        let schema = planned.plan.schema().clone();
        let sources = schema.columns();
        let width = table.columns.fields().len();
        let old = (0..width).map(|i| Expr::Column(sources[i].clone()).alias(format!("#old{i}")));
        let mut exprs: Vec<Expr> = old.collect();
        for (index, field) in table.columns.fields().iter().enumerate() {
            let value = match assigned.iter().position(|column| *column == index) {
                Some(position) => {
                    assign(assignable_column(&planned.plan, width + position), &schema, field)?
                }
                None => Expr::Column(sources[index].clone()),
            };
            exprs.push(value.alias(format!("#new{index}")));
        }
        planned.plan = project(planned.plan, exprs)?;
        Ok(planned)
    }

    pub(super) async fn delete(
        &mut self,
        delete: &ast::Delete,
        prepared: &Prepared,
        params: Vec<ScalarValue>,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        let (table, query) = self.delete_query(delete)?;
        let guards = self.lock(&table, &[&query], Access::Alone, cancel).await?;
        let types: Vec<Option<FieldRef>> = prepared.params.iter().cloned().map(Some).collect();
        let planned = self.plan_batch(&query, &types)?;
        let rows = self.delete_rows(&table, planned, params, guards, cancel).await?;
        command(format!("DELETE {rows}"))
    }

    fn delete_query(&self, delete: &ast::Delete) -> Result<(Arc<Object>, ast::Query)> {
        if delete.returning.is_some() || delete.using.is_some() {
            return Err(Error::unsupported("DELETE with USING or RETURNING is not supported yet"));
        }
        let from = match &delete.from {
            ast::FromTable::WithFromKeyword(tables) | ast::FromTable::WithoutKeyword(tables) => {
                tables
            }
        };
        let [from] = from.as_slice() else {
            return Err(Error::syntax("DELETE names one table"));
        };
        let (table, reference) = self.target(from)?;
        let query = selection(&column_items(&table, &reference), from, delete.selection.as_ref())?;
        Ok((table, query))
    }

    pub(super) async fn truncate(
        &mut self,
        truncate: &sql::Truncate,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        for name in &truncate.names {
            let parts: Vec<String> =
                [&name.database, &name.schema].into_iter().flatten().cloned().collect();
            let parts = parts.into_iter().chain([name.name.clone()]);
            let quoted = parts.map(|part| ast::Ident::with_quote('"', part)).collect::<Vec<_>>();
            let table = self.writable(&ast::ObjectName::from(quoted))?;
            let query = *sql::parse_query(&format!("SELECT * FROM {name}"))?;
            let guards = self.lock(&table, &[&query], Access::Alone, cancel).await?;
            let planned = self.plan_batch(&query, &[])?;
            self.delete_rows(&table, planned, vec![], guards, cancel).await?;
        }
        command("TRUNCATE TABLE")
    }

    async fn delete_rows(
        &mut self,
        table: &Arc<Object>,
        planned: Planned,
        params: Vec<ScalarValue>,
        guards: Vec<crate::coordinator::locks::Guard>,
        cancel: &CancellationToken,
    ) -> Result<usize> {
        let (batches, _held) =
            self.collect(planned, params, memory::Purpose::Relief, cancel).await?;
        let old: RecordBatch = columns_of(&batches, 0, &table.columns)?;
        let rows = old.num_rows();
        self.write(
            table,
            Write { deletes: Some(old), inserts: None, skip_conflicts: false },
            guards,
        )
        .await?;
        Ok(rows)
    }

    /// The table of UPDATE or DELETE, and what its columns are qualified with.
    fn target(&self, from: &ast::TableWithJoins) -> Result<(Arc<Object>, String)> {
        let ast::TableFactor::Table { name, alias, .. } = &from.relation else {
            return Err(Error::syntax("a table name is expected"));
        };
        let table = self.writable(name)?;
        let reference = match alias {
            Some(alias) => alias.name.to_string(),
            None => quote_identifier(&table.name),
        };
        Ok((table, reference))
    }

    /// Locks the table and, alone, every table that the queries read.
    async fn lock(
        &self,
        table: &Object,
        queries: &[&ast::Query],
        access: Access,
        cancel: &CancellationToken,
    ) -> Result<Vec<crate::coordinator::locks::Guard>> {
        if self.block.writes.iter().any(|(id, _)| *id == table.id) && !self.block.guards.is_empty()
        {
            // The block holds this table already; taking it again would wait for ourselves.
            if access == Access::Alone {
                return Err(self.own_write(table.id));
            }
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
        if let Some((id, _)) = self.block.writes.iter().find(|(id, _)| tables.contains_key(id)) {
            // Waiting for a lock that this block holds would never end.
            return Err(self.own_write(*id));
        }
        // A block takes its locks as its statements come, so two blocks may wait for each other.
        let waits = async {
            match self.block.guards.is_empty() {
                true => std::future::pending().await,
                false => tokio::time::sleep(DEADLOCK_TIMEOUT).await,
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(canceled()),
            guards = self.server.coordinator.locks.acquire(&tables) => Ok(guards),
            () = waits => Err(Error::new(SqlState::DEADLOCK_DETECTED, "deadlock detected")
                .with_detail(format!(
                    "The transaction waited for table \"{}\" while others waited for what it has changed.",
                    table.name
                ))
                .with_hint("Run the transaction again.")),
        }
    }

    /// Whether a statement reads what the block has written, or is of a kind that cannot be part of a block.
    pub(super) fn needs_own_writes(&self, statement: &sql::Statement) -> bool {
        use sql::Statement as S;
        let names = match statement {
            _ if self.block.writes.is_empty() => return false,
            S::Query(query) => sql::referenced_relations(query.as_ref()),
            S::Insert(insert) => match &insert.source {
                Some(source) => sql::referenced_relations(source.as_ref()),
                None => return false,
            },
            S::Update(update) => sql::referenced_relations(update.as_ref()),
            S::Delete(delete) => sql::referenced_relations(delete.as_ref()),
            S::Begin { .. } | S::Rollback { .. } | S::Set(_) | S::Show(_) => return false,
            _ => return true,
        };
        let catalog = self.server.catalog.snapshot();
        let mut tables = BTreeMap::new();
        for name in names {
            match catalog.relation(&self.settings.search_path(), &name) {
                Ok(Relation::Object(object)) => self.base_tables(&catalog, &object, &mut tables),
                // The catalog and the dead letters follow the tables.
                Ok(Relation::System { .. }) => return true,
                Err(_) => {}
            }
        }
        self.block.writes.iter().any(|(id, _)| tables.contains_key(id))
    }

    /// The tables behind an object, through views.
    fn base_tables(
        &self,
        catalog: &crate::catalog::CatalogSnapshot,
        object: &Object,
        tables: &mut BTreeMap<ObjectId, Access>,
    ) {
        if matches!(object.kind, ObjectKind::Table { connector: None, .. }) {
            tables.insert(object.id, Access::Alone);
        }
        for id in &object.depends_on {
            if let Some(object) = catalog.get(*id) {
                self.base_tables(catalog, object, tables);
            }
        }
    }

    /// Applies a write now, or at COMMIT in a transaction block.
    async fn write(
        &mut self,
        table: &Object,
        write: Write,
        guards: Vec<crate::coordinator::locks::Guard>,
    ) -> Result<usize> {
        if self.status == TransactionStatus::InBlock || self.implicit {
            let rows =
                write.inserts.as_ref().or(write.deletes.as_ref()).map_or(0, RecordBatch::num_rows);
            self.block.writes.push((table.id, write));
            self.block.guards.extend(guards);
            return Ok(rows);
        }
        let written = self.server.coordinator.write(vec![(table.id, write)]).await;
        drop(guards);
        written
    }

    pub(super) fn explain_insert(&self, insert: &ast::Insert) -> Result<String> {
        let table = self.insert_table(insert)?;
        let query = self.insert_query(insert, &table)?;
        self.explain_change("Insert", &table, self.plan_insert(insert, &table, &query, &[])?)
    }

    pub(super) fn explain_update(&self, update: &ast::Update) -> Result<String> {
        let (table, query, assigned) = self.update_query(update)?;
        self.explain_change("Update", &table, self.plan_update(&table, &query, &assigned, &[])?)
    }

    pub(super) fn explain_delete(&self, delete: &ast::Delete) -> Result<String> {
        let (table, query) = self.delete_query(delete)?;
        self.explain_change("Delete", &table, self.plan_batch(&query, &[])?)
    }

    /// The query that finds the rows, below what happens to them.
    fn explain_change(&self, what: &str, table: &Object, planned: Planned) -> Result<String> {
        let plan = self.engine.optimize_batch(canonicalise(planned.plan)?)?;
        let rows = plan.display_indent().to_string();
        let rows: Vec<String> = rows.lines().map(|line| format!("  {line}")).collect();
        Ok(format!("{what} on {}\n{}", table.name, rows.join("\n")))
    }

    /// Parameters of INSERT: those that stand alone in VALUES have their column's type.
    pub(super) fn insert_params(
        &self,
        insert: &ast::Insert,
        given: &Types,
    ) -> Result<Vec<FieldRef>> {
        let table = self.insert_table(insert)?;
        let columns = self.insert_columns(insert, &table)?;
        let query = self.insert_query(insert, &table)?;
        let mut known = given.to_vec();
        if let ast::SetExpr::Values(values) = query.body.as_ref() {
            for row in &values.rows {
                for (value, &column) in row.iter().zip(&columns) {
                    note_placeholder(value, table.columns.field(column), &mut known);
                }
            }
        }
        if let ast::SetExpr::Select(select) = query.body.as_ref() {
            for (item, &column) in select.projection.iter().zip(&columns) {
                if let ast::SelectItem::UnnamedExpr(value) = item {
                    note_placeholder(value, table.columns.field(column), &mut known);
                }
            }
        }
        let planned = self.plan_insert(insert, &table, &query, &known)?;
        prepare_params(&planned.plan, &known)
    }

    pub(super) fn update_params(
        &self,
        update: &ast::Update,
        given: &Types,
    ) -> Result<Vec<FieldRef>> {
        let (table, query, assigned) = self.update_query(update)?;
        let mut known = given.to_vec();
        for (assignment, &column) in update.assignments.iter().zip(&assigned) {
            note_placeholder(&assignment.value, table.columns.field(column), &mut known);
        }
        let planned = self.plan_update(&table, &query, &assigned, &known)?;
        prepare_params(&planned.plan, &known)
    }

    pub(super) fn delete_params(
        &self,
        delete: &ast::Delete,
        given: &Types,
    ) -> Result<Vec<FieldRef>> {
        let (_, query) = self.delete_query(delete)?;
        prepare_params(&self.plan_batch(&query, given)?.plan, given)
    }
}

/// Remembers that `$n` has the type of `field`, unless the client said otherwise.
fn note_placeholder(value: &ast::Expr, field: &Field, known: &mut Vec<Option<FieldRef>>) {
    let ast::Expr::Value(value) = value else { return };
    let ast::Value::Placeholder(name) = &value.value else { return };
    let Some(index) =
        name.strip_prefix('$').and_then(|n| n.parse::<usize>().ok()).filter(|n| *n > 0)
    else {
        return;
    };
    if known.len() < index {
        known.resize(index, None);
    }
    let unset = known[index - 1].as_ref().is_none_or(|field| *field.data_type() == DataType::Null);
    if unset {
        known[index - 1] = Some(Arc::new(field.clone().with_name("").with_nullable(true)));
    }
}

/// The rows of a query that is VALUES and nothing else.
fn plain_values(query: &ast::Query) -> Option<&ast::Values> {
    let bare = query.with.is_none() && query.order_by.is_none() && query.limit_clause.is_none();
    match query.body.as_ref() {
        ast::SetExpr::Values(values) if bare && query.fetch.is_none() => Some(values),
        _ => None,
    }
}

fn check_width(given: usize, columns: usize, explicit: bool) -> Result<()> {
    if given > columns {
        return Err(Error::syntax("INSERT has more expressions than target columns"));
    }
    if explicit && given < columns {
        return Err(Error::syntax("INSERT has more target columns than expressions"));
    }
    Ok(())
}

/// A plan that yields these rows of the table. Subqueries are possible in projections only.
fn rows_plan(rows: Vec<Vec<Expr>>, table: &Object) -> Result<LogicalPlan> {
    let has_subquery = |expr: &Expr| {
        expr.exists(|e| {
            Ok(matches!(e, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_)))
        })
    };
    let mut subqueries = false;
    for expr in rows.iter().flatten() {
        subqueries |= has_subquery(expr).map_err(from_datafusion)?;
    }
    if !subqueries {
        let schema = DFSchema::try_from(nullable(&table.columns)).map_err(from_datafusion)?;
        return LogicalPlanBuilder::values_with_schema(rows, &Arc::new(schema))
            .and_then(LogicalPlanBuilder::build)
            .map_err(from_datafusion);
    }
    let name = |row: Vec<Expr>| -> Vec<Expr> {
        row.into_iter().enumerate().map(|(i, value)| value.alias(format!("#{i}"))).collect()
    };
    let one_row = || LogicalPlanBuilder::empty(true);
    let mut plans = rows.into_iter().map(|row| one_row().project(name(row)));
    let first = plans.next().unwrap_or_else(|| Ok(one_row()));
    let all = plans.try_fold(first.map_err(from_datafusion)?, |all, plan| {
        plan.and_then(LogicalPlanBuilder::build)
            .and_then(|plan| all.union(plan))
            .map_err(from_datafusion)
    });
    all?.build().map_err(from_datafusion)
}

fn skips_conflicts(insert: &ast::Insert) -> Result<bool> {
    match &insert.on {
        None => Ok(false),
        Some(ast::OnInsert::OnConflict(ast::OnConflict {
            action: ast::OnConflictAction::DoNothing,
            ..
        })) => Ok(true),
        Some(_) => Err(Error::unsupported("ON CONFLICT DO UPDATE is not supported yet")
            .with_hint("Use ON CONFLICT DO NOTHING, or UPDATE the rows that exist.")),
    }
}

fn project(plan: LogicalPlan, exprs: Vec<Expr>) -> Result<LogicalPlan> {
    LogicalPlanBuilder::from(plan)
        .project(exprs)
        .and_then(LogicalPlanBuilder::build)
        .map_err(from_datafusion)
}

fn parse_expr(text: &str) -> Result<ast::Expr> {
    let query = sql::parse_query(&format!("SELECT {text}"))?;
    match *query.body {
        ast::SetExpr::Select(select) => match select.projection.into_iter().next() {
            Some(ast::SelectItem::UnnamedExpr(expr)) => Ok(expr),
            _ => Err(Error::internal(format!("not an expression: {text}"))),
        },
        _ => Err(Error::internal(format!("not an expression: {text}"))),
    }
}

/// What DEFAULT stands for, as an expression.
fn default_ast(table: &Object, column: usize) -> Result<ast::Expr> {
    let ObjectKind::Table { defaults, .. } = &table.kind else {
        return Err(Error::internal("not a table"));
    };
    match defaults.get(column) {
        Some(Some(text)) => parse_expr(text),
        _ => parse_expr("NULL"),
    }
}

fn column_items(table: &Object, reference: &str) -> Vec<String> {
    let columns = table.columns.fields().iter();
    columns.map(|field| format!("{reference}.{}", quote_identifier(field.name()))).collect()
}

fn selection(
    items: &[String],
    from: &ast::TableWithJoins,
    condition: Option<&ast::Expr>,
) -> Result<ast::Query> {
    let condition = condition.map(|condition| format!(" WHERE {condition}")).unwrap_or_default();
    sql::parse_query(&format!("SELECT {} FROM {from}{condition}", items.join(", ")))
        .map(|query| *query)
}
