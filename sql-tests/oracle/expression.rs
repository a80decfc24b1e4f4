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
            3 if t.has_extremes() => {
                let function = if self.rng.random_bool(0.5) { "greatest" } else { "least" };
                format!("{function}({}, {})", self.value(t, depth), self.leaf(t))
            }
            _ => self.operation(t, depth),
        }
    }

    fn operation(&mut self, t: Type, depth: usize) -> String {
        let choice = self.rng.random_range(0..6);
        match t {
            Type::Bool => format!("({})", self.predicate(depth + 1)),
            Type::Int => match choice {
                0 | 1 if self.column(Type::Pair).is_some() => {
                    format!("({}).n", self.leaf(Type::Pair))
                }
                2 if self.column(Type::Grid).is_some() => {
                    format!("({})[1][2]", self.leaf(Type::Grid))
                }
                3 if self.column(Type::Dict).is_some() => {
                    format!("({})['a']", self.leaf(Type::Dict))
                }
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
            Type::Pair | Type::Grid | Type::Dict => self.nested_operation(t, choice),
            Type::Real | Type::Uuid | Type::Bytea | Type::Other => self.leaf(t),
        }
    }

    fn nested_operation(&mut self, t: Type, choice: u32) -> String {
        match t {
            Type::Pair => match choice {
                0 => {
                    let (number, text) = (self.value(Type::Int, 0), self.value(Type::Text, 0));
                    let float = self.value(Type::Float, 0);
                    format!("row({number}, {text}, {float})::{}", t.sql())
                }
                _ => self.leaf(t),
            },
            Type::Grid => match choice {
                0 => format!("array[array[{}, 1]]", self.value(Type::Int, 0)),
                _ => self.leaf(t),
            },
            Type::Dict => match choice {
                0 => {
                    let (name, number) = (self.value(Type::Text, 0), self.value(Type::Int, 0));
                    format!("map_insert({}, coalesce({name}, '-'), {number})", self.leaf(t))
                }
                1 => format!("map_cat({}, {})", self.leaf(t), self.leaf(t)),
                2 => format!("map_delete({}, 'a')", self.leaf(t)),
                _ => self.leaf(t),
            },
            _ => self.leaf(t),
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
        let (call, result) = match self.rng.random_range(0..16) {
            0 | 1 => ("count(*)".to_owned(), Type::Big),
            2 => (format!("count({distinct}{value})"), Type::Big),
            3..=5 if number => (format!("sum({distinct}{value})"), sum_of(t)),
            6 | 7 if number => (format!("avg({distinct}{value})"), avg_of(t)),
            8 if any => (self.collected(&value), Type::Other),
            9 => {
                let text = self.value(Type::Text, 1);
                (format!("string_agg({text}, ',' order by {text})"), Type::Text)
            }
            10 if matches!(t, Type::Int | Type::Big) => {
                let function = if self.rng.random_bool(0.5) { "bit_and" } else { "bit_or" };
                (format!("{function}({value})"), t)
            }
            11 => {
                let function = if self.rng.random_bool(0.5) { "bool_and" } else { "bool_or" };
                (format!("{function}({})", self.predicate(1)), Type::Bool)
            }
            12 | 13 => self.ordered_set(t, &value),
            14 if any => (format!("count(distinct {})", self.document()), Type::Big),
            n if t.has_extremes() => {
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

impl Expressions<'_> {
    /// A jsonb of few values, of which some are equal and written differently.
    pub fn document(&mut self) -> String {
        let (first, second) = (self.predicate(1), self.predicate(1));
        format!(
            "(case when {first} then '1.0' when {second} then '[{{\"a\": 2.50}}]' when {first} is null then '[{{\"a\": 2.5}}]' else '1' end)::jsonb"
        )
    }

    /// An aggregate WITHIN GROUP.
    fn ordered_set(&mut self, t: Type, value: &str) -> (String, Type) {
        let order = ["", " desc"].choose(self.rng).copied().unwrap_or("");
        let within = format!("within group (order by {value}{order})");
        let fraction = ["0", "0.3", "0.5", "1"].choose(self.rng).copied().unwrap_or("1");
        match self.rng.random_range(0..5) {
            0 if matches!(t, Type::Int | Type::Num) => {
                (format!("percentile_cont({fraction}) {within}"), Type::Float)
            }
            0 | 1 => (format!("percentile_disc({fraction}) {within}"), t),
            2 => (format!("rank({}) {within}", self.literal(t)), Type::Big),
            3 => (format!("dense_rank({}) {within}", self.literal(t)), Type::Big),
            _ => (format!("mode() {within}"), t),
        }
    }

    /// An aggregate that keeps every value.
    fn collected(&mut self, value: &str) -> String {
        match self.rng.random_range(0..4) {
            0 | 1 => format!("array_agg({value} order by {value})"),
            2 => format!("jsonb_agg({value} order by {value})"),
            _ => {
                let name = format!("coalesce({}, '-')", self.value(Type::Text, 1));
                format!("jsonb_object_agg({name}, {value} order by {name}, {value})")
            }
        }
    }
}

/// The parts of an OVER clause.
#[derive(Clone)]
pub struct Window {
    partition: String,
    order: Vec<String>,
    /// The type of the only key, for RANGE with offsets.
    ranged: Option<Type>,
}

impl Window {
    /// What is in the parentheses, without a frame.
    pub fn keys(&self) -> String {
        match self.order.is_empty() {
            true => self.partition.clone(),
            false => format!("{} order by {}", self.partition, self.order.join(", ")),
        }
    }
}

impl Expressions<'_> {
    /// A key of an ORDER BY.
    pub fn sort_key(&mut self) -> String {
        let t = self.present();
        let order = ["", " desc", " nulls first", " desc nulls last"];
        let order = order.choose(self.rng).copied().unwrap_or("");
        format!("{}{order}", self.key(t))
    }

    pub fn window(&mut self) -> Window {
        let partition = match self.rng.random_range(0..10) {
            0..=2 => String::new(),
            n => {
                let t = self.present();
                let first = self.key(t);
                let second =
                    if n == 9 { format!(", {}", self.sort_column()) } else { String::new() };
                format!("partition by {first}{second}")
            }
        };
        if self.rng.random_bool(0.25) {
            for t in [Type::Int, Type::Num, Type::Date, Type::Timestamp] {
                if let Some(column) = self.column(t) {
                    let order =
                        vec![format!("{column}{}", if self.rng.random() { " desc" } else { "" })];
                    return Window { partition, order, ranged: Some(t) };
                }
            }
        }
        let keys = self.rng.random_range(0..=2);
        let order = (0..keys).map(|_| self.sort_key()).collect();
        Window { partition, order, ranged: None }
    }

    fn sort_column(&mut self) -> String {
        let t = self.present();
        self.key(t)
    }

    /// A frame clause, often none.
    fn frame(&mut self, window: &Window) -> String {
        let offset = |n: u32| match window.ranged {
            Some(Type::Date | Type::Timestamp) => {
                ["'1 hour'", "'1 day'", "'1 month'", "'30 years'"][n as usize].to_owned()
            }
            Some(Type::Num) => format!("{n}.5"),
            _ => n.to_string(),
        };
        let n = self.rng.random_range(0..4);
        let m = self.rng.random_range(0..4);
        if window.ranged.is_some() && self.rng.random_bool(0.6) {
            let (n, m) = (offset(n), offset(m));
            let frames = [
                format!(" range {n} preceding"),
                format!(" range between {n} preceding and {m} following"),
                format!(" range between unbounded preceding and {m} following"),
                format!(" range between current row and {m} following"),
            ];
            return frames.choose(self.rng).cloned().unwrap_or_default();
        }
        let units = match self.rng.random_range(0..4) {
            0 | 1 => "rows",
            2 if !window.order.is_empty() => "groups",
            3 => return String::new(),
            _ => "rows",
        };
        let frames = [
            format!(" {units} {n} preceding"),
            format!(" {units} between {n} preceding and {m} following"),
            format!(" {units} between unbounded preceding and current row"),
            format!(" {units} between unbounded preceding and {n} preceding"),
            format!(" {units} between {} preceding and {n} preceding", n + m),
            format!(" {units} between {n} following and {} following", n + m),
            format!(" {units} between {n} following and unbounded following"),
            format!(" {units} between current row and unbounded following"),
            format!(" {units} between unbounded preceding and unbounded following"),
            " range between unbounded preceding and unbounded following".to_owned(),
        ];
        frames.choose(self.rng).cloned().unwrap_or_default()
    }

    /// A call over the window and the type of its result.
    pub fn window_call(&mut self, window: &Window, any: bool) -> (String, Type) {
        let keys = window.keys();
        let t = self.present();
        let value = self.value(t, 1);
        let n = self.rng.random_range(0..4);
        let (call, t) = match self.rng.random_range(0..16) {
            0 => ("row_number()".to_owned(), Type::Big),
            1 => ("rank()".to_owned(), Type::Big),
            2 => ("dense_rank()".to_owned(), Type::Big),
            3 => ("percent_rank()".to_owned(), Type::Float),
            4 => ("cume_dist()".to_owned(), Type::Float),
            5 => (format!("ntile({})", n + 1), Type::Int),
            6 => (format!("lag({value})"), t),
            7 => (format!("lead({value}, {n}, {})", self.leaf(t)), t),
            8 => match self.column(Type::Int) {
                Some(offset) => (format!("lag({value}, {offset})"), t),
                None => (format!("lag({value}, 2)"), t),
            },
            9..=11 => {
                let function = ["first_value", "last_value"][self.rng.random_range(0..2)];
                let call = match self.rng.random_bool(0.3) {
                    true => format!("nth_value({value}, {})", n + 1),
                    false => format!("{function}({value})"),
                };
                let frame = self.frame(window);
                return (format!("{call} over ({keys}{frame})"), t);
            }
            _ => {
                let (call, t) = self.plain_aggregate(any);
                let frame = self.frame(window);
                return (format!("{call} over ({keys}{frame})"), t);
            }
        };
        (format!("{call} over ({keys})"), t)
    }

    /// An aggregate as a window has it: without DISTINCT and ORDER BY.
    fn plain_aggregate(&mut self, any: bool) -> (String, Type) {
        let t = self.present();
        let value = self.value(t, 1);
        let number = matches!(t, Type::Int | Type::Big | Type::Float | Type::Real | Type::Num);
        let (call, result) = match self.rng.random_range(0..12) {
            0 => ("count(*)".to_owned(), Type::Big),
            1..=4 if number => (format!("sum({value})"), sum_of(t)),
            5 | 6 if number => (format!("avg({value})"), avg_of(t)),
            7 if any => (format!("array_agg({value})"), Type::Other),
            8 => (format!("string_agg({}, ',')", self.value(Type::Text, 1)), Type::Text),
            9 => (format!("bool_or({})", self.predicate(1)), Type::Bool),
            n if t.has_extremes() => {
                (format!("{}({value})", if n % 2 == 0 { "min" } else { "max" }), t)
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
