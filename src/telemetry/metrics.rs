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
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::telemetry::log;
use crate::timestamp::Timestamp;

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
    certificate_expiry: Family<Certificate, Gauge>,
    closed: Family<ClosedOn, Counter>,
}

/// Why the server closed a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Another connection needed its place.
    Connections,
    /// Another connection needed its file descriptor.
    Descriptors,
    /// Its unfinished calls held the most memory when there was no more.
    Memory,
    /// Its peer did not say in time what it wants.
    Silent,
    /// Its peer did not take an answer in time.
    Untaken,
    /// It was asked to be opened anew long ago.
    Age,
}

impl Closed {
    /// The label in metrics and in the log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Descriptors => "descriptors",
            Self::Memory => "memory",
            Self::Silent => "silent",
            Self::Untaken => "untaken",
            Self::Age => "age",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Certificate {
    certificate: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClosedOn {
    port: &'static str,
    reason: &'static str,
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
            certificate_expiry: Family::default(),
            closed: Family::default(),
        };
        let Self {
            requests, latencies, decision_panics, certificate_errors, certificate_expiry, closed, ..
        } = metrics.clone();
        registry.register("requests", "RPCs answered, by method and status code", requests);
        registry.register("request_duration_seconds", "Time to answer an RPC; streams: to open", latencies);
        registry.register("decision_panics", "Decisions that panicked, which is a bug", decision_panics);
        registry.register(
            "certificate_errors",
            "Changed certificates that were not usable",
            certificate_errors,
        );
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When the certificate in use expires",
            certificate_expiry,
        );
        registry.register(
            "connections_closed",
            "Connections that the server closed, by port and reason",
            closed,
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

    /// Says when a certificate expires.
    pub fn certificate_expires(&self, certificate: &'static str, at: Timestamp) {
        let seconds = i64::try_from(at.as_millis() / 1000).unwrap_or(i64::MAX);
        self.certificate_expiry.get_or_create(&Certificate { certificate }).set(seconds);
    }

    /// Counts a connection that the server closed.
    pub fn closed(&self, port: &'static str, why: Closed) {
        self.closed.get_or_create(&ClosedOn { port, reason: why.label() }).inc();
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
