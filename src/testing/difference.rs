//! How a mismatch is told: where, what was sent, and what differs, line by line.

use similar::TextDiff;
use sqllogictest::{TestError, TestErrorKind};

/// Equal rows that are shown around those that differ.
const CONTEXT_ROWS: usize = 3;

/// `file:line: what is wrong`, the SQL, and the difference; lines of it begin with `-` for what was expected and `+` for
/// what was answered.
pub fn told(error: &TestError) -> String {
    let location = error.location();
    let (what, sql, detail) = match error.kind() {
        TestErrorKind::QueryResultMismatch { sql, expected, actual } => {
            ("the answer differs", sql, changes(&expected, &actual))
        }
        TestErrorKind::QueryResultColumnsMismatch { sql, expected, actual } => {
            let (expected, actual) = (expected.len(), actual.len());
            ("the number of columns differs", sql, format!("-{expected}\n+{actual}"))
        }
        TestErrorKind::StatementResultMismatch { sql, expected, actual } => {
            let expected = format!("affected {expected} rows");
            ("the number of rows differs", sql, changes(&expected, &actual))
        }
        TestErrorKind::ErrorMismatch { sql, err, expected_err, .. } => {
            ("another error was expected", sql, changes(&expected_err, &err.to_string()))
        }
        TestErrorKind::Ok { sql, .. } => ("an error was expected", sql, String::new()),
        TestErrorKind::Fail { sql, err, .. } => ("an error", sql, err.to_string()),
        TestErrorKind::SystemStdoutMismatch { command, expected_stdout, actual_stdout } => {
            ("the output differs", command, changes(&expected_stdout, &actual_stdout))
        }
        TestErrorKind::SystemFail { command, err } => ("an error", command, err.to_string()),
        TestErrorKind::LetFail { sql, err } => ("no value", sql, err.to_string()),
        other => return format!("{location}: {other}"),
    };
    let text = format!("{location}: {what}\n{}\n{detail}", sql.trim_end());
    text.trim_end().to_owned()
}

/// The lines that differ with some around them; runs of spaces count as one, as they do in the comparison.
fn changes(expected: &str, actual: &str) -> String {
    let lines = |text: &str| -> String {
        let words = |line: &str| line.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        text.lines().map(|line| words(line) + "\n").collect()
    };
    let (expected, actual) = (lines(expected), lines(actual));
    let diff = TextDiff::from_lines(&expected, &actual);
    let mut unified = diff.unified_diff();
    let hunks = unified.context_radius(CONTEXT_ROWS).iter_hunks().map(|hunk| {
        let rows = hunk.iter_changes().map(|row| format!("{}{}", row.tag(), row.value()));
        rows.collect::<String>()
    });
    hunks.collect::<Vec<_>>().join("...\n")
}

/// What is told of a failure, below the line that names its file.
pub fn indented(reason: &str, colour: bool) -> String {
    let mut lines = reason.lines();
    let first = lines.next().unwrap_or_default();
    let shown = lines.map(|line| match (colour, line.as_bytes().first()) {
        (true, Some(b'-')) => format!("    \u{1b}[31m{line}\u{1b}[0m"),
        (true, Some(b'+')) => format!("    \u{1b}[32m{line}\u{1b}[0m"),
        _ => format!("    {line}"),
    });
    let rest: String = shown.map(|line| format!("\n{line}")).collect();
    format!("  {first}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_differ_are_shown_among_their_neighbours() {
        let expected = "a  1\nb  2\nc  3";
        let actual = "a 1\nb 7\nc 3\nd 4";
        assert_eq!(changes(expected, actual), " a 1\n-b 2\n+b 7\n c 3\n+d 4\n");
        assert_eq!(changes(expected, "a 1\nb 2\nc 3"), "");
    }

    #[test]
    fn equal_rows_between_two_differences_are_left_out() {
        let rows = |changed: &[u32]| -> String {
            let row = |i: u32| format!("{}{i}\n", if changed.contains(&i) { "x" } else { "" });
            (0..20).map(row).collect()
        };
        let expected = " 0\n-1\n+x1\n 2\n 3\n 4\n...\n 15\n 16\n 17\n-18\n+x18\n 19\n";
        assert_eq!(changes(&rows(&[]), &rows(&[1, 18])), expected);
    }

    #[test]
    fn only_lines_of_a_difference_are_coloured() {
        let shown = indented("x.slt:3: the answer differs\nselect 1\n-1\n+2", true);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[1], "    select 1");
        assert!(lines[2].contains("[31m-1") && lines[3].contains("[32m+2"), "{shown}");
    }
}
