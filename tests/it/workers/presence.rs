//! Which workers and tasks count as alive.

use std::time::Duration;

use agent_scaler::engine::signals::{Worker, WorkerState, Workers};
use agent_scaler::workers::keys;
use agent_scaler::workers::writer::Tally;

use super::{IDLE, SCOPE, Stage, beat, integer, now};

const BUSY: Worker = Worker { state: WorkerState::Busy, ..IDLE };

#[tokio::test]
async fn nobody_reports_is_nobody_seen() {
    let redis = Stage::start();
    let mut client = redis.scaler().await;
    let seen = client.workers().await;
    assert_eq!(seen, Workers { minute: redis.number(now(&redis)), ..Workers::default() });
}

#[tokio::test]
async fn what_a_worker_says_of_itself_is_read_as_it_was_said() {
    let redis = Stage::start();
    let (mut client, mut first, mut second) =
        (redis.scaler().await, redis.reporter("worker-1").await, redis.reporter("worker-2").await);
    let now = now(&redis);
    let busy = Worker {
        running: 3,
        oldest: Some(now - Duration::from_secs(90)),
        progress: Some(now - Duration::from_secs(1)),
        paces: false,
        poison: 1,
        ..BUSY
    };
    beat(&mut first, busy, &["a", "b", "c"], &Tally::default(), now).await;
    beat(&mut second, IDLE, &[], &Tally::default(), now).await;
    let seen = client.workers().await;
    assert_eq!((seen.leases, seen.alive), (3, vec![busy, IDLE]));

    // One task ends and another goes to nobody: the one is released at once, the other by the next beat.
    first.release("a").await.unwrap();
    let seen = client.workers().await;
    assert_eq!((seen.leases, seen.alive.len()), (2, 2));
    let draining = Worker { state: WorkerState::Draining, running: 1, ..busy };
    beat(&mut first, draining, &["b"], &Tally::default(), now).await;
    let seen = client.workers().await;
    assert_eq!((seen.leases, seen.alive), (1, vec![draining, IDLE]));

    first.leave(&Tally::default(), now).await.unwrap();
    let seen = client.workers().await;
    assert_eq!((seen.leases, seen.alive), (0, vec![IDLE]));
}

#[tokio::test]
async fn a_worker_that_crashed_ages_out_by_the_clock_of_redis() {
    let redis = Stage::start();
    let mut client = redis.scaler().await;
    let now = now(&redis);
    let running = Worker { running: 1, ..BUSY };
    // As if they had crashed right after these beats.
    for (worker, age) in [("late", 29), ("gone", 32), ("long gone", 3_600)] {
        let mut reporter = redis.reporter(worker).await;
        beat(&mut reporter, running, &["a"], &Tally::default(), now - Duration::from_secs(age)).await;
    }
    let seen = client.workers().await;
    assert_eq!((seen.leases, seen.alive), (1, vec![running]));
}

#[tokio::test]
async fn a_lease_that_would_never_end_is_none() {
    let redis = Stage::start();
    let mut client = redis.scaler().await;
    let millis = now(&redis).as_millis();
    // Whoever takes seconds or microseconds for milliseconds, and infinity.
    for (task, end) in [("a", millis / 1_000), ("b", millis * 1_000), ("c", millis + 30_000)] {
        redis.command(&["ZADD", &keys::leases(SCOPE), &end.to_string(), task]);
    }
    redis.command(&["ZADD", &keys::leases(SCOPE), "inf", "d"]);
    assert_eq!(client.workers().await.leases, 1);
}

#[tokio::test]
async fn who_comes_or_goes_removes_those_who_are_long_gone() {
    let redis = Stage::start();
    let now = now(&redis);
    let names = || -> Vec<String> {
        let fields = redis.command(&["HKEYS", &keys::workers(SCOPE)]);
        let mut names: Vec<String> = redis::from_redis_value(fields).unwrap();
        names.sort_unstable();
        names
    };
    let mut reporters = Vec::new();
    for (worker, age) in [("a", 3_600), ("b", 95), ("c", 85), ("d", 0)] {
        let mut reporter = redis.reporter(worker).await;
        beat(&mut reporter, IDLE, &[worker], &Tally::default(), now - Duration::from_secs(age)).await;
        reporters.push(reporter);
    }
    assert_eq!(names(), ["c", "d"]);
    // The lease of `a` ended an hour ago.
    assert_eq!(integer(redis.command(&["ZCARD", &keys::leases(SCOPE)])), 3);
    let later = now + Duration::from_secs(20);
    reporters.remove(3).leave(&Tally::default(), later).await.unwrap();
    assert_eq!(names(), Vec::<String>::new());
}

#[tokio::test]
async fn what_nobody_renews_is_gone_after_half_an_hour() {
    let redis = Stage::start();
    let now = now(&redis);
    beat(&mut redis.reporter("worker-1").await, BUSY, &["a"], &Tally::default(), now).await;
    let minute = keys::minute(SCOPE, redis.number(now));
    let most = i64::try_from((30 * redis.minute).as_secs()).unwrap() + 1;
    for key in [keys::leases(SCOPE), keys::workers(SCOPE), minute] {
        let left = integer(redis.command(&["TTL", &key]));
        assert!((most - 10..=most).contains(&left), "{key}: {left}");
    }
}
