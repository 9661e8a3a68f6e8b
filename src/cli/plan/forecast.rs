//! What KEDA and the HPA would make of an answer.

use std::time::Duration;

use serde::Serialize;

use crate::engine::hpa::jobs::{self, Strategy};
use crate::engine::hpa::keda::{self, Activity, Edges};
use crate::engine::hpa::{
    Amount, Behavior, Bounds, Hpa, Metric, MetricType, Milli, Pace, Replicas, SYNC_EVERY, ScalingRules,
    Select, Tolerance,
};
use crate::manifest::{Kind, Scaled, Scaling, Strategy as WrittenStrategy};
use crate::timestamp::Timestamp;

/// Most syncs that are looked ahead: an hour.
const AHEAD: u32 = 240;

/// The next step, and those after it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Forecast {
    /// Replicas now; of a ScaledJob its unfinished Jobs.
    pub(super) current: u32,
    /// Replicas after the next step; of a ScaledJob the Jobs that are created then.
    pub(super) next: u32,
    /// What sets them: a word for programs.
    pub(super) reason: &'static str,
    /// The same for people.
    pub(super) why: String,
    /// The steps after that, if nothing else changes: seconds from now, and replicas.
    pub(super) then: Vec<Step>,
}

/// One later step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Step {
    /// Seconds from now.
    pub(super) after_seconds: u64,
    /// Replicas from then on.
    pub(super) replicas: u32,
}

/// What becomes of `current` replicas when the answer is `value`, and active or not; `None` is no answer.
pub(super) fn forecast(
    scaled: &Scaled,
    metric_type: Option<&str>,
    answer: Option<(u32, bool)>,
    current: u32,
) -> Forecast {
    let Some((value, active)) = answer else {
        if scaled.kind == Kind::ScaledJob {
            let why = "no answer: KEDA starts no Job".to_owned();
            return Forecast { current, next: 0, reason: "no-answer", why, then: Vec::new() };
        }
        let why = match scaled.fallback.as_ref().and_then(|fallback| fallback.failure_threshold) {
            Some(failures) => format!("no answer: KEDA's fallback acts after {failures} failures"),
            None => "no answer: KEDA and the HPA leave everything as it is".to_owned(),
        };
        return Forecast { current, next: current, reason: "no-answer", why, then: Vec::new() };
    };
    match scaled.kind {
        Kind::ScaledJob => of_jobs(scaled, value, active, current),
        Kind::ScaledObject => of_replicas(scaled, metric_type, value, active, current),
    }
}

fn of_jobs(scaled: &Scaled, value: u32, active: bool, current: u32) -> Forecast {
    let bounds = jobs::Bounds { min: scaled.min_replica_count, max: Some(scaled.max_replica_count) };
    let trigger = jobs::Trigger { value: Milli::whole(value), target: Some(Milli::whole(1)), active };
    let demand = jobs::demand(&[trigger], jobs::Calculation::Max, bounds);
    let unfinished = jobs::Unfinished { running: current, pending: 0 };
    let next = jobs::to_create(strategy(scaled.strategy.as_ref()), demand, unfinished, bounds);
    let (reason, why) = (next.why.label(), next.why.to_string());
    Forecast { current, next: next.create, reason, why, then: Vec::new() }
}

fn strategy(written: Option<&WrittenStrategy>) -> Strategy {
    match written.map(|strategy| (strategy.name.as_str(), strategy)) {
        Some(("accurate", _)) => Strategy::Accurate,
        Some(("eager", _)) => Strategy::Eager,
        Some(("custom", WrittenStrategy { deduction, running_part, .. })) => Strategy::Custom {
            deduction: i32::try_from(*deduction).unwrap_or(i32::MAX),
            running_share: *running_part,
        },
        Some(_) | None => Strategy::Default,
    }
}

fn of_replicas(
    scaled: &Scaled,
    metric_type: Option<&str>,
    value: u32,
    active: bool,
    current: u32,
) -> Forecast {
    let now = Timestamp::default();
    let edges = Edges {
        min: scaled.min_replica_count,
        idle: scaled.idle_replica_count,
        cooldown: Duration::from_secs(scaled.cooldown_period.into()),
        first_rest: Timestamp::default(),
    };
    let activity = if active { Activity::Active } else { Activity::Inactive };
    // Nobody outside of the cluster knows the last activity: it is taken to end now.
    let poll = keda::next(&edges, current, activity, Some(now), now);
    let hpa = Hpa::new(
        Bounds::of(scaled.min_replica_count, scaled.max_replica_count),
        behavior(&scaled.scale_up, &scaled.scale_down),
    );
    let ladder = |from, since: Duration| -> Vec<Step> {
        let ladder = hpa.ladder(from, value.max(1), SYNC_EVERY, AHEAD, now);
        let rungs = ladder.rungs.iter();
        rungs
            .map(|rung| Step { after_seconds: (rung.after + since).as_secs(), replicas: rung.replicas })
            .collect()
    };
    if poll.replicas != current {
        let then = if active { ladder(poll.replicas, SYNC_EVERY) } else { Vec::new() };
        let (reason, why) = (poll.why.label(), poll.why.to_string());
        return Forecast { current, next: poll.replicas, reason, why, then };
    }
    if current == 0 {
        let (reason, why) = (poll.why.label(), poll.why.to_string());
        return Forecast { current, next: 0, reason, why, then: Vec::new() };
    }
    let kind = if metric_type == Some("Value") { MetricType::Value } else { MetricType::AverageValue };
    let metric = Metric { kind, target: Milli::whole(1), value: Some(Milli::whole(value)) };
    let next = hpa.clone().sync(Replicas::settled(current), &[metric], now);
    let mut then = ladder(current, Duration::ZERO);
    then.retain(|step| step.after_seconds > 0);
    if !active && poll.why == keda::Why::CoolingDown {
        then.retain(|step| step.after_seconds < u64::from(scaled.cooldown_period));
        let replicas = scaled.idle_replica_count.unwrap_or(0);
        then.push(Step { after_seconds: scaled.cooldown_period.into(), replicas });
    }
    let (reason, why) = (next.why.label(), next.why.to_string());
    Forecast { current, next: next.replicas, reason, why, then }
}

