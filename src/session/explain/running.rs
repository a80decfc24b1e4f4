//! EXPLAIN ANALYZE of what runs: the tree of its operators with what each has done on all workers together, and how unevenly.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::json_text;
use super::table::{Table, count, cut, size, time};
use crate::catalog::{Object, ObjectId};
use crate::coordinator::running::Running;
use crate::meter::{Counts, END, skew};
use crate::plan::explain::{explain_json, listed_title};
use crate::plan::shared::{Listed, listed};
use crate::plan::{Node, Op};

/// Characters of an operator's description that fit beside the numbers.
const TITLE_MAX: usize = 72;

/// A running dataflow with what was counted in some time.
pub struct Observed {
    running: Arc<Running>,
    /// By operator, then worker, as of the beginning of the time.
    before: Vec<Vec<Counts>>,
    /// The same in that time.
    counts: Vec<Vec<Counts>>,
    lasted: Duration,
}

impl Observed {
    /// What was counted since the dataflow was created.
    pub fn new(running: Arc<Running>) -> Observed {
        let counts = read(&running);
        let lasted = SystemTime::now().duration_since(running.meters.since).unwrap_or_default();
        Observed { running, before: counts.clone(), counts, lasted }
    }

    /// What was counted since the last look, which was so long ago.
    pub fn look_again(&mut self, lasted: Duration) {
        let now = read(&self.running);
        let since = |(now, before): (&Vec<Counts>, &Vec<Counts>)| {
            now.iter().zip(before).map(|(now, before)| now.since(before)).collect()
        };
        self.counts = now.iter().zip(&self.before).map(since).collect();
        self.lasted = lasted;
    }

    pub fn text(
        &self,
        object: &Object,
        others: &HashMap<ObjectId, Arc<Running>>,
        verbose: bool,
    ) -> String {
        let workers = self.counts[END].len();
        let head = ["rows in", "rows out", "batches", "time", "state rows", "state", "skew"];
        let mut table = Table::new(&head, "operator");
        let end = format!("{} {}", object.kind.words(), object.name);
        self.push(END, end, verbose, &mut table);
        for listed in listed(&self.running.plan) {
            let title = listed_title(&listed);
            let title = if verbose { title } else { cut(&title, TITLE_MAX) };
            let title = format!("{}{title}", "  ".repeat(listed.depth + 1));
            match listed.again {
                true => table.push(vec![String::new(); head.len()], title),
                false => self.push(listed.number, title, verbose, &mut table),
            }
        }
        let seconds = self.lasted.as_secs_f64();
        let plural = if workers == 1 { "" } else { "s" };
        let mut lines = vec![format!("counted for {seconds:.1} s on {workers} worker{plural}")];
        lines.extend(table.lines());
        lines.extend(shared(&self.running, others));
        if let Some(error) = self.running.live.failure() {
            lines.push(format!("failed: {}", error.message));
        }
        lines.join("\n")
    }

    /// An operator's line; where wanted also that of each worker.
    fn push(&self, operator: usize, title: String, verbose: bool, table: &mut Table) {
        let counts = &self.counts[operator];
        let skew = self.skew(operator).filter(|_| counts.len() > 1);
        let skew = skew.map(|skew| format!("{skew:.1}")).unwrap_or_default();
        let indent = title.len() - title.trim_start().len();
        table.push(cells(&Counts::total(counts), skew), title);
        if verbose && counts.len() > 1 {
            for (worker, counts) in counts.iter().enumerate() {
                let title = format!("{}  worker {worker}", " ".repeat(indent));
                table.push(cells(counts, String::new()), title);
            }
        }
    }

    /// How unevenly rows are dealt over the workers: those that come in, or those put out where none come in.
    fn skew(&self, operator: usize) -> Option<f64> {
        let counts = &self.counts[operator];
        let rows = skew(counts.iter().map(|counts| counts.rows_in));
        rows.or_else(|| skew(counts.iter().map(|counts| counts.rows_out)))
    }

    pub fn json(&self) -> String {
        let fields = |operator: usize| {
            let counts = &self.counts[operator];
            let mut fields = fields(&Counts::total(counts));
            if let Some(skew) = self.skew(operator) {
                fields.insert("Skew".to_owned(), skew.into());
            }
            let workers = counts.iter().enumerate().map(|(worker, counts)| {
                let mut fields = fields_of_worker(worker);
                fields.extend(self::fields(counts));
                Value::Object(fields)
            });
            fields.insert("Workers".to_owned(), workers.collect::<Vec<_>>().into());
            fields
        };
        let more = Map::from_iter([
            ("Seconds".to_owned(), self.lasted.as_secs_f64().into()),
            ("Result".to_owned(), Value::Object(fields(END))),
        ]);
        json_text(explain_json(&self.running.plan, &fields), more)
    }
}

