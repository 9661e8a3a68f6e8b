//! KEDA's arithmetic for a ScaledJob: how many Jobs a poll creates. There is no HPA in it.
//!
//! Source: KEDA `pkg/scaling/scaledjob/metrics.go`, `pkg/scaling/executor/scale_jobs.go` and
//! `apis/keda/v1alpha1/scaledjob_types.go`. A Job's `parallelism` has no part in it.

use std::fmt;

use super::metric::Milli;

/// A ScaledJob's bounds on Jobs that are not finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// `minReplicaCount`, by default 0: Jobs that run in any case. Demand comes on top of them.
    pub min: u32,
    /// `maxReplicaCount`; `None` is KEDA's default, 100 on top of `min`.
    pub max: Option<u32>,
}

impl Bounds {
    /// Jobs on top of the minimum if `maxReplicaCount` is not given.
    const ROOM: u32 = 100;

    /// Jobs that run in any case.
    fn base(self) -> u32 {
        self.max.map_or(self.min, |max| self.min.min(max))
    }

    /// Jobs for demand, on top of the base. A minimum above the maximum leaves the whole maximum: KEDA's
    /// own slip.
    fn room(self) -> u32 {
        match self.max {
            Some(max) if self.min > max => max,
            Some(max) => max - self.min,
            None => Self::ROOM,
        }
    }
}

/// `scalingStrategy.strategy`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Strategy {
    /// The value counts tasks that run, so that Jobs that run are subtracted.
    #[default]
    Default,
    /// The value does not count tasks that run, so that only pending Jobs are subtracted.
    Accurate,
    /// Fills up to the maximum whatever the value, as long as it allows as many.
    Eager,
    /// The value less constants of the user's. May exceed the maximum, as it bounds each poll alone.
    Custom {
        /// `customScalingQueueLengthDeduction`, by default 0; may be negative.
        deduction: i32,
        /// `customScalingRunningJobPercentage`, in fact a share: 0.5 subtracts half of the Jobs that run.
        /// KEDA falls back to [`Strategy::Default`] if it is missing or no number.
        running_share: f64,
    },
}

/// What one trigger of a ScaledJob said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// The value of its metric.
    pub value: Milli,
    /// The target of its metric; `None` with `metricType: Value`, of which KEDA makes no Jobs.
    pub target: Option<Milli>,
    /// Whether it is active.
    pub active: bool,
}

/// `scalingStrategy.multipleScalersCalculation`: what several triggers come to. Only active ones count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Calculation {
    /// The trigger of the longest queue.
    #[default]
    Max,
    /// The trigger of the shortest queue.
    Min,
    /// The mean.
    Average,
    /// The sum.
    Sum,
}

/// What the triggers come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    /// Whether Jobs are created at all: a trigger is active, or there is a minimum.
    pub active: bool,
    /// KEDA's `queueLength`, rounded up: no poll creates more Jobs.
    pub queue: u64,
    /// KEDA's `maxValue`: the queue divided by the target, rounded up, and no more than there is room for.
    pub jobs: u64,
}

/// A ScaledJob's Jobs that are not finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// All of them, pending ones too.
    pub running: u32,
    /// Those without a pod that runs or ran, or whose pods do not meet the `pendingPodConditions`.
    pub pending: u32,
}

/// What a poll creates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// New Jobs.
    pub create: u32,
    /// Why so many.
    pub why: Why,
}

/// Why a poll creates so many Jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No trigger is active.
    Inactive,
    /// Fewer run than the minimum; demand is not looked at.
    BelowMin,
    /// As many exist as are wanted.
    Enough,
    /// As many as are wanted.
    AsWanted,
    /// As many as the maximum allows.
    Max,
}

impl Why {
    /// A short name, for machines.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::BelowMin => "below-min",
            Self::Enough => "enough",
            Self::AsWanted => "as-wanted",
            Self::Max => "max",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inactive => "no trigger is active",
            Self::BelowMin => "fewer than minReplicaCount ran",
            Self::Enough => "all Jobs that are wanted exist",
            Self::AsWanted => "as wanted",
            Self::Max => "maxReplicaCount",
        })
    }
}

