//! A queue that cannot show running tasks holds its number for as long as they may run.

use std::time::Duration;

use crate::engine::decision::{LimitedBy, Size, Step, Unknown};
use crate::engine::policy::Policy;
use crate::engine::signals::Reading;
use crate::engine::want::Want;
use crate::timestamp::Timestamp;

/// Parts that the holding time is divided into: what is remembered stays small, however long a task runs.
const PARTS: u32 = 16;

/// What a trigger remembers of a queue that does not show its running tasks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::engine) struct Unseen {
    /// Since when the queue has been watched without a hole.
    watched_since: Option<Timestamp>,
    last_read: Option<Timestamp>,
    /// Whether the last reading showed what runs.
    was_shown: bool,
    /// Recent demands, each larger than all later ones, with the time until which it was wanted.
    peaks: Vec<Peak>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Peak {
    wanted_at: Timestamp,
    replicas: u32,
}

/// What is known of tasks that cannot be seen.
#[derive(Debug, PartialEq)]
pub(in crate::engine) enum Shadow {
    /// The queue shows what runs, or nothing unseen can be running.
    None,
    /// The largest demand of the holding time: so many replicas may be at work.
    Replicas(u32),
    /// Nothing waits, and this process has not looked long enough to know whether anything runs.
    Unknown(Unknown),
}

impl Unseen {
    /// Takes in the present demand, and says what may be running beside it.
    ///
    /// A task that runs now was waiting when it was taken, at most one holding time ago, and was counted in
    /// the demand of that moment. So the largest recent demand covers it.
    pub(in crate::engine) fn look(
        &mut self,
        policy: &Policy,
        reading: &Reading,
        want: &Want,
        last: Option<Size>,
        read_at: Timestamp,
        now: Timestamp,
    ) -> Shadow {
        self.bridge_hole(policy, read_at, now);
        let was_shown = std::mem::replace(&mut self.was_shown, reading.in_flight.is_some());
        let watched_since = *self.watched_since.get_or_insert(now);
        let hold = policy.unseen_for();
        self.peaks.retain(|peak| now.since(peak.wanted_at) <= hold);
        if reading.in_flight.is_some() || !policy.workload.is_held() {
            self.peaks.clear();
            return Shadow::None;
        }
        // What ran a moment ago still does, though nobody shows it any more: workers whose reports were lost will
        // report again.
        if let Some(last) = last.filter(|last| was_shown && last.active) {
            self.peaks = vec![Peak { wanted_at: now, replicas: last.replicas }];
        }
        // A backlog too small to wake anybody leaves nobody behind who could have taken from it.
        let demanded = want.demanded(policy);
        let wakes = want.waiting() > policy.activation_backlog;
        if demanded > 0 && (wakes || !self.peaks.is_empty()) {
            self.remember(demanded, now, hold / PARTS);
        }
        match self.peaks.first() {
            Some(peak) => Shadow::Replicas(peak.replicas),
            None if !wakes && now.since(watched_since) < hold => {
                Shadow::Unknown(Unknown::UnseenTasks { until: watched_since + hold })
            }
            None => Shadow::None,
        }
    }

    /// Begins the watch anew after a time in which the queue could not be read. Whatever was held is held from
    /// now on: workers may have gone on to take tasks until this moment.
    fn bridge_hole(&mut self, policy: &Policy, read_at: Timestamp, now: Timestamp) {
        let last = self.last_read.replace(read_at);
        if last.is_some_and(|last| read_at.since(last) > policy.fresh_for) {
            self.watched_since = Some(now);
            self.peaks.truncate(1);
            self.peaks.iter_mut().for_each(|largest| largest.wanted_at = now);
        }
    }

    fn remember(&mut self, replicas: u32, now: Timestamp, part: Duration) {
        self.peaks.retain(|peak| peak.replicas > replicas);
        // A falling demand would add a peak each tick: within one part the larger one stands for both.
        if let Some(last) = self.peaks.last_mut()
            && now.since(last.wanted_at) < part
        {
            return;
        }
        self.peaks.push(Peak { wanted_at: now, replicas });
    }
}

/// Raises the number to that of the replicas that may be at work.
pub(in crate::engine) fn hold(shadow: &Shadow, replicas: u32) -> Option<Step> {
    match shadow {
        Shadow::Replicas(held) if *held > replicas => {
            Some(Step { by: LimitedBy::UnseenTasks, from: replicas, to: *held })
        }
        Shadow::Replicas(_) | Shadow::None | Shadow::Unknown(_) => None,
    }
}

