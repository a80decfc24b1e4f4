//! The JSON decoder over arbitrary bytes, cut into messages at 0xff (which no UTF-8 contains).
//!
//! Each message is decoded twice: all together, so that later ones go by the layouts of earlier ones, and each by a
//! decoder of its own, which has learned nothing and takes the careful way. Rows and failures must be the same.
#![no_main]

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use libfuzzer_sys::fuzz_target;
use tidewater_connectors::decode::{Failure, JsonDecoder, Messages, PADDING};

fn schema() -> SchemaRef {
    let inner = Fields::from(vec![
        Field::new("n", DataType::Int64, false),
        Field::new("t", DataType::Utf8, true),
    ]);
    let list = |item| DataType::List(Arc::new(Field::new("item", item, true)));
    let jsonb = Field::new("j", DataType::Utf8, true);
    Arc::new(Schema::new(vec![
        Field::new("a", DataType::Int64, false),
        Field::new("s", DataType::Utf8, true),
        Field::new("t", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("d", DataType::Decimal128(12, 3), true),
        Field::new("f", DataType::Float64, true),
        Field::new("b", DataType::Boolean, true),
        jsonb.with_metadata([("tidewater.type".into(), "jsonb".into())].into()),
        Field::new("o", DataType::Struct(inner.clone()), true),
        Field::new("l", list(DataType::Struct(inner)), true),
    ]))
}

/// Rows as text (NaN is unequal to itself) and failures.
fn decode(data: &[u8], spans: &[(u32, u32)], outcomes: &mut Vec<String>) {
    let schema = schema();
    let wanted: Vec<usize> = (0..schema.fields().len()).collect();
    let mut decoder = JsonDecoder::new(schema, &wanted).expect("every type has a reading");
    let mut failures: Vec<Failure> = Vec::new();
    let batch = decoder
        .decode(Messages { data, spans }, &mut failures)
        .expect("the spans lie within the data");
    assert_eq!(batch.num_rows() + failures.len(), spans.len());
    let mut failures = failures.into_iter().peekable();
    let mut row = 0;
    for message in 0..spans.len() {
        if let Some(failure) = failures.next_if(|failure| failure.message == message) {
            outcomes.push(failure.reason);
            continue;
        }
        outcomes.push(format!("{:?}", batch.slice(row, 1)));
        row += 1;
    }
}

fuzz_target!(|input: &[u8]| {
    let mut data = input.to_vec();
    data.resize(data.len() + PADDING, 0);
    let mut spans = Vec::new();
    let mut start = 0;
    for message in input.split(|&byte| byte == 0xff) {
        spans.push((start, message.len() as u32));
        start += message.len() as u32 + 1;
    }
    let (mut together, mut alone) = (Vec::new(), Vec::new());
    decode(&data, &spans, &mut together);
    for span in &spans {
        decode(&data, std::slice::from_ref(span), &mut alone);
    }
    assert_eq!(together, alone);
});
