//! Celery.

use agent_scaler::engine::signals::Reading;
use serde_json::json;

use super::super::redis::plan;
use super::{Stage, tasks};

#[tokio::test]
async fn every_step_of_priority_counts_and_what_a_killed_worker_took_stays_in_flight() {
    let stage = Stage::of("python").await.with("ACKS_LATE", "1");
    let mut celery = stage.driver("python", "celery", &["driver.py", "produce"]);
    let plan = plan("celery", &[("queue", "research")]);
    let mut client = stage.client().await;
    stage.shows(&mut client, &plan, &tasks(0, 0)).await;

    for command in ["send research 5", "send research 2 4", "send research 1 9", "send research 1 6 600"] {
        celery.ask(command).await;
    }
    assert_eq!(celery.ask("size research").await, 9);
    stage.shows(&mut client, &plan, &tasks(9, 0)).await;
    // What KEDA's list length sees of these nine.
    assert_eq!(stage.list_length("research"), 5);

    let worker = stage.worker("python", "celery", &["driver.py", "worker", "research"]);
    stage.shows(&mut client, &plan, &tasks(7, 2)).await;
    celery.says("worker_has", &json!({"active": 2, "reserved": 0, "scheduled": 0})).await;
    assert_eq!(celery.ask("size research").await, 7);
    worker.kill().await;
    stage.shows(&mut client, &plan, &tasks(7, 2)).await;
    assert_eq!(stage.list_length("research"), 3);
}

/// kombu gives a task to another worker when the one that has it takes longer than `visibility_timeout`: so a dead one's
/// tasks come back, once somebody is there to give them back.
#[tokio::test]
async fn what_a_killed_worker_took_waits_again_after_the_visibility_timeout_and_another_gets_it() {
    let stage = Stage::of("python").await.with("ACKS_LATE", "1").with("VISIBILITY", "3");
    let mut celery = stage.driver("python", "celery", &["driver.py", "produce"]);
    celery.ask("send research 2").await;
    let hour = plan("celery", &[("queue", "research")]);
    let three_seconds = plan("celery", &[("queue", "research"), ("visibilityTimeout", "3s")]);
    let mut client = stage.client().await;
    let worker = stage.worker("python", "celery", &["driver.py", "worker", "research"]);
    stage.shows(&mut client, &hour, &tasks(0, 2)).await;
    worker.kill().await;
    let lost = Reading { due: Some(2), ..tasks(0, 0) };
    stage.shows(&mut client, &three_seconds, &lost).await;
    stage.shows(&mut client, &hour, &tasks(0, 2)).await;
    let _another = stage.worker("python", "celery", &["driver.py", "worker", "research"]);
    celery.says("worker_has", &json!({"active": 2, "reserved": 0, "scheduled": 0})).await;
}

#[tokio::test]
async fn a_task_that_waits_for_its_time_is_in_flight_as_soon_as_a_worker_has_it() {
    let stage = Stage::of("python").await.with("ACKS_LATE", "1");
    let mut celery = stage.driver("python", "celery", &["driver.py", "produce"]);
    celery.ask("send research 1 0 600").await;
    let plan = plan("celery", &[("queue", "research")]);
    let mut client = stage.client().await;
    stage.shows(&mut client, &plan, &tasks(1, 0)).await;
    let _worker = stage.worker("python", "celery", &["driver.py", "worker", "research"]);
    stage.shows(&mut client, &plan, &tasks(0, 1)).await;
    celery.says("worker_has", &json!({"active": 0, "reserved": 0, "scheduled": 1})).await;
}

#[tokio::test]
async fn a_task_that_is_acknowledged_early_is_running_and_not_seen() {
    let stage = Stage::of("python").await;
    let mut celery = stage.driver("python", "celery", &["driver.py", "produce"]);
    celery.ask("send research 2").await;
    let plan = plan("celery", &[("queue", "research")]);
    let mut client = stage.client().await;
    let _worker = stage.worker("python", "celery", &["driver.py", "worker", "research"]);
    stage.shows(&mut client, &plan, &tasks(0, 0)).await;
    celery.says("worker_has", &json!({"active": 2, "reserved": 0, "scheduled": 0})).await;
}

#[tokio::test]
async fn prefix_steps_and_separator_are_those_of_the_transport_options() {
    let stage = Stage::of("python").await.with("PREFIX", "acme:").with("SEPARATOR", ":").with("STEPS", "0,5");
    let mut celery = stage.driver("python", "celery", &["driver.py", "produce"]);
    celery.ask("send research 1").await;
    celery.ask("send research 2 7").await;
    assert_eq!(celery.ask("size research").await, 3);
    let options = [("globalKeyprefix", "acme:"), ("separator", ":"), ("prioritySteps", "0,5")];
    let plan = plan("celery", &[&[("queue", "research,other"), ("unacked", "false")], &options[..]].concat());
    let mut client = stage.client().await;
    let seen = Reading { in_flight: None, ..tasks(3, 0) };
    stage.shows(&mut client, &plan, &seen).await;
    assert_eq!(
        plan.queue(),
        "celery research,other globalKeyprefix acme: prioritySteps 0,5 separator : unacked false"
    );
    assert_eq!(
        plan.names(),
        ["acme:other", "acme:other:0", "acme:other:5", "acme:research", "acme:research:0", "acme:research:5"]
    );
    assert!(!plan.shows_running());
}