/// The HPA's behavior; `None` where the ScaledObject has none, for which Kubernetes has older rules.
fn behavior(up: &Scaling, down: &Scaling) -> Option<Behavior> {
    if *up == Scaling::default() && *down == Scaling::default() {
        return None;
    }
    let defaults = Behavior::default();
    Some(Behavior { up: rules(up, defaults.up), down: rules(down, defaults.down) })
}

fn rules(written: &Scaling, defaults: ScalingRules) -> ScalingRules {
    let paces: Vec<Pace> = written
        .policies
        .iter()
        .map(|policy| Pace {
            amount: match policy.kind.as_str() {
                "Percent" => Amount::Percent(policy.value),
                _ => Amount::Pods(policy.value),
            },
            period: Duration::from_secs(policy.period.into()),
        })
        .collect();
    ScalingRules {
        tolerance: written.tolerance.map_or(defaults.tolerance, tolerance),
        window: written.window.map_or(defaults.window, |seconds| Duration::from_secs(seconds.into())),
        select: match written.select.as_deref() {
            Some("Min") => Select::Min,
            Some("Disabled") => Select::Disabled,
            Some(_) => Select::Max,
            None => defaults.select,
        },
        paces: if paces.is_empty() { defaults.paces } else { paces },
    }
}

fn tolerance(part: f64) -> Tolerance {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to u32's range")]
    let millionths = (part * 1e6).round().clamp(0.0, f64::from(u32::MAX)) as u32;
    Tolerance::from_millionths(millionths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifests;

    #[test]
    fn from_zero_keda_wakes_one_and_the_hpa_climbs() {
        let forecast = forecast(&scaled(""), None, Some((37, true)), 0);
        assert_eq!((forecast.next, forecast.why.as_str()), (1, "KEDA wakes it"));
        let steps: Vec<_> = forecast.then.iter().map(|step| (step.after_seconds, step.replicas)).collect();
        assert_eq!(steps, [(15, 5), (30, 10), (45, 20), (60, 37)]);
    }

    #[test]
    fn within_the_tolerance_nothing_changes_unless_the_object_says_otherwise() {
        let plain = forecast(&scaled(""), None, Some((21, true)), 20);
        assert_eq!((plain.next, plain.then), (20, vec![]));
        let exact = forecast(&scaled("scaleUp: { tolerance: \"0\" }"), None, Some((21, true)), 20);
        assert_eq!((exact.next, exact.then), (21, vec![]));
    }

    #[test]
    fn an_idle_workload_rests_after_the_cool_down() {
        let forecast = forecast(&scaled(""), None, Some((0, false)), 8);
        let rest = Step { after_seconds: 300, replicas: 0 };
        assert_eq!((forecast.next, forecast.then.last()), (8, Some(&rest)));
    }

    #[test]
    fn without_an_answer_nothing_changes() {
        assert_eq!(forecast(&scaled(""), None, None, 8).next, 8);
    }

    #[test]
    fn a_scaled_job_creates_what_is_missing() {
        let mut object = scaled("");
        object.kind = Kind::ScaledJob;
        assert_eq!(forecast(&object, None, Some((9, true)), 4).next, 5);
        let unknown = forecast(&object, None, None, 4);
        assert_eq!((unknown.next, unknown.why.as_str()), (0, "no answer: KEDA starts no Job"));
    }

    fn scaled(behavior: &str) -> Scaled {
        let mut manifests = Manifests::new("acme");
        let window = "scaleDown: { stabilizationWindowSeconds: 300 }";
        let comma = if behavior.is_empty() { "" } else { ", " };
        manifests.add(
            "a.yaml",
            &format!(
                "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {{ name: a }}\nspec:\n  triggers: [{{ type: external }}]\n  \
                 advanced: {{ horizontalPodAutoscalerConfig: {{ behavior: {{ {window}{comma}{behavior} }} }} }}\n"
            ),
        );
        manifests.scaled.remove(0)
    }
}
