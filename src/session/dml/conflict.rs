//! ON CONFLICT: what becomes of proposed rows whose key is stored already.
//!
//! DO NOTHING without RETURNING is left to the sequencer, which alone can judge it while others insert. Everything else
//! holds the table alone, finds the stored rows by key in one probe, and computes for all of them at once: DO UPDATE's
//! expressions see the stored row under the table's name and the proposed one as `excluded`. No stored row is changed
//! twice by one statement (21000).

use std::collections::HashSet;
use std::sync::Arc;

use arrow::row::{Row, RowConverter, Rows, SortField};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use datafusion::logical_expr::Expr;
use datafusion::scalar::ScalarValue;
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::assignments::Assigned;
use super::{Target, Types, note_placeholder, project};
use crate::arrangement::unique::UniqueKey;
use crate::catalog::{Object, ObjectId, ObjectKind};
use crate::change::{batch_of, take_rows};
use crate::coordinator::{Skip, Write, sequencer};
use crate::error::{Error, Result, SqlState};
use crate::hash::hash_columns;
use crate::memory;
use crate::query::at_hand::AtHand;
use crate::query::errors::{canceled, from_arrow};
use crate::query::{assign, assignable_column};
use crate::session::select::{Planned, nullable};
use crate::session::{Prepared, Session};
use crate::sql::fold_identifier;

/// The relation beside the stored and the proposed row: the proposal's place in the statement.
const PLACE: &str = "#place";

/// What a statement says of rows whose key is taken.
pub(super) enum Conflict {
    Refuse,
    /// Those that meet a row by this key, or by any.
    Skip(Option<ObjectId>),
    Update(Box<DoUpdate>),
}

pub(super) struct DoUpdate {
    /// The key by which rows meet.
    key: ObjectId,
    assigned: Assigned,
    /// Place and new values of the pairs that satisfy WHERE.
    query: ast::Query,
    at_hand: AtHand,
}

impl Conflict {
    /// Whether the statement has to know the stored rows before it writes.
    pub fn reads_stored_rows(&self, returns: bool) -> bool {
        match self {
            Conflict::Refuse => false,
            Conflict::Skip(_) => returns,
            Conflict::Update(_) => true,
        }
    }

    /// What the sequencer is told, where it alone judges.
    pub fn skip(&self) -> Skip {
        match self {
            Conflict::Refuse | Conflict::Update(_) => Skip::Nothing,
            Conflict::Skip(None) => Skip::Any,
            Conflict::Skip(Some(key)) => Skip::Of(*key),
        }
    }

    /// Whether rows that meet by this key are what the statement speaks of.
    fn is_about(&self, key: ObjectId) -> bool {
        match self {
            Conflict::Refuse => false,
            Conflict::Skip(about) => about.is_none_or(|about| about == key),
            Conflict::Update(update) => update.key == key,
        }
    }

    pub fn query(&self) -> Option<&ast::Query> {
        match self {
            Conflict::Refuse | Conflict::Skip(_) => None,
            Conflict::Update(update) => Some(&update.query),
        }
    }

    /// Parameters that stand alone in DO UPDATE SET have their column's type.
    pub fn note_placeholders(&self, table: &Object, known: &mut Vec<Option<FieldRef>>) {
        let Conflict::Update(update) = self else { return };
        for (column, value) in &update.assigned {
            note_placeholder(value, table.columns.field(*column), known);
        }
    }
}

/// What is stored under the keys of proposed rows.
pub(in crate::session) struct Stored {
    /// Places of proposals whose key is stored, ascending.
    pub places: Vec<u32>,
    /// The stored row of each.
    rows: RecordBatch,
}

/// What becomes of conflicting proposals.
struct Updated {
    /// Places of those whose stored row changes, ascending.
    places: Vec<u32>,
    old: RecordBatch,
    new: RecordBatch,
}

