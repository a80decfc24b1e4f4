//! Links between the Markdown files of the checkout lead to files that exist.

use std::path::Path;

use crate::files;

/// `file: target` of each link to a file that is not there.
pub fn broken(root: &Path) -> Vec<String> {
    let mut findings = Vec::new();
    for path in files::markdown(root) {
        let text = std::fs::read_to_string(&path).unwrap();
        let dir = path.parent().unwrap();
        for target in targets(&text) {
            let file = target.split('#').next().unwrap_or_default();
            let outside = target.contains("://") || target.starts_with("mailto:");
            if !outside && !file.is_empty() && !dir.join(file).exists() {
                findings.push(format!("{}: {target}", path.strip_prefix(root).unwrap().display()));
            }
        }
    }
    findings
}

/// Targets of inline links `[text](target)`, not those inside fenced or inline code.
fn targets(text: &str) -> Vec<&str> {
    let mut targets = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if fenced {
            continue;
        }
        // Every second piece between backticks is code.
        for prose in line.split('`').step_by(2) {
            for link in prose.split("](").skip(1) {
                targets.extend(link.split_once(')').map(|(target, _)| target));
            }
        }
        // A link whose text is code is cut by its backticks: `](target)` then opens the next piece, which the loop sees.
    }
    targets
}

#[test]
fn targets_are_found_outside_of_code() {
    let text = "[a](b.md) and [`c`](d.md#e), `[f](g.md)`\n```\n[h](i.md)\n```\n![j](k.png)\n";
    assert_eq!(targets(text), ["b.md", "d.md#e", "k.png"]);
}
