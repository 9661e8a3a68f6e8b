//! Callers wait outside when the limit or the queue is full.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_scaler::engine::limit::{Allowance, Block, Dimension, Headroom, LimitSeen, Why};
use agent_scaler::engine::minutes::Used;
use agent_scaler::engine::signals::{Worker, WorkerState};
use agent_scaler::timestamp::Timestamp;
use agent_scaler::workers::writer::{Beat, Reporter, Settings, Tally};
use agent_scaler::workers::{keys, share};
use futures_util::future::join_all;
use redis::aio::ConnectionManager;

use super::process::{Agent, KINDS, Kind, QUEUE, answer, records};
use crate::support::harness::eventually;
use crate::support::servers::Redis;

#[tokio::test]
async fn a_backlog_is_bounded_exactly_whatever_arrives_at_once() {
    for kind in KINDS {
        let redis = Redis::plain();
        let flags = [kind.flag(), "--max-backlog", "30"];
        let agents = [Agent::start(&redis, &flags), Agent::start(&redis, &flags)];
        let key = answer(agents[0].post_as("order-7", "hello")).await.id();
        let answers = join_all((0..100).map(|number| answer(agents[number % 2].post("hello")))).await;
        let (taken, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 202);
        assert_eq!((taken.len(), refused.len()), (29, 71), "{kind:?}");
        for refused in refused {
            assert_eq!((refused.status, refused.body["reason"].as_str()), (429, Some("backlog")));
            // Nobody reports how fast tasks are taken.
            assert!((30..=38).contains(&refused.retry_after()), "{refused:?}");
        }
        assert_eq!(records(&redis).len(), 30, "{kind:?}");
        // What is in already is no new task.
        assert_eq!(answer(agents[1].post_as("order-7", "hello")).await.id(), key, "{kind:?}");
        let mut rejected = 0.0;
        for agent in &agents {
            rejected += agent.metric(r#"rejected_total{reason="backlog"}"#).await.unwrap_or_default();
        }
        assert!((rejected - 71.0).abs() < 0.1, "{rejected}");
    }
}

#[tokio::test]
async fn running_tasks_of_a_stream_do_not_wait() {
    let redis = Redis::plain();
    let agent = Agent::start(&redis, &["--max-backlog", "2"]);
    redis.command(&["XGROUP", "CREATE", QUEUE, "workers", "0", "MKSTREAM"]);
    for status in [202, 202, 429] {
        assert_eq!(answer(agent.post("hello")).await.status, status);
    }
    take(&redis);
    for status in [202, 429] {
        assert_eq!(answer(agent.post("hello")).await.status, status);
    }
    // A worker that deletes what it acknowledges takes the lag away from Redis.
    let id = take(&redis);
    redis.command(&["XACK", QUEUE, "workers", &id]);
    redis.command(&["XDEL", QUEUE, &id]);
    for status in [202, 429] {
        assert_eq!(answer(agent.post("hello")).await.status, status);
    }
}

/// Takes the oldest task of a stream, as a worker does; the id of its entry.
fn take(redis: &Redis) -> String {
    let mut command = redis::cmd("XREADGROUP");
    command.arg(&["GROUP", "workers", "w", "COUNT", "1", "STREAMS", QUEUE, ">"]);
    type Entries = Vec<(String, Vec<(String, Vec<(String, String)>)>)>;
    let taken: Entries = command.query(&mut redis.connection()).unwrap();
    taken[0].1[0].0.clone()
}

/// The limit of these tests: 60 requests a minute.
const LIMIT: &str = "anthropic/prod";
const MINUTE: Duration = Duration::from_secs(60);
const FLAGS: [&str; 4] = ["--limit", LIMIT, "--max-wait", "1s"];

#[tokio::test]
async fn callers_wait_outside_while_the_provider_refuses_everything() {
    let redis = Redis::plain();
    let agent = Agent::start(&redis, &FLAGS);
    let id = answer(agent.post_as("order-7", "hello")).await.id();
    let (mut workers, now) = workers(&redis).await;
    let until = now + Duration::from_secs(100);
    let blocked = Some(Block { until, why: Why::Quota });
    workers.limits(&LimitSeen { blocked, ..LimitSeen::default() }, now).await.unwrap();
    eventually("refusal", async || (answer(agent.post("hello")).await.status == 429).then_some(())).await;
    let refused = answer(agent.post_as("order-8", "hello")).await;
    assert_eq!((refused.status, refused.body["reason"].as_str()), (429, Some("blocked")), "{refused:?}");
    // Up to a quarter later, so that callers do not come back all at once.
    assert!((85..=125).contains(&refused.retry_after()), "{refused:?}");
    assert_eq!(refused.body["retryAfterSeconds"].as_u64(), Some(refused.retry_after()));
    // What is in already is no new task.
    assert_eq!(answer(agent.post_as("order-7", "hello")).await.id(), id);
    assert_eq!(answer(agent.post_as("order-7", "another")).await.status, 422);
    assert_eq!(agent.get(&format!("/tasks/{id}")).await.status, 200);

    // The block ends by itself.
    let soon = (now + Duration::from_secs(1)).as_millis().to_string();
    redis.command(&["HSET", &keys::limit(LIMIT), keys::BLOCKED, &soon]);
    eventually("service", async || (answer(agent.post("hello")).await.status == 202).then_some(())).await;
}

#[tokio::test]
async fn callers_wait_outside_when_the_limit_is_used_up_and_tasks_are_late() {
    for kind in KINDS {
        let redis = Redis::plain();
        let agent = Agent::start(&redis, &[&FLAGS[..], &[kind.flag()]].concat());
        let (mut workers, now) = workers(&redis).await;
        let requests = Headroom { limit: Some(60), remaining: Some(40), reset: None, seen: now };
        let headroom = BTreeMap::from([(Dimension::RequestsPerMinute, requests)]);
        workers.limits(&LimitSeen { headroom, ..LimitSeen::default() }, now).await.unwrap();
        use_requests(&mut workers, 56, now - MINUTE).await;
        if kind == Kind::Stream {
            redis.command(&["XGROUP", "CREATE", QUEUE, "workers", "0", "MKSTREAM"]);
        }
        answer(agent.post("hello")).await.id();
        let late = async || agent.metric("oldest_wait_seconds").await.filter(|wait| 1.0 < *wait);
        eventually("a late task", late).await;
        // 56 of 60 are 93 %.
        assert_eq!(agent.metric("limit_used_ratio").await, Some(56.0 / 60.0), "{kind:?}");
        answer(agent.post("hello")).await.id();

        // Into the last whole minute, which need not be the one of before: what is over for longer is not read again.
        let now = workers.time().await.unwrap();
        use_requests(&mut workers, 57, now - MINUTE).await;
        let refusal = async || Some(answer(agent.post("hello")).await).filter(|answer| answer.status == 429);
        let refused = eventually("refusal", refusal).await;
        assert_eq!(refused.body["reason"].as_str(), Some("saturated"), "{kind:?}");

        // What was late is taken, and callers are let in again.
        redis.command(&["DEL", QUEUE]);
        eventually("service", async || (answer(agent.post("hello")).await.status == 202).then_some(())).await;
    }
}

#[tokio::test]
async fn a_queue_has_used_up_its_share_before_the_limit_is_used_up() {
    let redis = Redis::plain();
    let agent = Agent::start(&redis, &FLAGS);
    let (mut workers, now) = workers(&redis).await;
    let requests = Headroom { limit: Some(60), remaining: Some(40), reset: None, seen: now };
    let headroom = BTreeMap::from([(Dimension::RequestsPerMinute, requests)]);
    workers.limits(&LimitSeen { headroom, ..LimitSeen::default() }, now).await.unwrap();
    use_requests(&mut workers, 15, now - MINUTE).await;
    let ratio = async |wanted: f64| {
        eventually(format!("{wanted}"), async || {
            agent.metric("limit_used_ratio").await.filter(|ratio| (ratio - wanted).abs() < 0.001)
        })
        .await
    };
    ratio(0.3333).await;
    let share = Allowance { slots: 4.0, rates: BTreeMap::from([(Dimension::RequestsPerMinute, 15.0)]) };
    redis.command(&["HSET", &keys::share(LIMIT), QUEUE, &share::written(&share)]);
    ratio(1.0).await;
}

/// Workers of the queue, and Redis's time.
async fn workers(redis: &Redis) -> (Reporter, Timestamp) {
    let client = redis::Client::open(redis.url()).unwrap();
    let settings = Settings {
        scope: QUEUE.to_owned(),
        limit: Some(LIMIT.to_owned()),
        worker: "w".to_owned(),
        minute: MINUTE,
        lease: Duration::from_secs(30),
    };
    let mut workers = Reporter::new(ConnectionManager::new(client).await.unwrap(), settings);
    let now = workers.time().await.unwrap();
    (workers, now)
}

/// Counts requests that the provider admitted.
async fn use_requests(workers: &mut Reporter, requests: u64, at: Timestamp) {
    let worker = Worker {
        state: WorkerState::Busy,
        slots: 4,
        running: 4,
        oldest: None,
        progress: None,
        paces: true,
        poison: 0,
    };
    let tally = Tally { used: Used { requests, ..Used::default() }, ..Tally::default() };
    workers.beat(&Beat { worker, running: &[], tally: &tally }, at).await.unwrap();
}
