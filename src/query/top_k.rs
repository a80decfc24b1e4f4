//! Sorts with a LIMIT over several partitions, made exact.
//!
//! The partitions of such a sort share a threshold: what sorts behind the rows that one of them has found is dropped by
//! all. That is right only where all sort by the whole key. DataFusion leaves out of a sort's key what is constant
//! within each partition, though it differs between them (`select 'a' as kind ... union all select 'b' ...`), and
//! drops rows that belong to the result. So such a sort goes by the key of the merge above it; where there is none it drops
//! nothing early.

use std::sync::Arc;

use datafusion::common::Result as DfResult;
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::limit::LocalLimitExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

/// The plan with every LIMIT taken by the whole key.
pub(super) fn with_whole_keys(plan: Arc<dyn ExecutionPlan>) -> DfResult<Arc<dyn ExecutionPlan>> {
    rewrite(plan, None)
}

fn rewrite(
    plan: Arc<dyn ExecutionPlan>,
    merge_key: Option<&LexOrdering>,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    let key = plan.downcast_ref::<SortPreservingMergeExec>().map(|merge| merge.expr().clone());
    let children = plan.children().into_iter().cloned().collect::<Vec<_>>();
    let children = children.into_iter().map(|child| rewrite(child, key.as_ref()));
    let plan = replace_children_if_necessary(plan, children.collect::<DfResult<_>>()?)?;
    let Some(sort) = plan.downcast_ref::<SortExec>() else { return Ok(plan) };
    let Some(fetch) = sort.fetch().filter(|_| partitions(&plan) > 1) else { return Ok(plan) };
    Ok(match merge_key {
        Some(key) if key == sort.expr() => plan,
        Some(key) => Arc::new(over_partitions(key, sort).with_fetch(Some(fetch))),
        None => Arc::new(LocalLimitExec::new(Arc::new(over_partitions(sort.expr(), sort)), fetch)),
    })
}

fn partitions(plan: &Arc<dyn ExecutionPlan>) -> usize {
    plan.output_partitioning().partition_count()
}

fn over_partitions(key: &LexOrdering, sort: &SortExec) -> SortExec {
    SortExec::new(key.clone(), sort.input().clone()).with_preserve_partitioning(true)
}
