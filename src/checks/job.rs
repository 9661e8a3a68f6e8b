//! ScaledJobs: KEDA sends neither the kind nor what it subtracts.

use super::{Check, Finding, Rule, Subject, finding};
use crate::engine::policy::Workload;
use crate::manifest::Kind;

pub(super) const WORKLOAD_MISMATCH: Rule = Rule {
    id: "workload-mismatch",
    summary: "the trigger's workload is not the kind of the object",
    check: Check::One(workload_mismatch),
};

pub(super) const JOB_STRATEGY: Rule = Rule {
    id: "job-strategy",
    summary: "a strategy other than default counts running tasks twice or not at all",
    check: Check::One(job_strategy),
};

pub(super) const PUSH_FOR_JOB: Rule = Rule {
    id: "push-for-job",
    summary: "KEDA does not listen to pushes for a ScaledJob",
    check: Check::One(push_for_job),
};

pub(super) const METRIC_TYPE_FOR_JOB: Rule = Rule {
    id: "metric-type-for-job",
    summary: "KEDA refuses a ScaledJob whose trigger names a metricType",
    check: Check::One(metric_type_for_job),
};

pub(super) const ROLLOUT_ENDS_JOBS: Rule = Rule {
    id: "rollout-ends-jobs",
    summary: "each change of the ScaledJob ends the Jobs that run",
    check: Check::One(rollout_ends_jobs),
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

/// KEDA deletes the Jobs of every former version of the object, also when another fix changes the object. The
/// change to `gradual` itself deletes none, because KEDA reads the strategy of the new version.
fn rollout_ends_jobs(subject: &Subject<'_>) -> Option<Finding> {
    finding(
        subject.scaled.kind == Kind::ScaledJob && !subject.scaled.is_gradual,
        || {
            "every change of this object, a new image included, ends all running Jobs with their tasks"
                .to_owned()
        },
        || "rollout: { strategy: gradual }, in the same change as any other fix".to_owned(),
    )
}
