//! What is allowed and still wrong: ScaledObjects that cannot keep their promise, or that KEDA will misread.
//!
//! Every rule has an id, which `docs/checks.md` explains, and never speaks without a fix.

mod clocks;
mod fallback;
mod hpa;
mod job;
mod poll;
mod promise;
mod scale_in;
mod shared;
mod workers;

use crate::config::trigger::Trigger;
use crate::manifest::{Clock, Manifests, Pods, Scaled, Written};

/// Every rule, in the order in which `agent-scaler check` speaks.
pub const RULES: &[Rule] = &[
    promise::BOUNDS_DIFFER,
    promise::PROMISE_SHORTER_THAN_START,
    promise::LATENCY_SHORTER_THAN_TASK,
    promise::UNSEEN_TASKS,
    shared::COUNTED_TWICE,
    workers::STUCK_SHORTER_THAN_TASK,
    workers::GIVEN_AGAIN_WHILE_RUNNING,
    workers::SCOPE_NOT_NAMED,
    workers::LIMIT_WITHOUT_DRAIN,
    clocks::DEADLINE_SHORTER_THAN_TASK,
    clocks::PERSISTENT_SHORTER_THAN_TASK,
    scale_in::GRACE_SHORTER_THAN_DRAIN,
    scale_in::GRACE_SHORTER_THAN_TASK,
    clocks::PRE_STOP_USES_UP_GRACE,
    clocks::STOPPED_BEFORE_TASK_ENDS,
    clocks::NODE_ENDS_BEFORE_TASK,
    clocks::ROLLOUT_COUNTS_AS_FAILED,
    scale_in::COOLDOWN_UNDERCUTS_WINDOW,
    scale_in::REPLICAS_SET,
    hpa::TOLERANCE_HIDES_STEPS,
    hpa::METRIC_TYPE_VALUE,
    hpa::SIBLING_TRIGGERS,
    hpa::SCALING_MODIFIERS,
    fallback::FALLBACK_SCALES_IN,
    fallback::FALLBACK_CANNOT_ACT,
    poll::POLLING_INTERVAL_UNUSED,
    poll::CACHED_METRICS,
    poll::FORGOTTEN_BETWEEN_POLLS,
    job::WORKLOAD_MISMATCH,
    job::JOB_STRATEGY,
    job::PUSH_FOR_JOB,
    job::METRIC_TYPE_FOR_JOB,
    job::ROLLOUT_ENDS_JOBS,
];

/// One thing that is looked for.
#[derive(Debug)]
pub struct Rule {
    /// Its name, and the anchor of its page.
    pub id: &'static str,
    /// What it warns about, in one line.
    pub summary: &'static str,
    /// Looks at one trigger.
    pub check: Check,
}

/// How a rule looks at a trigger.
#[derive(Clone, Copy, Debug)]
pub enum Check {
    /// At most one finding per trigger.
    One(fn(&Subject<'_>) -> Option<Finding>),
    /// Any number of findings per trigger.
    Each(fn(&Subject<'_>) -> Vec<Finding>),
}

/// One trigger of ours, and all that is known around it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The object that it belongs to.
    pub scaled: &'a Scaled,
    /// The trigger as it was written.
    pub written: &'a Written,
    /// The trigger as we read it.
    pub trigger: &'a Trigger,
    /// The pods that are scaled, where the same files show them.
    pub pods: Option<&'a Pods>,
    /// The timeouts of those pods, those in ConfigMaps included.
    pub clocks: &'a [Clock],
    /// Everything that the same files show.
    pub manifests: &'a Manifests,
    /// All other triggers of agent-scaler in the same files, with their objects.
    pub others: &'a [(&'a Scaled, &'a Trigger)],
}

/// What is wrong, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What happens.
    pub what: String,
    /// What to write instead.
    pub fix: String,
}

/// What the rules say of `subject`, each with the id of its rule.
pub fn findings(subject: &Subject<'_>) -> Vec<(&'static str, Finding)> {
    let found = |rule: &Rule| match rule.check {
        Check::One(check) => check(subject).into_iter().collect(),
        Check::Each(check) => check(subject),
    };
    RULES.iter().flat_map(|rule| found(rule).into_iter().map(|finding| (rule.id, finding))).collect()
}

/// A finding, if `wrong`.
fn finding(wrong: bool, what: impl FnOnce() -> String, fix: impl FnOnce() -> String) -> Option<Finding> {
    wrong.then(|| Finding { what: what(), fix: fix() })
}
