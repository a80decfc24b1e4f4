//! Names, dependencies and drops, told as PostgreSQL tells them.
#![allow(clippy::unwrap_used)]

use arrow_schema::{DataType, Field, Schema};

use super::*;
use crate::error::{Error, SqlState};
use crate::sql::{DropKind, ObjectName, parse_query};

pub(super) fn path() -> Vec<String> {
    vec!["public".to_owned()]
}

fn object(catalog: &Catalog, name: &str, kind: ObjectKind, depends_on: &[ObjectId]) -> Arc<Object> {
    let (id, oid) = catalog.allocate();
    Arc::new(Object {
        id,
        oid,
        schema: "public".into(),
        name: name.into(),
        columns: Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int32, false),
            Field::new("v", DataType::Utf8, true),
        ])),
        kind,
        depends_on: depends_on.to_vec(),
        create_sql: String::new(),
        created_at: std::time::SystemTime::now(),
        owner: OWNER.into(),
        comments: Default::default(),
    })
}

fn create(catalog: &Catalog, name: &str, kind: ObjectKind, depends_on: &[ObjectId]) -> ObjectId {
    let object = object(catalog, name, kind, depends_on);
    let id = object.id;
    catalog.apply(CatalogChange::Create(object)).unwrap();
    id
}

fn table() -> ObjectKind {
    ObjectKind::Table {
        primary_key: vec![0],
        defaults: vec![None, Some("'a'".into())],
        rules: Default::default(),
        append_only: false,
        connector: None,
    }
}

fn context() -> CreationContext {
    CreationContext { time_zone: "UTC".into(), search_path: path() }
}

fn view() -> ObjectKind {
    let query = Arc::new(*parse_query("select id, v from t").unwrap());
    ObjectKind::View { sql: query.to_string(), query, context: context() }
}

fn materialized_view() -> ObjectKind {
    let query = Arc::new(*parse_query("select id, v from t").unwrap());
    let options = Default::default();
    ObjectKind::MaterializedView {
        sql: query.to_string(),
        query,
        context: context(),
        key: vec![0],
        options,
    }
}

/// Table t, materialized view m on t, view v on m, view w on t and v, and a source named like a reserved word.
pub(super) fn example() -> (Catalog, Vec<ObjectId>) {
    let catalog = Catalog::new();
    let t = create(&catalog, "t", table(), &[]);
    let m = create(&catalog, "m", materialized_view(), &[t]);
    let v = create(&catalog, "v", view(), &[m]);
    let w = create(&catalog, "w", view(), &[t, v]);
    let options = crate::sql::Options(vec![
        ("connector".into(), "kafka".into()),
        ("password".into(), "secret".into()),
    ]);
    let connector = ConnectorSpec { options, ..Default::default() };
    let kind = ObjectKind::Source { primary_key: vec![], connector, watermark: None };
    let source = create(&catalog, "order", kind, &[]);
    (catalog, vec![t, m, v, w, source])
}

fn resolve(catalog: &Catalog, name: &str) -> Result<String, Error> {
    catalog.snapshot().resolve(&path(), &ObjectName::bare(name)).map(|o| o.label())
}

#[test]
fn names_are_found_along_the_search_path() {
    let (catalog, _) = example();
    assert_eq!(resolve(&catalog, "m").unwrap(), "materialized view m");
    assert_eq!(resolve(&catalog, "order").unwrap(), "source \"order\"");
    let error = resolve(&catalog, "ordre").unwrap_err();
    assert_eq!(error.code, SqlState::UNDEFINED_TABLE);
    assert_eq!(error.message, "relation \"ordre\" does not exist");
    assert_eq!(error.hint.as_deref(), Some("Perhaps you meant \"order\"."));
    assert_eq!(resolve(&catalog, "nowhere").unwrap_err().hint, None);
    let snapshot = catalog.snapshot();
    assert!(snapshot.resolve(&[], &ObjectName::bare("t")).is_err());
    assert!(snapshot.resolve(&[], &ObjectName::qualified("public", "t")).is_ok());
    let system = snapshot.relation(&path(), &ObjectName::bare("pg_class")).unwrap();
    assert!(matches!(system, Relation::System { schema: "pg_catalog", .. }));
    assert!(
        snapshot.relation(&path(), &ObjectName::qualified("information_schema", "tables")).is_ok()
    );
    let other = ObjectName { database: Some("x".into()), ..ObjectName::qualified("public", "t") };
    assert_eq!(
        snapshot.relation(&path(), &other).unwrap_err().code,
        SqlState::FEATURE_NOT_SUPPORTED
    );
}

#[test]
fn a_taken_name_and_a_reserved_schema_are_refused_and_change_nothing() {
    let (catalog, _) = example();
    let version = catalog.snapshot().version;
    let error =
        catalog.apply(CatalogChange::Create(object(&catalog, "t", view(), &[]))).unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (SqlState::DUPLICATE_TABLE, "relation \"t\" already exists")
    );
    let mut system = Object::clone(&object(&catalog, "x", view(), &[]));
    system.schema = "pg_catalog".into();
    let error = catalog.apply(CatalogChange::Create(Arc::new(system))).unwrap_err();
    assert_eq!(error.code, SqlState::INSUFFICIENT_PRIVILEGE);
    assert_eq!(catalog.snapshot().version, version);
}

