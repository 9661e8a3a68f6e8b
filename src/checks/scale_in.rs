//! What happens to running tasks when replicas go.

use std::time::Duration;

use humantime::format_duration;

use super::{Finding, Rule, Subject, finding};
use crate::engine::hpa::Behavior;
use crate::manifest::Kind;

pub(super) const GRACE_SHORTER_THAN_DRAIN: Rule = Rule {
    id: "grace-shorter-than-drain",
    summary: "the pods are killed before drainTime is over",
    check: grace_shorter_than_drain,
};

pub(super) const GRACE_SHORTER_THAN_TASK: Rule = Rule {
    id: "grace-shorter-than-task",
    summary: "the pods are killed before a task is done",
    check: grace_shorter_than_task,
};

pub(super) const COOLDOWN_UNDERCUTS_WINDOW: Rule = Rule {
    id: "cooldown-undercuts-window",
    summary: "KEDA goes to zero before the HPA's scale-down window is over",
    check: cooldown_undercuts_window,
};

pub(super) const REPLICAS_SET: Rule = Rule {
    id: "replicas-set",
    summary: "the scaled object names a number of replicas itself",
    check: replicas_set,
};

fn grace_shorter_than_drain(subject: &Subject<'_>) -> Option<Finding> {
    let (grace, drain) = (grace(subject)?, subject.trigger.policy.drain_time);
    finding(
        grace < drain,
        || format!("drainTime is {}, the pods have {}", format_duration(drain), format_duration(grace)),
        || format!("terminationGracePeriodSeconds: {}", drain.as_secs()),
    )
}

fn grace_shorter_than_task(subject: &Subject<'_>) -> Option<Finding> {
    let (grace, task) = (grace(subject)?, subject.trigger.policy.expected_task_duration?);
    finding(
        grace < task,
        || {
            let (task, grace) = (format_duration(task), format_duration(grace));
            format!(
                "a task takes {task}, and a pod that must go has {grace}: a rollout or a drained node kills it"
            )
        },
        || format!("terminationGracePeriodSeconds: {} at least, and drainTime to match", task.as_secs()),
    )
}

fn grace(subject: &Subject<'_>) -> Option<Duration> {
    Some(Duration::from_secs(subject.pods?.grace_period.into()))
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
        || format!("cooldownPeriod: {window}, or a shorter behavior.scaleDown.stabilizationWindowSeconds"),
    )
}

fn replicas_set(subject: &Subject<'_>) -> Option<Finding> {
    finding(
        subject.pods.is_some_and(|pods| pods.has_replicas),
        || format!("every apply sets {} back to its own number of replicas", subject.scaled.target.1),
        || "leave `replicas` out of what is scaled".to_owned(),
    )
}
