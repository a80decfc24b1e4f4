//! Which files a run is about, and reading them.

use std::path::{Path, PathBuf};

/// The files named and the .slt files below the directories named, each once, sorted; of them those whose path contains
/// one of `filters`, where there are any. An error where a path is not there, or where nothing is left to run.
pub fn find(paths: &[PathBuf], filters: &[String]) -> Result<Vec<PathBuf>, String> {
    let mut files = vec![];
    for path in paths {
        match std::fs::metadata(path) {
            Err(error) => return Err(format!("{}: {error}", path.display())),
            Ok(there) if there.is_dir() => collect(path, &mut files)?,
            Ok(_) => files.push(path.clone()),
        }
    }
    files.sort();
    files.dedup();
    if files.is_empty() {
        return Err("there are no .slt files".to_owned());
    }
    files.retain(|file| {
        let name = file.to_string_lossy();
        filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
    });
    if files.is_empty() {
        return Err(format!("no file's path contains \"{}\"", filters.join("\" or \"")));
    }
    Ok(files)
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", dir.display());
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "slt") {
            files.push(path);
        }
    }
    Ok(())
}

/// A text file under the name by which messages call it.
pub struct Text {
    pub name: String,
    pub text: String,
}

pub fn read(path: &Path) -> Result<Text, String> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    Ok(Text { name, text })
}
