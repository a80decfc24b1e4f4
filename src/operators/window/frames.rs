//! Which rows of its partition a row's frame holds, as positions from the partition's first row.

use std::fmt;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::SortOptions;
use datafusion::logical_expr::WindowFrame;
use datafusion::logical_expr::window_state::WindowFrameContext;

use super::blocks::Extent;
use super::slices::{Slice, Slices};
use crate::error::{Error, Result, SqlState};

/// Where a frame begins or ends, seen from a row (or its group of peers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The first row of the partition for a start, the last one for an end.
    Unbounded,
    /// So many before it; 0 is the row itself.
    Before(i64),
    After(i64),
}

/// A frame. RANGE without offsets is the same as GROUPS.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    Rows(Bound, Bound),
    Groups(Bound, Bound),
    /// By distances between the values of the only key, which is this column.
    Range {
        frame: Arc<WindowFrame>,
        column: usize,
        options: SortOptions,
    },
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (units, start, end) = match self {
            Frame::Rows(start, end) => ("rows", start, end),
            Frame::Groups(start, end) => ("groups", start, end),
            Frame::Range { frame, .. } => {
                return f.write_str(&frame.to_string().to_lowercase());
            }
        };
        let bound = |bound: &Bound, open: &str| match bound {
            Bound::Unbounded => format!("unbounded {open}"),
            Bound::Before(0) => "current row".to_owned(),
            Bound::Before(n) => format!("{n} preceding"),
            Bound::After(n) => format!("{n} following"),
        };
        let (start, end) = (bound(start, "preceding"), bound(end, "following"));
        write!(f, "{units} between {start} and {end}")
    }
}

impl Frame {
    pub fn starts_unbounded(&self) -> bool {
        match self {
            Frame::Rows(start, _) | Frame::Groups(start, _) => *start == Bound::Unbounded,
            Frame::Range { .. } => false,
        }
    }

    pub fn ends_unbounded(&self) -> bool {
        match self {
            Frame::Rows(_, end) | Frame::Groups(_, end) => *end == Bound::Unbounded,
            Frame::Range { .. } => false,
        }
    }

    /// How far back and ahead of a row its frame's bounds are, where they are bounded.
    pub fn extents(&self) -> (Extent, Extent) {
        let (start, end, extent): (_, _, fn(i64) -> Extent) = match self {
            Frame::Rows(start, end) => (*start, *end, Extent::rows),
            Frame::Groups(start, end) => (*start, *end, Extent::groups),
            Frame::Range { .. } => return (Extent::ALL, Extent::ALL),
        };
        let (mut back, mut ahead) = (extent(0), extent(0));
        for bound in [start, end] {
            match bound {
                Bound::Unbounded => {}
                Bound::Before(n) => back = back.or(extent(n)),
                Bound::After(n) => ahead = ahead.or(extent(n)),
            }
        }
        (back, ahead)
    }

    /// The frame `[start, end)` of each row that is emitted.
    pub fn of_slice(&self, slices: &Slices, slice: &Slice) -> Result<Vec<(i64, i64)>> {
        match self {
            Frame::Rows(start, end) => {
                Ok(slice.emitted().map(|at| rows(*start, *end, slice, at)).collect())
            }
            Frame::Groups(start, end) => Ok(groups(*start, *end, slices, slice)),
            Frame::Range { frame, column, options } => {
                ranges(frame, *options, &slices.columns[*column], slice)
            }
        }
    }
}

fn rows(start: Bound, end: Bound, slice: &Slice, at: usize) -> (i64, i64) {
    let position = slice.position(at);
    let within = |position: i64| position.clamp(0, slice.total);
    let start = match start {
        Bound::Unbounded => 0,
        Bound::Before(n) => within(position.saturating_sub(n)),
        Bound::After(n) => within(position.saturating_add(n)),
    };
    let end = match end {
        Bound::Unbounded => slice.total,
        Bound::Before(n) => within((position + 1).saturating_sub(n)),
        Bound::After(n) => within((position + 1).saturating_add(n)),
    };
    (start, end.max(start))
}

fn groups(start: Bound, end: Bound, slices: &Slices, slice: &Slice) -> Vec<(i64, i64)> {
    let mut starts: Vec<usize> = vec![slice.context.start];
    starts.extend((slice.context.start + 1..slice.context.end).filter(|&at| slices.starts[at]));
    let start_of = |group: i64| match usize::try_from(group) {
        Err(_) => slice.position(slice.context.start),
        Ok(group) => slice.position(starts.get(group).copied().unwrap_or(slice.context.end)),
    };
    let mut group = starts.partition_point(|&first| first <= slice.emit.start).max(1) - 1;
    let frame = |at: usize| {
        while starts.get(group + 1).is_some_and(|&next| next <= at) {
            group += 1;
        }
        let group = group as i64;
        let start = match start {
            Bound::Unbounded => 0,
            Bound::Before(n) => start_of(group.saturating_sub(n)),
            Bound::After(n) => start_of(group.saturating_add(n)),
        };
        let end = match end {
            Bound::Unbounded => slice.total,
            Bound::Before(n) => start_of((group + 1).saturating_sub(n)),
            Bound::After(n) => start_of((group + 1).saturating_add(n)),
        };
        (start, end.max(start))
    };
    slice.emitted().map(frame).collect()
}

/// DataFusion finds these, value by value: the whole partition is there.
fn ranges(
    frame: &Arc<WindowFrame>,
    options: SortOptions,
    column: &ArrayRef,
    slice: &Slice,
) -> Result<Vec<(i64, i64)>> {
    let rows = slice.context.len();
    let keys = [column.slice(slice.context.start, rows)];
    let mut search = WindowFrameContext::new(frame.clone(), vec![options]);
    let mut last = 0..0;
    let mut frames = Vec::with_capacity(rows);
    for row in 0..rows {
        last = search
            .calculate_range(&keys, &last, rows, row)
            .map_err(|e| Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, e.strip_backtrace()))?;
        frames.push((last.start as i64, last.end.max(last.start) as i64));
    }
    let emitted = slice.emit.start - slice.context.start..slice.emit.end - slice.context.start;
    Ok(frames[emitted].to_vec())
}
