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
    /// Defaults that call a sequence which goes: columns of tables that stay.
    pub defaults: Vec<(Arc<Object>, usize)>,
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
        let named = HashSet::from_iter(named.iter().copied());
        for sequence in &objects {
            self.check_not_required(sequence, &named)?;
        }
        self.plan(objects, &named, cascade, &what)
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

    /// Plans to drop what depends on a column of a table: these objects, and all that depend on them, beside the sequences
    /// that the column owns.
    pub fn plan_drop_column(
        &self,
        table: &Object,
        column: &str,
        dependents: &[ObjectId],
        owned: &[ObjectId],
        cascade: bool,
    ) -> Result<DropPlan> {
        let mut walk = Walk::new(self);
        let what = format!("column {column} of {}", table.label());
        let direct: Vec<_> = dependents.iter().filter_map(|id| self.get(*id)).collect();
        let line = |d: &&Arc<Object>| (d.id, format!("{} depends on {what}", d.label()));
        walk.lines.extend(direct.iter().map(line));
        // The notice names them from the last to the first.
        direct.into_iter().rev().for_each(|object| walk.visit(object));
        owned.iter().filter_map(|id| self.get(*id)).for_each(|object| walk.visit(object));
        let mut defaults = walk.finish();
        // Its own default goes with the column anyway.
        defaults.retain(|(other, at)| {
            other.id != table.id || other.columns.field(*at).name() != column
        });
        let told = walk.order.iter().filter(|o| !walk.is_part(o) && !owned.contains(&o.id));
        let told: Vec<_> = told.cloned().collect();
        if !(cascade || told.is_empty() && defaults.is_empty()) {
            let lines = walk.lines.into_iter().map(|(_, line)| line);
            let lines = lines.chain(defaults.iter().map(|default| walk_line(self, default)));
            return Err(restricted(&what, lines.collect()));
        }
        let notice = cascade_notice(&told, &defaults);
        Ok(DropPlan { objects: walk.order, defaults, notice })
    }

    /// 2BP01 for a sequence that an identity column counts by and an index that a constraint is judged by, unless the table
    /// goes too.
    fn check_not_required(&self, part: &Object, named: &HashSet<ObjectId>) -> Result<()> {
        if let ObjectKind::Index { on, unique: Some(unique), .. } = &part.kind
            && unique.constraint
            && !named.contains(on)
        {
            let table = self.get(*on).map(|table| table.label()).unwrap_or_default();
            let constraint = format!("constraint {} on {table}", part.name);
            let message = format!("cannot drop {} because {constraint} requires it", part.label());
            return Err(Error::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
                .with_hint(format!("You can drop {constraint} instead.")));
        }
        let ObjectKind::Sequence { owner: Some(owner), .. } = &part.kind else { return Ok(()) };
        let Some(table) = self.get_by_oid(owner.table).filter(|_| owner.is_identity) else {
            return Ok(());
        };
        if named.contains(&table.id) {
            return Ok(());
        }
        let column = table.columns.field(owner.column).name();
        let column = format!("column {column} of {}", table.label());
        let message = format!("cannot drop {} because {column} requires it", part.label());
        Err(Error::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
            .with_hint(format!("You can drop {column} instead.")))
    }

    fn plan(
        &self,
        roots: Vec<Arc<Object>>,
        named: &HashSet<ObjectId>,
        cascade: bool,
        what: &str,
    ) -> Result<DropPlan> {
        let mut walk = Walk::new(self);
        for root in &roots {
            walk.visit(root);
        }
        let defaults = walk.finish();
        let others = walk.order.iter().filter(|o| !named.contains(&o.id) && !walk.is_part(o));
        let others: Vec<_> = others.cloned().collect();
        if !(cascade || others.is_empty() && defaults.is_empty()) {
            let lines = walk
                .lines
                .iter()
                .filter(|(id, _)| !named.contains(id))
                .map(|(_, line)| line.clone());
            let lines = lines.chain(defaults.iter().map(|default| walk_line(self, default)));
            return Err(restricted(what, lines.collect()));
        }
        let notice = cascade_notice(&others, &defaults);
        Ok(DropPlan { objects: walk.order, defaults, notice })
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

impl<'a> Walk<'a> {
    fn new(catalog: &'a CatalogSnapshot) -> Walk<'a> {
        Walk { catalog, seen: HashSet::new(), order: vec![], lines: vec![] }
    }

    /// Whether an object goes with what it is a part of, without a word: an index, or a sequence with its column.
    fn is_part(&self, object: &Object) -> bool {
        match &object.kind {
            ObjectKind::Index { .. } => true,
            ObjectKind::Sequence { owner: Some(owner), .. } => {
                let table = self.catalog.get_by_oid(owner.table);
                table.is_some_and(|table| self.seen.contains(&table.id))
            }
            _ => false,
        }
    }

    /// Puts sequences behind the tables whose defaults call them; gives the defaults of tables that stay.
    fn finish(&mut self) -> Vec<(Arc<Object>, usize)> {
        let is_sequence = |object: &Arc<Object>| matches!(object.kind, ObjectKind::Sequence { .. });
        self.order.sort_by_key(is_sequence);
        let mut defaults = vec![];
        for sequence in self.order.iter().filter(|object| is_sequence(object)) {
            let tables = self.catalog.dependents(sequence.id);
            for table in tables.filter(|object| !self.seen.contains(&object.id)) {
                let calls = |at: &usize| table.sequences_of(*at).contains(&sequence.oid);
                let columns = (0..table.columns.fields().len()).filter(calls);
                defaults.extend(columns.map(|at| (table.clone(), at)));
            }
        }
        defaults
    }

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
            let mut dependents: Vec<_> = self.catalog.dependents(object.id).cloned().collect();
            if matches!(object.kind, ObjectKind::Sequence { .. }) {
                // Of a table only the default depends on it.
                dependents.retain(|d| !matches!(d.kind, ObjectKind::Table { .. }));
            }
            let line =
                |d: &Arc<Object>| (d.id, format!("{} depends on {}", d.label(), object.label()));
            let told = dependents.iter().filter(|d| !matches!(d.kind, ObjectKind::Index { .. }));
            self.lines.extend(told.map(line));
            let owned = self.catalog.sequences_owned_by(object.oid).cloned();
            stack.extend(owned.map(|sequence| (sequence, false)));
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

/// `default value for column a of table t`.
fn default_label((table, column): &(Arc<Object>, usize)) -> String {
    let column = table.columns.field(*column).name();
    format!("default value for column {column} of {}", table.label())
}

/// What a default depends on that goes, as a line of DETAIL.
fn walk_line(catalog: &CatalogSnapshot, default: &(Arc<Object>, usize)) -> String {
    let called = default.0.sequences_of(default.1);
    let sequence = called.first().and_then(|oid| catalog.get_by_oid(*oid));
    let sequence = sequence.map(|sequence| sequence.label()).unwrap_or_default();
    format!("{} depends on {sequence}", default_label(default))
}

fn cascade_notice(others: &[Arc<Object>], defaults: &[(Arc<Object>, usize)]) -> Option<Error> {
    let objects = others.iter().rev().map(|object| object.label());
    let labels = objects.chain(defaults.iter().map(default_label));
    let mut lines: Vec<_> = labels.map(|label| format!("drop cascades to {label}")).collect();
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
