//! A streaming plan as timely operators: one exhaustive match, one arm an operator.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::Input;
use timely::dataflow::operators::generic::operator::source;
use timely::dataflow::{Scope, Stream};

use super::command::Arrangements;
use super::glue::{self, Arranged, Chain, Changes, Context, Route};
use super::hub::{self, Begin, HubRef, Subscription};
use crate::catalog::ObjectId;
use crate::change::ChangeBatch;
use crate::error::{Error, Result};
use crate::operators::Operator;
use crate::operators::aggregate::Aggregate;
use crate::operators::distinct::Distinct;
use crate::operators::join::Join;
use crate::operators::project::{Filter, Project};
use crate::operators::top_n::TopN;
use crate::operators::window::Window;
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
    pub arrangements: &'a Arrangements,
    pub subscriptions: Vec<(ObjectId, Rc<RefCell<Subscription>>)>,
    pub feeds: Vec<(ObjectId, Vec<usize>, FeedHandle)>,
}

impl Rendering<'_> {
    pub fn render<'s>(&mut self, scope: Scope<'s, u64>, node: &Node) -> Result<Changes<'s>> {
        self.render_with(scope, node, Chain::default())
    }

    /// The node with stateless operators behind it.
    fn render_with<'s>(
        &mut self,
        scope: Scope<'s, u64>,
        node: &Node,
        chain: Chain,
    ) -> Result<Changes<'s>> {
        let append_only = node.inputs.iter().all(|input| input.properties.append_only);
        let schema = node.schema.clone();
        let context = self.context.clone();
        Ok(match &node.op {
            Op::Import { object, columns, .. } => {
                glue::chain(self.import(scope, *object, columns), &context, chain)
            }
            Op::Values { rows } => {
                let rows = ChangeBatch::inserts(rows.clone());
                glue::chain(self.values(scope, rows), &context, chain)
            }
            Op::Project { exprs } => {
                let chain = chain.after(Project { exprs: exprs.clone(), schema });
                self.render_with(scope, &node.inputs[0], chain)?
            }
            Op::Filter { predicate } => {
                let chain = chain.after(Filter { predicate: predicate.clone() });
                self.render_with(scope, &node.inputs[0], chain)?
            }
            Op::Union => {
                let inputs = node.inputs.iter().map(|input| self.render(scope, input));
                let union = glue::union(scope, inputs.collect::<Result<_>>()?);
                glue::chain(union, &context, chain)
            }
            Op::Distinct => {
                let input = self.render(scope, &node.inputs[0])?;
                let route = Route::Key((0..schema.fields().len()).collect());
                let core = Box::new(Distinct::new(schema)?);
                glue::unary(input, route, &context, "distinct", core, chain, None)
            }
            Op::Aggregate { groups, calls } => {
                let input = self.render(scope, &node.inputs[0])?;
                let (columns, groups) = (node.inputs[0].schema.clone(), groups.clone());
                let core =
                    Aggregate::new(columns, groups.clone(), calls.clone(), schema, append_only)?;
                // A global aggregate has its one row also when there is nothing to count; one worker has it.
                let first = (groups.is_empty() && self.owns_empty_key() && !self.restored)
                    .then_some(self.as_of);
                let (core, route) = (Box::new(core), Route::Key(groups));
                glue::unary(input, route, &context, "aggregate", core, chain, first)
            }
            Op::TopN { partition, .. }
            | Op::Ranked { partition, .. }
            | Op::Window { partition, .. } => {
                let input = self.render(scope, &node.inputs[0])?;
                let (name, core) = ordered(node, append_only)?;
                glue::unary(input, Route::Key(partition.clone()), &context, name, core, chain, None)
            }
            Op::Join { kind, left_keys, right_keys, nulls_match, condition } => {
                let left = self.arranged(scope, &node.inputs[0], left_keys)?;
                let right = self.arranged(scope, &node.inputs[1], right_keys)?;
                let schemas = [node.inputs[0].schema.clone(), node.inputs[1].schema.clone()];
                let keys = [left_keys.clone(), right_keys.clone()];
                let mut core =
                    Join::new(*kind, keys, *nulls_match, condition.clone(), schemas, schema);
                for (side, columns) in [(0, left.2), (1, right.2)] {
                    if let Some(columns) = columns {
                        core = core.with_stored_columns(side, columns);
                    }
                }
                glue::join((left.0, left.1), (right.0, right.1), core, chain, &context)
            }
        })
    }

    /// A join's input and what is arranged of it, with the columns that the input's are in there where they are not all.
    fn arranged<'s>(
        &mut self,
        scope: Scope<'s, u64>,
        node: &Node,
        key: &[usize],
    ) -> Result<(Changes<'s>, Arranged, Option<Vec<usize>>)> {
        let holder = node.looked_up(key).and_then(|wanted| self.arrangements.get(&wanted).copied());
        if let (Op::Import { columns, .. }, Some(holder)) = (&node.op, holder) {
            let from = if self.restored { self.as_of.saturating_sub(1) } else { self.as_of };
            let hold = self.hubs[&holder].borrow_mut().hold(from);
            let begins = (!self.restored).then_some(self.as_of);
            let arrangement = self.hubs[&holder].borrow().arrangement();
            let arrangement = arrangement
                .ok_or_else(|| Error::internal("an object that keeps no rows cannot be shared"))?;
            let changes = self.import(scope, holder, columns);
            let arranged = Arranged::shared(arrangement, hold, begins);
            return Ok((changes, arranged, Some(columns.clone())));
        }
        let rows = self.render(scope, node)?;
        let schema = node.schema.clone();
        let (rows, own) = glue::arrange(rows, schema, key.to_vec(), &self.context, self.as_of);
        Ok((rows, own, None))
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

/// The core of an operator that keeps the rows of partitions in order.
fn ordered(node: &Node, append_only: bool) -> Result<(&'static str, Box<dyn Operator>)> {
    let (input, schema) = (node.inputs[0].schema.clone(), node.schema.clone());
    match &node.op {
        Op::TopN { partition, order, limit, offset } => {
            let (partition, order) = (partition.clone(), order.clone());
            let core = TopN::new(schema, partition, order, *limit, *offset, append_only)?;
            Ok(("top_n", Box::new(core)))
        }
        Op::Ranked { partition, order, tie_keys, limit, ties } => {
            let (partition, keys) = (partition.clone(), (order.clone(), tie_keys.clone()));
            let core = TopN::ranked(schema, partition, keys, *limit, *ties, append_only)?;
            Ok(("ranked", Box::new(core)))
        }
        Op::Window { partition, order, tie_keys, calls } => {
            let (partition, keys) = (partition.clone(), (&order[..], &tie_keys[..]));
            let core = Window::new(input, partition, keys, calls.clone(), schema)?;
            Ok(("window", Box::new(core)))
        }
        Op::Import { .. }
        | Op::Values { .. }
        | Op::Project { .. }
        | Op::Filter { .. }
        | Op::Union
        | Op::Distinct
        | Op::Aggregate { .. }
        | Op::Join { .. } => Err(Error::internal("no operator over ordered partitions")),
    }
}
