//! A ScaledObject's `advanced.horizontalPodAutoscalerConfig.behavior`, with Kubernetes' defaults.

use std::fmt;
use std::time::Duration;

use super::events::Events;
use super::signed;
use crate::timestamp::Timestamp;

/// The `behavior` of an HPA. What a ScaledObject leaves out of it has Kubernetes' defaults.
///
/// Source: kubernetes `pkg/apis/autoscaling/v2/defaults.go`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behavior {
    /// `scaleUp`: by default 4 pods or 100 % per 15 s, whichever is more, and no window.
    pub up: ScalingRules,
    /// `scaleDown`: by default 100 % per 15 s, after a window of 300 s.
    pub down: ScalingRules,
}

impl Behavior {
    /// `stabilizationWindowSeconds` of a scale-down, unless the controller manager's flag
    /// `--horizontal-pod-autoscaler-downscale-stabilization` says otherwise.
    pub const DOWN_WINDOW: Duration = Duration::from_secs(300);
}

impl Default for Behavior {
    fn default() -> Self {
        let period = Duration::from_secs(15);
        let pods = Pace { amount: Amount::Pods(4), period };
        let percent = Pace { amount: Amount::Percent(100), period };
        let (tolerance, select) = (Tolerance::DEFAULT, Select::Max);
        Self {
            up: ScalingRules { tolerance, window: Duration::ZERO, select, paces: vec![pods, percent] },
            down: ScalingRules { tolerance, window: Self::DOWN_WINDOW, select, paces: vec![percent] },
        }
    }
}

/// How an HPA scales in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalingRules {
    /// Change of the ratio that is ignored. The field counts from Kubernetes 1.35; before, it is
    /// dropped or ignored, as its feature gate is off.
    pub tolerance: Tolerance,
    /// `stabilizationWindowSeconds`: the most careful wish of this time holds.
    pub window: Duration,
    /// Which of the policies counts.
    pub select: Select,
    /// `policies`; Kubernetes refuses an empty list, and with one this direction stands still.
    pub paces: Vec<Pace>,
}

/// `selectPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Select {
    /// The policy that allows the greatest change.
    #[default]
    Max,
    /// The policy that allows the smallest change.
    Min,
    /// No change in this direction; KEDA sets it for `autoscaling.keda.sh/paused-scale-in` and `-out`.
    Disabled,
}

/// One of the `policies`: the most that changes in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// `type` and `value`.
    pub amount: Amount,
    /// `periodSeconds`, 1 to 1800.
    pub period: Duration,
}

/// A change of replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many.
    Pods(u32),
    /// So many hundredths of those at the start of the period.
    Percent(u32),
}

/// A relative change that is ignored, as Kubernetes reads it from the canonical text of the quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tolerance {
    millionths: u32,
}

impl Tolerance {
    /// A tenth: the controller manager's `--horizontal-pod-autoscaler-tolerance`.
    pub const DEFAULT: Self = Self::from_millionths(100_000);
    /// Every difference counts.
    pub const ZERO: Self = Self::from_millionths(0);

    /// A tolerance in millionths: 20,000 is `0.02`, two per cent.
    pub const fn from_millionths(millionths: u32) -> Self {
        Self { millionths }
    }

    /// The very float that Kubernetes computes (`Quantity.AsApproximateFloat64`), so that edges agree:
    /// `0.3` reaches the HPA as `300m`, which is 300 × 0.001.
    pub(super) fn ratio(self) -> f64 {
        match self.millionths {
            whole if whole % 1_000_000 == 0 => f64::from(whole / 1_000_000),
            milli if milli % 1_000 == 0 => f64::from(milli / 1_000) * 1e-3,
            micro => f64::from(micro) * 1e-6,
        }
    }
}

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", f64::from(self.millionths) / 10_000.0)
    }
}

