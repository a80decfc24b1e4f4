//! What the parser takes, how it words errors, and the names PostgreSQL gives: checked as tables of text.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::error::SqlState;

fn one(sql: &str) -> Statement {
    parse_one(sql).unwrap_or_else(|e| panic!("{sql}: {e}"))
}

fn check_error(sql: &str, code: SqlState, message: &str, position: Option<usize>) {
    let error = parse(sql).map(|_| ()).expect_err(sql);
    assert_eq!(
        (error.code, error.message.as_str(), error.position),
        (code, message, position),
        "{sql}"
    );
}

fn check_syntax(sql: &str, message: &str, position: usize) {
    check_error(sql, SqlState::SYNTAX_ERROR, message, Some(position));
}

fn debug(sql: &str) -> String {
    format!("{:?}", one(sql))
}

/// The statement's canonical text with options shown as they are; parsing it again gives the same text.
fn check_canonical(sql: &str, expected: &str) {
    let canonical = |sql: &str| {
        let statement = one(sql);
        let (with, encode) = match &statement {
            Statement::CreateTable(t) => {
                (t.options.0.clone(), t.format.clone().map(|f| f.options.0))
            }
            Statement::CreateSource(s) => {
                (s.options.0.clone(), s.format.clone().map(|f| f.options.0))
            }
            Statement::CreateMaterializedView(v) => (v.options.0.clone(), None),
            Statement::CreateSink(s) => {
                (s.options.0.clone(), s.format.clone().map(|f| f.options.0))
            }
            _ => (vec![], None),
        };
        let encode = encode.unwrap_or_default();
        create_sql(&statement, RedactedOptions { with: &with, encode: &encode }).unwrap()
    };
    let text = canonical(sql);
    assert_eq!(text, expected);
    assert_eq!(canonical(&text), expected, "parsed again");
}

#[test]
fn statements_are_cut_at_semicolons_that_are_tokens_of_their_own() {
    let sql =
        " ;; select ';', $$;$$, \";\" /* ; */ from t; -- ;\n insert into t values ('it''s;');\n";
    let parsed = parse(sql).unwrap();
    let texts: Vec<&str> = parsed.iter().map(|p| &sql[p.text.clone()]).collect();
    assert_eq!(
        texts,
        ["select ';', $$;$$, \";\" /* ; */ from t", "insert into t values ('it''s;')"]
    );
    assert!(matches!(parsed[0].statement, Statement::Query(_)));
    assert!(matches!(parsed[1].statement, Statement::Insert(..)));
    assert!(parse("").unwrap().is_empty());
    assert!(parse(" -- nothing\n ; ").unwrap().is_empty());
}

#[test]
fn the_text_of_a_statement_is_found_behind_multibyte_characters() {
    let sql = "select 'äöü€';\nselect '€', 2;";
    let parsed = parse(sql).unwrap();
    let texts: Vec<&str> = parsed.iter().map(|p| &sql[p.text.clone()]).collect();
    assert_eq!(texts, ["select 'äöü€'", "select '€', 2"]);
}

#[test]
fn syntax_errors_are_worded_and_placed_as_postgresql_does() {
    check_syntax("selec 1", "syntax error at or near \"selec\"", 1);
    check_syntax("SELECT 1 +", "syntax error at end of input", 11);
    check_syntax("select 1 +; select 2", "syntax error at or near \";\"", 11);
    check_syntax("select * from t where", "syntax error at end of input", 22);
    check_syntax("select 'ä', )", "syntax error at or near \")\"", 13);
    check_syntax("select 1;\nselect (", "syntax error at end of input", 19);
    check_syntax("create source s (a int) formt plain", "syntax error at or near \"formt\"", 25);
    check_syntax("create table t (a int, )", "syntax error at or near \")\"", 24);
    check_syntax("drop table", "syntax error at end of input", 11);
    check_syntax("select from where", "syntax error at or near \"where\"", 13);
    check_syntax("explain", "syntax error at end of input", 8);
}

#[test]
fn unterminated_tokens_are_errors_at_their_start() {
    check_syntax("select 'abc", "unterminated quoted string at or near \"'abc\"", 8);
    check_syntax("select 'a''b", "unterminated quoted string at or near \"'a''b\"", 8);
    check_syntax("select \"abc", "unterminated quoted identifier at or near \"\"abc\"", 8);
    check_syntax("select 1 /* x", "unterminated /* comment at or near \"/* x\"", 10);
    check_syntax(
        "select 1, $a$ x $b$",
        "unterminated dollar-quoted string at or near \"$a$ x $b$\"",
        11,
    );
    check_syntax("select E'a\\'", "unterminated quoted string at or near \"E'a\\'\"", 8);
}

