//! Draws expressions over the columns in scope: values of a type, predicates, group keys, aggregates.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::case::Type;
use crate::draw::pool;

/// Columns as they are written, and their types.
pub type Scope = Vec<(String, Type)>;

pub struct Expressions<'a> {
    pub rng: &'a mut StdRng,
    pub scope: &'a Scope,
}

impl Expressions<'_> {
    fn column(&mut self, t: Type) -> Option<String> {
        let columns: Vec<&String> =
            self.scope.iter().filter(|(_, c)| *c == t).map(|(name, _)| name).collect();
        columns.choose(self.rng).map(|name| (*name).clone())
    }

    fn literal(&mut self, t: Type) -> String {
        let value = pool(t).choose(self.rng).copied().unwrap_or("");
        match t {
            Type::Bool | Type::Int => value.to_owned(),
            Type::Big => format!("'{value}'::bigint"),
            _ => format!("'{}'::{}", value.replace('\'', "''"), t.sql()),
        }
    }

    /// A column of the type, else a constant.
    fn leaf(&mut self, t: Type) -> String {
        match self.rng.random_range(0..20) {
            0 => format!("null::{}", t.sql()),
            1 | 2 => self.literal(t),
            _ => self.column(t).unwrap_or_else(|| self.literal(t)),
        }
    }

    /// An expression of the type.
    pub fn value(&mut self, t: Type, depth: usize) -> String {
        if depth == 0 || self.rng.random_bool(0.45) {
            return self.leaf(t);
        }
        let depth = depth - 1;
        match self.rng.random_range(0..10) {
            0 => {
                let when = self.predicate(depth);
                let (then, otherwise) = (self.value(t, depth), self.value(t, depth));
                format!("case when {when} then {then} else {otherwise} end")
            }
            1 => format!("coalesce({}, {})", self.value(t, depth), self.value(t, depth)),
            2 => format!("nullif({}, {})", self.value(t, depth), self.leaf(t)),
            3 if !matches!(t, Type::Bool | Type::Uuid | Type::Bytea) => {
                let function = if self.rng.random_bool(0.5) { "greatest" } else { "least" };
                format!("{function}({}, {})", self.value(t, depth), self.leaf(t))
            }
            _ => self.operation(t, depth),
        }
    }

    fn operation(&mut self, t: Type, depth: usize) -> String {
        let choice = self.rng.random_range(0..6);
        match t {
            Type::Bool => self.predicate(depth + 1),
            Type::Int => match choice {
                0 => format!("({} * {})", self.leaf(t), self.leaf(t)),
                1 => format!("({} % 3)", self.value(t, depth)),
                2 => format!("length({})", self.value(Type::Text, depth)),
                3 => format!("({})::integer", self.predicate(depth)),
                4 => format!("(- {})", self.value(t, depth)),
                _ => format!("({} + {})", self.value(t, depth), self.value(t, depth)),
            },
            Type::Big => match choice {
                0 | 1 => format!("({} % 5)", self.value(t, depth)),
                2 => format!("({} / 3)", self.value(t, depth)),
                _ => format!("({})::bigint", self.value(Type::Int, depth)),
            },
            Type::Text => match choice {
                0 => format!("upper({})", self.value(t, depth)),
                1 => format!("({} || {})", self.value(t, depth), self.leaf(t)),
                2 => format!("substr({}, 1, 1)", self.value(t, depth)),
                3 => format!("({})::text", self.leaf(Type::Num)),
                4 => format!("({})::text", self.leaf(Type::Date)),
                _ => format!("({})::text", self.value(Type::Int, depth)),
            },
            Type::Float => match choice {
                0 | 1 => format!("({} + {})", self.value(t, depth), self.leaf(t)),
                2 => format!("({})::double precision", self.value(Type::Int, depth)),
                3 => format!("(- {})", self.value(t, depth)),
                4 => format!("abs({})", self.value(t, depth)),
                _ => format!("({} - {})", self.value(t, depth), self.leaf(t)),
            },
            Type::Num => match choice {
                0 => format!("({})::numeric(10,2)", self.value(Type::Int, depth)),
                _ => self.leaf(t),
            },
            Type::Date => match choice {
                0 => format!("({} + 1)", self.leaf(t)),
                1 => format!("({})::date", self.leaf(Type::Timestamp)),
                _ => self.leaf(t),
            },
            Type::Timestamp => match choice {
                0 => format!("date_trunc('hour', {})", self.leaf(t)),
                1 => format!("({} + interval '1 day')", self.leaf(t)),
                _ => self.leaf(t),
            },
            Type::Real | Type::Uuid | Type::Bytea | Type::Other => self.leaf(t),
        }
    }

    /// A type that some column in scope has, so that comparisons compare something.
    fn present(&mut self) -> Type {
        match self.scope.choose(self.rng) {
            Some((_, t)) if *t != Type::Other => *t,
            _ => Type::Int,
        }
    }

    pub fn predicate(&mut self, depth: usize) -> String {
        if depth > 0 && self.rng.random_bool(0.35) {
            let depth = depth - 1;
            return match self.rng.random_range(0..5) {
                0 | 1 => format!("({} and {})", self.predicate(depth), self.predicate(depth)),
                2 | 3 => format!("({} or {})", self.predicate(depth), self.predicate(depth)),
                _ => format!("(not {})", self.predicate(depth)),
            };
        }
        let t = self.present();
        let left = self.value(t, depth.min(1));
        match self.rng.random_range(0..12) {
            0 => format!("{left} is null"),
            1 => format!("{left} is not null"),
            2 => format!("{left} is distinct from {}", self.leaf(t)),
            3 => format!("{left} in ({}, {})", self.literal(t), self.literal(t)),
            4 => format!("{left} not in ({}, {})", self.literal(t), self.literal(t)),
            5 if t != Type::Bool => {
                format!("{left} between {} and {}", self.leaf(t), self.leaf(t))
            }
            6 if t == Type::Text => format!("{left} like '%b%'"),
            7 if t == Type::Bool => left,
            _ => {
                let operator = ["=", "<>", "<", ">=", ">", "="].choose(self.rng).unwrap_or(&"=");
                format!("{left} {operator} {}", self.leaf(t))
            }
        }
    }

    /// A group key: an expression that is not a bare constant, which GROUP BY would take for a position.
    pub fn key(&mut self, t: Type) -> String {
        let key = match self.rng.random_bool(0.7) {
            true => self.column(t).unwrap_or_else(|| self.value(t, 1)),
            false => self.value(t, 1),
        };
        if key.parse::<i64>().is_ok() { format!("({key} + 0)") } else { key }
    }

    /// An aggregate call and the type of its result; `any` allows results that nothing can be computed with.
    pub fn aggregate(&mut self, any: bool) -> (String, Type) {
        let t = self.present();
        let value = self.value(t, 1);
        let distinct = if self.rng.random_bool(0.2) { "distinct " } else { "" };
        let number = matches!(t, Type::Int | Type::Big | Type::Float | Type::Real | Type::Num);
        let (call, result) = match self.rng.random_range(0..14) {
            0 | 1 => ("count(*)".to_owned(), Type::Big),
            2 => (format!("count({distinct}{value})"), Type::Big),
            3..=5 if number => (format!("sum({distinct}{value})"), sum_of(t)),
            6 | 7 if number => (format!("avg({distinct}{value})"), avg_of(t)),
            8 if any => (format!("array_agg({value} order by {value})"), Type::Other),
            9 => {
                let text = self.value(Type::Text, 1);
                (format!("string_agg({text}, ',' order by {text})"), Type::Text)
            }
            10 if t == Type::Int => {
                let function = ["stddev", "var_pop", "var_samp"].choose(self.rng).unwrap_or(&"");
                (format!("{function}({value})"), Type::Other)
            }
            11 => {
                let function = if self.rng.random_bool(0.5) { "bool_and" } else { "bool_or" };
                (format!("{function}({})", self.predicate(1)), Type::Bool)
            }
            n if !matches!(t, Type::Bool | Type::Uuid | Type::Bytea) => {
                let function = if n % 2 == 0 { "min" } else { "max" };
                (format!("{function}({value})"), t)
            }
            _ => (format!("count({value})"), Type::Big),
        };
        if self.rng.random_bool(0.2) {
            return (format!("{call} filter (where {})", self.predicate(1)), result);
        }
        (call, result)
    }
}

fn sum_of(t: Type) -> Type {
    match t {
        Type::Int => Type::Big,
        Type::Float => Type::Float,
        Type::Real => Type::Real,
        _ => Type::Other,
    }
}

fn avg_of(t: Type) -> Type {
    if matches!(t, Type::Float | Type::Real) { Type::Float } else { Type::Other }
}
