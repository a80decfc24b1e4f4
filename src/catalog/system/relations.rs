//! The system relations about users' objects: pg_class, pg_attribute, pg_index, pg_constraint, pg_attrdef and their like.
//!
//! Tables are relkind 'r', views 'v', materialized views 'm', sources foreign tables ('f') of a server named after their
//! connector. Sinks hold no rows and are not relations here: SHOW SINKS lists them.

use std::collections::BTreeSet;

use arrow_schema::{DataType, Field};

use super::SystemContext;
use super::cells::{Cell, Row, row};
use super::columns::{self, SystemTable};
use super::{fixed, functions, sequences};
use crate::catalog::object::{Object, ObjectKind, Oid, Unique};
use crate::catalog::rules::{Check, Generation};
use crate::sql::{parse_expr, sequences_called, show_sequences};
use crate::types::{PgType, format_type, pg_type_of, type_modifier};

pub(super) const PG_CLASS_OID: i64 = 1259;
const PG_REWRITE_OID: i64 = 2618;
pub(super) const DATABASE_OID: i64 = 1;
pub(super) const OWNER_OID: i64 = 10;
pub(super) const TABLESPACE_OID: i64 = 1663;

/// OIDs of the access methods and the default collation, as in PostgreSQL.
const HEAP: i64 = 2;
const BTREE: i64 = 403;
const DEFAULT_COLLATION: i64 = 100;

/// Foreign servers are numbered from here, by the names of their connectors.
const FIRST_SERVER_OID: i64 = 16_001;
const FOREIGN_DATA_WRAPPER_OID: i64 = 16_000;

/// The rows of a relation that depends on objects; `None` for all others.
pub(super) fn rows(context: &SystemContext, table: &SystemTable) -> Option<Vec<Row>> {
    if table.schema != "pg_catalog" {
        return None;
    }
    Some(match table.name.as_str() {
        "pg_class" => pg_class(context),
        "pg_attribute" => pg_attribute(context),
        "pg_index" => indexes(context).map(|index| pg_index(&index)).collect(),
        "pg_constraint" => {
            let keys = constraints(context).map(|index| pg_constraint(context, &index));
            let checks = checks(context).map(|(o, oid, check)| pg_check(context, o, oid, check));
            keys.chain(checks).collect()
        }
        "pg_attrdef" => pg_attrdef(context),
        "pg_description" => pg_description(context),
        "pg_foreign_table" => pg_foreign_table(context),
        "pg_foreign_server" => pg_foreign_server(context),
        "pg_foreign_data_wrapper" => {
            vec![row! {oid: FOREIGN_DATA_WRAPPER_OID, fdwname: "tidewater", fdwowner: OWNER_OID}]
        }
        "pg_tables" => pg_tables(context),
        "pg_views" => pg_views(context),
        "pg_rewrite" => views(context).map(pg_rewrite).collect(),
        "pg_depend" => {
            let mut rows = sequences::pg_depend(context);
            rows.extend(views(context).flat_map(|view| pg_depend(context, view)));
            rows
        }
        "pg_sequence" => sequences::pg_sequence(context),
        "pg_sequences" => sequences::pg_sequences(context),
        "pg_matviews" => pg_matviews(context),
        "pg_indexes" => pg_indexes(context),
        "pg_stat_user_tables" | "pg_stat_all_tables" => {
            stored(context).map(pg_stat_table).collect()
        }
        _ => return None,
    })
}

/// The objects that are relations to PostgreSQL's clients.
pub(super) fn relations(context: &SystemContext) -> impl Iterator<Item = &Object> {
    let objects = context.snapshot.objects().map(|o| &**o);
    objects.filter(|o| !matches!(o.kind, ObjectKind::Sink { .. } | ObjectKind::Index { .. }))
}

/// An index as clients see it: that of a primary key, or one made by CREATE INDEX.
pub(super) struct Index<'a> {
    pub oid: Oid,
    pub name: String,
    pub schema: &'a str,
    pub table: &'a Object,
    pub key: &'a [usize],
    pub is_primary: bool,
    pub unique: Option<Unique>,
}

