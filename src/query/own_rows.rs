//! What a transaction has changed of a table, laid over what it reads of it.
//!
//! The table is read as of the transaction's epoch; rows that the transaction has deleted are left out of it and those it has
//! inserted come behind. A row is told by its key or, in a table without one, by all its bits: such a table may have the
//! same row several times, and loses as many of them as were deleted. Invariant: writing a row, and finding it by its key,
//! costs the same however much the transaction has written before. Nothing here changes a table.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::row::{RowConverter, Rows, SortField};
use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::SchemaRef;
use arrow_select::concat::concat_batches;
use arrow_select::filter::filter_record_batch;
use arrow_select::interleave::interleave_record_batch;

use super::errors::from_arrow;
use super::own_keys::OwnKeys;
use crate::arrangement::live::LiveTable;
use crate::arrangement::unique::UniqueKey;
use crate::canonical::canonical;
use crate::catalog::ObjectId;
use crate::error::Result;

/// Rows by what they are told by, each as often as it is there.
type Counts = HashMap<Box<[u8]>, usize>;

/// The place of no row.
const NONE: u32 = u32::MAX;

/// A transaction's changes of one table.
#[derive(Clone)]
pub struct OwnRows {
    schema: SchemaRef,
    /// The columns that tell rows apart.
    identity: Vec<usize>,
    has_key: bool,
    /// Whole rows, as of the transaction's epoch, that it has deleted.
    deletes: Vec<RecordBatch>,
    deleted: Counts,
    /// Whole rows that it has inserted, also those that it has deleted again. A row's place is its number among all of them.
    inserts: Vec<RecordBatch>,
    /// Of each inserted row: is it there?
    there: Vec<bool>,
    gone: usize,
    /// The place of the last row that is there, by what it is told by.
    last: HashMap<Box<[u8]>, u32>,
    /// Of each inserted row the place of an equal one before it.
    before: Vec<u32>,
    /// What is UNIQUE beside the primary key.
    keys: Vec<OwnKeys>,
}

impl OwnRows {
    pub fn new(live: &LiveTable, keys: Vec<UniqueKey>) -> OwnRows {
        let has_key = live.key_is_unique && !live.key.is_empty();
        let identity =
            if has_key { live.key.clone() } else { (0..live.schema.fields().len()).collect() };
        OwnRows {
            schema: live.schema.clone(),
            identity,
            has_key,
            deletes: vec![],
            deleted: Counts::new(),
            inserts: vec![],
            there: vec![],
            gone: 0,
            last: HashMap::new(),
            before: vec![],
            keys: keys.into_iter().map(OwnKeys::new).collect(),
        }
    }

    /// The changes of one of its keys beside the primary one.
    pub fn of_key(&self, id: ObjectId) -> Option<&OwnKeys> {
        self.keys.iter().find(|own| own.key.id == id)
    }

    /// Whole rows that are there for the transaction are deleted.
    pub fn delete(&mut self, rows: &RecordBatch) -> Result<()> {
        self.keys.iter_mut().try_for_each(|own| own.delete(rows))?;
        let mut stored = Vec::with_capacity(rows.num_rows());
        for row in self.identities(rows)?.iter() {
            let own = self.last.get(row.data()).copied();
            match own {
                Some(place) => self.take_back(place, row.data()),
                None => *self.deleted.entry(row.data().into()).or_default() += 1,
            }
            stored.push(own.is_none());
        }
        let stored = filter_record_batch(rows, &BooleanArray::from(stored)).map_err(from_arrow)?;
        push(&mut self.deletes, stored)?;
        if self.gone * 2 > self.there.len() {
            // Rows written again and again do not pile up.
            let inserts = self.inserted_rows()?;
            (self.inserts, self.there, self.before, self.gone) = (vec![], vec![], vec![], 0);
            self.last.clear();
            for rows in inserts {
                self.insert(&rows)?;
            }
        }
        Ok(())
    }

    fn take_back(&mut self, place: u32, told_by: &[u8]) {
        self.there[place as usize] = false;
        self.gone += 1;
        match (self.before[place as usize], self.last.get_mut(told_by)) {
            (NONE, _) => drop(self.last.remove(told_by)),
            (before, Some(last)) => *last = before,
            (_, None) => (),
        }
    }

    /// Whole rows are inserted; returns the first whose key is that of a row inserted before, where the table has a key.
    pub fn insert(&mut self, rows: &RecordBatch) -> Result<Option<usize>> {
        let first = self.there.len() as u32;
        for (at, row) in self.identities(rows)?.iter().enumerate() {
            let place = self.there.len() as u32;
            match self.last.get_mut(row.data()) {
                Some(_) if self.has_key => return Ok(Some(at)),
                Some(last) => self.before.push(std::mem::replace(last, place)),
                None => {
                    self.last.insert(row.data().into(), place);
                    self.before.push(NONE);
                }
            }
            self.there.push(true);
        }
        self.keys.iter_mut().try_for_each(|own| own.insert(rows, first))?;
        push(&mut self.inserts, rows.clone())?;
        Ok(None)
    }

    /// Whether it has changed nothing after all.
    pub fn is_empty(&self) -> bool {
        self.deletes.is_empty() && self.last.is_empty()
    }

    /// Whole rows, as of the transaction's epoch, that it has deleted.
    pub fn deleted_rows(&self) -> &[RecordBatch] {
        &self.deletes
    }

