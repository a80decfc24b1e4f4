//! INSERT: the rows that are proposed, from VALUES, a query or nothing but defaults.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::FieldRef;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::scalar::ScalarValue;
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::conflict::Conflict;
use super::{Change, Target, Types, default_ast, is_default, note_placeholder, project};
use crate::catalog::system::rewrite_for_catalog;
use crate::catalog::{Generation, Object};
use crate::coordinator::Write;
use crate::coordinator::locks::Access;
use crate::error::{Error, Result, SqlState};
use crate::memory::{self, Holder, Reservation};
use crate::query::at_hand::AtHand;
use crate::query::errors::from_datafusion;
use crate::query::{assign, assignable_column};
use crate::session::resolver::{Names, Purpose};
use crate::session::select::{Planned, at_leisure, columns_of, nullable};
use crate::session::{Outcome, Prepared, Session};
use crate::sql::{self, ObjectName, Overriding, fold_identifier};

impl Session {
    pub(in crate::session) async fn insert(
        &mut self,
        insert: &ast::Insert,
        overriding: Overriding,
        prepared: &Prepared,
        params: Vec<ScalarValue>,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        let target = self.insert_target(insert)?;
        let conflict = self.conflict(insert, &target)?;
        let query = self.insert_query(insert, overriding, &target.table)?;
        let at_hand = target.at_hand();
        let returning = insert.returning.as_deref();
        let reads = returning.map(|items| at_hand.query(items.to_vec(), None)).transpose()?;
        let reads: Vec<&ast::Query> =
            [Some(&query), reads.as_ref(), conflict.query()].into_iter().flatten().collect();
        // Who has to know which rows there are keeps them from changing; the sequencer alone judges the others.
        let judges = conflict.reads_stored_rows(returning.is_some())
            || (self.is_in_block() && matches!(conflict, Conflict::Skip(_)));
        let access = match judges {
            true => Access::Alone,
            false => Access::Shared,
        };
        let guards = self.lock(&target.table, &reads, access, cancel).await?;
        let (rows, _held) =
            self.proposed_rows(insert, &query, &target.table, prepared, &params, cancel).await?;
        let rows = self.settled(&target.table, rows)?;
        let (write, written) = match access {
            Access::Shared => {
                let write = Write { inserts: vec![rows.clone()], ..Write::default() };
                (Write { skip: conflict.skip(), ..write }, rows)
            }
            Access::Alone => {
                self.resolve_conflicts(&target, conflict, rows, prepared, &params, cancel).await?
            }
        };
        let returned =
            self.returned(returning, &at_hand, &[written], prepared, &params, cancel).await?;
        self.apply("INSERT", &target.table, Change { write, returned }, guards).await
    }

    fn insert_target(&self, insert: &ast::Insert) -> Result<Target> {
        let table = match &insert.table {
            ast::TableObject::TableName(name) => self.writable(name)?,
            other => {
                return Err(Error::unsupported(format!("INSERT INTO {other} is not supported")));
            }
        };
        let alias = insert.table_alias.as_ref().map(|alias| fold_identifier(&alias.alias));
        let name = alias.unwrap_or_else(|| table.name.clone());
        Ok(Target { table, name })
    }

    /// Which column of the table each value goes to.
    pub(super) fn insert_columns(
        &self,
        insert: &ast::Insert,
        table: &Object,
    ) -> Result<Vec<usize>> {
        if insert.columns.is_empty() {
            return Ok((0..table.columns.fields().len()).collect());
        }
        let names = insert.columns.iter().map(|name| ObjectName::try_from(name).map(|n| n.name));
        self.columns_named(table, &names.collect::<Result<Vec<_>>>()?)
    }

    /// Columns of a table by their names; none twice.
    pub(in crate::session) fn columns_named(
        &self,
        table: &Object,
        names: &[String],
    ) -> Result<Vec<usize>> {
        let mut columns = vec![];
        for name in names {
            let column = self.column(table, name)?;
            if columns.contains(&column) {
                let message = format!("column \"{name}\" specified more than once");
                return Err(Error::new(SqlState::DUPLICATE_COLUMN, message));
            }
            columns.push(column);
        }
        Ok(columns)
    }

