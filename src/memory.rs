//! The one account of the server's memory: arrangements, batches in flight, readers' queues, sessions and queries.
//!
//! Owns a limit and the sum of what is held under it; it allocates nothing itself. Whoever holds memory holds a
//! [`Reservation`] of the same size. The invariant: the account's sum is the sum of all live reservations, so dropping
//! one always gives its bytes back.
//!
//! The limit is cut in bands, so that a full server can still be emptied:
//!
//! ```text
//! 0 ........ resume ........ pause ........ write limit ........ limit
//!                              |                |                  |
//!             sources pause ---+                |                  |
//!             INSERT and hydration fail with 53200                 |
//!                              DELETE, TRUNCATE, DROP, reads fail -+
//! ```
//!
//! Sources pause before statements are refused: they can wait, a client cannot. They resume only below `resume`, so that
//! they do not start and stop with every row that leaves.
//!
//! The account knows only what it is told. What it is not told (allocator slack, stacks, code) must fit between the limit
//! and the machine's memory: that is why the default limit is 80% of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use datafusion::common::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};

use crate::config::ByteSize;
use crate::error::{Error, Result, SqlState};

/// The part of the limit kept for getting out of trouble: a tenth ...
const RESERVE_SHARE: u64 = 10;
/// ... but not below what one statement needs for its batches ...
const RESERVE_BYTES_MIN: u64 = 8 << 20;
/// ... and not above what frees a server of any size.
const RESERVE_BYTES_MAX: u64 = 1 << 30;
/// All queries together take at most this share of the limit, so that reading never stops the taking in of events for
/// long: half.
const QUERY_SHARE: u64 = 2;

/// Who holds memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// Live tables, join inputs, indexes, upsert folds and operators' state.
    Arrangement,
    /// Change batches on their way through the dataflow.
    InFlight,
    /// Queues of source readers, those of client libraries included.
    Reader,
    /// Sessions: prepared statements, results not yet sent.
    Session,
    /// Ad-hoc queries: DataFusion's pool.
    Query,
}

impl Holder {
    pub const ALL: [Holder; 5] =
        [Holder::Arrangement, Holder::InFlight, Holder::Reader, Holder::Session, Holder::Query];

    /// The name in metrics and messages.
    pub fn name(self) -> &'static str {
        match self {
            Holder::Arrangement => "arrangements",
            Holder::InFlight => "in_flight",
            Holder::Reader => "readers",
            Holder::Session => "sessions",
            Holder::Query => "queries",
        }
    }
}

/// Which band of the limit a demand may reach into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// INSERT, hydration, anything that makes the server fuller: up to the write limit.
    Write,
    /// DELETE, TRUNCATE, DROP, reads: the reserve too.
    Relief,
}

/// What the fill asks of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    None,
    /// Sources add no rows to new epochs.
    PauseSources,
    /// Sources pause, and INSERT and hydration are refused.
    RefuseWrites,
}

/// The account. Shared as an `Arc`; all methods are lock-free.
pub struct MemoryAccount {
    bands: Bands,
    used: AtomicU64,
    by_holder: [AtomicU64; Holder::ALL.len()],
    /// Set at `pause`, cleared below `resume`.
    paused: AtomicBool,
}

/// Ascending fills, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bands {
    resume: u64,
    pause: u64,
    write_limit: u64,
    limit: u64,
}

impl Bands {
    fn of(limit: u64) -> Bands {
        // A quarter bounds the reserve of servers smaller than the minimum was made for.
        let reserve =
            (limit / RESERVE_SHARE).clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX).min(limit / 4);
        let write_limit = limit - reserve;
        let pause = write_limit - reserve / 2;
        Bands { resume: pause - reserve / 2, pause, write_limit, limit }
    }
}

impl MemoryAccount {
    /// An empty account over `limit` bytes.
    pub fn new(limit: u64) -> Arc<MemoryAccount> {
        Arc::new(MemoryAccount {
            bands: Bands::of(limit),
            used: AtomicU64::new(0),
            by_holder: Default::default(),
            paused: AtomicBool::new(false),
        })
    }

