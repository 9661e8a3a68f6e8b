//! A queue may have room for only so many workers: partitions, a global concurrency.

use crate::engine::decision::{LimitedBy, Step};
use crate::engine::policy::Policy;
use crate::engine::signals::Reading;

/// Lowers the number to what the queue can use; never below one, because active is never zero.
pub(in crate::engine) fn cut(policy: &Policy, reading: &Reading, replicas: u32) -> Option<Step> {
    let most = reading.ceiling?.div_ceil(policy.tasks_per_replica.get()).max(1);
    (replicas > most).then_some(Step { by: LimitedBy::Ceiling, from: replicas, to: most })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::engine::decision::LimitedBy::{Ceiling, Demand};
    use crate::engine::signals::Reading;
    use crate::engine::testing::*;

    #[test]
    fn more_slots_than_partitions_are_of_no_use() {
        let mut trigger = Trigger::with(|policy| policy.tasks_per_replica = four());
        let partitions = |ready| Reading { ceiling: Some(10), ..queue(ready, 0) };
        trigger.at(0).sees(partitions(100)).wants(3).limited_by(Ceiling);
        trigger.at(60).sees(partitions(12)).wants(3).limited_by(Demand);
    }

    proptest! {
        #[test]
        fn slots_reach_the_ceiling_and_exceed_it_by_less_than_a_replica(
            loads in prop::collection::vec((0..500_u64, 0..60_u32), 1..30),
        ) {
            let mut trigger = Trigger::with(|policy| policy.tasks_per_replica = four());
            for (tick, (ready, ceiling)) in (0_u64..).zip(loads) {
                let reading = Reading { ceiling: Some(ceiling), ..queue(ready, 0) };
                let slots = trigger.at(tick * 5).sees(reading).replicas() * 4;
                prop_assert!(slots < ceiling.max(1) + 4);
                prop_assert!(u64::from(slots) >= ready.min(u64::from(ceiling)));
            }
        }
    }
}
