//! What the server counts about itself, and its rendering as Prometheus text.
//!
//! Owns the names of all series. Whoever counts asks once for a handle ([`SourceMetrics`], [`ViewMetrics`] ...) and keeps
//! it: counting is then one atomic addition, without a lookup or a lock. Series of a dropped object are removed by name;
//! handles still held go on counting into nothing. Figures that somebody else keeps (the process, the memory account) are
//! read when asked for. Metrics never steer anything: what decides has figures of its own.

use std::sync::Arc;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Counter, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::memory::{Holder, MemoryAccount, Pressure};
use crate::process::ProcessUsage;

/// From an idle one-row epoch (tens of microseconds) to one that is badly behind, in seconds.
const EPOCH_BUCKETS_SECONDS: [f64; 14] = [
    25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 50e-3, 100e-3, 500e-3, 2.5,
    10.0,
];
/// From a lookup by key to a report, in seconds.
const QUERY_BUCKETS_SECONDS: [f64; 12] =
    [100e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 50e-3, 100e-3, 500e-3, 2.5, 10.0, 60.0];

/// All series of one server.
pub struct Metrics {
    registry: Registry,
    memory: Arc<MemoryAccount>,
    sources: SourceSeries,
    views: ViewSeries,
    tables: TableSeries,
    sinks: SinkSeries,
    arrangement_bytes: IntGaugeVec,
    arrangement_rows: IntGaugeVec,
    dead_letters: IntCounterVec,
    dead_letters_standing: IntGaugeVec,
    query_errors: IntCounterVec,
    query_seconds: Histogram,
    pub sessions: SessionMetrics,
    pub subscriptions: SubscriptionMetrics,
    pub epochs: EpochMetrics,
}

/// One source's counters.
#[derive(Clone, Debug)]
pub struct SourceMetrics {
    /// Rows taken in.
    pub rows: IntCounter,
    /// Bytes of the messages as they came.
    pub bytes: IntCounter,
    /// Messages between the position read and the end of the splits; the connector's unit of offsets.
    pub lag: IntGauge,
    /// Failures of the connector: broker down, authentication, data loss. Bad messages are dead letters instead.
    pub errors: IntCounter,
    states: [IntGauge; SourceState::ALL.len()],
}

/// What a source is doing, as SHOW SOURCES says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceState {
    Running,
    /// Held back by a dataflow that is behind or by the memory limit.
    Paused,
    /// The outside fails; tried again with backoff.
    Retrying,
    /// Stopped by `on_error = 'fail'` or by an error that retrying does not cure.
    Failed,
    /// Nobody reads it.
    Idle,
}

impl SourceState {
    pub const ALL: [SourceState; 5] = [
        SourceState::Running,
        SourceState::Paused,
        SourceState::Retrying,
        SourceState::Failed,
        SourceState::Idle,
    ];

    pub fn name(self) -> &'static str {
        match self {
            SourceState::Running => "running",
            SourceState::Paused => "paused",
            SourceState::Retrying => "retrying",
            SourceState::Failed => "failed",
            SourceState::Idle => "idle",
        }
    }
}

impl SourceMetrics {
    pub fn set_state(&self, state: SourceState) {
        for (candidate, gauge) in SourceState::ALL.iter().zip(&self.states) {
            gauge.set(i64::from(*candidate == state));
        }
    }
}

/// One materialized view's counters.
#[derive(Clone, Debug)]
pub struct ViewMetrics {
    /// Changes that reached the view's dataflow.
    pub rows_in: IntCounter,
    /// Changes of its result.
    pub rows_out: IntCounter,
    /// From the closing of an epoch to the moment the view shows it, in seconds.
    pub epoch_seconds: Histogram,
    /// State of the view's operators and its live table.
    pub state_bytes: IntGauge,
    pub state_rows: IntGauge,
    /// 1 when the view failed and reads of it raise.
    pub failed: IntGauge,
}

/// One table's counters.
#[derive(Clone, Debug)]
pub struct TableMetrics {
    /// Changes written by DML or by its connector.
    pub rows_in: IntCounter,
    pub state_bytes: IntGauge,
    pub state_rows: IntGauge,
}