    pub fn limit(&self) -> u64 {
        self.bands.limit
    }

    /// The fill at which writes are refused.
    pub fn write_limit(&self) -> u64 {
        self.bands.write_limit
    }

    /// Bytes of all reservations.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub fn used_by(&self, holder: Holder) -> u64 {
        self.by_holder[holder as usize].load(Ordering::Relaxed)
    }

    /// What the present fill asks for. Sources ask before each epoch.
    pub fn pressure(&self) -> Pressure {
        let used = self.used();
        if used >= self.bands.write_limit {
            self.paused.store(true, Ordering::Relaxed);
            return Pressure::RefuseWrites;
        }
        if used >= self.bands.pause {
            self.paused.store(true, Ordering::Relaxed);
        } else if used < self.bands.resume {
            self.paused.store(false, Ordering::Relaxed);
        }
        match self.paused.load(Ordering::Relaxed) {
            true => Pressure::PauseSources,
            false => Pressure::None,
        }
    }

    /// Whether a demand of `bytes` would be granted now, without reserving them: for a statement that is admitted before
    /// its rows are built. `what` names it in the error, such as `INSERT`.
    pub fn admit(&self, purpose: Purpose, what: &str, bytes: u64) -> Result<()> {
        let used = self.used();
        match used.checked_add(bytes).is_some_and(|sum| sum <= self.ceiling(purpose)) {
            true => Ok(()),
            false => Err(self.out_of_memory(what, bytes, used)),
        }
    }

    /// An empty reservation. `name` says in messages who asks: an object's or a query's name.
    pub fn reserve(self: &Arc<Self>, holder: Holder, name: impl Into<Arc<str>>) -> Reservation {
        Reservation { account: self.clone(), holder, name: name.into(), bytes: AtomicU64::new(0) }
    }

    fn ceiling(&self, purpose: Purpose) -> u64 {
        match purpose {
            Purpose::Write => self.bands.write_limit,
            Purpose::Relief => self.bands.limit,
        }
    }

    fn add(&self, holder: Holder, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        self.by_holder[holder as usize].fetch_add(bytes, Ordering::Relaxed);
    }

    fn sub(&self, holder: Holder, bytes: u64) {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "the account holds the sum of its reservations");
        self.by_holder[holder as usize].fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Adds `bytes` only if the sum stays within `ceiling`; gives back the sum that was in the way otherwise.
    fn try_add(&self, holder: Holder, bytes: u64, ceiling: u64) -> Result<(), u64> {
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|sum| *sum <= ceiling)
        })?;
        self.by_holder[holder as usize].fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn out_of_memory(&self, what: &str, bytes: u64, used: u64) -> Error {
        let [needs, used, limit, kept] =
            [bytes, used, self.bands.limit, self.bands.limit - self.bands.write_limit]
                .map(ByteSize);
        Error::new(SqlState::OUT_OF_MEMORY, "out of memory")
            .with_detail(format!(
                "{what} needs {needs}; {used} of the memory limit of {limit} are in use, and {kept} of it are kept for \
                 DELETE, DROP and reads."
            ))
            .with_hint(
                "Delete rows, drop what is not needed, or start the server with a higher --memory-limit.",
            )
    }
}

impl fmt::Debug for MemoryAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (used, limit) = (ByteSize(self.used()), ByteSize(self.limit()));
        write!(f, "MemoryAccount({used} of {limit})")
    }
}

/// Bytes held by one object, session or query; given back when dropped.
///
/// Growing is cheap (two atomic additions) but not free: callers grow by batch or chunk, never by row.
pub struct Reservation {
    account: Arc<MemoryAccount>,
    holder: Holder,
    name: Arc<str>,
    bytes: AtomicU64,
}

