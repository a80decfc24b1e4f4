//! UPDATE: the rows to change with their new values, found by one query over the table and FROM.
//!
//! Of several FROM rows that match a row of the table one is taken, as in PostgreSQL, where it may be any; here the first in the
//! order of all values, so that a result depends on rows alone. [`super::delete`] shares this: USING is the same FROM.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::row::{RowConverter, SortField};
use arrow_array::RecordBatch;
use arrow_schema::{Field, FieldRef, Schema, SchemaRef};
use datafusion::logical_expr::Expr;
use datafusion::scalar::ScalarValue;
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::assignments::Assigned;
use super::{Change, Target, Types, first_columns, note_placeholder, project, selection};
use crate::catalog::ObjectKind;
use crate::change::{batch_of, take_rows};
use crate::coordinator::Write;
use crate::coordinator::locks::Access;
use crate::error::{Error, Result};
use crate::memory::{self, Reservation};
use crate::query::at_hand::AtHand;
use crate::query::errors::from_arrow;
use crate::query::sql_types::canonical_field;
use crate::query::{assign, assignable_column};
use crate::session::select::{Planned, nullable};
use crate::session::{Outcome, Prepared, Session};

/// Numbers the rows of a table without a key, so that equal ones are told apart.
const ROW: &str = "#row";

/// What UPDATE and DELETE ask for: rows of the target, joined with others or not, and expressions over them.
pub(super) struct Search {
    pub target: Target,
    pub query: ast::Query,
    assigned: Assigned,
    /// There is a FROM or USING, so a row of the target may be found several times.
    joined: bool,
    /// The target's columns are followed by [`ROW`].
    numbered: bool,
}

/// A planned search. Its columns are the target's, [`ROW`] where rows are numbered, those of FROM, and the new row's
/// where there are assignments.
pub(super) struct PlannedSearch {
    pub planned: Planned,
    /// The relations of FROM with their columns.
    from: Vec<(String, SchemaRef)>,
}

/// The rows a search found, each of the target's rows once.
pub(super) struct Found {
    pub old: RecordBatch,
    /// The new rows of an UPDATE, those deleted of a DELETE; then FROM's columns.
    pub result: RecordBatch,
    /// What RETURNING knows of `result`.
    pub at_hand: AtHand,
    _held: Reservation,
}

impl Session {
    pub(in crate::session) async fn update(
        &mut self,
        update: &ast::Update,
        prepared: &Prepared,
        params: Vec<ScalarValue>,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        let search = self.update_search(update)?;
        let returning = update.returning.as_deref();
        let reads = returning_reads(returning)?;
        let reads: Vec<&ast::Query> =
            [Some(&search.query), reads.as_ref()].into_iter().flatten().collect();
        let guards = self.lock(&search.target.table, &reads, Access::Alone, cancel).await?;
        let found = self.find(&search, prepared, &params, cancel).await?;
        let table = &search.target.table;
        let new = self.settled(table, first_columns(&found.result, table)?)?;
        let mut columns = new.columns().to_vec();
        columns.extend_from_slice(&found.result.columns()[columns.len()..]);
        let result =
            batch_of(found.result.schema(), columns, new.num_rows()).map_err(from_arrow)?;
        let result = std::slice::from_ref(&result);
        let returned =
            self.returned(returning, &found.at_hand, result, prepared, &params, cancel).await?;
        let write = Write { deletes: vec![found.old], inserts: vec![new], ..Write::default() };
        self.apply("UPDATE", &search.target.table, Change { write, returned }, guards).await
    }

    fn update_search(&self, update: &ast::Update) -> Result<Search> {
        let target = self.target(&update.table)?;
        let assigned = self.assigned(&target, &update.assignments)?;
        let from = match &update.from {
            None => vec![],
            Some(ast::UpdateTableFromKind::AfterSet(from)) => from.clone(),
            Some(ast::UpdateTableFromKind::BeforeSet(_)) => {
                return Err(Error::syntax("syntax error at or near \"FROM\""));
            }
        };
        self.search(target, &update.table, from, update.selection.clone(), assigned)
    }

    /// The query of an UPDATE or DELETE; `relation` is the target as it was written.
    pub(super) fn search(
        &self,
        target: Target,
        relation: &ast::TableWithJoins,
        from: Vec<ast::TableWithJoins>,
        condition: Option<ast::Expr>,
        assigned: Assigned,
    ) -> Result<Search> {
        let joined = !from.is_empty();
        let keyed = !target.table.kind.primary_key().is_empty();
        let numbered = joined && !keyed;
        let relation = match numbered {
            true => numbered_rows(relation, &target.name)?,
            false => relation.clone(),
        };
        let items = assigned.iter().enumerate().map(|(i, (_, value))| {
            let alias = ast::Ident::with_quote('"', format!("#{i}"));
            ast::SelectItem::ExprWithAlias { expr: value.clone(), alias }
        });
        let relations = std::iter::once(relation).chain(from).collect();
        let query = selection(items.collect(), relations, condition)?;
        Ok(Search { target, query, assigned, joined, numbered })
    }

