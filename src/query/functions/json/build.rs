//! Documents made of values: to_jsonb, jsonb_build_object, jsonb_build_array, jsonb_object and their like for json.
//!
//! How a value of any type is written is `crate::types`' business; here they are put together. What aggregates make
//! (jsonb_agg, jsonb_object_agg) comes as an array of their input: see `aggregate`.

use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

use super::call::{Call, Function, Gives, Paths, Takes};
use super::document::{Kind, unquoted};
use crate::error::{Error, Result, SqlState};
use crate::query::sql_types::mark_of;
use crate::types::{JsonForm, JsonWriter, push_json_string, push_jsonb_object, split_array};

const fn build(
    name: &'static str,
    takes: &'static [Takes],
    rest: Option<Takes>,
    gives: Gives,
    evaluate: fn(&Call) -> Result<ArrayRef>,
) -> Function {
    Function { name, takes, required: takes.len(), rest, gives, strict: false, evaluate }
}

use Gives::{Json, Jsonb};
use Takes::{Any, Texts};

/// The functions with names that users write.
pub(super) static FUNCTIONS: &[Function] = &[
    build("to_jsonb", &[Any], None, Jsonb, |call| one(call, JsonForm::Jsonb)),
    build("to_json", &[Any], None, Json, |call| one(call, JsonForm::Json)),
    build("row_to_json", &[Any], None, Json, |call| one(call, JsonForm::Json)),
    build("array_to_json", &[Any], None, Json, |call| one(call, JsonForm::Json)),
    build("jsonb_build_array", &[], Some(Any), Jsonb, |call| array(call, JsonForm::Jsonb)),
    build("json_build_array", &[], Some(Any), Json, |call| array(call, JsonForm::Json)),
    build("jsonb_build_object", &[], Some(Any), Jsonb, |call| object(call, JsonForm::Jsonb)),
    build("json_build_object", &[], Some(Any), Json, |call| object(call, JsonForm::Json)),
    Function {
        required: 1,
        strict: true,
        ..build("jsonb_object", &[Texts, Texts], None, Jsonb, |call| {
            texts_object(call, JsonForm::Jsonb)
        })
    },
    Function {
        required: 1,
        strict: true,
        ..build("json_object", &[Texts, Texts], None, Json, |call| {
            texts_object(call, JsonForm::Json)
        })
    },
    // What the aggregates become; no user can write a name with a colon.
    build("jsonb:agg", &[Any], None, Jsonb, |call| aggregated(call, JsonForm::Jsonb)),
    build("json:agg", &[Any], None, Json, |call| aggregated(call, JsonForm::Json)),
    build("jsonb:object_agg", &[Any], None, Jsonb, |call| members(call, JsonForm::Jsonb)),
    build("json:object_agg", &[Any], None, Json, |call| members(call, JsonForm::Json)),
];

/// The writers of a call's arguments.
fn writers(call: &Call, form: JsonForm) -> Result<Vec<JsonWriter>> {
    let writer =
        |at| JsonWriter::try_new(&call.full_column(at)?, call.field(at), form, call.style());
    (0..call.arguments()).map(writer).collect()
}

fn one(call: &Call, form: JsonForm) -> Result<ArrayRef> {
    let writer = JsonWriter::try_new(&call.full_column(0)?, call.field(0), form, call.style())?;
    call.write_texts(|row, out| {
        let null = writer.is_null(row);
        if !null {
            writer.write(row, out)?;
        }
        Ok(!null)
    })
}

fn array(call: &Call, form: JsonForm) -> Result<ArrayRef> {
    let writers = writers(call, form)?;
    call.write_texts(|row, out| {
        out.push('[');
        for (at, writer) in writers.iter().enumerate() {
            out.push_str(if at > 0 { ", " } else { "" });
            writer.write(row, out)?;
        }
        out.push(']');
        Ok(true)
    })
}

/// Refuses types whose values are no names of members.
fn check_name_type(field: &arrow_schema::Field) -> Result<()> {
    let document = matches!(mark_of(field), Some("jsonb" | "json"));
    if !document && !field.data_type().is_nested() {
        return Ok(());
    }
    let message = "key value must be scalar, not array, composite, or json";
    Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message))
}

