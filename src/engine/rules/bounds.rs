//! The ScaledObject's bounds.

use crate::engine::decision::{LimitedBy, Step};
use crate::engine::policy::{Policy, Workload};

/// Brings the number of an active trigger within its bounds, and to one at least.
///
/// An inactive trigger answers zero: KEDA itself keeps `minReplicaCount`.
pub(in crate::engine) fn clamp(policy: &Policy, active: bool, replicas: u32) -> Option<Step> {
    let least = match policy.workload {
        Workload::Deployment => policy.replicas.min().max(1),
        // KEDA adds a ScaledJob's minimum to the value by itself.
        Workload::Job => 1,
    };
    let most = policy.replicas.max();
    if !active {
        None
    } else if replicas < least {
        Some(Step { by: LimitedBy::Minimum, from: replicas, to: least })
    } else if replicas > most {
        Some(Step { by: LimitedBy::Maximum, from: replicas, to: most })
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::engine::decision::LimitedBy::{Demand, Maximum, Minimum};
    use crate::engine::policy::Workload;
    use crate::engine::testing::*;

    #[test]
    fn an_active_trigger_stays_within_its_bounds_and_an_inactive_one_is_zero() {
        let mut trigger = Trigger::with(|policy| policy.replicas = range(3, 20));
        trigger.at(0).sees(queue(0, 0)).wants(0).limited_by(Demand);
        trigger.at(60).sees(queue(1, 0)).wants(3).limited_by(Minimum);
        trigger.at(120).sees(queue(50, 3)).wants(20).limited_by(Maximum);
        trigger.at(180).sees(queue(4, 4)).wants(8).limited_by(Demand);
    }

    #[test]
    fn the_minimum_of_a_scaled_job_is_kedas_to_add() {
        let mut trigger = Trigger::with(|policy| {
            policy.replicas = range(3, 20);
            policy.workload = Workload::Job;
        });
        trigger.at(0).sees(queue(1, 0)).wants(1).limited_by(Demand);
    }

    proptest! {
        #[test]
        fn bounds_hold_over_any_sequence(loads in prop::collection::vec((0..300_u64, 0..300_u64), 1..40), min in 0..20_u32, more in 1..50_u32) {
            let mut trigger = Trigger::with(|policy| policy.replicas = range(min, min + more));
            for (tick, (ready, running)) in (0_u64..).zip(loads) {
                let size = trigger.at(tick * 5).sees(queue(ready, running)).size();
                prop_assert!(!size.active || (size.replicas >= min.max(1) && size.replicas <= min + more));
            }
        }
    }
}
