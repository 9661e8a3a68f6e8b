//! Partitions lie evenly on the slots only where their number can be divided by that of the slots.

use crate::engine::decision::{LimitedBy, Step};
use crate::engine::policy::Policy;
use crate::engine::signals::Reading;

/// Raises the number until each slot has as many partitions as the others, or one at most.
pub(in crate::engine) fn round_up(policy: &Policy, reading: &Reading, replicas: u32) -> Option<Step> {
    // A Job without a task makes partitions no more even.
    let partitions = reading.even_over.filter(|_| policy.workload.is_held())?;
    let slots = policy.tasks_per_replica;
    let most = partitions.div_ceil(slots.get());
    let is_even = |replicas: &u32| partitions.is_multiple_of(replicas.saturating_mul(slots.get()));
    // A number above the trigger's own bound is cut to it anyway, and a broker may name any number of partitions.
    let searched = most.min(policy.replicas.max().saturating_add(1));
    let to = (replicas.max(1)..searched).find(is_even).unwrap_or(most);
    (0 < replicas && replicas < to).then_some(Step { by: LimitedBy::EvenPartitions, from: replicas, to })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::engine::decision::LimitedBy::{Ceiling, Demand, EvenPartitions};
    use crate::engine::policy::ReplicaRange;
    use crate::engine::signals::Reading;
    use crate::engine::testing::*;

    #[test]
    fn five_replicas_for_twelve_partitions_become_six() {
        let mut trigger = Trigger::with(|_| {});
        let waiting = |ready| Reading { ceiling: Some(12), even_over: Some(12), ..queue(ready, 0) };
        trigger.at(0).sees(waiting(5)).wants(6).limited_by(EvenPartitions);
        trigger.at(60).sees(waiting(6)).wants(6).limited_by(Demand);
        trigger.at(120).sees(waiting(7)).wants(12).limited_by(EvenPartitions);
        trigger.at(180).sees(waiting(70)).wants(12).limited_by(Ceiling);
        trigger.at(240).sees(waiting(0)).wants(0);
    }

    #[test]
    fn what_is_divided_among_are_slots() {
        let mut trigger = Trigger::with(|policy| policy.tasks_per_replica = four());
        let waiting = |partitions, ready| Reading { even_over: Some(partitions), ..queue(ready, 0) };
        trigger.at(0).sees(waiting(24, 13)).wants(6).limited_by(EvenPartitions);
        // Ten cannot be divided by slots that come in fours: one slot for each is as even as it gets.
        trigger.at(60).sees(waiting(10, 5)).wants(3).limited_by(EvenPartitions);
    }

    #[test]
    fn a_broker_that_names_billions_of_partitions_costs_no_search_of_them() {
        let mut trigger = Trigger::with(|policy| policy.replicas = ReplicaRange::try_new(0, 50).unwrap());
        // A prime: nothing divides it.
        let partitions = Some(4_294_967_291);
        let reading = Reading { ceiling: partitions, even_over: partitions, ..queue(7, 0) };
        trigger.at(0).sees(reading).wants(50);
    }

    proptest! {
        #[test]
        fn each_slot_has_as_many_partitions_as_the_others_and_no_replica_is_idle(
            ready in 1..300_u64, partitions in 1..200_u32,
        ) {
            let mut trigger = Trigger::with(|_| {});
            let reading = Reading { ceiling: Some(partitions), even_over: Some(partitions), ..queue(ready, 0) };
            let replicas = trigger.at(0).sees(reading).replicas();
            prop_assert!(partitions.is_multiple_of(replicas) && u64::from(replicas) >= ready.min(u64::from(partitions)));
        }
    }
}
