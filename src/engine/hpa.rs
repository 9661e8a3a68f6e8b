//! What the HPA makes of a number: Kubernetes' arithmetic for an external metric of type AverageValue.
//!
//! Source: kubernetes/kubernetes `pkg/controller/podautoscaler/{replica_calculator,horizontal}.go`.

use std::collections::VecDeque;
use std::time::Duration;

use crate::timestamp::Timestamp;

/// The parts of a ScaledObject's `behavior` that shape a scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Behavior {
    /// Relative change that is ignored; Kubernetes' default is 0.1.
    pub tolerance: f64,
    /// Most replicas that a scale-up adds in one period, whichever of the two is more.
    pub up: Pace,
    /// The highest wish of this time holds; Kubernetes' default is 300 s.
    pub down_window: Duration,
}

/// A scaling policy of percent and pods with `selectPolicy: Max`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Replicas a period, as a percentage of those at its start.
    pub percent: u32,
    /// Replicas a period.
    pub pods: u32,
    /// The period.
    pub period: Duration,
}

impl Default for Behavior {
    fn default() -> Self {
        let up = Pace { percent: 100, pods: 4, period: Duration::from_secs(15) };
        Self { tolerance: 0.1, up, down_window: Duration::from_secs(300) }
    }
}

/// One HPA, from sync to sync.
#[derive(Clone, Debug, Default)]
pub struct Hpa {
    behavior: Behavior,
    /// Wishes within the scale-down window.
    wishes: VecDeque<(Timestamp, u32)>,
    /// Replicas added within the scale-up period.
    added: VecDeque<(Timestamp, u32)>,
}

impl Hpa {
    /// An HPA with `behavior`.
    pub fn new(behavior: Behavior) -> Self {
        Self { behavior, ..Self::default() }
    }

    /// The replicas after a sync that sees `value` at target 1 while `current` replicas exist.
    pub fn sync(&mut self, current: u32, value: u32, now: Timestamp) -> u32 {
        let wish = if self.tolerates(current, value) { current } else { value.max(1) };
        let stable = self.stabilise(wish, now).max(wish);
        let next = if stable > current { stable.min(self.most(current, now)) } else { stable };
        if next > current {
            self.added.push_back((now, next - current));
        }
        next
    }

    /// Whether the change is too small to matter: the ratio of value to replicas is within the tolerance.
    fn tolerates(&self, current: u32, value: u32) -> bool {
        let ratio = f64::from(value) / f64::from(current.max(1));
        let tolerance = self.behavior.tolerance;
        (1.0 - tolerance..=1.0 + tolerance).contains(&ratio)
    }

    /// The highest wish of the scale-down window.
    fn stabilise(&mut self, wish: u32, now: Timestamp) -> u32 {
        let window = self.behavior.down_window;
        self.wishes.retain(|(at, _)| now.since(*at) < window);
        self.wishes.push_back((now, wish));
        self.wishes.iter().map(|(_, wish)| *wish).max().unwrap_or(wish)
    }

    /// The most replicas that the scale-up policies allow: those at the start of the period, and a step.
    fn most(&mut self, current: u32, now: Timestamp) -> u32 {
        let Pace { percent, pods, period } = self.behavior.up;
        self.added.retain(|(at, _)| now.since(*at) < period);
        let start = current.saturating_sub(self.added.iter().map(|(_, added)| added).sum());
        let by_percent = start.saturating_mul(100 + percent).div_ceil(100);
        by_percent.max(start.saturating_add(pods))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_policy_climbs_in_a_ladder() {
        let mut hpa = Hpa::default();
        let mut current = 1;
        let climbed: Vec<u32> = (0..4)
            .map(|sync| {
                current = hpa.sync(current, 37, Timestamp::from_millis(sync * 15_000));
                current
            })
            .collect();
        assert_eq!(climbed, [5, 10, 20, 37]);
    }

    #[test]
    fn a_change_within_a_tenth_is_ignored() {
        for (current, value, next) in
            [(20, 22, 20), (20, 23, 23), (9, 10, 10), (10, 11, 10), (20, 18, 20), (20, 17, 17)]
        {
            let mut hpa = Hpa::new(Behavior { down_window: Duration::ZERO, ..Behavior::default() });
            assert_eq!(hpa.sync(current, value, Timestamp::default()), next, "{current} → {value}");
        }
    }

    #[test]
    fn a_scale_down_waits_for_its_window() {
        let mut hpa = Hpa::default();
        assert_eq!(hpa.sync(20, 20, Timestamp::from_millis(0)), 20);
        assert_eq!(hpa.sync(20, 2, Timestamp::from_millis(299_000)), 20);
        assert_eq!(hpa.sync(20, 2, Timestamp::from_millis(300_000)), 2);
    }
}
