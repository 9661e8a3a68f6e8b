//! Decides how many replicas to run. No I/O, no clock, no logging, no `async`, no `Result`.

pub mod decision;
pub mod estimate;
pub mod hpa;
pub mod limit;
pub mod minutes;
pub mod policy;
mod rules;
pub mod signals;
pub mod want;

mod explain;
#[cfg(test)]
mod testing;

use crate::timestamp::Timestamp;

use decision::{Alternative, Answer, Change, Decision, LimitedBy, Outlook, Size, Step};
use policy::Policy;
use rules::{activation, bounds, ceiling, promise, running, staleness, unseen};
use signals::{Reading, Signals};
use want::Want;

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
}

/// Decides. Same arguments, same answer: this is the whole contract with replay and with the tests.
///
/// The rules run in the order written here; each either changes the number and says why, or stays silent.
/// Reading this body and that of `apply_rules` from top to bottom is reading the specification.
pub fn decide(
    policy: &Policy,
    signals: &Signals,
    want: Option<Want>,
    memory: &Memory,
    now: Timestamp,
) -> (Decision, Memory) {
    let stand_in = staleness::stand_in(policy, &signals.queue, memory, now);
    let queue = signals.queue.seen().zip(signals.queue.at());
    let (Some(want), Some((reading, read_at)), None) = (want, queue, &stand_in) else {
        let answer = stand_in.unwrap_or_else(|| staleness::last_or_unknown(memory));
        return (undecided(signals, want, answer), memory.clone());
    };

    let mut memory = memory.clone();
    memory.promise_missed = want.promise_missed;
    let shadow = memory.unseen.look(policy, reading, &want, read_at, now);
    if let unseen::Shadow::Unknown(unknown) = shadow {
        let answer = Answer::Unknown(unknown);
        return (undecided(signals, Some(want), answer), memory);
    }

    let (size, steps) = apply_rules(policy, reading, &want, &shadow, &memory);
    memory.last = Some(size);
    let decision = Decision {
        answer: Answer::Fresh(size),
        limited_by: steps.last().map_or(LimitedBy::Demand, |step| step.by),
        outlook: outlook(policy, signals, &want, size),
        alternatives: alternatives(policy, signals, &shadow, &memory, size, &steps),
        steps,
        want: Some(want),
        read_at: signals.queue.at(),
    };
    (decision, memory)
}

/// The number, and the rules that made it.
fn apply_rules(
    policy: &Policy,
    reading: &Reading,
    want: &Want,
    shadow: &unseen::Shadow,
    memory: &Memory,
) -> (Size, Vec<Step>) {
    let mut draft = Draft { replicas: want.demanded(policy), steps: Vec::new() };
    // Late tasks first: while the promise is being missed, no part of the backlog may wait for a free slot.
    draft.apply(promise::catch_up(policy, want, draft.replicas));
    draft.apply(ceiling::cut(policy, reading, draft.replicas));
    // Running work outranks what limits growth, because a limit must never kill what it admitted.
    draft.apply(running::hold(policy, reading, want, memory, draft.replicas));
    draft.apply(unseen::hold(shadow, draft.replicas));
    let active = activation::is_active(policy, want, unseen::keeps_active(shadow));
    draft.apply(activation::sleep(active, draft.replicas));
    // The user's bounds come last: they are a budget, and outrank everything.
    draft.apply(bounds::clamp(policy, active, draft.replicas));
    (Size { replicas: draft.replicas, active }, draft.steps)
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

fn undecided(signals: &Signals, want: Option<Want>, answer: Answer) -> Decision {
    let limited_by = match answer {
        Answer::Unknown(decision::Unknown::UnseenTasks { .. }) => LimitedBy::UnseenTasks,
        Answer::Unknown(_) | Answer::Held(_) | Answer::Fresh(_) => LimitedBy::Stale,
    };
    let read_at = signals.queue.at();
    let (steps, alternatives) = (Vec::new(), Vec::new());
    Decision { answer, limited_by, steps, want, outlook: Outlook::NotKnown, alternatives, read_at }
}

/// What becomes of the backlog: it shrinks by what the slots get through, less what arrives.
fn outlook(policy: &Policy, signals: &Signals, want: &Want, size: Size) -> Outlook {
    if want.backlog == 0 {
        return Outlook::Empty;
    }
    let Some(service) = want.service else { return Outlook::NotKnown };
    let slots = f64::from(size.replicas) * f64::from(policy.tasks_per_replica.get());
    let throughput = slots / service.as_secs_f64();
    let net = throughput - signals.arrivals.seen().copied().unwrap_or(0.0);
    let seconds = want.backlog as f64 / net;
    // Slower than a month is as good as never, and no duration can be made of it.
    if net <= 0.0 || !seconds.is_finite() || seconds > 30.0 * 86_400.0 {
        return Outlook::Growing;
    }
    Outlook::GoneIn(std::time::Duration::from_secs_f64(seconds))
}

/// What the last rule cost or saved, and what a looser promise would give.
fn alternatives(
    policy: &Policy,
    signals: &Signals,
    shadow: &unseen::Shadow,
    memory: &Memory,
    size: Size,
    steps: &[Step],
) -> Vec<Alternative> {
    const LOOSER: u32 = 5;
    let mut alternatives = Vec::new();
    if let Some(step) = steps.last() {
        alternatives.push(Alternative { change: Change::Without(step.by), replicas: step.from });
    }
    let max_queue_wait = policy.max_queue_wait * LOOSER;
    let looser = Policy { max_queue_wait, ..*policy };
    if let (Some(want), Some(reading)) = (want(&looser, signals, memory), signals.queue.seen()) {
        let (other, _) = apply_rules(&looser, reading, &want, shadow, memory);
        if other.replicas < size.replicas {
            let change = Change::MaxQueueWait(max_queue_wait);
            alternatives.push(Alternative { change, replicas: other.replicas });
        }
    }
    alternatives
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
