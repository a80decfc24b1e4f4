//! Common table expressions that are evaluated once, however often a query refers to them.
//!
//! A query plan is a tree, and the planner copies what WITH gives into each place that refers to it. So a query that is
//! referred to several times is marked before planning by an alias around it ([`mark`]) and taken out of the
//! plan afterwards ([`take_out`]): in its places stand scans of a table ([`Common`]) that has the query as its plan. It is
//! optimized by itself, for the columns that its readers turn out to need. As in PostgreSQL conditions of the readers do not
//! reach into it, `MATERIALIZED` asks for it where there is one reference and `NOT MATERIALIZED` forbids it; a query that
//! only filters and projects is not worth it, unless its value changes from evaluation to evaluation.

mod rows;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use arrow_schema::{Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result as DfResult, TableReference};
use datafusion::datasource::{DefaultTableSource, provider_as_source};
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, Projection, SubqueryAlias, TableScan,
};
use sqlparser::ast::{
    self, CteAsMaterialized, Ident, ObjectName, Query, SetExpr, TableFactor, Visit, VisitMut,
    Visitor, VisitorMut,
};

use self::rows::Rows;
use super::compile::volatile_function;
use crate::error::Result;
use crate::sql::fold_identifier;

/// Begins the alias around a common table expression; a number and its name follow.
const MARK: &str = "\u{1}once";

/// Puts the alias around what a query's WITH clauses give and the query refers to more than once.
pub(super) fn mark(query: &mut Query) -> Result<()> {
    let mut references = References::default();
    let ControlFlow::Continue(()) = Visit::visit(&*query, &mut references);
    let mut marker = Marker { references: references.0, marked: 0 };
    match VisitMut::visit(query, &mut marker) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// How often each name stands in FROM, wherever that is: a name that stands there for two things is counted for both.
#[derive(Default)]
struct References(HashMap<String, usize>);

impl Visitor for References {
    type Break = std::convert::Infallible;

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Self::Break> {
        if let [ast::ObjectNamePart::Identifier(name)] = relation.0.as_slice() {
            *self.0.entry(fold_identifier(name)).or_default() += 1;
        }
        ControlFlow::Continue(())
    }
}

struct Marker {
    references: HashMap<String, usize>,
    marked: usize,
}

impl VisitorMut for Marker {
    type Break = crate::error::Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        let Some(with) = query.with.as_mut().filter(|with| !with.recursive) else {
            return ControlFlow::Continue(());
        };
        for cte in &mut with.cte_tables {
            let name = fold_identifier(&cte.alias.name);
            let several = self.references.get(&name).is_some_and(|&times| times > 1);
            let (wanted, forced) = match &cte.materialized {
                Some(CteAsMaterialized::Materialized) => (true, "!"),
                Some(CteAsMaterialized::NotMaterialized) => (false, ""),
                None => (several, ""),
            };
            if !wanted {
                continue;
            }
            self.marked += 1;
            let alias = format!("{MARK}{}{forced} {name}", self.marked);
            match within(&cte.query, &alias) {
                Ok(query) => cte.query = query,
                Err(error) => return ControlFlow::Break(error),
            }
        }
        ControlFlow::Continue(())
    }
}

/// `SELECT * FROM (query) AS alias`.
fn within(query: &Query, alias: &str) -> Result<Box<Query>> {
    let mut outer = crate::sql::parse_query("SELECT * FROM (SELECT 1) AS x")?;
    if let SetExpr::Select(select) = outer.body.as_mut()
        && let Some(from) = select.from.first_mut()
        && let TableFactor::Derived { subquery, alias: Some(name), .. } = &mut from.relation
    {
        **subquery = query.clone();
        name.name = Ident::with_quote('"', alias);
    }
    Ok(outer)
}

/// A query's rows as a table.
#[derive(Debug)]
pub struct Common {
    name: String,
    schema: SchemaRef,
    query: LogicalPlan,
    chosen: OnceLock<Chosen>,
    rows: Arc<Rows>,
}

/// What of a common query its readers need.
#[derive(Debug)]
pub struct Chosen {
    /// Columns of the query, which are those of the plan.
    pub columns: Vec<usize>,
    /// The optimized plan.
    pub plan: LogicalPlan,
}

