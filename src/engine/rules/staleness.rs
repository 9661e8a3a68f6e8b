//! While the queue cannot be read the last answer stands; after 90 s "nothing to do" is not known any more. For
//! Jobs no answer stands, because an old number would start Jobs.

use crate::engine::Memory;
use crate::engine::decision::{Answer, Unknown};
use crate::engine::policy::Policy;
use crate::engine::signals::{Cause, Signal, Signals};
use crate::timestamp::Timestamp;

/// The answer that replaces a decision, unless the reading is fresh.
pub(in crate::engine) fn stand_in(
    policy: &Policy,
    signals: &Signals,
    memory: &Memory,
    now: Timestamp,
) -> Option<Answer> {
    let read_at = match &signals.queue {
        Signal::Missing(cause) => return Some(Answer::Unknown(Unknown::NeverRead(cause.clone()))),
        Signal::Seen { at, .. } => *at,
    };
    let lost = || Answer::Unknown(Unknown::Lost { read_at, cause: signals.failed.clone() });
    // Tasks may have ended since, and their Jobs with them. KEDA would start Jobs for them again.
    if signals.failed.is_some() && !policy.workload.is_held() {
        return Some(lost());
    }
    let age = now.since(read_at);
    if age <= policy.fresh_for {
        return None;
    }
    Some(memory.last.map_or_else(lost, |last| Answer::held(last, policy.workload, read_at, now)))
}

/// The answer where the queue was read and did not say what waits: the last one, if there is one.
pub(in crate::engine) fn last_or_unknown(policy: &Policy, memory: &Memory) -> Answer {
    let cause = || Cause::new("the source cannot tell what waits");
    let last = memory.last.filter(|_| policy.workload.is_held());
    last.map_or_else(|| Answer::Unknown(Unknown::NeverRead(cause())), Answer::Held)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::engine::decision::LimitedBy::{Demand, Stale};
    use crate::engine::signals::Reading;
    use crate::engine::testing::*;

    #[test]
    fn an_outage_holds_what_was_active_until_it_ends() {
        let mut trigger = Trigger::with(|_| {});
        trigger.at(0).is_unknown();
        trigger.at(5).sees(queue(12, 3)).wants(15).limited_by(Demand);
        trigger.at(20).wants(15).limited_by(Demand);
        trigger.at(21).wants(15).limited_by(Stale).is_held();
        trigger.at(3_600).wants(15).limited_by(Stale).is_held().active();
        trigger.at(3_605).sees(queue(1, 3)).wants(4).limited_by(Demand);
    }

    #[test]
    fn what_was_idle_is_held_for_ninety_seconds_and_then_nothing_is_known() {
        let mut trigger = Trigger::with(|_| {});
        trigger.at(5).sees(queue(0, 0)).wants(0).inactive();
        trigger.at(95).wants(0).limited_by(Stale).is_held();
        trigger.at(96).is_unknown();
        trigger.at(100).sees(queue(0, 0)).wants(0).limited_by(Demand);
    }

    #[test]
    fn a_queue_that_does_not_say_what_waits_is_not_empty() {
        let mut trigger = Trigger::with(|_| {});
        let silent = Reading { ready: None, ..queue(0, 0) };
        trigger.at(5).sees(silent.clone()).is_unknown();
        trigger.at(10).sees(queue(7, 0)).wants(7);
        trigger.at(15).sees(silent).wants(7).is_held();
    }

    proptest! {
        /// Whatever was seen, a read that fails never lowers the number and never makes it inactive.
        #[test]
        fn a_failed_read_lowers_nothing(
            loads in prop::collection::vec(prop::option::of((0..100_u64, 0..100_u64)), 1..60),
        ) {
            let mut trigger = Trigger::with(|policy| policy.tasks_per_replica = four());
            let mut before = None;
            for (tick, load) in (0_u64..).zip(loads) {
                trigger.at(tick * 5);
                match load {
                    Some((ready, running)) => { trigger.sees(queue(ready, running)); }
                    None => if let (Some(before), Some(now)) = (before, trigger.known()) {
                        prop_assert_eq!(before, now);
                    },
                }
                before = trigger.known();
            }
        }
    }
}
