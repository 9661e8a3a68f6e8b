//! From a metric's value to a wish: the ratio, its tolerance, and rounding up.
//!
//! Source: kubernetes `pkg/controller/podautoscaler/replica_calculator.go`,
//! `GetExternalPerPodMetricReplicas` and `GetExternalMetricReplicas`.

use super::behavior::Tolerance;

/// One external metric of an HPA, and what KEDA last answered for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// How the value is compared with the target.
    pub kind: MetricType,
    /// The target; Kubernetes refuses zero.
    pub target: Milli,
    /// The value; `None` if the request failed.
    pub value: Option<Milli>,
}

/// A trigger's `metricType`; external metrics have no `Utilization`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricType {
    /// The value is the whole, divided among the replicas: the wish is value ÷ target.
    #[default]
    AverageValue,
    /// The ratio value ÷ target multiplies the pods that are ready.
    Value,
}

/// A number in thousandths, as the metrics API carries it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Milli(u64);

impl Milli {
    /// A whole number.
    pub fn whole(number: u32) -> Self {
        Self(u64::from(number) * 1_000)
    }

    /// So many thousandths.
    pub const fn from_thousandths(thousandths: u64) -> Self {
        Self(thousandths)
    }

    /// What KEDA makes of a scaler's answer: three decimals; zero of what is negative or no number.
    ///
    /// Source: KEDA `pkg/scalers/scaler.go`, `quantityFromFloat64`.
    pub fn sent(value: f64) -> Self {
        if !value.is_finite() || value <= 0.0 {
            return Self(0);
        }
        let digits = format!("{value:.3}").replace('.', "");
        Self(digits.parse().unwrap_or(u64::MAX).min(i64::MAX.unsigned_abs()))
    }

    /// In thousandths.
    pub(super) fn float(self) -> f64 {
        self.0 as f64
    }
}

/// The replicas of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replicas {
    /// Asked for: `spec.replicas`.
    pub spec: u32,
    /// Pods that exist: `status.replicas`. More than `spec` during a rolling update with a surge.
    pub status: u32,
    /// Pods that run and are ready.
    pub ready: u32,
}

impl Replicas {
    /// `count` replicas, all there and ready.
    pub const fn settled(count: u32) -> Self {
        Self { spec: count, status: count, ready: count }
    }
}

/// What one metric proposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Proposal {
    /// After the tolerance.
    pub(super) replicas: u32,
    /// Before it.
    pub(super) wanted: u32,
}

/// What the ratio may be without a change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Band {
    /// Below 1.
    pub(super) down: Tolerance,
    /// Above 1.
    pub(super) up: Tolerance,
}

impl Band {
    /// A tenth in both directions.
    pub(super) const DEFAULT: Self = Self { down: Tolerance::DEFAULT, up: Tolerance::DEFAULT };

    /// Whether `ratio` is within; both edges are.
    fn holds(self, ratio: f64) -> bool {
        (1.0 - self.down.ratio()) <= ratio && ratio <= (1.0 + self.up.ratio())
    }
}

impl Metric {
    /// A metric that asks for `replicas` with our own scaler's arithmetic: AverageValue with target 1.
    pub fn replicas(replicas: u32) -> Self {
        let value = Some(Milli::whole(replicas));
        Self { kind: MetricType::AverageValue, target: Milli::whole(1), value }
    }

    /// What this metric proposes; `None` if its value is missing, or no pod exists whose part it could take.
    pub(super) fn proposal(self, current: Replicas, band: Band) -> Option<Proposal> {
        let (value, target) = (self.value?.float(), self.target.float());
        let Replicas { spec, status, ready } = current;
        match self.kind {
            MetricType::AverageValue => {
                let wanted = round_up(value / target);
                let tolerated = band.holds(value / (target * f64::from(status)));
                Some(Proposal { wanted, replicas: if tolerated { status } else { wanted } })
            }
            MetricType::Value => {
                let ratio = value / target;
                let wanted = round_up(ratio * f64::from(ready));
                let tolerated = band.holds(ratio);
                (tolerated || status > 0)
                    .then_some(Proposal { wanted, replicas: if tolerated { spec } else { wanted } })
            }
        }
    }
}

