//! Rows that a statement has at hand, as relations that its expressions can name.
//!
//! RETURNING speaks of the rows that were just written, ON CONFLICT DO UPDATE of the stored row and the one that was
//! proposed. Such expressions are planned as the select list of a query over relations called `#hand0`, `#hand1` ... under
//! the aliases that the statement gives them. The relations are not joined: row n of each belongs to row n of the others, so
//! the product that the planner makes of them is replaced by one scan of all their columns side by side.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Field, FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, TableReference};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::logical_plan::builder::LogicalTableSource;
use datafusion::logical_expr::{
    Expr, JoinType, LogicalPlan, LogicalPlanBuilder, TableScan, TableSource,
};
use sqlparser::ast;

use super::errors::from_datafusion;
use crate::change::batch_of;
use crate::error::{Error, Result};

/// No name that a user can write without quotes is like theirs, and quoted ones are resolved only where nothing is at hand.
const PREFIX: &str = "#hand";

/// Relations whose rows are at hand, in the order in which their columns lie side by side.
#[derive(Clone, Debug, Default)]
pub struct AtHand {
    /// The name that expressions know each by (folded), and its columns.
    relations: Vec<(String, SchemaRef)>,
}

impl AtHand {
    pub fn new(relations: Vec<(String, SchemaRef)>) -> AtHand {
        AtHand { relations }
    }

    /// One relation.
    pub fn one(name: &str, columns: &SchemaRef) -> AtHand {
        AtHand::new(vec![(name.to_owned(), columns.clone())])
    }

    /// The columns of all relations, side by side.
    pub fn fields(&self) -> impl Iterator<Item = &FieldRef> {
        self.relations.iter().flat_map(|(_, columns)| columns.fields().iter())
    }

    /// What a name of [`AtHand::query`] stands for while it is planned.
    pub fn source(&self, name: &str) -> Option<Arc<dyn TableSource>> {
        let index: usize = name.strip_prefix(PREFIX)?.parse().ok()?;
        let (_, columns) = self.relations.get(index)?;
        Some(Arc::new(LogicalTableSource::new(columns.clone())))
    }

    /// `SELECT items FROM relations WHERE selection`, to be planned by a resolver that asks [`AtHand::source`].
    pub fn query(
        &self,
        items: Vec<ast::SelectItem>,
        selection: Option<ast::Expr>,
    ) -> Result<ast::Query> {
        let mut query = *crate::sql::parse_query("SELECT 1")?;
        let ast::SetExpr::Select(select) = query.body.as_mut() else {
            return Err(Error::internal("the template is a SELECT"));
        };
        select.projection = items;
        select.selection = selection;
        for (index, (name, _)) in self.relations.iter().enumerate() {
            let from = format!("SELECT 1 FROM \"{PREFIX}{index}\" AS x");
            let mut from = *crate::sql::parse_query(&from)?;
            let ast::SetExpr::Select(from) = from.body.as_mut() else { continue };
            for mut from in from.from.drain(..) {
                if let ast::TableFactor::Table { alias: Some(alias), .. } = &mut from.relation {
                    alias.name = ast::Ident::with_quote('"', name);
                }
                select.from.push(from);
            }
        }
        Ok(query)
    }

    /// Puts the rows into a plan of [`AtHand::query`]: batches with all relations' columns side by side.
    pub fn fill(&self, plan: LogicalPlan, rows: &[RecordBatch]) -> Result<LogicalPlan> {
        let fields = self.fields().enumerate().map(|(i, field)| {
            field.as_ref().clone().with_name(format!("#{i}")).with_nullable(true)
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<Field>>()));
        let rows = rows.iter().map(|batch| {
            batch_of(schema.clone(), batch.columns().to_vec(), batch.num_rows())
                .map_err(super::errors::from_arrow)
        });
        let rows = rows.collect::<Result<Vec<_>>>()?;
        let table = MemTable::try_new(schema, vec![rows]).map_err(from_datafusion)?;
        let source = provider_as_source(Arc::new(table));
        plan.transform_down(|node| {
            if !is_at_hand(&node) {
                return Ok(Transformed::no(node));
            }
            let names = node.schema().iter().enumerate();
            let exprs = names.map(|(i, (qualifier, field))| {
                let column = Column::new(Some(TableReference::bare(PREFIX)), format!("#{i}"));
                Expr::Column(column).alias_qualified(qualifier.cloned(), field.name())
            });
            let scan =
                LogicalPlanBuilder::scan(TableReference::bare(PREFIX), source.clone(), None)?;
            let plan = scan.project(exprs.collect::<Vec<Expr>>())?.build()?;
            Ok(Transformed::new(plan, true, TreeNodeRecursion::Jump))
        })
        .data()
        .map_err(from_datafusion)
    }
}

/// Whether a node is the product of relations at hand, or one of them.
fn is_at_hand(node: &LogicalPlan) -> bool {
    match node {
        LogicalPlan::SubqueryAlias(alias) => is_at_hand(&alias.input),
        LogicalPlan::TableScan(TableScan { table_name, .. }) => {
            table_name.schema().is_none() && table_name.table().starts_with(PREFIX)
        }
        LogicalPlan::Join(join) => {
            join.join_type == JoinType::Inner
                && join.on.is_empty()
                && join.filter.is_none()
                && is_at_hand(&join.left)
                && is_at_hand(&join.right)
        }
        _ => false,
    }
}

/// A plan that yields the rows of a batch.
pub fn rows_plan(rows: RecordBatch) -> Result<LogicalPlan> {
    let table = MemTable::try_new(rows.schema(), vec![vec![rows]]).map_err(from_datafusion)?;
    let source = provider_as_source(Arc::new(table));
    LogicalPlanBuilder::scan(TableReference::bare(PREFIX), source, None)
        .and_then(LogicalPlanBuilder::build)
        .map_err(from_datafusion)
}
