//! What becomes of our answers: a ScaledObject with its HPA, and a ScaledJob.

use agent_scaler::scaler::proto::ScaledObjectRef;

use crate::support::keda_client::{Keda, Polled};

/// A ScaledObject with one trigger of ours, and the Deployment behind it. Cool-down and stabilisation windows
/// are over each time it is looked at, so that a wrong answer does all the harm it can.
#[derive(Debug)]
pub(super) struct ScaledObject {
    pub(super) reference: ScaledObjectRef,
    pub(super) min: i64,
    pub(super) max: i64,
    pub(super) replicas: i64,
}

impl ScaledObject {
    /// At zero, between zero and `max`.
    pub(super) fn at_zero(reference: ScaledObjectRef, max: i64) -> Self {
        Self { reference, min: 0, max, replicas: 0 }
    }

    /// One turn of KEDA's polling loop, then one of the HPA. An error leaves everything as it is.
    pub(super) async fn look(&mut self, keda: &Keda) {
        if let Ok(polled) = keda.poll(&self.reference).await {
            self.request_scale(polled.active);
        }
        if self.replicas == 0 {
            // The HPA is idle at zero.
            return;
        }
        if let Ok(polled) = keda.poll(&self.reference).await {
            self.replicas = self.desired(polled);
        }
    }

    /// A pushed state: only `true` acts.
    pub(super) fn pushed(&mut self, active: bool) {
        if active {
            self.request_scale(true);
        }
    }

    fn request_scale(&mut self, active: bool) {
        if active && self.replicas == 0 {
            self.replicas = self.min.max(1);
        } else if !active && self.min == 0 {
            self.replicas = 0;
        }
    }

    /// The HPA's arithmetic for an `AverageValue`: a change within a tenth is none.
    fn desired(&self, polled: Polled) -> i64 {
        let usage = polled.value_milli as f64 / (polled.target_milli * self.replicas) as f64;
        let wanted = if (usage - 1.0).abs() <= 0.1 {
            self.replicas
        } else {
            polled.value_milli.unsigned_abs().div_ceil(polled.target_milli.unsigned_abs()).cast_signed()
        };
        wanted.clamp(self.min.max(1), self.max)
    }
}

/// `getScalingDecision` of a ScaledJob with the `default` strategy: how many jobs are created.
pub(super) fn jobs_to_create(polled: Polled, running: i64, max: i64) -> i64 {
    let wanted = (polled.value_milli as f64 / polled.target_milli as f64).ceil();
    if !polled.active {
        return 0;
    }
    #[expect(clippy::cast_possible_truncation, reason = "a few jobs")]
    let wanted = (wanted as i64).min(max);
    (wanted - running).max(0)
}
