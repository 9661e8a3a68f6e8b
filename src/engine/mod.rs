//! Decides how many replicas to run. No I/O, no clock, no logging, no `async`, no `Result`.

pub mod decision;
pub mod estimate;
pub mod hpa;
pub mod limit;
pub mod minutes;
pub mod policy;
pub mod queries;
pub mod reports;
mod rules;
pub mod signals;
pub mod want;

mod explain;
#[cfg(test)]
mod jobs;
#[cfg(test)]
mod testing;

use std::sync::Arc;
use std::time::Duration;

use crate::timestamp::Timestamp;

use decision::{Alternative, Answer, Change, Decision, LimitedBy, Outlook, Size, Step};
use limit::share::{Bound, Share};
use policy::Policy;
use rules::{activation, bounds, ceiling, even, llm_limit, no_progress, promise, running, staleness, unseen};
use signals::{Reading, Signals};
use want::Want;

pub use limit::share::share;
pub use rules::demand::want;

/// What the engine must remember between two decisions about one trigger. It can be lost: a fresh one
/// starts at the careful end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// The last size that was known.
    last: Option<Size>,
    /// Whether the promise was being missed.
    promise_missed: bool,
    unseen: unseen::Unseen,
    progress: no_progress::Progress,
}

/// Decides. Same arguments, same answer: this is the whole contract with replay and with the tests.
///
/// The rules run in the order written here; each either changes the number and says why, or stays silent.
/// Reading this body and that of `apply_rules` from top to bottom is reading the specification. `share` is what
/// a rate limit leaves to the trigger, `None` if it uses none.
pub fn decide(
    policy: &Policy,
    signals: &Signals,
    want: Option<Want>,
    share: Option<&Arc<Share>>,
    memory: &Memory,
    now: Timestamp,
) -> (Decision, Memory) {
    let stand_in = staleness::stand_in(policy, signals, memory, now);
    let queue = signals.queue.seen().zip(signals.queue.at());
    let (Some(want), Some((reading, read_at)), None) = (want, queue, &stand_in) else {
        let answer = stand_in.unwrap_or_else(|| staleness::last_or_unknown(policy, memory));
        return (undecided(signals, want, share, answer), memory.clone());
    };

    let mut memory = memory.clone();
    memory.promise_missed = want.promise_missed;
    memory.progress.look(signals, reading, &want, now);
    let shadow = memory.unseen.look(policy, reading, &want, memory.last, read_at, now);
    if let unseen::Shadow::Unknown(unknown) = shadow {
        let answer = Answer::Unknown(unknown);
        return (undecided(signals, Some(want), share, answer), memory);
    }

    let left = share.map(AsRef::as_ref);
    let scene =
        Scene { policy, signals, reading, want: &want, share: left, shadow: &shadow, memory: &memory, now };
    let (size, steps) = scene.apply_rules();
    let decision = Decision {
        answer: Answer::Fresh(size),
        limited_by: steps.last().map_or(LimitedBy::Demand, |step| step.by),
        outlook: scene.outlook(size),
        alternatives: scene.alternatives(size, &steps),
        steps,
        want: Some(want),
        share: share.cloned(),
        read_at: signals.queue.at(),
    };
    memory.last = Some(size);
    (decision, memory)
}

/// The slots that a trigger claims of a limit: its demand after the rules that no limit outranks. `None` while it
/// is inactive.
pub fn claimed(policy: &Policy, signals: &Signals, want: &Want) -> Option<f64> {
    let slots = if want.promise_missed { want.for_every_task(policy) } else { want.slots };
    let most = f64::from(policy.replicas.max()) * f64::from(policy.tasks_per_replica.get());
    let ceiling = signals.queue.seen().and_then(|reading| reading.ceiling).map_or(f64::INFINITY, f64::from);
    let active = activation::is_active(policy, want, signals.silent && policy.workload.is_held());
    active.then(|| slots.min(most).min(ceiling).max(1.0))
}

/// Everything that the rules look at.
#[derive(Clone, Copy)]
struct Scene<'a> {
    policy: &'a Policy,
    signals: &'a Signals,
    reading: &'a Reading,
    want: &'a Want,
    share: Option<&'a Share>,
    shadow: &'a unseen::Shadow,
    memory: &'a Memory,
    now: Timestamp,
}

