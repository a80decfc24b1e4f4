//! jsonpath: `@?`, `@@` and the jsonb_path functions that give one value.
//!
//! `parse` reads a path, `evaluate` runs it over a document, `number` calculates. A path that is a constant is read once.

mod evaluate;
mod number;
mod parse;

use arrow_array::{ArrayRef, BooleanArray};

use self::evaluate::{Failure, Flow, Item, Run};
use self::parse::{JsonPath, parse};
use super::call::{ByRow, Call, Function, Gives, Takes, Texts};
use super::document::{Kind, push_array};
use crate::error::{Error, Result, SqlState};

const fn path(
    name: &'static str,
    gives: Gives,
    evaluate: fn(&Call) -> Result<ArrayRef>,
) -> Function {
    Function {
        name,
        takes: &[Takes::Jsonb, Takes::Text, Takes::Jsonb, Takes::Boolean],
        required: 2,
        rest: None,
        gives,
        strict: true,
        evaluate,
    }
}

const fn operator(name: &'static str, evaluate: fn(&Call) -> Result<ArrayRef>) -> Function {
    Function { takes: &[Takes::Jsonb, Takes::Text], ..path(name, Gives::Boolean, evaluate) }
}

pub(super) static EXISTS: Function = operator("jsonb_path_exists_opr", |call| exists(call, true));
pub(super) static MATCH: Function = operator("jsonb_path_match_opr", |call| matches(call, true));

/// The functions with names that users write. Without dates the `_tz` twins are the same.
pub(super) static FUNCTIONS: &[Function] = &[
    path("jsonb_path_exists", Gives::Boolean, |call| exists(call, false)),
    path("jsonb_path_exists_tz", Gives::Boolean, |call| exists(call, false)),
    path("jsonb_path_match", Gives::Boolean, |call| matches(call, false)),
    path("jsonb_path_match_tz", Gives::Boolean, |call| matches(call, false)),
    path("jsonb_path_query_array", Gives::Jsonb, query_array),
    path("jsonb_path_query_array_tz", Gives::Jsonb, query_array),
    path("jsonb_path_query_first", Gives::Jsonb, query_first),
    path("jsonb_path_query_first_tz", Gives::Jsonb, query_first),
];

/// The arguments of a call, the path read where it is constant.
struct Arguments {
    documents: Texts,
    paths: Texts,
    constant: Option<JsonPath>,
    variables: Option<Texts>,
    silent: Option<BooleanArray>,
}

impl Arguments {
    fn of(call: &Call) -> Result<Arguments> {
        let paths = call.texts(1)?;
        let constant = match &paths {
            ByRow::Same(Some(path)) => Some(parse(path)?),
            _ => None,
        };
        let variables = (call.arguments() > 2).then(|| call.jsonb(2)).transpose()?;
        let silent = (call.arguments() > 3).then(|| call.booleans(3)).transpose()?;
        Ok(Arguments { documents: call.jsonb(0)?, paths, constant, variables, silent })
    }

    /// Runs `take` for a row; `None` where an error is suppressed or an argument is NULL.
    fn run<T>(
        &self,
        row: usize,
        silent: bool,
        take: impl FnOnce(&Run) -> Result<T, Failure>,
    ) -> Result<Option<T>> {
        let (Some(root), Some(path)) = (self.documents.get(row), self.paths.get(row)) else {
            return Ok(None);
        };
        let variables = self.variables.as_ref().and_then(|variables| variables.get(row));
        if variables.is_some_and(|variables| Kind::of(variables) != Kind::Object) {
            let message = "\"vars\" argument is not an object";
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message).with_detail(
                "Jsonpath parameters should be encoded as key-value pairs of \"vars\" object.",
            ));
        }
        let own;
        let path = match &self.constant {
            Some(path) => path,
            None => {
                own = parse(path)?;
                &own
            }
        };
        let silent = silent || self.silent.as_ref().is_some_and(|silent| silent.value(row));
        match take(&Run { path, root, variables }) {
            Ok(value) => Ok(Some(value)),
            Err(Failure::Soft(_)) if silent => Ok(None),
            Err(Failure::Soft(error) | Failure::Hard(error)) => Err(error),
        }
    }
}

fn exists(call: &Call, silent: bool) -> Result<ArrayRef> {
    let arguments = Arguments::of(call)?;
    call.test(|row| arguments.run(row, silent, |run| run.exists()))
}

fn all<'d>(run: &Run<'d>) -> Result<Vec<Item<'d>>, Failure> {
    let mut items = vec![];
    run.run(&mut |item| {
        items.push(item);
        Ok(Flow::More)
    })?;
    Ok(items)
}

fn matches(call: &Call, silent: bool) -> Result<ArrayRef> {
    let arguments = Arguments::of(call)?;
    let verdict = |run: &Run| match all(run)?.as_slice() {
        [item] if item == "true" => Ok(Some(true)),
        [item] if item == "false" => Ok(Some(false)),
        [item] if item == "null" => Ok(None),
        _ => {
            let message = "single boolean result is expected";
            Err(Failure::Soft(Error::new(SqlState("22038"), message)))
        }
    };
    call.test(|row| Ok(arguments.run(row, silent, verdict)?.flatten()))
}

/// A row's items. What was found before a suppressed error stays.
fn collect(arguments: &Arguments, row: usize) -> Result<Vec<String>> {
    let mut items = vec![];
    arguments.run(row, false, |run| {
        run.run(&mut |item| {
            items.push(item.into_owned());
            Ok(Flow::More)
        })
    })?;
    Ok(items)
}

fn query_array(call: &Call) -> Result<ArrayRef> {
    let arguments = Arguments::of(call)?;
    call.write_texts(|row, out| {
        push_array(collect(&arguments, row)?.iter(), out);
        Ok(true)
    })
}

fn query_first(call: &Call) -> Result<ArrayRef> {
    let arguments = Arguments::of(call)?;
    call.write_texts(|row, out| {
        let items = collect(&arguments, row)?;
        items.first().inspect(|first| out.push_str(first));
        Ok(!items.is_empty())
    })
}
