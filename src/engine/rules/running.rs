//! Running tasks hold their replicas, unless the workers finish what they run before they go.

use crate::engine::Memory;
use crate::engine::decision::{LimitedBy, Step};
use crate::engine::policy::{Policy, Workload};
use crate::engine::signals::{Percentile, Reading};
use crate::engine::want::Want;

/// Raises the number to the floor under running work.
///
/// Nobody but KEDA's ReplicaSet chooses the victims of a scale-in, so as many replicas stay as may be busy:
/// with one task on each that is F, and never more than there were. A fresh process knows no former number
/// and so has no floor: its demand starts at the careful end instead.
pub(in crate::engine) fn hold(
    policy: &Policy,
    reading: &Reading,
    want: &Want,
    memory: &Memory,
    replicas: u32,
) -> Option<Step> {
    // Nobody scales Jobs in.
    if policy.workload == Workload::Job || finishes_in_time(policy, reading) {
        return None;
    }
    let busy = u32::try_from(want.running()).unwrap_or(u32::MAX);
    let floor = busy.min(memory.last.map_or(0, |last| last.replicas));
    (floor > replicas).then_some(Step { by: LimitedBy::RunningTasks, from: replicas, to: floor })
}

/// Whether a worker that is told to go finishes 95 % of its tasks; unknown is no.
fn finishes_in_time(policy: &Policy, reading: &Reading) -> bool {
    reading.services.and_then(Percentile::known).is_some_and(|p95| policy.drain_time >= p95)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::engine::decision::LimitedBy::{Demand, RunningTasks};
    use crate::engine::signals::{Percentile, Reading};
    use crate::engine::testing::*;

    #[test]
    fn running_tasks_hold_their_replicas_when_the_queue_runs_dry() {
        let mut trigger = Trigger::with(|policy| policy.tasks_per_replica = four());
        trigger.at(0).sees(queue(40, 0)).wants(10).limited_by(Demand);
        trigger.at(60).sees(queue(0, 40)).wants(10).limited_by(Demand);
        trigger.at(120).sees(queue(0, 12)).wants(10).limited_by(RunningTasks);
        trigger.at(540).sees(queue(0, 3)).wants(3).limited_by(RunningTasks);
        trigger.at(600).sees(queue(0, 0)).wants(0).limited_by(Demand);
    }

    #[test]
    fn workers_that_finish_their_tasks_hold_nothing() {
        let mut trigger = Trigger::with(|policy| {
            policy.tasks_per_replica = four();
            policy.drain_time = seconds(300);
        });
        let served = |p95| Some(Percentile { p95: seconds(p95), samples: 50 });
        trigger.at(0).sees(queue(40, 0)).wants(10);
        trigger.at(60).sees(Reading { services: served(301), ..queue(0, 12) }).wants(10);
        trigger.at(120).sees(Reading { services: served(300), ..queue(0, 12) }).wants(3).limited_by(Demand);
    }

    proptest! {
        #[test]
        fn no_replica_that_may_be_busy_is_given_up(loads in prop::collection::vec((0..200_u64, 0..200_u64), 2..40)) {
            let mut trigger = Trigger::with(|policy| policy.tasks_per_replica = four());
            let mut before = None;
            for (tick, (ready, running)) in (0_u64..).zip(loads) {
                let replicas = trigger.at(tick * 5).sees(queue(ready, running)).replicas();
                if let Some(before) = before {
                    prop_assert!(u64::from(replicas) >= running.min(u64::from(before)));
                }
                before = Some(replicas);
            }
        }
    }
}