impl Reservation {
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Takes `bytes` more, also past the limit: for memory that is held already, which refusing would only hide.
    pub fn grow(&self, bytes: u64) {
        self.account.add(self.holder, bytes);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes `bytes` more where the purpose allows it; otherwise nothing is taken and the error is 53200.
    pub fn try_grow(&self, purpose: Purpose, bytes: u64) -> Result<()> {
        let ceiling = self.account.ceiling(purpose);
        self.account
            .try_add(self.holder, bytes, ceiling)
            .map_err(|used| self.account.out_of_memory(&self.name, bytes, used))?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Gives `bytes` back; more than is held gives back all.
    pub fn shrink(&self, bytes: u64) {
        let before = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                Some(held.saturating_sub(bytes))
            })
            .expect("the closure never refuses");
        self.account.sub(self.holder, before.min(bytes));
    }

    /// Sets what is held to `bytes`, also past the limit: for holders that measure themselves anew.
    pub fn set(&self, bytes: u64) {
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        match bytes >= before {
            true => self.account.add(self.holder, bytes - before),
            false => self.account.sub(self.holder, before - bytes),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.account.sub(self.holder, *self.bytes.get_mut());
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reservation({} for {:?} {})", ByteSize(self.bytes()), self.holder, self.name)
    }
}

/// DataFusion's pool over the account: queries take what they need out of the whole limit, reserve included, and all of
/// them together at most half of it.
///
/// First come, first served: an operator that can spill is refused and spills, one that cannot fails its query with
/// `ResourcesExhausted` (53200 to the client).
#[derive(Debug)]
pub struct QueryPool {
    account: Arc<MemoryAccount>,
    queries_limit: u64,
}

impl QueryPool {
    pub fn new(account: Arc<MemoryAccount>) -> Arc<QueryPool> {
        let queries_limit = account.limit() / QUERY_SHARE;
        Arc::new(QueryPool { account, queries_limit })
    }

    fn refusal(&self, consumer: &MemoryConsumer, bytes: u64) -> DataFusionError {
        let [needs, queries, used, limit] =
            [bytes, self.account.used_by(Holder::Query), self.account.used(), self.account.limit()]
                .map(ByteSize);
        DataFusionError::ResourcesExhausted(format!(
            "out of memory: {} needs {needs}; queries hold {queries} and the server {used} of the memory limit of {limit}",
            consumer.name()
        ))
    }
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (queries at most {})", self.name(), ByteSize(self.queries_limit))
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &str {
        "tidewater"
    }

    fn grow(&self, _reservation: &MemoryReservation, additional: usize) {
        self.account.add(Holder::Query, additional as u64);
    }

