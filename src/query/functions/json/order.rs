//! jsonb compared: a key whose bytes sort as PostgreSQL orders documents, and are the same for equal ones.
//!
//! PostgreSQL's order: an object is more than an array, an array more than a boolean, then numbers, strings, null. Of two
//! arrays or two objects the longer one is more, else their parts decide one after the other, names before values.
//! At the top an array without elements is less than any scalar, and other arrays are more than all scalars. Numbers are compared by value,
//! so that 1 is 1.00.
//!
//! Equality alone needs less: texts that are canonical but for the zeros at the end of fractions.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::builder::BinaryBuilder;

use super::call::{ByRow, Call, Function, Gives, Takes};
use super::document::{Kind, items, unquoted};
use crate::error::Result;

pub(super) static KEY: Function = Function {
    name: "jsonb_order",
    takes: &[Takes::Jsonb],
    required: 1,
    rest: None,
    gives: Gives::Binary,
    strict: true,
    evaluate: keys,
};

/// The text that equal documents have in common.
pub(super) static VALUE: Function =
    Function { name: "jsonb_value", gives: Gives::Text, evaluate: values, ..KEY };

fn values(call: &Call) -> Result<ArrayRef> {
    let documents = call.jsonb(0)?;
    if let ByRow::Each(documents) = &documents
        && !documents.value_data().contains(&b'.')
    {
        return Ok(Arc::new(documents.clone()));
    }
    call.borrow_texts(|row| Ok(documents.get(row).map(without_zeros)))
}

/// The document with the zeros at the end of fractions left out.
fn without_zeros(document: &str) -> Cow<'_, str> {
    if !document.contains('.') {
        return Cow::Borrowed(document);
    }
    let (mut out, mut quoted, mut escaped) = (String::with_capacity(document.len()), false, false);
    // Where the fraction of the number at hand begins.
    let mut fraction = None;
    for c in document.chars() {
        if let (Some(start), false) = (fraction, c.is_ascii_digit()) {
            cut_zeros(&mut out, start);
            fraction = None;
        }
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '.' if !quoted => fraction = Some(out.len()),
            _ => {}
        }
        out.push(c);
    }
    fraction.inspect(|start| cut_zeros(&mut out, *start));
    Cow::Owned(out)
}

/// Cuts the zeros at the end of a fraction, and its point where nothing else is left.
fn cut_zeros(out: &mut String, point: usize) {
    let kept = out[point..].trim_end_matches('0').len();
    out.truncate(point + if kept == 1 { 0 } else { kept });
}

fn keys(call: &Call) -> Result<ArrayRef> {
    let documents = call.jsonb(0)?;
    let mut builder = BinaryBuilder::with_capacity(call.rows, call.rows * 16);
    let mut key = vec![];
    for row in 0..call.rows {
        let Some(document) = documents.get(row) else {
            builder.append_null();
            continue;
        };
        key.clear();
        key.push(match Kind::of(document) {
            Kind::Array if items(document).next().is_none() => 0,
            Kind::Array => 2,
            Kind::Object => 3,
            _ => 1,
        });
        push_key(document, &mut key);
        builder.append_value(&key);
    }
    Ok(Arc::new(builder.finish()))
}

fn push_key(document: &str, key: &mut Vec<u8>) {
    let kind = Kind::of(document);
    key.push(kind as u8);
    match kind {
        Kind::Null => {}
        Kind::Boolean => key.push(u8::from(document.starts_with('t'))),
        Kind::Number => push_number(document, key),
        Kind::String => push_string(document, key),
        Kind::Array => {
            push_length(items(document).count(), key);
            items(document).for_each(|item| push_key(item, key));
        }
        Kind::Object => {
            push_length(items(document).count() / 2, key);
            items(document).for_each(|item| push_key(item, key));
        }
    }
}

fn push_length(length: usize, key: &mut Vec<u8>) {
    key.extend_from_slice(&(length as u32).to_be_bytes());
}

/// jsonb's strings have no zero byte, which therefore ends them.
fn push_string(string: &str, key: &mut Vec<u8>) {
    key.extend_from_slice(unquoted(string).as_bytes());
    key.push(0);
}

/// Sign, then the exponent of the first digit, then the digits without zeros at either end; all bytes of a negative number
/// are inverted.
fn push_number(number: &str, key: &mut Vec<u8>) {
    let (negative, number) = match number.strip_prefix('-') {
        Some(number) => (true, number),
        None => (false, number),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    let Some(leading) = digits().position(|digit| digit != b'0') else {
        return key.push(1);
    };
    let trailing = digits().rev().take_while(|digit| *digit == b'0').count();
    let count = whole.len() + fraction.len() - leading - trailing;
    let exponent = whole.len() as i64 - leading as i64;
    let start = key.len() + 1;
    key.push(if negative { 0 } else { 2 });
    key.extend_from_slice(&((exponent + (1 << 31)) as u32).to_be_bytes());
    key.extend(digits().skip(leading).take(count));
    key.push(0);
    if negative {
        key[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

/// Compares canonical numbers by value.
pub(super) fn compare_numbers(left: &str, right: &str) -> std::cmp::Ordering {
    let key = |number: &str| {
        let mut key = vec![];
        push_number(number, &mut key);
        key
    };
    key(left).cmp(&key(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(document: &str) -> Vec<u8> {
        let mut key = vec![];
        push_key(document, &mut key);
        key
    }

    #[test]
    fn equal_documents_have_one_text() {
        for (document, expected) in [
            ("[1.50, 1.0, 100, 0.00]", "[1.5, 1, 100, 0]"),
            ("{\"1.0\": \"a\\\"2.0\", \"b\": 2.0}", "{\"1.0\": \"a\\\"2.0\", \"b\": 2}"),
            ("1.10", "1.1"),
        ] {
            assert_eq!(without_zeros(document), expected);
        }
    }

    #[test]
    fn numbers_sort_by_value() {
        let sorted = [
            "-100.5", "-100", "-1.5", "-0.01", "0", "0.001", "0.01", "1", "1.5", "9", "10", "10.01",
        ];
        for pair in sorted.windows(2) {
            assert!(key(pair[0]) < key(pair[1]), "{} < {}", pair[0], pair[1]);
        }
        assert_eq!(key("1"), key("1.00"));
        assert_eq!(key("0"), key("0.000"));
    }

    #[test]
    fn longer_containers_are_more() {
        let sorted = [
            "null",
            "\"a\"",
            "\"ab\"",
            "1",
            "false",
            "true",
            "[]",
            "[2]",
            "[1, 1]",
            "{}",
            "{\"a\": 1}",
        ];
        for pair in sorted.windows(2) {
            assert!(key(pair[0]) < key(pair[1]), "{} < {}", pair[0], pair[1]);
        }
    }
}
