//! Deadlines and timeouts that end a task, or give it to a second worker, before it is done.

use std::time::Duration;

use humantime::format_duration;

use super::{Check, Finding, Rule, Subject};
use crate::manifest::{Clock, Ends, Kind};

pub(super) const DEADLINE_SHORTER_THAN_TASK: Rule = Rule {
    id: "deadline-shorter-than-task",
    summary: "a deadline is shorter than a task",
    check: Check::Each(deadline_shorter_than_task),
};

pub(super) const STOPPED_BEFORE_TASK_ENDS: Rule = Rule {
    id: "stopped-before-task-ends",
    summary: "another setting stops the worker before its grace period ends",
    check: Check::Each(stopped_before_task_ends),
};

pub(super) const PRE_STOP_USES_UP_GRACE: Rule = Rule {
    id: "pre-stop-uses-up-grace",
    summary: "a preStop hook uses up the whole grace period",
    check: Check::Each(pre_stop_uses_up_grace),
};

pub(super) const NODE_ENDS_BEFORE_TASK: Rule = Rule {
    id: "node-ends-before-task",
    summary: "a node is removed before a task is done",
    check: Check::Each(node_ends_before_task),
};

pub(super) const ROLLOUT_COUNTS_AS_FAILED: Rule = Rule {
    id: "rollout-counts-as-failed",
    summary: "a rollout counts as failed while pods still start or finish their tasks",
    check: Check::Each(rollout_counts_as_failed),
};

pub(super) const PERSISTENT_SHORTER_THAN_TASK: Rule = Rule {
    id: "persistent-shorter-than-task",
    summary: "a partition counts as stuck before its task is done",
    check: Check::One(persistent_shorter_than_task),
};

/// Longest time that Cluster Autoscaler gives a pod, whatever its grace period: the default of
/// `--max-graceful-termination-sec`.
const CLUSTER_AUTOSCALER: Duration = Duration::from_secs(600);

/// The trigger key for the time after which a framework gives a task to another worker.
pub(super) const VISIBILITY_TIMEOUT: &str = "visibilityTimeout";

/// The end of a fix that changes the template of a NodePool: Karpenter then replaces its nodes as drifted.
const NODES_ARE_REPLACED: &str = "; apply it while nothing runs, because Karpenter then replaces the present nodes \
                                  by their old settings";

/// How long a task may take, in the words of the trigger, and the time itself.
struct Longest {
    words: String,
    time: Duration,
}

/// The longer of `expectedTaskDuration` and `drainTime`, because a task may take all of `drainTime`.
fn longest(subject: &Subject<'_>) -> Option<Longest> {
    let policy = &subject.trigger.policy;
    let (task, drain) = (policy.expected_task_duration.unwrap_or_default(), policy.drain_time);
    let words = match task.max(drain) {
        Duration::ZERO => return None,
        time if time == task => format!("a task takes {}", format_duration(time)),
        time => format!("a task may run on for {} (drainTime)", format_duration(time)),
    };
    Some(Longest { words, time: task.max(drain) })
}

/// The clocks of the pods that have one of these effects.
fn clocks<'a>(subject: &Subject<'a>, ends: &'static [Ends]) -> impl Iterator<Item = &'a Clock> {
    subject.clocks.iter().filter(move |clock| ends.contains(&clock.ends))
}

fn deadline_shorter_than_task(subject: &Subject<'_>) -> Vec<Finding> {
    let Some(longest) = longest(subject) else { return Vec::new() };
    let start_up = subject.trigger.policy.start_up;
    let finding = |clock: &Clock| {
        // The Job's deadline includes the start of its pod.
        let (least, whole) = match clock.ends {
            Ends::Job => (longest.time + start_up, ", with the start of its pod and all of its retries"),
            Ends::Pod => (longest.time, ", with everything that the pod does before"),
            Ends::Task | Ends::Hold | Ends::Probed | Ends::Proxy | Ends::Stop | Ends::Rollout => {
                (longest.time, "")
            }
        };
        (clock.after <= least).then(|| Finding {
            what: format!(
                "{}, and {} ends it after {}{whole}",
                longest.words,
                clock.name,
                format_duration(clock.after)
            ),
            fix: format!(
                "{}: well above {} s, or none{}",
                clock.name,
                least.as_secs(),
                while_nothing_runs(subject)
            ),
        })
    };
    clocks(subject, &[Ends::Job, Ends::Pod, Ends::Task]).filter_map(finding).collect()
}

