//! Offsets and what they mean, without a broker.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::engine::signals::Counters;
use crate::sources::kafka::queue::{Isolation, Topics};

#[test]
fn the_lag_of_a_partition_is_what_its_workers_will_come_to() {
    use Reset::{Earliest, Latest};
    for (committed, start, end, reset, ignores, expected) in [
        (Some(3), 0, 10, Latest, false, 7),
        (Some(10), 0, 10, Latest, false, 0),
        // Records before the first that is left wait no longer.
        (Some(3), 8, 10, Latest, false, 2),
        (Some(3), 10, 10, Latest, false, 0),
        // Another topic of the same name.
        (Some(12), 0, 10, Earliest, false, 0),
        (None, 4, 10, Earliest, false, 6),
        (None, 4, 10, Latest, false, 1),
        (None, 10, 10, Latest, false, 0),
        (None, 4, 10, Earliest, true, 0),
        (None, 4, 10, Latest, true, 0),
        (Some(3), 0, 10, Latest, true, 7),
    ] {
        let queue = Queue { reset, ignores_uncommitted: ignores, ..queue() };
        let found = lag(&queue, &Offsets { committed, start, end });
        assert_eq!(found, Lag(expected), "{committed:?} {start} {end} {reset:?} {ignores}");
    }
}

#[test]
fn every_partition_with_lag_may_run_one_task_and_the_rest_waits() {
    let (reading, events) =
        look(&queue(), &[(Some(0), 5), (Some(5), 5), (Some(4), 5)], &mut Memory::default(), 0);
    let counters = Counters { added: Some(15), completed: Some(9) };
    let expected = Reading {
        ready: Some(4),
        in_flight: Some(InFlight::Estimated(2)),
        counters,
        ceiling: Some(3),
        ..Reading::default()
    };
    assert_eq!((reading, events), (expected, Vec::new()));
}

#[test]
fn counters_follow_offsets_and_not_what_appears_or_begins() {
    let mut memory = Memory::default();
    let mut totals = |partitions: &[(Option<u64>, u64)]| {
        let (reading, _) = look(&queue(), partitions, &mut memory, 0);
        (reading.counters.added.unwrap(), reading.counters.completed.unwrap())
    };
    assert_eq!(totals(&[(Some(2), 10), (None, 500)]), (510, 2));
    assert_eq!(totals(&[(Some(5), 12), (None, 501)]), (513, 5));
    // A first commit says nothing of how many were done since the read before, and a new partition nothing of when.
    assert_eq!(totals(&[(Some(5), 12), (Some(490), 501), (Some(90), 100)]), (513, 5));
    assert_eq!(totals(&[(Some(6), 12), (Some(491), 501), (Some(91), 101)]), (514, 8));
    // A topic that was made anew: the engine begins to count anew.
    assert_eq!(totals(&[(Some(0), 1), (Some(491), 501), (Some(91), 101)]), (503, 2));
}

#[test]
fn what_happens_to_a_partition_is_said_once() {
    let mut memory = Memory::default();
    let mut events = |committed, end| {
        let (_, events) = look(&queue(), &[(committed, end)], &mut memory, 0);
        events.into_iter().map(|(_, event)| event).collect::<Vec<_>>()
    };
    assert_eq!(events(Some(3), 10), []);
    assert_eq!(events(Some(3), 1), [Event::Beyond]);
    assert_eq!(events(Some(3), 1), []);
    assert_eq!(events(None, 1), [Event::CommitGone]);
    assert_eq!(events(None, 1), []);
    assert_eq!(events(Some(1), 1), []);
}

