//! Makes a failing case smaller: views, epochs and rows are left out as long as it still fails in the same view.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::case::{Case, Item};
use crate::engine::{Bench, Failure};

/// Shrinking is for the reader: it may take about this long.
const TIME: Duration = Duration::from_secs(25);

struct Shrinking<'a> {
    runtime: &'a Runtime,
    workers: usize,
    started: Instant,
    bench: Option<Bench>,
    case: Case,
    failure: Failure,
}

/// The smallest failing case found, and how it fails.
pub fn shrink(runtime: &Runtime, case: Case, failure: Failure, workers: usize) -> (Case, Failure) {
    let started = Instant::now();
    let mut shrinking = Shrinking { runtime, workers, started, bench: None, case, failure };
    shrinking.items();
    shrinking.changes();
    shrinking.items();
    shrinking.tables();
    (shrinking.case, shrinking.failure)
}

impl Shrinking<'_> {
    /// Takes the candidate if it fails, too.
    fn accept(&mut self, candidate: Case) -> bool {
        if self.started.elapsed() > TIME || self.failure.what.starts_with("nothing happens") {
            return false;
        }
        let workers = self.workers;
        let bench = match &mut self.bench {
            Some(bench) => bench,
            none => match Bench::start(workers) {
                Ok(bench) => none.insert(bench),
                Err(_) => return false,
            },
        };
        debug_assert_eq!(bench.workers(), workers);
        match self.runtime.block_on(bench.run(&candidate)) {
            Ok(_) => false,
            Err(failure) => {
                self.bench = None;
                // The same view in the same way: a shrunk case may fail for reasons of its own.
                let kind = |f: &Failure| f.what.chars().take(12).collect::<String>();
                let same =
                    failure.view == self.failure.view && kind(&failure) == kind(&self.failure);
                if same {
                    (self.case, self.failure) = (candidate, failure);
                }
                same
            }
        }
    }

    /// Leaves out items from the end, so that what is left stays in order.
    fn items(&mut self) {
        let mut at = self.case.items.len();
        while at > 0 {
            at -= 1;
            let mut candidate = self.case.clone();
            match &candidate.items[at] {
                Item::View(view) if view.name == self.failure.view => continue,
                Item::View(_)
                | Item::Index(_)
                | Item::Alter(_)
                | Item::Epoch(_)
                | Item::Checkpoint
                | Item::Restart(_) => drop(candidate.items.remove(at)),
            }
            self.accept(candidate);
        }
    }

    fn changes(&mut self) {
        for at in (0..self.case.items.len()).rev() {
            let Item::Epoch(changes) = &self.case.items[at] else { continue };
            for row in (0..changes.len()).rev() {
                let mut candidate = self.case.clone();
                if let Item::Epoch(changes) = &mut candidate.items[at] {
                    changes.remove(row);
                }
                self.accept(candidate);
            }
        }
    }

    fn tables(&mut self) {
        for at in (0..self.case.tables.len()).rev() {
            let mut candidate = self.case.clone();
            let table = candidate.tables.remove(at);
            candidate.items.iter_mut().for_each(|item| {
                if let Item::Epoch(changes) = item {
                    changes.retain(|change| change.table != table.name);
                }
            });
            let read = |item: &Item| match item {
                Item::View(view) => view.sql.contains(&table.name),
                Item::Index(on) => on.starts_with(&format!("{} ", table.name)),
                Item::Alter(altered) => *altered == table.name,
                Item::Epoch(_) | Item::Checkpoint | Item::Restart(_) => false,
            };
            if !candidate.items.iter().any(read) {
                self.accept(candidate);
            }
        }
    }
}
