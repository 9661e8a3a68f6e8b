//! Every value of `limitedBy`, produced through gRPC.

use std::time::Duration;

use agent_scaler::engine::decision::LimitedBy;
use agent_scaler::engine::limit::{Block, LimitSeen, Why};
use agent_scaler::engine::signals::{Counters, Percentile, Reading};

use crate::support::harness::{Harness, queue, scripted};

#[tokio::test]
async fn demand() {
    let harness = Harness::start().await;
    let trigger = scripted("jobs", &[("tasksPerReplica", "4")]);
    harness.script.shows("jobs", queue(40, 8));
    harness.settles(&trigger, 12, LimitedBy::Demand).await;
}

#[tokio::test]
async fn promise() {
    let harness = Harness::start().await;
    let keys = [("maxQueueWait", "100s"), ("podStartupTime", "0"), ("expectedTaskDuration", "10s")];
    let trigger = scripted("jobs", &keys);
    harness.script.shows("jobs", queue(100, 0));
    harness.settles(&trigger, 10, LimitedBy::Demand).await;
    let waits = Some(Percentile { p95: Duration::from_secs(101), samples: 20 });
    harness.script.shows("jobs", Reading { waits, ..queue(100, 0) });
    harness.settles(&trigger, 100, LimitedBy::Promise).await;
}

#[tokio::test]
async fn ceiling() {
    let harness = Harness::start().await;
    harness.script.shows("jobs", Reading { ceiling: Some(12), ..queue(100, 0) });
    harness.settles(&scripted("jobs", &[]), 12, LimitedBy::Ceiling).await;
}

#[tokio::test]
async fn even_partitions() {
    let harness = Harness::start().await;
    harness.script.shows("jobs", Reading { ceiling: Some(12), even_over: Some(12), ..queue(5, 0) });
    harness.settles(&scripted("jobs", &[]), 6, LimitedBy::EvenPartitions).await;
}

#[tokio::test]
async fn running_tasks() {
    let harness = Harness::start().await;
    let trigger = scripted("jobs", &[("tasksPerReplica", "4")]);
    harness.script.shows("jobs", queue(40, 0));
    harness.settles(&trigger, 10, LimitedBy::Demand).await;
    harness.script.shows("jobs", queue(0, 7));
    harness.settles(&trigger, 7, LimitedBy::RunningTasks).await;
}

#[tokio::test]
async fn unseen_tasks() {
    let harness = Harness::with("tick: 500ms").await;
    let trigger =
        scripted("jobs", &[("expectedTaskDuration", "1s"), ("maxQueueWait", "1s"), ("podStartupTime", "0")]);
    let list = |ready| Reading { ready: Some(ready), ..Reading::default() };
    harness.script.shows("jobs", list(9));
    harness.settles(&trigger, 9, LimitedBy::Demand).await;
    harness.script.shows("jobs", list(0));
    harness.settles(&trigger, 9, LimitedBy::UnseenTasks).await;
    assert!(harness.is_active(&trigger).await.unwrap());
    // Longer than the hold, and within what a reading is fresh for: the watch has no hole.
    harness.clock.advance(Duration::from_millis(1_200));
    harness.settles(&trigger, 0, LimitedBy::Demand).await;
    assert!(!harness.is_active(&trigger).await.unwrap());
}

#[tokio::test]
async fn activation() {
    let harness = Harness::start().await;
    harness.script.shows("jobs", queue(5, 0));
    harness.settles(&scripted("jobs", &[("activationBacklog", "5")]), 0, LimitedBy::Activation).await;
}

#[tokio::test]
async fn minimum() {
    let harness = Harness::start().await;
    harness.script.shows("jobs", queue(1, 0));
    harness.settles(&scripted("jobs", &[("minReplicaCount", "3")]), 3, LimitedBy::Minimum).await;
}

#[tokio::test]
async fn maximum() {
    let harness = Harness::start().await;
    harness.script.shows("jobs", queue(50, 0));
    harness.settles(&scripted("jobs", &[("maxReplicaCount", "20")]), 20, LimitedBy::Maximum).await;
}

/// The limits' own tests are in `limits`; here each shows once that it is there.
#[tokio::test]
async fn llm_limit_and_llm_blocked() {
    let harness = Harness::with(
        "connections: { script: { type: scripted } }\n\
         llmLimits: { prod: { workersConnection: script, scope: prod, concurrency: 8 } }",
    )
    .await;
    harness.script.shows("jobs", queue(40, 0));
    // Nobody says that they pace themselves: 92 % of eight calls at a time.
    let trigger = scripted("jobs", &[("llmLimit", "prod")]);
    harness.settles(&trigger, 8, LimitedBy::LlmLimit).await;
    let until = harness.clock_now() + Duration::from_secs(3_600);
    let blocked = Some(Block { until, why: Why::Spend });
    harness.script.says("prod", LimitSeen { blocked, ..LimitSeen::default() });
    harness.settles(&trigger, 1, LimitedBy::LlmBlocked).await;
}

#[tokio::test]
async fn no_progress() {
    let harness = Harness::start().await;
    let services = Some(Percentile { p95: Duration::from_secs(5), samples: 20 });
    let counters = Counters { added: None, completed: Some(7) };
    let shows = |ready| harness.script.shows("jobs", Reading { services, counters, ..queue(ready, 4) });
    shows(6);
    let trigger = scripted("jobs", &[]);
    harness.settles(&trigger, 10, LimitedBy::Demand).await;
    harness.clock.advance(Duration::from_secs(16));
    shows(60);
    harness.settles(&trigger, 10, LimitedBy::NoProgress).await;
}

#[tokio::test]
async fn stale() {
    let harness = Harness::start().await;
    let trigger = scripted("jobs", &[]);
    harness.script.shows("jobs", queue(12, 3));
    harness.settles(&trigger, 15, LimitedBy::Demand).await;
    harness.script.breaks("jobs");
    harness.clock.advance(Duration::from_secs(60));
    harness.settles(&trigger, 15, LimitedBy::Stale).await;
}

/// A value that no test above names would be one that nobody ever saw.
#[test]
fn no_value_is_left_out() {
    let here = include_str!("limited_by.rs");
    for value in LimitedBy::ALL {
        assert!(here.contains(&format!("LimitedBy::{value:?})")), "{value:?}");
    }
}