/// One sink's counters.
#[derive(Clone, Debug)]
pub struct SinkMetrics {
    /// Messages acknowledged, and their bytes.
    pub messages: IntCounter,
    pub bytes: IntCounter,
    /// Deliveries that failed.
    pub errors: IntCounter,
    pub owed_rows: IntGauge,
    pub lag_epochs: IntGauge,
    /// 1 while nothing is wrong.
    pub running: IntGauge,
}

/// Rows of one object that could not be decoded or evaluated.
#[derive(Clone, Debug)]
pub struct DeadLetterMetrics {
    /// Ever written.
    pub written: IntCounter,
    /// Standing now: written and not retracted.
    pub standing: IntGauge,
}

/// Clients' connections.
#[derive(Clone, Debug)]
pub struct SessionMetrics {
    pub open: IntGauge,
    pub opened: IntCounter,
    /// Connections refused or failed before a session began.
    pub refused: IntCounter,
}

/// Changes on their way to clients that have subscribed.
#[derive(Clone, Debug)]
pub struct SubscriptionMetrics {
    pub open: IntGauge,
    /// Rows handed over.
    pub rows: IntCounter,
    /// Subscriptions ended because their client was too slow or memory was short.
    pub cut_off: IntCounter,
}

impl SubscriptionMetrics {
    fn new(make: &Maker<'_>) -> SubscriptionMetrics {
        SubscriptionMetrics {
            open: make.gauge("tidewater_subscriptions", "Subscriptions open"),
            rows: make.counter("tidewater_subscription_rows_total", "Rows handed to subscriptions"),
            cut_off: make.counter(
                "tidewater_subscriptions_cut_off_total",
                "Subscriptions ended because their client was too slow or memory was short",
            ),
        }
    }
}

/// Logical time.
#[derive(Clone, Debug)]
pub struct EpochMetrics {
    /// The newest epoch that reads see.
    pub current: IntGauge,
    pub closed: IntCounter,
    pub in_flight: IntGauge,
    /// From the opening of an epoch to the moment that all views show it, in seconds.
    pub seconds: Histogram,
}

impl Metrics {
    /// No object has series yet. `memory` is asked at each rendering.
    pub fn new(memory: Arc<MemoryAccount>) -> Arc<Metrics> {
        let registry = Registry::new();
        let make = Maker { registry: &registry };
        let metrics = Metrics {
            sources: SourceSeries::new(&make),
            views: ViewSeries::new(&make),
            tables: TableSeries::new(&make),
            sinks: SinkSeries::new(&make),
            arrangement_bytes: make.gauges(
                "tidewater_arrangement_state_bytes",
                "Memory of rows kept by other columns than their object's key",
                &["arrangement"],
            ),
            arrangement_rows: make.gauges(
                "tidewater_arrangement_state_rows",
                "Rows kept by other columns than their object's key",
                &["arrangement"],
            ),
            dead_letters: make.counters(
                "tidewater_dead_letters_total",
                "Rows that could not be decoded or evaluated, ever",
                &["object"],
            ),
            dead_letters_standing: make.gauges(
                "tidewater_dead_letters",
                "Rows that could not be decoded or evaluated, standing now",
                &["object"],
            ),
            query_errors: make.counters(
                "tidewater_query_errors_total",
                "Statements that failed, by SQLSTATE",
                &["sqlstate"],
            ),
            query_seconds: make.histogram(
                "tidewater_query_seconds",
                "Time from a statement's arrival to its last row",
                &QUERY_BUCKETS_SECONDS,
            ),
            sessions: SessionMetrics {
                open: make.gauge("tidewater_sessions", "Sessions open"),
                opened: make.counter("tidewater_sessions_opened_total", "Sessions opened"),
                refused: make.counter(
                    "tidewater_sessions_refused_total",
                    "Connections refused before a session began",
                ),
            },
            subscriptions: SubscriptionMetrics::new(&make),
            epochs: EpochMetrics {
                current: make.gauge("tidewater_epoch", "Newest epoch that reads see"),
                closed: make.counter("tidewater_epochs_total", "Epochs closed"),
                in_flight: make.gauge("tidewater_epochs_in_flight", "Epochs not yet shown"),
                seconds: make.histogram(
                    "tidewater_epoch_seconds",
                    "Time from an epoch's opening until all views show it",
                    &EPOCH_BUCKETS_SECONDS,
                ),
            },
            memory,
            registry: registry.clone(),
        };
        Arc::new(metrics)
    }