impl Session {
    /// What an INSERT says about conflicts; 42P10 where it names no key of the table.
    pub(super) fn conflict(&self, insert: &ast::Insert, target: &Target) -> Result<Conflict> {
        let conflict = match &insert.on {
            None => return Ok(Conflict::Refuse),
            Some(ast::OnInsert::OnConflict(conflict)) => conflict,
            Some(_) => return Err(Error::syntax("syntax error at or near \"DUPLICATE\"")),
        };
        let key = self.conflict_key(conflict.conflict_target.as_ref(), &target.table)?;
        let update = match &conflict.action {
            ast::OnConflictAction::DoNothing => return Ok(Conflict::Skip(key)),
            ast::OnConflictAction::DoUpdate(update) => update,
        };
        super::refuse_append_only(&target.table)?;
        let Some(key) = key else {
            let message =
                "ON CONFLICT DO UPDATE requires inference specification or constraint name";
            return Err(Error::syntax(message).with_hint("For example, ON CONFLICT (column_name)."));
        };
        let assigned = self.assigned(target, &update.assignments)?;
        let columns = nullable(&target.table.columns);
        let place = Schema::new(vec![Field::new(PLACE, DataType::Int64, false)]);
        let at_hand = AtHand::new(vec![
            (target.name.clone(), columns.clone()),
            ("excluded".to_owned(), columns),
            (PLACE.to_owned(), Arc::new(place)),
        ]);
        let place = vec![ast::Ident::with_quote('"', PLACE), ast::Ident::with_quote('"', PLACE)];
        let mut items = vec![ast::SelectItem::UnnamedExpr(ast::Expr::CompoundIdentifier(place))];
        items.extend(assigned.iter().enumerate().map(|(i, (_, value))| {
            let alias = ast::Ident::with_quote('"', format!("#{i}"));
            ast::SelectItem::ExprWithAlias { expr: value.clone(), alias }
        }));
        let query = at_hand.query(items, update.selection.clone())?;
        Ok(Conflict::Update(Box::new(DoUpdate { key, assigned, query, at_hand })))
    }

    /// Plans DO UPDATE's expressions over rows that are not there yet.
    pub(super) fn plan_conflict(
        &self,
        target: &Target,
        conflict: &Conflict,
        types: &Types,
    ) -> Result<Option<Planned>> {
        let Conflict::Update(update) = conflict else { return Ok(None) };
        let mut planned = self.plan_over(&update.query, types, update.at_hand.clone())?;
        let schema = planned.plan.schema().clone();
        let mut exprs = vec![Expr::Column(schema.columns()[0].clone()).alias("#place")];
        for (i, (column, _)) in update.assigned.iter().enumerate() {
            let value = assignable_column(&planned.plan, i + 1);
            let value = assign(value, &schema, target.table.columns.field(*column))?;
            exprs.push(value.alias(format!("#new{i}")));
        }
        planned.plan = project(planned.plan, exprs)?;
        Ok(Some(planned))
    }

    /// Decides about every proposal while the table is held alone: the write, and the rows written in the order in which they
    /// were proposed.
    pub(super) async fn resolve_conflicts(
        &self,
        target: &Target,
        conflict: Conflict,
        rows: RecordBatch,
        prepared: &Prepared,
        params: &[ScalarValue],
        cancel: &CancellationToken,
    ) -> Result<(Write, RecordBatch)> {
        let live = self.server.live(&target.table)?;
        sequencer::check_not_null(&target.table.name, &target.table.columns, &rows)?;
        let primary = UniqueKey::primary(target.table.id, &live);
        let keys = primary.into_iter().chain(self.unique_keys(&target.table));
        let mut met = vec![];
        for key in keys.filter(|key| conflict.is_about(key.id)) {
            let stored = self.stored_rows(target.table.id, &key, &rows, cancel).await?;
            met.push(Met::new(&key, &rows, stored)?);
        }
        let none = rows.slice(0, 0);
        let (updated, fresh) = match (&conflict, met.as_slice()) {
            (Conflict::Update(_), [met]) => {
                let updated =
                    self.updated(target, &conflict, &rows, &met.stored, prepared, params, cancel);
                let updated = updated.await?;
                let fresh = fresh_once(met, &updated.places)?;
                (updated, fresh)
            }
            (Conflict::Update(_), _) => return Err(no_such_key()),
            (Conflict::Refuse | Conflict::Skip(_), met) => {
                let updated = Updated { places: vec![], old: none.clone(), new: none };
                (updated, first_fresh(met, rows.num_rows()))
            }
        };
        let written = in_order(&rows, &fresh, &updated)?;
        let fresh = take_rows(&rows, &fresh).map_err(from_arrow)?;
        let write = Write {
            deletes: vec![updated.old],
            inserts: vec![fresh, updated.new],
            skip: Skip::Nothing,
        };
        Ok((write, written))
    }