fn stopped_before_task_ends(subject: &Subject<'_>) -> Vec<Finding> {
    let Some(longest) = longest(subject) else { return Vec::new() };
    let finding = |clock: &Clock| {
        let (when, who) = match clock.ends {
            Ends::Probed => ("after a failed probe the worker", "has"),
            Ends::Proxy => ("after SIGTERM the worker", "keeps its proxy for"),
            Ends::Job | Ends::Pod | Ends::Task | Ends::Hold | Ends::Stop | Ends::Rollout => {
                ("after SIGTERM the worker", "stops within")
            }
        };
        Finding {
            what: format!(
                "{}, and {when} {who} {} ({})",
                longest.words,
                format_duration(clock.after),
                clock.name
            ),
            fix: format!(
                "{}: {} at least{}",
                clock.name,
                format_duration(longest.time),
                while_nothing_runs(subject)
            ),
        }
    };
    let clocks = clocks(subject, &[Ends::Probed, Ends::Proxy, Ends::Stop]);
    clocks.filter(|clock| clock.after < longest.time).map(finding).collect()
}

/// The grace period includes the hook, so after SIGTERM the container has only the rest.
fn pre_stop_uses_up_grace(subject: &Subject<'_>) -> Vec<Finding> {
    let Some(pods) = subject.pods else { return Vec::new() };
    let grace = Duration::from_secs(pods.grace_period.into());
    let hooks = pods.pre_stops.iter().filter(|hook| grace <= hook.sleep);
    let finding = |hook: &crate::manifest::PreStop| Finding {
        what: format!(
            "container {} sleeps {} in preStop, and its pod is killed after {}",
            hook.container,
            format_duration(hook.sleep),
            format_duration(grace)
        ),
        fix: format!(
            "terminationGracePeriodSeconds: {} and the time that a task takes{}",
            hook.sleep.as_secs(),
            while_nothing_runs(subject)
        ),
    };
    hooks.map(finding).collect()
}

fn node_ends_before_task(subject: &Subject<'_>) -> Vec<Finding> {
    let (Some(pods), Some(Longest { words, time })) = (subject.pods, longest(subject)) else {
        return Vec::new();
    };
    let annotated = |name: &str, value: &str| pods.annotations.get(name).is_some_and(|text| text == value);
    let mut found = Vec::new();
    let mut add =
        |what: String, fix: String| found.push(Finding { what: format!("{words}, and {what}"), fix });
    let (at_least, idle) = (format!("{} at least", format_duration(time)), while_nothing_runs(subject));
    for pool in subject.manifests.node_pools.iter().filter(|pool| pool.takes(pods)) {
        let name = &pool.name;
        if let Some(grace) = pool.termination_grace_period.filter(|grace| *grace < time) {
            let grace = format_duration(grace);
            add(
                format!("a node that the pool {name} removes kills its pods after {grace}"),
                format!("terminationGracePeriod of the NodePool {name}: {at_least}{NODES_ARE_REPLACED}"),
            );
        }
        if let Some(age) = pool.expire_after.filter(|age| *age <= time) {
            add(
                format!("a node of the pool {name} lives for {}", format_duration(age)),
                format!(
                    "expireAfter of the NodePool {name}: many times {}, or Never{NODES_ARE_REPLACED}",
                    format_duration(time)
                ),
            );
        }
        let keeps = annotated("karpenter.sh/do-not-disrupt", "true");
        if pool.consolidates_busy && !keeps && Duration::from_secs(pods.grace_period.into()) < time {
            add(
                format!("the pool {name} empties nodes on which pods run, to save money"),
                "consolidationPolicy: WhenEmpty, or the annotation `karpenter.sh/do-not-disrupt: \"true\"` on the pods"
                    .to_owned(),
            );
        }
    }
    if annotated("cluster-autoscaler.kubernetes.io/safe-to-evict", "true") && CLUSTER_AUTOSCALER < time {
        add(
            "`safe-to-evict: \"true\"` lets Cluster Autoscaler end it within 10m, whatever the grace period"
                .to_owned(),
            "the annotation `cluster-autoscaler.kubernetes.io/safe-to-evict: \"false\"` on the pods"
                .to_owned(),
        );
    }
    if annotated("karpenter.sh/do-not-evict", "true") && !annotated("karpenter.sh/do-not-disrupt", "true") {
        add(
            "Karpenter 1 does not read `karpenter.sh/do-not-evict`".to_owned(),
            format!("the annotation `karpenter.sh/do-not-disrupt: \"true\"` on the pods{idle}"),
        );
    }
    found
}

