//! What the HPA makes of the value.

use super::{Check, Finding, Rule, Subject, finding};
use crate::manifest::{Kind, Scaling};

/// Kubernetes' default.
const DEFAULT_TOLERANCE: f64 = 0.1;

pub(super) const TOLERANCE_HIDES_STEPS: Rule = Rule {
    id: "tolerance-hides-steps",
    summary: "the HPA ignores small changes, so that 20 replicas never become 21",
    check: Check::One(tolerance_hides_steps),
};

pub(super) const METRIC_TYPE_VALUE: Rule = Rule {
    id: "metric-type-value",
    summary: "the HPA would multiply the number of replicas by itself",
    check: Check::One(metric_type_value),
};

pub(super) const SIBLING_TRIGGERS: Rule = Rule {
    id: "sibling-triggers",
    summary: "KEDA takes the largest of several triggers, which breaks every limit",
    check: Check::One(sibling_triggers),
};

pub(super) const SCALING_MODIFIERS: Rule = Rule {
    id: "scaling-modifiers",
    summary: "a formula replaces the number and the activity that were decided",
    check: Check::One(scaling_modifiers),
};

fn tolerance_hides_steps(subject: &Subject<'_>) -> Option<Finding> {
    let scaled = subject.scaled;
    let most = f64::from(scaled.max_replica_count);
    // One replica of `most` is within the tolerance. The small part is what a float loses.
    let hides = |scaling: &Scaling| scaling.tolerance.unwrap_or(DEFAULT_TOLERANCE) * most >= 1.0 - 1e-9;
    let directions: Vec<&str> = [("scaleUp", &scaled.scale_up), ("scaleDown", &scaled.scale_down)]
        .into_iter()
        .filter(|(_, scaling)| hides(scaling))
        .map(|(name, _)| name)
        .collect();
    finding(
        scaled.kind == Kind::ScaledObject && !directions.is_empty(),
        || {
            let which = directions.join(" and ");
            format!("with up to {most} replicas, steps within the HPA's tolerance are ignored ({which})")
        },
        || {
            let keys: Vec<String> =
                directions.iter().map(|name| format!("behavior.{name}.tolerance: \"0\"")).collect();
            format!("{} (Kubernetes 1.35)", keys.join(", "))
        },
    )
}

fn metric_type_value(subject: &Subject<'_>) -> Option<Finding> {
    let written = subject.written.metric_type.as_deref().unwrap_or("AverageValue");
    finding(
        subject.scaled.kind == Kind::ScaledObject && written != "AverageValue",
        || format!("metricType {written}: the value is a number of replicas, not a ratio"),
        || "metricType: AverageValue".to_owned(),
    )
}

fn sibling_triggers(subject: &Subject<'_>) -> Option<Finding> {
    let count = subject.scaled.triggers.len();
    finding(
        count > 1,
        || format!("{count} triggers: KEDA takes the largest number, whatever another one holds back"),
        || "one trigger for the whole demand; several queues of one kind as a comma list".to_owned(),
    )
}

fn scaling_modifiers(subject: &Subject<'_>) -> Option<Finding> {
    finding(
        subject.scaled.scaling_modifiers,
        || "scalingModifiers replace the number by a formula, and zero by its activationTarget".to_owned(),
        || "leave advanced.scalingModifiers out".to_owned(),
    )
}
