//! What workers report, and the limit that they share.

use humantime::format_duration;

use super::{Check, Finding, Rule, Subject, clocks, finding};
use crate::config::keys;
use crate::manifest::Kind;

pub(super) const STUCK_SHORTER_THAN_TASK: Rule = Rule {
    id: "stuck-shorter-than-task",
    summary: "a task counts as stuck while it still runs as expected",
    check: Check::One(stuck_shorter_than_task),
};

pub(super) const GIVEN_AGAIN_WHILE_RUNNING: Rule = Rule {
    id: "given-again-while-running",
    summary: "a task is given to a second worker while the first still runs it",
    check: Check::Each(given_again_while_running),
};

pub(super) const SCOPE_NOT_NAMED: Rule = Rule {
    id: "scope-not-named",
    summary: "workers on several queues have no name to report under",
    check: Check::One(scope_not_named),
};

pub(super) const LIMIT_WITHOUT_DRAIN: Rule = Rule {
    id: "limit-without-drain",
    summary: "the limit stops growth, but takes no replica away",
    check: Check::One(limit_without_drain),
};

/// Without reports of workers nobody is ever stuck.
fn stuck_shorter_than_task(subject: &Subject<'_>) -> Option<Finding> {
    let policy = &subject.trigger.policy;
    let (stuck, task) = (policy.stuck_after, policy.expected_task_duration?);
    finding(
        subject.trigger.workers.is_some() && stuck < task,
        || {
            let (stuck, task) = (format_duration(stuck), format_duration(task));
            format!("a task takes {task}, and counts as stuck after {stuck} without progress")
        },
        || format!("metadata: stuckAfter: {} at least", format_duration(task)),
    )
}

/// Each of the two pays for the whole of it.
fn given_again_while_running(subject: &Subject<'_>) -> Vec<Finding> {
    let Some(task) = subject.trigger.policy.expected_task_duration else { return Vec::new() };
    let idle = clocks::while_nothing_runs(subject);
    let holds = clocks::holds(subject).into_iter().filter(|(_, after)| *after <= task);
    let finding = |(name, after): (String, _)| {
        let least = format_duration(task * 2);
        let fix = if name == clocks::VISIBILITY_TIMEOUT {
            format!(
                "a visibility timeout of {least} at least in the workers' settings, and the same in the metadata{idle}"
            )
        } else {
            format!("{name}: {least} at least, or workers that extend it while they run{idle}")
        };
        let (task, after) = (format_duration(task), format_duration(after));
        Finding {
            what: format!("a task takes {task}, and another worker is given it after {after} ({name})"),
            fix,
        }
    };
    holds.map(finding).collect()
}

/// The default is the queue's name, which is a list of names here: no worker would report under that.
fn scope_not_named(subject: &Subject<'_>) -> Option<Finding> {
    let workers = subject.trigger.workers.as_ref()?;
    let named = subject.written.metadata.contains_key(keys::WORKER_SCOPE.name);
    finding(
        !named && workers.scope.contains(','),
        || format!("the workers would have to report under the name `{}`", workers.scope),
        || "metadata: workerScope, a name that the workers are told too".to_owned(),
    )
}

/// Running work outranks the limit unless a worker may finish it.
fn limit_without_drain(subject: &Subject<'_>) -> Option<Finding> {
    let policy = &subject.trigger.policy;
    let limit = &subject.trigger.limit.as_ref()?.limit;
    let drain = policy.drain_time;
    // Where no task's length is known, any time to drain may be enough.
    let enough = policy.expected_task_duration.map_or(!drain.is_zero(), |task| task <= drain);
    finding(
        subject.scaled.kind == Kind::ScaledObject && !enough,
        || {
            format!(
                "drainTime is shorter than a task, so replicas stay when `{}` falls short of them",
                limit.name
            )
        },
        || {
            let drain = policy.expected_task_duration.map_or("as long as a task takes".to_owned(), |task| {
                format!("{} at least", format_duration(task))
            });
            let idle = clocks::while_nothing_runs(subject);
            format!("metadata: drainTime: {drain}, and terminationGracePeriodSeconds to match{idle}")
        },
    )
}
