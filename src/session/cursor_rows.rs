//! The rows behind a cursor, and the place where it stands among them.
//!
//! Rows are drawn from the query when somebody asks for them. What is behind the cursor is forgotten, except with SCROLL: then
//! all that was drawn is kept, on the memory account, and so is what is left of a query whose transaction has ended.

use std::collections::VecDeque;
use std::time::Duration;

use arrow_array::RecordBatch;
use futures::stream::{BoxStream, StreamExt};

use super::subscribe::Subscription;
use crate::change::take_rows;
use crate::error::{Error, Result, SqlState};
use crate::memory::{Purpose, Reservation};
use crate::query::errors::from_arrow;
use crate::sql::FetchDirection;

/// Rows that one step backward gathers.
const BACKWARD_ROWS: u64 = 8_192;

/// Where rows come from that are not drawn yet.
enum Source {
    Query(BoxStream<'static, Result<RecordBatch>>),
    /// There may always be more.
    Subscription(Box<Subscription>),
    /// All are drawn.
    Ended,
}

pub(super) struct CursorRows {
    source: Source,
    kept: VecDeque<RecordBatch>,
    /// Rows before the kept ones.
    passed: u64,
    /// Rows drawn so far, those before the kept ones included.
    drawn: u64,
    /// The row that it stands on, from 1; 0 is before the first one, `drawn + 1` behind the last one.
    position: u64,
    scroll: bool,
    held: Reservation,
}

/// What is left to do of a FETCH or MOVE.
pub(super) struct Motion {
    backward: bool,
    rows: u64,
}

impl Motion {
    fn forward(rows: u64) -> Motion {
        Motion { backward: false, rows }
    }

    fn backward(rows: u64) -> Motion {
        Motion { backward: true, rows }
    }
}

impl CursorRows {
    pub fn new(
        batches: BoxStream<'static, Result<RecordBatch>>,
        scroll: bool,
        held: Reservation,
    ) -> CursorRows {
        CursorRows::over(Source::Query(batches), scroll, held)
    }

    /// Changes as they come. Such a cursor has no end and goes forward only.
    pub fn of_changes(subscription: Subscription, held: Reservation) -> CursorRows {
        CursorRows::over(Source::Subscription(Box::new(subscription)), false, held)
    }

    fn over(source: Source, scroll: bool, held: Reservation) -> CursorRows {
        let kept = VecDeque::new();
        CursorRows { source, kept, passed: 0, drawn: 0, position: 0, scroll, held }
    }

    /// A FETCH begins, which waits for so long for a subscription's next changes.
    pub fn begin_fetch(&mut self, timeout: Option<Duration>) {
        if let Source::Subscription(subscription) = &mut self.source {
            subscription.begin_fetch(timeout);
        }
    }

    /// Goes to where a direction begins; what is left are the rows themselves, for [`Self::step`].
    pub async fn turn(&mut self, direction: FetchDirection) -> Result<Motion> {
        use FetchDirection as D;
        match direction {
            D::ForwardAll => Ok(Motion::forward(u64::MAX)),
            D::Forward(0) | D::Relative(0) => self.again(),
            D::Forward(n) if n > 0 => Ok(Motion::forward(n.unsigned_abs())),
            D::Forward(n) => self.back(n.unsigned_abs()),
            D::BackwardAll => self.back(u64::MAX),
            D::First => self.to(1).await,
            D::Last => self.go_to_last(1).await,
            D::Absolute(n) if n >= 0 => self.to(n.unsigned_abs()).await,
            D::Absolute(n) => self.go_to_last(n.unsigned_abs()).await,
            D::Relative(n) if n > 0 => {
                self.skip_to(self.position.saturating_add(n.unsigned_abs() - 1)).await?;
                Ok(Motion::forward(1))
            }
            D::Relative(n) => {
                self.check_scroll()?;
                self.position = self.position.saturating_sub(n.unsigned_abs() - 1);
                Ok(Motion::backward(1))
            }
        }
    }

    /// The next rows of a motion, in its order; `None` when it is over.
    pub async fn step(&mut self, motion: &mut Motion) -> Result<Option<RecordBatch>> {
        if motion.rows == 0 {
            return Ok(None);
        }
        let batch = match motion.backward {
            false => self.next_rows(motion.rows).await?,
            true => self.previous_rows(motion.rows)?,
        };
        let taken = batch.as_ref().map_or(motion.rows, |batch| batch.num_rows() as u64);
        motion.rows -= taken;
        Ok(batch)
    }