    fn shrink(&self, _reservation: &MemoryReservation, shrink: usize) {
        self.account.sub(Holder::Query, shrink as u64);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> DataFusionResult<()> {
        let bytes = additional as u64;
        // Two queries may both pass the first check and together exceed their share by one demand; the second check,
        // against the account's limit, is exact.
        let queries = self.account.used_by(Holder::Query);
        let within_share = queries.checked_add(bytes).is_some_and(|sum| sum <= self.queries_limit);
        let granted = within_share
            && self.account.try_add(Holder::Query, bytes, self.account.limit()).is_ok();
        match granted {
            true => Ok(()),
            false => Err(self.refusal(reservation.consumer(), bytes)),
        }
    }

    fn reserved(&self) -> usize {
        self.account.used_by(Holder::Query) as usize
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.queries_limit as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn account(limit_mib: u64) -> Arc<MemoryAccount> {
        MemoryAccount::new(limit_mib * MIB)
    }

    #[test]
    fn bands_ascend_for_every_limit() {
        for limit in [32 * MIB, 100 * MIB, 1 << 30, 1 << 34, 1 << 40] {
            let Bands { resume, pause, write_limit, limit } = Bands::of(limit);
            assert!(0 < resume && resume < pause && pause < write_limit && write_limit < limit);
            assert!(limit - write_limit <= RESERVE_BYTES_MAX);
        }
        assert_eq!(Bands::of(1000 * MIB).write_limit, 900 * MIB);
    }

    #[test]
    fn a_dropped_reservation_gives_its_bytes_back() {
        let account = account(1000);
        let table = account.reserve(Holder::Arrangement, "orders");
        table.grow(10);
        table.try_grow(Purpose::Write, 5).unwrap();
        table.shrink(3);
        assert_eq!((account.used(), account.used_by(Holder::Arrangement)), (12, 12));
        table.set(100);
        assert_eq!(account.used(), 100);
        table.set(1);
        table.shrink(7);
        assert_eq!((account.used(), table.bytes()), (0, 0));
        table.grow(9);
        drop(table);
        assert_eq!(account.used(), 0);
    }

    #[test]
    fn a_write_is_refused_at_the_write_limit_and_a_delete_goes_on_out_of_the_reserve() {
        let account = account(1000);
        let table = account.reserve(Holder::Arrangement, "orders");
        table.grow(899 * MIB);
        let insert = account.reserve(Holder::InFlight, "INSERT");
        let error = insert.try_grow(Purpose::Write, 2 * MIB).unwrap_err();
        assert_eq!(
            (error.code, error.message.as_str()),
            (SqlState::OUT_OF_MEMORY, "out of memory")
        );
        assert_eq!(
            error.detail.unwrap(),
            "INSERT needs 2 MiB; 899 MiB of the memory limit of 1000 MiB are in use, and 100 MiB of it are kept for \
             DELETE, DROP and reads."
        );
        assert!(error.hint.unwrap().contains("--memory-limit"));
        assert_eq!(insert.bytes(), 0);
        insert.try_grow(Purpose::Relief, 2 * MIB).unwrap();
        account.admit(Purpose::Write, "INSERT", 0).unwrap_err();
        account.admit(Purpose::Relief, "DELETE", 99 * MIB).unwrap();
        insert.try_grow(Purpose::Relief, 100 * MIB).unwrap_err();
        table.shrink(500 * MIB);
        account.admit(Purpose::Write, "INSERT", MIB).unwrap();
        account.admit(Purpose::Write, "INSERT", u64::MAX).unwrap_err();
    }

    #[test]
    fn paused_sources_resume_only_well_below_the_fill_that_paused_them() {
        let account = account(1000);
        let table = account.reserve(Holder::Arrangement, "orders");
        let pressure_at = |mib: u64| {
            table.set(mib * MIB);
            account.pressure()
        };
        assert_eq!(pressure_at(849), Pressure::None);
        assert_eq!(pressure_at(850), Pressure::PauseSources);
        assert_eq!(pressure_at(801), Pressure::PauseSources);
        assert_eq!(pressure_at(799), Pressure::None);
        assert_eq!(pressure_at(849), Pressure::None);
        assert_eq!(pressure_at(900), Pressure::RefuseWrites);
        assert_eq!(pressure_at(2000), Pressure::RefuseWrites);
        assert_eq!(pressure_at(840), Pressure::PauseSources);
        assert_eq!(pressure_at(0), Pressure::None);
    }

    #[test]
    fn queries_share_the_account_and_are_bounded_by_half_of_it() {
        let account = account(1000);
        let pool: Arc<dyn MemoryPool> = QueryPool::new(account.clone());
        let sort = MemoryConsumer::new("sort").with_can_spill(true).register(&pool);
        sort.try_grow(400 * MIB as usize).unwrap();
        assert_eq!(account.used_by(Holder::Query), 400 * MIB);
        let error = sort.try_grow(200 * MIB as usize).unwrap_err();
        assert!(matches!(error, DataFusionError::ResourcesExhausted(_)), "{error}");
        let table = account.reserve(Holder::Arrangement, "orders");
        table.grow(599 * MIB);
        sort.try_grow(2 * MIB as usize).unwrap_err();
        sort.try_grow(MIB as usize).unwrap();
        assert_eq!(pool.reserved() as u64, 401 * MIB);
        drop(sort);
        assert_eq!((account.used(), pool.reserved()), (599 * MIB, 0));
    }

    #[test]
    fn threads_never_overdraw_the_account_together() {
        let account = account(32);
        let write_limit = account.write_limit();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let account = account.clone();
                scope.spawn(move || {
                    let mine = account.reserve(Holder::InFlight, "batch");
                    for _ in 0..2_000 {
                        if mine.try_grow(Purpose::Write, MIB).is_err() {
                            mine.shrink(2 * MIB);
                        }
                        assert!(account.used() <= write_limit);
                    }
                });
            }
        });
        assert_eq!(account.used(), 0);
    }
}
