//! Whether the trigger says what the ScaledObject does, and whether its promise can be kept.

use std::time::Duration;

use humantime::format_duration;

use super::{Check, Finding, Rule, Subject, finding};
use crate::engine::policy::Workload;
use crate::manifest::Kind;

pub(super) const BOUNDS_DIFFER: Rule = Rule {
    id: "bounds-differ",
    summary: "the trigger's bounds are not those of the ScaledObject",
    check: Check::One(bounds_differ),
};

pub(super) const PROMISE_SHORTER_THAN_START: Rule = Rule {
    id: "promise-shorter-than-start",
    summary: "a start from zero takes longer than maxQueueWait",
    check: Check::One(promise_shorter_than_start),
};

pub(super) const LATENCY_SHORTER_THAN_TASK: Rule = Rule {
    id: "latency-shorter-than-task",
    summary: "a task alone takes longer than latencyTarget",
    check: Check::One(latency_shorter_than_task),
};

pub(super) const UNSEEN_TASKS: Rule =
    Rule { id: "unseen-tasks", summary: "nothing shows the running tasks", check: Check::One(unseen_tasks) };

/// KEDA does not send the bounds, so an answer beyond them is explained wrongly and shared wrongly.
fn bounds_differ(subject: &Subject<'_>) -> Option<Finding> {
    let (scaled, bounds) = (subject.scaled, subject.trigger.policy.replicas);
    let theirs = (scaled.min_replica_count, scaled.max_replica_count);
    finding(
        theirs != (bounds.min(), bounds.max()),
        || {
            let (min, max) = theirs;
            format!("the object scales {min} to {max}, the trigger says {} to {}", bounds.min(), bounds.max())
        },
        || format!("metadata: minReplicaCount: \"{}\", maxReplicaCount: \"{}\"", theirs.0, theirs.1),
    )
}

fn promise_shorter_than_start(subject: &Subject<'_>) -> Option<Finding> {
    let policy = &subject.trigger.policy;
    let polled = match subject.written.kind.as_str() {
        "external-push" if subject.scaled.kind == Kind::ScaledObject => Duration::ZERO,
        _ => subject.scaled.poll(),
    };
    let start = polled + policy.start_up;
    finding(
        subject.scaled.rests() && policy.max_queue_wait < start,
        || {
            let (promise, start) = (format_duration(policy.max_queue_wait), format_duration(start));
            format!("maxQueueWait is {promise}, and the first task after a rest waits {start}")
        },
        || format!("minReplicaCount: 1, or maxQueueWait: {} at least", format_duration(start)),
    )
}

fn latency_shorter_than_task(subject: &Subject<'_>) -> Option<Finding> {
    let policy = &subject.trigger.policy;
    let (target, task) = (policy.latency_target?, policy.expected_task_duration?);
    finding(
        target <= task,
        || {
            let (target, task) = (format_duration(target), format_duration(task));
            format!("latencyTarget is {target}, and a task takes {task}: no number of replicas meets it")
        },
        || {
            let least = format_duration(task + policy.max_queue_wait);
            format!("metadata: latencyTarget: {least}, which leaves room for maxQueueWait; or leave it out")
        },
    )
}

fn unseen_tasks(subject: &Subject<'_>) -> Option<Finding> {
    let trigger = subject.trigger;
    finding(
        !trigger.shows_running(),
        || {
            if trigger.policy.workload == Workload::Job {
                return "running tasks cannot be counted, and KEDA subtracts the running Jobs: tasks wait for Jobs to end"
                    .to_owned();
            }
            let hold = format_duration(trigger.policy.unseen_for());
            format!(
                "running tasks cannot be seen: the number is held for {hold} after the last task was taken"
            )
        },
        || format!("metadata: {}", trigger.to_show_running()),
    )
}
