//! Active or not: a wrong "no" kills every pod, so only a known nothing is inactive.

use crate::engine::decision::{LimitedBy, Step};
use crate::engine::policy::Policy;
use crate::engine::want::Want;

/// Whether there is anything to do: enough waits to wake a workload, or something runs.
///
/// `unseen` says that something may run that nobody can show now.
pub(in crate::engine) fn is_active(policy: &Policy, want: &Want, unseen: bool) -> bool {
    want.waiting() > policy.activation_backlog || want.running() > 0 || unseen
}

/// Lowers the number of an inactive trigger to zero.
pub(in crate::engine) fn sleep(active: bool, replicas: u32) -> Option<Step> {
    (!active && replicas > 0).then_some(Step { by: LimitedBy::Activation, from: replicas, to: 0 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::engine::decision::LimitedBy::{Activation, Demand};
    use crate::engine::testing::*;

    #[test]
    fn a_backlog_wakes_the_workload_only_above_the_threshold_and_running_work_keeps_it_awake() {
        let mut trigger = Trigger::with(|policy| policy.activation_backlog = 5);
        trigger.at(0).sees(queue(5, 0)).wants(0).limited_by(Activation).inactive();
        trigger.at(60).sees(queue(6, 0)).wants(6).limited_by(Demand).active();
        trigger.at(120).sees(queue(2, 4)).wants(6).limited_by(Demand).active();
        trigger.at(180).sees(queue(0, 1)).wants(1).limited_by(Demand).active();
        trigger.at(240).sees(queue(0, 0)).wants(0).limited_by(Demand).inactive();
    }

    proptest! {
        #[test]
        fn the_value_is_zero_exactly_when_inactive_and_work_in_flight_is_always_active(
            loads in prop::collection::vec((0..20_u64, 0..5_u64), 1..40), threshold in 0..10_u64, min in 0..4_u32,
        ) {
            let mut trigger = Trigger::with(|policy| {
                policy.activation_backlog = threshold;
                policy.replicas = range(min, 50);
            });
            for (tick, (ready, running)) in (0_u64..).zip(loads) {
                let size = trigger.at(tick * 5).sees(queue(ready, running)).size();
                prop_assert_eq!(size.replicas == 0, !size.active);
                prop_assert_eq!(size.active, running > 0 || ready > threshold);
            }
        }
    }
}