/// By operator, then worker. A union is no operator of its own where it runs: through it goes what its inputs put out.
fn read(running: &Running) -> Vec<Vec<Counts>> {
    let meters = &running.meters;
    let mut counts: Vec<Vec<Counts>> = (0..meters.operators()).map(|o| meters.read(o)).collect();
    let list = listed(&running.plan);
    let unions =
        list.iter().enumerate().filter(|(_, l)| !l.again && matches!(l.node.op, Op::Union));
    let through: Vec<_> = unions
        .map(|(at, union)| {
            let worker = |worker| put_out(&list, at, &|number| counts[number][worker]);
            (union.number, (0..counts[END].len()).map(worker).collect::<Vec<Counts>>())
        })
        .collect();
    for (number, put_out) in through {
        let taken = put_out.into_iter().map(|counts| Counts {
            rows_in: counts.rows_out,
            batches_in: counts.batches_out,
            rows_out: counts.rows_out,
            batches_out: counts.batches_out,
            ..Counts::default()
        });
        counts[number] = taken.collect();
    }
    counts
}

/// What the operator at a place puts out; of a union what its inputs do.
fn put_out(list: &[Listed], at: usize, counts: &impl Fn(usize) -> Counts) -> Counts {
    let listed = &list[at];
    let first = list.iter().position(|l| l.number == listed.number).unwrap_or(at);
    if !matches!(listed.node.op, Op::Union) {
        return counts(listed.number);
    }
    let depth = list[first].depth;
    let below = list.iter().enumerate().skip(first + 1).take_while(|(_, l)| l.depth > depth);
    let inputs = below.filter(|(_, l)| l.depth == depth + 1);
    let inputs: Vec<Counts> = inputs.map(|(input, _)| put_out(list, input, counts)).collect();
    Counts::total(&inputs)
}

fn cells(counts: &Counts, skew: String) -> Vec<String> {
    let state = if counts.state_bytes == 0 { String::new() } else { size(counts.state_bytes) };
    vec![
        count(counts.rows_in),
        count(counts.rows_out),
        count(counts.batches_in.max(counts.batches_out)),
        time(counts.busy_ns),
        count(counts.state_rows),
        state,
        skew,
    ]
}

fn fields(counts: &Counts) -> Map<String, Value> {
    let fields = [
        ("Rows In", counts.rows_in.into()),
        ("Rows Out", counts.rows_out.into()),
        ("Batches In", counts.batches_in.into()),
        ("Batches Out", counts.batches_out.into()),
        ("Time", (counts.busy_ns as f64 / 1e6).into()),
        ("State Rows", counts.state_rows.into()),
        ("State Bytes", counts.state_bytes.into()),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn fields_of_worker(worker: usize) -> Map<String, Value> {
    Map::from_iter([("Worker Number".to_owned(), worker.into())])
}

/// A line for each arrangement that the dataflow looks up and does not keep itself: whose it is, its size, who else uses it.
fn shared(running: &Running, others: &HashMap<ObjectId, Arc<Running>>) -> Vec<String> {
    let mut names: BTreeMap<ObjectId, String> = BTreeMap::new();
    for listed in listed(&running.plan) {
        if let Op::Import { object, name, .. } = &listed.node.op {
            names.insert(*object, name.clone());
        }
    }
    let line = |(object, key, holder): (ObjectId, &[usize], ObjectId)| {
        let name = names.get(&object)?;
        let node = find_import(&running.plan, object)?;
        let columns = key_names(node, key);
        let users = others.values().filter(|other| {
            other.arrangements.values().any(|h| *h == holder)
                && !Arc::ptr_eq(&other.live, &running.live)
        });
        let users: BTreeSet<String> =
            users.map(|other| other.live.names().object.clone()).collect();
        let users = match users.is_empty() {
            true => String::new(),
            false => {
                format!(", also looked up by {}", users.into_iter().collect::<Vec<_>>().join(", "))
            }
        };
        let held = others.get(&holder).map(|holder| {
            let counters = &holder.live.counters;
            let bytes = counters.state_bytes.load(Ordering::Relaxed);
            let rows = holder.live.rows();
            format!(": {rows} rows, {}", size(u64::try_from(bytes).unwrap_or(0)))
        });
        let held = held.unwrap_or_else(|| ": its own rows".to_owned());
        Some(format!("shared {name} by ({columns}){held}{users}"))
    };
    let arrangements = running.arrangements.iter();
    arrangements.filter_map(|((object, key), holder)| line((*object, key, *holder))).collect()
}

fn find_import(plan: &Node, wanted: ObjectId) -> Option<&Node> {
    let mut nodes = listed(plan).into_iter().map(|listed| listed.node);
    nodes.find(|node| node.imported() == Some(wanted))
}

/// The names of an object's columns that a plan imports.
fn key_names(import: &Node, key: &[usize]) -> String {
    let Op::Import { columns, .. } = &import.op else { return String::new() };
    let name = |column: &usize| {
        let position = columns.iter().position(|c| c == column);
        position.map_or_else(|| "?".to_owned(), |p| import.schema.field(p).name().clone())
    };
    key.iter().map(name).collect::<Vec<_>>().join(", ")
}
