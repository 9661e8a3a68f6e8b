//! Demand, in slots: running work keeps its own, the backlog needs as many as start it in time.

use crate::engine::Memory;
use crate::engine::policy::{Policy, Workload};
use crate::engine::rules::promise;
use crate::engine::signals::{InFlight, Percentile, Reading, Signals};
use crate::engine::want::{Odd, Want};
use crate::timestamp::Timestamp;

/// One trigger's demand in slots; `None` while the queue has never been read, or does not say what waits.
///
/// `T = max(W − L, W/4)`, `d = min(1, S/T)`, `want = F + d·(Q + D(L))`. A slot that is free after S starts
/// T/S tasks in time, so a backlog needs a slot for every T/S of its tasks. While S is not known each task
/// has a slot of its own, which is KEDA's best static law, (Q + F)/c. No term has an arrival rate: a batch
/// is backlog and arrivals at once, and would count twice.
pub fn want(policy: &Policy, signals: &Signals, memory: &Memory, now: Timestamp) -> Option<Want> {
    let reading = signals.queue.seen()?;
    // Who cannot tell what waits has not said that nothing does.
    let (ready, soon, in_flight) = counted(policy.workload, reading)?;
    let backlog = ready.saturating_add(reading.due.unwrap_or(0));
    let p95 = reading.services.and_then(Percentile::known);
    let promise = policy.promise(p95);
    let time_to_start = policy.time_to_start(promise);
    let service = signals.service.seen().copied();
    let part = match (policy.workload, service) {
        // A job runs one task and ends, so no slot is ever free again.
        (Workload::Job, _) | (Workload::Deployment, None) => 1.0,
        (Workload::Deployment, Some(service)) => {
            (service.as_secs_f64() / time_to_start.as_secs_f64()).min(1.0)
        }
    };
    let odd = signals.workers.as_ref().map_or_else(Odd::default, |workers| Odd {
        stuck: workers.stuck(policy.stuck_after, now),
        poison: workers.poison(),
    });
    let running = in_flight.unwrap_or(0);
    let held = match policy.workload {
        Workload::Deployment => odd.weigh(policy, running),
        // Each of them has a Job, which KEDA subtracts, even if the task never ends.
        Workload::Job => running,
    };
    Some(Want {
        backlog,
        soon,
        in_flight,
        odd,
        promise,
        out_of_reach: policy.latency_target.zip(p95).and_then(|(target, p95)| p95.checked_sub(target)),
        time_to_start,
        service,
        part,
        promise_missed: promise::is_missed(promise, reading, memory),
        slots: held as f64 + part * (backlog.saturating_add(soon)) as f64,
    })
}

/// Tasks that are ready, due soon and running, as they count.
///
/// For Jobs, tasks due soon and tasks that only an earlier read saw do not count: their Jobs would find no
/// task.
fn counted(workload: Workload, reading: &Reading) -> Option<(u64, u64, Option<u64>)> {
    let Reading { ready, soon, in_flight, kept, .. } = reading;
    let (ready, soon, in_flight) = ((*ready)?, soon.unwrap_or(0), in_flight.map(InFlight::tasks));
    Some(match workload {
        Workload::Deployment => (ready, soon, in_flight),
        Workload::Job => {
            let running = in_flight.map(|tasks| tasks.saturating_sub(kept.in_flight));
            (ready.saturating_sub(kept.ready), 0, running)
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::decision::LimitedBy::Demand;
    use crate::engine::testing::*;

    #[test]
    fn an_unmeasured_backlog_gets_a_slot_for_each_task_and_a_measured_one_what_drains_it_in_time() {
        let mut trigger = Trigger::with(|policy| {
            policy.tasks_per_replica = four();
            policy.max_queue_wait = seconds(600);
            policy.start_up = seconds(0);
        });
        trigger.at(0).sees(queue(40, 0)).wants(10).limited_by(Demand);
        trigger.at(60).serves_in(seconds(300)).sees(queue(40, 0)).wants(5).limited_by(Demand);
        trigger.at(120).serves_in(seconds(60)).sees(queue(40, 0)).wants(1).limited_by(Demand);
    }

    #[test]
    fn a_promise_shorter_than_the_start_keeps_a_quarter_of_its_time() {
        let policy = policy(|policy| {
            policy.max_queue_wait = seconds(60);
            policy.start_up = seconds(300);
        });
        assert_eq!(policy.time_to_start(seconds(60)), seconds(15));
    }

    #[test]
    fn delayed_tasks_that_are_due_or_soon_will_be_count() {
        let reading = Reading { due: Some(3), soon: Some(2), ..queue(1, 4) };
        let want = wanted(&policy(|_| {}), reading, None);
        assert_eq!((want.backlog, want.waiting(), want.slots), (4, 6, 10.0));
    }

    #[test]
    fn a_job_is_wanted_for_every_task() {
        let policy = policy(|policy| policy.workload = Workload::Job);
        assert_eq!(wanted(&policy, queue(7, 3), Some(seconds(1))).demanded(&policy), 10);
    }

    proptest! {
        #[test]
        fn never_more_slots_than_tasks(ready in 0..50_000_u64, running in 0..50_000_u64, s in 1..9_000_u64, w in 1..9_000_u64) {
            let policy = policy(|policy| policy.max_queue_wait = seconds(w));
            for service in [None, Some(seconds(s))] {
                let want = wanted(&policy, queue(ready, running), service);
                prop_assert!(want.slots <= (ready + running) as f64 + 1e-6);
                prop_assert!(want.slots >= running as f64);
            }
        }

        #[test]
        fn a_looser_promise_or_a_shorter_task_never_asks_for_more(
            ready in 0..50_000_u64, running in 0..5_000_u64, s in 1..9_000_u64, w in 1..9_000_u64,
            looser in 0..9_000_u64, shorter in 0..9_000_u64,
        ) {
            let strict = policy(|policy| policy.max_queue_wait = seconds(w));
            let loose = policy(|policy| policy.max_queue_wait = seconds(w + looser));
            let long = wanted(&strict, queue(ready, running), Some(seconds(s))).slots;
            prop_assert!(wanted(&loose, queue(ready, running), Some(seconds(s))).slots <= long);
            let short = Some(seconds(s.saturating_sub(shorter).max(1)));
            prop_assert!(wanted(&strict, queue(ready, running), short).slots <= long);
        }
    }
}
