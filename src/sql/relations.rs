//! What a query reads: the relations it names, and its parameters. Resolves nothing against the catalog.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    self, Expr, FunctionArg, FunctionArgExpr, TableFactor, Value, Visit, Visitor,
};

use super::fold_identifier;
use super::statement::ObjectName;
use crate::error::{Error, Result, SqlState};

/// Table functions whose first argument is a relation.
const WINDOW_FUNCTIONS: &[&str] = &["tumble", "hop", "session"];

/// The relations that a query (or INSERT, UPDATE, DELETE) names, each once, in the order of their first appearance.
///
/// Names of common table expressions are left out where they are in scope, and so are table functions; the relation inside
/// of TUMBLE(t, ...) and HOP(t, ...) counts. For INSERT, UPDATE and DELETE the target itself is left out.
pub fn referenced_relations<V: Visit>(node: &V) -> Vec<ObjectName> {
    let mut finder = RelationFinder { scopes: Scopes::default(), found: vec![] };
    let ControlFlow::Continue(()) = node.visit(&mut finder);
    finder.found
}

struct RelationFinder {
    scopes: Scopes,
    found: Vec<ObjectName>,
}

/// Which names are those of common table expressions, while a visitor walks down and up.
#[derive(Default)]
pub(super) struct Scopes(Vec<Scope>);

impl Scopes {
    pub fn enter(&mut self, query: &ast::Query) {
        let inherited = self.0.last().map_or_else(Vec::new, |scope| scope.seen_by(query));
        let with = query.with.as_ref();
        let own = with.map_or(&[][..], |with| &with.cte_tables).iter();
        let own = own
            .map(|cte| (&*cte.query as *const ast::Query, fold_identifier(&cte.alias.name)))
            .collect();
        let recursive = with.is_some_and(|with| with.recursive);
        self.0.push(Scope { inherited, own, recursive });
    }

    pub fn leave(&mut self) {
        self.0.pop();
    }

    /// The relation that a name stands for here; `None` for a common table expression.
    pub fn relation(&self, name: &ast::ObjectName) -> Option<ObjectName> {
        let name = ObjectName::try_from(name).ok()?;
        let is_cte = name.schema.is_none()
            && self.0.last().is_some_and(|scope| scope.names().any(|n| *n == name.name));
        (!is_cte).then_some(name)
    }
}

/// The CTE names that a query sees, and its own CTEs by the address of their query.
struct Scope {
    inherited: Vec<String>,
    own: Vec<(*const ast::Query, String)>,
    recursive: bool,
}

impl Scope {
    fn names(&self) -> impl Iterator<Item = &String> {
        self.inherited.iter().chain(self.own.iter().map(|(_, name)| name))
    }

    /// What `query`, directly inside of this scope, sees: a CTE of ours sees those before it, or all if recursive.
    fn seen_by(&self, query: *const ast::Query) -> Vec<String> {
        match self.own.iter().position(|(own, _)| *own == query) {
            Some(at) if !self.recursive => {
                let before = self.own[..at].iter().map(|(_, name)| name);
                self.inherited.iter().chain(before).cloned().collect()
            }
            _ => self.names().cloned().collect(),
        }
    }
}

impl RelationFinder {
    fn add(&mut self, name: &ast::ObjectName) {
        let name = self.scopes.relation(name).filter(|name| !self.found.contains(name));
        self.found.extend(name);
    }

    fn add_window_argument(&mut self, args: &[FunctionArg]) {
        let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) = args.first() else { return };
        let parts = match first {
            Expr::Identifier(ident) => vec![ident.clone()],
            Expr::CompoundIdentifier(parts) => parts.clone(),
            _ => return,
        };
        self.add(&ast::ObjectName::from(parts));
    }
}

impl Visitor for RelationFinder {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<Self::Break> {
        self.scopes.enter(query);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &ast::Query) -> ControlFlow<Self::Break> {
        self.scopes.leave();
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Self::Break> {
        match factor {
            TableFactor::Table { name, args: None, .. } => self.add(name),
            TableFactor::Table { name, args: Some(args), .. } if is_window_function(name) => {
                self.add_window_argument(&args.args);
            }
            TableFactor::Function { name, args, .. } if is_window_function(name) => {
                self.add_window_argument(args)
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn is_window_function(name: &ast::ObjectName) -> bool {
    let last = name.0.last().and_then(|part| part.as_ident()).map(fold_identifier);
    last.is_some_and(|last| WINDOW_FUNCTIONS.contains(&last.as_str()))
}

/// Whether there is a query inside, such as a scalar subquery in an expression.
pub fn has_query<V: Visit>(node: &V) -> bool {
    struct Finder;

    impl Visitor for Finder {
        type Break = ();

        fn pre_visit_query(&mut self, _query: &ast::Query) -> ControlFlow<()> {
            ControlFlow::Break(())
        }
    }

    node.visit(&mut Finder).is_break()
}

/// The numbers of the parameters (`$1`) in a statement; 42P02 for numbers out of PostgreSQL's range.
pub fn placeholders<V: Visit>(node: &V) -> Result<BTreeSet<usize>> {
    struct Finder(BTreeSet<usize>);

    impl Visitor for Finder {
        type Break = Box<Error>;

        fn pre_visit_value(&mut self, value: &ast::ValueWithSpan) -> ControlFlow<Self::Break> {
            let Value::Placeholder(text) = &value.value else { return ControlFlow::Continue(()) };
            let number = text.strip_prefix('$').and_then(|n| n.parse::<usize>().ok());
            match number.filter(|n| (1..=usize::from(u16::MAX)).contains(n)) {
                Some(number) => {
                    self.0.insert(number);
                    ControlFlow::Continue(())
                }
                None => {
                    let message = format!("there is no parameter {text}");
                    ControlFlow::Break(Box::new(Error::new(SqlState::UNDEFINED_PARAMETER, message)))
                }
            }
        }
    }

    let mut finder = Finder(BTreeSet::new());
    match node.visit(&mut finder) {
        ControlFlow::Continue(()) => Ok(finder.0),
        ControlFlow::Break(error) => Err(*error),
    }
}
