//! Values compared with what PostgreSQL 15 makes of them: corpus/values.tsv was written by a real server.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow_array::builder::{Int32Builder, ListBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, DictionaryArray, Float64Array, Int8Array, Int32Array, ListArray, StringArray,
    StringViewArray, StructArray, TimestampNanosecondArray, UInt64Array,
};
use arrow_schema::{DataType, Field};
use bytes::BytesMut;
use datafusion::scalar::ScalarValue;
use sqlparser::dialect::{Dialect, GenericDialect, PostgreSqlDialect};
use sqlparser::parser::Parser;

use super::*;

const CORPUS: &str = include_str!("corpus/values.tsv");

/// Inputs where Tidewater knowingly differs, and its own answer.
const DIFFERENT: &[(&str, &str, &str)] = &[
    // Microseconds are counted from 1970, not 2000, so i64 ends earlier.
    (
        "timestamp",
        "294276-12-31 23:59:59.999999",
        "!22008 timestamp out of range: \"294276-12-31 23:59:59.999999\"",
    ),
    // Arrow's lists have no lower bounds.
    ("integer[]", "[0:2]={1,2,3}", "{1,2,3}"),
];

fn field(sql: &str) -> Field {
    // STRUCT<...> is not in sqlparser's PostgreSQL dialect; the dialect of Tidewater's own parser has it.
    let dialect: &dyn Dialect =
        if sql.starts_with("STRUCT") { &GenericDialect {} } else { &PostgreSqlDialect {} };
    let mut parser = Parser::new(dialect).try_with_sql(sql).unwrap();
    field_of_sql_type("c", &parser.parse_data_type().unwrap()).unwrap()
}

fn new_york() -> TextStyle {
    TextStyle { time_zone: TimeZone::parse("America/New_York").unwrap(), ..TextStyle::default() }
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next().unwrap() {
                't' => out.push('\t'),
                'n' => out.push('\n'),
                'x' => {
                    let hex: String = chars.by_ref().take(2).collect();
                    out.push(u8::from_str_radix(&hex, 16).unwrap() as char);
                }
                c => out.push(c),
            },
            c => out.push(c),
        }
    }
    out
}

fn text_of(value: &ScalarValue, field: &Field, style: &TextStyle) -> String {
    let writer = ColumnWriter::try_new(&value.to_array().unwrap(), field).unwrap();
    let mut out = BytesMut::new();
    writer.write_text(0, style, &mut out);
    String::from_utf8(out.to_vec()).unwrap()
}

fn hex_of(value: &ScalarValue, field: &Field) -> String {
    let writer = ColumnWriter::try_new(&value.to_array().unwrap(), field).unwrap();
    let mut out = BytesMut::new();
    writer.write_binary(0, &mut out).unwrap();
    out.iter().map(|b| format!("{b:02x}")).collect()
}

fn bytes_of_hex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

/// What is wrong with a line of the corpus, if anything is.
fn differences(sql: &str, input: &str, expected: &str, hex: &str) -> Vec<String> {
    let (field, style) = (field(sql), new_york());
    let value = match parse_text(input, &field, &style) {
        Ok(value) => value,
        Err(e) => {
            let got = format!("!{} {}", e.code, e.message);
            return if got == expected { vec![] } else { vec![format!("input: {got}")] };
        }
    };
    let mut wrong = vec![];
    let text = text_of(&value, &field, &style);
    if text != expected {
        wrong.push(format!("text: {text}"));
        return wrong;
    }
    if sql == "integer[]" && input.starts_with('[') {
        return wrong;
    }
    // Numeric without precision shows what is left without trailing zeros, so its display scale is its own.
    if hex_of(&value, &field) != hex && sql != "numeric" {
        wrong.push(format!("binary: {} instead of {hex}", hex_of(&value, &field)));
    }
    match parse_binary(&bytes_of_hex(hex), &field) {
        Ok(back) if text_of(&back, &field, &style) == expected => {}
        Ok(back) => wrong.push(format!("from binary: {}", text_of(&back, &field, &style))),
        Err(e) => wrong.push(format!("from binary: {e}")),
    }
    wrong
}

