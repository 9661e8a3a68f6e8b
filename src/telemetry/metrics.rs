//! Prometheus metrics. The registry is handed in; labels come from closed sets and from names
//! that users gave, never from error texts.

mod limits;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::engine::decision::Answer;
use crate::engine::limit::share::Bound;
use crate::telemetry::log;
use crate::telemetry::report::Report;
use crate::timestamp::Timestamp;

/// Upper bounds of the latency histograms, in seconds: the bars are at 5 ms and 50 ms, a read's deadline at 4 s.
const LATENCIES: [f64; 10] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 0.5, 1.0, 4.0];

/// What the server counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: Family<Request, Counter>,
    latencies: Family<Method, Histogram, fn() -> Histogram>,
    reads: Family<Backend, Counter>,
    read_errors: Family<BackendError, Counter>,
    read_latencies: Family<Backend, Histogram, fn() -> Histogram>,
    /// Decisions that panicked, each of which leaves its trigger stale.
    pub decision_panics: Counter,
    /// Certificates that changed on disk and could not be used.
    pub certificate_errors: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Method {
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Backend {
    connection: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BackendError {
    connection: Arc<str>,
    kind: &'static str,
}

fn latencies() -> Histogram {
    Histogram::new(LATENCIES)
}

impl Metrics {
    /// Metrics that count into `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            latencies: Family::new_with_constructor(latencies),
            reads: Family::default(),
            read_errors: Family::default(),
            read_latencies: Family::new_with_constructor(latencies),
            decision_panics: Counter::default(),
            certificate_errors: Counter::default(),
        };
        let Self {
            requests,
            latencies,
            reads,
            read_errors,
            read_latencies,
            decision_panics,
            certificate_errors,
        } = metrics.clone();
        registry.register("requests", "RPCs answered, by method and status code", requests);
        registry.register("request_duration_seconds", "Time to answer an RPC; streams: to open", latencies);
        registry.register("connection_reads", "Batches read", reads);
        registry.register("connection_read_errors", "Queues that could not be read", read_errors);
        registry.register("connection_read_duration_seconds", "Time to read a batch", read_latencies);
        registry.register("decision_panics", "Decisions that panicked, which is a bug", decision_panics);
        registry.register(
            "certificate_errors",
            "Changed certificates that were not usable",
            certificate_errors,
        );
        registry.register_collector(Box::new(LogMetrics));
        metrics
    }

    /// Counts one RPC.
    pub fn request(&self, method: &'static str, code: &'static str, took: Duration) {
        self.requests.get_or_create(&Request { method, code }).inc();
        self.latencies.get_or_create(&Method { method }).observe(took.as_secs_f64());
    }

    /// Counts one batch.
    pub fn read(&self, connection: &Arc<str>, took: Duration) {
        let backend = Backend { connection: Arc::clone(connection) };
        self.reads.get_or_create(&backend).inc();
        self.read_latencies.get_or_create(&backend).observe(took.as_secs_f64());
    }

    /// Counts queues that could not be read.
    pub fn read_errors(&self, connection: &Arc<str>, kind: &'static str, queues: u64) {
        let error = BackendError { connection: Arc::clone(connection), kind };
        self.read_errors.get_or_create(&error).inc_by(queues);
    }
}

/// What the log of this process could not write.
#[derive(Debug)]
struct LogMetrics;

impl Collector for LogMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Log lines that were not written, by reason";
        let mut family = encoder.encode_descriptor("log_lines_dropped", help, None, MetricType::Counter)?;
        for (reason, lines) in log::dropped() {
            let labels = [("reason", reason.label())];
            ConstCounter::new(lines).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// Renders the triggers' metrics when they are asked for, so that a forgotten trigger leaves no series.
pub struct TriggerMetrics {
    /// The last evaluation of each trigger, and the present.
    pub reports: Box<dyn Fn() -> (Vec<Report>, Timestamp) + Send + Sync>,
}

impl fmt::Debug for TriggerMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TriggerMetrics")
    }
}

type Labels<'a> = [(&'static str, &'a str); 3];

impl Collector for TriggerMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (reports, now) = (self.reports)();
        let mut gauge = |name: &str, help: &str, value: &dyn Fn(&Report) -> Option<f64>| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for report in &reports {
                if let Some(value) = value(report) {
                    let labels: Labels<'_> = labels(report);
                    ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
                }
            }
            Ok(())
        };
        let size = |report: &Report| match report.answer(now) {
            Answer::Fresh(size) | Answer::Held(size) => Some(size),
            Answer::Unknown(_) => None,
        };
        let flag = |flag: bool| if flag { 1.0 } else { 0.0 };
        gauge("trigger_replicas", "Useful replicas; absent while not known", &|report| {
            size(report).map(|size| f64::from(size.replicas))
        })?;
        gauge("trigger_active", "Whether KEDA may not go to zero; absent while not known", &|report| {
            size(report).map(|size| flag(size.active))
        })?;
        gauge("trigger_known", "Whether there is an answer", &|report| Some(flag(size(report).is_some())))?;
        gauge("trigger_reading_age_seconds", "Time since the queue was read", &|report| {
            report.age(now).map(|age| age.as_secs_f64())
        })?;
        gauge("trigger_want_slots", "Demand before any rule, F + d(Q + D(L))", &|report| {
            report.decision.want.map(|want| want.slots)
        })?;
        gauge("trigger_limit_cap", "Most replicas that the rate limit feeds", &|report| match &report
            .decision
            .share
            .as_ref()?
            .bound
        {
            Bound::At(cap) => Some(f64::from(cap.replicas)),
            Bound::Open(_) => None,
        })?;
        gauge("trigger_backlog_part", "Part d of the backlog that needs a slot of its own", &|report| {
            report.decision.want.map(|want| want.part)
        })?;
        signals(&mut encoder, &reports)?;
        limited_by(&mut encoder, &reports)?;
        limits::encode(&mut encoder, &reports, now)?;
        let help = "Triggers that are watched";
        let count = encoder.encode_descriptor("triggers", help, None, MetricType::Gauge)?;
        ConstGauge::new(reports.len() as f64).encode(count)
    }
}

fn signals(encoder: &mut DescriptorEncoder<'_>, reports: &[Report]) -> fmt::Result {
    let help = "What was seen of the queue, by signal; absent while not known";
    let mut family = encoder.encode_descriptor("trigger_signal", help, None, MetricType::Gauge)?;
    for report in reports {
        let [namespace, name, trigger] = labels(report);
        for seen in report.seen() {
            let labels = [namespace, name, trigger, ("signal", &*seen.name)];
            ConstGauge::new(seen.value).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn limited_by(encoder: &mut DescriptorEncoder<'_>, reports: &[Report]) -> fmt::Result {
    let help = "1 for the rule that set the number";
    let mut family = encoder.encode_descriptor("trigger_limited_by", help, None, MetricType::Gauge)?;
    for report in reports {
        let [namespace, name, trigger] = labels(report);
        let labels = [namespace, name, trigger, ("reason", report.decision.limited_by.label())];
        ConstGauge::new(1.0).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn labels(report: &Report) -> Labels<'_> {
    [("namespace", &report.namespace), ("name", &report.name), ("trigger", &report.trigger)]
}
