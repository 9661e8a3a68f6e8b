//! Every key and field name of the protocol. The braces are part of the keys: in a cluster, all keys of a
//! scope lie on one node.

use crate::engine::limit::Dimension;

/// Leases on running tasks: a sorted set of [`lease`]s by the time at which they end.
pub fn leases(scope: &str) -> String {
    format!("agent-scaler:{{{scope}}}:leases")
}

/// What workers say of themselves: a hash of worker → JSON.
pub fn workers(scope: &str) -> String {
    format!("agent-scaler:{{{scope}}}:workers")
}

/// Counters and histograms of one minute: a hash.
pub fn minute(scope: &str, number: u64) -> String {
    format!("agent-scaler:{{{scope}}}:m:{number}")
}

/// What workers last saw of a limit: a hash.
pub fn limit(scope: &str) -> String {
    format!("agent-scaler:limit:{{{scope}}}")
}

/// What the scaler allows the workers of a limit: a hash of worker scope → JSON.
pub fn share(scope: &str) -> String {
    format!("agent-scaler:share:{{{scope}}}")
}

/// The member of [`leases`] that stands for one running task.
pub fn lease(worker: &str, task: &str) -> String {
    format!("{worker}/{task}")
}

/// Begins the fields of the histogram of durations; the bucket follows.
pub const DURATION: &str = "d";
/// Begins the fields of the histogram of waits; the bucket follows.
pub const WAIT: &str = "w";
/// Tasks that were done.
pub const DONE: &str = "done";
/// Tasks that failed for good.
pub const FAILED: &str = "fail";
/// Milliseconds for which slots held a task.
pub const BUSY: &str = "busy_ms";
/// Milliseconds of those that a rate limit cost.
pub const THROTTLED: &str = "throttle_ms";
/// Milliseconds of those in which a task waited for the model.
pub const CALLING: &str = "llm_ms";
/// Requests that the provider admitted.
pub const REQUESTS: &str = "req";
/// Tokens sent.
pub const INPUT_TOKENS: &str = "itok";
/// Tokens generated.
pub const OUTPUT_TOKENS: &str = "otok";
/// Requests that the provider refused because of a rate limit.
pub const REFUSED: &str = "r429";
/// Begins the fields of what was left of a dimension when it was first seen in the minute; its label follows.
pub const REMAINING: &str = "h:";

/// When the block of a limit ends.
pub const BLOCKED: &str = "blocked_ms";
/// When somebody was last refused because of that block.
pub const BLOCKED_SEEN: &str = "blocked_seen";
/// Why a limit is blocked.
pub const WHY: &str = "why";

/// A part of what a provider says of one dimension, as a field of [`limit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The whole limit.
    Limit,
    /// What is left of it.
    Remaining,
    /// When it will be whole again.
    Reset,
    /// When the provider said so.
    Seen,
}

impl Part {
    /// Every value.
    pub const ALL: [Self; 4] = [Self::Limit, Self::Remaining, Self::Reset, Self::Seen];

    /// The field that holds this part of `dimension`.
    pub fn of(self, dimension: Dimension) -> String {
        let part = match self {
            Self::Limit => "limit",
            Self::Remaining => "remaining",
            Self::Reset => "reset",
            Self::Seen => "seen",
        };
        format!("{}.{part}", dimension.label())
    }
}

/// What is counted of a limit by the day. Tokens of both kinds are the sum of the two.
pub const DAILY: [Dimension; 3] =
    [Dimension::RequestsPerMinute, Dimension::InputTokensPerMinute, Dimension::OutputTokensPerMinute];

/// The field of [`limit`] that counts what workers used of `dimension` on a day since the Unix epoch.
pub fn day(number: u64, dimension: Dimension) -> String {
    format!("day:{number}:{}", dimension.label())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_carry_their_scope_as_a_hash_tag() {
        assert_eq!(leases("acme:tasks"), "agent-scaler:{acme:tasks}:leases");
        assert_eq!(workers("acme:tasks"), "agent-scaler:{acme:tasks}:workers");
        assert_eq!(minute("acme:tasks", 29_000_000), "agent-scaler:{acme:tasks}:m:29000000");
        assert_eq!(limit("anthropic/prod"), "agent-scaler:limit:{anthropic/prod}");
        assert_eq!(share("anthropic/prod"), "agent-scaler:share:{anthropic/prod}");
        assert_eq!(lease("worker-1", "task-7"), "worker-1/task-7");
        assert_eq!(Part::Remaining.of(Dimension::RequestsPerDay), "requests_day.remaining");
        assert_eq!(day(20_000, Dimension::InputTokensPerMinute), "day:20000:input_tokens");
    }
}
