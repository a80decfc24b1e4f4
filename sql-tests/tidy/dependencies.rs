//! Licences, sources and versions of all dependencies, as `deny.toml` allows them.
//!
//! The file is cargo-deny's, so that `cargo deny check` can be run over the same rules with the advisory database at hand.
//! Here only what works without a network is checked, on what `cargo metadata` says: see
//! docs/decisions/0001-dependency-check.md. Keys of deny.toml that are not read here belong to cargo-deny alone.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub fn violations(root: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(root.join("deny.toml")).unwrap();
    let rules: toml::Table = toml::from_str(&text).unwrap();
    let packages = packages(root);
    let outside: Vec<&Package> = packages.iter().filter(|p| !p.ours).collect();
    assert!(outside.len() > 100, "cargo metadata lists the dependencies");
    let mut findings = Vec::new();
    for package in &packages {
        findings.extend(licence_violation(package, &rules));
    }
    for package in &outside {
        if package.source.as_deref() != Some(CRATES_IO) {
            findings.push(format!("{package} comes from {:?}, not from crates.io", package.source));
        }
        findings.extend(ban(package, &rules));
    }
    findings.extend(duplicates(&outside, &rules));
    findings
}

struct Package {
    name: String,
    version: String,
    licence: Option<String>,
    source: Option<String>,
    ours: bool,
}

impl std::fmt::Display for Package {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// Everything in Cargo.lock, for all platforms and of all kinds.
fn packages(root: &Path) -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata failed: {errors}");
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let used: std::collections::HashSet<&str> =
        nodes.iter().filter_map(|n| n["id"].as_str()).collect();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|package| used.contains(package["id"].as_str().unwrap()))
        .map(|package| Package {
            name: text(&package["name"]).unwrap(),
            version: text(&package["version"]).unwrap(),
            licence: text(&package["license"]),
            source: text(&package["source"]),
            ours: package["source"].is_null(),
        })
        .collect()
}

fn strings<'a>(rules: &'a toml::Table, section: &str, key: &str) -> Vec<&'a str> {
    let values = rules.get(section).and_then(|s| s.get(key)).and_then(|v| v.as_array());
    values.into_iter().flatten().filter_map(|v| v.as_str()).collect()
}

/// `[licenses] allow` holds for all, `exceptions = [{ crate, allow }]` for one crate.
fn licence_violation(package: &Package, rules: &toml::Table) -> Option<String> {
    let Some(licence) = &package.licence else {
        return Some(format!("{package} names no licence"));
    };
    let mut allowed = strings(rules, "licenses", "allow");
    let exceptions =
        rules.get("licenses").and_then(|l| l.get("exceptions")).and_then(|e| e.as_array());
    for exception in exceptions.into_iter().flatten() {
        if exception.get("crate").and_then(|name| name.as_str()) == Some(&package.name) {
            let more = exception.get("allow").and_then(|a| a.as_array());
            allowed.extend(more.into_iter().flatten().filter_map(|v| v.as_str()));
        }
    }
    (!satisfied(licence, &allowed))
        .then(|| format!("{package} is under {licence}, which deny.toml does not allow"))
}

/// Whether an SPDX expression can be met with allowed licences. `AND` binds closer than `OR`; `/` is the old `OR`.
fn satisfied(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    // `X WITH Y` is one licence with its exception.
    let spaced = spaced.replace(" WITH ", "\u{a0}WITH\u{a0}");
    let words: Vec<String> = spaced
        .split([' ', '\t', '\n'])
        .filter(|w| !w.is_empty())
        .map(|w| w.replace('\u{a0}', " "))
        .collect();
    let mut at = 0;
    let met = any_of(&words, &mut at, allowed);
    met && at == words.len()
}

fn any_of(words: &[String], at: &mut usize, allowed: &[&str]) -> bool {
    let mut met = all_of(words, at, allowed);
    while words.get(*at).is_some_and(|w| w == "OR") {
        *at += 1;
        met |= all_of(words, at, allowed);
    }
    met
}