#[test]
fn deep_nesting_is_an_error_and_no_stack_overflow() {
    let levels = 20_000;
    let texts = [
        format!("select {}1{}", "(".repeat(levels), ")".repeat(levels)),
        format!("select {} 1", "not ".repeat(levels)),
        format!("select {} 1", "- ".repeat(levels)),
        format!("select 1 {}", "+ 1 ".repeat(levels)),
        format!("select 1 {}", "union select 1 ".repeat(levels)),
        format!("select 1 {}", "or a = 1 ".repeat(levels)),
        format!("select x{}", "::int".repeat(levels)),
        format!("select x{}", "[1]".repeat(levels)),
        format!("select 1::int{}", "[]".repeat(levels)),
        format!("select {}1{}", "case when true then ".repeat(levels), " end".repeat(levels)),
        format!("select * from {}t{}", "(".repeat(levels), ")".repeat(levels)),
        format!("select * from {}t{}", "(select * from ".repeat(levels), ") x".repeat(levels)),
        format!("{}select 1", "explain ".repeat(levels)),
        format!("select x::{}int{}", "array<".repeat(levels), ">".repeat(levels)),
        format!("create table t (a {}int{})", "struct<a ".repeat(levels), ">".repeat(levels)),
        format!("select {}1{}", "f(".repeat(levels), ")".repeat(levels)),
        format!("select {}1{}", "array[".repeat(levels), "]".repeat(levels)),
    ];
    // Threads of a server have 2 MiB of stack.
    let run = move || {
        for text in texts {
            let error = parse(&text).map(|_| ()).expect_err(&text[..40]);
            assert!(error.code.0 == "54001" || error.code.0 == "42601", "{}: {error}", &text[..40]);
        }
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
fn chains_and_nesting_just_below_the_limits_parse_print_and_drop_in_a_small_stack() {
    let texts = [
        format!("select 1 {}", "+ 1 ".repeat(1_900)),
        format!("select 1 {}", "or a = 1 ".repeat(900)),
        format!("select 1 {}", "union all select 1 ".repeat(1_900)),
        format!("select x{}", "::int".repeat(1_900)),
        format!("select {}1{}", "(".repeat(60), ")".repeat(60)),
        format!("insert into t values {}", "(1, -1, 'x'::text), ".repeat(20_000) + "(1, 2, 'y')"),
    ];
    let run = move || {
        for text in texts {
            let statement = one(&text);
            if let Statement::Query(mut query) = statement {
                assert!(!query.to_string().is_empty());
                name_derived_columns(&mut query);
                assert!(referenced_relations(&*query).is_empty());
            }
        }
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
fn create_source_takes_its_clauses_in_any_order_and_case() {
    let text = "CREATE SOURCE IF NOT EXISTS Orders (
            id BIGINT, \"Name\" STRING, at TIMESTAMP(3) NOT NULL, nested STRUCT<a INT, b STRUCT<c INT[], d VARCHAR>>[],
            PRIMARY KEY (id), WATERMARK FOR at AS at - INTERVAL '5 seconds')
        INCLUDE key AS k INCLUDE partition INCLUDE header 'trace' AS trace
        WITH (connector = 'kafka', Topic = 'x', properties.bootstrap.server = 'localhost:9092', 'quoted.Key' = 'v',
              scan.startup.mode = earliest, nexmark.min = -5, rate = 1.5, flag = true,)
        format upsert encode json (schema.registry = 'u')";
    let Statement::CreateSource(source) = one(text) else { panic!() };
    assert_eq!(source.name, ObjectName::bare("orders"));
    assert!(source.if_not_exists);
    let names: Vec<&str> = source.columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["id", "Name", "at", "nested"]);
    assert_eq!(
        source.columns.iter().map(|c| c.nullable).collect::<Vec<_>>(),
        [false, true, false, true]
    );
    assert_eq!(source.primary_key, ["id"]);
    assert_eq!(source.watermark.as_ref().unwrap().column, "at");
    assert_eq!(source.include[0], IncludeColumn { kind: IncludeKind::Key, name: Some("k".into()) });
    assert_eq!(source.include[1], IncludeColumn { kind: IncludeKind::Partition, name: None });
    assert_eq!(source.include[2].kind, IncludeKind::Header(Some("trace".into())));
    let options: Vec<(&str, &str)> =
        source.options.0.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(
        options,
        [
            ("connector", "kafka"),
            ("topic", "x"),
            ("properties.bootstrap.server", "localhost:9092"),
            ("quoted.Key", "v"),
            ("scan.startup.mode", "earliest"),
            ("nexmark.min", "-5"),
            ("rate", "1.5"),
            ("flag", "true"),
        ]
    );
    let format = source.format.unwrap();
    assert_eq!((format.format.as_str(), format.encode.as_str()), ("UPSERT", "JSON"));
    assert_eq!(format.options.get("schema.registry"), Some("u"));
    one("create source s (a int) with (connector='nexmark') include key");
    one(
        "create source s (a int) format plain encode json with (connector='kafka') include timestamp as ts",
    );
    one(
        "create source s (a int) with (connector = 'kafka', topic = 'bid') format plain encode json",
    );
}

#[test]
fn option_values_never_appear_in_debug_output() {
    let text = debug(
        "create source s (a int) with (connector='kafka', properties.sasl.password='hunter2')",
    );
    assert!(!text.contains("hunter2") && text.contains("properties.sasl.password"), "{text}");
}

#[test]
fn options_given_twice_are_an_error() {
    check_error(
        "create source s (a int) with (topic='a', topic='b')",
        SqlState::SYNTAX_ERROR,
        "option \"topic\" is given twice",
        None,
    );
}

#[test]
fn create_table_collects_keys_and_refuses_what_is_not_enforced() {
    let Statement::CreateTable(table) = one(
        "create table if not exists s.t (id int primary key, v text not null default 'a', n numeric(10,2) default 1 + 2 not null)",
    ) else {
        panic!()
    };
    assert_eq!(table.name, ObjectName::qualified("s", "t"));
    assert_eq!(table.primary_key, ["id"]);
    assert_eq!(table.columns.iter().map(|c| c.nullable).collect::<Vec<_>>(), [false, false, false]);
    assert_eq!(table.columns[2].default.as_ref().unwrap().to_string(), "1 + 2");
    let Statement::CreateTable(table) = one("create table t (a, b) as select 1, 2") else {
        panic!()
    };
    assert!(table.query.is_some() && table.column_names == ["a", "b"]);
    let Statement::CreateTable(table) =
        one("create table t (a int, b int, constraint pk primary key (b, a)) append only")
    else {
        panic!()
    };
    assert_eq!(
        (table.primary_key, table.append_only),
        (vec!["b".to_string(), "a".to_string()], true)
    );
    for (sql, message) in [
        ("create table t (a int unique deferrable)", "DEFERRABLE constraints are not supported"),
        ("create source t (a int unique)", "UNIQUE constraints are not supported in CREATE SOURCE"),
        ("create table t (a int references u (b))", "FOREIGN KEY constraints are not supported"),
        (
            "create table t (a int, foreign key (a) references u (b))",
            "FOREIGN KEY constraints are not supported",
        ),
        ("create temp view v as select 1", "only tables and sequences can be temporary"),
    ] {
        check_error(sql, SqlState::FEATURE_NOT_SUPPORTED, message, None);
    }
    check_error(
        "create table t (a int, A text)",
        SqlState::DUPLICATE_COLUMN,
        "column \"a\" specified more than once",
        None,
    );
    check_error(
        "create table t (a int primary key, primary key (a))",
        SqlState::INVALID_TABLE_DEFINITION,
        "multiple primary keys are not allowed",
        None,
    );
}

#[test]
fn views_keep_their_queries_and_the_words_around_them() {
    let Statement::CreateMaterializedView(view) = one(
        "create materialized view m (a, b) with (on_error = 'fail') as select x, y from t emit on window close",
    ) else {
        panic!()
    };
    assert!(view.emit_on_window_close);
    assert_eq!(view.query.to_string(), "SELECT x, y FROM t");
    assert_eq!((view.columns.len(), view.options.get("on_error")), (2, Some("fail")));
    let Statement::CreateView(view) =
        one("create or replace view v as with x as (select 1) select * from x")
    else {
        panic!()
    };
    assert!(view.or_replace);
    one(
        "create materialized view if not exists m as select * from tumble(t, at, interval '1 minute') with data",
    );
    check_error(
        "create materialized view m as select 1 with no data",
        SqlState::FEATURE_NOT_SUPPORTED,
        "WITH NO DATA is not supported",
        None,
    );
    let Statement::CreateSink(sink) = one(
        "create sink s as with c as (select 1) select * from c with (connector = 'kafka') format plain encode json",
    ) else {
        panic!()
    };
    assert!(matches!(sink.input, SinkInput::Query(_)));
    one(
        "create sink s from m with (connector = 'kafka') format plain encode json (force_append_only = 'true')",
    );
}

#[test]
fn canonical_text_parses_to_itself() {
    check_canonical(
        "create table T (id int primary key, \"V v\" text not null default 'a')",
        "CREATE TABLE t (id INT, \"V v\" TEXT NOT NULL DEFAULT 'a', PRIMARY KEY (id))",
    );
    check_canonical(
        "create source s (a int) include key as k format plain encode json (x.y = 1) with (connector='k', 'A.b' = 'it''s')",
        "CREATE SOURCE s (a INT) INCLUDE key AS k WITH (connector = 'k', 'A.b' = 'it''s') \
         FORMAT PLAIN ENCODE JSON (x.y = '1')",
    );
    check_canonical(
        "create materialized view m with (on_error=fail) as select 1 emit on window close",
        "CREATE MATERIALIZED VIEW m WITH (on_error = 'fail') AS SELECT 1 EMIT ON WINDOW CLOSE",
    );
    check_canonical(
        "create view \"Select\" (\"order\") as table t",
        "CREATE VIEW \"Select\" (\"order\") AS SELECT * FROM t",
    );
    check_canonical(
        "create sink s from m with (connector='x')",
        "CREATE SINK s FROM m WITH (connector = 'x')",
    );
}

#[test]
fn reserved_words_are_sorted_for_the_binary_search() {
    for word in ["all", "select", "user", "xmltable", "order"] {
        assert_eq!(quote_identifier(word), format!("\"{word}\""));
    }
    assert_eq!(quote_identifier("name"), "name");
}

#[test]
fn sessions_statements_parse() {
    for sql in [
        "begin",
        "begin work isolation level serializable, read only",
        "start transaction read write",
        "commit and chain",
        "end",
        "abort",
        "rollback to savepoint a",
        "savepoint a",
        "release savepoint a",
        "set x = 1",
        "set local a.b to 'c'",
        "set session search_path = public, \"Foo\"",
        "set time zone 'UTC'",
        "set time zone local",
        "set names 'utf8'",
        "set transaction isolation level repeatable read",
        "set session characteristics as transaction read only",
        "set x to default",
        "set time zone interval '+02:00' hour to minute",
        "set extra_float_digits = -1",
        "reset x",
        "reset all",
        "discard all",
        "deallocate all",
        "deallocate prepare p",
        "prepare p (int, text) as select $1, $2",
        "execute p (1, 'a')",
        "execute p",
        "declare c no scroll cursor with hold for select 1",
        "fetch 10 from c",
        "fetch next from c",
        "fetch c",
        "fetch backward all in c",
        "move forward 5 from c",
        "close c",
        "close all",
        "show tables",
        "show tables from public like 'a%'",
        "show materialized views",
        "show jobs",
        "show databases",
        "show schemas",
        "show columns from s.t",
        "describe t",
        "show create materialized view m",
        "show time zone",
        "show transaction isolation level",
        "show all",
        "show search_path",
        "explain select 1",
        "explain analyze select 1",
        "explain (analyze, verbose off, format json) select 1",
        "explain (select 1)",
        "explain materialized view m",
        "explain create materialized view m as select 1",
        "copy t from stdin",
        "copy t (a, b) to stdout with (format csv)",
        "copy (select 1) to stdout",
        "comment on table t is 'x'",
        "flush",
        "wait",
        "unlisten *",
        "create schema if not exists s",
        "alter table t add column a int",
        "drop table if exists a, b.c cascade",
        "drop materialized view m",
        "drop source s",
        "drop schema s restrict",
        "truncate a, b",
        "truncate table a",
        "with x as (select 1) insert into t select * from x",
        "table t",
        "values (1, 2)",
        "(select 1)",
        "select * from hop(t, at, interval '1 minute', interval '5 minutes')",
        "update t set a = 1 where b = 2",
        "delete from t using u where t.a = u.a returning *",
    ] {
        one(sql);
    }
}

#[test]
fn settings_fold_their_names_and_words() {
    let Statement::Set(set) = one("SET Search_Path TO Public, \"Foo\", 'Bar'") else { panic!() };
    assert_eq!(set.name, "search_path");
    assert_eq!(set.values.unwrap(), ["public", "Foo", "Bar"]);
    let Statement::Set(set) = one("set time zone -3") else { panic!() };
    assert_eq!((set.name.as_str(), set.values.unwrap()), ("timezone", vec!["-3".to_string()]));
}

#[test]
fn an_index_is_its_columns_whatever_a_b_tree_would_be_told() {
    let sql = "create index concurrently if not exists i on only s.t using btree \
               (a desc nulls last, \"B\" collate \"C\" text_ops asc) include (c) with (fillfactor = 70)";
    let Statement::CreateIndex(index) = one(sql) else { panic!() };
    assert_eq!(index.name.as_ref().unwrap().name, "i");
    assert!(index.if_not_exists);
    assert_eq!(index.table.to_string(), "s.t");
    assert_eq!(index.columns, ["a", "B"]);
    let Statement::CreateIndex(index) = one("create index on t(a)") else { panic!() };
    assert!(index.name.is_none());
}

#[test]
fn statements_that_are_not_ours_are_named() {
    for (sql, message) in [
        ("create unique index i on t (lower(a))", "an index on an expression is not supported"),
        ("create index i on t (lower(a))", "an index on an expression is not supported"),
        ("create index on t ((a + 1))", "an index on an expression is not supported"),
        ("create index on t (a) where b", "an index with WHERE is not supported"),
        (
            "create function f() returns int language sql as 'select 1'",
            "CREATE FUNCTION is not supported",
        ),
        ("grant select on t to u", "GRANT is not supported"),
        ("listen x", "LISTEN is not supported"),
        ("merge into t using u on t.a = u.a when matched then delete", "MERGE is not supported"),
        ("select 1 into t", "SELECT INTO is not supported"),
    ] {
        check_error(sql, SqlState::FEATURE_NOT_SUPPORTED, message, None);
    }
}

fn names(sql: &str) -> String {
    let query = parse_query(sql).unwrap();
    let names = output_names(&query);
    names
        .iter()
        .map(|n| match n {
            OutputName::Named(name) => name.as_str(),
            OutputName::Wildcard => "*",
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// The right column is what PostgreSQL 15 answers.
#[test]
fn columns_are_called_as_postgresql_calls_them() {
    for (items, expected) in [
        ("count(*), 1, 'a', null, -1, 1 + 1", "count ?column? ?column? ?column? ?column? ?column?"),
        ("a, t.B, \"C\", s.t.d as \"E\"", "a b C E"),
        (
            "1::int, '1'::numeric(3,1), a::text, cast(2 as bigint), count(*)::int",
            "int4 numeric a int8 count",
        ),
        (
            "true, date '2020-01-01', interval '1 day', timestamp with time zone '2020-01-01'",
            "?column? date interval timestamptz",
        ),
        (
            "case when a then b end, case when a then b else c end, case a when 1 then 2 else 3 end",
            "case c case",
        ),
        (
            "exists (select 1), (select max(x) from t), (select 1), array(select 1), array[1]",
            "exists max ?column? array array",
        ),
        (
            "coalesce(a, b), nullif(a, b), greatest(1, 2), current_date, current_user",
            "coalesce nullif greatest current_date current_user",
        ),
        (
            "extract(year from a), substring(a from 1 for 2), trim(a), trim(leading 'x' from a), position('a' in b)",
            "extract substring btrim ltrim position",
        ),
        (
            "a at time zone 'UTC', a is null, not a, a like 'b', a || b",
            "timezone ?column? ?column? ?column? ?column?",
        ),
        ("a[1], (a).b, row(1, 2), pg_catalog.version(), a collate \"C\"", "a b row version a"),
        (
            "case when a then b end::int, (1 + 1)::text, sum(a) over (), count(*) filter (where a)",
            "int4 text sum count",
        ),
        ("*, t.*, 1", "* * ?column?"),
        ("'{1}'::int[], x::timestamp, y::varchar(3), z::char(2)", "int4 x y z"),
    ] {
        assert_eq!(names(&format!("select {items} from t")), expected, "{items}");
    }
    assert_eq!(names("values (1, 2)"), "column1 column2");
    assert_eq!(names("select a from t union select b from u"), "a");
    assert_eq!(names("with x as (select 1) (select count(*) from x)"), "count");
}

#[test]
fn names_of_a_planned_query_are_ours_around_the_wildcard() {
    let of = |sql: &str, planned: &[&str]| {
        let planned: Vec<String> = planned.iter().map(|s| s.to_string()).collect();
        names::expand_names(&output_names(&parse_query(sql).unwrap()), &planned).join(" ")
    };
    assert_eq!(
        of("select 1, *, count(*) from t", &["Int64(1)", "a", "b", "count(*)"]),
        "?column? a b count"
    );
    assert_eq!(of("select 1, 1", &["Int64(1)", "x"]), "?column? ?column?");
    assert_eq!(of("select *, 1, * from t", &["a", "x", "a\u{1}1"]), "a x a\u{1}1");
}

fn derived(sql: &str) -> String {
    let mut query = parse_query(sql).unwrap();
    name_derived_columns(&mut query);
    query.to_string()
}

#[test]
fn derived_columns_get_their_names_as_aliases() {
    for (sql, expected) in [
        (
            "select count from (select count(*) from t) x",
            "SELECT count FROM (SELECT count(*) AS \"count\" FROM t) x",
        ),
        ("select count(*) from t", "SELECT count(*) FROM t"),
        (
            "with c as (select max(a), b from t) select max from c",
            "WITH c AS (SELECT max(a) AS \"max\", b FROM t) SELECT max FROM c",
        ),
        (
            "select 1 from (select 1, 2, a from t) x",
            "SELECT 1 FROM (SELECT 1 AS \"?column?\u{1}1\", 2 AS \"?column?\u{1}2\", a FROM t) x",
        ),
        (
            "select a, a, count(*), count(*) from t",
            "SELECT a, a AS \"a\u{1}2\", count(*), count(*) AS \"count\u{1}2\" FROM t",
        ),
        ("select *, a from t", "SELECT *, a AS \"a\u{1}1\" FROM t"),
        ("select 1 as a, 2 as a", "SELECT 1 AS a, 2 AS \"a\u{1}2\""),
        (
            "select * from (select x.*, y.b from x, y) z",
            "SELECT * FROM (SELECT x.*, y.b FROM x, y) z",
        ),
    ] {
        assert_eq!(derived(sql), expected);
    }
}

#[test]
fn relations_exclude_common_table_expressions_in_scope_only() {
    let of = |sql: &str| {
        let names = match one(sql) {
            Statement::Query(query) => referenced_relations(&*query),
            Statement::Insert(insert, _) => referenced_relations(&*insert),
            other => panic!("{other:?}"),
        };
        names.iter().map(ObjectName::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(of("select * from A, s.b join \"C\" on true"), "a s.b \"C\"");
    assert_eq!(of("with x as (select * from t) select * from x, public.x"), "t public.x");
    assert_eq!(of("with t as (select * from t) select * from t"), "t");
    assert_eq!(of("with recursive t as (select 1 union select * from t) select * from t"), "");
    assert_eq!(of("select * from (with x as (select 1) select * from x) y, x"), "x");
    assert_eq!(of("with x as (select 1), y as (select * from x) select * from y"), "");
    assert_eq!(of("select * from tumble(bid, at, interval '1 minute') union table u"), "bid u");
    assert_eq!(
        of(
            "select (select 1 from a), exists (select 1 from b) from generate_series(1, 2) where x in (table c)"
        ),
        "a b c"
    );
    assert_eq!(of("insert into t select * from u"), "u");
}

#[test]
fn placeholders_are_found_everywhere() {
    let query = parse_query("select $2 from t where a = $1 and b in (select $7) limit $3").unwrap();
    assert_eq!(placeholders(&*query).unwrap().into_iter().collect::<Vec<_>>(), [1, 2, 3, 7]);
    let query = parse_query("select $0").unwrap();
    assert_eq!(placeholders(&*query).unwrap_err().code, SqlState::UNDEFINED_PARAMETER);
}
