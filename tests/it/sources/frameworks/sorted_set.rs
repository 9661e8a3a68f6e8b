//! Sorted sets that hold tasks until they are due.

use std::time::Duration;

use agent_scaler::engine::signals::{InFlight, Reading};

use super::super::redis::{client_of, plan, read_one};
use crate::support::servers::Redis;

/// Redis's own time, in milliseconds.
fn now(redis: &Redis) -> u64 {
    let (seconds, micros): (u64, u64) = redis::from_redis_value(redis.command(&["TIME"])).unwrap();
    seconds * 1_000 + micros / 1_000
}

#[tokio::test]
async fn tasks_are_ready_when_they_are_due_and_soon_within_the_start_of_a_replica() {
    let redis = Redis::plain();
    let mut client = client_of(&redis).await;
    let now = now(&redis);
    for (unit, factor) in [("seconds", 0.001), ("milliseconds", 1.0)] {
        redis.command(&["FLUSHALL"]);
        // Due for ten seconds and since this moment; due in a minute; in ten.
        for (member, after) in [("a", -10_000), ("b", 0), ("c", 60_000), ("d", 600_000), ("e", 600_000)] {
            let score = (now.saturating_add_signed(after) as f64 * factor).to_string();
            redis.command(&["ZADD", "acme:delayed", &score, member]);
        }
        let keys = [("sortedSetName", "acme:delayed,acme:none"), ("scoreUnit", unit)];
        let none = plan("redis-sorted-set", &keys);
        let some = none.starting_in(Duration::from_secs(120)).unwrap();
        let seen = Reading { ready: Some(2), soon: Some(0), delayed: Some(3), ..Reading::default() };
        let reading = read_one(&mut client, &none).await.unwrap();
        let oldest = reading.oldest.unwrap();
        assert!((Duration::from_secs(10)..Duration::from_secs(60)).contains(&oldest), "{oldest:?}");
        assert_eq!(Reading { oldest: None, ..reading }, seen, "{unit}");
        let reading = read_one(&mut client, &some).await.unwrap();
        let ahead = Reading { soon: Some(1), delayed: Some(2), ..seen };
        assert_eq!(Reading { oldest: None, ..reading }, ahead, "{unit}");
        assert_ne!(none.queue(), some.queue());
    }
}

#[tokio::test]
async fn a_set_that_does_not_exist_is_empty_and_a_processing_list_shows_what_runs() {
    let redis = Redis::plain();
    redis.command(&["RPUSH", "acme:busy", "a", "b"]);
    let keys = [("sortedSetName", "none"), ("scoreUnit", "seconds"), ("processingListName", "acme:busy")];
    let plan = plan("redis-sorted-set", &keys);
    let in_flight = Some(InFlight::Known(2));
    let empty = Reading { ready: Some(0), soon: Some(0), delayed: Some(0), in_flight, ..Reading::default() };
    assert_eq!(read_one(&mut client_of(&redis).await, &plan).await, Ok(empty));
    assert_eq!(plan.names(), ["acme:busy", "none"]);
}
