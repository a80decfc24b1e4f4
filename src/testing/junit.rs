//! The report in the XML that CI systems read: one suite, one case a file.

use std::fmt::Write;

use super::{Outcome, Verdict};

pub fn report(outcomes: &[Outcome]) -> String {
    let failed = |outcome: &&Outcome| matches!(outcome.verdict, Verdict::Failed(_));
    let failures = outcomes.iter().filter(failed).count();
    let seconds: f64 = outcomes.iter().map(|outcome| outcome.took.as_secs_f64()).sum();
    let counts =
        format!("tests=\"{}\" failures=\"{failures}\" time=\"{seconds:.3}\"", outcomes.len());
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {counts}>\n  <testsuite name=\"tidewater\" {counts}>\n"
    );
    for outcome in outcomes {
        let (name, took) = (escaped(&outcome.name), outcome.took.as_secs_f64());
        let case =
            format!("    <testcase classname=\"tidewater\" name=\"{name}\" time=\"{took:.3}\"");
        // Writing to a string does not fail.
        let _ = match &outcome.verdict {
            Verdict::Passed | Verdict::Updated(_) => writeln!(xml, "{case}/>"),
            Verdict::Failed(reasons) => {
                let first = reasons.first().and_then(|reason| reason.lines().next());
                let message = escaped(first.unwrap_or_default());
                let text = escaped(&reasons.join("\n\n"));
                writeln!(
                    xml,
                    "{case}>\n      <failure message=\"{message}\">{text}</failure>\n    </testcase>"
                )
            }
        };
    }
    xml + "  </testsuite>\n</testsuites>\n"
}

/// As text or an attribute's value. Control characters have no place in XML 1.0, however they are written.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\n' | '\t' => out.push(c),
            c if c.is_control() || c == '\u{fffe}' || c == '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn failures_are_counted_and_their_text_is_escaped() {
        let outcome = |name: &str, verdict| Outcome {
            name: name.to_owned(),
            took: Duration::from_millis(1500),
            verdict,
        };
        let xml = report(&[
            outcome("a.slt", Verdict::Passed),
            outcome("b<.slt", Verdict::Failed(vec!["b:1: \"x\" & \u{1b}".to_owned()])),
        ]);
        assert!(xml.contains("tests=\"2\" failures=\"1\" time=\"3.000\""), "{xml}");
        assert!(xml.contains("name=\"b&lt;.slt\""), "{xml}");
        assert!(xml.contains("message=\"b:1: &quot;x&quot; &amp; \u{fffd}\""), "{xml}");
    }
}
