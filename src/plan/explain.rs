//! EXPLAIN of a streaming plan: one operator a line, inputs below it, with its keys, its state and whether its output is
//! only ever added to.

use std::fmt::Write;

use arrow_schema::Schema;
use serde_json::{Map, Value};

use super::shared::{Listed, listed};
use super::stream_plan::{Node, Op, SortKey, Ties, Unnested, WindowCall};
use crate::operators::aggregate::{AggregateCall, AggregateFunction};

/// The plan as text, a line an operator; what is run once is written out where it comes first.
pub fn explain(plan: &Node) -> String {
    let mut out = String::new();
    for listed in listed(plan) {
        let (indent, node) = ("  ".repeat(listed.depth), listed.node);
        let title = listed_title(&listed);
        if listed.again {
            let _ = writeln!(out, "{indent}{title}");
            continue;
        }
        let state = state_of(node).map(|state| format!(", state: {state}")).unwrap_or_default();
        let _ = writeln!(out, "{indent}{title} [{}{state}]", nature(node));
    }
    out
}

/// Whether the output is only added to, and its key.
fn nature(node: &Node) -> String {
    let nature = if node.properties.append_only { "append-only" } else { "updating" };
    match node.key() {
        None => nature.to_owned(),
        Some(key) if key.is_empty() => format!("{nature}, one row"),
        Some(key) => format!("{nature}, key ({})", names(&node.schema, &key)),
    }
}

/// The plan as a JSON object of each operator, its inputs in `Plans`; `more` is put into the object of the operator of that number.
pub fn explain_json(plan: &Node, more: &impl Fn(usize) -> Map<String, Value>) -> Value {
    object(&listed(plan), &mut 0, more)
}

/// The operator at a place of the list, which is then behind its inputs.
fn object(list: &[Listed], at: &mut usize, more: &impl Fn(usize) -> Map<String, Value>) -> Value {
    let listed = &list[*at];
    let (node, title) = (listed.node, listed_title(listed));
    *at += 1;
    let mut fields = Map::new();
    let kind = if listed.again { "Shared".to_owned() } else { self::title(node) };
    let kind = kind.split([':', ' ']).next().unwrap_or_default();
    fields.insert("Node Type".to_owned(), kind.into());
    fields.insert("Operator".to_owned(), title.into());
    if listed.again {
        return Value::Object(fields);
    }
    fields.insert("Append Only".to_owned(), node.properties.append_only.into());
    if let Some(key) = node.key() {
        let names = key.iter().map(|&c| node.schema.field(c).name().as_str());
        fields.insert("Key".to_owned(), names.collect::<Vec<_>>().into());
    }
    if let Some(state) = state_of(node) {
        fields.insert("State".to_owned(), state.into());
    }
    fields.extend(more(listed.number));
    let mut inputs = vec![];
    while list.get(*at).is_some_and(|input| input.depth > listed.depth) {
        inputs.push(object(list, at, more));
    }
    if !inputs.is_empty() {
        fields.insert("Plans".to_owned(), inputs.into());
    }
    Value::Object(fields)
}

/// What an operator does; of one that is run for several places its number, and only that where it has been told before.
pub fn listed_title(listed: &Listed) -> String {
    match (listed.label, listed.again) {
        (Some(label), true) => format!("Shared #{label}"),
        (Some(label), false) => format!("#{label} {}", title(listed.node)),
        (None, _) => title(listed.node),
    }
}

