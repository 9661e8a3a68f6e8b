//! RQ.

use std::time::Duration;

use agent_scaler::engine::signals::Reading;
use serde_json::json;

use super::super::redis::{plan, read_one};
use super::{Stage, tasks};

/// What a queue shows of which nothing is unknown.
fn registered(ready: u64, due: u64, running: u64) -> Reading {
    Reading { due: Some(due), soon: Some(0), delayed: Some(0), dead: Some(0), ..tasks(ready, running) }
}

#[tokio::test]
async fn every_registry_counts_and_a_dead_worker_s_job_waits_for_the_next_one() {
    let stage = Stage::of("python").await;
    let mut rq = stage.driver("python", "rq", &["driver.py", "produce"]);
    let plan = plan("rq", &[("queue", "research")]).starting_in(Duration::from_secs(90)).unwrap();
    let mut client = stage.client().await;
    stage.shows(&mut client, &plan, &registered(0, 0, 0)).await;

    for command in [
        "enqueue research 3",
        "enqueue_in research 2 0",
        "enqueue_in research 1 60",
        "enqueue_in research 4 600",
        "enqueue other 9",
    ] {
        rq.ask(command).await;
    }
    let scheduled = Reading { soon: Some(1), delayed: Some(4), ..registered(3, 2, 0) };
    stage.shows(&mut client, &plan, &scheduled).await;
    let counts = json!({"queued": 3, "started": 0, "scheduled": 7, "failed": 0});
    assert_eq!(rq.ask("counts research").await, counts);
    // What KEDA's list length sees of these three and seven.
    assert_eq!(stage.list_length("rq:queue:research"), 3);

    let worker = stage.worker("python", "rq", &["driver.py", "worker", "research"]);
    let started = Reading { soon: Some(1), delayed: Some(4), ..registered(2, 2, 1) };
    stage.shows(&mut client, &plan, &started).await;
    // Before it starts a job, a worker has it for a moment without saying so.
    rq.says("counts research", &json!({"queued": 2, "started": 1, "scheduled": 7, "failed": 0})).await;
    worker.kill().await;
    stage.shows(&mut client, &plan, &started).await;

    // Its heartbeats are over: it runs nowhere, and only another worker gives it back or fails it.
    assert_eq!(rq.ask("expire research").await, 1);
    let lost = Reading { soon: Some(1), delayed: Some(4), ..registered(2, 3, 0) };
    stage.shows(&mut client, &plan, &lost).await;
    assert_eq!(stage.list_length("rq:queue:research"), 2);
    rq.ask("clean research").await;
    let failed = Reading { soon: Some(1), delayed: Some(4), dead: Some(1), ..registered(2, 2, 0) };
    stage.shows(&mut client, &plan, &failed).await;
    assert_eq!(
        rq.ask("counts research").await,
        json!({"queued": 2, "started": 0, "scheduled": 7, "failed": 1})
    );
}

#[tokio::test]
async fn suspended_workers_are_not_woken_and_the_oldest_job_is_known_from_the_second_read_on() {
    let stage = Stage::of("python").await;
    let mut rq = stage.driver("python", "rq", &["driver.py", "produce"]);
    rq.ask("enqueue research 2").await;
    let plan = plan("rq", &[("queue", "research,other"), ("withScheduler", "false")]);
    let mut client = stage.client().await;
    let waiting = Reading { soon: None, delayed: None, ..registered(2, 0, 0) };
    stage.shows(&mut client, &plan, &waiting).await;
    let oldest = read_one(&mut client, &plan).await.unwrap().oldest;
    assert!(oldest.is_some_and(|oldest| oldest < Duration::from_secs(60)), "{oldest:?}");

    rq.ask("pause on").await;
    let paused = Reading { delayed: Some(2), ready: Some(0), ..waiting.clone() };
    stage.shows(&mut client, &plan, &paused).await;
    assert_eq!(read_one(&mut client, &plan).await.unwrap().oldest, None);
    rq.ask("pause off").await;
    stage.shows(&mut client, &plan, &waiting).await;
}
