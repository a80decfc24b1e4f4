//! What identifies a row does not identify the rows that a list in it is unnested to.
//!
//! DataFusion lets UNNEST keep the keys of its input. Two rules then take `SELECT DISTINCT` of such a key for done, and an
//! outer join whose other side has one for a join that multiplies no rows. The first is anticipated here over whatever
//! unnests, the second left out of plans that do.

use std::sync::Arc;

use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::logical_expr::{Aggregate, Distinct, Expr, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// A rule of DataFusion's that concludes from keys.
#[derive(Debug)]
pub(super) struct UnnestedKeys(pub Arc<dyn OptimizerRule + Send + Sync>);

impl OptimizerRule for UnnestedKeys {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> DfResult<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Distinct(Distinct::All(input))
                if !input.schema().fields().is_empty() && unnests(&input)? =>
            {
                let groups = input.schema().columns().into_iter().map(Expr::Column).collect();
                let aggregate = Aggregate::try_new(input, groups, vec![])?;
                Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
            }
            // Called with the whole plan.
            plan if self.apply_order().is_none() && unnests(&plan)? => Ok(Transformed::no(plan)),
            plan => self.0.rewrite(plan, config),
        }
    }
}

fn unnests(plan: &LogicalPlan) -> DfResult<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= matches!(node, LogicalPlan::Unnest(_));
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}