    /// Whole rows that it has inserted and that are there.
    pub fn inserted_rows(&self) -> Result<Vec<RecordBatch>> {
        if self.gone == 0 {
            return Ok(self.inserts.clone());
        }
        let mut from = 0;
        let there = |rows: &RecordBatch| {
            let there = self.there[from..from + rows.num_rows()].to_vec();
            from += rows.num_rows();
            filter_record_batch(rows, &BooleanArray::from(there)).map_err(from_arrow)
        };
        self.inserts.iter().map(there).collect()
    }

    /// The whole rows inserted, and there, under some values of a key (without a number: the primary one), and for each
    /// of them which of the values it is under, ascending.
    pub fn inserted_under(
        &self,
        id: Option<ObjectId>,
        keys: &[ArrayRef],
    ) -> Result<(RecordBatch, Vec<u32>)> {
        let (mut places, mut probes) = (vec![], vec![]);
        if let Some(id) = id {
            let own = self.of_key(id).map(|own| own.places(keys)).transpose()?;
            for (probe, place) in own.into_iter().flatten() {
                places.push(self.batch_and_row(place));
                probes.push(probe);
            }
        } else if self.has_key && !self.last.is_empty() {
            for (probe, key) in self.encoded(keys)?.iter().enumerate() {
                let Some(&place) = self.last.get(key.data()) else { continue };
                places.push(self.batch_and_row(place as usize));
                probes.push(probe as u32);
            }
        }
        let batches: Vec<&RecordBatch> = self.inserts.iter().collect();
        let rows = match places.is_empty() {
            true => RecordBatch::new_empty(self.schema.clone()),
            false => interleave_record_batch(&batches, &places).map_err(from_arrow)?,
        };
        Ok((rows, probes))
    }

    /// Which of the batches a place is in, and its row there; there are few batches.
    fn batch_and_row(&self, mut place: usize) -> (usize, usize) {
        let mut batch = 0;
        while place >= self.inserts[batch].num_rows() {
            place -= self.inserts[batch].num_rows();
            batch += 1;
        }
        (batch, place)
    }

    /// For each of some whole rows: was one that is told by the same deleted?
    pub fn has_deleted(&self, rows: &RecordBatch) -> Result<Vec<bool>> {
        if self.deleted.is_empty() {
            return Ok(vec![false; rows.num_rows()]);
        }
        let rows = self.identities(rows)?;
        Ok(rows.iter().map(|row| self.deleted.contains_key(row.data())).collect())
    }

    /// The columns of the table's key, if rows are told by it.
    pub fn key(&self) -> Option<&[usize]> {
        self.has_key.then_some(&self.identity)
    }

    /// The columns that a scan of the table has to have for [`LeftOver`].
    pub fn identity(&self) -> &[usize] {
        if self.deleted.is_empty() { &[] } else { &self.identity }
    }

    fn identities(&self, rows: &RecordBatch) -> Result<Rows> {
        let columns: Vec<_> = self.identity.iter().map(|&at| rows.column(at).clone()).collect();
        self.encoded(&columns)
    }

    /// The columns of the identity as bytes that are equal where the keys are or, without a key, where the values' bits are.
    fn encoded(&self, columns: &[ArrayRef]) -> Result<Rows> {
        let plain = |column| if self.has_key { canonical(column) } else { column.clone() };
        let columns: Vec<ArrayRef> = columns.iter().map(plain).collect();
        let fields = columns.iter().map(|column| SortField::new(column.data_type().clone()));
        let converter = RowConverter::new(fields.collect()).map_err(from_arrow)?;
        converter.convert_columns(&columns).map_err(from_arrow)
    }
}

/// Leaves out of a scan what the transaction has deleted. All equal rows of a table are in one of its shards, so each shard has
/// one of its own.
pub struct LeftOver {
    own: Arc<OwnRows>,
    /// Places in the scanned batches.
    identity: Vec<usize>,
    left_out: Counts,
}

impl LeftOver {
    /// For a scan of these columns of the table, those of [`OwnRows::identity`] among them.
    pub fn new(own: Arc<OwnRows>, columns: &[usize]) -> LeftOver {
        let place = |column: &usize| columns.iter().position(|c| c == column);
        let identity = own.identity().iter().filter_map(place).collect();
        LeftOver { own, identity, left_out: Counts::new() }
    }

    /// The rows of a batch that have not been deleted.
    pub fn of(&mut self, rows: &RecordBatch) -> Result<RecordBatch> {
        if self.own.deleted.is_empty() || rows.num_rows() == 0 {
            return Ok(rows.clone());
        }
        let columns: Vec<_> = self.identity.iter().map(|&at| rows.column(at).clone()).collect();
        let mut kept = Vec::with_capacity(rows.num_rows());
        for row in self.own.encoded(&columns)?.iter() {
            let deleted = self.own.deleted.get(row.data()).copied().unwrap_or(0);
            let leave_out = deleted > 0 && {
                let left_out = self.left_out.entry(row.data().into()).or_default();
                *left_out += 1;
                *left_out <= deleted
            };
            kept.push(!leave_out);
        }
        filter_record_batch(rows, &BooleanArray::from(kept)).map_err(from_arrow)
    }
}

/// Appends rows. A batch is put to the one before it until that is the larger one, so there are few and each row is copied
/// a few times only.
fn push(batches: &mut Vec<RecordBatch>, rows: RecordBatch) -> Result<()> {
    let mut last = rows;
    if last.num_rows() == 0 {
        return Ok(());
    }
    while let Some(before) = batches.pop_if(|before| before.num_rows() <= last.num_rows()) {
        last = concat_batches(&before.schema(), [&before, &last]).map_err(from_arrow)?;
    }
    batches.push(last);
    Ok(())
}
