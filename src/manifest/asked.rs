//! Whether KEDA or the HPA asks for the number of an object, and how often.

use std::time::Duration;

use super::{Kind, Scaled};

impl Scaled {
    /// The time between two of KEDA's polls, 30 s by default.
    pub fn poll(&self) -> Duration {
        Duration::from_secs(self.polling_interval.unwrap_or(30).into())
    }

    /// Whether KEDA may scale it to zero.
    pub fn rests(&self) -> bool {
        self.min_replica_count == 0 || self.idle_replica_count == Some(0)
    }

    /// Whether only the HPA scales it. Since 2.21 KEDA then does not ask for the number at its polls while the
    /// HPA does: `UsesHPAObservations` in its `apis/keda/v1alpha1/scaledobject_types.go`.
    pub fn is_asked_by_the_hpa_alone(&self) -> bool {
        let is_polled = self.min_replica_count == 0
            || self.idle_replica_count.is_some()
            || self.scaling_modifiers
            || self.triggers.iter().any(|trigger| trigger.cached);
        self.kind == Kind::ScaledObject && !is_polled
    }
}
