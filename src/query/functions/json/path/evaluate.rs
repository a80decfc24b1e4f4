//! A jsonpath evaluated over a document.
//!
//! Items are handed on one by one, depth first, so that who asks whether there is one stops at the first, as PostgreSQL does:
//! an error that would come later is then none. In lax mode arrays are unwrapped where an object or a scalar is expected, and
//! what is not there is left out; in strict mode both are errors. Predicates have three values; an error inside of one
//! is the third.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::super::document::{Kind, items, member, members, unquoted};
use super::number::Number;
use super::parse::{Comparison, Expr, JsonPath, LEVEL_LAST, Method, Operation, Predicate, Step};
use crate::error::{Error, Result, SqlState};
use crate::types::push_json_string;

/// An item of a sequence: canonical, a part of the document where that can be.
pub(super) type Item<'d> = Cow<'d, str>;

/// Why there is no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// What `silent` and predicates suppress.
    Soft(Error),
    Hard(Error),
}

/// Whether whoever takes the items wants more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    More,
    Enough,
}

type Sink<'s, 'd> = &'s mut dyn FnMut(Item<'d>) -> Result<Flow, Failure>;

/// One evaluation.
pub(super) struct Run<'d> {
    pub path: &'d JsonPath,
    pub root: &'d str,
    /// The object of the variables.
    pub variables: Option<&'d str>,
}

/// What `@` and `last` are, and whether what is not there is left out.
#[derive(Clone)]
struct Scope<'d> {
    current: Item<'d>,
    last: Option<usize>,
    lenient: bool,
}

fn soft<T>(code: &'static str, message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Soft(Error::new(SqlState(code), message)))
}

const MEMBER_NOT_FOUND: &str = "2203A";
const OBJECT_NOT_FOUND: &str = "2203C";
const ARRAY_NOT_FOUND: &str = "22039";
const NUMBER_NOT_FOUND: &str = "2203B";
const NON_NUMERIC_ITEM: &str = "22036";
const SINGLETON_REQUIRED: &str = "22038";
const INVALID_SUBSCRIPT: &str = "22033";

/// The parts of an item.
fn parts<'d>(item: &Item<'d>) -> Vec<Item<'d>> {
    match item {
        Cow::Borrowed(text) => items(text).map(Cow::Borrowed).collect(),
        Cow::Owned(text) => items(text).map(|part| Cow::Owned(part.to_owned())).collect(),
    }
}

fn member_of<'d>(item: &Item<'d>, name: &str) -> Option<Item<'d>> {
    match item {
        Cow::Borrowed(text) => member(text, name).map(Cow::Borrowed),
        Cow::Owned(text) => member(text, name).map(|part| Cow::Owned(part.to_owned())),
    }
}

impl<'d> Run<'d> {
    /// Hands every item of the result to `sink`.
    pub fn run(&self, sink: Sink<'_, 'd>) -> Result<Flow, Failure> {
        let scope = Scope { current: Cow::Borrowed(self.root), last: None, lenient: self.path.lax };
        self.eval(&self.path.expr, &scope, sink)
    }

    /// Whether there is an item; in strict mode all are looked at.
    pub fn exists(&self) -> Result<bool, Failure> {
        let mut found = false;
        let lax = self.path.lax;
        self.run(&mut |_| {
            found = true;
            Ok(if lax { Flow::Enough } else { Flow::More })
        })?;
        Ok(found)
    }