#[test]
fn values_are_read_and_written_as_postgresql_15_does() {
    let mut wrong = vec![];
    for line in CORPUS.lines().filter(|l| !l.starts_with('#')) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [sql, input, expected, hex] = columns[..] else { panic!("four columns in {line:?}") };
        let (input, expected) = (unescape(input), unescape(expected));
        let known = DIFFERENT.iter().find(|(t, i, _)| *t == sql && *i == input);
        let expected = known.map_or(expected.as_str(), |(_, _, ours)| ours);
        for difference in differences(sql, &input, expected, hex) {
            wrong.push(format!("{sql} {input:?} expected {expected:?} {difference}"));
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

fn shown(array: ArrayRef, field: &Field) -> Vec<String> {
    let text = cast_to_text(&array, field, &TextStyle::default()).unwrap();
    text.iter().map(|t| t.unwrap_or("(null)").to_owned()).collect()
}

fn shown_plain(array: ArrayRef) -> Vec<String> {
    let field = Field::new("c", array.data_type().clone(), true);
    shown(array, &field)
}

#[test]
fn arrow_types_that_only_datafusion_makes_are_written_too() {
    assert_eq!(shown_plain(Arc::new(Int8Array::from(vec![Some(-1), None]))), ["-1", "(null)"]);
    assert_eq!(shown_plain(Arc::new(UInt64Array::from(vec![u64::MAX]))), ["18446744073709551615"]);
    assert_eq!(shown_plain(Arc::new(StringViewArray::from(vec!["a view"]))), ["a view"]);
    let dictionary: DictionaryArray<Int32Type> = vec!["x", "y", "x"].into_iter().collect();
    assert_eq!(shown_plain(Arc::new(dictionary)), ["x", "y", "x"]);
    let nanos = TimestampNanosecondArray::from(vec![1_500_000_000]).with_timezone("+00:00");
    assert_eq!(shown_plain(Arc::new(nanos)), ["1970-01-01 00:00:01.5+00"]);
    let list =
        ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None]), None]);
    assert_eq!(shown_plain(Arc::new(list)), ["{1,NULL}", "(null)"]);
    let record = StructArray::from(vec![
        (
            Arc::new(Field::new("a", DataType::Int32, true)),
            Arc::new(Int32Array::from(vec![1])) as ArrayRef,
        ),
        (
            Arc::new(Field::new("b", DataType::Utf8, true)),
            Arc::new(StringArray::from(vec!["a \"b\""])),
        ),
        (
            Arc::new(Field::new("c", DataType::Utf8, true)),
            Arc::new(StringArray::from(vec![None::<&str>])),
        ),
    ]);
    assert_eq!(shown_plain(Arc::new(record)), [r#"(1,"a ""b""",)"#]);
}

#[test]
fn nested_lists_are_written_as_dimensions() {
    let mut builder = ListBuilder::new(ListBuilder::new(Int32Builder::new()));
    for row in [[1, 2], [3, 4]] {
        builder.values().append_value(row.map(Some));
    }
    builder.append(true);
    let array: ArrayRef = Arc::new(builder.finish());
    let field = Field::new("c", array.data_type().clone(), true);
    assert_eq!(shown(array.clone(), &field), ["{{1,2},{3,4}}"]);
    let writer = ColumnWriter::try_new(&array, &field).unwrap();
    let mut bytes = BytesMut::new();
    writer.write_binary(0, &mut bytes).unwrap();
    let back = parse_binary(&bytes, &field).unwrap();
    assert_eq!(text_of(&back, &field, &TextStyle::default()), "{{1,2},{3,4}}");
}

#[test]
fn casts_to_text_differ_from_output_for_booleans_and_char() {
    let (array, errors) = cast_from_text(
        &StringArray::from(vec!["t", "no"]),
        &field("boolean"),
        &TextStyle::default(),
    );
    assert!(errors.is_empty());
    assert_eq!(shown(array, &field("boolean")), ["true", "false"]);
    let (array, _) =
        cast_from_text(&StringArray::from(vec!["a"]), &field("char(3)"), &TextStyle::default());
    assert_eq!(shown(array, &field("char(3)")), ["a"]);
}

#[test]
fn failing_rows_are_null_and_have_their_error_beside_them() {
    let text = StringArray::from(vec![Some("{1,x,y}"), None, Some("{2}"), Some("3")]);
    let (array, errors) = cast_from_text(&text, &field("int[]"), &TextStyle::default());
    assert_eq!(shown(array, &field("int[]")), ["(null)", "(null)", "{2}", "(null)"]);
    let rows: Vec<(usize, &str)> =
        errors.iter().map(|(row, e)| (*row, e.message.as_str())).collect();
    assert_eq!(
        rows,
        [
            (0, "invalid input syntax for type integer: \"x\""),
            (3, "malformed array literal: \"3\"")
        ]
    );
}

#[test]
fn records_are_read_and_written() {
    let field = field("STRUCT<a int, b text, c int[]>");
    let value =
        parse_text("(1,\"x, \"\"y\"\"\",\"{1,2}\")", &field, &TextStyle::default()).unwrap();
    assert_eq!(text_of(&value, &field, &TextStyle::default()), "(1,\"x, \"\"y\"\"\",\"{1,2}\")");
    assert_eq!(pg_type_of(&field).oid, 2249);
    let error = parse_text("(1)", &field, &TextStyle::default()).unwrap_err();
    assert_eq!((error.code.0, error.detail.as_deref()), ("22P02", Some("Too few columns.")));
}

#[test]
fn sql_type_names_map_to_arrow_and_back() {
    for (sql, data_type, shown) in [
        ("int8", DataType::Int64, "bigint"),
        ("decimal(12, 3)", DataType::Decimal128(12, 3), "numeric(12,3)"),
        ("numeric(50)", DataType::Decimal256(50, 0), "numeric(50,0)"),
        ("numeric", DataType::Decimal128(38, 10), "numeric"),
        ("STRING", DataType::Utf8, "text"),
        ("varchar(20)", DataType::Utf8, "character varying(20)"),
        ("character varying", DataType::Utf8, "character varying"),
        ("TIMESTAMP(3)", field("timestamp").data_type().clone(), "timestamp(3) without time zone"),
        (
            "timestamp with time zone",
            field("timestamptz").data_type().clone(),
            "timestamp with time zone",
        ),
        ("float(24)", DataType::Float32, "real"),
        ("float", DataType::Float64, "double precision"),
        ("bytes", DataType::Binary, "bytea"),
        ("jsonb", DataType::Utf8, "jsonb"),
        ("uuid", DataType::FixedSizeBinary(16), "uuid"),
        ("regclass", DataType::Int64, "regclass"),
        ("name", DataType::Utf8, "name"),
        ("oid", DataType::Int64, "oid"),
    ] {
        assert_eq!(field(sql).data_type(), &data_type, "{sql}");
        assert_eq!(format_type(&field(sql)), shown, "{sql}");
    }
    for sql in ["int[]", "array<int>", "int[3]", "_int4"] {
        assert_eq!(format_type(&field(sql)), "integer[]", "{sql}");
        assert_eq!(pg_type_of(&field(sql)).oid, 1007, "{sql}");
    }
    assert_eq!(type_modifier(&field("numeric(10,2)")), 655_366);
    assert_eq!(type_modifier(&field("varchar(20)")), 24);
    for pg_type in PgType::ALL.iter().filter(|t| !t.name.ends_with("record")) {
        let oid = pg_type_of(&field_of_pg_type("c", pg_type)).oid;
        assert_eq!(oid, pg_type.oid, "{}", pg_type.name);
    }
}

#[test]
fn unknown_types_are_refused_by_name() {
    let parse = |sql: &str| {
        let mut parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(sql).unwrap();
        field_of_sql_type("c", &parser.parse_data_type().unwrap()).unwrap_err()
    };
    assert_eq!(parse("wibble").to_string(), "type \"wibble\" does not exist (42704)");
    assert_eq!(parse("numeric(1001)").code.0, "22023");
    assert_eq!(parse("numeric(100,2)").code.0, "0A000");
    assert_eq!(
        parse("varchar(0)").to_string(),
        "length for type varchar must be at least 1 (22023)"
    );
    assert_eq!(parse("serial").code.0, "0A000");
}

#[test]
fn time_zones_are_read_as_set_timezone_reads_them() {
    let east =
        |text: &str| TimeZone::parse(text).map(|z| z.offset_at_instant(1_600_000_000_000_000));
    assert_eq!(east("utc"), Some(0));
    assert_eq!(east("america/new_york"), Some(-4 * 3600));
    assert_eq!(east("-7"), Some(-7 * 3600));
    assert_eq!(east("5.5"), Some(19_800));
    assert_eq!(east("UTC+3"), Some(-3 * 3600));
    assert_eq!(east("+03:30"), Some(-12_600));
    assert_eq!(east("<+05>-5"), Some(5 * 3600));
    assert_eq!(east("Nowhere/Land"), None);
    assert_eq!(TimeZone::Fixed(19_800).name(), "<+05:30>-05:30");
}

#[test]
fn output_settings_change_the_text() {
    let style = TextStyle {
        date_order: super::DateOrder::Mdy,
        interval_style: IntervalStyle::Iso8601,
        bytea_output: ByteaOutput::Escape,
        extra_float_digits: 0,
        time_zone: TimeZone::parse("Asia/Kolkata").unwrap(),
    };
    let as_text = |sql: &str, input: &str| {
        text_of(
            &parse_text(input, &field(sql), &TextStyle::default()).unwrap(),
            &field(sql),
            &style,
        )
    };
    assert_eq!(as_text("interval", "1 year 2 mons -3 days 04:05:06.7"), "P1Y2M-3DT4H5M6.7S");
    assert_eq!(as_text("interval", "-0.5 s"), "PT-0.5S");
    assert_eq!(as_text("bytea", "\\x00615cff"), "\\000a\\\\\\377");
    assert_eq!(as_text("float8", "0.1234567890123456789"), "0.123456789012346");
    assert_eq!(as_text("timestamptz", "2020-01-02 00:00:00+00"), "2020-01-02 05:30:00+05:30");
}

#[test]
fn malformed_binary_values_are_refused_without_panic() {
    let samples = [
        "int[]",
        "numeric(10,2)",
        "jsonb",
        "interval",
        "uuid",
        "timestamp",
        "text[]",
        "boolean",
        "date",
    ];
    for sql in samples {
        for length in 0..40 {
            for byte in [0u8, 1, 0x7f, 0xff] {
                // What matters is that nothing panics; some of these bytes are values.
                let _ = parse_binary(&vec![byte; length], &field(sql));
            }
        }
    }
    assert_eq!(parse_binary(&[0; 3], &field("int")).unwrap_err().code.0, "22P03");
    assert_eq!(parse_binary(&[b'a', 0xff], &field("text")).unwrap_err().code.0, "22021");
    // Seven hundred million elements are announced, none is there.
    let huge = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23, 0x2a, 0, 0, 0, 0, 0, 0, 1];
    assert_eq!(parse_binary(&huge, &field("int[]")).unwrap_err().code.0, "22P03");
}