/// Whether tasks that cannot be seen keep the trigger active.
pub(in crate::engine) const fn keeps_active(shadow: &Shadow) -> bool {
    matches!(shadow, Shadow::Replicas(_))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::engine::decision::LimitedBy::{Activation, Demand, UnseenTasks};
    use crate::engine::signals::Reading;
    use crate::engine::testing::*;

    #[test]
    fn a_plain_list_holds_its_number_for_as_long_as_its_tasks_may_run() {
        let mut trigger = Trigger::with(|policy| policy.expected_task_duration = Some(seconds(300)));
        trigger.at(0).sees(list(40)).wants(40).limited_by(Demand);
        trigger.at(60).sees(list(40)).wants(40).limited_by(Demand);
        for second in (65..=365).step_by(5) {
            trigger.at(second).sees(list(0)).wants(40).limited_by(UnseenTasks).active();
        }
        trigger.at(370).sees(list(0)).wants(0).limited_by(Demand).inactive();
    }

    #[test]
    fn what_ran_when_reports_were_lost_is_held_until_they_are_back() {
        let mut trigger = Trigger::with(|policy| policy.expected_task_duration = Some(seconds(300)));
        trigger.at(0).sees(queue(5, 5)).wants(10);
        trigger.at(5).sees(list(0)).wants(10).limited_by(UnseenTasks).active();
        trigger.at(10).sees(list(0)).wants(10).limited_by(UnseenTasks);
        trigger.at(15).sees(queue(0, 2)).wants(2).limited_by(Demand);
        trigger.at(20).sees(queue(0, 0)).wants(0).inactive();
    }

    #[test]
    fn tasks_that_were_taken_while_the_list_could_not_be_read_are_held_from_its_return_on() {
        let mut trigger = Trigger::with(|policy| policy.expected_task_duration = Some(seconds(300)));
        trigger.at(0).sees(list(40)).wants(40);
        trigger.at(600).sees(list(0)).wants(40).limited_by(UnseenTasks).active();
        for second in (605..=900).step_by(5) {
            trigger.at(second).sees(list(0)).wants(40).limited_by(UnseenTasks);
        }
        trigger.at(905).sees(list(0)).wants(0).inactive();
    }

    #[test]
    fn decisions_on_an_old_reading_hide_no_hole() {
        let mut trigger = Trigger::with(|policy| policy.expected_task_duration = Some(seconds(20)));
        trigger.at(0).sees(list(40)).wants(9);
        trigger.at(5).at(10).at(15).wants(9);
        trigger.at(36).sees(list(0)).wants(9).limited_by(UnseenTasks).active();
    }

    #[test]
    fn an_idle_list_that_could_not_be_read_is_not_known_to_be_idle() {
        let mut trigger = Trigger::with(|policy| policy.expected_task_duration = Some(seconds(30)));
        for second in (0..30).step_by(5) {
            trigger.at(second).sees(list(0)).is_unknown();
        }
        trigger.at(30).sees(list(0)).wants(0).inactive();
        trigger.at(200).sees(list(0)).is_unknown();
    }

    #[test]
    fn a_backlog_below_the_threshold_wakes_nobody_and_leaves_nobody_behind() {
        let mut trigger = Trigger::with(|policy| {
            policy.activation_backlog = 5;
            policy.expected_task_duration = Some(seconds(30));
        });
        for second in (0..30).step_by(5) {
            trigger.at(second).sees(list(3)).is_unknown();
        }
        trigger.at(30).sees(list(3)).wants(0).limited_by(Activation).inactive();
        trigger.at(35).sees(list(6)).wants(2).active();
    }

    #[test]
    fn an_empty_list_is_not_known_to_be_idle_until_it_was_watched_for_a_task() {
        let mut trigger = Trigger::with(|_| {});
        trigger.at(0).sees(list(0)).is_unknown();
        for second in (5..600).step_by(5) {
            trigger.at(second).sees(list(0)).is_unknown();
        }
        trigger.at(600).sees(list(0)).wants(0).inactive();
        trigger.at(605).sees(list(1)).wants(1).active();
    }

    #[test]
    fn work_that_waits_is_known_at_once() {
        let mut trigger = Trigger::with(|_| {});
        trigger.at(0).sees(list(3)).wants(3).active();
    }

    proptest! {
        #[test]
        fn what_was_taken_within_the_holding_time_keeps_its_replicas(
            loads in prop::collection::vec(0..100_u64, 1..200), hold in 1..40_u64,
        ) {
            let hold = hold * 5;
            let mut trigger = Trigger::with(|policy| policy.expected_task_duration = Some(seconds(hold)));
            let mut history: Vec<(u64, u64)> = vec![];
            for (tick, ready) in (0_u64..).zip(loads) {
                let now = tick * 5;
                trigger.at(now).sees(list(ready));
                history.push((now, ready));
                // One part of the holding time may be lost to rounding; nothing else.
                let since = (now + hold / 16).saturating_sub(hold);
                let taken = history.iter().filter(|(at, _)| *at >= since).map(|(_, ready)| *ready).max();
                if taken > Some(0) {
                    prop_assert!(u64::from(trigger.replicas()) >= demanded(taken, hold));
                }
            }
        }
    }

    fn list(ready: u64) -> Reading {
        Reading { ready: Some(ready), ..Reading::default() }
    }

    /// The law at W = 120 s and L = 30 s, written out a second time.
    fn demanded(ready: Option<u64>, service: u64) -> u64 {
        let part = (service as f64 / 90.0).min(1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 100")]
        let replicas = (ready.unwrap_or(0) as f64 * part - 1e-6).ceil() as u64;
        replicas
    }
}