fn names(schema: &Schema, columns: &[usize]) -> String {
    columns.iter().map(|&c| schema.field(c).name().as_str()).collect::<Vec<_>>().join(", ")
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

/// What the operator does, in a line.
fn title(node: &Node) -> String {
    let input = node.inputs.first().map(|input| input.schema.as_ref());
    match &node.op {
        Op::Import { name, .. } => {
            format!("Import {name}: {}", list(node.schema.fields().iter().map(|f| f.name())))
        }
        Op::Values { rows } => format!("Values: {} rows", rows.num_rows()),
        Op::Project { exprs } => format!("Project: {}", list(exprs)),
        Op::Filter { predicate } => format!("Filter: {predicate}"),
        Op::Unnest { columns, keep_empty } => {
            let elements = columns.iter().zip(node.schema.fields());
            let elements = elements.filter(|(c, _)| matches!(c, Unnested::Elements(_)));
            let kept = if *keep_empty { ", empty ones kept" } else { "" };
            format!("Unnest: {}{kept}", list(elements.map(|(_, field)| field.name())))
        }
        Op::Union => "Union".to_owned(),
        Op::Distinct => "Distinct".to_owned(),
        Op::Aggregate { groups, calls } => {
            let calls = list(calls.iter().map(|call| call.return_field.name()));
            let groups = input.map(|schema| names(schema, groups)).unwrap_or_default();
            if groups.is_empty() {
                format!("Aggregate: {calls}")
            } else {
                format!("Aggregate by ({groups}): {calls}")
            }
        }
        Op::Join { kind, left_keys, right_keys, condition, .. } => {
            let left = names(&node.inputs[0].schema, left_keys);
            let right = names(&node.inputs[1].schema, right_keys);
            let on =
                if left.is_empty() { String::new() } else { format!(" on ({left}) = ({right})") };
            let condition = condition.as_ref().map(|c| format!(" where {c}")).unwrap_or_default();
            format!("{kind:?} join{on}{condition}")
        }
        Op::TopN { partition, order, limit, offset } => {
            let by = partitions(&node.schema, partition);
            let limit = limit.map_or("all".to_owned(), |limit| limit.to_string());
            let order = sort_keys(&node.schema, order);
            format!("TopN{by}: order ({order}), limit {limit}, offset {offset}")
        }
        Op::Ranked { partition, order, limit, ties, .. } => {
            let by = partitions(&node.schema, partition);
            let rank = match ties {
                Ties::Cut => "row_number",
                Ties::Stay => "rank",
                Ties::Groups => "dense_rank",
            };
            format!("TopN{by}: order ({}), {rank} <= {limit}", sort_keys(&node.schema, order))
        }
        Op::Window { partition, order, calls, .. } => {
            let by = partitions(&node.schema, partition);
            let calls = list(calls.iter().map(|call| spelled(call, &node.schema)));
            format!("Window{by}: order ({}), {calls}", sort_keys(&node.schema, order))
        }
    }
}

fn partitions(schema: &Schema, columns: &[usize]) -> String {
    match columns.is_empty() {
        true => String::new(),
        false => format!(" by ({})", names(schema, columns)),
    }
}

fn sort_keys(schema: &Schema, keys: &[SortKey]) -> String {
    list(keys.iter().map(|key| {
        let direction = if key.descending { " desc" } else { "" };
        let nulls = match (key.nulls_first == key.descending, key.nulls_first) {
            (true, _) => "",
            (false, true) => " nulls first",
            (false, false) => " nulls last",
        };
        format!("{}{direction}{nulls}", schema.field(key.column).name())
    }))
}

/// A window call with its frame and what a change makes it compute again.
fn spelled(call: &WindowCall, schema: &Schema) -> String {
    let args = names(schema, &call.args);
    let filter = call.filter.map(|column| format!(" filter {}", schema.field(column).name()));
    let frame = call.spelled_frame().map(|frame| format!(" {frame}")).unwrap_or_default();
    let recomputes = call.recomputes();
    let filter = filter.unwrap_or_default();
    format!("{}({args}){filter}{frame} recomputes {recomputes}", call.name())
}

/// Whether a call keeps the values it has seen, and not just what they came to.
fn keeps_values(call: &AggregateCall, append_only: bool) -> bool {
    match &call.function {
        AggregateFunction::Udaf(_) => true,
        AggregateFunction::Min | AggregateFunction::Max => !append_only,
        AggregateFunction::CountStar
        | AggregateFunction::Count
        | AggregateFunction::Sum
        | AggregateFunction::Avg
        | AggregateFunction::BoolAnd
        | AggregateFunction::BoolOr => call.distinct,
    }
}

fn import_name(node: &Node) -> &str {
    match &node.op {
        Op::Import { name, .. } => name,
        _ => "",
    }
}

/// What the operator keeps.
fn state_of(node: &Node) -> Option<String> {
    let append_only = node.inputs.iter().all(|input| input.properties.append_only);
    match &node.op {
        Op::Import { .. }
        | Op::Values { .. }
        | Op::Project { .. }
        | Op::Filter { .. }
        | Op::Unnest { .. }
        | Op::Union => None,
        Op::Distinct => Some("one entry per distinct row".to_owned()),
        Op::Aggregate { calls, .. } => {
            let keeps_values = calls.iter().any(|call| keeps_values(call, append_only));
            let what = if keeps_values {
                "accumulators and values per group"
            } else {
                "accumulators per group"
            };
            Some(what.to_owned())
        }
        Op::Join { left_keys, right_keys, .. } => {
            let side = |side: usize, keys: &[usize]| {
                let input = &node.inputs[side];
                input.looked_up(keys).map_or_else(
                    || format!("the {} input", ["left", "right"][side]),
                    |_| {
                        format!(
                            "{} by ({}), shared",
                            import_name(input),
                            names(&input.schema, keys)
                        )
                    },
                )
            };
            let (left, right) = (side(0, left_keys), side(1, right_keys));
            Some(match (left.as_str(), right.as_str()) {
                ("the left input", "the right input") => "both inputs".to_owned(),
                _ => format!("{left}; {right}"),
            })
        }
        Op::Ranked { limit, ties, .. } => Some(match (append_only, ties) {
            (true, Ties::Cut) => format!("at most {limit} rows per partition"),
            (true, Ties::Stay | Ties::Groups) => {
                format!("the rows of the first {limit} ranks per partition")
            }
            (false, _) => "the whole input in order".to_owned(),
        }),
        Op::Window { .. } => Some("the whole input in order".to_owned()),
        Op::TopN { limit, offset, .. } => Some(match (append_only, limit) {
            (true, Some(limit)) => format!("at most {} rows per partition", limit + offset),
            _ => "the whole input in order".to_owned(),
        }),
    }
}