    /// Draws all rows that are left: the query's transaction ends. A subscription is no part of it and goes on.
    pub async fn finish(&mut self) -> Result<()> {
        if let Source::Subscription(_) = self.source {
            return Ok(());
        }
        while let Some(batch) = self.draw().await? {
            self.held.try_grow(Purpose::Write, batch.get_array_memory_size() as u64)?;
            self.kept.push_back(batch);
        }
        Ok(())
    }

    fn check_scroll(&self) -> Result<()> {
        match self.scroll {
            true => Ok(()),
            false => {
                let message = "cursor can only scan forward";
                Err(Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                    .with_hint("Declare it with SCROLL option to enable backward scan."))
            }
        }
    }

    fn back(&self, rows: u64) -> Result<Motion> {
        self.check_scroll()?;
        Ok(Motion::backward(rows))
    }

    /// The row it stands on once more.
    fn again(&mut self) -> Result<Motion> {
        if self.position == 0 || self.position > self.drawn {
            return Ok(Motion::forward(0));
        }
        self.check_scroll()?;
        self.position -= 1;
        Ok(Motion::forward(1))
    }

    /// To the row of a number; 0 is before the first one.
    async fn to(&mut self, row: u64) -> Result<Motion> {
        if row <= self.position {
            self.check_scroll()?;
        }
        let Some(before) = row.checked_sub(1) else {
            self.position = 0;
            return Ok(Motion::forward(0));
        };
        self.skip_to(before).await?;
        Ok(Motion::forward(1))
    }

    /// To the row of a number counted from the last one.
    async fn go_to_last(&mut self, row: u64) -> Result<Motion> {
        self.check_scroll()?;
        self.skip_to(u64::MAX).await?;
        match (self.drawn + 1).checked_sub(row) {
            None | Some(0) => {
                self.position = 0;
                Ok(Motion::forward(0))
            }
            Some(row) => self.to(row).await,
        }
    }

    /// Stands on the row of a number, or behind the last one where there are fewer.
    async fn skip_to(&mut self, row: u64) -> Result<()> {
        if row <= self.drawn && (self.scroll || row <= self.position) {
            self.position = row;
            return Ok(());
        }
        while self.position < row && self.next_rows(row - self.position).await?.is_some() {}
        Ok(())
    }

    /// Up to so many rows behind the position, which moves to the last of them.
    async fn next_rows(&mut self, rows_max: u64) -> Result<Option<RecordBatch>> {
        if self.position >= self.drawn {
            let Some(batch) = self.draw().await? else {
                if let Source::Ended = self.source {
                    self.position = self.drawn + 1;
                }
                return Ok(None);
            };
            let bytes = batch.get_array_memory_size() as u64;
            match self.scroll {
                true => self.held.try_grow(Purpose::Write, bytes)?,
                false => self.held.grow(bytes),
            }
            self.kept.push_back(batch);
        }
        let (batch, at) = self.kept_at(self.position)?;
        let left = batch.num_rows() - at;
        let rows = usize::try_from(rows_max).map_or(left, |max| max.min(left));
        let slice = batch.slice(at, rows);
        self.position += rows as u64;
        while !self.scroll
            && let Some(first) = self.kept.front()
            && self.passed + first.num_rows() as u64 <= self.position
        {
            self.passed += first.num_rows() as u64;
            self.held.shrink(first.get_array_memory_size() as u64);
            self.kept.pop_front();
        }
        Ok(Some(slice))
    }

    /// Up to so many rows before the position, the nearest first; the position moves to the last of them.
    fn previous_rows(&mut self, rows_max: u64) -> Result<Option<RecordBatch>> {
        if self.position <= 1 {
            self.position = 0;
            return Ok(None);
        }
        let (batch, at) = self.kept_at(self.position - 2)?;
        let rows = rows_max.min(BACKWARD_ROWS).min(at as u64 + 1) as usize;
        let indices: Vec<u32> = (0..rows).map(|i| (at - i) as u32).collect();
        let taken = take_rows(batch, &indices).map_err(from_arrow)?;
        self.position -= rows as u64;
        Ok(Some(taken))
    }

