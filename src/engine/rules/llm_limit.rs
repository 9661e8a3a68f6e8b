//! No more replicas than a rate limit feeds: the others would only be refused.

use crate::engine::Memory;
use crate::engine::decision::{LimitedBy, Step};
use crate::engine::limit::share::{Bound, Share};
use crate::engine::policy::{Policy, Workload};
use crate::engine::rules::running;
use crate::engine::signals::Signals;
use crate::engine::want::Want;
use crate::timestamp::Timestamp;

/// Lowers the number to that of the replicas that the limit feeds; never below one.
///
/// While little is left of the limit nobody grows beyond their part: that headroom jitters within the minute, so
/// it stops growth and takes nothing away. While requests wait in the model's own server, nobody grows at all.
pub(in crate::engine) fn cut(share: Option<&Share>, memory: &Memory, replicas: u32) -> Option<Step> {
    let share = share?;
    let last = memory.last.map_or(0, |last| last.replicas);
    let fed = match &share.bound {
        Bound::At(cap) if cap.scarce => cap.replicas.min(cap.fair.max(last)),
        Bound::At(cap) => cap.replicas,
        Bound::Open(_) => u32::MAX,
    };
    let most = if share.full { fed.min(last) } else { fed }.max(1);
    (replicas > most).then_some(Step { by: LimitedBy::LlmLimit, from: replicas, to: most })
}

/// Lowers the number to that of the busy replicas while the provider refuses everything; never below one, which
/// will notice when it does not. Of Jobs only those that run are left: one more would be started to be refused.
pub(in crate::engine) fn wait(
    policy: &Policy,
    signals: &Signals,
    want: &Want,
    share: Option<&Share>,
    memory: &Memory,
    now: Timestamp,
    replicas: u32,
) -> Option<Step> {
    share?.blocked.filter(|block| block.until > now)?;
    let most = match policy.workload {
        Workload::Deployment => running::busy(policy, signals, want, memory, now).max(1),
        Workload::Job => Want::replicas(policy, want.running() as f64),
    };
    (replicas > most).then_some(Step { by: LimitedBy::LlmBlocked, from: replicas, to: most })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::engine::decision::LimitedBy::{Demand, LlmBlocked, LlmLimit, RunningTasks};
    use crate::engine::limit::share::Cap;
    use crate::engine::limit::{Block, Why};
    use crate::engine::signals::{Percentile, Reading};
    use crate::engine::testing::*;
    use crate::timestamp::Timestamp;

    #[test]
    fn a_limit_caps_growth_and_running_work_outranks_it_unless_workers_drain() {
        let mut trigger = Trigger::with(|_| {});
        trigger.at(0).sees(queue(40, 0)).wants(40).limited_by(Demand);
        trigger.at(5).shares(capped(12)).sees(queue(10, 30)).wants(30).limited_by(RunningTasks);
        trigger.at(60).sees(queue(30, 10)).wants(12).limited_by(LlmLimit);

        let mut drains = Trigger::with(|policy| policy.drain_time = seconds(600));
        let served = Some(Percentile { p95: seconds(300), samples: 50 });
        drains.at(0).sees(queue(40, 0)).wants(40);
        drains.at(5).shares(capped(12)).sees(Reading { services: served, ..queue(10, 30) });
        drains.wants(12).limited_by(LlmLimit);
    }

    #[test]
    fn while_requests_wait_in_the_models_server_nobody_grows_and_nothing_is_taken_away() {
        let mut trigger = Trigger::with(|_| {});
        trigger.at(0).full().sees(queue(40, 0)).wants(1).limited_by(LlmLimit);
        trigger.at(5).shares(capped(20)).sees(queue(40, 0)).wants(20).limited_by(LlmLimit);
        trigger.at(10).full().sees(queue(60, 0)).wants(20).limited_by(LlmLimit);
        trigger.at(15).sees(queue(12, 0)).wants(12).limited_by(Demand);
    }

    #[test]
    fn scarce_headroom_stops_growth_beyond_the_own_part_and_takes_nothing_away() {
        let mut trigger = Trigger::with(|_| {});
        trigger.at(0).shares(capped(20)).sees(queue(15, 0)).wants(15).limited_by(Demand);
        let scarce = |fair| Cap { scarce: true, fair, ..capped(20) };
        trigger.at(5).shares(scarce(8)).sees(queue(40, 0)).wants(15).limited_by(LlmLimit);
        trigger.at(10).shares(scarce(18)).sees(queue(40, 0)).wants(18).limited_by(LlmLimit);
        trigger.at(15).shares(capped(20)).sees(queue(40, 0)).wants(20).limited_by(LlmLimit);
    }

    #[test]
    fn a_used_up_quota_leaves_the_busy_replicas_and_at_least_one() {
        let mut trigger = Trigger::with(|_| {});
        let block = Block { until: Timestamp::from_millis(3_600_000), why: Why::Quota };
        trigger.at(0).sees(queue(40, 0)).wants(40);
        trigger.at(5).blocked(block).sees(queue(40, 6)).wants(6).limited_by(LlmBlocked).active();
        trigger.at(10).sees(queue(40, 0)).wants(1).limited_by(LlmBlocked).active();
        trigger.at(3_605).sees(queue(40, 0)).wants(40).limited_by(Demand);
    }

    proptest! {
        #[test]
        fn an_active_trigger_keeps_one_replica_and_an_uncapped_one_is_never_the_lower(
            loads in prop::collection::vec((0..60_u64, 0..60_u64, 1..40_u32, any::<bool>()), 1..40),
        ) {
            let mut free = Trigger::with(|_| {});
            let mut bound = Trigger::with(|_| {});
            for (tick, (ready, running, replicas, scarce)) in (0_u64..).zip(loads) {
                let cap = Cap { scarce, fair: replicas / 2, ..capped(replicas) };
                let uncapped = free.at(tick * 5).sees(queue(ready, running)).replicas();
                let size = bound.at(tick * 5).shares(cap).sees(queue(ready, running)).size();
                prop_assert!(size.replicas <= uncapped.max(1));
                prop_assert_eq!(size.replicas > 0, ready + running > 0);
                prop_assert_eq!(size.active, ready + running > 0);
            }
        }
    }
}
