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

/// A place of a plan's list.
pub struct Listed<'a> {
    pub depth: usize,
    pub node: &'a Node,
    /// That of its operator, from 1 on: operators are numbered in the order of the list.
    pub number: usize,
    /// By which an operator for several places is referred to, from 1 on.
    pub label: Option<usize>,
    /// The operator is in the list already, with its inputs.
    pub again: bool,
}

/// All places of a plan, each before its inputs: as plans are explained and rendered.
pub fn listed(plan: &Node) -> Vec<Listed<'_>> {
    let shared = Shared::of(plan);
    let mut seen: HashMap<usize, (usize, usize)> = HashMap::new();
    let (mut list, mut operators, mut stack) = (vec![], 0, vec![(0, plan)]);
    while let Some((depth, node)) = stack.pop() {
        let same = shared.number(node);
        if let Some((label, number)) = same.and_then(|same| seen.get(&same)).copied() {
            list.push(Listed { depth, node, number, label: Some(label), again: true });
            continue;
        }
        operators += 1;
        let label = same.map(|same| {
            let label = seen.len() + 1;
            seen.insert(same, (label, operators));
            label
        });
        list.push(Listed { depth, node, number: operators, label, again: false });
        stack.extend(node.inputs.iter().rev().map(|input| (depth + 1, input)));
    }
    list
}

/// How many operators run for a plan.
pub fn operators(plan: &Node) -> usize {
    listed(plan).iter().map(|listed| listed.number).max().unwrap_or(0)
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
