//! Plans a DROP: what goes with it under CASCADE, in which order, and what to say under RESTRICT.

use std::collections::HashSet;
use std::sync::Arc;

use super::object::{Object, ObjectId, ObjectKind};
use super::snapshot::CatalogSnapshot;
use crate::error::{Error, Result, SqlState};

/// PostgreSQL lists this many dependents and then tells their number.
const LISTED_MAX: usize = 100;

/// What a DROP removes.
#[derive(Clone, Debug)]
pub struct DropPlan {
    /// Dependents come before what they depend on.
    pub objects: Vec<Arc<Object>>,
    /// The notice about objects that were not named; `None` when there are none.
    pub notice: Option<Error>,
}

impl DropPlan {
    pub fn ids(&self) -> Vec<ObjectId> {
        self.objects.iter().map(|object| object.id).collect()
    }
}

impl CatalogSnapshot {
    /// Plans to drop the objects `named`, and with `cascade` all that depend on them.
    ///
    /// 2BP01 without `cascade` when something that is not named itself depends on one of them.
    pub fn plan_drop(&self, named: &[ObjectId], cascade: bool) -> Result<DropPlan> {
        let objects: Vec<_> = named.iter().filter_map(|id| self.get(*id).cloned()).collect();
        let what = match objects.as_slice() {
            [one] => one.label(),
            _ => "desired object(s)".to_owned(),
        };
        self.plan(objects, &HashSet::from_iter(named.iter().copied()), cascade, &what)
    }

    /// Plans to drop everything in a schema; the schema itself is then dropped by a change of its own.
    pub fn plan_drop_schema(&self, schema: &str, cascade: bool) -> Result<DropPlan> {
        let objects: Vec<_> = self.objects_in(schema).cloned().collect();
        if !cascade && !objects.is_empty() {
            let lines = objects
                .iter()
                .map(|object| format!("{} depends on schema {schema}", object.label()));
            return Err(restricted(&format!("schema {schema}"), lines.collect()));
        }
        self.plan(objects, &HashSet::new(), true, "")
    }

    /// Plans to drop what depends on a column of a table: these objects, and all that depend on them.
    pub fn plan_drop_column(
        &self,
        table: &Object,
        column: &str,
        dependents: &[ObjectId],
        cascade: bool,
    ) -> Result<DropPlan> {
        let mut walk = Walk { catalog: self, seen: HashSet::new(), order: vec![], lines: vec![] };
        let what = format!("column {column} of {}", table.label());
        let direct: Vec<_> = dependents.iter().filter_map(|id| self.get(*id)).collect();
        let line = |d: &&Arc<Object>| (d.id, format!("{} depends on {what}", d.label()));
        walk.lines.extend(direct.iter().map(line));
        // The notice names them from the last to the first.
        direct.into_iter().rev().for_each(|object| walk.visit(object));
        let is_index = |o: &Object| matches!(o.kind, ObjectKind::Index { .. });
        let told: Vec<_> = walk.order.iter().filter(|o| !is_index(o)).cloned().collect();
        if !cascade && !told.is_empty() {
            return Err(restricted(&what, walk.lines.into_iter().map(|(_, line)| line).collect()));
        }
        Ok(DropPlan { objects: walk.order, notice: cascade_notice(&told) })
    }

    fn plan(
        &self,
        roots: Vec<Arc<Object>>,
        named: &HashSet<ObjectId>,
        cascade: bool,
        what: &str,
    ) -> Result<DropPlan> {
        let mut walk = Walk { catalog: self, seen: HashSet::new(), order: vec![], lines: vec![] };
        for root in &roots {
            walk.visit(root);
        }
        // An index goes with what it is on, without a word.
        let is_index = |o: &Object| matches!(o.kind, ObjectKind::Index { .. });
        let others = walk.order.iter().filter(|o| !named.contains(&o.id) && !is_index(o));
        let others: Vec<_> = others.cloned().collect();
        if !cascade && !others.is_empty() {
            let lines = walk
                .lines
                .iter()
                .filter(|(id, _)| !named.contains(id))
                .map(|(_, line)| line.clone());
            return Err(restricted(what, lines.collect()));
        }
        Ok(DropPlan { objects: walk.order, notice: cascade_notice(&others) })
    }
}

/// A depth-first walk over dependents. Its depth is the length of the longest chain of views on views.
struct Walk<'a> {
    catalog: &'a CatalogSnapshot,
    seen: HashSet<ObjectId>,
    order: Vec<Arc<Object>>,
    /// `view b depends on view a`, with the id of b.
    lines: Vec<(ObjectId, String)>,
}

impl Walk<'_> {
    fn visit(&mut self, object: &Arc<Object>) {
        // An explicit stack: chains of views may be longer than a thread's stack is deep.
        let mut stack = vec![(object.clone(), false)];
        while let Some((object, dependents_done)) = stack.pop() {
            if dependents_done {
                self.order.push(object);
                continue;
            }
            if !self.seen.insert(object.id) {
                continue;
            }
            let dependents: Vec<_> = self.catalog.dependents(object.id).cloned().collect();
            let line =
                |d: &Arc<Object>| (d.id, format!("{} depends on {}", d.label(), object.label()));
            let told = dependents.iter().filter(|d| !matches!(d.kind, ObjectKind::Index { .. }));
            self.lines.extend(told.map(line));
            stack.push((object, true));
            stack.extend(dependents.into_iter().rev().map(|dependent| (dependent, false)));
        }
    }
}

fn restricted(what: &str, lines: Vec<String>) -> Error {
    let message = format!("cannot drop {what} because other objects depend on it");
    Error::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
        .with_detail(listed(&lines))
        .with_hint("Use DROP ... CASCADE to drop the dependent objects too.")
}

fn cascade_notice(others: &[Arc<Object>]) -> Option<Error> {
    let mut lines: Vec<_> =
        others.iter().rev().map(|o| format!("drop cascades to {}", o.label())).collect();
    match lines.len() {
        0 => None,
        1 => Some(Error::new(SqlState::SUCCESSFUL_COMPLETION, lines.swap_remove(0))),
        count => Some(
            Error::new(
                SqlState::SUCCESSFUL_COMPLETION,
                format!("drop cascades to {count} other objects"),
            )
            .with_detail(listed(&lines)),
        ),
    }
}

fn listed(lines: &[String]) -> String {
    let mut text = lines.iter().take(LISTED_MAX).map(String::as_str).collect::<Vec<_>>().join("\n");
    if lines.len() > LISTED_MAX {
        text.push_str(&format!("\nand {} other objects", lines.len() - LISTED_MAX));
    }
    text
}
