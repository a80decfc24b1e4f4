//! Tables' rules at work: CREATE TABLE turns CHECK and GENERATED into rules, every row to be written is settled by them.
//!
//! Settling computes generated columns, then refuses NULLs (23502) and rows for which a check is false (23514). It happens
//! in the session, before the sequencer: a row's verdict depends on the row alone.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, ExprSchemable};
use sqlparser::ast;

use super::Session;
use super::resolver::{Names, Purpose};
use super::select::nullable;
use crate::catalog::{Check, Generation, Object, ObjectKind, Oid, TableRules};
use crate::change::batch_of;
use crate::coordinator::sequencer::check_not_null;
use crate::error::{Error, Result, SqlState};
use crate::query::compile::volatile_in;
use crate::query::errors::{from_arrow, from_datafusion};
use crate::query::sql_types::pg_name;
use crate::query::{assign, evaluate};
use crate::sql::{self, Generated};
use crate::types::row_values;

impl Session {
    /// The rules that a CREATE TABLE declares over these columns, checked as far as they can be without rows.
    pub(super) fn table_rules(
        &self,
        table: &sql::CreateTable,
        columns: &SchemaRef,
        sequences: &[Object],
    ) -> Result<TableRules> {
        let name = &table.name.name;
        let schema = row_schema(name, columns)?;
        let stored = table.columns.iter().filter(|c| is_stored(c)).map(|c| c.name.clone());
        let stored: Vec<String> = stored.collect();
        let mut generated = vec![];
        for (at, (column, field)) in table.columns.iter().zip(columns.fields()).enumerate() {
            let sequence = sequence_of(sequences, at);
            generated.push(self.new_generation(column, field, &schema, &stored, sequence)?);
        }
        let mut checks: Vec<Check> = vec![];
        for check in &table.checks {
            let check = self.new_check(name, check, &schema, &checks)?;
            checks.push(check);
        }
        // The first that a row violates is told: by name, as in PostgreSQL.
        checks.sort_by(|a, b| a.name.cmp(&b.name));
        let key_name = table.primary_key_name.clone();
        Ok(TableRules { checks, generated, key_name })
    }

    /// Where a new column's values come from; `stored` are the table's columns that are computed, `sequence` is the one that
    /// the column owns.
    pub(super) fn new_generation(
        &self,
        column: &sql::ColumnDef,
        field: &Field,
        schema: &DFSchema,
        stored: &[String],
        sequence: Option<Oid>,
    ) -> Result<Option<Generation>> {
        Ok(match &column.generated {
            // A default does it.
            None | Some(Generated::Serial) => None,
            Some(Generated::Stored(expr)) => {
                let planned = self.plan_over_row(expr, schema, "column generation expressions")?;
                check_generation(&planned, stored)?;
                assign(planned, schema, field)?;
                Some(Generation::Stored(expr.to_string()))
            }
            Some(Generated::Identity { always, .. }) => {
                sequence.map(|sequence| Generation::Identity { always: *always, sequence })
            }
        })
    }

    pub(super) fn new_check(
        &self,
        table: &str,
        check: &sql::CheckConstraint,
        schema: &DFSchema,
        others: &[Check],
    ) -> Result<Check> {
        let planned = self.plan_over_row(&check.expr, schema, "check constraints")?;
        let (_, field) = planned.to_field(schema).map_err(from_datafusion)?;
        if !matches!(field.data_type(), DataType::Boolean | DataType::Null) {
            let message =
                format!("argument of CHECK must be type boolean, not type {}", pg_name(&field));
            return Err(Error::new(SqlState::DATATYPE_MISMATCH, message));
        }
        let name = check_name(table, check, &planned, others)?;
        Ok(Check { name, sql: check.expr.to_string(), validated: true })
    }

