//! Thousands of expressions, each evaluated by PostgreSQL and by the server: value, type and error code are the same.
//!
//! `sql-tests/expressions/*.txt` has templates: `let $x = a | b` names a set of values, `word $x = ...` one of words that are
//! put in as they are, and every other line is an expression for each combination of what its names stand for. What differs is
//! in `deviations.txt` beside them, by expression; a line there that no longer differs is an error too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::client::Client;
use crate::postgres::Postgres;
use crate::server::Server;

/// Each compares a part of the expressions.
const CONNECTIONS: usize = 2;

#[test]
fn expressions_come_to_what_they_come_to_in_postgresql() {
    let Some(postgres) = Postgres::start() else { return };
    let server = Server::start(&["--workers", "1"]).unwrap();
    let expressions = Vec::from_iter(expressions());
    let parts = expressions.chunks(expressions.len().div_ceil(CONNECTIONS));
    let (theirs, ours) = (postgres.url.as_str(), server.url.as_str());
    let (known, mut differing) = (deviations(), BTreeMap::new());
    std::thread::scope(|scope| {
        let compared = |part| scope.spawn(move || differences(theirs, ours, part));
        let threads: Vec<_> = parts.map(compared).collect();
        differing.extend(threads.into_iter().flat_map(|thread| thread.join().unwrap()));
    });
    let gone: Vec<&String> = known.iter().filter(|e| !differing.contains_key(e.as_str())).collect();
    let new: Vec<String> = differing
        .iter()
        .filter(|(expression, _)| !known.contains(**expression))
        .map(|(expression, (theirs, ours))| {
            format!("{expression}\n    PostgreSQL: {theirs}\n    here:       {ours}")
        })
        .collect();
    let count = expressions.len();
    assert!(count > 4_000, "only {count} expressions");
    assert!(new.is_empty(), "{} of {count} differ:\n{}", new.len(), new.join("\n"));
    assert!(gone.is_empty(), "these in deviations.txt do not differ any more: {gone:#?}");
}

/// The expressions that come to something else, with both answers: PostgreSQL's first.
fn differences<'a>(
    theirs: &str,
    ours: &str,
    expressions: &'a [String],
) -> Vec<(&'a str, (String, String))> {
    let (theirs, ours) = (Client::connect(theirs), Client::connect(ours));
    for client in [&theirs, &ours] {
        client.query("set timezone = 'UTC'");
    }
    let compared = expressions.iter().map(|expression| {
        let sql = format!("select v, pg_typeof(v) from (select {expression}) as s(v)");
        (expression.as_str(), (answer(&theirs, &sql), answer(&ours, &sql)))
    });
    compared.filter(|(_, (theirs, ours))| theirs != ours).collect()
}

/// Value and type, or the error's code.
fn answer(client: &Client, sql: &str) -> String {
    match client.try_query(sql) {
        Ok(rows) => rows.join(" / "),
        Err(error) => match error.code() {
            Some(code) => code.code().to_owned(),
            None => panic!("{sql}: {error}"),
        },
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("sql-tests/expressions")
}

/// The lines of a file that say something.
fn lines(path: &PathBuf) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let said = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    said.map(str::to_owned).collect()
}

fn deviations() -> BTreeSet<String> {
    lines(&folder().join("deviations.txt")).into_iter().collect()
}

fn expressions() -> BTreeSet<String> {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let templates = files.filter(|file| !file.ends_with("deviations.txt"));
    templates.flat_map(|file| expanded(&lines(&file))).collect()
}

fn expanded(lines: &[String]) -> Vec<String> {
    let mut sets: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut expressions = vec![];
    for line in lines {
        let define = |rest: &str, put: fn(&str) -> String| {
            let (name, members) = rest.split_once(" = ").unwrap();
            (name.to_owned(), members.split(" | ").map(put).collect())
        };
        if let Some(rest) = line.strip_prefix("let ") {
            sets.extend([define(rest, |member| format!("({member})"))]);
        } else if let Some(rest) = line.strip_prefix("word ") {
            sets.extend([define(rest, str::to_owned)]);
        } else {
            combine(String::new(), line, &sets, &mut expressions);
        }
    }
    expressions
}

/// Puts every member of the first set named in `rest` behind `done`, and goes on behind it.
fn combine(
    done: String,
    rest: &str,
    sets: &BTreeMap<String, Vec<String>>,
    expressions: &mut Vec<String>,
) {
    let named = rest.match_indices('$').find_map(|(at, _)| {
        let name: String = rest[at + 1..].chars().take_while(char::is_ascii_alphanumeric).collect();
        Some((at, name.len() + 1, sets.get(&format!("${name}"))?))
    });
    let Some((at, length, members)) = named else {
        expressions.push(done + rest);
        return;
    };
    for member in members {
        let done = format!("{done}{}{member}", &rest[..at]);
        combine(done, &rest[at + length..], sets, expressions);
    }
}