#[test]
fn a_kind_that_does_not_fit_is_named_with_the_right_statement() {
    let (catalog, _) = example();
    let snapshot = catalog.snapshot();
    let error =
        snapshot.resolve_kind(&path(), &ObjectName::bare("m"), DropKind::Table).unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (SqlState::WRONG_OBJECT_TYPE, "\"m\" is not a table")
    );
    assert_eq!(
        error.hint.as_deref(),
        Some("Use DROP MATERIALIZED VIEW to remove a materialized view.")
    );
    let error = snapshot
        .resolve_kind(&path(), &ObjectName::bare("x"), DropKind::MaterializedView)
        .unwrap_err();
    assert_eq!(error.message, "materialized view \"x\" does not exist");
}

#[test]
fn a_drop_is_refused_while_others_depend_and_cascades_in_safe_order() {
    let (catalog, ids) = example();
    let (t, v, w) = (ids[0], ids[2], ids[3]);
    let error = catalog.snapshot().plan_drop(&[t], false).unwrap_err();
    assert_eq!(error.code, SqlState::DEPENDENT_OBJECTS_STILL_EXIST);
    assert_eq!(error.message, "cannot drop table t because other objects depend on it");
    assert_eq!(
        error.detail.as_deref(),
        Some(
            "materialized view m depends on table t\nview w depends on table t\n\
             view v depends on materialized view m\nview w depends on view v"
        )
    );
    assert_eq!(
        error.hint.as_deref(),
        Some("Use DROP ... CASCADE to drop the dependent objects too.")
    );
    assert!(catalog.apply(CatalogChange::Drop(vec![t])).is_err());

    let plan = catalog.snapshot().plan_drop(&[v, w], false).unwrap();
    assert_eq!(plan.ids(), [w, v]);
    assert_eq!(plan.notice, None);

    let plan = catalog.snapshot().plan_drop(&[t], true).unwrap();
    let names: Vec<_> = plan.objects.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(names, ["w", "v", "m", "t"]);
    let notice = plan.notice.clone().unwrap();
    assert_eq!(notice.message, "drop cascades to 3 other objects");
    assert_eq!(
        notice.detail.as_deref(),
        Some(
            "drop cascades to materialized view m\ndrop cascades to view v\ndrop cascades to view w"
        )
    );
    catalog.apply(CatalogChange::Drop(plan.ids())).unwrap();
    assert_eq!(catalog.snapshot().objects().count(), 1);
    assert!(resolve(&catalog, "t").is_err());
}

#[test]
fn a_long_chain_of_views_is_dropped_without_recursion() {
    let catalog = Catalog::new();
    let first = create(&catalog, "v0", view(), &[]);
    let mut last = first;
    for i in 1..2_000 {
        last = create(&catalog, &format!("v{i}"), view(), &[last]);
    }
    let plan = catalog.snapshot().plan_drop(&[first], true).unwrap();
    assert_eq!((plan.objects.len(), plan.ids()[0]), (2_000, last));
}

#[test]
fn schemas_are_created_and_dropped_when_empty() {
    let catalog = Catalog::new();
    let create_schema = |name: &str| {
        let (id, _) = catalog.allocate();
        catalog
            .apply(CatalogChange::CreateSchema { id, name: name.into(), owner: OWNER.into() })
            .map(|_| ())
    };
    create_schema("s").unwrap();
    assert_eq!(create_schema("s").unwrap_err().code, SqlState::DUPLICATE_SCHEMA);
    assert_eq!(create_schema("pg_x").unwrap_err().code, SqlState::RESERVED_NAME);
    let mut inside = Object::clone(&object(&catalog, "t", table(), &[]));
    inside.schema = "s".into();
    catalog.apply(CatalogChange::Create(Arc::new(inside))).unwrap();
    let error = catalog.snapshot().plan_drop_schema("s", false).unwrap_err();
    assert_eq!(error.detail.as_deref(), Some("table s.t depends on schema s"));
    assert!(catalog.apply(CatalogChange::DropSchema { name: "s".into() }).is_err());
    let plan = catalog.snapshot().plan_drop_schema("s", true).unwrap();
    assert_eq!(plan.notice.as_ref().unwrap().message, "drop cascades to table s.t");
    catalog.apply(CatalogChange::Drop(plan.ids())).unwrap();
    catalog.apply(CatalogChange::DropSchema { name: "s".into() }).unwrap();
    assert!(catalog.apply(CatalogChange::DropSchema { name: "public".into() }).is_err());
}

#[test]
fn numbers_are_never_used_again_and_replays_keep_them() {
    let (catalog, ids) = example();
    let object = catalog.snapshot().get(ids[4]).unwrap().clone();
    let replayed = Catalog::new();
    replayed.apply(CatalogChange::Create(object.clone())).unwrap();
    assert!(replayed.allocate().0 > object.id);
    assert_eq!(replayed.snapshot().get_by_oid(object.oid).unwrap().id, object.id);
    assert_eq!(Oid::of(ObjectId(1)), Oid(16_384));
    assert_eq!(Oid::of(ObjectId(2)), Oid(16_388));
}

#[test]
fn credentials_do_not_show_in_debug_output() {
    let (catalog, ids) = example();
    let text = format!("{:?}", catalog.snapshot().get(ids[4]));
    assert!(!text.contains("secret"), "{text}");
}
