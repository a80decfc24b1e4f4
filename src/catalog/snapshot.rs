//! All objects at one moment: look-ups by name, OID and id. Immutable once shared.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::errors::{does_not_exist, not_a, schema_does_not_exist};
use super::object::{Object, ObjectId, ObjectKind, Oid};
use super::system;
use super::{DATABASE, OWNER, TIDEWATER_SCHEMA};
use crate::error::{Error, Result};
use crate::sql::{DropKind, ObjectName};

pub(super) const PUBLIC: &str = "public";
pub(super) const PG_CATALOG: &str = "pg_catalog";
pub(super) const INFORMATION_SCHEMA: &str = "information_schema";

/// A schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaEntry {
    pub oid: Oid,
    pub owner: String,
    /// There from the start and cannot be dropped.
    pub built_in: bool,
}

/// What a relation's name stands for.
#[derive(Clone, Debug)]
pub enum Relation {
    Object(Arc<Object>),
    /// A relation of pg_catalog or information_schema: see [`system::system_table`].
    System {
        schema: &'static str,
        name: String,
    },
}

/// The catalog at one moment.
#[derive(Clone, Debug)]
pub struct CatalogSnapshot {
    /// Grows with every change.
    pub version: u64,
    /// Greater than the numbers of all objects that ever existed.
    pub(super) next_id: u64,
    pub(super) schemas: BTreeMap<String, SchemaEntry>,
    pub(super) objects: HashMap<ObjectId, Arc<Object>>,
    /// Tables, sources, views and sinks share one space of names, as PostgreSQL's relations do.
    pub(super) by_name: BTreeMap<(String, String), ObjectId>,
    pub(super) by_oid: HashMap<Oid, ObjectId>,
    /// Who depends on an object.
    pub(super) dependents: HashMap<ObjectId, BTreeSet<ObjectId>>,
}

impl CatalogSnapshot {
    /// PostgreSQL's numbers for its schemas; that of ours is below the first one for users.
    pub(super) fn initial() -> CatalogSnapshot {
        let schemas = [
            (PG_CATALOG, 11),
            (PUBLIC, 2200),
            (INFORMATION_SCHEMA, 13_000),
            (TIDEWATER_SCHEMA, 16_000),
        ];
        let entry = |oid| SchemaEntry { oid: Oid(oid), owner: OWNER.to_owned(), built_in: true };
        CatalogSnapshot {
            version: 0,
            next_id: 1,
            schemas: schemas.into_iter().map(|(name, oid)| (name.to_owned(), entry(oid))).collect(),
            objects: HashMap::new(),
            by_name: BTreeMap::new(),
            by_oid: HashMap::new(),
            dependents: HashMap::new(),
        }
    }

    pub fn get(&self, id: ObjectId) -> Option<&Arc<Object>> {
        self.objects.get(&id)
    }

    pub fn get_by_oid(&self, oid: Oid) -> Option<&Arc<Object>> {
        self.objects.get(self.by_oid.get(&oid)?)
    }

    /// By exact schema and name.
    pub fn find(&self, schema: &str, name: &str) -> Option<&Arc<Object>> {
        self.objects.get(self.by_name.get(&(schema.to_owned(), name.to_owned()))?)
    }

