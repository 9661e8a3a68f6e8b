//! Counters and histograms by the minute.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agent_scaler::engine::limit::Dimension;
use agent_scaler::engine::minutes::{Histogram, Minute, Used};
use agent_scaler::engine::signals::Workers;
use agent_scaler::sources::{ALL, Plan, Sighting};
use agent_scaler::timestamp::Timestamp;
use agent_scaler::workers::writer::{Reporter, Tally};

use super::{IDLE, Stage, beat, calls, limit_of, now};
use crate::support::proxy::Proxy;

/// Everything that a worker can count.
fn tally(now: Timestamp) -> Tally {
    let (mut durations, mut waits) = (Histogram::default(), Histogram::default());
    for millis in [1, 90_000, 90_000, 7_200_000] {
        durations.add(Histogram::bucket(Duration::from_millis(millis)), 1);
        waits.add(Histogram::bucket(Duration::from_millis(millis / 10)), 2);
    }
    Tally {
        durations,
        waits,
        done: 3,
        failed: 1,
        busy: Duration::from_millis(7_380_001),
        throttled: Duration::from_millis(12_345),
        calling: Duration::from_millis(5_000_000),
        used: Used { requests: 120, input_tokens: 600_000, output_tokens: 40_000 },
        refused: 7,
        remaining: BTreeMap::from([
            (Dimension::RequestsPerMinute, (3_880, now)),
            (Dimension::OutputTokensPerMinute, (0, now)),
        ]),
    }
}

/// The minute that this tally makes by itself.
fn minute_of(number: u64, tally: &Tally) -> Minute {
    let Tally { durations, waits, done, failed, busy, throttled, calling, used, refused, remaining } =
        tally.clone();
    let throttled = Some(throttled);
    Minute { number, durations, waits, done, failed, busy, throttled, calling, used, refused, remaining }
}

#[tokio::test]
async fn what_a_worker_counted_is_read_as_it_was_counted() {
    let redis = Stage::start();
    let (mut client, mut first, mut second) =
        (redis.scaler().await, redis.reporter("worker-1").await, redis.reporter("worker-2").await);
    let now = now(&redis);
    let tally = tally(now);
    beat(&mut first, IDLE, &[], &tally, now).await;
    let number = redis.number(now);
    let seen = client.workers().await;
    assert_eq!(seen.minutes, [Arc::new(minute_of(number, &tally))]);

    // Another worker's adds up; but what it saw of the limit later in the minute is not the first.
    let mut later = tally.clone();
    later.remaining = BTreeMap::from([(Dimension::RequestsPerMinute, (1, now))]);
    second.leave(&later, now).await.unwrap();
    let mut sum = tally;
    sum.merge(&later);
    let seen = client.workers().await;
    assert_eq!(seen.minutes, [Arc::new(minute_of(number, &sum))]);
}

#[tokio::test]
async fn a_worker_without_work_still_says_that_no_limit_held_it_up() {
    let redis = Stage::start();
    let (mut client, mut reporter) = (redis.scaler().await, redis.reporter("worker-1").await);
    let now = now(&redis);
    beat(&mut reporter, IDLE, &[], &Tally::default(), now).await;
    let number = redis.number(now);
    let idle = Minute { number, throttled: Some(Duration::ZERO), ..Minute::default() };
    assert_eq!(client.workers().await.minutes, [Arc::new(idle)]);
}

#[tokio::test]
async fn milliseconds_in_parts_add_up_over_beats() {
    let redis = Stage::start();
    let (mut client, mut reporter) = (redis.scaler().await, redis.reporter("worker-1").await);
    let now = now(&redis);
    let part = Tally { busy: Duration::from_micros(2_750), ..Tally::default() };
    for _ in 0..100 {
        beat(&mut reporter, IDLE, &[], &part, now).await;
    }
    let seen = client.workers().await;
    assert_eq!(seen.minutes[0].busy, Duration::from_millis(275));
}

#[tokio::test]
async fn thirty_minutes_are_read_and_those_that_are_over_only_once() {
    let redis = Stage::start();
    let mut reporter = redis.reporter("worker-1").await;
    let now = now(&redis);
    let present = redis.number(now);
    let mut expected = Vec::new();
    for age in (0..35).rev().filter(|age| *age != 7) {
        let tally = Tally { done: u64::from(age) + 1, ..Tally::default() };
        beat(&mut reporter, IDLE, &[], &tally, now - age * redis.minute).await;
        if age < 30 {
            expected.push(Arc::new(minute_of(present - u64::from(age), &tally)));
        }
    }
    let mut client = redis.scaler().await;
    redis.command(&["CONFIG", "RESETSTAT"]);
    let seen = client.workers().await;
    assert_eq!((seen.minute, seen.minutes), (present, expected));
    // The workers, 30 minutes and the one to come.
    assert_eq!(calls(&redis, "hscan"), 1 + 31);

    // A minute that is over is not asked for again, so that what changes in it now is not seen.
    redis.command(&["CONFIG", "RESETSTAT"]);
    for age in [0, 1, 2] {
        beat(&mut reporter, IDLE, &[], &Tally { done: 100, ..Tally::default() }, now - age * redis.minute)
            .await;
    }
    let seen = client.workers().await;
    let done: Vec<u64> = seen.minutes.iter().rev().take(3).map(|minute| minute.done).collect();
    assert_eq!(done, [101, 102, 3]);
    assert_eq!(calls(&redis, "hscan"), 1 + 3);
    // What is remembered is not copied.
    assert!(Arc::ptr_eq(&seen.minutes[0], &client.workers().await.minutes[0]));
}

