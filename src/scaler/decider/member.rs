//! One trigger, as the decider knows it.

use std::sync::Arc;

use crate::engine::Memory;
use crate::engine::limit::share::Share;
use crate::scaler::board::Watched;
use crate::scaler::watchlist::{Pace, PlaceId};
use crate::timestamp::Timestamp;

/// One trigger, and what is remembered of it.
pub(super) struct Member {
    pub(super) watched: Arc<Watched>,
    pub(super) memory: Memory,
    pub(super) queue: PlaceId,
    /// Where its workers report.
    pub(super) workers: Option<PlaceId>,
    /// Where queries about its tasks are answered.
    pub(super) queries: Option<PlaceId>,
    /// The limit that it shares.
    pub(super) limit: Option<LimitPlaces>,
    /// What the limit leaves to it, as of the last division.
    pub(super) share: Option<Arc<Share>>,
    pub(super) decided_at: Timestamp,
    /// How often its queue is read, as the reader was last told.
    pub(super) listed: Pace,
}

/// Where a limit is read.
pub(super) struct LimitPlaces {
    /// Its name.
    pub(super) name: Arc<str>,
    /// What workers report of it.
    pub(super) workers: PlaceId,
    /// What a gateway tells of it.
    pub(super) gateway: Option<PlaceId>,
}

impl Member {
    /// Everything that is read for it.
    pub(super) fn places(&self) -> impl Iterator<Item = PlaceId> {
        let limit = self.limit.as_ref().map(|limit| limit.workers);
        let headroom = self.limit.as_ref().and_then(|limit| limit.gateway);
        self.of_tasks().chain([limit, headroom].into_iter().flatten())
    }

    /// The places of its tasks.
    pub(super) fn of_tasks(&self) -> impl Iterator<Item = PlaceId> {
        [self.workers, self.queries, Some(self.queue)].into_iter().flatten()
    }

    /// How often its queue is to be read.
    pub(super) fn pace(&self) -> Pace {
        let size = self.watched.evaluation().and_then(|last| last.decision.size());
        let is_active = size.is_some_and(|size| size.active);
        if self.watched.is_asked() {
            Pace::Asked
        } else if !is_active && self.watched.has_streams() {
            Pace::Waking
        } else {
            Pace::Tick
        }
    }

    /// How often a place of it is to be read, as the reader was last told.
    pub(super) fn pace_of(&self, place: PlaceId) -> Pace {
        // Workers and queries tell of tasks that a queue does not show any more: where all are counted, all are from
        // one time.
        let is_counted = self.listed == Pace::Asked && self.of_tasks().any(|counted| counted == place);
        if self.queue == place || is_counted { self.listed } else { Pace::Tick }
    }
}
