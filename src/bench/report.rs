//! What a benchmark case came to: measured, shown as a table row for people and as a JSON line for programs.
//!
//! Figures are those of the whole process (all threads), from `/proc`; where the system does not tell, they are absent.

use std::io::{IsTerminal, Write};
use std::time::Instant;

use serde::Serialize;

use crate::process::ProcessUsage;

/// One JSON line.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Case {
    pub query: String,
    /// Rows fed in; for Nexmark the events of all three streams, as everybody counts them.
    pub events: u64,
    /// From the first row handed over until the last is in the result.
    pub seconds: f64,
    pub events_per_second: f64,
    /// User and system time of all threads but the generator's.
    pub cpu_seconds: Option<f64>,
    pub events_per_cpu_second: Option<f64>,
    /// The highest resident size while the case ran, input data included.
    pub peak_memory_bytes: Option<u64>,
    /// Time that making the input took, which is in none of the figures above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub microseconds_per_epoch: Option<f64>,
    /// Rows of the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_out: Option<u64>,
}

/// A stretch of time and what the process used in it.
pub struct Measured {
    pub seconds: f64,
    pub cpu_seconds: Option<f64>,
    pub peak_memory_bytes: Option<u64>,
}

/// Measures from its start on.
pub struct Meter {
    began: Instant,
    cpu_seconds: Option<f64>,
}

impl Meter {
    pub fn start() -> Meter {
        // Linux sets the peak back to the present size; elsewhere it is the peak since the process began.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        Meter { cpu_seconds: ProcessUsage::now().cpu_seconds, began: Instant::now() }
    }

    /// Since the start.
    pub fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    pub fn stop(self) -> Measured {
        let seconds = self.began.elapsed().as_secs_f64();
        let usage = ProcessUsage::now();
        Measured {
            seconds,
            cpu_seconds: usage.cpu_seconds.zip(self.cpu_seconds).map(|(now, then)| now - then),
            peak_memory_bytes: usage.resident_peak_bytes,
        }
    }
}

impl Case {
    /// `generator_cpu_seconds`: what of the measured CPU time made the input.
    pub fn new(query: &str, events: u64, measured: Measured, generator_cpu_seconds: f64) -> Case {
        let cpu_seconds =
            measured.cpu_seconds.map(|s| rounded((s - generator_cpu_seconds).max(0.0), 2));
        Case {
            query: query.to_owned(),
            events,
            seconds: rounded(measured.seconds, 6),
            events_per_second: rounded(events as f64 / measured.seconds.max(1e-9), 0),
            cpu_seconds,
            // Below the kernel's tick of 10 ms there is nothing to divide by.
            events_per_cpu_second: cpu_seconds
                .filter(|s| *s > 0.0)
                .map(|s| rounded(events as f64 / s, 0)),
            peak_memory_bytes: measured.peak_memory_bytes,
            ..Case::default()
        }
    }
}

/// Shows cases as they come and hands out the JSON lines.
pub struct Report {
    cases: Vec<Case>,
    /// JSON lines between a table's rows would be unreadable: on a terminal they wait until the end.
    deferred: bool,
}

impl Report {
    /// Begins the table on standard error.
    pub fn begin(title: &str) -> Report {
        eprintln!("{title}\n");
        eprintln!(
            "{:<28} {:>12} {:>9} {:>13} {:>13} {:>10} {:>11}",
            "case", "events", "seconds", "events/s", "per cpu s", "peak MiB", "generator s"
        );
        Report { cases: vec![], deferred: std::io::stdout().is_terminal() }
    }

    pub fn add(&mut self, case: Case) {
        let optional = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let latency = case.microseconds_per_epoch.map(|us| format!("  {us:.1} us per epoch"));
        eprintln!(
            "{:<28} {:>12} {:>9.3} {:>13} {:>13} {:>10} {:>11}{}",
            case.query,
            case.events,
            case.seconds,
            short(case.events_per_second),
            optional(case.events_per_cpu_second.map(short)),
            optional(case.peak_memory_bytes.map(|bytes| (bytes >> 20).to_string())),
            optional(case.generator_seconds.map(|s| format!("{s:.2}"))),
            latency.unwrap_or_default(),
        );
        if !self.deferred {
            print_json(&case);
        }
        self.cases.push(case);
    }

    /// A line about something that was not measured.
    pub fn skip(&self, query: &str, reason: &str) {
        eprintln!("{query:<28} {reason}");
    }

    /// A report that prints no JSON.
    #[cfg(test)]
    pub fn quiet() -> Report {
        Report { cases: vec![], deferred: true }
    }

    #[cfg(test)]
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    pub fn end(self) {
        eprintln!();
        if self.deferred {
            self.cases.iter().for_each(print_json);
        }
    }
}

/// Digits that mean nothing are noise to whoever compares runs.
pub fn rounded(value: f64, digits: i32) -> f64 {
    let unit = 10f64.powi(digits);
    (value * unit).round() / unit
}

/// A number as people compare it: `12.3 M`.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{:.2} M", v / 1e6),
        v if v >= 1e3 => format!("{:.1} k", v / 1e3),
        v => format!("{v:.0}"),
    }
}

fn print_json(case: &Case) {
    let mut out = std::io::stdout().lock();
    let line = serde_json::to_string(case).expect("numbers and text have a JSON form");
    // Nobody listening is no reason to stop: the table goes on.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_has_the_documented_fields_and_leaves_the_generator_out_of_cpu_time() {
        let measured =
            Measured { seconds: 2.0, cpu_seconds: Some(3.0), peak_memory_bytes: Some(1 << 20) };
        let case = Case::new("q0", 1000, measured, 1.0);
        let json: serde_json::Value = serde_json::to_value(&case).unwrap();
        assert_eq!(json["query"], "q0");
        assert_eq!(json["events_per_second"], 500.0);
        assert_eq!(json["cpu_seconds"], 2.0);
        assert_eq!(json["events_per_cpu_second"], 500.0);
        assert_eq!(json["peak_memory_bytes"], 1 << 20);
        assert!(json.get("microseconds_per_epoch").is_none());
    }

    #[test]
    fn numbers_are_shortened_for_the_table() {
        assert_eq!(
            [short(12_345_678.0), short(4_321.0), short(7.0)],
            ["12.35 M", "4.3 k", "7"].map(str::to_owned)
        );
    }
}
