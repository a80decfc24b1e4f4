//! One generation of an arrangement's storage: rows, deaths and indexes, from one rebuild to the next.
//!
//! Only the writer holds a [`Generation`]; snapshots hold reference counts of its parts. Rows are
//! appended and die, and never move: a rebuild makes a new generation and leaves the old one to the
//! snapshots that still read it. Epochs, pins and checkpoints are the arrangement's business.
//!
//! Beside the key index, which readers share, the writer keeps two things of its own ([`Removal`]):
//! from the first delete on the way back along each chain, so that forgotten rows leave it in
//! constant time; and from the first delete under a fat key on an index over whole rows, so that no
//! delete walks more than [`WALK_ROWS_MAX`] rows. Nearly unique keys never pay for the latter.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;

use super::chunk::{CHUNK_ROWS, Chunks, Deaths};
use super::column::Column;
use super::index::{AHEAD, IndexWriter, Links, NIL, tag};
use crate::epoch::Epoch;
use crate::error::{Error, Result, SqlState};
use crate::hash::hash_columns;

/// What an arrangement is declared to be.
pub(super) struct Shape {
    pub schema: SchemaRef,
    pub key: Vec<usize>,
    pub unique: bool,
}

/// The code of rows that were never visible to anybody: those of an epoch that was rolled back.
pub(super) const NEVER: u32 = 1;

/// Rows of one key that a delete looks through before it goes by an index over whole rows instead.
/// Tests want both ways taken.
const WALK_ROWS_MAX: usize = if cfg!(test) { 8 } else { 32 };

/// Rows that one generation may hold: ids are 32 bits, and the last ones mean "no row".
const ROWS_MAX: usize = u32::MAX as usize - 1;

/// A row found and killed: `tag` is that of the whole row where it was found by the index over rows.
#[derive(Clone, Copy)]
pub(super) struct Killed {
    pub row: u32,
    pub tag: u32,
}

/// What deletes need and readers do not.
struct Removal {
    /// The next newer row of the same chain; the row itself once it has left the chain.
    newer: Links,
    /// The living rows by the hash of all columns, once a key was too fat to be walked.
    rows: Option<RowIndex>,
}

struct RowIndex {
    heads: IndexWriter,
    links: Links,
}

impl RowIndex {
    fn new() -> RowIndex {
        RowIndex { heads: IndexWriter::new(), links: Links::new() }
    }

    fn push(&mut self, tag: u32, row: u32) -> usize {
        let mut grown = 0;
        let links = &self.links;
        self.heads.push(tag, row, |head| grown = links.set(row, head));
        grown
    }

    /// Takes the newest row that `wanted` accepts out of the chain.
    fn take(&mut self, tag: u32, wanted: impl Fn(u32) -> bool) -> Option<u32> {
        let mut newer = NIL;
        let mut row = self.heads.shared().head(tag);
        while row != NIL {
            let older = self.links.get(row);
            if wanted(row) {
                match newer {
                    NIL => self.heads.set_head(tag, older),
                    newer => drop(self.links.set(newer, older)),
                }
                return Some(row);
            }
            newer = row;
            row = older;
        }
        None
    }
}

pub(super) struct Generation {
    shape: Arc<Shape>,
    /// Deaths are counted from here: a row that died at epoch e has the code e - base + 1.
    pub base: Epoch,
    pub chunks: Chunks,
    pub deaths: Deaths,
    keys: IndexWriter,
    pub links: Arc<Links>,
    removal: Option<Removal>,
    /// Rows ever appended; the next row's id.
    pub limit: u32,
    /// Rows that died, forgotten or not.
    pub dead: usize,
    /// Codes up to this one are seen by no reader any more.
    forgotten_code: u32,
    /// Bytes of chunks, deaths and links; the tables of the indexes count themselves.
    bytes: usize,
    hashes: Vec<u64>,
}

impl Generation {
    pub fn new(shape: Arc<Shape>, base: Epoch) -> Generation {
        Generation {
            shape,
            base,
            chunks: Chunks::default(),
            deaths: Deaths::default(),
            keys: IndexWriter::new(),
            links: Arc::new(Links::new()),
            removal: None,
            limit: 0,
            dead: 0,
            forgotten_code: NEVER,
            bytes: 0,
            hashes: vec![],
        }
    }

