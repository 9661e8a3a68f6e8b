//! Redis hangs, is gone, or says no: callers get 503 in time, and service again afterwards.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::process::{Agent, Kind, answer};
use crate::support::harness::eventually;
use crate::support::proxy::{Mode, Proxy};
use crate::support::servers::{Options, Redis, Tls};

/// The time that Redis is given in these tests, and what the rest of an answer may take on a busy machine.
const TIMEOUT: [&str; 2] = ["--redis-timeout", "1s"];
const BOUND: Duration = Duration::from_millis(2_500);

#[tokio::test]
async fn a_redis_that_hangs_costs_callers_the_deadline_and_no_more() {
    let redis = Redis::plain();
    let proxy = Proxy::start(redis.port()).await;
    let agent = Agent::at(&format!("redis://127.0.0.1:{}", proxy.port()), &TIMEOUT);
    let id = answer(agent.post("before")).await.id();
    proxy.switch(Mode::Stall);
    all_unavailable(&agent, &id).await;
    // New connections hang as well.
    all_unavailable(&agent, &id).await;
    assert!(agent.metric(r#"enqueue_errors_total{kind="deadline"}"#).await >= Some(40.0));
    proxy.switch(Mode::Pass);
    eventually("service", async || (answer(agent.post("after")).await.status == 202).then_some(())).await;
}

#[tokio::test]
async fn a_redis_that_is_gone_costs_callers_nothing_but_the_answer() {
    let mut redis = Redis::plain();
    let agent = Agent::start(&redis, &TIMEOUT);
    let id = answer(agent.post("before")).await.id();
    redis.kill();
    all_unavailable(&agent, &id).await;
    redis.restart();
    eventually("service", async || (answer(agent.post("after")).await.status == 202).then_some(())).await;
    assert_eq!(Kind::Stream.messages(&redis).len(), 1);
}

#[tokio::test]
async fn a_redis_that_talks_nonsense_is_as_good_as_gone() {
    let redis = Redis::plain();
    let proxy = Proxy::start(redis.port()).await;
    let agent = Agent::at(&format!("redis://127.0.0.1:{}", proxy.port()), &TIMEOUT);
    let id = answer(agent.post("before")).await.id();
    for mode in
        [Mode::Cut, Mode::CutAfter(3), Mode::Say(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Mode::Say(b":7\r\n")]
    {
        proxy.switch(mode);
        all_unavailable(&agent, &id).await;
    }
}

#[tokio::test]
async fn a_queue_of_another_kind_takes_nothing_and_leaves_no_record() {
    let redis = Redis::plain();
    let agent = Agent::start(&redis, &[]);
    redis.command(&["SET", "acme:tasks", "a string"]);
    assert_eq!(answer(agent.post_as("k", "hello")).await.status, 503);
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut redis.connection()).unwrap();
    assert_eq!(keys, ["acme:tasks"]);
    assert_eq!(agent.metric(r#"enqueue_errors_total{kind="refused"}"#).await, Some(1.0));
}

#[tokio::test]
async fn a_full_redis_takes_nothing_and_leaves_no_record() {
    let redis = Redis::plain();
    let agent = Agent::start(&redis, &[]);
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(answer(agent.post_as("k", "hello")).await.status, 503);
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    let size: u64 = redis::cmd("DBSIZE").query(&mut redis.connection()).unwrap();
    assert_eq!(size, 0);
    answer(agent.post_as("k", "hello")).await.id();
}

#[tokio::test]
async fn a_new_password_is_used_by_the_next_connection() {
    let redis = Redis::start(Options { password: Some("first"), tls: Tls::Off });
    let file = redis.file("password");
    std::fs::write(&file, "first\n").unwrap();
    let agent = Agent::start(&redis, &["--redis-password-file", file.to_str().unwrap()]);
    answer(agent.post("one")).await.id();
    std::fs::write(&file, "second\n").unwrap();
    let mut admin = redis.connection();
    for words in [["CONFIG", "SET", "requirepass", "second"], ["CLIENT", "KILL", "SKIPME", "yes"]] {
        let _: redis::Value = redis::cmd(words[0]).arg(&words[1..]).query(&mut admin).unwrap();
    }
    eventually("service", async || (answer(agent.post("two")).await.status == 202).then_some(())).await;
}

/// Twenty posts and both pages at once: 503 in time, with a time to come back.
async fn all_unavailable(agent: &Agent, id: &str) {
    let begun = Instant::now();
    let posts = (0..20).map(|number| agent.post_as(&format!("key-{number}"), "hello"));
    let gets = [format!("/tasks/{id}"), format!("/tasks/{id}/result")]
        .map(|path| agent.client.get(format!("{}{path}", agent.api)));
    for answer in join_all(posts.chain(gets).map(answer)).await {
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!((5..=7).contains(&answer.retry_after()), "{answer:?}");
    }
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
}
