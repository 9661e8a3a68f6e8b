//! Prometheus metrics. Labels come from closed sets, never from what callers send.

use std::fmt;
use std::time::Duration;

use agent_scaler::clock::{Clock as _, SystemClock};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::pressure::Bounds;
use crate::watch::Watched;

/// Upper bounds of the latencies, in seconds: a script of Redis takes a millisecond, its deadline is at two seconds.
const LATENCIES: [f64; 11] = [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

/// What the API counts.
#[derive(Clone)]
pub(crate) struct Metrics {
    requests: Family<Request, Counter>,
    latencies: Family<Route, Histogram, fn() -> Histogram>,
    /// New tasks, which idempotent repetitions are not.
    pub(crate) enqueued: Counter,
    enqueue_errors: Family<Kind, Counter>,
    rejected: Family<Reason, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: &'static str,
    route: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

impl Metrics {
    /// Metrics that count into `registry`, beside what the watcher sees.
    pub(crate) fn register(registry: &mut Registry, looks: Looks) -> Self {
        let metrics = Self {
            requests: Family::default(),
            latencies: Family::new_with_constructor(|| Histogram::new(LATENCIES)),
            enqueued: Counter::default(),
            enqueue_errors: Family::default(),
            rejected: Family::default(),
        };
        let Self { requests, latencies, enqueued, enqueue_errors, rejected } = metrics.clone();
        registry.register("requests", "Requests answered, by method, route and status", requests);
        registry.register("request_duration_seconds", "Time to answer a request", latencies);
        registry.register("tasks_enqueued", "New tasks", enqueued);
        registry.register("enqueue_errors", "Tasks that Redis gave no answer to, by kind", enqueue_errors);
        registry.register("rejected", "Tasks that were not taken in, by reason", rejected);
        registry.register_collector(Box::new(looks));
        metrics
    }

    /// Counts one answer.
    pub(crate) fn request(&self, method: &'static str, route: &'static str, status: u16, took: Duration) {
        self.requests.get_or_create(&Request { method, route, status }).inc();
        self.latencies.get_or_create(&Route { route }).observe(took.as_secs_f64());
    }

    /// Counts a task that Redis gave no answer to.
    pub(crate) fn enqueue_error(&self, kind: &'static str) {
        self.enqueue_errors.get_or_create(&Kind { kind }).inc();
    }

    /// Counts a task that was not taken in.
    pub(crate) fn rejected(&self, reason: &'static str) {
        self.rejected.get_or_create(&Reason { reason }).inc();
    }
}

/// Shows the last look, while it says something of the present.
pub(crate) struct Looks {
    pub(crate) watched: watch::Receiver<Watched>,
    pub(crate) bounds: Bounds,
    pub(crate) clock: std::sync::Arc<SystemClock>,
}

impl fmt::Debug for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Looks")
    }
}

impl Collector for Looks {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let watched = self.watched.borrow().clone();
        let seen = watched.seen();
        let mut gauge = |name: &str, help: &str, value: Option<f64>| {
            let Some(value) = value else { return Ok(()) };
            let family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(family)
        };
        let up = Some(if watched.ready() { 1.0 } else { 0.0 });
        gauge("redis_up", "Whether Redis answered within the last seconds", up)?;
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        let backlog = seen.and_then(|seen| seen.backlog).map(|backlog| backlog as f64);
        gauge("backlog", "Tasks that wait; absent while not known", backlog)?;
        let oldest = seen.and_then(|seen| seen.oldest).map(|oldest| oldest.as_secs_f64());
        gauge(
            "oldest_wait_seconds",
            "Time that the oldest of them has waited; absent while not known",
            oldest,
        )?;
        let used = seen.and_then(|seen| seen.use_of_limit(self.bounds, watched.now(self.clock.now())));
        let help = "Use of the fullest dimension of the limit, as a part of it; absent while not known";
        gauge("limit_used_ratio", help, used)?;
        let help = "Looks at the queue and the limit that failed";
        let family = encoder.encode_descriptor("look_failures", help, None, MetricType::Counter)?;
        prometheus_client::metrics::counter::ConstCounter::new(watched.failures).encode(family)
    }
}
