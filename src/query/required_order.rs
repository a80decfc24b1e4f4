//! Sorts what an operator needs sorted and does not get so.
//!
//! DataFusion moves sorts below filters and joins, where columns and expressions that these equate stand for each other. With
//! `coalesce(a, b) = a` it does not find its way back: it takes what is sorted by `a` for unsorted, and its check of plans
//! refuses them as invalid. So this stands in the place of that check. An input that is neither known to be in
//! order nor in it to the letter is sorted. One whose rows are partitioned otherwise than needed (a window over a union whose
//! PARTITION BY a filter has made constant) is made one partition; where that does not do, it is a defect.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result as DfResult, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::physical_expr::{LexOrdering, LexRequirement};
use datafusion::physical_optimizer::PhysicalOptimizerRule;

use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ChildSatisfactionOptions, ExecutionPlan, ExecutionPlanProperties};

/// The rule; the last one.
#[derive(Debug)]
pub(super) struct RequiredOrder;

impl PhysicalOptimizerRule for RequiredOrder {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let plan = plan.transform_up(|node| {
            let mut missing = false;
            let needed = node.input_distribution_requirements();
            let inputs = node.children().into_iter().zip(node.required_input_ordering());
            let children = inputs
                .enumerate()
                .map(|(i, (child, required))| {
                    let options = ChildSatisfactionOptions::new().with_allow_subset(true);
                    let fits = needed.child_satisfaction(i, child.as_ref(), options)?;
                    let merged: Arc<dyn ExecutionPlan> = match fits.is_satisfied() {
                        true => Arc::clone(child),
                        false => {
                            missing = true;
                            Arc::new(CoalescePartitionsExec::new(Arc::clone(child)))
                        }
                    };
                    let child = &merged;
                    let Some(required) = required else { return Ok(Arc::clone(child)) };
                    let required = required.into_single();
                    let known = child.equivalence_properties();
                    if is_in(child, &required)
                        || known.ordering_satisfy_requirement(required.clone())?
                    {
                        return Ok(Arc::clone(child));
                    }
                    missing = true;
                    Ok(sorted(child, required))
                })
                .collect::<DfResult<Vec<_>>>()?;
            match missing {
                true => replace_children_if_necessary(node, children).map(Transformed::yes),
                false => Ok(Transformed::no(node)),
            }
        });
        let plan = plan?.data;
        check_partitions(&plan)?;
        Ok(plan)
    }

    fn name(&self) -> &str {
        "required_order"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether the input's order is the required one to the letter.
fn is_in(input: &Arc<dyn ExecutionPlan>, required: &LexRequirement) -> bool {
    let Some(order) = input.output_ordering() else { return false };
    order.len() >= required.len()
        && order.iter().zip(required.iter()).all(|(has, wants)| {
            has.expr.eq(&wants.expr) && wants.options.is_none_or(|options| options == has.options)
        })
}

/// Whether each operator gets its rows in the partitions that it needs.
fn check_partitions(plan: &Arc<dyn ExecutionPlan>) -> DfResult<()> {
    let needed = plan.input_distribution_requirements();
    let options = || ChildSatisfactionOptions::new().with_allow_subset(true);
    for (i, child) in plan.children().into_iter().enumerate() {
        if !needed.child_satisfaction(i, child.as_ref(), options())?.is_satisfied() {
            return internal_err!(
                "{} gets input {i} in other partitions than it needs",
                plan.name()
            );
        }
        check_partitions(child)?;
    }
    Ok(())
}

/// The input in the required order, within each of its partitions.
fn sorted(input: &Arc<dyn ExecutionPlan>, required: LexRequirement) -> Arc<dyn ExecutionPlan> {
    let Some(order) = LexOrdering::new(required.into_iter().map(Into::into)) else {
        return Arc::clone(input);
    };
    let apart = input.output_partitioning().partition_count() > 1;
    Arc::new(SortExec::new(order, Arc::clone(input)).with_preserve_partitioning(apart))
}