    /// The rows to insert as a query, DEFAULTs in VALUES replaced by what they stand for.
    fn insert_query(
        &self,
        insert: &ast::Insert,
        overriding: Overriding,
        table: &Object,
    ) -> Result<ast::Query> {
        let Some(source) = &insert.source else {
            // INSERT ... DEFAULT VALUES: one row without a value given.
            return sql::parse_query("SELECT").map(|query| *query);
        };
        let mut query = source.as_ref().clone();
        let columns = self.insert_columns(insert, table)?;
        if let ast::SetExpr::Values(values) = query.body.as_mut() {
            for row in &mut values.rows {
                for (value, &column) in row.iter_mut().zip(&columns) {
                    if is_default(value) || !takes_value(table, column, overriding)? {
                        *value = default_ast(table, column)?;
                    }
                }
            }
            return Ok(query);
        }
        // How many columns a query has is not known yet; those behind its last get their defaults.
        let given = sql::output_names(&query);
        let wild = given.contains(&sql::OutputName::Wildcard);
        let count = if wild { columns.len() } else { given.len().min(columns.len()) };
        for &column in &columns[..count] {
            if !takes_value(table, column, overriding)? {
                let message = "OVERRIDING USER VALUE of a query is not supported";
                return Err(Error::unsupported(message)
                    .with_hint("Leave the identity column out of the columns."));
            }
        }
        Ok(query)
    }