#[tokio::test]
async fn a_minute_of_two_seconds_is_as_good_as_a_long_one() {
    let redis = Stage::start();
    let mut client = redis.scaler().await;
    let connection = redis::Client::open(redis.url()).unwrap();
    let settings = agent_scaler::workers::writer::Settings {
        scope: super::SCOPE.to_owned(),
        limit: None,
        worker: "worker-1".to_owned(),
        minute: Duration::from_secs(2),
        lease: Duration::from_secs(30),
    };
    let mut reporter = Reporter::new(redis::aio::ConnectionManager::new(connection).await.unwrap(), settings);
    assert_eq!(reporter.beat_every(), Duration::from_millis(333));
    let now = now(&redis);
    for age in 0..10 {
        let at = now - age * Duration::from_millis(500);
        beat(&mut reporter, IDLE, &[], &Tally { done: 1, ..Tally::default() }, at).await;
    }
    let plan = (super::reports().workers)(super::SCOPE, Duration::from_secs(2));
    let Ok(Sighting::Workers(seen)) = client.read(plan).await else { panic!() };
    assert_eq!(seen.minutes.iter().map(|minute| minute.done).sum::<u64>(), 10);
    assert_eq!(seen.minutes.last().unwrap().number, now.as_millis() / 2_000);
    // The last beat was given 4.5 seconds ago, which is more than the half of a minute.
    assert_eq!(seen.alive, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sum_over_many_writers_at_once_is_exact() {
    const WRITERS: u32 = 8;
    const BEATS: u32 = 500;
    let redis = Stage::start();
    let now = now(&redis);
    let tally = tally(now);
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let mut reporter = redis.reporter(&format!("worker-{writer}")).await;
        let tally = tally.clone();
        tasks.spawn(async move {
            for number in 0..BEATS {
                // Over ten minutes, the last of which is the present one.
                let at = now - (number % 10) * redis.minute;
                beat(&mut reporter, IDLE, &[], &tally, at).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let seen: Workers = redis.scaler().await.workers().await;
    let mut sum = tally.clone();
    (1..WRITERS * BEATS / 10).for_each(|_| sum.merge(&tally));
    let numbers = (0..10).rev().map(|age| redis.number(now) - age);
    let expected: Vec<_> = numbers.map(|number| Arc::new(minute_of(number, &sum))).collect();
    assert_eq!(seen.minutes, expected);
}

#[tokio::test]
async fn queues_workers_and_limits_take_few_round_trips() {
    let redis = Stage::start();
    let mut reporter = redis.reporter("worker-1").await;
    beat(&mut reporter, IDLE, &["a"], &Tally::default(), now(&redis)).await;
    let proxy = Proxy::start(redis.port()).await;
    let mut client = redis.scaler_at(proxy.port()).await;
    let queue = |name: &str| -> Arc<dyn Plan> {
        let name = agent_scaler::fields::Value::Text(name.to_owned());
        let values = BTreeMap::from([("listName".to_owned(), name)]);
        (ALL[0].parse)(&mut agent_scaler::fields::Fields::new("metadata", &values)).unwrap()
    };
    let mut plans: Vec<Arc<dyn Plan>> = Vec::new();
    for number in 0..300 {
        let name = format!("acme:tasks:{number}");
        plans.extend([queue(&name), client.workers_of(&name), limit_of(&name)]);
    }
    plans.push(client.workers_of(super::SCOPE));
    // At first all minutes are asked for, and then those that may still change: 9,900 commands, and 1,500.
    for most in [40, 15] {
        redis.command(&["CONFIG", "RESETSTAT"]);
        let results = client.read_all(&plans).await;
        // The time is asked for once in a pipeline.
        let pipelines = calls(&redis, "time");
        assert!(pipelines <= most, "{pipelines}");
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 901);
        let Some(Ok(Sighting::Workers(seen))) = results.last() else { panic!() };
        assert_eq!((seen.leases, &seen.alive[..]), (1, &[IDLE][..]));
    }
    // Of the second read: one for each limit; workers and three minutes for each scope.
    assert_eq!(calls(&redis, "hscan"), 300 + 301 * 4);
}