    /// The series of a source, made at the first call for its name.
    pub fn source(&self, name: &str) -> SourceMetrics {
        self.sources.of(name)
    }

    /// The series of a materialized view, made at the first call for its name.
    pub fn view(&self, name: &str) -> ViewMetrics {
        self.views.of(name)
    }

    /// The series of a table, made at the first call for its name.
    pub fn table(&self, name: &str) -> TableMetrics {
        self.tables.of(name)
    }

    /// The series of a sink, made at the first call for its name.
    pub fn sink(&self, name: &str) -> SinkMetrics {
        self.sinks.of(name)
    }

    /// What an arrangement beside an object's own holds.
    pub fn arrangement(&self, name: &str, bytes: i64, rows: i64) {
        self.arrangement_bytes.with_label_values(&[name]).set(bytes);
        self.arrangement_rows.with_label_values(&[name]).set(rows);
    }

    /// Dead letters of an object; its series are made at the first call, so ask only when there is one.
    pub fn dead_letters(&self, object: &str) -> DeadLetterMetrics {
        DeadLetterMetrics {
            written: self.dead_letters.with_label_values(&[object]),
            standing: self.dead_letters_standing.with_label_values(&[object]),
        }
    }

    /// Forgets all series of a dropped source, view or table. An object without series is no error.
    pub fn remove(&self, name: &str) {
        self.sources.remove(name);
        self.views.remove(name);
        self.tables.remove(name);
        self.sinks.remove(name);
        let _ = self.arrangement_bytes.remove_label_values(&[name]);
        let _ = self.arrangement_rows.remove_label_values(&[name]);
        // The only failure is that there are no such series: the object never had a dead letter.
        let _ = self.dead_letters.remove_label_values(&[name]);
        let _ = self.dead_letters_standing.remove_label_values(&[name]);
    }

    /// Counts a finished statement; `sqlstate` is that of its error.
    pub fn query_finished(&self, took: Duration, sqlstate: Option<&str>) {
        self.query_seconds.observe(took.as_secs_f64());
        if let Some(sqlstate) = sqlstate {
            self.query_errors.with_label_values(&[sqlstate]).inc();
        }
    }

    /// Everything in Prometheus' text format, version 0.0.4.
    pub fn render(&self) -> String {
        let mut families = self.registry.gather();
        families.extend(self.memory_families());
        families.extend(process_families(&ProcessUsage::now()));
        TextEncoder::new().encode_to_string(&families).expect("families come from collectors")
    }

    fn memory_families(&self) -> Vec<MetricFamily> {
        let used = IntGaugeVec::new(
            Opts::new("tidewater_memory_used_bytes", "The memory account, by holder"),
            &["holder"],
        )
        .expect("a constant name");
        for holder in Holder::ALL {
            used.with_label_values(&[holder.name()]).set(self.memory.used_by(holder) as i64);
        }
        let pressure = match self.memory.pressure() {
            Pressure::None => 0,
            Pressure::PauseSources => 1,
            Pressure::RefuseWrites => 2,
        };
        [
            used.collect(),
            read_gauge("tidewater_memory_limit_bytes", "The memory limit", self.memory.limit()),
            read_gauge(
                "tidewater_memory_pressure",
                "0 none, 1 sources are paused, 2 writes are refused",
                pressure,
            ),
        ]
        .concat()
    }
}

