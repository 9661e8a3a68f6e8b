//! While tasks wait longer than promised, the whole backlog gets slots.

use std::time::Duration;

use crate::engine::Memory;
use crate::engine::decision::{LimitedBy, Step};
use crate::engine::policy::Policy;
use crate::engine::signals::{Percentile, Reading};
use crate::engine::want::Want;

/// Whether the promise is being missed: from a 95th percentile of the wait above W until one below W/2.
///
/// Without samples the last verdict stands, because silence is no proof that all is well.
pub(in crate::engine) fn is_missed(promise: Duration, reading: &Reading, memory: &Memory) -> bool {
    match reading.waits.and_then(Percentile::known) {
        Some(p95) if memory.promise_missed => p95 >= promise / 2,
        Some(p95) => p95 > promise,
        None => memory.promise_missed,
    }
}

/// Raises the number to a slot for each task while the promise is being missed.
pub(in crate::engine) fn catch_up(policy: &Policy, want: &Want, replicas: u32) -> Option<Step> {
    let all = Want::replicas(policy, want.for_every_task(policy));
    (want.promise_missed && all > replicas).then_some(Step {
        by: LimitedBy::Promise,
        from: replicas,
        to: all,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::engine::decision::LimitedBy::{Demand, Promise};
    use crate::engine::signals::{Percentile, Reading};
    use crate::engine::testing::*;

    #[test]
    fn a_missed_promise_counts_the_whole_backlog_until_waits_are_half_of_it() {
        let mut trigger = Trigger::with(|policy| {
            policy.max_queue_wait = seconds(100);
            policy.start_up = seconds(0);
        });
        trigger.serves_in(seconds(10));
        trigger.at(0).sees(waiting(100, 20)).wants(10).limited_by(Demand);
        trigger.at(60).sees(waiting(100, 101)).wants(100).limited_by(Promise);
        trigger.at(120).sees(waiting(100, 60)).wants(100).limited_by(Promise);
        trigger.at(180).sees(queue(100, 0)).wants(100).limited_by(Promise);
        trigger.at(240).sees(waiting(100, 49)).wants(10).limited_by(Demand);
    }

    #[test]
    fn nineteen_samples_break_no_promise() {
        let mut trigger = Trigger::with(|policy| policy.max_queue_wait = seconds(100));
        let waits = Some(Percentile { p95: seconds(500), samples: 19 });
        trigger.serves_in(seconds(10)).at(0).sees(Reading { waits, ..queue(100, 0) }).limited_by(Demand);
    }

    proptest! {
        #[test]
        fn longer_waits_never_lower_the_number(waits in prop::collection::vec((0..400_u64, 0..200_u64), 1..30)) {
            let mut patient = Trigger::with(|policy| policy.max_queue_wait = seconds(100));
            let mut waiting_longer = Trigger::with(|policy| policy.max_queue_wait = seconds(100));
            patient.serves_in(seconds(10));
            waiting_longer.serves_in(seconds(10));
            for (tick, (wait, more)) in (0_u64..).zip(waits) {
                let less = patient.at(tick * 5).sees(waiting(100, wait)).replicas();
                prop_assert!(waiting_longer.at(tick * 5).sees(waiting(100, wait + more)).replicas() >= less);
            }
        }
    }

    fn waiting(ready: u64, p95: u64) -> Reading {
        Reading { waits: Some(Percentile { p95: seconds(p95), samples: 20 }), ..queue(ready, 0) }
    }
}