    /// The batch with the row behind so many others, and its place in there.
    fn kept_at(&self, before: u64) -> Result<(&RecordBatch, usize)> {
        let mut start = self.passed;
        for batch in &self.kept {
            let end = start + batch.num_rows() as u64;
            if (start..end).contains(&before) {
                return Ok((batch, (before - start) as usize));
            }
            start = end;
        }
        Err(Error::internal("a cursor's row is not kept"))
    }

    /// The next batch with rows of the query.
    async fn draw(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let next = match &mut self.source {
                Source::Query(batches) => batches.next().await.transpose()?,
                Source::Subscription(subscription) => {
                    let batch = subscription.fetched().await?;
                    self.drawn += batch.as_ref().map_or(0, |batch| batch.num_rows() as u64);
                    return Ok(batch);
                }
                Source::Ended => return Ok(None),
            };
            match next {
                Some(batch) if batch.num_rows() == 0 => {}
                Some(batch) => {
                    self.drawn += batch.num_rows() as u64;
                    return Ok(Some(batch));
                }
                None => self.source = Source::Ended,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int32Type;
    use arrow_array::{ArrayRef, Int32Array};
    use std::sync::Arc;

    use super::*;
    use crate::memory::{Holder, MemoryAccount};

    fn cursor(scroll: bool) -> CursorRows {
        let batch = |rows: std::ops::Range<i32>| {
            let column: ArrayRef = Arc::new(Int32Array::from_iter_values(rows));
            Ok(RecordBatch::try_from_iter([("n", column)]).unwrap())
        };
        let batches = futures::stream::iter([batch(1..4), batch(4..4), batch(4..6)]).boxed();
        let held = MemoryAccount::new(1 << 30).reserve(Holder::Session, "cursor");
        CursorRows::new(batches, scroll, held)
    }

    fn fetch(rows: &mut CursorRows, direction: FetchDirection) -> Result<Vec<i32>> {
        futures::executor::block_on(async {
            let mut motion = rows.turn(direction).await?;
            let mut fetched = vec![];
            while let Some(batch) = rows.step(&mut motion).await? {
                fetched.extend(batch.column(0).as_primitive::<Int32Type>().values());
            }
            Ok(fetched)
        })
    }

    #[test]
    fn a_cursor_without_scroll_goes_forward_only() {
        use FetchDirection::*;
        let mut rows = cursor(false);
        for (direction, expected) in [
            (Forward(2), vec![1, 2]),
            (Forward(2), vec![3, 4]),
            (Absolute(5), vec![5]),
            (Forward(1), vec![]),
            (ForwardAll, vec![]),
        ] {
            assert_eq!(fetch(&mut rows, direction).unwrap(), expected, "{direction:?}");
        }
        for direction in [Forward(-1), BackwardAll, First, Last, Absolute(2), Relative(-1)] {
            let error = fetch(&mut rows, direction).unwrap_err();
            assert_eq!(error.code, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "{direction:?}");
        }
        assert!(rows.kept.is_empty(), "what is behind it is forgotten");
    }

    #[test]
    fn a_scroll_cursor_goes_as_postgresql_goes() {
        use FetchDirection::*;
        let mut rows = cursor(true);
        for (direction, expected) in [
            (Forward(-1), vec![]),
            (Forward(2), vec![1, 2]),
            (Forward(0), vec![2]),
            (Forward(-1), vec![1]),
            (Forward(-1), vec![]),
            (Last, vec![5]),
            (Relative(-2), vec![3]),
            (Relative(0), vec![3]),
            (Absolute(-4), vec![2]),
            (Absolute(9), vec![]),
            (Forward(-2), vec![5, 4]),
            (BackwardAll, vec![3, 2, 1]),
            (Absolute(0), vec![]),
            (Relative(3), vec![3]),
            (ForwardAll, vec![4, 5]),
            (First, vec![1]),
            (Absolute(-9), vec![]),
            (ForwardAll, vec![1, 2, 3, 4, 5]),
            (Forward(0), vec![]),
        ] {
            assert_eq!(fetch(&mut rows, direction).unwrap(), expected, "{direction:?}");
        }
    }

    #[test]
    fn a_finished_cursor_stands_where_it_stood() {
        let mut rows = cursor(false);
        assert_eq!(fetch(&mut rows, FetchDirection::Forward(2)).unwrap(), [1, 2]);
        futures::executor::block_on(rows.finish()).unwrap();
        assert_eq!(fetch(&mut rows, FetchDirection::ForwardAll).unwrap(), [3, 4, 5]);
        assert_eq!(rows.held.bytes(), 0);
    }
}
