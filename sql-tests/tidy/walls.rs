//! The walls between rooms: which crate is named where, that `sql/` is pure, that imports form no circle.

use std::collections::BTreeMap;

use crate::source::{NamedPath, Source};

/// A crate and the only places whose code may name it.
const CRATES: [(&str, &[&str]); 7] = [
    ("pgwire", &["src/wire/"]),
    ("timely", &["src/dataflow/"]),
    ("object_store", &["src/log/", "src/checkpoint/", "src/lake/", "src/egress/", "connectors/"]),
    ("deltalake", &["src/lake/"]),
    ("rdkafka", &["connectors/"]),
    // The contract speaks Arrow and bytes, so that decoders build fast and the database behind them can change.
    ("datafusion", &["src/", "sql-tests/"]),
    ("tidewater", &["src/", "sql-tests/"]),
];

/// What `sql/` must not reach for; the clock and the environment are input too.
const IO_PATHS: [&[&str]; 9] = [
    &["std", "fs"],
    &["std", "net"],
    &["std", "env"],
    &["std", "process"],
    &["std", "thread"],
    &["std", "time", "Instant"],
    &["std", "time", "SystemTime"],
    &["tokio"],
    &["rdkafka"],
];

/// `path:line` of each crate named outside its places.
pub fn misplaced_crates(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources {
        for path in source.paths() {
            let first = path.segments[0].as_str();
            for (name, places) in CRATES {
                let other = first.strip_prefix(name).is_some_and(|rest| rest.starts_with('_'));
                // The connectors are a package of ours, open to everybody above them.
                let named = first == name || other && first != "tidewater_connectors";
                if named && !places.iter().any(|place| source.path.starts_with(place)) {
                    let places = places.join(", ");
                    findings.push(format!(
                        "{}:{} names `{first}`, which only {places} may",
                        source.path, path.line
                    ));
                }
            }
        }
    }
    findings
}

/// `path:line` of each forbidden path in `src/sql/`; tests may read files.
pub fn io_in_sql(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|s| s.path.starts_with("src/sql/")) {
        for path in source.paths().into_iter().filter(|p| !source.is_test_line(p.line)) {
            let forbidden = |io: &&[&str]| {
                path.segments.iter().zip(*io).all(|(a, b)| a == b)
                    && path.segments.len() >= io.len()
            };
            if IO_PATHS.iter().any(forbidden) {
                findings.push(format!(
                    "{}:{} uses {}",
                    source.path,
                    path.line,
                    path.segments.join("::")
                ));
            }
        }
    }
    findings
}

/// Importing module -> imported module -> where.
type Imports = BTreeMap<String, BTreeMap<String, String>>;

/// Each circle once, as `a -> b -> a` with the places that make it.
pub fn circles(sources: &[Source]) -> Vec<String> {
    let imports = imports(sources);
    let mut findings: Vec<String> = Vec::new();
    for start in imports.keys() {
        if let Some(circle) = shortest_circle(&imports, start)
            // A circle is found from each of its modules; it is told from the first in order.
            && circle.iter().min() == Some(start)
        {
            let places: Vec<&str> = circle
                .iter()
                .zip(circle.iter().cycle().skip(1))
                .map(|(from, to)| imports[from][to].as_str())
                .collect();
            findings.push(format!("{} -> {start} ({})", circle.join(" -> "), places.join(", ")));
        }
    }
    findings
}

fn imports(sources: &[Source]) -> Imports {
    let mut imports = Imports::new();
    for source in sources {
        let Some((module, depth)) = top_module(&source.path) else { continue };
        for path in source.paths().into_iter().filter(|p| !source.is_test_line(p.line)) {
            let Some(other) = imported(&path, depth) else { continue };
            let known = |s: &Source| top_module(&s.path).is_some_and(|(m, _)| m == other);
            if other != module && sources.iter().any(known) {
                let place = format!("{}:{}", source.path, path.line);
                let edges = imports.entry(module.to_owned()).or_default();
                edges.entry(other.to_owned()).or_insert(place);
            }
        }
    }
    imports
}

/// `src/a.rs` and `src/a/mod.rs` are module `a` at depth 1, `src/a/b.rs` is in `a` at depth 2. The roots, `lib.rs` and
/// `main.rs`, are above all modules and import what they like.
fn top_module(path: &str) -> Option<(&str, usize)> {
    let inside = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let inside = inside.strip_suffix("/mod").unwrap_or(inside);
    let module = inside.split('/').next()?;
    (!matches!(inside, "lib" | "main")).then(|| (module, inside.split('/').count()))
}

/// The top-level module that a path leads to, seen from a file `depth` modules deep.
fn imported(path: &NamedPath, depth: usize) -> Option<&str> {
    let supers = path.segments.iter().take_while(|s| *s == "super").count();
    match path.segments[0].as_str() {
        "crate" => path.segments.get(1).map(String::as_str),
        "super" if supers == depth => path.segments.get(supers).map(String::as_str),
        _ => None,
    }
}

/// The shortest way from `start` back to it, breadth first; without the closing repetition.
fn shortest_circle(imports: &Imports, start: &str) -> Option<Vec<String>> {
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(module) = queue.pop_front() {
        for next in imports.get(module).into_iter().flat_map(|edges| edges.keys()) {
            if next == start {
                let mut way = vec![module.to_owned()];
                let mut at = module;
                while at != start {
                    at = came_from[at];
                    way.push(at.to_owned());
                }
                way.reverse();
                return Some(way);
            }
            if !came_from.contains_key(next.as_str()) {
                came_from.insert(next, module);
                queue.push_back(next);
            }
        }
    }
    None
}

#[test]
fn a_circle_is_told_once_with_its_places() {
    let sources = [
        Source::new("src/a.rs", "//!\nuse crate::b::X;\n"),
        Source::new("src/b/mod.rs", "use super::c;\n"),
        Source::new("src/c/d.rs", "fn f() { super::super::a::g() }\n"),
        Source::new("src/e.rs", "use crate::a; #[cfg(test)] mod t { use crate::f; }\n"),
        Source::new("src/f.rs", "use crate::{e, Undeclared};\n"),
        Source::new("src/lib.rs", "pub mod a; pub use crate::a::X;\n"),
    ];
    assert_eq!(circles(&sources), ["a -> b -> c -> a (src/a.rs:2, src/b/mod.rs:1, src/c/d.rs:1)"]);
}

#[test]
fn a_crate_outside_its_room_and_io_in_sql_are_found() {
    let sources = [
        Source::new("src/plan/x.rs", "use timely::dataflow;\nuse pgwire::api;\n"),
        Source::new("src/dataflow/x.rs", "use timely::dataflow;\nuse timely_communication::X;\n"),
        Source::new("connectors/src/x.rs", "use datafusion_common::X;\nuse tidewater::y;\n"),
        Source::new("src/sql/x.rs", "use std::{fs, fmt};\nfn f() { tokio::spawn(g()) }\n"),
    ];
    assert_eq!(misplaced_crates(&sources).len(), 4, "{:?}", misplaced_crates(&sources));
    assert_eq!(
        io_in_sql(&sources),
        ["src/sql/x.rs:1 uses std::fs", "src/sql/x.rs:2 uses tokio::spawn"]
    );
}