    /// The rows that are proposed, whole rows of the table, and their place on the memory account.
    async fn proposed_rows(
        &self,
        insert: &ast::Insert,
        query: &ast::Query,
        table: &Arc<Object>,
        prepared: &Prepared,
        params: &[ScalarValue],
        cancel: &CancellationToken,
    ) -> Result<(RecordBatch, Reservation)> {
        let bytes = prepared.parsed.sql.len();
        if let Some(values) = plain_values(query) {
            let columns = self.insert_columns(insert, table)?;
            check_widths(values, &columns, !insert.columns.is_empty())?;
            let literals = || self.literal_columns(values, &columns, table, params);
            if let Some(given) = at_leisure(bytes, literals) {
                let held =
                    self.server.coordinator.shared.memory.reserve(Holder::Query, "the statement");
                let size = given.iter().map(|(_, array)| array.get_array_memory_size() as u64);
                held.try_grow(memory::Purpose::Write, size.sum())?;
                let rows = self.completed(table, given, values.rows.len(), cancel).await?;
                return Ok((rows, held));
            }
        }
        let types: Vec<Option<FieldRef>> = prepared.params.iter().cloned().map(Some).collect();
        let planned = at_leisure(bytes, || self.plan_insert(insert, table, query, &types))?;
        let (batches, held) =
            self.collect(planned, params.to_vec(), memory::Purpose::Write, cancel).await?;
        Ok((columns_of(&batches, 0, &table.columns)?, held))
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
        if plain_values(query).is_some() {
            let mut query = query.clone();
            rewrite_for_catalog(&mut query);
            if let Some(values) = plain_values(&query) {
                return self.plan_insert_values(table, &columns, explicit, values, types);
            }
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
        check_widths(values, columns, explicit)?;
        let mut resolver = Names::new(self, Purpose::Batch);
        resolver.own = self.own_rows();
        let schema = DFSchema::empty();
        let mut rows = vec![];
        for row in self.engine.plan_values(values, &resolver, types)? {
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

    pub(super) fn default_expr(
        &self,
        table: &Object,
        index: usize,
        field: &FieldRef,
    ) -> Result<Expr> {
        let Some(text) = table.default_sql(index) else {
            let null = ScalarValue::try_from(field.data_type()).map_err(from_datafusion)?;
            return Ok(lit(null));
        };
        let names = Names::new(self, Purpose::Batch);
        let schema = DFSchema::empty();
        assign(self.engine.plan_expr(&sql::parse_expr(&text)?, &schema, &names)?, &schema, field)
    }

    pub(in crate::session) fn explain_insert(
        &self,
        insert: &ast::Insert,
        overriding: Overriding,
    ) -> Result<String> {
        let target = self.insert_target(insert)?;
        let query = self.insert_query(insert, overriding, &target.table)?;
        let planned = self.plan_insert(insert, &target.table, &query, &[])?;
        self.explain_change("Insert", &target.table, planned)
    }

    /// Parameters of INSERT (those that stand alone in VALUES have their column's type), and RETURNING's columns.
    pub(in crate::session) fn describe_insert(
        &self,
        insert: &ast::Insert,
        overriding: Overriding,
        given: &Types,
    ) -> Result<(Vec<FieldRef>, Option<Vec<FieldRef>>)> {
        let target = self.insert_target(insert)?;
        let table = &target.table;
        let conflict = self.conflict(insert, &target)?;
        let columns = self.insert_columns(insert, table)?;
        let query = self.insert_query(insert, overriding, table)?;
        let mut known = given.to_vec();
        note_placeholders(&query, &columns, table, &mut known);
        conflict.note_placeholders(table, &mut known);
        let mut plans = vec![];
        match plain_values(&query).filter(|values| super::literals::are_literals(values)) {
            // What parameters among literals are, their columns say.
            Some(values) => check_widths(values, &columns, !insert.columns.is_empty())?,
            None => plans.push(self.plan_insert(insert, table, &query, &known)?.plan),
        }
        plans.extend(self.plan_conflict(&target, &conflict, &known)?.map(|planned| planned.plan));
        let returning = match &insert.returning {
            Some(items) => Some(self.plan_returning(items, &target.at_hand(), &known)?),
            None => None,
        };
        plans.extend(returning.as_ref().map(|planned| planned.plan.clone()));
        let params = self.typed_params(&plans.iter().collect::<Vec<_>>(), &known)?;
        let columns = match &insert.returning {
            Some(items) => {
                let types: Vec<_> = params.iter().cloned().map(Some).collect();
                let planned = self.plan_returning(items, &target.at_hand(), &types)?;
                Some(self.returning_columns(planned)?)
            }
            None => None,
        };
        Ok((params, columns))
    }
}

impl Target {
    /// The target's rows, as the one relation that RETURNING knows.
    pub(super) fn at_hand(&self) -> AtHand {
        AtHand::one(&self.name, &nullable(&self.table.columns))
    }
}

/// Parameters that stand alone where a column's value is given.
fn note_placeholders(
    query: &ast::Query,
    columns: &[usize],
    table: &Object,
    known: &mut Vec<Option<FieldRef>>,
) {
    match query.body.as_ref() {
        ast::SetExpr::Values(values) => {
            for row in &values.rows {
                for (value, &column) in row.iter().zip(columns) {
                    note_placeholder(value, table.columns.field(column), known);
                }
            }
        }
        ast::SetExpr::Select(select) => {
            for (item, &column) in select.projection.iter().zip(columns) {
                if let ast::SelectItem::UnnamedExpr(value) = item {
                    note_placeholder(value, table.columns.field(column), known);
                }
            }
        }
        _ => {}
    }
}

/// Whether a value given for a column is taken; 428C9 where none may be given, false where it gives way to the default.
fn takes_value(table: &Object, column: usize, overriding: Overriding) -> Result<bool> {
    let Some(generation) = table.generation(column) else { return Ok(true) };
    let name = table.columns.field(column).name();
    let identity = matches!(generation, Generation::Identity { .. });
    match generation.refuses_values(name) {
        _ if identity && overriding == Overriding::User => Ok(false),
        Some(detail) if !(identity && overriding == Overriding::System) => {
            let message = format!("cannot insert a non-DEFAULT value into column \"{name}\"");
            let error = Error::new(SqlState::GENERATED_ALWAYS, message).with_detail(detail);
            Err(match identity {
                true => error.with_hint("Use OVERRIDING SYSTEM VALUE to override."),
                false => error,
            })
        }
        _ => Ok(true),
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

fn check_widths(values: &ast::Values, columns: &[usize], explicit: bool) -> Result<()> {
    let width = values.rows.first().map_or(0, |row| row.content.len());
    if values.rows.iter().any(|row| row.content.len() != width) {
        return Err(Error::syntax("VALUES lists must all be the same length"));
    }
    check_width(width, columns.len(), explicit)
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