/// A written value as the name of a member: in quotes, whatever it is.
fn as_name(value: String) -> String {
    if Kind::of(&value) == Kind::String {
        return value;
    }
    let mut quoted = String::with_capacity(value.len() + 2);
    push_json_string(&value, &mut quoted);
    quoted
}

fn object(call: &Call, form: JsonForm) -> Result<ArrayRef> {
    let invalid = |message: String| Error::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let jsonb = form == JsonForm::Jsonb;
    if call.arguments() % 2 == 1 {
        let name = if jsonb { "jsonb_build_object" } else { "json_build_object" };
        return Err(invalid("argument list must have even number of elements".to_owned())
            .with_hint(format!(
                "The arguments of {name}() must consist of alternating keys and values."
            )));
    }
    (0..call.arguments()).step_by(2).try_for_each(|at| check_name_type(call.field(at)))?;
    let writers = writers(call, form)?;
    call.write_texts(|row, out| {
        let mut members = Vec::with_capacity(writers.len() / 2);
        for (at, pair) in writers.chunks_exact(2).enumerate() {
            if pair[0].is_null(row) {
                let at = at * 2 + 1;
                return Err(match jsonb {
                    true => invalid(format!("argument {at}: key must not be null")),
                    false => invalid(format!("argument {at} cannot be null"))
                        .with_hint("Object keys should be text."),
                });
            }
            let (mut name, mut value) = (String::new(), String::new());
            pair[0].write(row, &mut name)?;
            pair[1].write(row, &mut value)?;
            members.push((as_name(name), value));
        }
        match jsonb {
            true => push_jsonb_object(members.iter().map(|(n, v)| (unquoted(n), v.as_str())), out),
            false => push_json_members(&members, ["{", "}"], out),
        }
        Ok(true)
    })
}

/// An object as PostgreSQL's json functions write it.
fn push_json_members(members: &[(String, String)], [open, close]: [&str; 2], out: &mut String) {
    out.push_str(open);
    for (i, (name, value)) in members.iter().enumerate() {
        out.push_str(if i > 0 { ", " } else { "" });
        out.push_str(name);
        out.push_str(" : ");
        out.push_str(value);
    }
    out.push_str(close);
}

fn texts_object(call: &Call, form: JsonForm) -> Result<ArrayRef> {
    let names = call.paths(0)?;
    let values = (call.arguments() > 1).then(|| call.paths(1)).transpose()?;
    call.write_texts(|row, out| {
        let pairs = match &values {
            Some(values) => two_arrays(&names, values, row)?,
            None => one_array(&names, row)?,
        };
        let Some(pairs) = pairs else { return Ok(false) };
        let mut members = Vec::with_capacity(pairs.len());
        for (name, value) in pairs {
            let name = name.ok_or_else(|| {
                Error::new(SqlState("22004"), "null value not allowed for object key")
            })?;
            let (mut quoted, mut text) = (String::new(), String::new());
            push_json_string(&name, &mut quoted);
            match value {
                Some(value) => push_json_string(&value, &mut text),
                None => text.push_str("null"),
            }
            members.push((quoted, text));
        }
        match form {
            JsonForm::Jsonb => {
                push_jsonb_object(members.iter().map(|(n, v)| (unquoted(n), v.as_str())), out);
            }
            JsonForm::Json => push_json_members(&members, ["{", "}"], out),
        }
        Ok(true)
    })
}

type Pairs = Vec<(Option<String>, Option<String>)>;

/// 2202E
const ARRAY_SUBSCRIPT_ERROR: SqlState = SqlState("2202E");

fn two_arrays(names: &Paths, values: &Paths, row: usize) -> Result<Option<Pairs>> {
    let (Some(names), Some(values)) = (names.get(row)?, values.get(row)?) else {
        return Ok(None);
    };
    if names.len() != values.len() {
        return Err(Error::new(ARRAY_SUBSCRIPT_ERROR, "mismatched array dimensions"));
    }
    Ok(Some(names.iter().cloned().zip(values.iter().cloned()).collect()))
}