    pub(super) fn plan_search(&self, search: &Search, types: &Types) -> Result<PlannedSearch> {
        let mut planned = self.plan_batch(&search.query, types)?;
        let schema = planned.plan.schema().clone();
        let sources = schema.columns();
        let table = &search.target.table;
        let width = table.columns.fields().len();
        let first_from = width + usize::from(search.numbered);
        let last = sources.len() - search.assigned.len();
        let found = sources[..last].iter().enumerate();
        let mut exprs: Vec<Expr> =
            found.map(|(i, column)| Expr::Column(column.clone()).alias(format!("#{i}"))).collect();
        if !search.assigned.is_empty() {
            for (index, field) in table.columns.fields().iter().enumerate() {
                let position = search.assigned.iter().position(|(column, _)| *column == index);
                let value = match position {
                    Some(position) => {
                        assign(assignable_column(&planned.plan, last + position), &schema, field)?
                    }
                    None => Expr::Column(sources[index].clone()),
                };
                exprs.push(value.alias(format!("#new{index}")));
            }
        }
        let mut from: Vec<(String, Vec<FieldRef>)> = vec![];
        for (qualifier, field) in schema.iter().take(last).skip(first_from) {
            let name = qualifier.map_or("", |qualifier| qualifier.table());
            let field: FieldRef = Arc::new(canonical_field(field).with_nullable(true));
            match from.last_mut().filter(|(last, _)| last == name) {
                Some((_, fields)) => fields.push(field),
                None => from.push((name.to_owned(), vec![field])),
            }
        }
        let schema =
            |(name, fields): (String, Vec<FieldRef>)| (name, Arc::new(Schema::new(fields)));
        planned.plan = project(planned.plan, exprs)?;
        Ok(PlannedSearch { planned, from: from.into_iter().map(schema).collect() })
    }

    /// Runs a search to its end. The target has to be locked.
    pub(super) async fn find(
        &self,
        search: &Search,
        prepared: &Prepared,
        params: &[ScalarValue],
        cancel: &CancellationToken,
    ) -> Result<Found> {
        let types: Vec<Option<FieldRef>> = prepared.params.iter().cloned().map(Some).collect();
        let PlannedSearch { planned, from } = self.plan_search(search, &types)?;
        let at_hand = search.at_hand(from);
        let names = planned.plan.schema().fields().len();
        let (batches, held) =
            self.collect(planned, params.to_vec(), memory::Purpose::Relief, cancel).await?;
        let rows = match batches.first() {
            Some(first) => arrow_select::concat::concat_batches(&first.schema(), &batches)
                .map_err(from_arrow)?,
            None => empty_rows(search, &at_hand, names)?,
        };
        let rows = if search.joined { search.each_once(&rows)? } else { rows };
        let width = search.target.table.columns.fields().len();
        let first_from = width + usize::from(search.numbered);
        let new = if search.assigned.is_empty() { 0 } else { names - width };
        let from = if search.assigned.is_empty() { first_from..names } else { first_from..new };
        let columns = (new..new + width).chain(from);
        let result = rows.project(&columns.collect::<Vec<_>>()).map_err(from_arrow)?;
        let old = first_columns(&rows, &search.target.table)?;
        Ok(Found { old, result, at_hand, _held: held })
    }

    pub(in crate::session) fn explain_update(&self, update: &ast::Update) -> Result<String> {
        let search = self.update_search(update)?;
        let planned = self.plan_search(&search, &[])?.planned;
        self.explain_change("Update", &search.target.table, planned)
    }

    pub(in crate::session) fn describe_update(
        &self,
        update: &ast::Update,
        given: &Types,
    ) -> Result<(Vec<FieldRef>, Option<Vec<FieldRef>>)> {
        let search = self.update_search(update)?;
        self.describe_search(&search, update.returning.as_deref(), given)
    }

