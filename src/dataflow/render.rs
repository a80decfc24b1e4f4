//! A streaming plan as timely operators: one exhaustive match, one arm an operator.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::Input;
use timely::dataflow::operators::generic::operator::source;
use timely::dataflow::{Scope, Stream};

use super::command::Arrangements;
use super::glue::{self, Arranged, Chain, Changes, Context, Counted, Route};
use super::hub::{self, Begin, HubRef, Subscription};
use crate::catalog::ObjectId;
use crate::change::ChangeBatch;
use crate::error::{Error, Result};
use crate::meter::Meter;
use crate::operators::Operator;
use crate::operators::aggregate::Aggregate;
use crate::operators::distinct::Distinct;
use crate::operators::join::Join;
use crate::operators::project::{Filter, Project};
use crate::operators::top_n::TopN;
use crate::operators::unnest::Unnest;
use crate::operators::window::Window;
use crate::plan::shared::Shared;
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
    pub feeds: Vec<ViewFeed>,
    /// Operators so far: they are numbered as [`crate::plan::shared::listed`] lists them, from 1 on.
    pub numbered: usize,
}

/// Where a view gets a source's earlier rows.
pub struct ViewFeed {
    pub source: ObjectId,
    pub columns: Vec<usize>,
    pub handle: FeedHandle,
    /// Of the import that they are part of.
    pub meter: Meter,
}

/// What of a plan is rendered already, to be used again.
struct Once<'s> {
    shared: Shared,
    streams: HashMap<usize, Changes<'s>>,
    /// By sub-plan and key.
    arrangements: HashMap<(usize, Vec<usize>), (Changes<'s>, Arranged)>,
}

/// An operator, where its rows meet, and the epoch that it is to emit although nothing came.
struct Keyed {
    name: &'static str,
    route: Route,
    core: Box<dyn Operator>,
    first: Option<u64>,
}

