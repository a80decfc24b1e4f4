//! Plans: what a view's plan is made of, what moves where, parameters, names and types of results.

use std::sync::Arc;

use arrow_schema::{DataType, Field};
use datafusion::common::ScalarValue;

use super::harness::{engine, outcome, plan, plan_with, run_plan};
use crate::query::{bind_params, canonicalise, output_fields, prepare_params, volatile_function};

fn streaming(sql: &str) -> String {
    match plan(sql).and_then(canonicalise).and_then(|plan| engine().optimize_streaming(plan)) {
        Ok(plan) => plan.display_indent().to_string(),
        Err(error) => format!("{} {}", error.code, error.message),
    }
}

#[test]
fn views_have_joins_for_subqueries() {
    let plan = streaming("select a from t where a in (select id from u)");
    assert!(plan.contains("LeftSemi Join: t.a = "), "{plan}");
    let plan = streaming("select a from t where not exists (select 1 from u where u.id = t.a)");
    assert!(plan.contains("LeftAnti Join: t.a = "), "{plan}");
    let plan = streaming("select a, (select max(v) from u) as m from t");
    assert!(plan.contains("Left Join") && !plan.contains("ubquery:"), "{plan}");
    let plan = streaming("select a, (select count(*) from u where u.id = t.a) as m from t");
    assert!(plan.contains("Left Join: t.a = "), "{plan}");
}

#[test]
fn cross_joins_with_equalities_become_inner_joins() {
    let plan = streaming("select t.a, u.v from t, u where t.a = u.id and u.v > 20 and t.b < u.v");
    assert!(plan.contains("Inner Join: t.a = u.id Filter: u.v > t.b"), "{plan}");
    assert!(plan.contains("Filter: u.v > Int32(20)"), "{plan}");
    assert!(plan.contains("projection=[a, b]"), "{plan}");
}

#[test]
fn fallible_filters_stay_above_joins_and_after_earlier_filters() {
    let plan = streaming("select t.a from t join u on t.a = u.id where t.a / t.b > 1 and t.b > 0");
    let filter = plan.find("op_divide").unwrap();
    assert!(filter < plan.find("Inner Join").unwrap(), "{plan}");
    assert!(
        plan.find("Filter: t.b > Int32(0)").unwrap() > plan.find("Inner Join").unwrap(),
        "{plan}"
    );
    let plan = streaming("select t.a from t, u where t.a = u.id and t.a / t.b = u.v");
    assert!(plan.contains("Inner Join: t.a = u.id\n"), "{plan}");
}

#[test]
fn distinct_unions_and_top_n_are_kept() {
    assert!(streaming("select distinct b from t").contains("Distinct:"), "distinct");
    assert!(streaming("select a from t union all select id from u").contains("Union"), "union");
    let plan = streaming("select a from t order by a desc limit 3");
    assert!(plan.contains("Limit: skip=0, fetch=3") && plan.contains("Sort: t.a DESC"), "{plan}");
    let plan = streaming("select distinct on (b) b, a from t order by b, a");
    assert!(plan.contains("row_number() PARTITION BY [t.b] ORDER BY [t.a"), "{plan}");
}

#[test]
fn scalar_subqueries_become_joins_and_recursion_is_refused_in_views() {
    let plan = streaming("select (select v from u) from t");
    assert!(plan.contains("#only_one") && plan.contains("Left Join"), "{plan}");
    assert!(streaming("with recursive r as (select 1 as x union all select x + 1 from r where x < 3) select * from r").starts_with("0A000"));
}

#[test]
fn volatile_functions_are_named() {
    assert_eq!(volatile_function(&plan("select now(), a from t").unwrap()).as_deref(), Some("now"));
    assert_eq!(
        volatile_function(&plan("select gen_random_uuid()").unwrap()).as_deref(),
        Some("gen_random_uuid")
    );
    assert_eq!(
        volatile_function(&plan("select a from t where exists (select random() from u)").unwrap())
            .as_deref(),
        Some("random")
    );
    assert_eq!(volatile_function(&plan("select lower(s), a + 1 from t").unwrap()), None);
}

