//! What KEDA does while the scaler answers with errors. Without a fallback the HPA holds.

use super::{Check, Finding, Rule, Subject, finding};
use crate::manifest::Kind;

pub(super) const FALLBACK_SCALES_IN: Rule = Rule {
    id: "fallback-scales-in",
    summary: "the fallback ends replicas because nothing is known",
    check: Check::One(fallback_scales_in),
};

pub(super) const FALLBACK_CANNOT_ACT: Rule = Rule {
    id: "fallback-cannot-act",
    summary: "there is a fallback that KEDA never uses",
    check: Check::One(fallback_cannot_act),
};

fn fallback_scales_in(subject: &Subject<'_>) -> Option<Finding> {
    let fallback = subject.scaled.fallback.as_ref()?;
    finding(
        matches!(fallback.behavior.as_str(), "static" | "currentReplicasIfLower"),
        || {
            let (behavior, replicas) = (&fallback.behavior, fallback.replicas);
            format!("fallback {behavior} scales to {replicas} where the scaler knows nothing, whatever runs")
        },
        || "no fallback (the HPA then holds), or behavior: currentReplicasIfHigher".to_owned(),
    )
}

fn fallback_cannot_act(subject: &Subject<'_>) -> Option<Finding> {
    let scaled = subject.scaled;
    let fallback = scaled.fallback.as_ref()?;
    let why = if scaled.kind == Kind::ScaledJob {
        "a ScaledJob has no fallback"
    } else if fallback.failure_threshold.is_none() {
        "without failureThreshold KEDA refuses it"
    } else if subject.written.cached {
        "useCachedMetrics stores the fallback's own value as a success, which ends it again"
    } else {
        return None;
    };
    finding(
        true,
        || format!("the fallback never acts: {why}"),
        || "leave it out, or failureThreshold: 3 without useCachedMetrics".to_owned(),
    )
}