    /// Parameters of an UPDATE or DELETE (those that stand alone in SET have their column's type), and RETURNING's columns.
    pub(super) fn describe_search(
        &self,
        search: &Search,
        returning: Option<&[ast::SelectItem]>,
        given: &Types,
    ) -> Result<(Vec<FieldRef>, Option<Vec<FieldRef>>)> {
        let mut known = given.to_vec();
        for (column, value) in &search.assigned {
            note_placeholder(value, search.target.table.columns.field(*column), &mut known);
        }
        let found = self.plan_search(search, &known)?;
        let Some(items) = returning else {
            return Ok((self.typed_params(&[&found.planned.plan], &known)?, None));
        };
        let at_hand = search.at_hand(found.from);
        let returning = self.plan_returning(items, &at_hand, &known)?;
        let params = self.typed_params(&[&found.planned.plan, &returning.plan], &known)?;
        let types: Vec<Option<FieldRef>> = params.iter().cloned().map(Some).collect();
        let columns = self.returning_columns(self.plan_returning(items, &at_hand, &types)?)?;
        Ok((params, Some(columns)))
    }
}

impl Search {
    /// What RETURNING knows: the target's rows and those of FROM.
    fn at_hand(&self, from: Vec<(String, SchemaRef)>) -> AtHand {
        let target = (self.target.name.clone(), nullable(&self.target.table.columns));
        AtHand::new(std::iter::once(target).chain(from).collect())
    }

    /// The rows with one for each row of the target: the least where there are several.
    fn each_once(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let width = self.target.table.columns.fields().len();
        let identity = match &self.target.table.kind {
            ObjectKind::Table { primary_key, .. } if !self.numbered => primary_key.clone(),
            _ => vec![width],
        };
        let encoded = |columns: &[usize]| {
            let fields =
                columns.iter().map(|&c| SortField::new(rows.column(c).data_type().clone()));
            let converter = RowConverter::new(fields.collect()).map_err(from_arrow)?;
            let columns: Vec<_> = columns.iter().map(|&c| rows.column(c).clone()).collect();
            converter.convert_columns(&columns).map_err(from_arrow)
        };
        let identities = encoded(&identity)?;
        let mut chosen: HashMap<_, u32> = HashMap::with_capacity(rows.num_rows());
        let mut repeated = vec![];
        for row in 0..rows.num_rows() as u32 {
            let first = *chosen.entry(identities.row(row as usize)).or_insert(row);
            if first != row {
                repeated.push(row);
            }
        }
        if repeated.is_empty() {
            return Ok(rows.clone());
        }
        let whole = encoded(&(0..rows.num_columns()).collect::<Vec<_>>())?;
        for row in repeated {
            let best = chosen.entry(identities.row(row as usize)).or_insert(row);
            if whole.row(row as usize) < whole.row(*best as usize) {
                *best = row;
            }
        }
        let mut kept: Vec<u32> = chosen.into_values().collect();
        kept.sort_unstable();
        take_rows(rows, &kept).map_err(from_arrow)
    }
}

/// No rows, in the columns of a search.
fn empty_rows(search: &Search, at_hand: &AtHand, width: usize) -> Result<RecordBatch> {
    let table = search.target.table.columns.fields();
    let mut fields: Vec<Field> = at_hand.fields().map(|f| f.as_ref().clone()).collect();
    if search.numbered {
        fields.insert(table.len(), Field::new(ROW, arrow_schema::DataType::Int64, true));
    }
    fields.extend(table.iter().map(|f| f.as_ref().clone()));
    fields.truncate(width);
    let fields: Vec<Field> = fields
        .into_iter()
        .enumerate()
        .map(|(i, f)| f.with_name(format!("#{i}")).with_nullable(true))
        .collect();
    let columns = fields.iter().map(|f| arrow_array::new_empty_array(f.data_type())).collect();
    batch_of(Arc::new(Schema::new(fields)), columns, 0).map_err(from_arrow)
}

/// `(SELECT *, row_number() OVER () AS "#row" FROM table) AS name`.
fn numbered_rows(relation: &ast::TableWithJoins, name: &str) -> Result<ast::TableWithJoins> {
    let text = format!("SELECT * FROM (SELECT *, row_number() OVER () AS \"{ROW}\" FROM x) AS y");
    let query = *crate::sql::parse_query(&text)?;
    let ast::SetExpr::Select(mut select) = *query.body else {
        return Err(Error::internal("the template is a SELECT"));
    };
    let mut from = select.from.swap_remove(0);
    if let ast::TableFactor::Derived { subquery, alias: Some(alias), .. } = &mut from.relation {
        alias.name = ast::Ident::with_quote('"', name);
        if let ast::SetExpr::Select(inner) = subquery.body.as_mut() {
            inner.from = vec![relation.clone()];
        }
    }
    Ok(from)
}

/// What a RETURNING list reads besides the rows written.
pub(super) fn returning_reads(items: Option<&[ast::SelectItem]>) -> Result<Option<ast::Query>> {
    items.map(|items| AtHand::default().query(items.to_vec(), None)).transpose()
}
