//! What Kubernetes and KEDA make of a number: the HPA's next size, KEDA's steps from and to zero, Jobs.
//!
//! Source: kubernetes v1.35.8 `pkg/controller/podautoscaler/{horizontal,replica_calculator}.go` and KEDA
//! v2.21.0 `pkg/scaling`. Where their arithmetic is odd, so is this: it is here to agree with them.

mod behavior;
mod events;
pub mod jobs;
pub mod keda;
mod metric;
mod why;

use std::time::Duration;

pub use behavior::{Amount, Behavior, Pace, ScalingRules, Select, Tolerance};
use events::{Events, Wishes};
use metric::{Band, Proposal};
pub use metric::{Metric, MetricType, Milli, Replicas};
pub use why::Why;

use crate::timestamp::Timestamp;

/// How often the controller manager looks at each HPA: `--horizontal-pod-autoscaler-sync-period`.
pub const SYNC_EVERY: Duration = Duration::from_secs(15);

/// The bounds that KEDA gives an HPA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    min: u32,
    max: u32,
}

impl Bounds {
    /// `maxReplicaCount` if a ScaledObject does not say.
    pub const MAX: u32 = 100;

    /// The bounds of a ScaledObject with these `minReplicaCount` and `maxReplicaCount`: an HPA never goes
    /// below 1.
    ///
    /// Source: KEDA `apis/keda/v1alpha1/scaledobject_types.go`, `GetHPAMinReplicas`.
    pub fn of(min_replica_count: u32, max_replica_count: u32) -> Self {
        Self { min: min_replica_count.max(1), max: max_replica_count }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self::of(0, Self::MAX)
    }
}

/// One HPA, from sync to sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hpa {
    bounds: Bounds,
    behavior: Option<Behavior>,
    wishes: Wishes,
    events: Events,
}

/// What a sync of an HPA leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// Replicas after it.
    pub replicas: u32,
    /// What the metrics ask for, before tolerance, windows, policies and bounds; `None` if none was asked,
    /// or one is missing and none that answered is enough.
    pub wanted: Option<u32>,
    /// What set the number.
    pub why: Why,
}

/// One step of a ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    /// How long after the first sync.
    pub after: Duration,
    /// Replicas from then on.
    pub replicas: u32,
}

/// The steps that an HPA takes towards a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ladder {
    /// The syncs that change the number, in order.
    pub rungs: Vec<Rung>,
    /// What set the number at the last sync: why the ladder ends below the wish, if it does.
    pub why: Why,
}

impl Hpa {
    /// A new HPA. `behavior` is `None` for a ScaledObject without one: then Kubernetes has older rules, which
    /// double the replicas at each sync, at least to 4, and whose window of 300 s may also scale up.
    pub fn new(bounds: Bounds, behavior: Option<Behavior>) -> Self {
        Self { bounds, behavior, wishes: Wishes::default(), events: Events::default() }
    }

    /// The next size of a workload of `current` replicas, by the highest of its `metrics`.
    pub fn sync(&mut self, current: Replicas, metrics: &[Metric], now: Timestamp) -> Next {
        let Bounds { min, max } = self.bounds;
        let spec = current.spec;
        self.wishes.begin(spec, now);
        let set = |replicas, why| Next { replicas, wanted: None, why };
        let next = match spec {
            0 => return set(0, Why::AtZero),
            _ if spec > max => set(max, Why::AboveMax),
            _ if spec < min => set(min, Why::BelowMin),
            _ => match self.proposal(current, metrics) {
                Err(why) => set(spec, why),
                Ok(Proposal { wanted, replicas }) => {
                    let (next, why) = self.normalise(spec, replicas, now);
                    let tolerated = why == Why::AsWanted && wanted != replicas;
                    let why = if tolerated { Why::Tolerance } else { why };
                    Next { replicas: next, wanted: Some(wanted), why }
                }
            },
        };
        self.remember(spec, next.replicas, now);
        next
    }

