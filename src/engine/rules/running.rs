//! Running tasks hold their replicas, unless the workers finish what they run before they go.

use crate::engine::Memory;
use crate::engine::decision::{LimitedBy, Step};
use crate::engine::policy::Policy;
use crate::engine::signals::{Percentile, Reading, Signals};
use crate::engine::want::Want;
use crate::timestamp::Timestamp;

/// Raises the number to the floor under running work.
///
/// Nobody but KEDA's ReplicaSet chooses the victims of a scale-in, so as many replicas stay as may be busy:
/// with one task on each that is F, and never more than there were. A fresh process knows no former number
/// and so has no floor: its demand starts at the careful end instead.
pub(in crate::engine) fn hold(
    policy: &Policy,
    signals: &Signals,
    reading: &Reading,
    want: &Want,
    memory: &Memory,
    now: Timestamp,
    replicas: u32,
) -> Option<Step> {
    // Nobody scales Jobs in.
    if !policy.workload.is_held() || finishes_in_time(policy, reading) {
        return None;
    }
    let floor = busy(policy, signals, want, memory, now);
    (floor > replicas).then_some(Step { by: LimitedBy::RunningTasks, from: replicas, to: floor })
}

/// Replicas that are busy: as workers report, else as many as may be.
///
/// While those who alone can tell what runs are silent, every replica may be.
pub(in crate::engine) fn busy(
    policy: &Policy,
    signals: &Signals,
    want: &Want,
    memory: &Memory,
    now: Timestamp,
) -> u32 {
    let last = memory.last.map_or(0, |last| last.replicas);
    if signals.silent {
        return last;
    }
    let reported = signals.workers.as_ref().filter(|workers| workers.tell_what_runs());
    let reported = reported.and_then(|workers| workers.busy_replicas(policy.stuck_after, now));
    // A broker that knows of more than the workers do is believed: they may have only just taken it.
    let running = signals.workers.as_ref().map_or(0, |workers| workers.running());
    let taken = want.running().saturating_sub(running);
    let taken = u32::try_from(taken).unwrap_or(u32::MAX).min(last);
    match reported {
        Some(busy) => busy.max(taken),
        None => u32::try_from(want.running()).unwrap_or(u32::MAX).min(last),
    }
}

/// Whether a worker that is told to go finishes 95 % of its tasks; unknown is no.
fn finishes_in_time(policy: &Policy, reading: &Reading) -> bool {
    reading.services.and_then(Percentile::known).is_some_and(|p95| policy.drain_time >= p95)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::engine::decision::LimitedBy::{Demand, RunningTasks};
    use crate::engine::signals::{Percentile, Reading, Worker, WorkerState, Workers};
    use crate::engine::testing::*;
    use crate::timestamp::Timestamp;

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

    #[test]
    fn busy_replicas_are_those_that_workers_report_and_draining_ones_hold_nothing() {
        let mut trigger = Trigger::with(|policy| policy.tasks_per_replica = four());
        trigger.at(0).sees(queue(40, 0)).wants(10);
        let busy = |count| vec![worker(WorkerState::Busy, 1); count];
        let workers =
            |alive: Vec<Worker>| Workers { leases: alive.len() as u64, alive, ..Workers::default() };
        trigger.at(60).hears(workers(busy(6))).sees(queue(0, 6)).wants(6).limited_by(RunningTasks);
        let leaving = [busy(2), vec![worker(WorkerState::Draining, 1); 4]].concat();
        trigger.at(65).hears(workers(leaving)).sees(queue(0, 6)).wants(2).limited_by(Demand);
    }

    #[test]
    fn stuck_tasks_weigh_one_replica_together() {
        let mut trigger = Trigger::with(|policy| policy.tasks_per_replica = four());
        trigger.at(0).sees(queue(40, 0)).wants(10);
        let stuck = Worker { progress: Some(Timestamp::default()), ..worker(WorkerState::Busy, 4) };
        let workers = Workers { alive: vec![stuck; 5], leases: 20, ..Workers::default() };
        trigger.at(3_600).hears(workers.clone()).sees(queue(0, 20)).wants(5);
        trigger.at(3_605).sees(queue(0, 20)).wants(1).limited_by(Demand).active();
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

    fn worker(state: WorkerState, running: u32) -> Worker {
        Worker { state, slots: 4, running, oldest: None, progress: None, paces: true, poison: 0 }
    }
}
