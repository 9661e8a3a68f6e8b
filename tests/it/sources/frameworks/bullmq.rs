//! BullMQ.

use std::time::Duration;

use agent_scaler::engine::signals::{InFlight, Reading};
use agent_scaler::sources::Client;
use serde_json::Value;

use super::super::redis::{plan, read_one};
use super::{Driver, Stage, tasks};

/// What a queue shows of which nothing is unknown.
fn counted(ready: u64, due: u64, delayed: u64, active: u64) -> Reading {
    Reading { due: Some(due), soon: Some(0), delayed: Some(delayed), dead: Some(0), ..tasks(ready, active) }
}

fn producer(stage: &Stage, version: &str) -> Driver {
    let port = stage.redis.port().to_string();
    stage.driver("node", "bullmq", &["driver.js", "produce", version, &port, "research"])
}

#[tokio::test]
async fn every_version_s_own_counts_are_what_is_seen() {
    let stage = Stage::of("node").await;
    let port = stage.redis.port().to_string();
    for version in ["3", "4", "5", "6"] {
        stage.redis.command(&["FLUSHALL"]);
        let mut client = stage.client().await;
        let plan = plan("bullmq", &[("queue", "research")]);
        stage.shows(&mut client, &plan, &counted(0, 0, 0, 0)).await;
        let mut bullmq = producer(&stage, version);
        for command in [
            r#"add 3"#,
            r#"add 2 {"priority":5}"#,
            r#"add 1 {"delay":1}"#,
            r#"add 1 {"delay":600000}"#,
            "counts",
        ] {
            bullmq.ask(command).await;
        }
        stage.shows(&mut client, &plan, &counted(5, 1, 1, 0)).await;
        agrees(&mut bullmq, &mut client, &plan).await;

        // Held back, they wake nobody.
        bullmq.ask("pause").await;
        stage.shows(&mut client, &plan, &counted(0, 0, 7, 0)).await;
        let still_there = if version == "6" { 3 } else { 0 };
        assert_eq!(stage.list_length("bull:research:wait"), still_there, "{version}");
        bullmq.ask("resume").await;
        stage.shows(&mut client, &plan, &counted(5, 1, 1, 0)).await;
        // What KEDA's list length sees of these seven: up to version 3 what has a priority is in the list too.
        assert_eq!(stage.list_length("bull:research:wait"), if version == "3" { 5 } else { 3 }, "{version}");

        let worker = stage.worker("node", "bullmq", &["driver.js", "work", version, &port, "research", "2"]);
        stage.shows(&mut client, &plan, &counted(4, 0, 1, 2)).await;
        agrees(&mut bullmq, &mut client, &plan).await;
        worker.kill().await;
        stage.shows(&mut client, &plan, &counted(4, 0, 1, 2)).await;
        assert_eq!(stage.list_length("bull:research:wait"), if version == "3" { 4 } else { 2 }, "{version}");
    }
}

/// Compares what is seen with the framework's own counts.
async fn agrees(
    bullmq: &mut Driver,
    client: &mut Box<dyn Client>,
    plan: &std::sync::Arc<dyn agent_scaler::sources::Plan>,
) {
    let counts = bullmq.ask("counts").await;
    let count = |names: &[&str]| names.iter().filter_map(|name| counts[name].as_u64()).sum::<u64>();
    let seen = read_one(client, plan).await.unwrap();
    assert_eq!(seen.ready, Some(count(&["waiting", "paused", "prioritized"])), "{counts}");
    assert_eq!(seen.due.unwrap() + seen.delayed.unwrap(), count(&["delayed"]), "{counts}");
    assert_eq!(seen.in_flight, Some(InFlight::Known(count(&["active"]))), "{counts}");
    assert_eq!(seen.dead, Some(count(&["failed"])), "{counts}");
}

#[tokio::test]
async fn a_marker_that_wakes_workers_is_no_job() {
    let stage = Stage::of("node").await;
    for version in ["3", "4"] {
        stage.redis.command(&["FLUSHALL"]);
        let mut bullmq = producer(&stage, version);
        bullmq.ask(r#"add 1 {"delay":600000}"#).await;
        let list = stage.redis.command(&["LRANGE", "bull:research:wait", "0", "-1"]);
        let list: Vec<String> = redis::from_redis_value(list).unwrap();
        assert!(matches!(list.as_slice(), [marker] if marker.starts_with("0:")), "{list:?}");
        let plan = plan("bullmq", &[("queue", "research")]);
        stage.shows(&mut stage.client().await, &plan, &counted(0, 0, 1, 0)).await;
    }
}

#[tokio::test]
async fn concurrency_and_rate_of_a_queue_are_its_ceiling() {
    let stage = Stage::of("node").await;
    let port = stage.redis.port().to_string();
    let mut bullmq = producer(&stage, "6");
    bullmq.ask("add 9").await;
    bullmq.ask("add 2 {} fail").await;
    let plan = plan("bullmq", &[("queue", "research")]);
    let mut client = stage.client().await;
    bullmq.ask("concurrency 7").await;
    let seen = |ready, active, ceiling| Reading { ceiling: Some(ceiling), ..counted(ready, 0, 0, active) };
    stage.shows(&mut client, &plan, &seen(11, 0, 7)).await;
    // Three may start within ten minutes.
    bullmq.ask("rate 3 600000").await;
    stage.shows(&mut client, &plan, &seen(11, 0, 3)).await;
    let worker = stage.worker("node", "bullmq", &["driver.js", "work", "6", &port, "research", "2"]);
    stage.shows(&mut client, &plan, &seen(9, 2, 3)).await;
    let _second = stage.worker("node", "bullmq", &["driver.js", "work", "6", &port, "research", "2"]);
    // More slots than these are of no use until the window is over.
    stage.shows(&mut client, &plan, &seen(8, 3, 3)).await;
    assert!(matches!(bullmq.ask("limited").await, Value::Number(millis) if millis.as_u64() > Some(0)));
    worker.kill().await;
    stage.shows(&mut client, &plan, &seen(8, 3, 3)).await;
}

#[tokio::test]
async fn failed_jobs_are_dead_and_the_oldest_waiting_one_is_known_from_the_second_read_on() {
    let stage = Stage::of("node").await;
    let port = stage.redis.port().to_string();
    let mut bullmq = producer(&stage, "5");
    bullmq.ask("add 2 {} fail").await;
    let plan = plan("bullmq", &[("queue", "research,other")]);
    let mut client = stage.client().await;
    stage.shows(&mut client, &plan, &counted(2, 0, 0, 0)).await;
    let oldest = read_one(&mut client, &plan).await.unwrap().oldest;
    assert!(oldest.is_some_and(|oldest| oldest < Duration::from_secs(60)), "{oldest:?}");
    let _worker = stage.worker("node", "bullmq", &["driver.js", "work", "5", &port, "research", "1"]);
    stage.shows(&mut client, &plan, &Reading { dead: Some(2), ..counted(0, 0, 0, 0) }).await;
    assert_eq!(read_one(&mut client, &plan).await.unwrap().oldest, None);
}
