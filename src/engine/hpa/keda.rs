//! KEDA's own part of a ScaledObject's scaling: waking it, and putting it to rest.
//!
//! Source: KEDA `pkg/scaling/executor/scale_scaledobjects.go`, `RequestScale`.

use std::fmt;
use std::time::Duration;

use crate::timestamp::Timestamp;

/// The keys of a ScaledObject that KEDA follows itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edges {
    /// `minReplicaCount`, by default 0.
    pub min: u32,
    /// `idleReplicaCount`. Kubernetes' HPA raises any other number than 0 to `min` again.
    pub idle: Option<u32>,
    /// `cooldownPeriod`: how long after the last activity a workload is put to rest.
    pub cooldown: Duration,
    /// The ScaledObject's creation and its `initialCooldownPeriod`: before, one that was never active stays.
    pub first_rest: Timestamp,
}

impl Edges {
    /// `cooldownPeriod` if a ScaledObject does not say.
    pub const COOLDOWN: Duration = Duration::from_secs(300);
}

impl Default for Edges {
    fn default() -> Self {
        Self { min: 0, idle: None, cooldown: Self::COOLDOWN, first_rest: Timestamp::default() }
    }
}

/// What the triggers of a ScaledObject said at a poll, together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// At least one is active.
    Active,
    /// None is active, and all answered.
    Inactive,
    /// None is active, and one failed; the ScaledObject has no `fallback`, or one of more than 0 replicas.
    Failed,
}

/// What KEDA does at a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// Replicas after it.
    pub replicas: u32,
    /// Why.
    pub why: Why,
}

/// Why KEDA sets a number, or leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Active: the HPA sets the number.
    HpaDecides,
    /// Active, and woken from rest.
    Woken,
    /// Not active, and at rest.
    AtRest,
    /// Not active; the cool-down is not over, and the HPA goes on until then.
    CoolingDown,
    /// Not active for longer than the cool-down: put to rest at once, past windows and policies.
    PutToRest,
    /// Not active, and never at rest, because of `minReplicaCount`.
    KeptByMin,
    /// Not active, with fewer replicas than `minReplicaCount`.
    RaisedToMin,
    /// A trigger failed, so that nobody knows whether there is work.
    Failed,
}

impl Why {
    /// A short name, for machines.
    pub const fn label(self) -> &'static str {
        match self {
            Self::HpaDecides => "hpa-decides",
            Self::Woken => "woken",
            Self::AtRest => "at-rest",
            Self::CoolingDown => "cooling-down",
            Self::PutToRest => "put-to-rest",
            Self::KeptByMin => "kept-by-min",
            Self::RaisedToMin => "raised-to-min",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HpaDecides => "the HPA decides",
            Self::Woken => "KEDA wakes it",
            Self::AtRest => "at rest",
            Self::CoolingDown => "KEDA waits for the cool-down",
            Self::PutToRest => "KEDA puts it to rest after the cool-down",
            Self::KeptByMin => "minReplicaCount keeps it awake",
            Self::RaisedToMin => "KEDA raises it to minReplicaCount",
            Self::Failed => "KEDA holds while a trigger fails",
        })
    }
}

