//! What the protocol does not know, and what is none of it.

use agent_scaler::engine::signals::{Cause, Worker, Workers};
use agent_scaler::sources::ReadError;
use agent_scaler::workers::keys;
use agent_scaler::workers::writer::{Beat, Tally};

use super::{IDLE, LIMIT, SCOPE, Stage, beat, limit_of, now};

#[tokio::test]
async fn nonsense_leaves_all_that_makes_sense() {
    let redis = Stage::start();
    let (mut client, mut reporter) = (redis.scaler().await, redis.reporter("worker-1").await);
    let now = now(&redis);
    let number = redis.number(now);
    let tally = Tally { done: 5, failed: 2, ..Tally::default() };
    beat(&mut reporter, IDLE, &["a"], &tally, now).await;
    let minute = keys::minute(SCOPE, number);
    let workers = keys::workers(SCOPE);
    for words in [
        &["HSET", &minute, "done", "many", "d9999", "1", "w", "1", "later", "{}", "h:requests", "@@"][..],
        &["HSET", &workers, "torn", "{\"seen\":17", "empty", "", "list", "[1]", "null", "null"],
        &["HSET", &keys::limit(LIMIT), "requests.limit", "-1", "requests.seen", "x", "why", "42"],
    ] {
        redis.command(words);
    }
    let mut connection = redis.connection();
    let binary: &[u8] = &[0xff, 0x00];
    redis::cmd("HSET").arg(&workers).arg(binary).arg(binary).exec(&mut connection).unwrap();
    let seen = client.workers().await;
    assert_eq!((seen.leases, &seen.alive[..], seen.minute), (1, &[IDLE][..], number));
    assert_eq!((seen.minutes[0].done, seen.minutes[0].failed), (0, 2));
    let limit = client.limit().await;
    assert_eq!((limit.headroom.len(), limit.blocked, limit.used_today.len()), (0, None, 4));

    // A field that nothing can be added to does not keep the others from being counted, once.
    beat(&mut reporter, IDLE, &["a"], &tally, now).await;
    let seen = client.workers().await;
    assert_eq!((seen.minutes[0].done, seen.minutes[0].failed), (0, 4));
}

#[tokio::test]
async fn a_key_of_another_type_is_named_and_spoils_nothing_else() {
    let redis = Stage::start();
    let mut client = redis.scaler().await;
    let number = redis.number(now(&redis));
    let limit = keys::limit(LIMIT);
    let elsewhere = "where workers should report: something else writes to it, so have workers report under another \
                     name (`workerScope`, `llmLimit`)";
    for (key, kind, plan) in [
        (keys::leases(SCOPE), "sorted set", client.workers_of(SCOPE)),
        (keys::workers(SCOPE), "hash", client.workers_of(SCOPE)),
        (limit.clone(), "hash", limit_of(LIMIT)),
    ] {
        redis.command(&["SET", &key, "x"]);
        let unexpected = ReadError::Unexpected {
            endpoint: format!("{}/0", redis.url()),
            message: format!("`{key}` holds another type than a {kind}, {elsewhere}"),
        };
        assert_eq!(client.read(plan).await, Err(unexpected));
        if key == limit {
            client.workers().await;
        } else {
            client.limit().await;
        }
        redis.command(&["DEL", &key]);
    }
    let mut client = redis.scaler().await;
    // A minute costs itself, and so does who workers are while leases tell what runs.
    redis.command(&["ZADD", &keys::leases(SCOPE), &(now(&redis).as_millis() + 60_000).to_string(), "a"]);
    for key in [keys::minute(SCOPE, number - 29), keys::minute(SCOPE, number), keys::workers(SCOPE)] {
        redis.command(&["SET", &key, "x"]);
        let seen = client.workers().await;
        let cause = format!(
            "a part of the workers' reports is not known: `{key}` holds another type than a hash, {elsewhere}"
        );
        assert_eq!((seen.leases, seen.unknown), (1, vec![Cause::new(cause)]));
        redis.command(&["DEL", &key]);
    }
    assert_eq!(client.workers().await.unknown, []);
}

#[tokio::test]
async fn a_worker_learns_when_redis_takes_nothing() {
    let redis = Stage::start();
    let mut reporter = redis.reporter("worker-1").await;
    let now = now(&redis);
    let minute = keys::minute(SCOPE, redis.number(now));
    let (tally, running) = (Tally { done: 1, ..Tally::default() }, ["a".to_owned()]);
    for key in [keys::workers(SCOPE), keys::leases(SCOPE), minute] {
        redis.command(&["FLUSHALL"]);
        redis.command(&["SET", &key, "x"]);
        let beat = Beat { worker: IDLE, running: &running, tally: &tally };
        let error = reporter.beat(&beat, now).await.unwrap_err();
        assert_eq!(error.code(), Some("WRONGTYPE"), "{key}");
    }
    // Whatever is wrong with the limit's key does not keep the worker from being seen.
    redis.command(&["FLUSHALL"]);
    redis.command(&["SET", &keys::limit(LIMIT), "x"]);
    beat(&mut reporter, IDLE, &["a"], &tally, now).await;
}

#[tokio::test]
async fn more_workers_than_are_read_are_said_to_be_too_many() {
    let redis = Stage::start();
    let mut client = redis.scaler().await;
    let said = format!(r#"{{"seen":{},"state":"idle","slots":4}}"#, now(&redis).as_millis());
    let report = |workers: u32| {
        let mut write = redis::cmd("HSET");
        write.arg(keys::workers(SCOPE));
        (0..workers).for_each(|number| {
            write.arg(format!("worker-{number}")).arg(&said);
        });
        write.exec(&mut redis.connection()).unwrap();
    };
    report(10_000);
    let Workers { alive, .. } = client.workers().await;
    assert_eq!(alive, vec![Worker { paces: false, ..IDLE }; 10_000]);

    // Redis may give some more than it was asked for, but not that many.
    report(12_000);
    let key = keys::workers(SCOPE);
    let message =
        format!("`{key}` has more than 10000 fields: give each workload a name of its own to report under");
    let too_many = ReadError::Unexpected { endpoint: format!("{}/0", redis.url()), message };
    assert_eq!(client.read(client.workers_of(SCOPE)).await, Err(too_many));
    // Running tasks are known nevertheless.
    redis.command(&["ZADD", &keys::leases(SCOPE), &(now(&redis).as_millis() + 60_000).to_string(), "a"]);
    let Workers { leases, alive, unknown, .. } = client.workers().await;
    assert_eq!((leases, alive.len(), unknown.len()), (1, 0, 1));
}
