//! Functions over 70 lines and files over 800 production lines are a ratchet: those that exist are listed with their
//! length, the list only shrinks.

use std::collections::BTreeMap;

use crate::source::{Source, after_closing, is_identifier};

pub const RATCHET: &str = "sql-tests/tidy/ratchet.txt";

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 800;

/// What is too long, by the line that lists it in the ratchet: `function PATH NAME` or `file PATH`.
type Lengths = BTreeMap<String, usize>;

/// New or grown lengths, and lines of the ratchet that have become too generous.
pub fn violations(sources: &[Source], ratchet: &str) -> Vec<String> {
    let actual = too_long(sources);
    let mut listed = Lengths::new();
    let mut findings = Vec::new();
    for line in ratchet.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        match line.rsplit_once(' ').and_then(|(key, n)| Some((key, n.parse().ok()?))) {
            Some((key, lines)) => drop(listed.insert(key.to_owned(), lines)),
            None => findings.push(format!("{RATCHET}: cannot read {line:?}")),
        }
    }
    for (key, lines) in &actual {
        match listed.get(key) {
            None => findings.push(format!(
                "{key} has {lines} lines; functions have at most {FUNCTION_LINES_MAX}, files {FILE_LINES_MAX}"
            )),
            Some(allowed) if lines > allowed => {
                findings.push(format!("{key} grew from {allowed} to {lines} lines"));
            }
            Some(allowed) if lines < allowed => {
                findings.push(format!("{key} shrank: write {lines} for {allowed} in {RATCHET}"));
            }
            Some(_) => {}
        }
    }
    let gone = listed.keys().filter(|key| !actual.contains_key(*key));
    findings.extend(gone.map(|key| format!("{key} is short enough: take it out of {RATCHET}")));
    findings
}

fn too_long(sources: &[Source]) -> Lengths {
    let mut lengths = Lengths::new();
    for source in sources {
        let lines = source.production_lines();
        if lines > FILE_LINES_MAX {
            lengths.insert(format!("file {}", source.path), lines);
        }
        for (name, lines) in functions(source).into_iter().filter(|(_, n)| *n > FUNCTION_LINES_MAX)
        {
            // Methods of several types may share a name: the longest speaks for them.
            let longest = lengths.entry(format!("function {} {name}", source.path)).or_default();
            *longest = lines.max(*longest);
        }
    }
    lengths
}

/// Name and lines of each function that is not a test's.
fn functions(source: &Source) -> Vec<(&str, usize)> {
    let tokens = &source.tokens;
    let mut found = Vec::new();
    for (at, pair) in tokens.windows(2).enumerate() {
        let [keyword, name] = pair else { continue };
        if keyword.text != "fn" || !is_identifier(&name.text) || source.is_test_line(keyword.line) {
            continue;
        }
        let mut body = at + 2;
        while let Some(token) = tokens.get(body) {
            match token.text.as_str() {
                "(" | "[" => body = after_closing(tokens, body),
                ";" => break,
                "{" => {
                    let last = &tokens[after_closing(tokens, body) - 1];
                    found.push((name.text.as_str(), last.line - keyword.line + 1));
                    break;
                }
                _ => body += 1,
            }
        }
    }
    found
}

#[test]
fn the_ratchet_only_goes_down() {
    let long =
        |name: &str, lines: usize| format!("fn {name}() {{\n{}}}\n", "x;\n".repeat(lines - 2));
    let text = long("new", 71) + &long("grown", 81) + &long("shrunk", 90) + &long("short", 70);
    let sources = [Source::new("src/x.rs", text)];
    let ratchet =
        "# comment\n\nfunction src/x.rs grown 80\nfunction src/x.rs shrunk 91\nfile src/y.rs 900\n";
    let findings = violations(&sources, ratchet);
    assert_eq!(findings.len(), 4, "{findings:?}");
    assert!(findings[0].contains("grown grew from 80 to 81"), "{findings:?}");
    assert!(findings[1].contains("new has 71 lines"), "{findings:?}");
    assert!(findings[2].contains("shrunk shrank: write 90 for 91"), "{findings:?}");
    assert!(findings[3].contains("file src/y.rs is short enough"), "{findings:?}");
}
