//! Which files tidy looks at: what is in the checkout, without build output and hidden directories.

use std::path::{Path, PathBuf};

use crate::source::Source;

/// Where Rust sources live; nothing else may hold any.
const RUST_DIRS: [&str; 3] = ["src", "connectors", "sql-tests"];

/// All Rust sources in path order.
pub fn rust_sources(root: &Path) -> Vec<Source> {
    let mut paths = Vec::new();
    for dir in RUST_DIRS {
        collect(&root.join(dir), "rs", &mut paths);
    }
    paths.sort();
    paths.iter().map(|path| Source::read(root, path)).collect()
}

/// All Markdown files in path order.
pub fn markdown(root: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    collect(root, "md", &mut paths);
    paths.sort();
    paths
}

fn collect(dir: &Path, extension: &str, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && !name.starts_with('.') && name != "target" {
            collect(&entry.path(), extension, paths);
        } else if kind.is_file() && name.ends_with(&format!(".{extension}")) {
            paths.push(entry.path());
        }
    }
}
