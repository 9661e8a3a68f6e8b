//! What the answers about a framework's queues add up to.

use super::Role;
use super::question::Told;
use crate::engine::signals::{InFlight, Reading};
use crate::timestamp::Timestamp;

/// Sums over the answers about one queue, or about all.
#[derive(Debug, Default)]
pub(super) struct Tally {
    ready: Option<u64>,
    due: Option<u64>,
    soon: Option<u64>,
    delayed: Option<u64>,
    in_flight: Option<u64>,
    lost: u64,
    unfinished: Option<u64>,
    dead: Option<u64>,
    paused: bool,
    /// Names of processes.
    pub(super) members: Option<u64>,
    concurrency: Option<u64>,
    rate: Option<u64>,
    started: u64,
    /// The id of the task that is next.
    pub(super) head: Option<String>,
    since: Option<Timestamp>,
}

impl Tally {
    /// Adds what an answer told.
    pub(super) fn add(&mut self, role: Role, told: Told) {
        match (role, told) {
            (Role::Ready, Told::Count(count)) => add(&mut self.ready, count),
            (Role::Due, Told::Count(count)) => add(&mut self.due, count),
            (Role::Soon, Told::Count(count)) => add(&mut self.soon, count),
            (Role::Delayed, Told::Count(count)) => add(&mut self.delayed, count),
            (Role::Asleep, Told::Count(count)) => {
                add(&mut self.due, count.min(1));
                add(&mut self.delayed, count.saturating_sub(1));
            }
            (Role::InFlight, Told::Count(count)) => add(&mut self.in_flight, count),
            (Role::Lost, Told::Count(count)) => self.lost = self.lost.saturating_add(count),
            (Role::Members, Told::Count(count)) => self.members = Some(count),
            (Role::Unfinished, Told::Count(count)) => add(&mut self.unfinished, count),
            (Role::Dead, Told::Count(count)) => add(&mut self.dead, count),
            (Role::Paused, Told::Count(count)) => self.paused |= count > 0,
            (Role::Concurrency, Told::Count(count)) => self.concurrency = Some(count),
            (Role::Rate, Told::Count(count)) => self.rate = Some(count),
            (Role::Started, Told::Count(count)) => self.started = count,
            (Role::Head(marker), Told::Id(id)) if !marker.is_empty() && id.starts_with(marker) => {
                self.ready = self.ready.map(|ready| ready.saturating_sub(1));
            }
            (Role::Head(_), Told::Id(id)) => self.head = Some(id),
            (Role::Since(_), Told::At(at)) => self.since = Some(self.since.map_or(at, |since| since.min(at))),
            // Nothing is there.
            (_, Told::Nothing | Told::Count(_) | Told::Id(_) | Told::At(_)) => {}
        }
    }

    /// Tasks that a worker could take now or once it has started, also while the queue is paused.
    pub(super) fn waiting(&self) -> u64 {
        self.ready.unwrap_or(0).saturating_add(self.due.unwrap_or(0)).saturating_add(self.lost)
    }

    /// Whether workers take nothing.
    pub(super) const fn is_paused(&self) -> bool {
        self.paused
    }

    /// What one queue shows; `asked` is the id whose time was asked for, which may not be next any more.
    pub(super) fn reading(mut self, paused: bool, asked: Option<&str>, now: Timestamp) -> Reading {
        if self.lost > 0 {
            add(&mut self.due, self.lost);
            self.in_flight = self.in_flight.map(|tasks| tasks.saturating_sub(self.lost));
        }
        let taken = self.unfinished.map(|unfinished| unfinished.saturating_sub(self.ready.unwrap_or(0)));
        let in_flight = sum(self.in_flight, taken);
        let ceiling = self.ceiling(in_flight.unwrap_or(0));
        let still_next = asked.is_none() || self.head.as_deref() == asked;
        let oldest = self.since.filter(|since| !paused && still_next && *since <= now);
        let waiting = |tasks: Option<u64>| if paused { tasks.map(|_| 0) } else { tasks };
        let held = if paused { [self.ready, self.due, self.soon].into_iter().fold(None, sum) } else { None };
        Reading {
            ready: waiting(self.ready),
            due: waiting(self.due),
            soon: waiting(self.soon),
            delayed: sum(self.delayed, held),
            in_flight: in_flight.map(InFlight::Known),
            dead: self.dead,
            oldest: oldest.map(|since| now.since(since)),
            ceiling: ceiling.map(|slots| u32::try_from(slots).unwrap_or(u32::MAX)),
            ..Reading::default()
        }
    }

    /// Most slots of use: as many as may run at a time, and, until the window of a rate is over, those that run and those
    /// that may still start.
    fn ceiling(&self, in_flight: u64) -> Option<u64> {
        // A queue that was told to wait has this for a count, whatever its rate.
        const TOLD_TO_WAIT: u64 = (1 << 53) - 1;
        let rate = self.rate.or((self.started >= TOLD_TO_WAIT).then_some(0));
        let by_rate = rate.map(|rate| in_flight.saturating_add(rate.saturating_sub(self.started)));
        match (self.concurrency, by_rate) {
            (Some(concurrency), Some(by_rate)) => Some(concurrency.min(by_rate)),
            (one, other) => one.or(other),
        }
    }
}

fn add(sum: &mut Option<u64>, count: u64) {
    *sum = Some(sum.unwrap_or(0).saturating_add(count));
}

/// The sum of what is known; `None` if nothing is.
fn sum(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (one, other) => one.or(other),
    }
}

/// What several queues show together.
pub(super) fn together(one: Reading, other: Reading) -> Reading {
    let ceiling = one.ceiling.zip(other.ceiling).map(|(one, other)| one.saturating_add(other));
    let tasks = |reading: &Reading| reading.in_flight.map(InFlight::tasks);
    Reading {
        ready: sum(one.ready, other.ready),
        due: sum(one.due, other.due),
        soon: sum(one.soon, other.soon),
        delayed: sum(one.delayed, other.delayed),
        in_flight: sum(tasks(&one), tasks(&other)).map(InFlight::Known),
        dead: sum(one.dead, other.dead),
        oldest: one.oldest.max(other.oldest),
        ceiling,
        ..Reading::default()
    }
}
