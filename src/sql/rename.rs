//! Writes parsed statements anew for what they name under another name.
//!
//! What a query means stays the same: a relation that gets another name keeps the old one as its alias, and columns that get
//! another name, or come new, are hidden behind a query that shows those there were. Resolves nothing: the caller says which
//! names stand for the relation.

use std::ops::ControlFlow;

use sqlparser::ast::{
    self, Expr, Ident, SelectItem, SetExpr, TableAlias, TableAliasColumnDef, TableFactor, VisitMut,
    VisitorMut,
};

use super::canonical::{RedactedOptions, create_sql as create_sql_of, quote_identifier};
use super::fold_identifier;
use super::relations::Scopes;
use super::statement::{Generated, ObjectName, Options, SinkInput, Statement};
use super::{parse_one, parse_query};
use crate::error::{Error, Result};

/// What is to stand for a relation.
#[derive(Clone, Debug)]
pub struct Replacement {
    pub name: ObjectName,
    /// Each column by its name now and the name it is to have; `None` where the relation's columns stay as they are.
    pub columns: Option<Vec<(String, String)>>,
}

impl Replacement {
    fn query(&self, columns: &[(String, String)]) -> Result<Box<ast::Query>> {
        let item = |(now, shown): &(String, String)| match now == shown {
            true => quote_identifier(now).to_string(),
            false => format!("{} AS {}", quote_identifier(now), quote_identifier(shown)),
        };
        let items: Vec<String> = columns.iter().map(item).collect();
        parse_query(&format!("SELECT {} FROM {}", items.join(", "), self.name))
    }
}

