//! While tasks run and none ends, more replicas would only run more tasks that do not end.

use std::time::Duration;

use crate::engine::Memory;
use crate::engine::decision::{LimitedBy, Step};
use crate::engine::signals::{Percentile, Reading, Signals};
use crate::engine::want::Want;
use crate::timestamp::Timestamp;

/// Time without an end, in 95th percentiles of a task's, from which on something is wrong.
const PATIENCE: u32 = 3;

/// What a trigger remembers of the ends of its tasks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::engine) struct Progress {
    /// What changed when a task last ended.
    last_ended: Option<(u64, u64)>,
    /// Since when tasks run and none has ended.
    since: Option<Timestamp>,
    /// The last 95th percentile that was known: without ends there is soon none.
    p95: Option<Duration>,
}

impl Progress {
    /// Takes in what was seen.
    pub(in crate::engine) fn look(
        &mut self,
        signals: &Signals,
        reading: &Reading,
        want: &Want,
        now: Timestamp,
    ) {
        self.p95 = reading.services.and_then(Percentile::known).or(self.p95);
        let ended = signals.last_ended != self.last_ended;
        self.last_ended = signals.last_ended;
        // Whether tasks end cannot be told, or one has, or none runs that could.
        if ended || signals.last_ended.is_none() || want.running() == 0 {
            self.since = None;
        }
        if want.running() > 0 && signals.last_ended.is_some() {
            self.since.get_or_insert(now);
        }
    }

    fn is_missing(&self, now: Timestamp) -> bool {
        self.since.zip(self.p95).is_some_and(|(since, p95)| now.since(since) > p95 * PATIENCE)
    }
}

/// Stops growth while nothing gets on.
pub(in crate::engine) fn stop_growth(memory: &Memory, now: Timestamp, replicas: u32) -> Option<Step> {
    let last = memory.last?.replicas.max(1);
    (memory.progress.is_missing(now) && replicas > last).then_some(Step {
        by: LimitedBy::NoProgress,
        from: replicas,
        to: last,
    })
}

#[cfg(test)]
mod tests {
    use crate::engine::decision::LimitedBy::{Demand, NoProgress};
    use crate::engine::signals::{Percentile, Reading};
    use crate::engine::testing::*;

    #[test]
    fn growth_stops_after_three_percentiles_without_an_end_and_goes_on_with_the_next() {
        let mut trigger = Trigger::with(|_| {});
        trigger.at(0).ends((7, 3)).sees(served(2, 10)).wants(12).limited_by(Demand);
        trigger.at(170).sees(served(8, 10)).wants(18).limited_by(Demand);
        trigger.at(185).sees(served(30, 10)).wants(18).limited_by(NoProgress);
        trigger.at(900).sees(queue(50, 10)).wants(18).limited_by(NoProgress);
        trigger.at(905).ends((22, 1)).sees(queue(50, 10)).wants(60).limited_by(Demand);
    }

    #[test]
    fn it_is_silent_where_ends_are_not_known_or_nothing_runs() {
        let mut trigger = Trigger::with(|_| {});
        trigger.at(0).sees(served(2, 10)).wants(12);
        trigger.at(900).sees(served(30, 10)).wants(40).limited_by(Demand);
        let mut trigger = Trigger::with(|_| {});
        trigger.at(0).ends((7, 3)).sees(served(0, 0)).wants(0);
        trigger.at(900).sees(served(30, 0)).wants(30).limited_by(Demand);
        trigger.at(905).sees(served(40, 1)).wants(41).limited_by(Demand);
    }

    fn served(ready: u64, running: u64) -> Reading {
        Reading { services: Some(Percentile { p95: seconds(60), samples: 20 }), ..queue(ready, running) }
    }
}
