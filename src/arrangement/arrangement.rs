//! The writer's side of an arrangement: applies epochs, compacts, hands over what changed.
//!
//! Owned by one worker. An epoch is applied whole, inserts before deletes, and is visible to
//! snapshots only once [`Arrangement::apply`] has returned; one that fails leaves everything as it was.
//! Invariant: rows born by an epoch are those before the epoch's limit, and rows dead by an epoch have
//! a death code up to that epoch's; so one number an epoch and one a dead row make all versions.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::generation::{Generation, Killed, Shape};
use super::index::Links;
use super::rebuild::{Forgettable, Shadow};
use super::snapshot::Snapshot;
use crate::change::{ChangeBatch, take_rows};
use crate::epoch::Epoch;
use crate::error::{Error, Result};

/// Fewer forgotten rows than this are not worth a rebuild. Tests want many rebuilds of few rows.
const REBUILD_ROWS_MIN: usize = if cfg!(test) { 64 } else { 1024 };

/// Row ids used at which a rebuild begins as soon as it frees an eighth of them.
const ROW_IDS_SCARCE: u32 = 3 << 30;

/// Epochs since the base at which a rebuild begins only to move the base: death codes are 32 bits.
const EPOCHS_SCARCE: u64 = 1 << 31;

/// Rows of one batch of deletes handed over by [`Arrangement::take_changes`].
const HANDED_OVER_ROWS: usize = 65_536;

/// The state after an epoch that changed something.
struct Version {
    epoch: Epoch,
    /// Rows born by then.
    limit: u32,
    /// Rows visible then.
    len: usize,
}

/// What the last call of `take_changes` has seen, and what died of it since.
struct Taken {
    epoch: Epoch,
    limit: u32,
    dead: Vec<u32>,
}

/// A keyed, versioned collection of rows: one writer, any number of readers through [`Snapshot`].
pub struct Arrangement {
    shape: Arc<Shape>,
    rows: Generation,
    shadow: Option<Shadow>,
    /// The last epoch applied.
    epoch: Epoch,
    /// The oldest epoch that can still be read.
    oldest: Epoch,
    /// By epoch; the first one is that of `oldest`.
    versions: VecDeque<Version>,
    /// Dead rows that somebody may still see, by epoch of death.
    doomed: VecDeque<u32>,
    /// Dead rows that nobody sees any more and that still take room.
    forgotten: usize,
    /// Rows appended and killed since the last call of `compact`: what it has to keep up with.
    fresh: usize,
    taken: Option<Taken>,
    /// Generations that were replaced, as long as a snapshot holds them, with their bytes.
    retired: Vec<(Weak<Links>, usize)>,
}

impl Arrangement {
    /// An empty arrangement of rows of `schema`, looked up by the columns `key` of it, in that order.
    /// Without key columns there is no index: every row matches every probe.
    pub fn new(schema: SchemaRef, key: Vec<usize>) -> Arrangement {
        let shape = Arc::new(Shape { schema, key, unique: false });
        Arrangement {
            rows: Generation::new(shape.clone(), Epoch::ZERO),
            shape,
            shadow: None,
            epoch: Epoch::ZERO,
            oldest: Epoch::ZERO,
            versions: VecDeque::from([Version { epoch: Epoch::ZERO, limit: 0, len: 0 }]),
            doomed: VecDeque::new(),
            forgotten: 0,
            fresh: 0,
            taken: None,
            retired: vec![],
        }
    }

    /// Declares that no two rows have the same key once an epoch is complete: deletes then never need an
    /// index over whole rows. To be said before the first row.
    pub fn with_unique_key(self, unique: bool) -> Arrangement {
        debug_assert_eq!(self.rows.limit, 0, "uniqueness is declared before the first row");
        let shape =
            Shape { schema: self.shape.schema.clone(), key: self.shape.key.clone(), unique };
        let shape = Arc::new(shape);
        Arrangement { rows: Generation::new(shape.clone(), Epoch::ZERO), shape, ..self }
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.shape.schema
    }

    pub fn key(&self) -> &[usize] {
        &self.shape.key
    }

    /// The last epoch applied or advanced to.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The oldest epoch of which a snapshot can be taken.
    pub fn oldest(&self) -> Epoch {
        self.oldest
    }

    /// Rows visible as of the last epoch.
    pub fn rows(&self) -> usize {
        self.rows.living()
    }

