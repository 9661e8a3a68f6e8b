//! The HPA's calls every 15 seconds, KEDA's polls and an open stream without calls each keep a trigger.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::harness::{Harness, eventually, queue, scripted};

/// How often the HPA asks.
const SYNC: Duration = Duration::from_secs(15);

/// Syncs in ten minutes.
const POLL: u32 = 40;

#[tokio::test]
async fn each_kind_of_call_and_a_stream_keep_a_trigger() {
    let harness = Harness::start().await;
    let names = ["hpa", "spec", "poll", "stream", "nobody"];
    for name in names {
        harness.script.shows(name, queue(2, 0));
        assert_eq!(harness.value(&scripted(name, &[])).await.unwrap(), 2.0);
    }
    let watched = || harness.scaler.reports().iter().map(|report| report.name.to_string()).collect();
    assert_eq!(BTreeSet::from(names.map(str::to_owned)), watched());

    let stream = harness.client().stream_is_active(scripted("stream", &[])).await.unwrap();
    // To shortly before another poll.
    for sync in 1..4 * POLL {
        harness.clock.advance(SYNC);
        // `minReplicaCount: 1` since KEDA 2.21.
        assert_eq!(harness.value(&scripted("hpa", &[])).await.unwrap(), 2.0);
        assert!(harness.is_active(&scripted("hpa", &[])).await.unwrap());
        // `useCachedMetrics`, and a poll that never comes.
        harness.client().get_metric_spec(scripted("spec", &[])).await.unwrap();
        if sync % POLL == 0 {
            assert!(watched().contains("poll"), "forgotten between two polls");
            assert_eq!(harness.value(&scripted("poll", &[])).await.unwrap(), 2.0);
        }
    }
    // The decider has taken stock once what nobody asks about is gone.
    eventually("that one is forgotten", async || (!watched().contains("nobody")).then_some(())).await;
    assert_eq!(watched(), BTreeSet::from(["hpa", "spec", "poll", "stream"].map(str::to_owned)));
    drop(stream);
}

#[tokio::test]
async fn a_trigger_that_was_forgotten_between_polls_is_read_anew_within_the_call() {
    let harness = Harness::start().await;
    let rare = scripted("rare", &[]);
    for tasks in 1..=3 {
        harness.script.shows("rare", queue(tasks, 0));
        assert_eq!(harness.value(&rare).await.unwrap(), tasks as f64);
        harness.clock.advance(Duration::from_secs(20 * 60));
        eventually("that it is forgotten", async || harness.report(&rare).is_none().then_some(())).await;
    }
}