    pub fn index(&self) -> &Arc<super::index::Index> {
        self.keys.shared()
    }

    pub fn living(&self) -> usize {
        self.limit as usize - self.dead
    }

    pub fn bytes(&self) -> usize {
        let rows = self.removal.as_ref().and_then(|r| r.rows.as_ref());
        self.bytes + self.keys.bytes() + rows.map_or(0, |r| r.heads.bytes())
    }

    /// The code of a death at `epoch`, at or after the base.
    pub fn code(&self, epoch: Epoch) -> u32 {
        (epoch.0 - self.base.0 + 1) as u32
    }

    /// The epoch of a row's death; rows that never were died at the base. `None` for living rows.
    pub fn death(&self, row: u32) -> Option<Epoch> {
        match self.deaths.code(row) {
            0 => None,
            code => Some(Epoch(self.base.0 + code as u64 - 1)),
        }
    }

    /// Appends rows, alive, to the chunks and the indexes.
    pub fn append(&mut self, batch: &RecordBatch) -> Result<()> {
        let start = self.limit;
        self.push_rows(batch)?;
        self.enter_keys(batch, start);
        self.enter_rows(batch.columns(), batch.num_rows(), start);
        Ok(())
    }

    /// As [`Self::append`], for rows of an older generation: `deaths` are the codes, in this
    /// generation's counting, of those rows that are dead already, with their places in the batch.
    pub fn append_with_deaths(&mut self, batch: &RecordBatch, deaths: &[(u32, u32)]) -> Result<()> {
        let start = self.limit;
        self.push_rows(batch)?;
        for &(at, code) in deaths {
            self.bytes += self.deaths.set(start + at, code);
        }
        self.dead += deaths.len();
        self.enter_keys(batch, start);
        self.enter_rows(batch.columns(), batch.num_rows(), start);
        Ok(())
    }

    fn push_rows(&mut self, batch: &RecordBatch) -> Result<()> {
        let (mut from, rows) = (0, batch.num_rows());
        if self.limit as usize + rows > ROWS_MAX {
            let message = "arrangement has no row ids left";
            return Err(Error::new(SqlState::INSUFFICIENT_RESOURCES, message)
                .with_detail(format!("{} rows are held, {ROWS_MAX} can be", self.limit)));
        }
        while from < rows {
            let room = CHUNK_ROWS - self.limit as usize % CHUNK_ROWS;
            let n = room.min(rows - from);
            self.deaths.extend_to(self.limit as usize + n);
            let grown = if n == rows {
                self.chunks.append(self.limit, batch)
            } else {
                self.chunks.append(self.limit, &batch.slice(from, n))
            };
            let grown = grown.map_err(|e| Error::internal(format!("cannot append rows: {e}")))?;
            self.bytes = self.bytes.saturating_add_signed(grown);
            self.limit += n as u32;
            from += n;
        }
        Ok(())
    }

    /// Enters rows into the index over the key.
    fn enter_keys(&mut self, batch: &RecordBatch, start: u32) {
        if self.shape.key.is_empty() {
            return;
        }
        let keys: Vec<ArrayRef> = self.shape.key.iter().map(|&k| batch.column(k).clone()).collect();
        hash_columns(&keys, batch.num_rows(), &mut self.hashes);
        let Generation { keys, links, removal, deaths, bytes, hashes, .. } = self;
        let forgotten = |row| (1..=self.forgotten_code).contains(&deaths.code(row));
        for (i, &hash) in hashes.iter().enumerate() {
            if let Some(&ahead) = hashes.get(i + AHEAD) {
                keys.shared().prefetch(tag(ahead));
            }
            let row = start + i as u32;
            keys.push(tag(hash), row, |mut head| {
                if let Some(Removal { newer, .. }) = removal {
                    // A head that nobody sees any more leaves the chain here: it has no newer row
                    // from which it could have been unlinked when it was forgotten.
                    while head != NIL && forgotten(head) {
                        *bytes += newer.set(head, head);
                        head = links.get(head);
                    }
                    if head != NIL {
                        *bytes += newer.set(head, row);
                    }
                }
                *bytes += links.set(row, head);
            });
        }
    }