/// Names and values in turn, or an array of pairs.
fn one_array(texts: &Paths, row: usize) -> Result<Option<Pairs>> {
    let wrong = |message: &str| Error::new(ARRAY_SUBSCRIPT_ERROR, message);
    let Some(texts) = texts.get(row)? else { return Ok(None) };
    let nested = !texts.is_empty()
        && texts.iter().all(|text| text.as_ref().is_some_and(|text| text.starts_with('{')));
    if nested {
        let pair = |text: &Option<String>| match split_array(text.as_deref().unwrap_or("{}"))?
            .as_slice()
        {
            [name, value] => Ok((name.clone(), value.clone())),
            _ => Err(wrong("array must have two columns")),
        };
        return texts.iter().map(pair).collect::<Result<Pairs>>().map(Some);
    }
    if texts.len() % 2 == 1 {
        return Err(wrong("array must have even number of elements"));
    }
    Ok(Some(texts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()))
}

/// The array that an aggregate has collected, as jsonb_agg or json_agg.
fn aggregated(call: &Call, form: JsonForm) -> Result<ArrayRef> {
    let lists = Collected::of(call, form)?;
    // PostgreSQL's json_agg begins a line for each row of a table.
    let between = match (form, &lists.item) {
        (JsonForm::Json, DataType::Struct(_)) => ", \n ",
        _ => ", ",
    };
    call.write_texts(|row, out| {
        let Some(range) = lists.range(row) else { return Ok(false) };
        let start = range.start;
        out.push('[');
        for at in range {
            out.push_str(if at > start { between } else { "" });
            lists.items[0].write(at, out)?;
        }
        out.push(']');
        Ok(true)
    })
}

/// Pairs that an aggregate has collected, as jsonb_object_agg or json_object_agg.
fn members(call: &Call, form: JsonForm) -> Result<ArrayRef> {
    let lists = Collected::of(call, form)?;
    let Some([names, values]) = lists.items.first_chunk() else {
        return Err(Error::internal("members are pairs"));
    };
    call.write_texts(|row, out| {
        let Some(range) = lists.range(row) else { return Ok(false) };
        let mut members = Vec::with_capacity(range.len());
        for at in range {
            if names.is_null(at) {
                let message = "field name must not be null";
                return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message));
            }
            let (mut name, mut value) = (String::new(), String::new());
            names.write(at, &mut name)?;
            values.write(at, &mut value)?;
            members.push((as_name(name), value));
        }
        match form {
            JsonForm::Jsonb => {
                push_jsonb_object(members.iter().map(|(n, v)| (unquoted(n), v.as_str())), out);
            }
            JsonForm::Json => push_json_members(&members, ["{ ", " }"], out),
        }
        Ok(true)
    })
}

/// What array_agg has collected: the items of all rows, and which are whose.
struct Collected {
    lists: ArrayRef,
    item: DataType,
    /// The columns of the items where they are pairs, else the items themselves.
    items: Vec<JsonWriter>,
}

impl Collected {
    fn of(call: &Call, form: JsonForm) -> Result<Collected> {
        use arrow_array::cast::AsArray;
        let lists = call.full_column(0)?;
        let list = lists
            .as_list_opt::<i32>()
            .ok_or_else(|| Error::internal("an aggregate collects a list"))?;
        let DataType::List(item) = call.field(0).data_type() else {
            return Err(Error::internal("an aggregate collects a list"));
        };
        let pairs = match item.data_type() {
            DataType::Struct(fields) if fields.iter().map(|f| f.name().as_str()).eq(PAIR) => {
                Some(fields)
            }
            _ => None,
        };
        let writer = |array: &ArrayRef, field: &arrow_schema::Field| {
            JsonWriter::try_new(array, field, form, call.style())
        };
        let items = match (pairs, list.values().as_struct_opt()) {
            (Some(fields), Some(columns)) => {
                check_name_type(&fields[0])?;
                let columns = columns.columns().iter().zip(fields);
                columns.map(|(column, field)| writer(column, field)).collect::<Result<_>>()?
            }
            _ => vec![writer(list.values(), item)?],
        };
        Ok(Collected { item: item.data_type().clone(), items, lists })
    }

    fn range(&self, row: usize) -> Option<std::ops::Range<usize>> {
        use arrow_array::cast::AsArray;
        let list = self.lists.as_list::<i32>();
        let offsets = list.value_offsets();
        list.is_valid(row).then(|| offsets[row] as usize..offsets[row + 1] as usize)
    }
}

/// The names of the fields that [`members`] expects, which nobody else writes.
pub(in crate::query::functions) const PAIR: [&str; 2] = ["name:", "value:"];