impl Trigger {
    /// The queue, and the Jobs that it is worth within `room`.
    fn demand(self, room: f64) -> (f64, f64) {
        let queue = float(self.value);
        let target = self.target.map_or(0.0, float);
        let jobs = if target == 0.0 { 0.0 } else { (queue / target).min(room) };
        (queue, jobs)
    }
}

/// What `triggers` come to.
pub fn demand(triggers: &[Trigger], calculation: Calculation, bounds: Bounds) -> Demand {
    let room = f64::from(bounds.room());
    let each: Vec<_> =
        triggers.iter().filter(|trigger| trigger.active).map(|trigger| trigger.demand(room)).collect();
    let sum = each.iter().fold((0.0, 0.0), |(queues, jobs), each| (queues + each.0, jobs + each.1));
    let ((queue, jobs), active) = match calculation {
        // A queue of nothing is no trigger's: with `max` it is not even active.
        Calculation::Max => {
            let longest =
                each.iter().fold((0.0, 0.0), |best, each| if each.0 > best.0 { *each } else { best });
            (longest, longest.0 > 0.0)
        }
        Calculation::Min => {
            let shorter = |best: (f64, f64), each: &(f64, f64)| {
                if best.0 == 0.0 || each.0 < best.0 { *each } else { best }
            };
            (each.iter().fold((0.0, 0.0), shorter), !each.is_empty())
        }
        Calculation::Average => {
            let count = each.len().max(1) as f64;
            ((sum.0 / count, sum.1 / count), !each.is_empty())
        }
        Calculation::Sum => (sum, !each.is_empty()),
    };
    Demand { active: active || bounds.base() > 0, queue: round_up(queue), jobs: round_up(jobs.min(room)) }
}

/// The Jobs that KEDA creates at a poll.
pub fn to_create(strategy: Strategy, demand: Demand, unfinished: Unfinished, bounds: Bounds) -> Next {
    let (base, room) = (i64::from(bounds.base()), i64::from(bounds.room()));
    let running = i64::from(unfinished.running);
    if !demand.active {
        return Next { create: 0, why: Why::Inactive };
    }
    if running < base {
        return Next { create: bounds.base() - unfinished.running, why: Why::BelowMin };
    }
    let allowed = strategy.allows(signed(demand.jobs), running - base, i64::from(unfinished.pending), room);
    let ceiling = match strategy {
        Strategy::Eager => room,
        Strategy::Default | Strategy::Accurate | Strategy::Custom { .. } => signed(demand.queue),
    };
    let create = allowed.min(ceiling).max(0);
    let why = match create {
        _ if running + create >= base + room => Why::Max,
        0 => Why::Enough,
        _ => Why::AsWanted,
    };
    Next { create: u32::try_from(create).unwrap_or(u32::MAX), why }
}

impl Strategy {
    /// KEDA's `effectiveMaxScale`, where `running` is what runs on top of the base.
    fn allows(self, jobs: i64, running: i64, pending: i64, room: i64) -> i64 {
        match self {
            Self::Default => jobs - running,
            Self::Accurate if jobs + running - pending > room => room - running,
            Self::Accurate => jobs - pending,
            Self::Eager => (room - running - pending).min(jobs),
            Self::Custom { deduction, running_share } => {
                (jobs - i64::from(deduction) - share(running, running_share)).min(room)
            }
        }
    }
}

/// The whole part of a share of the Jobs that run.
#[expect(clippy::cast_possible_truncation, reason = "KEDA cuts the fraction off too")]
fn share(running: i64, share: f64) -> i64 {
    (running as f64 * share) as i64
}

/// A quantity as the float that KEDA reads.
fn float(milli: Milli) -> f64 {
    milli.float() * 1e-3
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "queues are never negative")]
fn round_up(number: f64) -> u64 {
    number.ceil() as u64
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "jobs_tests.rs"]
mod tests;