    /// Enters the living among these rows into the index over whole rows, where there is one.
    fn enter_rows(&mut self, columns: &[ArrayRef], count: usize, start: u32) {
        let Some(Removal { rows: Some(rows), .. }) = &mut self.removal else { return };
        hash_columns(columns, count, &mut self.hashes);
        for (i, &hash) in self.hashes.iter().enumerate() {
            if let Some(&ahead) = self.hashes.get(i + AHEAD) {
                rows.heads.shared().prefetch(tag(ahead));
            }
            let row = start + i as u32;
            if self.deaths.code(row) == 0 {
                self.bytes += rows.push(tag(hash), row);
            }
        }
    }

    /// Prepares for deletes as far as `original`, which this one shadows, is prepared.
    pub fn prepare_like(&mut self, original: &Generation) {
        match &original.removal {
            None => {}
            Some(Removal { rows: None, .. }) => self.prepare_unlinking(),
            Some(Removal { rows: Some(_), .. }) => self.prepare_row_index(),
        }
    }

    /// Finds the way back along each chain, at the first delete.
    fn prepare_unlinking(&mut self) {
        if self.removal.is_some() {
            return;
        }
        let newer = Links::new();
        let indexed = if self.shape.key.is_empty() { 0 } else { self.limit };
        for row in 0..indexed {
            match self.links.get(row) {
                NIL => {}
                older => self.bytes += newer.set(older, row),
            }
        }
        self.removal = Some(Removal { newer, rows: None });
    }

    /// Builds the index over whole rows.
    fn prepare_row_index(&mut self) {
        self.prepare_unlinking();
        let Some(removal @ Removal { rows: None, .. }) = &mut self.removal else { return };
        removal.rows = Some(RowIndex::new());
        let chunks = self.chunks.clone();
        for chunk in chunks.iter() {
            self.enter_rows(chunk.batch.columns(), chunk.rows(), chunk.start);
        }
    }

    /// Kills one living row for each row of `batch`, the same in all columns. What was killed is
    /// in `killed`, also when a row is missing and the rest is left undone.
    pub fn kill(&mut self, batch: &RecordBatch, code: u32, killed: &mut Vec<Killed>) -> Result<()> {
        self.prepare_unlinking();
        let columns: Vec<Column> =
            batch.columns().iter().map(|c| Column::new(c.as_ref())).collect();
        let indexed = matches!(&self.removal, Some(Removal { rows: Some(_), .. }));
        let mut done = 0;
        if !indexed && !self.shape.key.is_empty() {
            done = self.kill_by_key(batch, &columns, code, killed)?;
        }
        if done < batch.num_rows() {
            self.prepare_row_index();
            self.kill_by_row(batch, &columns, done, code, killed)?;
        }
        Ok(())
    }

    /// Finds rows through the key index. Returns how many rows of the batch are done: all of them, or
    /// those before the first one whose key is too fat.
    fn kill_by_key(
        &mut self,
        batch: &RecordBatch,
        columns: &[Column],
        code: u32,
        killed: &mut Vec<Killed>,
    ) -> Result<usize> {
        let keys: Vec<ArrayRef> = self.shape.key.iter().map(|&k| batch.column(k).clone()).collect();
        hash_columns(&keys, batch.num_rows(), &mut self.hashes);
        // Under a unique key the living row is among the newest: older ones are dead.
        let steps_max = if self.shape.unique { usize::MAX } else { WALK_ROWS_MAX };
        for i in 0..batch.num_rows() {
            self.prefetch_for_kill(self.keys.shared(), i);
            let tag = tag(self.hashes[i]);
            let mut row = self.keys.shared().head(tag);
            let mut steps = 0;
            while row != NIL && !(self.deaths.code(row) == 0 && self.is_same(row, columns, i)) {
                row = self.links.get(row);
                steps += 1;
                if steps > steps_max {
                    return Ok(i);
                }
            }
            if row == NIL {
                return Err(missing());
            }
            self.bytes += self.deaths.set(row, code);
            self.dead += 1;
            killed.push(Killed { row, tag });
        }
        Ok(batch.num_rows())
    }