impl Index<'_> {
    /// The number of the constraint that it is behind.
    pub fn constraint_oid(&self) -> Option<Oid> {
        match self.unique {
            _ if self.is_primary => Some(self.oid),
            Some(unique) if unique.constraint => Some(self.oid.primary_key_index()),
            Some(_) | None => None,
        }
    }

    /// `PRIMARY KEY (id)`, `UNIQUE (a, b)`.
    pub fn constraint_definition(&self) -> String {
        let what = match self.unique {
            Some(Unique { nulls_distinct: false, .. }) => "UNIQUE NULLS NOT DISTINCT",
            Some(_) => "UNIQUE",
            None => "PRIMARY KEY",
        };
        format!("{what} ({})", columns_list(self.table, self.key))
    }
}

/// The indexes that constraints are judged by.
pub(super) fn constraints(context: &SystemContext) -> impl Iterator<Item = Index<'_>> {
    indexes(context).filter(|index| index.constraint_oid().is_some())
}

pub(super) fn indexes(context: &SystemContext) -> impl Iterator<Item = Index<'_>> {
    let primary = keyed(context).map(|table| Index {
        oid: table.oid.primary_key_index(),
        name: table.primary_key_name(),
        schema: &table.schema,
        table,
        key: table.kind.primary_key(),
        is_primary: true,
        unique: None,
    });
    let named = context.snapshot.objects().filter_map(|index| {
        let ObjectKind::Index { on, key, unique } = &index.kind else { return None };
        let table = context.snapshot.get(*on)?;
        let (oid, name) = (index.oid, index.name.clone());
        let (schema, unique) = (&index.schema, *unique);
        Some(Index { oid, name, schema, table, key, is_primary: false, unique })
    });
    primary.chain(named)
}

/// Whether an object has an index.
fn is_indexed(context: &SystemContext, object: &Object) -> bool {
    indexes(context).any(|index| index.table.id == object.id)
}

/// Tables and materialized views.
fn stored(context: &SystemContext) -> impl Iterator<Item = &Object> {
    relations(context).filter(|o| {
        matches!(o.kind, ObjectKind::Table { .. } | ObjectKind::MaterializedView { .. })
    })
}

/// Relations with a primary key. A source's key is not an index, so foreign tables are left out.
pub(super) fn keyed(context: &SystemContext) -> impl Iterator<Item = &Object> {
    relations(context).filter(
        |o| matches!(&o.kind, ObjectKind::Table { primary_key, .. } if !primary_key.is_empty()),
    )
}

pub(super) fn relkind(object: &Object) -> &'static str {
    match object.kind {
        ObjectKind::Table { .. } => "r",
        ObjectKind::Source { .. } => "f",
        ObjectKind::View { .. } => "v",
        ObjectKind::MaterializedView { .. } => "m",
        ObjectKind::Sink { .. } => "",
        ObjectKind::Index { .. } => "i",
        ObjectKind::Sequence { .. } => "S",
    }
}

pub(super) fn schema_oid(context: &SystemContext, schema: &str) -> i64 {
    context.snapshot.schema(schema).map_or(0, |s| i64::from(s.oid.0))
}

fn pg_class(context: &SystemContext) -> Vec<Row> {
    let system = columns::all().iter().map(|table| {
        row! {
            oid: table.oid, relname: &table.name, relnamespace: schema_oid(context, &table.schema), relowner: OWNER_OID,
            relkind: &table.kind, relpersistence: "p", relreplident: "n", relispopulated: true, reltuples: Cell::Float(-1.0),
            relnatts: table.columns.fields().len() as i64, relam: if table.kind == "r" { HEAP } else { 0 },
        }
    });
    let objects = relations(context).map(|object| {
        let stored = matches!(object.kind, ObjectKind::Table { .. } | ObjectKind::MaterializedView { .. });
        let is_keyed = matches!(object.kind, ObjectKind::Table { .. }) && !object.kind.primary_key().is_empty();
        row! {
            oid: object.oid, relname: &object.name, relnamespace: schema_oid(context, &object.schema),
            relowner: OWNER_OID, relkind: relkind(object), relpersistence: "p", relispopulated: true,
            relreplident: if is_keyed { "d" } else { "n" }, relhasindex: is_indexed(context, object), reltuples: Cell::Float(-1.0),
            relnatts: object.columns.fields().len() as i64, relam: if stored { HEAP } else { 0 },
            relchecks: object.rules().map_or(0, |rules| rules.checks.len() as i64),
        }
    });
    let indexes = indexes(context).map(|index| {
        row! {
            oid: index.oid, relname: &index.name, relnamespace: schema_oid(context, index.schema), relowner: OWNER_OID,
            relkind: "i", relpersistence: "p", relreplident: "n", relispopulated: true, reltuples: Cell::Float(-1.0),
            relam: BTREE, relnatts: index.key.len() as i64,
        }
    });
    system.chain(objects).chain(indexes).collect()
}

