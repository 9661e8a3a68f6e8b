//! While the queue cannot be read the last answer stands; after 90 s "nothing to do" is not known any more.

use crate::engine::Memory;
use crate::engine::decision::{Answer, Unknown};
use crate::engine::policy::Policy;
use crate::engine::signals::{Reading, Signal};
use crate::timestamp::Timestamp;

/// The answer that replaces a decision, unless the reading is fresh.
pub(in crate::engine) fn stand_in(
    policy: &Policy,
    queue: &Signal<Reading>,
    memory: &Memory,
    now: Timestamp,
) -> Option<Answer> {
    let read_at = match queue {
        Signal::Missing(cause) => return Some(Answer::Unknown(Unknown::NeverRead(cause.clone()))),
        Signal::Seen { at, .. } => *at,
    };
    let age = now.since(read_at);
    if age <= policy.fresh_for {
        return None;
    }
    Some(match memory.last {
        Some(last) => Answer::held(last, read_at, now),
        None => Answer::Unknown(Unknown::Lost { read_at }),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::engine::decision::LimitedBy::{Demand, Stale};
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
