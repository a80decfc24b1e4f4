//! What is known of rows that an outer join or a grouping set pads with NULLs does not hold behind it.
//!
//! A column that is constant on such a side is NULL as well behind it, and no longer what it was computed from. DataFusion
//! takes both for still so: a DISTINCT over a full join of `select true as c ...` gave rows twice. So a node that knows
//! nothing about its rows stands between the side and the join.
//!
//! Likewise an aggregate over grouping sets: it took a column that is constant below it for one whose values come in order,
//! and gave a group's row before it had seen the whole group.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, Result as DfResult, Statistics};
use datafusion::config::ConfigOptions;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::{
    ReplaceChildrenOptions, replace_children_if_necessary,
};
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::{
    ChildStats, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    PlanProperties, StatisticsArgs,
};

/// The rule; the first one, before anything is concluded from what a join claims.
#[derive(Debug)]
pub(super) struct ForgetPaddedSides;

impl PhysicalOptimizerRule for ForgetPaddedSides {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let plan = plan.transform_up(|node| {
            let inputs = padded(&node);
            if !inputs.contains(&true) {
                return Ok(Transformed::no(node));
            }
            let children = node.children().into_iter().zip(inputs).map(|(child, padded)| {
                let known = child.equivalence_properties();
                match padded && !(known.eq_group().is_empty() && known.oeq_class().is_empty()) {
                    true => Arc::new(Forgetting::new(child.clone())),
                    false => child.clone(),
                }
            });
            let children = children.collect();
            replace_children_if_necessary(node, children).map(Transformed::yes)
        });
        plan.map(|plan| plan.data)
    }

    fn name(&self) -> &str {
        "forget_padded_sides"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Which of a node's inputs have NULLs behind it that they do not have themselves.
fn padded(plan: &Arc<dyn ExecutionPlan>) -> [bool; 2] {
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        return [!aggregate.group_expr().is_single(), false];
    }
    let hash = plan.downcast_ref::<HashJoinExec>().map(HashJoinExec::join_type);
    let nested = || plan.downcast_ref::<NestedLoopJoinExec>().map(NestedLoopJoinExec::join_type);
    match hash.or_else(nested) {
        Some(JoinType::Left) => [false, true],
        Some(JoinType::Right) => [true, false],
        Some(JoinType::Full) => [true, true],
        _ => [false, false],
    }
}

/// Its input's rows, with nothing known about them.
#[derive(Debug)]
struct Forgetting {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl Forgetting {
    fn new(input: Arc<dyn ExecutionPlan>) -> Forgetting {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Forgetting { properties: Arc::new(properties), input }
    }
}

impl DisplayAs for Forgetting {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("ForgettingExec")
    }
}

impl ExecutionPlan for Forgetting {
    fn name(&self) -> &str {
        "ForgettingExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Forgetting::new(children.swap_remove(0))))
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Forgetting::new(children.swap_remove(0))))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> DfResult<Arc<Statistics>> {
        Ok(inputs[0].clone())
    }
}