    /// Bytes of memory held: rows, index, deaths, a rebuild under way, and older generations as far
    /// as snapshots keep them. Cheap: nothing is walked.
    pub fn bytes(&self) -> usize {
        let ids = self.doomed.capacity() + self.taken.as_ref().map_or(0, |t| t.dead.capacity());
        let retired: usize = self.retired.iter().map(|(_, bytes)| bytes).sum();
        let shadow = self.shadow.as_ref().map_or(0, Shadow::bytes);
        self.rows.bytes() + shadow + retired + ids * 4 + self.versions.len() * size_of::<Version>()
    }

    /// Nothing changed up to and including `epoch`; an epoch that is not newer is ignored.
    pub fn advance(&mut self, epoch: Epoch) {
        self.epoch = self.epoch.max(epoch);
    }

    /// Applies the whole of one epoch, in all its batches: a row of weight w is inserted w times, or
    /// deleted -w times, inserts before deletes.
    ///
    /// Fails with XX000 when the epoch is not newer than the last one, a batch is of errors or of
    /// another schema, or a row to delete is not there; with 53000 when row ids run out. Nothing is
    /// changed then.
    pub fn apply(&mut self, epoch: Epoch, changes: &[ChangeBatch]) -> Result<()> {
        if epoch <= self.epoch {
            let message = format!("epoch {epoch} applied after epoch {}", self.epoch);
            return Err(Error::internal(message));
        }
        self.rebase_if_empty(epoch);
        if epoch.0 - self.rows.base.0 >= u32::MAX as u64 - 1 {
            return Err(Error::internal("arrangement was not compacted for 4 billion epochs"));
        }
        let mut deletes = vec![];
        let mark = self.rows.limit;
        let mut killed = vec![];
        let done = self.insert(changes, &mut deletes).and_then(|()| {
            let code = self.rows.code(epoch);
            deletes.iter().try_for_each(|batch| self.rows.kill(batch, code, &mut killed))
        });
        match done {
            Ok(()) => self.commit(epoch, mark, &killed),
            Err(error) => {
                self.rows.roll_back(mark, &killed);
                self.doomed.extend(mark..self.rows.limit);
                // The shadow may be prepared for deletes in a way in which its original is no more.
                self.shadow = None;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Appends what the changes insert; collects what they delete.
    fn insert(&mut self, changes: &[ChangeBatch], deletes: &mut Vec<RecordBatch>) -> Result<()> {
        for change in changes.iter().filter(|c| !c.is_empty()) {
            self.check(change)?;
            if change.all_inserts() {
                self.rows.append(change.rows())?;
                continue;
            }
            let (mut born, mut gone) = (vec![], vec![]);
            for (i, &weight) in change.weights.iter().enumerate() {
                let side = if weight > 0 { &mut born } else { &mut gone };
                let times = usize::try_from(weight.unsigned_abs()).unwrap_or(usize::MAX);
                if side.len().saturating_add(times) > u32::MAX as usize {
                    return Err(Error::internal(format!("weight {weight} is too large")));
                }
                side.extend(std::iter::repeat_n(i as u32, times));
            }
            let take = |rows: &[u32]| {
                let failed = |e| Error::internal(format!("cannot split changes: {e}"));
                take_rows(change.rows(), rows).map_err(failed)
            };
            if gone.len() == change.len() && born.is_empty() {
                deletes.push(if gone.iter().enumerate().all(|(i, &row)| i as u32 == row) {
                    change.rows().clone()
                } else {
                    take(&gone)?
                });
                continue;
            }
            if !born.is_empty() {
                self.rows.append(&take(&born)?)?;
            }
            if !gone.is_empty() {
                deletes.push(take(&gone)?);
            }
        }
        Ok(())
    }

    fn check(&self, change: &ChangeBatch) -> Result<()> {
        if change.is_errors() {
            return Err(Error::internal("errors do not belong into an arrangement of rows"));
        }
        let (got, wanted) = (change.rows().schema_ref(), &self.shape.schema);
        if Arc::ptr_eq(got, wanted) {
            return Ok(());
        }
        let types =
            |s: &SchemaRef| s.fields().iter().map(|f| f.data_type().clone()).collect::<Vec<_>>();
        let same = got.fields().len() == wanted.fields().len()
            && got
                .fields()
                .iter()
                .zip(wanted.fields())
                .all(|(g, w)| g.data_type() == w.data_type());
        if same {
            return Ok(());
        }
        let detail = format!("got {:?}, expected {:?}", types(got), types(wanted));
        Err(Error::internal("change batch of another schema than the arrangement's")
            .with_detail(detail))
    }

    /// Makes the epoch's changes visible and enters its deaths wherever they must be known.
    fn commit(&mut self, epoch: Epoch, mark: u32, killed: &[Killed]) {
        self.epoch = epoch;
        let born = (self.rows.limit - mark) as usize;
        if born == 0 && killed.is_empty() {
            return;
        }
        self.fresh += born + killed.len();
        self.doomed.extend(killed.iter().map(|k| k.row));
        if let Some(taken) = &mut self.taken {
            taken.dead.extend(killed.iter().map(|k| k.row).filter(|&row| row < taken.limit));
        }
        if let Some(shadow) = &mut self.shadow {
            let code = shadow.generation.code(epoch);
            for k in killed {
                if let Some(row) = shadow.translate(k.row) {
                    shadow.generation.kill_copy(row, k.tag, code);
                }
            }
            // Afterwards: where the original went over to an index over rows in this epoch, not all
            // tags are of that index, and the shadow's own is built without the dead.
            shadow.generation.prepare_like(&self.rows);
        }
        let (limit, len) = (self.rows.limit, self.rows.living());
        self.versions.push_back(Version { epoch, limit, len });
    }

    /// The arrangement as of `epoch`, a few reference counts. Panics when the epoch was forgotten or
    /// has not been reached: pins and frontiers keep callers from asking.
    pub fn snapshot(&self, epoch: Epoch) -> Snapshot {
        let range = self.oldest..=self.epoch;
        assert!(range.contains(&epoch), "snapshot as of {epoch}, not within {range:?}");
        let after = self.versions.partition_point(|v| v.epoch <= epoch);
        let version = &self.versions[after - 1];
        Snapshot::new(&self.shape, &self.rows, epoch, version.limit, version.len)
    }

    /// Forgets what no reader as of `oldest` or later can tell apart, and frees memory: called after
    /// each epoch with [`super::Pins::oldest`]. Looks at about `budget_rows` rows, or at twice as many
    /// as changed since the last call where that is more, so that it always keeps up.
    ///
    /// Once more than half of the rows held are forgotten, the living ones are copied into a new
    /// generation, in slices of that budget; readers keep the old one until they are done. Returns
    /// whether work is left, so that an idle worker can call again.
    pub fn compact(&mut self, oldest: Epoch, budget_rows: usize) -> bool {
        self.oldest = self.oldest.max(oldest.min(self.epoch));
        while self.versions.len() > 1 && self.versions[1].epoch <= self.oldest {
            self.versions.pop_front();
        }
        self.retired.retain(|(links, _)| links.strong_count() > 0);
        if self.reset_if_empty() {
            return false;
        }
        let budget = budget_rows.max(2 * std::mem::take(&mut self.fresh));
        let behind = self.forget(budget);
        if self.shadow.is_none() && self.wants_rebuild() {
            self.shadow = Some(Shadow::new(&self.shape, &self.rows, self.forgettable()));
        }
        self.continue_rebuild(budget);
        behind || self.shadow.is_some()
    }

    /// Whether readers hold memory that the arrangement itself has replaced; the next `compact` looks again.
    pub fn is_held(&self) -> bool {
        !self.retired.is_empty()
    }

    fn forgettable(&self) -> Forgettable {
        let owed = self.taken.as_ref().map(|t| (t.limit, t.epoch));
        Forgettable { oldest: self.oldest, owed }
    }

    /// Takes rows out of their chains that nobody sees any more, up to `budget` of them. Returns
    /// whether there are more.
    fn forget(&mut self, budget: usize) -> bool {
        self.rows.forget_before(self.oldest);
        if let Some(shadow) = &mut self.shadow {
            shadow.generation.forget_before(self.oldest);
        }
        for _ in 0..budget {
            let Some(&row) = self.doomed.front() else { return false };
            if self.rows.death(row).is_none_or(|death| death > self.oldest) {
                return false;
            }
            self.doomed.pop_front();
            self.forgotten += 1;
            self.rows.unlink(row);
            if let Some(shadow) = &mut self.shadow
                && let Some(copy) = shadow.translate(row)
            {
                shadow.generation.unlink(copy);
            }
        }
        true
    }

    fn wants_rebuild(&self) -> bool {
        let limit = self.rows.limit as usize;
        // Rows owed to the next checkpoint survive a rebuild; it would free nothing by them.
        let owed = self.taken.as_ref().map_or(0, |t| t.dead.len());
        let freed = self.forgotten.saturating_sub(owed);
        let worthwhile = freed >= REBUILD_ROWS_MIN && freed * 2 > limit;
        let scarce = self.rows.limit >= ROW_IDS_SCARCE && freed * 8 > limit;
        let epochs = self.forgettable_base().0.saturating_sub(self.rows.base.0);
        worthwhile || scarce || epochs >= EPOCHS_SCARCE
    }

    /// The base that a generation made now would have.
    fn forgettable_base(&self) -> Epoch {
        self.taken.as_ref().map_or(self.oldest, |t| t.epoch.min(self.oldest))
    }

    fn continue_rebuild(&mut self, budget: usize) {
        let forgettable = self.forgettable();
        let Some(shadow) = &mut self.shadow else { return };
        if let Err(error) = shadow.copy(&self.rows, forgettable, budget) {
            // The rows were appended once already, so this is a defect; the original stays in use.
            debug_assert!(false, "a rebuild fails: {error}");
            self.shadow = None;
            return;
        }
        if shadow.is_complete(&self.rows)
            && let Some(shadow) = self.shadow.take()
        {
            self.switch_to(shadow);
        }
    }

    /// Puts the finished shadow in the place of the rows in use: all ids change.
    fn switch_to(&mut self, shadow: Shadow) {
        for version in &mut self.versions {
            version.limit = shadow.rank(version.limit);
        }
        if let Some(taken) = &mut self.taken {
            taken.dead = taken.dead.iter().filter_map(|&row| shadow.translate(row)).collect();
            taken.limit = shadow.rank(taken.limit);
        }
        // Rows kept for the checkpoint only go first: they are forgotten already.
        let doomed = self.doomed.iter().filter_map(|&row| shadow.translate(row));
        self.doomed = shadow.owed.iter().copied().chain(doomed).collect();
        self.forgotten = 0;
        self.replace(shadow.generation);
    }

    fn replace(&mut self, generation: Generation) {
        let old = std::mem::replace(&mut self.rows, generation);
        let links = Arc::downgrade(&old.links);
        let bytes = old.bytes();
        drop(old);
        if links.strong_count() > 0 {
            self.retired.push((links, bytes));
        }
    }

    /// Frees everything when no row is visible as of any epoch that can be read, and no checkpoint is
    /// owed a row.
    fn reset_if_empty(&mut self) -> bool {
        let owed = self.taken.as_ref().is_some_and(|t| !t.dead.is_empty());
        if self.rows() > 0 || self.versions.len() > 1 || owed {
            return false;
        }
        if self.rows.limit > 0 {
            self.replace(Generation::new(self.shape.clone(), self.oldest));
            self.shadow = None;
            self.doomed = VecDeque::new();
            (self.forgotten, self.fresh) = (0, 0);
            self.versions[0].limit = 0;
            if let Some(taken) = &mut self.taken {
                taken.limit = 0;
                taken.dead = vec![];
            }
        }
        true
    }

    /// A generation without rows counts deaths from wherever the first ones come.
    fn rebase_if_empty(&mut self, epoch: Epoch) {
        if self.rows.limit == 0 && epoch.0 - self.rows.base.0 >= EPOCHS_SCARCE {
            self.rows.base = self.oldest;
        }
    }

    /// What changed since the last call, as of the last epoch, as batches of deletes and inserts that
    /// together are the exact change; at the first call everything visible, as inserts. Applied, in
    /// order, to an empty arrangement (one epoch a call) they restore it.
    ///
    /// After the first call the arrangement remembers which of the rows handed over died; rows that
    /// came and went between two calls leave no trace.
    pub fn take_changes(&mut self) -> Result<Vec<ChangeBatch>> {
        let snapshot = self.snapshot(self.epoch);
        let mut out = vec![];
        let from = match &self.taken {
            None => 0,
            Some(taken) => {
                for rows in taken.dead.chunks(HANDED_OVER_ROWS) {
                    let columns = snapshot.gather(rows)?;
                    let schema = self.shape.schema.clone();
                    let batch = crate::change::batch_of(schema, columns, rows.len())
                        .map_err(|e| Error::internal(format!("cannot hand over deletes: {e}")))?;
                    out.push(ChangeBatch::deletes(batch));
                }
                taken.limit
            }
        };
        out.extend(snapshot.scan_from(from).into_iter().map(ChangeBatch::inserts));
        self.taken = Some(Taken { epoch: self.epoch, limit: self.rows.limit, dead: vec![] });
        Ok(out)
    }
}