    /// The stored rows under the proposals' keys, as the statement sees them: as of everything acknowledged so far, or as of
    /// its block's epoch with the block's own changes.
    pub(in crate::session) async fn stored_rows(
        &self,
        table: ObjectId,
        key: &UniqueKey,
        rows: &RecordBatch,
        cancel: &CancellationToken,
    ) -> Result<Stored> {
        let live = &key.live;
        let pin = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(canceled()),
            pin = self.pin(std::slice::from_ref(live)) => pin?,
        };
        if key.from > pin.epoch {
            let message = "could not serialize access due to concurrent ALTER TABLE";
            return Err(Error::new(SqlState::SERIALIZATION_FAILURE, message));
        }
        let keys = sequencer::key_columns(&key.columns, rows);
        let distinct = key.distinct(rows);
        let mut hashes = vec![];
        hash_columns(&keys, rows.num_rows(), &mut hashes);
        let schema = nullable(&live.schema);
        let own = self.own_rows();
        let own = own.get(&table);
        let mut places: Vec<u32> = vec![];
        let mut parts = vec![];
        for version in live.versions(pin.epoch) {
            let Some(snapshot) = version.rows else { continue };
            let (mut probes, mut found) = (vec![], vec![]);
            snapshot.probe(&keys, &hashes, &mut probes, &mut found);
            if distinct.contains(&true) {
                let pairs = probes.iter().copied().zip(found.iter().copied());
                (probes, found) = pairs.filter(|(probe, _)| !distinct[*probe as usize]).unzip();
            }
            let columns = snapshot.gather(&found)?;
            let mut found = batch_of(schema.clone(), columns, found.len()).map_err(from_arrow)?;
            if let Some(own) = own {
                let gone = own.has_deleted(&found)?;
                let kept: Vec<u32> =
                    (0..gone.len() as u32).filter(|&row| !gone[row as usize]).collect();
                probes = kept.iter().map(|&row| probes[row as usize]).collect();
                found = take_rows(&found, &kept).map_err(from_arrow)?;
            }
            parts.push(found);
            places.extend(probes);
        }
        if let Some(own) = own {
            let id = (key.id != table).then_some(key.id);
            let (found, probes) = own.inserted_under(id, &keys)?;
            let found = batch_of(schema.clone(), found.columns().to_vec(), found.num_rows());
            parts.push(found.map_err(from_arrow)?);
            places.extend(probes);
        }
        let rows = arrow_select::concat::concat_batches(&schema, &parts).map_err(from_arrow)?;
        let mut order: Vec<u32> = (0..places.len() as u32).collect();
        order.sort_unstable_by_key(|&i| places[i as usize]);
        let rows = take_rows(&rows, &order).map_err(from_arrow)?;
        let places = order.iter().map(|&i| places[i as usize]).collect();
        Ok(Stored { places, rows })
    }

    /// Computes DO UPDATE for all conflicting proposals.
    #[allow(
        clippy::too_many_arguments,
        reason = "a statement's parts, which belong to no one thing"
    )]
    async fn updated(
        &self,
        target: &Target,
        conflict: &Conflict,
        rows: &RecordBatch,
        stored: &Stored,
        prepared: &Prepared,
        params: &[ScalarValue],
        cancel: &CancellationToken,
    ) -> Result<Updated> {
        let types: Vec<Option<FieldRef>> = prepared.params.iter().cloned().map(Some).collect();
        let (Some(mut planned), Conflict::Update(update)) =
            (self.plan_conflict(target, conflict, &types)?, conflict)
        else {
            return Err(Error::internal("there is nothing to update"));
        };
        let proposed = take_rows(rows, &stored.places).map_err(from_arrow)?;
        let numbers = Int64Array::from_iter_values(0..stored.places.len() as i64);
        let mut columns = stored.rows.columns().to_vec();
        columns.extend_from_slice(proposed.columns());
        columns.push(Arc::new(numbers));
        planned.plan = update.at_hand.fill(planned.plan, &[side_by_side(columns)?])?;
        let (batches, _held) =
            self.collect(planned, params.to_vec(), memory::Purpose::Write, cancel).await?;
        let Some(first) = batches.first() else {
            let none = stored.rows.slice(0, 0);
            return Ok(Updated { places: vec![], old: none.clone(), new: none });
        };
        let result = arrow_select::concat::concat_batches(&first.schema(), &batches);
        let result = result.map_err(from_arrow)?;
        let mut order: Vec<u32> = (0..result.num_rows() as u32).collect();
        let places = result.column(0).as_primitive::<Int64Type>().values().clone();
        order.sort_unstable_by_key(|&i| places[i as usize]);
        let result = take_rows(&result, &order).map_err(from_arrow)?;
        let kept: Vec<u32> = order.iter().map(|&i| places[i as usize] as u32).collect();
        let old = take_rows(&stored.rows, &kept).map_err(from_arrow)?;
        let mut columns = old.columns().to_vec();
        for (i, (column, _)) in update.assigned.iter().enumerate() {
            columns[*column] = result.column(i + 1).clone();
        }
        let new = batch_of(nullable(&target.table.columns), columns, kept.len());
        let new = self.settled(&target.table, new.map_err(from_arrow)?)?;
        let places = kept.iter().map(|&i| stored.places[i as usize]).collect();
        Ok(Updated { places, old, new })
    }
}