fn all_of(words: &[String], at: &mut usize, allowed: &[&str]) -> bool {
    let mut met = one(words, at, allowed);
    while words.get(*at).is_some_and(|w| w == "AND") {
        *at += 1;
        met &= one(words, at, allowed);
    }
    met
}

fn one(words: &[String], at: &mut usize, allowed: &[&str]) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if word != "(" {
        return allowed.contains(&word.as_str());
    }
    let met = any_of(words, at, allowed);
    let closed = words.get(*at).is_some_and(|w| w == ")");
    *at += 1;
    met && closed
}

fn denied(rules: &toml::Table) -> impl Iterator<Item = &toml::Value> {
    let denied = rules.get("bans").and_then(|b| b.get("deny")).and_then(|d| d.as_array());
    denied.into_iter().flatten()
}

/// Such a rule bans no version, only a second one beside it.
fn is_about_duplicates(rule: &toml::Value) -> bool {
    rule.get("deny-multiple-versions").and_then(|v| v.as_bool()) == Some(true)
}

/// `[bans] deny = [{ crate = "name@requirement", reason = "..." }]`
fn ban(package: &Package, rules: &toml::Table) -> Option<String> {
    denied(rules).filter(|rule| !is_about_duplicates(rule)).find_map(|rule| {
        let spec = rule.get("crate")?.as_str()?;
        let (name, requirement) = spec.split_once('@').unwrap_or((spec, "*"));
        let hit = name == package.name && matches(&package.version, requirement);
        let reason = rule.get("reason").and_then(|r| r.as_str()).unwrap_or("banned");
        hit.then(|| format!("{package}: {reason}"))
    })
}

/// `<1.2.3`, `>=1.2.0,<1.2.3`, `=1.2.3` or `*`: all that deny.toml uses.
fn matches(version: &str, requirement: &str) -> bool {
    let number = |text: &str| -> [u64; 3] {
        let core = text.split(['-', '+']).next().unwrap_or_default();
        let mut parts = core.split('.').map(|n| n.parse().expect("a number in a version"));
        std::array::from_fn(|_| parts.next().unwrap_or(0))
    };
    requirement.split(',').map(str::trim).all(|part| {
        let split = part.find(|c: char| c.is_ascii_digit()).unwrap_or(part.len());
        let (operator, bound) = part.split_at(split);
        match operator {
            "<" => number(version) < number(bound),
            ">=" => number(version) >= number(bound),
            "=" => number(version) == number(bound),
            "*" => true,
            _ => panic!("deny.toml: cannot read the requirement {part:?}"),
        }
    })
}

/// Crates of which one version only may be linked, since their types meet in our code.
fn duplicates(packages: &[&Package], rules: &toml::Table) -> Vec<String> {
    let mut findings = Vec::new();
    for name in denied(rules)
        .filter(|rule| is_about_duplicates(rule))
        .filter_map(|r| r.get("crate")?.as_str())
    {
        let found: Vec<&str> =
            packages.iter().filter(|p| p.name == name).map(|p| p.version.as_str()).collect();
        if found.len() != 1 {
            findings.push(format!(
                "{name} is linked in the versions [{}], not in one",
                found.join(", ")
            ));
        }
    }
    findings
}

#[test]
fn licence_expressions_are_read_as_spdx_has_them() {
    let allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"];
    for met in [
        "MIT",
        "GPL-3.0 OR MIT",
        "MIT/Apache-2.0",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
        "MIT AND (GPL-2.0 OR Apache-2.0 WITH LLVM-exception)",
    ] {
        assert!(satisfied(met, &allowed), "{met}");
    }
    for unmet in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT", "MIT GPL-3.0", "Apache-2.0 WITH other"]
    {
        assert!(!satisfied(unmet, &allowed), "{unmet}");
    }
}

#[test]
fn version_requirements_are_compared_by_number() {
    assert!(matches("0.17.9", "<0.17.12") && !matches("0.17.12", "<0.17.12"));
    assert!(matches("0.5.14", ">=0.5.12,<0.5.15") && !matches("0.5.11", ">=0.5.12,<0.5.15"));
    assert!(matches("1.0.0+build", "=1.0.0") && matches("9.9.9", "*"));
}