/// Puts `replacement` wherever a query names the relation that `is_it` knows.
pub fn replace_relation<V: VisitMut>(
    node: &mut V,
    is_it: &dyn Fn(&ObjectName) -> bool,
    replacement: &Replacement,
) -> Result<()> {
    let mut replacer = Replacer { scopes: Scopes::default(), is_it, replacement, done: vec![] };
    match node.visit(&mut replacer) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

/// The text of a CREATE statement, whose options are redacted already, after a change.
pub fn rewritten(
    create_sql: &str,
    change: impl FnOnce(&mut Statement) -> Result<()>,
) -> Result<String> {
    let mut statement = parse_one(create_sql)?;
    change(&mut statement)?;
    let none = Options::default();
    let (with, format) = match &statement {
        Statement::CreateTable(table) => (&table.options, table.format.as_ref()),
        Statement::CreateSource(source) => (&source.options, source.format.as_ref()),
        Statement::CreateMaterializedView(view) => (&view.options, None),
        Statement::CreateSink(sink) => (&sink.options, sink.format.as_ref()),
        _ => (&none, None),
    };
    let encode = format.map_or(&[][..], |format| &format.options.0);
    let text = create_sql_of(&statement, RedactedOptions { with: &with.0, encode });
    text.ok_or_else(|| Error::internal("not a CREATE statement"))
}

/// As [`replace_relation`], in whatever of a CREATE statement reads relations.
pub fn replace_relation_in(
    statement: &mut Statement,
    is_it: &dyn Fn(&ObjectName) -> bool,
    replacement: &Replacement,
) -> Result<()> {
    let name = |name: &mut ObjectName| {
        if is_it(name) {
            *name = replacement.name.clone();
        }
    };
    match statement {
        Statement::CreateView(view) => replace_relation(&mut view.query, is_it, replacement),
        Statement::CreateMaterializedView(view) => {
            replace_relation(&mut view.query, is_it, replacement)
        }
        Statement::CreateSink(sink) => match &mut sink.input {
            SinkInput::Relation(relation) => {
                name(relation);
                Ok(())
            }
            SinkInput::Query(query) => replace_relation(query, is_it, replacement),
        },
        Statement::CreateIndex(index) => {
            name(&mut index.table);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Gives what a CREATE statement creates another name.
pub fn set_created_name(statement: &mut Statement, name: ObjectName) {
    match statement {
        Statement::CreateTable(table) => table.name = name,
        Statement::CreateSource(source) => source.name = name,
        Statement::CreateView(view) => view.name = name,
        Statement::CreateMaterializedView(view) => view.name = name,
        Statement::CreateSink(sink) => sink.name = name,
        Statement::CreateIndex(index) => index.name = Some(name),
        Statement::CreateSequence(sequence) => sequence.name = name,
        _ => {}
    }
}

/// Gives a column of what a CREATE statement creates another name; `names` are all of them, that one with its new name.
pub fn rename_created_column(statement: &mut Statement, names: &[String], at: usize, from: &str) {
    let to = &names[at];
    match statement {
        Statement::CreateTable(table) => {
            for column in &mut table.columns {
                if column.name == from {
                    column.name.clone_from(to);
                }
                if let Some(Generated::Stored(expr)) = &mut column.generated {
                    rename_column(expr, from, to);
                }
            }
            let keys = table.primary_key.iter_mut().filter(|name| *name == from);
            keys.for_each(|name| name.clone_from(to));
            table.checks.iter_mut().for_each(|check| rename_column(&mut check.expr, from, to));
        }
        Statement::CreateView(view) => view.columns = names.to_vec(),
        Statement::CreateMaterializedView(view) => view.columns = names.to_vec(),
        _ => {}
    }
}

/// Gives a column another name in an expression over the rows of its one table.
pub fn rename_column(expr: &mut Expr, from: &str, to: &str) {
    struct Renamer<'a>(&'a str, &'a str);

    impl VisitorMut for Renamer<'_> {
        type Break = std::convert::Infallible;

        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
            let last = match expr {
                Expr::Identifier(ident) => Some(ident),
                Expr::CompoundIdentifier(parts) => parts.last_mut(),
                _ => None,
            };
            if let Some(last) = last.filter(|last| fold_identifier(last) == self.0) {
                *last = ident(self.1);
            }
            ControlFlow::Continue(())
        }
    }

    let ControlFlow::Continue(()) = expr.visit(&mut Renamer(from, to));
}

/// Quoted where it needs to be.
fn ident(name: &str) -> Ident {
    match quote_identifier(name) == name {
        true => Ident::new(name),
        false => Ident::with_quote('"', name),
    }
}

/// The relation and the columns (their names and those they are shown under) of a query that does nothing but list columns
/// of one relation.
fn plain_list(query: &ast::Query) -> Option<(ast::ObjectName, Vec<(String, String)>)> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let [from] = select.from.as_slice() else { return None };
    let TableFactor::Table { name, .. } = &from.relation else { return None };
    let mut listed = vec![];
    for item in &select.projection {
        listed.push(match item {
            SelectItem::UnnamedExpr(Expr::Identifier(column)) => {
                (fold_identifier(column), fold_identifier(column))
            }
            SelectItem::ExprWithAlias { expr: Expr::Identifier(column), alias } => {
                (fold_identifier(column), fold_identifier(alias))
            }
            _ => return None,
        });
    }
    // Whatever else there may be in a query would be in its text.
    let items: Vec<String> = select.projection.iter().map(ToString::to_string).collect();
    let whole = format!("SELECT {} FROM {name}", items.join(", "));
    (query.to_string() == whole).then(|| (name.clone(), listed))
}

/// Whether an expression over the rows of its one table names a column.
pub fn names_column(expr: &Expr, column: &str) -> bool {
    let mut finder = ColumnFinder(column);
    ast::Visit::visit(expr, &mut finder).is_break()
}

struct ColumnFinder<'a>(&'a str);

impl ast::Visitor for ColumnFinder<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let last = match expr {
            Expr::Identifier(ident) => Some(ident),
            Expr::CompoundIdentifier(parts) => parts.last(),
            _ => None,
        };
        match last.is_some_and(|last| fold_identifier(last) == self.0) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

struct Replacer<'a> {
    scopes: Scopes,
    is_it: &'a dyn Fn(&ObjectName) -> bool,
    replacement: &'a Replacement,
    /// Where relations stand whose query was written anew already.
    done: Vec<*const TableFactor>,
}