/// Replicas for a quotient: rounded up, and no more than Kubernetes' 32 bits hold.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded, and never negative")]
fn round_up(quotient: f64) -> u32 {
    quotient.ceil().min(f64::from(i32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn external(kind: MetricType, value: u64, target: u64) -> Metric {
        let (value, target) = (Some(Milli::from_thousandths(value)), Milli::from_thousandths(target));
        Metric { kind, target, value }
    }

    fn proposes(metric: Metric, current: Replicas, band: Band) -> Option<u32> {
        metric.proposal(current, band).map(|proposal| proposal.replicas)
    }

    #[test]
    fn keda_sends_three_decimals() {
        let sent = |value| Milli::sent(value).0;
        assert_eq!(
            [sent(2.0), sent(2.0001), sent(2.001), sent(0.0004), sent(0.0006)],
            [2000, 2000, 2001, 0, 1]
        );
        assert_eq!([sent(-1.0), sent(-0.0), sent(f64::NAN), sent(f64::INFINITY)], [0; 4]);
        assert_eq!(sent(1e300), i64::MAX.unsigned_abs());
        assert_eq!(Milli::sent(22.222 / 6.111 * 6.111), Milli::from_thousandths(22_222));
    }

    // replica_calculator_test.go: TestReplicaCalc{ScaleUp,ScaleDown,Tolerance,ConfigurableTolerance}PerPodCMExternal;
    // horizontal_test.go: Test{ScaleUp,ScaleDown,Tolerance}PerPodCMExternal.
    #[test]
    fn an_average_value_is_divided_among_the_replicas() {
        let percent = Band { up: Tolerance::from_millionths(10_000), ..Band::DEFAULT };
        for (current, value, target, band, replicas) in [
            (3, 8600, 2150, Band::DEFAULT, 4),
            (5, 8600, 2867, Band::DEFAULT, 3),
            (3, 8600, 2900, Band::DEFAULT, 3),
            (3, 8600, 2800, percent, 4),
            (3, 8600, 2222, Band::DEFAULT, 4),
            (5, 8600, 3000, Band::DEFAULT, 3),
            (4, 8600, 2200, Band::DEFAULT, 4),
        ] {
            let metric = external(MetricType::AverageValue, value, target);
            assert_eq!(
                proposes(metric, Replicas::settled(current), band),
                Some(replicas),
                "{current}, {value}"
            );
        }
    }

    // replica_calculator_test.go: TestReplicaCalc{ScaleDown,Tolerance,ConfigurableTolerance}CMExternal,
    // …ScaleUpCMExternalIgnoresUnreadyPods; horizontal_test.go: Test{ScaleUp,ScaleDown,Tolerance}CMExternal.
    #[test]
    fn a_value_multiplies_the_ready_pods() {
        let percent = Band { up: Tolerance::from_millionths(10_000), ..Band::DEFAULT };
        for (current, ready, value, target, band, replicas) in [
            (5, 5, 8600, 14_334, Band::DEFAULT, 3),
            (3, 3, 8600, 8888, Band::DEFAULT, 3),
            (3, 3, 8900, 8800, percent, 4),
            (3, 1, 8600, 4400, Band::DEFAULT, 2),
            (3, 3, 8600, 6666, Band::DEFAULT, 4),
            (5, 5, 8600, 14_400, Band::DEFAULT, 3),
            (4, 4, 8600, 8666, Band::DEFAULT, 4),
            (8, 8, 8000, 2000, Band::DEFAULT, 32), // KEDA's e2e test tests/internals/value_metric_type
        ] {
            let metric = external(MetricType::Value, value, target);
            let current = Replicas { ready, ..Replicas::settled(current) };
            assert_eq!(proposes(metric, current, band), Some(replicas), "{current:?}, {value}");
        }
    }

    // replica_calculator_test.go: TestExternalPerPodMetric{Replica,Usage}Overflow, …ExternalMetricUsageOverflow.
    #[test]
    fn numbers_beyond_32_bits_stay_there() {
        let most = i64::MAX.unsigned_abs();
        let one = Replicas::settled(1);
        let ceiling = i32::MAX.unsigned_abs();
        assert_eq!(proposes(external(MetricType::AverageValue, most, 1), one, Band::DEFAULT), Some(ceiling));
        assert_eq!(proposes(external(MetricType::AverageValue, most, most), one, Band::DEFAULT), Some(1));
        assert_eq!(
            proposes(external(MetricType::Value, most, most), Replicas::settled(3), Band::DEFAULT),
            Some(3)
        );
    }

    #[test]
    fn both_edges_of_the_band_are_within() {
        for (current, wanted, replicas) in [
            (9, 10, 10),
            (10, 11, 10),
            (10, 12, 12),
            (10, 9, 10),
            (10, 8, 8),
            (20, 18, 20),
            (20, 17, 17),
            (20, 21, 20),
            (20, 22, 20),
            (20, 23, 23),
            (30, 33, 30),
            (40, 44, 40),
            (100, 110, 100),
            (100, 111, 111),
            (100, 89, 89),
        ] {
            let seen = proposes(Metric::replicas(wanted), Replicas::settled(current), Band::DEFAULT);
            assert_eq!(seen, Some(replicas), "{current} → {wanted}");
        }
    }

    #[test]
    fn within_the_band_an_average_value_gives_the_pods_that_exist_and_a_value_those_asked_for() {
        let surge = Replicas { spec: 4, status: 5, ready: 4 };
        assert_eq!(proposes(Metric::replicas(5), surge, Band::DEFAULT), Some(5));
        assert_eq!(proposes(external(MetricType::Value, 1000, 1000), surge, Band::DEFAULT), Some(4));
    }

    #[test]
    fn a_value_without_pods_proposes_nothing_and_without_ready_pods_none() {
        let value = external(MetricType::Value, 3000, 1000);
        let created = Replicas { spec: 1, status: 0, ready: 0 };
        assert_eq!(proposes(value, created, Band::DEFAULT), None);
        assert_eq!(proposes(value, Replicas { status: 1, ..created }, Band::DEFAULT), Some(0));
        assert_eq!(proposes(Metric::replicas(3), created, Band::DEFAULT), Some(3));
    }
}
