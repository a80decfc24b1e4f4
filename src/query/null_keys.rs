//! Keeps DataFusion's rules from mixing keys for which NULL equals NULL with keys for which it does not.
//!
//! A join has one answer to that question for all its keys. Two rules forget it: the one that makes keys of a condition's
//! equalities adds them to those of `IS NOT DISTINCT FROM`, and the one that reorders inner joins gives all of them the answer
//! of one. The first leaves such joins alone here, where the equality stays a condition; the second plans that have one.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinType, NullEquality, Result as DfResult};
use datafusion::logical_expr::{Join, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// A rule of DataFusion's, held back where it would be wrong.
#[derive(Debug)]
pub(super) struct NullKeysApart(pub Arc<dyn OptimizerRule + Send + Sync>);

fn equates_nulls(join: &Join) -> bool {
    join.null_equality == NullEquality::NullEqualsNull && !join.on.is_empty()
}

impl OptimizerRule for NullKeysApart {
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
        let held_back = match self.apply_order() {
            // Called with each node.
            Some(_) => matches!(&plan, LogicalPlan::Join(join) if equates_nulls(join)),
            // Called with the whole plan.
            None => plan.exists(|node| {
                Ok(matches!(node, LogicalPlan::Join(join)
                    if equates_nulls(join) && join.join_type == JoinType::Inner))
            })?,
        };
        if held_back { Ok(Transformed::no(plan)) } else { self.0.rewrite(plan, config) }
    }
}
