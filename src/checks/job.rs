//! ScaledJobs: KEDA sends neither the kind nor what it subtracts.

use super::{Finding, Rule, Subject, finding};
use crate::engine::policy::Workload;
use crate::manifest::Kind;

pub(super) const WORKLOAD_MISMATCH: Rule = Rule {
    id: "workload-mismatch",
    summary: "the trigger's workload is not the kind of the object",
    check: workload_mismatch,
};

pub(super) const JOB_STRATEGY: Rule = Rule {
    id: "job-strategy",
    summary: "a strategy other than default counts running tasks twice or not at all",
    check: job_strategy,
};

pub(super) const PUSH_FOR_JOB: Rule = Rule {
    id: "push-for-job",
    summary: "KEDA does not listen to pushes for a ScaledJob",
    check: push_for_job,
};

pub(super) const METRIC_TYPE_FOR_JOB: Rule = Rule {
    id: "metric-type-for-job",
    summary: "KEDA refuses a ScaledJob whose trigger names a metricType",
    check: metric_type_for_job,
};

pub(super) const JOB_ROLLOUT: Rule = Rule {
    id: "job-rollout",
    summary: "each change of the ScaledJob ends its running Jobs",
    check: job_rollout,
};

fn workload_mismatch(subject: &Subject<'_>) -> Option<Finding> {
    let (right, word) = match subject.scaled.kind {
        Kind::ScaledObject => (Workload::Deployment, "deployment"),
        Kind::ScaledJob => (Workload::Job, "job"),
    };
    finding(
        subject.trigger.policy.workload != right,
        || format!("this is a {:?}, and the trigger says otherwise", subject.scaled.kind),
        || format!("metadata: workload: {word}"),
    )
}

fn metric_type_for_job(subject: &Subject<'_>) -> Option<Finding> {
    finding(
        subject.scaled.kind == Kind::ScaledJob && subject.written.metric_type.is_some(),
        || "KEDA refuses a ScaledJob whose trigger names a metricType".to_owned(),
        || "leave metricType out".to_owned(),
    )
}

/// Our value counts what waits and what runs, and only `default` subtracts exactly the running Jobs.
fn job_strategy(subject: &Subject<'_>) -> Option<Finding> {
    let strategy = subject.scaled.strategy.as_ref()?;
    // Where running tasks cannot be counted, the strategy that subtracts none is right.
    if strategy.name == "accurate" && !subject.trigger.shows_running() {
        return None;
    }
    finding(
        subject.scaled.kind == Kind::ScaledJob && strategy.name != "default",
        || format!("strategy {} does not subtract the running Jobs that the value counts", strategy.name),
        || "scalingStrategy: { strategy: default }, or none".to_owned(),
    )
}

fn push_for_job(subject: &Subject<'_>) -> Option<Finding> {
    finding(
        subject.scaled.kind == Kind::ScaledJob && subject.written.kind == "external-push",
        || "KEDA polls for a ScaledJob, and ignores what is pushed".to_owned(),
        || "type: external, and a shorter pollingInterval".to_owned(),
    )
}

/// KEDA's default deletes the Jobs of the former version, with the tasks that they run.
fn job_rollout(subject: &Subject<'_>) -> Option<Finding> {
    finding(
        subject.scaled.kind == Kind::ScaledJob && subject.scaled.rollout.as_deref() != Some("gradual"),
        || "each change of this ScaledJob deletes its running Jobs, and their tasks are cut short".to_owned(),
        || "rollout: { strategy: gradual }".to_owned(),
    )
}
