//! Draws queries: every construct that views maintain, over tables, subqueries and earlier views.
//!
//! Queries name their columns `c0`, `c1` ...; every expression is one that cannot fail, except in [`Grammar::fallible`].

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::case::{Table, Type};
use crate::expression::{Expressions, Scope};

/// What a query may read.
#[derive(Clone, Debug)]
pub struct Relation {
    pub name: String,
    pub columns: Vec<(String, Type)>,
}

impl std::convert::From<&Table> for Relation {
    fn from(table: &Table) -> Relation {
        Relation { name: table.name.clone(), columns: table.columns.clone() }
    }
}

/// A query and the types of its columns.
pub struct Query {
    pub sql: String,
    pub types: Vec<Type>,
}

pub struct Grammar<'a> {
    pub rng: &'a mut StdRng,
    pub relations: &'a [Relation],
    aliases: usize,
}

/// A FROM clause, its columns, and how many relations are in it.
pub(crate) struct Input {
    pub sql: String,
    pub scope: Scope,
}

impl<'a> Grammar<'a> {
    pub fn new(rng: &'a mut StdRng, relations: &'a [Relation]) -> Grammar<'a> {
        Grammar { rng, relations, aliases: 0 }
    }

    /// A view's query, now and then over one that WITH gives and that it refers to any number of times.
    pub fn whole(&mut self) -> Query {
        if self.rng.random_bool(0.85) {
            return self.query(2);
        }
        let common = self.query(1);
        let columns = common.types.iter().enumerate().map(|(i, t)| (format!("c{i}"), *t));
        let common_relation = Relation { name: "w".to_owned(), columns: columns.collect() };
        // Drawn as often as all others together.
        let mut relations = self.relations.to_vec();
        relations.extend(vec![common_relation; self.relations.len()]);
        let mut over = Grammar { rng: self.rng, relations: &relations, aliases: self.aliases };
        let query = over.query(1);
        let kept = ["", "", "", "materialized ", "not materialized "];
        let kept = kept.choose(self.rng).expect("there are some");
        Query { sql: format!("with w as {kept}({}) {}", common.sql, query.sql), types: query.types }
    }

    /// A query; `depth` is how many levels of subqueries it may have in FROM.
    pub fn query(&mut self, depth: usize) -> Query {
        match self.rng.random_range(0..100) {
            0..=19 => self.projection(depth, None, false),
            20..=26 => self.projection(depth, None, true),
            27..=51 => self.grouped(depth),
            52..=57 => self.total(depth),
            58..=65 => self.union(depth),
            66..=79 => self.windows(depth),
            80..=84 => self.first_ranks(depth),
            85..=88 => self.first_of_each(depth),
            _ => self.top_n(depth),
        }
    }

    /// A projection that fails for some rows, guarded for the query it is compared with.
    pub fn fallible(&mut self) -> Option<Query> {
        let tables: Vec<&Relation> =
            self.relations.iter().filter(|r| r.name.starts_with('t')).collect();
        let table = (*tables.choose(self.rng)?).clone();
        let of = |wanted: Type| table.columns.iter().find(|(_, t)| *t == wanted).map(|(n, _)| n);
        let (fails, guard, t) = match (of(Type::Int), of(Type::Text), self.rng.random_bool(0.5)) {
            (_, Some(text), true) => {
                (format!("{text}::integer"), format!("{text} is null or {text} = '12'"), Type::Int)
            }
            (Some(int), _, _) => {
                (format!("100 / ({int} - 2)"), format!("{int} is null or {int} <> 2"), Type::Int)
            }
            _ => return None,
        };
        let (first, first_type) = table.columns[0].clone();
        let sql = format!(
            "select {first} as c0, {fails} as c1 from {} /*| where {guard} |*/",
            table.name
        );
        Some(Query { sql, types: vec![first_type, t] })
    }

    pub(crate) fn expressions<'s>(&'s mut self, scope: &'s Scope) -> Expressions<'s> {
        Expressions { rng: self.rng, scope }
    }

    pub(crate) fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("x{}", self.aliases)
    }

    pub(crate) fn relation(&mut self, depth: usize) -> Input {
        let alias = self.alias();
        let (name, columns) = if depth > 0 && self.rng.random_bool(0.35) {
            let query = self.query(depth - 1);
            let columns = query.types.iter().enumerate().map(|(i, t)| (format!("c{i}"), *t));
            (format!("({})", query.sql), columns.collect())
        } else {
            let relation = self.relations.choose(self.rng).expect("there is a table").clone();
            (relation.name, relation.columns)
        };
        let scope = columns.iter().map(|(name, t)| (format!("{alias}.{name}"), *t)).collect();
        Input { sql: format!("{name} as {alias}"), scope }
    }

    fn from(&mut self, depth: usize) -> Input {
        let mut from = self.relation(depth);
        let joins = [0, 0, 0, 1, 1, 1, 1, 2].choose(self.rng).copied().unwrap_or(0);
        for join in 0..joins {
            let right = self.relation(depth.min(1 - join.min(1)));
            from = self.join(from, right, join);
        }
        if self.rng.random_bool(0.12) {
            from = self.with_lateral(from);
        }
        from
    }

    fn join(&mut self, left: Input, right: Input, number: usize) -> Input {
        let scope: Scope = left.scope.iter().chain(&right.scope).cloned().collect();
        let kinds = ["join", "left join", "right join", "full join", "left join", "full join"];
        let mut kind = *kinds.choose(self.rng).expect("there are kinds");
        let mut on: Vec<String> = vec![];
        for _ in 0..self.rng.random_range(1..=2) {
            on.extend(self.equality(&left.scope, &right.scope));
        }
        if number == 0 && self.rng.random_bool(0.08) {
            let sql = format!("{} cross join {}", left.sql, right.sql);
            return Input { sql, scope };
        }
        if self.rng.random_bool(0.3) || on.is_empty() {
            on.push(self.expressions(&scope).predicate(1));
        }
        if on.len() > 1 && number == 0 && self.rng.random_bool(0.1) {
            on.remove(0);
        }
        if self.rng.random_bool(0.02) {
            (kind, on) = ("left join", vec!["true".to_owned()]);
        }
        Input { sql: format!("{} {kind} {} on {}", left.sql, right.sql, on.join(" and ")), scope }
    }

    /// `left = right` over columns of one type, if there are such.
    pub(crate) fn equality(&mut self, left: &Scope, right: &Scope) -> Option<String> {
        let pairs: Vec<_> = left
            .iter()
            .flat_map(|l| right.iter().map(move |r| (l, r)))
            .filter(|(l, r)| l.1 == r.1 && l.1 != Type::Other)
            .collect();
        let ((l, t), (r, _)) = *pairs.choose(self.rng)?;
        if *t == Type::Int && self.rng.random_bool(0.15) {
            return Some(format!("{l} % 3 = {r} + 1"));
        }
        if self.rng.random_bool(0.06) {
            return Some(format!("{l} is not distinct from {r}"));
        }
        Some(format!("{l} = {r}"))
    }

    /// A WHERE clause, often none.
    fn filter(&mut self, scope: &Scope) -> String {
        match self.rng.random_range(0..100) {
            0..=54 => String::new(),
            55..=79 => format!(" where {}", self.expressions(scope).predicate(2)),
            80..=92 => match self.subquery_predicate(scope) {
                Some(predicate) => match self.rng.random_range(0..5) {
                    0 => {
                        let other = self.expressions(scope).predicate(1);
                        let not = if self.rng.random_bool(0.3) { "not " } else { "" };
                        format!(" where {not}({predicate} or {other})")
                    }
                    1 => format!(" where {predicate} and {}", self.expressions(scope).predicate(1)),
                    _ => format!(" where {predicate}"),
                },
                None => String::new(),
            },
            _ => match self.scalar_subquery(scope) {
                Some((column, subquery)) => format!(" where {column} >= {subquery}"),
                None => String::new(),
            },
        }
    }

    /// EXISTS or IN over another relation, or their negations.
    fn subquery_predicate(&mut self, scope: &Scope) -> Option<String> {
        let inner = self.relation(0);
        let not = if self.rng.random_bool(0.4) { "not " } else { "" };
        let equality = self.equality(scope, &inner.scope)?;
        match self.rng.random_range(0..9) {
            8 => {
                // The innermost refers two queries out.
                let innermost = self.relation(0);
                let near = self.equality(&inner.scope, &innermost.scope)?;
                let far = self.equality(scope, &innermost.scope)?;
                let also = if self.rng.random_bool(0.4) { "not " } else { "" };
                Some(format!(
                    "{not}exists (select 1 from {} where {also}exists (select 1 from {} where {near} and {far}))",
                    inner.sql, innermost.sql
                ))
            }
            6 => self.quantified(scope, &inner),
            7 => self.row_in(scope, &inner, not),
            0 | 1 => {
                let (column, t) = scope.choose(self.rng)?.clone();
                let same: Vec<&(String, Type)> =
                    inner.scope.iter().filter(|(_, i)| *i == t && t != Type::Other).collect();
                let (wanted, _) = (*same.choose(self.rng)?).clone();
                let filter = match self.rng.random_range(0..10) {
                    0..=2 => format!(" where {}", self.expressions(&inner.scope).predicate(1)),
                    3..=5 => format!(" where {equality}"),
                    _ => String::new(),
                };
                Some(format!("{column} {not}in (select {wanted} from {}{filter})", inner.sql))
            }
            2 => {
                let own = self.expressions(&inner.scope).predicate(1);
                Some(format!(
                    "{not}exists (select 1 from {} where {equality} and {own})",
                    inner.sql
                ))
            }
            3 => Some(format!("{not}exists (select 1 from {})", inner.sql)),
            _ => Some(format!("{not}exists (select 1 from {} where {equality})", inner.sql)),
        }
    }

    /// A comparison with any or all values of another relation.
    fn quantified(&mut self, scope: &Scope, inner: &Input) -> Option<String> {
        let (column, t) = scope.choose(self.rng)?.clone();
        let same: Vec<&(String, Type)> =
            inner.scope.iter().filter(|(_, i)| *i == t && t.has_extremes()).collect();
        let (value, _) = *same.choose(self.rng)?;
        let comparison = ["=", "<>", "<", ">="].choose(self.rng)?;
        let of = ["any", "all"].choose(self.rng)?;
        Some(format!("{column} {comparison} {of} (select {value} from {})", inner.sql))
    }

    /// A row among the rows of another relation.
    fn row_in(&mut self, scope: &Scope, inner: &Input, not: &str) -> Option<String> {
        let mut sides = (vec![], vec![]);
        for _ in 0..2 {
            let (column, t) = scope.choose(self.rng)?.clone();
            let same: Vec<&(String, Type)> =
                inner.scope.iter().filter(|(_, i)| *i == t && t != Type::Other).collect();
            sides.0.push(column);
            sides.1.push(same.choose(self.rng)?.0.clone());
        }
        let (row, values) = (sides.0.join(", "), sides.1.join(", "));
        Some(format!("({row}) {not}in (select {values} from {})", inner.sql))
    }

    /// A value that a subquery finds by a column, not by the form of an aggregate.
    fn found_value(&mut self, scope: &Scope, t: Type) -> Option<String> {
        let inner = self.relation(0);
        let same: Vec<&(String, Type)> =
            inner.scope.iter().filter(|(_, i)| *i == t && t.has_extremes()).collect();
        let value = same.choose(self.rng)?.0.clone();
        let pairs: Vec<(&String, &String)> = scope
            .iter()
            .flat_map(|l| inner.scope.iter().map(move |r| (l, r)))
            .filter(|(l, r)| l.1 == r.1 && l.1 != Type::Other)
            .map(|(l, r)| (&l.0, &r.0))
            .collect();
        let (outer, key) = *pairs.choose(self.rng)?;
        let groups = format!("select {key} as k, max({value}) as v from {} group by 1", inner.sql);
        let alias = self.alias();
        Some(format!("(select {alias}.v from ({groups}) as {alias} where {alias}.k = {outer})"))
    }

    /// A column and an uncorrelated scalar subquery of its type.
    fn scalar_subquery(&mut self, scope: &Scope) -> Option<(String, String)> {
        let inner = self.relation(0);
        let (column, t) = scope.choose(self.rng)?.clone();
        let same: Vec<&(String, Type)> = inner
            .scope
            .iter()
            .filter(|(_, i)| *i == t && t.has_extremes() && t != Type::Other)
            .collect();
        let (value, _) = (*same.choose(self.rng)?).clone();
        let extreme = if self.rng.random_bool(0.5) { "min" } else { "max" };
        Some((column, format!("(select {extreme}({value}) from {})", inner.sql)))
    }

    /// Some output columns of given or any types.
    fn projection(&mut self, depth: usize, types: Option<&[Type]>, distinct: bool) -> Query {
        let from = self.from(depth);
        let types: Vec<Type> = match types {
            Some(types) => types.to_vec(),
            None => self.some_types(&from.scope),
        };
        let mut items: Vec<String> = types
            .iter()
            .enumerate()
            .map(|(i, t)| format!("{} as c{i}", self.expressions(&from.scope).value(*t, 2)))
            .collect();
        if self.rng.random_bool(0.05)
            && let Some((column, subquery)) = self.scalar_subquery(&from.scope)
        {
            let t = from.scope.iter().find(|(name, _)| *name == column).map(|(_, t)| *t);
            if let Some(at) = types.iter().position(|wanted| Some(*wanted) == t) {
                items[at] = format!("{subquery} as c{at}");
            }
        }
        for at in 0..types.len() {
            let subquery = match (self.rng.random_range(0..100), types[at]) {
                (0..20, Type::Bool) => self.subquery_predicate(&from.scope),
                (20..26, t) => self.found_value(&from.scope, t),
                _ => None,
            };
            if let Some(subquery) = subquery {
                items[at] = format!("{subquery} as c{at}");
            }
        }
        let filter = self.filter(&from.scope);
        let distinct = if distinct { "distinct " } else { "" };
        let sql = format!("select {distinct}{} from {}{filter}", items.join(", "), from.sql);
        Query { sql, types }
    }

    fn some_types(&mut self, scope: &Scope) -> Vec<Type> {
        let count = self.rng.random_range(1..=4);
        (0..count)
            .map(|_| match scope.choose(self.rng) {
                Some((_, t)) if *t != Type::Other && self.rng.random_bool(0.85) => *t,
                _ => *[Type::Int, Type::Text, Type::Bool].choose(self.rng).expect("not empty"),
            })
            .collect()
    }

    /// GROUP BY, perhaps HAVING.
    fn grouped(&mut self, depth: usize) -> Query {
        let from = self.from(depth);
        let mut types: Vec<Type> = self.some_types(&from.scope);
        types.truncate(2);
        let mut keys: Vec<String> =
            types.iter().map(|t| self.expressions(&from.scope).key(*t)).collect();
        if depth == 0 && self.rng.random_bool(0.08) {
            keys.push(self.expressions(&from.scope).document());
            types.push(Type::Other);
        }
        let mut items = keys.clone();
        for _ in 0..self.rng.random_range(1..=3) {
            let (call, t) = self.expressions(&from.scope).aggregate(depth == 0);
            items.push(call);
            types.push(t);
        }
        if self.rng.random_bool(0.06)
            && let Some(predicate) = self.subquery_predicate(&from.scope)
        {
            items.push(format!("count(*) filter (where {predicate})"));
            types.push(Type::Big);
        }
        let filter = self.filter(&from.scope);
        let having = match self.rng.random_range(0..6) {
            0 => " having count(*) > 1".to_owned(),
            1 => {
                format!(" having {} is not null", self.expressions(&from.scope).aggregate(false).0)
            }
            _ => String::new(),
        };
        let items = named(&items);
        let keys = self.grouping(&keys);
        let sql = format!("select {items} from {}{filter} group by {keys}{having}", from.sql);
        Query { sql, types }
    }

    /// What stands behind GROUP BY: sets now and then.
    fn grouping(&mut self, keys: &[String]) -> String {
        let list = keys.join(", ");
        // Known gaps: a set cannot name an expression twice, nor one that is in parentheses and cast.
        let repeats = keys.iter().enumerate().any(|(i, key)| keys[..i].contains(key));
        if repeats || keys.iter().any(|key| key.starts_with('(')) {
            return list;
        }
        match self.rng.random_range(0..20) {
            0 => format!("rollup ({list})"),
            1 => format!("cube ({list})"),
            2 => format!("grouping sets (({list}), ({}))", keys[0]),
            3 => format!("grouping sets (({list}), (), ({list}))"),
            _ => list,
        }
    }

    /// Aggregates over everything: always one row.
    fn total(&mut self, depth: usize) -> Query {
        let from = self.from(depth);
        let calls = self.rng.random_range(1..=3);
        let calls: Vec<(String, Type)> =
            (0..calls).map(|_| self.expressions(&from.scope).aggregate(depth == 0)).collect();
        let (items, types): (Vec<String>, Vec<Type>) = calls.into_iter().unzip();
        let filter = self.filter(&from.scope);
        Query { sql: format!("select {} from {}{filter}", named(&items), from.sql), types }
    }

    fn union(&mut self, depth: usize) -> Query {
        let depth = depth.saturating_sub(1);
        let first = self.projection(depth, None, false);
        let mut sql = first.sql;
        for _ in 0..self.rng.random_range(1..=2) {
            let operator = match self.rng.random_range(0..10) {
                0 | 1 => "union",
                _ => "union all",
            };
            let next = self.projection(depth, Some(&first.types), false);
            sql = format!("{sql} {operator} {}", next.sql);
        }
        Query { sql, types: first.types }
    }

    /// Some columns with the results of window functions.
    fn windows(&mut self, depth: usize) -> Query {
        let from = self.from(depth.min(1));
        let mut types: Vec<Type> = self.some_types(&from.scope);
        types.truncate(2);
        let mut items: Vec<String> =
            types.iter().map(|t| self.expressions(&from.scope).value(*t, 1)).collect();
        let window = self.expressions(&from.scope).window();
        for _ in 0..self.rng.random_range(1..=3) {
            // Most of a query's windows are the same, so that its calls share an operator.
            let own = self.expressions(&from.scope).window();
            let window = if self.rng.random_bool(0.7) { &window } else { &own };
            let (call, t) = self.expressions(&from.scope).window_call(window, depth == 0);
            items.push(call);
            types.push(t);
        }
        let filter = self.filter(&from.scope);
        Query { sql: format!("select {} from {}{filter}", named(&items), from.sql), types }
    }

    /// The rows of the first ranks of each partition.
    fn first_ranks(&mut self, depth: usize) -> Query {
        let from = self.from(depth.min(1));
        let mut types: Vec<Type> = self.some_types(&from.scope);
        let mut items: Vec<String> =
            types.iter().map(|t| self.expressions(&from.scope).value(*t, 1)).collect();
        let window = self.expressions(&from.scope).window();
        let ranks = ["row_number()", "rank()", "dense_rank()"];
        let rank = ranks.choose(self.rng).expect("there are ranks");
        items.push(format!("{rank} over ({})", window.keys()));
        types.push(Type::Big);
        let filter = self.filter(&from.scope);
        let (alias, column) = (self.alias(), items.len() - 1);
        let bounds = ["<= 1", "= 1", "<= 2", "< 3", "= 2", "between 1 and 2", "< 1"];
        let bound = bounds.choose(self.rng).expect("there are bounds");
        let columns: Vec<String> = (0..types.len()).map(|i| format!("{alias}.c{i}")).collect();
        let kept = if self.rng.random_bool(0.7) { columns.len() } else { columns.len() - 1 };
        types.truncate(kept.max(1));
        let sql = format!(
            "select {} from (select {} from {}{filter}) as {alias} where {alias}.c{column} {bound}",
            columns[..types.len()].join(", "),
            named(&items),
            from.sql
        );
        Query { sql, types }
    }

    /// DISTINCT ON.
    fn first_of_each(&mut self, depth: usize) -> Query {
        let from = self.from(depth.min(1));
        let types: Vec<Type> = self.some_types(&from.scope);
        let items: Vec<String> =
            types.iter().map(|t| self.expressions(&from.scope).value(*t, 1)).collect();
        let t = self.some_types(&from.scope)[0];
        let key = self.expressions(&from.scope).key(t);
        let filter = self.filter(&from.scope);
        let order = match self.rng.random_range(0..3) {
            0 => String::new(),
            1 => format!(" order by {key}"),
            _ => format!(" order by {key} desc, {}", self.expressions(&from.scope).sort_key()),
        };
        let sql = format!(
            "select distinct on ({key}) {} from {}{filter}{order}",
            named(&items),
            from.sql
        );
        Query { sql, types }
    }

    /// ORDER BY ... LIMIT over a subquery, whose whole row then is what ties break by.
    fn top_n(&mut self, depth: usize) -> Query {
        let inner = self.query(depth.saturating_sub(1).min(1));
        let alias = self.alias();
        let columns: Vec<String> =
            (0..inner.types.len()).map(|i| format!("{alias}.c{i}")).collect();
        let mut keys = vec![];
        // DISTINCT ON has an order of its own, which a LIMIT without one would follow.
        let sorted = inner.sql.starts_with("select distinct on");
        for _ in 0..self.rng.random_range(usize::from(sorted)..=2) {
            let column = columns.choose(self.rng).expect("queries have columns");
            let order = ["", " desc", " nulls first", " desc nulls last"];
            keys.push(format!("{column}{}", order.choose(self.rng).expect("not empty")));
        }
        let ties = columns.join(", ");
        let order = match keys.is_empty() {
            true => format!("/*| order by {ties} |*/"),
            false => format!("order by {} /*| , {ties} |*/", keys.join(", ")),
        };
        let limit = match self.rng.random_range(0..10) {
            0 => format!("offset {}", self.rng.random_range(0..4)),
            1..=3 => format!(
                "limit {} offset {}",
                self.rng.random_range(0..5),
                self.rng.random_range(0..4)
            ),
            _ => format!("limit {}", self.rng.random_range(1..6)),
        };
        let sql = format!("select {ties} from ({}) as {alias} {order} {limit}", inner.sql);
        let sql = match self.rng.random_bool(0.5) {
            true => sql.replacen(&format!("select {ties}"), "select *", 1),
            false => sql,
        };
        Query { sql, types: inner.types }
    }
}

fn named(items: &[String]) -> String {
    let items: Vec<String> =
        items.iter().enumerate().map(|(i, item)| format!("{item} as c{i}")).collect();
    items.join(", ")
}
