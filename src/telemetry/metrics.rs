//! Prometheus metrics. The registry is handed in; labels come from closed sets and from names
//! that users gave, never from error texts.

pub(super) mod limits;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::telemetry::log;

/// Begins the name of every metric.
pub const PREFIX: &str = "agent_scaler";

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
    /// Metrics that count into `registry`, and name nothing that users named.
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
        let Self { requests, latencies, decision_panics, certificate_errors, .. } = metrics.clone();
        registry.register("requests", "RPCs answered, by method and status code", requests);
        registry.register("request_duration_seconds", "Time to answer an RPC; streams: to open", latencies);
        registry.register("decision_panics", "Decisions that panicked, which is a bug", decision_panics);
        registry.register(
            "certificate_errors",
            "Changed certificates that were not usable",
            certificate_errors,
        );
        registry.register_collector(Box::new(LogMetrics));
        metrics
    }

    /// The metrics that name connections, in a registry of their own.
    pub fn register_named(&self, registry: &mut Registry) {
        let Self { reads, read_errors, read_latencies, .. } = self.clone();
        registry.register("connection_reads", "Batches read", reads);
        registry.register("connection_read_errors", "Queues that could not be read", read_errors);
        registry.register("connection_read_duration_seconds", "Time to read a batch", read_latencies);
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