#[test]
fn lag_that_stands_still_counts_as_one_task_and_only_for_as_long() {
    let queue = Queue { persistent_after: Some(Duration::from_secs(60)), ..queue() };
    let mut memory = Memory::default();
    let mut tasks = |partitions: &[(Option<u64>, u64)], seconds| {
        let (reading, _) = look(&queue, partitions, &mut memory, seconds);
        (reading.ready, reading.in_flight.map(InFlight::tasks))
    };
    assert_eq!(tasks(&[(Some(0), 9), (Some(0), 9)], 0), (Some(16), Some(2)));
    assert_eq!(tasks(&[(Some(0), 9), (Some(1), 9)], 59), (Some(15), Some(2)));
    assert_eq!(tasks(&[(Some(0), 9), (Some(1), 9)], 60), (Some(7), Some(1)));
    // Both stand still: a worker stays, to try again.
    assert_eq!(tasks(&[(Some(0), 9), (Some(1), 9)], 119), (Some(0), Some(1)));
    // A new record is a change too, also behind one that nobody gets past.
    assert_eq!(tasks(&[(Some(0), 10), (Some(1), 9)], 120), (Some(9), Some(1)));
    // Without a commit nothing tells whether something moves.
    assert_eq!(tasks(&[(None, 10), (Some(9), 9)], 121), (Some(0), Some(1)));
    assert_eq!(tasks(&[(None, 10), (Some(9), 9)], 999), (Some(0), Some(1)));
}

#[test]
fn tasks_that_only_keep_a_worker_are_marked_as_kept() {
    let kept = |queue: &Queue, partitions: &[(Option<u64>, u64)], seconds| {
        let mut memory = Memory::default();
        look(queue, partitions, &mut memory, 0);
        look(queue, partitions, &mut memory, seconds).0.kept
    };
    assert_eq!(kept(&queue(), &[(None, 0), (None, 0)], 5), Tasks { ready: 1, ..Tasks::default() });
    assert_eq!(kept(&queue(), &[(None, 0), (Some(3), 9)], 5), Tasks::default());
    let persistent = Queue { persistent_after: Some(Duration::from_secs(60)), ..queue() };
    assert_eq!(kept(&persistent, &[(Some(0), 9)], 59), Tasks::default());
    assert_eq!(kept(&persistent, &[(Some(0), 9)], 60), Tasks { in_flight: 1, ..Tasks::default() });
}

#[test]
fn a_worker_must_be_there_before_the_first_record_where_workers_begin_behind_the_last() {
    let tasks = |queue: &Queue, partitions: &[(Option<u64>, u64)]| {
        let (reading, _) = look(queue, partitions, &mut Memory::default(), 0);
        (reading.ready, reading.in_flight.map(InFlight::tasks))
    };
    let (one, none) = ((Some(1), Some(0)), (Some(0), Some(0)));
    assert_eq!(tasks(&queue(), &[(None, 0), (None, 0)]), one);
    assert_eq!(tasks(&queue(), &[(None, 0), (Some(0), 0)]), none);
    assert_eq!(tasks(&Queue { reset: Reset::Earliest, ..queue() }, &[(None, 0)]), none);
    assert_eq!(tasks(&Queue { ignores_uncommitted: true, ..queue() }, &[(None, 0)]), none);
}

#[test]
fn the_first_record_matters_only_where_something_is_left() {
    let ignoring = Queue { ignores_uncommitted: true, ..queue() };
    for (queue, committed, end, expected) in [
        (queue(), Some(3), 10, true),
        (queue(), Some(10), 10, false),
        (queue(), Some(11), 10, false),
        (queue(), None, 10, true),
        (queue(), None, 0, false),
        (ignoring, None, 10, false),
    ] {
        assert_eq!(needs_start(&queue, committed, end), expected, "{committed:?} {end}");
    }
}

/// What partitions with these commits and ends show at a second of the test.
fn look(
    queue: &Queue,
    partitions: &[(Option<u64>, u64)],
    memory: &mut Memory,
    second: u64,
) -> (Reading, Vec<(Place, Event)>) {
    let topic: Arc<str> = "tasks".into();
    let partitions = (0..).zip(partitions).map(|(number, (committed, end))| {
        ((Arc::clone(&topic), number), Offsets { committed: *committed, start: 0, end: *end })
    });
    reading(queue, partitions.collect(), memory, *START + Duration::from_secs(second))
}

static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);

fn queue() -> Queue {
    Queue {
        group: "workers".into(),
        topics: Topics::Named(vec!["tasks".into()]),
        partitions: None,
        reset: Reset::Latest,
        ignores_uncommitted: false,
        isolation: Isolation::Uncommitted,
        room: Room::Partitions,
        persistent_after: None,
    }
}
