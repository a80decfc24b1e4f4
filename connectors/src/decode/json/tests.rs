//! Tests of the JSON decoder as a whole: what each column takes, what each bad message is told, and that the fast
//! way, the careful way and an independent parser agree on messages broken at random.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, Field, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

use super::*;
use crate::decode::PADDING;

/// Messages laid out as a reader does it.
struct Laid {
    data: Vec<u8>,
    spans: Vec<(u32, u32)>,
}

impl Laid {
    fn new(messages: &[impl AsRef<[u8]>], padding: usize) -> Laid {
        let (mut data, mut spans) = (Vec::new(), Vec::new());
        for message in messages {
            spans.push((data.len() as u32, message.as_ref().len() as u32));
            data.extend_from_slice(message.as_ref());
        }
        data.resize(data.len() + padding, 0);
        Laid { data, spans }
    }

    fn messages(&self) -> Messages<'_> {
        Messages { data: &self.data, spans: &self.spans }
    }
}

fn schema(fields: Vec<Field>) -> SchemaRef {
    Arc::new(Schema::new(fields))
}

fn all(schema: &SchemaRef) -> Vec<usize> {
    (0..schema.fields().len()).collect()
}

fn jsonb(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
        .with_metadata([("tidewater.type".into(), "jsonb".into())].into())
}

fn list(item: Field) -> DataType {
    DataType::List(Arc::new(item))
}

fn rendered(batch: &RecordBatch, column: usize) -> Vec<String> {
    let options = FormatOptions::new().with_null("NULL");
    let formatter = ArrayFormatter::try_new(batch.column(column), &options).unwrap();
    (0..batch.num_rows()).map(|row| formatter.value(row).to_string()).collect()
}

/// Decodes messages of which each is known to be seen twice, so that the second time goes by a template; both times
/// must give the same. Returns one text a message: the row, or the failure.
fn decode(schema: &SchemaRef, messages: &[&str]) -> Vec<String> {
    let mut decoder = JsonDecoder::new(schema.clone(), &all(schema)).unwrap();
    let mut outcomes = Vec::new();
    for message in messages {
        let laid = Laid::new(&[message, message], PADDING);
        let mut failures = Vec::new();
        let batch = decoder.decode(laid.messages(), &mut failures).unwrap();
        assert_eq!(batch.num_rows() + failures.len(), 2, "{message}");
        if let [first, second] = failures.as_slice() {
            assert_eq!((&first.reason, first.message, second.message), (&second.reason, 0, 1));
            outcomes.push(format!("{} {}", first.sqlstate, first.reason));
        } else {
            assert_eq!(batch.slice(0, 1), batch.slice(1, 1), "{message}");
            let row: Vec<_> = (0..batch.num_columns())
                .map(|column| rendered(&batch, column).swap_remove(0))
                .collect();
            outcomes.push(row.join(" | "));
        }
    }
    outcomes
}

/// Checks what one nullable column `x` of a type makes of JSON values.
fn check_values(data_type: DataType, cases: &[(&str, &str)]) {
    check_field(Field::new("x", data_type, true), cases);
}

fn check_field(field: Field, cases: &[(&str, &str)]) {
    let schema = schema(vec![field]);
    for (value, want) in cases {
        let got = decode(&schema, &[&format!("{{\"x\":{value}}}")]);
        assert_eq!(got, [*want], "{value}");
    }
    assert_eq!(decode(&schema, &["{\"x\":null}", "{}"]), ["NULL", "NULL"]);
}