impl ScalingRules {
    /// The longest period of its policies: changes that are older have no part in them.
    pub(super) fn longest_period(&self) -> Duration {
        self.paces.iter().map(|pace| pace.period).max().unwrap_or_default()
    }

    /// The most replicas that its policies allow from `current`.
    pub(super) fn highest(&self, current: u32, events: &Events, now: Timestamp) -> i32 {
        let reach = self.paces.iter().map(|pace| pace.amount.above(events.start(current, pace.period, now)));
        match self.select {
            Select::Max => reach.max().unwrap_or(i32::MIN),
            Select::Min => reach.min().unwrap_or(i32::MAX),
            Select::Disabled => signed(current),
        }
    }

    /// The fewest replicas that its policies allow from `current`; less than none with more than 100 %.
    pub(super) fn lowest(&self, current: u32, events: &Events, now: Timestamp) -> i32 {
        let reach = self.paces.iter().map(|pace| pace.amount.below(events.start(current, pace.period, now)));
        match self.select {
            Select::Max => reach.min().unwrap_or(i32::MAX),
            Select::Min => reach.max().unwrap_or(i32::MIN),
            Select::Disabled => signed(current),
        }
    }
}

impl Amount {
    /// `start` and this amount. A percentage is rounded up, in the float that Kubernetes uses: 10 % of
    /// 50 reach 56, because 50 × 1.1 is a little more than 55. Kubernetes' 32 bits wrap, so that a
    /// `value` of 2147483647 allows nothing at all.
    #[expect(clippy::cast_possible_truncation, reason = "more than 32 bits hold means no limit")]
    fn above(self, start: i32) -> i32 {
        match self {
            Self::Pods(pods) => start.wrapping_add(signed(pods)),
            Self::Percent(percent) => (f64::from(start) * (1.0 + f64::from(percent) / 100.0)).ceil() as i32,
        }
    }

    /// `start` less this amount; a percentage leaves the whole part: 90 % of 10 leave 0, not 1, because
    /// 1 − 0.9 is a little less than 0.1.
    #[expect(clippy::cast_possible_truncation, reason = "Kubernetes cuts the fraction off too")]
    fn below(self, start: i32) -> i32 {
        match self {
            Self::Pods(pods) => start.wrapping_sub(signed(pods)),
            Self::Percent(percent) => (f64::from(start) * (1.0 - f64::from(percent) / 100.0)) as i32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_of_small_numbers_are_rounded_as_kubernetes_floats_round_them() {
        let up = |start, percent| Amount::Percent(percent).above(start);
        assert_eq!([up(1, 100), up(1, 1), up(3, 1), up(3, 50), up(10, 10)], [2, 2, 4, 5, 11]);
        assert_eq!([up(50, 10), up(100, 10), up(0, 100), up(-18, 100)], [56, 111, 0, -36]);
        let down = |start, percent| Amount::Percent(percent).below(start);
        assert_eq!([down(1, 1), down(1, 100), down(3, 50), down(7, 10), down(40, 1000)], [0, 0, 1, 6, -360]);
        assert_eq!([down(10, 90), down(10, 50), down(100, 10)], [0, 5, 90]);
    }

    #[test]
    fn a_policy_of_the_greatest_number_wraps() {
        assert_eq!(Amount::Pods(2_147_483_647).above(1), i32::MIN);
    }

    #[test]
    fn a_tolerance_reads_as_a_percentage() {
        let shown = |millionths| Tolerance::from_millionths(millionths).to_string();
        assert_eq!([shown(100_000), shown(20_000), shown(500), shown(0)], ["10 %", "2 %", "0.05 %", "0 %"]);
        let ratio = |millionths| Tolerance::from_millionths(millionths).ratio();
        assert_eq!(
            [ratio(100_000), ratio(20_000), ratio(2_000_000), ratio(1_500_000), ratio(500)],
            [0.1, 0.02, 2.0, 1.5, 0.0005]
        );
    }
}
