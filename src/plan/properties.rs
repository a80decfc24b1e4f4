//! Properties of a node's output from its operator and its inputs' properties.

use std::sync::Arc;

use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;

use super::stream_plan::{JoinKind, Node, Properties};

/// Keys never grow past this many alternatives: joins multiply them.
const KEYS_MAX: usize = 8;

pub fn project(input: &Properties, exprs: &[Arc<dyn PhysicalExpr>]) -> Properties {
    let position = |column: &usize| {
        exprs.iter().position(|e| e.downcast_ref::<Column>().is_some_and(|c| c.index() == *column))
    };
    let keys =
        input.keys.iter().filter_map(|key| key.iter().map(position).collect::<Option<Vec<_>>>());
    Properties { append_only: input.append_only, keys: keys.collect() }
}

pub fn distinct(input: &Properties, columns: usize) -> Properties {
    let keys =
        if input.keys.is_empty() { vec![(0..columns).collect()] } else { input.keys.clone() };
    Properties { append_only: input.append_only, keys }
}

pub fn aggregate(groups: usize) -> Properties {
    Properties { append_only: false, keys: vec![(0..groups).collect()] }
}

pub fn union(inputs: &[&Properties]) -> Properties {
    Properties { append_only: inputs.iter().all(|p| p.append_only), keys: vec![] }
}

/// A row becomes several, and what they were made of may give several equal ones.
pub fn unnest(input: &Properties) -> Properties {
    Properties { append_only: input.append_only, keys: vec![] }
}

/// Rows stay what they were and get further columns, which any other row may change.
pub fn window(input: &Properties) -> Properties {
    Properties { append_only: false, keys: input.keys.clone() }
}

/// `left_width` is the number of the left input's columns.
pub fn join(
    kind: JoinKind,
    left: &Properties,
    right: &Properties,
    left_keys: &[usize],
    right_keys: &[usize],
    left_width: usize,
) -> Properties {
    let unique =
        |p: &Properties, on: &[usize]| p.keys.iter().any(|k| k.iter().all(|c| on.contains(c)));
    let (left_unique, right_unique) = (unique(left, left_keys), unique(right, right_keys));
    let shifted = |key: &Vec<usize>| key.iter().map(|c| c + left_width).collect::<Vec<_>>();
    let mut keys = vec![];
    let append_only = match kind {
        JoinKind::LeftSemi => left.append_only && right.append_only,
        JoinKind::Inner => left.append_only && right.append_only,
        JoinKind::Left
        | JoinKind::Right
        | JoinKind::Full
        | JoinKind::LeftAnti
        | JoinKind::LeftMark => false,
    };
    match kind {
        JoinKind::LeftSemi | JoinKind::LeftAnti | JoinKind::LeftMark => keys = left.keys.clone(),
        JoinKind::Inner | JoinKind::Left | JoinKind::Right => {
            // A left row meets at most one right row: what identified it still does, unless unmatched right rows
            // come with NULLs in its place.
            if right_unique && kind != JoinKind::Right {
                keys.extend(left.keys.iter().cloned());
            }
            if left_unique && kind != JoinKind::Left {
                keys.extend(right.keys.iter().map(shifted));
            }
            if keys.is_empty() {
                combine(left, right, shifted, &mut keys);
            }
        }
        // Unmatched rows of both sides carry NULLs: see `told_apart`.
        JoinKind::Full => combine(left, right, shifted, &mut keys),
    }
    keys.truncate(KEYS_MAX);
    Properties { append_only, keys }
}

/// Of a full join's keys those that are still keys: an unmatched row of one side and one of the other must not both be NULL
/// throughout, so one side's part needs a column that never is.
pub fn told_apart(full: Properties, left: &Node, right: &Node) -> Properties {
    let width = left.schema.fields().len();
    let never_null = |column: &usize| match column.checked_sub(width) {
        None => !left.schema.field(*column).is_nullable(),
        Some(column) => !right.schema.field(column).is_nullable(),
    };
    let keys = full.keys.into_iter().filter(|key| key.iter().any(never_null)).collect();
    Properties { keys, ..full }
}

/// A key of each side together identifies a pair.
fn combine(
    left: &Properties,
    right: &Properties,
    shifted: impl Fn(&Vec<usize>) -> Vec<usize>,
    keys: &mut Vec<Vec<usize>>,
) {
    for l in &left.keys {
        for r in &right.keys {
            keys.push(l.iter().copied().chain(shifted(r)).collect());
        }
    }
}
