//! What the user asked for. Valid by construction: what exists has been checked.

use std::num::NonZeroU32;
use std::time::Duration;

/// What one trigger is to achieve, and what is known of its workers beforehand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// What KEDA scales.
    pub workload: Workload,
    /// Bounds of the answer.
    pub replicas: ReplicaRange,
    /// Slots c of one replica: tasks that it runs at a time.
    pub tasks_per_replica: NonZeroU32,
    /// The promise W: 95 % of tasks start within it.
    pub max_queue_wait: Duration,
    /// 95th percentile of wait and service together that is wanted, if one is.
    pub latency_target: Option<Duration>,
    /// Service time until it is measured; `None` if the user gave none either.
    pub expected_task_duration: Option<Duration>,
    /// How long running tasks may show no progress before they weigh one replica together.
    pub stuck_after: Duration,
    /// Start-up time L, from the decision to a ready replica.
    pub start_up: Duration,
    /// How long a worker may finish tasks after SIGTERM.
    pub drain_time: Duration,
    /// Backlog above which an empty workload wakes.
    pub activation_backlog: u64,
    /// Age up to which a reading of the queue is fresh: three ticks, and the longest pause that its connection
    /// makes for an idle queue.
    pub fresh_for: Duration,
}

impl Policy {
    /// How long tasks that the queue cannot show are taken to run, if the user does not say: 10 min.
    pub const UNSEEN_FOR: Duration = Duration::from_secs(600);

    /// The least promise that a latency target makes: nothing starts sooner than it is looked for.
    const LEAST_PROMISE: Duration = Duration::from_secs(5);

    /// The promise W that holds: what a latency target leaves to wait, min(W, target − S95), at least 5 s.
    ///
    /// `service` is the 95th percentile of the service time; while it is not known the target says nothing.
    pub fn promise(&self, service: Option<Duration>) -> Duration {
        let left = self.latency_target.zip(service).map(|(target, p95)| target.saturating_sub(p95));
        left.map_or(self.max_queue_wait, |left| left.max(Self::LEAST_PROMISE).min(self.max_queue_wait))
    }

    /// Time left to start the backlog once replicas are ready: T = max(W − L, W/4).
    ///
    /// A quarter of the promise remains even where the start-up alone breaks it: asking for ever more
    /// replicas would not bring the first one sooner.
    pub fn time_to_start(&self, promise: Duration) -> Duration {
        promise.saturating_sub(self.start_up).max(promise / 4)
    }

    /// How long running tasks that the queue cannot show are taken to go on.
    pub fn unseen_for(&self) -> Duration {
        self.expected_task_duration.unwrap_or(Self::UNSEEN_FOR)
    }
}

/// What KEDA scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// A Deployment or another kind with replicas, through an HPA.
    Deployment,
    /// Jobs, one for each task. KEDA ends none of them, so holding a number protects no Job, and would start
    /// Jobs that find no task.
    Job,
}

impl Workload {
    /// Whether a number above the present demand protects anything that runs.
    pub const fn is_held(self) -> bool {
        match self {
            Self::Deployment => true,
            Self::Job => false,
        }
    }
}

/// The fewest and the most replicas of an active workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaRange {
    min: u32,
    max: u32,
}

/// Bounds that no number can keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRange {
    /// The fewest are more than the most.
    #[error("{min} is more than maxReplicaCount {max}")]
    Crossed {
        /// The fewest.
        min: u32,
        /// The most.
        max: u32,
    },
    /// A workload that may never run.
    #[error("must be at least 1")]
    Never,
    /// More than this server ever asks for.
    #[error("{max} is more than {}, the most this server asks for", ReplicaRange::CEILING)]
    TooMany {
        /// The most.
        max: u32,
    },
}

impl ReplicaRange {
    /// Most replicas that are ever asked for: a slip in a queue's name must not empty a budget.
    pub const CEILING: u32 = 10_000;

    /// Bounds `min` to `max`.
    ///
    /// # Errors
    /// When `max` is zero, above [`ReplicaRange::CEILING`] or below `min`.
    pub const fn try_new(min: u32, max: u32) -> Result<Self, BadRange> {
        if max == 0 {
            return Err(BadRange::Never);
        }
        if max > Self::CEILING {
            return Err(BadRange::TooMany { max });
        }
        if min > max {
            return Err(BadRange::Crossed { min, max });
        }
        Ok(Self { min, max })
    }

    /// The fewest replicas; may be zero.
    pub const fn min(self) -> u32 {
        self.min
    }

    /// The most replicas; at least one.
    pub const fn max(self) -> u32 {
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_that_no_number_can_keep_are_refused() {
        assert_eq!(ReplicaRange::try_new(3, 2), Err(BadRange::Crossed { min: 3, max: 2 }));
        assert_eq!(ReplicaRange::try_new(0, 0), Err(BadRange::Never));
        assert_eq!(ReplicaRange::try_new(0, 10_001), Err(BadRange::TooMany { max: 10_001 }));
        assert_eq!(ReplicaRange::try_new(2, 2).map(|range| (range.min(), range.max())), Ok((2, 2)));
    }
}
