//! A task as the agent API writes it and the worker reads it: its message in the queue, and its record.

use serde::{Deserialize, Serialize};

/// The message in the queue: the field `task` of a stream's entry, or one element of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Task {
    /// Names the task for ever; a message that comes twice is the same task.
    pub(crate) id: String,
    /// What the agent is asked.
    pub(crate) prompt: String,
    /// When it was put in, in milliseconds since the Unix epoch.
    pub(crate) enqueued_ms: u64,
}

/// What has become of a task: the field `status` of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// It waits.
    Queued,
    /// A worker has it.
    Running,
    /// It has a result.
    Done,
    /// It was given up; its message is in the dead-letter queue.
    Failed,
}

/// Key of a task's record, a hash: `status`, `attempts`, `enqueued_ms`, `started_ms`, `ended_ms`, `result`, `error`,
/// `checkpoint`, `steps`.
pub(crate) fn record(queue: &str, id: &str) -> String {
    format!("{queue}:task:{id}")
}

/// Key that leads from an idempotency key to the task it made.
pub(crate) fn idempotency(queue: &str, key: &str) -> String {
    format!("{queue}:key:{key}")
}

/// Name of the dead-letter queue, of the same kind as the queue.
pub(crate) fn dead_letters(queue: &str) -> String {
    format!("{queue}:dead")
}