impl Scene<'_> {
    /// The number, and the rules that made it.
    fn apply_rules(self) -> (Size, Vec<Step>) {
        let Self { policy, signals, reading, want, share, shadow, memory, now } = self;
        let mut draft = Draft { replicas: want.demanded(policy), steps: Vec::new() };
        // Late tasks first: while the promise is being missed, no part of the backlog may wait for a free slot.
        draft.apply(promise::catch_up(policy, want, draft.replicas));
        // What more replicas would be of no use to: the queue itself, tasks that never end, the rate limit.
        draft.apply(ceiling::cut(policy, reading, draft.replicas));
        draft.apply(even::round_up(policy, reading, draft.replicas));
        draft.apply(no_progress::stop_growth(memory, now, draft.replicas));
        draft.apply(llm_limit::cut(share, memory, draft.replicas));
        draft.apply(llm_limit::wait(policy, signals, want, share, memory, now, draft.replicas));
        // Running work outranks what limits growth, because a limit must never kill what it admitted.
        draft.apply(running::hold(policy, signals, reading, want, memory, now, draft.replicas));
        draft.apply(unseen::hold(shadow, draft.replicas));
        // Who alone could show running tasks is silent: what was active stays so.
        let may_run = signals.silent && policy.workload.is_held();
        let was_active = may_run && memory.last.is_some_and(|last| last.active);
        let active = activation::is_active(policy, want, was_active || unseen::keeps_active(shadow));
        // During a block no Job may start, and a value that starts none is inactive.
        let active = active && (policy.workload.is_held() || draft.replicas > 0);
        draft.apply(activation::sleep(active, draft.replicas));
        // The user's bounds come last: they are a budget, and outrank everything.
        draft.apply(bounds::clamp(policy, active, draft.replicas));
        (Size { replicas: draft.replicas, active }, draft.steps)
    }

    /// What becomes of the backlog: it shrinks by what the slots get through, less what arrives.
    fn outlook(self, size: Size) -> Outlook {
        let Self { policy, signals, want, share, .. } = self;
        if want.backlog == 0 {
            return Outlook::Empty;
        }
        let Some(service) = want.service else { return Outlook::NotKnown };
        let slots = f64::from(size.replicas) * f64::from(policy.tasks_per_replica.get());
        let fed = match share.map(|share| &share.bound) {
            Some(Bound::At(cap)) => slots.min(cap.slots),
            Some(Bound::Open(_)) | None => slots,
        };
        let throughput = fed / service.as_secs_f64();
        let net = throughput - signals.arrivals.seen().copied().unwrap_or(0.0);
        let seconds = want.backlog as f64 / net;
        // Slower than a month is as good as never, and no duration can be made of it.
        if net <= 0.0 || !seconds.is_finite() || seconds > 30.0 * 86_400.0 {
            return Outlook::Growing;
        }
        Outlook::GoneIn(Duration::from_secs_f64(seconds))
    }

    /// What the last rule cost or saved, and what twice the limit or a looser promise would give.
    fn alternatives(self, size: Size, steps: &[Step]) -> Vec<Alternative> {
        const LOOSER: u32 = 5;
        let mut alternatives = Vec::new();
        if let Some(step) = steps.last() {
            alternatives.push(Alternative { change: Change::Without(step.by), replicas: step.from });
        }
        if let Some(share) = self.share
            && let Bound::At(cap) = &share.bound
            && steps.iter().any(|step| step.by == LimitedBy::LlmLimit)
        {
            let twice = limit::share::Cap { replicas: cap.twice, scarce: false, ..cap.clone() };
            let share = Share { bound: Bound::At(twice), ..share.clone() };
            let (other, _) = Scene { share: Some(&share), ..self }.apply_rules();
            let change = Change::TwiceTheLimit(cap.dimension);
            alternatives.push(Alternative { change, replicas: other.replicas });
        }
        let max_queue_wait = self.policy.max_queue_wait * LOOSER;
        let looser = Policy { max_queue_wait, ..*self.policy };
        if let Some(want) = want(&looser, self.signals, self.memory, self.now) {
            let (other, _) = Scene { policy: &looser, want: &want, ..self }.apply_rules();
            if other.replicas < size.replicas {
                let change = Change::MaxQueueWait(max_queue_wait);
                alternatives.push(Alternative { change, replicas: other.replicas });
            }
        }
        // Kept until the next decision, once for each trigger.
        alternatives.shrink_to_fit();
        alternatives
    }
}

/// A number on its way through the rules.
struct Draft {
    replicas: u32,
    steps: Vec<Step>,
}

impl Draft {
    fn apply(&mut self, step: Option<Step>) {
        if let Some(step) = step {
            self.replicas = step.to;
            self.steps.push(step);
        }
    }
}

fn undecided(signals: &Signals, want: Option<Want>, share: Option<&Arc<Share>>, answer: Answer) -> Decision {
    let limited_by = match answer {
        Answer::Unknown(decision::Unknown::UnseenTasks { .. }) => LimitedBy::UnseenTasks,
        Answer::Unknown(_) | Answer::Held(_) | Answer::Fresh(_) => LimitedBy::Stale,
    };
    let (read_at, share) = (signals.queue.at(), share.cloned());
    let (steps, alternatives) = (Vec::new(), Vec::new());
    Decision { answer, limited_by, steps, want, share, outlook: Outlook::NotKnown, alternatives, read_at }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::testing::*;

    proptest! {
        /// At the size that was asked for, with the tasks taken that it has room for, no more is asked for.
        #[test]
        fn the_size_asked_for_is_enough(
            ready in 0..500_u64, running in 0..500_u64, service in prop::option::of(1..2_000_u64), promise in 1..2_000_u64,
        ) {
            let mut trigger = Trigger::with(|policy| {
                policy.tasks_per_replica = four();
                policy.max_queue_wait = seconds(promise);
            });
            if let Some(service) = service {
                trigger.serves_in(seconds(service));
            }
            let asked = trigger.at(0).sees(queue(ready, running)).replicas();
            let room = u64::from(asked) * 4;
            let taken = ready.min(room.saturating_sub(running));
            let again = trigger.at(5).sees(queue(ready - taken, running + taken)).replicas();
            let tasks = (ready + running).div_ceil(4);
            prop_assert!(u64::from(again) <= tasks, "never more than tasks exist");
            // With one slot a task nothing is left to ask for.
            prop_assert!(service.is_some() || again <= asked);
        }

        /// A fresh process is never below one that has measured, under a load that fills its replicas.
        #[test]
        fn a_fresh_process_is_never_the_lower(ready in 0..500_u64, replicas in 1..100_u64, service in 1..2_000_u64) {
            let full = queue(ready, replicas * 4);
            let policy = policy(|policy| policy.tasks_per_replica = four());
            let mut old = Trigger::with(|trigger| *trigger = policy);
            old.serves_in(seconds(service)).at(0).sees(queue(0, replicas * 4));
            let mut fresh = Trigger::with(|trigger| *trigger = policy);
            let known = old.at(5).sees(full.clone()).replicas();
            prop_assert!(fresh.at(5).sees(full).replicas() >= known);
        }
    }
}