impl Common {
    /// The one that a scan is of.
    pub fn scanned(scan: &TableScan) -> Option<&Common> {
        let source = scan.source.downcast_ref::<DefaultTableSource>()?;
        source.table_provider.downcast_ref::<Common>()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// `None` until its readers are optimized, and where it has none left.
    pub fn chosen(&self) -> Option<&Chosen> {
        self.chosen.get()
    }

    /// The plan before anything is optimized.
    pub(super) fn query(&self) -> &LogicalPlan {
        &self.query
    }

    /// Where in the chosen plan columns of the query are; all of them unless told which.
    pub fn positions(&self, columns: Option<&Vec<usize>>) -> Option<Vec<usize>> {
        let chosen = &self.chosen()?.columns;
        let position = |column: usize| chosen.iter().position(|&c| c == column);
        match columns {
            Some(columns) => columns.iter().map(|&column| position(column)).collect(),
            None => (0..self.schema.fields().len()).map(position).collect(),
        }
    }

    /// Optimizes the query for its readers, which are the plans given.
    pub(super) fn choose(
        &self,
        readers: &[&LogicalPlan],
        optimize: impl FnOnce(LogicalPlan) -> DfResult<LogicalPlan>,
    ) -> DfResult<()> {
        let mut wanted = vec![false; self.schema.fields().len()];
        let mut read = false;
        for reader in readers {
            reader.apply_with_subqueries(|node| {
                if let LogicalPlan::TableScan(scan) = node
                    && Common::scanned(scan).is_some_and(|common| std::ptr::eq(common, self))
                {
                    read = true;
                    match &scan.projection {
                        Some(columns) => columns.iter().for_each(|&column| wanted[column] = true),
                        None => wanted.fill(true),
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        if !read {
            return Ok(());
        }
        // Of a query that is only counted some column is kept all the same.
        if !wanted.contains(&true) {
            wanted[0] = true;
        }
        let columns: Vec<usize> = (0..wanted.len()).filter(|&column| wanted[column]).collect();
        let all = self.query.schema().columns();
        let exprs = columns.iter().map(|&column| Expr::Column(all[column].clone())).collect();
        let plan = Projection::try_new(exprs, Arc::new(self.query.clone()))?;
        let plan = optimize(LogicalPlan::Projection(plan))?;
        // Nobody else chooses.
        let _ = self.chosen.set(Chosen { columns, plan });
        Ok(())
    }
}

/// What [`take_out`] has taken out, those that others read before these.
pub(super) type Commons = Vec<Arc<Common>>;

/// Replaces what is marked by scans. `typed` gives a query's final types.
pub(super) fn take_out(
    plan: LogicalPlan,
    typed: impl Fn(LogicalPlan) -> DfResult<LogicalPlan>,
) -> DfResult<(LogicalPlan, Commons)> {
    let mut taken: Commons = vec![];
    let plan = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::SubqueryAlias(alias) = &node else { return Ok(Transformed::no(node)) };
        let Some((number, name)) = parse(alias) else { return Ok(Transformed::no(node)) };
        let forced = number.ends_with('!');
        let known = taken.iter().find(|common| common.name == name && common.query == *alias.input);
        let common = match known {
            Some(common) => Arc::clone(common),
            None if !fit(&alias.input, forced)? => return Ok(Transformed::no(node)),
            None => {
                let schema = typed(alias.input.as_ref().clone())?.schema().inner().clone();
                let Some(schema) = named_apart(&schema) else { return Ok(Transformed::no(node)) };
                let common = Arc::new(Common {
                    name: name.to_owned(),
                    schema,
                    query: alias.input.as_ref().clone(),
                    chosen: OnceLock::new(),
                    rows: Rows::new(name),
                });
                taken.push(Arc::clone(&common));
                common
            }
        };
        let source = provider_as_source(common);
        let scan = LogicalPlanBuilder::scan(TableReference::bare(name), source, None)?.build()?;
        let alias = SubqueryAlias::try_new(Arc::new(scan), alias.alias.clone())?;
        Ok(Transformed::yes(LogicalPlan::SubqueryAlias(alias)))
    })?;
    Ok((plan.data, taken))
}

/// The number and the name in a mark.
fn parse(alias: &SubqueryAlias) -> Option<(&str, &str)> {
    alias.alias.table().strip_prefix(MARK)?.split_once(' ')
}

/// Whether a query stands alone and is worth being kept apart.
fn fit(query: &LogicalPlan, forced: bool) -> DfResult<bool> {
    let (mut plain, mut alone) = (true, true);
    query.apply_with_subqueries(|node| {
        plain &= matches!(
            node,
            LogicalPlan::Projection(_)
                | LogicalPlan::Filter(_)
                | LogicalPlan::SubqueryAlias(_)
                | LogicalPlan::TableScan(_)
        );
        node.apply_expressions(|expr| {
            expr.apply(|e| {
                alone &= !matches!(e, Expr::OuterReferenceColumn(..));
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(alone && (forced || !plain || volatile_function(query).is_some()))
}

/// The columns under their names; `None` where two have one name.
fn named_apart(schema: &SchemaRef) -> Option<SchemaRef> {
    let fields = schema.fields();
    let repeated = |i: usize| fields[..i].iter().any(|other| other.name() == fields[i].name());
    let apart = !fields.is_empty() && !(1..fields.len()).any(repeated);
    apart.then(|| Arc::new(Schema::new(fields.clone())))
}

/// The plan of a query as EXPLAIN shows it: what is evaluated once stands before what reads it.
pub fn display(plan: &LogicalPlan) -> String {
    let mut found: Vec<(String, &LogicalPlan)> = vec![];
    collect(plan, &mut found);
    let mut text = String::new();
    for (name, plan) in &found {
        text.push_str(&format!("Common table expression {name}\n"));
        unmarked(plan, "  ", &mut text);
    }
    unmarked(plan, "", &mut text);
    text
}

/// The plan's lines without the marks.
fn unmarked(plan: &LogicalPlan, indent: &str, text: &mut String) {
    let lines = plan.display_indent().to_string();
    for line in lines.lines().filter(|line| !line.contains(MARK)) {
        text.push_str(&format!("{indent}{line}\n"));
    }
}

fn collect<'a>(plan: &'a LogicalPlan, found: &mut Vec<(String, &'a LogicalPlan)>) {
    if let LogicalPlan::TableScan(scan) = plan
        && let Some(common) = Common::scanned(scan)
        && let Some(chosen) = common.chosen()
        && !found.iter().any(|(_, plan)| std::ptr::eq(*plan, &chosen.plan))
    {
        collect(&chosen.plan, found);
        found.push((common.name().to_owned(), &chosen.plan));
    }
    plan.inputs().into_iter().for_each(|input| collect(input, found));
}
