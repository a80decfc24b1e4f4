//! psql's own queries, run over an example catalog, and PostgreSQL's functions.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use datafusion::common::TableReference;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{ScalarUDF, TableSource};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::catalog::Catalog;
use crate::catalog::tests::{example, path};
use crate::error::{Error, Result};
use crate::query::{Engine, EngineOptions, Resolver, canonicalise};

/// The system relations and functions of an example catalog.
struct System {
    context: Arc<SystemContext>,
    functions: Vec<Arc<ScalarUDF>>,
}

fn session(catalog: &Catalog) -> System {
    let context = Arc::new(SystemContext::new(catalog.snapshot(), "alice", path()));
    let functions = system_functions(&context).into_iter().map(Arc::new).collect();
    System { context, functions }
}

impl Resolver for System {
    fn table(&self, reference: &TableReference) -> Result<Arc<dyn TableSource>> {
        let schema = reference.schema().unwrap_or("pg_catalog");
        match system_table(&self.context, schema, reference.table()) {
            Some(table) => Ok(provider_as_source(table?)),
            None => Err(Error::internal(format!("no relation {reference}"))),
        }
    }

    fn function(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        let named = |f: &&Arc<ScalarUDF>| f.name() == name || f.aliases().iter().any(|a| a == name);
        self.functions.iter().find(named).cloned()
    }

    fn setting(&self, _name: &str) -> Option<String> {
        None
    }
}

async fn batches(system: &System, sql: &str) -> std::result::Result<Vec<RecordBatch>, String> {
    let mut query = crate::sql::parse_query(sql).map_err(|e| e.to_string())?;
    rewrite_for_catalog(&mut *query);
    crate::sql::name_derived_columns(&mut query);
    let rewritten = |e: Error| format!("{e}\n{query}");
    let engine = Engine::new(EngineOptions::default()).map_err(rewritten)?;
    let plan = engine.plan(&query, system, &[]).and_then(canonicalise).map_err(rewritten)?;
    let plan = engine.optimize_batch(plan).map_err(rewritten)?;
    engine.collect(&plan, CancellationToken::new()).await.map_err(rewritten)
}

/// Rows as text, cells parted by `|`, nulls empty.
async fn rows(session: &System, sql: &str) -> std::result::Result<Vec<String>, String> {
    let mut lines = vec![];
    for batch in batches(session, sql).await? {
        let options = FormatOptions::default();
        let columns: Vec<_> =
            batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = columns.iter().map(|c| c.value(row).to_string()).collect();
            lines.push(cells.join("|"));
        }
    }
    Ok(lines)
}