    fn eval(&self, expr: &'d Expr, scope: &Scope<'d>, sink: Sink<'_, 'd>) -> Result<Flow, Failure> {
        match expr {
            Expr::Access(base, steps) => self
                .eval(base, scope, &mut |item| self.steps(steps, item, scope, self.path.lax, sink)),
            Expr::Literal(text) => sink(Cow::Borrowed(text)),
            Expr::Root => sink(Cow::Borrowed(self.root)),
            Expr::Current => sink(scope.current.clone()),
            Expr::Variable(name) => sink(Cow::Borrowed(self.variable(name)?)),
            Expr::Last => match scope.last {
                Some(last) => sink(Cow::Owned((last as i64).to_string())),
                None => Err(Failure::Hard(Error::internal("LAST outside of a subscript"))),
            },
            Expr::Arithmetic(operation, operands) => {
                let sides = ["left", "right"];
                let read = |at: usize| self.operand(&operands[at], scope, sides[at], *operation);
                let (left, right) = (read(0)?, read(1)?);
                let number = left.apply(*operation, right).map_err(Failure::Soft)?;
                sink(Cow::Owned(number.text()))
            }
            Expr::Sign(negative, operand) => {
                for item in self.unwrapped(operand, scope)? {
                    let sign = if *negative { '-' } else { '+' };
                    if Kind::of(&item) != Kind::Number {
                        let message = format!(
                            "operand of unary jsonpath operator {sign} is not a numeric value"
                        );
                        return soft(NUMBER_NOT_FOUND, message);
                    }
                    let number = Number::read(&item).map_err(Failure::Soft)?;
                    let number = if *negative { number.negated() } else { number };
                    if sink(Cow::Owned(number.text()))? == Flow::Enough {
                        return Ok(Flow::Enough);
                    }
                }
                Ok(Flow::More)
            }
            Expr::Predicate(_) => sink(Cow::Borrowed(match self.test(expr, scope)? {
                Some(true) => "true",
                Some(false) => "false",
                None => "null",
            })),
        }
    }