    /// All objects, ordered by schema and name.
    pub fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.by_name.values().filter_map(|id| self.objects.get(id))
    }

    /// The objects of a schema, ordered by name.
    pub fn objects_in<'a>(&'a self, schema: &'a str) -> impl Iterator<Item = &'a Arc<Object>> {
        self.objects().filter(move |object| object.schema == schema)
    }

    /// All schemas, ordered by name.
    pub fn schemas(&self) -> impl Iterator<Item = (&str, &SchemaEntry)> {
        self.schemas.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    pub fn schema(&self, name: &str) -> Option<&SchemaEntry> {
        self.schemas.get(name)
    }

    /// The sequences that go with a table's columns.
    pub fn sequences_owned_by(&self, table: Oid) -> impl Iterator<Item = &Arc<Object>> {
        self.objects().filter(move |object| {
            matches!(&object.kind, ObjectKind::Sequence { owner: Some(owner), .. }
                if owner.table == table)
        })
    }

    /// The sinks that write to a table.
    pub fn sinks_into(&self, table: ObjectId) -> impl Iterator<Item = &Arc<Object>> {
        self.dependents(table).filter(
            move |o| matches!(o.kind, ObjectKind::Sink { into: Some(id), .. } if id == table),
        )
    }

    /// The objects that read this one directly, oldest first.
    pub fn dependents(&self, id: ObjectId) -> impl Iterator<Item = &Arc<Object>> {
        self.dependents.get(&id).into_iter().flatten().filter_map(|id| self.objects.get(id))
    }

    /// What `name` stands for under a search path. pg_catalog is searched first unless the path names it, as in
    /// PostgreSQL. 42P01 where there is nothing, with the nearest name as hint; 0A000 for another database's name.
    pub fn relation(&self, search_path: &[String], name: &ObjectName) -> Result<Relation> {
        check_database(name)?;
        let found = match &name.schema {
            Some(schema) => self.relation_in(schema, &name.name),
            None => {
                let implicit = (!search_path.iter().any(|s| s == PG_CATALOG)).then_some(PG_CATALOG);
                let path = implicit.into_iter().chain(search_path.iter().map(String::as_str));
                path.into_iter().find_map(|schema| self.relation_in(schema, &name.name))
            }
        };
        found.ok_or_else(|| {
            does_not_exist("relation", name).or_hint(self.nearest(search_path, name))
        })
    }

    fn relation_in(&self, schema: &str, name: &str) -> Option<Relation> {
        if let Some(object) = self.find(schema, name) {
            return Some(Relation::Object(object.clone()));
        }
        let schema = [PG_CATALOG, INFORMATION_SCHEMA, TIDEWATER_SCHEMA]
            .into_iter()
            .find(|s| *s == schema)?;
        system::is_system_table(schema, name)
            .then(|| Relation::System { schema, name: name.to_owned() })
    }

    /// As [`relation`](Self::relation), for statements that work on objects of users only.
    pub fn resolve(&self, search_path: &[String], name: &ObjectName) -> Result<Arc<Object>> {
        match self.relation(search_path, name)? {
            Relation::Object(object) => Ok(object),
            Relation::System { name, .. } => Err(Error::new(
                crate::error::SqlState::INSUFFICIENT_PRIVILEGE,
                format!("permission denied: \"{name}\" is a system catalog"),
            )),
        }
    }

    /// As [`resolve`](Self::resolve), for DROP and SHOW CREATE: 42P01 naming the kind where there is nothing, 42809 where
    /// it is of another kind.
    pub fn resolve_kind(
        &self,
        search_path: &[String],
        name: &ObjectName,
        kind: DropKind,
    ) -> Result<Arc<Object>> {
        check_database(name)?;
        if let Some(schema) = &name.schema
            && self.schema(schema).is_none()
        {
            return Err(schema_does_not_exist(schema));
        }
        let object = match self.resolve(search_path, name) {
            Err(e) if e.code == crate::error::SqlState::UNDEFINED_TABLE => {
                let near = self.nearest(search_path, name);
                return Err(does_not_exist(kind.words(), name).or_hint(near));
            }
            resolved => resolved?,
        };
        if object.kind.drop_kind() == kind { Ok(object) } else { Err(not_a(kind, &object)) }
    }

    /// The schema in which CREATE puts an object: the one named, else the first of the path that exists.
    pub fn creation_schema(&self, search_path: &[String], name: &ObjectName) -> Result<String> {
        check_database(name)?;
        if let Some(schema) = &name.schema {
            return self
                .schema(schema)
                .map(|_| schema.clone())
                .ok_or_else(|| schema_does_not_exist(schema));
        }
        let fits = |schema: &&String| {
            self.schema(schema).is_some() && !crate::sql::is_temporary_schema(schema)
        };
        let first = search_path.iter().find(fits);
        first.cloned().ok_or_else(|| {
            Error::new(
                crate::error::SqlState::INVALID_SCHEMA_NAME,
                "no schema has been selected to create in",
            )
        })
    }

    /// A visible object whose name is one or two slips away from `name`.
    fn nearest(&self, search_path: &[String], name: &ObjectName) -> Option<String> {
        let visible = self.objects().filter(|object| match &name.schema {
            Some(schema) => object.schema == *schema,
            None => search_path.contains(&object.schema),
        });
        let limit = if name.name.len() < 5 { 1 } else { 2 };
        let distances =
            visible.map(|object| (edit_distance(&object.name, &name.name, limit), &object.name));
        let nearest = distances.filter(|(distance, _)| *distance <= limit).min();
        nearest.map(|(_, name)| format!("Perhaps you meant \"{name}\"."))
    }
}

fn check_database(name: &ObjectName) -> Result<()> {
    match &name.database {
        Some(database) if database != DATABASE => Err(Error::unsupported(format!(
            "cross-database references are not implemented: {name}"
        ))),
        _ => Ok(()),
    }
}

/// Insertions, deletions and replacements from one text to the other; anything above `limit` may come as `limit + 1`.
fn edit_distance(a: &str, b: &str, limit: usize) -> usize {
    let b: Vec<char> = b.chars().collect();
    if a.chars().count().abs_diff(b.len()) > limit {
        return limit + 1;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// A hint where there is one.
trait OrHint {
    fn or_hint(self, hint: Option<String>) -> Error;
}

impl OrHint for Error {
    fn or_hint(self, hint: Option<String>) -> Error {
        match hint {
            Some(hint) => self.with_hint(hint),
            None => self,
        }
    }
}