impl Rendering<'_> {
    pub fn render<'s>(&mut self, scope: Scope<'s, u64>, plan: &Node) -> Result<Changes<'s>> {
        let mut once = Once {
            shared: Shared::of(plan),
            streams: HashMap::new(),
            arrangements: HashMap::new(),
        };
        self.render_with(scope, plan, Chain::default(), &mut once)
    }

    /// The node with stateless operators behind it.
    fn render_with<'s>(
        &mut self,
        scope: Scope<'s, u64>,
        node: &Node,
        chain: Chain,
        once: &mut Once<'s>,
    ) -> Result<Changes<'s>> {
        let Some(number) = once.shared.number(node) else {
            return self.render_here(scope, node, chain, once);
        };
        let stream = match once.streams.get(&number) {
            Some(stream) => stream.clone(),
            None => {
                let stream = self.render_here(scope, node, Chain::default(), once)?;
                once.streams.insert(number, stream.clone());
                stream
            }
        };
        Ok(glue::chain(stream, &self.context, chain))
    }

    fn render_here<'s>(
        &mut self,
        scope: Scope<'s, u64>,
        node: &Node,
        chain: Chain,
        once: &mut Once<'s>,
    ) -> Result<Changes<'s>> {
        let schema = node.schema.clone();
        let context = self.context.clone();
        let meter = self.next_meter();
        Ok(match &node.op {
            Op::Import { object, columns, .. } => {
                glue::chain(self.import(scope, *object, columns, meter), &context, chain)
            }
            Op::Values { rows } => {
                let rows = ChangeBatch::inserts(rows.clone());
                glue::chain(self.values(scope, rows, meter), &context, chain)
            }
            Op::Project { exprs } => {
                let chain =
                    chain.after(Counted::new(Project { exprs: exprs.clone(), schema }, meter));
                self.render_with(scope, &node.inputs[0], chain, once)?
            }
            Op::Filter { predicate } => {
                let chain =
                    chain.after(Counted::new(Filter { predicate: predicate.clone() }, meter));
                self.render_with(scope, &node.inputs[0], chain, once)?
            }
            Op::Unnest { columns, keep_empty } => {
                let (columns, keep_empty) = (columns.clone(), *keep_empty);
                let unnest = Unnest { columns, keep_empty, schema };
                let chain = chain.after(Counted::new(unnest, meter));
                self.render_with(scope, &node.inputs[0], chain, once)?
            }
            Op::Union => {
                let mut input = |input| self.render_with(scope, input, Chain::default(), once);
                let inputs = node.inputs.iter().map(&mut input);
                let union = glue::union(scope, inputs.collect::<Result<_>>()?);
                glue::chain(union, &context, chain)
            }
            Op::Distinct
            | Op::Aggregate { .. }
            | Op::TopN { .. }
            | Op::Ranked { .. }
            | Op::Window { .. } => {
                let input = self.render_with(scope, &node.inputs[0], Chain::default(), once)?;
                let Keyed { name, route, core, first } = self.keyed(node)?;
                let core = Counted { core, meter };
                glue::unary(input, route, &context, name, core, chain, first)
            }
            Op::Join { kind, left_keys, right_keys, nulls_match, condition } => {
                let (left, l, left_columns) =
                    self.arranged(scope, &node.inputs[0], (left_keys, &meter), once)?;
                let (right, r, right_columns) =
                    self.arranged(scope, &node.inputs[1], (right_keys, &meter), once)?;
                let schemas = [node.inputs[0].schema.clone(), node.inputs[1].schema.clone()];
                let keys = [left_keys.clone(), right_keys.clone()];
                let core = Join::new(*kind, keys, *nulls_match, condition.clone(), schemas, schema);
                let core = core.with_stored_columns([left_columns, right_columns]);
                glue::join((left, l), (right, r), (core, meter), chain, &context)
            }
        })
    }

    /// An operator of one input whose rows meet by a key.
    fn keyed(&self, node: &Node) -> Result<Keyed> {
        let input = &node.inputs[0];
        let (schema, append_only) = (node.schema.clone(), input.properties.append_only);
        let of = |name, key: &[usize], core| {
            Ok(Keyed { name, route: Route::Key(key.to_vec()), core, first: None })
        };
        match &node.op {
            Op::Distinct => {
                let all: Vec<usize> = (0..schema.fields().len()).collect();
                of("distinct", &all, Box::new(Distinct::new(schema)?))
            }
            Op::Aggregate { groups, calls } => {
                let columns = input.schema.clone();
                let core =
                    Aggregate::new(columns, groups.clone(), calls.clone(), schema, append_only)?;
                // A global aggregate has its one row also when there is nothing to count; one worker has it.
                let first = (groups.is_empty() && self.owns_empty_key() && !self.restored)
                    .then_some(self.as_of);
                Ok(Keyed { first, ..of("aggregate", groups, Box::new(core))? })
            }
            Op::TopN { partition, order, limit, offset } => {
                let (by, order) = (partition.clone(), order.clone());
                let core = TopN::new(schema, by, order, *limit, *offset, append_only)?;
                of("top_n", partition, Box::new(core))
            }
            Op::Ranked { partition, order, tie_keys, limit, ties } => {
                let keys = (order.clone(), tie_keys.clone());
                let core =
                    TopN::ranked(schema, partition.clone(), keys, *limit, *ties, append_only)?;
                of("ranked", partition, Box::new(core))
            }
            Op::Window { partition, order, tie_keys, calls } => {
                let (columns, keys) = (input.schema.clone(), (&order[..], &tie_keys[..]));
                let core = Window::new(columns, partition.clone(), keys, calls.clone(), schema)?;
                of("window", partition, Box::new(core))
            }
            Op::Import { .. }
            | Op::Values { .. }
            | Op::Project { .. }
            | Op::Filter { .. }
            | Op::Unnest { .. }
            | Op::Union
            | Op::Join { .. } => Err(Error::internal("not an operator of one input by a key")),
        }
    }

    /// The input of a join that has this meter and what is arranged of it by a key, with the columns that the input's are in there where they are not all.
    fn arranged<'s>(
        &mut self,
        scope: Scope<'s, u64>,
        node: &Node,
        (key, join): (&[usize], &Meter),
        once: &mut Once<'s>,
    ) -> Result<(Changes<'s>, Arranged, Option<Vec<usize>>)> {
        let holder = node.looked_up(key).and_then(|wanted| self.arrangements.get(&wanted).copied());
        if let (Op::Import { columns, .. }, Some(holder)) = (&node.op, holder) {
            let from = if self.restored { self.as_of.saturating_sub(1) } else { self.as_of };
            let hold = self.hubs[&holder].borrow_mut().hold(from);
            let begins = (!self.restored).then_some(self.as_of);
            let arrangement = self.hubs[&holder].borrow().arrangement();
            let arrangement = arrangement
                .ok_or_else(|| Error::internal("an object that keeps no rows cannot be shared"))?;
            let meter = self.next_meter();
            let changes = self.import(scope, holder, columns, meter);
            let arranged = Arranged::shared(arrangement, hold, begins);
            return Ok((changes, arranged, Some(columns.clone())));
        }
        let place = once.shared.number(node).map(|number| (number, key.to_vec()));
        if let Some((rows, own)) = place.as_ref().and_then(|place| once.arrangements.get(place)) {
            return Ok((rows.clone(), own.for_another_join(), None));
        }
        let rows = self.render_with(scope, node, Chain::default(), once)?;
        let schema = node.schema.clone();
        let (rows, own) =
            glue::arrange(rows, schema, key.to_vec(), &self.context, join, self.as_of);
        if let Some(place) = place {
            once.arrangements.insert(place, (rows.clone(), own.clone()));
        }
        Ok((rows, own, None))
    }

    /// Of the node that is rendered now: each is begun before its inputs.
    fn next_meter(&mut self) -> Meter {
        self.numbered += 1;
        self.context.meter(self.numbered)
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
        meter: Meter,
    ) -> Changes<'s> {
        let hub = &self.hubs[&object];
        let attached = !self.backfill.contains(&object);
        let begin = match (self.restored, attached) {
            (true, _) => Begin::Restored,
            (false, true) => Begin::Hydrate,
            (false, false) => Begin::Detached,
        };
        let (as_of, all) = (self.as_of, columns.to_vec());
        let (stream, subscription) = hub::import(scope, hub, as_of, all, begin, meter.clone());
        self.subscriptions.push((object, subscription));
        if attached {
            return stream;
        }
        let (mut handle, earlier): (FeedHandle, Stream<'s, u64, ChangeBatch>) =
            scope.new_input::<ChangeBatch>();
        handle.advance_to(self.as_of);
        let columns = columns.to_vec();
        self.feeds.push(ViewFeed { source: object, columns, handle, meter });
        glue::union(scope, vec![stream, earlier])
    }

    /// Constant rows come from one worker, in the epoch of the installation.
    fn values<'s>(&self, scope: Scope<'s, u64>, rows: ChangeBatch, meter: Meter) -> Changes<'s> {
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
                        meter.gave(rows.len());
                        output.session(&cap.delayed(&as_of)).give_container(&mut rows);
                    }
                }
            },
        )
    }
}
