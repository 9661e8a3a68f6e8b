//! Prometheus metrics, under the names that published agents use. Labels never hold a task or an error.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use agent_scaler::engine::minutes::Used;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds in seconds: a task takes up to two hours, a request up to ten minutes.
const TASKS: [f64; 13] =
    [1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 1_800.0, 3_600.0, 5_400.0, 7_200.0];
const REQUESTS: [f64; 10] = [0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0];

/// What the worker counts for Prometheus.
pub(crate) struct Metrics {
    queue: Arc<str>,
    model: Arc<str>,
    tasks: Family<Outcome, Counter>,
    durations: Histogram,
    active: Gauge,
    requests: Family<Outcome, Counter>,
    tokens: Family<Direction, Counter>,
    request_durations: Histogram,
    cost: Counter<f64, AtomicU64>,
    tools: Family<ToolCall, Counter>,
    throttled: Counter<f64, AtomicU64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Direction {
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ToolCall {
    tool: &'static str,
    status: &'static str,
}

impl Metrics {
    pub(crate) fn new(queue: &str, model: &str) -> Self {
        Self {
            queue: queue.into(),
            model: model.into(),
            tasks: Family::default(),
            durations: Histogram::new(TASKS),
            active: Gauge::default(),
            requests: Family::default(),
            tokens: Family::default(),
            request_durations: Histogram::new(REQUESTS),
            cost: Counter::default(),
            tools: Family::default(),
            throttled: Counter::default(),
        }
    }

    /// Everything, with the labels that are the same for all of it.
    pub(crate) fn registry(&self) -> Registry {
        let labels = [("queue", &self.queue), ("model", &self.model)];
        let labels = labels.map(|(name, value)| (name.into(), value.to_string().into()));
        let mut root = Registry::default();
        let registry = root.sub_registry_with_labels(labels.into_iter());
        registry.register("agent_tasks", "Tasks by what became of them", self.tasks.clone());
        registry.register(
            "agent_task_duration_seconds",
            "How long tasks held a slot that ended",
            self.durations.clone(),
        );
        registry.register("agent_active_tasks", "Tasks that run", self.active.clone());
        registry.register("agent_tool_calls", "Calls of tools", self.tools.clone());
        registry.register(
            "agent_throttled_seconds",
            "Time that slots waited for a rate limit",
            self.throttled.clone(),
        );
        registry.register(
            "llm_requests",
            "Requests to the model by what became of them",
            self.requests.clone(),
        );
        registry.register("llm_tokens", "Tokens sent and generated", self.tokens.clone());
        registry.register(
            "llm_request_duration_seconds",
            "How long the model took to answer",
            self.request_durations.clone(),
        );
        registry.register(
            "llm_cost_dollars",
            "Dollars spent, by the prices that were given",
            self.cost.clone(),
        );
        root
    }

    /// A task left its slot: `success`, `failed`, `retried`, `handed_back` or `lost`.
    pub(crate) fn task(&self, status: &'static str) {
        self.tasks.get_or_create(&Outcome { status }).inc();
    }

    /// A task ended after so long in slots.
    pub(crate) fn ended(&self, ran: Duration) {
        self.durations.observe(ran.as_secs_f64());
    }

    pub(crate) fn active(&self, tasks: usize) {
        self.active.set(i64::try_from(tasks).unwrap_or(i64::MAX));
    }

    /// A request ended: `success`, `rate_limited`, or `error`.
    pub(crate) fn request(&self, status: &'static str, took: Duration) {
        self.requests.get_or_create(&Outcome { status }).inc();
        self.request_durations.observe(took.as_secs_f64());
    }

    /// An answer used so much, for so many dollars.
    pub(crate) fn used(&self, used: Used, dollars: f64) {
        self.tokens.get_or_create(&Direction { direction: "input" }).inc_by(used.input_tokens);
        self.tokens.get_or_create(&Direction { direction: "output" }).inc_by(used.output_tokens);
        self.cost.inc_by(dollars);
    }

    pub(crate) fn tool(&self, tool: &'static str, status: &'static str) {
        self.tools.get_or_create(&ToolCall { tool, status }).inc();
    }

    pub(crate) fn throttled(&self, time: Duration) {
        self.throttled.inc_by(time.as_secs_f64());
    }
}
