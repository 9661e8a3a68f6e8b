//! Why an HPA's next size is what it is.

use std::fmt;

/// What set the number. A closed list: [`Why::label`] is for machines, [`fmt::Display`] for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// The metrics' wish.
    AsWanted,
    /// The ratio of value to target is too near to 1.
    Tolerance,
    /// The lowest wish of the scale-up window holds.
    UpWindow,
    /// The highest wish of the scale-down window holds.
    DownWindow,
    /// The policies allow no more yet.
    UpPolicy,
    /// The policies allow no fewer yet.
    DownPolicy,
    /// Scaling up is disabled.
    UpDisabled,
    /// Scaling down is disabled.
    DownDisabled,
    /// The wish exceeds the maximum.
    Max,
    /// The wish is below the minimum.
    Min,
    /// More ran than the maximum, so that metrics, windows and policies were passed over.
    AboveMax,
    /// Fewer ran than the minimum, so that metrics, windows and policies were passed over.
    BelowMin,
    /// No metric could be read, so that nothing changes.
    NoMetric,
    /// A metric could not be read, and the others would scale down, so that nothing changes.
    SomeMissing,
    /// The HPA is switched off at zero; KEDA alone wakes the workload.
    AtZero,
}

impl Why {
    /// Every reason.
    pub const ALL: [Self; 15] = [
        Self::AsWanted,
        Self::Tolerance,
        Self::UpWindow,
        Self::DownWindow,
        Self::UpPolicy,
        Self::DownPolicy,
        Self::UpDisabled,
        Self::DownDisabled,
        Self::Max,
        Self::Min,
        Self::AboveMax,
        Self::BelowMin,
        Self::NoMetric,
        Self::SomeMissing,
        Self::AtZero,
    ];

    /// A short name, for machines.
    pub const fn label(self) -> &'static str {
        match self {
            Self::AsWanted => "as-wanted",
            Self::Tolerance => "tolerance",
            Self::UpWindow => "up-window",
            Self::DownWindow => "down-window",
            Self::UpPolicy => "up-policy",
            Self::DownPolicy => "down-policy",
            Self::UpDisabled => "up-disabled",
            Self::DownDisabled => "down-disabled",
            Self::Max => "max",
            Self::Min => "min",
            Self::AboveMax => "above-max",
            Self::BelowMin => "below-min",
            Self::NoMetric => "no-metric",
            Self::SomeMissing => "some-missing",
            Self::AtZero => "at-zero",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AsWanted => "as wanted",
            Self::Tolerance => "within the tolerance",
            Self::UpWindow => "the lowest wish of the scale-up window holds",
            Self::DownWindow => "the highest wish of the scale-down window holds",
            Self::UpPolicy => "as fast as the scale-up policies allow",
            Self::DownPolicy => "as fast as the scale-down policies allow",
            Self::UpDisabled => "scaling up is disabled",
            Self::DownDisabled => "scaling down is disabled",
            Self::Max => "maxReplicaCount",
            Self::Min => "the minimum",
            Self::AboveMax => "more than maxReplicaCount ran",
            Self::BelowMin => "fewer than minReplicaCount ran",
            Self::NoMetric => "no metric could be read",
            Self::SomeMissing => "a metric could not be read, so it does not scale down",
            Self::AtZero => "the HPA is off at zero",
        })
    }
}
