//! One trigger, as the decider knows it.

use std::sync::Arc;

use crate::engine::Memory;
use crate::engine::limit::share::Share;
use crate::scaler::board::Watched;
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
    /// Whether the reader was last told that somebody waits for the first task.
    pub(super) listed_as_waking: bool,
}

impl Member {
    /// Everything that is read for it.
    pub(super) fn places(&self) -> impl Iterator<Item = &Arc<str>> {
        let limit = self.limit.as_ref().map(|(_, key)| key);
        let others = [self.workers.as_ref(), self.queries.as_ref(), limit, self.headroom.as_ref()];
        others.into_iter().chain([Some(&self.queue)]).flatten()
    }

    /// Whether somebody waits for this trigger's first task.
    pub(super) fn wakes(&self) -> bool {
        let active =
            self.watched.evaluation().and_then(|last| last.decision.size()).is_some_and(|size| size.active);
        !active && self.watched.has_listeners()
    }
}