fn pg_attribute(context: &SystemContext) -> Vec<Row> {
    let mut rows = vec![];
    for table in columns::all() {
        let fields = table.columns.fields().iter().enumerate();
        rows.extend(
            fields.map(|(i, field)| attribute(table.oid, i, field, !field.is_nullable(), false)),
        );
    }
    for object in relations(context) {
        let fields = object.columns.fields().iter().enumerate();
        rows.extend(fields.map(|(i, field)| {
            let has_default = default_of(context, object, i).is_some();
            let mut row =
                attribute(i64::from(object.oid.0), i, field, is_not_null(object, i), has_default);
            let (identity, generated) = generation_codes(object, i);
            row.push(("attidentity", Cell::Text(identity.to_owned())));
            row.push(("attgenerated", Cell::Text(generated.to_owned())));
            row
        }));
    }
    for index in indexes(context) {
        let keys = index.key.iter().enumerate();
        rows.extend(keys.map(|(i, key)| {
            attribute(i64::from(index.oid.0), i, index.table.columns.field(*key), false, false)
        }));
    }
    rows
}

/// Views show no NOT NULL, as in PostgreSQL.
pub(super) fn is_not_null(object: &Object, column: usize) -> bool {
    let declared = matches!(object.kind, ObjectKind::Table { .. } | ObjectKind::Source { .. });
    declared
        && (!object.columns.field(column).is_nullable()
            || object.kind.primary_key().contains(&column))
}

/// The text of a column's default, or of the expression that generates it; an identity column has neither.
pub(super) fn default_of(
    context: &SystemContext,
    object: &Object,
    column: usize,
) -> Option<String> {
    match object.generation(column) {
        None => {
            let text = object.default_sql(column)?;
            let name = |oid| functions::class_name(context, i64::from(oid));
            Some(shown_default(&text, &name))
        }
        Some(Generation::Stored(text)) => Some(text.clone()),
        Some(Generation::Identity { .. }) => None,
    }
}

/// A default with the names of the sequences that it calls.
pub fn shown_default(text: &str, name: &dyn Fn(u32) -> Option<String>) -> String {
    if sequences_called(text).is_empty() {
        return text.to_owned();
    }
    let Ok(mut expr) = parse_expr(text) else { return text.to_owned() };
    match show_sequences(&mut expr, name) {
        Ok(()) => expr.to_string(),
        Err(_) => text.to_owned(),
    }
}

/// A default, or the expression that generates a column, with the number that it has as an object.
pub(super) struct Default<'a> {
    pub oid: i64,
    pub object: &'a Object,
    pub column: usize,
    pub text: String,
}

pub(super) fn defaults(context: &SystemContext) -> Vec<Default<'_>> {
    let mut defaults = vec![];
    for object in relations(context) {
        for column in 0..object.columns.fields().len() {
            if let Some(text) = default_of(context, object, column) {
                let oid = defaults.len() as i64 + 1;
                defaults.push(Default { oid, object, column, text });
            }
        }
    }
    defaults
}

/// attidentity and attgenerated.
fn generation_codes(object: &Object, column: usize) -> (&'static str, &'static str) {
    match object.generation(column) {
        Some(Generation::Identity { always: true, .. }) => ("a", ""),
        Some(Generation::Identity { always: false, .. }) => ("d", ""),
        Some(Generation::Stored(_)) => ("", "s"),
        None => ("", ""),
    }
}

