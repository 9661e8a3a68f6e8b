//! Rules about KEDA's polls.

use std::time::Duration;

use humantime::format_duration;

use super::{Check, Finding, Rule, Subject, finding};
use crate::config::trigger::FORGOTTEN_AFTER;
use crate::engine::hpa::SYNC_EVERY;
use crate::manifest::Kind;

pub(super) const POLLING_INTERVAL_UNUSED: Rule = Rule {
    id: "polling-interval-unused",
    summary: "only the HPA asks for the number, so pollingInterval changes nothing",
    check: Check::One(polling_interval_unused),
};

pub(super) const CACHED_METRICS: Rule = Rule {
    id: "cached-metrics",
    summary: "the HPA gets an old number, and no call to a backend is saved",
    check: Check::One(cached_metrics),
};

pub(super) const FORGOTTEN_BETWEEN_POLLS: Rule = Rule {
    id: "forgotten-between-polls",
    summary: "the scaler forgets the trigger before KEDA asks again",
    check: Check::One(forgotten_between_polls),
};

/// KEDA's webhook warns about the same objects.
fn polling_interval_unused(subject: &Subject<'_>) -> Option<Finding> {
    let scaled = subject.scaled;
    let seconds = scaled.polling_interval?;
    finding(
        scaled.is_asked_by_the_hpa_alone(),
        || {
            let (min, sync) = (scaled.min_replica_count, SYNC_EVERY.as_secs());
            format!(
                "with minReplicaCount {min} the HPA alone scales, and asks every {sync} s: pollingInterval {seconds} \
                 makes nothing faster or cheaper"
            )
        },
        || "leave pollingInterval out".to_owned(),
    )
}

fn cached_metrics(subject: &Subject<'_>) -> Option<Finding> {
    finding(
        subject.scaled.kind == Kind::ScaledObject && subject.written.cached,
        || {
            let poll = format_duration(subject.scaled.poll());
            format!(
                "the HPA gets the number of KEDA's last poll, up to {poll} old; the scaler answers from memory, so no \
                 call to a backend is saved"
            )
        },
        || "leave useCachedMetrics out".to_owned(),
    )
}

/// Only KEDA asks at zero replicas and for a ScaledJob.
fn forgotten_between_polls(subject: &Subject<'_>) -> Option<Finding> {
    /// Polls may be late.
    const SPARE: Duration = Duration::from_secs(5 * 60);
    let scaled = subject.scaled;
    let is_only_polled = scaled.kind == Kind::ScaledJob || scaled.rests();
    let is_streamed = subject.written.kind == "external-push";
    finding(
        is_only_polled && !is_streamed && scaled.poll() >= FORGOTTEN_AFTER,
        || {
            let (kept, poll) = (format_duration(FORGOTTEN_AFTER), format_duration(scaled.poll()));
            format!(
                "the scaler forgets a trigger after {kept} without a call, and KEDA polls every {poll}: each poll \
                 begins with an unknown queue"
            )
        },
        || {
            let most = (FORGOTTEN_AFTER - SPARE).as_secs();
            match scaled.kind {
                Kind::ScaledObject => format!("pollingInterval: {most} at most, or type: external-push"),
                Kind::ScaledJob => format!("pollingInterval: {most} at most"),
            }
        },
    )
}
