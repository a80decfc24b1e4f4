//! A streaming plan as timely operators: one exhaustive match, one arm an operator.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::Input;
use timely::dataflow::operators::generic::operator::source;
use timely::dataflow::{Scope, Stream};

use super::glue::{self, Changes, Context, Route};
use super::hub::{self, Begin, HubRef, Subscription};
use crate::catalog::ObjectId;
use crate::change::ChangeBatch;
use crate::error::Result;
use crate::operators::Operator;
use crate::operators::aggregate::Aggregate;
use crate::operators::distinct::Distinct;
use crate::operators::join::Join;
use crate::operators::project::{Filter, Project};
use crate::operators::top_n::TopN;
use crate::plan::{Node, Op};

pub type FeedHandle = timely::dataflow::InputHandle<u64, CapacityContainerBuilder<ChangeBatch>>;

/// What rendering a view needs and leaves behind.
pub struct Rendering<'a> {
    pub context: Context,
    pub hubs: &'a HashMap<ObjectId, HubRef>,
    /// The open epoch at installation.
    pub as_of: u64,
    /// The operators' state is that of the epoch before: what came with the installation is in it.
    pub restored: bool,
    pub worker: usize,
    /// Sources whose earlier rows come by a feed of the view's own.
    pub backfill: &'a [ObjectId],
    pub subscriptions: Vec<(ObjectId, Rc<RefCell<Subscription>>)>,
    pub feeds: Vec<(ObjectId, Vec<usize>, FeedHandle)>,
}

impl Rendering<'_> {
    pub fn render<'s>(&mut self, scope: Scope<'s, u64>, node: &Node) -> Result<Changes<'s>> {
        let mut inputs = vec![];
        for input in &node.inputs {
            inputs.push(self.render(scope, input)?);
        }
        let append_only = node.inputs.iter().all(|input| input.properties.append_only);
        let schema = node.schema.clone();
        let context = self.context.clone();
        let mut input = inputs.into_iter();
        let mut one = || input.next().expect("the planner gives each operator its inputs");
        Ok(match &node.op {
            Op::Import { object, columns, .. } => self.import(scope, *object, columns),
            Op::Values { rows } => self.values(scope, ChangeBatch::inserts(rows.clone())),
            Op::Project { exprs } => {
                let core = Project { exprs: exprs.clone(), schema };
                glue::unary(one(), Route::Local, &context, "project", Box::new(core), None)
            }
            Op::Filter { predicate } => {
                let core = Filter { predicate: predicate.clone() };
                glue::unary(one(), Route::Local, &context, "filter", Box::new(core), None)
            }
            Op::Union => glue::union(scope, input.collect()),
            Op::Distinct => {
                let route = Route::Key((0..schema.fields().len()).collect());
                let core = Distinct::new(schema)?;
                glue::unary(one(), route, &context, "distinct", Box::new(core), None)
            }
            Op::Aggregate { groups, calls } => {
                let (input, groups) = (node.inputs[0].schema.clone(), groups.clone());
                let core =
                    Aggregate::new(input, groups.clone(), calls.clone(), schema, append_only)?;
                // A global aggregate has its one row also when there is nothing to count; one worker has it.
                let first = (groups.is_empty() && self.owns_empty_key() && !self.restored)
                    .then_some(self.as_of);
                let core: Box<dyn Operator> = Box::new(core);
                glue::unary(one(), Route::Key(groups), &context, "aggregate", core, first)
            }
            Op::TopN { partition, order, limit, offset } => {
                let (partition, order) = (partition.clone(), order.clone());
                let route = Route::Key(partition.clone());
                let core = TopN::new(schema, partition, order, *limit, *offset, append_only)?;
                glue::unary(one(), route, &context, "top_n", Box::new(core), None)
            }
            Op::Join { kind, left_keys, right_keys, nulls_match, condition } => {
                let schemas = [node.inputs[0].schema.clone(), node.inputs[1].schema.clone()];
                let left = glue::arrange(
                    one(),
                    schemas[0].clone(),
                    left_keys.clone(),
                    &context,
                    self.as_of,
                );
                let right = glue::arrange(
                    one(),
                    schemas[1].clone(),
                    right_keys.clone(),
                    &context,
                    self.as_of,
                );
                let keys = [left_keys.clone(), right_keys.clone()];
                let core = Join::new(*kind, keys, *nulls_match, condition.clone(), schemas, schema);
                glue::join(left, right, core, [kind.poisons(0), kind.poisons(1)], &context)
            }
        })
    }

    fn owns_empty_key(&self) -> bool {
        let mut hashes = vec![];
        crate::hash::hash_columns(&[], 1, &mut hashes);
        self.context.table[crate::hash::bucket(hashes[0])] == self.worker
    }

    fn import<'s>(
        &mut self,
        scope: Scope<'s, u64>,
        object: ObjectId,
        columns: &[usize],
    ) -> Changes<'s> {
        let hub = &self.hubs[&object];
        let attached = !self.backfill.contains(&object);
        let begin = match (self.restored, attached) {
            (true, _) => Begin::Restored,
            (false, true) => Begin::Hydrate,
            (false, false) => Begin::Detached,
        };
        let (stream, subscription) = hub::import(scope, hub, self.as_of, columns.to_vec(), begin);
        self.subscriptions.push((object, subscription));
        if attached {
            return stream;
        }
        let (mut feed, earlier): (FeedHandle, Stream<'s, u64, ChangeBatch>) =
            scope.new_input::<ChangeBatch>();
        feed.advance_to(self.as_of);
        self.feeds.push((object, columns.to_vec(), feed));
        glue::union(scope, vec![stream, earlier])
    }

    /// Constant rows come from one worker, in the epoch of the installation.
    fn values<'s>(&self, scope: Scope<'s, u64>, rows: ChangeBatch) -> Changes<'s> {
        let (as_of, mine) = (self.as_of, self.worker == 0 && !self.restored);
        source::<u64, CapacityContainerBuilder<ChangeBatch>, _, _>(
            scope,
            "values",
            move |cap, _info| {
                let mut once = Some((cap, rows));
                move |output| {
                    if let Some((cap, mut rows)) = once.take()
                        && mine
                        && !rows.is_empty()
                    {
                        output.session(&cap.delayed(&as_of)).give_container(&mut rows);
                    }
                }
            },
        )
    }
}