/// Under the names that every Prometheus client gives them.
fn process_families(usage: &ProcessUsage) -> Vec<MetricFamily> {
    let gauge = |name, help, value: Option<u64>| value.map(|value| read_gauge(name, help, value));
    let cpu = usage.cpu_seconds.map(|seconds| {
        let counter =
            Counter::new("process_cpu_seconds_total", "User and system CPU time of the process")
                .expect("a constant name");
        counter.inc_by(seconds);
        counter.collect()
    });
    let gauges = [
        gauge("process_resident_memory_bytes", "Resident memory", usage.resident_bytes),
        gauge(
            "process_resident_memory_peak_bytes",
            "Highest resident memory",
            usage.resident_peak_bytes,
        ),
        gauge("process_virtual_memory_bytes", "Virtual memory", usage.virtual_bytes),
        gauge("process_open_fds", "Open files and sockets", usage.open_files),
    ];
    gauges.into_iter().chain([cpu]).flatten().flatten().collect()
}

/// A gauge whose value is known only now.
fn read_gauge(name: &str, help: &str, value: u64) -> Vec<MetricFamily> {
    let gauge = IntGauge::new(name, help).expect("a constant name");
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    gauge.collect()
}

struct SourceSeries {
    rows: IntCounterVec,
    bytes: IntCounterVec,
    lag: IntGaugeVec,
    errors: IntCounterVec,
    state: IntGaugeVec,
}

impl SourceSeries {
    fn new(make: &Maker) -> SourceSeries {
        let label = ["source"];
        SourceSeries {
            rows: make.counters("tidewater_source_rows_total", "Rows taken in", &label),
            bytes: make.counters("tidewater_source_bytes_total", "Bytes taken in", &label),
            lag: make.gauges("tidewater_source_lag", "Messages not yet read", &label),
            errors: make.counters(
                "tidewater_source_errors_total",
                "Failures of the connection to the source",
                &label,
            ),
            state: make.gauges(
                "tidewater_source_state",
                "1 for the state that the source is in",
                &["source", "state"],
            ),
        }
    }

    fn of(&self, name: &str) -> SourceMetrics {
        let state = |s: SourceState| self.state.with_label_values(&[name, s.name()]);
        SourceMetrics {
            rows: self.rows.with_label_values(&[name]),
            bytes: self.bytes.with_label_values(&[name]),
            lag: self.lag.with_label_values(&[name]),
            errors: self.errors.with_label_values(&[name]),
            states: SourceState::ALL.map(state),
        }
    }

    fn remove(&self, name: &str) {
        let _ = self.rows.remove_label_values(&[name]);
        let _ = self.bytes.remove_label_values(&[name]);
        let _ = self.lag.remove_label_values(&[name]);
        let _ = self.errors.remove_label_values(&[name]);
        for state in SourceState::ALL {
            let _ = self.state.remove_label_values(&[name, state.name()]);
        }
    }
}

struct ViewSeries {
    rows_in: IntCounterVec,
    rows_out: IntCounterVec,
    epoch_seconds: HistogramVec,
    state_bytes: IntGaugeVec,
    state_rows: IntGaugeVec,
    failed: IntGaugeVec,
}

impl ViewSeries {
    fn new(make: &Maker) -> ViewSeries {
        let label = ["view"];
        ViewSeries {
            rows_in: make.counters(
                "tidewater_view_rows_in_total",
                "Changes that reached the view",
                &label,
            ),
            rows_out: make.counters(
                "tidewater_view_rows_out_total",
                "Changes of the view's result",
                &label,
            ),
            epoch_seconds: make.histograms(
                "tidewater_view_epoch_seconds",
                "Time from an epoch's closing until the view shows it",
                &label,
                &EPOCH_BUCKETS_SECONDS,
            ),
            state_bytes: make.gauges("tidewater_view_state_bytes", "The view's state", &label),
            state_rows: make.gauges(
                "tidewater_view_state_rows",
                "Rows in the view's state",
                &label,
            ),
            failed: make.gauges("tidewater_view_failed", "1 when reads of the view raise", &label),
        }
    }

