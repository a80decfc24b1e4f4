//! Tidy: the rules of the house that a compiler does not know, checked on every test run.
//!
//! Owns no rule that clippy or rustfmt already has. Each check collects everything that is wrong and says what to do
//! about it; none changes a file. Reads sources as text, so it links nothing of the database.

#![allow(clippy::unwrap_used)]

mod dependencies;
mod files;
mod links;
mod size;
mod source;
mod walls;

use std::path::Path;

/// The checkout.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Fails with one line for each finding, under a heading that says what to do.
#[track_caller]
fn report(what_to_do: &str, findings: Vec<String>) {
    if !findings.is_empty() {
        panic!("\n{what_to_do}\n  {}\n", findings.join("\n  "));
    }
}

#[test]
fn every_file_opens_with_what_it_owns() {
    let findings = files::rust_sources(root())
        .into_iter()
        .filter(|source| !source.text.starts_with("//!"))
        .map(|source| source.path)
        .collect();
    report(
        "open each file with `//!`: what it owns, what it refuses, which invariant holds",
        findings,
    );
}

#[test]
fn each_crate_is_named_only_where_the_design_allows() {
    report(
        "move the code to the room that owns the dependency (docs/ARCHITECTURE.md, \"Walls\")",
        walls::misplaced_crates(&files::rust_sources(root())),
    );
}

#[test]
fn sql_does_no_input_or_output() {
    report(
        "src/sql/ parses and binds; take what it needs as an argument instead",
        walls::io_in_sql(&files::rust_sources(root())),
    );
}

#[test]
fn modules_import_each_other_without_a_circle() {
    report(
        "break the circle: move what both need into a module below them, or pass it as an argument or trait",
        walls::circles(&files::rust_sources(root())),
    );
}

#[test]
fn functions_and_files_stay_short() {
    let ratchet = std::fs::read_to_string(root().join(size::RATCHET)).unwrap();
    report(
        "split what grew; sql-tests/tidy/ratchet.txt only goes down",
        size::violations(&files::rust_sources(root()), &ratchet),
    );
}

#[test]
fn links_between_documents_resolve() {
    report("correct the link or write the page", links::broken(root()));
}

#[test]
fn dependencies_have_allowed_licences_sources_and_versions() {
    report("deny.toml says what is allowed and why", dependencies::violations(root()));
}