/// What KEDA does at a poll that finds `current` replicas.
///
/// `last_active` is the ScaledObject's `status.lastActiveTime`: the last poll that found it active, and
/// no trigger failing. `None` is one that never was, or that somebody else scaled: then only
/// [`Edges::first_rest`] is waited for.
pub fn next(
    edges: &Edges,
    current: u32,
    activity: Activity,
    last_active: Option<Timestamp>,
    now: Timestamp,
) -> Next {
    let Edges { min, idle, cooldown, first_rest } = *edges;
    let rest = idle.unwrap_or(min);
    let (replicas, why) = match activity {
        Activity::Active if current == 0 || idle.is_some() && current < min => (min.max(1), Why::Woken),
        Activity::Active => (current, Why::HpaDecides),
        Activity::Failed => (current, Why::Failed),
        Activity::Inactive if idle.is_some() && current > rest || current > 0 && min == 0 => {
            let over = last_active.map_or(now > first_rest, |last| now.since(last) > cooldown);
            if over { (rest, Why::PutToRest) } else { (current, Why::CoolingDown) }
        }
        Activity::Inactive if idle.is_none() && current < min => (min, Why::RaisedToMin),
        Activity::Inactive if idle.is_none() && min > 0 => (current, Why::KeptByMin),
        Activity::Inactive => (current, Why::AtRest),
    };
    Next { replicas, why }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn edges(min: u32, idle: Option<u32>) -> Edges {
        Edges { min, idle, ..Edges::default() }
    }

    fn step(edges: &Edges, current: u32, activity: Activity, quiet: u64) -> (u32, Why) {
        let Next { replicas, why } =
            next(edges, current, activity, Some(NOW - Duration::from_secs(quiet)), NOW);
        (replicas, why)
    }

    // scale_scaledobjects_test.go: TestScaleToMinReplicasWhenNotActive, …FromLowerInitialReplicaCount,
    // TestScaleFromMinReplicasWhenActive, TestScaleToIdleReplicasWhenNotActive,
    // TestScaleFromIdleToMinReplicasWhenActive; none of them has a last activity.
    #[test]
    fn kedas_own_cases() {
        let idle = edges(5, Some(0));
        for (edges, current, activity, replicas, why) in [
            (edges(0, None), 10, Activity::Inactive, 0, Why::PutToRest),
            (edges(5, None), 1, Activity::Inactive, 5, Why::RaisedToMin),
            (edges(0, None), 0, Activity::Active, 1, Why::Woken),
            (idle, 10, Activity::Inactive, 0, Why::PutToRest),
            (idle, 0, Activity::Active, 5, Why::Woken),
        ] {
            assert_eq!(next(&edges, current, activity, None, NOW), Next { replicas, why });
        }
    }

    #[test]
    fn the_cool_down_is_over_a_moment_after_it() {
        let edges = edges(0, None);
        assert_eq!(step(&edges, 20, Activity::Inactive, 300), (20, Why::CoolingDown));
        assert_eq!(step(&edges, 20, Activity::Inactive, 301), (0, Why::PutToRest));
        assert_eq!(step(&edges, 0, Activity::Inactive, 301), (0, Why::AtRest));
    }

    #[test]
    fn a_minimum_keeps_it_awake_and_a_failing_trigger_too() {
        assert_eq!(step(&edges(2, None), 20, Activity::Inactive, 900), (20, Why::KeptByMin));
        assert_eq!(step(&edges(2, None), 2, Activity::Inactive, 900), (2, Why::KeptByMin));
        assert_eq!(step(&edges(2, Some(1)), 1, Activity::Inactive, 900), (1, Why::AtRest));
        assert_eq!(step(&edges(0, None), 20, Activity::Failed, 900), (20, Why::Failed));
        assert_eq!(step(&edges(0, None), 0, Activity::Failed, 900), (0, Why::Failed));
    }

    #[test]
    fn one_that_was_never_active_waits_only_for_its_first_rest() {
        let edges = Edges { first_rest: NOW, ..Edges::default() };
        let at = |now| next(&edges, 3, Activity::Inactive, None, now).replicas;
        assert_eq!([at(NOW), at(NOW + Duration::from_millis(1))], [3, 0]);
    }

    proptest! {
        #[test]
        fn keda_only_wakes_rests_or_raises(
            min in 0_u32..5, idle in prop::option::of(0_u32..5), current in 0_u32..20, quiet in 0_u64..600,
            activity in prop::sample::select(vec![Activity::Active, Activity::Inactive, Activity::Failed]),
        ) {
            let edges = edges(min, idle.filter(|idle| *idle < min));
            let (replicas, why) = step(&edges, current, activity, quiet);
            match why {
                Why::Woken => prop_assert!(activity == Activity::Active && replicas == min.max(1)),
                Why::PutToRest => prop_assert!(quiet > 300 && replicas < current),
                Why::RaisedToMin => prop_assert!(replicas == min && current < min),
                Why::HpaDecides | Why::AtRest | Why::CoolingDown | Why::KeptByMin | Why::Failed => {
                    prop_assert_eq!(replicas, current);
                }
            }
        }
    }
}
