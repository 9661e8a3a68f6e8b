//! What happens to running tasks when replicas go.

use std::time::Duration;

use humantime::format_duration;

use super::clocks::while_nothing_runs;
use super::{Check, Finding, Rule, Subject, finding};
use crate::engine::hpa::Behavior;
use crate::manifest::{Kind, Pods};

pub(super) const GRACE_SHORTER_THAN_DRAIN: Rule = Rule {
    id: "grace-shorter-than-drain",
    summary: "the pods are killed before drainTime is over",
    check: Check::One(grace_shorter_than_drain),
};

pub(super) const GRACE_SHORTER_THAN_TASK: Rule = Rule {
    id: "grace-shorter-than-task",
    summary: "the pods are killed before a task is done",
    check: Check::One(grace_shorter_than_task),
};

pub(super) const COOLDOWN_UNDERCUTS_WINDOW: Rule = Rule {
    id: "cooldown-undercuts-window",
    summary: "KEDA goes to zero before the HPA's scale-down window is over",
    check: Check::One(cooldown_undercuts_window),
};

pub(super) const REPLICAS_SET: Rule = Rule {
    id: "replicas-set",
    summary: "the scaled object names a number of replicas itself",
    check: Check::One(replicas_set),
};

fn grace_shorter_than_drain(subject: &Subject<'_>) -> Option<Finding> {
    let (grace, drain) = (grace(subject)?, subject.trigger.policy.drain_time);
    finding(
        grace < drain,
        || {
            let (drain, grace) = (format_duration(drain), format_duration(grace));
            format!("drainTime is {drain}, the pods have {grace}{}", hook(subject))
        },
        || {
            let least = (drain + pre_stop(subject)).as_secs();
            format!("terminationGracePeriodSeconds: {least}{}", while_nothing_runs(subject))
        },
    )
}

fn grace_shorter_than_task(subject: &Subject<'_>) -> Option<Finding> {
    let (grace, task) = (grace(subject)?, subject.trigger.policy.expected_task_duration?);
    finding(
        grace < task,
        || {
            let (task, grace) = (format_duration(task), format_duration(grace));
            let hook = hook(subject);
            format!(
                "a task takes {task}, and a pod that is stopped has {grace}{hook}: a rollout or a drained node kills it"
            )
        },
        || {
            let least = (task + pre_stop(subject)).as_secs();
            let idle = while_nothing_runs(subject);
            format!("terminationGracePeriodSeconds: {least} at least, and drainTime to match{idle}")
        },
    )
}

/// The time of a worker from SIGTERM to SIGKILL: the grace period includes the `preStop` hook.
fn grace(subject: &Subject<'_>) -> Option<Duration> {
    let whole = Duration::from_secs(subject.pods?.grace_period.into());
    Some(whole.saturating_sub(pre_stop(subject)))
}

fn pre_stop(subject: &Subject<'_>) -> Duration {
    subject.pods.map(Pods::pre_stop).unwrap_or_default()
}

fn hook(subject: &Subject<'_>) -> String {
    match pre_stop(subject) {
        Duration::ZERO => String::new(),
        sleep => format!(" after the {} of preStop", format_duration(sleep)),
    }
}

/// The cool-down ends all replicas at once, past every policy and window of the HPA.
fn cooldown_undercuts_window(subject: &Subject<'_>) -> Option<Finding> {
    let scaled = subject.scaled;
    let to_zero = scaled.min_replica_count == 0 || scaled.idle_replica_count.is_some();
    let window = scaled.scale_down.window.map_or(Behavior::DOWN_WINDOW.as_secs(), u64::from);
    finding(
        scaled.kind == Kind::ScaledObject && to_zero && u64::from(scaled.cooldown_period) < window,
        || {
            let cooldown = scaled.cooldown_period;
            format!(
                "after {cooldown} s of rest KEDA ends all replicas at once, though the HPA's window is {window} s"
            )
        },
        || format!("cooldownPeriod: {window} at least"),
    )
}

fn replicas_set(subject: &Subject<'_>) -> Option<Finding> {
    finding(
        subject.pods.is_some_and(|pods| pods.has_replicas),
        || format!("every apply sets {} back to its own number of replicas", subject.scaled.target.1),
        || {
            "leave `replicas` out of the file, but first out of the last applied configuration: `kubectl apply \
             edit-last-applied` (else the next apply sets 1)"
                .to_owned()
        },
    )
}