async fn check(session: &System, sql: &str, expected: &[&str]) {
    let rows = rows(session, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    assert_eq!(rows, expected, "{sql}");
}

/// The queries of psql15.txt with their commands.
fn psql_queries(catalog: &Catalog) -> Vec<(String, String)> {
    let snapshot = catalog.snapshot();
    let oid = |name: &str| snapshot.find("public", name).unwrap().oid;
    let text = include_str!("psql15.txt");
    let blocks = text.split("\n== ").skip(1).map(|block| block.split_once('\n').unwrap());
    blocks
        .map(|(command, query)| {
            let query = query
                .replace("{t}", &oid("t").to_string())
                .replace("{v}", &oid("v").to_string())
                .replace("{m}", &oid("m").to_string())
                .replace("{s}", &oid("order").to_string())
                .replace("{t_pkey}", &oid("t").primary_key_index().to_string())
                .replace("{pg_class}", "1259");
            (command.to_owned(), query)
        })
        .collect()
}

#[tokio::test]
async fn every_query_that_psql_sends_is_answered() {
    let (catalog, _) = example();
    let session = session(&catalog);
    let mut failures = vec![];
    for (command, query) in psql_queries(&catalog) {
        if let Err(error) = rows(&session, &query).await {
            failures.push(format!("{command}: {error}\n--- {query}"));
        }
    }
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n\n"));
}

#[tokio::test]
async fn lists_show_each_kind_of_object_where_psql_looks_for_it() {
    let (catalog, _) = example();
    let session = session(&catalog);
    let queries = psql_queries(&catalog);
    let query = |command: &str| queries.iter().find(|(c, _)| c == command).unwrap().1.clone();
    check(
        &session,
        &query("\\d"),
        &[
            "public|m|materialized view|tidewater",
            "public|order|foreign table|tidewater",
            "public|t|table|tidewater",
            "public|v|view|tidewater",
            "public|w|view|tidewater",
        ],
    )
    .await;
    check(&session, &query("\\dt"), &["public|t|table|tidewater"]).await;
    check(&session, &query("\\dm"), &["public|m|materialized view|tidewater"]).await;
    check(&session, &query("\\di"), &["public|t_pkey|index|tidewater|t"]).await;
    check(&session, &query("\\det"), &["public|order|kafka"]).await;
    check(&session, &query("\\dn"), &["public|tidewater", "tidewater|tidewater"]).await;
    check(&session, &query("\\l"), &["tidewater|tidewater|UTF8|C.UTF-8|C.UTF-8||libc|"]).await;
    check(
        &session,
        &query("\\du"),
        &["alice|t|t|t|t|t|-1||{}|f|t", "tidewater|t|t|t|t|t|-1||{}|f|t"]
            .map(with_words)
            .each_ref()
            .map(|s| s.as_str()),
    )
    .await;
    check(&session, &query("\\df"), &[]).await;
    check(&session, &query("\\dT"), &[]).await;
    check(
        &session,
        &query("\\dp"),
        &[
            "public|m|materialized view|||",
            "public|order|foreign table|||",
            "public|t|table|||",
            "public|v|view|||",
            "public|w|view|||",
        ],
    )
    .await;
}

/// Arrow writes booleans and empty lists in words of its own.
fn with_words(row: &str) -> String {
    let cells = row.split('|').map(|cell| match cell {
        "t" => "true",
        "f" => "false",
        "{}" => "[]",
        other => other,
    });
    cells.collect::<Vec<_>>().join("|")
}

#[tokio::test]
async fn a_table_is_described_with_types_defaults_and_its_key() {
    let (catalog, _) = example();
    let session = session(&catalog);
    let queries = psql_queries(&catalog);
    let of = |part: &str| {
        let found = queries.iter().find(|(c, q)| c == "\\d t" && q.contains(part));
        found.unwrap().1.clone()
    };
    check(
        &session,
        &of("pg_catalog.pg_attribute a"),
        &["id|integer||true|||", "v|text|'a'|false|||"],
    )
    .await;
    check(
        &session,
        &of("pg_get_indexdef"),
        &["t_pkey|true|true|false|true|CREATE UNIQUE INDEX t_pkey ON public.t USING btree (id)|PRIMARY KEY (id)|p|false|false|false|0"],
    )
    .await;
    let name = of("c.relname OPERATOR");
    let oid = catalog.snapshot().find("public", "t").unwrap().oid;
    check(&session, &name, &[&format!("{oid}|public|t")]).await;
}

#[tokio::test]
async fn functions_and_casts_about_the_catalog_answer_as_postgresql() {
    let (catalog, _) = example();
    let session = session(&catalog);
    let oid = catalog.snapshot().find("public", "t").unwrap().oid;
    let oid_text = oid.to_string();
    for (sql, expected) in [
        (
            "select current_user, current_schema, current_database(), current_schema()",
            "alice|public|tidewater|public",
        ),
        ("select current_schemas(true)", "[pg_catalog, public]"),
        (
            "select pg_size_pretty(10239), pg_size_pretty(10240), pg_size_pretty(123456789)",
            "10239 bytes|10 kB|118 MB",
        ),
        (
            "select format_type(1043, 24), format_type(1700, 655366), format_type(1007, null)",
            "character varying(20)|numeric(10,2)|integer[]",
        ),
        (
            "select quote_ident('Foo'), quote_ident('foo'), quote_literal('a''b')",
            "\"Foo\"|foo|'a''b'",
        ),
        (
            "select 't'::regclass, 'public.m'::regclass::text, 1259::regclass, 'int4'::regtype",
            "t|m|pg_class|integer",
        ),
        ("select 't'::regclass::oid", oid_text.as_str()),
        ("select relname from pg_class where oid = 't'::regclass", "t"),
        ("select relname from pg_class where relkind = 'm' and oid = relname::regclass", "m"),
        (
            "select relname from pg_catalog.pg_class where oid = 't'::regclass::oid and relkind = any ('{r,v}')",
            "t",
        ),
        (
            "select pg_table_is_visible('t'::regclass), has_table_privilege('t', 'select')",
            "true|true",
        ),
        ("select count(*) from information_schema.columns where table_name = 't'", "2"),
        (
            "select table_type from information_schema.tables where table_schema = 'public' and table_name = 'm'",
            "MATERIALIZED VIEW",
        ),
        (
            "select a.attname from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey) where i.indrelid = 't'::regclass and i.indisprimary",
            "id",
        ),
        ("select typname, typlen from pg_type where oid = 23", "int4|4"),
        ("select pg_get_viewdef('v'::regclass, true)", " SELECT id, v FROM t;"),
        ("select array(select relname from pg_class c where relkind = 'm' order by 1)", "[m]"),
    ] {
        check(&session, sql, &[expected]).await;
    }
    let error = rows(&session, "select 'nope'::regclass").await.unwrap_err();
    assert!(error.contains("relation \"nope\" does not exist"), "{error}");
}

#[test]
fn relations_that_are_said_to_be_always_empty_exist_and_are_empty() {
    let (catalog, _) = example();
    let context = SystemContext::new(catalog.snapshot(), "alice", path());
    for table in columns::all().iter().filter(|t| t.schema == "pg_catalog") {
        if relations::is_always_empty(&table.name) {
            assert!(relations::rows(&context, table).is_none(), "{}", table.name);
            assert!(cluster::rows(&context, &table.name).is_none(), "{}", table.name);
            assert_eq!(fixed::batch(table).unwrap().num_rows(), 0, "{}", table.name);
        }
    }
    assert!(
        fixed::batch(columns::find("pg_catalog", "pg_type").unwrap()).unwrap().num_rows() > 100
    );
}

#[test]
fn statements_that_read_no_system_relation_keep_their_text() {
    for sql in [
        "SELECT a, count(*) FROM t WHERE oid = '1' AND b = ANY('{1,2}') GROUP BY a",
        "SELECT (SELECT x FROM u WHERE u.a = t.a) FROM t",
    ] {
        let mut query = crate::sql::parse_query(sql).unwrap();
        rewrite_for_catalog(&mut *query);
        assert_eq!(query.to_string(), sql);
    }
}
