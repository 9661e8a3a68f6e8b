//! The metrics of rate limits, one set for each limit whatever the number of its triggers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::engine::limit::share::{DimensionState, LimitState};
use crate::telemetry::report::Report;
use crate::timestamp::Timestamp;

type OfLimit = fn(&LimitState, Timestamp) -> Option<f64>;
type OfDimension = fn(&DimensionState) -> Option<f64>;

const OF_LIMIT: [(&str, &str, OfLimit); 5] = [
    ("limit_part_admitted", "k, the part of the limit that the provider admits", |state, _| Some(state.k)),
    (
        "limit_admissible_tasks_per_minute",
        "Tasks a minute that the limit admits, as its triggers run them now; absent while not known",
        |state, _| state.admits,
    ),
    ("limit_blocked", "Whether the provider refuses everything", |state, now| {
        let blocked = state.blocked.is_some_and(|block| block.until > now);
        Some(if blocked { 1.0 } else { 0.0 })
    }),
    ("limit_kept_requests", "Requests admitted in the minutes that workers keep", |state, _| {
        Some(state.total.used.requests as f64)
    }),
    ("limit_kept_refusals", "Requests refused in the minutes that workers keep", |state, _| {
        Some(state.total.refused as f64)
    }),
];

const OF_DIMENSION: [(&str, &str, OfDimension); 5] = [
    ("limit_amount", "The whole limit", |state| Some(state.amount)),
    ("limit_room", "What there is to divide among triggers", |state| Some(state.room)),
    ("limit_others", "Use by others, a minute", |state| Some(state.others)),
    ("limit_used", "Own use in the last complete minute", |state| state.used),
    ("limit_saturation", "All use as a part of the limit", DimensionState::saturation),
];

/// The limit that a trigger shares, by its name.
pub(in crate::telemetry) fn of(report: &Report) -> Option<(Arc<str>, Arc<LimitState>)> {
    Some((Arc::clone(&report.decision.share.as_ref()?.limit), report.limit.clone()?))
}

/// Encodes limits.
pub(in crate::telemetry) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    limits: &BTreeMap<Arc<str>, Arc<LimitState>>,
    now: Timestamp,
) -> fmt::Result {
    for (name, help, value) in OF_LIMIT {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (limit, state) in limits {
            if let Some(value) = value(state, now) {
                ConstGauge::new(value).encode(family.encode_family(&[("limit", &**limit)])?)?;
            }
        }
    }
    for (name, help, value) in OF_DIMENSION {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (limit, state) in limits {
            for dimension in &state.dimensions {
                if let Some(value) = value(dimension) {
                    let labels = [("limit", &**limit), ("dimension", dimension.dimension.label())];
                    ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
                }
            }
        }
    }
    Ok(())
}