    fn variable(&self, name: &str) -> Result<&'d str, Failure> {
        self.variables.and_then(|variables| member(variables, name)).ok_or_else(|| {
            let message = format!("could not find jsonpath variable \"{name}\"");
            Failure::Hard(Error::new(SqlState::UNDEFINED_OBJECT, message))
        })
    }

    /// All items of an expression, arrays unwrapped in lax mode.
    fn unwrapped(&self, expr: &'d Expr, scope: &Scope<'d>) -> Result<Vec<Item<'d>>, Failure> {
        let mut all = vec![];
        self.eval(expr, scope, &mut |item| {
            match self.path.lax && Kind::of(&item) == Kind::Array {
                true => all.extend(parts(&item)),
                false => all.push(item),
            }
            Ok(Flow::More)
        })?;
        Ok(all)
    }

    fn operand(
        &self,
        expr: &'d Expr,
        scope: &Scope<'d>,
        side: &str,
        operation: Operation,
    ) -> Result<Number, Failure> {
        match self.unwrapped(expr, scope)?.as_slice() {
            [item] if Kind::of(item) == Kind::Number => Number::read(item).map_err(Failure::Soft),
            _ => {
                let symbol = match operation {
                    Operation::Add => "+",
                    Operation::Subtract => "-",
                    Operation::Multiply => "*",
                    Operation::Divide => "/",
                    Operation::Modulo => "%",
                };
                let message = format!(
                    "{side} operand of jsonpath operator {symbol} is not a single numeric value"
                );
                soft(SINGLETON_REQUIRED, message)
            }
        }
    }

    /// Takes the first of the steps from `item` and goes on with what it leads to. Arrays are unwrapped where `unwrap`
    /// says so.
    fn steps(
        &self,
        steps: &'d [Step],
        item: Item<'d>,
        scope: &Scope<'d>,
        unwrap: bool,
        sink: Sink<'_, 'd>,
    ) -> Result<Flow, Failure> {
        let Some((step, rest)) = steps.split_first() else { return sink(item) };
        let array = Kind::of(&item) == Kind::Array;
        let unwraps = match step {
            Step::Member(_) | Step::AnyMember | Step::Filter(_) => true,
            Step::Method(method) => !matches!(method, Method::Type | Method::Size),
            Step::AnyElement | Step::Elements(_) | Step::Descend(..) => false,
        };
        if unwrap && unwraps && array {
            for part in parts(&item) {
                if self.steps(steps, part, scope, false, sink)? == Flow::Enough {
                    return Ok(Flow::Enough);
                }
            }
            return Ok(Flow::More);
        }
        let lax = self.path.lax;
        let mut next = |item| self.steps(rest, item, scope, lax, sink);
        match step {
            Step::Member(name) => match (Kind::of(&item), member_of(&item, name)) {
                (_, Some(value)) => next(value),
                _ if scope.lenient => Ok(Flow::More),
                (Kind::Object, None) => {
                    soft(MEMBER_NOT_FOUND, format!("JSON object does not contain key \"{name}\""))
                }
                _ => soft(
                    MEMBER_NOT_FOUND,
                    "jsonpath member accessor can only be applied to an object",
                ),
            },
            Step::AnyMember if Kind::of(&item) == Kind::Object => {
                self.each(parts(&item).into_iter().skip(1).step_by(2), &mut next)
            }
            Step::AnyMember if scope.lenient => Ok(Flow::More),
            Step::AnyMember => soft(
                OBJECT_NOT_FOUND,
                "jsonpath wildcard member accessor can only be applied to an object",
            ),
            Step::AnyElement if array => self.each(parts(&item).into_iter(), &mut next),
            Step::AnyElement if lax => next(item),
            Step::AnyElement => soft(
                ARRAY_NOT_FOUND,
                "jsonpath wildcard array accessor can only be applied to an array",
            ),
            Step::Elements(_) if !array && !lax => {
                soft(ARRAY_NOT_FOUND, "jsonpath array accessor can only be applied to an array")
            }
            Step::Elements(ranges) => self.elements(ranges, &item, scope, &mut next),
            Step::Descend(first, last) => self.descend(rest, item, (*first, *last), 0, scope, sink),
            Step::Filter(filter) => {
                let inner = Scope { current: item.clone(), ..scope.clone() };
                match self.test(filter, &inner)? {
                    Some(true) => next(item),
                    _ => Ok(Flow::More),
                }
            }
            Step::Method(method) => self.method(*method, item, scope, &mut next),
        }
    }

    fn each(
        &self,
        items: impl Iterator<Item = Item<'d>>,
        next: Sink<'_, 'd>,
    ) -> Result<Flow, Failure> {
        for item in items {
            if next(item)? == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
        Ok(Flow::More)
    }

    fn elements(
        &self,
        ranges: &'d [(Expr, Option<Expr>)],
        item: &Item<'d>,
        scope: &Scope<'d>,
        next: Sink<'_, 'd>,
    ) -> Result<Flow, Failure> {
        // A scalar or an object is an array of itself in lax mode.
        let elements = match Kind::of(item) {
            Kind::Array => parts(item),
            _ => vec![item.clone()],
        };
        let size = elements.len() as i64;
        let inner = Scope { last: Some(elements.len().wrapping_sub(1)), ..scope.clone() };
        for (first, last) in ranges {
            let from = i64::from(self.index(first, &inner)?);
            let to = match last {
                Some(last) => i64::from(self.index(last, &inner)?),
                None => from,
            };
            if !scope.lenient && (from < 0 || from > to || to >= size) {
                return soft(INVALID_SUBSCRIPT, "jsonpath array subscript is out of bounds");
            }
            let range = from.max(0)..(to + 1).min(size);
            let chosen = range.map(|at| elements[at as usize].clone());
            if self.each(chosen, next)? == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
        Ok(Flow::More)
    }

    fn index(&self, expr: &'d Expr, scope: &Scope<'d>) -> Result<i32, Failure> {
        let mut found = vec![];
        self.eval(expr, scope, &mut |item| {
            found.push(item);
            Ok(Flow::More)
        })?;
        match found.as_slice() {
            [item] if Kind::of(item) == Kind::Number => {
                let number = Number::read(item).map_err(Failure::Soft)?;
                number.truncated().map_or_else(
                    || soft(INVALID_SUBSCRIPT, "jsonpath array subscript is out of integer range"),
                    Ok,
                )
            }
            _ => soft(INVALID_SUBSCRIPT, "jsonpath array subscript is not a single numeric value"),
        }
    }

    /// `.**`: the item itself and all within, as far as their level is asked for.
    fn descend(
        &self,
        rest: &'d [Step],
        item: Item<'d>,
        (first, last): (u32, u32),
        level: u32,
        scope: &Scope<'d>,
        sink: Sink<'_, 'd>,
    ) -> Result<Flow, Failure> {
        let kind = Kind::of(&item);
        let leaves = first == LEVEL_LAST && last == LEVEL_LAST;
        let inner = Scope { lenient: true, ..scope.clone() };
        let asked = if leaves { kind.is_scalar() && level > 0 } else { level >= first };
        if asked && self.steps(rest, item.clone(), &inner, self.path.lax, sink)? == Flow::Enough {
            return Ok(Flow::Enough);
        }
        if level >= last || kind.is_scalar() {
            return Ok(Flow::More);
        }
        let (skip, step) = if kind == Kind::Object { (1, 2) } else { (0, 1) };
        for part in parts(&item).into_iter().skip(skip).step_by(step) {
            if self.descend(rest, part, (first, last), level + 1, scope, sink)? == Flow::Enough {
                return Ok(Flow::Enough);
            }
        }
        Ok(Flow::More)
    }

    fn method(
        &self,
        method: Method,
        item: Item<'d>,
        scope: &Scope<'d>,
        next: Sink<'_, 'd>,
    ) -> Result<Flow, Failure> {
        let kind = Kind::of(&item);
        let name = method.name();
        match method {
            Method::Type => {
                let mut text = String::new();
                push_json_string(kind.name(), &mut text);
                next(Cow::Owned(text))
            }
            Method::Size if kind == Kind::Array => next(Cow::Owned(parts(&item).len().to_string())),
            Method::Size if scope.lenient => next(Cow::Borrowed("1")),
            Method::Size => soft(
                ARRAY_NOT_FOUND,
                "jsonpath item method .size() can only be applied to an array",
            ),
            Method::Abs | Method::Floor | Method::Ceiling => {
                if kind != Kind::Number {
                    let message = format!(
                        "jsonpath item method .{name}() can only be applied to a numeric value"
                    );
                    return soft(NON_NUMERIC_ITEM, message);
                }
                let number = Number::read(&item).map_err(Failure::Soft)?;
                let number = match method {
                    Method::Abs => Ok(number.absolute()),
                    _ => number.rounded(method == Method::Ceiling),
                };
                next(Cow::Owned(number.map_err(Failure::Soft)?.text()))
            }
            Method::Double => next(double(&item)?),
            Method::KeyValue if kind == Kind::Object => {
                let pairs = members(&item).map(|(name, value)| {
                    format!("{{\"id\": 0, \"key\": {name}, \"value\": {value}}}")
                });
                let pairs: Vec<Item> = pairs.map(Cow::Owned).collect();
                self.each(pairs.into_iter(), next)
            }
            Method::KeyValue => soft(
                OBJECT_NOT_FOUND,
                "jsonpath item method .keyvalue() can only be applied to an object",
            ),
        }
    }

    /// The value of a predicate; `None` where it is unknown.
    fn test(&self, expr: &'d Expr, scope: &Scope<'d>) -> Result<Option<bool>, Failure> {
        let Expr::Predicate(predicate) = expr else {
            return Err(Failure::Hard(Error::internal("a filter is a predicate")));
        };
        Ok(match predicate.as_ref() {
            Predicate::And(left, right) => match self.test(left, scope)? {
                Some(false) => Some(false),
                left => match self.test(right, scope)? {
                    Some(true) => left,
                    right => right,
                },
            },
            Predicate::Or(left, right) => match self.test(left, scope)? {
                Some(true) => Some(true),
                left => match self.test(right, scope)? {
                    Some(false) => left,
                    right => right,
                },
            },
            Predicate::Not(inner) => self.test(inner, scope)?.map(|value| !value),
            Predicate::IsUnknown(inner) => Some(self.test(inner, scope)?.is_none()),
            Predicate::Exists(inner) => {
                let (mut found, lax) = (false, self.path.lax);
                let looked = self.eval(inner, scope, &mut |_| {
                    found = true;
                    Ok(if lax { Flow::Enough } else { Flow::More })
                });
                known(looked)?.map(|_| found)
            }
            Predicate::Compare(op, left, right) => {
                let Some(rights) = known(self.unwrapped(right, scope))? else { return Ok(None) };
                self.any_pair(left, &rights, scope, |left, right| compare(*op, left, right))?
            }
            Predicate::StartsWith(left, prefix) => {
                let mut prefixes = vec![];
                let looked = self.eval(prefix, scope, &mut |item| {
                    prefixes.push(item);
                    Ok(Flow::More)
                });
                if known(looked)?.is_none() {
                    return Ok(None);
                }
                self.any_pair(left, &prefixes, scope, |item, prefix| {
                    let strings = [item, prefix].map(|s| Kind::of(s) == Kind::String);
                    strings
                        .iter()
                        .all(|s| *s)
                        .then(|| unquoted(item).starts_with(&*unquoted(prefix)))
                })?
            }
            Predicate::LikeRegex(left, regex) => {
                self.any_pair(left, &[Cow::Borrowed("null")], scope, |item, _| {
                    (Kind::of(item) == Kind::String).then(|| regex.is_match(&unquoted(item)))
                })?
            }
        })
    }

    /// Whether the test holds for any pair of items: in lax mode a pair that holds decides, in strict mode one that is
    /// unknown.
    fn any_pair(
        &self,
        left: &'d Expr,
        rights: &[Item<'d>],
        scope: &Scope<'d>,
        holds: impl Fn(&str, &str) -> Option<bool>,
    ) -> Result<Option<bool>, Failure> {
        let Some(lefts) = known(self.unwrapped(left, scope))? else { return Ok(None) };
        let (mut found, mut unknown) = (false, false);
        for (left, right) in lefts.iter().flat_map(|l| rights.iter().map(move |r| (l, r))) {
            match holds(left, right) {
                None if !self.path.lax => return Ok(None),
                None => unknown = true,
                Some(true) if self.path.lax => return Ok(Some(true)),
                Some(holds) => found |= holds,
            }
        }
        Ok(if found || !unknown { Some(found) } else { None })
    }
}

/// An error inside of a predicate makes it unknown.
fn known<T>(value: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match value {
        Ok(value) => Ok(Some(value)),
        Err(Failure::Soft(_)) => Ok(None),
        Err(hard) => Err(hard),
    }
}

fn compare(op: Comparison, left: &str, right: &str) -> Option<bool> {
    let kinds = (Kind::of(left), Kind::of(right));
    let order = match kinds {
        (l, r) if l != r => {
            // A null differs from all else; other kinds cannot be compared.
            let null = l == Kind::Null || r == Kind::Null;
            return null.then_some(op == Comparison::NotEqual);
        }
        (Kind::Array | Kind::Object, _) => return None,
        (Kind::Null, _) => Ordering::Equal,
        (Kind::Boolean, _) => (left == "true").cmp(&(right == "true")),
        (Kind::String, _) => unquoted(left).cmp(&unquoted(right)),
        (Kind::Number, _) => super::super::order::compare_numbers(left, right),
    };
    Some(match op {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    })
}

/// `.double()`
fn double<'d>(item: &Item<'d>) -> Result<Item<'d>, Failure> {
    let text = match Kind::of(item) {
        Kind::Number => item.clone(),
        Kind::String => Cow::Owned(unquoted(item).into_owned()),
        _ => {
            return soft(
                NON_NUMERIC_ITEM,
                "jsonpath item method .double() can only be applied to a string or numeric value",
            );
        }
    };
    match text.trim().parse::<f64>() {
        Ok(value) if value.is_finite() => {
            let written = crate::types::jsonb_of_text(&format!("{value:e}"));
            Ok(Cow::Owned(written.map_err(Failure::Soft)?))
        }
        Ok(_) if Kind::of(item) == Kind::Number => soft(
            NON_NUMERIC_ITEM,
            "numeric argument of jsonpath item method .double() is out of range for type double precision",
        ),
        _ => soft(
            NON_NUMERIC_ITEM,
            "string argument of jsonpath item method .double() is not a valid representation of a double precision number",
        ),
    }
}