    /// The steps from `current` to `wish` at one sync after another, `every` so long, at most `limit` of
    /// them; new pods are taken to be there at the next sync.
    pub fn ladder(&self, current: u32, wish: u32, every: Duration, limit: u32, now: Timestamp) -> Ladder {
        let mut hpa = self.clone();
        let (mut ladder, mut replicas) = (Ladder { rungs: Vec::new(), why: Why::AsWanted }, current);
        for after in (0..limit).map(|sync| every * sync) {
            if replicas == wish {
                break;
            }
            let next = hpa.sync(Replicas::settled(replicas), &[Metric::replicas(wish)], now + after);
            ladder.why = next.why;
            if next.replicas != replicas {
                replicas = next.replicas;
                ladder.rungs.push(Rung { after, replicas });
            }
        }
        ladder
    }

    /// The highest proposal. One metric that is missing forbids a scale-down, not a scale-up.
    fn proposal(&self, current: Replicas, metrics: &[Metric]) -> Result<Proposal, Why> {
        let band = self.behavior.as_ref().map_or(Band::DEFAULT, |behavior| Band {
            down: behavior.down.tolerance,
            up: behavior.up.tolerance,
        });
        let proposals = || metrics.iter().filter_map(|metric| metric.proposal(current, band));
        let highest = proposals().max().ok_or(Why::NoMetric)?;
        let missing = proposals().count() < metrics.len();
        if missing && highest.replicas < current.spec { Err(Why::SomeMissing) } else { Ok(highest) }
    }

    /// Windows, then policies and bounds.
    fn normalise(&mut self, current: u32, wish: u32, now: Timestamp) -> (u32, Why) {
        let Some(behavior) = &self.behavior else {
            let stable = self.wishes.highest(wish, Behavior::DOWN_WINDOW, now);
            return limited_without_behavior(self.bounds, current, stable)
                .unwrap_or((stable, window(wish, stable)));
        };
        let windows = (behavior.up.window, behavior.down.window);
        let stable = self.wishes.stabilise(current, wish, windows, now);
        self.limited(behavior, current, stable, now).unwrap_or((stable, window(wish, stable)))
    }

    /// What policies and bounds leave of `wish`; `None` if they leave it alone.
    fn limited(&self, behavior: &Behavior, current: u32, wish: u32, now: Timestamp) -> Option<(u32, Why)> {
        let Bounds { min, max } = self.bounds;
        let reach = |limit: i32| u32::try_from(limit).unwrap_or(0);
        if wish > current {
            let rules = &behavior.up;
            let limit = reach(rules.highest(current, &self.events, now)).max(current);
            let slowed = if rules.select == Select::Disabled { Why::UpDisabled } else { Why::UpPolicy };
            let (most, why) = if max > limit { (limit, slowed) } else { (max, Why::Max) };
            (wish > most).then_some((most, why))
        } else if wish < current {
            let rules = &behavior.down;
            let limit = reach(rules.lowest(current, &self.events, now)).min(current);
            let slowed = if rules.select == Select::Disabled { Why::DownDisabled } else { Why::DownPolicy };
            let (fewest, why) = if min < limit { (limit, slowed) } else { (min, Why::Min) };
            (wish < fewest).then_some((fewest, why))
        } else {
            None
        }
    }

    /// Remembers a change, for the policies.
    fn remember(&mut self, before: u32, after: u32, now: Timestamp) {
        let Some(behavior) = &self.behavior else { return };
        if after > before {
            self.events.added(after - before, behavior.up.longest_period(), now);
        } else if after < before {
            self.events.removed(before - after, behavior.down.longest_period(), now);
        }
    }
}

/// What bounds and the doubling leave of `wish` without a `behavior`; `None` if they leave it alone.
fn limited_without_behavior(Bounds { min, max }: Bounds, current: u32, wish: u32) -> Option<(u32, Why)> {
    let limit = current.saturating_mul(2).max(4);
    let (most, why) = if max > limit { (limit, Why::UpPolicy) } else { (max, Why::Max) };
    if wish < min { Some((min, Why::Min)) } else { (wish > most).then_some((most, why)) }
}

/// Which window made `stable` of `wish`.
fn window(wish: u32, stable: u32) -> Why {
    match stable.cmp(&wish) {
        std::cmp::Ordering::Less => Why::UpWindow,
        std::cmp::Ordering::Equal => Why::AsWanted,
        std::cmp::Ordering::Greater => Why::DownWindow,
    }
}

/// Replicas in Kubernetes' 32 signed bits.
fn signed(replicas: u32) -> i32 {
    i32::try_from(replicas).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod timelines;
#[cfg(test)]
mod upstream;
