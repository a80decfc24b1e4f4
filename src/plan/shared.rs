//! Sub-plans of a plan that are the same: they are run once, and what comes of them goes to each place.

use std::collections::{HashMap, HashSet};

use super::stream_plan::{Node, Op};

/// Which nodes of a plan are the same.
pub struct Shared {
    /// The number of each node's sub-plan; equal ones have one number.
    numbers: HashMap<*const Node, usize>,
    /// Whether a sub-plan is wanted in several places and keeps state, so that running it once is worth it.
    worthwhile: Vec<bool>,
}

impl Shared {
    pub fn of(plan: &Node) -> Shared {
        let mut finder = Finder::default();
        finder.number(plan);
        let places = |number: usize| finder.places[number].len();
        let worthwhile =
            (0..finder.known.len()).map(|n| finder.stateful[n] && places(n) > 1).collect();
        Shared { numbers: finder.numbers, worthwhile }
    }

    /// The number of a node's sub-plan, if it is to be run once for several places.
    pub fn number(&self, node: &Node) -> Option<usize> {
        let number = *self.numbers.get(&std::ptr::from_ref(node))?;
        self.worthwhile[number].then_some(number)
    }
}

#[derive(Default)]
struct Finder<'a> {
    numbers: HashMap<*const Node, usize>,
    /// Of each sub-plan one node, and the numbers of its inputs.
    known: Vec<(&'a Node, Vec<usize>)>,
    stateful: Vec<bool>,
    /// The sub-plans that each is an input of, and which. Two places in one sub-plan that is itself run once are one.
    places: Vec<HashSet<(usize, usize)>>,
}

impl<'a> Finder<'a> {
    fn number(&mut self, node: &'a Node) -> usize {
        let inputs: Vec<usize> = node.inputs.iter().map(|input| self.number(input)).collect();
        let same = |(other, of): &(&Node, Vec<usize>)| {
            *of == inputs && other.op == node.op && other.schema == node.schema
        };
        let number = self.known.iter().position(same).unwrap_or_else(|| {
            let stateful = keeps_state(&node.op) || inputs.iter().any(|&i| self.stateful[i]);
            self.stateful.push(stateful);
            self.places.push(HashSet::new());
            self.known.push((node, inputs.clone()));
            self.known.len() - 1
        });
        for (place, input) in inputs.into_iter().enumerate() {
            self.places[input].insert((number, place));
        }
        self.numbers.insert(std::ptr::from_ref(node), number);
        number
    }
}

fn keeps_state(op: &Op) -> bool {
    match op {
        Op::Import { .. }
        | Op::Values { .. }
        | Op::Project { .. }
        | Op::Filter { .. }
        | Op::Unnest { .. }
        | Op::Union => false,
        Op::Distinct
        | Op::Aggregate { .. }
        | Op::Join { .. }
        | Op::TopN { .. }
        | Op::Ranked { .. }
        | Op::Window { .. } => true,
    }
}