    /// An expression over one row, without subqueries and aggregates.
    fn plan_over_row(&self, expr: &ast::Expr, schema: &DFSchema, place: &str) -> Result<Expr> {
        let names = Names::new(self, Purpose::Batch);
        let planned = self.engine.plan_expr(expr, schema, &names)?;
        let mut refused = None;
        planned
            .apply(|node| {
                refused = match node {
                    Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) => {
                        Some(Error::unsupported(format!("cannot use subquery in {place}")))
                    }
                    Expr::AggregateFunction(_) => Some(Error::new(
                        SqlState::GROUPING_ERROR,
                        format!("aggregate functions are not allowed in {place}"),
                    )),
                    _ => None,
                };
                Ok(match refused {
                    Some(_) => TreeNodeRecursion::Stop,
                    None => TreeNodeRecursion::Continue,
                })
            })
            .map_err(from_datafusion)?;
        refused.map_or(Ok(planned), Err)
    }

    /// Rows that are to be written, with their generated columns, or the error of the first that may not be.
    pub(super) fn settled(&self, table: &Object, rows: RecordBatch) -> Result<RecordBatch> {
        let Some(rules) = table.rules() else { return Ok(rows) };
        let stored = rules.generated.iter().any(|g| matches!(g, Some(Generation::Stored(_))));
        if rows.num_rows() == 0 || (!stored && rules.checks.is_empty()) {
            return Ok(rows);
        }
        let schema = row_schema(&table.name, &nullable(&table.columns))?;
        let rows = match stored {
            true => self.generated(table, rules, &schema, rows)?,
            false => rows,
        };
        check_not_null(&table.name, &table.columns, &rows)?;
        for check in &rules.checks {
            if let Some(row) = self.violating(check, &schema, &rows)? {
                let message = format!(
                    "new row for relation \"{}\" violates check constraint \"{}\"",
                    table.name, check.name
                );
                let values = row_values(&rows, row).join(", ");
                return Err(Error::new(SqlState::CHECK_VIOLATION, message)
                    .with_detail(format!("Failing row contains ({values})."))
                    .about_constraint(&table.name, &check.name));
            }
        }
        Ok(rows)
    }

    /// The first of some rows for which a check is false.
    pub(super) fn violating(
        &self,
        check: &Check,
        schema: &DFSchema,
        rows: &RecordBatch,
    ) -> Result<Option<usize>> {
        let names = Names::new(self, Purpose::Batch);
        let planned = self.engine.plan_expr(&sql::parse_expr(&check.sql)?, schema, &names)?;
        let verdicts = self.over_rows(&planned, schema, rows)?;
        let Some(verdicts) = verdicts.as_boolean_opt() else { return Ok(None) };
        // NULL is no violation.
        let violated = |row: &usize| verdicts.is_valid(*row) && !verdicts.value(*row);
        Ok((0..rows.num_rows()).find(violated))
    }

    /// Rows with the columns that are computed from others.
    pub(super) fn generated(
        &self,
        table: &Object,
        rules: &TableRules,
        schema: &DFSchema,
        rows: RecordBatch,
    ) -> Result<RecordBatch> {
        let names = Names::new(self, Purpose::Batch);
        let mut columns = rows.columns().to_vec();
        for (i, generation) in rules.generated.iter().enumerate() {
            let Some(Generation::Stored(text)) = generation else { continue };
            let planned = self.engine.plan_expr(&sql::parse_expr(text)?, schema, &names)?;
            let value = assign(planned, schema, table.columns.field(i))?;
            columns[i] = self.over_rows(&value, schema, &rows)?;
        }
        batch_of(rows.schema(), columns, rows.num_rows()).map_err(from_arrow)
    }

    fn over_rows(&self, expr: &Expr, schema: &DFSchema, rows: &RecordBatch) -> Result<ArrayRef> {
        let compiled = self.engine.compile(expr, schema)?;
        let mut evaluated = evaluate(&[compiled], rows)?;
        match evaluated.failures.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(evaluated.columns.swap_remove(0)),
        }
    }
}

/// The columns of a row, which expressions may qualify with the table's name.
pub(super) fn row_schema(table: &str, columns: &SchemaRef) -> Result<DFSchema> {
    let table = datafusion::common::TableReference::bare(table);
    DFSchema::try_from_qualified_schema(table, &nullable(columns)).map_err(from_datafusion)
}

/// The number of the sequence that a new column owns.
pub(super) fn sequence_of(sequences: &[Object], column: usize) -> Option<Oid> {
    let is_its = |sequence: &&Object| matches!(&sequence.kind, ObjectKind::Sequence { owner: Some(owner), .. } if owner.column == column);
    sequences.iter().find(is_its).map(|sequence| sequence.oid)
}

fn is_stored(column: &sql::ColumnDef) -> bool {
    matches!(column.generated, Some(Generated::Stored(_)))
}

fn check_generation(planned: &Expr, stored: &[String]) -> Result<()> {
    if volatile_in(planned).is_some() {
        let message = "generation expression is not immutable";
        return Err(Error::new(SqlState::INVALID_OBJECT_DEFINITION, message));
    }
    let refers = |column: &&String| planned.column_refs().iter().any(|c| c.name == **column);
    match stored.iter().find(refers) {
        None => Ok(()),
        Some(column) => {
            let message =
                format!("cannot use generated column \"{column}\" in column generation expression");
            Err(Error::new(SqlState::INVALID_OBJECT_DEFINITION, message)
                .with_detail("A generated column cannot reference another generated column."))
        }
    }
}

/// The name given, or PostgreSQL's for a constraint without one; none twice.
fn check_name(
    table: &str,
    check: &sql::CheckConstraint,
    planned: &Expr,
    others: &[Check],
) -> Result<String> {
    let taken = |name: &str| others.iter().any(|other| other.name == name);
    if let Some(name) = &check.name {
        if taken(name) {
            let message = format!("check constraint \"{name}\" already exists");
            return Err(Error::new(SqlState::DUPLICATE_OBJECT, message));
        }
        return Ok(name.clone());
    }
    let columns: std::collections::BTreeSet<&String> =
        planned.column_refs().into_iter().map(|column| &column.name).collect();
    let base = match (columns.len(), columns.first()) {
        (1, Some(column)) => format!("{table}_{column}_check"),
        _ => format!("{table}_check"),
    };
    let numbered = (1..).map(|i| format!("{base}{i}"));
    let mut names = std::iter::once(base.clone()).chain(numbered);
    Ok(names.find(|name| !taken(name)).unwrap_or(base))
}
