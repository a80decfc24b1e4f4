//! `tidewater test` as a user runs it: what it prints, writes and exits with.

use std::path::Path;
use std::process::{Command, Output};

fn tidewater_test(dir: &Path, options: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_tidewater"))
        .arg("test")
        .args(options)
        .current_dir(dir)
        .output()
        .unwrap();
    let text = [stdout, stderr].concat();
    (status.code().unwrap(), String::from_utf8(text).unwrap())
}

const GOOD: &str =
    "statement ok\ncreate table t (a int)\n\nquery I\nselect count(*) from t\n----\n0\n";

#[test]
fn differences_are_told_with_their_place_and_exit_with_1() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("good.slt"), GOOD).unwrap();
    std::fs::write(dir.path().join("bad.slt"), GOOD.replace("\n0\n", "\n7\n")).unwrap();
    let (code, text) = tidewater_test(dir.path(), &[".", "--junit", "report.xml"]);
    assert_eq!(code, 1, "{text}");
    let told = "./bad.slt:4: the answer differs\n    select count(*) from t\n    -7\n    +0\n";
    assert!(text.contains(told), "{text}");
    assert!(text.contains("ok      ./good.slt") && text.contains("1 passed, 1 failed"), "{text}");
    let report = std::fs::read_to_string(dir.path().join("report.xml")).unwrap();
    assert!(report.contains("tests=\"2\" failures=\"1\""), "{report}");
    let (code, text) = tidewater_test(dir.path(), &[".", "--filter", "good"]);
    assert_eq!(code, 0, "{text}");
}

#[test]
fn update_rewrites_what_differs_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.slt");
    let text = |count: &str, error: &str| {
        format!(
            "# Stays.\n{}\nquery I rowsort\nselect 1 union all select {count}\n----\n1\n{count}\n\nstatement error {error}\nselect 1/0\n\n# Also stays.\nstatement error (22012)\nselect 1/0\n",
            GOOD.replace("\n0\n", &format!("\n{}\n", if error.ends_with('o') { 0 } else { 3 }))
        )
    };
    std::fs::write(&file, text("2", "22012: something")).unwrap();
    let (code, told) = tidewater_test(dir.path(), &["a.slt", "--update"]);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("updated a.slt (2 expectations"), "{told}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text("2", "22012: division by zero"));
    let written = std::fs::metadata(&file).unwrap().modified().unwrap();
    assert_eq!(tidewater_test(dir.path(), &["a.slt", "--update"]).0, 0);
    assert_eq!(std::fs::metadata(&file).unwrap().modified().unwrap(), written);
}

#[test]
fn what_cannot_be_run_exits_with_2() {
    let dir = tempfile::tempdir().unwrap();
    for options in [&["nowhere"][..], &["."], &[], &[".", "--jobs", "0"]] {
        let (code, text) = tidewater_test(dir.path(), options);
        assert_eq!(code, 2, "{options:?}: {text}");
    }
}

#[test]
fn a_file_that_hangs_ends_at_its_timeout_and_names_the_statement() {
    let dir = tempfile::tempdir().unwrap();
    let endless =
        "statement ok\nselect count(*) from generate_series(1, 100000000000) i where i % 7 = 100\n";
    std::fs::write(dir.path().join("a.slt"), endless).unwrap();
    let (code, text) = tidewater_test(dir.path(), &["a.slt", "--timeout", "1"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("a.slt:1: the file takes longer than 1 s"), "{text}");
}

#[test]
fn setup_that_fails_is_told_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.slt"), GOOD).unwrap();
    std::fs::write(dir.path().join("s.sql"), "create table s (a int);\n\ncreate tabel x (a int);")
        .unwrap();
    let (code, text) = tidewater_test(dir.path(), &["a.slt", "--setup", "s.sql"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("s.sql:3: 42601"), "{text}");
}