/// CHECK constraints are numbered from here, so many an object.
const FIRST_CHECK_OID: i64 = 1 << 31;
const CHECKS_PER_OBJECT: i64 = 64;

/// All CHECK constraints with their tables and numbers.
pub(super) fn checks(context: &SystemContext) -> impl Iterator<Item = (&Object, i64, &Check)> {
    relations(context).flat_map(|object| {
        let first = FIRST_CHECK_OID + i64::from(object.oid.0) / 4 * CHECKS_PER_OBJECT;
        let checks = object.rules().map_or(&[][..], |rules| &rules.checks);
        checks.iter().zip(first..).map(move |(check, oid)| (object, oid, check))
    })
}

fn pg_check(context: &SystemContext, object: &Object, oid: i64, check: &Check) -> Row {
    row! {
        oid: oid, conname: &check.name, connamespace: schema_oid(context, &object.schema), contype: "c",
        convalidated: check.validated, conrelid: object.oid, confupdtype: " ", confdeltype: " ", confmatchtype: " ",
        conislocal: true, conbin: &check.sql,
    }
}

fn attribute(relation: i64, index: usize, field: &Field, not_null: bool, has_default: bool) -> Row {
    let pg_type = pg_type_of(field);
    let is_text = matches!(pg_type.name, "text" | "varchar" | "bpchar");
    let storage = match pg_type.name {
        "numeric" => "m",
        _ if pg_type.size > 0 => "p",
        _ => "x",
    };
    row! {
        attrelid: relation, attname: field.name(), atttypid: i64::from(pg_type.oid), attstattarget: -1,
        attlen: pg_type.size, attnum: index as i64 + 1, attndims: i64::from(pg_type.element_oid != 0),
        attcacheoff: -1, atttypmod: modifier(field), attbyval: matches!(pg_type.size, 1..=8),
        attalign: alignment(pg_type), attstorage: storage, attnotnull: not_null, atthasdef: has_default,
        attislocal: true, attcollation: if is_text { DEFAULT_COLLATION } else { 0 },
    }
}

/// The type's modifier. Records are all of one type to clients, and maps text: theirs tells them apart to format_type.
fn modifier(field: &Field) -> i32 {
    match pg_type_of(field).sql_name {
        "record" | "record[]" | "map" => record_modifier(field),
        _ => type_modifier(field),
    }
}

fn record_modifier(field: &Field) -> i32 {
    let hash = xxhash_rust::xxh3::xxh3_64(format_type(field).as_bytes());
    (hash & 0x7fff_ffff) as i32
}

/// The type that [`record_modifier`] stands for, of any column there is.
pub(super) fn record_type(context: &SystemContext, oid: i64, modifier: i64) -> Option<String> {
    let fields = relations(context).flat_map(|object| object.columns.fields().iter());
    let mut records = fields.filter(|field| i64::from(pg_type_of(field).oid) == oid);
    let found = records.find(|field| i64::from(record_modifier(field)) == modifier);
    found.map(|field| format_type(field))
}

fn alignment(pg_type: &PgType) -> &'static str {
    match pg_type.size {
        1 => "c",
        2 => "s",
        8 | 16 => "d",
        _ => "i",
    }
}

fn pg_index(index: &Index<'_>) -> Row {
    let keys: Vec<i64> = index.key.iter().map(|k| *k as i64 + 1).collect();
    let count = keys.len() as i64;
    let zeros = || vec![0i64; keys.len()];
    row! {
        indexrelid: index.oid, indrelid: index.table.oid, indnatts: count, indnkeyatts: count,
        indisunique: index.is_primary || index.unique.is_some(),
        indnullsnotdistinct: index.unique.is_some_and(|unique| !unique.nulls_distinct), indisprimary: index.is_primary, indimmediate: true, indisvalid: true,
        indisready: true, indislive: true, indcollation: zeros(), indclass: zeros(), indoption: zeros(),
        indkey: keys.clone(),
    }
}

fn pg_constraint(context: &SystemContext, index: &Index<'_>) -> Row {
    let keys: Vec<i64> = index.key.iter().map(|k| *k as i64 + 1).collect();
    row! {
        oid: index.constraint_oid(), conname: &index.name, connamespace: schema_oid(context, index.schema),
        contype: if index.is_primary { "p" } else { "u" }, convalidated: true, conrelid: index.table.oid,
        conindid: index.oid, confupdtype: " ", confdeltype: " ", confmatchtype: " ",
        conislocal: true, connoinherit: true, conkey: keys,
    }
}