    fn of(&self, name: &str) -> ViewMetrics {
        ViewMetrics {
            rows_in: self.rows_in.with_label_values(&[name]),
            rows_out: self.rows_out.with_label_values(&[name]),
            epoch_seconds: self.epoch_seconds.with_label_values(&[name]),
            state_bytes: self.state_bytes.with_label_values(&[name]),
            state_rows: self.state_rows.with_label_values(&[name]),
            failed: self.failed.with_label_values(&[name]),
        }
    }

    fn remove(&self, name: &str) {
        let _ = self.rows_in.remove_label_values(&[name]);
        let _ = self.rows_out.remove_label_values(&[name]);
        let _ = self.epoch_seconds.remove_label_values(&[name]);
        let _ = self.state_bytes.remove_label_values(&[name]);
        let _ = self.state_rows.remove_label_values(&[name]);
        let _ = self.failed.remove_label_values(&[name]);
    }
}

struct SinkSeries {
    messages: IntCounterVec,
    bytes: IntCounterVec,
    errors: IntCounterVec,
    owed_rows: IntGaugeVec,
    lag_epochs: IntGaugeVec,
    running: IntGaugeVec,
}

impl SinkSeries {
    fn new(make: &Maker) -> SinkSeries {
        let label = ["sink"];
        SinkSeries {
            messages: make.counters(
                "tidewater_sink_messages_total",
                "Messages acknowledged",
                &label,
            ),
            bytes: make.counters("tidewater_sink_bytes_total", "Bytes acknowledged", &label),
            errors: make.counters("tidewater_sink_errors_total", "Deliveries that failed", &label),
            owed_rows: make.gauges("tidewater_sink_owed_rows", "Changes not acknowledged", &label),
            lag_epochs: make.gauges("tidewater_sink_lag_epochs", "Epochs not acknowledged", &label),
            running: make.gauges("tidewater_sink_running", "1 while the sink delivers", &label),
        }
    }

    fn of(&self, name: &str) -> SinkMetrics {
        SinkMetrics {
            messages: self.messages.with_label_values(&[name]),
            bytes: self.bytes.with_label_values(&[name]),
            errors: self.errors.with_label_values(&[name]),
            owed_rows: self.owed_rows.with_label_values(&[name]),
            lag_epochs: self.lag_epochs.with_label_values(&[name]),
            running: self.running.with_label_values(&[name]),
        }
    }

    fn remove(&self, name: &str) {
        let _ = self.messages.remove_label_values(&[name]);
        let _ = self.bytes.remove_label_values(&[name]);
        let _ = self.errors.remove_label_values(&[name]);
        let _ = self.owed_rows.remove_label_values(&[name]);
        let _ = self.lag_epochs.remove_label_values(&[name]);
        let _ = self.running.remove_label_values(&[name]);
    }
}

struct TableSeries {
    rows_in: IntCounterVec,
    state_bytes: IntGaugeVec,
    state_rows: IntGaugeVec,
}

impl TableSeries {
    fn new(make: &Maker) -> TableSeries {
        let label = ["table"];
        TableSeries {
            rows_in: make.counters(
                "tidewater_table_rows_in_total",
                "Changes written to the table",
                &label,
            ),
            state_bytes: make.gauges("tidewater_table_state_bytes", "The table's memory", &label),
            state_rows: make.gauges("tidewater_table_state_rows", "The table's rows", &label),
        }
    }

    fn of(&self, name: &str) -> TableMetrics {
        TableMetrics {
            rows_in: self.rows_in.with_label_values(&[name]),
            state_bytes: self.state_bytes.with_label_values(&[name]),
            state_rows: self.state_rows.with_label_values(&[name]),
        }
    }

    fn remove(&self, name: &str) {
        let _ = self.rows_in.remove_label_values(&[name]);
        let _ = self.state_bytes.remove_label_values(&[name]);
        let _ = self.state_rows.remove_label_values(&[name]);
    }
}

/// Makes series and registers them. Names are constants of this file, so neither can fail except by a slip that the
/// first test shows.
struct Maker<'a> {
    registry: &'a Registry,
}

