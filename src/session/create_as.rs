//! CREATE TABLE AS and CREATE TABLE (LIKE ...): tables whose columns come from a query or from other tables.
//!
//! Both become the CREATE TABLE that they stand for, which is what SHOW CREATE TABLE shows.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Schema};
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::index::uniques_of;
use super::select::{columns_of, named};
use super::sequences::identity_options;
use super::{Outcome, Session, command};
use crate::catalog::system::shown_default;
use crate::catalog::{CatalogSnapshot, Generation, Object, ObjectKind, Oid};
use crate::coordinator::Write;
use crate::coordinator::locks::Access;
use crate::error::{Error, Result, SqlState};
use crate::memory;
use crate::query::output::output_fields;
use crate::query::{assign, assignable_column};
use crate::sql::{self, CreateTable, Generated, SequenceOptions, Statement};
use crate::types::format_type;

impl Session {
    /// Runs the query, then creates the table and writes the rows: a query that fails leaves no table behind.
    pub(super) async fn create_table_as(
        &mut self,
        table: &CreateTable,
        query: &ast::Query,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        let mut planned = self.plan_batch(query, &[])?;
        planned.plan = self.engine.analyze(planned.plan)?;
        let fields = named(&output_fields(&planned.plan).into(), &planned.names);
        let fields = new_columns(fields, &table.column_names)?;
        let definition = CreateTable {
            columns: fields.iter().map(declared).collect::<Result<_>>()?,
            query: None,
            column_names: vec![],
            ..table.clone()
        };
        let statement = Statement::CreateTable(Box::new(definition.clone()));
        if table.no_data {
            self.define_table(&definition, &statement, cancel).await?;
            return command("CREATE TABLE AS");
        }
        let schema = planned.plan.schema().clone();
        let exprs = fields.iter().enumerate().map(|(i, field)| {
            let value = assign(assignable_column(&planned.plan, i), &schema, field)?;
            Ok(value.alias(format!("#{i}")))
        });
        let exprs = exprs.collect::<Result<Vec<_>>>()?;
        planned.plan = super::dml::project(planned.plan, exprs)?;
        let (batches, _held) =
            self.collect(planned, vec![], memory::Purpose::Write, cancel).await?;
        let columns = Arc::new(Schema::new(fields));
        let rows = columns_of(&batches, 0, &columns)?;
        let count = rows.num_rows();
        let id = self.define_table(&definition, &statement, cancel).await?;
        let created = self.server.catalog.snapshot().get(id).cloned();
        let created = created.ok_or_else(|| {
            Error::new(SqlState::UNDEFINED_TABLE, "the table has been dropped meanwhile")
        })?;
        let guards = self.lock(&created, &[], Access::Shared, cancel).await?;
        // Like the table itself also in a transaction block: at once.
        let write = Write { inserts: vec![rows], ..Write::default() };
        self.server.coordinator.write(vec![(created.id, write)]).await?;
        drop(guards);
        command(format!("SELECT {count}"))
    }

    /// The table with the columns of those it is like.
    pub(super) fn like_others(&self, table: &CreateTable) -> Result<CreateTable> {
        let mut whole = CreateTable { like: vec![], ..table.clone() };
        let mut inserted = 0;
        for like in &table.like {
            let catalog = self.server.catalog.snapshot();
            let other = catalog.resolve(&self.settings.search_path(), &like.table)?;
            let mut columns = vec![];
            for (i, field) in other.columns.fields().iter().enumerate() {
                columns.push(like_column(&catalog, &other, i, field, like)?);
            }
            let at = like.before + inserted;
            inserted += columns.len();
            whole.columns.splice(at..at, columns);
            let checks = other.rules().filter(|_| like.constraints).map(|rules| &rules.checks);
            for check in checks.into_iter().flatten() {
                let expr = sql::parse_expr(&check.sql)?;
                whole.checks.push(sql::CheckConstraint { name: Some(check.name.clone()), expr });
            }
            if like.indexes {
                let others = uniques_of(&catalog, &other).into_iter();
                whole.uniques.extend(others.map(|u| sql::UniqueConstraint { name: None, ..u }));
            }
            if like.indexes && !other.kind.primary_key().is_empty() {
                if !whole.primary_key.is_empty() {
                    let message = "multiple primary keys are not allowed";
                    return Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, message));
                }
                let names = other.kind.primary_key().iter();
                whole.primary_key = names.map(|&k| other.columns.field(k).name().clone()).collect();
            }
        }
        for key in &whole.primary_key {
            if let Some(column) = whole.columns.iter_mut().find(|column| column.name == *key) {
                column.nullable = false;
            }
        }
        Ok(whole)
    }
}

/// A column of a table under its own name, type and NOT NULL; the rest as far as it is asked for.
fn like_column(
    catalog: &CatalogSnapshot,
    other: &Object,
    i: usize,
    field: &FieldRef,
    like: &sql::Like,
) -> Result<sql::ColumnDef> {
    let is_table = matches!(other.kind, ObjectKind::Table { .. });
    let mut column = declared(field)?;
    column.nullable = !is_table || field.is_nullable();
    match other.generation(i) {
        Some(Generation::Stored(text)) if like.generated => {
            column.generated = Some(Generated::Stored(Box::new(sql::parse_expr(text)?)));
        }
        Some(Generation::Identity { always, sequence }) if like.identity => {
            let options = match catalog.get_by_oid(*sequence).map(|sequence| &sequence.kind) {
                Some(ObjectKind::Sequence { counting, .. }) => identity_options(counting),
                _ => SequenceOptions::default(),
            };
            column.generated =
                Some(Generated::Identity { always: *always, options: Box::new(options) });
        }
        Some(_) => {}
        None if like.defaults => {
            // A sequence that it calls is called by both.
            let name = |oid| catalog.get_by_oid(Oid(oid)).map(|sequence| sequence.display_name());
            let text = other.default_sql(i).map(|text| shown_default(&text, &name));
            column.default = text.map(|text| sql::parse_expr(&text)).transpose()?;
        }
        None => {}
    }
    Ok(column)
}

/// A column of a name and type, without anything else.
fn declared(field: &FieldRef) -> Result<sql::ColumnDef> {
    let data_type = sql::parse_data_type(&format_type(field))?;
    let name = field.name().clone();
    Ok(sql::ColumnDef { name, data_type, nullable: true, default: None, generated: None })
}

/// A query's columns under the names given first, then their own; what nothing has typed is text.
fn new_columns(fields: Vec<FieldRef>, names: &[String]) -> Result<Vec<FieldRef>> {
    if names.len() > fields.len() {
        return Err(Error::syntax("too many column names were specified"));
    }
    let mut columns: Vec<FieldRef> = vec![];
    for (i, field) in fields.iter().enumerate() {
        let name = names.get(i).unwrap_or(field.name()).clone();
        if columns.iter().any(|column| *column.name() == name) {
            let message = format!("column \"{name}\" specified more than once");
            return Err(Error::new(SqlState::DUPLICATE_COLUMN, message));
        }
        let field = field.as_ref().clone().with_name(name).with_nullable(true);
        let field = match field.data_type() {
            DataType::Null => Field::new(field.name(), DataType::Utf8, true),
            _ => field,
        };
        columns.push(Arc::new(field));
    }
    Ok(columns)
}