/// A batch of columns under names that do not matter.
fn side_by_side(columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    let rows = columns.first().map_or(0, |column| column.len());
    let field = |(i, column): (usize, &ArrayRef)| {
        Field::new(format!("#{i}"), column.data_type().clone(), true)
    };
    let fields: Vec<Field> = columns.iter().enumerate().map(field).collect();
    batch_of(Arc::new(Schema::new(fields)), columns, rows).map_err(from_arrow)
}

/// What proposals meet by one key.
struct Met {
    keys: Rows,
    /// Proposals that are like no other.
    distinct: Vec<bool>,
    stored: Stored,
}

impl Met {
    fn new(key: &UniqueKey, rows: &RecordBatch, stored: Stored) -> Result<Met> {
        let keys = sequencer::key_columns(&key.columns, rows);
        let fields = keys.iter().map(|key| SortField::new(key.data_type().clone()));
        let converter = RowConverter::new(fields.collect()).map_err(from_arrow)?;
        let keys = converter.convert_columns(&keys).map_err(from_arrow)?;
        Ok(Met { keys, distinct: key.distinct(rows), stored })
    }
}

impl Session {
    /// The key that the target of ON CONFLICT names, if there is a target: 42P10 and 42704 where there is no such key.
    fn conflict_key(
        &self,
        target: Option<&ast::ConflictTarget>,
        table: &Object,
    ) -> Result<Option<ObjectId>> {
        let catalog = self.server.catalog.snapshot();
        let primary = table.kind.primary_key();
        let indexes = || {
            catalog.dependents(table.id).filter_map(|index| match &index.kind {
                ObjectKind::Index { key, unique: Some(unique), .. } => Some((index, key, unique)),
                _ => None,
            })
        };
        match target {
            None => Ok(None),
            Some(ast::ConflictTarget::Columns(names)) => {
                let mut columns = vec![];
                for name in names {
                    let name = fold_identifier(name);
                    let column = table.columns.index_of(&name).map_err(|_| {
                        let message = format!("column \"{name}\" does not exist");
                        Error::new(SqlState::UNDEFINED_COLUMN, message)
                    })?;
                    columns.push(column);
                }
                let same = |key: &[usize]| {
                    key.iter().all(|k| columns.contains(k))
                        && columns.iter().all(|column| key.contains(column))
                };
                if !primary.is_empty() && same(primary) {
                    return Ok(Some(table.id));
                }
                let found = indexes().find(|(_, key, _)| same(key));
                found.map(|(index, ..)| Some(index.id)).ok_or_else(no_such_key)
            }
            Some(ast::ConflictTarget::OnConstraint(name)) => {
                let name = crate::sql::ObjectName::try_from(name)?.name;
                if !primary.is_empty() && name == table.primary_key_name() {
                    return Ok(Some(table.id));
                }
                let found = indexes().find(|(index, _, u)| u.constraint && index.name == name);
                found
                    .map(|(index, key, _)| {
                        // What is UNIQUE by the primary key's columns is judged by that.
                        Some(if key.as_slice() == primary { table.id } else { index.id })
                    })
                    .ok_or_else(|| {
                        let message = format!(
                            "constraint \"{name}\" for table \"{}\" does not exist",
                            table.name
                        );
                        Error::new(SqlState::UNDEFINED_OBJECT, message)
                    })
            }
        }
    }
}

