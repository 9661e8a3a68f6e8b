//! The keys of every trigger, whatever its source.

use crate::fields::{Key, Need};

/// Kind of queue.
pub const SOURCE: Key = Key {
    name: "source",
    need: Need::Required,
    unit: "name",
    help: "kind of queue (`agent-scaler keys` lists them)",
    example: "redis",
};

/// Named connection of the server.
pub const CONNECTION: Key = Key {
    name: "connection",
    need: Need::Required,
    unit: "name",
    help: "connection that the server's file names",
    example: "redis-main",
};

/// What KEDA scales.
pub const WORKLOAD: Key = Key {
    name: "workload",
    need: Need::Default("deployment"),
    unit: "deployment | job",
    help: "what KEDA scales: `job` for a ScaledJob, because KEDA does not say",
    example: "job",
};

/// Slots of one replica.
pub const TASKS_PER_REPLICA: Key = Key {
    name: "tasksPerReplica",
    need: Need::Default("1"),
    unit: "tasks",
    help: "tasks one replica runs at a time, those it fetches ahead included",
    example: "4",
};

/// The promise.
pub const MAX_QUEUE_WAIT: Key = Key {
    name: "maxQueueWait",
    need: Need::Default("2m"),
    unit: "duration",
    help: "the promise: 95 % of tasks start within it",
    example: "2m",
};

/// What is wanted of wait and service together.
pub const LATENCY_TARGET: Key = Key {
    name: "latencyTarget",
    need: Need::Optional,
    unit: "duration",
    help: "95 % of tasks are done within it: shortens `maxQueueWait` by what tasks take",
    example: "10m",
};

/// Service time until it is measured.
pub const EXPECTED_TASK_DURATION: Key = Key {
    name: "expectedTaskDuration",
    need: Need::Optional,
    unit: "duration",
    help: "how long a task runs, until that is measured",
    example: "5m",
};

/// How long a task may show no progress.
pub const STUCK_AFTER: Key = Key {
    name: "stuckAfter",
    need: Need::Default("1h"),
    unit: "duration",
    help: "running tasks without progress for so long weigh one replica together; only where workers report progress",
    example: "1h",
};

/// Start-up of a pod.
pub const POD_STARTUP_TIME: Key = Key {
    name: "podStartupTime",
    need: Need::Default("30s"),
    unit: "duration",
    help: "from the decision to a ready pod on a node that is there",
    example: "30s",
};

/// Start-up of a node.
pub const NODE_STARTUP_TIME: Key = Key {
    name: "nodeStartupTime",
    need: Need::Default("0"),
    unit: "duration",
    help: "what a new node adds to that, where new pods need new nodes",
    example: "8m",
};

/// Grace of a worker.
pub const DRAIN_TIME: Key = Key {
    name: "drainTime",
    need: Need::Default("0"),
    unit: "duration",
    help: "how long a worker may finish tasks after SIGTERM (its grace period)",
    example: "1h",
};

/// Lower bound.
pub const MIN_REPLICA_COUNT: Key = Key {
    name: "minReplicaCount",
    need: Need::Default("0"),
    unit: "replicas",
    help: "the ScaledObject's lower bound, which KEDA does not send",
    example: "0",
};

/// Upper bound.
pub const MAX_REPLICA_COUNT: Key = Key {
    name: "maxReplicaCount",
    need: Need::Default("10000"),
    unit: "replicas",
    help: "the ScaledObject's upper bound, which KEDA does not send",
    example: "50",
};

/// Threshold of activation.
pub const ACTIVATION_BACKLOG: Key = Key {
    name: "activationBacklog",
    need: Need::Default("0"),
    unit: "tasks",
    help: "backlog above which an empty workload wakes",
    example: "5",
};

/// Where workers report.
pub const WORKERS_CONNECTION: Key = Key {
    name: "workersConnection",
    need: Need::Optional,
    unit: "name",
    help: "connection that the workers report through; that of `llmLimit` if only that is given",
    example: "redis-main",
};

/// The name under which they report.
pub const WORKER_SCOPE: Key = Key {
    name: "workerScope",
    need: Need::Optional,
    unit: "name",
    help: "name that the workers report under, if it is not the queue's",
    example: "acme:tasks",
};

/// The limit that they share.
pub const LLM_LIMIT: Key = Key {
    name: "llmLimit",
    need: Need::Optional,
    unit: "name",
    help: "rate limit that the workers share, which the server's file names",
    example: "anthropic-prod",
};

/// Their part of it.
pub const LLM_WEIGHT: Key = Key {
    name: "llmWeight",
    need: Need::Default("1"),
    unit: "number",
    help: "their part of it within their namespace, 0.01 to 1000",
    example: "2.5",
};

/// Where queries about the queue's tasks are answered.
pub const PROMETHEUS_CONNECTION: Key = Key {
    name: "prometheusConnection",
    need: Need::Optional,
    unit: "name",
    help: "connection of type prometheus that answers the trigger's queries; without it the `connection`, if it is one",
    example: "prometheus-main",
};

/// Every key above, in the order in which people should read them.
pub const ALL: &[Key] = &[
    SOURCE,
    CONNECTION,
    WORKLOAD,
    TASKS_PER_REPLICA,
    MAX_QUEUE_WAIT,
    LATENCY_TARGET,
    EXPECTED_TASK_DURATION,
    STUCK_AFTER,
    POD_STARTUP_TIME,
    NODE_STARTUP_TIME,
    DRAIN_TIME,
    MIN_REPLICA_COUNT,
    MAX_REPLICA_COUNT,
    ACTIVATION_BACKLOG,
    WORKERS_CONNECTION,
    WORKER_SCOPE,
    LLM_LIMIT,
    LLM_WEIGHT,
    PROMETHEUS_CONNECTION,
];

/// Keys that a server's `defaults` may set: those that describe workers, not queues.
pub const DEFAULTABLE: &[Key] = &[
    TASKS_PER_REPLICA,
    MAX_QUEUE_WAIT,
    LATENCY_TARGET,
    EXPECTED_TASK_DURATION,
    STUCK_AFTER,
    POD_STARTUP_TIME,
    NODE_STARTUP_TIME,
    DRAIN_TIME,
    MAX_REPLICA_COUNT,
    ACTIVATION_BACKLOG,
    WORKERS_CONNECTION,
];

/// Keys of the trigger block that are KEDA's own; they arrive with ours.
pub const KEDAS: &[&str] =
    &["scalerAddress", "enableTLS", "unsafeSsl", "caCert", "tlsCertFile", "tlsClientCert", "tlsClientKey"];