fn columns(sql: &str) -> String {
    let plan = canonicalise(plan(sql).unwrap()).unwrap();
    let fields = output_fields(&plan);
    fields
        .iter()
        .map(|f| format!("{}:{}", f.name(), crate::query::sql_types::pg_name(f)))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn result_columns_have_postgres_names_and_types() {
    for (sql, expected) in [
        ("select 1, 'a', a + 1 from t", "?column?:integer ?column?:text ?column?:integer"),
        ("select count(*), count(a), max(s) from t", "count:bigint count:bigint max:text"),
        ("select a, a, t.a from t", "a:integer a:integer a:integer"),
        (
            "select *, a from u, t",
            "id:integer v:integer a:integer b:integer c:bigint d:double precision s:text n:numeric a:integer",
        ),
        (
            "select a::text, '1'::int, cast(a + 1 as bigint) from t",
            "a:text int4:integer int8:bigint",
        ),
        (
            "select case when true then a end, coalesce(a, 1), (select max(v) from u) from t",
            "case:integer coalesce:integer max:integer",
        ),
        ("select now(), current_date", "now:timestamp with time zone current_date:date"),
        ("select row_number() over (order by a) from t", "row_number:bigint"),
        (
            "select '{}'::jsonb as j, '{}'::jsonb -> 'a' as k, '550e8400-e29b-41d4-a716-446655440000'::uuid",
            "j:jsonb k:jsonb uuid:uuid",
        ),
        ("select x from (select '{}'::jsonb as x from t) q where x is not null", "x:jsonb"),
        ("select null as n", "n:text"),
        (
            "select sum(a), avg(a), sum(c), avg(d) from t",
            "sum:bigint avg:numeric sum:numeric avg:double precision",
        ),
    ] {
        assert_eq!(columns(sql), expected, "{sql}");
    }
}

fn params(sql: &str) -> String {
    let plan = plan(sql).unwrap();
    match prepare_params(&plan, &[]) {
        Ok(fields) => {
            fields.iter().map(|f| crate::query::sql_types::pg_name(f)).collect::<Vec<_>>().join(" ")
        }
        Err(error) => format!("{} {}", error.code, error.message),
    }
}

#[test]
fn parameters_take_their_types_from_context() {
    for (sql, expected) in [
        ("select a from t where a = $1 and s = $2 and n < $3", "integer text numeric"),
        ("select $1 + 1", "integer"),
        ("select $1", "text"),
        ("select a + $1, c - $2 from t", "integer bigint"),
        ("select a from t where a in ($1, $2)", "integer integer"),
        ("select a from t where a between $1 and $2", "integer integer"),
        ("select $1::bigint, $2::date", "bigint date"),
        ("select a from t limit $1", "bigint"),
        ("select a from t where a = $2", "42P18 could not determine data type of parameter $1"),
    ] {
        assert_eq!(params(sql), expected, "{sql}");
    }
}

#[test]
fn bound_parameters_are_used() {
    let sql = "select a from t where a = $1 or s = $2";
    let plan = plan(sql).unwrap();
    let values = vec![ScalarValue::Int32(Some(2)), ScalarValue::Utf8(Some("1".into()))];
    let rows: usize = run_plan(bind_params(plan.clone(), values).unwrap())
        .unwrap()
        .iter()
        .map(|b| b.num_rows())
        .sum();
    assert_eq!(rows, 2);
    assert_eq!(bind_params(plan, vec![]).unwrap_err().code.0, "08P01");
    let typed =
        plan_with("select $1 + 1", &[Some(Arc::new(Field::new("", DataType::Int64, true)))])
            .unwrap();
    assert_eq!(typed.schema().field(0).data_type(), &DataType::Int64);
}

#[test]
fn cancelled_queries_end_with_57014() {
    let plan = engine()
        .optimize_batch(plan("select count(*) from generate_series(1, 100000000) a").unwrap())
        .unwrap();
    let cancel = tokio_util::sync::CancellationToken::new();
    cancel.cancel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(engine().collect(&plan, cancel)).unwrap_err();
    assert_eq!(error.code.0, "57014");
}

#[test]
fn hints_name_the_nearest_column() {
    let error = plan("select nam from (select s as name, a from t) x").unwrap_err();
    assert_eq!(
        error.hint.as_deref(),
        Some("Perhaps you meant to reference the column \"x.name\".")
    );
    assert_eq!(outcome("select \"A\" from t"), "42703 column \"A\" does not exist");
}

#[test]
fn time_zone_of_the_session_decides_how_instants_are_read_and_written() {
    let zoned = engine().with_time_zone("America/New_York");
    let query = super::harness::parse("select timestamptz '2020-07-01 00:00'::text, date_trunc('day', '2020-07-01 02:00+00'::timestamptz)::text").unwrap();
    let plan = zoned.plan(&query, &super::harness::Tables, &[]).unwrap();
    let plan = zoned.optimize_batch(plan).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let batches =
        runtime.block_on(zoned.collect(&plan, tokio_util::sync::CancellationToken::new())).unwrap();
    let text = |column: usize| {
        arrow_array::cast::AsArray::as_string::<i32>(batches[0].column(column)).value(0).to_owned()
    };
    assert_eq!(text(0), "2020-07-01 00:00:00-04");
    assert_eq!(text(1), "2020-06-30 00:00:00-04");
}

#[test]
fn values_are_assigned_as_postgres_does() {
    let schema =
        datafusion::common::DFSchema::try_from(super::harness::t_batch().schema().as_ref().clone())
            .unwrap();
    let assigned = |sql: &str, column: &Field| -> String {
        let mut parser = sqlparser::parser::Parser::new(&sqlparser::dialect::PostgreSqlDialect {})
            .try_with_sql(sql)
            .unwrap();
        let ast = parser.parse_expr().unwrap();
        let result = engine()
            .plan_expr(&ast, &schema, &super::harness::Tables)
            .and_then(|expr| crate::query::assign(expr, &schema, column))
            .and_then(|expr| engine().compile(&expr, &schema))
            .and_then(|expr| {
                crate::query::evaluate(&[expr], &super::harness::t_batch().slice(0, 1))
            });
        match result {
            Err(error) => format!("{} {}", error.code, error.message),
            Ok(evaluated) => match evaluated.failures.first() {
                Some((_, error)) => format!("{} {}", error.code, error.message),
                None => {
                    arrow_cast::display::array_value_to_string(&evaluated.columns[0], 0).unwrap()
                }
            },
        }
    };
    let int = Field::new("x", DataType::Int32, true);
    assert_eq!(assigned("c", &int), "22003 integer out of range");
    assert_eq!(assigned("'5'", &int), "5");
    assert_eq!(assigned("2.5", &int), "3");
    assert_eq!(
        assigned("s", &int),
        "42804 column \"x\" is of type integer but expression is of type text"
    );
    assert_eq!(
        assigned("true", &int),
        "42804 column \"x\" is of type integer but expression is of type boolean"
    );
    let mut metadata = crate::types::marked("v", DataType::Utf8, "varchar").metadata().clone();
    metadata.insert(crate::types::TYPMOD_KEY.to_owned(), "2".to_owned());
    let varchar = Field::new("v", DataType::Utf8, true).with_metadata(metadata);
    assert_eq!(assigned("'abc'", &varchar), "22001 value too long for type character varying(2)");
    assert_eq!(assigned("a + 10", &varchar), "11");
}

#[test]
fn aggregates_do_not_depend_on_partitions() {
    let sql = "select x % 3, sum(x), avg(x), sum(x::float8 / 7), sum(interval '1 second' * x), sum(distinct x % 5), count(*) \
               from generate_series(1, 50000) as g(x) group by 1 order by 1";
    let run = |partitions: usize| {
        let options = crate::query::EngineOptions {
            target_partitions: partitions,
            batch_rows: 1000,
            ..Default::default()
        };
        let engine = crate::query::Engine::new(options).unwrap();
        let plan = engine
            .plan(&super::harness::parse(sql).unwrap(), &super::harness::Tables, &[])
            .unwrap();
        let plan = engine.optimize_batch(plan).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let batches = runtime
            .block_on(engine.collect(&plan, tokio_util::sync::CancellationToken::new()))
            .unwrap();
        arrow_select::concat::concat_batches(&batches[0].schema(), &batches).unwrap()
    };
    let (one, four) = (run(1), run(4));
    assert_eq!(one.num_rows(), 3);
    assert_eq!(one, four);
}
