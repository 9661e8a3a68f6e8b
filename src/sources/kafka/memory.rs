//! What is remembered of a group between two reads.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::lag::{Lag, Offsets};
use super::wire::Place;
use crate::engine::signals::Counters;

/// The memory of one queue.
#[derive(Debug, Default)]
pub(super) struct Memory {
    places: HashMap<Place, Last>,
    totals: Option<Totals>,
}

/// A partition as it was when something last changed.
#[derive(Clone, Copy, Debug)]
struct Last {
    committed: Option<u64>,
    end: u64,
    lag: u64,
    since: Instant,
}

/// Sums of offsets: what was ever put in, and what was ever finished.
#[derive(Clone, Copy, Debug)]
struct Totals {
    added: u64,
    completed: u64,
}

/// What has happened to a partition that somebody should know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The group had a commit there, and has none any more.
    CommitGone,
    /// The group is further than the partition: another topic has taken the name, or records were lost.
    Beyond,
}

impl Memory {
    /// Takes in what was seen at `now`, and says what has happened to each partition that something happened to.
    pub(super) fn take_in(&mut self, seen: &[(Place, Offsets, Lag)], now: Instant) -> Vec<(Place, Event)> {
        let mut events = Vec::new();
        let mut next = HashMap::with_capacity(seen.len());
        let mut totals = self.totals.unwrap_or_else(|| Totals::of(seen));
        for (place, offsets, lag) in seen {
            let Offsets { committed, end, .. } = *offsets;
            let last = self.places.get(place).copied();
            let is_beyond = |committed: Option<u64>, end: u64| committed.is_some_and(|at| at > end);
            if let Some(last) = last {
                totals.follow(&last, committed, end);
                if last.committed.is_some() && committed.is_none() {
                    events.push((place.clone(), Event::CommitGone));
                }
            }
            if is_beyond(committed, end) && !last.is_some_and(|last| is_beyond(last.committed, last.end)) {
                events.push((place.clone(), Event::Beyond));
            }
            let stands = last.filter(|last| last.committed == committed && last.lag == lag.0);
            let since = stands.map_or(now, |last| last.since);
            next.insert(place.clone(), Last { committed, end, lag: lag.0, since });
        }
        self.places = next;
        self.totals = Some(totals);
        events
    }

    /// Whether neither the lag of a partition nor what is committed there has changed for so long.
    ///
    /// Without a commit nobody can tell whether anything moves.
    pub(super) fn stands_still(&self, place: &Place, after: Duration, now: Instant) -> bool {
        self.places.get(place).is_some_and(|last| last.committed.is_some() && last.since + after <= now)
    }

    /// Totals that grow with what is put in and finished, and fall when a topic or a group begins anew.
    ///
    /// They begin as sums of the offsets, so that they go on after another connection was opened. Partitions that
    /// come later, and first commits, add nothing at first: their offsets say nothing of the time between two reads.
    pub(super) fn counters(&self) -> Counters {
        let totals = self.totals.as_ref();
        Counters {
            added: totals.map(|totals| totals.added),
            completed: totals.map(|totals| totals.completed),
        }
    }
}

impl Totals {
    fn of(seen: &[(Place, Offsets, Lag)]) -> Self {
        let sum = |offset: fn(&Offsets) -> u64| {
            seen.iter().fold(0, |sum: u64, (_, offsets, _)| sum.saturating_add(offset(offsets)))
        };
        Self { added: sum(|offsets| offsets.end), completed: sum(|offsets| offsets.committed.unwrap_or(0)) }
    }

    fn follow(&mut self, last: &Last, committed: Option<u64>, end: u64) {
        self.added = moved(self.added, last.end, end);
        if let (Some(before), Some(after)) = (last.committed, committed) {
            self.completed = moved(self.completed, before, after);
        }
    }
}

fn moved(total: u64, before: u64, after: u64) -> u64 {
    total.saturating_add(after.saturating_sub(before)).saturating_sub(before.saturating_sub(after))
}