impl Maker<'_> {
    fn register<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let made = made.expect("a constant, valid name");
        self.registry.register(Box::new(made.clone())).expect("a name used once");
        made
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register(Histogram::with_opts(opts))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register(HistogramVec::new(opts, labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Arc<Metrics> {
        Metrics::new(MemoryAccount::new(1 << 30))
    }

    #[track_caller]
    fn has_line(text: &str, line: &str) {
        assert!(text.lines().any(|l| l == line), "no line {line:?} in\n{text}");
    }

    #[test]
    fn what_a_source_counts_is_rendered_under_its_name() {
        let metrics = metrics();
        let bid = metrics.source("public.bid");
        bid.rows.inc_by(3);
        bid.bytes.inc_by(690);
        bid.lag.set(7);
        bid.set_state(SourceState::Running);
        bid.set_state(SourceState::Retrying);
        let text = metrics.render();
        has_line(&text, "tidewater_source_rows_total{source=\"public.bid\"} 3");
        has_line(&text, "tidewater_source_bytes_total{source=\"public.bid\"} 690");
        has_line(&text, "tidewater_source_lag{source=\"public.bid\"} 7");
        has_line(&text, "tidewater_source_state{source=\"public.bid\",state=\"running\"} 0");
        has_line(&text, "tidewater_source_state{source=\"public.bid\",state=\"retrying\"} 1");
        has_line(&text, "# TYPE tidewater_source_rows_total counter");
    }

    #[test]
    fn handles_of_one_name_count_together() {
        let metrics = metrics();
        metrics.view("m").rows_in.inc_by(2);
        metrics.view("m").rows_in.inc_by(3);
        metrics.view("m").epoch_seconds.observe(0.002);
        let text = metrics.render();
        has_line(&text, "tidewater_view_rows_in_total{view=\"m\"} 5");
        has_line(&text, "tidewater_view_epoch_seconds_bucket{view=\"m\",le=\"0.0025\"} 1");
        has_line(&text, "tidewater_view_epoch_seconds_bucket{view=\"m\",le=\"0.001\"} 0");
    }

    #[test]
    fn a_dropped_object_leaves_no_series_and_comes_back_at_zero() {
        let metrics = metrics();
        let old = metrics.view("m");
        old.rows_out.inc();
        metrics.table("m").state_rows.set(4);
        metrics.source("m").set_state(SourceState::Running);
        metrics.dead_letters("m").written.inc();
        metrics.remove("m");
        metrics.remove("never seen");
        old.rows_out.inc();
        assert!(!metrics.render().contains("\"m\""), "{}", metrics.render());
        metrics.view("m");
        has_line(&metrics.render(), "tidewater_view_rows_out_total{view=\"m\"} 0");
    }

    #[test]
    fn names_that_need_quoting_stay_one_label() {
        let metrics = metrics();
        metrics.dead_letters("we\"ird\\na\nme").standing.set(1);
        has_line(&metrics.render(), r#"tidewater_dead_letters{object="we\"ird\\na\nme"} 1"#);
    }

    #[test]
    fn queries_memory_and_process_are_there() {
        let metrics = metrics();
        metrics.memory.reserve(Holder::Session, "s").set(0);
        let table = metrics.memory.reserve(Holder::Arrangement, "t");
        table.grow(1 << 20);
        metrics.query_finished(Duration::from_millis(3), None);
        metrics.query_finished(Duration::from_millis(3), Some("22012"));
        let text = metrics.render();
        has_line(&text, "tidewater_query_seconds_count 2");
        has_line(&text, "tidewater_query_errors_total{sqlstate=\"22012\"} 1");
        has_line(&text, "tidewater_memory_used_bytes{holder=\"arrangements\"} 1048576");
        has_line(&text, "tidewater_memory_limit_bytes 1073741824");
        has_line(&text, "tidewater_memory_pressure 0");
        if cfg!(target_os = "linux") {
            assert!(text.contains("process_resident_memory_bytes "), "{text}");
            assert!(text.contains("process_cpu_seconds_total "), "{text}");
        }
    }
}
