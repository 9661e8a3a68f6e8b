//! Sidekiq.

use std::time::Duration;

use agent_scaler::engine::signals::{InFlight, Reading};
use serde_json::json;

use super::super::redis::{client_of, plan, read_one};
use super::{Stage, tasks};
use crate::support::servers::Redis;

#[tokio::test]
async fn queue_schedule_and_busy_threads_are_sidekiq_s_own_counts() {
    let stage = Stage::of("ruby").await;
    let mut sidekiq = stage.driver("ruby", "sidekiq", &["driver.rb"]);
    let plan = plan("sidekiq", &[("queue", "research")]).starting_in(Duration::from_secs(90)).unwrap();
    let mut client = stage.client().await;
    let seen = |ready, due, soon, delayed, busy, dead| Reading {
        due: Some(due),
        soon: Some(soon),
        delayed: Some(delayed),
        dead: Some(dead),
        ..tasks(ready, busy)
    };
    stage.shows(&mut client, &plan, &seen(0, 0, 0, 0, 0, 0)).await;

    for command in [
        "fail 1 research",
        "perform 3 research",
        "perform_in 1 research 0.001",
        "perform_in 2 research 60",
        "perform_in 4 research 600",
    ] {
        sidekiq.ask(command).await;
    }
    stage.shows(&mut client, &plan, &seen(4, 1, 2, 4, 0, 0)).await;
    let counts = json!({"queued": 4, "scheduled": 7, "retries": 0, "dead": 0, "busy": 0});
    assert_eq!(sidekiq.ask("counts research").await, counts);
    // What KEDA's list length sees of these eleven.
    assert_eq!(stage.list_length("queue:research"), 4);

    // The heartbeat tells of busy threads, and the poller moves what is due, both some seconds later.
    let worker = stage.worker("sidekiq", "sidekiq", &["-r", "./driver.rb", "-c", "2", "-q", "research"]);
    stage.shows(&mut client, &plan, &seen(2, 0, 2, 4, 2, 1)).await;
    let counts = json!({"queued": 2, "scheduled": 6, "retries": 0, "dead": 1, "busy": 2});
    assert_eq!(sidekiq.ask("counts research").await, counts);
    assert_eq!(stage.list_length("queue:research"), 2);
    worker.kill().await;
    // Until its heartbeat is a minute old, and then its jobs are lost: so Sidekiq has it.
    stage.shows(&mut client, &plan, &seen(2, 0, 2, 4, 2, 1)).await;
}

/// Sidekiq's web page was not opened for a year of workers that come and go, and only the page removes their
/// names.
#[tokio::test]
async fn names_of_dead_processes_hide_no_waiting_and_running_tasks() {
    let redis = Redis::plain();
    redis.command(&["LPUSH", "queue:default", "1", "2", "3"]);
    let names: Vec<String> = (0..24_000).map(|number| format!("worker-{number}:1:0123456789ab")).collect();
    for some in names.chunks(1_000) {
        let mut command = vec!["SADD", "processes"];
        command.extend(some.iter().map(String::as_str));
        redis.command(&command);
    }
    let mut client = client_of(&redis).await;
    let plan = plan("sidekiq", &[("queue", "default")]);
    let seen = read_one(&mut client, &plan).await.unwrap();
    assert_eq!((seen.ready, seen.in_flight), (Some(3), Some(InFlight::Known(0))));
    for (alive, busy) in [(17, "2"), (9_000, "5"), (23_999, "1")] {
        redis.command(&["HSET", &names[alive], "info", "{}", "busy", busy, "beat", "1700000000.123"]);
    }
    for _ in 0..3 {
        let seen = read_one(&mut client, &plan).await.unwrap();
        assert_eq!((seen.ready, seen.in_flight), (Some(3), Some(InFlight::Known(8))));
        assert!(seen.unknown.is_empty(), "{:?}", seen.unknown);
    }
    for name in &names[..1_100] {
        redis.command(&["HSET", name, "busy", "1", "beat", "1700000000"]);
    }
    let seen = read_one(&mut client, &plan).await.unwrap();
    assert_eq!((seen.ready, seen.in_flight), (Some(3), None));
    assert_eq!(
        seen.unknown[0].to_string(),
        "the number of running tasks is not known: `processes` names more than 1000 live processes, and no more are summed"
    );
}
