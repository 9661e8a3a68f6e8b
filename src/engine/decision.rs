//! The answer, and every reason for it.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::limit::Dimension;
use crate::engine::limit::share::Share;
use crate::engine::policy::{Policy, Workload};
use crate::engine::signals::Cause;
use crate::engine::want::Want;
use crate::timestamp::Timestamp;

/// Age of the queue's reading after which an inactive trigger is no longer known to be inactive.
///
/// 90 s are three of KEDA's default polls, which alone ask while a workload rests: a restart of the backend passes unseen, an outage does not. An
/// active trigger is held for longer, without an end. To answer with errors would be as true, and kills:
/// when KEDA's poll and the HPA's request fail at the same time, KEDA takes the one that it discards for
/// "inactive, no error" (`pkg/scaling/scale_handler.go`, `ErrCacheClosed`, seen in 2.21.0), and goes to zero.
pub const LOST_AFTER: Duration = Duration::from_secs(90);

/// How many replicas, and every reason why.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What KEDA is told.
    pub answer: Answer,
    /// The rule that set the number.
    pub limited_by: LimitedBy,
    /// The rules that changed the number, in order.
    pub steps: Vec<Step>,
    /// The demand before any rule; absent while the queue has never been read.
    pub want: Option<Want>,
    /// What a rate limit leaves to it; absent if it uses none.
    pub share: Option<Arc<Share>>,
    /// What becomes of the backlog.
    pub outlook: Outlook,
    /// What another configuration would have given.
    pub alternatives: Vec<Alternative>,
    /// When the queue was read.
    pub read_at: Option<Timestamp>,
}

/// What KEDA is told. Held and unknown are not zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Decided from a fresh reading.
    Fresh(Size),
    /// The queue could not be read for a while: the last answer stands. One that is active stands until the
    /// queue is read again.
    Held(Size),
    /// Nothing that could be said would be true: KEDA and the HPA are to leave everything as it is.
    Unknown(Unknown),
}

/// A number of replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Useful replicas: zero exactly when inactive.
    pub replicas: u32,
    /// Whether KEDA may not go to zero.
    pub active: bool,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// The queue has not been read since this process began to watch it.
    NeverRead(Cause),
    /// The queue was last read too long ago, and was idle then, or its workload is Jobs.
    Lost {
        /// When it was read.
        read_at: Timestamp,
        /// The reason of the last failed read since then.
        cause: Option<Cause>,
    },
    /// The queue is empty, cannot show running tasks, and has not been watched long enough to tell.
    UnseenTasks {
        /// When tasks taken before the first look will have ended.
        until: Timestamp,
    },
}

impl Answer {
    /// Whether the answer is missing because nothing shows the running tasks.
    pub const fn lacks_running(&self) -> bool {
        matches!(self, Self::Unknown(Unknown::UnseenTasks { .. }))
    }
}

/// One rule that changed the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The rule.
    pub by: LimitedBy,
    /// Replicas before it.
    pub from: u32,
    /// Replicas after it.
    pub to: u32,
}

/// What set the number. A closed list: the label is a metric's, the `Display` a phrase.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LimitedBy {
    /// The tasks that wait and run.
    Demand,
    /// Tasks have waited longer than promised, so the whole backlog is served at once.
    Promise,
    /// More slots would be of no use to the queue.
    Ceiling,
    /// Every slot is to have as many partitions as the others.
    EvenPartitions,
    /// Tasks run and none ends.
    NoProgress,
    /// The rate limit of the model's provider feeds no more.
    LlmLimit,
    /// The provider refuses everything for a while: a quota or a budget is used up.
    LlmBlocked,
    /// Running tasks hold their replicas.
    RunningTasks,
    /// Tasks that the queue cannot show may be running.
    UnseenTasks,
    /// The backlog is too small to wake the workload.
    Activation,
    /// `minReplicaCount`.
    Minimum,
    /// `maxReplicaCount`.
    Maximum,
    /// The queue could not be read.
    Stale,
}

impl LimitedBy {
    /// Every value, in the order of the rules.
    pub const ALL: [Self; 13] = [
        Self::Demand,
        Self::Promise,
        Self::Ceiling,
        Self::EvenPartitions,
        Self::NoProgress,
        Self::LlmLimit,
        Self::LlmBlocked,
        Self::RunningTasks,
        Self::UnseenTasks,
        Self::Activation,
        Self::Minimum,
        Self::Maximum,
        Self::Stale,
    ];

    /// A word for metrics and JSON.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Demand => "demand",
            Self::Promise => "promise",
            Self::Ceiling => "ceiling",
            Self::EvenPartitions => "even_partitions",
            Self::NoProgress => "no_progress",
            Self::LlmLimit => "llm_limit",
            Self::LlmBlocked => "llm_blocked",
            Self::RunningTasks => "running_tasks",
            Self::UnseenTasks => "unseen_tasks",
            Self::Activation => "activation",
            Self::Minimum => "minimum",
            Self::Maximum => "maximum",
            Self::Stale => "stale",
        }
    }
}

/// What becomes of the backlog at the decided size, if nothing changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outlook {
    /// Nothing waits.
    Empty,
    /// It is gone after this time.
    GoneIn(Duration),
    /// Tasks come faster than this size can run them.
    Growing,
    /// The service time is not known yet.
    NotKnown,
}

/// What another configuration would have given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alternative {
    /// What would be different.
    pub change: Change,
    /// The replicas it would give.
    pub replicas: u32,
}

/// A difference in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Without the rule that limits.
    Without(LimitedBy),
    /// With twice the rate limit in this dimension.
    TwiceTheLimit(Dimension),
    /// With this promise.
    MaxQueueWait(Duration),
}

impl Answer {
    /// The answer once its reading is no longer fresh. For Jobs it does not stand, because it would start Jobs.
    pub(super) fn held(size: Size, workload: Workload, read_at: Timestamp, now: Timestamp) -> Self {
        if workload.is_held() && (size.active || now.since(read_at) <= LOST_AFTER) {
            Self::Held(size)
        } else {
            Self::Unknown(Unknown::Lost { read_at, cause: None })
        }
    }
}

impl Decision {
    /// The answer as of `now`: a decision that nobody renews grows old by itself.
    pub fn answer_at(&self, policy: &Policy, now: Timestamp) -> Answer {
        match (&self.answer, self.read_at) {
            (Answer::Fresh(size) | Answer::Held(size), Some(read_at)) => {
                let age = now.since(read_at);
                if age <= policy.fresh_for {
                    self.answer.clone()
                } else {
                    Answer::held(*size, policy.workload, read_at, now)
                }
            }
            (Answer::Fresh(_) | Answer::Held(_), None) | (Answer::Unknown(_), _) => self.answer.clone(),
        }
    }

    /// The size that was decided, fresh or held.
    pub const fn size(&self) -> Option<Size> {
        match self.answer {
            Answer::Fresh(size) | Answer::Held(size) => Some(size),
            Answer::Unknown(_) => None,
        }
    }
}
