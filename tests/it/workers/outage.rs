//! Redis goes away, and comes back.

use agent_scaler::sources::ReadError;
use agent_scaler::timestamp::Timestamp;
use agent_scaler::workers::writer::{Beat, Tally};

use super::{IDLE, LIMIT, PATIENCE, SCOPE, Stage, beat, limit_of, now};
use crate::support::proxy::{Mode, Proxy};

#[tokio::test]
async fn a_server_that_dies_during_a_read_fails_every_plan_of_it() {
    let mut redis = Stage::start();
    let mut client = redis.scaler().await;
    redis.command(&["CLIENT", "PAUSE", "60000", "ALL"]);
    let plans = [client.workers_of(SCOPE), limit_of(LIMIT)];
    let (results, ()) = tokio::join!(client.read_all(&plans), async { redis.redis.kill() });
    let broken = ReadError::Unreachable {
        endpoint: format!("{}/0", redis.url()),
        message: "the connection broke".to_owned(),
    };
    assert_eq!(results, [Err(broken.clone()), Err(broken)]);
}

#[tokio::test]
async fn half_an_answer_is_none() {
    let redis = Stage::start();
    beat(&mut redis.reporter("worker-1").await, IDLE, &["a"], &Tally::default(), now(&redis)).await;
    let proxy = Proxy::start(redis.port()).await;
    for length in [0, 40, 100, 400] {
        let mut client = redis.scaler_at(proxy.port()).await;
        let plans = [client.workers_of(SCOPE), limit_of(LIMIT)];
        proxy.switch(Mode::CutAfter(length));
        let results = client.read_all(&plans).await;
        assert!(
            results.iter().all(|result| matches!(result, Err(ReadError::Unreachable { .. }))),
            "{length}"
        );
        proxy.switch(Mode::Pass);
    }
}

#[tokio::test]
async fn what_was_counted_while_redis_was_away_is_counted_when_it_is_back() {
    let mut redis = Stage::start();
    let mut reporter = redis.reporter("worker-1").await;
    let mut tally = Tally { done: 1, ..Tally::default() };
    beat(&mut reporter, IDLE, &[], &tally, now(&redis)).await;
    redis.redis.kill();
    for _ in 0..3 {
        let beat = Beat { worker: IDLE, running: &[], tally: &tally };
        reporter.beat(&beat, Timestamp::default()).await.unwrap_err();
        tally.merge(&Tally { done: 1, ..Tally::default() });
    }
    redis.redis.restart();
    let began = tokio::time::Instant::now();
    loop {
        let worker = Beat { worker: IDLE, running: &[], tally: &tally };
        match reporter.beat(&worker, now(&redis)).await {
            Ok(()) => break,
            Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
        }
    }
    let seen = redis.scaler().await.workers().await;
    assert_eq!((seen.alive, seen.minutes[0].done), (vec![IDLE], 4));
}
