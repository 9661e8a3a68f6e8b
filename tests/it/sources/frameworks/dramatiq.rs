//! Dramatiq.

use agent_scaler::engine::signals::Reading;

use super::super::redis::plan;
use super::{Stage, tasks};

#[tokio::test]
async fn what_a_killed_worker_took_stays_in_flight_and_delayed_messages_need_one_to_wait_for_them() {
    let stage = Stage::of("python").await;
    let mut dramatiq = stage.driver("python", "dramatiq", &["driver.py"]);
    let plan = plan("dramatiq", &[("queue", "research")]);
    let mut client = stage.client().await;
    let seen = |ready, running, due, delayed, dead| Reading {
        due: Some(due),
        delayed: Some(delayed),
        dead: Some(dead),
        ..tasks(ready, running)
    };
    stage.shows(&mut client, &plan, &seen(0, 0, 0, 0, 0)).await;

    dramatiq.ask("send_failing 1").await;
    dramatiq.ask("send 5").await;
    dramatiq.ask("send 3 600000").await;
    stage.shows(&mut client, &plan, &seen(6, 0, 1, 2, 0)).await;
    assert_eq!(dramatiq.ask("size research").await, 6 + 1 + 2);
    // What KEDA's list length sees of these nine.
    assert_eq!(stage.list_length("dramatiq:research"), 6);

    // A thread takes a message to run and one to have; it keeps the delayed ones in its memory.
    let worker = stage.worker("python", "dramatiq", &["-m", "dramatiq", "driver", "-p", "1", "-t", "1"]);
    stage.shows(&mut client, &plan, &seen(3, 2, 1, 2, 1)).await;
    assert_eq!(dramatiq.ask("size research").await, 5 + 3);
    stage.empties("dramatiq:research.DQ").await;
    worker.kill().await;
    stage.shows(&mut client, &plan, &seen(3, 2, 1, 2, 1)).await;
    assert_eq!(stage.list_length("dramatiq:research"), 3);
}