/// The deadline itself kills no pod, but tools that roll back replace every pod a second time.
fn rollout_counts_as_failed(subject: &Subject<'_>) -> Vec<Finding> {
    let start_up = subject.trigger.policy.start_up;
    let longest = longest(subject);
    let finding = |clock: &Clock| {
        let (words, time) = match &longest {
            Some(Longest { words, time }) if start_up < *time => (words.clone(), *time),
            Some(_) | None => (format!("a pod starts in {}", format_duration(start_up)), start_up),
        };
        (clock.after <= time).then(|| Finding {
            what: format!(
                "{words}, and a rollout without progress counts as failed after {}: tools roll it back",
                format_duration(clock.after)
            ),
            fix: format!("progressDeadlineSeconds: {} at least", (time + start_up).as_secs()),
        })
    };
    clocks(subject, &[Ends::Rollout]).filter_map(finding).collect()
}

fn persistent_shorter_than_task(subject: &Subject<'_>) -> Option<Finding> {
    let metadata = &subject.written.metadata;
    let text = |name: &str| metadata.get(name).map(|text| text.trim());
    let excludes = text("excludePersistentLag") == Some("true");
    let after = humantime::parse_duration(text("persistentAfter").unwrap_or("10m")).ok()?;
    let task = subject.trigger.policy.expected_task_duration?;
    super::finding(
        excludes && subject.trigger.source.name == "kafka" && after <= task,
        || {
            let (task, after) = (format_duration(task), format_duration(after));
            format!("a task takes {task}, and its partition counts as stuck after {after} without a commit")
        },
        || format!("metadata: persistentAfter: {} at least", format_duration(task * 2)),
    )
}

/// The end of a fix that changes the template of a Deployment: the rollout ends the present pods by their old
/// grace period.
pub(super) fn while_nothing_runs(subject: &Subject<'_>) -> &'static str {
    match subject.scaled.kind {
        Kind::ScaledObject => {
            "; apply it while nothing runs, because the rollout ends the present pods by their old settings"
        }
        Kind::ScaledJob => "",
    }
}

/// The settings after which a task is given to another worker, with their times.
pub(super) fn holds(subject: &Subject<'_>) -> Vec<(String, Duration)> {
    let plan = &subject.trigger.plan;
    let own = plan.given_again_after().map(|after| (VISIBILITY_TIMEOUT.to_owned(), after));
    let timeouts = &subject.manifests.visibility_timeouts;
    let names = plan.names().into_iter().filter(|_| subject.trigger.source.name == "aws-sqs-queue");
    let queues = names.filter_map(|name| {
        let name = name.rsplit('/').next()?;
        Some((format!("the visibility timeout of the queue {name}"), *timeouts.get(name)?))
    });
    let workers = clocks(subject, &[Ends::Hold]).map(|clock| (clock.name.clone(), clock.after));
    own.into_iter().chain(queues).chain(workers).collect()
}
