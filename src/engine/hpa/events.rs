//! What an HPA remembers: its wishes, for the windows, and its changes, for the policies.

use std::time::Duration;

use super::signed;
use crate::timestamp::Timestamp;

/// The changes that an HPA made itself. Nobody else's: KEDA's steps from and to zero leave no trace here.
///
/// Source: kubernetes `horizontal.go`, `storeScaleEvent` and `getReplicasChangePerPeriod`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Events {
    ups: Vec<(Timestamp, u32)>,
    downs: Vec<(Timestamp, u32)>,
}

impl Events {
    /// Remembers that a scale-up added replicas, in a direction whose longest period is `longest`.
    pub(super) fn added(&mut self, replicas: u32, longest: Duration, now: Timestamp) {
        store(&mut self.ups, replicas, longest, now);
    }

    /// Remembers that a scale-down removed replicas.
    pub(super) fn removed(&mut self, replicas: u32, longest: Duration, now: Timestamp) {
        store(&mut self.downs, replicas, longest, now);
    }

    /// Replicas at the start of the period that ends now. Less than none when somebody else took away
    /// what the HPA had added.
    pub(super) fn start(&self, current: u32, period: Duration, now: Timestamp) -> i32 {
        let added = within(&self.ups, period, now);
        let removed = within(&self.downs, period, now);
        signed(current).wrapping_sub(added).wrapping_add(removed)
    }
}

/// Adds to `changes`. An entry older than all periods of its own direction gives up its place, although
/// a longer period of the other direction may still count it: Kubernetes does the same.
fn store(changes: &mut Vec<(Timestamp, u32)>, replicas: u32, longest: Duration, now: Timestamp) {
    replace(changes, (now, replicas), |at| now.since(at) > longest);
}

/// The sum of the changes of a period.
fn within(changes: &[(Timestamp, u32)], period: Duration, now: Timestamp) -> i32 {
    let recent = changes.iter().filter(|(at, _)| now.since(*at) < period);
    recent.fold(0, |sum: i32, (_, replicas)| sum.wrapping_add(signed(*replicas)))
}

/// The replicas that the metrics asked for, before windows, policies and bounds.
///
/// Source: kubernetes `horizontal.go`, `recordInitialRecommendation`, `stabilizeRecommendation` and
/// `stabilizeRecommendationWithBehaviors`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes(Vec<(Timestamp, u32)>);

impl Wishes {
    /// Takes the size that a new HPA finds as its first wish: a scale-down waits for a whole window
    /// also after a restart of the controller manager.
    pub(super) fn begin(&mut self, current: u32, now: Timestamp) {
        if self.0.is_empty() {
            self.0.push((now, current));
        }
    }

    /// Holds `wish` between the lowest of the time `up` and the highest of the time `down`, and
    /// remembers it. Never moves away from `current`.
    pub(super) fn stabilise(
        &mut self,
        current: u32,
        wish: u32,
        (up, down): (Duration, Duration),
        now: Timestamp,
    ) -> u32 {
        let recent = |window| self.0.iter().filter(move |(at, _)| now.since(*at) < window);
        let lowest = recent(up).fold(wish, |lowest, (_, wish)| lowest.min(*wish));
        let highest = recent(down).fold(wish, |highest, (_, wish)| highest.max(*wish));
        replace(&mut self.0, (now, wish), |at| now.since(at) > up && now.since(at) > down);
        current.max(lowest).min(highest)
    }

    /// The highest wish of the time `window`, its last moment included; without a `behavior` this holds
    /// wherever the workload stands, so that a peak before a scale to zero comes back after it.
    pub(super) fn highest(&mut self, wish: u32, window: Duration, now: Timestamp) -> u32 {
        let recent = self.0.iter().filter(|(at, _)| now.since(*at) <= window);
        let highest = recent.fold(wish, |highest, (_, wish)| highest.max(*wish));
        replace(&mut self.0, (now, wish), |at| now.since(at) > window);
        highest
    }
}

/// Puts `entry` in the place of the last one that is outdated, or at the end.
fn replace(
    entries: &mut Vec<(Timestamp, u32)>,
    entry: (Timestamp, u32),
    outdated: impl Fn(Timestamp) -> bool,
) {
    match entries.iter_mut().rev().find(|(at, _)| outdated(*at)) {
        Some(old) => *old = entry,
        None => entries.push(entry),
    }
}

#[cfg(test)]
impl Events {
    /// Changes at so many seconds before `now`.
    pub(super) fn from_ages(ups: &[(u64, u32)], downs: &[(u64, u32)], now: Timestamp) -> Self {
        Self { ups: from_ages(ups, now), downs: from_ages(downs, now) }
    }

    /// The sizes of the remembered scale-ups, in their places.
    pub(super) fn ups(&self) -> Vec<u32> {
        self.ups.iter().map(|(_, replicas)| *replicas).collect()
    }
}

#[cfg(test)]
impl Wishes {
    /// Wishes of so many seconds before `now`.
    pub(super) fn from_ages(wishes: &[(u64, u32)], now: Timestamp) -> Self {
        Self(from_ages(wishes, now))
    }

    /// The remembered wishes, in their places.
    pub(super) fn all(&self) -> Vec<u32> {
        self.0.iter().map(|(_, wish)| *wish).collect()
    }
}

#[cfg(test)]
fn from_ages(entries: &[(u64, u32)], now: Timestamp) -> Vec<(Timestamp, u32)> {
    entries.iter().map(|(age, value)| (now - Duration::from_secs(*age), *value)).collect()
}