fn pg_attrdef(context: &SystemContext) -> Vec<Row> {
    let row = |d: Default<'_>| {
        row! {oid: d.oid, adrelid: d.object.oid, adnum: d.column as i64 + 1, adbin: d.text}
    };
    defaults(context).into_iter().map(row).collect()
}

fn pg_description(context: &SystemContext) -> Vec<Row> {
    let comments = relations(context)
        .flat_map(|o| o.comments.iter().map(move |(column, text)| (o, column, text)));
    comments
        .map(|(object, column, text)| {
            row! {objoid: object.oid, classoid: PG_CLASS_OID, objsubid: *column as i64, description: text}
        })
        .collect()
}

/// The connectors of all sources, each once, by name.
fn connectors(context: &SystemContext) -> Vec<String> {
    let names: BTreeSet<String> = relations(context).filter_map(connector).collect();
    names.into_iter().collect()
}

fn connector(object: &Object) -> Option<String> {
    match &object.kind {
        ObjectKind::Source { connector, .. } => {
            Some(connector.options.get("connector").unwrap_or("unknown").to_owned())
        }
        ObjectKind::Table { .. }
        | ObjectKind::View { .. }
        | ObjectKind::MaterializedView { .. }
        | ObjectKind::Sink { .. }
        | ObjectKind::Index { .. }
        | ObjectKind::Sequence { .. } => None,
    }
}

fn pg_foreign_server(context: &SystemContext) -> Vec<Row> {
    let servers = connectors(context).into_iter().zip(FIRST_SERVER_OID..);
    servers
        .map(|(name, oid)| row! {oid: oid, srvname: name, srvowner: OWNER_OID, srvfdw: FOREIGN_DATA_WRAPPER_OID})
        .collect()
}

/// Options stay out: some are credentials, and SHOW CREATE SOURCE has the rest.
fn pg_foreign_table(context: &SystemContext) -> Vec<Row> {
    let connectors = connectors(context);
    let tables = relations(context).filter_map(|object| {
        let connector = connector(object)?;
        let server = connectors.iter().position(|c| *c == connector)? as i64;
        Some(row! {ftrelid: object.oid, ftserver: FIRST_SERVER_OID + server})
    });
    tables.collect()
}

fn pg_tables(context: &SystemContext) -> Vec<Row> {
    let system = columns::all().iter().filter(|t| t.kind == "r").map(|t| {
        row! {schemaname: &t.schema, tablename: &t.name, tableowner: crate::catalog::OWNER, hasindexes: false,
              hasrules: false, hastriggers: false, rowsecurity: false}
    });
    let tables = relations(context).filter(|o| matches!(o.kind, ObjectKind::Table { .. })).map(|o| {
        row! {schemaname: &o.schema, tablename: &o.name, tableowner: &o.owner, hasrules: false, hastriggers: false,
              hasindexes: is_indexed(context, o), rowsecurity: false}
    });
    system.chain(tables).collect()
}

/// The text of a view's query as pg_get_viewdef gives it.
pub(super) fn definition(object: &Object) -> Option<String> {
    match &object.kind {
        ObjectKind::View { sql, .. } | ObjectKind::MaterializedView { sql, .. } => {
            Some(format!(" {sql};"))
        }
        ObjectKind::Table { .. }
        | ObjectKind::Source { .. }
        | ObjectKind::Sink { .. }
        | ObjectKind::Index { .. }
        | ObjectKind::Sequence { .. } => None,
    }
}

fn pg_views(context: &SystemContext) -> Vec<Row> {
    let views = relations(context).filter(|o| matches!(o.kind, ObjectKind::View { .. }));
    views
        .map(|o| {
            row! {schemaname: &o.schema, viewname: &o.name, viewowner: &o.owner, definition: definition(o)}
        })
        .collect()
}