#[test]
fn jsonb_normalised_twice_is_the_same() {
    for line in CORPUS.lines().filter(|l| l.starts_with("jsonb\t")) {
        let text = unescape(line.split('\t').nth(2).unwrap());
        if !text.starts_with('!') {
            assert_eq!(jsonb_of_text(&text).unwrap(), text);
        }
    }
    let deep = "[".repeat(100_000);
    assert_eq!(jsonb_of_text(&deep).unwrap_err().code.0, "54001");
}

#[test]
fn floats_that_are_whole_have_no_point() {
    let floats = Float64Array::from(vec![1.0, -0.0, 1e20, 1e15, f64::NAN, f64::NEG_INFINITY]);
    assert_eq!(shown_plain(Arc::new(floats)), ["1", "-0", "1e+20", "1e+15", "NaN", "-Infinity"]);
}

/// Every type that text is read as.
const READ_TYPES: [&str; 20] = [
    "boolean",
    "smallint",
    "integer",
    "bigint",
    "real",
    "float8",
    "numeric(10,2)",
    "numeric(60,5)",
    "numeric",
    "bytea",
    "varchar(3)",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "interval",
    "uuid",
    "jsonb",
    "text[]",
    "timestamp[]",
];

/// Pieces from which texts near to valid ones are made.
const PIECES: &str = "(-|\\+|[0-9]{1,20}|[0-9]{1,2}|:|\\.|/| |,|T|t|e|E|P|Y|M|D|H|S|Z|BC|am|pm|jan|year|mons|days|ago\
    |week|ms|\\{|\\}|\\[|\\]|\"|\\\\|u[0-9a-f]{4}|null|true|nan|inf|infinity|x|utc|Europe/Paris|é|\\x00){0,12}";

proptest::proptest! {
    #[test]
    fn no_text_makes_a_reader_panic_and_what_is_read_reads_back(text in PIECES) {
        for sql in READ_TYPES {
            let (field, style) = (field(sql), new_york());
            if let Ok(value) = parse_text(&text, &field, &style) {
                let shown = text_of(&value, &field, &style);
                let again = parse_text(&shown, &field, &style);
                let again = again.map(|v| text_of(&v, &field, &style));
                proptest::prop_assert_eq!(again.as_deref(), Ok(shown.as_str()), "{} {:?}", sql, text);
            }
        }
    }

    #[test]
    fn no_bytes_make_a_binary_reader_panic(bytes in proptest::collection::vec(0u8.., 0..40)) {
        for sql in READ_TYPES {
            if let Ok(value) = parse_binary(&bytes, &field(sql)) {
                let _ = text_of(&value, &field(sql), &new_york());
            }
        }
    }
}