    /// Finds rows through the index over whole rows, from row `from` of the batch on.
    fn kill_by_row(
        &mut self,
        batch: &RecordBatch,
        columns: &[Column],
        from: usize,
        code: u32,
        killed: &mut Vec<Killed>,
    ) -> Result<()> {
        hash_columns(batch.columns(), batch.num_rows(), &mut self.hashes);
        let Some(mut removal) = self.removal.take() else { return Err(missing()) };
        let mut found = Ok(());
        if let Some(rows) = &mut removal.rows {
            for i in from..batch.num_rows() {
                self.prefetch_for_kill(rows.heads.shared(), i);
                let tag = tag(self.hashes[i]);
                let Some(row) = rows.take(tag, |row| self.is_same(row, columns, i)) else {
                    found = Err(missing());
                    break;
                };
                self.bytes += self.deaths.set(row, code);
                self.dead += 1;
                killed.push(Killed { row, tag });
            }
        }
        self.removal = Some(removal);
        found
    }

    /// Whether a stored row has the bits of row `i` of `columns`, all columns of the schema: a delete carries the very row
    /// that was inserted, and one that only equals it shows another -0.0.
    #[inline]
    fn is_same(&self, row: u32, columns: &[Column], i: usize) -> bool {
        let (chunk, at) = self.chunks.locate(row);
        chunk.columns.iter().zip(columns).all(|(stored, c)| stored.is_same(at, c, i))
    }

    /// Asks for what deletes further on will touch: first the slot, then what it leads to.
    #[inline(always)]
    fn prefetch_for_kill(&self, heads: &super::index::Index, i: usize) {
        if let Some(&hash) = self.hashes.get(i + 2 * AHEAD) {
            heads.prefetch(tag(hash));
        }
        if let Some(&hash) = self.hashes.get(i + AHEAD) {
            let row = heads.head(tag(hash));
            if row != NIL {
                let (chunk, at) = self.chunks.locate(row);
                chunk.columns.iter().for_each(|c| c.prefetch(at));
                self.deaths.prefetch(row);
                self.links.prefetch(row);
            }
        }
    }

    /// Kills a row that was found and killed under another id in the generation this one shadows.
    pub fn kill_copy(&mut self, row: u32, tag: u32, code: u32) {
        self.bytes += self.deaths.set(row, code);
        self.dead += 1;
        if let Some(Removal { rows: Some(rows), .. }) = &mut self.removal {
            rows.take(tag, |r| r == row);
        }
    }

    /// Undoes an epoch: the rows from `mark` on never were, the killed ones live.
    pub fn roll_back(&mut self, mark: u32, killed: &[Killed]) {
        for k in killed {
            self.bytes += self.deaths.set(k.row, 0);
        }
        for row in mark..self.limit {
            self.bytes += self.deaths.set(row, NEVER);
        }
        self.dead = self.dead - killed.len() + (self.limit - mark) as usize;
        // The index over rows has lost the killed rows; it is built again when it is needed.
        if let Some(removal) = &mut self.removal
            && let Some(rows) = removal.rows.take()
        {
            self.bytes -= rows.links.bytes();
        }
    }

    /// From now on no reader sees rows that died at or before `epoch`.
    pub fn forget_before(&mut self, epoch: Epoch) {
        if epoch >= self.base {
            self.forgotten_code = self.forgotten_code.max(self.code(epoch));
        }
    }

    /// Takes a forgotten row out of its chain. The newest row of a chain stays until another is
    /// pushed in front of it; a reader that stands on the row still finds the way on.
    pub fn unlink(&mut self, row: u32) {
        let Some(Removal { newer, .. }) = &self.removal else { return };
        let from = newer.get(row);
        if from == NIL || from == row {
            return;
        }
        let to = self.links.get(row);
        self.bytes += self.links.set(from, to);
        if to != NIL {
            self.bytes += newer.set(to, from);
        }
        self.bytes += newer.set(row, row);
    }
}

fn missing() -> Error {
    Error::internal("delete of a row that is not in the arrangement")
}