fn pg_matviews(context: &SystemContext) -> Vec<Row> {
    let views =
        relations(context).filter(|o| matches!(o.kind, ObjectKind::MaterializedView { .. }));
    views
        .map(|o| {
            row! {schemaname: &o.schema, matviewname: &o.name, matviewowner: &o.owner, definition: definition(o),
                  hasindexes: is_indexed(context, o), ispopulated: true}
        })
        .collect()
}

fn pg_indexes(context: &SystemContext) -> Vec<Row> {
    indexes(context)
        .map(|index| {
            row! {schemaname: index.schema, tablename: &index.table.name, indexname: &index.name,
            indexdef: index_definition(&index)}
        })
        .collect()
}

/// `CREATE UNIQUE INDEX t_pkey ON public.t USING btree (id)`.
pub(super) fn index_definition(index: &Index<'_>) -> String {
    let quote = crate::sql::quote_identifier;
    format!(
        "CREATE {}INDEX {} ON {}.{} USING btree ({}){}",
        if index.is_primary || index.unique.is_some() { "UNIQUE " } else { "" },
        quote(&index.name),
        quote(index.schema),
        quote(&index.table.name),
        columns_list(index.table, index.key),
        match index.unique {
            Some(Unique { nulls_distinct: false, .. }) => " NULLS NOT DISTINCT",
            _ => "",
        }
    )
}

fn columns_list(object: &Object, columns: &[usize]) -> String {
    let names = columns.iter().map(|column| object.columns.field(*column).name());
    names.map(|name| crate::sql::quote_identifier(name)).collect::<Vec<_>>().join(", ")
}

fn views(context: &SystemContext) -> impl Iterator<Item = &Object> {
    let is_view = |kind: &ObjectKind| {
        matches!(kind, ObjectKind::View { .. } | ObjectKind::MaterializedView { .. })
    };
    relations(context).filter(move |object| is_view(&object.kind))
}

/// A view's query is a rule to PostgreSQL. The rule has the number that a table's key would have.
fn pg_rewrite(view: &Object) -> Row {
    row! {
        oid: view.oid.primary_key_index(), rulename: "_RETURN", ev_class: view.oid, ev_type: "1",
        ev_enabled: "O", is_instead: true,
    }
}

/// The rule depends on its view, as a part of it, and on all that the view reads.
fn pg_depend(context: &SystemContext, view: &Object) -> Vec<Row> {
    let depends = |on: Oid, how: &str| {
        row! {
            classid: PG_REWRITE_OID, objid: view.oid.primary_key_index(), objsubid: 0,
            refclassid: PG_CLASS_OID, refobjid: on, refobjsubid: 0, deptype: how,
        }
    };
    let reads = view.depends_on.iter().filter_map(|id| context.snapshot.get(*id));
    let reads = reads.map(|object| depends(object.oid, "n"));
    std::iter::once(depends(view.oid, "i")).chain(reads).collect()
}

fn pg_stat_table(object: &Object) -> Row {
    row! {relid: object.oid, schemaname: &object.schema, relname: &object.name}
}

/// Whether a system relation never has rows, whatever the catalog holds.
pub(super) fn is_always_empty(name: &str) -> bool {
    const EMPTY: &[&str] = &[
        "pg_auth_members",
        "pg_db_role_setting",
        "pg_default_acl",
        "pg_enum",
        "pg_event_trigger",
        "pg_extension",
        "pg_inherits",
        "pg_init_privs",
        "pg_partitioned_table",
        "pg_policies",
        "pg_policy",
        "pg_publication",
        "pg_publication_namespace",
        "pg_publication_rel",
        "pg_publication_tables",
        "pg_rules",
        "pg_statistic",
        "pg_statistic_ext",
        "pg_statistic_ext_data",
        "pg_stats",
        "pg_subscription",
        "pg_trigger",
        "pg_user_mapping",
    ];
    debug_assert!(EMPTY.iter().all(|name| !fixed::is_filled(name)));
    EMPTY.contains(&name)
}

/// The SQL name of a column's type, for information_schema.
pub(super) fn type_words(field: &Field) -> String {
    match field.data_type() {
        DataType::List(_) => "ARRAY".to_owned(),
        _ => pg_type_of(field).sql_name.to_owned(),
    }
}
