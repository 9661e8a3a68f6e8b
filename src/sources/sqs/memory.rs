//! What was counted before: a zero must last before it counts, and an idle queue may rest.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::counts::Counts;
use super::fault::Fault;
use super::queue::Queues;
use crate::engine::signals::{InFlight, Reading, Tasks};

/// SQS's counts are complete a minute after the last change: a zero that is younger may be a slip of the count.
const ZERO_LASTS: Duration = Duration::from_secs(60);

/// Reads that must have seen the zero, however seldom they come.
const ZERO_READS: u32 = 3;

/// Longest time between two reads of an idle queue: as long as KEDA itself takes for a look by default.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// First and longest rest for queues whose calls SQS throttles.
const FIRST_REST: Duration = Duration::from_secs(8);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Time after which queues that nobody reads any more are forgotten: twenty longest pauses.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// Most triggers that are remembered. A place that was read longest ago goes to the next.
const MOST_PLANS: usize = 20_000;

/// What is remembered of the queues behind one connection, also while it is lost.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// By the whole name of a plan: each trigger rests by itself.
    plans: BTreeMap<String, Plan>,
}

/// What is remembered of one trigger's queues.
#[derive(Debug)]
struct Plan {
    queues: Vec<Levels>,
    touched_at: Instant,
    /// When they were last read well.
    read_at: Option<Instant>,
    /// Since when they have been idle, if they are.
    idle_since: Option<Instant>,
    /// A rest that SQS asked for.
    rest: Option<Rest>,
}

#[derive(Debug)]
struct Rest {
    until: Instant,
    length: Duration,
    fault: Fault,
}

/// What counts of one queue.
#[derive(Clone, Debug, Default)]
struct Levels {
    visible: Level,
    in_flight: Level,
    delayed: Level,
}

/// A count that falls to zero only when the zero has lasted.
#[derive(Clone, Debug, Default)]
struct Level {
    value: u64,
    zero: Option<Zero>,
}

#[derive(Clone, Debug)]
struct Zero {
    since: Instant,
    reads: u32,
}

impl Memory {
    /// Whether `queues` were idle when they were last read, and that is recent for how long they have been.
    pub(super) fn rests(&self, queues: &Queues, now: Instant) -> bool {
        let Some(Plan { read_at: Some(read_at), idle_since: Some(idle_since), .. }) =
            self.plans.get(&queues.to_string())
        else {
            return false;
        };
        let pause = (read_at.duration_since(*idle_since) / 2).min(LONGEST_PAUSE);
        // Ticks are not exact: one that comes a little early must not cost a whole further one.
        now.duration_since(*read_at) < pause * 9 / 10
    }

    /// Why `queues` must not be asked for now, if SQS throttled them.
    pub(super) fn throttled(&self, queues: &Queues, now: Instant) -> Option<Fault> {
        let rest = self.plans.get(&queues.to_string())?.rest.as_ref()?;
        (now < rest.until).then(|| rest.fault.clone())
    }

    /// Takes in what was counted in each of `queues`: what is to be taken for true.
    pub(super) fn take(&mut self, queues: &Queues, counts: &[Counts], now: Instant) -> Reading {
        let plan = self.plan(queues, now);
        plan.rest = None;
        plan.read_at = Some(now);
        plan.queues.resize(counts.len(), Levels::default());
        for (levels, counts) in plan.queues.iter_mut().zip(counts) {
            levels.take(*counts, now);
        }
        let is_idle = plan.queues.iter().all(Levels::is_idle);
        plan.idle_since = is_idle.then(|| plan.idle_since.unwrap_or(now));
        reading(queues, &plan.queues)
    }

