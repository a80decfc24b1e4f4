//! Draws what follows a table in FROM and refers to it: functions that return sets, and LATERAL subqueries.

use rand::Rng;
use rand::seq::IndexedRandom;

use crate::case::Type;
use crate::expression::Scope;
use crate::grammar::{Grammar, Input};

impl Grammar<'_> {
    /// The input with something lateral joined to it.
    pub(crate) fn with_lateral(&mut self, left: Input) -> Input {
        let keep = self.rng.random_bool(0.5);
        let (source, columns) = match self.rng.random_range(0..10) {
            0..=4 => self.set_of_rows(&left.scope),
            _ => match self.subquery(&left.scope) {
                Some(subquery) => subquery,
                None => self.set_of_rows(&left.scope),
            },
        };
        let alias = self.alias();
        let names: Vec<String> = (0..columns.len()).map(|i| format!("c{i}")).collect();
        let scope: Scope = left
            .scope
            .iter()
            .cloned()
            .chain(names.iter().zip(&columns).map(|(name, t)| (format!("{alias}.{name}"), *t)))
            .collect();
        let aliased = format!("{source} as {alias}({})", names.join(", "));
        let sql = match (keep, self.rng.random_bool(0.2)) {
            (false, false) => format!("{} cross join {aliased}", left.sql),
            (true, false) => format!("{} left join {aliased} on true", left.sql),
            (_, true) => {
                let on = self.expressions(&scope).predicate(1);
                let kind = if keep { "left join" } else { "join" };
                format!("{} {kind} {aliased} on {on}", left.sql)
            }
        };
        Input { sql, scope }
    }

    /// A function of the input's columns, and its columns' types.
    fn set_of_rows(&mut self, scope: &Scope) -> (String, Vec<Type>) {
        let list = |grammar: &mut Self, t: Type| {
            let items: Vec<String> = (0..grammar.rng.random_range(1..4))
                .map(|_| grammar.expressions(scope).value(t, 1))
                .collect();
            format!("array[{}]", items.join(", "))
        };
        match self.rng.random_range(0..6) {
            0 => (format!("unnest({})", list(self, Type::Int)), vec![Type::Int]),
            1 => {
                let (numbers, texts) = (list(self, Type::Int), list(self, Type::Text));
                let sql = format!("unnest({numbers}, {texts}) with ordinality");
                (sql, vec![Type::Int, Type::Text, Type::Big])
            }
            2 => (
                format!("unnest({}) with ordinality", list(self, Type::Text)),
                vec![Type::Text, Type::Big],
            ),
            3 => {
                let to = self.expressions(scope).value(Type::Int, 0);
                (format!("generate_series(1, {to} % 4)"), vec![Type::Int])
            }
            4 => {
                let text = self.expressions(scope).value(Type::Text, 1);
                (format!("string_to_table({text}, 'a')"), vec![Type::Text])
            }
            _ => {
                let (a, b) = (
                    self.expressions(scope).value(Type::Text, 1),
                    self.expressions(scope).value(Type::Text, 1),
                );
                let (n, m) = (
                    self.expressions(scope).value(Type::Int, 1),
                    self.expressions(scope).value(Type::Int, 1),
                );
                (format!("lateral (values ({a}, {n}), ({b}, {m}))"), vec![Type::Text, Type::Int])
            }
        }
    }

    /// A subquery over another relation that refers to the input, and its columns' types.
    fn subquery(&mut self, scope: &Scope) -> Option<(String, Vec<Type>)> {
        let inner = self.relation(0);
        let mut filter = vec![];
        if self.rng.random_bool(0.75) {
            filter.push(self.equality(&inner.scope, scope)?);
        }
        if filter.is_empty() || self.rng.random_bool(0.25) {
            let both: Scope = scope.iter().chain(&inner.scope).cloned().collect();
            filter.push(self.expressions(&both).predicate(1));
        }
        let from = format!("{} where {}", inner.sql, filter.join(" and "));
        let t = *[Type::Int, Type::Text, Type::Big].choose(self.rng)?;
        let value = self.expressions(&inner.scope).value(t, 1);
        let (select, types) = match self.rng.random_range(0..8) {
            0 | 1 => {
                let (call, result) = self.expressions(&inner.scope).aggregate(false);
                (format!("select {call}, count(*) from {from}"), vec![result, Type::Big])
            }
            2 | 3 => {
                let key = self.expressions(&inner.scope).sort_key();
                let limit = self.rng.random_range(1..4);
                let offset = if self.rng.random_bool(0.2) { " offset 1" } else { "" };
                (
                    format!("select {value} from {from} order by {key} limit {limit}{offset}"),
                    vec![t],
                )
            }
            4 => (format!("select distinct {value} from {from}"), vec![t]),
            5 => {
                let key = self.expressions(&inner.scope).key(t);
                let (call, result) = self.expressions(&inner.scope).aggregate(false);
                (format!("select {key}, {call} from {from} group by {key}"), vec![t, result])
            }
            6 => {
                let own = self.expressions(scope).value(t, 1);
                let operator = ["union", "union all"].choose(self.rng)?;
                (format!("select {value} from {from} {operator} select {own}"), vec![t])
            }
            _ => (format!("select {value} from {from}"), vec![t]),
        };
        Some((format!("lateral ({select})"), types))
    }
}