impl Replacer<'_> {
    /// `SELECT a, b AS c FROM relation`, as a query that was put in a relation's place is: its list is written anew, so that
    /// several changes of a relation do not nest queries.
    fn replace_in_list(&mut self, query: &mut ast::Query) -> Result<()> {
        let Some(columns) = &self.replacement.columns else { return Ok(()) };
        let Some((name, listed)) = plain_list(query) else { return Ok(()) };
        if !self.scopes.relation(&name).is_some_and(|name| (self.is_it)(&name)) {
            return Ok(());
        }
        // What is not among the columns any more is not shown.
        let now = |(was, shown): (String, String)| {
            let (now, _) = columns.iter().find(|(_, shown)| *shown == was)?;
            Some((now.clone(), shown))
        };
        let listed: Vec<(String, String)> = listed.into_iter().filter_map(now).collect();
        if listed.is_empty() {
            return Ok(());
        }
        *query = *self.replacement.query(&listed)?;
        if let SetExpr::Select(select) = query.body.as_ref() {
            self.done.extend(select.from.iter().map(|from| &raw const from.relation));
        }
        Ok(())
    }

    fn replace(&self, factor: &mut TableFactor) -> Result<()> {
        if self.done.contains(&(&raw const *factor)) {
            return Ok(());
        }
        let TableFactor::Table { name, alias, args: None, .. } = factor else { return Ok(()) };
        let Some(old) = self.scopes.relation(name).filter(|name| (self.is_it)(name)) else {
            return Ok(());
        };
        let mut alias = alias.take().unwrap_or_else(|| TableAlias {
            explicit: true,
            name: ident(&old.name),
            columns: vec![],
            at: None,
        });
        let Some(columns) = &self.replacement.columns else {
            let (new, shown) = (&self.replacement.name, fold_identifier(&alias.name));
            let parts = [&new.schema, &Some(new.name.clone())];
            let parts = parts.into_iter().flatten().map(|part| ident(part));
            *name = ast::ObjectName::from(parts.collect::<Vec<_>>());
            if let TableFactor::Table { alias: place, .. } = factor {
                *place = (shown != new.name || !alias.columns.is_empty()).then_some(alias);
            }
            return Ok(());
        };
        if !alias.columns.is_empty() {
            // A list that names fewer columns than there are leaves the others their names.
            let others = columns.iter().skip(alias.columns.len());
            let others = others
                .map(|(_, shown)| TableAliasColumnDef { name: ident(shown), data_type: None });
            alias.columns.extend(others.collect::<Vec<_>>());
        }
        let subquery = self.replacement.query(columns)?;
        *factor =
            TableFactor::Derived { lateral: false, subquery, alias: Some(alias), sample: None };
        Ok(())
    }
}

impl VisitorMut for Replacer<'_> {
    type Break = Box<crate::error::Error>;

    fn pre_visit_query(&mut self, query: &mut ast::Query) -> ControlFlow<Self::Break> {
        self.scopes.enter(query);
        match self.replace_in_list(query) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Box::new(error)),
        }
    }

    fn post_visit_query(&mut self, _query: &mut ast::Query) -> ControlFlow<Self::Break> {
        self.scopes.leave();
        ControlFlow::Continue(())
    }

    /// Behind its parts: what is put in its place is not visited.
    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Self::Break> {
        match self.replace(factor) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Box::new(error)),
        }
    }

    /// `schema.table.column` finds the table by its alias now.
    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        let Expr::CompoundIdentifier(parts) = expr else { return ControlFlow::Continue(()) };
        if parts.len() > 2 {
            let table = ast::ObjectName::from(parts[..parts.len() - 1].to_vec());
            if self.scopes.relation(&table).is_some_and(|name| (self.is_it)(&name)) {
                parts.drain(..parts.len() - 2);
            }
        }
        ControlFlow::Continue(())
    }
}
