//! What offsets say of the work that waits and the work that runs. No input or output.

use tokio::time::Instant;

use super::memory::{Event, Memory};
use super::queue::{Queue, Reset, Room};
use super::wire::Place;
use crate::engine::signals::{InFlight, Reading, Tasks};

/// What was read of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offsets {
    /// Where the group goes on; `None` if it never committed.
    pub(super) committed: Option<u64>,
    /// No record before it is left; zero where that makes no difference.
    pub(super) start: u64,
    /// What the next record will have.
    pub(super) end: u64,
}

/// Records that the group has not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lag(pub(super) u64);

/// Whether the lag of a partition cannot be told without its first record.
pub(super) fn needs_start(queue: &Queue, committed: Option<u64>, end: u64) -> bool {
    match committed {
        Some(committed) => committed < end,
        None => !queue.ignores_uncommitted && 0 < end,
    }
}

/// The lag of one partition.
fn lag(queue: &Queue, offsets: &Offsets) -> Lag {
    let Offsets { committed, start, end } = *offsets;
    let left = end.saturating_sub(start);
    Lag(match (committed, queue.reset) {
        (None, _) if queue.ignores_uncommitted => 0,
        (None, Reset::Earliest) => left,
        // Workers skip what is there when they come. But one may be running what came since, which shows with its
        // first commit only.
        (None, Reset::Latest) => left.min(1),
        // Records whose time was over before the group came to them wait no longer.
        (Some(committed), _) => end.saturating_sub(committed.max(start)),
    })
}

/// What the group's partitions show at `now`, and what has happened to them.
pub(super) fn reading(
    queue: &Queue,
    partitions: Vec<(Place, Offsets)>,
    memory: &mut Memory,
    now: Instant,
) -> (Reading, Vec<(Place, Event)>) {
    let seen: Vec<(Place, Offsets, Lag)> = partitions
        .into_iter()
        .map(|(place, offsets)| {
            let lag = lag(queue, &offsets);
            (place, offsets, lag)
        })
        .collect();
    let events = memory.take_in(&seen, now);
    let (mut total, mut busy, mut still) = (0_u64, 0_u64, 0_u64);
    for (place, _, Lag(lag)) in seen.iter().filter(|(_, _, Lag(lag))| 0 < *lag) {
        if queue.persistent_after.is_some_and(|after| memory.stands_still(place, after, now)) {
            still += 1;
        } else {
            busy += 1;
            total = total.saturating_add(*lag);
        }
    }
    let mut kept = Tasks::default();
    // One worker has to start, although no task is known yet.
    if total == 0 && (0 < still || nobody_has_begun(queue, &seen)) {
        (total, busy) = (1, u64::from(0 < still));
        kept = Tasks { ready: total - busy, soon: 0, in_flight: busy };
    }
    let reading = Reading {
        ready: Some(total - busy),
        // A worker takes the next record of a partition when it has finished the one before.
        in_flight: Some(InFlight::Estimated(busy)),
        counters: memory.counters(),
        ceiling: room(queue.room, seen.len(), busy),
        kept,
        even_over: u32::try_from(seen.len()).ok().filter(|_| queue.room == Room::EvenPartitions),
        ..Reading::default()
    };
    (reading, events)
}

/// Whether the group has no commit anywhere and skips what comes before its workers do: one must be there before the
/// first record.
fn nobody_has_begun(queue: &Queue, seen: &[(Place, Offsets, Lag)]) -> bool {
    queue.reset == Reset::Latest
        && !queue.ignores_uncommitted
        && seen.iter().all(|(_, offsets, _)| offsets.committed.is_none())
}

fn room(room: Room, partitions: usize, busy: u64) -> Option<u32> {
    match room {
        Room::Partitions | Room::EvenPartitions => u32::try_from(partitions).ok(),
        Room::PartitionsWithLag => u32::try_from(busy).ok(),
        Room::Unlimited => None,
    }
}

#[cfg(test)]
mod tests;