fn no_such_key() -> Error {
    let message =
        "there is no unique or exclusion constraint matching the ON CONFLICT specification";
    Error::new(SqlState::INVALID_COLUMN_REFERENCE, message)
}

/// The places of proposals that meet neither a stored row nor one proposed before.
fn first_fresh(met: &[Met], rows: usize) -> Vec<u32> {
    let mut stored: Vec<_> =
        met.iter().map(|met| met.stored.places.iter().copied().peekable()).collect();
    let mut seen: Vec<HashSet<Row<'_>>> = met.iter().map(|_| HashSet::new()).collect();
    let mut fresh = vec![];
    for place in 0..rows as u32 {
        let row = place as usize;
        let mut meets = false;
        for (i, met) in met.iter().enumerate() {
            let is_stored = stored[i].next_if_eq(&place).is_some();
            meets |= is_stored || (!met.distinct[row] && seen[i].contains(&met.keys.row(row)));
        }
        if !meets {
            for (met, seen) in met.iter().zip(&mut seen) {
                seen.insert(met.keys.row(row));
            }
            fresh.push(place);
        }
    }
    fresh
}

/// The places of proposals whose key is not stored; 21000 where a row inserted or updated by a proposal meets another one.
fn fresh_once(met: &Met, updated: &[u32]) -> Result<Vec<u32>> {
    let mut stored = met.stored.places.iter().copied().peekable();
    let mut updated = updated.iter().copied().peekable();
    let mut touched = HashSet::new();
    let mut fresh = vec![];
    for place in 0..met.keys.num_rows() as u32 {
        let key = met.keys.row(place as usize);
        let is_stored = stored.next_if_eq(&place).is_some();
        let touches = updated.next_if_eq(&place).is_some() || !is_stored;
        if met.distinct[place as usize] {
            fresh.push(place);
            continue;
        }
        if touched.contains(&key) {
            let message = "ON CONFLICT DO UPDATE command cannot affect row a second time";
            return Err(Error::new(SqlState::CARDINALITY_VIOLATION, message).with_hint(
                "Ensure that no rows proposed for insertion within the same command have duplicate constrained values.",
            ));
        }
        if touches {
            touched.insert(key);
        }
        if !is_stored {
            fresh.push(place);
        }
    }
    Ok(fresh)
}

/// The rows written, inserted and updated ones, by the places of their proposals.
fn in_order(rows: &RecordBatch, fresh: &[u32], updated: &Updated) -> Result<RecordBatch> {
    let fresh = fresh.iter().map(|&place| (place, (0, place as usize)));
    let changed = updated.places.iter().enumerate().map(|(i, &place)| (place, (1, i)));
    let mut picks: Vec<(u32, (usize, usize))> = fresh.chain(changed).collect();
    picks.sort_unstable();
    let picks: Vec<(usize, usize)> = picks.into_iter().map(|(_, pick)| pick).collect();
    arrow_select::interleave::interleave_record_batch(&[rows, &updated.new], &picks)
        .map_err(from_arrow)
}
