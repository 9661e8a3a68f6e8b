//! One trigger, as the decider knows it.

use std::sync::Arc;

use crate::engine::Memory;
use crate::engine::limit::share::Share;
use crate::engine::policy::Workload;
use crate::scaler::board::Watched;
use crate::scaler::reader::Pace;
use crate::timestamp::Timestamp;

/// One trigger, and what is remembered of it.
pub(super) struct Member {
    pub(super) watched: Arc<Watched>,
    pub(super) memory: Memory,
    pub(super) queue: Arc<str>,
    /// Where its workers report.
    pub(super) workers: Option<Arc<str>>,
    /// Where queries about its tasks are answered.
    pub(super) queries: Option<Arc<str>>,
    /// Name of its limit, and where that is read.
    pub(super) limit: Option<(Arc<str>, Arc<str>)>,
    /// Where a gateway tells of that limit.
    pub(super) headroom: Option<Arc<str>>,
    /// What the limit leaves to it, as of the last division.
    pub(super) share: Option<Arc<Share>>,
    pub(super) decided_at: Timestamp,
    /// How often its queue is read, as the reader was last told.
    pub(super) listed: Pace,
}

impl Member {
    /// Everything that is read for it.
    pub(super) fn places(&self) -> impl Iterator<Item = &Arc<str>> {
        let limit = self.limit.as_ref().map(|(_, key)| key);
        let others = [self.workers.as_ref(), self.queries.as_ref(), limit, self.headroom.as_ref()];
        others.into_iter().chain([Some(&self.queue)]).flatten()
    }

    /// How often its queue is to be read.
    pub(super) fn pace(&self) -> Pace {
        let size = self.watched.evaluation().and_then(|last| last.decision.size());
        let is_active = size.is_some_and(|size| size.active);
        let trigger = &self.watched.trigger;
        // Where each read is paid for, a Job too many may be the cheaper.
        let counts_jobs = trigger.policy.workload == Workload::Job && trigger.plan.price().is_none();
        match is_active {
            false if self.watched.has_listeners() => Pace::Waking,
            true if counts_jobs => Pace::Quick,
            false | true => Pace::Tick,
        }
    }

    /// What is read at another pace than the tick's, for this pace of its queue.
    pub(super) fn between_ticks(&self, pace: Pace) -> impl Iterator<Item = (&Arc<str>, Pace)> {
        let queue = (pace > Pace::Tick).then_some((&self.queue, pace));
        // Workers tell of tasks that a queue does not show any more: where both are counted, both are from one time.
        let workers = self.workers.as_ref().filter(|_| pace == Pace::Quick).map(|workers| (workers, pace));
        queue.into_iter().chain(workers)
    }
}