    /// Takes note of a failed read: a queue that fails does not rest, unless SQS throttles it.
    pub(super) fn fail(&mut self, queues: &Queues, fault: &Fault, now: Instant) {
        let plan = self.plan(queues, now);
        plan.idle_since = None;
        plan.rest = fault.is_throttle().then(|| {
            let length = plan.rest.as_ref().map_or(FIRST_REST, |rest| rest.length * 2).min(LONGEST_REST);
            Rest { until: now + length, length, fault: fault.clone() }
        });
    }

    /// Forgets what nobody reads any more.
    pub(super) fn forget(&mut self, now: Instant) {
        self.plans.retain(|_, plan| now.duration_since(plan.touched_at) < FORGET_AFTER);
    }

    fn plan(&mut self, queues: &Queues, now: Instant) -> &mut Plan {
        let name = queues.to_string();
        if self.plans.len() >= MOST_PLANS && !self.plans.contains_key(&name) {
            let oldest = self.plans.iter().min_by_key(|(_, plan)| plan.touched_at);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.plans.remove(&oldest);
            }
        }
        let plan = self.plans.entry(name).or_insert_with(|| Plan {
            queues: Vec::new(),
            touched_at: now,
            read_at: None,
            idle_since: None,
            rest: None,
        });
        plan.touched_at = now;
        plan
    }
}

/// What the levels say together. Where only memory says that tasks run, that is an estimate.
fn reading(queues: &Queues, levels: &[Levels]) -> Reading {
    let sum = |count: fn(&Levels) -> u64| levels.iter().map(count).fold(0, u64::saturating_add);
    let in_flight = sum(|levels| levels.in_flight.value);
    let kept = |level: fn(&Levels) -> &Level| {
        let kept = levels.iter().map(level).filter(|level| level.is_kept());
        kept.map(|level| level.value).fold(0, u64::saturating_add)
    };
    let soon_kept = if queues.scale_on_delayed { kept(|levels| &levels.delayed) } else { 0 };
    let kept = Tasks {
        ready: kept(|levels| &levels.visible),
        soon: soon_kept,
        in_flight: kept(|levels| &levels.in_flight),
    };
    let is_kept = kept.in_flight > 0;
    Reading {
        ready: Some(sum(|levels| levels.visible.value)),
        soon: queues.scale_on_delayed.then(|| sum(|levels| levels.delayed.value)),
        in_flight: Some(if is_kept { InFlight::Estimated(in_flight) } else { InFlight::Known(in_flight) }),
        ceiling: queues.max_groups.map(std::num::NonZeroU32::get),
        kept,
        ..Reading::default()
    }
}

impl Levels {
    /// Tasks that run are never given up for a zero of a moment. Those that wait are, as long as the queue is not
    /// empty as a whole: they were taken, and are counted as running.
    fn take(&mut self, counts: Counts, now: Instant) {
        let Counts { visible, in_flight, delayed } = counts;
        self.in_flight.take(in_flight, now);
        if counts.is_empty() {
            self.visible.take(visible, now);
            self.delayed.take(delayed, now);
        } else {
            self.visible = Level::of(visible);
            self.delayed = Level::of(delayed);
        }
    }

    fn is_idle(&self) -> bool {
        let Self { visible, in_flight, delayed } = self;
        [visible, in_flight, delayed].iter().all(|level| level.value == 0)
    }
}

impl Level {
    const fn of(value: u64) -> Self {
        Self { value, zero: None }
    }

    /// Whether it is a former value that a zero has not replaced yet.
    const fn is_kept(&self) -> bool {
        self.value > 0 && self.zero.is_some()
    }

    /// Takes in a count. Whatever is more than zero is true at once.
    fn take(&mut self, value: u64, now: Instant) {
        if value > 0 || self.value == 0 {
            *self = Self::of(value);
            return;
        }
        let zero = self.zero.get_or_insert(Zero { since: now, reads: 0 });
        zero.reads += 1;
        if zero.reads >= ZERO_READS && now.duration_since(zero.since) >= ZERO_LASTS {
            *self = Self::of(0);
        }
    }
}

#[cfg(test)]
mod tests;