#[test]
fn message_must_be_exactly_one_object() {
    let schema = schema(vec![Field::new("a", DataType::Int64, true)]);
    for (message, want) in [
        (r#" {"a" : 1} "#, "1"),
        ("{}", "NULL"),
        ("", "22P02 the message is empty"),
        (" \n", "22P02 the message is empty"),
        (
            "[]",
            "22P02 invalid input syntax for type json: expected an object but found \"[\" at byte 0",
        ),
        (
            "1",
            "22P02 invalid input syntax for type json: expected an object but found \"1\" at byte 0",
        ),
        (
            "null",
            "22P02 invalid input syntax for type json: expected an object but found \"n\" at byte 0",
        ),
        (
            r#"{"a":1}{"a":2}"#,
            "22P02 invalid input syntax for type json: expected the message's end after its object but found \"{\" at byte 7",
        ),
        (
            r#"{"a":1} x"#,
            "22P02 invalid input syntax for type json: expected the message's end after its object but found \"x\" at byte 8",
        ),
        (
            r#"{"a":1"#,
            "22P02 invalid input syntax for type json: expected \",\" or \"}\" but the message ends at byte 6",
        ),
        (
            r#"{"a":"#,
            "22P02 invalid input syntax for type json: expected a value but the message ends at byte 5",
        ),
        (
            r#"{"a":1,}"#,
            "22P02 invalid input syntax for type json: expected a string but found \"}\" at byte 7",
        ),
        (
            r#"{"b":tru}"#,
            "22P02 invalid input syntax for type json: expected a value but found \"t\" at byte 5",
        ),
        (
            r#"{"b":01}"#,
            "22P02 invalid input syntax for type json: expected \",\" or \"}\" but found \"1\" at byte 6",
        ),
        (
            r#"{"b":"\ud800"}"#,
            "22P02 invalid input syntax for type json: \\u must be followed by four hexadecimal digits, surrogates in pairs, at byte 6",
        ),
        (
            "{\"b\":\"\n\"}",
            "22P02 invalid input syntax for type json: a control character must be escaped in a string, at byte 6",
        ),
        (r#"{"b":{"c":[1,{"d":null}]}}"#, "NULL"),
        (r#"{"b":"\u0000"}"#, "NULL"),
    ] {
        assert_eq!(decode(&schema, &[message]), [want], "{message}");
    }
    let deep = format!("{{\"b\":{}", "[".repeat(200_000));
    assert_eq!(
        decode(&schema, &[&deep]),
        ["54001 JSON is nested deeper than 128 levels at byte 133"]
    );
}

#[test]
fn bad_message_leaves_out_only_itself() {
    let schema = schema(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("s", DataType::Utf8, false),
    ]);
    let messages = [
        b"{\"a\":1,\"s\":\"x\"}".as_slice(),
        b"{\"a\":2,\"s\":\"y\"",
        b"{\"a\":3,\"s\":\"z\"}",
        b"",
        b"{\"a\":4,\"s\":\"\xff\"}",
        b"{\"a\":5,\"s\":\"\xc3\xa9\"}",
        b"{\"a\":6}",
    ];
    let laid = Laid::new(&messages, PADDING);
    let mut decoder = JsonDecoder::new(schema, &[0, 1]).unwrap();
    let mut failures = Vec::new();
    let batch = decoder.decode(laid.messages(), &mut failures).unwrap();
    assert_eq!(rendered(&batch, 0), ["1", "3", "5"]);
    assert_eq!(rendered(&batch, 1), ["x", "z", "é"]);
    let failed: Vec<_> =
        failures.iter().map(|f| (f.message, f.sqlstate, f.reason.as_str())).collect();
    assert_eq!(
        failed,
        [
            (
                1,
                "22P02",
                "invalid input syntax for type json: expected \",\" or \"}\" but the message ends at byte 14"
            ),
            (3, "22P02", "the message is empty"),
            (
                4,
                "22P02",
                "invalid input syntax for type json: invalid byte sequence for encoding \"UTF8\" at byte 12"
            ),
            (6, "23502", "null value in column \"s\""),
        ]
    );
}

#[test]
fn keys_match_exactly_before_they_match_in_any_case() {
    let schema = schema(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("ID", DataType::Int64, true),
        Field::new("ünï", DataType::Int64, true),
    ]);
    let got = decode(
        &schema,
        &[r#"{"ID":1,"id":2,"ÜNÏ":3}"#, r#"{"Id":4,"\u0049D":5}"#, r#"{"id":1,"id":null,"id":7}"#],
    );
    assert_eq!(got, ["2 | 1 | 3", "4 | 5 | NULL", "7 | NULL | NULL"]);
}

#[test]
fn integers_take_integral_numbers_and_strings_of_digits() {
    check_values(
        DataType::Int64,
        &[
            ("-12", "-12"),
            ("-0", "0"),
            ("9223372036854775807", "9223372036854775807"),
            (
                "9223372036854775808",
                "22003 column \"x\": value \"9223372036854775808\" is out of range for type bigint",
            ),
            ("1.0", "1"),
            ("1e3", "1000"),
            ("1.5", "22P02 column \"x\": invalid input syntax for type bigint: \"1.5\""),
            ("\"12\"", "12"),
            ("\"abc\"", "22P02 column \"x\": invalid input syntax for type bigint: \"abc\""),
            ("true", "22P02 column \"x\": invalid input syntax for type bigint: \"true\""),
            ("[1]", "22P02 column \"x\": invalid input syntax for type bigint: \"[1]\""),
        ],
    );
    let too_small = "22003 column \"x\": value \"-32769\" is out of range for type smallint";
    check_values(DataType::Int16, &[("-32768", "-32768"), ("-32769", too_small)]);
    let too_large = "22003 column \"x\": value \"2147483648\" is out of range for type integer";
    check_values(DataType::Int32, &[("2147483647", "2147483647"), ("2147483648", too_large)]);
}

#[test]
fn booleans_take_their_words_and_no_numbers() {
    check_values(
        DataType::Boolean,
        &[
            ("true", "true"),
            ("false", "false"),
            ("\"true\"", "true"),
            ("\"off\"", "false"),
            ("\"maybe\"", "22P02 column \"x\": invalid input syntax for type boolean: \"maybe\""),
            ("1", "22P02 column \"x\": invalid input syntax for type boolean: \"1\""),
        ],
    );
}

#[test]
fn floats_take_numbers_and_words() {
    check_values(
        DataType::Float64,
        &[
            ("0.1", "0.1"),
            ("-0", "-0.0"),
            ("123456789012345678", "1.2345678901234568e17"),
            ("1e-7", "1e-7"),
            ("\"-Infinity\"", "-inf"),
            ("\"NaN\"", "NaN"),
            ("1e999", "22003 column \"x\": \"1e999\" is out of range for type double precision"),
            (
                "false",
                "22P02 column \"x\": invalid input syntax for type double precision: \"false\"",
            ),
        ],
    );
    check_values(
        DataType::Float32,
        &[("0.1", "0.1"), ("16777217.5", "16777218.0"), ("8388608.51", "8388609.0")],
    );
}

#[test]
fn numerics_are_exact() {
    check_values(
        DataType::Decimal128(6, 2),
        &[
            ("1", "1.00"),
            ("-1.005", "-1.01"),
            ("\"12.345\"", "12.35"),
            ("1234.5e-1", "123.45"),
            ("9999.99", "9999.99"),
            (
                "9999.995",
                "22003 column \"x\": numeric field overflow: \"9999.995\" must round to an absolute value less than 10^4",
            ),
            (
                "10000",
                "22003 column \"x\": numeric field overflow: \"10000\" must round to an absolute value less than 10^4",
            ),
            ("\"x\"", "22P02 column \"x\": invalid input syntax for type numeric: \"x\""),
        ],
    );
}

#[test]
fn text_takes_any_value_as_its_json_text() {
    check_values(
        DataType::Utf8,
        &[
            (r#""a\"\u00e9\ud83d\ude00\n""#, "a\"é😀\n"),
            (r#""""#, ""),
            ("1.50", "1.50"),
            ("true", "true"),
            (r#"{"b": [1, "\u0041"]}"#, r#"{"b": [1, "\u0041"]}"#),
            (
                r#""\u0000""#,
                "22P05 column \"x\": unsupported Unicode escape sequence: \\u0000 cannot be converted to text",
            ),
        ],
    );
    let field = jsonb("x");
    check_field(
        field,
        &[
            (r#"{"bb":1e2,"a":"\u00e9"}"#, r#"{"a": "é", "bb": 100}"#),
            ("[1,null]", "[1, null]"),
            ("\"s\"", "\"s\""),
        ],
    );
}

#[test]
fn binary_types_are_read_from_text() {
    let wrong = "22P02 column \"x\": invalid input syntax for type bytea: \"\\x0\"";
    check_values(
        DataType::Binary,
        &[(r#""\\xdead""#, "dead"), (r#""ab""#, "6162"), (r#""\\x0""#, wrong)],
    );
    let wrong = "22P02 column \"x\": invalid input syntax for type uuid: \"1\"";
    check_values(
        DataType::FixedSizeBinary(16),
        &[
            (r#""A0EEBC99-9c0b-4ef8-bb6d-6bb9bd380a11""#, "a0eebc999c0b4ef8bb6d6bb9bd380a11"),
            ("1", wrong),
        ],
    );
}

#[test]
fn dates_and_times_are_read_from_text_and_numbers() {
    let no_day = "22008 column \"x\": date/time field value out of range: \"2023-02-29\"";
    check_values(
        DataType::Date32,
        &[("\"2024-02-29\"", "2024-02-29"), ("19782", "2024-02-29"), ("\"2023-02-29\"", no_day)],
    );
    let no_time = "22003 column \"x\": value \"-1\" is out of range for type time";
    check_values(
        DataType::Time64(TimeUnit::Microsecond),
        &[("\"10:11:12.5\"", "10:11:12.500"), ("1000000", "00:00:01"), ("-1", no_time)],
    );
    check_values(
        DataType::Timestamp(TimeUnit::Microsecond, None),
        &[
            ("\"2024-02-29 23:59:59.123456\"", "2024-02-29T23:59:59.123456"),
            ("\"2024-02-29T23:59:59\"", "2024-02-29T23:59:59"),
            ("\"2024-02-29T23:59:59.1234567Z\"", "2024-02-29T23:59:59.123457"),
            ("\"2024-02-29T23:59:59.123456789+02:00\"", "2024-02-29T23:59:59.123457"),
            ("\"2024-02-29\"", "2024-02-29T00:00:00"),
            ("1709251199123", "2024-02-29T23:59:59.123"),
            ("-1", "1969-12-31T23:59:59"),
            ("1709251199", "2024-02-29T23:59:59"),
            ("1709251199.25", "2024-02-29T23:59:59.250"),
            ("1709251199123456", "2024-02-29T23:59:59.123456"),
            ("1709251199123456789", "2024-02-29T23:59:59.123457"),
            ("\"x\"", "22007 column \"x\": invalid input syntax for type timestamp: \"x\""),
            ("true", "22P02 column \"x\": invalid input syntax for type timestamp: \"true\""),
        ],
    );
    check_values(
        DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into())),
        &[
            ("\"2024-02-29 23:59:59.9995\"", "2024-03-01T00:00:00Z"),
            ("\"2024-02-29 23:59:59+01:30\"", "2024-02-29T22:29:59Z"),
            ("1709251199123", "2024-02-29T23:59:59.123Z"),
        ],
    );
    check_values(
        DataType::Interval(IntervalUnit::MonthDayNano),
        &[("\"1 day 02:03:04\"", "1 days 2 hours 3 mins 4.000000000 secs")],
    );
}

#[test]
fn arrays_and_structs_nest() {
    let point = Fields::from(vec![
        Field::new("x", DataType::Int64, false),
        Field::new("tags", list(Field::new("item", DataType::Utf8, true)), true),
    ]);
    let schema = schema(vec![
        Field::new("p", DataType::Struct(point.clone()), true),
        Field::new("ps", list(Field::new("item", DataType::Struct(point), true)), true),
        Field::new("ns", list(Field::new("item", DataType::Int64, false)), true),
    ]);
    for (message, want) in [
        (
            r#"{"p":{"x":1,"tags":["a",null]},"ns":[1,2]}"#,
            "{x: 1, tags: [a, NULL]} | NULL | [1, 2]",
        ),
        (r#"{"p":{"X":1,"y":[{}]},"ps":[]}"#, "{x: 1, tags: NULL} | [] | NULL"),
        (
            r#"{"p":null,"ps":[{"x":1},null,{"x":2,"x":3}]}"#,
            "NULL | [{x: 1, tags: NULL}, NULL, {x: 3, tags: NULL}] | NULL",
        ),
        (r#"{"p":{"tags":[]}}"#, "23502 null value in column \"p.x\""),
        (r#"{"ps":[{"x":1},{}]}"#, "23502 null value in column \"ps[].x\""),
        (r#"{"ns":[1,null]}"#, "23502 null value in column \"ns[]\""),
        (r#"{"ns":[1,"a"]}"#, "22P02 column \"ns[]\": invalid input syntax for type bigint: \"a\""),
        (
            r#"{"ns":{"a":1}}"#,
            "22P02 column \"ns\": invalid input syntax for type array: \"{\"a\":1}\"",
        ),
        (r#"{"p":[1]}"#, "22P02 column \"p\": invalid input syntax for type struct: \"[1]\""),
    ] {
        assert_eq!(decode(&schema, &[message]), [want], "{message}");
    }
}

#[test]
fn an_object_is_a_map_with_each_key_once_and_in_order() {
    let map = |key: DataType| {
        let parts = [Field::new("key", key, true), Field::new("value", DataType::Int64, true)];
        let item = Field::new("item", DataType::Struct(Fields::from(parts.to_vec())), true);
        Field::new("m", list(item), true)
            .with_metadata([("tidewater.type".into(), "map".into())].into())
    };
    let texts = schema(vec![map(DataType::Utf8)]);
    let numbers = schema(vec![map(DataType::Int64)]);
    for (schema, message, want) in [
        (
            &texts,
            r#"{"m":{"b":1,"a":null, "b" : 3,"\u0041":2}}"#,
            "[{key: A, value: 2}, {key: a, value: NULL}, {key: b, value: 3}]",
        ),
        (&texts, r#"{"m":{}}"#, "[]"),
        (&texts, r#"{"m":null}"#, "NULL"),
        (&numbers, r#"{"m":{"10":1,"9":2}}"#, "[{key: 9, value: 2}, {key: 10, value: 1}]"),
        (
            &numbers,
            r#"{"m":{"x":1}}"#,
            "22P02 column \"m[].key\": invalid input syntax for type bigint: \"x\"",
        ),
        (
            &texts,
            r#"{"m":{"x":"y"}}"#,
            "22P02 column \"m[].value\": invalid input syntax for type bigint: \"y\"",
        ),
        (&texts, r#"{"m":[]}"#, "22P02 column \"m\": invalid input syntax for type map: \"[]\""),
    ] {
        assert_eq!(decode(schema, &[message]), [want], "{message}");
    }
}

#[test]
fn unwanted_columns_are_checked_and_come_empty() {
    let inner = Fields::from(vec![Field::new("n", DataType::Int64, false)]);
    let schema = schema(vec![
        Field::new("a", DataType::Int64, false),
        Field::new("s", DataType::Utf8, false),
        Field::new("p", DataType::Struct(inner), false),
        Field::new("l", list(Field::new("item", DataType::Int64, false)), true),
        Field::new("k", DataType::Int64, true),
    ]);
    let messages = [
        r#"{"a":1,"s":"x","p":{"n":1},"l":[1,2],"k":1}"#,
        r#"{"a":2,"s":"y","p":{"n":1},"l":[1,2],"k":2}"#,
        r#"{"a":2,"s":"y","p":{},"l":[1,2],"k":2}"#,
        r#"{"a":2,"s":"y","p":{"n":1},"l":[null],"k":2}"#,
        r#"{"a":"?","s":"y","p":{"n":1},"l":[],"k":2}"#,
        r#"{"a":2,"s":"y","p":{"n":1},"l":[],"k":3}"#,
    ];
    let laid = Laid::new(&messages, PADDING);
    let mut decoder = JsonDecoder::new(schema, &[4]).unwrap();
    for _ in 0..2 {
        let mut failures = Vec::new();
        let batch = decoder.decode(laid.messages(), &mut failures).unwrap();
        assert_eq!(rendered(&batch, 4), ["1", "2", "3"]);
        assert_eq!(rendered(&batch, 0), ["0", "0", "0"]);
        assert_eq!(rendered(&batch, 1), ["", "", ""]);
        assert_eq!(rendered(&batch, 2), ["{n: 0}", "{n: 0}", "{n: 0}"]);
        assert_eq!(rendered(&batch, 3), ["NULL", "NULL", "NULL"]);
        assert_eq!(failures.iter().map(|f| f.message).collect::<Vec<_>>(), [2, 3, 4]);
    }
}

#[test]
fn schema_without_columns_still_checks_and_counts() {
    let laid = Laid::new(&["{}", "{\"a\":}", "{\"a\":[1]}"], PADDING);
    let mut failures = Vec::new();
    let batch = JsonDecoder::new(schema(vec![]), &[])
        .unwrap()
        .decode(laid.messages(), &mut failures)
        .unwrap();
    assert_eq!((batch.num_rows(), failures.len()), (2, 1));
}

#[test]
fn types_without_a_reading_and_spans_outside_are_errors() {
    let unreadable = schema(vec![Field::new("d", DataType::Duration(TimeUnit::Second), true)]);
    let error = JsonDecoder::new(unreadable, &[0]).unwrap_err();
    assert_eq!(
        error.message,
        "column \"d\" cannot be read from JSON: its Arrow type is Duration(s)"
    );
    let mut decoder =
        JsonDecoder::new(schema(vec![Field::new("a", DataType::Int64, true)]), &[0]).unwrap();
    let good = Laid::new(&["{\"a\":1}"], 0);
    let outside = Messages { data: &good.data, spans: &[(0, 7), (1, 7)] };
    assert_eq!(decoder.decode(outside, &mut Vec::new()).unwrap_err().kind, ErrorKind::Bug);
    let batch = decoder.decode(good.messages(), &mut Vec::new()).unwrap();
    assert_eq!(batch.num_rows(), 1, "nothing of the refused batch is left");
}

#[test]
fn interleaved_layouts_all_find_their_template() {
    let schema =
        schema(vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8, true)]);
    let layouts = [r#"{"a":1,"b":"x"}"#, r#"{"b":"x","a":1}"#, r#"{"a":1}"#, r#"{ "b" : "x" }"#];
    let messages: Vec<_> = layouts.iter().cycle().take(400).collect();
    let laid = Laid::new(&messages, PADDING);
    let mut decoder = JsonDecoder::new(schema, &[0, 1]).unwrap();
    let batch = decoder.decode(laid.messages(), &mut Vec::new()).unwrap();
    assert_eq!(batch.num_rows(), 400);
    assert_eq!(batch.column(0).null_count(), 100);
    assert_eq!(decoder.templates.hits, 396, "all but the first of each layout");
}

#[test]
fn remembered_minute_is_never_matched_by_anything_but_a_timestamp() {
    let schema = schema(vec![Field::new("t", DataType::Timestamp(TimeUnit::Second, None), true)]);
    let zeros = format!("{{\"t\":\"{}:00\"}}", "\0".repeat(16));
    let laid = Laid::new(&["{\"t\":0}", &zeros], PADDING);
    let mut failures = Vec::new();
    JsonDecoder::new(schema, &[0]).unwrap().decode(laid.messages(), &mut failures).unwrap();
    assert_eq!(failures.len(), 1);
}

#[test]
fn message_cut_short_does_not_go_on_in_the_next_one() {
    let schema = schema(vec![Field::new("a", DataType::Int64, true), jsonb("j")]);
    let messages = [r#"{"a":1,"j":{}}"#, r#"{"a":1"#, r#","j":{}}"#, r#"{"a":1,"j":"#, "{}", "}"];
    for padding in [0, PADDING] {
        let laid = Laid::new(&messages, padding);
        let mut decoder = JsonDecoder::new(schema.clone(), &[0, 1]).unwrap();
        let mut failures = Vec::new();
        let batch = decoder.decode(laid.messages(), &mut failures).unwrap();
        assert_eq!(failures.iter().map(|f| f.message).collect::<Vec<_>>(), [1, 2, 3, 5]);
        assert_eq!(batch.num_rows(), 2);
    }
}

#[test]
fn values_that_need_care_do_not_push_layouts_out() {
    let schema =
        schema(vec![Field::new("a", DataType::Int64, true), Field::new("s", DataType::Utf8, true)]);
    let messages = [
        r#"{"a":1,"s":"x"}"#,
        r#"{"a":1.0,"s":null}"#,
        r#"{"a":"1","s":"\u0041"}"#,
        r#"{"a":null,"s":[1]}"#,
        r#"{"a":1234567890123456789,"s":"é"}"#,
        r#"{"a":1e3,"s":true}"#,
    ];
    let laid = Laid::new(&messages, PADDING);
    let mut decoder = JsonDecoder::new(schema, &[0, 1]).unwrap();
    let batch = decoder.decode(laid.messages(), &mut Vec::new()).unwrap();
    assert_eq!(rendered(&batch, 0), ["1", "1", "1", "NULL", "1234567890123456789", "1000"]);
    assert_eq!(rendered(&batch, 1), ["x", "NULL", "A", "[1]", "é", "true"]);
    assert_eq!(decoder.templates.hits, 5);
}

/// A schema with every type, and messages that fit it.
fn everything() -> SchemaRef {
    let inner = Fields::from(vec![
        Field::new("n", DataType::Int64, false),
        Field::new("t", DataType::Utf8, true),
        Field::new("l", list(Field::new("item", DataType::Float64, true)), true),
    ]);
    schema(vec![
        Field::new("auction", DataType::Int64, false),
        Field::new("channel", DataType::Utf8, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        Field::new("tz", DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())), true),
        Field::new("flag", DataType::Boolean, true),
        Field::new("small", DataType::Int16, true),
        Field::new("int", DataType::Int32, true),
        Field::new("real", DataType::Float32, true),
        Field::new("double", DataType::Float64, true),
        Field::new("amount", DataType::Decimal128(12, 3), true),
        jsonb("doc"),
        Field::new("bytes", DataType::Binary, true),
        Field::new("day", DataType::Date32, true),
        Field::new("time", DataType::Time64(TimeUnit::Microsecond), true),
        Field::new("span", DataType::Interval(IntervalUnit::MonthDayNano), true),
        Field::new("uuid", DataType::FixedSizeBinary(16), true),
        Field::new("inner", DataType::Struct(inner.clone()), true),
        Field::new("inners", list(Field::new("item", DataType::Struct(inner), true)), true),
    ])
}

fn random_member(rng: &mut StdRng, name: &str) -> String {
    if name != "auction" && rng.random_bool(0.05) {
        return "null".to_owned();
    }
    let digits = rng.random_range(1..19);
    let integer = rng.random_range(-(10i64.pow(digits))..10i64.pow(digits));
    let inner = |rng: &mut StdRng| {
        format!(r#"{{"n":{},"t":"t{}","l":[1.5,{}]}}"#, integer, integer, rng.random_range(0..9))
    };
    match name {
        "auction" => integer.to_string(),
        "channel" => {
            let words = [
                "Google",
                "",
                "é😀",
                "a\\nb",
                "\\u00e9\\ud83d\\ude00",
                "a rather long text of plain letters",
                "\\\\",
            ];
            format!("\"{}{}\"", words.choose(rng).unwrap(), words.choose(rng).unwrap())
        }
        "ts" | "tz" => match rng.random_range(0..8) {
            0 => integer.to_string(),
            1 => format!("\"2024-02-{:02}\"", rng.random_range(1..30)),
            kind => {
                let zone = ["", "", "Z", "+01:30", " UTC"].choose(rng).unwrap();
                let fraction =
                    ["", ".5", ".123", ".1239", ".123456", ".9999999", ".12345678", ".999999999"]
                        .choose(rng)
                        .unwrap();
                let (hour, second) = (rng.random_range(0..25), rng.random_range(0..61));
                let separator = if kind > 4 { 'T' } else { ' ' };
                format!("\"2024-02-29{separator}{hour:02}:15:{second:02}{fraction}{zone}\"")
            }
        },
        "flag" => rng.random_bool(0.5).to_string(),
        "small" => rng.random_range(-33_000..33_000).to_string(),
        "int" => (integer % 2_200_000_000).to_string(),
        "amount" if rng.random_bool(0.9) => {
            format!("{}.{}", integer % 100_000_000, rng.random_range(0..100_000))
        }
        "real" | "double" | "amount" => match rng.random_range(0..6) {
            0 => format!("{integer}e{}", rng.random_range(-30..20)),
            1 => format!("\"{}\"", integer as f64 / 1e3),
            2 => integer.to_string(),
            _ => format!("{}.{}", integer % 10_000_000, rng.random_range(0..100_000)),
        },
        "doc" => format!(r#"{{"bb":{integer},"a":[true,null,"\u0041"],"c":{{}}}}"#),
        "bytes" => r#""\\xdeadbeef""#.to_owned(),
        "day" => format!("\"2024-02-{:02}\"", rng.random_range(1..30)),
        "time" => format!("\"10:{:02}:59.5\"", rng.random_range(0..60)),
        "span" => format!("\"{} days 01:02:03\"", rng.random_range(0..99)),
        "uuid" => "\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\"".to_owned(),
        "inner" => inner(rng),
        "inners" => format!("[{},null,{}]", inner(rng), inner(rng)),
        _ => ["1", "\"text\"", "[1,{\"a\":[]}]", "1.5e3", "null", "\"\\ud83d\\ude00é\""]
            .choose(rng)
            .unwrap()
            .to_string(),
    }
}

fn random_message(rng: &mut StdRng, names: &[&str]) -> Vec<u8> {
    let mut names = names.to_vec();
    if rng.random_bool(0.1) {
        names.shuffle(rng);
    }
    if rng.random_bool(0.1) {
        names.truncate(rng.random_range(names.len() / 2..=names.len()));
    }
    let colon = if rng.random_bool(0.1) { " : " } else { ":" };
    let members: Vec<_> =
        names.iter().map(|name| format!("\"{name}\"{colon}{}", random_member(rng, name))).collect();
    format!("{{{}}}", members.join(",")).into_bytes()
}

/// Breaks a message in one to three places.
fn mutate(rng: &mut StdRng, message: &mut Vec<u8>) {
    const INTERESTING: &[u8] =
        b"\"\"\"\\{}[]:,0123456789-+.eEntfuZT \n\x00\x01\x1f\x7f\x80\xff\xc3\xa9'/";
    for _ in 0..rng.random_range(1..4) {
        if message.is_empty() {
            return;
        }
        let at = rng.random_range(0..message.len());
        let to = (at + rng.random_range(0..20)).min(message.len());
        match rng.random_range(0..7) {
            0 => drop(message.remove(at)),
            1 => message.insert(at, *INTERESTING.choose(rng).unwrap()),
            2 => message[at] = *INTERESTING.choose(rng).unwrap(),
            3 => message.truncate(at),
            4 => message[at] = rng.random(),
            5 => drop(message.drain(at..to)),
            _ => {
                let copy = message[at..to].to_vec();
                drop(message.splice(at..at, copy));
            }
        }
    }
}

/// The environment's value or the default.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Whether an independent parser takes the message as one JSON object; `None` where its own limits decide.
fn reference_accepts(message: &[u8]) -> Option<bool> {
    match serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(message) {
        Ok(_) => Some(true),
        Err(e) if e.to_string().contains("number out of range") => None,
        Err(_) => Some(false),
    }
}

/// Every way must agree: with templates and without, all columns wanted or few, with padding or none.
#[test]
fn differential_fast_way_agrees_with_careful_way_on_broken_messages() {
    let seed = setting("TIDEWATER_FUZZ_SEED", rand::random());
    let rounds = setting("TIDEWATER_FUZZ_ROUNDS", 40);
    let schema = everything();
    let names: Vec<_> =
        schema.fields().iter().map(|f| f.name().as_str()).chain(["unknown", "extra"]).collect();
    let few = ["auction", "channel", "ts", "unknown"];
    let mut fast = JsonDecoder::new(schema.clone(), &all(&schema)).unwrap();
    let (mut fast_count, mut failed_count) = (0, 0);
    for round in 0..rounds {
        let context = format!("TIDEWATER_FUZZ_SEED={seed}, round {round}");
        let mut rng = StdRng::seed_from_u64(seed.wrapping_add(round));
        let names = if round % 2 == 0 { names.as_slice() } else { &few };
        let messages: Vec<_> = (0..500)
            .map(|_| {
                let mut message = random_message(&mut rng, names);
                if rng.random_bool(0.5) {
                    mutate(&mut rng, &mut message);
                }
                message
            })
            .collect();
        let laid = Laid::new(&messages, if round % 4 < 2 { PADDING } else { 0 });

        let mut careful = JsonDecoder::new(schema.clone(), &all(&schema)).unwrap();
        careful.use_templates = false;
        let (mut expected_failures, mut failures) = (Vec::new(), Vec::new());
        let expected = careful.decode(laid.messages(), &mut expected_failures).unwrap();
        let before = fast.templates.hits;
        let batch = fast.decode(laid.messages(), &mut failures).unwrap();
        fast_count += fast.templates.hits - before;
        failed_count += failures.len();
        assert_eq!(failures, expected_failures, "{context}");
        // Debug text as well, since NaN is unequal to itself and -0.0 equal to 0.0.
        assert!(batch == expected || format!("{batch:?}") == format!("{expected:?}"), "{context}");
        for array in batch.columns() {
            array.to_data().validate_full().unwrap();
        }

        let wanted: Vec<usize> =
            (0..schema.fields().len()).filter(|_| rng.random_bool(0.3)).collect();
        let mut partial = JsonDecoder::new(schema.clone(), &wanted).unwrap();
        failures.clear();
        let batch = partial.decode(laid.messages(), &mut failures).unwrap();
        assert_eq!(failures, expected_failures, "{context}, wanted {wanted:?}");
        for column in wanted {
            assert_eq!(
                rendered(&batch, column),
                rendered(&expected, column),
                "{context}, column {column}"
            );
        }

        let mut syntax = JsonDecoder::new(Arc::new(Schema::empty()), &[]).unwrap();
        failures.clear();
        syntax.decode(laid.messages(), &mut failures).unwrap();
        for (index, message) in messages.iter().enumerate() {
            let accepted = !failures.iter().any(|failure| failure.message == index);
            let reference = reference_accepts(message).unwrap_or(accepted);
            assert_eq!(accepted, reference, "{context}: {}", String::from_utf8_lossy(message));
        }
    }
    eprintln!(
        "TIDEWATER_FUZZ_SEED={seed}: {} messages, {fast_count} by templates, {failed_count} failed",
        rounds * 500
    );
}

#[test]
fn arbitrary_bytes_never_panic() {
    let seed = setting("TIDEWATER_FUZZ_SEED", rand::random());
    let mut rng = StdRng::seed_from_u64(seed);
    let schema = everything();
    let mut decoder = JsonDecoder::new(schema.clone(), &all(&schema)).unwrap();
    for round in 0..setting("TIDEWATER_FUZZ_ROUNDS", 40) {
        let names: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let mut data = random_message(&mut rng, &names);
        let known = data.len();
        data.extend((0..rng.random_range(0..500)).map(|_| rng.random::<u8>()));
        // Spans at random, overlapping and beginning anywhere, after one good message to learn from.
        let mut spans = vec![(0, known as u32)];
        for _ in 0..200 {
            let start = rng.random_range(0..data.len());
            spans.push((start as u32, rng.random_range(0..=data.len() - start) as u32));
        }
        let mut failures = Vec::new();
        let batch = decoder.decode(Messages { data: &data, spans: &spans }, &mut failures);
        let rows = batch
            .unwrap_or_else(|e| panic!("TIDEWATER_FUZZ_SEED={seed}, round {round}: {e}"))
            .num_rows();
        assert_eq!(rows + failures.len(), spans.len(), "TIDEWATER_FUZZ_SEED={seed}, round {round}");
    }
}
