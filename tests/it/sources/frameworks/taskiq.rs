//! Taskiq.

use agent_scaler::engine::signals::{Counters, Reading};

use super::super::redis::plan;
use super::{Stage, tasks};

#[tokio::test]
async fn the_group_s_lag_and_pending_entries_are_what_waits_and_what_a_killed_worker_took() {
    let stage = Stage::of("python").await;
    let mut taskiq = stage.driver("python", "taskiq", &["driver.py"]);
    let plan = plan("taskiq", &[]);
    let mut client = stage.client().await;
    stage.shows(&mut client, &plan, &tasks(0, 0)).await;
    taskiq.ask("start").await;
    assert_eq!(taskiq.ask("kick 5 600").await, 5);
    stage.shows(&mut client, &plan, &tasks(5, 0)).await;

    let arguments = ["-m", "taskiq", "worker", "driver:broker", "--workers", "1", "--max-async-tasks", "1"];
    let worker = stage.worker("python", "taskiq", &[&arguments[..], &["--max-prefetch", "0"]].concat());
    // It reads two entries at a time.
    let counters = Counters { added: Some(5), completed: Some(0) };
    stage.shows(&mut client, &plan, &Reading { counters, ..tasks(3, 2) }).await;
    worker.kill().await;
    stage.shows(&mut client, &plan, &Reading { counters, ..tasks(3, 2) }).await;
    assert_eq!(plan.queue(), "stream taskiq group taskiq");
}
